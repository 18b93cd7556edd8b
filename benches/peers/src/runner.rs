//! Runs cells, each a process of its own, and keeps every result as a line of JSON.
//!
//! Libraries take turns within a cell, cells within a round, so that what disturbs the machine for a
//! while disturbs all of them.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio, id};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, killpg};
use nix::sys::time::TimeValLike;
use nix::unistd::{Pid, SysconfVar, sysconf};
use serde_json::{Value, json};

use crate::PEER;
use crate::awake::Awake;
use crate::results::Results;
use crate::table::{Cell, Condition, Count, Entrant};

/// What a run is meant to take where the count is free, in seconds.
const LONG: f64 = 0.5;
const SHORT: f64 = 0.15;
/// The most messages of a run, whatever is promised by its pilot.
const MOST: f64 = 20e6;
/// A pilot that was short says little about the rate, and sends another one.
const PILOTS: usize = 3;
/// Who has failed so often in a cell is not asked again.
const FAILURES: u32 = 2;

/// How long the machine is watched before a run, to see whether anything else is at work.
const WATCH: Duration = Duration::from_millis(50);

/// What is kept of what a run prints.
const KEPT: [&str; 19] = [
    "ver",
    "n",
    "recvd",
    "snd",
    "rcv",
    "p50",
    "p90",
    "p99",
    "p999",
    "p9999",
    "cpu_a",
    "cpu_b",
    "rss_a",
    "rss_b",
    "kb_srv",
    "kb_cli",
    "subscribe_cpu_s",
    "skip",
    "probe_us",
];

/// Runs cells and writes down what comes out.
pub(crate) struct Runner {
    raw: File,
    seconds: f64,
    /// What there is already: that is not run again.
    results: Results,
    /// How many messages each entrant gets in each cell, once its pilot has told.
    counts: HashMap<(String, String), u64>,
    failures: HashMap<(String, String), u32>,
    port: u16,
}

impl Runner {
    /// With `append` it goes on where the last one came to an end.
    pub(crate) fn new(raw: &Path, append: bool, quick: bool) -> io::Result<Self> {
        let results = match append && raw.exists() {
            true => Results::read(&[raw.to_owned()])?,
            false => Results::default(),
        };
        let raw = OpenOptions::new()
            .create(true)
            .write(true)
            .append(append)
            .truncate(!append)
            .open(raw)?;
        let seconds = if quick { SHORT } else { LONG };
        let port = 20_000 + (id() % 5000) as u16;
        let (counts, failures) = (HashMap::new(), HashMap::new());
        Ok(Self { raw, seconds, results, counts, failures, port })
    }

    /// Writes down where and what is measured.
    pub(crate) fn note(&mut self, about: &str) -> io::Result<()> {
        self.write(json!({ "about": about }))
    }

    fn write(&mut self, line: Value) -> io::Result<()> {
        writeln!(self.raw, "{line}")?;
        self.raw.flush()?;
        self.results.take(0, line);
        Ok(())
    }

    /// One round of one cell in one condition.
    pub(crate) fn round(
        &mut self,
        round: u64,
        cell: &Cell,
        condition: Condition,
        entrants: &[Entrant],
    ) -> io::Result<()> {
        let is_due = |entrant: &&Entrant| {
            let failures = self.failures.get(&(cell.id.clone(), entrant.name()));
            failures.is_none_or(|count| *count < FAILURES)
                && !self.results.has(cell, condition, round, entrant)
                && !self.results.is_hopeless(cell, condition, entrant)
        };
        let due: Vec<&Entrant> = entrants.iter().filter(is_due).collect();
        if due.is_empty() {
            return Ok(());
        }
        let _awake = match condition {
            Condition::AsIs => None,
            Condition::Awake => Some(Awake::begin()?),
        };
        for entrant in due {
            self.entrant(round, cell, condition, entrant)?;
        }
        Ok(())
    }

    fn entrant(
        &mut self,
        round: u64,
        cell: &Cell,
        condition: Condition,
        entrant: &Entrant,
    ) -> io::Result<()> {
        let count = self.count(cell, entrant);
        let busy = busy_share();
        let result = count.and_then(|count| self.run(cell, entrant, count, None));
        if result.is_err() {
            *self.failures.entry((cell.id.clone(), entrant.name())).or_default() += 1;
        }
        let mut line = match result {
            Ok(result) => kept(&result, cell, entrant),
            Err(why) => json!({ "fail": why }),
        };
        line["cell"] = json!(cell.id);
        line["condition"] = json!(condition.name());
        line["entrant"] = json!(entrant.name());
        line["library"] = json!(entrant.lib);
        line["round"] = json!(round);
        line["busy"] = json!(busy.map(|share| (share * 100.0).round() / 100.0));
        self.write(line)
    }

    /// Counts the system calls of a run of each.
    pub(crate) fn count_calls(&mut self, cell: &Cell, entrants: &[Entrant]) -> io::Result<()> {
        let counted = env::temp_dir().join(format!("sinew-peers-calls-{}", id()));
        for entrant in entrants {
            let Ok(count) = self.count(cell, entrant) else { continue };
            let Ok(result) = self.run(cell, entrant, count, Some(&counted)) else { continue };
            let (Some(calls), Some(received)) = (calls_in(&counted), result["recvd"].as_f64())
            else {
                continue;
            };
            self.write(json!({
                "cell": cell.id, "entrant": entrant.name(), "library": entrant.lib,
                "calls": calls / received,
            }))?;
        }
        let _ = fs::remove_file(counted);
        Ok(())
    }

