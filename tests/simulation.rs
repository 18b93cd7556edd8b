//! The kit for users: simulated networks, under real sockets and a clock of their own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use sinew::testing::{self, Host, Link, Network, block_on, elapsed, seeds, sleep};
use sinew::{
    AddressError, BindError, Bus, Options, Pair, PipeEventKind, Poller, Pub, Pull, Push, RecvError,
    Rep, Req, Respondent, Sub, Surveyor,
};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Waits until the socket has a pipe.
fn attached(events: &sinew::Events) {
    assert_eq!(events.recv().unwrap().kind, PipeEventKind::Attaching);
    assert_eq!(events.recv().unwrap().kind, PipeEventKind::Attached);
}

/// Starts a server on a host, which answers with what it was asked.
fn echo(host: &Host) {
    host.spawn(|| {
        let rep = Rep::new();
        rep.bind("sim://echo").unwrap();
        for request in &rep {
            let question = request.to_vec();
            request.reply(question).unwrap();
        }
    });
}

/// The text of the panic of `run`.
fn panic_of<T>(run: impl FnOnce() -> T) -> String {
    let panic = catch_unwind(AssertUnwindSafe(run)).err().expect("it panics");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast::<&str>().expect("a text")).to_owned(),
    }
}

#[test]
fn an_hour_takes_a_moment() {
    let began = Instant::now();
    let network = Network::new(1);
    network.set_time_limit(HOUR * 24);
    let slept = network.run(|| {
        let pull = Pull::new();
        pull.bind("sim://nobody").unwrap();
        for _ in 0..10 {
            assert!(matches!(pull.recv_timeout(HOUR), Err(RecvError::TimedOut(_))));
        }
        sleep(HOUR);
        elapsed()
    });
    assert!(slept >= HOUR * 11 && slept < HOUR * 11 + Duration::from_secs(1), "{slept:?}");
    assert_eq!(network.elapsed(), slept);
    assert!(began.elapsed() < HOUR);
}

/// Case B6 of the list of attacks: that nothing passes for long is no reason to end a connection.
#[test]
fn a_peer_that_is_silent_for_days_is_still_there() {
    let network = Network::new(6);
    network.set_time_limit(HOUR * 1000);
    let far = network.host("far");
    far.spawn(|| {
        let push = Push::new();
        push.connect("sim://here").unwrap();
        push.send("before").unwrap();
        sleep(HOUR * 99);
        push.send("after").unwrap();
        sleep(HOUR);
    });
    network.run(|| {
        let pull = Pull::new();
        pull.bind("sim://here").unwrap();
        assert_eq!(pull.recv().unwrap(), "before");
        assert_eq!(pull.recv().unwrap(), "after");
        assert!(elapsed() > HOUR * 98);
        let stats = pull.stats();
        assert_eq!((stats.accepted_connections, stats.broken_connections), (1, 0));
    });
}

/// Case E5: after ten minutes in vain the next attempt is no later than the longest pause.
#[test]
fn a_listener_that_was_away_for_long_is_found_soon() {
    const AWAY: Duration = Duration::from_secs(600);
    seeds(0..=9, |seed| {
        let network = Network::new(seed);
        network.set_time_limit(HOUR);
        let far = network.host("far");
        far.spawn(|| {
            sleep(AWAY);
            let pull = Pull::new();
            pull.bind("sim://late").unwrap();
            sleep(HOUR);
        });
        network.run(|| {
            let options = Options::new().reconnect_interval(ms(10)).reconnect_max(ms(1000));
            let push = Push::with_options(options).unwrap();
            let dialer = push.connect("sim://late").unwrap();
            push.wait_for_peers(1, HOUR).unwrap();
            // A pause lasts for two to four thirds of its time, a second on average.
            let late = elapsed() - AWAY;
            assert!(late <= ms(1400), "{late:?}");
            let attempts = dialer.status().attempts;
            assert!((550..=680).contains(&attempts), "{attempts} attempts in ten minutes");
        });
    });
}

