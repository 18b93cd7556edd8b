//! A stage: child processes of one program, and everything they print, as it comes.
//!
//! Owns the processes and their output. Knows nothing of services: what is played is up to the
//! scene, and to the tests of this example, which use this file too.

use std::env;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::Result;

/// Starts processes and hears what they print.
pub(crate) struct Stage {
    program: PathBuf,
    end: Instant,
    heard: Vec<Heard>,
    events: Receiver<Event>,
    sender: Sender<Event>,
}

/// What has come from one process so far.
struct Heard {
    label: String,
    lines: Vec<String>,
    open_streams: u8,
}

/// One process. Dropping it kills it.
pub(crate) struct Actor {
    /// Its place in `Stage::heard`.
    number: usize,
    process: Child,
}

enum Event {
    Line(usize, String),
    StreamEnded(usize),
    Interrupted,
}

impl Stage {
    /// A stage for processes of `program`. Every wait on it ends after `limit`, counted from now.
    pub(crate) fn new(program: PathBuf, limit: Duration) -> Self {
        let (sender, events) = mpsc::channel();
        Self { program, end: Instant::now() + limit, heard: Vec::new(), events, sender }
    }

    /// What makes the wait that is going on, or the next one, fail at once.
    pub(crate) fn interrupter(&self) -> impl FnOnce() + Send + use<> {
        let sender = self.sender.clone();
        move || {
            let _ = sender.send(Event::Interrupted);
        }
    }

    /// Starts a process, configured as a container is: by its environment alone.
    pub(crate) fn start(&mut self, label: &str, settings: &[(&str, &str)]) -> Result<Actor> {
        let mut command = Command::new(&self.program);
        for (name, _) in env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"SINEW_") {
                command.env_remove(name);
            }
        }
        command.envs(settings.iter().copied()).stdin(Stdio::null());
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;

        let number = self.heard.len();
        self.heard.push(Heard { label: label.to_owned(), lines: Vec::new(), open_streams: 2 });
        self.listen(number, process.stdout.take());
        self.listen(number, process.stderr.take());
        Ok(Actor { number, process })
    }

    fn listen(&self, number: usize, stream: Option<impl Read + Send + 'static>) {
        let stream = BufReader::new(stream.expect("the stream is piped, and taken once"));
        let sender = self.sender.clone();
        thread::spawn(move || {
            for line in stream.lines().map_while(io::Result::ok) {
                let _ = sender.send(Event::Line(number, line));
            }
            let _ = sender.send(Event::StreamEnded(number));
        });
    }

    /// Waits until the process has printed a line in which `find` finds something; it may have done
    /// so already. `what` is its part, for the message when it does not come to that.
    pub(crate) fn see<T>(
        &mut self,
        actor: &Actor,
        what: &str,
        find: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let mut seen = 0;
        loop {
            let Heard { label, lines, open_streams } = &self.heard[actor.number];
            if let Some(found) = lines[seen..].iter().find_map(|line| find(line)) {
                return Ok(found);
            }
            if *open_streams == 0 {
                return Err(format!("{label} ended and had not {what}").into());
            }
            seen = lines.len();
            self.wait().map_err(|why| format!("{why}: {} had not {what}", self.label(actor)))?;
        }
    }

    /// Waits until the process has ended by itself.
    pub(crate) fn see_end(&mut self, actor: &mut Actor) -> Result<ExitStatus> {
        while self.heard[actor.number].open_streams > 0 {
            self.wait().map_err(|why| format!("{why}: {} had not ended", self.label(actor)))?;
        }
        Ok(actor.process.wait()?)
    }

    fn label(&self, actor: &Actor) -> &str {
        &self.heard[actor.number].label
    }

    /// Waits for the next thing to happen, whoever does it.
    fn wait(&mut self) -> Result<()> {
        let left = self.end.saturating_duration_since(Instant::now());
        match self.events.recv_timeout(left) {
            Ok(Event::Line(number, line)) => {
                let heard = &mut self.heard[number];
                println!("{:>10} | {line}", heard.label);
                heard.lines.push(line);
            }
            Ok(Event::StreamEnded(number)) => self.heard[number].open_streams -= 1,
            Ok(Event::Interrupted) => return Err("interrupted".into()),
            Err(_) => return Err("out of time".into()),
        }
        Ok(())
    }
}

impl Actor {
    /// Sends the process a signal by its name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        // Every Unix has a shell, and every shell can kill; the standard library only knows SIGKILL.
        let id = self.process.id().to_string();
        let status =
            Command::new("sh").args(["-c", r#"kill -s "$1" "$2""#, "sh", name, &id]).status()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("cannot send SIG{name} to process {id}").into())
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // Both fail when the process has ended already, which is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
