//! Networks with IPv6 beside IPv4, and several networks of one container.

use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6, UdpSocket};
use std::os::fd::AsFd as _;

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use serde_json::json;

use super::sandbox::{Sandbox, call, inside, ip, namespace, outside, parse, request, sandbox, wait_until};
use crate::error::Kind;
use crate::net::kernel::namespace as net_namespace;
use crate::net::{Attached, attach, check, disconnect};

/// A network of both families.
fn define_both(host: &Sandbox) {
    host.define_more(
        "both",
        json!({
            "ipv4": {"subnet": "10.1.0.0/24", "gateway": "10.1.0.1"},
            "ipv6": {"subnet": "fd00:1::/64", "gateway": "fd00:1::1"},
        }),
    );
}

fn ipv6(on: &Attached) -> Ipv6Addr {
    on.address6.unwrap()
}

#[test]
fn containers_and_the_host_reach_each_other_over_both_families() {
    sandbox(|host| {
        define_both(host);
        let home = net_namespace::current().unwrap();
        let (web, db) = (namespace(), namespace());
        let web_on = host.attach("web", &web, &["both"]).unwrap().networks.remove(0);
        let db_on = host.attach("db", &db, &["both"]).unwrap().networks.remove(0);
        assert_eq!(
            (ipv6(&web_on), web_on.prefix6, web_on.gateway6),
            (
                "fd00:1::2".parse().unwrap(),
                Some(64),
                Some("fd00:1::1".parse().unwrap())
            )
        );
        assert_eq!(ipv6(&db_on), "fd00:1::3".parse::<Ipv6Addr>().unwrap());

        assert_eq!(call(&web, &db, db_on.address), IpAddr::V4(web_on.address));
        assert_eq!(call(&web, &db, ipv6(&db_on)), IpAddr::V6(ipv6(&web_on)));
        assert_eq!(
            call(&home, &db, ipv6(&db_on)),
            IpAddr::V6(db_on.gateway6.unwrap())
        );
        assert_eq!(
            host.leases("both"),
            ["10.1.0.2", "10.1.0.3", "fd00:1::2", "fd00:1::3"]
        );
        host.delete("web", web, &["both"]);
        assert_eq!(host.leases("both"), ["10.1.0.3", "fd00:1::3"]);
        host.delete("db", db, &["both"]);
        host.assert_nothing_left();
    });
}

#[test]
fn a_container_has_the_addresses_that_it_was_given_at_once_and_no_others() {
    sandbox(|host| {
        define_both(host);
        let web = namespace();
        host.attach("web", &web, &["both:ip6=fd00:1::77"]).unwrap();
        let (addresses, routes) = inside(&web, || {
            // Nobody is asked whether the link-local address is taken; the kernel says so in the background, a moment later.
            let detection = fs::read_to_string("/proc/sys/net/ipv6/conf/eth0/accept_dad").unwrap();
            assert_eq!(detection.trim(), "0");
            wait_until("the link-local address may be used", || {
                !ip("-6 -o addr show dev eth0 scope link").contains("tentative")
            });
            (ip("-6 -o addr show dev eth0"), ip("-6 route show default"))
        });
        let [global, local] = addresses.lines().collect::<Vec<_>>()[..] else {
            panic!("{addresses}")
        };
        assert!(global.contains("fd00:1::77/64 scope global nodad"), "{global}");
        assert!(local.contains("fe80::"), "{local}");
        assert!(routes.starts_with("default via fd00:1::1 dev eth0"), "{routes}");
        host.delete("web", web, &["both"]);
        host.assert_nothing_left();
    });
}

#[test]
fn forwarding_of_ipv6_is_for_networks_with_ipv6_and_leaves_what_listens_to_routers_listening() {
    sandbox(|host| {
        let read = |path: &str| fs::read_to_string(path).unwrap().trim().to_owned();
        let forwarding = || read("/proc/sys/net/ipv6/conf/all/forwarding");
        ip("link add uplink type veth peer name other");
        ip("link add deaf type veth peer name blind");
        fs::write("/proc/sys/net/ipv6/conf/deaf/accept_ra", "0").unwrap();

        let plain = namespace();
        host.attach("plain", &plain, &["default"]).unwrap();
        assert_eq!(forwarding(), "0");

        define_both(host);
        let web = namespace();
        host.attach("web", &web, &["both"]).unwrap();
        assert_eq!(forwarding(), "1");
        let accept_ra = |interface: &str| read(&format!("/proc/sys/net/ipv6/conf/{interface}/accept_ra"));
        assert_eq!(accept_ra("uplink"), "2");
        assert_eq!(accept_ra("deaf"), "0");
        assert_eq!(accept_ra("both"), "0");
        let record = fs::read_to_string(host.dirs.run.join(".host.json")).unwrap();
        for switch in [
            "net.ipv4.ip_forward",
            "net.ipv6.conf.all.forwarding",
            "net.ipv6.conf.uplink.accept_ra",
        ] {
            assert!(record.contains(switch), "{record}");
        }
        host.delete("plain", plain, &["default"]);
        host.delete("web", web, &["both"]);
        host.assert_nothing_left();
    });
}

