//! Endpoints and URLs: conformance group 13 (C239 to C274). What all transports have in
//! common is in transports.rs.

#[cfg(unix)]
use std::fs;
use std::io::ErrorKind;
#[cfg(unix)]
use std::os::unix::fs::PermissionsExt;
#[cfg(unix)]
use std::os::unix::net::UnixListener;
#[cfg(unix)]
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

#[cfg(unix)]
use kit::TempDir;
use kit::{QUIET, Raw, RawListener, SOON, Transport, attached, detached, eventually, join};
#[cfg(unix)]
use sinew::metrics::Metrics;
use sinew::{
    AddressError, AttemptError, BindError, ConnectError, DetachReason, EndpointOptions,
    EndpointState, Options, Pair, Pull, Rep, Req,
};

/// Attempts that follow each other fast.
fn often() -> EndpointOptions {
    EndpointOptions::new().reconnect_interval(Duration::from_millis(10))
}

/// Answers every request with what was asked, until the socket is closed.
fn echo(rep: &Rep) {
    let rep = rep.clone();
    thread::spawn(move || {
        while let Ok(request) = rep.recv() {
            let answer = request.message().clone();
            let _closed = request.reply(answer);
        }
    });
}

/// Both ends of a pair can hear each other.
#[track_caller]
fn exchange(left: &Pair, right: &Pair) {
    left.send_timeout("there", SOON).unwrap();
    assert_eq!(right.recv_timeout(SOON).unwrap(), "there");
    right.send_timeout("back", SOON).unwrap();
    assert_eq!(left.recv_timeout(SOON).unwrap(), "back");
}

/// An address at which nobody listens, and at which somebody can.
fn deserted(transport: Transport) -> kit::Address {
    let mut address = transport.address();
    if transport == Transport::Tcp {
        address.url = RawListener::new().url();
    }
    address
}

fn port(url: &str) -> u16 {
    url.rsplit_once(':').expect("a port").1.parse().expect("a number")
}

#[cfg(unix)]
fn ipc(path: &Path) -> String {
    format!("ipc://{}", path.display())
}

#[track_caller]
fn refused(result: Result<sinew::Endpoint, ConnectError>) {
    match result {
        Err(ConnectError::Failed { source: AttemptError::Refused, .. }) => {}
        other => panic!("not refused: {other:?}"),
    }
}

#[track_caller]
fn no_such_file(result: Result<sinew::Endpoint, ConnectError>) {
    match result {
        Err(ConnectError::Failed { source: AttemptError::NoSuchFile, .. }) => {}
        other => panic!("not told that there is no file: {other:?}"),
    }
}

#[cfg(unix)]
#[track_caller]
fn in_use(result: Result<sinew::Endpoint, BindError>) {
    assert!(matches!(result, Err(BindError::AddressInUse { .. })), "{result:?}");
}

/// C239.
#[test]
fn port_zero_becomes_a_real_port_in_the_url() {
    let (left, right) = (Pair::new(), Pair::new());
    let endpoint = left.bind("tcp://127.0.0.1:0").unwrap();
    assert!(endpoint.url().starts_with("tcp://127.0.0.1:"));
    assert_ne!(port(&endpoint.url()), 0);
    right.connect_now(endpoint.url()).unwrap();
    exchange(&left, &right);
}

/// C240.
#[test]
fn a_star_or_nothing_means_all_interfaces() {
    for url in ["tcp://*:0", "tcp://:0", "tcp4://*:0"] {
        let (left, right) = (Pair::new(), Pair::new());
        let bound = left.bind(url).unwrap().url();
        right.connect_now(format!("tcp://127.0.0.1:{}", port(&bound))).unwrap();
        exchange(&left, &right);
        let other = Pair::new();
        right.close().unwrap();
        eventually("the left is free", || left.peers().is_empty());
        other.connect_now(&bound).expect("the URL can be connected to");
        exchange(&left, &other);
    }
}

