//! Every refusal, with the place and the words.

use super::{Directory, TOP, error, of_web, project};
use crate::compose::file::keys::{SECTIONS, Support};

/// A file for each section, `@` where a key of it goes.
const TEMPLATES: &[(&str, &str)] = &[
    ("The file", "@\nservices: { web: { x-bundle: web } }"),
    ("services.NAME", "services: { web: { x-bundle: web,\n @ } }"),
    (
        "services.NAME.extends",
        "services: { web: { x-bundle: web, extends: { service: db,\n @ } }, db: { x-bundle: db } }",
    ),
    (
        "services.NAME.env_file",
        "services: { web: { x-bundle: web, env_file: [{ path: secret,\n @ }] } }",
    ),
    (
        "services.NAME.ports",
        "services: { web: { x-bundle: web, ports: [{ target: 80,\n @ }] } }",
    ),
    (
        "services.NAME.networks",
        "services: { web: { x-bundle: web, networks: { default: {\n @ } } } }",
    ),
    (
        "services.NAME.depends_on",
        "services: { web: { x-bundle: web, depends_on: { db: {\n @ } } }, db: { x-bundle: db } }",
    ),
    (
        "services.NAME.healthcheck",
        "services: { web: { x-bundle: web, healthcheck: { test: a,\n @ } } }",
    ),
    (
        "services.NAME.deploy",
        "services: { web: { x-bundle: web, deploy: {\n @ } } }",
    ),
    (
        "services.NAME.deploy.resources",
        "services: { web: { x-bundle: web, deploy: { resources: {\n @ } } } }",
    ),
    (
        "services.NAME.deploy.resources.limits",
        "services: { web: { x-bundle: web, deploy: { resources: { limits: {\n @ } } } } }",
    ),
    (
        "services.NAME.deploy.restart_policy",
        "services: { web: { x-bundle: web, deploy: { restart_policy: {\n @ } } } }",
    ),
    (
        "services.NAME.volumes",
        "services: { web: { x-bundle: web, volumes: [{ type: bind, source: /etc, target: /t,\n @ }] } }",
    ),
    (
        "services.NAME.volumes.bind",
        "services: { web: { x-bundle: web, volumes: [{ type: bind, source: /etc, target: /t, bind: {\n @ } }] } }",
    ),
    (
        "services.NAME.volumes.volume",
        "services: { web: { x-bundle: web, volumes: [{ type: volume, source: v, target: /t, volume: {\n @ } }] } }\nvolumes: { v: }",
    ),
    (
        "services.NAME.volumes.tmpfs",
        "services: { web: { x-bundle: web, volumes: [{ type: tmpfs, target: /t, tmpfs: {\n @ } }] } }",
    ),
    (
        "services.NAME.configs and .secrets",
        "services: { web: { x-bundle: web, secrets: [{ source: s,\n @ }] } }\nsecrets: { s: { file: secret } }",
    ),
    (
        "services.NAME.logging",
        "services: { web: { x-bundle: web, logging: {\n @ } } }",
    ),
    (
        "services.NAME.logging.options",
        "services: { web: { x-bundle: web, logging: { options: {\n @ } } } }",
    ),
    (
        "networks.NAME",
        "networks: { default: {\n @ } }\nservices: { web: { x-bundle: web } }",
    ),
    (
        "networks.NAME.driver_opts",
        "networks: { default: { driver_opts: {\n @ } } }\nservices: { web: { x-bundle: web } }",
    ),
    (
        "networks.NAME.ipam",
        "networks: { default: { ipam: {\n @ } } }\nservices: { web: { x-bundle: web } }",
    ),
    (
        "networks.NAME.ipam.config",
        "networks: { default: { ipam: { config: [{ subnet: 10.0.0.0/24,\n @ }] } } }\nservices: { web: { x-bundle: web } }",
    ),
    (
        "networks.NAME.x-policy",
        "networks: { default: { x-policy: {\n @ } } }\nservices: { web: { x-bundle: web } }",
    ),
    (
        "networks.NAME.x-policy.rules",
        "networks: { default: { x-policy: { rules: [{ from: web, to: web, ports: all,\n @ }] } } }\nservices: { web: { x-bundle: web } }",
    ),
    (
        "volumes.NAME",
        "volumes: { v: {\n @ } }\nservices: { web: { x-bundle: web } }",
    ),
    (
        "configs.NAME",
        "configs: { c: { content: a,\n @ } }\nservices: { web: { x-bundle: web } }",
    ),
    (
        "secrets.NAME",
        "secrets: { s: { file: secret,\n @ } }\nservices: { web: { x-bundle: web } }",
    ),
];

