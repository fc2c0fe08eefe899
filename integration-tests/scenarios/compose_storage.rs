//! What services of a stack write: volumes, and roots of their own.

use std::fs;

use nix::sys::signal::{Signal, kill};

use super::compose::living;
use crate::harness::{Host, Stack, wait_until};

#[test]
fn volumes_begin_as_what_they_hide_and_stay_until_they_are_asked_to_go() {
    let host = Host::new();
    let file = format!(
        "services:\n{}volumes: {{ data: {{ }} }}\n",
        living("web", "").replace("[\"SHARED:/shared\"]", "[\"SHARED:/shared\", \"data:/data\"]")
    );
    let stack = Stack::new(&host, "volume", &file);
    let rootfs = stack.bundle().rootfs();
    host.sh(&format!(
        "mkdir {0}/data; echo seed >{0}/data/seed; chown -R 1000:1000 {0}/data; chmod 750 {0}/data",
        rootfs.display()
    ));
    let stack = stack.up();
    let owner = |script: &str| {
        stack
            .run(&["exec", "-T", "--user", "1000:1000", "web", "sh", "-c", script])
            .succeeds()
            .stdout
    };
    assert_eq!(owner("cat /data/seed; stat -c '%u %a' /data"), "seed\n1000 750\n");
    owner("echo mine >/data/mine");
    stack.run(&["down"]).succeeds();
    stack.run(&["up", "--wait"]).succeeds();
    assert_eq!(owner("cat /data/mine"), "mine\n");
    stack.run(&["down", "--volumes"]).succeeds();
    let volume = stack.path(format!("/var/lib/minirun/volumes/{}_data", stack.project()));
    assert!(fs::metadata(&volume).is_err());

    stack.run(&["up", "--wait"]).succeeds();
    stack.run(&["down"]).succeeds();
    assert!(fs::metadata(&volume).is_ok());
    stack.run(&["down", "--volumes"]).succeeds();
    assert!(fs::metadata(&volume).is_err(), "also when nothing is up any more");
}

#[test]
fn ps_and_down_are_heard_while_a_volume_is_filled() {
    let host = Host::new();
    let file = format!(
        "services:\n{}{}volumes: {{ data: {{ }} }}\n",
        living("web", "").replace("[\"SHARED:/shared\"]", "[\"SHARED:/shared\", \"data:/data\"]"),
        living("other", "")
    );
    let stack = Stack::new(&host, "fills", &file);
    host.sh(&format!(
        "mkdir {0}/data; cd {0}/data; seq 1 40000 | xargs touch",
        stack.bundle().rootfs().display()
    ));
    let up = stack.verb(&["up", "-d"]).spawn();
    let volumes = stack.path("/var/lib/minirun/volumes");
    let name = format!("{}_data", stack.project());
    wait_until("the volume is being filled", || {
        let begun = volumes.join(format!(".{name}.new")).exists();
        let filling = stack.process(&["fill-volume", &name]).filter(|_| begun);
        filling.is_some_and(|pid| kill(pid, Signal::SIGSTOP).is_ok())
    });
    assert_eq!(stack.replica("web", 1)["state"], "creating");
    wait_until("other services start meanwhile", || {
        stack.replica("other", 1)["state"] == "running"
    });
    stack.run(&["down", "--volumes"]).succeeds();
    up.wait();
    assert_eq!(fs::read_dir(volumes).unwrap().count(), 0);
}

#[test]
fn replicas_and_services_of_one_bundle_write_to_roots_of_their_own() {
    let host = Host::new();
    let file = |label: &str| {
        format!(
            "services:\n{}{}",
            living(
                "web",
                &format!("    deploy: {{ replicas: 2 }}\n    labels: {{ a: {label} }}\n")
            ),
            living("db", "    restart: always\n")
        )
    };
    let stack = Stack::new(&host, "roots", &file("one")).up();
    let rootfs = stack.bundle().rootfs();
    let write = |service: &str, index: &str, text: &str| {
        let script = format!("echo {text} >/mine; rm -f /etc/hosts.bak; cat /mine");
        stack
            .run(&["exec", "-T", "--index", index, service, "sh", "-c", &script])
            .succeeds()
            .stdout
    };
    let read = |service: &str, index: &str| {
        stack
            .run(&[
                "exec",
                "-T",
                "--index",
                index,
                service,
                "sh",
                "-c",
                "cat /mine 2>/dev/null || echo nothing",
            ])
            .succeeds()
            .stdout
    };
    assert_eq!(write("web", "1", "one"), "one\n");
    assert_eq!(write("db", "1", "three"), "three\n");
    assert_eq!(
        [read("web", "1"), read("web", "2"), read("db", "1")],
        ["one\n", "nothing\n", "three\n"]
    );
    assert!(!rootfs.join("mine").exists(), "the bundle is as it was");
    // As in Docker it stays with the replica: over a restart, a crash and a supervisor, but not when the file has changed.
    stack.run(&["restart", "web"]).succeeds();
    let before = stack.pid("db", 1);
    stack.kill_supervisor();
    kill(nix::unistd::Pid::from_raw(before as i32), Signal::SIGKILL).unwrap();
    stack.runs_again("db", 1, before);
    assert_eq!([read("web", "1"), read("db", "1")], ["one\n", "three\n"]);
    stack.write(&file("two"));
    stack.run(&["up", "--wait"]).succeeds();
    assert_eq!([read("web", "1"), read("db", "1")], ["nothing\n", "three\n"]);
    stack.run(&["up", "--wait", "--force-recreate"]).succeeds();
    assert_eq!(read("db", "1"), "nothing\n");
}
