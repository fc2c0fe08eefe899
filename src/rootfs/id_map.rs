//! Id-mapped mounts: files of the source keep their owners on disk and show others in the container.
//!
//! The kernel maps a mount by a user namespace: an id on disk is looked up in it as an id *inside*, and what it is
//! *outside* is what the mount shows (mount_setattr(2), "ID-mapped mounts"). Only who has CAP_SYS_ADMIN over the file
//! system may do that, and only before the mount is attached. A child in a new user namespace has lost that right, so
//! the runtime makes these mounts ([`IdMapped::make`]) and hands them to the child, which attaches them in their turn.

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use oci_spec::runtime::{LinuxIdMapping, Mount as MountSpec};

use super::attach::open_source;
use super::mount_plan::BindMount;
use super::options::IdMapOption;
use crate::error::{Error, OsContext, Result};
use crate::sys::mount::{Change, Propagation, clone_tree, map_ids, set_attributes};

/// Whether mounts can be id-mapped, for `features`.
pub const ID_MAPPED_MOUNTS: bool = true;

/// How the ids of a mount are mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IdMap {
    /// None: as in the container's user namespace.
    maps: Option<Maps>,
    /// Whether the mounts below are mapped too (`ridmap`).
    recursive: bool,
    /// What asks for it, for errors: `mounts[2].uidMappings`.
    field: String,
}

/// The content of `/proc/PID/uid_map` and `gid_map` (user_namespaces(7)): lines of first id on disk, first id shown, how
/// many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maps {
    /// For users.
    pub uids: String,
    /// For groups.
    pub gids: String,
}

/// What the mounts of a container can refer to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ids<'a> {
    pub(super) user_namespace: bool,
    pub(super) uids: &'a [LinuxIdMapping],
    pub(super) gids: &'a [LinuxIdMapping],
}

impl IdMap {
    /// What the options `idmap` and `ridmap` and the properties `uidMappings` and `gidMappings` of one mount mean
    /// together; `field` is its path in config.json. None when none of them is there.
    pub(super) fn plan(
        mount: &MountSpec,
        option: Option<&IdMapOption>,
        ids: Ids<'_>,
        field: &str,
    ) -> Result<Option<IdMap>> {
        let mappings = |list: &Option<Vec<LinuxIdMapping>>| {
            let list = list.as_deref().unwrap_or_default();
            (!list.is_empty()).then(|| list.iter().map(line).collect::<String>())
        };
        let recursive = option.is_some_and(|option| option.recursive);
        let by_option = option.and_then(|option| option.mapping.as_deref());
        let options = format!("{field}.options");
        let (maps, field) = match (
            mappings(mount.uid_mappings()),
            mappings(mount.gid_mappings()),
            by_option,
        ) {
            (None, None, None) if option.is_none() => return Ok(None),
            (None, None, None) if ids.user_namespace => (None, options),
            (None, None, None) => {
                return Err(Error::invalid(
                    options,
                    "an id-mapped mount needs a mapping, and the container has none",
                )
                .hint(format_args!("give {field}.uidMappings and {field}.gidMappings")));
            }
            (None, None, Some(text)) => (Some(Maps::parse(text, ids, &options)?), options),
            (Some(uids), Some(gids), None) => (Some(Maps { uids, gids }), format!("{field}.uidMappings")),
            (uids, gids, None) => {
                let (given, missing) = match (&uids, &gids) {
                    (Some(_), _) => ("uidMappings", "gidMappings"),
                    _ => ("gidMappings", "uidMappings"),
                };
                let why = format_args!("is required, as {given} is there");
                return Err(Error::invalid(format_args!("{field}.{missing}"), why));
            }
            (_, _, Some(_)) => {
                let why = "an idmap option with a mapping contradicts uidMappings and gidMappings";
                return Err(Error::invalid(options, why));
            }
        };
        Ok(Some(IdMap {
            maps,
            recursive,
            field,
        }))
    }
}

