//! A filter in the kernel. Filters belong to a thread, so each test spoils one of its own.

use nix::errno::Errno;
use nix::unistd::{Pid, getpgid, getpid};

use super::*;

/// Runs `body` in a thread behind the filter. The body may not end the thread by panicking when the filter kills.
fn behind<T: Send + 'static>(seccomp: serde_json::Value, body: fn() -> T) -> T {
    let program = Program::compile(&profile(seccomp)).unwrap();
    let thread = std::thread::spawn(move || {
        nix::sys::prctl::set_no_new_privs().unwrap();
        program.load().unwrap();
        body()
    });
    thread.join().unwrap()
}

#[test]
fn the_kernel_applies_rules_on_arguments() {
    let results = behind(
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_NATIVE"],
            "syscalls": [
                { "names": ["getpgid"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::E2BIG,
                  "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }] },
                { "names": ["chdir"], "action": "SCMP_ACT_ERRNO" },
            ]
        }),
        || {
            (
                getpgid(Some(Pid::from_raw(1))),
                getpgid(Some(getpid())).is_ok(),
                nix::unistd::chdir("/"),
            )
        },
    );
    assert_eq!(results, (Err(Errno::E2BIG), true, Err(Errno::EPERM)));
}

#[test]
fn a_filter_that_is_too_long_for_the_call_is_refused() {
    let instruction = sock_filter {
        code: 6,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    };
    assert_eq!(
        sys::seccomp::load(&vec![instruction; 70_000], 0),
        Err(Errno::EINVAL)
    );
    assert_eq!(sys::seccomp::load(&[], 0), Err(Errno::EINVAL));
}

#[test]
fn a_new_call_is_hidden_from_a_thread_behind_an_older_profile() {
    // Up to clone3; the thread itself needs what the C library calls while it ends.
    let names = [
        "read",
        "write",
        "close",
        "mmap",
        "munmap",
        "madvise",
        "futex",
        "rt_sigprocmask",
        "sigaltstack",
        "exit",
        "brk",
        "mprotect",
        "set_robust_list",
        "rseq",
        "clone3",
        "sched_getaffinity",
        "gettid",
        "prctl",
        "exit_group",
        "rt_sigreturn",
    ];
    let result = behind(
        json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": ["SCMP_ARCH_NATIVE"],
            "syscalls": [{ "names": names, "action": "SCMP_ACT_ALLOW" }]
        }),
        || (sys::process::close_on_exec_from(1 << 20), nix::unistd::chdir("/")),
    );
    assert_eq!(result, (Err(Errno::ENOSYS), Err(Errno::EPERM)));
}
