//! The process: ids, capabilities, limits, environment, directory, descriptors, terminal.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use serde_json::json;

use crate::harness::{ConsoleSocket, Host, skip};

/// The shell's descriptors. A command behind `ls` keeps the shell from becoming `ls`, whose directory would be among them.
const OPEN_DESCRIPTORS: &str = "ls /proc/$$/fd; :";

#[test]
fn user_group_and_additional_groups_are_set() {
    let host = Host::new();
    let user = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 2000]});
    let report = host
        .container("ids")
        .edit(|config| config["process"]["user"] = user)
        .probe();
    assert_eq!(report.status("Uid"), "1000 1000 1000 1000");
    assert_eq!(report.status("Gid"), "1001 1001 1001 1001");
    assert_eq!(report.status("Groups"), "5 2000");
}

#[test]
fn groups_of_the_caller_do_not_reach_the_process() {
    let host = Host::new();
    assert_eq!(host.container("ids").probe().status("Groups"), "");
}

#[test]
fn umask_is_set_and_022_without_one() {
    let host = Host::new();
    assert_eq!(
        host.container("default").sh("umask").run().succeeds().stdout,
        "0022\n"
    );
    let tight = host
        .container("tight")
        .sh("umask")
        .edit(|config| config["process"]["user"]["umask"] = json!(0o077));
    assert_eq!(tight.run().succeeds().stdout, "0077\n");
}

#[test]
fn the_five_capability_sets_are_exactly_those_of_the_config() {
    let host = Host::new();
    let sets = json!({
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_SYS_CHROOT"],
        "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
        "effective": ["CAP_CHOWN", "CAP_KILL"],
        "inheritable": ["CAP_NET_RAW", "CAP_KILL"],
        "ambient": ["CAP_NET_RAW"]
    });
    // Not root, so that execve computes the sets from these and not from the user id.
    let report = host
        .container("caps")
        .edit(|config| {
            config["process"]["capabilities"] = sets;
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        })
        .probe();
    let (chown, kill, net_raw, sys_chroot) = (1 << 0, 1 << 5, 1 << 13, 1 << 18);
    let set = |name: &str| u64::from_str_radix(&report.status(name), 16).unwrap();
    assert_eq!(set("CapBnd"), chown | kill | net_raw | sys_chroot);
    assert_eq!(set("CapInh"), net_raw | kill);
    assert_eq!(set("CapAmb"), net_raw);
    // An execve keeps of a non-root user's sets what is ambient.
    assert_eq!((set("CapPrm"), set("CapEff")), (net_raw, net_raw));
}

#[test]
fn root_keeps_the_bounding_set_and_inherits_nothing() {
    let host = Host::new();
    let report = host.container("caps").probe();
    let (kill, net_bind, audit_write) = (1_u64 << 5, 1 << 10, 1 << 29);
    let set = |name: &str| u64::from_str_radix(&report.status(name), 16).unwrap();
    for name in ["CapBnd", "CapPrm", "CapEff"] {
        assert_eq!(set(name), kill | net_bind | audit_write, "{name}");
    }
    assert_eq!((set("CapInh"), set("CapAmb")), (0, 0));
}

#[test]
fn exec_has_the_capabilities_of_the_config_and_inherits_nothing() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    let report = web.probe_by_exec();
    let (kill, net_bind, audit_write) = (1_u64 << 5, 1 << 10, 1 << 29);
    assert_eq!(
        report.status("CapEff"),
        format!("{:016x}", kill | net_bind | audit_write)
    );
    assert_eq!(report.status("CapInh"), format!("{:016x}", 0));
}

#[test]
fn without_capabilities_the_process_has_none() {
    let host = Host::new();
    let report = host
        .container("caps")
        .edit(|config| {
            config["process"].as_object_mut().unwrap().remove("capabilities");
        })
        .probe();
    for name in ["CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"] {
        assert_eq!(report.status(name), format!("{:016x}", 0), "{name}");
    }
}

