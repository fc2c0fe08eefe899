//! Attach and detach against a real kernel, each test on a host of its own.

mod connections;
mod dual_stack;
mod firewall;
mod killed;
mod leases;
mod networks;
mod processes;
mod sandbox;

use std::fs;
use std::net::IpAddr;
use std::sync::Barrier;
use std::thread;

use nix::sched::{CloneFlags, setns};

use self::sandbox::{call, inside, ip, is_cut_off, namespace, outside, parse, request, run, sandbox, tables};
use crate::error::Kind;
use crate::net::kernel::namespace as net_namespace;
use crate::net::{attach, check, detach, hosts};

#[test]
fn containers_reach_each_other_the_host_and_the_outside_which_does_not_reach_them() {
    sandbox(|host| {
        let home = net_namespace::current().unwrap();
        let world = outside();
        let (web, db) = (namespace(), namespace());
        let web_on = host.attach("web", &web, &["default"]).unwrap().networks.remove(0);
        let db_on = host.attach("db", &db, &["default"]).unwrap().networks.remove(0);
        assert_ne!(web_on.address, db_on.address);

        assert_eq!(call(&web, &db, db_on.address), IpAddr::V4(web_on.address));
        assert_eq!(call(&home, &db, db_on.address), IpAddr::V4(db_on.gateway));
        assert!(is_cut_off(&web, &home, web_on.gateway), "the host's own services");
        let masqueraded = call(&web, &world, [192, 0, 2, 2]);
        assert_eq!(masqueraded, "192.0.2.1".parse::<IpAddr>().unwrap());

        inside(&world, || ip("route add 10.186.0.0/24 via 192.0.2.1"));
        assert!(is_cut_off(&world, &web, web_on.address), "a direct way in");

        host.delete("web", web, &["default"]);
        assert!(tables().contains("minirun"), "still in use by db");
        host.delete("db", db, &["default"]);
        ip("link del uplink");
        host.assert_nothing_left();
    });
}

#[test]
fn networks_are_isolated_from_each_other_and_the_first_has_the_default_route() {
    sandbox(|host| {
        host.define("front", "mrfront", "10.1.0.0/24", "10.1.0.1");
        host.define("back", "mrback", "10.2.0.0/24", "10.2.0.1");
        let (web, gateway, db) = (namespace(), namespace(), namespace());
        let web_on = host.attach("web", &web, &["front"]).unwrap();
        let gateway_on = host.attach("gateway", &gateway, &["front", "back"]).unwrap();
        let db_on = host.attach("db", &db, &["back"]).unwrap();
        let [front, back] = &gateway_on.networks[..] else {
            panic!("{gateway_on:?}")
        };
        assert_eq!(
            (front.interface.as_str(), back.interface.as_str()),
            ("eth0", "eth1")
        );
        let routes = inside(&gateway, || ip("route show default"));
        assert_eq!(routes.trim(), "default via 10.1.0.1 dev eth0");

        let (web_address, db_address) = (web_on.networks[0].address, db_on.networks[0].address);
        assert_eq!(call(&web, &gateway, front.address), IpAddr::V4(web_address));
        assert_eq!(call(&gateway, &db, db_address), IpAddr::V4(back.address));
        assert!(is_cut_off(&web, &db, db_address));
        assert!(is_cut_off(&db, &web, web_address));

        host.delete("web", web, &["front"]);
        host.delete("gateway", gateway, &["front", "back"]);
        let table = run("/usr/sbin/nft", "list table inet minirun");
        assert!(table.contains("mrback") && !table.contains("mrfront"), "{table}");
        host.delete("db", db, &["back"]);
        host.assert_nothing_left();
    });
}

