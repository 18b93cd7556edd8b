//! tcp: streams between hosts.
//!
//! Owns the meaning of `tcp://`, `tcp4://` and `tcp6://` addresses, and the sockets behind them. The
//! rules are in `docs/spec/semantics.md`, sections 14.2 and 14.3:
//!
//! - bind: `host:port`, where the host is a literal, `[v6]`, a name of this host, or `*` or nothing
//!   for all interfaces; port 0 takes any free port.
//! - connect: `host:port` or `local_ip;host:port`, where the `local_ip` `*` is any; neither host nor port
//!   may be left open.
//!
//! An IPv6 literal may have a zone behind a `%`, as a number or as the name of an interface. This file
//! resolves the names of hosts and interfaces for binding only. For connecting it returns them as
//! [`Target::Name`], to be looked up in every attempt.

use std::io::{self, IoSlice, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV6};
#[cfg(target_os = "linux")]
use std::os::fd::AsFd;
use std::time::Duration;

use mio::event::Source;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::{
    Destination, Family, Listener, Stream, StreamPeer, StreamTransport, Target, look_up, send,
};
use crate::address::Address;
use crate::error::{AddressError, BindError};
use crate::options::EndpointSettings;
use crate::wire::Framing;

/// How many connections may wait to be accepted. The specification asks for 128; more cost nothing and
/// ride out a storm of reconnecting peers. The kernel lowers the number to its own limit.
const BACKLOG: i32 = 1024;

/// How many bytes the name of a host may have. DNS allows fewer, so no resolver could use a longer one.
const NAME_MAX: usize = 255;
/// How many bytes the name of an interface may have: `IFNAMSIZ` less the zero at its end.
const INTERFACE_MAX: usize = 15;

/// The longest idle time that Linux takes for `TCP_KEEPIDLE`, in seconds (`MAX_TCP_KEEPIDLE`).
const KEEPALIVE_MAX: u64 = 32_767;

/// tcp: `tcp://`, `tcp4://` and `tcp6://`.
///
/// Every runtime has it. It is public for transports that wrap it: that change the bytes on the way, or do
/// something before a connection is established, and leave everything else to it.
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

    /// Binds to the first address of the host that this system has.
    ///
    /// All interfaces means IPv6 and IPv4 (one dual-stack socket) where the system has IPv6, and
    /// IPv4 otherwise; with `tcp4` it means IPv4.
    fn bind(
        &self,
        address: &Address,
        settings: &EndpointSettings,
    ) -> Result<Box<dyn Listener>, BindError> {
        let parts = parse(address, Use::Bind)?;
        let bound = local_addresses(&parts, family(address))
            .and_then(|addresses| listen_on_first(&addresses, settings))
            .and_then(|listener| TcpListener::new(listener, &parts, address.scheme(), settings))
            .map_err(|error| BindError::from_io(address.url(), error))?;
        Ok(Box::new(bound))
    }

    fn target(&self, address: &Address) -> Result<Target, AddressError> {
        let parts = parse(address, Use::Connect)?;
        Ok(parts.target(family(address)))
    }

    fn connect(
        &self,
        _: &Address,
        destination: &Destination,
        settings: &EndpointSettings,
    ) -> io::Result<Box<dyn Stream>> {
        let Destination::Inet { remote, local } = destination else {
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

/// What an address is used for; the rules differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Bind,
    Connect,
}

/// An address taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    local: Option<IpAddr>,
    host: Host<'a>,
    pub(super) port: u16,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Host<'a> {
    /// `*` or nothing.
    All,
    /// An address, with the port.
    Literal(SocketAddr),
    /// An IPv6 address without its brackets, with the name of an interface behind a `%`.
    Zoned(&'a str),
    /// A name, which need not exist.
    Name(&'a str),
}

impl Host<'_> {
    /// The family of the host's addresses, as far as the text shows it.
    fn family(&self) -> Family {
        match self {
            Self::Literal(literal) => family_of(literal.ip()),
            Self::Zoned(_) => Family::V6,
            Self::All | Self::Name(_) => Family::Any,
        }
    }
}

impl Parts<'_> {
    pub(super) fn target(self, family: Family) -> Target {
        let Self { local, host, port } = self;
        match host {
            Host::Literal(remote) => Target::Known(Destination::Inet { remote, local }),
            Host::Zoned(host) => {
                Target::Name { host: host.to_owned(), port, local, family: Family::V6 }
            }
            Host::Name(host) => {
                let family = local.map_or(family, family_of);
                Target::Name { host: host.to_owned(), port, local, family }
            }
            Host::All => unreachable!("parse refuses to connect to all interfaces"),
        }
    }
}

