//! Mount options: from the strings of config.json to attributes, propagation and data for the file system. Pure.
//!
//! Source: the list of options in the runtime specification's config.md, "Mounts", and mount(8). Two names of it do
//! nothing here: `silent`/`loud` only concern the kernel's log, and `iversion`/`noiversion` are decided by the file
//! systems themselves (the mount API has no such option).

use std::ffi::{CStr, CString};

use crate::error::{Error, Result};
use crate::sys::mount::{Change, Propagation, attribute};

/// The options that this runtime acts on by itself, sorted: `mountOptions` of the features document.
pub const MOUNT_OPTIONS: [&str; 62] = [
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

/// The options of one mount.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// `bind` or `rbind`; nothing else makes a mount a bind mount.
    pub(super) bind: Option<Bind>,
    /// Change what is mounted at the destination instead of mounting something.
    pub(super) remount: bool,
    /// `tmpcopyup`: fill the new tmpfs with what it will hide.
    pub(super) copy_up: bool,
    /// Attributes asked for; `clear` holds those that were asked *not* to be set.
    pub(super) attributes: Change,
    /// The same for `rro`, `rnosuid` ...: the mount and all below it.
    pub(super) recursive: Change,
    /// Options that every file system has, such as `sync`.
    pub(super) superblock: Vec<&'static CStr>,
    /// Propagation types in the order given; the flag says whether for all mounts below too.
    pub(super) propagation: Vec<(Propagation, bool)>,
    /// `idmap` or `ridmap`.
    pub(super) id_map: Option<IdMapOption>,
    /// Everything else, for the file system itself: `size=64k`, `newinstance`.
    pub(super) data: Vec<(CString, Option<CString>)>,
}

/// How much of the source a bind mount takes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bind {
    /// `bind`: the mount alone.
    One,
    /// `rbind`: and everything mounted below.
    Tree,
}

/// Options of every file system whose values are security labels (mount(8), "context").
pub(super) const CONTEXT_OPTIONS: [&str; 4] = ["context", "fscontext", "defcontext", "rootcontext"];

/// `idmap` or `ridmap`, which may carry a mapping: `idmap=uids=0-1000-1;gids=0-1000-1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IdMapOption {
    /// The mount alone, or all below it too.
    pub(super) recursive: bool,
    /// What stands behind the name.
    pub(super) mapping: Option<String>,
}

