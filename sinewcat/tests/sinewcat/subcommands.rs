//! What neither nanocat nor nngcat has: subcommands, statuses, a clean end.

use std::process::Command;

use serde_json::Value;
use sinew::{Options, Pub, Pull, Push, Rep, Req};

use crate::program::{Program, Tool, run};
use kit::{SOON, TempDir, free_port, free_tcp_url};

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

#[test]
fn peers_tells_the_process_at_the_other_end() {
    let dir = TempDir::new();
    let url = format!("ipc://{}", dir.path("s").display());
    let rep = Rep::new();
    rep.bind(&url).unwrap();
    let ended = run(&["peers", "--req", "--connect", &url, "--json"]).with(0);
    let peer = json(&ended.text());
    assert_eq!(peer["protocol"], "rep");
    assert_eq!(peer["remote"], url.as_str());
    assert_eq!(peer["direction"], "outgoing");
    assert_eq!(peer["pid"], std::process::id());
    let text = run(&["peers", "--req", "--connect", &url]).with(0).text();
    assert!(text.starts_with(&format!("rep  {url}  outgoing  pipe ")), "{text}");
    assert!(text.contains(&format!("  pid {}  uid ", std::process::id())), "{text}");
}

#[test]
fn peers_tells_why_nobody_is_there() {
    let url = free_tcp_url();
    let ended = run(&["peers", "--req", "--connect", &url, "--timeout", "0.2", "--json"]).with(4);
    let endpoint = json(&ended.text());
    assert_eq!(endpoint["endpoint"], url.as_str());
    assert_eq!(endpoint["error"], "connection refused");
}

#[test]
fn a_lost_socket_file_is_told() {
    let dir = TempDir::new();
    let path = dir.path("s");
    let url = format!("ipc://{}", path.display());
    let lost = format!("the file {} was removed: nobody can connect any more", path.display());

    let waiting = Program::start(Tool::OURS, &["--pull", "-v", "--bind", &url]);
    let alone = format!("nobody is connected at {url}");
    for told in [alone.clone(), format!("{alone}: {lost}")] {
        waiting.err.until(&told, |seen| String::from_utf8_lossy(seen).contains(&told));
        let _gone = std::fs::remove_file(&path);
    }

    // `peers` lists the endpoint although it has peers.
    let bound = Program::start(Tool::OURS, &["peers", "--pull", "--bind", &url, "--count", "2"]);
    let (first, second) = (Push::new(), Push::new());
    first.connect(&url).unwrap();
    first.wait_for_peers(1, SOON).unwrap();
    std::fs::rename(&path, dir.path("aside")).unwrap();
    second.connect(format!("ipc://{}", dir.path("aside").display())).unwrap();
    let text = bound.end().with(0).text();
    assert_eq!(text.lines().filter(|line| line.starts_with("push  ")).count(), 2, "{text}");
    assert!(text.ends_with(&format!("{url}  listening: {lost}\n")), "{text}");
}

#[test]
fn peers_watches_who_comes_and_goes() {
    let url = free_tcp_url();
    let program =
        Program::start(Tool::OURS, &["peers", "--pull", "--bind", &url, "--watch", "--json"]);
    let push = Push::new();
    push.connect(&url).unwrap();
    let seen = program.out.line();
    assert_eq!(json(&seen)["event"], "attached");
    assert_eq!(json(&seen)["protocol"], "push");
    push.close().unwrap();
    let seen = program
        .out
        .until("second line", |seen| seen.iter().filter(|byte| **byte == b'\n').count() == 2);
    let gone = json(std::str::from_utf8(&seen).unwrap().lines().nth(1).unwrap());
    assert_eq!(gone["event"], "detached");
    assert_eq!(gone["reason"], "the peer closed the connection");
    program.signal("TERM");
    program.end().with(143);
}

#[test]
fn stats_counts_what_a_socket_does() {
    let url = free_tcp_url();
    let pull = Pull::new();
    pull.bind(&url).unwrap();
    let ended =
        run(&["stats", "--push", "--connect", &url, "-D", "abc", "-C", "5", "--json"]).with(0);
    let stats = json(&ended.text());
    assert_eq!(stats["messages_sent"], 5);
    assert_eq!(stats["bytes_sent"], 15);
    assert_eq!(stats["dropped"]["pipe_lost"], 0);
    (0..5).for_each(|_| assert_eq!(pull.recv_timeout(SOON).unwrap(), "abc"));
    let text = run(&["stats", "--push", "--connect", &url, "-D", "abc"]).with(0).text();
    assert!(text.lines().any(|line| line.split_whitespace().eq(["messages_sent", "1"])), "{text}");
}

