//! What it takes to choose a pipe, with pipes that are always ready.

mod parts;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sinew_internals::internals::Routes;

fn routing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("routing");
    for pipes in [1, 8, 64, 1000] {
        let mut routes = Routes::over(pipes);
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("load balancer", pipes), |bencher| {
            bencher.iter(|| routes.balance());
        });
        group.bench_function(BenchmarkId::new("fair queue", pipes), |bencher| {
            bencher.iter(|| routes.fair());
        });
        group.throughput(Throughput::Elements(u64::from(pipes)));
        group.bench_function(BenchmarkId::new("fan-out", pipes), |bencher| {
            bencher.iter(|| routes.fan_out());
        });
    }
}

criterion_group! {
    name = benches;
    config = parts::short();
    targets = routing
}
criterion_main!(benches);
