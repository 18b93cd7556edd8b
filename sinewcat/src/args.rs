//! The command line: every option, and what `--help` says about it.
//!
//! Owns only the syntax. `argv.rs` normalises the arguments before, and `job.rs` checks afterwards that they
//! fit together.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Parser, Subcommand};

use crate::address::AddressArgs;
use crate::format::Format;
use crate::protocol::ProtocolChoice;
use crate::seconds::{Limit, limit, seconds};
use crate::{bench, completions, device, peers, stats, tap};

/// Send and receive messages with the scalability protocols
///
/// Takes the options of nanocat and of nngcat, and talks to both.
#[derive(Parser, Debug)]
#[command(name = "sinewcat", version, after_help = AFTER, after_long_help = AFTER)]
#[command(args_conflicts_with_subcommands = true, subcommand_value_name = "COMMAND")]
#[command(disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) cat: CatArgs,
    #[command(subcommand)]
    pub(crate) task: Option<Task>,
}

const AFTER: &str = "\
Examples:
  Ask, and answer, on this machine:
    sinewcat --rep -L5555 -D pong
    sinewcat --req -l5555 -D ping

  Pass a file of any length on to whoever takes it first:
    sinewcat --push --bind tcp://*:5555 -Z0 -F notes.txt
    sinewcat --pull --connect tcp://host:5555 -Z0 --raw -C1 > notes.txt

  News once a second, and who listens to the weather:
    sinewcat --pub -L5555 -D 'weather sunny' -i 1
    sinewcat --sub -l5555 --subscribe weather -Q

  Who is there, and what passes:
    sinewcat peers --sub --connect tcp://host:5555 --watch
    sinewcat tap reqrep --bind-front tcp://*:5555 --connect-back tcp://host:5556

Exit status:
  0  done                      3  the library or the transport failed
  1  the command line is wrong 4  a time limit was over and nothing had come
  2  a file cannot be read     130, 143  ended by SIGINT, SIGTERM

Long options may be shortened, and take their value after =, after : or as the next argument.
Run as nanocat, nn_req (and so on) or nngcat, it keeps to the ways of these.";

/// What else the tool can do.
#[derive(Subcommand, Debug)]
pub(crate) enum Task {
    Peers(peers::PeersArgs),
    Stats(Box<stats::StatsArgs>),
    Device(device::DeviceArgs),
    Tap(tap::TapArgs),
    Bench(bench::BenchArgs),
    Completions(completions::CompletionsArgs),
}

const SOCKET: &str = "Socket";
const SENDING: &str = "Sending";
const GENERIC: &str = "Generic";

/// The options of nanocat and nngcat.
#[derive(Args, Debug)]
pub(crate) struct CatArgs {
    #[command(flatten)]
    pub(crate) protocol: ProtocolChoice,
    #[command(flatten)]
    pub(crate) addresses: AddressArgs,

    /// Give up after SEC seconds without a message; 0: check once
    #[arg(long, value_name = "SEC", value_parser = limit, help_heading = SOCKET)]
    #[arg(overrides_with = "recv_timeout")]
    pub(crate) recv_timeout: Option<Limit>,
    /// Give up on a message that nobody has taken after SEC seconds
    #[arg(long, value_name = "SEC", value_parser = limit, help_heading = SOCKET)]
    #[arg(overrides_with = "send_timeout")]
    pub(crate) send_timeout: Option<Limit>,
    /// Send and receive up to BYTES at once, disconnect a peer that sends more; 0: no limit
    /// [default: 1 MiB]
    #[arg(short = 'Z', long, value_name = "BYTES", help_heading = SOCKET)]
    #[arg(overrides_with = "recv_maxsz")]
    pub(crate) recv_maxsz: Option<usize>,
    /// Name the socket, for log records
    #[arg(long, value_name = "NAME", help_heading = SOCKET)]
    #[arg(overrides_with = "socket_name")]
    pub(crate) socket_name: Option<String>,
    /// With --sub: receive messages that begin with PREFIX; may be repeated [default: everything]
    #[arg(long, value_name = "PREFIX", help_heading = SOCKET)]
    pub(crate) subscribe: Vec<OsString>,

