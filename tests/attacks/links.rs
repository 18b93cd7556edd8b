//! Group E over links that fail without a word, and group C over links that are slow: networks of the
//! kernel, each in namespaces of its own.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use kit::{SOON, conserved, eventually};
use sinew::{EndpointOptions, Options, Pull, Push, Rep, Req};

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

/// The far machine starts anew: its namespace and all in it are gone without a word, and come back.
#[test]
fn e12_a_machine_that_starts_anew() {
    elsewhere(name_of(e12_a_machine_that_starts_anew), &[], TWO_ENDS, || {
        let first = far("rep");
        let options = Options::new().resend_interval(Duration::from_millis(500));
        let req = Req::with_options(options).unwrap();
        let often = EndpointOptions::new().reconnect_interval(Duration::from_millis(50));
        req.connect_with("tcp://10.8.0.2:5555", &often).unwrap();
        assert_eq!(req.request_timeout("before", SOON).unwrap(), "before");
        // Without its last words.
        run("ip link set v0 down");
        first.kill();
        run("ip link set v0 up");
        let second = far("rep");
        // What it hears of a connection that it does not know it answers with a reset.
        assert_eq!(req.request_timeout("after", 3 * SOON).unwrap(), "after");
        let stats = conserved(|| req.stats());
        assert!(stats.established_connections >= 2, "{stats}");
        second.kill();
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
        let rate = if is_long() { "8kbit" } else { "64kbit" };
        run(&format!("tc qdisc add dev v0 root tbf rate {rate} burst 2kb limit 4kb"));
        for n in 0..200 {
            push.send(format!("message {n}")).unwrap();
        }
        for n in 0..200 {
            far.say("next");
            assert_eq!(far.told(), format!("message {n}"));
        }
        assert_eq!(push.stats().broken_connections, 0);
        conserved(|| push.stats());
        far.kill();
    });
}
