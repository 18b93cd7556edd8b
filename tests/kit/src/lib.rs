//! What the tests of the workspace share: addresses, raw peers, waiting for what must happen, a census of what
//! a process holds.
//!
//! A package, so that it is compiled once and not into each test program.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use sinew::{DetachReason, Events, PipeEventKind, RecvError, Stats};
use socket2::{Domain, Type};

/// What a peer over ipc reads and writes.
#[cfg(windows)]
use std::fs::File as IpcStream;
#[cfg(unix)]
use std::os::unix::net::UnixStream as IpcStream;

#[path = "../../../src/rounds.rs"]
mod rounds;
pub mod sockets;

pub use rounds::rounds;

/// How long a test waits for what must happen. Generous: only a failure takes that long, and a machine
/// that others use may leave a process, or the tool it talks to, without a processor for 20 seconds.
pub const SOON: Duration = Duration::from_secs(30);
/// How long a test waits to see that something does not happen, where no event can tell.
pub const QUIET: Duration = Duration::from_millis(100);
/// How many I/O threads a runtime has that does not say otherwise: four in the second part of `ci/io-threads`.
pub const IO_THREADS: usize = if cfg!(sinew_io_threads = "4") { 4 } else { 1 };

static NEXT: AtomicU64 = AtomicU64::new(0);

fn unique() -> String {
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A transport that a test is run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Within the process.
    Inproc,
    /// The loopback interface.
    Tcp,
    /// A unix domain socket; on Windows a named pipe.
    Ipc,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Inproc, Self::Tcp, Self::Ipc];
    /// Those on which a peer can be nothing but a stream of bytes.
    pub const STREAMS: [Self; 2] = [Self::Tcp, Self::Ipc];

    /// An address that nobody else uses. For tcp with port 0: take the real one from the endpoint.
    pub fn address(self) -> Address {
        match self {
            Self::Inproc => Address { url: format!("inproc://test-{}", unique()), _dir: None },
            Self::Tcp => Address { url: "tcp://127.0.0.1:0".to_owned(), _dir: None },
            Self::Ipc if cfg!(windows) => {
                Address { url: format!("ipc://sinew-test-{}", unique()), _dir: None }
            }
            Self::Ipc => {
                let dir = TempDir::new();
                Address { url: format!("ipc://{}", dir.path("s").display()), _dir: Some(dir) }
            }
        }
    }
}

/// An address, and the directory that goes with it.
#[derive(Debug)]
pub struct Address {
    /// What a socket binds to.
    pub url: String,
    _dir: Option<TempDir>,
}

/// A directory of its own, removed with everything in it.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes one.
    pub fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("sinew-{}", unique()));
        std::fs::create_dir(&dir).expect("the name is unique");
        Self(dir)
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Default for TempDir {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A port that was free a moment ago. On Linux also an address of 127/8 that is this test's own, so
/// that nobody takes the port in the meantime, or while a peer is being restarted.
pub fn free_tcp_url() -> String {
    static TEST: AtomicU8 = AtomicU8::new(1);
    let number = TEST.fetch_add(1, Ordering::Relaxed);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let host = if cfg!(target_os = "linux") {
        Ipv4Addr::new(127, high, low, number)
    } else {
        Ipv4Addr::LOCALHOST
    };
    // Bound but not listening, it is in nobody's way, even where a forked child still has it.
    // On Windows the option lets others bind to what is in use.
    let (_socket, address) = bound(host, cfg!(unix));
    format!("tcp://{address}")
}

/// How many bytes the path of an ipc address may have.
pub const IPC_PATH: usize =
    if cfg!(all(any(target_os = "linux", target_os = "android"), not(sinew_socketpair))) {
        107
    } else {
        103
    };

/// Held while a child process is being started.
static STARTING: RwLock<()> = RwLock::new(());

/// Starts a program. Until the child has become that program it has our descriptors too, listeners among them.
pub fn start(command: &mut Command) -> io::Result<Child> {
    let _starting = STARTING.read();
    command.spawn()
}

/// While this is held, no child process of [`start`] has a descriptor of ours.
pub fn nobody_starts() -> impl Drop {
    STARTING.write().unwrap_or_else(PoisonError::into_inner)
}

/// A port of 127.0.0.1 that no other program and no other test has. On Linux it stays so while this process
/// runs.
///
/// For programs that are given only a port. Others bind to port 0, or to a [`free_tcp_url`].
pub fn free_port() -> u16 {
    let (socket, address) = bound(Ipv4Addr::LOCALHOST, false);
    if cfg!(target_os = "linux") {
        // Kept, it holds the port against outgoing connections and against other tests. As it does not listen,
        // programs that also allow the address to be used again, as servers do, can bind to it.
        socket.set_reuse_address(true).unwrap();
        std::mem::forget(socket);
    }
    address.port()
}

/// A socket that is bound to a free port of `host`, and the address.
fn bound(host: Ipv4Addr, reuse: bool) -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(reuse).unwrap();
    socket.bind(&SocketAddrV4::new(host, 0).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().expect("it is an IPv4 socket");
    (socket, address)
}

/// An example as `cargo test --workspace` has built it, next to the tests.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let profile = test.ancestors().nth(2).expect("tests are in target/PROFILE/deps");
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let example = profile.join("examples").join(&name);
    assert!(
        example.exists(),
        "{} is missing: run all of `cargo test --workspace`, or `cargo build --example {name}` first",
        example.display()
    );
    example
}

