//! Interoperation: the real `nanocat` (nanomsg) and `nngcat` (NNG) at the other end of the wire.
//!
//! For each of their roles, over tcp and ipc, and ws with its feature, and for some at abstract names, with either side binding: exchanges of exact content,
//! their process killed and started again, and, where we bind, our socket closed and bound again
//! under their feet. Then ours and both of theirs in one topology.
//!
//! Debian and its descendants have the tools in `nanomsg-utils` and `nng-utils`. Where one is
//! missing its tests say so and pass, except with `CI=true` in the environment: then they fail.

use std::env;
use std::io::{self, ErrorKind, Read, Write};
use std::iter;
use std::process::{Child, Command, Stdio};
#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use kit::{Address, SOON, Transport, conserved, eventually, free_tcp_url};
use sinew::{
    BindError, Bus, Device, DropReason, Events, Message, Options, Pair, Pair1, PipeEventKind,
    PolyPair1, Pub, Pull, Push, Rep, Req, Respondent, Sub, Surveyor, raw,
};

/// The tests, `interop!` below being `fn test() { meet::<Role>(TOOL, Side, Over) }`.
macro_rules! interop {
    ($($test:ident: $tool:ident $role:ident $side:ident $transport:ident;)*) => {$(
        #[test]
        fn $test() {
            if $tool.is_installed() {
                meet::<$role>(&$tool, Side::$side, Over::$transport);
            }
        }
    )*};
}

