//! `minirun compose restart`.

use super::ask::{ask_running, seconds};
use crate::compose::protocol::Request;
use crate::container::store::Store;
use crate::error::Result;

/// Stop services and start them again
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Seconds from the stop signal to SIGKILL; the services' own otherwise
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Services; all otherwise
    services: Vec<String>,
}

pub(super) fn run(store: &Store, project: &str, args: &Args) -> Result<u8> {
    let request = Request::Restart {
        services: args.services.clone(),
        grace: seconds(args.timeout),
    };
    ask_running(store, project, &request).map(|()| 0)
}
