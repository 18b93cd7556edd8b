//! Peers that break TLS, or do not speak it. A good neighbour is served beside each.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use kit::{Raw, RawListener, SOON, attached, conserved, detached, eventually, frame, header};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection,
};
use sinew::tls::TlsConfig;
use sinew::{
    AttemptError, ConnectError, DetachReason, Endpoint, EndpointOptions, Options, Pull, Push,
    RecvError, Rep, Req, TlsError,
};

use crate::certificates::{local, ours};

const HERE: &str = "tls+tcp://127.0.0.1:0";
const PUSH: u8 = 0x50;
const PULL: u8 = 0x51;

fn trusting() -> TlsConfig {
    TlsConfig::builder().trust(ours().pem()).build().unwrap()
}

fn pull_with(options: Options) -> (Pull, Endpoint) {
    let options = options.tls(local().config().build().unwrap());
    let pull = Pull::with_options(options).unwrap();
    let endpoint = pull.bind(HERE).unwrap();
    (pull, endpoint)
}

fn pull() -> (Pull, Endpoint) {
    pull_with(Options::new())
}

/// The plain address of a listener.
fn plain(endpoint: &Endpoint) -> String {
    endpoint.url().replace("tls+", "")
}

/// Others are served.
#[track_caller]
fn serves(pull: &Pull, endpoint: &Endpoint) {
    let push = Push::with_options(Options::new().tls(trusting())).unwrap();
    push.connect_now(endpoint.url()).unwrap();
    push.send_timeout("good morning", SOON).unwrap();
    assert_eq!(pull.recv_timeout(SOON).unwrap(), "good morning");
    // Not even of the TLS library, where a panic may be caught, and prints, or ends a program that is built so.
    assert_eq!(sinew::contained_panics(), 0);
}

#[track_caller]
fn told(endpoint: &Endpoint, pull: &Pull) -> TlsError {
    eventually("the listener knows", || pull.stats().handshake_errors == 1);
    match endpoint.status().last_error {
        Some(AttemptError::Tls(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// The other side's TLS, by rustls itself.
type Stream<C> = rustls::StreamOwned<C, TcpStream>;

fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ours().pem().as_bytes()).unwrap()).unwrap();
    roots
}

fn client_config() -> Arc<ClientConfig> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Arc::new(ClientConfig::builder().with_root_certificates(roots()).with_no_client_auth())
}

/// A client that has shaken hands, and has sent nothing yet.
fn client(endpoint: &Endpoint, config: &Arc<ClientConfig>) -> Stream<ClientConnection> {
    let url = endpoint.url();
    let tcp = TcpStream::connect(url.split_once("://").unwrap().1).unwrap();
    tcp.set_read_timeout(Some(SOON)).unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut client = Stream::new(ClientConnection::new(Arc::clone(config), name).unwrap(), tcp);
    while client.conn.is_handshaking() {
        client.conn.complete_io(&mut client.sock).unwrap();
    }
    client
}

