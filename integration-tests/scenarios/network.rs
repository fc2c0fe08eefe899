//! Containers on a network that minirun made: reaching each other, the host and the outside; names; what inspect shows.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Container, Host, Uplink, wait_until};

/// A server of its own on the default network.
fn server<'h>(host: &'h Host, name: &str) -> Container<'h> {
    host.container(name).serving().detached(&[]).listens()
}

#[track_caller]
fn read(container: &Container<'_>, path: &str) -> String {
    container.exec(["cat", path]).succeeds().stdout
}

#[test]
fn the_host_reaches_a_container() {
    let host = Host::new();
    let web = server(&host, "web");
    let gateway = web.inspect()["networks"][0]["gateway"].clone();
    let page = host.sh(&format!("wget -qO- http://{}:8080/", web.address()));
    assert_eq!(page.stdout, "hello\n");
    assert_eq!(json!(host.known_at(&web.address())), gateway);
}

#[test]
fn containers_reach_each_other_by_address_and_by_name_whoever_came_first() {
    let host = Host::new();
    let db = server(&host, "db");
    let web = server(&host, "web");
    // Not behind the host's address: they are neighbours.
    assert_eq!(web.known_at(&db.address()), web.address());
    assert_eq!(web.known_at(db.id()), web.address());
    assert_eq!(db.known_at(&web.address()), db.address());
    assert_eq!(db.known_at(web.id()), db.address());
}

#[test]
fn containers_are_known_by_id_host_name_and_aliases() {
    let host = Host::new();
    let alias = ["--network", "default:alias=cache,alias=store"];
    let db = host
        .container("db")
        .serving()
        .edit(|config| config["hostname"] = json!("postgres"))
        .detached(&alias)
        .listens();
    let web = host.container("web").sleeping().detached(&[]);
    for name in [db.id(), "postgres", "cache", "store"] {
        assert_eq!(web.known_at(name), web.address(), "{name}");
    }
    // The host name of a config that many copy may be taken twice: the id is its own.
    let own = format!("{}\tscenario {}\n", web.address(), web.id());
    assert!(read(&web, "/etc/hosts").contains(&own));
}

#[test]
fn containers_reach_the_outside_behind_the_hosts_address() {
    let host = Host::new();
    let _uplink = Uplink::of(&host);
    let web = host.container("web").sleeping().detached(&[]);
    let network = web.inspect()["networks"][0].clone();
    let routes = web.exec(["ip", "route"]).succeeds().stdout;
    let default = format!("default via {} dev eth0", network["gateway"].as_str().unwrap());
    assert!(routes.contains(&default), "{routes}");
    assert_eq!(web.known_at("192.0.2.2"), "192.0.2.1");
}

#[test]
fn a_network_chooses_a_subnet_that_the_host_does_not_use() {
    let host = Host::new();
    host.ip("link add taken type bridge");
    host.ip("addr add 10.186.0.77/24 dev taken");
    host.ip("link set taken up");
    host.ip("route add 10.186.1.0/24 dev taken");
    let web = host.container("web").sleeping().detached(&[]);
    assert_eq!(web.address(), "10.186.2.2");
    host.ip("link del taken");
}

#[test]
fn a_container_has_files_that_tell_who_it_is_and_whom_to_ask() {
    let host = Host::new();
    let resolv = host.dir().join("resolv.conf");
    fs::write(
        &resolv,
        "search shop.example\nnameserver 127.0.0.53\nnameserver 192.0.2.53\n",
    )
    .unwrap();
    host.sh(&format!("mount --bind {} /etc/resolv.conf", resolv.display()));
    let web = host.container("web").sleeping().detached(&[]);
    host.sh("umount /etc/resolv.conf");
    assert_eq!(
        read(&web, "/etc/resolv.conf"),
        "search shop.example\noptions ndots:0\nnameserver 127.0.0.11\n"
    );
    assert_eq!(read(&web, "/etc/hostname"), "scenario\n");
    let hosts = read(&web, "/etc/hosts");
    assert!(hosts.starts_with("127.0.0.1\tlocalhost\n"), "{hosts}");
    assert!(hosts.contains(&web.address()), "{hosts}");
    // They are the container's own, to be changed by it and by nobody else.
    web.exec(["sh", "-c", "echo 192.0.2.7 mine >>/etc/hosts"])
        .succeeds();
    for name in ["hosts", "hostname", "resolv.conf"] {
        assert_eq!(
            fs::read(web.rootfs().join("etc").join(name)).unwrap(),
            b"",
            "{name}"
        );
    }
}

#[test]
fn the_files_are_there_on_a_read_only_root_and_where_the_image_lacks_them() {
    let host = Host::new();
    let sealed = host
        .container("sealed")
        .sleeping()
        .edit(|config| config["root"]["readonly"] = json!(true))
        .detached(&[]);
    assert!(read(&sealed, "/etc/hosts").contains(sealed.id()));
    assert!(read(&sealed, "/etc/resolv.conf").contains("nameserver"));
    sealed.exec(["touch", "/etc/other"]).fails_with(&["read-only"]);

    let bare = host.container("bare").sleeping();
    for name in ["hosts", "hostname", "resolv.conf"] {
        fs::remove_file(bare.rootfs().join("etc").join(name)).unwrap();
    }
    let bare = bare.detached(&[]);
    assert!(read(&bare, "/etc/hosts").contains(bare.id()));
}

