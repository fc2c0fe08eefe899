//! Capabilities (capabilities(7)): `process.capabilities` of config.json, put on the container's process in the steps that
//! the kernel's rules force.
//!
//! 1. [`Capabilities::drop_bounding`] while the thread has CAP_SETPCAP;
//! 2. the change of user, with `PR_SET_KEEPCAPS`, without which it would empty the permitted set;
//! 3. [`Capabilities::apply`]: effective, permitted and inheritable in one call, then ambient one by one.
//!
//! Sets are bit masks rather than sets of the `caps` crate's type: a kernel newer than that type has capabilities that
//! would stay in the bounding set unnoticed, and nothing has to be allocated between clone and execve. Names, numbers
//! and the ambient set are the crate's.

use std::fmt::{self, Display, Formatter};

use caps::{CapSet, Capability};
use nix::errno::Errno;
use oci_spec::runtime::{Capabilities as Names, Capability as Name, LinuxCapabilities};

use crate::error::{Error, Kind, OsContext, Result};
use crate::log;
use crate::sys::capability;

/// The sets of a process. Bit n is capability number n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    bounding: u64,
    effective: u64,
    permitted: u64,
    inheritable: u64,
    ambient: u64,
}

impl Capabilities {
    /// Translates `process.capabilities`; pure. Without the object every set is empty, as in runc.
    pub fn plan(capabilities: Option<&LinuxCapabilities>) -> Self {
        let set = |get: fn(&LinuxCapabilities) -> &Option<Names>| {
            mask(capabilities.and_then(|sets| get(sets).as_ref()))
        };
        Self {
            bounding: set(LinuxCapabilities::bounding),
            effective: set(LinuxCapabilities::effective),
            permitted: set(LinuxCapabilities::permitted),
            inheritable: set(LinuxCapabilities::inheritable),
            ambient: set(LinuxCapabilities::ambient),
        }
    }

    /// Takes everything out of the bounding set that the configuration does not list.
    ///
    /// # Errors
    /// `EPERM` without CAP_SETPCAP.
    pub fn drop_bounding(&self) -> Result<()> {
        for bit in bits(!self.bounding) {
            match capability::drop_from_bounding_set(bit) {
                Ok(()) => {}
                // The kernel has no more.
                Err(Errno::EINVAL) => break,
                // A runtime in a container may lack what it takes, and have nothing to drop.
                Err(Errno::EPERM) if capability::is_in_bounding_set(bit) == Ok(false) => {}
                Err(errno) => {
                    return Err(Error::os(
                        "drop from the capability bounding set",
                        Named(bit),
                        errno,
                    ));
                }
            }
        }
        Ok(())
    }

    /// Sets the other four, after the change of user. What cannot be granted is left out with a warning, as the
    /// specification wants.
    ///
    /// # Errors
    /// When the kernel refuses a set all the same.
    pub fn apply(&self) -> Result<()> {
        let granted = self.grantable(capability::permitted().os("read", "the permitted capabilities")?);
        self.warn_of_lost(&granted);
        capability::set(granted.effective, granted.permitted, granted.inheritable)
            .os("set", "capabilities")?;
        caps::clear(None, CapSet::Ambient)
            .map_err(|error| Error::new(Kind::Os, format_args!("clear the ambient capabilities: {error}")))?;
        for capability in KNOWN
            .into_iter()
            .filter(|known| granted.ambient & known.bitmask() != 0)
        {
            if let Err(error) = caps::raise(None, CapSet::Ambient, capability) {
                log::warn(format_args!(
                    "process.capabilities.ambient: {capability}: {error}"
                ));
            }
        }
        Ok(())
    }

    /// What the kernel will take, given what the thread is permitted now (capset(2), `PR_CAP_AMBIENT_RAISE`).
    fn grantable(&self, ours: u64) -> Self {
        let permitted = self.permitted & ours;
        let inheritable = self.inheritable & self.bounding & ours;
        Self {
            bounding: self.bounding & ours,
            effective: self.effective & permitted,
            permitted,
            inheritable,
            ambient: self.ambient & permitted & inheritable,
        }
    }

    fn warn_of_lost(&self, granted: &Self) {
        for (set, lost, why) in [
            (
                "permitted",
                self.permitted & !granted.permitted,
                "the runtime itself does not have it",
            ),
            (
                "effective",
                self.effective & !granted.effective,
                "not in the permitted set",
            ),
            (
                "inheritable",
                self.inheritable & !granted.inheritable,
                "not in the bounding set",
            ),
            (
                "ambient",
                self.ambient & !granted.ambient,
                "not in both the permitted and the inheritable set",
            ),
        ] {
            if lost != 0 {
                log::warn(format_args!(
                    "process.capabilities.{set}: {} not given: {why}",
                    List(lost)
                ));
            }
        }
    }
}

/// The names of all capabilities that we know, for `features`.
pub fn names() -> Vec<String> {
    KNOWN.iter().map(Capability::to_string).collect()
}

