//! `sinewcat device`: forwards between two addresses, with the devices of the library.

use std::io::{self, Write};

use clap::Args;
use serde_json::json;
use sinew::device::Forwards;
use sinew::{Device, Socket, raw};

use crate::failure::{self, Failure, Outcome};
use crate::json;
use crate::side::{self, Kind, SideArgs};
use crate::stop::Stop;

/// Forward between two addresses, until a signal comes
///
/// Prints on standard error its addresses and why it ended, and on standard output what has passed.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  A broker: clients and servers both connect to it.
    sinewcat device reqrep --bind-front tcp://*:5555 --bind-back tcp://*:5556
  News from another network:
    sinewcat device pubsub --connect-front tcp://far:5555 --bind-back ipc:///tmp/news")]
pub(crate) struct DeviceArgs {
    /// What to forward
    kind: Kind,
    #[command(flatten)]
    sides: SideArgs,
    /// Print what has passed as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &DeviceArgs, stop: &Stop) -> Outcome {
    match args.kind {
        Kind::Reqrep => forward(args, stop, raw::Rep::new(), raw::Req::new()),
        Kind::Pubsub => forward(args, stop, raw::Sub::new(), raw::Pub::new()),
        Kind::Pushpull => forward(args, stop, raw::Pull::new(), raw::Push::new()),
        Kind::Survey => forward(args, stop, raw::Respondent::new(), raw::Surveyor::new()),
        Kind::Bus => forward(args, stop, raw::Bus::new(), raw::Bus::new()),
        Kind::Pair => forward(args, stop, raw::Pair::new(), raw::Pair::new()),
        Kind::Pair1 => forward(args, stop, raw::Pair1::new(), raw::Pair1::new()),
    }
}

fn forward<R: Forwards>(
    args: &DeviceArgs,
    stop: &Stop,
    front: Socket<R>,
    back: Socket<R::Partner>,
) -> Outcome {
    let [in_front, at_back] = args.sides.both()?;
    let _watch = [side::open("front", &front, &in_front)?, side::open("back", &back, &at_back)?];
    let device = Device::new(front, back).map_err(Failure::library)?;
    let (handle, stopping) = (device.handle(), device.handle());
    stop.on_signal(move || stopping.stop());
    let outcome = device.run().map_err(Failure::library);
    let stats = handle.stats();
    let why = match (&outcome, stop.signal()) {
        (Ok(()), Some(signal)) => format!("signal {signal}"),
        (Ok(()), None) => "it was stopped".to_owned(),
        (Err(failure), _) => failure.to_string(),
    };
    failure::tell(format_args!("the device ended: {why}"));
    if args.json {
        json::print(&json!({
            "front": json::stats(&stats.front),
            "back": json::stats(&stats.back),
        }))?
    } else {
        let mut out = io::stdout().lock();
        for (name, stats) in [("front", &stats.front), ("back", &stats.back)] {
            let dropped: u64 = stats.dropped().map(|(_, count)| count).sum();
            let (received, sent) = (stats.messages_received, stats.messages_sent);
            writeln!(out, "{name}: {received} received, {sent} sent, {dropped} dropped")?;
        }
        out.flush()?;
    }
    outcome
}
