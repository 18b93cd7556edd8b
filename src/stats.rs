//! Counters: what a socket has done, and why messages were dropped.
//!
//! Owns the list of reasons for which a message may be dropped, and the counters of a socket. Counters are
//! monotonic 64-bit numbers. The code that does a thing counts it, with relaxed atomics, and any thread
//! may read the counters at any time.

use std::fmt;
use std::time::Duration;

use crate::spin::Spun;
use crate::sync::{Arc, AtomicU64, Ordering};

/// Why a message was dropped.
///
/// Every message that sinew lets go of without delivering it is counted under exactly one of
/// these. What peers send that is dropped, and what ends a connection instead, is listed in
/// [wire, section 11](crate::spec::wire#11-bad-input-one-table).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DropReason {
    /// Outbound: the pipe was lost with the message still in its send queue.
    PipeLost,
    /// Outbound: the peer's send queue was full and the protocol does not wait. This message, or the oldest
    /// in the queue, was dropped.
    SendQueueFull,
    /// Outbound: a newer message with the same key replaced it among those that a PUB holds for a slow
    /// subscriber; see [`Options::conflate`](crate::Options::conflate).
    ConflatedUnsent,
    /// Outbound: nobody was connected and the protocol does not wait.
    NoPeer,
    /// Outbound: the peer that had asked is no longer connected, so that its answer had nowhere to go; or the
    /// peer for which a message was held, or which a message named, is not.
    PeerGone,
    /// Outbound: the message had reached no peer when a newer request of its conversation replaced it, or when
    /// its conversation or socket was closed.
    Superseded,
    /// Outbound: the socket was closed with the message still queued.
    ClosedUnsent,
    /// Outbound: the header that was given to a raw socket is too short to name a pipe; or the sending socket
    /// of a device cannot send the header, such as one with a count of 255 hops.
    BadHeader,
    /// Outbound: the message was over the `max_send_size` of the sending socket of a device.
    TooLarge,
    /// Outbound: a device had received the message, and ended before this socket could take it.
    DeviceStopped,
    // From here on: dropped after they were taken out of a receive queue; see `after_arrival`.
    /// Inbound: an answer to no request or survey that is still open: late, duplicate or invented.
    Stale,
    /// Inbound: an answer to a request or survey that is still open, from a peer that was not asked.
    NotAsked,
    /// Inbound: nobody received the message before its request or survey was given up, or its context
    /// closed.
    Unread,
    /// Inbound: the protocol header was too short or had no end.
    Malformed,
    /// Inbound: the message had travelled over more hops than the socket allows.
    TtlExceeded,
    /// Inbound: the survey or the context already had as many unread messages as it may store. This
    /// message, or the oldest, was dropped.
    RecvQueueFull,
    /// Inbound: a newer message with the same key replaced it in the queue of a SUB; see
    /// [`Options::conflate`](crate::Options::conflate).
    ConflatedUnread,
    /// Inbound: no subscription of the context that received it fits.
    NotSubscribed,
    /// Inbound: data from a peer that only receives, to a socket that only sends.
    Unexpected,
    /// Inbound: the peer that had sent the request was gone before anyone received it.
    AskerGone,
    /// Inbound: the peer was gone before anyone received the message, and the unread messages of all peers
    /// that are gone were more than one receive queue may hold; the oldest was dropped. Only on sockets that
    /// drop messages for which they have no room, such as SUB and BUS. All others let no new peer in until
    /// there is room.
    PeerLeft,
    /// Inbound: the socket was closed, or turned the peer away, with the message unread.
    ClosedUnread,
}