#[test]
fn every_key_that_is_not_supported_is_refused_by_name_with_its_place_and_the_reason() {
    for ((section, keys), (title, template)) in SECTIONS.iter().zip(TEMPLATES) {
        assert_eq!(section, title);
        let with = |line: String| template.replace('@', &line);
        let before = template.split('@').next().unwrap();
        let column = before.len() - before.rfind('\n').map_or(0, |end| end + 1) + 1;
        let place = format!("compose.yaml:{}:{column}: ", before.matches('\n').count() + 1);
        for key in *keys {
            let name = key.name;
            let refused = |value: &str, why: &str| {
                let error = error(&with(format!("{name}: {value}")));
                assert!(error.starts_with(&place), "{section}.{name}: {error}");
                assert!(
                    error.contains(&format!("{name} is not supported: {why}")),
                    "{section}.{name}: {error}"
                );
            };
            match key.support {
                Support::Yes => {}
                Support::Ignored(_) => drop(project(&with(format!("{name}: something")))),
                Support::OnlyFalse(why) => {
                    project(&with(format!("{name}: false")));
                    refused("true", why);
                }
                Support::No(why) => refused("something", why),
            }
        }
        let unknown = error(&with("unheard-of: 1".to_owned()));
        assert!(unknown.starts_with(&place), "{section}: {unknown}");
        assert!(
            unknown.contains("unheard-of: unknown key"),
            "{section}: {unknown}"
        );
        project(&with("x-of-our-own: [1]".to_owned()));
        for key in keys.iter().filter(|key| key.name.len() > 3) {
            let misspelt = format!("{}y", key.name);
            if misspelt.starts_with("x-") || keys.iter().any(|key| key.name == misspelt) {
                continue;
            }
            let error = error(&with(format!("{misspelt}: 1")));
            assert!(
                error.contains("unknown key; did you mean"),
                "{section}.{misspelt}: {error}"
            );
        }
    }
    assert_eq!(SECTIONS.len(), TEMPLATES.len());
}

