//! Doors: ports at which several sockets of the process listen, each at a path of its own.
//!
//! Owns which paths are bound at which port, and the way of a connection to the listener that it is for. All listeners
//! of a door have a copy of its socket, so each accepts as long as it is there. Whichever does reads the request, within
//! the limits of its own endpoint, and passes the connection on if the request is for another: it lies at that one's
//! desk then, and a bell says so.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};

use mio::event::Source;
use mio::{Interest, Registry, Token};

use super::tcp::{self, Parts};
#[cfg(feature = "tls")]
use super::tls;
use super::ws::{Server, Side, WsStream};
use super::{Family, Listener, Stream};
use crate::options::EndpointSettings;
use crate::sync::{Arc, Mutex, OnceLock, Rank, Weak};
#[cfg(feature = "tls")]
use crate::tls::TlsConfig;

/// At most this many connections wait at a desk; more are closed.
const WAITING: usize = 128;

/// All doors of the process.
fn doors() -> &'static Mutex<Vec<Weak<Door>>> {
    static DOORS: OnceLock<Mutex<Vec<Weak<Door>>>> = OnceLock::new();
    DOORS.get_or_init(|| Mutex::new(Rank::Doors, Vec::new()))
}

/// What is between a port and its listeners. All of them have the same: who is verified at one is verified at all.
#[derive(Clone, Debug)]
pub(super) enum Cover {
    Nothing,
    #[cfg(feature = "tls")]
    Tls(TlsConfig),
}

impl Cover {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nothing, Self::Nothing) => true,
            #[cfg(feature = "tls")]
            (Self::Tls(one), Self::Tls(other)) => one.is_shared_with(other),
            #[cfg(feature = "tls")]
            _ => false,
        }
    }

    /// Puts it over an accepted stream.
    fn over(&self, inner: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Nothing => Ok(inner),
            #[cfg(feature = "tls")]
            Self::Tls(config) => tls::accepted(inner, config),
        }
    }
}

/// What a listener demands, and what its connections are told.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) scheme: String,
    /// As it is in the address: perhaps nothing.
    pub(super) path: String,
    pub(super) origins: Vec<String>,
    /// The longest message that may be received.
    pub(super) limit: u64,
}

impl Terms {
    /// What a request asks for that is for this listener.
    pub(super) fn target(&self) -> &str {
        if self.path.is_empty() { "/" } else { &self.path }
    }

    pub(super) fn is_secure(&self) -> bool {
        self.scheme.starts_with("wss")
    }
}

/// A bound port.
#[derive(Debug)]
struct Door {
    address: SocketAddr,
    cover: Cover,
    socket: TcpListener,
    desks: Arc<Desks>,
}

/// The listeners of a door, by what a request asks for.
#[derive(Debug)]
pub(super) struct Desks(Mutex<HashMap<String, Arc<Desk>>>);

/// Where connections lie that were accepted by others.
#[derive(Debug)]
pub(super) struct Desk {
    terms: Arc<Terms>,
    calls: Mutex<VecDeque<Box<WsStream>>>,
    bell: bell::Bell,
}

impl Desks {
    pub(super) fn find(&self, target: &str) -> Option<Arc<Desk>> {
        self.0.lock().get(target).map(Arc::clone)
    }
}

impl Desk {
    /// Lays down a connection for its listener.
    pub(super) fn put(&self, mut stream: WsStream) {
        stream.belong_to(&self.terms);
        let refused = {
            let mut calls = self.calls.lock();
            if calls.len() < WAITING {
                calls.push_back(Box::new(stream));
                None
            } else {
                Some(stream)
            }
        };
        drop(refused);
        self.bell.ring();
    }
}

/// Listens at the first address that this system has: at a door that is open, if its path is free, or at a new one.
pub(super) fn open(
    parts: &Parts<'_>,
    family: Family,
    terms: Terms,
    cover: &Cover,
    settings: &EndpointSettings,
) -> io::Result<WsListener> {
    let addresses = tcp::local_addresses(parts, family)?;
    let none = "the name has no address of the wanted family";
    let mut result = Err(io::Error::new(ErrorKind::AddrNotAvailable, none));
    // Held while a port is bound, so that nobody else binds it meanwhile.
    let mut doors = doors().lock();
    doors.retain(|door| door.strong_count() > 0);
    for address in addresses {
        let open = doors.iter().filter_map(Weak::upgrade).find(|door| {
            address.port() != 0 && door.address == address && door.cover.is_same(cover)
        });
        result = match open {
            Some(door) => Ok(door),
            None => Door::new(&address, cover, settings).inspect(|door| {
                doors.push(Arc::downgrade(door));
            }),
        };
        match &result {
            Err(error) if tcp::is_not_here(error) => {}
            _ => break,
        }
    }
    let door = result?;
    WsListener::new(door, parts, terms, settings)
}

impl Door {
    fn new(
        address: &SocketAddr,
        cover: &Cover,
        settings: &EndpointSettings,
    ) -> io::Result<Arc<Self>> {
        let socket: TcpListener = tcp::listen_on(address, settings)?.into();
        let desks = Arc::new(Desks(Mutex::new(Rank::Desks, HashMap::new())));
        let (address, cover) = (socket.local_addr()?, cover.clone());
        Ok(Arc::new(Self { address, cover, socket, desks }))
    }
}

