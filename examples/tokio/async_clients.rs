//! Many clients in one program, and no thread but tokio's: a task turns sinew's event loop.
//!
//! ```text
//! cargo run --release --example async_clients                  100 clients, 1000 requests each
//! cargo run --release --example async_clients -- 10 500        as many as you like
//! ```
//!
//! Sockets of a manual runtime have no I/O thread behind them. `drive` below is all it takes to have tokio do
//! what that would do: tokio watches a descriptor, and a task makes the turns. A message that comes in is
//! read and received on one thread. `examples/smol` has the same for smol.
//!
//! tokio's `AsyncFd`, which watches any descriptor, takes a line of `unsafe`, by which the caller vouches for the
//! descriptor staying what it is. With it the closure is
//! `|cx| descriptor.poll_read_ready(cx).map_ok(|mut it| it.clear_ready())`. This does without: tokio's reader of a pipe
//! takes an `OwnedFd` and does not ask what it is.

#![cfg_attr(not(unix), allow(dead_code, unused_imports))]

use std::error::Error;
use std::io::ErrorKind;
#[cfg(unix)]
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};
use std::time::Instant;

#[cfg(unix)]
use sinew::EventLoop;
use sinew::{Options, Rep, Req, Runtime};
#[cfg(unix)]
use tokio::net::unix::pipe;
use tokio::task::JoinSet;

#[cfg(not(unix))]
fn main() {
    eprintln!("the event loop of a runtime has a descriptor on Unix only");
    std::process::exit(2);
}

#[cfg(unix)]
fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let clients: u32 = args.next().as_deref().unwrap_or("100").parse()?;
    let requests: u32 = args.next().as_deref().unwrap_or("1000").parse()?;
    // One thread does it all. With `new_multi_thread` nothing else changes.
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?
        .block_on(run(clients, requests))
}

#[cfg(unix)]
async fn run(clients: u32, requests: u32) -> Result<(), Box<dyn Error>> {
    let runtime = Runtime::builder().manual(true).build()?;
    tokio::spawn(drive(runtime.event_loop()?));

    let rep = Rep::on(&runtime, Options::new())?;
    let url = rep.bind("tcp://127.0.0.1:0")?.url();
    tokio::spawn(serve(rep));

    let begin = Instant::now();
    let mut asking = JoinSet::new();
    for _ in 0..clients {
        let req = Req::on(&runtime, Options::new())?;
        req.connect(&url)?;
        asking.spawn(ask(req, requests));
    }
    while let Some(asked) = asking.join_next().await {
        asked??;
    }
    let taken = begin.elapsed().as_secs_f64();
    println!("{clients} clients have asked {requests} times each, in {taken:.1} s");
    Ok(())
}

/// Turns the event loop, until the last socket and the last handle of the runtime are gone.
#[cfg(unix)]
async fn drive(event_loop: EventLoop) {
    let descriptor = event_loop.as_fd().try_clone_to_owned().expect("descriptors to spare");
    let descriptor = pipe::Receiver::from_owned_fd_unchecked(descriptor).expect("tokio has I/O");
    let readable = |cx: &mut Context<'_>| {
        ready!(descriptor.poll_read_ready(cx))?;
        // tokio says so until it is told that it has been seen. What comes from now on is news again.
        _ = descriptor.try_io(|| Err::<(), _>(ErrorKind::WouldBlock.into()));
        Poll::Ready(Ok(()))
    };
    event_loop.drive(readable).await.expect("no other task turns the loop");
}

async fn serve(rep: Rep) {
    while let Ok(request) = rep.recv_async().await {
        let answer = format!("{request} is done");
        // It fails when the client has gone meanwhile.
        let _ = request.reply_async(answer).await;
    }
}

async fn ask(req: Req, requests: u32) -> Result<(), sinew::RequestError> {
    for n in 0..requests {
        let reply = req.request_async(n.to_string()).await?;
        assert_eq!(reply, format!("{n} is done"));
    }
    Ok(())
}
