//! Connections that the host tracks and those that containers have open.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::sandbox::{inside, ip, namespace, outside, run, sandbox};
use crate::net::kernel::conntrack::{self, Stale, TcpState};
use crate::net::kernel::netlink::Netlink;
use crate::net::{Port, Protocol, sockets};

/// A host whose port 5300/udp is redirected to a socket in a container-like namespace at 10.9.0.2, and the world outside.
fn published() -> (File, File) {
    let (world, container) = (outside(), namespace());
    let path = format!(
        "/proc/{}/fd/{}",
        std::process::id(),
        std::os::fd::AsRawFd::as_raw_fd(&container)
    );
    ip(&format!("link add inner type veth peer name eth0 netns {path}"));
    ip("addr add 10.9.0.1/24 dev inner");
    ip("link set inner up");
    inside(&container, || {
        ip("addr add 10.9.0.2/24 dev eth0");
        ip("link set eth0 up");
        ip("route add default via 10.9.0.1");
    });
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    nft("add table inet test");
    nft("add chain inet test pre { type nat hook prerouting priority -100 ; }");
    // Connections are tracked as long as a rule asks for it.
    nft("add chain inet test passing { type filter hook forward priority 0 ; }");
    nft("add rule inet test passing ct state established accept");
    redirect();
    (world, container)
}

fn nft(command: &str) {
    run("/usr/sbin/nft", command);
}

fn redirect() {
    nft("add rule inet test pre udp dport 5300 dnat ip to 10.9.0.2:53");
}

