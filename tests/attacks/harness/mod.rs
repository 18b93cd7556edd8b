//! What the attacks are made with.

pub(crate) mod attack;
pub(crate) mod census;
pub(crate) mod child;
pub(crate) mod elsewhere;
pub(crate) mod proxy;

use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kit::{Raw, RawListener, SOON, header};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sinew::role::Role;
use sinew::{EndpointOptions, Pull, Push, Runtime, Socket};

/// A test's turn: until it is dropped no other test of this program runs.
pub(crate) struct Turn {
    begin: Instant,
    _turn: MutexGuard<'static, ()>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let name = thread::current().name().unwrap_or_default().to_owned();
        eprintln!("{name} took {:?}", self.begin.elapsed());
    }
}

/// Waits until no other test is running.
pub(crate) fn alone() -> Turn {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    static WARM: Once = Once::new();
    WARM.call_once(warm_up);
    Turn { begin: Instant::now(), _turn }
}

/// Passes a message: the event loop and the block that it reads into are there from then on, and belong to no attack.
fn warm_up() {
    let (pull, push) = (Pull::new(), Push::new());
    let endpoint = pull.bind("tcp://127.0.0.1:0").expect("port 0 is free");
    push.connect(endpoint.url()).expect("a good address");
    push.send_timeout("warm", SOON).expect("it is connected soon");
    pull.recv_timeout(SOON).expect("it arrives");
}

/// The name of a test as `--exact` takes it.
pub(crate) fn name_of<T>(_test: T) -> &'static str {
    let path = std::any::type_name::<T>();
    path.split_once("::").expect("it is in a module of this crate").1
}

/// Whether the rounds that take minutes are wanted: `ci/attacks` asks for them.
pub(crate) fn is_long() -> bool {
    std::env::var_os("SINEW_TEST_LONG").is_some()
}

/// Lets the process have as many descriptors as it may; returns how many.
pub(crate) fn allow_descriptors() -> u64 {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("it is allowed");
    most
}

/// How often to do something: `short` times in every test run, `long` times in that of `ci/attacks`.
pub(crate) fn times(short: usize, long: usize) -> usize {
    if is_long() {
        return long;
    }
    let short = u32::try_from(short).expect("a count of a test");
    kit::rounds(short) as usize
}

/// A raw peer of protocol `id`, to which `socket` has connected on a runtime that the test turns.
pub(crate) fn greeted<R: Role>(
    runtime: &Runtime,
    socket: &Socket<R>,
    id: u8,
    how: &EndpointOptions,
) -> Raw {
    let listener = RawListener::new();
    let wanted = socket.peers().len() + 1;
    socket.connect_with(listener.url(), how).unwrap();
    let mut raw = None;
    while socket.peers().len() < wanted {
        runtime.turn(Some(Duration::from_millis(1))).unwrap();
        if raw.is_none() {
            raw = listener.try_accept();
            raw.iter_mut().for_each(|raw| raw.send(&header(id)));
        }
    }
    raw.expect("it is accepted before it is a peer")
}
