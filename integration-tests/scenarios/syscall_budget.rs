//! The system calls of each verb, against `fixtures/syscall-budget.txt`: a change that adds some has to say so.
//!
//! `MINIRUN_WRITE_GOLDEN=1 cargo test --test scenarios -- syscall_budget` renews the part of the file that is about hosts
//! like this one. A call counts from the first thing that `main` does, in the runtime and in the container's process
//! until that becomes its program; what the C library and Rust do before `main` differs from build to build. So does
//! memory management, which is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Container, Host, cgroup_v2, find_in_path, skip, wait_until};

/// What allocators, threads and waiting add or leave out.
const NOISE: [&str; 9] = [
    "brk",
    "futex",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "poll",
    "restart_syscall",
];

/// What a dynamic loader and the C library call while they start, in one kind of build or another.
const LOADER: [&str; 14] = [
    "access",
    "arch_prctl",
    "close",
    "execve",
    "getrandom",
    "newfstatat",
    "openat",
    "pread64",
    "prlimit64",
    "read",
    "readlink",
    "rseq",
    "set_robust_list",
    "set_tid_address",
];

/// Calls by name.
type Counts = BTreeMap<String, usize>;

#[test]
fn every_verb_keeps_to_its_budget_of_system_calls() {
    if !cfg!(target_arch = "x86_64") {
        skip!("system calls have other names on other machines");
    }
    let Some(strace) = find_in_path("strace") else {
        skip!("needs strace");
    };
    let golden = Golden::read();
    let kind = kind_of_host();
    if !Golden::asked_to_write() && !golden.sections.contains_key(&kind) {
        skip!("fixtures/syscall-budget.txt has nothing for {kind}");
    }
    // A call that is there now and then was waiting for somebody. The smallest number is what the verb itself needs.
    let mut measured = measure(&strace);
    for _ in 0..2 {
        for (verb, counts) in measure(&strace) {
            least(measured.entry(verb).or_default(), &counts);
        }
    }
    let text = render(&measured);
    if Golden::asked_to_write() {
        golden.write(kind, text);
    } else {
        let differences = differences(&golden.sections[&kind], &text);
        assert!(
            differences.is_empty(),
            "the budget of system calls on {kind} has changed (- recorded, + now):\n{differences}if it is meant to: \
             MINIRUN_WRITE_GOLDEN=1 cargo test --test scenarios -- syscall_budget"
        );
    }
}

/// Traces every verb once, each on a container in the state that it needs.
fn measure(strace: &Path) -> BTreeMap<&'static str, Counts> {
    let host = Host::new();
    let trace = |verb: &str| host.dir().join(format!("{verb}.strace"));
    let traced = |container: &Container<'_>, verb: &str| {
        host.command(strace)
            .args(["-f", "-qq", "-o"])
            .args([trace(verb)])
            .args([host.binary().as_os_str()])
            .args([verb])
            .streams(
                &container.bundle().join("stdout"),
                &container.bundle().join("stderr"),
            )
    };
    let once = host.container("once").args(["true"]);
    traced(&once, "run")
        .args(once.bundle_and_id())
        .output()
        .succeeds();

    // The tracer of `create` goes on until the container ends, so it sees the whole way of the first process.
    let web = host.container("web").args(["sleep", "1000"]);
    let create = traced(&web, "create").args(web.bundle_and_id()).spawn();
    wait_until("the container is created", || {
        let state = web.verb("state").args([web.id()]).output();
        state.code == 0 && state.json()["status"] == "created"
    });
    traced(&web, "start").args([web.id()]).output().succeeds();
    traced(&web, "state").args([web.id()]).output().succeeds();
    traced(&web, "exec").args([web.id(), "true"]).output().succeeds();
    web.kill("KILL").succeeds();
    create.wait().succeeds();
    web.wait_for_status("stopped");
    traced(&web, "delete").args([web.id()]).output().succeeds();

    ["run", "create", "start", "state", "exec", "delete"]
        .map(|verb| (verb, count(&fs::read_to_string(trace(verb)).unwrap())))
        .into()
}

/// A line of strace's output: `PID name(arguments...`. A line that continues a call begins otherwise.
#[derive(Clone, Copy)]
struct Call<'t> {
    pid: &'t str,
    name: &'t str,
    rest: &'t str,
}

impl<'t> Call<'t> {
    fn parse(line: &'t str) -> Option<Self> {
        let (pid, call) = line.split_once(char::is_whitespace)?;
        let (name, rest) = call.trim_start().split_once('(')?;
        let is_name = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        is_name.then_some(Call { pid, name, rest })
    }

    /// The last thing that Rust does before `main`: a handler that tells of a stack overflow.
    fn ends_the_start(self) -> bool {
        self.name == "rt_sigaction" && self.rest.starts_with("SIGBUS, {sa_handler=0x")
    }

    /// What differs from build to build, or from run to run.
    fn is_noise(self) -> bool {
        // Builds with debug assertions look whether a descriptor is open before they close it.
        NOISE.contains(&self.name) || self.name == "fcntl" && self.rest.contains("F_GETFD")
    }
}

