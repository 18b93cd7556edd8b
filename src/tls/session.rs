//! Sessions: one connection's TLS, without a socket.
//!
//! Owns the state of rustls and how it is driven: bytes from the peer go in, plain bytes and bytes for the peer come
//! out. Knows nothing of streams, and keeps no bytes: whoever drives it keeps what is not whole yet. A fault of
//! rustls ends one connection: its panics are caught here.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CertificateError, Error, InvalidMessage, OtherError, PeerMisbehaved};

use super::config::Built;
use crate::contain::forget;
use crate::sync::Arc;
use crate::tls_error::TlsError;

/// How much one record may have beyond its plain bytes: a header, a nonce, a tag and the byte for its kind, with room
/// to spare; or a message of the library's own that goes before it.
pub(crate) const RECORD_OVERHEAD: usize = 128;
/// The type of a record that does nothing in TLS 1.3.
const CHANGE_CIPHER_SPEC: u8 = 20;
/// How many plain bytes one record holds.
pub(crate) const RECORD: usize = 16 * 1024;

/// One connection's TLS.
pub(crate) struct Session {
    side: Side,
    /// What a certificate of the peer must be for, for the words of an error.
    expected: String,
    /// Whether the peer's certificate, if it has shown one, was verified.
    is_verified: bool,
    /// Whether anything that is TLS has come.
    has_begun: bool,
    /// Whether the handshake is over.
    is_open: bool,
    /// Whether the peer has said that nothing more will come.
    has_ended: bool,
    /// Whether we have said so.
    has_closed: bool,
    /// Whether the peer was refused: the alert has said all.
    has_failed: bool,
}

enum Side {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// What becomes of bytes that have come.
#[derive(Debug)]
pub(crate) struct Processed {
    /// How many were used up.
    pub(crate) used: usize,
    pub(crate) outcome: Result<(), TlsError>,
}

/// What to do after a step.
enum Next {
    /// Another step.
    Step,
    /// Nothing, before something comes.
    Wait,
    /// Nothing, before something comes or is to be sent.
    Open,
}

impl Session {
    /// The session of who connects to `host`.
    pub(crate) fn client(config: &Built, host: &str) -> Result<Self, TlsError> {
        let (client, name) = config.client(host)?;
        let expected = name.to_str().into_owned();
        let side = UnbufferedClientConnection::new(client, name)
            .map_err(|error| TlsError::Setup(error.to_string()))?;
        Ok(Self::new(Side::Client(side), expected, config.verifies))
    }

    /// The session of who accepts.
    pub(crate) fn server(config: &Built) -> Result<Self, TlsError> {
        let Some(server) = &config.server else {
            return Err(TlsError::Setup("there is no certificate to show".to_owned()));
        };
        let side = UnbufferedServerConnection::new(Arc::clone(server))
            .map_err(|error| TlsError::Setup(error.to_string()))?;
        Ok(Self::new(Side::Server(side), String::new(), true))
    }

    fn new(side: Side, expected: String, is_verified: bool) -> Self {
        Self {
            side,
            expected,
            is_verified,
            has_begun: false,
            is_open: false,
            has_ended: false,
            has_closed: false,
            has_failed: false,
        }
    }

    pub(crate) fn is_server(&self) -> bool {
        matches!(self.side, Side::Server(_))
    }

    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }

    pub(crate) fn has_closed(&self) -> bool {
        self.has_closed
    }

    /// The certificates that the peer has shown, if they were verified.
    pub(crate) fn verified(&self) -> Option<&[CertificateDer<'static>]> {
        let shown = match &self.side {
            Side::Client(client) => client.peer_certificates(),
            Side::Server(server) => server.peer_certificates(),
        };
        shown.filter(|shown| self.is_verified && self.is_open && !shown.is_empty())
    }