interop! {
    // test                            their tool and role   who binds  over
    nanocat_rep_binds_tcp:             NANOCAT TheirRep         They    Tcp;
    nanocat_rep_binds_ipc:             NANOCAT TheirRep         They    Ipc;
    nanocat_rep_connects_tcp:          NANOCAT TheirRep         We      Tcp;
    nanocat_rep_connects_ipc:          NANOCAT TheirRep         We      Ipc;
    nanocat_req_binds_tcp:             NANOCAT TheirReq         They    Tcp;
    nanocat_req_binds_ipc:             NANOCAT TheirReq         They    Ipc;
    nanocat_req_connects_tcp:          NANOCAT TheirReq         We      Tcp;
    nanocat_req_connects_ipc:          NANOCAT TheirReq         We      Ipc;
    nanocat_respondent_binds_tcp:      NANOCAT TheirRespondent  They    Tcp;
    nanocat_respondent_binds_ipc:      NANOCAT TheirRespondent  They    Ipc;
    nanocat_respondent_connects_tcp:   NANOCAT TheirRespondent  We      Tcp;
    nanocat_respondent_connects_ipc:   NANOCAT TheirRespondent  We      Ipc;
    nanocat_surveyor_binds_tcp:        NANOCAT TheirSurveyor    They    Tcp;
    nanocat_surveyor_binds_ipc:        NANOCAT TheirSurveyor    They    Ipc;
    nanocat_surveyor_connects_tcp:     NANOCAT TheirSurveyor    We      Tcp;
    nanocat_surveyor_connects_ipc:     NANOCAT TheirSurveyor    We      Ipc;
    nanocat_pair_binds_tcp:            NANOCAT TheirPair        They    Tcp;
    nanocat_pair_binds_ipc:            NANOCAT TheirPair        They    Ipc;
    nanocat_pair_connects_tcp:         NANOCAT TheirPair        We      Tcp;
    nanocat_pair_connects_ipc:         NANOCAT TheirPair        We      Ipc;
    nanocat_push_binds_tcp:            NANOCAT TheirPush        They    Tcp;
    nanocat_push_binds_ipc:            NANOCAT TheirPush        They    Ipc;
    nanocat_push_connects_tcp:         NANOCAT TheirPush        We      Tcp;
    nanocat_push_connects_ipc:         NANOCAT TheirPush        We      Ipc;
    nanocat_pull_binds_tcp:            NANOCAT TheirPull        They    Tcp;
    nanocat_pull_binds_ipc:            NANOCAT TheirPull        They    Ipc;
    nanocat_pull_connects_tcp:         NANOCAT TheirPull        We      Tcp;
    nanocat_pull_connects_ipc:         NANOCAT TheirPull        We      Ipc;
    nanocat_pub_binds_tcp:             NANOCAT TheirPub         They    Tcp;
    nanocat_pub_binds_ipc:             NANOCAT TheirPub         They    Ipc;
    nanocat_pub_connects_tcp:          NANOCAT TheirPub         We      Tcp;
    nanocat_pub_connects_ipc:          NANOCAT TheirPub         We      Ipc;
    nanocat_sub_binds_tcp:             NANOCAT TheirSub         They    Tcp;
    nanocat_sub_binds_ipc:             NANOCAT TheirSub         They    Ipc;
    nanocat_sub_connects_tcp:          NANOCAT TheirSub         We      Tcp;
    nanocat_sub_connects_ipc:          NANOCAT TheirSub         We      Ipc;
    nanocat_bus_binds_tcp:             NANOCAT TheirBus         They    Tcp;
    nanocat_bus_binds_ipc:             NANOCAT TheirBus         They    Ipc;
    nanocat_bus_connects_tcp:          NANOCAT TheirBus         We      Tcp;
    nanocat_bus_connects_ipc:          NANOCAT TheirBus         We      Ipc;
    nngcat_rep_binds_tcp:              NNGCAT  TheirRep         They    Tcp;
    nngcat_rep_binds_ipc:              NNGCAT  TheirRep         They    Ipc;
    nngcat_rep_connects_tcp:           NNGCAT  TheirRep         We      Tcp;
    nngcat_rep_connects_ipc:           NNGCAT  TheirRep         We      Ipc;
    nngcat_req_binds_tcp:              NNGCAT  TheirReq         They    Tcp;
    nngcat_req_binds_ipc:              NNGCAT  TheirReq         They    Ipc;
    nngcat_req_connects_tcp:           NNGCAT  TheirReq         We      Tcp;
    nngcat_req_connects_ipc:           NNGCAT  TheirReq         We      Ipc;
    nngcat_respondent_binds_tcp:       NNGCAT  TheirRespondent  They    Tcp;
    nngcat_respondent_binds_ipc:       NNGCAT  TheirRespondent  They    Ipc;
    nngcat_respondent_connects_tcp:    NNGCAT  TheirRespondent  We      Tcp;
    nngcat_respondent_connects_ipc:    NNGCAT  TheirRespondent  We      Ipc;
    nngcat_surveyor_binds_tcp:         NNGCAT  TheirSurveyor    They    Tcp;
    nngcat_surveyor_binds_ipc:         NNGCAT  TheirSurveyor    They    Ipc;
    nngcat_surveyor_connects_tcp:      NNGCAT  TheirSurveyor    We      Tcp;
    nngcat_surveyor_connects_ipc:      NNGCAT  TheirSurveyor    We      Ipc;
    nngcat_pair_binds_tcp:             NNGCAT  TheirPair        They    Tcp;
    nngcat_pair_binds_ipc:             NNGCAT  TheirPair        They    Ipc;
    nngcat_pair_connects_tcp:          NNGCAT  TheirPair        We      Tcp;
    nngcat_pair_connects_ipc:          NNGCAT  TheirPair        We      Ipc;
    nngcat_push_binds_tcp:             NNGCAT  TheirPush        They    Tcp;
    nngcat_push_binds_ipc:             NNGCAT  TheirPush        They    Ipc;
    nngcat_push_connects_tcp:          NNGCAT  TheirPush        We      Tcp;
    nngcat_push_connects_ipc:          NNGCAT  TheirPush        We      Ipc;
    nngcat_pull_binds_tcp:             NNGCAT  TheirPull        They    Tcp;
    nngcat_pull_binds_ipc:             NNGCAT  TheirPull        They    Ipc;
    nngcat_pull_connects_tcp:          NNGCAT  TheirPull        We      Tcp;
    nngcat_pull_connects_ipc:          NNGCAT  TheirPull        We      Ipc;
    nngcat_pub_binds_tcp:              NNGCAT  TheirPub         They    Tcp;
    nngcat_pub_binds_ipc:              NNGCAT  TheirPub         They    Ipc;
    nngcat_pub_connects_tcp:           NNGCAT  TheirPub         We      Tcp;
    nngcat_pub_connects_ipc:           NNGCAT  TheirPub         We      Ipc;
    nngcat_sub_binds_tcp:              NNGCAT  TheirSub         They    Tcp;
    nngcat_sub_binds_ipc:              NNGCAT  TheirSub         They    Ipc;
    nngcat_sub_connects_tcp:           NNGCAT  TheirSub         We      Tcp;
    nngcat_sub_connects_ipc:           NNGCAT  TheirSub         We      Ipc;
    nngcat_bus_binds_tcp:              NNGCAT  TheirBus         They    Tcp;
    nngcat_bus_binds_ipc:              NNGCAT  TheirBus         They    Ipc;
    nngcat_bus_connects_tcp:           NNGCAT  TheirBus         We      Tcp;
    nngcat_bus_connects_ipc:           NNGCAT  TheirBus         We      Ipc;
    nngcat_pair1_binds_tcp:            NNGCAT  TheirPair1       They    Tcp;
    nngcat_pair1_binds_ipc:            NNGCAT  TheirPair1       They    Ipc;
    nngcat_pair1_connects_tcp:         NNGCAT  TheirPair1       We      Tcp;
    nngcat_pair1_connects_ipc:         NNGCAT  TheirPair1       We      Ipc;
}

#[cfg(target_os = "linux")]
interop! {
    // test                            their tool and role   who binds  over
    nngcat_rep_binds_abstract:         NNGCAT  TheirRep         They    Abstract;
    nngcat_rep_connects_abstract:      NNGCAT  TheirRep         We      Abstract;
    nngcat_pull_binds_abstract:        NNGCAT  TheirPull        They    Abstract;
    nngcat_push_connects_abstract:     NNGCAT  TheirPush        We      Abstract;
}

