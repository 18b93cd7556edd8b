//! What is measured, and what is compared with what.
//!
//! A cell is a workload that every library runs; a row compares one number of a cell with what a peer
//! reached, and says how far ahead sinew is meant to be.

use std::time::Duration;

pub(crate) const SINEW: &str = "sinew";

/// No library: what the system's sockets take, where questions wait for answers. Not a peer.
pub(crate) const BARE: &str = "bare";

/// All libraries, in the order in which they take turns.
pub(crate) const LIBRARIES: [&str; 7] = [SINEW, "nanomsg", "nng", "libzmq", "rzmq", "zeromq", BARE];

/// The message sizes of a whole sweep.
const SIZES: [usize; 7] = [8, 64, 256, 1 << 10, 8 << 10, 64 << 10, 1 << 20];

/// How many messages.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    Exactly(u64),
    /// As many as take half a second, found out by runs that are not recorded, this many at first.
    Pilot(u64),
}

/// A workload.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    /// METRIC PATTERN TRANSPORT SIZE, and what else there is to tell it by.
    pub(crate) id: String,
    pub(crate) metric: &'static str,
    pub(crate) pattern: &'static str,
    pub(crate) transport: &'static str,
    pub(crate) size: usize,
    pub(crate) count: Count,
    pub(crate) k: usize,
    options: &'static [&'static str],
    tune: Tune,
    /// Whether a library that lost a message is out.
    pub(crate) lossless: bool,
    /// Whether system calls are worth counting.
    pub(crate) calls: bool,
    pub(crate) limit: Duration,
}

/// Options that only some libraries need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tune {
    /// None.
    Default,
    /// Lose nothing if you can: a PUB that waits, or the largest buffers.
    Lossless,
    /// The same with queues as long as they may be.
    Unbounded,
    /// nanomsg has `TCP_NODELAY` off, and without it would wait for 40 ms now and then.
    NoDelay,
}

impl Tune {
    fn options(self, library: &str) -> &'static [&'static str] {
        match (self, library) {
            (Self::Lossless | Self::Unbounded, "nanomsg" | "nng") => &["hwm=8192"],
            (Self::Unbounded, "libzmq") => &["nodrop=1", "hwm=0"],
            (Self::Lossless | Self::Unbounded, "libzmq" | "rzmq" | SINEW) => &["nodrop=1"],
            (Self::NoDelay, "nanomsg") => &["nodelay=1"],
            _ => &[],
        }
    }
}

/// A library with a way to use it. Of several ways the best one counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entrant {
    pub(crate) library: &'static str,
    /// How it is used, if not in the way that comes first to mind.
    pub(crate) way: &'static str,
    pub(crate) options: Vec<String>,
    pub(crate) k: usize,
    /// The most messages of a run that has a number of them given.
    pub(crate) most: u64,
}

impl Entrant {
    pub(crate) fn name(&self) -> String {
        match self.way {
            "" => self.library.to_owned(),
            way => format!("{}, {way}", self.library),
        }
    }
}

impl Cell {
    fn new(
        metric: &'static str,
        pattern: &'static str,
        transport: &'static str,
        size: usize,
        count: Count,
    ) -> Self {
        Self {
            id: format!("{metric} {pattern} {transport} {size}"),
            metric,
            pattern,
            transport,
            size,
            count,
            k: 1,
            options: &[],
            tune: Tune::Default,
            lossless: pattern != "pubsub",
            calls: true,
            limit: Duration::from_secs(30),
        }
    }

    fn many(mut self, k: usize) -> Self {
        self.id = format!("{} k={k}", self.id);
        self.k = k;
        self
    }

    fn tuned(mut self, tune: Tune) -> Self {
        self.lossless |= tune == Tune::Lossless || tune == Tune::Unbounded;
        if self.lossless && self.pattern == "pubsub" {
            self.id = format!("{} lossless", self.id);
        }
        self.tune = tune;
        self
    }

