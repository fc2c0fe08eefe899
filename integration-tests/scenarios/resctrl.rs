//! linux.intelRdt on a real resctrl: that of the emulated machine, whose processor has one class beside the default one, three bits
//! of an L3 cache, four of an L2 cache, and counters. Elsewhere, what is said where there is none.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{Container, Host, Output, Random, Traced, skip, wait_until};

const RESCTRL: &str = "/sys/fs/resctrl";

fn is_mounted() -> bool {
    Path::new(RESCTRL).join("schemata").exists()
}

fn asking<'h>(host: &'h Host, rdt: Value) -> Container<'h> {
    host.container("web")
        .sleeping()
        .edit(|config| config["linux"]["intelRdt"] = rdt)
}

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(RESCTRL).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn schemata(class: &str) -> Vec<String> {
    let schemata = read(Path::new(class).join("schemata"));
    schemata.lines().map(|line| line.trim().to_owned()).collect()
}

fn is_in(pid: i64, group: &str) -> bool {
    let tasks = read(Path::new(group).join("tasks"));
    tasks.lines().any(|line| line == pid.to_string())
}

/// A class that somebody made before, as administrators do; it goes with the scenario, whatever happens.
struct Class(PathBuf);

impl Class {
    fn new(host: &Host, schemata: &str) -> Class {
        let class = Class(Path::new(RESCTRL).join(host.unique("gold")));
        fs::create_dir(&class.0).unwrap();
        fs::write(class.0.join("schemata"), format!("{schemata}\n")).unwrap();
        class
    }

    fn name(&self) -> &str {
        self.0.file_name().unwrap().to_str().unwrap()
    }
}

impl Drop for Class {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

impl Container<'_> {
    #[track_caller]
    fn share(&self, flags: &[&str]) -> Output {
        let update = self.verb("update").args(flags.iter().copied());
        update.args([self.id()]).output()
    }

    #[track_caller]
    fn intel_rdt(&self) -> Value {
        let events = self.verb("events").args(["--stats", self.id()]).output();
        events.succeeds().json()["data"]["intel_rdt"].clone()
    }
}

#[track_caller]
fn leaves_nothing(host: &Host) {
    let leaked = host.leaks();
    assert!(leaked.is_empty(), "{leaked:#?}");
}

#[test]
fn without_resctrl_it_is_refused_in_runcs_words_before_anything_is_made() {
    let host = Host::new();
    if is_mounted() {
        host.sh(&format!("umount {RESCTRL}"));
    }
    for rdt in [
        json!({}),
        json!({"closID": "/"}),
        json!({"l3CacheSchema": "L3:0=1"}),
    ] {
        let web = asking(&host, rdt);
        web.try_create().exits(1).fails_with(&[
            "intelRdt is specified in config, but Intel RDT is not enabled",
            "mount -t resctrl resctrl /sys/fs/resctrl",
        ]);
        assert!(!host.path("/run/minirun").join(web.id()).exists());
        leaves_nothing(&host);
    }
    let web = host.container("web").sleeping().running();
    web.share(&["--l3-cache-schema", "L3:0=1"])
        .exits(1)
        .fails_with(&["Intel RDT/CAT: l3 cache schema is not enabled"]);
    web.share(&["--mem-bw-schema", "MB:0=10"])
        .exits(1)
        .fails_with(&["Intel RDT/MBA: memory bandwidth schema is not enabled"]);
    assert_eq!(web.intel_rdt(), json!({}));
}

