//! sinew for C, in one library: the interface of nanomsg (`libnanomsg.so.5`), and `sinew.h` for what that cannot
//! say.
//!
//! Everything is done by the public interface of the crate `sinew`. This one owns what C needs beside: sockets by
//! number ([`table`]), errors as numbers ([`errno`]), one type for sockets of all roles ([`engine`]), messages that
//! C may free ([`chunk`]), and the process around them: the runtime, its end, and forks ([`process`]). `nn` has the
//! calls of nanomsg, `own` those of `sinew.h`. Each call stands behind the [`border`], over which no panic passes.
//!
//! `unsafe` is what pointers from C need. Each block says who keeps what it rests on: mostly the caller, as the
//! header asks.

#![cfg(target_os = "linux")]
#![allow(unsafe_code)]

mod border;
mod chunk;
mod engine;
mod errno;
mod nn;
mod own;
mod process;
mod table;

pub use nn::*;
pub use own::*;
