//! The result as a line of JSON.

use std::fmt::Write;

use super::Run;
use super::board::{Board, Key};
use super::library::Library;
use super::task::{Metric, Task};

/// What is printed when a library cannot do what is asked for.
pub(super) fn unsupported<L: Library>(task: &Task) -> String {
    format!(r#"{{"lib":"{}","skip":"{} unsupported"}}"#, L::NAME, task.names[1])
}

/// The result of a run that has come to its end.
pub(super) fn result<L: Library>(run: Run<L>, probe: f64) -> String {
    let mut line = String::from("{");
    identity::<L>(&mut line, run.task);
    rates(&mut line, run.task, run.board);
    percentiles(&mut line, &mut run.samples.lock().expect("nobody panics with it"));
    particulars(&mut line, run.task, run.board);
    costs(&mut line, run.task, run.board);
    decimal(&mut line, "probe_us", 3, probe);
    line.pop();
    line.push('}');
    line
}

fn identity<L: Library>(line: &mut String, task: &Task) {
    let [metric, pattern, options] = &task.names;
    text(line, "lib", L::NAME);
    text(line, "ver", &L::version());
    text(line, "metric", metric);
    text(line, "pat", pattern);
    text(line, "tr", task.transport());
    field(line, "size", task.size);
    field(line, "n", task.count);
    field(line, "k", task.k);
    text(line, "opts", options);
}

fn rates(line: &mut String, task: &Task, board: &Board) {
    let since_start = |end| (board.value(end) as f64 - board.value(Key::Start) as f64) / 1e9;
    let received = board.value(Key::Received);
    let rate = received as f64 / since_start(Key::ReceiveEnd);
    field(line, "recvd", received);
    decimal(line, "snd", 0, task.count as f64 / since_start(Key::SendEnd));
    decimal(line, "rcv", 0, rate);
    decimal(line, "mbs", 2, rate * task.size as f64 / 1e6);
}

/// In microseconds.
fn percentiles(line: &mut String, samples: &mut [u32]) {
    if samples.is_empty() {
        return;
    }
    samples.sort_unstable();
    let last = (samples.len() - 1) as f64;
    let parts = [
        ("p50", 0.5),
        ("p90", 0.9),
        ("p99", 0.99),
        ("p999", 0.999),
        ("p9999", 0.9999),
        ("max", 1.0),
    ];
    for (name, part) in parts {
        decimal(line, name, 2, f64::from(samples[(last * part) as usize]) / 1e3);
    }
}

/// What only one metric has.
fn particulars(line: &mut String, task: &Task, board: &Board) {
    let growth = |start, end| board.value(end) as f64 - board.value(start) as f64;
    match task.metric {
        Metric::Memory => {
            decimal(line, "kb_srv", 2, growth(Key::SizeStartB, Key::SizeEndB) / task.k as f64);
            decimal(line, "kb_cli", 2, growth(Key::SizeStartA, Key::SizeEndA) / task.k as f64);
        }
        Metric::Subscriptions => {
            let cpu = board.value(Key::SubscribeCpu) as f64 / 1e6;
            decimal(line, "subscribe_cpu_s", 3, cpu);
            field(line, "rss_after_sub_kb", board.value(Key::SizeEndB));
        }
        Metric::Survey => field(line, "lost", board.value(Key::Lost)),
        _ => {}
    }
}

/// Over inproc both sides are one process, and *a* stands for it.
fn costs(line: &mut String, task: &Task, board: &Board) {
    let cpu = |start, end| (board.value(end) as f64 - board.value(start) as f64) / 1e6;
    let (cpu_b, peak_b) = if task.is_inproc() {
        (0.0, 0)
    } else {
        (cpu(Key::CpuStartB, Key::CpuEndB), board.value(Key::PeakB))
    };
    decimal(line, "cpu_a", 3, cpu(Key::CpuStartA, Key::CpuEndA));
    decimal(line, "cpu_b", 3, cpu_b);
    field(line, "rss_a", board.value(Key::PeakA));
    field(line, "rss_b", peak_b);
}

fn text(line: &mut String, name: &str, value: &str) {
    field(line, name, format!("{value:?}"));
}

/// JSON has no infinity: what cannot be told is null.
fn decimal(line: &mut String, name: &str, digits: usize, value: f64) {
    if value.is_finite() {
        field(line, name, format!("{value:.digits$}"))
    } else {
        field(line, name, "null")
    }
}

fn field(line: &mut String, name: &str, value: impl std::fmt::Display) {
    write!(line, r#""{name}":{value},"#).expect("memory is enough");
}
