//! The names of all networks, and answers from them.
//!
//! A container's questions are answered from the networks that it is on, in its order; names on others do not exist for
//! it. What is ours is never asked elsewhere, whether it exists or not: names of one part, names below the name of a
//! network that the container is on, known names of other networks, and addresses of our pools.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::dns::{Code, Data, Name, Query, Response, kind, reversed, single};
use super::protocol::Station;

/// Stands for a container.
pub(super) type Holder = u64;

/// What is known of every network.
#[derive(Default)]
pub(super) struct Names {
    networks: HashMap<String, Network>,
}

#[derive(Default)]
struct Network {
    /// Containers are also called by a name below this one; networks whose name DNS cannot carry have none.
    zone: Option<Name>,
    stations: usize,
    names: HashMap<Box<[u8]>, Entry>,
    addresses: HashMap<IpAddr, (Holder, Name)>,
    pools: Vec<IpNet>,
}

/// Who has a name: several containers share an alias.
#[derive(Default)]
struct Entry {
    v4: Replicas<Ipv4Addr>,
    v6: Replicas<Ipv6Addr>,
    /// Who has the name and is not ready: not sent to, but for their sake the name exists.
    unready: Vec<Holder>,
}

impl Entry {
    fn remove(&mut self, holder: Holder) {
        self.v4.all.retain(|(owner, _)| *owner != holder);
        self.v6.all.retain(|(owner, _)| *owner != holder);
        self.unready.retain(|owner| *owner != holder);
    }

    fn is_unused(&self) -> bool {
        self.v4.all.is_empty() && self.v6.all.is_empty() && self.unready.is_empty()
    }
}

struct Replicas<A> {
    all: Vec<(Holder, A)>,
    /// Where the next answer begins. IPv4 and IPv6 count for themselves: clients ask for both, one after the other.
    turn: usize,
}

impl<A> Default for Replicas<A> {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            turn: 0,
        }
    }
}

impl<A: Copy + PartialEq> Replicas<A> {
    fn add(&mut self, holder: Holder, address: A) {
        if !self.all.contains(&(holder, address)) {
            self.all.push((holder, address));
        }
    }

    fn rotated(&mut self) -> impl Iterator<Item = A> {
        let count = self.all.len();
        let start = self.turn;
        self.turn = if start + 1 < count { start + 1 } else { 0 };
        let (late, early) = self.all.split_at(start.min(count));
        early.iter().chain(late).map(|(_, address)| *address)
    }
}

impl Names {
    /// Makes a station known. It is not known yet.
    pub(super) fn add(&mut self, holder: Holder, station: &Station) {
        let network = self.networks.entry(station.network.clone()).or_default();
        network.zone = Name::of(&station.network);
        network.stations += 1;
        network.pools.clone_from(&station.pools);
        for (name, is_ready) in keys(station, network.zone.as_ref()) {
            let entry = network.names.entry(name.bytes().into()).or_default();
            if !is_ready {
                entry.unready.push(holder);
                continue;
            }
            for address in &station.addresses {
                match address {
                    IpAddr::V4(address) => entry.v4.add(holder, *address),
                    IpAddr::V6(address) => entry.v6.add(holder, *address),
                }
            }
        }
        let preferred = station.names.iter().find_map(|name| Name::of(name));
        if let Some(preferred) = preferred {
            let full = network
                .zone
                .as_ref()
                .and_then(|zone| preferred.clone().below(zone));
            let name = full.unwrap_or(preferred);
            for address in &station.addresses {
                network.addresses.insert(*address, (holder, name.clone()));
            }
        }
    }

    /// Forgets a station that was added.
    pub(super) fn remove(&mut self, holder: Holder, station: &Station) {
        let Some(network) = self.networks.get_mut(&station.network) else {
            return;
        };
        network.stations -= 1;
        if network.stations == 0 {
            self.networks.remove(&station.network);
            return;
        }
        for (name, _) in keys(station, network.zone.as_ref()) {
            if let Some(entry) = network.names.get_mut(name.bytes()) {
                entry.remove(holder);
                if entry.is_unused() {
                    network.names.remove(name.bytes());
                }
            }
        }
        for address in &station.addresses {
            if network
                .addresses
                .get(address)
                .is_some_and(|(owner, _)| *owner == holder)
            {
                network.addresses.remove(address);
            }
        }
    }

