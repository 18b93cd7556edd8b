//! Devices: a message that one side receives leaves at the other, once and in order, or is counted.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kit::{Address, QUIET, Raw, SOON, Transport, block_on, conserved, eventually};
use sinew::device::{DeviceFailure, DeviceFault, DeviceHandle, DeviceSide, SpawnedDevice};
use sinew::{
    Bus, Device, DropReason, Message, Options, Pair, Pair1, Pub, Pull, Push, Rep, Req, Respondent,
    Runtime, Stats, Sub, Surveyor, raw,
};

/// A device that runs, and where its sockets are bound.
struct Rig {
    device: SpawnedDevice,
    front: String,
    back: String,
    _addresses: Vec<Address>,
}

/// Binds two raw sockets, over a transport each, and starts a device of them.
macro_rules! rig {
    ($front:expr, $back:expr, $transports:expr) => {{
        let (front, back) = ($front, $back);
        let [at, of] = $transports;
        let addresses = vec![at.address(), of.address()];
        let urls = [
            front.bind(&addresses[0].url).unwrap().url(),
            back.bind(&addresses[1].url).unwrap().url(),
        ];
        let device = Device::new(front, back).unwrap().spawn().unwrap();
        let [front, back] = urls;
        Rig { device, front, back, _addresses: addresses }
    }};
}

/// The same for a reflector.
macro_rules! mirror {
    ($socket:expr, $transport:expr) => {{
        let socket = $socket;
        let address = $transport.address();
        let front = socket.bind(&address.url).unwrap().url();
        let device = Device::reflector(socket).unwrap().spawn().unwrap();
        Rig { device, back: front.clone(), front, _addresses: vec![address] }
    }};
}

/// Connects a socket and waits until it is.
macro_rules! connect {
    ($socket:expr, $url:expr) => {{
        $socket.connect($url).unwrap();
        $socket.wait_for_peers(1, SOON).unwrap();
    }};
}

/// Starts a device of sockets that have their places already, for chains and rings.
macro_rules! between {
    ($front:expr, $back:expr) => {
        Device::new($front, $back).unwrap().spawn().unwrap()
    };
}

impl Rig {
    fn front(&self) -> DeviceSide {
        self.device.handle().front()
    }

    fn back(&self) -> DeviceSide {
        self.device.handle().back()
    }

    fn wait_for_peers(&self, front: usize, back: usize) {
        self.front().wait_for_peers(front, SOON).unwrap();
        self.back().wait_for_peers(back, SOON).unwrap();
    }

    /// How many messages its sockets have dropped.
    fn dropped(&self, reason: DropReason) -> [u64; 2] {
        [self.front(), self.back()].map(|side| side.stats().drops(reason))
    }

    fn finish(self) {
        finish(self.device);
    }
}

/// Stops a device and looks at its accounts.
#[track_caller]
fn finish(device: SpawnedDevice) {
    let handle = device.handle();
    assert!(handle.is_running());
    device.stop();
    device.join().unwrap();
    assert!(!handle.is_running());
    assert!(handle.front().is_closed() && handle.back().is_closed());
    assert!(handle.front().peers().is_empty() && handle.back().peers().is_empty());
    assert_eq!(handle.stats().held(), 0);
    adds_up(&handle);
}

/// Nothing has vanished from a device. Looks again while the I/O thread has something in hand: what it
/// empties, it counts afterwards.
#[track_caller]
fn adds_up(handle: &DeviceHandle) {
    let end = Instant::now() + SOON;
    while let Err(broken) = handle.stats().check_conservation() {
        assert!(Instant::now() < end, "{broken}");
        thread::yield_now();
    }
}

/// Every transport on one side with every transport on the other.
fn crossings() -> impl Iterator<Item = [Transport; 2]> {
    Transport::ALL.into_iter().flat_map(|one| Transport::ALL.map(|other| [one, other]))
}

fn ttl(hops: u16) -> Options {
    Options::new().ttl(hops)
}

/// Options that have a lost connection back soon.
fn eager() -> Options {
    Options::new().reconnect_interval(Duration::from_millis(10))
}

/// A REQ that fails rather than waits forever.
fn req(options: Options) -> Req {
    Req::with_options(options.recv_timeout(SOON)).unwrap()
}

/// Answers every request with its own body behind `prefix`, until the socket is closed.
fn echo(rep: &Rep, prefix: &'static str) -> thread::JoinHandle<()> {
    let rep = rep.clone();
    thread::spawn(move || {
        while let Ok(request) = rep.recv() {
            let answer = [prefix.as_bytes(), request.message()].concat();
            let _ = request.reply(answer);
        }
    })
}

/// Sends numbered messages, from `$sent` on, until nobody takes any more for a while.
macro_rules! flood {
    ($socket:expr, $sent:ident) => {
        while $socket.send_timeout(big($sent), QUIET).is_ok() {
            $sent += 1;
            assert!($sent < 10_000, "the device is no bottomless pit");
        }
    };
}

/// A big message with a number, for filling what the operating system keeps in between.
fn big(number: u32) -> Message {
    let mut body = vec![0; 256 * 1024];
    body[..4].copy_from_slice(&number.to_be_bytes());
    Message::from(body)
}

/// Queues that are full soon.
fn narrow() -> Options {
    Options::new().send_queue(2).recv_queue(2)
}

