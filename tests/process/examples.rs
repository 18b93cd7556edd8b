//! The small examples, as their readers run them: each role a process of its own, over tcp.
//!
//! `service_discovery` has tests of its own.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

use kit::{SOON, free_tcp_url};

#[test]
fn pair_carries_what_is_typed_both_ways() {
    let url = free_tcp_url();
    let mut left = Program::start("pair", &["bind", &url]);
    let mut right = Program::start("pair", &["connect", &url]);
    left.say("ping");
    assert_eq!(right.line(), "< ping");
    right.say("pong");
    assert_eq!(left.line(), "< pong");
}

#[test]
fn a_reqrep_client_that_is_first_waits_for_its_server() {
    let url = free_tcp_url();
    let client = Program::start_at(&url, "reqrep", &["client", "what is the answer?"]);
    let server = Program::start_at(&url, "reqrep", &["server"]);
    assert_eq!(server.line(), "what is the answer?");
    assert_eq!(client.line(), "42");
}

#[test]
fn survey_finds_who_is_there() {
    let url = free_tcp_url();
    let surveyor = Program::start_at(&url, "survey", &["surveyor"]);
    let _alice = Program::start_at(&url, "survey", &["respondent", "alice"]);
    let bob = Program::start_at(&url, "survey", &["respondent", "bob"]);
    surveyor.see(|line| line.contains("alice") && line.contains("bob"));
    drop(bob);
    surveyor.see(|line| line == "1 there: alice");
}

#[test]
fn pipeline_spreads_work_over_three_workers() {
    let (work, results) = (free_tcp_url(), free_tcp_url());
    let start = |role| Program::start("pipeline", &[role, &work, &results]);
    let sink = start("sink");
    let workers = [start("worker"), start("worker"), start("worker")];
    let mut producer = start("producer");
    assert!(producer.process.wait().unwrap().success());

    let mut done: Vec<String> = (0..12).map(|_| sink.line()).collect();
    done.sort();
    let mut expected = Vec::new();
    for worker in &workers {
        for work in (0..4).map(|_| worker.line()) {
            expected.push(format!("{work} was done by {}", worker.process.id()));
        }
    }
    expected.sort();
    assert_eq!(done, expected);
}

#[test]
fn pubsub_filters_by_topic() {
    let url = free_tcp_url();
    let mut publisher = Program::start_at(&url, "pubsub", &["publisher"]);
    let weather = Program::start_at(&url, "pubsub", &["subscriber", "weather"]);
    let paris = Program::start_at(&url, "pubsub", &["subscriber", "weather.paris", "traffic"]);
    publisher.say_until("nobody wants this", "sent to 2");
    for news in ["weather.rome sun", "weather.paris rain", "traffic jam"] {
        publisher.say(news);
    }
    assert_eq!([weather.line(), weather.line()], ["weather.rome sun", "weather.paris rain"]);
    assert_eq!([paris.line(), paris.line()], ["weather.paris rain", "traffic jam"]);
}

#[test]
fn bus_carries_what_one_says_to_all_others() {
    let [a, b, c] = [free_tcp_url(), free_tcp_url(), free_tcp_url()];
    // The first two look for the last before it is there.
    let mut nodes = [
        Program::start("bus", &[&a, &c]),
        Program::start("bus", &[&b, &a, &c]),
        Program::start("bus", &[&c]),
    ];
    for node in &mut nodes {
        node.say_until("is anybody there?", "> to 2");
    }
    for speaker in 0..3 {
        let text = format!("{speaker} speaks");
        nodes[speaker].say(&text);
        for (_, listener) in nodes.iter().enumerate().filter(|(n, _)| *n != speaker) {
            listener.see(|line| line.strip_prefix("< ") == Some(&text));
        }
    }
}

#[test]
fn a_pair1_hub_answers_each_spoke() {
    let url = free_tcp_url();
    let _hub = Program::start("pair1", &["hub", &url]);
    let mut spokes =
        [Program::start("pair1", &["spoke", &url]), Program::start("pair1", &["spoke", &url])];
    spokes[0].say("good morning");
    spokes[1].say("good night");
    assert!(spokes[0].line().starts_with("good morning to you too"));
    assert!(spokes[1].line().starts_with("good night to you too"));
}

