//! What CRIU is asked for: `criu_opts` and `criu_req` of its images/rpc.proto, whose field numbers are its interface.

use std::os::fd::RawFd;

use super::message::Writer;
use crate::error::{Error, Result};

/// `criu_req_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::container) enum Work {
    /// Write a checkpoint.
    Dump,
    /// Write memory only; the processes run on.
    PreDump,
    /// Make processes from a checkpoint.
    Restore,
}

impl Work {
    pub(super) fn number(self) -> i64 {
        match self {
            Work::Dump => 1,
            Work::Restore => 2,
            Work::PreDump => 4,
        }
    }

    /// In CRIU's own words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Work::Dump => "dump",
            Work::PreDump => "pre-dump",
            Work::Restore => "restore",
        }
    }
}

/// What becomes of control groups (`criu_cg_mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupMode {
    /// Properties are restored of those groups that CRIU makes.
    #[default]
    Soft,
    /// All groups and properties are restored.
    Full,
    /// No group may exist already.
    Strict,
    /// Control groups are left alone.
    Ignore,
}

impl CgroupMode {
    fn number(self) -> i64 {
        match self {
            CgroupMode::Soft => 3,
            CgroupMode::Full => 4,
            CgroupMode::Strict => 5,
            CgroupMode::Ignore => 0,
        }
    }
}

impl std::str::FromStr for CgroupMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<CgroupMode> {
        match text {
            "soft" => Ok(CgroupMode::Soft),
            "full" => Ok(CgroupMode::Full),
            "strict" => Ok(CgroupMode::Strict),
            "ignore" => Ok(CgroupMode::Ignore),
            _ => Err(Error::invalid(
                "--manage-cgroups-mode",
                format_args!("{text:?} is not one of soft, full, strict, ignore"),
            )),
        }
    }
}

/// What `checkpoint` and `restore` both take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are the options of the same names
pub struct Common {
    pub tcp_established: bool,
    pub ext_unix_sk: bool,
    pub shell_job: bool,
    pub file_locks: bool,
    pub auto_dedup: bool,
    pub lazy_pages: bool,
    /// `--empty-ns network`.
    pub empty_network: bool,
    /// `--manage-cgroups-mode`.
    pub cgroups: CgroupMode,
}

/// Everything that a request says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::container) struct Request {
    pub(in crate::container) common: Common,
    pub(in crate::container) pid: Option<i32>,
    pub(in crate::container) root: String,
    pub(in crate::container) parent: Option<String>,
    pub(in crate::container) leave_running: bool,
    pub(in crate::container) track_memory: bool,
    pub(in crate::container) tcp_skip_in_flight: bool,
    pub(in crate::container) link_remap: bool,
    pub(in crate::container) status_fd: Option<RawFd>,
    pub(in crate::container) page_server: Option<(String, u16)>,
    pub(in crate::container) freezer: Option<String>,
    /// `mnt[KEY]:VALUE`, `net[INODE]:NAME`.
    pub(in crate::container) external: Vec<String>,
    /// What stands for a descriptor of the checkpoint, and its number in CRIU.
    pub(in crate::container) inherited: Vec<(String, RawFd)>,
    /// Controllers, and the group that their tree is restored into.
    pub(in crate::container) cgroup_roots: Vec<(String, String)>,
    pub(in crate::container) lsm_profile: Option<String>,
    pub(in crate::container) lsm_mount_context: Option<String>,
}

impl Request {
    /// The bytes of a `criu_req`. The directories are descriptors of ours: CRIU opens them by our process' number.
    pub(super) fn encode(&self, work: Work, images: RawFd, directory: RawFd) -> Writer {
        let mut options = Writer::default();
        options.number(1, images.into());
        if let Some(pid) = self.pid {
            options.number(2, pid.into());
        }
        options.flag(3, self.leave_running);
        options.flag(4, self.common.ext_unix_sk);
        options.flag(5, self.common.tcp_established);
        options.flag(6, true); // evasive_devices: any path to a device will do
        options.flag(7, self.common.shell_job);
        options.flag(8, self.common.file_locks);
        options.number(9, 4); // log_level: everything, because the log is all that explains a failure
        options.text(10, log_name(work));
        if let Some((address, port)) = &self.page_server {
            let mut server = Writer::default();
            server.text(1, address);
            server.number(2, (*port).into());
            options.message(11, &server);
        }
        options.flag(12, true); // notify_scripts
        options.text(13, &self.root);
        if let Some(parent) = &self.parent {
            options.text(14, parent);
        }
        options.flag(15, self.track_memory);
        options.flag(16, self.common.auto_dedup);
        options.number(17, directory.into());
        options.flag(18, self.link_remap);
        for (controllers, path) in &self.cgroup_roots {
            let mut root = Writer::default();
            if !controllers.is_empty() {
                root.text(1, controllers);
            }
            root.text(2, path);
            options.message(25, &root);
        }
        options.flag(26, work == Work::Restore); // rst_sibling: a child of ours
        for (key, fd) in &self.inherited {
            let mut inherited = Writer::default();
            inherited.text(1, key);
            inherited.number(2, (*fd).into());
            options.message(27, &inherited);
        }
        options.number(34, self.common.cgroups.number());
        for external in &self.external {
            options.text(37, external);
        }
        if self.common.empty_network {
            options.number(38, libc::CLONE_NEWNET.into());
        }
        if let Some(freezer) = &self.freezer {
            options.text(44, freezer);
        }
        options.flag(46, self.tcp_skip_in_flight);
        options.flag(48, self.common.lazy_pages);
        if let Some(fd) = self.status_fd {
            options.number(49, fd.into());
        }
        options.flag(50, true); // orphan_pts_master: the terminal of the restored container comes as a notification
        if let Some(profile) = &self.lsm_profile {
            options.text(53, profile);
        }
        if let Some(context) = &self.lsm_mount_context {
            options.text(63, context);
        }
        let mut request = Writer::default();
        request.number(1, work.number());
        request.message(2, &options);
        request
    }
}

/// CRIU's log in the work directory.
pub(super) fn log_name(work: Work) -> &'static str {
    match work {
        Work::Dump | Work::PreDump => "dump.log",
        Work::Restore => "restore.log",
    }
}

/// The answer to a notification: go on, or give up.
pub(super) fn acknowledge(success: bool) -> Writer {
    let mut answer = Writer::default();
    answer.number(1, super::NOTIFY.into());
    answer.number(3, success.into());
    answer
}
