//! What a person gets wrong about networks, ports and policies: an error that says what and how, and nothing left.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Container, Host, busybox, wait_until};

/// Runs the runtime with these arguments, is refused in these words, and finds the host's networks as they were.
#[track_caller]
fn refused(host: &Host, args: &[&str], texts: &[&str]) {
    let before = networks(host);
    let output = host.minirun(args.iter().copied());
    assert!((1..=2).contains(&output.code), "{output}");
    output.fails_with(texts);
    assert_eq!(networks(host), before, "{args:?} left something");
}

/// A detached run with these options, refused likewise.
#[track_caller]
fn run_refused(host: &Host, options: &[&str], texts: &[&str]) {
    let web = host.container("refused").sleeping();
    let bundle = web.bundle().to_str().unwrap();
    refused(host, &[&["run", "--detach"], options, &[bundle]].concat(), texts);
    host.minirun(["state", web.id()]).fails_with(&["does not exist"]);
}

/// Links, firewall, leases and definitions.
fn networks(host: &Host) -> String {
    let files = "find /run/minirun/net /var/lib/minirun/net -type f ! -name lock ! -name .lock ! -name .netd.lock ! -name history.json ! -name default.json ! -name .host.json";
    let files = host.sh(&format!("{files} 2>/dev/null | sort"));
    let links = host.sh("ls /sys/class/net | sort");
    // Counters count.
    let rules: Vec<String> = host
        .nft("-s list ruleset")
        .lines()
        .filter(|line| !line.contains("expires"))
        .map(str::to_owned)
        .collect();
    format!("{}\n{}\n{}", files.stdout, links.stdout, rules.join("\n"))
}

fn dual(host: &Host, name: &str, options: &[&str]) {
    let args = ["network", "create"].iter().chain(options).chain([&name]);
    host.minirun(args.copied()).succeeds();
}

fn published(container: &Container<'_>) -> String {
    container.inspect()["networks"][0]["ports"][0]["host"].to_string()
}

#[test]
fn a_taken_port_is_refused_with_the_name_of_the_container_or_the_way_to_the_process_that_has_it() {
    let host = Host::new();
    dual(&host, "shop", &["--ipv6"]);
    let on = ["--network", "shop"];
    let web = host
        .container("web")
        .sleeping()
        .detached(&["--network", "shop", "--publish", "80"]);
    let port = published(&web);
    for publish in [
        format!("{port}:80"),
        format!("127.0.0.1:{port}:80"),
        format!("[::1]:{port}:80"),
    ] {
        run_refused(
            &host,
            &[&on[..], &["--publish", &publish]].concat(),
            &[&port, web.id()],
        );
        // Of two ports the second one is taken: the first one is not kept.
        run_refused(
            &host,
            &[&on[..], &["--publish", "81", "--publish", &publish]].concat(),
            &[&port, web.id()],
        );
    }
    // Its UDP twin is free.
    let twin = format!("{port}:80/udp");
    host.container("twin")
        .sleeping()
        .detached(&["--network", "shop", "--publish", &twin]);

    // The host is the scenario's own, and so are its ports.
    let server = host
        .command(&busybox())
        .args(["httpd", "-f", "-p", "127.0.0.1:9090", "-h", "/tmp"])
        .spawn();
    wait_until("a process of the host listens", || {
        host.sh("netstat -ltn").stdout.contains("127.0.0.1:9090")
    });
    run_refused(
        &host,
        &["--network", "shop", "--publish", "9090:80"],
        &["9090", "a process of the host", "ss -ltnp"],
    );
    server.signal(Signal::SIGKILL);
    server.wait();
}

