//! Policy: which containers of a network may open connections to whom, as its definition says it. Pure.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::endpoint::is_host_name;
use super::is_default;

/// What the definition of a network allows beyond, or short of, everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// Between containers of this network.
    #[serde(default, skip_serializing_if = "is_default")]
    pub within: Stance,
    /// To addresses that are no container's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub egress: Stance,
    /// What is allowed where the above denies it, and between networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

/// What holds where no rule says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stance {
    /// Everything.
    #[default]
    Allow,
    /// Nothing.
    Deny,
}

/// One permission; from the outside to published ports, which need none, a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Who opens the connection: containers of any network, or the outside.
    pub from: Party,
    /// To whom: containers of this network, or the outside.
    pub to: Party,
    /// The ports of `to`; at least one.
    pub ports: Vec<Ports>,
    /// At most so many new connections; as many as one likes otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// How many may come at once before the rate counts; nftables' 5 otherwise. Only with `rate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

/// One side of a [`Rule`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Party {
    /// `*`: every container on this network.
    Everybody,
    /// `outside`: whatever is no container of ours.
    Outside,
    /// Containers of this id, host name or alias.
    Named(String),
}

/// Ports of one protocol, both ends included, or `all`: `5432/tcp`, `8000-8010/udp`. Without a protocol it is tcp.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Ports {
    /// Every port of every protocol, and protocols without ports.
    All,
    /// From `first` to `last`.
    Range {
        /// The lowest port, at least 1.
        first: u16,
        /// The highest port, not below `first`.
        last: u16,
        /// Of this protocol.
        protocol: Protocol,
    },
}

/// A transport protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Transmission Control Protocol.
    Tcp,
    /// User Datagram Protocol.
    Udp,
    /// Stream Control Transmission Protocol.
    Sctp,
}

/// So many events in a span of time: `100/minute`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    /// How many, at least 1.
    pub count: u32,
    /// In which time.
    pub per: Span,
}

/// The spans of time of a [`Rate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// A second.
    Second,
    /// 60 seconds.
    Minute,
    /// 3600 seconds.
    Hour,
    /// 86400 seconds.
    Day,
}

impl Policy {
    /// Whether every rule makes sense by itself.
    ///
    /// # Errors
    /// The field's path below the policy, and in words, what is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        for (index, rule) in self.rules.iter().enumerate() {
            rule.check().map_err(|why| format!("rules[{index}].{why}"))?;
        }
        Ok(())
    }
}

impl Rule {
    /// Whether it makes sense by itself.
    ///
    /// # Errors
    /// The field, and in words, what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        if self.from == Party::Outside && (self.rate.is_none() || self.to == Party::Outside) {
            return Err(
                "from: \"outside\" reaches containers through published ports alone; a rule can give those a rate".to_owned(),
            );
        }
        if self.ports.is_empty() {
            return Err("ports: none given; write \"all\" for all".to_owned());
        }
        match (self.rate, self.burst) {
            (None, Some(_)) => Err("burst: means nothing without rate".to_owned()),
            (_, Some(0)) => Err("burst: 0 would let nothing through".to_owned()),
            _ => Ok(()),
        }
    }
}

impl Span {
    /// Its length in seconds.
    pub fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 60 * 60,
            Self::Day => 24 * 60 * 60,
        }
    }
}

impl FromStr for Stance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "allow" => Ok(Self::Allow),
            "deny" => Ok(Self::Deny),
            _ => Err(format!("{text:?} is neither \"allow\" nor \"deny\"")),
        }
    }
}

