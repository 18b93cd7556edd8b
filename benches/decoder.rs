//! How fast a stream is cut into frames: runs of whole frames, and frames that reads have cut.

mod parts;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sinew_internals::internals::{decode, stream};

/// What a connection reads at most at once.
const BLOCK: usize = 256 * 1024;

fn decoder(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decoder");
    for len in [8, 64, 1024, 8192, 65_536] {
        let stream = stream(len, BLOCK);
        group.throughput(Throughput::Bytes(stream.len() as u64));
        for (name, read) in [("whole", stream.len()), ("cut at 4093", 4093)] {
            group.bench_function(BenchmarkId::new(name, len), |bencher| {
                bencher.iter(|| decode(black_box(&stream), read));
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = parts::short();
    targets = decoder
}
criterion_main!(benches);
