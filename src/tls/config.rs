//! Configurations: what a program says about TLS, checked when it says it.
//!
//! Owns the way from texts in PEM to what rustls needs, and the handle by which a program replaces all of it while
//! endpoints use it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use super::verifying::{ByName, Unverified};
use crate::error::TlsConfigError;
use crate::sync::{Arc, Mutex, OnceLock, Rank};
use crate::tls_error::TlsError;

/// The protocol versions, the better one first.
const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
const ONLY_13: &[&SupportedProtocolVersion] = &[&version::TLS13];

/// Who we are in TLS, and whom we trust. Clones are handles of the same configuration.
///
/// See the [module](super).
#[derive(Clone)]
pub struct TlsConfig(Arc<Mutex<Arc<Built>>>);

impl TlsConfig {
    /// Whether both are handles of one configuration.
    #[cfg(feature = "ws")]
    pub(crate) fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Writes what it has, and no key.
impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = self.now();
        f.debug_struct("TlsConfig")
            .field("has_certificate", &now.server.is_some())
            .field("server_name", &now.server_name)
            .field("verifies_servers", &now.verifies)
            .finish_non_exhaustive()
    }
}

impl TlsConfig {
    /// The beginning of a configuration: no certificate of our own, the authorities of the system.
    pub fn builder() -> TlsConfigBuilder {
        TlsConfigBuilder::default()
    }

    /// Replaces the configuration, in all clones of this handle and so in all sockets and endpoints that have it, by
    /// what `new` has now: a certificate that was renewed, say.
    ///
    /// It counts for connections that begin later; those that there are go on. Sessions of the old configuration are
    /// not resumed. An endpoint that was bound keeps listening, even if `new` has no certificate: then nobody gets in.
    pub fn replace(&self, new: &Self) {
        let new = new.now();
        let old = std::mem::replace(&mut *self.0.lock(), new);
        // With no lock held: it may be the last reference to a key.
        drop(old);
    }

    /// The configuration of a connection that begins now.
    pub(crate) fn now(&self) -> Arc<Built> {
        Arc::clone(&self.0.lock())
    }

    /// What a socket has that was given none: the authorities of the system. Reads them the first time.
    pub(crate) fn of_the_system() -> Result<&'static Self, TlsConfigError> {
        static SYSTEM: OnceLock<Result<TlsConfig, TlsConfigError>> = OnceLock::new();
        SYSTEM.get_or_init(|| Self::builder().build()).as_ref().map_err(Clone::clone)
    }
}

/// What a [`TlsConfig`] has at one time.
pub(crate) struct Built {
    /// Present if there is a certificate of our own.
    pub(crate) server: Option<Arc<ServerConfig>>,
    client: Result<Arc<ClientConfig>, TlsConfigError>,
    server_name: Option<ServerName<'static>>,
    /// Whether the certificates of those we connect to are verified.
    pub(crate) verifies: bool,
}

impl Built {
    /// What is needed to connect to a host: the name to ask for, too.
    pub(crate) fn client(
        &self,
        host: &str,
    ) -> Result<(Arc<ClientConfig>, ServerName<'static>), TlsError> {
        let config = self.client.clone().map_err(|error| TlsError::Setup(error.to_string()))?;
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => name_of(host).map_err(|error| TlsError::Setup(error.to_string()))?,
        };
        Ok((config, name))
    }
}

/// The name by which a certificate knows a host: without a zone, which only this machine knows, and without the dot
/// that makes a name absolute.
fn name_of(host: &str) -> Result<ServerName<'static>, TlsConfigError> {
    let known = host.split_once('%').map_or(host, |(ip, _)| ip);
    let known = known.strip_suffix('.').unwrap_or(known);
    ServerName::try_from(known.to_owned()).map_err(|_| TlsConfigError::Name(host.to_owned()))
}

/// A text in PEM, or where it is.
#[derive(Clone)]
enum Text {
    Here(Vec<u8>),
    File(PathBuf),
}

impl Text {
    fn read(self) -> Result<Vec<u8>, TlsConfigError> {
        match self {
            Self::Here(text) => Ok(text),
            Self::File(path) => fs::read(&path).map_err(|error| TlsConfigError::Read {
                path,
                kind: error.kind(),
                message: error.to_string(),
            }),
        }
    }
}

/// Makes a [`TlsConfig`].
///
/// Texts are in PEM, as `openssl` and most authorities hand them out. [`build`](Self::build) reads files and checks
/// everything.
#[derive(Clone, Default)]
#[must_use = "a builder does nothing until it builds"]
pub struct TlsConfigBuilder {
    certificates: Vec<(Text, Text)>,
    trusted: Vec<Text>,
    trusts_system: bool,
    revoked: Vec<Text>,
    clients: Clients,
    server_name: Option<String>,
    skips_verification: bool,
    only_13: bool,
}

