//! Ours and each of the other two, talking to each other: every pair of protocols that both have,
//! either side ours, either side binding.

use crate::program::{Program, Tool};
use kit::free_tcp_url;

/// One side: its options, and what it prints first.
type Side = (&'static str, &'static str);

/// Two sides that meet. The one that sends by itself is first.
const PIPELINE: [Side; 2] = [("--push -D work EVERY", ""), ("--pull -Q", "\"work\"")];
const NEWS: [Side; 2] = [("--pub -D news EVERY", ""), ("--sub -Q", "\"news\"")];
const REQUEST: [Side; 2] =
    [("--req -D ping -Q TALKS", "\"pong\""), ("--rep -D pong -Q", "\"ping\"")];
const SURVEY: [Side; 2] =
    [("--surveyor -D who -Q SELDOM", "\"me\""), ("--respondent -D me -Q", "\"who\"")];
const BUS: [Side; 2] = [("--bus -D a -Q CALLS", "\"b\""), ("--bus -D b -Q CALLS", "\"a\"")];
const PAIR: [Side; 2] = [("--pair0 -D a -Q TALKS", "\"b\""), ("--pair0 -D b -Q TALKS", "\"a\"")];
const PAIR1: [Side; 2] = [("--pair1 -D a -Q TALKS", "\"b\""), ("--pair1 -D b -Q TALKS", "\"a\"")];

macro_rules! meetings {
    ($($name:ident: $tool:ident $sides:ident;)*) => {$(
        #[test]
        fn $name() {
            if !Tool::$tool.is_installed() {
                return;
            }
            let [first, second] = $sides;
            for (ours, theirs) in [(first, second), (second, first)] {
                meet((Tool::OURS, ours), (Tool::$tool, theirs));
                meet((Tool::$tool, theirs), (Tool::OURS, ours));
            }
        }
    )*};
}

meetings! {
    pipeline_with_nanocat: NANOCAT PIPELINE;
    pipeline_with_nngcat: NNGCAT PIPELINE;
    pubsub_with_nanocat: NANOCAT NEWS;
    pubsub_with_nngcat: NNGCAT NEWS;
    reqrep_with_nanocat: NANOCAT REQUEST;
    reqrep_with_nngcat: NNGCAT REQUEST;
    survey_with_nanocat: NANOCAT SURVEY;
    survey_with_nngcat: NNGCAT SURVEY;
    bus_with_nanocat: NANOCAT BUS;
    bus_with_nngcat: NNGCAT BUS;
    pair_with_nanocat: NANOCAT PAIR;
    pair_with_nngcat: NNGCAT PAIR;
    pair1_with_nngcat: NNGCAT PAIR1;
}

/// The first binds, the second connects, and both print what the other says.
fn meet(binds: (Tool, Side), connects: (Tool, Side)) {
    let url = free_tcp_url();
    let start = |(tool, (options, _)): (Tool, Side), direction: &str| {
        // What nngcat has left of its interval when a message has come can be -1 ms, which it takes for
        // no limit, and then it sends no more. So it has an interval only where it does not receive.
        // A survey ends by itself, so there it has one, but not the second after which that is.
        let [every, talks, calls, seldom] = match tool.name {
            "nngcat" => ["-i 1", "--silent", "-d 2", "-i 2"],
            _ => ["-i 0.1", "-i 0.1", "-i 0.1", "-i 0.3"],
        };
        let pair = if tool.name == "nanocat" { "--pair" } else { "--pair0" };
        let options =
            options.replace("EVERY", every).replace("TALKS", talks).replace("CALLS", calls);
        let options = options.replace("SELDOM", seldom).replace("--pair0", pair);
        let mut args: Vec<&str> = options.split(' ').collect();
        args.extend([direction, &url]);
        if tool.name == "nngcat" {
            args.push("--async");
        }
        Program::start(tool, &args)
    };
    let sides = [(start(binds, "--bind"), binds), (start(connects, "--connect"), connects)];
    for (program, (tool, (_, prints))) in &sides {
        if !prints.is_empty() {
            let seen =
                program.out.until(&format!("{prints} of {tool:?}"), |seen| seen.ends_with(b"\n"));
            assert!(seen.starts_with(prints.as_bytes()), "{tool:?} of {sides:?}");
        }
    }
}
