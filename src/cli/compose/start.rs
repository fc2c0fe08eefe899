//! `minirun compose start`.

use super::ask::ask_running;
use crate::compose::protocol::Request;
use crate::container::store::Store;
use crate::error::Result;

/// Start services that were stopped or have ended
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Return when they are healthy
    #[arg(long)]
    wait: bool,
    /// Services; all otherwise
    services: Vec<String>,
}

pub(super) fn run(store: &Store, project: &str, args: &Args) -> Result<u8> {
    let request = Request::Start {
        services: args.services.clone(),
        wait: args.wait,
    };
    ask_running(store, project, &request).map(|()| 0)
}
