//! What verbs that change a stack share.

use std::time::Duration;

use super::progress::Display;
use crate::compose::client;
use crate::compose::protocol::Request;
use crate::compose::supervisor::place::Place;
use crate::container::store::Store;
use crate::error::{Error, Kind, Result};

/// Asks the supervisor of a project, and shows what it does until it is done.
pub(super) fn ask(store: &Store, project: &str, request: &Request, quiet: bool) -> Result<()> {
    let mut display = Display::new(quiet);
    client::ask(store, project, request, |news| display.show(news)).map(drop)
}

/// As [`ask`], for verbs that mean nothing without a stack.
pub(super) fn ask_running(store: &Store, project: &str, request: &Request) -> Result<()> {
    if !Place::of(store, project)?.exists() {
        return Err(not_up(project));
    }
    ask(store, project, request, false)
}

pub(super) fn not_up(project: &str) -> Error {
    Error::new(Kind::NotFound, format_args!("project {project} is not up"))
        .hint("start it with `minirun compose up -d`; `minirun compose ls` shows what is up")
}

/// `--timeout`.
pub(super) fn seconds(timeout: Option<u64>) -> Option<Duration> {
    timeout.map(Duration::from_secs)
}
