//! Models of the ring that a REQ leaves unarmed, in every interleaving: the socket is a real one, and so are its
//! rings, its bell and its signal.
//!
//! Each begins when the short way in has left a ring unarmed. Then a peer answers, while threads of the program take
//! the short way again, or the long one to wait or to close.
//! `RUSTFLAGS="--cfg loom" cargo test --release --lib socket::loom`

use std::future::poll_fn;
use std::slice;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Instant;

use ::loom::thread::{self, JoinHandle};
use bytes::Bytes;

use super::wait::{Failure, Patience, TaskWait};
use super::{Core, Handle, SocketPort};
use crate::detach::DetachReason;
use crate::message::{Message, PipeId};
use crate::options::{EndpointSettings, Options, Resends};
use crate::peer::StreamPeer;
use crate::pipe::endpoint::EndpointCore;
use crate::pipe::recv_limit::RecvLimit;
use crate::pipe::{Edge, FarEnd, FarSocket, Host, NewPipe, PipeLease, SocketBell};
use crate::protocol::{Conversation, Pair, Protocol, RecvRefusal, Req};
use crate::ring::{self, Bounds, Inbox, Producer};
use crate::runtime::Runtime;
use crate::sync::{Arc, Weak, bounded};
use crate::wire::Framing;
use crate::{inproc, sys};

/// The stack of a thread: a whole socket needs more than loom gives, above all to panic.
const STACK: usize = 1 << 16;

/// Runs `model` in every interleaving with at most so many preemptions.
fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    // Statics are those of one interleaving.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut builder = bounded(preemptions);
    // A whole socket has many atomics.
    builder.max_branches = 20_000;
    let model = Arc::new(model);
    builder.check(move || {
        sys::begin_schedule();
        let model = Arc::clone(&model);
        spawn(move || model()).join().expect("loom ends a model that panics");
    });
}

fn spawn<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    thread::Builder::new().stack_size(STACK).spawn(run).expect("loom starts any thread")
}

/// The far end of a pipe: a server.
struct Peer {
    requests: Inbox,
    replies: Producer,
    bell: Arc<SocketBell>,
    pipe: PipeId,
}

impl Peer {
    /// Takes the next request, which is its own reply.
    fn take(&mut self) -> Option<Bytes> {
        let (request, taken) = self.requests.pop()?;
        if taken.room {
            self.bell.ring(self.pipe, Edge::Writable);
        }
        Some(request.into_body().into_bytes())
    }

    /// As the socket of the peer does, or the event loop. Says whether the ring was open.
    fn answer(&mut self, reply: &Bytes) -> bool {
        let Ok(wake) = self.replies.push(&[], reply) else { return false };
        if wake.0 {
            self.bell.ring(self.pipe, Edge::Readable);
        }
        true
    }

    /// Starts a thread that answers, in this order.
    fn start<const N: usize>(mut self, replies: [Bytes; N]) -> JoinHandle<bool> {
        spawn(move || replies.iter().all(|reply| self.answer(reply)))
    }
}

/// Makes a pipe of the socket.
fn attach(core: &Core<Req>) -> Peer {
    let bounds = Bounds { messages: 4, bytes: usize::MAX };
    let (send, requests) = ring::new(Framing::Length, bounds);
    let (replies, recv) = ring::new(Framing::Length, bounds);
    let (lease, bell) = (PipeLease::new(), Arc::clone(&core.bell));
    let server = Peer { requests: Inbox::new(requests), replies, bell, pipe: lease.id() };
    let nobody = Weak::<Core<Pair>>::new();
    let bell = Arc::new(SocketBell::new(nobody.clone(), false));
    let far = FarEnd::Socket(Arc::new(FarSocket { host: nobody, bell, pipe: lease.id() }));
    let url = String::from("inproc://model");
    let (limit, control) = (RecvLimit::new(None), Box::new(inproc::Bound(url.clone())));
    let settings = EndpointSettings::default();
    let endpoint = EndpointCore::new(core.host(), url.clone(), true, settings, limit, control);
    let peer = endpoint.peer(lease.id(), Req::PEER, StreamPeer::new(url.clone(), url));
    core.announce(&peer, &endpoint).expect("the socket is open");
    core.attach(NewPipe { lease, peer, send, recv, far, endpoint }).expect("a REQ takes any pipe");
    server
}

