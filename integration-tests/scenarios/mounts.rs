//! Mounts, devices, masked paths, and root filesystems that try to lead the runtime out of themselves.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::harness::{Container, Host, cgroup_v2};

/// A line of mountinfo, see proc(5).
#[derive(Debug)]
struct Mount {
    point: String,
    options: Vec<String>,
    propagation: Vec<String>,
    kind: String,
    super_options: Vec<String>,
}

fn mounts(mountinfo: &str) -> Vec<Mount> {
    let commas = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let dash = fields.iter().position(|field| *field == "-").unwrap();
        Mount {
            point: fields[4].into(),
            options: commas(fields[5]),
            propagation: fields[6..dash].iter().map(|&field| field.into()).collect(),
            kind: fields[dash + 1].into(),
            super_options: commas(fields[dash + 3]),
        }
    };
    mountinfo.lines().map(parse).collect()
}

impl Container<'_> {
    fn mount(self, destination: &str, kind: &str, source: &str, options: &[&str]) -> Self {
        self.push(
            "/mounts",
            json!({"destination": destination, "type": kind, "source": source, "options": options}),
        )
    }

    #[track_caller]
    fn mounts_seen(self) -> Vec<Mount> {
        mounts(&self.args(["cat", "/proc/self/mountinfo"]).run().succeeds().stdout)
    }
}

#[track_caller]
fn at<'a>(mounts: &'a [Mount], point: &str) -> &'a Mount {
    mounts
        .iter()
        .rfind(|mount| mount.point == point)
        .unwrap_or_else(|| panic!("no {point} in {mounts:#?}"))
}

#[test]
fn every_flag_of_a_mount_reaches_the_kernel() {
    let host = Host::new();
    // Option, what mountinfo then shows, what it then does not show.
    let table = [
        ("ro", "ro", "rw"),
        ("rw", "rw", "ro"),
        ("nosuid", "nosuid", ""),
        ("suid", "rw", "nosuid"),
        ("nodev", "nodev", ""),
        ("dev", "rw", "nodev"),
        ("noexec", "noexec", ""),
        ("exec", "rw", "noexec"),
        ("noatime", "noatime", "relatime"),
        ("nodiratime", "nodiratime", ""),
        ("diratime", "rw", "nodiratime"),
        ("relatime", "relatime", "noatime"),
        ("strictatime", "rw", "relatime"),
        ("defaults", "rw", "noexec"),
    ];
    let container = table
        .iter()
        .fold(host.container("flags"), |container, (option, _, _)| {
            container.mount(&format!("/mnt/{option}"), "tmpfs", "tmpfs", &[option])
        });
    let mounts = container.mounts_seen();
    for (option, shown, absent) in table {
        let mount = at(&mounts, &format!("/mnt/{option}"));
        let all: Vec<&String> = mount.options.iter().chain(&mount.super_options).collect();
        assert!(all.iter().any(|option| *option == shown), "{option}: {mount:?}");
        assert!(
            !mount.options.iter().any(|option| option == absent),
            "{option}: {mount:?}"
        );
    }
}

#[test]
fn flags_of_the_whole_filesystem_reach_the_kernel() {
    let host = Host::new();
    let container = host
        .container("flags")
        .mount("/mnt/sync", "tmpfs", "tmpfs", &["sync"])
        .mount("/mnt/dirsync", "tmpfs", "tmpfs", &["dirsync"])
        .mount(
            "/mnt/data",
            "tmpfs",
            "tmpfs",
            &["size=1m", "mode=1700", "uid=7", "gid=8"],
        );
    let mounts = container.mounts_seen();
    assert!(at(&mounts, "/mnt/sync").super_options.contains(&"sync".into()));
    assert!(
        at(&mounts, "/mnt/dirsync")
            .super_options
            .contains(&"dirsync".into())
    );
    let data = at(&mounts, "/mnt/data");
    for option in ["size=1024k", "mode=1700", "uid=7", "gid=8"] {
        assert!(data.super_options.contains(&option.into()), "{option}: {data:?}");
    }
}

#[test]
fn nosymfollow_is_set() {
    let host = Host::new();
    let mounts = host
        .container("flags")
        .mount("/mnt/x", "tmpfs", "tmpfs", &["nosymfollow"])
        .mounts_seen();
    let mount = at(&mounts, "/mnt/x");
    assert!(mount.options.contains(&"nosymfollow".into()), "{mount:?}");
}

