//! A blocking netlink socket that sends a batch of requests in one call and collects every answer.
//!
//! The kernel handles the requests of one datagram in order, within the send. Attaching a container is two such
//! sends; an asynchronous connection would be a round trip per request (see docs/networking.md for the figures).

use std::cell::RefCell;
use std::sync::Arc;

use netlink_packet_core::{
    Emitable, NLA_TYPE_MASK, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_ECHO, NLM_F_REQUEST,
    NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;

use crate::error::{Error, Kind, OsContext, Result};

/// `sizeof(struct nlmsghdr)`.
const NETLINK_HEADER_LEN: usize = 16;

/// One request: the message without its header, and the words for its failure.
pub(in crate::net) struct Request {
    kind: u16,
    flags: u16,
    payload: Vec<u8>,
    answered: bool,
    stage: &'static str,
    subject: String,
}

impl Request {
    /// A request that the kernel answers with an acknowledgement. `flags` come on top of NLM_F_REQUEST.
    pub(in crate::net) fn change(
        kind: u16,
        flags: u16,
        payload: &impl Emitable,
        stage: &'static str,
        subject: impl Into<String>,
    ) -> Self {
        Self::raw(kind, flags | NLM_F_ACK, emit(payload), stage, subject)
    }

    /// Asks the kernel for the message with which it tells others of the change (NLM_F_ECHO). Of a new link it says it
    /// since Linux 6.2; before, the answer stays empty.
    pub(in crate::net) fn echoed(mut self) -> Self {
        self.flags |= NLM_F_ECHO;
        self
    }

    /// A request that the kernel answers with one message, or with an error.
    pub(in crate::net) fn query(
        kind: u16,
        payload: &impl Emitable,
        stage: &'static str,
        subject: impl Into<String>,
    ) -> Self {
        Self::raw(kind, 0, emit(payload), stage, subject)
    }

    /// A request whose payload is encoded already.
    pub(in crate::net) fn raw(
        kind: u16,
        flags: u16,
        payload: Vec<u8>,
        stage: &'static str,
        subject: impl Into<String>,
    ) -> Self {
        let (flags, subject) = (flags | NLM_F_REQUEST, subject.into());
        Self {
            kind,
            flags,
            payload,
            answered: true,
            stage,
            subject,
        }
    }

    /// The kernel says nothing to this one when it succeeds (nfnetlink's batch marks).
    pub(in crate::net) fn unanswered(mut self) -> Self {
        self.answered = false;
        self
    }

    fn error(&self, errno: Errno, detail: Option<String>) -> Error {
        let error = Error::os(self.stage, &self.subject, errno);
        match detail {
            Some(detail) => error.hint(format_args!("the kernel says: {detail}")),
            None => error,
        }
    }
}

fn emit(payload: &impl Emitable) -> Vec<u8> {
    let mut bytes = vec![0; payload.buffer_len()];
    payload.emit(&mut bytes);
    bytes
}

thread_local! {
    /// Sockets of netfilter stay open until the thread ends. Closing one waits until the kernel is through with what was
    /// removed from nftables' sets, by whomever: 4 to 12 ms, which nobody has to spend under a lock (Linux 6.18).
    static KEPT: RefCell<Vec<Arc<Socket>>> = const { RefCell::new(Vec::new()) };
}

/// A socket of one netlink family, in the network namespace in which it was opened.
pub(in crate::net) struct Netlink {
    socket: Arc<Socket>,
    sequence: u32,
}

impl Netlink {
    /// `protocol`: NETLINK_ROUTE, NETLINK_NETFILTER or NETLINK_SOCK_DIAG. The socket belongs to the calling thread's network namespace.
    pub(in crate::net) fn open(protocol: isize) -> Result<Self> {
        let mut socket = Socket::new(protocol).os("open", "netlink socket")?;
        socket.bind_auto().os("bind", "netlink socket")?;
        // Answers without a copy of the request, and with the kernel's own words about what is wrong.
        socket
            .set_cap_ack(true)
            .os("set NETLINK_CAP_ACK on", "netlink socket")?;
        socket
            .set_ext_ack(true)
            .os("set NETLINK_EXT_ACK on", "netlink socket")?;
        let socket = Arc::new(socket);
        if protocol == NETLINK_NETFILTER {
            KEPT.with_borrow_mut(|kept| kept.push(Arc::clone(&socket)));
        }
        Ok(Self { socket, sequence: 1 })
    }

    /// Sends all `requests` at once and returns the payload of each one's answer or echo, empty for an acknowledgement alone.
    ///
    /// # Errors
    /// The first request that the kernel refused. Requests after it may have been carried out.
    pub(in crate::net) fn exchange(&mut self, requests: &[Request]) -> Result<Vec<Vec<u8>>> {
        let first = self.sequence;
        let mut datagram = Vec::with_capacity(1024);
        for request in requests {
            append(&mut datagram, request, self.sequence);
            self.sequence = self.sequence.wrapping_add(1);
        }
        self.socket
            .send_to(&datagram, &SocketAddr::new(0, 0), 0)
            .os("send to", "netlink socket")?;

        let mut answers = vec![Vec::new(); requests.len()];
        let mut awaited = requests.iter().filter(|request| request.answered).count();
        let mut failure = None;
        let mut buffer = Vec::with_capacity(32 * 1024);
        while awaited > 0 {
            buffer.clear();
            match self.socket.recv(&mut buffer, 0).map(|_| ()) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                result => result.os("receive from", "netlink socket")?,
            }
            for message in messages(&buffer) {
                let message = message?;
                let index = message.sequence_number().wrapping_sub(first) as usize;
                // Not ours: an answer to an exchange that failed half way.
                let Some(request) = requests.get(index) else {
                    continue;
                };
                match outcome(&message) {
                    Outcome::Data(payload) => {
                        answers[index] = payload.to_vec();
                        // An echo; the acknowledgement follows.
                        if request.flags & NLM_F_ACK != 0 {
                            continue;
                        }
                    }
                    Outcome::Done => {}
                    Outcome::Refused(errno, detail) if request.answered => {
                        failure = failure.or_else(|| Some(request.error(errno, detail)));
                    }
                    // The whole batch was refused: nothing else will come.
                    Outcome::Refused(errno, detail) => return Err(request.error(errno, detail)),
                }
                awaited -= usize::from(request.answered && awaited > 0);
            }
        }
        match failure {
            None => Ok(answers),
            Some(error) => Err(error),
        }
    }

    /// Asks for everything of a kind and shows the payload of each message of the answer to `each`. What comes or goes
    /// while the kernel answers may be missing.
    ///
    /// # Errors
    /// When the kernel refused, or the first that `each` returned; the answer is read to its end all the same.
    pub(in crate::net) fn dump(
        &mut self,
        request: Request,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let request = Request {
            flags: request.flags | NLM_F_DUMP,
            ..request
        };
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        let mut datagram = Vec::new();
        append(&mut datagram, &request, sequence);
        self.socket
            .send_to(&datagram, &SocketAddr::new(0, 0), 0)
            .os("send to", "netlink socket")?;

        let mut result = Ok(());
        let mut buffer = Vec::with_capacity(32 * 1024);
        loop {
            buffer.clear();
            match self.socket.recv(&mut buffer, 0).map(|_| ()) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                received => received.os("receive from", "netlink socket")?,
            }
            for message in messages(&buffer) {
                let message = message?;
                if message.sequence_number() != sequence {
                    continue;
                }
                match outcome(&message) {
                    Outcome::Data(payload) => result = result.and_then(|()| each(payload)),
                    Outcome::Done => return result,
                    Outcome::Refused(errno, detail) => return Err(request.error(errno, detail)),
                }
            }
        }
    }
}

