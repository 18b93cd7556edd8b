//! REQ/REP: one asks, one answers. In two terminals, the second as often as you like:
//!
//! ```text
//! cargo run --example reqrep -- server
//! cargo run --example reqrep -- client "what is the answer?"
//! ```
//!
//! A client that is started first waits for its server.

use std::error::Error;

use sinew::{Rep, Req};

const URL: &str = "tcp://127.0.0.1:7711";

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["server"] => {
            let rep = Rep::new();
            rep.bind(URL)?;
            loop {
                let request = rep.recv()?;
                println!("{request}");
                request.reply("42")?;
            }
        }
        ["client", question] => {
            let req = Req::new();
            req.connect(URL)?;
            println!("{}", req.request(question)?);
            Ok(())
        }
        _ => Err("usage: reqrep server | client QUESTION".into()),
    }
}
