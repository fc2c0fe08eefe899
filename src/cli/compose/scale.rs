//! `minirun compose scale`.

use super::ask::ask_running;
use crate::compose::protocol::Request;
use crate::container::store::Store;
use crate::error::{Error, Result};

/// Change how many replicas services have
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A service and its new number of replicas
    #[arg(required = true, value_name = "SERVICE=NUMBER", value_parser = replicas)]
    replicas: Vec<(String, u32)>,
}

pub(super) fn run(store: &Store, project: &str, args: &Args) -> Result<u8> {
    let request = Request::Scale {
        replicas: args.replicas.iter().cloned().collect(),
    };
    ask_running(store, project, &request).map(|()| 0)
}

/// `SERVICE=NUMBER`.
pub(super) fn replicas(text: &str) -> Result<(String, u32)> {
    let wrong =
        || Error::invalid(format_args!("{text:?}"), "is not a service and a number").hint("write web=3");
    let (service, number) = text.split_once('=').ok_or_else(wrong)?;
    Ok((service.to_owned(), number.parse().map_err(|_| wrong())?))
}
