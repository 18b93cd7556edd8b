//! SURVEYOR and RESPONDENT: one question to all, answers until the deadline.

use std::thread;
use std::time::{Duration, Instant};

use kit::{QUIET, Raw, SOON, Transport, conserved, eventually};
use sinew::{DropReason, Options, RecvError, Respondent, SendError, Surveyor};

const SURVEYOR: u8 = 0x62;
const RESPONDENT: u8 = 0x63;

fn surveyor(deadline: Duration) -> Surveyor {
    Surveyor::with_options(Options::new().survey_deadline(deadline)).unwrap()
}

/// A bound surveyor with `peers` respondents.
fn party(transport: Transport, deadline: Duration, peers: usize) -> Party {
    let surveyor = surveyor(deadline);
    let address = transport.address();
    let endpoint = surveyor.bind(&address.url).unwrap();
    let respondents: Vec<_> = (0..peers).map(|_| Respondent::new()).collect();
    for respondent in &respondents {
        respondent.connect(endpoint.url()).unwrap();
        respondent.wait_for_peers(1, SOON).unwrap();
    }
    surveyor.wait_for_peers(peers, SOON).unwrap();
    Party { surveyor, respondents, _address: address }
}

struct Party {
    surveyor: Surveyor,
    respondents: Vec<Respondent>,
    _address: kit::Address,
}

impl Party {
    fn conserved(&self) {
        conserved(|| self.surveyor.stats());
        for respondent in &self.respondents {
            conserved(|| respondent.stats());
        }
    }
}

/// C163.
#[test]
fn the_answers_that_come_before_the_deadline_are_received() {
    for transport in Transport::ALL {
        let party = party(transport, Duration::from_millis(200), 3);
        let asking = party.surveyor.context();
        asking.send("who?").unwrap();
        for (number, respondent) in party.respondents.iter().enumerate() {
            let question = respondent.recv_timeout(SOON).unwrap();
            assert_eq!(*question.message(), "who?");
            if number > 0 {
                question.reply(format!("{number}")).unwrap();
            }
        }
        let mut got = [(); 2].map(|()| asking.recv().unwrap().to_text().into_owned());
        got.sort();
        assert_eq!(got, ["1", "2"]);
        kit::timed_out(asking.recv());
        assert_eq!(asking.recv(), Err(RecvError::State));
        party.conserved();
    }
}

/// C164, C165.
#[test]
fn calls_in_the_wrong_order_are_refused() {
    assert_eq!(Surveyor::new().context().recv(), Err(RecvError::State));
    let error = Respondent::new().context().send("to whom?").unwrap_err();
    assert!(matches!(error, SendError::State(_)));
}

/// C166, C168, C174, C175.
#[test]
fn a_receive_that_waits_ends_at_the_deadline() {
    let deadline = Duration::from_millis(100);
    let surveyor = surveyor(deadline);
    let asking = surveyor.context();
    for timeout in [None, Some(SOON)] {
        asking.set_default_recv_timeout(timeout);
        let begin = Instant::now();
        asking.send("anybody?").unwrap();
        kit::timed_out(asking.recv());
        let waited = begin.elapsed();
        assert!(waited >= deadline && waited < 3 * deadline, "{waited:?}");
        assert_eq!(asking.recv(), Err(RecvError::State));
    }
    assert_eq!(surveyor.stats().drops(DropReason::NoPeer), 2);
    conserved(|| surveyor.stats());
}

/// C167.
#[test]
fn a_deadline_that_nobody_waited_for_is_reported_once() {
    let surveyor = surveyor(Duration::from_millis(20));
    let asking = surveyor.context();
    asking.send("q").unwrap();
    let survey = surveyor.survey("and this").unwrap();
    while Instant::now() < survey.deadline().unwrap() + Duration::from_millis(1) {
        thread::yield_now();
    }
    kit::timed_out(asking.recv());
    assert_eq!(asking.recv(), Err(RecvError::State));
    kit::timed_out(survey.try_recv());
}

