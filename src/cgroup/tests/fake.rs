//! Fake trees: plain directories with the files that the kernel would make in them.

use super::*;

fn fill(directory: &Path, files: &[(&str, &str)]) {
    std::fs::create_dir_all(directory).unwrap();
    for (name, content) in files {
        std::fs::write(directory.join(name), content).unwrap();
    }
}

/// Hierarchies as this many directories; the container's own directory `web` exists, because no kernel would fill it.
fn v1(scratch: &Scratch, hierarchies: &[(&str, &[(&str, &str)])]) -> Layout {
    let hierarchy = |(controllers, files): &(&str, &[(&str, &str)])| {
        let mount = scratch.0.join(controllers);
        fill(&mount, files);
        fill(&mount.join("web"), &[("cgroup.procs", ""), ("tasks", "")]);
        fill(
            &mount.join("web"),
            &files.iter().map(|(name, _)| (*name, "")).collect::<Vec<_>>(),
        );
        Hierarchy {
            controllers: (*controllers).to_owned(),
            mount,
        }
    };
    Layout::V1(hierarchies.iter().map(hierarchy).collect())
}

fn v2(scratch: &Scratch, controllers: &str) -> Layout {
    let root = [
        ("cgroup.controllers", controllers),
        ("cgroup.subtree_control", ""),
    ];
    fill(&scratch.0, &root);
    Layout::V2(scratch.0.clone())
}

fn web(layout: &Layout) -> Cgroup {
    Cgroup::plan(layout, Some(Path::new("/web")), "ignored").unwrap()
}

#[test]
fn a_record_written_before_anything_exists_reads_back_the_same() {
    for layout in [
        Layout::V1(vec![Hierarchy {
            controllers: "cpu,cpuacct".into(),
            mount: "/sys/fs/cgroup/cpu,cpuacct".into(),
        }]),
        Layout::V2("/sys/fs/cgroup".into()),
    ] {
        let cgroup = Cgroup::plan(&layout, Some(Path::new("/no/such/parents/web")), "web").unwrap();
        let json = serde_json::to_string(&cgroup).unwrap();
        assert_eq!(serde_json::from_str::<Cgroup>(&json).unwrap(), cgroup);
    }
}

#[test]
fn a_new_cpuset_gets_its_parents_processors_and_memory() {
    let scratch = Scratch::new();
    let layout = v1(
        &scratch,
        &[("cpuset", &[("cpuset.cpus", "0-3\n"), ("cpuset.mems", "0\n")])],
    );
    web(&layout).create().unwrap();
    assert_eq!(read(scratch.0.join("cpuset/web/cpuset.cpus")), "0-3");
    assert_eq!(read(scratch.0.join("cpuset/web/cpuset.mems")), "0");
}

#[test]
fn a_parent_whose_cpuset_was_left_empty_is_filled_first() {
    let scratch = Scratch::new();
    let layout = v1(
        &scratch,
        &[("cpuset", &[("cpuset.cpus", "0-1"), ("cpuset.mems", "0")])],
    );
    fill(
        &scratch.0.join("cpuset/web/inner"),
        &[("cpuset.cpus", ""), ("cpuset.mems", ""), ("cgroup.procs", "")],
    );
    Cgroup::plan(&layout, Some(Path::new("web/inner")), "x")
        .unwrap()
        .create()
        .unwrap();
    assert_eq!(read(scratch.0.join("cpuset/web/cpuset.cpus")), "0-1");
    assert_eq!(read(scratch.0.join("cpuset/web/inner/cpuset.cpus")), "0-1");
}

#[test]
fn a_directory_with_processes_is_refused_and_what_was_made_is_removed() {
    let scratch = Scratch::new();
    let layout = v1(&scratch, &[("cpu", &[]), ("pids", &[])]);
    std::fs::remove_dir_all(scratch.0.join("cpu/web")).unwrap();
    std::fs::write(scratch.0.join("pids/web/cgroup.procs"), "17\n18\n").unwrap();
    let error = web(&layout).create().unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("container's cgroup is not empty: 2 process(es) found")
    );
    assert!(!scratch.0.join("cpu/web").exists());
    assert!(scratch.0.join("pids/web").exists());
}

#[test]
fn a_frozen_directory_is_refused_on_both_versions() {
    let scratch = Scratch::new();
    let layout = v1(&scratch, &[("freezer", &[("freezer.state", "")])]);
    std::fs::write(scratch.0.join("freezer/web/freezer.state"), "FROZEN\n").unwrap();
    let error = web(&layout).create().unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("container's cgroup unexpectedly frozen")
    );

    let scratch = Scratch::new();
    let layout = v2(&scratch, "memory");
    let frozen = [
        ("cgroup.procs", ""),
        ("cgroup.freeze", "1\n"),
        ("cgroup.events", "populated 0\nfrozen 1\n"),
    ];
    fill(&scratch.0.join("web"), &frozen);
    let error = web(&layout).create().unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("container's cgroup unexpectedly frozen")
    );
}

