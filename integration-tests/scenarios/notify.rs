//! sd_notify(3): the service manager of whoever calls hears when a container's program is ready.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use crate::harness::{Container, Host, wait_until};

const VARIABLE: &str = "NOTIFY_SOCKET";
const IN_CONTAINER: &str = "/run/notify/notify.sock";

/// What plays systemd.
struct Manager {
    path: PathBuf,
    socket: UnixDatagram,
}

impl Manager {
    fn listen(host: &Host) -> Self {
        let path = host.dir().join(host.unique("manager"));
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Manager { path, socket }
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// The next message. A descriptor that came with it is closed, as there is no room for one.
    fn hears(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    fn hears_nothing(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        self.socket.recv(&mut [0; 16]).is_err()
    }
}

impl Container<'_> {
    /// Says it at the place where the container's program would.
    fn says(&self, message: &str) {
        let socket = format!("/proc/{}/root{IN_CONTAINER}", self.pid());
        UnixDatagram::unbound()
            .unwrap()
            .send_to(message.as_bytes(), socket)
            .unwrap();
    }
}

#[test]
fn start_waits_until_the_program_is_ready_and_the_manager_knows() {
    let host = Host::new();
    let manager = Manager::listen(&host);
    for in_user_namespace in [false, true] {
        let web = host.container("web").sh("echo $NOTIFY_SOCKET; exec sleep 1000");
        let web = if in_user_namespace {
            web.user_namespace()
        } else {
            web
        };
        web.complete_create(web.verb("create").env(VARIABLE, manager.path()))
            .succeeds();
        let starting = web
            .verb("start")
            .env(VARIABLE, manager.path())
            .args([web.id()])
            .spawn();
        web.wait_for_stdout(IN_CONTAINER);
        web.exec(["touch", "/run/notify/x"])
            .exits(1)
            .fails_with(&["Read-only"]);
        web.says("STATUS=loading");
        web.says("STATUS=done\nREADY=1\nMAINPID=4711\n");
        assert_eq!(manager.hears(), format!("MAINPID={}\nREADY=1\n", web.pid()));
        assert_eq!(manager.hears(), "BARRIER=1");
        starting.wait().succeeds();
        assert_eq!(web.status(), "running");
        web.delete_force().succeeds();
    }
}

#[test]
fn start_does_not_wait_for_a_program_that_has_ended_and_others_can_end_it() {
    let host = Host::new();
    let manager = Manager::listen(&host);
    let brief = host.container("brief").sh("exit 3");
    brief
        .complete_create(brief.verb("create").env(VARIABLE, manager.path()))
        .succeeds();
    brief
        .verb("start")
        .env(VARIABLE, manager.path())
        .args([brief.id()])
        .output()
        .succeeds();
    let silent = host.container("silent").sh("echo here; exec sleep 1000");
    silent
        .complete_create(silent.verb("create").env(VARIABLE, manager.path()))
        .succeeds();
    let starting = silent
        .verb("start")
        .env(VARIABLE, manager.path())
        .args([silent.id()])
        .spawn();
    silent.wait_for_stdout("here");
    silent.kill("KILL").succeeds();
    starting.wait().succeeds();
    assert!(manager.hears_nothing());
}

#[test]
fn run_passes_on_that_its_program_is_ready() {
    let host = Host::new();
    let manager = Manager::listen(&host);
    for detached in [false, true] {
        let web = host.container("web").sleeping();
        let options: &[&str] = if detached { &["--detach"] } else { &[] };
        let running = web
            .verb("run")
            .env(VARIABLE, manager.path())
            .args(options.iter().copied())
            .args(web.bundle_and_id())
            .spawn();
        let socket = host
            .path("/run/minirun")
            .join(web.id())
            .join("notify/notify.sock");
        wait_until("the socket", || socket.exists());
        // It is there a moment before the program is.
        wait_until("the container runs", || web.status() == "running");
        web.says("READY=1");
        // In the foreground the runtime is the process that the manager knows.
        let main = if detached {
            format!("MAINPID={}\n", web.pid())
        } else {
            String::new()
        };
        assert_eq!(manager.hears(), format!("{main}READY=1\n"));
        assert_eq!(manager.hears(), "BARRIER=1");
        if detached {
            running.wait().succeeds();
            web.delete_force().succeeds();
        } else {
            web.kill("KILL").succeeds();
            running.wait().exits(137);
        }
    }
}

#[test]
fn a_caller_without_notify_socket_gives_none_to_the_container() {
    let host = Host::new();
    let web = host
        .container("web")
        .sh("echo ${NOTIFY_SOCKET-none}; ls -d /run/notify");
    let output = web.run().exits(1);
    assert_eq!(output.stdout, "none\n", "{output}");
}

#[test]
fn a_notify_socket_that_is_no_address_is_refused_and_one_that_nobody_hears_is_a_warning() {
    let host = Host::new();
    let web = host.container("web").args(["true"]);
    web.complete_create(web.verb("create").env(VARIABLE, "vsock:2:1234"))
        .exits(1);
    assert!(!host.path("/run/minirun").join(web.id()).exists());
    let text = std::fs::read_to_string(web.bundle().join("stderr")).unwrap();
    assert!(text.contains("NOTIFY_SOCKET"), "{text}");

    let gone = host.dir().join("gone.sock");
    let web = host.container("late").sleeping();
    let create = web.verb("create").env(VARIABLE, gone.to_str().unwrap());
    web.complete_create(create).succeeds();
    let starting = web
        .verb("start")
        .env(VARIABLE, gone.to_str().unwrap())
        .args([web.id()])
        .spawn();
    wait_until("the container runs", || web.status() == "running");
    web.says("READY=1");
    let output = starting.wait().succeeds();
    assert!(output.stderr.contains("NOTIFY_SOCKET"), "{output}");
}
