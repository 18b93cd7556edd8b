//! What nanocat and nngcat do: one socket, which sends the given data and prints what it receives.
//!
//! Owns the loops, one for each way in which protocols send and receive. Each ends when its count is reached,
//! a time limit is over or the socket is closed; before the end it waits until everything sent is handed to
//! the kernel.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sinew::role::{Answers, Receives, Role, Sends};
use sinew::{
    AnySocket, Bus, Message, OptionError, Options, Pair, Pair1, Pub, Pull, Push, RecvError, Rep,
    Req, RequestError, Respondent, Socket, Sub, Surveyor,
};

use crate::address::Address;
use crate::failure::{Failure, Outcome};
use crate::format::Printer;
use crate::job::Job;
use crate::protocol::Protocol;
use crate::socket::{self, close_on_signal, wait_for_peers};
use crate::stop::Stop;
use crate::waiting::Watch;

/// Does the job. Calls `watch` with the socket as soon as there is one.
pub(crate) fn run(job: &Job, stop: &Stop, watch: impl FnOnce(Arc<dyn AnySocket>)) -> Outcome {
    let out = Printer::new(job.format, job.dialect);
    let mut cat = Cat { job, stop, out, printed: 0, watch: None };
    let outcome = work(&mut cat, watch);
    match &cat.watch {
        Some(watch) => outcome.map_err(|failure| watch.explain(failure)),
        None => outcome,
    }
}

fn work(cat: &mut Cat<'_>, watch: impl FnOnce(Arc<dyn AnySocket>)) -> Outcome {
    let job = cat.job;
    match (job.protocol, job.data.is_some()) {
        (Protocol::Push, _) => cat.open(Push::with_options, watch)?.send_all(),
        (Protocol::Pub, _) => cat.open(Pub::with_options, watch)?.send_all(),
        (Protocol::Pull, _) => cat.open(Pull::with_options, watch)?.print_all(),
        (Protocol::Sub, _) => cat.open(|options| subscribed(options, job), watch)?.print_all(),
        (Protocol::Bus, false) => cat.open(Bus::with_options, watch)?.print_all(),
        (Protocol::Pair, false) => cat.open(Pair::with_options, watch)?.print_all(),
        (Protocol::Pair1, false) => cat.open(Pair1::with_options, watch)?.print_all(),
        (Protocol::Bus, true) => cat.open(Bus::with_options, watch)?.converse(),
        (Protocol::Pair, true) => cat.open(Pair::with_options, watch)?.converse(),
        (Protocol::Pair1, true) => cat.open(Pair1::with_options, watch)?.converse(),
        (Protocol::Req, _) => cat.open(Req::with_options, watch)?.ask(),
        (Protocol::Surveyor, _) => cat.open(Surveyor::with_options, watch)?.ask(),
        (Protocol::Rep, _) => cat.open(Rep::with_options, watch)?.answer(),
        (Protocol::Respondent, _) => cat.open(Respondent::with_options, watch)?.answer(),
    }
}

/// A SUB whose topics are there before its first connection.
fn subscribed(options: Options, job: &Job) -> Result<Sub, OptionError> {
    let sub = Sub::with_options(options)?;
    for topic in &job.topics {
        sub.subscribe(topic).expect("nobody has closed it yet");
    }
    Ok(sub)
}

struct Cat<'a> {
    job: &'a Job,
    stop: &'a Stop,
    out: Printer,
    printed: u64,
    /// Over the socket, as soon as there is one.
    watch: Option<Watch>,
}

/// The same, with its socket.
struct Open<'a, 'b, R: Role> {
    cat: &'b mut Cat<'a>,
    socket: Socket<R>,
}

