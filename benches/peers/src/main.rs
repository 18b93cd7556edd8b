//! Measures sinew beside its peers and writes what came out as tables and two plots.
//!
//! Without `SINEW_PEER` in the environment this is the runner: `table` says what is compared with what,
//! `runner` runs it, `awake` keeps processors from halting, `results` reads what came out, `markdown`
//! and `plot` write it down. With it, this is one cell: the driver of `benches/perf` with the library
//! of that name.

mod awake;
#[path = "../../perf/driver/mod.rs"]
mod driver;
mod markdown;
mod peers;
mod plot;
mod results;
mod runner;
#[path = "../../perf/sockets.rs"]
mod sockets;
mod table;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;
use std::{env, fs, io};

use clap::Parser;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use driver::Task;
use results::Results;
use runner::Runner;
use table::{Cell, Condition, Entrant, LIBRARIES, Row};

/// Names the library that a process measures.
const PEER: &str = "SINEW_PEER";

/// Measures sinew beside nanomsg, NNG, libzmq, rzmq, zeromq and omq.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often each cell is run by each library that has a chance.
    #[arg(long, default_value_t = 3)]
    rounds: u64,
    /// Short runs, to see that everything works.
    #[arg(long)]
    quick: bool,
    /// Only rows whose title contains this, or whose cell's name does.
    #[arg(long, default_value = "")]
    only: String,
    /// Only these libraries.
    #[arg(long, value_delimiter = ',')]
    libs: Vec<String>,
    /// Only this condition: as-is or awake.
    #[arg(long, value_parser = |name: &str| Condition::named(name).ok_or("as-is or awake"))]
    condition: Option<Condition>,
    /// Where the results go: raw.jsonl, table.md, throughput.svg and latency.svg.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results"))]
    out: PathBuf,
    /// Go on with the raw results that are there: what they have is not run again.
    #[arg(long)]
    append: bool,
    /// Run nothing and take these raw results; of a cell that is in several files the last one counts.
    #[arg(long, value_delimiter = ',')]
    from: Vec<PathBuf>,
    /// Put the comparisons into this page as well, and the plots beside it.
    #[arg(long)]
    page: Option<PathBuf>,
    /// Count system calls as well, in a run of its own for each library.
    #[arg(long)]
    calls: bool,
}

fn main() -> io::Result<()> {
    if let Ok(library) = env::var(PEER) {
        measure(&library);
    }
    let arguments = Arguments::parse();
    fs::create_dir_all(&arguments.out)?;
    let mut rows = table::rows();
    let only = &arguments.only;
    rows.retain(|row| row.title.contains(only) || row.cell.id.contains(only));
    let cells = table::cells(&rows);
    if !arguments.from.is_empty() {
        return write_down(&arguments, &rows, &cells, &arguments.from, &[]);
    }
    let (libraries, mut notes) = present(&arguments.libs);
    run(&arguments, &cells, &libraries, &mut notes)?;
    write_down(&arguments, &rows, &cells, &[arguments.out.join("raw.jsonl")], &notes)
}

/// The libraries that are asked for and there, and what is to be said about the others.
fn present(wanted: &[String]) -> (Vec<&'static str>, Vec<String>) {
    let mut notes = Vec::new();
    let mut libraries = LIBRARIES.to_vec();
    libraries.retain(|library| wanted.is_empty() || wanted.iter().any(|name| name == library));
    libraries.retain(|library| {
        let missing = peers::missing(library);
        if let Some(why) = &missing {
            note(&mut notes, format!("LEFT OUT: {library}, which cannot be loaded: {why}"));
        }
        missing.is_none()
    });
    (libraries, notes)
}

