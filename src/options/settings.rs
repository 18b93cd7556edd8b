//! The values of a socket's options, for code that reads options.
//!
//! Owns the defaults of what only a socket has. An [`Options`] also says which options the program has not set; here every
//! option has a value. Not here are the name of the socket, what decides about peers, and the configuration of TLS.

use std::time::Duration;

use super::{
    Conflate, MAX_SIZE, Options, Overflow, QUEUE_MESSAGES, RESEND_INTERVAL, SURVEY_DEADLINE,
    SURVEY_STORAGE, TTL,
};

/// The value of every option of a socket, from [`Options::settings`].
///
/// The setter of the same name describes each field.
///
/// ```
/// use sinew::{Options, Pair};
/// use std::time::Duration;
///
/// let pair = Pair::with_options(Options::new().linger(Duration::from_secs(1)))?;
/// let settings = pair.options().settings();
/// assert_eq!((settings.linger, settings.recv_timeout), (Duration::from_secs(1), None));
/// # Ok::<(), sinew::OptionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// See [`Options::send_timeout`].
    pub send_timeout: Option<Duration>,
    /// See [`Options::recv_timeout`].
    pub recv_timeout: Option<Duration>,
    /// See `Options::interruptible`, which Linux and Android have; elsewhere `false`.
    pub interruptible: bool,
    /// See [`Options::send_queue`].
    pub send_queue: usize,
    /// See [`Options::send_queue_bytes`].
    pub send_queue_bytes: usize,
    /// See [`Options::recv_queue`].
    pub recv_queue: usize,
    /// See [`Options::recv_queue_bytes`].
    pub recv_queue_bytes: usize,
    /// See [`Options::recv_budget`].
    pub recv_budget: usize,
    /// See [`Options::spin`].
    pub spin: Option<Duration>,
    /// See [`Options::max_send_size`].
    pub max_send_size: Option<usize>,
    /// See [`Options::max_recv_size`].
    pub max_recv_size: Option<usize>,
    /// See [`Options::linger`].
    pub linger: Duration,
    /// See [`Options::reconnect_interval`].
    pub reconnect_interval: Duration,
    /// See [`Options::reconnect_max`].
    pub reconnect_max: Option<Duration>,
    /// See [`Options::connect_timeout`].
    pub connect_timeout: Option<Duration>,
    /// See [`Options::handshake_timeout`].
    pub handshake_timeout: Duration,
    /// See [`Options::max_peers`].
    pub max_peers: usize,
    /// See [`Options::max_handshakes`].
    pub max_handshakes: usize,
    /// See [`Options::frame_timeout`].
    pub frame_timeout: Duration,
    /// See [`Options::tcp_nodelay`].
    pub tcp_nodelay: bool,
    /// See [`Options::tcp_keepalive`].
    pub tcp_keepalive: Option<Duration>,
    /// See [`Options::kernel_send_buffer`].
    pub kernel_send_buffer: Option<usize>,
    /// See [`Options::kernel_recv_buffer`].
    pub kernel_recv_buffer: Option<usize>,
    /// See [`Options::ttl`]. A number above 255, which no socket takes, also gives the default.
    pub ttl: u8,
    /// See [`Options::resend_interval`].
    pub resend_interval: Option<Duration>,
    /// See [`Options::max_resends`].
    pub max_resends: Option<u32>,
    /// See [`Options::survey_deadline`].
    pub survey_deadline: Option<Duration>,
    /// See [`Options::survey_storage`].
    pub survey_storage: usize,
    /// See [`Options::overflow`]. `None`: the socket's default, or a socket that has no choice.
    pub overflow: Option<Overflow>,
    /// See [`Options::requeue`].
    pub requeue: bool,
    /// See [`Options::sub_queue`].
    pub sub_queue: usize,
    /// See [`Options::sub_queue_bytes`].
    pub sub_queue_bytes: usize,
    /// See [`Options::prefer_new`]. Also `true` if it was not set: then a full queue drops its oldest message.
    pub prefer_new: bool,
    /// See [`Options::conflate`].
    pub conflate: Option<Conflate>,
    /// See [`Options::send_priority`].
    pub send_priority: u8,
    /// See [`Options::recv_priority`].
    pub recv_priority: u8,
}

impl Settings {
    /// By itself, since each request wants it.
    pub(super) fn resend_interval_of(options: &Options) -> Option<Duration> {
        options.resend_interval.unwrap_or(Some(RESEND_INTERVAL))
    }

    pub(super) fn of(options: &Options) -> Self {
        let (endpoint, priorities) = (&options.endpoint, options.endpoint.priorities());
        let accepted_by_peers = || endpoint.max_recv_size.map(|limit| limit.max(MAX_SIZE));
        Self {
            send_timeout: options.send_timeout,
            recv_timeout: options.recv_timeout,
            interruptible: options.interruptible,
            send_queue: options.send_queue.unwrap_or(QUEUE_MESSAGES),
            send_queue_bytes: options.send_queue_bytes,
            recv_queue: options.recv_queue,
            recv_queue_bytes: options.recv_queue_bytes,
            recv_budget: options.recv_budget,
            spin: options.spin,
            max_send_size: options.max_send_size.unwrap_or_else(accepted_by_peers),
            max_recv_size: endpoint.max_recv_size,
            linger: options.linger,
            reconnect_interval: endpoint.reconnect_interval,
            reconnect_max: endpoint.reconnect_max,
            connect_timeout: endpoint.connect_timeout,
            handshake_timeout: endpoint.handshake_timeout,
            max_peers: options.max_peers,
            max_handshakes: endpoint.max_handshakes,
            frame_timeout: endpoint.frame_timeout,
            tcp_nodelay: endpoint.tcp_nodelay,
            tcp_keepalive: endpoint.tcp_keepalive,
            kernel_send_buffer: endpoint.kernel_send_buffer,
            kernel_recv_buffer: endpoint.kernel_recv_buffer,
            ttl: options.ttl.and_then(|ttl| u8::try_from(ttl).ok()).unwrap_or(TTL),
            resend_interval: Self::resend_interval_of(options),
            max_resends: options.max_resends.flatten(),
            survey_deadline: options.survey_deadline.unwrap_or(Some(SURVEY_DEADLINE)),
            survey_storage: options.survey_storage.unwrap_or(SURVEY_STORAGE),
            overflow: options.overflow,
            requeue: options.requeue.unwrap_or(false),
            sub_queue: options.keep.messages(),
            sub_queue_bytes: options.keep.bytes(),
            prefer_new: options.keep.drops_oldest(),
            conflate: options.keep.conflate,
            send_priority: priorities.send,
            recv_priority: priorities.recv,
        }
    }
}
