//! Questions that upstream servers answer.
//!
//! Each is sent from a socket of its own, whose port the kernel picks at random, under a random number: somebody who
//! wants to answer in the server's place has to guess both, and the kernel passes on nothing that does not come from the
//! server. A server that does not answer in time, or says that it cannot, is followed by the next one.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrLike as _, SockaddrStorage, connect, socket,
};

use super::containers::Container;
use super::datagrams::{Asker, Outcome};
use super::{Server, Source, Token};
use crate::netd::dns::{Code, Parsed, Query, Verdict, cut, parse, refusal, verdict};
use crate::netd::names::Holder;
use crate::sys::random;

/// The most questions of one container that wait for upstream servers.
const MOST: usize = 256;
/// The most of all containers.
const MOST_IN_ALL: usize = 2048;
/// How long a server may take before the next one is asked.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How long servers are tried in all. After five seconds clients ask again by themselves.
const LONGEST: Duration = Duration::from_millis(4800);
/// How often the list of servers is gone through.
const ROUNDS: usize = 2;
/// The most packets that are read for one question at a time.
const BURST: usize = 4;

/// A question on its way.
pub(super) struct Exchange {
    holder: Holder,
    asker: Asker,
    /// The container's number for it.
    id: u16,
    /// As servers get it. What the container sent is not kept: it may be longer by far.
    asked: Vec<u8>,
    servers: Vec<SocketAddr>,
    attempt: usize,
    way: Option<Way>,
    deadline: Instant,
    end: Instant,
}

/// How the server is asked: as the container did.
enum Way {
    Datagram(UdpSocket),
    Stream {
        stream: TcpStream,
        sent: usize,
        received: Vec<u8>,
    },
}

impl AsFd for Way {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Way::Datagram(socket) => socket.as_fd(),
            Way::Stream { stream, .. } => stream.as_fd(),
        }
    }
}

/// What a look at the server's socket brought.
enum Progress {
    Waiting,
    Answer(Vec<u8>),
    /// The server has said that it cannot answer this question.
    Unable,
    /// The server cannot be reached.
    Failed,
}

impl Server {
    /// Asks the container's upstream servers, or says at once that it cannot.
    pub(super) fn forward(&mut self, holder: Holder, query: &Query<'_>, asker: Asker) -> Outcome {
        let Some(container) = self.containers.get(&holder) else {
            return Outcome::Ignored;
        };
        let number = random::u16();
        let asked = query.forwarded(number.unwrap_or_default());
        if self.is_repeated(container, query.id, &asked, asker) {
            return Outcome::Ignored;
        }
        let servers = self.upstream.servers(container.upstream());
        let place = container.exchanges.len() < MOST && self.make_place(holder);
        if number.is_none() || servers.is_empty() || !place {
            refusal(query, Code::ServerFailure, &mut self.answer);
            return Outcome::Answered;
        };
        let token = self.token();
        let now = Instant::now();
        let exchange = Exchange {
            holder,
            asker,
            id: query.id,
            asked,
            servers,
            attempt: 0,
            way: None,
            deadline: now,
            end: now + LONGEST,
        };
        self.exchanges += 1;
        if let Some(container) = self.containers.get_mut(&holder) {
            container.exchanges.push(token);
        }
        self.sources.insert(token, Source::Exchange(Box::new(exchange)));
        self.ask_server(token);
        Outcome::Forwarded
    }

    /// The client has become impatient: the same question is on its way.
    fn is_repeated(&self, container: &Container, id: u16, asked: &[u8], asker: Asker) -> bool {
        container
            .exchanges
            .iter()
            .any(|token| match self.sources.get(token) {
                Some(Source::Exchange(exchange)) => {
                    // But for the number that servers get.
                    (exchange.asker, exchange.id) == (asker, id) && exchange.asked.get(2..) == asked.get(2..)
                }
                _ => false,
            })
    }

    /// When there are too many in all, the container that has most loses its oldest, unless it is this one.
    fn make_place(&mut self, holder: Holder) -> bool {
        if self.exchanges < MOST_IN_ALL {
            return true;
        }
        let most = self
            .containers
            .iter()
            .max_by_key(|(_, container)| container.exchanges.len());
        match most {
            Some((greediest, container)) if *greediest != holder => {
                let oldest = container.exchanges.first().copied();
                oldest.map(|token| self.end_exchange(token)).is_some()
            }
            _ => false,
        }
    }

