//! Who has which address: subnets, what is taken of them elsewhere, leases, and the order in which they are given again.

pub(in crate::net) mod history;
pub(in crate::net) mod lease;
pub(in crate::net) mod prefix;
pub(in crate::net) mod subnet;
pub(in crate::net) mod taken;