    /// Answers, in `out`, a question of a container on these networks, when it is about something of ours; says whether
    /// it is.
    pub(super) fn answer<'n>(
        &mut self,
        networks: impl Iterator<Item = &'n str> + Clone,
        query: &Query<'_>,
        out: &mut Vec<u8>,
        limit: usize,
    ) -> bool {
        let mut response = Response::to(query, out, limit);
        let name = &query.name;
        for network in networks.clone() {
            let network = self.networks.get_mut(network);
            if let Some(entry) = network.and_then(|network| network.names.get_mut(name.bytes())) {
                match query.kind {
                    kind::A => entry
                        .v4
                        .rotated()
                        .for_each(|address| response.add(&Data::A(address))),
                    kind::AAAA => entry
                        .v6
                        .rotated()
                        .for_each(|address| response.add(&Data::Aaaa(address))),
                    // The name exists, but has nothing of that kind.
                    _ => {}
                }
                response.finish(query, Code::NoError);
                return true;
            }
        }
        if name.is_localhost() {
            match query.kind {
                kind::A => response.add(&Data::A(Ipv4Addr::LOCALHOST)),
                kind::AAAA => response.add(&Data::Aaaa(Ipv6Addr::LOCALHOST)),
                _ => {}
            }
            response.finish(query, Code::NoError);
            return true;
        }
        if let Some(block) = reversed(name) {
            let known = single(block).and_then(|address| {
                networks.clone().find_map(|network| {
                    let network = self.networks.get(network)?;
                    network.addresses.get(&address).map(|(_, name)| name)
                })
            });
            if let Some(known) = known {
                if query.kind == kind::PTR {
                    response.add(&Data::Ptr(known));
                }
                response.finish(query, Code::NoError);
                return true;
            }
            if self.is_ours(block) {
                response.finish(query, Code::NoSuchName);
                return true;
            }
            return false;
        }
        let ours = name.is_single()
            || networks.clone().any(|network| self.is_in_zone(network, name))
            || self.networks.values().any(|network| network.knows_in_zone(name));
        if ours {
            response.finish(query, Code::NoSuchName);
        }
        ours
    }

    fn is_in_zone(&self, network: &str, name: &Name) -> bool {
        let zone = self
            .networks
            .get(network)
            .and_then(|network| network.zone.as_ref());
        zone.is_some_and(|zone| name.is_within(zone))
    }

    /// These addresses are of a network of ours, or nobody's business outside of the container.
    fn is_ours(&self, block: IpNet) -> bool {
        let loopback = block.addr().is_loopback() && block.prefix_len() >= 8;
        let mut pools = self.networks.values().flat_map(|network| &network.pools);
        loopback || pools.any(|pool| pool.contains(&block))
    }
}

impl Network {
    fn knows_in_zone(&self, name: &Name) -> bool {
        self.zone.as_ref().is_some_and(|zone| name.is_within(zone)) && self.names.contains_key(name.bytes())
    }
}

/// What a station is found by: each of its names, alone and below the network's name, and whether it is ready there.
fn keys(station: &Station, zone: Option<&Name>) -> impl Iterator<Item = (Name, bool)> {
    station.names.iter().flat_map(move |name| {
        let unready = &station.unready;
        let is_ready = !unready.iter().any(|unready| unready.eq_ignore_ascii_case(name));
        let name = Name::of(name);
        let below = zone.and_then(|zone| name.clone()?.below(zone));
        [name, below]
            .into_iter()
            .flatten()
            .map(move |name| (name, is_ready))
    })
}

#[cfg(test)]
mod tests {
    use super::super::dns::tests::asking;
    use super::super::dns::{Parsed, parse};
    use super::*;

