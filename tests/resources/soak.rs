//! Sockets of all kinds that do by chance what they can, for as long as is asked for, and leave nothing behind.
//!
//! `cargo test` runs these for seconds. `ci/soak` runs them for half an hour: `SINEW_SOAK_SECONDS` is how long sockets
//! act by chance, `SINEW_SOAK_ROUNDS` how many are opened and closed under traffic, `SINEW_SOAK_RECONNECTS` how often
//! connections are lost and made again.

use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::{allocated, alone, threads};
use kit::{
    Dice, IO_THREADS, RawListener, SOON, SetOnDrop, Transport, descriptors, eventually, header,
};
use sinew::{
    Bus, Options, Pair, Pair1, Pub, Pull, Push, Rep, Req, Respondent, Runtime, Stats, Sub, Surveyor,
};

/// How much of the heap may differ afterwards, for each I/O thread: a small table keeps what it once held, which is not
/// the same each time. Thousands of sockets close in a second, so what each left behind would be more.
const SLACK: usize = 4 * 1024;

/// A number that the environment may set.
fn set(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// What this process holds.
#[derive(Clone, Copy, Debug)]
struct Holdings {
    descriptors: usize,
    threads: usize,
    heap: usize,
}

impl Holdings {
    fn now() -> Self {
        Self { descriptors: descriptors(), threads: threads().len(), heap: allocated() }
    }

    /// What is held when nothing is on its way any more: no more descriptors than `idle`, and a heap at rest.
    fn settled(idle: usize) -> Self {
        eventually("descriptors are back", || descriptors() <= idle);
        let mut last = Self::now();
        loop {
            thread::sleep(Duration::from_millis(100));
            let now = Self::now();
            if now.heap == last.heap {
                return now;
            }
            last = now;
        }
    }

    /// Waits until no more is held than before.
    #[track_caller]
    fn return_to(self, what: &str, io_threads: usize) {
        let Self { descriptors, threads, heap } = self;
        let most = heap + io_threads * SLACK;
        eventually("descriptors and threads are back", || {
            let now = Self::now();
            now.descriptors <= descriptors && now.threads <= threads
        });
        let end = Instant::now() + SOON;
        while Self::now().heap > most && Instant::now() < end {
            thread::sleep(Duration::from_millis(10));
        }
        let now = Self::now();
        eprintln!("{what}: before {self:?}, after {now:?}");
        assert!(now.heap <= most, "{what} has left {} bytes", now.heap - heap);
    }
}

/// Polls a future once and drops it: a call that is cancelled.
fn poll_and_drop(future: impl Future) {
    let _ = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
}

/// A socket of any kind in a crowd: does what it can without waiting.
trait Member: Send + Sync {
    fn bind(&self, url: &str) -> Option<String>;
    fn connect(&self, url: &str);
    fn act(&self, dice: &mut Dice);
    fn close(&self);
    fn stats(&self) -> Stats;
}

macro_rules! members {
    ($($socket:ty: $act:expr;)*) => {
        $(impl Member for $socket {
            /// Somebody else may have the address.
            fn bind(&self, url: &str) -> Option<String> {
                Self::bind(self, url).ok().map(|endpoint| endpoint.url())
            }
            fn connect(&self, url: &str) {
                Self::connect(self, url).expect("the address is good");
            }
            fn act(&self, dice: &mut Dice) {
                let act: fn(&Self, &mut Dice) = $act;
                act(self, dice);
            }
            fn close(&self) {
                Self::close(self).expect("it was open");
            }
            fn stats(&self) -> Stats {
                Self::stats(self)
            }
        })*

        /// How one of each kind is made.
        const KINDS: &[fn(&Runtime, Options) -> Box<dyn Member>] =
            &[$(|runtime, options| Box::new(<$socket>::on(runtime, options).expect("in range")),)*];
    };
}

/// A body of a length that goes by copy, by reference, or in several reads.
fn body(dice: &mut Dice) -> Vec<u8> {
    let length = [0, 3, 64, 1000, 9000, 70_000][dice.roll(6) as usize];
    vec![7; length]
}

members! {
    Pair: |pair, dice| {
        let _ = (pair.try_send(body(dice)), pair.try_recv());
        poll_and_drop(pair.recv_async());
    };
    Pair1: |pair, dice| {
        let _ = (pair.try_send(body(dice)), pair.try_recv());
    };
    Bus: |bus, dice| {
        let _ = (bus.try_send(body(dice)), bus.try_recv());
    };
    Req: |req, dice| {
        let _ = req.request_timeout(body(dice), Duration::ZERO);
        poll_and_drop(req.request_async("cancelled"));
    };
    Rep: |rep, dice| {
        if let Ok(request) = rep.try_recv()
            && dice.roll(4) > 0
        {
            let _ = request.try_reply(body(dice));
        }
    };
    Pub: |publisher, dice| publisher.send(body(dice)).expect("it is open");
    Sub: |subscriber, dice| {
        let topic = vec![7; dice.roll(3) as usize];
        let _ = match dice.roll(3) {
            0 => subscriber.unsubscribe(topic).is_ok(),
            _ => subscriber.subscribe(topic).is_ok(),
        };
        let _ = subscriber.try_recv();
    };
    Push: |push, dice| {
        let _ = push.try_send(body(dice));
        poll_and_drop(push.send_async("perhaps cancelled"));
    };
    Pull: |pull, _| {
        let _ = pull.try_recv();
        poll_and_drop(pull.recv_async());
    };
    Surveyor: |surveyor, dice| {
        let _ = surveyor.survey(body(dice)).map(|answers| answers.try_recv().map(drop));
    };
    Respondent: |respondent, dice| {
        if let Ok(survey) = respondent.try_recv()
            && dice.roll(4) > 0
        {
            let _ = survey.try_reply(body(dice));
        }
    };
}

/// Opens, binds, connects, uses and closes sockets by chance; the last that were closed, and how many were closed.
///
/// Who connects to whom is left to chance: most do not fit, and keep trying.
fn crowd(
    runtime: &Runtime,
    threads: u64,
    each: usize,
    lasts: Duration,
) -> (Vec<Box<dyn Member>>, u64) {
    let addresses: Vec<_> = (0..12).map(|n| Transport::ALL[n % 3].address()).collect();
    let urls = Mutex::new(addresses.iter().map(|address| address.url.clone()).collect::<Vec<_>>());
    let start = Instant::now();
    let open_one = |dice: &mut Dice| {
        let retry = Options::new().reconnect_interval(Duration::from_millis(5));
        let member = KINDS[dice.roll(KINDS.len() as u64) as usize](runtime, retry);
        let address = dice.roll(12) as usize;
        let url = urls.lock().unwrap()[address].clone();
        if dice.roll(2) == 0 {
            if let Some(bound) = member.bind(&url) {
                // With tcp the port is known only now.
                urls.lock().unwrap()[address] = bound;
            }
        } else if !url.ends_with(":0") {
            member.connect(&url);
        }
        member
    };
    let closes = AtomicU64::new(0);
    let close = |member: &dyn Member| {
        member.close();
        closes.fetch_add(1, Ordering::Relaxed);
    };
    let act = |seed: u64| {
        let mut dice = Dice(seed);
        let mut open: Vec<Box<dyn Member>> = Vec::new();
        let mut closed = Vec::new();
        while start.elapsed() < lasts {
            if open.len() < each {
                open.push(open_one(&mut dice));
            }
            let chosen = dice.roll(open.len() as u64) as usize;
            match dice.roll(50) {
                0 => {
                    let member = open.swap_remove(chosen);
                    close(&*member);
                    closed.push(member);
                }
                _ => open[chosen].act(&mut dice),
            }
            // Those that are gone are judged in passing: there are millions of them in half an hour.
            if closed.len() > 100 {
                closed.drain(..50).for_each(|member| judge(&*member));
            }
        }
        open.iter().for_each(|member| close(&**member));
        closed.extend(open);
        closed
    };
    let members = thread::scope(|scope| {
        let act = &act;
        let crowds: Vec<_> = (1..=threads).map(|seed| scope.spawn(move || act(seed))).collect();
        crowds.into_iter().flat_map(|crowd| crowd.join().unwrap()).collect()
    });
    (members, closes.into_inner())
}

/// Checks that a closed socket accounts for each message and has no connection any more.
#[track_caller]
fn judge(member: &dyn Member) {
    let end = Instant::now() + SOON;
    loop {
        let stats = member.stats();
        let account = stats.check_conservation();
        let connections = stats.current_connections + stats.inprogress_connections;
        match account {
            Ok(()) if connections == 0 => return,
            _ => {
                assert!(Instant::now() < end, "{account:?}, {connections} connections: {stats:#?}")
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// C335.
#[test]
fn a_crowd_of_sockets_that_come_and_go_does_no_harm() {
    let _turn = alone();
    let lasts = Duration::from_secs(set("SINEW_SOAK_SECONDS", 4)) / 2;
    for io_threads in [1, 4] {
        let runtime = Runtime::builder().io_threads(io_threads).build().unwrap();
        let idle = descriptors();
        // What is made once, such as a thread's buffers, is made before.
        drop(crowd(&runtime, 12, 25, Duration::from_millis(200)));
        let before = Holdings::settled(idle);
        let (members, closes) = crowd(&runtime, 12, 25, lasts);
        eprintln!("{closes} sockets were closed, with {io_threads} I/O threads");
        members.iter().for_each(|member| judge(&**member));
        assert!(members.iter().map(|member| member.stats().messages_received).sum::<u64>() > 0);
        drop(members);
        before.return_to("a crowd", io_threads);
    }
}

/// A socket of each kind is opened, connected and closed while others talk.
#[test]
fn opening_and_closing_under_traffic_leaves_nothing_behind() {
    let _turn = alone();
    let rounds = set("SINEW_SOAK_ROUNDS", 100);
    let runtime = Runtime::builder().build().unwrap();
    let peers: Vec<_> = KINDS.iter().map(|make| make(&runtime, Options::new())).collect();
    let urls: Vec<_> = peers.iter().map(|peer| peer.bind("tcp://127.0.0.1:0").unwrap()).collect();
    let (over, paused) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let _over = SetOnDrop(&over);
        scope.spawn(|| {
            let mut dice = Dice(1);
            while !over.load(Ordering::Relaxed) {
                if paused.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(1));
                } else {
                    peers.iter().for_each(|peer| peer.act(&mut dice));
                }
            }
        });
        let mut dice = Dice(2);
        let mut round = || {
            for make in KINDS {
                let member = make(&runtime, Options::new());
                urls.iter().for_each(|url| member.connect(url));
                // Every other closes in the middle of its handshakes.
                let has_peer = || member.stats().current_connections > 0;
                if dice.roll(2) == 0 {
                    eventually("it has a peer", has_peer);
                }
                (0..3).for_each(|_| member.act(&mut dice));
                member.close();
                judge(&*member);
            }
        };
        // Afterwards the I/O thread has its descriptors as well.
        eventually("the I/O thread runs", || threads().len() >= IO_THREADS); // other runtimes may have some
        (0..10).for_each(|_| round());
        let seen = |peer: &dyn Member| peer.stats().current_connections == 0;
        eventually("the first have gone", || peers.iter().all(|peer| seen(&**peer)));
        let idle = descriptors();
        // What they have not read yet would be held as well.
        let have_read = || peers.iter().all(|peer| peer.stats().recv_queue == 0);
        eventually("all is read", have_read);
        paused.store(true, Ordering::Relaxed);
        let before = Holdings::settled(idle);
        paused.store(false, Ordering::Relaxed);
        (0..rounds).for_each(|_| round());
        eventually("the last have gone", || peers.iter().all(|peer| seen(&**peer)));
        eprintln!("{} sockets were opened and closed under traffic", rounds * KINDS.len() as u64);
        eventually("all is read", have_read);
        paused.store(true, Ordering::Relaxed);
        before.return_to("opening and closing", 1);
    });
    for peer in &peers {
        peer.close();
        judge(&**peer);
    }
}

/// Dialers whose connections the listener resets, each as soon as it is there.
#[test]
fn connections_that_are_lost_and_made_again_leave_nothing_behind() {
    const DIALERS: usize = 50;
    const PUSH: u8 = 0x50;
    const PULL: u8 = 0x51;
    let _turn = alone();
    let reconnects = set("SINEW_SOAK_RECONNECTS", 2_000);
    let runtime = Runtime::builder().build().unwrap();
    let listener = RawListener::new();
    let idle = descriptors();
    let soon = Duration::from_millis(1);
    let options = Options::new().reconnect_interval(soon).reconnect_max(Some(soon));
    let dial = |push: &Push| {
        for _ in 0..DIALERS {
            push.connect(listener.url()).unwrap();
        }
    };
    let lose = |count: u64| {
        let mut lost = 0;
        while lost < count {
            let mut raw = listener.accept();
            // The dialer may have given up this attempt.
            let _ = raw.try_send(&header(PULL));
            if let Ok(sent) = raw.try_read(8) {
                assert_eq!(sent, header(PUSH));
                lost += 1;
            }
            raw.reset();
        }
    };
    // Once before, for what is made once.
    let first = Push::on(&runtime, options.clone()).unwrap();
    dial(&first);
    lose(500);
    first.close().unwrap();
    drop(first);
    while listener.try_accept().is_some() {}
    let before = Holdings::settled(idle);
    let push = Push::on(&runtime, options).unwrap();
    dial(&push);
    lose(reconnects);
    let stats = push.stats();
    assert!(stats.established_connections + stats.connect_errors >= reconnects, "{stats:?}");
    push.close().unwrap();
    eventually("nothing is left of it", || push.stats().current_connections == 0);
    drop(push);
    while listener.try_accept().is_some() {}
    before.return_to("reconnecting", 1);
}