#[test]
fn every_protocol_runs_on_it() {
    seeds(0..=9, |seed| {
        let network = Network::new(seed);
        let far = network.host("far");
        echo(&far);
        far.spawn(|| {
            let (push, publisher, pair) = (Push::new(), Pub::new(), Pair::new());
            push.bind("sim://push").unwrap();
            publisher.bind("sim://pub").unwrap();
            pair.bind("sim://pair").unwrap();
            push.send("work").unwrap();
            let talk = pair.recv().unwrap();
            pair.send(talk).unwrap();
            publisher.wait_for_peers(1, HOUR).unwrap();
            publisher.send("news").unwrap();
            sleep(HOUR);
        });
        for name in ["ann", "ben"] {
            far.spawn(move || {
                let respondent = Respondent::new();
                respondent.connect("sim://survey").unwrap();
                for question in &respondent {
                    question.reply(name).unwrap();
                }
            });
        }
        far.spawn(|| {
            let bus = Bus::new();
            bus.connect("sim://bus").unwrap();
            bus.wait_for_peers(1, HOUR).unwrap();
            bus.send("all aboard").unwrap();
            sleep(HOUR);
        });
        network.run(|| {
            let (req, pull, pair, bus) = (Req::new(), Pull::new(), Pair::new(), Bus::new());
            bus.bind("sim://bus").unwrap();
            let sub = Sub::new();
            sub.subscribe("").unwrap();
            let surveyor = Surveyor::with_options(Options::new().survey_deadline(ms(500))).unwrap();
            surveyor.bind("sim://survey").unwrap();
            req.connect("sim://echo").unwrap();
            pull.connect("sim://push").unwrap();
            pair.connect("sim://pair").unwrap();
            sub.connect("sim://pub").unwrap();
            assert_eq!(req.request("?").unwrap(), "?");
            assert_eq!(pull.recv().unwrap(), "work");
            pair.send("talk").unwrap();
            assert_eq!(pair.recv().unwrap(), "talk");
            assert_eq!(sub.recv().unwrap(), "news");
            assert_eq!(bus.recv().unwrap(), "all aboard");
            surveyor.wait_for_peers(2, HOUR).unwrap();
            let mut answers: Vec<_> =
                surveyor.survey("who?").unwrap().map(|answer| answer.to_string()).collect();
            answers.sort();
            assert_eq!(answers, ["ann", "ben"]);
        });
    });
}

/// A little of everything whose order could depend on something else.
fn a_busy_scene(seed: u64) -> u64 {
    a_busy_scene_that_takes(Duration::ZERO, seed)
}

/// The same, with so much time of the machine for each question.
fn a_busy_scene_that_takes(time: Duration, seed: u64) -> u64 {
    let network = Network::new(seed);
    network.set_links(Link::new().cuts(ms(200)));
    for name in ["a", "b", "c"] {
        let host = network.host(name);
        host.spawn(|| {
            let rep = Rep::new();
            rep.connect("sim://balanced").unwrap();
            for request in &rep {
                sleep(ms(request.len() as u64 % 7));
                let question = request.to_vec();
                let _ = request.reply(question);
            }
        });
    }
    let net = network.clone();
    network.run(move || {
        let req = Req::with_options(Options::new().resend_interval(ms(100))).unwrap();
        req.bind("sim://balanced").unwrap();
        let threads: Vec<_> = (0..4usize)
            .map(|n| {
                let req = req.clone();
                testing::spawn(move || {
                    for size in 0..20 {
                        std::thread::sleep(time);
                        let question = vec![n as u8; size * 100];
                        assert_eq!(req.request(&question).unwrap(), question);
                    }
                })
            })
            .collect();
        sleep(ms(30));
        net.partition(&["a"]);
        sleep(ms(300));
        net.heal();
        for thread in threads {
            thread.join().expect("nobody has killed it");
        }
    });
    network.fingerprint()
}

#[test]
fn the_seed_decides_everything() {
    let first: Vec<_> = (0..8).map(a_busy_scene).collect();
    let again: Vec<_> = (0..8).map(a_busy_scene).collect();
    assert_eq!(first, again);
    let distinct: std::collections::BTreeSet<_> = first.iter().collect();
    assert_eq!(distinct.len(), first.len());
}

