//! The form that people use, `run BUNDLE/`: where the id comes from, which network it joins, and the foreground.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Container, Host, Terminal, wait_until};

/// The container's interfaces, as it sees them itself.
#[track_caller]
fn interfaces(container: &Container<'_>) -> Vec<String> {
    let listed = container.exec(["ls", "/sys/class/net"]).succeeds();
    listed.stdout.split_whitespace().map(str::to_owned).collect()
}

/// Whether a network of ours stands on the host: its bridge, its firewall table, its state.
#[track_caller]
fn assert_no_network(host: &Host) {
    let links = host.ip("-o link").stdout;
    assert_eq!(links.lines().count(), 1, "more than the loopback: {links}");
    let tables = host.nft("list tables");
    assert_eq!(tables, "");
    assert!(!host.path("/run/minirun/net").exists(), "state of networks");
    assert!(!host.path("/var/lib/minirun/net").exists(), "a definition");
}

#[test]
fn a_bundle_gives_its_directorys_name_to_the_container_and_joins_the_default_network() {
    let host = Host::new();
    let web = host.container("web").sleeping().detached(&[]);
    assert_eq!(web.status(), "running");
    assert_eq!(interfaces(&web), ["eth0", "lo"]);
    let networks = &web.inspect()["networks"];
    assert_eq!(networks[0]["network"], "default", "{networks}");
    assert!(host.ip("-o link").stdout.contains("minirun0"));
}

#[test]
fn a_name_goes_before_the_directorys() {
    let host = Host::new();
    let web = host.container("web").sleeping();
    let name = host.unique("other");
    web.run_bundle(&["--detach", "--name", &name]).succeeds();
    let state = host.minirun(["state", &name]).succeeds().json();
    assert_eq!(state["bundle"], web.bundle().to_str().unwrap());
    host.minirun(["state", web.id()]).fails_with(&["does not exist"]);
    host.minirun(["delete", "--force", &name]).succeeds();
}

#[test]
fn a_bundle_may_be_given_by_a_relative_path_with_a_slash_anywhere() {
    let host = Host::new();
    let web = host.container("web").sh("hostname").edit(|config| {
        config.as_object_mut().unwrap().remove("hostname");
    });
    for path in [
        format!("./{}", web.id()),
        format!("{}/", web.id()),
        format!("./{}///", web.id()),
        format!("{}/rootfs/..", web.id()),
    ] {
        let run = host.runtime().cwd(host.dir()).args(["run", &path]);
        assert_eq!(run.output().succeeds().stdout.trim(), web.id(), "{path}");
    }
    let here = host.runtime().cwd(web.bundle()).args(["run", "./"]).output();
    assert_eq!(here.succeeds().stdout.trim(), web.id());
}

#[test]
fn a_bundle_without_a_slash_is_an_id_and_the_error_says_how_to_spell_a_bundle() {
    let host = Host::new();
    let web = host.container("web").sleeping();
    host.runtime()
        .cwd(host.dir())
        .args(["run", web.id()])
        .output()
        .exits(1)
        .fails_with(&["config.json", &format!("minirun run ./{}", web.id())]);
    // Nothing to confuse it with: no such hint.
    let other = host
        .runtime()
        .cwd(host.dir())
        .args(["run", "nowhere"])
        .output()
        .exits(1);
    assert!(!other.stderr.contains("minirun run ./"), "{other}");
}

#[test]
fn a_contradictory_command_line_is_refused() {
    let host = Host::new();
    let web = host.container("web").sleeping();
    let bundle = web.bundle().to_str().unwrap();
    for (args, texts) in [
        (vec!["run", "--name", "a", "b"], vec!["--name", "./b"]),
        (vec!["run", "--bundle", bundle, "./b"], vec!["--bundle"]),
        (vec!["run", "--name", "a b", bundle], vec!["--name"]),
        (vec!["run", "/does/not/exist"], vec!["/does/not/exist"]),
        (vec!["run", "/"], vec!["--name"]),
        (vec!["run", "/etc/passwd"], vec!["/etc/passwd"]),
    ] {
        host.minirun(args).exits(1).fails_with(&texts);
    }
    assert_no_network(&host);
}

