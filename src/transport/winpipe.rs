//! ipc on Windows: streams between processes of one host, over named pipes.
//!
//! Owns the meaning of `ipc://name` (and its alias `winpipe://name`), which is the pipe `\\.\pipe\name`, as
//! nanomsg and NNG have it, and the thread that waits for clients of a name. The rules are in
//! `docs/spec/semantics.md`, section 14.4.
//!
//! The poll watches neither the waiting end of a pipe, since a pipe would be bound for ever to the loop that
//! watches it first, nor anything that a thread could signal. So each listener has a pair of sockets, through
//! which its thread reports.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::OwnedHandle;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::event::Source;
use mio::windows::NamedPipe;
use windows_sys::Win32::Foundation::{ERROR_PIPE_BUSY, ERROR_PIPE_NOT_CONNECTED};
use windows_sys::Win32::Storage::FileSystem::{FILE_FLAG_OVERLAPPED, SECURITY_IDENTIFICATION};

use super::{Destination, Ipc, Listener, Stream, StreamPeer, StreamTransport, Target};
use crate::address::Address;
use crate::error::{AddressError, BindError};
use crate::options::EndpointSettings;
use crate::sync::{Arc, Mutex, Rank};
use crate::sys::{
    self,
    pipes::{self, Event, Server, Sizes},
};
use crate::wire::Framing;

/// What the system puts before the name of a pipe.
const PREFIX: &str = r"\\.\pipe\";
/// How many characters the name may have: the system takes 256 with the prefix and the zero at the end.
const NAME_MAX: usize = 246;
/// How many bytes the system keeps for each direction, unless the program says otherwise.
const BUFFER: u32 = 64 << 10;
/// At most how many bytes go to the system at once: they are copied on the way.
const WRITE: usize = 256 << 10;
/// Pause for this long when no instance can be made.
const PAUSE: Duration = Duration::from_millis(50);

impl StreamTransport for Ipc {
    fn schemes(&self) -> &[&str] {
        &["ipc", "winpipe"]
    }

    fn framing(&self) -> Framing {
        Framing::TypeAndLength
    }

    /// Binds. The name is taken as long as there is a listener, or a connection that one has accepted.
    fn bind(
        &self,
        address: &Address,
        settings: &EndpointSettings,
    ) -> Result<Box<dyn Listener>, BindError> {
        let name = format!("{PREFIX}{}", parse(address)?);
        let listener = PipeListener::new(&name, address.url(), settings);
        Ok(Box::new(listener.map_err(|error| BindError::from_io(address.url(), error))?))
    }

    fn target(&self, address: &Address) -> Result<Target, AddressError> {
        let name = parse(address)?;
        Ok(Target::Known(Destination::Other(format!("{PREFIX}{name}"))))
    }

    /// Connects. `WouldBlock` means that too many others wait to be accepted there.
    fn connect(
        &self,
        _: &Address,
        destination: &Destination,
        _: &EndpointSettings,
    ) -> io::Result<Box<dyn Stream>> {
        let Destination::Other(name) = destination else {
            return Err(io::Error::new(ErrorKind::InvalidInput, "not a named pipe"));
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(FILE_FLAG_OVERLAPPED);
        // The server may learn who we are, and not act in our name.
        let file = options.security_qos_flags(SECURITY_IDENTIFICATION).open(name);
        let file = file.map_err(|error| match error.kind() {
            ErrorKind::NotFound => ErrorKind::ConnectionRefused.into(),
            _ if is(&error, ERROR_PIPE_BUSY) => ErrorKind::WouldBlock.into(),
            _ => error,
        })?;
        Ok(Box::new(PipeStream {
            pipe: pipes::watchable(file.into()),
            local: String::new(),
            remote: url(name),
        }))
    }
}

/// The name of the pipe in an address.
fn parse(address: &Address) -> Result<&str, AddressError> {
    match address.after_scheme() {
        "" => Err(address.bad_path("", "there is no name")),
        name if name.contains('\0') => Err(address.bad_path(name, "the name has a zero byte")),
        name if name.encode_utf16().count() > NAME_MAX => Err(address.too_long(name, NAME_MAX)),
        name => Ok(name),
    }
}

/// The URL of a pipe.
fn url(pipe: &str) -> String {
    format!("ipc://{}", pipe.strip_prefix(PREFIX).unwrap_or(pipe))
}

fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == Some(code.cast_signed())
}

/// A name and the thread that waits for its clients.
#[derive(Debug)]
struct PipeListener {
    accepted: Arc<Accepted>,
    /// Readable when the thread has something new.
    bell: mio::net::TcpStream,
    stop: Arc<Event>,
    thread: Option<JoinHandle<()>>,
    url: String,
}

