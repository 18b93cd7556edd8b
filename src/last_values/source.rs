//! The source: a PUB that tells of changes, and a REP that tells what there is.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::time::Duration;

use super::wire::{Answer, BEACON, CatchUp, Place, beacon, before_value};
use crate::api::{Pub, Rep};
use crate::error::{BindError, RecvError, SendError};
use crate::message::Message;
use crate::pipe::endpoint::Endpoint;
use crate::random;
use crate::sync::{Arc, Mutex, Rank};
use crate::threads::{self, Close, Running};
use crate::time;
use crate::typed::{Codec, CodecError, Error, Format, Postcard};

/// How often the last number is told.
const BEACONS: Duration = Duration::from_secs(1);

/// A publisher that keeps the newest value of each topic, for [`Cache`](super::Cache)s that start late or miss
/// something.
///
/// A handle: cloning it makes another of the same source, and dropping the last one closes it. A thread works for
/// it. It keeps the bytes of one message for each topic that was ever set.
///
/// ```
/// # #[cfg(feature = "postcard")] {
/// let source = sinew::last_values::Source::<f64>::new().unwrap();
/// source.bind("tcp://127.0.0.1:0", "tcp://127.0.0.1:0").unwrap();
/// source.set("price.tin", &25.5).unwrap();
/// source.set("price.tin", &25.6).unwrap();
/// assert_eq!((source.topics(), source.number()), (1, 2));
/// # }
/// ```
pub struct Source<T, C = Postcard> {
    shared: Arc<Running<Shared>>,
    format: Format<T, C>,
}

struct Shared {
    publisher: Pub,
    rep: Rep,
    /// What tells this source from one before it at the same place.
    epoch: u64,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// The number of the last change.
    last: u64,
    /// The newest update of each topic, by its number.
    updates: BTreeMap<u64, Message>,
    numbers: HashMap<String, u64>,
}

impl<T, C: Codec<T>> Source<T, C> {
    /// Makes one with sockets of its own, with the defaults.
    ///
    /// # Errors
    ///
    /// The system has no thread left.
    pub fn new() -> io::Result<Self> {
        Self::with(Pub::new(), Rep::new(), Format::new())
    }

    /// Makes one of two sockets, with the format of its values. Nobody else is to use them.
    ///
    /// # Errors
    ///
    /// The system has no thread left.
    pub fn with(publisher: Pub, rep: Rep, format: Format<T, C>) -> io::Result<Self> {
        let epoch = u64::from(random::number()) << 32 | u64::from(random::number()) | 1;
        let kept = Mutex::new(Rank::LastValues, Kept::default());
        let shared = Arc::new(Shared { publisher, rep, epoch, kept });
        let working = Arc::clone(&shared);
        let shared = Arc::new(Running(shared));
        threads::spawn("sinew-last-values", move || working.keep_answering())?;
        Ok(Self { shared, format })
    }

    /// Sets the value of a topic, and publishes it. Never waits: who has no room for it asks for it.
    ///
    /// A topic is a text without a zero byte that does not begin with U+0001.
    ///
    /// # Errors
    ///
    /// [`Error::Encode`], also for such a topic; `Closed` or `TooLarge`. Nothing changes.
    pub fn set(&self, topic: &str, value: &T) -> Result<(), Error<SendError>> {
        if topic.contains('\0') || topic.as_bytes().starts_with(BEACON) {
            return Err(Error::Encode(CodecError::new(
                "a topic cannot have this zero byte or U+0001",
            )));
        }
        let Shared { publisher, epoch, kept, .. } = &**self.shared;
        // Under the lock, so that numbers go out in their order.
        let kept = &mut *kept.lock();
        let before = kept.numbers.get(topic).copied().unwrap_or(0);
        let place = Place { epoch: *epoch, number: kept.last + 1, before };
        let update = self.format.write_value(&before_value(topic, place), value);
        let update = update.map_err(Error::Encode)?;
        match publisher.try_send(&update) {
            Ok(()) | Err(SendError::WouldBlock(_)) => {}
            Err(error) => return Err(Error::Socket(error)),
        }
        kept.last = place.number;
        kept.updates.remove(&before);
        kept.updates.insert(place.number, update);
        match kept.numbers.get_mut(topic) {
            Some(number) => *number = place.number,
            None => {
                kept.numbers.insert(topic.to_owned(), place.number);
            }
        }
        Ok(())
    }
}

impl<T, C> Source<T, C> {
    /// Binds both sockets: where updates are published, and where requests are answered.
    ///
    /// # Errors
    ///
    /// As [`Socket::bind`](crate::Socket::bind). If the second fails, the first stays bound.
    pub fn bind(
        &self,
        updates: impl AsRef<str>,
        requests: impl AsRef<str>,
    ) -> Result<(Endpoint, Endpoint), BindError> {
        Ok((self.publisher().bind(updates)?, self.rep().bind(requests)?))
    }

    /// How many topics have a value.
    pub fn topics(&self) -> usize {
        self.shared.kept.lock().numbers.len()
    }

    /// The number of the last change; 0 before the first.
    pub fn number(&self) -> u64 {
        self.shared.kept.lock().last
    }

    /// The socket that publishes, to be inspected, bound and connected.
    pub fn publisher(&self) -> &Pub {
        &self.shared.publisher
    }

    /// The socket that answers, to be inspected, bound and connected.
    pub fn rep(&self) -> &Rep {
        &self.shared.rep
    }

    /// Closes both sockets, for all handles. Dropping the last one does the same. Does nothing if they are closed.
    pub fn close(&self) {
        self.shared.close();
    }
}

impl Close for Shared {
    fn close(&self) {
        // Whoever has closed one before has had a reason to.
        let _ = self.publisher.close();
        let _ = self.rep.close();
    }
}

impl Shared {
    /// Answers, and tells the last number now and then, until the socket is closed.
    fn keep_answering(&self) {
        let mut next = time::now() + BEACONS;
        loop {
            match self.rep.recv_timeout(next.saturating_duration_since(time::now())) {
                Ok(request) => {
                    let answer = self.answer(&request);
                    // It fails when the socket is closed, which ends the loop.
                    let _ = request.reply(answer);
                }
                Err(RecvError::TimedOut(_)) => {}
                Err(_) => return,
            }
            if time::now() >= next {
                next = time::now() + BEACONS;
                let kept = self.kept.lock();
                // Whoever has no room hears the next one.
                let _ = self.publisher.try_send(beacon(self.epoch, kept.last));
            }
        }
    }

    fn answer(&self, request: &[u8]) -> Vec<u8> {
        let Some(request) = CatchUp::of(request) else { return vec![0] };
        let since = if request.epoch == self.epoch { request.since } else { 0 };
        let kept = self.kept.lock();
        let is_wanted =
            |update: &Message| request.prefixes.iter().any(|prefix| update.starts_with(prefix));
        let newer = kept.updates.range(since.saturating_add(1)..);
        let wanted = newer.filter(|(_, update)| is_wanted(update));
        Answer::write(self.epoch, kept.last, wanted.map(|(number, update)| (*number, &**update)))
    }
}

impl<T, C> Clone for Source<T, C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), format: self.format.clone() }
    }
}

impl<T, C> fmt::Debug for Source<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("topics", &self.topics())
            .field("number", &self.number())
            .finish_non_exhaustive()
    }
}
