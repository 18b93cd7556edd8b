//! Owns the programs of the guide, which compile and run as tests: some need a runtime.

#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide.md")]
struct Guide;