impl<'a> Cat<'a> {
    fn open<R: Role>(
        &mut self,
        make: impl FnOnce(Options) -> Result<Socket<R>, OptionError>,
        watch: impl FnOnce(Arc<dyn AnySocket>),
    ) -> Outcome<Open<'a, '_, R>> {
        let job = self.job;
        let socket = make(job.options.clone())?;
        let shared: Arc<dyn AnySocket> = Arc::new(socket.clone());
        close_on_signal(&shared, self.stop);
        watch(shared);
        let waiting = self.watch.insert(Watch::over(socket.events(), job.tells()));
        for address in &job.addresses {
            let endpoint = socket::open(&socket, address)?;
            waiting.add(endpoint.clone());
            if job.verbosity > 0 && job.dialect.tells_addresses() {
                let url = endpoint.url();
                self.out.tell(&match address {
                    Address::Bind(_) => format!("Listening at: {url}"),
                    Address::Connect(_) => format!("Connecting to: {url}"),
                    Address::Dial(_) => format!("Connected to: {url}"),
                })?;
            }
        }
        wait_for_peers(&socket, job.peers, job.options.settings().send_timeout)?;
        self.stop.rest(job.delay)?;
        Ok(Open { cat: self, socket })
    }

    fn print(&mut self, message: &Message) -> Outcome {
        self.printed += 1;
        self.out.print(message)
    }

    /// Ends when a time limit is over, which is a success if anything has come before.
    fn timed_out(&self, failure: Failure) -> Outcome {
        match failure {
            Failure::TimedOut(_) if self.printed > 0 => Ok(()),
            failure => Err(failure),
        }
    }

    /// Whether a timeout is a failure although it has answered before.
    fn must_be_asked(&self) -> bool {
        self.job.data.is_some() && self.job.dialect.must_be_asked()
    }

    /// Whether as many messages as wanted have come.
    fn has_enough(&self) -> bool {
        self.job.count > 0 && self.printed >= self.job.count
    }

    fn data(&self) -> Message {
        Message::from(self.job.data.as_deref().unwrap_or_default())
    }

    /// Calls `turn` as often as the job says, at its interval. `turn` gets the moment when the next
    /// one would be due, if there is an interval.
    fn repeat(&mut self, mut turn: impl FnMut(&mut Self, Option<Instant>) -> Outcome) -> Outcome {
        let sends = self.job.sends();
        for n in 1.. {
            let next = self.job.interval.and_then(|interval| Instant::now().checked_add(interval));
            turn(self, next)?;
            if sends == Some(n) {
                break;
            }
            if let Some(next) = next {
                self.stop.rest(next.saturating_duration_since(Instant::now()))?;
            }
        }
        Ok(())
    }
}

impl<R: Role> Open<'_, '_, R> {
    /// Waits until everything is handed over.
    fn drain(&self) -> Outcome {
        let limit = self.cat.job.options.settings().send_timeout.unwrap_or(Duration::MAX);
        match self.socket.drain(limit) {
            0 => Ok(()),
            _ if self.cat.stop.signal().is_some() => Err(Failure::Closed),
            left => Err(Failure::Late(format!("{left} messages were not handed over"))),
        }
    }
}

/// A socket that asks. `printed` is called with each answer until `deadline`.
trait Asks {
    fn ask(
        &self,
        question: Message,
        limit: Option<Duration>,
        answered: impl FnMut(Message) -> Outcome,
    ) -> Outcome;
}

impl<R: Sends> Open<'_, '_, R> {
    /// For PUSH and PUB.
    fn send_all(self) -> Outcome {
        let socket = &self.socket;
        self.cat.repeat(|cat, _| Ok(socket.send(cat.data())?))?;
        self.drain()
    }
}

impl<R: Receives<Item = Message>> Open<'_, '_, R> {
    /// For PULL and SUB, and for sockets that could send but have no data.
    fn print_all(self) -> Outcome {
        let limit = self.cat.job.options.settings().recv_timeout;
        while !self.cat.has_enough() {
            match recv(&self.socket, limit) {
                Ok(message) => self.cat.print(&message)?,
                Err(error) => return self.cat.timed_out(error.into()),
            }
        }
        Ok(())
    }
}

