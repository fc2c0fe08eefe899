//! `minirun logs` and `minirun compose logs`, on logs as the keeper of a stack writes them.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::harness::{Container, Host, Running, wait_until};

/// A stack whose containers are made by the scenario; their logs are files that it writes.
struct Stack<'h> {
    host: &'h Host,
    file: PathBuf,
}

impl<'h> Stack<'h> {
    fn new(host: &'h Host, services: &[&str]) -> Stack<'h> {
        let bundle = host.container("bundle");
        let mut text = String::from("name: shop\nservices:\n");
        for service in services {
            text += &format!("  {service}:\n    x-bundle: {}\n", bundle.bundle().display());
        }
        let file = host.dir().join("compose.yaml");
        fs::write(&file, text).unwrap();
        fs::create_dir_all(host.path("/var/lib/minirun/compose/shop/logs")).unwrap();
        Stack { host, file }
    }

    fn path(&self, id: &str) -> PathBuf {
        self.host
            .path(&format!("/var/lib/minirun/compose/shop/logs/{id}.log"))
    }

    /// Appends a line to a container's log, written in this second of a minute.
    fn write(&self, id: &str, second: u8, text: &str) {
        let mut options = fs::File::options();
        let mut log = options.append(true).create(true).open(self.path(id)).unwrap();
        writeln!(log, "2026-01-02T03:04:{second:02}.000000000Z stdout F {text}").unwrap();
    }

    fn args<'a>(&'a self, options: &[&'a str]) -> Vec<&'a str> {
        let file = self.file.to_str().unwrap();
        [&["compose", "--file", file, "logs"], options].concat()
    }

    #[track_caller]
    fn logs(&self, options: &[&str]) -> String {
        self.host.minirun(self.args(options)).succeeds().stdout
    }

    fn follow(&self, options: &[&str]) -> Running {
        self.host.runtime().args(self.args(options)).spawn()
    }
}

impl Drop for Stack<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.host.path("/var/lib/minirun/compose/shop"));
    }
}

/// A container as the stack's keeper makes them.
fn member<'h>(host: &'h Host, service: &str) -> Container<'h> {
    host.container(service)
        .edit(|config| {
            config["annotations"]["minirun.compose.project"] = "shop".into();
            config["annotations"]["minirun.compose.service"] = service.into();
            config["annotations"]["minirun.compose.replica"] = "1".into();
        })
        .sleeping()
        .running()
}

#[test]
fn lines_of_all_services_come_in_the_order_of_their_time_with_their_names() {
    let host = Host::new();
    let stack = Stack::new(&host, &["web", "db"]);
    stack.write("shop-web-1", 1, "one");
    stack.write("shop-db-1", 2, "two");
    stack.write("shop-web-2", 3, "three");
    stack.write("shop-web-1", 4, "four");
    assert_eq!(
        stack.logs(&[]),
        "web-1  | one\ndb-1   | two\nweb-2  | three\nweb-1  | four\n"
    );
    assert_eq!(stack.logs(&["--no-log-prefix", "web"]), "one\nthree\nfour\n");
    assert_eq!(
        stack.logs(&["--tail", "1", "--no-log-prefix"]),
        "two\nthree\nfour\n"
    );
    let since = [
        "--since",
        "2026-01-02T03:04:02Z",
        "--until",
        "2026-01-02T03:04:04Z",
        "-t",
    ];
    assert_eq!(
        stack.logs(&since),
        "db-1   | 2026-01-02T03:04:02.000000000Z two\nweb-2  | 2026-01-02T03:04:03.000000000Z three\n"
    );
    assert_eq!(stack.logs(&["--since", "10m"]), "");
}

#[test]
fn who_follows_sees_new_lines_new_containers_and_rotated_files() {
    let host = Host::new();
    let stack = Stack::new(&host, &["web"]);
    stack.write("shop-web-1", 1, "old");
    stack.write("shop-web-1", 2, "one");
    let follower = stack.follow(&["--follow", "-n", "1", "--no-log-prefix"]);
    let seen = |text: &str| wait_until(&format!("{text:?} is shown"), || follower.stdout().contains(text));
    seen("one");
    stack.write("shop-web-1", 3, "two");
    seen("two");
    fs::rename(
        stack.path("shop-web-1"),
        stack.path("shop-web-1").with_extension("log.1"),
    )
    .unwrap();
    stack.write("shop-web-1", 4, "three");
    stack.write("shop-web-2", 5, "four");
    stack.write("shop-web-2", 6, "five");
    seen("three");
    seen("five");
    let shown = follower.stdout();
    let mut lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[..2], ["one", "two"]);
    lines.sort();
    assert_eq!(lines, ["five", "four", "one", "three", "two"]);
    // The stack is taken down.
    fs::remove_dir_all(host.path("/var/lib/minirun/compose/shop")).unwrap();
    follower.wait().succeeds();
}

