//! What the manuals of nanocat and nngcat tell people to type, and what comes of it.
//!
//! Each line runs on ours by its own name, on ours by the name of the tool that documents it, and on
//! that tool itself. What is not told apart here is the same on all three.

use std::sync::Mutex;
use std::thread;

use sinew::{Bus, Pair, Pair1, Pub, Pull, Push, Rep, Req, Respondent, Sub, Surveyor};

use crate::program::{Program, Tool};
use kit::{SOON, TempDir, free_port, free_tcp_url};

/// Who is at the other end, and what it does before it is content.
#[derive(Clone, Copy, Debug)]
enum Peer {
    Nobody,
    /// A PUSH that gives these.
    Gives(&'static [&'static [u8]]),
    /// A PULL that takes this so many times.
    Takes(&'static str, usize),
    /// A PUB that says these.
    Says(&'static [&'static [u8]]),
    /// A SUB that hears this so many times.
    Hears(&'static str, usize),
    /// A REQ with a question and its reply.
    Asks(&'static str, &'static str),
    /// A REQ with a question that is not answered.
    AsksInVain(&'static str),
    /// A REP that is asked so many times, and its reply.
    Replies(&'static str, &'static str, usize),
    Surveys(&'static str, &'static str),
    Responds(&'static str, &'static str),
    /// What it says, and what it hears, if anything.
    Bus(&'static str, &'static str),
    Pair(&'static str, &'static str),
    Pair1(&'static str, &'static str),
}

/// How it ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// With these statuses: ours by its own name, and the tool.
    Exits(i32, i32),
    /// Never: it is killed when its peer is content and it has printed what it was to print.
    Stays,
}

use End::{Exits, Stays};

struct Invocation {
    /// By which name it is run; `nn_…` is nanocat.
    name: &'static str,
    /// The arguments. PORT, URL, PATH and FILE stand for what differs each time.
    args: &'static str,
    peer: Peer,
    /// What ours prints by its own name.
    ours: &'static [u8],
    /// What the tool prints.
    theirs: &'static [u8],
    end: End,
}

/// What is in FILE, and on standard input.
const FILE: &[u8] = b"a file\nof lines\n";

const BYTES: &[u8] = b"q\"b\\n\nr\rz\0h\xff";

macro_rules! invocations {
    ($($name:ident $args:literal, $peer:expr => $ours:expr $(, or $theirs:expr)?; $end:expr;)*) => {
        &[$(Invocation {
            name: stringify!($name),
            args: $args,
            peer: $peer,
            ours: $ours,
            theirs: invocations!(@theirs $ours $(, $theirs)?),
            end: $end,
        },)*]
    };
    (@theirs $ours:expr) => { $ours };
    (@theirs $ours:expr, $theirs:expr) => { $theirs };
}

