//! Group D: what runs out.

use std::thread;
use std::time::Duration;

use kit::{SOON, Transport, eventually};
use sinew::{
    BindError, Options, Pair, Poller, Pub, Pull, Push, Rep, Req, Runtime, RuntimeError, Sub,
};

use crate::harness::census::{Census, allocated};
use crate::harness::child::{Process, job};
use crate::harness::{allow_descriptors, alone, name_of, times};

/// Without descriptors nothing half-made is left, and each call says what is missing.
#[test]
fn d02_no_descriptor_for_anything() {
    let _turn = alone();
    Process::start(name_of(part_without_descriptors), "no-descriptors", "ulimit -n 40").succeeded();
}

#[test]
#[ignore = "a part of the test above, with few descriptors"]
fn part_without_descriptors() {
    if job().is_none() {
        return;
    }
    const WORDS: &str = "Too many open files";
    let early = Pair::new();
    let url = early.bind("tcp://127.0.0.1:0").unwrap().url();
    let take_all = || std::iter::from_fn(|| std::fs::File::open("/dev/null").ok());
    let mut taken: Vec<_> = take_all().collect();
    let sockets: Vec<Pair> = (0..10).map(|_| Pair::new()).collect();
    for n in 0..60 {
        // A thread that starts reads how many processors it may use, and so has a file open for a moment.
        taken.extend(take_all());
        let said = match n % 5 {
            0 => Runtime::new().map(drop).unwrap_err().to_string(),
            1 => sockets[0].bind("tcp://127.0.0.1:0").map(drop).unwrap_err().to_string(),
            2 => sockets[1].connect_now(&url).map(drop).unwrap_err().to_string(),
            3 => sockets[2].recv_readiness().map(drop).unwrap_err().to_string(),
            _ => sockets[3].bind("ipc:///tmp/sinew-none").map(drop).unwrap_err().to_string(),
        };
        assert!(said.contains(WORDS), "{n}: {said}");
    }
    // Each free descriptor is enough for a part only, of which nothing is left.
    for free in 1..8 {
        taken.truncate(taken.len() - free);
        let made = Runtime::new();
        eprintln!("{free} free: {:?}", made.as_ref().map(drop).map_err(ToString::to_string));
        drop(made);
        let mut parts: Vec<std::fs::File> = Vec::new();
        eventually("none is kept", || {
            parts.extend(take_all());
            parts.len() >= free
        });
        taken.extend(parts);
    }
    assert!(!std::path::Path::new("/tmp/sinew-none").exists());
    drop((taken, sockets));
    let (one, other) = (Pair::new(), Pair::new());
    one.connect(&url).unwrap();
    early.wait_for_peers(1, SOON).unwrap();
    other.bind("tcp://127.0.0.1:0").unwrap();
    one.send_timeout("there", SOON).unwrap();
    assert_eq!(early.recv_timeout(SOON).unwrap(), "there");
}

/// No memory for the stack of a thread.
#[test]
fn d06_no_thread() {
    let _turn = alone();
    Process::start(name_of(part_without_threads), "no-threads", "").succeeded();
}

#[test]
#[ignore = "a part of the test above, with little memory"]
fn part_without_threads() {
    use nix::sys::resource::{Resource, setrlimit};
    if job().is_none() {
        return;
    }
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
    let most = pages * 4096 + (1 << 20);
    setrlimit(Resource::RLIMIT_AS, most, nix::sys::resource::RLIM_INFINITY).unwrap();
    let pair = Pair::new();
    let failed = Runtime::new().map(drop);
    let bound = pair.bind("tcp://127.0.0.1:0").map(drop);
    setrlimit(Resource::RLIMIT_AS, u64::MAX, u64::MAX).unwrap();
    assert!(matches!(failed, Err(RuntimeError::Start { .. })), "{failed:?}");
    assert!(matches!(bound, Err(BindError::Runtime(_))), "{bound:?}");
    pair.bind("tcp://127.0.0.1:0").expect("it is tried again");
}

