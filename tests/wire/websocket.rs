//! WebSocket byte by byte: what a peer that is not of this crate may send to a ws listener, or answer to a ws dialer,
//! and what becomes of it. Cites the vectors W1 to W23 of `docs/spec/wire.md`.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use kit::{SOON, attached, conserved, detached, eventually};
use sinew::{
    AttemptError, BindError, Bus, DetachReason, Endpoint, EndpointOptions, HeaderError, Options,
    Pair, Pair1, ProtocolId, Pub, Pull, Push, Rep, Req, Respondent, Runtime, Sub, Surveyor,
    WebSocketError,
};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A peer that is nothing but a stream of bytes. Everything has a deadline.
struct Bare(TcpStream);

impl Bare {
    fn connect(endpoint: &Endpoint) -> Self {
        let url = endpoint.url();
        let place = url.split("://").nth(1).unwrap().split('/').next().unwrap();
        Self::over(TcpStream::connect(place).unwrap())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Connects, and is granted the subprotocol of a server of this type.
    #[track_caller]
    fn open(endpoint: &Endpoint, server: &str) -> Self {
        let mut bare = Self::connect(endpoint);
        bare.send(&request(&[&subprotocol(server)]));
        let answer = bare.head();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        bare
    }

    #[track_caller]
    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the connection stands");
    }

    /// Reads a head of HTTP.
    #[track_caller]
    fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).expect("a head in time");
            head.push(byte[0]);
        }
        String::from_utf8(head).unwrap()
    }

    #[track_caller]
    fn read(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.0.read_exact(&mut bytes).expect("bytes in time");
        bytes
    }

    /// Reads a frame that is not masked: its first byte and its payload.
    #[track_caller]
    fn frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.read(2);
        let len = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.read(2).try_into().unwrap())),
            127 => u64::from_be_bytes(self.read(8).try_into().unwrap()),
            short => u64::from(short),
        };
        (head[0], self.read(len as usize))
    }

    /// Reads to the end; a reset counts as an end.
    #[track_caller]
    fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
            _ => bytes,
        }
    }
}

fn subprotocol(server: &str) -> String {
    format!("Sec-WebSocket-Protocol: {server}.sp.nanomsg.org")
}

/// A request for `/a` with these lines in place of those of the same names, or without them if they end with a colon.
fn request(lines: &[&str]) -> Vec<u8> {
    request_for("GET /a HTTP/1.1", lines)
}

fn request_for(line: &str, lines: &[&str]) -> Vec<u8> {
    let key = format!("Sec-WebSocket-Key: {KEY}");
    let mut all = vec![
        "Host: localhost:5555",
        "Upgrade: websocket",
        "Connection: Upgrade",
        &key,
        "Sec-WebSocket-Version: 13",
    ];
    for line in lines {
        let name = line.split(':').next();
        all.retain(|other| other.split(':').next() != name);
        if !line.ends_with(':') {
            all.push(line);
        }
    }
    format!("{line}\r\n{}\r\n\r\n", all.join("\r\n")).into_bytes()
}

