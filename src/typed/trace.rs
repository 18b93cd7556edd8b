//! Traces: spans of requests, across processes. Only with the feature `tracing`.
//!
//! [`Requests`](super::Requests) open a span `request` for each request, and tell its trace id and its span id in
//! the message; [`Replies`](super::Replies) open a span `answer` for each query that follows from it. Both have the
//! ids as fields, `trace_id`, `span_id` and `parent_id`, in hexadecimal as in the W3C's `traceparent`, so that the
//! logs of several processes fit together. A request that is made while a query is being answered belongs to the
//! same trace:
//!
//! ```
//! # #[cfg(feature = "postcard")] {
//! use sinew::typed::trace::TraceContext;
//! use sinew::typed::{Replies, Requests};
//!
//! let (requests, replies) = (Requests::<u32, u32>::new(), Replies::<u32, u32>::new());
//! replies.bind("inproc://trace-doc").unwrap();
//! requests.connect("inproc://trace-doc").unwrap();
//! let trace = TraceContext::root();
//! std::thread::spawn(move || {
//!     let query = replies.recv().unwrap();
//!     let known = query.span().in_scope(|| TraceContext::current()).unwrap();
//!     assert_eq!(known.trace_id(), trace.trace_id());
//!     query.reply(&42)
//! });
//! assert_eq!(trace.in_scope(|| requests.request(&7)).unwrap(), 42);
//! # }
//! ```
//!
//! While nobody subscribes to the spans and no context is current, no ids are made and none are sent.

#![cfg_attr(
    not(any(test, fuzzing)),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing
    )
)]

use std::cell::Cell;
use std::fmt;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tracing::field::{Empty, display};
use tracing::{Instrument, Span, info_span};

use crate::api::{Observe, Req};
use crate::random;

/// Which trace a thread or task works for, and in which span: the W3C's trace context.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
}

/// What is told on the wire.
pub(super) type Wire = TraceContext;

/// The flag of a trace that is recorded.
const SAMPLED: u8 = 1;

thread_local! {
    static CURRENT: Cell<Option<TraceContext>> = const { Cell::new(None) };
    /// The state of the thread's random numbers; `None`: not begun.
    static RANDOM: Cell<Option<u64>> = const { Cell::new(None) };
}

/// A random number above zero. (SplitMix64, begun by the system.)
fn number() -> u64 {
    let begin = || u64::from(random::number()) << 32 | u64::from(random::number());
    let state = RANDOM.get().unwrap_or_else(begin).wrapping_add(0x9E37_79B9_7F4A_7C15);
    RANDOM.set(Some(state));
    let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (mixed ^ (mixed >> 31)).max(1)
}

impl TraceContext {
    /// A new trace, which is recorded.
    pub fn root() -> Self {
        let trace_id = u128::from(number()) << 64 | u128::from(number());
        let (trace_id, span_id) = (trace_id.to_be_bytes(), number().to_be_bytes());
        Self { trace_id, span_id, flags: SAMPLED }
    }

    /// Another span of the same trace.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span_id: number().to_be_bytes(), ..*self }
    }

    /// A context with these ids, such as those of another tracer. `flags` has the bits of `traceparent`.
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8], flags: u8) -> Self {
        Self { trace_id, span_id, flags }
    }

    /// The context of this thread, if there is one.
    pub fn current() -> Option<Self> {
        CURRENT.get()
    }

    /// The id of the trace.
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// The id of the span.
    pub fn span_id(&self) -> [u8; 8] {
        self.span_id
    }

    /// The flags, as in `traceparent`.
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// Makes it the current one of this thread while `act` runs.
    pub fn in_scope<R>(self, act: impl FnOnce() -> R) -> R {
        /// Puts the old one back, also after a panic.
        struct Restore(Option<TraceContext>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0);
            }
        }
        let _restore = Restore(CURRENT.replace(Some(self)));
        act()
    }

    pub(super) fn to_bytes(self) -> [u8; 25] {
        let mut bytes = [0; 25];
        bytes[..16].copy_from_slice(&self.trace_id);
        bytes[16..24].copy_from_slice(&self.span_id);
        bytes[24] = self.flags;
        bytes
    }

    pub(super) fn of_bytes(bytes: &[u8; 25]) -> Self {
        let mut context = Self { trace_id: [0; 16], span_id: [0; 8], flags: bytes[24] };
        context.trace_id.copy_from_slice(&bytes[..16]);
        context.span_id.copy_from_slice(&bytes[16..24]);
        context
    }
}