    fn with(mut self, options: &'static [&'static str]) -> Self {
        self.options = options;
        self
    }

    fn without_calls(mut self) -> Self {
        self.calls = false;
        self
    }

    /// Whether one message or round trip follows the other, so that a second worker only costs.
    fn is_serial(&self) -> bool {
        self.metric == "lat" || self.metric == "open" || self.transport == "inproc"
    }

    /// The library in all ways that make sense here; in none if it lacks what is asked for.
    pub(crate) fn entrants(&self, library: &'static str) -> Vec<Entrant> {
        if !self.fits(library) {
            return Vec::new();
        }
        let way = |way, more: &[&str]| {
            let options = self.options.iter().chain(self.tune.options(library)).chain(more);
            let options = options.map(|option| (*option).to_owned()).collect();
            // NNG would need ten seconds and more for a million.
            let most = if library == "nng" { 100_000 } else { u64::MAX };
            Entrant { library, way, options, k: self.k_of(library), most }
        };
        let mut ways = vec![way("", &[])];
        if matches!(library, "rzmq" | "zeromq") && self.is_serial() {
            ways.push(way("1 worker", &["workers=1"]));
        }
        if library == SINEW && self.metric == "conc" {
            ways.push(way("tasks", &["async=1"]));
        }
        if library == SINEW && self.transport == "inproc" && self.metric == "lat" {
            ways.push(way("tasks, 1 worker", &["async=1", "workers=1"]));
        }
        ways
    }

    fn fits(&self, library: &str) -> bool {
        let is_zmtp = matches!(library, "libzmq" | "rzmq" | "zeromq");
        let is_list = matches!(library, "nng" | "zeromq");
        match (self.pattern, self.transport) {
            ("reqrep", "tcp") if library == BARE => true,
            _ if library == BARE => false,
            ("survey", _) => !is_zmtp,
            (_, "inproc") => library != "zeromq",
            // They compare with one topic after the other; subscribing alone takes hours.
            _ if self.metric == "subs" && self.k > 1000 => !is_list,
            _ => true,
        }
    }

    /// rzmq cannot hold 500 sockets in a process.
    fn k_of(&self, library: &str) -> usize {
        if library == "rzmq" && self.metric == "mem" { self.k.min(300) } else { self.k }
    }

    /// How many messages must have come in a run that lost none.
    pub(crate) fn complete(&self, count: u64, k: usize) -> u64 {
        match self.metric {
            "fan" | "survey" => count * k as u64,
            "conc" => count / k as u64 * k as u64,
            "mem" => k as u64,
            _ => count,
        }
    }
}

/// The number that a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Messages a second, as received.
    Received,
    /// Surveys a second.
    Sent,
    P50,
    P99,
    /// KiB for each connection of the binding process.
    Memory,
    /// Microseconds of processor time that a SUB needs for a message more than with the cell named.
    Extra {
        than: &'static str,
    },
}

impl Value {
    pub(crate) fn more_is_better(self) -> bool {
        matches!(self, Self::Received | Self::Sent)
    }

    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Received => "msgs/s",
            Self::Sent => "surveys/s",
            Self::P50 | Self::P99 => "µs",
            Self::Memory => "KiB",
            Self::Extra { .. } => "µs more",
        }
    }
}

/// A comparison.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) title: &'static str,
    pub(crate) cell: Cell,
    pub(crate) value: Value,
    /// The library, or none: whichever is best.
    pub(crate) against: Option<&'static str>,
    /// What sinew's number is to be, divided by the peer's: at least, or where less is better at most.
    pub(crate) target: f64,
}

