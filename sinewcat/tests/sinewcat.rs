//! The command-line tool as its users meet it: what they type, what is printed, how it ends.
//!
//! The table of invocations runs on `sinewcat` and, where they are installed, on `nanocat` and `nngcat`
//! too, and the outputs are compared byte for byte.

#![cfg(target_os = "linux")]

#[path = "../../tests/tls/certificates.rs"]
mod certificates;
#[path = "sinewcat/encrypted.rs"]
mod encrypted;
#[path = "sinewcat/invocations.rs"]
mod invocations;
#[path = "sinewcat/meetings.rs"]
mod meetings;
#[path = "sinewcat/program.rs"]
mod program;
#[path = "sinewcat/subcommands.rs"]
mod subcommands;
#[path = "sinewcat/terminal.rs"]
mod terminal;
