//! Group B: what is done to connections before they are pipes.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use kit::{Raw, SOON, SetOnDrop, Transport, eventually, frame, header, ipc_frame};
use sinew::role;
use sinew::{
    AttemptError, ConnectError, EndpointOptions, EndpointState, Options, Peer, Pull, Push, Runtime,
};

use crate::harness::attack::Attack;
use crate::harness::census::Census;
use crate::harness::child::{Process, job, tell};
use crate::harness::elsewhere::elsewhere;
use crate::harness::{alone, name_of, times};

/// Soon enough for a test, and far from what a busy machine takes for a header.
const DEADLINE: Duration = Duration::from_millis(1500);

/// A thousand connections whose header does not come, or not whole.
fn stalled(bytes: usize) {
    const PEERS: usize = 1000;
    let soon = EndpointOptions::new().handshake_timeout(DEADLINE);
    let attack = Attack::<role::Pull>::over_transport(Transport::Tcp, Options::new(), &soon);
    let mut peers: Vec<Raw> = (0..PEERS)
        .map(|_| {
            let mut raw = Raw::connect(&attack.url);
            raw.send(&header(0x50)[..bytes]);
            raw
        })
        .collect();
    attack.neighbour();
    eprintln!("{} bytes for each that has sent {bytes}", attack.cost() / PEERS);
    assert!(attack.cost() <= PEERS << 10, "{} bytes", attack.cost());
    // A crowd is sent no header before it has shown its own.
    let sent: Vec<_> = peers.iter_mut().map(Raw::read_to_end).collect();
    let greeted: Vec<_> = (0..PEERS).filter(|&n| !sent[n].is_empty()).collect();
    assert!(greeted.iter().all(|&n| sent[n] == header(0x51)));
    assert_eq!(greeted.len(), 64);
    // Several I/O threads do not take connections on in the order of their arrival.
    assert!(kit::IO_THREADS > 1 || greeted == Vec::from_iter(0..64), "{greeted:?}");
    eventually("all are counted", || attack.stats().handshake_timeouts == PEERS as u64);
    drop(peers);
    attack.over_with(PEERS << 8);
}

#[test]
fn b01_a_thousand_that_say_nothing() {
    stalled(0);
}

#[test]
fn b02_a_thousand_that_stop_before_the_last_byte() {
    stalled(7);
}

/// More connections that say nothing than there are descriptors, long before their time is over.
#[test]
fn b04_silent_connections_that_use_up_the_descriptors() {
    let _turn = alone();
    let mut child = Process::start(name_of(part_that_listens), "listens", "ulimit -n 200");
    let url = child.told();
    let _silent: Vec<_> = (0..times(400, 5_000).max(400)).map(|_| Raw::connect(&url)).collect();
    for _ in 0..3 {
        // Each of several I/O threads makes room among its own, of which a newcomer may be the oldest: it dials again.
        let attempts = if kit::IO_THREADS == 1 { 1 } else { 100 };
        let is_taken = (0..attempts).any(|_| {
            let mut good = Raw::connect(&url);
            let is_greeted = good.try_send(&header(0x50)).is_ok() && good.try_read(8).is_ok();
            is_greeted && good.try_send(&frame(b"from a good peer")).is_ok()
        });
        assert!(is_taken, "a good peer is let in");
        assert_eq!(child.told(), "from a good peer");
    }
    child.succeeded();
}

#[test]
#[ignore = "a part of the test above, with few descriptors"]
fn part_that_listens() {
    if job().is_none() {
        return;
    }
    let patient = Options::new().handshake_timeout(Duration::from_secs(3600));
    let pull = Pull::with_options(patient).unwrap();
    tell(&pull.bind("tcp://127.0.0.1:0").unwrap().url());
    for _ in 0..3 {
        tell(&pull.recv_timeout(SOON).unwrap().to_text());
    }
    let stats = kit::conserved(|| pull.stats());
    assert!(stats.accept_errors > 0 && stats.handshakes_evicted > 0, "{stats:?}");
}

/// Connections that are reset before they are accepted, or while they are.
#[test]
fn b05_resets_before_accept() {
    let attack = Attack::<role::Pull>::on(Options::new());
    for n in 0..times(2000, 20_000) {
        Raw::connect(&attack.url).reset();
        if n % 500 == 0 {
            attack.neighbour();
        }
    }
    attack.over();
}

/// Whole greetings, and gone.
#[test]
fn b07_peers_that_come_and_go() {
    let attack = Attack::<role::Pull>::on(Options::new());
    let peers = times(2000, 50_000);
    for n in 0..peers {
        let mut raw = Raw::connect(&attack.url);
        let _ = raw.try_send(&header(0x50));
        if n % 3 == 0 {
            raw.reset();
        }
        if n % 500 == 0 {
            attack.neighbour();
        }
    }
    attack.over();
}

