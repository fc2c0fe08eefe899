//! The servers that are asked for names that are not ours.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const PORT: u16 = 53;
/// As many as the C library uses (resolv.conf(5)).
const MOST: usize = 3;
/// A server that has failed comes after the others for so long.
const PENANCE: Duration = Duration::from_secs(10);
/// Used when the host names no server; Docker's choice too.
const FALLBACK: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)),
    IpAddr::V4(Ipv4Addr::new(8, 8, 4, 4)),
];

/// The host's servers, and which of all servers have failed lately.
pub(super) struct Upstream {
    path: PathBuf,
    /// What the file was when it was read: device, inode, size, time of change.
    read: Option<Stamp>,
    servers: Vec<SocketAddr>,
    failed: HashMap<SocketAddr, Instant>,
}

type Stamp = (u64, u64, u64, i64, i64);

impl Upstream {
    /// The servers of this file, which has the form of /etc/resolv.conf.
    pub(super) fn of(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            read: None,
            servers: Vec::new(),
            failed: HashMap::new(),
        }
    }

    /// Whom to ask, in this order: those given, else the host's.
    pub(super) fn servers(&mut self, given: Option<&[IpAddr]>) -> Vec<SocketAddr> {
        let mut servers: Vec<SocketAddr> = match given {
            Some(given) => given
                .iter()
                .map(|server| SocketAddr::new(*server, PORT))
                .take(MOST)
                .collect(),
            None => {
                self.refresh();
                self.servers.clone()
            }
        };
        if !self.failed.is_empty() {
            self.failed.retain(|_, since| since.elapsed() < PENANCE);
            servers.sort_by_key(|server| self.failed.contains_key(server));
        }
        servers
    }

    /// Has this server come after the others for a while.
    pub(super) fn has_failed(&mut self, server: SocketAddr) {
        self.failed.insert(server, Instant::now());
    }

    /// Reads the file again when it is not the one that was read. A look costs a microsecond, and unlike inotify(7) it
    /// needs no case for links, renames and directories that come later.
    fn refresh(&mut self) {
        let stamp = fs::metadata(&self.path).ok().map(|file| {
            (
                file.dev(),
                file.ino(),
                file.size(),
                file.mtime(),
                file.mtime_nsec(),
            )
        });
        if stamp.is_some() && stamp == self.read {
            return;
        }
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        self.servers = nameservers(&text);
        self.read = stamp;
    }
}

pub(super) fn nameservers(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next())?
    });
    let servers: Vec<_> = lines.filter_map(server).take(MOST).collect();
    match servers.is_empty() {
        true => FALLBACK.map(|server| SocketAddr::new(server, PORT)).to_vec(),
        false => servers,
    }
}

/// An address, with `%interface` when it is only unique on a link.
fn server(text: &str) -> Option<SocketAddr> {
    match text.split_once('%') {
        None => Some(SocketAddr::new(text.parse().ok()?, PORT)),
        Some((address, interface)) => {
            let index = match interface.parse() {
                Ok(index) => index,
                Err(_) if interface.contains('/') => return None,
                Err(_) => fs::read_to_string(format!("/sys/class/net/{interface}/ifindex"))
                    .ok()?
                    .trim()
                    .parse()
                    .ok()?,
            };
            Some(SocketAddrV6::new(address.parse().ok()?, PORT, 0, index).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(servers: &[SocketAddr]) -> Vec<String> {
        servers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_first_three_servers_of_the_host_are_asked() {
        let text = "# comment\nsearch example.org\nnameserver 127.0.0.53\nnameserver broken\nnameserver\n\
                    nameserver\t2001:db8::1 \nnameserver fe80::1%7\nnameserver 192.0.2.9\n";
        assert_eq!(
            texts(&nameservers(text)),
            ["127.0.0.53:53", "[2001:db8::1]:53", "[fe80::1%7]:53"]
        );
        assert_eq!(texts(&nameservers("")), ["8.8.8.8:53", "8.8.4.4:53"]);
    }

    #[test]
    fn a_changed_file_counts_at_the_next_question() {
        let path = std::env::temp_dir().join(format!("minirun-netd-upstream-{}", std::process::id()));
        let mut upstream = Upstream::of(&path);
        assert_eq!(texts(&upstream.servers(None)), ["8.8.8.8:53", "8.8.4.4:53"]);
        fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        assert_eq!(texts(&upstream.servers(None)), ["192.0.2.1:53"]);
        let other = path.with_extension("new");
        fs::write(&other, "nameserver 192.0.2.2\n").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(texts(&upstream.servers(None)), ["192.0.2.2:53"]);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn given_servers_are_asked_instead_and_failed_ones_last() {
        let mut upstream = Upstream::of("/nonexistent");
        let given = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|server| server.parse().unwrap());
        upstream.has_failed("192.0.2.1:53".parse().unwrap());
        let order = ["192.0.2.2:53", "192.0.2.3:53", "192.0.2.1:53"];
        assert_eq!(texts(&upstream.servers(Some(&given))), order);
    }
}
