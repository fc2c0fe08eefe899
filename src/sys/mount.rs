//! The mount API on descriptors: fsopen, fsconfig, fsmount, fspick, open_tree, move_mount, mount_setattr.
//!
//! Everything here takes the descriptor of an object, never its path, so a rename or a symbolic link cannot redirect a
//! mount. Needs Linux 5.12 (mount_setattr); the others are from 5.2.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use libc::{c_char, c_int, c_long, c_uint};
use nix::errno::Errno;

/// Attributes of one mount (`MOUNT_ATTR_*`, linux/mount.h), as opposed to options of its file system.
pub mod attribute {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// Set-user-ID bits and file capabilities have no effect.
    pub const NOSUID: u64 = 0x2;
    /// Device nodes cannot be opened.
    pub const NODEV: u64 = 0x4;
    /// Programs cannot be executed.
    pub const NOEXEC: u64 = 0x8;
    /// The mask of the access time policy, which is an enumeration: to set one value, clear the mask.
    pub const ATIME: u64 = 0x70;
    /// Access times are updated relative to the modification time; the kernel's default.
    pub const RELATIME: u64 = 0x0;
    /// Access times are never updated.
    pub const NOATIME: u64 = 0x10;
    /// Access times are always updated.
    pub const STRICTATIME: u64 = 0x20;
    /// Access times of directories are never updated.
    pub const NODIRATIME: u64 = 0x80;
    /// Symbolic links on the mount are not followed (Linux 5.14).
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// Maps ids by a user namespace; cannot be taken back.
const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;
const FSOPEN_CLOEXEC: c_uint = 1;
const FSMOUNT_CLOEXEC: c_uint = 1;
const FSPICK_CLOEXEC: c_uint = 1;
const FSPICK_EMPTY_PATH: c_uint = 8;
const FSCONFIG_SET_FLAG: c_uint = 0;
const FSCONFIG_SET_STRING: c_uint = 1;
const FSCONFIG_CMD_CREATE: c_uint = 6;
const FSCONFIG_CMD_RECONFIGURE: c_uint = 7;
pub(super) const OPEN_TREE_CLONE: c_uint = 1;
pub(super) const OPEN_TREE_CLOEXEC: c_uint = libc::O_CLOEXEC as c_uint;
const AT_RECURSIVE: c_uint = 0x8000;
const AT_EMPTY_PATH: c_uint = libc::AT_EMPTY_PATH as c_uint;
const MOVE_MOUNT_F_EMPTY_PATH: c_uint = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: c_uint = 0x40;

/// The longest value, in bytes, that fsconfig(2) accepts for a string option; longer ones need mount(2).
pub const LONGEST_OPTION_VALUE: usize = 255;

/// How mount events travel between this mount and its copies (mount_namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// In no direction.
    Private,
    /// In both directions.
    Shared,
    /// From the original to this copy.
    Slave,
    /// In no direction, and the mount cannot be copied.
    Unbindable,
}

impl Propagation {
    fn bits(self) -> u64 {
        match self {
            Propagation::Private => libc::MS_PRIVATE,
            Propagation::Shared => libc::MS_SHARED,
            Propagation::Slave => libc::MS_SLAVE,
            Propagation::Unbindable => libc::MS_UNBINDABLE,
        }
    }
}

/// What [`set_attributes`] changes; the default changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// [`attribute`] bits to set.
    pub set: u64,
    /// [`attribute`] bits to clear first.
    pub clear: u64,
    /// New propagation type.
    pub propagation: Option<Propagation>,
}

impl Change {
    /// Sets the given [`attribute`] bits and leaves the others.
    pub fn set(bits: u64) -> Self {
        Change {
            set: bits,
            ..Change::default()
        }
    }

    /// Only changes the propagation type.
    pub fn propagation(propagation: Propagation) -> Self {
        Change {
            propagation: Some(propagation),
            ..Change::default()
        }
    }