    /// The server has been silent for too long, or cannot be reached.
    pub(super) fn server_failed(&mut self, token: Token) {
        if let Some(Source::Exchange(exchange)) = self.sources.get(&token)
            && let Some(server) = exchange.server()
        {
            self.upstream.has_failed(server);
        }
        self.next_server(token);
    }

    fn next_server(&mut self, token: Token) {
        let Some(Source::Exchange(exchange)) = self.sources.get_mut(&token) else {
            return;
        };
        exchange.attempt += 1;
        self.ask_server(token);
    }

    /// Asks the server whose turn it is, or one after it; gives up when there is none.
    fn ask_server(&mut self, token: Token) {
        loop {
            let Some(Source::Exchange(exchange)) = self.sources.get_mut(&token) else {
                return;
            };
            if let Some(way) = exchange.way.take() {
                let _ = self.epoll.delete(&way);
            }
            self.deadlines.remove(&(exchange.deadline, token));
            let now = Instant::now();
            let count = exchange.servers.len();
            let server = exchange.servers.get(exchange.attempt % count.max(1)).copied();
            let Some(server) = server.filter(|_| exchange.attempt < ROUNDS * count && now < exchange.end)
            else {
                return self.give_up(token);
            };
            match exchange.send_to(server) {
                Ok(way) => {
                    let events = match way {
                        Way::Datagram(_) => EpollFlags::EPOLLIN,
                        Way::Stream { .. } => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
                    };
                    if self.epoll.add(&way, EpollEvent::new(events, token)).is_ok() {
                        exchange.way = Some(way);
                        exchange.deadline = exchange.end.min(now + PATIENCE);
                        self.deadlines.insert((exchange.deadline, token));
                        return;
                    }
                }
                Err(error) => crate::log::debug(format_args!("asking {server}: {error}")),
            }
            exchange.attempt += 1;
        }
    }

    /// Something has happened on the way to the server.
    pub(super) fn exchange(&mut self, token: Token) {
        let mut packet = std::mem::take(&mut self.packet);
        let progress = match self.sources.get_mut(&token) {
            Some(Source::Exchange(exchange)) => exchange.progress(&mut packet),
            _ => Progress::Waiting,
        };
        self.packet = packet;
        match progress {
            Progress::Waiting => self.stop_writing(token),
            Progress::Answer(answer) => self.deliver(token, answer),
            Progress::Unable => self.next_server(token),
            Progress::Failed => self.server_failed(token),
        }
    }

    /// The whole question is with the server: from now on it is its turn.
    fn stop_writing(&mut self, token: Token) {
        if let Some(Source::Exchange(exchange)) = self.sources.get(&token)
            && let Some(way @ Way::Stream { sent, .. }) = &exchange.way
            && *sent == exchange.asked.len() + 2
        {
            let _ = self
                .epoll
                .modify(way, &mut EpollEvent::new(EpollFlags::EPOLLIN, token));
        }
    }

    fn deliver(&mut self, token: Token, mut answer: Vec<u8>) {
        let Some(exchange) = self.take_exchange(token) else {
            return;
        };
        if let Some(query) = exchange.query() {
            cut(&mut answer, &query, exchange.asker.limit(&query));
            self.answer = answer;
            self.hand_over(&exchange);
        }
    }

    fn give_up(&mut self, token: Token) {
        let Some(exchange) = self.take_exchange(token) else {
            return;
        };
        if let Some(query) = exchange.query() {
            refusal(&query, Code::ServerFailure, &mut self.answer);
            self.hand_over(&exchange);
        }
    }

    /// Gives the answer in the buffer to the one who asked.
    fn hand_over(&mut self, exchange: &Exchange) {
        match exchange.asker {
            Asker::Datagram(to) => self.send(exchange.holder, to),
            Asker::Stream(connection) => self.reply_to_connection(connection),
        }
    }

    /// The connection that this container's question came by is gone: nobody waits for the answer.
    pub(super) fn end_exchange_of(&mut self, holder: Holder, connection: Token) {
        let own = self
            .containers
            .get(&holder)
            .map(|container| container.exchanges.as_slice());
        let waiting = own
            .unwrap_or_default()
            .iter()
            .find(|token| match self.sources.get(token) {
                Some(Source::Exchange(exchange)) => exchange.asker == Asker::Stream(connection),
                _ => false,
            });
        if let Some(token) = waiting.copied() {
            self.end_exchange(token);
        }
    }

    /// Forgets a question that nobody waits for any more.
    pub(super) fn end_exchange(&mut self, token: Token) {
        drop(self.take_exchange(token));
    }