/// C169, C170, C172.
#[test]
fn answers_to_an_older_survey_are_never_delivered() {
    for transport in Transport::ALL {
        let party = party(transport, SOON, 1);
        let [respondent] = &party.respondents[..] else { unreachable!("there is one") };
        let asking = party.surveyor.context();
        // Expired, stored and superseded.
        asking.set_survey_deadline(Duration::from_millis(20)).unwrap();
        asking.send("0").unwrap();
        let expired = respondent.recv_timeout(SOON).unwrap();
        kit::timed_out(asking.recv());
        asking.set_survey_deadline(SOON).unwrap();
        asking.send("1").unwrap();
        let question = respondent.recv_timeout(SOON).unwrap();
        expired.reply("to 0").unwrap();
        question.reply("to 1").unwrap();
        eventually("one is dropped, the other stored", || {
            drop(party.surveyor.context());
            let stats = party.surveyor.stats();
            (stats.drops(DropReason::Stale), stats.held_inbound) == (1, 1)
        });
        asking.send("2").unwrap();
        let late = respondent.recv_timeout(SOON).unwrap();
        asking.send("3").unwrap();
        late.reply("to 2").unwrap();
        respondent.recv_timeout(SOON).unwrap().reply("to 3").unwrap();
        assert_eq!(asking.recv_timeout(SOON).unwrap(), "to 3");
        assert_eq!(asking.try_recv(), Err(RecvError::WouldBlock));
        let stats = party.surveyor.stats();
        assert_eq!((stats.drops(DropReason::Stale), stats.drops(DropReason::Unread)), (2, 1));
        party.conserved();
    }
}

/// C171.
#[test]
fn a_receive_that_waits_is_canceled_by_a_newer_survey() {
    let surveyor = surveyor(SOON);
    let asking = surveyor.context();
    asking.send("1").unwrap();
    let mut waiting = Box::pin(asking.recv_async());
    assert!(kit::poll_once(&mut waiting).is_none());
    asking.send("2").unwrap();
    assert_eq!(kit::block_on(waiting), Err(RecvError::Canceled));
    assert_eq!(asking.try_recv(), Err(RecvError::WouldBlock));
}

/// C173.
#[test]
fn a_receive_timeout_does_not_end_the_survey() {
    for transport in Transport::ALL {
        let party = party(transport, SOON, 1);
        let asking = party.surveyor.context();
        let survey = party.surveyor.survey("typed").unwrap();
        asking.send("classic").unwrap();
        let timeout = Duration::from_millis(20);
        kit::timed_out(asking.recv_timeout(timeout));
        kit::timed_out(survey.recv_timeout(timeout));
        for _ in 0..2 {
            let question = party.respondents[0].recv_timeout(SOON).unwrap();
            let answer = question.message().clone();
            question.reply(answer).unwrap();
        }
        assert_eq!(asking.recv_timeout(SOON).unwrap(), "classic");
        assert_eq!(survey.recv_timeout(SOON).unwrap(), "typed");
        party.conserved();
    }
}

/// C176.
#[test]
fn a_new_deadline_holds_for_the_next_survey() {
    let surveyor = Surveyor::new();
    assert_eq!(surveyor.options().settings().survey_deadline, Some(Duration::from_secs(1)));
    assert!(surveyor.set_options(Options::new().survey_deadline(Duration::ZERO)).is_err());
    let asking = surveyor.context();
    assert!(asking.set_survey_deadline(Duration::ZERO).is_err());
    asking.set_survey_deadline(Duration::from_secs(60)).unwrap();
    asking.send("long").unwrap();
    asking.set_survey_deadline(Duration::from_millis(20)).unwrap();
    kit::timed_out(asking.recv_timeout(QUIET));
    assert_eq!(asking.try_recv(), Err(RecvError::WouldBlock));
    asking.send("short").unwrap();
    let begin = Instant::now();
    kit::timed_out(asking.recv());
    assert!(begin.elapsed() < Duration::from_millis(500));
    surveyor.set_options(Options::new().survey_deadline(None)).unwrap();
    assert_eq!(surveyor.survey("endless").unwrap().deadline(), None);
}

