//! Any socket, whatever its role, for what needs no role.

use std::time::Duration;

use super::observe::Observe;
use super::role::Role;
use super::socket::Socket;
use crate::error::{BindError, Closed, ConnectError, NoSuchPipe, OptionError, WaitError};
use crate::message::PipeId;
use crate::options::{EndpointOptions, Options};
use crate::pipe::endpoint::Endpoint;
use crate::socket::Events;

/// Any socket, whatever its role, as a trait object: for code that opens, supervises and closes sockets, but
/// does not send or receive.
///
/// Sockets of different roles go into one list as `Box<dyn AnySocket>` or `Arc<dyn AnySocket>`. Each call does
/// what the call of [`Socket`] with the same name does; [`Observe`] has the calls that inspect a socket. A
/// [`Poller`](crate::Poller) waits until any of many sockets can receive. Implemented by sockets only.
///
/// ```
/// use std::time::Duration;
///
/// use sinew::{AnySocket, Pull, Push};
///
/// let (push, pull) = (Push::new(), Pull::new());
/// let all: [Box<dyn AnySocket>; 2] = [Box::new(push.clone()), Box::new(pull.clone())];
/// all[1].bind("inproc://any-doc")?;
/// all[0].connect("inproc://any-doc")?;
/// for socket in &all {
///     socket.wait_for_peers(1, Duration::from_secs(5))?;
///     println!("{}", socket.snapshot());
/// }
/// push.send("work")?;
/// assert_eq!(pull.recv()?, "work");
/// for socket in &all {
///     assert_eq!(socket.drain(Duration::from_secs(5)), 0);
///     socket.close()?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait AnySocket: Observe {
    /// As [`Socket::bind`].
    ///
    /// # Errors
    ///
    /// As there.
    fn bind(&self, url: &str) -> Result<Endpoint, BindError> {
        self.bind_with(url, &EndpointOptions::new())
    }

    /// As [`Socket::bind_with`].
    ///
    /// # Errors
    ///
    /// As there.
    fn bind_with(&self, url: &str, options: &EndpointOptions) -> Result<Endpoint, BindError>;

    /// As [`Socket::connect`].
    ///
    /// # Errors
    ///
    /// As there.
    fn connect(&self, url: &str) -> Result<Endpoint, ConnectError> {
        self.connect_with(url, &EndpointOptions::new())
    }

    /// As [`Socket::connect_with`].
    ///
    /// # Errors
    ///
    /// As there.
    fn connect_with(&self, url: &str, options: &EndpointOptions) -> Result<Endpoint, ConnectError>;

    /// As [`Socket::connect_now`].
    ///
    /// # Errors
    ///
    /// As there.
    fn connect_now(&self, url: &str) -> Result<Endpoint, ConnectError> {
        self.connect_now_with(url, &EndpointOptions::new())
    }

    /// As [`Socket::connect_now_with`].
    ///
    /// # Errors
    ///
    /// As there.
    fn connect_now_with(
        &self,
        url: &str,
        options: &EndpointOptions,
    ) -> Result<Endpoint, ConnectError>;

    /// As [`Socket::wait_for_peers`].
    ///
    /// # Errors
    ///
    /// As there.
    fn wait_for_peers(&self, peers: usize, timeout: Duration) -> Result<(), WaitError>;

    /// As [`Socket::events`].
    fn events(&self) -> Events;

    /// As [`Socket::drain`].
    fn drain(&self, timeout: Duration) -> usize;

    /// As [`Socket::options`].
    fn options(&self) -> Options;

    /// As [`Socket::set_options`].
    ///
    /// # Errors
    ///
    /// As there.
    fn set_options(&self, options: Options) -> Result<(), OptionError>;

    /// As [`Socket::disconnect`].
    ///
    /// # Errors
    ///
    /// As there.
    fn disconnect(&self, pipe: PipeId) -> Result<(), NoSuchPipe>;

    /// As [`Socket::is_raw`].
    fn is_raw(&self) -> bool;

    /// As [`Socket::close`].
    ///
    /// # Errors
    ///
    /// As there.
    fn close(&self) -> Result<(), Closed>;
}

impl<R: Role> AnySocket for Socket<R> {
    fn bind_with(&self, url: &str, options: &EndpointOptions) -> Result<Endpoint, BindError> {
        Self::bind_with(self, url, options)
    }

    fn connect_with(&self, url: &str, options: &EndpointOptions) -> Result<Endpoint, ConnectError> {
        Self::connect_with(self, url, options)
    }

    fn connect_now_with(
        &self,
        url: &str,
        options: &EndpointOptions,
    ) -> Result<Endpoint, ConnectError> {
        Self::connect_now_with(self, url, options)
    }

    fn wait_for_peers(&self, peers: usize, timeout: Duration) -> Result<(), WaitError> {
        Self::wait_for_peers(self, peers, timeout)
    }

    fn events(&self) -> Events {
        Self::events(self)
    }

    fn drain(&self, timeout: Duration) -> usize {
        Self::drain(self, timeout)
    }

    fn options(&self) -> Options {
        Self::options(self)
    }

    fn set_options(&self, options: Options) -> Result<(), OptionError> {
        Self::set_options(self, options)
    }

    fn disconnect(&self, pipe: PipeId) -> Result<(), NoSuchPipe> {
        Self::disconnect(self, pipe)
    }

    fn is_raw(&self) -> bool {
        Self::is_raw(self)
    }

    fn close(&self) -> Result<(), Closed> {
        Self::close(self)
    }
}
