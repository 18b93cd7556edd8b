//! What sockets have counted, in a registry of prometheus-client.

use std::collections::BTreeSet;

use prometheus_client::registry::Registry;
use sinew::metrics::{Collector, Metrics};
use sinew::{Options, Pull, Push};

/// The samples of a page, whose order is no matter.
fn samples(page: &str) -> BTreeSet<&str> {
    page.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn a_registry_of_prometheus_has_the_samples_of_the_page() {
    let push = Push::with_options(Options::new().name("a \"quoted\\\nname\"")).unwrap();
    let (pull, other) = (Pull::new(), Pull::new());
    pull.bind("inproc://collector").unwrap();
    push.connect("inproc://collector").unwrap();
    push.send("work").unwrap();
    pull.recv().unwrap();
    other.close().unwrap();

    let mut registry = Registry::default();
    let collector = Collector::new().socket(push.clone()).socket(pull.clone());
    registry.register_collector(Box::new(collector.sockets([Box::new(other.clone()) as _])));
    let mut collected = String::new();
    prometheus_client::encoding::text::encode(&mut collected, &registry).unwrap();
    let page = Metrics::new().socket(&push).socket(&pull).socket(&other).to_string();
    assert_eq!(samples(&collected), samples(&page));
    assert!(samples(&page).len() > 100);
    assert!(collected.contains("# TYPE sinew_messages_sent counter\n"), "{collected}");
    assert!(collected.ends_with("# EOF\n"));
}
