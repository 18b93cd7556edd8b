//! The whole scene, played by itself: a daemon, three services of two kinds and clients, each a
//! process of its own, over tcp on loopback.
//!
//! Everything is learned the way a bystander would: from what the processes print, by asking the
//! daemon, and by asking the services. The scene is a success only if all of it was seen.

use std::env;
use std::fmt::Display;
use std::process::ExitStatus;
use std::time::Duration;

use sinew::discovery::Resolver;

use crate::client::ask;
use crate::rows::print_line;
use crate::stage::{Actor, Stage};
use crate::{Result, stop};

/// How many surveys a service may leave unanswered before it is off the list.
const PATIENCE: u64 = 2;

/// Longer than the whole scene may take on a slow machine; it takes two seconds.
const LIMIT: Duration = Duration::from_secs(30);
/// How long one answer may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// Between surveys: short enough to watch, long enough for a busy machine to answer in.
const INTERVAL_MS: &str = "300";
/// Any free port: whoever binds says which one it got, and the scene hands it on.
const ANY_PORT: &str = "tcp://127.0.0.1:0";

/// Plays the scene; an error says what was not seen to happen.
pub(crate) fn play() -> Result<()> {
    let mut stage = Stage::new(env::current_exe()?, LIMIT);
    stop::on_signal(stage.interrupter())?;

    say("a daemon that surveys, and three services of two kinds");
    let daemon = Daemon::start(&mut stage)?;
    let mut services = vec![
        Service::start(&mut stage, &daemon, "answer-1", "answer")?,
        Service::start(&mut stage, &daemon, "answer-2", "answer")?,
        Service::start(&mut stage, &daemon, "clock-1", "clock")?,
    ];
    daemon.see_all(&mut stage, &services)?;

    say("a client for each kind");
    run_client(&mut stage, &daemon, "answer", "The answer is 42")?;
    run_client(&mut stage, &daemon, "clock", "seconds since 1970")?;

    kill_one(&mut stage, &daemon, &mut services)?;

    say("the same service again: another process, another port");
    services.push(Service::start(&mut stage, &daemon, "answer-3", "answer")?);
    daemon.see_all(&mut stage, &services)?;

    say("a question for every service");
    for Service { name, address, .. } in &services {
        let reply = ask(address, "are you well?", DEADLINE)?;
        say(format_args!("{name} at {address}: {reply}"));
    }

    say("SIGTERM for everybody");
    end_all(&mut stage, services, daemon)?;
    say("all of it was seen to happen");
    Ok(())
}

/// Kills the first service and sees it leave the list in time.
fn kill_one(stage: &mut Stage, daemon: &Daemon, services: &mut Vec<Service>) -> Result<()> {
    let Service { name, address, actor } = services.remove(0);
    say(format_args!("SIGKILL for {name} at {address}"));
    drop(actor);
    let (killed_in, _) = daemon.list()?;
    let left_in = daemon.see_change(stage, "left", &address)?;
    say(format_args!("dead since survey {killed_in}, off the list after survey {left_in}"));
    if left_in > killed_in + PATIENCE {
        return Err(format!("{address} was not off the list within {PATIENCE} surveys").into());
    }
    daemon.see_all(stage, services)
}

/// Runs a client to its end and sees it print an answer with `expected` in it.
fn run_client(stage: &mut Stage, daemon: &Daemon, name: &str, expected: &str) -> Result<()> {
    let url = daemon.resolve_url.as_str();
    let settings = [("SINEW_ROLE", "client"), ("SINEW_NAME", name), ("SINEW_RESOLVE_URL", url)];
    let mut client = stage.start("client", &settings)?;
    stage.see(&client, "had the answer", |line| line.contains(expected).then_some(()))?;
    check_exit("a client", stage.see_end(&mut client)?)
}

/// Asks every process to end, and sees all of them do so in good order.
fn end_all(stage: &mut Stage, services: Vec<Service>, daemon: Daemon) -> Result<()> {
    let mut actors: Vec<Actor> = services.into_iter().map(|service| service.actor).collect();
    actors.push(daemon.actor);
    for actor in &actors {
        actor.signal("TERM")?;
    }
    for actor in &mut actors {
        check_exit("a process", stage.see_end(actor)?)?;
    }
    Ok(())
}

fn check_exit(who: &str, status: ExitStatus) -> Result<()> {
    if status.success() { Ok(()) } else { Err(format!("{who} ended with {status}").into()) }
}

fn say(what: impl Display) {
    print_line(format_args!("{:>10} | {what}", "scene"));
}

/// What follows `prefix` in the line.
fn after(prefix: &str) -> impl Fn(&str) -> Option<String> {
    move |line| line.strip_prefix(prefix).map(str::to_owned)
}

struct Service {
    name: &'static str,
    address: String,
    actor: Actor,
}

impl Service {
    fn start(stage: &mut Stage, daemon: &Daemon, label: &str, name: &'static str) -> Result<Self> {
        let settings = [
            ("SINEW_ROLE", "service"),
            ("SINEW_NAME", name),
            ("SINEW_SURVEY_URL", &daemon.survey_url),
            ("SINEW_BIND", ANY_PORT),
        ];
        let actor = stage.start(label, &settings)?;
        let prefix = format!("serving {name} on ");
        let address = stage.see(&actor, "said where it serves", after(&prefix))?;
        Ok(Self { name, address, actor })
    }
}

struct Daemon {
    survey_url: String,
    resolve_url: String,
    actor: Actor,
}

impl Daemon {
    fn start(stage: &mut Stage) -> Result<Self> {
        let settings = [
            ("SINEW_ROLE", "daemon"),
            ("SINEW_SURVEY_URL", ANY_PORT),
            ("SINEW_RESOLVE_URL", ANY_PORT),
            ("SINEW_INTERVAL", INTERVAL_MS),
        ];
        let actor = stage.start("daemon", &settings)?;
        let survey_url = stage.see(&actor, "said where it surveys", after("surveys on "))?;
        let resolve_url = stage.see(&actor, "said where to ask it", after("requests on "))?;
        Ok(Self { survey_url, resolve_url, actor })
    }

    /// Waits for the row that says so of the service at `address`; the number of its survey.
    fn see_change(&self, stage: &mut Stage, change: &str, address: &str) -> Result<u64> {
        stage.see(&self.actor, &format!("printed that {address} {change}"), |line| {
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                [_time, survey, what, _name, at, _live] if what == change && at == address => {
                    survey.parse().ok()
                }
                _ => None,
            }
        })
    }

    /// Waits until all of the services have joined, and checks that nobody else is on the list.
    fn see_all(&self, stage: &mut Stage, services: &[Service]) -> Result<()> {
        for service in services {
            self.see_change(stage, "joined", &service.address)?;
        }
        let mut expected: Vec<_> = services
            .iter()
            .map(|Service { name, address, .. }| format!("{name} {address}"))
            .collect();
        expected.sort_unstable();
        let (_, list) = self.list()?;
        if list == expected {
            Ok(())
        } else {
            Err(format!("the daemon's list is {list:?} instead of {expected:?}").into())
        }
    }

    /// The daemon's list, and the number of the survey that is open.
    fn list(&self) -> Result<(u64, Vec<String>)> {
        let resolver =
            Resolver::builder().registry(&self.resolve_url).interval(DEADLINE).start()?;
        let list = resolver.lists()?.pop().ok_or("the daemon has no list")?;
        let line = |service: &sinew::discovery::Service| {
            format!("{} {}", service.name(), service.addresses().join(" "))
        };
        Ok((list.survey, list.services.iter().map(line).collect()))
    }
}
