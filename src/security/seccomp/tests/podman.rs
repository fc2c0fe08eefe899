//! The default profile that Podman and CRI-O ship, from Debian's package golang-github-containers-common. Its format adds
//! conditions on capabilities and architectures to the specification's.

use std::io::Write;

use serde_json::Value;

use super::oracle::without_names_unknown_to_libseccomp;
use super::*;

const PATH: &str = "/usr/share/containers/seccomp.json";

/// What Docker and Podman give a container.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

const MORE_CAPABILITIES: [&str; 6] = [
    "CAP_SYS_ADMIN",
    "CAP_SYS_PTRACE",
    "CAP_BPF",
    "CAP_SYS_TIME",
    "CAP_SYS_NICE",
    "CAP_SYS_RAWIO",
];

/// Does what an engine does before it writes config.json.
fn convert(
    mut text: Value,
    capabilities: &[&str],
    architecture: &str,
    go_architecture: &str,
) -> LinuxSeccomp {
    let mut architectures = vec![json!(architecture)];
    for map in text["archMap"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|map| map["architecture"] == json!(architecture))
    {
        architectures.extend(map["subArchitectures"].as_array().into_iter().flatten().cloned());
    }
    let strings =
        |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap_or_default() };
    text["syscalls"].as_array_mut().unwrap().retain(|entry| {
        let (includes, excludes) = (&entry["includes"], &entry["excludes"]);
        let has = |capability: &String| capabilities.contains(&capability.as_str());
        let arches = strings(&includes["arches"]);
        strings(&includes["caps"]).iter().all(has)
            && !strings(&excludes["caps"]).iter().any(has)
            && (arches.is_empty() || arches.iter().any(|arch| arch == go_architecture))
            && !strings(&excludes["arches"])
                .iter()
                .any(|arch| arch == go_architecture)
    });
    text["architectures"] = Value::Array(architectures);
    profile(text)
}

/// Past the test harness, which shows no output of tests that pass.
fn skip(why: &str) {
    writeln!(
        std::io::stderr(),
        "SKIPPED seccomp comparison with podman's default profile: {why}"
    )
    .unwrap();
}

#[test]
fn podmans_default_profile_means_the_same_as_under_libseccomp() {
    let path = std::env::var("MINIRUN_SECCOMP_PROFILE").unwrap_or_else(|_| PATH.into());
    let Ok(text) = std::fs::read(&path) else {
        return skip(&format!(
            "no {path}, which Debian's golang-github-containers-common has"
        ));
    };
    let text: Value = serde_json::from_slice(&text).unwrap();
    let more_capabilities = [&DEFAULT_CAPABILITIES[..], &MORE_CAPABILITIES].concat();
    for capabilities in [&DEFAULT_CAPABILITIES[..], &more_capabilities] {
        let x86_64 = convert(text.clone(), capabilities, "SCMP_ARCH_X86_64", "amd64");
        let whole = Program::compile_for(&x86_64, Machine::X86_64).unwrap();
        let x86_64 = without_names_unknown_to_libseccomp(&x86_64);
        let (ours, theirs) = assert_same_verdicts(&x86_64, Machine::X86_64, &X86_FAMILY);
        println!(
            "{} capabilities: {} instructions, libseccomp {} (without runc's stub); {} with names new to libseccomp; unknown: {:?}",
            capabilities.len(),
            ours.instructions.len(),
            theirs.program.len(),
            whole.instructions.len(),
            whole.unknown_names,
        );
        let aarch64 = convert(text.clone(), capabilities, "SCMP_ARCH_AARCH64", "arm64");
        assert_same_verdicts(
            &without_names_unknown_to_libseccomp(&aarch64),
            Machine::AARCH64,
            &ARM_FAMILY,
        );
    }
}
