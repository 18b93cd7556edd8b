//! The text of errors, for a person who sees only the error that `main` has returned.

use std::error::Error;
use std::fmt::Debug;
use std::time::Duration;

use kit::{SOON, Transport, join};
use sinew::{
    DropReason, Message, Options, Pair, PipeId, Pub, Pull, Push, RecvError, Rep, Req, SendError,
    Sub, Surveyor, WaitError,
};

const MIB: usize = 1 << 20;
const SHORT: Duration = Duration::from_millis(20);

fn named(name: &str) -> Options {
    Options::new().name(name)
}

/// What `main` prints of an error that it returns.
fn printed(error: impl Into<Box<dyn Error>>) -> String {
    format!("{:?}", error.into())
}

/// C371.
#[test]
fn a_call_that_has_timed_out_says_which_and_that_the_socket_has_no_endpoint() {
    let nowhere = "the socket is neither bound nor connected";
    let (push, pull) =
        (Push::with_options(named("jobs")).unwrap(), Pull::with_options(named("work")).unwrap());
    let error = push.send_timeout("x", SHORT).unwrap_err();
    assert_eq!(printed(error), format!("send on \"jobs\" timed out after 20ms: {nowhere}"));
    let error = push.send_timeout("x", Duration::ZERO).unwrap_err();
    assert_eq!(printed(error), format!("send on \"jobs\" timed out at once: {nowhere}"));
    let error = pull.recv_timeout(SHORT).unwrap_err();
    assert_eq!(printed(error), format!("recv on \"work\" timed out after 20ms: {nowhere}"));
    let error = push.wait_for_peers(2, SHORT).unwrap_err();
    assert_eq!(
        printed(error),
        format!("wait_for_peers(2) on \"jobs\" timed out after 20ms: {nowhere}")
    );
    let req = Req::with_options(named("asking")).unwrap();
    let error = req.request_timeout("x", SHORT).unwrap_err();
    assert_eq!(printed(error), format!("request on \"asking\" timed out after 20ms: {nowhere}"));
    let error = req.events().recv_timeout(SHORT).unwrap_err();
    assert_eq!(printed(error), "events on \"asking\" timed out after 20ms: nothing has happened");
}

/// A name that no option gave is the kind of socket and a number.
#[test]
fn a_socket_without_a_name_is_named_by_its_kind() {
    let pull = Pull::new();
    let error = printed(pull.recv_timeout(SHORT).unwrap_err());
    assert!(error.starts_with("recv on \"pull-"), "{error}");
}

/// C371.
#[test]
fn where_nobody_is_connected_each_endpoint_says_how_it_stands_and_why() {
    let req = Req::with_options(named("orders")).unwrap();
    let (refused, bound) = (kit::free_tcp_url(), Transport::Inproc.address());
    let endpoint = req.connect(&refused).unwrap();
    req.bind(&bound.url).unwrap();
    kit::eventually("it was refused", || endpoint.status().last_error.is_some());
    let error = req.request_timeout("x", SHORT).unwrap_err();
    let text = printed(error);
    let begin = "request on \"orders\" timed out after 20ms: nobody is connected; connects to ";
    assert!(text.starts_with(&format!("{begin}{refused}: ")), "{text}");
    assert!(text.contains("last error: connection refused; bound to inproc://"), "{text}");
    assert!(text.ends_with(": listening, 0 peers"), "{text}");
}

/// C371.
#[test]
fn where_peers_are_connected_their_number_is_said_and_no_endpoint() {
    let (push, pull) = (Push::with_options(named("full").send_queue(1)).unwrap(), Pull::new());
    let _address = join!(push, pull, Transport::Inproc);
    while push.try_send("x").is_ok() {}
    let error = push.send_timeout("x", SHORT).unwrap_err();
    assert_eq!(printed(error), "send on \"full\" timed out after 20ms: 1 peer is connected");
    let error = push.wait_for_peers(2, SHORT).unwrap_err();
    let WaitError::TimedOut(situation) = &error else { panic!("{error}") };
    assert_eq!(situation.peers(), 1);
    let endpoints: Vec<_> = situation.endpoints().collect();
    assert!(endpoints.len() == 1 && endpoints[0].starts_with("bound to inproc://"));
}

/// C371: what a newcomer forgets.
#[test]
fn a_sub_without_a_subscription_says_so() {
    let (publisher, sub) = (Pub::new(), Sub::with_options(named("news")).unwrap());
    let _address = join!(publisher, sub, Transport::Inproc);
    let said = "recv on \"news\" timed out after 20ms: 1 peer is connected";
    let error = printed(sub.recv_timeout(SHORT).unwrap_err());
    assert_eq!(error, format!("{said}, nothing is subscribed to"));
    sub.subscribe("weather").unwrap();
    assert_eq!(printed(sub.recv_timeout(SHORT).unwrap_err()), said);
}

/// C371.
#[test]
fn a_survey_and_an_answer_say_what_they_are() {
    let options = named("survey").survey_deadline(SHORT);
    let surveyor = Surveyor::with_options(options).unwrap();
    let survey = surveyor.survey("anyone?").unwrap();
    let error = survey.recv().unwrap_err();
    let RecvError::TimedOut(situation) = &error else { panic!("{error}") };
    assert_eq!(situation.waited(), None);
    assert_eq!(
        printed(error),
        "recv on \"survey\" timed out, the survey is over: the socket is neither bound nor connected"
    );
}

