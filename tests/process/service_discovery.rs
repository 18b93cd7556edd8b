//! The service discovery example, as its users run it: the whole scene by itself, and the roles by
//! hand, configured by environment variables alone.

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

#[path = "../../examples/service_discovery/stage.rs"]
#[expect(dead_code, reason = "only the scene itself is interrupted")]
mod stage;

use stage::{Actor, Stage};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const LIMIT: Duration = Duration::from_secs(30);
const ANY_PORT: &str = "tcp://127.0.0.1:0";

fn example() -> PathBuf {
    kit::example("service_discovery")
}

fn stage() -> Stage {
    Stage::new(example(), LIMIT)
}

/// What follows `prefix` in the first line that begins with it.
fn announced(stage: &mut Stage, actor: &Actor, prefix: &str) -> String {
    let find = |line: &str| line.strip_prefix(prefix).map(str::to_owned);
    stage.see(actor, &format!("printed {prefix:?}"), find).unwrap()
}

fn see_line(stage: &mut Stage, actor: &Actor, parts: &[&str]) {
    let find = |line: &str| parts.iter().all(|part| line.contains(part)).then_some(());
    stage.see(actor, &format!("printed {parts:?}"), find).unwrap();
}

/// A daemon, where it surveys and where it answers requests.
fn start_daemon(stage: &mut Stage, survey_url: &str) -> (Actor, String, String) {
    let settings = [
        ("SINEW_ROLE", "daemon"),
        ("SINEW_SURVEY_URL", survey_url),
        ("SINEW_RESOLVE_URL", ANY_PORT),
        ("SINEW_INTERVAL", "200"),
    ];
    let daemon = stage.start("daemon", &settings).unwrap();
    let survey_url = announced(stage, &daemon, "surveys on ");
    let resolve_url = announced(stage, &daemon, "requests on ");
    (daemon, survey_url, resolve_url)
}

fn start_service(stage: &mut Stage, name: &str, survey_url: &str) -> (Actor, String) {
    let settings =
        [("SINEW_ROLE", "service"), ("SINEW_NAME", name), ("SINEW_SURVEY_URL", survey_url)];
    let service = stage.start(name, &settings).unwrap();
    let address = announced(stage, &service, &format!("serving {name} on "));
    (service, address)
}

#[test]
fn the_scene_plays_to_its_end() {
    let scene = Command::new(example()).env_remove("SINEW_ROLE").output().unwrap();
    let printed = String::from_utf8(scene.stdout).unwrap();
    let complaints = String::from_utf8(scene.stderr).unwrap();
    assert!(scene.status.success(), "{}\n{complaints}\n{printed}", scene.status);
    for expected in [
        "client | The answer is 42",
        "seconds since 1970",
        "SIGKILL for answer at tcp://127.0.0.1:",
        "  left    answer    tcp://127.0.0.1:",
        "off the list after survey",
        "scene | all of it was seen to happen",
    ] {
        assert!(printed.contains(expected), "no {expected:?} in\n{printed}");
    }
    assert_eq!(complaints, "");
}

