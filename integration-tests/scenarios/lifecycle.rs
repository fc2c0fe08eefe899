//! The verbs: create, start, state, exec, kill, pause, list, ps, delete, run, spec; their exit codes and texts.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{Host, wait_until};

#[test]
fn a_container_is_created_started_killed_and_deleted() {
    let host = Host::new();
    let web = host.container("web").sleeping().created();
    let state = web.state();
    assert_eq!(state["status"], "created");
    assert_eq!(state["id"], web.id());
    assert_eq!(state["bundle"], web.bundle().to_str().unwrap());
    assert_eq!(state["ociVersion"].as_str().unwrap().split('.').next(), Some("1"));
    assert!(state["pid"].as_i64().unwrap() > 1);

    web.start().succeeds();
    assert_eq!(web.status(), "running");
    web.kill("KILL").succeeds();
    web.wait_for_status("stopped");
    assert_eq!(web.state()["pid"], 0);
    web.delete().succeeds();
    web.verb("state")
        .args([web.id()])
        .output()
        .fails_with(&["does not exist"]);
}

#[test]
fn the_process_starts_at_start_and_not_at_create() {
    let host = Host::new();
    let web = host.container("web").sh("echo started; sleep 1000").created();
    assert_eq!(web.stdout(), "");
    web.start().succeeds();
    web.wait_for_stdout("started");
}

#[test]
fn run_returns_the_exit_status_of_the_process() {
    let host = Host::new();
    for code in [0, 1, 42, 255] {
        host.container("code")
            .sh(&format!("exit {code}"))
            .run()
            .exits(code);
    }
}

#[test]
fn run_returns_128_plus_the_signal_that_killed_the_process() {
    let host = Host::new();
    // Outside a pid namespace of its own, since pid 1 survives the signals that it sends itself.
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139)] {
        let script = format!("kill -{signal} $$");
        host.container("signal")
            .without_namespace("pid")
            .sh(&script)
            .run()
            .exits(code);
    }
}

#[test]
fn run_keeps_an_ended_container_when_told() {
    let host = Host::new();
    let web = host.container("web").sh("exit 3");
    web.run_with(&["--keep", "--no-subreaper"]).exits(3);
    assert_eq!(web.status(), "stopped");
    web.delete().succeeds();
}

#[test]
fn run_hands_through_both_output_streams() {
    let host = Host::new();
    let output = host
        .container("streams")
        .sh("echo out; echo err >&2")
        .run()
        .succeeds();
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("out\n", "err\n")
    );
}

#[test]
fn run_hands_through_the_standard_input() {
    let host = Host::new();
    let cat = host.container("cat").args(["cat"]);
    let output = cat
        .verb("run")
        .args(cat.bundle_and_id())
        .stdin(b"from the caller\n")
        .output()
        .succeeds();
    assert_eq!(output.stdout, "from the caller\n");
}

#[test]
fn run_forwards_signals_to_the_process() {
    let host = Host::new();
    let web = host
        .container("web")
        .sh("trap 'echo got; exit 7' USR1; echo ready; while :; do sleep 0.05; done");
    let running = web.run_in_background();
    wait_until("the process is ready", || running.stdout().contains("ready"));
    running.signal(Signal::SIGUSR1);
    let output = running.wait().exits(7);
    assert_eq!(output.stdout, "ready\ngot\n");
    web.verb("state")
        .args([web.id()])
        .output()
        .fails_with(&["does not exist"]);
    web.delete_force().succeeds();
}

#[test]
fn run_deletes_the_container_when_it_ends() {
    let host = Host::new();
    let once = host.container("once");
    once.run().succeeds();
    once.verb("state")
        .args([once.id()])
        .output()
        .exits(1)
        .fails_with(&["does not exist"]);
}

#[test]
fn run_detached_returns_while_the_container_runs() {
    let host = Host::new();
    let web = host.container("web").sleeping();
    web.complete_create(web.verb("run").args(["--detach"])).succeeds();
    assert_eq!(web.status(), "running");
    web.delete_force().succeeds();
}

