//! What the specification and runc's users rely on around mounts: recursive flags one by one, locked flags, what a tmpfs
//! takes over, sysfs and cgroups, masks, labels, and whose a control group is.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use serde_json::json;

use crate::harness::{Container, Host, cgroup_v2, skip};

fn with_mount<'h>(
    container: Container<'h>,
    destination: &str,
    kind: &str,
    source: &str,
    options: &[&str],
) -> Container<'h> {
    container.push(
        "/mounts",
        json!({"destination": destination, "type": kind, "source": source, "options": options}),
    )
}

/// The options of the last mount at a place, from lines of mountinfo.
#[track_caller]
fn options(mountinfo: &str, point: &str) -> Vec<String> {
    let line = mountinfo
        .lines()
        .rfind(|line| line.split(' ').nth(4) == Some(point))
        .unwrap_or_else(|| panic!("no {point} in {mountinfo}"));
    line.split(' ')
        .nth(5)
        .unwrap()
        .split(',')
        .map(str::to_owned)
        .collect()
}

/// A directory with a mount inside, unmounted again.
struct Tree<'h> {
    host: &'h Host,
    path: String,
}

impl Tree<'_> {
    fn new<'h>(host: &'h Host, flags: &str) -> Tree<'h> {
        let path = host.dir().join("tree").to_str().unwrap().to_owned();
        host.sh(&format!(
            "mkdir {path} && mount -t tmpfs tmpfs {path} && mkdir {path}/inner && \
             mount -t tmpfs tmpfs {path}/inner && \
             for m in {path}/inner {path}; do mount -o remount,bind,{flags} $m; done"
        ));
        Tree { host, path }
    }
}

impl Drop for Tree<'_> {
    fn drop(&mut self) {
        self.host
            .sh(&format!("umount {0}/inner && umount {0} && rmdir {0}", self.path));
    }
}

#[test]
fn every_recursive_flag_reaches_what_is_mounted_inside() {
    let host = Host::new();
    // Option, flags of the source, what both mounts then show, what they do not.
    let table = [
        ("rro", "rw", "ro", "rw"),
        ("rrw", "ro", "rw", "ro"),
        ("rnosuid", "suid", "nosuid", ""),
        ("rsuid", "nosuid", "rw", "nosuid"),
        ("rnodev", "dev", "nodev", ""),
        ("rdev", "nodev", "rw", "nodev"),
        ("rnoexec", "exec", "noexec", ""),
        ("rexec", "noexec", "rw", "noexec"),
        ("rnodiratime", "diratime", "nodiratime", ""),
        ("rdiratime", "nodiratime", "rw", "nodiratime"),
        ("rnoatime", "relatime", "noatime", "relatime"),
        ("ratime", "noatime", "relatime", "noatime"),
        ("rrelatime", "noatime", "relatime", "noatime"),
        ("rnorelatime", "relatime", "relatime", "noatime"),
        ("rstrictatime", "noatime", "rw", "noatime"),
        ("rnostrictatime", "strictatime", "relatime", "noatime"),
        ("rnosymfollow", "rw", "nosymfollow", ""),
        ("rsymfollow", "rw", "rw", "nosymfollow"),
    ];
    for (option, flags, shown, absent) in table {
        let tree = Tree::new(&host, flags);
        let container = host.container("tree").args(["cat", "/proc/self/mountinfo"]);
        let container = with_mount(container, "/tree", "bind", &tree.path, &["rbind", option]);
        let output = container.run().succeeds().stdout;
        for point in ["/tree", "/tree/inner"] {
            let options = options(&output, point);
            assert!(
                options.iter().any(|other| other == shown),
                "{option} {point}: {options:?}"
            );
            assert!(
                !options.iter().any(|other| other == absent),
                "{option} {point}: {options:?}"
            );
        }
    }
}

