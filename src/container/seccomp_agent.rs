//! `linux.seccomp.listenerPath`: the agent that answers the system calls which a filter stops with SCMP_ACT_NOTIFY.
//!
//! For every process of the container one connection is made: the state of the process, with the descriptor of its
//! filter's listener in the same message (config-linux.md, "The Container Process State").

use std::os::fd::{AsFd, BorrowedFd, RawFd};

use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use super::console;
use crate::error::{Error, OsContext, Result};
use crate::spec::state::State;
use crate::sys::pidfd;

const FIELD: &str = "linux.seccomp.listenerPath";

/// Gives the agent the listener, which is descriptor `number` of the process behind `process` and `pid`. `state` is the
/// container's, with status and first process.
///
/// # Errors
/// When the agent does not listen, or the process is gone.
pub(super) fn hand_on(
    spec: &Spec,
    state: &State,
    pid: i32,
    process: BorrowedFd<'_>,
    number: RawFd,
) -> Result<()> {
    let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let path = profile.and_then(|profile| profile.listener_path().as_deref());
    let path = path.ok_or_else(|| Error::invalid(FIELD, "is required for SCMP_ACT_NOTIFY"))?;
    let metadata = profile.and_then(|profile| profile.listener_metadata().as_deref());
    let listener = pidfd::descriptor(process, number).os("take", "the seccomp listener")?;
    let message = process_state(state, pid, metadata.unwrap_or_default());
    console::send(FIELD, path, message.as_bytes(), listener.as_fd())
}

fn process_state(state: &State, pid: i32, metadata: &str) -> String {
    let container: Value = serde_json::from_str(&state.to_hook_json()).unwrap_or_default();
    let mut process = json!({
        "ociVersion": state.oci_version,
        "fds": ["seccompFd"],
        "pid": pid,
        "state": container,
    });
    if !metadata.is_empty() {
        process["metadata"] = metadata.into();
    }
    process.to_string()
}