/// A frame with a mask of zeros.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ ..=125 => frame.push(0x80 | short as u8),
        middle @ ..=0xFFFF => {
            frame.push(0xFE);
            frame.extend((middle as u16).to_be_bytes());
        }
        long => {
            frame.push(0xFF);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

fn close(code: u16) -> (u8, Vec<u8>) {
    (0x88, code.to_be_bytes().to_vec())
}

fn bound<R: sinew::role::Role>(socket: &sinew::Socket<R>) -> Endpoint {
    socket.bind("ws://127.0.0.1:0/a").unwrap()
}

/// Attempts that follow each other fast.
fn often() -> EndpointOptions {
    EndpointOptions::new().reconnect_interval(Duration::from_millis(10))
}

/// C315: W1, W3, W6, W7, W9, W10, W12, W20, W21.
#[test]
fn a_client_is_granted_what_it_asks_for_and_talks() {
    let rep = Rep::new();
    let endpoint = bound(&rep);
    let mut client = Bare::connect(&endpoint);
    client.send(&request(&["Sec-WebSocket-Protocol: chat, rep.sp.nanomsg.org"]));
    let answer = client.head();
    for line in [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        &format!("Sec-WebSocket-Accept: {ACCEPT}"),
        "Sec-WebSocket-Protocol: rep.sp.nanomsg.org",
    ] {
        assert!(answer.split("\r\n").any(|it| it == line), "{line} in {answer}");
    }
    client.send(b"\x82\x87\0\0\0\0\x80\0\0\x01abc");
    let request = rep.recv_timeout(SOON).unwrap();
    assert_eq!(*request.message(), "abc");
    request.reply("ok").unwrap();
    assert_eq!(client.read(8), b"\x82\x06\x80\0\0\x01ok");

    client.send(b"\x89\x81\0\0\0\0x");
    assert_eq!(client.read(3), b"\x8A\x01x");
    client.send(b"\x8A\x80\0\0\0\0");
    client.send(b"\x88\x82\0\0\0\0\x03\xE8");
    assert_eq!(client.rest(), b"\x88\x02\x03\xE8");
    eventually("the pipe is gone", || rep.peers().is_empty());
    conserved(|| rep.stats());
}

/// C315: W13, W14, W17, W18, W20; C318.
#[test]
fn messages_come_in_frames_of_all_lengths_and_in_parts() {
    let pull = Pull::with_options(Options::new().recv_queue_bytes(8 << 20)).unwrap();
    let mut client = Bare::open(&bound(&pull), "pull");
    for len in [0, 125, 126, 65_535, 65_536, 1 << 20] {
        let payload: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
        client.send(&masked(0x82, &payload));
        assert!(pull.recv_timeout(SOON).unwrap() == payload, "{len} bytes");
        for part in [1, 1000, 65_536] {
            if len / part > 200_000 {
                continue;
            }
            let mut stream = masked(2, b"");
            for chunk in payload.chunks(part) {
                stream.extend(masked(0, chunk));
            }
            stream.extend(masked(0x80, b""));
            client.send(&stream);
            assert!(pull.recv_timeout(SOON).unwrap() == payload, "{len} bytes in {part}");
        }
    }
    client.send(b"\x02\x81\0\0\0\0a\x89\x81\0\0\0\0x");
    assert_eq!(client.read(3), b"\x8A\x01x", "answered between two parts");
    client.send(b"\x80\x81\0\0\0\0b");
    assert_eq!(pull.recv_timeout(SOON).unwrap(), "ab");
    assert_eq!(pull.peers().len(), 1);
    conserved(|| pull.stats());
}

/// C318, and back: what we send to a client arrives in one frame each.
#[test]
fn messages_of_all_lengths_are_sent_in_one_frame() {
    let push = Push::new();
    let mut client = Bare::open(&bound(&push), "push");
    for len in [0, 125, 126, 65_535, 65_536, 1 << 20] {
        let payload: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
        push.send_timeout(&payload, SOON).unwrap();
        assert!(client.frame() == (0x82, payload), "{len} bytes");
    }
    conserved(|| push.stats());
}

/// C315: W4, W5, W23; C321; J9: each refusal has a status for the client and an error for the program, and is counted.
#[test]
fn each_bad_request_is_refused_with_a_status_and_a_typed_error() {
    let rep = Rep::new();
    let endpoint = bound(&rep);
    let (name, garbage) = (subprotocol("rep"), [b'a'; 8 << 10]);
    let many: Vec<String> = (0..100).map(|n| format!("X-{n}: 1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).chain([&*name]).collect();
    let good = |more: &str| request(&[&name, more]);
    let error = WebSocketError::NotHttp;
    let table: Vec<(Vec<u8>, WebSocketError, &str)> = vec![
        (request(&[]), WebSocketError::NoSubprotocol, "400"),
        (request(&["Sec-WebSocket-Protocol: chat"]), WebSocketError::Subprotocol, "400"),
        (good("Sec-WebSocket-Version: 12"), WebSocketError::Version, "400"),
        (good("Sec-WebSocket-Key: short"), WebSocketError::Key, "400"),
        (good("Upgrade:"), WebSocketError::NoUpgrade, "400"),
        (good("Host:"), WebSocketError::Host, "400"),
        (good("Content-Length: 5"), WebSocketError::Body, "400"),
        (
            good("Origin: http://evil.example"),
            WebSocketError::Origin("http://evil.example".into()),
            "403",
        ),
        (request_for("GET /nobody HTTP/1.1", &[&name]), WebSocketError::Path, "404"),
        (request_for("POST /a HTTP/1.1", &[&name]), WebSocketError::Method, "405"),
        (request_for("GET /a HTTP/1.0", &[&name]), error.clone(), "400"),
        (request(&many), WebSocketError::TooManyHeaders(64), "431"),
        (
            [b"GET /a HTTP/1.1\r\nX: ", &garbage[..]].concat(),
            WebSocketError::HeadTooLong(8192),
            "431",
        ),
        (b"\0SP\0\0\x30\0\0".to_vec(), error.clone(), "400"),
        (b"\x16\x03\x01\x02\0\x01\0".to_vec(), error.clone(), "400"),
        (b"SSH-2.0-nobody\r\n".to_vec(), error, "400"),
    ];
    let all = table.len() as u64;
    for (number, (bytes, error, status)) in table.into_iter().enumerate() {
        let mut client = Bare::connect(&endpoint);
        client.send(&bytes);
        let answer = client.rest();
        let answer = String::from_utf8_lossy(&answer);
        // What was not read of a head that is too long may end the connection with a reset.
        assert!(
            answer.get(9..12) == Some(status) || (answer.is_empty() && status == "431"),
            "{error}: {answer}"
        );
        eventually("it is counted", || rep.stats().handshake_errors == number as u64 + 1);
        let error = Some(AttemptError::WebSocket(error));
        eventually("it is told", || endpoint.status().last_error == error);
    }
    assert_eq!(rep.stats().handshake_errors, all);
    assert!(rep.peers().is_empty());
    Bare::open(&endpoint, "rep");
}

/// W4: the error is the same as that of a wrong header over tcp.
#[test]
fn the_subprotocol_of_another_socket_is_its_wrong_protocol() {
    let rep = Rep::new();
    let endpoint = bound(&rep);
    let mut client = Bare::connect(&endpoint);
    client.send(&request(&[&subprotocol("req")]));
    let answer = String::from_utf8(client.rest()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("\r\nSec-WebSocket-Protocol: rep.sp.nanomsg.org\r\n"), "{answer}");
    let misfit = HeaderError::Peer { expected: ProtocolId::REQ, announced: ProtocolId::REP };
    eventually("it is told", || endpoint.status().last_error == Some(misfit.into()));
    assert_eq!(rep.stats().handshake_errors, 1);
}

/// C315: W8, W11, W15, W19; J10: each fault has its close code and reason, and is counted.
#[test]
fn each_bad_frame_ends_the_pipe_with_a_code_and_a_typed_reason() {
    let pull = Pull::new();
    let (endpoint, events) = (bound(&pull), pull.events());
    let table: [(&[u8], WebSocketError, u16); 12] = [
        (b"\x82\x05Hello", WebSocketError::Unmasked, 1002),
        (b"\x81\x85\x37\xFA\x21\x3D\x7F\x9F\x4D\x51\x58", WebSocketError::Text, 1003),
        (b"\x80\x81\0\0\0\0b", WebSocketError::Continuation, 1002),
        (b"\x02\x81\0\0\0\0a\x82\x81\0\0\0\0b", WebSocketError::Interleaved, 1002),
        (b"\x82\xFE\0\x05\0\0\0\0Hello", WebSocketError::Length, 1002),
        (b"\x82\xFF\x80\0\0\0\0\0\0\0\0\0\0\0", WebSocketError::Length, 1002),
        (b"\xC2\x81\0\0\0\0b", WebSocketError::ReservedBits, 1002),
        (b"\x83\x81\0\0\0\0b", WebSocketError::Opcode(3), 1002),
        (b"\x89\xFE\0\x7E\0\0\0\0", WebSocketError::Control, 1002),
        (b"\x09\x80\0\0\0\0", WebSocketError::Control, 1002),
        (b"\x88\x81\0\0\0\0b", WebSocketError::Close, 1002),
        (b"\x88\x82\0\0\0\0\x03\xEC", WebSocketError::Close, 1002),
    ];
    let all = table.len() as u64;
    for (bytes, error, code) in table {
        let mut client = Bare::open(&endpoint, "pull");
        attached(&events);
        client.send(&masked(0x82, b"good"));
        client.send(bytes);
        assert_eq!(client.frame(), close(code), "{error}");
        assert_eq!(client.rest(), b"");
        assert_eq!(detached(&events), DetachReason::WebSocket(error));
        assert_eq!(pull.recv_timeout(SOON).unwrap(), "good", "what came before is received");
    }
    assert_eq!(pull.stats().framing_errors, all);
    conserved(|| pull.stats());
}

/// C315: W16; C319: before the rest of the message has come.
#[test]
fn a_message_over_the_limit_is_refused_in_one_frame_and_in_parts() {
    let pull = Pull::with_options(Options::new().max_recv_size(4)).unwrap();
    let (endpoint, events) = (bound(&pull), pull.events());
    let parts: [&[u8]; 3] = [
        b"\x82\x85\0\0\0\0",
        b"\x02\x83\0\0\0\0abc\x80\x82\0\0\0\0",
        b"\x02\x83\0\0\0\0abc\x00\x82\0\0\0\0",
    ];
    for bytes in parts {
        let mut client = Bare::open(&endpoint, "pull");
        attached(&events);
        client.send(bytes);
        assert_eq!(client.frame(), close(1009));
        assert_eq!(client.rest(), b"");
        assert_eq!(detached(&events), DetachReason::Oversize { announced: 5, limit: 4 });
    }
    assert_eq!(pull.stats().oversize, 3);
    let mut client = Bare::open(&endpoint, "pull");
    client.send(b"\x02\x83\0\0\0\0abc\x80\x81\0\0\0\0d");
    assert_eq!(pull.recv_timeout(SOON).unwrap(), "abcd");
}

/// C532: between two parts of a message, too.
#[test]
fn a_message_in_parts_arrives_whatever_the_budget() {
    for budget in [0, 100_000] {
        let pull = Pull::with_options(Options::new().recv_budget(budget)).unwrap();
        let endpoint = bound(&pull);
        let peers: Vec<Bare> = (0..3).map(|_| Bare::open(&endpoint, "pull")).collect();
        pull.wait_for_peers(peers.len(), SOON).unwrap();
        thread::scope(|scope| {
            for mut bare in peers {
                scope.spawn(move || {
                    for length in [1, 1000, 90_000] {
                        let part = vec![7; length];
                        bare.send(&masked(0x02, &part));
                        (0..4).for_each(|_| bare.send(&masked(0, &part)));
                        bare.send(&masked(0x80, &[]));
                    }
                    // Stays until the other side has read it all.
                    bare.send(&masked(0x88, &1000_u16.to_be_bytes()));
                    bare.rest();
                });
            }
            let mut lengths: Vec<usize> =
                (0..9).map(|_| pull.recv_timeout(SOON).unwrap().len()).collect();
            lengths.sort_unstable();
            assert_eq!(lengths, [5, 5, 5, 5000, 5000, 5000, 450_000, 450_000, 450_000]);
        });
        conserved(|| pull.stats());
    }
}

/// J10: a peer that pings is answered, one that does nothing else is closed, and neither holds more than one answer.
#[test]
fn pings_are_answered_up_to_a_flood() {
    let pull = Pull::new();
    let (endpoint, events) = (bound(&pull), pull.events());
    let mut client = Bare::open(&endpoint, "pull");
    attached(&events);
    for number in 0..150_u8 {
        client.send(&masked(0x89, &[number; 125]));
        assert_eq!(client.frame(), (0x8A, vec![number; 125]));
    }
    let flood = masked(0x89, b"flood").repeat(10_000);
    let mut reader = Bare::over(client.0.try_clone().unwrap());
    let writer = thread::spawn(move || {
        // Until it is closed.
        let _ = client.0.write_all(&flood);
        client
    });
    let last = loop {
        let (first, payload) = reader.frame();
        if first != 0x8A {
            break (first, payload);
        }
    };
    assert_eq!(last, close(1008));
    assert_eq!(detached(&events), DetachReason::WebSocket(WebSocketError::PingFlood));
    assert_eq!(pull.stats().framing_errors, 1);
    writer.join().unwrap();
}

/// A ping comes while another thread writes: the answer stands between two frames, and nothing is lost.
#[test]
fn pings_are_answered_while_messages_are_sent() {
    const COUNT: usize = 2000;
    let push = Push::new();
    let mut client = Bare::open(&bound(&push), "push");
    let mut pinger = client.0.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..COUNT {
                let len = [3, 900, 5000, 70_000][number % 4];
                push.send_timeout(vec![number as u8; len], SOON).unwrap();
            }
        });
        scope.spawn(move || {
            for number in 0..100_u8 {
                pinger.write_all(&masked(0x89, &[number])).unwrap();
                thread::yield_now();
            }
        });
        let (mut messages, mut pongs) = (0, 0);
        while messages < COUNT || pongs != 100 {
            match client.frame() {
                (0x82, payload) => {
                    let len = [3, 900, 5000, 70_000][messages % 4];
                    assert!(payload == vec![messages as u8; len], "number {messages}");
                    messages += 1;
                }
                // One may stand for several.
                (0x8A, payload) => {
                    assert!(u16::from(payload[0]) >= pongs);
                    pongs = u16::from(payload[0]) + 1;
                }
                other => panic!("{other:?}"),
            }
        }
    });
    conserved(|| push.stats());
}