/// Writes nothing of keys.
impl fmt::Debug for TlsConfigBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfigBuilder")
            .field("certificates", &self.certificates.len())
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// What a listener wants of those who connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Clients {
    #[default]
    Anybody,
    /// They may show a certificate; one that is shown must be good.
    Asked,
    /// They must show one.
    Known,
}

impl TlsConfigBuilder {
    /// Adds a certificate of our own, with those of the authorities above it, and its private key.
    ///
    /// A listener needs at least one. With several it shows the first that is for the name that the peer asks for, and
    /// the first of all if none is. Who connects shows the first of all, if it is asked for one.
    pub fn certificate(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.certificates.push((Text::Here(chain.into()), Text::Here(key.into())));
        self
    }

    /// Adds a certificate of our own, as [`certificate`](Self::certificate), from files. They may be the same file.
    pub fn certificate_files(mut self, chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        let file = |path: &Path| Text::File(path.to_owned());
        self.certificates.push((file(chain.as_ref()), file(key.as_ref())));
        self
    }

    /// Trusts the authorities with these certificates, and no longer those of the system.
    pub fn trust(mut self, authorities: impl Into<Vec<u8>>) -> Self {
        self.trusted.push(Text::Here(authorities.into()));
        self
    }

    /// Trusts the authorities with the certificates in a file, and no longer those of the system.
    pub fn trust_file(mut self, path: impl AsRef<Path>) -> Self {
        self.trusted.push(Text::File(path.as_ref().to_owned()));
        self
    }

    /// Trusts the authorities of the system beside those that are given, for servers. Default: only if none is given.
    ///
    /// They are those that the system's own programs trust; the environment variables `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` say where they are.
    pub fn trust_system(mut self) -> Self {
        self.trusts_system = true;
        self
    }

    /// Refuses peers whose certificates are on these lists, which their authorities publish (CRLs). A certificate of
    /// an authority without a list here is not refused for that.
    pub fn revoked(mut self, lists: impl Into<Vec<u8>>) -> Self {
        self.revoked.push(Text::Here(lists.into()));
        self
    }

    /// Listeners let in only those who show a certificate that an authority given here has issued. Default: anybody.
    ///
    /// The authorities of the system do not count for that: they issue certificates to everybody.
    pub fn require_client_certificates(mut self) -> Self {
        self.clients = Clients::Known;
        self
    }

    /// Listeners ask those who connect for a certificate, and let them in without one too. One that is shown must be
    /// good, as with [`require_client_certificates`](Self::require_client_certificates).
    pub fn request_client_certificates(mut self) -> Self {
        self.clients = Clients::Asked;
        self
    }

    /// Who connects asks for this name, and the certificate must be for it. Default: the host in the address.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Speaks TLS 1.3 only. Default: also 1.2.
    pub fn only_tls13(mut self) -> Self {
        self.only_13 = true;
        self
    }

    /// Who connects takes any certificate of the other side, whoever has made it, for whatever name: everybody on the
    /// way can be the other side, read everything and change everything. For a look at a peer whose authority is not
    /// at hand. No effect on what listeners require.
    pub fn dangerously_accept_any_server(mut self) -> Self {
        self.skips_verification = true;
        self
    }

    /// Reads what was given, and makes the configuration.
    ///
    /// # Errors
    ///
    /// A text or a file cannot be used, or there are no authorities by which anybody could be verified and no
    /// certificate of our own either.
    pub fn build(self) -> Result<TlsConfig, TlsConfigError> {
        let provider = provider();
        let versions = if self.only_13 { ONLY_13 } else { BOTH };
        let own = own_certificates(self.certificates, &provider)?;
        let lists = revocation_lists(self.revoked)?;
        let given = authorities(self.trusted)?;
        let server = match own.first() {
            Some(_) => {
                let clients =
                    verify_clients(self.clients, given.clone(), lists.clone(), &provider)?;
                Some(Arc::new(server(own.clone(), clients, &provider, versions)?))
            }
            None => None,
        };
        let roots = match given {
            Some(given) if !self.trusts_system => Ok(given),
            given => with_those_of_the_system(given),
        };
        let first = own.into_iter().next();
        let client = match roots {
            _ if self.skips_verification => {
                let verifier = Arc::new(Unverified::new(&provider));
                client(verifier, first, &provider, versions).map(Arc::new)
            }
            Ok(roots) => WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .with_crls(lists)
                .allow_unknown_revocation_status()
                .build()
                .map_err(|error| TlsConfigError::Certificate(error.to_string()))
                .and_then(|verifier| client(verifier, first, &provider, versions))
                .map(Arc::new),
            Err(error) => Err(error),
        };
        if server.is_none() {
            client.clone()?;
        }
        let server_name = self.server_name.map(|name| name_of(&name)).transpose()?;
        let verifies = !self.skips_verification;
        let built = Built { server, client, server_name, verifies };
        Ok(TlsConfig(Arc::new(Mutex::new(Rank::TlsConfig, Arc::new(built)))))
    }
}