#[test]
fn a_port_that_cannot_be_written_so_is_refused_with_the_form() {
    let host = Host::new();
    for (publish, why) in [
        ("", "not a port"),
        ("http", "http"),
        ("0:80", "is not a port from 1"),
        ("80:65536", "65536"),
        ("80:80/icmp", "icmp"),
        ("90-80:80", "ends before"),
        ("8000-8001:80-82", "2 ports of the host for 3"),
        ("::1:80:80", "brackets"),
        ("localhost:80:80", "not an IPv4 address"),
    ] {
        run_refused(
            &host,
            &["--publish", publish],
            &[why, "[IP:][HOST:]CONTAINER", "8080:80"],
        );
    }
    run_refused(
        &host,
        &["--publish", "8080:80", "--publish", "8080:81"],
        &["8080", "twice"],
    );
    run_refused(
        &host,
        &["--publish", "192.0.2.99::80"],
        &["192.0.2.99", "does not have"],
    );
    run_refused(
        &host,
        &["--publish", "[::1]::80"],
        &["[::1]", "no IPv6", "--ipv6"],
    );
}

#[test]
fn what_a_network_does_not_have_is_refused_before_anything_is_made() {
    let host = Host::new();
    dual(&host, "inner", &["--internal"]);
    dual(&host, "plain", &["--subnet", "10.3.0.0/24"]);
    run_refused(
        &host,
        &["--network", "inner", "--publish", "80"],
        &["publish", "internal", "not internal"],
    );
    run_refused(
        &host,
        &["--network", "plain:ip6=fd00::7"],
        &["plain", "fd00::7", "no IPv6"],
    );
    run_refused(
        &host,
        &["--network", "plian"],
        &["plian", "did you mean", "plain"],
    );
    refused(&host, &["network", "create", "plain"], &["network plain exists"]);
    refused(
        &host,
        &["network", "create", "--bridge", "mr-plain", "other"],
        &["mr-plain", "network plain"],
    );
    refused(
        &host,
        &["network", "inspect", "plian"],
        &["plian", "did you mean", "plain"],
    );
    let web = host.container("web").sleeping().detached(&["--network", "plain"]);
    for (args, texts) in [
        (
            vec!["network", "connect", "plain", web.id()],
            vec![web.id(), "on network plain already"],
        ),
        (
            vec!["network", "connect", "inenr", web.id()],
            vec!["inenr", "did you mean", "inner"],
        ),
        (
            vec!["network", "connect", "inner:ip=10.3.0.9", web.id()],
            vec!["10.3.0.9", "outside"],
        ),
        (
            vec!["network", "connect", "inner", "nobody"],
            vec!["nobody", "does not exist"],
        ),
        (
            vec!["network", "disconnect", "inner", web.id()],
            vec!["not on network inner", "plain"],
        ),
        (
            vec!["network", "rm", "plain"],
            vec!["network plain", "in use", web.id(), "disconnect"],
        ),
        (
            vec!["network", "rm", "inenr"],
            vec!["inenr", "did you mean", "inner"],
        ),
    ] {
        refused(&host, &args, &texts);
    }
}

#[test]
fn an_address_of_either_family_that_is_taken_or_not_left_is_refused_with_its_owner_or_the_range() {
    let host = Host::new();
    let definition = json!({
        "name": "tiny", "driver": "bridge", "bridge": "tiny",
        "ipv4": {"subnet": "10.9.0.0/30", "gateway": "10.9.0.1"},
        "ipv6": {"subnet": "fd00:9::/64", "gateway": "fd00:9::1"},
    });
    host.write_network("tiny", &definition.to_string());
    let narrow = json!({
        "name": "narrow", "driver": "bridge", "bridge": "narrow",
        "ipv4": {"subnet": "10.8.0.0/24", "gateway": "10.8.0.1"},
        "ipv6": {"subnet": "fd00:8::/126", "gateway": "fd00:8::1", "range": "fd00:8::2/127"},
    });
    host.write_network("narrow", &narrow.to_string());
    let one = host.container("one").sleeping().detached(&["--network", "tiny"]);
    run_refused(
        &host,
        &["--network", "tiny"],
        &["tiny", "no address left in 10.9.0.0/30"],
    );
    run_refused(
        &host,
        &["--network", "tiny:ip=10.9.0.2"],
        &["10.9.0.2", "taken", one.id()],
    );
    let two = host
        .container("two")
        .sleeping()
        .detached(&["--network", "narrow"]);
    let address6 = two.inspect()["networks"][0]["address6"]
        .as_str()
        .unwrap()
        .to_owned();
    let wish = format!("narrow:ip6={address6}");
    run_refused(&host, &["--network", &wish], &[&address6, "taken", two.id()]);
    refused(
        &host,
        &["network", "connect", &wish, one.id()],
        &[&address6, "taken", two.id()],
    );
    let _three = host
        .container("three")
        .sleeping()
        .detached(&["--network", "narrow"]);
    run_refused(
        &host,
        &["--network", "narrow"],
        &["narrow", "no address left in fd00:8::2/127"],
    );
    // What was given of the first network goes back when the second one has nothing.
    run_refused(
        &host,
        &["--network", "default", "--network", "narrow"],
        &["narrow", "no address left"],
    );
}