/// J9: compression that a client offers is not agreed on.
#[test]
fn an_extension_that_is_offered_is_passed_over() {
    let pull = Pull::new();
    let endpoint = bound(&pull);
    let mut client = Bare::connect(&endpoint);
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";
    client.send(&request(&[&subprotocol("pull"), offer]));
    let answer = client.head();
    assert!(answer.starts_with("HTTP/1.1 101 ") && !answer.contains("Extensions"), "{answer}");
    client.send(&masked(0x82, b"plain"));
    assert_eq!(pull.recv_timeout(SOON).unwrap(), "plain");
}

/// The first frames may come with the request, and the request byte by byte.
#[test]
fn a_request_may_come_in_any_pieces() {
    let pull = Pull::new();
    let endpoint = bound(&pull);
    let message = masked(0x82, b"early");
    let bytes = [request(&[&subprotocol("pull")]), message.repeat(300)].concat();
    let mut whole = Bare::connect(&endpoint);
    whole.send(&bytes);
    let mut slow = Bare::connect(&endpoint);
    for byte in bytes {
        slow.send(&[byte]);
    }
    for _ in 0..600 {
        assert_eq!(pull.recv_timeout(SOON).unwrap(), "early");
    }
}

/// J2, J11: an upgrade that does not come is over at the limit of the handshake, and at the close of the socket.
#[test]
fn an_upgrade_that_stalls_ends_at_its_limit_or_with_the_socket() {
    let limit = Duration::from_millis(200);
    let pull = Pull::with_options(Options::new().handshake_timeout(limit)).unwrap();
    let endpoint = bound(&pull);
    let mut stalled = Bare::connect(&endpoint);
    stalled.send(b"GET /a HTTP/1.1\r\nHost");
    let mut served = Bare::open(&endpoint, "pull");
    assert_eq!(stalled.rest(), b"");
    assert_eq!(pull.stats().handshake_timeouts, 1);
    served.send(&masked(0x82, b"served"));
    assert_eq!(pull.recv_timeout(SOON).unwrap(), "served");

    let patient = Pull::new();
    let endpoint = bound(&patient);
    let mut stalled = Bare::connect(&endpoint);
    stalled.send(b"GET /a HTTP/1.1\r\nHost");
    eventually("it is there", || patient.stats().inprogress_connections == 1);
    patient.close().unwrap();
    assert_eq!(stalled.rest(), b"");
}

