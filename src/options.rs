//! Options: all settings of a socket or an endpoint, as plain data.
//!
//! Owns the values, their ranges, and the defaults of what an endpoint has. An [`Options`] is checked as a whole when a
//! socket takes it, so a wrong value is a typed error there and never a surprise later. Source of
//! the defaults: `docs/spec/semantics.md`, section 17.

mod settings;

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;

use crate::error::OptionError;
use crate::peer::Peer;
use crate::protocol_id::ProtocolId;
use crate::sync::Arc;
#[cfg(feature = "tls")]
use crate::tls::TlsConfig;

pub use settings::Settings;

/// Messages a queue may be told to hold.
const QUEUE: RangeInclusive<usize> = 1..=8192;
/// Bytes a queue may be told to hold.
const BYTES: RangeInclusive<usize> = 1..=usize::MAX;
const AT_LEAST_ONE_BYTE: &str = "at least 1 byte";

/// What a priority may be.
const PRIORITY: RangeInclusive<usize> =
    *Priorities::RANGE.start() as usize..=*Priorities::RANGE.end() as usize;

/// The options of a socket.
///
/// A plain value with chained setters. A socket checks the values when it takes them (`with_options`,
/// `set_options`), and refuses options that belong to other protocols. All sockets take the options about
/// waiting, queues and connections, even those that have no use for one, such as the send queue of a PULL.
///
/// ```
/// use sinew::{Options, Pair};
/// use std::time::Duration;
///
/// let options = Options::new().recv_timeout(Duration::from_millis(500)).send_queue(16);
/// let pair = Pair::with_options(options)?;
/// assert_eq!(pair.options().settings().recv_timeout, Some(Duration::from_millis(500)));
///
/// let error = Pair::with_options(Options::new().send_queue(0)).unwrap_err();
/// assert_eq!(error.to_string(), "option send_queue is 0, allowed is 1 to 8192 messages");
/// # Ok::<(), sinew::OptionError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options have effect on the socket they are given to"]
pub struct Options {
    pub(crate) name: Option<String>,
    pub(crate) send_timeout: Option<Duration>,
    pub(crate) recv_timeout: Option<Duration>,
    interruptible: bool,
    /// Depends on the protocol when not set.
    send_queue: Option<usize>,
    pub(crate) send_queue_bytes: usize,
    pub(crate) recv_queue: usize,
    pub(crate) recv_queue_bytes: usize,
    pub(crate) recv_budget: usize,
    /// `None`: the default, which depends on `max_recv_size`.
    max_send_size: Option<Option<usize>>,
    pub(crate) spin: Option<Duration>,
    pub(crate) linger: Duration,
    pub(crate) admit: Option<Admit>,
    pub(crate) max_peers: usize,
    pub(crate) endpoint: EndpointSettings,
    pub(crate) ttl: Option<u16>,
    pub(crate) resend_interval: Option<Option<Duration>>,
    max_resends: Option<Option<u32>>,
    pub(crate) survey_deadline: Option<Option<Duration>>,
    pub(crate) survey_storage: Option<usize>,
    /// `None`: the default of the protocol.
    overflow: Option<Overflow>,
    requeue: Option<bool>,
    keep: Keep,
}

/// The callback that lets a peer in or not.
#[derive(Clone)]
pub(crate) struct Admit(pub(crate) Arc<dyn Fn(&Peer) -> bool + Send + Sync>);

impl fmt::Debug for Admit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: None,
            send_timeout: None,
            recv_timeout: None,
            interruptible: false,
            send_queue: None,
            send_queue_bytes: QUEUE_BYTES,
            recv_queue: QUEUE_MESSAGES,
            recv_queue_bytes: QUEUE_BYTES,
            recv_budget: RECV_BUDGET,
            spin: None,
            max_send_size: None,
            linger: Duration::ZERO,
            admit: None,
            max_peers: MAX_PEERS,
            endpoint: EndpointSettings::default(),
            ttl: None,
            resend_interval: None,
            max_resends: None,
            survey_deadline: None,
            survey_storage: None,
            overflow: None,
            requeue: None,
            keep: Keep::default(),
        }
    }
}

/// The default limit of the peers of a socket, and of the peers of a listener that have not shown their header.
const MAX_PEERS: usize = 16_384;
const MAX_HANDSHAKES: usize = 16_384;

/// The default limit of messages sent and received, the same as in nanomsg and mangos.
const MAX_SIZE: usize = 1 << 20;

// The defaults of options that only some protocols have.
const TTL: u8 = 8;
const RESEND_INTERVAL: Duration = Duration::from_secs(60);
const SURVEY_DEADLINE: Duration = Duration::from_secs(1);
const SURVEY_STORAGE: usize = 128;

/// The default number of messages of a queue. Large enough that a broadcast to many peers, or a burst, seldom
/// meets a full queue: a PUB with eight subscribers sends 1.7 times as fast as with 128. With 8192, messages have
/// left the processor's cache before they are taken.
pub(crate) const QUEUE_MESSAGES: usize = 1000;
/// The default number of bytes of a queue. More made nothing faster, for any length of messages.
const QUEUE_BYTES: usize = 1 << 20;
/// The default budget of a socket: the full receive queues of 64 connections.
const RECV_BUDGET: usize = 64 << 20;
/// A SUB whose queue is set to fewer messages than this prefers new messages.
const FRESH: usize = 128;

