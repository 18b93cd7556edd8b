//! PUB/SUB: one publishes, and each subscriber receives what begins with its topics. In several terminals:
//!
//! ```text
//! cargo run --example pubsub -- publisher
//! cargo run --example pubsub -- subscriber weather
//! cargo run --example pubsub -- subscriber weather.paris traffic
//! ```
//!
//! Type lines such as `weather.paris rain` at the publisher. A subscriber sees what is published
//! from when it is connected on.

use std::{error::Error, io};

use sinew::{Pub, Sub};

fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("SINEW_URL").unwrap_or("tcp://127.0.0.1:7715".to_owned());
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["publisher"] => {
            let publisher = Pub::new();
            publisher.bind(&url)?;
            for line in io::stdin().lines() {
                publisher.send(line?)?; // never waits
                println!("sent to {}", publisher.peers().len());
            }
            Ok(())
        }
        ["subscriber", ref topics @ ..] if !topics.is_empty() => {
            let sub = Sub::new();
            topics.iter().try_for_each(|topic| sub.subscribe(topic))?;
            sub.connect(&url)?;
            loop {
                println!("{}", sub.recv()?);
            }
        }
        _ => Err("usage: pubsub publisher | subscriber TOPIC...".into()),
    }
}
