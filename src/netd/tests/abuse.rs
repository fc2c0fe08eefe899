//! What one container does must not keep netd from answering another (CVE-2024-8418 and its like).

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::socket::{Shutdown, shutdown};

use super::host::{Container, Host, host, read_answer, reset, station, status, wait_until, write_question};
use crate::netd::client::{self, Descriptors};
use crate::netd::dns::tests::asking;
use crate::netd::{RESOLVER, Resolver};

fn shop(host: &Host) -> (Container, Container) {
    let bad = host.container("bad", "shop", "10.186.0.2", &[]);
    (bad, host.container("good", "shop", "10.186.0.3", &[]))
}

/// netd waits for events: it does not spin.
fn rests(host: &Host) {
    let netd = host.netd().unwrap();
    let mut seen = 0;
    wait_until("netd rests", || {
        seen = if status(netd, "State").starts_with('S') {
            seen + 1
        } else {
            0
        };
        seen == 5
    });
}

#[test]
fn half_a_question_and_a_reset_harm_nobody() {
    host(|host| {
        let (bad, good) = shop(host);
        for _ in 0..50 {
            let mut stream = bad.connection();
            stream.write_all(&[0, 40, 0x12, 0x34, 1]).unwrap();
            reset(stream);
            assert_eq!(good.addresses("bad"), ["10.186.0.2"]);
        }
        rests(host);
    });
}

#[test]
fn connections_that_say_nothing_are_limited_and_the_oldest_goes() {
    host(|host| {
        let (bad, good) = shop(host);
        let mut silent: Vec<_> = (0..100).map(|_| bad.connection()).collect();
        for stream in &mut silent {
            // One byte of a length.
            let _ = stream.write_all(&[0]);
        }
        let fresh = bad.connection();
        write_question(&fresh, &asking("good", 1, None));
        assert_eq!(read_answer(&fresh).unwrap().addresses(), ["10.186.0.3"]);
        // Closed, by an end or, as it was not read all, a reset.
        let ended = silent[0].read(&mut [0; 1]);
        assert!(!matches!(ended, Ok(1..)), "{ended:?}");
        assert_eq!(good.addresses("bad"), ["10.186.0.2"]);
        rests(host);
        let open = std::fs::read_dir(format!("/proc/{}/fd", host.netd().unwrap()))
            .unwrap()
            .count();
        assert!(open < 60, "{open} descriptors");
    });
}

#[test]
fn bytes_that_trickle_in_do_not_prolong_a_connection() {
    host(|host| {
        let (bad, _good) = shop(host);
        let mut stream = bad.connection();
        // Of a question of 4000 bytes.
        stream.write_all(&[0x0f, 0xa0]).unwrap();
        let trickled = std::cell::Cell::new(0);
        wait_until("the connection was closed", || {
            trickled.set(trickled.get() + 1);
            stream.write_all(&[0]).is_err()
        });
        assert!(trickled.get() > 2, "closed at once");
    });
}

#[test]
fn a_client_that_never_reads_is_left_alone() {
    host(|host| {
        let (bad, good) = shop(host);
        for last in 0..250 {
            host.station(&station(
                &format!("r{last}"),
                "shop",
                &format!("10.186.1.{last}"),
                &["replica"],
            ));
        }
        let stream = bad.connection();
        stream.set_nonblocking(true).unwrap();
        let question = asking("replica", 1, None);
        let framed = [&[0, question.len() as u8][..], &question].concat();
        // Until both directions are full: netd does not read on while it cannot answer.
        let mut asked = 0_u64;
        while (&stream).write_all(&framed).is_ok() || asked == 0 {
            asked += 1;
        }
        rests(host);
        assert_eq!(good.addresses("bad"), ["10.186.0.2"]);
        assert_eq!(bad.addresses("good"), ["10.186.0.3"]);
    });
}

#[test]
fn a_flood_of_one_container_does_not_keep_another_from_its_answers() {
    host(|host| {
        let (bad, good) = shop(host);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                bad.inside(|| {
                    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                    let packets = [
                        asking("good", 1, Some(4096)),
                        asking("typo", 1, None),
                        vec![0xff; 700],
                        asking("far.example.org", 1, None),
                    ];
                    let mut sent = 0;
                    while !done.load(Ordering::Relaxed) && sent < 2_000_000 {
                        let _ = socket.send_to(&packets[sent % packets.len()], RESOLVER);
                        sent += 1;
                    }
                });
            });
            for _ in 0..500 {
                assert_eq!(good.addresses("bad"), ["10.186.0.2"]);
            }
            done.store(true, Ordering::Relaxed);
        });
        rests(host);
    });
}

#[test]
fn garbage_is_survived() {
    host(|host| {
        let (bad, good) = shop(host);
        let socket = bad.socket();
        let question = asking("good", 1, Some(1232));
        for length in 0..question.len() {
            socket.send(&question[..length]).unwrap();
        }
        for index in 0..question.len() {
            for bit in 0..8 {
                let mut packet = question.clone();
                packet[index] ^= 1 << bit;
                socket.send(&packet).unwrap();
            }
        }
        // A name that points to itself.
        socket
            .send(&[0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1])
            .unwrap();
        let stream = bad.connection();
        write_question(&stream, &[0; 3]);
        assert_eq!(read_answer(&stream), None);
        let mut stream = bad.connection();
        stream.write_all(&[0xff; 5000]).unwrap();
        assert_eq!(read_answer(&stream), None);
        assert_eq!(good.addresses("bad"), ["10.186.0.2"]);
        assert_eq!(bad.addresses("good"), ["10.186.0.3"]);
    });
}

#[test]
fn a_listener_that_the_container_has_destroyed_is_left_alone() {
    host(|host| {
        // A container that may administer its network can do that (`ss -K`); here the test keeps a copy.
        let bad = Container::new();
        let resolver = bad.inside(|| Resolver::open().unwrap());
        let copy = resolver.tcp.try_clone().unwrap();
        let given = || {
            Ok(Resolver {
                udp: resolver.udp.try_clone().unwrap(),
                tcp: resolver.tcp.try_clone().unwrap(),
            })
        };
        let descriptors = Descriptors {
            resolver: Some(&given),
            ..Descriptors::default()
        };
        client::register(&host.dir, &station("bad", "shop", "10.186.0.2", &[]), descriptors).unwrap();
        shutdown(copy.as_raw_fd(), Shutdown::Both).unwrap();
        assert_eq!(bad.addresses("bad"), ["10.186.0.2"]);
        rests(host);
    });
}
