//! Hooks: programs that the configuration wants run at six points of a container's life (runtime-spec, "POSIX-platform
//! Hooks").
//!
//! A hook runs in a process group of its own. It does not start before the caller has recorded the group, so that a
//! `delete --force` after a kill of the runtime finds it. Input and output are memory files: a hook that never reads its
//! state or that leaves a background process holding its output cannot block us.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::PollTimeout;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, execve, pipe2, read, setpgid, write};
use oci_spec::runtime as oci;

use crate::error::{Error, Kind, OsContext, Result, describe};
use crate::log;
use crate::sys::clone::{Options, spawn};
use crate::sys::{pidfd, process};

/// The points at which hooks run, in the order of a container's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Deprecated; as `CreateRuntime`, and before it.
    Prestart,
    /// Runtime namespaces, after the namespaces and mounts were made, before pivot_root.
    CreateRuntime,
    /// Container namespaces, before pivot_root: the path is resolved outside the container.
    CreateContainer,
    /// Container namespaces, in `start`, before the program is executed.
    StartContainer,
    /// Runtime namespaces, after the program was executed.
    Poststart,
    /// Runtime namespaces, after the container was deleted.
    Poststop,
}

impl Point {
    /// All of them, in their order.
    pub const ALL: [Point; 6] = [
        Point::Prestart,
        Point::CreateRuntime,
        Point::CreateContainer,
        Point::StartContainer,
        Point::Poststart,
        Point::Poststop,
    ];

    /// The name of the list in config.json.
    pub fn name(self) -> &'static str {
        match self {
            Point::Prestart => "prestart",
            Point::CreateRuntime => "createRuntime",
            Point::CreateContainer => "createContainer",
            Point::StartContainer => "startContainer",
            Point::Poststart => "poststart",
            Point::Poststop => "poststop",
        }
    }
}

/// All hooks of a container.
#[derive(Debug, Default)]
pub struct Hooks(Vec<Hook>);

#[derive(Debug)]
struct Hook {
    point: Point,
    index: usize,
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    timeout: Option<Duration>,
}

impl Hooks {
    /// Translates the hooks of a configuration. `process_env` is what a startContainer hook without an environment gets.
    ///
    /// # Errors
    /// When a path, argument or variable holds a NUL byte.
    pub fn plan(hooks: Option<&oci::Hooks>, process_env: &[CString]) -> Result<Hooks> {
        let Some(hooks) = hooks else {
            return Ok(Hooks::default());
        };
        #[allow(deprecated)] // still in use by engines
        let lists = [
            (Point::Prestart, hooks.prestart()),
            (Point::CreateRuntime, hooks.create_runtime()),
            (Point::CreateContainer, hooks.create_container()),
            (Point::StartContainer, hooks.start_container()),
            (Point::Poststart, hooks.poststart()),
            (Point::Poststop, hooks.poststop()),
        ];
        let mut planned = Vec::new();
        for (point, list) in lists {
            for (index, hook) in list.iter().flatten().enumerate() {
                planned.push(Hook::plan(point, index, hook, process_env)?);
            }
        }
        Ok(Hooks(planned))
    }

    /// Whether any hook runs at this point.
    pub fn any(&self, point: Point) -> bool {
        self.0.iter().any(|hook| hook.point == point)
    }

    /// Runs the hooks of a point in order, each with `state` on its standard input, which is asked for only when there are any.
    /// Before a hook starts, `recorded` is called with its process group.
    ///
    /// # Errors
    /// The first hook that cannot be run, fails, or takes longer than its timeout; hooks after it do not run. For
    /// poststop hooks that is a warning only, and the others run.
    pub fn run(
        &self,
        point: Point,
        state: impl FnOnce() -> String,
        mut recorded: impl FnMut(Pid) -> Result<()>,
    ) -> Result<()> {
        if !self.any(point) {
            return Ok(());
        }
        let state = state();
        for hook in self.0.iter().filter(|hook| hook.point == point) {
            let (name, index, path) = (point.name(), hook.index, hook.path.to_string_lossy());
            match hook.run(&state, &mut recorded) {
                Ok(()) => {}
                Err(error) if point == Point::Poststop => {
                    log::warn(error.during(format_args!("error running {name} hook #{index} {path}")));
                }
                Err(error) => {
                    return Err(error.during(format_args!("error running {name} hook #{index} {path}")));
                }
            }
        }
        Ok(())
    }
}