impl DropReason {
    /// Every reason, in the order of declaration.
    pub const ALL: &'static [Self] = &[
        Self::PipeLost,
        Self::SendQueueFull,
        Self::ConflatedUnsent,
        Self::NoPeer,
        Self::PeerGone,
        Self::Superseded,
        Self::ClosedUnsent,
        Self::BadHeader,
        Self::TooLarge,
        Self::DeviceStopped,
        Self::Stale,
        Self::NotAsked,
        Self::Unread,
        Self::Malformed,
        Self::TtlExceeded,
        Self::RecvQueueFull,
        Self::ConflatedUnread,
        Self::NotSubscribed,
        Self::Unexpected,
        Self::AskerGone,
        Self::PeerLeft,
        Self::ClosedUnread,
    ];

    /// A stable name in snake case, for logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::PipeLost => "pipe_lost",
            Self::SendQueueFull => "send_queue_full",
            Self::ConflatedUnsent => "conflated_unsent",
            Self::NoPeer => "no_peer",
            Self::PeerGone => "peer_gone",
            Self::Superseded => "superseded",
            Self::ClosedUnsent => "closed_unsent",
            Self::BadHeader => "bad_header",
            Self::TooLarge => "too_large",
            Self::DeviceStopped => "device_stopped",
            Self::Stale => "stale",
            Self::NotAsked => "not_asked",
            Self::Unread => "unread",
            Self::Malformed => "malformed",
            Self::TtlExceeded => "ttl_exceeded",
            Self::RecvQueueFull => "recv_queue_full",
            Self::ConflatedUnread => "conflated_unread",
            Self::NotSubscribed => "not_subscribed",
            Self::Unexpected => "unexpected",
            Self::AskerGone => "asker_gone",
            Self::PeerLeft => "peer_left",
            Self::ClosedUnread => "closed_unread",
        }
    }
}

// Counts of drops are found by the number of their reason, so no reason may be missing from the list.
const _: () = {
    let mut i = 0;
    while i < DropReason::ALL.len() {
        assert!(DropReason::ALL[i] as usize == i);
        i += 1;
    }
    assert!(DropReason::ClosedUnread as usize + 1 == DropReason::ALL.len());
};

/// Writes the stable name, as [`DropReason::name`] returns it.
impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A figure of [`Stats`] and its meaning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    /// The name of the field.
    pub(crate) name: &'static str,
    /// The documentation of the field, on one line.
    pub(crate) help: &'static str,
    pub(crate) value: u64,
}

