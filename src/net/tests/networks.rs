//! Networks made and removed.

use std::fs;
use std::sync::Barrier;
use std::thread;

use nix::sched::{CloneFlags, setns};

use super::sandbox::{Sandbox, ip, namespace, sandbox};
use crate::error::{Error, Kind};
use crate::net::{
    Definition, Wish, create, describe, kernel::namespace as net_namespace, list, prune, remove,
};

fn wish(name: &str, subnets: &[&str]) -> Wish {
    Wish {
        subnets: subnets.iter().map(|text| text.parse().unwrap()).collect(),
        ..Wish::new(name)
    }
}

fn make(host: &Sandbox, wish: Wish) -> Definition {
    create(&host.dirs, wish).unwrap()
}

#[track_caller]
fn says(error: &Error, kind: Kind, texts: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    for text in texts {
        assert!(error.to_string().contains(text), "{text:?} in {error}");
    }
}

fn definitions(host: &Sandbox) -> Vec<String> {
    crate::net::names(&host.dirs).unwrap()
}

#[test]
fn a_network_of_which_only_the_name_is_given_gets_the_rest() {
    sandbox(|host| {
        let shop = make(host, wish("shop", &[]));
        assert_eq!(shop.ipv4.subnet.to_string(), "10.186.0.0/24");
        assert_eq!(shop.ipv4.gateway.to_string(), "10.186.0.1");
        assert!(shop.auto && shop.isolated && !shop.internal && shop.ipv6.is_none());
        assert_eq!(shop.bridge, "mr-shop");
        assert!(shop.created.as_ref().unwrap().ends_with('Z'));
        let both = make(
            host,
            Wish {
                ipv6: true,
                ..Wish::new("both")
            },
        );
        assert_eq!(both.ipv4.subnet.to_string(), "10.186.1.0/24");
        let ipv6 = both.ipv6.unwrap();
        assert_eq!(ipv6.subnet.prefix_len(), 64);
        assert!(ipv6.subnet.to_string().starts_with("fd"), "{}", ipv6.subnet);

        let netns = namespace();
        let on = host.attach("web", &netns, &["both"]).unwrap().networks.remove(0);
        let described = describe(&host.dirs, "both").unwrap();
        assert!(described.up);
        assert_eq!(described.definition, both);
        let [member] = &described.containers[..] else {
            panic!("{described:?}")
        };
        assert_eq!(
            (
                &member.container[..],
                member.address,
                member.address6,
                member.stale
            ),
            ("web", on.address, on.address6, false)
        );
        host.delete("web", netns, &["both"]);
        host.assert_nothing_left();
    });
}

#[test]
fn a_network_is_made_as_it_is_wished_for() {
    sandbox(|host| {
        let made = make(
            host,
            Wish {
                gateways: vec!["10.1.0.254".parse().unwrap(), "fd00:1::ffff".parse().unwrap()],
                ranges: vec!["10.1.0.128/26".parse().unwrap()],
                internal: true,
                isolated: false,
                mtu: Some(1400),
                bridge: Some("br-mine".to_owned()),
                labels: [("tier".to_owned(), "back".to_owned())].into(),
                ..wish("shop", &["10.1.0.0/24", "fd00:1::/64"])
            },
        );
        let read = describe(&host.dirs, "shop").unwrap();
        assert_eq!(read.definition, made);
        assert!(!read.up && read.containers.is_empty());
        assert_eq!(made.ipv4.gateway.to_string(), "10.1.0.254");
        assert_eq!(made.ipv4.range.unwrap().to_string(), "10.1.0.128/26");
        assert_eq!(made.ipv6.unwrap().gateway.to_string(), "fd00:1::ffff");
        assert_eq!(
            (made.bridge.as_str(), made.mtu, made.auto),
            ("br-mine", Some(1400), false)
        );
    });
}