/// Binds one socket and connects another to it, over any transport, and waits until both know.
///
/// `join!(listener, dialer, transport)` yields the address, which must be kept.
#[macro_export]
macro_rules! join {
    ($listener:expr, $dialer:expr, $transport:expr) => {{
        let address = $transport.address();
        let endpoint = $listener.bind(&address.url).expect("the address is free");
        $dialer.connect(&endpoint.url()).expect("the address is good");
        $listener.wait_for_peers(1, $crate::SOON).expect("a peer for the listener");
        $dialer.wait_for_peers(1, $crate::SOON).expect("a peer for the dialer");
        (address, endpoint)
    }};
}

/// Waits until `condition` holds. For counters, which have no event of their own.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + SOON * patience();
    while !condition() {
        assert!(Instant::now() < end, "never happened: {what}");
        std::thread::yield_now();
    }
}

/// How much longer everything may take: under emulators and the like, where long tests make few rounds.
fn patience() -> u32 {
    if rounds(100) < 100 { 4 } else { 1 }
}

/// Says that a test was skipped, and why, past what the test harness holds back of a test that passes.
pub fn skipped(why: &str) {
    use std::io::Write;
    writeln!(io::stderr(), "SKIPPED: {why}").expect("there is a place for errors");
}

/// Runs `act`, which must not hang. It has time for several waits that each take up to [`SOON`], so that one
/// that fails says itself what never happened.
#[track_caller]
pub fn in_time(act: impl FnOnce() + Send + 'static) {
    use std::sync::mpsc;
    let (done, over) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        act();
        let _ = done.send(());
    });
    match over.recv_timeout(4 * SOON * patience()) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        _ => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
    }
}

/// A number that is different every time and the same in every run.
#[derive(Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % sides
    }
}

/// Tells other threads that a test is over, also when it fails.
#[derive(Debug)]
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Nothing was received in the time that there was.
#[track_caller]
pub fn timed_out<T: std::fmt::Debug>(outcome: Result<T, RecvError>) {
    assert!(matches!(outcome, Err(RecvError::TimedOut(_))), "{outcome:?}");
}

/// Nothing has vanished from a socket. Asks again while it seems so: a peer may have what it was sent before
/// the thread that has sent it counts that. Yields the figures that add up.
#[track_caller]
pub fn conserved(stats: impl Fn() -> Stats) -> Stats {
    let end = Instant::now() + SOON;
    loop {
        let stats = stats();
        let Err(broken) = stats.check_conservation() else { return stats };
        assert!(Instant::now() < end, "{broken}\n{stats}");
        std::thread::yield_now();
    }
}

/// Nothing has vanished from a socket at which no thread is at work.
#[track_caller]
pub fn conserved_now(stats: &Stats) {
    if let Err(broken) = stats.check_conservation() {
        panic!("{broken}\n{stats}");
    }
}

/// Waits until `messages` have come through the pipes of a socket, whether or not it has taken them
/// out of there.
#[track_caller]
pub fn arrived(stats: impl Fn() -> Stats, messages: u64) {
    eventually("they have arrived", || {
        let stats = stats();
        stats.copies_taken + stats.recv_queue >= messages
    });
}

