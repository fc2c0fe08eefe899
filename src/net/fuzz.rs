//! What `make fuzz` gives to the parsers of this room, which nobody else outside calls.

use serde_json::Value;

use super::address::history::History;
use super::address::lease::{Lease, Links, Liveness};
use super::definition::Definition;
use super::files::resolv_conf_from;
use super::kernel::netlink::{Outcome, messages, outcome};
use super::kernel::nftables::{self, Data, Element, Part};
use super::kernel::{conntrack, link, sockets::Sockets};
use super::{Dns, Protocol, firewall};
use crate::error::Result;

/// A network's definition, and what is worked out from one that makes sense.
pub fn definition(text: &[u8]) {
    let Ok(definition) = serde_json::from_slice::<Definition>(text) else {
        return;
    };
    if definition.check(&definition.name).is_ok() {
        let _ = definition.pools().count();
        let _ = definition.ipv4.addresses(None).next();
        let _ = definition.ipv6.map(|ipv6| ipv6.addresses(None).next());
        firewall::fuzz::network(&definition);
        let again = serde_json::to_vec(&definition).map(|text| serde_json::from_slice(&text));
        assert!(
            again.is_ok_and(|again| again.is_ok_and(|again: Definition| again == definition)),
            "what was written reads otherwise"
        );
    }
}

/// What a network remembers of its containers: leases and freed addresses.
pub fn leases(text: &[u8]) {
    if let Ok(lease) = serde_json::from_slice::<Lease>(text) {
        let _ = lease.addresses().count();
        firewall::fuzz::container(&lease);
    }
    if let Ok(history) = serde_json::from_slice::<History>(text)
        && let Ok(definition) = Definition::default_network(&[])
    {
        let mut history = history.renewed("boot", &definition);
        let _ = history
            .ipv4
            .as_mut()
            .map(|pool| pool.pick(|_| false, &mut NoLinks));
    }
}

/// A host on which there is no link.
struct NoLinks;

impl Links for NoLinks {
    fn liveness(&mut self, _: &Lease) -> Result<Liveness> {
        Ok(Liveness::Gone)
    }

    fn exists(&mut self, _: &str) -> Result<bool> {
        Ok(false)
    }

    fn delete(&mut self, _: &str) -> Result<()> {
        Ok(())
    }
}

/// The host's /etc/resolv.conf, of which containers get a part.
pub fn resolv_conf(text: &str) {
    let _ = resolv_conf_from(text, &Dns::default());
}

/// What nft prints.
pub fn counters(text: &[u8]) {
    if let Ok(json) = serde_json::from_slice::<Value>(text) {
        firewall::fuzz::counters(&json);
    }
}

/// A datagram of the kernel's, as an answer to whatever we may have asked.
pub fn kernel(datagram: &[u8]) {
    for message in messages(datagram) {
        let Ok(message) = message else { break };
        if let Outcome::Data(payload) = outcome(&message) {
            answers(payload);
        }
    }
    answers(datagram);
}

fn answers(payload: &[u8]) {
    if conntrack::parse(payload).is_some() {
        let _ = conntrack::deletion(payload);
    }
    let mut sockets = Sockets::default();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let _ = sockets.add(protocol, payload);
    }
    let _ = link::parse("eth0", payload);
    let _ = nftables::chain(payload);
    let _ = nftables::comment(payload);
    let port = Data::Parts(vec![Part::Port(80)]);
    let _ = Element::new("ports", [Part::Port(80)])
        .mapping(port)
        .has_data_of(payload);
}
