//! What the kernel itself takes for one container: the system calls of `minirun run` with runc's default configuration, and
//! nothing else. `make bench` measures it in the same run, so that the distance of a runtime to it is a figure.
//!
//! ```sh
//! floor ROOTFS PROGRAM                          # without control groups
//! floor ROOTFS PROGRAM GROUP cpu memory pids    # with /sys/fs/cgroup/cpu/GROUP and so on (cgroup v1)
//! ```
//!
//! Namespaces, mounts, devices, masked paths, pivot_root, identity and capabilities are those of the default
//! configuration, in its order and with one classic mount(2) where that does. Nothing is parsed, planned or recorded,
//! no path is protected against a hostile image, nobody can start, signal or delete the container: it is no runtime.

use std::env;
use std::ffi::{CStr, CString};
use std::fs::{File, OpenOptions, create_dir, remove_dir};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use minirun::error::{Error, Kind, OsContext as _, Result};
use minirun::sys::clone::{self, Options};
use minirun::sys::mount::{self as mounts, Change, attribute};
use minirun::sys::{capability, net, process};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_no_new_privs;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, SFlag, makedev, mknod, umask};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{chdir, execv, mkdir, pivot_root, sethostname, setsid, symlinkat};

const USAGE: &str = "usage: floor ROOTFS PROGRAM [GROUP CONTROLLER...]";

/// CAP_KILL, CAP_NET_BIND_SERVICE, CAP_AUDIT_WRITE.
const CAPABILITIES: u64 = 1 << 5 | 1 << 10 | 1 << 29;

const MASKED: [&CStr; 12] = [
    c"/proc/acpi",
    c"/proc/asound",
    c"/proc/interrupts",
    c"/proc/kcore",
    c"/proc/keys",
    c"/proc/latency_stats",
    c"/proc/timer_list",
    c"/proc/timer_stats",
    c"/proc/sched_debug",
    c"/proc/scsi",
    c"/sys/devices/virtual/powercap",
    c"/sys/firmware",
];
const READ_ONLY: [&CStr; 5] = [
    c"/proc/bus",
    c"/proc/fs",
    c"/proc/irq",
    c"/proc/sys",
    c"/proc/sysrq-trigger",
];
/// Name below /dev, major, minor.
const DEVICES: [(&CStr, u64, u64); 6] = [
    (c"dev/null", 1, 3),
    (c"dev/zero", 1, 5),
    (c"dev/full", 1, 7),
    (c"dev/random", 1, 8),
    (c"dev/urandom", 1, 9),
    (c"dev/tty", 5, 0),
];
const LINKS: [(&CStr, &CStr); 5] = [
    (c"/proc/self/fd", c"dev/fd"),
    (c"/proc/self/fd/0", c"dev/stdin"),
    (c"/proc/self/fd/1", c"dev/stdout"),
    (c"/proc/self/fd/2", c"dev/stderr"),
    (c"pts/ptmx", c"dev/ptmx"),
];
/// What the specification allows every container, and what runc adds.
const ALLOWED_DEVICES: [&str; 11] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
    "c 10:200 rwm",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        [rootfs, program] => container(rootfs, program, &[]),
        [rootfs, program, group, ref controllers @ ..] => in_groups(rootfs, program, group, controllers),
        _ => Err(Error::new(Kind::InvalidConfig, USAGE)),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn in_groups(rootfs: &str, program: &str, group: &str, controllers: &[&str]) -> Result<u8> {
    let groups: Vec<PathBuf> = controllers
        .iter()
        .map(|controller| PathBuf::from(format!("/sys/fs/cgroup/{controller}/{group}")))
        .collect();
    for directory in &groups {
        create_dir(directory).os("create", directory.display())?;
        limit(directory)?;
    }
    let result = container(rootfs, program, &groups);
    for directory in &groups {
        remove_dir(directory).os("remove", directory.display())?;
    }
    result
}