/// A longer spin gains nothing.
const LONGEST_SPIN: Duration = Duration::from_millis(1);

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// A name for log records, metrics and `Debug`: any text. Default: the socket type and a number, such
    /// as `push-1`.
    ///
    /// Names need not be unique. A socket takes its name when it is made; `set_options` does not change it.
    #[doc(alias("NN_SOCKET_NAME", "NNG_OPT_SOCKNAME"))]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How long a send may wait. Default `None`: forever, as does `Duration::MAX`. Zero: one attempt, then
    /// `TimedOut`.
    ///
    /// Takes effect for later calls; a context keeps the value that the socket had when the context was
    /// made. Has no effect on `try_`, `_timeout` and `_async` calls.
    #[doc(alias("NN_SNDTIMEO", "NNG_OPT_SENDTIMEO", "ZMQ_SNDTIMEO"))]
    pub fn send_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.send_timeout = timeout.into();
        self
    }

    /// How long a receive or a request may wait. Default `None`: forever, as does `Duration::MAX`. Zero: one
    /// attempt, then `TimedOut`.
    ///
    /// Takes effect for later calls; a context keeps the value that the socket had when the context was
    /// made. Has no effect on `try_`, `_timeout` and `_async` calls, nor on iterators.
    #[doc(alias("NN_RCVTIMEO", "NNG_OPT_RECVTIMEO", "ZMQ_RCVTIMEO"))]
    pub fn recv_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.recv_timeout = timeout.into();
        self
    }

    /// Whether a signal handler that runs in a thread while it sleeps in a call ends that call with `Interrupted`.
    /// Default false: the thread sleeps on. Only on Linux and Android.
    ///
    /// Nothing is lost: a send gives its message back, and what comes later can be received. A call that finds what
    /// it has waited for returns that. Concerns every form of `send`, `recv` and `request` that waits in a thread,
    /// those of contexts and surveys too, and ends an iterator; whatever `SA_RESTART` says. A handler that runs a
    /// moment before the thread sleeps ends nothing, as with any system call: to miss no signal, have the handler
    /// also write to a descriptor that the program polls together with a [`Readiness`](crate::Readiness). Takes
    /// effect for later calls.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[doc(alias("EINTR", "signal"))]
    pub fn interruptible(mut self, on: bool) -> Self {
        self.interruptible = on;
        self
    }

    /// How many messages may wait in the send queue of one pipe, 1 to 8192. Default 1000; 64 for raw
    /// REP and RESPONDENT.
    ///
    /// One message always fits, whatever its size. A REP or RESPONDENT keeps a place in it for the answer to each
    /// request that it has received, so that a program has at most so many requests of one peer in hand. Takes
    /// effect for pipes made later.
    #[doc(alias("NNG_OPT_SENDBUF", "ZMQ_SNDHWM"))]
    pub fn send_queue(mut self, messages: usize) -> Self {
        self.send_queue = Some(messages);
        self
    }

    /// How many bytes, protocol headers included, may wait in the send queue of one pipe, at least 1.
    /// Default 1 MiB.
    ///
    /// One message always fits, whatever its size, and so does the answer to each request that a REP or RESPONDENT
    /// has received. Takes effect for pipes made later.
    #[doc(alias("NN_SNDBUF"))]
    pub fn send_queue_bytes(mut self, bytes: usize) -> Self {
        self.send_queue_bytes = bytes;
        self
    }

    /// How many bytes of memory all connections of the socket may hold together for what peers have sent: for
    /// messages in receive queues, also of peers that are gone, and for messages that are not whole yet. Default
    /// 64 MiB.
    ///
    /// A connection is read on while it holds less than what is left of the budget. So when memory is short, those
    /// that hold most are read no further until the program has received ([`Stats::budget_pauses`]
    /// counts that), and their peers feel back-pressure. Nothing is lost. While enough is left, only the bounds of
    /// each queue count.
    ///
    /// Each connection may hold 32 KiB beside the budget, so peers with messages up to 28 KiB are always heard. One
    /// at a time may exceed the budget until its message is whole, so a message of any length arrives. With 0
    /// everybody has those 32 KiB, and larger messages arrive one after the other. `usize::MAX`: no limit.
    /// Takes effect at once. Inproc peers do not count: what they have sent is this program's own. The rule:
    /// [what all peers of a socket may make it hold](crate::spec::semantics#133-what-all-peers-of-a-socket-may-make-it-hold).
    ///
    /// [`Stats::budget_pauses`]: crate::Stats::budget_pauses
    pub fn recv_budget(mut self, bytes: usize) -> Self {
        self.recv_budget = bytes;
        self
    }

    /// How many messages may wait in the receive queue of one pipe, 1 to 8192. Default 1000.
    ///
    /// A connection stops reading when its queue is full, and the peer feels back-pressure. Messages that are
    /// not read wait in the kernel, as far as its buffers go; see
    /// [`kernel_recv_buffer`](Self::kernel_recv_buffer).
    ///
    /// With 128 messages or more, and 1 MiB or more in [`recv_queue_bytes`](Self::recv_queue_bytes), a
    /// connection reads by the block: it keeps all that one read of at most 256 KiB brought, and the queue may
    /// exceed its bound by that much. With less of either, it reads no further than the queue has room for, at
    /// the price of up to two reads for a message. Takes effect for pipes made later.
    #[doc(alias("NNG_OPT_RECVBUF", "ZMQ_RCVHWM"))]
    pub fn recv_queue(mut self, messages: usize) -> Self {
        self.recv_queue = messages;
        self
    }

    /// How many bytes, protocol headers included, may wait in the receive queue of one pipe, at least 1.
    /// Default 1 MiB.
    ///
    /// One message always fits, whatever its size. See [`recv_queue`](Self::recv_queue).
    ///
    /// The same number bounds what all peers that are gone have left unread, counting their messages and 1
    /// KiB for each of these peers. When they exceed it, nothing is lost: the socket accepts no peer,
    /// reconnects to none, and reads no further from one that has left, until the program has received half
    /// of it. Connected peers are read as before. New peers wait, and
    /// [`intake_pauses`](crate::Stats::intake_pauses) counts it. SUB and BUS, which never make their senders
    /// wait, drop the oldest message instead and count it as [`PeerLeft`](crate::DropReason::PeerLeft).
    #[doc(alias("NN_RCVBUF"))]
    pub fn recv_queue_bytes(mut self, bytes: usize) -> Self {
        self.recv_queue_bytes = bytes;
        self
    }

    /// How long a call that has to wait spins, that is polls again and again, before it sleeps, 0 to 1 ms. Zero:
    /// not at all. Default `None`: as long as a wake-up costs.
    ///
    /// A message that arrives within that time is received without a wake-up, which takes from 3 to 50 us, at
    /// the price of a busy processor. By default the process measures what a wake-up takes; a wait spins
    /// for at most twice that and 10 us, and never for more than 100 us. A socket spins only while that pays:
    /// while its last waits have taken less time than a sleep would have cost, or, if a time is set, were over
    /// within it. So a time that is longer than a wake-up buys quick answers with processor time. At most half
    /// as many threads of a process spin at once as it has processors, and none if it has one. Where tasks or
    /// several threads wait, the I/O thread spins for them as it does by default, but only for sockets that may.
    /// [`spins_paid`](crate::Stats::spins_paid), [`spins_unpaid`](crate::Stats::spins_unpaid),
    /// [`spin_nanoseconds`](crate::Stats::spin_nanoseconds) and [`Runtime::spins`](crate::Runtime::spins) count
    /// what came of it. Takes effect for later calls.
    pub fn spin(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.spin = time.into();
        self
    }

    /// The longest message that may be sent, in bytes, protocol header included. Default: 1 MiB, the limit
    /// that peers have by default, or `max_recv_size` if that is more.
    ///
    /// Set it to what the peers accept. A peer that meets a message over its `max_recv_size` closes the
    /// connection without a word, and the message is lost; over this limit the send fails with `TooLarge`,
    /// and gives the message back. The header has 4 bytes in REQ, SURVEYOR and PAIR v1, and in an answer as
    /// many as in the request; each device on the way adds 4. `None`: no limit. Zero: only empty messages. A
    /// socket whose endpoints are all inproc has no limit unless one is set. Takes effect for later calls.
    pub fn max_send_size(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.max_send_size = Some(bytes.into());
        self
    }

    /// The longest message that may be received, in bytes, protocol header included. Default 1 MiB.
    ///
    /// A peer that announces a longer message is disconnected before any memory is allocated for it, and
    /// `oversize` counts it. `None`: no limit but that of memory, which is 2 GiB where pointers have 32 bits.
    /// Zero: only empty messages. Not enforced on inproc.
    ///
    /// Takes effect for messages read later, also on existing endpoints and connections, except on endpoints
    /// with a limit of their own (`bind_with`, `connect_with`). A message whose length was already announced
    /// when the limit is lowered is received.
    #[doc(alias("NN_RCVMAXSIZE", "NNG_OPT_RECVMAXSZ", "ZMQ_MAXMSGSIZE"))]
    pub fn max_recv_size(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.endpoint.max_recv_size = bytes.into();
        self
    }

    /// How long the connections of a closed socket may go on writing what was queued. Default zero: the
    /// socket hands the kernel what it takes without waiting, and drops and counts the remainder.
    ///
    /// `close` itself takes at most 25 ms; the event loop writes on. A program that is about to exit, or to
    /// drop its own [`Runtime`](crate::Runtime) with the socket, should call `drain` instead.
    /// `Duration::MAX`: until all is written or the peer is gone. Takes effect when a socket, an endpoint or a
    /// pipe is closed. No effect on inproc.
    #[doc(alias("NN_LINGER", "ZMQ_LINGER"))]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Decides which peers are let in. Default: all.
    ///
    /// The callback is called once for each peer, before any message can pass. It may take its time, since it
    /// holds up nothing but the peer that it decides about. If it returns `false` or panics, the peer sees
    /// its connection closed, and `rejected_pipes` counts it. If the endpoint or the socket is closed
    /// meanwhile, the peer is turned away at once, whatever the callback returns. Takes effect for peers that
    /// come later.
    ///
    /// For tcp, ipc and custom transports it runs on a thread named `sinew-admit`, made when it is needed.
    /// Up to 64 such threads for each I/O thread run at once, so the callback must expect to be called
    /// concurrently; further peers wait for a thread. While 1024 peers of a socket wait for a decision, its
    /// listeners accept no more, until half of them are decided, and
    /// [`intake_pauses`](crate::Stats::intake_pauses) counts it; new peers wait in the kernel. For inproc it
    /// runs in the thread that binds or connects, or for a later attempt on a `sinew-admit` thread. In a
    /// manual runtime it runs in the thread that turns the loop, which may be any that waits in a call.
    ///
    /// No lock of the socket is held. The callback may close the socket or make any other call, but no call
    /// that waits if it runs in a thread that turns a loop.
    pub fn admit(mut self, admit: impl Fn(&Peer) -> bool + Send + Sync + 'static) -> Self {
        self.admit = Some(Admit(Arc::new(admit)));
        self
    }

    /// How many peers the socket may have before its listeners let in no more, at least 1. Default 16,384.
    ///
    /// A peer over the limit is closed after it has shown its header, and has not been sent ours: so it has
    /// no pipe, and loses no message. The pipe event says
    /// [`DetachReason::TooManyPeers`](crate::DetachReason::TooManyPeers), `peers_over_limit` counts it, and a
    /// log record at level `warn` tells of the first. Its place is free as soon as another peer has left. Peers
    /// that the socket itself connects to count, but are let in all the same, since the program asked for them.
    ///
    /// [`EndpointOptions::max_peers`] limits one listener beside this. Takes effect for peers that come later.
    pub fn max_peers(mut self, peers: usize) -> Self {
        self.max_peers = peers;
        self
    }

    /// How many connections of a listener may be without the peer's header at one time, at least 1. Default
    /// 16,384.
    ///
    /// While 64 are (or half of the limit, if that is less), a newcomer is sent our header only when it has sent its
    /// own. If one more than the limit comes, or none can be accepted for want of descriptors, the oldest of those
    /// newcomers is closed, unless its header turns out to be there; it has seen no header, so it has sent no message
    /// that could be lost, and comes again. Keep the limit above the number of peers that may come at once: a program
    /// that begins thousands of connections takes a while to send its headers. So those who connect and say nothing cannot use up
    /// the descriptors, and cannot keep out those who send their header at once, as all implementations do.
    /// `handshakes_evicted` counts them, and a log record at level `warn` tells of the first. With several I/O threads each looks at its own, so there may be as many more as
    /// there are threads. Takes effect for endpoints made later. No effect on inproc.
    pub fn max_handshakes(mut self, connections: usize) -> Self {
        self.endpoint.max_handshakes = connections;
        self
    }

    /// How long a dialer pauses before it tries again, on average. Default 180 ms; zero is invalid.
    ///
    /// Takes effect for endpoints made later. See [`EndpointOptions::reconnect_interval`].
    #[doc(alias("NN_RECONNECT_IVL", "NNG_OPT_RECONNMINT", "ZMQ_RECONNECT_IVL"))]
    pub fn reconnect_interval(mut self, interval: Duration) -> Self {
        self.endpoint.reconnect_interval = interval;
        self
    }

    /// What the average pause between attempts may grow to. Default `None`: always `reconnect_interval`.
    ///
    /// Takes effect for endpoints made later. See [`EndpointOptions::reconnect_max`].
    #[doc(alias("NN_RECONNECT_IVL_MAX", "NNG_OPT_RECONNMAXT", "ZMQ_RECONNECT_IVL_MAX"))]
    pub fn reconnect_max(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.endpoint.reconnect_max = interval.into();
        self
    }

    /// How long one attempt may take until the connection is established. Default 10 s; zero is invalid.
    ///
    /// The whole attempt counts: looking up the name, and trying all its addresses. Attempts at the addresses
    /// begin 250 ms apart, and the first that succeeds wins. An address that does not answer is tried again
    /// every second, so that a network that returns is noticed soon. The exchange of headers that follows has
    /// its own limit, [`handshake_timeout`](Self::handshake_timeout).
    ///
    /// When the time is over, `connect_now` fails with
    /// [`AttemptError::TimedOut`](crate::AttemptError::TimedOut), and `connect` tries again after
    /// [`reconnect_interval`](Self::reconnect_interval). `None`: the system's own limit, about two minutes for
    /// tcp on Linux. No effect on inproc. Takes effect for endpoints made later.
    #[doc(alias("ZMQ_CONNECT_TIMEOUT"))]
    pub fn connect_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.endpoint.connect_timeout = timeout.into();
        self
    }

    /// How long nothing may come of a message that has begun to arrive. Then the connection is closed. Default 30 s;
    /// zero is invalid.
    ///
    /// Any byte of the message starts the time anew. While a connection is not read, because its queue is full, no
    /// time passes. Checked every now and then: it may take up to a minute longer. A connection that is between two
    /// messages may be silent for ever. `Duration::MAX`: no limit. Counted as
    /// [`frame_timeouts`](crate::Stats::frame_timeouts). Takes effect for endpoints made later. The rule:
    /// [the specification](crate::spec::semantics#132-messages-that-do-not-go-on).
    pub fn frame_timeout(mut self, timeout: Duration) -> Self {
        self.endpoint.frame_timeout = timeout;
        self
    }

    /// How long a peer may take to send its whole connection header. Default 10 s; zero is invalid.
    ///
    /// Counted from when the connection is established; [`connect_timeout`](Self::connect_timeout) bounds the
    /// time before. On inproc, how long `connect_now` waits for a socket that lets nobody in for the time
    /// being (see [`recv_queue_bytes`](Self::recv_queue_bytes)). `Duration::MAX`: forever. Takes effect for
    /// endpoints made later.
    #[doc(alias("ZMQ_HANDSHAKE_IVL"))]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.endpoint.handshake_timeout = timeout;
        self
    }

    /// Whether small tcp segments are sent at once (`TCP_NODELAY`). Default true.
    ///
    /// Takes effect for endpoints made later. No effect on other transports.
    #[doc(alias("NN_TCP_NODELAY", "NNG_OPT_TCP_NODELAY"))]
    pub fn tcp_nodelay(mut self, on: bool) -> Self {
        self.endpoint.tcp_nodelay = on;
        self
    }

    /// How long the machine of a tcp peer may be silent before the connection is lost. Default 75 s; zero is
    /// invalid. `None`: as long as the system likes, which may be forever.
    ///
    /// A peer that has lost power, or whose cable was pulled, is silent, and the pipe ends with
    /// [`DetachReason::Silent`](crate::DetachReason::Silent). If nothing is on the way, the kernel probes
    /// the peer after three fifths of this time (`SO_KEEPALIVE`), which counts whole seconds, at least 2 and at
    /// most 32,767. If bytes are on the way, their acknowledgement is the answer, and the end is noticed at
    /// most a quarter or 2 s later. The latter only on Linux: elsewhere the system decides, which may take a quarter of an hour.
    ///
    /// A peer that is slow, stuck or stopped is not silent, since its kernel answers: back-pressure may last
    /// as long as it likes. Takes effect for endpoints made later. No effect on other transports: on one
    /// machine the kernel tells of every end.
    #[doc(alias("NNG_OPT_TCP_KEEPALIVE", "ZMQ_TCP_KEEPALIVE", "TCP_USER_TIMEOUT"))]
    pub fn tcp_keepalive(mut self, silence: impl Into<Option<Duration>>) -> Self {
        self.endpoint.tcp_keepalive = silence.into();
        self
    }

    /// The size of the kernel's send buffer of a connection, in bytes (`SO_SNDBUF`). Default `None`: the
    /// system's, which on Linux grows by itself up to megabytes. Zero is invalid.
    ///
    /// A message in this buffer has left the socket: it is in no queue, `drain` does not wait for it, and
    /// `requeue` does not bring it back. Linux doubles the value, raises it to at least 4608 bytes, limits it
    /// by `net.core.wmem_max`, and counts its own bookkeeping in it, several hundred bytes for a small
    /// message. Takes effect for endpoints made later. On tcp and ipc; no effect on inproc.
    #[doc(alias("SO_SNDBUF", "ZMQ_SNDBUF"))]
    pub fn kernel_send_buffer(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.endpoint.kernel_send_buffer = bytes.into();
        self
    }

    /// The size of the kernel's receive buffer of a connection, in bytes (`SO_RCVBUF`). Default `None`: the
    /// system's. Zero is invalid.
    ///
    /// As [`kernel_send_buffer`](Self::kernel_send_buffer), with at least 2304 bytes and at most
    /// `net.core.rmem_max`. Only on tcp: on ipc the kernel counts all bytes under way in the sender's buffer.
    #[doc(alias("SO_RCVBUF", "ZMQ_RCVBUF"))]
    pub fn kernel_recv_buffer(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.endpoint.kernel_recv_buffer = bytes.into();
        self
    }

    /// Who we are in TLS, and whom we trust. Default: no certificate of our own, and the authorities of the system, with
    /// which a socket can connect to `tls+tcp://` addresses, but not bind one.
    ///
    /// Takes effect for endpoints made later. What [`TlsConfig::replace`](crate::tls::TlsConfig::replace) changes takes
    /// effect for connections that begin later. No effect on transports without TLS. With the feature `tls`.
    #[cfg(feature = "tls")]
    #[doc(alias("NNG_OPT_TLS_CONFIG"))]
    pub fn tls(mut self, config: impl Into<Option<TlsConfig>>) -> Self {
        self.endpoint.tls = config.into();
        self
    }

    /// The most hops over which a message may arrive, 1 to 255. Default 8.
    ///
    /// 1 admits only direct peers, 2 one device in between. Takes effect for messages received later. Only
    /// for REP, RESPONDENT and PAIR v1.
    #[doc(alias("NN_TTL", "NN_MAXTTL", "NNG_OPT_MAXTTL"))]
    pub fn ttl(mut self, hops: u16) -> Self {
        self.ttl = Some(hops);
        self
    }

    /// How long a request waits for its reply before it is sent again. Default 60 s; zero is invalid.
    ///
    /// A request whose peer is lost is sent again at once, to any connected peer; if it loses its peer again,
    /// no sooner than 250 ms (or the interval, if that is shorter) after it was last sent. `None` turns all
    /// resending off: a request whose peer is lost then fails with `ConnectionReset`. Takes effect for
    /// requests sent, and contexts made, later. Only for REQ.
    #[doc(alias("NN_REQ_RESEND_IVL", "NNG_OPT_REQ_RESENDTIME"))]
    pub fn resend_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.resend_interval = Some(interval.into());
        self
    }

    /// How often a request may be sent again after the first time, for any reason. Default `None`: no limit.
    /// Zero: never.
    ///
    /// A request that has reached the limit goes on waiting for the reply to any of its copies. When the last
    /// peer that has one is lost, it fails with `GivenUp`. Has no effect if `resend_interval` is `None`. Takes
    /// effect for requests sent, and contexts made, later. Only for REQ.
    pub fn max_resends(mut self, times: impl Into<Option<u32>>) -> Self {
        self.max_resends = Some(times.into());
        self
    }

    /// How long a survey waits for answers. Default 1 s; zero is invalid; `None`: no end.
    ///
    /// Takes effect for surveys sent, and contexts made, later. Only for SURVEYOR.
    #[doc(alias("NN_SURVEYOR_DEADLINE", "NNG_OPT_SURVEYOR_SURVEYTIME"))]
    pub fn survey_deadline(mut self, deadline: impl Into<Option<Duration>>) -> Self {
        self.survey_deadline = Some(deadline.into());
        self
    }

    /// How many unread answers one survey may store, 1 to 8192. Default 128. Further answers are dropped and
    /// counted as [`RecvQueueFull`](crate::DropReason::RecvQueueFull).
    ///
    /// Takes effect for surveys sent, and contexts made, later. Only for SURVEYOR.
    pub fn survey_storage(mut self, answers: usize) -> Self {
        self.survey_storage = Some(answers);
        self
    }

    /// What becomes of a message for which a peer has no room. [`Overflow`] lists the defaults.
    ///
    /// Takes effect for messages sent later. Only for PUSH, PUB, BUS, SURVEYOR and PAIR v1 with many peers.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = Some(overflow);
        self
    }

    /// Whether messages that were queued for a peer that is lost go to another one. Default false:
    /// they are dropped and counted as [`PipeLost`](crate::DropReason::PipeLost).
    ///
    /// Only messages of which no byte was written to the connection come back, so requeueing delivers nothing
    /// twice; messages that the kernel has taken are still lost. Messages that come back are sent before
    /// anything new, and sends wait until there is room for them. Takes effect for connections that are lost
    /// later. Has no effect on inproc, where a message belongs to the peer as soon as it is sent. Only for
    /// PUSH.
    pub fn requeue(mut self, yes: bool) -> Self {
        self.requeue = Some(yes);
        self
    }

    /// How many messages may wait to be received, 1 to 8192, for the socket and for each context.
    /// Default 1000. Further messages are dropped and counted as
    /// [`RecvQueueFull`](crate::DropReason::RecvQueueFull); [`prefer_new`](Self::prefer_new) says which. The
    /// queue is also full when it holds [`sub_queue_bytes`](Self::sub_queue_bytes).
    ///
    /// A queue of fewer than 128 messages prefers new messages, as with `prefer_new(true)`: it holds the newest,
    /// however slow the program is. `prefer_new(false)` prevents that.
    ///
    /// Any other queue drops nothing while the program keeps receiving. When it is full, further messages
    /// stay in the pipes and the publishers feel back-pressure, until the program has received nothing for 100
    /// to 200 ms. (Without further contexts, messages stay in the pipes as soon as one is queued, so that only
    /// [`recv_queue`](Self::recv_queue) messages of each publisher wait meanwhile.) A program counts as
    /// receiving from its first call on: a burst that comes before may lose its beginning. One context must
    /// not hold up the others: full queues drop as soon as a context that has received before has an empty
    /// queue, or a context that prefers new messages has a topic.
    ///
    /// When the queue is made smaller, messages that no longer fit are dropped. Only for SUB.
    #[doc(alias("NNG_OPT_RECVBUF", "ZMQ_RCVHWM"))]
    pub fn sub_queue(mut self, messages: usize) -> Self {
        self.keep.queue = Some(messages);
        self
    }

    /// How many bytes may wait to be received, at least 1, for the socket and for each context. Default 1 MiB.
    ///
    /// The queue is full when it holds this many bytes, or [`sub_queue`](Self::sub_queue) messages, whichever
    /// comes first; further messages are dropped by the same rule. One message always fits, whatever its size,
    /// so the queue holds at most one message more than the bytes allow. A message that waits for several
    /// contexts counts for each of them, though its bytes are in memory once. A small value does not make the
    /// queue prefer new messages.
    ///
    /// When the bound is made smaller, messages that no longer fit are dropped. Only for SUB.
    #[doc(alias("ZMQ_RCVHWM"))]
    pub fn sub_queue_bytes(mut self, bytes: usize) -> Self {
        self.keep.bytes = Some(bytes);
        self
    }

    /// Which message a full [`sub_queue`](Self::sub_queue) drops, and whether it may hold up the publishers
    /// first. Default: not set.
    ///
    /// * Not set: the queue holds up publishers while the program keeps receiving; otherwise it drops its
    ///   oldest message.
    /// * `true`: the queue drops its oldest message, whatever the program does, and never holds up publishers.
    ///   A receive returns one of the newest `sub_queue` messages that have arrived. A burst longer than the
    ///   queue loses its beginning, however fast the program reads.
    /// * `false`: the queue holds up publishers while the program keeps receiving; otherwise it drops the new
    ///   message.
    ///
    /// Takes effect at once. Only for SUB.
    #[doc(alias("NNG_OPT_SUB_PREFNEW"))]
    pub fn prefer_new(mut self, yes: bool) -> Self {
        self.keep.prefer_new = Some(yes);
        self
    }

    /// Keeps only the newest queued message of each key. Default `None`: keeps all, as the queues have room.
    /// Only for PUB and SUB.
    ///
    /// A new message replaces the queued one with the same key, which is dropped and counted as
    /// [`ConflatedUnread`](crate::DropReason::ConflatedUnread) on a SUB and
    /// [`ConflatedUnsent`](crate::DropReason::ConflatedUnsent) on a PUB. It keeps the position of the one
    /// replaced, so that a key that changes often does not delay the others.
    ///
    /// A SUB conflates in the queue of the socket and of each context. It never holds up publishers, as with
    /// [`prefer_new(true)`](Self::prefer_new). [`sub_queue`](Self::sub_queue) bounds the number of keys; beyond
    /// it the one that has waited longest is dropped, or with `prefer_new(false)` the new one.
    ///
    /// A PUB conflates for each subscriber. While one message is on its way to the connection, it holds and
    /// replaces the others, up to [`send_queue`](Self::send_queue) keys and
    /// [`send_queue_bytes`](Self::send_queue_bytes); beyond that [`overflow`](Self::overflow) decides, which
    /// must not be `Wait`. Messages that the kernel has taken cannot be replaced: a subscriber that has not
    /// read finds those in the kernel's buffers first, and then the newest. Each message is written by itself.
    ///
    /// Takes effect at once, also on queued messages.
    ///
    /// ```
    /// use sinew::{Conflate, Options, Pub, Sub};
    /// use std::time::Duration;
    ///
    /// let options = Options::new().conflate(Conflate::Until(b' '));
    /// let (publisher, subscriber) = (Pub::new(), Sub::with_options(options)?);
    /// subscriber.subscribe("")?;
    /// publisher.bind("inproc://conflate-doc")?;
    /// subscriber.connect("inproc://conflate-doc")?;
    /// publisher.wait_for_peers(1, Duration::from_secs(1))?;
    /// for price in ["gold 1", "tin 1", "gold 2", "gold 3"] {
    ///     publisher.send(price)?;
    /// }
    /// assert_eq!(subscriber.recv()?, "gold 3");
    /// assert_eq!(subscriber.recv()?, "tin 1");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("ZMQ_CONFLATE", "last value"))]
    pub fn conflate(mut self, key: impl Into<Option<Conflate>>) -> Self {
        self.keep.conflate = key.into();
        self
    }

    /// The priority of an endpoint's peers when the socket chooses where to send, 1 to 16; 1 is served first.
    /// Default 8.
    ///
    /// Priorities are strict: a peer gets messages only while no peer of a better priority has room; peers
    /// of one priority take turns. Takes effect for endpoints made later. Only for PUSH and REQ, which choose
    /// one peer for each message. The priority is not visible on the wire.
    ///
    /// The rules in full: [semantics, 3.4](crate::spec::semantics#34-priorities).
    #[doc(alias("NN_SNDPRIO"))]
    pub fn send_priority(mut self, priority: u8) -> Self {
        self.endpoint.send_priority = Some(priority);
        self
    }

    /// The priority of an endpoint's peers when the socket chooses from whom to receive, 1 to 16; 1 is served
    /// first. Default 8.
    ///
    /// As strict as [`send_priority`](Self::send_priority). Takes effect for endpoints made later. Only for
    /// sockets that choose between peers: PULL, SUB, BUS, REP, RESPONDENT, PAIR v1 with many peers, and the
    /// raw forms of these, of REQ and of SURVEYOR.
    #[doc(alias("NN_RCVPRIO"))]
    pub fn recv_priority(mut self, priority: u8) -> Self {
        self.endpoint.recv_priority = Some(priority);
        self
    }

    /// The value of every option: what was set, and the defaults of the others. Where the default
    /// depends on the kind of socket it is known in [`options`](crate::Socket::options) of a socket only.
    ///
    /// ```
    /// let settings = sinew::Push::new().options().settings();
    /// assert_eq!((settings.send_queue, settings.recv_priority), (1000, 8));
    /// assert_eq!(settings.overflow, Some(sinew::Overflow::Wait));
    /// ```
    pub fn settings(&self) -> Settings {
        Settings::of(self)
    }

    /// Whether nobody has set `max_send_size`.
    pub(crate) fn is_max_send_size_default(&self) -> bool {
        self.max_send_size.is_none()
    }

    /// When and how often a REQ sends again.
    pub(crate) fn resends(&self) -> Resends {
        Resends {
            interval: Settings::resend_interval_of(self),
            limit: self.max_resends.flatten().unwrap_or(Resends::NO_LIMIT),
        }
    }

    /// What a PUB holds for each subscriber, if it conflates.
    pub(crate) fn conflating(&self) -> Option<Conflating> {
        let Settings { conflate, send_queue, send_queue_bytes, .. } = self.settings();
        Some(Conflating { by: conflate?, messages: send_queue, bytes: send_queue_bytes })
    }

    /// Which messages a SUB keeps.
    pub(crate) fn keep(&self) -> Keep {
        self.keep
    }

    /// What a socket does when a peer has no room, in a protocol that has a choice.
    pub(crate) fn overflow_of(&self, kind: &SocketKind) -> Overflow {
        self.overflow.or(kind.overflow.first().copied()).unwrap_or(Overflow::Wait)
    }

    /// The same options with the defaults in place that depend on the protocol.
    pub(crate) fn with_defaults_of(mut self, kind: &SocketKind) -> Self {
        self.send_queue.get_or_insert(kind.send_queue);
        self.overflow = self.overflow.or(kind.overflow.first().copied());
        self
    }

    /// Checks every value, and that no option belongs to another kind of socket.
    pub(crate) fn check(&self, kind: &SocketKind) -> Result<(), OptionError> {
        let queue = "1 to 8192 messages";
        in_range("send_queue", self.settings().send_queue, &QUEUE, queue)?;
        in_range("recv_queue", self.recv_queue, &QUEUE, queue)?;
        in_range("send_queue_bytes", self.send_queue_bytes, &BYTES, AT_LEAST_ONE_BYTE)?;
        in_range("recv_queue_bytes", self.recv_queue_bytes, &BYTES, AT_LEAST_ONE_BYTE)?;
        in_range("max_peers", self.max_peers, &(1..=usize::MAX), "at least 1 peer")?;
        if let Some(time) = self.spin.filter(|&time| time > LONGEST_SPIN) {
            let (option, value) = ("spin", format!("{time:?}"));
            return Err(OptionError::Invalid { option, value, allowed: "0 to 1 ms" });
        }
        self.endpoint.check(kind)?;
        self.check_own(kind)
    }

    fn check_own(&self, kind: &SocketKind) -> Result<(), OptionError> {
        let set = [
            (RoleOption::Ttl, self.ttl.is_some()),
            (RoleOption::ResendInterval, self.resend_interval.is_some()),
            (RoleOption::MaxResends, self.max_resends.is_some()),
            (RoleOption::SurveyDeadline, self.survey_deadline.is_some()),
            (RoleOption::SurveyStorage, self.survey_storage.is_some()),
            (RoleOption::Overflow, self.overflow.is_some()),
            (RoleOption::Requeue, self.requeue.is_some()),
            (RoleOption::SubQueue, self.keep.queue.is_some()),
            (RoleOption::SubQueueBytes, self.keep.bytes.is_some()),
            (RoleOption::PreferNew, self.keep.prefer_new.is_some()),
            (RoleOption::Conflate, self.keep.conflate.is_some()),
        ];
        set.into_iter().filter(|&(_, set)| set).try_for_each(|(own, _)| own.check(kind))?;
        if let Some(ttl) = self.ttl {
            in_range("ttl", usize::from(ttl), &(1..=255), "1 to 255 hops")?;
        }
        if let Some(Some(interval)) = self.resend_interval {
            not_zero("resend_interval", interval)?;
        }
        if let Some(Some(deadline)) = self.survey_deadline {
            not_zero("survey_deadline", deadline)?;
        }
        let settings = self.settings();
        in_range("survey_storage", settings.survey_storage, &QUEUE, "1 to 8192 answers")?;
        in_range("sub_queue", settings.sub_queue, &QUEUE, "1 to 8192 messages")?;
        in_range("sub_queue_bytes", settings.sub_queue_bytes, &BYTES, AT_LEAST_ONE_BYTE)?;
        self.overflow.map_or(Ok(()), |overflow| check_overflow(overflow, kind))?;
        match self.keep.conflate {
            Some(key) if self.overflow == Some(Overflow::Wait) => Err(OptionError::Invalid {
                option: RoleOption::Conflate.name(),
                value: format!("{key:?}"),
                allowed: "None where overflow is Wait",
            }),
            _ => Ok(()),
        }
    }
}