/// A socket with pipes and conversations. The first conversation was answered by the first peer, while nobody waited:
/// so its ring is unarmed.
fn left_unarmed<const P: usize, const C: usize>() -> (Handle<Req>, [Peer; P], [Conversation; C]) {
    // Nobody turns its loop, so nobody makes the visits that a bell may post: each of the threads here enters by itself.
    let runtime = Runtime::builder().manual(true).build().expect("there are descriptors left");
    let core = Handle::new(Req::new(9), Options::new(), Some(runtime)).expect("all is default");
    // Sent once: there is no event loop for a timer.
    let resends = Resends { interval: None, limit: 0 };
    let open = || core.enter(|entry| Some(entry.parts().0.open(resends))).expect("not forked");
    let (mut peers, conversations) = ([(); P].map(|()| attach(&core)), [(); C].map(|()| open()));
    let (at, request) = ask(&core, conversations[0], &mut peers);
    assert!(peers[at].answer(&request));
    assert!(look(&core, conversations[0]));
    assert_eq!(core.state.lock().pipes.unarmed, Some(peers[at].pipe));
    peers.swap(0, at);
    (core, peers, conversations)
}

/// Sends a request, on the short way if it is open. Returns which peer has got it.
fn ask(core: &Core<Req>, conversation: Conversation, peers: &mut [Peer]) -> (usize, Bytes) {
    let mut body = Bytes::from_static(b"m");
    let mut outgoing = core.outgoing(&conversation, &mut body).expect("it is small");
    core.wait(conversation.interest(), Patience::None, |protocol, io, now| {
        outgoing.send(&conversation, protocol, io, now)
    })
    .expect("a REQ holds what it cannot send");
    let mut peers = peers.iter_mut().enumerate();
    peers.find_map(|(at, peer)| Some((at, peer.take()?))).expect("a peer had nothing to do")
}

/// What receives the reply to the request that was sent last.
fn receiving(
    conversation: Conversation,
) -> impl FnMut(&mut Req, &mut SocketPort<'_>, Instant) -> Result<Message, RecvRefusal> {
    let mut awaited = None;
    move |protocol, io, now| {
        let awaited = match awaited {
            Some(awaited) => awaited,
            None => *awaited.insert(protocol.awaited(conversation)?),
        };
        protocol.recv(&awaited, now, io)
    }
}

/// Attempts to receive; says whether there was a reply.
fn look(core: &Core<Req>, conversation: Conversation) -> bool {
    match core.wait(conversation.interest(), Patience::None, receiving(conversation)) {
        Ok(reply) => reply == "m",
        Err(Failure::WouldBlock) => false,
        Err(failure) => panic!("{failure:?}"),
    }
}

/// Receives as a task, which sleeps if it must. Loom reports one that sleeps for good.
fn wait(core: &Core<Req>, conversation: Conversation) -> bool {
    let (mut wait, mut attempt) = (TaskWait::default(), receiving(conversation));
    let poll = poll_fn(|cx| core.poll_wait(conversation.interest(), &mut wait, cx, &mut attempt));
    ::loom::future::block_on(poll).expect("a reply comes") == "m"
}

/// Checks that each of so many replies was received, or lies there for a call, or was dropped for a reason.
fn accounted(core: &Core<Req>, replies: u64) {
    let stats = core.stats();
    let dropped: u64 = stats.dropped().map(|(_, count)| count).sum();
    let found = (stats.messages_received + stats.held_inbound + dropped, stats.recv_queue);
    assert_eq!(found, (replies, 0), "{stats:?}");
}

/// As [`accounted`], once the socket is closed.
fn close(core: &Core<Req>, replies: u64) {
    core.close().expect("it was open");
    accounted(core, replies);
}