/// A directory of the host with a mount inside, for binds.
fn volume(host: &Host) -> String {
    let volume = host.dir().join("volume");
    fs::create_dir_all(volume.join("inner")).unwrap();
    fs::write(volume.join("file"), "from the host\n").unwrap();
    host.sh(&format!(
        "mount -t tmpfs tmpfs {0}/inner; echo inner >{0}/inner/file",
        volume.display()
    ));
    volume.to_str().unwrap().to_owned()
}

fn unmount(host: &Host, volume: &str) {
    host.sh(&format!("umount {volume}/inner"));
}

#[test]
fn a_bind_shows_the_directory_and_a_recursive_one_what_is_mounted_in_it() {
    let host = Host::new();
    let volume = volume(&host);
    let script = "cat /flat/file /deep/file /deep/inner/file; ls /flat/inner; echo written >/flat/new";
    let container = host
        .container("bind")
        .sh(script)
        .mount("/flat", "bind", &volume, &["bind"])
        .mount("/deep", "none", &volume, &["rbind"]);
    assert_eq!(
        container.run().succeeds().stdout,
        "from the host\nfrom the host\ninner\n"
    );
    assert_eq!(fs::read_to_string(format!("{volume}/new")).unwrap(), "written\n");
    unmount(&host, &volume);
}

#[test]
fn whether_a_mount_is_a_bind_is_told_by_its_options_and_not_its_type() {
    let host = Host::new();
    let volume = volume(&host);
    let container =
        host.container("bind")
            .args(["cat", "/data/file"])
            .mount("/data", "tmpfs", &volume, &["rbind", "ro"]);
    assert_eq!(container.run().succeeds().stdout, "from the host\n");
    unmount(&host, &volume);
}

#[test]
fn a_file_is_bound_on_a_mount_point_that_is_made() {
    let host = Host::new();
    let volume = volume(&host);
    let file = format!("{volume}/file");
    let container = host.container("bind").args(["cat", "/made/here/name"]).mount(
        "/made/here/name",
        "bind",
        &file,
        &["bind"],
    );
    assert_eq!(container.run().succeeds().stdout, "from the host\n");
    unmount(&host, &volume);
}

#[test]
fn a_relative_bind_source_is_relative_to_the_bundle() {
    let host = Host::new();
    let container =
        host.container("bind")
            .args(["cat", "/data"])
            .mount("/data", "bind", "data.txt", &["bind"]);
    fs::write(container.bundle().join("data.txt"), "beside config.json\n").unwrap();
    assert_eq!(container.run().succeeds().stdout, "beside config.json\n");
}

#[test]
fn flags_of_a_bind_hold_and_do_not_change_the_source() {
    let host = Host::new();
    let volume = volume(&host);
    let container = host
        .container("bind")
        .sh("cat /proc/self/mountinfo; touch /data/x 2>&1")
        .mount(
            "/data",
            "bind",
            &volume,
            &["bind", "ro", "nosuid", "nodev", "noexec"],
        );
    let output = container.run().exits(1);
    assert!(output.stdout.contains("Read-only file system"), "{output}");
    let seen = output
        .stdout
        .lines()
        .filter(|line| line.contains(" - "))
        .collect::<Vec<_>>()
        .join("\n");
    let mounts = mounts(&seen);
    for flag in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(at(&mounts, "/data").options.contains(&flag.into()), "{flag}");
    }
    fs::write(format!("{volume}/still-writable"), "").unwrap();
    unmount(&host, &volume);
}

#[test]
fn recursive_flags_reach_the_mounts_inside_and_simple_ones_do_not() {
    let host = Host::new();
    let volume = volume(&host);
    let container = host
        .container("bind")
        .mount("/ro", "bind", &volume, &["rbind", "ro"])
        .mount("/rro", "bind", &volume, &["rbind", "rro", "rnosuid", "rnoatime"]);
    let mounts = container.mounts_seen();
    assert!(at(&mounts, "/ro").options.contains(&"ro".into()));
    assert!(at(&mounts, "/ro/inner").options.contains(&"rw".into()));
    for point in ["/rro", "/rro/inner"] {
        for flag in ["ro", "nosuid", "noatime"] {
            assert!(
                at(&mounts, point).options.contains(&flag.into()),
                "{point} {flag}: {mounts:#?}"
            );
        }
    }
    unmount(&host, &volume);
}

