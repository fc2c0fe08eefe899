//! `NOTIFY_SOCKET`: the container's program tells the service manager of whoever called us that it is ready (sd_notify(3)).
//!
//! The manager's socket is not in the container. What is there is a directory of ours, bound on /run/notify, with a socket on
//! which `start` (or `run`) listens from just before the program is executed: it passes on that the program is ready, with
//! the number that the first process has for the manager. A caller without the variable gets none of this.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{ErrorKind, PipeReader, pipe};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Error, OsContext, Result};
use crate::log;
use crate::rootfs::ExtraBind;
use crate::sys::socket::send_many;

/// What the container's program finds in its variable.
pub(super) const IN_CONTAINER: &str = "/run/notify/notify.sock";

const VARIABLE: &str = "NOTIFY_SOCKET";
const DIRECTORY: &str = "notify";
const SOCKET: &str = "notify.sock";

/// How long the manager may take to have seen what it was told (sd_notify_barrier(3)).
const BARRIER_TIMEOUT_MS: u16 = 30_000;

/// Longer messages lose their end; no implementation of sd_notify(3) takes as much.
const LONGEST_MESSAGE: usize = 16 * 1024;

/// Where the caller's service manager listens.
#[derive(Clone, Debug)]
pub struct Manager(SocketAddr);

impl Manager {
    /// The one that the environment names; none without the variable.
    ///
    /// # Errors
    /// It is no address of a socket on this machine.
    pub fn of_caller() -> Result<Option<Manager>> {
        match std::env::var_os(VARIABLE) {
            Some(address) if !address.is_empty() => Manager::at(&address).map(Some),
            _ => Ok(None),
        }
    }

    /// A path, or a name that begins with `@` in the abstract namespace.
    fn at(address: &OsStr) -> Result<Manager> {
        let parsed = match address.as_bytes() {
            [b'/', ..] => SocketAddr::from_pathname(address),
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            _ => {
                let why = format_args!("{address:?} is neither an absolute path nor a name after @");
                return Err(Error::invalid(VARIABLE, why));
            }
        };
        parsed
            .map(Manager)
            .map_err(|error| Error::invalid(VARIABLE, format_args!("{address:?}: {error}")))
    }

    /// Says that the program is ready, and waits until the manager knows.
    fn tell(&self, ready: &str, pid: Option<i32>) -> Result<()> {
        let socket = UnixDatagram::unbound().os("create", "a socket for NOTIFY_SOCKET")?;
        socket.connect_addr(&self.0).os("connect to", VARIABLE)?;
        let main = pid.map(|pid| format!("MAINPID={pid}\n")).unwrap_or_default();
        socket
            .send(format!("{main}{ready}\n").as_bytes())
            .os("write to", VARIABLE)?;
        let (reader, writer) = pipe().os("create", "a pipe for NOTIFY_SOCKET")?;
        send_many(socket.as_fd(), b"BARRIER=1", &[writer.as_fd()]).os("write to", VARIABLE)?;
        drop(writer);
        wait_closed(&reader)
    }
}

/// The manager closes its end of the pipe when it comes to the message.
fn wait_closed(reader: &PipeReader) -> Result<()> {
    let mut polled = [PollFd::new(reader.as_fd(), PollFlags::empty())];
    loop {
        match poll(&mut polled, PollTimeout::from(BARRIER_TIMEOUT_MS)) {
            Err(Errno::EINTR) => {}
            Ok(0) => return Err(Errno::ETIMEDOUT).os("wait for the service manager behind", VARIABLE),
            result => {
                return result
                    .map(drop)
                    .os("wait for the service manager behind", VARIABLE);
            }
        }
    }
}

/// What to mount, for a directory that does not exist yet in the container's own, `directory`.
pub(super) fn bind_to_be(directory: &Path) -> ExtraBind {
    ExtraBind {
        source: directory.join(DIRECTORY),
        destination: "/run/notify".into(),
        read_only: true,
    }
}

/// Makes that directory. Whatever user the program is may look into it.
///
/// # Errors
/// Those of mkdir(2).
pub(super) fn make_directory(directory: &Path) -> Result<()> {
    let path = directory.join(DIRECTORY);
    DirBuilder::new()
        .mode(0o755)
        .create(&path)
        .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o755)))
        .os("create", path.display())
}

