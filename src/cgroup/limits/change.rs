//! What `update` asks for, against what the container has.
//!
//! Unset means unchanged. Some files hold several properties, and some properties bound each other, so a few that are not
//! given are written again with the value they have: memory with swap, quota with period and burst.
//!
//! Merging happens in JSON, where "not there" is one thing for all properties: objects are merged by key, lists by what
//! names their entries (a device's numbers, a page size, an interface). Device rules are the exception: their order counts,
//! so a new list takes the place of the old one.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};
use serde_json::{Map, Value};

use crate::error::{Error, Kind, Result};

/// A change of a living container's limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    written: LinuxResources,
    merged: LinuxResources,
    earlier_devices: Vec<LinuxDeviceCgroup>,
}

impl Change {
    /// From what the container has to what it is to have as well.
    ///
    /// # Errors
    /// None that a document of the right types could cause.
    pub fn new(current: &LinuxResources, given: &LinuxResources) -> Result<Change> {
        let (mut current_json, mut given_json) = (encode(current)?, encode(given)?);
        for resources in [&mut current_json, &mut given_json] {
            drop_unset(resources);
        }
        let both = |group: &str, keys: [&str; 2]| keys.map(|key| given_json[group].get(key).is_some());
        let lifts_memory = given_json["memory"]["limit"] == -1 && given_json["memory"].get("swap").is_none();
        let lets_idle = both("cpu", ["idle", "shares"]) == [true, false];
        let mut merged = current_json;
        merge(&mut merged, given_json.clone());
        if lifts_memory {
            // Unlimited memory with a limit on swap left from before would be no lifted limit.
            merged["memory"]["swap"] = Value::from(-1);
        }
        if let (true, Some(cpu)) = (lets_idle, merged["cpu"].as_object_mut()) {
            // The kernel forgets the weight of a group that becomes idle.
            cpu.remove("shares");
        }
        let mut written = given_json;
        for (group, properties) in TOGETHER {
            let Some(given) = written.get_mut(*group).and_then(Value::as_object_mut) else {
                continue;
            };
            if !properties.iter().any(|property| given.contains_key(*property)) {
                continue;
            }
            for property in *properties {
                if let Some(value) = merged[*group].get(*property) {
                    given.insert((*property).to_owned(), value.clone());
                }
            }
        }
        Ok(Change {
            written: decode(written)?,
            merged: decode(merged)?,
            earlier_devices: current.devices().clone().unwrap_or_default(),
        })
    }

    /// All limits of the container, once the change is made.
    pub fn merged(&self) -> &LinuxResources {
        &self.merged
    }

    pub(super) fn written(&self) -> &LinuxResources {
        &self.written
    }

    pub(super) fn earlier_devices(&self) -> &[LinuxDeviceCgroup] {
        &self.earlier_devices
    }
}

/// Properties that are written together or not at all.
const TOGETHER: &[(&str, &[&str])] = &[
    ("memory", &["limit", "swap"]),
    ("cpu", &["quota", "period", "burst"]),
    ("cpu", &["realtimeRuntime", "realtimePeriod"]),
];

/// Properties of which engines say 0 or "" when they mean nothing.
const ZERO_IS_UNSET: &[(&str, &[&str])] = &[
    ("memory", &["limit", "reservation", "swap", "kernel", "kernelTCP"]),
    (
        "cpu",
        &[
            "shares",
            "quota",
            "period",
            "realtimeRuntime",
            "realtimePeriod",
            "cpus",
            "mems",
        ],
    ),
    ("blockIO", &["weight", "leafWeight"]),
    ("network", &["classID"]),
];

/// Lists that are merged, and the keys that name an entry.
const NAMED: &[(&str, &[&str])] = &[
    ("weightDevice", &["major", "minor"]),
    ("throttleReadBpsDevice", &["major", "minor"]),
    ("throttleWriteBpsDevice", &["major", "minor"]),
    ("throttleReadIOPSDevice", &["major", "minor"]),
    ("throttleWriteIOPSDevice", &["major", "minor"]),
    ("hugepageLimits", &["pageSize"]),
    ("priorities", &["name"]),
];

fn drop_unset(resources: &mut Value) {
    for (group, properties) in ZERO_IS_UNSET {
        let Some(group) = resources.get_mut(*group).and_then(Value::as_object_mut) else {
            continue;
        };
        for property in *properties {
            if group
                .get(*property)
                .is_some_and(|value| value == 0 || value == "")
            {
                group.remove(*property);
            }
        }
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge_property(into, key, value);
            }
        }
        (into, from) => *into = from,
    }
}

fn merge_property(into: &mut Map<String, Value>, key: String, value: Value) {
    let names = NAMED
        .iter()
        .find(|(list, _)| *list == key)
        .map(|(_, names)| *names);
    match (into.get_mut(&key), value, names) {
        (Some(Value::Array(old)), Value::Array(new), Some(names)) => {
            for entry in new {
                let same = |old: &&mut Value| names.iter().all(|name| old.get(*name) == entry.get(*name));
                match old.iter_mut().find(same) {
                    Some(old) => merge(old, entry),
                    None => old.push(entry),
                }
            }
        }
        (Some(old), value, _) => merge(old, value),
        (None, value, _) => {
            into.insert(key, value);
        }
    }
}