/// Lines of the service `web` (they begin in line 4 and column 5 of the file), and the whole error.
const IN_A_SERVICE: &[(&str, &str)] = &[
    (
        "enviroment: {}",
        "4:5: services.web.enviroment: unknown key; did you mean \"environment\"?",
    ),
    (
        "command: [a, [b]]",
        "4:18: services.web.command[1]: expected a word of the command, found a list",
    ),
    (
        "command: a 'b",
        "4:14: services.web.command: a quote ' is not closed",
    ),
    ("command: ''", "4:14: services.web.command: names no program"),
    (
        "environment: 7",
        "4:18: services.web.environment: expected a mapping, or a list of NAME=VALUE, found \"7\"",
    ),
    (
        "environment: { A: [] }",
        "4:23: services.web.environment.A: expected a text, found a list",
    ),
    (
        "environment: [=1]",
        "4:19: services.web.environment.: \"\" is no name of a variable",
    ),
    (
        "environment: [A: 1]",
        "4:18: services.web.environment: expected a mapping, or a list of NAME=VALUE, found a list",
    ),
    (
        "env_file: none.env",
        "4:15: services.web.env_file[0]: none.env does not exist",
    ),
    (
        "env_file: [{ path: secret, format: yaml }]",
        "4:40: services.web.env_file[0].format: \"yaml\" is not \"raw\"",
    ),
    (
        "env_file: [{ required: false }]",
        "4:16: services.web.env_file[0]: \"path\" is missing",
    ),
    (
        "env_file: bad.env",
        "4:15: services.web.env_file[0]: bad.env:2: \"no name\" is no name of a variable",
    ),
    (
        "working_dir: srv",
        "4:18: services.web.working_dir: \"srv\" is not an absolute path",
    ),
    ("user: ''", "4:11: services.web.user: is empty, expected a user"),
    (
        "hostname: a b",
        "4:15: services.web.hostname: \"a b\" is not a host name",
    ),
    (
        "ports: 80",
        "4:12: services.web.ports: expected a list, found \"80\"",
    ),
    (
        "ports: [0]",
        "4:13: services.web.ports[0]: publish \"0\": \"0\" is not a port from 1 to 65535",
    ),
    ("ports: [web]", "4:13: services.web.ports[0]: publish \"web\""),
    (
        "ports: [{ published: 80 }]",
        "4:13: services.web.ports[0]: \"target\" is missing",
    ),
    (
        "ports: [{ target: 80-81 }]",
        "4:23: services.web.ports[0].target: expected one port",
    ),
    (
        "ports: [{ target: 80, host_ip: me }]",
        "4:36: services.web.ports[0].host_ip: expected an IP address, found \"me\"",
    ),
    (
        "ports: [{ target: 80, protocol: icmp }]",
        "4:37: services.web.ports[0].protocol: protocol \"icmp\" is not tcp, udp or sctp",
    ),
    (
        "ports: ['80:80', '80:81']",
        "4:22: services.web.ports[1]: 80:81/tcp takes a port of the host that 80:80/tcp of services.web.ports[0] takes already, in line 4",
    ),
    (
        "ports: ['80:80']\ndeploy: { replicas: 2 }",
        "4:13: services.web.ports[0]: 2 replicas cannot all have the host's port 80",
    ),
    (
        "expose: [all]",
        "4:14: services.web.expose[0]: \"all\" is not a port",
    ),
    (
        "networks: [none]",
        "4:16: services.web.networks.none: there is no network \"none\" in the file",
    ),
    (
        "networks: [frnt]",
        "4:16: services.web.networks.frnt: there is no network \"frnt\" in the file; did you mean \"front\"?",
    ),
    (
        "networks: [front, front]",
        "4:23: services.web.networks: \"front\" is here twice",
    ),
    ("networks: []", "4:15: services.web.networks: names no network"),
    (
        "networks: { front: { aliases: [a b] } }",
        "4:36: services.web.networks.front.aliases[0]: \"a b\" is not a host name",
    ),
    (
        "networks: { front: { ipv4_address: 10.6.0.1 } }",
        "4:40: services.web.networks.front.ipv4_address: 10.6.0.1 is not in 10.5.0.0/24",
    ),
    (
        "networks: { front: { ipv4_address: 10.5.0.1 } }",
        "4:40: services.web.networks.front.ipv4_address: 10.5.0.1 is the gateway",
    ),
    (
        "networks: { back: { ipv4_address: 10.5.0.7 } }",
        "4:39: services.web.networks.back.ipv4_address: the network \"back\" has no subnet of its own",
    ),
    (
        "networks: { front: { ipv4_address: 10.5.0.7 } }\nscale: 2",
        "4:24: services.web.networks.front: 2 replicas cannot have one address",
    ),
    (
        "networks: { front: { mac_address: '01' } }",
        "4:39: services.web.networks.front.mac_address: ",
    ),
    (
        "networks: { front: { interface_name: lo } }",
        "4:42: services.web.networks.front.interface_name: \"lo\" is not a name",
    ),
    (
        "networks: { front: { priority: high } }",
        "4:36: services.web.networks.front.priority: expected a whole number, found \"high\"",
    ),
    (
        "depends_on: [bd]",
        "4:18: services.web.depends_on.bd: there is no service \"bd\" in the file",
    ),
    (
        "depends_on: [web]",
        "4:18: services.web.depends_on.web: services wait for each other: web -> web",
    ),
    (
        "depends_on: [db, db]",
        "4:22: services.web.depends_on: \"db\" is here twice",
    ),
    (
        "depends_on: { db: { condition: healthy } }",
        "4:36: services.web.depends_on.db.condition: \"healthy\" is none of",
    ),
    (
        "healthcheck: {}",
        "4:18: services.web.healthcheck: \"test\" is missing",
    ),
    (
        "healthcheck: { test: [curl] }",
        "4:26: services.web.healthcheck.test: expected [NONE], [CMD, program, arguments...]",
    ),
    (
        "healthcheck: { test: [CMD] }",
        "4:26: services.web.healthcheck.test: expected [NONE]",
    ),
    (
        "healthcheck: { test: a, interval: 10 }",
        "4:39: services.web.healthcheck.interval: \"10\" is not a duration like 1m30s, 10s or 500ms; write 10s for seconds",
    ),
    (
        "healthcheck: { test: a, interval: 0s }",
        "4:39: services.web.healthcheck.interval: expected 1ms or more",
    ),
    (
        "healthcheck: { test: a, retries: 0 }",
        "4:38: services.web.healthcheck.retries: expected 1 or more",
    ),
    (
        "restart: sometimes",
        "4:14: services.web.restart: \"sometimes\" is none of \"no\", always",
    ),
    (
        "restart: always:3",
        "4:14: services.web.restart: \"always\" takes no number",
    ),
    (
        "restart: on-failure:x",
        "4:14: services.web.restart: \"x\" is not a number of attempts",
    ),
    (
        "deploy: { mode: global }",
        "4:21: services.web.deploy.mode: there is one host",
    ),
    (
        "deploy: { replicas: -1 }",
        "4:25: services.web.deploy.replicas: expected a whole number, found \"-1\"",
    ),
    (
        "deploy: { replicas: 2000 }",
        "4:25: services.web.deploy.replicas: 2000 replicas are more than 1000",
    ),
    (
        "scale: 2\ndeploy: { replicas: 3 }",
        "4:12: services.web.scale: services.web.deploy.replicas says otherwise",
    ),
    (
        "mem_limit: lots",
        "4:16: services.web.mem_limit: \"lots\" is not a size like 64k, 128m or 1.5gb",
    ),
    ("mem_limit: 0", "4:16: services.web.mem_limit: a limit of 0"),
    (
        "cpus: none",
        "4:11: services.web.cpus: \"none\" is not a number of processors",
    ),
    (
        "pids_limit: 0",
        "4:17: services.web.pids_limit: expected 1 or more, or -1",
    ),
    (
        "deploy: { restart_policy: { condition: maybe } }",
        "4:44: services.web.deploy.restart_policy.condition: \"maybe\" is none of",
    ),
    (
        "volumes: [/data]",
        "4:15: services.web.volumes[0]: volumes without a name are not supported",
    ),
    (
        "volumes: [dta:/data]",
        "4:15: services.web.volumes[0]: there is no volume \"dta\" in the file",
    ),
    (
        "volumes: [data:data]",
        "4:15: services.web.volumes[0]: the target \"data\" is not an absolute path",
    ),
    (
        "volumes: ['data:/a/../b']",
        "4:15: services.web.volumes[0]: the target \"/a/../b\" has `..` in it",
    ),
    (
        "volumes: ['data:/']",
        "4:15: services.web.volumes[0]: nothing is mounted on the root",
    ),
    (
        "volumes: ['data:/a:sometimes']",
        "4:15: services.web.volumes[0]: unknown option \"sometimes\"",
    ),
    (
        "volumes: ['data:/a:z']",
        "4:15: services.web.volumes[0]: option \"z\" is not supported: there is no support for SELinux",
    ),
    (
        "volumes: ['data:/a:nocopy']",
        "4:15: services.web.volumes[0]: option \"nocopy\" is not supported",
    ),
    (
        "volumes: ['data:/a:cached']",
        "4:15: services.web.volumes[0]: option \"cached\" is not supported",
    ),
    (
        "volumes: ['~you/x:/a']",
        "4:15: services.web.volumes[0]: \"~you/x\": whose home",
    ),
    (
        "volumes: [':/a']",
        "4:15: services.web.volumes[0]: \":/a\" is not SOURCE:TARGET",
    ),
    (
        "volumes: [data:/a, data:/a]",
        "3:5: services.web: two things are mounted on /a",
    ),
    (
        "volumes: [data:/a]\ntmpfs: /a",
        "3:5: services.web: two things are mounted on /a",
    ),
    (
        "volumes: [{ target: /a }]",
        "4:15: services.web.volumes[0]: \"type\" is missing",
    ),
    (
        "volumes: [{ type: npipe, target: /a }]",
        "4:23: services.web.volumes[0].type: \"npipe\" is not supported",
    ),
    (
        "volumes: [{ type: dir, target: /a }]",
        "4:23: services.web.volumes[0].type: \"dir\" is none of bind, volume and tmpfs",
    ),
    (
        "volumes: [{ type: bind, target: /a }]",
        "4:15: services.web.volumes[0]: \"source\" is missing",
    ),
    (
        "volumes: [{ type: volume, target: /a }]",
        "4:15: services.web.volumes[0]: volumes without a name",
    ),
    (
        "volumes: [{ type: tmpfs, source: data, target: /a }]",
        "4:38: services.web.volumes[0].source: a tmpfs has no source",
    ),
    (
        "volumes: [{ type: tmpfs, target: /a, bind: {} }]",
        "4:48: services.web.volumes[0].bind: means nothing",
    ),
    (
        "volumes: [{ type: bind, source: ./no, target: /a, bind: { create_host_path: false } }]",
        "4:37: services.web.volumes[0].source: no does not exist",
    ),
    (
        "volumes: [{ type: tmpfs, target: /a, tmpfs: { mode: 1777 } }]",
        "4:57: services.web.volumes[0].tmpfs.mode: \"1777\" are not permission bits",
    ),
    (
        "tmpfs: /a:uid=7",
        "4:12: services.web.tmpfs[0]: unknown option \"uid=7\"",
    ),
    (
        "tmpfs: /a:mode=rwx",
        "4:12: services.web.tmpfs[0]: mode: \"rwx\" are not permission bits",
    ),
    (
        "configs: [cnof]",
        "4:15: services.web.configs[0]: there is no config \"cnof\" in the file; did you mean \"conf\"?",
    ),
    (
        "secrets: [other]",
        "4:15: services.web.secrets[0]: there is no secret \"other\" in the file",
    ),
    (
        "secrets: [{ source: key, mode: 440 }]",
        "4:36: services.web.secrets[0].mode: \"440\" are not permission bits in octal",
    ),
    (
        "secrets: [{ source: key, uid: me }]",
        "4:35: services.web.secrets[0].uid: expected the number of a user",
    ),
    (
        "dns: here",
        "4:10: services.web.dns[0]: expected an IP address, found \"here\"",
    ),
    (
        "dns_search: [a b]",
        "4:18: services.web.dns_search[0]: \"a b\" is not a domain",
    ),
    (
        "extra_hosts: [a]",
        "4:19: services.web.extra_hosts[0]: \"a\" is not NAME=ADDRESS",
    ),
    (
        "extra_hosts: ['a:host-gateway']",
        "4:19: services.web.extra_hosts[0]: host-gateway is not supported",
    ),
    (
        "cap_add: [FLY]",
        "4:15: services.web.cap_add[0]: \"FLY\" is not a capability",
    ),
    (
        "read_only: maybe",
        "4:16: services.web.read_only: expected true or false, found \"maybe\"",
    ),
    (
        "stop_signal: SIGNOT",
        "4:18: services.web.stop_signal: unknown signal \"SIGNOT\"",
    ),
    (
        "stop_grace_period: soon",
        "4:24: services.web.stop_grace_period: \"soon\" is not a duration",
    ),
    (
        "profiles: debug",
        "4:15: services.web.profiles: expected a list, found \"debug\"",
    ),
    (
        "profiles: ['*']",
        "4:16: services.web.profiles[0]: \"*\" is not a profile's name",
    ),
    (
        "labels: { minirun.x: 1 }",
        "4:26: services.web.labels.minirun.x: \"minirun.x\" is no name of a label",
    ),
    (
        "logging: { driver: syslog }",
        "4:24: services.web.logging.driver: there is one kind of log",
    ),
    (
        "logging: { options: { max-size: 1k } }",
        "4:37: services.web.logging.options.max-size: expected 4k or more",
    ),
    (
        "logging: { options: { max-file: 0 } }",
        "4:37: services.web.logging.options.max-file: expected a number from 1 to 1000",
    ),
    (
        "extends: bd",
        "4:14: services.web.extends: compose.yaml has no service \"bd\"",
    ),
    (
        "extends: web",
        "4:14: services.web.extends: services extend each other in a circle: web -> web",
    ),
    (
        "extends: { service: a, file: none.yaml }",
        "4:14: none.yaml does not exist",
    ),
    (
        "user: $",
        "4:11: services.web.user: \"$\" begins no variable; write \"$$\" for a dollar sign",
    ),
    (
        "user: ${NONE:?tell me}",
        "4:11: services.web.user: the variable NONE is required: tell me",
    ),
];

