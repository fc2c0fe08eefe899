//! The contents of /etc/hosts, /etc/hostname and /etc/resolv.conf for a container whose bundle does not bring its own.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::Attachment;
use super::definition::Dirs;
use super::endpoint::is_host_name;
use super::lease::Leases;
use crate::error::Result;

/// The host's resolver configuration, and where systemd-resolved keeps the servers that its stub stands for.
const RESOLV_CONF: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// Used when the host names no server that a container can reach; Docker's choice too.
const FALLBACK: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

/// `/etc/hosts`: loopback, the container's own address and names, and the containers that are on the same networks now.
///
/// # Errors
/// When the leases cannot be listed.
pub fn hosts(dirs: &Dirs, container: &str, hostname: &str, attachment: &Attachment) -> Result<String> {
    let mut text = String::from("127.0.0.1\tlocalhost\n::1\tip6-localhost ip6-loopback\n");
    for own in &attachment.networks {
        line(
            &mut text,
            own.address,
            [hostname].into_iter().chain(own.names.iter().map(String::as_str)),
        );
    }
    for own in &attachment.networks {
        for lease in Leases::new(&own.network, dirs.network(&own.network))
            .all()?
            .flatten()
        {
            if lease.container != container {
                line(&mut text, lease.address, lease.names.iter().map(String::as_str));
            }
        }
    }
    Ok(text)
}

/// Names that would break the file, or stand for the container itself, are left out.
fn line<'a>(text: &mut String, address: Ipv4Addr, names: impl Iterator<Item = &'a str>) {
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

/// `/etc/resolv.conf`: the host's, without the servers that a container cannot reach: those on the host's loopback and,
/// as containers have no IPv6, those with IPv6 addresses. When none is left, the servers behind systemd-resolved; when
/// there is no such thing either, 8.8.8.8 and 8.8.4.4.
pub fn resolv_conf() -> String {
    let files = RESOLV_CONF.map(|path| std::fs::read_to_string(path).unwrap_or_default());
    resolv_conf_from(&files)
}

fn resolv_conf_from(files: &[String]) -> String {
    let (mut others, mut servers) = (String::new(), String::new());
    for file in files {
        (others, servers) = usable(file);
        if !servers.is_empty() {
            break;
        }
    }
    if servers.is_empty() {
        servers = String::from("# The host names no server that a container can reach.\n");
        for server in FALLBACK {
            let _ = writeln!(servers, "nameserver {server}");
        }
        // The search list is the host's own, not that of a file which may not exist.
        others = files.first().map(|file| usable(file).0).unwrap_or_default();
    }
    others + &servers
}

/// The lines that hold for containers too, and the servers that they can reach.
fn usable(file: &str) -> (String, String) {
    let (mut others, mut servers) = (String::new(), String::new());
    for line in file.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("search" | "domain" | "options" | "sortlist"), Some(_)) => {
                others.extend([line.trim(), "\n"])
            }
            (Some("nameserver"), Some(server)) => {
                let reachable = server
                    .parse::<Ipv4Addr>()
                    .is_ok_and(|address| !address.is_loopback() && !address.is_unspecified());
                if reachable {
                    servers.extend(["nameserver ", server, "\n"]);
                }
            }
            _ => {}
        }
    }
    (others, servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(files: &[&str]) -> String {
        resolv_conf_from(&files.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn search_and_options_stay_and_unreachable_servers_go() {
        let host = "# made by hand\nsearch a.example b.example\nnameserver 127.0.0.53\nnameserver 192.0.2.1\n\
                    nameserver fe80::1%eth0\nnameserver ::1\nnameserver 0.0.0.0\noptions ndots:2 edns0\n";
        let expected = "search a.example b.example\noptions ndots:2 edns0\nnameserver 192.0.2.1\n";
        assert_eq!(from(&[host, "nameserver 192.0.2.2\n"]), expected);
    }

    #[test]
    fn behind_a_local_stub_the_real_servers_are_taken() {
        let stub = "nameserver 127.0.0.53\nsearch stub.example\n";
        let real = "nameserver 192.0.2.2\nsearch real.example\n";
        assert_eq!(from(&[stub, real]), "search real.example\nnameserver 192.0.2.2\n");
    }

    #[test]
    fn without_any_reachable_server_the_documented_ones_are_used() {
        let text = from(&["search x.example\nnameserver 127.0.0.1\n", ""]);
        assert!(text.starts_with("search x.example\n"), "{text}");
        assert!(
            text.ends_with("nameserver 8.8.8.8\nnameserver 8.8.4.4\n"),
            "{text}"
        );
        assert!(from(&["", ""]).contains("nameserver 8.8.8.8"));
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
        line(&mut text, Ipv4Addr::new(10, 0, 0, 2), names.into_iter());
        assert_eq!(text, "10.0.0.2\tgood\n");
    }
}
