//! The targets under libFuzzer, which looks for inputs that reach new code. `MINIRUN_FUZZ_TARGET` names one.

#![no_main]

mod seeds;
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

/// Writes the seeds where libFuzzer looks for what it begins with, before it looks: into the directory MINIRUN_FUZZ_CORPUS.
fn sow() {
    if let Some(corpus) = std::env::var_os("MINIRUN_FUZZ_CORPUS") {
        for (name, seed) in seeds::SEEDS {
            let written = std::fs::write(std::path::Path::new(&corpus).join(name), seed);
            written.expect("the corpus can be written");
        }
    }
}

fuzz_target!(init: sow(), |input: &[u8]| TARGET(input));
