//! Device nodes, and the symbolic links that belong into every /dev (runtime specification, config-linux.md, "Default
//! Devices" and runtime-linux.md, "Dev symbolic links").

use std::borrow::Cow;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, makedev, mknodat};
use nix::unistd::{AccessFlags, Gid, Uid, UnlinkatFlags, access, fchownat, symlinkat, unlinkat};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use super::plan::{c_string, clean};
use super::root_fd::{Links, Make, RootFd, file_type};
use crate::error::{Error, OsContext, Result};
use crate::sys::mount;

/// Name below /dev, major, minor: character devices with mode 0666.
const DEFAULT_DEVICES: [(&CStr, u64, u64); 6] = [
    (c"null", 1, 3),
    (c"random", 1, 8),
    (c"full", 1, 7),
    (c"tty", 5, 0),
    (c"zero", 1, 5),
    (c"urandom", 1, 9),
];

/// Name below /dev and target.
const LINKS: [(&CStr, &CStr); 4] = [
    (c"fd", c"/proc/self/fd"),
    (c"stdin", c"/proc/self/fd/0"),
    (c"stdout", c"/proc/self/fd/1"),
    (c"stderr", c"/proc/self/fd/2"),
];

/// What will be made in /dev and elsewhere.
#[derive(Debug)]
pub(super) struct DevicePlan {
    nodes: Vec<Node>,
    /// False when config.json binds a directory on /dev: then what is in it is not ours to change.
    own_dev: bool,
}

#[derive(Debug)]
struct Node {
    /// For errors: `linux.devices[2] /dev/fuse`.
    label: Cow<'static, str>,
    /// None for /dev itself.
    directory: Option<CString>,
    name: Cow<'static, CStr>,
    kind: SFlag,
    device: libc::dev_t,
    mode: Mode,
    owner: Option<(Uid, Gid)>,
}

/// How nodes come into being.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// mknod(2), and where that is not permitted the host's own node.
    Mknod,
    /// mknod(2) alone: nothing can be mounted.
    OnlyMknod,
    /// The host's node: mknod(2) never works in a user namespace.
    Host,
}

impl DevicePlan {
    /// # Errors
    /// For a type, number or path that cannot be.
    pub(super) fn new(devices: &[LinuxDevice], binds_dev: bool) -> Result<DevicePlan> {
        let own_dev = !binds_dev;
        let mut nodes = Vec::with_capacity(DEFAULT_DEVICES.len() + devices.len());
        for (index, device) in devices.iter().enumerate() {
            let node = Node::plan(device, &format!("linux.devices[{index}]"))?;
            if own_dev
                || node
                    .directory
                    .as_deref()
                    .is_some_and(|path| !path.to_bytes().starts_with(b"/dev/"))
            {
                nodes.push(node);
            }
        }
        if own_dev {
            let given = nodes.len();
            for (name, major, minor) in DEFAULT_DEVICES {
                if !nodes
                    .iter()
                    .take(given)
                    .any(|node| node.directory.is_none() && *node.name == *name)
                {
                    nodes.push(Node::default(name, major, minor));
                }
            }
        }
        Ok(DevicePlan { nodes, own_dev })
    }

    /// Makes nodes and links. The file mode creation mask must be 0.
    pub(super) fn make(&self, root: &RootFd, source: Source) -> Result<()> {
        if self.nodes.is_empty() && !self.own_dev {
            return Ok(());
        }
        // No link may stand for /dev: a host directory could be meant (CVE-2026-41579).
        let (dev, _) = root
            .open_or_make(c"/dev", Links::Refuse, Make::Directory)
            .os("open directory", "/dev of the container")?;
        for node in &self.nodes {
            let made = match &node.directory {
                None => node.make(dev.as_fd(), source),
                Some(path) => root
                    .open_or_make(path, Links::Follow, Make::Directory)
                    .os("create directory", path.to_string_lossy())
                    .and_then(|(directory, _)| node.make(directory.as_fd(), source)),
            };
            made.map_err(|error| error.during(&node.label))?;
        }
        if self.own_dev {
            make_links(dev.as_fd())
        } else {
            Ok(())
        }
    }
}

impl Node {
    fn default(name: &'static CStr, major: u64, minor: u64) -> Node {
        Node {
            label: Cow::Borrowed("default device"),
            directory: None,
            name: Cow::Borrowed(name),
            kind: SFlag::S_IFCHR,
            device: makedev(major, minor),
            mode: Mode::from_bits_truncate(0o666),
            owner: None,
        }
    }

