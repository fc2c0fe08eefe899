//! Which devices the container may use: linux.resources.devices as a policy, and the policy on version 1.
//!
//! The rules stand in order and each decides the accesses it names; before the first one nothing is allowed. Behind the
//! container's own rules come the devices that every container needs, as in runc.

use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::file;
use super::v1::V1;
use crate::error::{Error, OsContext, Result};

/// Whether the devices that every container needs (null, zero, full, random, urandom, tty, ptmx, pts, tun, and making
/// nodes) are allowed behind the container's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultDevices {
    /// As runc does.
    Allow,
    /// The container's rules alone count.
    Omit,
    /// No rules are enforced, the container's neither: without privileges there is no way to, and a container that is in
    /// a user namespace can neither make devices nor open more of them than its user may.
    Unenforced,
}

/// Access bits, as in `struct bpf_cgroup_dev_ctx`.
pub(super) const MKNOD: u8 = 1;
pub(super) const READ: u8 = 2;
pub(super) const WRITE: u8 = 4;
pub(super) const EVERYTHING: u8 = MKNOD | READ | WRITE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Block,
    Character,
}

/// One rule; a number that is not given means all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) allow: bool,
    pub(super) class: Class,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    pub(super) access: u8,
    /// From the default list: nobody asked for it, so a host that cannot grant it is no error.
    courtesy: bool,
}

/// What is left to decide: a default and the rules that change something, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) allow: bool,
    pub(super) rules: Vec<Rule>,
}

const FIELD: &str = "linux.resources.devices";

impl Policy {
    pub(super) fn plan(given: &[LinuxDeviceCgroup], defaults: DefaultDevices) -> Result<Policy> {
        let mut policy = Policy {
            allow: false,
            rules: Vec::new(),
        };
        for (index, rule) in given.iter().enumerate() {
            let (classes, rule) = parse(index, rule)?;
            if classes.len() == 2 && rule.major.is_none() && rule.minor.is_none() && rule.access == EVERYTHING
            {
                policy.allow = rule.allow;
                policy.rules.clear();
            } else {
                classes
                    .iter()
                    .for_each(|&class| policy.add(Rule { class, ..rule }));
            }
        }
        if defaults == DefaultDevices::Allow {
            default_rules().for_each(|rule| policy.add(rule));
        }
        Ok(policy)
    }

    /// Adds a rule unless those before it say the same already.
    fn add(&mut self, rule: Rule) {
        for earlier in self.rules.iter().rev() {
            if earlier.allow == rule.allow && earlier.covers(&rule) {
                return;
            }
            if earlier.allow != rule.allow && earlier.overlaps(&rule) {
                self.rules.push(rule);
                return;
            }
        }
        if rule.allow != self.allow {
            self.rules.push(rule);
        }
    }

    /// The same verdicts as version 1 says them: a default, and exceptions whose order means nothing. A later rule back to
    /// the default takes its accesses from the exceptions that it covers.
    ///
    /// # Errors
    /// A rule that would take back a part of the devices of an earlier exception: the kernel would ignore it without a word.
    /// A default device that the container's own rules deny in this way stays denied.
    pub(super) fn exceptions(&self) -> Result<Vec<Rule>> {
        let mut exceptions: Vec<Rule> = Vec::new();
        for rule in &self.rules {
            if rule.allow != self.allow {
                exceptions.push(*rule);
                continue;
            }
            let part = exceptions
                .iter()
                .find(|earlier| earlier.overlaps(rule) && !rule.covers_devices(earlier));
            match part {
                Some(_) if rule.courtesy => continue,
                Some(part) => {
                    let why =
                        format_args!("\"{rule}\" overlaps the earlier opposite rule \"{part}\"").to_string();
                    return Err(Error::unsupported(
                        FIELD,
                        format_args!("{why}, which cgroup v1 cannot express"),
                    )
                    .hint("name the devices one by one"));
                }
                None => exceptions
                    .iter_mut()
                    .filter(|earlier| rule.covers_devices(earlier))
                    .for_each(|earlier| earlier.access &= !rule.access),
            }
        }
        exceptions.retain(|rule| rule.access != 0);
        Ok(exceptions)
    }

