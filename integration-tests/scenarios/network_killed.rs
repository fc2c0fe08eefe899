//! Commands on networks killed before their system calls, and netd at random: `delete --force`, the same command again or
//! `network reconcile` brings the host to what definitions and containers say.
//!
//! `MINIRUN_EVERY_SYSCALL=1` kills before every call, else before a sample of those that change something.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Container, Host, Output, Random, Traced, wait_until};

/// Which calls are left out between two that are tried.
const STRIDE: u64 = 24;

/// A network of both families with a policy that names `db` and `web`, and `db` on it.
fn shop(host: &Host) -> Container<'_> {
    host.minirun(["network", "create", "--ipv6", "--within", "deny", "shop"])
        .succeeds();
    for (from, to, ports) in [("web", "db", "8080/tcp"), ("*", "web", "8080/tcp")] {
        let rule = ["network", "policy", "allow", from, to, ports, "--network", "shop"];
        host.minirun(rule).succeeds();
    }
    let options = ["--network", "shop", "--hostname", "db"];
    host.container("db").serving().detached(&options).listens()
}

/// What the kernel, netd and the files have of networks, counters aside.
fn standing(host: &Host) -> String {
    // Neither the order of elements nor where nft breaks lines says anything.
    let listed = host.nft("-s list ruleset").replace("elements = {", "");
    let mut rules: Vec<&str> = listed
        .lines()
        .filter(|line| !line.contains(" expires "))
        .map(|line| line.trim().trim_end_matches([',', '}', ' ']))
        .collect();
    rules.sort_unstable();
    let links = host.sh("ls /sys/class/net | sort").stdout;
    let files = "find /run/minirun /var/lib/minirun -type f ! -name lock ! -name .lock ! -name .netd.lock ! -name .host.json ! -name history.json";
    let files = host.sh(&format!("{files} | sort")).stdout;
    format!("{}\n{links}\n{files}", rules.join("\n"))
}