/// The eight bytes that a peer of protocol `id` sends first.
pub fn header(id: u8) -> [u8; 8] {
    [0, b'S', b'P', 0, 0, id, 0, 0]
}

/// A message as it stands on a tcp connection.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u64).to_be_bytes().to_vec();
    frame.extend_from_slice(payload);
    frame
}

/// A message as it stands on an ipc connection.
pub fn ipc_frame(payload: &[u8]) -> Vec<u8> {
    let mut whole = vec![1];
    whole.extend(frame(payload));
    whole
}

/// A peer that is nothing but a stream of bytes. Everything has a deadline.
#[derive(Debug)]
pub enum Raw {
    /// Over tcp.
    Tcp(TcpStream),
    /// Over ipc.
    Ipc(IpcStream),
}

impl Raw {
    /// Connects to the address of an endpoint.
    pub fn connect(url: &str) -> Self {
        Self::try_connect(url).expect("it listens")
    }

    /// Connects to an address where perhaps nobody listens.
    pub fn try_connect(url: &str) -> io::Result<Self> {
        let raw = match url.split_once("://") {
            Some(("tcp", address)) => Self::Tcp(TcpStream::connect(address)?),
            #[cfg(unix)]
            Some(("ipc", path)) => Self::Ipc(IpcStream::connect(path)?),
            #[cfg(target_os = "linux")]
            Some(("abstract", name)) => {
                use std::os::linux::net::SocketAddrExt;
                let name = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
                Self::Ipc(IpcStream::connect_addr(&name)?)
            }
            #[cfg(windows)]
            Some(("ipc", name)) => {
                const BUSY: Option<i32> = Some(231); // ERROR_PIPE_BUSY: so many have come at once
                let end = Instant::now() + SOON;
                let pipe = format!(r"\\.\pipe\{name}");
                let mut options = std::fs::OpenOptions::new();
                let options = options.read(true).write(true);
                loop {
                    match options.open(&pipe) {
                        Err(error) if error.raw_os_error() == BUSY && Instant::now() < end => {
                            std::thread::yield_now();
                        }
                        opened => break Self::Ipc(opened?),
                    }
                }
            }
            _ => panic!("no raw peer for {url}"),
        };
        Ok(raw.prepared())
    }

    /// Takes a connection that a test's own listener has accepted.
    pub fn accepted(stream: TcpStream) -> Self {
        Self::Tcp(stream).prepared()
    }

    fn prepared(self) -> Self {
        match &self {
            Self::Tcp(stream) => {
                stream.set_read_timeout(Some(SOON)).expect("a timeout above zero");
                stream.set_nodelay(true).expect("it stands");
            }
            #[cfg(unix)]
            Self::Ipc(stream) => {
                stream.set_read_timeout(Some(SOON)).expect("a timeout above zero");
            }
            // A pipe has no timeouts: a test that fails may hang.
            #[cfg(windows)]
            Self::Ipc(_) => {}
        }
        self
    }

    /// Connects, and exchanges headers as a peer of protocol `id`; checks that ours is `expected`.
    pub fn greet(url: &str, id: u8, expected: u8) -> Self {
        let mut raw = Self::connect(url);
        raw.send(&header(id));
        assert_eq!(raw.read(8), header(expected));
        raw
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the connection stands");
    }

