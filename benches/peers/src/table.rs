//! What is measured, and what is compared with what.
//!
//! A cell is a workload that every library runs; a row compares one number of a cell with the best
//! that a peer reached, and says how far ahead sinew is meant to be.
//!
//! This file knows nothing of how it is measured: a test of the crate reads it too, and compares the
//! page about performance with it.

use std::time::Duration;

pub(crate) const SINEW: &str = "sinew";

/// No library: what the system's sockets take, where questions wait for answers. Not a peer.
pub(crate) const BARE: &str = "bare";

/// All libraries, in the order in which they take turns.
pub(crate) const LIBRARIES: [&str; 9] =
    [SINEW, "nanomsg", "nng", "nng2", "libzmq", "rzmq", "zeromq", "omq", BARE];

/// A way to use sinew that is no row's: it shows what spinning costs.
pub(crate) const NO_SPINNING: &str = "no spinning";

/// What the processors do when they have nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Condition {
    /// The system halts them, and waking one takes as long as it takes.
    AsIs,
    /// They never halt: on each a thread runs of the class that gives way to all others.
    Awake,
}

impl Condition {
    pub(crate) const ALL: [Self; 2] = [Self::AsIs, Self::Awake];

    /// On the command line and in the results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AsIs => "as-is",
            Self::Awake => "awake",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|condition| condition.name() == name)
    }

    /// In headings.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::AsIs => "The machine as it is",
            Self::Awake => "Cores kept from halting",
        }
    }
}

/// How many messages.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    Exactly(u64),
    /// As many as take about half a second, found out by runs that are not recorded, this many at first.
    Pilot(u64),
}

/// The number that a row or a cell is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Received messages (round trips) a second, of all receivers together.
    Received,
    /// Surveys a second.
    Surveys,
    P50,
    P99,
    /// KiB that a connection adds to the resident size of the process that has bound.
    Memory,
    /// The SUB's processor time for a message, in µs, less what it is with ten subscriptions.
    Extra,
}

impl Value {
    pub(crate) fn more_is_better(self) -> bool {
        matches!(self, Self::Received | Self::Surveys)
    }

    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Received | Self::Surveys => "/s",
            Self::P50 | Self::P99 | Self::Extra => "µs",
            Self::Memory => "KiB",
        }
    }

    /// What a run calls it; `Extra` is a difference of two runs' processor times.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::Received => "rcv",
            Self::Surveys => "snd",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Memory => "kb_srv",
            Self::Extra => "cpu_b",
        }
    }
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
    /// What the ways of a library are told apart by.
    pub(crate) value: Value,
    options: &'static [&'static str],
    tune: Tune,
    /// Whether a run that lost a message is out.
    lossless: bool,
    /// Whether nobody waits for anybody in it, so that it is run once only, in the machine as it is.
    pub(crate) is_still: bool,
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
            (Self::Lossless | Self::Unbounded, "libzmq" | "rzmq" | "omq" | SINEW) => &["nodrop=1"],
            (Self::NoDelay, "nanomsg") => &["nodelay=1"],
            _ => &[],
        }
    }
}

/// A library with a way to use it. Of several ways the best one counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entrant {
    pub(crate) lib: &'static str,
    /// How it is used, if there are several ways.
    pub(crate) way: &'static str,
    pub(crate) options: Vec<String>,
    pub(crate) k: usize,
}

