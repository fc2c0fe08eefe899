//! What a later version brings. A configuration that asks for it is refused by name: running without it in silence would
//! take a protection or a limit away from whoever asked.

use oci_spec::runtime::Linux;

use crate::error::{Error, Result};

pub(super) fn linux(linux: &Linux) -> Result<()> {
    if linux.intel_rdt().is_some() {
        let why = "this version cannot limit caches and memory bandwidth";
        return Err(Error::unsupported("linux.intelRdt", why));
    }
    Ok(())
}
