//! Answers: those that netd writes, and whether an upstream server's answer is one.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Code, HEADER, Name, Query, Reader, class, flag, kind};

/// Seconds for which a client may keep an answer. Containers come and go.
const TTL: u32 = 5;

/// A pointer to the question's name, right behind the header.
const ASKED_NAME: [u8; 2] = [0xc0, HEADER as u8];

/// What a record says.
pub(crate) enum Data<'a> {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Ptr(&'a Name),
}

/// An answer being written.
pub(crate) struct Response<'a> {
    out: &'a mut Vec<u8>,
    limit: usize,
    answers: u16,
    truncated: bool,
}

impl<'a> Response<'a> {
    /// Begins an answer to `query` of at most `limit` bytes in `out`, which is emptied.
    pub(crate) fn to(query: &Query<'_>, out: &'a mut Vec<u8>, limit: usize) -> Self {
        out.clear();
        let copied = flag::OPCODE | flag::RECURSION_DESIRED | flag::CHECKING_DISABLED;
        let flags = flag::RESPONSE | flag::RECURSION_AVAILABLE | query.flags & copied;
        let questions = u16::from(!query.question.is_empty());
        for word in [query.id, flags, questions, 0, 0, 0] {
            out.extend(word.to_be_bytes());
        }
        out.extend_from_slice(query.question);
        let opt = query.edns.map_or(0, |_| super::OPT_LENGTH);
        Self {
            out,
            limit: limit.saturating_sub(opt),
            answers: 0,
            truncated: false,
        }
    }

    /// Adds a record for the name that was asked for; what does not fit is left out, and the answer says so.
    pub(crate) fn add(&mut self, data: &Data<'_>) {
        let before = self.out.len();
        let kind = match data {
            Data::A(_) => kind::A,
            Data::Aaaa(_) => kind::AAAA,
            Data::Ptr(_) => kind::PTR,
        };
        self.out.extend(ASKED_NAME);
        self.out.extend(kind.to_be_bytes());
        self.out.extend(class::INTERNET.to_be_bytes());
        self.out.extend(TTL.to_be_bytes());
        match data {
            Data::A(address) => self.data(&address.octets(), &[]),
            Data::Aaaa(address) => self.data(&address.octets(), &[]),
            Data::Ptr(name) => self.data(name.bytes(), &[0]),
        }
        if self.out.len() > self.limit {
            self.out.truncate(before);
            self.truncated = true;
        } else {
            self.answers += 1;
        }
    }

    fn data(&mut self, bytes: &[u8], end: &[u8]) {
        let length = (bytes.len() + end.len()) as u16;
        self.out.extend(length.to_be_bytes());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(end);
    }

    /// Completes the answer, which is about a name of our own.
    pub(crate) fn finish(self, query: &Query<'_>, code: Code) {
        self.end(query, code, flag::AUTHORITATIVE);
    }

    fn end(self, query: &Query<'_>, code: Code, flags: u16) {
        let code = code as u16;
        let truncated = if self.truncated { flag::TRUNCATED } else { 0 };
        set_word(self.out, 1, |word| word | flags | truncated | code & flag::CODE);
        set_word(self.out, 3, |_| self.answers);
        if let Some(edns) = query.edns {
            set_word(self.out, 5, |_| 1);
            super::write_opt(self.out, query.datagram() as u16, (code >> 4) as u8, edns.dnssec);
        }
    }
}

/// Changes one 16-bit word of a message's header.
fn set_word(message: &mut [u8], index: usize, change: impl FnOnce(u16) -> u16) {
    if let Some(bytes) = message.get_mut(2 * index..2 * index + 2)
        && let Ok(old) = <[u8; 2]>::try_from(&*bytes)
    {
        bytes.copy_from_slice(&change(u16::from_be_bytes(old)).to_be_bytes());
    }
}

/// An answer without records that is not about a name of our own.
pub(crate) fn refusal(query: &Query<'_>, code: Code, out: &mut Vec<u8>) {
    Response::to(query, out, usize::MAX).end(query, code, 0);
}

/// What an upstream server's packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The answer, for the container.
    Answer,
    /// The server cannot say: another one may.
    Failure,
    /// Not an answer to this question: somebody's guess, or late.
    Foreign,
}

/// Judges a packet from the server that got `asked` (which [`Query::forwarded`] made).
pub(crate) fn verdict(packet: &[u8], asked: &[u8]) -> Verdict {
    let mut reader = Reader::new(packet);
    let mut word = || reader.u16();
    let (Some(id), Some(flags), Some(questions)) = (word(), word(), word()) else {
        return Verdict::Foreign;
    };
    let same_id = asked.get(..2) == Some(&id.to_be_bytes()[..]);
    if !same_id || packet.len() < HEADER || flags & flag::RESPONSE == 0 || flags & flag::OPCODE != 0 {
        return Verdict::Foreign;
    }
    let failed = [
        Code::Malformed,
        Code::ServerFailure,
        Code::NotImplemented,
        Code::Refused,
    ]
    .iter()
    .any(|code| flags & flag::CODE == *code as u16);
    match questions {
        // Servers that do not understand a question need not repeat it.
        0 if failed && packet.len() == HEADER => Verdict::Failure,
        1 if !repeats_question(packet, asked) => Verdict::Foreign,
        1 if failed => Verdict::Failure,
        1 => Verdict::Answer,
        _ => Verdict::Foreign,
    }
}

fn repeats_question(packet: &[u8], asked: &[u8]) -> bool {
    let question = |message| {
        let mut reader = Reader::new(message);
        reader.bytes(HEADER)?;
        let name = Name::read(&mut reader)?;
        Some((name, reader.u16()?, reader.u16()?))
    };
    match (question(packet), question(asked)) {
        (Some(ours), Some(theirs)) => {
            ours.0.bytes() == theirs.0.bytes() && (ours.1, ours.2) == (theirs.1, theirs.2)
        }
        _ => false,
    }
}

/// Gives an upstream server's answer the number that the container knows it by; when it is longer than the container
/// takes, only its beginning is left, which says so.
pub(crate) fn cut(answer: &mut Vec<u8>, query: &Query<'_>, limit: usize) {
    set_word(answer, 0, |_| query.id);
    if answer.len() > limit {
        let mut short = Vec::new();
        let mut response = Response::to(query, &mut short, limit);
        response.truncated = true;
        response.end(query, Code::NoError, 0);
        *answer = short;
    }
}
