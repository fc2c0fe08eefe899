//! DNS messages, as far as netd reads and writes them (RFC 1035; EDNS: RFC 6891).
//!
//! Of a query everything is read, of an upstream server's response only whether it answers the question that was asked:
//! its records go to the container as they are. So nothing here follows a compression pointer: a question has none,
//! being the first name of its message.

mod name;
mod query;
mod response;
#[cfg(test)]
pub(super) mod tests;

pub(super) use self::name::{Name, reversed, single};
pub(super) use self::query::{Parsed, Query, parse};
pub(super) use self::response::{Data, Response, Verdict, cut, refusal, verdict};

/// Bytes of a message's header.
const HEADER: usize = 12;

/// Record types (RFC 1035, 3.2.2; RFC 3596; RFC 6891).
pub(super) mod kind {
    pub(crate) const A: u16 = 1;
    pub(crate) const PTR: u16 = 12;
    pub(crate) const AAAA: u16 = 28;
    pub(super) const OPT: u16 = 41;
    pub(super) const IXFR: u16 = 251;
    pub(super) const AXFR: u16 = 252;
}

/// Classes of records.
mod class {
    pub(super) const INTERNET: u16 = 1;
    pub(super) const ANY: u16 = 255;
}

/// Response codes (RFC 1035, 4.1.1; RFC 6891, 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    NoError = 0,
    Malformed = 1,
    ServerFailure = 2,
    NoSuchName = 3,
    NotImplemented = 4,
    Refused = 5,
    /// Needs an EDNS record, which carries its upper bits.
    BadVersion = 16,
}

/// The bits of a header's second 16-bit word.
mod flag {
    pub(super) const RESPONSE: u16 = 0x8000;
    pub(super) const OPCODE: u16 = 0x7800;
    pub(super) const AUTHORITATIVE: u16 = 0x0400;
    pub(super) const TRUNCATED: u16 = 0x0200;
    pub(super) const RECURSION_DESIRED: u16 = 0x0100;
    pub(super) const RECURSION_AVAILABLE: u16 = 0x0080;
    pub(super) const AUTHENTIC: u16 = 0x0020;
    pub(super) const CHECKING_DISABLED: u16 = 0x0010;
    pub(super) const CODE: u16 = 0x000f;
}

/// Bytes of an EDNS record without options.
const OPT_LENGTH: usize = 11;
/// The bit of an EDNS record that asks for DNSSEC's records.
const DNSSEC: u16 = 0x8000;

/// Adds an EDNS record: the longest datagram that we take, the upper bits of the response code.
fn write_opt(packet: &mut Vec<u8>, size: u16, code: u8, dnssec: bool) {
    packet.push(0);
    packet.extend(kind::OPT.to_be_bytes());
    packet.extend(size.to_be_bytes());
    packet.extend([code, 0]);
    packet.extend(if dnssec { DNSSEC } else { 0 }.to_be_bytes());
    packet.extend([0, 0]);
}

/// Reads a message from its beginning; `None` where it ends too early.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(message: &'a [u8]) -> Self {
        Self { message, at: 0 }
    }

    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let bytes = self.message.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn u8(&mut self) -> Option<u8> {
        self.bytes(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes = self.bytes(2)?.try_into().ok()?;
        Some(u16::from_be_bytes(bytes))
    }
}
