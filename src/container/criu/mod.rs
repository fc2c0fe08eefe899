//! CRIU, which writes the state of processes to files and makes processes from them: asked over the socket of `criu swrk`, as
//! runc does (docs/decisions/checkpoint.md).
//!
//! ```text
//! runtime                                 criu swrk
//!    -- request: dump or restore ---------->
//!    <------ notification: "network-lock" --   hooks run, a terminal arrives
//!    -- go on ----------------------------->
//!    <----------------- response: success --   it ends
//! ```

#[doc(hidden)]
pub mod fuzz;
mod message;
mod request;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use oci_spec::runtime::{LinuxNamespaceType, Spec};

pub use self::request::{CgroupMode, Common};
pub(super) use self::request::{Request, Work};
use crate::cgroup::Cgroup;
use crate::error::{Error, Kind, OsContext, Result};
use crate::sys::socket;

/// `criu_req_type` of a notification and of its answer.
const NOTIFY: i32 = 6;
/// CRIU sends nothing that is longer.
const LONGEST_MESSAGE: usize = 64 << 10;

/// Where a checkpoint is, and where CRIU writes its log.
#[derive(Debug)]
pub(super) struct Directories {
    images: OwnedFd,
    work: OwnedFd,
    work_path: PathBuf,
}

impl Directories {
    /// Opens both; the work directory is that of the images unless named. `create` says whether they are made.
    ///
    /// # Errors
    /// One cannot be made or opened.
    pub(super) fn open(images: &Path, work: Option<&Path>, create: bool) -> Result<Directories> {
        let open = |flag: &str, path: &Path| -> Result<OwnedFd> {
            if create {
                use std::os::unix::fs::DirBuilderExt;
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(path)
                    .os(format_args!("{flag}: create"), path.display())?;
            }
            let directory = fs::File::open(path).os(format_args!("{flag}: open"), path.display())?;
            if directory.metadata().is_ok_and(|metadata| metadata.is_dir()) {
                Ok(directory.into())
            } else {
                Err(Error::invalid(
                    flag,
                    format_args!("{} is not a directory", path.display()),
                ))
            }
        };
        let work_path = work.unwrap_or(images);
        Ok(Directories {
            images: open("--image-path", images)?,
            work: open("--work-path", work_path)?,
            work_path: work_path.to_owned(),
        })
    }
}

/// Something that CRIU tells in between.
pub(super) struct Notification {
    /// `setup-namespaces`, `orphan-pts-master`, `post-restore`, ...
    pub(super) script: String,
    /// The first process, as the host numbers it.
    pub(super) pid: i32,
    /// The terminal's master.
    pub(super) fd: Option<OwnedFd>,
}

/// A running `criu swrk`.
#[derive(Debug)]
pub(super) struct Criu {
    process: Child,
    socket: OwnedFd,
}

impl Criu {
    /// Starts CRIU. It has our standard streams when `streams` says so, for the container to inherit, and `others` by their
    /// numbers.
    ///
    /// # Errors
    /// CRIU is not installed.
    pub(super) fn start(streams: bool, others: &[BorrowedFd<'_>]) -> Result<Criu> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .os("create", "socket for criu")?;
        for fd in others.iter().copied().chain([theirs.as_fd()]) {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).os("pass on", "descriptor to criu")?;
        }
        let mut command = Command::new("criu");
        command.args(["swrk", &theirs.as_raw_fd().to_string()]);
        if !streams {
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
        }
        let process = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::new(Kind::Program, "criu is not in PATH")
                .hint("checkpoints need CRIU: install the package criu"),
            _ => Error::new(Kind::Program, format_args!("cannot run criu: {error}")),
        })?;
        Ok(Criu {
            process,
            socket: ours,
        })
    }

    /// Its process.
    pub(super) fn pid(&self) -> i32 {
        self.process.id().cast_signed()
    }

    /// Has the work done: the number of the restored process, or 0.
    ///
    /// # Errors
    /// CRIU's, with the last lines of its log; that of `notified`, which makes CRIU give up.
    pub(super) fn perform(
        mut self,
        work: Work,
        request: &Request,
        directories: &Directories,
        notified: impl FnMut(Notification) -> Result<()>,
    ) -> Result<i32> {
        let message = request.encode(work, directories.images.as_raw_fd(), directories.work.as_raw_fd());
        let log = directories.work_path.join(request::log_name(work));
        let result = converse(self.socket.as_fd(), message.bytes(), notified);
        drop(self.socket);
        // It has said all that it has to say, and nobody asks for its status.
        let _ = self.process.wait();
        match result {
            Ok(response) if response.success => Ok(response.pid),
            Ok(response) => Err(explain(work, &response, &log)),
            Err(Failure::Ours(error)) => Err(error),
            Err(Failure::Lost(error)) => Err(Error::new(
                Kind::Program,
                format_args!("criu failed: type {}: {error}{}", work.name(), Tail(&log)),
            )),
        }
    }
}

