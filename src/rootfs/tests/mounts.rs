//! What mounts look like afterwards.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;

use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use super::super::CgroupMounts;
use super::{Host, mount_line, mounts, on_a_host, options, plan};
use crate::error::Error;

/// Mounts one thing at /m and gives its line of mountinfo.
fn line_of(host: &Host, fs_type: &str, source: &str, options: Value) -> String {
    let config = json!([{"destination": "/m", "type": fs_type, "source": source, "options": options}]);
    host.mount(mounts(config)).unwrap();
    host.mount_at("/m")
}

#[test]
fn a_tmpfs_has_source_attributes_and_data() {
    on_a_host(|host| {
        let line = line_of(
            host,
            "tmpfs",
            "shm",
            json!(["nosuid", "noexec", "nodev", "mode=1777", "size=64k"]),
        );
        assert_eq!(options(&line), ["rw", "nosuid", "nodev", "noexec", "relatime"]);
        assert!(line.ends_with("- tmpfs shm rw,size=64k"), "{line}");
    });
}

#[test]
fn access_time_policies_reach_the_mount() {
    on_a_host(|host| {
        let line = line_of(host, "tmpfs", "t", json!(["noatime", "nodiratime"]));
        assert_eq!(options(&line), ["rw", "noatime", "nodiratime"]);
        let line = line_of(host, "tmpfs", "t", json!(["strictatime", "nosymfollow"]));
        assert_eq!(options(&line), ["rw", "nosymfollow"]);
    });
}

#[test]
fn superblock_options_reach_the_file_system() {
    on_a_host(|host| {
        let line = line_of(
            host,
            "proc",
            "proc",
            json!(["sync", "dirsync", "lazytime", "ro", "silent", "iversion"]),
        );
        let superblock = line.rsplit(' ').next().unwrap();
        assert_eq!(superblock, "ro,sync,dirsync,lazytime", "{line}");
        assert_eq!(options(&line), ["ro", "relatime"]);
    });
}

#[test]
fn a_tmpfs_takes_over_mode_and_owner_of_what_it_hides() {
    on_a_host(|host| {
        host.mkdir("/m");
        chown(host.inside("/m"), Some(12), Some(34)).unwrap();
        fs::set_permissions(host.inside("/m"), fs::Permissions::from_mode(0o1750)).unwrap();
        line_of(host, "tmpfs", "t", json!([]));
        let meta = fs::metadata(host.inside("/m")).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o1750, 12, 34));
    });
}

#[test]
fn an_explicit_mode_wins_over_the_hidden_directory() {
    on_a_host(|host| {
        host.mkdir("/m");
        line_of(host, "tmpfs", "t", json!(["mode=1777", "uid=5"]));
        let meta = fs::metadata(host.inside("/m")).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.uid()), (0o1777, 5));
    });
}

#[test]
fn a_tmpfs_on_a_new_directory_keeps_its_own_default_mode() {
    on_a_host(|host| {
        line_of(host, "tmpfs", "t", json!([]));
        assert_eq!(fs::metadata(host.inside("/m")).unwrap().mode() & 0o7777, 0o1777);
    });
}

#[test]
fn tmpcopyup_copies_files_links_modes_and_owners() {
    on_a_host(|host| {
        host.mkdir("/m/sub/deep");
        fs::write(host.inside("/m/sub/deep/file"), "content").unwrap();
        chown(host.inside("/m/sub/deep/file"), Some(7), Some(8)).unwrap();
        fs::set_permissions(
            host.inside("/m/sub/deep/file"),
            fs::Permissions::from_mode(0o4751),
        )
        .unwrap();
        symlink("/etc/shadow", host.inside("/m/link")).unwrap();
        line_of(host, "tmpfs", "t", json!(["tmpcopyup", "ro"]));
        let file = host.inside("/m/sub/deep/file");
        assert_eq!(fs::read_to_string(&file).unwrap(), "content");
        let meta = fs::metadata(&file).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o4751, 7, 8));
        assert_eq!(
            fs::read_link(host.inside("/m/link")).unwrap(),
            PathBuf::from("/etc/shadow")
        );
    });
}

#[test]
fn tmpcopyup_into_a_small_tmpfs_fails_with_the_name_of_the_file() {
    on_a_host(|host| {
        host.mkdir("/m");
        fs::write(host.inside("/m/big"), vec![0; 100_000]).unwrap();
        let config = json!([{"destination": "/m", "type": "tmpfs", "options": ["tmpcopyup", "size=16k"]}]);
        let error = host.mount(mounts(config)).unwrap_err().to_string();
        assert_eq!(
            error,
            "mount mounts[0] tmpfs at /m: tmpcopyup big: no space left on device"
        );
    });
}

