//! Listeners and connections that were there before they were given to a socket.

#[cfg(unix)]
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
#[cfg(unix)]
use std::os::fd::OwnedFd;
#[cfg(unix)]
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use kit::{SOON, conserved, eventually};
#[cfg(unix)]
use kit::{TempDir, attached, detached, header};
use sinew::transport::{
    Address, EndpointSettings, Framing, GivenListener, GivenStream, StreamTransport, Tcp,
};
#[cfg(unix)]
use sinew::{
    AttemptError, BindError, ConnectError, DetachReason, HeaderError, Options, ProtocolId,
};
use sinew::{EndpointState, Pair, Pull, Push};

/// Connects to `listener` and receives what it sends.
#[track_caller]
fn serves(listener: impl Into<GivenListener>, expected: &str) {
    let (pull, push) = (Pull::new(), Push::new());
    let endpoint = pull.bind_listener(listener).unwrap();
    assert!(endpoint.url().starts_with(expected), "{}", endpoint.url());
    assert!(endpoint.is_listening());
    push.connect_now(endpoint.url()).unwrap();
    push.send("hello").unwrap();
    assert_eq!(pull.recv_timeout(SOON).unwrap(), "hello");
    assert!(!pull.peers()[0].peer.outgoing);
    endpoint.close().unwrap();
    assert!(push.connect_now(endpoint.url()).is_err(), "it is closed");
    conserved(|| pull.stats());
}

/// Sends over a connection of two sockets.
#[track_caller]
fn talk(one: impl Into<GivenStream>, other: impl Into<GivenStream>, expected: &str) {
    let (near, far) = (Pair::new(), Pair::new());
    let endpoint = near.adopt(one).unwrap();
    far.adopt(other).unwrap();
    assert!(endpoint.url().starts_with(expected), "{}", endpoint.url());
    assert!(!endpoint.is_listening());
    near.send("hello").unwrap();
    assert_eq!(far.recv_timeout(SOON).unwrap(), "hello");
    far.send("and back").unwrap();
    assert_eq!(near.recv_timeout(SOON).unwrap(), "and back");
    assert_eq!(endpoint.status().state, EndpointState::Connected);

    // The end of the connection is that of both endpoints.
    far.close().unwrap();
    eventually("it is over", || near.endpoints().is_empty());
    assert_eq!(endpoint.status().state, EndpointState::Closed);
    conserved(|| near.stats());
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

/// C615.
#[test]
fn a_listener_of_tcp_serves() {
    serves(TcpListener::bind("127.0.0.1:0").unwrap(), "tcp://127.0.0.1:");
    #[cfg(unix)]
    serves(OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap()), "tcp://127.0.0.1:");
}

/// C615.
#[test]
#[cfg(unix)]
fn a_listener_with_a_file_serves_and_leaves_the_file() {
    let dir = TempDir::new();
    for name in ["one", "other"] {
        let path = dir.path(name);
        let listener = UnixListener::bind(&path).unwrap();
        let url = format!("ipc://{}", path.display());
        match name {
            "one" => serves(listener, &url),
            _ => serves(OwnedFd::from(listener), &url),
        }
        assert!(path.symlink_metadata().is_ok(), "the file is not ours");
    }
}

/// C615.
#[test]
#[cfg(unix)]
fn a_listener_whose_file_is_gone_says_so() {
    let dir = TempDir::new();
    let path = dir.path("s");
    let pull = Pull::new();
    let endpoint = pull.bind_listener(UnixListener::bind(&path).unwrap()).unwrap();
    assert_eq!(endpoint.status().last_error, None);
    std::fs::remove_file(&path).unwrap();
    let lost = AttemptError::FileLost { path, replaced: false };
    assert_eq!(endpoint.status().last_error, Some(lost));
}

/// C615.
#[test]
#[cfg(target_os = "linux")]
fn a_listener_with_an_abstract_name_serves() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("sinew given {}", std::process::id());
    let name = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
    serves(UnixListener::bind_addr(&name).unwrap(), "abstract://sinew%20given%20");
}

