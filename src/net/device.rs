//! Devices of the host that a container is given: moved into its namespace once, and never looked after again.
//!
//! A device that changes its namespace goes down, loses its addresses and routes, and keeps the rest. So its addresses are
//! read before, and given back after, before it goes up. When the namespace ends the kernel takes physical devices back
//! to the host and destroys virtual ones; that is why a creation that fails brings them home first ([`Moved::back`]).

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, Parseable as _};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;

use super::kernel::link::{get, up};
use super::kernel::namespace::{self, NamespaceId};
use super::kernel::netlink::{Netlink, Request, absent};
use crate::error::{Error, Kind, OsContext, Result};

/// Whether containers can be given devices, for `features`.
pub const DEVICES: bool = true;

/// One device to move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name on the host.
    pub name: String,
    /// Its name in the container; the first free number replaces a `%d`.
    pub target: String,
    /// What asks for it, for errors.
    pub field: String,
}

/// Devices that were moved, and how they were.
#[derive(Debug)]
pub struct Moved {
    host: File,
    netns: OwnedFd,
    devices: Vec<Former>,
}

/// How a device was on the host.
#[derive(Debug)]
struct Former {
    name: String,
    target: String,
    up: bool,
    addresses: Vec<AddressMessage>,
}

/// Moves `devices`, in their order, from the calling thread's network namespace into `netns`, gives each its permanent
/// global addresses back, and brings it up.
///
/// # Errors
/// `netns` is the calling thread's own; a device does not exist, is loopback, or may not be moved; its name is taken
/// there. Devices that were moved already are back then.
pub fn move_into(netns: BorrowedFd<'_>, devices: &[Device]) -> Result<Moved> {
    let host = namespace::current()?;
    if let Some(device) = devices.first()
        && NamespaceId::of(netns)? == NamespaceId::of(&host)?
    {
        return Err(Error::invalid(
            &device.field,
            "the container's network namespace is the host's",
        ));
    }
    let mut moved = Moved {
        netns: netns.try_clone_to_owned().os("keep", "network namespace")?,
        host,
        devices: Vec::new(),
    };
    match moved.move_all(devices) {
        Ok(()) => Ok(moved),
        Err(error) => Err(match moved.back() {
            Ok(()) => error,
            Err(remains) => error.hint(remains),
        }),
    }
}

impl Moved {
    fn move_all(&mut self, devices: &[Device]) -> Result<()> {
        let mut host = Netlink::open(NETLINK_ROUTE)?;
        let mut inside = self.open_inside()?;
        let mut taken = names(&mut inside)?;
        for device in devices {
            self.move_one(&mut host, &mut inside, &mut taken, device)
                .map_err(|error| error.during(&device.field))?;
        }
        Ok(())
    }

    fn move_one(
        &mut self,
        host: &mut Netlink,
        inside: &mut Netlink,
        taken: &mut HashSet<String>,
        device: &Device,
    ) -> Result<()> {
        let target = match device.target.split_once("%d") {
            Some(template) => free_name(template, taken),
            None => device.target.clone(),
        };
        if taken.contains(&target) {
            let why = format_args!("the container's network namespace has a device {target:?} already");
            return Err(Error::new(Kind::Exists, why));
        }
        let (index, flags) = look_up(host, &device.name)?;
        if flags.contains(LinkFlags::Loopback) {
            let why = format_args!("{:?} is the host's loopback device, which stays", device.name);
            return Err(Error::new(Kind::InvalidConfig, why));
        }
        let addresses = addresses(host, index, &device.name)?;
        self.devices.push(Former {
            name: device.name.clone(),
            target: target.clone(),
            up: flags.contains(LinkFlags::Up),
            addresses: addresses.clone(),
        });
        let request = change_namespace(index, self.netns.as_fd(), &device.name, &target);
        host.exchange(&[request]).map_err(|error| match error.errno() {
            Some(Errno::EPERM) => error.hint("only root may move devices of the host"),
            Some(Errno::EINVAL) => error.hint("some devices belong to their namespace"),
            _ => error,
        })?;
        taken.insert(target.clone());
        settle(inside, &target, addresses, true)
    }

