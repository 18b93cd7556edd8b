//! A program that can be monitored: a worker behind a queue, and its metrics over HTTP.
//!
//! ```text
//! cargo run --example metrics_http                  (or with an address, such as 127.0.0.1:9464)
//! curl http://127.0.0.1:9464/metrics
//! ```
//!
//! The HTTP is the standard library's TCP and a dozen lines: a scraper asks for one page and leaves.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use std::{env, error::Error, thread};

use sinew::metrics::{CONTENT_TYPE, Metrics, Observe};
use sinew::{Options, Pull, Push};

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:9464".to_owned());
    // Named, so that the metrics of the next run belong to the same sockets.
    let push = Push::with_options(Options::new().name("jobs-out"))?;
    let pull = Pull::with_options(Options::new().name("jobs-in"))?;
    let work = pull.bind("tcp://127.0.0.1:0")?;
    push.connect(work.url())?;

    let sockets: Vec<Box<dyn Observe>> = vec![Box::new(push.clone()), Box::new(pull.clone())];
    thread::spawn(move || produce(&push));
    thread::spawn(move || while pull.recv().is_ok() {});

    let listener = TcpListener::bind(address)?;
    println!("http://{}/metrics", listener.local_addr()?);
    for client in listener.incoming() {
        // A client that leaves halfway, or never sends a request, is no reason to stop.
        if let Err(error) = client.and_then(|client| serve(client, &sockets)) {
            eprintln!("{error}");
        }
    }
    Ok(())
}

/// Ten jobs a second.
fn produce(push: &Push) {
    while push.send("job").is_ok() {
        thread::sleep(Duration::from_millis(100));
    }
}

/// Answers one request.
fn serve(client: TcpStream, sockets: &[Box<dyn Observe>]) -> io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(1)))?;
    client.set_write_timeout(Some(Duration::from_secs(1)))?;
    let (status, kind, page) = match requested(&client)?.split(' ').collect::<Vec<_>>()[..] {
        ["GET", "/metrics", _] => {
            let all = sockets.iter().map(|socket| &**socket);
            let page = Metrics::new().sockets(all).per_peer(true).to_string();
            ("200 OK", CONTENT_TYPE, page)
        }
        _ => ("404 Not Found", "text/plain", "the page is /metrics\n".to_owned()),
    };
    let length = page.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    (&client).write_all(format!("{head}{page}").as_bytes())
}

/// The first line of a request, which is read to the empty line at its end, but no more than 8 KiB.
fn requested(client: &TcpStream) -> io::Result<String> {
    let mut lines = BufReader::new(client.take(8 << 10)).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    Ok(first)
}
