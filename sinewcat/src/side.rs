//! The two sides of a forwarder: the options of `device` and `tap`.

use clap::{Args, ValueEnum};
use sinew::AnySocket;

use crate::address::Address;
use crate::failure::{self, Failure, Outcome};
use crate::socket;
use crate::waiting::{Tells, Watch};

/// What is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Front: the REQs. Back: the REPs.
    Reqrep,
    /// Front: the PUBs. Back: the SUBs.
    Pubsub,
    /// Front: the PUSHes. Back: the PULLs.
    Pushpull,
    /// Front: the SURVEYORs. Back: the RESPONDENTs.
    Survey,
    /// BUS on both sides.
    Bus,
    /// PAIR v0 on both sides.
    Pair,
    /// PAIR v1 on both sides.
    Pair1,
}

const HEADING: &str = "Addresses, at least one on each side";

/// The addresses of both sides; each may be given any number of times.
#[derive(Args, Clone, Debug)]
pub(crate) struct SideArgs {
    /// Front, where requests and messages come from: accept connections at ADDR
    #[arg(long, value_name = "ADDR", help_heading = HEADING)]
    bind_front: Vec<String>,
    /// Front: connect to ADDR
    #[arg(long, value_name = "ADDR", help_heading = HEADING)]
    connect_front: Vec<String>,
    /// Back, where they go: accept connections at ADDR
    #[arg(long, value_name = "ADDR", help_heading = HEADING)]
    bind_back: Vec<String>,
    /// Back: connect to ADDR
    #[arg(long, value_name = "ADDR", help_heading = HEADING)]
    connect_back: Vec<String>,
}

impl SideArgs {
    /// The addresses in front and at the back.
    pub(crate) fn both(&self) -> Outcome<[Vec<Address>; 2]> {
        Ok([
            list("front", &self.bind_front, &self.connect_front)?,
            list("back", &self.bind_back, &self.connect_back)?,
        ])
    }

    /// Whether there are none.
    pub(crate) fn are_empty(&self) -> bool {
        let all = [&self.bind_front, &self.connect_front, &self.bind_back, &self.connect_back];
        all.iter().all(|urls| urls.is_empty())
    }
}

fn list(side: &str, bind: &[String], connect: &[String]) -> Outcome<Vec<Address>> {
    let bind = bind.iter().cloned().map(Address::Bind);
    let list: Vec<Address> = bind.chain(connect.iter().cloned().map(Address::Connect)).collect();
    Address::check(&list)?;
    if list.is_empty() {
        Err(Failure::Usage(format!("no address: --bind-{side} or --connect-{side} is wanted")))
    } else {
        Ok(list)
    }
}

/// Binds and connects one side, and tells on standard error where.
pub(crate) fn open(side: &str, socket: &dyn AnySocket, addresses: &[Address]) -> Outcome<Watch> {
    let watch = Watch::over(socket.events(), Tells::by_default());
    for address in addresses {
        let endpoint = socket::open(socket, address)?;
        watch.add(endpoint.clone());
        let does =
            if matches!(address, Address::Bind(_)) { "listening at" } else { "connecting to" };
        failure::tell(format_args!("{side} {does} {}", endpoint.url()));
    }
    Ok(watch)
}
