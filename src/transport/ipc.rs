//! ipc: streams between processes of one host, over Unix domain sockets.
//!
//! Owns the meaning of `ipc://path` (and its alias `unix://path`), and the socket file: a bind makes it,
//! or takes over one whose owner has died, and the listener removes it when it is dropped. The rules are
//! in `docs/spec/semantics.md`, section 14.4. The first is: remove a file only if it is known to be
//! ours, or to be a socket that nobody listens on.
//!
//! A relative path is made absolute in the call, so it keeps its meaning when the working directory
//! changes. We never ask for descriptors that a peer sends along, so the kernel closes them.

use std::fs::{self, Metadata, OpenOptions, Permissions};
use std::io::{self, IoSlice, Read};
use std::net::Shutdown;
#[cfg(target_os = "android")]
use std::os::android::net::SocketAddrExt;
use std::os::fd::{AsRawFd, OwnedFd};
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{self, Path, PathBuf};
use std::thread;
use std::time::Duration;

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

#[cfg(any(target_os = "linux", target_os = "android"))]
use super::abstracts;
use super::tcp::size_buffers;
use super::{
    BoundFile, Destination, Ipc, Listener, PeerCredentials, Stream, StreamPeer, StreamTransport,
    Target, send,
};
use crate::address::Address;
use crate::error::{AddressError, BindError};
use crate::options::EndpointSettings;
use crate::sys;
use crate::wire::Framing;

/// How many connections may wait to be accepted: as many as for tcp.
pub(super) const BACKLOG: i32 = 1024;

/// How many bytes a path may have: the size of `sun_path` less the zero at its end. That is 108 on Linux, and 104 on
/// Apple and the BSDs. Solaris has 108 as well, and is given the smaller bound; `--cfg sinew_socketpair` selects the latter on Linux, for tests.
#[cfg(all(any(target_os = "linux", target_os = "android"), not(sinew_socketpair)))]
const PATH_MAX: usize = 107;
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(sinew_socketpair))))]
const PATH_MAX: usize = 103;

impl StreamTransport for Ipc {
    fn schemes(&self) -> &[&str] {
        &["ipc", "unix"]
    }

    fn framing(&self) -> Framing {
        Framing::TypeAndLength
    }

    /// Binds, and takes over the file of an owner that has died.
    ///
    /// Of several that bind one path in the same instant one wins, since they do it one after the other (see
    /// `Turn`). Where they cannot, two may believe that they have won: one of them asks after the other has bound but
    /// before it listens, and removes the file after the other has listened and made sure that the file is still
    /// there. The listener whose file was removed lives on, and nobody can connect to it.
    fn bind(
        &self,
        address: &Address,
        settings: &EndpointSettings,
    ) -> Result<Box<dyn Listener>, BindError> {
        let path = path_to_bind(address)?;
        let turn = Turn::take(&path);
        let (socket, file) = match listen(&path, settings) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(&path).and_then(|()| listen(&path, settings))
            }
            done => done,
        }
        .map_err(|error| BindError::from_io(address.url(), error))?;
        drop(turn);
        let url = address.url().to_owned();
        Ok(Box::new(IpcListener::new(socket.into(), Some(file), url, settings)))
    }

    fn target(&self, address: &Address) -> Result<Target, AddressError> {
        locate(address).map(Destination::Path).map(Target::Known)
    }

    /// Begins a connection. `WouldBlock` means that too many others wait to be accepted there.
    fn connect(
        &self,
        _: &Address,
        destination: &Destination,
        settings: &EndpointSettings,
    ) -> io::Result<Box<dyn Stream>> {
        match destination {
            Destination::Path(path) => {
                let stream = connect(path)?;
                size_buffers(&SockRef::from(&stream), settings)?;
                Ok(Box::new(IpcStream(stream)))
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a path")),
        }
    }
}

/// The path of an address, if a socket can have it.
fn parse(address: &Address) -> Result<&Path, AddressError> {
    match address.after_scheme() {
        "" => Err(address.bad_path("", "there is no path")),
        path if path.contains('\0') => Err(address.bad_path(path, "the path has a zero byte")),
        path if path.len() > PATH_MAX => Err(address.too_long(path, PATH_MAX)),
        path => Ok(Path::new(path)),
    }
}

