//! What it takes to find out whether a message is wanted, by the number of topics.

mod parts;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sinew_internals::internals::TopicSet;

/// The `n`th topic: none is the beginning of another.
fn topic(n: u32) -> String {
    format!("sensor/{n:08}/")
}

fn topics(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("topics");
    for count in [10, 1000, 1_000_000] {
        let mut set = TopicSet::new();
        for n in 0..count {
            set.insert(topic(n).as_bytes());
        }
        // Messages all over the topics, so that what was looked at last is no help.
        let bodies = |from: u32| -> Vec<String> {
            (0..1024_u32).map(|n| topic(from + n.wrapping_mul(2_654_435_761) % count)).collect()
        };
        for (name, bodies) in [("wanted", bodies(0)), ("not wanted", bodies(count))] {
            let mut turn = 0;
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| {
                    turn = (turn + 1) % bodies.len();
                    black_box(set.matches(bodies[turn].as_bytes()))
                });
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = parts::short();
    targets = topics
}
criterion_main!(benches);
