//! `minirun network inspect`.

use serde_json::Value;

use crate::error::Result;
use crate::net::{self, Dirs};

/// Print everything that is known of networks as a JSON array
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The networks' names
    #[arg(required = true)]
    network: Vec<String>,
}

pub(super) fn run(dirs: &Dirs, args: &Args) -> Result<()> {
    let networks: Vec<Value> = args
        .network
        .iter()
        .map(|name| net::describe(dirs, name).map(|network| serde_json::json!(network)))
        .collect::<Result<_>>()?;
    println!("{:#}", Value::from(networks));
    Ok(())
}