/// The path of an address, made absolute.
///
/// A relative path stays as it is when the working directory has no path because it was removed.
fn locate(address: &Address) -> Result<PathBuf, AddressError> {
    let given = parse(address)?;
    let path = path::absolute(given).unwrap_or_else(|_| given.to_owned());
    if path.as_os_str().len() <= PATH_MAX || OPEN_DIRECTORY.is_some() {
        Ok(path)
    } else {
        Err(address.too_long(&path.to_string_lossy(), PATH_MAX))
    }
}

/// The path to bind: absolute, so that the one that peers are told makes sense to them, unless only the
/// given path is short enough.
fn path_to_bind(address: &Address) -> Result<PathBuf, AddressError> {
    let path = locate(address)?;
    Ok(if path.as_os_str().len() <= PATH_MAX { path } else { parse(address)?.to_owned() })
}

/// The flags that open a directory only to name it, where `/proc` has a short path for everything that is
/// open. Through it a file in the directory has a short path too, however long its own is. On other systems a
/// relative path must fit when it is made absolute.
#[cfg(all(any(target_os = "linux", target_os = "android"), not(sinew_socketpair)))]
const OPEN_DIRECTORY: Option<i32> = Some(libc::O_PATH | libc::O_DIRECTORY);
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(sinew_socketpair))))]
const OPEN_DIRECTORY: Option<i32> = None;

/// Connects to an absolute path of any length.
fn connect(path: &Path) -> io::Result<mio::net::UnixStream> {
    let is_long = path.as_os_str().len() > PATH_MAX;
    let (true, Some(flags), Some(dir), Some(name)) =
        (is_long, OPEN_DIRECTORY, path.parent(), path.file_name())
    else {
        return mio::net::UnixStream::connect(path);
    };
    let dir = OpenOptions::new().read(true).custom_flags(flags).open(dir)?;
    let short = format!("/proc/self/fd/{}", dir.as_raw_fd());
    mio::net::UnixStream::connect(Path::new(&short).join(name))
}

/// A turn to bind in a directory: others who take theirs wait. It is a lock on the directory, which leaves no file behind.
struct Turn {
    /// What is locked. `None`: the lock could not be had.
    directory: Option<fs::File>,
}

impl Turn {
    /// Waits for a turn to bind at this path. Goes without one if the directory may not be read, if its file system
    /// has no locks, or if somebody keeps the lock for much longer than it takes to bind.
    fn take(path: &Path) -> Self {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let Ok(directory) = fs::File::open(directory.unwrap_or(Path::new("."))) else {
            return Self { directory: None };
        };
        for _ in 0..TURNS {
            match sys::try_lock(&directory) {
                Ok(true) => return Self { directory: Some(directory) },
                Ok(false) => thread::sleep(BETWEEN_TURNS),
                Err(_) => break,
            }
        }
        Self { directory: None }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.directory.iter().for_each(sys::unlock);
    }
}

/// How often to ask for a turn, and how long to wait after each time: about half a second in all, so that who keeps
/// a lock on a shared directory cannot hold up a bind for longer.
const TURNS: u32 = 500;
const BETWEEN_TURNS: Duration = Duration::from_millis(1);

/// Binds and listens. Leaves no file behind when it fails.
fn listen(path: &Path, settings: &EndpointSettings) -> io::Result<(Socket, SocketFile)> {
    let (socket, file) = bind(path, settings)?;
    socket.listen(BACKLOG)?;
    // Another process that took us for dead before we listened has removed the file by now; one that
    // asks later finds us alive.
    if file.bound.is_there() { Ok((socket, file)) } else { Err(in_use()) }
}

