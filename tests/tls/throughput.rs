//! Measures tls+tcp beside rustls over a bare TCP socket, in one run.
//!
//! ```sh
//! cargo run --release --package sinew-tls-tests --example tls_throughput
//! ```
//!
//! One thread sends messages of 64 KiB and another receives them, over the loopback interface, with the same
//! certificate, versions and cryptography. The bare side writes and reads with `rustls::StreamOwned`, as programs do,
//! each message behind its length. The rounds alternate, so that what disturbs one disturbs the other.

#[path = "certificates.rs"]
mod certificates;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};
use sinew::tls::TlsConfig;
use sinew::{Options, Pull, Push, Runtime};

use certificates::{local, ours};

const SIZE: usize = 64 * 1024;
const ROUNDS: usize = 7;
const LONG: Duration = Duration::from_secs(60);

fn main() {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(20_000);
    rustls::crypto::ring::default_provider().install_default().expect("it is the first");
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(rate(count, bare_tls(count)));
        ours.push(rate(count, sinew(count)));
    }
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[ROUNDS / 2]
    };
    let (bare, ours) = (median(&mut bare), median(&mut ours));
    println!("rustls over a bare TCP socket: {bare:.0} MiB/s");
    println!("sinew over tls+tcp:            {ours:.0} MiB/s");
    println!("sinew / bare:                  {:.2}", ours / bare);
}

/// In MiB a second.
fn rate(count: usize, took: Duration) -> f64 {
    (count * SIZE) as f64 / (1 << 20) as f64 / took.as_secs_f64()
}

fn bare_tls(count: usize) -> Duration {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ours().pem().as_bytes()).unwrap()).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let chain = CertificateDer::from_pem_slice(local().chain.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(local().key.as_bytes()).unwrap();
    let server = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![chain], key);
    let server = ServerConnection::new(Arc::new(server.unwrap())).unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let client = ClientConnection::new(Arc::new(client), name).unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    tcp.set_nodelay(true).unwrap();
    let sender = thread::spawn(move || {
        let mut stream = StreamOwned::new(client, tcp);
        let message = vec![7; SIZE];
        for _ in 0..=count {
            stream.write_all(&(SIZE as u64).to_be_bytes()).unwrap();
            stream.write_all(&message).unwrap();
        }
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        // With something unread it would end with a reset, before all is delivered.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let (tcp, _) = listener.accept().unwrap();
    let mut stream = StreamOwned::new(server, tcp);
    let (mut length, mut message) = ([0; 8], vec![0; SIZE]);
    let mut receive = || {
        stream.read_exact(&mut length).unwrap();
        message.resize(usize::try_from(u64::from_be_bytes(length)).unwrap(), 0);
        stream.read_exact(&mut message).unwrap();
    };
    // The first is not counted: the handshake comes before it.
    receive();
    let begin = Instant::now();
    (0..count).for_each(|_| receive());
    let took = begin.elapsed();
    drop(stream);
    sender.join().unwrap();
    took
}

fn sinew(count: usize) -> Duration {
    let config = local().config().trust(ours().pem()).build().unwrap();
    // Each side has an event loop of its own, as in two programs.
    let (here, there) = (Runtime::new().unwrap(), Runtime::new().unwrap());
    let pull = Pull::on(&here, Options::new().tls(config)).unwrap();
    let url = pull.bind("tls+tcp://127.0.0.1:0").unwrap().url();
    let trusting = TlsConfig::builder().trust(ours().pem()).build().unwrap();
    let push = Push::on(&there, Options::new().tls(trusting)).unwrap();
    push.connect_now(url).unwrap();
    let sender = thread::spawn(move || {
        let message = sinew::Message::from(vec![7; SIZE]);
        for _ in 0..=count {
            push.send(&message).unwrap();
        }
        assert_eq!(push.drain(LONG), 0);
    });
    assert_eq!(pull.recv().unwrap().len(), SIZE);
    let begin = Instant::now();
    for _ in 0..count {
        assert_eq!(pull.recv().unwrap().len(), SIZE);
    }
    let took = begin.elapsed();
    sender.join().unwrap();
    took
}