#[test]
fn a_directory_whose_name_is_no_id_needs_a_name() {
    let host = Host::new();
    let web = host.container("web").sh("echo hello");
    let odd = host.dir().join("a b");
    std::fs::rename(web.bundle(), &odd).unwrap();
    let odd = odd.to_str().unwrap();
    host.minirun(["run", odd]).exits(1).fails_with(&["a b", "--name"]);
    let named = host.minirun(["run", "--name", web.id(), odd]).succeeds();
    assert_eq!(named.stdout, "hello\n");
}

#[test]
fn engines_get_no_network() {
    let host = Host::new();
    let created = host.container("created").sleeping().running();
    assert_eq!(interfaces(&created), ["lo"]);
    let run = host.container("run").args(["ls", "/sys/class/net"]);
    assert_eq!(run.run().succeeds().stdout, "lo\n");
    assert_eq!(created.inspect()["networks"], json!([]));
    assert_no_network(&host);
}

#[test]
fn an_annotation_asks_for_a_network_in_every_form() {
    let host = Host::new();
    let annotated = |value: &str| {
        let value = json!(value);
        host.container("web")
            .sleeping()
            .edit(|config| config["annotations"]["minirun.network"] = value)
    };
    let alone = annotated("none").detached(&[]);
    assert_eq!(interfaces(&alone), ["lo"]);
    assert_no_network(&host);
    let joined = annotated("default").running();
    assert_eq!(interfaces(&joined), ["eth0", "lo"]);
    // The flag is nearer to the person than the file.
    let overruled = annotated("default").detached(&["--network", "none"]);
    assert_eq!(interfaces(&overruled), ["lo"]);
    host.define_network("front", &json!({"subnet": "10.1.0.0/24", "gateway": "10.1.0.1"}));
    let both = annotated("front:ip=10.1.0.9 default").running();
    assert_eq!(interfaces(&both), ["eth0", "eth1", "lo"]);
    assert_eq!(both.address(), "10.1.0.9");
}

#[test]
fn a_flag_asks_for_a_network_in_runcs_forms() {
    let host = Host::new();
    let web = host.container("web").sleeping();
    web.create_with(&["--network", "default"]).succeeds();
    web.start().succeeds();
    assert_eq!(interfaces(&web), ["eth0", "lo"]);
    let run = host.container("run").args(["ls", "/sys/class/net"]);
    let run = run.run_with(&["--network", "default"]).succeeds();
    assert_eq!(run.stdout, "eth0\nlo\n");
}

#[test]
fn network_none_leaves_a_loopback_and_network_host_is_the_hosts() {
    let host = Host::new();
    let alone = host
        .container("alone")
        .sleeping()
        .detached(&["--network", "none"]);
    assert_eq!(interfaces(&alone), ["lo"]);
    let shared = host
        .container("shared")
        .sleeping()
        .detached(&["--network", "host"]);
    let namespace = |pid: String| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    assert_eq!(
        namespace(shared.pid().to_string()),
        namespace(host.pid().to_string())
    );
    assert_eq!(shared.inspect()["networks"], json!([]));
    assert_no_network(&host);
}

#[test]
fn a_network_namespace_given_by_path_is_left_alone() {
    let host = Host::new();
    let owner = host.container("owner").sleeping().running();
    let path = format!("/proc/{}/ns/net", owner.pid());
    let joined = |name| {
        host.container(name)
            .sleeping()
            .namespace(json!({"type": "network", "path": path}))
            .edit(|config| config["annotations"]["minirun.network"] = json!("default"))
    };
    let web = joined("web").detached(&[]);
    assert_eq!(interfaces(&web), ["lo"]);
    for network in ["default", "host"] {
        joined("refused")
            .run_bundle(&["--detach", "--network", network])
            .exits(1)
            .fails_with(&["--network", "network namespace"]);
    }
    assert_no_network(&host);
}

#[test]
fn a_second_run_of_a_bundle_is_refused_and_the_first_keeps_its_network() {
    let host = Host::new();
    let web = host.container("web").serving().detached(&[]).listens();
    host.minirun(["run", "--detach", web.bundle().to_str().unwrap()])
        .exits(1)
        .fails_with(&[web.id(), "exists"]);
    let gateway = web.inspect()["networks"][0]["gateway"].clone();
    assert_eq!(json!(host.known_at(&web.address())), gateway);
}

