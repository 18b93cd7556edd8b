//! Metrics: what sockets have counted, as text for monitoring systems.
//!
//! Owns the names of the metrics and their text form, OpenMetrics 1.0, which Prometheus and others scrape.
//! Reads [`Snapshot`]s and writes text: no thread, no network, no state between calls.
//!
//! Every socket can be observed ([`Observe`]). A [`Metrics`] borrows the sockets of one page, and its `Display`
//! writes the page:
//!
//! ```
//! use sinew::metrics::{CONTENT_TYPE, Metrics};
//!
//! let (push, pull) = (sinew::Push::new(), sinew::Pull::new());
//! pull.bind("inproc://metrics-doc")?;
//! push.connect("inproc://metrics-doc")?;
//! push.send("work")?;
//!
//! let page = Metrics::new().socket(&push).socket(&pull).to_string();
//! assert!(page.contains("sinew_messages_sent_total{socket=\"push-"));
//! assert!(page.ends_with("# EOF\n"));
//! println!("HTTP/1.1 200 OK\r\nContent-Type: {CONTENT_TYPE}\r\n\r\n{page}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/metrics_http.rs` serves such a page with the standard library only. A program that has metrics of its own
//! can leave out the mark at the end ([`Metrics::end_mark`]) and write both into one page; one that keeps them in a
//! registry of `prometheus-client` registers a `Collector` (feature `prometheus-client`).
//!
//! # Names
//!
//! Names and labels are part of the interface of this crate: only a new major version changes or removes one;
//! any version may add more. A metric has the labels `socket` (the name; see
//! [`Options::name`](crate::Options::name)) and `protocol` (see
//! [`ProtocolId::name`](crate::ProtocolId::name)), and those in the table.
//!
//! | metric | kind | more labels | is |
//! |---|---|---|---|
//! | `sinew_socket_open` | gauge | | 1, or 0 after close |
//! | `sinew_NAME_total` | counter | | each counter of [`Stats`], such as `sinew_messages_sent_total`; `bytes_sent` is `sinew_sent_bytes_total` |
//! | `sinew_messages_dropped_total` | counter | `reason` | each [`DropReason`], the zeros included |
//! | `sinew_current_connections`, `sinew_inprogress_connections` | gauge | | connections |
//! | `sinew_send_queue_messages`, `sinew_recv_queue_messages`, `sinew_held_outbound_messages`, `sinew_held_inbound_messages` | gauge | | messages that wait |
//! | `sinew_endpoint_state` | state set | `endpoint`, `url`, `direction` | what an endpoint is doing: an [`EndpointState`] |
//! | `sinew_endpoint_connections` | gauge | the same | connections it has |
//! | `sinew_endpoint_attempts_total` | counter | the same | attempts to connect |
//! | `sinew_endpoint_file_lost` | gauge | the same | 1 if it is bound to an ipc file that was removed or replaced, else 0 |
//! | `sinew_peer_…` | | `pipe`, `endpoint`, `remote` | each connection: only with [`Metrics::per_peer`] |
//!
//! If several sockets have the same name, the page appends `-2` to the name of the second, and so on, in the
//! order in which they were added. Give each socket its own name if a name should mean the same socket
//! tomorrow.

use std::collections::HashSet;
use std::fmt::{self, Display, Write};

use crate::error::AttemptError;
use crate::peer::{EndpointState, EndpointStatus, PeerStatus};
use crate::stats::{DropReason, Figure, Stats};

#[cfg(feature = "prometheus-client")]
mod collector;

#[cfg(feature = "prometheus-client")]
#[cfg_attr(docsrs, doc(cfg(feature = "prometheus-client")))]
pub use collector::Collector;

pub use super::{EndpointSnapshot, Observe, Snapshot};

