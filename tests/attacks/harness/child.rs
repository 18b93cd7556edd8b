//! Processes of their own that can be killed and frozen: this program, run again with a job.

use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use kit::SOON;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Set in the child: what it is to do.
const JOB: &str = "SINEW_TEST_JOB";

/// A process with a job. Killed when dropped.
pub(crate) struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// The job of this process, if it is one that a test has started.
pub(crate) fn job() -> Option<Vec<String>> {
    let job = std::env::var(JOB).ok()?;
    Some(job.split(' ').map(str::to_owned).collect())
}

/// Tells the process that has started this one.
pub(crate) fn tell(line: &str) {
    let mut out = std::io::stdout();
    // On a line of its own: the test harness has begun one.
    writeln!(out, "\ntold: {line}").and_then(|()| out.flush()).expect("the parent listens");
}

/// What the process that has started this one says, a line.
pub(crate) fn listen() -> Option<String> {
    let mut line = String::new();
    let count = std::io::stdin().read_line(&mut line).expect("a pipe");
    (count > 0).then(|| line.trim_end().to_owned())
}

/// What a line of a child tells, if it is not one of the test harness.
fn told(line: std::io::Result<String>) -> Option<String> {
    line.ok()?.strip_prefix("told: ").map(str::to_owned)
}

impl Process {
    /// Runs the ignored test `part` with `job`; `before` are shell commands that come first, such as a
    /// `ulimit`.
    pub(crate) fn start(part: &str, job: &str, before: &str) -> Self {
        let script = format!("{before}\nexec \"$0\" --ignored --exact --nocapture \"$1\"");
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .arg(std::env::current_exe().expect("a test is a file"))
            .arg(part)
            .env(JOB, job)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { child, lines }
    }

    /// The next line that it tells.
    #[track_caller]
    pub(crate) fn told(&mut self) -> String {
        self.lines.by_ref().find_map(told).expect("the child says something")
    }

    /// Says a line to it.
    pub(crate) fn say(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("it is piped");
        writeln!(stdin, "{line}").expect("the child listens");
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(id), signal).expect("it is our child");
    }

    /// Stops it once all of its threads sleep, and waits until they have stopped.
    pub(crate) fn freeze(&self) {
        kit::eventually("it rests", || self.is_all('S'));
        self.signal(Signal::SIGSTOP);
        kit::eventually("it stands still", || self.is_all('T'));
    }

    /// Whether each of its threads is in this state, as proc(5) has them.
    fn is_all(&self, state: char) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let mut tasks = tasks.expect("it is our child").flatten();
        tasks.all(|task| {
            let status = std::fs::read_to_string(task.path().join("status"));
            status.is_ok_and(|status| status.contains(&format!("\nState:\t{state}")))
        })
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// As `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it still tells until it ends.
    pub(crate) fn rest(mut self) -> Vec<String> {
        drop(self.child.stdin.take());
        self.lines.by_ref().filter_map(told).collect()
    }

    /// As `kill -9` does; what it has told before.
    pub(crate) fn killed(mut self) -> Vec<String> {
        self.child.kill().expect("it is our child");
        self.rest()
    }

    /// Waits until it has ended by itself. Has more patience than the child with what it waits for, so that the child
    /// can say what that was.
    #[track_caller]
    pub(crate) fn ended(mut self) -> ExitStatus {
        drop(self.child.stdin.take());
        let end = Instant::now() + 3 * SOON;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(Instant::now() < end, "the child hangs");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until it has ended, and done what it should.
    #[track_caller]
    pub(crate) fn succeeded(self) {
        let status = self.ended();
        assert!(status.success(), "the child failed: {status}, signal {:?}", status.signal());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
