//! What is to be measured, as the command line says it.

use std::env;
use std::process::exit;

const USAGE: &str = "usage: perf thr|lat|open|fan|fanin|conc|survey|subs|mem \
    pushpull|pubsub|pair|reqrep|survey URL SIZE COUNT \
    [k=N hwm=N nodrop=1 rate=N warm=N nodelay=1 io=N async=1 workers=N drive=1 spin=N]";

/// The kinds of workloads; `main.rs` says what each one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    Throughput,
    Latency,
    Open,
    Fan,
    FanIn,
    Concurrent,
    Survey,
    Subscriptions,
    Memory,
}

impl Metric {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "thr" => Self::Throughput,
            "lat" => Self::Latency,
            "open" => Self::Open,
            "fan" => Self::Fan,
            "fanin" => Self::FanIn,
            "conc" => Self::Concurrent,
            "survey" => Self::Survey,
            "subs" => Self::Subscriptions,
            "mem" => Self::Memory,
            _ => return None,
        })
    }

    /// Whether messages go from the *a* side to the *b* side only.
    pub(crate) fn is_oneway(self) -> bool {
        use Metric::{Fan, FanIn, Open, Subscriptions, Throughput};
        matches!(self, Throughput | Open | Fan | FanIn | Subscriptions)
    }

    /// The patterns that it makes sense for.
    fn patterns(self) -> &'static [&'static str] {
        match self {
            Self::Throughput | Self::Open => &["pushpull", "pubsub", "pair"],
            Self::Fan | Self::Subscriptions => &["pubsub"],
            Self::FanIn | Self::Memory => &["pushpull"],
            Self::Latency => &["reqrep", "pair"],
            Self::Concurrent => &["reqrep"],
            Self::Survey => &["survey"],
        }
    }

    /// The smallest message that holds what the receiver needs of it.
    fn least_size(self) -> usize {
        match self {
            Self::Open => 16,
            Self::Subscriptions => 24,
            metric if metric.is_oneway() || metric == Self::Memory => 8,
            _ => 0,
        }
    }
}

/// The kinds of sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Push,
    Pull,
    Pub,
    Sub,
    Pair,
    Req,
    Rep,
    Surveyor,
    Respondent,
}

/// A workload and its numbers.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) metric: Metric,
    /// METRIC, PATTERN and the options as they were given, for the report.
    pub(crate) names: [String; 3],
    /// The kinds of the *a* and of the *b* side.
    pub(crate) kinds: (Kind, Kind),
    pub(crate) url: String,
    pub(crate) size: usize,
    pub(crate) count: u64,
    /// How many sockets, or subscriptions.
    pub(crate) k: usize,
    /// Messages a second; zero: as fast as it goes.
    pub(crate) rate: f64,
    pub(crate) warm: u64,
    /// Messages in a queue; `None`: as the library has it.
    pub(crate) hwm: Option<usize>,
    /// A PUB that loses nothing, if the library has such a thing.
    pub(crate) nodrop: bool,
    /// `TCP_NODELAY`; `None`: as the library has it.
    pub(crate) nodelay: Option<bool>,
    /// I/O threads, if the library has such a thing; `None`: as the library has it.
    pub(crate) io: Option<usize>,
    /// Tasks of an executor instead of threads, where the library has both.
    pub(crate) tasks: bool,
    /// Threads of an executor; `None`: one for each processor.
    pub(crate) workers: Option<usize>,
    /// A task turns the event loop, if the library has such a thing.
    pub(crate) drive: bool,
    /// How many microseconds a call spins before it sleeps, if the library has such a thing; `None`: as
    /// the library has it.
    pub(crate) spin: Option<u64>,
    /// This process is the far end.
    pub(crate) far: bool,
}

impl Task {
    /// Reads the command line, or ends the process with an explanation.
    pub(crate) fn from_command_line() -> Self {
        let args: Vec<String> = env::args().skip(1).collect();
        Self::parse(&args).unwrap_or_else(|wrong| {
            eprintln!("{wrong}\n{USAGE}");
            exit(2);
        })
    }

    fn parse(args: &[String]) -> Result<Self, String> {
        let [metric_name, pattern, url, size, count, options @ ..] = args else {
            return Err("there are five arguments at least".to_owned());
        };
        let metric = Metric::named(metric_name).ok_or(format!("no metric {metric_name}"))?;
        if !metric.patterns().contains(&pattern.as_str()) {
            return Err(format!("{metric_name} is not for {pattern}"));
        }
        let shown: Vec<&str> =
            options.iter().map(String::as_str).filter(|o| *o != "end=far").collect();
        let mut task = Self {
            metric,
            names: [metric_name.clone(), pattern.clone(), shown.join(" ")],
            kinds: kinds(pattern),
            url: url.clone(),
            size: number(size)?,
            count: number(count)?,
            k: 1,
            rate: 0.0,
            warm: 1000,
            hwm: None,
            nodrop: false,
            nodelay: None,
            io: None,
            tasks: false,
            workers: None,
            drive: false,
            spin: None,
            far: false,
        };
        options.iter().try_for_each(|option| task.set(option))?;
        task.check()
    }

    fn set(&mut self, option: &str) -> Result<(), String> {
        let (key, value) = option.split_once('=').ok_or(format!("{option} has no value"))?;
        match key {
            "k" => self.k = number(value)?,
            "rate" => self.rate = number(value)?,
            "warm" => self.warm = number(value)?,
            "hwm" => self.hwm = Some(number(value)?),
            "nodrop" => self.nodrop = value == "1",
            "nodelay" => self.nodelay = Some(value == "1"),
            "io" => self.io = Some(number(value)?),
            "async" => self.tasks = value == "1",
            "workers" => self.workers = Some(number(value)?),
            "drive" => self.drive = value == "1",
            "spin" => self.spin = Some(number(value)?),
            "end" => self.far = value == "far",
            _ => return Err(format!("no option {key}")),
        }
        Ok(())
    }

    fn check(self) -> Result<Self, String> {
        let least = self.metric.least_size();
        if self.size < least {
            return Err(format!("a message of {} needs {least} bytes", self.names[0]));
        }
        if self.is_inproc() && self.metric == Metric::Memory {
            return Err("what a connection costs can be told only between processes".to_owned());
        }
        if self.k == 0 || self.count == 0 || self.workers == Some(0) || self.io == Some(0) {
            return Err("of nothing, nothing can be measured".to_owned());
        }
        if self.drive && (!self.tasks || self.io.is_some()) {
            return Err("a task drives only tasks, and takes the place of I/O threads".to_owned());
        }
        if self.metric == Metric::Open && self.rate <= 0.0 {
            return Err("open needs a rate".to_owned());
        }
        Ok(self)
    }

    pub(crate) fn is_inproc(&self) -> bool {
        self.transport() == "inproc"
    }

    pub(crate) fn transport(&self) -> &str {
        self.url.split(':').next().unwrap_or_default()
    }

    /// Whether the *a* side binds: the one of which there is one.
    pub(crate) fn a_binds(&self) -> bool {
        matches!(self.kinds.0, Kind::Pub | Kind::Surveyor)
    }
}

fn kinds(pattern: &str) -> (Kind, Kind) {
    match pattern {
        "pushpull" => (Kind::Push, Kind::Pull),
        "pubsub" => (Kind::Pub, Kind::Sub),
        "reqrep" => (Kind::Req, Kind::Rep),
        "survey" => (Kind::Surveyor, Kind::Respondent),
        _ => (Kind::Pair, Kind::Pair),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is no number that is possible here"))
}
