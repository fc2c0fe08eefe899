//! Who may talk to whom: `minirun network policy`. The packets of every case, over both families and with spoofed
//! addresses, are in src/net/tests/firewall.rs.

use serde_json::Value;

use crate::harness::{Container, Host, Uplink};

fn server<'h>(host: &'h Host, name: &str, options: &[&str]) -> Container<'h> {
    host.container(name).serving().detached(options).listens()
}

#[track_caller]
fn policy(host: &Host, args: &str) {
    let args = ["network", "policy"].into_iter().chain(args.split(' '));
    host.minirun(args).succeeds();
}

#[track_caller]
fn rules(host: &Host, network: &str) -> Value {
    let args = ["network", "policy", "ls", network, "--format", "json"];
    host.minirun(args).succeeds().json()[0]["rules"].clone()
}

fn reaches(container: &Container<'_>, at: &str) -> bool {
    let url = format!("http://{at}/cgi-bin/who");
    container.exec(["timeout", "10", "wget", "-qO-", &url]).code == 0
}

#[test]
fn three_tiers_on_one_network_talk_as_the_policy_says() {
    let host = Host::new();
    let world = Uplink::of(&host);
    host.minirun(["network", "create", "shop"]).succeeds();
    policy(&host, "default shop within deny");
    let on = |name: &str| {
        let network = format!("shop:alias={name}");
        server(&host, name, &["--network", &network])
    };
    let (frontend, backend, database) = (on("frontend"), on("backend"), on("database"));
    let at = |container: &Container<'_>| format!("{}:8080", container.address());
    assert!(!reaches(&frontend, &at(&backend)), "nothing is allowed yet");

    policy(&host, "allow frontend backend 8080/tcp --network shop");
    policy(&host, "allow backend database 8080/tcp --network shop");
    assert!(reaches(&frontend, &at(&backend)) && reaches(&backend, &at(&database)));
    // By name too: the answers of DNS are not the network's.
    assert!(reaches(&frontend, "backend:8080"));
    assert!(!reaches(&frontend, &at(&database)) && !reaches(&database, &at(&backend)));
    assert!(reaches(&frontend, "192.0.2.2:8080"));
    policy(&host, "default shop egress deny");
    assert!(!reaches(&frontend, "192.0.2.2:8080"));
    policy(&host, "allow frontend outside 8080/tcp --network shop");
    assert!(reaches(&frontend, "192.0.2.2:8080") && !reaches(&backend, "192.0.2.2:8080"));
    assert_eq!(world.known_at(&at(&frontend)), None);

    let counted = rules(&host, "shop");
    assert_eq!(counted[2]["packets"], 1, "{counted}");
    policy(&host, "deny frontend backend --network shop");
    assert!(!reaches(&frontend, &at(&backend)) && reaches(&backend, &at(&database)));
    policy(&host, "default shop within allow");
    assert!(reaches(&frontend, &at(&backend)) && reaches(&database, &at(&backend)));
}

#[test]
fn a_rule_lets_one_container_reach_another_across_networks() {
    let host = Host::new();
    for network in ["front", "back"] {
        host.minirun(["network", "create", network]).succeeds();
    }
    let on =
        |name: &str, network: &str| server(&host, name, &["--network", &format!("{network}:alias={name}")]);
    let (web, spy) = (on("web", "front"), on("spy", "front"));
    let db = on("db", "back");
    let at = format!("{}:8080", db.address());
    assert!(!reaches(&web, &at));
    policy(&host, "allow web db 8080/tcp");
    assert!(reaches(&web, &at) && !reaches(&spy, &at));
    assert!(!reaches(&db, &format!("{}:8080", web.address())), "the other way");

    // The rule stands for whoever is called so.
    web.delete_force().succeeds();
    let web = on("web", "front");
    assert!(reaches(&web, &at));
    db.delete_force().succeeds();
    let db = on("db", "back");
    assert!(reaches(&web, &format!("{}:8080", db.address())));
}

#[test]
fn a_rate_holds_back_what_comes_too_fast() {
    let host = Host::new();
    host.minirun(["network", "create", "shop"]).succeeds();
    let on = |name: &str| server(&host, name, &["--network", &format!("shop:alias={name}")]);
    let (web, db) = (on("web"), on("db"));
    policy(
        &host,
        "allow web db 8080/tcp --network shop --rate 1/day --burst 2",
    );
    let at = format!("{}:8080", db.address());
    let reached: Vec<bool> = (0..4).map(|_| reaches(&web, &at)).collect();
    assert_eq!(reached, [true, true, false, false]);
    assert!(
        reaches(&db, &format!("{}:8080", web.address())),
        "no rule of this way"
    );
    let counted = rules(&host, "shop");
    assert_eq!(counted[0]["packets"], 2, "{counted}");
    assert!(counted[0]["over"].as_u64().unwrap() >= 2, "{counted}");
}
