//! What the process may do: capabilities, rlimits, seccomp.

pub mod seccomp;