#[test]
fn options_may_stand_after_the_container_id() {
    let host = Host::new();
    let web = host.container("web").sleeping();
    let [flag, bundle, id] = web.bundle_and_id();
    // The order that people type; runc's own parser accepts it for create and run.
    let output = host.runtime().args(["create", id, flag, bundle]).output();
    assert_eq!(output.code, 0, "{output}");
    host.minirun(["delete", id, "--force"]).succeeds();
}

#[test]
fn a_bundle_is_the_current_directory_by_default() {
    let host = Host::new();
    let here = host.container("here").args(["echo", "here"]);
    let output = host
        .runtime()
        .cwd(here.bundle())
        .args(["run", here.id()])
        .output()
        .succeeds();
    assert_eq!(output.stdout, "here\n");
}

#[test]
fn changes_to_config_json_after_create_do_not_matter() {
    let host = Host::new();
    let web = host.container("web").sh("echo first; sleep 1000").created();
    let web = web.sh("echo second");
    web.start().succeeds();
    web.wait_for_stdout("first");
    fs::remove_file(web.bundle().join("config.json")).unwrap();
    assert_eq!(web.exec(["echo", "exec"]).succeeds().stdout, "exec\n");
}

#[test]
fn a_second_container_with_the_same_id_is_refused_and_the_first_lives_on() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    web.verb("create")
        .args(web.bundle_and_id())
        .output()
        .exits(1)
        .fails_with(&["already exists"]);
    assert_eq!(web.status(), "running");
    assert_eq!(web.exec(["echo", "alive"]).succeeds().stdout, "alive\n");
}

#[test]
fn every_verb_on_an_unknown_id_says_that_it_does_not_exist() {
    let host = Host::new();
    let id = host.unique("nobody");
    for verb in ["state", "start", "kill", "delete", "pause", "resume", "ps"] {
        host.minirun([verb, &id]).exits(1).fails_with(&["does not exist"]);
    }
    host.minirun(["exec", &id, "true"])
        .exits(255)
        .fails_with(&["does not exist"]);
}

#[test]
fn delete_force_of_an_unknown_id_succeeds() {
    let host = Host::new();
    host.minirun(["delete", "--force", &host.unique("nobody")])
        .succeeds();
}

#[test]
fn a_running_container_is_deleted_only_by_force() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    let text = format!(
        "cannot delete container {} that is not stopped: running",
        web.id()
    );
    web.delete().exits(1).fails_with(&[&text]);
    assert_eq!(web.status(), "running");
    web.delete_force().succeeds();
    web.verb("state")
        .args([web.id()])
        .output()
        .fails_with(&["does not exist"]);
}

#[test]
fn a_created_container_can_be_deleted_without_force() {
    let host = Host::new();
    let web = host.container("web").created();
    web.delete().succeeds();
}

#[test]
fn a_container_starts_once() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    web.start()
        .exits(1)
        .fails_with(&["cannot start an already running container"]);
    web.kill("KILL").succeeds();
    web.wait_for_status("stopped");
    web.start()
        .exits(1)
        .fails_with(&["cannot start a container that has stopped"]);
}

#[test]
fn signals_are_given_by_name_in_any_case_or_number() {
    let host = Host::new();
    let web = host
        .container("web")
        .sh("trap 'echo usr1' USR1; echo ready; while :; do sleep 0.02; done")
        .running();
    web.wait_for_stdout("ready");
    for (count, signal) in ["USR1", "SIGUSR1", "sigusr1", "usr1", "10"].iter().enumerate() {
        web.kill(signal).succeeds();
        wait_until("the signal arrives", || {
            web.stdout().matches("usr1\n").count() == count + 1
        });
    }
    for signal in ["NOSUCH", "0x9", "-9", "66", "4294967305"] {
        assert_eq!(web.kill(signal).code, 1, "signal {signal:?}");
    }
    assert_eq!(web.status(), "running");
}

#[test]
fn kill_sends_term_by_default() {
    let host = Host::new();
    let web = host
        .container("web")
        .sh("trap 'echo term; exit' TERM; echo ready; while :; do sleep 0.02; done")
        .running();
    web.wait_for_stdout("ready");
    web.verb("kill").args([web.id()]).output().succeeds();
    web.wait_for_stdout("term");
    web.wait_for_status("stopped");
}