/// The container's end: what its program says, and to whom it goes.
#[derive(Debug)]
pub(super) struct Notifications {
    socket: UnixDatagram,
    manager: Manager,
}

impl Notifications {
    /// Listens in the container's `directory`. None when the container was made without: it would not see the socket.
    ///
    /// # Errors
    /// Those of bind(2).
    pub(super) fn listen(directory: &Path, manager: Manager) -> Result<Option<Notifications>> {
        let path = directory.join(DIRECTORY);
        let inside = match File::open(&path) {
            Ok(inside) => inside,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                log::warn("NOTIFY_SOCKET is ignored: it was not set when the container was created");
                return Ok(None);
            }
            Err(error) => return Err(error).os("open", path.display()),
        };
        // Through the descriptor, because a socket's path holds 108 bytes at most.
        let socket = format!("/proc/self/fd/{}/{SOCKET}", inside.as_raw_fd());
        // A starter that died has left its own.
        let _ = fs::remove_file(&socket);
        let bound = UnixDatagram::bind(&socket).os("bind", path.join(SOCKET).display())?;
        fs::set_permissions(&socket, Permissions::from_mode(0o777))
            .os("chmod", path.join(SOCKET).display())?;
        bound
            .set_nonblocking(true)
            .os("set up", path.join(SOCKET).display())?;
        Ok(Some(Notifications {
            socket: bound,
            manager,
        }))
    }

    /// Waits until the program says that it is ready, or the first process, behind `pidfd`, ends; passes it on, with the
    /// number that the manager is to know as the service's process. A manager that does not listen is a warning: the
    /// container runs.
    ///
    /// # Errors
    /// Those of poll(2) and recv(2).
    pub(super) fn wait(&self, pidfd: BorrowedFd<'_>, pid: Option<i32>) -> Result<()> {
        loop {
            if let Some(ready) = self.ready()? {
                if let Err(error) = self.manager.tell(&ready, pid) {
                    log::warn(error);
                }
                return Ok(());
            }
            let mut polled = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(pidfd, PollFlags::POLLIN),
            ];
            match poll(&mut polled, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                result => result.os("wait for", "the container to be ready")?,
            };
            let [said, ended] = polled.map(|fd| fd.any().unwrap_or(false));
            if ended && !said {
                return Ok(());
            }
        }
    }

    /// [`Notifications::wait`] beside something else that the caller waits for; `pidfd` is the first process'. The manager
    /// knows the caller as the service's process already.
    ///
    /// # Errors
    /// No thread can be had.
    pub(super) fn wait_beside(self, pidfd: OwnedFd) -> Result<std::thread::JoinHandle<()>> {
        let wait = move || {
            if let Err(error) = self.wait(pidfd.as_fd(), None) {
                log::warn(error);
            }
        };
        std::thread::Builder::new()
            .spawn(wait)
            .os("start", "a thread for NOTIFY_SOCKET")
    }

    /// `READY=...` if it is among what has been said by now.
    fn ready(&self) -> Result<Option<String>> {
        let mut buffer = [0; LONGEST_MESSAGE];
        loop {
            let length = match self.socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).os("read", SOCKET),
            };
            let message = buffer.get(..length).unwrap_or_default();
            if let Some(line) = message
                .split(|byte| *byte == b'\n')
                .find(|line| line.starts_with(b"READY="))
            {
                return Ok(Some(String::from_utf8_lossy(line).into_owned()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_is_a_path_or_an_abstract_name() {
        let at = |address: &str| Manager::at(OsStr::new(address));
        assert_eq!(at("/run/n").unwrap().0.as_pathname(), Some(Path::new("/run/n")));
        assert_eq!(at("@name").unwrap().0.as_abstract_name(), Some(&b"name"[..]));
        for wrong in ["vsock:2:1234", "relative", &format!("/{}", "x".repeat(200))] {
            let error = at(wrong).unwrap_err().to_string();
            assert!(error.starts_with("NOTIFY_SOCKET: "), "{error}");
        }
    }
}