/// Whether the error only says that the thing asked for does not exist.
pub(in crate::net) fn absent(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::ENODEV | Errno::ENOENT))
}

/// One attribute of a request: `struct nlattr` and value, padded to four bytes. `kind` carries NLA_F_NESTED when the value
/// is attributes.
pub(in crate::net) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    const HEADER: usize = 4;
    let length = (HEADER + value.len()) as u16;
    let mut bytes = [&length.to_ne_bytes(), &kind.to_ne_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// One attribute of an answer (`struct nlattr`).
pub(in crate::net) struct Received<'a> {
    pub(in crate::net) kind: u16,
    pub(in crate::net) value: &'a [u8],
    /// With its header and padding, to be sent back as it came.
    pub(in crate::net) whole: &'a [u8],
}

/// The attributes in `bytes`, up to the first that is damaged.
pub(in crate::net) fn attributes(bytes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    const HEADER: usize = 4;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let kind = u16::from_ne_bytes(*rest.get(2..)?.first_chunk()?);
        let value = rest.get(HEADER..length)?;
        let (whole, after) = rest.split_at(length.next_multiple_of(4).min(rest.len()));
        rest = after;
        Some(Received {
            kind: kind & NLA_TYPE_MASK,
            value,
            whole,
        })
    })
}

/// The value of the first attribute of this kind.
pub(in crate::net) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|attribute| attribute.kind == kind)
        .map(|attribute| attribute.value)
}