#[test]
fn a_policy_that_means_nothing_is_refused_by_its_text() {
    let host = Host::new();
    dual(&host, "one", &[]);
    dual(&host, "two", &[]);
    let both = ["--network", "one", "--network", "two", "--hostname", "web"];
    let _web = host.container("web").sleeping().detached(&both);
    let allow = |args: &[&'static str]| [&["network", "policy", "allow"], args].concat();
    for (args, texts) in [
        (
            allow(&["web", "db", "80/icmp", "--network", "one"]),
            vec!["80/icmp", "tcp, udp or sctp"],
        ),
        (
            allow(&["web", "db", "http", "--network", "one"]),
            vec!["http", "5432/tcp"],
        ),
        (
            allow(&["web", "db", "90-80", "--network", "one"]),
            vec!["90-80", "ends before"],
        ),
        (
            allow(&["web", "d b", "80", "--network", "one"]),
            vec!["d b", "outside"],
        ),
        (
            allow(&["web", "db", "80", "--rate", "9/fortnight", "--network", "one"]),
            vec!["9/fortnight", "100/minute"],
        ),
        (
            allow(&["web", "db", "80", "--rate", "0/second", "--network", "one"]),
            vec!["0/second", "100/minute"],
        ),
        (
            allow(&["web", "db", "80", "--burst", "3", "--network", "one"]),
            vec!["--rate"],
        ),
        (
            allow(&[
                "web",
                "db",
                "80",
                "--rate",
                "3/day",
                "--burst",
                "0",
                "--network",
                "one",
            ]),
            vec!["burst"],
        ),
        (allow(&["web", "db"]), vec!["PORT/PROTOCOL"]),
        (
            allow(&["outside", "web", "80", "--network", "one"]),
            vec!["outside", "rate"],
        ),
        (
            allow(&["web", "db", "80", "--network", "tow"]),
            vec!["tow", "did you mean", "two"],
        ),
        (
            allow(&["db", "web", "80"]),
            vec!["--network", "web", "one", "two"],
        ),
        (allow(&["web", "db", "80"]), vec!["db", "--network"]),
        (allow(&["web", "*", "80"]), vec!["--network", "*"]),
        (
            vec!["network", "policy", "deny", "web", "db", "--network", "one"],
            vec!["no rule", "web", "db", "policy ls"],
        ),
        (
            vec!["network", "policy", "deny", "db", "web"],
            vec!["--network", "one", "two"],
        ),
        (
            vec!["network", "policy", "default", "tow", "within", "deny"],
            vec!["tow", "did you mean", "two"],
        ),
        (
            vec!["network", "policy", "default", "two", "within", "maybe"],
            vec!["maybe", "allow", "deny"],
        ),
        (
            vec!["network", "policy", "ls", "tow"],
            vec!["tow", "did you mean", "two"],
        ),
    ] {
        refused(&host, &args, &texts);
    }
    // One port of two that were allowed is taken back, what never was is not.
    let allowed = allow(&["web", "db", "80", "81", "--network", "one"]);
    host.minirun(allowed).succeeds();
    let deny = |port| ["network", "policy", "deny", "web", "db", port, "--network", "one"];
    refused(&host, &deny("82"), &["no rule", "web", "db"]);
    host.minirun(deny("80")).succeeds();
    refused(&host, &deny("80"), &["no rule", "web", "db"]);
    host.minirun(deny("81")).succeeds();
}