#[test]
fn a_wanted_address_is_given_and_a_taken_one_is_refused_with_its_owners_name() {
    sandbox(|host| {
        let (first, second) = (namespace(), namespace());
        let on = host
            .attach("first", &first, &["default:ip=10.186.0.77,mac=02:00:00:00:00:07"])
            .unwrap();
        assert_eq!(on.networks[0].address.to_string(), "10.186.0.77");
        let eth0 = inside(&first, || {
            ip("-o addr show dev eth0") + &ip("-o link show dev eth0")
        });
        assert!(eth0.contains("10.186.0.77/24 brd 10.186.0.255"), "{eth0}");
        assert!(eth0.contains("02:00:00:00:00:07"), "{eth0}");

        for (endpoint, kind, why) in [
            ("default:ip=10.186.0.77", Kind::Exists, "taken by container first"),
            ("default:ip=10.186.0.1", Kind::InvalidConfig, "gateway"),
            ("default:ip=10.186.0.0", Kind::InvalidConfig, "network address"),
            ("default:ip=10.186.0.255", Kind::InvalidConfig, "broadcast"),
            (
                "default:ip=10.186.1.2",
                Kind::InvalidConfig,
                "outside its subnet 10.186.0.0/24",
            ),
            ("defualt", Kind::NotFound, "did you mean \"default\"?"),
        ] {
            let checked = check(&host.dirs, &parse(&[endpoint])).unwrap_err();
            let attached = host.attach("second", &second, &[endpoint]).unwrap_err();
            for error in [checked, attached] {
                assert_eq!(error.kind(), kind, "{error}");
                assert!(error.to_string().contains(why), "{error}");
            }
        }
        assert_eq!(host.leases("default"), ["10.186.0.77"]);
        assert_eq!(inside(&second, || ip("-o link show")).lines().count(), 1);
        host.delete("first", first, &["default"]);
        host.assert_nothing_left();
    });
}

#[test]
fn an_exhausted_range_is_an_error_until_a_container_has_gone_with_or_without_detach() {
    sandbox(|host| {
        host.define("tiny", "mrtiny", "10.9.0.0/29", "10.9.0.1");
        let containers: Vec<_> = (0..5).map(|_| namespace()).collect();
        for (i, netns) in containers.iter().enumerate() {
            host.attach(&format!("c{i}"), netns, &["tiny"]).unwrap();
        }
        let late = namespace();
        let error = host.attach("late", &late, &["tiny"]).unwrap_err();
        assert_eq!(error.kind(), Kind::Exists);
        assert!(
            error
                .to_string()
                .contains("no address left in 10.9.0.0/29: 5 containers"),
            "{error}"
        );
        assert_eq!(host.leases("tiny").len(), 5);

        // Crashed: its namespace goes, nobody detaches it.
        drop(containers);
        sandbox::wait_until("the namespaces are gone", || {
            ip("-o link show type veth").is_empty()
        });
        let on = host.attach("late", &late, &["tiny"]).unwrap();
        assert_eq!(on.networks[0].address.octets()[..3], [10, 9, 0]);

        for i in 0..5 {
            host.detach(&format!("c{i}"), &["tiny"]);
        }
        assert_eq!(
            host.leases("tiny"),
            [on.networks[0].address.to_string()],
            "detach of the dead took a living one's"
        );
        host.delete("late", late, &["tiny"]);
        host.assert_nothing_left();
    });
}