#[test]
fn how_long_the_machine_takes_changes_nothing() {
    for seed in 0..8 {
        assert_eq!(a_busy_scene(seed), a_busy_scene_that_takes(ms(10), seed), "seed {seed}");
    }
}

#[test]
fn nothing_passes_a_partition_and_nobody_is_told() {
    let network = Network::new(3);
    echo(&network.host("server"));
    let net = network.clone();
    network.run(move || {
        let req = Req::with_options(Options::new().resend_interval(None)).unwrap();
        let events = req.events();
        req.connect("sim://echo").unwrap();
        assert_eq!(req.request("before").unwrap(), "before");
        attached(&events);
        net.partition(&["server"]);
        assert!(req.request_timeout("during", HOUR / 4).is_err());
        assert!(events.try_recv().is_err(), "the connection stands");
        let reunited = elapsed();
        net.heal();
        assert_eq!(req.request("after").unwrap(), "after");
        assert!(elapsed() - reunited < ms(100));
        assert!(events.try_recv().is_err(), "it is the same still");
    });
}

#[test]
fn a_connection_is_not_made_through_a_partition() {
    let network = Network::new(3);
    echo(&network.host("server"));
    network.partition(&["server"]);
    let net = network.clone();
    network.run(move || {
        let req = Req::new();
        let failed = req.connect_now("sim://echo").unwrap_err();
        assert!(elapsed() >= Duration::from_secs(10), "the default of connect_timeout: {failed}");
        net.heal();
        req.connect_now("sim://echo").unwrap();
    });
}

#[test]
fn a_killed_host_is_lost_and_its_successor_found() {
    seeds(0..=19, |seed| {
        let network = Network::new(seed);
        echo(&network.host("server"));
        let net = network.clone();
        network.run(move || {
            let req = Req::new();
            let events = req.events();
            req.connect("sim://echo").unwrap();
            assert_eq!(req.request("one").unwrap(), "one");
            attached(&events);
            net.host("server").kill();
            assert!(matches!(events.recv().unwrap().kind, PipeEventKind::Detached(_)));
            assert!(req.request_timeout("two", ms(500)).is_err());
            echo(&net.host("server"));
            assert_eq!(req.request("three").unwrap(), "three");
        });
    });
}

#[test]
fn the_thread_of_a_killed_host_returns_nothing() {
    let network = Network::new(3);
    let host = network.host("victim");
    let thread = host.spawn(|| sleep(HOUR));
    let other = network.host("other").spawn(|| 7);
    network.run(move || {
        sleep(ms(1));
        host.kill();
        assert_eq!(thread.join(), None);
        assert_eq!(other.join(), Some(7));
    });
}

/// A request is sent again until somebody answers, whatever breaks.
#[test]
fn requests_survive_links_that_break() {
    seeds(0..=9, |seed| {
        let network = Network::new(seed);
        network.set_links(Link::new().latency(ms(1)..=ms(20)).cuts(ms(300)));
        echo(&network.host("one"));
        network.run(|| {
            let req = Req::with_options(Options::new().resend_interval(ms(500))).unwrap();
            req.connect("sim://echo").unwrap();
            for n in 0..50u8 {
                assert_eq!(req.request(&[n]).unwrap(), [n]);
            }
            let stats = req.stats();
            stats.check_conservation().unwrap();
            assert!(stats.broken_connections > 0, "nothing has broken");
        });
    });
}

#[test]
fn a_slow_link_takes_its_time() {
    let network = Network::new(4);
    network.set_link("main", "sink", Link::new().rate(100_000));
    let sink = network.host("sink").spawn(|| {
        let pull = Pull::new();
        pull.bind("sim://sink").unwrap();
        (0..10).map(|_| pull.recv().unwrap().len()).sum::<usize>()
    });
    network.run(move || {
        let push = Push::new();
        push.connect("sim://sink").unwrap();
        (0..10).for_each(|_| push.send(vec![7; 100_000]).unwrap());
        assert_eq!(sink.join(), Some(1_000_000));
        assert!(elapsed() >= Duration::from_secs(10), "{:?}", elapsed());
        assert!(elapsed() < Duration::from_secs(11), "{:?}", elapsed());
    });
}

