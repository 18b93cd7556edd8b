//! What becomes of a message for which a peer has no room: every choice of every socket that has one.

use std::thread;
use std::time::Duration;

use kit::sockets::{Listed, one_by_one};
use kit::{SOON, Transport, conserved, detached, eventually, every_socket, join};
use sinew::Overflow::{Disconnect, DropNewest, DropOldest, Wait};
use sinew::role::{self, Receives, Role, Sends};
use sinew::{
    DetachReason, DropReason, Message, OptionError, Options, Overflow, Pub, Pull, Push, Question,
    RecvError, SendError, Socket, Surveyor, raw,
};

/// More than queues and kernel can take of a peer that does not read.
const FLOOD: u32 = 400;

/// Queues of 4 messages. Enough bytes that it is always the number that counts.
fn narrow() -> Options {
    Options::new().send_queue(4).recv_queue(4).reconnect_interval(Duration::from_millis(10))
}

/// A numbered message, large enough to fill the kernel's buffers with a few hundred.
fn numbered(n: u32) -> Message {
    let mut body = vec![0; 1 << 16];
    body[..4].copy_from_slice(&n.to_be_bytes());
    Message::from(body)
}

fn number(received: &impl Body) -> u32 {
    u32::from_be_bytes(received.body()[..4].try_into().expect("a numbered message"))
}

/// What is received: a message, or one with the right to answer it.
trait Body {
    fn body(&self) -> &[u8];
}

impl Body for Message {
    fn body(&self) -> &[u8] {
        self
    }
}

impl Body for Question {
    fn body(&self) -> &[u8] {
        self.message()
    }
}

/// How a socket of role `S` sends: a survey is not among the forms of `send`.
type Give<S> = fn(&Socket<S>, Message) -> Result<(), SendError>;

fn send_now<S: Sends>(socket: &Socket<S>, message: Message) -> Result<(), SendError> {
    socket.try_send(message)
}

fn send<S: Sends>(socket: &Socket<S>, message: Message) -> Result<(), SendError> {
    socket.send(message)
}

fn survey(surveyor: &Surveyor, message: Message) -> Result<(), SendError> {
    surveyor.survey(message).map(drop)
}

/// Floods a peer that does not read, and yields how many messages it was sent, and the numbers of what
/// it got in the end.
fn flood<S: Listed, R: Receives<Item: Body>>(
    choice: Overflow,
    give: Give<S>,
    transport: Transport,
) -> (u32, Vec<u32>) {
    let (sender, receiver) = (
        Socket::<S>::with_options(narrow().overflow(choice)).unwrap(),
        Socket::<R>::with_options(narrow()).unwrap(),
    );
    let _joined = join!(sender, receiver, transport);
    let dropped = || sender.stats().drops(DropReason::SendQueueFull);
    let mut sent = 0;
    // While the I/O thread is at a write nothing old is dropped, and it may be held up there for the
    // whole flood.
    while sent < FLOOD || dropped() == 0 {
        give(&sender, numbered(sent)).expect("it never waits");
        sent += 1;
    }
    let dropped = dropped();
    assert_eq!(sender.stats().messages_sent, u64::from(sent));
    // A PUSH would have given it to any other peer: there is no one to blame.
    let blamed = if S::IDS.0 == role::Push::IDS.0 { 0 } else { dropped };
    assert_eq!(sender.peers()[0].drops(DropReason::SendQueueFull), blamed);
    assert_eq!(sender.peers()[0].dropped().map(|(_, count)| count).sum::<u64>(), blamed);

    let got: Vec<u32> = (0..u64::from(sent) - dropped)
        .map(|_| number(&receiver.recv_timeout(SOON).unwrap()))
        .collect();
    assert_eq!(receiver.try_recv().map(drop).unwrap_err(), RecvError::WouldBlock);
    assert!(got.is_sorted_by(|a, b| a < b), "{got:?}");
    give(&sender, numbered(sent)).unwrap();
    assert_eq!(number(&receiver.recv_timeout(SOON).unwrap()), sent, "later traffic works");
    assert_eq!(sender.stats().drops(DropReason::SendQueueFull), dropped);
    conserved(|| sender.stats());
    conserved(|| receiver.stats());
    (sent, got)
}

/// C131.
#[test]
fn dropping_the_newest_keeps_what_came_first() {
    fn check<S: Listed, R: Receives<Item: Body>>(give: Give<S>) {
        for transport in Transport::ALL {
            let (_, got) = flood::<S, R>(DropNewest, give, transport);
            assert_eq!(got[..4], [0, 1, 2, 3], "as many as the send queue holds");
        }
    }
    check::<role::Push, role::Pull>(send_now);
    check::<role::Bus, role::Bus>(send_now);
    check::<role::Pub, role::Raw<role::Sub>>(send_now);
    check::<role::Surveyor, role::Respondent>(survey);
}