const OF_NANOCAT: &[Invocation] = invocations! {
    // The examples of the manual.
    nanocat "--rep --bind URL --data pong --format ascii", Peer::Asks("ping", "pong") => b"ping\n"; Stays;
    nanocat "--req --connect URL --data ping --format ascii", Peer::Replies("ping", "pong", 1) => b"pong\n"; Exits(0, 0);
    nn_rep "-LPORT -Dpong -A", Peer::Asks("ping", "pong") => b"ping\n"; Stays;
    nn_req "-lPORT -Dping -A", Peer::Replies("ping", "pong", 1) => b"pong\n"; Exits(0, 0);
    nn_req "-lPORT -Dping -A -i 0.1", Peer::Replies("ping", "pong", 3) => b"pong\npong\n"; Stays;
    nanocat "--rep --connect URL -A", Peer::AsksInVain("ping") => b"ping\n"; Stays;
    nanocat "--push -LPORT -F-", Peer::Takes("a file\nof lines\n", 1) => b""; Exits(0, 0);
    nanocat "--pub --connect URL -D alive --interval 0.1", Peer::Hears("alive", 2) => b""; Stays;
    // The synopsis: each protocol, as it may be run by its name.
    nn_push "--connect URL --data x -i 0.1", Peer::Takes("x", 2) => b""; Stays;
    nn_pull "--bind URL -AQ", Peer::Gives(&[b"x"]) => b"\"x\"\n"; Stays;
    nn_pub "--bind URL --file FILE -i 0.1", Peer::Hears("a file\nof lines\n", 2) => b""; Stays;
    nn_sub "--connect URL --subscribe a --subscribe=b -A", Peer::Says(&[b"c", b"b1", b"a1"]) => b"b1\na1\n"; Stays;
    nn_surveyor "--bind URL --data who -d 0.5 -AQ", Peer::Responds("who", "me") => b"\"me\"\n"; Exits(0, 0);
    nn_respondent "--connect URL --data me -A", Peer::Surveys("who", "me") => b"who\n"; Stays;
    nn_bus "--connect URL --data x -i 0.1 -A", Peer::Bus("y", "x") => b"y\n"; Stays;
    nn_pair "--bind URL --data x -i 0.1 -A", Peer::Pair("y", "x") => b"y\n"; Stays;
    nanocat "--pair --connect URL -Q", Peer::Pair("y", "") => b"\"y\"\n"; Stays;
    // The formats.
    nanocat "--pull --bind URL --raw", Peer::Gives(&[BYTES, b"x"]) => b"q\"b\\n\nr\rz\0h\xffx"; Stays;
    nanocat "--pull --bind URL --ascii", Peer::Gives(&[BYTES, b""]) => b"q\"b\\n.r.z.h.\n\n"; Stays;
    nanocat "--pull --bind URL --quoted", Peer::Gives(&[BYTES, b"\t"]) => b"\"q\\\"b\\\\n\\nr\\rz\\x00h\\xff\"\n\"\\t\"\n", or b"\"q\\\"b\\\\n\\nr\\rz\\x00h\\xff\"\n\"\\x09\"\n"; Stays;
    nanocat "--pull --bind URL --msgpack", Peer::Gives(&[b"ab", b""]) => b"\xc4\x02ab\xc4\x00"; Stays;
    nanocat "--pull --bind URL --hex", Peer::Gives(&[b"a\xff"]) => b"\"\\x61\\xff\"\n"; Stays;
    nanocat "--pull --bind URL --format no", Peer::Gives(&[b"x"]) => b""; Stays;
    // The other options.
    nanocat "--pull -X PATH -A", Peer::Gives(&[b"x"]) => b"x\n"; Stays;
    nanocat "--req -x PATH -D q -A", Peer::Replies("q", "a", 1) => b"a\n"; Exits(0, 0);
    nanocat "--pul --bind URL --asc -v -q --socket-name n", Peer::Gives(&[b"x"]) => b"x\n"; Stays;
    nanocat "--pull -LPORT --recv-timeout 0.2", Peer::Nobody => b""; Exits(4, 0);
    nanocat "--sub -lPORT --recv-timeout 0.2 -A", Peer::Nobody => b""; Exits(4, 0);
    nanocat "--req -LPORT -D x --recv-timeout 0.2", Peer::Nobody => b""; Exits(4, 0);
    nanocat "--rep -LPORT -D x --recv-timeout 0.2", Peer::Nobody => b""; Exits(4, 3);
    nanocat "--surveyor -LPORT -D x", Peer::Nobody => b""; Exits(4, 0);
    nanocat "--push -LPORT -D x --send-timeout 0.2", Peer::Nobody => b""; Exits(3, 3);
    nanocat "--pub -LPORT -D x", Peer::Nobody => b""; Exits(0, 0);
    nanocat "--pull -LPORT --recv-timeout 9 --recv-timeout 0.2", Peer::Nobody => b""; Exits(4, 0);
    // What makes no sense.
    nanocat "--push -LPORT", Peer::Nobody => b""; Exits(1, 1);
    nanocat "--pull", Peer::Nobody => b""; Exits(1, 1);
    nanocat "-LPORT", Peer::Nobody => b""; Exits(1, 1);
    nanocat "--push --pull -LPORT -D x", Peer::Nobody => b""; Exits(1, 1);
    nanocat "--push -LPORT -D x -F FILE", Peer::Nobody => b""; Exits(1, 1);
    nanocat "--pull -LPORT -D x", Peer::Nobody => b""; Exits(1, 1);
    nanocat "--pull -LPORT -i 1", Peer::Nobody => b""; Exits(1, 1);
    nanocat "--pair -LPORT --subscribe x", Peer::Nobody => b""; Exits(1, 1);
    nanocat "--push -LPORT -D x -A", Peer::Nobody => b""; Exits(1, 1);
    nanocat "--push -LPORT -D x --recv-timeout 1", Peer::Nobody => b""; Exits(1, 1);
    nanocat "--pull --con URL", Peer::Nobody => b""; Exits(1, 1);
    nanocat "--pull -LPORT --nonsense", Peer::Nobody => b""; Exits(1, 1);
    nanocat "--pull -LPORT --format rot13", Peer::Nobody => b""; Exits(1, 1);
    nanocat "--pull -LPORT more", Peer::Nobody => b""; Exits(1, 1);
    nanocat "--pull -L", Peer::Nobody => b""; Exits(1, 1);
    nanocat "--pub -LPORT -F /nowhere/at/all", Peer::Nobody => b""; Exits(2, 2);
    nanocat "--pub --bind tcp://nonsense -D x", Peer::Nobody => b""; Exits(3, 3);
};

