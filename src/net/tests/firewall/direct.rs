//! The short way inside a network's bridge, where bridged packets are shown to the firewall: it is there for what is
//! accepted anyhow, and nobody gets past anything through it.

use super::*;
use crate::net::amend;
use crate::net::policy::Stance;

/// Whether bridged packets can be shown to the firewall here; where not, that is said past the test runner's capture.
fn has_switch() -> bool {
    let has = fs::exists("/proc/sys/net/bridge/bridge-nf-call-iptables").unwrap();
    if !has {
        let skipped = b"SKIPPED the short way inside a bridge: the kernel has no br_netfilter\n";
        std::io::Write::write_all(&mut std::io::stderr(), skipped).unwrap();
    }
    has
}

/// Counts the TCP packets that come to the chain `forward` from here on.
fn count_forwarded() {
    run(NFT, "insert rule inet minirun forward meta l4proto tcp counter");
}

fn forwarded() -> u64 {
    let listed = run(NFT, "list chain inet minirun forward");
    let (_, rest) = listed.split_once("counter packets ").unwrap();
    rest.split(' ').next().unwrap().parse().unwrap()
}

/// The Ethernet addresses that are led to links of the network.
fn stations(network: &str) -> usize {
    let listed = run(NFT, &format!("list map netdev minirun/{network} stations"));
    listed.matches(" : \"mr").count()
}

fn has_short_way(network: &str) -> bool {
    run(NFT, "list tables").contains(&format!("netdev minirun/{network}\n"))
}

#[test]
fn packets_between_containers_of_one_network_do_not_come_to_the_firewall_that_would_accept_them() {
    sandbox(|host| {
        if !has_switch() {
            return;
        }
        show_bridged_packets(true);
        host.network("front", 1, json!({}));
        host.network("tools", 2, json!({}));
        let (web, on) = host.container("web", &["front"]);
        let (peer, _) = host.container("peer", &["front"]);
        let (other, _) = host.container("other", &["tools"]);
        let serving = server(&web, 80);
        count_forwarded();
        assert!(is_reached(&peer, on.address, 80));
        assert!(is_reached(&peer, on.address6.unwrap(), 80));
        assert_eq!(forwarded(), 0);
        // Each network's containers have their own alone.
        assert_eq!((stations("front"), stations("tools")), (2, 1));
        assert!(!is_reached(&other, on.address, 80) && forwarded() > 0);
        // What the bridge's address answers in somebody's place is followed as before.
        host.publish("front", "web", &[(None, 8080, 80, TCP)]);
        assert_eq!(seen(&peer, v4("10.1.0.1"), 8080), Some(v4("10.1.0.1")));
        assert_eq!(seen(&web, v4("10.1.0.1"), 8080), Some(v4("10.1.0.1")));

        host.delete("peer", peer, &["front"]);
        assert_eq!(stations("front"), 1);
        drop(serving);
        host.delete("web", web, &["front"]);
        host.delete("other", other, &["tools"]);
        host.assert_nothing_left();
    });
}

#[test]
fn nobody_has_the_short_way_with_an_address_of_another_subnet() {
    sandbox(|host| {
        if !has_switch() {
            return;
        }
        show_bridged_packets(true);
        host.network("front", 1, json!({}));
        let (web, _) = host.container("web", &["front"]);
        let (thief, _) = host.container("thief", &["front"]);
        let server = inside(&web, || UdpSocket::bind("10.1.0.2:7000").unwrap());
        server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let [stranger, own] = ["192.0.2.77", "10.1.0.3"].map(|address| {
            inside(&thief, || {
                if address != "10.1.0.3" {
                    ip(&format!("addr add {address}/32 dev eth0"));
                }
                UdpSocket::bind((address, 7001)).unwrap()
            })
        });
        stranger.send_to(b"false", "10.1.0.2:7000").unwrap();
        own.send_to(b"true", "10.1.0.2:7000").unwrap();
        let mut buffer = [0; 16];
        let (length, _) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"true");
        drop((server, stranger, own));
        host.delete("web", web, &["front"]);
        host.delete("thief", thief, &["front"]);
        host.assert_nothing_left();
    });
}

#[test]
fn a_policy_takes_the_short_way_away_and_its_end_brings_it_back() {
    sandbox(|host| {
        if !has_switch() {
            return;
        }
        show_bridged_packets(true);
        host.network("front", 1, json!({}));
        let (web, on) = host.container("web", &["front"]);
        let (peer, _) = host.container("peer", &["front"]);
        let serving = server(&web, 80);
        assert!(is_reached(&peer, on.address, 80) && has_short_way("front"));
        let within = |stance| {
            amend::amend(&host.dirs, "front", |definition| {
                definition.policy.within = stance;
                Ok(())
            })
            .unwrap();
        };
        within(Stance::Deny);
        assert!(!has_short_way("front"));
        assert!(!is_reached(&peer, on.address, 80));
        // A container that comes later has none either.
        let (late, _) = host.container("late", &["front"]);
        assert!(!has_short_way("front") && !is_reached(&late, on.address, 80));
        within(Stance::Allow);
        assert_eq!(stations("front"), 3);
        assert!(is_reached(&peer, on.address, 80) && is_reached(&late, on.address, 80));
        drop(serving);
        for (id, netns) in [("web", web), ("peer", peer), ("late", late)] {
            host.delete(id, netns, &["front"]);
        }
        host.assert_nothing_left();
    });
}

#[test]
fn where_others_look_at_bridged_packets_they_see_them() {
    sandbox(|host| {
        if !has_switch() {
            return;
        }
        show_bridged_packets(true);
        host.network("front", 1, json!({}));
        let (web, on) = host.container("web", &["front"]);
        let (peer, _) = host.container("peer", &["front"]);
        let serving = server(&web, 80);
        let reached = || is_reached(&peer, on.address, 80);
        for (family, hook) in [("inet", "forward"), ("ip", "prerouting"), ("bridge", "forward")] {
            assert!(reached() && !host.adapt(), "before {family} {hook}");
            run(NFT, &format!("add table {family} theirs"));
            let chain = format!("add chain {family} theirs theirs {{ type filter hook {hook} priority 0; }}");
            run(NFT, &chain);
            run(NFT, &format!("add rule {family} theirs theirs tcp dport 80 drop"));
            assert!(host.adapt() && !has_short_way("front"));
            assert!(!reached(), "{family} {hook} is led around");
            run(NFT, &format!("delete table {family} theirs"));
            assert!(host.adapt() && !host.adapt());
            assert_eq!(stations("front"), 2);
        }
        // The host's switches as well, and a table that lost what was in it.
        show_bridged_packets(false);
        assert!(host.adapt() && !has_short_way("front") && !host.adapt());
        show_bridged_packets(true);
        assert!(host.adapt());
        run(NFT, "flush map netdev minirun/front stations");
        assert!(host.adapt() && !host.adapt());
        run(NFT, "flush ruleset");
        host.replace();
        assert!(stations("front") == 2 && reached());
        drop(serving);
        host.delete("web", web, &["front"]);
        host.delete("peer", peer, &["front"]);
        host.assert_nothing_left();
    });
}
