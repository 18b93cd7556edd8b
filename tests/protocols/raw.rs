//! Raw sockets: headers in the hands of the program, and none of the conversations.

use std::time::Duration;

use kit::sockets::{Listed, one_by_one};
use kit::{Address, QUIET, Raw, SOON, Transport, conserved, eventually, every_socket, join};
use sinew::role::{self, Receives, Sends};
use sinew::{
    Bus, DropReason, Message, Options, PipeId, RecvError, Rep, Req, Respondent, SendError, Socket,
    Surveyor, raw,
};

/// The last word of a backtrace, and so the whole of a direct one.
const ID: [u8; 4] = [0x80, 0, 0, 7];

/// A bound socket and a peer that is nothing but bytes.
fn with_raw_peer<R: Listed>(transport: Transport, options: Options) -> (Socket<R>, Raw, Address) {
    let socket = Socket::<R>::with_options(options).unwrap();
    let address = transport.address();
    let url = socket.bind(&address.url).unwrap().url();
    let peer = Raw::greet(&url, R::IDS.1, R::IDS.0);
    socket.wait_for_peers(1, SOON).unwrap();
    (socket, peer, address)
}

fn message(header: &[u8], body: &str) -> Message {
    Message::from(body).with_header(header.to_vec())
}

/// What a raw REP or RESPONDENT is to answer to: the pipe, and the words that came on it.
fn prefixed(pipe: PipeId, words: &[u8]) -> Vec<u8> {
    [&pipe.get().to_be_bytes(), words].concat()
}

/// The header was refused: the message comes back whole, and nothing is counted.
#[track_caller]
fn refuses<R: Sends>(socket: &Socket<R>, header: &[u8]) {
    let before = socket.stats();
    let sends = [
        socket.try_send(message(header, "back")),
        socket.send_timeout(message(header, "back"), Duration::MAX),
    ];
    for error in sends.map(Result::unwrap_err) {
        assert!(matches!(error, SendError::Header(_)), "{error}");
        let message = error.into_message();
        assert_eq!((&message.header()[..], &message[..]), (header, &b"back"[..]));
    }
    assert_eq!(socket.stats(), before);
}

/// C226.
#[test]
fn every_socket_says_whether_it_is_raw() {
    fn check<R: Listed>() {
        assert_eq!(Socket::<R>::new().is_raw(), R::NAME.contains("raw"), "{}", R::NAME);
    }
    one_by_one(every_socket!(check));
}

/// C035. No socket of ours both takes any header and is read by one without rules: a PAIR v0 or PUSH
/// refuses a header, since the reader could not tell it from the body. Where headers are taken as they
/// are, by REQ and SURVEYOR in whole words, header and body are one payload on the wire; a reader
/// inside the process has rules and takes them apart again.
#[test]
fn header_and_body_travel_as_one() {
    fn check<R: Listed + Sends>() {
        for transport in Transport::STREAMS {
            let (socket, mut peer, _address) = with_raw_peer::<R>(transport, Options::new());
            refuses(&socket, b"hello, ");
            socket.send(message(b"hell", "o, world")).unwrap();
            assert_eq!(peer.read_frame(), b"hello, world");
            conserved(|| socket.stats());
        }
    }
    check::<role::Raw<role::Req>>();
    check::<role::Raw<role::Surveyor>>();
    refuses(&raw::Pair::new(), b"hello, ");

    for transport in Transport::ALL {
        let (req, rep) = (raw::Req::new(), raw::Rep::new());
        let _joined = join!(req, rep, transport);
        req.send(message(&ID, "world")).unwrap();
        let got = rep.recv_timeout(SOON).unwrap();
        assert_eq!(got.header()[..], prefixed(got.pipe().unwrap(), &ID));
        assert_eq!(got, "world");
    }
}

/// Semantics, section 10: without a header on the wire none is taken, peer or no peer.
#[test]
fn a_header_that_does_not_belong_there_is_refused() {
    for header in [&b"\0"[..], b"\0\0\0\0", b"hello, "] {
        refuses(&raw::Pair::new(), header);
        refuses(&raw::Push::new(), header);
        refuses(&raw::Pub::new(), header);
    }
    for header in [&b""[..], b"\0", b"\0\0\0\0\0", b"hello, "] {
        refuses(&raw::Req::new(), header);
        refuses(&raw::Surveyor::new(), header);
    }
    for header in [&b"\0"[..], b"\0\0\0", b"\0\0\0\0\0", b"\0\0\0\0\0\0\0\x01"] {
        refuses(&raw::Bus::new(), header);
    }
    for header in [&b""[..], b"\0\0\0", b"\0\0\0\xFF", b"\0\0\x01\0"] {
        refuses(&raw::Pair1::new(), header);
    }
}