/// Counts the calls of the runtime and of the processes that it makes.
fn count(trace: &str) -> Counts {
    let calls: Vec<Call<'_>> = trace.lines().filter_map(Call::parse).collect();
    let runtime = calls[0].pid;
    // It starts a second time, from a copy of the binary that nobody can write to.
    let executes = |call: &Call<'_>| call.pid == runtime && call.name == "execveat";
    let mut counts = Counts::new();
    for run in calls.split_inclusive(executes) {
        let start = run
            .iter()
            .position(|call| call.pid == runtime && call.ends_the_start());
        // The copy is made before `main`: what of the calls so far are not the loader's are ours.
        let is_loading = |name| start.is_none() && LOADER.contains(&name);
        let mut programs = BTreeSet::new();
        let mut signals = None;
        for call in &run[start.map_or(0, |start| start + 1)..] {
            // Whether its own child's end comes as a signal, too, before the runtime is done, is a matter of luck.
            if call.name == "signalfd4" {
                signals = call
                    .rest
                    .rsplit(' ')
                    .next()
                    .map(|descriptor| format!("{descriptor},"));
            }
            let reads_signal =
                call.name == "read" && signals.as_ref().is_some_and(|fd| call.rest.starts_with(fd));
            if programs.contains(call.pid) || call.is_noise() || reads_signal || is_loading(call.name) {
                continue;
            }
            *counts.entry(call.name.to_owned()).or_default() += 1;
            // From here on it is the container's program.
            if call.name == "execve" && call.pid != runtime {
                programs.insert(call.pid);
            }
        }
    }
    counts
}

/// Keeps the smaller number of each call.
fn least(counts: &mut Counts, others: &Counts) {
    counts.retain(|name, number| {
        *number = (*number).min(others.get(name).copied().unwrap_or(0));
        *number > 0
    });
}

fn render(measured: &BTreeMap<&str, Counts>) -> String {
    let mut text = String::new();
    for (verb, counts) in measured {
        writeln!(text, "{verb}: {}", counts.values().sum::<usize>()).unwrap();
        for (name, number) in counts {
            writeln!(text, "  {verb} {name} {number}").unwrap();
        }
    }
    text
}

fn differences(recorded: &str, now: &str) -> String {
    let (recorded, now): (BTreeSet<&str>, BTreeSet<&str>) =
        (recorded.lines().collect(), now.lines().collect());
    let gone = recorded.difference(&now).map(|line| format!("- {line}\n"));
    gone.chain(now.difference(&recorded).map(|line| format!("+ {line}\n")))
        .collect()
}

/// On what the numbers depend: each controller, capability, masked and read-only path costs some calls.
fn kind_of_host() -> String {
    let (version, controllers) = if cgroup_v2() {
        let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap();
        ("v2", controllers.split_whitespace().count())
    } else {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        ("v1", mounts.matches(" cgroup rw").count())
    };
    let last_capability = fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap();
    let linux = &crate::harness::default_config()["linux"];
    let paths = ["maskedPaths", "readonlyPaths"]
        .iter()
        .flat_map(|field| linux[field].as_array().unwrap())
        .filter(|path| Path::new(path.as_str().unwrap()).exists())
        .count();
    format!(
        "cgroup {version} with {controllers} controllers, capabilities up to {}, {paths} paths to mask, {}",
        last_capability.trim(),
        c_library()
    )
}

/// The runtime's C library: musl marks descriptors close-on-exec once more, and has other calls for the same things.
fn c_library() -> &'static str {
    let binary = fs::read(Host::new().binary()).unwrap();
    let has = |text: &str| contains(&binary, text.as_bytes());
    // Versions of symbols when it is linked dynamically, names of tunables when it is not.
    if has("GLIBC_2") || has("glibc.malloc") {
        "glibc"
    } else {
        "musl"
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// The recorded budgets, by kind of host.
struct Golden {
    path: PathBuf,
    sections: BTreeMap<String, String>,
}

impl Golden {
    const HEAD: &str =
        "# System calls of each verb, by kind of host; written by scenarios/syscall_budget.rs.\n";

    fn asked_to_write() -> bool {
        std::env::var_os("MINIRUN_WRITE_GOLDEN").is_some()
    }

    fn read() -> Self {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("integration-tests/fixtures/syscall-budget.txt");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let sections = text
            .split("\n== ")
            .skip(1)
            .filter_map(|section| section.split_once('\n'))
            .map(|(kind, budgets)| (kind.to_owned(), budgets.to_owned()))
            .collect();
        Golden { path, sections }
    }

    fn write(mut self, kind: String, budgets: String) {
        self.sections.insert(kind, budgets);
        let mut text = Self::HEAD.to_owned();
        for (kind, budgets) in &self.sections {
            write!(text, "\n== {kind}\n{}", budgets.trim_end()).unwrap();
            text.push('\n');
        }
        fs::write(self.path, text).unwrap();
    }
}
