//! Where a socket is bound and connected: the options that say it.

use clap::Args;

use crate::dialect::Dialect;
use crate::failure::{Failure, Outcome};

const HEADING: &str = "Addresses, at least one";

/// The options for addresses; each may be given any number of times.
#[derive(Args, Clone, Debug)]
pub(crate) struct AddressArgs {
    /// Accept connections at ADDR, such as tcp://*:5555 or ipc:///tmp/name
    #[arg(long, visible_alias = "listen", value_name = "ADDR", help_heading = HEADING)]
    bind: Vec<String>,
    /// Connect to ADDR in the background, for as long as it takes
    #[arg(long, value_name = "ADDR", help_heading = HEADING)]
    connect: Vec<String>,
    /// Connect to ADDR, and fail if nobody is there
    #[arg(long, value_name = "ADDR", help_heading = HEADING)]
    dial: Vec<String>,
    /// The same as --bind ipc://PATH
    #[arg(short = 'X', long, value_name = "PATH", help_heading = HEADING)]
    bind_ipc: Vec<String>,
    /// The same as --connect ipc://PATH
    #[arg(short = 'x', long, value_name = "PATH", help_heading = HEADING)]
    connect_ipc: Vec<String>,
    /// The same as --bind tcp://127.0.0.1:PORT
    #[arg(short = 'L', long, value_name = "PORT", help_heading = HEADING)]
    bind_local: Vec<u16>,
    /// The same as --connect tcp://127.0.0.1:PORT
    #[arg(short = 'l', long, value_name = "PORT", help_heading = HEADING)]
    connect_local: Vec<u16>,
    /// Have --dial go on in the background from the start, as --connect does
    #[arg(long = "async", help_heading = HEADING)]
    pub(crate) later: bool,
}

/// One address, and what is done there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// Accept connections.
    Bind(String),
    /// Connect in the background.
    Connect(String),
    /// Connect, with a first attempt that must succeed.
    Dial(String),
}

impl AddressArgs {
    /// The addresses, those to bind first.
    pub(crate) fn list(&self, dialect: Dialect) -> Outcome<Vec<Address>> {
        let local = |port: &u16| format!("tcp://127.0.0.1:{port}");
        let ipc = |path: &String| dialect.ipc(path);
        let connect = |url: String| match dialect.connects_now() && !self.later {
            true => Address::Dial(url),
            false => Address::Connect(url),
        };
        let dial = |url: String| match dialect.dials_later() || self.later {
            true => Address::Connect(url),
            false => Address::Dial(url),
        };
        let mut list = Vec::new();
        list.extend(self.bind.iter().cloned().map(Address::Bind));
        list.extend(self.bind_ipc.iter().map(ipc).map(Address::Bind));
        list.extend(self.bind_local.iter().map(local).map(Address::Bind));
        list.extend(self.connect.iter().cloned().map(connect));
        list.extend(self.connect_ipc.iter().map(ipc).map(connect));
        list.extend(self.connect_local.iter().map(local).map(connect));
        list.extend(self.dial.iter().cloned().map(dial));
        match list.is_empty() {
            true => Err(Failure::Usage(
                "no address: one of --bind, --connect, --dial, -X, -x, -L, -l is wanted".to_owned(),
            )),
            false => Ok(list),
        }
    }
}
