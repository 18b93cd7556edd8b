//! Several I/O threads in one runtime: connections spread over them, and nothing else changes.
//!
//! One of these tests counts the descriptors and threads of the process. So they run one at a time, and
//! each on runtimes of its own, which leave nothing when they are gone.

use std::collections::{BTreeMap, HashMap};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex, MutexGuard, Once};
use std::thread;
use std::time::Duration;

#[cfg(target_os = "linux")]
use kit::descriptors;
use kit::sockets::Listed;
use kit::{
    Raw, RawListener, SOON, SetOnDrop, Transport, attached, conserved, detached, eventually, header,
};
use sinew::role::{Receives, Sends};
use sinew::{
    ConnectError, DetachReason, EndpointOptions, Message, OptionError, Options, Pair, Pair1, Pull,
    Push, Rep, Req, Runtime, RuntimeError, Socket, Surveyor,
};

const PUSH: u8 = 0x50;
const PULL: u8 = 0x51;

fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    let alone = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // They end, and close what they have, after the test that has dropped their runtime.
    eventually("the loops of the test before are gone", || io_threads() == 0);
    alone
}

fn runtime(threads: usize) -> Runtime {
    Runtime::builder().io_threads(threads).thread_name("io").build().unwrap()
}

/// How many peers a socket was given on each thread, by its name.
type Places = BTreeMap<String, usize>;

/// Notes where sockets are given their peers: the loop that has the connection says so in the log.
struct Noting(Mutex<BTreeMap<String, Places>>);

static NOTING: Noting = Noting(Mutex::new(BTreeMap::new()));

impl log::Log for Noting {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let words = record.args().to_string();
        if let Some((socket, _)) = words.split_once(": ").filter(|(_, it)| it.contains(" is there"))
        {
            let thread = thread::current().name().expect("I/O threads have names").to_owned();
            let mut sockets = self.0.lock().unwrap();
            *sockets.entry(socket.to_owned()).or_default().entry(thread).or_default() += 1;
        }
    }

    fn flush(&self) {}
}

/// Options of a socket with that name, which must be its own; it is noted where it is given peers.
fn noting(name: &str) -> Options {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&NOTING).unwrap();
        log::set_max_level(log::LevelFilter::Debug);
    });
    Options::new().name(name)
}

/// Waits until the socket was given as many peers as expected: the log has it last.
#[track_caller]
fn assert_noted(name: &str, expected: Vec<(String, usize)>) {
    let all = expected.iter().map(|(_, count)| count).sum();
    let noted = || NOTING.0.lock().unwrap().get(name).cloned().unwrap_or_default();
    eventually("all are noted", || noted().values().sum::<usize>() >= all);
    assert_eq!(noted().into_iter().collect::<Vec<_>>(), expected);
}

fn evenly(names: &[&str], count: usize) -> Vec<(String, usize)> {
    names.iter().map(|name| ((*name).to_owned(), count)).collect()
}

const FOUR: [&str; 4] = ["io", "io-2", "io-3", "io-4"];

#[test]
fn accepted_connections_spread_over_the_threads_and_each_keeps_its_order() {
    const PEERS: usize = 8;
    const MESSAGES: u32 = 3000;
    let _alone = alone();
    for transport in Transport::STREAMS {
        let (elsewhere, runtime) = (runtime(1), runtime(4));
        let name = format!("spreading over {transport:?}");
        let pull = Pull::on(&runtime, noting(&name)).unwrap();
        let address = transport.address();
        let endpoint = pull.bind(&address.url).unwrap();
        // None sends, and is gone, before all are seen.
        let all_are_there = Barrier::new(PEERS + 1);
        thread::scope(|scope| {
            for _ in 0..PEERS {
                scope.spawn(|| {
                    let push = Push::on(&elsewhere, Options::new()).unwrap();
                    push.connect(endpoint.url()).unwrap();
                    all_are_there.wait();
                    for n in 0..MESSAGES {
                        push.send_timeout(n.to_be_bytes().to_vec(), SOON).unwrap();
                    }
                    assert_eq!(push.drain(SOON), 0);
                    conserved(|| push.stats());
                });
            }
            let seen = pull.wait_for_peers(PEERS, SOON);
            let connections = runtime.connections();
            all_are_there.wait();
            seen.unwrap();
            assert_eq!(connections, [PEERS / 4; 4]);
            let mut next = HashMap::new();
            for _ in 0..PEERS as u32 * MESSAGES {
                let message = pull.recv_timeout(SOON).unwrap();
                let next = next.entry(message.pipe().unwrap()).or_insert(0_u32);
                assert_eq!(message, next.to_be_bytes());
                *next += 1;
            }
            assert_eq!(next.len(), PEERS);
        });
        assert_noted(&name, evenly(&FOUR, PEERS / 4));
        eventually("all are gone", || runtime.connections() == [0; 4]);
        conserved(|| pull.stats());
    }
}