#[test]
fn version_2_hands_every_controller_down_from_the_top() {
    let scratch = Scratch::new();
    let layout = v2(&scratch, "cpuset cpu memory pids\n");
    let empty = [
        ("cgroup.procs", ""),
        ("cgroup.freeze", "0\n"),
        ("cgroup.events", "populated 0\nfrozen 0\n"),
    ];
    fill(
        &scratch.0.join("shop"),
        &[("cgroup.subtree_control", "cpu pids\n")],
    );
    fill(&scratch.0.join("shop/web"), &empty);
    Cgroup::plan(&layout, Some(Path::new("shop/web")), "x")
        .unwrap()
        .create()
        .unwrap();
    assert_eq!(
        read(scratch.0.join("cgroup.subtree_control")),
        "+cpu +cpuset +memory +pids"
    );
    // The kernel would append; a plain file shows what was asked for.
    assert_eq!(
        read(scratch.0.join("shop/cgroup.subtree_control")),
        "+cpuset +memory"
    );
}

#[test]
fn parents_that_were_made_go_with_the_last_container_and_others_stay() {
    let scratch = Scratch::new();
    let layout = v1(&scratch, &[("pids", &[])]);
    fill(&scratch.0.join("pids/theirs"), &[]);
    let plan = |path: &str| Cgroup::plan(&layout, Some(Path::new(path)), "x").unwrap();
    let first = plan("theirs/shop/a");
    first.create().unwrap();
    let second = plan("theirs/shop/b"); // the parent is there by now
    second.create().unwrap();
    first.delete().unwrap();
    assert!(scratch.0.join("pids/theirs/shop/b").exists());
    second.delete().unwrap();
    assert!(!scratch.0.join("pids/theirs/shop").exists());
    assert!(scratch.0.join("pids/theirs").exists());
    second.delete().unwrap();
}

#[test]
fn limits_of_version_1_land_in_the_files_of_merged_hierarchies() {
    let scratch = Scratch::new();
    let layout = v1(
        &scratch,
        &[
            (
                "cpu,cpuacct",
                &[
                    ("cpu.shares", ""),
                    ("cpu.cfs_period_us", ""),
                    ("cpu.cfs_quota_us", ""),
                ],
            ),
            ("pids", &[("pids.max", "")]),
        ],
    );
    let limits = limits(
        serde_json::json!({"cpu": {"shares": 512, "quota": 50_000, "period": 100_000}, "pids": {"limit": 0}}),
        &layout,
    );
    web(&layout).apply(&limits.unwrap()).unwrap();
    let directory = scratch.0.join("cpu,cpuacct/web");
    assert_eq!(read(directory.join("cpu.shares")), "512");
    assert_eq!(read(directory.join("cpu.cfs_quota_us")), "50000");
    assert_eq!(read(directory.join("cpu.cfs_period_us")), "100000");
    assert_eq!(read(scratch.0.join("pids/web/pids.max")), "0");
}

#[test]
fn a_memory_limit_below_the_usage_is_refused_when_asked_to_check() {
    let scratch = Scratch::new();
    let layout = v1(
        &scratch,
        &[(
            "memory",
            &[
                ("memory.limit_in_bytes", ""),
                ("memory.usage_in_bytes", ""),
                ("memory.max_usage_in_bytes", ""),
            ],
        )],
    );
    std::fs::write(scratch.0.join("memory/web/memory.usage_in_bytes"), "5000\n").unwrap();
    std::fs::write(scratch.0.join("memory/web/memory.max_usage_in_bytes"), "6000\n").unwrap();
    let check = serde_json::json!({"memory": {"limit": 4096, "checkBeforeUpdate": true}});
    let error = web(&layout).apply(&limits(check, &layout).unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "linux.resources.memory.limit: unable to set memory limit to 4096 (current usage: 5000, peak usage: 6000)"
    );
}

#[test]
fn a_limit_that_the_host_cannot_honour_names_field_and_controller() {
    let scratch = Scratch::new();
    let layout = v1(&scratch, &[("cpu", &[])]);
    let error = limits(serde_json::json!({"memory": {"limit": 4096}}), &layout).unwrap_err();
    assert!(error.to_string().starts_with(
        "linux.resources.memory.limit: the memory controller is not available to the container's cgroup"
    ));
    let error = web(&layout)
        .apply(&limits(serde_json::json!({"cpu": {"idle": 1}}), &layout).unwrap())
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("linux.resources.cpu.idle: this kernel has no cpu.idle in ")
    );
}