impl<R: Sends + Receives<Item = Message>> Open<'_, '_, R> {
    /// For BUS and PAIR with data: sends it, and prints what comes until it is time to send again.
    fn converse(self) -> Outcome {
        let socket = &self.socket;
        let sends = self.cat.job.sends();
        let mut sent = 0;
        self.cat.repeat(|cat, next| {
            socket.send(cat.data())?;
            sent += 1;
            // Without an interval there is nothing to wait for before the last message.
            if next.is_some() || sends == Some(sent) { listen(socket, cat, next) } else { Ok(()) }
        })?;
        self.drain()?;
        match self.cat.printed {
            0 => Err(Failure::TimedOut("nothing came".to_owned())),
            _ => Ok(()),
        }
    }
}

/// Prints what it receives, until `end` or until the receive timeout is over.
fn listen(
    socket: &Socket<impl Receives<Item = Message>>,
    cat: &mut Cat<'_>,
    end: Option<Instant>,
) -> Outcome {
    let timeout = cat.job.options.settings().recv_timeout;
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        match recv(socket, shorter(timeout, left)) {
            Ok(message) => cat.print(&message)?,
            Err(RecvError::TimedOut(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        // A peer may send without a pause.
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(());
        }
    }
}

fn shorter(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    a.into_iter().chain(b).min()
}

impl<R: Role> Open<'_, '_, R>
where
    Socket<R>: Asks,
{
    /// For REQ and SURVEYOR.
    fn ask(self) -> Outcome {
        let socket = &self.socket;
        let timeout = self.cat.job.options.settings().recv_timeout;
        self.cat.repeat(|cat, next| {
            let left = next.map(|next| next.saturating_duration_since(Instant::now()));
            let question = cat.data();
            match socket.ask(question, shorter(timeout, left), |answer| cat.print(&answer)) {
                Err(Failure::TimedOut(_)) => Ok(()),
                outcome => outcome,
            }
        })?;
        match self.cat.printed {
            0 => Err(Failure::TimedOut("no answer came".to_owned())),
            _ => Ok(()),
        }
    }
}

impl<R: Answers> Open<'_, '_, R> {
    /// For REP and RESPONDENT.
    fn answer(mut self) -> Outcome {
        while !self.cat.has_enough() {
            let answer = self.cat.job.data.is_some().then(|| self.cat.data());
            match self.answer_one(answer) {
                Ok(()) => (),
                Err(Failure::TimedOut(what)) if self.cat.must_be_asked() => {
                    return Err(Failure::Late(what));
                }
                Err(failure) => {
                    self.cat.timed_out(failure)?;
                    break;
                }
            }
        }
        self.drain()
    }

    /// Receives one question, prints it, and answers it if there is data.
    fn answer_one(&mut self, answer: Option<Message>) -> Outcome {
        let question = self.socket.recv()?;
        self.cat.print(&question)?;
        Ok(answer.map_or(Ok(()), |answer| question.reply(answer))?)
    }
}

/// Receives, within `limit` if there is one.
fn recv<R: Receives>(socket: &Socket<R>, limit: Option<Duration>) -> Result<R::Item, RecvError> {
    limit.map_or_else(|| socket.recv(), |limit| socket.recv_timeout(limit))
}

impl Asks for Req {
    fn ask(
        &self,
        question: Message,
        limit: Option<Duration>,
        mut answered: impl FnMut(Message) -> Outcome,
    ) -> Outcome {
        let reply: Result<Message, RequestError> = match limit {
            Some(limit) => self.request_timeout(question, limit),
            None => self.request(question),
        };
        answered(reply?)
    }
}

impl Asks for Surveyor {
    fn ask(
        &self,
        question: Message,
        limit: Option<Duration>,
        mut answered: impl FnMut(Message) -> Outcome,
    ) -> Outcome {
        let survey = self.survey(question)?;
        let end = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            let answer = match end {
                Some(end) => survey.recv_timeout(end.saturating_duration_since(Instant::now())),
                None => survey.recv(),
            };
            answered(answer?)?;
        }
    }
}
