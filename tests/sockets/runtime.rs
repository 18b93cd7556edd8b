//! Runtimes made by hand: with a thread of their own, and without any.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use kit::{SOON, Transport, join};
use sinew::transport::{
    Address, Destination, EndpointSettings, Listener, Source, Stream, StreamPeer, StreamTransport,
    Target, Tcp,
};
use sinew::{
    AddressError, BindError, Options, Pair, Pull, Push, Rep, Req, Runtime, RuntimeError, Surveyor,
};

#[cfg(target_os = "linux")] // finds the name of the thread in /proc
#[test]
fn a_runtime_of_its_own_serves_its_sockets_and_ends_with_them() {
    let runtime = Runtime::builder().thread_name("sinew-test").build().unwrap();
    let rep = Rep::on(&runtime, Options::new()).unwrap();
    let req = Req::on(&runtime, Options::new()).unwrap();
    let _address = join!(rep, req, Transport::Tcp);
    drop(runtime);
    let asked = req.context();
    asked.send("still there?").unwrap();
    rep.recv_timeout(SOON).unwrap().reply("yes").unwrap();
    assert_eq!(asked.recv_timeout(SOON).unwrap(), "yes");
    let named = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        tasks
            .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok())
            .any(|name| name.trim() == "sinew-test")
    };
    // The threads that wait may have done everything before it has got so far.
    kit::eventually("the I/O thread is there", named);
    drop((rep, req, asked));
    kit::eventually("the I/O thread has ended", || !named());
}

/// The thread that waits drives: nobody else does it for these sockets.
#[test]
fn without_a_thread_whoever_waits_turns_the_loop() {
    for transport in Transport::ALL {
        let runtime = Runtime::builder().manual(true).build().unwrap();
        let rep = Rep::on(&runtime, Options::new()).unwrap();
        let req = Req::on(&runtime, Options::new()).unwrap();
        let _address = join!(rep, req, transport);
        for n in 0..100_u8 {
            let asked = req.context();
            asked.send(vec![n]).unwrap();
            let request = rep.recv_timeout(SOON).unwrap();
            let answer = request.message().clone();
            request.reply(answer).unwrap();
            assert_eq!(asked.recv_timeout(SOON).unwrap(), vec![n]);
        }
    }
}

#[test]
fn without_a_thread_the_application_turns_the_loop() {
    let runtime = Runtime::builder().manual(true).build().unwrap();
    let pair = Pair::on(&runtime, Options::new()).unwrap();
    let endpoint = pair.bind("tcp://127.0.0.1:0").unwrap();
    let peer = Pair::new(); // on the global runtime
    peer.connect(endpoint.url()).unwrap();
    peer.send_timeout("x", Duration::from_millis(50)).unwrap_err();
    while pair.peers().is_empty() {
        runtime.turn(Some(SOON)).unwrap();
    }
    peer.send_timeout("hello", SOON).unwrap();
    loop {
        match pair.try_recv() {
            Ok(message) => break assert_eq!(message, "hello"),
            Err(error) => assert_eq!(error, sinew::RecvError::WouldBlock),
        }
        runtime.turn(Some(SOON)).unwrap();
    }
}

/// Several threads wait at once: one drives, and hands over when it leaves.
#[test]
fn without_a_thread_waiting_threads_relieve_each_other() {
    let runtime = Runtime::builder().manual(true).build().unwrap();
    let rep = Rep::on(&runtime, Options::new()).unwrap();
    let req = Req::on(&runtime, Options::new()).unwrap();
    let _address = join!(rep, req, Transport::Tcp);
    let server = thread::spawn({
        let rep = rep.clone();
        move || {
            while let Ok(request) = rep.recv() {
                let answer = request.message().clone();
                request.reply(answer).expect("the socket is open");
            }
        }
    });
    let askers: Vec<_> = (0..8_u8)
        .map(|asker| {
            let req = req.clone();
            thread::spawn(move || {
                for n in 0..200_u8 {
                    assert_eq!(req.request_timeout(vec![asker, n], SOON).unwrap(), [asker, n]);
                }
            })
        })
        .collect();
    for asker in askers {
        asker.join().expect("every request is answered");
    }
    rep.close().unwrap();
    server.join().unwrap();
}

/// `connect_now` used to wait for the loop, which another thread turned all the while.
#[test]
fn without_a_thread_connect_now_leaves_the_turning_to_who_is_at_it() {
    let runtime = Runtime::builder().manual(true).build().unwrap();
    let left = Pair::on(&runtime, Options::new()).unwrap();
    let right = Pair::on(&runtime, Options::new()).unwrap();
    let url = left.bind("tcp://127.0.0.1:0").unwrap().url();
    let driver = thread::spawn({
        let left = left.clone();
        move || left.recv()
    });
    thread::sleep(Duration::from_millis(50)); // so that it waits, and so turns
    let (sender, connected) = mpsc::channel();
    let connector = thread::spawn({
        let right = right.clone();
        move || sender.send(right.connect_now(&url).map(drop))
    });
    let outcome = connected.recv_timeout(SOON);
    left.close().unwrap();
    outcome.expect("connect_now returns").unwrap();
    driver.join().unwrap().unwrap_err();
    connector.join().unwrap().unwrap();
}

