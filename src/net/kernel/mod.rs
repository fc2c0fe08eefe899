//! What the kernel has of networks, and the languages in which it is spoken to.
//!
//! | about | files |
//! |---|---|
//! | the language, and firewall tables in it | `netlink`, `nftables` |
//! | links: a container's, the bridge, and a namespace to put them in | `link`, `bridge`, `namespace` |
//! | where packets go, and the switches that let them | `routes`, `sysctl` |
//! | connections that there are | `conntrack`, `sockets` |

pub(in crate::net) mod bridge;
pub mod conntrack;
pub(in crate::net) mod link;
pub(in crate::net) mod namespace;
pub(in crate::net) mod netlink;
pub(in crate::net) mod nftables;
pub(in crate::net) mod routes;
pub mod sockets;
pub(in crate::net) mod sysctl;
