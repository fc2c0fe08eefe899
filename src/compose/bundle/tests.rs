//! What a Compose file makes of a bundle's config.json.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::{Bundle, FILES, Source};
use crate::compose::file::{self, Options};
use crate::error::Result;

/// A directory with the bundle `web` and a Compose file.
struct Stack(PathBuf);

impl Stack {
    /// `service` is what stands below `services: web:`; `top` what stands beside `services:`.
    fn new(config: &Value, service: &str, top: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("minirun-bundle-{}-{count}", std::process::id()));
        fs::create_dir_all(path.join("web/rootfs/etc")).unwrap();
        fs::write(path.join("web/config.json"), config.to_string()).unwrap();
        let service: String = service.lines().map(|line| format!("    {line}\n")).collect();
        let text = format!("services:\n  web:\n    x-bundle: ./web\n{service}{top}\n");
        fs::write(path.join("compose.yaml"), text).unwrap();
        Self(path)
    }

    fn lay_on(&self, networks: &dyn Fn(&str) -> String) -> Result<Bundle> {
        let project = file::load(&Options {
            working_directory: self.0.clone(),
            project_name: Some("shop".to_owned()),
            environment: BTreeMap::new(),
            ..Options::default()
        })?;
        Bundle::of(&Source {
            project: &project,
            service: &project.services["web"],
            replica: 2,
            id: "shop-web-2",
            directory: &self.0.join("made"),
            layer: &self.0.join("layer"),
            networks,
        })
    }

    fn lay(&self) -> Result<Bundle> {
        self.lay_on(&str::to_owned)
    }

    #[track_caller]
    fn config(&self) -> Value {
        self.lay().unwrap().config
    }

    #[track_caller]
    fn error(&self) -> String {
        self.lay().unwrap_err().to_string()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A bundle as `minirun spec` begins it, shortened.
fn web() -> Value {
    json!({
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs", "readonly": true},
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "cwd": "/",
            "args": ["serve", "--port", "80"],
            "env": ["PATH=/bin", "COLOUR=green", "LEVEL=info"],
            "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/data", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/app", "type": "bind", "source": "app", "options": ["bind", "ro"]},
        ],
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "mount"}],
            "resources": {"memory": {"limit": 1000, "swap": 1500}},
        },
    })
}

#[track_caller]
fn laid(service: &str) -> Value {
    Stack::new(&web(), service, "").config()
}

#[test]
fn a_service_that_says_nothing_runs_what_its_bundle_says_in_its_own_network_namespace() {
    let stack = Stack::new(&web(), "", "");
    let config = stack.config();
    assert_eq!(config["process"]["args"], json!(["serve", "--port", "80"]));
    assert_eq!(config["root"]["path"], json!(stack.0.join("web/rootfs")));
    assert_eq!(config["root"]["readonly"], true);
    assert_eq!(config["hostname"], "shop-web-2");
    assert_eq!(config["process"]["terminal"], false);
    let namespaces = config["linux"]["namespaces"].as_array().unwrap();
    assert!(namespaces.contains(&json!({"type": "network"})), "{namespaces:?}");
}

#[test]
fn a_command_replaces_the_arguments_and_an_entrypoint_takes_a_command_behind_it() {
    let args = |service: &str| laid(service)["process"]["args"].clone();
    assert_eq!(args("command: [other]"), json!(["other"]));
    assert_eq!(args("entrypoint: [sh, -c]"), json!(["sh", "-c"]));
    assert_eq!(
        args("entrypoint: [sh, -c]\ncommand: [exit]"),
        json!(["sh", "-c", "exit"])
    );
}

#[test]
fn the_files_environment_wins_and_a_variable_that_is_nowhere_set_is_taken_away() {
    let config = laid("environment: { COLOUR: blue, NEW: '1', LEVEL: }");
    assert_eq!(
        config["process"]["env"],
        json!(["PATH=/bin", "COLOUR=blue", "NEW=1"])
    );
}

#[test]
fn a_user_is_looked_up_in_the_bundles_own_root() {
    let stack = Stack::new(&web(), "user: app", "");
    let etc = stack.0.join("web/rootfs/etc");
    fs::write(etc.join("passwd"), "app:x:1234:99::/:/bin/sh\n").unwrap();
    fs::write(etc.join("group"), "app:x:99:\nmore:x:77:app\n").unwrap();
    assert_eq!(
        stack.config()["process"]["user"],
        json!({"uid": 1234, "gid": 99, "additionalGids": [77]})
    );
}