macro_rules! counters {
    (
        counters { $($(#[doc = $doc:literal])* $name:ident,)* }
        gauges { $($(#[doc = $gauge_doc:literal])* $gauge:ident,)* }
    ) => {
        /// The live counters of one socket. They have cache lines of their own, as `Core` has.
        #[derive(Debug)]
        #[repr(align(128))]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
            /// Part of `copies_written`: messages that went straight to another socket of this process.
            pub(crate) copies_handed_over: Counter,
            /// Part of `copies_taken`: messages in pipes that the socket has turned away.
            pub(crate) copies_turned_away: Counter,
            in_progress: Counter,
            drops: [Counter; DropReason::ALL.len()],
        }

        impl Counters {
            pub(crate) fn new() -> Self {
                Self {
                    $($name: Counter::new(),)*
                    copies_handed_over: Counter::new(),
                    copies_turned_away: Counter::new(),
                    in_progress: Counter::new(),
                    drops: std::array::from_fn(|_| Counter::new()),
                }
            }

            /// The counters as they are now; the caller fills in the gauges.
            pub(crate) fn read(&self) -> Stats {
                let mut stats = Stats {
                    $($name: self.$name.get(),)*
                    $($gauge: 0,)*
                    drops: std::array::from_fn(|i| self.drops[i].get()),
                };
                stats.inprogress_connections = self.in_progress.get();
                stats.copies_written += self.copies_handed_over.get();
                stats.copies_taken += self.copies_turned_away.get();
                stats
            }
        }

        /// What a socket has done until one moment.
        ///
        /// Counters only grow. Bytes are those of message bodies, without protocol headers. The
        /// figures are read one after the other while other threads count, so sums taken under traffic
        /// may be off by what happened in between
        /// ([semantics, section 18](crate::spec::semantics#18-statistics)).
        #[derive(Clone, PartialEq, Eq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize))]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[doc = $doc])* pub $name: u64,)*
            $(
                $(#[doc = $gauge_doc])*
                #[doc = " A gauge: it goes up and down."]
                pub $gauge: u64,
            )*
            #[cfg_attr(feature = "serde", serde(serialize_with = "write_drops"))]
            drops: [u64; DropReason::ALL.len()],
        }

        impl Stats {
            /// The counters, without the drops.
            pub(crate) fn described_counters(&self) -> impl Iterator<Item = Figure> + use<> {
                [$(Figure {
                    name: stringify!($name),
                    help: concat!($($doc),*),
                    value: self.$name,
                },)*]
                .into_iter()
            }

            /// The gauges, which go up and down.
            pub(crate) fn described_gauges(&self) -> impl Iterator<Item = Figure> + use<> {
                [$(Figure {
                    name: stringify!($gauge),
                    help: concat!($($gauge_doc),*),
                    value: self.$gauge,
                },)*]
                .into_iter()
            }
        }
    };
}

counters! {
    counters {
        /// Connections that we made and that our protocol accepted.
        established_connections,
        /// Connections that others made and that our protocol accepted.
        accepted_connections,
        /// Connections, of those that our protocol had accepted, that we closed.
        dropped_connections,
        /// Connections, of those that our protocol had accepted, that the peer closed or that were lost.
        broken_connections,
        /// Attempts to connect that failed.
        connect_errors,
        /// Calls of bind that failed.
        bind_errors,
        /// Failures to accept a connection, such as for lack of descriptors.
        accept_errors,
        /// Peers that our protocol or the `admit` callback turned away.
        rejected_pipes,
        /// Connections closed because of a wrong connection header, or because TLS did not come about.
        handshake_errors,
        /// Connections closed because the peer's header did not come in time.
        handshake_timeouts,
        /// Connections closed without the peer's header, for newer ones over `max_handshakes`.
        handshakes_evicted,
        /// Peers turned away for `max_peers`, also counted as `rejected_pipes`.
        peers_over_limit,
        /// Connections closed because the peer announced a message over the limit.
        oversize,
        /// Connections closed because of another fault in the framing.
        framing_errors,
        /// Connections closed because no more of a message that had begun came in time.
        frame_timeouts,
        /// Messages that had arrived only in part when their connection ended.
        truncated,
        /// Messages accepted from the program.
        messages_sent,
        /// Messages delivered to the program.
        messages_received,
        /// Body bytes accepted from the program.
        bytes_sent,
        /// Body bytes delivered to the program.
        bytes_received,
        /// Requests sent again.
        resends,
        /// Messages put into the send queue of a pipe; a broadcast counts once for each pipe.
        copies_pushed,
        /// Messages that left a send queue for the transport.
        copies_written,
        /// Messages dropped from a send queue to make room for newer ones.
        copies_evicted,
        /// Messages taken back from the send queue of a lost pipe, to go to another peer.
        copies_reclaimed,
        /// Messages taken out of the receive queue of a pipe.
        copies_taken,
        /// Copies of received messages that went to more than one context, beyond the first.
        copies_made,
        /// Pipe events that were dropped because the program received events too slowly.
        events_missed,
        /// How often a listener, a dialer, or a connection whose peer is gone began to wait until the program
        /// had received messages that peers had left behind, or a listener began to wait for the `admit`
        /// callback.
        intake_pauses,
        /// How often a connection was read no further for the time being, because the connections of the socket
        /// held as much as [`recv_budget`](crate::Options::recv_budget) allows.
        budget_pauses,
        /// Waits that spun before they slept, and so were over sooner than with a sleep.
        spins_paid,
        /// Waits that spun and slept after all, or would have been better off sleeping at once.
        spins_unpaid,
        /// How long waits spun, in nanoseconds.
        spin_nanoseconds,
    }
    gauges {
        /// Pipes that can be used now.
        current_connections,
        /// Connections that are being made or exchange headers.
        inprogress_connections,
        /// Messages in the send queues of all pipes.
        send_queue,
        /// Messages in the receive queues of all pipes.
        recv_queue,
        /// Bytes of memory that connections hold for what peers have sent: for messages in receive queues, those
        /// of pipes that are gone as well, and messages that are not whole yet. Without inproc peers.
        recv_bytes,
        /// Messages accepted that have not reached a pipe yet: requests, and messages that a PUB holds to
        /// conflate them.
        held_outbound,
        /// Answers taken out of a pipe that nobody has received yet.
        held_inbound,
    }
}

/// One monotonic number.
///
/// A counter is written in one of two ways, never in both: by any thread with [`add`](Self::add), or under the
/// socket's lock with [`count`](Self::count), which costs next to nothing.
#[derive(Debug)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn bump(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds `n` under the socket's lock.
    #[inline]
    pub(crate) fn count(&self, n: u64) {
        self.0.store(self.get() + n, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What came of spinning in the I/O threads of a runtime; see [`Runtime::spins`](crate::Runtime::spins).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spins {
    /// Waits that spun, and so were over sooner than a sleep would have been.
    pub paid: u64,
    /// Waits that spun, and slept after all or had better done so at once.
    pub unpaid: u64,
    /// The time that all of them spun.
    pub time: Duration,
}

/// The live counters behind [`Spins`].
#[derive(Debug)]
pub(crate) struct SpinCounters {
    paid: Counter,
    unpaid: Counter,
    nanoseconds: Counter,
}

impl SpinCounters {
    pub(crate) fn new() -> Self {
        Self { paid: Counter::new(), unpaid: Counter::new(), nanoseconds: Counter::new() }
    }

    pub(crate) fn count(&self, spun: Spun) {
        count_spin(spun, [&self.paid, &self.unpaid, &self.nanoseconds]);
    }

    pub(crate) fn read(&self) -> Spins {
        let time = Duration::from_nanos(self.nanoseconds.get());
        Spins { paid: self.paid.get(), unpaid: self.unpaid.get(), time }
    }
}

fn count_spin(Spun { paid, time }: Spun, [paid_ones, unpaid_ones, nanoseconds]: [&Counter; 3]) {
    if paid { paid_ones } else { unpaid_ones }.bump();
    nanoseconds.add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
}

/// Counts one connection as in progress while this lives.
#[derive(Debug)]
pub(crate) struct InProgress(Arc<Counters>);

impl InProgress {
    pub(crate) fn new(counters: &Arc<Counters>) -> Self {
        counters.in_progress.bump();
        Self(Arc::clone(counters))
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.in_progress.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counters {
    /// Counts a wait that has spun.
    pub(crate) fn count_spin(&self, spun: Spun) {
        count_spin(spun, [&self.spins_paid, &self.spins_unpaid, &self.spin_nanoseconds]);
    }

    /// Counts messages that were dropped. Returns whether they are the first for this reason.
    pub(crate) fn dropped(&self, reason: DropReason, messages: u64) -> bool {
        let before = self.drops[reason as usize].0.fetch_add(messages, Ordering::Relaxed);
        before == 0 && messages > 0
    }
}

/// The messages of one pipe that were dropped, by reason. Takes memory with the first drop.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct PipeDrops(Option<Box<[u64; DropReason::ALL.len()]>>);

impl PipeDrops {
    /// Counts messages that were dropped. Returns whether they are the first for this reason.
    #[inline]
    pub(crate) fn count(&mut self, reason: DropReason, messages: u64) -> bool {
        let drops = self.0.get_or_insert_with(|| Box::new([0; DropReason::ALL.len()]));
        let before = drops[reason as usize];
        drops[reason as usize] += messages;
        before == 0 && messages > 0
    }

    pub(crate) fn drops(&self, reason: DropReason) -> u64 {
        self.0.as_ref().map_or(0, |drops| drops[reason as usize])
    }
}

/// The reasons for which messages are dropped from a send queue.
const LEFT_IN_SEND_QUEUE: [DropReason; 2] = [DropReason::PipeLost, DropReason::ClosedUnsent];
/// The reasons for which messages are dropped after they were taken out of a receive queue.
fn after_arrival() -> &'static [DropReason] {
    &DropReason::ALL[DropReason::Stale as usize..]
}

/// Writes one line for each figure that is not zero.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Figure { name, value, .. } in self.described_counters().chain(self.described_gauges()) {
            if value > 0 {
                writeln!(f, "{name:<28}{value:>16}")?;
            }
        }
        for (reason, count) in self.dropped().filter(|&(_, count)| count > 0) {
            writeln!(f, "{:<28}{count:>16}", format!("dropped.{reason}"))?;
        }
        Ok(())
    }
}

/// Writes every figure with its name, and each reason for which messages were dropped.
impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Stats");
        for (name, value) in self.figures() {
            debug.field(name, &value);
        }
        debug.field("dropped", &Dropped(|reason| self.drops(reason))).finish()
    }
}

/// Writes each reason for which messages were dropped, with its count.
impl fmt::Debug for PipeDrops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Dropped(|reason| self.drops(reason)).fmt(f)
    }
}

/// Counts by reason, without zeros: there are many reasons, and most never occur.
struct Dropped<F>(F);

impl<F: Fn(DropReason) -> u64> fmt::Debug for Dropped<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = DropReason::ALL.iter().map(|&reason| (reason, self.0(reason)));
        let dropped = counts.filter(|&(_, count)| count > 0);
        f.debug_map().entries(dropped.map(|(reason, count)| (Name(reason.name()), count))).finish()
    }
}

