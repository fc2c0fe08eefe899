//! Conversations with the runtime.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{getsockopt, sockopt};

use super::{Server, Source, Token, nonblocking};
use crate::netd::protocol::{self, Known, PAGE, Reply, Request};
use crate::sys::socket::accept;

/// How long a conversation lasts. The runtime asks and leaves, unless it says that it watches.
const LONGEST: Duration = Duration::from_secs(10);

/// A connection of the runtime.
pub(super) struct Conversation {
    socket: OwnedFd,
    deadline: Instant,
    /// It is to learn of our end, and lasts until then.
    watching: bool,
    /// A request whose descriptors have not all come.
    pending: Option<(Request, Vec<OwnedFd>)>,
}

impl Server {
    pub(super) fn accept_conversation(&mut self) {
        while let Ok(socket) = accept(self.listener.as_fd()) {
            // The socket's mode says so too.
            let is_root = getsockopt(&socket, sockopt::PeerCredentials).is_ok_and(|peer| peer.uid() == 0);
            if !is_root || nonblocking(&socket).is_err() {
                continue;
            }
            let token = self.token();
            if self.watch(&socket, token, EpollFlags::EPOLLIN).is_ok() {
                let conversation = Conversation {
                    socket,
                    deadline: Instant::now() + LONGEST,
                    watching: false,
                    pending: None,
                };
                self.deadlines.insert((conversation.deadline, token));
                self.sources
                    .insert(token, Source::Conversation(Box::new(conversation)));
            }
        }
    }

    /// Reads what is there: a request, or more descriptors of one.
    pub(super) fn converse(&mut self, token: Token) {
        let Some(Source::Conversation(mut conversation)) = self.sources.remove(&token) else {
            return;
        };
        let went_on = self.listen_to(&mut conversation);
        let over = !matches!(went_on, Ok(true) | Err(Errno::EAGAIN));
        let (deadline, watching) = (conversation.deadline, conversation.watching);
        self.sources.insert(token, Source::Conversation(conversation));
        if over || watching {
            self.deadlines.remove(&(deadline, token));
        }
        if over {
            self.end_conversation(token);
        }
    }

    pub(super) fn end_conversation(&mut self, token: Token) {
        if let Some(Source::Conversation(conversation)) = self.sources.remove(&token) {
            self.unwatch(&conversation.socket);
        }
    }

    /// Says whether the conversation goes on.
    fn listen_to(&mut self, conversation: &mut Conversation) -> nix::Result<bool> {
        let socket = conversation.socket.as_fd();
        let (request, mut fds) = match conversation.pending.take() {
            None => match protocol::receive(socket)? {
                Some(message) => message,
                None => return Ok(false),
            },
            Some((request, mut fds)) => {
                let further = match protocol::receive_further(socket) {
                    Err(Errno::EAGAIN) => Vec::new(),
                    Ok(Some(further)) => further,
                    Ok(None) => return Ok(false),
                    Err(errno) => return Err(errno),
                };
                fds.extend(further);
                (request, fds)
            }
        };
        if fds.len() < request.descriptors() {
            conversation.pending = Some((request, fds));
            return Ok(true);
        }
        fds.truncate(request.descriptors());
        conversation.watching |= matches!(request, Request::Watch);
        let reply = self.reply(request, fds);
        // A runtime that does not wait for the answer does not get it.
        Ok(protocol::send(socket, &reply, &[]).is_ok())
    }

    fn reply(&mut self, request: Request, fds: Vec<OwnedFd>) -> Reply {
        match request {
            Request::Register {
                station,
                pidfd,
                resolver,
                ..
            } => match self.register(station, pidfd, resolver, fds) {
                Ok(()) => Reply::Done,
                Err(why) => Reply::Refused(why),
            },
            Request::Unregister { container, network } => {
                self.unregister(&container, &network);
                Reply::Done
            }
            Request::Stations { after } => Reply::Stations(self.known(after)),
            Request::Watch => Reply::Done,
        }
    }

    /// A page of the stations, in the order in which their containers came.
    fn known(&self, after: usize) -> Vec<Known> {
        let mut containers: Vec<_> = self.containers.iter().collect();
        containers.sort_unstable_by_key(|(holder, _)| **holder);
        let known = containers
            .into_iter()
            .flat_map(|(_, container)| container.known());
        known.skip(after).take(PAGE).collect()
    }
}
