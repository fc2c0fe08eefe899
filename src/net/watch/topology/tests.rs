//! The map of a shop in four tiers, in every shape, against golden files; and texts that try to break out.

use serde_json::json;

use super::*;
use crate::net::{Policy, Protocol};

fn network(name: &str, subnet: &str, rules: &[(&str, &str, &[&str])]) -> Description {
    let definition = json!({
        "name": name,
        "driver": "bridge",
        "bridge": format!("mr-{name}"),
        "ipv4": {"subnet": format!("{subnet}.0/24"), "gateway": format!("{subnet}.1")},
        "internal": name != "frontend",
        "policy": {
            "within": "deny",
            "rules": rules
                .iter()
                .map(|(from, to, ports)| json!({"from": from, "to": to, "ports": ports}))
                .collect::<Vec<_>>(),
        },
    });
    Description {
        definition: serde_json::from_value(definition).unwrap(),
        up: true,
        containers: Vec::new(),
    }
}

fn join(network: &mut Description, id: &str, alias: Option<&str>, last: u8) {
    let [a, b, c, _] = network.definition.ipv4.gateway.octets();
    let names = [Some(id), alias].into_iter().flatten().map(str::to_owned);
    network.containers.push(Member {
        container: id.to_owned(),
        names: names.collect(),
        address: [a, b, c, last].into(),
        address6: None,
        mac: "02:00:00:00:00:01".parse().unwrap(),
        interface: "eth0".to_owned(),
        host_interface: "mr0".to_owned(),
        ports: Vec::new(),
        process: None,
        stale: false,
        unready: false,
        traffic: None,
    });
}

fn publish(network: &mut Description, at: Option<&str>, host: u16, container: u16) {
    network.containers.last_mut().unwrap().ports.push(Port {
        address: at.map(|at| at.parse().unwrap()),
        host,
        container,
        protocol: Protocol::Tcp,
    });
}

/// Frontend, backend, cache and database, in the order of the alphabet as they are listed.
fn shop() -> Vec<Description> {
    let mut backend = network(
        "backend",
        "172.21.0",
        &[
            ("api-gateway", "product-service", &["5000/tcp"]),
            ("api-gateway", "order-service", &["5000/tcp"]),
            ("*", "service-registry", &["8500/tcp"]),
        ],
    );
    let mut cache = network(
        "cache",
        "172.22.0",
        &[("product-service", "redis-cache", &["6379/tcp"])],
    );
    let mut database = network(
        "database",
        "172.23.0",
        &[("order-service", "postgres-db", &["5432/tcp"])],
    );
    let mut frontend = network(
        "frontend",
        "172.20.0",
        &[
            ("nginx-lb", "api-gateway", &["3000/tcp"]),
            ("*", "outside", &["80/tcp", "443/tcp", "53/udp"]),
        ],
    );
    frontend.definition.policy.egress = Stance::Deny;
    let limited = frontend.definition.policy.rules.first_mut().unwrap();
    limited.rate = Some("100/minute".parse().unwrap());
    limited.burst = Some(20);
    join(&mut frontend, "nginx-lb", None, 2);
    publish(&mut frontend, None, 8080, 80);
    join(&mut frontend, "api-gateway", None, 3);
    join(&mut backend, "api-gateway", None, 2);
    for (index, replica) in (3..).zip(["product-1", "product-2", "product-3"]) {
        join(&mut backend, replica, Some("product-service"), index);
        join(&mut cache, replica, Some("product-service"), index);
    }
    join(&mut backend, "order-service", None, 6);
    join(&mut backend, "service-registry", None, 7);
    join(&mut cache, "redis-cache", None, 2);
    join(&mut database, "order-service", None, 3);
    join(&mut database, "postgres-db", None, 2);
    vec![backend, cache, database, frontend]
}

