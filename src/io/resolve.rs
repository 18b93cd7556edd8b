//! Name resolution, on threads of its own.
//!
//! Owns the number of lookups at once. The system's resolver may take any time: a slow name holds up its own
//! dialer, and others only when all threads are busy.

use std::io;
use std::net::IpAddr;

use super::pool::Pool;
use crate::error::AttemptError;
use crate::sync::Arc;
use crate::transport::{self, Destination, Family};

/// Run at most this many lookups at once: enough that a few dead names do not hold up the others.
const THREADS: usize = 8;

/// Looks up names on threads of its own.
#[derive(Debug)]
pub(super) struct Resolver {
    pool: Arc<Pool>,
}

impl Resolver {
    pub(super) fn new() -> Self {
        Self { pool: Pool::new("sinew-resolve", THREADS) }
    }

    /// Looks up `host` on another thread, and calls `done` there with all its addresses. Fails if no thread
    /// can be started: the caller is an event loop, and must not wait.
    pub(super) fn resolve(
        &self,
        host: String,
        port: u16,
        local: Option<IpAddr>,
        family: Family,
        done: impl FnOnce(Result<Vec<Destination>, AttemptError>) + Send + 'static,
    ) {
        self.pool.run(move |thread| {
            done(match thread {
                Ok(()) => look_up(&host, port, local, family),
                Err(error) => Err(AttemptError::Resolve {
                    kind: error.kind(),
                    message: format!("no thread to look it up: {error}"),
                }),
            });
        });
    }

    pub(super) fn close(&self) {
        self.pool.close();
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
    if places.is_empty() {
        let message = "the name has no address of the wanted family";
        return Err(failed(io::Error::new(io::ErrorKind::AddrNotAvailable, message)));
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn resolve(host: &str, family: Family) -> Result<Vec<Destination>, AttemptError> {
        let (sender, receiver) = mpsc::channel();
        let resolver = Resolver::new();
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
        // The latter without a name server.
        let kinds = [io::ErrorKind::NotFound, io::ErrorKind::HostUnreachable];
        assert!(kinds.contains(&kind), "{error}");
    }
}