#[test]
fn what_a_host_learned_from_a_router_outlives_its_becoming_a_router_itself() {
    sandbox(|host| {
        let world = outside();
        let local = |interface: &str| ip(&format!("-6 -o addr show dev {interface} scope link -tentative"));
        wait_until("both ends have addresses of the link", || {
            !local("uplink").is_empty() && inside(&world, || !local("eth0").is_empty())
        });
        let own = local("uplink");
        let own = own.split_whitespace().nth(3).unwrap().split('/').next().unwrap();
        let send = || {
            inside(&world, || {
                announce("2001:db8::".parse().unwrap(), own.parse().unwrap())
            })
        };
        let default = || ip("-6 route show default");
        send();
        wait_until("the host has a default route", || default().contains("proto ra"));
        define_both(host);
        let web = namespace();
        host.attach("web", &web, &["both"]).unwrap();
        assert!(default().contains("proto ra"), "{}", default());
        // And it would learn it again.
        ip("-6 route flush proto ra");
        send();
        wait_until("the host has a default route again", || {
            default().contains("proto ra")
        });
        host.delete("web", web, &["both"]);
        ip("link del uplink");
        host.assert_nothing_left();
    });
}

#[test]
fn a_wanted_ipv6_address_is_refused_with_its_reason() {
    sandbox(|host| {
        define_both(host);
        let (first, second) = (namespace(), namespace());
        host.attach("first", &first, &["both:ip6=fd00:1::77"]).unwrap();
        for (endpoint, kind, why) in [
            ("both:ip6=fd00:1::77", Kind::Exists, "taken by container first"),
            ("both:ip6=fd00:1::1", Kind::InvalidConfig, "gateway"),
            ("both:ip6=fd00:1::", Kind::InvalidConfig, "network address"),
            (
                "both:ip6=fd00:2::2",
                Kind::InvalidConfig,
                "outside its subnet fd00:1::/64",
            ),
            (
                "default:ip6=fd00::2",
                Kind::InvalidConfig,
                "the network has no IPv6",
            ),
        ] {
            let checked = check(&host.dirs, &parse(&[endpoint])).unwrap_err();
            let attached = host.attach("second", &second, &[endpoint]).unwrap_err();
            for error in [checked, attached] {
                assert_eq!(error.kind(), kind, "{error}");
                assert!(error.to_string().contains(why), "{error}");
            }
        }
        assert_eq!(host.leases("both"), ["10.1.0.2", "fd00:1::77"]);
        host.delete("first", first, &["both"]);
        host.assert_nothing_left();
    });
}

#[test]
fn an_internal_network_has_no_default_route_and_needs_no_forwarding() {
    sandbox(|host| {
        host.define_more(
            "inner",
            json!({
                "ipv4": {"subnet": "10.2.0.0/24", "gateway": "10.2.0.1"},
                "ipv6": {"subnet": "fd00:2::/64", "gateway": "fd00:2::1"},
                "internal": true,
            }),
        );
        fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        let (web, db) = (namespace(), namespace());
        let web_on = host.attach("web", &web, &["inner"]).unwrap().networks.remove(0);
        let db_on = host.attach("db", &db, &["inner"]).unwrap().networks.remove(0);
        assert_eq!(
            inside(&web, || ip("route show default") + &ip("-6 route show default")),
            ""
        );
        for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            let path = format!("/proc/sys/net/{switch}");
            assert_eq!(fs::read_to_string(path).unwrap(), "0\n", "{switch}");
        }
        assert_eq!(call(&web, &db, db_on.address), IpAddr::V4(web_on.address));
        assert_eq!(call(&web, &db, ipv6(&db_on)), IpAddr::V6(ipv6(&web_on)));
        host.delete("web", web, &["inner"]);
        host.delete("db", db, &["inner"]);
        host.assert_nothing_left();
    });
}

#[test]
fn the_default_route_follows_the_priority_when_a_container_joins_and_leaves_networks() {
    sandbox(|host| {
        define_both(host);
        host.define("front", "front", "10.3.0.0/24", "10.3.0.1");
        host.define("back", "back", "10.4.0.0/24", "10.4.0.1");
        let web = namespace();
        let routes = || {
            let text = inside(&web, || ip("route show default") + &ip("-6 route show default"));
            text.lines()
                .map(|line| line.split(' ').skip(2).take(3).collect::<Vec<_>>().join(" "))
                .collect::<Vec<_>>()
        };
        let mut on = host
            .attach("web", &web, &["both", "front:priority=1,interface=wan"])
            .unwrap()
            .networks;
        assert_eq!(on[0].interface, "eth0");
        assert_eq!(routes(), ["10.3.0.1 dev wan", "fd00:1::1 dev eth0"]);

        let endpoints = parse(&["back:priority=2"]);
        let mut joining = request("web", "", &web, &endpoints);
        joining.attached = &on;
        let more = attach(&host.dirs, &joining).unwrap().networks.remove(0);
        assert_eq!(more.interface, "eth1");
        assert_eq!(routes(), ["10.4.0.1 dev eth1", "fd00:1::1 dev eth0"]);

        disconnect(&host.dirs, "web", &more, web.as_fd(), &on).unwrap();
        assert_eq!(routes(), ["10.3.0.1 dev wan", "fd00:1::1 dev eth0"]);
        let front = on.remove(1);
        disconnect(&host.dirs, "web", &front, web.as_fd(), &on).unwrap();
        assert_eq!(routes(), ["10.1.0.1 dev eth0", "fd00:1::1 dev eth0"]);
        host.delete("web", web, &["both"]);
        host.assert_nothing_left();
    });
}