#[test]
fn each_of_two_listeners_spreads_its_peers_though_they_come_by_turns() {
    let _alone = alone();
    let runtime = runtime(2);
    let names = ["the first", "the second"];
    let pulls = names.map(|name| Pull::on(&runtime, noting(name)).unwrap());
    let urls = pulls.each_ref().map(|pull| pull.bind("tcp://127.0.0.1:0").unwrap().url());
    let mut peers = Vec::new();
    for count in 1..=4 {
        for (pull, url) in pulls.iter().zip(&urls) {
            peers.push(Raw::greet(url, PUSH, PULL));
            pull.wait_for_peers(count, SOON).unwrap();
        }
    }
    assert_eq!(runtime.connections(), [4, 4]);
    for name in names {
        assert_noted(name, evenly(&FOUR[..2], 2));
    }
}

#[test]
fn a_new_connection_goes_where_the_fewest_are() {
    let _alone = alone();
    let runtime = runtime(3);
    let pull = Pull::on(&runtime, Options::new()).unwrap();
    let url = pull.bind("tcp://127.0.0.1:0").unwrap().url();
    let mut peers: Vec<_> = (1..=6)
        .map(|count| {
            let peer = Raw::greet(&url, PUSH, PULL);
            pull.wait_for_peers(count, SOON).unwrap();
            peer
        })
        .collect();
    assert_eq!(runtime.connections(), [2; 3]);
    // Those that came in one round are on three threads; one thread loses both of its own.
    drop((peers.remove(3), peers.remove(0)));
    eventually("they are gone", || runtime.connections().iter().sum::<usize>() == 4);
    assert!(runtime.connections().contains(&0));
    for _ in 0..2 {
        peers.push(Raw::greet(&url, PUSH, PULL));
        pull.wait_for_peers(peers.len(), SOON).unwrap();
    }
    assert_eq!(runtime.connections(), [2; 3]);
}

#[test]
fn a_peer_that_is_lost_on_any_thread_is_dialed_again() {
    let _alone = alone();
    let (runtime, name) = (runtime(4), "dialing");
    let push = Push::on(&runtime, noting(name)).unwrap();
    let events = push.events();
    let often = EndpointOptions::new().reconnect_interval(Duration::from_millis(10));
    let servers = [(); 4].map(|()| RawListener::new());
    let mut peers = Vec::new();
    let mut endpoints = Vec::new();
    let answer = |server: &RawListener| {
        let mut peer = server.accept();
        peer.send(&header(PULL));
        attached(&events);
        peer
    };
    for server in &servers {
        endpoints.push(push.connect_with(server.url(), &often).unwrap());
        peers.push(answer(server));
    }
    assert_eq!(runtime.connections(), [1; 4]);
    assert_noted(name, evenly(&FOUR, 1));
    for round in 2..=4 {
        for (server, peer) in servers.iter().zip(&mut peers) {
            let lost = std::mem::replace(peer, Raw::accepted(pair_of_streams().0));
            drop(lost);
            assert_eq!(detached(&events), DetachReason::PeerClosed);
            *peer = answer(server);
        }
        assert_eq!(runtime.connections(), [1; 4]);
        assert_noted(name, evenly(&FOUR, round));
    }
    for endpoint in &endpoints {
        assert_eq!((endpoint.status().attempts, endpoint.status().peers), (4, 1));
    }
    // By our own hand, too.
    for (server, peer) in servers.iter().zip(&mut peers) {
        let pipe = push.peers().iter().find(|p| p.remote == server.url()).unwrap().pipe;
        push.disconnect(pipe).unwrap();
        assert_eq!(detached(&events), DetachReason::ClosedHere);
        assert_eq!(peer.read_to_end(), header(PUSH));
        *peer = answer(server);
    }
    conserved(|| push.stats());
}