/// Which messages a SUB keeps until the program receives them: the options as set.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keep {
    pub(crate) queue: Option<usize>,
    pub(crate) bytes: Option<usize>,
    pub(crate) prefer_new: Option<bool>,
    pub(crate) conflate: Option<Conflate>,
}

/// What a PUB that conflates holds for each subscriber: the newest message of each key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conflating {
    pub(crate) by: Conflate,
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl Keep {
    /// How many messages may wait.
    pub(crate) fn messages(&self) -> usize {
        self.queue.unwrap_or(QUEUE_MESSAGES)
    }

    /// How many bytes may wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.unwrap_or(QUEUE_BYTES)
    }

    /// Whether a full queue drops its oldest message rather than the new one.
    pub(crate) fn drops_oldest(&self) -> bool {
        self.prefer_new.unwrap_or(true)
    }

    /// Whether the program prefers new messages, so that nothing may wait behind a full queue.
    pub(crate) fn is_fresh(&self) -> bool {
        self.conflate.is_some() || self.prefer_new.unwrap_or(self.messages() < FRESH)
    }
}

/// What the options of a socket depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketKind {
    pub(crate) id: ProtocolId,
    /// The options that it has and not every socket has.
    pub(crate) own: &'static [RoleOption],
    /// The choices for [`Options::overflow`], the default first.
    pub(crate) overflow: &'static [Overflow],
    /// The default of [`Options::send_queue`].
    pub(crate) send_queue: usize,
}

