//! sinewcat: the scalability protocols on the command line.
//!
//! Takes the options of nanomsg's nanocat and of NNG's nngcat and talks to both; what neither has is in
//! subcommands. Uses only the public interface of the library. This file owns the way from the command line
//! to the exit status; the others own one idea each:
//!
//! | file | |
//! |---|---|
//! | `argv`, `text`, `args`, `protocol`, `address`, `seconds` | the command line: reading it, its options |
//! | `job`, `dialect` | what it means, and what it means to nanocat and nngcat |
//! | `cat`, `format` | sending, receiving, printing |
//! | `peers`, `stats`, `device`, `tap`, `bench`, `completions` | the subcommands |
//! | `socket`, `waiting`, `stop`, `failure`, `json`, `side`, `progress` | what these have in common |
//!
//! # Where the two differ
//!
//! Run as `nanocat` or `nn_req` (and so on) it behaves like nanocat, as with `--compat`; run as `nngcat`,
//! like nngcat. Under its own name:
//!
//! | | nanocat 1.1.5 | nngcat 1.5.2 | here |
//! |---|---|---|---|
//! | value of a long option | `=`, next argument | `=`, `:`, next argument | all three |
//! | short options in clusters | yes | no | yes |
//! | an argument that is no option | error | ignored, with all that follows | error |
//! | a format given twice | the last one | error | the last one |
//! | another option with a value given twice | the last one | the last one | the last one |
//! | a port that is none | 3 | 1 | 1 |
//! | an empty file | crashes | an empty message | an empty message |
//! | seconds | fractions, but not for every timeout | whole, up to a day | fractions everywhere |
//! | a timeout below zero | none | error | none |
//! | a timeout of zero | looks once | no timeout | looks once |
//! | `--connect`, `-l`, `-x` | in the background | one attempt, unless `--async` | in the background |
//! | `--dial` | unknown | one attempt, unless `--async` | one attempt, unless `--async` |
//! | `-X PATH`, `-x PATH` | `ipc://PATH` | `ipc:///PATH` | `ipc://PATH` |
//! | `--pair` | PAIR v0 | refused | PAIR v0 |
//! | `-X` where a file is that is no socket | removes it | removes it | error |
//! | the longest message that is received | 1 MiB | any, or `-Z` | 1 MiB, or `-Z` |
//! | REQ without a peer | waits for the reply | waits for the peer, by `--send-timeout` | waits for the reply |
//! | `--recv-timeout` to PUSH and PUB, `--send-timeout` to PULL and SUB | error | ignored | error |
//! | a format for PUSH and PUB | error | error | error |
//! | `-d` waits | before anything | before sending | before anything |
//! | `ascii` ends with a newline | yes | no | yes |
//! | a tab, `quoted` | `\x09` | `\t` | `\t` |
//! | no format | prints nothing | prints nothing | `ascii` on a terminal, else nothing |
//! | nobody is connected | says nothing | says nothing | says why after a second, on a terminal or with `-v` |
//! | a message came that is too long | says nothing | says nothing | says so, and how long it was |
//! | the longest message that is sent | any | any | 1 MiB, or `-Z` |
//! | `-v` | nothing | prints addresses | prints addresses, `-vv`: who comes and goes |
//! | `-q` | nothing | nothing | no messages about failures |
//! | `--socket-name` | for statistics | ignored | for log records |
//! | `-k`, `--cacert`, `--cert`, `--key` | unknown | TLS | TLS |
//! | who is trusted without `--cacert` | | nobody | the authorities of the system |
//! | `--zt-home` | unknown | ZeroTier | refused: there is no such transport |
//! | before the end | nothing | 200 ms of sleep | waits until everything is handed to the kernel |
//! | `--help` ends with | 0 | 1 | 0 |
//! | nothing came in time | 0 | 0 | 4 |
//! | the same, to REP and RESPONDENT with data | 3 | 1 | 4 |
//! | a library call failed | 3 | 1 | 3 |
//! | a file cannot be read | 2 | 1 | 2 |
//! | SIGINT, SIGTERM, on Windows Ctrl-C | killed | killed | sockets closed, 130 and 143 |
//! | standard output closed by its reader | killed by SIGPIPE | killed by SIGPIPE | 0, quietly |
//!
//! Under their names, it behaves as they do where a script may rely on it. It does not repeat their errors,
//! nor what they do about signals, a closed standard output, an argument that is no option, a file in the
//! way, and a REQ without a peer. A failure for which they exit with 0 is not printed either. `--compat`
//! alone changes no status.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