#[test]
fn what_the_file_system_refuses_is_said_in_its_words() {
    on_a_host(|host| {
        let config = json!([{"destination": "/m", "type": "tmpfs", "options": ["size=many"]}]);
        let error = host.mount(mounts(config)).unwrap_err().to_string();
        assert!(
            error.starts_with("mount mounts[0] tmpfs at /m: fsconfig size=many: invalid argument; tmpfs:"),
            "{error}"
        );
        let config = json!([{"destination": "/m", "type": "nosuchfs"}]);
        let error = host.mount(mounts(config)).unwrap_err().to_string();
        assert!(
            error.contains("nosuchfs at /m: fsopen nosuchfs: no such device"),
            "{error}"
        );
    });
}

#[test]
fn a_bind_mount_of_a_file_makes_a_file_as_mount_point() {
    on_a_host(|host| {
        let source = host.canary.join("alive");
        let config = json!([{"destination": "/etc/deep/alive", "source": source, "options": ["bind", "ro"]}]);
        host.mount(mounts(config)).unwrap();
        assert_eq!(fs::read_to_string(host.inside("/etc/deep/alive")).unwrap(), "yes");
        assert_eq!(options(&host.mount_at("/etc/deep/alive"))[0], "ro");
    });
}

#[test]
fn a_directory_on_a_file_is_an_error_that_says_so() {
    on_a_host(|host| {
        fs::write(host.inside("/file"), "").unwrap();
        let config = json!([{"destination": "/file", "source": host.canary, "options": ["bind"]}]);
        let error = host.mount(mounts(config)).unwrap_err().to_string();
        assert!(error.contains("not a directory"), "{error}");
    });
}

#[test]
fn a_missing_bind_source_names_mount_and_source() {
    on_a_host(|host| {
        let config = json!([{"destination": "/m", "source": "none", "options": ["rbind"]}]);
        let error = host.mount(mounts(config)).unwrap_err().to_string();
        let source = host.bundle.join("none");
        let expected = format!(
            "mount mounts[0] bind at /m: open bind source {}: no such file or directory",
            source.display()
        );
        assert_eq!(error, expected);
    });
}

/// A directory with attributes of its own and a mount below it.
fn source_tree(host: &Host) -> PathBuf {
    let source = host.bundle.join("source");
    fs::create_dir(&source).unwrap();
    let none = None::<&str>;
    let flags = MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
    mount(Some("source"), &source, Some("tmpfs"), flags, none).unwrap();
    fs::create_dir(source.join("sub")).unwrap();
    mount(
        Some("below"),
        &source.join("sub"),
        Some("tmpfs"),
        MsFlags::empty(),
        none,
    )
    .unwrap();
    source
}

#[test]
fn a_bind_mount_without_options_keeps_the_attributes_of_its_source() {
    on_a_host(|host| {
        let source = source_tree(host);
        let line = line_of(host, "", source.to_str().unwrap(), json!(["bind"]));
        assert_eq!(options(&line), ["rw", "noexec", "noatime"]);
        assert!(mount_line(&host.inside("/m/sub")).is_none());
    });
}

#[test]
fn a_bind_mount_with_options_has_exactly_these_and_the_access_time_of_its_source() {
    on_a_host(|host| {
        let source = source_tree(host);
        let line = line_of(
            host,
            "",
            source.to_str().unwrap(),
            json!(["rbind", "ro", "nosuid"]),
        );
        assert_eq!(options(&line), ["ro", "nosuid", "noatime"]);
        assert_eq!(options(&host.mount_at("/m/sub")), ["rw", "relatime"]);
    });
}

#[test]
fn recursive_options_reach_mounts_below() {
    on_a_host(|host| {
        let source = source_tree(host);
        let line = line_of(
            host,
            "",
            source.to_str().unwrap(),
            json!(["rbind", "rro", "rnodev", "rexec", "rstrictatime"]),
        );
        assert_eq!(options(&line), ["ro", "nodev"]);
        assert_eq!(options(&host.mount_at("/m/sub")), ["ro", "nodev"]);
    });
}

#[test]
fn propagation_is_what_was_asked_for() {
    on_a_host(|host| {
        let source = source_tree(host);
        mount(
            None::<&str>,
            &source,
            None::<&str>,
            MsFlags::MS_SHARED | MsFlags::MS_REC,
            None::<&str>,
        )
        .unwrap();
        let propagation = |line: &str| -> Vec<String> {
            line.split(' ')
                .skip(6)
                .take_while(|field| *field != "-")
                .map(str::to_owned)
                .collect()
        };
        let source = source.to_str().unwrap();
        assert!(propagation(&line_of(host, "", source, json!(["rbind", "rprivate"]))).is_empty());
        assert!(propagation(&host.mount_at("/m/sub")).is_empty());
        let shared = propagation(&line_of(host, "", source, json!(["rbind", "shared"])));
        assert!(shared[0].starts_with("shared:"), "{shared:?}");
        assert!(
            propagation(&host.mount_at("/m/sub")).is_empty(),
            "shared is not rshared"
        );
        assert_eq!(
            propagation(&line_of(host, "tmpfs", "t", json!(["unbindable"]))),
            ["unbindable"]
        );
    });
}

