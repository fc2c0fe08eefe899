//! Network definitions: `/var/lib/minirun/net/<name>.json`, written through to the disk.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::SystemTime;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::address::subnet::{Subnet, Subnet6};
use super::address::taken::{self, Taken};
use super::endpoint::{check_network_name, is_interface_name};
use super::file::{self, Durability};
use super::is_default;
use super::policy::Policy;
use crate::error::{Error, Kind, OsContext, Result, closest};
use crate::log::Rfc3339;

/// The network that exists without being created.
pub const DEFAULT: &str = "default";
pub(super) const DEFAULT_BRIDGE: &str = "minirun0";

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
    /// IPv6 addresses; without them IPv6 is off on every link of the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Subnet6>,
    /// The IPv4 subnet was chosen by us and may be chosen again when the host came to use it otherwise.
    #[serde(default, skip_serializing_if = "is_default")]
    pub auto: bool,
    /// Largest packet in bytes; the kernel's default of 1500 otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// No way out: no default route, no masquerading, no forwarding, no name servers but our own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub internal: bool,
    /// Its containers do not talk to those of other networks. When false, they do with networks that say so too.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub isolated: bool,
    /// Its containers may open connections to the services of the host.
    #[serde(default, skip_serializing_if = "is_default")]
    pub host_access: bool,
    /// Who may talk to whom within it, out of it and into it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub policy: Policy,
    /// Words of those who made it; nothing to us.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When it was made: RFC 3339 in UTC. Unknown of networks that were defined by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
}

fn yes() -> bool {
    true
}

fn is_true(value: &bool) -> bool {
    *value
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
        let ipv4 = free_subnet(DEFAULT, taken)?;
        Ok(Self {
            auto: true,
            ..Self::new(DEFAULT, DEFAULT_BRIDGE, ipv4)
        })
    }

    /// A network of which nothing else was said.
    pub(super) fn new(name: &str, bridge: &str, ipv4: Subnet) -> Self {
        Self {
            name: name.to_owned(),
            driver: Driver::Bridge,
            bridge: bridge.to_owned(),
            ipv4,
            ipv6: None,
            auto: false,
            mtu: None,
            internal: false,
            isolated: true,
            host_access: false,
            policy: Policy::default(),
            labels: BTreeMap::new(),
            created: Some(Rfc3339(SystemTime::now()).to_string()),
        }
    }

    /// The definition of a network, checked; `None` when there is none.
    ///
    /// # Errors
    /// When the file cannot be read or makes no sense; the error names file and field.
    pub fn load(dirs: &Dirs, name: &str) -> Result<Option<Self>> {
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

    /// Whether a network can be made of it.
    ///
    /// # Errors
    /// The field, and in words, what is wrong with it.
    pub(super) fn check(&self, name: &str) -> std::result::Result<(), String> {
        if self.name != name {
            return Err(format!("name: is {:?}, the file's is {name:?}", self.name));
        }
        if !is_interface_name(&self.bridge) {
            return Err(format!(
                "bridge: {:?} is not an interface name of at most 15 bytes",
                self.bridge
            ));
        }
        self.ipv4.check().map_err(|why| format!("ipv4.{why}"))?;
        if let Some(ipv6) = &self.ipv6 {
            ipv6.check().map_err(|why| format!("ipv6.{why}"))?;
        }
        check_mtu(self.mtu, self.ipv6.is_some())?;
        self.policy.check().map_err(|why| format!("policy.{why}"))
    }

    /// Its subnets.
    pub(super) fn pools(&self) -> impl Iterator<Item = IpNet> + use<> {
        let pools = [
            Some(self.ipv4.subnet.into()),
            self.ipv6.map(|ipv6| ipv6.subnet.into()),
        ];
        pools.into_iter().flatten()
    }

    /// Whether its packets pass through the host: to the outside, or by a rule to another network.
    pub(super) fn needs_forwarding(&self) -> bool {
        !self.internal || !self.policy.rules.is_empty()
    }

    /// Writes the definition. The caller holds the shared lock.
    pub(super) fn save(&self, dirs: &Dirs) -> Result<()> {
        file::directory(&dirs.lib)?;
        file::replace(&dirs.definition(&self.name), self, Durability::Durable)
    }

    /// Deletes the definition. The caller holds the network's lock and the shared one.
    pub(super) fn delete(&self, dirs: &Dirs) -> Result<()> {
        file::remove(&dirs.definition(&self.name))?;
        file::sync_directory(&dirs.lib)
    }
}