/// Waits until all is as it was: the kernel takes links away a moment after the last process.
#[track_caller]
fn comes_back(host: &Host, before: &str, after: &str) {
    let mut now = standing(host);
    for _ in 0..200 {
        if now == before {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
        now = standing(host);
    }
    let only = |a: &str, b: &str| -> Vec<String> {
        let there: Vec<&str> = b.lines().collect();
        a.lines()
            .filter(|line| !there.contains(line))
            .map(str::to_owned)
            .collect()
    };
    panic!(
        "{after}: too much is {:#?}, missing is {:#?}",
        only(&now, before),
        only(before, &now)
    );
}

/// What reconcile has to say the second time is nothing; returns what it said the first time.
#[track_caller]
fn reconciled(host: &Host, after: &str) -> String {
    let said = host.minirun(["network", "reconcile"]).succeeds().stdout;
    let again = host.minirun(["network", "reconcile"]).succeeds().stdout;
    assert_eq!(
        again, "",
        "{after}: the second reconcile after one that said {said:?}"
    );
    said
}

/// Kills what `command` makes before a sample of its calls, and lets `after` look each time, the last time at what was not
/// killed.
fn killed_at_some_calls(
    host: &Host,
    what: &str,
    args: &dyn Fn() -> Vec<String>,
    mut after: impl FnMut(&str, Output),
) {
    let mut random = Random::seeded(what);
    let stride = match std::env::var_os("MINIRUN_EVERY_SYSCALL") {
        Some(_) => 1,
        None => STRIDE,
    };
    let mut point = random.below(stride);
    let streams = (host.dir().join("killed.out"), host.dir().join("killed.err"));
    loop {
        let command = host
            .runtime()
            .after("kill -STOP $$")
            .args(args())
            .streams(&streams.0, &streams.1);
        let output = Traced::take(command.spawn()).killed_at(point as usize);
        let ended = output.code != -9;
        if ended {
            output.clone().succeeds();
        }
        after(&format!("{what} killed before call {point}"), output);
        if ended {
            println!("{what}: of {point} calls");
            assert!(point > 5, "the tracer has seen {point} calls only");
            return;
        }
        point += 1 + random.below(2 * stride - 1);
    }
}

fn words(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

fn run(container: &Container<'_>) -> Vec<String> {
    let options = [
        "run",
        "--detach",
        "--network",
        "shop",
        "--publish",
        "18080:8080",
        "--hostname",
        "web",
    ];
    words(&[&options[..], &[container.bundle().to_str().unwrap()]].concat())
}

#[test]
fn the_first_container_of_a_network_with_a_policy_killed_while_it_comes_leaves_nothing() {
    let host = Host::new();
    shop(&host).delete_force().succeeds();
    let before = standing(&host);
    let web = host.container("web").sleeping();
    let mut round = 0;
    killed_at_some_calls(&host, "the first run", &|| run(&web), |after, _| {
        round += 1;
        if round % 3 == 0 {
            host.minirun(["network", "reconcile"]).succeeds();
        }
        web.delete_force().succeeds();
        comes_back(&host, &before, after);
    });
}

#[test]
fn a_container_killed_while_it_comes_to_others_leaves_nothing_and_they_do_not_notice() {
    let host = Host::new();
    let db = shop(&host);
    let before = standing(&host);
    let web = host.container("web").sleeping();
    let mut round = 0;
    // A port that stayed held would be refused to the next.
    killed_at_some_calls(&host, "a further run", &|| run(&web), |after, output| {
        round += 1;
        if round % 3 == 0 {
            host.minirun(["network", "reconcile"]).succeeds();
        }
        if output.code == 0 {
            assert_eq!(web.known_at(&db.address()), web.address());
        }
        web.delete_force().succeeds();
        comes_back(&host, &before, after);
        assert_eq!(
            host.minirun(["network", "reconcile"]).succeeds().stdout,
            "",
            "{after}"
        );
    });
}

#[test]
fn a_killed_connect_is_finished_by_another_or_taken_back_by_disconnect() {
    let host = Host::new();
    let db = shop(&host);
    let web = host.container("web").sleeping().detached(&["--hostname", "web"]);
    let before = standing(&host);
    let connect = words(&["network", "connect", "shop", web.id()]);
    let mut round = 0;
    killed_at_some_calls(&host, "connect", &|| connect.clone(), |after, output| {
        round += 1;
        if round % 3 == 0 {
            reconciled(&host, after);
        }
        if round % 2 == 0 && output.code != 0 {
            let again = host.minirun(["network", "connect", "shop", web.id()]);
            if again.code != 0 {
                again.fails_with(&["already"]);
            }
            let on = web.inspect()["networks"][1]["address"].clone();
            assert_eq!(web.known_at(&db.address()), on.as_str().unwrap(), "{after}");
            assert_eq!(
                host.minirun(["network", "reconcile"]).succeeds().stdout,
                "",
                "{after}"
            );
        }
        let back = host.minirun(["network", "disconnect", "shop", web.id()]);
        if back.code != 0 {
            back.fails_with(&["not on network"]);
        }
        comes_back(&host, &before, after);
    });
}

#[test]
fn a_record_that_was_half_written_goes_with_the_next_verb_even_one_that_is_refused() {
    let host = Host::new();
    let web = host
        .container("web")
        .sleeping()
        .detached(&["--network", "default"]);
    host.minirun(["network", "create", "shop"]).succeeds();
    let before = standing(&host);
    let refused: [(&[&str], &str); 3] = [
        (&["network", "disconnect", "shop", web.id()], "not on network"),
        (&["network", "connect", "default", web.id()], "already"),
        (&["resume", web.id()], "not paused"),
    ];
    for (verb, why) in refused {
        let half = format!("/run/minirun/{}/record.json.new", web.id());
        host.sh(&format!("printf '{{' >{half} && test -e {half}"))
            .succeeds();
        host.minirun(verb.iter().copied()).fails_with(&[why]);
        comes_back(&host, &before, why);
    }
}

#[test]
fn a_killed_disconnect_is_finished_by_another() {
    let host = Host::new();
    let _db = shop(&host);
    let web = host.container("web").sleeping().detached(&["--hostname", "web"]);
    let before = standing(&host);
    let args = words(&["network", "disconnect", "shop", web.id()]);
    let mut round = 0;
    let ready = || {
        host.minirun(["network", "connect", "shop", web.id()]).succeeds();
        args.clone()
    };
    killed_at_some_calls(&host, "disconnect", &ready, |after, _| {
        round += 1;
        if round % 3 == 0 {
            reconciled(&host, after);
        }
        let again = host.minirun(["network", "disconnect", "shop", web.id()]);
        if again.code != 0 {
            again.fails_with(&["not on network"]);
        }
        comes_back(&host, &before, after);
    });
}

#[test]
fn reconcile_after_a_killed_change_of_a_policy_makes_the_firewall_what_the_definition_says() {
    let host = Host::new();
    let _db = shop(&host);
    let allow = words(&[
        "network",
        "policy",
        "allow",
        "web",
        "db",
        "81/tcp",
        "--network",
        "shop",
    ]);
    let changes = [
        ("allow", allow.clone()),
        (
            "egress",
            words(&["network", "policy", "default", "shop", "egress", "deny"]),
        ),
    ];
    for (what, change) in changes {
        let ready = || {
            let deny = [
                "network",
                "policy",
                "deny",
                "web",
                "db",
                "81/tcp",
                "--network",
                "shop",
            ];
            host.minirun(deny);
            host.minirun(["network", "policy", "default", "shop", "egress", "allow"])
                .succeeds();
            change.clone()
        };
        killed_at_some_calls(&host, what, &ready, |after, _| {
            reconciled(&host, after);
            let standing = standing(&host);
            host.nft("flush ruleset");
            host.minirun(["network", "reconcile"]).succeeds();
            comes_back(&host, &standing, after);
        });
    }
}

#[test]
fn a_killed_reconcile_is_finished_by_another() {
    let host = Host::new();
    let db = shop(&host);
    let web = host.container("web").sleeping();
    web.run_bundle(&[
        "--detach",
        "--network",
        "shop",
        "--publish",
        "18080:8080",
        "--hostname",
        "web",
    ])
    .succeeds();
    let before = standing(&host);
    let ready = || {
        host.nft("flush ruleset");
        host.ip("link del mr-shop");
        words(&["network", "reconcile"])
    };
    killed_at_some_calls(&host, "reconcile", &ready, |after, _| {
        reconciled(&host, after);
        comes_back(&host, &before, after);
        assert_eq!(web.known_at(&db.address()), web.address());
    });
}

#[test]
fn a_network_whose_creation_or_removal_is_killed_is_there_or_not() {
    let host = Host::new();
    host.sh("mkdir -p /run/minirun/net /var/lib/minirun/net");
    let before = standing(&host);
    let create = words(&["network", "create", "--ipv6", "shop"]);
    killed_at_some_calls(&host, "network create", &|| create.clone(), |after, _| {
        let removed = host.minirun(["network", "rm", "shop"]);
        if removed.code != 0 {
            removed.fails_with(&["does not exist"]);
            reconciled(&host, after);
        }
        comes_back(&host, &before, after);
    });
    let ready = || {
        host.minirun(["network", "create", "--ipv6", "shop"]);
        let web = host.container("web").sleeping().detached(&["--network", "shop"]);
        web.delete_force().succeeds();
        words(&["network", "rm", "shop"])
    };
    killed_at_some_calls(&host, "network rm", &ready, |after, _| {
        let removed = host.minirun(["network", "rm", "shop"]);
        if removed.code != 0 {
            removed.fails_with(&["does not exist"]);
            reconciled(&host, after);
        }
        comes_back(&host, &before, after);
    });
}

/// netd's process: of this host the only one of its name.
fn netd(host: &Host) -> Option<Pid> {
    let ours = fs::read_link(format!("/proc/{}/ns/net", host.pid())).unwrap();
    fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        let net = fs::read_link(entry.path().join("ns/net")).ok()?;
        (name == "minirun-netd\n" && net == ours).then(|| Pid::from_raw(pid))
    })
}