/// C180, C182, C183, C342.
#[test]
fn a_respondent_answers_the_survey_in_hand() {
    for transport in Transport::ALL {
        let party = party(transport, SOON, 1);
        let answering = party.respondents[0].context();
        let asking = [(); 2].map(|()| party.surveyor.context());
        asking[0].send("0").unwrap();
        assert_eq!(answering.recv_timeout(SOON).unwrap(), "0");
        let timeout = Duration::from_millis(20);
        kit::timed_out(answering.recv_timeout(timeout));
        assert_eq!(answering.try_recv(), Err(RecvError::WouldBlock));
        answering.try_send("to 0").unwrap();
        assert_eq!(asking[0].recv().unwrap(), "to 0");

        asking[0].send("0").unwrap();
        asking[1].send("1").unwrap();
        assert_eq!(answering.recv_timeout(SOON).unwrap(), "0");
        assert_eq!(answering.recv_timeout(SOON).unwrap(), "1");
        answering.send("to 1").unwrap();
        assert!(matches!(answering.send("more"), Err(SendError::State(_))));
        assert_eq!(asking[1].recv().unwrap(), "to 1");
        assert_eq!(asking[0].try_recv(), Err(RecvError::WouldBlock));

        let mut waiting = Box::pin(answering.recv_async());
        assert!(kit::poll_once(&mut waiting).is_none());
        assert_eq!(answering.recv(), Err(RecvError::State));
        party.conserved();
    }
}

/// C181.
#[test]
fn an_answer_to_a_surveyor_that_is_gone_succeeds() {
    for transport in Transport::ALL {
        let party = party(transport, SOON, 1);
        let _survey = party.surveyor.survey("q").unwrap();
        let question = party.respondents[0].recv_timeout(SOON).unwrap();
        party.surveyor.close().unwrap();
        eventually("the surveyor is gone", || party.respondents[0].peers().is_empty());
        question.reply("to nobody").unwrap();
        assert_eq!(party.respondents[0].stats().drops(DropReason::PeerGone), 1);
        party.conserved();
    }
}

/// C184, and C521 for RESPONDENT.
#[test]
fn a_surveyor_that_does_not_read_is_held_up_by_its_own_surveys() {
    for transport in Transport::STREAMS {
        let options = Options::new().send_queue(2).send_queue_bytes(100_000);
        let respondent = Respondent::with_options(options).unwrap();
        let address = transport.address();
        let endpoint = respondent.bind(&address.url).unwrap();
        let mut silent = Raw::greet(&endpoint.url(), SURVEYOR, RESPONDENT);
        let mut other = Raw::greet(&endpoint.url(), SURVEYOR, RESPONDENT);
        respondent.wait_for_peers(2, SOON).unwrap();
        for n in 0..200u8 {
            silent.send_frame(&[0x80, 0, 0, n]);
        }
        let answering = respondent.context();
        let mut answered = 0;
        while let Ok(_survey) = answering.recv_timeout(QUIET) {
            answering.send(vec![0; 100_000]).unwrap();
            answered += 1;
        }
        assert!(answered < 200, "the kernel takes all of that");
        other.send_frame(b"\x80\0\0\x01q");
        assert_eq!(answering.recv_timeout(SOON).unwrap(), "q");
        answering.send("a").unwrap();
        assert_eq!(other.read_frame(), b"\x80\0\0\x01a");
        // It takes part in no more: each survey takes the place of the one in hand.
        for n in 0..200u8 {
            if n < answered {
                assert_eq!(silent.read_frame()[..4], [0x80, 0, 0, n]);
            } else {
                answering.recv_timeout(SOON).unwrap();
            }
        }
        assert_eq!(answering.try_recv(), Err(RecvError::WouldBlock));
        conserved(|| respondent.stats());
    }
}

