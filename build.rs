//! Makes `minirun_entry` (src/sys/entry.rs) the binary's entry point where it exists.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let architecture = std::env::var("CARGO_CFG_TARGET_ARCH");
    if architecture.as_deref() == Ok("x86_64") {
        println!("cargo::rustc-link-arg-bins=-Wl,--entry=minirun_entry");
    }
}
