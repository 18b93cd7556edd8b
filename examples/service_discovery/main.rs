//! Survey-based service discovery between processes: a thin program over `sinew::discovery`.
//!
//! A *daemon* keeps the list of live services by asking, again and again, who is there: a `Registry`. A *service*
//! answers those surveys with its name and address, by an `Announcement`, and answers requests at that address. A
//! *client* asks the daemon for the services of a name, and then asks one of them: a `Resolver`. Nobody is
//! configured with the address of a service, services may start, die and move at any time, and the
//! daemon may be restarted: its list comes back with the next survey.
//!
//! With no role given, the whole scene plays by itself in child processes: see [`scene`].
//!
//! What goes over the wire is text, described in the documentation of `sinew::discovery`. A client asks a service
//! any text, and its answer is any text.

mod client;
mod daemon;
mod rows;
mod scene;
mod service;
mod stage;
mod stop;

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Where the daemon surveys, unless told otherwise.
const SURVEY_URL: &str = "tcp://127.0.0.1:7701";
/// Where the daemon answers requests, unless told otherwise.
const RESOLVE_URL: &str = "tcp://127.0.0.1:7702";

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Service discovery by surveys. Without a role: the whole scene, in child processes.
///
/// Each role ends on SIGINT and SIGTERM. Each option can be given in the environment instead, and
/// the role itself as SINEW_ROLE.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// Keep the list of live services
    Daemon(daemon::Args),
    /// Offer a service: "answer", "clock", or under any other name an echo
    Service(service::Args),
    /// Find a service by its name and ask it
    Client(client::Args),
    /// Show the daemon's list of live services
    List(client::DaemonArgs),
}

fn main() -> ExitCode {
    match run(&command_line()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("service_discovery: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    match &cli.role {
        Some(Role::Daemon(args)) => daemon::run(args),
        Some(Role::Service(args)) => service::run(args),
        Some(Role::Client(args)) => client::run(args),
        Some(Role::List(args)) => client::list(args),
        None => scene::play(),
    }
}

/// The command line, with the role taken from `SINEW_ROLE` when there are no arguments at all: clap
/// reads options from the environment, but not subcommands.
fn command_line() -> Cli {
    let mut arguments: Vec<_> = env::args_os().collect();
    if arguments.len() == 1 {
        arguments.extend(env::var_os("SINEW_ROLE"));
    }
    Cli::parse_from(arguments)
}

/// A time in milliseconds as given on the command line.
fn milliseconds(text: &str) -> Result<Duration> {
    match text.parse()? {
        0 => Err("must be above zero".into()),
        ms => Ok(Duration::from_millis(ms)),
    }
}