impl Entrant {
    pub(crate) fn name(&self) -> String {
        match self.way {
            "" => self.lib.to_owned(),
            way => format!("{}, {way}", self.lib),
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
            value: match metric {
                "lat" | "open" => Value::P50,
                "survey" => Value::Surveys,
                "mem" => Value::Memory,
                "subs" => Value::Extra,
                _ => Value::Received,
            },
            options: &[],
            tune: Tune::Default,
            lossless: pattern != "pubsub",
            is_still: matches!(metric, "mem" | "subs"),
            limit: Duration::from_secs(15),
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

    /// The library in all ways that make sense here; in none if it lacks what is asked for.
    pub(crate) fn entrants(&self, library: &'static str) -> Vec<Entrant> {
        if !self.fits(library) {
            return Vec::new();
        }
        let entrant = |(way, more): &(&'static str, &[&str])| {
            let options = self.options.iter().chain(self.tune.options(library)).chain(*more);
            let options = options.map(|option| (*option).to_owned()).collect();
            Entrant { lib: library, way, options, k: self.k_of(library) }
        };
        self.ways(library).iter().map(entrant).collect()
    }

    /// Names and options of the ways to use a library.
    fn ways(&self, library: &str) -> &'static [(&'static str, &'static [&'static str])] {
        match library {
            SINEW if self.metric == "conc" => &[
                ("threads", &[]),
                ("tasks", &["async=1"]),
                ("tasks, 1 worker", &["async=1", "workers=1"]),
                ("tasks, no I/O thread", &["async=1", "workers=1", "drive=1"]),
            ],
            SINEW if self.metric == "lat" && self.transport == "inproc" => &[
                ("threads", &[]),
                (NO_SPINNING, &["spin=0"]),
                ("tasks", &["async=1", "workers=1"]),
            ],
            SINEW if matches!(self.metric, "lat" | "open") => {
                &[("", &[]), (NO_SPINNING, &["spin=0"])]
            }
            // The time between two messages, spun away, is far more than that of a look-up.
            SINEW if self.metric == "subs" => &[("", &["spin=0"])],
            SINEW if self.metric == "thr" && self.size == 64 => {
                &[("", &[]), (NO_SPINNING, &["spin=0"])]
            }
            "rzmq" | "zeromq" if !self.is_still => &[("", &[]), ("1 worker", &["workers=1"])],
            "omq" if !self.is_still => &[
                ("threads", &[]),
                ("tasks", &["async=1"]),
                ("tasks, no I/O thread", &["async=1", "workers=1"]),
            ],
            _ => &[("", &[])],
        }
    }

    fn fits(&self, library: &str) -> bool {
        let is_zmtp = matches!(library, "libzmq" | "rzmq" | "zeromq" | "omq");
        match (self.pattern, self.transport) {
            ("reqrep", "tcp") if library == BARE => true,
            _ if library == BARE => false,
            ("survey", _) => !is_zmtp,
            (_, "inproc") => library != "zeromq",
            // It cannot hold 500 sockets in a process.
            _ if self.metric == "fanin" => library != "rzmq",
            // The others compare with one topic after the other, or are not what this is about.
            _ if self.metric == "subs" => matches!(library, SINEW | "nanomsg" | "libzmq"),
            _ => true,
        }
    }

    /// Where a library cannot have as many sockets in a process, it gets fewer connections.
    fn k_of(&self, library: &str) -> usize {
        match library {
            "rzmq" if self.metric == "mem" => self.k.min(300),
            _ => self.k,
        }
    }

    /// Whether a run that lost so many of its messages counts.
    ///
    /// Where a SUB's work for a message is looked at, one in a thousand more or less changes nothing.
    pub(crate) fn bears(&self, lost: u64, received: u64) -> bool {
        match self.value {
            Value::Extra => lost <= received / 1000,
            _ => !self.lossless || lost == 0,
        }
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

    pub(crate) fn is_run_in(&self, condition: Condition) -> bool {
        condition == Condition::AsIs || !self.is_still
    }
}

/// What is compared.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) title: &'static str,
    pub(crate) cell: Cell,
    pub(crate) value: Value,
    /// How sinew is used: the name of a way, or its beginning.
    pub(crate) way: &'static str,
    /// One peer, or `None`: the best of all.
    pub(crate) against: Option<&'static str>,
    /// What sinew's number divided by the peer's is meant to be at least, or if less is better at most,
    /// in either condition.
    goals: [f64; 2],
}

/// The heading of a table of comparisons.
pub(crate) const COLUMNS: &str =
    "| workload | sinew | best peer | ratio | goal | reached | processor time, µs |";

impl Row {
    pub(crate) fn goal(&self, condition: Condition) -> f64 {
        match condition {
            Condition::AsIs => self.goals[0],
            Condition::Awake => self.goals[1],
        }
    }

    pub(crate) fn is_reached(&self, condition: Condition, ratio: f64) -> bool {
        match self.value.more_is_better() {
            true => ratio >= self.goal(condition),
            false => ratio <= self.goal(condition),
        }
    }

    /// The first field of its line in a table.
    pub(crate) fn label(&self) -> String {
        format!("{}, {}", self.title, self.value.unit())
    }

    /// The field with its goal.
    pub(crate) fn goal_label(&self, condition: Condition) -> String {
        let sign = if self.value.more_is_better() { "≥" } else { "≤" };
        format!("{sign} {}", self.goal(condition))
    }
}

/// All rows, in the order of the page.
pub(crate) fn rows() -> Vec<Row> {
    [streams(), publishers(), questions(), the_rest()].concat()
}

fn row(title: &'static str, cell: Cell, goal: f64) -> Row {
    let value = cell.value;
    Row { title, cell, value, way: "", against: None, goals: [goal, goal] }
}