/// C211.
#[test]
fn a_pair_talks_to_a_pair_both_ways() {
    for transports in crossings() {
        let rig = rig!(raw::Pair::new(), raw::Pair::new(), transports);
        let (left, right) = (Pair::new(), Pair::new());
        connect!(left, &rig.front);
        connect!(right, &rig.back);
        for n in 0..100_u8 {
            left.send([n, 0].as_slice()).unwrap();
            right.send([n, 1].as_slice()).unwrap();
        }
        for n in 0..100_u8 {
            assert_eq!(right.recv_timeout(SOON).unwrap(), [n, 0]);
            assert_eq!(left.recv_timeout(SOON).unwrap(), [n, 1]);
        }
        rig.finish();
        conserved(|| left.stats());
        conserved(|| right.stats());
    }
}

/// C212.
#[test]
fn a_pipeline_keeps_its_order() {
    const MESSAGES: u32 = 1_000;
    for transports in crossings() {
        let rig = rig!(raw::Push::new(), raw::Pull::new(), transports);
        let (push, pull) = (Push::new(), Pull::new());
        connect!(pull, &rig.front);
        connect!(push, &rig.back);
        let pushing = thread::spawn(move || {
            (0..MESSAGES).for_each(|n| push.send(&n.to_be_bytes()).unwrap());
            push
        });
        for n in 0..MESSAGES {
            assert_eq!(pull.recv_timeout(SOON).unwrap(), n.to_be_bytes());
        }
        let handle = rig.device.handle();
        rig.finish();
        let stats = handle.stats();
        assert_eq!(stats.back.messages_received, u64::from(MESSAGES));
        assert_eq!(stats.front.messages_sent, u64::from(MESSAGES));
        assert_eq!(stats.front.messages_received + stats.back.messages_sent, 0);
        let push = pushing.join().unwrap();
        conserved(|| push.stats());
        conserved(|| pull.stats());
    }
}

/// C213.
#[test]
fn topics_are_chosen_at_the_far_end() {
    for transports in crossings() {
        let rig = rig!(raw::Sub::new(), raw::Pub::new(), transports);
        let (publisher, [a, b]) = (Pub::new(), [(); 2].map(|()| Sub::new()));
        a.subscribe("a.").unwrap();
        b.subscribe("b.").unwrap();
        connect!(publisher, &rig.front);
        connect!(a, &rig.back);
        connect!(b, &rig.back);
        rig.wait_for_peers(1, 2);
        for topic in ["a.1", "b.1", "c.1", "a.2", "b.2"] {
            publisher.send(topic).unwrap();
        }
        for (sub, expected) in [(&a, ["a.1", "a.2"]), (&b, ["b.1", "b.2"])] {
            assert_eq!([(); 2].map(|()| sub.recv_timeout(SOON).unwrap()), expected);
        }
        b.subscribe("a.").unwrap();
        publisher.send("a.3").unwrap();
        assert_eq!(a.recv_timeout(SOON).unwrap(), "a.3");
        assert_eq!(b.recv_timeout(SOON).unwrap(), "a.3");
        rig.finish();
        conserved(|| publisher.stats());
        conserved(|| a.stats());
        conserved(|| b.stats());
    }
}

/// C214.
#[test]
fn a_reflected_pair_gets_its_own_messages_back() {
    for transport in Transport::ALL {
        let rig = mirror!(raw::Pair::new(), transport);
        let pair = Pair::new();
        connect!(pair, &rig.front);
        for n in 0..100_u8 {
            pair.send(vec![n]).unwrap();
        }
        for n in 0..100_u8 {
            assert_eq!(pair.recv_timeout(SOON).unwrap(), [n]);
        }
        rig.finish();
        conserved(|| pair.stats());
    }
}

/// C214 with PAIR v1: the way through the mirror is a hop.
#[test]
fn a_reflected_pair1_counts_a_hop() {
    for transport in Transport::ALL {
        let rig = mirror!(raw::Pair1::new(), transport);
        let pair = raw::Pair1::new();
        connect!(pair, &rig.front);
        pair.send(Message::from("x").with_header(&[0; 4][..])).unwrap();
        let back = pair.recv_timeout(SOON).unwrap();
        assert_eq!((&back[..], &back.header()[..]), (&b"x"[..], &[0, 0, 0, 2][..]));
        rig.finish();
        conserved(|| pair.stats());
    }
}

/// C215.
#[test]
fn a_reflected_bus_is_heard_by_the_others() {
    for transport in Transport::ALL {
        let rig = mirror!(raw::Bus::new(), transport);
        let peers = [(); 3].map(|()| Bus::new());
        peers.iter().for_each(|peer| connect!(peer, &rig.front));
        rig.wait_for_peers(3, 3);
        for (n, sender) in peers.iter().enumerate() {
            let text = format!("from {n}");
            sender.send(&text).unwrap();
            // Had anybody got his own message, it would come before the next one, which he expects.
            for (other, peer) in peers.iter().enumerate() {
                if other != n {
                    assert_eq!(peer.recv_timeout(SOON).unwrap(), text);
                }
            }
        }
        rig.finish();
        for peer in &peers {
            assert_eq!(peer.stats().messages_received, 2);
            conserved(|| peer.stats());
        }
    }
}

