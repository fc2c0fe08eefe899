//! Bad input: a clear error that names the place, and nothing left behind (the harness counts).

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Container, Host};

/// Runs with this text as config.json.
#[track_caller]
fn run_raw(container: &Container<'_>, config: &[u8]) -> crate::harness::Output {
    fs::write(container.bundle().join("config.json"), config).unwrap();
    container.run().exits(1)
}

/// Refused, with a message that contains all of `texts`.
#[track_caller]
fn refused(host: &Host, change: impl FnOnce(&mut Value), texts: &[&str]) {
    host.container("bad")
        .edit(change)
        .run()
        .exits(1)
        .fails_with(texts);
}

#[test]
fn an_empty_or_cut_off_config_tells_file_line_and_column() {
    let host = Host::new();
    let container = host.container("bad");
    run_raw(&container, b"").fails_with(&["/config.json:1:1: "]);
    run_raw(&container, b"{\n  \"ociVersion\": \"1.0.2\",\n  \"process\": {")
        .fails_with(&["/config.json:3:14: "]);
    run_raw(&container, b"[]").fails_with(&["config.json"]);
    run_raw(&container, b"null").fails_with(&["config.json"]);
}

#[test]
fn a_missing_config_or_bundle_is_named() {
    let host = Host::new();
    let container = host.container("bad");
    fs::remove_file(container.bundle().join("config.json")).unwrap();
    container.run().exits(1).fails_with(&["config.json", "not found"]);
    host.minirun(["run", "--bundle", "/no/such/bundle", &host.unique("x")])
        .exits(1)
        .fails_with(&["/no/such/bundle"]);
}

#[test]
fn a_config_that_is_no_regular_file_is_refused_and_not_waited_for() {
    let host = Host::new();
    let container = host.container("bad");
    let path = container.bundle().join("config.json");
    fs::remove_file(&path).unwrap();
    host.sh(&format!("mkfifo {}", path.display()));
    container
        .run()
        .exits(1)
        .fails_with(&["config.json", "regular file"]);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    container.run().exits(1).fails_with(&["config.json"]);
    fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    container.run().exits(1).fails_with(&["config.json"]);
}

#[test]
fn a_config_of_absurd_size_is_refused() {
    let host = Host::new();
    let container = host.container("bad");
    let file = fs::File::create(container.bundle().join("config.json")).unwrap();
    // A hole: nothing is written.
    file.set_len(1 << 33).unwrap();
    container.run().exits(1).fails_with(&["config.json"]);
}

#[test]
fn trailing_garbage_duplicate_keys_and_bad_utf8_are_refused() {
    let host = Host::new();
    let container = host.container("bad");
    let good = fs::read_to_string(container.bundle().join("config.json")).unwrap();
    let end = format!("/config.json:{}:3: ", good.lines().count());
    run_raw(&container, format!("{good} garbage").as_bytes()).fails_with(&[&end]);
    let twice = good.replacen('{', "{\"hostname\": \"first\",", 1);
    run_raw(&container, twice.as_bytes()).fails_with(&["hostname"]);
    let nested = good.replacen("\"cwd\"", "\"cwd\": \"/tmp\", \"cwd\"", 1);
    run_raw(&container, nested.as_bytes()).fails_with(&["cwd"]);
    let mut bytes = good.clone().into_bytes();
    let position = good.find("scenario").unwrap();
    bytes[position] = 0xff;
    run_raw(&container, &bytes).fails_with(&["config.json"]);
}

