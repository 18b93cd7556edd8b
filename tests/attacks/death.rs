//! Group E: peers that die, freeze and come back.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use kit::{Raw, SOON, conserved, eventually, frame, free_tcp_url, header};
use sinew::{
    AttemptError, EndpointOptions, Options, Pair, Pull, Push, RecvError, Rep, Req, Runtime, role,
};

use crate::harness::attack::Attack;
use crate::harness::census::Census;
use crate::harness::child::{Process, job, listen, tell};
use crate::harness::proxy::{Faults, Proxy};
use crate::harness::{alone, greeted, is_long, name_of, times};

/// Soon again, so that a test sees many attempts.
fn often() -> EndpointOptions {
    EndpointOptions::new().reconnect_interval(Duration::from_millis(10))
}

/// A REP in a process of its own, which answers each request with the same.
fn rep_at(url: &str, how: &str) -> Process {
    let mut child = Process::start(name_of(part_rep), &format!("rep {url} {how}"), "");
    assert_eq!(child.told(), "listens");
    child
}

#[test]
#[ignore = "a part of the tests here: a REP"]
fn part_rep() {
    let Some(job) = job() else { return };
    let rep = Rep::new();
    rep.bind(&job[1]).unwrap();
    tell("listens");
    loop {
        let request = rep.recv().unwrap();
        if job[2] == "mute" {
            tell("asked");
            listen();
        }
        let reply = request.message().clone();
        request.reply(reply).unwrap();
    }
}

/// A REP that is killed with a request in hand, and comes back: one reply.
#[test]
fn e01_a_rep_that_is_killed_with_a_request_in_hand() {
    let _turn = alone();
    let url = free_tcp_url();
    let mut first = rep_at(&url, "mute");
    let req = Req::new();
    req.connect_with(&url, &often()).unwrap();
    thread::scope(|scope| {
        let asking = scope.spawn(|| req.request_timeout("task", 2 * SOON));
        assert_eq!(first.told(), "asked");
        first.kill();
        let second = rep_at(&url, "answers");
        assert_eq!(asking.join().unwrap().unwrap(), "task");
        second.kill();
    });
    let stats = conserved(|| req.stats());
    assert!(stats.resends >= 1 && stats.messages_received == 1, "{stats}");
}

