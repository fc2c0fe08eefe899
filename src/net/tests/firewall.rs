//! Packets through the firewall: published ports, policies, guards; and what becomes of the tables.

mod direct;
mod spoofing;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::socket::{Shutdown, setsockopt, shutdown, sockopt};
use serde_json::json;

use super::sandbox::{Sandbox, inside, ip, namespace, outside, run, sandbox};
use crate::net::address::lease::Leases;
use crate::net::definition::Definition;
use crate::net::kernel::link::Host;
use crate::net::kernel::namespace as net_namespace;
use crate::net::{Attached, Port, Protocol, firewall};

const NFT: &str = "/usr/sbin/nft";

/// A TCP server that tells everybody under which address it sees them, until it is dropped. While it serves, it keeps its
/// network namespace.
struct Server {
    listener: Arc<TcpListener>,
    thread: Option<JoinHandle<()>>,
}

fn server(on: &File, port: u16) -> Server {
    let listener = inside(on, || TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap());
    let listener = Arc::new(listener);
    let accepting = Arc::clone(&listener);
    let thread = thread::spawn(move || {
        while let Ok((mut client, from)) = accepting.accept() {
            let _ = client.write_all(from.ip().to_canonical().to_string().as_bytes());
        }
    });
    Server {
        listener,
        thread: Some(thread),
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        shutdown(self.listener.as_raw_fd(), Shutdown::Both).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// As whom a server behind this address sees a client in `from`; `None` when it is not reached.
fn seen(from: &File, address: impl Into<IpAddr>, port: u16) -> Option<IpAddr> {
    let target = SocketAddr::new(address.into(), port);
    let mut client = inside(from, || {
        TcpStream::connect_timeout(&target, Duration::from_millis(1500))
    })
    .ok()?;
    // Reset rather than closed: what waits for a last answer, on a link that goes down meanwhile, keeps its namespace.
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&client, sockopt::Linger, &linger).unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).ok()?;
    text.parse().ok()
}

fn is_reached(from: &File, address: impl Into<IpAddr>, port: u16) -> bool {
    seen(from, address, port).is_some()
}

fn v4(text: &str) -> IpAddr {
    text.parse::<Ipv4Addr>().unwrap().into()
}

fn v6(text: &str) -> IpAddr {
    text.parse::<Ipv6Addr>().unwrap().into()
}

impl Sandbox {
    /// A network of both families, 10.N.0.0/24 and fd00:N::/64, with further fields.
    fn network(&self, name: &str, number: u8, fields: serde_json::Value) {
        let mut all = json!({
            "ipv4": {"subnet": format!("10.{number}.0.0/24"), "gateway": format!("10.{number}.0.1")},
            "ipv6": {"subnet": format!("fd00:{number}::/64"), "gateway": format!("fd00:{number}::1")},
        });
        let more = fields.as_object().unwrap().clone();
        all.as_object_mut().unwrap().extend(more);
        self.define_more(name, all);
    }

    fn container(&self, id: &str, networks: &[&str]) -> (File, Attached) {
        let netns = namespace();
        let attachment = self.attach(id, &netns, networks).unwrap();
        (netns, attachment.networks.into_iter().next().unwrap())
    }

    /// Publishes ports of a container that is there, as attach does.
    fn publish(&self, network: &str, id: &str, ports: &[(Option<&str>, u16, u16, Protocol)]) {
        let definition = Definition::load(&self.dirs, network).unwrap().unwrap();
        let leases = Leases::new(network, self.dirs.run.join(network));
        let mut lease = leases.of(id).unwrap().unwrap();
        let ports = ports.iter().map(|(address, host, container, protocol)| Port {
            address: address.map(|address| address.parse().unwrap()),
            host: *host,
            container: *container,
            protocol: *protocol,
        });
        lease.ports = ports.collect();
        let path = self.dirs.run.join(network).join("containers").join(id);
        fs::write(path, serde_json::to_vec(&lease).unwrap()).unwrap();
        firewall::admit(&self.dirs, &definition, &lease).unwrap();
    }

    /// Makes the tables anew.
    fn replace(&self) {
        let mut host = Host::open().unwrap();
        let path = self.dirs.run.join(".lock");
        let lock = crate::net::file::lock(&path).unwrap();
        firewall::replace(&self.dirs, &mut host, &lock).unwrap();
    }