#[test]
fn a_bundle_run_in_the_foreground_hands_through_input_output_and_exit_status() {
    let host = Host::new();
    let web = host
        .container("web")
        .sh("ls /sys/class/net; cat; echo done >&2; exit 42");
    let output = web
        .verb("run")
        .args([web.bundle()])
        .stdin(b"from the caller\n")
        .output();
    let output = output.exits(42);
    assert_eq!(output.stdout, "eth0\nlo\nfrom the caller\n");
    assert!(output.stderr.ends_with("done\n"), "{output}");
    host.minirun(["state", web.id()]).fails_with(&["does not exist"]);
}

#[test]
fn a_bundle_run_in_the_foreground_gets_the_callers_signals() {
    let host = Host::new();
    let web = host
        .container("web")
        .sh("trap 'echo int' INT; trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done");
    let running = web.verb("run").args([web.bundle()]).spawn();
    wait_until("the process is ready", || running.stdout().contains("ready"));
    running.signal(Signal::SIGINT);
    wait_until("the signal has arrived", || running.stdout().contains("int"));
    running.signal(Signal::SIGTERM);
    running.wait().exits(7);
}

#[test]
fn a_foreground_container_has_the_callers_terminal_and_follows_its_size() {
    let host = Host::new();
    let shell = host
        .container("shell")
        .sh("tty; stty size; read line; echo got $line; stty size; exit 9")
        .edit(|config| config["process"]["terminal"] = json!(true));
    let (mut terminal, slave) = Terminal::open();
    let modes = terminal.stty(&["-g"]);
    let running = shell.verb("run").args([shell.bundle()]).terminal(slave).spawn();
    let greeting = terminal.read_until("24 80");
    assert!(greeting.contains("/dev/pts/0"), "{greeting}");
    assert_ne!(
        terminal.stty(&["-g"]),
        modes,
        "raw, so that every key goes to the container"
    );
    // The signal that tells of it is there before the line is.
    terminal.stty(&["rows", "33", "cols", "99"]);
    terminal.type_line("hello");
    let answer = terminal.read_until("33 99");
    assert!(answer.contains("got hello"), "{answer}");
    running.wait().exits(9);
    assert_eq!(
        terminal.stty(&["-g"]),
        modes,
        "the caller's terminal is as it was"
    );
}

#[test]
fn control_c_in_a_terminal_is_the_containers() {
    let host = Host::new();
    let shell = host
        .container("shell")
        .sh("trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.05; done")
        .edit(|config| config["process"]["terminal"] = json!(true));
    let (mut terminal, slave) = Terminal::open();
    let running = shell.verb("run").args([shell.bundle()]).terminal(slave).spawn();
    terminal.read_until("ready");
    terminal.type_keys("\x03");
    terminal.read_until("caught");
    running.wait().exits(3);
}

#[test]
fn exec_has_the_callers_terminal() {
    let host = Host::new();
    let web = host.container("web").sleeping().detached(&[]);
    let (mut terminal, slave) = Terminal::open();
    let script = "tty; stty size; read line; echo got $line; stty size; exit 5";
    let running = web
        .verb("exec")
        .args(["--tty", web.id(), "sh", "-c", script])
        .terminal(slave)
        .spawn();
    terminal.read_until("24 80");
    terminal.stty(&["rows", "50", "cols", "132"]);
    terminal.type_line("hello");
    terminal.read_until("50 132");
    running.wait().exits(5);
}

#[test]
fn a_container_with_a_terminal_runs_where_the_caller_has_none() {
    let host = Host::new();
    let shell = host
        .container("shell")
        .sh("read line; echo got $line; exit 4")
        .edit(|config| config["process"]["terminal"] = json!(true));
    let output = shell
        .verb("run")
        .args([shell.bundle()])
        .stdin(b"hello\n")
        .output()
        .exits(4);
    assert!(output.stdout.contains("got hello"), "{output}");
}