/// C372: the sentence of each, rather than the name of a variant.
#[test]
fn every_error_of_a_call_prints_its_sentence_when_main_returns_it() {
    fn check<E: Error + Debug + 'static>(error: E) {
        let sentence = error.to_string();
        assert!(sentence.contains(' '), "{sentence}");
        assert_eq!(printed(error), sentence);
    }
    let (pair, rep) = (Pair::new(), Rep::new());
    check(pair.try_send("x").unwrap_err());
    check(pair.try_recv().unwrap_err());
    check(pair.bind("tcp://127.0.0.1:no").unwrap_err());
    check(pair.connect("x://y").unwrap_err());
    check(pair.connect_now(kit::free_tcp_url()).unwrap_err());
    check(Pair::with_options(Options::new().send_queue(0)).unwrap_err());
    check(Sub::new().unsubscribe("x").unwrap_err());
    check(rep.context().send("x").unwrap_err());
    check(sinew::Runtime::builder().io_threads(0).build().unwrap_err());
    check(sinew::device::DeviceFault::SameSocket);
    pair.close().unwrap();
    check(pair.send("x").unwrap_err());
    check(pair.recv().unwrap_err());
    check(pair.close().unwrap_err());
    check(pair.wait_for_peers(1, SHORT).unwrap_err());
    check(pair.bind("tcp://127.0.0.1:0").unwrap_err());
    check(pair.disconnect(gone()).unwrap_err());
}

/// A pipe that is gone.
fn gone() -> PipeId {
    let (push, pull) = (Push::new(), Pull::new());
    let _address = join!(push, pull, Transport::Inproc);
    push.peers()[0].pipe
}

/// C374, and C018 for what passes: over the default limit of peers, header included.
#[test]
fn what_a_peer_would_not_take_is_refused_where_it_is_sent() {
    for transport in Transport::STREAMS {
        let (push, pull) = (Push::new(), Pull::new());
        let _address = join!(push, pull, transport);
        let error = push.send(vec![7; MIB + 1]).unwrap_err();
        let said = "cannot send a message of 1048577 bytes: option max_send_size is 1048576";
        assert_eq!(printed(error), said);
        push.send(vec![7; MIB]).unwrap();
        assert_eq!(pull.recv_timeout(SOON).unwrap().len(), MIB);
        kit::conserved(|| push.stats());

        let (req, rep) = (Req::new(), Rep::new());
        let _address = join!(rep, req, transport);
        let error = req.request_timeout(vec![7; MIB - 3], SOON).unwrap_err();
        let said = "cannot send a message of 1048573 bytes and 4 of header: option max_send_size is 1048576";
        assert_eq!(printed(error), said);
        let answering = std::thread::spawn(move || {
            let request = rep.recv_timeout(SOON).unwrap();
            let (request, error) = request.reply(vec![8; MIB - 3]).unwrap_err().into_parts();
            assert_eq!(error.to_string(), said);
            request.reply(vec![8; MIB - 4]).unwrap();
            rep
        });
        let reply = req.request_timeout(vec![7; MIB - 4], SOON).unwrap();
        assert_eq!(reply.len(), MIB - 4);
        answering.join().unwrap();
        assert_eq!(req.stats().established_connections, 1, "nobody closed the connection");
    }
}

/// C374.
#[test]
fn inproc_has_no_limit_unless_one_is_set() {
    let body = Message::from(vec![7; 3 * MIB]);
    let (push, pull) = (Push::new(), Pull::new());
    assert!(matches!(push.try_send(&body), Err(SendError::TooLarge { .. })), "no peer is known");
    let _address = join!(push, pull, Transport::Inproc);
    push.send(&body).unwrap();
    assert_eq!(pull.recv_timeout(SOON).unwrap(), body);
    kit::block_on(push.send_async(&body)).unwrap();
    assert_eq!(pull.recv_timeout(SOON).unwrap(), body);
    push.set_options(push.options().max_send_size(3 * MIB - 1)).unwrap();
    assert!(matches!(push.send(&body), Err(SendError::TooLarge { .. })));
    push.set_options(push.options().max_send_size(None)).unwrap();
    push.send(&body).unwrap();
    push.set_options(Options::new()).unwrap();
    push.bind("tcp://127.0.0.1:0").unwrap();
    assert!(matches!(push.send(&body), Err(SendError::TooLarge { .. })), "it might go there");
    push.close().unwrap();
    assert!(matches!(push.send(&body), Err(SendError::Closed(_))));
}

#[test]
fn statistics_name_their_counters_when_they_are_printed() {
    let publisher = Pub::new();
    publisher.send("to nobody").unwrap();
    let stats = publisher.stats();
    let text = format!("{stats:?}");
    for (name, value) in stats.figures() {
        assert!(text.contains(&format!("{name}: {value}")), "{name} in {text}");
    }
    assert!(text.ends_with("dropped: {no_peer: 1} }"), "{text}");

    let (push, slow) = (Pub::with_options(Options::new().send_queue(1)).unwrap(), Sub::new());
    let _address = join!(push, slow, Transport::Inproc);
    (0..1000).for_each(|_| push.send("x").unwrap());
    let peer = &push.peers()[0];
    let text = format!("{peer:?}");
    let count = peer.drops(DropReason::SendQueueFull);
    let named = match count {
        0 => "drops: {}".to_owned(),
        _ => format!("drops: {{send_queue_full: {count}}}"),
    };
    assert!(text.contains(&named), "{named} in {text}");
}
/// What is no error of a loop that looks must be as cheap as the look.
#[test]
fn an_error_takes_no_more_room_than_the_message_inside() {
    // Numbers of 64 bits in the reasons are no smaller where a message, which has pointers, is.
    let numbers = if cfg!(target_pointer_width = "32") { 8 } else { 0 };
    let (received, message) = (size_of::<Result<Message, RecvError>>(), size_of::<Message>());
    assert!(received <= message + numbers, "{received} for a message of {message}");
    assert!(size_of::<Result<(), SendError>>() <= size_of::<Message>() + 16);
}