/// C241, C242, C247, C249.
#[test]
fn an_address_that_makes_no_sense_is_refused_at_the_call() {
    let long_name = format!("tcp://{}:1", ["a".repeat(63).as_str(); 4].join(".") + "a");
    let urls = [
        "tcp://*:5555",
        "tcp://:5555",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:abc",
        "tcp://127.0.0.1:-1",
        "tcp://127.0.0.1:+1",
        "tcp://127.0.0.1: 1",
        "tcp://",
        "tcp://a#b:1",
        "tcp://a b:1",
        "tcp://a/b:1",
        &long_name,
        "tcp://127.0.0.1:1/x",
        "tcp://127.0.0.1:1?q",
        "tcp://user@127.0.0.1:1",
        "tcp://::1:1",
        "tcp://[::1:1",
        "tcp://[]:1",
        "tcp://[::1]1",
        "tcp://[127.0.0.1]:1",
        "tcp://[fe80::1%]:1",
        "tcp://nonsense;127.0.0.1:1",
        "ipc://",
        "inproc://",
    ];
    let pair = Pair::new();
    for url in urls {
        for result in [pair.connect(url), pair.connect_now(url)] {
            match result {
                Err(ConnectError::Address(error)) => assert_eq!(error.url(), url),
                other => panic!("{url}: {other:?}"),
            }
        }
    }
    // The first three and the last two forms differ for bind.
    for url in urls.into_iter().skip(3) {
        let result = pair.bind(url);
        assert!(matches!(result, Err(BindError::Address(_))), "{url}: {result:?}");
    }
    assert_eq!(pair.stats().bind_errors, urls.len() as u64 - 3);
}

/// C246.
#[test]
fn an_unknown_or_missing_scheme_is_a_typed_error() {
    let pair = Pair::new();
    let local = if cfg!(windows) { "winpipe" } else { "unix" };
    let Err(BindError::Address(AddressError::UnknownTransport { known, .. })) =
        pair.bind("bad://x")
    else {
        panic!("it is bound");
    };
    // And those of features.
    assert_eq!(known[..6], ["inproc", "tcp", "tcp4", "tcp6", "ipc", local]);
    for url in ["bad://x", "TCP://127.0.0.1:1", "tcp5://127.0.0.1:1", "inproc2://x"] {
        let scheme = url.split_once(':').unwrap().0.to_owned();
        let known = known.clone();
        let expected = AddressError::UnknownTransport { url: url.to_owned(), scheme, known };
        let told = format!("there are inproc, tcp, tcp4, tcp6, ipc, {local}");
        assert!(expected.to_string().contains(&told), "{expected}");
        match (pair.bind(url), pair.connect(url), pair.connect_now(url)) {
            (
                Err(BindError::Address(a)),
                Err(ConnectError::Address(b)),
                Err(ConnectError::Address(c)),
            ) => assert_eq!([&a, &b, &c], [&expected; 3]),
            other => panic!("{url}: {other:?}"),
        }
    }
    for url in ["", "inproc:x", "://", "://x", "tcp:127.0.0.1:1", "tcp"] {
        let expected = AddressError::NoScheme { url: url.to_owned() };
        match (pair.bind(url), pair.connect(url)) {
            (Err(BindError::Address(a)), Err(ConnectError::Address(b))) => {
                assert_eq!((&a, &b), (&expected, &expected));
            }
            other => panic!("{url}: {other:?}"),
        }
    }
}

/// C242, C367.
#[test]
fn what_a_host_may_be_called_is_for_the_resolver_to_say() {
    let pair = Pair::new();
    let long_label = "a".repeat(64);
    for host in ["my_service", "no-such-host.invalid.", "-host", "a..b", ".a", &long_label] {
        let url = format!("tcp://{host}:1");
        match pair.connect_now(&url) {
            Err(ConnectError::Failed {
                source: AttemptError::Resolve { kind, message }, ..
            }) => {
                unresolved(kind, &message);
            }
            other => panic!("{url}: {other:?}"),
        }
        pair.connect(&url).expect("it may be resolved later").close().unwrap();
    }
    match pair.bind("tcp://.a:1") {
        Err(BindError::Io { source, .. }) => unresolved(source.kind(), &source.to_string()),
        other => panic!("{other:?}"),
    }
}

/// Whether there is such a name is not known where no name server can be asked.
#[track_caller]
fn unresolved(kind: ErrorKind, message: &str) {
    assert!(matches!(kind, ErrorKind::NotFound | ErrorKind::HostUnreachable), "{kind}: {message}");
    assert!(!message.is_empty() && !message.contains("uncategorized"), "{message}");
}

