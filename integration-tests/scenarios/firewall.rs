//! The tables of the firewall themselves: what they look like, and when others interfere.

use std::fs;
use std::path::Path;

use crate::harness::{Container, Host, Uplink, skip};

fn server<'h>(host: &'h Host, name: &str, options: &[&str]) -> Container<'h> {
    host.container(name).serving().detached(options).listens()
}

fn reaches(container: &Container<'_>, at: &str) -> bool {
    let url = format!("http://{at}/cgi-bin/who");
    container.exec(["timeout", "10", "wget", "-qO-", &url]).code == 0
}

/// A directory `/etc/minirun` of the sandbox's own.
fn write_admin_rules(host: &Host, rules: &str) {
    fs::create_dir_all(host.dir().join("etc-work")).unwrap();
    let dir = host.dir().display();
    host.sh(&format!(
        "mount -t tmpfs none {dir}/etc-work; mkdir {dir}/etc-work/upper {dir}/etc-work/work; \
         mount -t overlay overlay -o lowerdir=/etc,upperdir={dir}/etc-work/upper,workdir={dir}/etc-work/work /etc; \
         mkdir -p /etc/minirun; printf '%s\\n' '{rules}' >/etc/minirun/admin.nft"
    ));
}

#[test]
fn a_flushed_ruleset_is_brought_back_by_reconcile() {
    let host = Host::new();
    let world = Uplink::of(&host);
    host.minirun(["network", "create", "shop"]).succeeds();
    host.minirun(["network", "policy", "default", "shop", "within", "deny"])
        .succeeds();
    let web = server(&host, "web", &["--network", "shop", "--publish", "8081:8080"]);
    let peer = host.container("peer").sleeping().detached(&["--network", "shop"]);
    let direct = format!("{}:8080", web.address());
    let before = listing(&host, &[]);
    assert!(world.known_at("192.0.2.1:8081").is_some() && !reaches(&peer, &direct));

    host.nft("flush ruleset");
    assert!(world.known_at("192.0.2.1:8081").is_none() && reaches(&peer, &direct));
    let repaired = host.minirun(["network", "reconcile"]).succeeds();
    assert!(repaired.stdout.contains("firewall"), "{repaired}");
    assert!(world.known_at("192.0.2.1:8081").is_some() && !reaches(&peer, &direct));
    assert_eq!(without_counts(&listing(&host, &[])), without_counts(&before));
    assert_eq!(host.minirun(["network", "reconcile"]).succeeds().stdout, "");
}

#[test]
fn the_administrators_rules_come_first_and_a_mistake_in_them_is_told_by_file_and_line() {
    let host = Host::new();
    let world = Uplink::of(&host);
    write_admin_rules(&host, "ip daddr 192.0.2.2 tcp dport 8080 drop");
    let web = server(&host, "web", &[]);
    assert!(!reaches(&web, "192.0.2.2:8080"));
    host.sh("rm /etc/minirun/admin.nft; echo '# nothing' >/etc/minirun/admin.nft");
    web.delete_force().succeeds();
    let web = server(&host, "web", &[]);
    assert!(reaches(&web, "192.0.2.2:8080"));
    web.delete_force().succeeds();

    host.sh("printf 'accept\\nnonsense here\\n' >/etc/minirun/admin.nft");
    let web = host.container("web").sleeping();
    web.run_bundle(&["--detach"])
        .exits(1)
        .fails_with(&["/etc/minirun/admin.nft:2"]);
    assert_eq!(host.nft("list ruleset"), "");
    drop((web, world));
    let dir = host.dir().display();
    host.sh(&format!("umount /etc; umount {dir}/etc-work"));
}

#[test]
fn the_administrators_rules_see_known_connections_to_a_published_port_too() {
    let host = Host::new();
    let world = Uplink::of(&host);
    write_admin_rules(&host, "ct state established ip saddr 192.0.2.2 drop");
    let web = server(&host, "web", &["--publish", "8081:8080"]);
    assert!(world.known_at("192.0.2.1:8081").is_none());
    host.sh("echo '# nothing' >/etc/minirun/admin.nft");
    web.delete_force().succeeds();
    let web = server(&host, "web", &["--publish", "8081:8080"]);
    assert!(world.known_at("192.0.2.1:8081").is_some());
    drop((web, world));
    let dir = host.dir().display();
    host.sh(&format!("umount /etc; umount {dir}/etc-work"));
}

