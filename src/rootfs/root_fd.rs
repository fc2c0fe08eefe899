//! The container's root as a descriptor, and the only ways to get from a path inside it to an object.
//!
//! Whoever made the image, or runs a second container on the same files, can put a symbolic link in any place and
//! change it at any moment. So no path of the container is ever looked up from the host's root: openat2(2) resolves it
//! as a process chrooted there would, and what is missing is made component by component from descriptor to descriptor.

use std::collections::VecDeque;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{OFlag, ResolveFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat};

use crate::error::{Error, OsContext, Result};
use crate::sys::{fs, mount};

/// As in path_resolution(7).
const SYMLINKS_PER_PATH: usize = 40;

/// The root directory of the container.
#[derive(Debug)]
pub struct RootFd(OwnedFd);

/// What to make when nothing is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Make {
    Directory,
    File,
}

/// What a symbolic link on the way means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Links {
    /// Go where a process inside the container would go.
    Follow,
    /// Give up with ELOOP.
    Refuse,
}

impl AsFd for RootFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl RootFd {
    /// Takes the descriptor (`O_PATH` suffices) of the container's root directory.
    pub(super) fn new(fd: OwnedFd) -> RootFd {
        RootFd(fd)
    }

    /// An `O_PATH` descriptor of what is at `path`. The path is taken from this root, `..` and links included.
    pub(super) fn open(&self, path: &CStr, links: Links) -> nix::Result<OwnedFd> {
        let resolve = match links {
            Links::Follow => ResolveFlag::RESOLVE_IN_ROOT,
            Links::Refuse => ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS,
        };
        fs::openat2(
            &self.0,
            path,
            OFlag::O_PATH,
            resolve | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        )
    }

    /// Like [`RootFd::open`], and makes what is missing: directories with mode 0755, a file with mode 0644. The flag
    /// says whether something was there before.
    pub(super) fn open_or_make(&self, path: &CStr, links: Links, make: Make) -> nix::Result<(OwnedFd, bool)> {
        match self.open(path, links) {
            Ok(fd) => Ok((fd, true)),
            Err(Errno::ENOENT) => {
                let path = Path::new(OsStr::from_bytes(path.to_bytes()));
                self.walk(path, links, make).map(|fd| (fd, false))
            }
            Err(errno) => Err(errno),
        }
    }

    /// Mounts what `source` refers to (any kind of file, such as a terminal) on the file `destination`, which is made
    /// when it does not exist. No component of `destination` may be a symbolic link.
    ///
    /// # Errors
    /// When the destination cannot be made, is or lies behind a symbolic link, is a directory, or the mount fails.
    pub fn bind_file(&self, source: BorrowedFd, destination: &str) -> Result<()> {
        let stage = "bind mount on";
        let path =
            CString::new(destination).map_err(|_| Error::invalid(destination, "contains a NUL byte"))?;
        let (target, _) =
            self.open_or_make(&path, Links::Refuse, Make::File)
                .map_err(|errno| match errno {
                    Errno::ELOOP => {
                        Error::os(stage, destination, errno).hint("it must not be a symbolic link")
                    }
                    _ => Error::os(stage, destination, errno),
                })?;
        if file_type(&fstat(&target).os(stage, destination)?) == SFlag::S_IFDIR {
            return Err(Error::os(stage, destination, Errno::EISDIR));
        }
        mount::clone_tree(source, false)
            .and_then(|detached| mount::attach(detached, target))
            .os(stage, destination)
    }

    /// Makes the directory `path` and all above it with mode 0755 unless it exists.
    ///
    /// # Errors
    /// When a component is not a directory or cannot be made.
    pub fn make_directory(&self, path: &CStr) -> Result<()> {
        self.open_or_make(path, Links::Follow, Make::Directory)
            .map(drop)
            .os("create directory", path.to_string_lossy())
    }

    /// Goes to `path` one component at a time and makes what is missing. Symbolic links are read and followed here, not
    /// by the kernel: each step is taken from the descriptor of the step before, `..` goes back to the descriptor that
    /// we came from, and an absolute link starts again at this root. So no rename and no link leads outside.
    fn walk(&self, path: &Path, links: Links, make: Make) -> nix::Result<OwnedFd> {
        let mut todo = components(path);
        let mut entered: Vec<OwnedFd> = Vec::new();
        let mut followed = 0;
        while let Some(name) = todo.pop_front() {
            if name == ".." {
                entered.pop();
                continue;
            }
            let here = entered.last().map_or(self.as_fd(), AsFd::as_fd);
            let wanted = if todo.is_empty() { make } else { Make::Directory };
            let fd = open_or_make_one(here, &name, wanted)?;
            if file_type(&fstat(&fd)?) == SFlag::S_IFLNK {
                followed += 1;
                if links == Links::Refuse || followed > SYMLINKS_PER_PATH {
                    return Err(Errno::ELOOP);
                }
                let target = readlinkat(&fd, c"")?;
                if target.as_bytes().starts_with(b"/") {
                    entered.clear();
                }
                let mut rest = components(Path::new(&target));
                rest.append(&mut todo);
                todo = rest;
            } else {
                entered.push(fd);
            }
        }
        match entered.pop() {
            Some(fd) => Ok(fd),
            None => self.0.try_clone().map_err(|_| Errno::EMFILE),
        }
    }
}

/// Opens `name` in a directory without following it; makes it when it is missing. Links and other files come as they
/// are: the next step from a file that is not a directory fails with ENOTDIR by itself.
fn open_or_make_one(directory: BorrowedFd, name: &OsStr, make: Make) -> nix::Result<OwnedFd> {
    let path = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(directory, name, path, Mode::empty()) {
        Err(Errno::ENOENT) => {}
        result => return result,
    }
    let made = match make {
        Make::Directory => mkdirat(directory, name, Mode::from_bits_truncate(0o755)),
        Make::File => {
            let exclusive = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            openat(directory, name, exclusive, Mode::from_bits_truncate(0o644)).map(drop)
        }
    };
    match made {
        // Somebody was faster; what they made is looked at like anything else.
        Ok(()) | Err(Errno::EEXIST) => openat(directory, name, path, Mode::empty()),
        Err(errno) => Err(errno),
    }
}

fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

/// The file type bits of a mode.
pub(super) fn file_type(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}
