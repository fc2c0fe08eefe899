//! `inspect`: everything that is known of a container, for people and scripts.

use serde_json::{Value, json};

use super::store::Store;
use crate::error::Result;
use crate::spec::id::Id;

/// The document: state, control groups, limits, use, and for each network its name, address, MAC and ports.
///
/// # Errors
/// `NotFound`, or what cannot be read.
pub fn inspect(store: &Store, id: &Id) -> Result<Value> {
    let (entry, record) = store.read(id)?;
    let spec = entry.config()?;
    let cgroups: serde_json::Map<String, Value> = record
        .cgroup
        .directories()
        .into_iter()
        .map(|(controllers, directory)| (controllers, json!(directory)))
        .collect();
    Ok(json!({
        "state": entry.state(&record)?,
        "record": record,
        "cgroup": {
            "paths": cgroups,
            "statistics": record.cgroup.statistics().ok(),
        },
        "limits": entry.resources(&spec)?,
        "networks": record.attachment,
    }))
}