#[test]
fn a_passwd_that_leads_out_of_the_root_is_not_the_hosts() {
    let stack = Stack::new(&web(), "user: root", "");
    symlink("/etc/passwd", stack.0.join("web/rootfs/etc/passwd")).unwrap();
    let error = stack.error();
    assert!(error.contains("service web") && error.contains("root"), "{error}");
}

#[test]
fn capabilities_are_dropped_from_every_set_and_added_to_those_that_last() {
    let sets = |service: &str| laid(service)["process"]["capabilities"].clone();
    let dropped = sets("cap_drop: [ALL]\ncap_add: [NET_ADMIN]");
    for set in ["bounding", "effective", "permitted"] {
        assert_eq!(dropped[set], json!(["CAP_NET_ADMIN"]), "{set}");
    }
    for set in ["inheritable", "ambient"] {
        assert_eq!(dropped[set], json!([]), "{set}");
    }
    let all = sets("cap_add: [ALL]\ncap_drop: [SYS_ADMIN]");
    let all = all["effective"].as_array().unwrap();
    assert!(
        all.contains(&json!("CAP_CHOWN")) && !all.contains(&json!("CAP_SYS_ADMIN")),
        "{all:?}"
    );
}

#[test]
fn a_limit_of_memory_leaves_as_much_swap_as_the_bundle_did() {
    let config = laid("deploy: { resources: { limits: { memory: 1M, cpus: '0.25', pids: 7 } } }");
    let resources = &config["linux"]["resources"];
    assert_eq!(
        resources["memory"],
        json!({"limit": 1_048_576, "swap": 1_048_576 + 500})
    );
    assert_eq!(resources["cpu"], json!({"quota": 25_000, "period": 100_000}));
    assert_eq!(resources["pids"]["limit"], 7);
}

#[test]
fn mounts_take_the_place_of_the_bundles_own_and_come_after_what_they_lie_in() {
    let stack = Stack::new(
        &web(),
        "volumes: ['deep:/data/deep', 'data:/data']\ntmpfs: [/run]",
        "volumes: { deep: , data: }",
    );
    let config = stack.config();
    let mounts = config["mounts"].as_array().unwrap();
    let at = |target: &str| {
        mounts
            .iter()
            .position(|mount| mount["destination"] == target)
            .unwrap()
    };
    assert_eq!(mounts.len(), 5, "{mounts:#?}");
    assert!(at("/data") < at("/data/deep"));
    assert_eq!(
        mounts[at("/data")]["source"],
        "/var/lib/minirun/volumes/shop_data"
    );
    assert_eq!(mounts[at("/run")]["type"], "tmpfs");
    // A relative source begins at the bundle, not at the copy of it.
    assert_eq!(mounts[at("/app")]["source"], json!(stack.0.join("web/app")));
}

#[test]
fn configs_and_secrets_are_files_with_an_owner_and_a_mode_mounted_read_only() {
    let stack = Stack::new(
        &web(),
        "configs: [{ source: conf, target: /etc/conf, uid: '3', gid: '4', mode: 0440 }]\nsecrets: [key]",
        "configs: { conf: { content: hello } }\nsecrets: { key: { file: ./key } }",
    );
    fs::write(stack.0.join("key"), "hush").unwrap();
    let bundle = stack.lay().unwrap();
    let owners: Vec<_> = bundle
        .files
        .iter()
        .map(|file| (file.uid, file.gid, file.mode))
        .collect();
    assert_eq!(owners, [(3, 4, 0o440), (0, 0, 0o444)]);
    let mounts = bundle.config["mounts"].as_array().unwrap();
    let key = mounts
        .iter()
        .find(|mount| mount["destination"] == "/run/secrets/key")
        .unwrap();
    assert_eq!(key["source"], json!(stack.0.join("made").join(FILES).join("1")));
    assert!(key["options"].as_array().unwrap().contains(&json!("ro")), "{key}");

    fs::write(stack.0.join("key"), vec![b'x'; (1 << 20) + 1]).unwrap();
    let error = stack.error();
    assert!(
        error.contains("service web: secret key") && error.contains("1 MiB"),
        "{error}"
    );
}

#[test]
fn what_is_written_is_what_was_laid_and_says_its_hash() {
    let stack = Stack::new(&web(), "secrets: [key]", "secrets: { key: { file: ./key } }");
    fs::write(stack.0.join("key"), "hush").unwrap();
    fs::create_dir(stack.0.join("made")).unwrap();
    let bundle = stack.lay().unwrap();
    bundle.write(false).unwrap();
    // Over the files of an earlier one, too.
    bundle.write(false).unwrap();
    let key = stack.0.join("made").join(FILES).join("0");
    assert_eq!(fs::read_to_string(&key).unwrap(), "hush");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o7777, 0o444);
    let written: Value =
        serde_json::from_slice(&fs::read(stack.0.join("made/config.json")).unwrap()).unwrap();
    assert_eq!(written["annotations"][super::CONFIG_HASH], json!(bundle.hash));
}