    /// Makes this policy hold in a group with processes where `earlier` holds. With the same default only what differs is
    /// written, allowing first, so that a device that stays allowed is never lost for a moment. Another default begins with
    /// an empty list, which nobody may see: the processes are frozen meanwhile.
    ///
    /// # Errors
    /// As [`Policy::apply_v1`]; the processes do not stop.
    pub(super) fn replace_v1(&self, earlier: &Policy, directory: &Path, cgroup: &V1) -> Result<()> {
        if self == earlier {
            return Ok(());
        }
        if self.allow != earlier.allow {
            if cgroup.is_frozen()? {
                return self.apply_v1(directory);
            }
            cgroup.freeze()?;
            let applied = self.apply_v1(directory);
            return applied.and(cgroup.thaw());
        }
        let (own, before) = (merged(self.exceptions()?), merged(earlier.exceptions()?));
        // What `list` has and `other` has not.
        let more = |list: &[Rule], other: &[Rule]| -> Vec<Rule> {
            let access = |rule: &Rule| {
                let same = other.iter().find(|other| other.device() == rule.device());
                rule.access & !same.map_or(0, |same| same.access)
            };
            list.iter()
                .map(|rule| Rule {
                    access: access(rule),
                    ..*rule
                })
                .filter(|rule| rule.access != 0)
                .collect()
        };
        let (new, gone) = (more(&own, &before), more(&before, &own));
        let (allowed, denied) = if self.allow { (gone, new) } else { (new, gone) };
        write_rules(directory, "devices.allow", &allowed)?;
        write_rules(directory, "devices.deny", &denied)
    }

    /// One open file and one write for each exception.
    ///
    /// # Errors
    /// Those of [`Policy::exceptions`], and of the writes.
    pub(super) fn apply_v1(&self, directory: &Path) -> Result<()> {
        let exceptions = self.exceptions()?;
        let (default, other) = if self.allow {
            ("devices.allow", "devices.deny")
        } else {
            ("devices.deny", "devices.allow")
        };
        file::set(&directory.join(default), "a")?;
        write_rules(directory, other, &exceptions)
    }
}

/// Into `devices.allow` or `devices.deny`; a default device that the host cannot grant is no error.
fn write_rules(directory: &Path, name: &str, rules: &[Rule]) -> Result<()> {
    let path = directory.join(name);
    let file = open(&path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()).os("open", path.display())?;
    for rule in rules {
        match file::write_to(&file, &rule.to_string()) {
            Err(Errno::EPERM) if rule.courtesy => {}
            result => result.os(format_args!("{FIELD}: write \"{rule}\" to"), path.display())?,
        }
    }
    Ok(())
}

/// Each device once, with everything that is said of it.
fn merged(rules: Vec<Rule>) -> Vec<Rule> {
    let mut merged: Vec<Rule> = Vec::new();
    for rule in rules {
        match merged
            .iter_mut()
            .find(|earlier| earlier.device() == rule.device())
        {
            Some(earlier) => {
                earlier.access |= rule.access;
                earlier.courtesy &= rule.courtesy;
            }
            None => merged.push(rule),
        }
    }
    merged
}

impl Rule {
    /// As in the kernel's list of exceptions, where a device is named once.
    fn device(&self) -> (Class, Option<u32>, Option<u32>) {
        (self.class, self.major, self.minor)
    }

    fn covers(&self, other: &Rule) -> bool {
        self.covers_devices(other) && self.access & other.access == other.access
    }

    fn covers_devices(&self, other: &Rule) -> bool {
        let wider = |own: Option<u32>, other: Option<u32>| own.is_none() || own == other;
        self.class == other.class && wider(self.major, other.major) && wider(self.minor, other.minor)
    }

    fn overlaps(&self, other: &Rule) -> bool {
        let meet = |own: Option<u32>, other: Option<u32>| own.is_none() || other.is_none() || own == other;
        self.class == other.class
            && meet(self.major, other.major)
            && meet(self.minor, other.minor)
            && self.access & other.access != 0
    }
}