/// The priorities of a pipe among those of its socket: 1 is served first, 16 last.
///
/// Not visible on the wire (`docs/spec/semantics.md`, section 3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Priorities {
    /// For PUSH and REQ, which choose one pipe for each message. A broadcast ignores it.
    pub(crate) send: u8,
    /// For every fair queue.
    pub(crate) recv: u8,
}

impl Priorities {
    /// What a priority may be.
    pub(crate) const RANGE: RangeInclusive<u8> = 1..=16;
}

impl Default for Priorities {
    fn default() -> Self {
        Self { send: 8, recv: 8 }
    }
}

/// What becomes of a message for which a peer, or with PUSH every peer, has no room.
///
/// Every drop is counted as [`DropReason::SendQueueFull`](crate::DropReason::SendQueueFull), for the socket
/// ([`Stats::drops`](crate::Stats::drops)) and for the peer it was meant for
/// ([`PeerStatus::drops`](crate::PeerStatus::drops)). A drop of a PUSH is counted for the socket only, since
/// it means that no peer had room. A broadcast never waits by default, since the slowest peer would hold up
/// all others; only a PUB can be told to wait.
///
/// | socket | default | choices |
/// |---|---|---|
/// | PUSH | `Wait` | `DropNewest` |
/// | PUB | `DropOldest` | `DropNewest`, `Disconnect`, `Wait` |
/// | BUS, SURVEYOR | `DropNewest` | `DropOldest`, `Disconnect` |
/// | PAIR v1 with many peers | `DropNewest` | `Wait` |
/// | all others | a rule of their own | none |
///
/// ```
/// use sinew::{Bus, Options, Overflow, Push};
/// let push = Push::with_options(Options::new().overflow(Overflow::DropNewest))?;
/// push.send("nobody is there, nobody waits").unwrap();
/// let error = Bus::with_options(Options::new().overflow(Overflow::Wait)).unwrap_err();
/// assert_eq!(error.to_string(), "option overflow is Wait, allowed is DropNewest, DropOldest or Disconnect");
/// # Ok::<(), sinew::OptionError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// The send waits for room.
    ///
    /// A PUSH waits until one peer has room. A PUB waits until all subscribers have room, so that each gets
    /// every message once and in order; without a subscriber it does not wait. A subscriber that never reads
    /// holds up all sends until it leaves; [`Options::send_timeout`] limits that. A
    /// [`PolyPair1`](crate::PolyPair1) waits for the peer that the message names, and holds up nobody else; a
    /// message that names none waits for the peer that has been connected longest, or for the first to
    /// connect.
    Wait,
    /// The message is dropped. A PUSH, and a PAIR v1 with many peers, also drop it without a peer; the
    /// latter waits for its first peer.
    DropNewest,
    /// The oldest message in the queue is dropped. This is not possible while another thread takes messages
    /// out of the queue, to write them or, within the process, to receive them: the queue then grows to twice
    /// its bounds, and beyond that the new message is dropped. The next send that finds the queue free
    /// brings it back within its bounds.
    DropOldest,
    /// The message is dropped and the slow peer disconnected, as
    /// [`TooSlow`](crate::DetachReason::TooSlow). A peer that had connected to us reconnects once it has read
    /// what came before; one that we connected to is dialed again.
    Disconnect,
}