    /// Sends bytes where the connection perhaps no longer stands.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Ipc(stream) => stream.write_all(bytes),
        }
    }

    /// Sends one message in the framing of the transport.
    #[track_caller]
    pub fn send_frame(&mut self, payload: &[u8]) {
        let bytes = match self {
            Self::Tcp(_) => frame(payload),
            Self::Ipc(_) => ipc_frame(payload),
        };
        self.send(&bytes);
    }

    /// Reads exactly `n` bytes.
    #[track_caller]
    pub fn read(&mut self, n: usize) -> Vec<u8> {
        self.try_read(n).expect("bytes in time")
    }

    /// Reads `n` bytes where the connection perhaps no longer stands.
    pub fn try_read(&mut self, n: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; n];
        self.stream().read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads one message and returns its payload.
    #[track_caller]
    pub fn read_frame(&mut self) -> Vec<u8> {
        if let Self::Ipc(_) = self {
            assert_eq!(self.read(1), [1]);
        }
        let length = self.read(8);
        let length = u64::from_be_bytes(length.try_into().expect("8 bytes were read"));
        self.read(usize::try_from(length).expect("a test's message"))
    }

    /// Reads to the end and returns what came before it; a reset counts as an end.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.stream().read_to_end(&mut bytes) {
            Ok(_) => bytes,
            Err(error)
                if [ErrorKind::ConnectionReset, ErrorKind::ConnectionAborted]
                    .contains(&error.kind()) =>
            {
                bytes
            }
            Err(error) => panic!("the connection was not closed: {error}"),
        }
    }

    /// Ends our side; theirs can still be read.
    pub fn finish(&mut self) {
        let end = std::net::Shutdown::Write;
        match self {
            Self::Tcp(stream) => stream.shutdown(end),
            #[cfg(unix)]
            Self::Ipc(stream) => stream.shutdown(end),
            // A pipe cannot be closed in one direction, so this ends theirs too.
            #[cfg(windows)]
            Self::Ipc(pipe) => std::fs::File::open("NUL").map(|none| *pipe = none),
        }
        .expect("it stands");
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        let Self::Tcp(stream) = self else { panic!("only tcp has resets") };
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("it is a socket");
    }

    fn stream(&mut self) -> &mut dyn Read {
        match self {
            Self::Tcp(stream) => stream,
            Self::Ipc(stream) => stream,
        }
    }
}

/// A listener that is nothing but a source of [`Raw`] peers. Waits for them with a deadline.
#[derive(Debug)]
pub struct RawListener(TcpListener);

impl Default for RawListener {
    fn default() -> Self {
        Self::new()
    }
}

impl RawListener {
    /// Listens at a free port.
    pub fn new() -> Self {
        Self::at("127.0.0.1:0")
    }

    /// Listens at an address of the loopback interface.
    pub fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).expect("the address is free");
        listener.set_nonblocking(true).expect("it stands");
        Self(listener)
    }

    /// Where sockets connect to it.
    pub fn url(&self) -> String {
        format!("tcp://{}", self.0.local_addr().expect("it is bound"))
    }

    /// Waits for a connection.
    #[track_caller]
    pub fn accept(&self) -> Raw {
        let end = Instant::now() + SOON;
        loop {
            if let Some(raw) = self.try_accept() {
                return raw;
            }
            assert!(Instant::now() < end, "nobody connected");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Takes a connection if there is one now.
    pub fn try_accept(&self) -> Option<Raw> {
        match self.0.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).expect("it stands");
                Some(Raw::accepted(stream))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("accept: {error}"),
        }
    }
}

/// The next event of a socket, which must come.
#[track_caller]
pub fn next_event(events: &Events) -> PipeEventKind {
    events.recv_timeout(SOON).expect("an event in time").kind
}

/// Waits for a pipe to come, and to be accepted.
#[track_caller]
pub fn attached(events: &Events) {
    assert_eq!(next_event(events), PipeEventKind::Attaching);
    assert_eq!(next_event(events), PipeEventKind::Attached);
}

/// Waits for a pipe to go, and says why it went.
#[track_caller]
pub fn detached(events: &Events) -> DetachReason {
    match next_event(events) {
        PipeEventKind::Detached(reason) => reason,
        other => panic!("not gone, but {other:?}"),
    }
}

/// Waits for a pipe to go and for another to come. If two I/O threads have them, they may tell in either order.
#[track_caller]
pub fn replaced(events: &Events) {
    if IO_THREADS == 1 {
        detached(events);
        return attached(events);
    }
    let kinds = [(); 3].map(|()| next_event(events));
    let (gone, come): (Vec<_>, Vec<_>) =
        kinds.iter().partition(|kind| matches!(kind, PipeEventKind::Detached(_)));
    assert_eq!((gone.len(), come), (1, vec![&PipeEventKind::Attaching, &PipeEventKind::Attached]));
}

/// How many descriptors this process has open.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("this is Linux").count()
}

/// Polls a future to its end on this thread.
pub fn block_on<F: Future>(future: F) -> F::Output {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake, Waker};

    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    let end = Instant::now() + 3 * SOON;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        assert!(Instant::now() < end, "the future never became ready");
        std::thread::park_timeout(SOON);
    }
}

/// Polls a future once, with nobody to wake; `None`: it waits.
pub fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    match Pin::new(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
