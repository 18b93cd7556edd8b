//! What the error of a call says that has timed out.
//!
//! Owns the text. The socket gathers the facts, not before the time is over: calls that succeed, and calls
//! that do not wait, pay nothing for it.

use std::fmt;
use std::time::Duration;

/// The situation of a socket when the time of a call was over: part of the errors that say so.
///
/// Its text is the sentence that such an error prints, with all facts:
///
/// ```
/// use std::time::Duration;
///
/// let push = sinew::Push::with_options(sinew::Options::new().name("jobs"))?;
/// let error = push.send_timeout("a job", Duration::from_millis(1)).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "send on \"jobs\" timed out after 1ms: the socket is neither bound nor connected"
/// );
/// # Ok::<(), sinew::OptionError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Situation(Box<Facts>);

/// On the heap, so that it does not make errors larger.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) call: Call,
    pub(crate) socket: String,
    /// How long it waited; `None`: until the deadline of its survey.
    pub(crate) waited: Option<Duration>,
    pub(crate) peers: usize,
    /// The endpoints of the socket, each with its status; empty where they do not matter.
    pub(crate) endpoints: Vec<String>,
    /// Another likely reason.
    pub(crate) hint: Option<&'static str>,
}

/// The call that has timed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Send,
    Recv,
    Request,
    Reply,
    /// A wait for this many peers.
    WaitForPeers(usize),
    /// A receive of pipe events.
    Events,
}

/// How many endpoints the sentence lists.
const LISTED: usize = 8;

impl Situation {
    pub(crate) fn new(facts: Facts) -> Self {
        Self(Box::new(facts))
    }

    /// The situation of a call for events of this socket that has waited so long.
    pub(crate) fn of_events(socket: &str, waited: Duration) -> Self {
        let (socket, waited) = (socket.to_owned(), Some(waited));
        let endpoints = Vec::new();
        Self::new(Facts { call: Call::Events, socket, waited, peers: 0, endpoints, hint: None })
    }

    /// The same situation, of another call.
    pub(super) fn of(mut self, call: Call) -> Self {
        self.0.call = call;
        self
    }

    /// The name of the call: `send`, `recv`, `request`, `reply`, `wait_for_peers` or `events`. The forms with
    /// `_timeout` have the same name.
    pub fn call(&self) -> &'static str {
        match self.0.call {
            Call::Send => "send",
            Call::Recv => "recv",
            Call::Request => "request",
            Call::Reply => "reply",
            Call::WaitForPeers(_) => "wait_for_peers",
            Call::Events => "events",
        }
    }

    /// The name of the socket: [`Options::name`](crate::Options::name), or its kind and a number.
    pub fn socket(&self) -> &str {
        &self.0.socket
    }

    /// How long the call was allowed to wait; `None`: until the deadline of its survey.
    pub fn waited(&self) -> Option<Duration> {
        self.0.waited
    }

    /// How many peers were connected; 0 for `events`, which does not count them.
    pub fn peers(&self) -> usize {
        self.0.peers
    }

    /// The endpoints of the socket and their status, one sentence for each: `connects to
    /// tcp://127.0.0.1:5555: waiting, 5 attempts, 0 peers, last error: connection refused`. Empty when a
    /// peer was connected, unless the call waited for peers. Programs should use
    /// [`Endpoint::status`](crate::Endpoint::status) instead of this text.
    pub fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.0.endpoints.iter().map(String::as_str)
    }
}

impl fmt::Display for Situation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Facts { call, socket, waited, .. } = &*self.0;
        write!(f, "{call} on {socket:?} ")?;
        match waited {
            Some(Duration::ZERO) => f.write_str("timed out at once: ")?,
            Some(waited) => write!(f, "timed out after {waited:?}: ")?,
            None => f.write_str("timed out, the survey is over: ")?,
        }
        self.0.fmt_peers(f)?;
        for endpoint in self.endpoints().take(LISTED) {
            write!(f, "; {endpoint}")?;
        }
        match self.0.endpoints.len() {
            listed if listed > LISTED => write!(f, "; and {} endpoints more", listed - LISTED),
            _ => Ok(()),
        }
    }
}

/// Writes what `Display` writes.
impl fmt::Debug for Situation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Facts {
    fn fmt_peers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.peers {
            _ if self.call == Call::Events => f.write_str("nothing has happened")?,
            0 if self.endpoints.is_empty() => {
                f.write_str("the socket is neither bound nor connected")?;
            }
            0 => f.write_str("nobody is connected")?,
            1 => f.write_str("1 peer is connected")?,
            peers => write!(f, "{peers} peers are connected")?,
        }
        self.hint.map_or(Ok(()), |hint| write!(f, ", {hint}"))
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Send => "send",
            Self::Recv => "recv",
            Self::Request => "request",
            Self::Reply => "reply",
            Self::WaitForPeers(peers) => return write!(f, "wait_for_peers({peers})"),
            Self::Events => "events",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let (socket, waited) = ("jobs".to_owned(), Some(Duration::from_millis(1500)));
        Facts { call: Call::Send, socket, waited, peers: 0, endpoints: vec![], hint: None }
    }

    fn sentence(facts: Facts) -> String {
        Situation::new(facts).to_string()
    }

    #[test]
    fn the_sentence_names_the_call_the_socket_the_time_and_what_there_was() {
        let endpoints = vec!["connects to a".to_owned(), "bound to b".to_owned()];
        assert_eq!(
            sentence(Facts { endpoints: endpoints.clone(), ..facts() }),
            "send on \"jobs\" timed out after 1.5s: nobody is connected; connects to a; bound to b"
        );
        assert_eq!(
            sentence(Facts { call: Call::Recv, peers: 2, hint: Some("alas"), ..facts() }),
            "recv on \"jobs\" timed out after 1.5s: 2 peers are connected, alas"
        );
        let (call, peers) = (Call::WaitForPeers(2), 1);
        assert_eq!(
            sentence(Facts { call, peers, endpoints, waited: Some(Duration::ZERO), ..facts() }),
            "wait_for_peers(2) on \"jobs\" timed out at once: 1 peer is connected; connects to a; bound to b"
        );
        assert_eq!(
            sentence(Facts { call: Call::Recv, peers: 1, waited: None, ..facts() }),
            "recv on \"jobs\" timed out, the survey is over: 1 peer is connected"
        );
    }

    #[test]
    fn a_sentence_lists_a_few_endpoints_only() {
        let endpoints: Vec<_> = (0..1000).map(|n| format!("bound to {n}")).collect();
        let sentence = sentence(Facts { endpoints, ..facts() });
        assert!(sentence.ends_with("; bound to 7; and 992 endpoints more"), "{sentence}");
    }
}