/// J2: half-open upgrades are bounded. Each I/O thread bounds its own, so there is one.
#[test]
fn of_too_many_upgrades_under_way_the_oldest_is_closed() {
    let runtime = Runtime::builder().io_threads(1).build().unwrap();
    let pull = Pull::on(&runtime, Options::new().max_handshakes(2)).unwrap();
    let endpoint = bound(&pull);
    let mut stalled: Vec<Bare> = (0..3)
        .map(|_| {
            let mut client = Bare::connect(&endpoint);
            client.send(b"GET /a");
            client
        })
        .collect();
    // The first was granted half of the places, and the newest may still ask.
    assert_eq!(stalled[1].rest(), b"");
    eventually("it is counted", || pull.stats().handshakes_evicted == 1);
}

/// A server that answers every connection with these bytes, `$accept` being the answer to its key.
fn answering(pair: &Pair, answer: &str, frames: &[u8]) -> (Endpoint, Bare) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/a?b=c", listener.local_addr().unwrap());
    let once = EndpointOptions::new().reconnect_interval(Duration::from_secs(600));
    let endpoint = pair.connect_with(&url, &once).unwrap();
    let mut server = Bare::over(listener.accept().unwrap().0);
    let request = server.head();
    let host = url.split('/').nth(2).unwrap();
    assert!(request.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("\r\nHost: {host}\r\n")), "{request}");
    assert!(request.contains("\r\nSec-WebSocket-Protocol: pair.sp.nanomsg.org\r\n"), "{request}");
    let key = request.split("Sec-WebSocket-Key: ").nth(1).unwrap().split("\r\n").next().unwrap();
    let answer = answer.replace('\n', "\r\n").replace("$accept", &accept(key));
    let _ = server.0.write_all(&[answer.as_bytes(), frames].concat());
    (endpoint, server)
}

