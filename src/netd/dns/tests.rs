use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A question as a client writes it: this name, type and class, and EDNS when a size is given.
pub(crate) fn asking(name: &str, kind: u16, edns: Option<u16>) -> Vec<u8> {
    let mut packet = vec![
        0x12,
        0x34,
        0x01,
        0x00,
        0,
        1,
        0,
        0,
        0,
        0,
        0,
        u8::from(edns.is_some()),
    ];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        packet.push(label.len() as u8);
        packet.extend(label.as_bytes());
    }
    packet.push(0);
    packet.extend(kind.to_be_bytes());
    packet.extend([0, 1]);
    if let Some(size) = edns {
        write_opt(&mut packet, size, 0, true);
    }
    packet
}

fn query(packet: &[u8]) -> Query<'_> {
    match parse(packet) {
        Parsed::Query(query) => query,
        Parsed::Wrong(_, code) => panic!("{code:?}"),
        Parsed::Noise => panic!("noise"),
    }
}

fn wrong(packet: &[u8]) -> Code {
    match parse(packet) {
        Parsed::Wrong(_, code) => code,
        Parsed::Query(_) => panic!("a query"),
        Parsed::Noise => panic!("noise"),
    }
}

fn name(text: &str) -> Name {
    Name::of(text).unwrap()
}

#[test]
fn names_are_compared_in_lower_case() {
    assert_eq!(query(&asking("Db.SHOP", 1, None)).name.bytes(), b"\x02db\x04shop");
    assert_eq!(name("DB.shop.").bytes(), b"\x02db\x04shop");
    assert!(Name::of("").is_none());
    assert!(Name::of("a..b").is_none());
    assert!(Name::of(&"x".repeat(64)).is_none());
    assert!(Name::of(&"x".repeat(63)).is_some());
    assert!(Name::of(&["abcdefg"; 31].join(".")).is_some());
    assert!(Name::of(&["abcdefg"; 32].join(".")).is_none());
}

#[test]
fn a_name_is_within_another_by_whole_parts() {
    assert!(name("db.shop").is_within(&name("shop")));
    assert!(name("shop").is_within(&name("shop")));
    assert!(name("a.b.shop").is_within(&name("shop")));
    assert!(!name("db.myshop").is_within(&name("shop")));
    assert!(!name("shop").is_within(&name("db.shop")));
    // A part whose last bytes look like a length and the name.
    assert!(!name("a\x04shop").is_within(&name("shop")));
    assert_eq!(
        name("db").below(&name("shop")).unwrap().bytes(),
        name("db.shop").bytes()
    );
    assert!(name("db").is_single() && !name("db.shop").is_single() && !Name::ROOT.is_single());
}

#[test]
fn names_of_addresses_are_read_backwards() {
    let of = |text: &str| reversed(&name(text)).map(|net| net.to_string());
    assert_eq!(of("7.0.186.10.in-addr.arpa").unwrap(), "10.186.0.7/32");
    assert_eq!(of("x.7.0.186.10.IN-ADDR.arpa").unwrap(), "10.186.0.7/32");
    assert_eq!(of("186.10.in-addr.arpa").unwrap(), "10.186.0.0/16");
    assert_eq!(of("in-addr.arpa").unwrap(), "0.0.0.0/0");
    assert_eq!(of("256.10.in-addr.arpa"), None);
    let full = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.f.e.d.f.ip6.arpa";
    assert_eq!(of(full).unwrap(), "fdef::1/128");
    assert_eq!(of(&format!("a.b.c.{full}")).unwrap(), "fdef::1/128");
    assert_eq!(of("d.f.ip6.arpa").unwrap(), "fd00::/8");
    assert_eq!(of("ip6.arpa").unwrap(), "::/0");
    assert_eq!(of("10.d.f.ip6.arpa"), None);
    assert_eq!(of("db.shop"), None);
}

#[test]
fn a_question_with_edns_says_how_much_fits() {
    assert_eq!(query(&asking("db", 1, None)).datagram(), 512);
    assert_eq!(query(&asking("db", 1, Some(0))).datagram(), 512);
    assert_eq!(query(&asking("db", 1, Some(1232))).datagram(), 1232);
    assert_eq!(query(&asking("db", 1, Some(65_535))).datagram(), 4096);
}

