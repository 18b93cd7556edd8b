//! The job: what the tool does, once the command line was found to make sense.
//!
//! Owns the rules of which options go together, and reads the data to send.

use std::fs;
use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::time::Duration;

use sinew::Options;

use crate::address::Address;
use crate::args::CatArgs;
use crate::dialect::Dialect;
use crate::failure::{Failure, Outcome};
use crate::format::Format;
use crate::protocol::Protocol;
use crate::seconds::Limit;
use crate::text;
use crate::waiting::Tells;

/// A command line that makes sense.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) dialect: Dialect,
    pub(crate) protocol: Protocol,
    pub(crate) addresses: Vec<Address>,
    pub(crate) options: Options,
    pub(crate) topics: Vec<Vec<u8>>,
    pub(crate) data: Option<Vec<u8>>,
    pub(crate) format: Format,
    pub(crate) interval: Option<Duration>,
    pub(crate) delay: Duration,
    pub(crate) peers: usize,
    pub(crate) count: u64,
    pub(crate) verbosity: i16,
}

impl Job {
    pub(crate) fn new(args: CatArgs, dialect: Dialect) -> Outcome<Self> {
        let dialect = if args.compat { Dialect::Nanocat } else { dialect };
        let protocol = args.protocol.required()?;
        let addresses = args.addresses.list(dialect)?;
        check_compat(&args, protocol)?;
        check(&args, protocol, dialect)?;
        let options = args.addresses.with_tls(options(&args, protocol, dialect))?;
        let data = match (args.data, &args.file) {
            (Some(text), _) => Some(text::into_bytes(text)),
            (None, Some(path)) => Some(read(path)?),
            (None, None) => None,
        };
        let mut topics: Vec<_> = args.subscribe.into_iter().map(text::into_bytes).collect();
        if topics.is_empty() {
            topics.push(Vec::new());
        }
        Ok(Self {
            dialect,
            protocol,
            addresses,
            options,
            topics,
            data,
            format: args.format.0.unwrap_or_else(|| default_format(protocol, dialect)),
            interval: args.interval,
            delay: args.delay.unwrap_or_default(),
            peers: args.peers.unwrap_or(0),
            count: args.count.unwrap_or(0),
            verbosity: i16::from(args.verbose) - i16::from(args.silent),
        })
    }

    /// What is printed on standard error.
    pub(crate) fn tells(&self) -> Tells {
        let by_default = Tells { limit_option: Some("--recv-maxsz"), ..Tells::by_default() };
        match self.verbosity {
            ..0 => Tells::NOTHING,
            0 => by_default,
            1 if !self.dialect.explains() => by_default,
            verbosity => Tells { waiting: true, peers: verbosity > 1, ..by_default },
        }
    }

    /// How often it sends; `None`: forever.
    pub(crate) fn sends(&self) -> Option<u64> {
        match (self.count, self.interval) {
            (0, None) => Some(1),
            (0, Some(_)) => None,
            (count, _) => Some(count),
        }
    }
}

/// The format if none is given: people want to see messages, and scripts choose a format.
fn default_format(protocol: Protocol, dialect: Dialect) -> Format {
    if protocol.receives() && dialect.prints_on_terminals() && io::stdout().is_terminal() {
        Format::Ascii
    } else {
        Format::No
    }
}

fn options(args: &CatArgs, protocol: Protocol, dialect: Dialect) -> Options {
    let mut options = Options::new();
    let limit =
        |limit: Limit| limit.0.filter(|limit| !(limit.is_zero() && dialect.zero_is_no_limit()));
    if let Some(name) = &args.socket_name {
        options = options.name(name);
    }
    if let Some(limit) = args.send_timeout.map(limit) {
        options = options.send_timeout(limit);
    }
    if let Some(limit) = args.recv_timeout.map(limit) {
        options = options.recv_timeout(limit);
        // The survey lasts as long as the limit, since no answer can come later.
        if protocol == Protocol::Surveyor && limit != Some(Duration::ZERO) {
            options = options.survey_deadline(limit);
        }
    }
    // Sends no message that the other side would refuse.
    let (received, sent) = match args.recv_maxsz {
        Some(0) => (None, None),
        Some(bytes) => (Some(bytes), Some(bytes)),
        None if dialect.takes_any_length() => (None, None),
        None => [options.settings().max_recv_size; 2].into(),
    };
    let sent = sent.filter(|_| !dialect.sends_any_length());
    options.max_recv_size(received).max_send_size(sent)
}

/// Reads the data to send.
fn read(path: &Path) -> Outcome<Vec<u8>> {
    let mut data = Vec::new();
    let outcome = if path.as_os_str() == "-" {
        io::stdin().read_to_end(&mut data).map(|_| data)
    } else {
        fs::read(path)
    };
    outcome.map_err(|source| Failure::File { path: path.to_owned(), source })
}

/// Refuses what nanocat lacks, under `--compat`.
fn check_compat(args: &CatArgs, protocol: Protocol) -> Outcome {
    let wrong = [
        ("--async", args.addresses.later),
        ("--count", args.count.is_some_and(|count| count > 0)),
        ("--pair1", protocol == Protocol::Pair1),
    ];
    match wrong.iter().find(|(_, given)| args.compat && *given) {
        Some((name, _)) => Err(Failure::Usage(format!("{name} does not go with --compat"))),
        None => Ok(()),
    }
}

/// Checks what a protocol needs, and refuses what it has no use for.
fn check(args: &CatArgs, protocol: Protocol, dialect: Dialect) -> Outcome {
    let has_data = args.data.is_some() || args.file.is_some();
    let (sends, receives) = (protocol.sends(), protocol.receives());
    let takes_useless_limits = dialect.takes_useless_limits();
    let begins = protocol.begins() && (has_data || protocol.needs_data());
    let useless = [
        ("--data", args.data.is_some() && !sends),
        ("--file", args.file.is_some() && !sends),
        ("--send-timeout", args.send_timeout.is_some() && !sends && !takes_useless_limits),
        ("--recv-timeout", args.recv_timeout.is_some() && !receives && !takes_useless_limits),
        ("a format", args.format.0.is_some() && !receives),
        ("--subscribe", !args.subscribe.is_empty() && protocol != Protocol::Sub),
        ("--interval", args.interval.is_some() && !protocol.begins()),
    ];
    let name = protocol.name();
    if let Some((option, _)) = useless.iter().find(|(_, given)| *given) {
        return Err(Failure::Usage(format!("--{name} has no use for {option}")));
    }
    if !has_data && protocol.needs_data() {
        return Err(Failure::Usage(format!("--{name} needs --data or --file")));
    }
    if args.interval.is_some() && !begins {
        Err(Failure::Usage("--interval needs --data or --file".to_owned()))
    } else {
        Ok(())
    }
}