/// The device rules, and what a cpuset needs before it takes a process.
fn limit(group: &Path) -> Result<()> {
    let parent = group.parent().unwrap_or(group);
    if parent.ends_with("devices") {
        write(&group.join("devices.deny"), &["a"])?;
        write(&group.join("devices.allow"), &ALLOWED_DEVICES)?;
    } else if parent.ends_with("cpuset") {
        for name in ["cpuset.cpus", "cpuset.mems"] {
            let mut value = [0; 256];
            let above = parent.join(name);
            let length = File::open(&above)
                .and_then(|mut file| file.read(&mut value))
                .os("read", above.display())?;
            let text = String::from_utf8_lossy(&value[..length]);
            write(&group.join(name), &[&text])?;
        }
    }
    Ok(())
}

/// Opens a file of a control group once and writes the values one by one.
fn write(path: &Path, values: &[&str]) -> Result<()> {
    let put = || {
        let mut file = OpenOptions::new().write(true).open(path)?;
        values
            .iter()
            .try_for_each(|value| file.write_all(value.as_bytes()))
    };
    put().os("write", path.display())
}

/// Runs the program as the first process of a container and returns its exit code.
fn container(rootfs: &str, program: &str, groups: &[PathBuf]) -> Result<u8> {
    let flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET;
    let rootfs = CString::new(rootfs).map_err(|_| Error::new(Kind::InvalidConfig, USAGE))?;
    let program = CString::new(program).map_err(|_| Error::new(Kind::InvalidConfig, USAGE))?;
    let options = Options {
        flags: flags.into(),
        cgroup: None,
    };
    let child = clone::spawn(options, || match first_process(&rootfs, &program, groups) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("floor: {error}");
            1
        }
    })
    .os("clone", "the container")?;
    match waitpid(child.pid, None).os("wait for", "the container")? {
        WaitStatus::Exited(_, code) => Ok(u8::try_from(code).unwrap_or(u8::MAX)),
        _ => Ok(u8::MAX),
    }
}

fn first_process(rootfs: &CStr, program: &CStr, groups: &[PathBuf]) -> Result<std::convert::Infallible> {
    for group in groups {
        write(&group.join("tasks"), &["0"])?;
    }
    unshare(CloneFlags::CLONE_NEWCGROUP).os("unshare", "the cgroup namespace")?;
    setsid().os("setsid", "")?;
    sethostname("floor").os("sethostname", "floor")?;
    net::loopback_up().os("set up", "lo")?;
    mount_all(rootfs, groups).os("mount below", rootfs.to_string_lossy())?;
    devices().os("make devices below", rootfs.to_string_lossy())?;
    pivot_root(c".", c".").os("pivot_root to", rootfs.to_string_lossy())?;
    umount2(c".", MntFlags::MNT_DETACH).os("unmount", "the old root")?;
    chdir(c"/").os("chdir to", "/")?;
    restrict().os("mask and make read-only", "paths below /proc and /sys")?;
    become_the_user().os("settle", "the process")?;
    execv(program, &[program]).os("execute", program.to_string_lossy())
}