/// The host in an address that can be connected to, as a peer would call itself: a name, or an IP address.
#[cfg(feature = "tls")]
pub(super) fn host(address: &Address) -> Parsed<String> {
    Ok(parse(address, Use::Connect)?.name())
}

#[cfg(feature = "tls")]
impl Parts<'_> {
    /// The host of an address that can be connected to, as in [`host`].
    pub(super) fn name(&self) -> String {
        match self.host {
            Host::Literal(literal) => literal.ip().to_string(),
            Host::Zoned(host) | Host::Name(host) => host.to_owned(),
            Host::All => unreachable!("parse refuses to connect to all interfaces"),
        }
    }
}

/// A piece of an address, or what is wrong with it.
pub(super) type Parsed<T> = Result<T, AddressError>;

/// Takes an address apart, and checks all that can be checked without asking the system.
fn parse(address: &Address, purpose: Use) -> Parsed<Parts<'_>> {
    parse_server(address, without_tail(address)?, purpose, None)
}

/// Takes apart what an address has before its path. `port` is what a missing one is.
pub(super) fn parse_server<'a>(
    address: &Address,
    server: &'a str,
    purpose: Use,
    port: Option<&'a str>,
) -> Parsed<Parts<'a>> {
    let (local, server) = split_local(address, server, purpose)?;
    let (host, port) = split_port(address, server, port)?;
    let port = parse_port(address, port, purpose)?;
    let parts = Parts { local, host: parse_host(address, host, port)?, port };
    if parts.host == Host::All && purpose == Use::Connect {
        return Err(address.bad_host(host, "there is no host to connect to"));
    }
    check_families(address, host, &parts)?;
    Ok(parts)
}

/// Cuts off the path `/`, which means nothing, and refuses everything else that a URL may have.
fn without_tail(address: &Address) -> Parsed<&str> {
    let text = address.after_scheme();
    let (server, tail) = text.split_at(text.find(['/', '?', '#']).unwrap_or(text.len()));
    if server.contains('@') {
        return Err(address.bad_host(server, "a tcp address has no user"));
    }
    match tail {
        "" | "/" => Ok(server),
        _ if tail.contains('?') => Err(address.bad_path(tail, "a tcp address has no query")),
        _ if tail.contains('#') => Err(address.bad_path(tail, "a tcp address has no fragment")),
        _ => Err(address.bad_path(tail, "a tcp address has no path")),
    }
}

/// Splits `local_ip;` off the front. Without one, or with `*`, the system chooses the local address.
fn split_local<'a>(
    address: &Address,
    text: &'a str,
    purpose: Use,
) -> Parsed<(Option<IpAddr>, &'a str)> {
    let Some((local, server)) = text.split_once(';') else {
        return Ok((None, text));
    };
    if purpose == Use::Bind {
        return Err(address.bad_host(local, "local_ip; is for connecting only"));
    }
    match parse_host(address, local, 0)? {
        _ if local.contains('%') => {
            let zone = local.trim_end_matches(']').split_once('%').map_or("", |(_, zone)| zone);
            Err(address
                .bad_zone(zone, "the local address has the zone of the host, not one of its own"))
        }
        Host::Literal(local) => Ok((Some(local.ip()), server)),
        Host::All if local == "*" => Ok((None, server)),
        _ => Err(address.bad_host(local, "what is before the ; is not an IP address")),
    }
}

/// Splits `host:port`; the host keeps its brackets. `missing` is what a port is that is not there.
fn split_port<'a>(
    address: &Address,
    server: &'a str,
    missing: Option<&'a str>,
) -> Parsed<(&'a str, &'a str)> {
    let no_port = || missing.ok_or_else(|| address.bad_port("", "there is no port"));
    if server.starts_with('[') {
        let end = server.find(']').ok_or_else(|| address.bad_host(server, "the [ has no ]"))?;
        let (host, port) = server.split_at(end + 1);
        return match port.strip_prefix(':') {
            Some(port) => Ok((host, port)),
            None if port.is_empty() => Ok((host, no_port()?)),
            None => Err(address.bad_port(port, "after the ] there must be a : and the port")),
        };
    }
    match server.rsplit_once(':') {
        Some((host, _)) if host.contains(':') => {
            Err(address.bad_host(server, "an IPv6 address must be in brackets"))
        }
        Some(split) => Ok(split),
        None => Ok((server, no_port()?)),
    }
}

