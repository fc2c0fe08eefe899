//! `linux.netDevices`: devices of the host that move into a container.

use serde_json::{Value, json};

use crate::harness::{Container, Host};

impl<'h> Container<'h> {
    fn net_devices(self, devices: Value) -> Container<'h> {
        self.edit(|config| config["linux"]["netDevices"] = devices)
    }
}

impl Host {
    /// A device whose other end leads nowhere, with addresses of every kind, up.
    fn device(&self, name: &str) {
        self.ip(&format!("link add {name} type veth peer name {name}-p"));
        self.ip(&format!("link set {name} address 02:00:00:00:00:07 mtu 1400"));
        self.ip(&format!("link set {name} up"));
        self.ip(&format!("addr add 192.0.2.7/24 brd + dev {name} label {name}:x"));
        self.ip(&format!("addr add 198.51.100.9/32 dev {name}"));
        self.ip(&format!("addr add 169.254.7.7/16 scope link dev {name}"));
        self.ip(&format!("addr add 2001:db8::7/64 dev {name}"));
    }

    fn has_device(&self, name: &str) -> bool {
        self.ip("link show").stdout.contains(&format!(": {name}@"))
    }

    fn is_up(&self, name: &str) -> bool {
        self.ip(&format!("link show {name}")).stdout.contains(",UP")
    }

    fn addresses_of(&self, name: &str) -> Vec<String> {
        addresses(&self.ip(&format!("addr show {name}")).stdout)
    }
}

/// The field of a device, as it stands in a line of the log.
fn field(name: &str) -> String {
    format!("linux.netDevices[\\\"{name}\\\"]")
}

/// The words behind `inet` and `inet6`, without those that every link makes for itself.
fn addresses(text: &str) -> Vec<String> {
    let words = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words
            .next()
            .filter(|word| word.starts_with("inet"))
            .and_then(|_| words.next())
    });
    words
        .filter(|word| !word.starts_with("fe80"))
        .map(str::to_owned)
        .collect()
}

const GLOBAL: [&str; 3] = ["192.0.2.7/24", "198.51.100.9/32", "2001:db8::7/64"];

#[test]
fn a_device_moves_in_with_its_attributes_and_global_addresses_and_goes_up() {
    let host = Host::new();
    host.device("mrd0");
    let web = host
        .container("web")
        .net_devices(json!({"mrd0": {}}))
        .sh("ip link show mrd0; ip addr show mrd0")
        .run()
        .succeeds();
    assert!(web.stdout.contains("02:00:00:00:00:07"), "{web}");
    assert!(web.stdout.contains("mtu 1400"), "{web}");
    assert!(web.stdout.contains(",UP"), "{web}");
    assert_eq!(addresses(&web.stdout), GLOBAL);
    assert!(!web.stdout.contains("169.254.7.7"), "{web}");
}

#[test]
fn a_device_takes_the_name_it_is_given() {
    let host = Host::new();
    host.device("mrd0");
    let web = host
        .container("web")
        .net_devices(json!({"mrd0": {"name": "lan"}}))
        .sh("ip addr show lan; ip link show mrd0 2>/dev/null || echo no mrd0");
    let output = web.run().succeeds();
    assert!(output.stdout.contains("no mrd0"), "{output}");
    assert_eq!(addresses(&output.stdout), GLOBAL);
}

#[test]
fn templates_take_the_first_numbers_that_are_free() {
    let host = Host::new();
    for name in ["mra", "mrb", "mrc"] {
        host.ip(&format!("link add {name} type veth peer name {name}-p"));
    }
    host.ip("link set mra address 02:00:00:00:00:0a");
    host.ip("link set mrb address 02:00:00:00:00:0b");
    let web = host
        .container("web")
        .net_devices(json!({"mrb": {"name": "eth%d"}, "mra": {"name": "eth%d"}, "mrc": {"name": "eth1"}}))
        .sh("cat /sys/class/net/eth0/address /sys/class/net/eth2/address; ls /sys/class/net");
    assert_eq!(
        web.run().succeeds().stdout,
        "02:00:00:00:00:0a\n02:00:00:00:00:0b\neth0\neth1\neth2\nlo\n"
    );
}

