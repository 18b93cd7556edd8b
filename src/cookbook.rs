//! The cookbook: one chapter for each task, with whole programs that can be copied.
//!
//! Each program compiles and runs with the tests of the crate, and ends by itself. Each chapter ends
//! with the things that can go wrong, and what the library tells you then.
//!
//! The chapters are the files of `docs/cookbook`. This module owns nothing else, and exists only where
//! documentation is made or tested: a program that uses the crate compiles none of it.

macro_rules! chapters {
    ($($chapter:ident = $file:literal;)*) => {
        $(
            #[doc = include_str!(concat!("../docs/cookbook/", $file))]
            pub mod $chapter {}
        )*
    };
}

chapters! {
    service_discovery = "service_discovery.md";
    work_queue = "work_queue.md";
    last_value_cache = "last_value_cache.md";
    heartbeats = "heartbeats.md";
    broker = "broker.md";
    graceful_shutdown = "graceful_shutdown.md";
    from_nanomsg = "from_nanomsg.md";
    from_nng = "from_nng.md";
    from_zeromq = "from_zeromq.md";
}