#[cfg(feature = "ws")]
interop! {
    // test                            their tool and role   who binds  over
    nanocat_rep_binds_ws:              NANOCAT TheirRep         They    Ws;
    nanocat_rep_connects_ws:           NANOCAT TheirRep         We      Ws;
    nanocat_req_binds_ws:              NANOCAT TheirReq         They    Ws;
    nanocat_req_connects_ws:           NANOCAT TheirReq         We      Ws;
    nanocat_respondent_binds_ws:       NANOCAT TheirRespondent  They    Ws;
    nanocat_respondent_connects_ws:    NANOCAT TheirRespondent  We      Ws;
    nanocat_surveyor_binds_ws:         NANOCAT TheirSurveyor    They    Ws;
    nanocat_surveyor_connects_ws:      NANOCAT TheirSurveyor    We      Ws;
    nanocat_pair_binds_ws:             NANOCAT TheirPair        They    Ws;
    nanocat_pair_connects_ws:          NANOCAT TheirPair        We      Ws;
    nanocat_push_binds_ws:             NANOCAT TheirPush        They    Ws;
    nanocat_push_connects_ws:          NANOCAT TheirPush        We      Ws;
    nanocat_pull_binds_ws:             NANOCAT TheirPull        They    Ws;
    nanocat_pull_connects_ws:          NANOCAT TheirPull        We      Ws;
    nanocat_pub_binds_ws:              NANOCAT TheirPub         They    Ws;
    nanocat_pub_connects_ws:           NANOCAT TheirPub         We      Ws;
    nanocat_sub_binds_ws:              NANOCAT TheirSub         They    Ws;
    nanocat_sub_connects_ws:           NANOCAT TheirSub         We      Ws;
    nanocat_bus_binds_ws:              NANOCAT TheirBus         They    Ws;
    nanocat_bus_connects_ws:           NANOCAT TheirBus         We      Ws;
    nngcat_rep_binds_ws:               NNGCAT  TheirRep         They    WsPath;
    nngcat_rep_connects_ws:            NNGCAT  TheirRep         We      WsPath;
    nngcat_req_binds_ws:               NNGCAT  TheirReq         They    WsPath;
    nngcat_req_connects_ws:            NNGCAT  TheirReq         We      WsPath;
    nngcat_respondent_binds_ws:        NNGCAT  TheirRespondent  They    WsPath;
    nngcat_respondent_connects_ws:     NNGCAT  TheirRespondent  We      WsPath;
    nngcat_surveyor_binds_ws:          NNGCAT  TheirSurveyor    They    WsPath;
    nngcat_surveyor_connects_ws:       NNGCAT  TheirSurveyor    We      WsPath;
    nngcat_pair_binds_ws:              NNGCAT  TheirPair        They    WsPath;
    nngcat_pair_connects_ws:           NNGCAT  TheirPair        We      WsPath;
    nngcat_push_binds_ws:              NNGCAT  TheirPush        They    WsPath;
    nngcat_push_connects_ws:           NNGCAT  TheirPush        We      WsPath;
    nngcat_pull_binds_ws:              NNGCAT  TheirPull        They    WsPath;
    nngcat_pull_connects_ws:           NNGCAT  TheirPull        We      WsPath;
    nngcat_pub_binds_ws:               NNGCAT  TheirPub         They    WsPath;
    nngcat_pub_connects_ws:            NNGCAT  TheirPub         We      WsPath;
    nngcat_sub_binds_ws:               NNGCAT  TheirSub         They    WsPath;
    nngcat_sub_connects_ws:            NNGCAT  TheirSub         We      WsPath;
    nngcat_bus_binds_ws:               NNGCAT  TheirBus         They    WsPath;
    nngcat_bus_connects_ws:            NNGCAT  TheirBus         We      WsPath;
    nngcat_pair1_binds_ws:             NNGCAT  TheirPair1       They    WsPath;
    nngcat_pair1_connects_ws:          NNGCAT  TheirPair1       We      WsPath;
}

/// What we send, by meeting: text and bytes that a careless tool would trip over, then nothing at
/// all and more than one read, then one more.
fn bodies() -> [Vec<Vec<u8>>; 3] {
    let long = (0..=255).cycle().take(70_000).collect();
    [
        vec![b"first".to_vec(), b"a\0b\"\\\r\n\xff".to_vec()],
        vec![Vec::new(), long],
        vec![b"last".to_vec()],
    ]
}

/// What they send: every byte there is.
fn data() -> Vec<u8> {
    (0..=255).collect()
}

/// One line of the table above: ours and theirs meet, part, and meet again.
fn meet<R: Role>(tool: &Tool, binds: Side, over: Over) {
    let place = Place::new(over);
    let start = || Cat::start(tool, &R::arguments(tool), binds, &place.url, &data());
    let [first, second, third] = bodies();

    let ours = R::Ours::make();
    let events = ours.events();
    match binds {
        Side::They => ours.connect(&place.url),
        Side::We => ours.bind(&place.url),
    }
    let cat = start();
    ours.wait_for_peers(1);
    R::exchange(&ours, &cat, &first);

    drop(cat);
    wait_for_loss(&events);
    let cat = start();
    ours.wait_for_peers(1);
    R::exchange(&ours, &cat, &second);

    if let Side::We = binds
        && over.they_come_back()
    {
        ours.close();
        let ours = R::Ours::make();
        ours.bind(&place.url);
        ours.wait_for_peers(1);
        R::exchange(&ours, &cat, &third);
    }
}

