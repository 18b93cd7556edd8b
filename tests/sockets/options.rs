//! Options: defaults, ranges, and when a change takes effect. The choices of overflow are in
//! protocols/overflow.rs, the priorities of endpoints in protocols/priorities.rs.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use kit::sockets::{Listed, one_by_one};
use kit::{Raw, SOON, Transport, conserved, eventually, every_socket, join};

use sinew::{
    BindError, Conflate, ConnectError, DetachReason, EndpointOptions, OptionError, Options,
    Overflow, Pair, PeerStatus, Pull, Push, Rep, Runtime, SendError, Socket, Sub,
};

/// C299, C304: semantics specification, section 17.
#[test]
fn the_defaults_are_those_of_the_specification() {
    let settings = Options::new().settings();
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    assert_eq!(settings.send_timeout, None);
    assert_eq!(settings.recv_timeout, None);
    assert_eq!(settings.max_recv_size, Some(1 << 20));
    assert_eq!(settings.max_send_size, Some(1 << 20));
    assert_eq!((settings.send_queue, settings.recv_queue), (1000, 1000));
    assert_eq!((settings.send_queue_bytes, settings.recv_queue_bytes), (1 << 20, 1 << 20));
    assert_eq!(settings.recv_budget, 64 << 20);
    assert_eq!(settings.reconnect_interval, Duration::from_millis(180));
    assert_eq!(settings.reconnect_max, None);
    assert_eq!(settings.linger, Duration::ZERO);
    assert_eq!(settings.spin, None);
    assert_eq!(settings.handshake_timeout, 10 * second);
    assert_eq!(settings.frame_timeout, 30 * second);
    assert_eq!(settings.connect_timeout, Some(10 * second));
    assert_eq!((settings.max_peers, settings.max_handshakes), (16_384, 16_384));
    assert!(settings.tcp_nodelay);
    assert_eq!(settings.tcp_keepalive, Some(Duration::from_secs(75)));
    assert_eq!((settings.kernel_send_buffer, settings.kernel_recv_buffer), (None, None));
    assert_eq!(settings.ttl, 8);
    assert_eq!(settings.resend_interval, Some(minute));
    assert_eq!(settings.max_resends, None);
    assert_eq!(settings.survey_deadline, Some(second));
    assert_eq!(settings.survey_storage, 128);
    assert_eq!((settings.sub_queue, settings.sub_queue_bytes), (1000, 1 << 20));
    assert!(settings.prefer_new);
    assert_eq!((settings.send_priority, settings.recv_priority), (8, 8));
    assert_eq!(settings.overflow, None);
}

/// What the program has given away with a callback is dropped with no lock held.
#[test]
fn options_are_replaced_though_their_callback_holds_the_socket() {
    struct LooksBack(Pair);
    impl Drop for LooksBack {
        fn drop(&mut self) {
            self.0.peers();
            let _ = self.0.options();
        }
    }
    let pair = Pair::new();
    let held = LooksBack(pair.clone());
    let admit = move |_: &_| held.0.is_closed();
    pair.set_options(Options::new().admit(admit)).unwrap();
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || {
        pair.set_options(Options::new()).unwrap();
        done.send(()).unwrap();
    });
    is_done.recv_timeout(SOON).expect("it returns");
}

/// C299, D36: the answers of a raw socket are dropped when there is no room, all else may wait.
#[test]
fn a_socket_that_drops_answers_has_a_send_queue_of_its_own() {
    fn check<R: Listed>() {
        let socket = Socket::<R>::new();
        let answers = [0x31, 0x63].contains(&R::IDS.0);
        let expected = if answers && socket.is_raw() { 64 } else { 1000 };
        assert_eq!(socket.options().settings().send_queue, expected, "{}", R::NAME);
    }
    one_by_one(every_socket!(check));
}

/// The name of the option that `S` finds out of range, when it is made and when it is changed.
#[track_caller]
fn refused<R: Listed>(options: Options) -> &'static str {
    let made = Socket::<R>::with_options(options.clone()).map(drop);
    assert_eq!(made, Socket::<R>::new().set_options(options), "{}", R::NAME);
    match made {
        Err(OptionError::Invalid { option, .. }) => option,
        other => panic!("{}: {other:?}", R::NAME),
    }
}

