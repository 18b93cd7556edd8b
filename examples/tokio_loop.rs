//! A socket's readiness as an `AsyncFd` of tokio:
//!
//! ```text
//! cargo run --example tokio_loop -- tcp://127.0.0.1:7716
//! cargo run --example tokio_loop -- tcp://127.0.0.1:7716 send     and type
//! ```
//!
//! Whoever only wants to receive or send in a task uses `recv_async` and `send_async`, which need no
//! descriptor. This is for what exists and takes descriptors, and for waiting without taking: the first
//! program waits until there is something, and then takes all there is as one batch.

use std::error::Error;
use std::io::BufRead;

use sinew::{Pull, Push, RecvError};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

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

async fn batches(url: &str) -> Result<(), Box<dyn Error>> {
    let pull = Pull::new();
    pull.bind(url)?;
    #[allow(
        deprecated,
        reason = "its successor is unsafe, for the sake of types that change their \
        descriptor; a Readiness has the same one until it is dropped"
    )]
    let readiness = AsyncFd::with_interest(pull.recv_readiness()?, Interest::READABLE)?;
    println!("ready");
    loop {
        let mut guard = readiness.readable().await?;
        let batch = take_all(&pull)?;
        // Nothing is left: waits for the descriptor to become readable anew.
        guard.clear_ready();
        println!("{}", batch.join(", "));
    }
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
    for line in std::io::stdin().lock().lines() {
        push.send(line?)?;
    }
    Ok(())
}