/// The answer to a key, by another implementation of SHA-1.
fn accept(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = sha1(text.as_bytes());
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<bool> =
        digest.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect();
    let digit = |six: &[bool]| {
        let number = (0..6).fold(0, |n, at| n << 1 | usize::from(*six.get(at).unwrap_or(&false)));
        char::from(digits[number])
    };
    bits.chunks(6).map(digit).chain(['=']).collect()
}

fn sha1(message: &[u8]) -> [u8; 20] {
    let mut bytes = message.to_vec();
    bytes.push(0x80);
    while bytes.len() % 64 != 56 {
        bytes.push(0);
    }
    bytes.extend((message.len() as u64 * 8).to_be_bytes());
    let mut h = [0x6745_2301_u32, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0];
    for block in bytes.chunks(64) {
        let mut w: Vec<u32> =
            block.chunks(4).map(|four| u32::from_be_bytes(four.try_into().unwrap())).collect();
        for t in 16..80 {
            w.push((w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16]).rotate_left(1));
        }
        let [mut a, mut b, mut c, mut d, mut e] = h;
        for (t, w) in w.into_iter().enumerate() {
            let (f, k) = match t / 20 {
                0 => (b & c | !b & d, 0x5A82_7999),
                1 => (b ^ c ^ d, 0x6ED9_EBA1),
                2 => (b & c | b & d | c & d, 0x8F1B_BCDC),
                _ => (b ^ c ^ d, 0xCA62_C1D6_u32),
            };
            let sum =
                a.rotate_left(5).wrapping_add(f).wrapping_add(e).wrapping_add(k).wrapping_add(w);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, sum);
        }
        for (h, more) in h.iter_mut().zip([a, b, c, d, e]) {
            *h = h.wrapping_add(more);
        }
    }
    let bytes: Vec<u8> = h.iter().flat_map(|word| word.to_be_bytes()).collect();
    bytes.try_into().unwrap()
}

const GRANT: &str = "HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\n\
                     Sec-WebSocket-Accept: $accept\nSec-WebSocket-Protocol: pair.sp.nanomsg.org\n\n";

