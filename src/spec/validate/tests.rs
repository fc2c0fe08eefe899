//! Every test starts from the default configuration, which is valid, and changes one thing.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::spec::default::DEFAULT;
use crate::spec::load;

fn check(change: impl FnOnce(&mut Value)) -> Result<Vec<String>> {
    let mut config: Value = serde_json::from_str(DEFAULT).unwrap();
    change(&mut config);
    let loaded = load::parse(Path::new("config.json"), config.to_string().into_bytes()).unwrap();
    validate(&loaded.spec)
}

/// Sets the property at `pointer` (RFC 6901) and gives back the error's text.
fn error(pointer: &str, value: Value) -> String {
    let result = check(|config| set(config, pointer, value));
    result.unwrap_err().to_string()
}

fn accepts(pointer: &str, value: Value) {
    let shown = format!("{pointer} = {value}");
    let result = check(|config| set(config, pointer, value));
    assert_eq!(result, Ok(vec![]), "{shown}");
}

fn set(config: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    config.pointer_mut(parent).unwrap()[key] = value;
}

fn namespaces(types: &[&str]) -> Value {
    types.iter().map(|typ| json!({"type": typ})).collect()
}

#[test]
fn a_configuration_of_dockers_shape_is_valid() {
    let raw = include_bytes!("../../../integration-tests/fixtures/docker-config.json");
    let loaded = load::parse(Path::new("docker-config.json"), raw.to_vec()).unwrap();
    assert_eq!(loaded.warnings, [""; 0]);
    assert_eq!(validate(&loaded.spec), Ok(vec![]));
}

#[test]
fn every_version_1_is_taken() {
    for version in [
        "1.0.0",
        "1.0.2-dev",
        "1.3.0",
        "1.99.0",
        "1.1.0+dev",
        "1.0.0-rc.1+b.7",
        "1.0.0-x-y",
    ] {
        accepts("/ociVersion", json!(version));
    }
}

#[test]
fn other_versions_are_refused() {
    for (version, expected) in [
        (json!("banana"), "\"banana\" is not a version of the form 1.3.0"),
        (json!("99.0"), "\"99.0\" is not a version of the form 1.3.0"),
        (json!("1.0"), "\"1.0\" is not a version of the form 1.3.0"),
        (json!("1.0.0.0"), "\"1.0.0.0\" is not a version of the form 1.3.0"),
        (json!("01.0.0"), "\"01.0.0\" is not a version of the form 1.3.0"),
        (json!("1.0.0-"), "\"1.0.0-\" is not a version of the form 1.3.0"),
        (json!("v1.0.0"), "\"v1.0.0\" is not a version of the form 1.3.0"),
        (
            json!("99.0.0"),
            "\"99.0.0\" is of major version 99, which is not supported; 1.3.0 is",
        ),
        (
            json!("0.5.0-dev"),
            "\"0.5.0-dev\" is of major version 0, which is not supported; 1.3.0 is",
        ),
        (json!(""), "is required"),
        (Value::Null, "is required"),
    ] {
        assert_eq!(error("/ociVersion", version), format!("ociVersion: {expected}"));
    }
}

