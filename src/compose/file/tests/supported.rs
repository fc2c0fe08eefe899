//! Every supported key, in every form, and what it becomes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Directory, TOP, of_web, project};
use crate::compose::file::keys::{SECTIONS, Support};
use crate::compose::normal;

/// A section, a key of it, what is written, where in the model that is, and what stands there.
type Row = (&'static str, &'static str, &'static str, &'static str, Value);

fn span(secs: u64, millis: u32) -> Value {
    json!({"secs": secs, "nanos": millis * 1_000_000})
}

/// Lines of the service `web`, and places in it.
fn of_services() -> Vec<Row> {
    let service = "services.NAME";
    let check = "services.NAME.healthcheck";
    let deploy = "services.NAME.deploy";
    let limits = "services.NAME.deploy.resources.limits";
    let policy = "services.NAME.deploy.restart_policy";
    let mount = "services.NAME.volumes";
    let join = "services.NAME.networks";
    let files = "services.NAME.configs and .secrets";
    let options = "services.NAME.logging.options";
    let port = "services.NAME.ports";
    vec![
        (
            service,
            "command",
            "command: run --fast 'a b'",
            "/command",
            json!(["run", "--fast", "a b"]),
        ),
        (
            service,
            "command",
            "command: [run, 80]",
            "/command",
            json!(["run", "80"]),
        ),
        (service, "command", "command: null", "/command", Value::Null),
        (
            service,
            "entrypoint",
            "entrypoint: /init -x",
            "/entrypoint",
            json!(["/init", "-x"]),
        ),
        (
            service,
            "entrypoint",
            "entrypoint: []",
            "/entrypoint",
            Value::Null,
        ),
        (
            service,
            "command",
            "entrypoint: [a]\ncommand: []",
            "/command",
            json!([]),
        ),
        (
            service,
            "environment",
            "environment: { A: 1, B: true, C: , D: x=y, SET: }",
            "/environment",
            json!({"A": "1", "B": "true", "C": null, "D": "x=y", "SET": "value"}),
        ),
        (
            service,
            "environment",
            "environment: [A=1, A=2, C, SET, EMPTY, 'D=x=y', E=]",
            "/environment",
            json!({"A": "2", "C": null, "SET": "value", "EMPTY": "", "D": "x=y", "E": ""}),
        ),
        (
            service,
            "env_file",
            "env_file: one.env\nenvironment: { B: over }",
            "/environment",
            json!({"A": "1", "B": "over", "C": "value"}),
        ),
        (
            service,
            "env_file",
            "env_file: [one.env, two.env]",
            "/environment",
            json!({"A": "2", "B": "1 b", "C": "value"}),
        ),
        (
            "services.NAME.env_file",
            "path",
            "env_file: [{ path: two.env }]",
            "/environment",
            json!({"A": "2"}),
        ),
        (
            "services.NAME.env_file",
            "required",
            "env_file: [{ path: none.env, required: false }]",
            "/environment",
            json!({}),
        ),
        (
            "services.NAME.env_file",
            "format",
            "env_file: [{ path: one.env, format: raw }]",
            "/environment",
            json!({"A": "1", "B": "'1 b'", "C": "$SET"}),
        ),
        (
            service,
            "working_dir",
            "working_dir: /srv",
            "/working_dir",
            json!("/srv"),
        ),
        (service, "user", "user: 1000:1000", "/user", json!("1000:1000")),
        (service, "hostname", "hostname: www", "/hostname", json!("www")),
        (
            service,
            "ports",
            "ports: [80, '8080:80', '127.0.0.1:8081:81/tcp', '[::1]:53:53/udp', 9000-9001:9000-9001]",
            "/ports",
            json!([
                "80/tcp",
                "8080:80/tcp",
                "127.0.0.1:8081:81/tcp",
                "[::1]:53:53/udp",
                "9000-9001:9000-9001/tcp"
            ]),
        ),
        (
            port,
            "target",
            "ports: [{ target: 80 }]",
            "/ports",
            json!(["80/tcp"]),
        ),
        (
            port,
            "published",
            "ports: [{ target: 80, published: '8080-8090' }]",
            "/ports",
            json!(["8080-8090:80/tcp"]),
        ),
        (
            port,
            "host_ip",
            "ports: [{ target: 80, host_ip: '::1' }]",
            "/ports",
            json!(["[::1]::80/tcp"]),
        ),
        (
            port,
            "protocol",
            "ports: [{ target: 53, published: 53, protocol: udp }]",
            "/ports",
            json!(["53:53/udp"]),
        ),
        (
            service,
            "expose",
            "expose: [3000, '53/udp', 4000-4001]",
            "/expose",
            json!(["3000/tcp", "53/udp", "4000-4001/tcp"]),
        ),
        (
            service,
            "networks",
            "networks: [front, back]",
            "/networks/back/aliases",
            json!([]),
        ),
        (
            service,
            "networks",
            "user: me",
            "/networks/default/aliases",
            json!([]),
        ),
        (
            join,
            "aliases",
            "networks: { back: { aliases: [www, api, www] } }",
            "/networks/back/aliases",
            json!(["www", "api"]),
        ),
        (
            join,
            "ipv4_address",
            "networks: { front: { ipv4_address: 10.5.0.7 } }",
            "/networks/front/ipv4",
            json!("10.5.0.7"),
        ),
        (
            join,
            "ipv6_address",
            "networks: { front: { ipv6_address: 'fd00:5::7' } }",
            "/networks/front/ipv6",
            json!("fd00:5::7"),
        ),
        (
            join,
            "mac_address",
            "networks: { front: { mac_address: '02:00:00:00:00:01' } }",
            "/networks/front/mac",
            json!("02:00:00:00:00:01"),
        ),
        (
            join,
            "interface_name",
            "networks: { front: { interface_name: lan0 } }",
            "/networks/front/interface",
            json!("lan0"),
        ),
        (
            join,
            "priority",
            "networks: { front: { priority: 7 } }",
            "/networks/front/priority",
            json!(7),
        ),
        (
            join,
            "gw_priority",
            "networks: { front: { gw_priority: -7 } }",
            "/networks/front/gateway_priority",
            json!(-7),
        ),
        (
            service,
            "depends_on",
            "depends_on: [db]",
            "/depends_on",
            json!({"db": {"condition": "started", "restart": false, "required": true}}),
        ),
        (
            "services.NAME.depends_on",
            "condition",
            "depends_on: { db: { condition: service_healthy } }",
            "/depends_on/db/condition",
            json!("healthy"),
        ),
        (
            "services.NAME.depends_on",
            "condition",
            "depends_on: { db: { condition: service_completed_successfully } }",
            "/depends_on/db/condition",
            json!("completed_successfully"),
        ),
        (
            "services.NAME.depends_on",
            "restart",
            "depends_on: { db: { condition: service_started, restart: true } }",
            "/depends_on/db/restart",
            json!(true),
        ),
        (
            "services.NAME.depends_on",
            "required",
            "depends_on: { db: { condition: service_started, required: false } }",
            "/depends_on/db/required",
            json!(false),
        ),
        (
            service,
            "healthcheck",
            "healthcheck: { test: curl -f localhost }",
            "/healthcheck",
            json!({"test": ["/bin/sh", "-c", "curl -f localhost"], "interval": span(30, 0), "timeout": span(30, 0), "retries": 3,
                "start_period": span(0, 0), "start_interval": span(5, 0)}),
        ),
        (
            check,
            "test",
            "healthcheck: { test: [CMD, curl, '-f'] }",
            "/healthcheck/test",
            json!(["curl", "-f"]),
        ),
        (
            check,
            "test",
            "healthcheck: { test: [CMD-SHELL, exit 0] }",
            "/healthcheck/test",
            json!(["/bin/sh", "-c", "exit 0"]),
        ),
        (
            check,
            "test",
            "healthcheck: { test: [NONE] }",
            "/healthcheck",
            Value::Null,
        ),
        (
            check,
            "disable",
            "healthcheck: { disable: true }",
            "/healthcheck",
            Value::Null,
        ),
        (
            check,
            "interval",
            "healthcheck: { test: a, interval: 1m30s }",
            "/healthcheck/interval",
            span(90, 0),
        ),
        (
            check,
            "timeout",
            "healthcheck: { test: a, timeout: 500ms }",
            "/healthcheck/timeout",
            span(0, 500),
        ),
        (
            check,
            "retries",
            "healthcheck: { test: a, retries: 7 }",
            "/healthcheck/retries",
            json!(7),
        ),
        (
            check,
            "start_period",
            "healthcheck: { test: a, start_period: 1h }",
            "/healthcheck/start_period",
            span(3_600, 0),
        ),
        (
            check,
            "start_interval",
            "healthcheck: { test: a, start_interval: 1.5s }",
            "/healthcheck/start_interval",
            span(1, 500),
        ),
        (service, "restart", "restart: no", "/restart/when", json!("no")),
        (
            service,
            "restart",
            "restart: always",
            "/restart/when",
            json!("always"),
        ),
        (
            service,
            "restart",
            "restart: unless-stopped",
            "/restart/when",
            json!("unless-stopped"),
        ),
        (
            service,
            "restart",
            "restart: on-failure",
            "/restart",
            json!({"when": "on-failure", "attempts": null, "delay": null, "window": null}),
        ),
        (
            service,
            "restart",
            "restart: on-failure:3",
            "/restart/attempts",
            json!(3),
        ),
        (
            service,
            "deploy",
            "deploy: { replicas: 0 }",
            "/replicas",
            json!(0),
        ),
        (service, "scale", "scale: 3", "/replicas", json!(3)),
        (
            service,
            "scale",
            "scale: 3\ndeploy: { replicas: 3 }",
            "/replicas",
            json!(3),
        ),
        (
            deploy,
            "mode",
            "deploy: { mode: replicated }",
            "/replicas",
            json!(1),
        ),
        (
            deploy,
            "replicas",
            "deploy: { replicas: 3 }",
            "/replicas",
            json!(3),
        ),
        (
            deploy,
            "resources",
            "deploy: { resources: { limits: { cpus: 2 } } }",
            "/limits/nano_cpus",
            json!(2_000_000_000),
        ),
        (
            "services.NAME.deploy.resources",
            "limits",
            "deploy: { resources: { limits: { cpus: '0.5' } } }",
            "/limits",
            json!({"nano_cpus": 500_000_000, "memory": null, "pids": null}),
        ),
        (
            limits,
            "cpus",
            "deploy: { resources: { limits: { cpus: 1.25 } } }",
            "/limits/nano_cpus",
            json!(1_250_000_000),
        ),
        (
            limits,
            "memory",
            "deploy: { resources: { limits: { memory: 128M } } }",
            "/limits/memory",
            json!(128 << 20),
        ),
        (
            limits,
            "pids",
            "deploy: { resources: { limits: { pids: 99 } } }",
            "/limits/pids",
            json!(99),
        ),
        (
            service,
            "cpus",
            "cpus: 0.5",
            "/limits/nano_cpus",
            json!(500_000_000),
        ),
        (
            service,
            "mem_limit",
            "mem_limit: 64m",
            "/limits/memory",
            json!(64 << 20),
        ),
        (service, "pids_limit", "pids_limit: -1", "/limits/pids", json!(-1)),
        (
            deploy,
            "restart_policy",
            "restart: always\ndeploy: { restart_policy: {} }",
            "/restart/when",
            json!("always"),
        ),
        (
            policy,
            "condition",
            "deploy: { restart_policy: { condition: on-failure } }",
            "/restart/when",
            json!("on-failure"),
        ),
        (
            policy,
            "condition",
            "restart: always\ndeploy: { restart_policy: { condition: none } }",
            "/restart/when",
            json!("no"),
        ),
        (
            policy,
            "delay",
            "deploy: { restart_policy: { condition: any, delay: 5s } }",
            "/restart",
            json!({"when": "always", "attempts": null, "delay": span(5, 0), "window": null}),
        ),
        (
            policy,
            "max_attempts",
            "deploy: { restart_policy: { max_attempts: 4 } }",
            "/restart/attempts",
            json!(4),
        ),
        (
            policy,
            "max_attempts",
            "deploy: { restart_policy: { max_attempts: 0 } }",
            "/restart/attempts",
            Value::Null,
        ),
        (
            policy,
            "window",
            "deploy: { restart_policy: { window: 2m } }",
            "/restart/window",
            span(120, 0),
        ),
        (
            service,
            "volumes",
            "volumes: [data:/var/lib/data, data:/backup/:ro]",
            "/mounts",
            json!([{"kind": {"volume": {"name": "data"}}, "target": "/var/lib/data", "read_only": false},
                {"kind": {"volume": {"name": "data"}}, "target": "/backup", "read_only": true}]),
        ),
        (
            service,
            "volumes",
            "volumes: [/srv/../etc:/etc:rw, ~/src:/src]",
            "/mounts",
            json!([{"kind": {"bind": {"source": "/etc", "create_host_path": true}}, "target": "/etc", "read_only": false},
                {"kind": {"bind": {"source": "/home/me/src", "create_host_path": true}}, "target": "/src", "read_only": false}]),
        ),
        (
            mount,
            "type",
            "volumes: [{ type: tmpfs, target: /t }]",
            "/mounts/0/kind",
            json!({"tmpfs": {"size": null, "mode": null}}),
        ),
        (
            mount,
            "source",
            "volumes: [{ type: volume, source: data, target: /t }]",
            "/mounts/0/kind",
            json!({"volume": {"name": "data"}}),
        ),
        (
            mount,
            "target",
            "volumes: [{ type: volume, source: data, target: /t/ }]",
            "/mounts/0/target",
            json!("/t"),
        ),
        (
            mount,
            "read_only",
            "volumes: [{ type: volume, source: data, target: /t, read_only: true }]",
            "/mounts/0/read_only",
            json!(true),
        ),
        (
            mount,
            "bind",
            "volumes: [{ type: bind, source: /etc, target: /t, bind: {} }]",
            "/mounts/0/kind/bind/create_host_path",
            json!(true),
        ),
        (
            "services.NAME.volumes.bind",
            "create_host_path",
            "volumes: [{ type: bind, source: /etc, target: /t, bind: { create_host_path: false } }]",
            "/mounts/0/kind/bind",
            json!({"source": "/etc", "create_host_path": false}),
        ),
        (
            mount,
            "volume",
            "volumes: [{ type: volume, source: data, target: /t, volume: { nocopy: false } }]",
            "/mounts/0/kind/volume/name",
            json!("data"),
        ),
        (
            mount,
            "tmpfs",
            "volumes: [{ type: tmpfs, target: /t, tmpfs: {} }]",
            "/mounts/0/kind/tmpfs/size",
            Value::Null,
        ),
        (
            "services.NAME.volumes.tmpfs",
            "size",
            "volumes: [{ type: tmpfs, target: /t, tmpfs: { size: 1k } }]",
            "/mounts/0/kind/tmpfs/size",
            json!(1_024),
        ),
        (
            "services.NAME.volumes.tmpfs",
            "mode",
            "volumes: [{ type: tmpfs, target: /t, tmpfs: { mode: 01777 } }]",
            "/mounts/0/kind/tmpfs/mode",
            json!(0o1777),
        ),
        (
            service,
            "tmpfs",
            "tmpfs: /run",
            "/mounts/0",
            json!({"kind": {"tmpfs": {"size": null, "mode": null}}, "target": "/run", "read_only": false}),
        ),
        (
            service,
            "tmpfs",
            "tmpfs: [/run, '/tmp:size=64m,mode=1770,ro']",
            "/mounts/1",
            json!({"kind": {"tmpfs": {"size": 64 << 20, "mode": 0o1770}}, "target": "/tmp", "read_only": true}),
        ),
        (
            service,
            "configs",
            "configs: [conf]",
            "/configs/0",
            json!({"source": "conf", "target": "/conf", "uid": null, "gid": null, "mode": null}),
        ),
        (
            service,
            "secrets",
            "secrets: [key]",
            "/secrets/0/target",
            json!("/run/secrets/key"),
        ),
        (
            files,
            "source",
            "secrets: [{ source: key }]",
            "/secrets/0/target",
            json!("/run/secrets/key"),
        ),
        (
            files,
            "target",
            "secrets: [{ source: key, target: tls.key }]",
            "/secrets/0/target",
            json!("/run/secrets/tls.key"),
        ),
        (
            files,
            "target",
            "configs: [{ source: conf, target: /etc/app.conf }]",
            "/configs/0/target",
            json!("/etc/app.conf"),
        ),
        (
            files,
            "uid",
            "secrets: [{ source: key, uid: '103' }]",
            "/secrets/0/uid",
            json!(103),
        ),
        (
            files,
            "gid",
            "secrets: [{ source: key, gid: 104 }]",
            "/secrets/0/gid",
            json!(104),
        ),
        (
            files,
            "mode",
            "secrets: [{ source: key, mode: 0440 }]",
            "/secrets/0/mode",
            json!(0o440),
        ),
        (service, "dns", "dns: 9.9.9.9", "/dns", json!(["9.9.9.9"])),
        (
            service,
            "dns",
            "dns: [9.9.9.9, '2620:fe::fe']",
            "/dns",
            json!(["9.9.9.9", "2620:fe::fe"]),
        ),
        (
            service,
            "dns_search",
            "dns_search: example.com",
            "/dns_search",
            json!(["example.com"]),
        ),
        (
            service,
            "extra_hosts",
            "extra_hosts: ['a:1.2.3.4', 'b=::1', 'c:[::2]']",
            "/extra_hosts",
            json!([["a", "1.2.3.4"], ["b", "::1"], ["c", "::2"]]),
        ),
        (
            service,
            "extra_hosts",
            "extra_hosts: { a: 1.2.3.4, b: ['::1', 1.2.3.5] }",
            "/extra_hosts",
            json!([["a", "1.2.3.4"], ["b", "::1"], ["b", "1.2.3.5"]]),
        ),
        (
            service,
            "cap_add",
            "cap_add: [net_admin, CAP_SYS_TIME]",
            "/cap_add",
            json!(["CAP_NET_ADMIN", "CAP_SYS_TIME"]),
        ),
        (
            service,
            "cap_drop",
            "cap_drop: [ALL]",
            "/cap_drop",
            json!(["ALL"]),
        ),
        (service, "read_only", "read_only: true", "/read_only", json!(true)),
        (
            service,
            "stop_signal",
            "stop_signal: int",
            "/stop_signal",
            json!("SIGINT"),
        ),
        (
            service,
            "stop_signal",
            "stop_signal: SIGRTMIN+3",
            "/stop_signal",
            json!("SIGRTMIN+3"),
        ),
        (
            service,
            "stop_grace_period",
            "stop_grace_period: 1m",
            "/stop_grace_period",
            span(60, 0),
        ),
        (service, "profiles", "profiles: []", "/name", json!("web")),
        (
            service,
            "labels",
            "labels: { a.b: 1, c: }",
            "/labels",
            json!({"a.b": "1", "c": ""}),
        ),
        (
            service,
            "labels",
            "labels: [a.b=1, c]",
            "/labels",
            json!({"a.b": "1", "c": ""}),
        ),
        (
            service,
            "logging",
            "logging: {}",
            "/logging",
            json!({"max_size": 10 << 20, "max_files": 3}),
        ),
        (
            "services.NAME.logging",
            "driver",
            "logging: { driver: json-file }",
            "/logging/max_files",
            json!(3),
        ),
        (
            "services.NAME.logging",
            "options",
            "logging: { options: {} }",
            "/logging/max_files",
            json!(3),
        ),
        (
            options,
            "max-size",
            "logging: { options: { max-size: 1m } }",
            "/logging/max_size",
            json!(1 << 20),
        ),
        (
            options,
            "max-file",
            "logging: { options: { max-file: '5' } }",
            "/logging/max_files",
            json!(5),
        ),
        (
            service,
            "extends",
            "extends: db",
            "/healthcheck/test",
            json!(["true"]),
        ),
        (
            "services.NAME.extends",
            "service",
            "extends: { service: db }",
            "/healthcheck/test",
            json!(["true"]),
        ),
        (
            "services.NAME.extends",
            "file",
            "extends: { service: base, file: base/other.yaml }",
            "/user",
            json!("base"),
        ),
        (
            service,
            "x-bundle",
            "x-anything: { at: all }\nimage: nginx\nbuild: .",
            "/name",
            json!("web"),
        ),
    ]
}

