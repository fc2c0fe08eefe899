//! A host of one's own: private mount and network namespaces with empty state directories, and commands run in it.

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::container::Container;
use super::leaks::{self, Inventory};
use super::output::Output;
use super::rootfs::busybox;

/// A command that has not ended by then hangs.
const HANG: Duration = Duration::from_secs(60);

/// Marks, in its environment, every process that a scenario starts; leaked ones are found by it.
pub(crate) const TAG_VARIABLE: &str = "MINIRUN_TEST_HOST";

/// Directories of state that a sandbox has for itself.
const STATE: [&str; 3] = ["/run/minirun", "/var/lib/minirun", "/run/runc"];

pub(crate) struct Host {
    tag: String,
    dir: PathBuf,
    holder: Child,
    runtime: PathBuf,
    before: Inventory,
    counter: Cell<u32>,
    /// Ids of containers under other runtimes.
    peers: RefCell<Vec<String>>,
}

impl Host {
    /// Makes the sandbox. Its namespaces live as long as a process that waits for the end of its standard input,
    /// so they go even when the test program is killed.
    pub(crate) fn new() -> Host {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        assert!(nix::unistd::geteuid().is_root(), "the scenarios need root");
        let runtime = runtime_under_test();
        let tag = format!(
            "mt{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        // Mode 0755 all the way down: processes with mapped or dropped ids walk through it.
        let dir = PathBuf::from("/tmp").join(&tag);
        fs::create_dir(&dir).unwrap();

        let mut setup = String::from("set -e; bb=$0\n");
        for state in STATE {
            fs::create_dir_all(state).unwrap();
            setup += &format!("$bb mount -t tmpfs -o mode=0711 tmpfs {state}\n");
        }
        setup += "$bb ip link set lo up; echo ready; exec $bb cat >/dev/null";
        let mut holder = Command::new(busybox())
            .args(["unshare", "-m", "-n", "--propagation", "private", "--"])
            .arg(busybox())
            .args(["sh", "-c", &setup])
            .arg(busybox())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(holder.stdout.take().unwrap())
            .read_line(&mut ready)
            .unwrap();
        assert_eq!(ready, "ready\n", "making the sandbox failed");

        let before = Inventory::take(&tag, holder.id());
        Host {
            tag,
            dir,
            holder,
            runtime,
            before,
            counter: Cell::new(0),
            peers: RefCell::default(),
        }
    }

    /// A container with the default configuration, in a bundle of its own. Nothing runs yet.
    pub(crate) fn container(&self, name: &str) -> Container<'_> {
        Container::new(self, self.unique(name), self.runtime.clone())
    }

    /// The same under another runtime, or None when that is not installed.
    pub(crate) fn peer(&self, runtime: &str, name: &str) -> Option<Container<'_>> {
        let path = find_in_path(runtime)?;
        let id = self.unique(name);
        if path.file_name() != self.runtime.file_name() {
            self.peers.borrow_mut().push(id.clone());
        }
        Some(Container::new(self, id, path))
    }

    /// A name that nothing else on the machine has; what is left of it is counted as this scenario's leak.
    pub(crate) fn unique(&self, name: &str) -> String {
        self.counter.set(self.counter.get() + 1);
        format!("{}-{name}{}", self.tag, self.counter.get())
    }

    /// The scenario's directory, the same path in the sandbox and outside; removed with the host.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What there is on the machine that was not there when the host was made, a line each.
    pub(crate) fn leaks(&self) -> Vec<String> {
        let peers = self.peers.borrow();
        // On a busy machine runc leaves groups behind, and still says 0.
        let of_a_peer =
            |line: &String| line.starts_with("cgroup ") && peers.iter().any(|id| line.ends_with(id.as_str()));
        let mut leaked = leaks::settled(&self.before, &self.tag, self.holder.id());
        leaked.retain(|line| !of_a_peer(line));
        leaked
    }

    /// A process in the sandbox, for `/proc/PID/...`.
    pub(crate) fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// A path of the sandbox's mount namespace as seen from outside.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.holder.id()))
    }

    /// Runs the runtime under test.
    #[track_caller]
    pub(crate) fn minirun<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Output {
        self.command(&self.runtime).args(args).output()
    }

    /// Runs a shell script (busybox) in the sandbox, and asserts that it succeeds.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> Output {
        self.command(&busybox())
            .args(["sh", "-ec", script])
            .output()
            .succeeds()
    }

    /// The binary under test.
    pub(crate) fn binary(&self) -> &Path {
        &self.runtime
    }

    /// The runtime under test, for commands with an environment, directory or input of their own.
    pub(crate) fn runtime(&self) -> Invocation<'_> {
        self.command(&self.runtime)
    }

    /// A program, called by an ordinary user without any privilege.
    pub(crate) fn command_as(&self, user: u32, program: &Path) -> Invocation<'_> {
        let setpriv = find_in_path("setpriv").expect("setpriv is in util-linux");
        let user = user.to_string();
        let dropped = ["--reuid", &user, "--regid", &user, "--clear-groups", "--"].map(str::to_owned);
        let mut invocation = self.command(&setpriv);
        invocation.argv.extend(dropped.map(Into::into));
        invocation.argv.push(program.into());
        invocation
    }

    /// The same program at a place that every user can reach.
    pub(crate) fn for_everybody(&self, program: &Path) -> PathBuf {
        let place = self.dir.join(program.file_name().unwrap());
        if !place.exists() && fs::hard_link(program, &place).is_err() {
            fs::copy(program, &place).unwrap();
        }
        place
    }

    pub(crate) fn command(&self, program: &Path) -> Invocation<'_> {
        Invocation {
            host: self,
            argv: vec![program.into()],
            env: vec![(TAG_VARIABLE.into(), self.tag.clone().into())],
            cwd: "/".into(),
            stdin: None,
            streams: None,
            terminal: None,
            script: String::new(),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let leaked = self.leaks();
        leaks::clean(&self.tag, self.holder.id());
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        let _ = fs::remove_dir_all(&self.dir);
        if !leaked.is_empty() {
            let report = format!("the scenario leaked:\n  {}", leaked.join("\n  "));
            if std::thread::panicking() {
                eprintln!("{report}");
            } else {
                panic!("{report}");
            }
        }
    }
}

