//! Profiles of AppArmor, where the kernel has it: the emulated machine of `make test-vm` does.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Container, Host, Output, find_in_path, skipped};

/// What the profiles of these scenarios deny, to root as to others.
const DENIED: &str = "/denied/file";

/// A process tells of its profile, and tries what that denies.
const PROBE: &str = "cat /proc/self/attr/apparmor/current /proc/self/attr/current; cat /denied/file 2>&1";

/// A profile in the kernel; removed when the value goes.
struct Profile {
    name: String,
    parser: PathBuf,
}

impl Profile {
    /// A profile that allows everything but the `denied` file; None, and the scenario is skipped, where there can be none.
    fn load(host: &Host, denied: &str) -> Option<Profile> {
        let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
        if !enabled.starts_with('Y') {
            skipped("needs a kernel with AppArmor");
            return None;
        }
        let Some(parser) = find_in_path("apparmor_parser") else {
            skipped("needs apparmor_parser of the package apparmor");
            return None;
        };
        let name = host.unique("profile");
        let profile = Profile { name, parser };
        profile.parse("--add", denied);
        Some(profile)
    }

    fn parse(&self, verb: &str, denied: &str) {
        let text = format!(
            "profile {} flags=(attach_disconnected,mediate_deleted) {{
                file, capability, network, mount, umount, pivot_root, signal, ptrace, unix,
                deny {denied} rw,
            }}\n",
            self.name
        );
        let mut parser = Command::new(&self.parser)
            .args([verb, "--skip-cache", "--config-file", "/dev/null"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        parser.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(parser.wait().unwrap().success(), "apparmor_parser {verb}");
    }

    /// What /proc says of a process under it.
    fn enforced(&self) -> String {
        format!("{} (enforce)", self.name)
    }

    /// What [`PROBE`] says under it.
    #[track_caller]
    fn confines(&self, probe: &Output) {
        let expected = format!(
            "{0}\n{0}\ncat: can't open '{DENIED}': Permission denied\n",
            self.enforced()
        );
        assert_eq!(probe.stdout, expected, "{probe}");
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        self.parse("--remove", DENIED);
    }
}

/// A container under a profile, with a file that the profile denies.
fn confined<'h>(host: &'h Host, profile: &str) -> Container<'h> {
    with_denied_file(host.container("web"))
        .edit(|config| config["process"]["apparmorProfile"] = json!(profile))
}

fn with_denied_file(container: Container<'_>) -> Container<'_> {
    let file = container.rootfs().join(DENIED.trim_start_matches('/'));
    fs::create_dir(file.parent().unwrap()).unwrap();
    fs::write(file, "secret\n").unwrap();
    container
}

/// The profile of a process, as the host sees it.
fn profile_of(pid: impl std::fmt::Display) -> String {
    let current = fs::read_to_string(format!("/proc/{pid}/attr/apparmor/current")).unwrap();
    current.trim_end().to_owned()
}

#[test]
fn a_profile_confines_the_container_and_what_exec_runs_in_it() {
    let host = Host::new();
    let (Some(profile), Some(other)) = (Profile::load(&host, DENIED), Profile::load(&host, "/other")) else {
        return;
    };
    let web = confined(&host, &profile.name).sleeping().running();
    assert_eq!(profile_of(web.pid()), profile.enforced());
    profile.confines(&web.exec(["sh", "-c", PROBE]));
    let document =
        json!({"args": ["sh", "-c", PROBE], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
    profile.confines(&exec_document(&web, &document));

    // Another one may be asked for, and none.
    let mut others = document;
    others["apparmorProfile"] = json!(other.name);
    let outputs = [
        web.exec_with(&["--apparmor", &other.name], ["sh", "-c", PROBE]),
        exec_document(&web, &others),
    ];
    for output in outputs {
        assert_eq!(
            output.succeeds().stdout,
            format!("{0}\n{0}\nsecret\n", other.enforced())
        );
    }
    let free = web.exec_with(&["--apparmor", "unconfined"], ["sh", "-c", PROBE]);
    assert_eq!(free.succeeds().stdout, "unconfined\nunconfined\nsecret\n");
}

fn exec_document(container: &Container<'_>, document: &Value) -> Output {
    let path = container.bundle().join("process.json");
    fs::write(&path, document.to_string()).unwrap();
    let exec = container.verb("exec");
    exec.args(["--process", path.to_str().unwrap(), container.id()])
        .output()
}

#[test]
fn a_profile_holds_whatever_else_the_process_is_given() {
    let host = Host::new();
    let Some(profile) = Profile::load(&host, DENIED) else {
        return;
    };
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["swapoff"], "action": "SCMP_ACT_ERRNO"}]});
    for (privileges, user) in [(true, 0), (true, 1000), (false, 0), (false, 1000)] {
        let web = confined(&host, &profile.name).sh(PROBE).edit(|config| {
            config["process"]["noNewPrivileges"] = json!(!privileges);
            config["process"]["user"] = json!({"uid": user, "gid": user});
            config["linux"]["seccomp"] = filter.clone();
        });
        profile.confines(&web.run());
    }
    let web = confined(&host, &profile.name).user_namespace();
    profile.confines(&web.sh(PROBE).run());
    let web = confined(&host, &profile.name).without_namespace("pid");
    profile.confines(&web.sh(PROBE).run());
}

