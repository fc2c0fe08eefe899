//! `network connect` and `network disconnect`: a running container joins or leaves a network.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use super::events::{self, Action, Event};
use super::files;
use super::record::Record;
use super::store::{Entry, Lock, Store};
use crate::error::{Error, Kind, OsContext, Result};
use crate::net::{self, Attached, Dirs, Endpoint};
use crate::process::Process;
use crate::spec::id::Id;

/// A container that runs, and cannot be changed by others.
struct Running {
    _lock: Lock,
    entry: Entry,
    record: Record,
    process: Process,
    pidfd: OwnedFd,
    namespace: File,
}

impl Running {
    fn open(store: &Store, id: &Id) -> Result<Running> {
        let (lock, entry, record) = store.lock(id)?;
        let stopped = || {
            Error::new(
                Kind::WrongState,
                format_args!("container {id} is not running: it has no network namespace to change"),
            )
        };
        let process = record.init.ok_or_else(stopped)?;
        let pidfd = process.open()?.ok_or_else(stopped)?;
        let path = format!("/proc/{}/ns/net", process.pid);
        let namespace = File::open(&path).os("open", &path)?;
        // The number meant the process before and means it after: it did when the namespace was opened.
        if !process.is_alive()? {
            return Err(stopped());
        }
        Ok(Running {
            _lock: lock,
            entry,
            record,
            process,
            pidfd,
            namespace,
        })
    }

    /// It is, or a connect or disconnect was killed half way.
    fn is_on(&self, network: &str) -> bool {
        self.record.networks.iter().any(|name| name == network)
    }

    fn tell(&self, store: &Store, network: &str, action: Action) {
        events::publish(store.root(), || {
            vec![Event::between(&self.record, network, action)]
        });
    }

    /// Takes back what a killed connect left on a network.
    fn abandon(&self, id: &Id, network: &str) -> Result<()> {
        let (netns, left) = (self.namespace.as_fd(), &self.record.attachment.networks);
        net::abandon(&Dirs::default(), id.as_str(), network, netns, left)
    }
}

/// Connects a running container to one more network.
///
/// # Errors
/// When it does not run, is on the network already, or what [`net::attach`] says; nothing has changed then.
pub fn connect(store: &Store, id: &Id, endpoint: &Endpoint) -> Result<()> {
    let mut container = Running::open(store, id)?;
    let network = &endpoint.network;
    let attached = &container.record.attachment.networks;
    if attached.iter().any(|attached| attached.network == *network) {
        return Err(Error::new(
            Kind::Exists,
            format_args!("container {id} is on network {network} already"),
        ));
    }
    let dirs = Dirs::default();
    if container.is_on(network) {
        container.abandon(id, network)?;
        container.record.networks.retain(|name| name != network);
        container.entry.save(&container.record)?;
    }
    net::check(&dirs, std::slice::from_ref(endpoint))?;
    let ready = net::is_ready(&dirs, id.as_str(), &container.record.networks);
    // Before anything else, so that it is found again should we be killed.
    container.record.networks.push(network.clone());
    container.entry.save(&container.record)?;
    let request = net::Request {
        container: id.as_str(),
        hostname: &container.record.hostname,
        netns: container.namespace.as_fd(),
        process: Some(container.process),
        pidfd: Some(container.pidfd.as_fd()),
        endpoints: std::slice::from_ref(endpoint),
        attached: &container.record.attachment.networks,
        publish: &[],
        dns: &container.record.dns,
        ready,
    };
    match net::attach(&dirs, &request) {
        Ok(attachment) => {
            // The record first: whoever is killed now has a container that knows what it is on.
            container
                .record
                .attachment
                .networks
                .extend(attachment.networks.clone());
            container.entry.save(&container.record)?;
            for attached in &attachment.networks {
                files::add_hosts(container.entry.path(), &container.record.hostname, attached)?;
            }
            container.tell(store, network, Action::Connect);
            Ok(())
        }
        Err(error) => {
            container.record.networks.pop();
            container.entry.save(&container.record)?;
            Err(error)
        }
    }
}

/// Takes a running container off a network.
///
/// # Errors
/// When it does not run or is not on the network.
pub fn disconnect(store: &Store, id: &Id, network: &str) -> Result<()> {
    let mut container = Running::open(store, id)?;
    if !container.is_on(network) {
        return Err(Error::new(
            Kind::NotFound,
            format_args!("container {id} is not on network {network}"),
        )
        .hint(match container.record.networks.as_slice() {
            [] => "it is on none".to_owned(),
            networks => format!("it is on {}", networks.join(", ")),
        }));
    }
    let attached = &container.record.attachment.networks;
    if !attached.iter().any(|attached| attached.network == network) {
        container.abandon(id, network)?;
    }
    let record = &mut container.record;
    let (gone, left): (Vec<Attached>, Vec<Attached>) = std::mem::take(&mut record.attachment.networks)
        .into_iter()
        .partition(|attached| attached.network == network);
    record.attachment.networks = left;
    let (dirs, left) = (Dirs::default(), &record.attachment.networks);
    for attached in &gone {
        net::disconnect(&dirs, id.as_str(), attached, container.namespace.as_fd(), left)?;
        files::remove_hosts(container.entry.path(), &record.hostname, attached)?;
    }
    record.networks.retain(|name| name != network);
    container.entry.save(record)?;
    container.tell(store, network, Action::Disconnect);
    Ok(())
}
