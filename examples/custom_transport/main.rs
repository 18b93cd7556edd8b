//! A custom transport: a request and its reply over a switchboard.
//!
//! ```sh
//! cargo run --example custom_transport
//! ```
//!
//! The transport is in `switchboard.rs` and uses nothing but the public interface. Here two roles,
//! each with a runtime of its own, talk over it as they would over tcp.

mod switchboard;

use std::error::Error;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use sinew::{Options, Rep, Req, Runtime};
use switchboard::Switchboard;

const PATIENCE: Duration = Duration::from_secs(10);

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

fn main() -> Outcome {
    let board = &Switchboard::default();
    let (publish, directory) = mpsc::channel();
    thread::scope(|scope| {
        let office = scope.spawn(move || weather_office(board, &publish));
        let caller = scope.spawn(move || caller(board, &directory));
        for role in [office, caller] {
            role.join().expect("no role panics")?;
        }
        Ok(())
    })
}

/// Takes any free extension, publishes it, and answers one call.
fn weather_office(board: &Switchboard, publish: &mpsc::Sender<String>) -> Outcome {
    let runtime = Runtime::builder().transport(board.clone()).build()?;
    let rep = Rep::on(&runtime, Options::new().recv_timeout(PATIENCE))?;
    let endpoint = rep.bind("board://0")?;
    println!("office: at {}", endpoint.url());
    publish.send(endpoint.url())?;

    let request = rep.recv()?;
    println!("office: asked {:?}", request.message().to_text());
    request.reply("rain, later sun")?;
    rep.drain(PATIENCE);
    Ok(())
}

/// Looks up the extension and asks.
fn caller(board: &Switchboard, directory: &mpsc::Receiver<String>) -> Outcome {
    let runtime = Runtime::builder().transport(board.clone()).build()?;
    let req = Req::on(&runtime, Options::new().recv_timeout(PATIENCE))?;
    req.connect(&directory.recv_timeout(PATIENCE)?)?;
    req.wait_for_peers(1, PATIENCE)?;
    println!("caller: connected to {}", req.peers()[0].remote);

    let reply = req.request("what will the weather be?")?;
    println!("caller: told {:?}", reply.to_text());
    Ok(())
}