#[test]
fn mounts_come_in_the_order_of_the_config() {
    let host = Host::new();
    let volume = volume(&host);
    let container = host
        .container("order")
        .sh("ls /a; cat /a/b/file")
        .mount("/a", "tmpfs", "tmpfs", &[])
        .mount("/a/b", "bind", &volume, &["bind"]);
    assert_eq!(container.run().succeeds().stdout, "b\nfrom the host\n");
    unmount(&host, &volume);
}

#[test]
fn propagation_of_a_mount_is_set() {
    let host = Host::new();
    let volume = volume(&host);
    let container = [
        "private",
        "rprivate",
        "shared",
        "rshared",
        "slave",
        "rslave",
        "unbindable",
    ]
    .into_iter()
    .fold(host.container("propagation"), |container, option| {
        container.mount(&format!("/mnt/{option}"), "bind", &volume, &["rbind", option])
    });
    let mounts = container.mounts_seen();
    for option in ["private", "rprivate"] {
        assert!(
            at(&mounts, &format!("/mnt/{option}")).propagation.is_empty(),
            "{mounts:#?}"
        );
    }
    for option in ["shared", "rshared"] {
        let propagation = &at(&mounts, &format!("/mnt/{option}")).propagation;
        assert!(
            propagation.iter().any(|field| field.starts_with("shared:")),
            "{option} {propagation:?}"
        );
    }
    assert_eq!(at(&mounts, "/mnt/unbindable").propagation, ["unbindable"]);
    unmount(&host, &volume);
}

#[test]
fn a_slave_mount_follows_the_host_and_gives_nothing_back() {
    let host = Host::new();
    let shared = host.dir().join("shared");
    fs::create_dir(&shared).unwrap();
    let path = shared.to_str().unwrap();
    host.sh(&format!(
        "mount -t tmpfs tmpfs {path}; mount --make-shared {path}; mkdir {path}/late"
    ));
    let container = host
        .container("slave")
        .sh("echo ready; until [ -e /data/late/file ]; do sleep 0.02; done; cat /data/late/file")
        .mount("/data", "bind", path, &["rbind", "rslave"])
        .edit(|config| config["linux"]["rootfsPropagation"] = json!("rslave"))
        .running();
    container.wait_for_stdout("ready");
    host.sh(&format!(
        "mount -t tmpfs tmpfs {path}/late; echo propagated >{path}/late/file"
    ));
    container.wait_for_stdout("propagated");
    container.wait_for_status("stopped");
    container.delete().succeeds();
    host.sh(&format!("umount {path}/late; umount {path}"));
}

#[test]
fn the_propagation_of_the_root_is_set() {
    let host = Host::new();
    for (asked, expected) in [("private", None), ("rslave", None), ("shared", Some("shared:"))] {
        let container = host
            .container("root")
            .edit(|config| config["linux"]["rootfsPropagation"] = json!(asked));
        let mounts = container.mounts_seen();
        let root = at(&mounts, "/");
        match expected {
            Some(prefix) => assert!(
                root.propagation.iter().any(|field| field.starts_with(prefix)),
                "{asked}: {root:?}"
            ),
            None => assert!(
                !root.propagation.iter().any(|field| field.starts_with("shared:")),
                "{asked}: {root:?}"
            ),
        }
    }
}

#[test]
fn an_unbindable_root_is_one_with_everything_masked_and_read_only_all_the_same() {
    let host = Host::new();
    for (asked, below) in [("unbindable", false), ("runbindable", true)] {
        let container = host.container("root").edit(|config| {
            config["linux"]["rootfsPropagation"] = json!(asked);
            config["linux"]["readonlyPaths"] = json!(["/etc", "/proc/sys"]);
            config["linux"]["maskedPaths"] = json!(["/etc/passwd", "/home", "/proc/bus"]);
        });
        let mounts = container.mounts_seen();
        let is_unbindable = |path: &str| at(&mounts, path).propagation == ["unbindable"];
        assert!(is_unbindable("/"), "{asked}: {mounts:#?}");
        for path in ["/proc", "/etc", "/proc/sys", "/etc/passwd", "/home"] {
            assert_eq!(is_unbindable(path), below, "{asked} {path}: {mounts:#?}");
        }
    }
}

