//! Labels of SELinux, under the policy of the second emulated machine (`vm/selinux.cil`).

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Container, Host, skip, skipped};

const CONTAINER: &str = "system_u:system_r:minirun_container_t:s0:c0,c1";
const OTHER: &str = "system_u:system_r:minirun_other_t:s0";
const FILE: &str = "system_u:object_r:minirun_file_t:s0:c0,c1";
/// Of directories to which the container's type may not add a name.
const DENIED: &str = "system_u:object_r:minirun_denied_t:s0";

/// A process tells of its label and of those of its mounts, and tries to make a file in either of them.
const PROBE: &str = "cat /proc/self/attr/current | tr -d '\\0'; echo; touch /allowed/file$$ 2>&1; touch /denied/file 2>&1; rm -f /denied/file";

/// What the probe says where the policy does not stop it.
fn free(label: &str) -> String {
    format!("{label}\n")
}

fn confined(label: &str) -> String {
    format!("{label}\ntouch: /denied/file: Permission denied\n")
}

/// Whether SELinux enforces our policy here; if not, the scenario is skipped.
fn enforced() -> bool {
    let enforces = fs::read("/sys/fs/selinux/enforce").is_ok_and(|text| text.starts_with(b"1"));
    let known = fs::write("/sys/fs/selinux/context", CONTAINER).is_ok();
    if !(enforces && known) {
        skipped("needs SELinux with the policy of the emulated machine");
    }
    enforces && known
}

/// A container under a label, with a directory that it may write to and one that it may not.
fn labelled<'h>(container: Container<'h>, label: &str) -> Container<'h> {
    let tmpfs = |destination: &str, label: &str| {
        let options = [format!("context={label:?}"), "mode=1777".to_owned()];
        json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options})
    };
    container
        .push("/mounts", tmpfs("/allowed", FILE))
        .push("/mounts", tmpfs("/denied", DENIED))
        .edit(|config| config["process"]["selinuxLabel"] = json!(label))
}

/// The label of a process, as the host sees it.
fn label_of(pid: impl std::fmt::Display) -> String {
    let current = fs::read_to_string(format!("/proc/{pid}/attr/current")).unwrap();
    current.trim_end_matches(['\0', '\n']).to_owned()
}