impl Maps {
    /// crun's form of the option, `uids=0-1-10#10-11-10;gids=0-100-10`: first id on disk, first id shown, how many. After
    /// a leading `@` the second is an id of the container, translated by the mapping of its user namespace.
    fn parse(text: &str, ids: Ids<'_>, field: &str) -> Result<Maps> {
        let (mut uids, mut gids) = (String::new(), String::new());
        for part in text.split(';').filter(|part| !part.is_empty()) {
            let (list, namespace, ranges) = match part.split_once('=') {
                Some(("uids", ranges)) => (&mut uids, ids.uids, ranges),
                Some(("gids", ranges)) => (&mut gids, ids.gids, ranges),
                _ => {
                    let why = format_args!("idmap takes uids=... and gids=..., found {part:?}");
                    return Err(Error::invalid(field, why));
                }
            };
            for range in ranges.split('#') {
                list.push_str(&parse_range(range, namespace, field)?);
            }
        }
        if uids.is_empty() || gids.is_empty() {
            return Err(Error::invalid(field, "idmap needs both uids=... and gids=..."));
        }
        Ok(Maps { uids, gids })
    }
}

/// One range of crun's form as a line of a map.
fn parse_range(text: &str, namespace: &[LinuxIdMapping], field: &str) -> Result<String> {
    let bad = || {
        let why = format_args!("{text:?} is not of the form ON_DISK-SHOWN-SIZE");
        Error::invalid(field, why)
    };
    let (relative, numbers) = match text.strip_prefix('@') {
        Some(numbers) => (true, numbers),
        None => (false, text),
    };
    let mut numbers = numbers
        .split('-')
        .map(|number| number.parse::<u32>().map_err(|_| bad()));
    let mut number = || numbers.next().ok_or_else(bad)?;
    let (on_disk, shown, size) = (number()?, number()?, number()?);
    if numbers.next().is_some() || size == 0 {
        return Err(bad());
    }
    let shown = match relative {
        false => shown,
        true => namespace
            .iter()
            .find_map(|range| {
                let offset = shown.checked_sub(range.container_id())?;
                (offset < range.size()).then(|| range.host_id().checked_add(offset))?
            })
            .ok_or_else(|| {
                let why = format_args!("{text:?}: {shown} is not an id of the container's user namespace");
                Error::invalid(field, why)
            })?,
    };
    Ok(format!("{on_disk} {shown} {size}\n"))
}

fn line(range: &LinuxIdMapping) -> String {
    format!("{} {} {}\n", range.container_id(), range.host_id(), range.size())
}

/// A bind mount that the runtime has to make.
#[derive(Clone, Copy, Debug)]
pub struct IdMapped<'plan> {
    pub(super) bind: &'plan BindMount,
    pub(super) id_map: &'plan IdMap,
    pub(super) propagation: Propagation,
}

impl<'plan> IdMapped<'plan> {
    /// The mapping of its own; without one it is that of the container's user namespace.
    pub fn maps(&self) -> Option<&'plan Maps> {
        self.id_map.maps.as_ref()
    }

    /// What asks for it, for errors.
    pub fn field(&self) -> &'plan str {
        &self.id_map.field
    }

    /// The mount, detached and mapped by the given user namespace. To be called by the runtime in the namespace of the
    /// host.
    ///
    /// # Errors
    /// The source does not exist; its file system cannot be mapped (which one, by its type); no privilege.
    pub fn make(&self, user_namespace: BorrowedFd<'_>) -> Result<OwnedFd> {
        let source = open_source(&self.bind.source)?;
        let path = self.bind.source.to_string_lossy();
        let tree = clone_tree(&source, self.bind.recursive).os("open_tree", &path)?;
        // As the child's copies of the host's mounts, whose propagation it has changed by now.
        if self.propagation != Propagation::Shared {
            set_attributes(&tree, true, Change::propagation(self.propagation))
                .os("set propagation of", &path)?;
        }
        map_ids(&tree, self.id_map.recursive, user_namespace).map_err(|errno| {
            let stage = format_args!("{}: map the ids of", self.field()).to_string();
            let error = Error::os(stage, &path, errno);
            match errno {
                Errno::EINVAL => {
                    let below = if self.id_map.recursive {
                        " or one mounted below"
                    } else {
                        ""
                    };
                    let kind = file_system(&source);
                    error.hint(format_args!(
                        "id-mapped mounts are not supported by this file system ({kind}){below}"
                    ))
                }
                Errno::EPERM => error.hint("it is id-mapped already, or this user may not map it"),
                _ => error,
            }
        })?;
        Ok(tree)
    }
}