/// C365.
#[test]
fn a_star_before_the_semicolon_leaves_the_local_address_to_the_system() {
    let (left, right) = (Pair::new(), Pair::new());
    let bound = left.bind("tcp://127.0.0.1:0").unwrap().url();
    let url = bound.replace("tcp://", "tcp://*;");
    assert_eq!(right.connect_now(&url).unwrap().url(), url);
    exchange(&left, &right);
}

/// C368. Beyond loopback no address has a zone that a test could count on.
#[test]
fn an_interface_that_is_not_there_is_looked_for_at_every_attempt() {
    let pair = Pair::new();
    let url = "tcp://[fe80::1%no-such-if]:1";
    match pair.connect_now(url) {
        Err(ConnectError::Failed { source: AttemptError::Resolve { message, .. }, .. }) => {
            assert!(message.contains("no interface \"no-such-if\""), "{message}");
        }
        other => panic!("{other:?}"),
    }
    let endpoint = pair.connect_with(url, &often()).unwrap();
    eventually("it tries again", || endpoint.status().attempts > 2);
    assert!(matches!(pair.bind(url), Err(BindError::Io { .. })));
}

/// C243.
#[test]
fn an_address_of_another_host_cannot_be_bound() {
    let pair = Pair::new();
    let result = pair.bind("tcp://203.0.113.1:0");
    assert!(matches!(result, Err(BindError::Io { .. })), "{result:?}");
    let result = pair.bind("tcp://no-such-name.invalid:0");
    assert!(matches!(result, Err(BindError::Io { .. })), "{result:?}");
    assert_eq!(pair.stats().bind_errors, 2);
    pair.bind("tcp://127.0.0.1:0").expect("the socket is none the worse for it");
}

/// The same for a socket whose last handle is dropped while the I/O thread is busy with it.
#[test]
fn dropping_the_last_handle_frees_the_address_at_once() {
    for transport in Transport::STREAMS {
        let (asked, is_asked) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel();
        let may_go_on = Mutex::new(may_go_on);
        let options = Options::new().admit(move |_| {
            asked.send(()).expect("the test waits for it");
            may_go_on.lock().expect("one call").recv_timeout(SOON).is_ok()
        });
        let pair = Pair::with_options(options).unwrap();
        let address = transport.address();
        let url = pair.bind(&address.url).unwrap().url();
        let mut raw = Raw::greet(&url, 0x10, 0x10);
        is_asked.recv_timeout(SOON).unwrap();
        drop(pair);
        let bound = || Pair::new().bind(&url);
        if cfg!(windows) {
            // Wine lets go of a listener when it has called off the poll.
            eventually("the address is free", || bound().is_ok());
        } else {
            bound().expect("the address is free");
        }
        go_on.send(()).unwrap();
        assert_eq!(raw.read_to_end(), [0; 0], "too late to be admitted");
    }
}

/// C247.
#[test]
fn a_single_slash_means_nothing() {
    let (left, right) = (Pair::new(), Pair::new());
    let url = left.bind("tcp://127.0.0.1:0/").unwrap().url();
    right.connect_now(format!("{url}/")).unwrap();
    exchange(&left, &right);
}

/// C248.
#[test]
fn ipv6_works_without_being_asked_for() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        kit::skipped("this host has no IPv6 loopback");
        return;
    }
    for (bind, connect) in [("tcp://[::1]:0", "tcp"), ("tcp6://[::1]:0", "tcp6")] {
        let (left, right) = (Pair::new(), Pair::new());
        let url = left.bind(bind).unwrap().url();
        right.connect_now(format!("{connect}://[::1]:{}", port(&url))).unwrap();
        exchange(&left, &right);
        assert!(right.peers()[0].remote.contains("[::1]"));
    }
}

/// C241 (`local;remote`).
#[test]
fn the_local_address_of_a_connection_can_be_chosen() {
    let (left, right) = (Pair::new(), Pair::new());
    let url = left.bind("tcp://127.0.0.1:0").unwrap().url();
    right.connect_now(format!("tcp://127.0.0.2;127.0.0.1:{}", port(&url))).unwrap();
    exchange(&left, &right);
    assert!(left.peers()[0].remote.starts_with("tcp://127.0.0.2:"), "{:?}", left.peers());
}

/// C250, C258: a socket file without an owner.
#[cfg(unix)] // socket files
#[test]
fn connect_now_to_a_file_whose_owner_has_died_is_refused() {
    let dir = TempDir::new();
    let path = dir.path("stale");
    drop(UnixListener::bind(&path).unwrap());
    refused(Pair::new().connect_now(ipc(&path)));
}

