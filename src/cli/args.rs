//! What several verbs take.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;

use super::plain::{Line, Plain};
use crate::container::network::Flags;
use crate::container::notify::Manager;
use crate::container::options::{Options, Terminal};
use crate::error::{Error, OsContext, Result};
use crate::init::process::Keep;
use crate::spec::id::Id;

/// The options that `create` and `run` share.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The bundle's directory
    #[arg(short, long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Socket that gets the master of the container's terminal
    #[arg(long, value_name = "PATH")]
    pub console_socket: Option<PathBuf>,
    /// Socket that gets a pidfd of the container's first process
    #[arg(long, value_name = "PATH")]
    pub pidfd_socket: Option<PathBuf>,
    /// File for the process id
    #[arg(long, value_name = "PATH")]
    pub pid_file: Option<PathBuf>,
    /// Do not use pivot_root, for hosts whose root is an initramfs
    #[arg(long)]
    pub no_pivot: bool,
    /// Share the caller's session keyring
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Pass this many descriptors after standard error to the program
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// What it wants of the network
    #[command(flatten)]
    pub network: NetworkArgs,
}

/// What `create` and `run` take for the container's network.
#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub struct NetworkArgs {
    /// Network to join, once for each: NAME[:ip=,ip6=,mac=,alias=,interface=,priority=], none, host or container:ID
    #[arg(long, value_name = "NETWORK")]
    pub network: Vec<String>,
    /// Port of the host that leads to the container: [IP:][HOST:]CONTAINER[/tcp|udp|sctp], ranges as FIRST-LAST
    #[arg(short, long, value_name = "PORT")]
    pub publish: Vec<String>,
    /// Name server to ask for names that are not containers'
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Vec<String>,
    /// Domain in which short names are looked for
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// Line for the container's /etc/hosts: NAME:ADDRESS
    #[arg(long, value_name = "HOST")]
    pub add_host: Vec<String>,
    /// The container's own name
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
}

impl Plain for CreateArgs {
    fn take(line: &mut Line) -> Option<Self> {
        Some(CreateArgs {
            bundle: line.value("bundle")?,
            console_socket: line.value("console-socket")?,
            pidfd_socket: line.value("pidfd-socket")?,
            pid_file: line.value("pid-file")?,
            no_pivot: line.flag("no-pivot"),
            no_new_keyring: line.flag("no-new-keyring"),
            preserve_fds: line.value("preserve-fds")?.unwrap_or(0),
            network: NetworkArgs {
                network: line.values("network")?,
                publish: line.values("publish")?,
                dns: line.values("dns")?,
                dns_search: line.values("dns-search")?,
                add_host: line.values("add-host")?,
                hostname: line.value("hostname")?,
            },
        })
    }
}

impl NetworkArgs {
    fn flags(&self) -> Flags {
        Flags {
            networks: self.network.clone(),
            publish: self.publish.clone(),
            dns: self.dns.clone(),
            dns_search: self.dns_search.clone(),
            add_hosts: self.add_host.clone(),
            hostname: self.hostname.clone(),
        }
    }
}

impl CreateArgs {
    /// The descriptors that the program gets.
    pub(super) fn keep(&self) -> Result<Keep> {
        keep(self.preserve_fds)
    }

    /// For a bundle and an id; `shown` says who shows a terminal when there is no socket.
    pub(super) fn options(
        &self,
        id: Id,
        bundle: &Path,
        native: bool,
        shown: Terminal,
        keep: Keep,
    ) -> Result<Options> {
        Ok(Options {
            id,
            bundle: bundle.to_owned(),
            terminal: self.console_socket.clone().map_or(shown, Terminal::Socket),
            pidfd_socket: self.pidfd_socket.clone(),
            pid_file: self.pid_file.clone(),
            no_pivot: self.no_pivot,
            no_new_keyring: self.no_new_keyring,
            keep,
            notify: Manager::of_caller()?,
            network: self.network.flags(),
            native,
        })
    }
}

/// Descriptors from `--preserve-fds` and from socket activation (sd_listen_fds(3)), checked to be open.
pub(super) fn keep(preserve: u32) -> Result<Keep> {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<u32>().ok())
    };
    let for_us = number("LISTEN_PID").is_none_or(|pid| pid == std::process::id());
    let listen = if for_us {
        number("LISTEN_FDS").unwrap_or(0)
    } else {
        0
    };
    let last = 3_u32.saturating_add(listen).saturating_add(preserve);
    for fd in 3..last {
        if !Path::new(&format!("/proc/self/fd/{fd}")).exists() {
            return Err(Error::invalid(
                "--preserve-fds",
                format_args!("descriptor {fd} is not open"),
            ));
        }
    }
    Ok(Keep { listen, preserve })
}

/// The bundle's directory; the working directory unless named.
pub(super) fn bundle(named: Option<&Path>) -> Result<PathBuf> {
    match named {
        Some(path) => Ok(path.to_owned()),
        None => std::env::current_dir().os("find", "the working directory"),
    }
}

/// `--log`: a path, which crun also takes behind `file:`.
pub(super) fn log_file(text: &str) -> std::result::Result<PathBuf, String> {
    match text.split_once(':') {
        Some(("file", path)) => Ok(path.into()),
        Some((other @ ("journald" | "syslog"), _)) => Err(format!("{other} is not supported; give a file")),
        _ => Ok(text.into()),
    }
}

/// What the program may be called: ours, and those that callers know.
pub(super) const NAMES: [&str; 3] = ["minirun", "runc", "crun"];

/// The name under which we were called when callers know it, ours otherwise.
pub(super) fn program_name(argv0: Option<&OsString>) -> String {
    let name = argv0
        .map(Path::new)
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    match name {
        Some(name) if NAMES.contains(&name) => name.to_owned(),
        _ => NAMES[0].to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_line_carries_the_name_that_callers_know() {
        assert_eq!(program_name(Some(&"/usr/bin/runc".into())), "runc");
        assert_eq!(program_name(Some(&"target/anything".into())), "minirun");
        assert_eq!(program_name(None), "minirun");
    }

    #[test]
    fn the_log_is_a_path_also_behind_the_word_file() {
        assert_eq!(log_file("/run/a:b.log"), Ok("/run/a:b.log".into()));
        assert_eq!(log_file("file:log.json"), Ok("log.json".into()));
        assert!(
            log_file("journald:web")
                .unwrap_err()
                .contains("journald is not supported")
        );
        assert!(
            log_file("syslog:web")
                .unwrap_err()
                .contains("syslog is not supported")
        );
    }
}