fn pair_of_streams() -> (TcpStream, TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

#[test]
fn one_attempt_has_its_outcome_on_any_thread() {
    let _alone = alone();
    let (elsewhere, runtime) = (runtime(1), runtime(4));
    let push = Push::on(&runtime, Options::new()).unwrap();
    let pulls = [(); 4].map(|()| Pull::on(&elsewhere, Options::new()).unwrap());
    for pull in &pulls {
        let url = pull.bind("tcp://127.0.0.1:0").unwrap().url();
        push.connect_now(&url).unwrap();
    }
    assert_eq!(runtime.connections(), [1; 4]);
    let rep = Rep::on(&elsewhere, Options::new()).unwrap();
    let wrong = rep.bind("tcp://127.0.0.1:0").unwrap().url();
    for url in [wrong, kit::free_tcp_url()].iter().cycle().take(8) {
        let refused = push.connect_now(url);
        assert!(matches!(refused, Err(ConnectError::Failed { .. })), "{refused:?}");
    }
    eventually("only the good ones are left", || runtime.connections() == [1; 4]);
    assert_eq!(push.stats().inprogress_connections, 0);
}

/// C014 and C293, with connections between two threads at the moment of the end.
#[cfg(target_os = "linux")] // counts descriptors
#[test]
fn what_ends_with_connections_on_the_way_leaves_nothing_behind() {
    let _alone = alone();
    let silent = RawListener::new();
    let descriptors_before = descriptors();
    for round in 0..120 {
        let runtime = runtime(4);
        let pull = Pull::on(&runtime, Options::new()).unwrap();
        let endpoint = pull.bind("tcp://127.0.0.1:0").unwrap();
        let outgoing: Vec<_> = (0..4).map(|_| pull.connect(silent.url()).unwrap()).collect();
        let url = endpoint.url();
        let mut clients: Vec<_> = (0..12).map(|_| Raw::connect(&url)).collect();
        for client in clients.iter_mut().step_by(2) {
            client.send(&header(PUSH));
        }
        match round % 4 {
            0 => drop(runtime),
            1 => {
                endpoint.close().unwrap();
                outgoing.iter().for_each(|endpoint| endpoint.close().unwrap());
                nothing_is_left(runtime, &pull);
            }
            2 => {
                pull.close().unwrap();
                nothing_is_left(runtime, &pull);
            }
            _ => {
                pull.wait_for_peers(1 + round % 3, SOON).unwrap();
                drop(runtime);
            }
        }
        // The last that has the runtime.
        drop(pull);
        for mut client in clients {
            client.read_to_end();
        }
        while silent.try_accept().is_some() {}
        // The handles of its endpoints know how to wake the first loop, and its poll, out of which they
        // take their listeners; that is all they keep.
        eventually("connections are closed", || descriptors() <= descriptors_before + 2);
        drop((endpoint, outgoing));
        assert_eq!(descriptors(), descriptors_before);
    }
    eventually("all threads are gone", || io_threads() == 0);
}

/// How many I/O threads this process has; elsewhere nobody says, and no test counts.
#[cfg(not(target_os = "linux"))]
fn io_threads() -> usize {
    0
}

/// How many I/O threads this process has.
#[cfg(target_os = "linux")]
fn io_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("this is Linux");
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| FOUR.contains(&name.trim()))
        .count()
}

#[cfg(target_os = "linux")]
fn nothing_is_left(runtime: Runtime, pull: &Pull) {
    // One that was being accepted when the endpoint was closed may come after a look that found none.
    eventually("no connection is left", || {
        let stats = pull.stats();
        (stats.inprogress_connections, stats.current_connections) == (0, 0)
            && runtime.connections() == [0; 4]
    });
    conserved(|| pull.stats());
}

/// The listener goes while others keep connecting, and while peers send.
#[test]
fn endpoints_come_and_go_under_traffic_and_every_message_is_accounted_for() {
    let _alone = alone();
    let runtime = runtime(4);
    let pull = Pull::on(&runtime, Options::new()).unwrap();
    let push = Push::on(&runtime, Options::new()).unwrap();
    let often = EndpointOptions::new().reconnect_interval(Duration::from_millis(1));
    let url = kit::free_tcp_url();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        // Not for as long as it is open, so that a failure here ends the test.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = pull.recv_timeout(Duration::from_millis(1));
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // There may be nobody at the moment.
                let _ = push.send_timeout("work", Duration::from_millis(1));
            }
        });
        let done = SetOnDrop(&done);
        for _ in 0..8 {
            push.connect_with(&url, &often).unwrap();
        }
        for round in 0..60 {
            let mut listening = pull.bind(&url);
            // Where the address is no test's own, a connection of another program may have the port for a moment.
            eventually("the port is free", || {
                if listening.is_err() {
                    listening = pull.bind(&url);
                }
                listening.is_ok()
            });
            let listening = listening.unwrap();
            pull.wait_for_peers(1 + round % 8, SOON).unwrap();
            listening.close().unwrap();
        }
        drop(done);
        pull.close().unwrap();
    });
    push.close().unwrap();
    eventually("no connection is left", || runtime.connections() == [0; 4]);
    conserved(|| push.stats());
    conserved(|| pull.stats());
}

