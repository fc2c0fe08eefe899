//! Addresses of both families, default routes, names of interfaces, and what is left when addresses run out.

use serde_json::{Value, json};

use crate::harness::{Container, Host, wait_until};

/// A network of both families; `more` are further fields of its definition.
fn define(host: &Host, name: &str, ipv4: &str, ipv6: &str, more: Value) {
    let gateway = |subnet: &str| {
        let network = subnet.split('/').next().unwrap();
        match network.strip_suffix(".0") {
            Some(network) => format!("{network}.1"),
            None => format!("{network}1"),
        }
    };
    let mut definition = json!({
        "name": name,
        "driver": "bridge",
        "bridge": name,
        "ipv4": {"subnet": ipv4, "gateway": gateway(ipv4)},
        "ipv6": {"subnet": ipv6, "gateway": gateway(ipv6)},
    });
    if let Value::Object(more) = more {
        definition.as_object_mut().unwrap().extend(more);
    }
    host.write_network(name, &definition.to_string());
}

/// A server on both families; that of IPv6 has port 8086.
fn server<'h>(host: &'h Host, name: &str, options: &[&str]) -> Container<'h> {
    let server = host.container(name).serving().detached(options).listens();
    server
        .exec(["httpd", "-p", "[::]:8086", "-h", "/tmp/www"])
        .succeeds();
    server
}

#[track_caller]
fn address6(container: &Container<'_>) -> String {
    let inspected = container.inspect();
    inspected["networks"][0]["address6"].as_str().unwrap().to_owned()
}

/// As whom a container reaches an IPv6 server.
#[track_caller]
fn known_at6(container: &Container<'_>, address: &str) -> String {
    let url = format!("http://[{address}]:8086/cgi-bin/who");
    let seen = container.exec(["wget", "-qO-", &url]).succeeds().stdout;
    seen.trim().trim_matches(['[', ']']).to_owned()
}

#[track_caller]
fn inside(container: &Container<'_>, command: &str) -> String {
    container.exec(command.split(' ')).succeeds().stdout
}

#[test]
fn containers_reach_each_other_over_both_families_by_the_addresses_that_inspect_shows() {
    let host = Host::new();
    define(&host, "shop", "10.1.0.0/24", "fd00:1::/64", json!({}));
    let web = server(&host, "web", &["--network", "shop"]);
    let db = server(&host, "db", &["--network", "shop:ip=10.1.0.77,ip6=fd00:1::77"]);
    assert_eq!(
        (db.address(), address6(&db)),
        ("10.1.0.77".into(), "fd00:1::77".into())
    );
    assert_eq!(web.known_at("10.1.0.77"), web.address());
    assert_eq!(known_at6(&web, "fd00:1::77"), address6(&web));
    assert_eq!(known_at6(&db, &address6(&web)), "fd00:1::77");
    let network = db.inspect()["networks"][0].clone();
    assert_eq!(
        (&network["prefix6"], &network["gateway6"]),
        (&json!(64), &json!("fd00:1::1"))
    );
    let page = host.sh("wget -qO- http://[fd00:1::77]:8086/");
    assert_eq!(page.stdout, "hello\n");
}

#[test]
fn a_network_that_is_created_with_ipv6_alone_gives_unique_local_addresses() {
    let host = Host::new();
    host.minirun(["network", "create", "--ipv6", "shop"]).succeeds();
    let shop = host.minirun(["network", "inspect", "shop"]).succeeds().json()[0].clone();
    let subnet = shop["ipv6"]["subnet"].as_str().unwrap();
    assert!(subnet.starts_with("fd") && subnet.ends_with("::/64"), "{subnet}");
    let web = server(&host, "web", &["--network", "shop"]);
    let db = server(&host, "db", &["--network", "shop"]);
    assert!(
        address6(&db).starts_with(subnet.trim_end_matches("/64")),
        "{}",
        address6(&db)
    );
    assert_eq!(known_at6(&web, &address6(&db)), address6(&web));
    host.minirun(["network", "rm", "shop"]).exits(1).fails_with(&[
        "network shop is in use by",
        web.id(),
        db.id(),
    ]);
}

#[test]
fn a_container_of_a_network_without_ipv6_has_no_ipv6_address_but_loopback() {
    let host = Host::new();
    let web = host.container("web").sleeping().detached(&[]);
    let addresses = inside(&web, "ip -6 addr");
    let found: Vec<_> = addresses.lines().filter(|line| line.contains("inet6")).collect();
    assert!(found.iter().all(|line| line.contains("::1/128")), "{addresses}");
    let disabled = inside(&web, "cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6");
    assert_eq!(disabled, "1\n");
}

