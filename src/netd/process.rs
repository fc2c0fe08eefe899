//! How a process becomes netd: in order, what it gives up before it reads a container's first byte.
//!
//! The process that the runtime starts prepares everything, so that the runtime sees a failure as its exit status. Then
//! it leaves a child behind, which serves; the child of nobody, in a session of its own.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use super::client::lock_path;
use super::confine::confine;
use super::server::Server;
use super::upstream::Upstream;
use crate::error::{Error, Kind, OsContext as _, Result};
use crate::sys::{capability, process};

/// The user and group "nobody".
const NOBODY: u32 = 65_534;
/// For three descriptors a container, one a published port and address, one a question on its way.
const DESCRIPTORS: u64 = 1 << 18;
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Serves the directory whose control socket is standard input. Returns in the process that the runtime waits for.
///
/// # Errors
/// When standard input is not such a socket, or the kernel refuses to take a privilege away.
pub fn run(dir: &Path) -> Result<()> {
    // First, before anything here has a descriptor: what the caller of the runtime forgot to close.
    process::close_from(3).os("close", "inherited descriptors")?;
    if let Some(server) = prepare(dir)? {
        server.run()?;
    }
    Ok(())
}

/// In the child: the server. In the process that the runtime waits for: nothing.
pub(super) fn prepare(dir: &Path) -> Result<Option<Server>> {
    let listener = listener()?;
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(lock_path(dir));
    let lock = lock.os("open lock", lock_path(dir).display())?;
    prctl::set_name(c"minirun-netd").os("name", "the process")?;
    std::env::set_current_dir("/").os("change to", "/")?;
    leave_terminal()?;
    allow_descriptors();
    give_up_privileges()?;
    let server = Server::new(listener, lock, Upstream::of(RESOLV_CONF))?;
    if process::fork().os("fork", "netd")?.is_some() {
        return Ok(None);
    }
    // Until here errors were for the runtime.
    dup2_stderr(null()?).os("close", "standard error")?;
    confine()?;
    Ok(Some(server))
}

/// The listening socket, away from standard input, which is /dev/null like standard output from here on.
fn listener() -> Result<OwnedFd> {
    let stdin = std::io::stdin();
    if !getsockopt(&stdin, sockopt::AcceptConn).unwrap_or(false) {
        return Err(Error::new(
            Kind::InvalidConfig,
            "netd: standard input is not a listening socket; minirun starts netd itself",
        ));
    }
    let listener = stdin
        .as_fd()
        .try_clone_to_owned()
        .os("keep", "the listening socket")?;
    let null = null()?;
    dup2_stdin(&null).os("close", "standard input")?;
    dup2_stdout(&null).os("close", "standard output")?;
    Ok(listener)
}

fn null() -> Result<File> {
    const NULL: &str = "/dev/null";
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .custom_flags(OFlag::O_CLOEXEC.bits());
    options.open(NULL).os("open", NULL)
}

/// A session of its own: who logs out, or presses Ctrl-C, does not end it.
fn leave_terminal() -> Result<()> {
    match setsid() {
        // Started by hand as the leader of a group: the child will not be.
        Ok(_) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(Error::os("make", "a session", errno)),
    }
    let mut ignored = SigSet::empty();
    for signal in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGPIPE,
        Signal::SIGTSTP,
    ] {
        ignored.add(signal);
    }
    ignored.thread_set_mask().os("block", "signals of the terminal")
}

/// As many descriptors as the host allows, up to what is of use.
fn allow_descriptors() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let wanted = [
            (DESCRIPTORS, hard.max(DESCRIPTORS)),
            (hard.min(DESCRIPTORS).max(soft), hard),
        ];
        // The first needs CAP_SYS_RESOURCE and a kernel that allows so many.
        let _ = wanted
            .iter()
            .any(|(soft, hard)| setrlimit(Resource::RLIMIT_NOFILE, *soft, *hard).is_ok());
    }
}

/// From root to nobody without capabilities, for good.
fn give_up_privileges() -> Result<()> {
    for capability in 0.. {
        match capability::is_in_bounding_set(capability) {
            Ok(true) => capability::drop_from_bounding_set(capability).os("drop", "a capability")?,
            Ok(false) => {}
            // Beyond the last one.
            Err(_) => break,
        }
    }
    let dropped = process::set_groups(&[])
        .and_then(|()| process::set_group(NOBODY))
        .and_then(|()| process::set_user(NOBODY));
    match dropped {
        // A user namespace without "nobody": at least nothing that makes root mighty.
        Ok(()) | Err(Errno::EINVAL) => {}
        Err(errno) => return Err(Error::os("become", "nobody", errno)),
    }
    capability::set(0, 0, 0).os("drop", "capabilities")?;
    prctl::set_no_new_privs().os("set", "no_new_privs")?;
    prctl::set_dumpable(false).os("forbid", "core dumps")
}