/// `struct nlmsghdr` and payload, padded to four bytes (netlink(7)).
fn append(datagram: &mut Vec<u8>, request: &Request, sequence: u32) {
    let length = (NETLINK_HEADER_LEN + request.payload.len()) as u32;
    datagram.extend(length.to_ne_bytes());
    datagram.extend(request.kind.to_ne_bytes());
    datagram.extend(request.flags.to_ne_bytes());
    datagram.extend(sequence.to_ne_bytes());
    datagram.extend(0u32.to_ne_bytes());
    datagram.extend(&request.payload);
    datagram.resize(datagram.len().next_multiple_of(4), 0);
}

pub(in crate::net) fn messages(buffer: &[u8]) -> impl Iterator<Item = Result<NetlinkBuffer<&[u8]>>> {
    let mut rest = buffer;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        Some(match NetlinkBuffer::new_checked(rest) {
            Ok(message) => {
                let length = (message.length() as usize).next_multiple_of(4);
                rest = rest.get(length..).unwrap_or_default();
                Ok(message)
            }
            Err(error) => {
                rest = &[];
                Err(Error::new(
                    Kind::Os,
                    format_args!("read answer of the kernel: {error}"),
                ))
            }
        })
    })
}

/// What a message is about its request.
pub(in crate::net) enum Outcome<'a> {
    Data(&'a [u8]),
    Done,
    Refused(Errno, Option<String>),
}

pub(in crate::net) fn outcome<'a>(message: &NetlinkBuffer<&'a [u8]>) -> Outcome<'a> {
    let payload = message.payload();
    // The end of a dump carries an error number as an acknowledgement does.
    if !matches!(message.message_type(), NLMSG_ERROR | NLMSG_DONE) {
        return Outcome::Data(payload);
    }
    let code = payload
        .first_chunk()
        .map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    match code {
        0 => Outcome::Done,
        code => Outcome::Refused(
            Errno::from_raw(code.wrapping_neg()),
            detail(message.flags(), payload),
        ),
    }
}

/// The kernel's words behind an error: NLMSGERR_ATTR_MSG after the error number and the header of the request.
fn detail(flags: u16, payload: &[u8]) -> Option<String> {
    const NLMSGERR_ATTR_MSG: u16 = 1;
    if flags & NLM_F_ACK_TLVS == 0 || flags & NLM_F_CAPPED == 0 {
        return None;
    }
    let text = find(payload.get(4 + NETLINK_HEADER_LEN..)?, NLMSGERR_ATTR_MSG)?;
    let text = String::from_utf8_lossy(text).trim_end_matches('\0').to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct nlmsgerr` behind its header.
    fn refusal(code: i32) -> Vec<u8> {
        let mut bytes = 36_u32.to_ne_bytes().to_vec();
        bytes.extend(NLMSG_ERROR.to_ne_bytes());
        bytes.resize(NETLINK_HEADER_LEN, 0);
        bytes.extend(code.to_ne_bytes());
        bytes.resize(36, 0);
        bytes
    }

    #[test]
    fn no_error_number_makes_the_reader_panic() {
        for code in [-1, i32::MAX, i32::MIN] {
            let bytes = refusal(code);
            let message = messages(&bytes).next().unwrap().unwrap();
            assert!(matches!(outcome(&message), Outcome::Refused(..)), "{code}");
        }
    }
}
