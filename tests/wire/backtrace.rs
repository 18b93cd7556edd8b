//! The bytes of requests, surveys and answers, against peers made by hand from bytes.
//!
//! B and E numbers are those of the wire specification, 13.4 and 13.1.

use std::time::Duration;

use kit::{Raw, SOON, Transport, conserved, eventually};
use sinew::{DropReason, Options, RecvError, Rep, Req, Respondent, Surveyor};

const REQ: u8 = 0x30;
const REP: u8 = 0x31;
const SURVEYOR: u8 = 0x62;
const RESPONDENT: u8 = 0x63;

/// `plain` words without the top bit, then the terminator, then "a".
fn traced(plain: u8) -> Vec<u8> {
    let words = (1..=plain).flat_map(|k| [0, 0, 0, k]);
    words.chain(*b"\x80\0\0\x01a").collect()
}

/// Runs a test as REP and as RESPONDENT (B19), over every stream transport.
macro_rules! answering_tests {
    ($($(#[$doc:meta])* fn $name:ident($options:expr, $socket:ident, $raw:ident) $body:block)*) => {
        $(mod $name {
            use super::*;

            $(#[$doc])*
            #[test]
            fn as_rep() {
                answering_tests!(@one Rep, REQ, REP, $options, $socket, $raw, $body);
            }

            $(#[$doc])*
            #[test]
            fn as_respondent() {
                answering_tests!(@one Respondent, SURVEYOR, RESPONDENT, $options, $socket, $raw, $body);
            }
        })*
    };
    (@one $type:ident, $peer:ident, $own:ident, $options:expr, $socket:ident, $raw:ident, $body:block) => {
        for transport in Transport::STREAMS {
            let $socket = $type::with_options($options).unwrap();
            let address = transport.address();
            let endpoint = $socket.bind(&address.url).unwrap();
            #[allow(unused_mut, reason = "a test may only listen")]
            let mut $raw = Raw::greet(&endpoint.url(), $peer, $own);
            $body
            conserved(|| $socket.stats());
        }
    };
}

/// Sends what is to be dropped, then a good request, which is the next to be received.
macro_rules! dropped {
    ($socket:ident, $raw:ident, $junk:expr, $reason:ident) => {{
        let before = $socket.stats().drops(DropReason::$reason);
        $raw.send_frame($junk);
        $raw.send_frame(b"\x80\0\0\x63good");
        assert_eq!($socket.recv_timeout(SOON).unwrap().into_message(), "good");
        assert_eq!($socket.stats().drops(DropReason::$reason), before + 1);
    }};
}

answering_tests! {
    /// B1 to B4, B10, B11, B17; E20, E21.
    fn good_requests_are_received_and_answered(Options::new(), socket, raw) {
        for (request, words, body) in [
            (&b"\x80\0\0\x01abc"[..], 1, &b"abc"[..]),
            (b"\x80\0\0\x01", 1, b""),
            (b"\x80\0\0\0a", 1, b"a"),
            (b"\xFF\xFF\xFF\xFFa", 1, b"a"),
            (b"\0\0\0\x07\x80\0\0\x01a", 2, b"a"),
            (&traced(7), 8, b"a"),
            (b"\x80\0\0\x05\x80\0\0\x06a", 1, b"\x80\0\0\x06a"),
            (b"\x92\x34\x56\x78abc", 1, b"abc"),
            (b"\0\0\0\x2A\x80\0\0\x01x", 2, b"x"),
        ] {
            raw.send_frame(request);
            let asked = socket.recv_timeout(SOON).unwrap();
            assert_eq!(asked.message()[..], *body);
            asked.reply("ok").unwrap();
            assert_eq!(raw.read_frame(), [&request[..4 * words], b"ok"].concat());
        }
    }

    /// B5 to B9; C084, C178.
    fn broken_requests_are_dropped(Options::new(), socket, raw) {
        for junk in
            [&b""[..], b"\x80\0\0", b"\0\0\0\x01", b"\0\0\0\x01\x80", b"\0\x01\x02\x03ab"]
        {
            dropped!(socket, raw, junk, Malformed);
        }
        assert_eq!(socket.peers().len(), 1);
    }

    /// B12, B16; C084, C178.
    fn requests_that_came_too_far_are_dropped(Options::new(), socket, raw) {
        dropped!(socket, raw, &traced(8), TtlExceeded);
        dropped!(socket, raw, &[0, 0, 0, 1].repeat(9), TtlExceeded);
        assert_eq!(socket.peers().len(), 1);
    }

    /// B13, B14; C085, C179.
    fn a_limit_of_one_hop_admits_direct_peers_only(Options::new().ttl(1), socket, raw) {
        raw.send_frame(b"\x80\0\0\x01a");
        assert_eq!(socket.recv_timeout(SOON).unwrap().into_message(), "a");
        dropped!(socket, raw, b"\0\0\0\x07\x80\0\0\x01a", TtlExceeded);
        // Changed, it holds for what is received later.
        socket.set_options(Options::new().ttl(2)).unwrap();
        raw.send_frame(b"\0\0\0\x07\x80\0\0\x01far");
        assert_eq!(socket.recv_timeout(SOON).unwrap().into_message(), "far");
    }

    /// B15; C086.
    fn a_limit_of_255_hops_is_kept(Options::new().ttl(255), socket, raw) {
        raw.send_frame(&traced(254));
        let asked = socket.recv_timeout(SOON).unwrap();
        assert_eq!(*asked.message(), "a");
        asked.reply("r").unwrap();
        let request = traced(254);
        assert_eq!(raw.read_frame(), [&request[..4 * 255], b"r"].concat());
        dropped!(socket, raw, &traced(255), TtlExceeded);
    }
}

/// A bound REQ, a raw REP, and what they need to live.
fn req_and_raw(transport: Transport, resend: Duration) -> (Req, Raw, kit::Address) {
    let req = Req::with_options(Options::new().resend_interval(resend)).unwrap();
    let address = transport.address();
    let endpoint = req.bind(&address.url).unwrap();
    let raw = Raw::greet(&endpoint.url(), REP, REQ);
    req.wait_for_peers(1, SOON).unwrap();
    (req, raw, address)
}

const MINUTE: Duration = Duration::from_secs(60);

/// B20 to B25; C076 to C078.
#[test]
fn only_the_reply_with_the_right_id_is_delivered() {
    for transport in Transport::STREAMS {
        let (req, mut raw, _address) = req_and_raw(transport, MINUTE);
        let asking = req.context();
        for (right, expected) in [(&b"x"[..], "x"), (b"", "")] {
            asking.send("q").unwrap();
            let id: [u8; 4] = raw.read_frame()[..4].try_into().unwrap();
            let other = (u32::from_be_bytes(id).wrapping_add(1) | 1 << 31).to_be_bytes();
            let open = [id[0] & 0x7F, id[1], id[2], id[3]];
            raw.send_frame(&[&other[..], b"x"].concat());
            raw.send_frame(&[&open[..], b"x"].concat());
            raw.send_frame(&id[..3]);
            raw.send_frame(b"");
            eventually("all four are dropped", || {
                assert_eq!(asking.try_recv(), Err(RecvError::WouldBlock));
                req.stats().drops(DropReason::Stale) + req.stats().drops(DropReason::Malformed) >= 4
            });
            raw.send_frame(&[&id[..], right].concat());
            assert_eq!(asking.recv_timeout(SOON).unwrap(), expected);
            req.stats();
            asking.send("next").unwrap();
            raw.read_frame();
            let stats = req.stats();
            let dropped = stats.drops(DropReason::Stale) + stats.drops(DropReason::Malformed);
            assert_eq!(dropped % 4, 0);
            assert_eq!(req.peers().len(), 1);
        }
        conserved(|| req.stats());
    }
}

/// B25; C077.
#[test]
fn a_duplicate_reply_in_the_same_segment_is_dropped() {
    let (req, mut raw, _address) = req_and_raw(Transport::Tcp, MINUTE);
    let asking = req.context();
    asking.send("q").unwrap();
    let id = raw.read_frame();
    let replies = [b"1", b"2"].map(|body| kit::frame(&[&id[..4], body].concat()));
    raw.send(&replies.concat());
    assert_eq!(asking.recv_timeout(SOON).unwrap(), "1");
    eventually("the duplicate is dropped", || {
        assert_eq!(asking.try_recv(), Err(RecvError::State));
        req.stats().drops(DropReason::Stale) == 1
    });
    conserved(|| req.stats());
}

/// B26.
#[test]
fn a_reply_to_nothing_is_dropped() {
    for transport in Transport::STREAMS {
        let (req, mut raw, _address) = req_and_raw(transport, MINUTE);
        let asking = req.context();
        raw.send_frame(b"\x80\0\0\x09x");
        eventually("it is dropped", || {
            assert_eq!(asking.try_recv(), Err(RecvError::State));
            req.stats().drops(DropReason::Stale) == 1
        });
        assert_eq!(asking.recv(), Err(RecvError::State));
        conserved(|| req.stats());
    }
}

/// E17, E18; C079.
#[test]
fn a_request_is_its_id_and_its_body() {
    for transport in Transport::STREAMS {
        let (req, mut raw, _address) = req_and_raw(transport, MINUTE);
        let asking = req.context();
        let ids = ["abc", ""].map(|body| {
            asking.send(body).unwrap();
            let request = raw.read_frame();
            assert_eq!(request[4..], *body.as_bytes());
            u32::from_be_bytes(request[..4].try_into().unwrap())
        });
        assert_eq!(ids.map(|id| id >> 31), [1, 1]);
        assert_eq!(ids[1], ids[0].wrapping_add(1) | 1 << 31);
        conserved(|| req.stats());
    }
}

/// E19.
#[test]
fn a_request_that_is_sent_again_has_the_same_bytes() {
    for transport in Transport::STREAMS {
        let (req, mut raw, _address) = req_and_raw(transport, Duration::from_millis(50));
        let asking = req.context();
        asking.send("abc").unwrap();
        let first = raw.read_frame();
        assert_eq!(raw.read_frame(), first);
        // On another pipe as well.
        let [peer] = &req.peers()[..] else { panic!("one peer") };
        let mut other = Raw::greet(&peer.url, REP, REQ);
        drop(raw);
        assert_eq!(other.read_frame(), first);
        other.send_frame(&[&first[..4], b"ok"].concat());
        assert_eq!(asking.recv_timeout(SOON).unwrap(), "ok");
        conserved(|| req.stats());
    }
}

/// E24, B27; C177.
#[test]
fn a_survey_goes_to_everybody_and_takes_answers_with_its_id_only() {
    for transport in Transport::STREAMS {
        let surveyor = Surveyor::with_options(Options::new().survey_deadline(SOON)).unwrap();
        let address = transport.address();
        let endpoint = surveyor.bind(&address.url).unwrap();
        let mut raws = [(); 3].map(|()| Raw::greet(&endpoint.url(), RESPONDENT, SURVEYOR));
        surveyor.wait_for_peers(3, SOON).unwrap();
        let asking = surveyor.context();
        asking.send("q").unwrap();
        let surveys = raws.each_mut().map(Raw::read_frame);
        assert_eq!(surveys[0], surveys[1]);
        assert_eq!(surveys[0], surveys[2]);
        assert_eq!(surveys[0][4..], *b"q");
        let id: [u8; 4] = surveys[0][..4].try_into().unwrap();
        assert_eq!(id[0] >> 7, 1);
        let other = (u32::from_be_bytes(id).wrapping_sub(1) | 1 << 31).to_be_bytes();
        let raw = &mut raws[0];
        raw.send_frame(&[&id[..], b"1"].concat());
        raw.send_frame(&[&other[..], b"2"].concat());
        raw.send_frame(&[&[id[0] & 0x7F][..], &id[1..], b"2"].concat());
        raw.send_frame(&id[..3]);
        raw.send_frame(b"");
        raw.send_frame(&[&id[..], b"3"].concat());
        assert_eq!(asking.recv_timeout(SOON).unwrap(), "1");
        assert_eq!(asking.recv_timeout(SOON).unwrap(), "3");
        assert_eq!(asking.try_recv(), Err(RecvError::WouldBlock));
        assert_eq!(surveyor.peers().len(), 3);
        let stats = conserved(|| surveyor.stats());
        assert_eq!(stats.drops(DropReason::Stale) + stats.drops(DropReason::Malformed), 4);
    }
}
