//! What the process may do: capabilities, rlimits, seccomp.
//!
//! Each file translates its section of config.json into a plan, and puts the plan on the calling process, which is the
//! container's and has one thread.

pub mod capabilities;
pub mod rlimits;
pub mod seccomp;
