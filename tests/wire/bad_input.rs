//! Bad input, from the program and from peers: it leads to a typed error, or to the counted end of one
//! connection, and the socket goes on with nothing lost.

#[cfg(unix)]
use std::fs;
use std::thread;
use std::time::Duration;

#[cfg(unix)]
use kit::TempDir;
use kit::{Raw, RawListener, SOON, Transport, attached, detached, eventually, header, join};
use sinew::{
    AddressError, AttemptError, BindError, ConnectError, DetachReason, DropReason, EndpointOptions,
    Events, HeaderError, OptionError, Options, Pair, Pub, Push, RecvError, Rep, Req, RequestError,
    Respondent, SendError, Surveyor,
};

/// The socket still does what it is for.
#[track_caller]
fn lives_on(pair: &Pair) {
    let peer = Pair::new();
    let (_address, endpoint) = join!(pair, peer, Transport::Tcp);
    pair.send_timeout("to", SOON).unwrap();
    assert_eq!(peer.recv_timeout(SOON).unwrap(), "to");
    peer.send_timeout("fro", SOON).unwrap();
    assert_eq!(pair.recv_timeout(SOON).unwrap(), "fro");
    endpoint.close().unwrap();
    kit::conserved(|| pair.stats());
}

#[track_caller]
fn malformed(url: &str, bind: bool) {
    let pair = Pair::new();
    let error = if bind {
        match pair.bind(url) {
            Err(BindError::Address(error)) => error,
            other => panic!("{url}: {other:?}"),
        }
    } else {
        match pair.connect(url) {
            Err(ConnectError::Address(error)) => error,
            other => panic!("{url}: {other:?}"),
        }
    };
    let is_piece = matches!(&error, AddressError::Host { .. } | AddressError::Port { .. });
    assert!(is_piece, "it says what is wrong: {error:?}");
    assert!(error.to_string().contains(url), "the message names the address: {error}");
    lives_on(&pair);
}

#[test]
fn a_url_without_a_scheme() {
    let pair = Pair::new();
    let url = "127.0.0.1:5555";
    let expected = AddressError::NoScheme { url: url.to_owned() };
    assert!(matches!(pair.bind(url), Err(BindError::Address(error)) if error == expected));
    assert!(matches!(pair.connect(url), Err(ConnectError::Address(error)) if error == expected));
    lives_on(&pair);
}

#[test]
fn an_unknown_scheme() {
    let pair = Pair::new();
    let url = "carrier-pigeon://loft";
    let scheme = "carrier-pigeon".to_owned();
    let local = if cfg!(windows) { "winpipe" } else { "unix" };
    let Err(BindError::Address(AddressError::UnknownTransport { known, .. })) = pair.bind(url)
    else {
        panic!("it is bound");
    };
    assert_eq!(known[..6], ["inproc", "tcp", "tcp4", "tcp6", "ipc", local]);
    assert_eq!(known.iter().any(|scheme| scheme == "ws"), cfg!(feature = "ws"));
    let expected = AddressError::UnknownTransport { url: url.to_owned(), scheme, known };
    assert!(matches!(pair.bind(url), Err(BindError::Address(error)) if error == expected));
    assert!(matches!(pair.connect(url), Err(ConnectError::Address(error)) if error == expected));
    lives_on(&pair);
}

#[test]
fn an_empty_host() {
    malformed("tcp://:5555", false);
}

#[test]
fn port_65536() {
    malformed("tcp://127.0.0.1:65536", true);
    malformed("tcp://127.0.0.1:65536", false);
}

#[test]
fn port_0_to_connect_to() {
    malformed("tcp://127.0.0.1:0", false);
}

#[cfg(unix)] // paths of files
#[test]
fn an_ipc_path_that_is_too_long() {
    let pair = Pair::new();
    let url = format!("ipc:///tmp/{}", "x".repeat(200));
    let piece = url.trim_start_matches("ipc://").to_owned();
    let expected = AddressError::TooLong { url: url.clone(), piece, limit: kit::IPC_PATH };
    assert!(matches!(pair.bind(&url), Err(BindError::Address(error)) if error == expected));
    assert!(matches!(pair.connect(&url), Err(ConnectError::Address(error)) if error == expected));
    lives_on(&pair);
}