#[test]
fn a_wish_that_makes_no_sense_is_refused_by_the_name_of_its_field_and_nothing_is_left() {
    sandbox(|host| {
        let with = |change: fn(&mut Wish)| {
            let mut wish = wish("shop", &["10.1.0.0/24"]);
            change(&mut wish);
            wish
        };
        for (wish, texts) in [
            (wish("a/b", &[]), &["network: \"a/b\" is not a network name"][..]),
            (wish("none", &[]), &["\"none\"", "meaning of its own"]),
            (
                wish("shop", &["10.1.0.0/31"]),
                &["ipv4.subnet: 10.1.0.0/31", "no room"],
            ),
            (wish("shop", &["10.1.0.0/32"]), &["ipv4.subnet: 10.1.0.0/32"]),
            (wish("shop", &["fd00::/127"]), &["ipv6.subnet: fd00::/127"]),
            (wish("shop", &["fd00::/128"]), &["ipv6.subnet: fd00::/128"]),
            (wish("shop", &["127.0.0.0/24"]), &["ipv4.subnet: ", "loopback"]),
            (wish("shop", &["10.1.0.7/24"]), &["did you mean 10.1.0.0/24?"]),
            (
                wish("shop", &["10.1.0.0/24", "10.2.0.0/24"]),
                &["subnet: 2 are given for IPv4"],
            ),
            (
                with(|wish| wish.gateways = vec!["10.2.0.1".parse().unwrap()]),
                &["ipv4.gateway: 10.2.0.1 is not an address of a station in 10.1.0.0/24"],
            ),
            (
                with(|wish| wish.gateways = vec!["fd00::1".parse().unwrap()]),
                &["gateway: fd00::1 is given without the IPv6 subnet"],
            ),
            (
                with(|wish| wish.ranges = vec!["10.2.0.0/25".parse().unwrap()]),
                &["ipv4.range: 10.2.0.0/25 is not inside"],
            ),
            (with(|wish| wish.mtu = Some(60)), &["mtu: 60"]),
            (
                with(|wish| wish.bridge = Some("a/b".to_owned())),
                &["bridge: \"a/b\" is not an interface name"],
            ),
        ] {
            let error = create(&host.dirs, wish).unwrap_err();
            says(&error, Kind::InvalidConfig, texts);
        }
        assert_eq!(definitions(host), [""; 0]);
        assert!(!host.dirs.run.join("shop").exists());
    });
}

#[test]
fn what_is_taken_is_refused_with_who_has_it() {
    sandbox(|host| {
        make(host, wish("shop", &["10.1.0.0/24", "fd00:1::/64"]));
        ip("link add vpn type bridge");
        ip("addr add 10.8.0.9/16 dev vpn");
        ip("link set vpn up");
        ip("route add 10.9.0.0/16 dev vpn");
        let bridge = |name: &str| Wish {
            bridge: Some(name.to_owned()),
            ..wish("new", &["10.20.0.0/24"])
        };
        for (wish, texts) in [
            (wish("shop", &[]), &["network shop exists already"][..]),
            (
                wish("new", &["10.1.0.128/25"]),
                &["overlaps with network shop, which has 10.1.0.0/24"],
            ),
            (
                wish("new", &["fd00:1::/48"]),
                &["overlaps with network shop, which has fd00:1::/64"],
            ),
            (wish("new", &["10.8.1.0/24"]), &["10.8.0.9/16 of interface vpn"]),
            (
                wish("new", &["10.9.1.0/24"]),
                &["the route to 10.9.0.0/16 through interface vpn"],
            ),
            (
                bridge("mr-shop"),
                &["bridge: mr-shop is the bridge of network shop"],
            ),
            (bridge("vpn"), &["bridge: vpn is an interface of this host"]),
        ] {
            says(&create(&host.dirs, wish).unwrap_err(), Kind::Exists, texts);
        }
        assert_eq!(definitions(host), ["shop"]);
        ip("link del vpn");
    });
}

#[test]
fn a_network_is_removed_when_nobody_is_on_it_and_its_address_space_is_free_again() {
    sandbox(|host| {
        make(host, wish("shop", &["10.1.0.0/24"]));
        let containers: Vec<_> = (0..7).map(|_| namespace()).collect();
        for (i, netns) in containers.iter().enumerate() {
            host.attach(&format!("c{i}"), netns, &["shop"]).unwrap();
        }
        says(
            &remove(&host.dirs, "shop").unwrap_err(),
            Kind::WrongState,
            &["network shop is in use by c0, c1, c2, c3, c4 and 2 more"],
        );
        assert_eq!(prune(&host.dirs).unwrap(), [""; 0]);
        says(
            &remove(&host.dirs, "shpo").unwrap_err(),
            Kind::NotFound,
            &["did you mean \"shop\"?"],
        );
        says(
            &describe(&host.dirs, "shpo").unwrap_err(),
            Kind::NotFound,
            &["did you mean \"shop\"?"],
        );
        for (i, netns) in containers.into_iter().enumerate() {
            host.delete(&format!("c{i}"), netns, &["shop"]);
        }
        remove(&host.dirs, "shop").unwrap();
        assert_eq!(definitions(host), [""; 0]);
        assert!(!host.dirs.run.join("shop").exists());
        make(host, wish("other", &["10.1.0.0/24"]));
        host.assert_nothing_left();
    });
}

