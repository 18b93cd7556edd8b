//! The real `nngcat` (NNG, with mbed TLS) and `openssl` at the other end.
//!
//! Debian and its descendants have them in `nng-utils` and `openssl`. Where one is missing its tests say so and pass,
//! except with `CI=true` in the environment: then they fail.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use kit::{SOON, TempDir, conserved, eventually, free_port};
use sinew::tls::TlsConfig;
use sinew::{AttemptError, Options, Pair, Pull, Push, Rep, TlsError};

use crate::certificates::{Authority, local, mutual, ours};

/// Whether a program is there, which it must be where `CI` is set.
fn is_installed(program: &str, asked: &str) -> bool {
    let mut command = Command::new(program);
    let started = kit::start(command.arg(asked).stdout(Stdio::null()).stderr(Stdio::null()));
    let is_there = started.and_then(|mut child| child.wait()).is_ok();
    assert!(is_there || std::env::var_os("CI").is_none(), "{program} is missing");
    if !is_there {
        kit::skipped(&format!("{program} is missing"));
    }
    is_there
}

/// Certificates where a tool finds them.
struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { dir: TempDir::new() };
        // nngcat reads the key from the file of the certificate, unless it is told another.
        fs::write(files.own(), format!("{}{}", local().chain, local().key)).unwrap();
        fs::write(files.authority(), ours().pem()).unwrap();
        files
    }

    fn own(&self) -> PathBuf {
        self.dir.path("own.pem")
    }

    fn authority(&self) -> PathBuf {
        self.dir.path("authority.pem")
    }

    fn nngcat(&self, args: &[&str]) -> Child {
        let mut command = Command::new("nngcat");
        command.args(args).arg("--cacert").arg(self.authority()).arg("--cert").arg(self.own());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        kit::start(&mut command).unwrap()
    }
}

/// A tool that is ended with its test.
struct Tool(Child);

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn ended(child: Child) -> String {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    assert!(status.success(), "{status}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

fn url(port: u16) -> String {
    format!("tls+tcp://127.0.0.1:{port}")
}

/// Their client verifies us, and shows its own certificate to a listener that wants one. NNG of that version speaks
/// TLS 1.2.
#[test]
fn nngcat_connects_and_both_are_verified() {
    if !is_installed("nngcat", "--version") {
        return;
    }
    let files = Files::new();
    let pull = Pull::with_options(Options::new().tls(mutual())).unwrap();
    let url = pull.bind("tls+tcp://127.0.0.1:0").unwrap().url();
    let nngcat = files.nngcat(&[
        "--push",
        "--dial",
        &url.replace("127.0.0.1", "localhost"),
        "-D",
        "over TLS",
    ]);
    assert_eq!(pull.recv_timeout(SOON).unwrap(), "over TLS");
    ended(nngcat);
    conserved(|| pull.stats());
}

/// Both directions, and a message of many records.
#[test]
fn nngcat_asks_and_is_answered() {
    if !is_installed("nngcat", "--version") {
        return;
    }
    let files = Files::new();
    let rep = Rep::with_options(Options::new().tls(mutual())).unwrap();
    let url = rep.bind("tls+tcp://127.0.0.1:0").unwrap().url().replace("127.0.0.1", "localhost");
    let answer = "x".repeat(70_000);
    let nngcat = files.nngcat(&[
        "--req",
        "--dial",
        &url,
        "-D",
        "how long?",
        "--raw",
        "--recv-timeout",
        "10",
    ]);
    let request = rep.recv_timeout(SOON).unwrap();
    assert_eq!(*request.message(), "how long?");
    assert_eq!(rep.peers()[0].identity.as_ref().unwrap().common_name(), Some("localhost"));
    let reading = thread::spawn(move || ended(nngcat));
    request.reply(&answer).unwrap();
    assert_eq!(reading.join().unwrap(), answer);
}

/// Their listener shows a certificate, which we verify.
#[test]
fn nngcat_listens_and_is_verified() {
    if !is_installed("nngcat", "--version") {
        return;
    }
    let (files, url) = (Files::new(), url(free_port()));
    let mut tool = Tool(files.nngcat(&[
        "--pair0",
        "--listen",
        &url,
        "-D",
        "good morning",
        "-d",
        "1",
        "--raw",
    ]));
    let pair = Pair::with_options(Options::new().tls(mutual())).unwrap();
    pair.connect(&url).unwrap();
    assert_eq!(pair.recv_timeout(SOON).unwrap(), "good morning");
    pair.send_timeout("good evening", SOON).unwrap();
    let mut got = [0; 12];
    tool.0.stdout.as_mut().unwrap().read_exact(&mut got).unwrap();
    assert_eq!(&got, b"good evening");
    assert_eq!(pair.peers()[0].identity.as_ref().unwrap().common_name(), Some("localhost"));

    let stranger = TlsConfig::builder().trust(Authority::new("theirs").pem()).build().unwrap();
    let push = Push::with_options(Options::new().tls(stranger)).unwrap();
    let endpoint = push.connect(&url).unwrap();
    eventually("it is refused", || {
        endpoint.status().last_error == Some(AttemptError::Tls(TlsError::UnknownAuthority))
    });
}

/// Their client refuses us, and the status of the listener has its words.
#[test]
fn nngcat_refuses_a_certificate_that_it_cannot_verify() {
    if !is_installed("nngcat", "--version") {
        return;
    }
    let (files, theirs) = (Files::new(), Authority::new("theirs").issue(&["localhost"]));
    let options = Options::new().tls(theirs.config().build().unwrap());
    let pull = Pull::with_options(options).unwrap();
    let endpoint = pull.bind("tls+tcp://127.0.0.1:0").unwrap();
    let url = endpoint.url().replace("127.0.0.1", "localhost");
    // nngcat ends without waiting for its alert to leave, so not every one arrives.
    eventually("its alert arrives", || {
        let nngcat = files.nngcat(&["--push", "--dial", &url, "-D", "never"]);
        assert!(!nngcat.wait_with_output().unwrap().status.success());
        matches!(endpoint.status().last_error, Some(AttemptError::Tls(TlsError::Alert(_))))
    });
    assert!(pull.stats().handshake_errors >= 1);
    assert!(pull.peers().is_empty());
}

/// What `openssl s_client` prints of a handshake with a listener of ours.
fn s_client(port: u16, more: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &format!("127.0.0.1:{port}")]).args(more);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = kit::start(&mut command).unwrap();
    // The end of its input ends it.
    let _ = client.stdin.take().unwrap().write_all(b"\n");
    let Output { stdout, stderr, .. } = client.wait_with_output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
}