/// C615: what a transport has made, perhaps with settings that no option has.
#[test]
fn a_listener_of_the_programs_own_serves() {
    let address = Address::parse("tcp://127.0.0.1:0").unwrap();
    let listener = Tcp::new().bind(&address, &EndpointSettings::default()).unwrap();
    serves(GivenListener::new(listener, Framing::Length), "tcp://127.0.0.1:");
}

/// C615.
#[test]
#[cfg(unix)]
fn what_does_not_listen_is_refused() {
    let pull = Pull::new();
    let refused = |given: GivenListener| match pull.bind_listener(given) {
        Err(BindError::Io { source, .. }) => source.to_string(),
        other => panic!("{other:?}"),
    };
    let (one, other) = UnixStream::pair().unwrap();
    if cfg!(target_os = "linux") {
        assert_eq!(refused(OwnedFd::from(one).into()), "it does not listen");
        assert_eq!(refused(OwnedFd::from(tcp_pair().0).into()), "it does not listen");
    }
    drop(other);
    let letters = UnixDatagram::pair().unwrap().0;
    let reason = "it is a socket for datagrams, not for a stream";
    assert_eq!(refused(OwnedFd::from(letters).into()), reason);
    let file = std::fs::File::open("/dev/null").unwrap();
    refused(OwnedFd::from(file).into());
    assert_eq!(pull.stats().bind_errors, if cfg!(target_os = "linux") { 4 } else { 2 });
    assert!(pull.endpoints().is_empty());

    pull.close().unwrap();
    let late = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = late.local_addr().unwrap();
    assert!(matches!(pull.bind_listener(late), Err(BindError::Closed)));
    assert!(TcpStream::connect(place).is_err(), "it is closed");
}

/// C616.
#[test]
fn a_connection_over_tcp_is_taken_over() {
    let (one, other) = tcp_pair();
    talk(one, other, "tcp://127.0.0.1:");
}

/// C616.
#[test]
#[cfg(unix)]
fn a_pair_is_taken_over() {
    let (one, other) = UnixStream::pair().unwrap();
    talk(one, OwnedFd::from(other), "socket://");
    let (one, other) = UnixStream::pair().unwrap();
    let framed = |stream: UnixStream| GivenStream::from(stream).framed(Framing::TypeAndLength);
    talk(framed(one), framed(other), "socket://");
}

/// C616: on a pair without names the bytes are those of tcp, as for `socket://` of NNG.
#[test]
#[cfg(unix)]
fn what_frames_a_message_follows_from_what_it_is() {
    for (framing, prefix) in [(None, &b""[..]), (Some(Framing::TypeAndLength), b"\x01")] {
        let (one, mut raw) = UnixStream::pair().unwrap();
        raw.set_read_timeout(Some(SOON)).unwrap();
        let mut given = GivenStream::from(one);
        if let Some(framing) = framing {
            given = given.framed(framing);
        }
        let push = Push::new();
        push.adopt(given).unwrap();
        raw.write_all(&header(0x51)).unwrap();
        push.send("hello").unwrap();
        let mut bytes = vec![0; 8 + prefix.len() + 8 + 5];
        raw.read_exact(&mut bytes).unwrap();
        let expected = [&header(0x50)[..], prefix, b"\0\0\0\0\0\0\0\x05hello"].concat();
        assert_eq!(bytes, expected);
    }
}

/// C616: an end that has a name, or whose peer has one, is one of ipc.
#[test]
#[cfg(unix)]
fn a_connection_with_a_name_speaks_ipc() {
    let dir = TempDir::new();
    let path = dir.path("s");
    let url = format!("ipc://{}", path.display());
    // Ours is the end that was dialed.
    let (pull, push) = (Pull::new(), Push::new());
    pull.bind(&url).unwrap();
    let endpoint = push.adopt(UnixStream::connect(&path).unwrap()).unwrap();
    assert_eq!(endpoint.url(), url);
    push.send("hello").unwrap();
    assert_eq!(pull.recv_timeout(SOON).unwrap(), "hello");
    drop((pull, push));

    // Ours is the end that was accepted.
    let listener = UnixListener::bind(&path).unwrap();
    let (pull, push) = (Pull::new(), Push::new());
    push.connect(&url).unwrap();
    let endpoint = pull.adopt(listener.accept().unwrap().0).unwrap();
    assert_eq!(endpoint.url(), url);
    push.send("hello").unwrap();
    assert_eq!(pull.recv_timeout(SOON).unwrap(), "hello");
}

