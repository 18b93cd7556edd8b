//! BUS: sends to every peer, receives from every peer, over one hop, and never waits.

use std::thread;
use std::time::{Duration, Instant};

use kit::{Address, Raw, SOON, Transport, conserved, conserved_now, eventually, join};
use sinew::{Bus, DropReason, Message, Options, RecvError, SendError};

const BUS: u8 = 0x70;

/// Everything that arrives, `count` messages, sorted; and then nothing more.
#[track_caller]
fn receives(bus: &Bus, count: usize) -> Vec<String> {
    let mut got: Vec<String> = (0..count)
        .map(|_| bus.recv_timeout(SOON).expect("a message in time").to_text().into_owned())
        .collect();
    assert_eq!(bus.try_recv(), Err(RecvError::WouldBlock));
    got.sort();
    got
}

/// Nodes, and who of them connects to whom.
fn network(
    transport: Transport,
    nodes: usize,
    links: &[(usize, usize)],
) -> (Vec<Bus>, Vec<Address>) {
    let nodes: Vec<Bus> = (0..nodes).map(|_| Bus::new()).collect();
    let addresses: Vec<Address> = nodes.iter().map(|_| transport.address()).collect();
    let urls: Vec<String> = nodes
        .iter()
        .zip(&addresses)
        .map(|(node, address)| node.bind(&address.url).unwrap().url())
        .collect();
    for &(from, to) in links {
        nodes[from].connect(&urls[to]).unwrap();
    }
    for (n, node) in nodes.iter().enumerate() {
        let peers = links.iter().filter(|&&(from, to)| from == n || to == n).count();
        node.wait_for_peers(peers, SOON).unwrap();
    }
    (nodes, addresses)
}

/// C126, C127.
#[test]
fn in_a_mesh_everyone_hears_all_the_others_once() {
    for transport in Transport::ALL {
        let (nodes, _addresses) = network(transport, 3, &[(0, 1), (0, 2), (1, 2)]);
        for (node, name) in nodes.iter().zip(["a", "b", "c"]) {
            node.send(name).unwrap();
        }
        for (node, others) in nodes.iter().zip([["b", "c"], ["a", "c"], ["a", "b"]]) {
            assert_eq!(receives(node, 2), others);
            assert_eq!((node.stats().messages_sent, node.stats().copies_pushed), (1, 2));
            conserved(|| node.stats());
        }
    }
}

/// C128.
#[test]
fn a_message_travels_one_hop() {
    for transport in Transport::ALL {
        let (nodes, _addresses) = network(transport, 4, &[(1, 0), (2, 0), (3, 0)]);
        let (centre, leaves) = nodes.split_first().unwrap();
        leaves[0].send("from a leaf").unwrap();
        assert_eq!(receives(centre, 1), ["from a leaf"]);
        centre.send("from the centre").unwrap();
        for leaf in leaves {
            assert_eq!(receives(leaf, 1), ["from the centre"], "and not from the leaf");
        }
        for node in &nodes {
            conserved(|| node.stats());
        }
    }
}

/// Section 7 of the semantics: two connections between the same two are two peers.
#[test]
fn two_connections_deliver_two_copies() {
    for transport in Transport::ALL {
        let (nodes, _addresses) = network(transport, 2, &[(0, 1), (1, 0)]);
        nodes[0].send("twice").unwrap();
        assert_eq!(receives(&nodes[1], 2), ["twice", "twice"]);
        conserved(|| nodes[0].stats());
    }
}

/// C455. A program tells by `peers()`: two connections that we made lead to one peer if they have one
/// `remote`.
#[test]
fn who_connects_twice_to_one_peer_has_two_rows_with_one_remote() {
    for transport in Transport::ALL {
        let (node, twice) = (Bus::new(), Bus::new());
        let (address, other) = (transport.address(), transport.address());
        let url = node.bind(&address.url).unwrap().url();
        let elsewhere = Bus::new();
        for url in [&url, &url, &elsewhere.bind(&other.url).unwrap().url()] {
            twice.connect(url).unwrap();
        }
        twice.wait_for_peers(3, SOON).unwrap();
        node.wait_for_peers(2, SOON).unwrap();
        node.send("hello").unwrap();
        assert_eq!(receives(&twice, 2), ["hello", "hello"]);
        twice.send("hello").unwrap();
        assert_eq!(receives(&node, 2), ["hello", "hello"]);

        let peers = twice.peers();
        let same: Vec<_> =
            peers.iter().filter(|peer| peer.outgoing && peer.remote == url).collect();
        assert_eq!((peers.len(), same.len()), (3, 2), "{transport:?}: {peers:?}");
        assert!(same.iter().all(|peer| peer.url == url) && same[0].endpoint != same[1].endpoint);
        conserved(|| twice.stats());
    }
}

/// C455. Each has one connection that it made and one that it accepted. Nothing but the process, over
/// ipc, says that they are of one peer.
#[test]
fn of_two_that_both_connect_each_has_a_row_of_either_direction() {
    for transport in Transport::ALL {
        let (nodes, _addresses) = network(transport, 2, &[(0, 1), (1, 0)]);
        nodes[0].send("hello").unwrap();
        assert_eq!(receives(&nodes[1], 2), ["hello", "hello"]);
        for (node, other) in [(&nodes[0], &nodes[1]), (&nodes[1], &nodes[0])] {
            let peers = node.peers();
            let (made, accepted): (Vec<_>, Vec<_>) = peers.iter().partition(|peer| peer.outgoing);
            assert_eq!((made.len(), accepted.len()), (1, 1), "{transport:?}: {peers:?}");
            assert_eq!(made[0].remote, other.endpoints()[0].url());
            assert_ne!(made[0].remote, accepted[0].remote);
            assert_eq!(made[0].credentials, accepted[0].credentials);
            if transport == Transport::Ipc && cfg!(all(target_os = "linux", not(sinew_socketpair)))
            {
                assert!(made[0].credentials.is_some());
            }
        }
        conserved(|| nodes[0].stats());
    }
}

