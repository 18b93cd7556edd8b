//! Options: defaults, ranges, and when a change takes effect.

mod kit;

use std::thread;
use std::time::{Duration, Instant};

use kit::sockets::{Socket, every_socket, one_by_one};
use kit::{SOON, Transport, eventually};
use sinew::{
    BindError, ConnectError, EndpointOptions, OptionError, Options, Pair, ProtocolId, Rep, Req,
    Respondent, SendError, Surveyor,
};

/// C299, C304: semantics specification, section 17.
#[test]
fn the_defaults_are_those_of_the_specification() {
    let options = Options::new();
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    assert_eq!(options.get_send_timeout(), None);
    assert_eq!(options.get_recv_timeout(), None);
    assert_eq!(options.get_max_recv_size(), Some(1 << 20));
    assert_eq!(options.get_max_send_size(), None);
    assert_eq!((options.get_send_queue(), options.get_recv_queue()), (128, 128));
    assert_eq!(
        (options.get_send_queue_bytes(), options.get_recv_queue_bytes()),
        (8 << 20, 8 << 20)
    );
    assert_eq!(options.get_reconnect_interval(), Duration::from_millis(100));
    assert_eq!(options.get_reconnect_max(), None);
    assert_eq!(options.get_linger(), Duration::ZERO);
    assert_eq!(options.get_handshake_timeout(), 10 * second);
    assert!(options.get_tcp_nodelay());
    assert_eq!(options.get_tcp_keepalive(), None);
    assert_eq!(options.get_ttl(), 8);
    assert_eq!(options.get_resend_interval(), Some(minute));
    assert_eq!(options.get_survey_deadline(), Some(second));
    assert_eq!(options.get_survey_storage(), 128);
}

/// C043, C086, C176, C282, C299.
#[test]
fn values_out_of_range_are_refused_by_name() {
    let refused = |options: Options, kind: ProtocolId| -> &'static str {
        let made = match kind {
            ProtocolId::REQ => Req::with_options(options).map(drop),
            ProtocolId::REP => Rep::with_options(options).map(drop),
            ProtocolId::SURVEYOR => Surveyor::with_options(options).map(drop),
            _ => Pair::with_options(options).map(drop),
        };
        match made {
            Err(OptionError::Invalid { option, .. }) => option,
            other => panic!("{other:?}"),
        }
    };
    let (new, zero) = (Options::new, Duration::ZERO);
    use ProtocolId as Id;
    assert_eq!(refused(new().send_queue(0), Id::PAIR), "send_queue");
    assert_eq!(refused(new().send_queue(8193), Id::PAIR), "send_queue");
    assert_eq!(refused(new().recv_queue(0), Id::PAIR), "recv_queue");
    assert_eq!(refused(new().recv_queue(8193), Id::PAIR), "recv_queue");
    assert_eq!(refused(new().send_queue_bytes(0), Id::PAIR), "send_queue_bytes");
    assert_eq!(refused(new().recv_queue_bytes(0), Id::PAIR), "recv_queue_bytes");
    assert_eq!(refused(new().reconnect_interval(zero), Id::PAIR), "reconnect_interval");
    assert_eq!(refused(new().handshake_timeout(zero), Id::PAIR), "handshake_timeout");
    assert_eq!(refused(new().tcp_keepalive(zero), Id::PAIR), "tcp_keepalive");
    assert_eq!(refused(new().ttl(0), Id::REP), "ttl");
    assert_eq!(refused(new().ttl(256), Id::REP), "ttl");
    assert_eq!(refused(new().resend_interval(zero), Id::REQ), "resend_interval");
    assert_eq!(refused(new().survey_deadline(zero), Id::SURVEYOR), "survey_deadline");
    assert_eq!(refused(new().survey_storage(0), Id::SURVEYOR), "survey_storage");
    assert_eq!(refused(new().survey_storage(8193), Id::SURVEYOR), "survey_storage");
    for good in [1, 8192] {
        Pair::with_options(new().send_queue(good).recv_queue(good)).unwrap();
        Surveyor::with_options(new().survey_storage(good)).unwrap();
    }
    for good in [1, 255] {
        assert_eq!(Rep::with_options(new().ttl(good)).unwrap().options().get_ttl(), good as u8);
    }
}