/// C616.
#[test]
#[cfg(unix)]
fn what_is_not_connected_is_refused() {
    let push = Push::new();
    let refused = |given: GivenStream| match push.adopt(given) {
        Err(ConnectError::Failed { source: AttemptError::Io { message, .. }, .. }) => message,
        other => panic!("{other:?}"),
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    refused(OwnedFd::from(listener).into());
    let letters = UnixDatagram::pair().unwrap().0;
    let reason = refused(OwnedFd::from(letters).into());
    assert_eq!(reason, "it is a socket for datagrams, not for a stream");
    refused(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()).into());
    assert!(push.endpoints().is_empty());
    push.close().unwrap();
    assert!(matches!(push.adopt(tcp_pair().0), Err(ConnectError::Closed)));
}

/// C616: what goes wrong before there is a pipe is in the status of the endpoint, which is over.
#[test]
#[cfg(unix)]
fn a_peer_that_is_none_ends_the_endpoint() {
    let pull = Pull::new();
    let (one, mut raw) = UnixStream::pair().unwrap();
    let endpoint = pull.adopt(one).unwrap();
    raw.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    eventually("it is over", || endpoint.status().state == EndpointState::Closed);
    let error = endpoint.status().last_error;
    assert_eq!(error, Some(AttemptError::Protocol(HeaderError::Magic)));
    assert!(pull.endpoints().is_empty());
    assert_eq!(pull.stats().handshake_errors, 1);

    let (one, other) = UnixStream::pair().unwrap();
    let endpoint = pull.adopt(one).unwrap();
    drop(other);
    eventually("it is over", || endpoint.status().state == EndpointState::Closed);
    assert!(endpoint.status().last_error.is_some());
}

/// C616.
#[test]
#[cfg(unix)]
fn the_program_may_turn_the_peer_away() {
    let pull = Pull::with_options(Options::new().admit(|_| false)).unwrap();
    let (one, mut raw) = UnixStream::pair().unwrap();
    let endpoint = pull.adopt(one).unwrap();
    raw.write_all(&header(0x50)).unwrap();
    eventually("it is over", || endpoint.status().state == EndpointState::Closed);
    assert_eq!(endpoint.status().last_error, Some(AttemptError::Rejected));
}

/// C616: whichever end of it closes what, nothing is left.
#[test]
#[cfg(unix)]
fn nothing_is_left_of_many_connections() {
    let pull = Pull::new();
    let events = pull.events();
    for round in 0..30 {
        let (one, mut raw) = UnixStream::pair().unwrap();
        raw.set_read_timeout(Some(SOON)).unwrap();
        let endpoint = pull.adopt(one).unwrap();
        raw.write_all(&header(0x50)).unwrap();
        attached(&events);
        assert_eq!(endpoint.status().peers, 1);
        let reason = match round % 3 {
            0 => {
                drop(raw);
                DetachReason::PeerClosed
            }
            1 => {
                pull.disconnect(pull.peers()[0].peer.pipe).unwrap();
                assert_eq!(raw.read(&mut [0; 99]).unwrap(), 8, "our header");
                assert_eq!(raw.read(&mut [0]).unwrap(), 0);
                DetachReason::ClosedHere
            }
            _ => {
                endpoint.close().unwrap();
                assert_eq!(raw.read(&mut [0; 99]).unwrap(), 8, "our header");
                assert_eq!(raw.read(&mut [0]).unwrap(), 0);
                DetachReason::EndpointClosed
            }
        };
        assert_eq!(detached(&events), reason);
        eventually("it is over", || pull.endpoints().is_empty());
        assert_eq!(endpoint.status().state, EndpointState::Closed);
        // Whoever goes at once without a word has turned us away, as far as anybody knows.
        let turned_away = AttemptError::TurnedAway { peer: ProtocolId::PUSH, greeted: true };
        let error = endpoint.status().last_error;
        assert_eq!(error, (reason == DetachReason::PeerClosed).then_some(turned_away));
    }
    conserved(|| pull.stats());
}
