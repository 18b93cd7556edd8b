//! What all measurements share: parameters, processes, and what is made of times.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The parameters of the command line.
pub(crate) struct Keys<'a>(&'a [String]);

impl<'a> Keys<'a> {
    pub(crate) fn of(arguments: &'a [String]) -> Self {
        Self(arguments)
    }

    /// The value of `key`, or `default`.
    pub(crate) fn get(&self, key: &str, default: usize) -> usize {
        let value = self.0.iter().find_map(|it| it.strip_prefix(key)?.strip_prefix('='));
        value.map_or(default, |value| value.parse().expect("the value is a number"))
    }
}

/// Lets the process have as many descriptors as it may.
pub(crate) fn allow_descriptors() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("it is allowed");
}

/// This program run again as a peer. Killed when dropped.
pub(crate) struct Process {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::run(Command::new(this()).args(arguments))
    }

    /// Runs it on one processor, where it gives way to everybody else.
    pub(crate) fn start_idle(processor: usize) -> Self {
        Self::run(
            Command::new("taskset")
                .args(["-c", &processor.to_string(), "chrt", "--idle", "0"])
                .arg(this())
                .arg("spin"),
        )
    }

    fn run(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program is there");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, out }
    }

    /// The next line that it writes.
    pub(crate) fn told(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("a pipe");
        assert!(!line.is_empty(), "the peer has ended");
        line.trim_end().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn this() -> std::path::PathBuf {
    std::env::current_exe().expect("a program is a file")
}

/// Times in order.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        assert!(!times.is_empty(), "nothing was measured");
        times.sort_unstable();
        Self(times)
    }

    /// The time that `part` in a thousand are at most.
    pub(crate) fn at(&self, part: usize) -> Duration {
        let last = self.0.len() - 1;
        self.0[(self.0.len() * part / 1000).min(last)]
    }
}

/// Writes p50, p99 and the longest, in microseconds.
impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p99, max] = [500, 990, 1000].map(|part| self.at(part).as_micros());
        write!(f, "p50 {p50:6} us  p99 {p99:6} us  max {max:6} us  of {}", self.0.len())
    }
}
