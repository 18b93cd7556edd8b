//! Foreign transports: those that the program brings along.
//!
//! Owns the border between them and us. What comes back over it is checked before anything relies on
//! it, and a panic becomes an error of the one connection it happened on: the I/O thread belongs to
//! all. The built-in transports do not pass through here.

use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use mio::{Interest, Registry, Token};

use super::{
    Address, BoundFile, Destination, EndpointSettings, Framing, Listener, Source, Stream,
    StreamPeer, StreamTransport, Target,
};
use crate::contain::forget;
use crate::error::{AddressError, BindError};

/// How often a write may be interrupted. With a system call it happens once, if ever; what goes on
/// like that would keep whoever writes for ever.
const INTERRUPTIONS: usize = 100;

/// Runs foreign code on a thread that must survive it.
fn guarded<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let call = || call().map_err(in_our_words);
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        forget(panic);
        crate::contain::log!(Error, "a transport panicked");
        Err(io::Error::other("the transport panicked"))
    })
}

/// The same error with nothing foreign inside, which could panic where it is shown or dropped.
fn in_our_words(error: io::Error) -> io::Error {
    match error.get_ref() {
        Some(foreign) => io::Error::new(error.kind(), foreign.to_string()),
        None => error,
    }
}

/// Refuses a claim to have moved more than there was.
fn at_most(limit: usize, claimed: usize) -> io::Result<usize> {
    match claimed <= limit {
        true => Ok(claimed),
        false => Err(io::Error::other("the transport claims to have moved more than there was")),
    }
}

/// A foreign transport. What it said of itself is remembered, not asked again.
///
/// `bind` and `target` run in a call of the program: a panic there is the program's own.
#[derive(Debug)]
pub(super) struct Transport {
    inner: Arc<dyn StreamTransport>,
    framing: Framing,
}

impl Transport {
    pub(super) fn new(inner: Arc<dyn StreamTransport>) -> Self {
        let framing = inner.framing();
        Self { inner, framing }
    }
}

impl StreamTransport for Transport {
    fn schemes(&self) -> &[&str] {
        self.inner.schemes()
    }

    fn framing(&self) -> Framing {
        self.framing
    }

    fn bind(
        &self,
        address: &Address,
        settings: &EndpointSettings,
    ) -> Result<Box<dyn Listener>, BindError> {
        let listener = self.inner.bind(address, settings)?;
        Ok(Box::new(Border::new(listener)))
    }

    fn target(&self, address: &Address) -> Result<Target, AddressError> {
        self.inner.target(address)
    }

    fn connect(
        &self,
        destination: &Destination,
        settings: &EndpointSettings,
    ) -> io::Result<Box<dyn Stream>> {
        let stream = guarded(|| self.inner.connect(destination, settings))?;
        Ok(Box::new(Border::new(stream)))
    }
}

/// A foreign listener or stream, which is dropped with care.
#[derive(Debug)]
struct Border<T: ?Sized>(Option<Box<T>>);

impl<T: ?Sized> Border<T> {
    fn new(inner: Box<T>) -> Self {
        Self(Some(inner))
    }

    fn inner(&self) -> &T {
        self.0.as_deref().expect("taken when dropped, not before")
    }

    fn inner_mut(&mut self) -> &mut T {
        self.0.as_deref_mut().expect("taken when dropped, not before")
    }
}

impl<T: ?Sized> Drop for Border<T> {
    fn drop(&mut self) {
        let inner = self.0.take();
        let _ = guarded(|| {
            drop(inner);
            Ok(())
        });
    }
}

impl Listener for Border<dyn Listener> {
    fn source(&mut self) -> &mut dyn Source {
        self
    }

    fn accept(&self) -> io::Result<Box<dyn Stream>> {
        let stream = guarded(|| self.inner().accept())?;
        Ok(Box::new(Border::new(stream)))
    }

    fn url(&self) -> String {
        self.inner().url()
    }

    fn file(&self) -> Option<BoundFile> {
        self.inner().file()
    }
}

impl Stream for Border<dyn Stream> {
    fn source(&mut self) -> &mut dyn Source {
        self
    }

    fn established(&self) -> io::Result<bool> {
        guarded(|| self.inner().established())
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len();
        at_most(room, guarded(|| self.inner().read(buffer))?)
    }

    fn short_read_is_last(&self) -> bool {
        guarded(|| Ok(self.inner().short_read_is_last())).unwrap_or(false)
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let there = slices.iter().map(|slice| slice.len()).sum();
        let mut attempts = (0..INTERRUPTIONS).map(|_| guarded(|| self.inner().write(slices)));
        let over = |written: &io::Result<usize>| !matches!(written, Err(error) if error.kind() == io::ErrorKind::Interrupted);
        let written = attempts.find(over).unwrap_or_else(|| {
            Err(io::Error::other("the transport is interrupted whenever it writes"))
        });
        match at_most(there, written?)? {
            // Whoever writes would try again for ever.
            0 if there > 0 => Err(io::ErrorKind::WriteZero.into()),
            written => Ok(written),
        }
    }

    fn shutdown_write(&self) -> io::Result<()> {
        guarded(|| self.inner().shutdown_write())
    }

    fn peer(&self) -> StreamPeer {
        guarded(|| Ok(self.inner().peer())).unwrap_or_default()
    }
}

/// What stands at the border is watched in place of what is behind it, so that registering is
/// guarded, too.
macro_rules! watched {
    ($($kind:ident),*) => {$(
        impl Source for Border<dyn $kind> {
            fn register(
                &mut self,
                registry: &Registry,
                token: Token,
                interests: Interest,
            ) -> io::Result<()> {
                guarded(|| self.inner_mut().source().register(registry, token, interests))
            }

            fn reregister(
                &mut self,
                registry: &Registry,
                token: Token,
                interests: Interest,
            ) -> io::Result<()> {
                guarded(|| self.inner_mut().source().reregister(registry, token, interests))
            }

            fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
                guarded(|| self.inner_mut().source().deregister(registry))
            }
        }
    )*};
}

watched!(Listener, Stream);
