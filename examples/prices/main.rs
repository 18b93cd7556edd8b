//! A price service, with all that stands on the sockets: `cargo run -p sinew-examples-prices --example prices`.
//!
//! Two markets, each a process of its own, announce themselves to a registry. A client finds them by their name, asks
//! for prices with values in place of bytes, follows what one of them publishes though it comes late, and goes on when
//! one is killed. Requests are traced across the processes, and each market shows its metrics over HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sinew::Options;
use sinew::discovery::{Announcement, ChangeKind, Registry, Resolver};
use sinew::last_values::{Cache, Source};
use sinew::metrics::{CONTENT_TYPE, Metrics, Observe};
use sinew::typed::trace::TraceContext;
use sinew::typed::{Format, Replies, Requests};
use tracing::info;

type Fallible<T = ()> = Result<T, Box<dyn std::error::Error>>;

const ANY_PORT: &str = "tcp://127.0.0.1:0";
const METALS: [&str; 3] = ["lead", "tin", "zinc"];

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Price {
    bid: u32,
    ask: u32,
}

/// What is asked for a price: a value, no bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Ask {
    metal: String,
}

fn main() -> Fallible {
    // Spans and events go to the terminal.
    tracing_subscriber::fmt().without_time().with_target(false).with_ansi(false).init();
    match std::env::args().nth(1).as_deref() {
        Some("market") => market(),
        _ => scene(),
    }
}

/// A market: answers requests, publishes what changes, and shows its metrics, until it is killed, or whoever has started
/// it is gone.
fn market() -> Fallible {
    thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let source = Source::<Price>::new()?;
    let (updates, snapshots) = source.bind(ANY_PORT, ANY_PORT)?;
    for (at, metal) in (1..).zip(METALS) {
        source.set(metal, &price(at, 0))?; // long before anybody listens
    }

    let rep = sinew::Rep::with_options(Options::new().name("prices"))?;
    let replies = Replies::<Ask, Option<Price>>::with(rep, Format::new(), Format::new());
    let bound = replies.bind(ANY_PORT)?;
    let metrics = show_metrics(vec![
        Box::new(replies.socket().clone()),
        Box::new(source.publisher().clone()),
    ])?;

    // What it is called, and to whom it is told, is in the environment.
    let announcement = Announcement::from_environment("prices", &bound)?;
    announcement.set_metadata("updates", updates.url())?;
    announcement.set_metadata("snapshots", snapshots.url())?;
    announcement.set_metadata("metrics", metrics)?;

    let publishing = source.clone();
    thread::spawn(move || {
        for tick in 1.. {
            thread::sleep(Duration::from_millis(100));
            publishing.set("tin", &price(2, tick)).expect("the sockets are open");
        }
    });
    for query in replies.iter() {
        let known = (1..).zip(METALS).find(|(_, metal)| *metal == query.metal);
        let answer = known.map(|(at, _)| price(at, 0));
        // Its span has the ids that the client has told.
        query.span().in_scope(|| info!(metal = query.metal, ?answer, "a market answers"));
        query.reply(&answer)?;
    }
    Ok(())
}

fn price(at: u32, tick: u32) -> Price {
    let bid = 1000 * at + tick;
    Price { bid, ask: bid + 5 }
}

/// Serves a page of metrics over HTTP, and returns its address.
fn show_metrics(sockets: Vec<Box<dyn Observe>>) -> Fallible<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let page = Metrics::new().sockets(sockets.iter().map(|socket| &**socket));
            let head = format!("HTTP/1.0 200 OK\r\nContent-Type: {CONTENT_TYPE}\r\n\r\n");
            let _ = stream.read(&mut [0; 1024]).and_then(|_| write!(stream, "{head}{page}"));
        }
    });
    Ok(address)
}

/// The registry, the client, and the markets as processes of their own.
fn scene() -> Fallible {
    let registry = Registry::builder().surveys(ANY_PORT).requests(ANY_PORT);
    let registry = registry.interval(Duration::from_millis(300)).start()?;
    let changes = registry.changes();
    let mut markets = [Market::start(&registry)?, Market::start(&registry)?];
    while registry.count() < 2 {
        changes.recv()?;
    }
    info!(markets = registry.count(), "the registry has heard of all");

    // Requests go to all markets there are. Each is a trace, of which the market that answers it knows.
    let resolver = Resolver::new(registry.request_urls())?;
    let req = resolver.req("prices")?;
    let requests =
        Requests::<Ask, Option<Price>>::with(req.socket().clone(), Format::new(), Format::new());
    for metal in METALS {
        let trace = TraceContext::root();
        let price = trace.in_scope(|| requests.request(&Ask { metal: metal.to_owned() }))?;
        info!(?price, %trace, "the client has an answer");
    }

    // A cache that comes late has all values, and follows what changes.
    let found = resolver.resolve("prices")?;
    let told = |key: &str| found[0].metadata(key).unwrap_or_default().to_owned();
    let mut cache = Cache::<Price>::new();
    cache.subscribe("")?;
    cache.connect(told("updates"), told("snapshots"))?;
    while cache.values().count() < METALS.len() {
        cache.recv()?;
    }
    let first = cache.value("tin").map(|price| price.bid);
    while cache.value("tin").map(|price| price.bid) == first {
        cache.recv()?;
    }
    info!(topics = cache.values().count(), "the cache has all values, and has seen tin move");

    // What a market has done, for Prometheus or for curl.
    let mut page = TcpStream::connect(told("metrics"))?;
    write!(page, "GET /metrics HTTP/1.0\r\n\r\n")?;
    for line in BufReader::new(page).lines() {
        let line = line?;
        if line.starts_with("sinew_messages_received_total") {
            info!("{line}");
        }
    }

    // One of them dies, and nobody asks it any more.
    markets[0].0.kill()?;
    let left = changes.into_iter().find(|change| matches!(change.kind, ChangeKind::Left(_)));
    info!(survey = left.map(|change| change.survey), "a market is gone");
    let price = requests.request(&Ask { metal: "tin".to_owned() })?;
    info!(?price, "the other one answers");
    Ok(())
}

/// A market in a process of its own, configured as a container is. Dropping it kills it.
struct Market(Child);

impl Market {
    fn start(registry: &Registry) -> Fallible<Self> {
        let program = std::env::current_exe()?;
        let urls = registry.survey_urls().join(",");
        let mut command = Command::new(program);
        command.arg("market").env("SINEW_SURVEY_URL", urls).stdin(Stdio::piped());
        Ok(Self(command.spawn()?))
    }
}

impl Drop for Market {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
