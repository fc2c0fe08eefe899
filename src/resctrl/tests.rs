//! Whole lives of groups over fake trees: plain directories with the files that the kernel would make in them. What the real
//! file system does is for `integration-tests/scenarios/resctrl.rs`, in the emulated machine.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use oci_spec::runtime::LinuxIntelRdt;
use serde_json::{Value, json};

use super::*;
use crate::error::{Error, Kind, Result};

/// A processor that can do everything, with one class beside the default one; removed in the end, whatever happens.
struct Fake(PathBuf);

impl Fake {
    fn new() -> Fake {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let fake =
            Fake(std::env::temp_dir().join(format!("minirun resctrl {} {number}", std::process::id())));
        for (name, content) in [
            ("info/L3/cbm_mask", "7ff\n"),
            ("info/L3/min_cbm_bits", "1\n"),
            ("info/L3/num_closids", "16\n"),
            ("info/MB/bandwidth_gran", "10\n"),
            ("info/MB/delay_linear", "1\n"),
            ("info/MB/min_bandwidth", "10\n"),
            ("info/MB/num_closids", "8\n"),
            ("info/last_cmd_status", "ok\n"),
            ("schemata", "    MB:0=100;1=100\n    L3:0=7ff;1=7ff\n"),
            ("tasks", "1\n2\n"),
            ("gold/schemata", "    MB:0= 70;1=100\n    L3:0=7f0;1=1f\n"),
            ("gold/tasks", ""),
        ] {
            fake.write(name, content);
        }
        fs::create_dir_all(fake.0.join("mon_groups")).unwrap();
        fs::create_dir_all(fake.0.join("gold/mon_groups")).unwrap();
        fake
    }

    /// As the host's table of mounts would show it.
    fn mount(&self) -> Result<Option<Mount>> {
        let point = self.0.to_str().unwrap().replace(' ', "\\040");
        Ok(Mount::find_in(&format!(
            "21 1 0:20 / /proc rw - proc proc rw\n36 25 0:32 / {point} rw,relatime shared:15 - resctrl resctrl rw\n"
        )))
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }

    fn has(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }

    /// The files of a group go with its directory, but in a fake.
    fn without_files(&self, name: &str) {
        for file in ["schemata", "tasks"] {
            let _ = fs::remove_file(self.0.join(name).join(file));
        }
    }

    fn plan(&self, asked: Value) -> Result<Plan> {
        Plan::new(&rdt(asked), "web", || self.mount())
    }

    fn make(&self, asked: Value) -> Result<Placing> {
        self.plan(asked)?.make(|_| Ok(()))
    }

    /// A whole creation.
    fn create(&self, asked: Value) -> Group {
        self.make(asked).unwrap().place(4711).unwrap()
    }

