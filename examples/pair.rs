//! PAIR: two programs talk. In two terminals:
//!
//! ```text
//! cargo run --example pair -- bind
//! cargo run --example pair -- connect
//! ```
//!
//! What is typed in one appears in the other.

use std::error::Error;
use std::io;
use std::thread;

use sinew::Pair;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let role = args.next().unwrap_or_default();
    let url = args.next().unwrap_or("tcp://127.0.0.1:7710".to_owned());

    let pair = Pair::new();
    match role.as_str() {
        "bind" => pair.bind(&url)?,
        "connect" => pair.connect(&url)?,
        _ => return Err("usage: pair bind|connect [URL]".into()),
    };
    let listener = pair.clone();
    thread::spawn(move || {
        while let Ok(message) = listener.recv() {
            println!("< {message}");
        }
    });
    for line in io::stdin().lines() {
        pair.send(line?)?; // waits for the other side to come
    }
    Ok(())
}
