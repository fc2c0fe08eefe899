//! `minirun stats`: what containers use, as a table, as JSON and for Prometheus.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{Host, Running, wait_until};

#[track_caller]
fn json(host: &Host, ids: &[&str]) -> Vec<Value> {
    let args = ["stats", "--no-stream", "--format", "json"].iter().chain(ids);
    let shown = host.minirun(args.copied()).succeeds().stdout;
    shown
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A server of metrics on a free port of the host's loopback interface.
struct Metrics {
    server: Running,
    address: SocketAddr,
    host: u32,
}

impl Metrics {
    fn start(host: &Host) -> Metrics {
        let server = host.runtime().args(["stats", "--metrics", "127.0.0.1:0"]).spawn();
        wait_until("the server tells its address", || {
            server.stdout().ends_with("/metrics\n")
        });
        let told = server.stdout();
        let address = told
            .trim()
            .trim_start_matches("http://")
            .trim_end_matches("/metrics");
        Metrics {
            address: address.parse().unwrap(),
            server,
            host: host.pid(),
        }
    }

    /// A connection from the scenario's host.
    fn connect(&self) -> TcpStream {
        let (address, path) = (self.address, format!("/proc/{}/ns/net", self.host));
        // Only this thread moves there.
        std::thread::spawn(move || {
            setns(std::fs::File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            TcpStream::connect(address).unwrap()
        })
        .join()
        .unwrap()
    }

    /// What is answered to these bytes, until the server closes.
    fn ask(&self, request: &str) -> String {
        let mut connection = self.connect();
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = connection.read_to_string(&mut answer);
        answer
    }

    fn stop(self) {
        self.server.signal(Signal::SIGTERM);
        self.server.wait();
    }
}

/// The value of a metric of a container.
fn metric(page: &str, name: &str, labels: &str) -> f64 {
    let start = format!("{name}{{{labels}}} ");
    let mut values = page.lines().filter_map(|line| line.strip_prefix(&start));
    values
        .next()
        .unwrap_or_else(|| panic!("{start} in {page}"))
        .parse()
        .unwrap()
}

#[test]
fn a_busy_container_shows_its_share_of_the_processor_and_its_memory() {
    let host = Host::new();
    let busy = host
        .container("busy")
        .edit(|config| config["linux"]["resources"]["memory"]["limit"] = (64 << 20).into())
        .sh("head -c 8000000 /dev/zero >/dev/shm/x; while :; do :; done")
        .running();
    let idle = host.container("idle").sleeping().running();
    let shown = json(&host, &[]);
    let of = |id: &str| shown.iter().find(|stats| stats["id"] == id).unwrap();
    let (busy_cpu, idle_cpu) = (&of(busy.id())["cpu"], &of(idle.id())["cpu"]);
    assert!(busy_cpu["percent"].as_f64().unwrap() > idle_cpu["percent"].as_f64().unwrap());
    assert!(busy_cpu["seconds"].as_f64().unwrap() > 0.0);
    let memory = &of(busy.id())["memory"];
    assert_eq!(memory["limitBytes"], 64 << 20);
    assert!(memory["bytes"].as_u64().unwrap() >= 8_000_000, "{memory}");
    assert_eq!(of(idle.id())["memory"]["limitBytes"], Value::Null);
    assert!(of(idle.id())["pids"].as_u64().unwrap() >= 2);
    assert_eq!(json(&host, &[idle.id()]).len(), 1);
}

#[test]
fn the_table_has_the_columns_that_people_know() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    let table = host.minirun(["stats", "--no-stream"]).succeeds().stdout;
    let lines: Vec<&str> = table.lines().collect();
    let heading: Vec<&str> = lines[0]
        .split("  ")
        .map(str::trim)
        .filter(|cell| !cell.is_empty())
        .collect();
    assert_eq!(
        heading,
        [
            "CONTAINER",
            "CPU %",
            "MEM USAGE / LIMIT",
            "MEM %",
            "NET I/O",
            "BLOCK I/O",
            "PIDS"
        ]
    );
    assert!(
        lines[1].starts_with(web.id()) && lines[1].contains("iB / "),
        "{table}"
    );
    // Without a terminal nothing steers one.
    assert!(!table.contains('\x1b'));
    web.kill("KILL").succeeds();
    web.wait_for_status("stopped");
    assert_eq!(
        host.minirun(["stats", "--no-stream"])
            .succeeds()
            .stdout
            .lines()
            .count(),
        1
    );
}

#[test]
fn a_live_table_goes_on_until_it_is_ended_and_notices_new_containers() {
    let host = Host::new();
    let live = host.runtime().args(["stats", "--format", "json"]).spawn();
    let web = host.container("web").sleeping().running();
    wait_until("the container is shown twice", || {
        live.stdout().matches(web.id()).count() >= 2
    });
    // Not SIGINT, which whoever runs the tests in the background has ignored for all of them.
    live.signal(Signal::SIGTERM);
    assert_eq!(live.wait().code, -(Signal::SIGTERM as i32));
}

#[test]
fn prometheus_reads_a_page_whose_counters_grow() {
    let host = Host::new();
    let db = host.container("db").sleeping().detached(&[]);
    let web = host.container("web").sleeping().detached(&[]);
    let metrics = Metrics::start(&host);
    let labels = format!("id=\"{}\"", web.id());
    let network = format!("{labels},interface=\"eth0\"");
    let answer = metrics.ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let (head, before) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"),
        "{head}"
    );
    assert!(
        head.contains(&format!("Content-Length: {}", before.len())),
        "{head}"
    );
    // Nobody listens there: a packet out and a packet back.
    let knock = format!(
        "for i in 1 2 3; do nc -w 1 {} 9 </dev/null; done; true",
        db.address()
    );
    web.exec(["sh", "-c", &knock]).succeeds();
    let after = metrics.ask("GET /metrics?x=1 HTTP/1.0\r\n\r\n");
    for name in [
        "minirun_container_network_receive_bytes_total",
        "minirun_container_network_transmit_bytes_total",
        "minirun_container_network_receive_packets_total",
    ] {
        let (before, after) = (metric(before, name, &network), metric(&after, name, &network));
        assert!(after >= before + 3.0, "{name}: {before} {after}");
    }
    let name = "minirun_container_cpu_seconds_total";
    assert!(metric(&after, name, &labels) > metric(before, name, &labels));
    assert!(metric(before, "minirun_container_pids", &labels) >= 2.0);
    metrics.stop();
}