#[test]
fn every_bad_value_of_a_service_is_refused_where_it_stands() {
    let mut wrong = String::new();
    for (body, expected) in IN_A_SERVICE {
        let directory = Directory::new();
        directory
            .write("bad.env", "A=1\nno name=2\n")
            .write("compose.yaml", &of_web(body));
        let error = directory.error();
        if !error.starts_with(&format!("compose.yaml:{expected}")) {
            wrong.push_str(&format!("{body}\n  {error}\n  {expected}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Whole files, and the begin of the error.
const IN_A_FILE: &[(&str, &str)] = &[
    ("", "compose.yaml: the file is empty"),
    ("- a", "compose.yaml:1:1: expected a mapping, found a list"),
    (
        "services: [a]",
        "compose.yaml:1:11: services: expected a mapping, found a list",
    ),
    (
        "services: { web: }",
        "compose.yaml:1:16: services.web: expected a mapping, found nothing",
    ),
    (
        "services: { web: { image: nginx } }",
        "compose.yaml:1:20: services.web.image: minirun runs bundles, not images; add `x-bundle: DIRECTORY`",
    ),
    (
        "services: { web: { user: me } }",
        "compose.yaml:1:18: services.web: \"x-bundle\" is missing; add",
    ),
    (
        "services: { web: { x-bundel: web } }",
        "compose.yaml:1:18: services.web: \"x-bundle\" is missing; is \"x-bundel\" meant to be it?",
    ),
    (
        "services: { web: { x-bundle: none } }",
        "compose.yaml:1:30: services.web.x-bundle: none is not a directory",
    ),
    (
        "services: { web: { x-bundle: . } }",
        "compose.yaml:1:30: services.web.x-bundle: . has no config.json",
    ),
    (
        "services: { a b: { x-bundle: web } }",
        "compose.yaml:1:18: services.a b: \"a b\" is no service's name",
    ),
    (
        "services: {}\nservices: {}",
        "compose.yaml:2:1: the key \"services\" is here twice; first in line 1",
    ),
    (
        "services: {}\n---\nservices: {}",
        "compose.yaml:2:1: a second document begins here",
    ),
    ("services: { web: *base }", "compose.yaml:1:18: "),
    (
        "services: &a { web: *a }",
        "compose.yaml:1:21: this alias stands within the value that it names",
    ),
    (
        "services: { <<: 7 }",
        "compose.yaml:1:17: <<: expected a mapping or a list of mappings, found \"7\"",
    ),
    ("[a]: b", "compose.yaml:1:1: expected a key, found a list"),
    (
        "services: { web: { user: !sum 7 } }",
        "compose.yaml:1:26: unknown tag \"!sum\"",
    ),
    (
        "services: { web: { user: \"a\\0b\" } }",
        "compose.yaml:1:26: the text has a NUL character in it",
    ),
    ("services: { web: { user: 'a }", "compose.yaml:"),
    (
        "networks: { a: { driver: overlay } }",
        "compose.yaml:1:26: networks.a.driver: bridge is the only driver",
    ),
    (
        "networks: { a: { ipam: { driver: x } } }",
        "compose.yaml:1:34: networks.a.ipam.driver: \"default\" is the only driver",
    ),
    (
        "networks: { a: { ipam: { config: [{ subnet: x }] } } }",
        "compose.yaml:1:45: networks.a.ipam.config[0].subnet: expected a subnet like 172.20.0.0/24",
    ),
    (
        "networks: { a: { ipam: { config: [{ subnet: 10.0.0.0/31 }] } } }",
        "compose.yaml:1:16: networks.a: ipv4.subnet: 10.0.0.0/31",
    ),
    (
        "networks: { a: { external: true, internal: true } }",
        "compose.yaml:1:34: networks.a.internal: means nothing for a network that somebody else makes",
    ),
    (
        "networks: { a: { name: 'a b' } }",
        "compose.yaml:1:16: networks.a: \"a b\" is not a network name",
    ),
    (
        "networks: { a: { driver_opts: { com.docker.network.driver.mtu: 9 } } }",
        "compose.yaml:1:16: networks.a: mtu: 9",
    ),
    (
        "networks: { a: { x-policy: { within: perhaps } } }",
        "compose.yaml:1:38: networks.a.x-policy.within: \"perhaps\" is neither",
    ),
    (
        "networks: { a: { x-policy: { rules: [{ from: a, to: b }] } } }",
        "compose.yaml:1:38: networks.a.x-policy.rules[0]: \"ports\" is missing",
    ),
    (
        "networks: { a: { x-policy: { rules: [{ from: a, to: b, ports: 80/icmp }] } } }",
        "compose.yaml:1:63: networks.a.x-policy.rules[0].ports: protocol \"icmp\"",
    ),
    (
        "networks: { a: { x-policy: { rules: [{ from: outside, to: b, ports: all }] } } }",
        "compose.yaml:1:38: networks.a.x-policy.rules[0]: from: \"outside\"",
    ),
    (
        "volumes: { a: { driver: nfs } }",
        "compose.yaml:1:25: volumes.a.driver: \"local\" is the only driver",
    ),
    (
        "volumes: { a: { name: ../a } }",
        "compose.yaml:1:15: volumes.a: \"../a\" is no volume's name",
    ),
    (
        "configs: { a: {} }",
        "compose.yaml:1:15: configs.a: expected one of file, environment, content",
    ),
    (
        "configs: { a: { file: secret, content: a } }",
        "compose.yaml:1:15: configs.a: expected one of",
    ),
    (
        "secrets: { a: {} }",
        "compose.yaml:1:15: secrets.a: expected one of file, environment",
    ),
    (
        "secrets: { a: { file: none } }",
        "compose.yaml:1:23: secrets.a.file: none is not a file",
    ),
    (
        "secrets: { a: { environment: NONE } }",
        "compose.yaml:1:30: secrets.a.environment: the variable NONE is not set",
    ),
    (
        "services:\n  a: { x-bundle: web, depends_on: [b] }\n  b: { x-bundle: web, depends_on: [c] }\n  c: { x-bundle: web, depends_on: [a] }",
        "compose.yaml:2:36: services.a.depends_on.b: services wait for each other: a -> b -> c -> a",
    ),
    (
        "services:\n  a: { x-bundle: web, depends_on: { b: { condition: service_healthy } } }\n  b: { x-bundle: web }",
        "compose.yaml:2:40: services.a.depends_on.b: the service \"b\" has no `healthcheck`",
    ),
    (
        "services:\n  a: { x-bundle: web, depends_on: [b] }\n  b: { x-bundle: web, profiles: [debug] }",
        "compose.yaml:2:36: services.a.depends_on.b: the service \"b\" is not in an active profile",
    ),
    (
        "services:\n  a: { x-bundle: web, ports: ['127.0.0.1:80:80'] }\n  b: { x-bundle: web, ports: ['79-80:1-2'] }",
        "compose.yaml:3:31: services.b.ports[0]: 79-80:1-2/tcp takes a port of the host that 127.0.0.1:80:80/tcp of services.a.ports[0] takes already, in line 2",
    ),
    (
        "services:\n  a: { x-bundle: web, extends: b }\n  b: { x-bundle: web, extends: a }",
        "compose.yaml:3:32: services.b.extends: services extend each other in a circle: a -> b -> a",
    ),
];

#[test]
fn every_mistake_of_a_file_is_told_where_it_is() {
    let mut wrong = String::new();
    for (text, expected) in IN_A_FILE {
        let error = error(text);
        if !error.starts_with(expected) {
            wrong.push_str(&format!("{text}\n  {error}\n  {expected}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn an_address_that_two_services_have_is_told_with_the_one_that_has_it() {
    for (a, b, expected) in [
        (
            "ipv4_address: 10.5.0.7",
            "ipv4_address: 10.5.0.7",
            "10.5.0.7 is taken by services.a.networks.front.ipv4_address",
        ),
        (
            "ipv6_address: 'fd00:5::7'",
            "ipv6_address: 'fd00:5:0::7'",
            "fd00:5::7 is taken by services.a.networks.front.ipv6_address",
        ),
        (
            "mac_address: '02:00:00:00:00:01'",
            "mac_address: '02:00:00:00:00:01'",
            "02:00:00:00:00:01 is taken by",
        ),
    ] {
        let service = |address| format!("{{ x-bundle: web, networks: {{ front: {{ {address} }} }} }}");
        let error = error(&format!(
            "services:\n  a: {}\n  b: {}\n{TOP}",
            service(a),
            service(b)
        ));
        assert!(
            error.starts_with("compose.yaml:3:") && error.contains(expected),
            "{error}"
        );
    }
}

#[test]
fn ports_that_do_not_meet_are_no_mistake() {
    let port = |port: &str| format!("{{ x-bundle: web, ports: ['{port}'] }}");
    for (a, b) in [
        ("80:80", "81:80"),
        ("80:80/tcp", "80:80/udp"),
        ("127.0.0.1:80:80", "127.0.0.2:80:80"),
        ("0.0.0.0:80:80", "[::]:80:80"),
        ("80", "80"),
        ("8000-8010:80", "8000-8010:80"),
    ] {
        project(&format!("services:\n  a: {}\n  b: {}\n", port(a), port(b)));
    }
}
