//! Several files, `extends`, anchors, profiles, variables: what goes over what.

use serde_json::{Value, json};

use super::{Directory, of_web, project, relative, web};

/// A file with the service `web` of one line.
fn only(body: &str) -> String {
    format!(
        "services: {{ web: {{ x-bundle: web, {body} }} }}\nvolumes: {{ a: , b: }}\nnetworks: {{ n: , m: }}\n"
    )
}

#[test]
fn a_later_file_goes_over_an_earlier_one_as_each_key_says() {
    for (base, over, place, expected) in [
        ("user: a", "user: b", "/user", json!("b")),
        ("user: a", "hostname: b", "/user", json!("a")),
        ("command: [a, b]", "command: [c]", "/command", json!(["c"])),
        ("entrypoint: [a, b]", "entrypoint: c", "/entrypoint", json!(["c"])),
        (
            "environment: [A=1, B=2]",
            "environment: { B: 3, C: 4 }",
            "/environment",
            json!({"A": "1", "B": "3", "C": "4"}),
        ),
        ("labels: [a=1]", "labels: { a: 2 }", "/labels", json!({"a": "2"})),
        (
            "ports: ['80:80']",
            "ports: ['80:80', '81:81']",
            "/ports",
            json!(["80:80/tcp", "81:81/tcp"]),
        ),
        (
            "ports: ['80:80']",
            "ports: !override ['81:81']",
            "/ports",
            json!(["81:81/tcp"]),
        ),
        ("ports: ['80:80']", "ports: !reset []", "/ports", json!([])),
        (
            "environment: { A: 1, B: 2 }",
            "environment: { A: !reset null }",
            "/environment",
            json!({"B": "2"}),
        ),
        (
            "dns: 1.1.1.1",
            "dns: [9.9.9.9]",
            "/dns",
            json!(["1.1.1.1", "9.9.9.9"]),
        ),
        (
            "cap_add: [KILL]",
            "cap_add: [KILL, CHOWN]",
            "/cap_add",
            json!(["CAP_KILL", "CAP_CHOWN"]),
        ),
        (
            "volumes: ['a:/v']",
            "volumes: ['b:/v/:ro']",
            "/mounts",
            json!([{"kind": {"volume": {"name": "b"}}, "target": "/v", "read_only": true}]),
        ),
        (
            "volumes: ['a:/v']",
            "volumes: [{ type: tmpfs, target: /v }]",
            "/mounts/0/kind",
            json!({"tmpfs": {"size": null, "mode": null}}),
        ),
        (
            "networks: [n]",
            "networks: { m: { priority: 1 } }",
            "/networks/m/priority",
            json!(1),
        ),
        (
            "networks: { n: { priority: 1 } }",
            "networks: [n]",
            "/networks/n/priority",
            json!(1),
        ),
        (
            "healthcheck: { test: [CMD, a], retries: 5 }",
            "healthcheck: { test: [CMD, b] }",
            "/healthcheck/retries",
            json!(5),
        ),
        (
            "healthcheck: { test: [CMD, a] }",
            "healthcheck: { disable: true }",
            "/healthcheck",
            Value::Null,
        ),
        ("command: [a]", "command: null", "/command", Value::Null),
        (
            "deploy: { replicas: 2 }",
            "deploy: { resources: { limits: { pids: 3 } } }",
            "/replicas",
            json!(2),
        ),
        (
            "logging: { driver: local, options: { max-file: 9 } }",
            "logging: { driver: json-file }",
            "/logging/max_files",
            json!(3),
        ),
        (
            "logging: { options: { max-file: 9 } }",
            "logging: { options: { max-size: 1m } }",
            "/logging/max_files",
            json!(9),
        ),
    ] {
        // Both ways of laying one over another follow the same rules.
        let extending = format!(
            "services:\n  base: {{ x-bundle: web, {base} }}\n  web: {{ extends: base, {over} }}\nvolumes: {{ a: , b: }}\nnetworks: {{ n: , m: }}\n"
        );
        let files =
            Directory::new().with(|options| options.files = vec!["one.yaml".into(), "two.yaml".into()]);
        files
            .write("one.yaml", &only(base))
            .write("two.yaml", &format!("services: {{ web: {{ {over} }} }}"));
        let mut projects = vec![files.load().unwrap()];
        // The base of `extends` is a service of its own, which would take the same ports.
        if !base.contains("ports") {
            projects.push(project(&extending));
        }
        for project in projects {
            let model = serde_json::to_value(&project).unwrap();
            assert_eq!(
                model.pointer(&format!("/services/web{place}")),
                Some(&expected),
                "{base} | {over}"
            );
        }
    }
}

