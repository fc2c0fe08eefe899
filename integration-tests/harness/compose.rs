//! A stack: a Compose file of the scenario's, and the verbs on it.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::container::Container;
use super::host::{Host, Invocation};
use super::output::Output;
use super::wait_until;

/// A project with a bundle that its services share. What is up is brought down when the value goes.
pub(crate) struct Stack<'h> {
    host: &'h Host,
    project: String,
    bundle: Container<'h>,
    file: PathBuf,
}

/// What a service does that runs until it is told to end: it writes `+NAME` to the shared directory when it starts and
/// `-NAME` when it is told to end.
pub(crate) const LIVING: &str = "trap 'echo -$$N >>/shared/story; exit 0' TERM; echo +$$N >>/shared/story; \
     touch /tmp/ready; while :; do sleep 1000 & wait; done";

impl<'h> Stack<'h> {
    /// Nothing is up yet. In the text `BUNDLE` stands for the path of a busybox bundle, `SHARED` for that of a directory,
    /// `LIVING` for the command of [`LIVING`], which wants a variable N.
    pub(crate) fn new(host: &'h Host, name: &str, text: &str) -> Self {
        let project = host.unique(name);
        let bundle = host.container("bundle").sleeping();
        let file = host.dir().join(&project).join("compose.yaml");
        fs::create_dir_all(file.parent().unwrap().join("shared")).unwrap();
        let stack = Stack {
            host,
            project,
            bundle,
            file,
        };
        stack.write(text);
        stack
    }

    /// Replaces the Compose file.
    pub(crate) fn write(&self, text: &str) {
        let living = format!("[\"sh\", \"-c\", {}]", Value::from(LIVING));
        let text = text
            .replace("BUNDLE", self.bundle.bundle().to_str().unwrap())
            .replace("SHARED", self.shared().to_str().unwrap())
            .replace("LIVING", &living);
        fs::write(&self.file, text).unwrap();
    }

    pub(crate) fn project(&self) -> &str {
        &self.project
    }

    pub(crate) fn bundle(&self) -> &Container<'h> {
        &self.bundle
    }

    /// The id of a replica.
    pub(crate) fn id(&self, service: &str, replica: u32) -> String {
        format!("{}-{service}-{replica}", self.project)
    }

    /// A directory that services may mount.
    pub(crate) fn shared(&self) -> PathBuf {
        self.file.parent().unwrap().join("shared")
    }

    /// What the services of [`LIVING`] have written, a word each.
    pub(crate) fn story(&self) -> Vec<String> {
        let text = fs::read_to_string(self.shared().join("story")).unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// A verb, to be completed.
    pub(crate) fn verb(&self, args: &[&str]) -> Invocation<'h> {
        let file = self.file.to_str().unwrap();
        self.host
            .runtime()
            .args(["compose", "--project-name", &self.project, "--file", file])
            .args(args.iter().copied())
    }

    /// Runs a verb.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.verb(args).output()
    }

    /// `up --wait`, successfully.
    #[track_caller]
    pub(crate) fn up(self) -> Self {
        self.run(&["up", "--wait"]).succeeds();
        self
    }

    /// `ps --all`, as it is now.
    #[track_caller]
    pub(crate) fn ps(&self) -> Vec<Value> {
        let list = self.run(&["ps", "--all", "--format", "json"]).succeeds().json();
        list.as_array().unwrap().clone()
    }

    /// One replica, as `ps` shows it; null when it does not.
    #[track_caller]
    pub(crate) fn replica(&self, service: &str, replica: u32) -> Value {
        let id = self.id(service, replica);
        let found = self.ps().into_iter().find(|found| found["id"] == id);
        found.unwrap_or(Value::Null)
    }

    /// The first process of a replica that runs.
    #[track_caller]
    pub(crate) fn pid(&self, service: &str, replica: u32) -> i64 {
        let found = self.replica(service, replica);
        found["pid"]
            .as_i64()
            .unwrap_or_else(|| panic!("{found:#} has no pid"))
    }

    /// Waits until a replica runs, and is healthy if it has a health check, with another process than `not`.
    #[track_caller]
    pub(crate) fn runs_again(&self, service: &str, replica: u32, not: i64) {
        wait_until(&format!("{service} {replica} runs again"), || {
            let found = self.replica(service, replica);
            let healthy = found["health"].is_null() || found["health"] == "healthy";
            found["state"] == "running" && healthy && found["pid"].as_i64().is_some_and(|pid| pid != not)
        });
    }

    /// Runs a shell script in a replica.
    #[track_caller]
    pub(crate) fn sh(&self, service: &str, script: &str) -> Output {
        self.run(&["exec", "-T", service, "sh", "-c", script])
    }

    /// The supervisor's process.
    pub(crate) fn supervisor(&self) -> Option<Pid> {
        self.process(&["supervise", &self.project])
    }

    /// A process with these arguments.
    pub(crate) fn process(&self, wanted: &[&str]) -> Option<Pid> {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let mut pids =
            processes.filter_map(|entry| entry.file_name().into_string().ok()?.parse::<i32>().ok());
        let found = pids.find(|pid| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let args: Vec<&str> = line.split('\0').collect();
            wanted.iter().all(|wanted| args.contains(wanted))
        });
        found.map(Pid::from_raw)
    }

    /// Kills the supervisor, and waits until it is gone.
    #[track_caller]
    pub(crate) fn kill_supervisor(&self) {
        let pid = self.supervisor().expect("there is a supervisor");
        kill(pid, Signal::SIGKILL).unwrap();
        wait_until("the supervisor is gone", || self.supervisor() != Some(pid));
    }

    /// The log of a replica.
    pub(crate) fn log(&self, service: &str, replica: u32) -> String {
        let path = format!(
            "/var/lib/minirun/compose/{}/logs/{}.log",
            self.project,
            self.id(service, replica)
        );
        fs::read_to_string(self.host.path(&path)).unwrap_or_default()
    }

    /// A path of the sandbox's, from outside.
    pub(crate) fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        self.host.path(inside.as_ref().to_str().unwrap())
    }
}

impl Drop for Stack<'_> {
    fn drop(&mut self) {
        let down = self.run(&["down", "--volumes", "--timeout", "0"]);
        // A file that cannot be read does not say which volumes are its, and was never up.
        let was_up = self
            .path(format!("/run/minirun/compose/{}", self.project))
            .exists();
        if !std::thread::panicking() && (was_up || down.code == 0) {
            down.succeeds();
            wait_until("the supervisor has ended", || self.supervisor().is_none());
        }
    }
}
