//! Networks that swallow packets: each test makes one of its own, in namespaces of the kernel that end with
//! it. A test that may not make them says that it is skipped.
#![cfg(target_os = "linux")]

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::name_of;
use kit::{SOON, TempDir, attached, descriptors, eventually};
use sinew::{
    DetachReason, EndpointOptions, EndpointState, Events, Options, Pair, PipeEventKind, Pull, Push,
};

/// Set in the child, which is in namespaces of its own.
const INSIDE: &str = "SINEW_TEST_INSIDE";
/// How many seconds the outage takes; the default is for every day.
const OUTAGE: &str = "SINEW_TEST_OUTAGE";
/// Set by `ci/attacks`, which has the time to wait.
const LONG: &str = "SINEW_TEST_LONG";

/// Runs `scene` in namespaces of its own, where `setup` was run and `/etc/hosts` says `hosts`.
#[track_caller]
fn elsewhere(test: &str, hosts: &str, setup: &[&str], scene: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        for line in setup {
            ip(line);
        }
        return scene();
    }
    let Some(mut unshare) = unshare() else { return };
    let dir = TempDir::new();
    fs::write(dir.path("hosts"), hosts).unwrap();
    let script = "mount --bind \"$0\" /etc/hosts && exec \"$1\" --exact \"$2\" --nocapture";
    let status = unshare
        .args(["sh", "-c", script])
        .args([&dir.path("hosts"), &std::env::current_exe().expect("a test is a file")])
        .arg(test)
        .env(INSIDE, "1")
        .status()
        .expect("it was run before");
    assert!(status.success(), "the child failed: see above");
}

/// The command that runs another in namespaces of its own, if that is permitted.
fn unshare() -> Option<Command> {
    for tool in ["unshare", "ip"] {
        let there = Command::new(tool).arg("-V").stdout(Stdio::null()).status();
        if there.is_err() {
            assert!(std::env::var_os("CI").is_none(), "{tool} is missing");
            kit::skipped(&format!("{tool} is missing"));
            return None;
        }
    }
    let ways: [&[&str]; 2] =
        [&["--net", "--mount"], &["--user", "--map-root-user", "--net", "--mount"]];
    for way in ways {
        let mut probe = Command::new("unshare");
        probe.args(way).args(["ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"]);
        if probe.stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            let mut unshare = Command::new("unshare");
            unshare.args(way);
            return Some(unshare);
        }
    }
    kit::skipped("network namespaces with veth links are not permitted here");
    None
}

#[track_caller]
fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("there is an ip");
    assert!(status.success(), "ip {arguments}");
}

/// A link to a network in which 10.9.9.2 and fd00:9::2 swallow all that is sent to them.
const SWALLOWING: [&str; 8] = [
    "link set lo up",
    "link add v0 type veth peer name v1",
    "addr add 10.9.9.1/24 dev v0",
    "addr add fd00:9::1/64 dev v0 nodad",
    "link set v0 up",
    "link set v1 up",
    "neigh add 10.9.9.2 lladdr 02:00:00:00:00:09 dev v0 nud permanent",
    "neigh add fd00:9::2 lladdr 02:00:00:00:00:09 dev v0 nud permanent",
];

/// C471.
#[test]
fn an_address_that_swallows_all_holds_up_the_others_for_a_moment() {
    let test = name_of(an_address_that_swallows_all_holds_up_the_others_for_a_moment);
    let hosts = "127.0.0.1 localhost\nfd00:9::2 both\n127.0.0.1 both\n";
    elsewhere(test, hosts, &SWALLOWING, || {
        let (left, right) = (Pair::new(), Pair::new());
        let bound = left.bind("tcp://127.0.0.1:0").unwrap().url();
        let url = bound.replace("127.0.0.1", "both");
        let forever = EndpointOptions::new().connect_timeout(None);
        let start = Instant::now();
        right.connect_now_with(&url, &forever).unwrap();
        let took = start.elapsed();
        eprintln!("connected after {took:?}");
        // Which is asked first is the resolver's choice; by the kernel alone it would be 130 s.
        assert!(took < Duration::from_secs(5), "{took:?}");
        right.send("there").unwrap();
        assert_eq!(left.recv_timeout(SOON).unwrap(), "there");
    });
}

/// C472.
#[test]
fn closing_leaves_no_descriptor_of_what_was_on_the_way() {
    let test = name_of(closing_leaves_no_descriptor_of_what_was_on_the_way);
    let hosts = "127.0.0.1 localhost\nfd00:9::2 lost\n10.9.9.2 lost\n";
    elsewhere(test, hosts, &SWALLOWING, || {
        let pair = Pair::new();
        pair.bind("tcp://127.0.0.1:0").unwrap();
        for close_socket in [false, true] {
            let before = descriptors();
            let socket = Pair::new();
            let endpoint = socket.connect("tcp://lost:5555").unwrap();
            eventually("both are asked, the first again", || descriptors() >= before + 3);
            if close_socket {
                socket.close().unwrap()
            } else {
                endpoint.close().unwrap()
            }
            drop(socket);
            eventually("no descriptor is left", || descriptors() <= before);
        }
    });
}