    /// Brings networks to what the host is now; whether there was anything to do.
    fn adapt(&self) -> bool {
        let lock = crate::net::file::lock(&self.dirs.run.join(".lock")).unwrap();
        let done = firewall::adapt(&self.dirs, &mut Host::open().unwrap(), &lock).unwrap();
        !done.is_empty()
    }

    fn is_intact(&self) -> bool {
        firewall::is_intact(&self.dirs, &mut Host::open().unwrap()).unwrap()
    }
}

/// Whether bridged packets go through the firewall by the host's own switch, as they do where Docker has been.
fn show_bridged_packets(on: bool) {
    for switch in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"] {
        let path = format!("/proc/sys/net/bridge/{switch}");
        // Without the module they are not shown.
        let _ = fs::write(path, if on { "1" } else { "0" });
    }
}

/// The outside of both families, with a way back to our networks that nobody should have.
fn world() -> File {
    let world = outside();
    ip("addr add fd99::1/64 dev uplink nodad");
    inside(&world, || {
        ip("addr add fd99::2/64 dev eth0 nodad");
        ip("route add 10.0.0.0/8 via 192.0.2.1");
        ip("route add fd00::/16 via fd99::1");
    });
    world
}

fn listing(table: &str) -> Vec<String> {
    let text = run(NFT, &format!("list table {table}"));
    // Elements of hashes come in any order.
    let mut words: Vec<String> = text
        .split([',', '\n'])
        .map(|word| word.trim().to_owned())
        .collect();
    for word in &mut words {
        *word = word
            .trim_start_matches("elements = {")
            .trim_matches(['{', '}', ' '])
            .to_owned();
    }
    words.sort();
    words
}

const TCP: Protocol = Protocol::Tcp;

#[test]
fn a_published_port_is_reached_from_everywhere_but_internal_networks() {
    for bridged in [false, true] {
        sandbox(move |host| {
            show_bridged_packets(bridged);
            let home = net_namespace::current().unwrap();
            let world = world();
            host.network("front", 1, json!({}));
            host.network("back", 2, json!({}));
            host.network("vault", 3, json!({"internal": true}));
            let (web, web_on) = host.container("web", &["front"]);
            let (peer, peer_on) = host.container("peer", &["front"]);
            let (other, other_on) = host.container("other", &["back"]);
            let (secret, _) = host.container("secret", &["vault"]);
            let serving = server(&web, 80);
            host.publish("front", "web", &[(None, 8080, 80, TCP)]);

            for address in [v4("192.0.2.1"), v6("fd99::1")] {
                let seen_as = if address.is_ipv4() {
                    v4("192.0.2.2")
                } else {
                    v6("fd99::2")
                };
                assert_eq!(seen(&world, address, 8080), Some(seen_as), "from outside");
                assert!(is_reached(&home, address, 8080), "from the host itself");
                assert!(is_reached(&peer, address, 8080), "from the same network");
                assert!(is_reached(&web, address, 8080), "from itself");
                let from = match address.is_ipv4() {
                    true => IpAddr::V4(other_on.address),
                    false => IpAddr::V6(other_on.address6.unwrap()),
                };
                assert_eq!(seen(&other, address, 8080), Some(from), "from another network");
                assert!(!is_reached(&secret, address, 8080), "from an internal network");
            }
            for gateway in [v4("10.1.0.1"), v6("fd00:1::1")] {
                assert!(is_reached(&peer, gateway, 8080));
                assert!(is_reached(&web, gateway, 8080), "by hairpin");
            }
            assert_eq!(seen(&home, v4("127.0.0.1"), 8080), Some(v4("10.1.0.1")));
            // Bridged packets and ::1 do not go together; then clients are refused and try 127.0.0.1.
            assert_eq!(is_reached(&home, v6("::1"), 8080), !bridged);

            // Neither its neighbours nor the outside have another way in.
            for (address, port) in [
                (IpAddr::V4(web_on.address), 80),
                (web_on.address6.unwrap().into(), 80),
            ] {
                assert!(is_reached(&peer, address, port));
                assert!(!is_reached(&other, address, port), "past isolation");
                assert!(
                    !is_reached(&world, address, port),
                    "routed past the published port"
                );
            }
            assert_eq!(peer_on.ports, []);
            drop(serving);
            host.delete("web", web, &["front"]);
            assert!(
                !is_reached(&world, v4("192.0.2.1"), 8080),
                "after it was taken back"
            );
            host.delete("peer", peer, &["front"]);
            host.delete("other", other, &["back"]);
            host.delete("secret", secret, &["vault"]);
            ip("link del uplink");
            host.assert_nothing_left();
        });
    }
}

