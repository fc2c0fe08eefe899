//! The whole way into the container.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::sys::stat::makedev;
use serde_json::{Value, json};

use super::super::{CgroupMounts, Plan};
use super::{mount_line, mountinfo, on_a_host, options, spec};

/// What `runc spec` writes, without the cgroup mount (no cgroup here) and network (sysfs needs none).
fn default_config() -> Value {
    json!({
        "root": {"path": "rootfs", "readonly": true},
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["sh"], "cwd": "/work/dir"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        ],
        "linux": {
            "maskedPaths": ["/proc/kallsyms", "/proc/kcore", "/proc/latency_stats", "/proc/timer_list", "/sys/firmware", "/proc/scsi", "/no/such"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

fn at(path: &str) -> String {
    mount_line(Path::new(path)).unwrap_or_else(|| panic!("nothing is mounted at {path}"))
}

fn assert_is_the_default_container() {
    assert_eq!(options(&at("/")), ["ro", "relatime"]);
    assert_eq!(options(&at("/proc")), ["rw", "relatime"]);
    assert_eq!(options(&at("/dev")), ["rw", "nosuid"]);
    assert!(
        at("/dev").ends_with("- tmpfs tmpfs rw,size=65536k,mode=755"),
        "{}",
        at("/dev")
    );
    assert!(
        at("/dev/pts").ends_with("- devpts devpts rw,gid=5,mode=620,ptmxmode=666"),
        "{}",
        at("/dev/pts")
    );
    assert!(
        at("/dev/shm").ends_with("- tmpfs shm rw,size=65536k"),
        "{}",
        at("/dev/shm")
    );
    assert_eq!(
        options(&at("/dev/mqueue")),
        ["rw", "nosuid", "nodev", "noexec", "relatime"]
    );
    assert_eq!(
        options(&at("/sys")),
        ["ro", "nosuid", "nodev", "noexec", "relatime"]
    );
    for path in [
        "/proc/bus",
        "/proc/fs",
        "/proc/irq",
        "/proc/sys",
        "/proc/sysrq-trigger",
    ] {
        if Path::new(path).exists() {
            assert_eq!(options(&at(path)), ["ro", "relatime"], "{path}");
        }
    }
    for path in ["/proc/kallsyms", "/proc/kcore"] {
        if Path::new(path).exists() {
            assert_eq!(fs::metadata(path).unwrap().rdev(), makedev(1, 3), "{path}");
        }
    }
    for path in ["/sys/firmware", "/proc/scsi"] {
        if Path::new(path).exists() {
            assert_eq!(fs::read_dir(path).unwrap().count(), 0, "{path}");
            assert_eq!(options(&at(path)), ["ro", "relatime"], "{path}");
        }
    }
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    assert!(
        fs::metadata("/work/dir").unwrap().is_dir(),
        "the working directory is made"
    );
    let error = fs::write("/file", "").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(std::env::current_dir().unwrap(), Path::new("/"));
}

#[test]
fn the_default_configuration_becomes_a_container() {
    on_a_host(|host| {
        host.enter(default_config()).unwrap();
        assert_is_the_default_container();
        // Nothing of the host is left: every mount is one of ours.
        let lines = mountinfo().lines().count();
        assert!(lines <= 20, "{}", mountinfo());
        assert!(!mountinfo().contains(host.canary.to_str().unwrap()));
    });
}

#[test]
fn without_pivot_root_the_container_looks_the_same() {
    on_a_host(|host| {
        let plan = Plan::new(
            &spec(default_config()),
            &host.bundle,
            &CgroupMounts::None,
            &[],
            true,
        )
        .unwrap();
        let mut rootfs = plan.open(Vec::new()).unwrap();
        rootfs.mount_all().unwrap();
        rootfs.pivot().unwrap();
        assert_is_the_default_container();
    });
}

#[test]
fn without_a_mount_namespace_the_root_is_entered_by_chroot() {
    on_a_host(|host| {
        let before = mountinfo().lines().count();
        let plan = host.plan(json!({"linux": {"namespaces": []}})).unwrap();
        let mut rootfs = plan.open(Vec::new()).unwrap();
        rootfs.mount_all().unwrap();
        assert_eq!(mountinfo().lines().count(), before, "no mount may be made");
        rootfs.pivot().unwrap();
        assert_eq!(fs::metadata("/dev/null").unwrap().rdev(), makedev(1, 3));
        assert!(!Path::new("/proc").exists());
    });
}

#[test]
fn a_read_only_tmpfs_takes_mount_points_first() {
    on_a_host(|host| {
        let config = json!([
            {"destination": "/proc", "type": "proc"},
            {"destination": "/dev", "type": "tmpfs", "options": ["ro", "nosuid"]},
            {"destination": "/run", "type": "tmpfs", "options": ["ro"]},
            {"destination": "/run/a/b", "type": "tmpfs"},
        ]);
        host.enter(json!({"mounts": config})).unwrap();
        assert_eq!(options(&at("/dev")), ["ro", "nosuid", "relatime"]);
        assert_eq!(options(&at("/run")), ["ro", "relatime"]);
        assert_eq!(options(&at("/run/a/b"))[0], "rw");
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    });
}

#[test]
fn root_propagation_is_applied_at_the_end() {
    on_a_host(|host| {
        let config = json!({
            "mounts": [{"destination": "/proc", "type": "proc"}],
            "linux": {"rootfsPropagation": "shared"},
        });
        host.enter(config).unwrap();
        assert!(at("/").contains(" shared:"), "{}", at("/"));
    });
}

#[test]
fn a_root_that_is_a_file_or_missing_is_named() {
    on_a_host(|host| {
        fs::write(host.bundle.join("file"), "").unwrap();
        let error = host
            .mount(json!({"root": {"path": "file"}}))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("root.path: ") && error.ends_with("/bundle/file is not a directory"),
            "{error}"
        );
        let error = host
            .mount(json!({"root": {"path": "missing"}}))
            .unwrap_err()
            .to_string();
        assert!(error.ends_with("/bundle/missing does not exist"), "{error}");
    });
}

#[test]
fn the_hosts_root_can_be_the_root() {
    on_a_host(|host| {
        let before = fs::metadata(&host.canary).unwrap().ino();
        let devices =
            json!([{"destination": "/dev", "type": "tmpfs"}, {"destination": "/proc", "type": "proc"}]);
        host.enter(json!({"root": {"path": "/"}, "mounts": devices}))
            .unwrap();
        assert_eq!(fs::metadata(&host.canary).unwrap().ino(), before);
        assert!(at("/dev").contains("- tmpfs"));
    });
}
