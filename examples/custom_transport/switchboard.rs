//! The transport: streams between the numbered extensions of a switchboard.
//!
//! `board://7` is extension 7; `board://0`, for binding only, any that is free. A switchboard is a
//! value: each has extensions of its own, and its clones are the same one, so two runtimes that are
//! to talk to each other are given clones. It stands in for what a real transport would reach
//! through a device or a foreign library, such as vsock.
//!
//! A line is a pair of connected sockets: whoever calls makes both ends, keeps one, and leaves the
//! other at the desk of the extension. A desk rings by a byte on a pair of its own, because a poll
//! can watch sockets but not a queue.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[cfg(windows)]
use sinew::transport::mio::net::TcpStream as Socket;
#[cfg(unix)]
use sinew::transport::mio::net::UnixStream as Socket;
use sinew::transport::{
    Address, Destination, EndpointSettings, Listener, Source, Stream, StreamPeer, StreamTransport,
    Target,
};
use sinew::{AddressError, BindError};
use socket2::SockRef;

/// How many calls may wait at one desk.
const WAITING: usize = 128;

/// The transport.
#[derive(Clone, Debug, Default)]
pub(crate) struct Switchboard {
    desks: Arc<Mutex<HashMap<u16, Arc<Desk>>>>,
}

impl StreamTransport for Switchboard {
    fn schemes(&self) -> &[&str] {
        &["board"]
    }

    fn bind(
        &self,
        address: &Address,
        _: &EndpointSettings,
    ) -> Result<Box<dyn Listener>, BindError> {
        let wanted = extension(address)?;
        let operator =
            self.open(wanted).map_err(|error| BindError::from_io(address.url(), error))?;
        Ok(Box::new(operator))
    }

    fn target(&self, address: &Address) -> Result<Target, AddressError> {
        match extension(address)? {
            0 => Err(address.malformed("extension 0 cannot be called")),
            number => Ok(Target::Known(Destination::Other(number.to_string()))),
        }
    }

    fn connect(
        &self,
        _: &Address,
        destination: &Destination,
        _: &EndpointSettings,
    ) -> io::Result<Box<dyn Stream>> {
        match destination {
            Destination::Other(number) => match number.parse() {
                Ok(number) => Ok(Box::new(self.call(number)?)),
                Err(_) => Err(ErrorKind::InvalidInput.into()),
            },
            // Only what `target` has made comes here.
            _ => Err(ErrorKind::InvalidInput.into()),
        }
    }
}

impl Switchboard {
    /// Opens a desk at an extension; 0: at the first that is free.
    fn open(&self, wanted: u16) -> io::Result<Operator> {
        let (bell, rings) = pair()?;
        let mut desks = lock(&self.desks);
        let number = match wanted {
            0 => (1..=u16::MAX).find(|number| !desks.contains_key(number)),
            number => Some(number).filter(|number| !desks.contains_key(number)),
        };
        let number = number.ok_or(ErrorKind::AddrInUse)?;
        let desk = Arc::new(Desk { calls: Mutex::default(), bell });
        desks.insert(number, Arc::clone(&desk));
        Ok(Operator { board: self.clone(), number, desk, rings })
    }

    /// Calls an extension. The line stands at once, whether the call has been taken or not.
    fn call(&self, number: u16) -> io::Result<Line> {
        let desks = lock(&self.desks);
        let desk = desks.get(&number).ok_or(ErrorKind::ConnectionRefused)?;
        let mut calls = lock(&desk.calls);
        if calls.len() == WAITING {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        let (near, far) = pair()?;
        calls.push_back(Line::new(far, number, Side::Called)?);
        drop(calls);
        desk.ring();
        Line::new(near, number, Side::Calling)
    }
}

/// The number in an address.
fn extension(address: &Address) -> Result<u16, AddressError> {
    let digits = address.after_scheme();
    if digits.is_empty() {
        return Err(address.malformed("there is no extension"));
    }
    if digits.len() > 5 {
        return Err(address.too_long(digits, 5));
    }
    // `parse` alone would take a plus sign as well.
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        digits.parse().map_err(|_| address.malformed("the extension is above 65535"))
    } else {
        Err(address.malformed("the extension is not a number"))
    }
}

