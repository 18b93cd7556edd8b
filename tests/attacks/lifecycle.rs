//! Group G: threads, and the ends of things.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use kit::{Raw, SOON, Transport, conserved, eventually, in_time, join, poll_once};
use sinew::{
    Bus, Device, Options, Pair, Pull, Push, RecvError, Rep, Req, Respondent, Runtime, SendError,
    Surveyor, raw, role,
};

use crate::harness::attack::Attack;
use crate::harness::census::Census;
use crate::harness::child::{Process, job, tell};
use crate::harness::{alone, name_of, times};

/// Requests, surveys and contexts that are leaked, not dropped: others go on.
#[test]
fn g07_what_is_leaked() {
    let _turn = alone();
    let (rep, req) = (Rep::new(), Req::new());
    let _joined = join!(rep, req, Transport::Tcp);
    for n in 0..10 {
        let asked = req.context();
        asked.send(format!("{n}")).unwrap();
        std::mem::forget(rep.recv_timeout(SOON).unwrap());
        std::mem::forget(asked);
    }
    thread::scope(|scope| {
        scope.spawn(|| rep.recv_timeout(SOON).unwrap().reply("pong").unwrap());
        assert_eq!(req.request_timeout("ping", SOON).unwrap(), "pong");
    });
    let (respondent, surveyor) = (Respondent::new(), Surveyor::new());
    let _other = join!(respondent, surveyor, Transport::Inproc);
    std::mem::forget(surveyor.survey("leaked").unwrap());
    std::mem::forget(respondent.recv_timeout(SOON).unwrap());
    let survey = surveyor.survey("asked").unwrap();
    respondent.recv_timeout(SOON).unwrap().reply("here").unwrap();
    assert_eq!(survey.recv_timeout(SOON).unwrap(), "here");
    rep.close().unwrap();
    req.close().unwrap();
    conserved(|| rep.stats());
}

/// Many threads in every call of one socket, and one that closes it.
#[test]
fn g09_a_close_among_many_threads() {
    const THREADS: usize = 16;
    let _turn = alone();
    let warm = Pair::new();
    warm.bind("tcp://127.0.0.1:0").unwrap();
    let before = Census::settled();
    for round in 0..times(100, 10_000) {
        in_time(move || {
            let (pair, peer) = (Pair::new(), Pair::new());
            let transport = Transport::ALL[round % 3];
            let _joined = join!(pair, peer, transport);
            let start = Arc::new(Barrier::new(THREADS + 1));
            thread::scope(|scope| {
                for number in 0..THREADS {
                    let (pair, start) = (pair.clone(), Arc::clone(&start));
                    scope.spawn(move || {
                        start.wait();
                        loop {
                            let closed = match number % 5 {
                                0 => matches!(pair.send("x"), Err(SendError::Closed(_))),
                                1 => matches!(pair.recv(), Err(RecvError::Closed)),
                                2 => pair.set_options(Options::new()).is_err(),
                                3 => pair.stats().messages_sent > u64::MAX - 1 || pair.is_closed(),
                                _ => {
                                    pair.wait_for_peers(9, Duration::from_millis(1)).is_err()
                                        && pair.is_closed()
                                }
                            };
                            if closed {
                                return;
                            }
                        }
                    });
                }
                start.wait();
                let _ = peer.send("y");
                pair.close().unwrap();
            });
            conserved(|| pair.stats());
        });
    }
    before.is_back(0);
}

/// Closing twice, from several threads, and while a panic unwinds.
#[test]
fn g10_closes_upon_closes() {
    let _turn = alone();
    for _ in 0..times(50, 1000) {
        in_time(|| {
            let (one, other) = (Bus::new(), Bus::new());
            let _joined = join!(one, other, Transport::Tcp);
            let closed: usize = thread::scope(|scope| {
                let closing = [(); 8].map(|()| scope.spawn(|| usize::from(one.close().is_ok())));
                closing.into_iter().map(|it| it.join().unwrap()).sum()
            });
            assert_eq!(closed, 1);
            let unwound = catch_unwind(AssertUnwindSafe(|| {
                let _dropped = other;
                std::panic::resume_unwind(Box::new("the program's own"));
            }));
            assert!(unwound.is_err());
            conserved(|| one.stats());
        });
    }
}

