//! Scenarios against the built binary: each runs in a host of its own (see [`harness`]), as root.
//!
//! `MINIRUN_BIN` names the runtime, by default `bin/minirun`. The same program runs in the cgroup v2 machine
//! (`integration-tests/vm/run.sh`), so a scenario asks the harness which cgroup version it is on.

// Helpers are not in `cfg(test)`, where the lint allows these by itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;

#[path = "scenarios/lifecycle.rs"]
mod lifecycle;
