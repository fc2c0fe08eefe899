//! The reader against files in a directory of their own.

mod bounds;
mod layers;
mod places;
mod refused;
mod supported;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::keys::{SECTIONS, Support};
use super::{Options, load};
use crate::compose::model::{Project, Service};
use crate::error::Result;

/// What the services of the tests refer to.
const TOP: &str = "
networks: { front: { ipam: { config: [{ subnet: 10.5.0.0/24 }, { subnet: 'fd00:5::/64' }] } }, back: }
volumes: { data: }
configs: { conf: { content: hello } }
secrets: { key: { file: ./secret } }
";

/// A directory with the bundles `web` and `db`, and a file `secret`.
struct Directory {
    path: PathBuf,
    options: Options,
}

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("minirun-compose-{}-{count}", std::process::id()));
        let options = Options {
            working_directory: path.clone(),
            project_name: Some("shop".to_owned()),
            environment: BTreeMap::from([
                ("HOME".to_owned(), "/home/me".to_owned()),
                ("SET".to_owned(), "value".to_owned()),
                ("EMPTY".to_owned(), String::new()),
            ]),
            ..Options::default()
        };
        let directory = Self { path, options };
        for bundle in ["web", "db"] {
            directory.write(&format!("{bundle}/config.json"), "{}");
        }
        directory.write("secret", "hush");
        directory
    }

    fn write(&self, name: &str, text: &str) -> &Self {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self
    }

    fn load(&self) -> Result<Project> {
        load(&self.options)
    }

    /// The error's text, with the directory's name left out.
    #[track_caller]
    fn error(&self) -> String {
        let error = self.load().unwrap_err().to_string();
        error
            .replace(&format!("{}/", self.path.display()), "")
            .replace(&self.path.display().to_string(), ".")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The project of one file.
#[track_caller]
fn project(text: &str) -> Project {
    match Directory::new().write("compose.yaml", text).load() {
        Ok(project) => project,
        Err(error) => panic!("{error}\n{text}"),
    }
}

/// The service `web` with these lines.
#[track_caller]
fn web(body: &str) -> Service {
    let project = project(&of_web(body));
    project.services.get("web").unwrap().clone()
}

/// A file with the service `web`, of these lines of YAML, and `db`.
fn of_web(body: &str) -> String {
    let body: String = body.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "services:\n  web:\n    x-bundle: ./web\n{body}  db: {{ x-bundle: db, healthcheck: {{ test: [CMD, true] }} }}\n{TOP}"
    )
}

/// What is wrong with a file.
#[track_caller]
fn error(text: &str) -> String {
    Directory::new().write("compose.yaml", text).error()
}

fn relative(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn the_documentation_has_every_key_and_what_becomes_of_it() {
    let page = include_str!("../../../../docs/compose.md");
    let is_table = |section: &&str| !section.starts_with("What `up` does");
    let mut sections = page.split("\n## ").skip(1).filter(is_table);
    for (title, keys) in SECTIONS {
        let section = sections.next().unwrap();
        assert_eq!(section.lines().next().unwrap().trim_matches('`'), *title);
        let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(rows.len(), keys.len(), "{title}");
        for (row, key) in rows.iter().zip(*keys) {
            let (word, why) = match key.support {
                Support::Yes => ("yes", ""),
                Support::Ignored(why) => ("ignored", why),
                Support::OnlyFalse(why) => ("only `false`", why),
                Support::No(why) => ("no", why),
            };
            let begin = format!("| `{}` | {word} | {why}", key.name);
            assert!(row.starts_with(&begin), "{title}: {row}");
        }
    }
    assert_eq!(sections.next(), None);
}

#[test]
fn the_shops_own_file_reads_and_its_database_is_reached_by_the_order_service_alone() {
    let options = Options {
        files: vec!["bundles/shop/compose.yaml".into()],
        working_directory: env!("CARGO_MANIFEST_DIR").into(),
        ..Options::default()
    };
    let shop = load(&options).unwrap();
    let database = shop.networks["database"].policy.clone();
    let rules: Vec<String> = database
        .rules
        .iter()
        .map(|rule| {
            format!(
                "{} -> {}",
                String::from(rule.from.clone()),
                String::from(rule.to.clone())
            )
        })
        .collect();
    assert_eq!(
        (database.within, rules),
        (
            crate::net::Stance::Deny,
            vec!["order-service -> postgres-db".to_owned()]
        )
    );
    assert_eq!(shop.services["product-service"].replicas, 3);
}
