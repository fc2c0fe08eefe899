//! What a container asks for: `NAME[:ip=..,ip6=..,mac=..,alias=..,interface=..,priority=N]`.

use std::fmt::{self, Display};
use std::fs::File;
use std::io::Read as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::is_default;
use crate::error::{Error, OsContext, Result};

/// A wish to be on a network, as given with `--network` or by annotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network's name.
    pub network: String,
    /// The address to have; any free one otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<Ipv4Addr>,
    /// The IPv6 address to have; any free one otherwise, if the network has IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip6: Option<Ipv6Addr>,
    /// The Ethernet address to have; a random one otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Further names under which others on the network know the container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The interface's name in the container; the next free `ethN` otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Of a container's networks the one with the highest has the default route, the first of several; 0 unless said
    /// otherwise.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: i32,
}

impl Endpoint {
    /// Any free address on the network of this name.
    pub fn new(network: impl Into<String>) -> Self {
        Self {
            network: network.into(),
            ip: None,
            ip6: None,
            mac: None,
            aliases: Vec::new(),
            interface: None,
            priority: 0,
        }
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    /// Reads `NAME[:OPTION=VALUE,..]`; `alias=` may be repeated. `none` and `host` are not networks and refused here: the
    /// caller handles them.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: String| Error::invalid(format_args!("network {text:?}"), why);
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        check_network_name(name).map_err(wrong)?;
        if matches!(name, "none" | "host") {
            return Err(wrong(format!("{name:?} stands alone and takes no options")));
        }
        let mut endpoint = Self::new(name);
        let mut seen: Vec<&str> = Vec::new();
        for option in options.split(',').filter(|_| text.contains(':')) {
            let Some((key, value)) = option.split_once('=') else {
                return Err(wrong(format!("option {option:?} has no \"=\""))
                    .hint("write NAME:ip=10.0.0.2,mac=02:00:00:00:00:01,alias=db"));
            };
            if key != "alias" && seen.contains(&key) {
                return Err(wrong(format!("{key}= is given twice")));
            }
            seen.push(key);
            match key {
                "ip" => endpoint.ip = Some(parse(key, value, "an IPv4 address").map_err(wrong)?),
                "ip6" => endpoint.ip6 = Some(parse(key, value, "an IPv6 address").map_err(wrong)?),
                "mac" => endpoint.mac = Some(value.parse().map_err(wrong)?),
                "priority" => endpoint.priority = parse(key, value, "a whole number").map_err(wrong)?,
                "alias" if is_host_name(value) => endpoint.aliases.push(value.to_owned()),
                "alias" => return Err(wrong(format!("alias={value:?} is not a host name"))),
                "interface" if is_interface_name(value) && value != "lo" => {
                    endpoint.interface = Some(value.to_owned());
                }
                "interface" => {
                    return Err(wrong(format!(
                        "interface={value:?} is not a name of at most 15 bytes for an interface other than lo"
                    )));
                }
                _ => {
                    return Err(wrong(format!("unknown option {key:?}"))
                        .hint("known are ip, ip6, mac, alias, interface and priority"));
                }
            }
        }
        Ok(endpoint)
    }
}

fn parse<T: FromStr>(key: &str, value: &str, what: &str) -> std::result::Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("{key}={value:?} is not {what}"))
}

impl Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = (self.ip.iter().map(|ip| format!("ip={ip}")))
            .chain(self.ip6.iter().map(|ip| format!("ip6={ip}")))
            .chain(self.mac.iter().map(|mac| format!("mac={mac}")))
            .chain(self.aliases.iter().map(|alias| format!("alias={alias}")))
            .chain(self.interface.iter().map(|name| format!("interface={name}")))
            .chain((self.priority != 0).then(|| format!("priority={}", self.priority)))
            .collect::<Vec<_>>();
        match options.is_empty() {
            true => f.write_str(&self.network),
            false => write!(f, "{}:{}", self.network, options.join(",")),
        }
    }
}

/// Whether this may name a network: it becomes part of paths. At most 64 of the letters that Docker allows.
///
/// # Errors
/// In words, why not.
pub(super) fn check_network_name(name: &str) -> std::result::Result<(), String> {
    let first = name.bytes().next();
    let fine = first.is_some_and(|byte| byte.is_ascii_alphanumeric())
        && name.len() <= 64
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    match fine {
        true => Ok(()),
        false => Err(format!(
            "{name:?} is not a network name: up to 64 letters, digits, \"_\", \".\" and \"-\", the first a letter or digit"
        )),
    }
}