fn server_config() -> Arc<ServerConfig> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let chain = CertificateDer::from_pem_slice(local().chain.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(local().key.as_bytes()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    Arc::new(config.with_single_cert(vec![chain], key).unwrap())
}

fn greet<C, D>(stream: &mut Stream<C>, ours: u8, theirs: u8)
where
    C: std::ops::DerefMut + std::ops::Deref<Target = rustls::ConnectionCommon<D>>,
    D: rustls::SideData,
{
    stream.write_all(&header(ours)).unwrap();
    let mut their = [0; 8];
    stream.read_exact(&mut their).unwrap();
    assert_eq!(their, header(theirs));
}

/// J1.
#[test]
fn plain_bytes_to_a_tls_listener_are_refused() {
    for words in [&header(PUSH)[..], b"GET / HTTP/1.1\r\n\r\n", b"\xff\xff\xff\xff\xff\xff"] {
        let (pull, endpoint) = pull();
        let mut raw = Raw::connect(&plain(&endpoint));
        raw.send(words);
        assert_eq!(told(&endpoint, &pull), TlsError::NotTls);
        let answer = raw.read_to_end();
        assert!(!answer.windows(2).any(|two| two == b"SP"), "nothing in the clear: {answer:?}");
        serves(&pull, &endpoint);
    }
}

/// J1.
#[test]
fn a_plain_socket_and_one_with_tls_do_not_meet() {
    let (pull, endpoint) = pull();
    let push = Push::new();
    assert!(push.connect_now(plain(&endpoint)).is_err());
    assert_eq!(told(&endpoint, &pull), TlsError::NotTls);

    let open = Pull::new();
    let url = open.bind("tcp://127.0.0.1:0").unwrap().url().replace("tcp", "tls+tcp");
    let push = Push::with_options(Options::new().tls(trusting())).unwrap();
    match push.connect_now(url) {
        Err(ConnectError::Failed { source: AttemptError::Tls(error), .. }) => {
            assert_eq!(error, TlsError::NotTls);
        }
        other => panic!("{other:?}"),
    }
    eventually("it is counted there", || open.stats().handshake_errors == 1);
}

/// C326, J2: one deadline for all that comes before the peer's header, however it comes.
#[test]
fn a_stalled_handshake_ends_at_the_limit_and_others_are_served() {
    let limit = Duration::from_millis(300);
    let (pull, endpoint) = pull_with(Options::new().handshake_timeout(limit));
    let hello = hello();
    let mut silent = Raw::connect(&plain(&endpoint));
    let mut stalled = Raw::connect(&plain(&endpoint));
    stalled.send(&hello[..hello.len() / 2]);
    // It goes on with TLS, and says nothing after it.
    let mut mute = client(&endpoint, &client_config());
    let mut slow = Raw::connect(&plain(&endpoint));
    serves(&pull, &endpoint);
    let crawl = thread::spawn(move || {
        // Each byte comes long before the limit.
        hello.iter().all(|byte| {
            thread::sleep(Duration::from_millis(20));
            slow.try_send(&[*byte]).is_ok()
        })
    });
    eventually("all four are over", || pull.stats().handshake_timeouts == 4);
    assert!(silent.read_to_end().is_empty() && stalled.read_to_end().is_empty());
    assert_eq!(mute.read(&mut [0; 100]).unwrap(), 8, "our header");
    assert_eq!(mute.read(&mut [0; 100]).unwrap(), 0, "and an end in form");
    drop(crawl);
    serves(&pull, &endpoint);
}

/// The first message of a client.
fn hello() -> Vec<u8> {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut client = ClientConnection::new(client_config(), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

/// J3: the pieces make no difference.
#[test]
fn a_hello_in_fragments_is_a_hello() {
    let (_pull, endpoint) = pull();
    let hello = hello();
    let (head, body) = hello.split_at(5);
    let mut fragments = Vec::new();
    for piece in body.chunks(7) {
        fragments.extend_from_slice(&head[..3]);
        fragments.extend_from_slice(&u16::try_from(piece.len()).unwrap().to_be_bytes());
        fragments.extend_from_slice(piece);
    }
    let mut raw = Raw::connect(&plain(&endpoint));
    for bytes in fragments.chunks(11) {
        raw.send(bytes);
    }
    assert_eq!(raw.read(1), [0x16], "a handshake goes on");
}

/// J2, J3: what a peer sends before it is known is bounded.
#[test]
fn a_hello_without_an_end_is_refused() {
    let (pull, endpoint) = pull();
    let mut raw = Raw::connect(&plain(&endpoint));
    // A hello of 64,000 bytes, of which none is an extension.
    let mut hello = vec![0x01, 0x00, 0xfa, 0x00];
    hello.resize(64_004, 0);
    for piece in hello.chunks(16_000) {
        let mut record = vec![0x16, 0x03, 0x01];
        record.extend_from_slice(&u16::try_from(piece.len()).unwrap().to_be_bytes());
        record.extend_from_slice(piece);
        if raw.try_send(&record).is_err() {
            break;
        }
    }
    assert_eq!(told(&endpoint, &pull), TlsError::TooLong(32 * 1024));
    serves(&pull, &endpoint);
}

/// J3: an end in the middle of the handshake.
#[test]
fn close_notify_in_the_handshake_ends_it() {
    let (pull, endpoint) = pull();
    let mut raw = Raw::connect(&plain(&endpoint));
    raw.send(&[0x15, 0x03, 0x03, 0x00, 0x02, 0x01, 0x00]);
    raw.finish();
    raw.read_to_end();
    eventually("nobody is there", || {
        pull.peers().is_empty() && pull.stats().handshake_timeouts == 0
    });
    serves(&pull, &endpoint);
}

/// J7: a connection that is cut off, between messages and in the middle of one, is not one that has ended.
#[test]
fn who_is_cut_off_is_told_from_who_ends() {
    for (more, is_cut) in [(&b""[..], true), (b"\0\0\0\0\0\0\0\x09part", true), (b"", false)] {
        let (pull, endpoint) = pull();
        let events = pull.events();
        let mut client = client(&endpoint, &client_config());
        greet(&mut client, PUSH, PULL);
        attached(&events);
        client.write_all(&frame(b"whole")).unwrap();
        client.write_all(more).unwrap();
        assert_eq!(pull.recv_timeout(SOON).unwrap(), "whole");
        end(&mut client, is_cut);
        assert_eq!(detached(&events), reason_for(is_cut));
        assert_eq!(pull.try_recv().unwrap_err(), RecvError::WouldBlock, "no part of a message");
        conserved(|| pull.stats());
    }
}

/// Ends what the client sends, by TLS unless it `is_cut` off.
fn end(client: &mut Stream<ClientConnection>, is_cut: bool) {
    if !is_cut {
        client.conn.send_close_notify();
        client.flush().unwrap();
    }
    client.sock.shutdown(Shutdown::Write).unwrap();
}

fn reason_for(is_cut: bool) -> DetachReason {
    if is_cut { DetachReason::Tls(TlsError::Truncated) } else { DetachReason::PeerClosed }
}

/// J7: over WebSocket too.
#[test]
fn who_is_cut_off_over_wss_is_told_from_who_ends() {
    for (last, is_cut) in [(&b""[..], true), (b"\x82\x85\0\0\0\0par", true), (b"", false)] {
        let pull =
            Pull::with_options(Options::new().tls(local().config().build().unwrap())).unwrap();
        let (endpoint, events) = (pull.bind("wss://127.0.0.1:0").unwrap(), pull.events());
        let mut client = client(&endpoint, &client_config());
        client
            .write_all(
                b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Protocol: pull.sp.nanomsg.org\r\n\r\n\x82\x85\0\0\0\0whole",
            )
            .unwrap();
        attached(&events);
        assert_eq!(pull.recv_timeout(SOON).unwrap(), "whole");
        client.write_all(last).unwrap();
        end(&mut client, is_cut);
        assert_eq!(detached(&events), reason_for(is_cut));
        conserved(|| pull.stats());
    }
}

/// Bytes that were changed on the way end the connection, and nothing of them is delivered.
#[test]
fn what_is_changed_on_the_way_is_not_delivered() {
    let (pull, endpoint) = pull();
    let events = pull.events();
    let mut client = client(&endpoint, &client_config());
    greet(&mut client, PUSH, PULL);
    attached(&events);
    client.conn.writer().write_all(&frame(b"gold")).unwrap();
    let mut record = Vec::new();
    client.conn.write_tls(&mut record).unwrap();
    *record.last_mut().unwrap() ^= 1;
    client.sock.write_all(&record).unwrap();
    match detached(&events) {
        DetachReason::Tls(TlsError::Broken(_)) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(pull.try_recv().unwrap_err(), RecvError::WouldBlock);
    // The peer hears why.
    match client.read(&mut [0; 100]) {
        Err(error) => assert!(error.to_string().to_lowercase().contains("badrecordmac"), "{error}"),
        other => panic!("{other:?}"),
    }
    serves(&pull, &endpoint);
}

/// J6: keys that are changed again and again, for nothing.
#[test]
fn a_flood_of_key_updates_ends_the_connection() {
    let (pull, endpoint) = pull();
    let events = pull.events();
    let mut client = client(&endpoint, &client_config());
    greet(&mut client, PUSH, PULL);
    attached(&events);
    for _ in 0..1000 {
        if client.conn.refresh_traffic_keys().is_err() || client.flush().is_err() {
            break;
        }
    }
    match detached(&events) {
        DetachReason::Tls(TlsError::Broken(_)) => {}
        other => panic!("{other:?}"),
    }
    serves(&pull, &endpoint);
}

/// New keys in between, from either side, are not noticed by anybody.
#[test]
fn keys_are_renewed_while_messages_pass() {
    let (pull, endpoint) = pull();
    let mut client = client(&endpoint, &client_config());
    greet(&mut client, PUSH, PULL);
    for number in 0..20_u8 {
        client.write_all(&frame(&[number])).unwrap();
        client.conn.refresh_traffic_keys().unwrap();
        assert_eq!(pull.recv_timeout(SOON).unwrap(), [number]);
    }
    client.flush().unwrap();
    assert_eq!(pull.peers().len(), 1);
}

/// J6: a part of a message of the handshake lies there while we send.
#[test]
fn half_a_key_update_does_not_disturb_who_sends() {
    let push = Push::with_options(Options::new().tls(local().config().build().unwrap())).unwrap();
    let endpoint = push.bind(HERE).unwrap();
    let mut client = client(&endpoint, &client_config());
    greet(&mut client, PULL, PUSH);
    push.wait_for_peers(1, SOON).unwrap();
    // rustls makes no fragments: what it makes of a whole is cut before it is sent.
    client.conn.refresh_traffic_keys().unwrap();
    let mut record = Vec::new();
    client.conn.write_tls(&mut record).unwrap();
    let (first, second) = record.split_at(record.len() / 2);
    client.sock.write_all(first).unwrap();
    for word in ["one", "two"] {
        push.send_timeout(word, SOON).unwrap();
        let mut got = vec![0; 11];
        client.read_exact(&mut got).unwrap();
        assert_eq!(got, frame(word.as_bytes()));
    }
    client.sock.write_all(second).unwrap();
    push.send_timeout("three", SOON).unwrap();
    let mut got = vec![0; 13];
    client.read_exact(&mut got).unwrap();
    assert_eq!(got, frame(b"three"));
}

/// Sessions are resumed, whoever accepts: by rustls's own word.
#[test]
fn sessions_are_resumed_on_both_sides() {
    let (pull, endpoint) = pull();
    let config = client_config();
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut client = client(&endpoint, &config);
        greet(&mut client, PUSH, PULL);
        client.write_all(&frame(b"hello")).unwrap();
        assert_eq!(pull.recv_timeout(SOON).unwrap(), "hello");
        assert_eq!(client.conn.handshake_kind(), Some(kind));
        client.conn.send_close_notify();
        client.flush().unwrap();
    }

    let listener = RawListener::new();
    let push = Push::with_options(Options::new().tls(trusting())).unwrap();
    let often = EndpointOptions::new().reconnect_interval(Duration::from_millis(10));
    push.connect_with(listener.url().replace("tcp", "tls+tcp"), &often).unwrap();
    let config = server_config();
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let Raw::Tcp(tcp) = listener.accept() else { panic!("a tcp listener") };
        let mut server = Stream::new(ServerConnection::new(Arc::clone(&config)).unwrap(), tcp);
        greet(&mut server, PULL, PUSH);
        push.send_timeout("hello", SOON).unwrap();
        let mut got = [0; 13];
        server.read_exact(&mut got).unwrap();
        assert_eq!(server.conn.handshake_kind(), Some(kind));
    }
}

/// J2: hundreds of hellos that do not go on, and somebody who has something to say.
#[test]
fn stalled_hellos_by_the_hundred_do_not_keep_others_out() {
    let (pull, endpoint) = pull();
    let hello = hello();
    let stalled: Vec<Raw> = (0..200)
        .map(|_| {
            let mut raw = Raw::connect(&plain(&endpoint));
            raw.send(&hello[..hello.len() - 1]);
            raw
        })
        .collect();
    serves(&pull, &endpoint);
    assert_eq!(pull.stats().handshake_errors, 0);
    drop(stalled);
}

/// J8: whole handshakes, one after another from one address. A neighbour on the same event loop goes on meanwhile.
#[test]
fn who_shakes_hands_again_and_again_holds_up_nobody() {
    let (pull, endpoint) = pull();
    let (rep, req) = (Rep::new(), Req::new());
    req.connect(rep.bind("tcp://127.0.0.1:0").unwrap().url()).unwrap();
    let echo = rep.clone();
    let echoing = thread::spawn(move || {
        while let Ok(request) = echo.recv() {
            let body = request.message().clone();
            request.reply(body).unwrap();
        }
    });
    let exchange = || {
        let begin = Instant::now();
        assert_eq!(req.request_timeout("ping", SOON).unwrap(), "ping");
        begin.elapsed()
    };
    let alone = (0..500).map(|_| exchange()).collect();

    let mut config = ClientConfig::clone(&client_config());
    config.resumption = Resumption::disabled();
    let (config, mut beside) = (Arc::new(config), Vec::new());
    thread::scope(|scope| {
        let crowd = scope.spawn(|| (0..200).for_each(|_| drop(client(&endpoint, &config))));
        while !crowd.is_finished() {
            beside.push(exchange());
        }
    });
    assert!(beside.len() >= 20, "{} exchanges beside 200 handshakes", beside.len());
    let p99 = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() * 99 / 100]
    };
    eprintln!("p99 {:?} alone, {:?} beside 200 handshakes", p99(alone), p99(beside));
    serves(&pull, &endpoint);
    rep.close().unwrap();
    echoing.join().unwrap();
}
