//! Priorities: strict, for sockets that choose one peer at a time.

use std::thread;
use std::time::Duration;

use kit::sockets::{Listed, one_by_one};
use kit::{Address, SOON, Transport, conserved, detached, eventually, every_socket};
use sinew::role;
use sinew::{
    BindError, ConnectError, EndpointOptions, OptionError, Options, Pull, Push, Req, Socket, raw,
};

/// A place for sending, and quick to come back.
fn place(priority: u8) -> EndpointOptions {
    EndpointOptions::new().send_priority(priority).reconnect_interval(Duration::from_millis(10))
}

/// Sockets of the peer's kind, bound, with their addresses.
fn bound<R: Listed>(transport: Transport, options: &Options) -> (Socket<R>, Address, String) {
    let socket = Socket::<R>::with_options(options.clone()).unwrap();
    let address = transport.address();
    let url = socket.bind(&address.url).unwrap().url();
    (socket, address, url)
}

/// Two sockets that `sender` reaches in the first and in the second place.
fn ranked<S: Listed, R: Listed>(
    sender: &Socket<S>,
    transport: Transport,
    options: &Options,
) -> [(Socket<R>, Address, String); 2] {
    let peers = [(); 2].map(|()| bound::<R>(transport, options));
    // The order in which they are connected must not count.
    sender.connect_with(&peers[1].2, &place(2)).unwrap();
    sender.connect_with(&peers[0].2, &place(1)).unwrap();
    sender.wait_for_peers(2, SOON).unwrap();
    peers
}

/// How many messages `push` has put into the queue for the peer at `url`.
fn sent_to(push: &Push, url: &str) -> u64 {
    push.peers().iter().filter(|peer| peer.url == url).map(|peer| peer.messages_sent).sum()
}

/// C118, C119.
#[test]
fn all_goes_to_the_best_peer_that_is_there() {
    for transport in Transport::ALL {
        let push = Push::new();
        let [(a, _address, url), (b, ..)] = ranked(&push, transport, &Options::new());
        let events = push.events();
        for text in ["one", "two"] {
            push.send(text).unwrap();
            assert_eq!(Pull::recv_timeout(&a, SOON).unwrap(), text);
        }
        a.close().unwrap();
        detached(&events);
        push.try_send("three").unwrap();
        assert_eq!(Pull::recv_timeout(&b, SOON).unwrap(), "three", "failover");

        let a = Pull::new();
        a.bind(&url).unwrap();
        push.wait_for_peers(2, SOON).unwrap();
        push.send("four").unwrap();
        assert_eq!(a.recv_timeout(SOON).unwrap(), "four", "and back");
        assert!(b.try_recv().is_err());
        conserved(|| push.stats());
        conserved(|| a.stats());
        conserved(|| b.stats());
    }
}

/// C119. All peers of a bound endpoint have its place.
#[test]
fn the_place_of_a_bound_endpoint_is_that_of_all_its_peers() {
    for transport in Transport::ALL {
        let push = Push::new();
        let addresses = [(); 2].map(|()| transport.address());
        let urls =
            [0, 1].map(|n| push.bind_with(&addresses[n].url, &place(2 - n as u8)).unwrap().url());
        let pulls = [0, 0, 1, 1].map(|n: usize| {
            let pull = Pull::new();
            pull.connect(&urls[n]).unwrap();
            pull
        });
        push.wait_for_peers(4, SOON).unwrap();
        for _ in 0..10 {
            push.send("x").unwrap();
        }
        for (pull, expected) in pulls.iter().zip([0, 0, 5, 5]) {
            (0..expected).for_each(|_| drop(pull.recv_timeout(SOON).unwrap()));
            assert!(pull.try_recv().is_err(), "equal places take turns, worse ones get nothing");
        }
        conserved(|| push.stats());
    }
}

/// C120.
#[test]
fn what_the_best_peer_has_no_room_for_goes_to_the_next() {
    for transport in Transport::ALL {
        let narrow = Options::new().send_queue(1).recv_queue(1);
        let push = Push::with_options(narrow.clone()).unwrap();
        let [(a, _a, url_a), (b, _b, url_b)] = ranked(&push, transport, &narrow);
        let body = vec![0; 1 << 16];
        while sent_to(&push, &url_b) == 0 {
            push.send_timeout(&body, SOON).unwrap();
        }
        assert_eq!(Pull::recv_timeout(&b, SOON).unwrap(), body);
        for _ in 0..sent_to(&push, &url_a) {
            assert_eq!(Pull::recv_timeout(&a, SOON).unwrap(), body);
        }
        // The last message may be received before the push has heard that there is room.
        let before = sent_to(&push, &url_a);
        eventually("it is the turn of the best again", || {
            push.try_send("x").unwrap();
            sent_to(&push, &url_a) > before || b.recv_timeout(SOON).is_err()
        });
        assert_eq!(a.recv_timeout(SOON).unwrap(), "x");
        conserved(|| push.stats());
    }
}

/// C121.
#[test]
fn the_message_from_the_best_peer_is_received_first() {
    for transport in Transport::ALL {
        for pull_listens in [true, false] {
            let pull = Pull::new();
            let mut addresses = Vec::new();
            // The first has the worse place and its message arrives first.
            for (text, priority) in [("first", 2), ("second", 1)] {
                let push = Push::new();
                let address = transport.address();
                let place = EndpointOptions::new().recv_priority(priority);
                if pull_listens {
                    let url = pull.bind_with(&address.url, &place).unwrap().url();
                    push.connect(&url).unwrap();
                } else {
                    let url = push.bind(&address.url).unwrap().url();
                    pull.connect_with(&url, &place).unwrap();
                }
                push.send_timeout(text, SOON).unwrap();
                addresses.push((address, push));
                let waiting = addresses.len() as u64;
                eventually("it has arrived", || pull.stats().recv_queue == waiting);
            }
            assert_eq!(pull.recv_timeout(SOON).unwrap(), "second");
            assert_eq!(pull.recv_timeout(SOON).unwrap(), "first");
            conserved(|| pull.stats());
        }
    }
}