/// Writes what is done, in words: `drop the oldest`.
impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Wait => "wait",
            Self::DropNewest => "drop the newest",
            Self::DropOldest => "drop the oldest",
            Self::Disconnect => "disconnect",
        })
    }
}

/// How [`Options::conflate`] finds the key of a message: bytes at its beginning, where topics are as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Conflate {
    /// The first bytes, this many; a shorter message is its own key. Zero: all messages have the same key,
    /// and only the newest is kept.
    Prefix(usize),
    /// The bytes before the first that has this value; a message without such a byte is its own key.
    Until(u8),
}

impl Conflate {
    /// The key in a message.
    pub(crate) fn key(self, body: &Bytes) -> Bytes {
        let length = match self {
            Self::Prefix(length) => length.min(body.len()),
            Self::Until(end) => body.iter().position(|&byte| byte == end).unwrap_or(body.len()),
        };
        body.slice(..length)
    }
}

/// When and how often a request is sent again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resends {
    /// How long to wait for a reply before sending again; `None`: never send again.
    pub(crate) interval: Option<Duration>,
    /// How often to send again; [`Self::NO_LIMIT`]: as often as needed.
    pub(crate) limit: u32,
}

impl Resends {
    /// No limit. A number rather than `None`: compilers compare both halves of an `Option` at once, which
    /// Valgrind takes for a read of uninitialized memory.
    pub(crate) const NO_LIMIT: u32 = u32::MAX;
}

