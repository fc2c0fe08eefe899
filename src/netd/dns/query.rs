//! What a container asks: one question, perhaps with EDNS.

use super::{Code, HEADER, Name, Reader, class, flag, kind};

/// What a client that speaks EDNS says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edns {
    /// The longest answer that it takes in a datagram, in bytes.
    pub(crate) size: u16,
    /// It wants DNSSEC's records.
    pub(crate) dnssec: bool,
    version: u8,
}

/// A question.
#[derive(Clone)]
pub(crate) struct Query<'a> {
    /// The client's number for it.
    pub(crate) id: u16,
    pub(super) flags: u16,
    pub(crate) name: Name,
    /// The record type that is asked for.
    pub(crate) kind: u16,
    /// The question as it was written.
    pub(super) question: &'a [u8],
    pub(super) edns: Option<Edns>,
}

/// What a packet is.
pub(crate) enum Parsed<'a> {
    Query(Query<'a>),
    /// To be answered with this code; the query is as far as it could be read.
    Wrong(Query<'a>, Code),
    /// Not to be answered: too short, or itself an answer.
    Noise,
}

/// The most records beside EDNS that are passed over.
const MOST_RECORDS: u16 = 4;

/// Reads a packet of a container. Never panics, whatever it holds.
pub(crate) fn parse(packet: &[u8]) -> Parsed<'_> {
    let mut reader = Reader::new(packet);
    let mut word = || reader.u16();
    let (Some(id), Some(flags), Some(questions), Some(answers), Some(authorities), Some(further)) =
        (word(), word(), word(), word(), word(), word())
    else {
        return Parsed::Noise;
    };
    if flags & flag::RESPONSE != 0 {
        return Parsed::Noise;
    }
    let mut query = Query {
        id,
        flags,
        name: Name::ROOT,
        kind: 0,
        question: &[],
        edns: None,
    };
    if flags & flag::OPCODE != 0 {
        return Parsed::Wrong(query, Code::NotImplemented);
    }
    if (questions, answers, authorities) != (1, 0, 0) {
        return Parsed::Wrong(query, Code::Malformed);
    }
    let Some((name, kind, class)) = question(&mut reader) else {
        return Parsed::Wrong(query, Code::Malformed);
    };
    query.name = name;
    query.kind = kind;
    query.question = packet.get(HEADER..reader.at).unwrap_or_default();
    if further > MOST_RECORDS {
        return Parsed::Wrong(query, Code::Malformed);
    }
    for _ in 0..further {
        match record(&mut reader) {
            Some(Some(edns)) if query.edns.is_none() => query.edns = Some(edns),
            Some(None) => {}
            _ => return Parsed::Wrong(query, Code::Malformed),
        }
    }
    let wrong = match (query.edns, class, kind) {
        (Some(edns), ..) if edns.version != 0 => Code::BadVersion,
        (_, _, kind::OPT) => Code::Malformed,
        (_, _, kind::AXFR | kind::IXFR) => Code::Refused,
        (_, class::INTERNET | class::ANY, _) => return Parsed::Query(query),
        _ => Code::Refused,
    };
    Parsed::Wrong(query, wrong)
}

/// Name, type and class.
fn question(reader: &mut Reader<'_>) -> Option<(Name, u16, u16)> {
    Some((Name::read(reader)?, reader.u16()?, reader.u16()?))
}

/// A record after the question: EDNS, or one that does not matter here (a signature of the message, say).
fn record(reader: &mut Reader<'_>) -> Option<Option<Edns>> {
    let mut is_root = true;
    loop {
        match reader.u8()? {
            0 => break,
            length @ 1..=63 => drop(reader.bytes(usize::from(length))?),
            // A compression pointer, which ends a name.
            192.. => {
                reader.u8()?;
                is_root = false;
                break;
            }
            _ => return None,
        }
        is_root = false;
    }
    let (kind, size) = (reader.u16()?, reader.u16()?);
    let (_code, version, bits) = (reader.u8()?, reader.u8()?, reader.u16()?);
    let length = reader.u16()?;
    reader.bytes(usize::from(length))?;
    match kind {
        kind::OPT if is_root => Some(Some(Edns {
            size,
            dnssec: bits & super::DNSSEC != 0,
            version,
        })),
        kind::OPT => None,
        _ => Some(None),
    }
}

impl Query<'_> {
    /// The longest answer in bytes that this client takes in a datagram, and that we send.
    pub(crate) fn datagram(&self) -> usize {
        const SMALLEST: u16 = 512;
        // Within the container's own loopback: no packet is that large that it would be cut to pieces.
        const LARGEST: u16 = 4096;
        self.edns
            .map_or(SMALLEST, |edns| edns.size.clamp(SMALLEST, LARGEST))
            .into()
    }

    /// The question for an upstream server, under a number of our own. It is written anew, so that what else a container
    /// has put into its packet stays here.
    pub(crate) fn forwarded(&self, id: u16) -> Vec<u8> {
        // What passes every network in one piece (DNS flag day 2020).
        const LARGEST: u16 = 1232;
        let kept = flag::RECURSION_DESIRED | flag::AUTHENTIC | flag::CHECKING_DISABLED;
        let mut packet = Vec::with_capacity(HEADER + self.question.len() + super::OPT_LENGTH);
        let further = u16::from(self.edns.is_some());
        for word in [id, self.flags & kept, 1, 0, 0, further] {
            packet.extend(word.to_be_bytes());
        }
        packet.extend_from_slice(self.question);
        if let Some(edns) = self.edns {
            super::write_opt(&mut packet, edns.size.clamp(512, LARGEST), 0, edns.dnssec);
        }
        packet
    }
}
