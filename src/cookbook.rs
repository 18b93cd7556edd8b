//! The cookbook: one chapter for each task, with whole programs that can be copied.
//!
//! Each program compiles and runs with the tests of the crate, and ends by itself. Each chapter ends
//! with the things that can go wrong, and what the library tells you then.
//!
//! The chapters are the files of `docs/cookbook`. This module owns nothing else, and exists only where
//! documentation is made or tested: a program that uses the crate compiles none of it.

// Its programs need the feature.
#[cfg_attr(any(not(doctest), feature = "discovery"), doc = include_str!("../docs/cookbook/service_discovery.md"))]
pub mod service_discovery {}
#[doc = include_str!("../docs/cookbook/work_queue.md")]
pub mod work_queue {}
#[cfg_attr(any(not(doctest), feature = "postcard"), doc = include_str!("../docs/cookbook/last_value_cache.md"))]
pub mod last_value_cache {}
#[doc = include_str!("../docs/cookbook/heartbeats.md")]
pub mod heartbeats {}
#[doc = include_str!("../docs/cookbook/broker.md")]
pub mod broker {}
// Its programs need tokio and smol, and are tested where those are: in tests/ecosystem.
#[cfg_attr(not(doctest), doc = include_str!("../docs/cookbook/async_clients.md"))]
pub mod async_clients {}
#[doc = include_str!("../docs/cookbook/graceful_shutdown.md")]
pub mod graceful_shutdown {}
// Its program needs the feature.
#[cfg_attr(any(not(doctest), feature = "testing"), doc = include_str!("../docs/cookbook/testing.md"))]
pub mod testing {}
#[doc = include_str!("../docs/cookbook/from_nanomsg.md")]
pub mod from_nanomsg {}
#[doc = include_str!("../docs/cookbook/from_nng.md")]
pub mod from_nng {}
#[doc = include_str!("../docs/cookbook/from_zeromq.md")]
pub mod from_zeromq {}