#[test]
fn what_a_bundle_mounts_itself_stands() {
    let host = Host::new();
    let own = host.dir().join("own-hosts");
    fs::write(&own, "192.0.2.9\town\n").unwrap();
    let web = host.container("web").sleeping().push(
        "/mounts",
        json!({"destination": "/etc/hosts", "type": "bind", "source": own, "options": ["bind", "ro"]}),
    );
    let web = web.detached(&[]);
    assert_eq!(read(&web, "/etc/hosts"), "192.0.2.9\town\n");
    assert_eq!(read(&web, "/etc/hostname"), "scenario\n");
    assert_eq!(fs::read_to_string(&own).unwrap(), "192.0.2.9\town\n");

    let whole = host
        .container("whole")
        .sh("ls /etc; sleep 1000")
        .push(
            "/mounts",
            json!({"destination": "/etc", "type": "tmpfs", "source": "tmpfs"}),
        )
        .detached(&[]);
    whole.wait_for_stdout("resolv.conf");
}

#[test]
fn everybody_in_the_container_can_read_the_files_whatever_the_callers_umask() {
    let host = Host::new();
    for mapped in [false, true] {
        let web = host.container("web").sleeping();
        let web = if mapped { web.user_namespace() } else { web };
        let run = host.runtime().after("umask 077");
        let streams = (web.bundle().join("stdout"), web.bundle().join("stderr"));
        run.args(["run", "--detach", web.bundle().to_str().unwrap()])
            .streams(&streams.0, &streams.1)
            .output()
            .succeeds();
        let cat = ["cat", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
        let seen = web.exec_with(&["--user", "1000:1000"], cat).succeeds().stdout;
        assert!(seen.contains(&web.address()), "{seen}");
        web.delete_force().succeeds();
    }
}

#[test]
fn a_container_without_a_host_name_is_called_by_its_id() {
    let host = Host::new();
    let web = host.container("web").sleeping().edit(|config| {
        config.as_object_mut().unwrap().remove("hostname");
    });
    let web = web.detached(&[]);
    assert_eq!(web.exec(["hostname"]).succeeds().stdout.trim(), web.id());
    assert_eq!(read(&web, "/etc/hostname").trim(), web.id());
}

#[test]
fn a_container_may_ask_for_address_and_mac() {
    let host = Host::new();
    host.define_network("shop", &json!({"subnet": "10.1.0.0/24", "gateway": "10.1.0.1"}));
    let web = host
        .container("web")
        .sleeping()
        .detached(&["--network", "shop:ip=10.1.0.77,mac=02:00:00:00:00:07"]);
    let seen = web.exec(["ip", "addr", "show", "eth0"]).succeeds().stdout;
    assert!(seen.contains("inet 10.1.0.77/24"), "{seen}");
    assert!(seen.contains("02:00:00:00:00:07"), "{seen}");
    assert_eq!(web.inspect()["networks"][0]["mac"], "02:00:00:00:00:07");
}

#[test]
fn a_container_may_be_on_several_networks_which_do_not_reach_each_other() {
    let host = Host::new();
    host.define_network("front", &json!({"subnet": "10.1.0.0/24", "gateway": "10.1.0.1"}));
    host.define_network("back", &json!({"subnet": "10.2.0.0/24", "gateway": "10.2.0.1"}));
    let on = |name: &str, networks: &[&str]| {
        let options: Vec<&str> = networks.iter().flat_map(|name| ["--network", name]).collect();
        host.container(name).serving().detached(&options).listens()
    };
    let db = on("db", &["back"]);
    let gateway = on("gateway", &["front", "back"]);
    let web = on("web", &["front"]);
    let networks = gateway.inspect()["networks"].clone();
    assert_eq!(
        (
            networks[0]["interface"].as_str(),
            networks[1]["interface"].as_str()
        ),
        (Some("eth0"), Some("eth1"))
    );
    assert_eq!(web.known_at(&gateway.address()), web.address());
    assert_eq!(json!(gateway.known_at(db.id())), networks[1]["address"]);
    let url = format!("http://{}:8080/", db.address());
    let refused = web.exec(["timeout", "2", "wget", "-qO-", &url]);
    assert_ne!(refused.code, 0, "{refused}");
}

#[test]
fn inspect_shows_state_record_cgroups_limits_use_and_networks() {
    let host = Host::new();
    let web = host
        .container("web")
        .sleeping()
        .edit(|config| {
            config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
            config["linux"]["resources"]["pids"] = json!({"limit": 50});
        })
        .detached(&[]);
    let seen = web.inspect();
    assert_eq!(seen["state"]["id"], web.id());
    assert_eq!(seen["state"]["status"], "running");
    assert_eq!(seen["state"]["pid"], json!(web.pid()));
    assert_eq!(seen["record"]["id"], web.id());
    assert_eq!(seen["limits"]["memory"]["limit"], json!(64 << 20));
    assert_eq!(seen["limits"]["pids"]["limit"], json!(50));

    let paths: Vec<&str> = seen["cgroup"]["paths"]
        .as_object()
        .unwrap()
        .values()
        .map(|path| path.as_str().unwrap())
        .collect();
    assert!(!paths.is_empty());
    assert!(
        paths.contains(&web.cgroup("memory").to_str().unwrap()),
        "{paths:?}"
    );
    for path in paths {
        assert!(fs::exists(path).unwrap(), "{path}");
    }
    assert!(seen["cgroup"]["statistics"].is_object(), "{seen:#}");

    let network = &seen["networks"][0];
    assert_eq!(network["network"], "default");
    assert_eq!(network["interface"], "eth0");
    assert_eq!(network["ports"], json!([]));
    let inside = web.exec(["ip", "addr", "show", "eth0"]).succeeds().stdout;
    for field in ["address", "mac"] {
        let value = network[field].as_str().unwrap();
        assert!(inside.contains(value), "{field} {value} in {inside}");
    }
    let outside = host.ip("-o link").stdout;
    assert!(
        outside.contains(network["hostInterface"].as_str().unwrap()),
        "{outside}"
    );
}

#[test]
fn inspect_of_an_unknown_or_stopped_container_says_so() {
    let host = Host::new();
    host.minirun(["inspect", "nobody"])
        .exits(1)
        .fails_with(&["nobody", "does not exist"]);
    let web = host.container("web").sh("exit 3").detached(&[]);
    web.wait_for_status("stopped");
    let seen = web.inspect();
    assert_eq!(seen["state"]["status"], "stopped");
    assert_eq!(seen["networks"][0]["network"], "default");
}

#[test]
fn many_containers_started_at_once_all_get_an_address_of_their_own() {
    let host = Host::new();
    let containers: Vec<Container<'_>> = (0..8).map(|_| host.container("web").sleeping()).collect();
    let starting: Vec<_> = containers
        .iter()
        .map(|container| {
            let run = container
                .verb("run")
                .args(["--detach"])
                .args([container.bundle()]);
            run.spawn()
        })
        .collect();
    for run in starting {
        run.wait().succeeds();
    }
    let mut addresses: Vec<String> = containers.iter().map(Container::address).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), containers.len(), "{addresses:?}");
    let deleting: Vec<_> = containers
        .iter()
        .map(|container| container.verb("delete").args(["--force", container.id()]).spawn())
        .collect();
    for delete in deleting {
        delete.wait().succeeds();
    }
}