/// A command to be run in the sandbox.
pub(crate) struct Invocation<'h> {
    host: &'h Host,
    argv: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cwd: PathBuf,
    stdin: Option<Vec<u8>>,
    streams: Option<(PathBuf, PathBuf)>,
    terminal: Option<OwnedFd>,
    script: String,
}

impl Invocation<'_> {
    pub(crate) fn args<T: Into<OsString>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.argv.extend(args.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    pub(crate) fn cwd(mut self, dir: &Path) -> Self {
        self.cwd = dir.into();
        self
    }

    pub(crate) fn stdin(mut self, bytes: &[u8]) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Shell commands before the exec, for what a caller may have set up: `exec 3</file`, `ulimit -n 20`, `umask`.
    pub(crate) fn after(mut self, script: &str) -> Self {
        self.script += script;
        self.script += "\n";
        self
    }

    /// Where both output streams go; a container that outlives the command goes on writing there.
    pub(crate) fn streams(mut self, stdout: &Path, stderr: &Path) -> Self {
        self.streams = Some((stdout.into(), stderr.into()));
        self
    }

    /// All three streams on this terminal, which controls the command: it leads a session of its own.
    pub(crate) fn terminal(mut self, terminal: OwnedFd) -> Self {
        self.terminal = Some(terminal);
        self
    }

    /// Starts it without waiting.
    pub(crate) fn spawn(self) -> Running {
        let (stdout, stderr) = self.streams.clone().unwrap_or_else(|| {
            (
                self.host.dir.join(self.host.unique("stdout")),
                self.host.dir.join(self.host.unique("stderr")),
            )
        });
        // Files rather than pipes: a container may hold the write ends long after the command has ended.
        let script = format!("cd \"$0\"\n{}exec \"$@\"", self.script);
        let mut command = Command::new(busybox());
        command
            .args(["nsenter", "-t", &self.host.pid().to_string(), "-m", "-n", "--"])
            .arg(busybox());
        if self.terminal.is_some() {
            command.args(["setsid", "-c"]).arg(busybox());
        }
        command
            .args(["sh", "-ec", &script])
            .arg(&self.cwd)
            .args(&self.argv)
            .envs(self.env);
        match self.terminal {
            Some(terminal) => command
                .stdin(terminal.try_clone().unwrap())
                .stdout(terminal.try_clone().unwrap())
                .stderr(terminal),
            None => command
                .stdin(if self.stdin.is_some() {
                    Stdio::piped()
                } else {
                    Stdio::null()
                })
                .stdout(File::create(&stdout).unwrap())
                .stderr(File::create(&stderr).unwrap()),
        };
        let mut child = command.spawn().unwrap();
        // It holds this side's copies of the terminal, which must see the end of the last user.
        drop(command);
        if let Some(bytes) = self.stdin {
            // A command that ends without reading its input is no failure of the harness.
            let _ = child.stdin.take().unwrap().write_all(&bytes);
        }
        let name = Path::new(&self.argv[0])
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let rest = self.argv[1..]
            .iter()
            .map(|arg| arg.to_string_lossy().into_owned());
        let command = std::iter::once(name).chain(rest).collect::<Vec<_>>().join(" ");
        Running {
            child,
            command,
            stdout,
            stderr,
        }
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn output(self) -> Output {
        self.spawn().wait()
    }
}

/// A command under way.
pub(crate) struct Running {
    child: Child,
    command: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// What it has written so far.
    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap()
    }

    /// The command's process.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sends a signal to the command.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Waits for its end; a command that hangs is killed and fails the scenario.
    #[track_caller]
    pub(crate) fn wait(self) -> Output {
        let Running {
            mut child,
            command,
            stdout,
            stderr,
        } = self;
        let pid = nix::unistd::Pid::from_raw(child.id() as i32);
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || sender.send(child.wait()));
        let Ok(status) = receiver.recv_timeout(HANG) else {
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            let said = fs::read_to_string(&stderr).unwrap_or_default();
            panic!("`{command}` hangs: killed after {HANG:?}; its stderr: {said}");
        };
        let status = status.unwrap();
        let code = status.code().unwrap_or_else(|| -status.signal().unwrap());
        outcome(command, code, &stdout, &stderr)
    }

    /// What it left, when a tracer has waited for its end already.
    pub(crate) fn ended(self, code: i32) -> Output {
        outcome(self.command, code, &self.stdout, &self.stderr)
    }
}

fn outcome(command: String, code: i32, stdout: &Path, stderr: &Path) -> Output {
    let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    Output {
        command,
        code,
        stdout: read(stdout),
        stderr: read(stderr),
    }
}

/// `MINIRUN_BIN`, else the binary that `make build` leaves.
fn runtime_under_test() -> PathBuf {
    let path = std::env::var_os("MINIRUN_BIN")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("bin/minirun"));
    assert!(
        path.is_file(),
        "no runtime at {}: `make build` makes it, or set MINIRUN_BIN",
        path.display()
    );
    path
}

pub(crate) fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file() && !is_applet(file))
}

/// Whether this is busybox's smaller program of the same name.
fn is_applet(file: &Path) -> bool {
    fs::canonicalize(file).is_ok_and(|file| file.ends_with("busybox"))
}