#[test]
fn netd_killed_while_containers_come_and_go_is_there_again_for_the_next() {
    let host = Host::new();
    let db = shop(&host);
    let before = standing(&host);
    let mut random = Random::seeded("netd killed");
    let web = host.container("web").sleeping();
    for round in 0..8 {
        let coming = host.runtime().args(run(&web)).spawn();
        std::thread::sleep(random.duration(std::time::Duration::from_millis(120)));
        if let Some(netd) = netd(&host) {
            kill(netd, Signal::SIGKILL).unwrap();
        }
        let came = coming.wait();
        reconciled(&host, "a killed netd");
        if came.code == 0 {
            assert_eq!(web.known_at(&db.address()), web.address(), "round {round}");
            web.exec(["nslookup", "db"]).succeeds();
            db.exec(["nslookup", "web"]).succeeds();
            // Held again: by whom, says the lease.
            let other = host.container("other").sleeping();
            other
                .run_bundle(&["--detach", "--network", "shop", "--publish", "18080:80"])
                .exits(1)
                .fails_with(&["18080", web.id()]);
        } else {
            came.fails_with(&["netd"]);
        }
        web.delete_force().succeeds();
        comes_back(&host, &before, "a killed netd");
    }
}

#[test]
fn a_dead_containers_published_port_does_not_lead_to_the_heir_of_its_address() {
    let host = Host::new();
    let wish = ["--network", "default:ip=10.186.0.9", "--publish", "18080:8080"];
    let keeper = host.container("keeper").sleeping().detached(&[]);
    let before = standing(&host);
    let dead = host.container("dead").sh("exit 0").detached(&wish);
    let link = dead.inspect()["networks"][0]["hostInterface"]
        .as_str()
        .unwrap()
        .to_owned();
    wait_until("its link is gone", || !host.ip("-o link").stdout.contains(&link));
    let heir = host.container("heir").serving().detached(&wish[..2]).listens();
    assert!(
        !host.nft("list ruleset").contains("18080"),
        "{}",
        host.nft("list ruleset")
    );
    assert_eq!(keeper.known_at("10.186.0.9"), keeper.address());
    dead.delete().succeeds();
    assert_eq!(keeper.known_at("10.186.0.9"), keeper.address());
    heir.delete_force().succeeds();
    comes_back(&host, &before, "the heir of an address");
}
