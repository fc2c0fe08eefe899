//! Names of containers, and of everything else: what the resolver in a container answers, and who answers there.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Container, Host, NameServer, ResolvConf, Uplink, wait_until};

#[track_caller]
fn create(host: &Host, name: &str, options: &[&str]) {
    let args = ["network", "create"].iter().chain(options).chain([&name]);
    host.minirun(args.copied()).succeeds();
}

fn sleeping<'h>(host: &'h Host, name: &str, options: &[&str]) -> Container<'h> {
    host.container(name).sleeping().detached(options)
}

/// The addresses that `nslookup` shows, in its order.
fn addresses_in(shown: &str) -> Vec<String> {
    let lines = shown.lines().filter_map(|line| line.strip_prefix("Address:"));
    // The first one is the resolver's.
    let addresses = lines.map(str::trim).filter(|address| !address.ends_with(":53"));
    addresses.map(str::to_owned).collect()
}

/// The addresses that a container gets for a name.
#[track_caller]
fn addresses(container: &Container<'_>, name: &str) -> Vec<String> {
    addresses_in(&container.exec(["nslookup", "-type=a", name]).succeeds().stdout)
}

/// What a container is told about a name that does not resolve.
#[track_caller]
fn refusal(container: &Container<'_>, kind: &str, name: &str) -> String {
    let output = container.exec(["nslookup", &format!("-type={kind}"), name]);
    assert_ne!(output.code, 0, "{output}");
    output.stdout + &output.stderr
}

/// netd's process on this host.
pub(crate) fn netd(host: &Host) -> Option<Pid> {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let ours = namespace(&host.pid().to_string());
    let names = fs::read_dir("/proc").unwrap().flatten();
    let mut names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let found = names.find(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name == "minirun-netd\n") && namespace(pid) == ours
    });
    found.map(|pid| Pid::from_raw(pid.parse().unwrap()))
}

/// A field of netd's /proc/PID/status.
fn status(netd: Pid, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{netd}/status")).unwrap();
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(name, _)| *name == field).unwrap();
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_first_thing_that_a_container_does_can_be_to_look_up_names() {
    let host = Host::new();
    let db = sleeping(&host, "db", &["--network", "default:alias=postgres"]);
    let web = host
        .container("web")
        .sh("nslookup -type=a me && nslookup -type=a postgres");
    let output = web.run_bundle(&["--network", "default:alias=me"]).succeeds();
    let found = addresses_in(&output.stdout);
    assert_eq!(found.len(), 2, "{output}");
    assert_eq!(found[1], db.address());
    assert_ne!(found[0], found[1]);
}

#[test]
fn a_container_is_found_by_id_host_name_and_alias_with_and_without_the_network() {
    let host = Host::new();
    create(&host, "shop", &["--subnet", "10.1.0.0/24"]);
    let db = sleeping(
        &host,
        "db",
        &["--network", "shop:alias=postgres", "--hostname", "Primary"],
    );
    let web = sleeping(&host, "web", &["--network", "shop"]);
    for name in [
        db.id(),
        "postgres",
        "POSTGRES",
        "primary",
        "postgres.shop",
        "primary.shop.",
    ] {
        assert_eq!(addresses(&web, name), [db.address()], "{name}");
    }
    let reverse = web.exec(["nslookup", &db.address()]).succeeds().stdout;
    assert!(reverse.contains(&format!("name = {}.shop", db.id())), "{reverse}");
    // It has no IPv6 address, but it exists.
    let none = web.exec(["nslookup", "-type=aaaa", "postgres"]);
    assert!(
        !none.stdout.contains("NXDOMAIN") && addresses_in(&none.stdout).is_empty(),
        "{none}"
    );
    assert!(refusal(&web, "a", "typo").contains("NXDOMAIN"));
    db.delete_force().succeeds();
    assert!(refusal(&web, "a", "postgres").contains("NXDOMAIN"));
}

