//! `minirun network` and the network flags of `run`: making and removing networks, joining and leaving them, repairing.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Container, Host, Output, busybox, wait_until};

/// A network by the command line.
#[track_caller]
fn create(host: &Host, name: &str, options: &[&str]) -> Output {
    let args = ["network", "create"].iter().chain(options).chain([&name]);
    host.minirun(args.copied())
}

#[track_caller]
fn network(host: &Host, name: &str) -> Value {
    host.minirun(["network", "inspect", name]).succeeds().json()[0].clone()
}

fn server<'h>(host: &'h Host, name: &str, options: &[&str]) -> Container<'h> {
    host.container(name).serving().detached(options).listens()
}

/// The container's interfaces and addresses as `ip -o -4 addr` tells them, loopback aside.
#[track_caller]
fn addresses(container: &Container<'_>) -> Vec<String> {
    let listed = container.exec(["ip", "-o", "-4", "addr"]).succeeds().stdout;
    let words = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        format!("{} {}", words[1], words[3])
    };
    listed
        .lines()
        .map(words)
        .filter(|line| !line.starts_with("lo "))
        .collect()
}

#[test]
fn a_network_is_created_listed_inspected_and_removed() {
    let host = Host::new();
    let made = create(
        &host,
        "shop",
        &[
            "--subnet",
            "10.1.0.0/24",
            "--ip-range",
            "10.1.0.128/25",
            "--label",
            "tier=front",
            "--mtu",
            "1400",
        ],
    );
    assert_eq!(made.succeeds().stdout, "shop\n");
    let shop = network(&host, "shop");
    assert_eq!(shop["ipv4"]["subnet"], "10.1.0.0/24");
    assert_eq!(shop["ipv4"]["gateway"], "10.1.0.1");
    assert_eq!(shop["ipv4"]["range"], "10.1.0.128/25");
    assert_eq!(shop["labels"], json!({"tier": "front"}));
    assert_eq!(shop["containers"], json!([]));

    let web = host.container("web").sleeping().detached(&["--network", "shop"]);
    assert_eq!(web.address(), "10.1.0.128");
    assert!(
        web.exec(["ip", "link", "show", "eth0"])
            .succeeds()
            .stdout
            .contains("mtu 1400")
    );
    let shop = network(&host, "shop");
    assert_eq!(shop["containers"][0]["container"], web.id());
    assert_eq!(shop["containers"][0]["address"], "10.1.0.128");

    let table = host.minirun(["network", "ls"]).succeeds().stdout;
    assert!(table.starts_with("NAME"), "{table}");
    assert!(table.contains("shop") && table.contains("10.1.0.0/24"), "{table}");
    let listed = host
        .minirun(["network", "ls", "--format", "json"])
        .succeeds()
        .json();
    assert_eq!(listed[0]["name"], "shop", "{listed}");
    assert_eq!(host.minirun(["network", "ls", "-q"]).succeeds().stdout, "shop\n");

    host.minirun(["network", "rm", "shop"])
        .exits(1)
        .fails_with(&["network shop", "in use", web.id()]);
    web.delete_force().succeeds();
    assert_eq!(
        host.minirun(["network", "rm", "shop"]).succeeds().stdout,
        "shop\n"
    );
    host.minirun(["network", "inspect", "shop"])
        .exits(1)
        .fails_with(&["shop", "does not exist"]);
}