/// The `Content-Type` of the page, for an HTTP server.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The sockets of one page of metrics. Its `Display` writes the page.
///
/// Borrows the sockets and holds nothing else. Reads the figures anew each time it is written.
#[derive(Clone, Debug, Default)]
#[must_use = "it does nothing until it is written"]
pub struct Metrics<'a> {
    sockets: Vec<&'a dyn Observe>,
    per_peer: bool,
    without_end: bool,
}

impl<'a> Metrics<'a> {
    /// Makes a page without sockets.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a socket.
    pub fn socket(mut self, socket: &'a dyn Observe) -> Self {
        self.sockets.push(socket);
        self
    }

    /// Adds sockets, such as all of a `Vec<Box<dyn Observe>>` by `.iter().map(|socket| &**socket)`.
    pub fn sockets(mut self, sockets: impl IntoIterator<Item = &'a dyn Observe>) -> Self {
        self.sockets.extend(sockets);
        self
    }

    /// Whether each connection has metrics of its own, `sinew_peer_…`. Default: no.
    ///
    /// Each connection adds about ten time series, and one more for each reason for which its messages were
    /// dropped. If thousands of peers come and go, that overloads a monitoring system. The counters of a
    /// connection end with it; those of the socket go on.
    pub fn per_peer(mut self, yes: bool) -> Self {
        self.per_peer = yes;
        self
    }

    /// Whether the page ends with `# EOF`, as OpenMetrics asks for. Default: yes. Without it the page can be
    /// appended to by metrics of others, which have to write the mark.
    pub fn end_mark(mut self, yes: bool) -> Self {
        self.without_end = !yes;
        self
    }

    /// Writes the page. Takes each socket's lock for a moment, one after the other, and waits for nothing else
    /// but `out`.
    ///
    /// # Errors
    ///
    /// The error of `out`; a `String` has none.
    pub fn write(&self, out: &mut impl Write) -> fmt::Result {
        let snapshots: Vec<Snapshot> =
            self.sockets.iter().map(|socket| socket.snapshot()).collect();
        write(&mut Text { out }, &snapshots, self.per_peer)?;
        if self.without_end { Ok(()) } else { out.write_str("# EOF\n") }
    }
}

impl Display for Metrics<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}

/// Where metrics are written: a page of text, or the registry of another crate.
trait Out {
    /// Begins a metric. Its samples follow.
    fn family(&mut self, family: &Family<'_>) -> fmt::Result;

    /// Writes a sample of the metric that was begun last.
    fn sample(&mut self, family: &Family<'_>, labels: &Labels, value: Value) -> fmt::Result;
}

/// The value of a sample.
#[derive(Clone, Copy)]
enum Value {
    Count(u64),
    Seconds(f64),
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<f64> for Value {
    fn from(seconds: f64) -> Self {
        Self::Seconds(seconds)
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Seconds(seconds) => seconds.fmt(f),
        }
    }
}

/// Writes the metrics of these snapshots.
fn write(out: &mut impl Out, snapshots: &[Snapshot], per_peer: bool) -> fmt::Result {
    let sockets = labelled(snapshots);
    let mut page = Page { out };
    page.sockets(&sockets)?;
    page.drops(&sockets)?;
    page.endpoints(&sockets)?;
    if per_peer {
        page.peers(&sockets)?;
    }
    Ok(())
}

/// A socket, and the labels that all its samples have.
struct Labelled<'a> {
    snapshot: &'a Snapshot,
    labels: Labels,
}

/// Gives each socket labels that no other has.
fn labelled(snapshots: &[Snapshot]) -> Vec<Labelled<'_>> {
    let given: HashSet<&str> = snapshots.iter().map(|snapshot| &*snapshot.name).collect();
    let mut taken = HashSet::new();
    snapshots
        .iter()
        .map(|snapshot| {
            let name = unique(&snapshot.name, &given, &mut taken);
            let protocol = snapshot.protocol.to_string();
            let labels = Labels::of(&[("socket", &name), ("protocol", &protocol)]);
            Labelled { snapshot, labels }
        })
        .collect()
}