/// C043, C108, C132, C282, C299, C304: what every socket has.
#[test]
fn common_values_out_of_range_are_refused_by_name() {
    fn check<R: Listed>() {
        let (new, zero) = (Options::new, Duration::ZERO);
        for messages in [0, 8193, usize::MAX] {
            assert_eq!(refused::<R>(new().send_queue(messages)), "send_queue");
            assert_eq!(refused::<R>(new().recv_queue(messages)), "recv_queue");
        }
        assert_eq!(refused::<R>(new().send_queue_bytes(0)), "send_queue_bytes");
        assert_eq!(refused::<R>(new().recv_queue_bytes(0)), "recv_queue_bytes");
        assert_eq!(refused::<R>(new().spin(Duration::from_micros(1001))), "spin");
        assert_eq!(refused::<R>(new().reconnect_interval(zero)), "reconnect_interval");
        assert_eq!(refused::<R>(new().handshake_timeout(zero)), "handshake_timeout");
        assert_eq!(refused::<R>(new().frame_timeout(zero)), "frame_timeout");
        assert_eq!(refused::<R>(new().connect_timeout(zero)), "connect_timeout");
        assert_eq!(refused::<R>(new().tcp_keepalive(zero)), "tcp_keepalive");
        assert_eq!(refused::<R>(new().kernel_send_buffer(0)), "kernel_send_buffer");
        assert_eq!(refused::<R>(new().kernel_recv_buffer(0)), "kernel_recv_buffer");
        for good in [1, 8192] {
            let socket =
                Socket::<R>::with_options(new().send_queue(good).recv_queue(good)).unwrap();
            let options = socket.options();
            let settings = options.settings();
            assert_eq!((settings.send_queue, settings.recv_queue), (good, good));
            socket.set_options(options.send_queue(0)).unwrap_err();
            assert_eq!(socket.options().settings().send_queue, good);
        }
        let most = new().send_queue_bytes(usize::MAX).recv_queue_bytes(usize::MAX);
        assert_eq!(
            Socket::<R>::with_options(most).unwrap().options().settings().recv_queue_bytes,
            usize::MAX
        );
    }
    one_by_one(every_socket!(check));
    let error = Pair::with_options(Options::new().recv_queue(8193)).unwrap_err();
    let (option, value, allowed) = ("recv_queue", "8193".to_owned(), "1 to 8192 messages");
    assert_eq!(error, OptionError::Invalid { option, value, allowed });
}

/// An endpoint bounds the queues of its own pipes; those of another have the socket's bounds.
#[test]
fn an_endpoint_may_bound_its_queues_in_bytes() {
    const LONG: usize = 100_000;
    let narrow = EndpointOptions::new().send_queue_bytes(1).recv_queue_bytes(1);
    for transport in Transport::STREAMS {
        let (push, pull) = (Push::new(), Pull::new());
        let addresses = [(); 4].map(|()| transport.address());
        let urls = [
            push.bind_with(&addresses[0].url, &narrow).unwrap().url(),
            push.bind(&addresses[1].url).unwrap().url(),
            pull.bind_with(&addresses[2].url, &narrow).unwrap().url(),
            pull.bind(&addresses[3].url).unwrap().url(),
        ];
        let of = |peers: Vec<PeerStatus>, url: &str| {
            peers.into_iter().find(|status| status.peer.url == url).expect("it is connected")
        };
        // Peers that do not read.
        let _silent = [Raw::greet(&urls[0], 0x51, 0x50), Raw::greet(&urls[1], 0x51, 0x50)];
        push.wait_for_peers(2, SOON).unwrap();
        eventually("the queue of the socket's bound is full", || {
            while push.try_send(vec![7; LONG]).is_ok() {}
            of(push.peers(), &urls[1]).send_queue.messages >= 10
        });
        assert!(of(push.peers(), &urls[0]).send_queue.messages <= 1);

        let mut peers = [Raw::greet(&urls[2], 0x50, 0x51), Raw::greet(&urls[3], 0x50, 0x51)];
        pull.wait_for_peers(2, SOON).unwrap();
        for peer in &mut peers {
            (0..20).for_each(|_| peer.send_frame(&[7; 100]));
        }
        let queued = |url| of(pull.peers(), url).recv_queue.messages;
        eventually("they are read", || queued(&urls[2]) == 1 && queued(&urls[3]) == 20);
        assert_eq!(queued(&urls[2]), 1);
    }

    let (push, pull) = (Push::new(), Pull::new());
    pull.bind_with("inproc://narrow", &narrow).unwrap();
    push.connect_with("inproc://narrow", &narrow).unwrap();
    push.try_send(vec![7; LONG]).unwrap();
    push.try_send("no room").unwrap_err();
    push.connect("inproc://narrow").unwrap();
    (0..10).for_each(|_| push.try_send(vec![7; LONG]).unwrap());

    for wrong in
        [EndpointOptions::new().send_queue_bytes(0), EndpointOptions::new().recv_queue_bytes(0)]
    {
        let error = pull.bind_with("inproc://wrong", &wrong).unwrap_err().to_string();
        assert!(error.contains("queue_bytes is 0, allowed is at least 1 byte"), "{error}");
    }
}

