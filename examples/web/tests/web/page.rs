//! The program that serves the page, as seen by anybody but a browser.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use kit::SOON;
use sinew::{Push, Req, Respondent, Sub};

use super::server::Server;

/// What the server at `place` answers to a request with these lines: the first line, and all that follows.
fn ask(place: &str, lines: &str) -> (String, String) {
    let mut stream = TcpStream::connect(place).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(format!("{}\r\n\r\n", lines.replace('\n', "\r\n")).as_bytes()).unwrap();
    let mut answer = BufReader::new(stream);
    let (mut first, mut rest) = (String::new(), String::new());
    answer.read_line(&mut first).unwrap();
    answer.read_to_string(&mut rest).unwrap();
    (first.trim().to_owned(), rest)
}

#[test]
fn the_page_and_its_module_are_served_and_nothing_else() {
    let server = Server::start("127.0.0.1:0", "127.0.0.1:0");
    let [place, _] = server.places();
    let (status, page) = ask(&place, "GET / HTTP/1.1");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(page.contains(&format!("const server = \"{}\";", server.sockets)), "{page}");
    let (status, module) = ask(&place, "GET /sinew.js HTTP/1.1");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(module.contains("text/javascript") && module.contains("export class Sub"));
    for line in ["GET /../main.rs HTTP/1.1", "POST / HTTP/1.1", "", "x"] {
        assert_eq!(ask(&place, line).0, "HTTP/1.1 404 Not Found", "{line}");
    }
}

#[test]
fn only_pages_from_there_may_connect() {
    let server = Server::start("127.0.0.1:0", "127.0.0.1:0");
    let [_, place] = server.places();
    let upgrade = |origin: &str| {
        let mut stream = TcpStream::connect(&place).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        write!(
            stream,
            "GET /news HTTP/1.1\r\nHost: {place}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: pub.sp.nanomsg.org\r\nOrigin: {origin}\r\n\r\n"
        )
        .unwrap();
        let mut status = String::new();
        BufReader::new(stream).read_line(&mut status).unwrap();
        status.trim().to_owned()
    };
    assert_eq!(upgrade(&server.page), "HTTP/1.1 101 Switching Protocols");
    for origin in ["null", "http://127.0.0.1:1", "https://www.example.org"] {
        assert!(upgrade(origin).starts_with("HTTP/1.1 403 "), "{origin}");
    }
}

/// Programs speak to the same sockets.
#[test]
fn all_four_sockets_talk() {
    let mut server = Server::start("127.0.0.1:0", "127.0.0.1:0");
    let url = |path: &str| format!("{}/{path}", server.sockets);
    let (news, ask, tell, who) = (Sub::new(), Req::new(), Push::new(), Respondent::new());
    news.subscribe("load ").unwrap();
    news.connect_now(url("news")).unwrap();
    ask.connect_now(url("ask")).unwrap();
    tell.connect_now(url("tell")).unwrap();
    who.connect_now(url("who")).unwrap();

    let load = news.recv_timeout(SOON).unwrap();
    assert!(load.to_text().starts_with(&format!("load {} ", server.id())), "{load:?}");
    for (question, answer) in [("7 * 6", "42"), ("1 / 4", "0.25"), ("why?", "a mystery")] {
        assert_eq!(ask.request(question).unwrap(), answer);
    }
    news.unsubscribe("load ").unwrap();
    news.subscribe("note ").unwrap();
    tell.send("hello").unwrap();
    assert_eq!(server.line(), "told: hello");
    while news.recv_timeout(SOON).unwrap() != "note hello" {}
    let page = who.clone();
    let answering = std::thread::spawn(move || {
        while let Ok(question) = page.recv() {
            question.reply("a test").unwrap();
        }
    });
    news.subscribe("present ").unwrap();
    while news.recv_timeout(SOON).unwrap() != "present 1 there: a test" {}
    who.close().unwrap();
    answering.join().unwrap();
}