#[test]
fn a_port_published_on_localhost_is_the_hosts_alone() {
    sandbox(|host| {
        show_bridged_packets(false);
        let home = net_namespace::current().unwrap();
        let world = world();
        host.network("front", 1, json!({}));
        let (web, _) = host.container("web", &["front"]);
        let (peer, _) = host.container("peer", &["front"]);
        let serving = server(&web, 80);
        let ports = [(Some("127.0.0.1"), 8080, 80, TCP), (Some("::1"), 8081, 80, TCP)];
        host.publish("front", "web", &ports);
        assert!(is_reached(&home, v4("127.0.0.1"), 8080));
        assert!(is_reached(&home, v6("::1"), 8081));
        for address in ["192.0.2.1", "10.1.0.1"] {
            assert!(!is_reached(&home, v4(address), 8080));
            assert!(!is_reached(&world, v4(address), 8080));
            assert!(!is_reached(&peer, v4(address), 8080));
        }
        // A neighbour who sends packets for 127.0.0.1 our way, and a host that would take them.
        fs::write("/proc/sys/net/ipv4/conf/uplink/route_localnet", "1").unwrap();
        for neighbour in [&world, &peer] {
            inside(neighbour, || {
                fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
                ip("addr del 127.0.0.1/8 dev lo");
                ip("route replace 127.0.0.1 dev eth0 via inet 10.1.0.1 onlink");
            });
        }
        inside(&world, || {
            ip("route replace 127.0.0.1 via 192.0.2.1 src 192.0.2.2")
        });
        assert!(!is_reached(&world, v4("127.0.0.1"), 8080));
        assert!(!is_reached(&peer, v4("127.0.0.1"), 8080));
        drop(serving);
        host.delete("web", web, &["front"]);
        host.delete("peer", peer, &["front"]);
        ip("link del uplink");
        host.assert_nothing_left();
    });
}

#[test]
fn udp_is_published_too_and_forgotten_with_the_port() {
    sandbox(|host| {
        let world = world();
        host.network("front", 1, json!({}));
        let (web, web_on) = host.container("web", &["front"]);
        let socket = inside(&web, || UdpSocket::bind((web_on.address, 53)).unwrap());
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        host.publish("front", "web", &[(None, 5353, 53, Protocol::Udp)]);
        let client = inside(&world, || UdpSocket::bind("192.0.2.2:0").unwrap());
        client.connect("192.0.2.1:5353").unwrap();
        let mut buffer = [0; 16];
        client.send(b"one").unwrap();
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from.ip()), (&b"one"[..], v4("192.0.2.2")));
        socket.send_to(b"two", from).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(client.recv(&mut buffer).unwrap(), 3);
        let tracked = || {
            crate::net::kernel::conntrack::dump()
                .unwrap()
                .iter()
                .filter(|entry| entry.original.destination_port == 5353)
                .count()
        };
        assert_eq!(tracked(), 1);
        drop(socket);
        host.detach("web", &["front"]);
        assert_eq!(
            tracked(),
            0,
            "the client would go on talking to the container's old address"
        );
        drop(web);
        ip("link del uplink");
        host.assert_nothing_left();
    });
}