#[test]
fn stats_are_printed_while_it_works() {
    let url = free_tcp_url();
    let args = ["stats", "--pull", "--bind", &url, "--every", "0.05", "--json"];
    let program = Program::start(Tool::OURS, &args);
    let push = Push::new();
    push.connect(&url).unwrap();
    push.send_timeout("x", SOON).unwrap();
    let received = b"\"messages_received\":1";
    program.out.until("count", |seen| seen.windows(received.len()).any(|part| part == received));
}

#[test]
fn stats_print_no_messages() {
    run(&["stats", "--pull", "-L1", "-A"]).with(1);
}

#[test]
fn a_device_forwards_and_says_why_it_has_ended() {
    let (front, back) = (free_tcp_url(), free_tcp_url());
    let args = ["device", "reqrep", "--bind-front", &front, "--bind-back", &back, "--json"];
    let device = Program::start(Tool::OURS, &args);
    let (req, rep) = (Req::new(), Rep::new());
    req.connect(&front).unwrap();
    rep.connect(&back).unwrap();
    let answering =
        std::thread::spawn(move || rep.recv_timeout(SOON).unwrap().reply("42").unwrap());
    assert_eq!(req.request_timeout("what is it?", SOON).unwrap(), "42");
    answering.join().unwrap();
    device.signal("INT");
    let ended = device.end().with(130);
    assert_eq!(json(&ended.text())["front"]["messages_received"], 1);
    assert_eq!(json(&ended.text())["front"]["messages_sent"], 1);
    let said = String::from_utf8(ended.err).unwrap();
    assert!(said.contains(&format!("front listening at {front}")), "{said}");
    assert!(said.contains("the device ended: signal 2"), "{said}");
}

#[test]
fn every_kind_of_device_starts() {
    for kind in ["reqrep", "pubsub", "pushpull", "survey", "bus", "pair", "pair1"] {
        for task in ["device", "tap"] {
            let (front, back) = (free_tcp_url(), free_tcp_url());
            let args = [task, kind, "--bind-front", &front, "--connect-back", &back];
            let program = Program::start(Tool::OURS, &args);
            program.err.until("addresses", |seen| seen.ends_with(format!("{back}\n").as_bytes()));
            program.signal("TERM");
            program.end().with(143);
        }
    }
}

#[test]
fn a_tap_in_the_middle_shows_requests_and_replies() {
    let (front, back) = (free_tcp_url(), free_tcp_url());
    let args = ["tap", "reqrep", "--bind-front", &front, "--connect-back", &back, "-C", "2"];
    let tap = Program::start(Tool::OURS, &args);
    let (req, rep) = (Req::new(), Rep::new());
    req.connect(&front).unwrap();
    rep.bind(&back).unwrap();
    let answering = std::thread::spawn(move || {
        rep.recv_timeout(SOON).unwrap().reply(b"\xff\x00").unwrap();
        rep
    });
    assert_eq!(req.request_timeout("what is it?", SOON).unwrap(), b"\xff\x00");
    let rep = answering.join().unwrap();
    let text = tap.end().with(0).text();
    let lines: Vec<Value> = text.lines().map(json).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!([&lines[0]["side"], &lines[0]["text"]], ["front", "what is it?"]);
    assert_eq!([&lines[1]["side"], &lines[1]["hex"]], ["back", "ff00"]);
    assert_eq!([&lines[0]["peer"]["protocol"], &lines[1]["peer"]["protocol"]], ["req", "rep"]);
    // Our own name for the client's pipe, and the client's for its request.
    assert_eq!(lines[0]["header"].as_str().unwrap().len(), 16);
    assert_eq!(lines[0]["header"], lines[1]["header"]);
    assert_eq!(lines[0]["size"], 11);
    drop(rep);
}

