//! A bundle and the verbs on its container.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::host::{Host, Invocation, Running};
use super::output::Output;
use super::{rootfs, spec, wait_until};

/// One container: its bundle, its id and the runtime that it runs under. What `create` or `run -d` made is deleted
/// by force when the value goes; what a foreground `run` leaves is counted as a leak.
pub(crate) struct Container<'h> {
    host: &'h Host,
    id: String,
    bundle: PathBuf,
    config: Value,
    runtime: PathBuf,
    made: Cell<bool>,
    user: Option<u32>,
}

impl<'h> Container<'h> {
    pub(crate) fn new(host: &'h Host, id: String, runtime: PathBuf) -> Self {
        let bundle = host.dir().join(&id);
        fs::create_dir(&bundle).unwrap();
        fs::create_dir(bundle.join("rootfs")).unwrap();
        rootfs::fill(&bundle.join("rootfs"));
        let container = Container {
            host,
            id,
            bundle,
            config: spec::default(),
            runtime,
            made: Cell::new(false),
            user: None,
        };
        container.write_config();
        container
    }

    /// Sets the arguments of the process.
    pub(crate) fn args<'a>(self, args: impl IntoIterator<Item = &'a str>) -> Self {
        let args: Vec<&str> = args.into_iter().collect();
        self.edit(|config| config["process"]["args"] = json!(args))
    }

    /// Makes the process a shell script.
    pub(crate) fn sh(self, script: &str) -> Self {
        self.args(["sh", "-c", script])
    }

    /// A process that runs until it is killed, whatever the signal.
    pub(crate) fn sleeping(self) -> Self {
        self.sh("trap 'exit 143' TERM; sleep 1000 & wait")
    }

    /// Changes config.json.
    pub(crate) fn edit(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.config);
        self.write_config();
        self
    }

    /// Appends to an array of config.json (made when it is missing), which a path of keys like `/linux/devices` names.
    pub(crate) fn push(self, pointer: &str, value: Value) -> Self {
        self.edit(|config| {
            // Indexing makes what is missing on the way.
            let array = pointer
                .split('/')
                .skip(1)
                .fold(config, |value, key| &mut value[key]);
            if array.is_null() {
                *array = json!([]);
            }
            array.as_array_mut().unwrap().push(value);
        })
    }

    /// Adds a namespace of a type, replacing the one of that type.
    pub(crate) fn namespace(self, value: Value) -> Self {
        let kind = value["type"].clone();
        self.edit(|config| {
            config["linux"]["namespaces"]
                .as_array_mut()
                .unwrap()
                .retain(|namespace| namespace["type"] != kind);
        })
        .push("/linux/namespaces", value)
    }

    /// Removes the namespace of a type: the container stays in the runtime's.
    pub(crate) fn without_namespace(self, kind: &str) -> Self {
        self.edit(|config| {
            config["linux"]["namespaces"]
                .as_array_mut()
                .unwrap()
                .retain(|namespace| namespace["type"] != kind);
        })
    }

    /// Maps ids 0..65536 of a new user namespace to 100000 and up on the host, and gives the rootfs to them.
    pub(crate) fn user_namespace(self) -> Self {
        let mapping = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        self.host
            .sh(&format!("chown -hR 100000:100000 {}", self.rootfs().display()));
        self.namespace(json!({"type": "user"})).edit(|config| {
            config["linux"]["uidMappings"] = mapping.clone();
            config["linux"]["gidMappings"] = mapping;
        })
    }

    fn write_config(&self) {
        fs::write(
            self.bundle.join("config.json"),
            serde_json::to_vec_pretty(&self.config).unwrap(),
        )
        .unwrap();
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn bundle(&self) -> &Path {
        &self.bundle
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.bundle.join("rootfs")
    }

    /// A verb of this container's runtime, to be completed: `verb("kill").args([id, "KILL"])`.
    pub(crate) fn verb(&self, verb: &str) -> Invocation<'h> {
        match self.user {
            None => self.host.command(&self.runtime).args([verb]),
            Some(user) => self
                .host
                .command_as(user, &self.runtime)
                .env("XDG_RUNTIME_DIR", self.runtime_dir().to_str().unwrap())
                .args([verb]),
        }
    }

    /// Makes it an ordinary user's: the bundle is his, he calls the runtime, and config.json is what `spec --rootless` writes.
    pub(crate) fn of_user(mut self, user: u32) -> Self {
        self.user = Some(user);
        self.runtime = self.host.for_everybody(&self.runtime);
        fs::create_dir_all(self.runtime_dir()).unwrap();
        fs::remove_file(self.bundle.join("config.json")).unwrap();
        self.give_to(user);
        let bundle = self.bundle.to_str().unwrap().to_owned();
        let spec = self.verb("spec").args(["--rootless", "--bundle", &bundle]);
        spec.output().succeeds();
        let text = fs::read(self.bundle.join("config.json")).unwrap();
        self.config = serde_json::from_slice(&text).unwrap();
        self.edit(|config| {
            config["process"]["terminal"] = json!(false);
            config["root"]["readonly"] = json!(false);
        })
    }

    /// Gives the bundle to a user.
    pub(crate) fn give_to(&self, user: u32) {
        self.host
            .sh(&format!("chown -hR {user}:{user} {}", self.bundle.display()));
    }

    /// The ordinary user's XDG_RUNTIME_DIR.
    pub(crate) fn runtime_dir(&self) -> PathBuf {
        self.bundle.join("run")
    }

    /// Takes another binary for the runtime.
    pub(crate) fn under(mut self, runtime: &Path) -> Self {
        self.runtime = runtime.to_owned();
        self
    }

    /// `run` in the foreground.
    #[track_caller]
    pub(crate) fn run(&self) -> Output {
        self.run_with(&[])
    }

    /// `run` with options.
    #[track_caller]
    pub(crate) fn run_with(&self, options: &[&str]) -> Output {
        self.verb("run")
            .args(options.iter().copied())
            .args(self.bundle_and_id())
            .output()
    }

    /// `run` in the foreground, not waited for.
    pub(crate) fn run_in_background(&self) -> Running {
        self.made.set(true);
        self.verb("run").args(self.bundle_and_id()).spawn()
    }

    /// `run OPTIONS BUNDLE/`, the form that people use; with `--detach` among the options the container lives on.
    #[track_caller]
    pub(crate) fn run_bundle(&self, options: &[&str]) -> Output {
        let (stdout, stderr) = (self.bundle.join("stdout"), self.bundle.join("stderr"));
        let output = self
            .verb("run")
            .args(options.iter().copied())
            .args([&self.bundle])
            .streams(&stdout, &stderr)
            .output();
        if output.code == 0 && options.contains(&"--detach") {
            self.made.set(true);
        }
        output
    }

    /// Runs its bundle detached, successfully: a container on the default network, unless the options say otherwise.
    #[track_caller]
    pub(crate) fn detached(self, options: &[&str]) -> Self {
        self.run_bundle(&[&["--detach"], options].concat()).succeeds();
        self
    }

    /// `--bundle DIR ID`, for a command line of one's own.
    pub(crate) fn bundle_and_id(&self) -> [&str; 3] {
        ["--bundle", self.bundle.to_str().unwrap(), &self.id]
    }

    /// `create`, whatever comes of it.
    #[track_caller]
    pub(crate) fn try_create(&self) -> Output {
        self.create_with(&[])
    }

    /// `create` with options, whatever comes of it.
    #[track_caller]
    pub(crate) fn create_with(&self, options: &[&str]) -> Output {
        self.complete_create(self.verb("create").args(options.iter().copied()))
    }

    /// The last part of a create command: bundle, id and streams of this container.
    #[track_caller]
    pub(crate) fn complete_create(&self, invocation: Invocation<'_>) -> Output {
        let (stdout, stderr) = (self.bundle.join("stdout"), self.bundle.join("stderr"));
        let output = invocation
            .args(self.bundle_and_id())
            .streams(&stdout, &stderr)
            .output();
        if output.code == 0 {
            self.made.set(true);
        }
        output
    }

    /// Creates it, successfully.
    #[track_caller]
    pub(crate) fn created(self) -> Self {
        self.try_create().succeeds();
        self
    }

    /// Creates and starts it, successfully.
    #[track_caller]
    pub(crate) fn running(self) -> Self {
        let container = self.created();
        container.start().succeeds();
        container
    }

    #[track_caller]
    pub(crate) fn start(&self) -> Output {
        self.verb("start").args([&self.id]).output()
    }

    #[track_caller]
    pub(crate) fn kill(&self, signal: &str) -> Output {
        self.verb("kill").args([&self.id, signal]).output()
    }

    #[track_caller]
    pub(crate) fn delete(&self) -> Output {
        self.deleted(self.verb("delete").args([&self.id]).output())
    }

    #[track_caller]
    pub(crate) fn delete_force(&self) -> Output {
        self.deleted(self.verb("delete").args(["--force", &self.id]).output())
    }

    fn deleted(&self, output: Output) -> Output {
        if output.code == 0 {
            self.made.set(false);
        }
        output
    }

    /// `exec ID ARGS...`
    #[track_caller]
    pub(crate) fn exec<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Output {
        self.exec_with(&[], args)
    }

    /// `exec OPTIONS ID ARGS...`
    #[track_caller]
    pub(crate) fn exec_with<'a>(&self, options: &[&str], args: impl IntoIterator<Item = &'a str>) -> Output {
        self.verb("exec")
            .args(options.iter().copied())
            .args([&self.id])
            .args(args)
            .output()
    }

    /// `state` as JSON.
    #[track_caller]
    pub(crate) fn state(&self) -> Value {
        self.verb("state").args([&self.id]).output().succeeds().json()
    }

    /// `inspect` as JSON.
    #[track_caller]
    pub(crate) fn inspect(&self) -> Value {
        self.verb("inspect").args([&self.id]).output().succeeds().json()
    }

    #[track_caller]
    pub(crate) fn status(&self) -> String {
        self.state()["status"].as_str().unwrap().to_owned()
    }

    /// The host's process id of the container's init.
    #[track_caller]
    pub(crate) fn pid(&self) -> i64 {
        self.state()["pid"].as_i64().unwrap()
    }

    /// Waits until `state` says this. No file descriptor tells of it to someone who is not the parent.
    #[track_caller]
    pub(crate) fn wait_for_status(&self, status: &str) {
        wait_until(&format!("{} is {status}", self.id), || self.status() == status);
    }

    /// What a created container has written to its standard output so far.
    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(self.bundle.join("stdout")).unwrap()
    }

    /// Waits until the created container has written `text`.
    #[track_caller]
    pub(crate) fn wait_for_stdout(&self, text: &str) {
        wait_until(&format!("{} has written {text:?}", self.id), || {
            self.stdout().contains(text)
        });
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if self.made.get() {
            let deleted = self.delete_force();
            if !std::thread::panicking() {
                deleted.succeeds();
            }
        }
    }
}
