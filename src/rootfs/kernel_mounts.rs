//! The host's procfs and sysfs mounts, which must not stay reachable when there is no pivot_root. The only place that
//! reads mountinfo (proc_pid_mountinfo(5)).

use std::collections::HashSet;
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;

use super::root_fd::RootFd;
use crate::error::{Error, Kind, OsContext, Result};
use crate::sys::mount::{self, Context, attribute};
use crate::sys::procfs;

/// One line of mountinfo, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    id: u64,
    parent: u64,
    mount_point: Vec<u8>,
    fs_type: Vec<u8>,
}

/// Unmounts every procfs and sysfs that is not part of the container; what is locked is covered by a tmpfs.
pub(super) fn hide(root: &RootFd) -> Result<()> {
    let table = fs::read("/proc/thread-self/mountinfo").os("read", "/proc/thread-self/mountinfo")?;
    let lines: Vec<Line> = table
        .split(|byte| *byte == b'\n')
        .filter_map(Line::parse)
        .collect();
    let container = tree(&lines, mount_id(root)?);
    let kernel = |line: &&Line| matches!(line.fs_type.as_slice(), b"proc" | b"sysfs");
    // Newest first: what lies on top of another goes before it.
    for line in lines
        .iter()
        .rev()
        .filter(kernel)
        .filter(|line| !container.contains(&line.id))
    {
        unmount_or_cover(&line.mount_point)?;
    }
    Ok(())
}

fn unmount_or_cover(mount_point: &[u8]) -> Result<()> {
    let shown = String::from_utf8_lossy(mount_point);
    let path = CString::new(mount_point).map_err(|_| Error::new(Kind::Os, "NUL byte in mountinfo"))?;
    match umount2(path.as_c_str(), MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        // Locked together with the mounts of a more privileged namespace, or gone with the mount below it.
        Err(Errno::EINVAL | Errno::EPERM) => cover(&path).os("cover with a tmpfs", shown),
        Err(errno) => Err(Error::os("unmount", shown, errno)),
    }
}

fn cover(path: &CString) -> nix::Result<()> {
    let place = match open(path.as_c_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(()),
        result => result?,
    };
    let tmpfs = Context::open(c"tmpfs")?.mount(attribute::RDONLY)?;
    mount::attach(tmpfs, place)
}

/// The mount that the container's root is, from the descriptor itself.
fn mount_id(root: &RootFd) -> Result<u64> {
    let path = format!("/proc/self/fdinfo/{}", root.as_fd().as_raw_fd());
    let info = fs::read_to_string(&path).os("read", &path)?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    id.and_then(|id| id.trim().parse().ok())
        .ok_or_else(|| Error::new(Kind::Os, format_args!("{path} has no mnt_id")))
}

/// The mount `top` and all mounts below it; mountinfo is in no order of parents and children.
fn tree(lines: &[Line], top: u64) -> HashSet<u64> {
    let mut tree = HashSet::from([top]);
    loop {
        let before = tree.len();
        let below: Vec<u64> = lines
            .iter()
            .filter(|line| tree.contains(&line.parent))
            .map(|line| line.id)
            .collect();
        tree.extend(below);
        if tree.len() == before {
            return tree;
        }
    }
}

impl Line {
    fn parse(line: &[u8]) -> Option<Line> {
        let mut fields = line.split(|byte| *byte == b' ');
        let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
        let (id, parent) = (number()?, number()?);
        let mount_point = procfs::unescape(fields.nth(2)?).into_vec();
        // Optional fields end with a dash.
        let fs_type = fields.skip_while(|field| *field != b"-").nth(1)?.to_vec();
        Some(Line {
            id,
            parent,
            mount_point,
            fs_type,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_read_with_its_optional_fields_and_escapes() {
        let line =
            b"36 35 98:0 /mnt1 /my\\040dir\\134x rw,noatime master:1 shared:2 - proc none rw,errors=continue";
        let expected = Line {
            id: 36,
            parent: 35,
            mount_point: b"/my dir\\x".to_vec(),
            fs_type: b"proc".to_vec(),
        };
        assert_eq!(Line::parse(line), Some(expected));
        assert_eq!(Line::parse(b""), None);
    }

    #[test]
    fn the_tree_below_a_mount_is_found_in_any_order() {
        let line = |id, parent| Line {
            id,
            parent,
            mount_point: Vec::new(),
            fs_type: Vec::new(),
        };
        let lines = [line(9, 7), line(7, 5), line(6, 1), line(5, 1)];
        assert_eq!(tree(&lines, 5), HashSet::from([5, 7, 9]));
    }
}