/// Raw BUS in two halves: everyone on one side is heard by everyone on the other, and by nobody else.
#[test]
fn a_bus_is_heard_across() {
    for transports in crossings() {
        let rig = rig!(raw::Bus::new(), raw::Bus::new(), transports);
        let (near, far) = ([(); 2].map(|()| Bus::new()), [(); 2].map(|()| Bus::new()));
        near.iter().for_each(|peer| connect!(peer, &rig.front));
        far.iter().for_each(|peer| connect!(peer, &rig.back));
        rig.wait_for_peers(2, 2);
        near[0].send("to the far side").unwrap();
        far.iter().for_each(|peer| {
            assert_eq!(peer.recv_timeout(SOON).unwrap(), "to the far side");
        });
        far[0].send("and home").unwrap();
        near.iter().for_each(|peer| assert_eq!(peer.recv_timeout(SOON).unwrap(), "and home"));
        rig.finish();
        near.iter().chain(&far).for_each(|peer| {
            assert_eq!(peer.stats().messages_received, 1);
            conserved(|| peer.stats());
        });
    }
}

/// C216.
#[test]
fn a_reply_finds_the_one_that_asked() {
    for transports in crossings() {
        let rig = rig!(raw::Rep::new(), raw::Req::new(), transports);
        let reps = [(); 3].map(|()| Rep::new());
        reps.iter().for_each(|rep| connect!(rep, &rig.back));
        let servers = reps.each_ref().map(|rep| echo(rep, "re: "));
        let reqs: Vec<_> = (0..10).map(|_| req(Options::new())).collect();
        thread::scope(|scope| {
            for (n, req) in reqs.iter().enumerate() {
                let url = &rig.front;
                scope.spawn(move || {
                    connect!(req, url);
                    for i in 0..20 {
                        let question = format!("{n}.{i}");
                        let answer = req.request(&question).unwrap();
                        assert_eq!(answer, format!("re: {question}"));
                    }
                });
            }
        });
        let handle = rig.device.handle();
        rig.finish();
        let front = handle.front().stats();
        assert_eq!((front.messages_received, front.messages_sent), (200, 200));
        reps.iter().for_each(|rep| rep.close().unwrap());
        let _ = servers.map(|server| server.join().unwrap());
        reps.iter().for_each(|rep| {
            assert!(rep.stats().messages_received > 0, "requests are spread");
            conserved(|| rep.stats());
        });
        for req in &reqs {
            conserved(|| req.stats());
        }
    }
}

/// Two devices in a row: front and back of the chain, over different transports.
macro_rules! chain_of_two {
    ($front:ident, $back:ident, $transports:expr) => {{
        let far = rig!(raw::$front::new(), raw::$back::new(), $transports);
        let link = raw::$back::new();
        connect!(link, &far.front);
        let front = raw::$front::new();
        let address = $transports[1].address();
        let url = front.bind(&address.url).unwrap().url();
        (url, between!(front, link), far, address)
    }};
}

/// C217.
#[test]
fn a_request_passes_two_devices_if_its_ttl_allows() {
    for transports in [[Transport::Tcp, Transport::Inproc], [Transport::Inproc, Transport::Ipc]] {
        for (hops, passes) in [(3, true), (2, false)] {
            let (url, near, far, _address) = chain_of_two!(Rep, Req, transports);
            let rep = Rep::with_options(ttl(hops)).unwrap();
            connect!(rep, &far.back);
            let req = req(Options::new());
            connect!(req, &url);
            let asking = req.context();
            asking.send("how far?").unwrap();
            if passes {
                rep.recv_timeout(SOON).unwrap().reply("far").unwrap();
                assert_eq!(asking.recv_timeout(SOON).unwrap(), "far");
            } else {
                dropped_by(&rep, || rep.stats().drops(DropReason::TtlExceeded));
                assert_eq!(rep.peers().len(), 1, "the pipe lives on");
                rep.set_options(rep.options().ttl(3)).unwrap();
                asking.send("again").unwrap();
                assert_eq!(*rep.recv_timeout(SOON).unwrap().message(), "again");
            }
            finish(near);
            far.finish();
            conserved(|| req.stats());
            conserved(|| rep.stats());
        }
    }
}

/// Receives, since only that looks at what has come, until something was dropped.
fn dropped_by(rep: &Rep, drops: impl Fn() -> u64) {
    eventually("it is dropped", || {
        assert!(rep.try_recv().is_err());
        drops() == 1
    });
}

/// A device drops what has come too far, too: each socket has a TTL of its own.
#[test]
fn a_device_has_a_ttl_itself() {
    for transport in Transport::ALL {
        let front = raw::Rep::with_options(ttl(1)).unwrap();
        let strict = rig!(front, raw::Req::new(), [transport; 2]);
        let near = rig!(raw::Rep::new(), raw::Req::new(), [transport; 2]);
        let (link_front, link_back) = (raw::Rep::new(), raw::Req::new());
        connect!(link_front, &near.back);
        connect!(link_back, &strict.front);
        let link = between!(link_front, link_back);
        let (req, rep) = (req(Options::new()), Rep::new());
        connect!(rep, &strict.back);
        connect!(req, &near.front);
        let asking = req.context();
        asking.send("too far").unwrap();
        eventually("it is dropped", || strict.dropped(DropReason::TtlExceeded) == [1, 0]);
        assert_eq!(rep.stats().copies_taken, 0);
        for device in [strict.device, near.device, link] {
            finish(device);
        }
        conserved(|| req.stats());
        conserved(|| rep.stats());
    }
}

