//! What every scenario stands on: a private host, bundles, a container's verbs, and the count of what is left.
//!
//! ```text
//! let host = Host::new();                            // own mount and network namespaces, own /run/minirun
//! let web = host.container("web").sh("echo hello");  // a bundle with runc's default config and a busybox rootfs
//! assert_eq!(web.run().succeeds().stdout, "hello\n");
//! ```                                                // here the host is counted: a leak fails the scenario
//!
//! The runtime under test is `MINIRUN_BIN`, else `bin/minirun`. The harness needs root and a static busybox, and
//! contains no unsafe code but the ownership of a received terminal ([`console`]): busybox enters the namespaces.

mod agent;
mod cgroup;
mod compose;
mod console;
mod container;
mod host;
mod leaks;
mod nameserver;
mod network;
mod output;
mod probe;
mod random;
mod rootfs;
mod spec;
mod traced;

pub(crate) use agent::{Agent, Manner};
pub(crate) use cgroup::{cgroup_v2, has_controller};
pub(crate) use compose::Stack;
pub(crate) use console::{ConsoleSocket, Terminal};
pub(crate) use container::Container;
pub(crate) use host::{Host, Running, find_in_path};
pub(crate) use nameserver::{NameServer, ResolvConf};
pub(crate) use network::Uplink;
pub(crate) use output::Output;
pub(crate) use probe::{PROBE, Report};
pub(crate) use random::Random;
pub(crate) use rootfs::busybox;
pub(crate) use spec::default as default_config;
pub(crate) use traced::Traced;

use std::io::Write;
use std::time::{Duration, Instant};

/// Leaves the scenario, and says on the terminal (past the test runner's capture) that it did not run, and why.
macro_rules! skip {
    ($($reason:tt)*) => {
        return $crate::harness::skipped(&format!($($reason)*))
    };
}
pub(crate) use skip;

pub(crate) fn skipped(reason: &str) {
    // The test runner names a test's thread after it.
    let name = std::thread::current().name().unwrap_or("a scenario").to_owned();
    let line = format!("SKIPPED {name}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    // For a closing summary: the test runner has none for skipped tests.
    if let Some(path) = std::env::var_os("MINIRUN_SKIPPED_FILE") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }
}

/// Waits for what sends no event (a state that another process reaches), and panics with `what` after 30 seconds.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited 30 s until {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}
