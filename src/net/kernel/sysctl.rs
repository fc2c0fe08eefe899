//! The kernel switches that networks need. Under /proc/sys/net every file is that of the calling thread's namespace.

use std::fs;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use crate::error::{OsContext, Result};
use crate::net::definition::Dirs;
use crate::net::file::{self, Durability};
use crate::sys::mount;

const ROOT: &str = "/proc/sys";
const INTERFACES: &str = "/proc/sys/net/ipv6/conf";

/// What we changed on the host, for whoever wants it back: a list of these in `/run/minirun/net/.host.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Changed {
    sysctl: String,
    before: String,
    now: String,
}

/// Switches on that the host forwards IPv4. Others may come to rely on it, so it is recorded, said, and never switched
/// off again. The caller holds the shared lock.
pub(in crate::net) fn forward_ipv4(dirs: &Dirs, network: &str) -> Result<()> {
    set(dirs, network, "net/ipv4/ip_forward", "1")
}

/// Switches on that the host forwards IPv6, as [`forward_ipv4`] does.
///
/// A host that forwards takes no routes from router advertisements any more and drops those that it has, unless an
/// interface says `accept_ra=2` (ip-sysctl of the kernel's documentation): interfaces that listened before go on doing
/// so.
pub(in crate::net) fn forward_ipv6(dirs: &Dirs, network: &str) -> Result<()> {
    const FORWARDING: &str = "net/ipv6/conf/all/forwarding";
    let path = Path::new(ROOT).join(FORWARDING);
    let before = fs::read_to_string(&path).os("read", path.display())?;
    if before.trim() != "0" {
        return Ok(());
    }
    for interface in fs::read_dir(INTERFACES).os("read directory", INTERFACES)? {
        let interface = interface.os("read directory", INTERFACES)?.file_name();
        let Some(name) = interface
            .to_str()
            .filter(|name| !["all", "default", "lo"].contains(name))
        else {
            continue;
        };
        // One that vanishes meanwhile needs nothing.
        let is = |switch: &str, value: &str| {
            fs::read_to_string(Path::new(INTERFACES).join(name).join(switch))
                .is_ok_and(|found| found.trim() == value)
        };
        if is("accept_ra", "1") && is("disable_ipv6", "0") && is("forwarding", "0") {
            set(dirs, network, &format!("net/ipv6/conf/{name}/accept_ra"), "2")?;
        }
    }
    set(dirs, network, FORWARDING, "1")
}

/// Sets a switch that is not set yet, written down before and said after. `switch` is its path below /proc/sys.
fn set(dirs: &Dirs, network: &str, switch: &str, value: &str) -> Result<()> {
    let path = Path::new(ROOT).join(switch);
    let before = fs::read_to_string(&path).os("read", path.display())?;
    let before = before.trim();
    if before == value {
        return Ok(());
    }
    let record = dirs.run.join(".host.json");
    let mut changes: Vec<Changed> = file::read(&record).ok().flatten().unwrap_or_default();
    // As people write it to sysctl(8): a dot in an interface's name is a slash there.
    let sysctl: String = switch
        .chars()
        .map(|letter| match letter {
            '/' => '.',
            '.' => '/',
            letter => letter,
        })
        .collect();
    if !changes.iter().any(|change| change.sysctl == sysctl) {
        changes.push(Changed {
            sysctl: sysctl.clone(),
            before: before.to_owned(),
            now: value.to_owned(),
        });
        file::replace(&record, &changes, Durability::UntilReboot)?;
    }
    fs::write(&path, value).os("write", path.display())?;
    crate::log::warn(format_args!(
        "network {network} needs {sysctl}={value}: set it (was {before}); it stays so, see {}",
        record.display()
    ));
    Ok(())
}

/// The switches of interfaces, through a mount of proc that is nobody else's.
///
/// The kernel keeps a name below /proc/sys/net for every namespace in which it was looked up, all in one chain, so
/// through the host's /proc each look-up walks past those of all containers: 1.5 ms of an attach when there are a
/// thousand. In a fresh mount there is nobody; making and closing it takes 25 us (Linux 6.18).
pub(in crate::net) struct Interfaces(OwnedFd);

impl Interfaces {
    /// # Errors
    /// When /proc cannot be opened either, which is what is left without the right to mount.
    pub(in crate::net) fn open() -> Result<Self> {
        const PROC: &str = "/proc";
        let mounted = mount::Context::open(c"proc").and_then(|context| context.mount(0));
        let proc = match mounted {
            Ok(proc) => proc,
            Err(_) => open(PROC, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).os("open", PROC)?,
        };
        Ok(Self(proc))
    }

    /// Keeps an interface of the calling thread's namespace from having IPv6 addresses nobody asked for, whatever
    /// routers on the link announce. To be called before the interface is up. Does nothing on a kernel without IPv6.
    pub(in crate::net) fn disable_ipv6(&self, interface: &str) -> Result<()> {
        match self.set(interface, &[("accept_ra", "0"), ("disable_ipv6", "1")]) {
            Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(()),
            result => result,
        }
    }

    /// Lets an interface have the IPv6 addresses that it is given and no others, but for the link-local one, which is
    /// there at once: nobody else's is made of the same Ethernet address. To be called before the interface is up.
    ///
    /// # Errors
    /// Also when the kernel has no IPv6.
    pub(in crate::net) fn static_ipv6(&self, interface: &str) -> Result<()> {
        let switches = [
            ("accept_ra", "0"),
            ("autoconf", "0"),
            ("accept_dad", "0"),
            ("disable_ipv6", "0"),
        ];
        self.set(interface, &switches)
            .map_err(|error| match error.errno() {
                Some(Errno::ENOENT) => error.hint("does this kernel have IPv6?"),
                _ => error,
            })
    }

    fn set(&self, interface: &str, switches: &[(&str, &str)]) -> Result<()> {
        let path = format!("sys/net/ipv6/conf/{interface}");
        let shown = |switch: &str| format!("/proc/{path}/{switch}");
        let directory = openat(
            &self.0,
            path.as_str(),
            OFlag::O_PATH | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .os("open", shown(""))?;
        for (switch, value) in switches {
            let file = openat(
                &directory,
                *switch,
                OFlag::O_WRONLY | OFlag::O_CLOEXEC,
                Mode::empty(),
            )
            .os("open", shown(switch))?;
            fs::File::from(file)
                .write_all(value.as_bytes())
                .os("write", shown(switch))?;
        }
        Ok(())
    }
}