/// Whole files, and places in the project.
fn of_files() -> Vec<Row> {
    let network = "networks.NAME";
    let pool = "networks.NAME.ipam.config";
    let rule = "networks.NAME.x-policy.rules";
    let rules = "networks: { default: { x-policy: { rules: [{ from: web, to: outside, ports: [53/udp, all], rate: 9/day, burst: 2 }] } } }";
    vec![
        ("The file", "name", "name: ${SET}-x", "/name", json!("value-x")),
        ("The file", "services", "", "/services/web/name", json!("web")),
        (
            "The file",
            "networks",
            "networks:",
            "/networks/default/name",
            json!("value_default"),
        ),
        ("The file", "volumes", "volumes: { data: }", "/volumes", json!({})),
        (
            "The file",
            "configs",
            "configs: { c: { content: a } }",
            "/configs",
            json!({}),
        ),
        (
            "The file",
            "secrets",
            "secrets: { c: { file: ./secret } }",
            "/secrets",
            json!({}),
        ),
        (
            network,
            "name",
            "networks: { default: { name: lan } }",
            "/networks/default/name",
            json!("lan"),
        ),
        (
            network,
            "driver",
            "networks: { default: { driver: bridge } }",
            "/networks/default/name",
            json!("value_default"),
        ),
        (
            network,
            "driver_opts",
            "networks: { default: { driver_opts: {} } }",
            "/networks/default/mtu",
            Value::Null,
        ),
        (
            "networks.NAME.driver_opts",
            "com.docker.network.driver.mtu",
            "networks: { default: { driver_opts: { com.docker.network.driver.mtu: 1400 } } }",
            "/networks/default/mtu",
            json!(1_400),
        ),
        (
            network,
            "internal",
            "networks: { default: { internal: true } }",
            "/networks/default/internal",
            json!(true),
        ),
        (
            network,
            "external",
            "networks: { default: { external: true, name: lan } }",
            "/networks/default/external",
            json!(true),
        ),
        (
            network,
            "external",
            "networks: { default: { external: true } }",
            "/networks/default/name",
            json!("default"),
        ),
        (
            network,
            "enable_ipv6",
            "networks: { default: { enable_ipv6: true } }",
            "/networks/default/ipv6",
            json!(true),
        ),
        (
            network,
            "labels",
            "networks: { default: { labels: [a=1, b] } }",
            "/networks/default/labels",
            json!({"a": "1", "b": ""}),
        ),
        (
            network,
            "ipam",
            "networks: { default: { ipam: {} } }",
            "/networks/default/subnets",
            json!([]),
        ),
        (
            "networks.NAME.ipam",
            "driver",
            "networks: { default: { ipam: { driver: default } } }",
            "/networks/default/subnets",
            json!([]),
        ),
        (
            "networks.NAME.ipam",
            "config",
            "networks: { default: { ipam: { config: [] } } }",
            "/networks/default/subnets",
            json!([]),
        ),
        (
            pool,
            "subnet",
            "networks: { default: { ipam: { config: [{ subnet: 'fd00::/64' }, { subnet: 10.0.0.0/24 }] } } }",
            "/networks/default/subnets",
            json!(["10.0.0.0/24", "fd00::/64"]),
        ),
        (
            pool,
            "gateway",
            "networks: { default: { ipam: { config: [{ subnet: 10.0.0.0/24, gateway: 10.0.0.9 }] } } }",
            "/networks/default/gateways",
            json!(["10.0.0.9"]),
        ),
        (
            pool,
            "ip_range",
            "networks: { default: { ipam: { config: [{ subnet: 10.0.0.0/24, ip_range: 10.0.0.128/25 }] } } }",
            "/networks/default/ranges",
            json!(["10.0.0.128/25"]),
        ),
        (
            network,
            "x-policy",
            "networks: { default: { x-policy: {} } }",
            "/networks/default/policy",
            json!({}),
        ),
        (
            "networks.NAME.x-policy",
            "within",
            "networks: { default: { x-policy: { within: deny } } }",
            "/networks/default/policy",
            json!({"within": "deny"}),
        ),
        (
            "networks.NAME.x-policy",
            "egress",
            "networks: { default: { x-policy: { egress: deny } } }",
            "/networks/default/policy",
            json!({"egress": "deny"}),
        ),
        (
            "networks.NAME.x-policy",
            "rules",
            rules,
            "/networks/default/policy/rules/0",
            json!({"from": "web", "to": "outside", "ports": ["53/udp", "all"], "rate": "9/day", "burst": 2}),
        ),
        (
            rule,
            "from",
            rules,
            "/networks/default/policy/rules/0/from",
            json!("web"),
        ),
        (
            rule,
            "to",
            rules,
            "/networks/default/policy/rules/0/to",
            json!("outside"),
        ),
        (
            rule,
            "ports",
            rules,
            "/networks/default/policy/rules/0/ports/1",
            json!("all"),
        ),
        (
            rule,
            "rate",
            rules,
            "/networks/default/policy/rules/0/rate",
            json!("9/day"),
        ),
        (
            rule,
            "burst",
            rules,
            "/networks/default/policy/rules/0/burst",
            json!(2),
        ),
        (
            "volumes.NAME",
            "name",
            "volumes: { data: { name: mine } }",
            "/volumes",
            json!({}),
        ),
    ]
}

