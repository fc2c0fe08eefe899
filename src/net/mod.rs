//! Networks without a daemon.
