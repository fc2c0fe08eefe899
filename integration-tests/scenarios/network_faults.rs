//! Networks that cannot be had, and death in the middle: clear errors, and nothing left.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Container, Host, Uplink, busybox, wait_until};

/// A network with two addresses for containers: 10.9.0.2 and, for the gateway, 10.9.0.1.
fn tiny(host: &Host) {
    host.define_network("tiny", &json!({"subnet": "10.9.0.0/30", "gateway": "10.9.0.1"}));
}

/// A detached run with these options is refused in these words, and leaves nothing but what was there.
#[track_caller]
fn refused(host: &Host, options: &[&str], texts: &[&str]) {
    let links = host.ip("-o link").stdout.lines().count();
    let container = host.container("refused").sleeping();
    container
        .run_bundle(&[&["--detach"], options].concat())
        .exits(1)
        .fails_with(texts);
    host.minirun(["state", container.id()])
        .fails_with(&["does not exist"]);
    assert_eq!(
        host.ip("-o link").stdout.lines().count(),
        links,
        "{options:?} left a link"
    );
    let leases = host.path("/run/minirun/net");
    let leases = host.sh(&format!(
        "find {} -name {} | wc -l",
        leases.display(),
        container.id()
    ));
    assert_eq!(leases.stdout.trim(), "0", "{options:?} left a lease");
}