/// C262: "connection refused" would have people look for a server, and there is not even a file.
#[cfg(unix)] // socket files
#[test]
fn connect_to_a_path_without_a_file_says_so() {
    let dir = TempDir::new();
    let pair = Pair::new();
    for url in [ipc(&dir.path("nothing")), ipc(&dir.path("no_directory/s"))] {
        let error = pair.connect_now(&url).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot connect to {url:?}: no such file"));
        let endpoint = pair.connect_with(&url, &often()).unwrap();
        eventually("a failed attempt", || endpoint.status().last_error.is_some());
        let status = endpoint.status().to_string();
        assert!(status.ends_with("last error: no such file"), "{status}");
    }
}

/// C268.
#[test]
fn inproc_joins_whoever_waits_for_the_name_at_the_bind() {
    let address = Transport::Inproc.address();
    let (left, right) = (Pair::new(), Pair::new());
    let slow = EndpointOptions::new().reconnect_interval(Duration::from_secs(60));
    let endpoint = right.connect_with(&address.url, &slow).unwrap();
    assert_eq!(endpoint.status().state, EndpointState::Connecting);
    left.bind(&address.url).unwrap();
    assert_eq!((left.peers().len(), right.peers().len()), (1, 1), "when bind returns");
    exchange(&left, &right);
}

/// C269.
#[test]
fn inproc_connects_to_whoever_binds_the_name_next() {
    let address = Transport::Inproc.address();
    let (first, second, dialer) = (Pair::new(), Pair::new(), Pair::new());
    first.bind(&address.url).unwrap();
    dialer.connect_with(&address.url, &often()).unwrap();
    exchange(&first, &dialer);
    first.close().unwrap();
    second.bind(&address.url).unwrap();
    exchange(&second, &dialer);
}

/// C252.
#[test]
fn a_failed_connect_now_leaves_nothing_behind_and_can_be_repeated() {
    let address = deserted(Transport::Tcp).url;
    let req = Req::new();
    refused(req.connect_now_with(&address, &often()));
    let server = RawListener::at(address.strip_prefix("tcp://").unwrap());
    // No event tells that nothing is tried: ten times the interval must do.
    thread::sleep(QUIET);
    assert!(server.try_accept().is_none(), "no attempt goes on in the background");
    drop(server);

    for transport in Transport::ALL {
        let (left, right) = (Pair::new(), Pair::new());
        let address = deserted(transport);
        let failed = right.connect_now_with(&address.url, &often());
        if transport == Transport::Ipc && cfg!(unix) {
            no_such_file(failed)
        } else {
            refused(failed)
        }
        left.bind(&address.url).unwrap();
        thread::sleep(QUIET / 4);
        assert_eq!(right.peers().len(), 0, "nothing waits for the name");
        right.connect_now(&address.url).unwrap();
        exchange(&left, &right);
    }
}

/// C254.
#[test]
fn closing_an_endpoint_closes_its_pipes_and_no_others() {
    let rep = Rep::new();
    let events = rep.events();
    let addresses = Transport::ALL.map(Transport::address);
    let endpoints = addresses.each_ref().map(|address| rep.bind(&address.url).unwrap());
    let reqs = endpoints.each_ref().map(|endpoint| {
        let req = Req::new();
        req.connect(endpoint.url()).unwrap();
        attached(&events);
        req
    });
    echo(&rep);
    for (closed, endpoint) in endpoints.iter().enumerate() {
        endpoint.close().unwrap();
        assert_eq!(detached(&events), DetachReason::EndpointClosed);
        eventually("it is told", || reqs[closed].peers().is_empty());
        for req in &reqs[closed + 1..] {
            assert_eq!(req.request_timeout("still?", SOON).unwrap(), "still?");
        }
    }
    rep.close().unwrap();
    assert!(events.try_recv().is_err());
    kit::conserved(|| rep.stats());
}

/// C255, for the one thing that is named by number: a pipe.
#[test]
fn a_pipe_that_is_gone_is_not_found() {
    let (left, right) = (Pair::new(), Pair::new());
    let _joined = join!(left, right, Transport::Tcp);
    let pipe = left.peers()[0].pipe;
    left.disconnect(pipe).unwrap();
    assert_eq!(left.disconnect(pipe).unwrap_err().0, pipe);
}

