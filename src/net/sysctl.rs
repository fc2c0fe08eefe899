//! The kernel switches that networks need. Under /proc/sys/net every file is that of the calling thread's namespace.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::definition::Dirs;
use super::file::{self, Durability};
use crate::error::{OsContext, Result};

const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// What we changed on the host, for whoever wants it back: `/run/minirun/net/.host.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Changed {
    sysctl: String,
    before: String,
    now: String,
}

/// Switches on that the host forwards IPv4. Others may come to rely on it, so it is recorded, said, and never switched
/// off again. The caller holds the shared lock.
pub(super) fn forward_ipv4(dirs: &Dirs, network: &str) -> Result<()> {
    let before = fs::read_to_string(IP_FORWARD).os("read", IP_FORWARD)?;
    if before.trim() != "0" {
        return Ok(());
    }
    let record = dirs.run.join(".host.json");
    let changed = Changed {
        sysctl: "net.ipv4.ip_forward".to_owned(),
        before: "0".to_owned(),
        now: "1".to_owned(),
    };
    file::replace(&record, &[changed], Durability::UntilReboot)?;
    fs::write(IP_FORWARD, "1").os("write", IP_FORWARD)?;
    crate::log::warn(format_args!(
        "network {network} needs net.ipv4.ip_forward: switched it on (was 0); it stays on, see {}",
        record.display()
    ));
    Ok(())
}

/// Keeps an interface from having IPv6 addresses nobody asked for, whatever routers on the link announce. To be called
/// before the interface is up. Does nothing on a kernel without IPv6.
pub(super) fn disable_ipv6(interface: &str) -> Result<()> {
    let directory = Path::new("/proc/sys/net/ipv6/conf").join(interface);
    for (name, value) in [("accept_ra", "0"), ("disable_ipv6", "1")] {
        let path = directory.join(name);
        match fs::write(&path, value) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            result => result.os("write", path.display())?,
        }
    }
    Ok(())
}