#[test]
fn containers_speak_from_their_own_addresses_and_to_the_host_only_when_it_says_so() {
    sandbox(|host| {
        let home = net_namespace::current().unwrap();
        let world = world();
        host.network("front", 1, json!({}));
        host.network("tools", 2, json!({"hostAccess": true}));
        let (web, _) = host.container("web", &["front"]);
        let (tool, _) = host.container("tool", &["tools"]);
        let _service = server(&home, 9000);
        for (address, tools) in [
            (v4("10.1.0.1"), v4("10.2.0.1")),
            (v6("fd00:1::1"), v6("fd00:2::1")),
        ] {
            assert!(!is_reached(&web, address, 9000));
            assert!(is_reached(&tool, tools, 9000));
        }
        assert!(!is_reached(&web, v4("192.0.2.1"), 9000));
        assert!(is_reached(&world, v4("192.0.2.1"), 9000), "not ours to forbid");

        // Spoofed sources arrive nowhere: another network's, and ours from outside.
        let receiver = inside(&world, || UdpSocket::bind("192.0.2.2:7000").unwrap());
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        inside(&web, || ip("addr add 10.2.0.99/32 dev eth0"));
        let spoofed = inside(&web, || UdpSocket::bind("10.2.0.99:0").unwrap());
        spoofed.send_to(b"spoofed", "192.0.2.2:7000").unwrap();
        let honest = inside(&web, || UdpSocket::bind("10.1.0.2:0").unwrap());
        honest.send_to(b"honest", "192.0.2.2:7000").unwrap();
        let mut buffer = [0; 16];
        drop((spoofed, honest));
        let length = receiver.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"honest");

        let service = UdpSocket::bind("192.0.2.1:7001").unwrap();
        service.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        inside(&world, || ip("addr add 10.1.0.99/32 dev lo"));
        let spoofed = inside(&world, || UdpSocket::bind("10.1.0.99:0").unwrap());
        spoofed.send_to(b"spoofed", "192.0.2.1:7001").unwrap();
        let honest = inside(&world, || UdpSocket::bind("192.0.2.2:0").unwrap());
        honest.send_to(b"honest", "192.0.2.1:7001").unwrap();
        let length = service.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"honest");

        host.delete("web", web, &["front"]);
        host.delete("tool", tool, &["tools"]);
        ip("link del uplink");
        host.assert_nothing_left();
    });
}

#[test]
fn tiers_talk_as_the_policy_says_and_no_other_way() {
    for (bridged, one_network) in [(false, true), (true, true), (false, false)] {
        sandbox(move |host| {
            show_bridged_packets(bridged);
            let world = world();
            // Three tiers on one bridge, or on a bridge each.
            let rule = |from: &str, to: &str, ports: &str| json!({"from": from, "to": to, "ports": [ports]});
            let deny = |rules: &[serde_json::Value]| json!({"policy": {"within": "deny", "rules": rules}});
            let backend = rule("frontend", "backend", "80/tcp");
            let database = rule("backend", "database", "5432-5433/tcp");
            let networks = match one_network {
                true => {
                    host.network("shop", 1, deny(&[backend, database]));
                    ["shop"; 3]
                }
                false => {
                    host.network("front", 1, json!({}));
                    host.network("back", 2, deny(&[backend]));
                    host.network(
                        "data",
                        3,
                        json!({"policy": {"egress": "deny", "rules": [database]}}),
                    );
                    ["front", "back", "data"]
                }
            };
            // The last tier first: a policy finds who comes later, and who was there before.
            let (database, database_on) = host.container("database", &[networks[2]]);
            let (frontend, frontend_on) = host.container("frontend", &[networks[0]]);
            let (backend, backend_on) = host.container("backend", &[networks[1]]);
            let serving = [
                server(&frontend, 80),
                server(&backend, 80),
                server(&backend, 81),
                server(&database, 5433),
                server(&database, 22),
                server(&world, 80),
            ];
            let both = |on: &Attached| [IpAddr::V4(on.address), on.address6.unwrap().into()];
            for family in 0..2 {
                let frontend_at = both(&frontend_on)[family];
                let backend_at = both(&backend_on)[family];
                let database_at = both(&database_on)[family];
                assert_eq!(seen(&frontend, backend_at, 80), Some(frontend_at));
                assert_eq!(seen(&backend, database_at, 5433), Some(backend_at));
                assert!(!is_reached(&frontend, backend_at, 81), "another port");
                assert!(!is_reached(&frontend, database_at, 5433), "past a tier");
                assert!(!is_reached(&backend, database_at, 22));
                assert!(!is_reached(&backend, frontend_at, 80), "the other way");
                assert!(!is_reached(&database, backend_at, 80));
                for at in [frontend_at, backend_at, database_at] {
                    assert!(!is_reached(&world, at, 80), "from outside");
                }
            }
            assert!(is_reached(&frontend, v4("192.0.2.2"), 80));
            assert_eq!(is_reached(&database, v4("192.0.2.2"), 80), one_network, "egress");

            let counters = firewall::counters(&host.dirs).unwrap();
            assert_eq!(counters.of(networks[1], 0).allowed.packets, 2, "{counters:?}");
            let refused = |from: &Attached, to: &Attached, port| {
                counters.refused.iter().any(|refused| {
                    (refused.from, refused.to, refused.port) == (both(from)[0], both(to)[0], port)
                })
            };
            assert!(refused(&frontend_on, &database_on, 5433), "{counters:?}");

            drop(serving);
            // A new container behind an old name, and the old one's permission gone with it.
            host.delete("backend", backend, &[networks[1]]);
            let (stranger, stranger_on) = host.container("stranger", &[networks[1]]);
            let serving = server(&stranger, 80);
            assert!(!is_reached(&frontend, stranger_on.address, 80));
            drop(serving);
            let (again, again_on) = host.container("backend", &[networks[1]]);
            let serving = server(&again, 80);
            assert!(is_reached(&frontend, again_on.address, 80));
            drop(serving);
            assert!(host.is_intact());

            host.delete("again", again, &[]);
            host.detach("backend", &[networks[1]]);
            host.delete("stranger", stranger, &[networks[1]]);
            host.delete("frontend", frontend, &[networks[0]]);
            host.delete("database", database, &[networks[2]]);
            ip("link del uplink");
            host.assert_nothing_left();
        });
    }
}

