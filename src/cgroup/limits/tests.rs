//! The translation of linux.resources, as tables.

use serde_json::{Value, json};

use super::super::Hierarchy;
use super::cpu::weight_of_shares;
use super::*;

fn v1() -> Layout {
    let all = "cpu,cpuset,memory,pids,blkio,hugetlb,net_cls,net_prio,rdma,devices";
    let hierarchy = |controller: &str| Hierarchy {
        controllers: controller.to_owned(),
        mount: format!("/sys/fs/cgroup/{controller}").into(),
    };
    Layout::V1(all.split(',').map(hierarchy).collect())
}

fn v2() -> Layout {
    Layout::V2("/sys/fs/cgroup".into())
}

fn plan(layout: &Layout, resources: Value) -> Result<Limits> {
    let resources: LinuxResources = serde_json::from_value(resources).unwrap();
    Limits::plan(Some(&resources), layout, DefaultDevices::Allow)
}

/// The writes as `file=value`, alternatives as `file=value|file=value`.
fn writes(layout: &Layout, resources: Value) -> Vec<String> {
    let limits = plan(layout, resources).unwrap();
    let text = |write: &Write| {
        let choices: Vec<_> = write
            .choices
            .iter()
            .map(|(file, value)| format!("{file}={value}"))
            .collect();
        choices.join("|")
    };
    limits.settings.iter().flatten().map(text).collect()
}

fn refused(layout: &Layout, resources: Value) -> String {
    plan(layout, resources).unwrap_err().to_string()
}

#[test]
fn each_value_becomes_the_files_of_each_version() {
    let table: &[(Value, &[&str], &[&str])] = &[
        (
            json!({"cpu": {"shares": 1024}}),
            &["cpu.shares=1024"],
            &["cpu.weight=100"],
        ),
        (json!({"cpu": {"shares": 0}}), &[], &[]),
        (
            json!({"cpu": {"quota": 50000, "period": 100_000, "burst": 1000}}),
            &[
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=50000",
                "cpu.cfs_burst_us=1000",
            ],
            &["cpu.max=50000 100000", "cpu.max.burst=1000"],
        ),
        (
            json!({"cpu": {"quota": 50000}}),
            &["cpu.cfs_quota_us=50000"],
            &["cpu.max=50000"],
        ),
        (
            json!({"cpu": {"quota": -1}}),
            &["cpu.cfs_quota_us=-1"],
            &["cpu.max=max"],
        ),
        (
            json!({"cpu": {"period": 50000}}),
            &["cpu.cfs_period_us=50000"],
            &["cpu.max=max 50000"],
        ),
        (
            json!({"cpu": {"idle": 1, "shares": 1024}}),
            &["cpu.idle=1"],
            &["cpu.idle=1"],
        ),
        (
            json!({"cpu": {"idle": 0, "shares": 2}}),
            &["cpu.idle=0", "cpu.shares=2"],
            &["cpu.idle=0", "cpu.weight=1"],
        ),
        (
            json!({"cpu": {"cpus": " 0-1,3 ", "mems": ""}}),
            &["cpuset.cpus=0-1,3"],
            &["cpuset.cpus=0-1,3"],
        ),
        (
            json!({"memory": {"limit": 1000, "swap": 3000, "reservation": 500}}),
            &[
                "memory.limit_in_bytes=1000",
                "memory.memsw.limit_in_bytes=3000",
                "memory.soft_limit_in_bytes=500",
            ],
            &["memory.swap.max=2000", "memory.max=1000", "memory.low=500"],
        ),
        (
            json!({"memory": {"limit": 1000, "swap": 1000}}),
            &["memory.limit_in_bytes=1000", "memory.memsw.limit_in_bytes=1000"],
            &["memory.swap.max=0", "memory.max=1000"],
        ),
        (
            json!({"memory": {"limit": 1000, "swap": -1}}),
            &["memory.limit_in_bytes=1000", "memory.memsw.limit_in_bytes=-1"],
            &["memory.swap.max=max", "memory.max=1000"],
        ),
        (
            json!({"memory": {"limit": -1}}),
            &["memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes=-1"],
            &["memory.swap.max=max", "memory.max=max"],
        ),
        (
            json!({"memory": {"limit": 0, "reservation": -1}}),
            &["memory.soft_limit_in_bytes=-1"],
            &["memory.low=max"],
        ),
        (json!({"memory": {"disableOOMKiller": false}}), &[], &[]),
        (json!({"pids": {"limit": 0}}), &["pids.max=0"], &["pids.max=0"]),
        (
            json!({"pids": {"limit": -1}}),
            &["pids.max=max"],
            &["pids.max=max"],
        ),
        (
            json!({"blockIO": {"weight": 1000}}),
            &["blkio.weight=1000|blkio.bfq.weight=1000"],
            &["io.bfq.weight=1000|io.weight=10000"],
        ),
        (
            json!({"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 10}]}}),
            &["blkio.weight_device=8:0 10|blkio.bfq.weight_device=8:0 10"],
            &["io.bfq.weight=8:0 10|io.weight=8:0 1"],
        ),
        (
            json!({"blockIO": {
                "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 100}],
                "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 0}],
            }}),
            &[
                "blkio.throttle.read_bps_device=8:0 100",
                "blkio.throttle.write_iops_device=8:0 0",
            ],
            &["io.max=8:0 rbps=100", "io.max=8:0 wiops=max"],
        ),
        (
            json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}]}),
            &[
                "hugetlb.2MB.rsvd.limit_in_bytes=4194304",
                "hugetlb.2MB.limit_in_bytes=4194304",
            ],
            &["hugetlb.2MB.rsvd.max=4194304", "hugetlb.2MB.max=4194304"],
        ),
        (
            json!({"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}}}),
            &["rdma.max=mlx5_1 hca_handle=3 hca_object=10000"],
            &["rdma.max=mlx5_1 hca_handle=3 hca_object=10000"],
        ),
    ];
    for (resources, on_v1, on_v2) in table {
        assert_eq!(writes(&v1(), resources.clone()), *on_v1, "v1: {resources}");
        assert_eq!(writes(&v2(), resources.clone()), *on_v2, "v2: {resources}");
    }
}