impl Hook {
    fn plan(point: Point, index: usize, hook: &oci::Hook, process_env: &[CString]) -> Result<Hook> {
        let text = |field: &str, bytes: &str| {
            CString::new(bytes).map_err(|_| {
                Error::invalid(
                    format_args!("hooks.{}[{index}].{field}", point.name()),
                    "holds a NUL byte",
                )
            })
        };
        let path = text("path", &hook.path().to_string_lossy())?;
        let mut args = hook
            .args()
            .iter()
            .flatten()
            .map(|arg| text("args", arg))
            .collect::<Result<Vec<_>>>()?;
        if args.is_empty() {
            args.push(path.clone());
        }
        let env = match hook.env() {
            Some(env) => env
                .iter()
                .map(|variable| text("env", variable))
                .collect::<Result<Vec<_>>>()?,
            None if point == Point::StartContainer => process_env.to_vec(),
            None => Vec::new(),
        };
        let timeout = hook
            .timeout()
            .map(|seconds| Duration::from_secs(seconds.unsigned_abs()));
        Ok(Hook {
            point,
            index,
            path,
            args,
            env,
            timeout,
        })
    }

    fn run(&self, state: &str, recorded: &mut impl FnMut(Pid) -> Result<()>) -> Result<()> {
        let stdin = memory_file()?;
        (&stdin)
            .write_all(state.as_bytes())
            .and_then(|()| (&stdin).rewind())
            .os("write", "state for the hook")?;
        let output = memory_file()?;
        let (gate, open_gate) = pipe2(nix::fcntl::OFlag::O_CLOEXEC).os("create", "pipe")?;
        let child = {
            let runtime = Pid::this();
            spawn(Options::default(), || self.child(runtime, &stdin, &output, &gate))
                .os("clone", "the hook's process")?
        };
        // Both sides do this, so that the group exists whoever is first; the child may have gone on to execve (EACCES).
        let _ = setpgid(child.pid, child.pid);
        let ended = recorded(child.pid)
            .and_then(|()| write(&open_gate, b"g").os("start", "the hook's process"))
            .and_then(|_| self.wait(&child.pidfd));
        if !matches!(ended, Ok(true)) {
            // The whole group: a shell's child would hold on to what the hook was doing.
            let _ = kill(Pid::from_raw(-child.pid.as_raw()), Signal::SIGKILL);
        }
        let status = waitpid(child.pid, None).os("wait for", "the hook")?;
        if !ended? {
            let seconds = self.timeout.unwrap_or_default().as_secs();
            return Err(Error::new(
                Kind::Program,
                format_args!("killed after its timeout of {seconds} s{}", told(output)),
            ));
        }
        match status {
            WaitStatus::Exited(_, 0) => Ok(()),
            WaitStatus::Exited(_, code) => Err(Error::new(
                Kind::Program,
                format_args!("exit status {code}{}", told(output)),
            )),
            WaitStatus::Signaled(_, signal, _) => Err(Error::new(
                Kind::Program,
                format_args!("killed by signal {signal}{}", told(output)),
            )),
            other => Err(Error::new(Kind::Program, format_args!("ended as {other:?}"))),
        }
    }

    /// True when the hook ended by itself, false when its time is over.
    fn wait(&self, hook: &OwnedFd) -> Result<bool> {
        let timeout = match self.timeout {
            Some(timeout) => PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        };
        pidfd::wait_exit(hook.as_fd(), timeout).os("wait for", "the hook")
    }