fn mount_all(rootfs: &CStr, groups: &[PathBuf]) -> nix::Result<()> {
    let (nosuid, noexec, nodev) = (MsFlags::MS_NOSUID, MsFlags::MS_NOEXEC, MsFlags::MS_NODEV);
    let hardened = nosuid | noexec | nodev;
    let recursive = MsFlags::MS_BIND | MsFlags::MS_REC;
    set(c"/", MsFlags::MS_REC | MsFlags::MS_SLAVE)?;
    mount(Some(rootfs), rootfs, NONE, recursive, NONE)?;
    chdir(rootfs)?;
    umask(Mode::empty());
    fs(c"proc", c"proc", MsFlags::empty(), NONE)?;
    fs(
        c"tmpfs",
        c"dev",
        nosuid | MsFlags::MS_STRICTATIME,
        Some(c"mode=755,size=65536k"),
    )?;
    for (fs_type, directory, flags, options) in [
        (
            c"devpts",
            c"dev/pts",
            nosuid | noexec,
            Some(c"newinstance,ptmxmode=0666,mode=0620,gid=5"),
        ),
        (c"tmpfs", c"dev/shm", hardened, Some(c"mode=1777,size=65536k")),
        (c"mqueue", c"dev/mqueue", hardened, NONE),
    ] {
        mkdir(directory, Mode::from_bits_truncate(0o755))?;
        fs(fs_type, directory, flags, options)?;
    }
    fs(c"sysfs", c"sys", hardened | MsFlags::MS_RDONLY, NONE)?;
    if groups.is_empty() {
        return Ok(());
    }
    fs(c"tmpfs", c"sys/fs/cgroup", hardened, Some(c"mode=755"))?;
    let path_only = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let restricted = attribute::RDONLY | attribute::NOSUID | attribute::NODEV | attribute::NOEXEC;
    for group in groups {
        let controller = group.parent().and_then(Path::file_name).ok_or(Errno::EINVAL)?;
        let target = Path::new("sys/fs/cgroup").join(controller);
        mkdir(&target, Mode::from_bits_truncate(0o755))?;
        let directory = open(group, path_only, Mode::empty())?;
        let tree = mounts::clone_tree(&directory, false)?;
        mounts::set_attributes(&tree, false, Change::set(restricted))?;
        let place = open(&target, path_only, Mode::empty())?;
        mounts::attach(&tree, &place)?;
    }
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    set(c"sys/fs/cgroup", flags | hardened)
}

const NONE: Option<&CStr> = None;

fn fs(fs_type: &CStr, target: &CStr, flags: MsFlags, options: Option<&CStr>) -> nix::Result<()> {
    mount(Some(fs_type), target, Some(fs_type), flags, options)
}

fn set(target: &CStr, flags: MsFlags) -> nix::Result<()> {
    mount(NONE, target, NONE, flags, NONE)
}

fn devices() -> nix::Result<()> {
    for (name, major, minor) in DEVICES {
        mknod(
            name,
            SFlag::S_IFCHR,
            Mode::from_bits_truncate(0o666),
            makedev(major, minor),
        )?;
    }
    for (target, name) in LINKS {
        symlinkat(target, AT_FDCWD, name)?;
    }
    Ok(())
}

/// Read-only root, masked paths and read-only paths. One tmpfs masks all directories.
fn restrict() -> nix::Result<()> {
    let bind = MsFlags::MS_BIND;
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    set(c"/", read_only)?;
    let mut masked_directory = NONE;
    for path in MASKED {
        match mount(Some(c"/dev/null"), path, NONE, bind, NONE) {
            Ok(()) | Err(Errno::ENOENT) => continue,
            Err(Errno::ENOTDIR) => {}
            Err(errno) => return Err(errno),
        }
        match masked_directory {
            None => fs(c"tmpfs", path, MsFlags::MS_RDONLY, Some(c"nr_inodes=1"))?,
            directory => mount(directory, path, NONE, bind, NONE)?,
        }
        masked_directory = Some(path);
    }
    for path in READ_ONLY {
        match mount(Some(path), path, NONE, bind | MsFlags::MS_REC, NONE) {
            Ok(()) => set(path, read_only)?,
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn become_the_user() -> nix::Result<()> {
    process::join_session_keyring(c"_ses.floor")?;
    umask(Mode::from_bits_truncate(0o022));
    setrlimit(Resource::RLIMIT_NOFILE, 1024, 1024)?;
    for number in 0..64 {
        if CAPABILITIES & 1 << number != 0 {
            continue;
        }
        match capability::drop_from_bounding_set(number) {
            // The first that the kernel does not know.
            Err(Errno::EINVAL) => break,
            // A caller in a container of its own may lack some; then they are not there to be dropped.
            Ok(()) | Err(Errno::EPERM) => {}
            Err(errno) => return Err(errno),
        }
    }
    process::set_groups(&[])?;
    process::set_group(0)?;
    process::set_user(0)?;
    capability::set(CAPABILITIES, CAPABILITIES, 0)?;
    set_no_new_privs()?;
    process::close_on_exec_from(3)
}
