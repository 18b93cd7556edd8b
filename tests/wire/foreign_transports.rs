//! Transports of the program: which one gets a scheme, what may be added, and that a faulty one harms only
//! its own connections.

use std::error::Error;
use std::fmt;
use std::io::{self, IoSlice};
use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use kit::{SOON, attached, conserved, detached, eventually, next_event};
use sinew::transport::{
    Address, Destination, EndpointSettings, Framing, Listener, Source, Stream, StreamPeer,
    StreamTransport, Target, Tcp,
};
#[cfg(unix)]
use sinew::transport::{BoundFile, Ipc};
use sinew::{
    AddressError, AttemptError, BindError, ConnectError, DetachReason, EndpointOptions, Options,
    Pair, PipeEventKind, Pull, Push, Runtime, RuntimeError,
};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing.
    None,
    ReadTooMuch,
    ReadPanics,
    WriteTooMuch,
    WriteNothing,
    WritePanics,
    /// Every write is interrupted.
    WriteInterrupted,
    /// Reading fails with an error that panics when it is shown.
    ErrorPanics,
    PeerPanics,
    ShutdownPanics,
    DropPanics,
    EstablishedPanics,
    RegisterPanics,
    AcceptPanics,
    ConnectPanics,
    /// No connection of ours ever stands.
    NeverStands,
    /// The first one does not; the others do.
    FirstNeverStands,
    /// Harmless: nothing is ever read but in small bites.
    SmallBites,
    /// Harmless: every second read is interrupted.
    Interruptions,
    /// Harmless: every write takes its time.
    SlowWrites,
}

/// tcp under another name, with a fault that begins when the switch is turned.
#[derive(Clone, Debug)]
struct Faulty {
    scheme: &'static str,
    fault: Fault,
    is_on: Arc<AtomicBool>,
    /// Streams made so far.
    streams: Arc<AtomicUsize>,
    /// Reads that have found nothing.
    reads_in_vain: Arc<AtomicUsize>,
}

impl Faulty {
    fn new(scheme: &'static str, fault: Fault) -> Self {
        let (is_on, streams, reads_in_vain) = Default::default();
        Self { scheme, fault, is_on, streams, reads_in_vain }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == fault && self.is_on.load(Ordering::SeqCst)
    }

    #[track_caller]
    fn panics_if(&self, fault: Fault) {
        assert!(!self.has(fault), "as the test wants it");
    }

    fn wrap(&self, inner: Box<dyn Stream>) -> Box<dyn Stream> {
        let is_first = self.streams.fetch_add(1, Ordering::SeqCst) == 0;
        let calls = AtomicUsize::new(0);
        Box::new(FaultyStream { inner, faulty: self.clone(), calls, is_first })
    }

    /// How many of its streams there are now: each has a clone.
    fn living(&self) -> usize {
        Arc::strong_count(&self.streams)
    }
}

/// An error that cannot be shown.
#[derive(Debug)]
struct Unspeakable;

impl fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("as the test wants it");
    }
}

impl Error for Unspeakable {}

/// The same address for tcp.
fn tcp(address: &Address) -> Address {
    Address::parse(&format!("tcp://{}", address.after_scheme())).expect("it has a scheme")
}

impl StreamTransport for Faulty {
    fn schemes(&self) -> &[&str] {
        std::slice::from_ref(&self.scheme)
    }

    fn framing(&self) -> Framing {
        Framing::TypeAndLength
    }

    fn bind(
        &self,
        address: &Address,
        settings: &EndpointSettings,
    ) -> Result<Box<dyn Listener>, BindError> {
        let inner = Tcp::new().bind(&tcp(address), settings)?;
        Ok(Box::new(FaultyListener { inner, faulty: self.clone() }))
    }

    fn target(&self, address: &Address) -> Result<Target, AddressError> {
        Tcp::new().target(&tcp(address))
    }

    fn connect(
        &self,
        address: &Address,
        destination: &Destination,
        settings: &EndpointSettings,
    ) -> io::Result<Box<dyn Stream>> {
        self.panics_if(Fault::ConnectPanics);
        Tcp::new().connect(address, destination, settings).map(|stream| self.wrap(stream))
    }
}

#[derive(Debug)]
struct FaultyListener {
    inner: Box<dyn Listener>,
    faulty: Faulty,
}

impl Listener for FaultyListener {
    fn source(&mut self) -> &mut dyn Source {
        self.inner.source()
    }

    fn accept(&self) -> io::Result<Box<dyn Stream>> {
        self.faulty.panics_if(Fault::AcceptPanics);
        self.inner.accept().map(|stream| self.faulty.wrap(stream))
    }

