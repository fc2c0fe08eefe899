//! What a network and a container are in our tables. Pure.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::parties::Parties;
use super::rules;
use crate::net::Port;
use crate::net::address::lease::Lease;
use crate::net::definition::Definition;
use crate::net::kernel::nftables::{Data, Element, Part};
use crate::net::policy::Stance;

/// The network's elements of `table inet minirun`; `others` are the networks in use beside it.
pub(super) fn network(definition: &Definition, others: &[Definition]) -> Vec<Element> {
    let bridge = || Part::Interface(definition.bridge.clone());
    let mut elements = Vec::new();
    let subnet4 = Some((IpNet::V4(definition.ipv4.subnet), "4"));
    let subnet6 = definition.ipv6.map(|ipv6| (IpNet::V6(ipv6.subnet), "6"));
    for (subnet, family) in subnet4.into_iter().chain(subnet6) {
        elements.push(Element::new(format!("pools{family}"), [Part::Subnet(subnet)]));
        elements.push(match is_usual(subnet) {
            true => Element::new(
                format!("sources{family}"),
                [bridge(), Part::Address(subnet.network())],
            ),
            false => Element::new(format!("subnets{family}"), [bridge(), Part::Subnet(subnet)]),
        });
    }
    elements.push(Element::new("bridges", [bridge()]));
    if definition.internal {
        elements.push(Element::new("internal", [bridge()]));
    } else if definition.policy.egress == Stance::Allow {
        elements.push(Element::new("egress", [bridge()]));
    }
    if definition.host_access {
        elements.push(Element::new("services", [bridge()]));
    }
    let link = |from: &str, to: &str| {
        let pair = [from, to].map(|name| Part::Interface(name.to_owned()));
        Element::new("links", pair).mapping(Data::Accept)
    };
    if definition.policy.within == Stance::Allow {
        elements.push(link(&definition.bridge, &definition.bridge));
    }
    for other in others.iter().filter(|other| other.name != definition.name) {
        for (from, to) in [(definition, other), (other, definition)] {
            if open_to(from, to) {
                elements.push(link(&from.bridge, &to.bridge));
            }
        }
    }
    if rules::has_arrivals(definition) {
        let chain = rules::arrivals(&definition.name);
        elements.push(Element::new("arrivals", [bridge()]).mapping(Data::Jump(chain)));
    }
    if rules::has_departures(definition) {
        let chain = rules::departures(&definition.name);
        elements.push(Element::new("departures", [bridge()]).mapping(Data::Jump(chain)));
    }
    elements
}

/// Whether the subnet has the size that the sets `sources` are about.
fn is_usual(subnet: IpNet) -> bool {
    subnet.prefix_len() == if matches!(subnet, IpNet::V4(_)) { 24 } else { 64 }
}

/// Whether containers of one network may open connections to those of another without a rule that says so.
fn open_to(from: &Definition, to: &Definition) -> bool {
    let closed = |network: &Definition| network.isolated || network.internal;
    !closed(from) && !closed(to) && to.policy.within == Stance::Allow
}

/// The elements of the container's published ports. `loopback6`: ports on every IPv6 address are on `::1` too.
pub(super) fn ports(lease: &Lease, loopback6: bool) -> Vec<Element> {
    let mut elements = Vec::new();
    for port in &lease.ports {
        let key = [Part::Protocol(port.protocol), Part::Port(port.host)];
        let to = |address: IpAddr| Data::Parts(vec![Part::Address(address), Part::Port(port.container)]);
        let everywhere = |set: &str, address| Element::new(set, key.clone()).mapping(to(address));
        let only = |set: &str, on: IpAddr, address| {
            let key = [&[Part::Address(on)], &key[..]].concat();
            Element::new(set, key).mapping(to(address))
        };
        let v4 = IpAddr::V4(lease.address);
        let v6 = lease.address6.map(IpAddr::V6);
        match port.address {
            Some(on @ IpAddr::V4(_)) if !on.is_unspecified() => elements.push(only("addressed4", on, v4)),
            None | Some(IpAddr::V4(_)) => elements.push(everywhere("ports4", v4)),
            Some(IpAddr::V6(_)) => {}
        }
        let Some(v6) = v6 else { continue };
        match port.address {
            Some(on @ IpAddr::V6(_)) if !on.is_unspecified() => elements.push(only("addressed6", on, v6)),
            None | Some(IpAddr::V6(_)) => {
                elements.push(everywhere("ports6", v6));
                if loopback6 {
                    elements.push(only("addressed6", Ipv6Addr::LOCALHOST.into(), v6));
                }
            }
            Some(IpAddr::V4(_)) => {}
        }
    }
    elements
}

/// The container's addresses under the names by which rules of any network call it.
pub(super) fn parties(lease: &Lease, parties: &Parties) -> Vec<Element> {
    let pairs = lease.names.iter().flat_map(|name| {
        parties
            .networks_naming(name)
            .map(move |network| (network, name.as_str()))
    });
    pairs
        .flat_map(|(network, name)| party(lease, network, name))
        .collect()
}

/// The container's addresses under every name by which rules call anybody.
pub(super) fn in_every_party(lease: &Lease, parties: &Parties) -> Vec<Element> {
    parties
        .all()
        .flat_map(|(network, name)| party(lease, network, name))
        .collect()
}

fn party(lease: &Lease, network: &str, name: &str) -> Vec<Element> {
    let [set4, set6] = rules::party(network, name);
    let v4 = Element::new(set4, [Part::Address(lease.address.into())]);
    let v6 = lease
        .address6
        .map(|address| Element::new(set6, [Part::Address(address.into())]));
    [v4].into_iter().chain(v6).collect()
}

/// The container's elements of `table bridge minirun`.
pub(super) fn station(lease: &Lease) -> Vec<Element> {
    let port = || Part::Interface(lease.host_interface.clone());
    let mut elements = vec![
        Element::new("stations", [port(), Part::Station(lease.mac)]),
        Element::new("addresses4", [port(), Part::Address(lease.address.into())]),
    ];
    if let Some(address) = lease.address6 {
        elements.push(Element::new(
            "addresses6",
            [port(), Part::Address(address.into())],
        ));
        elements.push(Element::new("targets6", [port(), Part::Body(address)]));
    }
    // From here on it is watched.
    elements.push(Element::new("ports", [port()]));
    elements
}

/// A port as the list of connections knows it: `0.0.0.0` is no address that anybody asked for.
pub(super) fn asked_for(port: &Port) -> Port {
    Port {
        address: port.address.filter(|address| !address.is_unspecified()),
        ..port.clone()
    }
}
