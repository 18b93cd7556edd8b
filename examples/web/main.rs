//! Sockets for web pages: a page that shows live data, asks, tells, and answers a survey.
//!
//! ```sh
//! cargo run -p sinew-examples-web --example web          (or with two addresses, to serve the page and sockets)
//! ```
//!
//! Then open <http://127.0.0.1:8000> in a browser, several times if you like. The page is in `page/index.html`, and
//! `page/sinew.js` is the module with which it speaks to the four sockets here. They share one port, each at a path
//! of its own. Only pages from here may connect: their origin is on the list.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use std::{env, process, thread};

use sinew::{EndpointOptions, Options, Pub, Pull, Rep, Surveyor};

const PAGE: &str = include_str!("page/index.html");
const MODULE: &str = include_str!("page/sinew.js");

fn main() -> Result<(), Box<dyn Error>> {
    let mut addresses = env::args().skip(1);
    let http = TcpListener::bind(addresses.next().unwrap_or("127.0.0.1:8000".to_owned()))?;
    let sockets = addresses.next().unwrap_or("127.0.0.1:8001".to_owned());

    let origin = format!("http://{}", http.local_addr()?);
    let of_ours = EndpointOptions::new().allow_origin(&origin);
    let news = Pub::new();
    let url = news.bind_with(format!("ws://{sockets}/news"), &of_ours)?.url();
    let server = url.strip_suffix("/news").expect("it was bound there").to_owned();
    let (ask, tell) = (Rep::new(), Pull::new());
    let who = Surveyor::with_options(Options::new().survey_deadline(Duration::from_millis(500)))?;
    ask.bind_with(format!("{server}/ask"), &of_ours)?;
    tell.bind_with(format!("{server}/tell"), &of_ours)?;
    who.bind_with(format!("{server}/who"), &of_ours)?;
    println!("{origin} {server}");

    let live = news.clone();
    thread::spawn(move || publish_load(&live));
    thread::spawn(move || answer(&ask));
    let told = news.clone();
    thread::spawn(move || pass_on(&tell, &told));
    thread::spawn(move || call_the_roll(&who, &news));

    let page = PAGE.replace("{{server}}", &server);
    for client in http.incoming() {
        // A client that leaves halfway is no reason to stop.
        if let Err(error) = client.and_then(|client| serve(client, &page)) {
            eprintln!("{error}");
        }
    }
    Ok(())
}

/// A figure that changes, ten times a second.
fn publish_load(news: &Pub) {
    for second in (0..).map(|tenth| f64::from(tenth) / 10.0) {
        let load = 50.0 + 30.0 * (second / 2.0).sin() + 12.0 * (second * 1.7).sin();
        if news.send(format!("load {} {load:.1}", process::id())).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Answers questions such as `7 * 6`.
fn answer(ask: &Rep) {
    while let Ok(request) = ask.recv() {
        let question = request.to_text().into_owned();
        let answer = match question.split_whitespace().collect::<Vec<_>>()[..] {
            [a, sign, b] => compute(a, sign, b),
            _ => None,
        };
        // The page may be gone.
        let _ = request.reply(answer.unwrap_or("a mystery".to_owned()));
    }
}

fn compute(a: &str, sign: &str, b: &str) -> Option<String> {
    let (a, b): (f64, f64) = (a.parse().ok()?, b.parse().ok()?);
    Some(match sign {
        "+" => (a + b).to_string(),
        "-" => (a - b).to_string(),
        "*" => (a * b).to_string(),
        "/" => (a / b).to_string(),
        _ => return None,
    })
}

/// What one page tells, all pages hear.
fn pass_on(tell: &Pull, news: &Pub) {
    while let Ok(message) = tell.recv() {
        println!("told: {}", message.to_text());
        let _ = news.send(format!("note {}", message.to_text()));
    }
}

/// Asks all pages who they are, again and again.
fn call_the_roll(who: &Surveyor, news: &Pub) {
    while let Ok(survey) = who.survey("who is there?") {
        let mut names = Vec::new();
        while let Ok(answer) = survey.recv() {
            names.push(answer.to_text().into_owned());
        }
        names.sort();
        let _ = news.send(format!("present {} there: {}", names.len(), names.join(", ")));
        thread::sleep(Duration::from_millis(500));
    }
}

/// Answers one request for a file.
fn serve(client: TcpStream, page: &str) -> io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(1)))?;
    client.set_write_timeout(Some(Duration::from_secs(1)))?;
    let (status, kind, text) = match requested(&client)?.split(' ').collect::<Vec<_>>()[..] {
        ["GET", "/", _] => ("200 OK", "text/html", page),
        ["GET", "/sinew.js", _] => ("200 OK", "text/javascript", MODULE),
        _ => ("404 Not Found", "text/plain", "there is only one page, /\n"),
    };
    let length = text.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    (&client).write_all(format!("{head}{text}").as_bytes())
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