#[test]
fn one_req_balances_over_nanocat_and_nngcat() {
    if !both_are_installed() {
        return;
    }
    let [tcp, ipc] = [Place::new(Over::Tcp), Place::new(Over::Ipc)];
    let nanocat = || Cat::start(&NANOCAT, &["--rep"], Side::They, &tcp.url, b"nanocat");
    let nngcat = || Cat::start(&NNGCAT, &["--rep"], Side::They, &ipc.url, b"nngcat");
    let req = Req::new();
    let events = req.events();
    req.connect(&tcp.url).unwrap();
    req.connect(&ipc.url).unwrap();

    let (first_nanocat, _nngcat) = (nanocat(), nngcat());
    req.wait_for_peers(2, SOON).unwrap();
    let replies = ask_20_times(&req);
    assert!(replies.contains(&"nanocat".into()) && replies.contains(&"nngcat".into()));

    drop(first_nanocat);
    wait_for_loss(&events);
    assert_eq!(ask_20_times(&req), vec!["nngcat"; 20]);

    let _nanocat = nanocat();
    req.wait_for_peers(2, SOON).unwrap();
    let replies = ask_20_times(&req);
    assert!(replies.contains(&"nanocat".into()) && replies.contains(&"nngcat".into()));
}

fn ask_20_times(req: &Req) -> Vec<Message> {
    (0..20).map(|n: u8| req.request_timeout(&[n], SOON).unwrap()).collect()
}

#[test]
fn a_request_moves_on_when_the_rep_that_has_it_is_killed() {
    if !both_are_installed() {
        return;
    }
    let place = Place::new(Over::Tcp);
    let req = Req::new();
    req.bind(&place.url).unwrap();
    let mute = Cat::start_mute(&NANOCAT, &["--rep"], Side::We, &place.url);
    req.wait_for_peers(1, SOON).unwrap();

    thread::scope(|scope| {
        let reply = scope.spawn(|| req.request_timeout("who answers this?", SOON));
        assert_eq!(mute.message(), b"who answers this?");
        let nngcat = Cat::start(&NNGCAT, &["--rep"], Side::We, &place.url, b"I do");
        req.wait_for_peers(2, SOON).unwrap();
        drop(mute);
        assert_eq!(reply.join().unwrap().unwrap(), "I do");
        assert_eq!(nngcat.message(), b"who answers this?");
    });
}

#[test]
fn a_nanocat_sub_and_an_nngcat_sub_pick_from_one_pub() {
    if !both_are_installed() {
        return;
    }
    let publisher = Pub::new();
    let [tcp, ipc] = bound_twice(&publisher);
    let a_and_c = ["--sub", "--subscribe", "a", "--subscribe", "c."];
    let b_and_c = ["--sub", "--subscribe", "b", "--subscribe", "c."];
    let nanocat = Cat::start_mute(&NANOCAT, &a_and_c, Side::We, &tcp.url);
    let nngcat = Cat::start_mute(&NNGCAT, &b_and_c, Side::We, &ipc.url);
    publisher.wait_for_peers(2, SOON).unwrap();

    for topic in ["a", "b", "", "x", "c", "c.", "ba", "ab", "c.c"] {
        publisher.send(topic).unwrap();
    }
    assert_eq!(nanocat.texts(4), ["a", "c.", "ab", "c.c"]);
    assert_eq!(nngcat.texts(4), ["b", "c.", "ba", "c.c"]);
}

#[test]
fn one_sub_picks_from_a_nanocat_pub_and_an_nngcat_pub() {
    if !both_are_installed() {
        return;
    }
    let sub = Sub::new();
    sub.subscribe("wanted").unwrap();
    let [tcp, ipc] = bound_twice(&sub);
    let start = |tool, place: &Place, data: &str| {
        Cat::start(tool, &TheirPub::arguments(tool), Side::We, &place.url, data.as_bytes())
    };
    let _cats = [
        start(&NANOCAT, &ipc, "unwanted by us"),
        start(&NANOCAT, &tcp, "wanted of nanocat"),
        start(&NNGCAT, &ipc, "wanted of nngcat"),
    ];

    let mut wanted = vec!["wanted of nanocat", "wanted of nngcat"];
    while !wanted.is_empty() || sub.stats().drops(DropReason::NotSubscribed) == 0 {
        let message = sub.recv_timeout(SOON).unwrap();
        assert!(message.to_text().starts_with("wanted"), "{message}");
        wanted.retain(|text| message != *text);
    }
    sub.subscribe("unwanted").unwrap();
    sub.unsubscribe("wanted").unwrap();
    assert_eq!(sub.recv_timeout(SOON).unwrap(), "unwanted by us");
}

#[test]
fn one_pull_is_fed_by_nanocat_and_nngcat() {
    if !both_are_installed() {
        return;
    }
    let pull = Pull::new();
    let [tcp, ipc] = bound_twice(&pull);
    let _nanocat =
        Cat::start(&NANOCAT, &TheirPush::arguments(&NANOCAT), Side::We, &tcp.url, b"nanocat");
    let _nngcat =
        Cat::start(&NNGCAT, &TheirPush::arguments(&NNGCAT), Side::We, &ipc.url, b"nngcat");
    let (mut of_nanocat, mut of_nngcat) = (0, 0);
    while of_nanocat < 2 || of_nngcat < 2 {
        match pull.recv_timeout(SOON).unwrap().to_text().as_ref() {
            "nanocat" => of_nanocat += 1,
            "nngcat" => of_nngcat += 1,
            other => panic!("nobody pushed {other:?}"),
        }
    }
}

