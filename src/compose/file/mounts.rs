//! `volumes` and `tmpfs` of a service, and how its `configs` and `secrets` are named.

use std::path::{Component, Path};

use super::keys;
use super::node::{At, Node};
use super::service::Context;
use super::units;
use crate::compose::model::{FileUse, Mount, MountKind};
use crate::error::{Error, Result};

const ANONYMOUS: &str = "volumes without a name are not supported";

/// `[SOURCE:]TARGET[:OPTIONS]`.
struct Short<'a> {
    source: Option<&'a str>,
    target: &'a str,
    options: &'a str,
}

impl<'a> Short<'a> {
    fn read(text: &'a str) -> std::result::Result<Self, String> {
        let mut parts = text.splitn(3, ':');
        let (first, second, third) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        let short = match (second, third) {
            (None, _) => Self {
                source: None,
                target: first,
                options: "",
            },
            (Some(target), options) => Self {
                source: Some(first),
                target,
                options: options.unwrap_or_default(),
            },
        };
        match short.target.is_empty() || short.source == Some("") || third == Some("") {
            true => Err(format!("{text:?} is not SOURCE:TARGET[:ro|rw]")),
            false => Ok(short),
        }
    }
}

/// Where in the container an element of `volumes` is mounted, as it is written.
pub(super) fn target(node: &Node) -> Option<String> {
    let target = match node.text() {
        Some(text) => Short::read(text).ok()?.target,
        None => node.get("target")?.text()?,
    };
    Some(target.trim_end_matches('/').to_owned())
}

/// One of `volumes`.
pub(super) fn mount(at: &At<'_>, context: &Context<'_>) -> Result<Mount> {
    match at.node.text() {
        Some(text) => short(at, text, context),
        None => long(at, context),
    }
}

fn short(at: &At<'_>, text: &str, context: &Context<'_>) -> Result<Mount> {
    let short = Short::read(text).map_err(|why| at.error(why))?;
    let mut read_only = false;
    for option in short.options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            "rw" => read_only = false,
            "z" | "Z" => return Err(unsupported_option(at, option, "there is no support for SELinux")),
            "nocopy" => {
                return Err(unsupported_option(
                    at,
                    option,
                    "a new volume gets what the bundle has in its place",
                ));
            }
            "cached" | "delegated" | "consistent" => {
                return Err(unsupported_option(at, option, "it is for macOS"));
            }
            _ => return Err(at.error(format_args!("unknown option {option:?}; known are ro and rw"))),
        }
    }
    let Some(source) = short.source else {
        return Err(at.error(ANONYMOUS).hint(format_args!(
            "write NAME:{text}, and NAME under the file's `volumes`"
        )));
    };
    let kind = match source.starts_with(['.', '/', '~']) {
        true => bind(at, source, true, context)?,
        false => MountKind::Volume {
            name: source.to_owned(),
        },
    };
    Ok(Mount {
        kind,
        target: mount_point(at, short.target)?,
        read_only,
    })
}

fn unsupported_option(at: &At<'_>, option: &str, why: &str) -> Error {
    Error::unsupported(
        format_args!("{}: {}: option {option:?}", at.node.place, at.path),
        why,
    )
}

fn bind(at: &At<'_>, source: &str, create_host_path: bool, context: &Context<'_>) -> Result<MountKind> {
    let source = at.path(source, context.home())?;
    match create_host_path || source.exists() {
        true => Ok(MountKind::Bind {
            source,
            create_host_path,
        }),
        false => Err(at.error(format_args!("{} does not exist", source.display()))),
    }
}

