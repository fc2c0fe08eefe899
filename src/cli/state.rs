//! `minirun state`.

use crate::container::store::Store;
use crate::error::Result;
use crate::spec::id::Id;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The container's id
    id: Id,
}

pub(super) fn run(store: &Store, args: &Args) -> Result<u8> {
    let (entry, record) = store.read(&args.id)?;
    println!("{}", entry.state(&record)?.to_json());
    Ok(0)
}
