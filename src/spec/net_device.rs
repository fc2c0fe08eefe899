//! `linux.netDevices`: network devices of the host that the container is given.

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use crate::error::{Error, Result};

/// The longest name of a network device, in bytes (`IFNAMSIZ` less the terminator).
const LONGEST_NAME: usize = 15;

/// One device to move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetDevice {
    /// Its name in the runtime's network namespace.
    pub name: String,
    /// Its name in the container's. With a `%d`, which the first free number replaces, it is a template.
    pub target: String,
    /// The property, for error texts: `linux.netDevices["eth1"]`.
    pub field: String,
}

impl NetDevice {
    /// Whether the name in the container is still to be chosen.
    pub fn is_template(&self) -> bool {
        self.target.contains('%')
    }
}

/// The devices of `spec`: those with a fixed name first, in the order of names.
///
/// # Errors
/// When a name is not one that the kernel takes, two devices want the same, or the container has no network namespace.
pub fn plan(spec: &Spec) -> Result<Vec<NetDevice>> {
    let Some(linux) = spec.linux() else {
        return Ok(Vec::new());
    };
    let mut planned = Vec::new();
    for (name, device) in linux.net_devices().iter().flatten() {
        let field = format!("linux.netDevices[{name:?}]");
        check_name(name).map_err(|why| Error::invalid(&field, why))?;
        let target = match device.name().as_deref() {
            None | Some("") => name,
            Some(target) => target,
        };
        check_name(target)
            .and_then(|()| check_template(target))
            .map_err(|why| Error::invalid(format_args!("{field}.name"), why))?;
        planned.push(NetDevice {
            name: name.clone(),
            target: target.to_owned(),
            field,
        });
    }
    let Some(first) = planned.first() else {
        return Ok(planned);
    };
    let namespaces = linux.namespaces().as_deref().unwrap_or_default();
    if !namespaces
        .iter()
        .any(|own| own.typ() == LinuxNamespaceType::Network)
    {
        // The words are runc's.
        let why = "unable to move network devices without a private NET namespace";
        return Err(Error::invalid(&first.field, why).hint("add \"network\" to linux.namespaces"));
    }
    planned.sort_by(|a, b| (a.is_template(), &a.name).cmp(&(b.is_template(), &b.name)));
    for (index, device) in planned.iter().enumerate() {
        let mut earlier = planned.iter().take(index);
        if let Some(other) = earlier.find(|other| !device.is_template() && other.target == device.target) {
            let why = format!("{:?} is the name of {} already", device.target, other.field);
            return Err(Error::invalid(format_args!("{}.name", device.field), why));
        }
    }
    Ok(planned)
}

/// What the kernel takes as the name of a device (`dev_valid_name`).
fn check_name(name: &str) -> std::result::Result<(), String> {
    let white = |byte: u8| byte.is_ascii_whitespace() || byte == 0x0b || byte == 0xa0;
    let why = match name {
        "" => "is empty".to_owned(),
        "." | ".." => "is no name".to_owned(),
        _ if name.len() > LONGEST_NAME => {
            format!("has {} bytes, more than the kernel's {LONGEST_NAME}", name.len())
        }
        _ if name
            .bytes()
            .any(|byte| matches!(byte, b'/' | b':' | 0) || white(byte)) =>
        {
            "has a slash, a colon or white space in it".to_owned()
        }
        _ => return Ok(()),
    };
    Err(format!("{name:?} cannot name a network device: it {why}"))
}

fn check_template(name: &str) -> std::result::Result<(), String> {
    let rest = name.replacen("%d", "", 1);
    match rest.contains('%') {
        true => Err(format!("{name:?} is no template: only one %d may stand in it")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn devices(devices: Value) -> Result<Vec<NetDevice>> {
        let config = json!({
            "ociVersion": "1.3.0",
            "linux": {"namespaces": [{"type": "network"}], "netDevices": devices},
        });
        plan(&serde_json::from_value(config).unwrap())
    }

    #[test]
    fn a_device_keeps_its_name_unless_it_is_given_another() {
        let planned = devices(json!({"eth1": {}, "ens4": {"name": "lan"}, "ens5": {"name": ""}})).unwrap();
        let names: Vec<_> = planned
            .iter()
            .map(|device| (&*device.name, &*device.target))
            .collect();
        assert_eq!(names, [("ens4", "lan"), ("ens5", "ens5"), ("eth1", "eth1")]);
    }

    #[test]
    fn templates_come_after_the_names_that_they_must_not_take() {
        let planned = devices(json!({"a": {"name": "eth%d"}, "b": {"name": "eth0"}})).unwrap();
        assert_eq!(planned[0].target, "eth0");
        assert!(planned[1].is_template());
    }

    #[test]
    fn names_that_the_kernel_refuses_are_refused_by_their_field() {
        for name in [
            ".",
            "..",
            "a/b",
            "a:b",
            "a b",
            "a\tb",
            "sixteen-bytes-xx",
            "%s",
            "e%d%d",
            "100%",
        ] {
            let error = devices(json!({"eth1": {"name": name}})).unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with("linux.netDevices[\"eth1\"].name: "), "{text}");
        }
        for name in ["", "a/b", "sixteen-bytes-xx"] {
            let error = devices(json!({name: {}})).unwrap_err();
            let text = error.to_string();
            assert!(
                text.starts_with(&format!("linux.netDevices[{name:?}]: ")),
                "{text}"
            );
        }
    }

    #[test]
    fn two_devices_of_one_name_are_refused() {
        let error = devices(json!({"a": {"name": "eth0"}, "eth0": {}})).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("linux.netDevices[\"eth0\"].name: \"eth0\" is the name of"),
            "{error}"
        );
        assert!(devices(json!({"a": {"name": "eth%d"}, "b": {"name": "eth%d"}})).is_ok());
    }

    #[test]
    fn devices_need_a_network_namespace() {
        let config = json!({"ociVersion": "1.3.0", "linux": {"namespaces": [], "netDevices": {"eth1": {}}}});
        let error = plan(&serde_json::from_value(config).unwrap()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("unable to move network devices without a private NET namespace"),
            "{error}"
        );
    }
}