#[test]
fn anything_but_a_request_for_the_page_is_told_so_and_closed() {
    let host = Host::new();
    let metrics = Metrics::start(&host);
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404"),
        ("GET /metricsx HTTP/1.1\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
        ("hello\r\n\r\n", "400"),
        ("GET /metrics\r\n\r\n", "400"),
        (&"x".repeat(8192), "431"),
    ] {
        let answer = metrics.ask(request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request:.20}: {answer}"
        );
    }
    // Those who say nothing, or half of it, do not keep others waiting; and there are no more than the server takes.
    let silent: Vec<TcpStream> = (0..8)
        .map(|number| {
            let mut connection = metrics.connect();
            if number % 2 == 0 {
                connection.write_all(b"GET /met").unwrap();
            }
            connection
        })
        .collect();
    let page = metrics.ask("GET /metrics HTTP/1.1\r\n\r\n");
    assert!(page.contains("minirun_containers 0"), "{page}");
    // Whoever has nothing more to say is closed without an answer.
    for mut connection in silent {
        connection.shutdown(Shutdown::Write).unwrap();
        assert_eq!(connection.read_to_string(&mut String::new()).unwrap_or(0), 0);
    }
    metrics.stop();
}

#[test]
fn bad_questions_about_use_are_refused_with_what_is_possible() {
    let host = Host::new();
    let web = host.container("web").sleeping().running();
    let close = format!("{}x", web.id());
    host.minirun(["stats", "--no-stream", &close]).fails_with(&[
        "container does not exist",
        "did you mean",
        web.id(),
    ]);
    host.minirun(["stats", "--metrics", "localhost"])
        .fails_with(&["--metrics", "localhost"]);
    host.minirun(["stats", "--metrics", "192.0.2.1:9"])
        .fails_with(&["--metrics: listen on 192.0.2.1:9", "does not have the address"]);
    host.minirun(["stats", "--metrics", "127.0.0.1:0", "--no-stream"])
        .fails_with(&["cannot be used with"]);
    let metrics = Metrics::start(&host);
    host.minirun(["stats", "--metrics", &metrics.address.to_string()])
        .fails_with(&["listen on", "another process has this port"]);
    metrics.stop();
}
