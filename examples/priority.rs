//! Priorities: a client in New York has a worker nearby and one in London. In three terminals:
//!
//! ```text
//! cargo run --example priority -- near
//! cargo run --example priority -- far
//! cargo run --example priority -- client
//! ```
//!
//! All requests go to the near worker. Kill it, and they go to London; start it, and they come back.

use std::{env, error::Error, thread, time::Duration};

use sinew::{EndpointOptions, Rep, Req};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let role = args.next().unwrap_or_default();
    let [near, far] = ["tcp://127.0.0.1:7721", "tcp://127.0.0.1:7722"]
        .map(|url| args.next().unwrap_or(url.to_owned()));

    if role == "client" {
        let req = Req::new(); // looks for lost workers every 180 ms, see `reconnect_interval`
        req.connect_with(&near, &EndpointOptions::new().send_priority(1))?;
        req.connect_with(&far, &EndpointOptions::new().send_priority(2))?;
        for n in 1.. {
            println!("request {n} went to {}", req.request(n.to_string())?);
            thread::sleep(Duration::from_millis(250));
        }
    }
    let rep = Rep::new();
    let name = match role.as_str() {
        "near" => rep.bind(&near).map(|_| "New York")?,
        "far" => rep.bind(&far).map(|_| "London")?,
        _ => return Err("usage: priority near|far|client [NEAR_URL FAR_URL]".into()),
    };
    loop {
        rep.recv()?.reply(name)?;
    }
}