/// C093, B28. A direct answer has one word; C188 for SURVEYOR.
#[test]
fn an_answer_is_received_with_its_whole_backtrace() {
    fn check<R: Listed + Receives<Item = Message>>() {
        for transport in Transport::STREAMS {
            let (asker, mut peer, _address) = with_raw_peer::<R>(transport, Options::new());
            // Raw askers have no hop limit.
            for words in [&b""[..], b"\0\0\0\x05", &[1; 40]] {
                peer.send_frame(&[words, &ID, b"body"].concat());
                let answer = asker.recv_timeout(SOON).unwrap();
                assert_eq!(answer.header()[..], [words, &ID].concat());
                assert_eq!(answer, "body");
            }
            conserved(|| asker.stats());
        }
    }
    check::<role::Raw<role::Req>>();
    check::<role::Raw<role::Surveyor>>();
}

/// C094.
#[test]
fn a_backtrace_without_an_end_is_dropped_and_the_pipe_goes_on() {
    fn check<R: Listed + Receives<Item = Message>>() {
        for transport in Transport::STREAMS {
            let (asker, mut peer, _address) = with_raw_peer::<R>(transport, Options::new());
            for garbage in [&b""[..], b"\x80\0\0", b"\0\0\0\x01", b"\0\0\0\x01\0\0\0\x02\x80"] {
                peer.send_frame(garbage);
            }
            peer.send_frame(b"\x80\0\0\x01good");
            assert_eq!(asker.recv_timeout(SOON).unwrap(), "good");
            assert_eq!(asker.stats().drops(DropReason::Malformed), 4);
            assert_eq!(asker.peers()[0].drops(DropReason::Malformed), 4);
            conserved(|| asker.stats());
        }
    }
    check::<role::Raw<role::Req>>();
    check::<role::Raw<role::Surveyor>>();
}

/// C095, C188.
#[test]
fn the_header_of_a_request_is_the_header_of_its_answer() {
    fn check<R: Listed + Sends + Receives<Item = Message>>() {
        for transport in Transport::STREAMS {
            let (answerer, mut first, address) = with_raw_peer::<R>(transport, Options::new());
            let url = answerer.peers()[0].url.clone();
            let mut second = Raw::greet(&url, R::IDS.1, R::IDS.0);
            answerer.wait_for_peers(2, SOON).unwrap();
            let asked = [&mut first, &mut second].map(|peer| {
                peer.send_frame(b"\0\0\0\x05\x80\0\0\x07?");
                answerer.recv_timeout(SOON).unwrap()
            });
            for question in &asked {
                let pipe = question.pipe().unwrap();
                assert_eq!(question.header()[..], prefixed(pipe, b"\0\0\0\x05\x80\0\0\x07"));
                assert_eq!(*question, "?");
            }
            let [header_1, header_2] = asked.map(|question| question.header().clone());
            // In any order, and as often as one likes.
            for (header, text) in [(&header_2, "second"), (&header_1, "first"), (&header_2, "more")]
            {
                answerer.send(message(header, text)).unwrap();
            }
            assert_eq!(first.read_frame(), b"\0\0\0\x05\x80\0\0\x07first");
            assert_eq!(second.read_frame(), b"\0\0\0\x05\x80\0\0\x07second");
            assert_eq!(second.read_frame(), b"\0\0\0\x05\x80\0\0\x07more");
            conserved(|| answerer.stats());
            drop(address);
        }
    }
    check::<role::Raw<role::Rep>>();
    check::<role::Raw<role::Respondent>>();
}

/// C095: the answer reaches the REQ that asked, over any transport.
#[test]
fn a_raw_rep_answers_a_req() {
    for transport in Transport::ALL {
        let (rep, req) = (raw::Rep::new(), Req::new());
        let _joined = join!(rep, req, transport);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let question = rep.recv_timeout(SOON).unwrap();
                rep.send(message(question.header(), "yes")).unwrap();
            });
            assert_eq!(req.request_timeout("?", SOON).unwrap(), "yes");
        });
        conserved(|| rep.stats());
        conserved(|| req.stats());
    }
}

