//! Questions by UDP, and what becomes of any question.

use std::net::SocketAddr;

use super::{Server, Token};
use crate::netd::dns::{Code, Parsed, parse, refusal};
use crate::netd::names::Holder;

/// The most packets that are read of one container before others have their turn.
const BURST: usize = 16;

/// Where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// To this address, from the container's UDP socket.
    Datagram(SocketAddr),
    /// Through this TCP connection.
    Stream(Token),
}

/// What became of a question.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The answer is in the server's buffer.
    Answered,
    /// An upstream server was asked. The answer comes later.
    Forwarded,
    /// It was none.
    Ignored,
}

impl Server {
    pub(super) fn datagrams(&mut self, holder: Holder) {
        let mut packet = std::mem::take(&mut self.packet);
        for _ in 0..BURST {
            let Some(socket) = self.socket_of(holder) else {
                break;
            };
            let Ok((length, from)) = socket.recv_from(&mut packet) else {
                break;
            };
            let question = packet.get(..length).unwrap_or_default();
            if self.ask(holder, question, Asker::Datagram(from)) == Outcome::Answered {
                self.send(holder, from);
            }
        }
        self.packet = packet;
    }

    /// Sends the answer in the buffer. A client that takes no answers loses them.
    pub(super) fn send(&self, holder: Holder, to: SocketAddr) {
        if let Some(socket) = self.socket_of(holder) {
            let _ = socket.send_to(&self.answer, to);
        }
    }

    fn socket_of(&self, holder: Holder) -> Option<&std::net::UdpSocket> {
        Some(&self.containers.get(&holder)?.resolver.as_ref()?.udp)
    }

    /// Answers a container's question, or asks an upstream server.
    pub(super) fn ask(&mut self, holder: Holder, packet: &[u8], asker: Asker) -> Outcome {
        let query = match parse(packet) {
            Parsed::Noise => return Outcome::Ignored,
            Parsed::Wrong(query, code) => {
                refusal(&query, code, &mut self.answer);
                return Outcome::Answered;
            }
            Parsed::Query(query) => query,
        };
        let Some(container) = self.containers.get(&holder) else {
            return Outcome::Ignored;
        };
        let limit = asker.limit(&query);
        if self
            .names
            .answer(container.networks(), &query, &mut self.answer, limit)
        {
            return Outcome::Answered;
        }
        if !container.may_ask_elsewhere() {
            refusal(&query, Code::NoSuchName, &mut self.answer);
            return Outcome::Answered;
        }
        self.forward(holder, &query, asker)
    }
}
