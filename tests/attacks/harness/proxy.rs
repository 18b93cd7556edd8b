//! A proxy that does to a connection what networks do: cuts it, holds it up, breaks it into pieces, corrupts
//! it, or ends one direction of it. What it does is decided by a seed.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kit::Dice;
use socket2::SockRef;

/// What happens to a connection. The default is nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Each direction ends after up to so many bytes: how it ends is diced.
    pub(crate) cut_within: Option<u64>,
    /// No more than so many bytes are passed on at once.
    pub(crate) piece: Option<u64>,
    /// Each piece is held up for up to so long.
    pub(crate) delay: Option<Duration>,
    /// One bit is turned in each piece of about so many bytes, after the header.
    pub(crate) flip_within: Option<u64>,
}

/// Listens, and passes on to another address.
pub(crate) struct Proxy {
    url: String,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

struct Shared {
    to: Mutex<String>,
    faults: Mutex<Faults>,
    is_over: AtomicBool,
    connections: AtomicUsize,
    /// Both ends of each that is open, to cut them when the proxy ends. Its pumps own them.
    open: Mutex<Vec<Weak<TcpStream>>>,
}

impl Proxy {
    /// A proxy for a tcp address.
    pub(crate) fn to(url: &str, seed: u64, faults: Faults) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("an address is free");
        let own = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            to: Mutex::new(url.trim_start_matches("tcp://").to_owned()),
            faults: Mutex::new(faults),
            is_over: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            open: Mutex::new(Vec::new()),
        });
        let listening = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.listen(&listener, Dice(seed))
        });
        Self { url: format!("tcp://{own}"), shared, listening: Some(listening) }
    }

    /// Where to connect to.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// What happens to connections from now on.
    pub(crate) fn set(&self, faults: Faults) {
        *self.shared.faults.lock().expect("no thread panicked") = faults;
    }

    /// Cuts all connections there are, with a reset.
    pub(crate) fn cut_all(&self) {
        self.shared.cut_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.url.trim_start_matches("tcp://"));
        let listening = self.listening.take().expect("it is dropped once");
        let _ = listening.join();
    }
}

/// Ends a connection with a reset, for whoever reads and writes it.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Both);
}

impl Shared {
    fn listen(self: &Arc<Self>, listener: &TcpListener, mut dice: Dice) {
        let mut pumps = Vec::new();
        while let Ok((near, _)) = listener.accept() {
            if self.is_over.load(Ordering::Relaxed) {
                break;
            }
            let to = self.to.lock().expect("no thread panicked").clone();
            // Nobody listens there: the connection ends.
            let Ok(far) = TcpStream::connect(&to) else { continue };
            self.connections.fetch_add(1, Ordering::Relaxed);
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            let (near, far) = (Arc::new(near), Arc::new(far));
            let mut open = self.open.lock().expect("no thread panicked");
            open.retain(|stream| stream.strong_count() > 0);
            open.extend([&near, &far].map(Arc::downgrade));
            drop(open);
            pumps.retain(|pump: &JoinHandle<()>| !pump.is_finished());
            for (from, to) in [(&near, &far), (&far, &near)] {
                let (from, to) = (Arc::clone(from), Arc::clone(to));
                let faults = self.faults.lock().expect("no thread panicked").clone();
                let seed = dice.roll(1 << 30);
                pumps.push(thread::spawn(move || pump(&from, &to, &faults, Dice(seed))));
            }
        }
        self.cut_all();
        for pump in pumps {
            let _ = pump.join();
        }
    }

    fn cut_all(&self) {
        let open: Vec<_> = self.open.lock().expect("no thread panicked").drain(..).collect();
        open.iter().filter_map(Weak::upgrade).for_each(|stream| reset(&stream));
    }
}

/// Passes on in one direction until its end.
fn pump(mut from: &TcpStream, mut to: &TcpStream, faults: &Faults, mut dice: Dice) {
    let mut left = faults.cut_within.map_or(u64::MAX, |within| dice.roll(within));
    let mut until_flip = faults.flip_within.map_or(u64::MAX, |within| 8 + dice.roll(within));
    let mut buffer = [0; 16 << 10];
    while left > 0 {
        let piece = faults.piece.map_or(buffer.len() as u64, |most| 1 + dice.roll(most));
        let most = piece.min(left).min(buffer.len() as u64) as usize;
        let bytes = match from.read(&mut buffer[..most]) {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(n) => &mut buffer[..n],
            Err(_) => break,
        };
        left -= bytes.len() as u64;
        if until_flip < bytes.len() as u64 {
            bytes[until_flip as usize] ^= 1 << dice.roll(8);
            until_flip = dice.roll(faults.flip_within.unwrap_or(u64::MAX));
        } else if faults.flip_within.is_some() {
            until_flip -= bytes.len() as u64;
        }
        if let Some(delay) = faults.delay {
            // What a network does.
            thread::sleep(delay.mul_f64(dice.roll(1000) as f64 / 1000.0));
        }
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    match dice.roll(3) {
        // Half of it ends, and the rest when somebody notices.
        0 => _ = to.shutdown(Shutdown::Write),
        1 => _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both)),
        _ => {
            reset(to);
            reset(from);
        }
    }
}