    fn station(network: &str, names: &[&str], addresses: &[&str]) -> Station {
        Station {
            container: names[0].to_owned(),
            network: network.to_owned(),
            internal: false,
            names: names.iter().map(ToString::to_string).collect(),
            unready: Vec::new(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            pools: vec!["10.186.0.0/24".parse().unwrap(), "fdef::/64".parse().unwrap()],
            upstream: Vec::new(),
        }
    }

    /// The shop: `web` on the front, `api` on both, two `db` on the back.
    fn shop() -> Names {
        let mut names = Names::default();
        names.add(1, &station("front", &["web", "www"], &["10.186.0.2", "fdef::2"]));
        names.add(2, &station("front", &["api"], &["10.186.0.3"]));
        let back = |name: &str, address: &str| Station {
            pools: vec!["10.187.0.0/24".parse().unwrap()],
            ..station("back", &[name, "db", "db.example.org"], &[address])
        };
        names.add(2, &station("back", &["api"], &["10.187.0.3"]));
        names.add(3, &back("db1", "10.187.0.4"));
        names.add(4, &back("db2", "10.187.0.5"));
        names
    }

    /// The answer to somebody on these networks: code and last bytes of each record; `None` when it is not ours.
    fn ask(names: &mut Names, networks: &[&str], name: &str, kind: u16) -> Option<(u8, Vec<String>)> {
        let packet = asking(name, kind, None);
        let Parsed::Query(query) = parse(&packet) else {
            panic!()
        };
        let mut out = Vec::new();
        if !names.answer(networks.iter().copied(), &query, &mut out, 4096) {
            return None;
        }
        let mut records = &out[packet.len()..];
        let mut found = Vec::new();
        while let [_, _, _, kind, _, _, _, _, _, _, _, length, rest @ ..] = records {
            let (data, rest) = rest.split_at(usize::from(*length));
            found.push(match *kind {
                1 => Ipv4Addr::from(<[u8; 4]>::try_from(data).unwrap()).to_string(),
                28 => Ipv6Addr::from(<[u8; 16]>::try_from(data).unwrap()).to_string(),
                _ => String::from_utf8_lossy(data).into_owned(),
            });
            records = rest;
        }
        assert_eq!(usize::from(out[7]), found.len());
        Some((out[3] & 0x0f, found))
    }

    fn found(records: &[&str]) -> Option<(u8, Vec<String>)> {
        Some((0, records.iter().map(ToString::to_string).collect()))
    }

    const NO_SUCH_NAME: Option<(u8, Vec<String>)> = Some((3, Vec::new()));

    #[test]
    fn a_container_finds_others_on_its_networks_by_every_name() {
        let names = &mut shop();
        assert_eq!(ask(names, &["front"], "WEB", 1), found(&["10.186.0.2"]));
        assert_eq!(ask(names, &["front"], "www.front", 1), found(&["10.186.0.2"]));
        assert_eq!(ask(names, &["front"], "web", 28), found(&["fdef::2"]));
        assert_eq!(ask(names, &["back"], "web", 1), NO_SUCH_NAME);
        assert_eq!(ask(names, &["front"], "db", 1), NO_SUCH_NAME);
        assert_eq!(ask(names, &["front"], "db.back", 1), NO_SUCH_NAME);
        assert_eq!(
            ask(names, &["front", "back"], "db1.back", 1),
            found(&["10.187.0.4"])
        );
    }

    #[test]
    fn the_first_network_that_knows_a_name_answers() {
        let names = &mut shop();
        assert_eq!(ask(names, &["front", "back"], "api", 1), found(&["10.186.0.3"]));
        assert_eq!(ask(names, &["back", "front"], "api", 1), found(&["10.187.0.3"]));
        assert_eq!(
            ask(names, &["front", "back"], "api.back", 1),
            found(&["10.187.0.3"])
        );
    }

    #[test]
    fn containers_of_one_name_take_turns_in_the_first_place() {
        let names = &mut shop();
        let both = [
            found(&["10.187.0.4", "10.187.0.5"]),
            found(&["10.187.0.5", "10.187.0.4"]),
        ];
        for round in 0..6 {
            assert_eq!(ask(names, &["back"], "db", 1), both[round % 2]);
            // As getaddrinfo(3) does: this must not use up a turn.
            assert_eq!(ask(names, &["back"], "db", 28), found(&[]));
        }
    }

    #[test]
    fn a_name_has_no_records_of_other_kinds() {
        let names = &mut shop();
        for kind in [15, 16, 33, 65, 255] {
            assert_eq!(ask(names, &["front"], "web", kind), found(&[]));
        }
        assert_eq!(ask(names, &["front"], "api", 28), found(&[]));
    }

    #[test]
    fn an_address_has_its_containers_first_name() {
        let names = &mut shop();
        let reverse = "2.0.186.10.in-addr.arpa";
        assert_eq!(
            ask(names, &["front"], reverse, 12),
            found(&["\x03web\x05front\0"])
        );
        assert_eq!(ask(names, &["front"], reverse, 1), found(&[]));
        // On another network, or of nobody: not asked elsewhere.
        assert_eq!(ask(names, &["back"], reverse, 12), NO_SUCH_NAME);
        assert_eq!(
            ask(names, &["front"], "9.0.186.10.in-addr.arpa", 12),
            NO_SUCH_NAME
        );
        assert_eq!(ask(names, &["front"], "0.186.10.in-addr.arpa", 6), NO_SUCH_NAME);
        assert_eq!(ask(names, &["front"], "f.e.d.f.ip6.arpa", 12), None);
        assert_eq!(ask(names, &["front"], "1.0.0.127.in-addr.arpa", 12), NO_SUCH_NAME);
        assert_eq!(ask(names, &["front"], "8.8.8.8.in-addr.arpa", 12), None);
    }

    #[test]
    fn what_is_ours_is_never_asked_elsewhere() {
        let names = &mut shop();
        assert_eq!(ask(names, &["front"], "typo", 1), NO_SUCH_NAME);
        assert_eq!(ask(names, &["front"], "typo.front", 1), NO_SUCH_NAME);
        assert_eq!(ask(names, &["front"], "a.b.front", 1), NO_SUCH_NAME);
        assert_eq!(ask(names, &["front"], "front", 1), NO_SUCH_NAME);
        // Names below another network's name may be the world's, unless a container has them.
        assert_eq!(ask(names, &["front"], "typo.back", 1), None);
        assert_eq!(ask(names, &["front"], "db2.back", 1), NO_SUCH_NAME);
        // An alias that the world knows too is the container's on its network alone.
        assert_eq!(ask(names, &["back"], "db.example.org", 28), found(&[]));
        assert_eq!(ask(names, &["front"], "db.example.org", 28), None);
        assert_eq!(ask(names, &["front"], "example.org", 1), None);
        assert_eq!(ask(names, &["front"], "", 2), None);
    }

    #[test]
    fn localhost_is_the_container_itself() {
        let names = &mut shop();
        assert_eq!(ask(names, &["front"], "localhost", 1), found(&["127.0.0.1"]));
        assert_eq!(ask(names, &["front"], "app.localhost", 28), found(&["::1"]));
    }

    #[test]
    fn who_is_not_ready_is_found_by_its_own_name_only() {
        let names = &mut shop();
        let db1 = |unready: &[&str]| Station {
            unready: unready.iter().map(ToString::to_string).collect(),
            ..station("back", &["db1", "db"], &["10.187.0.4"])
        };
        let (ready, unready) = (db1(&[]), db1(&["db"]));
        names.remove(
            3,
            &station("back", &["db1", "db", "db.example.org"], &["10.187.0.4"]),
        );
        names.add(3, &unready);
        for name in ["db", "db.back"] {
            assert_eq!(ask(names, &["back"], name, 1), found(&["10.187.0.5"]));
        }
        assert_eq!(ask(names, &["back"], "db1", 1), found(&["10.187.0.4"]));

        // Nobody is left who could be sent to: the name exists, with no address.
        names.remove(
            4,
            &station("back", &["db2", "db", "db.example.org"], &["10.187.0.5"]),
        );
        assert_eq!(ask(names, &["back"], "db", 1), found(&[]));
        assert_eq!(ask(names, &["front"], "db.back", 1), NO_SUCH_NAME);

        names.remove(3, &unready);
        names.add(3, &ready);
        assert_eq!(ask(names, &["back"], "db", 1), found(&["10.187.0.4"]));
        names.remove(3, &ready);
        assert_eq!(ask(names, &["back"], "db", 1), NO_SUCH_NAME);
    }

    #[test]
    fn who_leaves_is_forgotten_and_others_stay() {
        let names = &mut shop();
        let db1 = station("back", &["db1", "db", "db.example.org"], &["10.187.0.4"]);
        names.remove(3, &db1);
        assert_eq!(ask(names, &["back"], "db", 1), found(&["10.187.0.5"]));
        assert_eq!(ask(names, &["back"], "db1", 1), NO_SUCH_NAME);
        assert_eq!(ask(names, &["back"], "4.0.187.10.in-addr.arpa", 12), NO_SUCH_NAME);
        names.remove(2, &station("front", &["api"], &["10.186.0.3"]));
        names.remove(1, &station("front", &["web", "www"], &["10.186.0.2", "fdef::2"]));
        assert!(!names.networks.contains_key("front"));
    }
}