#[test]
fn what_cannot_be_a_network_is_refused_by_field_and_leaves_nothing() {
    let host = Host::new();
    create(&host, "front", &["--subnet", "10.1.0.0/24"]).succeeds();
    host.ip("link add taken type bridge");
    host.ip("addr add 10.9.0.1/24 dev taken");
    for (name, options, texts) in [
        ("front", &[][..], &["front", "exists"][..]),
        (
            "back",
            &["--subnet", "10.1.0.128/25"],
            &["overlaps", "network front"],
        ),
        ("back", &["--subnet", "10.9.0.0/16"], &["overlaps", "taken"]),
        ("back", &["--subnet", "10.2.0.0/32"], &["10.2.0.0/32", "/30"]),
        ("back", &["--subnet", "10.2.0.0/31"], &["10.2.0.0/31", "/30"]),
        ("back", &["--subnet", "10.2.0.7/24"], &["10.2.0.0/24"]),
        ("back", &["--subnet", "fish"], &["--subnet", "fish"]),
        (
            "back",
            &["--subnet", "10.2.0.0/24", "--gateway", "10.3.0.1"],
            &["gateway", "10.3.0.1"],
        ),
        (
            "back",
            &["--subnet", "10.2.0.0/24", "--ip-range", "10.3.0.0/25"],
            &["range", "10.3.0.0/25"],
        ),
        ("back", &["--mtu", "17"], &["mtu", "17"]),
        ("back", &["--label", "=x"], &["label"]),
        ("../evil", &[], &["../evil", "network"]),
        ("none", &[], &["none"]),
        ("host", &[], &["host"]),
    ] {
        create(&host, name, options).exits(1).fails_with(texts);
    }
    assert_eq!(host.minirun(["network", "ls", "-q"]).succeeds().stdout, "front\n");
    host.ip("link del taken");
}

#[test]
fn networks_that_nobody_is_on_are_pruned_but_not_the_default_one() {
    let host = Host::new();
    for name in ["one", "two", "three"] {
        create(&host, name, &[]).succeeds();
    }
    let web = host.container("web").sleeping().detached(&["--network", "two"]);
    let other = host.container("other").sleeping().detached(&[]);
    other.delete_force().succeeds();
    let pruned = host.minirun(["network", "prune"]).succeeds().stdout;
    assert_eq!(pruned.split_whitespace().collect::<Vec<_>>(), ["one", "three"]);
    let left = host.minirun(["network", "ls", "-q"]).succeeds().stdout;
    assert_eq!(left.split_whitespace().collect::<Vec<_>>(), ["default", "two"]);
    drop(web);
}

#[test]
fn an_unknown_network_is_refused_with_a_suggestion() {
    let host = Host::new();
    create(&host, "backend", &[]).succeeds();
    let web = host.container("web").sleeping();
    web.run_bundle(&["--detach", "--network", "backedn"])
        .exits(1)
        .fails_with(&["backedn", "did you mean"]);
    host.minirun(["network", "rm", "bakend"])
        .exits(1)
        .fails_with(&["bakend", "did you mean"]);
}

#[test]
fn a_running_container_joins_and_leaves_a_network() {
    let host = Host::new();
    create(&host, "back", &["--subnet", "10.2.0.0/24"]).succeeds();
    let db = server(&host, "db", &["--network", "back"]);
    let web = host.container("web").sleeping().detached(&[]);
    assert_eq!(addresses(&web).len(), 1);

    let target = "back:alias=front";
    host.minirun(["network", "connect", "--ip", "10.2.0.77", target, web.id()])
        .succeeds();
    assert_eq!(addresses(&web)[1], "eth1 10.2.0.77/24");
    assert_eq!(web.known_at(db.id()), "10.2.0.77");
    assert_eq!(web.inspect()["networks"][1]["network"], "back");
    assert_eq!(network(&host, "back")["containers"].as_array().unwrap().len(), 2);
    host.minirun(["network", "connect", "back", web.id()])
        .exits(1)
        .fails_with(&["already", "back"]);

    host.minirun(["network", "disconnect", "back", web.id()])
        .succeeds();
    assert_eq!(addresses(&web).len(), 1);
    assert_eq!(web.inspect()["networks"].as_array().unwrap().len(), 1);
    host.minirun(["network", "disconnect", "back", web.id()])
        .exits(1)
        .fails_with(&["not on network", "back"]);
    // The address is free again.
    let heir = host
        .container("heir")
        .sleeping()
        .detached(&["--network", "back:ip=10.2.0.77"]);
    assert_eq!(heir.address(), "10.2.0.77");
}