#[test]
fn what_is_wrong_in_it_is_refused_by_field() {
    let host = Host::new();
    for (rdt, texts) in [
        (
            json!({"closID": ".."}),
            ["linux.intelRdt.closID", "is no name of a class"],
        ),
        (
            json!({"closID": "a/b"}),
            ["linux.intelRdt.closID", "is no name of a class"],
        ),
        (
            json!({"closID": "info"}),
            ["linux.intelRdt.closID", "is no name of a class"],
        ),
        (
            json!({"memBwSchema": "10"}),
            ["linux.intelRdt.memBwSchema", "must start with"],
        ),
        (
            json!({"schemata": ["L3:0=1\nL3:0=2"]}),
            ["linux.intelRdt.schemata[0]", "must be one line"],
        ),
    ] {
        asking(&host, rdt).try_create().exits(1).fails_with(&texts);
        leaves_nothing(&host);
    }
}

#[test]
fn a_container_has_a_class_of_its_own_with_its_shares_and_the_class_goes_with_it() {
    if !is_mounted() {
        skip!("no resctrl");
    }
    let host = Host::new();
    let web = asking(
        &host,
        json!({"l3CacheSchema": "L3:0=3", "schemata": ["L3:0=1", "L2:0=6"], "enableMonitoring": true}),
    )
    .sh("sleep 1000 & wait")
    .created();
    let monitoring = format!("{}/mon_groups/{}", web.id(), web.id());
    assert_eq!(
        schemata(web.id()),
        ["L2:0=6", "L3:0=1"],
        "schemata come after l3CacheSchema"
    );
    assert!(
        is_in(web.pid(), web.id()) && is_in(web.pid(), &monitoring),
        "before it starts"
    );
    web.start().succeeds();
    web.exec_with(&["--detach"], ["sh", "-c", "sleep 1000 & wait"])
        .succeeds();
    wait_until("all four are in both groups", || {
        [web.id(), &monitoring].map(|group| read(Path::new(group).join("tasks")).lines().count()) == [4, 4]
    });
    web.delete_force().succeeds();
    assert!(!Path::new(RESCTRL).join(web.id()).exists());
    leaves_nothing(&host);
}

#[test]
fn a_class_that_exists_is_joined_and_left_as_it_was() {
    if !is_mounted() {
        skip!("no resctrl");
    }
    let host = Host::new();
    let gold = Class::new(&host, "L3:0=3");
    let same = asking(
        &host,
        json!({"closID": gold.name(), "l3CacheSchema": "L3:0=03", "enableMonitoring": true}),
    )
    .running();
    let any = asking(&host, json!({"closID": gold.name()})).running();
    let monitoring = format!("{}/mon_groups/{}", gold.name(), same.id());
    assert!(is_in(same.pid(), gold.name()) && is_in(any.pid(), gold.name()));
    assert!(is_in(same.pid(), &monitoring) && !is_in(any.pid(), &monitoring));
    asking(&host, json!({"closID": gold.name(), "schemata": ["L3:0=1"]}))
        .try_create()
        .exits(1)
        .fails_with(&["linux.intelRdt.closID", "exists and does not have"]);
    same.delete_force().succeeds();
    assert!(!Path::new(RESCTRL).join(monitoring).exists());
    any.delete_force().succeeds();
    assert_eq!(schemata(gold.name()), ["L2:0=f", "L3:0=3"]);
    asking(&host, json!({"closID": host.unique("missing")}))
        .try_create()
        .exits(1)
        .fails_with(&["linux.intelRdt.closID: there is no class"]);
}

#[test]
fn the_default_class_is_joined_by_a_slash_and_counted_in() {
    if !is_mounted() {
        skip!("no resctrl");
    }
    let host = Host::new();
    let before = schemata("");
    let web = asking(&host, json!({"closID": "/", "enableMonitoring": true})).running();
    let monitoring = format!("mon_groups/{}", web.id());
    assert!(is_in(web.pid(), &monitoring));
    let statistics = web.intel_rdt();
    assert!(
        statistics["cmt_stats"][0]["llc_occupancy"].is_u64(),
        "{statistics}"
    );
    assert!(
        statistics["mbm_stats"][0]["mbm_total_bytes"].is_u64(),
        "{statistics}"
    );
    web.share(&["--l3-cache-schema", "L3:0=1"])
        .exits(1)
        .fails_with(&["the default class"]);
    assert_eq!(schemata(""), before);
    asking(&host, json!({"closID": "/", "l3CacheSchema": "L3:0=1"}))
        .try_create()
        .exits(1)
        .fails_with(&["linux.intelRdt.closID", "exists and does not have"]);
    web.delete_force().succeeds();
    assert!(!Path::new(RESCTRL).join(monitoring).exists());
}