#[test]
fn a_policy_holds_against_a_container_that_takes_anothers_address() {
    sandbox(|host| {
        show_bridged_packets(false);
        let rule = json!({"from": "friend", "to": "vault", "ports": ["all"]});
        host.network("shop", 1, json!({"policy": {"within": "deny", "rules": [rule]}}));
        let (friend, friend_on) = host.container("friend", &["shop"]);
        let (vault, vault_on) = host.container("vault", &["shop"]);
        let (thief, _) = host.container("thief", &["shop"]);
        let serving = server(&vault, 80);
        assert!(is_reached(&friend, vault_on.address, 80));
        assert!(is_reached(&friend, vault_on.address6.unwrap(), 80));
        assert!(!is_reached(&thief, vault_on.address, 80));
        // The friend is silent now; the thief has its addresses, even its Ethernet address.
        inside(&friend, || ip("link set eth0 down"));
        inside(&thief, || {
            ip("addr flush dev eth0");
            ip(&format!("addr add {}/24 dev eth0", friend_on.address));
            ip(&format!(
                "addr add {}/64 dev eth0 nodad",
                friend_on.address6.unwrap()
            ));
        });
        for mac in [None, Some(friend_on.mac)] {
            inside(&thief, || {
                if let Some(mac) = mac {
                    ip("link set eth0 down");
                    ip(&format!("link set eth0 address {mac}"));
                    ip("link set eth0 up");
                    ip(&format!(
                        "addr replace {}/64 dev eth0 nodad",
                        friend_on.address6.unwrap()
                    ));
                }
            });
            assert!(!is_reached(&thief, vault_on.address, 80), "{mac:?}");
            assert!(!is_reached(&thief, vault_on.address6.unwrap(), 80), "{mac:?}");
        }
        drop(serving);
        host.delete("friend", friend, &["shop"]);
        host.delete("vault", vault, &["shop"]);
        host.delete("thief", thief, &["shop"]);
        host.assert_nothing_left();
    });
}

