//! The configuration that `minirun spec` writes.

/// A shell in the bundle's `rootfs`, in new namespaces, with few capabilities, a read-only root and the usual masked
/// paths: a starting point to edit, equal in kind to what `runc spec` writes. Tabs and the order of keys are runc's, so
/// that the two can be compared line by line. Kept as the document itself because that is how people meet it.
pub const DEFAULT: &str = include_str!("default.json");

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
