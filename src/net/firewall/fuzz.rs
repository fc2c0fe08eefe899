//! See `net::fuzz`: what is made for the kernel of definitions and leases, and read from nft.

use serde_json::Value;

use super::{elements, rules};
use crate::net::address::lease::Lease;
use crate::net::definition::Definition;

pub(in crate::net) fn network(definition: &Definition) {
    let _ = elements::network(definition, &[]);
    let _ = (rules::script(definition), rules::removal(definition));
}

pub(in crate::net) fn container(lease: &Lease) {
    let _ = (elements::ports(lease, true), elements::station(lease));
}

pub(in crate::net) fn counters(json: &Value) {
    let _ = super::counters::parse(json, &["shop".to_owned()]);
}
