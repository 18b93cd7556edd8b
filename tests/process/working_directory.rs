//! Relative paths of ipc in programs that change their working directory.
//!
//! The directory is one of the process, so the tests run themselves again in a child.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::name_of;
use kit::{SOON, TempDir, attached, detached, eventually};
use sinew::{AttemptError, EndpointOptions, Pair};

/// Set in the child.
const IN_CHILD: &str = "SINEW_TEST_WORKING_DIRECTORY";

/// Runs `test`, which is this very test, in a process of its own that begins in `dir`.
#[track_caller]
fn in_a_child(test: impl Fn(), dir: &Path) {
    let status = Command::new(std::env::current_exe().expect("a test is a file"))
        .args(["--exact", name_of(test), "--nocapture"])
        .current_dir(dir)
        .env(IN_CHILD, "1")
        .status()
        .expect("the test can be run again");
    assert!(status.success(), "the child failed: see above");
}

/// In the second directory, absolute paths are too long for the kernel, relative ones are not. Only where there is
/// `/proc` is a file there found again from another directory.
fn places(dir: &TempDir) -> Vec<PathBuf> {
    let all = [dir.path("short"), dir.path(&"long".repeat(40))];
    let count = if cfg!(all(target_os = "linux", not(sinew_socketpair))) { 2 } else { 1 };
    all.into_iter().take(count).collect()
}

/// C343.
#[test]
fn a_relative_ipc_path_is_taken_at_the_time_of_the_call() {
    if std::env::var_os(IN_CHILD).is_none() {
        let dir = TempDir::new();
        for place in places(&dir) {
            fs::create_dir(&place).unwrap();
            fs::create_dir(place.join("elsewhere")).unwrap();
            in_a_child(a_relative_ipc_path_is_taken_at_the_time_of_the_call, &place);
            assert!(!place.join("s").exists(), "the listener's file is gone");
            assert_eq!(fs::read_to_string(place.join("elsewhere/s")).unwrap(), "mine");
        }
        return;
    }
    let (left, right) = (Pair::new(), Pair::new());
    let events = right.events();
    let often = EndpointOptions::new().reconnect_interval(Duration::from_millis(10));
    let dialer = right.connect_with("ipc://s", &often).unwrap();
    std::env::set_current_dir("elsewhere").unwrap();
    fs::write("s", "mine").unwrap();
    let before = dialer.status().attempts;
    eventually("it tries again", || dialer.status().attempts > before + 1);

    std::env::set_current_dir("..").unwrap();
    let listener = left.bind("ipc://s").unwrap();
    std::env::set_current_dir("elsewhere").unwrap();
    attached(&events);
    left.send("there").unwrap();
    assert_eq!(right.recv_timeout(SOON).unwrap(), "there");
    right.disconnect(right.peers()[0].peer.pipe).unwrap();
    detached(&events);
    attached(&events);
    assert_eq!((listener.url(), dialer.url()), ("ipc://s".to_owned(), "ipc://s".to_owned()));
    listener.close().unwrap();
}

/// C456.
#[test]
fn a_relative_file_is_looked_for_where_it_was_bound() {
    if std::env::var_os(IN_CHILD).is_none() {
        let dir = TempDir::new();
        for place in places(&dir) {
            fs::create_dir(&place).unwrap();
            fs::create_dir(place.join("elsewhere")).unwrap();
            in_a_child(a_relative_file_is_looked_for_where_it_was_bound, &place);
        }
        return;
    }
    let pair = Pair::new();
    let listener = pair.bind("ipc://s").unwrap();
    let path = std::env::current_dir().unwrap().join("s");
    std::env::set_current_dir("elsewhere").unwrap();
    assert_eq!(listener.status().last_error, None);
    fs::write("s", "another's").unwrap();
    assert_eq!(listener.status().last_error, None);
    fs::remove_file(&path).unwrap();
    let lost = AttemptError::FileLost { path, replaced: false };
    assert_eq!(listener.status().last_error, Some(lost));
}