const OF_NNGCAT: &[Invocation] = invocations! {
    // Each protocol, each way to name an address.
    nngcat "--req0 --dial URL --data ping --quoted", Peer::Replies("ping", "pong", 1) => b"\"pong\"\n"; Exits(0, 0);
    nngcat "--rep0 --listen URL --data pong -Q", Peer::Asks("ping", "pong") => b"\"ping\"\n"; Stays;
    nngcat "--req -lPORT -Dping -Q", Peer::Replies("ping", "pong", 1) => b"\"pong\"\n"; Exits(0, 0);
    nngcat "--rep -LPORT -Dpong -Q -C 1", Peer::Asks("ping", "pong") => b"\"ping\"\n"; Exits(0, 0);
    nngcat "--push0 --dial URL --data x", Peer::Takes("x", 1) => b""; Exits(0, 0);
    nngcat "--push --connect:URL --file -", Peer::Takes("a file\nof lines\n", 1) => b""; Exits(0, 0);
    nngcat "--push --dial=URL --file FILE --count 3", Peer::Takes("a file\nof lines\n", 3) => b""; Exits(0, 0);
    nngcat "--pull0 --listen URL -Q", Peer::Gives(&[b"x", b"y"]) => b"\"x\"\n\"y\"\n"; Stays;
    nngcat "--pull --bind URL -Q --count 2", Peer::Gives(&[b"x", b"y"]) => b"\"x\"\n\"y\"\n"; Exits(0, 0);
    nngcat "--pub0 --dial URL --data news -i 1 -C 2", Peer::Hears("news", 1) => b""; Exits(0, 0);
    nngcat "--sub0 --dial URL -Q", Peer::Says(&[b"a", b"b"]) => b"\"a\"\n\"b\"\n"; Stays;
    nngcat "--sub --listen URL --subscribe a -Q -C1", Peer::Says(&[b"b", b"a"]) => b"\"a\"\n"; Exits(0, 0);
    nngcat "--surveyor0 --dial URL --data who -Q", Peer::Responds("who", "me") => b"\"me\"\n"; Exits(0, 0);
    nngcat "--respondent0 --dial URL --data me -Q", Peer::Surveys("who", "me") => b"\"who\"\n"; Stays;
    nngcat "--bus0 --dial URL --data x -Q --recv-timeout 1", Peer::Bus("y", "x") => b"\"y\"\n"; Exits(0, 0);
    nngcat "--pair0 --listen URL -Q -C 1", Peer::Pair("y", "") => b"\"y\"\n"; Exits(0, 0);
    nngcat "--pair1 --dial URL --data x -Q --recv-timeout 1", Peer::Pair1("y", "x") => b"\"y\"\n"; Exits(0, 0);
    nngcat "--pair0 --compat --dial URL --data x -Q", Peer::Pair("y", "x") => b"\"y\"\n"; Stays;
    nngcat "--pull -X PATH -Q -C 1", Peer::Gives(&[b"x"]) => b"\"x\"\n"; Exits(0, 0);
    // The formats.
    nngcat "--pull --listen URL --raw", Peer::Gives(&[BYTES, b"x"]) => b"q\"b\\n\nr\rz\0h\xffx"; Stays;
    nngcat "--pull --listen URL --ascii", Peer::Gives(&[BYTES, b"x"]) => b"q\"b\\n.r.z.h.\nx\n", or b"q\"b\\n.r.z.h.x"; Stays;
    nngcat "--pull --listen URL --quoted", Peer::Gives(&[BYTES, b"\t"]) => b"\"q\\\"b\\\\n\\nr\\rz\\x00h\\xff\"\n\"\\t\"\n"; Stays;
    nngcat "--pull --listen URL --msgpack", Peer::Gives(&[b"ab", b""]) => b"\xc4\x02ab\xc4\x00"; Stays;
    nngcat "--pull --listen URL --hex", Peer::Gives(&[b"a\xff"]) => b"\"\\x61\\xff\"\n"; Stays;
    nngcat "--pull --listen URL --format no -C 1", Peer::Gives(&[b"x"]) => b""; Exits(0, 0);
    // The other options.
    nngcat "--pull --listen URL -Q -C 1 --recv-maxsz 10 --silent", Peer::Gives(&[b"x"]) => b"\"x\"\n"; Exits(0, 0);
    nngcat "--pull --listen URL -Q -C 1 -Z 0", Peer::Gives(&[b"x"]) => b"\"x\"\n"; Exits(0, 0);
    nngcat "--pull -v -LPORT --recv-timeout 1", Peer::Nobody => b"Listening at: URL\n"; Exits(4, 0);
    nngcat "--push --async --dial URL -D x -d 1", Peer::Takes("x", 1) => b""; Exits(0, 0);
    nngcat "--push -lPORT -D x --compat --send-timeout 1", Peer::Nobody => b""; Exits(3, 1);
    nngcat "--req --dial URL -D x", Peer::Nobody => b""; Exits(3, 1);
    nngcat "--pull --listen URL --send-timeout 1 --recv-timeout 1", Peer::Nobody => b""; Exits(1, 0);
    nngcat "--pull --bind URL -Q --count 9 --count 1", Peer::Gives(&[b""]) => b"\"\"\n"; Exits(0, 0);
    nngcat "--push --dial URL -F /dev/null", Peer::Takes("", 1) => b""; Exits(0, 0);
    nngcat "--pull --listen URL --recv-timeout 1", Peer::Nobody => b""; Exits(4, 0);
    nngcat "--rep --listen URL -D x --recv-timeout 1", Peer::Nobody => b""; Exits(4, 1);
    nngcat "--surveyor --listen URL -D x", Peer::Nobody => b""; Exits(4, 0);
    // What makes no sense.
    nngcat "--pull", Peer::Nobody => b""; Exits(1, 1);
    nngcat "--listen URL", Peer::Nobody => b""; Exits(1, 1);
    nngcat "--push --pull --listen URL -D x", Peer::Nobody => b""; Exits(1, 1);
    nngcat "--push --listen URL", Peer::Nobody => b""; Exits(1, 1);
    nngcat "--push --listen URL -D x -A", Peer::Nobody => b""; Exits(1, 1);
    nngcat "--pull --listen URL -D x", Peer::Nobody => b""; Exits(1, 1);
    nngcat "--rep --listen URL -D x -i 1", Peer::Nobody => b""; Exits(1, 1);
    nngcat "--bus --listen URL -i 1", Peer::Nobody => b""; Exits(1, 1);
    nngcat "--req --listen URL -D x --subscribe y", Peer::Nobody => b""; Exits(1, 1);
    nngcat "--pair1 --listen URL --compat", Peer::Nobody => b""; Exits(1, 1);
    nngcat "--pull --listen URL --compat --count 1", Peer::Nobody => b""; Exits(1, 1);
    nngcat "--pull --dial URL --compat --async", Peer::Nobody => b""; Exits(1, 1);
    nngcat "--pull --listen URL --format rot13", Peer::Nobody => b""; Exits(1, 1);
    nngcat "--pull --con URL", Peer::Nobody => b""; Exits(1, 1);
    nngcat "--pub --listen URL -F /nowhere/at/all", Peer::Nobody => b""; Exits(2, 1);
};

