//! What `make fuzz` gives to the parsers of this room, which nobody else outside calls.

use std::net::IpAddr;

use super::dns::{Code, Parsed, Verdict, cut, parse, refusal, verdict};
use super::names::Names;
use super::protocol::{Request, Station};
use super::upstream;

/// A container's packet with the answers to it; behind its question, what an upstream server answers.
pub fn questions(packet: &[u8]) {
    let mut names = Names::default();
    names.add(1, &station());
    let mut out = Vec::new();
    let query = match parse(packet) {
        Parsed::Query(query) => query,
        Parsed::Wrong(query, code) => return refusal(&query, code, &mut out),
        Parsed::Noise => return,
    };
    let limit = query.datagram();
    names.answer(["front"].into_iter(), &query, &mut out, limit);
    assert!(out.len() <= limit, "an answer of {} bytes", out.len());
    refusal(&query, Code::ServerFailure, &mut out);
    let asked = query.forwarded(query.id);
    if let Parsed::Noise | Parsed::Wrong(..) = parse(&asked) {
        panic!("what is forwarded is no question");
    }
    // The container's packet with the bit of an answer: in the simplest case it repeats the question.
    let mut answer = packet.to_vec();
    if let Some(flags) = answer.get_mut(2) {
        *flags |= 0x80;
    }
    if verdict(&answer, &asked) == Verdict::Answer {
        cut(&mut answer, &query, limit);
        assert!(answer.len() <= limit, "a cut answer of {} bytes", answer.len());
    }
}

fn station() -> Station {
    Station {
        container: "web".to_owned(),
        network: "front".to_owned(),
        internal: false,
        names: ["web", "www.example.org"].map(str::to_owned).to_vec(),
        unready: Vec::new(),
        addresses: vec![
            IpAddr::from([10, 186, 0, 2]),
            IpAddr::from([0xfd, 0, 0, 0, 0, 0, 0, 2]),
        ],
        pools: Vec::new(),
        upstream: Vec::new(),
    }
}

/// What a runtime asks of netd.
pub fn request(text: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<Request>(text) {
        let _ = request.descriptors();
        if let Request::Register { station, .. } = request {
            let mut names = Names::default();
            names.add(1, &station);
            names.remove(1, &station);
        }
    }
}

/// The host's /etc/resolv.conf.
pub fn nameservers(text: &str) {
    assert!(!upstream::nameservers(text).is_empty(), "nobody to ask");
}