    /// Takes in what has come from the peer: all of `incoming` that is not used up must come again, at the front, and
    /// also with every call of [`encrypt`](Self::encrypt). `plain` takes plain bytes; bytes for the peer are added to
    /// `out`, also after an error.
    pub(crate) fn process(
        &mut self,
        incoming: &mut [u8],
        plain: &mut dyn FnMut(&[u8]),
        out: &mut Vec<u8>,
    ) -> Processed {
        let mut used = 0;
        let outcome = guarded(|| {
            loop {
                let at = used;
                let next = self.step(rest(incoming, at), &mut used, plain, out)?;
                self.has_begun |= used > 0;
                match next {
                    Next::Step => {}
                    Next::Wait => return Ok(()),
                    Next::Open => {
                        self.is_open = true;
                        return Ok(());
                    }
                }
            }
        });
        if outcome.is_err() {
            self.has_failed = true;
            // The alert that says why, behind at most one record of the kind that only middleboxes look at. The library
            // has it ready; asked for more, it would look again at the bytes that it has refused.
            let _ = guarded(|| {
                let end = out.len();
                self.step(rest(incoming, used), &mut 0, &mut |_| {}, out)?;
                if out.get(end) == Some(&CHANGE_CIPHER_SPEC) {
                    self.step(rest(incoming, used), &mut 0, &mut |_| {}, out)?;
                }
                Ok(())
            });
        }
        Processed { used, outcome: outcome.map_err(|fault| self.in_our_words(fault)) }
    }

    fn step(
        &mut self,
        incoming: &mut [u8],
        used: &mut usize,
        plain: &mut dyn FnMut(&[u8]),
        out: &mut Vec<u8>,
    ) -> Result<Next, Fault> {
        let ended = &mut self.has_ended;
        match &mut self.side {
            Side::Client(client) => {
                take_step(client.process_tls_records(incoming), used, plain, out, ended)
            }
            Side::Server(server) => {
                take_step(server.process_tls_records(incoming), used, plain, out, ended)
            }
        }
    }

    /// Encrypts plain bytes, at most [`RECORD`], into `out`, which has room for them and [`RECORD_OVERHEAD`]. Returns
    /// how many bytes were written. `unused`: what has come and was not used up. Everything that is to be sent before
    /// must have been fetched by [`process`](Self::process).
    pub(crate) fn encrypt(
        &mut self,
        unused: &mut [u8],
        bytes: &[u8],
        out: &mut [u8],
    ) -> Result<usize, TlsError> {
        if self.has_failed {
            return Err(TlsError::Broken("the peer was refused before".to_owned()));
        }
        let encrypted = guarded(|| match &mut self.side {
            Side::Client(client) => encrypt(client.process_tls_records(unused), bytes, out),
            Side::Server(server) => encrypt(server.process_tls_records(unused), bytes, out),
        });
        encrypted.map_err(|error| self.in_our_words(error))
    }

    /// Says that nothing more will come from us, once.
    pub(crate) fn close(&mut self, unused: &mut [u8], out: &mut Vec<u8>) {
        if !self.is_open || self.has_failed || std::mem::replace(&mut self.has_closed, true) {
            return;
        }
        // What cannot be said is missed by nobody but the peer, who may then think that it was cut off.
        let _ = guarded(|| {
            let end = out.len();
            out.resize(end.saturating_add(RECORD_OVERHEAD), 0);
            let room = rest(out, end);
            let closed = match &mut self.side {
                Side::Client(client) => close(client.process_tls_records(unused), room),
                Side::Server(server) => close(server.process_tls_records(unused), room),
            };
            out.truncate(end.saturating_add(closed.as_ref().map_or(0, |&written| written)));
            closed
        });
    }

    fn in_our_words(&self, fault: Fault) -> TlsError {
        let error = match fault {
            Fault::Rustls(error) => error,
            Fault::Panicked => return TlsError::Broken("the TLS library panicked".to_owned()),
            Fault::Unexpected => {
                return TlsError::Broken("the TLS library is in an unexpected state".to_owned());
            }
        };
        match error {
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType
                | InvalidMessage::UnknownProtocolVersion
                | InvalidMessage::MessageTooLarge,
            ) if !self.has_begun => TlsError::NotTls,
            Error::NoCertificatesPresented => TlsError::NoCertificate,
            Error::AlertReceived(alert) => TlsError::Alert(words(&format!("{alert:?}"))),
            Error::PeerIncompatible(why) => TlsError::Incompatible(words(&format!("{why:?}"))),
            Error::PeerMisbehaved(PeerMisbehaved::TooManyRenegotiationRequests) => {
                TlsError::Renegotiation
            }
            Error::InvalidCertificate(error) => self.about_a_certificate(error),
            error => TlsError::Broken(error.to_string()),
        }
    }

    fn about_a_certificate(&self, error: CertificateError) -> TlsError {
        use CertificateError as E;
        match error {
            E::Expired | E::ExpiredContext { .. } => TlsError::Expired,
            E::NotValidYet | E::NotValidYetContext { .. } => TlsError::NotYetValid,
            E::Revoked => TlsError::Revoked,
            E::UnknownIssuer => TlsError::UnknownAuthority,
            E::NotValidForName | E::NotValidForNameContext { .. } => {
                TlsError::WrongName { expected: self.expected.clone() }
            }
            E::Other(OtherError(error)) => TlsError::BadCertificate(error.to_string()),
            error => TlsError::BadCertificate(words(&error.to_string())),
        }
    }
}