/// C154.
#[test]
fn dropping_the_oldest_keeps_what_came_last() {
    fn check<S: Listed, R: Receives<Item: Body>>(give: Give<S>) {
        for transport in Transport::ALL {
            // Not if the I/O thread was at a write when the flood ended: nothing old is dropped then.
            let keeps_newest = (0..5).any(|_| {
                let (sent, got) = flood::<S, R>(DropOldest, give, transport);
                let newest: Vec<u32> = (sent - 3..sent).collect();
                got[got.len() - 3..] == newest // the fourth in the queue is half written
            });
            assert!(keeps_newest, "{transport:?}");
        }
    }
    check::<role::Bus, role::Bus>(send_now);
    check::<role::Pub, role::Raw<role::Sub>>(send_now);
    check::<role::Surveyor, role::Respondent>(survey);
}

/// C041, C115.
#[test]
fn a_push_that_waits_drops_nothing() {
    for transport in Transport::ALL {
        let push = Push::with_options(narrow().overflow(Wait)).unwrap();
        let pull = Pull::with_options(narrow()).unwrap();
        let _joined = join!(push, pull, transport);
        let taken = (0..).find(|&n| match push.send_timeout(numbered(n), kit::QUIET) {
            Ok(()) => false,
            Err(SendError::TimedOut(message, _)) => number(&message) == n,
            Err(error) => panic!("{error}"),
        });
        for n in 0..taken.unwrap() {
            assert_eq!(number(&pull.recv_timeout(SOON).unwrap()), n);
        }
        assert_eq!(push.stats().dropped().map(|(_, count)| count).sum::<u64>(), 0);
        conserved(|| push.stats());
    }
}

/// A publisher that waits, with a subscriber that reads nothing yet and one that reads all; and the
/// number of the message for which there was no room.
fn hold_up(transport: Transport) -> (Pub, [raw::Sub; 2], u32, kit::Address) {
    let publisher = Pub::with_options(narrow().overflow(Wait)).unwrap();
    let address = transport.address();
    let url = publisher.bind(&address.url).unwrap().url();
    let subscribers = [(); 2].map(|()| raw::Sub::with_options(narrow()).unwrap());
    subscribers.iter().for_each(|subscriber| drop(subscriber.connect(&url).unwrap()));
    publisher.wait_for_peers(2, SOON).unwrap();
    let refused = (0..).find(|&n| match publisher.send_timeout(numbered(n), kit::QUIET) {
        Ok(()) => {
            assert_eq!(number(&subscribers[1].recv_timeout(SOON).unwrap()), n);
            false
        }
        Err(SendError::TimedOut(message, _)) => number(&message) == n,
        Err(error) => panic!("{error}"),
    });
    (publisher, subscribers, refused.unwrap(), address)
}

/// All of them, in order and once.
fn assert_gets(subscriber: &raw::Sub, numbers: std::ops::Range<u32>) {
    for n in numbers {
        assert_eq!(number(&subscriber.recv_timeout(SOON).unwrap()), n);
    }
    assert_eq!(subscriber.try_recv().unwrap_err(), RecvError::WouldBlock);
}

#[test]
fn a_publisher_that_waits_drops_nothing_and_repeats_nothing() {
    for transport in Transport::ALL {
        let (publisher, [slow, fast], refused, _address) = hold_up(transport);
        assert_eq!(fast.try_recv().unwrap_err(), RecvError::WouldBlock, "nobody got it");
        thread::scope(|scope| {
            scope.spawn(|| assert_gets(&slow, 0..refused + 100));
            scope.spawn(|| assert_gets(&fast, refused..refused + 100));
            (refused..refused + 100).for_each(|n| publisher.send(numbered(n)).unwrap());
        });
        assert_eq!(publisher.stats().dropped().map(|(_, count)| count).sum::<u64>(), 0);
        conserved(|| publisher.stats());
    }
}

#[test]
fn a_publisher_does_not_wait_for_a_subscriber_that_leaves() {
    for transport in Transport::ALL {
        let (publisher, [slow, fast], refused, _address) = hold_up(transport);
        thread::scope(|scope| {
            let sent = scope.spawn(|| publisher.send_timeout(numbered(refused), SOON));
            slow.close().unwrap();
            sent.join().unwrap().unwrap();
        });
        assert_gets(&fast, refused..refused + 1);
        fast.close().unwrap();
        eventually("all have left", || publisher.peers().is_empty());
        publisher.send(numbered(0)).unwrap();
        assert_eq!(publisher.stats().drops(DropReason::NoPeer), 1);
    }
}