/// The cryptography that the program has installed for its process, or ours.
fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(ring::default_provider()))
}

fn own_certificates(
    texts: Vec<(Text, Text)>,
    provider: &CryptoProvider,
) -> Result<Vec<Arc<CertifiedKey>>, TlsConfigError> {
    let own = texts.into_iter().map(|(chain, key)| {
        let chain = certificates(&chain.read()?)?;
        let key = private_key(&key.read()?)?;
        let own = CertifiedKey::from_der(chain, key, provider);
        own.map(Arc::new).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsConfigError::KeyMismatch,
            rustls::Error::InvalidCertificate(_) => TlsConfigError::Certificate(error.to_string()),
            error => TlsConfigError::Key(error.to_string()),
        })
    });
    own.collect()
}

/// The certificates in a text; at least one.
fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let found = CertificateDer::pem_slice_iter(text);
    let found = found.collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| TlsConfigError::Pem(error.to_string()))?;
    if found.is_empty() { Err(TlsConfigError::NoCertificate) } else { Ok(found) }
}

fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, TlsConfigError> {
    use rustls::pki_types::pem::Error;
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        Error::NoItemsFound => TlsConfigError::NoKey,
        error => TlsConfigError::Pem(error.to_string()),
    })
}

fn revocation_lists(
    texts: Vec<Text>,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsConfigError> {
    let mut lists = Vec::new();
    for text in texts {
        for list in CertificateRevocationListDer::pem_slice_iter(&text.read()?) {
            lists.push(list.map_err(|error| TlsConfigError::Pem(error.to_string()))?);
        }
    }
    Ok(lists)
}

/// The authorities that the program has given; `None`: it has given none.
fn authorities(texts: Vec<Text>) -> Result<Option<Arc<RootCertStore>>, TlsConfigError> {
    if texts.is_empty() {
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    for text in texts {
        for authority in certificates(&text.read()?)? {
            let added = roots.add(authority);
            added.map_err(|error| TlsConfigError::Certificate(error.to_string()))?;
        }
    }
    Ok(Some(Arc::new(roots)))
}

/// The authorities that are given, and those of the system. One of the system's that cannot be read is left out.
fn with_those_of_the_system(
    given: Option<Arc<RootCertStore>>,
) -> Result<Arc<RootCertStore>, TlsConfigError> {
    static SYSTEM: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let system = SYSTEM.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    let roots = match given {
        None => Arc::clone(system),
        Some(given) => {
            let mut roots = RootCertStore::clone(&given);
            roots.extend(system.roots.iter().cloned());
            Arc::new(roots)
        }
    };
    if roots.is_empty() { Err(TlsConfigError::NoAuthorities) } else { Ok(roots) }
}

fn verify_clients(
    clients: Clients,
    given: Option<Arc<RootCertStore>>,
    lists: Vec<CertificateRevocationListDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsConfigError> {
    if clients == Clients::Anybody {
        return Ok(Arc::new(NoClientAuth));
    }
    let given = given.ok_or(TlsConfigError::NoAuthorities)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(given, Arc::clone(provider))
        .with_crls(lists)
        .allow_unknown_revocation_status();
    let verifier = match clients {
        Clients::Asked => verifier.allow_unauthenticated(),
        _ => verifier,
    };
    verifier.build().map_err(|error| TlsConfigError::Certificate(error.to_string()))
}

fn server(
    own: Vec<Arc<CertifiedKey>>,
    clients: Arc<dyn ClientCertVerifier>,
    provider: &Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ServerConfig, TlsConfigError> {
    let unsupported = |error: rustls::Error| TlsConfigError::Provider(error.to_string());
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)
        .map_err(unsupported)?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(ByName(own)));
    // Tickets keep the sessions where they cost us nothing, whatever the number of peers.
    config.ticketer = ring::Ticketer::new().map_err(unsupported)?;
    Ok(config)
}

fn client(
    verifier: Arc<dyn rustls::client::danger::ServerCertVerifier>,
    own: Option<Arc<CertifiedKey>>,
    provider: &Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ClientConfig, TlsConfigError> {
    let config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)
        .map_err(|error| TlsConfigError::Provider(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    Ok(match own {
        Some(own) => config.with_client_cert_resolver(Arc::new(ByName(vec![own]))),
        None => config.with_no_client_auth(),
    })
}
