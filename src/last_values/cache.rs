//! The cache: a SUB that follows, and a REQ that asks for what was missed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use super::wire::{Answer, BEACON, CatchUp, Heard, MAX_PREFIXES, Place};
use crate::api::{Req, Requesting, Sub};
use crate::error::{Closed, ConnectError, RecvError, Situation};
use crate::message::Message;
use crate::options::{Conflate, Options};
use crate::parker::Parker;
use crate::sync::Arc;
use crate::time;
use crate::typed::{Codec, Format, Postcard};

/// How many topics are kept.
const MAX_TOPICS: usize = 65_536;

/// A value has changed; it is in the cache now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Update {
    /// The topic.
    pub topic: String,
    /// The number of the change.
    pub number: u64,
    /// Whether it has come by asking: it was set before the cache began, or was missed.
    pub filled: bool,
}

/// The newest value of each topic that a [`Source`](super::Source) has, as far as the program has received it.
///
/// It receives and asks while the program waits in one of the forms of `recv`; between them, what is published waits
/// in the queue of its SUB. A program that sleeps longer than that finds the newest value of each topic in the queue,
/// or asks for it.
///
/// The calls take `&mut self`, since they change what [`value`](Self::value) borrows.
///
/// ```
/// # #[cfg(feature = "postcard")] {
/// use sinew::last_values::{Cache, Source};
///
/// let source = Source::<u32>::new().unwrap();
/// source.bind("inproc://cache-doc-updates", "inproc://cache-doc-requests").unwrap();
/// for n in 0..100 {
///     source.set(if n % 2 == 0 { "even" } else { "odd" }, &n).unwrap();
/// }
/// let mut cache = Cache::<u32>::new();
/// cache.subscribe("").unwrap();
/// cache.connect("inproc://cache-doc-updates", "inproc://cache-doc-requests").unwrap();
/// cache.recv().unwrap();
/// cache.recv().unwrap();
/// assert_eq!((cache.value("even"), cache.value("odd")), (Some(&98), Some(&99)));
/// # }
/// ```
pub struct Cache<T, C = Postcard> {
    sub: Sub,
    req: Req,
    format: Format<T, C>,
    prefixes: BTreeSet<String>,
    values: BTreeMap<String, Kept<T>>,
    /// What has changed and was not yet returned.
    unread: VecDeque<Update>,
    epoch: u64,
    /// Everything up to this number is known.
    known: u64,
    /// Something was missed.
    is_wanting: bool,
    asking: Option<Requesting>,
    receiving: Option<Receiving>,
    heard: Option<Instant>,
    missed: u64,
    ignored: u64,
}

/// A receive under way.
type Receiving = Pin<Box<dyn Future<Output = Result<Message, RecvError>> + Send>>;

struct Kept<T> {
    value: T,
    /// The number of its change; 0: of another epoch.
    number: u64,
}

impl<T, C: Codec<T>> Cache<T, C> {
    /// Makes one with sockets of its own, with the defaults. A slow program gets the newest value of each topic.
    pub fn new() -> Self {
        let options = Options::new().conflate(Conflate::Until(0));
        let sub = Sub::with_options(options).expect("a SUB conflates");
        Self::with(sub, Req::new(), Format::new())
    }

    /// Makes one of two sockets, with the format of its values: those of a
    /// [`Resolver`](crate::discovery::Resolver), say. Nobody else is to use them.
    pub fn with(sub: Sub, req: Req, format: Format<T, C>) -> Self {
        Self {
            sub,
            req,
            format,
            prefixes: BTreeSet::new(),
            values: BTreeMap::new(),
            unread: VecDeque::new(),
            epoch: 0,
            known: 0,
            is_wanting: true,
            asking: None,
            receiving: None,
            heard: None,
            missed: 0,
            ignored: 0,
        }
    }

    /// Connects both sockets to a source, in the background.
    ///
    /// # Errors
    ///
    /// As [`Socket::connect`](crate::Socket::connect).
    pub fn connect(
        &self,
        updates: impl AsRef<str>,
        requests: impl AsRef<str>,
    ) -> Result<(), ConnectError> {
        self.sub.connect(updates)?;
        self.req.connect(requests)?;
        Ok(())
    }

    /// Subscribes to all topics that begin like this, and asks for their values. At most 64 prefixes count.
    ///
    /// # Errors
    ///
    /// [`Closed`].
    pub fn subscribe(&mut self, prefix: &str) -> Result<(), Closed> {
        self.sub.subscribe(prefix)?;
        self.sub.subscribe([BEACON, &[0]].concat())?;
        if self.prefixes.len() < MAX_PREFIXES && self.prefixes.insert(prefix.to_owned()) {
            self.begin_anew();
        }
        Ok(())
    }

    /// Waits for the next change, for as long as it takes.
    ///
    /// # Errors
    ///
    /// `Closed`.
    pub fn recv(&mut self) -> Result<Update, RecvError> {
        self.recv_until(None, Duration::MAX)
    }