    fn url(&self) -> String {
        self.inner.url().replace("tcp", self.faulty.scheme)
    }
}

#[derive(Debug)]
struct FaultyStream {
    inner: Box<dyn Stream>,
    faulty: Faulty,
    calls: AtomicUsize,
    is_first: bool,
}

impl Stream for FaultyStream {
    fn source(&mut self) -> &mut dyn Source {
        self.faulty.panics_if(Fault::RegisterPanics);
        self.inner.source()
    }

    fn established(&self) -> io::Result<bool> {
        self.faulty.panics_if(Fault::EstablishedPanics);
        let hangs = self.faulty.has(Fault::NeverStands)
            || self.is_first && self.faulty.has(Fault::FirstNeverStands);
        Ok(!hangs && self.inner.established()?)
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.faulty.panics_if(Fault::ReadPanics);
        if self.faulty.has(Fault::ErrorPanics) {
            return Err(io::Error::other(Unspeakable));
        }
        if self.faulty.has(Fault::Interruptions)
            && self.calls.fetch_add(1, Ordering::SeqCst).is_multiple_of(2)
        {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let bite =
            if self.faulty.has(Fault::SmallBites) { buffer.len().min(7) } else { buffer.len() };
        let read = self.inner.read(&mut buffer[..bite]).inspect_err(|_| {
            self.faulty.reads_in_vain.fetch_add(1, Ordering::SeqCst);
        })?;
        if self.faulty.has(Fault::ReadTooMuch) { Ok(buffer.len() + 1) } else { Ok(read) }
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.faulty.panics_if(Fault::WritePanics);
        if self.faulty.has(Fault::WriteNothing) {
            return Ok(0);
        }
        if self.faulty.has(Fault::WriteInterrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.faulty.has(Fault::SlowWrites) {
            thread::sleep(Duration::from_millis(1));
        }
        let written = self.inner.write(slices)?;
        if self.faulty.has(Fault::WriteTooMuch) {
            Ok(slices.iter().map(|slice| slice.len()).sum::<usize>() + 1)
        } else {
            Ok(written)
        }
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.faulty.panics_if(Fault::ShutdownPanics);
        self.inner.shutdown_write()
    }

    fn peer(&self) -> StreamPeer {
        self.faulty.panics_if(Fault::PeerPanics);
        self.inner.peer()
    }
}

impl Drop for FaultyStream {
    fn drop(&mut self) {
        self.faulty.panics_if(Fault::DropPanics);
    }
}

fn often() -> EndpointOptions {
    EndpointOptions::new().reconnect_interval(Duration::from_millis(10))
}

/// Two sockets on a runtime that has both tcp and a faulty transport.
struct Scene {
    faulty: Faulty,
    runtime: Runtime,
    left: Pair,
    right: Pair,
}

impl Scene {
    fn new(fault: Fault) -> Self {
        let faulty = Faulty::new("faulty", fault);
        let runtime = Runtime::builder().transport(faulty.clone()).build().unwrap();
        let left = Pair::on(&runtime, Options::new()).unwrap();
        let right = Pair::on(&runtime, Options::new()).unwrap();
        Self { faulty, runtime, left, right }
    }

    /// One whose fault has begun, and the address at which the left socket listens.
    fn with(fault: Fault) -> (Self, String) {
        let scene = Self::new(fault);
        let url = scene.left.bind("faulty://127.0.0.1:0").unwrap().url();
        scene.turn(true);
        (scene, url)
    }

    fn turn(&self, on: bool) {
        self.faulty.is_on.store(on, Ordering::SeqCst);
    }

    #[track_caller]
    fn talk(&self) {
        self.left.send_timeout("there", SOON).unwrap();
        assert_eq!(self.right.recv_timeout(SOON).unwrap(), "there");
        self.right.send_timeout("back", SOON).unwrap();
        assert_eq!(self.left.recv_timeout(SOON).unwrap(), "back");
    }

    /// The I/O thread is alive, and other transports are served.
    #[track_caller]
    fn others_are_served(&self) {
        let ear = Pair::on(&self.runtime, Options::new()).unwrap();
        let mouth = Pair::on(&self.runtime, Options::new()).unwrap();
        let url = ear.bind("tcp://127.0.0.1:0").unwrap().url();
        mouth.connect(&url).unwrap();
        mouth.send_timeout("still?", SOON).unwrap();
        assert_eq!(ear.recv_timeout(SOON).unwrap(), "still?");
    }
}

#[test]
fn a_connection_that_misbehaves_ends_and_nothing_else() {
    for fault in [
        Fault::ReadTooMuch,
        Fault::ReadPanics,
        Fault::WriteTooMuch,
        Fault::WriteNothing,
        Fault::WritePanics,
        Fault::WriteInterrupted,
        Fault::ErrorPanics,
    ] {
        let scene = Scene::new(fault);
        let events = scene.left.events();
        let url = scene.left.bind("faulty://127.0.0.1:0").unwrap().url();
        assert!(url.starts_with("faulty://"));
        scene.right.connect_with(&url, &often()).unwrap();
        attached(&events);
        scene.talk();

        scene.turn(true);
        // It may come to us or to the peer first, and be refused when we are rid of the pipe already.
        let _ = scene.right.try_send("x");
        let reason = detached(&events);
        assert!(
            matches!(reason, DetachReason::Io(_) | DetachReason::PeerClosed),
            "{fault:?}: {reason:?}"
        );
        scene.others_are_served();

        scene.turn(false);
        attached(&events);
        eventually("the connection is back", || !scene.right.peers().is_empty());
        while scene.left.try_recv().is_ok() {}
        scene.talk();
        for pair in [&scene.left, &scene.right] {
            conserved(|| pair.stats());
        }
    }
}

#[test]
fn a_panic_on_the_way_to_a_connection_fails_the_attempt() {
    for fault in [
        Fault::ConnectPanics,
        Fault::RegisterPanics,
        Fault::EstablishedPanics,
        Fault::ReadPanics,
        Fault::ReadTooMuch,
        Fault::WriteNothing,
        Fault::WritePanics,
        Fault::WriteInterrupted,
        Fault::ErrorPanics,
    ] {
        let (scene, url) = Scene::with(fault);
        match scene.right.connect_now(&url) {
            Err(ConnectError::Failed {
                source:
                    AttemptError::Io { .. } | AttemptError::Closed | AttemptError::TurnedAway { .. },
                ..
            }) => {}
            other => panic!("{fault:?}: {other:?}"),
        }
        scene.others_are_served();
        scene.turn(false);
        scene.right.connect_now(&url).unwrap();
        scene.talk();
    }
}

/// C469.
#[test]
fn an_attempt_that_never_stands_is_over_in_time() {
    let (scene, url) = Scene::with(Fault::NeverStands);
    let limit = Duration::from_millis(50);
    let brief = often().connect_timeout(limit);
    match scene.right.connect_now_with(&url, &brief) {
        Err(ConnectError::Failed { source: AttemptError::TimedOut(after), .. }) => {
            assert_eq!(after, limit);
        }
        other => panic!("{other:?}"),
    }
    let endpoint = scene.right.connect_with(&url, &brief).unwrap();
    eventually("it tries again and again", || endpoint.status().attempts > 3);
    assert_eq!(endpoint.status().last_error, Some(AttemptError::TimedOut(limit)));

    scene.turn(false);
    scene.right.wait_for_peers(1, SOON).expect("the next attempt stands");
    scene.talk();
}

/// C470.
#[test]
fn an_address_that_does_not_answer_is_asked_again_in_the_same_attempt() {
    let (scene, url) = Scene::with(Fault::FirstNeverStands);
    let forever = EndpointOptions::new().connect_timeout(None);
    let endpoint = scene.right.connect_now_with(&url, &forever).expect("the second answers");
    assert_eq!(endpoint.status().attempts, 1);
    scene.talk();
}

/// C472.
#[test]
fn closing_in_the_middle_of_an_attempt_leaves_no_stream() {
    for close_socket in [false, true] {
        let (scene, url) = Scene::with(Fault::NeverStands);
        let before = scene.faulty.living();
        let endpoint = scene.right.connect(&url).unwrap();
        eventually("two are on the way, and two accepted", || scene.faulty.living() >= before + 4);
        if close_socket {
            scene.right.close().unwrap()
        } else {
            endpoint.close().unwrap()
        }
        eventually("all are gone", || scene.faulty.living() == before);
    }
}

#[test]
fn a_listener_that_panics_tries_again() {
    let (scene, url) = Scene::with(Fault::AcceptPanics);
    scene.right.connect_with(&url, &often()).unwrap();
    eventually("it has panicked", || scene.left.stats().accept_errors > 0);
    scene.others_are_served();
    scene.turn(false);
    scene.talk();
}

#[test]
fn a_panic_at_the_end_of_a_connection_makes_no_difference() {
    for fault in [Fault::PeerPanics, Fault::ShutdownPanics, Fault::DropPanics] {
        let (scene, url) = Scene::with(fault);
        let events = scene.left.events();
        scene.right.connect_with(&url, &often()).unwrap();
        attached(&events);
        scene.talk();
        if fault == Fault::PeerPanics {
            assert_eq!(scene.left.peers()[0].remote, "", "unknown");
        }
        let pipe = scene.right.peers()[0].pipe;
        scene.right.disconnect(pipe).unwrap();
        // A peer that could not be told of the end turns its successor away until it learns of it.
        let mut events = iter::from_fn(|| Some(next_event(&events)));
        events.find(|event| *event == PipeEventKind::Detached(DetachReason::PeerClosed));
        events.find(|event| *event == PipeEventKind::Attached);
        scene.others_are_served();
        scene.talk();
    }
}

/// A stream may read less than there is, and need not be reported again for the rest.
#[test]
fn odd_streams_are_served_all_the_same() {
    for fault in [Fault::None, Fault::SmallBites, Fault::Interruptions] {
        let (scene, url) = Scene::with(fault);
        scene.right.connect_with(&url, &often()).unwrap();
        for size in [0, 1, 100, 10_000] {
            let message = vec![b'x'; size];
            scene.right.send_timeout(&message, SOON).unwrap();
            assert_eq!(scene.left.recv_timeout(SOON).unwrap(), message, "{fault:?}");
        }
        scene.talk();
        scene.right.close().unwrap();
        eventually("the end is noticed", || scene.left.peers().is_empty());
    }
}

/// The I/O thread leaves a connection alone on which a caller is writing: it would turn in circles, and
/// read each time what cannot be there.
#[test]
fn a_stream_that_callers_write_is_not_read_in_vain() {
    const MESSAGES: usize = 300;
    let (ears, mouths) = (Faulty::new("slow", Fault::None), Faulty::new("slow", Fault::SlowWrites));
    let of = |faulty: &Faulty| Runtime::builder().transport(faulty.clone()).build().unwrap();
    let (here, there) = (of(&ears), of(&mouths));
    let pull = Pull::on(&here, Options::new()).unwrap();
    let push = Push::on(&there, Options::new()).unwrap();
    push.connect(pull.bind("slow://127.0.0.1:0").unwrap().url()).unwrap();
    push.wait_for_peers(1, SOON).unwrap();
    let before = mouths.reads_in_vain.load(Ordering::SeqCst);
    mouths.is_on.store(true, Ordering::SeqCst);
    thread::scope(|scope| {
        scope.spawn(|| (0..MESSAGES).for_each(|_| push.send(vec![7; 32 << 10]).unwrap()));
        (0..MESSAGES).for_each(|_| drop(pull.recv_timeout(SOON).unwrap()));
    });
    let in_vain = mouths.reads_in_vain.load(Ordering::SeqCst) - before;
    assert!(in_vain < 10, "{in_vain} reads, and nothing has come");
    conserved(|| push.stats());
}

/// The one added last has the scheme, be it tcp; without it, the scheme means what it always does.
#[test]
fn of_several_transports_with_one_scheme_the_last_has_it() {
    let (first, last) = (Faulty::new("tcp", Fault::None), Faulty::new("tcp", Fault::None));
    let runtime =
        Runtime::builder().transport(first.clone()).transport(last.clone()).build().unwrap();
    let left = Pair::on(&runtime, Options::new()).unwrap();
    let right = Pair::on(&runtime, Options::new()).unwrap();
    let url = left.bind("tcp://127.0.0.1:0").unwrap().url();
    right.connect_now(&url).unwrap();
    let made = |faulty: &Faulty| faulty.streams.load(Ordering::SeqCst);
    assert_eq!((made(&first), made(&last)), (0, 2));

    right.send("over ipc's framing").unwrap();
    assert_eq!(left.recv_timeout(SOON).unwrap(), "over ipc's framing");
    // tcp4 is tcp's own still, and another runtime knows nothing of all this.
    left.bind("tcp4://127.0.0.1:0").unwrap();
    Pair::new().bind("tcp://127.0.0.1:0").unwrap();
    assert_eq!((made(&first), made(&last)), (0, 2));
}

#[test]
fn a_host_name_is_resolved_for_the_transport() {
    let scene = Scene::new(Fault::None);
    let url = scene.left.bind("faulty://127.0.0.1:0").unwrap().url();
    let by_name = url.replace("127.0.0.1", "localhost");
    scene.right.connect_now(&by_name).unwrap();
    scene.talk();
}

#[test]
fn a_transport_without_a_proper_scheme_is_refused() {
    #[derive(Debug)]
    struct Nameless(&'static [&'static str]);

    impl StreamTransport for Nameless {
        fn schemes(&self) -> &[&str] {
            self.0
        }
        fn bind(
            &self,
            address: &Address,
            _: &EndpointSettings,
        ) -> Result<Box<dyn Listener>, BindError> {
            Err(address.malformed("nothing is bound here").into())
        }
        fn target(&self, address: &Address) -> Result<Target, AddressError> {
            Err(address.malformed("nobody is called here"))
        }
        fn connect(
            &self,
            _: &Address,
            _: &Destination,
            _: &EndpointSettings,
        ) -> io::Result<Box<dyn Stream>> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    let refused: [(&[&str], &str); 7] = [
        (&[], ""),
        (&[""], ""),
        (&["good", "Bad"], "Bad"),
        (&["a b"], "a b"),
        (&["a://"], "a://"),
        (&["1a"], "1a"),
        (&["good", "inproc"], "inproc"),
    ];
    for (schemes, culprit) in refused {
        match Runtime::builder().transport(Nameless(schemes)).build() {
            Err(RuntimeError::Transport { scheme, .. }) => assert_eq!(scheme, culprit),
            other => panic!("{schemes:?}: {other:?}"),
        }
    }
    let runtime = Runtime::builder().transport(Nameless(&["tls+x-1.0"])).build().unwrap();
    let pair = Pair::on(&runtime, Options::new()).unwrap();
    match pair.bind("tls+x-1.0://x") {
        Err(BindError::Address(AddressError::Malformed { reason, .. })) => {
            assert_eq!(reason, "nothing is bound here");
        }
        other => panic!("{other:?}"),
    }
}

/// ipc under another name.
#[cfg(unix)]
#[derive(Debug)]
struct Alias;

/// The same address for ipc.
#[cfg(unix)]
fn ipc(address: &Address) -> Address {
    Address::parse(&format!("ipc://{}", address.after_scheme())).expect("it has a scheme")
}

#[cfg(unix)]
impl StreamTransport for Alias {
    fn schemes(&self) -> &[&str] {
        &["alias"]
    }

    fn framing(&self) -> Framing {
        Framing::TypeAndLength
    }

    fn bind(
        &self,
        address: &Address,
        settings: &EndpointSettings,
    ) -> Result<Box<dyn Listener>, BindError> {
        Ipc::new().bind(&ipc(address), settings)
    }

    fn target(&self, address: &Address) -> Result<Target, AddressError> {
        Ipc::new().target(&ipc(address))
    }

    fn connect(
        &self,
        address: &Address,
        destination: &Destination,
        settings: &EndpointSettings,
    ) -> io::Result<Box<dyn Stream>> {
        Ipc::new().connect(address, destination, settings)
    }
}

/// C456. A transport that says nothing of a file has none to lose.
#[cfg(unix)] // elsewhere a file is known by its path alone
#[test]
fn a_foreign_listener_may_have_a_file_to_lose() {
    let dir = kit::TempDir::new();
    let path = dir.path("s");
    let runtime = Runtime::builder()
        .transport(Alias)
        .transport(Faulty::new("faulty", Fault::AcceptPanics))
        .build()
        .unwrap();
    let pair = Pair::on(&runtime, Options::new()).unwrap();
    let listener = pair.bind(format!("alias://{}", path.display())).unwrap();
    let without = pair.bind("faulty://127.0.0.1:0").unwrap();
    assert_eq!(listener.status().last_error, None);
    std::fs::remove_file(&path).unwrap();
    let lost = AttemptError::FileLost { path, replaced: false };
    assert_eq!(listener.status().last_error, Some(lost));
    assert_eq!(without.status().last_error, None);
}

/// What a transport says of its own file.
#[cfg(unix)] // elsewhere a file is known by its path alone
#[test]
fn a_bound_file_is_known_by_more_than_its_path() {
    let dir = kit::TempDir::new();
    let path = dir.path("s");
    assert_eq!(BoundFile::at(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    std::fs::write(&path, "").unwrap();
    let file = BoundFile::at(&path).unwrap();
    assert_eq!((file.path(), file.is_there()), (&*path, true));
    std::fs::write(dir.path("other"), "").unwrap();
    std::fs::rename(&path, dir.path("aside")).unwrap();
    assert!(!file.is_there());
    std::fs::rename(dir.path("other"), &path).unwrap();
    assert!(!file.is_there());
    assert_ne!(BoundFile::at(&path).unwrap(), file);
    let relative = BoundFile::at("Cargo.toml").unwrap();
    assert_eq!(relative.path(), std::env::current_dir().unwrap().join("Cargo.toml"));
}