#[test]
fn a_network_that_was_joined_meanwhile_is_left_when_run_ends() {
    let host = Host::new();
    create(&host, "back", &["--subnet", "10.2.0.0/24"]).succeeds();
    let web = host.container("web").sh("echo ready; read go </go");
    let fifo = web.rootfs().join("go");
    host.sh(&format!("mkfifo {}", fifo.display()));
    let run = web.run_in_background();
    wait_until("the process is ready", || run.stdout().contains("ready"));
    host.minirun(["network", "connect", "back", web.id()]).succeeds();
    assert_eq!(network(&host, "back")["containers"].as_array().unwrap().len(), 1);
    fs::write(&fifo, "now\n").unwrap();
    run.wait().exits(0);
    assert_eq!(network(&host, "back")["containers"], json!([]));
    host.minirun(["network", "rm", "back"]).succeeds();
}

#[test]
fn the_default_route_moves_to_a_network_that_is_left() {
    let host = Host::new();
    create(&host, "one", &["--subnet", "10.1.0.0/24"]).succeeds();
    create(&host, "two", &["--subnet", "10.2.0.0/24"]).succeeds();
    let options = ["--network", "one", "--network", "two"];
    let web = host.container("web").sleeping().detached(&options);
    let route = || web.exec(["ip", "route"]).succeeds().stdout;
    assert!(route().contains("default via 10.1.0.1"), "{}", route());
    host.minirun(["network", "disconnect", "one", web.id()])
        .succeeds();
    assert!(route().contains("default via 10.2.0.1"), "{}", route());
    host.minirun(["network", "connect", "one:priority=1", web.id()])
        .succeeds();
    assert!(route().contains("default via 10.1.0.1"), "{}", route());
    assert_eq!(route().matches("default").count(), 1);
}

#[test]
fn a_stopped_container_can_neither_join_nor_leave() {
    let host = Host::new();
    create(&host, "back", &[]).succeeds();
    let web = host.container("web").sh("exit 0").detached(&[]);
    web.wait_for_status("stopped");
    host.minirun(["network", "connect", "back", web.id()])
        .exits(1)
        .fails_with(&[web.id(), "not running"]);
}

#[test]
fn a_container_may_share_the_network_of_another() {
    let host = Host::new();
    let db = server(&host, "db", &["--hostname", "postgres"]);
    let shared = format!("container:{}", db.id());
    let side = host
        .container("side")
        .sleeping()
        .detached(&["--network", &shared]);
    assert_eq!(addresses(&side), addresses(&db));
    assert_eq!(side.known_at("127.0.0.1"), "127.0.0.1");
    assert_eq!(
        side.exec(["cat", "/etc/hosts"]).succeeds().stdout,
        db.exec(["cat", "/etc/hosts"]).succeeds().stdout
    );
    // Its end is not the other's.
    side.delete_force().succeeds();
    db.exec(["ip", "addr", "show", "eth0"]).succeeds();
    host.known_at(&db.address());
}

#[test]
fn the_network_of_a_container_that_is_not_there_or_combined_with_others_is_refused() {
    let host = Host::new();
    let web = host.container("web").sleeping();
    web.run_bundle(&["--detach", "--network", "container:nobody"])
        .exits(1)
        .fails_with(&["container:nobody", "does not exist"]);
    let gone = host.container("gone").sh("exit 0").detached(&[]);
    gone.wait_for_status("stopped");
    web.run_bundle(&["--detach", "--network", &format!("container:{}", gone.id())])
        .exits(1)
        .fails_with(&["has stopped"]);
    web.run_bundle(&["--detach", "--network", "container:x", "--network", "default"])
        .exits(1)
        .fails_with(&["cannot be combined"]);
    web.run_bundle(&["--detach", "--network", "none", "--publish", "80"])
        .exits(1)
        .fails_with(&["--publish", "--network default"]);
}

