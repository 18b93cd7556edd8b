//! tcp: streams between hosts.
//!
//! Owns what `tcp://`, `tcp4://` and `tcp6://` addresses mean, and the sockets behind them. The
//! rules are those of the semantics specification, 14.2 and 14.3:
//!
//! - bind: `host:port`, where the host is a literal, `[v6]`, a name of this host, or `*` or nothing
//!   for all interfaces; port 0 takes any free one.
//! - connect: `host:port` or `local_ip;host:port`; neither host nor port may be left open.
//!
//! Names are resolved here for binding only; for connecting they are handed out as
//! [`Target::Name`].

use std::io::{self, IoSlice, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::time::Duration;

use mio::event::Source;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::{Family, Listener, Place, Stream, StreamPeer, StreamTransport, Target, send};
use crate::address::Address;
use crate::error::{AddressError, BindError};
use crate::options::EndpointSettings;
use crate::wire::Framing;

/// How many connections may wait to be accepted. The specification asks for 128; more costs nothing
/// and rides out a storm of reconnecting peers (the kernel cuts it to its own limit).
const BACKLOG: i32 = 1024;

/// The longest idle time that Linux takes for `TCP_KEEPIDLE`, in seconds (`MAX_TCP_KEEPIDLE`).
const KEEPALIVE_MAX: u64 = 32_767;

/// tcp: `tcp://`, `tcp4://` and `tcp6://`.
///
/// Every runtime has it. Public for transports that do something to the bytes on the way, or before
/// a connection stands, and leave the rest to it.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Tcp;

impl Tcp {
    /// The transport; it has no settings of its own.
    pub const fn new() -> Self {
        Self
    }
}

impl StreamTransport for Tcp {
    fn schemes(&self) -> &[&str] {
        &["tcp", "tcp4", "tcp6"]
    }

    fn framing(&self) -> Framing {
        Framing::Length
    }

    /// Binds to the first address of the host that this system can have.
    ///
    /// All interfaces means IPv6 and IPv4 (one dual-stack socket) where the system has IPv6, and
    /// IPv4 otherwise; `tcp4` means IPv4.
    fn bind(
        &self,
        address: &Address,
        settings: &EndpointSettings,
    ) -> Result<Box<dyn Listener>, BindError> {
        let parts = parse(address, Use::Bind).map_err(|reason| address.malformed(reason))?;
        let bound = local_addresses(&parts, family(address))
            .and_then(|addresses| listen_on_first(&addresses))
            .and_then(|listener| TcpListener::new(listener, &parts, address.scheme(), settings))
            .map_err(|error| BindError::from_io(address.url(), error))?;
        Ok(Box::new(bound))
    }

    fn target(&self, address: &Address) -> Result<Target, AddressError> {
        let parts = parse(address, Use::Connect).map_err(|reason| address.malformed(reason))?;
        Ok(parts.target(family(address)))
    }

    fn connect(&self, place: &Place, settings: &EndpointSettings) -> io::Result<Box<dyn Stream>> {
        let Place::Inet { remote, local } = place else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not an internet address"));
        };
        let socket = new_socket(remote)?;
        tune(&socket, settings)?;
        if let Some(local) = local {
            socket.bind(&local_end(*local, remote).into())?;
        }
        begin(&socket, remote)?;
        Ok(Box::new(TcpStream(mio::net::TcpStream::from_std(socket.into()))))
    }
}

/// What an address is for; the rules differ.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Bind,
    Connect,
}

/// An address taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Parts<'a> {
    local: Option<IpAddr>,
    host: Host<'a>,
    port: u16,
}

#[derive(Debug, PartialEq, Eq)]
enum Host<'a> {
    /// `*` or nothing.
    All,
    /// An address, with the port.
    Literal(SocketAddr),
    /// A name, of good form.
    Name(&'a str),
}

impl Parts<'_> {
    fn target(self, family: Family) -> Target {
        let Self { local, host, port } = self;
        match host {
            Host::Literal(remote) => Target::Known(Place::Inet { remote, local }),
            Host::Name(host) => {
                let family = local.map_or(family, family_of);
                Target::Name { host: host.to_owned(), port, local, family }
            }
            Host::All => unreachable!("parse refuses to connect to all interfaces"),
        }
    }
}

/// What is wrong with an address.
type Reason = &'static str;