#[test]
fn requests_and_timers_are_served_by_many_threads_as_by_one() {
    let _alone = alone();
    let runtime = runtime(4);
    let rep = Rep::on(&runtime, Options::new()).unwrap();
    let url = rep.bind("tcp://127.0.0.1:0").unwrap().url();
    let reqs = [(); 6].map(|()| Req::on(&runtime, Options::new()).unwrap());
    thread::scope(|scope| {
        scope.spawn(|| {
            while let Ok(request) = rep.recv() {
                let answer = request.message().clone();
                request.reply(answer).expect("the socket is open");
            }
        });
        let askers = reqs.each_ref().map(|req| {
            req.connect(&url).unwrap();
            scope.spawn(|| {
                for n in 0..300_u16 {
                    let n = n.to_be_bytes();
                    assert_eq!(req.request_timeout(n.to_vec(), SOON).unwrap(), n);
                }
            })
        });
        askers.into_iter().for_each(|asker| asker.join().expect("all are answered"));
        rep.close().unwrap();
    });
    for req in &reqs {
        conserved(|| req.stats());
    }
    let options = Options::new().survey_deadline(Duration::from_millis(20));
    let surveyor = Surveyor::on(&runtime, options).unwrap();
    surveyor.bind("tcp://127.0.0.1:0").unwrap();
    assert_eq!(surveyor.survey("anyone?").unwrap().count(), 0);
}

#[test]
fn a_number_of_threads_that_cannot_be_is_refused() {
    for wrong in [0, 1025, usize::MAX] {
        let error = Runtime::builder().io_threads(wrong).build().unwrap_err();
        let RuntimeError::IoThreads { threads, most: 1024 } = error else { panic!("{error}") };
        assert_eq!(threads, wrong);
        assert!(error.to_string().ends_with(&format!("not {wrong}")));
    }
    for number in [1, 4] {
        let error = Runtime::builder().manual(true).io_threads(number).build().unwrap_err();
        let RuntimeError::ManualIoThreads { threads } = error else { panic!("{error}") };
        assert_eq!(threads, number);
    }
}

/// C388: a peer sends, leaves and connects anew before either is seen. Whatever is on which thread, and
/// whichever of them has the processor.
#[test]
fn a_pair_that_connects_anew_loses_nothing_to_the_order_of_threads() {
    type Open<R> = fn(&Runtime, Options) -> Result<Socket<R>, OptionError>;
    fn check<R: Listed + Sends + Receives<Item = Message>>(open: Open<R>, threads: usize) {
        // A pipe of Windows that has nothing to read now may have something on the way.
        let streams = if cfg!(windows) { &Transport::STREAMS[..1] } else { &Transport::STREAMS };
        for round in 0..kit::rounds(20) {
            let transport = streams[round as usize % streams.len()];
            let (there, here) = (runtime(threads), runtime(threads));
            let pair = open(&there, Options::new()).unwrap();
            let peer = open(&here, Options::new()).unwrap();
            let address = transport.address();
            let url = pair.bind(&address.url).unwrap().url();
            for turn in 0..6_u32 {
                let endpoint = peer.connect(&url).unwrap();
                for n in 0..20 {
                    peer.send_timeout((turn * 20 + n).to_be_bytes().to_vec(), SOON).unwrap();
                }
                endpoint.close().unwrap();
            }
            for n in 0..120_u32 {
                let message = pair.recv_timeout(SOON).unwrap();
                let what = format!("{}, {threads} threads, {transport:?}, round {round}", R::NAME);
                assert_eq!(message, n.to_be_bytes(), "{what}");
            }
            conserved(|| pair.stats());
            conserved(|| peer.stats());
        }
    }
    let _alone = alone();
    for threads in [1, 4] {
        check(Pair::on, threads);
        check(Pair1::on, threads);
    }
}
