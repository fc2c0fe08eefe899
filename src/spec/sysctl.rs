//! `linux.sysctl`: kernel parameters that belong to one of the container's namespaces. Any other would change the host.

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use crate::error::{Error, Result};

/// A parameter to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// The path below /proc/sys: relative, without `.` and `..`.
    pub path: String,
    /// What to write.
    pub value: String,
    /// The namespace that holds it. When the container joins that namespace by path, the caller must make sure that it
    /// is not the host's.
    pub namespace: LinuxNamespaceType,
    /// The property, for error texts: `linux.sysctl["net.ipv4.ip_forward"]`.
    pub field: String,
}

/// The parameters of `spec`, sorted by path.
///
/// # Errors
/// When one is malformed, belongs to no namespace, or to one that the container shares with the host.
pub fn plan(spec: &Spec) -> Result<Vec<Sysctl>> {
    let Some(linux) = spec.linux() else {
        return Ok(Vec::new());
    };
    let namespaces = linux.namespaces().as_deref().unwrap_or_default();
    let mut planned = Vec::new();
    for (name, value) in linux.sysctl().iter().flatten() {
        let field = format!("linux.sysctl[{name:?}]");
        let path =
            path(name).ok_or_else(|| Error::invalid(&field, "is not the name of a kernel parameter"))?;
        let namespace = namespace(&path).map_err(|why| Error::invalid(&field, why))?;
        if !namespaces.iter().any(|own| own.typ() == namespace) {
            let needed = super::validate::name(namespace);
            let why = format!("not allowed in the host's {needed} namespace");
            return Err(Error::invalid(&field, why).hint(format_args!("add {needed:?} to linux.namespaces")));
        }
        planned.push(Sysctl {
            path,
            value: value.clone(),
            namespace,
            field,
        });
    }
    planned.sort_by(|a, b| (&a.path, &a.field).cmp(&(&b.path, &b.field)));
    let twice = planned
        .iter()
        .zip(planned.iter().skip(1))
        .find(|(a, b)| a.path == b.path);
    if let Some((first, second)) = twice {
        let why = format!("is the same parameter as {}", first.field);
        return Err(Error::invalid(&second.field, why));
    }
    Ok(planned)
}

/// `name` as a path below /proc/sys. Its first separator decides: after a dot, dots separate and slashes stand for the
/// dots within a component (`net.ipv4.conf.eth0/1.forwarding`); after a slash it is the other way round (sysctl.d(5)).
fn path(name: &str) -> Option<String> {
    let dots_separate = name.chars().find(|character| matches!(character, '.' | '/')) == Some('.');
    let path: String = name
        .chars()
        .map(|character| match character {
            '.' if dots_separate => '/',
            '/' if dots_separate => '.',
            other => other,
        })
        .collect();
    let well_formed = |component: &str| {
        !matches!(component, "" | "." | "..") && component.bytes().all(|byte| byte.is_ascii_graphic())
    };
    path.split('/').all(well_formed).then_some(path)
}

/// The namespace that holds the parameter at `path`.
fn namespace(path: &str) -> std::result::Result<LinuxNamespaceType, &'static str> {
    const IPC: [&str; 8] = [
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
    ];
    if IPC.contains(&path) || path.starts_with("fs/mqueue/") {
        return Ok(LinuxNamespaceType::Ipc);
    }
    if path.starts_with("net/") {
        return Ok(LinuxNamespaceType::Network);
    }
    if path.starts_with("user/") {
        return Ok(LinuxNamespaceType::User);
    }
    match path {
        "kernel/domainname" => Ok(LinuxNamespaceType::Uts),
        "kernel/hostname" => Err("not allowed as it conflicts with the OCI \"hostname\" field"),
        _ => Err("is not in a separate kernel namespace"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan_of(sysctl: serde_json::Value, namespaces: &[&str]) -> Result<Vec<Sysctl>> {
        let namespaces: Vec<_> = namespaces.iter().map(|typ| json!({"type": typ})).collect();
        let config = json!({"linux": {"sysctl": sysctl, "namespaces": namespaces}});
        plan(&serde_json::from_value(config).unwrap())
    }

    fn error(name: &str, namespaces: &[&str]) -> String {
        plan_of(json!({ name: "1" }), namespaces).unwrap_err().to_string()
    }

    #[test]
    fn both_separators_name_the_same_parameter() {
        for (name, path) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
            (
                "net.ipv4.conf.eth0/1.forwarding",
                "net/ipv4/conf/eth0.1/forwarding",
            ),
            (
                "net/ipv4/conf/eth0.1/forwarding",
                "net/ipv4/conf/eth0.1/forwarding",
            ),
        ] {
            let planned = plan_of(json!({ name: "1" }), &["network"]).unwrap();
            assert_eq!(planned[0].path, path);
            assert_eq!(planned[0].namespace, LinuxNamespaceType::Network);
        }
    }

    #[test]
    fn a_parameter_needs_the_namespace_that_holds_it() {
        for (name, namespace) in [
            ("kernel.msgmax", "ipc"),
            ("kernel.shm_rmid_forced", "ipc"),
            ("fs.mqueue.msg_max", "ipc"),
            ("net.core.somaxconn", "network"),
            ("kernel.domainname", "uts"),
            ("user.max_user_namespaces", "user"),
        ] {
            assert_eq!(plan_of(json!({ name: "1" }), &[namespace]).unwrap().len(), 1);
            assert_eq!(
                error(name, &["pid"]),
                format!(
                    "linux.sysctl[\"{name}\"]: not allowed in the host's {namespace} namespace; \
                     add \"{namespace}\" to linux.namespaces"
                )
            );
        }
    }

    #[test]
    fn what_belongs_to_no_namespace_or_is_no_name_is_refused() {
        let all = ["pid", "network", "ipc", "uts", "user", "mount", "cgroup", "time"];
        for (name, expected) in [
            ("kernel.panic", "is not in a separate kernel namespace"),
            ("vm.swappiness", "is not in a separate kernel namespace"),
            ("fs.file-max", "is not in a separate kernel namespace"),
            ("network.x", "is not in a separate kernel namespace"),
            ("net", "is not in a separate kernel namespace"),
            (
                "kernel.hostname",
                "not allowed as it conflicts with the OCI \"hostname\" field",
            ),
            ("", "is not the name of a kernel parameter"),
            ("net/../kernel/panic", "is not the name of a kernel parameter"),
            ("net.//.kernel.panic", "is not the name of a kernel parameter"),
            ("/net/ipv4", "is not the name of a kernel parameter"),
            ("net..ipv4", "is not the name of a kernel parameter"),
            ("net.ipv4.", "is not the name of a kernel parameter"),
            ("net.ipv4 .x", "is not the name of a kernel parameter"),
        ] {
            assert_eq!(error(name, &all), format!("linux.sysctl[{name:?}]: {expected}"));
        }
    }

    #[test]
    fn one_parameter_in_two_spellings_is_refused() {
        let sysctl = json!({"net.ipv4.ip_forward": "0", "net/ipv4/ip_forward": "1"});
        assert_eq!(
            plan_of(sysctl, &["network"]).unwrap_err().to_string(),
            "linux.sysctl[\"net/ipv4/ip_forward\"]: is the same parameter as linux.sysctl[\"net.ipv4.ip_forward\"]"
        );
    }
}