    /// Waits for the next change, up to `timeout`. Zero: checks once; `Duration::MAX`: forever.
    ///
    /// # Errors
    ///
    /// `TimedOut` or `Closed`.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Update, RecvError> {
        self.recv_until(time::now().checked_add(timeout), timeout)
    }

    /// Returns the next change if there is one now.
    ///
    /// # Errors
    ///
    /// `WouldBlock` or `Closed`.
    pub fn try_recv(&mut self) -> Result<Update, RecvError> {
        match self.poll_recv(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(update) => update,
            Poll::Pending => Err(RecvError::WouldBlock),
        }
    }

    /// Waits for the next change as a task.
    ///
    /// Cancel-safe: a future that is dropped before it is ready has taken no change.
    ///
    /// # Errors
    ///
    /// `Closed`.
    pub fn recv_async(&mut self) -> impl Future<Output = Result<Update, RecvError>> + '_ {
        poll_fn(|cx| self.poll_recv(cx))
    }

    /// The value of a topic.
    pub fn value(&self, topic: &str) -> Option<&T> {
        self.values.get(topic).map(|kept| &kept.value)
    }

    /// All values, by topic.
    pub fn values(&self) -> impl Iterator<Item = (&str, &T)> {
        self.values.iter().map(|(topic, kept)| (&**topic, &kept.value))
    }

    /// When something was heard of the source the last time, a beacon included. If that is more than some seconds
    /// ago though the program has waited, there is no source any more.
    pub fn last_heard(&self) -> Option<Instant> {
        self.heard
    }

    /// How many gaps were seen: updates whose predecessor in their topic was not.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// How many messages were ignored: they could not be read, or the cache is full.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// The socket that follows, to be inspected.
    pub fn sub(&self) -> &Sub {
        &self.sub
    }

    /// The socket that asks, to be inspected.
    pub fn req(&self) -> &Req {
        &self.req
    }

    fn recv_until(&mut self, until: Option<Instant>, waits: Duration) -> Result<Update, RecvError> {
        let parker = Parker::own();
        let waker = Waker::from(Arc::new(Unpark(Arc::clone(&parker))));
        loop {
            if let Poll::Ready(update) = self.poll_recv(&mut Context::from_waker(&waker)) {
                return update;
            }
            let left = until.map(|until| until.saturating_duration_since(time::now()));
            if left == Some(Duration::ZERO) {
                let situation = Situation::of_events(self.sub.name(), waits);
                return Err(RecvError::TimedOut(situation));
            }
            parker.park(left);
        }
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Update, RecvError>> {
        loop {
            if let Some(update) = self.unread.pop_front() {
                return Poll::Ready(Ok(update));
            }
            let mut has_worked = false;
            if self.is_wanting && self.asking.is_none() && !self.prefixes.is_empty() {
                let prefixes = self.prefixes.iter().map(String::as_bytes).collect();
                let request = CatchUp { epoch: self.epoch, since: self.known, prefixes };
                self.asking = Some(self.req.request_async(request.to_bytes()));
            }
            if let Some(asking) = &mut self.asking
                && let Poll::Ready(answer) = Pin::new(asking).poll(cx)
            {
                self.asking = None;
                // If it has failed, the next beacon asks again.
                self.is_wanting = false;
                if let Ok(answer) = answer {
                    self.take_answer(&answer);
                }
                has_worked = true;
            }
            let receiving = self.receiving.get_or_insert_with(|| Box::pin(self.sub.recv_async()));
            if let Poll::Ready(received) = receiving.as_mut().poll(cx) {
                self.receiving = None;
                self.hear(&received?);
                has_worked = true;
            }
            if !has_worked {
                return Poll::Pending;
            }
        }
    }

    /// Takes what was published.
    fn hear(&mut self, message: &[u8]) {
        match Heard::of(message) {
            Some(Heard::Beacon { epoch, last }) => {
                self.heard = Some(time::now());
                self.follow(epoch);
                self.is_wanting |= last > self.known;
            }
            Some(Heard::Update { topic, place, value }) => {
                self.heard = Some(time::now());
                self.follow(place.epoch);
                self.take(topic, place, value, false);
            }
            None => self.ignored += 1,
        }
    }

    fn take_answer(&mut self, message: &[u8]) {
        let Some(answer) = Answer::of(message) else {
            self.ignored += 1;
            return;
        };
        self.heard = Some(time::now());
        self.follow(answer.epoch);
        for update in answer.updates {
            match Heard::of(update) {
                Some(Heard::Update { topic, place, value }) if place.epoch == answer.epoch => {
                    self.take(topic, place, value, true);
                }
                _ => self.ignored += 1,
            }
        }
        // A source that tells nothing and has more to tell is none.
        let has_told = answer.told > self.known;
        self.known = self.known.max(answer.told);
        self.is_wanting = answer.has_more && has_told;
    }

    /// Begins anew if this is another source than before.
    fn follow(&mut self, epoch: u64) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.begin_anew();
            self.values.values_mut().for_each(|kept| kept.number = 0);
        }
    }

    fn begin_anew(&mut self) {
        self.known = 0;
        self.is_wanting = true;
        self.asking = None;
    }

    fn take(&mut self, topic: &str, place: Place, value: &[u8], filled: bool) {
        let is_next = !filled && place.number == self.known.saturating_add(1);
        if is_next {
            self.known = place.number;
        }
        let is_full = self.values.len() >= MAX_TOPICS;
        let kept = self.values.get_mut(topic);
        let number = kept.as_ref().map_or(0, |kept| kept.number);
        if place.number <= number {
            return;
        }
        if number != 0 && number < place.before && !filled {
            self.missed += 1;
            self.is_wanting = true;
        }
        let Ok(value) = self.format.read_value(value) else {
            self.ignored += 1;
            return;
        };
        match kept {
            Some(kept) => *kept = Kept { value, number: place.number },
            None if is_full => {
                self.ignored += 1;
                return;
            }
            None => {
                self.values.insert(topic.to_owned(), Kept { value, number: place.number });
            }
        }
        self.unread.push_back(Update { topic: topic.to_owned(), number: place.number, filled });
    }
}

impl<T, C: Codec<T>> Default for Cache<T, C> {
    fn default() -> Self {
        Self::new()
    }
}

/// Wakes the thread that waits.
struct Unpark(Arc<Parker>);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl<T, C> fmt::Debug for Cache<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("topics", &self.values.len())
            .field("known", &self.known)
            .field("is_wanting", &self.is_wanting)
            .finish_non_exhaustive()
    }
}