/// Definitions that a service has to use to be in the model: those of the file, what the service says, and a place.
fn used() -> Vec<(
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    Value,
)> {
    let (volumes, configs, secrets) = ("volumes: [v:/v]", "configs: [c]", "secrets: [s]");
    vec![
        (
            "volumes.NAME",
            "name",
            volumes,
            "volumes: { v: { name: mine } }",
            "/volumes/v/name",
            json!("mine"),
        ),
        (
            "volumes.NAME",
            "external",
            volumes,
            "volumes: { v: { external: true } }",
            "/volumes/v",
            json!({"name": "v", "external": true, "labels": {}}),
        ),
        (
            "volumes.NAME",
            "labels",
            volumes,
            "volumes: { v: { labels: { a: 1 } } }",
            "/volumes/v/labels",
            json!({"a": "1"}),
        ),
        (
            "volumes.NAME",
            "driver",
            volumes,
            "volumes: { v: { driver: local } }",
            "/volumes/v/name",
            json!("shop_v"),
        ),
        (
            "configs.NAME",
            "content",
            configs,
            "configs: { c: { content: 'a $$1' } }",
            "/configs/c",
            json!({"content": "a $1"}),
        ),
        (
            "configs.NAME",
            "environment",
            configs,
            "configs: { c: { environment: SET } }",
            "/configs/c",
            json!({"environment": {"variable": "SET", "content": "value"}}),
        ),
        (
            "configs.NAME",
            "file",
            configs,
            "configs: { c: { file: /etc/hostname } }",
            "/configs/c",
            json!({"file": "/etc/hostname"}),
        ),
        (
            "secrets.NAME",
            "environment",
            secrets,
            "secrets: { s: { environment: SET } }",
            "/secrets/s/environment/variable",
            json!("SET"),
        ),
        (
            "secrets.NAME",
            "file",
            secrets,
            "secrets: { s: { file: /etc/hostname } }",
            "/secrets/s",
            json!({"file": "/etc/hostname"}),
        ),
    ]
}