/// C256.
#[cfg(unix)] // socket files
#[test]
fn an_ipc_path_may_be_relative() {
    let dir = TempDir::new();
    let here = std::env::current_dir().unwrap();
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    let relative = up.join(dir.path("s").strip_prefix("/").unwrap());
    let (left, right) = (Pair::new(), Pair::new());
    let endpoint = left.bind(ipc(&relative)).unwrap();
    right.connect_now(endpoint.url()).unwrap();
    exchange(&left, &right);
    drop(left);
    assert!(!dir.path("s").exists());
}

/// C257.
#[cfg(unix)] // socket files
#[test]
fn a_socket_file_is_there_for_as_long_as_it_is_bound() {
    let dir = TempDir::new();
    let path = dir.path("s");
    let (left, right) = (Pair::new(), Pair::new());
    let endpoint = left.bind(ipc(&path)).unwrap();
    assert!(path.exists());
    right.connect_now(ipc(&path)).unwrap();
    endpoint.close().unwrap();
    assert!(!path.exists(), "gone when close returns");
    left.bind(ipc(&path)).unwrap();
    left.close().unwrap();
    assert!(!path.exists(), "gone with the socket");

    let endpoint = right.bind(ipc(&path)).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "mine").unwrap();
    endpoint.close().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine", "only our own file is removed");
}

/// The file of a bound endpoint is lost, as its status says.
#[cfg(unix)]
fn lost(path: &Path, replaced: bool) -> Option<AttemptError> {
    Some(AttemptError::FileLost { path: path.to_owned(), replaced })
}

/// C456.
#[cfg(unix)] // socket files
#[test]
fn a_listener_whose_file_was_removed_says_so() {
    let dir = TempDir::new();
    let (path, aside) = (dir.path("s"), dir.path("aside"));
    let (left, right) = (Pair::new(), Pair::new());
    let listener = left.bind(ipc(&path)).unwrap();
    right.connect_now(ipc(&path)).unwrap();
    left.wait_for_peers(1, SOON).unwrap();
    assert_eq!(listener.status().last_error, None);

    fs::rename(&path, &aside).unwrap();
    let status = listener.status();
    assert_eq!((status.state, status.peers), (EndpointState::Listening, 1));
    assert_eq!(status.last_error, lost(&path, false));
    assert_eq!(
        status.to_string(),
        format!(
            "listening, 1 peers, last error: the file {} was removed: nobody can connect any more",
            path.display()
        )
    );
    let page = Metrics::new().socket(&left).to_string();
    let figure = page.lines().find(|line| line.starts_with("sinew_endpoint_file_lost{")).unwrap();
    assert!(figure.ends_with(" 1"), "{figure}");
    no_such_file(Pair::new().connect_now(ipc(&path)));
    exchange(&left, &right);

    // Who connects follows a link.
    std::os::unix::fs::symlink(&aside, &path).unwrap();
    assert_eq!(listener.status().last_error, None);
    fs::rename(&aside, &path).unwrap();
    assert_eq!(listener.status().last_error, None);
    let page = Metrics::new().socket(&left).to_string();
    let figure = page.lines().find(|line| line.starts_with("sinew_endpoint_file_lost{")).unwrap();
    assert!(figure.ends_with(" 0"), "{figure}");
    listener.close().unwrap();
    assert_eq!(listener.status().last_error, None, "it was removed by the close");
}

/// C456.
#[cfg(unix)] // socket files
#[test]
fn a_listener_whose_directory_is_gone_says_so() {
    let dir = TempDir::new();
    let path = dir.path("sub").join("s");
    fs::create_dir(dir.path("sub")).unwrap();
    let pull = Pull::new();
    let listener = pull.bind(ipc(&path)).unwrap();
    fs::remove_dir_all(dir.path("sub")).unwrap();
    assert_eq!(listener.status().last_error, lost(&path, false));
    fs::write(dir.path("sub"), "a file now").unwrap();
    assert_eq!(listener.status().last_error, lost(&path, false));
    let error = pull.recv_timeout(Duration::from_millis(1)).unwrap_err().to_string();
    assert!(error.ends_with("was removed: nobody can connect any more"), "{error}");
}