#[test]
fn a_profile_that_the_kernel_does_not_know_is_refused_by_field_and_nothing_is_left() {
    let host = Host::new();
    let Some(profile) = Profile::load(&host, DENIED) else {
        return;
    };
    let unknown = host.unique("unknown");
    let refusal = [
        "process.apparmorProfile",
        unknown.as_str(),
        "`/proc/self/attr/apparmor/exec`",
        "is the profile loaded?",
    ];
    let web = confined(&host, &unknown);
    web.try_create().exits(1).fails_with(&refusal);
    web.run().exits(1).fails_with(&refusal);
    assert!(!host.path("/run/minirun").join(web.id()).exists());
    assert_eq!(host.leaks(), [""; 0]);

    let web = confined(&host, &profile.name).sleeping().running();
    web.exec_with(&["--apparmor", &unknown], ["true"])
        .fails_with(&refusal);
    // One that was removed meanwhile is as unknown: what cannot be confined as the container is does not run in it.
    let name = profile.name.clone();
    drop(profile);
    web.exec(["true"]).fails_with(&["process.apparmorProfile", &name]);
    assert_eq!(web.status(), "running");
}

/// The container's own mounts, and files of the image, lie where the runtime would look if it went by the container's /proc.
#[test]
fn nothing_that_lies_over_proc_redirects_a_profile() {
    const FAKES: &str =
        "mkdir -p /proc/self/attr/apparmor; touch /proc/self/attr/exec /proc/self/attr/apparmor/exec";
    let host = Host::new();
    let Some(profile) = Profile::load(&host, DENIED) else {
        return;
    };
    let image = confined(&host, &profile.name).sleeping().edit(|config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/proc");
        for paths in ["maskedPaths", "readonlyPaths"] {
            config["linux"].as_object_mut().unwrap().remove(paths);
        }
        config["root"]["readonly"] = json!(false);
    });
    host.sh(&format!(
        "cd {}; {}",
        image.rootfs().display(),
        FAKES.replace("/proc", "proc")
    ));
    let image = image.running();

    let mounted = confined(&host, &profile.name).edit(|config| {
        config["process"]["noNewPrivileges"] = json!(false);
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN", "CAP_KILL"]);
        }
    });
    let mounted = mounted
        .sh(&format!(
            "mount -t tmpfs none /proc; {FAKES}; echo covered; exec sleep 1000"
        ))
        .running();
    mounted.wait_for_stdout("covered");

    for web in [image, mounted] {
        assert_eq!(profile_of(web.pid()), profile.enforced());
        let pid_file = web.bundle().join("pid");
        let options = ["--detach", "--pid-file", pid_file.to_str().unwrap()];
        web.exec_with(&options, ["sleep", "1000"]).succeeds();
        assert_eq!(
            profile_of(fs::read_to_string(&pid_file).unwrap()),
            profile.enforced()
        );
        let written = web.exec(["cat", "/proc/self/attr/exec", "/proc/self/attr/apparmor/exec"]);
        assert_eq!(written.succeeds().stdout, "");
    }
}

/// runc's container, its hook, and what runc's exec runs in it.
#[test]
fn a_profile_has_the_effect_that_it_has_under_runc() {
    let host = Host::new();
    let Some(peer) = host.peer("runc", "peer") else {
        return skipped("runc is not installed");
    };
    let (Some(profile), Some(other)) = (Profile::load(&host, DENIED), Profile::load(&host, "/other")) else {
        return;
    };
    let seen = |container: Container<'_>| {
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", format!("{{ {PROBE}; }} >/tmp/hook; true")], "env": ["PATH=/bin"]});
        let web = with_denied_file(container)
            .push(
                "/mounts",
                json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}),
            )
            .push("/hooks/startContainer", hook)
            .edit(|config| config["process"]["apparmorProfile"] = json!(profile.name))
            .sleeping()
            .running();
        let mut seen = vec![profile_of(web.pid()), web.exec(["cat", "/tmp/hook"]).stdout];
        let names = [&other.name, "unconfined"].map(|name| ["--apparmor", name]);
        for options in [&[][..], &names[0], &names[1]] {
            let output = web.exec_with(options, ["sh", "-c", PROBE]);
            seen.push(format!("{options:?}: {} {}", output.code, output.stdout));
        }
        let unknown = web.exec_with(&["--apparmor", "no-such-profile"], ["true"]);
        seen.push((unknown.code == 0).to_string());
        seen
    };
    let theirs = seen(peer);
    assert_eq!(theirs, seen(host.container("ours")));
}
