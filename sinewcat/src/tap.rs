//! `sinewcat tap`: every message that passes, as a line of JSON.
//!
//! Owns two ways to listen: as one peer more, where a protocol lets everyone hear, and in the middle
//! between two addresses, forwarding what it has shown. Both use raw sockets, which leave the headers
//! on the messages.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use clap::Args;
use serde_json::{Value, json};
use sinew::role::{Receives, Role, Sends};
use sinew::{AnySocket, Message, Options, PeerStatus, SendError, Socket, raw};

use crate::address::AddressArgs;
use crate::dialect::Dialect;
use crate::failure::{Failure, Outcome};
use crate::json;
use crate::protocol::{Offer, Protocol, ProtocolChoice};
use crate::side::{self, Kind, SideArgs};
use crate::socket;
use crate::stop::Stop;
use crate::text;
use crate::waiting::{Tells, Watch};

/// Show messages as they pass, a line of JSON each
///
/// Listens as --sub, --pull or --bus (a --pull takes the work it is given away from others), or
/// stands between two addresses and forwards. A line has the time (seconds since 1970), the side it
/// came from, the peer, the header of the protocol in hex, and the body: as text if it is UTF-8, as hex
/// if not.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  sinewcat tap --sub --connect tcp://host:5555 --subscribe weather
  sinewcat tap reqrep --bind-front tcp://*:5555 --connect-back tcp://host:5556")]
pub(crate) struct TapArgs {
    /// What to stand between
    kind: Option<Kind>,
    #[command(flatten)]
    sides: SideArgs,
    #[command(flatten)]
    protocol: ProtocolChoice<Heard>,
    #[command(flatten)]
    addresses: AddressArgs,
    /// With --sub: show only what begins with PREFIX; may be repeated
    #[arg(long, value_name = "PREFIX")]
    subscribe: Vec<OsString>,
    /// End after N messages; 0: no limit
    #[arg(short = 'C', long, value_name = "N", default_value_t = 0)]
    count: u64,
}

/// What lets everyone hear.
#[derive(Clone, Copy, Debug)]
struct Heard;

impl Offer for Heard {
    const PROTOCOLS: &'static [Protocol] = &[Protocol::Sub, Protocol::Pull, Protocol::Bus];
}

pub(crate) fn run(args: &TapArgs, stop: &Stop) -> Outcome {
    let tap = Tap { args, stop, shown: AtomicU64::new(0) };
    let Some(kind) = args.kind else { return tap.listen() };
    if args.protocol.is_given() || !args.addresses.are_empty() {
        return Err(Failure::Usage(
            "in the middle, both sides have addresses of their own".to_owned(),
        ));
    }
    if !args.subscribe.is_empty() {
        return Err(Failure::Usage(
            "--subscribe is for --sub: a tap in the middle shows all".to_owned(),
        ));
    }
    match kind {
        Kind::Reqrep => tap.both_ways(raw::Rep::new(), raw::Req::new()),
        Kind::Survey => tap.both_ways(raw::Respondent::new(), raw::Surveyor::new()),
        Kind::Bus => tap.both_ways(raw::Bus::new(), raw::Bus::new()),
        Kind::Pair => tap.both_ways(raw::Pair::new(), raw::Pair::new()),
        Kind::Pair1 => tap.both_ways(raw::Pair1::new(), raw::Pair1::new()),
        Kind::Pubsub => tap.one_way(raw::Sub::new(), raw::Pub::new()),
        Kind::Pushpull => tap.one_way(raw::Pull::new(), raw::Push::new()),
    }
}

struct Tap<'a> {
    args: &'a TapArgs,
    stop: &'a Stop,
    shown: AtomicU64,
}

