//! Measures sinew beside its peers and writes what came out as a table and two plots.
//!
//! Without `SINEW_PEER` in the environment this is the runner: `table` says what is compared with what,
//! `runner` runs it, `results` reads what came out, `markdown` and `plot` write it down. With it, this
//! is one cell: the driver of `benches/perf` with the library of that name.

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
use std::time::Instant;
use std::{env, fs, io};

use clap::Parser;

use driver::Task;
use results::Results;
use runner::Runner;
use table::{Cell, Entrant, LIBRARIES, Row};

/// Names the library that a process measures.
const PEER: &str = "SINEW_PEER";

/// Measures sinew beside nanomsg, NNG, libzmq, rzmq and zeromq.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often each cell is run by each library.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Short runs, to see that everything works.
    #[arg(long)]
    quick: bool,
    /// Only rows and cells whose title or name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Only these libraries.
    #[arg(long, value_delimiter = ',')]
    libs: Vec<String>,
    /// Throughput and latency for 8 B to 1 MiB over tcp, ipc and inproc as well.
    #[arg(long)]
    all: bool,
    /// Where the results go: raw.jsonl, table.md, throughput.svg and latency.svg.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results"))]
    out: PathBuf,
    /// Add to the raw results that are there, and make tables and plots of all of them.
    #[arg(long)]
    append: bool,
    /// Do not count system calls.
    #[arg(long)]
    no_calls: bool,
}

fn main() -> io::Result<()> {
    if let Ok(library) = env::var(PEER) {
        measure(&library);
    }
    let arguments = Arguments::parse();
    fs::create_dir_all(&arguments.out)?;
    let (rows, cells) = chosen(&arguments);
    let (libraries, mut notes) = present(&arguments.libs);
    notes.extend(run(&arguments, &cells, &libraries)?);
    write_down(&arguments, &rows, &cells, &notes)
}

/// The rows and cells that are asked for.
fn chosen(arguments: &Arguments) -> (Vec<Row>, Vec<Cell>) {
    let only = &arguments.only;
    let mut rows = table::rows();
    rows.retain(|row| row.title.contains(only) || row.cell.id.contains(only));
    let mut cells = table::cells(&rows);
    if arguments.all {
        let mut more = Vec::new();
        table::sweep(&mut more);
        more.retain(|cell| cell.id.contains(only) && cells.iter().all(|known| known.id != cell.id));
        cells.append(&mut more);
    }
    (rows, cells)
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

/// Runs everything, and returns what is to be said about it.
fn run(
    arguments: &Arguments,
    cells: &[Cell],
    libraries: &[&'static str],
) -> io::Result<Vec<String>> {
    let mut notes = Vec::new();
    let start = Instant::now();
    let mut runner =
        Runner::new(&arguments.out.join("raw.jsonl"), arguments.append, arguments.quick)?;
    let entrants: HashMap<&str, Vec<Entrant>> = cells
        .iter()
        .map(|cell| (cell.id.as_str(), libraries.iter().flat_map(|l| cell.entrants(l)).collect()))
        .collect();
    for round in 0..arguments.rounds {
        for cell in cells {
            eprintln!("{:4} s, round {round}: {}", start.elapsed().as_secs(), cell.id);
            runner.round(round, cell, &entrants[cell.id.as_str()])?;
        }
    }
    if arguments.no_calls {
        return Ok(notes);
    }
    if let Some(why) = runner::cannot_count_calls() {
        note(&mut notes, format!("LEFT OUT: system calls, which cannot be counted: {why}"));
        return Ok(notes);
    }
    for cell in cells.iter().filter(|cell| cell.calls) {
        eprintln!("{:4} s, system calls: {}", start.elapsed().as_secs(), cell.id);
        runner.count_calls(cell, &entrants[cell.id.as_str()])?;
    }
    Ok(notes)
}

fn note(notes: &mut Vec<String>, text: String) {
    eprintln!("{text}");
    notes.push(text);
}

/// Tables and plots of all that is in the raw results.
fn write_down(
    arguments: &Arguments,
    rows: &[Row],
    cells: &[Cell],
    notes: &[String],
) -> io::Result<()> {
    let out = &arguments.out;
    let results = Results::read(&out.join("raw.jsonl"))?;
    fs::write(out.join("table.md"), markdown::tables(rows, cells, &results, notes))?;
    fs::write(out.join("throughput.svg"), plot::throughput(cells, &results))?;
    fs::write(out.join("latency.svg"), plot::latency(cells, &results))?;
    println!("{}", out.join("table.md").display());
    Ok(())
}

/// Measures one library, as the command line has it.
fn measure(library: &str) -> ! {
    let task = Task::from_command_line();
    match library {
        "sinew" if task.tasks => driver::run::<sockets::Tasks>(task),
        "sinew" => driver::run::<sockets::Blocking>(task),
        table::BARE => driver::run::<peers::Bare>(task),
        "nanomsg" => driver::run::<peers::Nanomsg>(task),
        "nng" => driver::run::<peers::Nng>(task),
        "libzmq" => driver::run::<peers::Libzmq>(task),
        "rzmq" => driver::run::<peers::Rzmq>(task),
        "zeromq" => driver::run::<peers::Zeromq>(task),
        _ => panic!("no library is called {library}"),
    }
}
