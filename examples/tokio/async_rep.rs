//! A REP with thousands of requests in work at once, on two worker threads of tokio:
//!
//! ```text
//! cargo run --release --example async_rep            10000 requests
//! cargo run --release --example async_rep -- 500     as many as you like
//! ```
//!
//! Each request takes a second of waiting, as for a database. All are asked at once through one REQ over
//! tcp; each is a task of its own in the server, and holds no thread while it waits.

use std::error::Error;
use std::time::{Duration, Instant};

use sinew::{Rep, Req};
use tokio::task::JoinSet;

const WORK: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn Error>> {
    let requests: u32 = std::env::args().nth(1).unwrap_or("10000".to_owned()).parse()?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_time().build()?.block_on(run(requests))
}

async fn run(requests: u32) -> Result<(), Box<dyn Error>> {
    let (rep, req) = (Rep::new(), Req::new());
    let endpoint = rep.bind("tcp://127.0.0.1:0")?;
    req.connect(endpoint.url())?;
    tokio::spawn(serve(rep));

    let begin = Instant::now();
    let mut asking = JoinSet::new();
    for n in 0..requests {
        asking.spawn(req.request_async(n.to_string()));
    }
    while let Some(reply) = asking.join_next().await {
        reply??;
    }
    let taken = begin.elapsed().as_secs_f64();
    println!("{requests} requests of {} s were answered in {taken:.1} s", WORK.as_secs());
    Ok(())
}

/// Takes every request at once and answers each when its work is done.
async fn serve(rep: Rep) {
    while let Ok(request) = rep.recv_async().await {
        tokio::spawn(async move {
            tokio::time::sleep(WORK).await;
            let answer = format!("{request} is done");
            // It fails when the program has ended meanwhile.
            let _ = request.reply_async(answer).await;
        });
    }
}
