//! The example of service discovery on a simulated network: its own loops, on hosts that are killed and cut off.

#![allow(dead_code, reason = "what the example does for the command line")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use sinew::testing::{Link, Network, seeds, sleep};
use sinew::{Options, Rep, Req, Respondent, Surveyor};

#[path = "../../../examples/service_discovery/client.rs"]
mod client;
#[path = "../../../examples/service_discovery/daemon.rs"]
mod daemon;
#[path = "../../../examples/service_discovery/rows.rs"]
mod rows;
#[path = "../../../examples/service_discovery/service.rs"]
mod service;
#[path = "../../../examples/service_discovery/stop.rs"]
mod stop;
#[path = "../../../examples/service_discovery/table.rs"]
mod table;

// What the example's `main.rs` has for its modules.
const SURVEY_URL: &str = "sim://surveys";
const RESOLVE_URL: &str = "sim://requests";
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn milliseconds(text: &str) -> Result<Duration> {
    Ok(Duration::from_millis(text.parse()?))
}

/// How long one survey takes.
const INTERVAL: Duration = Duration::from_millis(100);
/// How long it takes at most until the list tells of a change: a dialer comes back, and then a silent service may
/// leave some surveys unanswered, the one under way not counted.
const SOON: Duration = Duration::from_millis(1000 + 100 * (table::PATIENCE + 2));

fn start_daemon(network: &Network) {
    let list = Arc::new(daemon::List::default());
    let (asked, host) = (Arc::clone(&list), network.host("daemon"));
    host.spawn(move || {
        let options = Options::new().survey_deadline(INTERVAL);
        let surveyor = Surveyor::with_options(options).expect("the options are good");
        surveyor.bind(SURVEY_URL).expect("the name is free");
        daemon::keep_surveying(&surveyor, &list);
    });
    host.spawn(move || {
        let rep = Rep::new();
        rep.bind(RESOLVE_URL).expect("the name is free");
        daemon::answer_requests(&rep, &asked);
    });
}

/// Starts a service on a host of its own, which has its name.
fn start_service(network: &Network, name: &'static str) {
    let host = network.host(name);
    let address = format!("sim://{name}");
    let card = table::Service { name: name.to_owned(), address: address.clone() };
    host.spawn(move || {
        let respondent = Respondent::new();
        respondent.connect(SURVEY_URL).expect("the address is good");
        service::answer_surveys(&respondent, &card);
    });
    host.spawn(move || {
        let rep = Rep::new();
        rep.bind(&address).expect("the name is free");
        service::serve(&rep, name, rows::Rows::begin("EVENT"));
    });
}

/// Who is on the list.
fn live(req: &Req) -> Vec<String> {
    let list = client::ask_daemon(req, RESOLVE_URL, "list", SOON).expect("the daemon answers");
    let names = list.lines().skip(1).filter_map(|line| line.split(' ').next());
    names.map(str::to_owned).collect()
}

#[test]
fn the_list_has_who_lives_whatever_breaks() {
    seeds(0..=9, |seed| {
        let network = Network::new(seed);
        start_daemon(&network);
        for name in ["answer", "echo"] {
            start_service(&network, name);
        }
        let net = network.clone();
        network.run(move || {
            let req = Req::new();
            sleep(SOON);
            assert_eq!(live(&req), ["answer", "echo"]);
            let ask = |name: &str| {
                let request = format!("resolve {name}");
                let address = client::ask_daemon(&req, RESOLVE_URL, &request, SOON)?;
                client::ask(&req, &address, "well?", SOON)
            };
            assert_eq!(ask("answer").expect("it lives"), "The answer is 42");
            assert_eq!(ask("echo").expect("it lives"), "well?");

            net.host("echo").kill();
            sleep(SOON);
            assert_eq!(live(&req), ["answer"]);
            assert!(ask("echo").is_err());
            start_service(&net, "echo");
            sleep(SOON);
            assert_eq!(ask("echo").expect("it lives again"), "well?");

            // Nobody is told of a partition, but silence is seen.
            net.partition(&["answer"]);
            sleep(SOON);
            assert_eq!(live(&req), ["echo"]);
            net.heal();
            sleep(SOON);
            assert_eq!(live(&req), ["answer", "echo"]);

            // A daemon that comes back knows nothing, until it has asked.
            net.host("daemon").kill();
            start_daemon(&net);
            sleep(SOON);
            assert_eq!(live(&req), ["answer", "echo"]);
        });
    });
}

/// One answer that is late does not make a service come and go.
#[test]
fn a_link_that_breaks_now_and_then_takes_nobody_off_the_list() {
    seeds(0..=9, |seed| {
        let network = Network::new(seed);
        network.set_link("daemon", "echo", Link::new().cuts(Duration::from_secs(20)));
        start_daemon(&network);
        start_service(&network, "echo");
        network.run(|| {
            let req = Req::new();
            sleep(SOON);
            for _ in 0..100 {
                assert_eq!(live(&req), ["echo"]);
                sleep(INTERVAL);
            }
        });
    });
}
