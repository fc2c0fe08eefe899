//! Id-mapped mounts: who owns the files of a volume, as the container sees it and as the host does.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use serde_json::{Value, json};

use crate::harness::{Container, Host, skip};

/// A directory of the host with a file of root's, one of user 5's, and a mount inside that has a file of root's.
struct Volume<'h> {
    host: &'h Host,
    path: String,
}

impl Volume<'_> {
    fn new(host: &Host) -> Volume<'_> {
        let path = host.dir().join("volume").to_str().unwrap().to_owned();
        host.sh(&format!(
            "mkdir -p {path}/inner && mount -t tmpfs tmpfs {path}/inner && touch {path}/inner/file {path}/roots {path}/fives"
        ));
        chown(format!("{path}/fives"), Some(5), Some(5)).unwrap();
        Volume { host, path }
    }

    fn owner(&self, name: &str) -> (u32, u32) {
        let stat = fs::metadata(format!("{}/{name}", self.path)).unwrap();
        (stat.uid(), stat.gid())
    }
}

impl Drop for Volume<'_> {
    fn drop(&mut self) {
        self.host.sh(&format!("umount {}/inner", self.path));
    }
}

fn range(container: u32, host: u32, size: u32) -> Value {
    json!([{"containerID": container, "hostID": host, "size": size}])
}

fn mapped<'h>(
    container: Container<'h>,
    volume: &Volume<'_>,
    options: &[&str],
    uids: Value,
    gids: Value,
) -> Container<'h> {
    container.push(
        "/mounts",
        json!({
            "destination": "/data", "type": "bind", "source": volume.path, "options": options,
            "uidMappings": uids, "gidMappings": gids,
        }),
    )
}

fn by_option<'h>(container: Container<'h>, volume: &Volume<'_>, options: &[&str]) -> Container<'h> {
    container.push(
        "/mounts",
        json!({"destination": "/data", "type": "bind", "source": volume.path, "options": options}),
    )
}

const OWNERS: &str = "cd /data; stat -c '%n %u:%g' roots fives";

#[test]
fn a_mount_with_mappings_of_its_own_shows_other_owners_and_stores_the_old_ones() {
    let host = Host::new();
    let volume = Volume::new(&host);
    fs::set_permissions(&volume.path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    // With and without the option that says so.
    for options in [&["bind"][..], &["bind", "idmap"]] {
        let container = mapped(
            host.container("idmap")
                .sh(&format!("{OWNERS}; touch new; stat -c '%n %u:%g' new"))
                .edit(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 2000})),
            &volume,
            options,
            range(0, 1000, 100),
            range(0, 2000, 100),
        );
        assert_eq!(
            container.run().succeeds().stdout,
            "roots 1000:2000\nfives 1005:2005\nnew 1000:2000\n"
        );
        assert_eq!(volume.owner("new"), (0, 0));
        assert_eq!(volume.owner("fives"), (5, 5));
        fs::remove_file(format!("{}/new", volume.path)).unwrap();
    }
}

#[test]
fn without_mappings_a_mount_is_mapped_as_the_containers_user_namespace() {
    let host = Host::new();
    let volume = Volume::new(&host);
    let container = by_option(
        host.container("idmap")
            .user_namespace()
            .sh(&format!("{OWNERS}; touch new")),
        &volume,
        &["bind", "idmap"],
    );
    assert_eq!(container.run().succeeds().stdout, "roots 0:0\nfives 5:5\n");
    assert_eq!(volume.owner("new"), (0, 0));
}

#[test]
fn mappings_of_a_mount_in_a_user_namespace_are_ids_of_the_host() {
    let host = Host::new();
    let volume = Volume::new(&host);
    let container = mapped(
        host.container("idmap").user_namespace().sh(OWNERS),
        &volume,
        &["rbind", "idmap"],
        range(0, 100_007, 10),
        range(0, 100_009, 10),
    );
    assert_eq!(container.run().succeeds().stdout, "roots 7:9\nfives 12:14\n");
}

#[test]
fn a_joined_user_namespace_maps_mounts_too() {
    let host = Host::new();
    let volume = Volume::new(&host);
    let first = host.container("first").user_namespace().sleeping().running();
    let path = format!("/proc/{}/ns/user", first.pid());
    let second = by_option(
        host.container("second")
            .user_namespace()
            .namespace(json!({"type": "user", "path": path}))
            .sh(OWNERS),
        &volume,
        &["bind", "idmap"],
    );
    assert_eq!(second.run().succeeds().stdout, "roots 0:0\nfives 5:5\n");
}

#[test]
fn idmap_is_for_the_mount_alone_and_ridmap_for_all_below_it() {
    let host = Host::new();
    let volume = Volume::new(&host);
    for (option, inner) in [("idmap", "0:0"), ("ridmap", "1000:2000")] {
        let container = mapped(
            host.container("idmap")
                .sh("cd /data; stat -c %u:%g roots inner/file"),
            &volume,
            &["rbind", option],
            range(0, 1000, 1),
            range(0, 2000, 1),
        );
        let output = container.run();
        if output.stderr.contains("(tmpfs)") {
            skip!("needs a kernel whose tmpfs can be id-mapped");
        }
        assert_eq!(
            output.succeeds().stdout,
            format!("1000:2000\n{inner}\n"),
            "{option}"
        );
    }
}