/// Three REPs, of which one after the other is killed and comes back, and many that ask.
#[test]
fn e03_reps_that_are_killed_in_turn() {
    const ASKERS: usize = 20;
    let _turn = alone();
    let before = Census::settled();
    let urls = [(); 3].map(|()| free_tcp_url());
    let mut reps = urls.each_ref().map(|url| Some(rep_at(url, "answers")));
    let req = Req::new();
    urls.iter().for_each(|url| drop(req.connect_with(url, &often()).unwrap()));
    let (rounds, asked) = (times(300, 20_000), AtomicUsize::new(0));
    thread::scope(|scope| {
        for asker in 0..ASKERS {
            let (req, asked) = (&req, &asked);
            scope.spawn(move || {
                for n in 0..rounds {
                    let question = format!("{asker} {n}");
                    assert_eq!(req.request(&question[..]).unwrap().to_text(), question);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for turn in 0.. {
            let so_far = asked.load(Ordering::Relaxed);
            if so_far == ASKERS * rounds {
                break;
            }
            let (url, rep) = (&urls[turn % 3], &mut reps[turn % 3]);
            rep.take().expect("it runs").kill();
            *rep = Some(rep_at(url, "answers"));
            eventually("others are asked", || {
                let now = asked.load(Ordering::Relaxed);
                now > so_far + 100 || now == ASKERS * rounds
            });
        }
    });
    let stats = conserved(|| req.stats());
    assert_eq!(stats.messages_received, (ASKERS * rounds) as u64, "one reply each");
    req.close().unwrap();
    drop((req, reps));
    before.is_back(0);
}

/// All connections are cut, again and again, at any byte: each request has one reply, and it is its own.
#[test]
fn e02_replies_that_are_lost_on_the_way() {
    let attack = Attack::<role::Rep>::on(Options::new());
    let faults = Faults { cut_within: Some(3000), ..Faults::default() };
    let proxy = Proxy::to(&attack.url, 2, faults);
    let req = Req::new();
    req.connect_with(proxy.url(), &often()).unwrap();
    let (requests, answered) = (times(1000, 60_000), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while let Ok(request) = attack.socket.recv() {
                let reply = request.message().clone();
                if reply == "enough" {
                    return;
                }
                answered.fetch_add(1, Ordering::Relaxed);
                let _ = request.reply(reply);
            }
        });
        // Until a reply was lost, so that a request was answered twice.
        for n in (0..).take_while(|n| *n < requests || answered.load(Ordering::Relaxed) == *n) {
            assert_eq!(req.request(format!("{n}")).unwrap().to_text(), format!("{n}"));
        }
        proxy.set(Faults::default());
        proxy.cut_all();
        let _ = req.request_timeout("enough", Duration::from_millis(500));
    });
    let answered = answered.into_inner();
    eprintln!("{answered} answers over {} connections", proxy.connections());
    conserved(|| req.stats());
    drop((req, proxy));
    attack.over();
}

/// A listener that goes and comes back: all its clients find it.
#[test]
fn e04_a_listener_that_comes_back_to_many() {
    const CLIENTS: usize = 200;
    let _turn = alone();
    let before = Census::settled();
    let url = free_tcp_url();
    let pull = Pull::new();
    let endpoint = pull.bind(&url).unwrap();
    let clients: Vec<Push> = (0..CLIENTS).map(|_| Push::new()).collect();
    for push in &clients {
        push.connect(&url).unwrap();
    }
    for round in 0..times(3, 30) {
        pull.wait_for_peers(CLIENTS, SOON).unwrap();
        clients.iter().for_each(|push| push.send_timeout("there", SOON).unwrap());
        (0..CLIENTS).for_each(|_| drop(pull.recv_timeout(SOON).unwrap()));
        let endpoint = if round == 0 { endpoint.clone() } else { pull.endpoints().remove(0) };
        endpoint.close().unwrap();
        eventually("all have noticed", || {
            clients.iter().all(|push| push.stats().current_connections == 0)
        });
        pull.bind(&url).unwrap();
    }
    pull.wait_for_peers(CLIENTS, SOON).unwrap();
    let tries: u64 = clients.iter().map(|push| push.endpoints()[0].status().attempts).sum();
    eprintln!("{tries} attempts of {CLIENTS} clients");
    clients.iter().for_each(|push| _ = conserved(|| push.stats()));
    drop((clients, pull, endpoint));
    before.is_back(CLIENTS << 9);
}

#[test]
#[ignore = "a part of the tests here: a PULL that tells what it receives"]
fn part_pull() {
    let Some(job) = job() else { return };
    let little = Options::new().recv_queue(4).kernel_recv_buffer(16 << 10);
    let pull = Pull::with_options(little).unwrap();
    pull.connect(&job[1]).unwrap();
    pull.wait_for_peers(1, SOON).unwrap();
    tell("connected");
    loop {
        match pull.recv_timeout(Duration::from_millis(20)) {
            Ok(message) => tell(message.to_text().trim()),
            Err(_) if pull.peers().is_empty() => return,
            Err(_) => {}
        }
    }
}

/// PULLs that are killed: only what their kernels had been given is lost, and nothing comes twice.
#[test]
fn e07_pulls_that_are_killed() {
    const QUEUE: usize = 100;
    let _turn = alone();
    let options = Options::new().requeue(true).send_queue(QUEUE).send_queue_bytes(64 << 20);
    let push = Push::with_options(options).unwrap();
    let small = EndpointOptions::new().kernel_send_buffer(16 << 10);
    let url = push.bind_with("tcp://127.0.0.1:0", &small).unwrap().url();
    let start = || {
        let mut child = Process::start(name_of(part_pull), &format!("pull {url}"), "");
        assert_eq!(child.told(), "connected");
        child
    };
    let mut pulls: Vec<Process> = (0..4).map(|_| start()).collect();
    let (kills, mut sent, mut told) = (times(4, 40), 0, Vec::new());
    for turn in 0..kills {
        push.wait_for_peers(4, SOON).unwrap();
        // What it is sent lies in its kernel and in our queue.
        let victim = pulls.remove(turn % 3);
        victim.freeze();
        for _ in 0..8 * QUEUE {
            push.send_timeout(format!("{sent:<10000}"), SOON).unwrap();
            sent += 1;
        }
        told.extend(victim.killed());
        pulls.push(start());
    }
    assert_eq!(push.drain(SOON), 0);
    push.close().unwrap();
    pulls.into_iter().for_each(|pull| told.extend(pull.rest()));
    let mut numbers: Vec<usize> = told.iter().filter_map(|it| it.parse().ok()).collect();
    numbers.sort_unstable();
    assert!(numbers.is_sorted_by(|one, next| one < next), "something came twice");
    let lost = sent - numbers.len();
    eprintln!("{lost} of {sent} were lost with {kills} processes");
    // Far less than what its queue held.
    assert!(lost <= kills * QUEUE / 2, "{lost} of {sent} were lost with {kills} processes");
    conserved(|| push.stats());
}

/// A PULL that is frozen: others go on, and it has lost nothing when it thaws.
#[test]
fn e08_a_pull_that_is_frozen() {
    let attack = Attack::<role::Push>::on(Options::new().send_queue(16));
    let mut frozen = Process::start(name_of(part_pull), &format!("pull {}", attack.url), "");
    assert_eq!(frozen.told(), "connected");
    let told: Vec<String> = (0..3)
        .map(|n| {
            attack.socket.send(format!("{n}")).unwrap();
            frozen.told()
        })
        .collect();
    assert_eq!(told, ["0", "1", "2"]);
    frozen.freeze();
    (3..10).for_each(|n| attack.socket.send(format!("{n}")).unwrap());
    // The others are served while it stands still.
    attack.neighbour();
    frozen.thaw();
    let rest: Vec<String> =
        std::iter::repeat_with(|| frozen.told()).filter(|it| it != "good").take(7).collect();
    assert_eq!(rest, (3..10).map(|n| n.to_string()).collect::<Vec<_>>());
    frozen.kill();
    attack.over();
}

/// A process that is frozen itself: afterwards its timers run once, not as often as they would have.
#[test]
fn e09_a_process_that_is_frozen_itself() {
    let _turn = alone();
    let rep = Rep::new();
    let url = rep.bind("tcp://127.0.0.1:0").unwrap().url();
    let mut child =
        Process::start(name_of(part_that_asks), &format!("req {url} 5 60000 alone"), "");
    drop(rep.recv_timeout(SOON).unwrap());
    child.freeze();
    time_passes();
    while rep.try_recv().is_ok() {}
    child.thaw();
    let asked = rep.recv_timeout(SOON).expect("it asks again");
    asked.reply("answer").unwrap();
    assert_eq!(child.told(), "answer");
    // Within the time that the answer took, not for that in which it was frozen.
    let more = std::iter::from_fn(|| rep.try_recv().ok()).count();
    assert!(more < 100, "asked {more} times more after it was frozen");
    child.succeeded();
}

/// Longer than what frozen processes wait for.
fn time_passes() {
    // What is tested is time that passes.
    thread::sleep(Duration::from_secs(if is_long() { 30 } else { 1 }));
}

#[test]
#[ignore = "a part of the tests here: a REQ that asks every so many milliseconds, for so many in all"]
fn part_that_asks() {
    let Some(job) = job() else { return };
    let ms = |at: usize| Duration::from_millis(job[at].parse().unwrap());
    let options = Options::new().resend_interval(ms(2));
    let req = Req::with_options(options).unwrap();
    req.connect(&job[1]).unwrap();
    // With another call that waits, neither turns the loop by itself.
    let other = req.clone();
    if job[4] == "accompanied" {
        thread::spawn(move || other.wait_for_peers(2, Duration::MAX));
    }
    match req.request_timeout("question", ms(3)) {
        Ok(reply) => tell(&reply.to_text()),
        Err(error) => tell(&error.to_string()),
    }
    listen();
    conserved(|| req.stats());
}

/// The time of a call, and of a request's repetition, is over while the process is frozen. What has come until then is
/// read first.
#[test]
fn e09_a_reply_that_came_to_a_frozen_process() {
    let _turn = alone();
    let rep = Rep::new();
    let url = rep.bind("tcp://127.0.0.1:0").unwrap().url();
    let jobs =
        ["60000 500 alone", "500 60000 alone", "500 60000 accompanied", "60000 500 accompanied"];
    let frozen = jobs.map(|job| {
        let child = Process::start(name_of(part_that_asks), &format!("req {url} {job}"), "");
        let asked = rep.recv_timeout(SOON).unwrap();
        child.freeze();
        asked.reply("answer").unwrap();
        (job, child)
    });
    time_passes();
    frozen.iter().for_each(|(_, child)| child.thaw());
    for (job, mut child) in frozen {
        assert_eq!(child.told(), "answer", "{job}");
        child.succeeded();
    }
    assert!(rep.try_recv().is_err(), "nothing is to be asked again");
}

/// The same for the header of a peer, whose time is over.
#[test]
fn e09_a_header_that_came_to_a_frozen_process() {
    let _turn = alone();
    let mut child = Process::start(name_of(part_that_is_greeted), "pull", "");
    let mut raw = Raw::connect(&child.told());
    assert_eq!(raw.read(8), header(0x51), "it has accepted");
    child.freeze();
    raw.send(&[&header(0x50)[..], &frame(b"in time")].concat());
    time_passes();
    child.thaw();
    assert_eq!(child.told(), "in time");
    child.succeeded();
}

#[test]
#[ignore = "a part of the test above: a PULL that gives peers half a second to say what they are"]
fn part_that_is_greeted() {
    if job().is_none() {
        return;
    }
    let hasty = Options::new().handshake_timeout(Duration::from_millis(500));
    let pull = Pull::with_options(hasty).unwrap();
    tell(&pull.bind("tcp://127.0.0.1:0").unwrap().url());
    // Its time goes on while it is frozen, and is not to be over then: in the long form for 30 s.
    match pull.recv_timeout(3 * SOON) {
        Ok(message) => tell(&message.to_text()),
        Err(error) => tell(&error.to_string()),
    }
}

/// Two PAIRs that both listen and both connect: one pipe, which stays.
#[test]
fn e15_two_that_connect_to_each_other() {
    let _turn = alone();
    for _ in 0..times(10, 200) {
        let pairs = [Pair::new(), Pair::new()];
        let urls = pairs.each_ref().map(|pair| pair.bind("tcp://127.0.0.1:0").unwrap().url());
        let dialers = [
            pairs[0].connect_with(&urls[1], &often()).unwrap(),
            pairs[1].connect_with(&urls[0], &often()).unwrap(),
        ];
        let mut crossed = HashSet::new();
        for n in 0..20 {
            for (from, to) in [(0, 1), (1, 0)] {
                pairs[from].send_timeout(format!("{from} {n}"), SOON).unwrap();
                crossed.insert(pairs[to].recv_timeout(SOON).unwrap().to_text().into_owned());
            }
        }
        assert_eq!(crossed.len(), 40, "each message arrives, and once");
        pairs.iter().for_each(|pair| assert_eq!(pair.stats().current_connections, 1));
        eventually("the one that is not needed says why", || {
            let reasons = dialers.iter().filter_map(|dialer| dialer.status().last_error);
            reasons.into_iter().any(|reason| {
                matches!(reason, AttemptError::TurnedAway { .. } | AttemptError::Rejected)
            })
        });
        pairs.iter().for_each(|pair| _ = conserved(|| pair.stats()));
    }
}

/// A reply is there when its request is due to be sent again: it is read first, in the turn that has both.
#[test]
fn e17_a_reply_in_the_turn_of_its_resend() {
    const INTERVAL: Duration = Duration::from_millis(20);
    let _turn = alone();
    let runtime = Runtime::builder().manual(true).build().unwrap();
    for _ in 0..times(10, 200) {
        let req = Req::on(&runtime, Options::new().resend_interval(INTERVAL)).unwrap();
        let mut raw = greeted(&runtime, &req, 0x31, &EndpointOptions::new());
        assert_eq!(raw.read(8), header(0x30));
        let asking = req.context();
        asking.send("question").unwrap();
        runtime.turn(Some(Duration::ZERO)).unwrap();
        let resends = req.stats().resends;
        let asked = raw.read_frame();
        raw.send_frame(&[&asked[..4], b"answer"].concat());
        // Nobody turns the loop meanwhile.
        thread::sleep(2 * INTERVAL);
        runtime.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(asking.try_recv().unwrap(), "answer");
        assert_eq!(asking.try_recv(), Err(RecvError::State), "its id is used up");
        let stats = conserved(|| req.stats());
        assert_eq!((stats.resends, stats.messages_received), (resends, 1), "{stats}");
    }
}