#[test]
fn nanocat_and_ours_do_the_same_when_told_the_same() {
    all(Tool::NANOCAT, OF_NANOCAT);
}

#[test]
fn nngcat_and_ours_do_the_same_when_told_the_same() {
    all(Tool::NNGCAT, OF_NNGCAT);
}

/// How many lines run at once. The programs wait most of the time.
const AT_ONCE: usize = 8;

fn all(tool: Tool, invocations: &[Invocation]) {
    let is_installed = tool.is_installed();
    let lines = Mutex::new(invocations.iter());
    let next = || lines.lock().unwrap().next();
    let run_lines = || {
        while let Some(invocation) = next() {
            meet(Tool::OURS, invocation);
            meet(Tool::ours_as(invocation.name), invocation);
            if is_installed {
                meet(Tool { program: tool.program, name: invocation.name }, invocation);
            }
        }
    };
    thread::scope(|scope| (0..AT_ONCE).for_each(|_| _ = scope.spawn(run_lines)));
}

/// Runs one line on one program.
fn meet(tool: Tool, invocation: &Invocation) {
    let by_own_name = tool.name == "sinewcat";
    let role = invocation.name.strip_prefix("nn_").filter(|_| by_own_name);
    let dir = TempDir::new();
    std::fs::write(dir.path("file"), FILE).unwrap();
    let args = invocation.args;
    let binds = ["-L", "-X", "--bind", "--listen"].iter().any(|option| args.contains(option));
    let peer = invocation.peer;
    // An address of its own where it can be had: with a port goes 127.0.0.1.
    let port = free_port();
    let path = dir.path("socket").display().to_string();
    let url =
        if args.contains("PORT") { format!("tcp://127.0.0.1:{port}") } else { free_tcp_url() };
    let meeting = if args.contains("PATH") { format!("ipc://{path}") } else { url.clone() };
    let args = args.replace("PORT", &port.to_string()).replace("URL", &url).replace("PATH", &path);
    let args = args.replace("FILE", &dir.path("file").display().to_string());
    let role = role.map(|role| format!("--{role}"));
    let args: Vec<&str> = role.as_deref().into_iter().chain(args.split(' ')).collect();

    let (printed, statuses) = match (by_own_name, invocation.end) {
        (true, Exits(ours, _)) => (invocation.ours, Some(ours)),
        (true, Stays) => (invocation.ours, None),
        (false, Exits(_, theirs)) => (invocation.theirs, Some(theirs)),
        (false, Stays) => (invocation.theirs, None),
    };
    let printed = match printed.strip_suffix(b"URL\n") {
        Some(begin) => [begin, url.as_bytes(), b"\n"].concat(),
        None => printed.to_vec(),
    };
    let what = format!("{tool:?} {args:?}");
    let start = || Program::start_with(tool, &args, FILE);
    let program = peer.play(&what, &meeting, binds, start);
    match statuses {
        Some(status) => {
            let ended = program.end();
            let said = String::from_utf8_lossy(&ended.err).into_owned();
            assert_eq!(ended.status.code(), Some(status), "{what}: {said}");
            // Their help comes on standard output when the arguments are wrong; ours never does.
            assert!(ended.out == printed, "{what}: {:?}", String::from_utf8_lossy(&ended.out));
            assert!(status != 0 || said.is_empty(), "{what}: all is well, but: {said}");
        }
        None => {
            program.out.until(&what, |seen| seen.len() >= printed.len());
            let seen = program.kill();
            assert!(seen.starts_with(&printed), "{what}: {:?}", String::from_utf8_lossy(&seen));
        }
    }
}

