//! What programs call: sockets of each role, their contexts, and what is made of several sockets.
//!
//! Thin: each call names what it waits for, how long, and which verb of its protocol it repeats. The calls of
//! all sockets are in `socket.rs`, the forms of `send` in `send.rs` and those of `recv` in `recv.rs`; calls
//! that only one role has are in the file of that role.

/// What the files of the roles import.
mod prelude {
    pub(super) use std::fmt;
    pub(super) use std::future::Future;
    pub(super) use std::task::{self, Poll};
    pub(super) use std::time::Duration;

    pub(super) use super::poller::WatchRecv;
    pub(super) use super::role::{self, Answers, CanRecv, CanSend, Configured, NoRecv, NoSend};
    pub(super) use super::send::{PollSending, Sending, SendsAsync};
    pub(super) use super::socket::Socket;
    #[cfg(feature = "futures")]
    pub(super) use super::stream::RecvStream;
    pub(super) use crate::error::{Closed, RecvError, SendError};
    pub(super) use crate::message::{Message, PipeId};
    pub(super) use crate::options::Options;
    pub(super) use crate::protocol::{self, Protocol};
    pub(super) use crate::socket::wait::{Patience, TaskWait};
    pub(super) use crate::socket::watch::{Beacon, Readiness, Watching};
    pub(super) use crate::socket::{Core, Handle, SocketPort};
}

mod answer;
mod any;
mod bus;
mod context;
pub mod device;
pub(crate) mod iter;
pub mod metrics;
mod missing;
mod observe;
mod pair;
mod pair1;
pub(crate) mod poller;
mod publish;
mod pull;
mod push;
pub mod raw;
mod recv;
mod req;
pub mod role;
mod send;
mod socket;
#[cfg(feature = "futures")]
mod stream;
mod subscribe;
mod surveyor;

pub use answer::{Asked, Question, Rep, ReplyError, Replying, Request, Respondent};
pub use any::AnySocket;
pub use bus::Bus;
pub use context::{
    Context, RepContext, ReqContext, RespondentContext, SendingAnswer, SubContext, SurveyorContext,
};
pub use observe::{EndpointSnapshot, Observe, Snapshot};
pub use pair::Pair;
pub use pair1::{Pair1, PolyPair1, SendingTo};
pub use publish::Pub;
pub use pull::Pull;
pub use push::Push;
pub use req::{Req, Requesting};
pub use send::{Sending, SendsAsync};
pub use socket::Socket;
#[cfg(feature = "futures")]
pub use stream::{RecvStream, SendSink};
pub use subscribe::Sub;
pub use surveyor::{Survey, Surveyor};