#[test]
fn a_label_confines_the_container_and_what_exec_runs_in_it() {
    if !enforced() {
        return;
    }
    let host = Host::new();
    let web = labelled(host.container("web"), CONTAINER).sleeping().running();
    assert_eq!(label_of(web.pid()), CONTAINER);
    let probe = ["sh", "-c", PROBE];
    assert_eq!(web.exec(probe).succeeds().stdout, confined(CONTAINER));
    let other = web.exec_with(&["--process-label", OTHER], probe);
    assert_eq!(other.succeeds().stdout, free(OTHER));

    let mut document = json!({"args": probe, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
    for (label, said) in [(Value::Null, confined(CONTAINER)), (json!(OTHER), free(OTHER))] {
        document["selinuxLabel"] = label;
        let path = web.bundle().join("process.json");
        fs::write(&path, document.to_string()).unwrap();
        let exec = web.verb("exec");
        let exec = exec.args(["--process", path.to_str().unwrap(), web.id()]);
        assert_eq!(exec.output().succeeds().stdout, said);
    }
}

#[test]
fn a_label_holds_whatever_else_the_process_is_given() {
    if !enforced() {
        return;
    }
    let host = Host::new();
    for (privileges, user) in [(true, 0), (true, 1000), (false, 0), (false, 1000)] {
        let web = labelled(host.container("web"), CONTAINER)
            .sh(PROBE)
            .edit(|config| {
                config["process"]["noNewPrivileges"] = json!(!privileges);
                config["process"]["user"] = json!({"uid": user, "gid": user});
            });
        assert_eq!(web.run().succeeds().stdout, confined(CONTAINER));
    }
    let web = labelled(host.container("web"), CONTAINER).user_namespace();
    assert_eq!(web.sh(PROBE).run().succeeds().stdout, confined(CONTAINER));
}

/// mqueue shows no label: there it is seen by what the policy then denies.
#[test]
fn a_mount_label_is_on_the_mounts_that_the_runtime_makes_as_under_runc() {
    if !enforced() {
        return;
    }
    let host = Host::new();
    let Some(peer) = host.peer("runc", "peer") else {
        skip!("runc is not installed")
    };
    let script = r#"sed -n 's/^[^ ]* \([^ ]*\) .*[ ,]context=\("[^"]*"\|[^, ]*\).*/\1 \2/p' /proc/mounts | grep -v ^/proc | sort
        for place in /dev/shm /dev/mqueue; do touch $place/file 2>&1; done; true"#;
    let seen = |container: Container<'_>, label: &str| {
        let container = container.sh(script).edit(|config| {
            config["process"]["selinuxLabel"] = json!(CONTAINER);
            config["linux"]["mountLabel"] = json!(label);
        });
        container.run().succeeds().stdout
    };
    let ours = seen(host.container("ours"), DENIED);
    assert_eq!(ours, seen(peer, DENIED));
    for said in [
        "/dev/shm/file: Permission denied",
        "/dev/mqueue/file: Permission denied",
    ] {
        assert!(ours.contains(said), "{ours}");
    }
    let allowed = seen(host.container("ours"), FILE);
    for mount in ["/dev", "/dev/pts", "/dev/shm"] {
        assert!(
            allowed.contains(&format!("{mount} \"{FILE}\"\n")),
            "{mount} in {allowed}"
        );
    }
    assert!(!allowed.contains("denied"), "{allowed}");
}

#[test]
fn a_label_that_the_policy_does_not_know_is_refused_by_field_and_nothing_is_left() {
    if !enforced() {
        return;
    }
    const UNKNOWN: &str = "system_u:system_r:no_such_t:s0";
    let host = Host::new();
    let refusal = [
        "process.selinuxLabel",
        UNKNOWN,
        "`/proc/self/attr/",
        "does the kernel's policy know it?",
    ];
    let web = labelled(host.container("web"), UNKNOWN);
    web.try_create().exits(1).fails_with(&refusal);
    web.run().exits(1).fails_with(&refusal);
    let web = host
        .container("web")
        .edit(|config| config["linux"]["mountLabel"] = json!(UNKNOWN));
    web.try_create().exits(1).fails_with(&["no_such_t"]);
    assert!(!host.path("/run/minirun").join(web.id()).exists());
    assert_eq!(host.leaks(), [""; 0]);

    let web = labelled(host.container("web"), CONTAINER).sleeping().running();
    web.exec_with(&["--process-label", UNKNOWN], ["true"])
        .fails_with(&refusal);
    assert_eq!(web.status(), "running");
}

#[test]
fn nothing_that_lies_over_proc_redirects_a_label() {
    if !enforced() {
        return;
    }
    let host = Host::new();
    let web = labelled(host.container("web"), CONTAINER).edit(|config| {
        config["process"]["noNewPrivileges"] = json!(false);
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN", "CAP_KILL"]);
        }
    });
    let fakes = "/proc/self/attr/exec /proc/self/attr/keycreate";
    let web = web
        .sh(&format!("mount -t tmpfs none /proc; mkdir -p /proc/self/attr; touch {fakes}; echo covered; exec sleep 1000"))
        .running();
    web.wait_for_stdout("covered");
    let pid_file = web.bundle().join("pid");
    let options = ["--detach", "--pid-file", pid_file.to_str().unwrap()];
    web.exec_with(&options, ["sleep", "1000"]).succeeds();
    assert_eq!(label_of(fs::read_to_string(&pid_file).unwrap()), CONTAINER);
    let written = web.exec(["sh", "-c", &format!("cat {fakes}")]);
    assert_eq!(written.succeeds().stdout, "");
}

#[test]
fn a_label_has_the_effect_that_it_has_under_runc() {
    if !enforced() {
        return;
    }
    let host = Host::new();
    let Some(peer) = host.peer("runc", "peer") else {
        skip!("runc is not installed")
    };
    let seen = |container: Container<'_>| {
        let web = labelled(container, CONTAINER).sleeping().running();
        let mut seen = vec![label_of(web.pid())];
        for options in [&[][..], &["--process-label", OTHER]] {
            let output = web.exec_with(options, ["sh", "-c", PROBE]);
            seen.push(format!("{options:?}: {} {}", output.code, output.stdout));
        }
        let unknown = web.exec_with(&["--process-label", "no-such-label"], ["true"]);
        seen.push((unknown.code == 0).to_string());
        seen
    };
    assert_eq!(seen(peer), seen(host.container("ours")));
}