/// C218.
#[test]
fn a_survey_reaches_all_respondents_and_all_answers_come_back() {
    for transports in crossings() {
        let rig = rig!(raw::Respondent::new(), raw::Surveyor::new(), transports);
        let respondents = [(); 3].map(|()| Respondent::new());
        respondents.iter().for_each(|respondent| connect!(respondent, &rig.back));
        let surveyor = Surveyor::with_options(Options::new().survey_deadline(SOON)).unwrap();
        connect!(surveyor, &rig.front);
        rig.wait_for_peers(1, 3);
        let survey = surveyor.survey("who is there?").unwrap();
        for (n, respondent) in respondents.iter().enumerate() {
            let question = respondent.recv_timeout(SOON).unwrap();
            assert_eq!(*question.message(), "who is there?");
            question.reply(format!("{n}")).unwrap();
        }
        let answers: BTreeSet<_> =
            (0..3).map(|_| survey.recv().unwrap().to_text().into_owned()).collect();
        assert_eq!(answers.into_iter().collect::<Vec<_>>(), ["0", "1", "2"]);
        drop(survey);
        rig.finish();
        conserved(|| surveyor.stats());
        for respondent in &respondents {
            conserved(|| respondent.stats());
        }
    }
}

/// C219.
#[test]
fn a_survey_passes_two_devices_if_its_ttl_allows() {
    for transports in [[Transport::Tcp, Transport::Inproc], [Transport::Inproc, Transport::Ipc]] {
        let (url, near, far, _address) = chain_of_two!(Respondent, Surveyor, transports);
        let [three, two] = [3, 2].map(|hops| Respondent::with_options(ttl(hops)).unwrap());
        connect!(three, &far.back);
        connect!(two, &far.back);
        let surveyor = Surveyor::with_options(Options::new().survey_deadline(SOON)).unwrap();
        connect!(surveyor, &url);
        near.handle().back().wait_for_peers(1, SOON).unwrap();
        far.wait_for_peers(1, 2);
        let survey = surveyor.survey("who?").unwrap();
        three.recv_timeout(SOON).unwrap().reply("three").unwrap();
        assert_eq!(survey.recv().unwrap(), "three");
        eventually("it is dropped", || {
            assert!(two.try_recv().is_err());
            two.stats().drops(DropReason::TtlExceeded) == 1
        });
        assert_eq!(two.peers().len(), 1, "the pipe lives on");
        drop(survey);
        finish(near);
        far.finish();
        conserved(|| surveyor.stats());
        conserved(|| three.stats());
        conserved(|| two.stats());
    }
}

/// C220.
#[test]
fn each_device_on_the_way_adds_a_hop() {
    for transport in Transport::ALL {
        let [fronts, backs] = [(); 2].map(|()| [(); 3].map(|()| raw::Pair1::new()));
        let ends = [&fronts[0], &fronts[1], &fronts[2], &backs[2]];
        let addresses = [(); 4].map(|()| transport.address());
        let urls: Vec<String> = ends
            .iter()
            .zip(&addresses)
            .map(|(end, address)| end.bind(&address.url).unwrap().url())
            .collect();
        connect!(backs[0], &urls[1]);
        connect!(backs[1], &urls[2]);
        let devices: Vec<_> =
            fronts.into_iter().zip(backs).map(|(front, back)| between!(front, back)).collect();
        let (near, far) = (Pair1::new(), raw::Pair1::new());
        connect!(near, &urls[0]);
        connect!(far, &urls[3]);
        near.send("there").unwrap();
        let there = far.recv_timeout(SOON).unwrap();
        assert_eq!((&there[..], &there.header()[..]), (&b"there"[..], &[0, 0, 0, 4][..]));
        far.send(Message::from("back").with_header(&[0; 4][..])).unwrap();
        assert_eq!(near.recv_timeout(SOON).unwrap(), "back");

        far.set_options(far.options().ttl(3)).unwrap();
        near.send("too far").unwrap();
        eventually("it is dropped", || {
            assert!(far.try_recv().is_err());
            far.stats().drops(DropReason::TtlExceeded) == 1
        });
        far.set_options(far.options().ttl(4)).unwrap();
        near.send("again").unwrap();
        assert_eq!(far.recv_timeout(SOON).unwrap(), "again");
        assert_eq!(far.stats().broken_connections, 0);
        devices.into_iter().for_each(finish);
        conserved(|| near.stats());
        conserved(|| far.stats());
    }
}

/// C220: a count that cannot grow stops the message, not the device.
#[test]
fn a_message_after_255_hops_is_dropped() {
    const PAIR1: u8 = 0x11;
    for transport in Transport::STREAMS {
        let front = raw::Pair1::with_options(ttl(255)).unwrap();
        let rig = rig!(front, raw::Pair1::new(), [transport; 2]);
        let far = Pair1::with_options(ttl(255)).unwrap();
        connect!(far, &rig.back);
        let mut near = Raw::greet(&rig.front, PAIR1, PAIR1);
        near.send_frame(b"\0\0\0\xffold");
        near.send_frame(b"\0\0\0\xfeyounger");
        assert_eq!(far.recv_timeout(SOON).unwrap(), "younger");
        assert_eq!(rig.dropped(DropReason::BadHeader), [0, 1]);
        rig.finish();
        conserved(|| far.stats());
    }
}