/// Returns the name, or if it is taken the first of `name-2`, `name-3` ... that no socket has.
fn unique(name: &str, given: &HashSet<&str>, taken: &mut HashSet<String>) -> String {
    let mut unique = name.to_owned();
    let mut number = 2;
    while !taken.insert(unique.clone()) {
        unique = format!("{name}-{number}");
        while given.contains(&*unique) {
            number += 1;
            unique = format!("{name}-{number}");
        }
        number += 1;
    }
    unique
}

/// Labels with their values. `Display` writes `a="x",b="y"`, with the values escaped.
#[derive(Clone, Debug)]
struct Labels(Vec<(&'static str, String)>);

impl Labels {
    fn of(labels: &[(&'static str, &str)]) -> Self {
        Self(labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect())
    }

    /// These, and more.
    fn with(&self, more: &[(&'static str, &str)]) -> Self {
        let mut all = self.clone();
        all.0.extend(Self::of(more).0);
        all
    }
}

impl Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, value)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{name}=\"{}\"", Escaped(value))?;
        }
        Ok(())
    }
}

/// A label value or a help text, escaped for the page.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                char => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    StateSet,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::StateSet => "stateset",
        }
    }

    /// The suffix of the family's name in a sample.
    fn suffix(self) -> &'static str {
        if self == Self::Counter { "_total" } else { "" }
    }
}

/// A metric, whose samples are written together.
struct Family<'a> {
    name: &'a str,
    kind: Kind,
    help: &'a str,
}

/// The unit of a metric, if its name ends in one.
fn unit(name: &str) -> Option<&str> {
    ["bytes", "seconds"]
        .into_iter()
        .find(|unit| name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')))
}

/// A page of text being written.
struct Text<'a, W> {
    out: &'a mut W,
}

impl<W: Write> Out for Text<'_, W> {
    fn family(&mut self, family: &Family<'_>) -> fmt::Result {
        let Family { name, kind, help } = family;
        writeln!(self.out, "# TYPE {name} {}", kind.name())?;
        if let Some(unit) = unit(name) {
            writeln!(self.out, "# UNIT {name} {unit}")?;
        }
        writeln!(self.out, "# HELP {name} {}", Escaped(help.trim()))
    }

    fn sample(&mut self, family: &Family<'_>, labels: &Labels, value: Value) -> fmt::Result {
        writeln!(self.out, "{}{}{{{labels}}} {value}", family.name, family.kind.suffix())
    }
}

/// All metrics, being written.
struct Page<'a, O> {
    out: &'a mut O,
}