/// One value of an option that not every socket has: one that is in range, or one that is not.
type Setting = (&'static str, fn(Options) -> Options);

const SECOND: Duration = Duration::from_secs(1);

const IN_RANGE: [Setting; 23] = [
    ("ttl", |options| options.ttl(1)),
    ("ttl", |options| options.ttl(255)),
    ("resend_interval", |options| options.resend_interval(SECOND)),
    ("resend_interval", |options| options.resend_interval(None)),
    ("max_resends", |options| options.max_resends(0)),
    ("max_resends", |options| options.max_resends(u32::MAX)),
    ("survey_deadline", |options| options.survey_deadline(SECOND)),
    ("survey_deadline", |options| options.survey_deadline(None)),
    ("survey_storage", |options| options.survey_storage(1)),
    ("survey_storage", |options| options.survey_storage(8192)),
    ("overflow", |options| options.overflow(Overflow::DropNewest)),
    ("sub_queue", |options| options.sub_queue(1)),
    ("sub_queue", |options| options.sub_queue(8192)),
    ("sub_queue_bytes", |options| options.sub_queue_bytes(1)),
    ("sub_queue_bytes", |options| options.sub_queue_bytes(usize::MAX)),
    ("prefer_new", |options| options.prefer_new(true)),
    ("prefer_new", |options| options.prefer_new(false)),
    ("conflate", |options| options.conflate(Conflate::Prefix(0))),
    ("conflate", |options| options.conflate(Conflate::Until(b' '))),
    ("send_priority", |options| options.send_priority(1)),
    ("send_priority", |options| options.send_priority(16)),
    ("recv_priority", |options| options.recv_priority(1)),
    ("recv_priority", |options| options.recv_priority(16)),
];

const OUT_OF_RANGE: [Setting; 14] = [
    ("ttl", |options| options.ttl(0)),
    ("ttl", |options| options.ttl(256)),
    ("resend_interval", |options| options.resend_interval(Duration::ZERO)),
    ("survey_deadline", |options| options.survey_deadline(Duration::ZERO)),
    ("survey_storage", |options| options.survey_storage(0)),
    ("survey_storage", |options| options.survey_storage(8193)),
    ("sub_queue", |options| options.sub_queue(0)),
    ("sub_queue", |options| options.sub_queue(8193)),
    ("sub_queue_bytes", |options| options.sub_queue_bytes(0)),
    ("send_priority", |options| options.send_priority(0)),
    ("send_priority", |options| options.send_priority(17)),
    ("send_priority", |options| options.send_priority(255)),
    ("recv_priority", |options| options.recv_priority(0)),
    ("recv_priority", |options| options.recv_priority(17)),
];

/// C054, C086, C123, C151, C176, C282, C299, C300, C305.
#[test]
fn an_option_is_had_or_not_and_in_range_or_not() {
    fn check<R: Listed>() {
        for (name, set) in IN_RANGE.into_iter().chain(OUT_OF_RANGE) {
            if R::OPTIONS.contains(&name) {
                continue;
            }
            let socket = Socket::<R>::with_options(Options::new()).unwrap();
            for error in [
                Socket::<R>::with_options(set(Options::new())).unwrap_err(),
                socket.set_options(set(socket.options())).unwrap_err(),
            ] {
                let OptionError::NoSuchOption { option, socket } = error else {
                    panic!("{}: {error}", R::NAME);
                };
                assert_eq!((option, socket.number()), (name, u16::from(R::IDS.0)), "{}", R::NAME);
            }
        }
        let own = |(name, _): &Setting| R::OPTIONS.contains(name);
        for (name, set) in OUT_OF_RANGE.into_iter().filter(own) {
            assert_eq!(refused::<R>(set(Options::new())), name, "{}", R::NAME);
        }
        for (_, set) in IN_RANGE.into_iter().filter(own) {
            let made_with = Socket::<R>::with_options(set(Options::new())).unwrap();
            let set_later = Socket::<R>::with_options(Options::new()).unwrap();
            set_later.set_options(set(set_later.options())).unwrap();
            for socket in [made_with, set_later] {
                // What was set is there, and nothing else has changed.
                let expected = set(Socket::<R>::with_options(Options::new()).unwrap().options());
                assert_eq!(own_values(&socket.options()), own_values(&expected), "{}", R::NAME);
            }
        }
    }
    one_by_one(every_socket!(check));
    let error = Pair::with_options(Options::new().ttl(8)).unwrap_err();
    assert_eq!(error.to_string(), "a pair socket has no option ttl");
}

/// What can be read back of the options that not every socket has.
fn own_values(options: &Options) -> impl PartialEq + std::fmt::Debug + use<> {
    let settings = options.settings();
    (
        settings.ttl,
        (settings.resend_interval, settings.max_resends, settings.survey_deadline),
        settings.survey_storage,
        settings.overflow,
        (settings.sub_queue, settings.sub_queue_bytes),
        (settings.prefer_new, settings.conflate),
        (settings.send_priority, settings.recv_priority),
    )
}

/// C151, C299: the queue of a context, which is set there.
#[test]
fn the_queue_of_a_context_has_the_same_range() {
    let context = Sub::new().context();
    for (messages, allowed) in [(0, false), (1, true), (8192, true), (8193, false)] {
        assert_eq!(context.set_sub_queue(messages).is_ok(), allowed, "{messages}");
    }
    for (bytes, allowed) in [(0, false), (1, true), (usize::MAX, true)] {
        assert_eq!(context.set_sub_queue_bytes(bytes).is_ok(), allowed, "{bytes}");
    }
}

/// The endpoint options are checked by the call that uses them.
#[test]
fn endpoint_options_out_of_range_are_refused() {
    let pair = Pair::new();
    let zero = EndpointOptions::new().reconnect_interval(Duration::ZERO);
    assert!(matches!(pair.connect_with("inproc://x", &zero), Err(ConnectError::Option(_))));
    let mode = EndpointOptions::new().ipc_mode(0o1000);
    assert!(matches!(pair.bind_with("inproc://x", &mode), Err(BindError::Option(_))));
    // C611: what stands for nobody in a call of the system.
    for nobody in
        [EndpointOptions::new().ipc_owner(u32::MAX), EndpointOptions::new().ipc_group(u32::MAX)]
    {
        assert!(matches!(pair.bind_with("inproc://x", &nobody), Err(BindError::Option(_))));
    }
}

/// A set of options that is refused changes nothing.
#[test]
fn set_options_is_all_or_nothing() {
    let pair = Pair::new();
    let bad = pair.options().send_timeout(SOON).send_queue(0);
    pair.set_options(bad).unwrap_err();
    assert_eq!(pair.options().settings().send_timeout, None);
    pair.set_options(pair.options().send_timeout(SOON)).unwrap();
    assert_eq!(pair.options().settings().send_timeout, Some(SOON));
}

/// C301, C385: NN_RCVMAXSIZE is set after `bind` by nanomsg's own programs.
#[test]
fn a_receive_limit_holds_for_the_endpoints_and_connections_that_are_there() {
    for transport in Transport::STREAMS {
        let (pair, peer) = (Pair::new(), sends_any_size());
        let address = transport.address();
        let url = pair.bind(&address.url).unwrap().url();
        pair.set_options(pair.options().max_recv_size(None)).unwrap();
        peer.connect(&url).unwrap();
        pair.wait_for_peers(1, SOON).unwrap();
        let events = pair.events();
        // The endpoint was there before, and then the connection.
        for (limit, size) in [(None, 2 << 20), (Some(3 << 20), 3 << 20), (None, 4 << 20)] {
            pair.set_options(pair.options().max_recv_size(limit)).unwrap();
            peer.send(vec![7; size]).unwrap();
            assert_eq!(pair.recv_timeout(SOON).unwrap().len(), size);
        }
        pair.set_options(pair.options().max_recv_size(9)).unwrap();
        peer.send(vec![7; 9]).unwrap();
        assert_eq!(pair.recv_timeout(SOON).unwrap().len(), 9);
        peer.send(vec![7; 10]).unwrap();
        assert_eq!(kit::detached(&events), DetachReason::Oversize { announced: 10, limit: 9 });
        conserved(|| pair.stats());
    }
}

/// C385: from the side that connects.
#[test]
fn a_receive_limit_set_after_connect_holds() {
    let (pair, peer) = (sends_any_size(), Pair::new());
    let _address = join!(pair, peer, Transport::Tcp);
    pair.send(vec![7; 1 << 20]).unwrap();
    assert_eq!(peer.recv_timeout(SOON).unwrap().len(), 1 << 20);
    peer.set_options(peer.options().max_recv_size(None)).unwrap();
    pair.send(vec![7; (1 << 20) + 1]).unwrap();
    assert_eq!(peer.recv_timeout(SOON).unwrap().len(), (1 << 20) + 1);
}

/// C386.
#[test]
fn an_endpoint_keeps_a_receive_limit_of_its_own() {
    let (pair, peer) = (Pair::new(), sends_any_size());
    let own = EndpointOptions::new().max_recv_size(100);
    let url = pair.bind_with("tcp://127.0.0.1:0", &own).unwrap().url();
    let events = pair.events();
    pair.set_options(pair.options().max_recv_size(1)).unwrap();
    peer.connect(&url).unwrap();
    peer.send(vec![7; 100]).unwrap();
    assert_eq!(pair.recv_timeout(SOON).unwrap().len(), 100);
    pair.set_options(pair.options().max_recv_size(None)).unwrap();
    peer.send(vec![7; 101]).unwrap();
    kit::attached(&events);
    assert_eq!(kit::detached(&events), DetachReason::Oversize { announced: 101, limit: 100 });
}

/// C387.
#[test]
fn a_message_on_its_way_is_judged_by_the_limit_of_its_beginning() {
    let pair = Pair::new();
    let url = pair.bind("tcp://127.0.0.1:0").unwrap().url();
    let mut raw = Raw::greet(&url, 0x10, 0x10);
    let (first, second) = (kit::frame(&[1]), kit::frame(&[2; 100]));
    // In one piece, so that what has read the first message has seen the length of the second.
    raw.send(&[&first[..], &second[..20]].concat());
    assert_eq!(pair.recv_timeout(SOON).unwrap(), [1]);
    pair.set_options(pair.options().max_recv_size(10)).unwrap();
    raw.send(&second[20..]);
    assert_eq!(pair.recv_timeout(SOON).unwrap(), [2; 100]);
    raw.send(&kit::frame(&[3; 11]));
    assert!(raw.read_to_end().is_empty());
    assert_eq!(pair.stats().oversize, 1);
}

fn sends_any_size() -> Pair {
    Pair::with_options(Options::new().max_send_size(None)).unwrap()
}

/// C302.
#[test]
fn a_call_that_waits_keeps_the_timeout_it_began_with() {
    let pair = Pair::with_options(Options::new().send_timeout(SOON)).unwrap();
    let begun = Instant::now();
    let waiting = thread::spawn({
        let pair = pair.clone();
        move || pair.send_timeout("x", Duration::from_millis(300))
    });
    let at_once = pair.options().send_timeout(Duration::ZERO);
    pair.set_options(at_once).unwrap();
    assert!(matches!(pair.send("y"), Err(SendError::TimedOut(..))));
    assert!(matches!(waiting.join().unwrap(), Err(SendError::TimedOut(..))));
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

/// A local limit on what is sent gives the message back instead of costing the connection.
#[test]
fn a_message_over_the_send_limit_is_given_back_and_the_connection_stands() {
    let options = Options::new().max_send_size(4);
    let (pair, peer) = (Pair::with_options(options).unwrap(), Pair::new());
    let _address = join!(pair, peer, Transport::Tcp);
    match pair.send("12345") {
        Err(SendError::TooLarge { message, limit: 4, .. }) => assert_eq!(message, "12345"),
        other => panic!("{other:?}"),
    }
    pair.send("1234").unwrap();
    assert_eq!(peer.recv_timeout(SOON).unwrap(), "1234");
}

/// C086: takes effect on what is received afterwards.
#[test]
fn the_hop_limit_can_be_changed_while_the_socket_is_in_use() {
    let rep = Rep::new();
    let endpoint = rep.bind("tcp://127.0.0.1:0").unwrap();
    let mut peer = Raw::greet(&endpoint.url(), 0x30, 0x31);
    let two_hops = b"\0\0\0\x07\x80\0\0\x01x";
    peer.send_frame(two_hops);
    assert_eq!(*rep.recv_timeout(SOON).unwrap(), "x");
    rep.set_options(rep.options().ttl(1)).unwrap();
    peer.send_frame(two_hops);
    peer.send_frame(b"\x80\0\0\x01y");
    assert_eq!(*rep.recv_timeout(SOON).unwrap(), "y");
    eventually("counted", || rep.stats().drops(sinew::DropReason::TtlExceeded) == 1);
}

/// Semantics specification, section 17.
#[test]
fn a_closed_socket_takes_no_options() {
    fn check<R: Listed>() {
        let socket = Socket::<R>::new();
        socket.close().unwrap();
        let error = socket.set_options(Options::new().send_queue(7)).unwrap_err();
        assert_eq!(
            (error, socket.options().settings().send_queue == 7),
            (OptionError::Closed, false)
        );
    }
    one_by_one(every_socket!(check));
}

#[test]
fn a_socket_keeps_the_name_it_was_made_with() {
    let pair = Pair::with_options(Options::new().name("first")).unwrap();
    pair.set_options(pair.options().name("second")).unwrap();
    assert_eq!((pair.name(), &*format!("{pair:?}")), ("first", "Pair(first)"));
}

#[test]
fn a_ttl_that_no_socket_takes_reads_as_the_default() {
    assert_eq!([1, 255, 256].map(|hops| Options::new().ttl(hops).settings().ttl), [1, 255, 8]);
}

/// A time beyond the end of time used to panic on the I/O thread, and every socket of its runtime
/// stood still.
#[test]
fn the_longest_time_is_as_good_as_for_ever() {
    let runtime = Runtime::new().unwrap();
    let options = Options::new()
        .handshake_timeout(Duration::MAX)
        .frame_timeout(Duration::MAX)
        .reconnect_interval(Duration::MAX)
        .reconnect_max(Duration::MAX)
        .linger(Duration::MAX);
    let left = Pair::on(&runtime, options.clone()).unwrap();
    let right = Pair::on(&runtime, options.clone()).unwrap();
    let waits = Pair::on(&runtime, options).unwrap();
    waits.connect("tcp://127.0.0.1:1").unwrap();
    let endpoint = left.bind("tcp://127.0.0.1:0").unwrap();
    right.connect(endpoint.url()).unwrap();
    right.wait_for_peers(1, SOON).unwrap();
    right.send("written while it lingers").unwrap();
    right.close().unwrap();
    assert_eq!(left.recv_timeout(SOON).unwrap(), "written while it lingers");
    left.wait_for_peers(0, SOON).unwrap();

    let name = "inproc://the-longest-time";
    let admits = |_: &sinew::Peer| false;
    let shut = Pair::on(&runtime, Options::new().admit(admits)).unwrap();
    shut.bind(name).unwrap();
    waits.connect(name).unwrap();
}