/// `turn` used to wait for who turned the loop already, however little time it was given.
#[test]
fn without_a_thread_turn_keeps_its_timeout_beside_a_thread_that_turns() {
    let runtime = Runtime::builder().manual(true).build().unwrap();
    let pair = Pair::on(&runtime, Options::new()).unwrap();
    let driver = thread::spawn({
        let pair = pair.clone();
        move || pair.recv()
    });
    thread::sleep(Duration::from_millis(50));
    let (sender, turned) = mpsc::channel();
    thread::spawn(move || sender.send(runtime.turn(Some(Duration::from_millis(1)))));
    let outcome = turned.recv_timeout(SOON);
    pair.close().unwrap();
    driver.join().unwrap().unwrap_err();
    outcome.expect("turn returns").unwrap();
}

#[test]
fn a_thread_name_with_a_zero_byte_is_refused() {
    for builder in [Runtime::builder(), Runtime::builder().manual(true)] {
        let error = builder.thread_name("io\0").build().unwrap_err();
        assert!(matches!(&error, RuntimeError::ThreadName { name } if name == "io\0"));
        let said = "a thread cannot be called \"io\\0\": there is a zero byte in the name";
        assert_eq!(error.to_string(), said);
    }
}

/// Timers run too: a survey ends although no thread of ours exists.
#[test]
fn without_a_thread_deadlines_are_kept() {
    let runtime = Runtime::builder().manual(true).build().unwrap();
    let options = Options::new().survey_deadline(Duration::from_millis(50));
    let surveyor = Surveyor::on(&runtime, options).unwrap();
    surveyor.bind("tcp://127.0.0.1:0").unwrap();
    assert_eq!(surveyor.survey("anyone?").unwrap().count(), 0);
}

/// Nobody would come back for it: who turns the loop has to write all there is.
#[test]
fn without_a_thread_the_rest_of_a_stream_is_not_held_back() {
    let busy = Busy::default();
    let runtime = Runtime::builder().manual(true).transport(busy.clone()).build().unwrap();
    let push = Push::on(&runtime, Options::new().send_queue(1000)).unwrap();
    let pull = Pull::with_options(Options::new().recv_queue(1000)).unwrap();
    let endpoint = pull.bind("tcp://127.0.0.1:0").unwrap();
    push.connect(endpoint.url().replace("tcp", "busy")).unwrap();
    while push.peers().is_empty() {
        runtime.turn(Some(SOON)).unwrap();
    }
    *busy.during_writes.lock().unwrap() = Some((push.clone(), WRITES));
    push.send("the first").unwrap();
    for _ in 0..2 {
        runtime.turn(Some(Duration::ZERO)).unwrap();
    }
    assert_eq!(push.peers()[0].send_queue.messages, 0);
    // It holds the runtime that holds it.
    *busy.during_writes.lock().unwrap() = None;
    for _ in 0..1 + WRITES * MESSAGES {
        pull.recv_timeout(SOON).unwrap();
    }
}

/// During how many writes others send, and how much each time: enough that it looks like a stream.
const WRITES: usize = 30;
const MESSAGES: usize = 16;

/// tcp, on which others send during each write.
#[derive(Clone, Debug, Default)]
struct Busy {
    /// Where, and how often yet.
    during_writes: Arc<Mutex<Option<(Push, usize)>>>,
}

fn over_tcp(address: &Address) -> Address {
    Address::parse(&format!("tcp://{}", address.after_scheme())).expect("it has a scheme")
}

impl StreamTransport for Busy {
    fn schemes(&self) -> &[&str] {
        &["busy"]
    }

    fn bind(
        &self,
        address: &Address,
        settings: &EndpointSettings,
    ) -> Result<Box<dyn Listener>, BindError> {
        Tcp::new().bind(&over_tcp(address), settings)
    }

    fn target(&self, address: &Address) -> Result<Target, AddressError> {
        Tcp::new().target(&over_tcp(address))
    }

    fn connect(
        &self,
        address: &Address,
        destination: &Destination,
        settings: &EndpointSettings,
    ) -> io::Result<Box<dyn Stream>> {
        let inner = Tcp::new().connect(address, destination, settings)?;
        Ok(Box::new(BusyStream { inner, busy: self.clone() }))
    }
}

#[derive(Debug)]
struct BusyStream {
    inner: Box<dyn Stream>,
    busy: Busy,
}

impl Stream for BusyStream {
    fn source(&mut self) -> &mut dyn Source {
        self.inner.source()
    }

    fn established(&self) -> io::Result<bool> {
        self.inner.established()
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer)
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let written = self.inner.write(slices)?;
        let sender = match &mut *self.busy.during_writes.lock().unwrap() {
            Some((push, left)) if *left > 0 => {
                *left -= 1;
                Some(push.clone())
            }
            _ => None,
        };
        for _ in 0..sender.as_ref().map_or(0, |_| MESSAGES) {
            sender.iter().for_each(|push| push.try_send("more").expect("there is room"));
        }
        Ok(written)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.inner.shutdown_write()
    }

    fn peer(&self) -> StreamPeer {
        self.inner.peer()
    }
}
