//! REP, and with other numbers RESPONDENT: receives requests, and sends each answer back the same way.
//!
//! It remembers nothing about a request that was received. The way back, the [`Route`], goes to the program
//! with the request and returns with the answer, so that many requests can be in work at once, and be answered
//! in any order. A request is taken from its pipe only while the pipe's send queue has a place for the answer,
//! which is kept until the answer comes or is given up: so an answer never waits, and a peer that does not read
//! is held up by its own requests.

use std::marker::PhantomData;
use std::time::Instant;

use bytes::Bytes;

use super::backtrace::{self, Backtrace};
use super::route::{FairQueue, find_message};
use super::{Conversation, Interest, Port, Protocol, RecvRefusal, Rejected, SendRefusal};
use crate::detach::DetachReason;
use crate::message::{Message, PipeId};
use crate::options::RoleOption;
use crate::protocol_id::ProtocolId;
use crate::stats::DropReason;

/// The way back to the peer that asked.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// The pipe that the request came on, the only one for its answer.
    pipe: PipeId,
    /// The header of the request, which becomes that of the answer.
    backtrace: Backtrace,
}

impl Route {
    /// The pipe that the request came on.
    pub(crate) fn pipe(&self) -> PipeId {
        self.pipe
    }
}

/// The two protocol numbers, in which protocols with the same state machine differ, such as REP and RESPONDENT.
pub(crate) trait ProtocolPair: Send + 'static {
    const ID: ProtocolId;
    const PEER: ProtocolId;
}

/// The role of a REP.
#[derive(Debug)]
pub(crate) enum ToRequests {}

impl ProtocolPair for ToRequests {
    const ID: ProtocolId = ProtocolId::REP;
    const PEER: ProtocolId = ProtocolId::REQ;
}

/// The role of a RESPONDENT: as REP, for surveys. To take no part in a survey, it does not answer.
#[derive(Debug)]
pub(crate) enum ToSurveys {}

impl ProtocolPair for ToSurveys {
    const ID: ProtocolId = ProtocolId::RESPONDENT;
    const PEER: ProtocolId = ProtocolId::SURVEYOR;
}

/// The state of a socket that answers.
///
/// ```text
///  request in its pipe --recv--> with the program, as Route and Message --send--> answer in the pipe
///    |       |       |                                   |                 |
///    |       |       +-- bad header: Malformed,          +-- give up       +-- pipe gone: PeerGone
///    |       |                       TtlExceeded
///    |       +---------- pipe gone:  AskerGone
///    +------------------ no place for the answer: stays
/// ```
#[derive(Debug)]
pub(crate) struct Responder<R> {
    /// The number of words that the backtrace of a request may have.
    ttl: u8,
    /// Pipes that may have a request, and a place for its answer.
    requests: FairQueue,
    role: PhantomData<R>,
}

const RECV: Interest = Interest::RECV;

impl<R: ProtocolPair> Responder<R> {
    /// Makes one with this `ttl`, at least 1: there is no request without a hop.
    pub(crate) fn new(ttl: u8) -> Self {
        Self { ttl, requests: FairQueue::default(), role: PhantomData }
    }

    /// Takes effect for messages received later.
    pub(crate) fn set_ttl(&mut self, ttl: u8) {
        self.ttl = ttl;
    }

    /// Gives up the answer to a request that was received. Send it, or give it up, once.
    pub(crate) fn give_up(&mut self, to: &Route, io: &mut impl Port) {
        if io.give_place_back(to.pipe) {
            self.add(to.pipe, io);
        }
    }

    /// Receives though there is no place but perhaps that of the answer along `old`, which is given up then. A
    /// receive that fails changes nothing.
    pub(crate) fn recv_instead(
        &mut self,
        old: &Route,
        now: Instant,
        io: &mut impl Port,
    ) -> Result<(Route, Message), RecvRefusal> {
        if !io.give_place_back(old.pipe) {
            io.keep_place(old.pipe);
            return Err(RecvRefusal::WouldBlock);
        }
        // Wakes nobody: the place is for this receive only.
        self.requests.add(old.pipe, io.priorities(old.pipe).recv);
        let received = self.recv(&(), now, io);
        if received.is_err() {
            io.keep_place(old.pipe);
        }
        received
    }

    fn add(&mut self, pipe: PipeId, io: &mut impl Port) {
        self.requests.add(pipe, io.priorities(pipe).recv);
        io.wake(RECV);
    }
}

impl<R: ProtocolPair> Protocol for Responder<R> {
    const ID: ProtocolId = R::ID;
    const PEER: ProtocolId = R::PEER;
    const OPTIONS: &'static [RoleOption] = &[RoleOption::Ttl, RoleOption::RecvPriority];
    type To = Route;
    type From = ();
    type Received = (Route, Message);

