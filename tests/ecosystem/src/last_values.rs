//! Last values on a simulated network: caches that start late, sleep, are cut off, and outlive their source.

use std::time::Duration;

use sinew::last_values::{Cache, Source};
use sinew::testing::{Link, Network, block_on, elapsed, seeds, sleep};
use sinew::typed::Format;
use sinew::{Options, Pub, RecvError, Rep, Req, Sub};

const SECOND: Duration = Duration::from_secs(1);
/// A dialer has come back, a beacon has come, and the cache has asked.
const SOON: Duration = Duration::from_secs(4);

/// A source on its own host: sets `item-N` to N and counts `ticks` up, one a tenth of a second, for as long as it lives.
fn start_source(network: &Network, first: u32) {
    network.host("source").spawn(move || {
        let source = Source::<u32>::new().unwrap();
        source.bind("sim://updates", "sim://requests").unwrap();
        for n in 0..50 {
            source.set(&format!("item-{n}"), &(first + n)).unwrap();
        }
        for tick in 0.. {
            source.set("ticks", &(first + tick)).unwrap();
            sleep(SECOND / 10);
        }
    });
}

fn cache(prefix: &str) -> Cache<u32> {
    let mut cache = Cache::new();
    cache.subscribe(prefix).unwrap();
    cache.connect("sim://updates", "sim://requests").unwrap();
    cache
}

/// Follows for so long.
fn follow(cache: &mut Cache<u32>, time: Duration) {
    let until = elapsed() + time;
    while let Some(left) = until.checked_sub(elapsed()).filter(|left| !left.is_zero()) {
        match cache.recv_timeout(left) {
            Ok(_) | Err(RecvError::TimedOut(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Whether the ticks are about those of a source that began then.
fn has_ticked(cache: &Cache<u32>, first: u32, began: Duration) {
    let ticks = (elapsed() - began).as_millis() / 100;
    let seen = u128::from(*cache.value("ticks").unwrap() - first);
    assert!(seen <= ticks && seen + 3 >= ticks, "{seen} of {ticks}");
}

#[test]
fn a_cache_has_all_values_however_late_it_starts_and_long_it_sleeps() {
    seeds(0..=2, |seed| {
        let network = Network::new(seed);
        start_source(&network, 0);
        network.run(|| {
            sleep(10 * SECOND);
            let mut cache = cache("");
            assert!(cache.recv().unwrap().filled, "it was set long ago");
            follow(&mut cache, SECOND);
            assert_eq!(cache.values().count(), 51);
            assert_eq!(cache.value("item-49"), Some(&49));
            has_ticked(&cache, 0, Duration::ZERO);

            // Longer than the queues last, were it not for one value of each topic.
            sleep(120 * SECOND);
            follow(&mut cache, SECOND);
            has_ticked(&cache, 0, Duration::ZERO);
            assert!(cache.missed() > 0, "it has seen that there was more");
            assert_eq!(cache.ignored(), 0);
        });
    });
}

#[test]
fn a_cache_that_is_cut_off_catches_up() {
    seeds(0..=9, |seed| {
        let network = Network::new(seed);
        network.set_link("main", "source", Link::new().cuts(7 * SECOND));
        start_source(&network, 0);
        let net = network.clone();
        network.run(move || {
            let mut cache = cache("");
            for _ in 0..10 {
                follow(&mut cache, 3 * SECOND);
                net.partition(&["source"]);
                follow(&mut cache, 5 * SECOND);
                net.heal();
            }
            net.set_link("main", "source", Link::new());
            net.cut("main", "source");
            follow(&mut cache, SOON);
            assert_eq!(cache.values().count(), 51);
            has_ticked(&cache, 0, Duration::ZERO);
        });
    });
}

#[test]
fn a_cache_goes_over_to_a_source_that_has_begun_anew() {
    seeds(0..=9, |seed| {
        let network = Network::new(seed);
        start_source(&network, 0);
        let net = network.clone();
        network.run(move || {
            let mut cache = cache("");
            follow(&mut cache, SOON);
            net.host("source").kill();
            follow(&mut cache, SOON);
            assert_eq!(cache.value("item-1"), Some(&1), "the last that was heard of it");
            let began = elapsed();
            start_source(&net, 1000);
            follow(&mut cache, SOON);
            assert_eq!(cache.value("item-1"), Some(&1001));
            has_ticked(&cache, 1000, began);
        });
    });
}

/// Of topics it gets those that it wants, in a task too.
#[test]
fn a_cache_of_some_topics_has_no_others() {
    let network = Network::new(5);
    start_source(&network, 0);
    network.run(|| {
        let mut cache = cache("item-1");
        cache.subscribe("item-2").unwrap();
        // 1, 10 to 19, 2 and 20 to 29.
        let mut updates = 0;
        while updates < 22 {
            let update = block_on(cache.recv_async()).unwrap();
            assert!(update.topic.starts_with("item-1") || update.topic.starts_with("item-2"));
            updates += 1;
        }
        follow(&mut cache, SOON);
        assert_eq!(cache.values().count(), 22);
        assert_eq!(cache.try_recv(), Err(RecvError::WouldBlock));
    });
}

/// More than one answer holds, and a queue that loses most of what is published.
#[test]
fn a_gap_of_any_size_is_filled_by_asking() {
    let network = Network::new(6);
    let publisher = || Pub::with_options(Options::new().send_queue(4)).unwrap();
    network.host("source").spawn(move || {
        let source = Source::<String>::with(publisher(), Rep::new(), Format::new()).unwrap();
        source.bind("sim://updates", "sim://requests").unwrap();
        sleep(SECOND);
        for n in 0..300 {
            source.set(&format!("item-{n}"), &format!("{n}").repeat(4000)).unwrap();
        }
        sleep(600 * SECOND);
    });
    network.run(|| {
        let sub = Sub::with_options(Options::new().sub_queue(4)).unwrap();
        let mut cache = Cache::<String>::with(sub, Req::new(), Format::new());
        cache.subscribe("item").unwrap();
        cache.connect("sim://updates", "sim://requests").unwrap();
        let mut filled = 0;
        while cache.values().count() < 300 {
            filled += usize::from(cache.recv_timeout(60 * SECOND).unwrap().filled);
        }
        assert!(filled > 100, "{filled} came by asking");
        assert_eq!(cache.value("item-299").map(String::len), Some(12_000));
        assert_eq!(cache.ignored(), 0);
    });
}
