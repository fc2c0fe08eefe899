//! What containers are answered about each other.

use std::os::fd::AsFd as _;

use super::host::{host, read_answer, station, write_question};
use crate::netd::client::{self, Descriptors};
use crate::netd::dns::tests::asking;

#[test]
fn a_name_resolves_when_registration_returns() {
    host(|host| {
        let web = host.container("web", "shop", "10.186.0.2", &["www"]);
        assert_eq!(web.addresses("web"), ["10.186.0.2"]);
        let api = host.container("api", "shop", "10.186.0.3", &[]);
        assert_eq!(web.addresses("api"), ["10.186.0.3"]);
        assert_eq!(api.addresses("WWW.shop"), ["10.186.0.2"]);
        assert_eq!(api.ask("web", 28).addresses(), [""; 0]);
        assert_eq!(api.ask("typo", 1).code(), 3);
        let reverse = api.ask("2.0.186.10.in-addr.arpa", 12);
        assert_eq!(reverse.addresses(), ["\x03web\x04shop\0"]);
    });
}

#[test]
fn containers_do_not_find_those_of_other_networks() {
    host(|host| {
        let web = host.container("web", "front", "10.186.0.2", &[]);
        let db = host.container("db", "back", "10.186.1.2", &[]);
        assert_eq!(web.ask("db", 1).code(), 3);
        let both = station("web", "back", "10.186.1.3", &[]);
        client::register(&host.dir, &both, Descriptors::default()).unwrap();
        assert_eq!(web.addresses("db"), ["10.186.1.2"]);
        assert_eq!(db.addresses("web"), ["10.186.1.3"]);
        client::unregister(&host.dir, "web", "back").unwrap();
        assert_eq!(web.ask("db", 1).code(), 3);
        assert_eq!(db.ask("web", 1).code(), 3);
        assert_eq!(web.addresses("web"), ["10.186.0.2"]);
    });
}

#[test]
fn answers_that_do_not_fit_a_datagram_come_by_tcp() {
    host(|host| {
        let web = host.container("web", "shop", "10.186.0.2", &[]);
        for last in 0..100 {
            host.station(&station(
                &format!("r{last}"),
                "shop",
                &format!("10.186.1.{last}"),
                &["replica"],
            ));
        }
        let short = web.ask("replica", 1);
        assert!(short.is_truncated() && short.0.len() <= 512);
        let long = web.ask_packet(&asking("replica", 1, Some(4096)));
        assert!(!long.is_truncated());
        let stream = web.connection();
        // Two at once: the second waits for the first.
        write_question(&stream, &asking("replica", 1, None));
        write_question(&stream, &asking("web", 1, None));
        let mut all = read_answer(&stream).unwrap().addresses();
        assert_eq!(read_answer(&stream).unwrap().addresses(), ["10.186.0.2"]);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 100);
    });
}

#[test]
fn a_station_registered_again_replaces_what_was_said_before() {
    host(|host| {
        let web = host.container("web", "shop", "10.186.0.2", &["old"]);
        let pidfd = web.pidfd();
        let again = Descriptors {
            pidfd: Some(pidfd.as_fd()),
            ..Descriptors::default()
        };
        client::register(&host.dir, &station("web", "shop", "10.186.0.9", &["new"]), again).unwrap();
        assert_eq!(web.addresses("new"), ["10.186.0.9"]);
        assert_eq!(web.ask("old", 1).code(), 3);
        assert_eq!(host.stations().len(), 1);
    });
}

#[test]
fn names_that_dns_cannot_carry_are_passed_over() {
    host(|host| {
        let long = "x".repeat(64);
        let web = host.container(&long, "shop", "10.186.0.2", &["a..b", "web"]);
        assert_eq!(web.addresses("web"), ["10.186.0.2"]);
    });
}