impl<O: Out> Page<'_, O> {
    fn family(&mut self, family: &Family<'_>) -> fmt::Result {
        self.out.family(family)
    }

    fn sample(
        &mut self,
        family: &Family<'_>,
        labels: &Labels,
        value: impl Into<Value>,
    ) -> fmt::Result {
        self.out.sample(family, labels, value.into())
    }

    /// Writes the counters and gauges of sockets.
    fn sockets(&mut self, sockets: &[Labelled<'_>]) -> fmt::Result {
        let help = "Whether the socket is open (1) or closed (0).";
        let family = Family { name: "sinew_socket_open", kind: Kind::Gauge, help };
        self.family(&family)?;
        for Labelled { snapshot, labels } in sockets {
            self.sample(&family, labels, u64::from(!snapshot.closed))?;
        }
        let counters = |stats: &Stats| stats.described_counters().collect();
        self.figures(Kind::Counter, sockets, counters)?;
        self.figures(Kind::Gauge, sockets, |stats| stats.described_gauges().collect())
    }

    /// Writes one metric for each figure.
    fn figures(
        &mut self,
        kind: Kind,
        sockets: &[Labelled<'_>],
        figures: impl Fn(&Stats) -> Vec<Figure>,
    ) -> fmt::Result {
        let all: Vec<Vec<Figure>> =
            sockets.iter().map(|socket| figures(&socket.snapshot.stats)).collect();
        for (n, figure) in all.first().into_iter().flatten().enumerate() {
            let name = metric(figure.name);
            let family = Family { name: &name, kind, help: figure.help };
            self.family(&family)?;
            for (Labelled { labels, .. }, figures) in sockets.iter().zip(&all) {
                self.sample(&family, labels, figures[n].value)?;
            }
        }
        Ok(())
    }

    fn drops(&mut self, sockets: &[Labelled<'_>]) -> fmt::Result {
        if sockets.is_empty() {
            return Ok(());
        }
        let help = "Messages that were dropped, by the reason for it.";
        let family = Family { name: "sinew_messages_dropped", kind: Kind::Counter, help };
        self.family(&family)?;
        for Labelled { snapshot, labels } in sockets {
            for (reason, count) in snapshot.stats.dropped() {
                self.sample(&family, &with_reason(labels, reason), count)?;
            }
        }
        Ok(())
    }

    fn endpoints(&mut self, sockets: &[Labelled<'_>]) -> fmt::Result {
        let endpoints = labelled_endpoints(sockets);
        if endpoints.is_empty() {
            return Ok(());
        }
        let help = "What the endpoint is doing.";
        let family = Family { name: "sinew_endpoint_state", kind: Kind::StateSet, help };
        self.family(&family)?;
        for (labels, endpoint) in &endpoints {
            for &state in EndpointState::ALL {
                let labels = labels.with(&[("sinew_endpoint_state", state.name())]);
                self.sample(&family, &labels, u64::from(endpoint.status.state == state))?;
            }
        }
        let help = "Connections that the endpoint has.";
        let family = Family { name: "sinew_endpoint_connections", kind: Kind::Gauge, help };
        self.each(&family, &endpoints, |endpoint| endpoint.status.peers as u64)?;
        let help = "Attempts to connect that were begun. Stays 0 where the endpoint accepts.";
        let family = Family { name: "sinew_endpoint_attempts", kind: Kind::Counter, help };
        self.each(&family, &endpoints, |endpoint| endpoint.status.attempts)?;
        let help =
            "Whether nobody can connect any more since the ipc file was removed or replaced.";
        let family = Family { name: "sinew_endpoint_file_lost", kind: Kind::Gauge, help };
        let is_lost = |status: &EndpointStatus| {
            matches!(status.last_error, Some(AttemptError::FileLost { .. }))
        };
        self.each(&family, &endpoints, |endpoint| u64::from(is_lost(&endpoint.status)))
    }

    fn peers(&mut self, sockets: &[Labelled<'_>]) -> fmt::Result {
        let peers = labelled_peers(sockets);
        if peers.is_empty() {
            return Ok(());
        }
        for (family, value) in &PEER_COUNTS {
            self.each(family, &peers, value)?;
        }
        let help = "Messages to or from the peer that were dropped, by the reason for it.";
        let family = Family { name: "sinew_peer_messages_dropped", kind: Kind::Counter, help };
        self.family(&family)?;
        for (labels, peer) in &peers {
            for (reason, count) in peer.dropped().filter(|&(_, count)| count > 0) {
                self.sample(&family, &with_reason(labels, reason), count)?;
            }
        }
        let help = "For how long the peer has been connected.";
        let family = Family { name: "sinew_peer_connected_seconds", kind: Kind::Gauge, help };
        self.each(&family, &peers, |peer| crate::time::since(peer.since).as_secs_f64())
    }

    /// Writes one sample for each of `all`.
    fn each<T, V: Into<Value>>(
        &mut self,
        family: &Family<'_>,
        all: &[(Labels, &T)],
        value: impl Fn(&T) -> V,
    ) -> fmt::Result {
        self.family(family)?;
        all.iter().try_for_each(|(labels, one)| self.sample(family, labels, value(one)))
    }
}

/// The name of the metric for a field of [`Stats`].
fn metric(field: &str) -> String {
    match field.strip_prefix("bytes_") {
        Some(rest) => format!("sinew_{rest}_bytes"),
        None if field.ends_with("_queue") || field.starts_with("held_") => {
            format!("sinew_{field}_messages")
        }
        None => format!("sinew_{field}"),
    }
}

fn with_reason(labels: &Labels, reason: DropReason) -> Labels {
    labels.with(&[("reason", reason.name())])
}

fn labelled_endpoints<'a>(sockets: &[Labelled<'a>]) -> Vec<(Labels, &'a EndpointSnapshot)> {
    let of_one = |socket: &Labelled<'a>| {
        let of_socket = socket.labels.clone();
        socket.snapshot.endpoints.iter().map(move |endpoint| {
            let direction = if endpoint.listening { "in" } else { "out" };
            let id = endpoint.id.to_string();
            let own = [("endpoint", &*id), ("url", &*endpoint.url), ("direction", direction)];
            (of_socket.with(&own), endpoint)
        })
    };
    sockets.iter().flat_map(of_one).collect()
}

fn labelled_peers<'a>(sockets: &[Labelled<'a>]) -> Vec<(Labels, &'a PeerStatus)> {
    let of_one = |socket: &Labelled<'a>| {
        let of_socket = socket.labels.clone();
        socket.snapshot.peers.iter().map(move |peer| {
            let (pipe, endpoint) = (peer.pipe.to_string(), peer.endpoint.to_string());
            let own = [("pipe", &*pipe), ("endpoint", &*endpoint), ("remote", &*peer.remote)];
            (of_socket.with(&own), peer)
        })
    };
    sockets.iter().flat_map(of_one).collect()
}