fn parse_port(address: &Address, port: &str, purpose: Use) -> Parsed<u16> {
    if port.is_empty() {
        return Err(address.bad_port(port, "there is no port"));
    }
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(address.bad_port(port, "the port is not a number"));
    }
    match port.parse() {
        Ok(0) if purpose == Use::Connect => {
            Err(address.bad_port(port, "port 0 cannot be connected to"))
        }
        Ok(port) => Ok(port),
        Err(_) => Err(address.bad_port(port, "the port is above 65535")),
    }
}

fn parse_host<'a>(address: &Address, host: &'a str, port: u16) -> Parsed<Host<'a>> {
    if host.is_empty() || host == "*" {
        return Ok(Host::All);
    }
    if let Some(inside) = host.strip_prefix('[') {
        return parse_v6(address, inside.strip_suffix(']').unwrap_or(inside), port);
    }
    if host.contains(':') {
        return Err(address.bad_host(host, "an IPv6 address must be in brackets"));
    }
    match host.parse::<Ipv4Addr>() {
        Ok(literal) => Ok(Host::Literal((literal, port).into())),
        Err(_) => check_name(address, host).map(|()| Host::Name(host)),
    }
}

/// Parses the text between brackets: an address, perhaps with a zone.
fn parse_v6<'a>(address: &Address, inside: &'a str, port: u16) -> Parsed<Host<'a>> {
    let (ip, zone) = inside.split_once('%').map_or((inside, None), |(ip, zone)| (ip, Some(zone)));
    let ip: Ipv6Addr = ip
        .parse()
        .map_err(|_| address.bad_host(inside, "what is in the brackets is not an IPv6 address"))?;
    match zone {
        None => Ok(Host::Literal((ip, port).into())),
        Some("") => Err(address.bad_zone("", "there is no zone behind the %")),
        Some(zone) if zone.bytes().all(|byte| byte.is_ascii_digit()) => {
            let zone =
                zone.parse().map_err(|_| address.bad_zone(zone, "the zone is above 4294967295"))?;
            Ok(Host::Literal(SocketAddrV6::new(ip, port, 0, zone).into()))
        }
        Some(zone) if zone.len() > INTERFACE_MAX => Err(address.too_long(zone, INTERFACE_MAX)),
        Some(zone) if zone.contains(is_no_part_of_a_name) => {
            Err(address.bad_zone(zone, "no interface has such a name"))
        }
        Some(_) => Ok(Host::Zoned(inside)),
    }
}

/// Refuses a name that cannot be that of a host. Only the resolver knows which hosts there are and what
/// their names look like: the names of containers have underscores, a name with a dot at its end is absolute.
fn check_name(address: &Address, name: &str) -> Parsed<()> {
    if name.len() > NAME_MAX {
        return Err(address.too_long(name, NAME_MAX));
    }
    if name.contains(is_no_part_of_a_name) {
        Err(address.bad_host(name, "a host has no spaces and no control characters"))
    } else {
        Ok(())
    }
}

fn is_no_part_of_a_name(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

/// Checks that the scheme, the local address and the host do not name different families.
fn check_families(address: &Address, host: &str, parts: &Parts<'_>) -> Parsed<()> {
    let local = parts.local.map_or(Family::Any, family_of);
    if !parts.host.family().fits(local) {
        let reason = "the local address and the host are of different families";
        return Err(address.bad_host(host, reason));
    }
    let scheme = family(address);
    if scheme.fits(local) && scheme.fits(parts.host.family()) {
        Ok(())
    } else {
        Err(address.bad_host(host, "the scheme does not allow addresses of this family"))
    }
}

/// The family that a scheme names, as `tcp4` does.
pub(super) fn family(address: &Address) -> Family {
    match address.scheme().as_bytes() {
        [.., b'4'] => Family::V4,
        [.., b'6'] => Family::V6,
        _ => Family::Any,
    }
}

fn family_of(ip: IpAddr) -> Family {
    match ip {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}

/// The addresses to bind to, in the order in which to try them. May wait for the resolver.
pub(super) fn local_addresses(parts: &Parts<'_>, family: Family) -> io::Result<Vec<SocketAddr>> {
    let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, parts.port));
    let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, parts.port));
    match parts.host {
        Host::All if family == Family::V4 => Ok(vec![v4]),
        Host::All => Ok(vec![v6, v4]),
        Host::Literal(address) => Ok(vec![address]),
        Host::Zoned(name) | Host::Name(name) => {
            Ok(look_up(name, parts.port)?.filter(|address| family.allows(&address.ip())).collect())
        }
    }
}

