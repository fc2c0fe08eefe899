//! `minirun compose config`: what a person sees of a Compose file, and of what is wrong with it.

use std::fs;

use serde_json::Value;

use crate::harness::{Host, Output};

/// A directory with a bundle `web` and a Compose file.
fn project(host: &Host, text: &str) {
    fs::create_dir_all(host.dir().join("shop/web")).unwrap();
    fs::write(host.dir().join("shop/web/config.json"), "{}").unwrap();
    fs::write(host.dir().join("shop/compose.yaml"), text).unwrap();
}

/// Runs it in the project's directory.
fn compose(host: &Host, args: &[&str]) -> Output {
    let args = ["compose"].iter().chain(args).copied();
    host.runtime().cwd(&host.dir().join("shop")).args(args).output()
}

const TEXT: &str = "services:
  web:
    x-bundle: ./web
    command: serve --port ${PORT:-8080}
    mem_limit: 0.5g
    stop_grace_period: 90s
  debug: { x-bundle: ./web, profiles: [debug] }
";

#[test]
fn config_prints_the_file_with_everything_resolved_and_reads_its_own_print() {
    let host = Host::new();
    project(&host, TEXT);
    let printed = compose(&host, &["config"]).succeeds().stdout;
    for line in [
        "name: shop\n",
        "- \"8080\"\n",
        "memory: 512m\n",
        "stop_grace_period: 1m30s\n",
    ] {
        assert!(printed.contains(line), "{line} in {printed}");
    }
    fs::write(host.dir().join("shop/printed.yaml"), &printed).unwrap();
    let again = compose(&host, &["--file", "printed.yaml", "config"])
        .succeeds()
        .stdout;
    assert_eq!(again, printed);
    let json = compose(&host, &["config", "--format", "json"]).succeeds().stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["services"]["web"]["command"][2], "8080");
    assert_eq!(
        compose(&host, &["config", "--services"]).succeeds().stdout,
        "web\n"
    );
    let with_profile = compose(&host, &["--profile", "debug", "config", "--services"]);
    assert_eq!(with_profile.succeeds().stdout, "debug\nweb\n");
    assert_eq!(compose(&host, &["config", "--quiet"]).succeeds().stdout, "");
}

#[test]
fn config_takes_files_names_and_variables_from_options_and_the_environment() {
    let host = Host::new();
    project(&host, TEXT);
    fs::write(
        host.dir().join("shop/over.yaml"),
        "services: { web: { user: \"7\" } }",
    )
    .unwrap();
    let command = host.runtime().cwd(&host.dir().join("shop/web")).env("PORT", "99");
    let command = command
        .env("COMPOSE_FILE", "../compose.yaml:../over.yaml")
        .env("COMPOSE_PROJECT_NAME", "mine");
    let printed = command.args(["compose", "config"]).output().succeeds().stdout;
    for line in ["name: mine\n", "- \"99\"\n", "user: \"7\"\n"] {
        assert!(printed.contains(line), "{line} in {printed}");
    }
    let found = host
        .runtime()
        .cwd(&host.dir().join("shop/web"))
        .args(["compose", "-p", "up", "config"]);
    assert!(found.output().succeeds().stdout.starts_with("name: up\n"));
}

#[test]
fn config_needs_no_privileges() {
    let host = Host::new();
    project(&host, TEXT);
    let shop = host.dir().join("shop");
    let binary = shop.join("minirun");
    fs::copy(host.binary(), &binary).unwrap();
    // Its own setpriv has no way to another user.
    let other =
        "/usr/bin/setpriv --reuid 65534 --regid 65534 --clear-groups ./minirun compose config --quiet";
    let script = format!("chmod 755 {0} {0}/.. && cd {0} && {other}", shop.display());
    host.sh(&script);
}

#[test]
fn a_mistake_is_told_on_standard_error_with_its_place_and_nothing_is_printed() {
    let host = Host::new();
    for (text, words) in [
        (
            "services:\n  web:\n    x-bundle: web\n    prots: [80]\n",
            "shop/compose.yaml:4:5: services.web.prots: unknown key; did you mean",
        ),
        (
            "services:\n  web:\n    x-bundle: nowhere\n",
            "shop/compose.yaml:3:15: services.web.x-bundle: ",
        ),
        (
            "services:\n  web:\n    image: nginx\n",
            "shop/compose.yaml:3:5: services.web.image: minirun runs bundles, not images",
        ),
        (
            "include: [other.yaml]\n",
            "shop/compose.yaml:1:1: include is not supported: give several files with --file",
        ),
        (
            "services:\n  a: { x-bundle: web, depends_on: [b] }\n  b: { x-bundle: web, depends_on: [a] }\n",
            "shop/compose.yaml:2:36: services.a.depends_on.b: services wait for each other: a -> b -> a",
        ),
    ] {
        project(&host, text);
        let output = compose(&host, &["config"]).exits(1).fails_with(&[words]);
        assert_eq!(output.stdout, "", "{text}");
    }
    fs::remove_file(host.dir().join("shop/compose.yaml")).unwrap();
    compose(&host, &["config"])
        .exits(1)
        .fails_with(&["no Compose file in", "shop or above it"]);
}

#[test]
fn a_variable_that_is_not_set_is_a_warning() {
    let host = Host::new();
    project(
        &host,
        "services: { web: { x-bundle: web, command: [run, \"$NOBODY_SETS_THIS\"] } }",
    );
    let output = compose(&host, &["config"]).succeeds();
    let words = "compose.yaml:1:50: services.web.command[1]: the variable NOBODY_SETS_THIS is not set, so it is empty";
    assert!(output.stderr.contains(words), "{output}");
}