#[test]
fn a_bus_between_nanocat_and_nngcat_passes_nothing_on() {
    if !both_are_installed() {
        return;
    }
    let bus = Bus::new();
    let [tcp, ipc] = bound_twice(&bus);
    let cats = [(&NANOCAT, &tcp), (&NNGCAT, &ipc)].map(|(tool, place)| {
        let data = tool.name.as_bytes();
        Cat::start(tool, &TheirBus::arguments(tool), Side::We, &place.url, data)
    });
    for round in ["one", "two"] {
        let mut silent = vec!["nanocat", "nngcat"];
        while !silent.is_empty() {
            let message = bus.recv_timeout(SOON).unwrap();
            silent.retain(|name| message != *name);
        }
        // Had we passed on what they sent, that would come first.
        bus.send(round).unwrap();
        assert_eq!(cats.each_ref().map(|cat| cat.texts(1)), [[round], [round]]);
    }
}

#[test]
fn a_polyamorous_hub_answers_each_nngcat() {
    if !NNGCAT.is_installed() {
        return;
    }
    let hub = PolyPair1::new();
    let [tcp, ipc] = bound_twice(&hub);
    let cats = [("alice", &tcp), ("bob", &ipc)].map(|(name, place)| {
        let arguments = TheirPair1::arguments(&NNGCAT);
        Cat::start(&NNGCAT, &arguments, Side::We, &place.url, name.as_bytes())
    });
    let mut strangers = vec!["alice", "bob"];
    while !strangers.is_empty() {
        let hello = hub.recv_timeout(SOON).unwrap();
        let known = strangers.len();
        strangers.retain(|name| hello != *name);
        if strangers.len() < known {
            let pipe = hello.pipe().expect("it came on one");
            hub.send_to(pipe, format!("hello {hello}")).unwrap();
        }
    }
    assert_eq!(cats.each_ref().map(|cat| cat.texts(1)), [["hello alice"], ["hello bob"]]);
}

#[test]
fn push_goes_on_when_its_nanocat_pull_is_killed() {
    push_goes_on_when_its_pull_is_killed(&NANOCAT);
}

#[test]
fn push_goes_on_when_its_nngcat_pull_is_killed() {
    push_goes_on_when_its_pull_is_killed(&NNGCAT);
}

/// What is under way is lost then. Nothing else is, nothing comes twice or in another order.
fn push_goes_on_when_its_pull_is_killed(tool: &Tool) {
    if !tool.is_installed() {
        return;
    }
    let place = Place::new(Over::Tcp);
    let push = Push::new();
    push.connect(&place.url).unwrap();
    let pusher = push.clone();
    let pushing = thread::spawn(move || (0..).find(|n: &u64| pusher.send(n.to_string()).is_err()));
    let start = || Cat::start_mute(tool, &["--pull"], Side::They, &place.url);
    let number = |cat: &Cat| cat.texts(1)[0].parse::<u64>().unwrap();

    let first = start();
    (0..100).for_each(|n| assert_eq!(number(&first), n));
    drop(first);
    let second = start();
    let resumed = number(&second);
    assert!(resumed >= 100);
    (resumed + 1..resumed + 100).for_each(|n| assert_eq!(number(&second), n));

    push.close().unwrap();
    assert!(pushing.join().unwrap() > Some(resumed));
    conserved(|| push.stats());
}

#[test]
fn a_device_brokers_between_a_nanocat_req_and_an_nngcat_rep() {
    broker_between(&NANOCAT, &NNGCAT);
}

#[test]
fn a_device_brokers_between_an_nngcat_req_and_a_nanocat_rep() {
    broker_between(&NNGCAT, &NANOCAT);
}

fn broker_between(asks: &Tool, answers: &Tool) {
    if !both_are_installed() {
        return;
    }
    let (front, back) = (raw::Rep::new(), raw::Req::new());
    let [tcp, ipc] = [Place::new(Over::Tcp), Place::new(Over::Ipc)];
    front.bind(&tcp.url).unwrap();
    back.bind(&ipc.url).unwrap();
    let _device = Device::new(front, back).unwrap().spawn().unwrap();
    let start_answering =
        |answer: &[u8]| Cat::start(answers, &["--rep"], Side::We, &ipc.url, answer);

    let req = Cat::start(asks, &TheirReq::arguments(asks), Side::We, &tcp.url, b"question");
    let rep = start_answering(b"answer");
    assert_eq!(rep.texts(1), ["question"]);
    assert_eq!(req.texts(1), ["answer"]);

    drop(rep);
    let rep = start_answering(b"other answer");
    assert_eq!(rep.texts(1), ["question"]);
    while req.texts(1) == ["answer"] {}
    assert_eq!(req.texts(1), ["other answer"]);
}

#[test]
fn a_device_stands_between_their_push_and_their_pull() {
    if !both_are_installed() {
        return;
    }
    for (pushes, pulls) in [(&NANOCAT, &NNGCAT), (&NNGCAT, &NANOCAT)] {
        let (front, back) = (raw::Pull::new(), raw::Push::new());
        let [tcp, ipc] = [Place::new(Over::Tcp), Place::new(Over::Ipc)];
        front.bind(&tcp.url).unwrap();
        back.bind(&ipc.url).unwrap();
        let _device = Device::new(front, back).unwrap().spawn().unwrap();
        let _push = Cat::start(pushes, &TheirPush::arguments(pushes), Side::We, &tcp.url, &data());
        let pull = Cat::start_mute(pulls, &["--pull"], Side::We, &ipc.url);
        assert_eq!([pull.message(), pull.message()], [data(), data()]);
    }
}

