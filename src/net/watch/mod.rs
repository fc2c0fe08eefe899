//! Looking at networks: traffic, who talks to whom now, and who may.

pub mod flows;
pub mod observe;
pub mod topology;
pub(in crate::net) mod traffic;