/// C129.
#[test]
fn with_nobody_there_every_send_succeeds_and_is_counted() {
    let bus = Bus::new();
    for n in 0..1000u32 {
        match n % 3 {
            0 => bus.send(&n.to_be_bytes()),
            1 => bus.try_send(&n.to_be_bytes()),
            _ => bus.send_timeout(&n.to_be_bytes(), Duration::ZERO),
        }
        .unwrap();
    }
    let stats = bus.stats();
    assert_eq!((stats.messages_sent, stats.drops(DropReason::NoPeer)), (1000, 1000));
    conserved_now(&stats);
}

/// C130.
#[test]
fn a_peer_that_never_reads_costs_a_bounded_queue_and_no_time() {
    for transport in Transport::STREAMS {
        let bus = Bus::with_options(Options::new().send_queue(8)).unwrap();
        let address = transport.address();
        let url = bus.bind(&address.url).unwrap().url();
        let _peer = Raw::greet(&url, BUS, BUS);
        bus.wait_for_peers(1, SOON).unwrap();
        let message = Message::from(vec![7; 1 << 16]);
        for _ in 0..1000 {
            bus.try_send(&message).unwrap();
            assert!(bus.peers()[0].send_queue.messages <= 8);
        }
        let (stats, peer) = (conserved(|| bus.stats()), bus.peers().remove(0));
        assert_eq!(stats.messages_sent, 1000);
        assert_eq!(stats.copies_pushed + stats.drops(DropReason::SendQueueFull), 1000);
        assert_eq!(peer.drops(DropReason::SendQueueFull), stats.drops(DropReason::SendQueueFull));
        assert!(peer.drops(DropReason::SendQueueFull) > 0);
    }
}

/// C131. The receiver pushes back, and it is the sender that drops and counts; the same with large
/// messages and the other choices of overflow: `overflow.rs`.
#[test]
fn a_receiver_with_a_short_queue_gets_the_first_messages() {
    let (sender, receiver) = (
        Bus::with_options(Options::new().send_queue(2)).unwrap(),
        Bus::with_options(Options::new().recv_queue(2)).unwrap(),
    );
    let _joined = join!(sender, receiver, Transport::Inproc);
    for n in 0..100u8 {
        sender.send(&[n]).unwrap();
    }
    assert_eq!(sender.stats().drops(DropReason::SendQueueFull), 96);
    assert_eq!(receiver.stats().recv_queue, 4, "what both queues hold");
    for n in 0..4u8 {
        assert_eq!(receiver.recv_timeout(SOON).unwrap()[..], [n]);
    }
    sender.send("later").unwrap();
    assert_eq!(receiver.recv_timeout(SOON).unwrap(), "later");
    conserved(|| sender.stats());
    conserved(|| receiver.stats());
}

/// C136.
#[test]
fn a_receive_times_out_and_ends_with_the_socket() {
    let timeout = Duration::from_millis(50);
    let bus = Bus::with_options(Options::new().recv_timeout(timeout)).unwrap();
    assert_eq!(bus.try_recv(), Err(RecvError::WouldBlock));
    let begin = Instant::now();
    kit::timed_out(bus.recv());
    assert!(begin.elapsed() >= timeout);

    let mut receiving = Box::pin(bus.recv_async());
    assert!(kit::poll_once(&mut receiving).is_none());
    let blocked = thread::spawn({
        let bus = bus.clone();
        move || bus.recv_timeout(SOON)
    });
    bus.close().unwrap();
    assert_eq!(kit::block_on(receiving), Err(RecvError::Closed));
    assert_eq!(blocked.join().unwrap(), Err(RecvError::Closed));
    assert!(matches!(bus.send("x"), Err(SendError::Closed(_))));
}

/// C137.
#[test]
fn a_bus_that_is_connected_to_itself_hears_itself_over_both_pipes() {
    for transport in Transport::ALL {
        let bus = Bus::new();
        let address = transport.address();
        let url = bus.bind(&address.url).unwrap().url();
        let endpoint = bus.connect(&url).unwrap();
        bus.wait_for_peers(2, SOON).unwrap();
        for _ in 0..100 {
            bus.send("to myself").unwrap();
            assert_eq!(receives(&bus, 2), ["to myself", "to myself"]);
        }
        endpoint.close().unwrap();
        eventually("both pipes are gone", || bus.peers().is_empty());
        bus.send("to nobody").unwrap();
        assert_eq!(bus.stats().drops(DropReason::NoPeer), 1);
        conserved(|| bus.stats());
    }
}

/// C111, as for PULL.
#[test]
fn what_has_arrived_outlives_the_peer() {
    for transport in Transport::ALL {
        let (here, there) = (Bus::new(), Bus::new());
        let _joined = join!(here, there, transport);
        for n in 0..10u8 {
            there.send(&[n]).unwrap();
        }
        eventually("all have arrived", || here.stats().recv_queue == 10);
        there.close().unwrap();
        eventually("the peer is gone", || here.peers().is_empty());
        for n in 0..10u8 {
            assert_eq!(here.recv_timeout(SOON).unwrap()[..], [n]);
        }
        conserved(|| here.stats());
    }
}