#[test]
fn a_writable_root_has_a_layer_that_stays_as_long_as_the_replica_is_the_same() {
    let stack = Stack::new(&web(), "read_only: false", "");
    fs::create_dir(stack.0.join("made")).unwrap();
    fs::set_permissions(stack.0.join("web/rootfs"), fs::Permissions::from_mode(0o750)).unwrap();
    let mine = stack.0.join("layer/upper/mine");
    let write = |fresh| {
        stack.lay().unwrap().write(fresh).unwrap();
        mine.exists()
    };
    assert!(!write(false));
    let mode = fs::metadata(stack.0.join("layer/upper"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o750);
    fs::write(&mine, "").unwrap();
    assert!(write(false));
    assert!(!write(true));
    fs::write(&mine, "").unwrap();
    let mut config = web();
    config["process"]["args"] = json!(["other"]);
    fs::write(stack.0.join("web/config.json"), config.to_string()).unwrap();
    assert!(!write(false));
}

#[test]
fn a_root_that_nobody_writes_to_or_whose_users_are_mapped_has_no_layer() {
    assert_eq!(Stack::new(&web(), "", "").lay().unwrap().layer, None);
    let writable = "read_only: false";
    assert!(Stack::new(&web(), writable, "").lay().unwrap().layer.is_some());
    let mut mapped = web();
    let namespaces = mapped["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({"type": "user"}));
    assert_eq!(Stack::new(&mapped, writable, "").lay().unwrap().layer, None);
}

#[test]
fn the_hash_changes_with_the_bundle_the_file_a_secret_and_a_network_and_with_nothing_else() {
    let top = "secrets: { key: { file: ./key } }";
    let stack = Stack::new(&web(), "secrets: [key]", top);
    fs::write(stack.0.join("key"), "hush").unwrap();
    let first = stack.lay().unwrap().hash;
    assert_eq!(stack.lay().unwrap().hash, first);
    let other_network = stack.lay_on(&|name| format!("{name}, another")).unwrap().hash;
    fs::write(stack.0.join("key"), "other").unwrap();
    let other_secret = stack.lay().unwrap().hash;
    fs::write(stack.0.join("key"), "hush").unwrap();
    let mut config = web();
    config["process"]["args"] = json!(["other"]);
    fs::write(stack.0.join("web/config.json"), config.to_string()).unwrap();
    let other_bundle = stack.lay().unwrap().hash;
    let mut all = vec![first, other_network, other_secret, other_bundle];
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 4);
}

#[test]
fn networks_ports_and_names_become_the_annotations_that_create_reads() {
    let stack = Stack::new(
        &web(),
        "networks: { back: , front: { priority: 9, aliases: [www], ipv4_address: 10.5.0.9 } }
ports: ['8080:80']
dns: [10.0.0.1]
dns_search: [corp]
extra_hosts: ['db:10.0.0.5', 'six:::1']
labels: { team: shop }",
        "networks: { front: { ipam: { config: [{ subnet: 10.5.0.0/24 }] } }, back: }",
    );
    let annotations = stack.config()["annotations"].clone();
    let networks = annotations["minirun.network"].as_str().unwrap();
    let [front, back] = networks.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{networks}")
    };
    assert!(
        front.starts_with("shop_front:") && back.starts_with("shop_back:"),
        "{networks}"
    );
    for part in ["ip=10.5.0.9", "alias=web", "alias=www"] {
        assert!(front.contains(part), "{part}: {front}");
    }
    assert_eq!(annotations["minirun.publish"], "8080:80/tcp");
    assert_eq!(annotations["minirun.dns"], "10.0.0.1");
    assert_eq!(annotations["minirun.dns-search"], "corp");
    assert_eq!(annotations["minirun.add-host"], "db:10.0.0.5 six:[::1]");
    assert_eq!(annotations["team"], "shop");
    assert_eq!(annotations[super::SERVICE], "web");
    assert_eq!(annotations[super::REPLICA], "2");
}

#[test]
fn a_label_cannot_change_what_the_runtime_does() {
    let error = Stack::new(&web(), "labels: { minirun.network: host }", "").error();
    assert!(error.contains("labels.minirun.network"), "{error}");
}