    fn take_exchange(&mut self, token: Token) -> Option<Box<Exchange>> {
        let exchange = match self.sources.remove(&token)? {
            Source::Exchange(exchange) => exchange,
            other => {
                self.sources.insert(token, other);
                return None;
            }
        };
        self.exchanges -= 1;
        self.deadlines.remove(&(exchange.deadline, token));
        if let Some(way) = &exchange.way {
            self.unwatch(way);
        }
        if let Some(container) = self.containers.get_mut(&exchange.holder) {
            container.exchanges.retain(|other| *other != token);
        }
        Some(exchange)
    }
}

impl Exchange {
    /// What the container has asked.
    fn query(&self) -> Option<Query<'_>> {
        match parse(&self.asked) {
            Parsed::Query(mut query) => {
                query.id = self.id;
                Some(query)
            }
            Parsed::Wrong(..) | Parsed::Noise => None,
        }
    }

    fn server(&self) -> Option<SocketAddr> {
        self.servers
            .get(self.attempt % self.servers.len().max(1))
            .copied()
    }

    fn send_to(&self, server: SocketAddr) -> nix::Result<Way> {
        let errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or_default());
        match self.asker {
            Asker::Datagram(_) => {
                let any: SocketAddr = match server {
                    SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                    SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
                };
                let socket = UdpSocket::bind(any).map_err(errno)?;
                socket.set_nonblocking(true).map_err(errno)?;
                socket.connect(server).map_err(errno)?;
                socket.send(&self.asked).map_err(errno)?;
                Ok(Way::Datagram(socket))
            }
            Asker::Stream(_) => {
                let address = SockaddrStorage::from(server);
                let family = address.family().unwrap_or(AddressFamily::Unspec);
                let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
                let socket = socket(family, SockType::Stream, flags, None)?;
                match connect(socket.as_raw_fd(), &address) {
                    Ok(()) | Err(Errno::EINPROGRESS) => {}
                    Err(errno) => return Err(errno),
                }
                Ok(Way::Stream {
                    stream: socket.into(),
                    sent: 0,
                    received: Vec::new(),
                })
            }
        }
    }

    fn progress(&mut self, packet: &mut [u8]) -> Progress {
        match &mut self.way {
            None => Progress::Waiting,
            Some(Way::Datagram(socket)) => {
                for _ in 0..BURST {
                    let length = match socket.recv(packet) {
                        Ok(length) => length,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Waiting,
                        // "Nobody listens", say.
                        Err(_) => return Progress::Failed,
                    };
                    let answer = packet.get(..length).unwrap_or_default();
                    match verdict(answer, &self.asked) {
                        Verdict::Answer => return Progress::Answer(answer.to_vec()),
                        Verdict::Failure => return Progress::Unable,
                        Verdict::Foreign => {}
                    }
                }
                Progress::Waiting
            }
            Some(Way::Stream {
                stream,
                sent,
                received,
            }) => match over_stream(stream, sent, received, &self.asked, packet) {
                Ok(None) => Progress::Waiting,
                Ok(Some(answer)) => match verdict(&answer, &self.asked) {
                    Verdict::Answer => Progress::Answer(answer),
                    Verdict::Failure | Verdict::Foreign => Progress::Unable,
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => Progress::Waiting,
                Err(_) => Progress::Failed,
            },
        }
    }
}

/// Sends and receives as much as is possible now: the answer, once it is complete.
fn over_stream(
    stream: &mut TcpStream,
    sent: &mut usize,
    received: &mut Vec<u8>,
    asked: &[u8],
    buffer: &mut [u8],
) -> std::io::Result<Option<Vec<u8>>> {
    let length = (asked.len() as u16).to_be_bytes();
    let whole = [&length, asked].concat();
    while let Some(rest) = whole.get(*sent..).filter(|rest| !rest.is_empty()) {
        match stream.write(rest) {
            // Not connected yet.
            Err(error) if error.kind() == ErrorKind::NotConnected => return Err(ErrorKind::WouldBlock.into()),
            written => *sent += written?,
        }
    }
    loop {
        if let [high, low, rest @ ..] = received.as_slice()
            && let Some(answer) = rest.get(..usize::from(u16::from_be_bytes([*high, *low])))
        {
            return Ok(Some(answer.to_vec()));
        }
        match stream.read(buffer)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => received.extend_from_slice(buffer.get(..count).unwrap_or_default()),
        }
    }
}

impl Asker {
    /// The longest answer in bytes that it takes.
    pub(super) fn limit(self, query: &Query<'_>) -> usize {
        match self {
            Asker::Datagram(_) => query.datagram(),
            Asker::Stream(_) => usize::from(u16::MAX),
        }
    }
}
