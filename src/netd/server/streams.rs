//! Questions by TCP: each after its length in two bytes (RFC 1035, 4.2.2; RFC 7766).
//!
//! A connection has one question at a time. Nothing is read while its answer is not with the client, so a client that
//! reads nothing, or writes without end, costs one small buffer until its time is over.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::datagrams::{Asker, Outcome};
use super::{Server, Source, Token};
use crate::netd::names::Holder;

/// The most connections of one container; a further one ends the oldest.
const MOST: usize = 32;
/// The most of all containers; a further one ends the oldest of the container that has most.
const MOST_IN_ALL: usize = 1024;
/// The most connections that are accepted at once.
const BURST: usize = 8;
/// The most questions of one connection before others have their turn.
const QUESTIONS: usize = 16;
/// How long a client may take for a question, and to read the answer. Bytes that trickle in do not prolong it.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest question in bytes.
const LONGEST: usize = 4096;

/// A connection of a container.
pub(super) struct Connection {
    holder: Holder,
    stream: TcpStream,
    deadline: Instant,
    /// The beginning of a question.
    input: Vec<u8>,
    /// An answer with its length, and how much of it has been sent.
    output: Vec<u8>,
    sent: usize,
    /// An upstream server was asked.
    is_waiting: bool,
}

/// What a connection goes on with.
enum Next {
    /// When one of these events comes.
    On(EpollFlags),
    Nothing,
}

impl Server {
    pub(super) fn accept_connection(&mut self, holder: Holder) {
        for _ in 0..BURST {
            let listener = self
                .containers
                .get(&holder)
                .and_then(|container| container.resolver.as_ref());
            let Some(listener) = listener else { return };
            match listener.tcp.accept() {
                Ok((stream, _)) => self.add_connection(holder, stream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                    // It would be reported again at once.
                    Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => {
                        return self.close_oldest_of_most();
                    }
                    // Listens no more: who may administer the container's network can destroy its sockets. This would
                    // be reported for ever.
                    Some(Errno::EINVAL) => return self.unwatch(&listener.tcp),
                    // Of a connection that went wrong before it was accepted (accept(2)).
                    _ => {}
                },
            }
        }
    }

    fn add_connection(&mut self, holder: Holder, stream: TcpStream) {
        let own = self
            .containers
            .get(&holder)
            .map(|container| &container.connections);
        let oldest = own
            .filter(|own| own.len() >= MOST)
            .and_then(|own| own.first().copied());
        match oldest {
            Some(oldest) => self.close_connection(oldest),
            None if self.connections >= MOST_IN_ALL => self.close_oldest_of_most(),
            None => {}
        }
        let token = self.token();
        if stream.set_nonblocking(true).is_err() || self.watch(&stream, token, EpollFlags::EPOLLIN).is_err() {
            return;
        }
        let connection = Connection {
            holder,
            stream,
            deadline: Instant::now() + PATIENCE,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            is_waiting: false,
        };
        self.deadlines.insert((connection.deadline, token));
        self.sources
            .insert(token, Source::Connection(Box::new(connection)));
        self.connections += 1;
        if let Some(container) = self.containers.get_mut(&holder) {
            container.connections.push(token);
        }
    }

    fn close_oldest_of_most(&mut self) {
        let most = self
            .containers
            .values()
            .max_by_key(|container| container.connections.len());
        if let Some(oldest) = most.and_then(|container| container.connections.first().copied()) {
            self.close_connection(oldest);
        }
    }

    pub(super) fn close_connection(&mut self, token: Token) {
        let Some(Source::Connection(connection)) = self.sources.get(&token) else {
            return;
        };
        self.unwatch(&connection.stream);
        self.deadlines.remove(&(connection.deadline, token));
        self.connections -= 1;
        if let Some(container) = self.containers.get_mut(&connection.holder) {
            container.connections.retain(|other| *other != token);
        }
        let waiting = connection.is_waiting.then_some(connection.holder);
        self.sources.remove(&token);
        if let Some(holder) = waiting {
            self.end_exchange_of(holder, token);
        }
    }