mod address;
mod args;
mod argv;
mod bench;
mod cat;
mod completions;
mod device;
mod dialect;
mod failure;
mod format;
mod job;
mod json;
mod peers;
mod progress;
mod protocol;
mod seconds;
mod side;
mod socket;
mod stats;
mod stop;
mod tap;
mod text;
mod waiting;

use args::{Cli, Task};
use dialect::Dialect;
use failure::{Failure, Outcome};
use format::Format;
use job::Job;
use stop::Stop;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let (dialect, alias) = dialect::of_program(&arguments.next().unwrap_or_default());
    let arguments = alias.map(OsString::from).into_iter().chain(arguments).collect();
    let cli = match parse(arguments) {
        Ok(cli) => cli,
        Err(error) => return refused(&error, dialect),
    };
    let quiet = cli.cat.silent > cli.cat.verbose;
    let mut signal = None;
    match run(cli, dialect, &mut signal) {
        _ if signal.is_some() => ExitCode::from(signal.map_or(0, stop::status)),
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let status = dialect.status(&failure);
            if !quiet && status != 0 {
                failure::tell(&failure);
            }
            ExitCode::from(status)
        }
    }
}

fn parse(arguments: Vec<OsString>) -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    command.build();
    let words = argv::normalise(arguments, &command)
        .map_err(|failure| command.error(ErrorKind::UnknownArgument, failure))?;
    Cli::try_parse_from(std::iter::once("sinewcat".into()).chain(words))
}

/// Prints the help, the version, or what is wrong with the command line.
fn refused(error: &clap::Error, dialect: Dialect) -> ExitCode {
    let is_help = error.kind() == ErrorKind::DisplayHelp;
    if !is_help && error.kind() != ErrorKind::DisplayVersion {
        let text = error.to_string();
        let failure = Failure::Usage(text.trim_start_matches("error: ").trim_end().to_owned());
        failure::tell(&failure);
        return ExitCode::from(failure.status());
    }
    ExitCode::from(match error.print() {
        Err(error) => dialect.status(&Failure::from(error)),
        Ok(()) if is_help => dialect.status_of_help(),
        Ok(()) => 0,
    })
}

/// Does what the command line says. Reads the data to send before it handles signals, since only a signal
/// could end that read.
fn run(cli: Cli, dialect: Dialect, signal: &mut Option<i32>) -> Outcome {
    let stop = || Stop::install().map_err(Failure::library);
    let mut job = |job: &dyn Fn(&Stop) -> Outcome| {
        let stop = stop()?;
        let outcome = job(&stop);
        *signal = stop.finish();
        outcome
    };
    match cli.task {
        None => {
            let cat = Job::new(cli.cat, dialect)?;
            job(&|stop| cat::run(&cat, stop, |_| ()))
        }
        Some(Task::Peers(args)) => job(&|stop| peers::run(&args, stop)),
        Some(Task::Stats(args)) => {
            let (job_args, shown) = args.split()?;
            let cat = Job { format: Format::No, ..Job::new(job_args, dialect)? };
            job(&|stop| stats::run(&cat, shown, stop))
        }
        Some(Task::Device(args)) => job(&|stop| device::run(&args, stop)),
        Some(Task::Tap(args)) => job(&|stop| tap::run(&args, stop)),
        Some(Task::Bench(args)) => job(&|stop| bench::run(&args, stop)),
        Some(Task::Completions(args)) => completions::run(&args),
    }
}
