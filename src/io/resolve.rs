//! Name resolution, off the I/O thread.
//!
//! Owns a few threads that exist only while there are names to look up. The system's resolver may
//! take as long as it likes: a slow name holds up its own dialer, and others only when all threads
//! are stuck.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::thread;

use crate::error::AttemptError;
use crate::sync::{Arc, Mutex};
use crate::transport::{self, Destination, Family};

/// Look-ups at the same time. Enough that a few dead names do not hold up the living.
const THREADS: usize = 8;

/// Looks up names on threads of its own.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
}

/// To be done; with an error: to be given up.
type Job = Box<dyn FnOnce(Result<(), AttemptError>) + Send>;

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} jobs, {} threads", self.jobs.len(), self.threads)
    }
}

impl Resolver {
    /// Looks up `host` and hands all its addresses to `done`, on another thread.
    pub(crate) fn resolve(
        self: &Arc<Self>,
        host: String,
        port: u16,
        local: Option<IpAddr>,
        family: Family,
        done: impl FnOnce(Result<Vec<Destination>, AttemptError>) + Send + 'static,
    ) {
        self.run(Box::new(move |go| done(go.and_then(|()| look_up(&host, port, local, family)))));
    }

    fn run(self: &Arc<Self>, job: Job) {
        let mut state = self.state.lock();
        state.jobs.push_back(job);
        if state.threads == THREADS {
            return;
        }
        state.threads += 1;
        drop(state);
        let this = Arc::clone(self);
        let thread = thread::Builder::new().name("sinew-resolve".to_owned());
        if let Err(error) = thread.spawn(move || this.work()) {
            self.no_thread(&error);
        }
    }

    /// A thread could not be started. The others do its work; where there are none the look-ups
    /// fail, since whoever asks must not wait for them: it is the I/O thread.
    fn no_thread(&self, error: &io::Error) {
        crate::contain::log!(Error, "no thread to resolve names: {error}");
        let mut state = self.state.lock();
        state.threads -= 1;
        if state.threads > 0 {
            return;
        }
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        for job in jobs {
            let message = format!("no thread to look it up: {error}");
            job(Err(AttemptError::Resolve { kind: error.kind(), message }));
        }
    }

    /// Does jobs until there are none.
    fn work(&self) {
        loop {
            let mut state = self.state.lock();
            let Some(job) = state.jobs.pop_front() else {
                state.threads -= 1;
                return;
            };
            drop(state);
            job(Ok(()));
        }
    }
}

fn look_up(
    host: &str,
    port: u16,
    local: Option<IpAddr>,
    family: Family,
) -> Result<Vec<Destination>, AttemptError> {
    let failed =
        |error: io::Error| AttemptError::Resolve { kind: error.kind(), message: error.to_string() };
    let places: Vec<Destination> = transport::look_up(host, port)
        .map_err(failed)?
        .filter(|address| family.allows(&address.ip()))
        .map(|remote| Destination::Inet { remote, local })
        .collect();
    match places.is_empty() {
        false => Ok(places),
        true => Err(failed(io::Error::new(
            io::ErrorKind::AddrNotAvailable,
            "the name has no address of the wanted family",
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn without_a_thread_a_look_up_fails_and_does_not_wait() {
        let (sender, receiver) = mpsc::channel();
        let resolver = Resolver::default();
        *resolver.state.lock() = State {
            jobs: VecDeque::from([Box::new(move |go| sender.send(go).unwrap()) as Job]),
            threads: 1,
        };
        resolver.no_thread(&io::Error::from(io::ErrorKind::OutOfMemory));
        assert!(matches!(receiver.recv().unwrap(), Err(AttemptError::Resolve { .. })));
        assert_eq!(resolver.state.lock().threads, 0);
    }

    fn resolve(host: &str, family: Family) -> Result<Vec<Destination>, AttemptError> {
        let (sender, receiver) = mpsc::channel();
        let resolver: Arc<Resolver> = Arc::default();
        resolver.resolve(host.to_owned(), 80, None, family, move |places| {
            sender.send(places).expect("the test waits for it");
        });
        receiver.recv().expect("the resolver always answers")
    }

    #[test]
    fn a_name_yields_its_addresses_of_the_wanted_family() {
        let v4 = resolve("localhost", Family::V4).unwrap();
        assert!(
            v4.contains(&Destination::Inet {
                remote: "127.0.0.1:80".parse().unwrap(),
                local: None
            })
        );
    }

    #[test]
    fn a_name_that_does_not_exist_is_a_typed_error() {
        let error = resolve("no-such-name.invalid", Family::Any).unwrap_err();
        let AttemptError::Resolve { kind, .. } = error else { panic!("{error}") };
        // The latter where there is no name server.
        let kinds = [io::ErrorKind::NotFound, io::ErrorKind::HostUnreachable];
        assert!(kinds.contains(&kind), "{error}");
    }
}
