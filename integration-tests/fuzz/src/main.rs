//! The targets under libFuzzer, which looks for inputs that reach new code. `MINIRUN_FUZZ_TARGET` names one.

#![no_main]

mod targets;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let wanted = std::env::var("MINIRUN_FUZZ_TARGET").unwrap_or_default();
    let names: Vec<_> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
    let found = targets::TARGETS.into_iter().find(|(name, _)| *name == wanted);
    found
        .unwrap_or_else(|| panic!("MINIRUN_FUZZ_TARGET is one of {names:?}"))
        .1
});

fuzz_target!(|input: &[u8]| TARGET(input));