/// Each subscriber gets all of every sender, and each sender's in order.
#[test]
fn several_senders_wait_for_the_same_subscribers() {
    const SENDERS: u32 = 3;
    const EACH: u32 = 200;
    for transport in Transport::ALL {
        let (publisher, [slow, fast], refused, _address) = hold_up(transport);
        let check = |subscriber: &raw::Sub, behind: u32| {
            for n in 0..behind {
                assert_eq!(number(&subscriber.recv_timeout(SOON).unwrap()), n);
            }
            let mut next = [0; SENDERS as usize];
            for _ in 0..SENDERS * EACH {
                let n = number(&subscriber.recv_timeout(SOON).unwrap());
                let (sender, n) = ((n / EACH) as usize, n % EACH);
                assert_eq!(n, next[sender], "over {transport:?}");
                next[sender] += 1;
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| check(&slow, refused));
            scope.spawn(|| check(&fast, 0));
            for sender in 0..SENDERS {
                let publisher = &publisher;
                let all = sender * EACH..(sender + 1) * EACH;
                scope.spawn(move || {
                    all.for_each(|n| publisher.send_timeout(numbered(n), SOON).unwrap());
                });
            }
        });
        assert_eq!(publisher.stats().dropped().map(|(_, count)| count).sum::<u64>(), 0);
        conserved(|| publisher.stats());
    }
}

/// The slow peer is cut off, comes back, and is served again.
fn cut_off<S: Listed, R: Receives<Item: Body>>(
    give: Give<S>,
    sender_listens: bool,
    transport: Transport,
) {
    let sender = Socket::<S>::with_options(narrow().overflow(Disconnect)).unwrap();
    let receiver = Socket::<R>::with_options(narrow()).unwrap();
    let _joined = if sender_listens {
        join!(sender, receiver, transport)
    } else {
        join!(receiver, sender, transport)
    };
    let events = sender.events();
    let sent = (0..FLOOD).take_while(|&n| {
        give(&sender, numbered(n)).expect("it never waits");
        sender.stats().drops(DropReason::SendQueueFull) == 0
    });
    let sent = sent.count() as u32;
    assert!((4..FLOOD - 1).contains(&sent), "{sent} over {transport:?}");
    assert_eq!(detached(&events), DetachReason::TooSlow);
    assert_eq!(sender.stats().drops(DropReason::SendQueueFull), 1, "the one that found no room");
    assert_eq!(sender.stats().dropped_connections, 1);

    // It cannot see the end of the connection before it has read what came first.
    let mut got = Vec::new();
    eventually("it comes back", || {
        got.extend(receiver.try_recv().iter().map(number));
        !sender.peers().is_empty()
    });
    give(&sender, numbered(FLOOD)).unwrap();
    while got.last() != Some(&FLOOD) {
        got.push(number(&receiver.recv_timeout(SOON).unwrap()));
    }
    got.pop();
    assert!(got.iter().copied().eq(0..got.len() as u32), "what it got has no gap: {got:?}");
    conserved(|| sender.stats());
    conserved(|| receiver.stats());
}

#[test]
fn a_peer_that_is_too_slow_is_disconnected_and_comes_back() {
    for transport in Transport::ALL {
        for sender_listens in [true, false] {
            cut_off::<role::Bus, role::Bus>(send_now, sender_listens, transport);
            cut_off::<role::Pub, role::Raw<role::Sub>>(send_now, sender_listens, transport);
            cut_off::<role::Surveyor, role::Respondent>(survey, sender_listens, transport);
        }
    }
}

/// The others get everything while one does not read.
#[test]
fn a_slow_peer_costs_the_others_nothing() {
    for choice in [DropNewest, DropOldest, Disconnect] {
        let publisher = Pub::with_options(narrow().overflow(choice)).unwrap();
        let url = publisher.bind("tcp://127.0.0.1:0").unwrap().url();
        let (slow, fast) = (raw::Sub::with_options(narrow()).unwrap(), raw::Sub::new());
        for peer in [&slow, &fast] {
            peer.connect(&url).unwrap();
        }
        publisher.wait_for_peers(2, SOON).unwrap();
        for n in 0..FLOOD {
            publisher.send(numbered(n)).unwrap();
            assert_eq!(number(&fast.recv_timeout(SOON).unwrap()), n);
        }
        assert!(publisher.stats().drops(DropReason::SendQueueFull) > 0);
        let blamed: Vec<u64> =
            publisher.peers().iter().map(|peer| peer.drops(DropReason::SendQueueFull)).collect();
        assert!(blamed.contains(&0), "{choice:?}: {blamed:?}");
        conserved(|| fast.stats());
    }
}