    #[inline]
    fn header_len(route: &Route) -> usize {
        route.backtrace.len()
    }

    fn attach(&mut self, _pipe: PipeId, _: Instant, _io: &mut impl Port) -> Result<(), Rejected> {
        Ok(())
    }

    /// Drops the pipe's requests: their answers would have nowhere to go.
    fn detach(&mut self, pipe: PipeId, _reason: &DetachReason, _now: Instant, io: &mut impl Port) {
        self.requests.remove(pipe);
        io.pop_all(pipe, |io, _| io.dropped(Some(pipe), DropReason::AskerGone));
    }

    fn readable(&mut self, pipe: PipeId, io: &mut impl Port) {
        self.add(pipe, io);
    }

    /// There may be a place for the answer to the next request.
    fn writable(&mut self, pipe: PipeId, _now: Instant, io: &mut impl Port) {
        self.add(pipe, io);
    }

    fn send(
        &mut self,
        to: &Route,
        body: &mut Bytes,
        _now: Instant,
        io: &mut impl Port,
    ) -> Result<(), SendRefusal> {
        if io.push_in_place(to.pipe, &to.backtrace, body).is_err() {
            io.dropped(Some(to.pipe), DropReason::PeerGone);
        }
        Ok(())
    }

    fn recv(
        &mut self,
        (): &(),
        _now: Instant,
        io: &mut impl Port,
    ) -> Result<(Route, Message), RecvRefusal> {
        while let Some((pipe, frame)) = self.requests.pop_by(|pipe| io.pop_with_place(pipe)) {
            match backtrace::split(frame, self.ttl) {
                Ok((backtrace, body)) => {
                    return Ok((Route { pipe, backtrace }, Message::received(body, pipe)));
                }
                Err(reason) => {
                    io.dropped(Some(pipe), reason);
                    // Its pipe is still in line.
                    io.give_place_back(pipe);
                }
            }
        }
        Err(RecvRefusal::WouldBlock)
    }

    fn can_send(&self, _pipe: Option<PipeId>) -> bool {
        true
    }

    fn can_recv(&self, _: Conversation) -> bool {
        !self.requests.is_empty()
    }

