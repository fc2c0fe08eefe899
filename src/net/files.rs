//! The contents of /etc/hosts, /etc/hostname and /etc/resolv.conf for a container whose bundle does not bring its own.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::endpoint::is_host_name;
use super::{Attached, Attachment, Dns};
use crate::netd::Resolver;

/// The host's resolver configuration (resolv.conf(5)).
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// `/etc/hosts`: loopback, the container's own addresses and names, and further lines. Neighbours are found by DNS.
pub fn hosts(hostname: &str, attachment: &Attachment, further: &[(IpAddr, String)]) -> String {
    let mut text = String::from("127.0.0.1\tlocalhost\n::1\tip6-localhost ip6-loopback\n");
    for own in &attachment.networks {
        text.push_str(&own_lines(hostname, own));
    }
    for (address, name) in further {
        line(&mut text, *address, [name.as_str()].into_iter());
    }
    text
}

/// The lines of `/etc/hosts` for the container itself on one network.
pub fn own_lines(hostname: &str, own: &Attached) -> String {
    let mut text = String::new();
    let addresses = [Some(own.address.into()), own.address6.map(IpAddr::V6)];
    for address in addresses.into_iter().flatten() {
        let names = [hostname].into_iter().chain(own.names.iter().map(String::as_str));
        line(&mut text, address, names);
    }
    text
}

/// Names that would break the file, or stand for the container itself, are left out.
fn line<'a>(text: &mut String, address: IpAddr, names: impl Iterator<Item = &'a str>) {
    let mut known: Vec<&str> = Vec::new();
    for name in names.filter(|name| is_host_name(name) && *name != "localhost") {
        if !known.contains(&name) {
            known.push(name);
        }
    }
    if !known.is_empty() {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{address}\t{}", known.join(" "));
    }
}

/// `/etc/hostname`.
pub fn hostname(name: &str) -> String {
    format!("{name}\n")
}

/// `/etc/resolv.conf`: the container's own resolver, behind which netd answers; the search list that was asked for, or
/// else the host's; the host's options. A search list of `.` alone is no search list.
///
/// `ndots:0`, whatever the host has: a name is looked up as it stands before the search list is tried. Otherwise `db`
/// would be asked for outside as `db.example.org`, and if there is such a host, the container of that name be hidden.
pub fn resolv_conf(dns: &Dns) -> String {
    resolv_conf_from(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default(), dns)
}

/// The same from what the host has.
pub(super) fn resolv_conf_from(host: &str, dns: &Dns) -> String {
    let mut text = String::new();
    let mut options = Vec::new();
    for line in host.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("search" | "domain"), Some(_)) if dns.search.is_empty() => text.extend([line.trim(), "\n"]),
            (Some("sortlist"), Some(_)) => text.extend([line.trim(), "\n"]),
            (Some("options"), _) => {
                options.extend(
                    line.split_whitespace()
                        .skip(1)
                        .filter(|option| !option.starts_with("ndots:")),
                );
            }
            _ => {}
        }
    }
    let domains: Vec<&str> = dns
        .search
        .iter()
        .map(String::as_str)
        .filter(|domain| *domain != ".")
        .collect();
    if !domains.is_empty() {
        text.extend(["search ", &domains.join(" "), "\n"]);
    }
    options.push("ndots:0");
    text + &format!(
        "options {}\nnameserver {}\n",
        options.join(" "),
        Resolver::address()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn searching(domains: &[&str]) -> Dns {
        Dns {
            search: domains.iter().map(ToString::to_string).collect(),
            ..Dns::default()
        }
    }

    #[test]
    fn search_and_options_of_the_host_stay_and_its_servers_are_asked_by_others() {
        let host = "# made by hand\nsearch a.example b.example\nnameserver 127.0.0.53\nnameserver 192.0.2.1\n\
                    options ndots:2 edns0\n";
        let expected = "search a.example b.example\noptions edns0 ndots:0\nnameserver 127.0.0.11\n";
        assert_eq!(resolv_conf_from(host, &Dns::default()), expected);
    }

    #[test]
    fn a_search_list_that_was_asked_for_replaces_the_hosts() {
        let host = "search a.example\noptions ndots:2\n";
        assert_eq!(
            resolv_conf_from(host, &searching(&["shop.example", "b.example"])),
            "search shop.example b.example\noptions ndots:0\nnameserver 127.0.0.11\n"
        );
        assert_eq!(
            resolv_conf_from(host, &searching(&["."])),
            "options ndots:0\nnameserver 127.0.0.11\n"
        );
    }

    #[test]
    fn a_name_cannot_add_lines_to_the_hosts_file() {
        let mut text = String::new();
        let names = [
            "evil\n1.2.3.4 bank.example",
            "good",
            "localhost",
            "",
            "a b",
            "good",
            "x#y",
        ];
        line(&mut text, IpAddr::from([10, 0, 0, 2]), names.into_iter());
        assert_eq!(text, "10.0.0.2\tgood\n");
    }
}