/// Where the calls for one extension wait.
#[derive(Debug)]
struct Desk {
    calls: Mutex<VecDeque<Line>>,
    bell: Socket,
}

impl Desk {
    /// A bell that takes no more has been ringing all the time: nobody misses this one.
    fn ring(&self) {
        let _ = (&self.bell).write(&[1]);
    }
}

/// The listener: takes the calls for an extension. Closes the desk when it is dropped; calls that
/// nobody has taken see the end of their line.
#[derive(Debug)]
struct Operator {
    board: Switchboard,
    number: u16,
    desk: Arc<Desk>,
    rings: Socket,
}

impl Operator {
    fn next_call(&self) -> Option<Line> {
        lock(&self.desk.calls).pop_front()
    }

    /// Reads until there is nothing more: only after that is the next ring reported.
    fn silence(&self) -> io::Result<()> {
        let mut rings = [0; WAITING];
        loop {
            match (&self.rings).read(&mut rings) {
                Ok(1..) => {}
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => return Ok(()),
            }
        }
    }
}

impl Listener for Operator {
    fn source(&mut self) -> &mut dyn Source {
        &mut self.rings
    }

    /// Looks once more after it has silenced the bell: a call may have come between the first look
    /// and that.
    fn accept(&self) -> io::Result<Box<dyn Stream>> {
        let call = match self.next_call() {
            Some(call) => Some(call),
            None => {
                self.silence()?;
                self.next_call()
            }
        };
        Ok(Box::new(call.ok_or(ErrorKind::WouldBlock)?))
    }

    fn url(&self) -> String {
        url(self.number)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        lock(&self.board.desks).remove(&self.number);
    }
}

/// Which end of a line.
#[derive(Clone, Copy)]
enum Side {
    Calling,
    Called,
}

/// One end of a line.
#[derive(Debug)]
struct Line {
    stream: Socket,
    peer: StreamPeer,
}

impl Line {
    fn new(stream: Socket, number: u16, side: Side) -> io::Result<Self> {
        #[cfg(target_vendor = "apple")]
        SockRef::from(&stream).set_nosigpipe(true)?;
        let peer = match side {
            Side::Calling => StreamPeer::new("", url(number)),
            Side::Called => StreamPeer::new(url(number), ""),
        };
        Ok(Self { stream, peer })
    }
}

#[cfg(unix)]
fn pair() -> io::Result<(Socket, Socket)> {
    Socket::pair()
}

/// Windows has no pairs of sockets: connects two over the loopback interface.
#[cfg(windows)]
fn pair() -> io::Result<(Socket, Socket)> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let near = std::net::TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    near.set_nonblocking(true)?;
    far.set_nonblocking(true)?;
    Ok((Socket::from_std(near), Socket::from_std(far)))
}

/// What keeps a write to a lost peer from raising SIGPIPE; on Apple an option of the socket does, and Windows has
/// no signals.
#[cfg(all(unix, not(target_vendor = "apple")))]
const NO_SIGNAL: i32 = libc::MSG_NOSIGNAL;
#[cfg(not(all(unix, not(target_vendor = "apple"))))]
const NO_SIGNAL: i32 = 0;

impl Stream for Line {
    fn source(&mut self) -> &mut dyn Source {
        &mut self.stream
    }

    /// A line stands from the beginning.
    fn established(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.stream).read(buffer)
    }

    /// It is a bare socket; on Windows the poll reports one again only after it was read until it would block.
    fn short_read_is_last(&self) -> bool {
        cfg!(not(windows))
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let write = || SockRef::from(&self.stream).send_vectored_with_flags(slices, NO_SIGNAL);
        // On Windows only `try_io` makes the poll report the socket again.
        self.stream.try_io(write)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    fn peer(&self) -> StreamPeer {
        self.peer.clone()
    }
}

fn url(number: u16) -> String {
    format!("board://{number}")
}

/// Nothing here is left half done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