/// C096, C189.
#[test]
fn an_answer_to_nobody_succeeds_and_goes_nowhere() {
    fn check<R: Listed + Sends + Receives<Item = Message>>() {
        for transport in Transport::STREAMS {
            let (answerer, mut peer, _address) = with_raw_peer::<R>(transport, Options::new());
            peer.send_frame(&[&ID[..], b"?"].concat());
            let question = answerer.recv_timeout(SOON).unwrap();
            let unknown = question.pipe().unwrap().get() ^ 1;
            let lost: [(&[u8], DropReason); 6] = [
                (b"", DropReason::BadHeader),
                (b"\0\0\x01", DropReason::BadHeader),
                (b"\0\0\0\0", DropReason::PeerGone),
                (b"\xFF\xFF\xFF\xFF\x80\0\0\x07", DropReason::PeerGone),
                (&unknown.to_be_bytes(), DropReason::PeerGone),
                (&[0x80; 12], DropReason::PeerGone),
            ];
            for (n, (header, reason)) in lost.into_iter().enumerate() {
                let before = answerer.stats().drops(reason);
                answerer.send(message(header, "lost")).unwrap();
                assert_eq!(answerer.stats().drops(reason), before + 1, "{header:?}");
                assert_eq!(answerer.stats().messages_sent, n as u64 + 1);
            }
            answerer.send(message(question.header(), "!")).unwrap();
            assert_eq!(peer.read_frame(), [&ID[..], b"!"].concat(), "nothing came before it");
            conserved(|| answerer.stats());
        }
    }
    check::<role::Raw<role::Rep>>();
    check::<role::Raw<role::Respondent>>();
}

/// C097, C189.
#[test]
fn an_answer_to_an_asker_that_is_gone_succeeds() {
    fn check<A: Sends + Receives<Item = Message>, S: Sends>() {
        for transport in Transport::ALL {
            let (answerer, asker) = (Socket::<A>::new(), Socket::<S>::new());
            let _joined = join!(answerer, asker, transport);
            for text in ["taken", "not taken"] {
                asker.send(message(&ID, text)).unwrap();
            }
            let question = answerer.recv_timeout(SOON).unwrap();
            eventually("the other has arrived", || answerer.stats().recv_queue == 1);
            asker.close().unwrap();
            eventually("the asker is gone", || answerer.peers().is_empty());
            answerer.send(message(question.header(), "to nobody")).unwrap();
            assert_eq!(answerer.stats().drops(DropReason::PeerGone), 1);
            assert_eq!(answerer.stats().drops(DropReason::AskerGone), 1);
            assert_eq!(answerer.try_recv(), Err(RecvError::WouldBlock));
            conserved(|| answerer.stats());
        }
    }
    check::<role::Raw<role::Rep>, role::Raw<role::Req>>();
    check::<role::Raw<role::Respondent>, role::Raw<role::Surveyor>>();
}

/// C098.
#[test]
fn an_asker_that_does_not_read_is_never_waited_for() {
    fn check<R: Listed + Sends + Receives<Item = Message>>() {
        for transport in Transport::STREAMS {
            // Enough bytes that it is the number that counts.
            let roomy = Options::new().send_queue_bytes(8 << 20);
            let (answerer, mut peer, _address) = with_raw_peer::<R>(transport, roomy);
            peer.send_frame(&[&ID[..], b"?"].concat());
            let question = answerer.recv_timeout(SOON).unwrap();
            let answer = Message::from(vec![0; 1 << 16]).with_header(question.header().clone());
            for _ in 0..1000 {
                answerer.try_send(&answer).unwrap();
                assert!(answerer.peers()[0].send_queue.messages <= 64);
            }
            let (stats, status) = (answerer.stats(), answerer.peers().remove(0));
            let dropped = stats.drops(DropReason::SendQueueFull);
            assert!(dropped > 0 && stats.copies_pushed >= 64);
            assert_eq!(stats.copies_pushed + dropped, 1000);
            assert_eq!(status.drops(DropReason::SendQueueFull), dropped);
            // Not of one moment: the I/O thread may be in the middle of a write.
            conserved(|| answerer.stats());
        }
    }
    check::<role::Raw<role::Rep>>();
    check::<role::Raw<role::Respondent>>();
}

