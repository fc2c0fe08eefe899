//! What a Compose file means: plain data in which nothing is left to resolve.
//!
//! Services of inactive profiles are left out, paths are absolute, variables are replaced, defaults are filled in. The
//! model travels as JSON to whoever runs the project. Meanings are those of the Compose specification
//! (<https://github.com/compose-spec/compose-spec>) unless a field says otherwise.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::net::{Mac, Policy, Ports, Publish};

/// All services of a Compose file, and what they share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// Lower-case letters, digits, `-` and `_`, the first a letter or a digit. In the name of each container.
    pub name: String,
    /// What relative paths of the first file are relative to.
    pub directory: PathBuf,
    /// The files that it was read from, without those that were extended.
    pub files: Vec<PathBuf>,
    /// By name: letters, digits, `.`, `-` and `_`.
    pub services: BTreeMap<String, Service>,
    /// Those that a service uses, by the name in the file.
    pub networks: BTreeMap<String, Network>,
    /// Those that a service uses, by the name in the file.
    pub volumes: BTreeMap<String, Volume>,
    /// Those that a service uses, by the name in the file.
    pub configs: BTreeMap<String, FileSource>,
    /// Those that a service uses, by the name in the file.
    pub secrets: BTreeMap<String, FileSource>,
}

/// One service: what each of its replicas is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its key in [`Project::services`].
    pub name: String,
    /// The directory of the OCI bundle, which exists.
    pub bundle: PathBuf,
    /// Without an entrypoint the program with its arguments, in place of the bundle's; otherwise the entrypoint's arguments.
    pub command: Option<Vec<String>>,
    /// The program and its first arguments, in place of the bundle's.
    pub entrypoint: Option<Vec<String>>,
    /// Laid over the bundle's; `None` takes a variable away. From `env_file` and `environment`.
    pub environment: BTreeMap<String, Option<String>>,
    /// The process's working directory, absolute.
    pub working_dir: Option<String>,
    /// `user[:group]`, by name or number.
    pub user: Option<String>,
    /// The host name; the container's id otherwise.
    pub hostname: Option<String>,
    /// Ports of the host.
    pub ports: Vec<Publish>,
    /// Ports that others of its networks may want. Documentation: nothing is opened or closed by it.
    pub expose: Vec<Ports>,
    /// By the name in the file. Never empty: the project's network `default` where the file names none.
    pub networks: BTreeMap<String, Join>,
    /// What to wait for before a replica starts, by service. All of them are in [`Project::services`].
    pub depends_on: BTreeMap<String, Dependency>,
    /// How to ask a replica whether it works.
    pub healthcheck: Option<Healthcheck>,
    /// What to do when a replica ends.
    pub restart: Restart,
    /// How many there are; may be 0.
    pub replicas: u32,
    /// Of each replica, over the bundle's.
    pub limits: Limits,
    /// In the order of the file; targets are distinct.
    pub mounts: Vec<Mount>,
    /// Files with content that everybody may read.
    pub configs: Vec<FileUse>,
    /// Files with content that is nobody else's business.
    pub secrets: Vec<FileUse>,
    /// Name servers for what is not the name of a container.
    pub dns: Vec<IpAddr>,
    /// Domains that are tried behind a name.
    pub dns_search: Vec<String>,
    /// Lines of `/etc/hosts`.
    pub extra_hosts: Vec<(String, IpAddr)>,
    /// `CAP_...` in upper case, or `ALL`; added to the bundle's after `cap_drop`.
    pub cap_add: Vec<String>,
    /// `CAP_...` in upper case, or `ALL`; taken from the bundle's.
    pub cap_drop: Vec<String>,
    /// Whether the root file system is read-only; as in the bundle otherwise.
    pub read_only: Option<bool>,
    /// `SIGTERM` and the like; SIGTERM otherwise.
    pub stop_signal: Option<String>,
    /// From the stop signal to SIGKILL.
    pub stop_grace_period: Duration,
    /// Words of those who made the file.
    pub labels: BTreeMap<String, String>,
    /// What is kept of its output.
    pub logging: Logging,
}

/// A service on one network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// Names beside the service's and the replica's own; shared by the replicas.
    pub aliases: Vec<String>,
    /// A fixed address; only of a service with at most one replica.
    pub ipv4: Option<Ipv4Addr>,
    /// A fixed IPv6 address; only of a service with at most one replica.
    pub ipv6: Option<Ipv6Addr>,
    /// A fixed Ethernet address; only of a service with at most one replica.
    pub mac: Option<Mac>,
    /// The highest is joined first and gets `eth0`; networks of the same priority in the order of their names.
    pub priority: i32,
    /// The highest has the default route: see [`crate::net::Endpoint::priority`].
    pub gateway_priority: i32,
    /// The interface's name in the container.
    pub interface: Option<String>,
}

