//! Group F: files and neighbours on one machine.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use kit::{
    Dice, IO_THREADS, Raw, SOON, SetOnDrop, TempDir, Transport, conserved, descriptors, eventually,
    header, ipc_frame,
};
use nix::unistd::{Gid, Uid, geteuid, setgid, setuid};
use sinew::role;
use sinew::{
    BindError, ConnectError, DetachReason, EndpointOptions, Options, Peer, PeerCredentials,
    PipeEvent, PipeEventKind, Pull, Push,
};

use crate::harness::attack::Attack;
use crate::harness::child::{Process, job, listen, tell};
use crate::harness::{alone, name_of, times};

/// An abstract name that nobody else has.
fn abstract_name() -> String {
    format!("abstract://sinew-attacks-{}", std::process::id())
}

/// The owner of a file is killed: the next takes it over, and a living one keeps it.
#[test]
fn f01_f02_files_of_the_dead_and_of_the_living() {
    let _turn = alone();
    let dir = TempDir::new();
    the_dead_and_the_living(&format!("ipc://{}", dir.path("s").display()), || {
        assert!(!dir.path("s").exists());
    });
}

/// The same for a name, which the kernel takes from the dead.
#[test]
fn f09_names_of_the_dead_and_of_the_living() {
    let _turn = alone();
    let url = abstract_name();
    the_dead_and_the_living(&url, || Push::new().connect_now(&url).map(drop).unwrap_err());
}

#[track_caller]
fn the_dead_and_the_living<T>(url: &str, nobody_is_there: impl Fn() -> T) {
    for _ in 0..times(5, 100) {
        let mut owner = Process::start(name_of(part_listener), &format!("listener {url}"), "");
        owner.say("go");
        assert_eq!(owner.told(), "won");
        let late = Pull::new();
        assert!(matches!(late.bind(url), Err(BindError::AddressInUse { .. })));
        Push::new().connect_now(url).expect("it is the living one's");
        owner.kill();
        late.bind(url).expect("nobody listens there any more");
        Push::new().connect_now(url).expect("it is ours");
        late.close().unwrap();
        nobody_is_there();
    }
}

#[test]
#[ignore = "a part of the tests here: one that listens where it is told to"]
fn part_listener() {
    let Some(job) = job() else { return };
    while listen().is_some() {
        let pull = Pull::new();
        match pull.bind(&job[1]) {
            Ok(_) => tell("won"),
            Err(BindError::AddressInUse { .. }) => tell("lost"),
            Err(error) => tell(&format!("failed: {error}")),
        }
        listen();
        drop(pull);
        tell("over");
    }
}

/// Two processes that begin to listen at the same path at the same moment.
#[test]
fn f04_two_that_start_at_once() {
    let _turn = alone();
    let dir = TempDir::new();
    one_of_two_wins(&format!("ipc://{}", dir.path("s").display()), times(100, 1000), |round| {
        assert!(!dir.path("s").exists(), "round {round}: its file is gone with it");
    });
}

/// The same at a name.
#[test]
fn f09_two_that_start_at_once() {
    let _turn = alone();
    one_of_two_wins(&abstract_name(), times(50, 1000), |_| {});
}

#[track_caller]
fn one_of_two_wins(url: &str, rounds: usize, check: impl Fn(usize)) {
    let start = || Process::start(name_of(part_listener), &format!("listener {url}"), "");
    let mut both = [start(), start()];
    for round in 0..rounds {
        both.iter_mut().for_each(|one| one.say("go"));
        let told = both.each_mut().map(|one| one.told());
        let won = told.iter().filter(|it| *it == "won").count();
        let lost = told.iter().filter(|it| *it == "lost").count();
        assert_eq!((won, lost), (1, 1), "round {round}: {told:?}");
        Push::new().connect_now(url).expect("it is the winner's");
        both.iter_mut().for_each(|one| one.say("end"));
        both.iter_mut().for_each(|one| assert_eq!(one.told(), "over"));
        check(round);
    }
}

/// A user that owns nothing.
const NOBODY: u32 = 65534;