/// A listener at a door.
#[derive(Debug)]
pub(super) struct WsListener {
    url: String,
    both: Both,
    desk: Arc<Desk>,
    desks: Arc<Desks>,
    cover: Cover,
    /// Until it is dropped.
    door: Option<Arc<Door>>,
}

/// The two sources that are watched for a listener.
#[derive(Debug)]
struct Both {
    tcp: tcp::TcpListener,
    bell: bell::Ear,
}

impl WsListener {
    fn new(
        door: Arc<Door>,
        parts: &Parts<'_>,
        terms: Terms,
        settings: &EndpointSettings,
    ) -> io::Result<Self> {
        let tcp =
            tcp::TcpListener::new(door.socket.try_clone()?.into(), parts, &terms.scheme, settings)?;
        let place =
            tcp.url().split_once("://").map_or(String::new(), |(_, place)| place.to_owned());
        let url = format!("{}://{place}{}", terms.scheme, terms.path);
        let (ear, bell) = bell::new()?;
        let target = terms.target().to_owned();
        let calls = Mutex::new(Rank::Desk, VecDeque::new());
        let desk = Arc::new(Desk { terms: Arc::new(terms), calls, bell });
        {
            let mut desks = door.desks.0.lock();
            if desks.contains_key(&target) {
                return Err(ErrorKind::AddrInUse.into());
            }
            desks.insert(target, Arc::clone(&desk));
        }
        let (both, desks) = (Both { tcp, bell: ear }, Arc::clone(&door.desks));
        let cover = door.cover.clone();
        Ok(Self { url, both, desk, desks, cover, door: Some(door) })
    }

    fn next_call(&self) -> Option<Box<WsStream>> {
        self.desk.calls.lock().pop_front()
    }
}

impl Drop for WsListener {
    fn drop(&mut self) {
        let gone = self.desks.0.lock().remove(self.desk.terms.target());
        // Those that waited are closed with no lock held.
        let waiting = std::mem::take(&mut *self.desk.calls.lock());
        drop((gone, waiting));
        // Nobody who looks for a door has it in hand at this moment, so that the port is free when this returns.
        let _doors = doors().lock();
        self.door = None;
    }
}

impl Listener for WsListener {
    fn source(&mut self) -> &mut dyn Source {
        &mut self.both
    }

    /// Looks once more after it has silenced the bell: a connection may have come between.
    fn accept(&self) -> io::Result<Box<dyn Stream>> {
        let mut call = self.next_call();
        if call.is_none() && self.both.bell.silence()? {
            call = self.next_call();
        }
        if let Some(call) = call {
            return Ok(call);
        }
        let inner = self.cover.over(self.both.tcp.accept()?)?;
        let terms = &self.desk.terms;
        let server = Server { terms: Arc::clone(terms), desks: Arc::clone(&self.desks) };
        Ok(Box::new(WsStream::new(inner, Side::Server(server), terms.limit)))
    }

    fn url(&self) -> String {
        self.url.clone()
    }
}

impl Source for Both {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.tcp.source().register(registry, token, interests)?;
        self.bell.source().register(registry, token, interests)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.tcp.source().reregister(registry, token, interests)?;
        self.bell.source().reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        let tcp = self.tcp.source().deregister(registry);
        self.bell.source().deregister(registry).and(tcp)
    }
}

/// What a desk rings: a pair of connected sockets, which a poll can watch.
mod bell {
    use std::io::{self, ErrorKind, Read, Write};

    use mio::event::Source;

    #[cfg(unix)]
    type Socket = mio::net::UnixStream;
    #[cfg(not(unix))]
    type Socket = mio::net::TcpStream;

    #[derive(Debug)]
    pub(super) struct Bell(Socket);

    #[derive(Debug)]
    pub(super) struct Ear(Socket);

    pub(super) fn new() -> io::Result<(Ear, Bell)> {
        let (ear, bell) = pair()?;
        Ok((Ear(ear), Bell(bell)))
    }

    #[cfg(unix)]
    fn pair() -> io::Result<(Socket, Socket)> {
        Socket::pair()
    }

    #[cfg(not(unix))]
    fn pair() -> io::Result<(Socket, Socket)> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let one = std::net::TcpStream::connect(listener.local_addr()?)?;
        let (other, from) = listener.accept()?;
        if from != one.local_addr()? {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        for end in [&one, &other] {
            end.set_nonblocking(true)?;
        }
        Ok((Socket::from_std(one), Socket::from_std(other)))
    }

    impl Bell {
        /// One that takes no more has been ringing all the time: nobody misses this ring.
        pub(super) fn ring(&self) {
            let _ = (&self.0).write(&[1]);
        }
    }

    impl Ear {
        pub(super) fn source(&mut self) -> &mut dyn Source {
            &mut self.0
        }

        /// Reads until there is nothing more: only after that is the next ring reported. Says whether it rang.
        pub(super) fn silence(&self) -> io::Result<bool> {
            let (mut rings, mut rang) = ([0; 64], false);
            loop {
                match (&self.0).read(&mut rings) {
                    Ok(0) => return Ok(rang),
                    Ok(_) => rang = true,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(rang),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}