/// Takes an address apart and checks all that can be checked without asking anyone.
fn parse(address: &Address, purpose: Use) -> Result<Parts<'_>, Reason> {
    let rest = without_tail(address.rest())?;
    let (local, rest) = split_local(rest, purpose)?;
    let (host, port) = split_port(rest)?;
    let port = parse_port(port, purpose)?;
    let parts = Parts { local, host: parse_host(host, port)?, port };
    check_host(&parts.host, purpose)?;
    check_families(&parts, family(address))?;
    Ok(parts)
}

/// Cuts off the one path that means nothing, and refuses whatever else a URL may have.
fn without_tail(rest: &str) -> Result<&str, Reason> {
    if rest.contains('?') {
        return Err("a tcp address has no query");
    }
    if rest.contains('#') {
        return Err("a tcp address has no fragment");
    }
    if rest.contains('@') {
        return Err("a tcp address has no user");
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    match rest.contains('/') {
        true => Err("a tcp address has no path"),
        false => Ok(rest),
    }
}

fn split_local(rest: &str, purpose: Use) -> Result<(Option<IpAddr>, &str), Reason> {
    let Some((local, rest)) = rest.split_once(';') else {
        return Ok((None, rest));
    };
    if purpose == Use::Bind {
        return Err("local_ip; is for connecting only");
    }
    match parse_host(local, 0)? {
        Host::Literal(SocketAddr::V6(local)) if local.scope_id() != 0 => {
            Err("the local address takes its scope from the host, not from a %")
        }
        Host::Literal(local) => Ok((Some(local.ip()), rest)),
        Host::All | Host::Name(_) => Err("what is before the ; is not an IP address"),
    }
}

/// Cuts `host:port`; the host keeps its brackets.
fn split_port(rest: &str) -> Result<(&str, &str), Reason> {
    if rest.starts_with('[') {
        let end = rest.find(']').ok_or("the [ has no ]")?;
        let (host, port) = rest.split_at(end + 1);
        return match port.strip_prefix(':') {
            Some(port) => Ok((host, port)),
            None if port.is_empty() => Err("there is no port"),
            None => Err("after the ] there must be a : and the port"),
        };
    }
    match rest.rsplit_once(':') {
        Some((host, _)) if host.contains(':') => Err("an IPv6 address must be in brackets"),
        Some(split) => Ok(split),
        None => Err("there is no port"),
    }
}

fn parse_port(port: &str, purpose: Use) -> Result<u16, Reason> {
    if port.is_empty() {
        return Err("there is no port");
    }
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("the port is not a number");
    }
    match port.parse() {
        Ok(0) if purpose == Use::Connect => Err("port 0 cannot be connected to"),
        Ok(port) => Ok(port),
        Err(_) => Err("the port is above 65535"),
    }
}

fn parse_host(host: &str, port: u16) -> Result<Host<'_>, Reason> {
    if host.is_empty() || host == "*" {
        return Ok(Host::All);
    }
    if host.starts_with('[') {
        // With a port it is the one form in which std reads scope ids.
        let literal = format!("{host}:{port}").parse::<SocketAddrV6>();
        return literal
            .map(|literal| Host::Literal(literal.into()))
            .map_err(|_| "what is in the brackets is not an IPv6 address");
    }
    if host.contains(':') {
        return Err("an IPv6 address must be in brackets");
    }
    match host.parse::<Ipv4Addr>() {
        Ok(literal) => Ok(Host::Literal((literal, port).into())),
        Err(_) => check_name(host).map(|()| Host::Name(host)),
    }
}

/// nanomsg's check of host names; whether there is such a host only the resolver knows.
fn check_name(name: &str) -> Result<(), Reason> {
    if name.len() > 255 {
        return Err("the host name is longer than 255 characters");
    }
    if name.starts_with('-') {
        return Err("the host name begins with a hyphen");
    }
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    if !name.bytes().all(good) {
        return Err("the host name has a character other than letters, digits, - and .");
    }
    match name.split('.').map(str::len).find(|len| !(1..=63).contains(len)) {
        Some(0) => Err("the host name has an empty label"),
        Some(_) => Err("the host name has a label of more than 63 characters"),
        None => Ok(()),
    }
}

fn check_host(host: &Host<'_>, purpose: Use) -> Result<(), Reason> {
    match host {
        Host::All if purpose == Use::Connect => Err("there is no host to connect to"),
        _ => Ok(()),
    }
}