#[test]
fn version_1_has_files_that_version_2_refuses_by_field() {
    let table = [
        (
            json!({"memory": {"swappiness": 60}}),
            "memory.swappiness=60",
            "memory.swappiness",
        ),
        (
            json!({"memory": {"disableOOMKiller": true}}),
            "memory.oom_control=1",
            "memory.disableOOMKiller",
        ),
        (
            json!({"cpu": {"realtimePeriod": 1000}}),
            "cpu.rt_period_us=1000",
            "cpu.realtimePeriod",
        ),
        (
            json!({"cpu": {"realtimeRuntime": 500}}),
            "cpu.rt_runtime_us=500",
            "cpu.realtimeRuntime",
        ),
        (
            json!({"blockIO": {"leafWeight": 50}}),
            "blkio.leaf_weight=50",
            "blockIO.leafWeight",
        ),
        (
            json!({"network": {"classID": 1_048_577}}),
            "net_cls.classid=1048577",
            "network.classID",
        ),
        (
            json!({"network": {"priorities": [{"name": "eth0", "priority": 5}]}}),
            "net_prio.ifpriomap=eth0 5",
            "network.priorities[0]",
        ),
    ];
    for (resources, write, field) in table {
        assert_eq!(writes(&v1(), resources.clone()), [write]);
        assert_eq!(
            refused(&v2(), resources),
            format!("linux.resources.{field} is not supported: cgroup v2 has nothing like it")
        );
    }
}

#[test]
fn unified_is_for_version_2_and_comes_last() {
    let resources = json!({
        "unified": {"memory.high": "800\n", "io.max": "8:0 rbps=1\n8:16 rbps=2"},
        "memory": {"limit": 1000},
    });
    assert_eq!(
        writes(&v2(), resources.clone()),
        [
            "memory.max=1000",
            "io.max=8:0 rbps=1\n8:16 rbps=2",
            "memory.high=800"
        ]
    );
    assert_eq!(
        refused(&v1(), resources),
        "linux.resources.unified[\"io.max\"] is not supported: this host's controllers are on cgroup v1"
    );
    for name in ["../memory.max", "memory", "..", ".hidden", ""] {
        let error = refused(&v2(), json!({"unified": {name: "1"}}));
        assert!(
            error.ends_with("is not the name of a file such as memory.high"),
            "{error}"
        );
    }
}