#[test]
fn a_network_whose_containers_crashed_is_removed_with_its_bridge() {
    sandbox(|host| {
        make(host, wish("shop", &[]));
        make(host, wish("used", &[]));
        let (crashed, alive) = (namespace(), namespace());
        host.attach("crashed", &crashed, &["shop"]).unwrap();
        host.attach("alive", &alive, &["used", "default"]).unwrap();
        drop(crashed);
        super::sandbox::wait_until("the link is gone", || {
            describe(&host.dirs, "shop").unwrap().containers[0].stale
        });
        assert_eq!(prune(&host.dirs).unwrap(), ["shop"]);
        assert!(!ip("-o link show type bridge").contains("mr-shop"));
        assert_eq!(definitions(host), ["default", "used"]);
        let names = |networks: Vec<crate::net::Description>| {
            let names = networks.into_iter().map(|network| network.definition.name);
            names.collect::<Vec<_>>()
        };
        assert_eq!(names(list(&host.dirs).unwrap()), ["default", "used"]);
        // Its container is deleted as if the network were still there.
        host.detach("crashed", &["shop"]);
        host.delete("alive", alive, &["used", "default"]);
        assert_eq!(prune(&host.dirs).unwrap(), ["used"]);
        host.assert_nothing_left();
    });
}

#[test]
fn containers_that_join_while_the_network_is_removed_are_on_it_or_refused() {
    sandbox(|host| {
        const COUNT: usize = 8;
        let home = net_namespace::current().unwrap();
        for round in 0..5 {
            make(host, wish("shop", &[]));
            let start = Barrier::new(COUNT + 1);
            let joined: usize = thread::scope(|scope| {
                let joining: Vec<_> = (0..COUNT)
                    .map(|i| {
                        let (start, home, host) = (&start, &home, &host);
                        scope.spawn(move || {
                            setns(home, CloneFlags::CLONE_NEWNET).unwrap();
                            let (id, netns) = (format!("c{round}-{i}"), namespace());
                            start.wait();
                            match host.attach(&id, &netns, &["shop"]) {
                                Ok(_) => {
                                    assert!(definitions(host).contains(&"shop".to_owned()));
                                    host.delete(&id, netns, &["shop"]);
                                    1
                                }
                                Err(error) => {
                                    says(&error, Kind::NotFound, &["\"shop\" does not exist"]);
                                    0
                                }
                            }
                        })
                    })
                    .collect();
                start.wait();
                while remove(&host.dirs, "shop").is_err() {
                    thread::yield_now();
                }
                joining.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            eprintln!("round {round}: {joined} of {COUNT} were faster");
            assert_eq!(definitions(host), [""; 0]);
            host.assert_nothing_left();
        }
    });
}

#[test]
fn a_definition_that_cannot_be_read_is_told_by_file_and_field() {
    sandbox(|host| {
        let write = |text: &str| {
            fs::create_dir_all(&host.dirs.lib).unwrap();
            fs::write(host.dirs.lib.join("shop.json"), text).unwrap();
        };
        let with = |ipv4: &str, more: &str| {
            write(&format!(
                r#"{{"name":"shop","driver":"bridge","bridge":"mr-shop","ipv4":{ipv4}{more}}}"#
            ));
        };
        let good = r#"{"subnet":"10.0.0.0/24","gateway":"10.0.0.1"}"#;
        for (ipv4, more, field) in [
            (
                r#"{"subnet":"10.0.0/24","gateway":"10.0.0.1"}"#,
                "",
                "ipv4.subnet: ",
            ),
            (
                r#"{"subnet":"10.0.0.0/24","gateway":"10.0.1"}"#,
                "",
                "ipv4.gateway: ",
            ),
            (
                r#"{"subnet":"10.0.0.0/24","gateway":"10.0.1.1"}"#,
                "",
                "ipv4.gateway: 10.0.1.1",
            ),
            (
                good,
                r#","ipv6":{"subnet":"10.0.0.0/24","gateway":"fd00::1"}"#,
                "ipv6.subnet: ",
            ),
            (good, r#","mtu":"big""#, "mtu: "),
            (
                good,
                r#","policy":{"rules":[{"from":"web","to":"db","ports":["80/icmp"]}]}"#,
                "policy.rules[0].ports[0]: protocol \"icmp\"",
            ),
            (good, r#","vlan":7"#, "unknown field `vlan`"),
        ] {
            with(ipv4, more);
            let error = describe(&host.dirs, "shop").unwrap_err();
            says(&error, Kind::InvalidConfig, &["shop.json: ", field]);
        }
    });
}

#[test]
fn reconcile_removes_what_killed_commands_were_writing() {
    sandbox(|host| {
        let web = namespace();
        host.attach("web", &web, &["default"]).unwrap();
        let halves = [
            host.dirs.lib.join("default.json.new"),
            host.dirs.run.join(".host.json.new"),
            host.dirs.network("default").join("firewall.json.new"),
            host.dirs.network("default").join("lease.new"),
        ];
        for half in &halves {
            std::fs::write(half, "{").unwrap();
        }
        crate::net::reconcile(&host.dirs).unwrap();
        for half in &halves {
            assert!(!half.exists(), "{}", half.display());
        }
        host.delete("web", web, &["default"]);
        host.assert_nothing_left();
    });
}