/// Many topics: they cost little more than their bytes, and all of it is given back.
#[test]
fn d09_many_topics() {
    let _turn = alone();
    let sub = Sub::new();
    sub.subscribe("first").unwrap();
    let before = Census::settled();
    let count = times(100_000, 1_000_000);
    let mut order: Vec<usize> = (0..count).collect();
    let held = Census::now().bytes;
    let topic = |n: usize| format!("{:032x}", (n as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for n in 0..count {
        sub.subscribe(topic(n)).unwrap();
    }
    let each = (allocated() - held) / count;
    eprintln!("{each} bytes for each topic of 32");
    assert!(each <= 96 + 32, "{each} bytes for each topic of 32");
    let mut dice = kit::Dice(9);
    for n in (1..count).rev() {
        order.swap(n, dice.roll(n as u64 + 1) as usize);
    }
    for n in order {
        sub.unsubscribe(topic(n)).unwrap();
    }
    before.is_back(0);
    assert!(sub.unsubscribe(topic(1)).is_err());
}

/// A topic of a megabyte, and topics that each begin with the one before, on a small stack.
#[test]
fn d10_deep_topics_on_a_small_stack() {
    let _turn = alone();
    let small = thread::Builder::new().stack_size(64 << 10);
    let deep = small.spawn(|| {
        let (publisher, sub) = (Pub::new(), Sub::new());
        let url = Transport::Inproc.address().url;
        publisher.bind(&url).unwrap();
        sub.connect_now(&url).unwrap();
        let long = vec![7; 1 << 20];
        sub.subscribe(&long).unwrap();
        sub.unsubscribe(&long).unwrap();
        let count = times(2_500, 30_000);
        let topic = vec![7; count];
        for n in 0..count {
            sub.subscribe(&topic[..n]).unwrap();
        }
        sub.unsubscribe("").unwrap();
        publisher.send(topic.clone()).unwrap();
        assert_eq!(sub.recv_timeout(SOON).unwrap().len(), count);
        for n in (1..count).rev() {
            sub.unsubscribe(&topic[..n]).unwrap();
        }
        publisher.send(topic).unwrap();
        kit::timed_out(sub.recv_timeout(Duration::from_millis(50)));
    });
    deep.unwrap().join().expect("the stack is large enough");
}

/// Every kind of call on a thread with a small stack.
#[test]
fn d15_calls_on_a_small_stack() {
    let _turn = alone();
    let small = thread::Builder::new().stack_size(64 << 10);
    let calls = small.spawn(|| {
        for transport in Transport::ALL {
            let (rep, req, address) = (Rep::new(), Req::new(), transport.address());
            let url = rep.bind(&address.url).unwrap().url();
            req.connect_now(&url).unwrap();
            let context = req.context();
            context.send("?").unwrap();
            rep.recv_timeout(SOON).unwrap().reply("!").unwrap();
            assert_eq!(context.recv_timeout(SOON).unwrap(), "!");
            let (push, pull) = (Push::new(), Pull::new());
            let address = transport.address();
            let url = pull.bind(&address.url).unwrap().url();
            push.connect_now(&url).unwrap();
            let poller = Poller::new();
            poller.add_recv(1, &pull).unwrap();
            push.send(vec![7; 1 << 20]).unwrap();
            assert_eq!(poller.wait(SOON), [1]);
            let readiness = pull.recv_readiness().unwrap();
            assert!(readiness.is_ready());
            assert_eq!(pull.recv().unwrap().len(), 1 << 20);
            let events = pull.events();
            let snapshot = format!("{} {:?} {:?}", pull.stats(), pull.peers(), pull.endpoints());
            assert!(!snapshot.is_empty());
            pull.set_options(Options::new()).unwrap();
            push.drain(SOON);
            push.close().unwrap();
            eventually("it is told", || events.try_recv().is_ok());
        }
    });
    calls.unwrap().join().expect("the stack is large enough");
}

/// Whole lives of sockets in a process whose system calls fail at any moment: every step may fail with its
/// error, and none may hang or panic. Afterwards, without failures, everything works.
///
/// `ci/attacks` runs it under strace, which injects the failures, and ends with the second half.
#[test]
#[ignore = "a part of ci/attacks, which has system calls fail"]
fn part_with_failing_calls() {
    let Some(job) = job() else { return };
    let soon = Duration::from_millis(100);
    let rounds: usize = job[1].parse().unwrap();
    let mut last = Ok(());
    for round in 0..rounds {
        let transport = Transport::STREAMS[round % 2];
        let (push, pull, address) = (Push::new(), Pull::new(), transport.address());
        let failed = (|| {
            let url = pull.bind(&address.url).map_err(|error| error.to_string())?.url();
            push.connect_now(&url).map_err(|error| error.to_string())?;
            let watch = pull.recv_readiness().map_err(|error| error.to_string())?;
            for size in [10, 100_000] {
                push.send_timeout(vec![7; size], soon).map_err(|error| error.to_string())?;
                pull.recv_timeout(soon).map_err(|error| error.to_string())?;
            }
            drop(watch);
            push.set_options(Options::new()).map_err(|error| error.to_string())?;
            Ok::<(), String>(())
        })();
        if let Err(error) = &failed {
            eprintln!("round {round}: {error}");
        }
        last = failed;
        push.drain(soon);
        let _ = (push.close(), pull.close());
        kit::conserved(|| push.stats());
        kit::conserved(|| pull.stats());
    }
    // By then all calls succeed again, unless they fail again and again.
    if job.get(2).is_none() {
        last.expect("nothing is left of what has failed");
    }
}

/// A listener whose calls of accept fail so often: each failure is counted, and all peers are served.
#[test]
#[ignore = "a part of ci/attacks, which has accept fail"]
fn part_where_accept_fails() {
    let Some(job) = job() else { return };
    let pull = Pull::new();
    let url = pull.bind("tcp://127.0.0.1:0").unwrap().url();
    for n in 0..20_u8 {
        let mut raw = kit::Raw::greet(&url, 0x50, 0x51);
        raw.send_frame(&[n]);
        assert_eq!(pull.recv_timeout(SOON).unwrap(), [n]);
    }
    assert_eq!(pull.stats().accept_errors.to_string(), job[1]);
    kit::conserved(|| pull.stats());
}

/// Thousands of sockets, each with a connection: they share the threads, and give back what they took.
#[test]
fn d08_sockets_by_the_thousand() {
    let _turn = alone();
    allow_descriptors();
    let pairs = times(500, 5_000);
    let before = Census::settled();
    let joined: Vec<_> = (0..pairs)
        .map(|n| {
            let (one, other) = (Pair::new(), Pair::new());
            let url = format!("inproc://d08-{n}");
            one.bind(&url).unwrap();
            other.connect_now(&url).unwrap();
            one.send("there").unwrap();
            assert_eq!(other.recv_timeout(SOON).unwrap(), "there");
            (one, other)
        })
        .collect();
    let each = (allocated() - before.bytes) / (2 * pairs);
    eprintln!("{each} bytes for each socket with a connection");
    assert!(each <= 6 << 10, "{each} bytes for each socket with a connection");
    before.has_no_more_threads();
    drop(joined);
    before.is_back(pairs << 8);
}
