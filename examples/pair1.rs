//! PAIR v1: a hub talks to many, each an ordinary PAIR. In several terminals:
//!
//! ```text
//! cargo run --example pair1 -- hub
//! cargo run --example pair1 -- spoke      (as many as you like)
//! ```
//!
//! Type lines at the spokes; the hub answers each where it came from.

use std::{error::Error, io};

use sinew::{Pair1, PolyPair1};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let role = args.next().unwrap_or_default();
    let url = args.next().unwrap_or("tcp://127.0.0.1:7719".to_owned());
    match role.as_str() {
        "hub" => {
            let hub = PolyPair1::new();
            hub.bind(&url)?;
            loop {
                let message = hub.recv()?;
                let pipe = message.pipe().expect("what is received came on a pipe");
                hub.send_to(pipe, format!("{message} to you too, {pipe}"))?;
            }
        }
        "spoke" => {
            let spoke = Pair1::new();
            spoke.connect(&url)?;
            for line in io::stdin().lines() {
                spoke.send(line?)?;
                println!("{}", spoke.recv()?);
            }
        }
        _ => return Err("usage: pair1 hub|spoke [URL]".into()),
    }
    Ok(())
}