    /// Whether applying it would do nothing.
    pub fn is_empty(&self) -> bool {
        *self == Change::default()
    }
}

/// `struct mount_attr` of linux/mount.h, 32 bytes since Linux 5.12.
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Changes attributes of the mount whose root is `mount`, and with `recursive` of every mount below it: all or none.
///
/// # Errors
/// EPERM when an attribute is locked by a more privileged user namespace; EINVAL when `mount` is not a mount's root.
pub fn set_attributes(mount: impl AsFd, recursive: bool, change: Change) -> nix::Result<()> {
    let attr = MountAttr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: change.propagation.map_or(0, Propagation::bits),
        userns_fd: 0,
    };
    mount_setattr(mount.as_fd(), recursive, &attr)
}

/// Maps the ids of a detached mount, and with `recursive` of every mount below it, by a user namespace (ID-mapped mounts,
/// Linux 5.12): all or none.
///
/// # Errors
/// EINVAL when the file system cannot be mapped or the mount is attached; EPERM without CAP_SYS_ADMIN over the file
/// system, for a mount that is mapped already, and for the initial user namespace.
pub fn map_ids(mount: impl AsFd, recursive: bool, user_namespace: BorrowedFd<'_>) -> nix::Result<()> {
    let attr = MountAttr {
        attr_set: MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: user_namespace.as_raw_fd().unsigned_abs().into(),
    };
    mount_setattr(mount.as_fd(), recursive, &attr)
}

fn mount_setattr(mount: BorrowedFd<'_>, recursive: bool, attr: &MountAttr) -> nix::Result<()> {
    // SAFETY: the path is a terminated string, `attr` outlives the call and its true size is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 },
            ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    Errno::result(result).map(drop)
}

/// A detached copy of the mount that `source` lies on, from `source` downwards: the new form of a bind mount. Closing
/// the descriptor before [`attach`] throws the copy away.
///
/// # Errors
/// EINVAL when the mount is unbindable, belongs to another mount namespace, or has locked mounts below it and
/// `recursive` is false; EPERM without CAP_SYS_ADMIN.
pub fn clone_tree(source: impl AsFd, recursive: bool) -> nix::Result<OwnedFd> {
    let flags =
        OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a terminated string and lives through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            source.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
        )
    };
    owned(result)
}

/// As [`clone_tree`] of the object at an absolute path of the host; symbolic links are followed.
///
/// # Errors
/// As [`clone_tree`], and those of looking up a path.
pub fn clone_path(path: &CStr) -> nix::Result<OwnedFd> {
    // SAFETY: the path is a terminated string and lives through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            libc::AT_FDCWD,
            path.as_ptr(),
            OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC,
        )
    };
    owned(result)
}

/// Attaches a detached mount (or moves an attached one) onto the object that `target` refers to. Afterwards `mount`
/// refers to the root of the attached mount. Costs no RCU wait (Linux 6.18: move_mount 0.9 us, close 0.3 us).
///
/// # Errors
/// ENOTDIR when one is a directory and the other is not; EINVAL when `target` lies in another mount namespace.
pub fn attach(mount: impl AsFd, target: impl AsFd) -> nix::Result<()> {
    // SAFETY: both paths are terminated strings and live through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            target.as_fd().as_raw_fd(),
            c"".as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    };
    Errno::result(result).map(drop)
}

/// As [`attach`], onto the entry `name` of a directory, which is not followed if it is a symbolic link.
///
/// # Errors
/// As [`attach`].
pub fn attach_at(mount: impl AsFd, directory: impl AsFd, name: &CStr) -> nix::Result<()> {
    // SAFETY: both paths are terminated strings and live through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            directory.as_fd().as_raw_fd(),
            name.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    Errno::result(result).map(drop)
}

/// A file system being configured (fsopen(2)) or reconfigured (fspick(2)).
#[derive(Debug)]
pub struct Context(OwnedFd);