#[test]
fn kill_of_a_stopped_container_says_that_it_is_not_running() {
    let host = Host::new();
    let web = host.container("web").running();
    web.wait_for_status("stopped");
    web.kill("KILL").exits(1).fails_with(&["container not running"]);
}

#[test]
fn kill_all_reaches_every_process_of_the_container() {
    let host = Host::new();
    let web = host
        .container("web")
        .without_namespace("pid")
        .sh("sleep 1000 & echo $!; sleep 1000")
        .running();
    web.wait_for_stdout("\n");
    let child: String = web.stdout().trim().to_owned();
    web.verb("kill")
        .args(["--all", web.id(), "KILL"])
        .output()
        .succeeds();
    wait_until("the child has ended", || {
        fs::read_to_string(format!("/proc/{child}/status"))
            .map_or(true, |status| status.contains("\nState:\tZ"))
    });
    web.wait_for_status("stopped");
}

#[test]
fn delete_ends_what_a_stopped_container_without_its_own_pid_namespace_left() {
    let host = Host::new();
    // init has gone, its background child lives on in the cgroup: delete must not leave it.
    let web = host
        .container("web")
        .without_namespace("pid")
        .sh("sleep 1000 >/dev/null & echo $!")
        .running();
    web.wait_for_status("stopped");
    web.delete_force().succeeds();
}

#[test]
fn exec_returns_the_exit_status_of_its_process() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    for code in [0, 1, 127] {
        web.exec(["sh", "-c", &format!("exit {code}")]).exits(code);
    }
    web.exec(["sh", "-c", "kill -KILL $$"]).exits(137);
}

#[test]
fn exec_of_a_missing_program_fails_with_255_and_the_text_that_engines_look_for() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    web.exec(["no-such-program"])
        .exits(255)
        .fails_with(&["no-such-program", "executable file not found in $PATH"]);
    web.exec(["/no/such/program"])
        .exits(255)
        .fails_with(&["no such file or directory"]);
}

#[test]
fn exec_sees_the_containers_processes_and_its_files() {
    let host = Host::new();
    let web = host
        .container("web")
        .sh("echo made >/tmp/file; sleep 1000")
        .running();
    let output = web
        .exec([
            "sh",
            "-c",
            // The shell becomes the program by way of /proc/self/exe.
            "until grep -qx sleep /proc/1/comm; do :; done; cat /tmp/file; cat /proc/1/comm",
        ])
        .succeeds();
    assert_eq!(output.stdout, "made\nsleep\n");
}

#[test]
fn exec_takes_environment_directory_and_user() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    let script = "echo $COLOUR $(pwd) $(id -u):$(id -g)";
    let options = ["--env", "COLOUR=red", "--cwd", "/tmp", "--user", "1000:1000"];
    assert_eq!(
        web.exec_with(&options, ["sh", "-c", script]).succeeds().stdout,
        "red /tmp 1000:1000\n"
    );
}

#[test]
fn exec_takes_a_process_file() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    let file = host.dir().join("process.json");
    let process = json!({
        "args": ["sh", "-c", "echo $NAME; id -u; pwd"], "env": ["PATH=/bin", "NAME=file"], "cwd": "/etc",
        "user": {"uid": 1000, "gid": 1000}
    });
    fs::write(&file, process.to_string()).unwrap();
    let output = web
        .exec_with(&["--process", file.to_str().unwrap()], [])
        .succeeds();
    assert_eq!(output.stdout, "file\n1000\n/etc\n");
}

#[test]
fn exec_detached_writes_its_pid_and_returns() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    let pid_file = host.dir().join("exec.pid");
    let options = ["--detach", "--pid-file", pid_file.to_str().unwrap()];
    web.exec_with(&options, ["sleep", "1000"]).succeeds();
    let pid = fs::read_to_string(&pid_file).unwrap();
    let command = format!("/proc/{}/cmdline", pid.parse::<u32>().unwrap());
    wait_until("it executes", || {
        fs::read_to_string(&command).unwrap() == "sleep\x001000\0"
    });
}