/// The scheme, the local address and the host must be able to go together.
fn check_families(parts: &Parts<'_>, family: Family) -> Result<(), Reason> {
    let literal = match &parts.host {
        Host::Literal(literal) => Some(literal.ip()),
        Host::All | Host::Name(_) => None,
    };
    if !literal.iter().chain(&parts.local).all(|ip| family.allows(ip)) {
        return Err("the scheme does not allow addresses of this family");
    }
    match (literal, parts.local) {
        (Some(host), Some(local)) if host.is_ipv4() != local.is_ipv4() => {
            Err("the local address and the host are of different families")
        }
        _ => Ok(()),
    }
}

fn family(address: &Address) -> Family {
    match address.scheme() {
        "tcp4" => Family::V4,
        "tcp6" => Family::V6,
        _ => Family::Any,
    }
}

fn family_of(ip: IpAddr) -> Family {
    match ip {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}

/// The addresses to try to bind to, in order. May wait for the resolver.
fn local_addresses(parts: &Parts<'_>, family: Family) -> io::Result<Vec<SocketAddr>> {
    let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, parts.port));
    let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, parts.port));
    match parts.host {
        Host::All if family == Family::V4 => Ok(vec![v4]),
        Host::All => Ok(vec![v6, v4]),
        Host::Literal(address) => Ok(vec![address]),
        Host::Name(name) => {
            let found = (name, parts.port).to_socket_addrs()?;
            Ok(found.filter(|address| family.allows(&address.ip())).collect())
        }
    }
}

/// Goes on to the next address only if this system cannot have one: in particular an address in use
/// is an error, even if the name has another.
fn listen_on_first(addresses: &[SocketAddr]) -> io::Result<Socket> {
    let none = "the name has no address of the wanted family";
    let mut result = Err(io::Error::new(io::ErrorKind::AddrNotAvailable, none));
    for address in addresses {
        result = listen_on(address);
        match &result {
            Err(error) if is_not_here(error) => {}
            _ => return result,
        }
    }
    result
}

