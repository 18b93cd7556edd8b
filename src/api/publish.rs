//! PUB as a program sees it. Has only the calls that sockets share.

use super::prelude::*;

/// PUB: sends each message to all subscribers, which filter it by topic.
///
/// A send never waits, and succeeds without a subscriber. A subscriber whose queue is full loses the oldest
/// message in it, which is counted. [`Options::overflow`] has other choices: with
/// [`Overflow::Wait`](crate::Overflow::Wait) a send waits until every subscriber has room. With
/// [`Options::conflate`] a slow subscriber gets the newest message of each key. A subscriber that connects
/// later misses what was sent before.
///
/// The rules in full: [semantics, 8.2](crate::spec::semantics#82-pub).
///
/// ```
/// use std::time::Duration;
///
/// let (publisher, subscriber) = (sinew::Pub::new(), sinew::Sub::new());
/// publisher.bind("inproc://pub-doc")?;
/// subscriber.subscribe("weather.")?;
/// subscriber.connect("inproc://pub-doc")?;
/// publisher.wait_for_peers(1, Duration::from_secs(1))?;
/// publisher.send("traffic.quiet")?;
/// publisher.send("weather.sunny")?;
/// assert_eq!(subscriber.recv()?, "weather.sunny");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It cannot receive, and has no contexts:
///
/// ```compile_fail,E0277
/// # // C152, C192.
/// sinew::Pub::new().recv();
/// ```
/// ```compile_fail,E0599
/// sinew::Pub::new().context();
/// ```
#[doc(alias("NN_PUB", "nng_pub0_open", "ZMQ_PUB", "publisher"))]
pub type Pub = Socket<role::Pub, CanSend, NoRecv>;

impl Configured for protocol::Pub {
    fn with_options(options: &Options) -> Self {
        let overflow = options.overflow_of(&Self::KIND);
        Self::new(overflow, options.conflating())
    }

    fn follow(&mut self, options: &Options, port: &mut SocketPort<'_>) {
        self.set_conflating(options.conflating(), port);
        self.set_overflow(options.overflow_of(&Self::KIND), port);
    }
}
