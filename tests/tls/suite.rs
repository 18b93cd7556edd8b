//! tls+tcp: the conformance list of transports, certificates, and peers that break TLS.

mod certificates;
mod hostile;
mod interop;
mod transport;
mod verification;
