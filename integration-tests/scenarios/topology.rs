//! `minirun network topology` and `minirun network flows`: what is there, and who talks to whom.

use serde_json::Value;

use crate::harness::{Container, Host, Running, Uplink, skip, wait_until};

/// A server that keeps connections open and gives back what it is told, at port 9000.
const ECHO: &str = "nc -ll -p 9000 -e cat";

/// A client that keeps a connection to `address` and `port` open, tried until the server listens. It says `words`.
fn calling(address: &str, port: &str, words: &str) -> String {
    format!(
        "mkfifo /tmp/words; exec 3<>/tmp/words; printf '{words}' >&3; until nc {address} {port} </tmp/words; do sleep 0.1; done"
    )
}

fn echo<'h>(host: &'h Host, name: &str, options: &[&str]) -> Container<'h> {
    host.container(name).sh(ECHO).detached(options)
}

#[track_caller]
fn flows(host: &Host, options: &[&str]) -> Vec<Value> {
    let args = ["network", "flows", "--format", "json"];
    let listed = host
        .minirun(args.iter().chain(options).copied())
        .succeeds()
        .json();
    listed.as_array().unwrap().clone()
}

/// Waits until the connection is there, and data has passed it.
#[track_caller]
fn established(host: &Host, options: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
    let mut found = None;
    wait_until("the connection is shown", || {
        found = flows(host, options)
            .into_iter()
            .find(|flow| wanted(flow) && flow["state"] == "established");
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn a_connection_inside_a_bridge_is_shown_once_with_both_names_and_what_passed() {
    let host = Host::new();
    let server = echo(&host, "server", &[]);
    let client = host
        .container("client")
        .sh(&calling(&server.address(), "9000", "hello\\n"))
        .detached(&[]);
    client.wait_for_stdout("hello");

    let flow = established(&host, &[], |flow| flow["protocol"] == "tcp");
    assert_eq!(flow["from"]["kind"], "container", "{flow}");
    assert_eq!(flow["from"]["container"], client.id(), "{flow}");
    assert_eq!(flow["from"]["network"], "default", "{flow}");
    assert_eq!(flow["from"]["address"], client.address().as_str(), "{flow}");
    assert_eq!(flow["to"]["container"], server.id(), "{flow}");
    assert_eq!(flow["to"]["port"], 9000, "{flow}");
    assert_eq!(flow["sent"]["bytes"], 6, "{flow}");
    assert_eq!(flow["received"]["bytes"], 6, "{flow}");
    let tcp = |options: &[&str]| {
        let flows = flows(&host, options);
        flows.iter().filter(|flow| flow["protocol"] == "tcp").count()
    };
    assert_eq!(tcp(&[]), 1);

    // Of one container only; its other end has it too.
    let bystander = host.container("bystander").sleeping().detached(&[]);
    assert_eq!(
        (tcp(&[server.id()]), tcp(&[client.id()]), tcp(&[bystander.id()])),
        (1, 1, 0)
    );

    host.minirun(["network", "flows", "nobody"])
        .exits(1)
        .fails_with(&["nobody", "on no network"]);

    let table = host.minirun(["network", "flows"]).succeeds().stdout;
    let line = table.lines().find(|line| line.contains("9000/tcp")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let (from, to) = (client.address(), server.address());
    assert_eq!(
        words,
        [
            client.id(),
            &from,
            server.id(),
            &to,
            "9000/tcp",
            "-",
            "established",
            "1",
            "6",
            "6"
        ]
    );
}

#[test]
fn a_connection_through_a_published_port_names_the_port_that_was_called() {
    let host = Host::new();
    let server = echo(&host, "server", &["--publish", "9000"]);
    let port = server.inspect()["networks"][0]["ports"][0]["host"].to_string();
    let client = host.container("client");
    let gateway = server.inspect()["networks"][0]["gateway"]
        .as_str()
        .unwrap()
        .to_owned();
    let client = client.sh(&calling(&gateway, &port, "hello\\n")).detached(&[]);
    client.wait_for_stdout("hello");
    let flow = established(&host, &[server.id()], |flow| {
        flow["from"]["container"] == client.id()
    });
    assert_eq!(flow["to"]["container"], server.id(), "{flow}");
    assert_eq!(flow["to"]["port"], 9000, "{flow}");
    assert_eq!(flow["via"], format!("{gateway}:{port}"), "{flow}");

    let from_host = host_calling(&host, "127.0.0.1", &port);
    let flow = established(&host, &[server.id()], |flow| flow["from"]["kind"] == "host");
    assert_eq!(flow["via"], format!("127.0.0.1:{port}"), "{flow}");
    assert_eq!(flow["to"]["container"], server.id(), "{flow}");
    end(from_host);
}

#[test]
fn a_kernel_that_lists_no_connections_is_said_and_hinders_nothing_else() {
    if std::env::var_os("MINIRUN_WITHOUT_MODULES").is_none() {
        skip!("only a machine of its own can do without kernel modules");
    }
    let host = Host::new();
    let publish = ["--publish", "127.0.0.1::8080", "--publish", "127.0.0.1::53/udp"];
    let web = host.container("web").serving().detached(&publish).listens();
    let port = &web.inspect()["networks"][0]["ports"][0]["host"];
    let page = host.sh(&format!("wget -qO- http://127.0.0.1:{port}/"));
    assert_eq!(page.stdout, "hello\n");
    let flows = host.minirun(["network", "flows"]).succeeds();
    for module in ["nf_conntrack_netlink", "tcp_diag"] {
        assert_eq!(flows.stderr.matches(module).count(), 1, "{flows}");
    }
    web.delete_force().succeeds();
}

#[test]
fn a_connection_to_the_outside_tells_behind_which_address() {
    let host = Host::new();
    let _uplink = Uplink::of(&host);
    let client = host
        .container("client")
        .sh(&calling("192.0.2.2", "8080", ""))
        .detached(&[]);
    let flow = established(&host, &[client.id()], |flow| flow["to"]["kind"] == "outside");
    assert_eq!(flow["from"]["container"], client.id(), "{flow}");
    assert_eq!(flow["to"]["address"], "192.0.2.2", "{flow}");
    assert_eq!(flow["to"]["port"], 8080, "{flow}");
    let seen_as = flow["seenAs"].as_str().unwrap();
    assert!(seen_as.starts_with("192.0.2.1:"), "{flow}");
    // A TCP connection that cannot say goodbye keeps its network namespace, and with it the link, for a minute or two: it
    // has to be over before the last container takes the bridge along.
    client.kill("KILL").succeeds();
    let link = client.inspect()["networks"][0]["hostInterface"].clone();
    wait_until("the link has gone with the connection", || {
        !host.ip("-o link").stdout.contains(link.as_str().unwrap())
    });
    client.delete_force().succeeds();
}

/// A connection that the host itself keeps open.
fn host_calling(host: &Host, address: &str, port: &str) -> Running {
    let script = format!("mkfifo words; exec 3<>words; exec busybox nc {address} {port} <&3");
    let shell = std::path::Path::new("/bin/sh");
    host.command(shell).args(["-c", &script]).spawn()
}

fn end(running: Running) {
    running.signal(nix::sys::signal::Signal::SIGKILL);
    running.wait();
}

#[test]
fn the_map_shows_networks_containers_addresses_ports_and_rules_in_every_shape() {
    let host = Host::new();
    let create = |args: &[&str]| {
        let all = ["network", "create"].iter().chain(args);
        host.minirun(all.copied()).succeeds();
    };
    create(&["--subnet", "10.1.0.0/24", "front"]);
    create(&["--subnet", "10.2.0.0/24", "--internal", "back"]);
    let web = host
        .container("web")
        .sleeping()
        .detached(&["--network", "front", "--publish", "8080:80"]);
    let api =
        host.container("api")
            .sleeping()
            .detached(&["--network", "front:alias=gateway", "--network", "back"]);
    let db = host.container("db").sleeping().detached(&["--network", "back"]);
    let allow = [
        "network",
        "policy",
        "allow",
        api.id(),
        db.id(),
        "5432/tcp",
        "--network",
        "back",
    ];
    host.minirun(allow).succeeds();
    let map = |format: &str| {
        let args = ["network", "topology", "--format", format];
        host.minirun(args).succeeds()
    };

    let data = map("json").json();
    let names = |list: &Value, field: &str| -> Vec<String> {
        let all = list.as_array().unwrap().iter();
        all.map(|item| item[field].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&data["networks"], "name"), ["front", "back"], "{data:#}");
    let mut ids = [api.id(), db.id(), web.id()];
    ids.sort_unstable();
    assert_eq!(names(&data["containers"], "id"), ids);
    let rule = data["flows"]
        .as_array()
        .unwrap()
        .iter()
        .find(|flow| flow["why"] == "rule");
    let rule = rule.unwrap();
    assert_eq!(rule["from"]["containers"][0], api.id(), "{rule}");
    assert_eq!(rule["ports"][0], "5432/tcp", "{rule}");

    let text = map("text").stdout;
    let line = |wanted: &str| {
        text.lines()
            .find(|line| line.contains(wanted))
            .unwrap_or_default()
    };
    assert!(line("front  10.1.0.0/24").contains("bridge"), "{text}");
    assert!(line("back  10.2.0.0/24").contains("internal"), "{text}");
    assert!(line("published 8080 → 80/tcp").contains(web.id()), "{text}");
    assert!(line("also on back").contains(api.id()), "{text}");
    assert!(line("rule of back").contains("5432/tcp"), "{text}");

    let dot = map("dot").stdout;
    assert!(
        dot.starts_with("digraph minirun {") && dot.contains("cluster back"),
        "{dot}"
    );
    let svg = map("svg").stdout;
    assert_well_formed(&svg);
    for wanted in [web.id(), "10.2.0.0/24", "8080 → 80/tcp", "5432/tcp", "internal"] {
        assert!(svg.contains(&format!(">{wanted}<")), "{wanted} in {svg}");
    }
}

/// Tags are closed in the order in which they were opened, and nothing but the five entities is escaped.
#[track_caller]
fn assert_well_formed(xml: &str) {
    let mut open = Vec::new();
    let mut pieces = xml.split('<');
    assert_eq!(pieces.next(), Some(""), "text before the first tag");
    for piece in pieces {
        let (tag, text) = piece.split_once('>').expect("an end of the tag");
        let name = tag.split_whitespace().next().unwrap_or_default();
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes in <{tag}>");
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None if tag.ends_with('/') => {}
            None => open.push(name),
        }
        for entity in text.split('&').skip(1) {
            let known = ["amp;", "lt;", "gt;", "quot;", "apos;"];
            assert!(known.iter().any(|known| entity.starts_with(known)), "&{entity}");
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

#[test]
fn inspect_counts_what_each_container_sent_and_received() {
    let host = Host::new();
    let server = host.container("server").serving().detached(&[]).listens();
    let traffic = || {
        let inspected = host.minirun(["network", "inspect", "default"]).succeeds().json();
        inspected[0]["containers"][0]["traffic"].clone()
    };
    let count = |traffic: &Value, direction: &str, what: &str| traffic[direction][what].as_u64().unwrap();
    let before = traffic();
    host.known_at(&server.address());
    let after = traffic();
    for direction in ["sent", "received"] {
        for what in ["packets", "bytes"] {
            assert!(
                count(&after, direction, what) > count(&before, direction, what),
                "{direction} {what}: {before} {after}"
            );
        }
        assert_eq!(count(&after, direction, "dropped"), 0, "{after}");
    }
}
