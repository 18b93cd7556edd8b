//! A device, as a broker between REQ and REP: either side knows only the broker. In terminals:
//!
//! ```text
//! cargo run --example device -- broker
//! cargo run --example device -- worker alice      (and bob, and others)
//! cargo run --example device -- client "what is the answer?"
//! ```

use std::{env, error::Error};

use sinew::{Device, Rep, Req, raw};

fn main() -> Result<(), Box<dyn Error>> {
    let front_url = env::var("SINEW_FRONT_URL").unwrap_or("tcp://127.0.0.1:7723".to_owned());
    let back_url = env::var("SINEW_BACK_URL").unwrap_or("tcp://127.0.0.1:7724".to_owned());
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["broker"] => {
            let (front, back) = (raw::Rep::new(), raw::Req::new());
            front.bind(&front_url)?;
            back.bind(&back_url)?;
            let device = Device::new(front, back)?.spawn()?; // forever
            for event in device.handle().back().events() {
                println!("{:?}: {}", event.kind, event.peer); // workers come and go
            }
            device.join()?;
        }
        ["worker", name] => {
            let rep = Rep::new();
            rep.connect(&back_url)?;
            while let Ok(request) = rep.recv() {
                request.reply(format!("42, says {name}"))?;
            }
        }
        ["client", question] => {
            let req = Req::new();
            req.connect(&front_url)?;
            println!("{}", req.request(question)?);
        }
        _ => return Err("usage: device broker | worker NAME | client QUESTION".into()),
    }
    Ok(())
}