    /// Brings the devices back to where they came from, as they were but for their routes: for a container that came to
    /// nothing. The calling thread is in the namespace of [`move_into`].
    ///
    /// # Errors
    /// Names every device that could not be brought back.
    pub fn back(self) -> Result<()> {
        if self.devices.is_empty() {
            return Ok(());
        }
        let mut inside = self.open_inside()?;
        let mut host = Netlink::open(NETLINK_ROUTE)?;
        let mut failed = Vec::new();
        for former in self.devices.iter().rev() {
            if let Err(error) = self.bring_back(&mut host, &mut inside, former) {
                failed.push(error.to_string());
            }
        }
        match failed.is_empty() {
            true => Ok(()),
            false => Err(Error::new(Kind::Os, failed.join("; "))),
        }
    }

    fn bring_back(&self, host: &mut Netlink, inside: &mut Netlink, former: &Former) -> Result<()> {
        match look_up(host, &former.name) {
            // It never left.
            Ok(_) => return Ok(()),
            Err(error) if absent(&error) => {}
            Err(error) => return Err(error),
        }
        // Under its old name when the kernel moved it and then did not rename it.
        let (index, _) = look_up(inside, &former.target).or_else(|_| look_up(inside, &former.name))?;
        inside.exchange(&[change_namespace(
            index,
            self.host.as_fd(),
            &former.target,
            &former.name,
        )])?;
        settle(host, &former.name, former.addresses.clone(), former.up)
    }

    fn open_inside(&self) -> Result<Netlink> {
        namespace::visit(self.netns.as_fd(), &self.host, || Netlink::open(NETLINK_ROUTE))
    }
}

/// One request: the device leaves with its old name and gets the new one in the namespace of `netns`.
fn change_namespace(index: u32, netns: BorrowedFd<'_>, name: &str, target: &str) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = vec![
        LinkAttribute::NetNsFd(netns.as_raw_fd()),
        LinkAttribute::IfName(target.to_owned()),
    ];
    Request::change(
        libc::RTM_SETLINK,
        0,
        &message,
        "move device",
        format!("{name} to {target}"),
    )
}

/// Addresses and state for a device that has just come.
fn settle(netlink: &mut Netlink, name: &str, addresses: Vec<AddressMessage>, is_up: bool) -> Result<()> {
    // Its number may be another one here.
    let (index, _) = look_up(netlink, name)?;
    let mut batch: Vec<Request> = Vec::new();
    for mut address in addresses {
        address.header.index = index;
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        batch.push(Request::change(
            libc::RTM_NEWADDR,
            flags,
            &address,
            "add address to",
            name,
        ));
    }
    if is_up {
        batch.push(Request::change(
            libc::RTM_SETLINK,
            0,
            &up(index),
            "bring up",
            name,
        ));
    }
    netlink.exchange(&batch).map(drop)
}

/// Number and flags of a device.
fn look_up(netlink: &mut Netlink, name: &str) -> Result<(u32, LinkFlags)> {
    let answers = netlink.exchange(&[get(name)])?;
    let answer = answers.first().map(Vec::as_slice).unwrap_or_default();
    let message = LinkMessage::parse(answer)
        .map_err(|error| Error::new(Kind::Os, format_args!("look up interface {name}: {error}")))?;
    Ok((message.header.index, message.header.flags))
}

