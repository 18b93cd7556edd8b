//! A collector: what sockets have counted, for a program that keeps its metrics in a registry of `prometheus-client`.

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use std::fmt;

use super::{Escaped, Family, Kind, Labels, Observe, Out, Value, write};

/// What sockets have counted, for a registry of `prometheus-client`. Only with the feature `prometheus-client`.
///
/// The metrics are those of the [page](super::Metrics), with the same names; what is a state set there is a gauge here.
/// It keeps a handle of each socket, and so keeps the sockets open.
///
/// ```
/// use prometheus_client::registry::Registry;
/// use sinew::metrics::Collector;
///
/// let (push, pull) = (sinew::Push::new(), sinew::Pull::new());
/// let mut registry = Registry::default();
/// registry.register_collector(Box::new(Collector::new().socket(push).socket(pull)));
/// let mut page = String::new();
/// prometheus_client::encoding::text::encode(&mut page, &registry)?;
/// assert!(page.contains("sinew_messages_sent_total{socket=\"push-"));
/// # Ok::<(), std::fmt::Error>(())
/// ```
#[derive(Debug, Default)]
#[must_use = "it does nothing until it is registered"]
pub struct Collector {
    sockets: Vec<Box<dyn Observe>>,
    per_peer: bool,
}

impl Collector {
    /// Makes one without sockets.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a socket.
    pub fn socket(mut self, socket: impl Observe + 'static) -> Self {
        self.sockets.push(Box::new(socket));
        self
    }

    /// Adds sockets.
    pub fn sockets(mut self, sockets: impl IntoIterator<Item = Box<dyn Observe>>) -> Self {
        self.sockets.extend(sockets);
        self
    }

    /// Whether each connection has metrics of its own. Default: no. See
    /// [`Metrics::per_peer`](super::Metrics::per_peer).
    pub fn per_peer(mut self, yes: bool) -> Self {
        self.per_peer = yes;
        self
    }
}

impl prometheus_client::collector::Collector for Collector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let snapshots: Vec<_> = self.sockets.iter().map(|socket| socket.snapshot()).collect();
        let mut gathered = Gathered::default();
        write(&mut gathered, &snapshots, self.per_peer)?;
        for metric in &gathered.0 {
            let (kind, help) = (metric.kind, &metric.help);
            let mut family = encoder.encode_descriptor(&metric.name, help, None, kind)?;
            for (labels, value) in &metric.samples {
                let labels = &labels.0;
                let mut sample = family.encode_family(labels)?;
                match (kind, value) {
                    (MetricType::Counter, Value::Count(count)) => {
                        sample.encode_counter(count, None::<&Exemplar<NoLabelSet, u64>>)?;
                    }
                    (_, Value::Count(count)) => {
                        sample.encode_gauge(&i64::try_from(*count).unwrap_or(i64::MAX))?;
                    }
                    (_, Value::Seconds(seconds)) => sample.encode_gauge(seconds)?,
                }
            }
        }
        Ok(())
    }
}

/// Metrics with all their samples: the encoder takes the next one when one is complete.
#[derive(Default)]
struct Gathered(Vec<Metric>);

struct Metric {
    name: String,
    help: String,
    kind: MetricType,
    samples: Vec<(Labels, Value)>,
}

impl Out for Gathered {
    fn family(&mut self, family: &Family<'_>) -> fmt::Result {
        let kind = match family.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge | Kind::StateSet => MetricType::Gauge,
        };
        let help = Escaped(family.help.trim()).to_string();
        self.0.push(Metric { name: family.name.to_owned(), help, kind, samples: Vec::new() });
        Ok(())
    }

    fn sample(&mut self, _: &Family<'_>, labels: &Labels, value: Value) -> fmt::Result {
        let metric = self.0.last_mut().ok_or(fmt::Error)?;
        // The encoder of text writes values as they are.
        let escaped = |(name, value): &(&'static str, String)| (*name, Escaped(value).to_string());
        metric.samples.push((Labels(labels.0.iter().map(escaped).collect()), value));
        Ok(())
    }
}