#[test]
fn containers_of_one_alias_take_turns() {
    let host = Host::new();
    let options = ["--network", "default:alias=replica"];
    let replicas: Vec<_> = ["one", "two", "three"]
        .map(|name| sleeping(&host, name, &options))
        .into();
    let web = sleeping(&host, "web", &[]);
    let mut firsts = Vec::new();
    for _ in 0..3 {
        let mut found = addresses(&web, "replica");
        firsts.push(found[0].clone());
        found.sort();
        let mut all: Vec<_> = replicas.iter().map(Container::address).collect();
        all.sort();
        assert_eq!(found, all);
    }
    firsts.sort();
    firsts.dedup();
    assert_eq!(firsts.len(), 3);
}

/// A container that nobody is to be sent to by its aliases yet.
fn unready<'h>(host: &'h Host, name: &str, options: &[&str]) -> Container<'h> {
    host.container(name)
        .edit(|config| config["annotations"]["minirun.ready"] = "false".into())
        .sleeping()
        .detached(options)
}

#[track_caller]
fn ready(host: &Host, container: &Container<'_>, options: &[&str]) {
    let args = ["network", "ready", container.id()];
    host.minirun(args.iter().chain(options).copied()).succeeds();
}

/// Whether `network inspect` shows that nobody is sent to the container.
fn is_unready(host: &Host, network: &str, container: &Container<'_>) -> bool {
    let described = host.minirun(["network", "inspect", network]).succeeds().json();
    let networks = described
        .as_array()
        .cloned()
        .unwrap_or_else(|| vec![described.clone()]);
    let mut members = networks[0]["containers"].as_array().unwrap().iter();
    let member = members
        .find(|member| member["container"] == container.id())
        .unwrap();
    member["unready"] == true
}

#[test]
fn who_is_not_ready_is_found_by_its_id_and_host_name_but_not_by_its_aliases() {
    let host = Host::new();
    let options = ["--network", "default:alias=api"];
    let one = sleeping(&host, "one", &options);
    let two = unready(&host, "two", &[&options[..], &["--hostname", "second"]].concat());
    let web = sleeping(&host, "web", &[]);
    assert!(is_unready(&host, "default", &two) && !is_unready(&host, "default", &one));
    for _ in 0..3 {
        assert_eq!(addresses(&web, "api"), [one.address()]);
    }
    for name in [two.id(), "second"] {
        assert_eq!(addresses(&web, name), [two.address()], "{name}");
    }

    ready(&host, &two, &[]);
    assert_eq!(addresses(&web, "api").len(), 2);
    assert!(!is_unready(&host, "default", &two));

    ready(&host, &one, &["--not"]);
    assert_eq!(addresses(&web, "api.default"), [two.address()]);
    ready(&host, &two, &["--not"]);
    let nobody = web.exec(["nslookup", "-type=a", "api"]);
    assert!(
        !nobody.stdout.contains("NXDOMAIN") && addresses_in(&nobody.stdout).is_empty(),
        "{nobody}"
    );
    assert_eq!(addresses(&web, one.id()), [one.address()]);
}

#[test]
fn readiness_outlives_netd_and_counts_on_networks_that_are_joined_later() {
    let host = Host::new();
    create(&host, "back", &[]);
    let one = sleeping(&host, "one", &["--network", "default:alias=api"]);
    let two = unready(&host, "two", &["--network", "default:alias=api"]);
    let web = sleeping(&host, "web", &["--network", "default", "--network", "back"]);
    host.minirun(["network", "connect", "back:alias=store", two.id()])
        .succeeds();
    assert!(is_unready(&host, "back", &two));
    let killed = |host: &Host| {
        kill(netd(host).unwrap(), Signal::SIGKILL).unwrap();
        wait_until("netd is gone", || netd(host).is_none());
    };
    killed(&host);
    host.minirun(["network", "reconcile"]).succeeds();
    assert_eq!(addresses(&web, "api"), [one.address()]);
    assert_eq!(host.minirun(["network", "reconcile"]).succeeds().stdout, "");

    // Whoever says it may be the one who has to start netd again.
    killed(&host);
    ready(&host, &two, &[]);
    assert_eq!(addresses(&web, "api").len(), 2);
    // The new one has the sockets of every resolver.
    assert_eq!(addresses(&two, one.id()), [one.address()]);
    assert_eq!(addresses(&web, "store").len(), 1);
    assert_eq!(addresses(&two, "api").len(), 2);
    assert_eq!(host.minirun(["network", "reconcile"]).succeeds().stdout, "");
}

