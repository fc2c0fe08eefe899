//! The runtime killed before one of its system calls.

use std::fs;

use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::host::Running;
use super::output::Output;
use super::wait_until;

/// A command of the runtime, stopped at the entries of its system calls.
pub(crate) struct Traced {
    running: Running,
    pid: Pid,
}

/// Whether a call could leave something behind. Before a call that cannot, all is as it was after the one before.
#[cfg(target_arch = "x86_64")]
fn changes_something(pid: Pid) -> bool {
    let harmless = [
        libc::SYS_read,
        libc::SYS_pread64,
        libc::SYS_fstat,
        libc::SYS_newfstatat,
        libc::SYS_stat,
        libc::SYS_statx,
        libc::SYS_lseek,
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mprotect,
        libc::SYS_mremap,
        libc::SYS_brk,
        libc::SYS_madvise,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_sigaltstack,
        libc::SYS_getrandom,
        libc::SYS_prlimit64,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_geteuid,
        libc::SYS_getuid,
        libc::SYS_getgid,
        libc::SYS_getegid,
        libc::SYS_getcwd,
        libc::SYS_readlink,
        libc::SYS_readlinkat,
        libc::SYS_poll,
        libc::SYS_ppoll,
        libc::SYS_futex,
        libc::SYS_arch_prctl,
        libc::SYS_set_tid_address,
        libc::SYS_set_robust_list,
        libc::SYS_rseq,
        libc::SYS_access,
        libc::SYS_faccessat2,
        libc::SYS_fcntl,
        libc::SYS_getdents64,
        libc::SYS_statfs,
        libc::SYS_fstatfs,
        libc::SYS_clock_gettime,
        libc::SYS_uname,
        libc::SYS_openat,
        libc::SYS_sched_getaffinity,
        libc::SYS_pidfd_open,
    ];
    let number = ptrace::getregs(pid).unwrap().orig_rax.cast_signed();
    !harmless.contains(&number)
}

#[cfg(not(target_arch = "x86_64"))]
fn changes_something(_: Pid) -> bool {
    true
}

impl Traced {
    /// Takes over a command that stops itself before it becomes the runtime.
    pub(crate) fn take(running: Running) -> Traced {
        let pid = Pid::from_raw(running.pid());
        wait_until("the command has stopped itself", || {
            fs::read_to_string(format!("/proc/{pid}/stat"))
                .unwrap()
                .contains(") T ")
        });
        ptrace::seize(
            pid,
            ptrace::Options::PTRACE_O_TRACESYSGOOD | ptrace::Options::PTRACE_O_TRACEEXEC,
        )
        .unwrap();
        let traced = Traced { running, pid };
        nix::sys::signal::kill(pid, Signal::SIGCONT).unwrap();
        traced.wait();
        while !matches!(
            traced.go_on(None),
            WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXEC)
        ) {}
        traced
    }

    fn wait(&self) -> WaitStatus {
        waitpid(self.pid, Some(WaitPidFlag::__WALL)).unwrap()
    }

    fn go_on(&self, signal: Option<Signal>) -> WaitStatus {
        ptrace::syscall(self.pid, signal).unwrap();
        self.wait()
    }

    /// Kills it before the call number `point` of those that count; it may have ended before.
    pub(crate) fn killed_at(self, point: usize) -> Output {
        let every = std::env::var_os("MINIRUN_EVERY_SYSCALL").is_some();
        let (mut entry, mut signal, mut count) = (false, None, 0);
        let mut status = self.go_on(None);
        let code = loop {
            match status {
                WaitStatus::Exited(_, code) => break code,
                WaitStatus::Signaled(_, signal, _) => break -(signal as i32),
                WaitStatus::PtraceSyscall(pid) => {
                    entry = !entry;
                    count += usize::from(entry && (every || changes_something(pid)));
                    if entry && count > point {
                        self.running.signal(Signal::SIGKILL);
                        status = self.wait();
                        continue;
                    }
                }
                WaitStatus::Stopped(_, stopped) => signal = Some(stopped),
                _ => {}
            }
            status = self.go_on(signal.take());
        };
        self.running.ended(code)
    }
}
