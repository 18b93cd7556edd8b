//! A server of bare threads that block, for comparison: it does with each peer what the sockets do.

use std::hint::black_box;
use std::io::{self, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::peers::{LARGE, frame, header};

/// Serves each connection to a new address by a thread that runs `serve`; returns the address.
pub(crate) fn serve(id: u8, serve: fn(TcpStream) -> io::Result<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            thread::spawn(move || {
                stream.set_nodelay(true)?;
                stream.write_all(&header(id))?;
                stream.read_exact(&mut [0; 8])?;
                serve(stream)
            });
        }
    });
    format!("tcp://{address}")
}

/// Sends back what comes.
pub(crate) fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut block = [0; 4096];
    loop {
        match stream.read(&mut block)? {
            0 => return Ok(()),
            n => stream.write_all(&block[..n])?,
        }
    }
}

/// Receives messages, each in memory of its own, and drops them.
pub(crate) fn sink(stream: TcpStream) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(256 << 10, stream);
    loop {
        let mut len = [0; 8];
        stream.read_exact(&mut len)?;
        let len = usize::try_from(u64::from_be_bytes(len)).expect("a length of ours");
        let mut body = vec![0; len];
        stream.read_exact(&mut body)?;
        drop(black_box(body));
    }
}

/// Sends large messages.
pub(crate) fn give(mut stream: TcpStream) -> io::Result<()> {
    let large = frame(&vec![7; LARGE]);
    loop {
        stream.write_all(&large)?;
    }
}
