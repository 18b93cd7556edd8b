//! Waits that poll before they sleep: what is counted, and when it is not done.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use kit::{Transport, conserved, eventually, timed_out};
use sinew::{Options, Pair, Pub, Rep, Req, Runtime, Spins, Stats, Sub};

/// Whatever comes within it is worth it: that does not depend on the machine.
const LONG: Duration = Duration::from_millis(1);

/// A process that may run on one processor only never spins.
fn has_processors() -> bool {
    let several = thread::available_parallelism().is_ok_and(|count| count.get() > 1);
    if !several {
        kit::skipped("one processor");
    }
    several
}

fn spins(stats: &Stats) -> u64 {
    stats.spins_paid + stats.spins_unpaid
}

/// Whether a socket has gained by spinning, or has found that it does not: where others have the processors,
/// nothing comes within a millisecond.
fn has_learned(stats: &Stats) -> bool {
    stats.spins_paid > 10 || stats.spins_unpaid > 3
}

/// A REP that answers, until the socket is closed.
fn answer(rep: &Rep) -> thread::JoinHandle<()> {
    let rep = rep.clone();
    thread::spawn(move || {
        while let Ok(request) = rep.recv() {
            let _ = request.reply("yes");
        }
    })
}

/// Four threads that ask and one that answers, over tcp, until `enough`: more wait than one, and so the I/O
/// thread turns the loop.
fn converse_in_many_threads(
    runtime: &Runtime,
    options: &Options,
    mut enough: impl FnMut(usize) -> bool,
) {
    let rep = Rep::on(runtime, options.clone()).unwrap();
    let url = rep.bind("tcp://127.0.0.1:0").unwrap().url();
    let answering = answer(&rep);
    let (done, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let req = Req::on(runtime, options.clone()).unwrap();
                req.connect(&url).unwrap();
                while !done.load(Ordering::Relaxed) {
                    req.request("quick?").unwrap();
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        eventually("it is enough", || enough(rounds.load(Ordering::Relaxed)));
        done.store(true, Ordering::Relaxed);
    });
    rep.close().unwrap();
    answering.join().unwrap();
}

#[test]
fn the_io_thread_spins_for_sockets_that_may() {
    let runtime = Runtime::builder().io_threads(1).build().unwrap();
    converse_in_many_threads(&runtime, &Options::new().spin(Duration::ZERO), |rounds| rounds > 200);
    assert_eq!(runtime.spins(), Spins::default(), "none may");
    if has_processors() {
        converse_in_many_threads(&runtime, &Options::new(), |_| {
            let spins = runtime.spins();
            spins.paid + spins.unpaid > 0 && spins.time > Duration::ZERO
        });
    }
}

fn conversing(transport: Transport, options: Options) -> (Req, Rep, impl Sized) {
    let rep = Rep::with_options(options.clone()).unwrap();
    let req = Req::with_options(options).unwrap();
    let address = transport.address();
    req.connect(rep.bind(&address.url).unwrap().url()).unwrap();
    (req, rep, address)
}

#[test]
fn waits_that_are_short_are_spun_through() {
    for transport in Transport::ALL.into_iter().filter(|_| has_processors()) {
        let (req, rep, _address) = conversing(transport, Options::new().spin(LONG));
        let answering = answer(&rep);
        eventually("both have learned whether they gain by it", || {
            req.request("quick?").unwrap();
            [req.stats(), rep.stats()].iter().all(has_learned)
        });
        let stats = conserved(|| req.stats());
        assert!(stats.spin_nanoseconds > 0);
        rep.close().unwrap();
        answering.join().unwrap();
    }
}

/// The same with default options, on a machine that may be at anything else.
#[test]
fn by_default_waits_are_spun_through_now_and_then() {
    for transport in Transport::ALL.into_iter().filter(|_| has_processors()) {
        let (req, rep, _address) = conversing(transport, Options::new());
        let answering = answer(&rep);
        eventually("somebody has spun", || {
            req.request("quick?").unwrap();
            spins(&req.stats()) > 0 && spins(&rep.stats()) > 0
        });
        rep.close().unwrap();
        answering.join().unwrap();
    }
}

#[test]
fn a_socket_that_is_not_to_spin_does_not() {
    for transport in Transport::ALL {
        let (req, rep, _address) = conversing(transport, Options::new().spin(Duration::ZERO));
        let answering = answer(&rep);
        (0..200).for_each(|_| assert_eq!(req.request("quick?").unwrap(), "yes"));
        for stats in [req.stats(), rep.stats()] {
            assert_eq!((spins(&stats), stats.spin_nanoseconds), (0, 0));
        }
        rep.close().unwrap();
        answering.join().unwrap();
    }
}

/// Nothing comes: each look is in vain, and soon there are hardly any.
#[test]
fn who_waits_in_vain_spins_less_and_less() {
    let pair = Pair::with_options(Options::new().spin(Duration::from_micros(10))).unwrap();
    pair.bind("inproc://spinning-in-vain").unwrap();
    for _ in 0..500 {
        timed_out(pair.recv_timeout(Duration::from_micros(100)));
    }
    let stats = pair.stats();
    assert_eq!(stats.spins_paid, 0);
    assert!(stats.spins_unpaid <= 50, "{stats}");
    assert_eq!(stats.spins_unpaid > 0, has_processors());
}

/// What comes for a SUB is dealt with by who brings it.
#[test]
fn a_subscriber_that_spins_gets_everything() {
    for transport in Transport::ALL.into_iter().filter(|_| has_processors()) {
        let publisher = Pub::new();
        let subscriber = Sub::with_options(Options::new().spin(LONG)).unwrap();
        subscriber.subscribe("").unwrap();
        let address = transport.address();
        subscriber.connect(publisher.bind(&address.url).unwrap().url()).unwrap();
        publisher.wait_for_peers(1, Duration::from_secs(20)).unwrap();
        let (ask, asked) = mpsc::channel::<u32>();
        let publishing = thread::spawn(move || {
            asked.iter().for_each(|number| publisher.send(number.to_string()).unwrap());
        });
        let mut number = 0;
        eventually("it has learned whether it gains by it", || {
            number += 1;
            ask.send(number).unwrap();
            assert_eq!(subscriber.recv().unwrap(), *number.to_string());
            has_learned(&subscriber.stats())
        });
        drop(ask);
        publishing.join().unwrap();
        conserved(|| subscriber.stats());
    }
}