#[test]
fn one_container_of_a_stack_is_shown_by_its_id() {
    let host = Host::new();
    let stack = Stack::new(&host, &["web"]);
    let web = member(&host, "web");
    stack.write(web.id(), 1, "hello");
    stack.write("shop-other-1", 2, "not this");
    assert_eq!(host.minirun(["logs", web.id()]).succeeds().stdout, "hello\n");
    assert_eq!(host.minirun(["logs", "-n", "0", web.id()]).succeeds().stdout, "");
    let follower = host.runtime().args(["logs", "-f", web.id()]).spawn();
    wait_until("the line is shown", || follower.stdout() == "hello\n");
    stack.write(web.id(), 3, "again");
    wait_until("the next line is shown", || follower.stdout() == "hello\nagain\n");
    // Not SIGINT, which whoever runs the tests in the background has ignored for all of them.
    follower.signal(Signal::SIGTERM);
    assert_eq!(follower.wait().code, -(Signal::SIGTERM as i32));
}

#[test]
fn logs_end_quietly_when_nobody_reads_them_any_more() {
    let host = Host::new();
    let stack = Stack::new(&host, &["web"]);
    for second in 0..60 {
        stack.write("shop-web-1", second, &"x".repeat(4000));
    }
    let command = [host.binary().to_str().unwrap()]
        .into_iter()
        .chain(stack.args(&["-f"]));
    let shown = host.sh(&format!("{} | head -c 10", command.collect::<Vec<_>>().join(" ")));
    assert_eq!((shown.stdout.as_str(), shown.stderr.as_str()), ("web-1  | x", ""));
}

#[test]
fn what_has_no_logs_is_told_with_what_there_is() {
    let host = Host::new();
    let stack = Stack::new(&host, &["web", "db"]);
    host.minirun(stack.args(&["wev"]))
        .fails_with(&["no such service: wev", "did you mean web?"]);
    host.minirun(stack.args(&["queue"]))
        .fails_with(&["no such service: queue", "there are: db, web"]);
    host.minirun(stack.args(&["-n", "few"]))
        .fails_with(&["neither a number of lines nor all"]);
    host.minirun(stack.args(&["--since", "10x"]))
        .fails_with(&["is no point in time"]);
    let alone = host.container("alone").sleeping().running();
    host.minirun(["logs", alone.id()])
        .fails_with(&["is of no stack", "standard output"]);
    let close = format!("{}x", alone.id());
    host.minirun(["logs", &close])
        .fails_with(&["container does not exist", "did you mean", alone.id()]);
}

#[test]
fn top_stats_and_events_of_a_stack_leave_other_containers_out() {
    let host = Host::new();
    let stack = Stack::new(&host, &["web", "db"]);
    host.minirun(["events", "--until", "0s"]).succeeds();
    let (web, db) = (member(&host, "web"), member(&host, "db"));
    let other = host.container("other").sleeping().running();
    let verb = |args: &[&str]| {
        let file = stack.file.to_str().unwrap();
        let args = [&["compose", "--file", file], args].concat();
        host.minirun(args).succeeds().stdout
    };
    let top = verb(&["top"]);
    assert!(top.find(db.id()).unwrap() < top.find(web.id()).unwrap(), "{top}");
    assert!(top.contains("sleep 1000") && !top.contains(other.id()), "{top}");
    assert!(!verb(&["top", "db"]).contains(web.id()));

    let stats = verb(&["stats", "--no-stream"]);
    assert!(
        stats.contains(web.id()) && stats.contains(db.id()) && !stats.contains(other.id()),
        "{stats}"
    );

    let events = verb(&["events", "--since", "1h", "--until", "0s", "--json", "web"]);
    assert_eq!(events.lines().count(), 2, "{events}");
    assert!(events.lines().all(|line| line.contains(web.id())), "{events}");
    let all = verb(&["events", "--since", "1h", "--until", "0s"]);
    assert_eq!(all.lines().count(), 4, "{all}");
}
