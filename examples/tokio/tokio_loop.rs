//! A socket's readiness in an event loop of tokio:
//!
//! ```text
//! cargo run --example tokio_loop -- tcp://127.0.0.1:7716
//! cargo run --example tokio_loop -- tcp://127.0.0.1:7716 send     and type
//! ```
//!
//! To receive or send in a task, use `recv_async` and `send_async`, which need no descriptor. This is for
//! existing code that takes descriptors, and for waiting without receiving: the first program waits until
//! there is something, and then takes all messages as one batch.
//!
//! tokio's type for any descriptor, `AsyncFd`, takes a line of `unsafe`, by which the caller vouches for the
//! descriptor. This program does without: tokio's reader of a pipe takes any `OwnedFd`, and the program only
//! waits for it and never reads it.

#![cfg_attr(not(unix), allow(dead_code, unused_imports))]

use std::error::Error;
use std::io::{self, BufRead, ErrorKind};
#[cfg(unix)]
use std::os::fd::AsFd;

use sinew::{Pull, Push, Readiness, RecvError};
#[cfg(unix)]
use tokio::net::unix::pipe;

#[cfg(not(unix))]
fn main() {
    eprintln!("this example watches a descriptor of Unix");
    std::process::exit(2);
}

#[cfg(unix)]
fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [url] => tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?
            .block_on(batches(url)),
        [url, "send"] => send(url),
        _ => Err("usage: tokio_loop URL [send]".into()),
    }
}

#[cfg(unix)]
async fn batches(url: &str) -> Result<(), Box<dyn Error>> {
    let pull = Pull::new();
    pull.bind(url)?;
    let readiness = pull.recv_readiness()?;
    let descriptor = descriptor(&readiness)?;
    println!("ready");
    loop {
        descriptor.readable().await?;
        match descriptor.try_io(|| look(&readiness)) {
            Ok(()) => println!("{}", take_all(&pull)?.join(", ")),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The descriptor, in the hands of tokio. A copy: the readiness goes on to own its own.
#[cfg(unix)]
fn descriptor(readiness: &Readiness) -> io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd_unchecked(readiness.as_fd().try_clone_to_owned()?)
}

/// Checks whether there is anything. `WouldBlock` makes tokio wait until the descriptor becomes readable
/// again; nothing that comes during the check is missed.
fn look(readiness: &Readiness) -> io::Result<()> {
    if readiness.is_ready() { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }
}

/// All that is there.
fn take_all(pull: &Pull) -> Result<Vec<String>, RecvError> {
    let mut batch = Vec::new();
    loop {
        match pull.try_recv() {
            Ok(message) => batch.push(message.to_string()),
            Err(RecvError::WouldBlock) => return Ok(batch),
            Err(error) => return Err(error),
        }
    }
}

fn send(url: &str) -> Result<(), Box<dyn Error>> {
    let push = Push::new();
    push.connect(url)?;
    for line in io::stdin().lock().lines() {
        push.send(line?)?;
    }
    Ok(())
}