/// Whoever closes first, and whatever is on its way then.
#[test]
fn closing_in_the_middle_of_a_flood_leaves_nothing_uncounted() {
    fn check<S: Role, R: Receives<Item: Body>>(give: Give<S>) {
        for transport in Transport::ALL {
            for sender_first in [true, false] {
                let roomy = || Options::new().send_queue_bytes(8 << 20).recv_queue_bytes(8 << 20);
                let (sender, receiver) = (
                    Socket::<S>::with_options(roomy()).unwrap(),
                    Socket::<R>::with_options(roomy()).unwrap(),
                );
                let _joined = join!(sender, receiver, transport);
                for n in 0..100 {
                    give(&sender, numbered(n)).unwrap();
                }
                assert_eq!(number(&receiver.recv_timeout(SOON).unwrap()), 0);
                if sender_first {
                    sender.close().unwrap()
                } else {
                    receiver.close().unwrap()
                }
                eventually("they have parted", || {
                    sender.peers().is_empty() && receiver.peers().is_empty()
                });
                let _ = (sender.close(), receiver.close());
                eventually("all is accounted for", || {
                    let both = [sender.stats(), receiver.stats()];
                    both.iter().all(|stats| {
                        stats.check_conservation().is_ok()
                            && (stats.send_queue, stats.recv_queue) == (0, 0)
                    })
                });
                let (sent, got) = (sender.stats(), receiver.stats());
                if transport == Transport::Inproc {
                    let lost = sent.drops(DropReason::ClosedUnsent)
                        + sent.drops(DropReason::PipeLost)
                        + got.drops(DropReason::ClosedUnread)
                        + got.drops(DropReason::AskerGone);
                    assert_eq!(got.messages_received + lost, 100, "{sent}\n{got}");
                }
            }
        }
    }
    check::<role::Push, role::Pull>(send);
    check::<role::Bus, role::Bus>(send);
    check::<role::Pub, role::Raw<role::Sub>>(send);
    check::<role::Surveyor, role::Respondent>(survey);
    check::<role::PolyPair1, role::Pair1>(send);
    check::<role::Pair1, role::PolyPair1>(send);
}

#[test]
fn a_change_of_mind_holds_for_what_is_sent_later() {
    let push = Push::new();
    assert!(matches!(push.try_send("x"), Err(SendError::WouldBlock(_))));
    push.set_options(push.options().overflow(DropNewest)).unwrap();
    push.try_send("x").unwrap();
    assert_eq!(push.stats().drops(DropReason::NoPeer), 1);
    push.set_options(push.options().overflow(Wait)).unwrap();
    assert!(matches!(push.try_send("x"), Err(SendError::WouldBlock(_))));
    assert_eq!(push.options().settings().overflow, Some(Wait));
}

/// The default comes first.
fn choices<R: Listed>() -> &'static [Overflow] {
    match R::IDS.0 {
        0x11 if R::NAME == role::PolyPair1::NAME => &[DropNewest, Wait],
        0x50 => &[Wait, DropNewest],
        0x20 => &[DropOldest, DropNewest, Disconnect, Wait],
        0x62 | 0x70 => &[DropNewest, DropOldest, Disconnect],
        _ => &[],
    }
}

/// C299, C300.
#[test]
fn every_socket_takes_the_choices_it_has_and_no_others() {
    fn check<R: Listed>() {
        let allowed = choices::<R>();
        assert_eq!(Socket::<R>::new().options().settings().overflow, allowed.first().copied());
        for choice in [Wait, DropNewest, DropOldest, Disconnect] {
            let made = Socket::<R>::with_options(Options::new().overflow(choice));
            let set = Socket::<R>::new().set_options(Options::new().overflow(choice));
            assert_eq!(made.as_ref().err(), set.as_ref().err());
            match made {
                Ok(socket) => assert_eq!(socket.options().settings().overflow, Some(choice)),
                Err(OptionError::Invalid { option, value, allowed: told }) => {
                    assert_eq!((option, value), ("overflow", format!("{choice:?}")));
                    assert!(allowed.iter().all(|choice| told.contains(&format!("{choice:?}"))));
                }
                Err(OptionError::NoSuchOption { option, .. }) => {
                    assert_eq!((option, allowed), ("overflow", &[][..]));
                }
                Err(other) => panic!("{other}"),
            }
            assert_eq!(set.is_ok(), allowed.contains(&choice), "{:x} {choice:?}", R::IDS.0);
        }
    }
    one_by_one(every_socket!(check));
}