/// What one option name stands for.
enum Meaning {
    Nothing,
    Bind(Bind),
    Remount,
    CopyUp,
    Set(u64),
    Clear(u64),
    Atime(u64),
    /// Takes back that access time policy, if it was chosen before.
    NotAtime(u64),
    SetTree(u64),
    ClearTree(u64),
    AtimeTree(u64),
    Superblock(&'static CStr),
    NotSuperblock(&'static CStr),
    Propagation(Propagation, bool),
    IdMap(IdMapOption),
    Data,
}

impl Meaning {
    fn of(option: &str) -> Meaning {
        use Meaning::*;
        use attribute as a;
        match option {
            "" | "defaults" | "silent" | "loud" | "iversion" | "noiversion" => Nothing,
            "bind" => Bind(self::Bind::One),
            "rbind" => Bind(self::Bind::Tree),
            "remount" => Remount,
            "tmpcopyup" => CopyUp,
            "ro" => Set(a::RDONLY),
            "rw" => Clear(a::RDONLY),
            "nosuid" => Set(a::NOSUID),
            "suid" => Clear(a::NOSUID),
            "nodev" => Set(a::NODEV),
            "dev" => Clear(a::NODEV),
            "noexec" => Set(a::NOEXEC),
            "exec" => Clear(a::NOEXEC),
            "nodiratime" => Set(a::NODIRATIME),
            "diratime" => Clear(a::NODIRATIME),
            "nosymfollow" => Set(a::NOSYMFOLLOW),
            "symfollow" => Clear(a::NOSYMFOLLOW),
            "relatime" => Atime(a::RELATIME),
            "noatime" => Atime(a::NOATIME),
            "strictatime" => Atime(a::STRICTATIME),
            "atime" => NotAtime(a::NOATIME),
            "norelatime" => NotAtime(a::RELATIME),
            "nostrictatime" => NotAtime(a::STRICTATIME),
            "rro" => SetTree(a::RDONLY),
            "rrw" => ClearTree(a::RDONLY),
            "rnosuid" => SetTree(a::NOSUID),
            "rsuid" => ClearTree(a::NOSUID),
            "rnodev" => SetTree(a::NODEV),
            "rdev" => ClearTree(a::NODEV),
            "rnoexec" => SetTree(a::NOEXEC),
            "rexec" => ClearTree(a::NOEXEC),
            "rnodiratime" => SetTree(a::NODIRATIME),
            "rdiratime" => ClearTree(a::NODIRATIME),
            "rnosymfollow" => SetTree(a::NOSYMFOLLOW),
            "rsymfollow" => ClearTree(a::NOSYMFOLLOW),
            "rnoatime" => AtimeTree(a::NOATIME),
            "rstrictatime" => AtimeTree(a::STRICTATIME),
            // Not to have one of the policies means to have the kernel's default.
            "rrelatime" | "rnorelatime" | "ratime" | "rnostrictatime" => AtimeTree(a::RELATIME),
            "sync" => Superblock(c"sync"),
            "async" => NotSuperblock(c"sync"),
            "dirsync" => Superblock(c"dirsync"),
            "lazytime" => Superblock(c"lazytime"),
            "nolazytime" => NotSuperblock(c"lazytime"),
            "mand" => Superblock(c"mand"),
            "nomand" => NotSuperblock(c"mand"),
            "private" | "rprivate" => Propagation(self::Propagation::Private, option.starts_with('r')),
            "shared" | "rshared" => Propagation(self::Propagation::Shared, option.starts_with('r')),
            "slave" | "rslave" => Propagation(self::Propagation::Slave, option.starts_with('r')),
            "unbindable" | "runbindable" => {
                Propagation(self::Propagation::Unbindable, option.starts_with('r'))
            }
            _ => match option
                .split_once('=')
                .map_or((option, None), |(name, rest)| (name, Some(rest)))
            {
                (name @ ("idmap" | "ridmap"), mapping) => IdMap(IdMapOption {
                    recursive: name == "ridmap",
                    mapping: mapping.map(str::to_owned),
                }),
                _ => Data,
            },
        }
    }
}

impl Options {
    /// Reads the options of one mount; `field` is their path in config.json, for errors.
    ///
    /// # Errors
    /// For a NUL byte, and data for a file system on a bind mount, which has none.
    pub(super) fn parse(options: &[String], field: &str) -> Result<Options> {
        let mut parsed = Options::default();
        for option in options {
            parsed.add(option, field)?;
        }
        if parsed.bind.is_some()
            && let Some((key, _)) = parsed.data.first()
        {
            let why = "bind mounts cannot have any filesystem-specific options applied";
            return Err(Error::invalid(
                field,
                format_args!("{why}: {}", key.to_string_lossy()),
            ));
        }
        Ok(parsed)
    }

    fn add(&mut self, option: &str, field: &str) -> Result<()> {
        match Meaning::of(option) {
            Meaning::Nothing => {}
            Meaning::Bind(bind) => self.bind = Some(bind),
            Meaning::Remount => self.remount = true,
            Meaning::CopyUp => self.copy_up = true,
            Meaning::Set(bits) => set(&mut self.attributes, bits),
            Meaning::Clear(bits) => clear(&mut self.attributes, bits),
            Meaning::Atime(policy) => set_atime(&mut self.attributes, policy),
            Meaning::NotAtime(policy) => {
                let chosen = self.attributes.clear & attribute::ATIME != 0;
                if chosen && self.attributes.set & attribute::ATIME == policy {
                    self.attributes.set &= !attribute::ATIME;
                    self.attributes.clear &= !attribute::ATIME;
                }
            }
            Meaning::SetTree(bits) => set(&mut self.recursive, bits),
            Meaning::ClearTree(bits) => clear(&mut self.recursive, bits),
            Meaning::AtimeTree(policy) => set_atime(&mut self.recursive, policy),
            Meaning::Superblock(name) => self.superblock.push(name),
            Meaning::NotSuperblock(name) => self.superblock.retain(|other| *other != name),
            Meaning::Propagation(propagation, tree) => self.propagation.push((propagation, tree)),
            Meaning::IdMap(option) => self.id_map = Some(option),
            Meaning::Data => self.data.push(key_and_value(option, field)?),
        }
        Ok(())
    }

    /// Whether the mount itself is to be read-only.
    pub(super) fn read_only(&self) -> bool {
        self.attributes.set & attribute::RDONLY != 0
    }

    /// Whether the file system's own options name one of `keys`.
    pub(super) fn has_any_data(&self, keys: &[&str]) -> bool {
        let mut names = self.data.iter().map(|(name, _)| name.as_bytes());
        names.any(|name| keys.iter().any(|key| key.as_bytes() == name))
    }

    /// Whether the file system's own options name `key`.
    pub(super) fn has_data(&self, key: &CStr) -> bool {
        self.data.iter().any(|(name, _)| name.as_c_str() == key)
    }
}

/// The last of two contradicting options wins, as in mount(8).
fn set(change: &mut Change, bits: u64) {
    change.set |= bits;
    change.clear &= !bits;
}

fn clear(change: &mut Change, bits: u64) {
    change.set &= !bits;
    change.clear |= bits;
}

fn set_atime(change: &mut Change, policy: u64) {
    change.set = change.set & !attribute::ATIME | policy;
    change.clear |= attribute::ATIME;
}

fn key_and_value(option: &str, field: &str) -> Result<(CString, Option<CString>)> {
    let text = |text: &str| CString::new(text).map_err(|_| Error::invalid(field, "contains a NUL byte"));
    match option.split_once('=') {
        // Security labels contain commas, so callers of mount(2) quote them; the mount API takes them as they are.
        Some((key, value)) if CONTEXT_OPTIONS.contains(&key) => {
            let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            Ok((text(key)?, Some(text(bare.unwrap_or(value))?)))
        }
        Some((key, value)) => Ok((text(key)?, Some(text(value)?))),
        None => Ok((text(option)?, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Result<Options> {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        Options::parse(&options, "mounts[3].options")
    }

    #[test]
    fn options_of_the_default_dev_are_attributes_and_data() {
        let options = parse(&["nosuid", "strictatime", "mode=755", "size=65536k"]).unwrap();
        assert_eq!(options.attributes.set, attribute::NOSUID | attribute::STRICTATIME);
        assert_eq!(options.attributes.clear, attribute::ATIME);
        assert_eq!(
            options.data,
            [
                (c"mode".to_owned(), Some(c"755".to_owned())),
                (c"size".to_owned(), Some(c"65536k".to_owned()))
            ]
        );
        assert_eq!(options.bind, None);
    }

    #[test]
    fn the_last_of_two_contradicting_options_wins() {
        let options = parse(&[
            "ro", "rw", "suid", "nosuid", "noatime", "relatime", "sync", "async",
        ])
        .unwrap();
        assert_eq!(options.attributes.set, attribute::NOSUID);
        assert_eq!(options.attributes.clear, attribute::RDONLY | attribute::ATIME);
        assert!(options.superblock.is_empty());
    }

    #[test]
    fn a_negated_access_time_policy_only_takes_back_that_policy() {
        let taken_back = parse(&["noatime", "atime"]).unwrap();
        assert!(taken_back.attributes.is_empty());
        let kept = parse(&["noatime", "nostrictatime"]).unwrap();
        assert_eq!(kept.attributes.set, attribute::NOATIME);
        let relative = parse(&["relatime", "norelatime"]).unwrap();
        assert!(relative.attributes.is_empty());
    }

    #[test]
    fn a_recursive_access_time_clears_the_enumeration_first() {
        let options = parse(&["rbind", "rnoatime", "rro"]).unwrap();
        assert_eq!(options.bind, Some(Bind::Tree));
        assert_eq!(options.recursive.set, attribute::NOATIME | attribute::RDONLY);
        assert_eq!(options.recursive.clear, attribute::ATIME);
        assert!(options.attributes.is_empty());
    }

    #[test]
    fn propagation_keeps_its_order() {
        let options = parse(&["bind", "rslave", "shared"]).unwrap();
        assert_eq!(
            options.propagation,
            [(Propagation::Slave, true), (Propagation::Shared, false)]
        );
    }

    #[test]
    fn every_option_of_the_features_document_is_understood_here() {
        for name in MOUNT_OPTIONS {
            assert!(parse(&[name]).unwrap().data.is_empty(), "{name} became data");
        }
    }

    #[test]
    fn data_on_a_bind_mount_is_refused() {
        let error = parse(&["rbind", "size=1m"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "mounts[3].options: bind mounts cannot have any filesystem-specific options applied: size"
        );
    }

    #[test]
    fn id_maps_are_never_data_of_the_file_system() {
        for (option, recursive, mapping) in [
            ("idmap", false, None),
            ("ridmap", true, None),
            (
                "idmap=uids=0-1-1;gids=0-1-1",
                false,
                Some("uids=0-1-1;gids=0-1-1"),
            ),
        ] {
            let options = parse(&["bind", option]).unwrap();
            let mapping = mapping.map(str::to_owned);
            assert_eq!(options.id_map, Some(IdMapOption { recursive, mapping }));
            assert!(options.data.is_empty());
        }
        assert_eq!(parse(&["idmapped"]).unwrap().id_map, None);
    }

    #[test]
    fn a_nul_byte_is_refused() {
        assert!(parse(&["size=1\0m"]).is_err());
    }
}
