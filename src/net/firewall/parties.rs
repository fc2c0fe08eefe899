//! Which names the policies of networks in use call containers by: a small file, so that a container that joins a
//! network needs to read neither other networks' definitions nor other containers' leases.
//!
//! A network in use writes its names here before it looks for containers that bear them, and a container reads the file
//! after its lease is written: whichever comes first, one finds the other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::rules;
use crate::error::Result;
use crate::net::definition::{Definition, Dirs};
use crate::net::file::{self, Durability};

/// Names of containers, and the networks whose rules use them.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Parties(BTreeMap<String, BTreeSet<String>>);

fn path(dirs: &Dirs) -> PathBuf {
    dirs.run.join(".parties.json")
}

impl Parties {
    /// Of the networks in use. Without a policy that names anybody there is no file.
    pub(super) fn load(dirs: &Dirs) -> Result<Self> {
        Ok(file::read(&path(dirs))?.unwrap_or_default())
    }

    /// What the file should say for these networks.
    pub(super) fn of<'a>(definitions: impl IntoIterator<Item = &'a Definition>) -> Self {
        let mut parties = Self::default();
        for definition in definitions {
            for name in rules::named(&definition.policy) {
                let networks = parties.0.entry(name.to_owned()).or_default();
                networks.insert(definition.name.clone());
            }
        }
        parties
    }

    /// Replaces what the file says about one network, or removes it. The caller holds the shared lock.
    pub(super) fn update(dirs: &Dirs, network: &str, definition: Option<&Definition>) -> Result<()> {
        let before = Self::load(dirs)?;
        let mut after = Self::of(definition);
        for (name, networks) in &before.0 {
            let others = networks.iter().filter(|other| *other != network).cloned();
            after.0.entry(name.clone()).or_default().extend(others);
        }
        after.0.retain(|_, networks| !networks.is_empty());
        match after == before {
            // Of somebody who was killed while he wrote it.
            true => file::remove(&file::temporary(&path(dirs))).map(drop),
            false => after.save(dirs),
        }
    }

    /// The caller holds the shared lock.
    pub(super) fn save(&self, dirs: &Dirs) -> Result<()> {
        match self.0.is_empty() {
            true => file::remove(&path(dirs)).map(drop),
            false => file::replace(&path(dirs), self, Durability::UntilReboot),
        }
    }

    pub(super) fn networks_naming(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }

    /// Networks and names.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|(name, networks)| {
            networks
                .iter()
                .map(move |network| (network.as_str(), name.as_str()))
        })
    }
}