#[test]
fn what_the_other_side_may_not_send_is_dropped() {
    for transport in Transport::ALL {
        let back = raw::Pair::with_options(Options::new().max_send_size(3)).unwrap();
        let rig = rig!(raw::Pair::new(), back, [transport; 2]);
        let (near, far) = (Pair::new(), Pair::new());
        connect!(near, &rig.front);
        connect!(far, &rig.back);
        near.send("long").unwrap();
        near.send("ok").unwrap();
        assert_eq!(far.recv_timeout(SOON).unwrap(), "ok");
        assert_eq!(rig.dropped(DropReason::TooLarge), [0, 1]);
        rig.finish();
        conserved(|| near.stats());
        conserved(|| far.stats());
    }
}

/// C221.
#[test]
fn what_goes_through_a_chain_to_a_mirror_comes_back_in_order() {
    for transport in Transport::ALL {
        let mirror = mirror!(raw::Pair::new(), transport);
        let (link, middle) = (raw::Pair::new(), raw::Pair::new());
        connect!(link, &mirror.front);
        let address = transport.address();
        let url = middle.bind(&address.url).unwrap().url();
        let far = between!(middle, link);
        let (link, front) = (raw::Pair::new(), raw::Pair::new());
        connect!(link, &url);
        let address = transport.address();
        let url = front.bind(&address.url).unwrap().url();
        let near = between!(front, link);
        let pair = Pair::new();
        connect!(pair, &url);
        for n in 0..50_u8 {
            pair.send(vec![n]).unwrap();
        }
        for n in 0..50_u8 {
            assert_eq!(pair.recv_timeout(SOON).unwrap(), [n]);
        }
        finish(near);
        finish(far);
        mirror.finish();
        conserved(|| pair.stats());
    }
}

/// C222.
#[test]
fn a_device_that_is_stopped_returns_and_closes_its_sockets() {
    for transport in Transport::ALL {
        let (front, back) = (raw::Rep::new(), raw::Req::new());
        let addresses = [(); 2].map(|()| transport.address());
        let urls = [
            front.bind(&addresses[0].url).unwrap().url(),
            back.bind(&addresses[1].url).unwrap().url(),
        ];
        let device = Device::new(front, back).unwrap();
        let handle = device.handle();
        let events = handle.front().events();
        assert!(!handle.is_running());
        let running = thread::spawn(move || device.run());
        eventually("it runs", || handle.is_running());
        handle.stop();
        running.join().unwrap().unwrap();
        assert!(!handle.is_running());
        assert!(handle.front().is_closed() && handle.back().is_closed());
        assert_eq!(events.recv().unwrap_err(), sinew::RecvError::Closed);
        handle.stop();
        let [front, back] = [Rep::new(), Rep::new()];
        front.bind(&urls[0]).unwrap();
        back.bind(&urls[1]).unwrap();
    }
}

#[test]
fn a_device_that_was_stopped_before_it_ran_returns_at_once() {
    let device = Device::new(raw::Sub::new(), raw::Pub::new()).unwrap();
    device.handle().stop();
    device.run().unwrap();
}

#[test]
fn a_device_that_never_runs_closes_its_sockets() {
    let device = Device::new(raw::Pub::new(), raw::Sub::new()).unwrap();
    let handle = device.handle();
    drop(device);
    assert!(handle.front().is_closed() && handle.back().is_closed() && !handle.is_running());
}

/// A device in the background ends with its owner, or stays if that is wanted.
#[test]
fn a_spawned_device_stops_when_dropped_unless_detached() {
    let device = Device::new(raw::Bus::new(), raw::Bus::new()).unwrap().spawn().unwrap();
    let handle = device.handle();
    drop(device);
    assert!(handle.front().is_closed());
    eventually("it has ended", || !handle.is_running());

    let device = Device::reflector(raw::Pair::new()).unwrap().spawn().unwrap();
    let handle = device.detach();
    assert!(handle.is_running() && !handle.front().is_closed());
    handle.stop();
    eventually("it has ended", || !handle.is_running());
}

/// Semantics 11, "ends": also where the closed socket is not the one that is waited for.
#[test]
fn a_device_ends_when_one_of_its_sockets_is_closed() {
    let devices = || {
        [
            Device::new(raw::Rep::new(), raw::Req::new()).unwrap(),
            Device::new(raw::Pull::new(), raw::Push::new()).unwrap(),
            Device::new(raw::Pub::new(), raw::Sub::new()).unwrap(),
        ]
    };
    for device in devices() {
        let device = device.spawn().unwrap();
        device.handle().front().close();
        assert!(device.handle().back().is_closed());
        assert!(matches!(device.join(), Err(DeviceFailure::FrontClosed)));
    }
    for device in devices() {
        let device = device.spawn().unwrap();
        device.handle().back().close();
        device.handle().stop();
        assert!(matches!(device.join(), Err(DeviceFailure::BackClosed)));
    }
}

