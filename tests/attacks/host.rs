//! Group I: clocks, signals, and what a host does to a process.
#![allow(unsafe_code, reason = "a process can set its handlers of signals in no other way")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use kit::{Raw, SOON, Transport, conserved, eventually, join};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use sinew::{EndpointOptions, Options, Pull, Push, Rep, Req, Surveyor};

use crate::harness::child::{Process, job, listen, tell};
use crate::harness::elsewhere::elsewhere;
use crate::harness::{alone, is_long, name_of, times};

/// Time is read from the monotonic clock only.
#[test]
fn i01_no_wall_clock() {
    fn look(dir: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                look(&path, found);
            } else if std::fs::read_to_string(&path).is_ok_and(|text| text.contains("SystemTime")) {
                found.push(path.display().to_string());
            }
        }
    }
    let mut found = Vec::new();
    look(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.is_empty(), "the wall clock may jump: {found:?}");
}

/// A clock that began long ago.
#[test]
fn i02_a_clock_that_is_far_ahead() {
    elsewhere(
        name_of(i02_a_clock_that_is_far_ahead),
        &["--time", "--monotonic", "4000000000", "--boottime", "4000000000", "--fork"],
        &["ip link set lo up"],
        || {
            let (rep, req) = (Rep::new(), Req::new());
            let _joined = join!(rep, req, Transport::Tcp);
            let options = Options::new().survey_deadline(Duration::from_millis(50));
            let surveyor = Surveyor::with_options(options).unwrap();
            assert_eq!(surveyor.survey("?").unwrap().count(), 0, "its deadline comes");
            kit::timed_out(rep.recv_timeout(Duration::from_millis(20)));
            let forever = Duration::MAX;
            thread::scope(|scope| {
                scope.spawn(|| rep.recv_timeout(forever).unwrap().reply("pong").unwrap());
                assert_eq!(req.request_timeout("ping", forever).unwrap(), "pong");
            });
        },
    );
}

/// Signals at all threads, thousands a second, whose handlers interrupt every system call.
#[test]
fn i04_a_storm_of_signals() {
    let _turn = alone();
    Process::start(name_of(part_in_a_storm), "storm", "").succeeded();
}

static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

#[test]
#[ignore = "a part of the test above: signals go to the whole process"]
fn part_in_a_storm() {
    if job().is_none() {
        return;
    }
    // Without SA_RESTART: calls that are interrupted say so.
    let action = SigAction::new(SigHandler::Handler(count), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler only adds to an atomic number, which a handler may do.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
    let (rep, req) = (Rep::new(), Req::new());
    let _joined = join!(rep, req, Transport::Tcp);
    let exchanges = times(2_000, 100_000);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // Each thread in turn, as far as they still are there.
                for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
                    let id: i32 = task.file_name().to_str().unwrap().parse().unwrap();
                    // SAFETY: a system call with numbers only; the handler is ours.
                    unsafe {
                        libc::syscall(libc::SYS_tgkill, std::process::id(), id, libc::SIGUSR1)
                    };
                }
            }
        });
        let _over = kit::SetOnDrop(&over);
        scope.spawn(|| {
            for _ in 0..exchanges {
                rep.recv_timeout(SOON).unwrap().reply("pong").unwrap();
            }
        });
        for _ in 0..exchanges {
            assert_eq!(req.request_timeout("ping", SOON).unwrap(), "pong");
        }
        // Whole connections as well, and calls that wait in vain.
        for _ in 0..20 {
            let (push, pull) = (Push::new(), Pull::new());
            let _joined = join!(pull, push, Transport::Ipc);
            kit::timed_out(pull.recv_timeout(Duration::from_millis(5)));
            push.send_timeout(vec![7; 1 << 20], SOON).unwrap();
            assert_eq!(pull.recv_timeout(SOON).unwrap().len(), 1 << 20);
        }
    });
    eprintln!("{} signals", SIGNALS.load(Ordering::Relaxed));
    assert!(SIGNALS.load(Ordering::Relaxed) > 1000);
    conserved(|| req.stats());
}

/// A peer that is gone, where SIGPIPE kills.
#[test]
fn i05_sigpipe_at_its_default() {
    let _turn = alone();
    Process::start(name_of(part_with_sigpipe), "sigpipe", "").succeeded();
}

#[test]
#[ignore = "a part of the test above: std ignores SIGPIPE, and a process has one way to do with it"]
fn part_with_sigpipe() {
    if job().is_none() {
        return;
    }
    let action = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action runs no code of ours.
    unsafe { sigaction(Signal::SIGPIPE, &action) }.unwrap();
    for transport in Transport::STREAMS {
        let push = Push::with_options(Options::new().send_queue(4)).unwrap();
        let address = transport.address();
        let url = push.bind(&address.url).unwrap().url();
        for n in 0..200 {
            let raw = Raw::greet(&url, 0x51, 0x50);
            push.wait_for_peers(1, SOON).unwrap();
            match (n % 2, transport) {
                (0, Transport::Tcp) => raw.reset(),
                _ => drop(raw),
            }
            // Small ones are copied together, large ones are written from where they are.
            for size in [10, 100_000, 10, 100_000, 10, 100_000] {
                let _ = push.try_send(vec![7; size]);
            }
            eventually("it is noticed", || push.stats().current_connections == 0);
        }
        conserved(|| push.stats());
    }
}