#[test]
fn a_file_beside_the_one_that_is_found_goes_over_it_and_directories_above_are_looked_into() {
    let directory = Directory::new();
    directory
        .write("compose.yml", &only("user: a"))
        .write("compose.override.yaml", "services: { web: { user: b } }");
    directory.write("deep/er/file", "");
    let directory = directory.with(|options| options.working_directory.push("deep/er"));
    let project = directory.load().unwrap();
    assert_eq!(project.services["web"].user.as_deref(), Some("b"));
    assert_eq!(project.directory, directory.path);
    assert_eq!(
        project
            .files
            .iter()
            .map(|file| relative(file))
            .collect::<Vec<_>>(),
        ["compose.yml", "compose.override.yaml"]
    );
}

#[test]
fn variables_choose_files_name_and_profiles_and_the_callers_go_before_those_of_the_env_file() {
    let directory = Directory::new().with(|options| options.project_name = None);
    directory
        .write(".env", "COMPOSE_FILE=a.yaml:b.yaml\nCOMPOSE_PROJECT_NAME=from-env\nCOMPOSE_PROFILES=x,y\nSET=file\nOTHER=file\n")
        .write("a.yaml", "services: { web: { x-bundle: web, profiles: [y], environment: { A: $SET, B: $OTHER, C: $COMPOSE_PROJECT_NAME } } }")
        .write("b.yaml", "services: { web: { user: b }, db: { x-bundle: db, profiles: [z] } }");
    let read = directory.load().unwrap();
    assert_eq!((read.name.as_str(), read.services.len()), ("from-env", 1));
    let web = &read.services["web"];
    assert_eq!(web.user.as_deref(), Some("b"));
    assert_eq!(
        json!(web.environment),
        json!({"A": "value", "B": "file", "C": "from-env"})
    );

    let directory = directory.with(|options| {
        options.project_name = Some("mine".to_owned());
        options.profiles = vec!["z".to_owned()];
        options.env_files = vec!["other.env".into()];
        options.files = vec!["b.yaml".into()];
    });
    directory
        .write("other.env", "")
        .write("b.yaml", "services: { db: { x-bundle: db, profiles: [z] } }");
    let read = directory.load().unwrap();
    assert_eq!(
        (read.name.as_str(), read.services.keys().next().unwrap().as_str()),
        ("mine", "db")
    );
}

#[test]
fn a_project_is_called_after_its_directory_when_nobody_names_it() {
    let directory = Directory::new().with(|options| {
        options.project_name = None;
        options.working_directory.push("_My Shop.2");
    });
    directory.write(
        "_My Shop.2/compose.yaml",
        "services: { web: { x-bundle: ../web } }",
    );
    assert_eq!(directory.load().unwrap().name, "myshop2");
    assert_eq!(super::super::name(&directory.options).unwrap(), "myshop2");
}

#[test]
fn a_name_that_cannot_be_one_is_refused_by_where_it_comes_from() {
    let directory = Directory::new().with(|options| options.project_name = None);
    directory.write("compose.yaml", "name: Shop\nservices: {}");
    assert!(
        directory
            .error()
            .starts_with("compose.yaml:1:7: name: \"Shop\" is no project's name")
    );
    let directory = directory.with(|options| options.project_name = Some("../x".to_owned()));
    assert!(
        directory
            .error()
            .starts_with("--project-name: \"../x\" is no project's name")
    );
}

#[test]
fn a_name_that_is_given_needs_no_file() {
    let directory = Directory::new();
    assert_eq!(super::super::name(&directory.options).unwrap(), "shop");
    assert!(
        directory
            .error()
            .contains("no Compose file in . or above it; it is called compose.yaml")
    );
}