    /// How many messages it gets.
    fn count(&mut self, cell: &Cell, entrant: &Entrant) -> Result<u64, String> {
        let pilot = match cell.count {
            Count::Exactly(count) => return Ok(count),
            Count::Pilot(pilot) => pilot,
        };
        let key = (cell.id.clone(), entrant.name());
        if let Some(count) = self.counts.get(&key) {
            return Ok(*count);
        }
        let share = if cell.metric == "fan" { cell.k as f64 } else { 1.0 };
        let mut count = pilot;
        for _ in 0..PILOTS {
            let result = self.run(cell, entrant, count, None)?;
            let rate = result["rcv"].as_f64().ok_or("the pilot tells no rate")? / share;
            let was_long = count as f64 / rate > self.seconds / 4.0;
            count = (rate * self.seconds).clamp(pilot as f64, MOST) as u64;
            if was_long {
                break;
            }
        }
        self.counts.insert(key, count);
        Ok(count)
    }

    /// Runs a cell; with a path, its system calls are counted there.
    fn run(
        &mut self,
        cell: &Cell,
        entrant: &Entrant,
        count: u64,
        calls: Option<&Path>,
    ) -> Result<Value, String> {
        let program = env::current_exe().map_err(|error| error.to_string())?;
        let mut command = match calls {
            None => Command::new(program),
            Some(path) => {
                let mut command = Command::new("perf");
                command
                    .args(["stat", "-x,", "-e", "raw_syscalls:sys_enter", "-o"])
                    .arg(path)
                    .arg("--");
                command.arg(program);
                command
            }
        };
        command.env(PEER, entrant.lib);
        command.args([cell.metric, cell.pattern, &self.url(cell)]);
        command.args([cell.size.to_string(), count.to_string()]);
        command.args(&entrant.options).arg(format!("k={}", entrant.k));
        let output = output_within(&mut command, cell.limit)?;
        let line = output.lines().next().ok_or("it prints nothing")?;
        serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))
    }

    /// An address that no cell has had yet.
    fn url(&mut self, cell: &Cell) -> String {
        self.port += 1;
        let number = self.port;
        match cell.transport {
            "tcp" => format!("tcp://127.0.0.1:{number}"),
            "ipc" => format!("ipc://{}", socket_path(number).display()),
            _ => format!("inproc://cell-{number}"),
        }
    }
}

fn socket_path(number: u16) -> PathBuf {
    env::temp_dir().join(format!("sinew-peers-{}-{number}", id()))
}

/// Whether system calls can be counted here; if not, why.
pub(crate) fn cannot_count_calls() -> Option<String> {
    let mut command = Command::new("perf");
    command.args(["stat", "-x,", "-e", "raw_syscalls:sys_enter", "true"]);
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("perf: {error}")),
    }
}

/// What is kept of a result, and what was lost.
fn kept(result: &Value, cell: &Cell, entrant: &Entrant) -> Value {
    let mut line = json!({});
    for field in KEPT {
        if !result[field].is_null() {
            line[field] = result[field].clone();
        }
    }
    if let (Some(received), Some(count)) = (result["recvd"].as_u64(), result["n"].as_u64()) {
        line["lost"] = json!(cell.complete(count, entrant.k).saturating_sub(received));
    }
    line
}

/// Which part of all processors others use while nothing is measured; `None`: the system does not tell.
fn busy_share() -> Option<f64> {
    let before = (processor_ticks()?, own_ticks()?);
    thread::sleep(WATCH);
    let after = (processor_ticks()?, own_ticks()?);
    let ((idle, all), own) = ((after.0.0 - before.0.0, after.0.1 - before.0.1), after.1 - before.1);
    (all > 0.0).then(|| (1.0 - (idle + own) / all).max(0.0))
}

/// How much time this process has had, its threads that keep processors awake included.
fn own_ticks() -> Option<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    let ticks_a_second = sysconf(SysconfVar::CLK_TCK).ok()??;
    Some(micros as f64 / 1e6 * ticks_a_second as f64)
}

/// How much time all processors have been idle, and how much there was.
fn processor_ticks() -> Option<(f64, f64)> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let numbers = text.lines().next()?.split_whitespace().skip(1);
    let ticks: Vec<f64> = numbers.filter_map(|number| number.parse().ok()).collect();
    // user, nice, system, idle, iowait, and more that is not idle.
    Some((ticks.get(3)? + ticks.get(4)?, ticks.iter().sum()))
}

/// The number in what `perf stat -x,` has written.
fn calls_in(path: &Path) -> Option<f64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.contains("sys_enter"))?;
    line.split(',').next()?.parse().ok()
}

/// What a program prints, or why it does not come to that.
fn output_within(command: &mut Command, limit: Duration) -> Result<String, String> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.process_group(0).spawn().map_err(|error| error.to_string())?;
    let (printed, complaints) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let end = Instant::now() + limit;
    // Its far end may outlive it for a moment, so what counts is the process and not its output.
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            break Some(status);
        }
        if Instant::now() > end {
            break None;
        }
        thread::sleep(Duration::from_millis(20));
    };
    stop(&mut child);
    let complaints = complaints.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
    match status {
        None => Err(format!("not ready after {} s", limit.as_secs())),
        Some(status) if status.success() => {
            printed.recv_timeout(Duration::from_secs(1)).map_err(|_| "it prints no end".to_owned())
        }
        // A panic says where in its first line, and why in its second.
        Some(status) => {
            let why: Vec<&str> = complaints.lines().take(2).collect();
            Err(format!("{status}: {}", why.join(" ")))
        }
    }
}

/// Ends it and all that it has started.
fn stop(child: &mut Child) {
    if let Ok(group) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let _ = child.wait();
}

/// Reads to the end, on a thread of its own.
fn collect(from: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        let _ = from.map(|mut from| from.read_to_string(&mut text));
        let _ = sender.send(text);
    });
    receiver
}