#[cfg(unix)] // paths of files
#[test]
fn an_ipc_path_that_is_a_plain_file() {
    let dir = TempDir::new();
    let path = dir.path("plain");
    fs::write(&path, "content").unwrap();
    let url = format!("ipc://{}", path.display());
    let pair = Pair::new();
    assert!(matches!(pair.bind(&url), Err(BindError::AddressInUse { .. })));
    match pair.connect_now(&url) {
        Err(ConnectError::Failed { source: AttemptError::Refused, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "content");
    lives_on(&pair);
}

#[test]
fn an_address_in_use() {
    for transport in Transport::ALL {
        if transport == Transport::Ipc && cfg!(windows) {
            continue; // Wine 8 does not know which instance of a pipe is the first
        }
        let (first, second) = (Pair::new(), Pair::new());
        let address = transport.address();
        let url = first.bind(&address.url).unwrap().url();
        match second.bind(&url) {
            Err(BindError::AddressInUse { url: told }) => assert_eq!(told, url),
            other => panic!("{other:?}"),
        }
        assert_eq!(second.stats().bind_errors, 1);
        lives_on(&second);
        lives_on(&first);
    }
}

#[test]
fn a_zero_interval_deadline_or_limit() {
    let refused = |result: Result<(), OptionError>, name: &str, said: &str| match result {
        Err(OptionError::Invalid { option, value, .. }) => {
            assert_eq!((option, value.as_str()), (name, said));
        }
        other => panic!("{name}: {other:?}"),
    };
    let invalid = |result, name| refused(result, name, "zero");
    let zero = Duration::ZERO;
    let new = Options::new;
    invalid(Pair::with_options(new().reconnect_interval(zero)).map(drop), "reconnect_interval");
    invalid(Pair::with_options(new().handshake_timeout(zero)).map(drop), "handshake_timeout");
    invalid(Pair::with_options(new().tcp_keepalive(zero)).map(drop), "tcp_keepalive");
    refused(Pair::with_options(new().max_peers(0)).map(drop), "max_peers", "0");
    refused(Pair::with_options(new().max_handshakes(0)).map(drop), "max_handshakes", "0");
    invalid(Req::with_options(new().resend_interval(zero)).map(drop), "resend_interval");
    invalid(Surveyor::with_options(new().survey_deadline(zero)).map(drop), "survey_deadline");

    let pair = Pair::new();
    let bad = EndpointOptions::new().reconnect_interval(zero);
    match pair.connect_with("tcp://127.0.0.1:1", &bad) {
        Err(ConnectError::Option(error)) => invalid(Err(error), "reconnect_interval"),
        other => panic!("{other:?}"),
    }
    match pair.bind_with("tcp://127.0.0.1:0", &EndpointOptions::new().handshake_timeout(zero)) {
        Err(BindError::Option(error)) => invalid(Err(error), "handshake_timeout"),
        other => panic!("{other:?}"),
    }
    invalid(pair.set_options(new().reconnect_interval(zero)), "reconnect_interval");
    assert_eq!(pair.options().settings().reconnect_interval, Duration::from_millis(180));
    lives_on(&pair);
}

#[test]
fn a_message_over_the_limit_to_be_sent() {
    let limited = || Options::new().max_send_size(4);
    let pair = Pair::with_options(limited()).unwrap();
    let refused = [
        pair.send("12345").unwrap_err(),
        pair.try_send("12345").unwrap_err(),
        pair.send_timeout("12345", SOON).unwrap_err(),
        kit::block_on(pair.send_async("12345")).unwrap_err(),
    ];
    for error in refused {
        assert!(matches!(error, SendError::TooLarge { limit: 4, .. }), "{error:?}");
        assert_eq!(error.into_message(), "12345", "it is given back");
    }
    let error = Req::with_options(limited()).unwrap().request("12345").unwrap_err();
    assert!(matches!(error, RequestError::TooLarge { limit: 4, .. }), "{error:?}");
    let error = Surveyor::with_options(limited()).unwrap().survey("12345").unwrap_err();
    assert!(matches!(error, SendError::TooLarge { limit: 4, .. }), "{error:?}");
    assert_eq!(pair.stats().messages_sent, 0);
    lives_on(&pair);
}

/// The request can still be answered after an answer that was too long.
#[test]
fn an_answer_over_the_limit() {
    let rep = Rep::with_options(Options::new().max_send_size(8)).unwrap();
    let url = rep.bind("tcp://127.0.0.1:0").unwrap().url();
    let mut raw = Raw::greet(&url, 0x30, 0x31);
    raw.send_frame(b"\x80\0\0\x01?");
    let error = rep.recv_timeout(SOON).unwrap().reply("12345").unwrap_err();
    assert!(matches!(error.reason(), SendError::TooLarge { limit: 8, header: 4, .. }));
    error.into_parts().0.reply("1234").unwrap();
    assert_eq!(raw.read_frame(), b"\x80\0\0\x011234");
    kit::conserved(|| rep.stats());
}

/// A PAIR that listens, its events, and a raw peer that it has accepted.
fn pair_and_peer(options: Options) -> (Pair, Events, Raw) {
    let pair = Pair::with_options(options).unwrap();
    let events = pair.events();
    let url = pair.bind("tcp://127.0.0.1:0").unwrap().url();
    let raw = Raw::greet(&url, 0x10, 0x10);
    attached(&events);
    (pair, events, raw)
}

#[test]
fn a_message_over_the_limit_to_be_received() {
    let (pair, events, mut raw) = pair_and_peer(Options::new().max_recv_size(100));
    raw.send_frame(&[1; 100]);
    raw.send_frame(&[2; 101]);
    assert_eq!(detached(&events), DetachReason::Oversize { announced: 101, limit: 100 });
    assert_eq!(pair.recv_timeout(SOON).unwrap(), [1; 100], "what came before is not lost");
    assert_eq!(pair.try_recv(), Err(RecvError::WouldBlock));
    assert_eq!(pair.stats().oversize, 1);
    lives_on(&pair);
}

#[test]
fn a_send_in_the_wrong_state() {
    let (rep, respondent) = (Rep::new(), Respondent::new());
    let error = rep.context().send("to whom?").unwrap_err();
    assert!(matches!(error, SendError::State(_)), "{error:?}");
    assert_eq!(error.into_message(), "to whom?");
    let error = respondent.context().send("to whom?").unwrap_err();
    assert!(matches!(error, SendError::State(_)), "{error:?}");
    assert_eq!(Req::new().context().recv(), Err(RecvError::State));
    assert_eq!(Surveyor::new().context().recv(), Err(RecvError::State));

    // After one good answer there is nothing to answer any more.
    let req = Req::new();
    let _joined = join!(rep, req, Transport::Inproc);
    let context = rep.context();
    thread::scope(|scope| {
        let asking = scope.spawn(|| req.request_timeout("?", SOON));
        assert_eq!(context.recv_timeout(SOON).unwrap(), "?");
        context.send("!").unwrap();
        assert!(matches!(context.send("!"), Err(SendError::State(_))));
        assert_eq!(asking.join().unwrap().unwrap(), "!");
    });
    kit::conserved(|| rep.stats());
}

#[test]
fn use_after_close() {
    let pair = Pair::new();
    let url = Transport::Inproc.address().url;
    let endpoint = pair.bind(&url).unwrap();
    let events = pair.events();
    pair.close().unwrap();
    assert!(pair.is_closed());
    assert!(pair.close().is_err());
    assert!(endpoint.close().is_err());
    for error in [
        pair.send("kept").unwrap_err(),
        pair.try_send("kept").unwrap_err(),
        pair.send_timeout("kept", SOON).unwrap_err(),
        kit::block_on(pair.send_async("kept")).unwrap_err(),
    ] {
        assert!(matches!(error, SendError::Closed(_)), "{error:?}");
        assert_eq!(error.into_message(), "kept");
    }
    assert_eq!(pair.recv(), Err(RecvError::Closed));
    assert_eq!(pair.try_recv(), Err(RecvError::Closed));
    assert_eq!(pair.recv_timeout(SOON), Err(RecvError::Closed));
    assert_eq!(kit::block_on(pair.recv_async()), Err(RecvError::Closed));
    assert!(matches!(pair.bind(&url), Err(BindError::Closed)));
    assert!(matches!(pair.connect(&url), Err(ConnectError::Closed)));
    assert!(matches!(pair.connect_now(&url), Err(ConnectError::Closed)));
    assert_eq!(pair.wait_for_peers(1, SOON), Err(sinew::WaitError::Closed));
    assert_eq!(events.recv().map(drop), Err(RecvError::Closed));
    assert_eq!(pair.events().recv().map(drop), Err(RecvError::Closed));
    assert!(pair.peers().is_empty());
    assert_eq!(pair.drain(SOON), 0);
    kit::conserved(|| pair.stats());

    let req = Req::new();
    req.close().unwrap();
    assert!(matches!(req.request("kept"), Err(RequestError::Closed(m)) if m == "kept"));
    let surveyor = Surveyor::new();
    surveyor.close().unwrap();
    assert!(matches!(surveyor.survey("kept"), Err(SendError::Closed(m)) if m == "kept"));
    let rep = Rep::new();
    rep.close().unwrap();
    assert!(matches!(rep.recv(), Err(RecvError::Closed)));
}

#[test]
fn a_peer_of_the_wrong_protocol() {
    for transport in Transport::ALL {
        let (rep, pair) = (Rep::new(), Pair::new());
        let address = transport.address();
        let url = rep.bind(&address.url).unwrap().url();
        match pair.connect_now(&url) {
            Err(ConnectError::Failed {
                source: AttemptError::Protocol(HeaderError::Peer { .. }),
                ..
            }) => {}
            // Whichever side reads first closes: the other may see that before the header.
            Err(ConnectError::Failed { source: AttemptError::Closed, .. })
                if transport != Transport::Inproc => {}
            other => panic!("{transport:?}: {other:?}"),
        }
        eventually("the listener has counted it", || rep.stats().handshake_errors == 1);
        assert_eq!(rep.stats().accepted_connections, 0);
        lives_on(&pair);
    }
}

#[test]
fn garbage_instead_of_a_header() {
    let pair = Pair::new();
    let events = pair.events();
    let url = pair.bind("tcp://127.0.0.1:0").unwrap().url();
    let mut raw = Raw::connect(&url);
    raw.send(&[0xA5; 4096]);
    assert_eq!(raw.read_to_end(), header(0x10));
    eventually("it is counted", || pair.stats().handshake_errors == 1);
    assert!(events.try_recv().is_err(), "no event");

    // The same from a server that we connect to.
    let server = RawListener::new();
    let often = EndpointOptions::new().reconnect_interval(Duration::from_millis(10));
    let endpoint = pair.connect_with(server.url(), &often).unwrap();
    server.accept().send(&[0xA5; 4096]);
    let again = server.accept();
    assert_eq!(
        endpoint.status().last_error,
        Some(AttemptError::Protocol(HeaderError::Magic)),
        "it says why"
    );
    endpoint.close().unwrap();
    drop(again);
    lives_on(&pair);
}

#[test]
fn a_frame_that_announces_two_to_the_sixty_third_bytes() {
    for limit in [Some(1 << 20), None] {
        let (pair, events, mut raw) = pair_and_peer(Options::new().max_recv_size(limit));
        raw.send_frame(b"before");
        raw.send(&(1_u64 << 63).to_be_bytes());
        assert_eq!(detached(&events), DetachReason::Malformed);
        assert_eq!(raw.read_to_end(), [0; 0]);
        assert_eq!(pair.recv_timeout(SOON).unwrap(), "before");
        assert_eq!(pair.stats().framing_errors, 1);
        lives_on(&pair);
    }
}

#[test]
fn half_a_frame_and_silence() {
    let rep = Rep::new();
    let url = rep.bind("tcp://127.0.0.1:0").unwrap().url();
    let mut silent = Raw::greet(&url, 0x30, 0x31);
    let request = kit::frame(b"\x80\0\0\x01half");
    let (start, rest) = request.split_at(10);
    silent.send(start);

    let mut other = Raw::greet(&url, 0x30, 0x31);
    other.send_frame(b"\x80\0\0\x02whole");
    let request = rep.recv_timeout(SOON).unwrap();
    assert_eq!(request.message(), "whole", "others are served");
    request.reply("!").unwrap();
    assert_eq!(other.read_frame(), b"\x80\0\0\x02!");
    assert!(matches!(rep.try_recv(), Err(RecvError::WouldBlock)));
    assert_eq!(rep.peers().len(), 2, "silence is no offence");

    silent.send(rest);
    let request = rep.recv_timeout(SOON).unwrap();
    assert_eq!(request.message(), "half", "nothing is lost");
    request.reply("!").unwrap();
    assert_eq!(silent.read_frame(), b"\x80\0\0\x01!");
    silent.send(start);
    rep.close().unwrap();
    assert_eq!(silent.read_to_end(), [0; 0]);
    kit::conserved(|| rep.stats());
}

#[test]
fn a_reset_in_the_middle_of_a_frame() {
    let (pair, events, mut raw) = pair_and_peer(Options::new());
    raw.send_frame(b"whole");
    assert_eq!(pair.recv_timeout(SOON).unwrap(), "whole");
    raw.send(b"\0\0\0\0\0\0\0\x0Ahalf");
    // A reset takes with it what the other side has not read yet.
    thread::sleep(kit::QUIET);
    raw.reset();
    assert_eq!(detached(&events), DetachReason::PeerClosed);
    assert_eq!(pair.try_recv(), Err(RecvError::WouldBlock));
    assert_eq!((pair.stats().truncated, pair.stats().broken_connections), (1, 1));
    lives_on(&pair);
}

/// C112, C158. What a peer that must not send had sent used to lie there until the next send; once it
/// filled the queue, nobody heard the peer leave.
#[test]
fn an_idle_sender_throws_away_what_it_hears_and_sees_its_peer_leave() {
    let (push, publisher) = (Push::new(), Pub::new());
    let events = [push.events(), publisher.events()];
    let pushes = push.bind("tcp://127.0.0.1:0").unwrap();
    let pubs = publisher.bind("tcp://127.0.0.1:0").unwrap();
    for (endpoint, id, ours, events) in
        [(&pushes, 0x51, 0x50, &events[0]), (&pubs, 0x21, 0x20, &events[1])]
    {
        let mut peer = Raw::greet(&endpoint.url(), id, ours);
        attached(events);
        for _ in 0..300 {
            peer.send_frame(&[0; 64 << 10]);
        }
        peer.finish();
        detached(events);
    }
    for stats in [kit::conserved(|| push.stats()), kit::conserved(|| publisher.stats())] {
        assert_eq!(stats.drops(DropReason::Unexpected), 300);
    }
}