#[test]
fn kernel_parameters_can_name_a_moved_device() {
    let host = Host::new();
    host.device("mrd0");
    let web = host
        .container("web")
        .net_devices(json!({"mrd0": {"name": "lan"}}))
        .edit(|config| config["linux"]["sysctl"] = json!({"net/ipv4/conf/lan/forwarding": "1"}))
        .args(["cat", "/proc/sys/net/ipv4/conf/lan/forwarding"]);
    assert_eq!(web.run().succeeds().stdout, "1\n");
}

#[test]
fn a_device_moves_into_a_user_namespaces_network() {
    let host = Host::new();
    host.device("mrd0");
    let web = host
        .container("web")
        .user_namespace()
        .net_devices(json!({"mrd0": {}}))
        .sh("ip addr show mrd0");
    assert_eq!(addresses(&web.run().succeeds().stdout), GLOBAL);
}

#[test]
fn a_device_stays_in_a_namespace_that_outlives_the_container() {
    let host = Host::new();
    host.device("mrd0");
    let holder = host.container("holder").sleeping().running();
    let path = format!("/proc/{}/ns/net", holder.pid());
    let web = host
        .container("web")
        .namespace(json!({"type": "network", "path": path}))
        .net_devices(json!({"mrd0": {"name": "lan"}}))
        .args(["true"]);
    web.run().succeeds();
    assert_eq!(
        addresses(&holder.exec(["ip", "addr", "show", "lan"]).succeeds().stdout),
        GLOBAL
    );
    assert!(!host.has_device("mrd0"), "it was moved back");
    // Its name is taken there now.
    host.device("mrd1");
    for devices in [json!({"mrd1": {"name": "lan"}}), json!({"mrd1": {"name": "lo"}})] {
        let error = host
            .container("late")
            .namespace(json!({"type": "network", "path": path}))
            .net_devices(devices)
            .run()
            .exits(1);
        error.fails_with(&[&field("mrd1"), "already"]);
        assert_eq!(host.addresses_of("mrd1").len(), 4);
    }
    host.ip("link del mrd1");
}

#[test]
fn a_creation_that_fails_gives_the_devices_back_as_they_were() {
    let host = Host::new();
    host.device("mrd0");
    host.ip("link add mrd1 type veth peer name mrd1-p");
    let fails = host
        .container("fails")
        .net_devices(json!({"mrd0": {"name": "lan"}, "mrd1": {}}))
        .edit(|config| {
            config["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]});
        });
    fails.run().exits(1).fails_with(&["createRuntime"]);
    assert_eq!(host.addresses_of("mrd0"), GLOBAL);
    assert!(host.is_up("mrd0"));
    assert!(!host.is_up("mrd1"));
    // A second that does not exist takes the first back too.
    let fails = host
        .container("fails")
        .net_devices(json!({"mrd0": {"name": "lan"}, "mrd7": {}}));
    fails
        .run()
        .exits(1)
        .fails_with(&[&field("mrd7"), "no such device"]);
    assert_eq!(host.addresses_of("mrd0"), GLOBAL);
    for name in ["mrd0", "mrd1"] {
        host.ip(&format!("link del {name}"));
    }
}

#[test]
fn devices_that_cannot_be_given_are_refused_by_their_field() {
    let host = Host::new();
    for (devices, text) in [
        (json!({"lo": {"name": "lan"}}), "loopback device, which stays"),
        (json!({"a/b": {}}), "cannot name a network device"),
        (
            json!({"mrd0": {"name": "much-too-long-name"}}),
            "more than the kernel's 15",
        ),
        (json!({"mrd0": {"name": "e%d%d"}}), "is no template"),
        (json!({"nothing0": {}}), "no such device"),
    ] {
        let name = devices.as_object().unwrap().keys().next().unwrap().clone();
        let container = host.container("web").net_devices(devices);
        container.run().exits(1).fails_with(&[&field(&name), text]);
    }
}

#[test]
fn the_host_s_own_network_namespace_gets_no_devices() {
    let host = Host::new();
    host.device("mrd0");
    let none = host
        .container("web")
        .without_namespace("network")
        .net_devices(json!({"mrd0": {}}));
    none.run()
        .exits(1)
        .fails_with(&["unable to move network devices without a private NET namespace"]);
    let path = format!("/proc/{}/ns/net", host.pid());
    let own = host
        .container("web")
        .namespace(json!({"type": "network", "path": path}))
        .net_devices(json!({"mrd0": {"name": "lan"}}));
    own.run()
        .exits(1)
        .fails_with(&["the container's network namespace is the host's"]);
    assert!(host.has_device("mrd0"));
    host.ip("link del mrd0");
}