fn mask(names: Option<&Names>) -> u64 {
    names
        .into_iter()
        .flatten()
        .map(|name| number(*name).bitmask())
        .fold(0, |all, bit| all | bit)
}

fn number(name: Name) -> Capability {
    match name {
        Name::Chown => Capability::CAP_CHOWN,
        Name::DacOverride => Capability::CAP_DAC_OVERRIDE,
        Name::DacReadSearch => Capability::CAP_DAC_READ_SEARCH,
        Name::Fowner => Capability::CAP_FOWNER,
        Name::Fsetid => Capability::CAP_FSETID,
        Name::Kill => Capability::CAP_KILL,
        Name::Setgid => Capability::CAP_SETGID,
        Name::Setuid => Capability::CAP_SETUID,
        Name::Setpcap => Capability::CAP_SETPCAP,
        Name::LinuxImmutable => Capability::CAP_LINUX_IMMUTABLE,
        Name::NetBindService => Capability::CAP_NET_BIND_SERVICE,
        Name::NetBroadcast => Capability::CAP_NET_BROADCAST,
        Name::NetAdmin => Capability::CAP_NET_ADMIN,
        Name::NetRaw => Capability::CAP_NET_RAW,
        Name::IpcLock => Capability::CAP_IPC_LOCK,
        Name::IpcOwner => Capability::CAP_IPC_OWNER,
        Name::SysModule => Capability::CAP_SYS_MODULE,
        Name::SysRawio => Capability::CAP_SYS_RAWIO,
        Name::SysChroot => Capability::CAP_SYS_CHROOT,
        Name::SysPtrace => Capability::CAP_SYS_PTRACE,
        Name::SysPacct => Capability::CAP_SYS_PACCT,
        Name::SysAdmin => Capability::CAP_SYS_ADMIN,
        Name::SysBoot => Capability::CAP_SYS_BOOT,
        Name::SysNice => Capability::CAP_SYS_NICE,
        Name::SysResource => Capability::CAP_SYS_RESOURCE,
        Name::SysTime => Capability::CAP_SYS_TIME,
        Name::SysTtyConfig => Capability::CAP_SYS_TTY_CONFIG,
        Name::Mknod => Capability::CAP_MKNOD,
        Name::Lease => Capability::CAP_LEASE,
        Name::AuditWrite => Capability::CAP_AUDIT_WRITE,
        Name::AuditControl => Capability::CAP_AUDIT_CONTROL,
        Name::Setfcap => Capability::CAP_SETFCAP,
        Name::MacOverride => Capability::CAP_MAC_OVERRIDE,
        Name::MacAdmin => Capability::CAP_MAC_ADMIN,
        Name::Syslog => Capability::CAP_SYSLOG,
        Name::WakeAlarm => Capability::CAP_WAKE_ALARM,
        Name::BlockSuspend => Capability::CAP_BLOCK_SUSPEND,
        Name::AuditRead => Capability::CAP_AUDIT_READ,
        Name::Perfmon => Capability::CAP_PERFMON,
        Name::Bpf => Capability::CAP_BPF,
        Name::CheckpointRestore => Capability::CAP_CHECKPOINT_RESTORE,
    }
}

/// In the kernel's order.
#[rustfmt::skip]
const KNOWN: [Capability; 41] = [
    Capability::CAP_CHOWN, Capability::CAP_DAC_OVERRIDE, Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_FOWNER, Capability::CAP_FSETID, Capability::CAP_KILL,
    Capability::CAP_SETGID, Capability::CAP_SETUID, Capability::CAP_SETPCAP,
    Capability::CAP_LINUX_IMMUTABLE, Capability::CAP_NET_BIND_SERVICE, Capability::CAP_NET_BROADCAST,
    Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW, Capability::CAP_IPC_LOCK,
    Capability::CAP_IPC_OWNER, Capability::CAP_SYS_MODULE, Capability::CAP_SYS_RAWIO,
    Capability::CAP_SYS_CHROOT, Capability::CAP_SYS_PTRACE, Capability::CAP_SYS_PACCT,
    Capability::CAP_SYS_ADMIN, Capability::CAP_SYS_BOOT, Capability::CAP_SYS_NICE,
    Capability::CAP_SYS_RESOURCE, Capability::CAP_SYS_TIME, Capability::CAP_SYS_TTY_CONFIG,
    Capability::CAP_MKNOD, Capability::CAP_LEASE, Capability::CAP_AUDIT_WRITE,
    Capability::CAP_AUDIT_CONTROL, Capability::CAP_SETFCAP, Capability::CAP_MAC_OVERRIDE,
    Capability::CAP_MAC_ADMIN, Capability::CAP_SYSLOG, Capability::CAP_WAKE_ALARM,
    Capability::CAP_BLOCK_SUSPEND, Capability::CAP_AUDIT_READ, Capability::CAP_PERFMON,
    Capability::CAP_BPF, Capability::CAP_CHECKPOINT_RESTORE,
];

fn bits(mask: u64) -> impl Iterator<Item = u32> {
    (0..u64::BITS).filter(move |bit| mask >> bit & 1 != 0)
}

/// Names, separated by commas.
struct List(u64);