#[test]
fn a_firewall_that_drops_forwarded_packets_is_named_with_what_would_help() {
    let host = Host::new();
    let _world = Uplink::of(&host);
    host.nft("add table inet strict");
    host.nft("add chain inet strict onward { type filter hook forward priority 0; policy drop; }");
    let web = host.container("web").sleeping();
    let said = web.run_bundle(&["--detach"]).succeeds().stderr;
    for part in [
        "chain onward",
        "inet strict",
        "drops forwarded packets",
        "nft insert rule",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!reaches(&web, "192.0.2.2:8080"));
    // What it says does help.
    let command = said.split('`').nth(1).unwrap().to_owned();
    for command in command.split("; ") {
        host.nft(command.strip_prefix("nft ").unwrap());
    }
    assert!(reaches(&web, "192.0.2.2:8080"));
    host.nft("delete table inet strict");
}

/// The rules as `nft` lists them; elements of sets in a fixed order, one a line, and these words replaced.
fn listing(host: &Host, replace: &[(String, &str)]) -> String {
    let mut text = host.nft("list ruleset");
    for (word, by) in replace {
        text = text.replace(word, by);
    }
    let mut sorted = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("elements = { ") {
        let (elements, after) = after.split_once(" }").unwrap();
        let mut elements: Vec<&str> = elements.split(',').map(str::trim).collect();
        elements.sort();
        sorted += before;
        sorted += "elements = { ";
        sorted += &elements.join(",\n\t\t\t     ");
        sorted += " }";
        rest = after;
    }
    sorted + rest
}

/// Without what traffic did to it.
fn without_counts(listing: &str) -> String {
    let mut lines: Vec<&str> = listing.lines().collect();
    let mut in_refused = false;
    lines.retain(|line| {
        in_refused = match line.trim() {
            line if line.starts_with("set refused") => true,
            "}" => false,
            _ => in_refused,
        };
        !(in_refused && line.contains(" expires "))
    });
    let text = lines.join("\n");
    let words: Vec<&str> = text.split(' ').collect();
    let counts = |index: usize| index > 0 && matches!(words[index - 1], "packets" | "bytes");
    let kept: Vec<&str> = (0..words.len())
        .map(|index| {
            if counts(index) && words[index - 1] != "burst" {
                "N"
            } else {
                words[index]
            }
        })
        .collect();
    kept.join(" ")
}

/// `MINIRUN_WRITE_GOLDEN=1` writes the file anew.
#[test]
fn the_ruleset_is_the_one_that_the_documentation_shows() {
    let host = Host::new();
    // Other versions write some things in other words.
    if !host.nft("--version").contains("v1.0.6") {
        skip!("needs nft 1.0.6, with which the page was written");
    }
    let create = [
        "network",
        "create",
        "shop",
        "--subnet",
        "10.1.0.0/24",
        "--ipv6",
        "--subnet",
        "fd00:1::/64",
    ];
    host.minirun(create).succeeds();
    for rule in [
        "default shop within deny",
        "allow web db 5432/tcp --network shop --rate 100/second",
    ] {
        let args = ["network", "policy"].into_iter().chain(rule.split(' '));
        host.minirun(args).succeeds();
    }
    let web = host.container("web").sleeping().detached(&[
        "--network",
        "shop:alias=web,mac=02:00:00:00:00:02",
        "--publish",
        "8080:80",
        "--publish",
        "127.0.0.1:9090:9090",
    ]);
    let db = host
        .container("db")
        .sleeping()
        .detached(&["--network", "shop:alias=db,mac=02:00:00:00:00:03"]);
    let link = |container: &Container<'_>| {
        container.inspect()["networks"][0]["hostInterface"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let seen = listing(
        &host,
        &[(link(&web), "mr-link-of-web"), (link(&db), "mr-link-of-db")],
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/firewall.nft");
    if std::env::var_os("MINIRUN_WRITE_GOLDEN").is_some() {
        fs::write(&path, &seen).unwrap();
    }
    let documented = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        seen == documented,
        "docs/firewall.nft is not what there is:\n{seen}"
    );
}