#[test]
fn the_texts_that_callers_look_for_begin_with_runcs_words() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    web.try_create()
        .exits(1)
        .fails_with(&["container with given ID already exists"]);
    web.start()
        .exits(1)
        .fails_with(&["cannot start an already running container"]);
    web.delete()
        .exits(1)
        .fails_with(&["cannot delete container", "that is not stopped: running"]);
    web.exec(["/etc"])
        .exits(255)
        .fails_with(&["is a directory", "permission denied"]);
    web.exec(["/etc/passwd"])
        .exits(255)
        .fails_with(&["permission denied"]);
    web.exec(["/none"])
        .exits(255)
        .fails_with(&["no such file or directory"]);
    web.exec(["none"])
        .exits(255)
        .fails_with(&["exec: ", "executable file not found in $PATH"]);
    web.kill("KILL").succeeds();
    web.wait_for_status("stopped");
    web.exec(["true"])
        .exits(255)
        .fails_with(&["cannot exec in a stopped container"]);
    web.start()
        .exits(1)
        .fails_with(&["cannot start a container that has stopped"]);
    web.kill("TERM").exits(1).fails_with(&["container not running"]);
    web.delete().succeeds();
    web.kill("TERM")
        .exits(1)
        .fails_with(&["container does not exist"]);
    web.delete().exits(1).fails_with(&["container does not exist"]);

    let on_file = host.container("file").push(
        "/mounts",
        json!({"destination": "/etc/passwd", "source": "/proc", "type": "bind", "options": ["rbind"]}),
    );
    on_file.run().exits(1).fails_with(&["not a directory"]);
}

#[test]
fn exec_into_a_container_that_does_not_run_is_refused() {
    let host = Host::new();
    let web = host.container("web").running();
    web.wait_for_status("stopped");
    web.exec(["true"])
        .exits(255)
        .fails_with(&["cannot exec in a stopped container"]);
}

#[test]
fn exec_into_a_paused_container_is_refused() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    web.verb("pause").args([web.id()]).output().succeeds();
    web.exec(["true"]).exits(255).fails_with(&["paused"]);
    web.verb("resume").args([web.id()]).output().succeeds();
    web.exec(["true"]).succeeds();
}

#[test]
fn pause_freezes_and_resume_thaws() {
    let host = Host::new();
    let web = host
        .container("web")
        .sh("while :; do echo tick; sleep 0.02; done")
        .running();
    web.wait_for_stdout("tick");
    web.verb("pause").args([web.id()]).output().succeeds();
    assert_eq!(web.status(), "paused");
    let before = web.stdout();
    web.verb("state").args([web.id()]).output().succeeds();
    assert_eq!(web.stdout(), before, "a paused container wrote something");
    web.verb("resume").args([web.id()]).output().succeeds();
    assert_eq!(web.status(), "running");
    wait_until("it goes on", || web.stdout().len() > before.len());
}

#[test]
fn a_paused_container_is_deleted_by_force() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    web.verb("pause").args([web.id()]).output().succeeds();
    web.delete_force().succeeds();
}

#[test]
fn list_shows_containers_as_table_json_and_ids() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    let idle = host.container("idle").created();
    let table = host.minirun(["list"]).succeeds();
    let heading: Vec<&str> = table.lines()[0].split_whitespace().collect();
    assert_eq!(heading, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    let row = table
        .lines()
        .into_iter()
        .find(|line| line.starts_with(web.id()))
        .unwrap()
        .to_owned();
    assert!(
        row.contains("running") && row.contains(&web.pid().to_string()),
        "{row}"
    );

    let json = host.minirun(["list", "--format", "json"]).succeeds().json();
    let statuses: Vec<(&Value, &Value)> = json
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (&entry["id"], &entry["status"]))
        .collect();
    assert!(
        statuses.contains(&(&json!(web.id()), &json!("running"))),
        "{json}"
    );
    assert!(
        statuses.contains(&(&json!(idle.id()), &json!("created"))),
        "{json}"
    );

    let mut ids: Vec<String> = host
        .minirun(["list", "-q"])
        .succeeds()
        .lines()
        .iter()
        .map(|id| (*id).into())
        .collect();
    ids.sort();
    let mut expected = vec![web.id().to_owned(), idle.id().to_owned()];
    expected.sort();
    assert_eq!(ids, expected);
}