    #[command(flatten)]
    pub(crate) format: FormatChoice,

    /// Send TEXT; for --rep and --respondent, answer with it
    #[arg(short = 'D', long, value_name = "TEXT", conflicts_with = "file", help_heading = SENDING)]
    pub(crate) data: Option<OsString>,
    /// Send the contents of the file PATH; -: standard input
    #[arg(short = 'F', long, value_name = "PATH", help_heading = SENDING)]
    pub(crate) file: Option<PathBuf>,
    /// Send again every SEC seconds
    #[arg(short = 'i', long, value_name = "SEC", value_parser = seconds, help_heading = SENDING)]
    #[arg(overrides_with = "interval")]
    pub(crate) interval: Option<Duration>,
    /// Wait SEC seconds before the first message
    #[arg(short = 'd', long, value_name = "SEC", value_parser = seconds, help_heading = SENDING)]
    #[arg(overrides_with = "delay")]
    pub(crate) delay: Option<Duration>,
    /// Wait until N peers are connected before the first message, up to --send-timeout
    #[arg(long, value_name = "N", help_heading = SENDING)]
    #[arg(overrides_with = "peers")]
    pub(crate) peers: Option<usize>,
    /// End after N messages sent, or received if the protocol does not send first; 0: no limit
    #[arg(short = 'C', long, value_name = "N", help_heading = SENDING)]
    #[arg(overrides_with = "count")]
    pub(crate) count: Option<u64>,

    /// Print the addresses, and print on standard error why nobody is connected, as on a terminal;
    /// twice: also print which peers come and go
    #[arg(short, long, action = ArgAction::Count, help_heading = GENERIC)]
    pub(crate) verbose: u8,
    /// Undo one -v; alone: print no messages about failures either
    #[arg(short = 'q', long, action = ArgAction::Count, help_heading = GENERIC)]
    pub(crate) silent: u8,
    /// Behave as nanocat where nanocat and nngcat differ
    #[arg(long, help_heading = GENERIC)]
    pub(crate) compat: bool,
}

/// The format that the command line names; the last one, if there are several.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FormatChoice(pub(crate) Option<Format>);

const FORMATS: [(Format, &str, Option<char>, &str); 5] = [
    (Format::Raw, "raw", None, "Print the body as it is, nothing between messages"),
    (Format::Ascii, "ascii", Some('A'), "Print a line, with a dot for what is not printable"),
    (Format::Quoted, "quoted", Some('Q'), "Print a line in double quotes, with the escapes of C"),
    (Format::Msgpack, "msgpack", None, "Print MessagePack, for programs to read"),
    (Format::Hex, "hex", None, "Print a line in double quotes, every byte as \\xhh"),
];

impl Args for FormatChoice {
    fn augment_args(command: Command) -> Command {
        let heading = "Output, by default --ascii on a terminal and else nothing";
        let flags = FORMATS.iter().map(|(_, name, short, help)| {
            let flag = Arg::new(*name).long(*name).action(ArgAction::SetTrue).overrides_with(*name);
            let flag = flag.help(*help).help_heading(heading);
            short.map_or(flag.clone(), |letter| flag.short(letter))
        });
        let named = Arg::new("format").long("format").value_name("FORMAT").overrides_with("format");
        let named = named.value_parser(clap::value_parser!(Format)).hide_possible_values(true);
        let named = named.help("The same by name: no, raw, ascii, quoted, msgpack or hex");
        command.args(flags).arg(named.help_heading(heading))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for FormatChoice {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Vec::new();
        for (format, name, ..) in FORMATS {
            if matches.get_flag(name) {
                given.push((matches.index_of(name), format));
            }
        }
        if let Some(format) = matches.get_one("format") {
            given.push((matches.index_of("format"), *format));
        }
        Ok(Self(given.into_iter().max_by_key(|(index, _)| *index).map(|(_, format)| format)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
