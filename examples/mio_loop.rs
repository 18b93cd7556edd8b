//! Sockets in a plain mio loop, in one thread, beside other sources. In three terminals:
//!
//! ```text
//! cargo run --example mio_loop -- tcp://127.0.0.1:7714 127.0.0.1:7715
//! cargo run --example reqrep -- client "what is the answer?"     with SINEW_URL=tcp://127.0.0.1:7714
//! nc 127.0.0.1 7715
//! ```
//!
//! The first is a REP that answers; at the other address it tells any program that connects how many requests
//! it has answered.

#![cfg_attr(not(unix), allow(dead_code, unused_imports))]

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
#[cfg(unix)]
use std::os::fd::AsRawFd;

use mio::net::TcpListener;
#[cfg(unix)]
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use sinew::{RecvError, Rep};

const REP: Token = Token(0);
const LISTENER: Token = Token(1);

#[cfg(not(unix))]
fn main() {
    eprintln!("mio watches a descriptor of Unix only");
    std::process::exit(2);
}

#[cfg(unix)]
fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, address] = &args[..] else { return Err("usage: mio_loop URL ADDRESS".into()) };
    let rep = Rep::new();
    rep.bind(url)?;
    let readiness = rep.recv_readiness()?;
    let mut listener = TcpListener::bind(address.parse::<SocketAddr>()?)?;

    let mut poll = Poll::new()?;
    let registry = poll.registry();
    registry.register(&mut SourceFd(&readiness.as_raw_fd()), REP, Interest::READABLE)?;
    registry.register(&mut listener, LISTENER, Interest::READABLE)?;
    println!("ready");

    let mut answered = 0;
    let mut events = Events::with_capacity(16);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                REP => answered += answer_all(&rep)?,
                _ => tell_all(&listener, answered)?,
            }
        }
    }
}

/// Answers until there is nothing to receive: mio reports each change once, so no request may be left.
fn answer_all(rep: &Rep) -> Result<u32, Box<dyn Error>> {
    for answered in 0.. {
        match rep.try_recv() {
            // A loop must not wait for a client that does not read; it will ask again.
            Ok(request) => _ = request.try_reply("42"),
            Err(RecvError::WouldBlock) => return Ok(answered),
            Err(error) => return Err(error.into()),
        }
    }
    unreachable!("the loop has no end of its own")
}

fn tell_all(listener: &TcpListener, answered: u32) -> Result<(), Box<dyn Error>> {
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => _ = writeln!(stream, "{answered} answered"),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