#[test]
fn list_on_a_fresh_host_is_empty() {
    let host = Host::new();
    assert_eq!(host.minirun(["list", "-q"]).succeeds().stdout, "");
}

#[test]
fn ps_shows_the_processes_by_their_host_ids() {
    let host = Host::new();
    let web = host
        .container("web")
        .sh("sleep 1000 & echo ready; wait")
        .running();
    web.wait_for_stdout("ready");
    let pids = web
        .verb("ps")
        .args(["--format", "json", web.id()])
        .output()
        .succeeds()
        .json();
    let pids: Vec<i64> = pids
        .as_array()
        .unwrap()
        .iter()
        .map(|pid| pid.as_i64().unwrap())
        .collect();
    assert_eq!(pids.len(), 2);
    assert!(pids.contains(&web.pid()));
}

#[test]
fn spec_writes_a_config_that_runs_and_never_overwrites_one() {
    let host = Host::new();
    let fresh = host.container("fresh");
    fs::remove_file(fresh.bundle().join("config.json")).unwrap();
    let spec = || host.runtime().cwd(fresh.bundle()).args(["spec"]).output();
    spec().succeeds();
    let written = fs::read(fresh.bundle().join("config.json")).unwrap();
    spec().exits(1).fails_with(&["config.json", "exist"]);
    assert_eq!(fs::read(fresh.bundle().join("config.json")).unwrap(), written);

    let mut config: Value = serde_json::from_slice(&written).unwrap();
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["echo", "spec"]);
    assert_eq!(
        fresh.edit(|mine| *mine = config).run().succeeds().stdout,
        "spec\n"
    );
}

#[test]
fn the_pid_file_holds_the_pid_and_nothing_else() {
    let host = Host::new();
    let web = host.container("web").sleeping();
    let file = host.dir().join("pid");
    web.create_with(&["--pid-file", file.to_str().unwrap()])
        .succeeds();
    assert_eq!(fs::read_to_string(&file).unwrap(), web.pid().to_string());
}

#[test]
fn a_relative_pid_file_is_relative_to_the_caller() {
    let host = Host::new();
    let web = host.container("web").sleeping();
    web.complete_create(web.verb("create").cwd(host.dir()).args(["--pid-file", "pid"]))
        .succeeds();
    assert_eq!(
        fs::read_to_string(host.dir().join("pid")).unwrap(),
        web.pid().to_string()
    );
}

#[test]
fn an_error_is_one_json_line_in_the_log_and_text_on_stderr() {
    let host = Host::new();
    let log = host.dir().join("log.json");
    fs::write(&log, "{\"level\":\"info\",\"msg\":\"an earlier line\"}\n").unwrap();
    let id = host.unique("nobody");
    let flags = [
        "--log",
        log.to_str().unwrap(),
        "--log-format",
        "json",
        "state",
        &id,
    ];
    host.minirun(flags).exits(1).fails_with(&["does not exist"]);
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!(lines[1]["level"], "error");
    assert!(
        lines[1]["msg"].as_str().unwrap().contains("does not exist"),
        "{text}"
    );
    assert!(lines[1]["time"].as_str().unwrap().contains('T'), "{text}");
}

#[test]
fn a_failed_create_says_so_in_the_json_log() {
    let host = Host::new();
    let log = host.dir().join("log.json");
    let broken = host.container("broken").args(["no-such-program"]);
    let flags = ["--log", log.to_str().unwrap(), "--log-format", "json", "create"];
    broken.complete_create(host.runtime().args(flags)).exits(1);
    let text = fs::read_to_string(&log).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["level"], "error");
    assert!(
        last["msg"]
            .as_str()
            .unwrap()
            .contains("executable file not found in $PATH"),
        "{text}"
    );
}

