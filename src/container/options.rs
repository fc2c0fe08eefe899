//! What the caller of `create` and `run` chooses, besides config.json.

use std::path::PathBuf;

use super::network::Flags;
use super::notify::Manager;
use crate::init::process::Keep;
use crate::spec::id::Id;

/// What the caller of `create` and `run` chooses.
#[derive(Clone, Debug)]
pub struct Options {
    /// The new container.
    pub id: Id,
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// Where the terminal's master goes.
    pub terminal: Terminal,
    /// A socket that gets the pidfd of the first process.
    pub pidfd_socket: Option<PathBuf>,
    /// A file for the first process' id.
    pub pid_file: Option<PathBuf>,
    /// Use chroot and a moved mount in place of pivot_root.
    pub no_pivot: bool,
    /// Share the caller's session keyring.
    pub no_new_keyring: bool,
    /// Descriptors for the process.
    pub keep: Keep,
    /// Who is told when the program says that it is ready.
    pub notify: Option<Manager>,
    /// What the flags say of the network.
    pub network: Flags,
    /// A person called with the native form `run BUNDLE`.
    pub native: bool,
}

/// Who shows the container's terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// Whoever listens on this socket.
    Socket(PathBuf),
    /// This process, in the foreground.
    Relay,
    /// Nobody can: the container is detached and there is no socket.
    Nobody,
}