/// A process that was started without standard input and output.
#[test]
fn i06_no_standard_streams() {
    let _turn = alone();
    let marks = kit::TempDir::new();
    let mark = marks.path("done");
    let script = "exec \"$0\" --ignored --exact \"$1\" <&- >&- 2>&-";
    let status = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg(name_of(part_without_standard_streams))
        .env("SINEW_TEST_JOB", format!("streams {}", mark.display()))
        .status()
        .unwrap();
    assert!(mark.exists(), "{status}");
}

#[test]
#[ignore = "a part of the test above: descriptors 0 to 2 are free"]
fn part_without_standard_streams() {
    let Some(job) = job() else { return };
    for transport in Transport::ALL {
        let (rep, req) = (Rep::new(), Req::new());
        let _joined = join!(rep, req, transport);
        thread::scope(|scope| {
            scope.spawn(|| rep.recv().unwrap().reply("pong").unwrap());
            assert_eq!(req.request("ping").unwrap(), "pong");
        });
    }
    std::fs::write(&job[1], "done").unwrap();
}

/// One processor, and threads that want all of it: who waits does not keep it from them, and is served.
#[test]
fn i07_a_busy_machine() {
    let _turn = alone();
    Process::start(name_of(part_on_a_busy_processor), "busy", "").succeeded();
}

#[test]
#[ignore = "a part of the test above: it gives up all processors but one"]
fn part_on_a_busy_processor() {
    if job().is_none() {
        return;
    }
    let this = nix::unistd::Pid::from_raw(0);
    let may = nix::sched::sched_getaffinity(this).unwrap();
    let mut only = nix::sched::CpuSet::new();
    let one = (0..nix::sched::CpuSet::count()).find(|&it| may.is_set(it) == Ok(true)).unwrap();
    only.set(one).unwrap();
    nix::sched::sched_setaffinity(this, &only).unwrap();
    let exchanges = times(200, 10_000);
    let (over, work) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (rep, req) = (Rep::new(), Req::new());
    let _joined = join!(rep, req, Transport::Tcp);
    thread::scope(|scope| {
        let _over = kit::SetOnDrop(&over);
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    work.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| (0..exchanges).for_each(|_| rep.recv().unwrap().reply("pong").unwrap()));
        for _ in 0..exchanges {
            assert_eq!(req.request_timeout("ping", SOON).unwrap(), "pong");
        }
    });
    assert!(work.into_inner() > 0, "the others had the processor too");
    assert_eq!((req.stats().spins_paid, req.stats().spins_unpaid), (0, 0));
    conserved(|| req.stats());
}

/// A machine that was asleep: all its peers have given it up meanwhile. When it wakes, each of its connections is made
/// once more.
#[test]
fn i03_a_machine_that_was_asleep() {
    let _turn = alone();
    let url = kit::free_tcp_url();
    let pull = Pull::new();
    let endpoint = pull.bind(&url).unwrap();
    let mut child = Process::start(name_of(part_that_sleeps), &format!("sleeps {url}"), "");
    pull.wait_for_peers(SLEEPERS, SOON).unwrap();
    for _ in 0..SLEEPERS {
        assert_eq!(pull.recv_timeout(SOON).unwrap(), "before");
    }
    child.freeze();
    endpoint.close().unwrap();
    eventually("all were given up", || pull.stats().current_connections == 0);
    pull.bind(&url).unwrap();
    // What is tested is time that passes: many times as long as the pause between attempts.
    thread::sleep(Duration::from_secs(if is_long() { 120 } else { 1 }));
    child.thaw();
    pull.wait_for_peers(SLEEPERS, SOON).unwrap();
    child.say("after");
    for _ in 0..SLEEPERS {
        assert_eq!(pull.recv_timeout(SOON).unwrap(), "after");
    }
    let attempts: usize = child.told().parse().unwrap();
    // The second of each, and a few more if the listener was slow.
    assert!((2 * SLEEPERS..=3 * SLEEPERS).contains(&attempts), "{attempts} attempts");
    assert_eq!(pull.stats().accepted_connections, 2 * SLEEPERS as u64);
    child.succeeded();
    conserved(|| pull.stats());
}

/// How many connections it has.
const SLEEPERS: usize = 50;

#[test]
#[ignore = "a part of the test above: who is asleep"]
fn part_that_sleeps() {
    let Some(job) = job() else { return };
    let often = EndpointOptions::new().reconnect_interval(Duration::from_millis(20));
    let pushes: Vec<Push> = (0..SLEEPERS).map(|_| Push::new()).collect();
    for push in &pushes {
        push.connect_with(&job[1], &often).unwrap();
        push.send("before").unwrap();
    }
    listen();
    pushes.iter().for_each(|push| push.send_timeout("after", SOON).unwrap());
    let attempts: u64 = pushes.iter().map(|push| push.endpoints()[0].status().attempts).sum();
    tell(&attempts.to_string());
    listen();
    pushes.iter().for_each(|push| _ = conserved(|| push.stats()));
}
