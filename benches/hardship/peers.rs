//! The peers: processes that are nothing but bytes.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

/// How far apart the requests of a polite peer are.
const APART: Duration = Duration::from_millis(1);
/// The length of a large message.
pub(crate) const LARGE: usize = 64 << 20;
/// How many peers a crowd has.
const CROWD: usize = 1000;

/// Plays the part that the command line names.
pub(crate) fn play(part: &str, arguments: &[String]) {
    let at = || &arguments[0];
    let over = match part {
        "polite" => polite(at(), arguments[1].parse().expect("seconds")),
        "flood" => flood(at(), &frame(&[7; 1000]).repeat(64)),
        "drizzle" => flood(at(), &frame(&[7; 64]).repeat(1000)),
        "large" => flood(at(), &frame(&vec![7; LARGE])),
        "take" => take(at()),
        "crowd" => crowd(at()),
        "storm" => storm(at()),
        "silent" => silent(at(), arguments[1].parse().expect("how many")),
        "knock" => knock(at(), arguments[1].parse().expect("how many")),
        "many" => many(at(), arguments),
        "listen" => return super::restart::listen(at()),
        #[expect(clippy::empty_loop, reason = "this is what it is for")]
        "spin" => loop {},
        other => return eprintln!("{other} is no part to play"),
    };
    // A server that has gone is the usual end.
    if let Err(error) = over
        && error.kind() != io::ErrorKind::ConnectionReset
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        eprintln!("{part}: {error}");
    }
}

/// Connects, and exchanges headers: `id` is what this peer is.
pub(crate) fn greet(url: &str, id: u8) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(url.trim_start_matches("tcp://"))?;
    stream.set_nodelay(true)?;
    stream.write_all(&header(id))?;
    stream.read_exact(&mut [0; 8])?;
    Ok(stream)
}

pub(crate) fn header(id: u8) -> [u8; 8] {
    [0, b'S', b'P', 0, 0, id, 0, 0]
}

pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u64).to_be_bytes(), payload].concat()
}

/// Asks now and then, and measures how long each reply takes. A request that is due before the reply to the one
/// before it is left out.
fn polite(url: &str, seconds: u64) -> io::Result<()> {
    let mut stream = greet(url, 0x30)?;
    let (mut times, mut reply) = (Vec::new(), [0; 72]);
    let begin = Instant::now();
    for n in 0_u32..1000 * u32::try_from(seconds).expect("some seconds") {
        let Some(wait) = (begin + APART * n).checked_duration_since(Instant::now()) else {
            continue;
        };
        thread::sleep(wait);
        let since = Instant::now();
        stream.write_all(&frame(&[&(n | 1 << 31).to_be_bytes()[..], &[7; 60]].concat()))?;
        stream.read_exact(&mut reply)?;
        times.push(since.elapsed().as_nanos().to_string());
    }
    println!("{}", times.join(" "));
    Ok(())
}

/// Sends as fast as it can.
fn flood(url: &str, bytes: &[u8]) -> io::Result<()> {
    let mut stream = greet(url, 0x50)?;
    loop {
        stream.write_all(bytes)?;
    }
}

/// Reads all that comes and throws it away.
fn take(url: &str) -> io::Result<()> {
    discard(&mut greet(url, 0x51)?)
}

fn discard(stream: &mut TcpStream) -> io::Result<()> {
    let mut block = vec![0; 256 << 10];
    while stream.read(&mut block)? > 0 {}
    Ok(())
}

/// Many peers that send by turns, each as much as the kernel takes.
fn crowd(url: &str) -> io::Result<()> {
    let mut peers = (0..CROWD).map(|_| greet(url, 0x50)).collect::<io::Result<Vec<_>>>()?;
    let frames = frame(&[7; 1000]).repeat(16);
    let mut sent = vec![0; CROWD];
    for peer in &peers {
        peer.set_nonblocking(true)?;
    }
    loop {
        for (peer, sent) in peers.iter_mut().zip(&mut sent) {
            match peer.write(&frames[*sent..]) {
                Ok(n) => *sent = (*sent + n) % frames.len(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Peers that connect and leave, several at once.
fn storm(url: &str) -> io::Result<()> {
    loop {
        let peers = (0..20).map(|_| greet(url, 0x50)).collect::<io::Result<Vec<_>>>()?;
        drop(peers);
    }
}

/// Connects this often and says nothing; says when all are there, and after which times they were closed.
fn silent(url: &str, count: usize) -> io::Result<()> {
    let connect = |_| Ok((TcpStream::connect(url.trim_start_matches("tcp://"))?, Instant::now()));
    let peers = (0..count).map(connect).collect::<io::Result<Vec<_>>>()?;
    println!("there");
    let mut times: Vec<Duration> = Vec::new();
    for (mut peer, since) in peers {
        // A reset is an end as well.
        let _ = discard(&mut peer);
        times.push(since.elapsed());
    }
    let (least, most) = (times.iter().min(), times.iter().max());
    println!("{} to {}", least.map_or(0, Duration::as_millis), most.map_or(0, Duration::as_millis));
    Ok(())
}

/// Connects this often, and shows its header without waiting for that of the other side.
fn knock(url: &str, count: usize) -> io::Result<()> {
    let mut peers = Vec::new();
    for _ in 0..count {
        let mut peer = TcpStream::connect(url.trim_start_matches("tcp://"))?;
        peer.write_all(&header(0x50))?;
        peers.push(peer);
    }
    println!("there");
    loop {
        thread::park();
    }
}

/// Connects as often as the second argument says, as the protocol of the third; reads if there is a fourth.
/// Says when all are there.
fn many(url: &str, arguments: &[String]) -> io::Result<()> {
    let count: usize = arguments[1].parse().expect("how many");
    let id = arguments[2].parse().expect("a protocol");
    let mut peers = (0..count).map(|_| greet(url, id)).collect::<io::Result<Vec<_>>>()?;
    println!("there");
    if arguments.len() == 3 {
        loop {
            thread::park();
        }
    }
    for peer in &peers {
        peer.set_nonblocking(true)?;
    }
    let mut block = vec![0; 256 << 10];
    loop {
        let mut read = 0;
        for peer in &mut peers {
            match peer.read(&mut block) {
                Ok(n) => read += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        if read == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
}