#[test]
fn what_is_no_question_gets_no_answer_or_an_error() {
    let good = asking("db", 1, None);
    let with = |index: usize, byte: u8| {
        let mut packet = good.clone();
        packet[index] = byte;
        packet
    };
    assert!(matches!(parse(&good[..11]), Parsed::Noise));
    assert!(matches!(parse(&with(2, 0x81)), Parsed::Noise));
    assert_eq!(wrong(&good[..good.len() - 1]), Code::Malformed);
    // NOTIFY; two questions; an answer in a question.
    assert_eq!(wrong(&with(2, 0x21)), Code::NotImplemented);
    assert_eq!(wrong(&with(5, 2)), Code::Malformed);
    assert_eq!(wrong(&with(7, 1)), Code::Malformed);
    // CHAOS; a transfer of a zone; the pseudo-type of EDNS.
    assert_eq!(wrong(&with(good.len() - 1, 3)), Code::Refused);
    assert_eq!(wrong(&asking("shop", 252, None)), Code::Refused);
    assert_eq!(wrong(&asking("db", 41, None)), Code::Malformed);
    // A later version of EDNS.
    let mut later = asking("db", 1, Some(512));
    let version = later.len() - 5;
    later[version] = 1;
    assert_eq!(wrong(&later), Code::BadVersion);
    let Parsed::Wrong(query, code) = parse(&later) else {
        panic!()
    };
    let mut out = Vec::new();
    refusal(&query, code, &mut out);
    // The upper bits of 16 are in the EDNS record.
    assert_eq!((out[3] & 0x0f, out[out.len() - 6]), (0, 1));
}

#[test]
fn a_name_that_points_to_itself_is_malformed() {
    let mut packet = asking("", 1, None);
    packet.splice(12..13, [0xc0, 12]);
    assert_eq!(wrong(&packet), Code::Malformed);
    let mut packet = asking("db", 1, None);
    packet.splice(12.., [2, b'd', b'b', 0xc0, 12, 0, 1, 0, 1]);
    assert_eq!(wrong(&packet), Code::Malformed);
    // Behind the question pointers are passed over, not followed.
    let mut packet = asking("db", 1, None);
    let at = packet.len() as u8;
    packet[11] = 1;
    packet.extend([0xc0, at, 0, 250, 0, 255, 0, 0, 0, 0, 0, 0]);
    assert_eq!(query(&packet).name.bytes(), name("db").bytes());
}

#[test]
fn an_answer_has_the_question_as_asked_and_its_records() {
    let packet = asking("Db", kind::A, Some(1232));
    let query = query(&packet);
    let mut out = vec![1; 40];
    let mut response = Response::to(&query, &mut out, 1232);
    response.add(&Data::A(Ipv4Addr::new(10, 0, 0, 7)));
    response.add(&Data::Aaaa(Ipv6Addr::LOCALHOST));
    response.finish(&query, Code::NoError);
    let expected = [
        &[0x12, 0x34, 0x85, 0x80, 0, 1, 0, 2, 0, 0, 0, 1][..],
        b"\x02Db\x00\x00\x01\x00\x01",
        &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 0, 7],
        &[0xc0, 12, 0, 28, 0, 1, 0, 0, 0, 5, 0, 16],
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        // EDNS: size 1232, DNSSEC bit repeated.
        &[0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0],
    ];
    assert_eq!(out, expected.concat());
}

#[test]
fn records_that_do_not_fit_are_left_out_and_the_answer_says_so() {
    let packet = asking("web", kind::A, None);
    let query = query(&packet);
    let mut out = Vec::new();
    let mut response = Response::to(&query, &mut out, query.datagram());
    for last in 0..200 {
        response.add(&Data::A(Ipv4Addr::new(10, 0, 0, last)));
    }
    response.finish(&query, Code::NoError);
    assert!(out.len() <= 512 && out.len() > 512 - 16, "{}", out.len());
    assert_eq!(out[2] & 0x02, 0x02, "TC");
    assert_eq!(usize::from(out[7]), (out.len() - packet.len()) / 16);
}