/// C470. By its own repetitions alone the kernel would knock 7 and 15 s after the first time.
#[test]
fn the_return_of_a_network_is_noticed_soon() {
    let test = name_of(the_return_of_a_network_is_noticed_soon);
    elsewhere(test, "127.0.0.1 localhost\n", &SWALLOWING, || {
        let outage = std::env::var(OUTAGE).map_or(8.0, |seconds| seconds.parse().unwrap());
        let every_day = std::env::var_os(OUTAGE).is_none();
        let (left, right) = (Pair::new(), Pair::new());
        let bound = left.bind("tcp://0.0.0.0:0").unwrap().url();
        let url = bound.replace("0.0.0.0", "10.9.9.2");
        // One attempt for the whole outage, so that nothing but asking again can help.
        let options = if every_day {
            EndpointOptions::new().connect_timeout(None)
        } else {
            EndpointOptions::new()
        };
        let endpoint = right.connect_with(&url, &options).unwrap();
        thread::sleep(Duration::from_secs_f64(outage));
        assert_ne!(endpoint.status().state, EndpointState::Connected);

        ip("addr add 10.9.9.2/32 dev lo");
        let back = Instant::now();
        right.wait_for_peers(1, SOON).expect("the network is back");
        let took = back.elapsed();
        eprintln!("connected {took:?} after an outage of {outage} s, {}", endpoint.status());
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert!(!every_day || endpoint.status().attempts == 1);
    });
}

/// C604. By itself the kernel of the busy ones would go on for a quarter of an hour, and that of the idle one
/// forever. The long form waits as long as the default has it.
#[test]
fn a_peer_behind_a_cut_line_is_lost_when_it_was_silent_for_too_long() {
    let test = name_of(a_peer_behind_a_cut_line_is_lost_when_it_was_silent_for_too_long);
    elsewhere(test, "127.0.0.1 localhost\n", &SWALLOWING, || {
        ip("addr add 10.9.9.2/32 dev lo");
        let pull = Pull::new();
        // It must not say anything from its side of the cut.
        let patient = EndpointOptions::new().tcp_keepalive(None);
        let bound = pull.bind_with("tcp://0.0.0.0:0", &patient).unwrap().url();
        let url = bound.replace("0.0.0.0", "10.9.9.2");
        let options = match std::env::var_os(LONG) {
            Some(_) => Options::new(),
            None => Options::new().tcp_keepalive(Duration::from_secs(2)),
        };
        let limit = options.settings().tcp_keepalive.expect("there is one by default");
        let [idle, busy, late] = [(); 3].map(|()| {
            let push = Push::with_options(options.clone()).unwrap();
            let events = push.events();
            push.connect(&url).unwrap();
            attached(&events);
            push.send("there").unwrap();
            assert_eq!(pull.recv_timeout(SOON).unwrap(), "there");
            (push, events)
        });

        ip("addr del 10.9.9.2/32 dev lo");
        let cut = Instant::now();
        let lost = |name: &str, (push, events): (Push, Events)| {
            let event = events.recv_timeout(2 * limit + SOON).expect("it is lost").kind;
            let after = cut.elapsed();
            let ratio = after.as_secs_f64() / limit.as_secs_f64();
            eprintln!("{name}: lost {after:?} after the cut, {ratio:.2} times {limit:?}");
            assert_eq!(event, PipeEventKind::Detached(DetachReason::Silent), "{name}");
            push.close().unwrap();
        };
        thread::scope(|scope| {
            busy.0.send("is anybody there?").unwrap();
            scope.spawn(|| lost("busy since the cut", busy));
            scope.spawn(|| lost("idle", idle));
            // Nothing happens meanwhile, and no event tells of that.
            thread::sleep(limit * 2 / 5);
            late.0.send("is anybody there?").unwrap();
            lost("busy later", late);
        });
        assert_eq!(pull.peers().len(), 3, "nobody told it");
    });
}

/// C368.
#[test]
fn an_interface_is_known_by_its_name() {
    let test = name_of(an_interface_is_known_by_its_name);
    elsewhere(test, "127.0.0.1 localhost\n", &SWALLOWING, || {
        let (left, right) = (Pair::new(), Pair::new());
        let later = "tcp://[fe80::9%later]:5555";
        let endpoint = right.connect(later).unwrap();
        eventually("there is no such interface", || endpoint.status().last_error.is_some());

        ip("link add later type veth peer name later1");
        ip("addr add fe80::9/64 dev later nodad");
        ip("link set later up");
        ip("link set later1 up");
        let bound = left.bind(later).unwrap();
        assert_eq!(bound.url(), later);
        right.wait_for_peers(1, SOON).expect("the interface is there");
        right.send("there").unwrap();
        assert_eq!(left.recv_timeout(SOON).unwrap(), "there");
    });
}
