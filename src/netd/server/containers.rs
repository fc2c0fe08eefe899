//! The containers that netd answers: what it has of each, how it gets and forgets that.

use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use nix::sys::epoll::EpollFlags;

use super::{Server, Source, Token, nonblocking};
use crate::netd::Resolver;
use crate::netd::names::Holder;
use crate::netd::protocol::{Known, Station};

/// A container.
pub(super) struct Container {
    pub(super) id: String,
    pub(super) stations: Vec<Station>,
    pidfd: Option<(Token, OwnedFd)>,
    pub(super) resolver: Option<Sockets>,
    /// Held, so that nobody else takes these ports of the host; never read.
    ports: Vec<OwnedFd>,
    /// Its TCP connections.
    pub(super) connections: Vec<Token>,
    /// Its questions that upstream servers have not answered.
    pub(super) exchanges: Vec<Token>,
}

/// The sockets of a container's resolver.
pub(super) struct Sockets {
    pub(super) udp: UdpSocket,
    udp_token: Token,
    pub(super) tcp: TcpListener,
    tcp_token: Token,
}

impl Container {
    /// The networks whose names it may know.
    pub(super) fn networks(&self) -> impl Iterator<Item = &str> + Clone {
        self.stations.iter().map(|station| station.network.as_str())
    }

    /// A network of it leads outside.
    pub(super) fn may_ask_elsewhere(&self) -> bool {
        self.stations.iter().any(|station| !station.internal)
    }

    /// The servers that it was given, instead of the host's.
    pub(super) fn upstream(&self) -> Option<&[IpAddr]> {
        let given = self.stations.iter().map(|station| station.upstream.as_slice());
        given.into_iter().find(|servers| !servers.is_empty())
    }

    pub(super) fn known(&self) -> impl Iterator<Item = Known> {
        self.stations.iter().map(|station| Known {
            container: self.id.clone(),
            network: station.network.clone(),
            resolver: self.resolver.is_some(),
            ports: self.ports.len(),
            unready: !station.unready.is_empty(),
        })
    }
}

impl Server {
    /// Takes a station with its descriptors (protocol's order). On failure nothing has changed, and the text says why.
    pub(super) fn register(
        &mut self,
        station: Station,
        pidfd: bool,
        resolver: bool,
        fds: Vec<OwnedFd>,
    ) -> Result<(), String> {
        let mut fds = fds.into_iter();
        let mut missing = || fds.next().ok_or("descriptors are missing");
        let pidfd = if pidfd { Some(missing()?) } else { None };
        let resolver = match resolver {
            true => Some(Resolver {
                udp: missing()?.into(),
                tcp: missing()?.into(),
            }),
            false => None,
        };
        let holder = match self.holders.get(&station.container) {
            Some(holder) => *holder,
            None => self.token(),
        };
        let watched =
            self.watch_pidfd(holder, pidfd)
                .and_then(|pidfd| match self.watch_resolver(holder, resolver) {
                    Ok(resolver) => Ok((pidfd, resolver)),
                    Err(errno) => {
                        self.drop_pidfd(pidfd);
                        Err(errno)
                    }
                });
        let (pidfd, resolver) = watched.map_err(|errno| format!("cannot watch descriptors: {errno}"))?;

        self.holders.insert(station.container.clone(), holder);
        let container = self.containers.entry(holder).or_insert_with(|| Container {
            id: station.container.clone(),
            stations: Vec::new(),
            pidfd: None,
            resolver: None,
            ports: Vec::new(),
            connections: Vec::new(),
            exchanges: Vec::new(),
        });
        let old_pidfd = pidfd.and_then(|pidfd| container.pidfd.replace(pidfd));
        let old_resolver = resolver.and_then(|resolver| container.resolver.replace(resolver));
        container.ports.extend(fds);
        match container
            .stations
            .iter_mut()
            .find(|known| known.network == station.network)
        {
            Some(known) => {
                self.names.remove(holder, known);
                self.names.add(holder, &station);
                *known = station;
            }
            None => {
                self.names.add(holder, &station);
                container.stations.push(station);
            }
        }
        self.drop_pidfd(old_pidfd);
        self.drop_resolver(old_resolver);
        Ok(())
    }

    /// Forgets a container on one network, and altogether when that was its last one.
    pub(super) fn unregister(&mut self, container: &str, network: &str) {
        let Some(&holder) = self.holders.get(container) else {
            return;
        };
        let Some(container) = self.containers.get_mut(&holder) else {
            return;
        };
        if let Some(index) = container
            .stations
            .iter()
            .position(|station| station.network == network)
        {
            let station = container.stations.remove(index);
            self.names.remove(holder, &station);
        }
        if container.stations.is_empty() {
            self.forget(holder);
        }
    }

    /// Forgets a container: its process has ended, or it has left all networks.
    pub(super) fn forget(&mut self, holder: Holder) {
        let Some(mut container) = self.containers.remove(&holder) else {
            return;
        };
        self.holders.remove(&container.id);
        for station in &container.stations {
            self.names.remove(holder, station);
        }
        for token in std::mem::take(&mut container.connections) {
            self.close_connection(token);
        }
        for token in std::mem::take(&mut container.exchanges) {
            self.end_exchange(token);
        }
        self.drop_pidfd(container.pidfd);
        self.drop_resolver(container.resolver);
    }

    fn watch_pidfd(
        &mut self,
        holder: Holder,
        pidfd: Option<OwnedFd>,
    ) -> nix::Result<Option<(Token, OwnedFd)>> {
        let Some(pidfd) = pidfd else { return Ok(None) };
        let token = self.token();
        self.watch(&pidfd, token, EpollFlags::EPOLLIN)?;
        self.sources.insert(token, Source::Pidfd(holder));
        Ok(Some((token, pidfd)))
    }

    fn watch_resolver(&mut self, holder: Holder, resolver: Option<Resolver>) -> nix::Result<Option<Sockets>> {
        let Some(Resolver { udp, tcp }) = resolver else {
            return Ok(None);
        };
        nonblocking(&udp)?;
        nonblocking(&tcp)?;
        let (udp_token, tcp_token) = (self.token(), self.token());
        self.watch(&udp, udp_token, EpollFlags::EPOLLIN)?;
        if let Err(errno) = self.watch(&tcp, tcp_token, EpollFlags::EPOLLIN) {
            self.unwatch(&udp);
            return Err(errno);
        }
        self.sources.insert(udp_token, Source::Udp(holder));
        self.sources.insert(tcp_token, Source::Tcp(holder));
        Ok(Some(Sockets {
            udp,
            udp_token,
            tcp,
            tcp_token,
        }))
    }

    fn drop_pidfd(&mut self, pidfd: Option<(Token, OwnedFd)>) {
        if let Some((token, pidfd)) = pidfd {
            self.unwatch(&pidfd);
            self.sources.remove(&token);
        }
    }

    fn drop_resolver(&mut self, resolver: Option<Sockets>) {
        if let Some(sockets) = resolver {
            self.unwatch(&sockets.udp);
            self.unwatch(&sockets.tcp);
            self.sources.remove(&sockets.udp_token);
            self.sources.remove(&sockets.tcp_token);
        }
    }
}