#[test]
fn the_bad_input_table() {
    for (pointer, value, expected) in [
        ("/root", Value::Null, "root: is required"),
        ("/root/path", json!(""), "root.path: must not be empty"),
        ("/root/path", Value::Null, "root.path: must not be empty"),
        (
            "/process/args",
            json!([]),
            "process.args: must have at least one element",
        ),
        (
            "/process/args",
            Value::Null,
            "process.args: must have at least one element",
        ),
        (
            "/process/env",
            json!(["A=1", "NOTHING"]),
            "process.env[1]: \"NOTHING\" has no '='; write NAME=VALUE",
        ),
        (
            "/process/env",
            json!(["=1"]),
            "process.env[0]: \"=1\" has no name before '='; write NAME=VALUE",
        ),
        (
            "/process/env",
            json!([""]),
            "process.env[0]: \"\" has no '='; write NAME=VALUE",
        ),
        ("/process/cwd", json!(""), "process.cwd: must not be empty"),
        (
            "/process/cwd",
            json!("tmp"),
            "process.cwd: must be an absolute path, found \"tmp\"",
        ),
        (
            "/process/user/uid",
            json!(u32::MAX),
            "process.user.uid: 4294967295 is not an id: the kernel takes it as \"leave it as it is\"",
        ),
        (
            "/process/user/gid",
            json!(u32::MAX),
            "process.user.gid: 4294967295 is not an id: the kernel takes it as \"leave it as it is\"",
        ),
        (
            "/process/user/additionalGids",
            json!([1, u32::MAX]),
            "process.user.additionalGids[1]: 4294967295 is not an id: the kernel takes it as \"leave it as it is\"",
        ),
        (
            "/process/user/umask",
            json!(512),
            "process.user.umask: must be at most 511 (octal 777), found 512",
        ),
        (
            "/process/oomScoreAdj",
            json!(1001),
            "process.oomScoreAdj: must be between -1000 and 1000, found 1001",
        ),
        (
            "/process/oomScoreAdj",
            json!(-1001),
            "process.oomScoreAdj: must be between -1000 and 1000, found -1001",
        ),
        (
            "/process/consoleSize",
            json!({"height": 65536, "width": 1}),
            "process.consoleSize.height: must be at most 65535, found 65536",
        ),
        (
            "/linux/namespaces",
            json!([{"type": "mount"}, {"type": "pid"}, {"type": "uts"}, {"type": "pid"}]),
            "linux.namespaces[3].type: duplicated namespace \"pid\", already linux.namespaces[1]",
        ),
        (
            "/linux/namespaces",
            json!([{"type": "mount"}, {"type": "uts"}, {"type": "network", "path": "run/netns/x"}]),
            "linux.namespaces[2].path: must be an absolute path, found \"run/netns/x\"",
        ),
        (
            "/linux/namespaces",
            namespaces(&["mount", "pid"]),
            "hostname: unable to set hostname without a private UTS namespace; add \"uts\" to linux.namespaces",
        ),
        (
            "/hostname",
            json!("h".repeat(65)),
            "hostname: has 65 bytes, more than the kernel's 64",
        ),
        (
            "/domainname",
            json!("d".repeat(65)),
            "domainname: has 65 bytes, more than the kernel's 64",
        ),
        (
            "/linux/sysctl",
            json!({"kernel.panic": "1"}),
            "linux.sysctl[\"kernel.panic\"]: is not in a separate kernel namespace",
        ),
        (
            "/annotations",
            json!({"": "x"}),
            "annotations: must not have an empty key",
        ),
        (
            "/hooks",
            json!({"prestart": [{"path": "/bin/true"}, {"path": "bin/true"}]}),
            "hooks.prestart[1].path: must be an absolute path, found \"bin/true\"",
        ),
        (
            "/hooks",
            json!({"poststop": [{"path": ""}]}),
            "hooks.poststop[0].path: must not be empty",
        ),
        (
            "/hooks",
            json!({"createRuntime": [{"path": "/bin/true", "timeout": 0}]}),
            "hooks.createRuntime[0].timeout: must be greater than 0 seconds, found 0",
        ),
        (
            "/hooks",
            json!({"startContainer": [{"path": "/bin/true", "timeout": -1}]}),
            "hooks.startContainer[0].timeout: must be greater than 0 seconds, found -1",
        ),
    ] {
        assert_eq!(error(pointer, value), expected);
    }
}

#[test]
fn the_old_switches_of_monitoring_are_a_warning_unless_the_new_one_is_on() {
    let warnings = |rdt| check(|config| set(config, "/linux/intelRdt", rdt)).unwrap();
    assert_eq!(
        warnings(json!({"enableCMT": false, "enableMBM": true})),
        ["linux.intelRdt.enableMBM: ignored, enableMonitoring counts what this container uses"]
    );
    assert!(warnings(json!({"enableCMT": false})).is_empty());
    assert!(warnings(json!({"enableCMT": true, "enableMonitoring": true})).is_empty());
}

#[test]
fn flags_of_the_personality_are_a_warning() {
    let warnings = |flags| {
        check(|config| {
            set(
                config,
                "/linux/personality",
                json!({"domain": "LINUX", "flags": flags}),
            )
        })
        .unwrap()
    };
    assert_eq!(
        warnings(json!(["SHORT_INODE", "X"])),
        ["linux.personality.flags: no flag is known, ignoring SHORT_INODE, X"]
    );
    assert!(warnings(json!([])).is_empty());
}