#[test]
fn a_hundred_containers_at_once_get_a_hundred_addresses_and_leave_nothing() {
    sandbox(|host| {
        const COUNT: usize = 100;
        let home = net_namespace::current().unwrap();
        let start = Barrier::new(COUNT);
        let attached: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..COUNT)
                .map(|i| {
                    let (start, home, host) = (&start, &home, &host);
                    scope.spawn(move || {
                        setns(home, CloneFlags::CLONE_NEWNET).unwrap();
                        let netns = namespace();
                        start.wait();
                        let on = host.attach(&format!("c{i}"), &netns, &["default"]).unwrap();
                        (netns, on.networks[0].clone())
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut addresses: Vec<_> = attached.iter().map(|(_, on)| on.address).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!((addresses.len(), host.leases("default").len()), (COUNT, COUNT));
        let (first, last) = (&attached[0], &attached[COUNT - 1]);
        assert_eq!(
            call(&first.0, &last.0, last.1.address),
            IpAddr::V4(first.1.address)
        );

        thread::scope(|scope| {
            for (i, (netns, _)) in attached.into_iter().enumerate() {
                let (start, home, host) = (&start, &home, &host);
                scope.spawn(move || {
                    setns(home, CloneFlags::CLONE_NEWNET).unwrap();
                    start.wait();
                    host.delete(&format!("c{i}"), netns, &["default"]);
                });
            }
        });
        host.assert_nothing_left();
    });
}

#[test]
fn when_the_second_network_fails_the_first_is_given_back() {
    sandbox(|host| {
        host.define("shop", "foreign", "10.3.0.0/24", "10.3.0.1");
        ip("link add foreign type veth peer name other");
        let netns = namespace();
        let error = host.attach("c", &netns, &["default", "shop"]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("foreign exists and was not made by minirun"),
            "{error}"
        );
        assert_eq!(inside(&netns, || ip("-o link show")).lines().count(), 1);
        host.assert_nothing_left();
    });
}

#[test]
fn a_bridge_that_somebody_else_made_is_neither_used_nor_deleted() {
    sandbox(|host| {
        host.define("shop", "br0", "10.3.0.0/24", "10.3.0.1");
        ip("link add br0 type bridge");
        let netns = namespace();
        for _ in 0..2 {
            let error = host.attach("c", &netns, &["shop"]).unwrap_err();
            assert!(
                error.to_string().contains("br0 exists and was not made"),
                "{error}"
            );
            host.detach("c", &["shop"]);
        }
        ip("link del br0");
        host.assert_nothing_left();
    });
}

#[test]
fn a_subnet_that_the_host_uses_is_refused_and_the_default_network_moves_away() {
    sandbox(|host| {
        let netns = namespace();
        host.attach("c", &netns, &["default"]).unwrap();
        host.detach("c", &["default"]);
        drop(netns);
        ip("link add vpn type veth peer name other");
        ip("link set vpn up");
        ip("link set other up");
        ip("addr add 10.186.0.9/16 dev vpn");
        host.define("shop", "mrshop", "10.186.3.0/24", "10.186.3.1");
        host.define("twin", "mrtwin", "172.30.0.0/16", "172.30.0.1");

        let netns = namespace();
        let error = host.attach("c", &netns, &["shop"]).unwrap_err();
        assert_eq!(error.kind(), Kind::Exists);
        assert!(
            error.to_string().contains("subnet 10.186.3.0/24 overlaps with"),
            "{error}"
        );
        assert!(error.to_string().contains("interface vpn"), "{error}");
        host.assert_nothing_left();

        let on = host.attach("c", &netns, &["default"]).unwrap();
        assert_eq!(on.networks[0].address.to_string(), "192.168.128.2");
        host.delete("c", netns, &["default"]);
        host.assert_nothing_left();
    });
}

#[test]
fn a_network_that_was_half_made_or_flushed_is_completed_by_the_next_attach() {
    sandbox(|host| {
        let (first, second, world) = (namespace(), namespace(), outside());
        host.attach("first", &first, &["default"]).unwrap();
        run("/usr/sbin/nft", "flush ruleset");
        let on = host.attach("second", &second, &["default"]).unwrap();
        let seen = call(&second, &world, [192, 0, 2, 2]);
        assert_eq!(seen, "192.0.2.1".parse::<IpAddr>().unwrap());
        assert_eq!(on.networks[0].address.to_string(), "10.186.0.3");
        host.delete("first", first, &["default"]);
        host.delete("second", second, &["default"]);

        // Killed after the bridge's creation.
        ip("link add minirun0 group 28018 type bridge");
        let third = namespace();
        let on = host
            .attach("third", &third, &["default"])
            .unwrap()
            .networks
            .remove(0);
        let home = net_namespace::current().unwrap();
        assert_eq!(call(&home, &third, on.address), IpAddr::V4(on.gateway));
        host.delete("third", third, &["default"]);
        ip("link del uplink");
        host.assert_nothing_left();
    });
}

#[test]
fn detach_of_an_attach_that_was_killed_finds_what_it_left() {
    sandbox(|host| {
        let (killed, alive) = (namespace(), namespace());
        host.attach("killed", &killed, &["default"]).unwrap();
        host.attach("alive", &alive, &["default"]).unwrap();
        host.delete("alive", alive, &["default"]);
        // Killed between the two names of the lease; and the one whose bridge nobody owns.
        fs::remove_file(host.dirs.run.join("default/leases/10.186.0.2")).unwrap();
        drop(killed);
        for _ in 0..2 {
            host.detach("killed", &["default"]);
            host.assert_nothing_left();
        }
        ip("link add minirun0 group 28018 type bridge");
        host.detach("killed", &["default", "never-heard-of"]);
        host.assert_nothing_left();
    });
}

#[test]
fn an_unreadable_lease_is_given_back_too() {
    sandbox(|host| {
        let netns = namespace();
        host.attach("c", &netns, &["default"]).unwrap();
        fs::write(host.dirs.run.join("default/containers/c"), "{").unwrap();
        host.delete("c", netns, &["default"]);
        host.assert_nothing_left();
    });
}

#[test]
fn there_is_no_ipv6_address_nobody_asked_for() {
    sandbox(|host| {
        let netns = namespace();
        let on = host.attach("c", &netns, &["default"]).unwrap().networks.remove(0);
        for interface in ["minirun0", &on.host_interface] {
            assert_eq!(ip(&format!("-6 -o addr show dev {interface}")), "");
        }
        assert_eq!(inside(&netns, || ip("-6 -o addr show dev eth0")), "");
        assert_eq!(
            fs::read_to_string(format!(
                "/proc/sys/net/ipv6/conf/{}/disable_ipv6",
                on.host_interface
            ))
            .unwrap(),
            "1\n"
        );
        host.delete("c", netns, &["default"]);
        host.assert_nothing_left();
    });
}

#[test]
fn hosts_names_the_container_itself_and_what_it_was_told() {
    sandbox(|host| {
        let web = namespace();
        let endpoints = parse(&["default"]);
        let on = attach(&host.dirs, &request("web-1", "web.example", &web, &endpoints)).unwrap();
        let further = [("192.0.2.7".parse().unwrap(), "legacy".to_owned())];
        let text = hosts("web.example", &on, &further);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "127.0.0.1\tlocalhost");
        assert_eq!(lines[2..], ["10.186.0.2\tweb.example web-1", "192.0.2.7\tlegacy"]);
        host.delete("web-1", web, &["default"]);
        host.assert_nothing_left();
    });
}

#[test]
fn forwarding_is_switched_on_once_and_recorded() {
    sandbox(|host| {
        const SWITCH: &str = "/proc/sys/net/ipv4/ip_forward";
        fs::write(SWITCH, "0").unwrap();
        let netns = namespace();
        host.attach("c", &netns, &["default"]).unwrap();
        assert_eq!(fs::read_to_string(SWITCH).unwrap(), "1\n");
        let record = fs::read_to_string(host.dirs.run.join(".host.json")).unwrap();
        assert!(record.contains("net.ipv4.ip_forward"), "{record}");
        host.delete("c", netns, &["default"]);
        assert_eq!(fs::read_to_string(SWITCH).unwrap(), "1\n");
        host.assert_nothing_left();
    });
}

#[test]
fn the_hosts_own_namespace_a_second_attach_and_a_bad_id_are_refused() {
    sandbox(|host| {
        let home = net_namespace::current().unwrap();
        let error = host.attach("c", &home, &["default"]).unwrap_err();
        assert!(
            error.to_string().contains("the host's network namespace"),
            "{error}"
        );
        let netns = namespace();
        host.attach("c", &netns, &["default"]).unwrap();
        let error = host.attach("c", &netns, &["default"]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("container c is on network default already"),
            "{error}"
        );
        for id in ["", ".", "..", "a/b"] {
            assert_eq!(
                host.attach(id, &netns, &["default"]).unwrap_err().kind(),
                Kind::InvalidConfig
            );
            assert_eq!(
                detach(&host.dirs, id, &[]).unwrap_err().kind(),
                Kind::InvalidConfig
            );
        }
        assert_eq!(host.leases("default"), ["10.186.0.2"]);
        host.delete("c", netns, &["default"]);
        host.assert_nothing_left();
    });
}

#[test]
fn a_network_in_use_is_these_elements_of_the_firewall_table() {
    sandbox(|host| {
        let netns = namespace();
        host.attach("c", &netns, &["default"]).unwrap();
        let table = run("/usr/sbin/nft", "list table inet minirun");
        let elements: Vec<_> = table
            .lines()
            .filter_map(|line| line.trim().strip_prefix("elements = "))
            .collect();
        let bridge = r#"{ "minirun0" }"#;
        let subnet = "{ 10.186.0.0/24 }";
        let behind = r#"{ "minirun0" . 10.186.0.0 }"#;
        let link = r#"{ "minirun0" . "minirun0" : accept }"#;
        assert_eq!(elements, [bridge, bridge, subnet, behind, link], "{table}");
        // Where bridged packets are shown to the firewall there is the short way as well.
        let tables = tables().replace("table netdev minirun/default\n", "");
        assert_eq!(tables, "table inet minirun\n");
        host.delete("c", netns, &["default"]);
        host.assert_nothing_left();
    });
}