/// C456.
#[cfg(unix)] // socket files
#[test]
fn a_listener_whose_file_was_replaced_says_so_and_leaves_the_other() {
    let dir = TempDir::new();
    let path = dir.path("s");
    let listeners = [Pair::new(), Pair::new(), Pair::new()];
    let mut endpoints = Vec::new();
    for pair in &listeners[..2] {
        endpoints.push(pair.bind(ipc(&path)).unwrap());
        in_use(listeners[2].bind(ipc(&path)));
        if endpoints.len() == 1 {
            fs::remove_file(&path).unwrap();
        }
    }
    let [first, second] = &endpoints[..] else { unreachable!() };
    assert_eq!(first.status().last_error, lost(&path, true));
    assert!(first.to_string().ends_with(&ipc(&path)));
    assert_eq!(
        first.status().last_error.unwrap().to_string(),
        format!(
            "the file {} was replaced by another: who connects there does not come here",
            path.display()
        )
    );
    assert_eq!(second.status().last_error, None);
    first.close().unwrap();
    assert_eq!(second.status().last_error, None, "the first leaves the file of the second");
    let right = Pair::new();
    right.connect_now(ipc(&path)).unwrap();
    exchange(&listeners[1], &right);

    fs::remove_file(&path).unwrap();
    fs::write(&path, "mine").unwrap();
    assert_eq!(second.status().last_error, lost(&path, true));
    second.close().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

/// C456. The file goes with the endpoint, which is no loss; nor has any endpoint a loss that has no file.
#[cfg(unix)] // socket files
#[test]
fn a_file_that_its_endpoint_removes_is_not_lost() {
    let dir = TempDir::new();
    let path = ipc(&dir.path("s"));
    let pair = Pair::new();
    let others = [
        pair.bind("tcp://127.0.0.1:0").unwrap(),
        pair.bind(&Transport::Inproc.address().url).unwrap(),
    ];
    assert!(others.iter().all(|endpoint| endpoint.status().last_error.is_none()));
    let dialer = pair.connect_with(&path, &often()).unwrap();
    eventually("it fails", || dialer.status().last_error == Some(AttemptError::NoSuchFile));
    dialer.close().unwrap();
    for _ in 0..200 {
        let endpoint = pair.bind(&path).unwrap();
        let (begun, looks) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..4 {
                let (endpoint, begun) = (&endpoint, begun.clone());
                scope.spawn(move || {
                    while endpoint.status().state != EndpointState::Closed {
                        assert_eq!(endpoint.status().last_error, None);
                        let _told = begun.send(());
                    }
                });
            }
            drop(begun);
            looks.recv().unwrap();
            endpoint.close().unwrap();
        });
    }
}

/// C258.
#[cfg(unix)] // socket files
#[test]
fn a_file_left_by_a_dead_owner_is_taken_over() {
    let dir = TempDir::new();
    let path = dir.path("s");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let (left, right) = (Pair::new(), Pair::new());
    left.bind(ipc(&path)).unwrap();
    right.connect_now(ipc(&path)).unwrap();
    exchange(&left, &right);
}

/// C259, against a listener that is not ours.
#[cfg(unix)] // socket files
#[test]
fn a_file_of_a_living_listener_is_in_use() {
    let dir = TempDir::new();
    let path = dir.path("s");
    let _living = UnixListener::bind(&path).unwrap();
    in_use(Pair::new().bind(ipc(&path)));
    std::os::unix::net::UnixStream::connect(&path).expect("it still listens");
}

