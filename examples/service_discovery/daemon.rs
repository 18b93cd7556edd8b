//! The daemon: a SURVEYOR that asks who is there, a REP that tells who was.

use std::fmt::Write;
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use sinew::{Options, Rep, Surveyor};

use crate::rows::{Rows, print_line};
use crate::table::{Service, Table};
use crate::{RESOLVE_URL, Result, SURVEY_URL, milliseconds, stop};

/// What the daemon asks. The services answer any survey, whatever it says.
const QUESTION: &str = "who is there?";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where services connect to be surveyed
    #[arg(long, env = "SINEW_SURVEY_URL", value_name = "URL", default_value = SURVEY_URL)]
    survey_url: String,
    /// Where clients connect to ask for services
    #[arg(long, env = "SINEW_RESOLVE_URL", value_name = "URL", default_value = RESOLVE_URL)]
    resolve_url: String,
    /// How long a survey waits for answers; the next one follows at once
    #[arg(long, env = "SINEW_INTERVAL", value_name = "MS", default_value = "1000", value_parser = milliseconds)]
    interval: Duration,
}

/// Surveys and answers until a signal comes.
pub(crate) fn run(args: &Args) -> Result<()> {
    let surveyor = Surveyor::with_options(Options::new().survey_deadline(args.interval))?;
    let rep = Rep::new();
    let sockets = (surveyor.clone(), rep.clone());
    stop::on_signal(move || {
        let _ = sockets.0.close();
        let _ = sockets.1.close();
    })?;
    match keep_list(args, &surveyor, &rep) {
        Err(_) if surveyor.is_closed() => Ok(()), // the signal came before all was set up
        ended => ended,
    }
}

fn keep_list(args: &Args, surveyor: &Surveyor, rep: &Rep) -> Result<()> {
    print_line(format_args!("surveys on {}", surveyor.bind(&args.survey_url)?.url()));
    print_line(format_args!("requests on {}", rep.bind(&args.resolve_url)?.url()));

    let list = List::default();
    thread::scope(|scope| {
        scope.spawn(|| answer_requests(rep, &list));
        keep_surveying(surveyor, &list);
    });
    Ok(())
}

/// The table, as the two threads share it.
#[derive(Default)]
pub(crate) struct List(Mutex<Table>);

impl List {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().expect("no thread panics while it holds the table")
    }
}

/// One survey after the other, and a row for each service that joins or leaves.
pub(crate) fn keep_surveying(surveyor: &Surveyor, list: &List) {
    let rows = Rows::begin(format_args!("SURVEY  CHANGE  {:<10}{:<30}LIVE", "NAME", "ADDRESS"));
    let row = |survey: u64, change: &str, service: &Service, live: usize| {
        let Service { name, address } = service;
        rows.row(format_args!("{survey:>6}  {change:<8}{name:<10}{address:<30}{live:>4}"));
    };

    while let Ok(survey) = surveyor.survey(QUESTION) {
        let number = list.lock().begin_survey();
        for answer in survey {
            match answer.to_text().parse::<Service>() {
                Ok(service) => {
                    let mut table = list.lock();
                    if table.answered(service.clone()) {
                        row(number, "joined", &service, table.services().count());
                    }
                }
                Err(error) => rows.row(format_args!("{number:>6}  ignored an answer: {error}")),
            }
        }
        if surveyor.is_closed() {
            break; // this survey was cut short: silence means nothing
        }
        let mut table = list.lock();
        for service in table.end_survey() {
            row(number, "left", &service, table.services().count());
        }
    }
}

pub(crate) fn answer_requests(rep: &Rep, list: &List) {
    while let Ok(request) = rep.recv() {
        let answer = answer(&request.to_text(), &list.lock());
        if let Err(error) = request.reply(answer) {
            eprintln!("daemon: a request went without its answer: {error}");
        }
    }
}

/// The answer to one request; the module docs of the example say what there is to ask.
fn answer(request: &str, table: &Table) -> String {
    match request.split_once(' ') {
        None if request == "list" => {
            let mut answer = format!("ok survey {}", table.survey());
            for service in table.services() {
                write!(answer, "\n{service}").expect("a String takes everything");
            }
            answer
        }
        Some(("resolve", name)) => match table.resolve(name) {
            Some(provider) => format!("ok {}", provider.address),
            None => format!("error no live service is called {name:?}"),
        },
        _ => format!("error {request:?} is not a request, try \"resolve NAME\" or \"list\""),
    }
}