/// The options that not every socket has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoleOption {
    Ttl,
    ResendInterval,
    MaxResends,
    SurveyDeadline,
    SurveyStorage,
    Overflow,
    Requeue,
    SubQueue,
    SubQueueBytes,
    PreferNew,
    Conflate,
    SendPriority,
    RecvPriority,
}

impl RoleOption {
    fn name(self) -> &'static str {
        match self {
            Self::Ttl => "ttl",
            Self::ResendInterval => "resend_interval",
            Self::MaxResends => "max_resends",
            Self::SurveyDeadline => "survey_deadline",
            Self::SurveyStorage => "survey_storage",
            Self::Overflow => "overflow",
            Self::Requeue => "requeue",
            Self::SubQueue => "sub_queue",
            Self::SubQueueBytes => "sub_queue_bytes",
            Self::PreferNew => "prefer_new",
            Self::Conflate => "conflate",
            Self::SendPriority => "send_priority",
            Self::RecvPriority => "recv_priority",
        }
    }

    /// Whether a socket of this kind has it.
    fn check(self, kind: &SocketKind) -> Result<(), OptionError> {
        if kind.own.contains(&self) {
            Ok(())
        } else {
            Err(OptionError::NoSuchOption { option: self.name(), socket: kind.id })
        }
    }
}

fn check_overflow(overflow: Overflow, kind: &SocketKind) -> Result<(), OptionError> {
    if kind.overflow.contains(&overflow) {
        Ok(())
    } else {
        Err(OptionError::Invalid {
            option: RoleOption::Overflow.name(),
            value: format!("{overflow:?}"),
            allowed: overflows(kind.id),
        })
    }
}

/// The choices in words.
fn overflows(socket: ProtocolId) -> &'static str {
    match socket {
        ProtocolId::PUSH => "Wait or DropNewest",
        ProtocolId::PUB => "DropOldest, DropNewest, Disconnect or Wait",
        ProtocolId::PAIR1 => "DropNewest or Wait",
        _ => "DropNewest, DropOldest or Disconnect",
    }
}

/// Options of one endpoint, for `bind_with` and `connect_with`.
///
/// An option that is not set is taken from the socket's [`Options`] when the endpoint is made. Of later changes of the
/// socket's options only [`max_recv_size`](Options::max_recv_size) reaches the endpoint, and the bytes of both queues
/// reach its later pipes.
#[derive(Clone, Debug, Default)]
#[must_use = "options have effect on the endpoint they are given to"]
pub struct EndpointOptions {
    pub(crate) max_recv_size: Option<Option<usize>>,
    send_queue_bytes: Option<usize>,
    recv_queue_bytes: Option<usize>,
    reconnect_interval: Option<Duration>,
    reconnect_max: Option<Option<Duration>>,
    connect_timeout: Option<Option<Duration>>,
    handshake_timeout: Option<Duration>,
    max_handshakes: Option<usize>,
    max_peers: Option<usize>,
    frame_timeout: Option<Duration>,
    tcp_nodelay: Option<bool>,
    tcp_keepalive: Option<Option<Duration>>,
    kernel_send_buffer: Option<Option<usize>>,
    kernel_recv_buffer: Option<Option<usize>>,
    ipc_mode: Option<u32>,
    ipc_owner: Option<u32>,
    ipc_group: Option<u32>,
    #[cfg(feature = "tls")]
    tls: Option<TlsConfig>,
    #[cfg(feature = "ws")]
    allowed_origins: Vec<String>,
    send_priority: Option<u8>,
    recv_priority: Option<u8>,
}