#[test]
fn flags_of_the_host_stay_in_a_user_namespace_and_cannot_be_asked_away() {
    let host = Host::new();
    let tree = Tree::new(&host, "ro,nosuid,nodev,noexec");
    let bind = |flags: &[&str]| {
        let flags: Vec<&str> = [&["rbind"], flags].concat();
        let container = host
            .container("locked")
            .user_namespace()
            .args(["cat", "/proc/self/mountinfo"]);
        with_mount(container, "/tree", "bind", &tree.path, &flags)
    };
    for flags in [&[][..], &["ro"], &["nosuid"]] {
        let output = bind(flags).run().succeeds().stdout;
        for flag in ["ro", "nosuid", "nodev", "noexec"] {
            let options = options(&output, "/tree");
            assert!(
                options.iter().any(|other| other == flag),
                "{flags:?} {flag}: {options:?}"
            );
        }
    }
    for flag in ["rw", "suid", "dev", "exec"] {
        bind(&[flag])
            .run()
            .exits(1)
            .fails_with(&["operation not permitted", "locked"]);
    }
}

#[test]
fn a_tmpfs_has_the_owner_of_the_directory_that_it_hides_and_other_kinds_take_nothing() {
    let host = Host::new();
    let container = host
        .container("owner")
        .sh("stat -c '%n %a %u:%g' /data /given /dev/mqueue; stat -c %a /proc /sys");
    for name in ["data", "given"] {
        let directory = container.rootfs().join(name);
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, PermissionsExt::from_mode(0o2750)).unwrap();
        chown(&directory, Some(7), Some(8)).unwrap();
        // Owners may clear the bit.
        fs::set_permissions(&directory, PermissionsExt::from_mode(0o2750)).unwrap();
    }
    for name in ["proc", "sys"] {
        fs::set_permissions(container.rootfs().join(name), PermissionsExt::from_mode(0o700)).unwrap();
    }
    let container = with_mount(container, "/data", "tmpfs", "tmpfs", &["nosuid"]);
    let container = with_mount(
        container,
        "/given",
        "tmpfs",
        "tmpfs",
        &["mode=1777", "uid=1", "gid=2"],
    );
    assert_eq!(
        container.run().succeeds().stdout,
        "/data 2750 7:8\n/given 1777 1:2\n/dev/mqueue 1777 0:0\n555\n555\n"
    );
}

#[test]
fn sysfs_in_a_user_namespace_on_the_hosts_network_is_the_hosts_and_read_only() {
    let host = Host::new();
    let container = host
        .container("sys")
        .user_namespace()
        .without_namespace("network")
        .sh("ls /sys/class/net; touch /sys/kernel/x 2>&1; grep ' /sys ' /proc/self/mountinfo");
    let output = container.run().succeeds().stdout;
    assert!(output.contains("lo"), "{output}");
    assert!(output.contains("Read-only file system"), "{output}");
    let options = options(&output, "/sys");
    for flag in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(options.iter().any(|other| other == flag), "{flag}: {options:?}");
    }
}

#[test]
fn without_a_cgroup_namespace_the_cgroup_mount_is_the_containers_own_or_read_only() {
    let host = Host::new();
    let container = host
        .container("cgroup")
        .without_namespace("cgroup")
        .sh("grep ' /sys/fs/cgroup' /proc/self/mountinfo; cat /sys/fs/cgroup/pids/cgroup.procs 2>/dev/null | wc -l; \
             readlink /sys/fs/cgroup/cpu; touch /sys/fs/cgroup/x 2>&1");
    let output = container.run();
    assert!(output.stdout.contains("Read-only file system"), "{output}");
    if cgroup_v2() {
        return;
    }
    let own = output
        .stdout
        .lines()
        .filter(|line| line.contains(" - cgroup "))
        .all(|line| line.split(' ').nth(3).unwrap().ends_with(container.id()));
    assert!(own, "{output}");
}

#[test]
fn a_writable_v1_cgroup_mount_lets_the_container_make_groups() {
    if cgroup_v2() {
        skip!("needs cgroup v1");
    }
    let host = Host::new();
    let container = host
        .container("cgroup")
        .edit(|config| {
            let mounts = config["mounts"].as_array_mut().unwrap();
            let cgroup = mounts.iter_mut().find(|mount| mount["type"] == "cgroup").unwrap();
            cgroup["options"] = json!(["nosuid", "noexec", "nodev", "rw"]);
        })
        .sh("mkdir /sys/fs/cgroup/pids/mine && ls /sys/fs/cgroup/pids/mine/cgroup.procs");
    assert_eq!(
        container.run().succeeds().stdout,
        "/sys/fs/cgroup/pids/mine/cgroup.procs\n"
    );
}