    fn find_message(&mut self, _: Conversation, io: &mut impl Port) -> bool {
        let ttl = self.ttl;
        self.requests.find_by(|pipe| {
            io.ask_place(pipe) && find_message(pipe, |it| backtrace::check(it, ttl), io)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ManualPort, body, pipe, start};
    use super::*;

    type Received = Result<(Route, Message), RecvRefusal>;

    fn socket<R: ProtocolPair>() -> (Responder<R>, ManualPort) {
        (Responder::new(8), ManualPort::default())
    }

    /// What a receive returns once `bytes` have arrived on pipe 1.
    fn receive<R: ProtocolPair>(
        rep: &mut Responder<R>,
        io: &mut ManualPort,
        bytes: &[u8],
    ) -> Received {
        io.arrives(pipe(1), bytes);
        rep.readable(pipe(1), io);
        rep.recv(&(), start(), io)
    }

    fn body_of(received: Received) -> Message {
        received.unwrap().1
    }

    /// `plain` words without the top bit, then the terminator, then "a".
    fn traced(plain: u8) -> Vec<u8> {
        let words = (1..=plain).flat_map(|k| [0, 0, 0, k]);
        words.chain(*b"\x80\0\0\x01a").collect()
    }

    /// B1 to B4, B17; E20; C058, C183.
    #[test]
    fn a_request_is_received_and_answered() {
        fn check<R: ProtocolPair>() {
            let (mut rep, mut io) = socket::<R>();
            for (request, text) in [
                (&b"\x80\0\0\x01abc"[..], &b"abc"[..]),
                (b"\x80\0\0\x01", b""),
                (b"\x80\0\0\0a", b"a"),
                (b"\xFF\xFF\xFF\xFFa", b"a"),
                (b"\x80\0\0\x05\x80\0\0\x06a", b"\x80\0\0\x06a"),
            ] {
                let (route, message) = receive(&mut rep, &mut io, request).unwrap();
                assert_eq!(message, text);
                assert_eq!(message.pipe(), Some(pipe(1)));
                rep.send(&route, &mut body("ok"), start(), &mut io).unwrap();
                let answer = [&request[..4], b"ok"].concat();
                assert_eq!(io.take_sent(), [(pipe(1), answer)]);
            }
        }
        check::<ToRequests>();
        check::<ToSurveys>();
    }

    /// B10, E21.
    #[test]
    fn an_answer_goes_out_with_the_whole_backtrace() {
        fn check<R: ProtocolPair>() {
            let (mut rep, mut io) = socket::<R>();
            let (route, _) = receive(&mut rep, &mut io, b"\0\0\0\x07\x80\0\0\x01a").unwrap();
            rep.send(&route, &mut body("r"), start(), &mut io).unwrap();
            assert_eq!(io.take_sent(), [(pipe(1), b"\0\0\0\x07\x80\0\0\x01r".to_vec())]);
        }
        check::<ToRequests>();
        check::<ToSurveys>();
    }

    /// B5 to B9, B12, B16; C084, C178.
    #[test]
    fn junk_is_counted_and_the_next_request_received_by_the_same_recv() {
        fn check<R: ProtocolPair>() {
            let (mut rep, mut io) = socket::<R>();
            let over = [traced(8), vec![0; 36]];
            let bad: [&[u8]; 5] =
                [b"", b"\x80\0\0", b"\0\0\0\x01", b"\0\0\0\x01\x80", b"\0\x01\x02\x03ab"];
            for bytes in bad.into_iter().chain(over.iter().map(Vec::as_slice)) {
                io.arrives(pipe(1), bytes);
            }
            assert_eq!(body_of(receive(&mut rep, &mut io, b"\x80\0\0\x01a")), "a");
            let malformed = (Some(pipe(1)), DropReason::Malformed);
            let over_limit = (Some(pipe(1)), DropReason::TtlExceeded);
            let expected = [[malformed; 5].as_slice(), &[over_limit; 2]].concat();
            assert_eq!(io.take_drops(), expected);
        }
        check::<ToRequests>();
        check::<ToSurveys>();
    }

    /// B11, B13 to B15; C085, C179, C190.
    #[test]
    fn a_request_may_have_as_many_words_as_the_ttl() {
        fn check<R: ProtocolPair>() {
            let (mut rep, mut io) = socket::<R>();
            assert_eq!(body_of(receive(&mut rep, &mut io, &traced(7))), "a");
            rep.set_ttl(1);
            assert_eq!(body_of(receive(&mut rep, &mut io, &traced(0))), "a");
            assert!(receive(&mut rep, &mut io, &traced(1)).is_err());
            assert_eq!(io.take_drops(), [(Some(pipe(1)), DropReason::TtlExceeded)]);
            rep.set_ttl(255);
            assert_eq!(body_of(receive(&mut rep, &mut io, &traced(254))), "a");
        }
        check::<ToRequests>();
        check::<ToSurveys>();
    }

    /// C062, C089, C194: answers in any order, each to its own asker.
    #[test]
    fn an_answer_goes_to_whoever_asked() {
        fn check<R: ProtocolPair>() {
            let (mut rep, mut io) = socket::<R>();
            for n in [1, 2] {
                io.arrives(pipe(n), b"\x80\0\0\x05x");
                io.arrives(pipe(n), b"\x80\0\0\x06x");
                rep.readable(pipe(n), &mut io);
            }
            let mut routes = Vec::new();
            while let Ok((route, _)) = rep.recv(&(), start(), &mut io) {
                routes.push(route);
            }
            assert_eq!(routes.iter().map(Route::pipe).collect::<Vec<_>>(), [1, 2, 1, 2].map(pipe));
            for route in routes.iter().rev() {
                rep.send(route, &mut body("r"), start(), &mut io).unwrap();
            }
            let sent = io.take_sent();
            let expected = [(2, 6), (1, 6), (2, 5), (1, 5)]
                .map(|(n, id)| (pipe(n), vec![0x80, 0, 0, id, b'r']));
            assert_eq!(sent, expected);
        }
        check::<ToRequests>();
        check::<ToSurveys>();
    }

    /// C080, C181.
    #[test]
    fn an_answer_to_an_asker_that_has_gone_succeeds_and_is_counted() {
        fn check<R: ProtocolPair>() {
            let (mut rep, mut io) = socket::<R>();
            let (route, _) = receive(&mut rep, &mut io, b"\x80\0\0\x01a").unwrap();
            io.break_off(pipe(1));
            rep.detach(pipe(1), &DetachReason::PeerClosed, start(), &mut io);
            assert_eq!(rep.send(&route, &mut body("r"), start(), &mut io), Ok(()));
            assert_eq!(io.take_drops(), [(Some(pipe(1)), DropReason::PeerGone)]);
            assert_eq!(io.take_sent(), []);
        }
        check::<ToRequests>();
        check::<ToSurveys>();
    }

    /// C087, C184: the requests of a peer that does not read wait in its pipe, and those of others do not.
    #[test]
    fn a_request_stays_in_its_pipe_until_there_is_a_place_for_its_answer() {
        fn check<R: ProtocolPair>() {
            let (mut rep, mut io) = socket::<R>();
            io.fill(pipe(1));
            for n in [1, 2] {
                io.arrives(pipe(n), b"\x80\0\0\x01a");
                rep.readable(pipe(n), &mut io);
            }
            assert!(rep.find_message(Conversation::FIRST, &mut io));
            let (route, _) = rep.recv(&(), start(), &mut io).unwrap();
            assert_eq!((route.pipe(), io.places(pipe(2))), (pipe(2), 1));
            assert_eq!(rep.recv(&(), start(), &mut io).unwrap_err(), RecvRefusal::WouldBlock);
            assert!(!rep.find_message(Conversation::FIRST, &mut io));
            io.take_woken(RECV);

            io.drain(pipe(1));
            rep.writable(pipe(1), start(), &mut io);
            assert!(io.take_woken(RECV) && rep.ready(RECV));
            assert_eq!(rep.recv(&(), start(), &mut io).unwrap().0.pipe(), pipe(1));
        }
        check::<ToRequests>();
        check::<ToSurveys>();
    }

    /// C088: whatever has become of the pipe since the request was received.
    #[test]
    fn an_answer_takes_its_place_at_once() {
        fn check<R: ProtocolPair>() {
            let (mut rep, mut io) = socket::<R>();
            let (route, _) = receive(&mut rep, &mut io, b"\x80\0\0\x01a").unwrap();
            io.fill(pipe(1));
            assert!(rep.ready(Interest::SEND));
            rep.send(&route, &mut body("r"), start(), &mut io).unwrap();
            assert_eq!(io.take_sent(), [(pipe(1), b"\x80\0\0\x01r".to_vec())]);
            assert_eq!(io.places(pipe(1)), 0);
        }
        check::<ToRequests>();
        check::<ToSurveys>();
    }

    /// C520.
    #[test]
    fn what_has_no_answer_gives_its_place_back() {
        let (mut rep, mut io) = socket::<ToSurveys>();
        receive(&mut rep, &mut io, b"\0\0\0\x01").unwrap_err();
        assert_eq!(io.places(pipe(1)), 0);
        let (route, _) = receive(&mut rep, &mut io, b"\x80\0\0\x01a").unwrap();
        io.take_woken(RECV);
        rep.give_up(&route, &mut io);
        assert!(io.take_woken(RECV), "another request may have waited for the place");
        assert_eq!(io.places(pipe(1)), 0);
    }

    /// C521, D37.
    #[test]
    fn a_request_may_be_received_in_the_place_of_the_one_in_hand() {
        let (mut rep, mut io) = socket::<ToRequests>();
        let (old, _) = receive(&mut rep, &mut io, b"\x80\0\0\x01a").unwrap();
        assert_eq!(
            rep.recv_instead(&old, start(), &mut io).unwrap_err(),
            RecvRefusal::WouldBlock,
            "there is none"
        );
        assert_eq!(io.places(pipe(1)), 1);
        io.arrives(pipe(1), b"\x80\0\0\x02b");
        assert_eq!(rep.recv_instead(&old, start(), &mut io).unwrap().1, "b");
        assert_eq!(io.places(pipe(1)), 1);
    }

    /// Semantics 5.2, last row; D35.
    #[test]
    fn what_nobody_has_received_goes_with_its_asker() {
        fn check<R: ProtocolPair>() {
            let (mut rep, mut io) = socket::<R>();
            io.arrives(pipe(1), b"\x80\0\0\x01a");
            rep.readable(pipe(1), &mut io);
            rep.detach(pipe(1), &DetachReason::PeerClosed, start(), &mut io);
            assert_eq!(rep.recv(&(), start(), &mut io).unwrap_err(), RecvRefusal::WouldBlock);
            assert_eq!(io.take_drops(), [(Some(pipe(1)), DropReason::AskerGone)]);
        }
        check::<ToRequests>();
        check::<ToSurveys>();
    }

    /// C341, C342: a receive that fails takes nothing from whoever holds a request.
    #[test]
    fn a_failed_recv_changes_nothing() {
        fn check<R: ProtocolPair>() {
            let (mut rep, mut io) = socket::<R>();
            let (route, _) = receive(&mut rep, &mut io, b"\x80\0\0\x01a").unwrap();
            assert_eq!(rep.recv(&(), start(), &mut io).unwrap_err(), RecvRefusal::WouldBlock);
            rep.send(&route, &mut body("r"), start(), &mut io).unwrap();
            assert_eq!(io.take_sent(), [(pipe(1), b"\x80\0\0\x01r".to_vec())]);
        }
        check::<ToRequests>();
        check::<ToSurveys>();
    }

    /// C206.
    #[test]
    fn a_recv_with_nothing_there_would_block() {
        fn check<R: ProtocolPair>() {
            let (mut rep, mut io) = socket::<R>();
            assert!(!rep.ready(RECV));
            assert_eq!(rep.recv(&(), start(), &mut io).unwrap_err(), RecvRefusal::WouldBlock);
            rep.readable(pipe(1), &mut io);
            assert!(rep.ready(RECV) && io.take_woken(RECV));
        }
        check::<ToRequests>();
        check::<ToSurveys>();
    }
}