/// The least that each family needs (RFC 791, RFC 8200 section 5), the most that the bridge takes.
pub(super) fn check_mtu(mtu: Option<u32>, ipv6: bool) -> std::result::Result<(), String> {
    let least = if ipv6 { 1280 } else { 68 };
    match mtu {
        Some(mtu) if !(least..=65_535).contains(&mtu) => {
            Err(format!("mtu: {mtu} is not between {least} and 65535"))
        }
        _ => Ok(()),
    }
}

/// Removes what killed commands were writing. The caller holds the shared lock.
pub(super) fn sweep(dirs: &Dirs) -> Result<()> {
    file::sweep(&dirs.lib)?;
    file::sweep(&dirs.run)
}

/// Whether anybody in `taken` has addresses of the network: the error says who.
pub(super) fn check_overlap(definition: &Definition, taken: &[Taken]) -> Result<()> {
    for subnet in definition.pools() {
        if let Some(conflict) = taken::conflict(subnet, taken) {
            return Err(Error::new(
                Kind::Exists,
                format_args!(
                    "network {}: subnet {subnet} overlaps with {}",
                    definition.name, conflict.by
                ),
            ));
        }
    }
    Ok(())
}

/// A subnet for the network `name` that nobody in `taken` has.
///
/// # Errors
/// When the pools are used up.
pub(super) fn free_subnet(name: &str, taken: &[Taken]) -> Result<Subnet> {
    taken::choose(taken).map(Subnet::new).ok_or_else(|| {
        Error::new(
            Kind::Exists,
            format_args!("network {name}: no free subnet left in {}", taken::pools()),
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
    match closest(name, known.iter().map(String::as_str)) {
        Some(close) => error.hint(format_args!("did you mean {close:?}?")),
        None => error.hint(format_args!("there are: {}", known.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_with_an_unknown_field_is_refused_not_half_understood() {
        let mut json = serde_json::to_value(Definition::default_network(&[]).unwrap()).unwrap();
        assert!(serde_json::from_value::<Definition>(json.clone()).is_ok());
        json["vlan"] = 7.into();
        let error = serde_json::from_value::<Definition>(json)
            .unwrap_err()
            .to_string();
        assert!(error.contains("vlan"), "{error}");
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
            ..good.clone()
        };
        assert!(definition.check(DEFAULT).unwrap_err().contains("mtu: 67"));
        let definition = Definition {
            mtu: Some(1279),
            ipv6: Some(Subnet::new("fd00::/64".parse().unwrap())),
            ..good.clone()
        };
        assert!(definition.check(DEFAULT).unwrap_err().contains("mtu: 1279"));
        let definition = Definition {
            ipv6: Some(Subnet::new("fd00::/127".parse().unwrap())),
            ..good
        };
        assert!(
            definition
                .check(DEFAULT)
                .unwrap_err()
                .starts_with("ipv6.subnet: fd00::/127")
        );
    }

    #[test]
    fn a_definition_of_the_first_version_still_loads_and_is_isolated() {
        let json = r#"{"name":"shop","driver":"bridge","bridge":"mrshop","ipv4":{"subnet":"10.0.0.0/24","gateway":"10.0.0.1"}}"#;
        let definition: Definition = serde_json::from_str(json).unwrap();
        assert!(definition.isolated && !definition.internal && !definition.host_access);
        assert_eq!(definition.ipv6, None);
        assert_eq!(serde_json::to_string(&definition).unwrap(), json);
    }

    #[test]
    fn a_definition_with_everything_survives_being_written_and_read() {
        let json = serde_json::json!({
            "name": "shop",
            "driver": "bridge",
            "bridge": "mrshop",
            "ipv4": {"subnet": "10.0.0.0/24", "gateway": "10.0.0.1", "range": "10.0.0.128/25"},
            "ipv6": {"subnet": "fd00::/64", "gateway": "fd00::1"},
            "mtu": 1450,
            "internal": true,
            "isolated": false,
            "hostAccess": true,
            "policy": {"within": "deny"},
            "labels": {"tier": "back"},
            "created": "2026-01-02T03:04:05.000000006Z",
        });
        let definition: Definition = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(definition.check("shop"), Ok(()));
        assert_eq!(serde_json::to_value(&definition).unwrap(), json);
    }
}