/// A program of this name for the runtime's PATH that runs `script`.
fn program(host: &Host, name: &str, script: &str) -> PathBuf {
    let dir = host.dir().join("bin");
    fs::create_dir_all(&dir).unwrap();
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

#[test]
fn a_wish_that_no_network_can_grant_is_refused_with_its_reason() {
    let host = Host::new();
    host.define_network("shop", &json!({"subnet": "10.1.0.0/24", "gateway": "10.1.0.1"}));
    for (network, texts) in [
        ("shpo", ["shpo", "did you mean"]),
        ("../etc", ["../etc", "not a network name"]),
        ("", ["network", "not a network name"]),
        ("shop:ip=10.2.0.5", ["10.2.0.5", "outside its subnet 10.1.0.0/24"]),
        ("shop:ip=10.1.0.0", ["10.1.0.0", "network address"]),
        ("shop:ip=10.1.0.255", ["10.1.0.255", "broadcast address"]),
        ("shop:ip=10.1.0.1", ["10.1.0.1", "gateway"]),
        ("shop:ip=10.1.0", ["10.1.0", "not an IPv4 address"]),
        ("shop:ip=fd00::5", ["fd00::5", "not an IPv4 address"]),
        ("shop:ip6=fd00::5", ["ip6=fd00::5", "the network has no IPv6"]),
        ("shop:ip6=10.1.0.5", ["10.1.0.5", "not an IPv6 address"]),
        ("shop:interface=lo", ["interface", "lo"]),
        ("shop:priority=high", ["priority", "not a whole number"]),
        ("shop:mac=01:00:5e:00:00:01", ["mac", "group"]),
        ("shop:colour=red", ["colour", "unknown option"]),
        ("shop:alias=a b", ["alias", "not a host name"]),
        ("none:ip=10.1.0.5", ["none", "takes no options"]),
    ] {
        refused(&host, &["--network", network], &texts);
    }
    refused(
        &host,
        &["--network", "shop", "--network", "shop"],
        &["shop", "asked for twice"],
    );
    refused(
        &host,
        &["--network", "none", "--network", "shop"],
        &["none", "cannot be combined"],
    );
}

#[test]
fn a_wrong_annotation_is_refused_like_a_wrong_flag() {
    let host = Host::new();
    let web = host
        .container("web")
        .sleeping()
        .edit(|config| config["annotations"]["minirun.network"] = json!("nowhere"));
    web.try_create()
        .exits(1)
        .fails_with(&["nowhere", "does not exist"]);
    web.run_bundle(&["--detach"]).exits(1).fails_with(&["nowhere"]);
}

#[test]
fn a_network_needs_a_new_namespace_to_live_in() {
    let host = Host::new();
    let web = host.container("web").sleeping().without_namespace("network");
    web.run_bundle(&["--detach", "--network", "default"])
        .exits(1)
        .fails_with(&["new network namespace", "linux.namespaces"]);
    // Unasked, it stays where its configuration puts it.
    let web = web.detached(&[]);
    assert_eq!(web.inspect()["networks"], json!([]));
}

#[test]
fn a_taken_address_names_its_owner() {
    let host = Host::new();
    let wish = ["--network", "default:ip=10.186.0.9"];
    let owner = host.container("owner").sleeping().detached(&wish);
    refused(&host, &wish, &["10.186.0.9", "taken", owner.id()]);
    owner.delete_force().succeeds();
    let next = host.container("next").sleeping().detached(&wish);
    assert_eq!(next.address(), "10.186.0.9");
}

#[test]
fn a_network_without_a_free_address_says_so_and_gives_the_next_one_that_is_freed() {
    let host = Host::new();
    tiny(&host);
    let wish = ["--network", "tiny"];
    let only = host.container("only").sleeping().detached(&wish);
    assert_eq!(only.address(), "10.9.0.2");
    refused(&host, &wish, &["tiny", "no address left in 10.9.0.0/30"]);
    only.delete_force().succeeds();
    let next = host.container("next").sleeping().detached(&wish);
    assert_eq!(next.address(), "10.9.0.2");
}

#[test]
fn a_range_limits_what_is_given_unasked() {
    let host = Host::new();
    host.define_network(
        "ranged",
        &json!({"subnet": "10.9.0.0/24", "gateway": "10.9.0.1", "range": "10.9.0.128/31"}),
    );
    let wish = ["--network", "ranged"];
    let first = host.container("first").sleeping().detached(&wish);
    let second = host.container("second").sleeping().detached(&wish);
    assert_eq!(
        (first.address(), second.address()),
        ("10.9.0.128".into(), "10.9.0.129".into())
    );
    refused(&host, &wish, &["ranged", "no address left in 10.9.0.128/31"]);
    let asked = host
        .container("asked")
        .sleeping()
        .detached(&["--network", "ranged:ip=10.9.0.50"]);
    assert_eq!(asked.address(), "10.9.0.50");
}

#[test]
fn an_overlapping_subnet_is_refused_and_what_it_overlaps_with_is_named() {
    let host = Host::new();
    host.ip("link add taken type bridge");
    host.ip("addr add 10.7.3.1/24 dev taken");
    host.define_network("wide", &json!({"subnet": "10.7.0.0/16", "gateway": "10.7.0.1"}));
    refused(
        &host,
        &["--network", "wide"],
        &["10.7.0.0/16", "overlaps", "10.7.3.1/24", "taken"],
    );
    host.ip("link del taken");
    host.define_network("narrow", &json!({"subnet": "10.7.8.0/24", "gateway": "10.7.8.1"}));
    refused(
        &host,
        &["--network", "narrow"],
        &["10.7.8.0/24", "overlaps", "wide"],
    );
    // The first of the two networks to come into being, or the second, may work alone.
    fs::remove_file(host.path("/var/lib/minirun/net/wide.json")).unwrap();
    let web = host
        .container("web")
        .sleeping()
        .detached(&["--network", "narrow"]);
    assert_eq!(web.address(), "10.7.8.2");
}

#[test]
fn a_definition_that_cannot_be_used_is_refused_by_file_and_field() {
    let host = Host::new();
    let with = |ipv4: serde_json::Value| {
        json!({"name": "broken", "driver": "bridge", "bridge": "broken", "ipv4": ipv4}).to_string()
    };
    let good = json!({"subnet": "10.1.0.0/24", "gateway": "10.1.0.1"});
    for (text, reason) in [
        (String::new(), "EOF"),
        ("{\"name\":".into(), "EOF"),
        (
            with(json!({"subnet": "10.1.0.0/33", "gateway": "10.1.0.1"})),
            "invalid IP address syntax at line 1",
        ),
        (
            with(json!({"subnet": "10.1.0.5/24", "gateway": "10.1.0.1"})),
            "did you mean 10.1.0.0/24",
        ),
        (
            with(json!({"subnet": "10.1.0.0/24", "gateway": "10.2.0.1"})),
            "ipv4.gateway: 10.2.0.1",
        ),
        (
            with(json!({"subnet": "10.1.0.0/31", "gateway": "10.1.0.1"})),
            "no room",
        ),
        (
            with(json!({"subnet": "fd00::/64", "gateway": "10.1.0.1"})),
            "ipv4.subnet: ",
        ),
        (
            with(good.clone()).replace("\"bridge\":\"broken\"", "\"bridge\":\"a/b\""),
            "interface name",
        ),
        (
            with(good.clone()).replace("\"name\":\"broken\"", "\"name\":\"other\""),
            "name",
        ),
        (
            with(good).replace("\"driver\":\"bridge\"", "\"driver\":\"macvlan\""),
            "macvlan",
        ),
    ] {
        host.write_network("broken", &text);
        refused(
            &host,
            &["--network", "broken"],
            &["/var/lib/minirun/net/broken.json", reason],
        );
    }
}

#[test]
fn an_interface_that_has_the_bridges_name_is_not_touched() {
    let host = Host::new();
    for kind in ["veth peer name peer", "bridge"] {
        host.ip(&format!("link add minirun0 type {kind}"));
        refused(&host, &[], &["minirun0", "was not made by minirun"]);
        host.ip("link del minirun0");
    }
}

#[test]
fn a_firewall_that_is_refused_is_told_in_its_words_and_nothing_is_left() {
    let host = Host::new();
    let path = program(
        &host,
        "nft",
        "cat >/dev/null; echo 'Error: no such thing' >&2; exit 1",
    );
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", path.display());
    let web = host.container("web").sleeping();
    host.runtime()
        .env("PATH", &path)
        .args(["run", "--detach", web.bundle().to_str().unwrap()])
        .output()
        .exits(1)
        .fails_with(&["default", "firewall", "no such thing"]);
}

#[test]
fn a_container_that_fails_after_it_joined_leaves_the_network() {
    let host = Host::new();
    let web = host.container("web").args(["/does/not/exist"]);
    web.run_bundle(&[]).exits(1).fails_with(&["/does/not/exist"]);
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", "echo no >&2; exit 3"]});
    for point in ["createRuntime", "poststart"] {
        let web = host
            .container("web")
            .sleeping()
            .push(&format!("/hooks/{point}"), hook.clone());
        web.run_bundle(&["--detach"]).exits(1).fails_with(&[point]);
        host.minirun(["state", web.id()]).fails_with(&["does not exist"]);
    }
    // The second of two networks is the one that cannot be had.
    tiny(&host);
    let only = host.container("only").sleeping().detached(&["--network", "tiny"]);
    refused(
        &host,
        &["--network", "default", "--network", "tiny"],
        &["tiny", "no address left"],
    );
    only.delete_force().succeeds();
}

#[test]
fn a_container_whose_namespace_has_gone_is_deleted_like_any_other() {
    let host = Host::new();
    for force in [false, true] {
        let web = host.container("web").sleeping().detached(&[]);
        let link = web.inspect()["networks"][0]["hostInterface"]
            .as_str()
            .unwrap()
            .to_owned();
        web.kill("KILL").succeeds();
        web.wait_for_status("stopped");
        wait_until("its link is gone", || !host.ip("-o link").stdout.contains(&link));
        let deleted = if force { web.delete_force() } else { web.delete() };
        deleted.succeeds();
        assert_eq!(host.leaks(), [""; 0]);
    }
}

#[test]
fn an_address_is_taken_back_from_a_dead_container_and_its_delete_does_not_harm_the_new_owner() {
    let host = Host::new();
    let wish = ["--network", "default:ip=10.186.0.9"];
    let keeper = host.container("keeper").sleeping().detached(&[]);
    let dead = host.container("dead").sh("exit 0").detached(&wish);
    let link = dead.inspect()["networks"][0]["hostInterface"]
        .as_str()
        .unwrap()
        .to_owned();
    wait_until("its link is gone", || !host.ip("-o link").stdout.contains(&link));
    let heir = host.container("heir").serving().detached(&wish).listens();
    dead.delete().succeeds();
    assert_eq!(keeper.known_at("10.186.0.9"), keeper.address());
    refused(&host, &wish, &["taken", heir.id()]);
}

#[test]
fn what_others_removed_from_the_host_does_not_stop_a_delete() {
    let host = Host::new();
    let web = host.container("web").sleeping().detached(&[]);
    host.ip("link del minirun0");
    host.nft("flush ruleset");
    web.delete_force().succeeds();
    let web = host.container("web").sleeping().detached(&[]);
    fs::remove_dir_all(host.path("/run/minirun/net")).unwrap();
    web.delete_force().succeeds();
    // Nobody knew any more that it was the last one's.
    host.sh("ip link show minirun0 >/dev/null 2>&1 && ip link del minirun0; true");
    host.nft("flush ruleset");
}

#[test]
fn a_create_killed_while_the_firewall_is_being_loaded_leaves_nothing_after_delete_force() {
    let host = Host::new();
    let (reached, go) = (host.dir().join("reached"), host.dir().join("go"));
    host.sh(&format!("mkfifo {}", go.display()));
    let script = format!(
        "touch {}; read line <{}; PATH=/usr/sbin:/sbin exec nft \"$@\"",
        reached.display(),
        go.display()
    );
    let path = format!(
        "{}:/usr/sbin:/usr/bin:/sbin:/bin",
        program(&host, "nft", &script).display()
    );
    let web = host.container("web").sleeping();
    let create = host
        .runtime()
        .env("PATH", &path)
        .args(["run", "--detach", web.bundle().to_str().unwrap()])
        .spawn();
    wait_until("nft runs", || reached.exists());
    create.signal(Signal::SIGKILL);
    assert_eq!(create.wait().code, -9);
    // nft is not ours to kill: who comes next waits for it, and finds its table.
    let delete = web.verb("delete").args(["--force", web.id()]).spawn();
    fs::write(&go, "go\n").unwrap();
    delete.wait().succeeds();
}

#[test]
fn a_create_killed_in_a_hook_leaves_nothing_after_delete_force() {
    let host = Host::new();
    let reached = host.dir().join("reached");
    let script = format!("touch {}; exec sleep 1000", reached.display());
    let web = host.container("web").sleeping().push(
        "/hooks/createRuntime",
        json!({"path": "/bin/sh", "args": ["sh", "-c", script]}),
    );
    let create = web.verb("run").args(["--detach"]).args([web.bundle()]).spawn();
    wait_until("the hook runs", || reached.exists());
    create.signal(Signal::SIGKILL);
    assert_eq!(create.wait().code, -9);
    web.delete_force().succeeds();
}

#[test]
fn a_damaged_lease_does_not_keep_a_container_from_being_deleted() {
    let host = Host::new();
    let web: Container<'_> = host.container("web").sleeping().detached(&[]);
    let lease = host.path("/run/minirun/net/default/containers").join(web.id());
    fs::write(lease, "{").unwrap();
    assert_eq!(web.status(), "running");
    web.delete_force().succeeds();
}

#[test]
fn a_connection_that_nobody_answers_does_not_keep_the_link_of_a_networks_last_container() {
    let host = Host::new();
    let uplink = Uplink::of(&host);
    let pid = uplink.pid().to_string();
    let script = "exec busybox nc -l -p 9000 -e sleep 1000";
    let listener = ["nsenter", "-t", &pid, "-n", "--", "sh", "-c", script];
    let listener = host.command(&busybox()).args(listener).spawn();
    wait_until("somebody listens", || {
        uplink.sh("netstat -tln").stdout.contains(":9000")
    });
    let web = host
        .container("web")
        .sh("sleep 1000 | nc 192.0.2.2 9000")
        .detached(&["--network", "default"]);
    wait_until("it is connected", || {
        let connections = web.exec(["netstat", "-tn"]).succeeds().stdout;
        connections.contains("ESTABLISHED")
    });
    let link = web.inspect()["networks"][0]["hostInterface"]
        .as_str()
        .unwrap()
        .to_owned();
    // Its end is never acknowledged: the kernel would keep the namespace and try for a minute and a half.
    host.ip("link set uplink down");
    web.delete_force().succeeds();
    wait_until("its link is gone", || !host.ip("-o link").stdout.contains(&link));
    listener.signal(Signal::SIGKILL);
    listener.wait();
}