/// A socket that does not wait for ever.
fn udp(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

#[test]
fn connections_of_an_unpublished_port_are_forgotten_and_no_others() {
    forgets(|stale| conntrack::forget(stale).unwrap());
}

#[test]
fn connections_are_forgotten_one_by_one_where_the_kernel_does_not_select_them() {
    forgets(|stale| {
        let mut netlink = Netlink::open(NETLINK_NETFILTER).unwrap();
        conntrack::forget_one_by_one(&mut netlink, stale).unwrap();
    });
}

fn forgets(forget: impl Fn(&[Stale<'_>]) + Send + 'static) {
    sandbox(move |_| {
        let (world, container) = published();
        let server = inside(&container, || udp(53));
        let client = inside(&world, || {
            let client = udp(0);
            client.connect("192.0.2.1:5300").unwrap();
            client
        });
        // Asks the host, which may answer with an ICMP message, that there is nobody.
        let other = inside(&world, || udp(0));
        other.send_to(b"?", "192.0.2.1:5301").unwrap();

        client.send(b"question").unwrap();
        let mut buffer = [0; 16];
        let (_, from) = server.recv_from(&mut buffer).unwrap();
        server.send_to(b"answer", from).unwrap();
        let length = client.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"answer");

        let entries = conntrack::dump().unwrap();
        let redirected: Vec<_> = entries.iter().filter(|entry| entry.redirected).collect();
        let [entry] = redirected[..] else {
            panic!("{entries:?}")
        };
        assert_eq!(
            entry.original.source,
            "192.0.2.2".parse::<std::net::IpAddr>().unwrap()
        );
        assert_eq!(entry.original.destination_port, 5300);
        assert_eq!(
            entry.reply.source,
            "10.9.0.2".parse::<std::net::IpAddr>().unwrap()
        );
        assert_eq!(entry.reply.source_port, 53);
        assert!(entry.replied);

        // Without this the client would go on talking to the container's address.
        let port = Port {
            address: None,
            host: 5300,
            container: 53,
            protocol: Protocol::Udp,
        };
        nft("flush chain inet test pre");
        client.send(b"still").unwrap();
        server.recv_from(&mut buffer).unwrap();
        forget(&[Stale::Address("10.9.0.2".parse().unwrap())]);
        let left = conntrack::dump().unwrap();
        assert!(
            left.iter().all(|entry| entry.original.destination_port != 5300),
            "{left:?}"
        );

        // And a port that is published while somebody keeps asking.
        client.send(b"nobody").unwrap();
        assert!(client.recv(&mut buffer).is_err(), "port unreachable");
        redirect();
        forget(&[Stale::Published(&port)]);
        client.send(b"again").unwrap();
        let (length, _) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"again");

        let left = |entries: Vec<conntrack::Entry>| {
            let ports = entries.iter().map(|entry| entry.original.destination_port);
            ports.collect::<Vec<_>>()
        };
        assert!(left(conntrack::dump().unwrap()).contains(&5300));
        forget(&[Stale::Address("10.9.0.2".parse().unwrap())]);
        assert_eq!(
            left(conntrack::dump().unwrap()),
            [5301],
            "that of somebody else stays"
        );
        nft("delete table inet test");
        ip("link del uplink");
        ip("link del inner");
    });
}

#[test]
fn a_host_without_connections_has_nothing_to_forget() {
    sandbox(|_| {
        assert_eq!(conntrack::dump().unwrap(), []);
        let address = Stale::Address("10.9.0.2".parse().unwrap());
        conntrack::forget(&[address]).unwrap();
    });
}

#[test]
fn both_ends_of_a_connection_inside_a_bridge_know_each_other_and_who_serves() {
    sandbox(|host| {
        let home = crate::net::kernel::namespace::current().unwrap();
        let (web, db) = (namespace(), namespace());
        let web_on = host.attach("web", &web, &["default"]).unwrap().networks.remove(0);
        let db_on = host.attach("db", &db, &["default"]).unwrap().networks.remove(0);
        // As many servers listen: for both families on one IPv6 socket.
        let server = inside(&db, || TcpListener::bind("[::]:0").unwrap());
        let to = SocketAddr::from((db_on.address, server.local_addr().unwrap().port()));
        let mut client = inside(&web, || TcpStream::connect(to).unwrap());
        let (mut accepted, from) = server.accept().unwrap();
        client.write_all(b"question").unwrap();
        let mut buffer = [0; 8];
        accepted.read_exact(&mut buffer).unwrap();
        let asking = inside(&web, || {
            let asking = udp(0);
            asking.connect((db_on.address, 53)).unwrap();
            asking
        });
        // A connection to oneself is nobody else's.
        let (own, own_client) = inside(&web, || {
            let own = TcpListener::bind("127.0.0.1:0").unwrap();
            let client = TcpStream::connect(own.local_addr().unwrap()).unwrap();
            (own, client)
        });

        let at_web = sockets::dump(web.as_fd(), &home).unwrap();
        let at_db = sockets::dump(db.as_fd(), &home).unwrap();
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        assert_eq!(from.ip(), web_on.address);
        let ends = |sockets: &sockets::Sockets| {
            let ends = sockets.connected.iter();
            ends.map(|socket| (socket.protocol, socket.local, socket.remote))
                .collect::<Vec<_>>()
        };
        let question = (
            Protocol::Udp,
            asking.local_addr().unwrap(),
            asking.peer_addr().unwrap(),
        );
        assert_eq!(ends(&at_web), [(Protocol::Tcp, from, to), question]);
        assert_eq!(ends(&at_db), [(Protocol::Tcp, to, from)]);
        assert_eq!(at_db.served, [(Protocol::Tcp, to.port())]);
        assert_eq!(at_web.served, [(Protocol::Tcp, own.local_addr().unwrap().port())]);
        assert_eq!(at_db.connected[0].tcp, Some(TcpState::Established));
        let [sent, received] = at_db.connected[0].counters.unwrap();
        assert_eq!((sent.bytes, received.bytes), (0, 8));
        assert!(received.packets >= 2, "{received:?}");
        let [sent, received] = at_web.connected[0].counters.unwrap();
        assert_eq!((sent.bytes, received.bytes), (8, 0));

        drop((client, accepted, server, asking, own, own_client));
        host.delete("web", web, &["default"]);
        host.delete("db", db, &["default"]);
        host.assert_nothing_left();
    });
}
