//! The clients: lines in, lines out, without ever waiting for one.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::poll::PollFlags;

use crate::compose::protocol::{Answer, MAX_LINE, Request};
use crate::error::{Error, Kind, OsContext as _, Result};

/// A client that has so much to read is gone.
const MOST_PENDING: usize = 8 << 20;

/// Everybody who is connected.
pub(super) struct Clients {
    listener: UnixListener,
    all: Vec<Client>,
    next: u64,
}

struct Client {
    number: u64,
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// It has asked, and hears of progress.
    asked: bool,
    /// It has had its last answer.
    answered: bool,
    gone: bool,
}

impl Clients {
    pub(super) fn new(listener: UnixListener) -> Result<Self> {
        listener.set_nonblocking(true).os("set flags of", "the socket")?;
        Ok(Self {
            listener,
            all: Vec::new(),
            next: 0,
        })
    }

    /// What to poll, and for what.
    pub(super) fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let listener = (self.listener.as_fd(), PollFlags::POLLIN);
        let clients = self.all.iter().map(|client| {
            let mut flags = PollFlags::POLLIN;
            flags.set(PollFlags::POLLOUT, !client.output.is_empty());
            (client.stream.as_fd(), flags)
        });
        std::iter::once(listener).chain(clients)
    }

    /// Takes new clients, reads and writes. Returns the requests that are complete, by the client's number.
    pub(super) fn serve(&mut self) -> Vec<(u64, Result<Request>)> {
        self.accept();
        let mut requests = Vec::new();
        for client in &mut self.all {
            if let Some(request) = client.read() {
                requests.push((client.number, request));
            }
            client.write();
        }
        self.all
            .retain(|client| !(client.gone || client.answered && client.output.is_empty()));
        requests
    }

    /// True when there were any.
    fn accept(&mut self) -> bool {
        let mut any = false;
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            any = true;
            self.next += 1;
            self.all.push(Client {
                number: self.next,
                stream,
                input: Vec::new(),
                output: Vec::new(),
                asked: false,
                answered: false,
                gone: false,
            });
        }
        any
    }

    /// Whether nobody is there, nor comes just now.
    pub(super) fn are_gone(&mut self) -> bool {
        !self.accept() && self.all.is_empty()
    }

    /// Whether somebody has come who has not been answered.
    pub(super) fn has_news(&mut self) -> bool {
        self.accept() || self.all.iter().any(|client| !client.answered)
    }

    /// Tells all who have asked for something.
    pub(super) fn tell(&mut self, answer: &Answer) {
        for client in self.all.iter_mut().filter(|client| client.asked) {
            client.say(answer);
        }
    }

    /// Tells one; with its last answer it is let go.
    pub(super) fn answer(&mut self, number: u64, answer: &Answer) {
        let last = !matches!(answer, Answer::Progress(_) | Answer::Warning(_));
        for client in self.all.iter_mut().filter(|client| client.number == number) {
            client.say(answer);
            client.answered |= last;
            client.write();
        }
    }

    /// Lets everybody go: there is nothing more to hear.
    pub(super) fn dismiss(&mut self) {
        for client in self.all.iter_mut().filter(|client| client.asked) {
            client.say(&Answer::Done);
            client.answered = true;
            client.write();
        }
    }

    /// Whether it is still there.
    pub(super) fn has(&self, number: u64) -> bool {
        self.all
            .iter()
            .any(|client| client.number == number && !client.gone)
    }
}

impl Client {
    fn say(&mut self, answer: &Answer) {
        if self.answered {
            return;
        }
        match serde_json::to_vec(answer) {
            Ok(text) => self.output.extend(text.into_iter().chain([b'\n'])),
            Err(error) => crate::log::warn(format_args!("cannot encode an answer: {error}")),
        }
        self.gone |= self.output.len() > MOST_PENDING;
    }

    fn read(&mut self) -> Option<Result<Request>> {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.gone = true;
                    break;
                }
                // It has asked already.
                Ok(_) if self.asked => {}
                Ok(length) => self
                    .input
                    .extend_from_slice(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.gone = true;
                    break;
                }
            }
            if self.input.len() > MAX_LINE {
                self.gone = true;
                break;
            }
        }
        let end = self.input.iter().position(|byte| *byte == b'\n')?;
        let line = std::mem::take(&mut self.input);
        self.asked = true;
        let request = serde_json::from_slice(line.get(..end).unwrap_or_default());
        Some(request.map_err(|error| {
            Error::new(
                Kind::InvalidConfig,
                format_args!("the supervisor does not understand: {error}"),
            )
            .hint("it is of another version: `minirun compose down` and `up`")
        }))
    }

    fn write(&mut self) {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(length) => drop(self.output.drain(..length)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.gone |= error.kind() != ErrorKind::WouldBlock;
                    return;
                }
            }
        }
    }
}
