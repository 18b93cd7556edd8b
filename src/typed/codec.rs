//! Codecs: how a value becomes bytes, and bytes a value.

#![cfg_attr(
    not(any(test, fuzzing)),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing
    )
)]

use std::fmt;

/// How values of `T` are written as bytes and read again.
///
/// The crate has [`Postcard`] and [`Json`], each with the feature of its name, for whatever serde can write and
/// read. A codec of your own is a type without a value:
///
/// ```
/// use sinew::typed::{Codec, CodecError, Work, Worker};
///
/// enum BigEndian {}
///
/// impl Codec<u32> for BigEndian {
///     fn encode(value: &u32, out: &mut Vec<u8>) -> Result<(), CodecError> {
///         out.extend_from_slice(&value.to_be_bytes());
///         Ok(())
///     }
///
///     fn decode(bytes: &[u8]) -> Result<u32, CodecError> {
///         let bytes = bytes.try_into().map_err(|_| CodecError::new("four bytes are expected"))?;
///         Ok(u32::from_be_bytes(bytes))
///     }
/// }
///
/// let (work, worker) = (Work::<u32, BigEndian>::new(), Worker::<u32, BigEndian>::new());
/// worker.bind("inproc://codec-doc")?;
/// work.connect("inproc://codec-doc")?;
/// work.send(&7)?;
/// assert_eq!(worker.recv()?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot write and read `{T}`",
    note = "`Postcard` is a codec with the feature `postcard`, and `Json` with the feature `json`, for types that are `serde::Serialize` and `serde::de::DeserializeOwned`"
)]
pub trait Codec<T>: 'static {
    /// Appends the bytes of the value.
    ///
    /// # Errors
    ///
    /// The value cannot be written. What has been appended is dropped.
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Reads a value from all of these bytes. They come from a peer: do not panic, and do not take more memory
    /// than their length justifies.
    ///
    /// # Errors
    ///
    /// The bytes are no value, or there are more of them.
    fn decode(bytes: &[u8]) -> Result<T, CodecError>;
}

/// Why a value cannot be written or read, in a sentence.
#[derive(Clone, PartialEq, Eq)]
pub struct CodecError(Box<str>);

impl CodecError {
    /// Makes one that says this.
    pub fn new(why: impl fmt::Display) -> Self {
        Self(why.to_string().into())
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CodecError {}

/// Writes its sentence, as `Display` does.
impl fmt::Debug for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// [Postcard](https://docs.rs/postcard): a few bytes for each field, and no names. The default.
///
/// Both sides must have the same type; for a change of it see [`Format`](super::Format). A codec only with the
/// feature `postcard`. It sets no limit to how deep a type that contains itself is nested: such a type is not
/// for peers that are not trusted, nor is a sequence of values without size.
#[derive(Clone, Copy, Debug)]
pub enum Postcard {}

/// JSON: for peers in other languages, and for people. At most 128 levels deep.
///
/// A codec only with the feature `json`.
#[derive(Clone, Copy, Debug)]
pub enum Json {}

#[cfg(feature = "postcard")]
mod with_postcard {
    use postcard::ser_flavors::Flavor;
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::{Codec, CodecError, Postcard};

    impl<T: Serialize + DeserializeOwned> Codec<T> for Postcard {
        fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
            let mut serializer = postcard::Serializer { output: Appending(out) };
            value.serialize(&mut serializer).map_err(CodecError::new)
        }

        fn decode(bytes: &[u8]) -> Result<T, CodecError> {
            let mut deserializer = postcard::Deserializer::from_bytes(bytes);
            let value = T::deserialize(&mut deserializer).map_err(CodecError::new)?;
            match deserializer.finalize() {
                Ok([]) => Ok(value),
                Ok(rest) => {
                    Err(CodecError::new(format_args!("{} bytes are left over", rest.len())))
                }
                Err(error) => Err(CodecError::new(error)),
            }
        }
    }

    /// Postcard's output, at the end of a vector.
    struct Appending<'v>(&'v mut Vec<u8>);

    impl Flavor for Appending<'_> {
        type Output = ();

        #[inline]
        fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
            self.0.push(byte);
            Ok(())
        }

        #[inline]
        fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }

        fn finalize(self) -> postcard::Result<()> {
            Ok(())
        }
    }
}

#[cfg(feature = "json")]
mod with_json {
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::{Codec, CodecError, Json};

    impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
        fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
            serde_json::to_writer(out, value).map_err(CodecError::new)
        }

        fn decode(bytes: &[u8]) -> Result<T, CodecError> {
            serde_json::from_slice(bytes).map_err(CodecError::new)
        }
    }
}
