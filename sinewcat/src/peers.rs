//! `sinewcat peers`: shows the connected peers.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use sinew::{
    AnySocket, AttemptError, Endpoint, Options, Peer, PipeEvent, PipeEventKind, RecvError,
};

use crate::address::AddressArgs;
use crate::dialect::Dialect;
use crate::failure::{Failure, Outcome};
use crate::json;
use crate::protocol::ProtocolChoice;
use crate::seconds::seconds;
use crate::socket;
use crate::stop::Stop;
use crate::waiting::{Tells, Watch};

/// Show who is connected
///
/// Binds or connects as a socket of a protocol, waits for peers and prints them: their addresses,
/// their protocol, and for ipc their process and user. Meanwhile it is a peer like any other: a
/// --pull or a --rep may be given work or requests, which are lost.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  sinewcat peers --sub --connect tcp://host:5555
  sinewcat peers --rep --bind ipc:///tmp/service --watch --json")]
pub(crate) struct PeersArgs {
    #[command(flatten)]
    protocol: ProtocolChoice,
    #[command(flatten)]
    addresses: AddressArgs,
    /// Wait until N peers are connected
    #[arg(short = 'C', long, value_name = "N", default_value_t = 1)]
    count: usize,
    /// Wait at most SEC seconds, and say what went wrong
    #[arg(long, value_name = "SEC", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Do not stop: print which peers come and go
    #[arg(long)]
    watch: bool,
    /// Print JSON, an object a line
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &PeersArgs, stop: &Stop) -> Outcome {
    let protocol = args.protocol.required()?;
    let addresses = args.addresses.list(Dialect::Sinewcat)?;
    let socket = socket::plain(protocol, args.addresses.with_tls(Options::new())?)?;
    socket::close_on_signal(&socket, stop);
    let events = socket.events();
    let watch = Watch::over(socket.events(), Tells::by_default());
    let endpoints: Vec<Endpoint> =
        addresses.iter().map(|address| socket::open(&*socket, address)).collect::<Outcome<_>>()?;
    endpoints.iter().for_each(|endpoint| watch.add(endpoint.clone()));
    if !args.watch {
        let outcome = socket::wait_for_peers(&*socket, args.count, args.timeout);
        list(args, &socket, &endpoints)?;
        return outcome;
    }
    let end = args.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut seen = false;
    loop {
        let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
        match events.recv_timeout(left) {
            Ok(event) => {
                seen |= event.kind == PipeEventKind::Attached;
                tell(args, &event)?;
            }
            Err(RecvError::TimedOut(_)) if seen => return Ok(()),
            Err(RecvError::TimedOut(_)) => {
                list(args, &socket, &endpoints)?;
                return Err(Failure::TimedOut("nobody has come".to_owned()));
            }
            Err(_) => return Err(Failure::Closed),
        }
    }
}

/// Prints the peers, and the endpoints that have none, or can get no more.
fn list(args: &PeersArgs, socket: &Arc<dyn AnySocket>, endpoints: &[Endpoint]) -> Outcome {
    let mut peers = socket.peers();
    peers.sort_by_key(|status| status.pipe);
    for status in &peers {
        if args.json {
            json::print(&json::peer(status))?
        } else {
            print(format_args!("{}", line(status)))?
        }
    }
    for endpoint in endpoints {
        let status = endpoint.status();
        if status.peers > 0 && !matches!(status.last_error, Some(AttemptError::FileLost { .. })) {
            continue;
        }
        let state = format!("{:?}", status.state).to_lowercase();
        let error = status.last_error.map(|error| error.to_string());
        match (args.json, error) {
            (true, error) => json::print(&json!({
                "endpoint": endpoint.url(),
                "state": state,
                "attempts": status.attempts,
                "error": error,
            }))?,
            (false, Some(error)) => print(format_args!("{}  {state}: {error}", endpoint.url()))?,
            (false, None) => print(format_args!("{}  {state}", endpoint.url()))?,
        }
    }
    Ok(())
}

/// One peer, for people.
fn line(peer: &Peer) -> String {
    let remote = if peer.remote.is_empty() { &peer.url } else { &peer.remote };
    let mut line =
        format!("{}  {}  {}  pipe {}", peer.protocol, remote, json::direction(peer), peer.pipe);
    if let Some(credentials) = &peer.credentials {
        if let Some(pid) = credentials.pid {
            line += &format!("  pid {pid}");
        }
        line += &format!("  uid {}  gid {}", credentials.uid, credentials.gid);
    }
    line
}

fn tell(args: &PeersArgs, event: &PipeEvent) -> Outcome {
    let (word, reason) = match &event.kind {
        PipeEventKind::Attaching => return Ok(()),
        PipeEventKind::Attached => ("attached", None),
        PipeEventKind::Detached(reason) => ("detached", Some(reason.to_string())),
        kind => return Err(Failure::Library(format!("an event that has no name here: {kind:?}"))),
    };
    if args.json {
        let mut object = json::peer(&event.peer);
        object["time"] = json::now().into();
        object["event"] = word.into();
        object["reason"] = reason.into();
        json::print(&object)
    } else {
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        print(format_args!("{:.3}  {word}  {}{reason}", json::now(), line(&event.peer)))
    }
}

fn print(line: std::fmt::Arguments<'_>) -> Outcome {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