#[test]
fn what_engines_leave_empty_is_absent() {
    for (pointer, value) in [
        ("/process/apparmorProfile", json!("")),
        ("/process/selinuxLabel", json!("")),
        ("/linux/mountLabel", json!("")),
        ("/linux/netDevices", json!({})),
        ("/linux/uidMappings", json!([])),
        ("/linux/timeOffsets", json!({})),
        ("/hostname", json!("")),
        ("/domainname", json!("")),
        ("/hooks", json!({})),
        ("/mounts", json!([])),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": ""}),
        ),
    ] {
        accepts(pointer, value);
    }
    let without_linux = check(|config| {
        config["linux"] = Value::Null;
        config["hostname"] = Value::Null;
    });
    assert_eq!(without_linux, Ok(vec![]));
}

#[test]
fn values_at_the_edges_are_taken() {
    for (pointer, value) in [
        ("/process", Value::Null),
        ("/process/user", Value::Null),
        ("/process/user/uid", json!(u32::MAX - 1)),
        ("/process/user/umask", json!(0o777)),
        ("/process/oomScoreAdj", json!(-1000)),
        ("/process/oomScoreAdj", json!(1000)),
        ("/process/consoleSize", json!({"height": 65535, "width": 0})),
        ("/process/env", json!(["A=", "B==", "C=a=b"])),
        ("/hostname", json!("h".repeat(64))),
        (
            "/hooks",
            json!({"poststart": [{"path": "/x", "timeout": 1, "args": [], "env": []}]}),
        ),
        ("/annotations", json!({"k": "\u{0}"})),
    ] {
        accepts(pointer, value);
    }
}

#[test]
fn the_console_size_is_ignored_without_a_terminal() {
    let result = check(|config| {
        config["process"]["terminal"] = json!(false);
        config["process"]["consoleSize"] = json!({"height": 99999, "width": 0});
    });
    assert_eq!(result, Ok(vec![]));
}

#[test]
fn a_relative_mount_destination_is_a_warning() {
    let warnings = check(|config| config["mounts"][1]["destination"] = json!("dev")).unwrap();
    assert_eq!(
        warnings,
        ["mounts[1].destination: \"dev\" is not absolute, taken as below /"]
    );
}

/// The default configuration in a new user namespace that maps the first ten ids.
fn with_user_namespace(config: &mut Value) {
    let mapping = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
    config["linux"]["namespaces"] = namespaces(&["mount", "uts", "user"]);
    config["linux"]["uidMappings"] = mapping.clone();
    config["linux"]["gidMappings"] = mapping;
}

#[test]
fn a_new_user_namespace_needs_both_mappings_and_mappings_need_it() {
    assert_eq!(check(with_user_namespace), Ok(vec![]));
    for property in ["uidMappings", "gidMappings"] {
        let result = check(|config| {
            with_user_namespace(config);
            config["linux"][property] = json!([]);
        });
        assert_eq!(
            result.unwrap_err().to_string(),
            format!("linux.{property}: is required, as linux.namespaces asks for a new user namespace")
        );
        let result = check(|config| {
            config["linux"][property] = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
        });
        assert_eq!(
            result.unwrap_err().to_string(),
            format!("linux.{property}: needs a user namespace; add \"user\" to linux.namespaces")
        );
    }
}

#[test]
fn a_user_namespace_joined_by_path_needs_no_mapping_and_may_have_one() {
    for mapping in [json!([]), json!([{"containerID": 0, "hostID": 0, "size": 1}])] {
        let result = check(|config| {
            config["linux"]["namespaces"] =
                json!([{"type": "mount"}, {"type": "uts"}, {"type": "user", "path": "/proc/1/ns/user"}]);
            config["linux"]["uidMappings"] = mapping;
            config["process"]["user"]["uid"] = json!(77);
        });
        assert_eq!(result, Ok(vec![]));
    }
}

#[test]
fn an_empty_namespace_path_asks_for_a_new_namespace() {
    let result = check(|config| {
        with_user_namespace(config);
        config["linux"]["namespaces"][2]["path"] = json!("");
        config["linux"]["uidMappings"] = Value::Null;
    });
    assert_eq!(
        result.unwrap_err().to_string(),
        "linux.uidMappings: is required, as linux.namespaces asks for a new user namespace"
    );
}