/// Versions that are out of date are refused, those of today are spoken, and who has no certificate hears why.
#[test]
fn openssl_is_refused_in_its_own_words() {
    if !is_installed("openssl", "version") {
        return;
    }
    let files = Files::new();
    let authority = files.authority().display().to_string();
    let open = Pull::with_options(Options::new().tls(local().config().build().unwrap())).unwrap();
    let endpoint = open.bind("tls+tcp://127.0.0.1:0").unwrap();
    let port = |url: String| url.rsplit(':').next().unwrap().parse::<u16>().unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let said = s_client(port(endpoint.url()), &[version, "-CAfile", &authority]);
        assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
    }
    let said = s_client(port(endpoint.url()), &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    assert!(said.contains("SSL alert number"), "{said}");
    eventually("it is told", || {
        matches!(endpoint.status().last_error, Some(AttemptError::Tls(TlsError::Incompatible(_))))
    });

    let closed = Pull::with_options(Options::new().tls(mutual())).unwrap();
    let endpoint = closed.bind("tls+tcp://127.0.0.1:0").unwrap();
    let said = s_client(port(endpoint.url()), &["-tls1_2", "-CAfile", &authority]);
    assert!(said.contains("alert"), "{said}");
    eventually("it is told", || {
        endpoint.status().last_error == Some(AttemptError::Tls(TlsError::NoCertificate))
    });
}

/// Renegotiation: OpenSSL asks for it (`R`), and is refused. Nothing is negotiated again.
#[test]
fn openssl_cannot_renegotiate() {
    if !is_installed("openssl", "version") {
        return;
    }
    let pull = Pull::with_options(Options::new().tls(local().config().build().unwrap())).unwrap();
    let endpoint = pull.bind("tls+tcp://127.0.0.1:0").unwrap();
    let address = endpoint.url().replace("tls+tcp://", "");
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address, "-tls1_2"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut client = Tool(kit::start(&mut command).unwrap());
    let mut stdin = client.0.stdin.take().unwrap();
    // The handshake is over: the listener waits for a header.
    let mut out = Vec::new();
    let mut byte = [0];
    let stdout = client.0.stdout.as_mut().unwrap();
    while !out.ends_with(b"---\n") || !String::from_utf8_lossy(&out).contains("Verify return code")
    {
        assert_eq!(stdout.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&out));
        out.push(byte[0]);
    }
    for _ in 0..3 {
        if stdin.write_all(b"R\n").is_err() {
            break;
        }
    }
    drop(stdin);
    let mut rest = String::new();
    let _ = stdout.read_to_string(&mut rest);
    eventually("the connection is over", || {
        let stats = pull.stats();
        stats.handshake_errors + stats.handshake_timeouts >= 1
            || TcpStream::connect(&address).is_ok() && pull.peers().is_empty()
    });
    assert!(!rest.contains("Renegotiation complete"), "{rest}");
    assert!(pull.peers().is_empty());
}