impl FromStr for Party {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "*" => Ok(Self::Everybody),
            "outside" => Ok(Self::Outside),
            name if is_host_name(name) => Ok(Self::Named(name.to_owned())),
            _ => Err(format!(
                "{text:?} is not \"*\", \"outside\" or the name of a container"
            )),
        }
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(format!("protocol {text:?} is not tcp, udp or sctp")),
        }
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        let (ports, protocol) = match text.split_once('/') {
            Some((ports, protocol)) => (ports, protocol.parse()?),
            None => (text, Protocol::Tcp),
        };
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let port = |digits: &str| {
            let port = digits.parse::<u16>().ok();
            port.filter(|port| *port > 0 && digits.bytes().all(|byte| byte.is_ascii_digit()))
                .ok_or_else(|| format!("{text:?} is not a port or range like 5432/tcp, 8000-8010/udp or all"))
        };
        let (first, last) = (port(first)?, port(last)?);
        if first > last {
            return Err(format!("{text:?} ends before it starts"));
        }
        Ok(Self::Range {
            first,
            last,
            protocol,
        })
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a rate like 100/minute (second, minute, hour or day)");
        let (count, per) = text.split_once('/').ok_or_else(wrong)?;
        let per = match per {
            "second" => Span::Second,
            "minute" => Span::Minute,
            "hour" => Span::Hour,
            "day" => Span::Day,
            _ => return Err(wrong()),
        };
        match count.parse() {
            Ok(count) if count > 0 => Ok(Self { count, per }),
            _ => Err(wrong()),
        }
    }
}

impl Display for Stance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

impl Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Everybody => "*",
            Self::Outside => "outside",
            Self::Named(name) => name,
        })
    }
}

impl Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Range {
                first,
                last,
                protocol,
            } if first == last => write!(f, "{first}/{protocol}"),
            Self::Range {
                first,
                last,
                protocol,
            } => write!(f, "{first}-{last}/{protocol}"),
        }
    }
}

impl Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = match self.per {
            Span::Second => "second",
            Span::Minute => "minute",
            Span::Hour => "hour",
            Span::Day => "day",
        };
        write!(f, "{}/{per}", self.count)
    }
}

/// In JSON these are the texts that people write.
macro_rules! written_as_text {
    ($($type:ty),*) => {$(
        impl TryFrom<String> for $type {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    )*};
}

written_as_text!(Party, Ports, Rate);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_survives_being_written_and_read() {
        let json = serde_json::json!({
            "within": "deny",
            "egress": "deny",
            "rules": [
                {"from": "web", "to": "db", "ports": ["5432/tcp", "8000-8010/udp", "7/sctp"], "rate": "100/minute", "burst": 20},
                {"from": "*", "to": "outside", "ports": ["all"]},
            ],
        });
        let policy: Policy = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(policy.check(), Ok(()));
        assert_eq!(serde_json::to_value(&policy).unwrap(), json);
        assert_eq!(
            serde_json::to_value(Policy::default()).unwrap(),
            serde_json::json!({})
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_reason() {
        for (text, why) in [
            ("", "not a port"),
            ("0", "not a port"),
            ("+80/tcp", "not a port"),
            ("80-/tcp", "not a port"),
            ("65536/tcp", "not a port"),
            ("90-80/tcp", "ends before"),
            ("80/icmp", "not tcp, udp or sctp"),
        ] {
            assert!(text.parse::<Ports>().unwrap_err().contains(why), "{text}");
        }
        for text in ["", "100", "0/minute", "1/fortnight", "-1/second"] {
            assert!(text.parse::<Rate>().unwrap_err().contains("not a rate"), "{text}");
        }
        for text in ["", "a b", "-x", "**"] {
            assert!(text.parse::<Party>().is_err(), "{text}");
        }
        assert_eq!("80".parse::<Ports>().unwrap().to_string(), "80/tcp");
    }

    #[test]
    fn a_rule_that_cannot_work_is_refused_by_its_field() {
        let good = Rule {
            from: Party::Everybody,
            to: Party::Outside,
            ports: vec![Ports::All],
            rate: None,
            burst: None,
        };
        assert_eq!(good.check(), Ok(()));
        let wrong = [
            (
                Rule {
                    from: Party::Outside,
                    ..good.clone()
                },
                "rules[0].from: ",
            ),
            (
                Rule {
                    ports: Vec::new(),
                    ..good.clone()
                },
                "rules[0].ports: ",
            ),
            (
                Rule {
                    burst: Some(5),
                    ..good
                },
                "rules[0].burst: ",
            ),
        ];
        for (rule, why) in wrong {
            let policy = Policy {
                rules: vec![rule],
                ..Policy::default()
            };
            assert!(policy.check().unwrap_err().starts_with(why), "{why}");
        }
    }
}