/// C223, C224.
#[test]
fn sockets_that_others_hold_or_that_are_closed_are_given_back() {
    for transport in Transport::ALL {
        let (front, back) = (raw::Pair::new(), raw::Pair::new());
        let addresses = [(); 2].map(|()| transport.address());
        let url = front.bind(&addresses[0].url).unwrap().url();

        let clone = front.clone();
        let error = Device::new(front, back).unwrap_err();
        assert_eq!(error.fault(), DeviceFault::FrontShared);
        let (front, back) = error.into_sockets();
        drop(clone);

        let receiving = back.recv_async();
        let error = Device::new(front, back).unwrap_err();
        assert_eq!(error.fault(), DeviceFault::BackShared);
        let (front, back) = error.into_sockets();
        drop(receiving);

        let error = Device::new(front.clone(), front.clone()).unwrap_err();
        assert_eq!(error.fault(), DeviceFault::SameSocket);
        drop(error);
        let error = Device::reflector(front.clone()).unwrap_err();
        assert_eq!(error.fault(), DeviceFault::FrontShared);
        drop(error);

        // They are as good as new, and what others have of them does not count.
        let (pair, far) = (Pair::new(), Pair::new());
        let events = front.events();
        let endpoint = back.bind(&addresses[1].url).unwrap();
        connect!(pair, &url);
        pair.send("to the socket").unwrap();
        assert_eq!(front.recv_timeout(SOON).unwrap(), "to the socket");
        pair.send("to the device").unwrap();
        let device = Device::new(front, back).unwrap().spawn().unwrap();
        connect!(far, &endpoint.url());
        assert_eq!(far.recv_timeout(SOON).unwrap(), "to the device");
        finish(device);
        drop(events);
        conserved(|| pair.stats());
        conserved(|| far.stats());
    }
}

/// C224.
#[test]
fn closed_sockets_make_no_device() {
    let (front, back) = (raw::Sub::new(), raw::Pub::new());
    back.close().unwrap();
    let error = Device::new(front, back).unwrap_err();
    assert_eq!(error.fault(), DeviceFault::BackClosed);
    let (front, _) = error.into_sockets();
    front.close().unwrap();
    let error = Device::new(front, raw::Pub::new()).unwrap_err();
    assert_eq!(error.fault(), DeviceFault::FrontClosed);
    assert_eq!(error.to_string(), "the socket in front is closed");
    let bus = raw::Bus::new();
    bus.close().unwrap();
    assert_eq!(Device::reflector(bus).unwrap_err().fault(), DeviceFault::FrontClosed);
}

/// C225.
#[test]
fn requests_are_answered_although_the_server_restarts() {
    const CLIENTS: u32 = 4;
    const REQUESTS: u32 = 50;
    for transport in Transport::ALL {
        let rig = rig!(raw::Rep::new(), raw::Req::new(), [transport; 2]);
        let options = eager().resend_interval(Duration::from_millis(50));
        let reqs: Vec<_> = (0..CLIENTS).map(|_| req(options.clone())).collect();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let server = scope.spawn(|| serve_and_restart(&rig.back, &done));
            let clients = reqs.iter().map(|req| {
                let url = &rig.front;
                scope.spawn(move || {
                    connect!(req, url);
                    for n in 0..REQUESTS {
                        let answer = req.request(&n.to_be_bytes()).unwrap();
                        assert_eq!(answer, n.to_be_bytes());
                    }
                })
            });
            let clients: Vec<_> = clients.collect();
            clients.into_iter().for_each(|client| client.join().unwrap());
            done.store(true, Ordering::Release);
            assert!(server.join().unwrap() > 1, "the server has restarted");
        });
        rig.finish();
        for req in &reqs {
            conserved(|| req.stats());
        }
    }
}

/// Serves a few requests, forgets one, and comes back as a new socket; says how often it came.
fn serve_and_restart(url: &str, done: &AtomicBool) -> u32 {
    const MOST: u32 = 40;
    let mut lives = 0;
    while !done.load(Ordering::Acquire) {
        let rep = Rep::with_options(eager()).unwrap();
        rep.connect(url).unwrap();
        lives += 1;
        let mut served = 0;
        while served < MOST && !done.load(Ordering::Acquire) {
            let Ok(request) = rep.recv_timeout(Duration::from_millis(10)) else { continue };
            served += 1;
            if served < MOST {
                let answer = request.message().clone();
                let _ = request.reply(answer);
            }
        }
    }
    lives
}

/// Semantics 11: peers are lost and come back on either side.
#[cfg(unix)] // Windows may tell of a new connection before the end of the one that it replaces
#[test]
fn a_device_outlives_its_peers() {
    for transport in Transport::ALL {
        let rig = rig!(raw::Rep::new(), raw::Req::new(), [transport; 2]);
        let (req, rep) = (req(eager()), Rep::with_options(eager()).unwrap());
        connect!(req, &rig.front);
        connect!(rep, &rig.back);
        let server = echo(&rep, "");
        assert_eq!(req.request("before").unwrap(), "before");
        let (front, back) = (rig.front().events(), rig.back().events());
        for round in 0..3_u8 {
            for pipe in req.peers() {
                let _ = req.disconnect(pipe.peer.pipe);
            }
            kit::replaced(&front);
            assert_eq!(req.request(vec![round]).unwrap(), [round]);
            for pipe in rep.peers() {
                let _ = rep.disconnect(pipe.peer.pipe);
            }
            kit::replaced(&back);
            assert_eq!(req.request(vec![round]).unwrap(), [round]);
        }
        rig.finish();
        rep.close().unwrap();
        server.join().unwrap();
        conserved(|| req.stats());
        conserved(|| rep.stats());
    }
}

/// A PAIR device whose far peer is gone holds on to what comes until there is another.
#[test]
fn a_pair_device_waits_for_the_next_peer() {
    for transport in Transport::ALL {
        let rig = rig!(raw::Pair::new(), raw::Pair::new(), [transport; 2]);
        let near = Pair::new();
        connect!(near, &rig.front);
        for round in 0..3_u8 {
            near.send(vec![round]).unwrap();
            eventually("the device has it", || rig.device.handle().stats().held() == 1);
            let far = Pair::new();
            connect!(far, &rig.back);
            assert_eq!(far.recv_timeout(SOON).unwrap(), [round]);
            let events = rig.back().events();
            far.close().unwrap();
            kit::detached(&events);
            conserved(|| far.stats());
        }
        rig.finish();
        conserved(|| near.stats());
    }
}

