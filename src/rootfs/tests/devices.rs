//! Device nodes and links.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::json;

use super::{Host, mounts, on_a_host};

/// File type letter, major:minor, permission bits, owner.
fn device(host: &Host, path: &str) -> (char, u64, u32, u32, u32) {
    let meta = fs::symlink_metadata(host.inside(path)).unwrap();
    let kind = match meta.file_type() {
        kind if kind.is_char_device() => 'c',
        kind if kind.is_block_device() => 'b',
        kind if kind.is_fifo() => 'p',
        _ => '-',
    };
    (kind, meta.rdev(), meta.mode() & 0o7777, meta.uid(), meta.gid())
}

#[test]
fn default_devices_and_links_are_there() {
    on_a_host(|host| {
        host.mount(mounts(json!([{"destination": "/dev", "type": "tmpfs"}])))
            .unwrap();
        let defaults = [
            ("null", 1, 3),
            ("zero", 1, 5),
            ("full", 1, 7),
            ("random", 1, 8),
            ("urandom", 1, 9),
            ("tty", 5, 0),
        ];
        for (name, major, minor) in defaults {
            assert_eq!(
                device(host, &format!("/dev/{name}")),
                ('c', makedev(major, minor), 0o666, 0, 0)
            );
        }
        let link = |name: &str| fs::read_link(host.inside("/dev").join(name)).unwrap();
        assert_eq!(link("fd"), PathBuf::from("/proc/self/fd"));
        assert_eq!(link("stdin"), PathBuf::from("/proc/self/fd/0"));
        assert_eq!(link("stdout"), PathBuf::from("/proc/self/fd/1"));
        assert_eq!(link("stderr"), PathBuf::from("/proc/self/fd/2"));
        assert_eq!(link("ptmx"), PathBuf::from("pts/ptmx"));
        assert_eq!(
            host.inside("/dev/core").is_symlink(),
            fs::exists("/proc/kcore").unwrap()
        );
    });
}

#[test]
fn devices_of_the_configuration_have_their_type_mode_and_owner() {
    on_a_host(|host| {
        let devices = json!([
            {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o660, "uid": 3, "gid": 4},
            {"path": "/var/lib/disk", "type": "b", "major": 7, "minor": 0},
            {"path": "/dev/pipe", "type": "p", "fileMode": 0o600},
            {"path": "/dev/null", "type": "u", "major": 1, "minor": 5},
        ]);
        host.mount(json!({"linux": {"devices": devices}})).unwrap();
        assert_eq!(device(host, "/dev/fuse"), ('c', makedev(10, 229), 0o660, 3, 4));
        assert_eq!(device(host, "/var/lib/disk"), ('b', makedev(7, 0), 0o666, 0, 0));
        assert_eq!(device(host, "/dev/pipe"), ('p', 0, 0o600, 0, 0));
        assert_eq!(
            device(host, "/dev/null").1,
            makedev(1, 5),
            "the configuration wins over the default"
        );
    });
}

#[test]
fn the_same_device_may_exist_already_and_another_file_may_not() {
    on_a_host(|host| {
        host.mkdir("/dev");
        mknod(
            &host.inside("/dev/null"),
            SFlag::S_IFCHR,
            Mode::from_bits_truncate(0o600),
            makedev(1, 3),
        )
        .unwrap();
        host.mount(json!({})).unwrap();
        fs::remove_file(host.inside("/dev/zero")).unwrap();
        fs::write(host.inside("/dev/zero"), "").unwrap();
        let error = host.mount(json!({})).unwrap_err().to_string();
        assert!(
            error.contains("zero exists in the container and is not the device"),
            "{error}"
        );
    });
}

#[test]
fn nothing_is_made_in_a_bound_dev() {
    on_a_host(|host| {
        let devices = json!([
            {"path": "/dev/x", "type": "c", "major": 1, "minor": 3},
            {"path": "/dev/sub/x", "type": "c", "major": 1, "minor": 3},
            {"path": "/elsewhere", "type": "c", "major": 1, "minor": 3},
        ]);
        let bind = json!([{"destination": "/dev/", "source": host.canary, "options": ["bind"]}]);
        host.mount(json!({"mounts": bind, "linux": {"devices": devices}}))
            .unwrap();
        assert_eq!(fs::read_dir(&host.canary).unwrap().count(), 1);
        assert_eq!(device(host, "/elsewhere").0, 'c');
    });
}

#[test]
fn a_ptmx_of_the_image_is_replaced() {
    on_a_host(|host| {
        host.mkdir("/dev");
        fs::write(host.inside("/dev/ptmx"), "").unwrap();
        host.mount(json!({})).unwrap();
        assert_eq!(
            fs::read_link(host.inside("/dev/ptmx")).unwrap(),
            PathBuf::from("pts/ptmx")
        );
        host.mount(json!({})).unwrap();
    });
}
