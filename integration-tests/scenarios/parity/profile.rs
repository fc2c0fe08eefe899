//! The seccomp profile that Docker and Podman share, in the engines' own format, translated as an engine does it.

use serde_json::{Value, json};

/// Where Debian's golang-github-containers-common has it.
pub(super) const PATH: &str = "/usr/share/containers/seccomp.json";

/// The profile, or None where it is not installed.
pub(super) fn debian() -> Option<Value> {
    let text = std::fs::read(PATH).ok()?;
    Some(serde_json::from_slice(&text).unwrap())
}

/// `linux.seccomp` for a container with these capabilities, on this machine and kernel.
pub(super) fn for_capabilities(profile: &Value, granted: &Value) -> Value {
    let machine = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    };
    let native = match machine {
        "arm64" => "SCMP_ARCH_AARCH64",
        _ => "SCMP_ARCH_X86_64",
    };
    let map = profile["archMap"].as_array().unwrap();
    let family = map.iter().find(|entry| entry["architecture"] == native).unwrap();
    let mut architectures = vec![family["architecture"].clone()];
    architectures.extend(family["subArchitectures"].as_array().unwrap().iter().cloned());

    let names = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let granted = names(granted);
    let applies = |rule: &Value| {
        let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
        let arches = names(&includes["arches"]);
        (arches.is_empty() || arches.contains(&json!(machine)))
            && names(&includes["caps"]).iter().all(|name| granted.contains(name))
            && !names(&excludes["arches"]).contains(&json!(machine))
            && !names(&excludes["caps"]).iter().any(|name| granted.contains(name))
    };
    let rules = profile["syscalls"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|rule| applies(rule));
    let rules: Vec<Value> = rules
        .map(|rule| {
            let mut plain =
                json!({"names": rule["names"], "action": rule["action"], "args": names(&rule["args"])});
            if !rule["errnoRet"].is_null() {
                plain["errnoRet"] = rule["errnoRet"].clone();
            }
            plain
        })
        .collect();
    json!({
        "defaultAction": profile["defaultAction"], "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": architectures, "syscalls": rules
    })
}