impl Display for List {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, bit) in bits(self.0).enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{}", Named(bit))?;
        }
        Ok(())
    }
}

/// A capability's name, or its number when it has none yet. Formatted only when an error needs it.
struct Named(u32);

impl Display for Named {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match KNOWN.get(self.0 as usize) {
            Some(capability) => capability.fmt(f),
            None => write!(f, "capability {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::sys;

    const CHOWN: u64 = 1;
    const KILL: u64 = 1 << 5;
    const RESOURCE: u64 = 1 << 24;

    fn plan(sets: &str) -> Capabilities {
        Capabilities::plan(Some(&serde_json::from_str(sets).unwrap()))
    }

    #[test]
    fn every_name_has_its_number() {
        for (bit, capability) in KNOWN.into_iter().enumerate() {
            assert_eq!(usize::from(capability.index()), bit);
            let name: Name = serde_json::from_str(&format!("\"{capability}\"")).unwrap();
            assert_eq!(number(name), capability);
        }
    }

    #[test]
    fn each_set_is_its_own() {
        let sets = r#"{"bounding":["CAP_CHOWN","CAP_KILL"],"permitted":["CAP_KILL"],"ambient":["CAP_SYS_RESOURCE"]}"#;
        let expected = Capabilities {
            bounding: CHOWN | KILL,
            permitted: KILL,
            ambient: RESOURCE,
            ..Capabilities::default()
        };
        assert_eq!(plan(sets), expected);
    }

    #[test]
    fn without_the_object_every_set_is_empty() {
        assert_eq!(Capabilities::plan(None), Capabilities::default());
        assert_eq!(plan("{}"), Capabilities::default());
    }

    #[test]
    fn what_the_kernel_would_refuse_is_left_out() {
        let wanted = Capabilities {
            bounding: CHOWN | RESOURCE,
            effective: CHOWN | KILL | RESOURCE,
            permitted: CHOWN | RESOURCE,
            inheritable: CHOWN | KILL,
            ambient: CHOWN | KILL | RESOURCE,
        };
        let granted = Capabilities {
            bounding: CHOWN,
            effective: CHOWN,
            permitted: CHOWN,
            inheritable: CHOWN,
            ambient: CHOWN,
        };
        assert_eq!(wanted.grantable(CHOWN | KILL), granted);
    }

    #[test]
    fn a_capability_without_a_name_is_a_number() {
        assert_eq!(
            List(1 << 45 | RESOURCE | 1).to_string(),
            "CAP_CHOWN, CAP_SYS_RESOURCE, capability 45"
        );
    }

    /// The five sets of the calling thread in the order inheritable, permitted, effective, bounding, ambient.
    fn sets() -> Vec<u64> {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let lines = status
            .lines()
            .filter_map(|line| line.strip_prefix("Cap")?.split_once(":\t"));
        lines
            .map(|(_, set)| u64::from_str_radix(set, 16).unwrap())
            .collect()
    }

    /// Capabilities belong to threads, so a test spoils one of its own.
    fn as_root_in_a_thread(body: fn()) {
        if nix::unistd::geteuid().is_root() {
            std::thread::spawn(body).join().unwrap();
        } else {
            // Past the test harness, which shows no output of tests that pass.
            writeln!(std::io::stderr(), "SKIPPED setting capabilities: needs root").unwrap();
        }
    }

    #[test]
    fn the_kernel_gets_the_sets_across_a_change_of_user() {
        as_root_in_a_thread(|| {
            let plan = plan(
                r#"{"bounding":["CAP_CHOWN","CAP_KILL"],"permitted":["CAP_CHOWN","CAP_KILL"],
                    "effective":["CAP_CHOWN"],"inheritable":["CAP_KILL"],"ambient":["CAP_KILL"]}"#,
            );
            plan.drop_bounding().unwrap();
            nix::sys::prctl::set_keepcaps(true).unwrap();
            sys::process::set_user(65_534).unwrap();
            plan.apply().unwrap();
            assert_eq!(sets(), [KILL, CHOWN | KILL, CHOWN, CHOWN | KILL, KILL]);
        });
    }

    #[test]
    fn ambient_capabilities_that_were_there_before_are_cleared() {
        as_root_in_a_thread(|| {
            let all = KILL | CHOWN;
            let mut plan = Capabilities {
                bounding: all,
                effective: all,
                permitted: all,
                inheritable: all,
                ambient: all,
            };
            plan.apply().unwrap();
            assert_eq!(sets()[4], all);
            plan.ambient = KILL;
            plan.apply().unwrap();
            assert_eq!(sets()[4], KILL);
        });
    }

    #[test]
    fn a_thread_without_the_capability_to_drop_others_says_so() {
        as_root_in_a_thread(|| {
            Capabilities::default().apply().unwrap();
            let error = Capabilities::default().drop_bounding().unwrap_err();
            assert_eq!(error.errno(), Some(Errno::EPERM));
            let text = "drop from the capability bounding set CAP_CHOWN: operation not permitted";
            assert_eq!(error.to_string(), text);
        });
    }
}