    fn plan(device: &LinuxDevice, field: &str) -> Result<Node> {
        let kind = match device.typ() {
            LinuxDeviceType::C | LinuxDeviceType::U => SFlag::S_IFCHR,
            LinuxDeviceType::B => SFlag::S_IFBLK,
            LinuxDeviceType::P => SFlag::S_IFIFO,
            LinuxDeviceType::A => {
                return Err(Error::invalid(
                    format_args!("{field}.type"),
                    "must be one of c, b, u, p",
                ));
            }
        };
        let number = |value: i64, name: &str| {
            let field = format_args!("{field}.{name}");
            u32::try_from(value)
                .map_err(|_| Error::invalid(field, format_args!("{value} is not a device number")))
        };
        let (major, minor) = match kind {
            SFlag::S_IFIFO => (0, 0),
            _ => (number(device.major(), "major")?, number(device.minor(), "minor")?),
        };
        let path = clean(device.path());
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Error::invalid(
                format_args!("{field}.path"),
                "does not name a file",
            ));
        };
        let field_path = format!("{field}.path");
        Ok(Node {
            label: Cow::Owned(format!("{field} {}", path.display())),
            directory: match directory == Path::new("/dev") {
                true => None,
                false => Some(c_string(directory, &field_path)?),
            },
            name: Cow::Owned(c_string(Path::new(name), &field_path)?),
            kind,
            device: makedev(u64::from(major), u64::from(minor)),
            // Some engines send the file type along.
            mode: Mode::from_bits_truncate(device.file_mode().unwrap_or(0o666) & 0o7777),
            owner: match (device.uid().unwrap_or(0), device.gid().unwrap_or(0)) {
                (0, 0) => None,
                (uid, gid) => Some((Uid::from_raw(uid), Gid::from_raw(gid))),
            },
        })
    }

    fn make(&self, directory: BorrowedFd, source: Source) -> Result<()> {
        if source == Source::Host && self.kind != SFlag::S_IFIFO {
            return self.bind_from_host(directory);
        }
        match mknodat(directory, &*self.name, self.kind, self.mode, self.device) {
            Ok(()) => self.change_owner(directory),
            Err(Errno::EEXIST) => {
                let there = fstatat(directory, &*self.name, AtFlags::AT_SYMLINK_NOFOLLOW);
                self.check(&there.os("stat", self.name.to_string_lossy())?, "the container")
            }
            Err(Errno::EPERM) if source == Source::Mknod => self.bind_from_host(directory),
            Err(errno) => Err(Error::os("mknod", self.name.to_string_lossy(), errno)),
        }
    }

    /// Only on the node that we made: somebody may have put another file in its place.
    fn change_owner(&self, directory: BorrowedFd) -> Result<()> {
        let Some((uid, gid)) = self.owner else {
            return Ok(());
        };
        let name = self.name.to_string_lossy();
        let node = openat(directory, &*self.name, O_PATH_NOFOLLOW, Mode::empty()).os("open", &name)?;
        self.check(&fstat(&node).os("stat", &name)?, "the container")?;
        fchownat(&node, c"", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH).os("chown", &name)
    }

    /// Puts the host's node of the same path over an empty file; it keeps its owner, mode and mount attributes.
    fn bind_from_host(&self, directory: BorrowedFd) -> Result<()> {
        let path = self.host_path()?;
        let shown = path.to_string_lossy();
        let node =
            open(&*path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).os("open the host's", &shown)?;
        self.check(&fstat(&node).os("stat the host's", &shown)?, "the host")?;
        let target = self.make_file(directory).os("create", &shown)?;
        mount::clone_tree(node, false)
            .and_then(|detached| mount::attach(detached, target))
            .os("bind mount the host's", &shown)
    }

    fn make_file(&self, directory: BorrowedFd) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(directory, &*self.name, flags, Mode::from_bits_truncate(0o644)) {
            Ok(_) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
        let file = openat(directory, &*self.name, O_PATH_NOFOLLOW, Mode::empty())?;
        match file_type(&fstat(&file)?) {
            SFlag::S_IFLNK => Err(Errno::ELOOP),
            _ => Ok(file),
        }
    }

    fn host_path(&self) -> Result<Cow<'static, CStr>> {
        let directory = self.directory.as_deref().unwrap_or(c"/dev").to_bytes();
        let path = [directory, b"/", self.name.to_bytes()].concat();
        let path = CString::new(path).map_err(|_| Error::invalid("linux.devices", "contains a NUL byte"))?;
        Ok(Cow::Owned(path))
    }

    fn check(&self, stat: &FileStat, whose: &str) -> Result<()> {
        let same_kind = file_type(stat) == self.kind;
        if same_kind && (self.kind == SFlag::S_IFIFO || stat.st_rdev == self.device) {
            return Ok(());
        }
        let name = self.name.to_string_lossy();
        let why = format_args!("{name} exists in {whose} and is not the device that was asked for");
        Err(Error::new(crate::error::Kind::Exists, why))
    }
}

const O_PATH_NOFOLLOW: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

fn make_links(dev: BorrowedFd) -> Result<()> {
    for (name, target) in LINKS {
        make_link(dev, name, target)?;
    }
    if access(c"/proc/kcore", AccessFlags::F_OK).is_ok() {
        make_link(dev, c"core", c"/proc/kcore")?;
    }
    // A ptmx of the image would open terminals of the host's devpts, so this one is replaced.
    let stage = "symlink /dev/ptmx to";
    match symlinkat(c"pts/ptmx", dev, c"ptmx") {
        Err(Errno::EEXIST) if readlinkat(dev, c"ptmx").is_ok_and(|target| target == "pts/ptmx") => Ok(()),
        Err(Errno::EEXIST) => unlinkat(dev, c"ptmx", UnlinkatFlags::NoRemoveDir)
            .and_then(|()| symlinkat(c"pts/ptmx", dev, c"ptmx"))
            .os(stage, "pts/ptmx"),
        result => result.os(stage, "pts/ptmx"),
    }
}

fn make_link(dev: BorrowedFd, name: &CStr, target: &CStr) -> Result<()> {
    match symlinkat(target, dev, name) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(Error::os(
            "symlink",
            format_args!("/dev/{}", name.to_string_lossy()),
            errno,
        )),
    }
}