/// A program that lets in every second peer only: of the others nothing is received, however much they say at once.
#[test]
fn b08_every_second_peer_is_denied() {
    let _turn = alone();
    for transport in Transport::STREAMS {
        let turn = AtomicUsize::new(0);
        let admit = move |_: &Peer| turn.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        let pull = Pull::with_options(Options::new().admit(admit)).unwrap();
        let address = transport.address();
        let url = pull.bind(&address.url).unwrap().url();
        for n in 0..times(100, 5_000) {
            let mut raw = Raw::connect(&url);
            let word = format!("message {n} ");
            raw.send(&header(0x50));
            // The listener may have closed it.
            let bodies = (0..3).map(|part| format!("{word}{part}"));
            let framed: Vec<u8> = bodies
                .flat_map(|body| match transport {
                    Transport::Ipc => ipc_frame(body.as_bytes()),
                    _ => frame(body.as_bytes()),
                })
                .collect();
            let _ = raw.try_send(&framed);
            if n % 2 == 0 {
                for part in 0..3 {
                    let expected = format!("{word}{part}");
                    assert_eq!(pull.recv_timeout(SOON).unwrap().to_text(), expected);
                }
            } else {
                raw.read_to_end();
                eventually("it is counted", || pull.stats().rejected_pipes == n as u64 / 2 + 1);
            }
            drop(raw);
            eventually("it is gone", || pull.stats().current_connections == 0);
        }
        assert!(pull.try_recv().is_err());
        kit::conserved(|| pull.stats());
    }
}

/// A listener that ends while peers greet it.
#[test]
fn b10_a_listener_that_closes_during_handshakes() {
    let _turn = alone();
    let pull = Pull::new();
    // What is there once for a listener.
    pull.bind("tcp://127.0.0.1:0").unwrap();
    let before = Census::settled();
    for _ in 0..times(15, 500) {
        let endpoint = pull.bind("tcp://127.0.0.1:0").unwrap();
        let url = endpoint.url();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let (over, url) = (&over, &url);
            let _over = SetOnDrop(over);
            for _ in 0..3 {
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let Ok(mut raw) = Raw::try_connect(url) else { return };
                        let _ = raw.try_send(&header(0x50));
                    }
                });
            }
            let accepted = pull.stats().accepted_connections;
            eventually("they come", || pull.stats().accepted_connections > accepted);
            endpoint.close().unwrap();
        });
    }
    eventually("none is left", || {
        let stats = pull.stats();
        stats.current_connections + stats.inprogress_connections == 0
    });
    before.is_back(0);
    kit::conserved(|| pull.stats());
}

/// A program that connects to itself by accident: the port it asks for is the one it is given.
#[test]
fn b13_a_connection_to_itself() {
    elsewhere(
        name_of(b13_a_connection_to_itself),
        &[],
        &["ip link set lo up", "echo '40000 40015' > /proc/sys/net/ipv4/ip_local_port_range"],
        || {
            let url = "tcp://127.0.0.1:40006";
            // The kernel does it soon: it tries the even ports first.
            let itself = (0..10_000).any(|_| {
                let Ok(stream) = TcpStream::connect("127.0.0.1:40006") else { return false };
                // With an orderly end the port would be taken for a minute.
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                stream.local_addr().unwrap() == stream.peer_addr().unwrap()
            });
            assert!(itself, "the network of this test does not do it");
            let pair = sinew::Pair::new();
            let often = EndpointOptions::new().reconnect_interval(Duration::from_millis(1));
            let dialer = pair.connect_with(url, &often).unwrap();
            eventually("it has tried for long", || dialer.status().attempts >= 2000);
            assert_eq!(pair.stats().established_connections, 0, "it has no pipe to itself");
            eprintln!("{}", dialer.status());
            let listener = sinew::Pair::new();
            // The dialer may have the port for a moment.
            let mut bound = listener.bind(url);
            for _ in 0..5000 {
                if bound.is_ok() {
                    break;
                }
                thread::sleep(Duration::from_millis(1));
                bound = listener.bind(url);
            }
            bound.expect("the port is free between attempts");
            listener.wait_for_peers(1, SOON).unwrap();
            pair.send_timeout("there", SOON).unwrap();
            assert_eq!(listener.recv_timeout(SOON).unwrap(), "there");
        },
    );
}

