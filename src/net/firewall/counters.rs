//! How often the rules of policies matched, and who was refused lately, as `nft --json list table` tells it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use serde_json::Value;

use super::nft;
use crate::error::{Error, Kind, Result};
use crate::net::definition::{self, Dirs};

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Of a rule: the first packets of connections, one for each.
    pub packets: u64,
    /// Their bytes, with the headers of IP.
    pub bytes: u64,
}

/// What a rule of a policy has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RuleCounters {
    /// Connections that it allowed.
    pub allowed: Counted,
    /// Connections that were more than its rate allows.
    pub over: Counted,
}

/// A pair that was refused within the last hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Who asked.
    pub from: IpAddr,
    /// Whom.
    pub to: IpAddr,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// The port that was asked for.
    pub port: u16,
    /// How often, and how much.
    #[serde(flatten)]
    pub counted: Counted,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// By network and index of the rule in its definition.
    pub rules: BTreeMap<(String, usize), RuleCounters>,
    /// Most packets first.
    pub refused: Vec<Refused>,
}

impl Counters {
    /// What the rule of this index in the network's definition has seen.
    pub fn of(&self, network: &str, rule: usize) -> RuleCounters {
        self.rules
            .get(&(network.to_owned(), rule))
            .copied()
            .unwrap_or_default()
    }
}

pub(super) fn read(dirs: &Dirs) -> Result<Counters> {
    let json = nft::output("nft", &["--json", "list", "table", "inet", "minirun"])?;
    let json: Value = serde_json::from_slice(&json)
        .map_err(|error| Error::new(Kind::Program, format_args!("read the answer of nft: {error}")))?;
    Ok(parse(&json, &definition::names(dirs)?))
}

pub(super) fn parse(json: &Value, networks: &[String]) -> Counters {
    let mut counters = Counters::default();
    for item in json["nftables"].as_array().into_iter().flatten() {
        if let Some(name) = item["counter"]["name"].as_str() {
            let counted = counted(&item["counter"]);
            for network in networks {
                let index = |kind: &str| {
                    let rest = name.strip_prefix(kind)?.strip_prefix(network.as_str())?;
                    rest.strip_prefix('/')?.parse::<usize>().ok()
                };
                let allowed = index("rule/");
                if let Some(index) = allowed.or_else(|| index("over/")) {
                    let rule = counters.rules.entry((network.clone(), index)).or_default();
                    match allowed {
                        Some(_) => rule.allowed = counted,
                        None => rule.over = counted,
                    }
                }
            }
        }
        let set = &item["set"];
        if matches!(set["name"].as_str(), Some("refused4" | "refused6")) {
            let elements = set["elem"].as_array().into_iter().flatten();
            counters.refused.extend(elements.filter_map(refused));
        }
    }
    counters
        .refused
        .sort_by_key(|refused| std::cmp::Reverse(refused.counted.packets));
    counters
}

fn counted(value: &Value) -> Counted {
    Counted {
        packets: value["packets"].as_u64().unwrap_or_default(),
        bytes: value["bytes"].as_u64().unwrap_or_default(),
    }
}

fn refused(element: &Value) -> Option<Refused> {
    let element = &element["elem"];
    let key = element["val"]["concat"].as_array()?;
    let [from, to, protocol, port] = key.as_slice() else {
        return None;
    };
    Some(Refused {
        from: from.as_str()?.parse().ok()?,
        to: to.as_str()?.parse().ok()?,
        protocol: protocol.as_str()?.to_owned(),
        port: u16::try_from(port.as_u64()?).ok()?,
        counted: counted(&element["counter"]),
    })
}