/// The type of the file system that an object is on, as mountinfo names it (proc_pid_mountinfo(5)). Only for errors: it
/// reads all mounts.
fn file_system(object: &OwnedFd) -> String {
    let find = || -> Option<String> {
        let status = fs::read_to_string(format!("/proc/thread-self/fdinfo/{}", object.as_raw_fd())).ok()?;
        let id = status
            .lines()
            .find_map(|line| line.strip_prefix("mnt_id:"))?
            .trim();
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").ok()?;
        let line = mounts.lines().find(|line| line.split(' ').next() == Some(id))?;
        Some(line.split(" - ").nth(1)?.split(' ').next()?.to_owned())
    };
    find().unwrap_or_else(|| "of unknown type".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn mount(properties: Value) -> MountSpec {
        let mut mount = json!({"destination": "/m", "source": "/", "options": ["rbind"]});
        mount
            .as_object_mut()
            .unwrap()
            .extend(properties.as_object().unwrap().clone());
        serde_json::from_value(mount).unwrap()
    }

    fn range(container: u32, host: u32, size: u32) -> LinuxIdMapping {
        serde_json::from_value(json!({"containerID": container, "hostID": host, "size": size})).unwrap()
    }

    fn option(mapping: Option<&str>) -> IdMapOption {
        IdMapOption {
            recursive: false,
            mapping: mapping.map(str::to_owned),
        }
    }

    fn plan(properties: Value, option: Option<IdMapOption>, ids: Ids<'_>) -> Result<Option<IdMap>> {
        IdMap::plan(&mount(properties), option.as_ref(), ids, "mounts[2]")
    }

    #[test]
    fn mappings_of_a_mount_map_it_with_or_without_the_option() {
        let properties = json!({
            "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 5, "size": 7}],
            "gidMappings": [{"containerID": 0, "hostID": 2000, "size": 1}],
        });
        for option in [None, Some(option(None))] {
            let map = plan(properties.clone(), option, Ids::default()).unwrap().unwrap();
            let maps = map.maps.unwrap();
            assert_eq!((&*maps.uids, &*maps.gids), ("0 1000 1\n1 5 7\n", "0 2000 1\n"));
            assert_eq!(map.field, "mounts[2].uidMappings");
        }
    }

    #[test]
    fn one_mapping_without_the_other_is_refused_by_name() {
        let list = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
        for (given, missing) in [("uidMappings", "gidMappings"), ("gidMappings", "uidMappings")] {
            let error = plan(json!({given: list}), None, Ids::default()).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("mounts[2].{missing}: is required, as {given} is there")
            );
        }
    }

    #[test]
    fn the_option_alone_takes_the_containers_mapping_and_needs_one() {
        let with = Ids {
            user_namespace: true,
            ..Ids::default()
        };
        let map = plan(json!({}), Some(option(None)), with).unwrap().unwrap();
        assert_eq!(map.maps, None);
        let error = plan(json!({}), Some(option(None)), Ids::default()).unwrap_err();
        assert!(error.to_string().starts_with("mounts[2].options: "), "{error}");
    }

    #[test]
    fn a_mount_that_does_not_ask_is_not_mapped() {
        let empty = json!({"uidMappings": [], "gidMappings": []});
        assert_eq!(plan(empty, None, Ids::default()).unwrap(), None);
    }

    #[test]
    fn a_mapping_in_the_option_is_taken_as_crun_takes_it() {
        let uids = [range(0, 0, 1), range(1, 2, 1000)];
        let gids = [range(0, 100, 50)];
        let ids = Ids {
            user_namespace: true,
            uids: &uids,
            gids: &gids,
        };
        let text = "uids=0-1-10#@1-3-10;gids=@0-7-1";
        let maps = plan(json!({}), Some(option(Some(text))), ids)
            .unwrap()
            .unwrap()
            .maps
            .unwrap();
        assert_eq!((&*maps.uids, &*maps.gids), ("0 1 10\n1 4 10\n", "0 107 1\n"));
    }

    #[test]
    fn a_bad_mapping_in_the_option_is_refused() {
        for text in [
            "uids=0-1-10",
            "uids=0-1-10;gids=0-1",
            "uids=0-1-10;gids=0-1-2-3",
            "uids=0-1-0;gids=0-1-1",
            "uids=0-1-x;gids=0-1-1",
            "uids=@0-5-1;gids=0-1-1",
            "users=0-1-1",
            "uids=0-1-99999999999;gids=0-1-1",
            "",
        ] {
            let error = plan(json!({}), Some(option(Some(text))), Ids::default()).unwrap_err();
            assert!(
                error.to_string().starts_with("mounts[2].options: "),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn an_option_with_a_mapping_beside_mappings_is_refused() {
        let list = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
        let properties = json!({"uidMappings": list, "gidMappings": list});
        let text = option(Some("uids=0-1-10;gids=0-1-1"));
        assert!(plan(properties, Some(text), Ids::default()).is_err());
    }
}