/// C123.
#[test]
fn a_place_is_a_number_from_1_to_16() {
    assert_eq!(Push::new().options().settings().send_priority, 8);
    assert_eq!(Pull::new().options().settings().recv_priority, 8);
    for priority in [0, 1, 16, 17, 255] {
        let good = (1..=16).contains(&priority);
        let send = Options::new().send_priority(priority);
        let recv = Options::new().recv_priority(priority);
        let refusal = |option| OptionError::Invalid {
            option,
            value: priority.to_string(),
            allowed: "1 to 16",
        };
        let (push, pull) = (Push::with_options(send.clone()), Pull::with_options(recv.clone()));
        if good {
            assert_eq!(push.unwrap().options().settings().send_priority, priority);
            assert_eq!(pull.unwrap().options().settings().recv_priority, priority);
        } else {
            assert_eq!(push.unwrap_err(), refusal("send_priority"));
            assert_eq!(pull.unwrap_err(), refusal("recv_priority"));
        }
        let push = Push::new();
        assert_eq!(push.set_options(send).is_ok(), good);
        let expected = if good { priority } else { 8 };
        assert_eq!(push.options().settings().send_priority, expected);

        let there = EndpointOptions::new().send_priority(priority);
        let url = format!("inproc://place-{priority}");
        match push.bind_with(&url, &there) {
            Ok(_) => assert!(good),
            Err(BindError::Option(error)) => assert_eq!(error, refusal("send_priority")),
            Err(error) => panic!("{error}"),
        }
        match push.connect_with(&url, &there) {
            Ok(_) => assert!(good),
            Err(ConnectError::Option(error)) => assert_eq!(error, refusal("send_priority")),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(
            matches!(push.connect_now_with(&url, &there), Err(ConnectError::Option(_))),
            !good
        );
    }
}

/// C123, C300. Whether the socket has the option is looked at with all its other options.
#[test]
fn endpoints_of_sockets_that_choose_have_places() {
    fn check<R: Listed>() {
        let new = EndpointOptions::new;
        for (name, place) in
            [("send_priority", new().send_priority(1)), ("recv_priority", new().recv_priority(1))]
        {
            match Socket::<R>::new().bind_with(&Transport::Inproc.address().url, &place) {
                Ok(_) => assert!(R::OPTIONS.contains(&name), "{} {name}", R::NAME),
                Err(BindError::Option(OptionError::NoSuchOption { option, socket })) => {
                    assert_eq!((option, socket.number()), (name, u16::from(R::IDS.0)));
                    assert!(!R::OPTIONS.contains(&name), "{} {name}", R::NAME);
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    one_by_one(every_socket!(check));
}

/// C124.
#[test]
fn an_endpoint_keeps_the_place_it_was_made_with() {
    for transport in Transport::ALL {
        let push = Push::with_options(Options::new().send_priority(2)).unwrap();
        let peers = [(); 2].map(|()| bound::<role::Pull>(transport, &Options::new()));
        push.connect(&peers[0].2).unwrap();
        push.set_options(push.options().send_priority(1)).unwrap();
        push.connect(&peers[1].2).unwrap();
        push.set_options(push.options().send_priority(16)).unwrap();
        push.wait_for_peers(2, SOON).unwrap();
        for _ in 0..4 {
            push.send("x").unwrap();
            assert_eq!(peers[1].0.recv_timeout(SOON).unwrap(), "x");
        }
        assert!(peers[0].0.try_recv().is_err());
        conserved(|| push.stats());
    }
}

/// C125.
#[test]
fn requests_go_to_the_best_peer_and_move_on_when_it_is_lost() {
    for transport in Transport::ALL {
        let req = Req::new();
        let [(a, ..), (b, ..)] = ranked::<_, role::Rep>(&req, transport, &Options::new());
        thread::scope(|scope| {
            let serving = scope.spawn(|| {
                for _ in 0..10 {
                    a.recv_timeout(SOON).unwrap().reply("a").unwrap();
                }
                // The eleventh is taken and never answered.
                drop(a.recv_timeout(SOON).unwrap());
                a.close().unwrap();
                b.recv_timeout(SOON).unwrap().reply("b").unwrap();
            });
            for _ in 0..10 {
                assert_eq!(req.request_timeout("?", SOON).unwrap(), "a");
            }
            assert_eq!(req.request_timeout("?", SOON).unwrap(), "b", "sent again at once");
            serving.join().unwrap();
        });
        assert_eq!(req.stats().resends, 1);
        conserved(|| req.stats());
    }
}

/// C125, without the conversations of a REQ.
#[test]
fn a_raw_req_has_places_too() {
    for transport in Transport::ALL {
        let req = raw::Req::new();
        let [(a, ..), (b, ..)] = ranked::<_, role::Rep>(&req, transport, &Options::new());
        for _ in 0..5 {
            req.send(sinew::Message::from("?").with_header(&b"\x80\0\0\x01"[..])).unwrap();
            assert_eq!(*a.recv_timeout(SOON).unwrap(), "?");
        }
        assert!(b.try_recv().is_err());
        conserved(|| req.stats());
    }
}