#[test]
fn services_without_an_active_profile_are_left_out_with_what_need_not_be_there() {
    let text = "services:\n  web: { x-bundle: web, depends_on: { db: { condition: service_started, required: false } } }\n  db: { x-bundle: db, profiles: [data] }";
    let directory = Directory::new();
    directory.write("compose.yaml", text);
    let read = directory.load().unwrap();
    assert!(!read.services.contains_key("db") && read.services["web"].depends_on.is_empty());
    for (profiles, services) in [(vec!["data"], vec![]), (vec!["*"], vec![]), (vec![], vec!["db"])] {
        let directory = Directory::new().with(|options| {
            options.profiles = profiles.iter().map(|name| (*name).to_owned()).collect();
            options.services = services.iter().map(|name| (*name).to_owned()).collect();
        });
        directory.write("compose.yaml", text);
        assert!(
            directory.load().unwrap().services["web"]
                .depends_on
                .contains_key("db")
        );
    }
}

#[test]
fn anchors_and_merge_keys_bring_what_the_mapping_does_not_have() {
    let read = project(
        "x-a: &a { user: a, hostname: a }\nx-b: &b { hostname: b, working_dir: /b }\n\
         services:\n  web:\n    <<: [*a, *b]\n    x-bundle: web\n    user: own\n  db: { <<: *b, x-bundle: db, command: &c [x, y], entrypoint: *c }",
    );
    let web = &read.services["web"];
    let texts = [&web.user, &web.hostname, &web.working_dir].map(|text| text.as_deref().unwrap());
    assert_eq!(texts, ["own", "a", "/b"]);
    assert_eq!(read.services["db"].entrypoint, read.services["db"].command);
}

#[test]
fn paths_are_relative_to_the_file_that_has_them_when_it_is_extended_and_to_the_first_file_otherwise() {
    let directory =
        Directory::new().with(|options| options.files = vec!["compose.yaml".into(), "sub/over.yaml".into()]);
    directory
        .write(
            "compose.yaml",
            "services: { web: { extends: { file: sub/base.yaml, service: base } } }",
        )
        .write("sub/over.yaml", "services: { web: { volumes: [./data:/over] } }")
        .write(
            "sub/base.yaml",
            "services:\n  base: { extends: deeper, volumes: [./data:/base] }\n  deeper: { x-bundle: bundle }",
        )
        .write("sub/bundle/config.json", "{}");
    let read = directory.load().unwrap();
    let model = serde_json::to_value(&read.services["web"]).unwrap();
    let path = |path: &str| json!(directory.path.join(path));
    assert_eq!(model["bundle"], path("sub/bundle"));
    assert_eq!(model["mounts"][0]["kind"]["bind"]["source"], path("sub/data"));
    assert_eq!(model["mounts"][1]["kind"]["bind"]["source"], path("data"));
}

#[test]
fn an_error_names_the_file_of_several_that_has_the_mistake() {
    let directory =
        Directory::new().with(|options| options.files = vec!["one.yaml".into(), "two.yaml".into()]);
    directory
        .write("one.yaml", &only("user: a"))
        .write("two.yaml", "services:\n  web:\n    dns: [nowhere]\n");
    assert_eq!(
        directory.error(),
        "two.yaml:3:11: services.web.dns[0]: expected an IP address, found \"nowhere\""
    );
    let directory = Directory::new();
    directory
        .write(
            "compose.yaml",
            "services: { web: { x-bundle: web, extends: { file: base.yaml, service: base } } }",
        )
        .write("base.yaml", "services:\n  base:\n    cpus: all\n");
    assert!(
        directory
            .error()
            .starts_with("base.yaml:3:11: services.web.cpus: ")
    );
}

#[test]
fn variables_are_replaced_before_values_get_their_types() {
    let web = web(
        "read_only: ${NONE:-true}\nports: ['${NONE:-80}:${NONE-81}']\ncommand: [\"$$HOME\", \"${SET}\"]\nhealthcheck: { test: a, retries: \"${N:-4}\" }",
    );
    assert_eq!(web.read_only, Some(true));
    assert_eq!(web.ports[0].to_string(), "80:81/tcp");
    assert_eq!(web.command.unwrap(), ["$HOME", "value"]);
    assert_eq!(web.healthcheck.unwrap().retries, 4);
    assert!(project(&of_web("user: a")).services.contains_key("db"));
}