#[test]
fn a_subnet_of_ipv6_that_the_host_uses_is_refused_with_who_uses_it() {
    sandbox(|host| {
        define_both(host);
        ip("link add vpn type bridge");
        ip("addr add fd00:1::9/48 dev vpn nodad");
        ip("link set vpn up");
        let netns = namespace();
        let error = host.attach("c", &netns, &["both"]).unwrap_err();
        assert_eq!(error.kind(), Kind::Exists);
        assert!(
            error.to_string().contains("subnet fd00:1::/64 overlaps with")
                && error.to_string().contains("vpn"),
            "{error}"
        );
        ip("link del vpn");
        host.assert_nothing_left();
    });
}

#[test]
fn every_link_of_a_network_has_its_mtu() {
    sandbox(|host| {
        host.define_more(
            "small",
            json!({
                "ipv4": {"subnet": "10.5.0.0/24", "gateway": "10.5.0.1"},
                "ipv6": {"subnet": "fd00:5::/64", "gateway": "fd00:5::1"},
                "mtu": 1300,
            }),
        );
        let netns = namespace();
        let on = host.attach("c", &netns, &["small"]).unwrap().networks.remove(0);
        for interface in ["small", &on.host_interface] {
            assert!(
                ip(&format!("-o link show dev {interface}")).contains(" mtu 1300 "),
                "{interface}"
            );
        }
        assert!(inside(&netns, || ip("-o link show dev eth0")).contains(" mtu 1300 "));
        host.delete("c", netns, &["small"]);
        host.assert_nothing_left();
    });
}

#[test]
fn a_router_that_announces_itself_on_the_bridge_gives_nobody_an_address_or_a_route() {
    sandbox(|host| {
        define_both(host);
        let home = net_namespace::current().unwrap();
        let (web, rogue, naive) = (namespace(), namespace(), namespace());
        for (id, netns) in [("web", &web), ("rogue", &rogue), ("naive", &naive)] {
            host.attach(id, netns, &["both"]).unwrap();
        }
        // The proof that what is sent works: a container that asks for it gets it.
        for switch in ["accept_ra", "autoconf"] {
            inside(&naive, || {
                fs::write(format!("/proc/sys/net/ipv6/conf/eth0/{switch}"), "1").unwrap();
            });
        }
        let state = || ip("-6 -o addr") + &ip("-6 route");
        let before = (inside(&web, state), state());
        for (netns, interface) in [(&home, "both"), (&web, "eth0"), (&naive, "eth0")] {
            let local = inside(netns, || {
                ip(&format!("-6 -o addr show dev {interface} scope link"))
            });
            let local = local
                .split_whitespace()
                .nth(3)
                .unwrap()
                .split('/')
                .next()
                .unwrap();
            inside(&rogue, || {
                announce("fd00:bad::".parse().unwrap(), local.parse().unwrap())
            });
        }
        wait_until("the naive container believes the router", || {
            inside(&naive, state).contains("fd00:bad::")
        });
        assert_eq!((inside(&web, state), state()), before);
        for (id, netns) in [("web", web), ("rogue", rogue), ("naive", naive)] {
            host.delete(id, netns, &["both"]);
        }
        host.assert_nothing_left();
    });
}

/// Sends a router advertisement for a prefix through eth0 (RFC 4861, sections 4.2 and 4.6.2).
fn announce(prefix: Ipv6Addr, to: Ipv6Addr) {
    const EVERYTHING: [u8; 4] = [0xff; 4];
    let mut packet = vec![134, 0, 0, 0, 64, 0];
    packet.extend(1800_u16.to_be_bytes());
    packet.extend([0; 8]);
    packet.extend([3, 4, 64, 0xc0]);
    packet.extend([EVERYTHING, EVERYTHING, [0; 4]].concat());
    packet.extend(prefix.octets());
    // Advertisements that may have passed a router do not count.
    fs::write("/proc/sys/net/ipv6/conf/eth0/hop_limit", "255").unwrap();
    let socket = socket(
        AddressFamily::Inet6,
        SockType::Raw,
        SockFlag::empty(),
        SockProtocol::IcmpV6,
    )
    .unwrap();
    let index = ip("-o link show dev eth0")
        .split(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    // Any socket that sends datagrams will do as its face.
    let to = SocketAddrV6::new(to, 0, 0, index);
    UdpSocket::from(socket).send_to(&packet, to).unwrap();
}
