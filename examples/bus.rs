//! BUS: each node sends to all others. Nothing is forwarded, so each connects to each. In several terminals:
//!
//! ```text
//! cargo run --example bus -- tcp://127.0.0.1:7716
//! cargo run --example bus -- tcp://127.0.0.1:7717 tcp://127.0.0.1:7716
//! cargo run --example bus -- tcp://127.0.0.1:7718 tcp://127.0.0.1:7716 tcp://127.0.0.1:7717
//! ```
//!
//! What is typed in one appears in all others.

use std::error::Error;
use std::io;
use std::thread;

use sinew::Bus;

fn main() -> Result<(), Box<dyn Error>> {
    let mut urls = std::env::args().skip(1);
    let own = urls.next().ok_or("usage: bus OWN_URL [URL]...")?;

    let bus = Bus::new();
    bus.bind(&own)?;
    for other in urls {
        bus.connect(&other)?; // it may start later
    }
    let listener = bus.clone();
    thread::spawn(move || {
        while let Ok(message) = listener.recv() {
            println!("< {message}");
        }
    });
    for line in io::stdin().lines() {
        bus.send(line?)?; // never waits
        println!("> to {}", bus.peers().len());
    }
    Ok(())
}
