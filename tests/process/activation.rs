//! Listeners that a service manager has opened, as systemd passes them on.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use crate::name_of;
use kit::{SOON, TempDir};
use sinew::{Push, Rep, Req, transport};

/// Set in the child.
const JOB: &str = "SINEW_TEST_ACTIVATED";

/// Serves one request on each listener, and checks that they are handed out once.
#[test]
#[ignore = "a part of the tests below: the service"]
fn serve() {
    let Ok(job) = std::env::var(JOB) else { return };
    if job != "serve" {
        // What it says is what is expected.
        let outcome = match transport::inherited_listeners() {
            Ok(listeners) => format!("{} listeners", listeners.len()),
            Err(error) => error.to_string(),
        };
        assert!(outcome.contains(&job), "{outcome}, not {job}");
        return;
    }
    let listeners = transport::inherited_listeners().unwrap();
    let names: Vec<_> = listeners.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["web", "local"]);
    assert_eq!(transport::inherited_listeners().unwrap().len(), 0, "they are handed out once");
    for (name, listener) in listeners {
        let rep = Rep::new();
        rep.bind_listener(listener).unwrap();
        rep.recv_timeout(SOON).unwrap().reply(name).unwrap();
        assert_eq!(rep.drain(SOON), 0);
    }
}

/// Starts the service by a shell, which can give descriptors numbers and knows the process it becomes.
fn start(setup: &str, job: &str) -> Command {
    let this = std::env::current_exe().expect("a test is a file");
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{setup} exec \"$@\"")).arg("sh").arg(this);
    command.args(["--ignored", "--exact", "--quiet", name_of(serve)]).env(JOB, job);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// C617.
#[test]
fn a_service_serves_the_listeners_that_its_manager_has_opened() {
    let dir = TempDir::new();
    let path = dir.path("s");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let urls =
        [format!("tcp://{}", tcp.local_addr().unwrap()), format!("ipc://{}", path.display())];
    let local = UnixListener::bind(&path).unwrap();
    let setup = "exec 3<&0 4<&1 0</dev/null 1>/dev/null;
        export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=web:local;";
    let mut command = start(setup, "serve");
    command.stdin(OwnedFd::from(tcp)).stdout(OwnedFd::from(local));
    let mut service = kit::start(&mut command).unwrap();
    // So that only the service has them.
    drop(command);
    for (url, name) in urls.iter().zip(["web", "local"]) {
        let req = Req::new();
        // Before the service accepts, too: the kernel keeps it waiting.
        req.connect(url).unwrap();
        assert_eq!(req.request_timeout("who?", SOON).unwrap(), name);
    }
    assert!(service.wait().unwrap().success());
    assert!(path.symlink_metadata().is_ok(), "the file is the manager's");
    assert!(Push::new().connect_now(&urls[1]).is_err(), "nobody listens any more");
}

/// C617.
#[test]
fn what_is_not_for_us_is_left_alone() {
    let table = [
        ("unset LISTEN_PID LISTEN_FDS;", "0 listeners"),
        ("export LISTEN_PID=1 LISTEN_FDS=2;", "0 listeners"),
        ("export LISTEN_PID=$$ LISTEN_FDS=0;", "0 listeners"),
        ("export LISTEN_PID=$$ LISTEN_FDS=x;", "no number"),
        ("export LISTEN_PID=$$ LISTEN_FDS=-1;", "no number"),
        ("exec 3<&-; export LISTEN_PID=$$ LISTEN_FDS=1;", "Bad file descriptor"),
        ("export LISTEN_PID=$$ LISTEN_FDS=4294967295;", "invalid data"),
    ];
    for (setup, expected) in table {
        let mut service = kit::start(&mut start(setup, expected)).unwrap();
        assert!(service.wait().unwrap().success(), "{setup}");
    }
}
