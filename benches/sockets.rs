//! How fast whole sockets are, over tcp, ipc and inproc: from the call that sends to the call that
//! receives, all in one process.
//!
//! Bodies are shared, so that neither allocating nor filling them is measured. Nothing may be lost: a
//! bench that misses a message fails after [`LATE`].

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group,
    criterion_main,
};
use sinew::{Options, Overflow, Pub, Pull, Push, Rep, Req, Respondent, Sub, Surveyor};

const TRANSPORTS: [&str; 3] = ["tcp", "ipc", "inproc"];
/// How many publish to or push for one.
const MANY: usize = 8;
const RESPONDENTS: usize = 10;
/// When a message is taken for lost.
const LATE: Duration = Duration::from_secs(20);

/// An address that nobody else uses. The file behind it, if there is one, goes with it.
struct Address {
    url: String,
    file: Option<PathBuf>,
}

impl Address {
    fn of(transport: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let file = std::env::temp_dir().join(format!("sinew-bench-{name}"));
        match transport {
            "tcp" => Self { url: "tcp://127.0.0.1:0".to_owned(), file: None },
            "ipc" => Self { url: format!("ipc://{}", file.display()), file: Some(file) },
            other => Self { url: format!("{other}://{name}"), file: None },
        }
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        self.file.iter().for_each(|file| drop(std::fs::remove_file(file)));
    }
}

/// Binds one socket, connects others to it, and waits until all know; yields the address.
macro_rules! join {
    ($transport:expr, $hub:expr, $others:expr) => {{
        let address = Address::of($transport);
        let url = $hub.bind(&address.url).expect("the address is free").url();
        for other in $others {
            other.connect(&url).expect("the address is good");
            other.wait_for_peers(1, LATE).expect("the hub is there");
        }
        $hub.wait_for_peers($others.len(), LATE).expect("all have connected");
        address
    }};
}

fn patient() -> Options {
    Options::new().send_timeout(LATE).recv_timeout(LATE).max_recv_size(None)
}

/// Bytes and messages: as many as `receivers` get of one that is sent.
fn amount(len: usize, receivers: usize) -> Throughput {
    let elements = receivers as u64;
    Throughput::ElementsAndBytes { elements, bytes: len as u64 * elements }
}

/// How long it takes until all that the threads send has come.
fn timed(senders: Vec<impl FnOnce() + Send>, receivers: Vec<impl FnOnce() + Send>) -> Duration {
    let start = Instant::now();
    thread::scope(|scope| {
        receivers.into_iter().for_each(|receive| drop(scope.spawn(receive)));
        senders.into_iter().for_each(|send| drop(scope.spawn(send)));
    });
    start.elapsed()
}

fn push_pull(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sockets/PUSH to PULL");
    group.sampling_mode(SamplingMode::Flat);
    for transport in TRANSPORTS {
        for len in [8, 64, 1 << 10, 8 << 10, 64 << 10, 1 << 20] {
            group.throughput(amount(len, 1));
            pushed(&mut group, transport, len, 1);
        }
    }
}

fn fan_in(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sockets/8 PUSH to PULL");
    group.sampling_mode(SamplingMode::Flat);
    for transport in TRANSPORTS {
        group.throughput(amount(64, 1));
        pushed(&mut group, transport, 64, MANY);
    }
}

/// So many push what one pulls.
fn pushed(group: &mut BenchmarkGroup<'_, WallTime>, transport: &str, len: usize, pushers: usize) {
    let pull = Pull::with_options(patient()).expect("the options are possible");
    let pushers: Vec<_> = (0..pushers)
        .map(|_| Push::with_options(patient()).expect("the options are possible"))
        .collect();
    let _address = join!(transport, pull, &pushers);
    let body = Bytes::from(vec![7; len]);
    group.bench_function(BenchmarkId::new(transport, len), |bencher| {
        bencher.iter_custom(|count| {
            let share = count.div_ceil(pushers.len() as u64);
            let push = |push: &Push| {
                (0..share).for_each(|_| push.send(body.clone()).expect("there is room at last"));
            };
            let senders = pushers.iter().map(|pusher| move || push(pusher)).collect();
            let all = share * pushers.len() as u64;
            let receive = || (0..all).for_each(|_| drop(pull.recv().expect("all are sent")));
            // All push the same, so it may be more than what is to be timed.
            timed(senders, vec![receive]).mul_f64(count as f64 / all as f64)
        });
    });
}

fn round_trips(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sockets/REQ to REP and back");
    for transport in TRANSPORTS {
        for len in [64, 1 << 10] {
            let (rep, req) = (Rep::new(), Req::new());
            let _address = join!(transport, rep, [&req]);
            let answering = answer(&rep);
            let body = Bytes::from(vec![7; len]);
            group.bench_function(BenchmarkId::new(transport, len), |bencher| {
                bencher.iter(|| req.request_timeout(body.clone(), LATE).expect("it is answered"));
            });
            rep.close().expect("it is open");
            answering.join().expect("it ends when the socket is closed");
        }
    }
}

