//! What is asked elsewhere, what never is, and which answers count.

use std::net::{TcpListener, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use super::host::{Host, SOON, answer_to, host, name_in, read_answer, station, write_question};
use crate::netd::dns::tests::asking;

/// A server that answers everything with this address, and tells what it was asked.
fn telling(host: &Host, at: &str, address: [u8; 4]) -> Receiver<String> {
    let (tell, told) = channel();
    host.server(at, move |socket, question, from| {
        let _ = tell.send(name_in(question));
        let _ = socket.send_to(&answer_to(question, Some(address)), from);
    });
    told
}

#[test]
fn other_names_are_asked_upstream_and_own_ones_never() {
    host(|host| {
        let asked = telling(host, "127.0.0.1", [192, 0, 2, 7]);
        let web = host.container("web", "shop", "10.186.0.2", &["api.example.org"]);
        let _db = host.container("db", "back", "10.186.1.2", &[]);
        let own = [
            ("web", 1),
            ("web", 28),
            ("web", 15),
            ("WEB.shop", 1),
            ("gone.shop", 1),
            ("db", 1),
            ("db.back", 1),
            ("typo", 1),
            ("api.example.org", 28),
            ("9.0.186.10.in-addr.arpa", 12),
            ("localhost", 1),
        ];
        for (name, kind) in own {
            web.ask(name, kind);
        }
        assert_eq!(web.addresses("Example.org"), ["192.0.2.7"]);
        assert_eq!(
            web.ask_packet(&asking("other.example.org", 1, Some(4096)))
                .addresses(),
            ["192.0.2.7"]
        );
        // Everything that was asked has been answered, so it has been told.
        let told: Vec<_> = asked.try_iter().collect();
        assert_eq!(told, ["Example.org", "other.example.org"]);
    });
}

#[test]
fn a_container_on_internal_networks_only_asks_nobody() {
    host(|host| {
        let asked = telling(host, "127.0.0.1", [192, 0, 2, 7]);
        let internal = |id: &str, address: &str| crate::netd::Station {
            internal: true,
            ..station(id, "vault", address, &[])
        };
        let db = super::host::Container::new();
        db.register(host, &internal("db", "10.186.1.2"));
        for (name, kind) in [
            ("example.org", 1),
            ("8.8.8.8.in-addr.arpa", 12),
            ("", 2),
            ("typo", 1),
        ] {
            assert_eq!(db.ask(name, kind).code(), 3, "{name}");
        }
        let stream = db.connection();
        write_question(&stream, &asking("example.org", 1, None));
        assert_eq!(read_answer(&stream).unwrap().code(), 3);
        assert_eq!(asked.try_iter().count(), 0);
        // With a way out it may.
        host.station(&station("db", "shop", "10.186.0.3", &[]));
        assert_eq!(db.addresses("example.org"), ["192.0.2.7"]);
    });
}

#[test]
fn answers_to_another_question_do_not_count() {
    host(|host| {
        host.server("127.0.0.1", |socket, question, from| {
            let good = answer_to(question, Some([192, 0, 2, 1]));
            let bad = answer_to(question, Some([192, 0, 2, 66]));
            let mut other_number = bad.clone();
            other_number[1] ^= 1;
            let mut other_name = bad.clone();
            other_name[13] = b'z';
            let mut other_type = bad.clone();
            let end = good.len() - 16;
            other_type[end - 3] = 28;
            let mut a_question = bad.clone();
            a_question[2] &= 0x7f;
            for answer in [
                &other_number,
                &other_name,
                &other_type,
                &a_question,
                &bad[..7].to_vec(),
            ] {
                let _ = socket.send_to(answer, from);
            }
            // From somewhere else.
            let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
            let _ = stranger.send_to(&bad, from);
            let _ = socket.send_to(&good, from);
        });
        let web = host.container("web", "shop", "10.186.0.2", &[]);
        for _ in 0..20 {
            assert_eq!(web.addresses("example.org"), ["192.0.2.1"]);
        }
    });
}

#[test]
fn questions_leave_from_changing_ports_under_changing_numbers() {
    host(|host| {
        let (tell, told) = channel();
        host.server("127.0.0.1", move |socket, question, from| {
            let _ = tell.send((from.port(), [question[0], question[1]]));
            let _ = socket.send_to(&answer_to(question, None), from);
        });
        let web = host.container("web", "shop", "10.186.0.2", &[]);
        for _ in 0..20 {
            web.ask("example.org", 1);
        }
        let (mut ports, mut numbers): (Vec<_>, Vec<_>) = told.try_iter().unzip();
        for list in [ports.len(), numbers.len()] {
            assert_eq!(list, 20);
        }
        ports.sort();
        ports.dedup();
        numbers.sort();
        numbers.dedup();
        assert!(ports.len() > 15 && numbers.len() > 15, "{ports:?} {numbers:?}");
    });
}

#[test]
fn servers_that_are_gone_silent_or_unable_are_followed_by_the_next() {
    host(|host| {
        // 127.0.0.2: nobody. 127.0.0.3: silent. 127.0.0.4: SERVFAIL. 127.0.0.5: answers.
        host.server("127.0.0.3", |_, _, _| {});
        host.server("127.0.0.4", |socket, question, from| {
            let mut answer = answer_to(question, None);
            answer[3] |= 2;
            let _ = socket.send_to(&answer, from);
        });
        let _asked = telling(host, "127.0.0.5", [192, 0, 2, 5]);
        for (number, servers) in [
            ["127.0.0.2", "127.0.0.5"],
            ["127.0.0.3", "127.0.0.5"],
            ["127.0.0.4", "127.0.0.5"],
        ]
        .iter()
        .enumerate()
        {
            let web = super::host::Container::new();
            let station = crate::netd::Station {
                upstream: servers.map(|server| server.parse().unwrap()).to_vec(),
                ..station(&format!("web{number}"), "shop", "10.186.0.2", &[])
            };
            web.register(host, &station);
            assert_eq!(web.addresses("example.org"), ["192.0.2.5"], "{servers:?}");
        }
        // None of them: the client is told, rather than left to wait.
        let web = super::host::Container::new();
        let station = crate::netd::Station {
            upstream: vec!["127.0.0.2".parse().unwrap(), "127.0.0.4".parse().unwrap()],
            ..station("unlucky", "shop", "10.186.0.2", &[])
        };
        web.register(host, &station);
        assert_eq!(web.ask("example.org", 1).code(), 2);
    });
}

#[test]
fn what_is_asked_by_tcp_is_asked_upstream_by_tcp() {
    host(|host| {
        let listener = TcpListener::bind("127.0.0.1:53").unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                stream.set_read_timeout(Some(SOON)).unwrap();
                let question = read_answer(&stream).unwrap().0;
                let mut answer = answer_to(&question, Some([192, 0, 2, 7]));
                // Far longer than a datagram.
                answer.resize(40_000, 0);
                write_question(&stream, &answer);
            }
        });
        let web = host.container("web", "shop", "10.186.0.2", &[]);
        let stream = web.connection();
        for _ in 0..3 {
            write_question(&stream, &asking("example.org", 1, None));
            let answer = read_answer(&stream).unwrap();
            assert_eq!(
                (answer.0.len(), answer.addresses()),
                (40_000, vec!["192.0.2.7".to_owned()])
            );
        }
        // Nobody listens on UDP.
        assert_eq!(web.ask("example.org", 1).code(), 2);
    });
}

#[test]
fn questions_of_connections_that_were_reset_are_given_up() {
    host(|host| {
        // Connections are made and nobody ever answers.
        let _listener = TcpListener::bind("127.0.0.1:53").unwrap();
        let web = host.container("web", "shop", "10.186.0.2", &[]);
        let open = || {
            std::fs::read_dir(format!("/proc/{}/fd", host.netd().unwrap()))
                .unwrap()
                .count()
        };
        let before = open();
        let streams: Vec<_> = (0..30).map(|_| web.connection()).collect();
        for stream in &streams {
            write_question(stream, &asking("example.org", 1, None));
        }
        super::host::wait_until("all are asked upstream", || open() >= 60);
        for stream in streams {
            super::host::reset(stream);
        }
        super::host::wait_until("none is", || open() <= before);
    });
}