/// C185.
#[test]
fn every_respondent_gets_every_survey_once() {
    const PEERS: usize = 100;
    for transport in Transport::ALL {
        let party = party(transport, SOON, PEERS);
        for round in 0..20u8 {
            let survey = party.surveyor.survey(&[round]).unwrap();
            for (number, respondent) in (0u8..).zip(&party.respondents) {
                let question = respondent.recv_timeout(SOON).unwrap();
                assert_eq!(question.message()[..], [round]);
                question.reply(&[number]).unwrap();
            }
            let mut numbers: Vec<u8> =
                (0..PEERS).map(|_| survey.recv_timeout(SOON).unwrap()[0]).collect();
            numbers.sort_unstable();
            assert!(numbers.iter().copied().eq(0..PEERS as u8));
            assert_eq!(survey.try_recv(), Err(RecvError::WouldBlock));
        }
        party.conserved();
    }
}

/// C186.
#[test]
fn answers_beyond_the_storage_are_dropped() {
    for transport in Transport::STREAMS {
        let options = Options::new().survey_deadline(SOON).survey_storage(2);
        let surveyor = Surveyor::with_options(options).unwrap();
        let address = transport.address();
        let endpoint = surveyor.bind(&address.url).unwrap();
        let mut raw = Raw::greet(&endpoint.url(), RESPONDENT, SURVEYOR);
        surveyor.wait_for_peers(1, SOON).unwrap();
        let asking = surveyor.context();
        asking.send("q").unwrap();
        let id = raw.read_frame();
        for n in 0..100u8 {
            raw.send_frame(&[&id[..4], &[n]].concat());
        }
        eventually("98 are dropped", || {
            drop(surveyor.context());
            surveyor.stats().drops(DropReason::RecvQueueFull) == 98
        });
        assert_eq!(asking.try_recv().unwrap()[..], [0]);
        assert_eq!(asking.try_recv().unwrap()[..], [1]);
        assert_eq!(asking.try_recv(), Err(RecvError::WouldBlock));
        raw.send_frame(&[&id[..4], b"more"].concat());
        assert_eq!(asking.recv().unwrap(), "more");
        conserved(|| surveyor.stats());
    }
}

/// C187.
#[test]
fn a_stalled_respondent_does_not_hold_up_a_survey() {
    for transport in Transport::STREAMS {
        let options = Options::new().send_queue(2).send_queue_bytes(100_000);
        let surveyor = Surveyor::with_options(options).unwrap();
        let address = transport.address();
        let endpoint = surveyor.bind(&address.url).unwrap();
        let _stalled = Raw::greet(&endpoint.url(), RESPONDENT, SURVEYOR);
        surveyor.wait_for_peers(1, SOON).unwrap();
        let asking = surveyor.context();
        let big = sinew::Message::from(vec![0; 100_000]);
        let begin = Instant::now();
        for _ in 0..100 {
            asking.send(&big).unwrap();
        }
        assert!(begin.elapsed() < SOON / 2);
        assert!(surveyor.stats().drops(DropReason::SendQueueFull) > 0);
    }
}

/// C191.
#[test]
fn closing_the_socket_ends_a_receive() {
    let surveyor = surveyor(SOON);
    let asking = surveyor.context();
    asking.send("q").unwrap();
    let survey = surveyor.survey("q").unwrap();
    let mut waiting = Box::pin(survey.recv_async());
    assert!(kit::poll_once(&mut waiting).is_none());
    thread::scope(|scope| {
        let typed = scope.spawn(|| survey.recv());
        let classic = scope.spawn(|| asking.recv());
        surveyor.close().unwrap();
        assert_eq!(typed.join().unwrap(), Err(RecvError::Closed));
        assert_eq!(classic.join().unwrap(), Err(RecvError::Closed));
    });
    assert_eq!(kit::block_on(waiting), Err(RecvError::Closed));
}

