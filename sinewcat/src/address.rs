//! The options for the addresses at which a socket is bound and connected, and for TLS there.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use sinew::Options;
use sinew::tls::TlsConfig;

use crate::dialect::Dialect;
use crate::failure::{Failure, Outcome};

const HEADING: &str = "Addresses, at least one";

/// The options for addresses; each may be given any number of times.
#[derive(Args, Clone, Debug)]
pub(crate) struct AddressArgs {
    /// Accept connections at ADDR, such as tcp://*:5555 or ipc:///tmp/name
    #[arg(long, visible_alias = "listen", value_name = "ADDR", help_heading = HEADING)]
    bind: Vec<String>,
    /// Connect to ADDR in the background, however long it takes
    #[arg(long, value_name = "ADDR", help_heading = HEADING)]
    connect: Vec<String>,
    /// Connect to ADDR, and fail if nobody listens there
    #[arg(long, value_name = "ADDR", help_heading = HEADING)]
    dial: Vec<String>,
    /// The same as --bind ipc://PATH
    #[arg(short = 'X', long, value_name = "PATH", help_heading = HEADING)]
    bind_ipc: Vec<String>,
    /// The same as --connect ipc://PATH
    #[arg(short = 'x', long, value_name = "PATH", help_heading = HEADING)]
    connect_ipc: Vec<String>,
    /// The same as --bind tcp://127.0.0.1:PORT
    #[arg(short = 'L', long, value_name = "PORT", help_heading = HEADING)]
    bind_local: Vec<u16>,
    /// The same as --connect tcp://127.0.0.1:PORT
    #[arg(short = 'l', long, value_name = "PORT", help_heading = HEADING)]
    connect_local: Vec<u16>,
    /// Make --dial connect in the background from the start, as --connect does
    #[arg(long = "async", help_heading = HEADING)]
    pub(crate) later: bool,

    #[command(flatten)]
    tls: TlsArgs,
    /// Of nngcat, for a transport that sinew lacks: refused, not ignored.
    #[arg(long, hide = true)]
    zt_home: Option<OsString>,
}

const TLS_HEADING: &str = "TLS, for addresses such as tls+tcp://host:5555";

/// The options for TLS, with the meaning that nngcat gives them.
#[derive(Args, Clone, Debug)]
struct TlsArgs {
    /// Trust the authorities whose certificates are in FILE [default: those of the system]
    #[arg(long, value_name = "FILE", help_heading = TLS_HEADING, overrides_with = "cacert")]
    cacert: Option<PathBuf>,
    /// Show the certificate in FILE; without one nothing can be bound
    #[arg(short = 'E', long, value_name = "FILE", help_heading = TLS_HEADING)]
    #[arg(overrides_with = "cert")]
    cert: Option<PathBuf>,
    /// Read the key of the certificate from FILE [default: the file of --cert]
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = TLS_HEADING)]
    #[arg(overrides_with = "key")]
    key: Option<PathBuf>,
    /// Take any certificate of who is connected to, whoever has made it
    #[arg(short = 'k', long, help_heading = TLS_HEADING)]
    insecure: bool,
}

impl TlsArgs {
    fn are_given(&self) -> bool {
        self.insecure || self.cacert.is_some() || self.cert.is_some()
    }

    fn config(&self) -> Outcome<TlsConfig> {
        let mut config = TlsConfig::builder();
        if let Some(cert) = self.cert.as_deref() {
            config = config.certificate_files(cert, self.key.as_deref().unwrap_or(cert));
        }
        if let Some(cacert) = &self.cacert {
            config = config.trust_file(cacert);
        }
        if self.insecure {
            config = config.dangerously_accept_any_server();
        }
        Ok(config.build()?)
    }
}

/// Transports of nanomsg and NNG that sinew lacks, by their schemes, which may end with 4 or 6.
const ABSENT: [(&str, &str); 3] = [("dtls", "DTLS"), ("zt", "ZeroTier"), ("udp", "UDP")];

/// The transport of an address, if it is one that sinew lacks.
fn absent(url: &str) -> Option<&'static str> {
    let (scheme, _) = url.split_once("://")?;
    let scheme = scheme.trim_end_matches(['4', '6']);
    ABSENT.iter().find(|(absent, _)| scheme == *absent).map(|(_, transport)| *transport)
}

/// The failure of an option or address for a transport that sinew lacks.
fn unsupported(what: &str, transport: &str) -> Failure {
    Failure::Usage(format!(
        "{what} is for {transport}, which is not supported: there are tcp, tls+tcp, ipc, abstract, ws, wss and inproc"
    ))
}

/// One address, and what is done there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// Accept connections.
    Bind(String),
    /// Connect in the background.
    Connect(String),
    /// Connect, with a first attempt that must succeed.
    Dial(String),
}

impl Address {
    /// The address itself.
    pub(crate) fn url(&self) -> &str {
        let (Self::Bind(url) | Self::Connect(url) | Self::Dial(url)) = self;
        url
    }

    /// Refuses the addresses of transports that sinew lacks.
    pub(crate) fn check(list: &[Self]) -> Outcome {
        let mut urls = list.iter().map(Self::url);
        match urls.find_map(|url| absent(url).map(|transport| unsupported(url, transport))) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }
}

impl AddressArgs {
    /// Whether there are none.
    pub(crate) fn are_empty(&self) -> bool {
        let urls = [&self.bind, &self.connect, &self.dial, &self.bind_ipc, &self.connect_ipc];
        let ports = [&self.bind_local, &self.connect_local];
        urls.iter().all(|urls| urls.is_empty()) && ports.iter().all(|ports| ports.is_empty())
    }

    /// The options of a socket, with what was said about TLS.
    pub(crate) fn with_tls(&self, options: Options) -> Outcome<Options> {
        if self.tls.are_given() { Ok(options.tls(self.tls.config()?)) } else { Ok(options) }
    }

    /// The addresses, those to bind first.
    pub(crate) fn list(&self, dialect: Dialect) -> Outcome<Vec<Address>> {
        if self.zt_home.is_some() {
            return Err(unsupported("--zt-home", "ZeroTier"));
        }
        let local = |port: &u16| format!("tcp://127.0.0.1:{port}");
        let ipc = |path: &String| dialect.ipc(path);
        let connect = |url: String| {
            if dialect.connects_now() && !self.later {
                Address::Dial(url)
            } else {
                Address::Connect(url)
            }
        };
        let dial = |url: String| {
            if dialect.dials_later() || self.later {
                Address::Connect(url)
            } else {
                Address::Dial(url)
            }
        };
        let mut list = Vec::new();
        list.extend(self.bind.iter().cloned().map(Address::Bind));
        list.extend(self.bind_ipc.iter().map(ipc).map(Address::Bind));
        list.extend(self.bind_local.iter().map(local).map(Address::Bind));
        list.extend(self.connect.iter().cloned().map(connect));
        list.extend(self.connect_ipc.iter().map(ipc).map(connect));
        list.extend(self.connect_local.iter().map(local).map(connect));
        list.extend(self.dial.iter().cloned().map(dial));
        Address::check(&list)?;
        if list.is_empty() {
            Err(Failure::Usage(
                "no address: one of --bind, --connect, --dial, -X, -x, -L, -l is wanted".to_owned(),
            ))
        } else {
            Ok(list)
        }
    }
}
