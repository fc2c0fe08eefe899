//! Nobody gets into somebody else's conversation. The firewall lets packets of connections that it knows pass early, so
//! these are the packets that must be stopped before.

use super::*;

/// An IPv4 UDP socket of `on` at this address, which is made its own first if `taken`.
fn socket(on: &File, address: &str, taken: bool) -> UdpSocket {
    let socket = inside(on, || {
        if taken {
            let (address, _) = address.split_once(':').unwrap();
            ip(&format!("addr add {address}/32 dev eth0"));
        }
        UdpSocket::bind(address).unwrap()
    });
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

/// What comes next, and from whom.
fn next(socket: &UdpSocket) -> (String, String) {
    let mut buffer = [0; 16];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    (
        String::from_utf8_lossy(&buffer[..length]).into_owned(),
        from.to_string(),
    )
}

fn pair(text: &str, from: &str) -> (String, String) {
    (text.to_owned(), from.to_owned())
}

#[test]
fn a_container_does_not_get_into_the_conversation_of_another_network() {
    sandbox(|host| {
        let world = world();
        host.network("front", 1, json!({}));
        host.network("tools", 2, json!({}));
        let (web, _) = host.container("web", &["front"]);
        let (thief, _) = host.container("thief", &["tools"]);
        let server = socket(&world, "192.0.2.2:7000", false);
        let client = socket(&web, "10.1.0.2:7001", false);
        client.send_to(b"question", "192.0.2.2:7000").unwrap();
        assert_eq!(next(&server), pair("question", "192.0.2.1:7001"));
        server.send_to(b"answer", "192.0.2.1:7001").unwrap();
        assert_eq!(next(&client), pair("answer", "192.0.2.2:7000"));

        // As the client towards the server, and as the server towards the client.
        let as_client = socket(&thief, "10.1.0.2:7001", true);
        as_client.send_to(b"false", "192.0.2.2:7000").unwrap();
        client.send_to(b"true", "192.0.2.2:7000").unwrap();
        assert_eq!(next(&server), pair("true", "192.0.2.1:7001"));
        let as_server = socket(&thief, "192.0.2.2:7000", true);
        as_server.send_to(b"false", "192.0.2.1:7001").unwrap();
        server.send_to(b"true", "192.0.2.1:7001").unwrap();
        assert_eq!(next(&client), pair("true", "192.0.2.2:7000"));

        drop((client, server, as_client, as_server));
        host.delete("web", web, &["front"]);
        host.delete("thief", thief, &["tools"]);
        ip("link del uplink");
        host.assert_nothing_left();
    });
}

#[test]
fn a_neighbour_does_not_get_into_the_conversation_of_two_containers() {
    sandbox(|host| {
        let world = world();
        let rules = json!({"rules": [{"from": "web", "to": "db", "ports": ["7000/udp"]}]});
        host.network("front", 1, json!({}));
        host.network("back", 2, json!({"policy": rules}));
        let (web, _) = host.container("web", &["front"]);
        let (db, _) = host.container("db", &["back"]);
        let server = socket(&db, "10.2.0.2:7000", false);
        let client = socket(&web, "10.1.0.2:7001", false);
        client.send_to(b"question", "10.2.0.2:7000").unwrap();
        assert_eq!(next(&server), pair("question", "10.1.0.2:7001"));
        server.send_to(b"answer", "10.1.0.2:7001").unwrap();
        assert_eq!(next(&client), pair("answer", "10.2.0.2:7000"));

        let as_client = socket(&world, "10.1.0.2:7001", true);
        as_client.send_to(b"false", "10.2.0.2:7000").unwrap();
        client.send_to(b"true", "10.2.0.2:7000").unwrap();
        assert_eq!(next(&server), pair("true", "10.1.0.2:7001"));
        let as_server = socket(&world, "10.2.0.2:7000", true);
        as_server.send_to(b"false", "10.1.0.2:7001").unwrap();
        server.send_to(b"true", "10.1.0.2:7001").unwrap();
        assert_eq!(next(&client), pair("true", "10.2.0.2:7000"));

        drop((client, server, as_client, as_server));
        host.delete("web", web, &["front"]);
        host.delete("db", db, &["back"]);
        ip("link del uplink");
        host.assert_nothing_left();
    });
}

#[test]
fn nobody_gets_into_a_conversation_of_the_hosts_loopback() {
    sandbox(|host| {
        let world = world();
        host.network("front", 1, json!({}));
        let (web, _) = host.container("web", &["front"]);
        let (thief, _) = host.container("thief", &["front"]);
        host.publish("front", "web", &[(Some("127.0.0.1"), 7000, 7000, Protocol::Udp)]);
        let published = socket(&web, "10.1.0.2:7000", false);
        let server = UdpSocket::bind("127.0.0.1:7002").unwrap();
        server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let client = UdpSocket::bind("127.0.0.53:7001").unwrap();
        client.send_to(b"question", "127.0.0.1:7000").unwrap();
        let (_, bridge) = next(&published);
        published.send_to(b"answer", &bridge).unwrap();
        let mut buffer = [0; 16];
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(client.recv(&mut buffer).unwrap(), 6);
        client.send_to(b"question", "127.0.0.1:7002").unwrap();
        assert_eq!(next(&server).0, "question");
        server.send_to(b"answer", "127.0.0.53:7001").unwrap();
        assert_eq!(client.recv(&mut buffer).unwrap(), 6);

        // Packets from 127.0.0.53, as many hosts have a name server, to 127.0.0.1 over the link, to a host that would take
        // them. From 127.0.0.1, which it has as an address, it takes none anyhow.
        for switch in ["uplink/route_localnet", "uplink/rp_filter", "all/rp_filter"] {
            let value = if switch.ends_with("localnet") { "1" } else { "0" };
            fs::write(format!("/proc/sys/net/ipv4/conf/{switch}"), value).unwrap();
        }
        for (neighbour, way) in [
            (&thief, "via 10.1.0.1 dev eth0"),
            (&world, "via 192.0.2.1 dev eth0"),
        ] {
            let false_client = inside(neighbour, || {
                fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
                ip("addr del 127.0.0.1/8 dev lo");
                ip("addr add 127.0.0.53/32 dev eth0");
                ip(&format!("route add 127.0.0.1 {way}"));
                UdpSocket::bind("127.0.0.53:7001").unwrap()
            });
            false_client.send_to(b"false", "127.0.0.1:7000").unwrap();
            false_client.send_to(b"false", "127.0.0.1:7002").unwrap();
        }
        for (socket, port) in [(&published, 7000), (&server, 7002)] {
            client.send_to(b"true", ("127.0.0.1", port)).unwrap();
            assert_eq!(next(socket).0, "true");
        }
        drop((client, server, published));
        host.delete("web", web, &["front"]);
        host.delete("thief", thief, &["front"]);
        ip("link del uplink");
        host.assert_nothing_left();
    });
}

#[test]
fn subnets_of_unusual_sizes_are_guarded_as_the_others_are() {
    sandbox(|host| {
        let world = world();
        let ipv4 = json!({"subnet": "10.3.0.0/26", "gateway": "10.3.0.1"});
        host.network("small", 3, json!({"ipv4": ipv4}));
        let (web, _) = host.container("web", &["small"]);
        let server = socket(&world, "192.0.2.2:7000", false);
        let stranger = socket(&web, "10.3.0.65:7001", true);
        stranger.send_to(b"false", "192.0.2.2:7000").unwrap();
        let client = socket(&web, "10.3.0.2:7001", false);
        client.send_to(b"true", "192.0.2.2:7000").unwrap();
        assert_eq!(next(&server), pair("true", "192.0.2.1:7001"));

        // Through a published port to a neighbour, who would answer directly.
        let (peer, _) = host.container("peer", &["small"]);
        let serving = super::server(&web, 80);
        host.publish("small", "web", &[(None, 8080, 80, TCP)]);
        assert_eq!(seen(&peer, v4("192.0.2.1"), 8080), Some(v4("10.3.0.1")));
        drop((server, stranger, client, serving));
        host.delete("web", web, &["small"]);
        host.delete("peer", peer, &["small"]);
        ip("link del uplink");
        host.assert_nothing_left();
    });
}
