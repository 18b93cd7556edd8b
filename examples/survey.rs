//! SURVEY: one asks everybody, and collects answers until a deadline. In several terminals:
//!
//! ```text
//! cargo run --example survey -- surveyor
//! cargo run --example survey -- respondent alice
//! cargo run --example survey -- respondent bob
//! ```

use std::error::Error;

use sinew::{Respondent, Surveyor};

fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("SINEW_URL").unwrap_or("tcp://127.0.0.1:7712".to_owned());
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["surveyor"] => {
            let surveyor = Surveyor::new();
            surveyor.bind(&url)?;
            loop {
                let answers: Vec<String> =
                    surveyor.survey("who is there?")?.map(|answer| answer.to_string()).collect();
                println!("{} there: {}", answers.len(), answers.join(", "));
            }
        }
        ["respondent", name] => {
            let respondent = Respondent::new();
            respondent.connect(&url)?;
            loop {
                respondent.recv()?.reply(name)?;
            }
        }
        _ => Err("usage: survey surveyor | respondent NAME".into()),
    }
}