#[test]
fn flags_and_annotations_say_the_same() {
    let host = Host::new();
    create(&host, "shop", &["--subnet", "10.1.0.0/24"]).succeeds();
    let by_flag = host.container("flag").sleeping().detached(&[
        "--network=shop:ip=10.1.0.7",
        "--dns-search=shop.example",
        "--add-host=legacy:192.0.2.7",
    ]);
    let by_annotation = host.container("note").sleeping().edit(|config| {
        config["annotations"] = json!({
            "minirun.network": "shop:ip=10.1.0.8",
            "minirun.dns-search": "shop.example",
            "minirun.add-host": "legacy:192.0.2.7",
        });
    });
    // An engine's form: the annotation alone asks for the network.
    let by_annotation = by_annotation.running();
    for (container, address) in [(&by_flag, "10.1.0.7"), (&by_annotation, "10.1.0.8")] {
        assert_eq!(container.address(), address);
        let hosts = container.exec(["cat", "/etc/hosts"]).succeeds().stdout;
        assert!(hosts.contains("192.0.2.7\tlegacy\n"), "{hosts}");
        let resolv = container.exec(["cat", "/etc/resolv.conf"]).succeeds().stdout;
        assert!(resolv.contains("search shop.example\n"), "{resolv}");
    }
}

#[test]
fn a_host_name_by_flag_goes_before_the_configurations() {
    let host = Host::new();
    let web = host
        .container("web")
        .sleeping()
        .detached(&["--hostname", "front"]);
    assert_eq!(web.exec(["hostname"]).succeeds().stdout, "front\n");
    assert_eq!(web.exec(["cat", "/etc/hostname"]).succeeds().stdout, "front\n");
    web.exec(["nslookup", "front"]).succeeds();
    host.container("bad")
        .sleeping()
        .run_bundle(&["--detach", "--hostname", &"x".repeat(65)])
        .exits(1)
        .fails_with(&["hostname", "65"]);
}

#[test]
fn reconcile_says_nothing_when_nothing_is_amiss() {
    let host = Host::new();
    assert_eq!(host.minirun(["network", "reconcile"]).succeeds().stdout, "");
    let _web = server(&host, "web", &["--publish", "8080"]);
    assert_eq!(host.minirun(["network", "reconcile"]).succeeds().stdout, "");
}

#[test]
fn reconcile_brings_back_a_bridge_and_a_link_that_somebody_deleted() {
    let host = Host::new();
    let db = server(&host, "db", &[]);
    let web = host.container("web").sleeping().detached(&[]);
    host.ip("link del minirun0");
    host.minirun(["network", "reconcile"]).succeeds();
    assert_eq!(web.known_at(&db.address()), web.address());
    let link = web.inspect()["networks"][0]["hostInterface"]
        .as_str()
        .unwrap()
        .to_owned();
    host.ip(&format!("link del {link}"));
    let said = host.minirun(["network", "reconcile"]).succeeds().stdout;
    assert!(said.contains(web.id()), "{said}");
    assert_eq!(web.known_at(&db.address()), web.address());
    assert!(
        web.exec(["ip", "route"])
            .succeeds()
            .stdout
            .contains("default via")
    );
}

#[test]
fn reconcile_restores_what_nft_flush_ruleset_took() {
    let host = Host::new();
    let web = server(&host, "web", &["--publish", "8080"]);
    let port = web.inspect()["networks"][0]["ports"][0]["host"].clone();
    let url = format!("http://127.0.0.1:{port}/");
    let reaches = || {
        host.command(&busybox())
            .args(["timeout", "5", "busybox", "wget", "-qO-", &url])
            .output()
    };
    assert_eq!(reaches().stdout, "hello\n");
    host.nft("flush ruleset");
    assert_ne!(reaches().code, 0);
    let said = host.minirun(["network", "reconcile"]).succeeds().stdout;
    assert!(said.contains("firewall"), "{said}");
    assert_eq!(reaches().succeeds().stdout, "hello\n");
}

