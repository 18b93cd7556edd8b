//! Many threads, many calls: nothing crosses over, nothing is lost, nothing is left behind.

mod kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use kit::{SOON, Transport, conserved};
use sinew::{Rep, Req};

/// Answers every request with what it said, until the socket is closed.
fn serve(rep: &Rep) {
    while let Ok(request) = rep.recv() {
        let answer = request.message().clone();
        request.reply(answer).expect("the socket is open while there are requests");
    }
}

/// The issue's own figure: 64 threads on one REQ, 200,000 requests in all, one REP.
#[test]
fn replies_never_cross_over_between_threads_that_share_a_req() {
    const THREADS: u64 = 64;
    const EACH: u64 = 200_000 / THREADS;
    for transport in Transport::ALL {
        let (rep, req) = (Rep::new(), Req::new());
        let _address = join!(rep, req, transport);
        let server = thread::spawn({
            let rep = rep.clone();
            move || serve(&rep)
        });
        let answered = Arc::new(AtomicU64::new(0));
        let askers: Vec<_> = (0..THREADS)
            .map(|asker| {
                let (req, answered) = (req.clone(), Arc::clone(&answered));
                thread::spawn(move || {
                    for n in 0..EACH {
                        let question = format!("{asker}/{n}");
                        let answer = req.request_timeout(&question, 3 * SOON).expect("an answer");
                        assert_eq!(answer, question);
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for asker in askers {
            asker.join().expect("no asker fails");
        }
        assert_eq!(answered.load(Ordering::Relaxed), THREADS * EACH);
        assert_eq!(req.stats().messages_received, THREADS * EACH, "{transport:?}");
        assert_eq!(rep.stats().messages_sent, THREADS * EACH, "{transport:?}");
        conserved(&req.stats());
        conserved(&rep.stats());
        rep.close().expect("closed once");
        server.join().expect("the server ends");
    }
}
