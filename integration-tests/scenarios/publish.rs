//! Published ports: who reaches them and who does not, and ports that cannot be had. The packets of every case, over both
//! families, are in src/net/tests/firewall.rs.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Container, Host, Uplink, busybox, wait_until};

fn server<'h>(host: &'h Host, name: &str, options: &[&str]) -> Container<'h> {
    host.container(name).serving().detached(options).listens()
}

/// As whom somebody on the host reaches the server at this address and port; `None` when not.
fn known_at(host: &Host, at: &str) -> Option<String> {
    let out = host.sh(&format!(
        "timeout 5 wget -qO- http://{at}/cgi-bin/who || echo nobody"
    ));
    let who = out.stdout.trim().to_owned();
    (who != "nobody").then_some(who)
}

fn reaches(container: &Container<'_>, at: &str) -> bool {
    let url = format!("http://{at}/cgi-bin/who");
    container.exec(["timeout", "10", "wget", "-qO-", &url]).code == 0
}

#[test]
fn a_published_port_is_reached_from_localhost_outside_and_every_container() {
    let host = Host::new();
    let world = Uplink::of(&host);
    host.minirun(["network", "create", "back"]).succeeds();
    let web = server(&host, "web", &["--publish", "8081:8080"]);
    let peer = host.container("peer").sleeping().detached(&[]);
    let other = host
        .container("other")
        .sleeping()
        .detached(&["--network", "back"]);
    let gateway = web.inspect()["networks"][0]["gateway"]
        .as_str()
        .unwrap()
        .to_owned();

    assert_eq!(known_at(&host, "127.0.0.1:8081"), Some(gateway.clone()));
    assert_eq!(known_at(&host, "192.0.2.1:8081"), Some("192.0.2.1".to_owned()));
    assert_eq!(world.known_at("192.0.2.1:8081"), Some("192.0.2.2".to_owned()));
    for at in ["192.0.2.1:8081", &format!("{gateway}:8081")] {
        assert!(
            reaches(&peer, at) && reaches(&other, at) && reaches(&web, at),
            "{at}"
        );
    }
    // The container's own address is nobody's business but its network's.
    let direct = format!("{}:8080", web.address());
    assert!(reaches(&peer, &direct) && !reaches(&other, &direct));
    world
        .sh(&format!("ip route add {} via 192.0.2.1", web.address()))
        .succeeds();
    assert_eq!(world.known_at(&direct), None);

    web.delete_force().succeeds();
    assert_eq!(known_at(&host, "127.0.0.1:8081"), None);
    let again = server(&host, "again", &["--publish", "8081:8080"]);
    assert_eq!(world.known_at("192.0.2.1:8081"), Some("192.0.2.2".to_owned()));
    drop(again);
}

#[test]
fn a_port_published_on_localhost_is_the_hosts_alone() {
    let host = Host::new();
    let world = Uplink::of(&host);
    let web = server(&host, "web", &["--publish", "127.0.0.1:8081:8080"]);
    let peer = host.container("peer").sleeping().detached(&[]);
    let gateway = web.inspect()["networks"][0]["gateway"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(known_at(&host, "127.0.0.1:8081"), Some(gateway.clone()));
    assert_eq!(known_at(&host, "192.0.2.1:8081"), None);
    assert_eq!(world.known_at("192.0.2.1:8081"), None);
    assert!(!reaches(&peer, &format!("{gateway}:8081")));
    // A neighbour who sends packets for 127.0.0.1 to a host that would take them.
    host.sh("echo 1 >/proc/sys/net/ipv4/conf/uplink/route_localnet");
    world
        .sh(
            "echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet; ip addr del 127.0.0.1/8 dev lo 2>/dev/null || true; \
             ip route add 127.0.0.1 via 192.0.2.1 src 192.0.2.2",
        )
        .succeeds();
    assert_eq!(world.known_at("127.0.0.1:8081"), None);
}

#[test]
fn ports_are_published_by_range_at_random_and_over_udp() {
    let host = Host::new();
    let options = [
        "--publish",
        "8000-8001:8080-8081",
        "--publish",
        "9000-9009:8080",
        "--publish",
        "8080",
        "--publish",
        "53/udp",
    ];
    let web = server(&host, "web", &options);
    let second = server(&host, "second", &["--publish", "9000-9009:8080"]);
    let ports = |container: &Container<'_>| container.inspect()["networks"][0]["ports"].clone();
    let published = ports(&web);
    let at = |index: usize| format!("127.0.0.1:{}", published[index]["host"]);
    assert_eq!(
        (&published[0]["host"], &published[1]["container"]),
        (&json!(8000), &json!(8081))
    );
    assert_eq!(
        (&published[2]["host"], &ports(&second)[0]["host"]),
        (&json!(9000), &json!(9001))
    );
    assert_eq!(
        (&published[4]["container"], &published[4]["protocol"]),
        (&json!(53), &json!("udp"))
    );
    for index in [0, 2, 3] {
        assert!(known_at(&host, &at(index)).is_some(), "{published}");
    }
    assert!(known_at(&host, "127.0.0.1:9001").is_some());
}

#[test]
fn a_taken_port_is_refused_with_its_owners_name_and_nothing_is_left() {
    let host = Host::new();
    let web = server(&host, "web", &["--publish", "8081:8080"]);
    let late = host.container("late").sleeping();
    late.run_bundle(&["--detach", "--publish", "127.0.0.1:8081:80"])
        .exits(1)
        .fails_with(&["8081/tcp", "taken by container", web.id()]);
    let serving = host.command(&busybox()).args(["nc", "-l", "-p", "8082"]).spawn();
    wait_until("the host's server listens", || {
        host.sh("cat /proc/net/tcp /proc/net/tcp6")
            .stdout
            .contains(":1F92 ")
    });
    late.run_bundle(&["--detach", "--publish", "8082:80"])
        .exits(1)
        .fails_with(&["8082/tcp", "a process of the host", "ss -ltnp"]);
    serving.signal(Signal::SIGKILL);
    serving.wait();
    for (publish, why) in [
        ("198.51.100.7:80:80", "does not have this address"),
        ("[::1]:80:80", "no IPv6 address"),
        ("80:80/icmp", "not tcp, udp or sctp"),
        ("8000-8002:80-81", "3 ports of the host for 2"),
    ] {
        late.run_bundle(&["--detach", "--publish", publish])
            .exits(1)
            .fails_with(&[why]);
    }
    assert!(known_at(&host, "127.0.0.1:8081").is_some());
}

#[test]
fn nobody_else_opens_a_published_port_meanwhile() {
    let host = Host::new();
    let _web = server(&host, "web", &["--publish", "8081:8080"]);
    let squatter = host.command(&busybox()).args(["nc", "-l", "-p", "8081"]).output();
    assert_ne!(squatter.code, 0, "{squatter}");
}