fn streams() -> Vec<Row> {
    let push = |transport, size: usize| {
        let pilot = (64 << 20) / (size as u64 + 3000);
        Cell::new("thr", "pushpull", transport, size, Count::Pilot(pilot))
    };
    let fan_in = Cell::new("fanin", "pushpull", "tcp", 64, Count::Pilot(20_000)).many(1000);
    vec![
        row("PUSH/PULL tcp 8 B", push("tcp", 8), 2.0),
        row("PUSH/PULL tcp 64 B", push("tcp", 64), 2.0),
        row("PUSH/PULL tcp 1 KiB", push("tcp", 1 << 10), 2.0),
        row("PUSH/PULL tcp 8 KiB", push("tcp", 8 << 10), 1.3),
        row("PUSH/PULL tcp 64 KiB", push("tcp", 64 << 10), 1.3),
        row("PUSH/PULL tcp 1 MiB", push("tcp", 1 << 20), 1.3),
        row("PUSH/PULL ipc 64 B", push("ipc", 64), 2.0),
        row("PUSH/PULL inproc 64 B", push("inproc", 64), 2.0),
        row("1,000 PUSH to 1 PULL tcp 64 B", fan_in, 2.0),
    ]
}

fn publishers() -> Vec<Row> {
    let publish = || Cell::new("thr", "pubsub", "tcp", 1 << 10, Count::Pilot(20_000));
    let fan = |size, k| {
        let cell = Cell::new("fan", "pubsub", "tcp", size, Count::Pilot(2000));
        cell.many(k).tuned(Tune::Lossless)
    };
    vec![
        row("PUB/SUB tcp 1 KiB, nothing dropped", publish().tuned(Tune::Lossless), 2.0),
        row("PUB/SUB tcp 1 KiB, default", publish(), 3.0),
        row("PUB to 8 SUB tcp 64 B, nothing dropped", fan(64, 8), 2.0),
        row("PUB to 64 SUB tcp 64 B, nothing dropped", fan(64, 64), 2.0),
        row("PUB to 64 SUB tcp 1 KiB, nothing dropped", fan(1 << 10, 64), 2.0),
    ]
}

fn questions() -> Vec<Row> {
    let ask = |transport, count| Cell::new("lat", "reqrep", transport, 64, Count::Exactly(count));
    let inproc = || ask("inproc", 20_000);
    let many = || Cell::new("conc", "reqrep", "tcp", 64, Count::Pilot(5000)).many(100);
    let survey = Cell::new("survey", "survey", "tcp", 64, Count::Exactly(600)).many(100);
    let halting = |row| Row { goals: [0.35, 0.85], ..row };
    let used = |way, row| Row { way, ..row };
    vec![
        halting(row("REQ/REP tcp 64 B, p50", ask("tcp", 6000).tuned(Tune::NoDelay), 0.0)),
        halting(row("REQ/REP ipc 64 B, p50", ask("ipc", 6000), 0.0)),
        used("threads", row("REQ/REP inproc 64 B, two threads, p50", inproc(), 0.6)),
        used("tasks", row("REQ/REP inproc 64 B, two tasks, p50", inproc(), 0.6)),
        used("tasks", row("100 REQ to 1 REP tcp 64 B, tasks", many(), 1.1)),
        used("threads", row("100 REQ to 1 REP tcp 64 B, threads", many(), 0.8)),
        row("survey with 100 respondents tcp 64 B", survey, 2.0),
    ]
}

fn the_rest() -> Vec<Row> {
    let open = || {
        let cell = Cell::new("open", "pushpull", "tcp", 1 << 10, Count::Exactly(10_000));
        cell.with(&["rate=10000"]).tuned(Tune::NoDelay)
    };
    let idle = Cell::new("mem", "pushpull", "tcp", 64, Count::Exactly(1)).many(9000);
    vec![
        row("open loop, 10,000/s tcp 1 KiB, p50", open(), 0.7),
        Row { value: Value::P99, ..row("open loop, 10,000/s tcp 1 KiB, p99", open(), 0.7) },
        Row {
            against: Some("nanomsg"),
            ..row(
                "SUB with 1,000,000 subscriptions, more time a message than with 10, against nanomsg",
                subscriptions(1_000_000),
                0.3,
            )
        },
        row("idle connection, resident memory", idle, 0.45),
    ]
}

/// Slow enough that nobody loses a message.
fn subscriptions(k: usize) -> Cell {
    let mut cell = Cell::new("subs", "pubsub", "tcp", 64, Count::Exactly(20_000)).many(k);
    cell.limit = Duration::from_secs(60);
    cell.with(&["rate=20000"]).tuned(Tune::Unbounded)
}

/// What a million subscriptions are compared with.
pub(crate) fn ten_subscriptions() -> Cell {
    subscriptions(10)
}

/// The cells of the rows, each once, and the one that the subscriptions are compared with.
pub(crate) fn cells(rows: &[Row]) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    let mut add = |cell: Cell| {
        if cells.iter().all(|known| known.id != cell.id) {
            cells.push(cell);
        }
    };
    for row in rows {
        if row.value == Value::Extra {
            add(ten_subscriptions());
        }
        add(row.cell.clone());
    }
    cells
}