#[test]
fn a_tap_listens_to_news() {
    let url = free_tcp_url();
    let args = ["tap", "--sub", "--connect", &url, "--subscribe", "weather", "-C", "1"];
    let publisher = Pub::new();
    publisher.bind(&url).unwrap();
    let tap = Program::start(Tool::OURS, &args);
    publisher.wait_for_peers(1, SOON).unwrap();
    publisher.send("traffic quiet").unwrap();
    publisher.send("weather sunny").unwrap();
    let line = json(&tap.end().with(0).text());
    assert_eq!([&line["text"], &line["peer"]["remote"]], ["weather sunny", url.as_str()]);
}

#[test]
fn a_tap_cannot_listen_where_nobody_may() {
    run(&["tap", "--req", "-l1"]).with(1);
    run(&["tap"]).with(1);
    run(&["tap", "reqrep", "--sub", "--bind-front", "tcp://*:0", "--bind-back", "tcp://*:0"])
        .with(1);
}

#[test]
fn a_benchmark_measures_against_itself_and_against_a_peer() {
    for url in ["tcp://127.0.0.1:0", "inproc://bench"] {
        let args =
            ["bench", "--self", "--over", url, "-C", "1000", "--round-trips", "50", "--json"];
        let result = json(&run(&args).with(0).text());
        assert_eq!(result["received"]["messages"], 999);
        assert!(result["received"]["messages_per_second"].as_f64() > Some(0.0), "{result}");
        assert_eq!(result["round_trips"]["count"], 50);
        assert!(
            result["round_trips"]["p50_us"].as_f64() <= result["round_trips"]["max_us"].as_f64()
        );
    }
    let url = free_tcp_url();
    let pull = Program::start(Tool::OURS, &["bench", "--pull", "--bind", &url, "-C", "100"]);
    run(&["bench", "--push", "--connect", &url, "-C", "100"]).with(0);
    assert!(pull.end().with(0).text().starts_with("received: 99 messages in "));
    let url = free_tcp_url();
    let rep = Program::start(Tool::OURS, &["bench", "--rep", "--bind", &url]);
    let text = run(&["bench", "--req", "--connect", &url, "-C", "10"]).with(0).text();
    assert!(text.starts_with("round_trips: 10 of min "), "{text}");
    drop(rep);
}

#[test]
fn completions_name_the_options() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]).with(0).text();
        assert!(script.contains("recv-timeout"), "{shell}");
    }
    run(&["completions", "dos"]).with(1);
}

#[test]
fn help_and_version_end_well_except_for_nngcat() {
    assert!(run(&["--help"]).with(0).text().contains("Examples:"));
    assert!(run(&["-h"]).with(0).text().contains("Exit status:"));
    assert_eq!(
        run(&["--version"]).with(0).text(),
        concat!("sinewcat ", env!("CARGO_PKG_VERSION"), "\n")
    );
    Program::start(Tool::ours_as("nngcat"), &["--help"]).end().with(1);
    Program::start(Tool::ours_as("nn_req"), &["--help"]).end().with(0);
}

#[test]
fn what_is_for_transports_that_are_not_there_is_refused_in_one_voice() {
    let lines = [
        "--pull -L1 --zt-home a",
        "--pull --bind udp://127.0.0.1:1",
        "peers --pull --connect zt://127.0.0.1:1",
        "--pull --bind dtls4://127.0.0.1:1",
        "device bus --bind-front tcp://*:0 --bind-back dtls://*:1",
        "bench --self --over zt://1",
    ];
    for line in lines {
        let said = run(&line.split(' ').collect::<Vec<_>>()).with(1).said();
        let end =
            "which is not supported: there are tcp, tls+tcp, ipc, abstract, ws, wss and inproc\n";
        assert!(said.starts_with("sinewcat: ") && said.ends_with(end), "{line}: {said}");
    }
}

#[test]
fn what_is_said_about_tls_must_be_there() {
    for option in ["--cacert=/no/such/file", "-E /no/such/file"] {
        let line = format!("--pull -L1 {option}");
        let said = run(&line.split(' ').collect::<Vec<_>>()).with(2).said();
        assert!(said.starts_with("sinewcat: cannot read /no/such/file: "), "{said}");
    }
    let said = run(&["--pull", "--bind", "tls+tcp://127.0.0.1:0"]).with(3).said();
    assert!(said.contains("there is no certificate to show"), "{said}");
    run(&["--pull", "-L1", "--key", "a"]).with(1);
}