/// Makes the socket file and gives it its final permissions, before the socket listens.
///
/// That nobody can connect before it listens is not enough: the kernel looks at the permissions first, and then whether
/// anybody listens, and in between all of this may happen. So the file never has more permissions than it is to have.
fn bind(path: &Path, settings: &EndpointSettings) -> io::Result<(Socket, SocketFile)> {
    let absolute = path::absolute(path)?;
    let has_group = settings.ipc_group.is_some();
    let first = settings.ipc_mode.map(|mode| if has_group { mode & OWNER_ONLY } else { mode });
    let socket = bound_to(&SockAddr::unix(path)?, first)?;
    let file = SocketFile::just_made(&absolute)?;
    if has_group {
        lchown(file.bound.path(), None, settings.ipc_group)?;
    }
    if let Some(mode) = settings.ipc_mode {
        fs::set_permissions(file.bound.path(), Permissions::from_mode(mode))?;
    }
    // Last: who has given a file away may not change it any more.
    if settings.ipc_owner.is_some() {
        lchown(file.bound.path(), settings.ipc_owner, None)?;
    }
    Ok((socket, file))
}

/// The permission bits of a file's owner.
const OWNER_ONLY: u32 = 0o700;

/// A socket at this address, which does not listen yet. Its file is made with no more than these permission bits, on
/// Linux: other systems do not let them be set before there is a file.
pub(super) fn bound_to(address: &SockAddr, mode: Option<u32>) -> io::Result<Socket> {
    let mut socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    if let Some(mode) = mode {
        // By way of a file, by which std changes the permissions of a descriptor.
        let file = fs::File::from(OwnedFd::from(socket));
        let _only_on_linux = file.set_permissions(Permissions::from_mode(mode));
        socket = Socket::from(OwnedFd::from(file));
    }
    socket.set_nonblocking(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Removes the socket file of an owner that has died. Everything else is an address in use: a listener that
/// answers, one that is too busy to answer, one that we may not ask, and a file that is not a socket.
fn remove_stale(path: &Path) -> io::Result<()> {
    let before = match fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        _ => return Err(in_use()),
    };
    if !is_dead(path) || !fs::symlink_metadata(path).is_ok_and(|now| is_untouched(&before, &now)) {
        return Err(in_use());
    }
    remove(path)?;
    let path = path.display();
    crate::contain::record!(
        Debug,
        { endpoint: format_args!("ipc://{path}") },
        "removed {path}: a socket that nobody listened on"
    );
    Ok(())
}

/// Whether nobody listens on the socket file.
fn is_dead(path: &Path) -> bool {
    refuses_each_time(|| connect(path).map(drop))
}

/// Whether all of [`QUESTIONS`] attempts to connect are refused.
fn refuses_each_time(mut connect: impl FnMut() -> io::Result<()>) -> bool {
    (0..QUESTIONS).all(|asked| {
        if asked > 0 {
            thread::sleep(BETWEEN_QUESTIONS);
        }
        connect().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    })
}

/// How often a listener must refuse to count as dead. On macOS and the BSDs one that lives refuses as well while
/// its queue is full, which Linux has as another error.
#[cfg(all(any(target_os = "linux", target_os = "android"), not(sinew_socketpair)))]
const QUESTIONS: u32 = 1;
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(sinew_socketpair))))]
const QUESTIONS: u32 = 5;
/// How long it has to take in those who wait.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(20);

fn in_use() -> io::Error {
    io::ErrorKind::AddrInUse.into()
}