/// A metric of connections, and how to read its value.
type PeerCount = (Family<'static>, fn(&PeerStatus) -> u64);

const PEER_COUNTS: [PeerCount; 8] = [
    (
        counter("sinew_peer_messages_sent", "Messages put into the send queue of the peer."),
        |peer| peer.messages_sent,
    ),
    (counter("sinew_peer_sent_bytes", "Bytes of those, protocol headers included."), |peer| {
        peer.bytes_sent
    }),
    (
        counter("sinew_peer_messages_received", "Messages taken from the peer's receive queue."),
        |peer| peer.messages_received,
    ),
    (counter("sinew_peer_received_bytes", "Bytes of those, protocol headers included."), |peer| {
        peer.bytes_received
    }),
    (
        gauge("sinew_peer_send_queue_messages", "Messages that wait to be sent to the peer."),
        |peer| peer.send_queue.messages,
    ),
    (gauge("sinew_peer_send_queue_bytes", "Bytes of those, protocol headers included."), |peer| {
        peer.send_queue.bytes
    }),
    (
        gauge("sinew_peer_recv_queue_messages", "Messages from the peer that wait to be received."),
        |peer| peer.recv_queue.messages,
    ),
    (gauge("sinew_peer_recv_queue_bytes", "Bytes of those, protocol headers included."), |peer| {
        peer.recv_queue.bytes
    }),
];

const fn counter(name: &'static str, help: &'static str) -> Family<'static> {
    Family { name, kind: Kind::Counter, help }
}

const fn gauge(name: &'static str, help: &'static str) -> Family<'static> {
    Family { name, kind: Kind::Gauge, help }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_taken_gets_a_number_that_is_free() {
        let given = HashSet::from(["a", "a-2", "b"]);
        let mut taken = HashSet::new();
        let names = ["a", "a", "b", "a-2", "a"].map(|name| unique(name, &given, &mut taken));
        assert_eq!(names, ["a", "a-3", "b", "a-2", "a-4"]);
    }

    #[test]
    fn label_values_are_escaped() {
        let labels = Labels::of(&[("a", "x\\y\"z\n"), ("b", "ü")]);
        assert_eq!(labels.to_string(), r#"a="x\\y\"z\n",b="ü""#);
    }
}
