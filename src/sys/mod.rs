//! Thin wrappers over system calls that nix lacks, one file per topic. The only `unsafe` in the crate.
//!
//! A wrapper takes and returns owned or borrowed descriptors, never raw numbers, retries EINTR where the call may
//! return it, and returns [`nix::Result`]; the caller adds what was being done and on what.
#![allow(unsafe_code)]

pub mod bpf;
pub mod capability;
pub mod clone;
mod copy;
mod entry;
pub mod fs;
pub mod heap;
pub mod mount;
pub mod net;
pub mod pidfd;
pub mod process;
pub mod procfs;
pub mod random;
pub mod scheduling;
pub mod seccomp;
pub mod socket;
pub mod tty;
pub mod xattr;