#[test]
fn a_device_stands_between_their_pubs_and_their_subs() {
    if !both_are_installed() {
        return;
    }
    let (front, back) = (raw::Sub::new(), raw::Pub::new());
    let [tcp, ipc] = [Place::new(Over::Tcp), Place::new(Over::Ipc)];
    front.bind(&tcp.url).unwrap();
    back.bind(&ipc.url).unwrap();
    let _device = Device::new(front, back).unwrap().spawn().unwrap();
    let _pubs = [(&NANOCAT, b"a: nanocat".as_slice()), (&NNGCAT, b"b: nngcat")]
        .map(|(tool, data)| Cat::start(tool, &TheirPub::arguments(tool), Side::We, &tcp.url, data));
    for (tool, topic, expected) in [(&NNGCAT, "a", "a: nanocat"), (&NANOCAT, "b", "b: nngcat")] {
        let sub = Cat::start_mute(tool, &["--sub", "--subscribe", topic], Side::We, &ipc.url);
        assert_eq!(sub.texts(2), [expected; 2]);
    }
}

fn both_are_installed() -> bool {
    NANOCAT.is_installed() && NNGCAT.is_installed()
}

/// Binds a socket over tcp and over ipc.
fn bound_twice(socket: &impl Socket) -> [Place; 2] {
    let places = [Place::new(Over::Tcp), Place::new(Over::Ipc)];
    places.iter().for_each(|place| socket.bind(&place.url));
    places
}

/// One of their roles, and our part opposite.
trait Role {
    type Ours: Socket;

    /// What makes `tool` play the role.
    fn arguments(tool: &Tool) -> Vec<&'static str>;

    /// The bodies go from us to them, if the role receives, and their data comes to us, if it sends.
    fn exchange(ours: &Self::Ours, cat: &Cat, bodies: &[Vec<u8>]);
}

struct TheirRep;

impl Role for TheirRep {
    type Ours = Req;

    fn arguments(_: &Tool) -> Vec<&'static str> {
        vec!["--rep"]
    }

    fn exchange(req: &Req, cat: &Cat, bodies: &[Vec<u8>]) {
        for body in bodies {
            assert_eq!(req.request_timeout(body, SOON).unwrap(), data());
            assert_eq!(cat.message(), *body);
        }
    }
}

struct TheirReq;

impl Role for TheirReq {
    type Ours = Rep;

    fn arguments(tool: &Tool) -> Vec<&'static str> {
        vec!["--req", "--interval", tool.interval]
    }

    fn exchange(rep: &Rep, cat: &Cat, bodies: &[Vec<u8>]) {
        for body in bodies {
            until_printed(cat, body, || {
                let request = newest(rep.recv_timeout(SOON).unwrap(), || rep.try_recv().ok());
                assert_eq!(*request, data());
                request.reply(body).unwrap();
            });
        }
    }
}

struct TheirRespondent;

impl Role for TheirRespondent {
    type Ours = Surveyor;

    fn arguments(_: &Tool) -> Vec<&'static str> {
        vec!["--respondent"]
    }

    fn exchange(surveyor: &Surveyor, cat: &Cat, bodies: &[Vec<u8>]) {
        for body in bodies {
            let survey = surveyor.survey(body).unwrap();
            assert_eq!(survey.recv().unwrap(), data());
            assert_eq!(cat.message(), *body);
        }
    }
}

struct TheirSurveyor;

impl Role for TheirSurveyor {
    type Ours = Respondent;

    fn arguments(tool: &Tool) -> Vec<&'static str> {
        vec!["--surveyor", "--interval", tool.survey_interval]
    }

    fn exchange(respondent: &Respondent, cat: &Cat, bodies: &[Vec<u8>]) {
        for body in bodies {
            until_printed(cat, body, || {
                let question = respondent.recv_timeout(SOON).unwrap();
                let question = newest(question, || respondent.try_recv().ok());
                assert_eq!(*question, data());
                question.reply(body).unwrap();
            });
        }
    }
}

struct TheirPair;

impl Role for TheirPair {
    type Ours = Pair;

    fn arguments(tool: &Tool) -> Vec<&'static str> {
        vec![tool.pair, "--interval", tool.interval]
    }

    fn exchange(pair: &Pair, cat: &Cat, bodies: &[Vec<u8>]) {
        assert_eq!(pair.recv_timeout(SOON).unwrap(), data());
        for body in bodies {
            pair.send_timeout(body, SOON).unwrap();
            assert_eq!(cat.message(), *body);
        }
    }
}

struct TheirPair1;

impl Role for TheirPair1 {
    type Ours = Pair1;

    fn arguments(tool: &Tool) -> Vec<&'static str> {
        vec!["--pair1", "--interval", tool.interval]
    }

    fn exchange(pair: &Pair1, cat: &Cat, bodies: &[Vec<u8>]) {
        assert_eq!(pair.recv_timeout(SOON).unwrap(), data());
        for body in bodies {
            pair.send_timeout(body, SOON).unwrap();
            assert_eq!(cat.message(), *body);
        }
    }
}

struct TheirBus;

impl Role for TheirBus {
    type Ours = Bus;

    fn arguments(tool: &Tool) -> Vec<&'static str> {
        vec!["--bus", "--interval", tool.interval]
    }

    fn exchange(bus: &Bus, cat: &Cat, bodies: &[Vec<u8>]) {
        assert_eq!(bus.recv_timeout(SOON).unwrap(), data());
        for body in bodies {
            bus.send_timeout(body, SOON).unwrap();
            assert_eq!(cat.message(), *body);
        }
    }
}

