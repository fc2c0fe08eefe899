//! Names for containers, and the holder of their published ports: one small process beside many containers.
//!
//! A container's resolver is 127.0.0.11:53 in its own network namespace. The runtime opens the two sockets there and
//! hands them to netd, which answers from outside: no packet crosses a firewall, no gateway's port is taken, and a
//! question's sender is known by the socket it came through.
//!
//! ```text
//!   container "api"                      netd (nobody, no capabilities)            the runtime
//!   127.0.0.11:53  ---- A db? --------->  names of the networks that
//!                  <--- 10.186.0.7 -----  "api" is on                  <-------    register, unregister
//!                  ---- A example.org? ->                                          over .netd.sock, with
//!                                         upstream servers, from the host           descriptors
//! ```
//!
//! Nobody starts netd by hand. [`client::register`] starts it when nobody listens on the socket; it ends itself when the
//! last station has left. Both happen under one lock, so that nobody registers with a process on its way out. When it is
//! killed, names stop resolving and ports are no longer held until the next registration or `minirun network reconcile`
//! starts another one; [`client::stations`] says what that one still lacks. Who wants to know of its end holds a connection
//! to it ([`client::watch`]).
//!
//! | file | what is in it |
//! |---|---|
//! | `protocol` | the messages between runtime and netd |
//! | [`client`] | the runtime's side |
//! | `process` | how a process becomes netd: own session, no privileges, nothing open that it does not need |
//! | `confine` | the system calls that it may make from then on |
//! | `server` | the event loop: conversations with the runtime, questions, upstream servers |
//! | `names` | who has which name, and what is never asked elsewhere |
//! | `upstream` | the servers for all other names |
//! | `dns` | messages |

pub mod client;
mod confine;
mod dns;
#[doc(hidden)]
pub mod fuzz;
mod names;
pub mod process;
mod protocol;
mod server;
#[cfg(test)]
mod tests;
mod upstream;

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};

pub use self::protocol::{Known, Station};

use crate::error::{OsContext as _, Result};

/// Where a container's resolver listens, in the container's own network namespace.
pub const RESOLVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 11), 53);

/// The sockets of a container's resolver.
#[derive(Debug)]
pub struct Resolver {
    /// For most questions.
    pub udp: UdpSocket,
    /// For long answers.
    pub tcp: TcpListener,
}

impl Resolver {
    /// Opens [`RESOLVER`] in the calling thread's network namespace, whose loopback interface is up.
    ///
    /// # Errors
    /// When something in this namespace has port 53 already.
    pub fn open() -> Result<Self> {
        Ok(Self {
            udp: UdpSocket::bind(RESOLVER).os("bind UDP", RESOLVER)?,
            tcp: TcpListener::bind(RESOLVER).os("listen on TCP", RESOLVER)?,
        })
    }

    /// What a container's /etc/resolv.conf names as its server.
    pub const fn address() -> IpAddr {
        IpAddr::V4(*RESOLVER.ip())
    }
}
