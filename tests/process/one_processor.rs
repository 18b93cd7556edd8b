//! A process that may run on one processor only: who spins there keeps away whom it waits for.

use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::name_of;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use sinew::{Options, Rep, Req};

const IN_CHILD: &str = "SINEW_TEST_ONE_PROCESSOR";

/// The process is bound to one of the processors that it may run on.
fn give_up_all_but_one() {
    let this = Pid::from_raw(0);
    let may = sched_getaffinity(this).unwrap();
    let one = (0..CpuSet::count()).find(|&number| may.is_set(number) == Ok(true)).unwrap();
    let mut only = CpuSet::new();
    only.set(one).unwrap();
    sched_setaffinity(this, &only).unwrap();
}

#[test]
fn a_process_with_one_processor_never_spins() {
    if std::env::var_os(IN_CHILD).is_none() {
        let status = Command::new(std::env::current_exe().expect("a test is a file"))
            .args(["--exact", name_of(a_process_with_one_processor_never_spins), "--nocapture"])
            .env(IN_CHILD, "1")
            .status()
            .expect("the test can be run again");
        assert!(status.success(), "the child failed: see above");
        return;
    }
    give_up_all_but_one();
    for (url, options) in [
        ("inproc://one-processor", Options::new()),
        ("inproc://one-processor-fixed", Options::new().spin(Duration::from_millis(1))),
        ("tcp://127.0.0.1:0", Options::new()),
    ] {
        let rep = Rep::with_options(options.clone()).unwrap();
        let req = Req::with_options(options).unwrap();
        req.connect(rep.bind(url).unwrap().url()).unwrap();
        let answering = thread::spawn({
            let rep = rep.clone();
            move || {
                while let Ok(request) = rep.recv() {
                    let _ = request.reply("yes");
                }
            }
        });
        (0..200).for_each(|_| assert_eq!(req.request("quick?").unwrap(), "yes"));
        for stats in [req.stats(), rep.stats()] {
            assert_eq!((stats.spins_paid, stats.spins_unpaid), (0, 0), "{url}");
        }
        rep.close().unwrap();
        answering.join().unwrap();
    }
}
