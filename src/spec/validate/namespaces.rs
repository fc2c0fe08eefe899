//! `linux.namespaces`, and what is only allowed with one of them: id mappings and time offsets.

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespace, LinuxNamespaceType, Spec, User};

use super::not_absolute;
use crate::error::{Error, Result};

/// The most ranges that the kernel takes in one id mapping (user_namespaces(7)).
const MAX_RANGES: usize = 340;

/// The namespaces of a configuration, known to be well-formed.
pub(super) struct Namespaces<'a> {
    list: &'a [LinuxNamespace],
    linux: Option<&'a Linux>,
}

impl<'a> Namespaces<'a> {
    pub(super) fn check(spec: &'a Spec) -> Result<Namespaces<'a>> {
        let linux = spec.linux().as_ref();
        let list = linux
            .and_then(|linux| linux.namespaces().as_deref())
            .unwrap_or_default();
        let namespaces = Namespaces { list, linux };
        namespaces.check_list()?;
        if let Some(linux) = linux {
            namespaces.check_mappings("uidMappings", linux.uid_mappings())?;
            namespaces.check_mappings("gidMappings", linux.gid_mappings())?;
            namespaces.check_time_offsets(linux)?;
        }
        Ok(namespaces)
    }

    /// Whether the container has a namespace of this type to itself, or joins one by path.
    pub(super) fn has(&self, typ: LinuxNamespaceType) -> bool {
        self.get(typ).is_some()
    }

    fn get(&self, typ: LinuxNamespaceType) -> Option<&LinuxNamespace> {
        self.list.iter().find(|namespace| namespace.typ() == typ)
    }

    fn check_list(&self) -> Result<()> {
        for (index, namespace) in self.list.iter().enumerate() {
            let field = |property: &str| format!("linux.namespaces[{index}].{property}");
            let typ = namespace.typ();
            let same = |other: &LinuxNamespace| other.typ() == typ;
            if let Some(first) = self.list.iter().take(index).position(same) {
                let why = format!(
                    "duplicated namespace {:?}, already linux.namespaces[{first}]",
                    name(typ)
                );
                return Err(Error::invalid(field("type"), why));
            }
            if let Some(path) = given_path(namespace).filter(|path| !path.is_absolute()) {
                return Err(not_absolute(field("path"), path));
            }
        }
        Ok(())
    }

    fn check_mappings(&self, property: &str, mappings: &Option<Vec<LinuxIdMapping>>) -> Result<()> {
        let field = format!("linux.{property}");
        let mappings = mappings.as_deref().unwrap_or_default();
        match self.get(LinuxNamespaceType::User) {
            None if mappings.is_empty() => Ok(()),
            None => {
                Err(Error::invalid(field, "needs a user namespace").hint("add \"user\" to linux.namespaces"))
            }
            // A namespace joined by path has its mapping already; engines repeat it here.
            Some(user) if given_path(user).is_some() => Ok(()),
            Some(_) if mappings.is_empty() => Err(Error::invalid(
                field,
                "is required, as linux.namespaces asks for a new user namespace",
            )),
            Some(_) => ranges(&field, mappings),
        }
    }

    fn check_time_offsets(&self, linux: &Linux) -> Result<()> {
        const FIELD: &str = "linux.timeOffsets";
        let Some(offsets) = linux
            .time_offsets()
            .as_ref()
            .filter(|offsets| !offsets.is_empty())
        else {
            return Ok(());
        };
        match self.get(LinuxNamespaceType::Time) {
            None => {
                return Err(
                    Error::invalid(FIELD, "needs a time namespace").hint("add \"time\" to linux.namespaces")
                );
            }
            Some(time) if given_path(time).is_some() => {
                let why = "cannot be set in a time namespace that is joined by path";
                return Err(Error::invalid(FIELD, why));
            }
            Some(_) => {}
        }
        for (clock, offset) in offsets {
            if !matches!(clock.as_str(), "monotonic" | "boottime") {
                let why = format!("{clock:?} is not a clock, expected \"monotonic\" or \"boottime\"");
                return Err(Error::invalid(FIELD, why));
            }
            if let Some(nanosecs) = offset.nanosecs().filter(|nanosecs| *nanosecs > 999_999_999) {
                let why = format!("must be at most 999999999, found {nanosecs}");
                return Err(Error::invalid(format_args!("{FIELD}.{clock}.nanosecs"), why));
            }
        }
        Ok(())
    }

    /// In a new user namespace a process can only be a user, and have groups, that the namespace knows.
    pub(super) fn check_ids_are_mapped(&self, user: &User) -> Result<()> {
        let new = self
            .get(LinuxNamespaceType::User)
            .is_some_and(|user| given_path(user).is_none());
        let Some(linux) = self.linux.filter(|_| new) else {
            return Ok(());
        };
        let check = |field: &str, id: u32, property: &str, mappings: &Option<Vec<LinuxIdMapping>>| {
            if mappings.iter().flatten().any(|range| contains(range, id)) {
                return Ok(());
            }
            let why = format!("{id} is not in linux.{property}, so it does not exist in the container");
            Err(Error::invalid(field, why))
        };
        let gids = linux.gid_mappings();
        check(
            "process.user.uid",
            user.uid(),
            "uidMappings",
            linux.uid_mappings(),
        )?;
        check("process.user.gid", user.gid(), "gidMappings", gids)?;
        for (index, gid) in user.additional_gids().iter().flatten().enumerate() {
            check(
                &format!("process.user.additionalGids[{index}]"),
                *gid,
                "gidMappings",
                gids,
            )?;
        }
        Ok(())
    }
}

/// The word for a namespace in config.json.
pub(in crate::spec) fn name(typ: LinuxNamespaceType) -> &'static str {
    match typ {
        LinuxNamespaceType::Mount => "mount",
        LinuxNamespaceType::Cgroup => "cgroup",
        LinuxNamespaceType::Uts => "uts",
        LinuxNamespaceType::Ipc => "ipc",
        LinuxNamespaceType::User => "user",
        LinuxNamespaceType::Pid => "pid",
        LinuxNamespaceType::Network => "network",
        LinuxNamespaceType::Time => "time",
    }
}

