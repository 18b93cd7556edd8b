//! Runs cells, each a process of its own, and keeps every result as a line of JSON.
//!
//! Libraries take turns within a cell, cells within a round, so that what disturbs the machine for a
//! while disturbs all of them.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio, id};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::PEER;
use crate::table::{Cell, Count, Entrant};

/// What a run is meant to take where the count is free, in seconds.
const LONG: f64 = 0.5;
const SHORT: f64 = 0.15;
/// The most messages of a run, whatever is promised by its pilot.
const MOST: f64 = 20e6;
/// A pilot that was short says little about the rate, and sends another one.
const PILOTS: usize = 3;

/// How long the machine is watched before a run, to see whether anything else is at work.
const WATCH: Duration = Duration::from_millis(50);

/// Runs cells and writes down what comes out.
pub(crate) struct Runner {
    raw: File,
    seconds: f64,
    /// How many messages each entrant gets in each cell, once its pilot has told.
    counts: HashMap<(String, String), u64>,
    /// Who has failed once is not asked again.
    failed: HashSet<(String, String)>,
    port: u16,
}

impl Runner {
    pub(crate) fn new(raw: &Path, append: bool, quick: bool) -> io::Result<Self> {
        let raw = OpenOptions::new()
            .create(true)
            .write(true)
            .append(append)
            .truncate(!append)
            .open(raw)?;
        let seconds = if quick { SHORT } else { LONG };
        let port = 20_000 + (id() % 5000) as u16;
        Ok(Self { raw, seconds, counts: HashMap::new(), failed: HashSet::new(), port })
    }

    /// One round of one cell.
    pub(crate) fn round(
        &mut self,
        round: usize,
        cell: &Cell,
        entrants: &[Entrant],
    ) -> io::Result<()> {
        for entrant in entrants {
            let key = (cell.id.clone(), entrant.name());
            if self.failed.contains(&key) {
                continue;
            }
            let count = self.count(cell, entrant);
            let busy = busy_share();
            let result = match count {
                Ok(count) => self.run(cell, entrant, count, None),
                Err(failure) => Err(failure),
            };
            if result.is_err() {
                self.failed.insert(key);
            }
            self.record(round, cell, entrant, busy, result)?;
        }
        Ok(())
    }

    /// Counts the system calls of a run of each.
    pub(crate) fn count_calls(&mut self, cell: &Cell, entrants: &[Entrant]) -> io::Result<()> {
        let counted = env::temp_dir().join(format!("sinew-peers-calls-{}", id()));
        for entrant in entrants {
            let key = (cell.id.clone(), entrant.name());
            if self.failed.contains(&key) {
                continue;
            }
            let Ok(count) = self.count(cell, entrant) else { continue };
            let Ok(result) = self.run(cell, entrant, count, Some(&counted)) else { continue };
            let (Some(calls), Some(received)) = (calls_in(&counted), result["recvd"].as_f64())
            else {
                continue;
            };
            let line = json!({
                "cell": cell.id, "entrant": entrant.name(), "library": entrant.library,
                "calls": calls / received,
            });
            writeln!(self.raw, "{line}")?;
        }
        let _ = fs::remove_file(counted);
        Ok(())
    }

    fn record(
        &mut self,
        round: usize,
        cell: &Cell,
        entrant: &Entrant,
        busy: Option<f64>,
        result: Result<Value, String>,
    ) -> io::Result<()> {
        let mut line = result.unwrap_or_else(|why| json!({ "fail": why }));
        if let (Some(received), Some(count)) = (line["recvd"].as_u64(), line["n"].as_u64()) {
            let complete = cell.complete(count, entrant.k);
            line["lost"] = json!(complete.saturating_sub(received));
        }
        line["round"] = json!(round);
        line["busy"] = json!(busy);
        line["cell"] = json!(cell.id);
        line["entrant"] = json!(entrant.name());
        line["library"] = json!(entrant.library);
        writeln!(self.raw, "{line}")?;
        self.raw.flush()
    }

    /// How many messages it gets.
    fn count(&mut self, cell: &Cell, entrant: &Entrant) -> Result<u64, String> {
        let pilot = match cell.count {
            Count::Exactly(count) => return Ok(count.min(entrant.most)),
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
        command.env(PEER, entrant.library);
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

/// Which part of all processors is busy while nothing is measured; `None`: the system does not tell.
fn busy_share() -> Option<f64> {
    let before = processor_ticks()?;
    thread::sleep(WATCH);
    let after = processor_ticks()?;
    let (idle, all) = (after.0 - before.0, after.1 - before.1);
    (all > 0.0).then(|| 1.0 - idle / all)
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