/// C522, T C6b: who answers each request before it receives the next loses no answer, and serves others beside
/// peers that do not read.
#[test]
fn requests_wait_while_there_is_no_room_for_an_answer() {
    const FLOOD: u8 = 200;
    fn check<R: Listed + Sends + Receives<Item = Message>>() {
        for transport in Transport::STREAMS {
            let narrow = Options::new().send_queue(2).send_queue_bytes(100_000);
            let (answerer, mut silent, _address) = with_raw_peer::<R>(transport, narrow);
            for n in 0..FLOOD {
                silent.send_frame(&[0x80, 0, 0, n]);
            }
            let answer = |question: Message| {
                let answer = Message::from(vec![0; 100_000]).with_header(question.header().clone());
                answerer.send(answer).unwrap();
            };
            while let Ok(question) = answerer.recv_timeout(QUIET) {
                answer(question);
            }
            assert!(answerer.peers()[0].recv_queue.messages > 0);
            let mut other = Raw::greet(&answerer.endpoints()[0].url(), R::IDS.1, R::IDS.0);
            other.send_frame(&ID);
            answer(answerer.recv_timeout(SOON).unwrap());
            assert_eq!(other.read_frame().len(), 100_004);
            for n in 0..FLOOD {
                while let Ok(question) = answerer.try_recv() {
                    answer(question);
                }
                // The next may come only after this one is read.
                let reading = std::thread::scope(|scope| {
                    let reading = scope.spawn(|| silent.read_frame());
                    while !reading.is_finished() {
                        if let Ok(question) = answerer.recv_timeout(Duration::from_millis(1)) {
                            answer(question);
                        }
                    }
                    reading.join().unwrap()
                });
                assert_eq!(reading[..4], [0x80, 0, 0, n]);
            }
            let stats = conserved(|| answerer.stats());
            assert_eq!(stats.drops(DropReason::SendQueueFull), 0);
        }
    }
    check::<role::Raw<role::Rep>>();
    check::<role::Raw<role::Respondent>>();
}

/// D36. Inside the process no kernel has buffers of its own.
#[test]
fn answers_wait_in_a_queue_of_64() {
    fn check<A: Sends + Receives<Item = Message>, S: Sends>(options: Options, expected: u64) {
        let (answerer, asker) = (
            Socket::<A>::with_options(options).unwrap(),
            Socket::<S>::with_options(Options::new().recv_queue(1)).unwrap(),
        );
        assert_eq!(answerer.options().settings().send_queue as u64, expected);
        let _joined = join!(answerer, asker, Transport::Inproc);
        asker.send(message(&ID, "?")).unwrap();
        let header = answerer.recv_timeout(SOON).unwrap().header().clone();
        for _ in 0..200 {
            answerer.send(message(&header, "!")).unwrap();
        }
        assert_eq!(answerer.stats().copies_pushed, expected + 1, "and one in the asker's queue");
        assert_eq!(answerer.stats().drops(DropReason::SendQueueFull), 199 - expected);
        conserved(|| answerer.stats());
    }
    check::<role::Raw<role::Rep>, role::Raw<role::Req>>(Options::new(), 64);
    check::<role::Raw<role::Respondent>, role::Raw<role::Surveyor>>(Options::new(), 64);
    check::<role::Raw<role::Rep>, role::Raw<role::Req>>(Options::new().send_queue(128), 128);
    assert_eq!(raw::Req::new().options().settings().send_queue, 1000);
    assert_eq!(Rep::new().options().settings().send_queue, 1000);
}

/// C190, and for REP.
#[test]
fn as_many_words_as_the_hop_limit_are_let_through() {
    fn check<R: Listed + Receives<Item = Message>>() {
        for ttl in [1, 4, 255] {
            let options = Options::new().ttl(ttl);
            let (answerer, mut peer, _address) = with_raw_peer::<R>(Transport::Tcp, options);
            assert_eq!(u16::from(answerer.options().settings().ttl), ttl);
            let words = |hops: u16| [[1; 4].repeat(usize::from(hops) - 1), ID.to_vec()].concat();
            for (hops, body) in [(ttl, "exactly"), (ttl + 1, "beyond"), (1, "direct")] {
                peer.send_frame(&[words(hops), body.into()].concat());
            }
            for (hops, body) in [(ttl, "exactly"), (1, "direct")] {
                let question = answerer.recv_timeout(SOON).unwrap();
                let pipe = question.pipe().unwrap();
                assert_eq!(question.header()[..], prefixed(pipe, &words(hops)));
                assert_eq!(question, body);
            }
            assert_eq!(answerer.stats().drops(DropReason::TtlExceeded), 1);
            assert_eq!(answerer.peers()[0].drops(DropReason::TtlExceeded), 1);
            conserved(|| answerer.stats());
        }
    }
    check::<role::Raw<role::Rep>>();
    check::<role::Raw<role::Respondent>>();
}