/// Whether others may find a container under this name: what /etc/hosts can hold without surprises (RFC 1123, and the
/// underscore that container names have).
pub fn is_host_name(name: &str) -> bool {
    let alphanumeric = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    name.len() <= 253
        && alphanumeric(name.bytes().next())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// The rule of the kernel's dev_valid_name: 1 to 15 bytes, no slash, colon or space, not `.` or `..`; and no `%`, which
/// makes the kernel look for a number.
pub(super) fn is_interface_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"/:%".contains(&byte))
}

/// An Ethernet address of one station.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac([u8; 6]);

impl Mac {
    /// A random address from the range that nobody's hardware has.
    ///
    /// # Errors
    /// When /dev/urandom cannot be read.
    pub(super) fn random() -> Result<Self> {
        let mut octets = random::<6>()?;
        octets[0] = octets[0] & !MULTICAST | LOCAL;
        Ok(Self(octets))
    }

    /// The six octets in the order in which they are written.
    pub fn octets(self) -> [u8; 6] {
        self.0
    }
}

const MULTICAST: u8 = 1;
const LOCAL: u8 = 2;

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong = || format!("mac={text:?} is not an Ethernet address like 02:00:00:00:00:01");
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(wrong)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() {
            return Err(wrong());
        }
        match octets {
            [0, 0, 0, 0, 0, 0] => Err(format!("mac={text:?} is no station's address")),
            [first, ..] if first & MULTICAST != 0 => {
                Err(format!("mac={text:?} is a group's address, not a station's"))
            }
            octets => Ok(Self(octets)),
        }
    }
}

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A name for the host's end of a veth pair that no link has had: `mr` and 48 random bits, within IFNAMSIZ.
pub(super) fn random_interface() -> Result<String> {
    let [a, b, c, d, e, f] = random::<6>()?;
    Ok(format!("mr{a:02x}{b:02x}{c:02x}{d:02x}{e:02x}{f:02x}"))
}

/// Random bytes for names and addresses that nobody has.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    const SOURCE: &str = "/dev/urandom";
    let mut bytes = [0; N];
    File::open(SOURCE)
        .and_then(|mut source| source.read_exact(&mut bytes))
        .os("read", SOURCE)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_survives_being_written_and_read() {
        for text in [
            "default",
            "shop:ip=10.0.0.2",
            "shop:ip=10.0.0.2,mac=02:00:00:00:00:01,alias=db,alias=pg",
            "shop:ip6=fd00::2,interface=net0,priority=-7",
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_wrong_endpoint_is_refused_with_its_reason() {
        for (text, why) in [
            ("", "not a network name"),
            ("../etc", "not a network name"),
            ("-x", "not a network name"),
            ("a/b", "not a network name"),
            ("none", "stands alone"),
            ("host:ip=1.2.3.4", "stands alone"),
            ("shop:", "has no \"=\""),
            ("shop:ip", "has no \"=\""),
            ("shop:ip=10.0.0", "not an IPv4 address"),
            ("shop:ip=fd00::1", "not an IPv4 address"),
            ("shop:ip=10.0.0.2,ip=10.0.0.3", "given twice"),
            ("shop:mac=2:0:0:0:0:1", "not an Ethernet address"),
            ("shop:mac=01:00:00:00:00:01", "a group's address"),
            ("shop:mac=00:00:00:00:00:00", "no station's address"),
            ("shop:alias=a b", "not a host name"),
            ("shop:alias=", "not a host name"),
            ("shop:ipv4=10.0.0.2", "unknown option"),
            ("shop:ip6=10.0.0.2", "not an IPv6 address"),
            ("shop:interface=sixteen-letters-", "at most 15 bytes"),
            ("shop:interface=a/b", "at most 15 bytes"),
            ("shop:interface=eth%d", "at most 15 bytes"),
            ("shop:interface=lo", "other than lo"),
            ("shop:priority=high", "not a whole number"),
            ("shop:priority=1,priority=1", "given twice"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }

    #[test]
    fn random_addresses_belong_to_one_station_and_to_no_vendor() {
        for _ in 0..100 {
            let first = Mac::random().unwrap().octets()[0];
            assert_eq!((first & MULTICAST, first & LOCAL), (0, LOCAL));
        }
    }
}