/// C315: W2, W23; C316: what a server may answer to us.
#[test]
fn each_answer_of_a_server_has_its_error() {
    assert_eq!(accept(KEY), ACCEPT);
    let status = |status: &str| format!("HTTP/1.1 {status} No\nContent-Length: 0\n\n");
    let table: Vec<(String, AttemptError)> = vec![
        (status("404"), AttemptError::Refused),
        (status("403"), WebSocketError::Status(403).into()),
        (status("400"), WebSocketError::Status(400).into()),
        (status("200"), WebSocketError::Status(200).into()),
        (GRANT.replace("$accept", ACCEPT), WebSocketError::Accept.into()),
        (GRANT.replace("pair.sp", "pub.sp"), WebSocketError::Subprotocol.into()),
        (GRANT.replace("-Protocol", "-Nothing"), WebSocketError::Subprotocol.into()),
        (GRANT.replace("Upgrade: websocket\n", ""), WebSocketError::NoUpgrade.into()),
        (
            GRANT.replace("Upgrade:", "Sec-WebSocket-Extensions: permessage-deflate\nUpgrade:"),
            WebSocketError::Extension.into(),
        ),
        (
            format!("HTTP/1.1 101 a\nX: {}", "a".repeat(8 << 10)),
            WebSocketError::HeadTooLong(8192).into(),
        ),
        (GRANT.replace("HTTP/1.1", "HTTP/1.0"), WebSocketError::NotHttp.into()),
        ("\0SP\0\0\u{10}\0\0".to_owned(), WebSocketError::NotHttp.into()),
        ("SSH-2.0-nobody\n".to_owned(), WebSocketError::NotHttp.into()),
    ];
    for (answer, error) in table {
        let pair = Pair::new();
        let (endpoint, mut server) = answering(&pair, &answer, b"");
        eventually("the attempt has failed", || endpoint.status().last_error.is_some());
        assert_eq!(endpoint.status().last_error, Some(error), "{answer}");
        assert_eq!(server.rest(), b"");
        assert_eq!(pair.stats().connect_errors, 1);
        assert!(pair.peers().is_empty());
    }
}

/// C315: W22. Frames of a server come with its answer, and ours are masked.
#[test]
fn a_server_that_masks_is_closed() {
    let pair = Pair::new();
    let events = pair.events();
    let (_endpoint, mut server) = answering(&pair, GRANT, b"\x82\x02hi\x82\x81\0\0\0\0a");
    attached(&events);
    assert_eq!(pair.recv_timeout(SOON).unwrap(), "hi");
    let frame = server.read(8);
    assert_eq!(frame[..2], *b"\x88\x82");
    assert_eq!([frame[6] ^ frame[2], frame[7] ^ frame[3]], 1002_u16.to_be_bytes());
    assert_eq!(detached(&events), DetachReason::WebSocket(WebSocketError::Masked));
}

#[test]
fn our_frames_are_masked_with_keys_of_their_own() {
    let pair = Pair::new();
    let (_endpoint, mut server) = answering(&pair, GRANT, b"");
    let mut keys = Vec::new();
    for len in [0, 5, 125, 126, 65_535, 65_536, 300_000] {
        let payload: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
        pair.send_timeout(&payload, SOON).unwrap();
        let head = server.read(2);
        assert_eq!((head[0], head[1] & 0x80), (0x82, 0x80));
        let told = match head[1] & 0x7F {
            126 => u64::from(u16::from_be_bytes(server.read(2).try_into().unwrap())),
            127 => u64::from_be_bytes(server.read(8).try_into().unwrap()),
            short => u64::from(short),
        };
        assert_eq!(told, len);
        let key = server.read(4);
        let bytes = server.read(len as usize);
        let clear: Vec<u8> = bytes.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
        assert!(clear == payload, "{len} bytes");
        keys.push(key);
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 7);
}

/// C316: a path where nobody listens is refused, and tried again.
#[test]
fn a_path_without_a_listener_is_refused_until_there_is_one() {
    let (first, second, dialer) = (Pair::new(), Pair::new(), Pair::new());
    let url = first.bind("ws://127.0.0.1:0/first").unwrap().url();
    let wanted = url.replace("/first", "/second");
    let endpoint = dialer.connect_with(&wanted, &often()).unwrap();
    eventually("two attempts", || endpoint.status().attempts >= 2);
    assert_eq!(endpoint.status().last_error, Some(AttemptError::Refused));
    second.bind(&wanted).unwrap();
    dialer.send_timeout("there", SOON).unwrap();
    assert_eq!(second.recv_timeout(SOON).unwrap(), "there");
    assert!(first.peers().is_empty());
    assert_eq!(dialer.peers()[0].remote, wanted);
    assert_eq!(second.peers()[0].local, wanted);
}

