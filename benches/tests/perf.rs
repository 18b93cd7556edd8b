//! The perf example measures something: each workload on each transport, in small, loses nothing.
//!
//! What the numbers are is not asked here.

#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use kit::{TempDir, example, free_tcp_url};

/// A workload takes a second or two, of which most is to let connections settle.
const LIMIT: Duration = Duration::from_secs(60);

/// The workloads: the arguments without the URL, and how many messages must come.
const ANYWHERE: &[(&[&str], u64)] = &[
    (&["thr", "pushpull", "URL", "64", "3000"], 3000),
    (&["thr", "pushpull", "URL", "64", "3000", "async=1", "workers=1"], 3000),
    (&["thr", "pair", "URL", "8", "3000"], 3000),
    (&["thr", "pubsub", "URL", "1024", "10000", "nodrop=1"], 10000),
    (&["open", "pushpull", "URL", "16", "200", "rate=1000"], 200),
    (&["fan", "pubsub", "URL", "64", "10000", "k=3", "nodrop=1"], 30000),
    (&["fanin", "pushpull", "URL", "64", "1000", "k=5", "hwm=8"], 1000),
    (&["fanin", "pushpull", "URL", "64", "1000", "k=5", "io=3"], 1000),
    (&["lat", "reqrep", "URL", "64", "200", "warm=10"], 200),
    (&["lat", "pair", "URL", "1", "200", "warm=10"], 200),
    (&["conc", "reqrep", "URL", "64", "200", "k=10"], 200),
    (&["conc", "reqrep", "URL", "64", "200", "k=10", "async=1"], 200),
    (&["conc", "reqrep", "URL", "64", "200", "k=10", "async=1", "drive=1", "workers=1"], 200),
    (&["survey", "survey", "URL", "64", "20", "k=5"], 100),
    (&["subs", "pubsub", "URL", "64", "500", "k=100", "rate=1000", "nodrop=1"], 500),
];

const BETWEEN_PROCESSES: &[(&[&str], u64)] =
    &[(&["mem", "pushpull", "URL", "64", "1", "k=10"], 10)];

#[test]
fn every_workload_runs_over_tcp() {
    for (args, expected) in ANYWHERE.iter().chain(BETWEEN_PROCESSES) {
        measure(args, &free_tcp_url(), *expected);
    }
}

#[test]
fn every_workload_runs_over_ipc() {
    let dir = TempDir::new();
    let url = format!("ipc://{}", dir.path("perf").display());
    for (args, expected) in ANYWHERE.iter().chain(BETWEEN_PROCESSES) {
        measure(args, &url, *expected);
    }
}

#[test]
fn every_workload_but_one_runs_over_inproc() {
    for (args, expected) in ANYWHERE {
        measure(args, "inproc://perf", *expected);
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for args in [
        &["thr", "survey", "URL", "64", "10"][..],
        &["open", "pushpull", "URL", "64", "10"],
        &["thr", "pushpull", "URL", "7", "10"],
        &["thr", "pushpull", "URL", "64", "10", "colour=red"],
        &["thr", "pushpull", "URL", "64", "10", "io=0"],
        &["mem", "pushpull", "URL", "64", "1"],
    ] {
        let mut program = start(args, "inproc://perf");
        assert_eq!(program.process.wait().unwrap().code(), Some(2), "{args:?}");
    }
}

/// Runs a workload and looks at its result.
fn measure(args: &[&str], url: &str, expected: u64) {
    let program = start(args, url);
    let line = program.first_line.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("{args:?} ends"));
    let result: Value = serde_json::from_str(&line).expect("it is JSON");
    assert_eq!(result["lib"], "sinew");
    assert_eq!(result["metric"], args[0]);
    // A SUB gives up what a program leaves unread for 100 ms, as on a machine with much else to do.
    let fewest = if args[1] == "pubsub" { 1 } else { expected };
    let received = result["recvd"].as_u64().expect("a number");
    assert!((fewest..=expected).contains(&received), "of {args:?}: {line}");
    for number in ["size", "n", "k", "snd", "rcv", "cpu_a", "cpu_b", "rss_a", "rss_b", "probe_us"] {
        assert!(result[number].is_number(), "{number} of {args:?}: {line}");
    }
    if ["lat", "open", "conc", "survey"].contains(&args[0]) {
        assert!(result["p50"].as_f64() <= result["max"].as_f64(), "{line}");
        assert!(result["p50"].as_f64() > Some(0.0), "{line}");
    }
}

/// A running program. Dropping it kills it.
struct Program {
    process: Child,
    first_line: mpsc::Receiver<String>,
}

fn start(args: &[&str], url: &str) -> Program {
    let args = args.iter().map(|arg| if *arg == "URL" { url } else { arg });
    let mut command = Command::new(example("perf"));
    let mut process =
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
    let (sender, first_line) = mpsc::channel();
    thread::spawn(move || lines.next().and_then(Result::ok).map(|line| sender.send(line)));
    Program { process, first_line }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