#[test]
fn a_mapping_in_the_option_is_crun_s_and_an_at_sign_makes_it_relative() {
    let host = Host::new();
    let volume = Volume::new(&host);
    let absolute = by_option(
        host.container("idmap").sh(OWNERS),
        &volume,
        &["bind", "idmap=uids=0-1000-1#5-7-1;gids=0-2000-10"],
    );
    assert_eq!(
        absolute.run().succeeds().stdout,
        "roots 1000:2000\nfives 7:2005\n"
    );
    let relative = by_option(
        host.container("idmap").user_namespace().sh(OWNERS),
        &volume,
        &["bind", "idmap=uids=@0-20-10;gids=@0-30-10"],
    );
    assert_eq!(relative.run().succeeds().stdout, "roots 20:30\nfives 25:35\n");
}

#[test]
fn crun_shows_the_same_owners() {
    let host = Host::new();
    let volume = Volume::new(&host);
    if host.peer("crun", "peer").is_none() {
        skip!("crun is not installed");
    }
    for option in ["idmap", "idmap=uids=0-100003-50;gids=@0-4-50"] {
        let configured = |container| by_option(container, &volume, &["bind", option]);
        let theirs = host.peer("crun", "peer").unwrap();
        let theirs = configured(theirs.user_namespace().sh(OWNERS));
        let theirs = theirs.run();
        if theirs.stderr.contains("hybrid mode not supported") {
            skip!("needs a host where crun runs: one without a mixture of cgroup v1 and v2");
        }
        let ours = configured(host.container("ours").user_namespace().sh(OWNERS));
        assert_eq!(ours.run().succeeds().stdout, theirs.succeeds().stdout, "{option}");
    }
}

#[test]
fn flags_and_propagation_of_an_id_mapped_mount_hold() {
    let host = Host::new();
    let volume = Volume::new(&host);
    for user_namespace in [false, true] {
        let container = host
            .container("idmap")
            .sh("grep ' /data ' /proc/self/mountinfo; touch /data/x 2>&1");
        let container = if user_namespace {
            container.user_namespace()
        } else {
            container
        };
        let container = mapped(
            container,
            &volume,
            &["bind", "idmap", "ro", "nosuid", "rprivate"],
            range(0, 100_000, 10),
            range(0, 100_000, 10),
        );
        let output = container.run().exits(1);
        let mount = output.stdout.lines().next().unwrap();
        let fields: Vec<&str> = mount.split(' ').collect();
        assert!(fields[5].starts_with("ro,nosuid"), "{mount}");
        assert!(fields[5].contains("idmapped"), "{mount}");
        assert_eq!(fields[6], "-", "{mount}");
        assert!(output.stdout.contains("Read-only file system"), "{output}");
    }
}

#[test]
fn a_hundred_id_mapped_mounts_are_each_in_their_place() {
    let host = Host::new();
    let volume = Volume::new(&host);
    let container = (0..100).fold(host.container("idmap"), |container, number| {
        let source = format!("{}/{number}", volume.path);
        fs::write(&source, format!("{number}\n")).unwrap();
        container.push(
            "/mounts",
            json!({
                "destination": format!("/many/{number}"), "source": source, "options": ["bind"],
                "uidMappings": range(0, number, 1), "gidMappings": range(0, number % 2, 1),
            }),
        )
    });
    let container = container.sh("cd /many; for n in $(seq 0 99); do stat -c %u $n; cat $n; done");
    let expected: String = (0..100).map(|number| format!("{number}\n{number}\n")).collect();
    assert_eq!(container.run().succeeds().stdout, expected);
}

#[test]
fn a_file_system_that_cannot_be_mapped_is_named_with_the_field() {
    let host = Host::new();
    let container = host.container("idmap").push(
        "/mounts",
        json!({
            "destination": "/data", "source": "/proc/sys", "options": ["bind"],
            "uidMappings": range(0, 1000, 1), "gidMappings": range(0, 1000, 1),
        }),
    );
    let index = 7;
    container.run().exits(1).fails_with(&[
        &format!("mounts[{index}].uidMappings"),
        "/proc/sys",
        "(proc)",
        "id-mapped mounts are not supported",
    ]);
}

#[test]
fn mappings_that_make_no_sense_are_refused_by_their_field() {
    let host = Host::new();
    let volume = Volume::new(&host);
    let one = range(0, 1000, 1);
    let mount = |options: Value, uids: Value, gids: Value| {
        json!({
            "destination": "/data", "type": "tmpfs", "source": volume.path, "options": options,
            "uidMappings": uids, "gidMappings": gids,
        })
    };
    for (mount, text) in [
        (
            mount(json!(["bind"]), one.clone(), json!([])),
            "mounts[7].gidMappings: is required",
        ),
        (
            mount(json!(["bind", "idmap"]), json!([]), json!([])),
            "mounts[7].options: an id-mapped mount needs a mapping",
        ),
        (
            mount(json!([]), one.clone(), one.clone()),
            "mounts[7]: id-mapped mounts are only supported for bind mounts",
        ),
        (
            mount(json!(["bind"]), range(0, 1, 0), one.clone()),
            "mounts[7].uidMappings[0]: size must be greater than 0",
        ),
        (
            mount(json!(["bind", "idmap=uids=0-1"]), json!([]), json!([])),
            "is not of the form ON_DISK-SHOWN-SIZE",
        ),
    ] {
        let container = host.container("idmap").push("/mounts", mount);
        container.run().exits(1).fails_with(&[text]);
    }
}