/// Whether both are the same file, unchanged. Device and inode do not suffice here: when the file of a dead
/// owner is removed, its inode number is free for the next file.
fn is_untouched(before: &Metadata, now: &Metadata) -> bool {
    let identity = |file: &Metadata| (file.dev(), file.ino(), file.ctime(), file.ctime_nsec());
    identity(before) == identity(now)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// The file of a bound socket. Removes the file when it is dropped, unless another file is at the path.
///
/// Drop it before the socket: while that is open, the kernel gives the inode number to no other file.
#[derive(Debug)]
struct SocketFile {
    bound: BoundFile,
    /// The process that made the file: a forked child must not remove the file of its parent, and nobody that of a
    /// listener that was given to it.
    maker: Option<u32>,
}

impl SocketFile {
    fn just_made(path: &Path) -> io::Result<Self> {
        let bound = match BoundFile::at(path) {
            // Another process has taken us for dead already; see `listen`.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(in_use()),
            found => found?,
        };
        Ok(Self { bound, maker: Some(std::process::id()) })
    }

    /// The file of a listener that another has made, if it is there.
    fn of_another(path: &Path) -> Option<Self> {
        Some(Self { bound: BoundFile::at(path).ok()?, maker: None })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.maker != Some(std::process::id()) || !self.bound.is_there() {
            return;
        }
        if let Err(error) = remove(self.bound.path()) {
            let path = self.bound.path().display();
            crate::contain::record!(
                Warn,
                { endpoint: format_args!("ipc://{path}"), reason: error },
                "cannot remove {path}: {error}"
            );
        }
    }
}

/// A listening Unix domain socket.
#[derive(Debug)]
pub(super) struct IpcListener {
    /// The first field, because fields are dropped in this order; see [`SocketFile`].
    file: Option<SocketFile>,
    inner: mio::net::UnixListener,
    url: String,
    settings: EndpointSettings,
}

impl IpcListener {
    /// A listener over a socket that listens, and does not block.
    fn new(
        socket: UnixListener,
        file: Option<SocketFile>,
        url: String,
        settings: &EndpointSettings,
    ) -> Self {
        let (inner, settings) = (mio::net::UnixListener::from_std(socket), settings.clone());
        Self { file, inner, url, settings }
    }

    /// A listener without a file.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn without_file(
        socket: UnixListener,
        url: String,
        settings: &EndpointSettings,
    ) -> Self {
        Self::new(socket, None, url, settings)
    }

    /// A listener over a socket that another has made, whose file stays when it is dropped.
    pub(super) fn over(socket: UnixListener, settings: &EndpointSettings) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let file = address.as_pathname().and_then(SocketFile::of_another);
        Ok(Self::new(socket, file, url(&address), settings))
    }
}

impl Listener for IpcListener {
    fn source(&mut self) -> &mut dyn Source {
        &mut self.inner
    }

    fn accept(&self) -> io::Result<Box<dyn Stream>> {
        let (stream, _) = self.inner.accept()?;
        let socket = SockRef::from(&stream);
        #[cfg(target_vendor = "apple")]
        let _ = socket.set_nosigpipe(true);
        super::record_failed_options(&self.url, size_buffers(&socket, &self.settings));
        Ok(Box::new(IpcStream(stream)))
    }

    /// The URL as the program gave it, so a relative path stays relative.
    fn url(&self) -> String {
        self.url.clone()
    }

    fn file(&self) -> Option<BoundFile> {
        self.file.as_ref().map(|file| file.bound.clone())
    }
}

/// A connection over a Unix domain socket.
#[derive(Debug)]
pub(super) struct IpcStream(pub(super) mio::net::UnixStream);

impl IpcStream {
    /// A connection that is there already, and the address of the end of it that has one.
    pub(super) fn over(
        stream: UnixStream,
        settings: &EndpointSettings,
    ) -> io::Result<(Self, String)> {
        stream.set_nonblocking(true)?;
        // Fails if it is not connected.
        let remote = stream.peer_addr()?;
        #[cfg(target_vendor = "apple")]
        SockRef::from(&stream).set_nosigpipe(true)?;
        size_buffers(&SockRef::from(&stream), settings)?;
        let local = url(&stream.local_addr()?);
        let named = if local.is_empty() { url(&remote) } else { local };
        Ok((Self(mio::net::UnixStream::from_std(stream)), named))
    }
}

impl Stream for IpcStream {
    fn source(&mut self) -> &mut dyn Source {
        &mut self.0
    }