    fn refusal(&self, asked: Value) -> String {
        self.plan(asked).unwrap_err().to_string()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn rdt(asked: Value) -> LinuxIntelRdt {
    serde_json::from_value(asked).unwrap()
}

#[test]
fn resctrl_is_found_wherever_it_is_mounted() {
    let fake = Fake::new();
    assert_eq!(fake.mount().unwrap().unwrap().path(), fake.0);
    assert_eq!(
        Mount::find_in("21 1 0:20 / /proc rw - proc resctrl rw\n\nbroken\n"),
        None
    );
}

#[test]
fn without_resctrl_a_configuration_that_asks_for_it_is_refused_in_runcs_words() {
    let error = Plan::new(&rdt(json!({})), "web", || Ok(None)).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    let text = error.to_string();
    assert!(
        text.contains("intelRdt is specified in config, but Intel RDT is not enabled"),
        "{text}"
    );
    assert!(text.contains("mount -t resctrl"), "{text}");
}

#[test]
fn a_share_of_what_the_processor_cannot_share_is_refused_by_its_field() {
    let fake = Fake::new();
    fs::remove_dir_all(fake.0.join("info/MB")).unwrap();
    assert_eq!(
        fake.refusal(json!({"memBwSchema": "MB:0=20"})),
        "linux.intelRdt.memBwSchema is specified in config, but Intel RDT/MBA is not enabled"
    );
    fs::rename(fake.0.join("info/L3"), fake.0.join("info/L3CODE")).unwrap();
    assert!(fake.plan(json!({"l3CacheSchema": "L3CODE:0=f"})).is_ok());
    fs::remove_dir_all(fake.0.join("info/L3CODE")).unwrap();
    assert_eq!(
        fake.refusal(json!({"l3CacheSchema": "L3:0=f"})),
        "linux.intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT is not enabled"
    );
    assert!(fake.plan(json!({})).is_ok());
}

#[test]
fn what_names_no_class_and_what_is_no_schema_is_refused_before_anybody_looks_for_resctrl() {
    let refusal = |asked| {
        let nobody_looks = || -> Result<Option<Mount>> { panic!("looked for resctrl") };
        Plan::new(&rdt(asked), "web", nobody_looks)
            .unwrap_err()
            .to_string()
    };
    for name in [".", "..", "a/b", "/a", "a\nb", "info", "mon_groups", "mon_data"] {
        let text = refusal(json!({"closID": name}));
        assert!(
            text.starts_with(&format!("linux.intelRdt.closID: {name:?} is no name")),
            "{text}"
        );
    }
    assert_eq!(
        refusal(json!({"memBwSchema": "L3:0=f"})),
        "linux.intelRdt.memBwSchema: must start with \"MB:\", found \"L3:0=f\""
    );
    assert!(
        refusal(json!({"memBwSchema": "MB:0=20\nL3:0=f"}))
            .starts_with("linux.intelRdt.memBwSchema: must be one line")
    );
    assert_eq!(
        refusal(json!({"schemata": ["L3:0=f", "L3:0=f\nMB:0=20"]})),
        "linux.intelRdt.schemata[1]: must be one line"
    );
}

#[test]
fn without_a_name_the_class_is_the_containers_own_and_has_its_shares_before_the_process_comes() {
    let fake = Fake::new();
    let placing = fake
        .make(json!({"l3CacheSchema": "MB:0=90\nL3:0=f", "memBwSchema": "MB:0=20;1=70"}))
        .unwrap();
    assert_eq!(fake.read("web/schemata"), "L3:0=f\nMB:0=20;1=70\n");
    assert!(!fake.has("web/tasks"));
    placing.place(4711).unwrap();
    assert_eq!(fake.read("web/tasks"), "4711");
}

#[test]
fn schemata_are_written_after_the_two_schemas() {
    let fake = Fake::new();
    fake.create(json!({"l3CacheSchema": "L3:0=f", "schemata": ["L3:0=7", "L2:0=1"]}));
    assert_eq!(
        fake.read("web/schemata"),
        "L3:0=7\nL2:0=1\n",
        "the last that was written"
    );
}

#[test]
fn without_a_schema_no_schemata_are_written() {
    let fake = Fake::new();
    fake.create(json!({"l3CacheSchema": "", "memBwSchema": "", "schemata": []}));
    assert!(fake.has("web/tasks") && !fake.has("web/schemata"));
    let before = fake.read("gold/schemata");
    fake.create(json!({"closID": "gold"}));
    assert_eq!(fake.read("gold/tasks"), "4711");
    assert_eq!(fake.read("gold/schemata"), before);
}

#[test]
fn the_record_names_a_group_before_it_is_made() {
    let fake = Fake::new();
    let plan = fake
        .plan(json!({"closID": "new", "l3CacheSchema": "L3:0=f", "enableMonitoring": true}))
        .unwrap();
    let recorded = RefCell::new(None);
    plan.make(|group| {
        assert!(!fake.has("new"));
        *recorded.borrow_mut() = Some(group.clone());
        Err(Error::new(Kind::Os, "the disk is full"))
    })
    .unwrap_err();
    assert!(!fake.has("new"), "what is not recorded is not made");
    let group = recorded.into_inner().unwrap();
    let kept: Group = serde_json::from_str(&serde_json::to_string(&group).unwrap()).unwrap();
    assert_eq!(kept, group);
    kept.remove(true).unwrap();
}

#[test]
fn a_class_that_exists_is_joined_when_it_has_what_is_asked_and_refused_otherwise() {
    let fake = Fake::new();
    let before = fake.read("gold/schemata");
    for asked in [
        json!({"closID": "gold", "l3CacheSchema": "L3:1=1f;0=7f0"}),
        json!({"closID": "gold", "memBwSchema": "MB:0=65"}),
        json!({"closID": "gold", "schemata": ["L3:0=7f0", "MB:0=70;1=100"]}),
    ] {
        let group = fake.create(asked);
        fake.without_files("gold/mon_groups");
        group.remove(true).unwrap();
        assert_eq!(fake.read("gold/schemata"), before);
    }
    let text = fake.refusal(json!({"closID": "gold", "l3CacheSchema": "L3:0=7f0", "memBwSchema": "MB:0=10"}));
    assert_eq!(
        text,
        "linux.intelRdt.closID: class \"gold\" exists and does not have \"MB:0=10\": it has \"MB:0= 70;1=100 L3:0=7f0;1=1f\""
    );
}

#[test]
fn a_class_that_changed_after_the_plan_is_refused_too() {
    let fake = Fake::new();
    let plan = fake
        .plan(json!({"closID": "new", "l3CacheSchema": "L3:0=f"}))
        .unwrap();
    fake.write("new/schemata", "L3:0=7\n");
    let error = plan.make(|_| panic!("recorded")).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("class \"new\" exists and does not have"),
        "{error}"
    );
}

#[test]
fn a_named_class_without_a_schema_must_exist() {
    let fake = Fake::new();
    let error = fake.plan(json!({"closID": "silver"})).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(
        error
            .to_string()
            .starts_with("linux.intelRdt.closID: there is no class \"silver\""),
        "{error}"
    );
}

#[test]
fn an_own_class_goes_with_the_container_and_a_named_one_stays() {
    let fake = Fake::new();
    let own = fake.create(json!({}));
    fake.without_files("web");
    own.remove(false).unwrap();
    assert!(!fake.has("web"));
    own.remove(false).unwrap();

    let made = fake.create(json!({"closID": "new", "l3CacheSchema": "L3:0=f"}));
    fake.without_files("new");
    made.remove(false).unwrap();
    assert!(fake.has("new"));
}

#[test]
fn a_named_class_goes_when_its_container_never_came_to_be_unless_others_use_it() {
    let fake = Fake::new();
    let group = fake.create(json!({"closID": "new", "l3CacheSchema": "L3:0=f"}));
    fake.write("new/tasks", &format!("{}\n", std::process::id()));
    group.remove(true).unwrap();
    assert!(fake.has("new"), "this process is in it");
    let mut ended = std::process::Command::new("true").spawn().unwrap();
    let stat = format!("/proc/{}/stat", ended.id());
    while !fs::read_to_string(&stat).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    fake.write("new/tasks", &format!("{}\n", ended.id()));
    fs::create_dir_all(fake.0.join("new/mon_groups/other")).unwrap();
    group.remove(true).unwrap();
    assert!(fake.has("new"), "another container is counted there");
    fs::remove_dir(fake.0.join("new/mon_groups/other")).unwrap();
    // rmdir does not take a fake's files away: the attempt is what is seen.
    let error = group.remove(true).unwrap_err();
    assert!(error.to_string().starts_with("remove resctrl group"), "{error}");
    ended.wait().unwrap();
}

#[test]
fn the_default_class_is_joined_counted_in_and_never_changed() {
    let fake = Fake::new();
    let before = fake.read("schemata");
    let group = fake.create(json!({"closID": "/", "enableMonitoring": true, "l3CacheSchema": "L3:0=7ff"}));
    assert_eq!(fake.read("tasks"), "4711");
    assert_eq!(fake.read("mon_groups/web/tasks"), "4711");
    let schemas = Schemas {
        l3_cache: Some("L3:0=1"),
        memory_bandwidth: None,
    };
    let error = group.change(schemas).unwrap_err();
    assert!(error.to_string().contains("the default class"), "{error}");
    assert_eq!(fake.read("schemata"), before);
    fake.without_files("mon_groups/web");
    group.remove(true).unwrap();
    assert!(fake.has("mon_groups") && !fake.has("mon_groups/web"));
    assert!(
        fake.refusal(json!({"closID": "/", "l3CacheSchema": "L3:0=1"}))
            .contains("class \"/\" exists")
    );
}

#[test]
fn groups_of_somebody_else_are_not_taken() {
    let fake = Fake::new();
    fs::create_dir_all(fake.0.join("gold/mon_groups/web")).unwrap();
    let text = fake.refusal(json!({"closID": "gold", "enableMonitoring": true}));
    assert!(
        text.starts_with("linux.intelRdt.enableMonitoring: resctrl group"),
        "{text}"
    );
    assert!(fake.plan(json!({"closID": "gold"})).is_ok());
    fs::create_dir(fake.0.join("web")).unwrap();
    let text = fake.refusal(json!({}));
    assert!(
        text.contains("/web exists already; closID joins a class that exists"),
        "{text}"
    );
    let mount = fake.mount().unwrap();
    let error = Group::make_own(mount, "web", Schemas::default(), |_| panic!("recorded")).unwrap_err();
    assert_eq!(error.kind(), Kind::Exists);
}

#[test]
fn what_resctrl_itself_says_is_in_the_error() {
    let fake = Fake::new();
    fake.write("info/last_cmd_status", "Mask out of range\n");
    fs::create_dir_all(fake.0.join("gold/schemata.d")).unwrap();
    fs::remove_file(fake.0.join("gold/schemata")).unwrap();
    fs::rename(fake.0.join("gold/schemata.d"), fake.0.join("gold/schemata")).unwrap();
    let group = Group::new(
        &fake.mount().unwrap().unwrap(),
        "gold",
        group::Class::Joined,
        None,
    );
    let error = group.write(&["L3:0=ffff".to_owned()]).unwrap_err();
    let expected = format!(
        "write \"L3:0=ffff\" to {}/gold/schemata: is a directory; resctrl says: Mask out of range",
        fake.0.display()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn update_writes_the_schemas_that_it_is_given_and_checks_them_first() {
    let fake = Fake::new();
    let group = fake.create(json!({}));
    let given = |l3_cache, memory_bandwidth| Schemas {
        l3_cache,
        memory_bandwidth,
    };
    group.change(given(Some("L3:0=3"), Some("MB:0=50"))).unwrap();
    assert_eq!(fake.read("web/schemata"), "L3:0=3\nMB:0=50\n");
    let error = group.change(given(None, Some("50"))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "--mem-bw-schema: must start with \"MB:\", found \"50\""
    );
    fs::remove_dir_all(fake.0.join("info/MB")).unwrap();
    let error = group.change(given(None, Some("MB:0=50"))).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("Intel RDT/MBA: memory bandwidth schema is not enabled"),
        "{error}"
    );
    let error =
        Group::make_own(None, "late", given(Some("L3:0=3"), None), |_| panic!("recorded")).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("Intel RDT/CAT: l3 cache schema is not enabled"),
        "{error}"
    );
    assert_eq!(fake.read("web/schemata"), "L3:0=3\nMB:0=50\n");
}

#[test]
fn a_container_made_without_gets_a_class_of_its_own_with_every_thread_in_it() {
    let fake = Fake::new();
    let schemas = Schemas {
        l3_cache: Some("L3:0=3"),
        memory_bandwidth: None,
    };
    let group = Group::make_own(fake.mount().unwrap(), "late", schemas, |_| Ok(())).unwrap();
    assert_eq!(fake.read("late/schemata"), "L3:0=3\n");
    fake.write("late/tasks", "");
    let mut process = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = i32::try_from(process.id()).unwrap();
    let asked = RefCell::new(0);
    group
        .gather(|| {
            *asked.borrow_mut() += 1;
            Ok(vec![pid])
        })
        .unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    // The numbers of threads come from procfs. This process has one, whose number is its own.
    assert_eq!(fake.read("late/tasks"), pid.to_string());
    assert!(asked.into_inner() >= 2, "asked again until nobody new was there");
}

#[test]
fn who_joins_a_class_that_was_removed_stays_where_its_processes_went() {
    let fake = Fake::new();
    let group = fake.create(json!({}));
    fs::remove_dir_all(fake.0.join("web")).unwrap();
    group.join(4712).unwrap();
    assert!(!fake.has("web"));
}

#[test]
fn a_file_system_that_was_unmounted_took_its_groups_with_it() {
    let fake = Fake::new();
    let group = fake.create(json!({"closID": "gold", "enableMonitoring": true}));
    fs::remove_dir_all(&fake.0).unwrap();
    group.remove(false).unwrap();
}

#[test]
fn the_groups_of_a_damaged_record_are_known_from_the_configuration() {
    let fake = Fake::new();
    let lost = |asked| Plan::lost(&rdt(asked), "web", fake.mount().unwrap());
    for asked in [
        json!({"l3CacheSchema": "L3:0=f"}),
        json!({"closID": "gold", "enableMonitoring": true}),
    ] {
        assert_eq!(lost(asked.clone()), Some(fake.create(asked)));
    }
    assert_eq!(Plan::lost(&rdt(json!({})), "web", None), None);
}

#[test]
fn statistics_are_runcs_and_counters_only_those_of_the_container() {
    let fake = Fake::new();
    for (group, bytes) in [("web", 5), ("gold", 7), ("gold/mon_groups/web", 9)] {
        for cache in ["mon_L3_00", "mon_L3_01"] {
            fake.write(
                &format!("{group}/mon_data/{cache}/mbm_total_bytes"),
                &format!("{bytes}\n"),
            );
            fake.write(
                &format!("{group}/mon_data/{cache}/mbm_local_bytes"),
                "Unavailable\n",
            );
        }
        fake.write(&format!("{group}/mon_data/mon_L3_00/llc_occupancy"), "4096\n");
        fake.write(&format!("{group}/mon_data/mon_PERF_PKG_00/core_energy"), "1.5\n");
    }
    let of = |class: &str, own: group::Class, monitoring: Option<&str>| {
        let mount = fake.mount().unwrap().unwrap();
        serde_json::to_value(Group::new(&mount, class, own, monitoring).statistics()).unwrap()
    };
    assert_eq!(
        of("gold", group::Class::Joined, Some("web")),
        json!({
            "l3_cache_info": {"cbm_mask": "7ff", "min_cbm_bits": 1, "num_closids": 16},
            "l3_cache_schema_root": "L3:0=7ff;1=7ff",
            "l3_cache_schema": "L3:0=7f0;1=1f",
            "mem_bw_info": {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 8},
            "mem_bw_schema_root": "MB:0=100;1=100",
            "mem_bw_schema": "MB:0= 70;1=100",
            "mbm_stats": [{"mbm_total_bytes": 9}, {"mbm_total_bytes": 9}],
            "cmt_stats": [{"llc_occupancy": 4096}]
        })
    );
    assert!(of("gold", group::Class::Joined, None).get("mbm_stats").is_none());
    assert_eq!(
        of("web", group::Class::Own, None)["mbm_stats"][0]["mbm_total_bytes"],
        5
    );
    assert_eq!(serde_json::to_value(Statistics::default()).unwrap(), json!({}));
}
