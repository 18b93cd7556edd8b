//! Group F: files and neighbours on one machine.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use kit::{IO_THREADS, SOON, TempDir, Transport, descriptors, eventually, ipc_frame};
use sinew::role;
use sinew::{BindError, EndpointOptions, Options, Pull, Push};

use crate::harness::attack::Attack;
use crate::harness::child::{Process, job, listen, tell};
use crate::harness::{alone, name_of, times};

/// The owner of a file is killed: the next takes it over, and a living one keeps it.
#[test]
fn f01_f02_files_of_the_dead_and_of_the_living() {
    let _turn = alone();
    let dir = TempDir::new();
    let url = format!("ipc://{}", dir.path("s").display());
    for _ in 0..times(5, 100) {
        let mut owner = Process::start(name_of(part_listener), &format!("listener {url}"), "");
        owner.say("go");
        assert_eq!(owner.told(), "won");
        let late = Pull::new();
        assert!(matches!(late.bind(&url), Err(BindError::AddressInUse { .. })));
        Push::new().connect_now(&url).expect("the file is untouched");
        owner.kill();
        late.bind(&url).expect("nobody listens there any more");
        late.close().unwrap();
        assert!(!dir.path("s").exists());
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
    let url = format!("ipc://{}", dir.path("s").display());
    let start = || Process::start(name_of(part_listener), &format!("listener {url}"), "");
    let mut both = [start(), start()];
    for round in 0..times(100, 1000) {
        both.iter_mut().for_each(|one| one.say("go"));
        let told = both.each_mut().map(|one| one.told());
        let won = told.iter().filter(|it| *it == "won").count();
        let lost = told.iter().filter(|it| *it == "lost").count();
        assert_eq!((won, lost), (1, 1), "round {round}: {told:?}");
        Push::new().connect_now(&url).expect("the winner's file is there");
        both.iter_mut().for_each(|one| one.say("end"));
        both.iter_mut().for_each(|one| assert_eq!(one.told(), "over"));
        assert!(!dir.path("s").exists(), "round {round}: its file is gone with it");
    }
}

/// Another user may not connect to a file of mode 0600.
#[test]
fn f07_another_user() {
    let _turn = alone();
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("SKIPPED: only root can be another user");
    }
    let dir = TempDir::new();
    std::fs::set_permissions(dir.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    let path = dir.path("s");
    let url = format!("ipc://{}", path.display());
    let pull = Pull::new();
    pull.bind_with(&url, &EndpointOptions::new().ipc_mode(0o600)).unwrap();
    let connects = |user: &str| {
        let python = "import socket, sys, os; os.setuid(int(sys.argv[2])); s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])";
        let tried = std::process::Command::new("python3")
            .args(["-c", python, path.to_str().expect("a name"), user])
            .stderr(std::process::Stdio::null())
            .status();
        tried.map(|status| status.success())
    };
    let (Ok(ours), Ok(theirs)) = (connects("0"), connects("65534")) else {
        return eprintln!("SKIPPED: there is no python3 to be another user with");
    };
    assert!(ours && !theirs, "we: {ours}, another user: {theirs}");
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
        if stream.write_all(&kit::header(0x51)).is_ok() && stream.read_exact(&mut theirs).is_ok() {
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
        let kit::Raw::Ipc(stream) = &raw else { unreachable!("it is ipc") };
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