/// The last handle goes in the callback that decides about a peer.
#[test]
fn g11_the_last_handle_goes_in_a_callback() {
    let _turn = alone();
    for _ in 0..times(20, 500) {
        in_time(|| {
            let last: Arc<Mutex<Option<Pull>>> = Arc::default();
            let held = Arc::clone(&last);
            let options = Options::new().admit(move |_| {
                drop(held.lock().unwrap().take());
                true
            });
            let pull = Pull::with_options(options).unwrap();
            let url = pull.bind("tcp://127.0.0.1:0").unwrap().url();
            *last.lock().unwrap() = Some(pull);
            let mut raw = Raw::connect(&url);
            let _ = raw.try_send(&kit::header(0x50));
            raw.read_to_end();
            assert!(last.lock().unwrap().is_none());
        });
    }
}

/// Receives that are begun and dropped, at any point: no message is lost.
#[test]
fn g15_receives_that_are_dropped() {
    let attack = Attack::<role::Pull>::on(Options::new());
    let push = Push::new();
    push.connect_now(&attack.url).unwrap();
    let messages = times(20_000, 1_000_000);
    thread::scope(|scope| {
        scope.spawn(|| (0..messages).for_each(|n| push.send(format!("{n}")).unwrap()));
        let mut next = 0;
        while next < messages {
            let mut receiving = Box::pin(attack.socket.recv_async());
            let polls = next % 3;
            for _ in 0..=polls {
                match poll_once(&mut receiving) {
                    None => thread::yield_now(),
                    Some(message) => {
                        assert_eq!(message.unwrap().to_text(), format!("{next}"));
                        next += 1;
                        break;
                    }
                }
            }
        }
    });
    conserved(|| push.stats());
    drop(push);
    attack.over();
}