#[test]
fn bad_values_are_refused_by_field_on_both_versions() {
    let table = [
        (
            json!({"pids": {"limit": -7}}),
            "linux.resources.pids.limit: -7 is less than -1 (unlimited)",
        ),
        (
            json!({"cpu": {"quota": -2}}),
            "linux.resources.cpu.quota: -2 is neither -1 (unlimited) nor at least 1000 microseconds",
        ),
        (
            json!({"cpu": {"period": 0}}),
            "linux.resources.cpu.period: 0 is not between 1000 and 1000000 microseconds",
        ),
        (
            json!({"cpu": {"idle": 2}}),
            "linux.resources.cpu.idle: 2 is neither 0 nor 1",
        ),
        (
            json!({"cpu": {"quota": 1000, "burst": 1001}}),
            "linux.resources.cpu.burst: 1001 is more than the quota of 1000",
        ),
        (
            json!({"cpu": {"cpus": "0-x"}}),
            "linux.resources.cpu.cpus: \"0-x\" is not a list of numbers and ranges such as 0-3,7: 'x'",
        ),
        (
            json!({"memory": {"limit": -2}}),
            "linux.resources.memory.limit: -2 is less than -1 (unlimited)",
        ),
        (
            json!({"memory": {"limit": 1000, "swap": 999}}),
            "linux.resources.memory.swap: memory+swap limit should be >= memory limit",
        ),
        (
            json!({"memory": {"swap": 999}}),
            "linux.resources.memory.swap: unable to set swap limit without memory limit",
        ),
        (
            json!({"memory": {"swappiness": 101}}),
            "linux.resources.memory.swappiness: 101 is not between 0 and 100",
        ),
        (
            json!({"blockIO": {"weight": 9}}),
            "linux.resources.blockIO.weight: 9 is not between 10 and 1000",
        ),
        (
            json!({"blockIO": {"throttleReadBpsDevice": [{"major": -1, "minor": 0, "rate": 1}]}}),
            "linux.resources.blockIO.throttleReadBpsDevice[0]: -1:0 is not a device number",
        ),
        (
            json!({"hugepageLimits": [{"pageSize": "../2MB", "limit": 1}]}),
            "linux.resources.hugepageLimits[0].pageSize: \"../2MB\" is not a size such as 64KB, 2MB or 1GB",
        ),
        (
            json!({"network": {"priorities": [{"name": "a b", "priority": 1}]}}),
            "linux.resources.network.priorities[0].name: \"a b\" is not the name of a network interface",
        ),
        (
            json!({"rdma": {"mlx": {}}}),
            "linux.resources.rdma[\"mlx\"]: must set hcaHandles or hcaObjects",
        ),
    ];
    for (resources, message) in table {
        assert_eq!(refused(&v1(), resources.clone()), message);
        assert_eq!(refused(&v2(), resources), message);
    }
    assert_eq!(
        refused(&v1(), json!({"cpu": {"shares": 1}})),
        "linux.resources.cpu.shares: the minimum allowed cpu-shares is 2, not 1"
    );
    assert_eq!(
        refused(&v1(), json!({"cpu": {"shares": 262_145}})),
        "linux.resources.cpu.shares: the maximum allowed cpu-shares is 262144, not 262145"
    );
}

#[test]
fn what_the_kernel_gave_up_is_a_warning() {
    let resources = json!({"memory": {"kernel": 1000, "kernelTCP": 1000, "useHierarchy": false}});
    for layout in [v1(), v2()] {
        let limits = plan(&layout, resources.clone()).unwrap();
        assert!(limits.settings.is_empty());
        let warnings = limits.warnings().join("\n");
        assert!(
            [
                "memory.kernel is",
                "memory.kernelTCP is",
                "memory.useHierarchy is"
            ]
            .iter()
            .all(|part| warnings.contains(part))
        );
    }
    assert!(
        plan(&v1(), json!({"memory": {"kernel": 0}}))
            .unwrap()
            .warnings()
            .is_empty()
    );
}

#[test]
fn shares_follow_the_curve_through_both_ends_and_the_default() {
    let weights: Vec<_> = [0, 2, 3, 100, 512, 1024, 2048, 10240, 262_143, 262_144, u64::MAX]
        .map(weight_of_shares)
        .into();
    assert_eq!(weights, [1, 1, 2, 17, 59, 100, 174, 639, 10000, 10000, 10000]);
}

#[test]
fn features_may_claim_rdma_because_its_limits_are_written() {
    for layout in [v1(), v2()] {
        let written = writes(&layout, json!({"rdma": {"mlx5_1": {"hcaHandles": 3}}}));
        assert_eq!(
            Limits::RDMA,
            written.contains(&"rdma.max=mlx5_1 hca_handle=3".to_owned())
        );
    }
}
