//! The configuration that `minirun spec` writes.

/// A shell in the bundle's `rootfs`, in new namespaces, with few capabilities, a read-only root and the usual masked
/// paths: a starting point to edit, equal in kind to what `runc spec` writes. Tabs and the order of keys are runc's, so
/// that the two can be compared line by line. Kept as the document itself because that is how people meet it.
pub const DEFAULT: &str = include_str!("default.json");

/// The configuration for an ordinary user: [`DEFAULT`] in a user namespace whose root is that user, with the host's network
/// (another one takes root to connect), the host's /sys with it, and neither limits nor ids that are not mapped.
pub fn rootless(uid: u32, gid: u32) -> String {
    let mapping = |kind: &str, id: u32| {
        format!(
            "\t\t\"{kind}Mappings\": [\n\t\t\t{{\n\t\t\t\t\"containerID\": 0,\n\t\t\t\t\"hostID\": {id},\n\
             \t\t\t\t\"size\": 1\n\t\t\t}}\n\t\t],\n"
        )
    };
    let mappings = mapping("uid", uid) + &mapping("gid", gid);
    let changes = [
        (GROUP_OF_TERMINALS, ""),
        (OWN_SYSFS, HOSTS_SYS),
        (NO_DEVICES, &mappings),
        (OWN_NETWORK, ""),
        (LAST_NAMESPACE, USER_NAMESPACE),
    ];
    let change = |text: String, (from, to): (&str, &str)| text.replacen(from, to, 1);
    changes.into_iter().fold(DEFAULT.to_owned(), change)
}

const GROUP_OF_TERMINALS: &str = ",\n\t\t\t\t\"gid=5\"";
const OWN_SYSFS: &str = "\"type\": \"sysfs\",\n\t\t\t\"source\": \"sysfs\",\n\t\t\t\"options\": [\n";
const HOSTS_SYS: &str =
    "\"type\": \"none\",\n\t\t\t\"source\": \"/sys\",\n\t\t\t\"options\": [\n\t\t\t\t\"rbind\",\n";
const NO_DEVICES: &str = "\t\t\"resources\": {\n\t\t\t\"devices\": [\n\t\t\t\t{\n\t\t\t\t\t\"allow\": false,\n\
     \t\t\t\t\t\"access\": \"rwm\"\n\t\t\t\t}\n\t\t\t]\n\t\t},\n";
const OWN_NETWORK: &str = "\t\t\t\t\"type\": \"network\"\n\t\t\t},\n\t\t\t{\n";
const LAST_NAMESPACE: &str = "\t\t\t\t\"type\": \"cgroup\"\n\t\t\t}\n";
const USER_NAMESPACE: &str =
    "\t\t\t\t\"type\": \"cgroup\"\n\t\t\t},\n\t\t\t{\n\t\t\t\t\"type\": \"user\"\n\t\t\t}\n";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::spec::{OCI_VERSION, load, validate};

    #[test]
    fn the_default_is_valid_and_of_our_version() {
        let loaded = load::parse(Path::new("default"), DEFAULT.as_bytes().to_vec()).unwrap();
        assert_eq!(loaded.spec.version(), OCI_VERSION);
        assert_eq!(loaded.warnings, [""; 0]);
        assert_eq!(validate::validate(&loaded.spec).unwrap(), [""; 0]);
    }

    #[test]
    fn an_ordinary_users_default_is_valid_and_every_change_was_made() {
        let text = rootless(1000, 1001);
        let loaded = load::parse(Path::new("rootless"), text.clone().into_bytes()).unwrap();
        assert_eq!(validate::validate(&loaded.spec).unwrap(), [""; 0]);
        for change in [GROUP_OF_TERMINALS, OWN_SYSFS, NO_DEVICES, OWN_NETWORK] {
            assert!(DEFAULT.contains(change) && !text.contains(change), "{change}");
        }
        assert!(DEFAULT.contains(LAST_NAMESPACE) && text.contains(USER_NAMESPACE));
        let linux = loaded.spec.linux().as_ref().unwrap();
        let host = |mappings: &Option<Vec<oci_spec::runtime::LinuxIdMapping>>| {
            mappings.as_ref().unwrap()[0].host_id()
        };
        assert_eq!(
            (host(linux.uid_mappings()), host(linux.gid_mappings())),
            (1000, 1001)
        );
    }

    #[test]
    fn the_default_is_indented_with_tabs_and_has_every_property_known() {
        let value: serde_json::Value = serde_json::from_str(DEFAULT).unwrap();
        let loaded = load::parse(Path::new("default"), DEFAULT.as_bytes().to_vec()).unwrap();
        let mut typed = serde_json::to_value(&loaded.spec).unwrap();
        // Sets have no order: compare the rest.
        typed["process"]["capabilities"] = value["process"]["capabilities"].clone();
        assert_eq!(typed, value);
        assert!(
            DEFAULT
                .lines()
                .all(|line| line.trim_start_matches('\t') == line.trim_start())
        );
    }
}