fn directory() -> Directory {
    let directory = Directory::new();
    directory
        .write("one.env", "A=1\nB='1 b'\nC=$SET\n")
        .write("two.env", "A=2\n")
        .write("base/bundle/config.json", "{}")
        .write(
            "base/other.yaml",
            "services: { base: { x-bundle: bundle, user: base } }",
        );
    directory
}

/// Reads a file, looks at a place of its model, and finds the same model in what `config` prints of it.
#[track_caller]
fn becomes(directory: Directory, text: &str, place: &str, expected: &Value) {
    directory.write("compose.yaml", text);
    let project = directory.load().unwrap_or_else(|error| panic!("{error}\n{text}"));
    let model = serde_json::to_value(&project).unwrap();
    assert_eq!(
        model.pointer(place),
        Some(expected),
        "{place} of\n{text}\nis in {model:#}"
    );
    for printed in [normal::yaml(&project), normal::json(&project)] {
        directory.write("compose.yaml", &printed);
        let again = directory
            .load()
            .unwrap_or_else(|error| panic!("{error}\n{printed}"));
        assert_eq!(again, project, "{printed}");
    }
}

#[test]
fn every_form_of_a_services_keys_becomes_what_it_means_and_is_printed_so_that_it_reads_back() {
    for (_, _, body, place, expected) in of_services() {
        becomes(
            directory(),
            &of_web(body),
            &format!("/services/web{place}"),
            &expected,
        );
    }
}

