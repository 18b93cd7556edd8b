//! A service: an announcement that says "I am here", a REP that does the work.

use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use sinew::discovery::{Announcement, Service};
use sinew::{DetachReason, Events, PipeEventKind, Rep};

use crate::rows::{Rows, print_line};
use crate::{Result, SURVEY_URL, stop};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What the service is called
    #[arg(long, env = "SINEW_NAME")]
    name: String,
    /// Where the daemons survey
    #[arg(
        long,
        env = "SINEW_SURVEY_URL",
        value_name = "URL",
        value_delimiter = ',',
        default_value = SURVEY_URL
    )]
    survey_url: Vec<String>,
    /// Where to serve; port 0 is any free port
    #[arg(long, env = "SINEW_BIND", value_name = "URL", default_value = "tcp://127.0.0.1:0")]
    bind: String,
    /// What clients are told to connect to, where that differs from the address served on
    #[arg(long, env = "SINEW_ADVERTISE", value_name = "URL")]
    advertise: Option<String>,
}

/// Answers surveys and requests until a signal comes.
pub(crate) fn run(args: &Args) -> Result<()> {
    let rep = Rep::new();
    let closed = rep.clone();
    stop::on_signal(move || {
        let _ = closed.close();
    })?;
    match offer(args, &rep) {
        Err(_) if rep.is_closed() => Ok(()), // the signal came before all was set up
        ended => ended,
    }
}

fn offer(args: &Args, rep: &Rep) -> Result<()> {
    let bound = rep.bind(&args.bind)?.url();
    let address = args.advertise.clone().unwrap_or(bound);
    print_line(format_args!("serving {} on {address}", args.name));
    let rows = Rows::begin("EVENT");
    let announcement = Announcement::new(Service::new(&args.name, address), &args.survey_url)?;
    let events = announcement.respondent().events();
    thread::spawn(move || watch_daemon(events, rows));
    serve(rep, &args.name, rows);
    Ok(())
}

fn serve(rep: &Rep, name: &str, rows: Rows) {
    while let Ok(request) = rep.recv() {
        let answer = work(name, &request.to_text());
        rows.row(format_args!("asked {:?}, answered {answer:?}", request.to_text()));
        if let Err(error) = request.reply(answer) {
            eprintln!("service: a request went without its answer: {error}");
        }
    }
}

/// What the service is there for.
fn work(name: &str, request: &str) -> String {
    match name {
        "answer" => "The answer is 42".to_owned(),
        "clock" => match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(time) => format!("{} seconds since 1970", time.as_secs()),
            Err(_) => "it is before 1970".to_owned(),
        },
        _ => request.to_owned(),
    }
}

/// A row whenever a daemon comes or goes.
fn watch_daemon(events: Events, rows: Rows) {
    for event in events {
        match event.kind {
            PipeEventKind::Attached => {
                rows.row(format_args!("found the daemon at {}", event.peer.remote));
            }
            PipeEventKind::Detached(DetachReason::SocketClosed) => {} // that was us
            PipeEventKind::Detached(_) => rows.row("lost the daemon"),
            _ => {}
        }
    }
}
