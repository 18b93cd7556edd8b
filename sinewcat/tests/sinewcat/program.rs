//! Running the tool, and the two others it is compared with.

use std::any::Any;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use kit::SOON;

/// A program, and the name it is run by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    pub(crate) name: &'static str,
}

impl Tool {
    pub(crate) const OURS: Self = Self::ours_as("sinewcat");
    pub(crate) const NANOCAT: Self = Self { program: "nanocat", name: "nanocat" };
    pub(crate) const NNGCAT: Self = Self { program: "nngcat", name: "nngcat" };

    /// Ours, run by another name.
    pub(crate) const fn ours_as(name: &'static str) -> Self {
        Self { program: env!("CARGO_BIN_EXE_sinewcat"), name }
    }

    pub(crate) fn command(self, args: &[impl AsRef<str>]) -> Command {
        let mut command = Command::new(self.program);
        command.arg0(self.name).args(args.iter().map(AsRef::as_ref));
        command
    }

    /// False when the program is not there, and says so; in CI that is a failure.
    pub(crate) fn is_installed(self) -> bool {
        is_installed(self.program)
    }
}

/// False when the program is not there, and says so; in CI that is a failure.
#[expect(clippy::explicit_write, reason = "eprintln! would be captured and never seen")]
pub(crate) fn is_installed(program: &str) -> bool {
    let mut help = Command::new(program);
    match help.arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let message = format!("no {program} here, see README.md for its package");
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{message}");
            writeln!(io::stderr(), "SKIPPED: {message}").unwrap();
            false
        }
        Err(error) => panic!("cannot start {program}: {error}"),
    }
}

/// What a stream has brought so far.
#[derive(Default)]
pub(crate) struct Output {
    state: Mutex<(Vec<u8>, bool)>,
    grown: Condvar,
}

impl Output {
    fn collect(self: &Arc<Self>, mut stream: impl Read + Send + 'static) -> JoinHandle<()> {
        let output = Arc::clone(self);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let n = stream.read(&mut buffer).unwrap_or(0);
                let mut state = output.state.lock().unwrap();
                state.0.extend_from_slice(&buffer[..n]);
                state.1 = n == 0;
                output.grown.notify_all();
                if n == 0 {
                    return;
                }
            }
        })
    }

    /// Waits until `enough`, and returns what is there then.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let end = Instant::now() + SOON;
        let mut state = self.state.lock().unwrap();
        while !enough(&state.0) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || state.1 {
                let why = if state.1 { "and it has ended" } else { "after a long time" };
                drop(state);
                panic!("no {what} in {self:?}, {why}");
            }
            state = self.grown.wait_timeout(state, left).unwrap().0;
        }
        state.0.clone()
    }

    /// Waits until a line ends, and returns the first.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        let seen = self.until("line", |seen| seen.contains(&b'\n'));
        String::from_utf8(seen).unwrap().lines().next().unwrap().to_owned()
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(&self.state.lock().unwrap().0).fmt(f)
    }
}

/// A running program. Dropping it kills it, and tells what it has said if the test fails.
#[derive(Debug)]
pub(crate) struct Program {
    command: String,
    process: Child,
    pub(crate) out: Arc<Output>,
    pub(crate) err: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
    /// Goes with it, such as the socket of its peer.
    kept: Vec<Box<dyn Any + Send>>,
}

impl Program {
    pub(crate) fn start(tool: Tool, args: &[impl AsRef<str>]) -> Self {
        let mut program = Self::spawn(&mut tool.command(args));
        drop(program.process.stdin.take());
        program
    }

    /// Starts it with something to read on its standard input.
    pub(crate) fn start_with(tool: Tool, args: &[impl AsRef<str>], input: &[u8]) -> Self {
        let mut program = Self::spawn(&mut tool.command(args));
        program.type_in(input);
        drop(program.process.stdin.take());
        program
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let command = format!("{command:?}");
        let (out, err) = (Arc::<Output>::default(), Arc::<Output>::default());
        let readers = vec![
            out.collect(process.stdout.take().expect("it is piped")),
            err.collect(process.stderr.take().expect("it is piped")),
        ];
        Self { command, process, out, err, readers, kept: Vec::new() }
    }

    /// Keeps something until the program has ended.
    pub(crate) fn keep(mut self, kept: impl Any + Send) -> Self {
        self.kept.push(Box::new(kept));
        self
    }

    pub(crate) fn type_in(&mut self, input: &[u8]) {
        // A program that refuses its command line does not read.
        let _ = self.process.stdin.as_mut().expect("it is piped").write_all(input);
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
    }

    /// Waits for its end: its status, and all it has printed.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        let begun = Instant::now();
        let status = loop {
            match self.process.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(begun.elapsed() < SOON, "{} does not end", self.id()),
            }
            thread::yield_now();
        };
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        let take = |output: &Output| output.state.lock().unwrap().0.clone();
        Ended { status, out: take(&self.out), err: take(&self.err) }
    }

    /// Kills it, and returns all it has printed.
    pub(crate) fn kill(mut self) -> Vec<u8> {
        self.process.kill().unwrap();
        self.end().out
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if thread::panicking() {
            let Self { command, out, err, .. } = self;
            eprintln!("{command} ({:?}): {out:?}, error {err:?}", self.process.try_wait());
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) out: Vec<u8>,
    pub(crate) err: Vec<u8>,
}

impl Ended {
    #[track_caller]
    pub(crate) fn with(self, status: i32) -> Self {
        assert_eq!(self.status.code(), Some(status), "{}", String::from_utf8_lossy(&self.err));
        self
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.out.clone()).unwrap()
    }

    /// What it said on standard error.
    pub(crate) fn said(&self) -> String {
        String::from_utf8(self.err.clone()).unwrap()
    }
}

/// Runs ours to its end.
#[track_caller]
pub(crate) fn run(args: &[impl AsRef<str>]) -> Ended {
    Program::start(Tool::OURS, args).end()
}