fn listen_on(address: &SocketAddr) -> io::Result<Socket> {
    let socket = new_socket(address)?;
    // On Windows the option would let anybody take over the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // OpenBSD knows no dual-stack sockets; it then serves IPv6 only.
        let _ = socket.set_only_v6(false);
    }
    socket.bind(&(*address).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Whether the system has no such address, or does not know its family at all.
fn is_not_here(error: &io::Error) -> bool {
    #[cfg(unix)]
    const UNKNOWN_FAMILY: i32 = libc::EAFNOSUPPORT;
    /// `WSAEAFNOSUPPORT`.
    #[cfg(windows)]
    const UNKNOWN_FAMILY: i32 = 10_047;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(UNKNOWN_FAMILY)
}

/// A non-blocking tcp socket for addresses like `address`; socket2 makes it close-on-exec, and on
/// Apple deaf to SIGPIPE.
fn new_socket(address: &SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn tune(socket: &Socket, settings: &EndpointSettings) -> io::Result<()> {
    socket.set_tcp_nodelay(settings.tcp_nodelay)?;
    match settings.tcp_keepalive {
        Some(idle) => socket.set_tcp_keepalive(&keepalive(idle)),
        None => Ok(()),
    }
}

/// The kernel counts in whole seconds and refuses zero and what is above its limit.
fn keepalive(idle: Duration) -> TcpKeepalive {
    let seconds = idle.as_secs().saturating_add(u64::from(idle.subsec_nanos() > 0));
    TcpKeepalive::new().with_time(Duration::from_secs(seconds.clamp(1, KEEPALIVE_MAX)))
}

/// Any port of `local`. A link-local address needs a scope, and there it is the peer's.
fn local_end(local: IpAddr, remote: &SocketAddr) -> SocketAddr {
    match (local, remote) {
        (IpAddr::V6(local), SocketAddr::V6(remote)) => {
            SocketAddrV6::new(local, 0, 0, remote.scope_id()).into()
        }
        _ => (local, 0).into(),
    }
}

/// Starts to connect; the poll says when that is over.
fn begin(socket: &Socket, remote: &SocketAddr) -> io::Result<()> {
    match socket.connect(&(*remote).into()) {
        Err(error) if is_in_progress(&error) => Ok(()),
        done => done,
    }
}

/// An interrupted connect goes on by itself, too.
fn is_in_progress(error: &io::Error) -> bool {
    #[cfg(unix)]
    let in_progress = error.raw_os_error() == Some(libc::EINPROGRESS);
    #[cfg(windows)]
    let in_progress = error.kind() == io::ErrorKind::WouldBlock;
    in_progress || error.kind() == io::ErrorKind::Interrupted
}

/// A listening tcp socket.
#[derive(Debug)]
struct TcpListener {
    inner: mio::net::TcpListener,
    url: String,
    settings: EndpointSettings,
}

impl TcpListener {
    /// The URL names the host as the program did. All interfaces become `tcp://[::]:port` or
    /// `tcp://0.0.0.0:port`, which is this host when one connects to it.
    fn new(
        socket: Socket,
        parts: &Parts<'_>,
        scheme: &str,
        settings: &EndpointSettings,
    ) -> io::Result<Self> {
        let inner = mio::net::TcpListener::from_std(socket.into());
        let bound = inner.local_addr()?;
        let url = match parts.host {
            Host::All => url(bound),
            Host::Literal(_) => format!("{scheme}://{bound}"),
            Host::Name(name) => format!("{scheme}://{name}:{}", bound.port()),
        };
        Ok(Self { inner, url, settings: settings.clone() })
    }
}

impl Listener for TcpListener {
    fn source(&mut self) -> &mut dyn Source {
        &mut self.inner
    }

    fn accept(&self) -> io::Result<Box<dyn Stream>> {
        let (stream, _) = self.inner.accept()?;
        let socket = SockRef::from(&stream);
        #[cfg(target_vendor = "apple")]
        let _ = socket.set_nosigpipe(true);
        // A connection that is gone again may refuse this (on macOS it does). That is no fault of
        // the listener; whoever reads from the stream will learn of it.
        if let Err(error) = tune(&socket, &self.settings) {
            log::debug!("{}: options of an accepted connection: {error}", self.url);
        }
        Ok(Box::new(TcpStream(stream)))
    }

    fn url(&self) -> String {
        self.url.clone()
    }
}

/// A tcp connection, or one that is being made.
#[derive(Debug)]
struct TcpStream(mio::net::TcpStream);

impl Stream for TcpStream {
    fn source(&mut self) -> &mut dyn Source {
        &mut self.0
    }

    /// A socket that was connected to its own address is an error: on a port of the ephemeral range
    /// where nobody listens, the kernel may by chance pick the target as our own port and join the
    /// socket to itself (reliability B13).
    fn established(&self) -> io::Result<bool> {
        if let Some(error) = self.0.take_error()? {
            return Err(error);
        }
        match self.0.peer_addr() {
            Ok(peer) if self.0.local_addr()? == peer => {
                Err(io::Error::new(io::ErrorKind::ConnectionRefused, "connected to itself"))
            }
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }

    fn short_read_is_last(&self) -> bool {
        true
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        // On Windows `try_io` is what makes the poll report the socket again.
        self.0.try_io(|| send(&SockRef::from(&self.0), slices))
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }

    fn peer(&self) -> StreamPeer {
        StreamPeer {
            local: self.0.local_addr().map(url).unwrap_or_default(),
            remote: self.0.peer_addr().map(url).unwrap_or_default(),
            credentials: None,
        }
    }
}

/// The URL of an end. What IPv4 peers look like to a dual-stack socket is undone.
fn url(address: SocketAddr) -> String {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => format!("tcp://{ip}:{}", address.port()),
        IpAddr::V6(_) => format!("tcp://{address}"),
    }
}

/// What the tests of all stream transports need: waiting with a poll, never with a clock.
#[cfg(test)]
pub(super) mod kit {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use mio::{Events, Interest, Poll, Token};

    use super::*;

    /// How long a test waits for what must happen at once.
    const PATIENCE: Duration = Duration::from_secs(10);

    pub(in crate::transport) fn address(url: &str) -> Address {
        Address::parse(url).unwrap()
    }

    pub(in crate::transport) fn bind(
        transport: &dyn StreamTransport,
        url: &str,
    ) -> Result<Box<dyn Listener>, BindError> {
        transport.bind(&address(url), &EndpointSettings::default())
    }

    /// Connects to `url` and accepts: the connecting end, the accepted end.
    pub(in crate::transport) fn join(
        transport: &dyn StreamTransport,
        listener: &mut dyn Listener,
        url: &str,
    ) -> (Box<dyn Stream>, Box<dyn Stream>) {
        let mut near = connect(transport, url).unwrap();
        let far = accept(listener).unwrap();
        establish(&mut *near).unwrap();
        (near, far)
    }

    pub(in crate::transport) fn connect(
        transport: &dyn StreamTransport,
        url: &str,
    ) -> io::Result<Box<dyn Stream>> {
        let Target::Known(place) = transport.target(&address(url)).unwrap() else {
            panic!("{url} is a name");
        };
        transport.connect(&place, &EndpointSettings::default())
    }

    pub(in crate::transport) fn accept(listener: &mut dyn Listener) -> io::Result<Box<dyn Stream>> {
        wait(listener, |listener| listener.source(), |listener| listener.accept())
    }

    pub(in crate::transport) fn establish(stream: &mut dyn Stream) -> io::Result<()> {
        wait(
            stream,
            |stream| stream.source(),
            |stream| match stream.established()? {
                true => Ok(()),
                false => Err(io::ErrorKind::WouldBlock.into()),
            },
        )
    }

    /// What one read brings: nothing at the end of the stream.
    pub(in crate::transport) fn read(stream: &mut dyn Stream) -> io::Result<Vec<u8>> {
        let mut buffer = [0; 256];
        let len = wait(stream, |stream| stream.source(), |stream| stream.read(&mut buffer))?;
        Ok(buffer[..len].to_vec())
    }

    /// Sends words both ways, then ends one direction after the other.
    pub(in crate::transport) fn exchange(near: &mut dyn Stream, far: &mut dyn Stream) {
        let words = [IoSlice::new(b"there "), IoSlice::new(b"you are")];
        assert_eq!(near.write(&words).unwrap(), 13);
        assert_eq!(read(far).unwrap(), b"there you are");

        near.shutdown_write().unwrap();
        assert_eq!(read(far).unwrap(), b"");
        assert_eq!(far.write(&[IoSlice::new(b"and back")]).unwrap(), 8);
        assert_eq!(read(near).unwrap(), b"and back");
    }

    /// Checks that writing to a peer that is gone is an error and raises no signal.
    pub(in crate::transport) fn write_to_the_dead(stream: &mut dyn Stream) {
        let raised = Arc::new(AtomicBool::new(false));
        #[cfg(unix)]
        signal_hook::flag::register(signal_hook::consts::SIGPIPE, raised.clone()).unwrap();
        // Wait for the news, an error or the end, so that the write cannot still succeed.
        let _ = read(stream);
        let error = stream.write(&[IoSlice::new(b"anybody?")]).unwrap_err();
        let gone = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
        assert!(gone.contains(&error.kind()), "{error:?}");
        assert!(!raised.load(Ordering::SeqCst), "SIGPIPE was raised");
    }

    /// Attempts again on every event, until it is done or has failed.
    fn wait<E: ?Sized, T>(
        end: &mut E,
        source: fn(&mut E) -> &mut dyn Source,
        mut attempt: impl FnMut(&E) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(8);
        poll.registry().register(source(end), Token(0), Interest::READABLE | Interest::WRITABLE)?;
        let result = loop {
            poll.poll(&mut events, Some(PATIENCE))?;
            let idle = events.is_empty();
            match attempt(end) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    assert!(!idle, "nothing has happened for {PATIENCE:?}");
                }
                done => break done,
            }
        };
        poll.registry().deregister(source(end))?;
        result
    }
}