/// What else there is: IPv6, networks without policy, rules between networks and for nobody, the dead, and crowds.
fn mixture() -> Vec<Description> {
    let mut plain = network("plain", "10.1.0", &[]);
    plain.definition.policy = Policy::default();
    plain.definition.internal = false;
    plain.definition.isolated = false;
    plain.definition.host_access = true;
    plain.definition.ipv6 =
        Some(serde_json::from_value(json!({"subnet": "fd00:1::/64", "gateway": "fd00:1::1"})).unwrap());
    for index in 2..11 {
        join(&mut plain, &format!("worker-{index}"), None, index);
        plain.containers.last_mut().unwrap().address6 = Some(format!("fd00:1::{index}").parse().unwrap());
    }
    plain.containers.last_mut().unwrap().stale = true;
    join(&mut plain, "web", None, 20);
    publish(&mut plain, Some("127.0.0.1"), 9000, 9000);
    publish(&mut plain, Some("::1"), 9001, 9001);
    publish(&mut plain, None, 80, 8080);
    let mut other = network(
        "other",
        "10.2.0",
        &[
            ("web", "store", &["all"]),
            ("nobody", "store", &["1/udp"]),
            ("store", "outside", &["123/udp"]),
        ],
    );
    other.definition.internal = false;
    other.definition.isolated = false;
    join(&mut other, "store", None, 2);
    let mut empty = network("empty", "10.3.0", &[]);
    empty.up = false;
    vec![empty, other, plain]
}

/// Compares with a golden file; `MINIRUN_GOLDEN=write` writes it.
#[track_caller]
fn assert_golden(name: &str, actual: &str) {
    let path = format!(
        "{}/src/net/watch/topology/golden/{name}",
        env!("CARGO_MANIFEST_DIR")
    );
    if std::env::var("MINIRUN_GOLDEN").is_ok_and(|what| what == "write") {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert!(expected == actual, "{path} differs from:\n{actual}");
}

fn assert_all_golden(name: &str, networks: &[Description]) {
    let topology = Topology::new(networks).counted(|network, rule| network.len() as u64 + rule as u64);
    assert_golden(&format!("{name}.txt"), &topology.text());
    assert_golden(&format!("{name}.dot"), &topology.dot());
    assert_golden(&format!("{name}.svg"), &topology.svg());
    assert_golden(&format!("{name}.json"), &format!("{:#}\n", json!(topology)));
}

#[test]
fn the_shop_is_drawn_from_the_outside_inwards() {
    assert_all_golden("shop", &shop());
}

#[test]
fn networks_without_policy_crowds_the_dead_and_rules_between_networks_are_drawn() {
    assert_all_golden("mixture", &mixture());
}

#[test]
fn no_networks_make_a_picture_too() {
    let topology = Topology::new(&[]);
    assert_eq!(topology.text(), "no networks\n");
    assert!(topology.svg().ends_with("</svg>\n"));
    assert!(topology.dot().ends_with("}\n"));
}

#[test]
fn names_cannot_break_out_of_the_drawing() {
    let mut network = network("n", "10.1.0", &[]);
    let evil = "</text><script>\"alert('&')\"\\\"]; x -> y\u{1b}[31m";
    join(&mut network, evil, None, 2);
    publish(&mut network, None, 1, 1);
    let topology = Topology::new(&[network]);
    let (svg, dot) = (topology.svg(), topology.dot());
    assert!(!svg.contains("<script") && !svg.contains('\u{1b}'), "{svg}");
    assert!(svg.contains("&lt;script&gt;"), "{svg}");
    assert!(dot.contains("\\\"alert('&')\\\"\\\\\\\"]; x"), "{dot}");
}

#[test]
fn every_number_of_containers_and_networks_can_be_drawn_without_overlap() {
    for count in [1u8, 2, 15, 16, 17, 40, 200] {
        let mut front = network("front", "10.1.0", &[("*", "c3", &["80/tcp"])]);
        let mut back = network("back", "10.2.0", &[("c2", "c5", &["1/tcp"])]);
        for index in 2..2 + count {
            join(&mut front, &format!("c{index}"), None, index);
            if index % 3 == 0 {
                publish(&mut front, None, 8000 + u16::from(index), 80);
            }
            if index % 5 == 0 {
                join(&mut back, &format!("c{index}"), None, index);
            }
        }
        let topology = Topology::new(&[front, back]);
        let drawing = layout::Drawing::new(&topology);
        let areas: Vec<_> = drawing.cards.iter().map(|card| card.area).collect();
        let apart = |a: &layout::Area, b: &layout::Area| {
            a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y
        };
        for (index, a) in areas.iter().enumerate() {
            assert!(a.x >= 0 && a.x + a.width <= drawing.width, "{count}: {a:?}");
            assert!(
                drawing
                    .lanes
                    .iter()
                    .any(|lane| { lane.area.y < a.y && a.y + a.height < lane.area.y + lane.area.height })
            );
            assert!(areas[index + 1..].iter().all(|b| apart(a, b)), "{count}: {a:?}");
        }
        let drawn: usize = topology
            .containers
            .iter()
            .map(|container| container.on.len())
            .sum();
        assert_eq!(areas.len(), drawn, "{count} containers");
    }
}