impl EndpointOptions {
    /// The options of the socket.
    pub fn new() -> Self {
        Self::default()
    }

    /// See [`Options::max_recv_size`]. `None`: no limit. The endpoint keeps the value, whatever is set for the
    /// socket later.
    pub fn max_recv_size(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.max_recv_size = Some(bytes.into());
        self
    }

    /// How many bytes may wait in the send queue of each of this endpoint's pipes: see [`Options::send_queue_bytes`].
    /// Not set: as many as the socket's options say when the pipe is made. A PUB that conflates holds messages by the
    /// bound of the socket.
    pub fn send_queue_bytes(mut self, bytes: usize) -> Self {
        self.send_queue_bytes = Some(bytes);
        self
    }

    /// How many bytes may wait in the receive queue of each of this endpoint's pipes: see
    /// [`Options::recv_queue_bytes`]. Not set: as many as the socket's options say when the pipe is made. The socket's
    /// bound counts for what peers that are gone have left, of all endpoints.
    pub fn recv_queue_bytes(mut self, bytes: usize) -> Self {
        self.recv_queue_bytes = Some(bytes);
        self
    }

    /// How long the dialer pauses before it tries again, on average; zero is invalid.
    ///
    /// The first pause is random between zero and this, so that many who have lost the same peer do not return
    /// at once; later ones are between two and four thirds of it. With [`reconnect_max`](Self::reconnect_max)
    /// it doubles with every attempt. All begins anew after a connection that lasted for 1 s or brought a
    /// message.
    pub fn reconnect_interval(mut self, interval: Duration) -> Self {
        self.reconnect_interval = Some(interval);
        self
    }

    /// What the average pause may grow to. `None`, zero, or less than `reconnect_interval`: the pause does not
    /// grow.
    pub fn reconnect_max(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.reconnect_max = Some(interval.into());
        self
    }

    /// See [`Options::connect_timeout`]. `None`: the system's own limit.
    pub fn connect_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.connect_timeout = Some(timeout.into());
        self
    }

    /// See [`Options::frame_timeout`].
    pub fn frame_timeout(mut self, timeout: Duration) -> Self {
        self.frame_timeout = Some(timeout);
        self
    }

    /// See [`Options::handshake_timeout`].
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = Some(timeout);
        self
    }

    /// See [`Options::max_handshakes`].
    pub fn max_handshakes(mut self, connections: usize) -> Self {
        self.max_handshakes = Some(connections);
        self
    }

    /// How many peers this listener may have, at least 1, beside [`Options::max_peers`] for all peers of the
    /// socket. Default: no limit of its own. No effect on connecting.
    pub fn max_peers(mut self, peers: usize) -> Self {
        self.max_peers = Some(peers);
        self
    }

    /// See [`Options::tcp_nodelay`].
    pub fn tcp_nodelay(mut self, on: bool) -> Self {
        self.tcp_nodelay = Some(on);
        self
    }

    /// See [`Options::tcp_keepalive`]. `None`: as the system likes.
    pub fn tcp_keepalive(mut self, silence: impl Into<Option<Duration>>) -> Self {
        self.tcp_keepalive = Some(silence.into());
        self
    }

    /// See [`Options::kernel_send_buffer`]. `None`: the system's.
    pub fn kernel_send_buffer(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.kernel_send_buffer = Some(bytes.into());
        self
    }

    /// See [`Options::kernel_recv_buffer`]. `None`: the system's.
    pub fn kernel_recv_buffer(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.kernel_recv_buffer = Some(bytes.into());
        self
    }

    /// The permission bits of the socket file of an ipc bind, such as `0o600`, set before anybody can
    /// connect. Default: by the process's umask. Bits outside `0o777` are invalid. No effect on connecting and
    /// on other transports. Where there are no such bits a bind with it fails: at an abstract name, and at a named
    /// pipe of Windows.
    ///
    /// Not guaranteed outside Linux: there the file has what the umask leaves for a moment, and whoever connects in that
    /// moment may get in. A umask of `0o077` leaves others nothing on any system.
    #[doc(alias("NNG_OPT_IPC_PERMISSIONS"))]
    pub fn ipc_mode(mut self, mode: u32) -> Self {
        self.ipc_mode = Some(mode);
        self
    }

    /// The user who owns the socket file of an ipc bind, by number, set before anybody can connect. Default: the user
    /// of the process. 4294967295 is no user, and invalid. Only a process that may give files away can set another
    /// user: for others the bind fails. Otherwise as [`ipc_mode`](Self::ipc_mode).
    pub fn ipc_owner(mut self, user: u32) -> Self {
        self.ipc_owner = Some(user);
        self
    }

    /// The group of the socket file of an ipc bind, by number, set before anybody can connect: with an
    /// [`ipc_mode`](Self::ipc_mode) of `0o660`, its members may connect. Default: as for any file that the process
    /// makes. 4294967295 is no group, and invalid. The process must be in the group, or may give files away.
    /// Otherwise as `ipc_mode`. Without a mode, the file for a moment belongs to the default group, whose members may
    /// connect if the umask lets them.
    pub fn ipc_group(mut self, group: u32) -> Self {
        self.ipc_group = Some(group);
        self
    }

    /// See [`Options::tls`].
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: TlsConfig) -> Self {
        self.tls = Some(config);
        self
    }

    /// Lets web pages of this origin, such as `https://www.example.org`, connect to a bound `ws` address. Can be called
    /// several times; `*` is any origin. Default: pages that come from the very host and port to which they connect, as
    /// the `Host` of their request has it. Once one is set, only those that are set. Programs that are no browser send no
    /// origin, and may always connect. No effect on connecting and on other transports.
    ///
    /// A page whose host name leads to this address by its owner's will is from the same host: where that matters, as on
    /// the loopback interface, set the origins.
    #[cfg(feature = "ws")]
    #[cfg_attr(docsrs, doc(cfg(feature = "ws")))]
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        self.allowed_origins.push(origin.into());
        self
    }

    /// See [`Options::send_priority`]. All peers of a bound endpoint have its priority.
    pub fn send_priority(mut self, priority: u8) -> Self {
        self.send_priority = Some(priority);
        self
    }

    /// See [`Options::recv_priority`]. All peers of a bound endpoint have its priority.
    pub fn recv_priority(mut self, priority: u8) -> Self {
        self.recv_priority = Some(priority);
        self
    }

    /// The settings of one endpoint of a socket of this kind that has `base`.
    pub(crate) fn over(
        &self,
        kind: &SocketKind,
        base: &EndpointSettings,
    ) -> Result<EndpointSettings, OptionError> {
        let settings = EndpointSettings {
            max_recv_size: self.max_recv_size.unwrap_or(base.max_recv_size),
            send_queue_bytes: self.send_queue_bytes,
            recv_queue_bytes: self.recv_queue_bytes,
            reconnect_interval: self.reconnect_interval.unwrap_or(base.reconnect_interval),
            reconnect_max: self.reconnect_max.unwrap_or(base.reconnect_max),
            connect_timeout: self.connect_timeout.unwrap_or(base.connect_timeout),
            handshake_timeout: self.handshake_timeout.unwrap_or(base.handshake_timeout),
            max_handshakes: self.max_handshakes.unwrap_or(base.max_handshakes),
            max_peers: self.max_peers.or(base.max_peers),
            frame_timeout: self.frame_timeout.unwrap_or(base.frame_timeout),
            tcp_nodelay: self.tcp_nodelay.unwrap_or(base.tcp_nodelay),
            tcp_keepalive: self.tcp_keepalive.unwrap_or(base.tcp_keepalive),
            kernel_send_buffer: self.kernel_send_buffer.unwrap_or(base.kernel_send_buffer),
            kernel_recv_buffer: self.kernel_recv_buffer.unwrap_or(base.kernel_recv_buffer),
            ipc_mode: self.ipc_mode.or(base.ipc_mode),
            ipc_owner: self.ipc_owner.or(base.ipc_owner),
            ipc_group: self.ipc_group.or(base.ipc_group),
            #[cfg(feature = "tls")]
            tls: self.tls.clone().or_else(|| base.tls.clone()),
            #[cfg(feature = "ws")]
            allowed_origins: self.allowed_origins.clone(),
            send_priority: self.send_priority.or(base.send_priority),
            recv_priority: self.recv_priority.or(base.recv_priority),
        };
        settings.check(kind)?;
        Ok(settings)
    }
}