/// Several may wait for the answers to one survey; all hear of its end.
#[test]
fn everybody_who_waits_hears_of_the_deadline() {
    let surveyor = surveyor(QUIET);
    let begin = Instant::now();
    let survey = surveyor.survey("q").unwrap();
    let mut tasks = [(); 3].map(|()| Box::pin(survey.recv_async()));
    thread::scope(|scope| {
        let tasks = tasks.each_mut().map(|task| scope.spawn(move || kit::block_on(task)));
        let threads = [(); 3].map(|()| scope.spawn(|| survey.recv()));
        for waiter in tasks.into_iter().chain(threads) {
            kit::timed_out(waiter.join().unwrap());
        }
    });
    // A task that nobody wakes is polled by the kit all the same, but much later.
    assert!(begin.elapsed() < SOON / 2);
}

/// Semantics 9.1: several receives may wait on one survey; each answer goes to one of them.
#[test]
fn several_threads_may_wait_for_the_answers_to_one_survey() {
    let surveyor = Surveyor::with_options(Options::new().survey_deadline(SOON)).unwrap();
    let respondents: Vec<Respondent> = (0..4).map(|_| Respondent::new()).collect();
    let address = Transport::Inproc.address();
    surveyor.bind(&address.url).unwrap();
    for respondent in &respondents {
        respondent.connect(&address.url).unwrap();
    }
    surveyor.wait_for_peers(respondents.len(), SOON).unwrap();
    let asking = surveyor.context();
    asking.send("who?").unwrap();
    thread::scope(|scope| {
        let waiting: Vec<_> = respondents
            .iter()
            .map(|_| scope.spawn(|| asking.recv().expect("an answer for each").to_string()))
            .collect();
        for (n, respondent) in respondents.iter().enumerate() {
            respondent.recv_timeout(SOON).unwrap().reply(n.to_string()).unwrap();
        }
        let mut answers: Vec<String> =
            waiting.into_iter().map(|waiting| waiting.join().unwrap()).collect();
        answers.sort();
        assert_eq!(answers, ["0", "1", "2", "3"]);
    });
}

/// It has seen ids before it connects again, and guesses the next.
///
/// C348.
#[test]
fn a_guessed_answer_from_a_peer_that_was_not_asked_is_dropped() {
    for transport in Transport::STREAMS {
        let party = party(transport, SOON, 1);
        let [honest] = &party.respondents[..] else { unreachable!("there is one") };
        let url = party.surveyor.endpoints()[0].url();
        let mut hostile = Raw::greet(&url, RESPONDENT, SURVEYOR);
        party.surveyor.wait_for_peers(2, SOON).unwrap();
        let asking = party.surveyor.context();
        asking.send("which id?").unwrap();
        let seen = u32::from_be_bytes(*hostile.read_frame().first_chunk().expect("an id"));
        drop(honest.recv_timeout(SOON).unwrap());
        drop(hostile);
        party.surveyor.wait_for_peers(1, SOON).unwrap();

        asking.send("who is honest?").unwrap();
        let survey = honest.recv_timeout(SOON).unwrap();
        let mut hostile = Raw::greet(&url, RESPONDENT, SURVEYOR);
        let guess = (seen.wrapping_add(1) | 1 << 31).to_be_bytes();
        hostile.send_frame(&[&guess[..], b"forged"].concat());
        eventually("the forged answer is dropped", || {
            assert_eq!(asking.try_recv(), Err(RecvError::WouldBlock));
            party.surveyor.stats().drops(DropReason::NotAsked) == 1
        });
        survey.reply("honest").unwrap();
        assert_eq!(asking.recv_timeout(SOON).unwrap(), "honest");
        party.conserved();
    }
}