#[test]
fn a_task_offers_the_protocols_that_it_can_do() {
    for (task, offered, other) in [("bench", "--rep", "--pub"), ("tap", "--bus", "--req")] {
        let help = run(&[task, "--help"]).with(0).text();
        let has = |option: &str| help.lines().any(|line| line.trim() == option);
        assert!(has(offered) && !has(other), "{help}");
        let said = run(&[task, other, "-L1"]).with(1).said();
        assert!(said.starts_with("sinewcat: unexpected argument"), "{said}");
    }
}

#[test]
fn a_timeout_says_how_the_endpoints_stand() {
    let url = free_tcp_url();
    let refused = format!("not connected to {url}: connection refused\n");
    for (line, status) in [
        ("--req --connect URL -D x --recv-timeout 0.3", 4),
        ("--pull --connect URL --recv-timeout 0.3", 4),
        ("--push --connect URL -D x --send-timeout 0.3", 3),
        ("--pub --connect URL -D x --peers 1 --send-timeout 0.3", 4),
    ] {
        let line = line.replace("URL", &url);
        let said = run(&line.split(' ').collect::<Vec<_>>()).with(status).said();
        assert!(said.starts_with("sinewcat: timed out: ") && said.ends_with(&refused), "{said}");
    }
    let rep = Rep::new();
    let url = rep.bind("tcp://127.0.0.1:0").unwrap().url();
    let asked = run(&["--req", "--connect", &url, "-D", "x", "--recv-timeout", "0.5"]).with(4);
    let here = format!("sinewcat: timed out: no answer came; connected to {url}\n");
    assert_eq!(asked.said(), here);
}

/// A script that waits sees nothing until it asks.
#[test]
fn it_says_why_it_waits_in_a_pipe_only_when_asked() {
    let url = free_tcp_url();
    // Longer than it takes until it would be told.
    let args = ["--pull", "--connect", &url, "--recv-timeout", "1.5"];
    let said = run(&args).with(4).said();
    assert_eq!(said.lines().count(), 1, "{said}");
    let program = Program::start(Tool::OURS, &["--pull", "--connect", &url, "-v"]);
    assert_eq!(program.err.line(), format!("sinewcat: not connected to {url}: connection refused"));
    // And at the side that binds, to which nobody can be connected who came.
    let rep = Program::start(Tool::OURS, &["--rep", "--bind", &url, "-v"]);
    let wrong = b"the peer is a pull socket, ours needs req\n";
    rep.err.until("wrong peer", |seen| seen.ends_with(wrong));
}

#[test]
fn what_is_too_long_is_told_by_who_sends_and_by_who_receives() {
    let url = free_tcp_url();
    let dir = TempDir::new();
    std::fs::write(dir.path("long"), vec![b'x'; 3_000_000]).unwrap();
    let file = dir.path("long").display().to_string();
    let pull = Program::start(Tool::OURS, &["--pull", "--bind", &url]);
    let push = ["--push", "--connect", &url, "-F", &file];
    let said = run(&push).with(3).said();
    assert!(said.contains("3000000 bytes") && said.contains("--recv-maxsz"), "{said}");
    run(&[&push[..], &["-Z", "0"]].concat()).with(0);
    let told = pull.err.line();
    let dropped = "sinewcat: dropped: a message of 3000000 bytes from push at tcp://127.0.0.1:";
    assert!(told.starts_with(dropped) && told.ends_with("(see --recv-maxsz)"), "{told}");
    drop(pull);
    let args = ["--pull", "--bind", &url, "-Z0", "-C1", "--raw"];
    let pull = Program::start(Tool::OURS, &args);
    run(&[&push[..], &["-Z", "0"]].concat()).with(0);
    assert_eq!(pull.end().with(0).out.len(), 3_000_000);
}

#[test]
fn a_message_longer_than_all_buffers_is_sent_whole_before_the_end() {
    let url = free_tcp_url();
    let long = "x".repeat(900_000);
    let dir = TempDir::new();
    std::fs::write(dir.path("long"), &long).unwrap();
    let file = dir.path("long").display().to_string();
    let push = Program::start(Tool::OURS, &["--push", "--bind", &url, "-F", &file]);
    let pull = Pull::new();
    pull.connect(&url).unwrap();
    push.end().with(0);
    assert_eq!(pull.recv_timeout(SOON).unwrap(), long);
}