#[test]
fn a_device_finds_another_worker_when_one_is_killed() {
    let (front, back) = (free_tcp_url(), free_tcp_url());
    let start = |args: &[&str]| {
        let mut command = Command::new(kit::example("device"));
        let urls = [("SINEW_FRONT_URL", &front), ("SINEW_BACK_URL", &back)];
        Program::spawn(command.args(args).envs(urls))
    };
    let broker = start(&["broker"]);
    let alice = start(&["worker", "alice"]);
    assert_eq!(start(&["client", "what is it?"]).line(), "42, says alice");
    drop(alice);
    // What comes before the broker knows of it goes to her, and is asked again after a minute only.
    broker.see(|line| line.starts_with("Detached"));
    let _bob = start(&["worker", "bob"]);
    assert_eq!(start(&["client", "and now?"]).line(), "42, says bob");
}

#[test]
fn a_transport_of_ones_own_carries_a_request() {
    let mut program = Program::start("custom_transport", &[]);
    program.see(|line| line == "caller: told \"rain, later sun\"");
    assert!(program.process.wait().unwrap().success());
}

#[test]
fn an_async_rep_has_all_requests_in_work_at_once() {
    let program = Program::start("async_rep", &["300"]);
    // One after the other they would take five minutes.
    assert!(program.line().starts_with("300 requests of 1 s were answered in "));
}

#[cfg(unix)] // watches descriptors
#[test]
fn clients_in_tasks_are_served_by_no_other_thread() {
    for example in ["async_clients", "smol_clients"] {
        let program = Program::start(example, &["20", "10"]);
        assert!(program.line().starts_with("20 clients have asked 10 times each"));
    }
}

#[cfg(unix)] // watches descriptors
#[test]
fn a_mio_loop_answers_requests_beside_other_work() {
    let url = free_tcp_url();
    let other = free_tcp_url();
    let address = other.strip_prefix("tcp://").expect("a tcp address");
    let program = Program::start("mio_loop", &[&url, address]);
    assert_eq!(program.line(), "ready");
    let told = || {
        let mut line = String::new();
        BufReader::new(TcpStream::connect(address).unwrap()).read_line(&mut line).unwrap();
        line
    };
    assert_eq!(told(), "0 answered\n");
    for _ in 0..3 {
        let client = Program::start_at(&url, "reqrep", &["client", "what is the answer?"]);
        assert_eq!(client.line(), "42");
    }
    assert_eq!(told(), "3 answered\n");
}

#[cfg(unix)] // watches descriptors
#[test]
fn a_tokio_loop_takes_what_is_there_in_batches() {
    let url = free_tcp_url();
    let program = Program::start("tokio_loop", &[&url]);
    assert_eq!(program.line(), "ready");
    let mut sender = Program::start("tokio_loop", &[&url, "send"]);
    let mut taken = Vec::new();
    for word in ["one", "two", "three"] {
        sender.say(word);
    }
    while taken.len() < 3 {
        taken.extend(program.line().split(", ").map(str::to_owned));
    }
    assert_eq!(taken, ["one", "two", "three"]);
    sender.say("four");
    assert_eq!(program.line(), "four");
}

#[test]
fn priority_leaves_the_near_worker_only_while_it_is_dead() {
    let (near, far) = (free_tcp_url(), free_tcp_url());
    let start = |role| Program::start("priority", &[role, &near, &far]);
    let (new_york, _london) = (start("near"), start("far"));
    let client = start("client");
    let went_to = |place: &str, line: &str| line.ends_with(&format!(" went to {place}"));

    // It may find London first.
    client.see(|line| went_to("New York", line));
    (0..3).for_each(|_| assert!(went_to("New York", &client.line())));
    drop(new_york);
    client.see(|line| went_to("London", line));
    (0..3).for_each(|_| assert!(went_to("London", &client.line())));
    let _new_york = start("near");
    client.see(|line| went_to("New York", line));
    (0..3).for_each(|_| assert!(went_to("New York", &client.line())));
}

