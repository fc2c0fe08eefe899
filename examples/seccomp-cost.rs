//! What a filter of system calls costs: minirun's program beside libseccomp's from the same profile, and beside no filter.
//! `make bench` runs it.
//!
//! ```sh
//! seccomp-cost PROFILE ROUNDS    # PROFILE: linux.seccomp of a config.json, in a file of its own
//! ```
//!
//! In turns: compiling the profile, loading the program, and loops of system calls in a process of its own behind it. runc
//! asks libseccomp for a binary tree ("libseccomp, tree"), crun for its usual list ("libseccomp").
//!
//! Writes one JSON object: `instructions` by contender, and `samples` by figure and contender; microseconds for compiling
//! and loading, nanoseconds for a call.

#![allow(
    clippy::unwrap_used,
    reason = "a measurement that cannot be taken has nothing to go on with"
)]

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Instant;

use libc::sock_filter;
use libseccomp::ScmpArch;
use minirun::security::seccomp::Program;
use minirun::sys;
use nix::sys::prctl::set_no_new_privs;
use nix::sys::wait::waitpid;
use nix::unistd::pipe;
use oci_spec::runtime::{Arch, LinuxSeccomp};

#[path = "../src/security/seccomp/tests/rules.rs"]
mod rules;

/// A loop's figure is the best of so many short ones: whatever disturbs a call, it only ever makes it slower.
const LOOPS_EACH: usize = 10;
const CALLS: u32 = 5_000;

/// The loops: what `measure_calls` returns, in its order.
const LOOPS: [&str; 4] = ["getpid", "read", "accept", "personality"];

/// By figure, then by contender.
type Samples = BTreeMap<&'static str, BTreeMap<&'static str, Vec<f64>>>;

type Compile = fn(&LinuxSeccomp) -> Vec<sock_filter>;

/// "minirun, again" is the same thing measured twice: how far the machine wavers.
const CONTENDERS: [(&str, Option<Compile>); 5] = [
    ("no filter", None),
    ("minirun", Some(ours)),
    ("minirun, again", Some(ours)),
    ("libseccomp", Some(|seccomp| libseccomps(seccomp, 1))),
    ("libseccomp, tree", Some(|seccomp| libseccomps(seccomp, 2))),
];

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let [_, profile, rounds] = &arguments[..] else {
        eprintln!("usage: seccomp-cost PROFILE ROUNDS");
        std::process::exit(2);
    };
    let seccomp: LinuxSeccomp = serde_json::from_slice(&fs::read(profile).unwrap()).unwrap();
    let rounds: usize = rounds.parse().unwrap();
    let mut samples = Samples::new();
    let mut instructions = BTreeMap::new();
    for round in 0..rounds {
        let mut contenders = CONTENDERS;
        contenders.rotate_left(round % CONTENDERS.len());
        for (name, compile) in contenders {
            let program = compile.map(|compile| {
                let started = Instant::now();
                let program = black_box(compile(&seccomp));
                add(
                    &mut samples,
                    "compile",
                    name,
                    started.elapsed().as_secs_f64() * 1e6,
                );
                instructions.insert(name, program.len());
                program
            });
            let (load, calls) = behind(program.as_deref());
            if program.is_some() {
                add(&mut samples, "load", name, load);
            }
            for (what, nanoseconds) in LOOPS.into_iter().zip(calls) {
                add(&mut samples, what, name, nanoseconds);
            }
        }
    }
    println!(
        "{}",
        serde_json::json!({"instructions": instructions, "samples": samples})
    );
}

fn add(samples: &mut Samples, what: &'static str, who: &'static str, value: f64) {
    samples
        .entry(what)
        .or_default()
        .entry(who)
        .or_default()
        .push(value);
}

fn ours(seccomp: &LinuxSeccomp) -> Vec<sock_filter> {
    Program::compile(seccomp).unwrap().instructions().to_vec()
}

fn libseccomps(seccomp: &LinuxSeccomp, optimize: u32) -> Vec<sock_filter> {
    let mut context = rules::context(seccomp);
    context.set_ctl_optimize(optimize).unwrap();
    for architecture in seccomp.architectures().iter().flatten() {
        // The native one is there already; those of other machines are never asked for.
        let known = match architecture {
            Arch::ScmpArchX86 => ScmpArch::X86,
            Arch::ScmpArchX32 => ScmpArch::X32,
            Arch::ScmpArchArm => ScmpArch::Arm,
            _ => continue,
        };
        context.add_arch(known).unwrap();
    }
    rules::add(&mut context, seccomp);
    rules::export(&context, cfg!(target_endian = "big"))
}

/// Loads the program in a process of its own: microseconds that this took, and nanoseconds of a call in each loop.
fn behind(program: Option<&[sock_filter]>) -> (f64, [f64; LOOPS.len()]) {
    let (reader, writer) = pipe().unwrap();
    match sys::process::fork().unwrap() {
        None => {
            drop(reader);
            let name = format!("minirun-seccomp-cost-{}", std::process::id());
            let address = SocketAddr::from_abstract_name(name).unwrap();
            let listener = UnixListener::bind_addr(&address).unwrap();
            let load = program.map_or(0.0, load);
            let mut results = vec![load];
            results.extend(measure_calls(&listener));
            let bytes: Vec<u8> = results.into_iter().flat_map(f64::to_le_bytes).collect();
            File::from(writer).write_all(&bytes).unwrap();
            std::process::exit(0);
        }
        Some(child) => {
            drop(writer);
            let mut bytes = Vec::new();
            File::from(reader).read_to_end(&mut bytes).unwrap();
            waitpid(child, None).unwrap();
            let (values, _) = bytes.as_chunks::<8>();
            let values: Vec<f64> = values.iter().copied().map(f64::from_le_bytes).collect();
            (values[0], values[1..].try_into().unwrap())
        }
    }
}

fn load(program: &[sock_filter]) -> f64 {
    set_no_new_privs().unwrap();
    let started = Instant::now();
    sys::seccomp::load(program, 0).unwrap();
    started.elapsed().as_secs_f64() * 1e6
}

/// Calls that come back at once: the process id, reading nothing, a connection that is not there, and the execution
/// domain, which is the one that the engines' profile allows by its argument.
fn measure_calls(listener: &UnixListener) -> [f64; LOOPS.len()] {
    listener.set_nonblocking(true).unwrap();
    let null = File::open("/dev/null").unwrap();
    let (mut byte, mut asks) = ([0], false);
    [
        per_call(nix::unistd::getpid),
        per_call(|| nix::unistd::read(&null, &mut byte)),
        per_call(|| nix::sys::socket::accept(listener.as_raw_fd())),
        // Programs differ in the order of the values that they compare an argument with: the first and the last in turns.
        per_call(|| {
            asks = !asks;
            execution_domain(if asks { 0xffff_ffff } else { 0 })
        }),
    ]
}

fn per_call<T>(mut call: impl FnMut() -> T) -> f64 {
    let loops = (0..LOOPS_EACH).map(|_| {
        let started = Instant::now();
        for _ in 0..CALLS {
            black_box(call());
        }
        started.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
    });
    loops.fold(f64::INFINITY, f64::min)
}

#[allow(unsafe_code, reason = "a call that nobody needs but this measurement")]
fn execution_domain(domain: libc::c_ulong) -> i32 {
    // SAFETY: integers only; all ones ask, and 0 is what this program was started with.
    unsafe { libc::personality(domain) }
}