#[test]
fn reconcile_takes_away_what_a_container_left_that_is_gone() {
    let host = Host::new();
    let keeper = server(&host, "keeper", &[]);
    let web = server(&host, "web", &["--publish", "8080"]);
    let port = web.inspect()["networks"][0]["ports"][0]["host"].clone();
    assert!(host.nft("list ruleset").contains(&format!("{port} : ")));
    web.kill("KILL").succeeds();
    web.wait_for_status("stopped");
    wait_until("the dead container's link is gone", || {
        let link = web.inspect()["networks"][0]["hostInterface"]
            .as_str()
            .unwrap()
            .to_owned();
        !host.ip("-o link").stdout.contains(&link)
    });
    let said = host.minirun(["network", "reconcile"]).succeeds().stdout;
    assert!(said.contains(web.id()), "{said}");
    assert!(!host.nft("list ruleset").contains(&format!("{port} : ")));
    let lease = host.path("/run/minirun/net/default/containers").join(web.id());
    assert!(!fs::exists(lease).unwrap());
    host.known_at(&keeper.address());
}

#[test]
fn a_port_of_a_container_that_died_is_free_for_the_next() {
    let host = Host::new();
    let first = server(&host, "first", &["--publish", "8080"]);
    let port = first.inspect()["networks"][0]["ports"][0]["host"].clone();
    let publish = format!("{port}:8080");
    let second = host.container("second").serving();
    second
        .run_bundle(&["--detach", "--publish", &publish])
        .exits(1)
        .fails_with(&[&port.to_string(), first.id()]);
    first.kill("KILL").succeeds();
    first.wait_for_status("stopped");
    let second = second.detached(&["--publish", &publish]).listens();
    let url = format!("http://127.0.0.1:{port}/");
    assert_eq!(host.sh(&format!("wget -qO- {url}")).stdout, "hello\n");
    // The end of the first one does not take the second one's port along.
    first.delete_force().succeeds();
    assert_eq!(host.sh(&format!("wget -qO- {url}")).stdout, "hello\n");
    drop(second);
}

#[test]
fn a_rule_that_is_taken_back_ends_what_began_under_it() {
    let host = Host::new();
    create(&host, "shop", &["--within", "deny"]).succeeds();
    // Neither side hangs up by itself: it is the firewall that ends the connection, or nobody. This one does not learn of
    // it, and once killed it would try for minutes to say goodbye, in a namespace that stays as long.
    let db = host
        .container("db")
        .sh("echo serving; sleep 1000 | nc -l -p 7000")
        .edit(|config| config["linux"]["sysctl"] = json!({"net.ipv4.tcp_orphan_retries": "1"}))
        .detached(&["--network", "shop"]);
    db.wait_for_stdout("serving");
    let web = host.container("web").sleeping().detached(&["--network", "shop"]);
    host.minirun(["network", "policy", "allow", web.id(), db.id(), "7000/tcp"])
        .succeeds();
    let script = format!(
        "{{ until [ -e /tmp/go ]; do echo still; sleep 0.1; done; }} | nc {} 7000; echo ended >/tmp/ended",
        db.id()
    );
    web.exec(["sh", "-c", &format!("( {script} ) >/dev/null 2>&1 &")])
        .succeeds();
    db.wait_for_stdout("still");
    host.minirun(["network", "policy", "deny", web.id(), db.id()])
        .succeeds();
    wait_until("the connection has ended", || {
        web.exec(["cat", "/tmp/ended"]).stdout == "ended\n"
    });
}

#[test]
fn a_network_that_is_removed_takes_the_links_that_linger() {
    let host = Host::new();
    create(&host, "shop", &[]).succeeds();
    let web = host.container("web").sleeping().detached(&["--network", "shop"]);
    // The last to leave takes its link along with the bridge.
    let last = host.container("last").sleeping().detached(&["--network", "shop"]);
    // Of a pair whose other end is in another namespace: mr0123456789ab@if2.
    let has_links = || host.sh("ip -o link").succeeds().stdout.contains("@if");
    // As a connection does whose other side went first.
    let namespace = fs::File::open(format!("/proc/{}/ns/net", web.pid())).unwrap();
    web.delete_force().succeeds();
    last.delete_force().succeeds();
    assert!(has_links(), "the namespace keeps the link");
    host.minirun(["network", "rm", "shop"]).succeeds();
    assert!(!has_links());
    drop(namespace);
}
