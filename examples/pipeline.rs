//! PIPELINE: one distributes work, three workers do it, and one collects the results. In five terminals:
//!
//! ```text
//! cargo run --example pipeline -- sink
//! cargo run --example pipeline -- worker      (three times)
//! cargo run --example pipeline -- producer
//! ```

use std::{env, error::Error, process, time::Duration};

use sinew::{Pull, Push};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let role = args.next().unwrap_or_default();
    let work = args.next().unwrap_or("tcp://127.0.0.1:7713".to_owned());
    let results = args.next().unwrap_or("tcp://127.0.0.1:7714".to_owned());

    let (pull, push) = (Pull::new(), Push::new());
    match role.as_str() {
        "producer" => push.bind(&work)?,
        "worker" => push.connect(&results).and(pull.connect(&work))?,
        "sink" => pull.bind(&results)?,
        _ => return Err("usage: pipeline producer|worker|sink [WORK_URL [RESULTS_URL]]".into()),
    };
    if role == "producer" {
        push.wait_for_peers(3, Duration::MAX)?; // otherwise the first to come gets it all
        (1..=12).try_for_each(|n| push.send(n.to_string()))?;
        push.drain(Duration::MAX); // a program that ends drops what is still queued
        return Ok(());
    }
    while let Ok(message) = pull.recv() {
        println!("{message}");
        if role == "worker" {
            push.send(format!("{message} was done by {}", process::id()))?;
        }
    }
    Ok(())
}