#[test]
fn an_interrupted_scene_takes_its_processes_with_it() {
    let mut stage = stage();
    let mut scene = stage.start("scene", &[]).unwrap();
    let find = |line: &str| line.split_once("surveys on tcp://").map(|(_, at)| at.to_owned());
    let daemon = stage.see(&scene, "started a daemon", find).unwrap();
    scene.signal("TERM").unwrap();
    assert_eq!(stage.see_end(&mut scene).unwrap().code(), Some(1));
    see_line(&mut stage, &scene, &["interrupted"]);
    let error = TcpStream::connect(daemon).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn roles_need_nothing_but_their_environment() {
    let mut stage = stage();
    let (mut daemon, survey_url, resolve_url) = start_daemon(&mut stage, ANY_PORT);
    let (mut service, address) = start_service(&mut stage, "parrot", &survey_url);
    see_line(&mut stage, &daemon, &["joined", "parrot", &address]);

    let settings = [
        ("SINEW_ROLE", "client"),
        ("SINEW_NAME", "parrot"),
        ("SINEW_QUESTION", "pretty polly"),
        ("SINEW_RESOLVE_URL", &resolve_url),
    ];
    let mut client = stage.start("client", &settings).unwrap();
    assert!(stage.see_end(&mut client).unwrap().success());
    see_line(&mut stage, &client, &["pretty polly"]);

    let settings = [("SINEW_ROLE", "list"), ("SINEW_RESOLVE_URL", &*resolve_url)];
    let mut list = stage.start("list", &settings).unwrap();
    assert!(stage.see_end(&mut list).unwrap().success());
    see_line(&mut stage, &list, &[&format!("parrot {address}")]);

    service.signal("INT").unwrap();
    assert!(stage.see_end(&mut service).unwrap().success());
    see_line(&mut stage, &daemon, &["left", "parrot", &address]);
    daemon.signal("TERM").unwrap();
    assert!(stage.see_end(&mut daemon).unwrap().success());
}

#[test]
fn sigterm_ends_a_service_and_sigint_a_daemon() {
    let mut stage = stage();
    let (mut daemon, survey_url, _) = start_daemon(&mut stage, ANY_PORT);
    let (mut service, _) = start_service(&mut stage, "parrot", &survey_url);
    for (actor, signal) in [(&mut service, "TERM"), (&mut daemon, "INT")] {
        actor.signal(signal).unwrap();
        assert!(stage.see_end(actor).unwrap().success());
    }
}

/// The service is held up where it says that it serves, by a pipe that is full, until its sockets are
/// closed: what it has yet to set up then fails, and that is its clean end.
#[test]
#[cfg(target_os = "linux")]
fn sigterm_ends_a_service_that_is_still_starting() {
    const CAPACITY: usize = 64 << 10;
    let (mut printed, mut full) = std::io::pipe().unwrap();
    full.write_all(&[b' '; CAPACITY]).unwrap();
    let url = kit::free_tcp_url();
    let address = url.strip_prefix("tcp://").unwrap();
    let mut service = Command::new(example())
        .args(["service", "--name", "parrot", "--bind", &url])
        .stdout(full)
        .spawn()
        .unwrap();
    kit::eventually("it serves", || TcpStream::connect(address).is_ok());
    let id = service.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
    kit::eventually("it has closed", || TcpStream::connect(address).is_err());
    printed.read_exact(&mut [0; CAPACITY]).unwrap();
    assert!(service.wait().unwrap().success());
}

#[test]
fn a_service_finds_the_daemon_that_comes_back() {
    let mut stage = stage();
    let (mut daemon, survey_url, _) = start_daemon(&mut stage, ANY_PORT);
    let (service, address) = start_service(&mut stage, "parrot", &survey_url);
    see_line(&mut stage, &daemon, &["joined", "parrot", &address]);

    daemon.signal("TERM").unwrap();
    assert!(stage.see_end(&mut daemon).unwrap().success());
    see_line(&mut stage, &service, &["lost the daemon"]);

    let (daemon, _, _) = start_daemon(&mut stage, &survey_url);
    see_line(&mut stage, &daemon, &["joined", "parrot", &address]);
}

#[test]
fn a_client_says_why_it_has_no_answer() {
    let mut stage = stage();
    let (_daemon, _, resolve_url) = start_daemon(&mut stage, ANY_PORT);
    let settings =
        [("SINEW_ROLE", "client"), ("SINEW_NAME", "nobody"), ("SINEW_RESOLVE_URL", &resolve_url)];
    let mut client = stage.start("client", &settings).unwrap();
    assert_eq!(stage.see_end(&mut client).unwrap().code(), Some(1));
    see_line(&mut stage, &client, &[r#"no live service is called "nobody""#]);
}

#[test]
fn a_client_without_a_daemon_gives_up_in_time() {
    let mut stage = stage();
    let (mut daemon, _, resolve_url) = start_daemon(&mut stage, ANY_PORT);
    daemon.signal("TERM").unwrap();
    assert!(stage.see_end(&mut daemon).unwrap().success());
    let settings = [
        ("SINEW_ROLE", "client"),
        ("SINEW_NAME", "parrot"),
        ("SINEW_RESOLVE_URL", &*resolve_url),
        ("SINEW_DEADLINE", "300"),
    ];
    let mut client = stage.start("client", &settings).unwrap();
    assert_eq!(stage.see_end(&mut client).unwrap().code(), Some(1));
    see_line(&mut stage, &client, &[&resolve_url, "timed out", "connection refused"]);
}

#[test]
fn a_zero_interval_is_refused() {
    let mut stage = stage();
    let settings = [("SINEW_ROLE", "daemon"), ("SINEW_INTERVAL", "0")];
    let mut daemon = stage.start("daemon", &settings).unwrap();
    assert_eq!(stage.see_end(&mut daemon).unwrap().code(), Some(2));
    see_line(&mut stage, &daemon, &["must be above zero"]);
}

#[test]
fn a_malformed_answer_is_ignored_with_a_message() {
    let mut stage = stage();
    let (daemon, survey_url, _) = start_daemon(&mut stage, ANY_PORT);
    let respondent = sinew::Respondent::new();
    respondent.connect(&survey_url).unwrap();
    let question = respondent.recv_timeout(LIMIT).unwrap();
    assert_eq!(*question, "discovery/1 who");
    question.reply("discovery/1 name=only at=me").unwrap();
    respondent.recv_timeout(LIMIT).unwrap().reply("one\ntwo three").unwrap();
    see_line(&mut stage, &daemon, &["joined", "only", "me"]);
    see_line(&mut stage, &daemon, &["ignored", r#""one\ntwo three" is no message of discovery"#]);
}

/// Somebody else's RESPONDENT, which answers every survey with the same text.
fn a_stranger_is_found(tool: &str, respondent: &[&str], req: &[&str]) {
    if Command::new(tool).arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "{tool} is not installed");
        return kit::skipped(&format!("{tool} is not installed"));
    }
    let mut stage = stage();
    let (daemon, survey_url, resolve_url) = start_daemon(&mut stage, ANY_PORT);
    let card = "discovery/1 name=stranger at=tcp://127.0.0.1:7799";
    let mut stranger =
        Command::new(tool).args(respondent).args([&*survey_url, "--data", card]).spawn().unwrap();
    see_line(&mut stage, &daemon, &["joined", "stranger", "tcp://127.0.0.1:7799"]);
    let asked = Command::new(tool)
        .args(req)
        .args([&*resolve_url, "--data", "discovery/1 resolve name=stranger", "--ascii"])
        .output()
        .unwrap();
    let answer = String::from_utf8_lossy(&asked.stdout).into_owned();
    assert!(answer.contains("name=stranger at=tcp://127.0.0.1:7799"), "{answer:?}");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    see_line(&mut stage, &daemon, &["left", "stranger"]);
}

#[test]
fn a_service_of_nng_is_found_and_missed() {
    a_stranger_is_found("nngcat", &["--respondent", "--dial"], &["--req", "--dial"]);
}

#[test]
fn a_service_of_nanomsg_is_found_and_missed() {
    a_stranger_is_found("nanocat", &["--respondent", "--connect"], &["--req", "--connect"]);
}
