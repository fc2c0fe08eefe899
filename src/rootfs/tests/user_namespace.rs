//! In a user namespace. A process with threads cannot make one, so these tests run themselves again under unshare(1).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use nix::sys::stat::makedev;
use nix::unistd::Uid;
use serde_json::json;

use super::{mounts, on_a_host, options};

const INSIDE: &str = "MINIRUN_TEST_IN_USER_NAMESPACE";

/// Runs `test` on a host inside a new user and pid namespace. `name` is the full name of the calling test.
fn in_user_namespace(name: &str, test: impl FnOnce(&super::Host) + Send + 'static) {
    if std::env::var_os(INSIDE).is_some() {
        on_a_host(test);
        return;
    }
    if !Uid::effective().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--pid", "--fork", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn namespaces() -> serde_json::Value {
    json!([{"type": "mount"}, {"type": "user"}])
}

#[test]
fn devices_come_from_the_host() {
    in_user_namespace(
        "rootfs::tests::user_namespace::devices_come_from_the_host",
        |host| {
            let devices = json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]);
            let config = json!({
                "mounts": [{"destination": "/dev", "type": "tmpfs", "options": ["nosuid", "mode=755"]}],
                "linux": {"namespaces": namespaces(), "devices": devices},
            });
            host.mount(config).unwrap();
            for (path, major, minor) in [("/dev/null", 1, 3), ("/dev/tty", 5, 0), ("/dev/fuse", 10, 229)] {
                assert_eq!(
                    fs::metadata(host.inside(path)).unwrap().rdev(),
                    makedev(major, minor),
                    "{path}"
                );
            }
            fs::write(host.inside("/dev/null"), "discarded").unwrap();
        },
    );
}

#[test]
fn a_host_device_with_other_numbers_is_refused() {
    in_user_namespace(
        "rootfs::tests::user_namespace::a_host_device_with_other_numbers_is_refused",
        |host| {
            let devices = json!([{"path": "/dev/fuse", "type": "c", "major": 1, "minor": 3}]);
            let error = host
                .mount(json!({"linux": {"namespaces": namespaces(), "devices": devices}}))
                .unwrap_err();
            assert!(
                error
                    .to_string()
                    .contains("fuse exists in the host and is not the device"),
                "{error}"
            );
        },
    );
}

#[test]
fn sysfs_falls_back_to_the_hosts() {
    in_user_namespace(
        "rootfs::tests::user_namespace::sysfs_falls_back_to_the_hosts",
        |host| {
            let config = json!({
                "mounts": [{"destination": "/sys", "type": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}],
                "linux": {"namespaces": namespaces()},
            });
            host.mount(config).unwrap();
            assert!(host.inside("/sys/class").is_dir());
            assert!(options(&host.mount_at("/sys")).contains(&"ro"));
            assert!(
                options(&host.mount_at("/sys/fs/cgroup")).contains(&"ro"),
                "mounts below must be read-only too"
            );
        },
    );
}

#[test]
fn attributes_that_the_host_locked_stay_and_cannot_be_cleared() {
    in_user_namespace(
        "rootfs::tests::user_namespace::attributes_that_the_host_locked_stay_and_cannot_be_cleared",
        |host| {
            // The kernel locks what a mount had when its namespace was copied for a new user namespace: proc's nosuid,
            // nodev and noexec, where the host has them.
            let Some(line) = super::mount_line(std::path::Path::new("/proc")) else {
                return eprintln!("skipped: /proc is not a mount");
            };
            if !options(&line).contains(&"nosuid") {
                return eprintln!("skipped: the host's /proc has no attribute to lock");
            }
            let bind = |option: &str| {
                let list = json!([{"destination": "/m", "source": "/proc", "options": ["rbind", option]}]);
                let mut config = mounts(list);
                config["linux"] = json!({"namespaces": namespaces()});
                config
            };
            host.mount(bind("ro")).unwrap();
            let line = host.mount_at("/m");
            assert!(
                options(&line).contains(&"ro") && options(&line).contains(&"nosuid"),
                "{line}"
            );
            let error = host.mount(bind("suid")).unwrap_err().to_string();
            assert!(
                error.contains("operation not permitted") && error.contains("locked"),
                "{error}"
            );
        },
    );
}

#[test]
fn the_default_container_can_be_entered() {
    in_user_namespace(
        "rootfs::tests::user_namespace::the_default_container_can_be_entered",
        |host| {
            let config = json!({
                "root": {"path": "rootfs", "readonly": true},
                "mounts": [
                    {"destination": "/proc", "type": "proc", "source": "proc"},
                    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                    {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
                ],
                "linux": {"namespaces": namespaces(), "maskedPaths": ["/proc/kallsyms", "/proc/acpi"], "readonlyPaths": ["/proc/sys"]},
            });
            host.enter(config).unwrap();
            assert_eq!(fs::metadata("/proc/kallsyms").unwrap().rdev(), makedev(1, 3));
            assert!(options(&super::mount_line(std::path::Path::new("/proc/sys")).unwrap()).contains(&"ro"));
        },
    );
}