#[test]
fn an_unknown_capability_is_a_warning() {
    let host = Host::new();
    let caps = json!(["CAP_KILL", "CAP_FROM_THE_FUTURE"]);
    let output = host
        .container("caps")
        .args(["echo", "ran"])
        .edit(|config| config["process"]["capabilities"]["bounding"] = caps)
        .run()
        .succeeds();
    assert_eq!(output.stdout, "ran\n");
    assert!(output.stderr.contains("CAP_FROM_THE_FUTURE"), "{output}");
}

#[test]
fn resource_limits_are_set() {
    let host = Host::new();
    let limits = json!([
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_STACK", "soft": 1_048_576, "hard": 8_388_608}
    ]);
    let report = host
        .container("limits")
        .edit(|config| config["process"]["rlimits"] = limits)
        .probe();
    let limit = |name: &str| {
        let line = report
            .section("limits")
            .iter()
            .find(|line| line.starts_with(name))
            .unwrap();
        line[name.len()..]
            .split_whitespace()
            .take(2)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(limit("Max open files"), "100 200");
    assert_eq!(limit("Max core file size"), "0 0");
    assert_eq!(limit("Max stack size"), "1048576 8388608");
}

#[test]
fn a_limit_of_ten_open_files_works() {
    let host = Host::new();
    let limits = json!([{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 10}]);
    let low = host
        .container("low")
        .sh("ulimit -n; sleep 1000")
        .edit(|config| config["process"]["rlimits"] = limits)
        .running();
    low.wait_for_stdout("10\n");
    assert_eq!(low.exec(["sh", "-c", "ulimit -n"]).succeeds().stdout, "10\n");
}

#[test]
fn no_new_privileges_is_set_only_when_asked_for() {
    let host = Host::new();
    for asked in [true, false] {
        let report = host
            .container("nnp")
            .edit(|config| config["process"]["noNewPrivileges"] = json!(asked))
            .probe();
        assert_eq!(report.status("NoNewPrivs"), u8::from(asked).to_string());
    }
}

#[test]
fn the_environment_is_the_configs_with_home_from_the_user_database() {
    let host = Host::new();
    let environment = |uid: u32| {
        let container = host.container("env").edit(|config| {
            config["process"]["env"] = json!(["PATH=/bin", "NAME=first", "NAME=last", "EMPTY="]);
            config["process"]["user"] = json!({"uid": uid, "gid": uid});
        });
        // As seen by execve: the shell adds variables of its own to what it exports.
        container
            .sh("tr '\\0' '\\n' </proc/$$/environ | sort")
            .run()
            .succeeds()
            .stdout
    };
    assert_eq!(environment(0), "EMPTY=\nHOME=/root\nNAME=last\nPATH=/bin\n");
    assert_eq!(
        environment(1000),
        "EMPTY=\nHOME=/home/app\nNAME=last\nPATH=/bin\n"
    );
    assert_eq!(environment(4242), "EMPTY=\nHOME=/\nNAME=last\nPATH=/bin\n");
}

#[test]
fn home_of_the_config_stands() {
    let host = Host::new();
    let output = host
        .container("env")
        .sh("echo $HOME")
        .push("/process/env", json!("HOME=/elsewhere"))
        .run()
        .succeeds();
    assert_eq!(output.stdout, "/elsewhere\n");
}

#[test]
fn the_program_is_looked_up_in_the_path_of_the_config() {
    let host = Host::new();
    let tool = host
        .container("path")
        .args(["tool"])
        .edit(|config| config["process"]["env"] = json!(["PATH=/none:/opt"]));
    host.sh(&format!(
        "cd {}; mkdir opt; printf '#!/bin/sh\\necho from opt\\n' >opt/tool; chmod 755 opt/tool",
        tool.rootfs().display()
    ));
    assert_eq!(tool.run().succeeds().stdout, "from opt\n");
}

#[test]
fn a_missing_program_fails_create_with_the_text_that_engines_look_for() {
    let host = Host::new();
    let bare = host.container("bare").args(["no-such-program"]);
    bare.run()
        .exits(1)
        .fails_with(&["no-such-program", "executable file not found in $PATH"]);
    let path = host.container("path").args(["/no/such/program"]);
    path.run().exits(1).fails_with(&["no such file or directory"]);
    let directory = host.container("directory").args(["/etc"]);
    directory
        .run()
        .exits(1)
        .fails_with(&["/etc", "is a directory", "permission denied"]);
    let data = host.container("data").args(["/etc/passwd"]);
    data.run().exits(1).fails_with(&["permission denied"]);
}

#[test]
fn the_working_directory_is_set_and_made_when_missing() {
    let host = Host::new();
    let output = host
        .container("cwd")
        .args(["pwd"])
        .edit(|config| config["process"]["cwd"] = json!("/etc"))
        .run();
    assert_eq!(output.succeeds().stdout, "/etc\n");
    let made = host
        .container("made")
        .args(["pwd"])
        .edit(|config| config["process"]["cwd"] = json!("/srv/made/here"));
    assert_eq!(made.run().succeeds().stdout, "/srv/made/here\n");
    assert!(made.rootfs().join("srv/made/here").is_dir());
}

#[test]
fn a_working_directory_that_only_its_user_may_enter_is_entered() {
    let host = Host::new();
    let private = host.container("cwd").args(["pwd"]).edit(|config| {
        config["process"]["cwd"] = json!("/home/app");
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    host.sh(&format!(
        "cd {}/home; mkdir app; chown 1000:1000 app; chmod 700 app",
        private.rootfs().display()
    ));
    assert_eq!(private.run().succeeds().stdout, "/home/app\n");
}

#[test]
fn oom_score_adjustment_is_set_and_else_left_alone() {
    let host = Host::new();
    let asked = host
        .container("oom")
        .edit(|config| config["process"]["oomScoreAdj"] = json!(321))
        .probe();
    assert_eq!(asked.section("oom_score_adj"), ["321"]);
    let mine = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(
        host.container("oom").probe().section("oom_score_adj"),
        [mine.trim()]
    );
}

#[test]
fn only_the_standard_streams_reach_the_process() {
    let host = Host::new();
    let web = host.container("fds").probing();
    let output = web
        .verb("run")
        .after("exec 3</ 4</etc/passwd 9</")
        .args(web.bundle_and_id())
        .output()
        .succeeds();
    assert_eq!(
        crate::harness::Report::parse(&output.stdout).section("descriptors"),
        ["0", "1", "2"]
    );
    let web = host.container("fds").sleeping().running();
    assert_eq!(web.probe_by_exec().section("descriptors"), ["0", "1", "2"]);
}

#[test]
fn preserved_descriptors_reach_the_process() {
    let host = Host::new();
    let kept = host.container("fds").sh(&format!("cat <&3; {OPEN_DESCRIPTORS}"));
    let file = host.dir().join("kept");
    fs::write(&file, "kept\n").unwrap();
    let open = format!("exec 3<{} 4</ 5</", file.display());
    let run = kept
        .verb("run")
        .after(&open)
        .args(["--preserve-fds", "2"])
        .args(kept.bundle_and_id());
    assert_eq!(run.output().succeeds().stdout, "kept\n0\n1\n2\n3\n4\n");
}

#[test]
fn preserved_descriptors_must_be_open() {
    let host = Host::new();
    let kept = host.container("fds");
    kept.verb("run")
        .args(["--preserve-fds", "3"])
        .args(kept.bundle_and_id())
        .output()
        .exits(1);
}

#[test]
fn listen_fds_are_handed_on_with_the_variables_that_announce_them() {
    let host = Host::new();
    let server = host
        .container("socket")
        .sh(&format!("echo $LISTEN_FDS $LISTEN_PID; {OPEN_DESCRIPTORS}"));
    let run = server
        .verb("run")
        .after("exec 3</ 4</; export LISTEN_FDS=2 LISTEN_PID=$$")
        .args(server.bundle_and_id())
        .output()
        .succeeds();
    assert_eq!(run.stdout, "2 1\n0\n1\n2\n3\n4\n");
}

#[test]
fn processes_have_a_session_keyring_of_their_own_unless_told() {
    let host = Host::new();
    let web = host.container("web").sh("cat /proc/keys").edit(|config| {
        // Docker masks this file.
        config["linux"]["maskedPaths"] = json!([]);
    });
    let own = format!("_ses.{}", web.id());
    let output = web.run().succeeds();
    if output.stdout.is_empty() {
        skip!("needs a kernel with keyrings");
    }
    assert!(output.stdout.contains(&own), "{output}");
    // Another container: the kernel takes a keyring away some time after its last process.
    let other = host.container("other").sh("cat /proc/keys").edit(|config| {
        config["linux"]["maskedPaths"] = json!([]);
    });
    let output = other.run_with(&["--no-new-keyring"]).succeeds();
    assert!(!output.stdout.is_empty(), "{output}");
    assert!(
        !output.stdout.contains(&format!("_ses.{}", other.id())),
        "{output}"
    );
}

#[test]
fn listen_fds_that_are_announced_to_another_process_stay_with_the_caller() {
    let host = Host::new();
    let server = host
        .container("socket")
        .sh(&format!("echo ${{LISTEN_FDS-none}}; {OPEN_DESCRIPTORS}"));
    let run = server
        .verb("run")
        .after("exec 3</ 4</; export LISTEN_FDS=2 LISTEN_PID=1")
        .args(server.bundle_and_id())
        .output()
        .succeeds();
    assert_eq!(run.stdout, "none\n0\n1\n2\n");
}

#[test]
fn the_pidfd_socket_gets_a_descriptor_of_the_process_before_it_starts() {
    let host = Host::new();
    let names = |socket: &ConsoleSocket| {
        let descriptor = socket.descriptor();
        let path = format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd());
        let info = fs::read_to_string(path).unwrap();
        let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"));
        pid.unwrap_or_else(|| panic!("no pidfd: {info}"))
            .trim()
            .parse::<i64>()
            .unwrap()
    };
    let web = host.container("web").sleeping();
    let socket = ConsoleSocket::listen(web.bundle());
    web.create_with(&["--pidfd-socket", socket.path()]).succeeds();
    assert_eq!(names(&socket), web.pid());
    web.start().succeeds();
    let pid_file = host.dir().join("pid");
    let options = [
        "--detach",
        "--pid-file",
        pid_file.to_str().unwrap(),
        "--pidfd-socket",
        socket.path(),
    ];
    web.exec_with(&options, ["sleep", "1000"]).succeeds();
    assert_eq!(names(&socket).to_string(), fs::read_to_string(pid_file).unwrap());
}

#[test]
fn the_standard_streams_belong_to_the_user_who_may_open_them_again() {
    let host = Host::new();
    let web = host
        .container("web")
        .sh("echo again >/dev/stderr")
        .edit(|config| {
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        });
    let (stdout, stderr) = (host.dir().join("stdout"), host.dir().join("stderr"));
    let run = web.verb("run").args(web.bundle_and_id());
    run.streams(&stdout, &stderr).output().succeeds();
    assert_eq!(fs::read_to_string(stderr).unwrap(), "again\n");
    assert_eq!(fs::metadata(stdout).unwrap().uid(), 1000);
}

#[test]
fn a_caller_without_standard_streams_does_not_break_create() {
    let host = Host::new();
    let web = host
        .container("web")
        .sh("exec sleep 1000 >/dev/null 2>&1 </dev/null");
    web.complete_create(web.verb("create").after("exec <&- >&- 2>&-"))
        .succeeds();
    web.start().succeeds();
    assert_eq!(web.status(), "running");
}

#[test]
fn a_caller_with_an_empty_environment_does_not_break_run() {
    let host = Host::new();
    let web = host.container("web").args(["echo", "ran"]);
    let after = "unset $(env | cut -d= -f1)";
    assert_eq!(
        web.verb("run")
            .after(after)
            .args(web.bundle_and_id())
            .output()
            .succeeds()
            .stdout,
        "ran\n"
    );
}

#[test]
fn a_terminal_comes_over_the_console_socket() {
    let host = Host::new();
    let socket = ConsoleSocket::listen(host.dir());
    let shell = host
        .container("tty")
        .sh("tty; stty size; test -t 0 && test -c /dev/console && echo yes; read line; echo got $line")
        .edit(|config| {
            config["process"]["terminal"] = json!(true);
            config["process"]["consoleSize"] = json!({"height": 33, "width": 77});
        });
    shell.create_with(&["--console-socket", socket.path()]).succeeds();
    let mut terminal = socket.terminal();
    shell.start().succeeds();
    let greeting = terminal.read_until("yes");
    assert!(greeting.contains("/dev/pts/0"), "{greeting}");
    assert!(greeting.contains("33 77"), "{greeting}");
    terminal.type_line("hello");
    terminal.read_until("got hello");
    shell.wait_for_status("stopped");
}

#[test]
fn exec_has_a_terminal_of_its_own() {
    let host = Host::new();
    let socket = ConsoleSocket::listen(host.dir());
    let web = host.container("web").sleeping().running();
    let options = ["--tty", "--detach", "--console-socket", socket.path()];
    web.exec_with(
        &options,
        ["sh", "-c", "test -t 0 && echo yes; read line; echo got $line"],
    )
    .succeeds();
    let mut terminal = socket.terminal();
    terminal.read_until("yes");
    terminal.type_line("hello");
    terminal.read_until("got hello");
}

#[test]
fn a_terminal_without_console_socket_is_refused_for_create_and_names_the_option() {
    let host = Host::new();
    let shell = host
        .container("tty")
        .edit(|config| config["process"]["terminal"] = json!(true));
    let text = "cannot allocate tty if runc will detach without setting console socket";
    let refused = shell.try_create();
    assert_eq!(refused.code, 1, "{refused}");
    assert!(
        fs::read_to_string(shell.bundle().join("stderr"))
            .unwrap()
            .contains(text)
    );
}

#[test]
fn a_console_socket_without_terminal_is_refused() {
    let host = Host::new();
    let socket = ConsoleSocket::listen(host.dir());
    let plain = host.container("plain");
    assert_eq!(plain.create_with(&["--console-socket", socket.path()]).code, 1);
}

#[test]
fn the_process_leads_a_session_and_has_default_signal_handling() {
    let host = Host::new();
    let web = host.container("session").probing();
    let caller = "trap '' HUP PIPE USR1";
    let output = web
        .verb("run")
        .after(caller)
        .args(web.bundle_and_id())
        .output()
        .succeeds();
    let report = crate::harness::Report::parse(&output.stdout);
    // pid 1 in its own pid namespace: session and group are its own.
    let session: Vec<&str> = report.section("session")[0].split(' ').collect();
    assert_eq!(session[1..3], ["1", "1"], "{session:?}");
    let blocked = report
        .section("signals")
        .iter()
        .find(|line| line.starts_with("SigBlk"))
        .unwrap();
    assert!(blocked.ends_with("0000000000000000"), "{blocked}");
    // The shell that probes ignores SIGQUIT by itself.
    let ignored = report
        .section("signals")
        .iter()
        .find_map(|line| line.strip_prefix("SigIgn:\t"))
        .unwrap();
    assert_eq!(ignored, format!("{:016x}", 1 << 2));
}

#[test]
fn a_container_without_process_is_created_and_cannot_start() {
    let host = Host::new();
    let empty = host
        .container("empty")
        .edit(|config| {
            config.as_object_mut().unwrap().remove("process");
        })
        .created();
    empty.start().exits(1).fails_with(&["process"]);
}