#[test]
fn an_address_that_was_left_unready_is_ready_for_the_next_container() {
    let host = Host::new();
    let web = sleeping(&host, "web", &[]);
    let first = unready(&host, "api", &["--network", "default:alias=api"]);
    let id = first.id().to_owned();
    first.delete_force().succeeds();
    let second = host.container("other").sleeping();
    host.minirun(["network", "ready", &id])
        .fails_with(&[&id, "is on no network", "topology"]);
    let second = second.detached(&["--network", "default:alias=api"]);
    assert_eq!(addresses(&web, "api"), [second.address()]);
}

#[test]
fn an_annotation_of_readiness_that_is_no_truth_value_is_refused() {
    let host = Host::new();
    let web = host
        .container("web")
        .edit(|config| config["annotations"]["minirun.ready"] = "maybe".into());
    web.run_bundle(&["--detach"])
        .fails_with(&["minirun.ready", "neither true nor false"]);
}

#[test]
fn a_container_with_ipv6_is_found_by_both_families() {
    let host = Host::new();
    create(
        &host,
        "dual",
        &["--subnet", "10.1.0.0/24", "--subnet", "fd00:1::/64"],
    );
    let db = sleeping(&host, "db", &["--network", "dual:alias=db"]);
    let web = sleeping(&host, "web", &["--network", "dual"]);
    let six = addresses_in(&web.exec(["nslookup", "-type=aaaa", "db"]).succeeds().stdout);
    assert_eq!(six, [db.inspect()["networks"][0]["address6"].as_str().unwrap()]);
}

#[test]
fn names_of_other_networks_do_not_exist() {
    let host = Host::new();
    create(&host, "front", &[]);
    create(&host, "back", &[]);
    let db = sleeping(&host, "db", &["--network", "back:alias=db"]);
    let web = sleeping(&host, "web", &["--network", "front"]);
    assert!(refusal(&web, "a", "db").contains("NXDOMAIN"));
    assert!(refusal(&web, "a", "db.back").contains("NXDOMAIN"));
    host.minirun(["network", "connect", "back", web.id()]).succeeds();
    assert_eq!(addresses(&web, "db"), [db.address()]);
    host.minirun(["network", "disconnect", "back", web.id()])
        .succeeds();
    assert!(refusal(&web, "a", "db").contains("NXDOMAIN"));
}

#[test]
fn other_names_are_asked_of_the_hosts_servers_and_own_ones_never() {
    let host = Host::new();
    let uplink = Uplink::of(&host);
    let server = NameServer::start(uplink.pid(), "192.0.2.2", [192, 0, 2, 80]);
    let resolv_conf = ResolvConf::new(&host, "search corp.example\nnameserver 192.0.2.2\n");
    let db = sleeping(&host, "db", &["--network", "default:alias=db"]);
    let web = sleeping(&host, "web", &[]);
    assert_eq!(addresses(&web, "example.org"), ["192.0.2.80"]);
    assert_eq!(server.asked(), ["example.org"]);

    // With the C library too, which knows the search list.
    let tried = web.exec(["ping", "-c", "1", "-W", "1", "db"]).stdout;
    assert!(tried.contains(&format!("PING db ({})", db.address())), "{tried}");
    // nslookup has its own idea of the search list, which a last dot forbids.
    assert_eq!(addresses(&web, "db."), [db.address()]);
    for name in ["typo.", "typo.default", "db.default"] {
        web.exec(["nslookup", "-type=a", name]);
    }
    web.exec(["nslookup", &db.address()]).succeeds();
    web.exec(["nslookup", "-type=mx", "db."]);
    assert_eq!(server.asked(), [""; 0]);

    // The host's file is read again when it changes.
    let other = NameServer::start(host.pid() as i32, "127.0.0.153", [192, 0, 2, 81]);
    resolv_conf.write("nameserver 127.0.0.153\n");
    assert_eq!(addresses(&web, "example.org"), ["192.0.2.81"]);
    assert_eq!((server.asked().len(), other.asked().len()), (0, 1));
}