#[test]
fn mounts_of_the_container_do_not_reach_the_host() {
    let host = Host::new();
    host.sh("mount --make-rshared /");
    let volume = host.dir().join("volume");
    fs::create_dir(&volume).unwrap();
    let count = || {
        fs::read_to_string(format!("/proc/{}/mountinfo", host.pid()))
            .unwrap()
            .lines()
            .count()
    };
    let before = count();
    let web = host
        .container("web")
        .sleeping()
        .mount("/data", "bind", volume.to_str().unwrap(), &["rbind"])
        .running();
    assert_eq!(count(), before);
    web.delete_force().succeeds();
    assert_eq!(count(), before);
}

#[test]
fn tmpcopyup_fills_the_tmpfs_with_what_it_hides() {
    let host = Host::new();
    let container = host
        .container("copyup")
        .sh("cat /etc/passwd | head -n 1; touch /etc/new; readlink /etc/link; stat -c %a /etc/passwd")
        .mount("/etc", "tmpfs", "tmpfs", &["tmpcopyup"]);
    symlink("passwd", container.rootfs().join("etc/link")).unwrap();
    let output = container.run().succeeds();
    assert_eq!(output.stdout, "root:x:0:0:root:/root:/bin/sh\npasswd\n644\n");
    assert!(!container.rootfs().join("etc/new").exists());
}

#[test]
fn a_tmpfs_has_the_mode_of_the_directory_that_it_hides() {
    let host = Host::new();
    let container =
        host.container("mode")
            .sh("stat -c %a /tmp /fresh")
            .mount("/tmp", "tmpfs", "tmpfs", &["nosuid"]);
    let container = container.mount("/fresh", "tmpfs", "tmpfs", &["mode=0710"]);
    assert_eq!(container.run().succeeds().stdout, "1777\n710\n");
}

#[test]
fn a_read_only_root_is_read_only_and_its_mounts_are_not() {
    let host = Host::new();
    let container = host
        .container("ro")
        .sh("touch /x 2>&1; touch /tmp/x && echo written; : >/dev/null && echo null")
        .mount("/tmp", "tmpfs", "tmpfs", &[])
        .edit(|config| config["root"]["readonly"] = json!(true));
    assert_eq!(
        container.run().succeeds().stdout,
        "touch: /x: Read-only file system\nwritten\nnull\n"
    );
    assert!(!container.rootfs().join("x").exists());
}

#[test]
fn masked_paths_show_nothing_and_missing_ones_do_not_matter() {
    let host = Host::new();
    let container = host
        .container("masked")
        .sh("wc -c </etc/secret; ls -A /var/secrets | wc -l; touch /var/secrets/x 2>/dev/null || echo read-only; stat -c %t:%T /etc/secret")
        .push("/linux/maskedPaths", json!("/etc/secret"))
        .push("/linux/maskedPaths", json!("/var/secrets"))
        .push("/linux/maskedPaths", json!("/no/such/path"));
    fs::write(container.rootfs().join("etc/secret"), "secret").unwrap();
    fs::create_dir(container.rootfs().join("var/secrets")).unwrap();
    fs::write(container.rootfs().join("var/secrets/file"), "secret").unwrap();
    assert_eq!(container.run().succeeds().stdout, "0\n0\nread-only\n1:3\n");
}

#[test]
fn read_only_paths_are_read_only_and_missing_ones_do_not_matter() {
    let host = Host::new();
    let container = host
        .container("readonly")
        .sh("touch /etc/x 2>/dev/null || echo etc; echo 1 2>/dev/null >/proc/sys/kernel/msgmax || echo sys")
        .push("/linux/readonlyPaths", json!("/etc"))
        .push("/linux/readonlyPaths", json!("/no/such/path"));
    assert_eq!(container.run().succeeds().stdout, "etc\nsys\n");
}

