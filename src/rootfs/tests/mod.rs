//! Tests that mount: each runs as root on a thread with a mount namespace of its own, over a tmpfs.

mod attacks;
mod devices;
mod mounts;
mod plans;
mod switch;
mod user_namespace;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::Uid;
use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use super::{CgroupMounts, Plan};
use crate::error::Result;

/// The host of one test.
struct Host {
    /// A bundle with an empty directory `rootfs`.
    bundle: PathBuf,
    /// A directory outside the bundle that nothing in the container may reach, with one file in it.
    canary: PathBuf,
}

/// Runs a test on a host of its own. Says so and does nothing when not root.
fn on_a_host(test: impl FnOnce(&Host) + Send + 'static) {
    if !Uid::effective().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let scratch = nix::unistd::mkdtemp(&std::env::temp_dir().join("minirun-rootfs-test-XXXXXX")).unwrap();
    let inside = scratch.clone();
    let result = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        nix::mount::mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        nix::mount::mount(Some("host"), &inside, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        let host = Host {
            bundle: inside.join("bundle"),
            canary: inside.join("canary"),
        };
        fs::create_dir_all(host.rootfs()).unwrap();
        fs::create_dir(&host.canary).unwrap();
        fs::write(host.canary.join("alive"), "yes").unwrap();
        test(&host);
    })
    .join();
    fs::remove_dir(&scratch).unwrap();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

impl Host {
    fn rootfs(&self) -> PathBuf {
        self.bundle.join("rootfs")
    }

    /// A path in the container, as the host sees it.
    fn inside(&self, path: &str) -> PathBuf {
        self.rootfs().join(path.trim_start_matches('/'))
    }

    fn mkdir(&self, path: &str) {
        fs::create_dir_all(self.inside(path)).unwrap();
    }

    /// Makes a symbolic link in the container's root.
    fn link(&self, path: &str, target: impl AsRef<Path>) {
        symlink(target, self.inside(path)).unwrap();
    }

    fn plan(&self, config: Value) -> Result<Plan> {
        plan(config, &self.bundle, &CgroupMounts::None)
    }

    /// Everything up to the switch.
    fn mount(&self, config: Value) -> Result<()> {
        self.plan(config)?.open(Vec::new())?.mount_all()
    }

    /// Everything; afterwards the thread is in the container.
    fn enter(&self, config: Value) -> Result<()> {
        let plan = self.plan(config)?;
        let mut rootfs = plan.open(Vec::new())?;
        rootfs.mount_all()?;
        rootfs.pivot()
    }

    /// The mountinfo line of a path in the container, as the host sees it.
    fn mount_at(&self, path: &str) -> String {
        mount_line(&self.inside(path)).unwrap_or_else(|| panic!("nothing is mounted at {path}"))
    }

    fn assert_canary_untouched(&self) {
        let names: Vec<_> = fs::read_dir(&self.canary)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["alive"], "something was made in a directory of the host");
        assert_eq!(
            mounts_below(&self.canary),
            0,
            "something was mounted in a directory of the host"
        );
    }
}

fn plan(config: Value, bundle: &Path, cgroups: &CgroupMounts) -> Result<Plan> {
    Plan::new(&spec(config), bundle, cgroups, &[], false)
}

/// A configuration with a mount namespace and no mounts; what is given replaces whole properties.
fn spec(config: Value) -> Spec {
    let mut base = json!({
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "mount"}]},
    });
    for (key, value) in config.as_object().unwrap() {
        if key == "linux" {
            for (key, value) in value.as_object().unwrap() {
                base["linux"][key] = value.clone();
            }
        } else {
            base[key] = value.clone();
        }
    }
    serde_json::from_value(base).unwrap()
}

/// A configuration with these mounts alone.
fn mounts(list: Value) -> Value {
    json!({"mounts": list})
}

fn mountinfo() -> String {
    fs::read_to_string("/proc/thread-self/mountinfo").unwrap()
}

/// The last line of mountinfo for a mount point.
fn mount_line(path: &Path) -> Option<String> {
    let wanted = path.to_str().unwrap();
    mountinfo()
        .lines()
        .rfind(|line| line.split(' ').nth(4) == Some(wanted))
        .map(str::to_owned)
}

fn mounts_below(path: &Path) -> usize {
    let prefix = path.to_str().unwrap();
    mountinfo()
        .lines()
        .filter(|line| line.split(' ').nth(4).is_some_and(|at| at.starts_with(prefix)))
        .count()
}

/// The mount's own options in a line of mountinfo.
fn options(line: &str) -> Vec<&str> {
    line.split(' ').nth(5).unwrap().split(',').collect()
}