/// C260.
#[cfg(unix)] // socket files
#[test]
fn what_is_not_a_socket_is_left_alone() {
    let dir = TempDir::new();
    let [file, folder, fifo] = ["file", "folder", "fifo"].map(|name| dir.path(name));
    fs::write(&file, "precious").unwrap();
    fs::create_dir(&folder).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    // Whatever a link leads to, were it a socket that nobody listens on.
    let dead = dir.path("dead");
    drop(UnixListener::bind(&dead).unwrap());
    let leads = [file.clone(), dead.clone(), dir.path("nothing"), dir.path("link-3")];
    let links: Vec<_> = leads
        .iter()
        .enumerate()
        .map(|(n, to)| {
            let link = dir.path(&format!("link-{n}"));
            std::os::unix::fs::symlink(to, &link).unwrap();
            link
        })
        .collect();
    for path in [&file, &folder, &fifo].into_iter().chain(&links) {
        in_use(Pair::new().bind(ipc(path)));
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert!(folder.is_dir() && dead.exists() && !dir.path("nothing").exists());
    assert!(links.iter().all(|link| link.is_symlink()));
    use std::os::unix::fs::FileTypeExt;
    assert!(fs::metadata(&fifo).unwrap().file_type().is_fifo());
}

/// C261.
#[cfg(unix)] // socket files
#[test]
fn an_ipc_path_has_the_length_the_system_allows() {
    let dir = TempDir::new();
    let room = kit::IPC_PATH - dir.path("").as_os_str().len();
    let longest = dir.path(&"x".repeat(room));
    let (left, right) = (Pair::new(), Pair::new());
    left.bind(ipc(&longest)).unwrap();
    right.connect_now(ipc(&longest)).unwrap();
    exchange(&left, &right);

    let url = ipc(&dir.path(&"x".repeat(room + 1)));
    let piece = url.trim_start_matches("ipc://").to_owned();
    let expected = AddressError::TooLong { url: url.clone(), piece, limit: kit::IPC_PATH };
    match (left.bind(&url), right.connect(&url)) {
        (Err(BindError::Address(a)), Err(ConnectError::Address(b))) => {
            assert_eq!((&a, &b), (&expected, &expected));
        }
        other => panic!("{other:?}"),
    }
}

/// C263.
#[cfg(unix)] // socket files
#[test]
fn an_ipc_file_has_the_permissions_that_were_asked_for() {
    let dir = TempDir::new();
    for mode in [0o600, 0o660, 0o777] {
        let path = dir.path("s");
        let pair = Pair::new();
        pair.bind_with(ipc(&path), &EndpointOptions::new().ipc_mode(mode)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
    }
}

/// C264.
#[cfg(all(target_os = "linux", not(sinew_socketpair)))]
#[test]
fn an_ipc_peer_is_known_by_its_process() {
    let (left, right) = (Pair::new(), Pair::new());
    let (_address, _endpoint) = join!(left, right, Transport::Ipc);
    let me = fs::metadata("/proc/self").unwrap();
    for pair in [&left, &right] {
        let credentials = pair.peers()[0].credentials.expect("Linux tells");
        assert_eq!(credentials.pid, Some(std::process::id()));
        use std::os::unix::fs::MetadataExt;
        assert_eq!((credentials.uid, credentials.gid), (me.uid(), me.gid()));
    }
}

/// C265.
#[cfg(unix)] // socket files
#[test]
fn a_missing_folder_is_an_error_and_is_not_made() {
    let dir = TempDir::new();
    let path = dir.path("missing").join("s");
    let result = Pair::new().bind(ipc(&path));
    assert!(matches!(result, Err(BindError::Io { .. })), "{result:?}");
    assert!(!dir.path("missing").exists());
}

/// C266.
#[test]
fn inproc_names_are_compared_byte_for_byte() {
    let address = Transport::Inproc.address();
    let (left, right) = (Pair::new(), Pair::new());
    left.bind(&address.url).unwrap();
    for other in [address.url.replace("test", "TEST"), format!("{}/", address.url)] {
        refused(right.connect_now(&other));
    }
    right.connect_now(&address.url).unwrap();
    exchange(&left, &right);
}

/// C271.
#[test]
fn an_inproc_name_has_up_to_127_bytes() {
    let unique = Transport::Inproc.address().url;
    let url = format!("{unique}{}", "x".repeat(127 + "inproc://".len() - unique.len()));
    let (left, right) = (Pair::new(), Pair::new());
    left.bind(&url).unwrap();
    right.connect_now(&url).unwrap();
    exchange(&left, &right);
    let result = left.bind(format!("{url}x"));
    assert!(
        matches!(result, Err(BindError::Address(AddressError::TooLong { limit: 127, .. }))),
        "{result:?}"
    );
}

/// C272, with PAIR in place of PUSH.
#[test]
fn inproc_sends_without_a_reader_are_bounded() {
    let small = || Options::new().send_queue(4).recv_queue(4);
    let left = Pair::with_options(small()).unwrap();
    let right = Pair::with_options(small()).unwrap();
    let _joined = join!(left, right, Transport::Inproc);
    let sent = (0..100).take_while(|_| left.try_send("x").is_ok()).count();
    assert_eq!(sent, 8, "as many as both queues hold");
    for _ in 0..sent {
        right.try_recv().unwrap();
    }
    left.send_timeout("more", SOON).unwrap();
    kit::conserved(|| left.stats());
    kit::conserved(|| right.stats());
}

/// C273.
#[test]
fn an_endpoint_tells_its_url() {
    let pair = Pair::new();
    let (path, name) = (Transport::Ipc.address(), Transport::Inproc.address());
    for url in [&path.url, &name.url] {
        assert_eq!(pair.bind(url).unwrap().url(), *url);
    }
    let bound = pair.bind("tcp://127.0.0.1:0").unwrap().url();
    assert_eq!(bound, format!("tcp://127.0.0.1:{}", port(&bound)));
    let named = pair.bind("tcp://localhost:0").unwrap().url();
    assert_eq!(named, format!("tcp://localhost:{}", port(&named)));
    for url in ["tcp://127.0.0.1:1", "tcp://localhost:1", "tcp://127.0.0.1;127.0.0.1:1/"] {
        assert_eq!(pair.connect(url).unwrap().url(), url);
    }
}

/// C274.
#[test]
fn one_socket_serves_all_transports_at_once() {
    let rep = Rep::new();
    let addresses = Transport::ALL.map(Transport::address);
    let urls = addresses.each_ref().map(|address| rep.bind(&address.url).unwrap().url());
    echo(&rep);
    thread::scope(|scope| {
        let clients = urls.each_ref().map(|url| {
            scope.spawn(move || {
                let req = Req::new();
                req.connect(url).unwrap();
                for i in 0..50 {
                    let question = format!("{url} {i}");
                    assert_eq!(req.request_timeout(&question, SOON).unwrap(), question);
                }
                kit::conserved(|| req.stats());
            })
        });
        for client in clients {
            client.join().unwrap();
        }
    });
    rep.close().unwrap();
    kit::conserved(|| rep.stats());
}

/// The peer may be gone by the time our own side has agreed to it.
#[test]
fn an_inproc_peer_that_leaves_during_admission_leaves_no_pipe() {
    let address = Transport::Inproc.address();
    let listener = Pair::new();
    let endpoint = listener.bind(&address.url).unwrap();
    let leave = Arc::new(move || endpoint.close().map_or((), |()| ()));
    let dialer = Pair::with_options(Options::new().admit(move |_| {
        leave();
        true
    }))
    .unwrap();
    let events = dialer.events();
    let dialing = dialer.connect_with(&address.url, &often()).unwrap();
    attached(&events);
    assert_eq!(detached(&events), DetachReason::PeerClosed);
    assert!(dialer.peers().is_empty() && listener.peers().is_empty());

    listener.bind(&address.url).unwrap();
    exchange(&listener, &dialer);
    assert_eq!(dialing.status().peers, 1);
}

/// A name that changes hands all the time loses no connector.
#[test]
fn inproc_connectors_survive_listeners_that_come_and_go() {
    let address = Transport::Inproc.address();
    let dialers: Vec<Req> = (0..4).map(|_| Req::new()).collect();
    for dialer in &dialers {
        let fast = EndpointOptions::new().reconnect_interval(Duration::from_micros(50));
        dialer.connect_with(&address.url, &fast).unwrap();
    }
    for _ in 0..2000 {
        let rep = Rep::new();
        rep.bind(&address.url).unwrap();
        thread::yield_now();
    }
    let rep = Rep::new();
    rep.bind(&address.url).unwrap();
    echo(&rep);
    for dialer in &dialers {
        assert_eq!(dialer.request_timeout("there?", SOON).unwrap(), "there?");
        kit::conserved(|| dialer.stats());
    }
    rep.close().unwrap();
    kit::conserved(|| rep.stats());
}

/// What a program prints when it looks for a mistake.
#[test]
fn endpoints_and_contexts_say_in_debug_how_they_stand() {
    let pull = Pull::new();
    let endpoint = pull.bind("inproc://endpoint-debug").unwrap();
    let text = format!(
        "Endpoint({}, bound to inproc://endpoint-debug: listening, 0 peers)",
        endpoint.id()
    );
    assert_eq!(format!("{endpoint:?}"), text);
    assert_eq!(endpoint.to_string(), "bound to inproc://endpoint-debug");
    let context = Req::new().context();
    context.set_default_recv_timeout(Duration::from_secs(1));
    assert_eq!(format!("{context:?}"), "ReqContext { closed: false, recv_timeout: Some(1s), .. }");
    assert!(!format!("{pull:?}").is_empty());
}
