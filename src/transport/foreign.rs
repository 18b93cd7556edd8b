//! Foreign transports: those that the program adds.
//!
//! Owns the border between them and us. Results are checked here before other code relies on them, and a
//! panic becomes an error of the one connection on which it happened, because the leader of an event loop serves
//! all its connections. The built-in transports do not pass through here, but what a program has made and gives to a socket
//! does.

use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use mio::{Interest, Registry, Token};

use super::{
    Address, BoundFile, Destination, EndpointSettings, Framing, Listener, Source, Stream,
    StreamPeer, StreamTransport, Target,
};
use crate::contain::forget;
#[cfg(feature = "ws")]
use crate::error::WebSocketError;
use crate::error::{AddressError, BindError};
use crate::sync::Arc;
use crate::tls_error::TlsError;

/// How often a write may be interrupted. A system call is interrupted once, if ever; a transport that is
/// always interrupted would keep the writing thread forever.
const INTERRUPTIONS: usize = 100;

/// Runs foreign code on a thread that must survive its panic.
fn guarded<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let call = || call().map_err(in_our_words);
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        forget(panic);
        crate::contain::record!(Error, {}, "a transport panicked");
        Err(io::Error::other("the transport panicked"))
    })
}

/// Replaces a foreign error, which could panic where it is shown or dropped, by its text. What went wrong with TLS
/// or WebSocket is in our words already.
fn in_our_words(error: io::Error) -> io::Error {
    match error.get_ref() {
        Some(ours) if ours.is::<TlsError>() => error,
        #[cfg(feature = "ws")]
        Some(ours) if ours.is::<WebSocketError>() => error,
        Some(foreign) => io::Error::new(error.kind(), foreign.to_string()),
        None => error,
    }
}

/// Refuses a claim to have moved more bytes than there were.
fn at_most(limit: usize, claimed: usize) -> io::Result<usize> {
    if claimed <= limit {
        Ok(claimed)
    } else {
        Err(io::Error::other("the transport claims to have moved more than there was"))
    }
}

/// A foreign transport, with its framing, which is asked for only once.
///
/// `bind` and `target` run in a call of the program, so their panics reach the program.
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
        address: &Address,
        destination: &Destination,
        settings: &EndpointSettings,
    ) -> io::Result<Box<dyn Stream>> {
        let stream = guarded(|| self.inner.connect(address, destination, settings))?;
        Ok(Box::new(Border::new(stream)))
    }
}

/// A listener that the program has made, behind the border.
pub(super) fn listener(listener: Box<dyn Listener>) -> Box<dyn Listener> {
    Box::new(Border::new(listener))
}

/// A stream that the program has made, behind the border.
pub(super) fn stream(stream: Box<dyn Stream>) -> Box<dyn Stream> {
    Box::new(Border::new(stream))
}

/// A foreign listener or stream. Its destructor may panic.
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

    fn reregister(
        &self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<bool> {
        guarded(|| self.inner().reregister(registry, token, interests))
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
            // The writing thread would try again forever.
            0 if there > 0 => Err(io::ErrorKind::WriteZero.into()),
            written => Ok(written),
        }
    }

    fn flush(&self) -> io::Result<()> {
        guarded(|| self.inner().flush())
    }

    fn shutdown_write(&self) -> io::Result<()> {
        guarded(|| self.inner().shutdown_write())
    }

    fn is_elsewhere(&self) -> bool {
        guarded(|| Ok(self.inner().is_elsewhere())).unwrap_or(false)
    }

    fn pass_on(mut self: Box<Self>) {
        let _ = guarded(|| {
            if let Some(inner) = self.0.take() {
                inner.pass_on();
            }
            Ok(())
        });
    }

    fn peer(&self) -> StreamPeer {
        guarded(|| Ok(self.inner().peer())).unwrap_or_default()
    }

    fn silence(&self) -> io::Result<Option<Duration>> {
        guarded(|| self.inner().silence())
    }
}

/// What the poll watches.
trait Watched {
    fn source(&mut self) -> &mut dyn Source;
}

impl Watched for dyn Listener {
    fn source(&mut self) -> &mut dyn Source {
        Listener::source(self)
    }
}

impl Watched for dyn Stream {
    fn source(&mut self) -> &mut dyn Source {
        Stream::source(self)
    }
}

/// By the source of the inner value, so that registering is guarded, too.
impl<T: ?Sized + Watched> Source for Border<T> {
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