/// Sockets of several types and runtimes share a port by path; each may come and go.
#[test]
fn several_sockets_share_one_port() {
    let runtime = Runtime::new().unwrap();
    let rep = Rep::new();
    let publisher = Pub::on(&runtime, Options::new()).unwrap();
    let pull = Pull::new();
    let url = rep.bind("ws://127.0.0.1:0/rep").unwrap().url();
    let at = |path: &str| url.replace("/rep", path);
    publisher.bind(at("/pub")).unwrap();
    let pulls = pull.bind(at("")).unwrap();
    assert!(matches!(pull.bind(at("/pub")), Err(BindError::AddressInUse { .. })));
    assert!(matches!(pull.bind(at("/")), Err(BindError::AddressInUse { .. })), "the same path");
    assert!(matches!(
        pull.bind(at("/rep").replace("ws://", "tcp://").replace("/rep", "")),
        Err(BindError::AddressInUse { .. })
    ));

    let (req, sub, push) = (Req::new(), Sub::new(), Push::new());
    sub.subscribe("").unwrap();
    req.connect_with(at("/rep?who=me"), &often()).unwrap();
    sub.connect_with(at("/pub"), &often()).unwrap();
    push.connect_with(at("/"), &often()).unwrap();
    publisher.wait_for_peers(1, SOON).unwrap();
    for round in 0..20 {
        publisher.send(format!("news {round}")).unwrap();
        assert_eq!(sub.recv_timeout(SOON).unwrap(), format!("news {round}"));
        push.send_timeout(format!("work {round}"), SOON).unwrap();
        assert_eq!(pull.recv_timeout(SOON).unwrap(), format!("work {round}"));
        thread::scope(|scope| {
            scope.spawn(|| rep.recv_timeout(SOON).unwrap().reply("answer").unwrap());
            assert_eq!(req.request_timeout("question", SOON).unwrap(), "answer");
        });
    }
    // One goes, the others stay, and it comes back.
    pulls.close().unwrap();
    eventually("it is gone", || push.peers().is_empty());
    publisher.send("still").unwrap();
    assert_eq!(sub.recv_timeout(SOON).unwrap(), "still");
    pull.bind(at("/")).unwrap();
    push.send_timeout("again", SOON).unwrap();
    assert_eq!(pull.recv_timeout(SOON).unwrap(), "again");
    // The first goes, whose port it was.
    rep.close().unwrap();
    let late = Sub::new();
    late.subscribe("").unwrap();
    late.connect(at("/pub")).unwrap();
    publisher.wait_for_peers(2, SOON).unwrap();
    publisher.send("late").unwrap();
    assert_eq!(late.recv_timeout(SOON).unwrap(), "late");
    publisher.close().unwrap();
    pull.close().unwrap();
    Pull::new().bind(at("/").replace("ws://", "tcp://")).expect("the port is free");
}

/// Many clients for three paths at once: each comes to its own.
#[test]
fn each_of_many_connections_comes_to_its_path() {
    let sockets = [Rep::new(), Rep::new(), Rep::new()];
    let url = sockets[0].bind("ws://127.0.0.1:0/0").unwrap().url();
    let at = |path: usize| format!("{}/{path}", url.strip_suffix("/0").unwrap());
    sockets[1].bind(at(1)).unwrap();
    sockets[2].bind(at(2)).unwrap();
    for (number, rep) in sockets.iter().enumerate() {
        let rep = rep.clone();
        thread::spawn(move || {
            while let Ok(request) = rep.recv() {
                let _gone = request.reply(number.to_string());
            }
        });
    }
    thread::scope(|scope| {
        for client in 0..30 {
            let at = &at;
            scope.spawn(move || {
                let req = Req::new();
                req.connect_with(at(client % 3), &often()).unwrap();
                for _ in 0..5 {
                    let reply = req.request_timeout("who?", SOON).unwrap();
                    assert_eq!(reply, (client % 3).to_string());
                }
            });
        }
    });
    sockets.iter().for_each(|rep| rep.close().unwrap());
}

/// A page may connect if it comes from the same place, or from one on the list.
#[test]
fn pages_are_let_in_by_their_origin() {
    let rep = Rep::new();
    let same = bound(&rep);
    let list = EndpointOptions::new()
        .allow_origin("https://one.example")
        .allow_origin("https://two.example:8443");
    let listed = rep.bind_with("ws://127.0.0.1:0/a", &list).unwrap();
    let status = |endpoint: &Endpoint, origin: &str| {
        let mut client = Bare::connect(endpoint);
        let origin = format!("Origin: {origin}");
        client.send(&request(&[&subprotocol("rep"), &origin]));
        client.head()[9..12].to_owned()
    };
    assert_eq!(status(&same, "http://localhost:5555"), "101");
    assert_eq!(status(&same, "http://localhost:5556"), "403");
    assert_eq!(status(&same, "null"), "403");
    assert_eq!(status(&listed, "https://one.example"), "101");
    assert_eq!(status(&listed, "https://two.example:8443"), "101");
    assert_eq!(status(&listed, "https://two.example"), "403");
    assert_eq!(status(&listed, "http://localhost:5555"), "403");
    Bare::open(&listed, "rep");
}