    /// Goes on with a connection as far as is possible now.
    pub(super) fn connection(&mut self, token: Token, events: EpollFlags) {
        let Some(Source::Connection(mut connection)) = self.sources.remove(&token) else {
            return;
        };
        let before = connection.deadline;
        let next = match events.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) {
            true => Next::Nothing,
            false => self.advance(&mut connection, token),
        };
        if connection.deadline != before {
            self.deadlines.remove(&(before, token));
            self.deadlines.insert((connection.deadline, token));
        }
        let goes_on = match next {
            Next::On(events) => {
                let mut event = EpollEvent::new(events, token);
                self.epoll.modify(&connection.stream, &mut event).is_ok()
            }
            Next::Nothing => false,
        };
        self.sources.insert(token, Source::Connection(connection));
        if !goes_on {
            self.close_connection(token);
        }
    }

    fn advance(&mut self, connection: &mut Connection, token: Token) -> Next {
        for _ in 0..QUESTIONS {
            match connection.flush() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::On(EpollFlags::EPOLLOUT),
                Err(_) => return Next::Nothing,
            }
            if connection.is_waiting {
                return Next::On(EpollFlags::empty());
            }
            let question = match connection.question(&mut self.packet) {
                Ok(question) => question,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::On(EpollFlags::EPOLLIN),
                Err(_) => return Next::Nothing,
            };
            match self.ask(connection.holder, &question, Asker::Stream(token)) {
                Outcome::Answered => connection.answer(&self.answer),
                // The connection's own deadline goes on after the answer.
                Outcome::Forwarded => {
                    connection.is_waiting = true;
                    connection.deadline = Instant::now() + 2 * PATIENCE;
                }
                Outcome::Ignored => return Next::Nothing,
            }
        }
        // Writing is possible, so this goes on when others have had their turn.
        Next::On(EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT)
    }

    /// Passes on the answer in the buffer, which came from an upstream server.
    pub(super) fn reply_to_connection(&mut self, token: Token) {
        if let Some(Source::Connection(connection)) = self.sources.get_mut(&token) {
            let before = connection.deadline;
            connection.is_waiting = false;
            connection.answer(&self.answer);
            let after = connection.deadline;
            self.deadlines.remove(&(before, token));
            self.deadlines.insert((after, token));
            self.connection(token, EpollFlags::empty());
        }
    }
}

impl Connection {
    fn answer(&mut self, answer: &[u8]) {
        // No answer is longer: it came in such a frame, or was limited to it.
        let length = u16::try_from(answer.len()).unwrap_or(u16::MAX);
        self.output.extend(length.to_be_bytes());
        self.output
            .extend_from_slice(answer.get(..usize::from(length)).unwrap_or_default());
        self.deadline = Instant::now() + PATIENCE;
    }

    /// Sends what is left of the answer.
    fn flush(&mut self) -> std::io::Result<()> {
        while let Some(rest) = self.output.get(self.sent..).filter(|rest| !rest.is_empty()) {
            self.sent += self.stream.write(rest)?;
        }
        self.output = Vec::new();
        self.sent = 0;
        Ok(())
    }

    /// The next complete question.
    fn question(&mut self, buffer: &mut [u8]) -> std::io::Result<Vec<u8>> {
        loop {
            if let [high, low, rest @ ..] = self.input.as_slice() {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                if length > LONGEST {
                    return Err(ErrorKind::InvalidData.into());
                }
                if let Some(question) = rest.get(..length) {
                    let question = question.to_vec();
                    self.input.drain(..length + 2);
                    return Ok(question);
                }
            }
            let room = buffer.get_mut(..LONGEST).unwrap_or_default();
            match self.stream.read(room)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => self
                    .input
                    .extend_from_slice(room.get(..count).unwrap_or_default()),
            }
        }
    }
}
