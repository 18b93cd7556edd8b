//! The libraries that are measured beside sinew, each used as its users would.
//!
//! Those in C are loaded when the program runs, so one that is missing is left out, with a message.
//! It also keeps them apart: libnng has functions with the names of nanomsg's.

mod bare;
mod libzmq;
mod nanomsg;
mod nng;
mod nng2;
mod omq;
mod rzmq;
mod zeromq;

pub(crate) use bare::Bare;
pub(crate) use libzmq::Libzmq;
pub(crate) use nanomsg::Nanomsg;
pub(crate) use nng::Nng;
pub(crate) use nng2::Nng2;
pub(crate) use omq::{Omq, OmqThreads};
pub(crate) use rzmq::Rzmq;
pub(crate) use zeromq::Zeromq;

/// Declares functions of a C library, found in a shared object when they are first asked for.
macro_rules! c_functions {
    ($object:literal; $($name:ident($($arg:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions that are used.
        pub(super) struct Functions {
            $($name: unsafe extern "C" fn($($arg),*) $(-> $result)?,)*
        }

        impl Functions {
            fn load() -> Result<Self, libloading::Error> {
                // SAFETY: it is a well-known library, whose initialisers ask for nothing.
                let library = Box::leak(Box::new(unsafe { libloading::Library::new($object)? }));
                // SAFETY: the types are those of its header, and it is never unloaded.
                unsafe {
                    Ok(Self { $($name: *library.get(concat!(stringify!($name), "\0").as_bytes())?,)* })
                }
            }

            fn get() -> &'static Self {
                static LOADED: std::sync::OnceLock<Functions> = std::sync::OnceLock::new();
                LOADED.get_or_init(|| Self::load().expect("it has been looked for before"))
            }
        }

        /// Whether the library can be loaded; if not, why.
        pub(crate) fn missing() -> Option<String> {
            Functions::load().err().map(|error| error.to_string())
        }
    };
}
use c_functions;

/// Why the C library of this name cannot be used, if so.
pub(crate) fn missing(library: &str) -> Option<String> {
    match library {
        "nanomsg" => nanomsg::missing(),
        "nng" => nng::missing(),
        "libzmq" => libzmq::missing(),
        _ => None,
    }
}

/// The URL as C has strings.
fn c_string(url: &str) -> std::ffi::CString {
    std::ffi::CString::new(url).expect("no URL has a zero in it")
}