#[test]
fn who_begins_to_wait_is_told_though_the_ring_was_left_unarmed() {
    check(3, || {
        let (core, [mut peer], [conversation]) = left_unarmed();
        let (_, request) = ask(&core, conversation, slice::from_mut(&mut peer));
        let peer = peer.start([request]);
        assert!(look(&core, conversation) || wait(&core, conversation));
        assert!(peer.join().unwrap());
        close(&core, 2);
    });
}

/// While one begins to wait, another thread takes the short way.
#[test]
fn who_waits_is_told_though_another_thread_leaves_the_ring_unarmed_again() {
    check(1, || {
        let (core, [mut peer], [waits, looks]) = left_unarmed();
        let requests = [looks, waits].map(|it| ask(&core, it, slice::from_mut(&mut peer)).1);
        let peer = peer.start(requests);
        let other = spawn({
            let core = core.clone();
            move || look(&core, looks) || wait(&core, looks)
        });
        assert!(wait(&core, waits));
        assert!(other.join().unwrap() && peer.join().unwrap());
        close(&core, 3);
    });
}

/// A task begins to wait and is dropped, which opens the short way again, and another begins.
#[test]
fn who_waits_after_a_task_that_was_dropped_is_told() {
    check(1, || {
        let (core, [mut peer], [gives_up, waits]) = left_unarmed();
        let requests = [gives_up, waits].map(|it| ask(&core, it, slice::from_mut(&mut peer)).1);
        let peer = peer.start(requests);
        let (mut wait_in_vain, mut attempt) = (TaskWait::default(), receiving(gives_up));
        ::loom::future::block_on(poll_fn(|cx| {
            let interest = gives_up.interest();
            Poll::Ready(core.poll_wait(interest, &mut wait_in_vain, cx, &mut attempt).is_ready())
        }));
        core.cancel_wait(&mut wait_in_vain);
        assert!(look(&core, waits) || wait(&core, waits));
        assert!(peer.join().unwrap());
        close(&core, 3);
    });
}

/// The ring of one pipe is unarmed, and the reply comes from that peer, or from the other.
#[test]
fn who_waits_is_told_by_either_of_two_peers() {
    for wanted in 0..2 {
        check(3, move || {
            let (core, mut peers, conversations) = left_unarmed::<2, 2>();
            let asked = conversations.map(|it| (it, ask(&core, it, &mut peers)));
            let (waits, (_, request)) =
                asked.into_iter().find(|(_, (at, _))| *at == wanted).expect("each peer was asked");
            peers.swap(0, wanted);
            let [peer, _other] = peers;
            let peer = peer.start([request]);
            assert!(look(&core, waits) || wait(&core, waits));
            assert!(peer.join().unwrap());
            close(&core, 2);
        });
    }
}

/// A reply that comes while its pipe is lost is received, or refused.
#[test]
fn a_reply_that_meets_the_end_of_its_pipe_is_received_or_refused() {
    check(3, || {
        let (core, [mut peer], [conversation]) = left_unarmed();
        let (_, request) = ask(&core, conversation, slice::from_mut(&mut peer));
        let (pipe, peer) = (peer.pipe, peer.start([request]));
        core.detach(pipe, DetachReason::PeerClosed);
        let attempt = receiving(conversation);
        let received = core.wait(conversation.interest(), Patience::None, attempt);
        let was_taken = peer.join().unwrap();
        match received {
            Ok(_) => assert!(was_taken),
            Err(Failure::Refused(RecvRefusal::ConnectionReset)) => assert!(!was_taken),
            Err(failure) => panic!("{failure:?}"),
        }
        close(&core, 1 + u64::from(was_taken));
    });
}

#[test]
fn a_reply_that_meets_the_close_of_its_socket_is_counted_or_refused() {
    check(3, || {
        let (core, [mut peer], [conversation]) = left_unarmed();
        let (_, request) = ask(&core, conversation, slice::from_mut(&mut peer));
        let peer = peer.start([request]);
        core.close().expect("it was open");
        let was_taken = peer.join().unwrap();
        accounted(&core, 1 + u64::from(was_taken));
    });
}
