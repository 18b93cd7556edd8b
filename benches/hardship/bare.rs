//! A server of bare threads that block, for comparison: it does with each peer what the sockets do.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::peers::{LARGE, discard, frame, header};

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

/// Throws away what comes.
pub(crate) fn sink(mut stream: TcpStream) -> io::Result<()> {
    discard(&mut stream)
}

/// Sends large messages.
pub(crate) fn give(mut stream: TcpStream) -> io::Result<()> {
    let large = frame(&vec![7; LARGE]);
    loop {
        stream.write_all(&large)?;
    }
}