impl Tap<'_> {
    /// As one peer more.
    fn listen(&self) -> Outcome {
        if !self.args.sides.are_empty() {
            let text = "which protocol to stand between? one of reqrep, pubsub, pushpull, survey, bus, pair, pair1";
            return Err(Failure::Usage(text.to_owned()));
        }
        match self.args.protocol.required()? {
            Protocol::Sub => self.listen_with(raw::Sub::with_options(self.options()?)?),
            _ if !self.args.subscribe.is_empty() => {
                Err(Failure::Usage("--subscribe is for --sub".to_owned()))
            }
            Protocol::Pull => self.listen_with(raw::Pull::with_options(self.options()?)?),
            Protocol::Bus => self.listen_with(raw::Bus::with_options(self.options()?)?),
            other => unreachable!("--{} is not offered", other.name()),
        }
    }

    fn options(&self) -> Outcome<Options> {
        self.args.addresses.with_tls(Options::new())
    }

    fn listen_with(&self, socket: Socket<impl Receives<Item = Message>>) -> Outcome {
        let addresses = self.args.addresses.list(Dialect::Sinewcat)?;
        self.close_on_signal(&socket);
        let watch = Watch::over(socket.events(), Tells::by_default());
        for address in &addresses {
            watch.add(socket::open(&socket, address)?);
        }
        let mut known = Vec::new();
        loop {
            let message = socket.recv()?;
            let topics = &self.args.subscribe;
            let wanted = |topic: &OsString| message.starts_with(text::bytes_of(topic));
            if (topics.is_empty() || topics.iter().any(wanted))
                && !self.show(None, &socket, &message, &mut known)?
            {
                return Ok(());
            }
        }
    }

    fn both_ways<A, B>(&self, front: Socket<A>, back: Socket<B>) -> Outcome
    where
        A: Receives<Item = Message> + Sends,
        B: Receives<Item = Message> + Sends,
    {
        let _watch = self.open(&front, &back)?;
        thread::scope(|scope| {
            let answers = scope.spawn(|| self.pass("back", &back, &front));
            let asked = self.pass("front", &front, &back);
            asked.and(answers.join().expect("it does not panic"))
        })
    }

    fn one_way(
        &self,
        front: Socket<impl Receives<Item = Message>>,
        back: Socket<impl Sends>,
    ) -> Outcome {
        let _watch = self.open(&front, &back)?;
        self.pass("front", &front, &back)
    }

    fn open(&self, front: &Socket<impl Role>, back: &Socket<impl Role>) -> Outcome<[Watch; 2]> {
        let [in_front, at_back] = self.args.sides.both()?;
        self.close_on_signal(front);
        self.close_on_signal(back);
        Ok([side::open("front", front, &in_front)?, side::open("back", back, &at_back)?])
    }

    fn close_on_signal(&self, socket: &Socket<impl Role>) {
        let shared: Arc<dyn AnySocket> = Arc::new(socket.clone());
        socket::close_on_signal(&shared, self.stop);
    }

    /// Shows what comes from one side and sends it on to the other. Whoever ends first ends both.
    fn pass(
        &self,
        side: &str,
        from: &Socket<impl Receives<Item = Message>>,
        to: &Socket<impl Sends>,
    ) -> Outcome {
        let outcome = self.pass_all(side, from, to);
        // Closed already: as good.
        let _ = (from.close(), to.close());
        match (outcome, self.stop.signal()) {
            (Err(Failure::Closed), None) => Ok(()),
            (outcome, _) => outcome,
        }
    }

    fn pass_all(
        &self,
        side: &str,
        from: &Socket<impl Receives<Item = Message>>,
        to: &Socket<impl Sends>,
    ) -> Outcome {
        let mut known = Vec::new();
        loop {
            let message = from.recv()?;
            let more = self.show(Some(side), from, &message, &mut known)?;
            match to.send(message) {
                // One that has gone too far; it is counted, as in a device.
                Ok(()) | Err(SendError::Header(_)) => (),
                Err(error) => return Err(error.into()),
            }
            if !more {
                to.drain(std::time::Duration::MAX);
                return Ok(());
            }
        }
    }

    /// Prints a message. Says whether more are wanted.
    fn show(
        &self,
        side: Option<&str>,
        socket: &dyn AnySocket,
        message: &Message,
        known: &mut Vec<PeerStatus>,
    ) -> Outcome<bool> {
        let shown = self.shown.fetch_add(1, Ordering::Relaxed) + 1;
        let count = self.args.count;
        if count > 0 && shown > count {
            return Ok(false);
        }
        let mut line = json!({
            "time": json::now(),
            "header": json::hex(message.header()),
            "size": message.len(),
        });
        if let Some(side) = side {
            line["side"] = side.into();
        }
        line["peer"] = who(socket, message, known);
        json::put_body(&mut line, message);
        json::print(&line)?;
        Ok(count == 0 || shown < count)
    }
}

/// Who has sent a message. A peer that has gone already is known by its pipe only.
fn who(socket: &dyn AnySocket, message: &Message, known: &mut Vec<PeerStatus>) -> Value {
    let Some(pipe) = message.pipe() else { return Value::Null };
    if !known.iter().any(|status| status.pipe == pipe) {
        *known = socket.peers();
    }
    match known.iter().find(|status| status.pipe == pipe) {
        Some(status) => json::peer(status),
        None => json!({ "pipe": pipe.get() }),
    }
}
