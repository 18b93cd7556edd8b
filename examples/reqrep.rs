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

fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("SINEW_URL").unwrap_or("tcp://127.0.0.1:7711".to_owned());
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["server"] => {
            let rep = Rep::new();
            rep.bind(&url)?;
            loop {
                let request = rep.recv()?;
                println!("{request}");
                request.reply("42")?;
            }
        }
        ["client", question] => {
            let req = Req::new();
            req.connect(&url)?;
            println!("{}", req.request(question)?);
            Ok(())
        }
        _ => Err("usage: reqrep server | client QUESTION".into()),
    }
}
