//! Spans of requests, as a subscriber of tracing sees them on both sides.
//!
//! A process of its own, and a test at a time: tracing keeps for the whole process which spans are wanted, and forgets
//! to ask a subscriber that comes while another thread meets a span for the first time.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use sinew::typed::trace::TraceContext;
use sinew::typed::{Replies, Requests};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

/// Held by each test.
static ALONE: Mutex<()> = Mutex::new(());

/// The fields of each span, with its name as the field `name`.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<BTreeMap<String, String>>>>);

impl Recorder {
    fn span(&self, name: &str) -> BTreeMap<String, String> {
        let spans = self.0.lock().unwrap();
        spans.iter().find(|span| span["name"] == name).expect("it was opened").clone()
    }
}

struct Into<'a>(&'a mut BTreeMap<String, String>);

impl Visit for Into<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

impl Subscriber for Recorder {
    /// Asks anew for each span, so that threads without a subscriber have none.
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sinew"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = BTreeMap::from([("name".to_owned(), span.metadata().name().to_owned())]);
        span.record(&mut Into(&mut fields));
        let mut spans = self.0.lock().unwrap();
        spans.push(fields);
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let at = usize::try_from(span.into_u64()).unwrap() - 1;
        values.record(&mut Into(&mut self.0.lock().unwrap()[at]));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// One request, all of it in this thread. Returns the context in which it was answered.
fn ask(at: &str) -> Option<TraceContext> {
    let (requests, replies) = (Requests::<u32, u32>::new(), Replies::<u32, u32>::new());
    replies.bind(at).unwrap();
    requests.connect(at).unwrap();
    let mut asking = pin!(requests.request_async(&7));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(asking.as_mut().poll(&mut cx).is_pending());
    let query = replies.recv().unwrap();
    let known = query.span().in_scope(TraceContext::current);
    assert_eq!(known, query.span().context());
    query.reply(&8).unwrap();
    assert!(matches!(asking.as_mut().poll(&mut cx), Poll::Ready(Ok(8))));
    known
}

#[test]
fn the_span_of_an_answer_follows_from_that_of_the_request() {
    let _alone = ALONE.lock();
    let recorder = Recorder::default();
    let known = tracing::subscriber::with_default(recorder.clone(), || ask("inproc://traces"));
    let (request, answer) = (recorder.span("request"), recorder.span("answer"));
    assert_eq!(request["trace_id"], answer["trace_id"]);
    assert_eq!(request["span_id"], answer["parent_id"]);
    assert_eq!(request.get("parent_id"), None);
    assert!(request["socket"].contains("req-") && answer["socket"].contains("rep-"));
    let known = known.expect("a context").to_string();
    assert_eq!(known, format!("00-{}-{}-01", answer["trace_id"], answer["span_id"]));
}

#[test]
fn a_request_belongs_to_the_trace_in_which_it_is_made() {
    let _alone = ALONE.lock();
    assert_eq!(ask("inproc://no-trace"), None, "nobody wants one");
    let trace = TraceContext::root();
    let known = trace.in_scope(|| ask("inproc://in-trace")).expect("a context");
    assert_eq!(known.trace_id(), trace.trace_id());
    assert_ne!(known.span_id(), trace.span_id());
}