#[test]
fn new_connections_beyond_a_rules_rate_are_refused() {
    sandbox(|host| {
        let world = world();
        let rules = json!([
            {"from": "web", "to": "db", "ports": ["80"], "rate": "1/day", "burst": 3},
            {"from": "*", "to": "outside", "ports": ["80"], "rate": "1/day", "burst": 2},
            {"from": "outside", "to": "db", "ports": ["80"], "rate": "1/day", "burst": 4},
        ]);
        host.network("shop", 1, json!({"policy": {"rules": rules}}));
        let (web, _) = host.container("web", &["shop"]);
        let (db, db_on) = host.container("db", &["shop"]);
        let serving = [server(&db, 80), server(&db, 81), server(&world, 80)];
        host.publish("shop", "db", &[(None, 8080, 80, TCP)]);
        let reached = |from: &File, at: IpAddr, port, times: usize| {
            (0..times).filter(|_| is_reached(from, at, port)).count()
        };
        let db_at = db_on.address.into();
        assert_eq!(reached(&web, db_at, 80, 5), 3);
        assert_eq!(reached(&web, db_at, 81, 5), 5, "another port");
        assert_eq!(reached(&web, v4("192.0.2.2"), 80, 4), 2);
        assert_eq!(reached(&world, v4("192.0.2.1"), 8080, 6), 4);
        let counters = firewall::counters(&host.dirs).unwrap();
        let seen = |rule| {
            let counters = counters.of("shop", rule);
            (counters.allowed.packets, counters.over.packets)
        };
        assert_eq!((seen(0), seen(1)), ((3, 2), (2, 2)));
        assert!(seen(2).1 >= 2, "{counters:?}");
        drop(serving);
        host.delete("web", web, &["shop"]);
        host.delete("db", db, &["shop"]);
        ip("link del uplink");
        host.assert_nothing_left();
    });
}

#[test]
fn networks_that_are_not_isolated_talk_with_each_other_and_with_no_others() {
    sandbox(|host| {
        host.network("one", 1, json!({"isolated": false}));
        host.network("two", 2, json!({"isolated": false}));
        host.network("three", 3, json!({}));
        let (a, a_on) = host.container("a", &["one"]);
        let (b, b_on) = host.container("b", &["two"]);
        let (c, c_on) = host.container("c", &["three"]);
        let serving = [server(&a, 80), server(&b, 80), server(&c, 80)];
        assert_eq!(seen(&a, b_on.address, 80), Some(a_on.address.into()));
        assert!(is_reached(&b, a_on.address6.unwrap(), 80));
        assert!(!is_reached(&a, c_on.address, 80) && !is_reached(&c, a_on.address, 80));
        drop(serving);
        host.delete("a", a, &["one"]);
        assert!(host.is_intact());
        host.delete("b", b, &["two"]);
        host.delete("c", c, &["three"]);
        host.assert_nothing_left();
    });
}

#[test]
fn what_netlink_adds_reads_as_what_nft_itself_makes_of_the_same_words() {
    sandbox(|host| {
        host.network("one", 1, json!({"isolated": false}));
        host.network("two", 2, json!({"isolated": false, "hostAccess": true}));
        host.network("vault", 3, json!({"internal": true}));
        let rules = json!([
            {"from": "web", "to": "db", "ports": ["80", "8000-8010", "8005-8020", "53/udp"], "rate": "5/second"},
            {"from": "*", "to": "outside", "ports": ["all"]},
        ]);
        host.network(
            "shop",
            4,
            json!({"policy": {"within": "deny", "egress": "deny", "rules": rules}}),
        );
        let containers: Vec<_> = [
            ("a", "one"),
            ("web", "two"),
            ("c", "vault"),
            ("db", "shop"),
            ("web2", "shop"),
        ]
        .map(|(id, network)| (id, network, host.container(id, &[network]).0))
        .into();
        let udp = Protocol::Udp;
        let ports = [
            (None, 80, 8080, TCP),
            (None, 80, 8080, udp),
            (Some("0.0.0.0"), 81, 81, Protocol::Sctp),
            (Some("::"), 82, 82, TCP),
            (Some("127.0.0.1"), 83, 83, TCP),
            (Some("fd00:1::1"), 84, 84, udp),
        ];
        host.publish("one", "a", &ports);
        host.publish("shop", "db", &[(None, 90, 90, TCP)]);
        assert!(host.is_intact());
        let by_netlink = [listing("inet minirun"), listing("bridge minirun")];
        host.replace();
        assert_eq!([listing("inet minirun"), listing("bridge minirun")], by_netlink);
        assert!(host.is_intact());

        // Nothing of it was in the way of anything: all goes as it came.
        for (id, network, netns) in containers {
            host.delete(id, netns, &[network]);
            if id != "web2" {
                assert!(host.is_intact(), "after {id}");
            }
        }
        host.assert_nothing_left();
    });
}