struct TheirPush;

impl Role for TheirPush {
    type Ours = Pull;

    fn arguments(tool: &Tool) -> Vec<&'static str> {
        vec!["--push", "--interval", tool.interval]
    }

    fn exchange(pull: &Pull, _: &Cat, _: &[Vec<u8>]) {
        assert_eq!(pull.recv_timeout(SOON).unwrap(), data());
    }
}

struct TheirPull;

impl Role for TheirPull {
    type Ours = Push;

    fn arguments(_: &Tool) -> Vec<&'static str> {
        vec!["--pull"]
    }

    fn exchange(push: &Push, cat: &Cat, bodies: &[Vec<u8>]) {
        for body in bodies {
            push.send_timeout(body, SOON).unwrap();
            assert_eq!(cat.message(), *body);
        }
    }
}

struct TheirPub;

impl Role for TheirPub {
    type Ours = Sub;

    fn arguments(tool: &Tool) -> Vec<&'static str> {
        vec!["--pub", "--interval", tool.interval]
    }

    fn exchange(sub: &Sub, _: &Cat, _: &[Vec<u8>]) {
        assert_eq!(sub.recv_timeout(SOON).unwrap(), data());
    }
}

struct TheirSub;

impl Role for TheirSub {
    type Ours = Pub;

    fn arguments(_: &Tool) -> Vec<&'static str> {
        vec!["--sub"]
    }

    fn exchange(publisher: &Pub, cat: &Cat, bodies: &[Vec<u8>]) {
        for body in bodies {
            publisher.send_timeout(body, SOON).unwrap();
            assert_eq!(cat.message(), *body);
        }
    }
}

/// Answers until they have the answer. One that crosses with their next question is stale when it
/// arrives, and they ignore it.
fn until_printed(cat: &Cat, answer: &[u8], mut give_answer: impl FnMut()) {
    let begun = Instant::now();
    loop {
        give_answer();
        if let Some(message) = cat.message_within(Duration::from_secs(1)) {
            return assert_eq!(message, answer);
        }
        assert!(begun.elapsed() < SOON, "they take no answer");
    }
}

/// The last question that has come. They have given up those before it: who answers in order falls
/// behind for good once one answer was late.
fn newest<Q>(first: Q, next: impl FnMut() -> Option<Q>) -> Q {
    iter::from_fn(next).last().unwrap_or(first)
}

/// What our sockets have in common, as far as the table needs it.
trait Socket {
    fn make() -> Self;
    /// Binds in the end: when another test is just forking, a listener closed here stays open in
    /// the child until that executes its tool.
    fn bind(&self, url: &str);
    fn connect(&self, url: &str);
    fn wait_for_peers(&self, n: usize);
    fn events(&self) -> Events;
    fn close(&self);
}

macro_rules! socket {
    ($($ours:ident: $make:expr;)*) => {$(
        impl Socket for $ours {
            fn make() -> Self {
                $make
            }

            fn bind(&self, url: &str) {
                eventually("the address is free", || match $ours::bind(self, url) {
                    Err(BindError::AddressInUse { .. }) => false,
                    bound => bound.map(|_| true).unwrap(),
                });
            }

            fn connect(&self, url: &str) {
                $ours::connect(self, url).unwrap();
            }

            fn wait_for_peers(&self, n: usize) {
                $ours::wait_for_peers(self, n, SOON).unwrap();
            }

            fn events(&self) -> Events {
                $ours::events(self)
            }

            fn close(&self) {
                $ours::close(self).unwrap();
            }
        }
    )*};
}

socket! {
    Req: Self::new();
    Rep: Self::new();
    Surveyor: Self::with_options(Options::new().survey_deadline(SOON)).unwrap();
    Respondent: Self::new();
    Pair: Self::new();
    Pair1: Self::new();
    PolyPair1: Self::new();
    Bus: Self::new();
    Push: Self::new();
    Pull: Self::new();
    Pub: Self::new();
    Sub: {
        let sub = Self::new();
        sub.subscribe("").unwrap(); // everything
        sub
    };
}

fn wait_for_loss(events: &Events) {
    while !matches!(events.recv_timeout(SOON).unwrap().kind, PipeEventKind::Detached(_)) {}
}

/// A command-line tool of another implementation.
struct Tool {
    name: &'static str,
    package: &'static str,
    /// The option for PAIR v0.
    pair: &'static str,
    /// The shortest time between its messages, in seconds: nngcat knows whole ones only.
    interval: &'static str,
    /// The same for its surveys. Not the second after which a survey ends: nngcat's own timeout then
    /// ends at the same moment, and when the two cross (7 of 100 times on a busy machine, against
    /// nanocat as against us) it waits forever.
    survey_interval: &'static str,
}

const NANOCAT: Tool = Tool {
    name: "nanocat",
    package: "nanomsg-utils",
    pair: "--pair",
    interval: "0.2",
    survey_interval: "0.2",
};
const NNGCAT: Tool = Tool {
    name: "nngcat",
    package: "nng-utils",
    pair: "--pair0",
    interval: "1",
    survey_interval: "2",
};

