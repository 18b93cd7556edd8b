//! The specification: what sockets put on a wire, and what they do.
//!
//! The documentation of a type or call says in a sentence what it does. Here are the rules in full, with what
//! nanomsg, NNG and mangos do where they differ from each other or from sinew. The cases that the tests
//! check are listed in `docs/spec/conformance.md`, in the repository.
//!
//! The chapters are the files of `docs/spec`. This module owns nothing else, and exists only where
//! documentation is made: a program that uses the crate compiles none of it.

#[doc = include_str!("../docs/spec/wire.md")]
pub mod wire {}

#[doc = include_str!("../docs/spec/semantics.md")]
pub mod semantics {}
