//! Group E over links that fail without a word, and group C over links that are slow: networks of the
//! kernel, each in namespaces of its own.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use kit::{SOON, conserved, eventually};
use sinew::{DetachReason, EndpointOptions, Options, PipeEventKind, Pull, Push, Rep, Req};

use crate::harness::child::{Process, job, listen, tell};
use crate::harness::elsewhere::{elsewhere, run};
use crate::harness::{is_long, name_of};

/// A link between this namespace, 10.8.0.1, and another, 10.8.0.2, where `ip netns exec far` runs programs.
const TWO_ENDS: &[&str] = &[
    "mount -t tmpfs none /run && mkdir -p /run/netns && ip netns add far",
    "ip link add v0 type veth peer name v1 && ip link set v1 netns far",
    "ip addr add 10.8.0.1/24 dev v0 && ip link set v0 up && ip link set lo up",
    "ip netns exec far ip addr add 10.8.0.2/24 dev v1",
    "ip netns exec far ip link set v1 up && ip netns exec far ip link set lo up",
];

/// At the far end: a REP, or a PULL that tells what it receives.
fn far(job: &str) -> Process {
    let before = "exec ip netns exec far \"$0\" --ignored --exact --nocapture \"$1\"";
    let mut child = Process::start(name_of(part_at_the_far_end), job, before);
    assert_eq!(child.told(), "listens");
    child
}

#[test]
#[ignore = "a part of the tests here: who listens at the far end of a link"]
fn part_at_the_far_end() {
    let Some(job) = job() else { return };
    if job[0] == "rep" {
        let rep = Rep::new();
        rep.bind("tcp://10.8.0.2:5555").unwrap();
        tell("listens");
        loop {
            let request = rep.recv().unwrap();
            let reply = request.message().clone();
            request.reply(reply).unwrap();
        }
    }
    let pull = Pull::new();
    pull.bind("tcp://10.8.0.2:5555").unwrap();
    tell("listens");
    while listen().is_some() {
        tell(&pull.recv().unwrap().to_text());
    }
}

/// A cable that is pulled and put back, while requests are made: the same is asked for again, and answered.
#[test]
fn e10_a_cable_that_is_pulled_and_put_back() {
    elsewhere(name_of(e10_a_cable_that_is_pulled_and_put_back), &[], TWO_ENDS, || {
        let far = far("rep");
        let options = Options::new().resend_interval(Duration::from_millis(500));
        let req = Req::with_options(options).unwrap();
        req.connect("tcp://10.8.0.2:5555").unwrap();
        assert_eq!(req.request_timeout("before", SOON).unwrap(), "before");
        run("ip link set v0 down");
        thread::scope(|scope| {
            let asking = scope.spawn(|| req.request_timeout("meanwhile", 3 * SOON).unwrap());
            eventually("it is asked again", || req.stats().resends > 0);
            run("ip link set v0 up");
            let start = Instant::now();
            assert_eq!(asking.join().unwrap(), "meanwhile");
            eprintln!("answered {:?} after the repair", start.elapsed());
        });
        conserved(|| req.stats());
        far.kill();
    });
}

/// The far machine starts anew: it and its cable are gone without a word, and one that knows of nothing has its address.
#[test]
fn e12_a_machine_that_starts_anew() {
    elsewhere(name_of(e12_a_machine_that_starts_anew), &[], TWO_ENDS, || {
        let first = far("rep");
        let options = Options::new().resend_interval(Duration::from_millis(500));
        let req = Req::with_options(options).unwrap();
        let events = req.events();
        let often = EndpointOptions::new().reconnect_interval(Duration::from_millis(50));
        req.connect_with("tcp://10.8.0.2:5555", &often).unwrap();
        assert_eq!(req.request_timeout("before", SOON).unwrap(), "before");
        kit::attached(&events);
        // Its last words go nowhere: its kernel has no link any more.
        run("ip link del v0");
        first.kill();
        run("ip netns del far && ip netns add far");
        TWO_ENDS[1..].iter().for_each(|line| run(line));
        let second = far("rep");
        for n in 0..10 {
            let question = format!("after {n}");
            assert_eq!(req.request_timeout(&question[..], 3 * SOON).unwrap().to_text(), question);
        }
        // What it hears of a connection that it does not know it answers with a reset.
        // Two I/O threads may tell in either order.
        let kinds = [(); 3].map(|()| kit::next_event(&events));
        let reset = PipeEventKind::Detached(DetachReason::PeerClosed);
        assert!(kinds.contains(&reset), "{kinds:?}");
        let stats = conserved(|| req.stats());
        assert_eq!(stats.established_connections, 2, "{stats}");
        second.kill();
    });
}