#[test]
fn a_named_class_that_a_container_made_stays_for_others_but_not_when_its_creation_fails() {
    if !is_mounted() {
        skip!("no resctrl");
    }
    let host = Host::new();
    let name = host.unique("silver");
    let asked = json!({"closID": name, "l3CacheSchema": "L3:0=6"});
    let failing = asking(&host, asked.clone()).edit(|config| {
        config["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]});
    });
    failing.try_create().exits(1);
    let pid_file = ["--pid-file", "/no/such/directory/pid"];
    asking(&host, asked.clone()).create_with(&pid_file).exits(1);
    assert!(!Path::new(RESCTRL).join(&name).exists());
    leaves_nothing(&host);
    let first = asking(&host, asked.clone()).running();
    let class = Class(Path::new(RESCTRL).join(&name));
    first.delete_force().succeeds();
    assert_eq!(schemata(class.name()), ["L2:0=f", "L3:0=6"]);
    let second = asking(&host, asked).running();
    assert!(is_in(second.pid(), class.name()));
}

#[test]
fn what_resctrl_refuses_is_said_in_its_words_and_leaves_nothing() {
    if !is_mounted() {
        skip!("no resctrl");
    }
    let host = Host::new();
    for (rdt, texts) in [
        (
            json!({"l3CacheSchema": "L3:0=f0"}),
            ["linux.intelRdt", "resctrl says: "],
        ),
        (
            json!({"schemata": ["L4:0=1"]}),
            ["linux.intelRdt", "resctrl says: "],
        ),
        (
            json!({"l3CacheSchema": "L3:0=1", "schemata": ["L3:7=1"]}),
            ["linux.intelRdt", "invalid argument"],
        ),
        (
            json!({"memBwSchema": "MB:0=10"}),
            ["linux.intelRdt.memBwSchema", "Intel RDT/MBA is not enabled"],
        ),
    ] {
        asking(&host, rdt).try_create().exits(1).fails_with(&texts);
        leaves_nothing(&host);
    }
    let gold = Class::new(&host, "L3:0=1");
    asking(&host, json!({}))
        .try_create()
        .exits(1)
        .fails_with(&["no space left", "closID names one that containers can share"]);
    drop(gold);
    let taken = asking(&host, json!({}));
    fs::create_dir(Path::new(RESCTRL).join(taken.id())).unwrap();
    let taken_by = Class(Path::new(RESCTRL).join(taken.id()));
    taken.try_create().exits(1).fails_with(&["exists already"]);
    taken.delete_force().succeeds();
    assert!(taken_by.0.exists());
}

#[test]
fn update_changes_the_shares_and_gives_a_container_without_a_class_one() {
    if !is_mounted() {
        skip!("no resctrl");
    }
    let host = Host::new();
    let web = asking(&host, json!({"l3CacheSchema": "L3:0=1"})).running();
    web.share(&["--l3-cache-schema", "L3:0=6"]).succeeds();
    assert_eq!(schemata(web.id()), ["L2:0=f", "L3:0=6"]);
    let statistics = web.intel_rdt();
    assert_eq!(statistics["l3_cache_schema"], "L3:0=6");
    assert_eq!(statistics["l3_cache_schema_root"], "L3:0=7");
    assert_eq!(
        statistics["l3_cache_info"],
        json!({"cbm_mask": "7", "min_cbm_bits": 1, "num_closids": 2})
    );
    let pids = || web.cgroup_file("pids", "pids.max");
    let before = pids();
    web.share(&["--pids-limit", "77", "--l3-cache-schema", "L3:0=ff"])
        .exits(1)
        .fails_with(&["resctrl says: "]);
    assert_eq!(
        (pids(), schemata(web.id())),
        (before, vec!["L2:0=f".into(), "L3:0=6".into()])
    );
    web.delete_force().succeeds();

    let late = host
        .container("late")
        .sh("sleep 1000 & sleep 1000 & wait")
        .running();
    let tasks = || read(Path::new(late.id()).join("tasks")).lines().count();
    wait_until("its children are there", || {
        let ps = late
            .verb("ps")
            .args(["--format", "json", late.id()])
            .output()
            .succeeds();
        serde_json::from_str::<Vec<i64>>(&ps.stdout).unwrap().len() == 3
    });
    late.share(&["--l3-cache-schema", "L3:0=ff"])
        .exits(1)
        .fails_with(&["resctrl says: "]);
    assert!(!Path::new(RESCTRL).join(late.id()).exists());
    late.share(&["--l3-cache-schema", "L3:0=1"]).succeeds();
    assert_eq!(
        (schemata(late.id()), tasks()),
        (vec!["L2:0=f".into(), "L3:0=1".into()], 3)
    );
    late.exec_with(&["--detach"], ["sleep", "1000"]).succeeds();
    wait_until("the fourth is there", || tasks() == 4);
    late.delete_force().succeeds();
    assert!(!Path::new(RESCTRL).join(late.id()).exists());
}

/// Killed before a sample of its calls that change something, every so many on the average; with MINIRUN_EVERY_SYSCALL=1 before each:
/// the machine that has resctrl is emulated, and slow.
const STRIDE: u64 = 8;

#[test]
fn a_create_killed_before_any_of_its_calls_leaves_no_group_after_delete_force() {
    if !is_mounted() {
        skip!("no resctrl");
    }
    let host = Host::new();
    let name = host.unique("silver");
    let mut random = Random::seeded("create in a class killed");
    let stride = match std::env::var_os("MINIRUN_EVERY_SYSCALL") {
        Some(_) => 1,
        None => STRIDE,
    };
    for rdt in [
        json!({"l3CacheSchema": "L3:0=1", "enableMonitoring": true}),
        json!({"closID": name, "l3CacheSchema": "L3:0=1", "enableMonitoring": true}),
    ] {
        let web = asking(&host, rdt);
        let mut point = random.below(stride);
        loop {
            let create = web
                .verb("create")
                .after("kill -STOP $$")
                .args(web.bundle_and_id());
            let streams = (web.bundle().join("stdout"), web.bundle().join("stderr"));
            let output =
                Traced::take(create.streams(&streams.0, &streams.1).spawn()).killed_at(point as usize);
            let state = web.verb("state").args([web.id()]).output().stdout;
            let created = state.contains("\"created\"");
            web.delete_force().succeeds();
            // A class with a name stays once its container was created.
            if created {
                let _ = fs::remove_dir(Path::new(RESCTRL).join(&name));
            }
            let leaked = host.leaks();
            assert!(leaked.is_empty(), "killed before call {point}: {leaked:#?}");
            if output.code == 0 {
                break;
            }
            point += 1 + random.below(2 * stride - 1);
        }
        assert!(point > 5, "the tracer has seen {point} calls only");
    }
}

#[test]
fn a_container_that_does_not_ask_touches_no_resctrl() {
    if !is_mounted() {
        skip!("no resctrl");
    }
    let host = Host::new();
    let groups = || {
        let entries = fs::read_dir(RESCTRL).unwrap().flatten();
        entries.map(|entry| entry.file_name()).collect::<Vec<_>>()
    };
    let before = groups();
    let web = host.container("web").sleeping().running();
    assert_eq!(groups(), before);
    assert!(is_in(web.pid(), ""));
    assert_eq!(web.intel_rdt(), json!({}));
}