fn long(at: &At<'_>, context: &Context<'_>) -> Result<Mount> {
    let fields = at.fields(keys::MOUNT)?;
    let kind_at = fields.required("type")?;
    let kind_name = kind_at.text("bind, volume or tmpfs")?;
    for (section, of) in [("bind", "bind"), ("volume", "volume"), ("tmpfs", "tmpfs")] {
        if let Some(at) = fields.get(section).filter(|_| kind_name != of) {
            return Err(at.error(format_args!("means nothing for a mount of type {kind_name:?}")));
        }
    }
    let source = fields.get("source");
    let kind = match kind_name {
        "bind" => {
            let create = match fields.get("bind") {
                Some(at) => at.fields(keys::BIND)?.read("create_host_path", At::bool)?,
                None => None,
            };
            let source = fields.required("source")?;
            bind(&source, source.word("a path")?, create.unwrap_or(true), context)?
        }
        "volume" => {
            if let Some(at) = fields.get("volume") {
                at.fields(keys::MOUNT_VOLUME)?;
            }
            match source {
                Some(source) => MountKind::Volume {
                    name: source.word("the name of a volume")?.to_owned(),
                },
                None => {
                    return Err(at
                        .error(ANONYMOUS)
                        .hint("add `source: NAME`, and NAME under the file's `volumes`"));
                }
            }
        }
        "tmpfs" => {
            if let Some(source) = source {
                return Err(source.error("a tmpfs has no source"));
            }
            let (size, mode) = match fields.get("tmpfs") {
                Some(at) => {
                    let fields = at.fields(keys::MOUNT_TMPFS)?;
                    let size = fields.read("size", |at| at.parsed("a size", units::size))?;
                    (
                        size,
                        fields.read("mode", |at| at.parsed("permission bits", units::mode))?,
                    )
                }
                None => (None, None),
            };
            MountKind::Tmpfs { size, mode }
        }
        "npipe" | "cluster" | "image" => {
            return Err(Error::unsupported(
                format_args!("{}: {}: {kind_name:?}", kind_at.node.place, kind_at.path),
                "there are bind, volume and tmpfs",
            ));
        }
        _ => return Err(kind_at.error(format_args!("{kind_name:?} is none of bind, volume and tmpfs"))),
    };
    let target = fields.required("target")?;
    Ok(Mount {
        kind,
        target: mount_point(&target, target.word("a path")?)?,
        read_only: fields.read("read_only", At::bool)?.unwrap_or(false),
    })
}

/// One of `tmpfs`: `TARGET[:size=SIZE,mode=MODE,ro]`.
pub(super) fn tmpfs(at: &At<'_>) -> Result<Mount> {
    let text = at.word("a path")?;
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let (mut size, mut mode, mut read_only) = (None, None, false);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => size = Some(units::size(value).map_err(|why| at.error(why))?),
            Some(("mode", value)) => {
                let bits = units::octal(value).filter(|_| !value.is_empty());
                mode = Some(
                    bits.ok_or_else(|| at.error(format_args!("mode: {value:?} are not permission bits")))?,
                );
            }
            None if option == "ro" => read_only = true,
            None if option == "rw" => read_only = false,
            _ => {
                return Err(at.error(format_args!(
                    "unknown option {option:?}; known are size=, mode=, ro and rw"
                )));
            }
        }
    }
    Ok(Mount {
        kind: MountKind::Tmpfs { size, mode },
        target: mount_point(at, target)?,
        read_only,
    })
}

/// An absolute path in the container, without `/` at the end.
fn mount_point(at: &At<'_>, target: &str) -> Result<String> {
    let path = Path::new(target);
    if !path.is_absolute() {
        return Err(at.error(format_args!("the target {target:?} is not an absolute path")));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(at.error(format_args!("the target {target:?} has `..` in it")));
    }
    let path = super::node::clean(path);
    match (path.parent(), path.to_str()) {
        (Some(_), Some(path)) => Ok(path.to_owned()),
        _ => Err(at.error("nothing is mounted on the root directory")),
    }
}

/// One of `configs` or `secrets`; what has no absolute target is in `directory`.
pub(super) fn file_use(at: &At<'_>, directory: &str) -> Result<FileUse> {
    let in_directory = |at: &At<'_>, name: &str| {
        let path = match name.starts_with('/') {
            true => name.to_owned(),
            false => format!("{}/{name}", directory.trim_end_matches('/')),
        };
        mount_point(at, &path)
    };
    if at.node.text().is_some() {
        let source = at.word("a name")?;
        return Ok(FileUse {
            source: source.to_owned(),
            target: in_directory(at, source)?,
            uid: None,
            gid: None,
            mode: None,
        });
    }
    let fields = at.fields(keys::FILE_USE)?;
    let source = fields.required("source")?;
    let name = source.word("a name")?;
    let id = |at: &At<'_>| at.number("the number of a user or group");
    Ok(FileUse {
        source: name.to_owned(),
        target: match fields.get("target") {
            Some(at) => in_directory(&at, at.word("a path")?)?,
            None => in_directory(&source, name)?,
        },
        uid: fields.read("uid", id)?,
        gid: fields.read("gid", id)?,
        mode: fields.read("mode", |at| at.parsed("permission bits", units::mode))?,
    })
}