/// Writes it as `traceparent` does: `00-TRACE-SPAN-FLAGS`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", Hex(&self.trace_id), Hex(&self.span_id), self.flags)
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Gives a new span its context, unless nobody wants it. The span has the three fields, which are empty.
fn opened(parent: Option<TraceContext>, span: Span) -> (Span, Option<TraceContext>) {
    if span.is_disabled() && parent.is_none() {
        return (span, None);
    }
    let context = parent.map_or_else(TraceContext::root, |parent| parent.child());
    span.record("trace_id", display(Hex(&context.trace_id)));
    span.record("span_id", display(Hex(&context.span_id)));
    if let Some(parent) = parent {
        span.record("parent_id", display(Hex(&parent.span_id)));
    }
    (span, Some(context))
}

/// A request under way.
pub(super) struct Asking {
    span: Span,
    context: Option<TraceContext>,
}

impl Asking {
    pub(super) fn begin(req: &Req) -> Self {
        let span = info_span!(
            target: "sinew",
            "request",
            socket = req.name(),
            trace_id = Empty,
            span_id = Empty,
            parent_id = Empty,
        );
        let (span, context) = opened(TraceContext::current(), span);
        Self { span, context }
    }

    pub(super) fn wire(&self) -> Option<Wire> {
        self.context
    }

    pub(super) fn during<R>(&self, act: impl FnOnce() -> R) -> R {
        self.span.in_scope(act)
    }

    pub(super) fn during_async<F: Future>(
        self,
        future: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        future.instrument(self.span)
    }
}

/// The span in which a query is answered. It ends when the query does.
pub struct Answering {
    span: Span,
    context: Option<TraceContext>,
}

impl Answering {
    pub(super) fn begin(parent: Option<Wire>, socket: &dyn Observe) -> Self {
        let span = info_span!(
            target: "sinew",
            "answer",
            socket = socket.name(),
            trace_id = Empty,
            span_id = Empty,
            parent_id = Empty,
        );
        let (span, context) = opened(parent, span);
        Self { span, context }
    }

    /// The span, for fields and events of the program's own.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Its context, if whoever asked has told one, or if anybody subscribes to spans.
    pub fn context(&self) -> Option<TraceContext> {
        self.context
    }

    /// Works in the span while `act` runs: requests that are made there belong to the trace.
    pub fn in_scope<R>(&self, act: impl FnOnce() -> R) -> R {
        self.span.in_scope(|| match self.context {
            Some(context) => context.in_scope(act),
            None => act(),
        })
    }

    /// Works in the span whenever the future is polled.
    pub fn instrument<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        let instrumented = future.instrument(self.span.clone());
        InContext { context: self.context, future: Box::pin(instrumented) }
    }
}

impl fmt::Debug for Answering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answering").field("context", &self.context).finish_non_exhaustive()
    }
}

/// A future that is polled in a context.
struct InContext<F> {
    context: Option<TraceContext>,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for InContext<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let context = self.context;
        let future = pin!(&mut self.future);
        match context {
            Some(context) => context.in_scope(|| future.poll(cx)),
            None => future.poll(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_the_same_after_the_wire() {
        let context = TraceContext::root();
        assert_eq!(TraceContext::of_bytes(&context.to_bytes()), context);
        let text = context.to_string();
        assert!(text.starts_with("00-") && text.ends_with("-01") && text.len() == 55, "{text}");
        let child = context.child();
        assert_eq!(child.trace_id(), context.trace_id());
        assert_ne!(child.span_id(), context.span_id());
    }

    #[test]
    fn a_scope_ends_also_by_a_panic() {
        let context = TraceContext::root();
        let _ = std::panic::catch_unwind(|| context.in_scope(|| panic!("on purpose")));
        assert_eq!(TraceContext::current(), None);
        context.in_scope(|| assert_eq!(TraceContext::current(), Some(context)));
    }
}