/// Listens on the first address that this system has. It goes on to the next one only if the system cannot
/// have an address: one that is in use is an error, even if the name has others.
fn listen_on_first(addresses: &[SocketAddr], settings: &EndpointSettings) -> io::Result<Socket> {
    let none = "the name has no address of the wanted family";
    let mut result = Err(io::Error::new(io::ErrorKind::AddrNotAvailable, none));
    for address in addresses {
        result = listen_on(address, settings);
        match &result {
            Err(error) if is_not_here(error) => {}
            _ => return result,
        }
    }
    result
}

pub(super) fn listen_on(address: &SocketAddr, settings: &EndpointSettings) -> io::Result<Socket> {
    let socket = new_socket(address)?;
    // On Windows that option would let anybody take over the port, and without this one anybody could who
    // sets it.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    #[cfg(windows)]
    crate::sys::bind_alone(&socket)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // OpenBSD has no dual-stack sockets; the listener then serves IPv6 only.
        let _ = socket.set_only_v6(false);
    }
    // Accepted connections inherit the sizes. Set later, they could not change the scale of the window.
    size_buffers(&socket, settings)?;
    socket.bind(&(*address).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Whether the error says that the system has no such address, or does not know its family.
pub(super) fn is_not_here(error: &io::Error) -> bool {
    #[cfg(unix)]
    const UNKNOWN_FAMILY: i32 = libc::EAFNOSUPPORT;
    /// `WSAEAFNOSUPPORT`.
    #[cfg(windows)]
    const UNKNOWN_FAMILY: i32 = 10_047;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(UNKNOWN_FAMILY)
}

/// Makes a non-blocking tcp socket for the family of `address`. socket2 makes it close-on-exec, and sets
/// `SO_NOSIGPIPE` on Apple.
fn new_socket(address: &SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Sets the sizes of the kernel's buffers, where the program has set them.
pub(super) fn size_buffers(socket: &Socket, settings: &EndpointSettings) -> io::Result<()> {
    let number = |bytes: usize| bytes.min(i32::MAX.unsigned_abs() as usize);
    if let Some(bytes) = settings.kernel_send_buffer {
        socket.set_send_buffer_size(number(bytes))?;
    }
    match settings.kernel_recv_buffer {
        Some(bytes) => socket.set_recv_buffer_size(number(bytes)),
        None => Ok(()),
    }
}

fn tune(socket: &Socket, settings: &EndpointSettings) -> io::Result<()> {
    size_buffers(socket, settings)?;
    socket.set_tcp_nodelay(settings.tcp_nodelay)?;
    match settings.tcp_keepalive {
        Some(limit) => match socket.set_tcp_keepalive(&keepalive(limit)) {
            // The times are set. The number of probes is fixed before Windows 10, version 1703: it is ten.
            Err(error) if cfg!(windows) && error.raw_os_error() == Some(WSAENOPROTOOPT) => Ok(()),
            done => done,
        },
        None => Ok(()),
    }
}

/// What Windows calls an option that it does not know.
const WSAENOPROTOOPT: i32 = 10_042;

/// The parameters by which the kernel gives up an idle connection whose peer has been silent for `limit`:
/// after up to three probes in the last two fifths of that time. Counts in whole seconds, as the kernel does,
/// rounds up to them, and has at least one for the wait and one for the probe.
fn keepalive(limit: Duration) -> TcpKeepalive {
    let seconds = limit.as_secs().saturating_add(u64::from(limit.subsec_nanos() > 0));
    let seconds = seconds.clamp(2, KEEPALIVE_MAX);
    let interval = (seconds * 2 / 15).max(1);
    let probes = u32::try_from((seconds - 1) / interval).unwrap_or(u32::MAX).min(3);
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(seconds - interval * u64::from(probes)));
    // OpenBSD has none of them for a socket.
    #[cfg(not(target_os = "openbsd"))]
    let keepalive = keepalive.with_interval(Duration::from_secs(interval)).with_retries(probes);
    keepalive
}

/// The address `local` with any port. A link-local address needs a scope, and has that of the peer.
fn local_end(local: IpAddr, remote: &SocketAddr) -> SocketAddr {
    match (local, remote) {
        (IpAddr::V6(local), SocketAddr::V6(remote)) => {
            SocketAddrV6::new(local, 0, 0, remote.scope_id()).into()
        }
        _ => (local, 0).into(),
    }
}

/// Starts to connect; the poll reports when that is over.
fn begin(socket: &Socket, remote: &SocketAddr) -> io::Result<()> {
    match socket.connect(&(*remote).into()) {
        Err(error) if is_in_progress(&error) => Ok(()),
        done => done,
    }
}

/// Whether the error says that the connect goes on. One that was interrupted does, too.
fn is_in_progress(error: &io::Error) -> bool {
    #[cfg(unix)]
    let in_progress = error.raw_os_error() == Some(libc::EINPROGRESS);
    #[cfg(windows)]
    let in_progress = error.kind() == io::ErrorKind::WouldBlock;
    in_progress || error.kind() == io::ErrorKind::Interrupted
}

/// A listening tcp socket.
#[derive(Debug)]
pub(super) struct TcpListener {
    inner: mio::net::TcpListener,
    url: String,
    settings: EndpointSettings,
}

impl TcpListener {
    /// A listener whose URL names the host as the program did. All interfaces become `tcp://[::]:port` or
    /// `tcp://0.0.0.0:port`, to which programs on this host can connect.
    pub(super) fn new(
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
            Host::Zoned(name) => format!("{scheme}://[{name}]:{}", bound.port()),
            Host::Name(name) => format!("{scheme}://{name}:{}", bound.port()),
        };
        Ok(Self { inner, url, settings: settings.clone() })
    }

    /// A listener over a socket that another has made.
    pub(super) fn over(
        socket: std::net::TcpListener,
        settings: &EndpointSettings,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let url = url(socket.local_addr()?);
        let inner = mio::net::TcpListener::from_std(socket);
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
        super::record_failed_options(&self.url, tune(&socket, &self.settings));
        Ok(Box::new(TcpStream(stream)))
    }

    fn url(&self) -> String {
        self.url.clone()
    }
}

