//! Leases on disk, with links that exist only in the test.

use std::collections::HashSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Kind, Result};
use crate::net::address::lease::{Lease, Leases, Links, Liveness};
use crate::net::{Definition, Endpoint, Mac, NamespaceId, Subnet};

const BOOT: &str = "this-boot";

#[derive(Default)]
struct FakeLinks {
    links: HashSet<String>,
    deleted: Vec<String>,
}

impl Links for FakeLinks {
    fn liveness(&mut self, lease: &Lease) -> Result<Liveness> {
        Ok(
            match self.exists(&lease.host_interface)? && lease.boot_id == BOOT {
                true => Liveness::Live,
                false => Liveness::Gone,
            },
        )
    }

    fn exists(&mut self, interface: &str) -> Result<bool> {
        Ok(self.links.contains(interface))
    }

    fn delete(&mut self, interface: &str) -> Result<()> {
        self.links.remove(interface);
        self.deleted.push(interface.to_owned());
        Ok(())
    }
}

struct Network {
    dir: PathBuf,
    definition: Definition,
    links: FakeLinks,
}

impl Network {
    /// Room for `.2` to `.6`.
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self {
            dir: std::env::temp_dir().join(format!("minirun-leases-{}-{count}", std::process::id())),
            definition: Definition::new("test", "mrtest", Subnet::new("10.0.0.0/29".parse().unwrap())),
            links: FakeLinks::default(),
        }
    }

    fn leases(&self) -> Leases<'static> {
        Leases::new("test", self.dir.clone())
    }

    /// The last number of the address that the container gets.
    fn join(&mut self, container: &str, wanted: Option<u8>) -> Result<u8> {
        let node = NamespaceId { device: 4, inode: 1 };
        let lease = Lease {
            container: container.to_owned(),
            names: vec![container.to_owned()],
            shared: Vec::new(),
            address: Ipv4Addr::UNSPECIFIED,
            address6: None,
            mac: "02:00:00:00:00:01".parse::<Mac>().unwrap(),
            interface: "eth0".to_owned(),
            host_interface: format!("mr-{container}"),
            netns: node,
            host_netns: node,
            boot_id: BOOT.to_owned(),
            generation: 0,
            ports: Vec::new(),
            upstream: Vec::new(),
            process: None,
            priority: 0,
        };
        let endpoint = Endpoint {
            ip: wanted.map(|last| Ipv4Addr::new(10, 0, 0, last)),
            ..Endpoint::new("test")
        };
        let lease =
            self.leases()
                .claim(lease, true, &self.definition, &endpoint, &mut self.links, &|_| {
                    Ok(())
                })?;
        self.links.links.insert(lease.host_interface);
        Ok(lease.address.octets()[3])
    }

    fn leave(&mut self, container: &str) {
        self.leases()
            .release(container, Some(&self.definition), &mut self.links)
            .unwrap();
        self.links.links.remove(&format!("mr-{container}"));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn a_freed_address_is_given_again_as_late_as_possible() {
    let mut network = Network::new();
    assert_eq!(network.join("a", None).unwrap(), 2);
    assert_eq!(network.join("b", None).unwrap(), 3);
    network.leave("b");
    network.leave("a");
    let given: Vec<_> = ["c", "d", "e", "f", "g"]
        .map(|id| network.join(id, None).unwrap())
        .into();
    assert_eq!(
        given,
        [4, 5, 6, 3, 2],
        "never used first, then the one that was freed first"
    );
    assert_eq!(network.join("h", None).unwrap_err().kind(), Kind::Exists);
}

#[test]
fn asking_for_the_same_address_again_and_again_does_not_make_the_history_grow() {
    let mut network = Network::new();
    for _ in 0..20 {
        assert_eq!(network.join("a", Some(5)).unwrap(), 5);
        network.leave("a");
    }
    let history = fs::read_to_string(network.dir.join("history.json")).unwrap();
    assert_eq!(history.matches("10.0.0.5").count(), 1, "{history}");
    let given: Vec<_> = ["c", "d", "e", "f", "g"]
        .map(|id| network.join(id, None).unwrap())
        .into();
    assert_eq!(given, [2, 3, 4, 6, 5]);
}

#[test]
fn an_address_whose_old_link_lingers_is_passed_over_and_the_link_deleted_when_there_is_no_other() {
    let mut network = Network::new();
    for id in ["a", "b", "c", "d", "e"] {
        network.join(id, None).unwrap();
    }
    network.leave("a");
    network.leave("b");
    network.links.links.insert("mr-a".to_owned());
    assert_eq!(network.join("f", None).unwrap(), 3);
    assert_eq!(network.links.deleted, [""; 0]);
    assert_eq!(network.join("g", None).unwrap(), 2);
    assert_eq!(network.links.deleted, ["mr-a"]);
}

#[test]
fn leases_of_an_earlier_boot_are_taken_back() {
    let mut network = Network::new();
    network.join("a", Some(2)).unwrap();
    let path = network.dir.join("leases/10.0.0.2");
    let old = fs::read_to_string(&path)
        .unwrap()
        .replace(BOOT, "the-boot-before");
    fs::write(&path, old).unwrap();
    assert_eq!(network.join("b", Some(2)).unwrap(), 2);
    assert_eq!(network.leases().of("a").unwrap(), None);
}

#[test]
fn a_container_that_crashed_can_join_again_and_a_living_one_not_twice() {
    let mut network = Network::new();
    assert_eq!(network.join("a", None).unwrap(), 2);
    let error = network.join("a", None).unwrap_err();
    assert!(
        error.to_string().contains("a is on network test already"),
        "{error}"
    );
    network.links.links.clear();
    assert_eq!(network.join("a", None).unwrap(), 3);
    assert_eq!(network.leases().all().unwrap().count(), 1);
}

#[test]
fn a_release_that_was_killed_half_way_leaves_the_next_owner_alone() {
    let mut network = Network::new();
    network.join("a", None).unwrap();
    // Killed between the two names; somebody else has the address by now.
    fs::remove_file(network.dir.join("leases/10.0.0.2")).unwrap();
    assert_eq!(network.join("b", Some(2)).unwrap(), 2);
    network.leave("a");
    assert_eq!(network.leases().of("a").unwrap(), None);
    assert_eq!(
        network
            .leases()
            .holder(Ipv4Addr::new(10, 0, 0, 2))
            .unwrap()
            .unwrap()
            .container,
        "b"
    );
}

#[test]
fn a_claim_that_was_killed_before_it_was_whole_neither_blocks_nor_corrupts_the_next() {
    let mut network = Network::new();
    network.join("a", None).unwrap();
    // Killed after the first link: the temporary name is still there, and is the lease of `a`.
    fs::hard_link(network.dir.join("containers/a"), network.dir.join("lease.new")).unwrap();
    network.join("b", None).unwrap();
    assert_eq!(network.leases().of("a").unwrap().unwrap().container, "a");
    assert_eq!(network.leases().of("b").unwrap().unwrap().container, "b");
}

#[test]
fn generations_only_grow_whatever_becomes_of_the_subnet() {
    let mut network = Network::new();
    network.join("a", None).unwrap();
    let first = network.leases().of("a").unwrap().unwrap().generation;
    network.leave("a");
    network.definition.ipv4 = Subnet::new("10.0.0.0/28".parse().unwrap());
    network.join("a", None).unwrap();
    let second = network.leases().of("a").unwrap().unwrap().generation;
    assert!(second > first, "{first} then {second}");
}

#[test]
fn a_freed_address_is_passed_over_while_the_range_goes_round_again() {
    let mut network = Network::new();
    network.definition.ipv4 = Subnet::new("10.0.0.0/24".parse().unwrap());
    for _ in 0..251 {
        network.join("passing", None).unwrap();
        network.leave("passing");
    }
    assert_eq!(network.join("last", None).unwrap(), 253);
    assert_eq!(network.join("a", None).unwrap(), 254);
    network.leave("a");
    network.leave("last");
    let given: Vec<_> = (0..187)
        .map(|i| network.join(&format!("c{i}"), None).unwrap())
        .collect();
    assert_eq!(given, (2..=188).collect::<Vec<_>>(), "the longest unused first");
    let rest: Vec<_> = (0..66)
        .map(|i| network.join(&format!("d{i}"), None).unwrap())
        .collect();
    let freed_last = (189..=252).chain([254, 253]);
    assert_eq!(rest, freed_last.collect::<Vec<_>>());
}

#[test]
fn what_is_remembered_of_freed_addresses_does_not_grow_and_no_link_of_a_forgotten_one_lingers() {
    let mut network = Network::new();
    network.definition.ipv4 = Subnet::new("10.0.0.0/16".parse().unwrap());
    for i in 0..300 {
        let id = format!("c{i}");
        network.join(&id, None).unwrap();
        network.leave(&id);
        // The kernel is slow to clean up.
        network.links.links.insert(format!("mr-{id}"));
    }
    let size = fs::metadata(network.dir.join("history.json")).unwrap().len();
    assert!(size < 4096, "{size} bytes");
    assert_eq!(network.links.links.len(), 64);
    assert!(!network.links.links.contains("mr-c0") && network.links.links.contains("mr-c299"));
}

#[test]
fn both_families_have_their_own_order_and_their_own_end() {
    let mut network = Network::new();
    network.definition.ipv6 = Some(Subnet::new("fd00::/126".parse().unwrap()));
    let of = |network: &Network, id: &str| {
        let lease = network.leases().of(id).unwrap().unwrap();
        lease
            .addresses()
            .map(|address| address.to_string())
            .collect::<Vec<_>>()
    };
    network.join("a", Some(5)).unwrap();
    network.join("b", None).unwrap();
    assert_eq!(of(&network, "a"), ["10.0.0.5", "fd00::2"]);
    assert_eq!(of(&network, "b"), ["10.0.0.2", "fd00::3"]);
    let error = network.join("c", None).unwrap_err();
    assert_eq!(error.kind(), Kind::Exists);
    assert!(
        error
            .to_string()
            .contains("no address left in fd00::/126: 2 containers"),
        "{error}"
    );
    assert_eq!(network.leases().of("c").unwrap(), None);
    assert_eq!(network.leases().holder(Ipv4Addr::new(10, 0, 0, 3)).unwrap(), None);

    // Crashed: the next one that finds no other gets its address.
    network.links.links.remove("mr-a");
    network.join("c", None).unwrap();
    assert_eq!(of(&network, "c"), ["10.0.0.3", "fd00::2"]);
    assert_eq!(network.leases().of("a").unwrap(), None);
    assert_eq!(network.leases().holder(Ipv4Addr::new(10, 0, 0, 5)).unwrap(), None);
    network.leave("b");
    network.leave("c");
    network.join("d", None).unwrap();
    assert_eq!(of(&network, "d"), ["10.0.0.4", "fd00::3"]);
}

#[test]
fn a_history_of_the_first_version_keeps_its_generation() {
    let mut network = Network::new();
    fs::create_dir_all(&network.dir).unwrap();
    let old = r#"{"bootId":"this-boot","subnet":{"subnet":"10.0.0.0/29","gateway":"10.0.0.1"},"generation":7,
        "fresh":"10.0.0.4","freed":[{"address":"10.0.0.3","hostInterface":"mr-x"}]}"#;
    fs::write(network.dir.join("history.json"), old).unwrap();
    network.join("a", None).unwrap();
    assert_eq!(network.leases().of("a").unwrap().unwrap().generation, 8);
}

#[test]
fn what_a_claim_was_writing_when_it_was_killed_goes_with_the_container() {
    let mut network = Network::new();
    network.join("a", None).unwrap();
    network.leave("a");
    let written = ["lease.new", "history.json.new"].map(|name| network.dir.join(name));
    for path in &written {
        fs::write(path, "{").unwrap();
    }
    network.leave("killed");
    for path in &written {
        assert!(!path.exists(), "{}", path.display());
    }
}