/// What the thread has got and nobody has taken yet.
#[derive(Debug)]
struct Accepted {
    clients: Mutex<VecDeque<io::Result<OwnedHandle>>>,
    bell: sys::Stream,
}

impl PipeListener {
    fn new(name: &str, url: &str, settings: &EndpointSettings) -> io::Result<Self> {
        if settings.restricts_file() {
            let reason =
                "a named pipe is no file: ipc_mode, ipc_owner and ipc_group must not be set";
            return Err(io::Error::new(ErrorKind::Unsupported, reason));
        }
        let size = |bytes: Option<usize>| {
            bytes.map_or(BUFFER, |bytes| u32::try_from(bytes).unwrap_or(u32::MAX))
        };
        let sizes = Sizes {
            send: size(settings.kernel_send_buffer),
            recv: size(settings.kernel_recv_buffer),
        };
        let server = Server::new(name, sizes).map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => ErrorKind::AddrInUse.into(),
            _ => error,
        })?;
        let (near, far) = sys::stream_pair()?;
        near.set_nonblocking(true)?;
        let clients = Mutex::new(Rank::PipeClients, VecDeque::new());
        let accepted = Arc::new(Accepted { clients, bell: far });
        let stop = Arc::clone(server.stop());
        let waiting = Arc::clone(&accepted);
        let thread = thread::Builder::new()
            .name("sinew-pipe".to_owned())
            .spawn(move || waiting.fill_from(server))?;
        let bell = mio::net::TcpStream::from_std(near);
        Ok(Self { accepted, bell, stop, thread: Some(thread), url: url.to_owned() })
    }
}

impl Accepted {
    /// Takes in clients until the server is stopped. A failure is one of `accept`.
    fn fill_from(&self, mut server: Server) {
        loop {
            let client = match server.accept() {
                Ok(None) => return,
                Ok(Some(client)) => Ok(client),
                Err(error) => Err(error),
            };
            let has_failed = client.is_err();
            self.clients.lock().push_back(client);
            if let Err(error) = (&self.bell).write_all(&[0]) {
                crate::contain::record!(
                    Error,
                    { reason: error },
                    "a client of a named pipe is not seen: {error}"
                );
            }
            if has_failed && server.stop().is_set_within(PAUSE) {
                return;
            }
        }
    }

    fn take(&self) -> Option<io::Result<OwnedHandle>> {
        self.clients.lock().pop_front()
    }
}

impl Drop for PipeListener {
    /// Ends the thread, and with it the name.
    fn drop(&mut self) {
        self.stop.set();
        if let Some(thread) = self.thread.take() {
            // It calls nothing of the program's own but a logger, whose panics are contained.
            let _ = thread.join();
        }
    }
}

impl Listener for PipeListener {
    fn source(&mut self) -> &mut dyn Source {
        &mut self.bell
    }

    fn accept(&self) -> io::Result<Box<dyn Stream>> {
        let mut client = self.accepted.take();
        if client.is_none() {
            // The poll reports the next byte only if all before it were read.
            while !matches!((&self.bell).read(&mut [0; 64]), Err(error) if error.kind() == ErrorKind::WouldBlock)
            {
            }
            client = self.accepted.take();
        }
        let client = client.unwrap_or_else(|| Err(ErrorKind::WouldBlock.into()))?;
        Ok(Box::new(PipeStream {
            pipe: pipes::watchable(client),
            local: self.url.clone(),
            remote: String::new(),
        }))
    }

    fn url(&self) -> String {
        self.url.clone()
    }
}

/// One end of a named pipe.
#[derive(Debug)]
struct PipeStream {
    pipe: NamedPipe,
    /// The address of each end; empty for the one that has connected.
    local: String,
    remote: String,
}

impl Stream for PipeStream {
    fn source(&mut self) -> &mut dyn Source {
        &mut self.pipe
    }

    /// It is as soon as it was opened.
    fn established(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match (&self.pipe).read(buffer) {
            // NNG disconnects a pipe before it closes its end.
            Err(error) if is(&error, ERROR_PIPE_NOT_CONNECTED) => Ok(0),
            done => done,
        }
    }

    fn short_read_is_last(&self) -> bool {
        true
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let written = match slices {
            [only] => (&self.pipe).write(&only[..only.len().min(WRITE)]),
            _ => (&self.pipe).write(&joined(slices)),
        };
        written.map_err(|error| {
            if is(&error, ERROR_PIPE_NOT_CONNECTED) { ErrorKind::BrokenPipe.into() } else { error }
        })
    }