/// C317: each pair of protocols exchanges a message.
#[test]
fn every_pair_of_protocols_talks() {
    fn join<A, B>(a: &sinew::Socket<A>, b: &sinew::Socket<B>)
    where
        A: sinew::role::Role,
        B: sinew::role::Role,
    {
        b.connect_with(bound(a).url(), &often()).unwrap();
        a.wait_for_peers(1, SOON).unwrap();
        b.wait_for_peers(1, SOON).unwrap();
    }
    macro_rules! sends_to {
        ($($one:ident $other:ident)*) => {$({
            let (one, other) = ($one::new(), $other::new());
            join(&one, &other);
            one.send_timeout("there", SOON).unwrap();
            assert_eq!(other.recv_timeout(SOON).unwrap(), "there");
            let (one, other) = ($one::new(), $other::new());
            join(&other, &one);
            one.send_timeout("back", SOON).unwrap();
            assert_eq!(other.recv_timeout(SOON).unwrap(), "back");
        })*};
    }
    sends_to!(Pair Pair Pair1 Pair1 Push Pull Bus Bus);
    for binds in [true, false] {
        let (publisher, sub) = (Pub::new(), Sub::new());
        sub.subscribe("").unwrap();
        let (req, rep) = (Req::new(), Rep::new());
        let (surveyor, respondent) = (Surveyor::new(), Respondent::new());
        if binds {
            join(&publisher, &sub);
            join(&req, &rep);
            join(&surveyor, &respondent);
        } else {
            join(&sub, &publisher);
            join(&rep, &req);
            join(&respondent, &surveyor);
        }
        publisher.send("news").unwrap();
        assert_eq!(sub.recv_timeout(SOON).unwrap(), "news");
        thread::scope(|scope| {
            scope.spawn(|| rep.recv_timeout(SOON).unwrap().reply("answer").unwrap());
            assert_eq!(req.request_timeout("question", SOON).unwrap(), "answer");
        });
        thread::scope(|scope| {
            scope.spawn(|| respondent.recv_timeout(SOON).unwrap().reply("here").unwrap());
            let survey = surveyor.survey("who?").unwrap();
            assert_eq!(survey.recv_timeout(SOON).unwrap(), "here");
        });
    }
}

/// C317: those that do not fit never connect, and both sides know why.
#[test]
fn protocols_that_do_not_fit_never_connect() {
    const ALL: [(&str, ProtocolId); 11] = [
        ("pair", ProtocolId::PAIR),
        ("pair1", ProtocolId::PAIR1),
        ("pub", ProtocolId::PUB),
        ("sub", ProtocolId::SUB),
        ("req", ProtocolId::REQ),
        ("rep", ProtocolId::REP),
        ("push", ProtocolId::PUSH),
        ("pull", ProtocolId::PULL),
        ("surveyor", ProtocolId::SURVEYOR),
        ("respondent", ProtocolId::RESPONDENT),
        ("bus", ProtocolId::BUS),
    ];
    fn status(endpoint: &Endpoint, name: &str) -> String {
        let mut client = Bare::connect(endpoint);
        client.send(&request(&[&subprotocol(name)]));
        client.head()[9..12].to_owned()
    }
    macro_rules! refuses_all_others {
        ($($socket:ident $own:literal)*) => {$({
            let socket = $socket::new();
            let endpoint = bound(&socket);
            for (name, _) in ALL {
                let expected = if name == $own { "101" } else { "400" };
                assert_eq!(status(&endpoint, name), expected, "{} asked for {name}", $own);
                // A PAIR says nothing to others while it has a peer.
                eventually("who was let in has come and gone", || {
                    let stats = socket.stats();
                    let come = u64::from(expected == "101") <= stats.accepted_connections;
                    come && stats.current_connections == 0
                });
            }
            eventually("they are counted", || socket.stats().handshake_errors == 10);
        })*};
    }
    refuses_all_others!(
        Pair "pair" Pair1 "pair1" Pub "pub" Sub "sub" Req "req" Rep "rep" Push "push" Pull "pull"
        Surveyor "surveyor" Respondent "respondent" Bus "bus"
    );
}

/// C320, C322.
#[test]
fn the_url_has_the_real_port() {
    let pair = Pair::new();
    for (given, begin, end) in [
        ("ws://127.0.0.1:0", "ws://127.0.0.1:", ""),
        ("ws://127.0.0.1:0/", "ws://127.0.0.1:", "/"),
        ("ws4://127.0.0.1:0/x", "ws4://127.0.0.1:", "/x"),
        ("ws://:0/x", "ws://", "/x"),
        ("ws://*:0/x", "ws://", "/x"),
    ] {
        let endpoint = pair.bind(given).unwrap();
        let url = endpoint.url();
        assert!(url.starts_with(begin) && url.ends_with(end) && !url.contains(":0"), "{url}");
        let peer = Pair::new();
        peer.connect_now(&url).unwrap();
        peer.send_timeout(given, SOON).unwrap();
        assert_eq!(pair.recv_timeout(SOON).unwrap(), given);
        endpoint.close().unwrap();
        eventually("its pipe is gone", || pair.peers().is_empty());
    }
}