/// Semantics 11: a slow destination stops the reading of the source.
#[test]
fn a_slow_pull_holds_up_the_push_in_front() {
    for transports in crossings() {
        let front = raw::Pull::with_options(narrow()).unwrap();
        let rig = rig!(front, raw::Push::with_options(narrow()).unwrap(), transports);
        let push = Push::with_options(narrow()).unwrap();
        let pull = Pull::with_options(narrow()).unwrap();
        connect!(pull, &rig.back);
        connect!(push, &rig.front);
        let mut sent = 0;
        eventually("the device waits", || {
            flood!(push, sent);
            rig.device.handle().stats().held() == 1
        });
        for n in 0..sent {
            assert_eq!(pull.recv_timeout(SOON).unwrap()[..4], n.to_be_bytes());
        }
        push.send("free again").unwrap();
        assert_eq!(pull.recv_timeout(SOON).unwrap(), "free again");
        let handle = rig.device.handle();
        rig.finish();
        conserved(|| push.stats());
        conserved(|| pull.stats());
        for stats in [push.stats(), handle.front().stats(), handle.back().stats(), pull.stats()] {
            assert!(stats.dropped().all(|(_, messages)| messages == 0), "{stats}");
        }
    }
}

/// Where the pattern drops, nobody is held up: the slow SUB loses, the other hears all.
#[test]
fn a_slow_sub_holds_up_nobody() {
    for transport in Transport::ALL {
        let back = raw::Pub::with_options(Options::new().send_queue(4)).unwrap();
        let rig = rig!(raw::Sub::new(), back, [transport; 2]);
        let publisher = Pub::new();
        let slow = raw::Sub::with_options(narrow()).unwrap();
        let quick = Sub::new();
        quick.subscribe("").unwrap();
        connect!(publisher, &rig.front);
        connect!(slow, &rig.back);
        connect!(quick, &rig.back);
        rig.wait_for_peers(1, 2);
        for n in 0..200 {
            publisher.send(big(n)).unwrap();
            assert_eq!(quick.recv_timeout(SOON).unwrap()[..4], n.to_be_bytes());
        }
        eventually("the device waits for nothing", || rig.device.handle().stats().held() == 0);
        assert!(rig.dropped(DropReason::SendQueueFull)[1] > 0);
        rig.finish();
        conserved(|| publisher.stats());
        conserved(|| slow.stats());
        conserved(|| quick.stats());
    }
}

/// C222, stopped while both directions wait to send.
#[test]
fn a_stuck_device_can_be_stopped() {
    for transport in Transport::ALL {
        let [front, back] = [(); 2].map(|()| raw::Pair::with_options(narrow()).unwrap());
        let rig = rig!(front, back, [transport; 2]);
        let [near, far] = [(); 2].map(|()| Pair::with_options(narrow()).unwrap());
        connect!(near, &rig.front);
        connect!(far, &rig.back);
        let handle = rig.device.handle();
        let (mut there, mut home) = (0, 0);
        eventually("both directions wait", || {
            flood!(near, there);
            flood!(far, home);
            handle.stats().held() == 2
        });
        rig.finish();
        conserved(|| near.stats());
        conserved(|| far.stats());
    }
}

/// What a device holds when it is stopped is counted where it was to go.
#[test]
fn a_message_in_hand_is_counted_when_the_device_stops() {
    for transport in Transport::ALL {
        let rig = rig!(raw::Pull::new(), raw::Push::new(), [transport; 2]);
        let push = Push::new();
        connect!(push, &rig.front);
        push.send("to nobody").unwrap();
        eventually("the device has it", || rig.device.handle().stats().held() == 1);
        let handle = rig.device.handle();
        adds_up(&handle);
        rig.finish();
        assert_eq!(handle.back().stats().drops(DropReason::DeviceStopped), 1);
        conserved(|| push.stats());
    }
}

/// Semantics 11, "loops": a request goes round until its TTL is used up.
#[test]
fn a_request_in_a_ring_of_devices_ends_by_its_ttl() {
    for transport in Transport::ALL {
        let fronts = [(); 2].map(|()| raw::Rep::with_options(ttl(8)).unwrap());
        let backs = [(); 2].map(|()| raw::Req::new());
        let addresses = [(); 2].map(|()| transport.address());
        let urls: Vec<_> = fronts
            .iter()
            .zip(&addresses)
            .map(|(front, address)| front.bind(&address.url).unwrap().url())
            .collect();
        connect!(backs[0], &urls[1]);
        connect!(backs[1], &urls[0]);
        let devices: Vec<_> =
            fronts.into_iter().zip(backs).map(|(front, back)| between!(front, back)).collect();
        let req = req(Options::new().resend_interval(None));
        connect!(req, &urls[0]);
        let asking = req.context();
        asking.send("is there an end?").unwrap();
        let total = |count: fn(&Stats) -> u64| {
            devices.iter().map(|device| count(&device.handle().stats().front)).sum::<u64>()
        };
        eventually("it is dropped", || total(|stats| stats.drops(DropReason::TtlExceeded)) == 1);
        assert_eq!(total(|stats| stats.messages_received), 8);
        devices.into_iter().for_each(finish);
        conserved(|| req.stats());
    }
}

