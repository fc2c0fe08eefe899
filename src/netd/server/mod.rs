//! The event loop: one thread, which waits for all sockets at once and never for a single one.
//!
//! Every socket belongs to a [`Source`] under a token that is used once: an event that was reported before its source
//! went finds nothing, instead of another source. Deadlines have the same tokens.
//!
//! No container can take more than its share. Of a socket only a few packets are read before the others have their turn;
//! unfinished questions and TCP connections are counted for each container and in all, and each has its deadline.

mod containers;
mod control;
mod datagrams;
mod exchange;
mod streams;

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, Flock, FlockArg, OFlag, fcntl};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use self::containers::Container;
use self::control::Conversation;
use self::exchange::Exchange;
use self::streams::Connection;
use super::names::{Holder, Names};
use super::upstream::Upstream;
use crate::error::{OsContext as _, Result};

/// Names a source of events. Used once.
type Token = u64;

/// The most events that are taken from the kernel at once.
const BATCH: usize = 64;

/// How often a netd without stations tries to end while somebody holds the lock.
const TRY_TO_END: Duration = Duration::from_millis(200);

/// What an event or a deadline is about.
enum Source {
    /// The runtime connects.
    Control,
    /// The runtime has something to say.
    Conversation(Box<Conversation>),
    /// The container's first process has ended.
    Pidfd(Holder),
    /// The container asks by UDP.
    Udp(Holder),
    /// The container connects by TCP.
    Tcp(Holder),
    /// The container asks by TCP, or reads its answer.
    Connection(Box<Connection>),
    /// An upstream server answers, or takes too long.
    Exchange(Box<Exchange>),
}

/// netd's state.
pub(super) struct Server {
    epoll: Epoll,
    listener: OwnedFd,
    /// Until this process takes it, and with it the right to end.
    lock: Option<File>,
    sources: HashMap<Token, Source>,
    deadlines: BTreeSet<(Instant, Token)>,
    next: Token,
    containers: HashMap<Holder, Container>,
    holders: HashMap<String, Holder>,
    names: Names,
    upstream: Upstream,
    /// Where packets are read, and answers written.
    packet: Vec<u8>,
    answer: Vec<u8>,
    connections: usize,
    exchanges: usize,
}

impl Server {
    /// A server for the runtime's connections to `listener`, which ends under this lock.
    ///
    /// # Errors
    /// When the kernel has no descriptors left.
    pub(super) fn new(listener: OwnedFd, lock: File, upstream: Upstream) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).os("make", "an epoll instance")?;
        nonblocking(&listener).os("prepare", "the listening socket")?;
        let mut server = Self {
            epoll,
            listener,
            lock: Some(lock),
            sources: HashMap::new(),
            deadlines: BTreeSet::new(),
            next: 0,
            containers: HashMap::new(),
            holders: HashMap::new(),
            names: Names::default(),
            upstream,
            // The longest datagram. What is not used is never made resident.
            packet: vec![0; 65_535],
            answer: Vec::with_capacity(4096),
            connections: 0,
            exchanges: 0,
        };
        let token = server.token();
        let event = EpollEvent::new(EpollFlags::EPOLLIN, token);
        server
            .epoll
            .add(&server.listener, event)
            .os("watch", "the listening socket")?;
        server.sources.insert(token, Source::Control);
        Ok(server)
    }

    /// Serves until the last station has left.
    ///
    /// # Errors
    /// When the kernel reports no events any more.
    pub(super) fn run(mut self) -> Result<()> {
        let mut events = [EpollEvent::empty(); BATCH];
        while !self.may_end() {
            let count = match self.epoll.wait(&mut events, self.timeout()) {
                Err(Errno::EINTR) => 0,
                result => result.os("wait for", "events")?,
            };
            for event in events.iter().take(count) {
                self.handle(event.data(), event.events());
            }
            self.expire();
        }
        Ok(())
    }

    /// Nobody needs this process, and nobody is about to: the lock is ours from here on.
    fn may_end(&mut self) -> bool {
        if !self.containers.is_empty() {
            return false;
        }
        let Some(lock) = self.lock.take() else {
            return false;
        };
        match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => {
                // Held until the process is gone.
                std::mem::forget(lock);
                true
            }
            Err((lock, _)) => {
                self.lock = Some(lock);
                false
            }
        }
    }

    fn timeout(&self) -> EpollTimeout {
        let deadline = self
            .deadlines
            .first()
            .map(|(at, _)| at.saturating_duration_since(Instant::now()));
        let end = self.containers.is_empty().then_some(TRY_TO_END);
        let earlier = [deadline, end].into_iter().flatten().min();
        // Rounded up, else the loop would spin through the last millisecond.
        let milliseconds = earlier.map(|wait| i32::try_from(wait.as_millis() + 1).unwrap_or(i32::MAX));
        milliseconds.map_or(EpollTimeout::NONE, |wait| {
            EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::NONE)
        })
    }

    fn handle(&mut self, token: Token, events: EpollFlags) {
        match self.sources.get(&token) {
            None => {}
            Some(Source::Control) => self.accept_conversation(),
            Some(Source::Conversation(_)) => self.converse(token),
            Some(Source::Pidfd(holder)) => self.forget(*holder),
            Some(Source::Udp(holder)) => self.datagrams(*holder),
            Some(Source::Tcp(holder)) => self.accept_connection(*holder),
            Some(Source::Connection(_)) => self.connection(token, events),
            Some(Source::Exchange(_)) => self.exchange(token),
        }
    }

    /// Acts on deadlines that have passed.
    fn expire(&mut self) {
        let now = Instant::now();
        while let Some(&(at, token)) = self.deadlines.first() {
            if at > now {
                return;
            }
            self.deadlines.remove(&(at, token));
            match self.sources.get(&token) {
                Some(Source::Exchange(_)) => self.server_failed(token),
                Some(Source::Connection(_)) => self.close_connection(token),
                Some(Source::Conversation(_)) => self.end_conversation(token),
                _ => {}
            }
        }
    }

    fn token(&mut self) -> Token {
        self.next += 1;
        self.next
    }

    /// Reports these events of `fd` under `token` from now on.
    fn watch(&self, fd: impl AsFd, token: Token, events: EpollFlags) -> nix::Result<()> {
        self.epoll.add(fd, EpollEvent::new(events, token))
    }

    /// Before a descriptor is closed: the runtime may still have a copy, and events would go on.
    fn unwatch(&self, fd: impl AsFd) {
        let _ = self.epoll.delete(fd);
    }
}

fn nonblocking(fd: impl AsFd) -> nix::Result<()> {
    let flags = OFlag::from_bits_truncate(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}
