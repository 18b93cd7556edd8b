//! The daemon: a registry, and a row for whatever changes on its list.

use std::time::Duration;

use sinew::discovery::{ChangeKind, Registry, Service};

use crate::rows::{Rows, print_line};
use crate::{RESOLVE_URL, Result, SURVEY_URL, milliseconds, stop};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where services connect to be surveyed
    #[arg(long, env = "SINEW_SURVEY_URL", value_name = "URL", default_value = SURVEY_URL)]
    survey_url: String,
    /// Where clients connect to ask for services
    #[arg(long, env = "SINEW_RESOLVE_URL", value_name = "URL", default_value = RESOLVE_URL)]
    resolve_url: String,
    /// How often to ask who is there
    #[arg(long, env = "SINEW_INTERVAL", value_name = "MS", default_value = "1000", value_parser = milliseconds)]
    interval: Duration,
}

/// Keeps the list until a signal comes.
pub(crate) fn run(args: &Args) -> Result<()> {
    let registry = Registry::builder()
        .surveys(&args.survey_url)
        .requests(&args.resolve_url)
        .interval(args.interval)
        .start()?;
    let closed = registry.clone();
    stop::on_signal(move || closed.close())?;
    print_line(format_args!("surveys on {}", registry.survey_urls().join(" ")));
    print_line(format_args!("requests on {}", registry.request_urls().join(" ")));

    let rows = Rows::begin(format_args!("SURVEY  CHANGE  {:<10}{:<30}LIVE", "NAME", "ADDRESS"));
    for change in registry.changes() {
        let survey = change.survey;
        let row = |change: &str, service: &Service| {
            let (name, address) = (service.name(), service.addresses().join(" "));
            let live = registry.count();
            rows.row(format_args!("{survey:>6}  {change:<8}{name:<10}{address:<30}{live:>4}"));
        };
        match change.kind {
            ChangeKind::Joined(service) => row("joined", &service),
            ChangeKind::Left(service) => row("left", &service),
            ChangeKind::Ignored(why) => {
                rows.row(format_args!("{survey:>6}  ignored an answer: {why}"));
            }
            _ => {}
        }
    }
    Ok(())
}