/// Addresses that cannot be reached, each in its way: an error by name, and a close at once.
#[test]
fn b12_addresses_that_cannot_be_reached() {
    elsewhere(
        name_of(b12_addresses_that_cannot_be_reached),
        &[],
        &[
            "ip link set lo up",
            "ip route add unreachable 10.2.0.0/24",
            "ip route add prohibit 10.3.0.0/24",
            "ip route add blackhole 10.4.0.0/24",
            SWALLOWS,
        ],
        || {
            let before = kit::descriptors();
            let system = |kind| move |error: &AttemptError| matches!(error, AttemptError::Io { kind: it, .. } if *it == kind);
            let table: [(&str, Names<'_>); 6] = [
                ("127.0.0.1:9", &|error| *error == AttemptError::Refused),
                ("10.2.0.1:5555", &system(ErrorKind::HostUnreachable)),
                ("10.3.0.1:5555", &system(ErrorKind::PermissionDenied)),
                ("10.4.0.1:5555", &system(ErrorKind::InvalidInput)),
                ("10.9.9.9:5555", &system(ErrorKind::NetworkUnreachable)),
                ("nowhere.invalid:5555", &|error| matches!(error, AttemptError::Resolve { .. })),
            ];
            for (address, is_named) in table {
                let push = Push::new();
                let url = format!("tcp://{address}");
                match push.connect_now(&url) {
                    Err(ConnectError::Failed { source, .. }) => {
                        assert!(is_named(&source), "{address}: {source:?}");
                    }
                    other => panic!("{address}: {other:?}"),
                }
                let later = push.connect(&url).unwrap();
                eventually("an attempt fails", || later.status().last_error.is_some());
                let error = later.status().last_error.unwrap();
                assert!(is_named(&error), "{address}: {error:?}");
                push.close().unwrap();
            }
            // One that swallows everything, and one that has no place for another: only a close ends the attempt.
            let full = TcpListener::bind("127.0.0.1:0").unwrap();
            socket2::SockRef::from(&full).listen(0).unwrap();
            let url = format!("tcp://{}", full.local_addr().unwrap());
            let waiting: Vec<_> = (0..3).map(|_| begun(&full.local_addr().unwrap())).collect();
            for url in ["tcp://10.5.0.2:5555", &url] {
                let push = Push::new();
                push.connect(url).unwrap();
                eventually("it is asked", || push.stats().inprogress_connections == 1);
                push.close().unwrap();
                eventually("nobody is asked any more", || push.stats().inprogress_connections == 0);
            }
            drop((full, waiting));
            // Each thread of the runtime has three.
            eventually("nothing is left", || kit::descriptors() <= before + 4 * kit::IO_THREADS);
        },
    );
}

/// Whether an error is the one of an address.
type Names<'a> = &'a dyn Fn(&AttemptError) -> bool;

/// 10.5.0.2 is there, and says nothing.
const SWALLOWS: &str = "ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up \
    && ip addr add 10.5.0.1/24 dev v0 && ip neigh add 10.5.0.2 lladdr 02:00:00:00:00:02 dev v0";

/// An attempt to connect that has begun.
fn begun(address: &SocketAddr) -> socket2::Socket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    let _ = socket.connect(&(*address).into());
    socket
}

/// A name server that says nothing for minutes: others are connected meanwhile, and a close waits for nobody.
#[test]
fn b12_a_name_that_nobody_resolves() {
    elsewhere(
        name_of(b12_a_name_that_nobody_resolves),
        &[],
        &[
            "ip link set lo up",
            SWALLOWS,
            "mount -t tmpfs none /mnt",
            "echo 'nameserver 10.5.0.2\noptions timeout:30 attempts:5' > /mnt/resolv.conf",
            "mount --bind /mnt/resolv.conf /etc/resolv.conf",
            "echo 'hosts: files dns' > /mnt/nsswitch.conf",
            "mount --bind /mnt/nsswitch.conf /etc/nsswitch.conf",
        ],
        || {
            let runtime = Runtime::new().unwrap();
            let is_asked = || {
                let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
                tasks
                    .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
                    .any(|name| name.trim() == "sinew-resolve")
            };
            let (push, pull) = (Push::on(&runtime, Options::new()).unwrap(), Pull::new());
            let patient = EndpointOptions::new().connect_timeout(None);
            let slow = push.connect_with("tcp://slow.example:5555", &patient).unwrap();
            eventually("the server is asked", is_asked);
            push.connect(pull.bind("tcp://127.0.0.1:0").unwrap().url()).unwrap();
            push.send_timeout("meanwhile", SOON).unwrap();
            assert_eq!(pull.recv_timeout(SOON).unwrap(), "meanwhile");
            assert_eq!(slow.status().last_error, None);
            assert_eq!(slow.status().state, EndpointState::Connecting);
            // There is a limit for it.
            let other = Push::on(&runtime, Options::new()).unwrap();
            let hasty = EndpointOptions::new().connect_timeout(Duration::from_millis(50));
            match other.connect_now_with("tcp://other.example:5555", &hasty) {
                Err(ConnectError::Failed {
                    source: AttemptError::Resolve { kind: ErrorKind::TimedOut, .. },
                    ..
                }) => {}
                other => panic!("{other:?}"),
            }
            push.close().unwrap();
            drop((push, slow, other, runtime));
            assert!(is_asked(), "nobody has waited for the name server");
        },
    );
}
