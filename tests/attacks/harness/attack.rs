//! An attack: a socket that anybody can reach, a good neighbour on it, and a census from before.

use std::thread;
use std::time::Duration;

use kit::{Raw, SOON, Transport, conserved, eventually};
use sinew::role::{self, Role};
use sinew::{
    Bus, EndpointOptions, Message, Options, Pair, Pub, Pull, Push, Rep, Req, Respondent, Socket,
    Stats, Sub,
};

use super::census::Census;
use super::{Turn, alone};

/// How many exchanges a neighbour makes.
const EXCHANGES: usize = 100;

/// A role whose sockets are attacked, and what a good neighbour does with them.
pub(crate) trait Target: Role + Sized {
    /// What peers of it announce, and what it announces.
    const IDS: (u8, u8);

    /// Has a good neighbour connect to `url`, complete [`EXCHANGES`] with the socket, and leave. What others
    /// send meanwhile is received and thrown away.
    fn exchange(socket: &Socket<Self>, url: &str);
}

/// A socket that is attacked.
#[must_use = "an attack ends with `over`"]
pub(crate) struct Attack<R: Target> {
    pub(crate) socket: Socket<R>,
    pub(crate) url: String,
    before: Census,
    _address: Option<kit::Address>,
    _turn: Turn,
}

impl<R: Target> Attack<R> {
    /// Waits for a turn, and sets up the socket and the census.
    pub(crate) fn on(options: Options) -> Self {
        Self::over_transport(Transport::Tcp, options, &EndpointOptions::new())
    }

    pub(crate) fn over_transport(
        transport: Transport,
        options: Options,
        endpoint: &EndpointOptions,
    ) -> Self {
        let address = transport.address();
        let attack = Self::at(&address.url, options, endpoint);
        Self { _address: Some(address), ..attack }
    }

    /// On a socket that is bound to this address.
    pub(crate) fn at(url: &str, options: Options, endpoint: &EndpointOptions) -> Self {
        let _turn = alone();
        let socket = Socket::<R>::with_options(options).expect("the options are good");
        let url = socket.bind_with(url, endpoint).expect("the address is free").url();
        // What is there once for the first connections is there from now on.
        R::exchange(&socket, &url);
        nobody_is_left(&socket);
        Self { before: Census::settled(), socket, url, _address: None, _turn }
    }

    /// A peer of the right kind that has exchanged headers.
    pub(crate) fn peer(&self) -> Raw {
        Raw::greet(&self.url, R::IDS.0, R::IDS.1)
    }

    pub(crate) fn stats(&self) -> Stats {
        self.socket.stats()
    }

    /// How many bytes are held beyond those of before.
    pub(crate) fn cost(&self) -> usize {
        super::census::allocated().saturating_sub(self.before.bytes)
    }

    /// A good neighbour is served.
    #[track_caller]
    pub(crate) fn neighbour(&self) {
        R::exchange(&self.socket, &self.url);
    }

    /// The attackers have left: a good neighbour is served, and nothing of them is left behind.
    #[track_caller]
    pub(crate) fn over(self) {
        self.over_with(0);
    }

    /// The same where `bytes` may be kept, such as the room of tables for so many peers.
    #[track_caller]
    pub(crate) fn over_with(self, bytes: usize) {
        self.neighbour();
        nobody_is_left(&self.socket);
        self.before.is_back(bytes);
        self.socket.close().expect("nobody has closed it");
        conserved(|| self.socket.stats());
    }
}

#[track_caller]
fn nobody_is_left<R: Target>(socket: &Socket<R>) {
    eventually("all have left", || {
        let stats = socket.stats();
        stats.current_connections == 0 && stats.inprogress_connections == 0
    });
}

fn good(n: usize) -> String {
    format!("good {n}")
}

/// Receives until the good ones have come, in their order.
#[track_caller]
fn receive_all(mut recv: impl FnMut() -> Message) {
    let mut next = 0;
    while next < EXCHANGES {
        if recv().to_text() == good(next) {
            next += 1;
        }
    }
}

impl Target for role::Pull {
    const IDS: (u8, u8) = (0x50, 0x51);

    fn exchange(pull: &Pull, url: &str) {
        let push = Push::new();
        push.connect_now(url).expect("it listens");
        thread::scope(|scope| {
            scope.spawn(|| {
                (0..EXCHANGES).for_each(|n| push.send_timeout(good(n), SOON).expect("in time"));
                push.drain(SOON);
            });
            receive_all(|| pull.recv_timeout(SOON).expect("the neighbour's"));
        });
    }
}

impl Target for role::Push {
    const IDS: (u8, u8) = (0x51, 0x50);

    /// Others get messages as well.
    fn exchange(push: &Push, url: &str) {
        let pull = Pull::new();
        pull.connect_now(url).expect("it listens");
        let mut received = 0;
        while received < EXCHANGES {
            push.send_timeout("good", SOON).expect("the neighbour has room");
            while pull.recv_timeout(Duration::from_millis(1)).is_ok() {
                received += 1;
            }
        }
    }
}

impl Target for role::Rep {
    const IDS: (u8, u8) = (0x30, 0x31);