#[test]
fn the_last_container_takes_bridge_and_firewall_along_and_the_next_brings_them_back() {
    let host = Host::new();
    for _ in 0..2 {
        let first = server(&host, "first");
        let second = server(&host, "second");
        first.delete_force().succeeds();
        let address = second.address();
        host.known_at(&address);
        assert!(host.nft("list ruleset").contains("minirun0"));
        second.delete_force().succeeds();
        assert_eq!(host.nft("list ruleset"), "");
        wait_until("the bridge is gone", || {
            host.ip("-o link").stdout.lines().count() == 1
        });
    }
}

#[test]
fn an_address_is_used_again_as_late_as_possible() {
    let host = Host::new();
    let keeper = host.container("keeper").sleeping().detached(&[]);
    let mut seen = vec![keeper.address()];
    for _ in 0..3 {
        let web = host.container("web").sleeping().detached(&[]);
        assert!(!seen.contains(&web.address()), "{} after {seen:?}", web.address());
        seen.push(web.address());
        web.delete_force().succeeds();
    }
}

#[test]
fn hooks_find_the_network_in_place() {
    let host = Host::new();
    let seen = host.dir().join("seen");
    let script = format!(
        "state=$(cat); pid=$(echo \"$state\" | sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p'); \
         nsenter -t $pid -n busybox ip addr show eth0 >{}",
        seen.display()
    );
    let web = host.container("web").sleeping().push(
        "/hooks/createRuntime",
        json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}),
    );
    let web = web.detached(&[]);
    assert!(fs::read_to_string(&seen).unwrap().contains(&web.address()));
}

#[test]
fn the_switch_of_the_host_that_a_network_needs_is_said_and_recorded() {
    let host = Host::new();
    let forward = || {
        host.sh("cat /proc/sys/net/ipv4/ip_forward")
            .stdout
            .trim()
            .to_owned()
    };
    host.sh("echo 0 >/proc/sys/net/ipv4/ip_forward");
    let web = host.container("web").sleeping();
    let said = web.run_bundle(&["--detach"]).succeeds().stderr;
    assert!(said.contains("net.ipv4.ip_forward"), "{said}");
    assert_eq!(forward(), "1");
    let record = fs::read(host.path("/run/minirun/net/.host.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(record[0]["before"], "0", "{record}");
    // Said once, not every time.
    let other = host.container("other").sleeping();
    assert_eq!(other.run_bundle(&["--detach"]).succeeds().stderr, "");
}