/// The kernel's and the specification's notation: `c 1:3 rwm`, `b *:* m`.
impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        let class = match self.class {
            Class::Block => 'b',
            Class::Character => 'c',
        };
        write!(f, "{class} {}:{} ", number(self.major), number(self.minor))?;
        for (bit, letter) in [(READ, "r"), (WRITE, "w"), (MKNOD, "m")] {
            if self.access & bit != 0 {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

fn parse(index: usize, rule: &LinuxDeviceCgroup) -> Result<(&'static [Class], Rule)> {
    let field = |name: &str| format!("{FIELD}[{index}].{name}");
    let classes: &[Class] = match rule.typ().unwrap_or_default() {
        LinuxDeviceType::A => &[Class::Character, Class::Block],
        LinuxDeviceType::B => &[Class::Block],
        LinuxDeviceType::C | LinuxDeviceType::U => &[Class::Character],
        LinuxDeviceType::P => return Err(Error::invalid(field("type"), "\"p\" is not one of a, b, c")),
    };
    let number = |name: &str, value: Option<i64>| match value {
        None | Some(-1) => Ok(None),
        Some(value) => u32::try_from(value)
            .map(Some)
            .map_err(|_| Error::invalid(field(name), format_args!("{value} is not a device number"))),
    };
    let mut access = 0;
    for letter in rule.access().as_deref().unwrap_or_default().chars() {
        access |= match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            _ => {
                let why = format!("'{letter}' is not one of r, w, m");
                return Err(Error::invalid(field("access"), why));
            }
        };
    }
    if access == 0 {
        return Err(Error::invalid(
            field("access"),
            "must name at least one of r, w, m",
        ));
    }
    let rule = Rule {
        allow: rule.allow(),
        class: Class::Character,
        major: number("major", rule.major())?,
        minor: number("minor", rule.minor())?,
        access,
        courtesy: false,
    };
    Ok((classes, rule))
}

/// Making any node is harmless, using it is what counts. tun was once dropped by runc, and put back for its users.
fn default_rules() -> impl Iterator<Item = Rule> {
    const NODES: [(Option<u32>, Option<u32>); 9] = [
        (Some(1), Some(3)),    // null
        (Some(1), Some(5)),    // zero
        (Some(1), Some(7)),    // full
        (Some(1), Some(8)),    // random
        (Some(1), Some(9)),    // urandom
        (Some(5), Some(0)),    // tty
        (Some(5), Some(2)),    // ptmx
        (Some(136), None),     // pts
        (Some(10), Some(200)), // tun
    ];
    let rule = |class, major, minor, access| Rule {
        allow: true,
        class,
        major,
        minor,
        access,
        courtesy: true,
    };
    let make = [Class::Character, Class::Block]
        .into_iter()
        .map(move |class| rule(class, None, None, MKNOD));
    make.chain(
        NODES
            .into_iter()
            .map(move |(major, minor)| rule(Class::Character, major, minor, EVERYTHING)),
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn rule(text: &str) -> LinuxDeviceCgroup {
        let (verdict, rest) = text.split_once(' ').unwrap();
        let mut json = serde_json::json!({"allow": verdict == "allow"});
        for (key, word) in ["type", "numbers", "access"].iter().zip(rest.split(' ')) {
            match *key {
                "numbers" => {
                    let (major, minor) = word.split_once(':').unwrap();
                    for (key, number) in [("major", major), ("minor", minor)] {
                        if let Ok(number) = number.parse::<i64>() {
                            json[key] = number.into();
                        }
                    }
                }
                key => json[key] = word.into(),
            }
        }
        serde_json::from_value(json).unwrap()
    }

    fn policy(rules: &[&str], defaults: DefaultDevices) -> Policy {
        let rules: Vec<_> = rules.iter().map(|text| rule(text)).collect();
        Policy::plan(&rules, defaults).unwrap()
    }

    fn texts(policy: &Policy) -> Vec<String> {
        let verdict = |rule: &Rule| format!("{} {rule}", if rule.allow { "allow" } else { "deny" });
        policy.rules.iter().map(verdict).collect()
    }

    #[test]
    fn no_rules_mean_deny_all_but_the_default_devices() {
        let policy = policy(&[], DefaultDevices::Allow);
        assert!(!policy.allow);
        assert_eq!(
            texts(&policy),
            [
                "allow c *:* m",
                "allow b *:* m",
                "allow c 1:3 rwm",
                "allow c 1:5 rwm",
                "allow c 1:7 rwm",
                "allow c 1:8 rwm",
                "allow c 1:9 rwm",
                "allow c 5:0 rwm",
                "allow c 5:2 rwm",
                "allow c 136:* rwm",
                "allow c 10:200 rwm",
            ]
        );
    }

    #[test]
    fn allow_all_leaves_nothing_to_write() {
        let policy = policy(
            &["deny a *:* rwm", "allow b 8:0 r", "allow a *:* rwm"],
            DefaultDevices::Allow,
        );
        assert_eq!((policy.allow, policy.rules.len()), (true, 0));
    }

    #[test]
    fn rules_that_change_nothing_are_dropped_and_those_that_do_keep_their_order() {
        let policy = policy(
            &[
                "deny c 1:2 rwm",
                "allow c 1:3 rwm",
                "allow c 1:3 r",
                "deny c 1:3 w",
                "allow c 1:3 r",
            ],
            DefaultDevices::Omit,
        );
        assert_eq!(texts(&policy), ["allow c 1:3 rwm", "deny c 1:3 w"]);
    }

    #[test]
    fn type_a_with_numbers_means_both_kinds_of_devices() {
        let policy = policy(&["allow a 7:1 r"], DefaultDevices::Omit);
        assert_eq!(texts(&policy), ["allow c 7:1 r", "allow b 7:1 r"]);
    }

    fn exceptions(rules: &[&str], defaults: DefaultDevices) -> Vec<String> {
        let exceptions = policy(rules, defaults).exceptions().unwrap();
        exceptions.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn version_1_refuses_what_its_kernel_interface_would_silently_ignore() {
        let error = policy(&["allow c *:* rwm", "deny c 1:3 w"], DefaultDevices::Omit)
            .exceptions()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "linux.resources.devices is not supported: \"c 1:3 w\" overlaps the earlier opposite rule \"c *:* rwm\", \
             which cgroup v1 cannot express; name the devices one by one"
        );
    }

    #[test]
    fn a_wide_rule_takes_its_accesses_from_the_exceptions_of_version_1_that_it_covers() {
        let lists: [(&[&str], &[&str]); 4] = [
            (&["allow c 1:3 rwm", "deny c 1:3 w"], &["c 1:3 rm"]),
            (
                &["allow a *:* rwm", "deny c 1:11 rw", "allow c 1:* r"],
                &["c 1:11 w"],
            ),
            (
                &["allow c 1:3 rw", "allow b 1:3 r", "deny c *:* rwm"],
                &["b 1:3 r"],
            ),
            (&["allow c 1:3 r", "deny c *:* rw", "allow c 1:3 w"], &["c 1:3 w"]),
        ];
        for (rules, expected) in lists {
            assert_eq!(exceptions(rules, DefaultDevices::Omit), expected, "{rules:?}");
        }
    }

    #[test]
    fn the_default_devices_make_no_list_impossible_on_version_1() {
        // Making any node is a default, using the device is what the list denies.
        assert_eq!(
            exceptions(&["allow a *:* rwm", "deny c 1:11 rwm"], DefaultDevices::Allow),
            ["c 1:11 rw"]
        );
        // tun (10:200) is a default device; the list denies all of its kind.
        assert_eq!(
            exceptions(&["allow a *:* rwm", "deny c 10:* rwm"], DefaultDevices::Allow),
            ["c 10:* rw"]
        );
    }

    #[test]
    fn bad_rules_are_refused_by_field() {
        let refused = |text: &str| {
            Policy::plan(&[rule(text)], DefaultDevices::Allow)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            refused("allow c 1:3 rx"),
            "linux.resources.devices[0].access: 'x' is not one of r, w, m"
        );
        assert_eq!(
            refused("allow c 1:3 "),
            "linux.resources.devices[0].access: must name at least one of r, w, m"
        );
        assert_eq!(
            refused("allow c -2:3 r"),
            "linux.resources.devices[0].major: -2 is not a device number"
        );
        assert_eq!(
            refused("allow c 1:4294967296 r"),
            "linux.resources.devices[0].minor: 4294967296 is not a device number"
        );
        assert_eq!(
            refused("allow p 1:1 r"),
            "linux.resources.devices[0].type: \"p\" is not one of a, b, c"
        );
    }
}