/// Answers all requests with what they ask, until the socket is closed.
fn answer(rep: &Rep) -> JoinHandle<()> {
    let rep = rep.clone();
    thread::spawn(move || {
        while let Ok(request) = rep.recv() {
            let body = request.message().clone();
            // Nobody waits for the answer to the last one.
            let _closed = request.reply(body);
        }
    })
}

fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sockets/PUB to 8 SUB");
    group.sampling_mode(SamplingMode::Flat);
    for transport in TRANSPORTS {
        let subscribers: Vec<_> = (0..MANY).map(|_| subscriber([""])).collect();
        group.throughput(amount(64, MANY));
        let id = BenchmarkId::new(transport, 64);
        published(&mut group, id, transport, &subscribers, &[Bytes::from_static(&[7; 64])]);
    }
}

fn subscriptions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sockets/PUB to SUB, by subscriptions");
    group.sampling_mode(SamplingMode::Flat);
    for transport in TRANSPORTS {
        for count in [10, 100_000] {
            let subscribers = [subscriber((0..count).map(topic))];
            // Messages all over the topics, so that what was looked at last is no help.
            let spread = |n: u32| topic(n.wrapping_mul(2_654_435_761) % count);
            let bodies: Vec<Bytes> = (0..1024).map(|n| Bytes::from(spread(n) + "21.5 C")).collect();
            group.throughput(amount(bodies[0].len(), 1));
            let id = BenchmarkId::new(transport, count);
            published(&mut group, id, transport, &subscribers, &bodies);
        }
    }
}

/// The `n`th topic: none is the beginning of another.
fn topic(n: u32) -> String {
    format!("sensor/{n:08}/")
}

/// Has a queue as long as can be: it drops what does not fit once it has received nothing for a while,
/// as may happen on a busy machine.
fn subscriber(topics: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Sub {
    let subscriber =
        Sub::with_options(patient().sub_queue(8192)).expect("the options are possible");
    topics.into_iter().for_each(|topic| subscriber.subscribe(topic).expect("it is open"));
    subscriber
}

/// One publishes what all receive, and waits for the slowest of them.
fn published(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    transport: &str,
    subscribers: &[Sub],
    bodies: &[Bytes],
) {
    let options = patient().overflow(Overflow::Wait);
    let publisher = Pub::with_options(options).expect("the options are possible");
    let _address = join!(transport, publisher, subscribers);
    group.bench_function(id, |bencher| {
        bencher.iter_custom(|count| {
            let publish = || {
                for body in bodies.iter().cycle().take(count as usize) {
                    publisher.send(body.clone()).expect("there is room at last");
                }
            };
            let receive = |subscriber: &Sub| {
                (0..count).for_each(|_| drop(subscriber.recv().expect("nothing is dropped")));
            };
            let receivers = subscribers.iter().map(|subscriber| move || receive(subscriber));
            timed(vec![publish], receivers.collect())
        });
    });
}

fn surveys(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sockets/survey of 10 RESPONDENT");
    for transport in TRANSPORTS {
        let options = patient().survey_deadline(LATE);
        let surveyor = Surveyor::with_options(options).expect("the options are possible");
        let respondents: Vec<_> = (0..RESPONDENTS).map(|_| Respondent::new()).collect();
        let _address = join!(transport, surveyor, &respondents);
        let answering: Vec<_> = respondents.iter().map(respond).collect();
        let body = Bytes::from(vec![7; 64]);
        group.throughput(amount(body.len(), RESPONDENTS));
        group.bench_function(BenchmarkId::new(transport, body.len()), |bencher| {
            bencher.iter(|| {
                let survey = surveyor.survey(body.clone()).expect("there is room");
                assert_eq!(survey.take(RESPONDENTS).count(), RESPONDENTS, "all answer");
            });
        });
        respondents.iter().for_each(|respondent| respondent.close().expect("it is open"));
        answering.into_iter().for_each(|thread| thread.join().expect("it ends with the socket"));
    }
}

/// Answers all surveys with what they ask, until the socket is closed.
fn respond(respondent: &Respondent) -> JoinHandle<()> {
    let respondent = respondent.clone();
    thread::spawn(move || {
        while let Ok(survey) = respondent.recv() {
            let body = survey.message().clone();
            // Nobody waits for the answer to the last one.
            let _closed = survey.reply(body);
        }
    })
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .sample_size(10);
    targets = push_pull, fan_in, round_trips, fan_out, subscriptions, surveys
}
criterion_main!(benches);
