//! Many clients in one program, and no thread but smol's: a task turns sinew's event loop.
//!
//! ```text
//! cargo run --release --example smol_clients                   100 clients, 1000 requests each
//! cargo run --release --example smol_clients -- 10 500         as many as you like
//! ```
//!
//! As `async_clients` with tokio, and shorter: smol's `Async` watches any descriptor.

#![cfg_attr(not(unix), allow(dead_code, unused_imports))]

use std::error::Error;
use std::time::Instant;

#[cfg(unix)]
use sinew::EventLoop;
use sinew::{Options, Rep, Req, Runtime};
use smol::{Async, LocalExecutor};

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
    // One thread does it all. With `smol::spawn` it would be those of smol.
    let executor = LocalExecutor::new();
    smol::block_on(executor.run(run(&executor, clients, requests)))
}

#[cfg(unix)]
async fn run(
    executor: &LocalExecutor<'_>,
    clients: u32,
    requests: u32,
) -> Result<(), Box<dyn Error>> {
    let runtime = Runtime::builder().manual(true).build()?;
    executor.spawn(drive(runtime.event_loop()?)).detach();

    let rep = Rep::on(&runtime, Options::new())?;
    let url = rep.bind("tcp://127.0.0.1:0")?.url();
    executor.spawn(serve(rep)).detach();

    let begin = Instant::now();
    let mut asking = Vec::new();
    for _ in 0..clients {
        let req = Req::on(&runtime, Options::new())?;
        req.connect(&url)?;
        asking.push(executor.spawn(ask(req, requests)));
    }
    for asked in asking {
        asked.await?;
    }
    let taken = begin.elapsed().as_secs_f64();
    println!("{clients} clients have asked {requests} times each, in {taken:.1} s");
    Ok(())
}

/// Turns the event loop, until the last socket and the last handle of the runtime are gone.
#[cfg(unix)]
async fn drive(event_loop: EventLoop) {
    let descriptor = Async::new(event_loop).expect("smol can watch it");
    let driving = descriptor.get_ref().drive(|cx| descriptor.poll_readable(cx));
    driving.await.expect("no other task turns the loop");
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