#[test]
fn what_is_forwarded_is_written_anew() {
    let mut packet = asking("Example.org", kind::A, Some(65_000));
    // A cookie, which is between the container and us.
    let length = packet.len();
    packet[length - 1] = 12;
    packet.extend([0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
    let expected = asking("Example.org", kind::A, Some(1232));
    let forwarded = query(&packet).forwarded(0xbeef);
    assert_eq!(forwarded[..2], [0xbe, 0xef]);
    assert_eq!(forwarded[2..], expected[2..]);
}

#[test]
fn only_the_answer_to_the_question_counts() {
    let asked = asking("Example.org", kind::A, None);
    let mut answer = asked.clone();
    answer[2] |= 0x80;
    assert_eq!(verdict(&answer, &asked), Verdict::Answer);
    assert_eq!(verdict(&asked, &asked), Verdict::Foreign, "a question");
    assert_eq!(verdict(&answer[..11], &asked), Verdict::Foreign);
    let changed = |index: usize, byte: u8| {
        let mut answer = answer.clone();
        answer[index] = byte;
        verdict(&answer, &asked)
    };
    assert_eq!(changed(1, 0x35), Verdict::Foreign, "number");
    assert_eq!(changed(14, b'y'), Verdict::Foreign, "name");
    assert_eq!(changed(13, b'e'), Verdict::Answer, "case");
    assert_eq!(changed(asked.len() - 3, 28), Verdict::Foreign, "type");
    assert_eq!(changed(5, 2), Verdict::Foreign, "questions");
    assert_eq!(changed(3, 2), Verdict::Failure, "SERVFAIL");
    assert_eq!(changed(3, 3), Verdict::Answer, "NXDOMAIN");
    let mut short = answer[..12].to_vec();
    short[5] = 0;
    assert_eq!(verdict(&short, &asked), Verdict::Foreign);
    short[3] = 1;
    assert_eq!(verdict(&short, &asked), Verdict::Failure, "FORMERR");
}

#[test]
fn an_answer_that_is_too_long_is_cut_to_its_question() {
    let packet = asking("example.org", kind::A, None);
    let query = query(&packet);
    let mut answer = asking("example.org", kind::A, None);
    answer[2] |= 0x80;
    answer[0] = 0xff;
    cut(&mut answer, &query, 512);
    assert_eq!((answer[0], answer[2] & 0x02), (0x12, 0));
    answer.extend([0; 600]);
    cut(&mut answer, &query, 512);
    assert_eq!(
        (answer.len(), answer[0], answer[2] & 0x02),
        (packet.len(), 0x12, 0x02)
    );
}

proptest! {
    #[test]
    fn no_packet_makes_the_reader_panic(packet in vec(any::<u8>(), 0..600)) {
        if let Parsed::Query(query) | Parsed::Wrong(query, _) = parse(&packet) {
            let mut out = Vec::new();
            refusal(&query, Code::Refused, &mut out);
            prop_assert!(out.len() >= HEADER);
            let _ = reversed(&query.name);
            let _ = query.name.is_single();
            let forwarded = query.forwarded(1);
            let _ = verdict(&packet, &forwarded);
        }
    }

    /// Most random packets fail early; these get further.
    #[test]
    fn no_damage_to_a_question_makes_the_reader_panic(
        labels in vec("[a-zA-Z0-9_-]{1,63}", 1..6),
        kind in any::<u16>(),
        edns in proptest::option::of(any::<u16>()),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        end in any::<prop::sample::Index>(),
    ) {
        let mut packet = asking(&labels.join("."), kind, edns);
        for (index, byte) in damage {
            let index = index.index(packet.len());
            packet[index] = byte;
        }
        packet.truncate(end.index(packet.len() + 1));
        if let Parsed::Query(query) | Parsed::Wrong(query, _) = parse(&packet) {
            let mut out = Vec::new();
            refusal(&query, Code::ServerFailure, &mut out);
            let mut answer = query.forwarded(7);
            let _ = verdict(&answer, &query.forwarded(7));
            cut(&mut answer, &query, 512);
        }
    }

    #[test]
    fn any_name_survives_the_way_through_a_message(labels in vec("[a-z0-9_-]{1,20}", 1..10)) {
        let text = labels.join(".");
        let packet = asking(&text, 1, None);
        let own = name(&text);
        prop_assert!(query(&packet).name.bytes() == own.bytes());
        prop_assert!(own.is_within(&name(labels.last().unwrap())));
    }
}
