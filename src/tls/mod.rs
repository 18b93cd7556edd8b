//! TLS: who we are, whom we trust, and how a program says so.
//!
//! With the feature `tls`, sockets bind and connect `tls+tcp://` addresses (and `tls+tcp4://`, `tls+tcp6://`): the
//! plain protocol inside TLS 1.2 or 1.3, as NNG and mangos have it. A [`TlsConfig`] goes into
//! [`Options::tls`](crate::Options::tls), or for one endpoint into
//! [`EndpointOptions::tls`](crate::EndpointOptions::tls).
//!
//! ```no_run
//! use sinew::tls::TlsConfig;
//! use sinew::{Options, Rep, Req};
//!
//! // Both show a certificate, and let in only those whose certificate our own authority has issued.
//! let office = TlsConfig::builder()
//!     .certificate_files("office.pem", "office.key")
//!     .trust_file("authority.pem")
//!     .require_client_certificates()
//!     .build()?;
//! let rep = Rep::with_options(Options::new().tls(office))?;
//! rep.bind("tls+tcp://*:5555")?;
//!
//! let caller = TlsConfig::builder()
//!     .certificate_files("caller.pem", "caller.key")
//!     .trust_file("authority.pem")
//!     .build()?;
//! let req = Req::with_options(Options::new().tls(caller))?;
//! req.connect("tls+tcp://office.example:5555")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is verified
//!
//! Who connects verifies the certificate of the other side, always: that an authority that it trusts has issued it,
//! that it is valid now, and that it is for the host in the address (or the name in
//! [`server_name`](TlsConfigBuilder::server_name)). Trusted are the authorities that the program has given, or, if it
//! has given none, those of the system. A socket without a `TlsConfig` connects in this way too, with the authorities
//! of the system and no certificate of its own.
//!
//! Who binds shows a certificate, and asks for none unless it is told to
//! ([`require_client_certificates`](TlsConfigBuilder::require_client_certificates)). Whom a verified certificate names
//! is in [`Peer::identity`](crate::Peer::identity): in the [`admit`](crate::Options::admit) callback, which may refuse
//! the peer before any message passes, in pipe events and in the list of peers.
//!
//! A failure is a [`TlsError`](crate::TlsError), and never leads to a connection that is not encrypted or not
//! verified.
//!
//! # Which TLS
//!
//! [rustls](https://docs.rs/rustls) does all of it, with the cryptography of `ring`, unless the program has installed
//! another provider for its process (`rustls::crypto::CryptoProvider::install_default`), such as one that is certified.
//! Sessions are resumed. There is no early data, no renegotiation and no compression.

#![cfg_attr(
    not(any(test, fuzzing)),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing
    )
)]

mod config;
mod names;
mod session;
mod verifying;

pub use crate::error::TlsConfigError;
pub use config::{TlsConfig, TlsConfigBuilder};

pub(crate) use names::identity;
pub(crate) use session::{Processed, RECORD, RECORD_OVERHEAD, Session};