#[test]
fn root_moves_the_state_directory() {
    let host = Host::new();
    let web = host.container("web").sleeping();
    let root = host.dir().join("elsewhere");
    let root = root.to_str().unwrap();
    web.complete_create(host.runtime().args(["--root", root, "create"]))
        .succeeds();
    web.verb("state")
        .args([web.id()])
        .output()
        .fails_with(&["does not exist"]);
    host.minirun(["--root", root, "state", web.id()]).succeeds();
    host.minirun(["--root", root, "delete", "--force", web.id()])
        .succeeds();
}

#[test]
fn called_as_runc_it_says_so_and_has_its_containers_in_runcs_place() {
    let host = Host::new();
    let runc = host.dir().join("runc");
    fs::copy(host.binary(), &runc).unwrap();
    let version = host.command(&runc).args(["--version"]).output().succeeds();
    assert!(version.stdout.starts_with("runc version "), "{version}");
    let empty = host.command(&runc).args(["list", "-q"]).output().succeeds();
    assert_eq!(empty.stdout, "");
    let web = host.container("web").under(&runc).sleeping().running();
    assert!(host.path("/run/runc").join(web.id()).join("record.json").exists());
    host.minirun(["state", web.id()])
        .exits(1)
        .fails_with(&["does not exist"]);
    web.delete_force().succeeds();
}

#[test]
fn one_dash_is_enough_for_long_options() {
    let host = Host::new();
    let root = host.dir().join("one-dash");
    let web = host.container("web").args(["echo", "-root"]);
    let run = host
        .runtime()
        .args([
            "-root",
            root.to_str().unwrap(),
            "run",
            "-bundle",
            web.bundle().to_str().unwrap(),
        ])
        .args(["-no-new-keyring", web.id()])
        .output()
        .succeeds();
    assert_eq!(run.stdout, "-root\n");
    assert!(root.exists());
    let web = web.sleeping().running();
    assert_eq!(
        web.exec(["echo", "-root", "-all"]).succeeds().stdout,
        "-root -all\n"
    );
}

#[test]
fn the_log_may_be_given_in_cruns_words() {
    let host = Host::new();
    let log = host.dir().join("crun.log");
    let file = format!("file:{}", log.display());
    host.minirun(["--log", &file, "--log-format", "json", "state", "nobody"])
        .exits(1);
    let line: Value = serde_json::from_str(&fs::read_to_string(&log).unwrap()).unwrap();
    assert_eq!(line["level"], "error");
    host.minirun(["--log", "journald:x", "list"])
        .exits(1)
        .fails_with(&["journald is not supported"]);
}

#[test]
fn the_cgroup_manager_may_be_given_in_cruns_words() {
    let host = Host::new();
    let manager = |name: &'static str| host.runtime().args(["--cgroup-manager", name, "create"]);
    let web = host.container("web").sleeping();
    web.complete_create(manager("cgroupfs")).succeeds();
    assert!(web.cgroup("memory").exists());
    web.delete_force().succeeds();
    // conmon's --cgroups=disabled: the container is where its caller is.
    let web = host.container("free").sleeping();
    web.complete_create(manager("disabled")).succeeds();
    web.start().succeeds();
    let own = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_eq!(own(&web.pid().to_string()), own("self"));
    web.delete_force().succeeds();
    let limited = host
        .container("limited")
        .edit(|config| config["linux"]["resources"] = json!({"pids": {"limit": 20}}));
    limited.complete_create(manager("disabled")).exits(1);
    assert!(!host.path("/run/minirun").join(limited.id()).exists());
    host.minirun(["--cgroup-manager", "none", "list"]).exits(1);
}

#[test]
fn version_is_in_the_shape_that_engines_parse() {
    let host = Host::new();
    let version = host.minirun(["--version"]).succeeds();
    let first: Vec<&str> = version.lines()[0].split(' ').collect();
    assert_eq!(first[1], "version");
    assert!(first[2].starts_with(|c: char| c.is_ascii_digit()), "{version}");
    assert!(
        version.lines().iter().any(|line| line.starts_with("spec: 1.")),
        "{version}"
    );
    assert!(
        version.lines()[1..].iter().all(|line| !line.contains("version")),
        "{version}"
    );
}

