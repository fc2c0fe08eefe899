//! From clone3 to execve.

pub mod hooks;
pub mod namespaces;
pub mod protocol;
