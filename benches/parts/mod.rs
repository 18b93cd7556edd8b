//! How the benches of parts measure: each takes nanoseconds, and there are many of them.

use std::time::Duration;

use criterion::Criterion;

/// Short: what a part costs shows soon, and a look at all of them should not take long.
pub(crate) fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(20)
}