    fn exchange(rep: &Rep, url: &str) {
        let req = Req::new();
        req.connect_now(url).expect("it listens");
        thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..EXCHANGES {
                    let reply = req.request_timeout(good(n), SOON).expect("a reply in time");
                    assert_eq!(reply.to_text(), good(n));
                }
            });
            let mut answered = 0;
            while answered < EXCHANGES {
                let request = rep.recv_timeout(SOON).expect("the neighbour's");
                answered += usize::from(request.message().starts_with(b"good"));
                let reply = request.message().clone();
                request.reply(reply).expect("it is answered once");
            }
        });
    }
}

impl Target for role::Req {
    const IDS: (u8, u8) = (0x31, 0x30);

    /// A request that somebody else has got is asked for once more.
    fn exchange(req: &Req, url: &str) {
        let rep = Rep::new();
        rep.connect_now(url).expect("it listens");
        thread::scope(|scope| {
            scope.spawn(|| {
                let asks = |n| match req.request_timeout(good(n), Duration::from_millis(50)) {
                    Ok(reply) => {
                        assert_eq!(reply.to_text(), good(n));
                        true
                    }
                    Err(_) => false,
                };
                (0..EXCHANGES).for_each(|n| while !asks(n) {});
                rep.close().expect("once");
            });
            while let Ok(request) = rep.recv() {
                let reply = request.message().clone();
                let _ = request.reply(reply);
            }
        });
    }
}

impl Target for role::Pub {
    const IDS: (u8, u8) = (0x21, 0x20);

    fn exchange(publisher: &Pub, url: &str) {
        let sub = Sub::new();
        sub.subscribe("good").expect("it is open");
        sub.connect_now(url).expect("it listens");
        for n in 0..EXCHANGES {
            loop {
                publisher.send(good(n)).expect("a PUB never waits");
                // The first may come before the publisher knows the subscriber.
                match sub.recv_timeout(Duration::from_millis(if n == 0 { 10 } else { 30_000 })) {
                    Ok(message) if message.to_text() == good(n) => break,
                    _ => {}
                }
            }
        }
    }
}

impl Target for role::Sub {
    const IDS: (u8, u8) = (0x20, 0x21);

    fn exchange(sub: &Sub, url: &str) {
        sub.subscribe("good").expect("it is open");
        let publisher = Pub::new();
        publisher.connect_now(url).expect("it listens");
        for n in 0..EXCHANGES {
            publisher.send(good(n)).expect("a PUB never waits");
            while sub.recv_timeout(SOON).expect("the neighbour's").to_text() != good(n) {}
        }
        sub.unsubscribe("good").expect("it is subscribed");
    }
}

impl Target for role::Bus {
    const IDS: (u8, u8) = (0x70, 0x70);

    fn exchange(bus: &Bus, url: &str) {
        let other = Bus::new();
        other.connect_now(url).expect("it listens");
        for n in 0..EXCHANGES {
            other.send(good(n)).expect("a BUS never waits");
            while bus.recv_timeout(SOON).expect("the neighbour's").to_text() != good(n) {}
            bus.send(good(n)).expect("a BUS never waits");
            while other.recv_timeout(SOON).expect("ours").to_text() != good(n) {}
        }
    }
}

impl Target for role::Pair {
    const IDS: (u8, u8) = (0x10, 0x10);

    /// When it has no other peer.
    fn exchange(pair: &Pair, url: &str) {
        let other = Pair::new();
        other.connect(url).expect("a good address");
        other.wait_for_peers(1, SOON).expect("it takes another peer");
        for n in 0..EXCHANGES {
            other.send_timeout(good(n), SOON).expect("in time");
            while pair.recv_timeout(SOON).expect("the neighbour's").to_text() != good(n) {}
            pair.send_timeout(good(n), SOON).expect("in time");
            while other.recv_timeout(SOON).expect("ours").to_text() != good(n) {}
        }
    }
}

impl Target for role::Surveyor {
    const IDS: (u8, u8) = (0x63, 0x62);

    fn exchange(surveyor: &sinew::Surveyor, url: &str) {
        let respondent = Respondent::new();
        respondent.connect_now(url).expect("it listens");
        thread::scope(|scope| {
            scope.spawn(|| {
                while let Ok(question) = respondent.recv() {
                    let answer = question.message().clone();
                    let _ = question.reply(answer);
                }
            });
            let asking = surveyor.context();
            // The first may come before the surveyor knows the respondent.
            asking.set_survey_deadline(Duration::from_millis(100)).expect("it is in range");
            let is_answered = |n| {
                asking.send(good(n)).expect("a SURVEYOR never waits");
                std::iter::from_fn(|| asking.recv().ok()).any(|answer| answer.to_text() == good(n))
            };
            (0..EXCHANGES).for_each(|n| while !is_answered(n) {});
            respondent.close().expect("once");
        });
    }
}

impl Target for role::Respondent {
    const IDS: (u8, u8) = (0x62, 0x63);

    fn exchange(respondent: &Respondent, url: &str) {
        let surveyor = sinew::Surveyor::new();
        surveyor.connect_now(url).expect("it listens");
        for n in 0..EXCHANGES {
            let survey = surveyor.survey(good(n)).expect("a SURVEYOR never waits");
            loop {
                let question = respondent.recv_timeout(SOON).expect("the neighbour's");
                let is_good = question.message().to_text() == good(n);
                let answer = question.message().clone();
                question.reply(answer).expect("it is answered once");
                if is_good {
                    break;
                }
            }
            assert_eq!(survey.recv_timeout(SOON).expect("an answer").to_text(), good(n));
        }
    }
}
