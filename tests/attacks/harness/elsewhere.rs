//! Namespaces of the kernel: networks, mounts and clocks of a test's own, which end with it. A test that may
//! not make them says that it is skipped; with `CI=true` it fails where the tools to make them are missing.

use std::process::{Command, Stdio};

/// Set in the child, which is in namespaces of its own.
const INSIDE: &str = "SINEW_TEST_ELSEWHERE";

/// Runs `scene` in network and mount namespaces of its own, after the commands of `setup`; `more` are further
/// arguments of unshare(1).
#[track_caller]
pub(crate) fn elsewhere(test: &str, more: &[&str], setup: &[&str], scene: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        setup.iter().for_each(|line| run(line));
        return scene();
    }
    let _turn = super::alone();
    let Some(mut unshare) = unshare(more) else { return };
    let status = unshare
        .arg(std::env::current_exe().expect("a test is a file"))
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(INSIDE, "1")
        .status()
        .expect("it was run before");
    assert!(status.success(), "the child failed: see above");
}

/// The command that runs another in namespaces of its own, if that is permitted.
fn unshare(more: &[&str]) -> Option<Command> {
    let is_ci = std::env::var_os("CI").is_some();
    for tool in ["unshare", "ip"] {
        let there = Command::new(tool).arg("-V").stdout(Stdio::null()).status();
        if there.is_err() {
            assert!(!is_ci, "{tool} is missing");
            kit::skipped(&format!("{tool} is missing"));
            return None;
        }
    }
    let ways: [&[&str]; 2] =
        [&["--net", "--mount"], &["--user", "--map-root-user", "--net", "--mount"]];
    for way in ways {
        let mut probe = Command::new("unshare");
        probe.args(way).args(more);
        probe.args(["ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"]);
        if probe.stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            let mut unshare = Command::new("unshare");
            unshare.args(way).args(more);
            return Some(unshare);
        }
    }
    kit::skipped(&format!("namespaces {more:?} with veth links are not permitted here"));
    None
}

/// Runs a command, which must succeed.
#[track_caller]
pub(crate) fn run(line: &str) {
    let status = Command::new("sh").args(["-c", line]).status().expect("there is a shell");
    assert!(status.success(), "{line}");
}