/// What can go wrong in a session.
enum Fault {
    Rustls(Error),
    Panicked,
    /// It cannot do what it should be able to do.
    Unexpected,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Rustls(error)
    }
}

/// Runs the library, on a thread that must survive a panic of it.
fn guarded<T>(call: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        forget(panic);
        crate::contain::record!(Error, {}, "the TLS library panicked");
        Err(Fault::Panicked)
    })
}

/// What is behind the first `n` bytes.
fn rest(bytes: &mut [u8], n: usize) -> &mut [u8] {
    bytes.get_mut(n..).unwrap_or_default()
}

/// Handles one state of the library.
fn take_step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    used: &mut usize,
    plain: &mut dyn FnMut(&[u8]),
    out: &mut Vec<u8>,
    has_ended: &mut bool,
) -> Result<Next, Fault> {
    let UnbufferedStatus { mut discard, state } = status;
    let state = state.inspect_err(|_| *used = used.saturating_add(discard))?;
    let next = match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                let record = record?;
                discard = discard.saturating_add(record.discard);
                plain(record.payload);
            }
            Next::Step
        }
        ConnectionState::EncodeTlsData(mut data) => {
            let end = out.len();
            let room = match data.encode(&mut []) {
                Err(EncodeError::InsufficientSize(missing)) => missing.required_size,
                _ => 0,
            };
            out.resize(end.saturating_add(room), 0);
            let written = data.encode(rest(out, end)).map_err(|_| Fault::Unexpected)?;
            out.truncate(end.saturating_add(written));
            Next::Step
        }
        ConnectionState::TransmitTlsData(data) => {
            // It is in `out`, in its order.
            data.done();
            Next::Step
        }
        ConnectionState::PeerClosed => {
            *has_ended = true;
            Next::Step
        }
        ConnectionState::Closed => {
            *has_ended = true;
            Next::Wait
        }
        ConnectionState::BlockedHandshake => Next::Wait,
        ConnectionState::WriteTraffic(_) => Next::Open,
        // Early data, which is never asked for.
        _ => return Err(Fault::Unexpected),
    };
    *used = used.saturating_add(discard);
    Ok(next)
}

fn encrypt<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    bytes: &[u8],
    out: &mut [u8],
) -> Result<usize, Fault> {
    let ConnectionState::WriteTraffic(mut traffic) = status.state? else {
        return Err(Fault::Unexpected);
    };
    traffic.encrypt(bytes, out).map_err(|error| match error {
        // The keys are used up, which ends the connection.
        EncryptError::EncryptExhausted => Error::EncryptError.into(),
        EncryptError::InsufficientSize(_) => Fault::Unexpected,
    })
}

fn close<Data>(status: UnbufferedStatus<'_, '_, Data>, out: &mut [u8]) -> Result<usize, Fault> {
    let ConnectionState::WriteTraffic(mut traffic) = status.state? else {
        return Err(Fault::Unexpected);
    };
    traffic.queue_close_notify(out).map_err(|_| Fault::Unexpected)
}

/// The words in a name such as `UnknownCA`, in lower case; a text that has spaces stays as it is.
fn words(name: &str) -> String {
    if name.contains(' ') {
        return name.to_owned();
    }
    let mut words = String::new();
    let mut before = None;
    for letter in name.chars() {
        let begins = letter.is_uppercase() && before.is_some_and(char::is_lowercase);
        if begins {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
        before = Some(letter);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_words() {
        assert_eq!(words("CertificateExpired"), "certificate expired");
        assert_eq!(words("UnknownCA"), "unknown ca");
        assert_eq!(words("already in words"), "already in words");
    }
}