/// Another user, or skipped aloud where we may not be one.
fn another_user() -> Option<u32> {
    let may = geteuid().is_root();
    assert!(may || std::env::var_os("CI").is_none(), "only root can be another user");
    if !may {
        kit::skipped("only root can be another user");
    }
    may.then_some(NOBODY)
}

/// A process of `user` that connects to `url` each time it is told to.
fn user_at(user: u32, url: &str) -> Process {
    let mut child = Process::start(name_of(part_of_a_user), &format!("user {user} {url}"), "");
    assert_eq!(child.told(), "here");
    child
}

#[test]
#[ignore = "a part of the tests here: a user who connects where it is told to"]
fn part_of_a_user() {
    let Some(job) = job() else { return };
    become_user(&job[1]);
    tell("here");
    let push = Push::new();
    while listen().is_some() {
        match push.connect_now(&job[2]) {
            Ok(_) => tell("connected"),
            Err(ConnectError::Failed { source, .. }) => tell(&format!("{source:?}")),
            Err(error) => tell(&error.to_string()),
        }
        let _ = push.try_send(&job[1]);
    }
}

fn become_user(user: &str) {
    let user: u32 = user.parse().unwrap();
    if user != geteuid().as_raw() {
        setgid(Gid::from_raw(user)).unwrap();
        setuid(Uid::from_raw(user)).unwrap();
    }
}

/// Another user may connect neither to a file of mode 0600 nor to any in a directory that is closed to him.
#[test]
fn f07_another_user() {
    let _turn = alone();
    let Some(user) = another_user() else { return };
    for (file, directory, is_denied) in
        [(0o600, 0o755, true), (0o666, 0o700, true), (0o666, 0o755, false)]
    {
        let dir = TempDir::new();
        std::fs::set_permissions(dir.path(""), PermissionsExt::from_mode(directory)).unwrap();
        let url = format!("ipc://{}", dir.path("s").display());
        let pull = Pull::new();
        pull.bind_with(&url, &EndpointOptions::new().ipc_mode(file)).unwrap();
        for (user, is_denied) in [(geteuid().as_raw(), false), (user, is_denied)] {
            let mut child = user_at(user, &url);
            child.say("connect");
            let told = child.told();
            match is_denied {
                true => {
                    assert!(told.contains("PermissionDenied"), "{file:o} {directory:o}: {told}")
                }
                false => assert_eq!(told, "connected", "{file:o} {directory:o}"),
            }
        }
    }
}

/// The file is made with the mode that the process makes files with, and changed: nobody gets in before that.
#[test]
fn f07_another_user_in_the_moment_of_the_bind() {
    let _turn = alone();
    let Some(user) = another_user() else { return };
    let dir = TempDir::new();
    std::fs::set_permissions(dir.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    let path = dir.path("s");
    for (mode, gets_in) in [("600", false), ("666", true)] {
        let job = format!("tries {user} {}", path.display());
        let mut intruder = Process::start(name_of(part_that_tries), &job, "");
        assert_eq!(intruder.told(), "here");
        // What it makes is for everybody, if nothing is done about it.
        let job = format!("binds {mode} ipc://{}", path.display());
        let mut owner = Process::start(name_of(part_that_binds), &job, "umask 0");
        assert_eq!(owner.told(), "done");
        intruder.say("enough");
        let told = intruder.told();
        let (connected, denied) = told.split_once(' ').expect("two numbers");
        eprintln!("{mode}: got in {connected} times, was denied {denied} times");
        assert_eq!((connected != "0", denied != "0"), (gets_in, !gets_in), "{mode}: {told}");
    }
}

#[test]
#[ignore = "a part of the test above: who listens for a moment, again and again"]
fn part_that_binds() {
    let Some(job) = job() else { return };
    let mode = u32::from_str_radix(&job[1], 8).unwrap();
    for _ in 0..times(500, 20_000) {
        let pull = Pull::new();
        pull.bind_with(&job[2], &EndpointOptions::new().ipc_mode(mode)).unwrap();
        pull.close().unwrap();
    }
    tell("done");
}

#[test]
#[ignore = "a part of the test above: a user who connects again and again"]
fn part_that_tries() {
    let Some(job) = job() else { return };
    become_user(&job[1]);
    let (connected, denied, over) =
        (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        // More than there are processors: some are interrupted between the two looks that the kernel takes, at the mode
        // of the file and at whether anybody listens there.
        for _ in 0..8 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    match UnixStream::connect(&job[2]) {
                        Ok(_) => _ = connected.fetch_add(1, Ordering::Relaxed),
                        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                            denied.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(_) => {}
                    }
                }
            });
        }
        let _over = SetOnDrop(&over);
        tell("here");
        listen();
    });
    let (connected, denied) = (connected.into_inner(), denied.into_inner());
    tell(&format!("{connected} {denied}"));
}