#[test]
fn flushed_tables_and_those_of_another_version_are_made_anew_with_all_that_is_in_use() {
    sandbox(|host| {
        let world = world();
        let rule = json!({"from": "*", "to": "web", "ports": ["80"]});
        host.network("shop", 1, json!({"policy": {"within": "deny", "rules": [rule]}}));
        host.network("other", 2, json!({}));
        let (web, web_on) = host.container("web", &["shop"]);
        let (peer, _) = host.container("peer", &["shop"]);
        let serving = server(&web, 80);
        host.publish("shop", "web", &[(None, 8080, 80, TCP)]);
        let works = || {
            is_reached(&world, v4("192.0.2.1"), 8080)
                && is_reached(&peer, web_on.address, 80)
                && !is_reached(&web, v4("10.1.0.1"), 22)
        };
        assert!(works() && host.is_intact());
        run(NFT, "flush ruleset");
        assert!(!is_reached(&world, v4("192.0.2.1"), 8080) && !host.is_intact());
        host.replace();
        assert!(works() && host.is_intact());

        // The next network brings the others back as well.
        run(NFT, "flush ruleset");
        let (other, _) = host.container("other", &["other"]);
        assert!(works() && host.is_intact());
        host.delete("other", other, &["other"]);

        run(NFT, "delete table inet minirun");
        run(NFT, "add table inet minirun { comment \"ruleset_of_old\"; }");
        assert!(!host.is_intact());
        let (other, _) = host.container("other", &["other"]);
        assert!(works() && host.is_intact());
        host.delete("other", other, &["other"]);
        host.delete("peer", peer, &["shop"]);
        drop(serving);
        host.delete("web", web, &["shop"]);
        ip("link del uplink");
        host.assert_nothing_left();
    });
}

#[test]
fn what_a_killed_command_left_of_a_port_is_nobodys_and_what_another_container_has_is_refused() {
    sandbox(|host| {
        host.network("front", 1, json!({}));
        let (web, _) = host.container("web", &["front"]);
        let (peer, _) = host.container("peer", &["front"]);
        run(
            NFT,
            "add element inet minirun ports4 { tcp . 8080 : 10.1.0.99 . 80 }",
        );
        host.publish("front", "web", &[(None, 8080, 80, TCP)]);
        assert!(host.is_intact());
        let definition = Definition::load(&host.dirs, "front").unwrap().unwrap();
        let leases = Leases::new("front", host.dirs.run.join("front"));
        let mut lease = leases.of("peer").unwrap().unwrap();
        lease.ports = leases.of("web").unwrap().unwrap().ports;
        let error = firewall::admit(&host.dirs, &definition, &lease).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("8080/tcp is published by container web"),
            "{error}"
        );
        assert!(host.is_intact());
        host.delete("web", web, &["front"]);
        host.delete("peer", peer, &["front"]);
        host.assert_nothing_left();
    });
}

#[test]
fn another_firewall_that_drops_forwarded_packets_has_us_entered_where_it_has_room() {
    sandbox(|host| {
        let world = world();
        run(NFT, "add table ip filter");
        run(NFT, "add chain ip filter DOCKER-USER");
        run(
            NFT,
            "add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }",
        );
        run(NFT, "add rule ip filter FORWARD jump DOCKER-USER");
        host.network("front", 1, json!({}));
        let (web, _) = host.container("web", &["front"]);
        let serving = server(&world, 80);
        assert!(is_reached(&web, v4("192.0.2.2"), 80));
        assert_eq!(
            run(NFT, "list chain ip filter DOCKER-USER")
                .matches("minirun front")
                .count(),
            2
        );
        host.replace();
        assert_eq!(
            run(NFT, "list chain ip filter DOCKER-USER")
                .matches("minirun front")
                .count(),
            2
        );
        run(NFT, "flush chain ip filter DOCKER-USER");
        assert!(!is_reached(&web, v4("192.0.2.2"), 80));
        assert!(host.adapt() && !host.adapt());
        assert!(is_reached(&web, v4("192.0.2.2"), 80));
        drop(serving);
        host.delete("web", web, &["front"]);
        assert!(!run(NFT, "list chain ip filter DOCKER-USER").contains("minirun"));
        run(NFT, "delete table ip filter");
        ip("link del uplink");
        host.assert_nothing_left();
    });
}