#[test]
fn a_read_only_dev_has_all_its_devices() {
    let host = Host::new();
    let container = host
        .container("dev")
        .edit(|config| config["mounts"][1]["options"] = json!(["nosuid", "mode=755", "ro"]))
        .sh("stat -c %t:%T /dev/null; readlink /dev/ptmx; touch /dev/x 2>&1; touch /dev/shm/x && echo shm");
    assert_eq!(
        container.run().succeeds().stdout,
        "1:3\npts/ptmx\ntouch: /dev/x: Read-only file system\nshm\n"
    );
}

#[test]
fn masked_directories_share_one_empty_read_only_file_system_and_a_masked_link_is_refused() {
    let host = Host::new();
    let container = host
        .container("masked")
        .sh("stat -c %d /a /b | uniq | wc -l; ls -A /a /b; mount -o remount,rw /a 2>/dev/null; touch /a/x 2>/dev/null || echo full")
        .push("/linux/maskedPaths", json!("/a"))
        .push("/linux/maskedPaths", json!("/b"))
        .edit(|config| {
            for set in ["bounding", "effective", "permitted"] {
                config["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN"]);
            }
        });
    for name in ["a", "b"] {
        fs::create_dir(container.rootfs().join(name)).unwrap();
        fs::write(container.rootfs().join(name).join("secret"), "x").unwrap();
    }
    assert_eq!(container.run().succeeds().stdout, "1\n/a:\n\n/b:\nfull\n");

    let link = host
        .container("masked")
        .push("/linux/maskedPaths", json!("/link"));
    std::os::unix::fs::symlink("/etc", link.rootfs().join("link")).unwrap();
    link.run().exits(1).fails_with(&["/link", "symbolic link"]);
}

#[test]
fn read_only_paths_keep_the_other_flags_of_their_mount() {
    let host = Host::new();
    let tree = Tree::new(&host, "nosuid,nodev,noexec");
    let container = host
        .container("readonly")
        .args(["cat", "/proc/self/mountinfo"])
        .push("/linux/readonlyPaths", json!("/tree/inner"));
    let container = with_mount(container, "/tree", "bind", &tree.path, &["rbind"]);
    let output = container.run().succeeds().stdout;
    let options = options(&output, "/tree/inner");
    for flag in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(options.iter().any(|other| other == flag), "{flag}: {options:?}");
    }
}

#[test]
fn a_bind_of_the_hosts_root_leaves_no_mount_behind() {
    let host = Host::new();
    host.sh("mount --make-rshared /");
    let count = || {
        let path = format!("/proc/{}/mountinfo", host.pid());
        fs::read_to_string(path).unwrap().lines().count()
    };
    let before = count();
    for options in [&["rbind"][..], &["rbind", "rslave"], &["bind", "ro"]] {
        let container = host.container("all").args(["test", "-d", "/host/proc"]);
        with_mount(container, "/host", "bind", "/", options)
            .run()
            .succeeds();
        assert_eq!(count(), before, "{options:?}");
    }
}

#[test]
fn mounts_need_no_more_descriptors_than_one_at_a_time() {
    let host = Host::new();
    let container = (0..100).fold(host.container("many"), |container, number| {
        with_mount(
            container,
            &format!("/m/{number}"),
            "bind",
            "/etc",
            &["bind", "ro"],
        )
    });
    let container = container
        .sh("ls /m | wc -l")
        .edit(|config| config["process"]["rlimits"] = json!([]));
    let output = host
        .runtime()
        .after("ulimit -n 40")
        .args(["run"])
        .args(container.bundle_and_id())
        .output();
    assert_eq!(output.succeeds().stdout, "100\n");
}

#[test]
fn without_pivot_root_the_container_sees_nothing_of_the_host() {
    let host = Host::new();
    let container = host
        .container("move")
        .sh("ls -d /bin; ls -d /proc/1; stat -c %t:%T /dev/null; (echo 1 >/proc/sys/kernel/msgmax) 2>&1 | grep -c 'Read-only'; \
             awk '$5 == \"/\"' /proc/self/mountinfo | wc -l");
    let output = container.run_with(&["--no-pivot"]).succeeds();
    assert_eq!(output.stdout, "/bin\n/proc/1\n1:3\n1\n1\n");
}