#[test]
fn mappings_follow_the_kernels_rules() {
    let range = |container, host, size| json!({"containerID": container, "hostID": host, "size": size});
    let many: Vec<Value> = (0..341u32).map(|id| range(id, id, 1)).collect();
    for (mapping, expected) in [
        (
            json!([range(0, 1000, 0)]),
            "linux.uidMappings[0]: size must be greater than 0",
        ),
        (
            json!([range(0, 0, u32::MAX), range(1, 1, 1)]),
            "linux.uidMappings[1]: overlaps with range 0",
        ),
        (
            json!([range(0, u32::MAX - 4, 5)]),
            "linux.uidMappings[0]: reaches beyond the largest id, 4294967294",
        ),
        (
            json!([range(0, 1000, 10), range(20, 3000, 1), range(9, 2000, 1)]),
            "linux.uidMappings[2]: overlaps with range 0",
        ),
        (
            json!([range(0, 1000, 10), range(10, 1009, 10)]),
            "linux.uidMappings[1]: overlaps with range 0",
        ),
        (
            json!(many),
            "linux.uidMappings: has 341 ranges, more than the kernel's 340",
        ),
    ] {
        let result = check(|config| {
            with_user_namespace(config);
            config["linux"]["uidMappings"] = mapping;
        });
        assert_eq!(result.unwrap_err().to_string(), expected);
    }
    let whole = check(|config| {
        with_user_namespace(config);
        config["linux"]["uidMappings"] = json!([range(0, 0, u32::MAX)]);
    });
    assert_eq!(whole, Ok(vec![]));
    let of_a_mount = check(|config| {
        let mappings = json!([range(0, 1000, 1), range(0, 2000, 1)]);
        config["mounts"] = json!([{"destination": "/m", "gidMappings": mappings}]);
    });
    assert_eq!(
        of_a_mount.unwrap_err().to_string(),
        "mounts[0].gidMappings[1]: overlaps with range 0"
    );
}

#[test]
fn a_user_or_group_that_the_new_user_namespace_does_not_know_is_refused() {
    for (property, value, expected) in [
        (
            "uid",
            json!(10),
            "process.user.uid: 10 is not in linux.uidMappings, so it does not exist in the container",
        ),
        (
            "gid",
            json!(99),
            "process.user.gid: 99 is not in linux.gidMappings, so it does not exist in the container",
        ),
        (
            "additionalGids",
            json!([9, 10]),
            "process.user.additionalGids[1]: 10 is not in linux.gidMappings, so it does not exist in the container",
        ),
    ] {
        let result = check(|config| {
            with_user_namespace(config);
            config["process"]["user"][property] = value;
        });
        assert_eq!(result.unwrap_err().to_string(), expected);
    }
}

#[test]
fn time_offsets_need_a_new_time_namespace_and_known_clocks() {
    let with = |namespace: Value, offsets: Value| {
        check(|config| {
            config["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "uts"}, namespace]);
            config["linux"]["timeOffsets"] = offsets;
        })
        .map_err(|error| error.to_string())
    };
    let offsets = json!({"monotonic": {"secs": -5, "nanosecs": 999_999_999}, "boottime": {"secs": 7}});
    let new = json!({"type": "time"});
    assert_eq!(with(new.clone(), offsets.clone()), Ok(vec![]));
    for (namespace, offsets, expected) in [
        (
            json!({"type": "pid"}),
            offsets.clone(),
            "linux.timeOffsets: needs a time namespace; add \"time\" to linux.namespaces",
        ),
        (
            json!({"type": "time", "path": "/proc/1/ns/time"}),
            offsets,
            "linux.timeOffsets: cannot be set in a time namespace that is joined by path",
        ),
        (
            new.clone(),
            json!({"realtime": {"secs": 1}}),
            "linux.timeOffsets: \"realtime\" is not a clock, expected \"monotonic\" or \"boottime\"",
        ),
        (
            new,
            json!({"boottime": {"nanosecs": 1_000_000_000}}),
            "linux.timeOffsets.boottime.nanosecs: must be at most 999999999, found 1000000000",
        ),
    ] {
        assert_eq!(with(namespace, offsets), Err(expected.to_owned()));
    }
}

#[test]
fn a_domainname_needs_a_uts_namespace() {
    let result = check(|config| {
        config["hostname"] = Value::Null;
        config["domainname"] = json!("example.org");
        config["linux"]["namespaces"] = namespaces(&["mount"]);
    });
    assert_eq!(
        result.unwrap_err().to_string(),
        "domainname: unable to set domainname without a private UTS namespace; add \"uts\" to linux.namespaces"
    );
}

#[test]
fn a_process_document_has_the_rules_of_config_json() {
    let process: Process = serde_json::from_value(json!({"cwd": "x", "user": {}, "args": ["true"]})).unwrap();
    assert_eq!(
        super::process(&process).unwrap_err().to_string(),
        "process.cwd: must be an absolute path, found \"x\""
    );
}