/// C043, C108, C132, C151.
#[test]
fn a_queue_of_any_socket_holds_1_to_8192_messages() {
    fn check<S: Socket>() {
        type Queue = (&'static str, fn(Options, usize) -> Options, fn(&Options) -> usize);
        let mut queues: Vec<Queue> = vec![
            ("send_queue", Options::send_queue, Options::get_send_queue),
            ("recv_queue", Options::recv_queue, Options::get_recv_queue),
        ];
        if S::IDS.0 == sinew::Sub::IDS.0 && !S::new().is_raw() {
            queues.push(("sub_queue", Options::sub_queue, Options::get_sub_queue));
        }
        for (option, set, get) in queues {
            for messages in [0, 1, 8192, 8193] {
                let options = set(Options::new(), messages);
                let made = S::try_with(options.clone());
                assert_eq!(made.as_ref().err(), S::new().set_options(options).as_ref().err());
                if (1..=8192).contains(&messages) {
                    assert_eq!(get(&made.unwrap().options()), messages);
                } else {
                    let (value, allowed) = (messages.to_string(), "1 to 8192 messages");
                    assert_eq!(made.unwrap_err(), OptionError::Invalid { option, value, allowed });
                }
            }
        }
    }
    one_by_one(every_socket!(check));
}

/// C300, C305.
#[test]
fn an_option_of_another_kind_of_socket_is_refused() {
    let no_such = |made: Result<(), OptionError>, name: &str| match made {
        Err(OptionError::NoSuchOption { option, .. }) => assert_eq!(option, name),
        other => panic!("{other:?}"),
    };
    let second = Duration::from_secs(1);
    let new = Options::new;
    no_such(Pair::with_options(new().ttl(8)).map(drop), "ttl");
    no_such(Req::with_options(new().ttl(8)).map(drop), "ttl");
    no_such(Rep::with_options(new().resend_interval(second)).map(drop), "resend_interval");
    no_such(Req::with_options(new().survey_deadline(second)).map(drop), "survey_deadline");
    no_such(Respondent::with_options(new().survey_storage(8)).map(drop), "survey_storage");
    let error = Pair::with_options(new().ttl(8)).unwrap_err();
    assert_eq!(error.to_string(), "a pair socket has no option ttl");
}

/// The endpoint options are checked by the call that uses them.
#[test]
fn endpoint_options_out_of_range_are_refused() {
    let pair = Pair::new();
    let zero = EndpointOptions::new().reconnect_interval(Duration::ZERO);
    assert!(matches!(pair.connect_with("inproc://x", &zero), Err(ConnectError::Option(_))));
    let mode = EndpointOptions::new().ipc_mode(0o1000);
    assert!(matches!(pair.bind_with("inproc://x", &mode), Err(BindError::Option(_))));
}

/// A set of options that is refused changes nothing.
#[test]
fn set_options_is_all_or_nothing() {
    let pair = Pair::new();
    let bad = pair.options().send_timeout(SOON).send_queue(0);
    pair.set_options(bad).unwrap_err();
    assert_eq!(pair.options().get_send_timeout(), None);
    pair.set_options(pair.options().send_timeout(SOON)).unwrap();
    assert_eq!(pair.options().get_send_timeout(), Some(SOON));
}

/// C301.
#[test]
fn an_endpoint_keeps_the_receive_limit_it_was_made_with() {
    let (pair, peer) = (Pair::new(), Pair::new());
    let _address = join!(pair, peer, Transport::Tcp);
    pair.set_options(pair.options().max_recv_size(1)).unwrap();
    peer.send("more than one byte").unwrap();
    assert_eq!(pair.recv_timeout(SOON).unwrap(), "more than one byte");
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
    assert!(matches!(pair.send("y"), Err(SendError::TimedOut(_))));
    assert!(matches!(waiting.join().unwrap(), Err(SendError::TimedOut(_))));
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

/// A local limit on what is sent gives the message back instead of costing the connection.
#[test]
fn a_message_over_the_send_limit_is_given_back_and_the_connection_stands() {
    let options = Options::new().max_send_size(4);
    let (pair, peer) = (Pair::with_options(options).unwrap(), Pair::new());
    let _address = join!(pair, peer, Transport::Tcp);
    match pair.send("12345") {
        Err(SendError::TooLarge { message, limit: 4 }) => assert_eq!(message, "12345"),
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
    let mut peer = kit::Raw::greet(&endpoint.url(), 0x30, 0x31);
    let two_hops = b"\0\0\0\x07\x80\0\0\x01x";
    peer.send_frame(two_hops);
    assert_eq!(*rep.recv_timeout(SOON).unwrap(), "x");
    rep.set_options(rep.options().ttl(1)).unwrap();
    peer.send_frame(two_hops);
    peer.send_frame(b"\x80\0\0\x01y");
    assert_eq!(*rep.recv_timeout(SOON).unwrap(), "y");
    eventually("counted", || rep.stats().drops(sinew::DropReason::TtlExceeded) == 1);
}