/// There are no permissions at a name: whoever is there connects, and `admit` knows who it is.
#[test]
fn f09_another_user_at_a_name() {
    let _turn = alone();
    let (url, ours) = (abstract_name(), geteuid().as_raw());
    let Some(other) = another_user() else { return };
    let admit = move |peer: &Peer| peer.credentials.is_some_and(|it| it.uid == ours);
    for (options, is_let_in) in [(Options::new(), true), (Options::new().admit(admit), false)] {
        let pull = Pull::with_options(options).unwrap();
        let events = pull.events();
        pull.bind(&url).unwrap();
        for (user, is_let_in) in [(ours, true), (other, is_let_in)] {
            let mut child = user_at(user, &url);
            child.say("connect");
            // Who is turned away may have seen our header.
            child.told();
            if is_let_in {
                assert_eq!(pull.recv_timeout(SOON).unwrap().to_text(), user.to_string());
            }
            let PipeEvent { kind, peer, .. } = events.recv_timeout(SOON).unwrap();
            let credentials = peer.credentials.expect("Linux tells");
            assert_eq!((kind, credentials.uid), (PipeEventKind::Attaching, user));
            assert_eq!(credentials.pid, Some(child.id()));
            let next = events.recv_timeout(SOON).unwrap().kind;
            if !is_let_in {
                assert_eq!(next, PipeEventKind::Detached(DetachReason::Denied));
                continue;
            }
            assert_eq!(next, PipeEventKind::Attached);
            child.kill();
            assert_eq!(kit::detached(&events), DetachReason::PeerClosed);
        }
        assert!(pull.try_recv().is_err(), "nothing of who was turned away");
        conserved(|| pull.stats());
    }
}

/// A peer that is another user's, and that dies: what is known of it is what it was when it connected.
#[test]
fn f08_a_peer_that_dies() {
    let _turn = alone();
    let Some(user) = another_user() else { return };
    let dir = TempDir::new();
    std::fs::set_permissions(dir.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    let url = format!("ipc://{}", dir.path("s").display());
    let pull = Pull::new();
    let events = pull.events();
    pull.bind_with(&url, &EndpointOptions::new().ipc_mode(0o666)).unwrap();
    let mut child = user_at(user, &url);
    let connected = PeerCredentials::new(Some(child.id()), user, user);
    child.say("connect");
    assert_eq!(child.told(), "connected");
    pull.wait_for_peers(1, SOON).unwrap();
    assert_eq!(pull.peers()[0].credentials, Some(connected));
    child.kill();
    let gone = std::iter::from_fn(|| events.recv_timeout(SOON).ok())
        .find(|event| matches!(event.kind, PipeEventKind::Detached(_)))
        .expect("it goes");
    assert_eq!(gone.peer.credentials, Some(connected));
}

/// What peers do over ipc, at a name.
#[test]
fn f09_hostile_peers_at_a_name() {
    let options = EndpointOptions::new();
    let attack = Attack::<role::Pull>::at(&abstract_name(), Options::new(), &options);
    let mut dice = Dice(9);
    let before = attack.stats();
    for round in 0..times(100, 5_000) as u64 {
        let mut stranger = Raw::connect(&attack.url);
        let _ = stranger.try_send(&[0xa5; 8]);
        assert_eq!(stranger.read_to_end(), header(0x51));
        let mut broken = attack.peer();
        broken.send(&[2; 9]);
        assert_eq!(broken.read_to_end(), [0; 0]);
        let mut cut = attack.peer();
        let whole = ipc_frame(b"never whole");
        cut.send(&whole[..1 + dice.roll(whole.len() as u64 - 1) as usize]);
        cut.finish();
        assert_eq!(cut.read_to_end(), [0; 0]);
        eventually("each is counted", || {
            let stats = attack.stats();
            let counted = [
                stats.handshake_errors - before.handshake_errors,
                stats.framing_errors - before.framing_errors,
                stats.truncated - before.truncated,
            ];
            counted == [round + 1; 3]
        });
    }
    assert!(attack.socket.try_recv().is_err());
    attack.over();
}

/// A listener that accepts nobody: that the kernel has no place is no error to give up at.
#[test]
fn f10_a_backlog_that_is_full() {
    let _turn = alone();
    let dir = TempDir::new();
    let path = dir.path("s");
    let listener = UnixListener::bind(&path).unwrap();
    // As short as can be.
    socket2::SockRef::from(&listener).listen(0).unwrap();
    let filling: Vec<_> = (0..3)
        .map(|_| {
            let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
            let socket = socket.unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&socket2::SockAddr::unix(&path).unwrap());
            socket
        })
        .collect();
    let push = Push::new();
    let often = EndpointOptions::new().reconnect_interval(Duration::from_millis(5));
    let dialer = push.connect_with(format!("ipc://{}", path.display()), &often).unwrap();
    eventually("it is tried again", || dialer.status().attempts >= 3);
    eprintln!("{}", dialer.status());
    // Those in front are taken, and then ours.
    let mut taken = Vec::new();
    drop(filling);
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        use std::io::{Read, Write};
        let mut theirs = [0; 8];
        if stream.write_all(&header(0x51)).is_ok() && stream.read_exact(&mut theirs).is_ok() {
            taken.push(stream);
            break;
        }
    }
    push.wait_for_peers(1, SOON).unwrap();
}