/// C117, C160: where the wire has no header, raw and cooked are the same.
#[test]
fn raw_and_cooked_sockets_talk_to_each_other() {
    fn check<S: Sends, R: Receives<Item = Message>>() {
        for transport in Transport::ALL {
            let (sender, receiver) = (Socket::<S>::new(), Socket::<R>::new());
            let _joined = join!(sender, receiver, transport);
            for text in ["", "one", "two"] {
                sender.send(text).unwrap();
                let got = receiver.recv_timeout(SOON).unwrap();
                assert_eq!(got, text);
                assert!(got.header().is_empty());
                assert_eq!(got.pipe(), Some(receiver.peers()[0].pipe));
            }
            conserved(|| sender.stats());
            conserved(|| receiver.stats());
        }
    }
    check::<role::Raw<role::Push>, role::Pull>();
    check::<role::Push, role::Raw<role::Pull>>();
    check::<role::Raw<role::Push>, role::Raw<role::Pull>>();
    check::<role::Pair, role::Raw<role::Pair>>();
    check::<role::Raw<role::Pair>, role::Pair>();
    check::<role::Pub, role::Raw<role::Sub>>();
    check::<role::Raw<role::Pub>, role::Raw<role::Sub>>();
    check::<role::Raw<role::Bus>, role::Bus>();
}

/// C159, C160.
#[test]
fn a_raw_sub_receives_everything_and_a_cooked_one_what_it_wants() {
    for transport in Transport::ALL {
        let publisher = raw::Pub::new();
        let address = transport.address();
        let url = publisher.bind(&address.url).unwrap().url();
        let (everything, some) = (raw::Sub::new(), sinew::Sub::new());
        some.subscribe("a").unwrap();
        everything.connect(&url).unwrap();
        some.connect(&url).unwrap();
        publisher.wait_for_peers(2, SOON).unwrap();
        let published = ["ab", "", "b", "a"];
        for text in published {
            publisher.send(text).unwrap();
        }
        for text in published {
            assert_eq!(everything.recv_timeout(SOON).unwrap(), text);
        }
        for text in ["ab", "a"] {
            assert_eq!(some.recv_timeout(SOON).unwrap(), text);
        }
        assert_eq!(some.try_recv().unwrap_err(), RecvError::WouldBlock);
        conserved(|| publisher.stats());
        conserved(|| everything.stats());
        conserved(|| some.stats());
    }
}

/// C133, C134.
#[test]
fn a_raw_bus_passes_a_message_on_to_all_but_where_it_came_from() {
    for transport in Transport::ALL {
        let hub = raw::Bus::new();
        let address = transport.address();
        let url = hub.bind(&address.url).unwrap().url();
        let leaves = [(); 3].map(|()| {
            let leaf = Bus::new();
            leaf.connect(&url).unwrap();
            leaf.wait_for_peers(1, SOON).unwrap();
            leaf
        });
        hub.wait_for_peers(3, SOON).unwrap();
        leaves[0].send("pass it on").unwrap();
        let got = hub.recv_timeout(SOON).unwrap();
        assert_eq!(got.header()[..], got.pipe().unwrap().get().to_be_bytes());
        hub.send(&got).unwrap();
        // A pipe that does not exist excludes nobody.
        let unknown = got.pipe().unwrap().get() ^ 0x4000_0000;
        for header in [&b""[..], &unknown.to_be_bytes(), b"\0\0\0\0", b"\xFF\xFF\xFF\xFF"] {
            hub.send(message(header, "to all")).unwrap();
        }
        for (n, leaf) in leaves.iter().enumerate() {
            if n > 0 {
                assert_eq!(leaf.recv_timeout(SOON).unwrap(), "pass it on");
            }
            for _ in 0..4 {
                assert_eq!(leaf.recv_timeout(SOON).unwrap(), "to all");
            }
            assert_eq!(leaf.try_recv(), Err(RecvError::WouldBlock));
            conserved(|| leaf.stats());
        }
        conserved(|| hub.stats());
    }
}

