//! How a process becomes a supervisor, how it is found, and how it ends without leaving a client unheard.
//!
//! Whoever wants a supervisor takes `starter.lock` and then tries `lock`. If that is taken there is a supervisor, and its
//! socket stands. If not, the socket is bound and a supervisor started that inherits both socket and lock, so the client
//! can connect at once. A supervisor that has nothing left to do takes `starter.lock` as well before it removes the socket:
//! until then somebody may have connected.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::prctl;
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use super::Stack;
use super::place::{self, Place};
use super::talk::Clients;
use crate::container::events;
use crate::container::store::Store;
use crate::error::{Error, Kind, OsContext as _, Result};
use crate::sys::process;

const LOCK: &str = "lock";
const STARTER_LOCK: &str = "starter.lock";
const SOCKET: &str = "supervisor.sock";
const LOG: &str = "supervisor.log";

/// A connection to the project's supervisor, which is started if there is none.
///
/// # Errors
/// When it cannot be started; its own words.
pub fn connect(store: &Store, name: &str) -> Result<UnixStream> {
    let place = Place::of(store, name)?;
    let socket = place.run.join(SOCKET);
    let _starting = lock_starter(&place)?;
    let lock = open_lock(&place.run.join(LOCK))?;
    match lock.try_lock() {
        Ok(()) => start(store, name, &place, lock)?,
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error).os("lock", place.run.join(LOCK).display()),
    }
    in_directory(&place.run, |path| UnixStream::connect(path)).os("connect to", socket.display())
}

/// The right to start a supervisor, or to end as one. The directory exists then.
fn lock_starter(place: &Place) -> Result<File> {
    let path = place.run.join(STARTER_LOCK);
    loop {
        place.create()?;
        let lock = match open_lock(&path) {
            // A supervisor has just removed the directory.
            Err(error) if error.errno() == Some(Errno::ENOENT) => continue,
            lock => lock?,
        };
        lock.lock().os("lock", path.display())?;
        // Whoever held it may have removed it.
        let ours = lock.metadata().os("stat", path.display())?;
        match fs::metadata(&path) {
            Ok(current) if (current.dev(), current.ino()) == (ours.dev(), ours.ino()) => return Ok(lock),
            _ => {}
        }
    }
}

fn open_lock(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.open(path).os("open lock", path.display())
}

/// A socket's path holds 108 bytes at most, so the directory is named by a descriptor.
fn in_directory<T>(directory: &Path, call: impl FnOnce(&Path) -> std::io::Result<T>) -> std::io::Result<T> {
    use std::os::fd::AsRawFd as _;
    let directory = File::open(directory)?;
    call(Path::new(&format!(
        "/proc/self/fd/{}/{SOCKET}",
        directory.as_raw_fd()
    )))
}

fn start(store: &Store, name: &str, place: &Place, lock: File) -> Result<()> {
    let socket = place.run.join(SOCKET);
    match fs::remove_file(&socket) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).os("remove", socket.display());
        }
        _ => {}
    }
    let listener = in_directory(&place.run, |path| UnixListener::bind(path)).os("bind", socket.display())?;
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).os("change mode of", socket.display())?;
    let output = Command::new("/proc/self/exe")
        .arg("--root")
        .arg(store.root())
        .arg("--log")
        .arg(place.run.join(LOG))
        .args(["compose", "supervise", name])
        .current_dir("/")
        .stdin(OwnedFd::from(listener))
        .stdout(lock)
        .stderr(Stdio::piped())
        .output()
        .os("execute", "minirun compose supervise")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(
        Kind::Program,
        format_args!("the supervisor of project {name} does not start: {}", said.trim()),
    ))
}

/// Becomes the supervisor. Returns in the process that the starter waits for at once, in its child at the end.
///
/// # Errors
/// When standard input is no listening socket, or something of the project cannot be read.
pub fn run(store: &Store, name: &str) -> Result<()> {
    let place = Place::of(store, name)?;
    let stdin = std::io::stdin();
    if !getsockopt(&stdin, sockopt::AcceptConn).unwrap_or(false) {
        return Err(Error::new(
            Kind::InvalidConfig,
            "compose supervise: standard input is not a listening socket; `compose up` starts supervisors itself",
        ));
    }
    let keep = |fd: std::io::Result<OwnedFd>, what| fd.os("keep", what);
    let listener = keep(stdin.as_fd().try_clone_to_owned(), "the listening socket")?;
    let lock = keep(std::io::stdout().as_fd().try_clone_to_owned(), "the lock")?;
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlag::O_CLOEXEC.bits())
        .open("/dev/null")
        .os("open", "/dev/null")?;
    dup2_stdin(&null).os("close", "standard input")?;
    dup2_stdout(&null).os("close", "standard output")?;
    prctl::set_name(c"minirun-compose").os("name", "the process")?;
    // What belongs to the terminal it was started from ends with that.
    match setsid() {
        Ok(_) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(Error::os("make", "a session", errno)),
    }
    let mut stack = Stack::new(
        name.to_owned(),
        store.clone(),
        place,
        Clients::new(UnixListener::from(listener))?,
    );
    if process::fork().os("fork", "the supervisor")?.is_some() {
        return Ok(());
    }
    // The first processes of containers, and health checks, become children of this process when their makers end.
    prctl::set_child_subreaper(true).os("become", "a subreaper")?;
    dup2_stderr(&null).os("close", "standard error")?;
    // Those who watch from now on hear of the stack from its beginning.
    if let Err(error) = events::begin(store.root()) {
        crate::log::warn(error);
    }
    if let Err(error) = stack.adopt(Instant::now()) {
        crate::log::warn(format_args!("project {name}: {error}"));
    }
    stack.run(&Locks { _lock: lock })
}

/// The lock that says that there is a supervisor: freed with the process.
pub(super) struct Locks {
    _lock: OwnedFd,
}

impl Locks {
    /// Ends being the supervisor, unless somebody has just connected.
    pub(super) fn leave(&self, place: &Place, clients: &mut Clients) -> Result<bool> {
        let path = place.run.join(STARTER_LOCK);
        let Ok(starter) = open_lock(&path) else {
            // Nobody finds us any more.
            return Ok(true);
        };
        match starter.try_lock() {
            Ok(()) => {}
            // Somebody is about to connect.
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error).os("lock", path.display()),
        }
        if clients.has_news() {
            return Ok(false);
        }
        place.remove()?;
        place::remove_if_empty(place.run.parent());
        place::remove_if_empty(place.lib.parent());
        Ok(true)
    }
}
