//! How fast messages pass through a ring, and into many.

mod parts;

use std::hint::{black_box, spin_loop};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sinew_internals::internals::{Broadcast, Ring};

const LENGTHS: [usize; 4] = [8, 64, 1024, 65_536];
/// As many as fit, however long they are.
const BATCH: u64 = 16;

fn one_thread(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring/push and pop");
    for len in LENGTHS {
        let (body, (mut queue, mut out)) = (Bytes::from(vec![7; len]), Ring::open());
        group.bench_function(BenchmarkId::from_parameter(len), |bencher| {
            bencher.iter(|| {
                queue.push(&body);
                black_box(out.pop())
            });
        });
    }
}

fn bytewise(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring/push 16 and consume their bytes");
    group.throughput(Throughput::Elements(BATCH));
    for len in LENGTHS {
        let (body, (mut queue, out)) = (Bytes::from(vec![7; len]), Ring::open());
        group.bench_function(BenchmarkId::from_parameter(len), |bencher| {
            bencher.iter(|| {
                for _ in 0..BATCH {
                    queue.push(&body);
                }
                let mut left = BATCH;
                while left > 0 {
                    left -= out.write();
                }
            });
        });
    }
}

/// The time in which `count` messages pass from thread to thread.
fn pass(body: &Bytes, count: u64) -> Duration {
    let (mut queue, mut out) = Ring::open();
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..count {
                while !queue.push(body) {
                    thread::yield_now();
                }
            }
        });
        let mut popped = 0;
        while popped < count {
            match out.pop() {
                Some(_) => popped += 1,
                None => spin_loop(),
            }
        }
    });
    start.elapsed()
}

fn two_threads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring/from thread to thread");
    group.throughput(Throughput::Elements(1));
    for len in LENGTHS {
        let body = Bytes::from(vec![7; len]);
        group.bench_function(BenchmarkId::from_parameter(len), |bencher| {
            bencher.iter_custom(|count| pass(&body, count));
        });
    }
}

fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring/to many rings");
    for rings in [1, 8, 64, 1000] {
        let (body, mut broadcast) = (Bytes::from_static(&[7; 64]), Broadcast::to(rings));
        group.throughput(Throughput::Elements(rings as u64));
        group.bench_function(BenchmarkId::new("framed once", rings), |bencher| {
            bencher.iter(|| broadcast.encoded(&body));
        });
        group.bench_function(BenchmarkId::new("framed each", rings), |bencher| {
            bencher.iter(|| broadcast.copied(&body));
        });
    }
}

criterion_group! {
    name = benches;
    config = parts::short();
    targets = one_thread, bytewise, two_threads, fan_out
}
criterion_main!(benches);