/// C135, and for every other cooked socket that sends.
#[test]
fn a_cooked_socket_ignores_a_header() {
    fn check<R: Listed + Sends>(expected: &[u8]) {
        for transport in Transport::STREAMS {
            let (socket, mut peer, _address) = with_raw_peer::<R>(transport, Options::new());
            socket.send(message(b"stray", "x")).unwrap();
            assert_eq!(peer.read_frame(), expected);
            // It can arrive before the thread that has written it counts it.
            conserved(|| socket.stats());
        }
    }
    check::<role::Bus>(b"x");
    check::<role::Push>(b"x");
    check::<role::Pub>(b"x");
    check::<role::Pair>(b"x");
    check::<role::Pair1>(b"\0\0\0\x01x");
    check::<role::PolyPair1>(b"\0\0\0\x01x");
}

/// C188.
#[test]
fn a_raw_surveyor_asks_everybody_and_hears_them_all() {
    for transport in Transport::ALL {
        let surveyor = raw::Surveyor::new();
        let address = transport.address();
        let url = surveyor.bind(&address.url).unwrap().url();
        let (raw_one, cooked) = (raw::Respondent::new(), Respondent::new());
        raw_one.connect(&url).unwrap();
        cooked.connect(&url).unwrap();
        surveyor.wait_for_peers(2, SOON).unwrap();
        surveyor.send(message(&ID, "who?")).unwrap();
        let question = raw_one.recv_timeout(SOON).unwrap();
        assert_eq!(question.header()[..], prefixed(question.pipe().unwrap(), &ID));
        raw_one.send(message(question.header(), "raw")).unwrap();
        let question = cooked.recv_timeout(SOON).unwrap();
        assert_eq!(question.message(), "who?");
        question.reply("cooked").unwrap();
        let mut got = [(); 2].map(|()| {
            let answer = surveyor.recv_timeout(SOON).unwrap();
            assert_eq!(answer.header()[..], ID);
            answer.to_text().into_owned()
        });
        got.sort();
        assert_eq!(got, ["cooked", "raw"]);
        conserved(|| surveyor.stats());
        conserved(|| raw_one.stats());
        conserved(|| cooked.stats());
    }
}

/// C188: a cooked survey is answered by a raw respondent.
#[test]
fn a_raw_respondent_answers_a_survey() {
    for transport in Transport::ALL {
        let endless = Options::new().survey_deadline(None);
        let (surveyor, respondent) =
            (Surveyor::with_options(endless).unwrap(), raw::Respondent::new());
        let _joined = join!(surveyor, respondent, transport);
        let survey = surveyor.survey("who?").unwrap();
        let question = respondent.recv_timeout(SOON).unwrap();
        respondent.send(message(question.header(), "me")).unwrap();
        assert_eq!(survey.recv_timeout(SOON).unwrap(), "me");
        drop(survey);
        conserved(|| surveyor.stats());
        conserved(|| respondent.stats());
    }
}

/// Semantics, section 5.3: a raw REQ keeps nothing and waits for room.
#[test]
fn a_raw_req_waits_for_a_peer_and_takes_turns() {
    for transport in Transport::ALL {
        let req = raw::Req::new();
        assert!(matches!(req.try_send(message(&ID, "?")), Err(SendError::WouldBlock(_))));
        assert!(matches!(req.send_timeout(message(&ID, "?"), QUIET), Err(SendError::TimedOut(..))));
        assert_eq!(req.try_recv(), Err(RecvError::WouldBlock), "and is in no state");
        let address = transport.address();
        let url = req.bind(&address.url).unwrap().url();
        let reps = [Rep::new(), Rep::new()];
        reps.iter().for_each(|rep| drop(rep.connect(&url).unwrap()));
        req.wait_for_peers(2, SOON).unwrap();
        for _ in 0..10 {
            req.send(message(&ID, "?")).unwrap();
        }
        for rep in &reps {
            for _ in 0..5 {
                rep.recv_timeout(SOON).unwrap().reply("!").unwrap();
            }
        }
        for _ in 0..10 {
            assert_eq!(req.recv_timeout(SOON).unwrap().header()[..], ID);
        }
        assert_eq!(req.stats().resends, 0);
        conserved(|| req.stats());
    }
}