    /// In the hook's process: never returns success, because execve does not return.
    fn child(&self, runtime: Pid, stdin: &File, output: &File, gate: &OwnedFd) -> u8 {
        let run = || -> nix::Result<()> {
            set_pdeathsig(Signal::SIGKILL)?;
            setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
            // In a pid namespace of our own the parent's number is 0; there the namespace dies with the runtime.
            let parent = Pid::parent();
            if parent != runtime && parent.as_raw() != 0 {
                return Err(Errno::ESRCH);
            }
            if read(gate, &mut [0; 1])? == 0 {
                return Err(Errno::ESRCH);
            }
            set_pdeathsig(None)?;
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
            process::default_signals();
            dup2_stdin(stdin)?;
            dup2_stdout(output)?;
            dup2_stderr(output)?;
            match process::close_on_exec_from(3) {
                // The filter of the container, which a startContainer hook is under already. Nothing of ours is inherited
                // anyway; this is for what the caller passes on to the container.
                Ok(()) | Err(Errno::EPERM | Errno::ENOSYS) => {}
                Err(errno) => return Err(errno),
            }
            execve(&self.path, &self.args, &self.env).map(drop)
        };
        if let Err(errno) = run() {
            let _ = writeln!(&mut &*output, "cannot execute: {}", describe(errno));
        }
        127
    }
}

fn memory_file() -> Result<File> {
    memfd_create(c"hook", MFdFlags::MFD_CLOEXEC)
        .map(File::from)
        .os("create", "memory file")
}

/// What the hook printed, for the error's text; at most a page of it.
fn told(mut output: File) -> String {
    let mut text = Vec::new();
    let read = output
        .rewind()
        .and_then(|()| output.take(4096).read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    let text = text.trim();
    if read.is_err() || text.is_empty() {
        String::new()
    } else {
        format!(", output: {text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, timeout: Option<i64>) -> Hooks {
        let hook = serde_json::json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["A=b"], "timeout": timeout});
        let hooks: oci::Hooks = serde_json::from_value(serde_json::json!({"createRuntime": [hook]})).unwrap();
        Hooks::plan(Some(&hooks), &[]).unwrap()
    }

    fn run(hooks: &Hooks) -> std::result::Result<(), String> {
        hooks
            .run(Point::CreateRuntime, || "{\"id\":\"x\"}".into(), |_| Ok(()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_hook_gets_the_state_its_environment_and_nothing_else() {
        assert_eq!(
            run(&shell(
                "test \"$(cat)\" = '{\"id\":\"x\"}' && test \"$A\" = b && test -z \"$HOME\"",
                None
            )),
            Ok(())
        );
    }

    #[test]
    fn a_failing_hook_is_named_with_its_index_status_and_output() {
        let error = run(&shell("echo broken >&2; exit 3", None)).unwrap_err();
        assert_eq!(
            error,
            "error running createRuntime hook #0 /bin/sh: exit status 3, output: broken"
        );
    }

    #[test]
    fn a_hook_is_killed_after_its_timeout_with_its_children() {
        let error = run(&shell("sleep 100 & wait", Some(1))).unwrap_err();
        assert!(error.ends_with("killed after its timeout of 1 s"), "{error}");
    }

    #[test]
    fn a_background_process_that_keeps_the_output_open_does_not_block() {
        assert_eq!(run(&shell("sleep 5 & exit 0", None)), Ok(()));
    }

    #[test]
    fn a_hook_does_not_start_when_it_could_not_be_recorded() {
        let hooks = shell("echo started >&2; exit 9", None);
        let error = hooks
            .run(
                Point::CreateRuntime,
                || "{}".into(),
                |_| Err(Error::new(Kind::Os, "disk full")),
            )
            .unwrap_err();
        assert!(error.to_string().ends_with("disk full"));
    }

    #[test]
    fn every_point_of_the_features_document_is_planned_under_its_name() {
        for point in Point::ALL {
            let document = serde_json::json!({point.name(): [{"path": "/bin/true"}]});
            let hooks: oci::Hooks = serde_json::from_value(document).unwrap();
            assert!(
                Hooks::plan(Some(&hooks), &[]).unwrap().any(point),
                "{}",
                point.name()
            );
        }
    }
}