#[test]
fn an_overlay_with_more_layers_than_the_mount_api_takes_is_mounted() {
    on_a_host(|host| {
        let mut layers = Vec::new();
        for number in 0..12 {
            let layer = host.bundle.join(format!("layer-with-a-long-name-{number}"));
            fs::create_dir(&layer).unwrap();
            fs::write(layer.join(number.to_string()), "").unwrap();
            layers.push(layer.to_str().unwrap().to_owned());
        }
        let lower = format!("lowerdir={}", layers.join(":"));
        assert!(lower.len() > 300);
        let line = line_of(
            host,
            "overlay",
            "overlay",
            json!([lower, "ro", "nodev", "noatime", "rprivate"]),
        );
        assert_eq!(options(&line), ["ro", "nodev", "noatime"]);
        assert_eq!(fs::read_dir(host.inside("/m")).unwrap().count(), layers.len());
        let root = mount_line(&host.rootfs()).unwrap();
        assert!(
            !root.contains("overlay"),
            "the mount must not stay on the root: {root}"
        );
    });
}

#[test]
fn remount_changes_what_is_there() {
    on_a_host(|host| {
        let config = json!([
            {"destination": "/m", "type": "tmpfs", "source": "t", "options": ["size=64k"]},
            {"destination": "/m", "options": ["remount", "size=128k", "ro", "noexec"]},
            {"destination": "/n", "source": host.canary, "options": ["bind"]},
            {"destination": "/n", "options": ["bind", "remount", "ro"]},
        ]);
        host.mount(mounts(config)).unwrap();
        let line = host.mount_at("/m");
        assert_eq!(options(&line), ["ro", "noexec", "relatime"]);
        assert!(line.ends_with("ro,size=128k"), "{line}");
        assert_eq!(options(&host.mount_at("/n")), ["ro", "relatime"]);
        assert!(
            fs::write(host.canary.join("alive"), "yes").is_ok(),
            "the source must stay writable"
        );
    });
}

#[test]
fn only_a_real_procfs_may_be_bound_on_proc() {
    on_a_host(|host| {
        let bind =
            |source: &str| mounts(json!([{"destination": "/proc", "source": source, "options": ["rbind"]}]));
        host.mount(bind("/proc")).unwrap();
        for fake in [host.canary.to_str().unwrap(), "/proc/sys"] {
            let error = host.mount(bind(fake)).unwrap_err().to_string();
            assert!(error.contains("not the root of a proc file system"), "{error}");
        }
    });
}

#[test]
fn lxcfs_files_may_be_bound_below_proc() {
    on_a_host(|host| {
        let source = host.canary.join("alive");
        let config = json!([
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/proc/meminfo", "source": source, "options": ["bind"]},
        ]);
        host.mount(mounts(config)).unwrap();
        assert_eq!(fs::read_to_string(host.inside("/proc/meminfo")).unwrap(), "yes");
    });
}

#[test]
fn a_v1_cgroup_mount_shows_the_containers_own_directories() {
    on_a_host(|host| {
        let controller = |name: &str| {
            let path = host.bundle.join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("tasks"), name).unwrap();
            path
        };
        let cgroups = CgroupMounts::V1 {
            controllers: vec![
                ("cpu,cpuacct".to_owned(), controller("cpu")),
                ("name=systemd".to_owned(), controller("systemd")),
            ],
        };
        let config =
            mounts(json!([{"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro", "nosuid"]}]));
        let plan = plan(config, &host.bundle, &cgroups).unwrap();
        plan.open(Vec::new()).unwrap().mount_all().unwrap();
        let read = |path: &str| fs::read_to_string(host.inside(path)).unwrap();
        assert_eq!(read("/sys/fs/cgroup/cpuacct/tasks"), "cpu");
        assert_eq!(read("/sys/fs/cgroup/systemd/tasks"), "systemd");
        let line = host.mount_at("/sys/fs/cgroup");
        assert_eq!(options(&line), ["ro", "nosuid", "nodev", "noexec", "relatime"]);
        let line = host.mount_at("/sys/fs/cgroup/cpu,cpuacct");
        assert_eq!(options(&line), ["ro", "nosuid", "nodev", "noexec", "relatime"]);
    });
}

#[test]
fn the_error_of_a_mount_keeps_its_number_for_callers() {
    on_a_host(|host| {
        let config = json!([{"destination": "/m", "source": "none", "options": ["bind"]}]);
        let errno = host
            .mount(mounts(config))
            .map_err(|error: Error| error.errno())
            .unwrap_err();
        assert_eq!(errno, Some(nix::errno::Errno::ENOENT));
    });
}