#[test]
fn a_server_by_flag_is_asked_instead_of_the_hosts() {
    let host = Host::new();
    let hosts = NameServer::start(host.pid() as i32, "127.0.0.153", [192, 0, 2, 1]);
    let given = NameServer::start(host.pid() as i32, "127.0.0.154", [192, 0, 2, 2]);
    let _resolv_conf = ResolvConf::new(&host, "nameserver 127.0.0.153\n");
    let web = sleeping(&host, "web", &["--dns", "127.0.0.154"]);
    let other = sleeping(&host, "other", &[]);
    assert_eq!(addresses(&web, "example.org"), ["192.0.2.2"]);
    assert_eq!(addresses(&other, "example.org"), ["192.0.2.1"]);
    assert_eq!((hosts.asked().len(), given.asked().len()), (1, 1));
}

#[test]
fn a_container_on_internal_networks_asks_nobody_outside() {
    let host = Host::new();
    let uplink = Uplink::of(&host);
    let server = NameServer::start(uplink.pid(), "192.0.2.2", [192, 0, 2, 80]);
    let _resolv_conf = ResolvConf::new(&host, "nameserver 192.0.2.2\n");
    create(&host, "vault", &["--internal"]);
    let db = sleeping(&host, "db", &["--network", "vault:alias=db"]);
    let web = sleeping(&host, "web", &["--network", "vault"]);
    assert_eq!(addresses(&web, "db"), [db.address()]);
    for name in ["example.org", "typo", "192.0.2.9"] {
        assert!(web.exec(["nslookup", name]).stdout.contains("NXDOMAIN"), "{name}");
    }
    // Nor is the server within reach itself.
    let direct = web.exec(["timeout", "1", "nslookup", "-type=a", "example.org", "192.0.2.2"]);
    assert_ne!(direct.code, 0, "{direct}");
    assert_eq!(server.asked(), [""; 0]);
    host.minirun(["network", "connect", "default", web.id()])
        .succeeds();
    assert_eq!(addresses(&web, "example.org"), ["192.0.2.80"]);
}

#[test]
fn netd_runs_as_nobody_with_nothing_open_that_it_does_not_need() {
    let host = Host::new();
    let _web = host
        .container("web")
        .sleeping()
        .detached(&["--network", "default"]);
    let netd = netd(&host).unwrap();
    for (field, value) in [
        ("Uid", "65534 65534 65534 65534"),
        ("Gid", "65534 65534 65534 65534"),
        ("Groups", ""),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("Threads", "1"),
    ] {
        assert_eq!(status(netd, field), value, "{field}");
    }
    // The listening socket, the lock, epoll; of the container a pidfd and two sockets. The command's conversation ends
    // a moment after the command.
    let open = || {
        let mut open: Vec<String> = fs::read_dir(format!("/proc/{netd}/fd"))
            .unwrap()
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .map(|path| path.to_str().unwrap().split(':').next().unwrap().to_owned())
            // What a pidfd was called before Linux 6.9.
            .map(|path| path.replace("anon_inode", "pidfd"))
            .collect();
        open.sort();
        open
    };
    let null = "/dev/null";
    let lock = "/run/minirun/net/.netd.lock";
    let expected = [
        null, null, null, lock, "pidfd", "pidfd", "socket", "socket", "socket",
    ];
    wait_until(
        &format!("netd has only {expected:?} open, not {:?}", open()),
        || open() == expected,
    );
}

#[test]
fn netd_ends_with_the_last_container_and_comes_back_with_the_next() {
    let host = Host::new();
    assert_eq!(netd(&host), None);
    for _ in 0..2 {
        let one = sleeping(&host, "one", &[]);
        let two = sleeping(&host, "two", &[]);
        let first = netd(&host).unwrap();
        one.delete_force().succeeds();
        assert_eq!(netd(&host), Some(first));
        two.delete_force().succeeds();
        wait_until("netd has ended", || netd(&host).is_none());
    }
}