    fn reregister(
        &self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<bool> {
        registry.reregister(&mut SourceFd(&self.0.as_raw_fd()), token, interests)?;
        Ok(true)
    }

    fn established(&self) -> io::Result<bool> {
        if let Some(error) = self.0.take_error()? {
            return Err(error);
        }
        match self.0.peer_addr() {
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
        send(&SockRef::from(&self.0), slices)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }

    fn peer(&self) -> StreamPeer {
        StreamPeer {
            local: self.0.local_addr().map(|end| url(&end)).unwrap_or_default(),
            remote: self.0.peer_addr().map(|end| url(&end)).unwrap_or_default(),
            credentials: credentials(&self.0),
            ..StreamPeer::default()
        }
    }
}

/// The URL of one end; empty for an end without a name, such as the connecting one.
fn url(address: &SocketAddr) -> String {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(name) = address.as_abstract_name() {
        return abstracts::url(name);
    }
    address.as_pathname().map(|path| format!("ipc://{}", path.display())).unwrap_or_default()
}

/// The process that connected, or that listens.
#[cfg(all(any(target_os = "linux", target_os = "android"), not(sinew_socketpair)))]
fn credentials(stream: &mio::net::UnixStream) -> Option<PeerCredentials> {
    let peer =
        nix::sys::socket::getsockopt(stream, nix::sys::socket::sockopt::PeerCredentials).ok()?;
    // A peer in a pid namespace that ours cannot see has pid 0.
    let pid = u32::try_from(peer.pid()).ok().filter(|&pid| pid != 0);
    Some(PeerCredentials { pid, uid: peer.uid(), gid: peer.gid() })
}

/// The same on macOS and the BSDs, of which only macOS tells the process.
#[cfg(any(
    target_os = "dragonfly",
    target_os = "freebsd",
    target_os = "macos",
    target_os = "netbsd",
    target_os = "openbsd"
))]
fn credentials(stream: &mio::net::UnixStream) -> Option<PeerCredentials> {
    let (uid, gid) = nix::unistd::getpeereid(stream).ok()?;
    #[cfg(target_os = "macos")]
    let pid = nix::sys::socket::getsockopt(stream, nix::sys::socket::sockopt::LocalPeerPid).ok();
    #[cfg(not(target_os = "macos"))]
    let pid: Option<i32> = None;
    let pid = pid.and_then(|pid| u32::try_from(pid).ok()).filter(|&pid| pid != 0);
    Some(PeerCredentials { pid, uid: uid.as_raw(), gid: gid.as_raw() })
}