fn encode(resources: &LinuxResources) -> Result<Value> {
    serde_json::to_value(resources).map_err(|error| unexpected(&error))
}

fn decode(resources: Value) -> Result<LinuxResources> {
    serde_json::from_value(resources).map_err(|error| unexpected(&error))
}

fn unexpected(error: &serde_json::Error) -> Error {
    Error::new(Kind::InvalidConfig, format_args!("linux.resources: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What is written, and what the container has then.
    fn change(current: Value, given: Value) -> (Value, Value) {
        let change = Change::new(&decode(current).unwrap(), &decode(given).unwrap()).unwrap();
        (
            encode(change.written()).unwrap(),
            encode(change.merged()).unwrap(),
        )
    }

    #[test]
    fn what_is_not_given_is_neither_written_nor_forgotten() {
        let current = json!({"memory": {"limit": 100, "swappiness": 3}, "pids": {"limit": 7},
            "cpu": {"shares": 512, "cpus": "0"}, "unified": {"memory.high": "5"}});
        let (written, merged) = change(current, json!({"cpu": {"cpus": "1"}}));
        assert_eq!(written, json!({"cpu": {"cpus": "1"}}));
        assert_eq!(
            merged,
            json!({"memory": {"limit": 100, "swappiness": 3}, "pids": {"limit": 7},
                "cpu": {"shares": 512, "cpus": "1"}, "unified": {"memory.high": "5"}})
        );
    }

    #[test]
    fn zero_as_engines_say_it_is_unset() {
        let current = json!({"memory": {"limit": 100}, "cpu": {"quota": 5000, "period": 50000, "cpus": "0"}});
        let given = json!({"memory": {"limit": 0, "swap": 0}, "cpu": {"quota": 0, "period": 0, "cpus": "", "shares": 0},
            "blockIO": {"weight": 0}});
        let (written, merged) = change(current.clone(), given);
        assert_eq!(written, json!({"memory": {}, "cpu": {}, "blockIO": {}}));
        assert_eq!(merged["memory"], current["memory"]);
        assert_eq!(merged["cpu"], current["cpu"]);
    }

    #[test]
    fn one_of_quota_and_period_keeps_the_other() {
        let current = json!({"cpu": {"quota": 5000, "period": 50000}});
        let (written, _) = change(current.clone(), json!({"cpu": {"quota": 7000}}));
        assert_eq!(written["cpu"], json!({"quota": 7000, "period": 50000}));
        let (written, _) = change(current, json!({"cpu": {"period": 100_000}}));
        assert_eq!(written["cpu"], json!({"quota": 5000, "period": 100_000}));
    }

    #[test]
    fn unlimited_memory_takes_the_limit_of_swap_with_it() {
        let current = json!({"memory": {"limit": 100, "swap": 200}});
        let (written, merged) = change(current.clone(), json!({"memory": {"limit": -1}}));
        assert_eq!(written["memory"], json!({"limit": -1, "swap": -1}));
        assert_eq!(merged["memory"], json!({"limit": -1, "swap": -1}));
        let (written, _) = change(current, json!({"memory": {"limit": 150}}));
        assert_eq!(written["memory"], json!({"limit": 150, "swap": 200}));
    }

    #[test]
    fn an_idle_group_has_no_shares() {
        let current = json!({"cpu": {"shares": 512}});
        let (written, merged) = change(current, json!({"cpu": {"idle": 1}}));
        assert_eq!(written["cpu"], json!({"idle": 1}));
        assert_eq!(merged["cpu"], json!({"idle": 1}));
    }

    #[test]
    fn limits_of_one_device_leave_those_of_others() {
        let of = |minor: u32, rate: u32| json!({"major": 8, "minor": minor, "rate": rate});
        let current = json!({"blockIO": {"throttleReadBpsDevice": [of(0, 10), of(16, 20)]}});
        let (written, merged) = change(
            current,
            json!({"blockIO": {"throttleReadBpsDevice": [of(16, 30)]}}),
        );
        assert_eq!(written["blockIO"]["throttleReadBpsDevice"], json!([of(16, 30)]));
        assert_eq!(
            merged["blockIO"]["throttleReadBpsDevice"],
            json!([of(0, 10), of(16, 30)])
        );
    }

    #[test]
    fn device_rules_are_replaced_as_a_whole() {
        let rule =
            |minor: u32| json!({"allow": true, "type": "c", "major": 1, "minor": minor, "access": "r"});
        let (_, merged) = change(
            json!({"devices": [rule(1), rule(2)]}),
            json!({"devices": [rule(3)]}),
        );
        assert_eq!(merged["devices"].as_array().unwrap().len(), 1);
        assert_eq!(merged["devices"][0]["minor"], 3);
    }
}
