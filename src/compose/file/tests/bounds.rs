//! Files that were made to hurt, and any text at all.

use std::rc::Rc;

use proptest::prelude::*;

use super::{Directory, error, of_web};
use crate::compose::file::node::Source;
use crate::compose::file::yaml;
use crate::compose::normal;

fn tree(text: &[u8]) -> Result<super::super::node::Node, String> {
    let source = Rc::new(Source {
        path: "f".into(),
        base: "/".into(),
    });
    yaml::parse(&source, text).map_err(|error| error.to_string())
}

#[test]
fn aliases_that_multiply_are_stopped_by_the_number_of_values() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    let error = tree(text.as_bytes()).unwrap_err();
    assert!(
        error.contains("more than 50000 values here, aliases followed"),
        "{error}"
    );
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), "*a, ".repeat(1_000));
    assert!(tree(long.as_bytes()).unwrap_err().contains("more than"));
}

#[test]
fn nesting_is_stopped_before_the_stack_ends() {
    for text in [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(50_000),
        "? ".repeat(50_000),
    ] {
        let error = tree(text.as_bytes()).unwrap_err();
        assert!(error.starts_with("f:1:"), "{error}");
    }
    let mut text = "a0: &a0 [x]\n".to_owned();
    for level in 1..100 {
        text.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    let error = tree(text.as_bytes()).unwrap_err();
    assert!(
        error.contains("nested more than 64 deep, aliases followed"),
        "{error}"
    );
}

#[test]
fn services_that_extend_a_large_one_are_stopped_by_the_number_of_values() {
    let large = (0..2_000).map(|n| format!("V{n}: 1, ")).collect::<String>();
    let many: String = (0..100)
        .map(|n| format!("  s{n}: {{ extends: base }}\n"))
        .collect();
    let error = error(&format!(
        "services:\n  base: {{ x-bundle: web, environment: {{ {large} }} }}\n{many}"
    ));
    assert!(
        error.contains("more than 50000 values with what they extend"),
        "{error}"
    );
    let chain: String = (0..40)
        .map(|n| format!("  s{n}: {{ extends: s{} }}\n", n + 1))
        .collect();
    let error = super::error(&format!("services:\n{chain}  s40: {{ x-bundle: web }}\n"));
    assert!(
        error.contains("more than 32 services extend each other in a row"),
        "{error}"
    );
}

#[test]
fn a_file_that_is_too_long_or_no_text_is_refused() {
    assert!(
        tree(&vec![b'#'; (4 << 20) + 1])
            .unwrap_err()
            .contains("more than 4194304 bytes")
    );
    assert_eq!(tree(b"a: b\nc: \xff").unwrap_err(), "f:2:4: this is not UTF-8");
    let directory = Directory::new().with(|options| options.files = vec!["web".into()]);
    assert!(directory.error().contains("web: is a directory, expected a file"));
}

/// Texts that look like parts of Compose files.
fn fragment() -> impl Strategy<Value = String> {
    let words = [
        "services:",
        "web:",
        "x-bundle:",
        "web",
        "\n",
        "\n  ",
        "\n    ",
        "\n      ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        ": ",
        "&a ",
        "*a",
        "<<: ",
        "!reset ",
        "!override ",
        "'",
        "\"",
        "|\n",
        ">-\n",
        "# ",
        "ports:",
        "80",
        "8080:80",
        "volumes:",
        "data:/x",
        "./x:/y:ro",
        "environment:",
        "A=1",
        "$A",
        "${A:-",
        "$$",
        "networks:",
        "depends_on:",
        "healthcheck:",
        "test:",
        "extends:",
        "deploy:",
        "replicas:",
        "configs:",
        "tmpfs:",
        "~",
        "null",
        "true",
        "0440",
        "10s",
        "128m",
        "\t",
        "ü",
        "\u{feff}",
        "?",
        "---",
        "...",
        "%YAML 1.2",
    ];
    proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..40)
        .prop_map(|words| words.concat())
}

/// Values of any kind for keys of a service.
fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        "([a-z0-9:/.=-]|\\$\\$){0,12}".prop_map(Into::into),
        "\\PC{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let keys = [
            "target",
            "source",
            "type",
            "condition",
            "path",
            "test",
            "aliases",
            "db",
            "data",
            "A",
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::vec((proptest::sample::select(keys.to_vec()), inner), 0..4).prop_map(
                |entries| {
                    entries
                        .into_iter()
                        .map(|(key, value)| (key.to_owned(), value))
                        .collect::<serde_json::Map<_, _>>()
                        .into()
                }
            ),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = tree(&bytes);
    }

    #[test]
    fn no_text_panics(text in fragment()) {
        let directory = Directory::new();
        directory.write("compose.yaml", &text);
        let _ = directory.load();
    }

    #[test]
    fn no_value_of_any_key_panics_and_what_is_accepted_is_printed_so_that_it_reads_back(
        index in 0..super::super::keys::SERVICE.len(), value in value()
    ) {
        let key = super::super::keys::SERVICE[index].name;
        let directory = Directory::new();
        directory.write("compose.yaml", &of_web(&format!("{key}: {value}")));
        if let Ok(project) = directory.load() {
            let printed = normal::yaml(&project);
            directory.write("compose.yaml", &printed);
            let again = directory.load();
            prop_assert_eq!(again.as_ref().ok(), Some(&project), "{}\n{:?}", printed, again);
        }
    }
}
