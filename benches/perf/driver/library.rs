//! What a messaging library has to offer to be measured.

use super::{Executor, Kind, Task};

/// How much of a message the workloads look at.
pub(crate) const HEAD: usize = 32;

/// The beginning of a message that was received.
pub(crate) type Head = [u8; HEAD];

/// Copies the beginning of `body` and tells how long all of it is.
pub(crate) fn keep_head(body: &[u8], head: &mut Head) -> usize {
    let kept = body.len().min(HEAD);
    head[..kept].copy_from_slice(&body[..kept]);
    body.len()
}

/// A library, used as its users would.
///
/// Each message that is sent is made by copying the body into what the library calls a message, and
/// each that is received is taken as such, its head copied, and freed. A call that fails ends the
/// process by panicking.
pub(crate) trait Library: Send + Sync + 'static {
    const NAME: &'static str;
    /// What its calls are made from.
    type Executor: Executor;
    type Socket: Send + 'static;

    fn version() -> String;

    /// How many sockets a process can have, if that is less than the workloads ask for.
    fn most_sockets() -> Option<usize> {
        None
    }

    /// `None`: it has no such socket.
    fn open(kind: Kind, task: &Task) -> impl Future<Output = Option<Self::Socket>> + Send;

    fn subscribe(socket: &mut Self::Socket, topic: &[u8]) -> impl Future<Output = ()> + Send;

    fn bind(socket: &mut Self::Socket, url: &str) -> impl Future<Output = ()> + Send;

    fn connect(socket: &mut Self::Socket, url: &str) -> impl Future<Output = ()> + Send;

    fn send(socket: &mut Self::Socket, body: &[u8]) -> impl Future<Output = ()> + Send;

    fn recv(socket: &mut Self::Socket, head: &mut Head) -> impl Future<Output = usize> + Send;

    /// Receives what is asked and sends the same back; returns its length.
    fn echo(socket: &mut Self::Socket, head: &mut Head) -> impl Future<Output = usize> + Send;

    /// Sends a request and receives the reply.
    fn ask(
        socket: &mut Self::Socket,
        body: &[u8],
        head: &mut Head,
    ) -> impl Future<Output = ()> + Send {
        async {
            Self::send(socket, body).await;
            Self::recv(socket, head).await;
        }
    }

    /// Sends a survey and takes answers until there are `most` or its time is over; how many came.
    fn survey(
        socket: &mut Self::Socket,
        body: &[u8],
        most: usize,
    ) -> impl Future<Output = usize> + Send;
}