#[test]
fn a_mount_label_without_selinux_is_refused_before_anything_is_made() {
    if Path::new("/sys/fs/selinux/enforce").exists() {
        skip!("needs a host without SELinux");
    }
    let host = Host::new();
    let labelled = host
        .container("label")
        .edit(|config| config["linux"]["mountLabel"] = json!("system_u:object_r:container_file_t:s0:c1,c2"));
    labelled
        .run()
        .exits(1)
        .fails_with(&["linux.mountLabel", "SELinux is not enabled"]);
    let kind = host
        .container("label")
        .edit(|config| config["annotations"] = json!({"run.oci.mount_context_type": "everycontext"}));
    kind.run()
        .exits(1)
        .fails_with(&["run.oci.mount_context_type", "everycontext"]);
}

/// A container whose root may make groups, if the runtime gives it its own.
fn with_writable_cgroup(container: Container<'_>) -> Container<'_> {
    container.edit(|config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        let cgroup = mounts.iter_mut().find(|mount| mount["type"] == "cgroup").unwrap();
        cgroup["options"] = json!(["nosuid", "noexec", "nodev", "relatime"]);
    })
}

#[test]
fn on_v2_a_writable_cgroup_belongs_to_the_user_of_the_container() {
    let host = Host::new();
    let web = with_writable_cgroup(host.container("web").user_namespace())
        .sleeping()
        .running();
    let directory = web.cgroup("pids");
    let owner = |path: &Path| fs::metadata(path).unwrap().uid();
    if !cgroup_v2() {
        assert_eq!(owner(&directory), 0, "on v1 nothing is given away");
        return;
    }
    for name in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
        assert_eq!(owner(&directory.join(name)), 100_000, "{name:?}");
    }
    for name in ["cgroup.freeze", "cgroup.max.depth", "cgroup.kill"] {
        let path = directory.join(name);
        assert!(!path.exists() || owner(&path) == 0, "{name:?}");
    }
    assert_eq!(owner(directory.parent().unwrap()), 0);
    let script = "mkdir /sys/fs/cgroup/inner && echo $$ >/sys/fs/cgroup/inner/cgroup.procs && echo joined";
    assert_eq!(web.exec(["sh", "-c", script]).succeeds().stdout, "joined\n");
}

#[test]
fn a_cgroup_that_is_mounted_read_only_stays_roots() {
    let host = Host::new();
    let web = host.container("web").user_namespace().sleeping().running();
    assert_eq!(fs::metadata(web.cgroup("pids")).unwrap().uid(), 0);
}

#[test]
fn a_cgroup_with_processes_takes_no_container() {
    let host = Host::new();
    let first = host.container("first").sleeping().running();
    let path = format!("/{}", host.unique("shared"));
    first.delete_force().succeeds();
    let in_group = |name: &str| {
        host.container(name)
            .sleeping()
            .edit(|config| config["linux"]["cgroupsPath"] = json!(path))
    };
    let first = in_group("first").running();
    in_group("second")
        .try_create()
        .fails_with(&["container's cgroup is not empty: ", " process(es) found"]);
    assert_eq!(first.status(), "running");
}

#[test]
fn a_frozen_cgroup_takes_no_container_and_starts_none() {
    let host = Host::new();
    let web = host.container("web").sleeping().created();
    web.verb("pause").args([web.id()]).output().succeeds();
    web.start().fails_with(&["paused"]);
    web.verb("resume").args([web.id()]).output().succeeds();
    web.start().succeeds();

    // A group that an engine left frozen, and that no container is in.
    let path = web.cgroup("freezer");
    let parent = path.parent().unwrap();
    let name = host.unique("frozen");
    let group = parent.join(&name);
    fs::create_dir(&group).unwrap();
    let (file, value) = if cgroup_v2() {
        ("cgroup.freeze", "1")
    } else {
        ("freezer.state", "FROZEN")
    };
    fs::write(group.join(file), value).unwrap();
    let mount_point = if cgroup_v2() {
        "/sys/fs/cgroup"
    } else {
        "/sys/fs/cgroup/freezer"
    };
    let relative = group.strip_prefix(mount_point).unwrap();
    let late = host
        .container("late")
        .edit(|config| config["linux"]["cgroupsPath"] = json!(format!("/{}", relative.display())));
    late.try_create()
        .fails_with(&["container's cgroup unexpectedly frozen"]);
    assert!(group.exists(), "it was there before");
    fs::remove_dir(group).unwrap();
}