/// What a service waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// Until when.
    pub condition: Condition,
    /// Whether the service is restarted when a verb restarts or replaces what it depends on.
    pub restart: bool,
    /// Whether its failure is the service's; a warning otherwise.
    pub required: bool,
}

/// Until when a service waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// All replicas are started.
    Started,
    /// All replicas are healthy. The service has a health check.
    Healthy,
    /// All replicas have ended with status 0.
    CompletedSuccessfully,
}

/// A command that tells whether a replica works: it does when the command ends with status 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Healthcheck {
    /// The program with its arguments, run in the container; `CMD-SHELL` is `/bin/sh -c` here.
    pub test: Vec<String>,
    /// From the end of one check to the next.
    pub interval: Duration,
    /// A check that takes longer has failed.
    pub timeout: Duration,
    /// So many failures in a row make a replica unhealthy; at least 1.
    pub retries: u32,
    /// Failures do not count so long after the start, until the first success.
    pub start_period: Duration,
    /// The interval during the start period.
    pub start_interval: Duration,
}

/// What to do when a replica ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    /// Whether to start it again.
    pub when: RestartWhen,
    /// At most so often in a row; without limit otherwise.
    pub attempts: Option<u32>,
    /// Before each attempt; the usual back-off otherwise.
    pub delay: Option<Duration>,
    /// A replica that has run so long was a success; the attempts are counted anew.
    pub window: Option<Duration>,
}

/// After which ends a replica is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartWhen {
    /// None.
    #[default]
    No,
    /// All but those that a verb caused.
    Always,
    /// Those with another status than 0.
    OnFailure,
    /// As [`RestartWhen::Always`]; a service that was stopped by a verb stays so when the supervisor comes back.
    UnlessStopped,
}

/// What a replica may use. What is not said is as in the bundle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Billionths of a processor: 500000000 is half of one.
    pub nano_cpus: Option<u64>,
    /// Bytes.
    pub memory: Option<u64>,
    /// Processes and threads; -1 is no limit.
    pub pids: Option<i64>,
}

/// Something mounted into a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// What.
    pub kind: MountKind,
    /// Where in the container: an absolute path without `.` and `..`.
    pub target: String,
    /// Nobody writes there.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum MountKind {
    /// A file or directory of the host.
    Bind {
        /// Its absolute path.
        source: PathBuf,
        /// Whether a directory is made there when nothing is.
        create_host_path: bool,
    },
    /// A named volume.
    Volume {
        /// Its key in [`Project::volumes`].
        name: String,
    },
    /// A file system in memory, gone with the container.
    Tmpfs {
        /// Bytes; half of the memory otherwise.
        size: Option<u64>,
        /// Permission bits of its root; 01777 otherwise.
        mode: Option<u32>,
    },
}

/// A config or secret in a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileUse {
    /// The key in [`Project::configs`] or [`Project::secrets`].
    pub source: String,
    /// The file's absolute path in the container.
    pub target: String,
    /// The file's owner; root otherwise.
    pub uid: Option<u32>,
    /// The file's group; root otherwise.
    pub gid: Option<u32>,
    /// Permission bits; 0444 otherwise.
    pub mode: Option<u32>,
}

/// What is kept of a replica's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logging {
    /// Bytes after which a file is rotated.
    pub max_size: u64,
    /// How many files, at least 1, the current one included.
    pub max_files: u32,
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            max_size: 10 << 20,
            max_files: 3,
        }
    }
}

/// A network of the project. The fields are those of [`crate::net::Wish`], but for `external`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The real name: `PROJECT_KEY` unless the file gives one.
    pub name: String,
    /// Somebody else makes and removes it; the fields that follow mean nothing.
    pub external: bool,
    /// No way out.
    pub internal: bool,
    /// At most one of each family.
    pub subnets: Vec<IpNet>,
    /// At most one of each family, in its subnet.
    pub gateways: Vec<IpAddr>,
    /// Where addresses are given from unasked: at most one of each family, in its subnet.
    pub ranges: Vec<IpNet>,
    /// IPv6 even when no subnet of it is given.
    pub ipv6: bool,
    /// Largest packet in bytes.
    pub mtu: Option<u32>,
    /// Words of those who made the file.
    pub labels: BTreeMap<String, String>,
    /// Who may talk to whom (`x-policy`).
    pub policy: Policy,
}

/// A directory that outlives containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// The real name: `PROJECT_KEY` unless the file gives one. No `/` in it, and no dot first.
    pub name: String,
    /// Somebody else makes and removes it.
    pub external: bool,
    /// Words of those who made the file.
    pub labels: BTreeMap<String, String>,
}

/// Where the content of a config or secret is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum FileSource {
    /// In a file of the host, which exists.
    File(PathBuf),
    /// Here.
    Content(String),
    /// It was in a variable of whoever read the file.
    Environment {
        /// The variable's name.
        variable: String,
        /// What was in it.
        content: String,
    },
}
