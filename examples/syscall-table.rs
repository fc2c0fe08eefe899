//! Writes `src/security/seccomp/syscalls/table.rs` from the kernel's own headers.
//!
//! Debian's `linux-libc-dev` (the architecture-independent one, trixie and later) carries the headers of every
//! architecture. To renew the table when a kernel brings new system calls:
//!
//! ```sh
//! apt-get download linux-libc-dev && dpkg-deb -x linux-libc-dev_*_all.deb headers
//! cargo run --example syscall-table -- headers/usr/lib/linux/uapi > src/security/seccomp/syscalls/table.rs
//! ```
//!
//! The test `every_number_agrees_with_libseccomp` then compares the result with an independent source.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::path::Path;

/// Headers below the given directory, in the order of the table's columns.
const COLUMNS: [(&str, &str); 9] = [
    ("x86_64", "x86/asm/unistd_64.h"),
    ("x86", "x86/asm/unistd_32.h"),
    ("x32", "x86/asm/unistd_x32.h"),
    ("aarch64", "arm64/asm/unistd_64.h"),
    ("arm", "arm/asm/unistd-eabi.h arm/asm/unistd.h"),
    ("riscv64", "riscv/asm/unistd_64.h"),
    ("ppc64le", "powerpc/asm/unistd_64.h"),
    ("s390x", "s390/asm/unistd_64.h"),
    ("loongarch64", "loongarch/asm/unistd_64.h"),
];

/// What stands in front of a system call's name in a `#define`.
const PREFIXES: [&str; 2] = ["__NR_", "__ARM_NR_"];

/// Macros that are no system calls.
const NOT_CALLS: [&str; 5] = [
    "OABI_SYSCALL_BASE",
    "SYSCALL_BASE",
    "SYSCALL_MASK",
    "BASE",
    "syscalls",
];

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args()
        .nth(1)
        .ok_or("usage: syscall-table UAPI-DIRECTORY")?;
    let mut rows: BTreeMap<String, [Option<u32>; COLUMNS.len()]> = BTreeMap::new();
    for (column, (_, files)) in COLUMNS.iter().enumerate() {
        let mut text = String::new();
        for file in files.split(' ') {
            text += &std::fs::read_to_string(Path::new(&directory).join(file))
                .map_err(|e| format!("{file}: {e}"))?;
        }
        for (name, number) in numbers(&text) {
            rows.entry(name).or_default()[column] = Some(number);
        }
    }
    print(&rows);
    Ok(())
}

/// The system calls that a header defines. The base of every column is zero: x32's bit is left out.
fn numbers(header: &str) -> BTreeMap<String, u32> {
    let defines: HashMap<&str, &str> = header
        .lines()
        .filter_map(|line| line.strip_prefix("#define ")?.split_once(char::is_whitespace))
        .map(|(name, value)| (name, value.trim()))
        .collect();
    let calls = defines.keys().filter_map(|name| {
        let call = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix))?;
        let wanted = !NOT_CALLS.contains(&call);
        wanted.then(|| Some((call.to_string(), value(name, &defines)?)))?
    });
    calls.collect()
}

/// Evaluates the only shapes there are: a number, another name, and a sum of both in parentheses.
fn value(expression: &str, defines: &HashMap<&str, &str>) -> Option<u32> {
    let expression = expression.trim().trim_start_matches('(').trim_end_matches(')');
    match expression {
        "__X32_SYSCALL_BIT" | "__NR_SYSCALL_BASE" => return Some(0),
        _ => {}
    }
    if let Some((left, right)) = expression.split_once('+') {
        return Some(value(left, defines)? + value(right, defines)?);
    }
    if let Some(hex) = expression.strip_prefix("0x") {
        return u32::from_str_radix(hex, 16).ok();
    }
    expression
        .parse()
        .ok()
        .or_else(|| value(defines.get(expression)?, defines))
}

fn print(rows: &BTreeMap<String, [Option<u32>; COLUMNS.len()]>) {
    let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    println!(
        "//! The kernel's system call numbers, written by `cargo run --example syscall-table`; do not edit."
    );
    println!("//!");
    println!("//! Sorted by name. Columns: {}.", names.join(", "));
    println!("//! x32's numbers are without their bit 30, arm's private calls (0xf0000 + n) are 0xf000 + n.");
    println!();
    println!("/// The architecture has no system call of this name.");
    println!("pub(super) const NO: u16 = u16::MAX;");
    println!();
    println!("#[rustfmt::skip]");
    println!("#[expect(clippy::large_const_arrays, reason = \"read while compiling only\")]");
    println!(
        "pub(super) const ROWS: [(&str, [u16; {}]); {}] = [",
        COLUMNS.len(),
        rows.len()
    );
    for (name, columns) in rows {
        let cells: Vec<String> = columns
            .iter()
            .map(|cell| cell.map_or("NO".into(), |n| compact(n).to_string()))
            .collect();
        println!("    (\"{name}\", [{}]),", cells.join(", "));
    }
    println!("];");
}

/// Fits arm's private numbers into 16 bits.
fn compact(number: u32) -> u32 {
    if number >= 0xf_0000 {
        number - 0xf_0000 + 0xf000
    } else {
        number
    }
}