/// The names of all devices of a namespace.
fn names(netlink: &mut Netlink) -> Result<HashSet<String>> {
    let stage = "list devices of";
    let request = Request::query(libc::RTM_GETLINK, &LinkMessage::default(), stage, "the container");
    let mut names = HashSet::new();
    netlink.dump(request, |message| {
        let message = LinkMessage::parse(message)
            .map_err(|error| Error::new(Kind::Os, format_args!("{stage} the container: {error}")))?;
        names.extend(
            message
                .attributes
                .into_iter()
                .filter_map(|attribute| match attribute {
                    LinkAttribute::IfName(name) => Some(name),
                    _ => None,
                }),
        );
        Ok(())
    })?;
    Ok(names)
}

/// The permanent, global addresses of a device, of every family, ready to be added again.
fn addresses(netlink: &mut Netlink, index: u32, name: &str) -> Result<Vec<AddressMessage>> {
    let stage = "list addresses of";
    let request = Request::query(libc::RTM_GETADDR, &AddressMessage::default(), stage, name);
    let mut found = Vec::new();
    netlink.dump(request, |message| {
        let message = AddressMessage::parse(message)
            .map_err(|error| Error::new(Kind::Os, format_args!("{stage} {name}: {error}")))?;
        if message.header.index == index {
            found.extend(added_again(message));
        }
        Ok(())
    })?;
    Ok(found)
}

/// The request that adds an address again, if it is one to be kept.
fn added_again(mut address: AddressMessage) -> Option<AddressMessage> {
    /// What somebody chose for it, unlike what the kernel found out.
    const CHOSEN: AddressFlags = AddressFlags::Nodad
        .union(AddressFlags::Homeaddress)
        .union(AddressFlags::Managetempaddr)
        .union(AddressFlags::Noprefixroute)
        .union(AddressFlags::Mcautojoin);
    let mut flags = AddressFlags::from_bits_retain(address.header.flags.bits().into());
    let long = address.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    flags |= long.unwrap_or(AddressFlags::empty());
    if !flags.contains(AddressFlags::Permanent) || address.header.scope != AddressScope::Universe {
        return None;
    }
    // A label holds the old name.
    address.attributes.retain(|attribute| {
        matches!(
            attribute,
            AddressAttribute::Address(_)
                | AddressAttribute::Local(_)
                | AddressAttribute::Broadcast(_)
                | AddressAttribute::RoutePriority(_)
        )
    });
    address
        .attributes
        .push(AddressAttribute::Flags(flags.intersection(CHOSEN)));
    address.header.flags = AddressHeaderFlags::empty();
    Some(address)
}

/// What stands before and after a `%d`, with the first number between them that makes a name which is not taken.
fn free_name((before, after): (&str, &str), taken: &HashSet<String>) -> String {
    let mut number = 0u32;
    loop {
        let name = format!("{before}{number}{after}");
        if !taken.contains(&name) {
            return name;
        }
        number = number.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_takes_the_first_free_number() {
        let taken = ["lo", "eth0", "eth2"].map(str::to_owned).into();
        assert_eq!(free_name(("eth", ""), &taken), "eth1");
        assert_eq!(free_name(("e", "x"), &taken), "e0x");
    }

    #[test]
    fn only_permanent_global_addresses_are_added_again_and_without_their_label() {
        let address = |flags: u32, scope| {
            let mut message = AddressMessage::default();
            message.header.scope = scope;
            message.attributes = vec![
                AddressAttribute::Local("192.0.2.7".parse().unwrap()),
                AddressAttribute::Label("eth0:1".to_owned()),
                AddressAttribute::Flags(AddressFlags::from_bits_retain(flags)),
            ];
            message
        };
        let (permanent, no_route, tentative) = (0x80, 0x200, 0x40);
        let again = added_again(address(permanent | no_route | tentative, AddressScope::Universe)).unwrap();
        assert_eq!(
            again.attributes,
            [
                AddressAttribute::Local("192.0.2.7".parse().unwrap()),
                AddressAttribute::Flags(AddressFlags::Noprefixroute)
            ]
        );
        assert_eq!(added_again(address(0, AddressScope::Universe)), None);
        assert_eq!(added_again(address(permanent, AddressScope::Link)), None);
    }
}
