//! Transports beside tcp and ipc, and the options for TLS with the meaning that nngcat gives them.
//!
//! Certificates are made by the test.

use std::fs;

use crate::certificates::{Authority, local, ours};
use crate::program::{Program, Tool, run};
use kit::{TempDir, free_port};

/// Certificates where a tool finds them.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(TempDir::new());
        let own = local();
        for (name, text) in [
            ("both.pem", format!("{}{}", own.chain, own.key)),
            ("cert.pem", own.chain.clone()),
            ("key.pem", own.key.clone()),
            ("ours.pem", ours().pem()),
            ("theirs.pem", Authority::new("theirs").pem()),
        ] {
            fs::write(files.0.path(name), text).unwrap();
        }
        files
    }

    /// The arguments in a text, in which `@` stands for the directory.
    fn args(&self, text: &str, url: &str) -> Vec<String> {
        let dir = self.0.path("").display().to_string();
        let args = text.split(' ').filter(|arg| !arg.is_empty()).map(|arg| arg.replace('@', &dir));
        args.chain([url.to_owned()]).collect()
    }
}

/// The first binds and answers, the second connects and asks; both print what they hear.
fn ask(files: &Files, scheme: &str, binds: (Tool, &str), connects: (Tool, &str)) {
    let place = format!("{scheme}://localhost:{}", free_port());
    let rep = files.args(&format!("--rep -D pong -Q {} --bind", binds.1), &place);
    let rep = Program::start(binds.0, &rep);
    // nngcat ends with an error when its first message has waited for the connection longer than its interval.
    let patient = if connects.0.name == "nngcat" { "-i 60 --async" } else { "-i 1" };
    let req = files.args(&format!("--req -D ping -Q {patient} {} --connect", connects.1), &place);
    let req = Program::start(connects.0, &req);
    for (program, expected) in [(&rep, "\"ping\""), (&req, "\"pong\"")] {
        let seen = program.out.until(expected, |seen| seen.ends_with(b"\n"));
        assert!(seen.starts_with(expected.as_bytes()), "{scheme} {binds:?} {connects:?}");
    }
}

#[test]
fn a_certificate_is_shown_and_verified_by_nngcat_and_by_us() {
    if !Tool::NNGCAT.is_installed() {
        return;
    }
    let files = Files::new();
    let shows = "--cert @both.pem";
    let shows_two = "--cert @cert.pem --key @key.pem";
    let trusts = "--cacert @ours.pem";
    ask(&files, "tls+tcp", (Tool::OURS, shows), (Tool::NNGCAT, trusts));
    ask(&files, "tls+tcp", (Tool::OURS, shows_two), (Tool::NNGCAT, trusts));
    ask(&files, "tls+tcp", (Tool::NNGCAT, shows), (Tool::OURS, trusts));
    ask(&files, "tls+tcp", (Tool::NNGCAT, shows_two), (Tool::OURS, "-k"));
    ask(&files, "tls+tcp", (Tool::OURS, shows), (Tool::NNGCAT, "--insecure"));
}

/// Who trusts only another authority is not connected, and ours says why.
#[test]
fn a_certificate_that_cannot_be_verified_is_refused() {
    let files = Files::new();
    let url = format!("tls+tcp://localhost:{}", free_port());
    let _rep = Program::start(Tool::OURS, &files.args("--rep -D x --cert @both.pem --bind", &url));
    let args = files.args("--req -D never --cacert @theirs.pem --dial", &url);
    // It may come before the listener is there.
    let said = loop {
        let said = run(&args).said();
        if !said.contains("refused") {
            break said;
        }
    };
    assert!(said.contains("authority"), "{said}");
    if Tool::NNGCAT.is_installed() {
        let args = files.args("--req -D never --cacert @theirs.pem --dial", &url);
        let nngcat = Program::start(Tool::NNGCAT, &args).end();
        assert!(!nngcat.status.success(), "{}", nngcat.said());
        assert!(nngcat.out.is_empty());
    }
}

/// The same options count for wss, which nngcat may not have.
#[test]
fn ours_meets_itself_over_wss() {
    let files = Files::new();
    ask(&files, "wss", (Tool::OURS, "--cert @both.pem"), (Tool::OURS, "--cacert @ours.pem"));
    ask(&files, "wss", (Tool::OURS, "--cert @cert.pem --key @key.pem"), (Tool::OURS, "-k"));
}

/// C622: over ws, where an address without a path has nngcat ask for nothing; and at an abstract name.
#[test]
fn ours_meets_nngcat_without_tls() {
    if !Tool::NNGCAT.is_installed() {
        return;
    }
    let files = Files::new();
    for (binds, connects) in [(Tool::OURS, Tool::NNGCAT), (Tool::NNGCAT, Tool::OURS)] {
        ask(&files, "ws", (binds, ""), (connects, ""));
        ask(&files, "abstract", (binds, ""), (connects, ""));
    }
}