#[test]
fn the_default_devices_and_links_are_there() {
    let host = Host::new();
    let script = "cd /dev; stat -c '%n %t:%T %a' null zero full random urandom tty; \
                  for l in fd stdin stdout stderr ptmx; do echo $l $(readlink $l); done";
    let output = host.container("dev").sh(script).run().succeeds();
    let expected = "null 1:3 666\nzero 1:5 666\nfull 1:7 666\nrandom 1:8 666\nurandom 1:9 666\ntty 5:0 666\n\
        fd /proc/self/fd\nstdin /proc/self/fd/0\nstdout /proc/self/fd/1\nstderr /proc/self/fd/2\nptmx pts/ptmx\n";
    assert_eq!(output.stdout, expected);
}

#[test]
fn devices_of_the_config_are_made_where_they_are_asked_for() {
    let host = Host::new();
    let container = host
        .container("dev")
        .sh("stat -c '%n %F %t:%T %a %u:%g' /dev/extra /opt/dev/pipe")
        .push("/linux/devices", json!({"path": "/dev/extra", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 7, "gid": 8}))
        .push("/linux/devices", json!({"path": "/opt/dev/pipe", "type": "p", "fileMode": 0o600}));
    let expected = "/dev/extra character special file 1:3 640 7:8\n/opt/dev/pipe fifo 0:0 600 0:0\n";
    assert_eq!(container.run().succeeds().stdout, expected);
}

#[test]
fn devices_work_in_a_user_namespace() {
    let host = Host::new();
    let script = "head -c 4 /dev/zero | wc -c; echo x >/dev/null; stat -c %t:%T /dev/null /dev/urandom";
    let output = host.container("dev").user_namespace().sh(script).run().succeeds();
    assert_eq!(output.stdout, "4\n1:3\n1:9\n");
}

#[test]
fn the_cgroup_mount_shows_the_containers_own_cgroup() {
    let host = Host::new();
    let file = if cgroup_v2() {
        "/sys/fs/cgroup/cgroup.procs"
    } else {
        "/sys/fs/cgroup/pids/cgroup.procs"
    };
    let output = host.container("cgroup").sh(&format!(
        "head -n 1 {file}; touch /sys/fs/cgroup/x 2>/dev/null || echo read-only"
    ));
    assert_eq!(output.run().succeeds().stdout, "1\nread-only\n");
}

#[test]
fn sysfs_is_there_and_read_only() {
    let host = Host::new();
    let mounts = host.container("sys").mounts_seen();
    let sys = at(&mounts, "/sys");
    assert_eq!(sys.kind, "sysfs");
    assert!(sys.options.contains(&"ro".into()), "{sys:?}");
}

#[test]
fn a_missing_bind_source_is_refused_by_name() {
    let host = Host::new();
    let container = host
        .container("bind")
        .mount("/data", "bind", "/no/such/source", &["bind"]);
    container.run().exits(1).fails_with(&["/no/such/source"]);
}

#[test]
fn mounts_that_fake_proc_are_refused() {
    let host = Host::new();
    let volume = host.dir().join("fake");
    fs::create_dir(&volume).unwrap();
    let fake = volume.to_str().unwrap();
    let cases = [
        ("/proc", "bind", fake, "bind"),
        ("/proc/sys/kernel", "tmpfs", "tmpfs", "ro"),
        ("/proc/self", "tmpfs", "tmpfs", "ro"),
        ("/proc/../proc/sys", "tmpfs", "tmpfs", "ro"),
    ];
    for (destination, kind, source, option) in cases {
        let container = host.container("fake").mount(destination, kind, source, &[option]);
        container.run().exits(1).fails_with(&["/proc"]);
    }
}

#[test]
fn files_that_lxcfs_provides_may_be_bound_below_proc() {
    let host = Host::new();
    let fake = host.dir().join("meminfo");
    fs::write(&fake, "MemTotal: 1 kB\n").unwrap();
    let container = host.container("lxcfs").args(["cat", "/proc/meminfo"]);
    let container = container.mount("/proc/meminfo", "bind", fake.to_str().unwrap(), &["bind"]);
    assert_eq!(container.run().succeeds().stdout, "MemTotal: 1 kB\n");
}

/// A directory of the host that nothing may write to; its content is looked at afterwards.
fn canary(host: &Host) -> std::path::PathBuf {
    let canary = host.dir().join("canary");
    fs::create_dir(&canary).unwrap();
    canary
}

#[track_caller]
fn assert_untouched(canary: &std::path::Path) {
    let names: Vec<_> = fs::read_dir(canary)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(names.is_empty(), "the runtime wrote outside the root: {names:?}");
}

