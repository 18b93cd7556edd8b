//! A client: asks the daemon where, then asks the service. And the question for the whole list.

use std::time::Duration;

use sinew::Req;

use crate::rows::print_line;
use crate::{RESOLVE_URL, Result, milliseconds, stop};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The service to ask
    #[arg(long, env = "SINEW_NAME")]
    name: String,
    /// What to ask it
    #[arg(long, env = "SINEW_QUESTION", default_value = "what is the answer?")]
    question: String,
    #[command(flatten)]
    daemon: DaemonArgs,
}

#[derive(clap::Args)]
pub(crate) struct DaemonArgs {
    /// Where the daemon answers requests
    #[arg(long, env = "SINEW_RESOLVE_URL", value_name = "URL", default_value = RESOLVE_URL)]
    resolve_url: String,
    /// How long to wait for each answer
    #[arg(long, env = "SINEW_DEADLINE", value_name = "MS", default_value = "2000", value_parser = milliseconds)]
    deadline: Duration,
}

/// Resolves the name, asks the service, prints the answer.
pub(crate) fn run(args: &Args) -> Result<()> {
    let DaemonArgs { resolve_url, deadline } = &args.daemon;
    until_signal(|req| {
        let address = ask_daemon(req, resolve_url, &format!("resolve {}", args.name), *deadline)?;
        ask(req, &address, &args.question, *deadline)
    })
}

/// Prints the daemon's list.
pub(crate) fn list(args: &DaemonArgs) -> Result<()> {
    until_signal(|req| ask_daemon(req, &args.resolve_url, "list", args.deadline))
}

/// Prints what `answer` comes to; a signal ends it early, with nothing printed.
fn until_signal(answer: impl FnOnce(&Req) -> Result<String>) -> Result<()> {
    let req = Req::new();
    let socket = req.clone();
    stop::on_signal(move || {
        let _ = socket.close();
    })?;
    match answer(&req) {
        Ok(answer) => print_line(answer),
        Err(_) if req.is_closed() => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// A request to the daemon; its `error …` becomes an error here.
pub(crate) fn ask_daemon(
    req: &Req,
    url: &str,
    request: &str,
    deadline: Duration,
) -> Result<String> {
    let reply = ask(req, url, request, deadline)?;
    match reply.split_once(' ') {
        Some(("ok", answer)) => Ok(answer.to_owned()),
        Some(("error", reason)) => Err(reason.into()),
        _ => Err(format!("{url} does not answer like a daemon: {reply:?}").into()),
    }
}

/// One request to one address, which is left again.
pub(crate) fn ask(req: &Req, url: &str, request: &str, deadline: Duration) -> Result<String> {
    let endpoint = req.connect(url)?;
    let reply = req.request_timeout(request, deadline);
    let status = endpoint.status();
    let _ = endpoint.close();
    match (reply, status.last_error) {
        (Ok(reply), _) => Ok(reply.to_text().into_owned()),
        (Err(error), Some(cause)) if status.peers == 0 => {
            Err(format!("{url}: {error} ({cause})").into())
        }
        (Err(error), _) => Err(format!("{url}: {error}").into()),
    }
}