    /// A pipe cannot be closed in one direction.
    fn shutdown_write(&self) -> io::Result<()> {
        Ok(())
    }

    fn peer(&self) -> StreamPeer {
        StreamPeer::new(&*self.local, &*self.remote)
    }
}

/// The beginning of what is in `slices`: what goes to the system at once.
fn joined(slices: &[IoSlice<'_>]) -> Vec<u8> {
    let there = slices.iter().map(|slice| slice.len()).sum::<usize>();
    let mut bytes = Vec::with_capacity(there.min(WRITE));
    for slice in slices {
        let room = WRITE - bytes.len();
        bytes.extend_from_slice(&slice[..slice.len().min(room)]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::tcp::kit::{self, accept, address, connect, establish, join};
    use super::*;

    /// A name of its own for a test.
    fn unique(test: &str) -> String {
        format!("ipc://sinew-unit-{}-{test}", std::process::id())
    }

    fn bind_to(url: &str) -> Result<Box<dyn Listener>, BindError> {
        kit::bind(&Ipc, url)
    }

    #[test]
    fn addresses_without_a_usable_name_are_refused() {
        let long = format!("ipc://{}", "x".repeat(NAME_MAX + 1));
        let table = [
            ("ipc://", address("ipc://").bad_path("", "there is no name")),
            ("ipc://a\0b", address("ipc://a\0b").bad_path("a\0b", "the name has a zero byte")),
            (&long, address(&long).too_long(&long["ipc://".len()..], NAME_MAX)),
        ];
        for (url, expected) in table {
            assert_eq!(Ipc.target(&address(url)), Err(expected.clone()));
            let bound = bind_to(url);
            assert!(matches!(&bound, Err(BindError::Address(error)) if *error == expected));
        }
    }

    #[test]
    fn a_name_may_be_as_long_as_the_system_allows() {
        let base = unique("long-");
        let url = format!("{base}{}", "x".repeat(NAME_MAX + "ipc://".len() - base.len()));
        let mut listener = bind_to(&url).unwrap();
        join(&Ipc, &mut *listener, &url);
    }

    #[test]
    fn both_ends_know_the_name() {
        let url = unique("names");
        let mut listener = bind_to(&url).unwrap();
        assert_eq!(listener.url(), url);
        let (near, far) = join(&Ipc, &mut *listener, &url);
        assert_eq!((near.peer().local.as_str(), near.peer().remote.as_str()), ("", url.as_str()));
        assert_eq!((far.peer().local.as_str(), far.peer().remote.as_str()), (url.as_str(), ""));
    }

    #[test]
    fn a_name_is_bound_once_and_free_when_nothing_is_left_of_it() {
        let url = unique("once");
        let name = url.replace("ipc://", PREFIX);
        if let (Ok(_first), Ok(_second)) = (NamedPipe::new(&name), NamedPipe::new(&name)) {
            eprintln!("SKIPPED: Wine 8 does not know which instance is the first");
            return;
        }
        let mut listener = bind_to(&url).unwrap();
        let again = bind_to(&url.replace("ipc", "winpipe"));
        assert!(matches!(again, Err(BindError::AddressInUse { .. })), "{again:?}");

        let (near, far) = join(&Ipc, &mut *listener, &url);
        drop(listener);
        let still = bind_to(&url);
        assert!(matches!(still, Err(BindError::AddressInUse { .. })), "{still:?}");
        drop((near, far));
        bind_to(&url).unwrap();
    }

    #[test]
    fn nobody_there_is_connection_refused() {
        let refused = connect(&Ipc, &unique("nobody")).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn clients_that_come_at_once_find_an_instance_each() {
        let url = unique("burst");
        let mut listener = bind_to(&url).unwrap();
        let mut clients = [(); pipes::WAITING].map(|()| connect(&Ipc, &url).unwrap());
        for client in &mut clients {
            accept(&mut *listener).unwrap();
            establish(&mut **client).unwrap();
        }
    }

    #[test]
    fn a_file_mode_is_refused() {
        let settings = EndpointSettings { ipc_mode: Some(0o600), ..Default::default() };
        let error = Ipc.bind(&address(&unique("mode")), &settings).unwrap_err();
        let BindError::Io { source, .. } = error else { panic!("{error:?}") };
        assert_eq!(source.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn what_goes_to_the_system_at_once_is_bounded() {
        let large = vec![1; WRITE];
        let slices = [IoSlice::new(b"a"), IoSlice::new(&large), IoSlice::new(b"b")];
        let bytes = joined(&slices);
        assert_eq!(bytes.len(), WRITE);
        assert_eq!((bytes[0], bytes[1]), (b'a', 1));
    }
}