/// A name without quotes.
struct Name(&'static str);

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Stats {
    /// Every counter and gauge with the name of its field, including zeros, in the order of the fields. The
    /// drops are in [`dropped`](Self::dropped).
    pub fn figures(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let figures = self.described_counters().chain(self.described_gauges());
        figures.map(|figure| (figure.name, figure.value))
    }

    /// How many messages were dropped for `reason`.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// Every reason with its count, including zeros.
    pub fn dropped(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|&reason| (reason, self.drops(reason)))
    }

    /// Checks the conservation law: no message has vanished without a counted reason.
    ///
    /// Every message that was put into a send queue was handed to the transport, is still queued, was taken
    /// back, or was dropped with its pipe or socket or for a newer one. Every message that was taken out of a
    /// receive queue, and every copy of it, was delivered, is held for a conversation, or was dropped for a
    /// reason. The law holds whenever no thread is in the middle of a call on the socket.
    ///
    /// # Errors
    ///
    /// Returns a sentence with the figures that do not add up.
    pub fn check_conservation(&self) -> Result<(), String> {
        let sum =
            |reasons: &[DropReason]| reasons.iter().map(|&reason| self.drops(reason)).sum::<u64>();
        let left = sum(&LEFT_IN_SEND_QUEUE);
        let left = left + self.copies_evicted + self.copies_reclaimed;
        let out = self.copies_written + self.send_queue + left;
        if self.copies_pushed != out {
            return Err(format!(
                "{} pushed, but {} written + {} queued + {left} taken back or dropped",
                self.copies_pushed, self.copies_written, self.send_queue
            ));
        }
        let dropped = sum(after_arrival());
        let taken = self.messages_received + self.held_inbound + dropped;
        if self.copies_taken + self.copies_made != taken {
            return Err(format!(
                "{} taken or copied, but {} delivered + {} held + {dropped} dropped",
                self.copies_taken + self.copies_made,
                self.messages_received,
                self.held_inbound
            ));
        }
        Ok(())
    }
}

/// Writes how many messages were dropped, by reason, including zeros.
#[cfg(feature = "serde")]
fn write_drops<S: serde::Serializer>(drops: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(DropReason::ALL.iter().zip(drops))
}

/// Writes how many messages of one peer were dropped, by reason, without zeros.
#[cfg(feature = "serde")]
pub(crate) fn write_pipe_drops<S: serde::Serializer>(
    drops: &PipeDrops,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let counts = DropReason::ALL.iter().map(|&reason| (reason, drops.drops(reason)));
    serializer.collect_map(counts.filter(|&(_, count)| count > 0))
}