/// Nothing: there is no safe way to ask on this system, or `--cfg sinew_socketpair` plays one.
#[cfg(not(any(
    all(any(target_os = "linux", target_os = "android"), not(sinew_socketpair)),
    target_os = "dragonfly",
    target_os = "freebsd",
    target_os = "macos",
    target_os = "netbsd",
    target_os = "openbsd"
)))]
fn credentials(_: &mio::net::UnixStream) -> Option<PeerCredentials> {
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::tcp::kit::{
        self, accept, address, connect, establish, exchange, join, write_to_the_dead,
    };
    use super::*;

    /// A directory of its own for a test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Self {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("sinew-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        fn url(&self, name: &str) -> String {
            url_of(&self.path(name))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn url_of(path: &Path) -> String {
        format!("ipc://{}", path.display())
    }

    fn bind_to(url: &str) -> Result<Box<dyn Listener>, BindError> {
        kit::bind(&Ipc, url)
    }

    fn assert_in_use(url: &str) {
        let result = bind_to(url);
        assert!(matches!(result, Err(BindError::AddressInUse { .. })), "{url}: {result:?}");
    }

    fn is_there(path: &Path) -> bool {
        path.symlink_metadata().is_ok()
    }

    /// A path from the working directory to `path`.
    fn relative(path: &Path) -> PathBuf {
        let depth = std::env::current_dir().unwrap().components().count() - 1;
        PathBuf::from("../".repeat(depth)).join(path.strip_prefix("/").unwrap())
    }

    #[test]
    fn addresses_without_a_usable_path_are_refused() {
        let table = [
            ("ipc://", "", "there is no path"),
            ("ipc://a\0b", "a\0b", "the path has a zero byte"),
        ];
        for (url, path, reason) in table {
            let expected = address(url).bad_path(path, reason);
            assert_eq!(Ipc.target(&address(url)), Err(expected.clone()));
            let bound = bind_to(url);
            assert!(matches!(&bound, Err(BindError::Address(error)) if *error == expected));
        }
    }

    /// C261.
    #[test]
    fn a_path_may_be_as_long_as_the_system_allows() {
        let scratch = Scratch::new();
        let rest = PATH_MAX - scratch.path("").as_os_str().len();
        let url = scratch.url(&"x".repeat(rest));
        let mut listener = bind_to(&url).unwrap();
        let (mut near, mut far) = join(&Ipc, &mut *listener, &url);
        exchange(&mut *near, &mut *far);

        let longer = scratch.url(&"x".repeat(rest + 1));
        let expected = address(&longer).too_long(address(&longer).after_scheme(), PATH_MAX);
        assert_eq!(Ipc.target(&address(&longer)), Err(expected.clone()));
        let bound = bind_to(&longer);
        assert!(matches!(bound, Err(BindError::Address(error)) if error == expected));
    }

    /// C256, C273.
    #[test]
    fn two_ends_exchange_bytes() {
        let scratch = Scratch::new();
        let url = scratch.url("s").replace("ipc", "unix");
        let mut listener = bind_to(&url).unwrap();
        assert_eq!(listener.url(), url);
        let (mut near, mut far) = join(&Ipc, &mut *listener, &url);
        exchange(&mut *near, &mut *far);
    }

    /// C256.
    #[test]
    fn a_path_may_be_relative() {
        let scratch = Scratch::new();
        let path = scratch.path("s");
        let url = url_of(&relative(&path));
        let mut listener = bind_to(&url).unwrap();
        let (mut near, mut far) = join(&Ipc, &mut *listener, &url);
        exchange(&mut *near, &mut *far);

        drop(listener);
        assert!(!is_there(&path));
    }

    /// What a change of the working directory must not break.
    #[test]
    fn the_file_is_remembered_by_its_absolute_path() {
        let scratch = Scratch::new();
        let (_socket, file) =
            bind(&relative(&scratch.path("s")), &EndpointSettings::default()).unwrap();
        assert!(file.bound.path().is_absolute());
    }

    /// C257, and accepted connections survive.
    #[test]
    fn the_file_is_there_while_bound() {
        let scratch = Scratch::new();
        let (path, url) = (scratch.path("s"), scratch.url("s"));
        let mut listener = bind_to(&url).unwrap();
        assert!(path.symlink_metadata().unwrap().file_type().is_socket());

        let (mut near, mut far) = join(&Ipc, &mut *listener, &url);
        drop(listener);
        assert!(!is_there(&path));
        exchange(&mut *near, &mut *far);
    }

    /// C245.
    #[test]
    fn a_closed_address_is_free_at_once() {
        let scratch = Scratch::new();
        let url = scratch.url("s");
        let mut connections = Vec::new();
        for _ in 0..20 {
            let mut listener = bind_to(&url).unwrap();
            connections.push(join(&Ipc, &mut *listener, &url));
        }
    }

    #[test]
    fn a_listener_counts_as_dead_if_it_has_refused_each_time() {
        for (answers_at, expected) in [(None, true), (Some(QUESTIONS), false), (Some(1), false)] {
            let mut asked = 0;
            let is_dead = refuses_each_time(|| {
                asked += 1;
                if Some(asked) == answers_at {
                    Ok(())
                } else {
                    Err(io::ErrorKind::ConnectionRefused.into())
                }
            });
            assert_eq!((is_dead, asked), (expected, answers_at.unwrap_or(QUESTIONS)));
        }
    }

    /// C258.
    #[test]
    fn the_file_of_a_dead_owner_is_taken_over() {
        let scratch = Scratch::new();
        // std leaves the file behind, as a killed process does.
        drop(UnixListener::bind(scratch.path("s")).unwrap());
        assert!(is_there(&scratch.path("s")));

        let url = scratch.url("s");
        let mut listener = bind_to(&url).unwrap();
        let (mut near, mut far) = join(&Ipc, &mut *listener, &url);
        exchange(&mut *near, &mut *far);
    }

    /// C259, C244.
    #[test]
    fn a_live_listener_is_left_alone() {
        let scratch = Scratch::new();
        let url = scratch.url("s");
        let mut listener = bind_to(&url).unwrap();
        assert_in_use(&url);

        // The first to come is the one who asked whether anybody is there.
        let mut asker = accept(&mut *listener).unwrap();
        assert_eq!(kit::read(&mut *asker).unwrap(), b"");
        let (mut near, mut far) = join(&Ipc, &mut *listener, &url);
        exchange(&mut *near, &mut *far);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_listener_too_busy_to_answer_is_left_alone() {
        let scratch = Scratch::new();
        let busy = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        busy.bind(&SockAddr::unix(scratch.path("s")).unwrap()).unwrap();
        busy.listen(0).unwrap();
        let url = scratch.url("s");
        let _waiting = connect(&Ipc, &url).unwrap();

        let refused = connect(&Ipc, &url).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        assert_in_use(&url);
        assert!(is_there(&scratch.path("s")));
    }

    /// C260.
    #[test]
    fn a_plain_file_is_left_alone() {
        let scratch = Scratch::new();
        fs::write(scratch.path("s"), "precious").unwrap();
        assert_in_use(&scratch.url("s"));
        assert_eq!(fs::read(scratch.path("s")).unwrap(), b"precious");
    }

    #[test]
    fn directories_and_links_are_left_alone() {
        let scratch = Scratch::new();
        fs::create_dir(scratch.path("directory")).unwrap();
        drop(UnixListener::bind(scratch.path("stale")).unwrap());
        fs::write(scratch.path("file"), "precious").unwrap();
        symlink(scratch.path("stale"), scratch.path("to-stale")).unwrap();
        symlink(scratch.path("file"), scratch.path("to-file")).unwrap();
        symlink(scratch.path("nowhere"), scratch.path("dangling")).unwrap();

        for name in ["directory", "to-stale", "to-file", "dangling"] {
            assert_in_use(&scratch.url(name));
        }
        for name in ["directory", "stale", "file", "to-stale", "to-file", "dangling"] {
            assert!(is_there(&scratch.path(name)), "{name}");
        }
        assert!(!is_there(&scratch.path("nowhere")));
        assert_eq!(fs::read(scratch.path("file")).unwrap(), b"precious");
    }

    #[test]
    fn a_file_that_took_our_place_survives() {
        let scratch = Scratch::new();
        let path = scratch.path("s");
        let listener = bind_to(&scratch.url("s")).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();

        drop(listener);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_listener_that_took_our_place_survives() {
        let scratch = Scratch::new();
        let (path, url) = (scratch.path("s"), scratch.url("s"));
        let listener = bind_to(&url).unwrap();
        fs::remove_file(&path).unwrap();
        let mut other = bind_to(&url).unwrap();

        drop(listener);
        let (mut near, mut far) = join(&Ipc, &mut *other, &url);
        exchange(&mut *near, &mut *far);
    }

    #[test]
    fn a_file_that_is_gone_already_is_no_trouble() {
        let scratch = Scratch::new();
        let listener = bind_to(&scratch.url("s")).unwrap();
        fs::remove_file(scratch.path("s")).unwrap();
        drop(listener);
    }

    #[test]
    fn a_forked_child_leaves_the_file_to_its_parent() {
        let scratch = Scratch::new();
        let (_socket, mut file) = bind(&scratch.path("s"), &EndpointSettings::default()).unwrap();
        file.maker = file.maker.map(|process| process + 1);
        drop(file);
        assert!(is_there(&scratch.path("s")));
    }

    /// C263.
    #[test]
    fn the_mode_is_in_force_before_anybody_can_connect() {
        let scratch = Scratch::new();
        let settings = EndpointSettings { ipc_mode: Some(0o600), ..Default::default() };
        let (socket, _file) = bind(&scratch.path("s"), &settings).unwrap();

        let mode = scratch.path("s").symlink_metadata().unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        let early = connect(&Ipc, &scratch.url("s")).unwrap_err();
        assert_eq!(early.kind(), io::ErrorKind::ConnectionRefused);

        socket.listen(BACKLOG).unwrap();
        assert!(connect(&Ipc, &scratch.url("s")).is_ok());
    }

    /// C263.
    #[test]
    fn a_listener_has_the_mode_asked_for() {
        let scratch = Scratch::new();
        for mode in [0o600, 0o666, 0o000] {
            let settings = EndpointSettings { ipc_mode: Some(mode), ..Default::default() };
            let _listener = Ipc.bind(&address(&scratch.url("s")), &settings).unwrap();
            let file = scratch.path("s").symlink_metadata().unwrap();
            assert_eq!(file.mode() & 0o777, mode);
        }
    }

    /// C611.
    #[test]
    fn a_listener_has_the_owner_and_the_group_asked_for() {
        let scratch = Scratch::new();
        let own = fs::metadata(scratch.path("")).unwrap();
        let may_give_away = own.uid() == 0;
        let others = if may_give_away { (12_345, 54_321) } else { (own.uid(), own.gid()) };
        let settings = EndpointSettings {
            ipc_mode: Some(0o660),
            ipc_owner: Some(others.0),
            ipc_group: Some(others.1),
            ..Default::default()
        };
        let listener = Ipc.bind(&address(&scratch.url("s")), &settings).unwrap();
        let file = scratch.path("s").symlink_metadata().unwrap();
        assert_eq!((file.uid(), file.gid(), file.mode() & 0o777), (others.0, others.1, 0o660));
        drop(listener);
        assert!(!is_there(&scratch.path("s")));
    }

    /// C611: a bind that may not give the file away leaves nothing behind.
    #[test]
    fn an_owner_that_may_not_be_set_is_an_error() {
        let scratch = Scratch::new();
        if fs::metadata(scratch.path("")).unwrap().uid() == 0 {
            eprintln!("SKIPPED: root may give files away");
            return;
        }
        let settings = EndpointSettings { ipc_owner: Some(0), ..Default::default() };
        let refused = Ipc.bind(&address(&scratch.url("s")), &settings);
        assert!(matches!(refused, Err(BindError::PermissionDenied { .. })), "{refused:?}");
        assert!(!is_there(&scratch.path("s")));
    }

    #[test]
    fn a_bind_that_gets_no_further_leaves_nothing() {
        let scratch = Scratch::new();
        let (socket, file) = bind(&scratch.path("s"), &EndpointSettings::default()).unwrap();
        drop((file, socket));
        assert!(!is_there(&scratch.path("s")));
    }

    /// The file was taken away between bind and listen.
    #[test]
    fn a_file_that_is_replaced_is_not_ours() {
        let scratch = Scratch::new();
        let (_socket, file) = bind(&scratch.path("s"), &EndpointSettings::default()).unwrap();
        assert!(file.bound.is_there());
        fs::remove_file(scratch.path("s")).unwrap();
        let _other = bind_to(&scratch.url("s")).unwrap();
        assert!(!file.bound.is_there());
    }

    /// C265.
    #[test]
    fn a_missing_directory_is_an_error() {
        let scratch = Scratch::new();
        let error = bind_to(&scratch.url("missing/s")).unwrap_err();
        let BindError::Io { source, .. } = error else { panic!("{error:?}") };
        assert_eq!(source.kind(), io::ErrorKind::NotFound);
        assert!(!is_there(&scratch.path("missing")));
    }

    /// C250, C262.
    #[test]
    fn nobody_there_is_told_apart_from_no_file() {
        let scratch = Scratch::new();
        let missing = connect(&Ipc, &scratch.url("missing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);

        drop(UnixListener::bind(scratch.path("stale")).unwrap());
        let refused = connect(&Ipc, &scratch.url("stale")).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    /// C264.
    #[test]
    fn the_accepted_end_knows_the_path_and_both_know_the_process() {
        let scratch = Scratch::new();
        let url = scratch.url("s");
        let mut listener = bind_to(&url).unwrap();
        let (near, far) = join(&Ipc, &mut *listener, &url);

        assert_eq!((near.peer().local.as_str(), near.peer().remote.as_str()), ("", url.as_str()));
        assert_eq!((far.peer().local.as_str(), far.peer().remote.as_str()), (url.as_str(), ""));
        let known = cfg!(any(target_os = "linux", target_os = "android"));
        if !known || cfg!(sinew_socketpair) {
            eprintln!("SKIPPED: credentials, or the process, are not known on this system");
            return;
        }
        let own = fs::metadata(scratch.path("s")).unwrap();
        for end in [near, far] {
            let peer = end.peer().credentials.unwrap();
            assert_eq!(peer.pid, Some(std::process::id()));
            assert_eq!((peer.uid, peer.gid), (own.uid(), own.gid()));
        }
    }

    #[test]
    #[cfg_attr(sinew_socketpair, ignore = "Linux has no SO_NOSIGPIPE in place of the flag")]
    fn writing_to_a_closed_connection_raises_no_signal() {
        let scratch = Scratch::new();
        let url = scratch.url("s");
        let mut listener = bind_to(&url).unwrap();
        let mut near = connect(&Ipc, &url).unwrap();
        establish(&mut *near).unwrap();
        drop(accept(&mut *listener).unwrap());
        write_to_the_dead(&mut *near);
    }
}