#[test]
fn features_are_the_document_that_engines_parse() {
    let host = Host::new();
    let output = host.minirun(["features"]);
    // Typed, as dockerd and containerd read it: a field of the wrong type would fail here.
    let features: oci_spec::runtime::Features = serde_json::from_value(output.succeeds().json()).unwrap();
    assert_eq!(features.oci_version_min(), "1.0.0");
    assert_eq!(features.oci_version_max(), "1.3.0");
    let annotations = features.potentially_unsafe_config_annotations();
    assert_eq!(
        annotations.as_deref(),
        Some(&["minirun.", "run.oci.mount_context_type", "org.systemd.property."].map(str::to_owned)[..])
    );
}

#[test]
fn features_name_what_was_compiled_in() {
    let host = Host::new();
    let output = host.minirun(["features"]);
    let features = output.succeeds().json();
    let names = |pointer: &str, expected: &[&str]| {
        let list = features.pointer(pointer).and_then(|list| list.as_array());
        let list = list.unwrap_or_else(|| panic!("no list {pointer} in {features:#}"));
        for name in expected {
            assert!(
                list.contains(&json!(name)),
                "{name} is not in {pointer}: {list:?}"
            );
        }
    };
    names(
        "/hooks",
        &["prestart", "createRuntime", "startContainer", "poststop"],
    );
    names("/mountOptions", &["ro", "rbind", "rro", "tmpcopyup"]);
    names("/linux/namespaces", &["cgroup", "time", "user"]);
    names("/linux/capabilities", &["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"]);
    names("/linux/seccomp/actions", &["SCMP_ACT_ERRNO", "SCMP_ACT_NOTIFY"]);
    names("/linux/seccomp/operators", &["SCMP_CMP_MASKED_EQ"]);
    names("/linux/seccomp/archs", &["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"]);
    names("/linux/seccomp/knownFlags", &["SECCOMP_FILTER_FLAG_LOG"]);
    names("/linux/memoryPolicy/modes", &["MPOL_BIND", "MPOL_LOCAL"]);
    names("/linux/memoryPolicy/flags", &["MPOL_F_STATIC_NODES"]);
    for (pointer, expected) in [
        ("/linux/cgroup/v1", true),
        ("/linux/cgroup/v2", true),
        ("/linux/cgroup/rdma", true),
        ("/linux/seccomp/enabled", true),
        ("/linux/cgroup/systemd", true),
        ("/linux/mountExtensions/idmap/enabled", true),
        ("/linux/netDevices/enabled", true),
        ("/linux/apparmor/enabled", true),
        ("/linux/selinux/enabled", true),
        ("/linux/intelRdt/enabled", true),
        ("/linux/intelRdt/schemata", true),
        ("/linux/intelRdt/monitoring", true),
    ] {
        assert_eq!(features.pointer(pointer), Some(&json!(expected)), "{pointer}");
    }
}

#[test]
fn annotations_appear_in_the_state() {
    let host = Host::new();
    let web = host
        .container("web")
        .edit(|config| config["annotations"] = json!({"org.example.colour": "red"}))
        .created();
    assert_eq!(web.state()["annotations"]["org.example.colour"], "red");
}

#[test]
fn two_creates_of_one_id_at_once_have_exactly_one_winner() {
    let host = Host::new();
    for _ in 0..5 {
        let web = host.container("web").sleeping();
        let commands: Vec<_> = (0..4)
            .map(|_| web.verb("create").args(web.bundle_and_id()).spawn())
            .collect();
        let codes: Vec<i32> = commands.into_iter().map(|command| command.wait().code).collect();
        assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
        assert_eq!(web.status(), "created");
        web.delete_force().succeeds();
    }
}

#[test]
fn five_hundred_mounts_on_the_host_do_not_matter() {
    let host = Host::new();
    let mounts = host.dir().join("mounts");
    fs::create_dir(&mounts).unwrap();
    host.sh(&format!(
        "i=0; while [ $i -lt 500 ]; do mount -t tmpfs none {}; i=$((i+1)); done",
        mounts.display()
    ));
    host.container("web").run().succeeds();
    host.sh(&format!(
        "while umount {} 2>/dev/null; do :; done",
        mounts.display()
    ));
}