/// Descriptors that a peer passes along are not taken.
#[test]
fn f11_descriptors_that_a_peer_passes() {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    use std::io::IoSlice;
    use std::os::fd::AsRawFd;

    let options = EndpointOptions::new();
    let attack = Attack::<role::Pull>::over_transport(Transport::Ipc, Options::new(), &options);
    let mut raw = attack.peer();
    let before = descriptors();
    let file = std::fs::File::open("/dev/null").unwrap();
    let passed = [file.as_raw_fd(); 8];
    let whole = ipc_frame(b"with descriptors");
    for _ in 0..times(100, 10_000) {
        let Raw::Ipc(stream) = &raw else { unreachable!("it is ipc") };
        let with = [ControlMessage::ScmRights(&passed)];
        let sent = sendmsg::<()>(
            stream.as_raw_fd(),
            &[IoSlice::new(&whole)],
            &with,
            MsgFlags::empty(),
            None,
        );
        assert_eq!(sent, Ok(whole.len()));
        assert_eq!(attack.socket.recv_timeout(SOON).unwrap(), "with descriptors");
    }
    assert_eq!(descriptors(), before + 1, "but for our own file");
    raw.send_frame(b"without");
    assert_eq!(attack.socket.recv_timeout(SOON).unwrap(), "without");
    drop((raw, file));
    attack.over();
}

/// A system without room for the file, or that is read only.
#[test]
fn d13_no_place_for_the_file() {
    use crate::harness::elsewhere::elsewhere;
    elsewhere(
        name_of(d13_no_place_for_the_file),
        &[],
        &[
            "mount -t tmpfs -o size=4k,nr_inodes=2 none /mnt",
            "touch /mnt/full",
            "mkdir -p /tmp/sinew-ro && mount -t tmpfs -o ro none /tmp/sinew-ro",
        ],
        || {
            for (path, words) in [("/mnt/s", "No space"), ("/tmp/sinew-ro/s", "Read-only")] {
                let pull = Pull::new();
                let before = descriptors();
                for _ in 0..20 {
                    let error = pull.bind(format!("ipc://{path}")).unwrap_err();
                    assert!(error.to_string().contains(words), "{error}");
                }
                let runtime = 4 * IO_THREADS;
                assert!(descriptors() <= before + runtime, "but for those of the runtime");
                assert_eq!(pull.stats().bind_errors, 20);
                assert!(pull.endpoints().is_empty());
            }
        },
    );
}