#[test]
fn every_form_of_the_files_keys_becomes_what_it_means_and_is_printed_so_that_it_reads_back() {
    for (_, _, body, place, expected) in of_files() {
        let directory = directory().with(|options| options.project_name = None);
        let name = if body.starts_with("name:") {
            ""
        } else {
            "name: value\n"
        };
        becomes(
            directory,
            &format!("{name}services: {{ web: {{ x-bundle: ./web }} }}\n{body}\n"),
            place,
            &expected,
        );
    }
    for (_, _, body, definition, place, expected) in used() {
        let text = format!("services: {{ web: {{ x-bundle: ./web, {body} }} }}\n{definition}\n");
        becomes(directory(), &text, place, &expected);
    }
}

#[test]
fn no_supported_key_is_without_a_row() {
    let rows = of_services()
        .into_iter()
        .chain(of_files())
        .map(|(section, key, ..)| (section, key));
    let rows: BTreeSet<_> = rows
        .chain(used().into_iter().map(|(section, key, ..)| (section, key)))
        .collect();
    for (section, keys) in SECTIONS {
        for key in keys.iter().filter(|key| matches!(key.support, Support::Yes)) {
            assert!(rows.contains(&(*section, key.name)), "{section}: {}", key.name);
        }
    }
}

#[test]
fn what_no_service_uses_is_not_in_the_project() {
    let project = project(&format!("services: {{ web: {{ x-bundle: web }} }}\n{TOP}"));
    assert_eq!(project.networks.keys().collect::<Vec<_>>(), ["default"]);
    assert!(project.volumes.is_empty() && project.configs.is_empty() && project.secrets.is_empty());
}

#[test]
fn a_secret_from_a_variable_is_not_printed() {
    let text = "services: { web: { x-bundle: web, secrets: [s] } }\nsecrets: { s: { environment: SET } }";
    let printed = normal::yaml(&project(text));
    assert!(
        printed.contains("environment: SET") && !printed.contains("value"),
        "{printed}"
    );
}