/// What a program starts has none of our descriptors.
#[test]
fn g18_a_program_that_is_started() {
    let attack = Attack::<role::Pull>::on(Options::new());
    let (push, peer) = (Push::new(), attack.peer());
    push.connect_now(&attack.url).unwrap();
    let address = Transport::Ipc.address();
    attack.socket.bind(&address.url).unwrap();
    let readiness = attack.socket.recv_readiness().unwrap();
    let mut listing = std::process::Command::new("sh");
    let listed = listing.args(["-c", "ls -l /proc/self/fd"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let ours = ["socket:", "eventfd", "eventpoll", "timerfd"];
    // The test harness may have been started with sockets of its own.
    let inherited: Vec<&str> = listed
        .lines()
        .filter(|line| ours.iter().any(|kind| line.contains(kind)))
        .filter(|line| {
            let number = line.split(" -> ").next().and_then(|it| it.rsplit(' ').next());
            number.and_then(|it| it.parse::<u32>().ok()).is_none_or(|number| number > 2)
        })
        .collect();
    assert!(inherited.is_empty(), "{listed}");
    drop((push, peer, readiness));
    for endpoint in attack.socket.endpoints().into_iter().skip(1) {
        endpoint.close().unwrap();
    }
    attack.over();
}

/// A process that ends with sockets that live, in each way there is.
#[test]
fn g19_a_process_that_ends_with_live_sockets() {
    let _turn = alone();
    for way in ["returns", "exits", "aborts", "in-a-thread-local"] {
        for _ in 0..times(3, 100) {
            let mut child = Process::start(name_of(part_that_ends), &format!("ends {way}"), "");
            assert_eq!(child.told(), "now");
            let status = child.ended();
            assert_eq!(status.success(), way != "aborts", "{way}: {status}");
        }
    }
}

#[test]
#[ignore = "a part of the test above, which ends"]
fn part_that_ends() {
    thread_local! {
        static HELD: Mutex<Vec<Pair>> = const { Mutex::new(Vec::new()) };
    }
    let Some(job) = job() else { return };
    let (one, other) = (Pair::new(), Pair::new());
    let _joined = join!(one, other, Transport::Tcp);
    (0..10).for_each(|_| one.send(vec![7; 10_000]).unwrap());
    for pair in [one.clone(), other.clone()] {
        thread::spawn(move || while pair.recv().is_ok() {});
    }
    tell("now");
    match &job[1][..] {
        "exits" => std::process::exit(0),
        "aborts" => std::process::abort(),
        "in-a-thread-local" => HELD.with(|held| held.lock().unwrap().extend([one, other])),
        _ => {}
    }
}

/// Sockets that open and close under traffic.
#[test]
fn g20_sockets_that_open_and_close() {
    let attack = Attack::<role::Rep>::on(Options::new());
    let rep = attack.socket.clone();
    thread::scope(|scope| {
        let rounds = times(1_000, 100_000);
        scope.spawn(move || {
            while let Ok(request) = rep.recv_timeout(Duration::from_secs(2)) {
                let reply = request.message().clone();
                let _ = request.reply(reply);
            }
        });
        for n in 0..rounds {
            let req = Req::new();
            req.connect_now(&attack.url).unwrap();
            if n % 4 == 0 {
                assert_eq!(req.request_timeout("?", SOON).unwrap(), "?");
            } else {
                let context = req.context();
                context.send("nobody waits").unwrap();
            }
        }
    });
    attack.over();
}

/// A runtime that ends with many connections, and messages that nobody takes.
#[test]
fn g21_a_runtime_that_ends_with_many_connections() {
    const PEERS: usize = 500;
    let _turn = alone();
    let before = Census::settled();
    in_time(|| {
        let runtime = Runtime::new().unwrap();
        let options = Options::new().linger(Duration::ZERO).send_queue_bytes(1 << 20);
        let push = Push::on(&runtime, options).unwrap();
        let url = push.bind("tcp://127.0.0.1:0").unwrap().url();
        let peers: Vec<Raw> = (0..PEERS).map(|_| Raw::greet(&url, 0x51, 0x50)).collect();
        push.wait_for_peers(PEERS, SOON).unwrap();
        (0..2 * PEERS).for_each(|_| push.send(vec![7; 10_000]).unwrap());
        // Sends that wait for a peer that takes nothing.
        let options = Options::new().linger(Duration::ZERO).send_queue(1);
        let stuck = Push::on(&runtime, options).unwrap();
        let stalled = Raw::greet(&stuck.bind("tcp://127.0.0.1:0").unwrap().url(), 0x51, 0x50);
        let sending: Vec<_> = (0..20)
            .map(|_| {
                let stuck = stuck.clone();
                thread::spawn(move || while stuck.send(vec![7; 1 << 20]).is_ok() {})
            })
            .collect();
        eventually("they wait", || stuck.stats().send_queue > 0);
        // An attempt that is under way, and a name that is being looked up.
        push.connect("tcp://127.0.0.1:1").unwrap();
        push.connect("tcp://nowhere.invalid:5").unwrap();
        stuck.close().unwrap();
        drop((push, stuck, runtime));
        sending.into_iter().for_each(|sending| sending.join().unwrap());
        drop((peers, stalled));
    });
    before.is_back(0);
}

/// Options that change under traffic: nothing is lost, and nothing is stuck.
#[test]
fn g22_options_that_change_under_traffic() {
    let attack = Attack::<role::Pull>::on(Options::new());
    let push = Push::new();
    push.connect_now(&attack.url).unwrap();
    let messages = times(20_000, 2_000_000);
    thread::scope(|scope| {
        scope.spawn(|| (0..messages).for_each(|_| push.send(vec![7; 100]).unwrap()));
        let receiving = scope.spawn(|| {
            (0..messages).for_each(|_| drop(attack.socket.recv_timeout(SOON).unwrap()));
        });
        let mut n = 1;
        while !receiving.is_finished() {
            n = n % 500 + 1;
            let options = Options::new().recv_queue(n).recv_queue_bytes(n * 100);
            attack.socket.set_options(options).unwrap();
            push.set_options(Options::new().send_queue(n).send_queue_bytes(n * 100)).unwrap();
            thread::yield_now();
        }
    });
    attack.socket.set_options(Options::new()).unwrap();
    conserved(|| push.stats());
    drop(push);
    attack.over();
}

/// A device that is closed from either side under traffic.
#[test]
fn g23_a_device_that_is_closed_from_either_side() {
    let _turn = alone();
    let warm = Pull::new();
    warm.bind("tcp://127.0.0.1:0").unwrap();
    let before = Census::settled();
    for round in 0..times(60, 10_000) {
        in_time(move || {
            let (front, back) = (raw::Pull::new(), raw::Push::new());
            let (push, pull) = (Push::new(), Pull::new());
            let _joined =
                (join!(front, push, Transport::Tcp), join!(back, pull, Transport::Inproc));
            let device = Device::new(front, back).unwrap().spawn().unwrap();
            thread::scope(|scope| {
                let sending = scope
                    .spawn(|| while push.send_timeout("x", Duration::from_millis(20)).is_ok() {});
                pull.recv_timeout(SOON).unwrap();
                match round % 3 {
                    0 => device.stop(),
                    1 => pull.close().unwrap(),
                    _ => push.close().unwrap(),
                }
                if round % 3 == 1 {
                    device.stop();
                } else {
                    while pull.recv_timeout(Duration::from_millis(5)).is_ok() {}
                    device.stop();
                }
                sending.join().unwrap();
            });
            device.join().unwrap();
        });
    }
    before.is_back(0);
}

/// Pipes that end in the very turn in which others begin get no event of each other.
#[test]
fn g14_places_that_are_used_again() {
    let attack = Attack::<role::Pull>::on(Options::new());
    for n in 0..times(500, 20_000) {
        let mut old = attack.peer();
        old.send_frame(b"old");
        old.reset();
        let mut new = attack.peer();
        new.send_frame(format!("new {n}").as_bytes());
        let mut came = Vec::new();
        while came.last() != Some(&format!("new {n}")) {
            came.push(attack.socket.recv_timeout(SOON).unwrap().to_text().into_owned());
        }
        drop(new);
        eventually("both have left", || attack.stats().current_connections == 0);
        while attack.socket.try_recv().is_ok() {}
    }
    attack.over();
}

/// The same where one turn has both: the end of the old, and all of the new.
#[test]
fn g14_places_that_are_used_again_in_one_turn() {
    let _turn = alone();
    let runtime = Runtime::builder().manual(true).build().unwrap();
    let pull = Pull::on(&runtime, Options::new()).unwrap();
    let url = pull.bind("tcp://127.0.0.1:0").unwrap().url();
    let turn_until = |what: &str, done: &dyn Fn() -> bool| {
        eventually(what, || {
            runtime.turn(Some(Duration::from_millis(1))).unwrap();
            done()
        });
    };
    let receive = |word: &str| {
        let mut received = None;
        eventually("it comes", || {
            runtime.turn(Some(Duration::from_millis(1))).unwrap();
            received = pull.try_recv().ok();
            received.is_some()
        });
        assert_eq!(received.expect("it has come"), word);
    };
    let rounds = times(100, 5_000) as u64;
    for round in 0..rounds {
        let mut old = Raw::connect(&url);
        old.send(&kit::header(0x50));
        turn_until("the old one is there", &|| pull.peers().len() == 1);
        old.send_frame(b"old");
        match round % 2 {
            0 => old.reset(),
            _ => drop(old),
        }
        let mut new = Raw::connect(&url);
        new.send(&[&kit::header(0x50)[..], &kit::frame(b"new")].concat());
        receive("old");
        receive("new");
        new.send_frame(b"still there");
        receive("still there");
        drop(new);
        turn_until("both have left", &|| pull.peers().is_empty());
    }
    let stats = conserved(|| pull.stats());
    assert_eq!((stats.accepted_connections, stats.broken_connections), (2 * rounds, 2 * rounds));
}