/// Makes the socket of a peer; it is bound before the program is started, or connected after.
macro_rules! play {
    ($socket:ident, $url:ident, $binds:ident, $start:ident) => {{
        let socket = $socket::new();
        if !$binds {
            socket.bind($url).unwrap();
        }
        let program = $start();
        if $binds {
            socket.connect($url).unwrap();
        }
        (socket, program)
    }};
}

/// The same, and the program is there and stays. One that only sends may have come and gone before
/// anybody looks.
macro_rules! meet {
    ($socket:ident, $what:ident, $url:ident, $binds:ident, $start:ident) => {{
        let (socket, program) = play!($socket, $url, $binds, $start);
        socket
            .wait_for_peers(1, SOON)
            .unwrap_or_else(|_| panic!("nobody comes: {}: {program:?}", $what));
        (socket, program)
    }};
}

impl Peer {
    /// Starts the program, and does its own part at the other end.
    fn play(self, what: &str, url: &str, binds: bool, start: impl FnOnce() -> Program) -> Program {
        match self {
            Self::Nobody => start(),
            Self::Gives(messages) => {
                let (push, program) = meet!(Push, what, url, binds, start);
                messages.iter().for_each(|message| push.send_timeout(*message, SOON).unwrap());
                assert_eq!(push.drain(SOON), 0);
                kept_by(push, program)
            }
            Self::Takes(text, times) => {
                let (pull, program) = play!(Pull, url, binds, start);
                (0..times).for_each(|_| assert_eq!(pull.recv_timeout(SOON).unwrap(), text));
                kept_by(pull, program)
            }
            Self::Says(messages) => {
                let (publisher, program) = meet!(Pub, what, url, binds, start);
                messages.iter().for_each(|message| publisher.send(*message).unwrap());
                kept_by(publisher, program)
            }
            Self::Hears(text, times) => {
                let sub = Sub::new();
                sub.subscribe("").unwrap();
                if binds {
                    sub.connect(url).unwrap();
                } else {
                    sub.bind(url).unwrap();
                }
                let program = start();
                (0..times).for_each(|_| assert_eq!(sub.recv_timeout(SOON).unwrap(), text));
                kept_by(sub, program)
            }
            Self::Asks(question, reply) => {
                let (req, program) = meet!(Req, what, url, binds, start);
                assert_eq!(req.request_timeout(question, SOON).unwrap(), reply);
                kept_by(req, program)
            }
            Self::AsksInVain(question) => {
                let (req, program) = meet!(Req, what, url, binds, start);
                let asked = req.context();
                asked.send(question).unwrap();
                program.out.until("question", |seen| !seen.is_empty());
                drop(asked);
                kept_by(req, program)
            }
            Self::Replies(question, reply, times) => {
                let (rep, program) = play!(Rep, url, binds, start);
                for _ in 0..times {
                    let request = rep.recv_timeout(SOON).unwrap();
                    assert_eq!(*request, question);
                    request.reply(reply).unwrap();
                }
                kept_by(rep, program)
            }
            Self::Surveys(question, answer) => {
                let (surveyor, program) = meet!(Surveyor, what, url, binds, start);
                assert_eq!(surveyor.survey(question).unwrap().recv_timeout(SOON).unwrap(), answer);
                kept_by(surveyor, program)
            }
            Self::Responds(question, answer) => {
                let (respondent, program) = play!(Respondent, url, binds, start);
                let survey = respondent.recv_timeout(SOON).unwrap();
                assert_eq!(*survey, question);
                survey.reply(answer).unwrap();
                kept_by(respondent, program)
            }
            Self::Bus(says, hears) => {
                let (bus, program) = meet!(Bus, what, url, binds, start);
                bus.send(says).unwrap();
                assert_eq!(bus.recv_timeout(SOON).unwrap(), hears);
                kept_by(bus, program)
            }
            Self::Pair(says, hears) => {
                let (pair, program) = meet!(Pair, what, url, binds, start);
                pair.send_timeout(says, SOON).unwrap();
                if !hears.is_empty() {
                    assert_eq!(pair.recv_timeout(SOON).unwrap(), hears);
                }
                kept_by(pair, program)
            }
            Self::Pair1(says, hears) => {
                let (pair, program) = meet!(Pair1, what, url, binds, start);
                pair.send_timeout(says, SOON).unwrap();
                assert_eq!(pair.recv_timeout(SOON).unwrap(), hears);
                kept_by(pair, program)
            }
        }
    }
}

/// Keeps the peer's socket open for as long as the program can need it.
fn kept_by<S: Send + 'static>(socket: S, program: Program) -> Program {
    program.keep(socket)
}