/// The table of the comparisons that count.
pub(crate) fn rows() -> Vec<Row> {
    const TEN: &str = "subs pubsub tcp 64 k=10 lossless";
    let row = |title, cell, value, against, target| Row { title, cell, value, against, target };
    let push = |transport, size, count| Cell::new("thr", "pushpull", transport, size, count);
    let ask = |transport| Cell::new("lat", "reqrep", transport, 64, Count::Exactly(20_000));
    let publish = || Cell::new("thr", "pubsub", "tcp", 1 << 10, Count::Pilot(20_000));
    let fan = |size, k| {
        let cell = Cell::new("fan", "pubsub", "tcp", size, Count::Pilot(2000));
        cell.many(k).tuned(Tune::Lossless)
    };
    let open = || {
        let cell = Cell::new("open", "pushpull", "tcp", 1 << 10, Count::Exactly(15_000));
        cell.with(&["rate=10000"]).tuned(Tune::NoDelay).without_calls()
    };
    let (received, best) = (Value::Received, None);
    vec![
        row(
            "PUSH/PULL tcp 64 B",
            push("tcp", 64, Count::Pilot(20_000)),
            received,
            Some("libzmq"),
            2.0,
        ),
        row(
            "PUSH/PULL tcp 1 KiB, 1,000,000 messages",
            push("tcp", 1 << 10, Count::Exactly(1_000_000)),
            received,
            Some("rzmq"),
            2.0,
        ),
        row("PUSH/PULL tcp 8 KiB", push("tcp", 8 << 10, Count::Pilot(10_000)), received, best, 1.3),
        row("PUSH/PULL tcp 64 KiB", push("tcp", 64 << 10, Count::Pilot(2000)), received, best, 1.3),
        row("PUSH/PULL tcp 1 MiB", push("tcp", 1 << 20, Count::Pilot(200)), received, best, 1.3),
        row(
            "PUSH/PULL inproc 64 B",
            push("inproc", 64, Count::Pilot(20_000)),
            received,
            Some("libzmq"),
            2.0,
        ),
        row(
            "PUB/SUB tcp 1 KiB, nothing dropped",
            publish().tuned(Tune::Lossless),
            received,
            Some("rzmq"),
            2.0,
        ),
        row("PUB/SUB tcp 1 KiB, default settings", publish(), received, Some("nanomsg"), 2.0),
        row(
            "REQ/REP tcp 64 B, p50",
            ask("tcp").tuned(Tune::NoDelay),
            Value::P50,
            Some("zeromq"),
            0.85,
        ),
        row("REQ/REP ipc 64 B, p50", ask("ipc"), Value::P50, Some("zeromq"), 0.85),
        row("REQ/REP inproc 64 B, p50", ask("inproc"), Value::P50, Some("rzmq"), 0.5),
        row(
            "100 REQ to 1 REP tcp",
            Cell::new("conc", "reqrep", "tcp", 64, Count::Pilot(5000)).many(100),
            received,
            Some("zeromq"),
            1.5,
        ),
        row("PUB to 8 SUB tcp 64 B", fan(64, 8), received, Some("libzmq"), 2.0),
        row("PUB to 64 SUB tcp 64 B", fan(64, 64), received, Some("libzmq"), 2.0),
        row("PUB to 64 SUB tcp 1 KiB", fan(1 << 10, 64), received, Some("rzmq"), 2.0),
        row(
            "1,000 PUSH to 1 PULL tcp 64 B",
            Cell::new("fanin", "pushpull", "tcp", 64, Count::Pilot(20_000)).many(1000),
            received,
            Some("libzmq"),
            2.0,
        ),
        row(
            "survey with 100 respondents",
            Cell::new("survey", "survey", "tcp", 64, Count::Exactly(600)).many(100),
            Value::Sent,
            Some("nanomsg"),
            2.0,
        ),
        row(
            "idle connection, user-space memory",
            Cell::new("mem", "pushpull", "tcp", 64, Count::Exactly(1)).many(1000).without_calls(),
            Value::Memory,
            Some("zeromq"),
            0.45,
        ),
        row(
            "SUB with 1,000,000 subscriptions, extra time per message against 10",
            subscriptions(1_000_000),
            Value::Extra { than: TEN },
            Some("nanomsg"),
            0.3,
        ),
        row("PUSH/PULL tcp open loop 10,000/s 1 KiB, p50", open(), Value::P50, best, 0.85),
        row("PUSH/PULL tcp open loop 10,000/s 1 KiB, p99", open(), Value::P99, best, 0.85),
    ]
}

/// Slow enough that nobody loses a message.
fn subscriptions(k: usize) -> Cell {
    let mut cell = Cell::new("subs", "pubsub", "tcp", 64, Count::Exactly(20_000)).many(k);
    cell.limit = Duration::from_secs(60);
    cell.with(&["rate=20000"]).tuned(Tune::Unbounded).without_calls()
}

/// The cells of the rows, each once, and the one that the subscriptions are compared with.
pub(crate) fn cells(rows: &[Row]) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    for row in rows {
        if let Value::Extra { .. } = row.value {
            add(&mut cells, subscriptions(10));
        }
        add(&mut cells, row.cell.clone());
    }
    cells
}

/// Throughput and latency for messages of 8 B to 1 MiB over all transports.
pub(crate) fn sweep(cells: &mut Vec<Cell>) {
    for transport in ["tcp", "ipc", "inproc"] {
        for size in SIZES {
            let pilot = (64 << 20) / (size as u64 + 3000);
            add(cells, Cell::new("thr", "pushpull", transport, size, Count::Pilot(pilot)));
            let trips = if size > 64 << 10 { 1000 } else { 10_000 };
            let cell = Cell::new("lat", "reqrep", transport, size, Count::Exactly(trips));
            add(cells, if transport == "tcp" { cell.tuned(Tune::NoDelay) } else { cell });
        }
    }
}

fn add(cells: &mut Vec<Cell>, cell: Cell) {
    if cells.iter().all(|known| known.id != cell.id) {
        cells.push(cell);
    }
}
