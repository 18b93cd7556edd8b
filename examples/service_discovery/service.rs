//! A service: a RESPONDENT that says "I am here", a REP that does the work.

use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use sinew::{DetachReason, Events, PipeEventKind, Rep, Respondent};

use crate::rows::{Rows, print_line};
use crate::table::Service;
use crate::{Result, SURVEY_URL, stop};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What the service is called
    #[arg(long, env = "SINEW_NAME")]
    name: String,
    /// Where the daemon surveys
    #[arg(long, env = "SINEW_SURVEY_URL", value_name = "URL", default_value = SURVEY_URL)]
    survey_url: String,
    /// Where to serve; port 0 is any free port
    #[arg(long, env = "SINEW_BIND", value_name = "URL", default_value = "tcp://127.0.0.1:0")]
    bind: String,
    /// What clients are told to connect to, where that differs from the address served on
    #[arg(long, env = "SINEW_ADVERTISE", value_name = "URL")]
    advertise: Option<String>,
}

/// Answers surveys and requests until a signal comes.
pub(crate) fn run(args: &Args) -> Result<()> {
    let respondent = Respondent::new();
    let rep = Rep::new();
    let sockets = (respondent.clone(), rep.clone());
    stop::on_signal(move || {
        let _ = sockets.0.close();
        let _ = sockets.1.close();
    })?;
    match offer(args, &respondent, &rep) {
        Err(_) if respondent.is_closed() => Ok(()), // the signal came before all was set up
        ended => ended,
    }
}

fn offer(args: &Args, respondent: &Respondent, rep: &Rep) -> Result<()> {
    let bound = rep.bind(&args.bind)?.url();
    let address = args.advertise.clone().unwrap_or(bound);
    let service: Service = Service { name: args.name.clone(), address }.to_string().parse()?;
    print_line(format_args!("serving {} on {}", service.name, service.address));

    let rows = Rows::begin("EVENT");
    let events = respondent.events();
    respondent.connect(&args.survey_url)?; // keeps trying, now and whenever the daemon is lost
    thread::scope(|scope| {
        scope.spawn(|| watch_daemon(events, rows));
        scope.spawn(|| answer_surveys(respondent, &service));
        serve(rep, &service.name, rows);
    });
    Ok(())
}

pub(crate) fn answer_surveys(respondent: &Respondent, service: &Service) {
    while let Ok(question) = respondent.recv() {
        if let Err(error) = question.reply(service.to_string()) {
            eprintln!("service: a survey went without its answer: {error}");
        }
    }
}

pub(crate) fn serve(rep: &Rep, name: &str, rows: Rows) {
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

/// A row whenever the daemon comes or goes.
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