/// Runs everything.
fn run(
    arguments: &Arguments,
    cells: &[Cell],
    libraries: &[&'static str],
    notes: &mut Vec<String>,
) -> io::Result<()> {
    let start = Instant::now();
    let mut runner =
        Runner::new(&arguments.out.join("raw.jsonl"), arguments.append, arguments.quick)?;
    runner.note(&about())?;
    let entrants: HashMap<&str, Vec<Entrant>> = cells
        .iter()
        .map(|cell| (cell.id.as_str(), libraries.iter().flat_map(|l| cell.entrants(l)).collect()))
        .collect();
    let conditions =
        || Condition::ALL.into_iter().filter(|c| arguments.condition.is_none_or(|only| only == *c));
    for round in 0..arguments.rounds {
        for cell in cells {
            for condition in conditions().filter(|condition| cell.is_run_in(*condition)) {
                let (time, name) = (start.elapsed().as_secs(), condition.name());
                eprintln!("{time:4} s, round {round}, {name}: {}", cell.id);
                runner.round(round, cell, condition, &entrants[cell.id.as_str()])?;
            }
        }
    }
    if !arguments.calls {
        return Ok(());
    }
    if let Some(why) = runner::cannot_count_calls() {
        note(notes, format!("LEFT OUT: system calls, which cannot be counted: {why}"));
        return Ok(());
    }
    for cell in cells.iter().filter(|cell| !cell.is_still) {
        eprintln!("{:4} s, system calls: {}", start.elapsed().as_secs(), cell.id);
        runner.count_calls(cell, &entrants[cell.id.as_str()])?;
    }
    Ok(())
}

/// What is measured on which machine, in a line.
fn about() -> String {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown", |(_, name)| name);
    let processors = processor.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let commit = git(&["log", "-1", "--format=%h of %cs"]);
    let changed = match git(&["status", "--porcelain", "--", "src", "Cargo.toml"]).as_str() {
        "" => "",
        _ => " with changes",
    };
    let kernel = kernel.trim().split('-').next().unwrap_or_default();
    format!("sinew at {commit}{changed}; {processors} processors, {model}; Linux {kernel}")
}

/// What git prints about the repository that this was built from.
fn git(arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output();
    output.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn note(notes: &mut Vec<String>, text: String) {
    eprintln!("{text}");
    notes.push(text);
}

/// Tables and plots of raw results.
fn write_down(
    arguments: &Arguments,
    rows: &[Row],
    cells: &[Cell],
    raw: &[PathBuf],
    notes: &[String],
) -> io::Result<()> {
    let results = Results::read(raw)?;
    let plots = [
        ("throughput.svg", plot::throughput(cells, &results)),
        ("latency.svg", plot::latency(cells, &results)),
    ];
    let out = &arguments.out;
    fs::write(out.join("table.md"), markdown::everything(rows, cells, &results, notes))?;
    for (name, plot) in &plots {
        fs::write(out.join(name), plot)?;
    }
    let comparisons = markdown::comparisons(rows, &results);
    if let Some(path) = &arguments.page {
        let page = fs::read_to_string(path)?;
        let page = markdown::into_page(&page, &comparisons).map_err(io::Error::other)?;
        fs::write(path, page)?;
        for (name, plot) in &plots {
            fs::write(path.with_file_name(name), plot)?;
        }
    }
    print!("{comparisons}");
    Ok(())
}

/// Measures one library, as the command line has it.
fn measure(library: &str) -> ! {
    // It ends with the runner, however that ends.
    set_pdeathsig(Signal::SIGKILL).expect("the system has this signal");
    let task = Task::from_command_line();
    match library {
        "sinew" if task.tasks => driver::run::<sockets::Tasks>(task),
        "sinew" => driver::run::<sockets::Blocking>(task),
        table::BARE => driver::run::<peers::Bare>(task),
        "nanomsg" => driver::run::<peers::Nanomsg>(task),
        "nng" => driver::run::<peers::Nng>(task),
        "nng2" => driver::run::<peers::Nng2>(task),
        "omq" if task.tasks => driver::run::<peers::Omq>(task),
        "omq" => driver::run::<peers::OmqThreads>(task),
        "libzmq" => driver::run::<peers::Libzmq>(task),
        "rzmq" => driver::run::<peers::Rzmq>(task),
        "zeromq" => driver::run::<peers::Zeromq>(task),
        _ => panic!("no library is called {library}"),
    }
}
