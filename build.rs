//! Makes `minirun_entry` (src/sys/entry.rs) the binary's entry point where it exists, and puts the functions that start a
//! container beside each other.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name| std::env::var(name).unwrap_or_default();
    if variable("CARGO_CFG_TARGET_ARCH") != "x86_64" {
        return;
    }
    println!("cargo::rustc-link-arg-bins=-Wl,--entry=minirun_entry");
    // docs/decisions/link-order.md. Other targets may have another linker, which need not know INSERT.
    if variable("CARGO_CFG_TARGET_ENV") == "musl" && variable("PROFILE") == "release" {
        println!("cargo::rerun-if-changed=src/sys/link-order.ld");
        println!(
            "cargo::rustc-link-arg-bins=-Wl,-T,{}/src/sys/link-order.ld",
            variable("CARGO_MANIFEST_DIR")
        );
    }
}