/// A name that another machine has from now on: each attempt asks anew.
#[test]
fn e14_a_name_that_changes_its_address() {
    const SETUP: &[&str] = &[
        "ip link set lo up",
        "mount -t tmpfs none /mnt && echo '127.0.0.2 moves' > /mnt/hosts",
        "mount --bind /mnt/hosts /etc/hosts",
    ];
    elsewhere(name_of(e14_a_name_that_changes_its_address), &[], SETUP, || {
        let push = Push::new();
        let often = EndpointOptions::new().reconnect_interval(Duration::from_millis(10));
        let dialer = push.connect_with("tcp://moves:5555", &often).unwrap();
        for machine in ["127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.4"] {
            std::fs::write("/etc/hosts", format!("{machine} moves\n")).unwrap();
            let pull = Pull::new();
            pull.bind(format!("tcp://{machine}:5555")).unwrap();
            push.send_timeout(machine, SOON).unwrap();
            assert_eq!(pull.recv_timeout(SOON).unwrap(), machine);
            assert_eq!(push.peers()[0].remote, format!("tcp://{machine}:5555"));
            pull.close().unwrap();
            let attempts = dialer.status().attempts;
            eventually("it is gone", || dialer.status().attempts > attempts);
        }
        conserved(|| push.stats());
    });
}

/// Connections that the kernel kills one after the other under traffic.
#[test]
fn e13_connections_that_are_killed() {
    elsewhere(name_of(e13_connections_that_are_killed), &[], &["ip link set lo up"], || {
        let pull = Pull::new();
        let url = pull.bind("tcp://127.0.0.1:5555").unwrap().url();
        let often = EndpointOptions::new().reconnect_interval(Duration::from_millis(5));
        let pushes: Vec<Push> = (0..20)
            .map(|_| {
                let push = Push::with_options(Options::new().requeue(true)).unwrap();
                push.connect_with(&url, &often).unwrap();
                push
            })
            .collect();
        pull.wait_for_peers(20, SOON).unwrap();
        for _ in 0..if is_long() { 60 } else { 3 } {
            for push in &pushes {
                let _ = push.send_timeout("x", SOON);
            }
            let killed = Command::new("ss")
                .args(["-K", "dst", "127.0.0.1", "dport", "=", "5555"])
                .output()
                .expect("there is an ss");
            assert!(killed.status.success(), "{killed:?}");
            pull.wait_for_peers(20, SOON).unwrap();
            while pull.try_recv().is_ok() {}
        }
        eprintln!("{} connections were killed", pull.stats().broken_connections);
        assert!(pull.stats().broken_connections >= 20, "the kernel of this machine kills none");
        pushes.iter().for_each(|push| _ = conserved(|| push.stats()));
        conserved(|| pull.stats());
    });
}

/// A link of 8 kbit/s: no limit bites that should not, and all of it comes.
#[test]
fn c12_a_link_that_is_slow() {
    elsewhere(name_of(c12_a_link_that_is_slow), &[], TWO_ENDS, || {
        let mut far = far("pull");
        let push = Push::new();
        push.connect_now("tcp://10.8.0.2:5555").unwrap();
        // In the long form the long message takes 40 s, and so longer than the rest of a message may be awaited.
        let (rate, messages) = if is_long() { ("8kbit", 1000) } else { ("64kbit", 200) };
        run(&format!("tc qdisc add dev v0 root tbf rate {rate} burst 2kb limit 4kb"));
        for n in 0..messages {
            push.send(format!("message {n}")).unwrap();
        }
        push.send("long ".repeat(if is_long() { 8000 } else { 800 })).unwrap();
        for n in 0..messages {
            far.say("next");
            assert_eq!(far.told(), format!("message {n}"));
        }
        far.say("next");
        assert!(far.told().starts_with("long long "));
        assert_eq!(push.stats().broken_connections, 0);
        conserved(|| push.stats());
        far.kill();
    });
}
