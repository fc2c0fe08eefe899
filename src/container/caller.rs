//! Who calls the runtime, and what follows from it for a new container's control group.

use crate::sys::process::in_user_namespace;

/// `--rootless`: whether a container may do without the control groups that its caller may not make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rootless {
    /// Where the caller is not root, or root of a user namespace only.
    #[default]
    Auto,
    /// Yes.
    True,
    /// No: a control group that is refused is an error.
    False,
}

/// The caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// It is root, be it of a user namespace.
    pub is_root: bool,
    /// What it wants of control groups.
    pub rootless: Rootless,
    /// New containers' control groups are systemd's (`--systemd-cgroup`).
    pub systemd: bool,
    /// New containers stay in the control groups of the caller (`--cgroup-manager disabled`).
    pub without_cgroups: bool,
}

impl Caller {
    /// Whether control groups are made only where they are permitted.
    pub fn is_rootless(self) -> bool {
        match self.rootless {
            Rootless::Auto => !self.is_root,
            Rootless::True => true,
            Rootless::False => false,
        }
    }

    /// The caller as it turns out to be once a control group was refused: root may be root of a user namespace only. That
    /// is not asked before, because it hardly ever is so.
    pub fn after_refusal(self) -> Option<Caller> {
        (self.is_root && self.rootless == Rootless::Auto && in_user_namespace()).then_some(Caller {
            rootless: Rootless::True,
            ..self
        })
    }
}