#[test]
fn a_root_whose_dev_is_a_link_to_the_host_writes_nothing_there() {
    let host = Host::new();
    for dev_is_mounted in [true, false] {
        let canary = canary(&host);
        let container = host.container("hostile").edit(|config| {
            if !dev_is_mounted {
                let outside = |mount: &Value| !mount["destination"].as_str().unwrap().starts_with("/dev");
                config["mounts"].as_array_mut().unwrap().retain(outside);
            }
        });
        fs::remove_dir(container.rootfs().join("dev")).unwrap();
        symlink(&canary, container.rootfs().join("dev")).unwrap();
        // Whether it runs is the runtime's choice.
        container.run();
        assert_untouched(&canary);
        fs::remove_dir(canary).unwrap();
    }
}

#[test]
fn mount_points_reached_through_links_stay_inside_the_root() {
    let host = Host::new();
    let canary = canary(&host);
    for target in [
        canary.to_str().unwrap().to_owned(),
        format!("../../../../../../..{}", canary.display()),
    ] {
        let container = host
            .container("hostile")
            .mount("/link/made", "tmpfs", "tmpfs", &[])
            .mount("/link/file", "bind", "/etc/passwd", &["bind"]);
        symlink(target, container.rootfs().join("link")).unwrap();
        container.run();
        assert_untouched(&canary);
    }
}

#[test]
fn devices_and_directories_reached_through_links_stay_inside_the_root() {
    let host = Host::new();
    let canary = canary(&host);
    let container = host
        .container("hostile")
        .push(
            "/linux/devices",
            json!({"path": "/link/null", "type": "c", "major": 1, "minor": 3}),
        )
        .edit(|config| config["process"]["cwd"] = json!("/link/cwd"));
    symlink(&canary, container.rootfs().join("link")).unwrap();
    container.run();
    assert_untouched(&canary);
}

#[test]
fn a_root_whose_proc_is_a_link_is_refused() {
    let host = Host::new();
    let canary = canary(&host);
    for target in ["/tmp", canary.to_str().unwrap()] {
        let container = host.container("hostile");
        fs::remove_dir(container.rootfs().join("proc")).unwrap();
        symlink(target, container.rootfs().join("proc")).unwrap();
        container.run().exits(1).fails_with(&["/proc"]);
        assert_untouched(&canary);
    }
}

#[test]
fn masks_on_links_do_not_cover_the_host() {
    let host = Host::new();
    let secret = host.dir().join("secret");
    fs::write(&secret, "still here").unwrap();
    let container = host
        .container("hostile")
        .push("/linux/maskedPaths", json!("/etc/link"));
    symlink(&secret, container.rootfs().join("etc/link")).unwrap();
    container.run();
    assert_eq!(
        fs::read_to_string(host.path(secret.to_str().unwrap())).unwrap(),
        "still here"
    );
}

#[test]
fn a_working_directory_through_a_leaked_descriptor_is_refused() {
    let host = Host::new();
    for number in 3..64 {
        let path = format!("/proc/self/fd/{number}");
        let container = host
            .container("leaky")
            .sh("pwd; ls")
            .edit(|config| config["process"]["cwd"] = json!(path));
        let output = container.run();
        assert!(output.code != 0, "descriptor {number} is a way out: {output}");
    }
}

#[test]
fn exec_through_a_leaked_descriptor_is_refused() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    for number in 3..64 {
        let path = format!("/proc/self/fd/{number}");
        let output = web.exec_with(&["--cwd", &path], ["sh", "-c", "pwd; ls"]);
        assert!(output.code != 0, "descriptor {number} is a way out: {output}");
    }
}

#[test]
fn an_entry_point_that_names_the_runtime_itself_does_not_reach_its_binary() {
    use std::hash::{Hash, Hasher};
    let host = Host::new();
    let hash = || {
        let mut hasher = std::hash::DefaultHasher::new();
        fs::read(host.binary()).unwrap().hash(&mut hasher);
        hasher.finish()
    };
    let before = hash();
    let container = host.container("self").args(["/entry"]);
    host.sh(&format!(
        "cd {}; printf '#!/proc/self/exe\\n' >entry; chmod 755 entry",
        container.rootfs().display()
    ));
    container.run();
    assert_eq!(hash(), before);
}