/// Two devices whose PAIR sockets form a ring, and something that goes round in it.
macro_rules! ring_of_pairs {
    ($pair:ident, $transport:expr, $header:expr) => {{
        let sockets = [(); 4].map(|()| raw::$pair::new());
        let addresses = [(); 2].map(|()| $transport.address());
        for (at, address) in addresses.iter().enumerate() {
            let url = sockets[2 * at].bind(&address.url).unwrap().url();
            connect!(sockets[(2 * at + 3) % 4], &url);
        }
        sockets[1].send(Message::from("round").with_header($header)).unwrap();
        let [a, b, c, d] = sockets;
        ([between!(a, b), between!(c, d)], addresses)
    }};
}

/// Semantics 11, "loops".
#[test]
fn a_pair1_message_in_a_ring_of_devices_ends_by_its_ttl() {
    for transport in Transport::ALL {
        let (devices, _addresses) = ring_of_pairs!(Pair1, transport, &[0; 4][..]);
        let total = |count: fn(&Stats) -> u64| {
            devices.iter().map(|device| count(&device.handle().stats().front)).sum::<u64>()
        };
        eventually("it is dropped", || total(|stats| stats.drops(DropReason::TtlExceeded)) == 1);
        assert_eq!(total(|stats| stats.messages_received), 8);
        devices.into_iter().for_each(finish);
    }
}

/// Semantics 11, "loops": nothing ends it but a stop, in the middle of traffic.
#[test]
fn a_pair_message_in_a_ring_of_devices_goes_round_for_ever() {
    for transport in Transport::ALL {
        let (devices, _addresses) = ring_of_pairs!(Pair, transport, &[][..]);
        let handle = devices[0].handle();
        eventually("it has gone round often", || handle.front().stats().messages_received > 1000);
        devices.into_iter().for_each(finish);
    }
}

/// The threads of the device turn the loop where no other does.
#[test]
fn a_device_runs_without_an_io_thread() {
    for transport in Transport::ALL {
        let runtime = Runtime::builder().manual(true).build().unwrap();
        let front = raw::Rep::on(&runtime, Options::new()).unwrap();
        let back = raw::Req::on(&runtime, Options::new()).unwrap();
        let rig = rig!(front, back, [transport; 2]);
        let req = Req::on(&runtime, Options::new()).unwrap();
        let rep = Rep::on(&runtime, Options::new()).unwrap();
        connect!(req, &rig.front);
        connect!(rep, &rig.back);
        let server = echo(&rep, "re: ");
        for n in 0..100 {
            let answer = req.request_timeout(format!("{n}"), SOON).unwrap();
            assert_eq!(answer, format!("re: {n}"));
        }
        rig.finish();
        rep.close().unwrap();
        server.join().unwrap();
        conserved(|| req.stats());
        conserved(|| rep.stats());
    }
}

/// The same, one way: the one direction waits at one socket and serves both.
#[test]
fn a_pipeline_device_runs_without_an_io_thread() {
    for transport in Transport::ALL {
        let runtime = Runtime::builder().manual(true).build().unwrap();
        let front = raw::Pull::on(&runtime, Options::new()).unwrap();
        let back = raw::Push::on(&runtime, Options::new()).unwrap();
        let rig = rig!(front, back, [transport; 2]);
        let (push, pull) = (Push::new(), Pull::new());
        connect!(push, &rig.front);
        connect!(pull, &rig.back);
        for n in 0..100_u8 {
            push.send(vec![n]).unwrap();
            assert_eq!(block_on(pull.recv_async()).unwrap(), [n]);
        }
        rig.finish();
        conserved(|| push.stats());
        conserved(|| pull.stats());
    }
}

/// C226.
#[test]
fn every_socket_says_whether_it_is_raw() {
    macro_rules! check {
        ($($socket:ident),*) => {$(
            assert!(!sinew::$socket::new().is_raw());
            assert!(raw::$socket::new().is_raw());
        )*};
    }
    check!(Pair, Pair1, Push, Pull, Pub, Sub, Bus, Req, Rep, Surveyor, Respondent);
    assert!(!sinew::PolyPair1::new().is_raw());
}

#[test]
fn the_account_of_a_device_reads_as_one_for_each_side() {
    let (push, pull) = (Push::new(), Pull::new());
    let rig = rig!(raw::Pull::new(), raw::Push::new(), [Transport::Inproc; 2]);
    push.connect(&rig.front).unwrap();
    pull.connect(&rig.back).unwrap();
    push.send("work").unwrap();
    assert_eq!(pull.recv_timeout(SOON).unwrap(), "work");
    let handle = rig.device.handle();
    eventually("it is counted", || handle.stats().back.messages_sent == 1);
    let text = handle.stats().to_string();
    assert!(text.starts_with("running, 0 in hand\nfront\n  accepted_connections "), "{text}");
    let (front, back) = text.split_once("\nback\n").expect("both sides");
    assert!(
        front.contains("\n  messages_received ") && !front.contains("messages_sent"),
        "{front}"
    );
    assert!(back.contains("  messages_sent ") && !back.contains("messages_received"), "{back}");
    finish(rig.device);
    assert!(handle.stats().to_string().starts_with("not running, 0 in hand\n"));
}