/// A tcp connection, or one that is being made.
#[derive(Debug)]
pub(super) struct TcpStream(mio::net::TcpStream);

impl TcpStream {
    /// A connection that is there already, and its local address.
    pub(super) fn over(
        stream: std::net::TcpStream,
        settings: &EndpointSettings,
    ) -> io::Result<(Self, String)> {
        stream.set_nonblocking(true)?;
        // Fails if it is not connected.
        stream.peer_addr()?;
        #[cfg(target_vendor = "apple")]
        SockRef::from(&stream).set_nosigpipe(true)?;
        tune(&SockRef::from(&stream), settings)?;
        let local = url(stream.local_addr()?);
        Ok((Self(mio::net::TcpStream::from_std(stream)), local))
    }
}

impl Stream for TcpStream {
    fn source(&mut self) -> &mut dyn Source {
        &mut self.0
    }

    /// A socket that is connected to itself is an error: when nobody listens on a port of the ephemeral
    /// range, the kernel may by chance choose this port as our own, and connect the socket to itself.
    fn established(&self) -> io::Result<bool> {
        if let Some(error) = self.0.take_error()? {
            return Err(error);
        }
        match self.0.peer_addr() {
            Ok(peer) if self.0.local_addr()? == peer => {
                // Ends with a reset: an orderly end keeps the port for a minute from who would listen there.
                SockRef::from(&self.0).set_linger(Some(Duration::ZERO))?;
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

    /// On Windows the poll reports a socket again only after it was read until it would block.
    fn short_read_is_last(&self) -> bool {
        cfg!(not(windows))
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        // On Windows only `try_io` makes the poll report the socket again.
        self.0.try_io(|| send(&SockRef::from(&self.0), slices))
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }

    fn peer(&self) -> StreamPeer {
        StreamPeer {
            local: self.0.local_addr().map(url).unwrap_or_default(),
            remote: self.0.peer_addr().map(url).unwrap_or_default(),
            ..StreamPeer::default()
        }
    }

    /// Not by `TCP_USER_TIMEOUT`, which also ends the connection of a peer that answers every probe, but has
    /// had no room for that long: back-pressure is no silence.
    #[cfg(target_os = "linux")]
    fn silence(&self) -> io::Result<Option<Duration>> {
        crate::sys::tcp_silence(self.0.as_fd())
    }
}

/// The URL of one end. An IPv4 peer of a dual-stack socket has an IPv4-mapped address, which becomes IPv4
/// again.
fn url(address: SocketAddr) -> String {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => format!("tcp://{ip}:{}", address.port()),
        IpAddr::V6(_) => format!("tcp://{address}"),
    }
}

/// Helpers for the tests of all stream transports. They wait with a poll, never with a clock.
#[cfg(test)]
pub(super) mod kit {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use mio::{Events, Interest, Poll, Token};

    use super::*;

    /// How long a test waits for an event that must come at once.
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

    /// Connects to `url` and accepts; returns the connecting end and the accepted end.
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
        let Target::Known(destination) = transport.target(&address(url)).unwrap() else {
            panic!("{url} is a name");
        };
        transport.connect(&address(url), &destination, &EndpointSettings::default())
    }

    pub(in crate::transport) fn accept(listener: &mut dyn Listener) -> io::Result<Box<dyn Stream>> {
        wait(listener, |listener| listener.source(), |listener| listener.accept())
    }

    pub(in crate::transport) fn establish(stream: &mut dyn Stream) -> io::Result<()> {
        wait(
            stream,
            |stream| stream.source(),
            |stream| {
                if stream.established()? { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
            },
        )
    }

    /// The bytes that one read brings; none at the end of the stream.
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

    /// Checks that a write to a peer that is gone is an error and raises no signal.
    pub(in crate::transport) fn write_to_the_dead(stream: &mut dyn Stream) {
        let raised = Arc::new(AtomicBool::new(false));
        #[cfg(unix)]
        signal_hook::flag::register(signal_hook::consts::SIGPIPE, raised.clone()).unwrap();
        // Wait until the loss is known, as an error or as the end, so that the write cannot succeed.
        let _ = read(stream);
        let error = stream.write(&[IoSlice::new(b"anybody?")]).unwrap_err();
        let gone = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
        assert!(gone.contains(&error.kind()), "{error:?}");
        assert!(!raised.load(Ordering::SeqCst), "SIGPIPE was raised");
    }

    /// Calls `attempt` after each event, until it succeeds or fails.
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

    fn target(url: &str) -> Parsed<Target> {
        Tcp.target(&address(url))
    }

    /// What is wrong with which piece: the variant's name and its values.
    fn told(error: AddressError) -> (&'static str, String, String) {
        use AddressError::*;
        match error {
            Host { host, reason, .. } => ("host", host, reason.to_owned()),
            Port { port, reason, .. } => ("port", port, reason.to_owned()),
            Zone { zone, reason, .. } => ("zone", zone, reason.to_owned()),
            Path { path, reason, .. } => ("path", path, reason.to_owned()),
            TooLong { piece, limit, .. } => ("length", piece, limit.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn assert_refused(url: &str, refused: AddressError, kind: &str, piece: &str, reason: &str) {
        let told = told(refused);
        assert_eq!((told.0, told.1.as_str(), told.2.as_str()), (kind, piece, reason), "{url}");
    }

    fn refused_bind(url: &str) -> AddressError {
        match bind(&Tcp, url) {
            Err(BindError::Address(error)) => error,
            other => panic!("{url}: {other:?}"),
        }
    }

    fn inet(remote: &str, local: Option<&str>) -> Target {
        let remote = remote.parse().unwrap();
        Target::Known(Destination::Inet {
            remote,
            local: local.map(|local| local.parse().unwrap()),
        })
    }

    fn name(host: &str, port: u16, local: Option<&str>, family: Family) -> Target {
        let local = local.map(|local| local.parse().unwrap());
        Target::Name { host: host.to_owned(), port, local, family }
    }

    fn port(url: &str) -> u16 {
        url.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// C241, C242, C247, C249, C366.
    #[test]
    fn addresses_that_cannot_be_connected_to_are_refused() {
        let long_name = format!("{}a", "abc.".repeat(64));
        let long_url = format!("tcp://{long_name}:1");
        let other_family = "the scheme does not allow addresses of this family";
        let no_v6 = "what is in the brackets is not an IPv6 address";
        let naked_v6 = "an IPv6 address must be in brackets";
        let no_ip = "what is before the ; is not an IP address";
        let no_name = "a host has no spaces and no control characters";
        let own_zone = "the local address has the zone of the host, not one of its own";
        let table = [
            ("tcp://*:5555", "host", "*", "there is no host to connect to"),
            ("tcp://:5555", "host", "", "there is no host to connect to"),
            ("tcp://*;*:5555", "host", "*", "there is no host to connect to"),
            ("tcp://127.0.0.1:0", "port", "0", "port 0 cannot be connected to"),
            ("tcp://127.0.0.1", "port", "", "there is no port"),
            ("tcp://127.0.0.1:", "port", "", "there is no port"),
            ("tcp://", "port", "", "there is no port"),
            ("tcp://[::1]", "port", "", "there is no port"),
            ("tcp://127.0.0.1:65536", "port", "65536", "the port is above 65535"),
            (
                "tcp://h:99999999999999999999",
                "port",
                "99999999999999999999",
                "the port is above 65535",
            ),
            ("tcp://127.0.0.1:abc", "port", "abc", "the port is not a number"),
            ("tcp://127.0.0.1:+80", "port", "+80", "the port is not a number"),
            ("tcp://127.0.0.1:-1", "port", "-1", "the port is not a number"),
            ("tcp://127.0.0.1: 80", "port", " 80", "the port is not a number"),
            ("tcp://a b:1", "host", "a b", no_name),
            ("tcp://a\u{a0}b:1", "host", "a\u{a0}b", no_name),
            ("tcp://a\nb:1", "host", "a\nb", no_name),
            ("tcp://a\0b:1", "host", "a\0b", no_name),
            (long_url.as_str(), "length", &long_name, "255"),
            ("tcp://a#b:1", "path", "#b:1", "a tcp address has no fragment"),
            ("tcp://127.0.0.1:80/x", "path", "/x", "a tcp address has no path"),
            ("tcp://127.0.0.1:80//", "path", "//", "a tcp address has no path"),
            ("tcp://a/b:80", "path", "/b:80", "a tcp address has no path"),
            ("tcp://127.0.0.1:80?q", "path", "?q", "a tcp address has no query"),
            ("tcp://127.0.0.1:80/?q", "path", "/?q", "a tcp address has no query"),
            ("tcp://u@127.0.0.1:80", "host", "u@127.0.0.1:80", "a tcp address has no user"),
            ("tcp://::1:80", "host", "::1:80", naked_v6),
            ("tcp://::1", "host", "::1", naked_v6),
            ("tcp://[::1", "host", "[::1", "the [ has no ]"),
            ("tcp://[::1:80", "host", "[::1:80", "the [ has no ]"),
            ("tcp://[]:80", "host", "", no_v6),
            ("tcp://[127.0.0.1]:80", "host", "127.0.0.1", no_v6),
            ("tcp://[host%eth0]:80", "host", "host%eth0", no_v6),
            ("tcp://[::1]80", "port", "80", "after the ] there must be a : and the port"),
            ("tcp://[fe80::1%]:80", "zone", "", "there is no zone behind the %"),
            ("tcp://[fe80::1%4294967296]:80", "zone", "4294967296", "the zone is above 4294967295"),
            ("tcp://[fe80::1%a b]:80", "zone", "a b", "no interface has such a name"),
            ("tcp://[fe80::1%sixteen-letters.]:80", "length", "sixteen-letters.", "15"),
            ("tcp://eth0;127.0.0.1:80", "host", "eth0", no_ip),
            ("tcp://;127.0.0.1:80", "host", "", no_ip),
            ("tcp://::1;[::1]:80", "host", "::1", naked_v6),
            ("tcp://[fe80::1%2];[fe80::2%2]:80", "zone", "2", own_zone),
            ("tcp://[fe80::1%lo];[fe80::2%lo]:80", "zone", "lo", own_zone),
            (
                "tcp://127.0.0.1;[::1]:80",
                "host",
                "[::1]",
                "the local address and the host are of different families",
            ),
            ("tcp4://[::1]:80", "host", "[::1]", other_family),
            ("tcp4://[fe80::1%lo]:80", "host", "[fe80::1%lo]", other_family),
            ("tcp6://127.0.0.1:80", "host", "127.0.0.1", other_family),
            ("tcp4://[::1];host:80", "host", "host", other_family),
        ];
        for (url, kind, piece, reason) in table {
            assert_refused(url, target(url).unwrap_err(), kind, piece, reason);
        }
    }

    /// C366.
    #[test]
    fn the_piece_that_is_wrong_stands_behind_the_reason() {
        let told = |url| target(url).unwrap_err().to_string();
        assert_eq!(told("tcp://h:x"), r#""tcp://h:x": the port is not a number: "x""#);
        assert_eq!(told("tcp://h"), r#""tcp://h": there is no port"#);
    }

    /// C242, C247, C249, C365, semantics 14.3.
    #[test]
    fn addresses_are_understood() {
        let long_name = format!("{}abc", "abc.".repeat(63));
        let long_url = format!("tcp://{long_name}:1");
        let table = [
            ("tcp://127.0.0.1:80", inet("127.0.0.1:80", None)),
            ("tcp://127.0.0.1:80/", inet("127.0.0.1:80", None)),
            ("tcp4://127.0.0.1:65535", inet("127.0.0.1:65535", None)),
            ("tcp://[::1]:80", inet("[::1]:80", None)),
            ("tcp6://[::1]:1", inet("[::1]:1", None)),
            ("tcp://[fe80::1%3]:80", inet("[fe80::1%3]:80", None)),
            ("tcp://[fe80::1%eth0]:80", name("fe80::1%eth0", 80, None, Family::V6)),
            ("tcp6://[fe80::1%br-1.2]:80", name("fe80::1%br-1.2", 80, None, Family::V6)),
            (
                "tcp://[fe80::2];[fe80::1%lo]:80",
                name("fe80::1%lo", 80, Some("fe80::2"), Family::V6),
            ),
            ("tcp://0.0.0.0:80", inet("0.0.0.0:80", None)),
            ("tcp://127.0.0.2;127.0.0.1:80", inet("127.0.0.1:80", Some("127.0.0.2"))),
            ("tcp://[::2];[::1]:80", inet("[::1]:80", Some("::2"))),
            ("tcp://*;127.0.0.1:80", inet("127.0.0.1:80", None)),
            ("tcp://*;[::1]:80", inet("[::1]:80", None)),
            ("tcp://*;a:80", name("a", 80, None, Family::Any)),
            ("tcp://my_service:80", name("my_service", 80, None, Family::Any)),
            ("tcp://host.example.:80", name("host.example.", 80, None, Family::Any)),
            ("tcp://b\u{fc}cher.example:80", name("b\u{fc}cher.example", 80, None, Family::Any)),
            ("tcp://-host:80", name("-host", 80, None, Family::Any)),
            ("tcp://a..b:80", name("a..b", 80, None, Family::Any)),
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
        let other_family = "the scheme does not allow addresses of this family";
        let table = [
            ("tcp://127.0.0.1", "port", "", "there is no port"),
            ("tcp://*", "port", "", "there is no port"),
            ("tcp://*:65536", "port", "65536", "the port is above 65535"),
            ("tcp://a b:0", "host", "a b", "a host has no spaces and no control characters"),
            (
                "tcp://127.0.0.1;127.0.0.1:0",
                "host",
                "127.0.0.1",
                "local_ip; is for connecting only",
            ),
            ("tcp://127.0.0.1:0/x", "path", "/x", "a tcp address has no path"),
            ("tcp4://[::1]:0", "host", "[::1]", other_family),
        ];
        for (url, kind, piece, reason) in table {
            assert_refused(url, refused_bind(url), kind, piece, reason);
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
        if listen_on(&SocketAddr::from((Ipv6Addr::LOCALHOST, 0)), &EndpointSettings::default())
            .is_err()
        {
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

    #[test]
    #[cfg_attr(sinew_socketpair, ignore = "Linux has no SO_NOSIGPIPE in place of the flag")]
    fn writing_to_a_reset_connection_raises_no_signal() {
        let mut listener = bind(&Tcp, "tcp://127.0.0.1:0").unwrap();
        let peer = std::net::TcpStream::connect(("127.0.0.1", port(&listener.url()))).unwrap();
        let mut stream = accept(&mut *listener).unwrap();

        SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        kit::write_to_the_dead(&mut *stream);
    }

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
            assert!(socket.keepalive().unwrap());
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_sizes_of_the_buffers_reach_both_ends() {
        let settings = EndpointSettings {
            kernel_send_buffer: Some(9000),
            kernel_recv_buffer: Some(7000),
            ..Default::default()
        };
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = listen_on(&any, &settings).unwrap();
        let socket = new_socket(&any).unwrap();
        tune(&socket, &settings).unwrap();
        for socket in [listener, socket] {
            assert_eq!(socket.send_buffer_size().unwrap(), 2 * 9000);
            assert_eq!(socket.recv_buffer_size().unwrap(), 2 * 7000);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn an_idle_connection_is_given_up_when_its_peer_was_silent_for_the_limit() {
        let socket = new_socket(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        // The limit, and what becomes of it: seconds until the first probe, between probes, and probes.
        let table = [
            (Duration::from_nanos(1), (1, 1, 1)),
            (Duration::from_millis(2500), (1, 1, 2)),
            (Duration::from_secs(10), (7, 1, 3)),
            (Duration::from_secs(75), (45, 10, 3)),
            (Duration::MAX, (19_663, 4368, 3)),
        ];
        for (limit, (idle, interval, probes)) in table {
            let settings = EndpointSettings { tcp_keepalive: Some(limit), ..Default::default() };
            tune(&socket, &settings).unwrap();
            assert!(socket.keepalive().unwrap());
            assert_eq!(
                socket.tcp_keepalive_time().unwrap(),
                Duration::from_secs(idle),
                "{limit:?}"
            );
            let between = socket.tcp_keepalive_interval().unwrap();
            assert_eq!(between, Duration::from_secs(interval), "{limit:?}");
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), probes, "{limit:?}");
        }
    }

    #[test]
    fn no_limit_is_no_probe() {
        let socket = new_socket(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let settings = EndpointSettings { tcp_keepalive: None, ..Default::default() };
        tune(&socket, &settings).unwrap();
        assert!(!socket.keepalive().unwrap());
    }
}