#[test]
fn deep_nesting_is_refused_and_does_not_crash() {
    let host = Host::new();
    let container = host.container("bad");
    let deep = format!("{{\"unknown\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    run_raw(&container, deep.as_bytes()).fails_with(&["config.json"]);
}

#[test]
fn versions_that_are_not_1_x_are_refused() {
    let host = Host::new();
    for version in ["banana", "99.0", "2.0.0", "0.9.0", "", "1", "1.0"] {
        refused(
            &host,
            |config| config["ociVersion"] = json!(version),
            &["ociVersion"],
        );
    }
    refused(
        &host,
        |config| drop(config.as_object_mut().unwrap().remove("ociVersion")),
        &["ociVersion"],
    );
    for version in ["1.0.0", "1.2.1", "1.3.0-dev", "1.99.0+meta"] {
        host.container("good")
            .edit(|config| config["ociVersion"] = json!(version))
            .run()
            .succeeds();
    }
}

#[test]
fn unknown_fields_are_ignored() {
    let host = Host::new();
    let container = host.container("future").edit(|config| {
        config["future"] = json!({"a": 1});
        config["process"]["future"] = json!("x");
        config["linux"]["future"] = json!([1, 2]);
        config["windows"] = json!({"layerFolders": []});
    });
    container.run().succeeds();
}

#[test]
fn wrong_types_are_refused_with_the_path_of_the_field() {
    let host = Host::new();
    refused(
        &host,
        |config| config["process"]["user"]["uid"] = json!("root"),
        &["process.user.uid"],
    );
    refused(
        &host,
        |config| config["process"]["user"]["uid"] = json!(-1),
        &["process.user.uid"],
    );
    refused(
        &host,
        |config| config["process"]["user"]["uid"] = json!(4_294_967_296_u64),
        &["process.user.uid"],
    );
    refused(
        &host,
        |config| config["linux"]["resources"]["memory"] = json!({"limit": "64M"}),
        &["linux.resources.memory.limit"],
    );
    refused(
        &host,
        |config| config["process"]["args"] = json!("echo"),
        &["process.args"],
    );
    refused(
        &host,
        |config| config["mounts"][2]["options"] = json!("ro"),
        &["mounts[2].options"],
    );
    refused(
        &host,
        |config| config["linux"]["namespaces"] = json!({}),
        &["linux.namespaces"],
    );
}

#[test]
fn nul_bytes_are_refused() {
    let host = Host::new();
    refused(
        &host,
        |config| config["process"]["args"] = json!(["echo", "a\u{0}b"]),
        &["process.args"],
    );
    refused(
        &host,
        |config| config["process"]["env"] = json!(["A=a\u{0}b"]),
        &["process.env"],
    );
    refused(
        &host,
        |config| config["process"]["cwd"] = json!("/a\u{0}b"),
        &["process.cwd"],
    );
    refused(
        &host,
        |config| config["hostname"] = json!("a\u{0}b"),
        &["hostname"],
    );
    refused(
        &host,
        |config| config["mounts"][0]["destination"] = json!("/a\u{0}b"),
        &["mounts[0]"],
    );
}

#[test]
fn broken_environment_entries_are_refused() {
    let host = Host::new();
    refused(
        &host,
        |config| config["process"]["env"] = json!(["PATH=/bin", "NOVALUE"]),
        &["process.env", "NOVALUE"],
    );
    refused(
        &host,
        |config| config["process"]["env"] = json!(["=value"]),
        &["process.env"],
    );
}

#[test]
fn a_process_without_arguments_or_with_a_relative_directory_is_refused() {
    let host = Host::new();
    refused(
        &host,
        |config| config["process"]["args"] = json!([]),
        &["process.args"],
    );
    refused(&host, |config| config["process"]["args"] = json!([""]), &[]);
    refused(
        &host,
        |config| config["process"]["cwd"] = json!("tmp"),
        &["process.cwd"],
    );
    refused(
        &host,
        |config| config["process"]["cwd"] = json!(""),
        &["process.cwd"],
    );
    refused(
        &host,
        |config| drop(config["process"].as_object_mut().unwrap().remove("cwd")),
        &["process.cwd"],
    );
}

#[test]
fn a_lsm_that_the_host_lacks_or_a_profile_that_it_does_not_know_fails_closed() {
    let host = Host::new();
    refused(
        &host,
        |config| config["process"]["apparmorProfile"] = json!("no-such-profile"),
        &["apparmor"],
    );
    refused(
        &host,
        |config| config["process"]["selinuxLabel"] = json!("system_u:system_r:x:s0"),
        &["selinux"],
    );
    // Podman looks for the path in backticks.
    let web = host.container("web").sleeping().running();
    web.exec_with(&["--apparmor", "no-such-profile"], ["true"])
        .fails_with(&["process.apparmorProfile", "`/proc/self/attr/"]);
    web.exec_with(&["--process-label", "no-such-label"], ["true"])
        .fails_with(&["process.selinuxLabel", "`/proc/self/attr/exec`"]);
    web.exec_with(&["--apparmor", "unconfined"], ["true"]).succeeds();
}

#[test]
fn limits_that_mean_nothing_are_refused() {
    let host = Host::new();
    let cases = [
        (json!({"pids": {"limit": -7}}), "pids"),
        (json!({"cpu": {"quota": -2}}), "quota"),
        (json!({"cpu": {"period": 0, "quota": 1000}}), "period"),
        (json!({"cpu": {"quota": 10}}), "cpu"),
        (json!({"cpu": {"cpus": "0-"}}), "cpus"),
        (json!({"cpu": {"cpus": "banana"}}), "cpus"),
        (json!({"memory": {"limit": -2}}), "limit"),
        (
            json!({"memory": {"limit": 1_048_576_000, "swap": 1_048_576}}),
            "swap",
        ),
        (json!({"memory": {"swappiness": 500}}), "swappiness"),
        (json!({"blockIO": {"weight": 5}}), "weight"),
        (
            // A size that no machine has; a host without the controller says that instead.
            json!({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}),
            "hugepageLimits[0]",
        ),
        (
            json!({"devices": [{"allow": true, "type": "x", "access": "r"}]}),
            "devices",
        ),
        (
            json!({"devices": [{"allow": true, "type": "c", "access": "rq"}]}),
            "access",
        ),
    ];
    for (resources, field) in cases {
        refused(&host, |config| config["linux"]["resources"] = resources, &[field]);
    }
}

#[test]
fn resource_limits_of_the_process_are_checked() {
    let host = Host::new();
    let limit = |kind: &str, soft: u64, hard: u64| json!({"type": kind, "soft": soft, "hard": hard});
    let twice = json!([limit("RLIMIT_NOFILE", 100, 100), limit("RLIMIT_NOFILE", 200, 200)]);
    refused(
        &host,
        |config| config["process"]["rlimits"] = twice,
        &["rlimit", "NOFILE"],
    );
    refused(
        &host,
        |config| config["process"]["rlimits"] = json!([limit("RLIMIT_DREAMS", 1, 1)]),
        &["RLIMIT_DREAMS"],
    );
    refused(
        &host,
        |config| config["process"]["rlimits"] = json!([limit("RLIMIT_NOFILE", 200, 100)]),
        &["rlimit"],
    );
}

#[test]
fn a_cgroups_path_with_dots_is_refused() {
    let host = Host::new();
    for path in ["../outside", "/a/../../outside", "a/./../b/../../c", "/.."] {
        refused(
            &host,
            |config| config["linux"]["cgroupsPath"] = json!(path),
            &["cgroupsPath"],
        );
    }
}

#[test]
fn a_root_that_is_no_directory_is_named() {
    let host = Host::new();
    let container = host.container("bad");
    let file = container.bundle().join("file");
    fs::write(&file, "").unwrap();
    let container = container.edit(|config| config["root"]["path"] = json!(file.to_str().unwrap()));
    container
        .run()
        .exits(1)
        .fails_with(&["root.path", "is not a directory"]);
    refused(
        &host,
        |config| config["root"]["path"] = json!("no-such-root"),
        &["root.path", "no-such-root"],
    );
    refused(&host, |config| config["root"]["path"] = json!(""), &["root.path"]);
    refused(
        &host,
        |config| drop(config.as_object_mut().unwrap().remove("root")),
        &["root"],
    );
}

#[test]
fn broken_mounts_are_refused_by_index() {
    let host = Host::new();
    refused(
        &host,
        |config| config["mounts"][1]["destination"] = json!(""),
        &["mounts[1]"],
    );
    refused(
        &host,
        |config| config["mounts"][1]["type"] = json!("no-such-filesystem"),
        &["no-such-filesystem"],
    );
    refused(
        &host,
        |config| config["mounts"][0]["uidMappings"] = json!([{"containerID": 0, "hostID": 1, "size": 1}]),
        &["mounts[0]"],
    );
    refused(
        &host,
        |config| config["linux"]["rootfsPropagation"] = json!("sideways"),
        &["rootfsPropagation", "sideways"],
    );
}

#[test]
fn broken_devices_are_refused() {
    let host = Host::new();
    let cases = [
        json!({"path": "/dev/x", "type": "q", "major": 1, "minor": 3}),
        json!({"path": "", "type": "c", "major": 1, "minor": 3}),
        json!({"path": "/dev/x", "type": "c"}),
        json!({"path": "/dev/x", "type": "b", "major": 7}),
        json!({"path": "/dev/x", "type": "c", "major": -1, "minor": 3}),
    ];
    for device in cases {
        refused(
            &host,
            |config| config["linux"]["devices"] = json!([device]),
            &["linux.devices[0]"],
        );
    }
}

#[test]
fn a_path_that_is_masked_must_be_absolute() {
    let host = Host::new();
    refused(
        &host,
        |config| config["linux"]["maskedPaths"] = json!(["etc/passwd"]),
        &["maskedPaths"],
    );
    refused(
        &host,
        |config| config["linux"]["readonlyPaths"] = json!(["etc"]),
        &["readonlyPaths"],
    );
}

#[test]
fn ids_are_checked_before_anything_is_made() {
    let host = Host::new();
    let container = host.container("bad");
    let long = "x".repeat(256);
    for id in [
        "",
        ".",
        "..",
        "../escape",
        "a/b",
        "/abs",
        "a b",
        "a\nb",
        "ü",
        "a*",
        "-x-but-a-flag/",
        &long,
    ] {
        let output = host
            .runtime()
            .args(["run", "--bundle", container.bundle().to_str().unwrap(), "--", id])
            .output();
        assert_eq!(output.code, 1, "id {id:?}: {output}");
    }
    assert!(!host.path("/run/escape").exists());
}

#[test]
fn ids_of_every_allowed_character_work() {
    let host = Host::new();
    let container = host.container("good");
    let id = host.unique("A-z_0.9+b");
    host.runtime()
        .args(["run", "--bundle", container.bundle().to_str().unwrap(), &id])
        .output()
        .succeeds();
}

#[test]
fn unknown_commands_and_flags_fail_with_1_and_a_suggestion() {
    let host = Host::new();
    host.minirun(["craete"]).exits(1).fails_with(&["create"]);
    host.minirun(["list", "--formt", "json"])
        .exits(1)
        .fails_with(&["--format"]);
    host.minirun(["create"]).exits(1);
    host.minirun(["kill"]).exits(1);
}

#[test]
fn a_state_directory_that_is_no_directory_is_named() {
    let host = Host::new();
    let file = host.dir().join("file");
    fs::write(&file, "").unwrap();
    let container = host.container("bad");
    let run = host
        .runtime()
        .args(["--root", file.to_str().unwrap(), "run"])
        .args(container.bundle_and_id())
        .output();
    run.exits(1).fails_with(&[file.to_str().unwrap()]);
    host.minirun(["--root", "/", "list"]).exits(1);
}

#[test]
fn a_broken_record_does_not_hide_the_others_and_force_removes_it() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    let broken = host.container("broken").sleeping().running();
    let runtime = host.binary().file_name().unwrap().to_str().unwrap();
    let directory = host.path(&format!("/run/{runtime}/{}", broken.id()));
    let files = fs::read_dir(&directory)
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let records: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    assert!(!records.is_empty(), "no record in {}", directory.display());
    for record in records {
        fs::write(record, "{\"broken").unwrap();
    }
    let list = host.minirun(["list", "-q"]).succeeds();
    assert!(list.stdout.contains(web.id()), "{list}");
    broken.delete_force().succeeds();
}