#[test]
fn netd_outlives_a_terminals_signals_and_the_command_that_started_it() {
    let host = Host::new();
    let web = sleeping(&host, "web", &["--network", "default:alias=me"]);
    let netd_before = netd(&host).unwrap();
    for signal in [Signal::SIGHUP, Signal::SIGINT] {
        kill(netd_before, signal).unwrap();
    }
    assert_eq!(addresses(&web, "me"), [web.address()]);
    assert_eq!(netd(&host), Some(netd_before));
}

#[test]
fn after_netd_was_killed_reconcile_brings_every_name_back() {
    let host = Host::new();
    create(&host, "back", &[]);
    let db = sleeping(&host, "db", &["--network", "back:alias=db"]);
    let web = sleeping(
        &host,
        "web",
        &["--network", "default:alias=web", "--network", "back"],
    );
    kill(netd(&host).unwrap(), Signal::SIGKILL).unwrap();
    wait_until("netd is gone", || netd(&host).is_none());
    web.exec(["timeout", "1", "nslookup", "-type=a", "db"]);
    let said = host.minirun(["network", "reconcile"]).succeeds().stdout;
    assert!(said.contains(db.id()) && said.contains(web.id()), "{said}");
    assert_eq!(addresses(&web, "db"), [db.address()]);
    assert_eq!(addresses(&web, "web"), [web.address()]);
    assert_eq!(host.minirun(["network", "reconcile"]).succeeds().stdout, "");
}

#[test]
fn after_netd_was_killed_the_next_container_brings_every_name_back() {
    let host = Host::new();
    let db = sleeping(&host, "db", &["--network", "default:alias=db"]);
    kill(netd(&host).unwrap(), Signal::SIGKILL).unwrap();
    wait_until("netd is gone", || netd(&host).is_none());
    let web = sleeping(&host, "web", &["--network", "default:alias=web"]);
    assert_eq!(addresses(&web, "db"), [db.address()]);
    assert_eq!(addresses(&db, "web"), [web.address()]);
}

#[test]
fn after_netd_was_killed_a_container_that_joins_one_more_network_has_all_its_names() {
    let host = Host::new();
    create(&host, "back", &[]);
    let db = sleeping(&host, "db", &["--network", "default:alias=db"]);
    let web = sleeping(&host, "web", &["--network", "default"]);
    kill(netd(&host).unwrap(), Signal::SIGKILL).unwrap();
    wait_until("netd is gone", || netd(&host).is_none());
    host.minirun(["network", "connect", "back:alias=store", web.id()])
        .succeeds();
    assert_eq!(addresses(&web, "db"), [db.address()]);
    assert_eq!(addresses(&web, "store").len(), 1);
    assert_eq!(host.minirun(["network", "reconcile"]).succeeds().stdout, "");
}

#[test]
fn a_container_that_dies_without_delete_does_not_keep_its_network_namespace() {
    let host = Host::new();
    let other = sleeping(&host, "other", &[]);
    let web = sleeping(&host, "web", &["--network", "default:alias=web"]);
    let link = web.inspect()["networks"][0]["hostInterface"]
        .as_str()
        .unwrap()
        .to_owned();
    host.ip(&format!("link show {link}"));
    kill(Pid::from_raw(web.pid() as i32), Signal::SIGKILL).unwrap();
    web.wait_for_status("stopped");
    wait_until("its link is gone", || !host.ip("-o link").stdout.contains(&link));
    assert!(refusal(&other, "a", "web").contains("NXDOMAIN"));
}

#[test]
fn a_thousand_questions_in_a_flood_do_not_keep_a_neighbour_waiting() {
    let host = Host::new();
    let flood = host
        .container("flood")
        .sh("echo up; while true; do nslookup -type=a far.example.org >/dev/null 2>&1 & nslookup -type=a flood >/dev/null 2>&1; done")
        .detached(&["--dns", "127.0.0.200"]);
    flood.wait_for_stdout("up");
    let web = sleeping(&host, "web", &["--network", "default:alias=web"]);
    for _ in 0..20 {
        assert_eq!(addresses(&web, "web"), [web.address()]);
    }
}
