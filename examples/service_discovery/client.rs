//! A client: asks the daemon where, then asks the service. And the question for the whole list.

use std::time::Duration;

use sinew::Req;
use sinew::discovery::Resolver;

use crate::rows::print_line;
use crate::{RESOLVE_URL, Result, milliseconds};

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
    /// Where the daemons answer requests
    #[arg(
        long,
        env = "SINEW_RESOLVE_URL",
        value_name = "URL",
        value_delimiter = ',',
        default_value = RESOLVE_URL
    )]
    resolve_url: Vec<String>,
    /// How long to wait for each answer
    #[arg(long, env = "SINEW_DEADLINE", value_name = "MS", default_value = "2000", value_parser = milliseconds)]
    deadline: Duration,
}

impl DaemonArgs {
    fn resolver(&self) -> Result<Resolver> {
        let all = self.resolve_url.iter().cloned();
        Ok(all
            .fold(Resolver::builder(), |it, url| it.registry(url))
            .interval(self.deadline)
            .start()?)
    }
}

/// Resolves the name, asks one of the services, prints the answer.
pub(crate) fn run(args: &Args) -> Result<()> {
    let (name, resolver) = (&args.name, args.daemon.resolver()?);
    if resolver.resolve(name)?.is_empty() {
        return Err(format!("no live service is called {name:?}").into());
    }
    let req = resolver.req(name)?;
    print_line(req.request_timeout(&args.question, args.daemon.deadline)?);
    Ok(())
}

/// Prints the list of each daemon.
pub(crate) fn list(args: &DaemonArgs) -> Result<()> {
    for list in args.resolver()?.lists()? {
        print_line(format_args!("{}, survey {}", list.registry, list.survey));
        for service in list.services {
            print_line(format_args!("{} {}", service.name(), service.addresses().join(" ")));
        }
    }
    Ok(())
}

/// One request to one address.
pub(crate) fn ask(url: &str, request: &str, deadline: Duration) -> Result<String> {
    let req = Req::new();
    req.connect(url)?;
    Ok(req.request_timeout(request, deadline)?.to_text().into_owned())
}