#[cfg(test)]
mod tests {
    use super::kit::{accept, address, bind, connect, establish, exchange, join};
    use super::*;

    fn target(url: &str) -> Result<Target, Reason> {
        Tcp.target(&address(url)).map_err(reason)
    }

    fn refused_bind(url: &str) -> Reason {
        match bind(&Tcp, url) {
            Err(BindError::Address(error)) => reason(error),
            other => panic!("{url}: {other:?}"),
        }
    }

    fn reason(error: AddressError) -> Reason {
        match error {
            AddressError::Malformed { reason, .. } => reason,
            other => panic!("{other:?}"),
        }
    }

    fn place(remote: &str, local: Option<&str>) -> Target {
        let remote = remote.parse().unwrap();
        Target::Known(Place::Inet { remote, local: local.map(|local| local.parse().unwrap()) })
    }

    fn name(host: &str, port: u16, local: Option<&str>, family: Family) -> Target {
        let local = local.map(|local| local.parse().unwrap());
        Target::Name { host: host.to_owned(), port, local, family }
    }

    fn port(url: &str) -> u16 {
        url.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// C241, C242, C247, C249.
    #[test]
    fn addresses_that_cannot_be_connected_to_are_refused() {
        let long_label = format!("tcp://{}:1", "a".repeat(64));
        let long_name = format!("tcp://{}a:1", "abc.".repeat(64));
        let table = [
            ("tcp://*:5555", "there is no host to connect to"),
            ("tcp://:5555", "there is no host to connect to"),
            ("tcp://127.0.0.1:0", "port 0 cannot be connected to"),
            ("tcp://127.0.0.1", "there is no port"),
            ("tcp://127.0.0.1:", "there is no port"),
            ("tcp://", "there is no port"),
            ("tcp://[::1]", "there is no port"),
            ("tcp://127.0.0.1:65536", "the port is above 65535"),
            ("tcp://127.0.0.1:99999999999999999999", "the port is above 65535"),
            ("tcp://127.0.0.1:abc", "the port is not a number"),
            ("tcp://127.0.0.1:+80", "the port is not a number"),
            ("tcp://127.0.0.1:-1", "the port is not a number"),
            ("tcp://127.0.0.1: 80", "the port is not a number"),
            ("tcp://-host:1", "the host name begins with a hyphen"),
            ("tcp://a..b:1", "the host name has an empty label"),
            ("tcp://.a:1", "the host name has an empty label"),
            ("tcp://a.:1", "the host name has an empty label"),
            ("tcp://a#b:1", "a tcp address has no fragment"),
            ("tcp://a_b:1", "the host name has a character other than letters, digits, - and ."),
            (
                "tcp://b\u{fc}cher:1",
                "the host name has a character other than letters, digits, - and .",
            ),
            (long_label.as_str(), "the host name has a label of more than 63 characters"),
            (long_name.as_str(), "the host name is longer than 255 characters"),
            ("tcp://127.0.0.1:80/x", "a tcp address has no path"),
            ("tcp://127.0.0.1:80//", "a tcp address has no path"),
            ("tcp://127.0.0.1:80?q", "a tcp address has no query"),
            ("tcp://127.0.0.1:80/?q", "a tcp address has no query"),
            ("tcp://u@127.0.0.1:80", "a tcp address has no user"),
            ("tcp://::1:80", "an IPv6 address must be in brackets"),
            ("tcp://::1", "an IPv6 address must be in brackets"),
            ("tcp://[::1", "the [ has no ]"),
            ("tcp://[::1:80", "the [ has no ]"),
            ("tcp://[]:80", "what is in the brackets is not an IPv6 address"),
            ("tcp://[127.0.0.1]:80", "what is in the brackets is not an IPv6 address"),
            ("tcp://[::1]80", "after the ] there must be a : and the port"),
            ("tcp://eth0;127.0.0.1:80", "what is before the ; is not an IP address"),
            ("tcp://;127.0.0.1:80", "what is before the ; is not an IP address"),
            ("tcp://::1;[::1]:80", "an IPv6 address must be in brackets"),
            (
                "tcp://[fe80::1%2];[fe80::2%2]:80",
                "the local address takes its scope from the host, not from a %",
            ),
            (
                "tcp://127.0.0.1;[::1]:80",
                "the local address and the host are of different families",
            ),
            ("tcp4://[::1]:80", "the scheme does not allow addresses of this family"),
            ("tcp6://127.0.0.1:80", "the scheme does not allow addresses of this family"),
            ("tcp4://[::1];host:80", "the scheme does not allow addresses of this family"),
        ];
        for (url, reason) in table {
            assert_eq!(target(url), Err(reason), "{url}");
        }
    }

    /// C247, C249, semantics 14.3.
    #[test]
    fn addresses_are_understood() {
        let long_name = format!("{}abc", "abc.".repeat(63));
        let long_url = format!("tcp://{long_name}:1");
        let table = [
            ("tcp://127.0.0.1:80", place("127.0.0.1:80", None)),
            ("tcp://127.0.0.1:80/", place("127.0.0.1:80", None)),
            ("tcp4://127.0.0.1:65535", place("127.0.0.1:65535", None)),
            ("tcp://[::1]:80", place("[::1]:80", None)),
            ("tcp6://[::1]:1", place("[::1]:1", None)),
            ("tcp://[fe80::1%3]:80", place("[fe80::1%3]:80", None)),
            ("tcp://0.0.0.0:80", place("0.0.0.0:80", None)),
            ("tcp://127.0.0.2;127.0.0.1:80", place("127.0.0.1:80", Some("127.0.0.2"))),
            ("tcp://[::2];[::1]:80", place("[::1]:80", Some("::2"))),
            ("tcp://localhost:80", name("localhost", 80, None, Family::Any)),
            ("tcp4://a-1.example:80", name("a-1.example", 80, None, Family::V4)),
            ("tcp6://a.b:80", name("a.b", 80, None, Family::V6)),
            ("tcp://127.0.0.2;a:80", name("a", 80, Some("127.0.0.2"), Family::V4)),
            ("tcp://[::2];a:80", name("a", 80, Some("::2"), Family::V6)),
            (long_url.as_str(), name(&long_name, 1, None, Family::Any)),
        ];
        for (url, expected) in table {
            assert_eq!(target(url), Ok(expected), "{url}");
        }
    }

    #[test]
    fn addresses_that_cannot_be_bound_are_refused() {
        let table = [
            ("tcp://127.0.0.1", "there is no port"),
            ("tcp://*", "there is no port"),
            ("tcp://*:65536", "the port is above 65535"),
            ("tcp://127.0.0.1;127.0.0.1:0", "local_ip; is for connecting only"),
            ("tcp://127.0.0.1:0/x", "a tcp address has no path"),
            ("tcp4://[::1]:0", "the scheme does not allow addresses of this family"),
        ];
        for (url, reason) in table {
            assert_eq!(refused_bind(url), reason, "{url}");
        }
    }

    /// C239, C273.
    #[test]
    fn port_zero_becomes_a_real_port() {
        for scheme in ["tcp", "tcp4"] {
            let mut listener = bind(&Tcp, &format!("{scheme}://127.0.0.1:0")).unwrap();
            let url = listener.url();

            assert_ne!(port(&url), 0);
            assert_eq!(url, format!("{scheme}://127.0.0.1:{}", port(&url)));
            let (mut near, mut far) = join(&Tcp, &mut *listener, &url);
            exchange(&mut *near, &mut *far);
        }
    }

    /// C240.
    #[test]
    fn all_interfaces_are_reached_by_their_url_and_by_ipv4() {
        for wildcard in ["tcp://*:0", "tcp://:0", "tcp4://*:0"] {
            let mut listener = bind(&Tcp, wildcard).unwrap();
            let url = listener.url();
            let v4 = format!("tcp://127.0.0.1:{}", port(&url));

            for url in [&url, &v4] {
                let (mut near, mut far) = join(&Tcp, &mut *listener, url);
                exchange(&mut *near, &mut *far);
            }
        }
    }

    /// C248.
    #[test]
    fn ipv6_is_bound_and_connected_to() {
        if listen_on(&SocketAddr::from((Ipv6Addr::LOCALHOST, 0))).is_err() {
            eprintln!("SKIPPED: this host has no IPv6 loopback");
            return;
        }
        for url in ["tcp://[::1]:0", "tcp6://[::1]:0"] {
            let mut listener = bind(&Tcp, url).unwrap();
            let url = listener.url();
            let (mut near, mut far) = join(&Tcp, &mut *listener, &url);
            assert!(far.peer().remote.starts_with("tcp://[::1]:"));
            exchange(&mut *near, &mut *far);
        }
    }

    /// C243.
    #[test]
    fn an_address_of_another_host_cannot_be_bound() {
        let error = bind(&Tcp, "tcp://203.0.113.1:0").unwrap_err();
        let BindError::Io { source, .. } = error else { panic!("{error:?}") };
        assert_eq!(source.kind(), io::ErrorKind::AddrNotAvailable);
    }

    /// C244.
    #[test]
    fn an_address_is_bound_once() {
        let listener = bind(&Tcp, "tcp://127.0.0.1:0").unwrap();
        for host in ["127.0.0.1", "0.0.0.0", "*"] {
            let taken = format!("tcp://{host}:{}", port(&listener.url()));
            let error = bind(&Tcp, &taken).unwrap_err();
            assert!(matches!(&error, BindError::AddressInUse { url } if *url == taken), "{error}");
        }
    }

    /// C244.
    #[test]
    fn a_name_is_bound_once_even_if_it_has_two_addresses() {
        let listener = bind(&Tcp, "tcp://localhost:0").unwrap();
        let url = listener.url();
        assert_eq!(url, format!("tcp://localhost:{}", port(&url)));
        assert!(matches!(bind(&Tcp, &url), Err(BindError::AddressInUse { .. })));
    }

    /// C245.
    #[test]
    fn a_closed_address_is_free_at_once() {
        let mut listener = bind(&Tcp, "tcp://127.0.0.1:0").unwrap();
        let url = listener.url();
        let mut connections = Vec::new();
        for _ in 0..20 {
            connections.push(join(&Tcp, &mut *listener, &url));
            drop(listener);
            listener = bind(&Tcp, &url).unwrap();
        }
        // Those accepted live on.
        for (near, far) in &mut connections {
            exchange(&mut **near, &mut **far);
        }
    }

    /// C250.
    #[test]
    fn nobody_there_is_connection_refused() {
        let url = bind(&Tcp, "tcp://127.0.0.1:0").unwrap().url();
        let refused = connect(&Tcp, &url).and_then(|mut stream| establish(&mut *stream));
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    /// Reliability B13.
    #[test]
    fn a_socket_connected_to_itself_is_refused() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let socket = new_socket(&any).unwrap();
        socket.bind(&any.into()).unwrap();
        let own = socket.local_addr().unwrap().as_socket().unwrap();
        begin(&socket, &own).unwrap();

        let mut stream = TcpStream(mio::net::TcpStream::from_std(socket.into()));
        let refused = establish(&mut stream).unwrap_err();
        assert_eq!(refused.to_string(), "connected to itself");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_local_address_is_the_one_asked_for() {
        let mut listener = bind(&Tcp, "tcp://127.0.0.1:0").unwrap();
        let url = format!("tcp://127.0.0.2;127.0.0.1:{}", port(&listener.url()));
        let (near, _) = join(&Tcp, &mut *listener, &url);
        assert!(near.peer().local.starts_with("tcp://127.0.0.2:"), "{:?}", near.peer());
    }

    #[test]
    fn both_ends_know_both_addresses() {
        let mut listener = bind(&Tcp, "tcp://*:0").unwrap();
        let url = format!("tcp://127.0.0.1:{}", port(&listener.url()));
        let (near, far) = join(&Tcp, &mut *listener, &url);

        assert_eq!(near.peer().remote, url);
        assert_eq!(far.peer().local, url);
        assert_eq!(far.peer().remote, near.peer().local);
        assert_eq!(near.peer().credentials, None);
    }

    /// Reliability 2.6.
    #[test]
    fn writing_to_a_reset_connection_raises_no_signal() {
        let mut listener = bind(&Tcp, "tcp://127.0.0.1:0").unwrap();
        let peer = std::net::TcpStream::connect(("127.0.0.1", port(&listener.url()))).unwrap();
        let mut stream = accept(&mut *listener).unwrap();

        SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        kit::write_to_the_dead(&mut *stream);
    }

    /// Reliability B5.
    #[test]
    fn a_connection_reset_before_it_is_accepted_does_not_hurt_the_listener() {
        let mut listener = bind(&Tcp, "tcp://127.0.0.1:0").unwrap();
        let url = listener.url();
        let peer = std::net::TcpStream::connect(("127.0.0.1", port(&url))).unwrap();
        SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);

        // Linux hands out the dead connection, others say ECONNABORTED.
        let _ = accept(&mut *listener);
        let (mut near, mut far) = join(&Tcp, &mut *listener, &url);
        exchange(&mut *near, &mut *far);
    }

    #[test]
    fn more_slices_than_the_kernel_takes_are_written_in_part() {
        let mut listener = bind(&Tcp, "tcp://127.0.0.1:0").unwrap();
        let url = listener.url();
        let (near, mut far) = join(&Tcp, &mut *listener, &url);

        let written = near.write(&vec![IoSlice::new(b"x"); 5000]).unwrap();
        assert!((1..5000).contains(&written));
        assert_eq!(kit::read(&mut *far).unwrap(), vec![b'x'; written]);
    }

    /// C303.
    #[test]
    fn the_options_reach_the_socket() {
        let socket = new_socket(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        for nodelay in [true, false] {
            let settings = EndpointSettings { tcp_nodelay: nodelay, ..Default::default() };
            tune(&socket, &settings).unwrap();
            assert_eq!(socket.tcp_nodelay().unwrap(), nodelay);
            assert!(!socket.keepalive().unwrap());
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn keepalive_is_rounded_to_what_the_kernel_takes() {
        let socket = new_socket(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let table = [
            (Duration::from_nanos(1), 1),
            (Duration::from_millis(1500), 2),
            (Duration::from_secs(60), 60),
            (Duration::MAX, KEEPALIVE_MAX),
        ];
        for (idle, seconds) in table {
            let settings = EndpointSettings { tcp_keepalive: Some(idle), ..Default::default() };
            tune(&socket, &settings).unwrap();
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(seconds));
        }
    }
}
