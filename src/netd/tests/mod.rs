//! netd as a process, with containers' sockets in network namespaces of their own.

mod abuse;
mod host;
mod lifecycle;
mod names;
pub(super) mod process;
mod upstream;