/// The path of a namespace to join; an empty one asks for a new namespace, like none.
fn given_path(namespace: &LinuxNamespace) -> Option<&std::path::Path> {
    namespace
        .path()
        .as_deref()
        .filter(|path| !path.as_os_str().is_empty())
}

fn contains(range: &LinuxIdMapping, id: u32) -> bool {
    id.checked_sub(range.container_id())
        .is_some_and(|offset| offset < range.size())
}

/// The kernel's rules for a mapping; it answers a breach of any of them with a bare EINVAL.
pub(super) fn ranges(field: &str, mappings: &[LinuxIdMapping]) -> Result<()> {
    if mappings.len() > MAX_RANGES {
        let why = format!(
            "has {} ranges, more than the kernel's {MAX_RANGES}",
            mappings.len()
        );
        return Err(Error::invalid(field, why));
    }
    for (index, range) in mappings.iter().enumerate() {
        let field = format!("{field}[{index}]");
        if range.size() == 0 {
            return Err(Error::invalid(field, "size must be greater than 0"));
        }
        let end = |start: u32| u64::from(start) + u64::from(range.size());
        if end(range.container_id()).max(end(range.host_id())) > u64::from(u32::MAX) {
            return Err(Error::invalid(field, "reaches beyond the largest id, 4294967294"));
        }
        let overlap = |a: u32, a_size: u32, b: u32, b_size: u32| {
            u64::from(a) < u64::from(b) + u64::from(b_size) && u64::from(b) < u64::from(a) + u64::from(a_size)
        };
        let clash = mappings.iter().take(index).position(|other| {
            overlap(
                range.container_id(),
                range.size(),
                other.container_id(),
                other.size(),
            ) || overlap(range.host_id(), range.size(), other.host_id(), other.size())
        });
        if let Some(other) = clash {
            return Err(Error::invalid(field, format_args!("overlaps with range {other}")));
        }
    }
    Ok(())
}