/// All that stands on the sockets, together, and as the picture shows it.
#[test]
fn prices_are_asked_for_followed_and_survive_a_market() {
    let picture = include_str!("../../docs/prices.svg");
    let mut scene = Program::start("prices", &[]);
    for seen in [
        "the registry has heard of all",
        "a market answers",
        "the client has an answer",
        "the cache has all values",
        "sinew_messages_received_total{socket=\"prices\"",
        "a market is gone",
        "the other one answers",
    ] {
        assert!(picture.contains(seen), "{seen}");
        scene.see(|line| line.contains(seen));
    }
    assert!(scene.process.wait().unwrap().success());
}

#[test]
fn metrics_http_serves_the_page_and_nothing_else() {
    let program = Program::start("metrics_http", &["127.0.0.1:0"]);
    let line = program.line();
    let address =
        line.strip_prefix("http://").and_then(|url| url.strip_suffix("/metrics")).unwrap();
    let get = |path: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, page) = answer.split_once("\r\n\r\n").expect("an empty line after the head");
        assert!(head.contains(&format!("Content-Length: {}", page.len())), "{head}");
        (head.to_owned(), page.to_owned())
    };
    drop(TcpStream::connect(address).unwrap()); // one that says nothing is no harm

    let (head, page) = get("/metrics");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains(&format!("Content-Type: {}", sinew::metrics::CONTENT_TYPE)), "{head}");
    assert!(page.ends_with("\n# EOF\n"), "{page}");
    kit::eventually("a job is done", || {
        let done = "sinew_messages_received_total{socket=\"jobs-in\",protocol=\"pull\"} ";
        let (_, page) = get("/metrics");
        page.lines().any(|line| line.strip_prefix(done).is_some_and(|count| count != "0"))
    });
    assert!(get("/").0.starts_with("HTTP/1.1 404 "));
}

#[test]
fn top_prints_every_socket_and_its_peers_once() {
    let mut program = Program::start("top", &["--once"]);
    let lines: Vec<String> = (0..12).map(|_| program.line()).collect();
    assert!(lines[0].starts_with("SOCKET "), "{lines:?}");
    let starts = |with: &str| lines.iter().filter(|line| line.starts_with(with)).count();
    for socket in ["jobs ", "worker ", "news ", "reader ", "sleeper "] {
        assert_eq!(starts(socket), 1, "{socket}: {lines:?}");
    }
    assert_eq!(starts("  pull at tcp://"), 1, "{lines:?}");
    assert_eq!(starts("  sub at inproc://news"), 2, "{lines:?}");
    assert!(program.process.wait().unwrap().success());
}

/// A running example and the lines it prints. Dropping it kills it (SIGKILL).
struct Program {
    process: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Program {
    fn start(example: &str, args: &[&str]) -> Self {
        Self::spawn(Command::new(kit::example(example)).args(args))
    }

    /// Starts one that is told its address by the environment.
    fn start_at(url: &str, example: &str, args: &[&str]) -> Self {
        Self::spawn(Command::new(kit::example(example)).args(args).env("SINEW_URL", url))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = process.stdin.take().expect("it is piped");
        let stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(io::Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { process, stdin, lines }
    }

    /// Types a line.
    fn say(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    /// Types a line again and again until the answer to one is `expected`.
    fn say_until(&mut self, line: &str, expected: &str) {
        let prefix = expected.split(' ').next().expect("there is a first word");
        loop {
            self.say(line);
            if self.see(|answer| answer.starts_with(prefix)) == expected {
                return;
            }
        }
    }

    /// The next line it prints.
    fn line(&self) -> String {
        self.lines.recv_timeout(SOON).expect("the example prints a line")
    }

    /// The next line for which `find` holds.
    fn see(&self, find: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + SOON;
        loop {
            let line = self.line();
            if find(&line) {
                return line;
            }
            assert!(Instant::now() < end, "it prints other lines only, such as {line:?}");
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
