//! The groups below the container's own that `exec --cgroup` names: `[CONTROLLER[,CONTROLLER]:]PATH`.

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use nix::errno::Errno;

use super::{Cgroup, Join, layout};
use crate::error::{Error, Kind, Result};

/// A group below the container's, on version 1 for some controllers or for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subgroup {
    /// Empty for all.
    controllers: Vec<String>,
    /// Relative to the container's own directory, and never out of it.
    path: PathBuf,
}

impl FromStr for Subgroup {
    type Err = Error;

    fn from_str(text: &str) -> Result<Subgroup> {
        let wrong = |why: &str| Error::invalid(format_args!("--cgroup {text:?}"), why);
        let (controllers, path) = match text.split_once(':') {
            Some(("", _)) => return Err(wrong("names no controller before the colon")),
            Some((controllers, path)) => (controllers.split(',').map(str::to_owned).collect(), path),
            None => (Vec::new(), text),
        };
        if path.is_empty() {
            return Err(wrong("names no group"));
        }
        let below = Path::new(path).components().filter_map(|part| match part {
            Component::RootDir | Component::CurDir => None,
            Component::Normal(name) => Some(Ok(name)),
            Component::ParentDir | Component::Prefix(_) => {
                Some(Err(wrong("is not below the container's own group")))
            }
        });
        Ok(Subgroup {
            controllers,
            path: below.collect::<Result<_>>()?,
        })
    }
}

impl Cgroup {
    /// Opens what a new process needs to become a member of these groups, which have to exist; of hierarchies that none of
    /// them names, of the container's own. The last that names a controller counts.
    ///
    /// # Errors
    /// There is no such group; a controller that the container has no group of.
    pub fn join_below(&self, subgroups: &[Subgroup]) -> Result<Join> {
        if let Cgroup::V2(_) = self
            && let Some(named) = subgroups.iter().find(|subgroup| !subgroup.controllers.is_empty())
        {
            return Err(Error::invalid(
                "--cgroup",
                format_args!(
                    "cgroup v2 has one group for all controllers, not one for {}",
                    named.controllers.join(",")
                ),
            ));
        }
        let own = self.directories();
        let has = |controllers: &str, name: &str| controllers == name || layout::has(controllers, name);
        for name in subgroups.iter().flat_map(|subgroup| &subgroup.controllers) {
            if !own.iter().any(|(controllers, _)| has(controllers, name)) {
                return Err(Error::invalid(
                    "--cgroup",
                    format_args!("the container has no group of the {name} controller"),
                ));
            }
        }
        let chosen = own.into_iter().map(|(controllers, directory)| {
            let wanted = subgroups.iter().rfind(|subgroup| {
                let mut names = subgroup.controllers.iter();
                subgroup.controllers.is_empty() || names.any(|name| has(&controllers, name))
            });
            match wanted {
                Some(subgroup) => directory.join(&subgroup.path),
                None => directory,
            }
        });
        self.join_at(chosen).map_err(|error| match error.errno() {
            Some(Errno::ENOENT) => {
                let missing = format!("{error}");
                Error::new(
                    Kind::NotFound,
                    format_args!("--cgroup: the group does not exist: {missing}"),
                )
                .hint("a process of the container, or its engine, makes it first")
            }
            _ => error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subgroup_is_a_path_below_the_containers_with_controllers_or_without() {
        let of = |controllers: &[&str], path: &str| Subgroup {
            controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
            path: path.into(),
        };
        for (text, expected) in [
            ("inner", of(&[], "inner")),
            ("/inner/leaf", of(&[], "inner/leaf")),
            ("memory:inner", of(&["memory"], "inner")),
            ("cpu,cpuacct:/x", of(&["cpu", "cpuacct"], "x")),
            ("/", of(&[], "")),
        ] {
            assert_eq!(text.parse::<Subgroup>().unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_subgroup_that_is_not_below_the_containers_is_refused() {
        for text in ["", "memory:", ":inner", "..", "inner/../../other", "memory:/.."] {
            assert!(text.parse::<Subgroup>().is_err(), "{text}");
        }
    }
}
