//! Network definitions: `/var/lib/minirun/net/<name>.json`, written through to the disk.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::endpoint::check_network_name;
use super::file::{self, Durability};
use super::subnet::{self, Subnet, Taken};
use crate::error::{Error, Kind, OsContext, Result};

/// The network that exists without being created.
pub const DEFAULT: &str = "default";
const DEFAULT_BRIDGE: &str = "minirun0";

/// The roots of the state of networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    /// Leases and locks: of this boot.
    pub run: PathBuf,
    /// Definitions: they stay.
    pub lib: PathBuf,
}

impl Default for Dirs {
    fn default() -> Self {
        Self {
            run: PathBuf::from("/run/minirun/net"),
            lib: PathBuf::from("/var/lib/minirun/net"),
        }
    }
}

impl Dirs {
    /// The leases and the lock of one network. `name` has passed [`check_network_name`].
    pub(super) fn network(&self, name: &str) -> PathBuf {
        self.run.join(name)
    }

    /// The lock of what networks share (subnets, the firewall table). No network's name starts with a dot.
    pub(super) fn shared_lock(&self) -> PathBuf {
        self.run.join(".lock")
    }

    fn definition(&self, name: &str) -> PathBuf {
        self.lib.join(format!("{name}.json"))
    }
}

/// What makes a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Definition {
    /// The name, also of the file.
    pub name: String,
    /// How containers are connected.
    pub driver: Driver,
    /// The bridge's interface name on the host.
    pub bridge: String,
    /// IPv4 addresses.
    pub ipv4: Subnet,
    /// The subnet was chosen by us and may be chosen again when the host came to use it otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auto: bool,
    /// Largest packet in bytes; the kernel's default of 1500 otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

/// How the containers of a network are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// veth pairs into a bridge on the host, masquerading towards the outside.
    Bridge,
}

impl Definition {
    /// The network `default` in a subnet that nobody in `taken` has.
    ///
    /// # Errors
    /// When the pools are used up.
    pub(super) fn default_network(taken: &[Taken]) -> Result<Self> {
        Ok(Self {
            name: DEFAULT.to_owned(),
            driver: Driver::Bridge,
            bridge: DEFAULT_BRIDGE.to_owned(),
            ipv4: free_subnet(DEFAULT, taken)?,
            auto: true,
            mtu: None,
        })
    }

    /// The definition of a network, checked; `None` when there is none.
    ///
    /// # Errors
    /// When the file cannot be read or makes no sense; the error names file and field.
    pub(super) fn load(dirs: &Dirs, name: &str) -> Result<Option<Self>> {
        check_network_name(name).map_err(|why| Error::invalid("network", why))?;
        let path = dirs.definition(name);
        let Some(definition) = file::read::<Self>(&path)? else {
            return Ok(None);
        };
        definition
            .check(name)
            .map_err(|why| Error::invalid(path.display(), why))?;
        Ok(Some(definition))
    }

    fn check(&self, name: &str) -> std::result::Result<(), String> {
        if self.name != name {
            return Err(format!("name is {:?}, the file's is {name:?}", self.name));
        }
        if !is_interface_name(&self.bridge) {
            return Err(format!(
                "bridge {:?} is not an interface name of at most 15 bytes",
                self.bridge
            ));
        }
        match self.mtu {
            // The least that IPv4 needs, the most that the bridge takes.
            Some(mtu) if !(68..=65_535).contains(&mtu) => {
                Err(format!("mtu {mtu} is not between 68 and 65535"))
            }
            _ => self.ipv4.check(),
        }
    }

    /// Writes the definition. The caller holds the shared lock.
    pub(super) fn save(&self, dirs: &Dirs) -> Result<()> {
        file::directory(&dirs.lib)?;
        file::replace(&dirs.definition(&self.name), self, Durability::Durable)
    }
}

/// A subnet for the network `name` that nobody in `taken` has.
///
/// # Errors
/// When the pools are used up.
pub(super) fn free_subnet(name: &str, taken: &[Taken]) -> Result<Subnet> {
    subnet::choose(taken).map(Subnet::new).ok_or_else(|| {
        Error::new(
            Kind::Exists,
            format_args!("network {name}: no free subnet left in {}", subnet::pools()),
        )
        .hint("routes or addresses of this host cover them all; write a definition with a subnet of your own")
    })
}

/// The names of all networks that are defined, sorted.
pub fn names(dirs: &Dirs) -> Result<Vec<String>> {
    let entries = match fs::read_dir(&dirs.lib) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.os("read directory", dirs.lib.display())?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.os("read directory", dirs.lib.display())?.file_name();
        if let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".json"))
            && check_network_name(name).is_ok()
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The error for a network that is not defined, with what was probably meant.
pub(super) fn unknown(dirs: &Dirs, name: &str) -> Error {
    let mut known = names(dirs).unwrap_or_default();
    if !known.iter().any(|known| known == DEFAULT) {
        known.push(DEFAULT.to_owned());
    }
    let error = Error::new(Kind::NotFound, format_args!("network {name:?} does not exist"));
    match known.iter().min_by_key(|known| edit_distance(known, name)) {
        Some(close) if edit_distance(close, name) <= 2 => error.hint(format_args!("did you mean {close:?}?")),
        _ => error.hint(format_args!("there are: {}", known.join(", "))),
    }
}

/// The rule of the kernel's dev_valid_name: 1 to 15 bytes, no slash, colon or space, not `.` or `..`.
fn is_interface_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':')
}

/// How many letters to insert, remove or change to get from one name to the other (Levenshtein).
fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.iter().enumerate() {
            let change = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_of_names_counts_single_edits() {
        for (a, b, distance) in [
            ("", "", 0),
            ("default", "default", 0),
            ("default", "defualt", 2),
            ("shop", "shops", 1),
            ("ab", "xyz", 3),
        ] {
            assert_eq!(edit_distance(a, b), distance, "{a} {b}");
            assert_eq!(edit_distance(b, a), distance, "{b} {a}");
        }
    }

    #[test]
    fn a_definition_with_an_unknown_field_is_refused_not_half_understood() {
        let mut json = serde_json::to_value(Definition::default_network(&[]).unwrap()).unwrap();
        assert!(serde_json::from_value::<Definition>(json.clone()).is_ok());
        json["policy"] = "deny".into();
        let error = serde_json::from_value::<Definition>(json)
            .unwrap_err()
            .to_string();
        assert!(error.contains("policy"), "{error}");
    }

    #[test]
    fn a_definition_that_cannot_work_is_refused() {
        let good = Definition::default_network(&[]).unwrap();
        assert_eq!(good.check(DEFAULT), Ok(()));
        assert!(good.check("other").unwrap_err().contains("the file's"));
        for bridge in ["", "a/b", "..", "sixteen-letters-", "a b"] {
            let definition = Definition {
                bridge: bridge.to_owned(),
                ..good.clone()
            };
            assert!(
                definition.check(DEFAULT).unwrap_err().contains("interface name"),
                "{bridge:?}"
            );
        }
        let definition = Definition {
            mtu: Some(67),
            ..good
        };
        assert!(definition.check(DEFAULT).unwrap_err().contains("mtu"));
    }
}