impl Tool {
    /// False when the tool is not there, and says so; in CI that is a failure.
    fn is_installed(&self) -> bool {
        let mut help = Command::new(self.name);
        match help.arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status() {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let Self { name, package, .. } = self;
                let message = format!("no {name} here, it is in the package {package}");
                assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "{message}");
                kit::skipped(&message);
                false
            }
            Err(error) => panic!("cannot start {}: {error}", self.name),
        }
    }
}

/// Who binds; the other one connects.
#[derive(Clone, Copy)]
enum Side {
    They,
    We,
}

/// An address that nobody else uses, whoever binds it.
struct Place {
    url: String,
    _directory: Option<Address>,
}

/// What they have in common with us.
#[derive(Clone, Copy)]
enum Over {
    Tcp,
    Ipc,
    #[cfg(target_os = "linux")]
    Abstract,
    #[cfg(feature = "ws")]
    Ws,
    /// nanomsg cannot bind to one with a path.
    #[cfg(feature = "ws")]
    WsPath,
}

impl Over {
    /// Whether they connect again when our end goes and returns. Over ws nanomsg gives up for good if its upgrade meets a
    /// listener that is just closing, and NNG 1.5 now and then stays away as well, without a connection or an attempt.
    fn they_come_back(self) -> bool {
        match self {
            Self::Tcp | Self::Ipc => true,
            #[cfg(target_os = "linux")]
            Self::Abstract => true,
            #[cfg(feature = "ws")]
            Self::Ws | Self::WsPath => false,
        }
    }
}

impl Place {
    fn new(over: Over) -> Self {
        match over {
            Over::Tcp => Self { url: free_tcp_url(), _directory: None },
            Over::Ipc => {
                let address = Transport::Ipc.address();
                Self { url: address.url.clone(), _directory: Some(address) }
            }
            // With bytes that must be written as numbers, which both have to read alike.
            #[cfg(target_os = "linux")]
            Over::Abstract => {
                static COUNT: AtomicU32 = AtomicU32::new(0);
                let (process, number) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
                Self {
                    url: format!("abstract://sinew%00%ff%25{process}-{number}"),
                    _directory: None,
                }
            }
            #[cfg(feature = "ws")]
            Over::Ws => Self { url: free_tcp_url().replace("tcp://", "ws://"), _directory: None },
            #[cfg(feature = "ws")]
            Over::WsPath => {
                Self { url: format!("{}/some/path", Self::new(Over::Ws).url), _directory: None }
            }
        }
    }
}

/// A running tool and the messages it receives. Dropping it kills it (SIGKILL).
struct Cat {
    process: Child,
    messages: Receiver<Vec<u8>>,
}

impl Cat {
    /// Starts `tool`; it sends `data` when its role sends.
    fn start(tool: &Tool, role: &[&str], binds: Side, url: &str, data: &[u8]) -> Self {
        if ONLY_RECEIVE.contains(&role[0]) {
            return Self::start_mute(tool, role, binds, url);
        }
        let mut process = command(tool, role, binds, url)
            .args(["--file", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        process.stdin.take().expect("it is piped").write_all(data).unwrap();
        Self::listen_to(process)
    }

    /// Starts `tool` with nothing to send, so that it only receives.
    fn start_mute(tool: &Tool, role: &[&str], binds: Side, url: &str) -> Self {
        Self::listen_to(command(tool, role, binds, url).stdin(Stdio::null()).spawn().unwrap())
    }

    fn listen_to(mut process: Child) -> Self {
        let (sender, messages) = mpsc::channel();
        let mut output = process.stdout.take().expect("it is piped");
        thread::spawn(move || {
            while let Ok(message) = next_message(&mut output) {
                let _ = sender.send(message);
            }
        });
        Self { process, messages }
    }

    /// The next message it has received.
    fn message(&self) -> Vec<u8> {
        self.message_within(SOON).expect("the tool receives a message")
    }

    /// The next `n` messages, which must be text.
    fn texts(&self, n: usize) -> Vec<String> {
        (0..n).map(|_| String::from_utf8(self.message()).expect("it is text")).collect()
    }

    fn message_within(&self, time: Duration) -> Option<Vec<u8>> {
        self.messages.recv_timeout(time).ok()
    }
}

impl Drop for Cat {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn command(tool: &Tool, role: &[&str], binds: Side, url: &str) -> Command {
    let direction = match binds {
        Side::They => "--bind",
        Side::We => "--connect",
    };
    let mut command = Command::new(tool.name);
    command.args(role).args([direction, url]).stdout(Stdio::piped());
    if !ONLY_SEND.contains(&role[0]) {
        command.arg("--msgpack");
    }
    command
}

/// Roles in which the tools refuse data to send.
const ONLY_RECEIVE: [&str; 2] = ["--pull", "--sub"];
/// Roles in which the tools refuse a format to print in.
const ONLY_SEND: [&str; 2] = ["--push", "--pub"];

/// Reads one MessagePack bin 8, 16 or 32: of the tools' formats the one that loses nothing.
fn next_message(output: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut kind = [0];
    output.read_exact(&mut kind)?;
    let mut length = [0; 4];
    let digits = match kind {
        [0xc4] => 1,
        [0xc5] => 2,
        [0xc6] => 4,
        _ => panic!("the tool does not print MessagePack: {kind:02x?}"),
    };
    output.read_exact(&mut length[4 - digits..])?;
    let mut body = vec![0; u32::from_be_bytes(length).try_into().expect("it was in memory")];
    output.read_exact(&mut body)?;
    Ok(body)
}