#[test]
fn containers_of_an_internal_network_reach_each_other_and_have_no_way_out() {
    let host = Host::new();
    define(
        &host,
        "inner",
        "10.2.0.0/24",
        "fd00:2::/64",
        json!({"internal": true}),
    );
    let web = server(&host, "web", &["--network", "inner"]);
    let db = server(&host, "db", &["--network", "inner"]);
    assert_eq!(web.known_at(&db.address()), web.address());
    assert_eq!(known_at6(&web, &address6(&db)), address6(&web));
    let routes = inside(&web, "ip route") + &inside(&web, "ip -6 route");
    assert!(!routes.contains("default"), "{routes}");
    web.exec(["ip", "route", "get", "192.0.2.2"])
        .fails_with(&["unreachable"]);
}

#[test]
fn the_default_route_leads_where_the_priority_is_highest_and_never_into_an_internal_network() {
    let host = Host::new();
    define(&host, "front", "10.3.0.0/24", "fd00:3::/64", json!({}));
    define(
        &host,
        "inner",
        "10.4.0.0/24",
        "fd00:4::/64",
        json!({"internal": true}),
    );
    host.define_network("back", &json!({"subnet": "10.5.0.0/24", "gateway": "10.5.0.1"}));
    let networks = [
        "--network",
        "inner:priority=9",
        "--network",
        "front",
        "--network",
        "back:priority=1,interface=lan0",
    ];
    let web = host.container("web").sleeping().detached(&networks);
    let routes = inside(&web, "ip route");
    assert!(routes.contains("default via 10.5.0.1 dev lan0"), "{routes}");
    assert_eq!(routes.matches("default").count(), 1, "{routes}");
    // The network with the highest priority that has IPv6.
    let routes = inside(&web, "ip -6 route");
    assert!(routes.contains("default via fd00:3::1 dev eth1"), "{routes}");
    assert_eq!(routes.matches("default").count(), 1, "{routes}");

    let plain = ["--network", "front", "--network", "back"];
    let plain = host.container("plain").sleeping().detached(&plain);
    let routes = inside(&plain, "ip route");
    assert!(routes.contains("default via 10.3.0.1 dev eth0"), "{routes}");
}

#[test]
fn a_name_that_two_interfaces_would_have_is_refused() {
    let host = Host::new();
    host.define_network("front", &json!({"subnet": "10.3.0.0/24", "gateway": "10.3.0.1"}));
    host.define_network("back", &json!({"subnet": "10.5.0.0/24", "gateway": "10.5.0.1"}));
    let twice = [
        "--detach",
        "--network",
        "front:interface=lan0",
        "--network",
        "back:interface=lan0",
    ];
    host.container("web")
        .sleeping()
        .run_bundle(&twice)
        .exits(1)
        .fails_with(&["network back", "interface=lan0"]);
}

#[test]
fn when_ipv6_addresses_run_out_those_of_the_dead_are_taken_back_and_then_it_is_an_error() {
    let host = Host::new();
    define(&host, "tiny", "10.6.0.0/24", "fd00:6::/126", json!({}));
    let on = ["--network", "tiny"];
    let keeper = host.container("keeper").sleeping().detached(&on);
    let dead = host.container("dead").sh("exit 0").detached(&on);
    let link = dead.inspect()["networks"][0]["hostInterface"].clone();
    wait_until("its link is gone", || {
        !host.ip("-o link").stdout.contains(link.as_str().unwrap())
    });
    assert_eq!(
        (address6(&keeper), address6(&dead)),
        ("fd00:6::2".into(), "fd00:6::3".into())
    );
    let heir = host.container("heir").sleeping().detached(&on);
    assert_eq!(address6(&heir), "fd00:6::3");
    dead.delete().succeeds();
    host.container("late")
        .sleeping()
        .run_bundle(&["--detach", "--network", "tiny"])
        .exits(1)
        .fails_with(&["network tiny", "no address left in fd00:6::/126", "2 containers"]);
    heir.delete_force().succeeds();
    let next = host.container("next").sleeping().detached(&on);
    assert_eq!(address6(&next), "fd00:6::3");
}

#[test]
fn switches_of_the_host_for_ipv6_are_set_for_networks_with_ipv6_only_said_and_recorded() {
    let host = Host::new();
    let forwarding = || host.sh("cat /proc/sys/net/ipv6/conf/all/forwarding").stdout;
    host.ip("link add uplink type veth peer name other");
    let plain = host.container("plain").sleeping();
    plain.run_bundle(&["--detach"]).succeeds();
    assert_eq!(forwarding(), "0\n");
    define(&host, "shop", "10.1.0.0/24", "fd00:1::/64", json!({}));
    let web = host.container("web").sleeping();
    let said = web
        .run_bundle(&["--detach", "--network", "shop"])
        .succeeds()
        .stderr;
    assert_eq!(forwarding(), "1\n");
    // A router that listens to routers still does.
    assert_eq!(
        host.sh("cat /proc/sys/net/ipv6/conf/uplink/accept_ra").stdout,
        "2\n"
    );
    let record = host.sh("cat /run/minirun/net/.host.json").stdout;
    for switch in ["net.ipv6.conf.all.forwarding", "net.ipv6.conf.uplink.accept_ra"] {
        assert!(said.contains(switch), "{said}");
        assert!(record.contains(switch), "{record}");
    }
    host.ip("link del uplink");
}