/// The end of a conversation that did not reach its end.
enum Failure {
    /// What a notification asked for failed.
    Ours(Error),
    /// CRIU is gone or not understood.
    Lost(Error),
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Response {
    kind: i32,
    success: bool,
    pid: i32,
    script: String,
    errno: i32,
    message: String,
}

impl Response {
    fn parse(bytes: &[u8]) -> Result<Response> {
        let mut response = Response::default();
        for (field, value) in message::fields(bytes)? {
            match (field, value) {
                (1, value) => response.kind = value.number(),
                (2, value) => response.success = value.number() != 0,
                // criu_restore_resp, criu_notify
                (4 | 5, message::Value::Bytes(inner)) => {
                    for (inner_field, value) in message::fields(inner)? {
                        match (field, inner_field) {
                            (4, 1) | (5, 2) => response.pid = value.number(),
                            (5, 1) => response.script = value.text(),
                            _ => {}
                        }
                    }
                }
                (7, value) => response.errno = value.number(),
                (9, value) => response.message = value.text(),
                _ => {}
            }
        }
        Ok(response)
    }
}

fn converse(
    socket: BorrowedFd<'_>,
    request: &[u8],
    mut notified: impl FnMut(Notification) -> Result<()>,
) -> std::result::Result<Response, Failure> {
    let lost = |error: nix::Error| Failure::Lost(Error::os("talk to", "criu", error));
    socket::send(socket, request, None).map_err(lost)?;
    let mut buffer = vec![0; LONGEST_MESSAGE];
    let mut ours = None;
    loop {
        let (length, fd) = socket::receive(socket, &mut buffer).map_err(lost)?;
        let bytes = buffer.get(..length).unwrap_or_default();
        let response = match bytes {
            [] => Err(Error::new(Kind::Program, "it ended without an answer")),
            bytes => Response::parse(bytes),
        };
        let response = match (response, ours) {
            (Ok(response), None) => response,
            // CRIU was told to give up, and has.
            (Ok(_), Some(error)) => return Err(Failure::Ours(error)),
            (Err(_), Some(error)) => return Err(Failure::Ours(error)),
            (Err(error), None) => return Err(Failure::Lost(error)),
        };
        if response.kind != NOTIFY {
            return Ok(response);
        }
        ours = notified(Notification {
            script: response.script,
            pid: response.pid,
            fd,
        })
        .err();
        socket::send(socket, request::acknowledge(ours.is_none()).bytes(), None).map_err(lost)?;
    }
}

fn explain(work: Work, response: &Response, log: &Path) -> Error {
    let said = if response.message.is_empty() {
        String::new()
    } else {
        format!(": {}", response.message)
    };
    Error::new(
        Kind::Program,
        format_args!(
            "criu failed: type {} errno {}{said}{}",
            work.name(),
            response.errno,
            Tail(log)
        ),
    )
    .hint(format_args!("log file: {}", log.display()))
}

/// The lines of CRIU's log that are errors, the last of them.
struct Tail<'a>(&'a Path);

impl std::fmt::Display for Tail<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const LINES: usize = 5;
        let log = fs::read(self.0).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let errors: Vec<_> = log.lines().filter(|line| line.contains("Error")).collect();
        let last = errors
            .get(errors.len().saturating_sub(LINES)..)
            .unwrap_or_default();
        last.iter().try_for_each(|line| write!(f, "; {}", line.trim()))
    }
}

/// Mounts whose contents are not the container's: binds and groups of version 1. What they are called in the checkpoint, and
/// where they come from on this host.
pub(super) fn external_mounts(spec: &Spec, bundle: &Path, cgroup: &Cgroup) -> Vec<(String, String)> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut mounts = Vec::new();
    for mount in spec.mounts().iter().flatten() {
        let destination = Path::new("/").join(mount.destination());
        let is_bind = mount
            .options()
            .iter()
            .flatten()
            .any(|option| option == "bind" || option == "rbind");
        if is_bind && let Some(source) = mount.source() {
            mounts.push((text(&destination), text(&bundle.join(source))));
        } else if mount.typ().as_deref() == Some("cgroup") && matches!(cgroup, Cgroup::V1(_)) {
            for (controllers, directory) in cgroup.directories() {
                let name = controllers.strip_prefix("name=").unwrap_or(&controllers);
                mounts.push((text(&destination.join(name)), text(&directory)));
            }
        }
    }
    mounts
}

/// What CRIU calls an open file that is none of the container's.
pub(super) fn outside_file(mount: u64, inode: u64) -> String {
    format!("file[{mount:x}:{inode:x}]")
}

/// Whether this is such a name.
pub(super) fn is_outside_file(name: &str) -> bool {
    name.starts_with("file[")
}

/// The paths of linux.maskedPaths.
pub(super) fn masked_paths(spec: &Spec) -> impl Iterator<Item = &String> {
    let linux = spec.linux().as_ref();
    linux
        .and_then(|linux| linux.masked_paths().as_ref())
        .into_iter()
        .flatten()
}

/// Namespaces that the container was made in and that stay when it goes, by the names that runc gives them in checkpoints.
pub(super) fn external_namespaces(spec: &Spec) -> Vec<(&'static str, &'static str, &Path)> {
    let linux = spec.linux().as_ref();
    let namespaces = linux
        .and_then(|linux| linux.namespaces().as_ref())
        .into_iter()
        .flatten();
    namespaces
        .filter_map(|namespace| {
            let path = namespace
                .path()
                .as_deref()
                .filter(|path| !path.as_os_str().is_empty())?;
            match namespace.typ() {
                LinuxNamespaceType::Network => Some(("net", "extRootNetNS", path)),
                LinuxNamespaceType::Pid => Some(("pid", "extRootPidNS", path)),
                _ => None,
            }
        })
        .collect()
}
