//! `sinewcat bench`: how many messages a second, and how long a round trip takes.
//!
//! Owns what is measured. Throughput is measured where messages arrive, and the first one starts the clock;
//! or where they are sent, from the first until all are handed to the kernel. A round trip is a request and
//! its reply, one at a time.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use sinew::{AnySocket, Options, Pull, Push, Rep, Req};

use crate::address::{Address, AddressArgs};
use crate::dialect::Dialect;
use crate::failure::{Failure, Outcome};
use crate::json;
use crate::progress::Progress;
use crate::protocol::{Offer, Protocol, ProtocolChoice};
use crate::socket;
use crate::stop::Stop;
use crate::waiting::{Tells, Watch};

/// Measure throughput and round trips
///
/// Against itself with --self: first PUSH to PULL, then REQ to REP. Against a peer: --push sends as
/// fast as it can, --pull counts what comes, --req measures round trips to a --rep, which answers
/// each request with itself.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  sinewcat bench --self --size 1024
  sinewcat bench --pull --bind tcp://*:5555
  sinewcat bench --push --connect tcp://host:5555
  sinewcat bench --req --connect tcp://host:5555 -C 1000 --json")]
pub(crate) struct BenchArgs {
    /// Both ends in this process, over --over
    #[arg(long = "self")]
    both: bool,
    /// With --self: the address to use
    #[arg(long, value_name = "ADDR", default_value = "tcp://127.0.0.1:0")]
    over: String,
    #[command(flatten)]
    protocol: ProtocolChoice<Measurable>,
    #[command(flatten)]
    addresses: AddressArgs,
    /// Send messages of BYTES
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u32).range(..=MAX_SIZE))]
    size: u32,
    /// Send, or expect, N messages
    #[arg(short = 'C', long, value_name = "N", default_value_t = 100_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// With --self: measure N round trips
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    round_trips: u64,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// The kind of measurement.
#[derive(Clone, Copy, Debug)]
struct Measurable;

impl Offer for Measurable {
    const PROTOCOLS: &'static [Protocol] =
        &[Protocol::Push, Protocol::Pull, Protocol::Req, Protocol::Rep];
}

/// The longest message. All of it is kept in memory, at both ends.
const MAX_SIZE: i64 = 1 << 30;

/// Without a limit that could refuse the messages of a benchmark.
fn options() -> Options {
    Options::new().max_recv_size(None).max_send_size(None)
}

pub(crate) fn run(args: &BenchArgs, stop: &Stop) -> Outcome {
    let bench = Bench { args, stop };
    if args.both {
        return bench.both_ends();
    }
    let addresses = args.addresses.list(Dialect::Sinewcat);
    let options = args.addresses.with_tls(options())?;
    let open = |socket: Arc<dyn AnySocket>| bench.open(&socket, &addresses?);
    match args.protocol.required()? {
        Protocol::Push => {
            let push = Push::with_options(options)?;
            let _watch = open(Arc::new(push.clone()))?;
            bench.report(&[bench.push(&push, args.count)?])
        }
        Protocol::Pull => {
            let pull = Pull::with_options(options)?;
            let _watch = open(Arc::new(pull.clone()))?;
            bench.report(&[bench.pull(&pull, args.count)?])
        }
        Protocol::Req => {
            let req = Req::with_options(options)?;
            let _watch = open(Arc::new(req.clone()))?;
            bench.report(&[bench.ask(&req, args.count)?])
        }
        Protocol::Rep => {
            let rep = Rep::with_options(options)?;
            let _watch = open(Arc::new(rep.clone()))?;
            echo(&rep)
        }
        other => unreachable!("--{} is not offered", other.name()),
    }
}

/// Answers every request with itself, until the socket is closed.
fn echo(rep: &Rep) -> Outcome {
    loop {
        let request = rep.recv()?;
        let reply = request.message().clone();
        request.reply(reply)?;
    }
}

struct Bench<'a> {
    args: &'a BenchArgs,
    stop: &'a Stop,
}