/// The settings of an endpoint, as its transport sees them: the socket's [`Options`](crate::Options),
/// overridden by the [`EndpointOptions`](crate::EndpointOptions).
///
/// Only settings that a transport can act on are visible, and it may ignore any of them. Further settings
/// belong in the transport's own value, or in the address. `Default` has the defaults of the options, for
/// tests of a transport by itself.
#[derive(Clone, Debug)]
pub struct EndpointSettings {
    pub(crate) max_recv_size: Option<usize>,
    /// `None`: what the socket has when a pipe is made.
    pub(crate) send_queue_bytes: Option<usize>,
    pub(crate) recv_queue_bytes: Option<usize>,
    pub(crate) reconnect_interval: Duration,
    pub(crate) reconnect_max: Option<Duration>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) handshake_timeout: Duration,
    pub(crate) max_handshakes: usize,
    pub(crate) max_peers: Option<usize>,
    pub(crate) frame_timeout: Duration,
    pub(crate) tcp_nodelay: bool,
    pub(crate) tcp_keepalive: Option<Duration>,
    pub(crate) kernel_send_buffer: Option<usize>,
    pub(crate) kernel_recv_buffer: Option<usize>,
    pub(crate) ipc_mode: Option<u32>,
    pub(crate) ipc_owner: Option<u32>,
    pub(crate) ipc_group: Option<u32>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<TlsConfig>,
    #[cfg(feature = "ws")]
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) send_priority: Option<u8>,
    pub(crate) recv_priority: Option<u8>,
}

impl Default for EndpointSettings {
    fn default() -> Self {
        Self {
            max_recv_size: Some(MAX_SIZE),
            send_queue_bytes: None,
            recv_queue_bytes: None,
            // With 200 clients that lose their listener at the same moment, half are back within 100 ms of its
            // return, and no more than 40 % try within the same 50 ms; a shorter one misses the second.
            reconnect_interval: Duration::from_millis(180),
            reconnect_max: None,
            connect_timeout: Some(Duration::from_secs(10)),
            handshake_timeout: Duration::from_secs(10),
            max_handshakes: MAX_HANDSHAKES,
            max_peers: None,
            frame_timeout: Duration::from_secs(30),
            tcp_nodelay: true,
            tcp_keepalive: Some(Duration::from_secs(75)),
            kernel_send_buffer: None,
            kernel_recv_buffer: None,
            ipc_mode: None,
            ipc_owner: None,
            ipc_group: None,
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "ws")]
            allowed_origins: Vec::new(),
            send_priority: None,
            recv_priority: None,
        }
    }
}

impl EndpointSettings {
    /// See [`Options::tcp_nodelay`].
    pub fn tcp_nodelay(&self) -> bool {
        self.tcp_nodelay
    }

    /// See [`Options::tcp_keepalive`].
    pub fn tcp_keepalive(&self) -> Option<Duration> {
        self.tcp_keepalive
    }

    /// See [`Options::kernel_send_buffer`].
    pub fn kernel_send_buffer(&self) -> Option<usize> {
        self.kernel_send_buffer
    }

    /// See [`Options::kernel_recv_buffer`].
    pub fn kernel_recv_buffer(&self) -> Option<usize> {
        self.kernel_recv_buffer
    }

    /// See [`EndpointOptions::ipc_mode`].
    pub fn ipc_mode(&self) -> Option<u32> {
        self.ipc_mode
    }

    /// See [`EndpointOptions::ipc_owner`].
    pub fn ipc_owner(&self) -> Option<u32> {
        self.ipc_owner
    }

    /// See [`EndpointOptions::ipc_group`].
    pub fn ipc_group(&self) -> Option<u32> {
        self.ipc_group
    }

    /// Whether anything says who may connect to a file, which not all ends have.
    #[cfg(any(target_os = "linux", target_os = "android", windows))]
    pub(crate) fn restricts_file(&self) -> bool {
        self.ipc_mode.is_some() || self.ipc_owner.is_some() || self.ipc_group.is_some()
    }

    /// See [`Options::tls`].
    #[cfg(feature = "tls")]
    pub fn tls(&self) -> Option<&TlsConfig> {
        self.tls.as_ref()
    }

    /// See [`EndpointOptions::allow_origin`].
    #[cfg(feature = "ws")]
    #[cfg_attr(docsrs, doc(cfg(feature = "ws")))]
    pub fn allowed_origins(&self) -> &[String] {
        &self.allowed_origins
    }

    /// The places of the endpoint's pipes among the others of the socket.
    pub(crate) fn priorities(&self) -> Priorities {
        let default = Priorities::default();
        Priorities {
            send: self.send_priority.unwrap_or(default.send),
            recv: self.recv_priority.unwrap_or(default.recv),
        }
    }

    fn check(&self, kind: &SocketKind) -> Result<(), OptionError> {
        let priorities = [
            (RoleOption::SendPriority, self.send_priority),
            (RoleOption::RecvPriority, self.recv_priority),
        ];
        for (own, priority) in priorities {
            let Some(priority) = priority else { continue };
            own.check(kind)?;
            in_range(own.name(), usize::from(priority), &PRIORITY, "1 to 16")?;
        }
        for (option, bytes) in [
            ("send_queue_bytes", self.send_queue_bytes),
            ("recv_queue_bytes", self.recv_queue_bytes),
        ] {
            in_range(option, bytes.unwrap_or(1), &BYTES, AT_LEAST_ONE_BYTE)?;
        }
        not_zero("reconnect_interval", self.reconnect_interval)?;
        not_zero("handshake_timeout", self.handshake_timeout)?;
        let any = 1..=usize::MAX;
        in_range("max_handshakes", self.max_handshakes, &any, "at least 1 connection")?;
        in_range("max_peers", self.max_peers.unwrap_or(1), &any, "at least 1 peer")?;
        not_zero("frame_timeout", self.frame_timeout)?;
        if let Some(timeout) = self.connect_timeout {
            not_zero("connect_timeout", timeout)?;
        }
        if let Some(idle) = self.tcp_keepalive {
            not_zero("tcp_keepalive", idle)?;
        }
        for (option, bytes) in [
            ("kernel_send_buffer", self.kernel_send_buffer),
            ("kernel_recv_buffer", self.kernel_recv_buffer),
        ] {
            in_range(option, bytes.unwrap_or(1), &BYTES, AT_LEAST_ONE_BYTE)?;
        }
        for (option, number) in [("ipc_owner", self.ipc_owner), ("ipc_group", self.ipc_group)] {
            if number == Some(u32::MAX) {
                let value = u32::MAX.to_string();
                return Err(OptionError::Invalid { option, value, allowed: "0 to 4294967294" });
            }
        }
        match self.ipc_mode {
            Some(mode) if mode > 0o777 => Err(OptionError::Invalid {
                option: "ipc_mode",
                value: format!("{mode:#o}"),
                allowed: "0o000 to 0o777",
            }),
            _ => Ok(()),
        }
    }
}

fn in_range(
    option: &'static str,
    value: usize,
    range: &RangeInclusive<usize>,
    allowed: &'static str,
) -> Result<(), OptionError> {
    if range.contains(&value) {
        Ok(())
    } else {
        Err(OptionError::Invalid { option, value: value.to_string(), allowed })
    }
}

fn not_zero(option: &'static str, value: Duration) -> Result<(), OptionError> {
    if value.is_zero() {
        Err(OptionError::Invalid {
            option,
            value: "zero".to_owned(),
            allowed: "any time above zero",
        })
    } else {
        Ok(())
    }
}