#[test]
fn messages_that_come_before_the_timeout_make_it_a_success() {
    let url = free_tcp_url();
    let pull =
        Program::start(Tool::OURS, &["--pull", "--bind", &url, "-A", "--recv-timeout", "0.5"]);
    run(&["--push", "--connect", &url, "-D", "x"]).with(0);
    assert_eq!(pull.end().with(0).out, b"x\n");
}

#[test]
fn signals_end_it_cleanly() {
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let dir = TempDir::new();
        let path = dir.path("s").display().to_string();
        let program = Program::start(Tool::OURS, &["--rep", "-v", "-X", &path]);
        program.out.line();
        program.signal(signal);
        let said = program.end().with(status).said();
        // With -v it tells after a second that it waits.
        assert!(said.lines().all(|line| line.contains("nobody is connected at")), "{said}");
        assert!(!dir.path("s").exists(), "the socket file is gone");
    }
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let port = free_port();
    let command = format!("{} --pull -L{port} -A | head -n 1", env!("CARGO_BIN_EXE_sinewcat"));
    let program =
        Program::spawn(Command::new("bash").args(["-c", &format!("set -o pipefail; {command}")]));
    let push = Push::new();
    push.connect(format!("tcp://127.0.0.1:{port}")).unwrap();
    push.send_timeout("first", SOON).unwrap();
    assert_eq!(program.out.line(), "first");
    // Until it has written and found out that nobody reads.
    while push.send_timeout("more", std::time::Duration::from_millis(200)).is_ok() {}
    let ended = program.end().with(0);
    assert_eq!(ended.err, b"");
}

#[test]
fn a_silent_failure_says_nothing() {
    let url = free_tcp_url();
    assert_eq!(run(&["--push", "--dial", &url, "-D", "x", "-q"]).with(3).err, b"");
    assert_ne!(run(&["--push", "--dial", &url, "-D", "x"]).with(3).err, b"");
}

#[test]
fn it_waits_for_as_many_peers_as_told() {
    let url = free_tcp_url();
    let publisher =
        Program::start(Tool::OURS, &["--pub", "--bind", &url, "-D", "news", "--peers", "2"]);
    let hear = || Program::start(Tool::OURS, &["--sub", "--connect", &url, "-A", "-C1"]);
    let ears = [hear(), hear()];
    publisher.end().with(0);
    for ear in ears {
        assert_eq!(ear.end().with(0).out, b"news\n");
    }
    run(&["--pub", "--bind", &url, "-D", "x", "--peers", "1", "--send-timeout", "0.1"]).with(4);
}

/// A script that was written for nngcat may rely on it.
#[test]
fn run_as_nngcat_it_waits_for_ever_when_the_limit_is_zero_and_takes_any_length() {
    for tool in [Tool::ours_as("nngcat"), Tool::NNGCAT] {
        if tool.name != tool.program || tool.is_installed() {
            let url = free_tcp_url();
            let args = ["--pull", "--listen", &url, "--recv-timeout", "0", "-C", "1", "--raw"];
            let pull = Program::start(tool, &args);
            let push = Push::with_options(Options::new().max_send_size(None)).unwrap();
            push.connect(&url).unwrap();
            push.send_timeout(vec![b'x'; 2_000_000], SOON).unwrap();
            assert_eq!(pull.end().with(0).out.len(), 2_000_000);
        }
    }
}

#[test]
fn a_benchmark_measures_long_messages_and_refuses_those_that_are_too_long() {
    let args = ["bench", "--self", "-C", "3", "--round-trips", "2", "--json", "--size"];
    let result = json(&run(&[&args[..], &["2000000"]].concat()).with(0).text());
    assert_eq!(result["received"]["bytes"], 4_000_000);
    run(&[&args[..], &["2000000000"]].concat()).with(1);
}

/// What it has to say goes nowhere, but its status is seen.
#[test]
fn output_that_cannot_be_written_changes_no_status_but_its_own() {
    let url = free_tcp_url();
    let dial = format!("--push --dial {url} -D x 2> /dev/full");
    let device = "device bus --bind-front tcp://*:0 --bind-back foo://x 2> /dev/full";
    let lines =
        [("--nonsense 2> /dev/full", 1), (&dial, 3), (device, 3), ("--help > /dev/full", 2)];
    for (line, status) in lines {
        let command = format!("exec {} {line}", env!("CARGO_BIN_EXE_sinewcat"));
        Program::spawn(Command::new("bash").args(["-c", &command])).end().with(status);
    }
}
