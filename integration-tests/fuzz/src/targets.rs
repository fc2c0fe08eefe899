//! What is done with hostile input, one function for each kind of it. None may panic, whatever it is given; what they
//! return is of no interest. libFuzzer calls them (`main.rs`, `make fuzz`), and so does a short test (`../../fuzz.rs`).

use std::path::{Path, PathBuf};

use minirun::cgroup::{self, DefaultDevices, Layout, Limits};
use minirun::compose::file;
use minirun::container::record::Record;
use minirun::net::{self, Endpoint, Party, Ports, Publish, Rate};
use minirun::netd;
use minirun::rootfs::{self, CgroupMounts};
use minirun::security::seccomp::Program;
use minirun::spec::id::Id;
use minirun::spec::user::{self, UserArg};
use minirun::spec::{load, sysctl, validate};
use oci_spec::runtime::{LinuxSeccomp, Spec};
use serde_json::{Value, json};

/// A kind of input and what is done with it.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Every kind.
pub(crate) const TARGETS: [Target; 16] = [
    ("config", config),
    ("process", process),
    ("ids", ids),
    ("users", users),
    ("mounts", mounts),
    ("seccomp", seccomp),
    ("record", record),
    ("compose", compose),
    ("questions", questions),
    ("requests", requests),
    ("definitions", definitions),
    ("leases", leases),
    ("resolv", resolv),
    ("kernel", kernel),
    ("systemd", systemd),
    ("criu", criu),
];

/// config.json, as far as `create` goes before its first side effect.
fn config(input: &[u8]) {
    if let Ok(loaded) = load::parse(Path::new("config.json"), input.to_vec()) {
        let _ = validate(&loaded.spec);
        plan(&loaded.spec);
    }
}

/// What each room makes of a configuration, valid or not: a room relies on no other.
fn plan(spec: &Spec) {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    for layout in [Layout::V2("/sys/fs/cgroup".into()), Layout::V1(Vec::new())] {
        let _ = Limits::plan(resources, &layout, DefaultDevices::Allow);
    }
    let cgroups = CgroupMounts::V2 {
        own: "/sys/fs/cgroup/own".into(),
        hierarchy: "/sys/fs/cgroup".into(),
        private: true,
    };
    for no_pivot in [false, true] {
        let _ = rootfs::Plan::new(spec, Path::new("/bundle"), &cgroups, &[], no_pivot);
    }
    let _ = sysctl::plan(spec);
    let filter = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    if let Some(filter) = filter {
        let _ = Program::compile(filter);
    }
}

/// The document of `exec --process`.
fn process(input: &[u8]) {
    if let Ok((process, _)) = load::parse_process(Path::new("process.json"), input) {
        let _ = validate::process(&process);
    }
}

/// What stands for a container, and the words of a command line that look alike.
fn ids(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(id) = text.parse::<Id>() {
        assert!(!id.as_str().contains('/') && id.as_str() != ".." && !id.as_str().is_empty());
    }
    let _ = text.parse::<Endpoint>();
    let _ = text.parse::<Publish>();
    let _ = text.parse::<Party>();
    let _ = text.parse::<Ports>();
    let _ = text.parse::<Rate>();
}

/// `USER[:GROUP]` in the first line, /etc/passwd up to an empty line, /etc/group after it.
fn users(input: &[u8]) {
    let (argument, files) = halves(input, b"\n");
    let (passwd, group) = halves(files, b"\n\n");
    let user = String::from_utf8_lossy(argument).parse::<UserArg>();
    if let Ok(account) = user.and_then(|user| user.resolve(passwd, group)) {
        assert_ne!(account.uid, u32::MAX);
    }
    let _ = user::home(passwd, 0);
    let _ = user::name(passwd, 1000);
}

fn halves<'a>(bytes: &'a [u8], between: &[u8]) -> (&'a [u8], &'a [u8]) {
    let middle = bytes.windows(between.len()).position(|window| window == between);
    match middle {
        Some(middle) => (&bytes[..middle], &bytes[middle + between.len()..]),
        None => (bytes, &[]),
    }
}

/// A mount of each line: destination, type, source and options, apart by blanks; options by commas.
fn mounts(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mounts: Vec<Value> = text.lines().take(8).map(mount).collect();
    let config = json!({
        "ociVersion": "1.3.0", "root": {"path": "rootfs"}, "mounts": mounts,
        "linux": {"namespaces": [{"type": "mount"}]}
    });
    if let Ok(spec) = serde_json::from_value::<Spec>(config) {
        let _ = validate(&spec);
        plan(&spec);
    }
}

fn mount(line: &str) -> Value {
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    let (destination, kind, source, options) = (word(), word(), word(), word());
    let options: Vec<&str> = options.split(',').collect();
    json!({"destination": destination, "type": kind, "source": source, "options": options})
}

/// `linux.seccomp`.
fn seccomp(input: &[u8]) {
    if let Ok(profile) = serde_json::from_slice::<LinuxSeccomp>(input) {
        let _ = Program::compile(&profile);
    }
}

/// What the runtime itself wrote, and somebody else damaged.
fn record(input: &[u8]) {
    if let Ok(record) = serde_json::from_slice::<Record>(input) {
        let _ = record.state().to_json();
        let _ = record.keyring();
    }
}

/// A Compose file, which is read from the disk with what it names.
fn compose(input: &[u8]) {
    let directory = PathBuf::from(format!("/dev/shm/minirun-fuzz-{}", std::process::id()));
    let path = directory.join("compose.yaml");
    if std::fs::create_dir_all(&directory)
        .and_then(|()| std::fs::write(&path, input))
        .is_ok()
    {
        let options = file::Options {
            files: vec![path],
            project_name: Some("fuzz".to_owned()),
            working_directory: directory.clone(),
            ..file::Options::default()
        };
        let _ = file::load(&options);
    }
    let _ = std::fs::remove_dir_all(&directory);
}

/// What a container asks netd, and what a server answers.
fn questions(input: &[u8]) {
    netd::fuzz::questions(input);
}

/// What a runtime asks netd.
fn requests(input: &[u8]) {
    netd::fuzz::request(input);
}

/// A network's file, which people edit.
fn definitions(input: &[u8]) {
    net::fuzz::definition(input);
}

/// Files of a network in use.
fn leases(input: &[u8]) {
    net::fuzz::leases(input);
}

/// The host's /etc/resolv.conf.
fn resolv(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    net::fuzz::resolv_conf(&text);
    netd::fuzz::nameservers(&text);
}

/// What the kernel says of networks, and nft.
fn kernel(input: &[u8]) {
    net::fuzz::kernel(input);
    net::fuzz::counters(input);
}

/// What systemd says over its bus.
fn systemd(input: &[u8]) {
    cgroup::systemd::fuzz::answers(input);
}

/// What CRIU says over its socket.
fn criu(input: &[u8]) {
    minirun::container::criu::fuzz::response(input);
}
