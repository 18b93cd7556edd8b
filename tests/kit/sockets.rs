//! The typed sockets by what they can do, for tests that hold for several kinds.

use std::fmt::Debug;
use std::time::Duration;

use sinew::{
    BindError, Closed, ConnectError, Endpoint, EndpointOptions, Events, Message, OptionError,
    Options, PeerStatus, RecvError, SendError, Stats, WaitError,
};

/// A socket of any kind.
pub trait Socket: Clone + Debug + Send + Sync + 'static {
    /// What it announces, and what its peers must announce.
    const IDS: (u8, u8);
    fn with(options: Options) -> Result<Self, OptionError>;
    fn bind_with(&self, url: &str, options: &EndpointOptions) -> Result<Endpoint, BindError>;
    fn connect_with(&self, url: &str, options: &EndpointOptions) -> Result<Endpoint, ConnectError>;
    fn wait_for_peers(&self, peers: usize, timeout: Duration) -> Result<(), WaitError>;
    fn peers(&self) -> Vec<PeerStatus>;
    fn events(&self) -> Events;
    fn stats(&self) -> Stats;
    fn options(&self) -> Options;
    fn set_options(&self, options: Options) -> Result<(), OptionError>;
    fn close(&self) -> Result<(), Closed>;
    fn is_raw(&self) -> bool;

    fn new() -> Self {
        Self::with(Options::new()).expect("the defaults are in range")
    }

    fn bind(&self, url: &str) -> Result<Endpoint, BindError> {
        self.bind_with(url, &EndpointOptions::new())
    }

    fn connect(&self, url: &str) -> Result<Endpoint, ConnectError> {
        self.connect_with(url, &EndpointOptions::new())
    }
}

/// A socket that sends without being asked.
pub trait Sends: Socket {
    fn send_timeout(&self, message: impl Into<Message>, timeout: Duration)
    -> Result<(), SendError>;
    fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError>;

    fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.send_timeout(message, super::SOON)
    }
}

/// A socket that receives without having asked.
pub trait Receives: Socket {
    fn recv_timeout(&self, timeout: Duration) -> Result<Message, RecvError>;
    fn try_recv(&self) -> Result<Message, RecvError>;
}

macro_rules! sockets {
    ($($socket:ty: $ids:expr, $($can:ident)*;)*) => {
        $(impl Socket for $socket {
            const IDS: (u8, u8) = $ids;
            fn with(options: Options) -> Result<Self, OptionError> {
                Self::with_options(options)
            }
            fn bind_with(&self, url: &str, with: &EndpointOptions) -> Result<Endpoint, BindError> {
                Self::bind_with(self, url, with)
            }
            fn connect_with(
                &self,
                url: &str,
                with: &EndpointOptions,
            ) -> Result<Endpoint, ConnectError> {
                Self::connect_with(self, url, with)
            }
            fn wait_for_peers(&self, peers: usize, timeout: Duration) -> Result<(), WaitError> {
                Self::wait_for_peers(self, peers, timeout)
            }
            fn peers(&self) -> Vec<PeerStatus> {
                Self::peers(self)
            }
            fn events(&self) -> Events {
                Self::events(self)
            }
            fn stats(&self) -> Stats {
                Self::stats(self)
            }
            fn options(&self) -> Options {
                Self::options(self)
            }
            fn set_options(&self, options: Options) -> Result<(), OptionError> {
                Self::set_options(self, options)
            }
            fn close(&self) -> Result<(), Closed> {
                Self::close(self)
            }
            fn is_raw(&self) -> bool {
                Self::is_raw(self)
            }
        }
        $(sockets!(@$can $socket);)*)*

        /// Runs a generic test for every kind of socket, cooked and raw.
        #[allow(unused_macros, reason = "each test binary uses its own part")]
        macro_rules! for_every_socket {
            ($test:ident) => { $($test::<$socket>();)* };
        }
        #[allow(unused_imports, reason = "each test binary uses its own part")]
        pub(crate) use for_every_socket;
    };
    (@sends $socket:ty) => {
        impl Sends for $socket {
            fn send_timeout(
                &self,
                message: impl Into<Message>,
                timeout: Duration,
            ) -> Result<(), SendError> {
                Self::send_timeout(self, message, timeout)
            }
            fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
                Self::try_send(self, message)
            }
        }
    };
    (@receives $socket:ty) => {
        impl Receives for $socket {
            fn recv_timeout(&self, timeout: Duration) -> Result<Message, RecvError> {
                Self::recv_timeout(self, timeout)
            }
            fn try_recv(&self) -> Result<Message, RecvError> {
                Self::try_recv(self)
            }
        }
    };
    (@is_asked $socket:ty) => {
        impl Receives for $socket {
            fn recv_timeout(&self, timeout: Duration) -> Result<Message, RecvError> {
                Self::recv_timeout(self, timeout).map(|asked| asked.into_message())
            }
            fn try_recv(&self) -> Result<Message, RecvError> {
                Self::try_recv(self).map(|asked| asked.into_message())
            }
        }
    };
}

sockets! {
    sinew::Pair: (0x10, 0x10), sends receives;
    sinew::Pair1: (0x11, 0x11), sends receives;
    sinew::PolyPair1: (0x11, 0x11), sends receives;
    sinew::Pub: (0x20, 0x21), sends;
    sinew::Sub: (0x21, 0x20), receives;
    sinew::Req: (0x30, 0x31),;
    sinew::Rep: (0x31, 0x30), is_asked;
    sinew::Push: (0x50, 0x51), sends;
    sinew::Pull: (0x51, 0x50), receives;
    sinew::Surveyor: (0x62, 0x63),;
    sinew::Respondent: (0x63, 0x62), is_asked;
    sinew::Bus: (0x70, 0x70), sends receives;
    sinew::raw::Pair: (0x10, 0x10), sends receives;
    sinew::raw::Pair1: (0x11, 0x11), sends receives;
    sinew::raw::Pub: (0x20, 0x21), sends;
    sinew::raw::Sub: (0x21, 0x20), receives;
    sinew::raw::Req: (0x30, 0x31), sends receives;
    sinew::raw::Rep: (0x31, 0x30), sends receives;
    sinew::raw::Push: (0x50, 0x51), sends;
    sinew::raw::Pull: (0x51, 0x50), receives;
    sinew::raw::Surveyor: (0x62, 0x63), sends receives;
    sinew::raw::Respondent: (0x63, 0x62), sends receives;
    sinew::raw::Bus: (0x70, 0x70), sends receives;
}

/// A survey whose answers nobody wants.
impl Sends for sinew::Surveyor {
    fn send_timeout(
        &self,
        message: impl Into<Message>,
        _timeout: Duration,
    ) -> Result<(), SendError> {
        self.survey(message).map(drop)
    }

    fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.survey(message).map(drop)
    }
}