#[test]
fn what_waits_beside_the_sockets_waits_on_the_same_clock() {
    let network = Network::new(5);
    let far = network.host("far");
    far.spawn(|| {
        let push = Push::new();
        push.bind("sim://push").unwrap();
        for _ in 0..2 {
            sleep(HOUR / 4);
            push.send("late").unwrap();
        }
        sleep(HOUR / 8);
    });
    network.run(|| {
        let pull = Pull::new();
        pull.connect("sim://push").unwrap();
        let poller = Poller::new();
        poller.add_recv(1, &pull).unwrap();
        assert!(poller.wait(ms(100)).is_empty());
        assert_eq!(poller.wait(None), [1]);
        assert!(elapsed() >= HOUR / 4);
        assert_eq!(pull.try_recv().unwrap(), "late");
        assert_eq!(block_on(pull.recv_async()).unwrap(), "late");
        assert!(elapsed() >= HOUR / 2);
    });
}

#[test]
fn what_was_sent_before_a_close_arrives() {
    seeds(0..=9, |seed| {
        let network = Network::new(seed);
        network.host("far").spawn(|| {
            let push = Push::new();
            push.bind("sim://push").unwrap();
            for n in 0..100u8 {
                push.send(&[n]).unwrap();
            }
            push.close().unwrap();
        });
        network.run(|| {
            let pull = Pull::new();
            pull.connect("sim://push").unwrap();
            for n in 0..100u8 {
                assert_eq!(pull.recv().unwrap(), [n]);
            }
        });
    });
}

#[test]
fn only_what_is_simulated_can_be_reached() {
    let network = Network::new(6);
    network.run(|| {
        let pair = Pair::new();
        for url in ["tcp://127.0.0.1:0", "ipc:///tmp/x", "sim://"] {
            let refused = pair.bind(url).unwrap_err();
            assert!(
                matches!(refused, BindError::Address(AddressError::Malformed { .. })),
                "{refused:?}"
            );
        }
        pair.bind("sim://twice").unwrap();
        assert!(matches!(Pair::new().bind("sim://twice"), Err(BindError::AddressInUse { .. })));
        pair.close().unwrap();
        Pair::new().bind("sim://twice").unwrap();
    });
}

#[test]
fn a_simulation_that_cannot_go_on_says_who_waits() {
    let network = Network::new(7);
    let stuck = panic_of(|| network.run(|| Pull::new().recv()));
    assert!(stuck.contains("nothing can happen any more") && stuck.contains("main"), "{stuck}");

    let network = Network::new(8);
    let limit = panic_of(|| {
        network.run(|| {
            let pull = Pull::new();
            pull.connect("sim://nobody").unwrap(); // tries for ever
            pull.recv()
        })
    });
    assert!(limit.contains("not over after 3600s") && limit.contains("seed 8"), "{limit}");
}

#[test]
fn a_panic_in_a_thread_goes_on_where_the_network_runs() {
    let network = Network::new(9);
    network.host("far").spawn(|| panic!("far away"));
    assert_eq!(panic_of(|| network.run(|| sleep(HOUR))), "far away");
    assert_eq!(panic_of(|| Network::new(9).run(|| panic!("near"))), "near");
    assert!(panic_of(|| network.run(|| {})).contains("one run"));
}

#[test]
fn threads_and_sockets_of_two_worlds_do_not_wait_for_each_other() {
    let network = Network::new(10);
    let pull = network.run(|| {
        let pull = Pull::new();
        pull.bind("sim://x").unwrap();
        pull
    });
    assert!(panic_of(|| pull.recv_timeout(ms(10))).contains("not part of the simulation"));

    // With several I/O threads no waiter turns a loop.
    for io_threads in [1, 4] {
        let real = sinew::Runtime::builder().io_threads(io_threads).build().unwrap();
        let outside = Pull::on(&real, Options::new()).unwrap();
        outside.bind("tcp://127.0.0.1:0").unwrap();
        let network = Network::new(11);
        let refused = panic_of(|| network.run(move || drop(outside.recv_timeout(ms(10)))));
        assert!(refused.contains("not part of it"), "{refused}");
    }
}
