//! A probe's report without what belongs to one run, and without the differences that we intend.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::harness::{Host, Report, cgroup_v2};

/// A difference from runc that we intend: where it shows, why it is there, and how it is taken out of a line.
struct Intended {
    section: &'static str,
    #[expect(dead_code, reason = "read by people")]
    reason: &'static str,
    erase: fn(&str) -> String,
}

const INTENDED: [Intended; 9] = [
    Intended {
        section: "mounts",
        reason: "Who remounts a masked directory writable finds no room for files: its tmpfs has nr_inodes=1.",
        erase: |line| line.replace(",nr_inodes=1", ""),
    },
    Intended {
        section: "mounts",
        reason: "A tmpfs without mode= gets that of the directory it covers as an option; runc changes it afterwards.",
        erase: |line| line.replace(",mode=755", ""),
    },
    Intended {
        section: "mounts",
        reason: "The source of a cgroup mount is a label. Ours are bind mounts, which keep the host's; runc writes its own.",
        erase: |line| {
            let labelled = [" - cgroup ", " - cgroup2 "].into_iter().find_map(|fs_type| {
                let (left, right) = line.split_once(fs_type)?;
                Some(format!("{left}{fs_type}LABEL {}", right.split_once(' ')?.1))
            });
            labelled.unwrap_or_else(|| line.to_owned())
        },
    },
    Intended {
        section: "mounts",
        reason: "The tmpfs around the v1 hierarchies is read-only when the options say ro; runc forgets it in a cgroup \
                 namespace.",
        erase: |line| line.replace("/ /sys/fs/cgroup ro,", "/ /sys/fs/cgroup rw,"),
    },
    Intended {
        section: "cgroup",
        reason: "Beside hierarchies of version 1, minirun leaves an empty tree of version 2 alone; runc makes a cgroup there.",
        erase: |line| match line.starts_with("0::") && !cgroup_v2() {
            true => "0::".to_owned(),
            false => line.to_owned(),
        },
    },
    Intended {
        section: "cgroup_files",
        reason: "runc 1.1 maps shares to weights by a straight line, on which 1024 shares weigh 39 and not the usual \
                 100; ours is the curve that newer ones have.",
        erase: |line| match line.rsplit_once(' ') {
            Some((file, _)) if file.ends_with("/cpu.weight") => file.to_owned(),
            _ => line.to_owned(),
        },
    },
    Intended {
        section: "signals",
        reason: "All signals have their default action; Go leaves signal 32 as the caller has it, which may be ignored.",
        erase: |line| match line.strip_prefix("SigIgn:\t") {
            Some(mask) => {
                let mask = u64::from_str_radix(mask, 16).unwrap();
                format!("SigIgn:\t{:016x}", mask & !(1 << 31))
            }
            None => line.to_owned(),
        },
    },
    Intended {
        section: "devices",
        reason: "runc makes the ipc namespace before it has a group of the user namespace, so /dev/mqueue is nobody's.",
        erase: |line| match line.ends_with(" mqueue") {
            true => line.replace(" 65534 ", " root  "),
            false => line.to_owned(),
        },
    },
    Intended {
        section: "keyring",
        reason: "In a user namespace runc lets everybody search the session keyring (0x8), ours only its user (0x80000).",
        erase: |line| line.replace("3f130008", "3f1b0000"),
    },
];

/// The report without namespace numbers, mount ids, the bundle's path, process ids, and intended differences.
pub(super) fn comparable(report: &Report, host: &Host) -> Report {
    let mut report = report.clone();
    let outside = |kind: &str| {
        let link = std::fs::read_link(format!("/proc/{}/ns/{kind}", host.pid())).unwrap();
        link.to_string_lossy().into_owned()
    };
    let pid = report.status("NSpid");
    let pid = pid.rsplit(' ').next().unwrap();
    if let Some(keys) = report.0.get_mut("keyring") {
        *keys = comparable_keys(keys, host);
    }
    for (section, lines) in &mut report.0 {
        for line in lines {
            *line = match section.as_str() {
                "namespaces" => {
                    let (kind, link) = line.split_once(' ').unwrap();
                    format!("{kind} {}", if link == outside(kind) { "host's" } else { "new" })
                }
                "mounts" => comparable_mount(line),
                "cgroup" | "cgroup_files" => without_container(line),
                "status" if line.starts_with("NSpid:") => "NSpid:\tPID".into(),
                // An exec's number in the container depends on how many processes the runtime needs for it.
                "session" => {
                    let fields = line
                        .split(' ')
                        .map(|field| if field == pid { "PID" } else { field });
                    fields.collect::<Vec<_>>().join(" ")
                }
                _ => std::mem::take(line),
            };
            for intended in INTENDED.iter().filter(|intended| intended.section == section) {
                *line = (intended.erase)(line);
            }
        }
    }
    // The peer's keyring may still be there when ours is looked at; with the intended difference erased it is the same.
    if let Some(keys) = report.0.get_mut("keyring") {
        keys.dedup();
    }
    report
}

/// `root mount-point options [propagation] - type source super-options` of a line of mountinfo.
fn comparable_mount(line: &str) -> String {
    let mut fields: Vec<String> = line.split(' ').skip(3).map(str::to_owned).collect();
    if fields[1] == "/" || fields[0].contains("/mt") {
        fields[0] = "BUNDLE-OR-CGROUP".into();
    }
    for field in &mut fields {
        if let Some((kind @ ("shared" | "master"), _)) = field.split_once(':') {
            *field = kind.to_owned();
        }
    }
    fields.join(" ")
}

/// The id in a path is what tells the two containers apart.
fn without_container(line: &str) -> String {
    let Some((before, id_and_after)) = line.split_once("/mt") else {
        return line.to_owned();
    };
    let after = id_and_after.find('/').map_or("", |end| &id_and_after[end..]);
    format!("{before}/CONTAINER{after}")
}

/// What the session keyrings of this scenario permit (/proc/keys: id, flags, users, expiry, permissions ...). A keyring
/// goes a moment after its container, and those of other scenarios are visible too.
fn comparable_keys(lines: &[String], host: &Host) -> Vec<String> {
    let scenario = format!("_ses.{}-", host.dir().file_name().unwrap().to_string_lossy());
    let ours = lines.iter().filter(|line| line.contains(&scenario));
    let mut permissions: Vec<String> = ours
        .map(|line| line.split_whitespace().nth(4).unwrap().to_owned())
        .collect();
    permissions.sort();
    permissions.dedup();
    permissions
}

/// The lines that one of the two has and the other has not, by section; nothing when the reports are equal.
pub(super) fn differences(theirs: &Report, ours: &Report) -> String {
    let sections: BTreeSet<&String> = theirs.0.keys().chain(ours.0.keys()).collect();
    let mut text = String::new();
    for name in sections {
        let (theirs, ours) = (theirs.section(name), ours.section(name));
        if theirs == ours {
            continue;
        }
        write!(text, "\n{name}").unwrap();
        let only = |these: &[String], those: &[String]| -> Vec<String> {
            these
                .iter()
                .filter(|line| !those.contains(line))
                .cloned()
                .collect()
        };
        let (only_theirs, only_ours) = (only(theirs, ours), only(ours, theirs));
        if only_theirs.is_empty() && only_ours.is_empty() {
            write!(text, "\n  the order:\n  runc: {theirs:#?}\n  ours: {ours:#?}").unwrap();
        }
        only_theirs
            .iter()
            .for_each(|line| write!(text, "\n  runc: {line}").unwrap());
        only_ours
            .iter()
            .for_each(|line| write!(text, "\n  ours: {line}").unwrap());
    }
    text
}
