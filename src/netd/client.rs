//! The runtime's side: to register containers with netd, which is started when nobody listens.
//!
//! `dir` is the directory of the networks' state of this boot (`/run/minirun/net`): one netd serves it. In it are the
//! socket `.netd.sock` and the lock `.netd.lock`; no network's name starts with a dot.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, setsockopt, socket, sockopt,
};
use nix::sys::stat::{Mode, umask};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::Resolver;
use super::protocol::{self, Known, MOST_PORTS, PAGE, Reply, Request, Station};
use crate::error::{Error, Kind, OsContext as _, Result};

/// How long netd may take for a request. It answers within a millisecond; this is for one that hangs.
const PATIENCE_SECONDS: i64 = 10;

/// How long another process may still have the sockets of a container's resolver: a netd that was killed and is not gone
/// yet.
const DYING: Duration = Duration::from_millis(500);

/// What netd shall watch, answer and hold for a container. The runtime may close its own copies afterwards.
#[derive(Default)]
pub struct Descriptors<'a> {
    /// The container's first process: when it ends, everything of the container is forgotten, so that sockets do not
    /// keep a dead container's network namespace. Without it only [`unregister`] ends a station.
    pub pidfd: Option<BorrowedFd<'a>>,
    /// With the container's first network: opens its resolver. It is called under netd's lock, and only when netd does not
    /// have the sockets already, from another process that found the container's lease meanwhile.
    pub resolver: Option<&'a dyn Fn() -> Result<Resolver>>,
    /// Bound sockets of published ports, held so that nobody else takes the ports.
    pub ports: Vec<OwnedFd>,
}

/// Whom [`register`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Netd {
    /// It was running, and knows who registered before.
    Running,
    /// It was started now: containers that registered with an earlier one, which was killed, are not known to it.
    Started,
}

/// Makes a container known on one network, and starts netd if need be. When this returns, others resolve its names; and
/// so does the container, when its resolver has been handed over. Again for the same container and network, it replaces
/// what was said before; descriptors given earlier stay.
///
/// # Errors
/// When netd cannot be started, does not answer within seconds, or refuses (bad names or addresses).
pub fn register(dir: &Path, station: &Station, descriptors: Descriptors<'_>) -> Result<Netd> {
    let Descriptors {
        pidfd,
        resolver: open,
        ports,
    } = descriptors;
    if ports.len() > MOST_PORTS {
        return Err(Error::invalid(
            "netd",
            format_args!("more than {MOST_PORTS} ports"),
        ));
    }
    // Held until netd has the station: it ends itself only under this lock, and nobody else opens a resolver.
    let _lock = lock(dir)?;
    let mut resolver = None;
    loop {
        let running = connected(dir)?;
        if let (Some(open), None) = (open, &resolver) {
            resolver = open_resolver(dir, &station.container, open)?;
        }
        let mut fds: Vec<BorrowedFd<'_>> = pidfd.into_iter().collect();
        if let Some(Resolver { udp, tcp }) = &resolver {
            fds.extend([udp.as_fd(), tcp.as_fd()]);
        }
        fds.extend(ports.iter().map(|port| port.as_fd()));
        let request = Request::Register {
            station: station.clone(),
            pidfd: pidfd.is_some(),
            resolver: resolver.is_some(),
            ports: ports.len(),
        };
        let (netd, found) = match running {
            Some(netd) => (netd, Netd::Running),
            None => (start(dir)?, Netd::Started),
        };
        match ask(&netd, &request, &fds) {
            Ok(reply) => return done(reply).map(|()| found),
            // Killed a moment ago. Its socket goes last: once nobody can connect to it, it has left everything.
            Err(error) if is_gone(&error) && found == Netd::Running => {
                crate::log::debug(format_args!("{error}; starting another one"));
            }
            Err(error) => return Err(error),
        }
    }
}