impl Bench<'_> {
    fn open(&self, socket: &Arc<dyn AnySocket>, addresses: &[Address]) -> Outcome<Watch> {
        socket::close_on_signal(socket, self.stop);
        let watch = Watch::over(socket.events(), Tells::by_default());
        for address in addresses {
            watch.add(socket::open(&**socket, address)?);
        }
        Ok(watch)
    }

    /// PUSH to PULL and REQ to REP, in one process.
    fn both_ends(&self) -> Outcome {
        if self.args.protocol.is_given() || !self.args.addresses.are_empty() {
            return Err(Failure::Usage(
                "--self has both ends: it takes no protocol, and --over".to_owned(),
            ));
        }
        let (push, pull) = (Push::with_options(options())?, Pull::with_options(options())?);
        self.join(Arc::new(pull.clone()), Arc::new(push.clone()))?;
        let throughput = thread::scope(|scope| {
            let sender = scope.spawn(|| self.push(&push, self.args.count));
            let counted = self.pull(&pull, self.args.count);
            sender.join().expect("it does not panic").and(counted)
        })?;
        // So that the address is free again.
        let _ = pull.close();
        let (req, rep) = (Req::with_options(options())?, Rep::with_options(options())?);
        self.join(Arc::new(rep.clone()), Arc::new(req.clone()))?;
        let answering = thread::spawn(move || echo(&rep));
        let latency = self.ask(&req, self.args.round_trips)?;
        drop(answering);
        self.report(&[throughput, latency])
    }

    fn join(&self, bound: Arc<dyn AnySocket>, connected: Arc<dyn AnySocket>) -> Outcome {
        let address = Address::Bind(self.args.over.clone());
        Address::check(std::slice::from_ref(&address))?;
        socket::close_on_signal(&bound, self.stop);
        socket::close_on_signal(&connected, self.stop);
        let endpoint = socket::open(&*bound, &address)?;
        socket::open(&*connected, &Address::Dial(endpoint.url()))?;
        Ok(())
    }

    fn body(&self) -> bytes::Bytes {
        vec![b'x'; self.args.size as usize].into()
    }

    fn push(&self, push: &Push, count: u64) -> Outcome<Measured> {
        socket::wait_for_peers(push, 1, None)?;
        let body = self.body();
        // With both ends here, the other end has the bar.
        let mut progress = (!self.args.both).then(|| Progress::new("sending", count));
        let begin = Instant::now();
        for n in 1..=count {
            push.send(&body)?;
            if let Some(progress) = &mut progress {
                progress.at(n);
            }
        }
        match push.drain(Duration::MAX) {
            0 => {
                let bytes = count * u64::from(self.args.size);
                Ok(Measured::Sent(Rate::new(count, bytes, begin.elapsed())))
            }
            _ => Err(Failure::Closed),
        }
    }

    fn pull(&self, pull: &Pull, count: u64) -> Outcome<Measured> {
        pull.recv()?;
        let mut progress = Progress::new("receiving", count);
        let begin = Instant::now();
        let mut bytes = 0;
        for n in 2..=count {
            bytes += pull.recv()?.len() as u64;
            progress.at(n);
        }
        Ok(Measured::Received(Rate::new(count - 1, bytes, begin.elapsed())))
    }

    fn ask(&self, req: &Req, count: u64) -> Outcome<Measured> {
        socket::wait_for_peers(req, 1, None)?;
        let body = self.body();
        let mut progress = Progress::new("asking", count);
        let mut times = Vec::new();
        for n in 1..=count {
            let begin = Instant::now();
            req.request(&body)?;
            times.push(begin.elapsed());
            progress.at(n);
        }
        times.sort_unstable();
        Ok(Measured::Asked(times))
    }

    fn report(&self, results: &[Measured]) -> Outcome {
        if self.args.json {
            let mut line = json!({ "size": self.args.size });
            for result in results {
                line[result.name()] = result.json();
            }
            return json::print(&line);
        }
        let mut out = io::stdout().lock();
        for result in results {
            writeln!(out, "{}: {}", result.name(), result.text())?;
        }
        Ok(out.flush()?)
    }
}

/// What came out.
enum Measured {
    Sent(Rate),
    Received(Rate),
    /// The times of all round trips, the shortest first.
    Asked(Vec<Duration>),
}

struct Rate {
    messages: u64,
    bytes: u64,
    seconds: f64,
}

impl Rate {
    fn new(messages: u64, bytes: u64, time: Duration) -> Self {
        // A time that is too short to be measured must not divide by zero.
        Self { messages, bytes, seconds: time.as_secs_f64().max(1e-9) }
    }

    fn per_second(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.seconds / 1e6
    }
}

impl Measured {
    fn name(&self) -> &'static str {
        match self {
            Self::Sent(_) => "sent",
            Self::Received(_) => "received",
            Self::Asked(_) => "round_trips",
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Sent(rate) | Self::Received(rate) => json!({
                "messages": rate.messages,
                "bytes": rate.bytes,
                "seconds": rate.seconds,
                "messages_per_second": rate.per_second(),
                "megabytes_per_second": rate.megabytes_per_second(),
            }),
            Self::Asked(times) => json!({
                "count": times.len(),
                "min_us": micros(times, 0),
                "p50_us": micros(times, 50),
                "p99_us": micros(times, 99),
                "max_us": micros(times, 100),
            }),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Sent(rate) | Self::Received(rate) => format!(
                "{} messages in {:.3} s: {:.0} messages/s, {:.1} MB/s",
                rate.messages,
                rate.seconds,
                rate.per_second(),
                rate.megabytes_per_second()
            ),
            Self::Asked(times) => format!(
                "{} of min {:.1}, p50 {:.1}, p99 {:.1}, max {:.1} us",
                times.len(),
                micros(times, 0),
                micros(times, 50),
                micros(times, 99),
                micros(times, 100)
            ),
        }
    }
}

/// This percentile of the times, in microseconds.
fn micros(times: &[Duration], percent: usize) -> f64 {
    let at = (times.len() * percent).div_ceil(100).clamp(1, times.len());
    times[at - 1].as_secs_f64() * 1e6
}
