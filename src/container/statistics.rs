//! One container's statistics as runc's `events` has them.

use std::os::fd::OwnedFd;

use serde::Serialize;

use super::record::Record;
use super::store::Store;
use crate::cgroup::{Cgroup, OomWatch, Statistics};
use crate::error::{Error, Kind, Result};
use crate::net;
use crate::resctrl;
use crate::spec::id::Id;
use crate::spec::state::Status;

/// The document's `data`.
#[derive(Debug, Serialize)]
pub struct Data {
    /// The control group's counters.
    #[serde(flatten)]
    statistics: Statistics,
    /// Caches and memory bandwidth.
    intel_rdt: resctrl::Statistics,
    /// Its interfaces on networks of ours; none when it is on none.
    network_interfaces: Option<Vec<Interface>>,
}

/// What passed an interface, as the container sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Interface {
    name: String,
    rx_bytes: u64,
    rx_packets: u64,
    rx_errors: u64,
    rx_dropped: u64,
    tx_bytes: u64,
    tx_packets: u64,
    tx_errors: u64,
    tx_dropped: u64,
}

/// A container that lives.
#[derive(Debug)]
pub struct Living {
    record: Record,
    /// Readable when its first process has ended.
    pub end: OwnedFd,
}

impl Living {
    /// Looks it up.
    ///
    /// # Errors
    /// `NotFound`; `WrongState` when it does not live.
    pub fn of(store: &Store, id: &Id) -> Result<Living> {
        let not_running = || Error::new(Kind::WrongState, format_args!("container not running: {id}"));
        let (entry, record) = store.read(id)?;
        if matches!(entry.status(&record)?, Status::Stopped | Status::Creating) {
            return Err(not_running());
        }
        let end = record.init.map(|init| init.open()).transpose()?.flatten();
        let end = end.ok_or_else(not_running)?;
        Ok(Living { record, end })
    }

    /// Tells of processes that are killed for want of memory.
    ///
    /// # Errors
    /// Those of [`Cgroup::watch_oom`].
    pub fn watch_oom(&self) -> Result<Option<OomWatch>> {
        self.record.cgroup.watch_oom()
    }

    /// What it uses now.
    ///
    /// # Errors
    /// The control group is gone.
    pub fn data(&self) -> Result<Data> {
        let networks = &self.record.attachment.networks;
        let interfaces = match networks.as_slice() {
            [] => None,
            _ => {
                let traffic = net::traffic(networks.iter().map(|attached| attached.host_interface.as_str()))?;
                let known = networks.iter().zip(traffic);
                let interface = |(attached, traffic): (&net::Attached, Option<net::Traffic>)| {
                    let traffic = traffic?;
                    Some(Interface {
                        name: attached.interface.clone(),
                        rx_bytes: traffic.received.bytes,
                        rx_packets: traffic.received.packets,
                        rx_errors: 0,
                        rx_dropped: traffic.received.dropped,
                        tx_bytes: traffic.sent.bytes,
                        tx_packets: traffic.sent.packets,
                        tx_errors: 0,
                        tx_dropped: traffic.sent.dropped,
                    })
                };
                Some(known.filter_map(interface).collect())
            }
        };
        Ok(Data {
            statistics: Cgroup::full_statistics(&self.record.cgroup)?,
            intel_rdt: self
                .record
                .resctrl
                .as_ref()
                .map(resctrl::Group::statistics)
                .unwrap_or_default(),
            network_interfaces: interfaces,
        })
    }
}