/// The sockets of a container's resolver; nothing when netd has them. The lock is held.
fn open_resolver(
    dir: &Path,
    container: &str,
    open: &dyn Fn() -> Result<Resolver>,
) -> Result<Option<Resolver>> {
    let began = Instant::now();
    loop {
        match open() {
            Err(error) if error.errno() == Some(Errno::EADDRINUSE) => {
                let has_it = |known: &Known| known.container == container && known.resolver;
                if stations(dir)?.iter().any(has_it) {
                    return Ok(None);
                }
                if began.elapsed() > DYING {
                    return Err(error);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            opened => return opened.map(Some),
        }
    }
}

/// Takes a container off one network's names. With its last network its sockets are closed, and with the last container
/// netd ends. Fine when netd does not know it, or does not run.
///
/// # Errors
/// When netd does not answer.
pub fn unregister(dir: &Path, container: &str, network: &str) -> Result<()> {
    let request = Request::Unregister {
        container: container.to_owned(),
        network: network.to_owned(),
    };
    let Some(netd) = connected(dir)? else {
        return Ok(());
    };
    match ask(&netd, &request, &[]) {
        Err(error) if is_gone(&error) => Ok(()),
        reply => done(reply?),
    }
}

/// A connection that hangs up (poll(2)) when netd ends, of itself or killed; nothing when none runs.
///
/// # Errors
/// When netd does not answer.
pub fn watch(dir: &Path) -> Result<Option<OwnedFd>> {
    let Some(netd) = connected(dir)? else {
        return Ok(None);
    };
    match ask(&netd, &Request::Watch, &[]) {
        Err(error) if is_gone(&error) => Ok(None),
        reply => done(reply?).map(|()| Some(netd)),
    }
}

/// Whether a netd listens for this directory.
pub fn is_running(dir: &Path) -> bool {
    connected(dir).is_ok_and(|netd| netd.is_some())
}

/// What netd has; nothing when none runs.
///
/// # Errors
/// When netd does not answer.
pub fn stations(dir: &Path) -> Result<Vec<Known>> {
    let mut found = Vec::new();
    let Some(netd) = connected(dir)? else {
        return Ok(found);
    };
    loop {
        let page = match ask(&netd, &Request::Stations { after: found.len() }, &[]) {
            Ok(Reply::Stations(page)) => page,
            Ok(reply) => return done(reply).map(|()| found),
            Err(error) if is_gone(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let last = page.len() < PAGE;
        found.extend(page);
        if last {
            return Ok(found);
        }
    }
}

/// The lock's file. netd itself takes the lock when it wants to end.
pub(super) fn lock_path(dir: &Path) -> PathBuf {
    dir.join(".netd.lock")
}

fn socket_path(dir: &Path) -> PathBuf {
    dir.join(".netd.sock")
}

fn lock(dir: &Path) -> Result<Flock<File>> {
    let path = lock_path(dir);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .os("open lock", path.display())?;
    loop {
        match Flock::lock(file, FlockArg::LockExclusive) {
            Ok(lock) => return Ok(lock),
            Err((again, Errno::EINTR)) => file = again,
            Err((_, errno)) => return Err(Error::os("lock", path.display(), errno)),
        }
    }
}

fn control_socket() -> Result<OwnedFd> {
    socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .os("make a socket for", "netd")
}

fn connected(dir: &Path) -> Result<Option<OwnedFd>> {
    let path = socket_path(dir);
    let socket = control_socket()?;
    let patience = TimeVal::seconds(PATIENCE_SECONDS);
    setsockopt(&socket, sockopt::ReceiveTimeout, &patience).os("limit waiting for", "netd")?;
    setsockopt(&socket, sockopt::SendTimeout, &patience).os("limit waiting for", "netd")?;
    let address = UnixAddr::new(&path).os("address", path.display())?;
    loop {
        match connect(socket.as_raw_fd(), &address) {
            Ok(()) => return Ok(Some(socket)),
            Err(Errno::ENOENT | Errno::ECONNREFUSED) => return Ok(None),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Err(silent()),
            Err(errno) => return Err(Error::os("connect to netd at", path.display(), errno)),
        }
    }
}

/// Starts netd with a listening socket as its standard input, and connects: before it listens to anybody, the connection
/// waits in the socket. The lock is held.
fn start(dir: &Path) -> Result<OwnedFd> {
    let path = socket_path(dir);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).os("remove the socket of an earlier netd", path.display());
        }
        _ => {}
    }
    let listener = control_socket()?;
    let address = UnixAddr::new(&path).os("address", path.display())?;
    // For root alone; the process has one thread, whose files nobody else makes meanwhile.
    let before = umask(Mode::S_IRWXG | Mode::S_IRWXO);
    let bound = bind(listener.as_raw_fd(), &address);
    umask(before);
    bound.os("bind", path.display())?;
    listen(&listener, Backlog::MAXCONN).os("listen on", path.display())?;

    let status = command(dir)
        .stdin(listener)
        .stdout(Stdio::null())
        .status()
        .os("start", "netd")?;
    if !status.success() {
        return Err(Error::new(
            Kind::Program,
            format_args!("netd did not start: {status}"),
        ));
    }
    connected(dir)?.ok_or_else(gone)
}

/// This program again, as netd. What enters containers runs from a mount that has no path, so not by its path.
#[cfg(not(test))]
fn command(dir: &Path) -> Command {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("minirun").arg("netd").arg(dir).env_clear();
    command
}

/// The test program, as netd.
#[cfg(test)]
fn command(dir: &Path) -> Command {
    super::tests::process::command(dir)
}

fn ask(netd: &OwnedFd, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<Reply> {
    protocol::send(netd.as_fd(), request, fds)?;
    match protocol::receive(netd.as_fd()) {
        Ok(Some((reply, _))) => Ok(reply),
        Ok(None) => Err(gone()),
        Err(Errno::EAGAIN) => Err(silent()),
        Err(errno) => Err(Error::os("receive the answer of", "netd", errno)),
    }
}

fn done(reply: Reply) -> Result<()> {
    match reply {
        Reply::Done => Ok(()),
        Reply::Refused(why) => Err(Error::invalid("netd", why)),
        Reply::Stations(_) => Err(Error::new(Kind::Program, "netd answered another question")),
    }
}

fn gone() -> Error {
    Error::os("receive the answer of", "netd", Errno::ECONNRESET)
}

fn is_gone(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::ECONNRESET | Errno::EPIPE))
}

fn silent() -> Error {
    Error::new(
        Kind::Program,
        format_args!("netd has not answered within {PATIENCE_SECONDS} seconds"),
    )
    .hint("end the process minirun-netd, then run `minirun network reconcile`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_netd_nothing_is_known_and_leaving_is_fine() {
        let dir = std::env::temp_dir().join(format!("minirun-netd-client-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for _ in 0..2 {
            assert!(!is_running(&dir));
            assert_eq!(stations(&dir).unwrap(), []);
            unregister(&dir, "web", "default").unwrap();
            // The second time with the socket of one that was killed.
            let dead = control_socket().unwrap();
            let address = UnixAddr::new(&socket_path(&dir)).unwrap();
            let _ = bind(dead.as_raw_fd(), &address);
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