impl Context {
    /// Starts a new file system of the given type.
    ///
    /// # Errors
    /// ENODEV when the kernel does not know the type; EPERM without CAP_SYS_ADMIN.
    pub fn open(fs_type: &CStr) -> nix::Result<Context> {
        // SAFETY: the type is a terminated string and lives through the call.
        let result = unsafe { libc::syscall(libc::SYS_fsopen, fs_type.as_ptr(), FSOPEN_CLOEXEC) };
        owned(result).map(Context)
    }

    /// Starts a change of the file system whose mount has its root at `mount`.
    ///
    /// # Errors
    /// EINVAL when `mount` is not a mount's root; EPERM without CAP_SYS_ADMIN over the file system.
    pub fn pick(mount: BorrowedFd) -> nix::Result<Context> {
        // SAFETY: the path is a terminated string and lives through the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_fspick,
                mount.as_raw_fd(),
                c"".as_ptr(),
                FSPICK_CLOEXEC | FSPICK_EMPTY_PATH,
            )
        };
        owned(result).map(Context)
    }

    /// Sets an option without a value, such as `ro`.
    ///
    /// # Errors
    /// EINVAL when the file system does not know it; [`Context::complaint`] may say more.
    pub fn flag(&self, key: &CStr) -> nix::Result<()> {
        self.configure(FSCONFIG_SET_FLAG, Some(key), None)
    }

    /// Sets an option with a value of at most [`LONGEST_OPTION_VALUE`] bytes.
    ///
    /// # Errors
    /// EINVAL when the file system does not know it or refuses the value; [`Context::complaint`] may say more.
    pub fn string(&self, key: &CStr, value: &CStr) -> nix::Result<()> {
        self.configure(FSCONFIG_SET_STRING, Some(key), Some(value))
    }

    /// Makes the file system and a detached mount of it with the given [`attribute`] bits.
    ///
    /// # Errors
    /// Whatever the file system refuses; [`Context::complaint`] may say more.
    pub fn mount(&self, attributes: u64) -> nix::Result<OwnedFd> {
        self.configure(FSCONFIG_CMD_CREATE, None, None)?;
        // SAFETY: plain numbers; the kernel takes no pointer.
        let result = unsafe {
            libc::syscall(
                libc::SYS_fsmount,
                self.0.as_raw_fd(),
                FSMOUNT_CLOEXEC,
                // All attributes lie in the low 32 bits.
                attributes as c_uint,
            )
        };
        owned(result)
    }

    /// Applies the options to a picked file system.
    ///
    /// # Errors
    /// Whatever the file system refuses; [`Context::complaint`] may say more.
    pub fn reconfigure(&self) -> nix::Result<()> {
        self.configure(FSCONFIG_CMD_RECONFIGURE, None, None)
    }

    /// What the file system said about the last failure, in its own words.
    pub fn complaint(&self) -> Option<String> {
        let mut buffer = [0; 512];
        let length = nix::unistd::read(&self.0, &mut buffer).ok()?;
        let text = String::from_utf8_lossy(buffer.get(..length)?);
        // Each message starts with its severity: "e tmpfs: Bad value for 'size'".
        let message = text.trim_end().trim_start_matches(['e', 'w', 'i']).trim_start();
        (!message.is_empty()).then(|| message.to_owned())
    }

    fn configure(&self, command: c_uint, key: Option<&CStr>, value: Option<&CStr>) -> nix::Result<()> {
        let pointer = |text: Option<&CStr>| text.map_or(ptr::null::<c_char>(), CStr::as_ptr);
        // SAFETY: key and value are null where the command wants none, else terminated strings that outlive the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                self.0.as_raw_fd(),
                command,
                pointer(key),
                pointer(value),
                0 as c_int,
            )
        };
        Errno::result(result).map(drop)
    }
}

/// The descriptor that a system call returned, or its error.
fn owned(result: c_long) -> nix::Result<OwnedFd> {
    let fd = Errno::result(result)?;
    // SAFETY: the kernel has just made this descriptor for us, it fits an int, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}
