//! `sinewcat stats`: what a socket counts while it works.

use std::io::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use clap::Args;
use sinew::AnySocket;

use crate::args::CatArgs;
use crate::cat;
use crate::failure::{Failure, Outcome};
use crate::job::Job;
use crate::json;
use crate::seconds::seconds;
use crate::stop::Stop;

/// Show what a socket counts while it works
///
/// Does what sinewcat does with the same options, but prints the counters of the socket instead of the
/// messages: when it ends, also by Ctrl-C, and with --every from time to time. Counters that are zero
/// are not printed, except in JSON.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  sinewcat stats --pull -L5555 --every 1
  sinewcat stats --push -l5555 -D x -C 1000 --json")]
pub(crate) struct StatsArgs {
    #[command(flatten)]
    cat: CatArgs,
    #[command(flatten)]
    shown: Shown,
}

/// How the counters are shown.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Shown {
    /// Print the counters every SEC seconds
    #[arg(long, value_name = "SEC", value_parser = seconds, help_heading = "Counters")]
    every: Option<Duration>,
    /// Print them as JSON, an object a line
    #[arg(long, help_heading = "Counters")]
    json: bool,
}

impl StatsArgs {
    /// What to do, and how to show what is counted meanwhile.
    pub(crate) fn split(self) -> Outcome<(CatArgs, Shown)> {
        match self.cat.format.0 {
            Some(_) => Err(Failure::Usage("stats prints no messages: no format".to_owned())),
            None => Ok((self.cat, self.shown)),
        }
    }
}

pub(crate) fn run(job: &Job, shown: Shown, stop: &Stop) -> Outcome {
    let socket: OnceLock<Arc<dyn AnySocket>> = OnceLock::new();
    let (working, ended) = mpsc::channel::<()>();
    let outcome = thread::scope(|scope| {
        let watch = |watched: Arc<dyn AnySocket>| {
            let socket = socket.get_or_init(|| watched);
            if let Some(every) = shown.every {
                scope.spawn(move || {
                    while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                        if print(&**socket, shown).is_err() {
                            _ = socket.close();
                            return;
                        }
                    }
                });
            }
        };
        let outcome = cat::run(job, stop, watch);
        drop(working);
        outcome
    });
    match (socket.get(), outcome) {
        // The reader of the counters has gone, and the socket was closed for that.
        (_, Err(Failure::Closed)) if stop.signal().is_none() => Ok(()),
        (Some(socket), outcome) => print(&**socket, shown).and(outcome),
        (None, outcome) => outcome,
    }
}

fn print(socket: &dyn AnySocket, shown: Shown) -> Outcome {
    let stats = socket.stats();
    if shown.json {
        let mut line = json::stats(&stats);
        line["time"] = json::now().into();
        return json::print(&line);
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{stats}")?;
    Ok(out.flush()?)
}
