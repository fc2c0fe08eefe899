//! Holds docs/conformance.md to the tests that it names: a row is held by tests that exist, or says why it is not.

// Helpers are not in `cfg(test)`, where the lint allows this by itself.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Less means that somebody deleted requirements rather than held them.
const ROWS_AT_LEAST: usize = 130;

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The two cells of each row of the page's tables, without headings.
fn rows(page: &str) -> Vec<(&str, &str)> {
    page.lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "))
        .filter(|(asked, _)| *asked != "asked")
        .collect()
}

/// What stands in backquotes.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The names of all Rust tests below a directory: functions right below `#[test]` and its neighbours.
fn rust_tests(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_tests(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = read(&path);
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                match line.strip_prefix("fn ") {
                    Some(rest) if is_test => found.extend(rest.split('(').next().map(str::to_owned)),
                    None if line.starts_with('#') || line.starts_with("//") => {
                        is_test |= line == "#[test]";
                        continue;
                    }
                    _ => {}
                }
                is_test = false;
            }
        }
    }
}

/// The names that an engine's script gives its checks.
fn checks(engine: &str) -> Option<BTreeSet<String>> {
    let path = repository().join(format!("integration-tests/engines/{engine}.sh"));
    let text = fs::read_to_string(path).ok()?;
    let names = text.lines().filter_map(|line| {
        let mut parts = line.split('"');
        let call = parts.next()?.trim();
        // A name with an expansion is told by no table.
        let name = parts.next().filter(|name| !name.contains('$'))?;
        call.ends_with("check").then(|| name.to_owned())
    });
    Some(names.collect())
}

#[test]
fn every_requirement_is_held_by_a_test_that_exists_or_says_why_not() {
    let page = read(&repository().join("docs/conformance.md"));
    let mut tests = BTreeSet::new();
    rust_tests(&repository().join("src"), &mut tests);
    rust_tests(&repository().join("integration-tests"), &mut tests);
    let rows = rows(&page);
    assert!(rows.len() >= ROWS_AT_LEAST, "{} rows are left", rows.len());

    let mut wrong = Vec::new();
    for (asked, held) in rows {
        for name in names(held) {
            let exists = match name.split_once(": ") {
                Some((engine, check)) => checks(engine).is_some_and(|checks| checks.contains(check)),
                None => tests.contains(name),
            };
            if !exists {
                wrong.push(format!("{asked}: there is no test {name}"));
            }
        }
        match held.strip_prefix("**Not** ") {
            Some(reason) if reason.split_whitespace().count() < 3 => {
                wrong.push(format!("{asked}: not held, and no reason"))
            }
            None if names(held).next().is_none() => wrong.push(format!("{asked}: no test and no reason")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "docs/conformance.md:\n{}", wrong.join("\n"));
}

#[test]
fn every_check_of_the_quick_selection_exists() {
    let list = read(&repository().join("integration-tests/engines/quick.txt"));
    for line in list.lines() {
        let known = line
            .split_once(": ")
            .and_then(|(engine, check)| Some(checks(engine)?.contains(check)));
        assert_eq!(
            known,
            Some(true),
            "integration-tests/engines/quick.txt: no engine's script has {line:?}"
        );
    }
}

#[test]
fn a_requirement_stands_once() {
    let page = read(&repository().join("docs/conformance.md"));
    let mut seen = BTreeSet::new();
    for (asked, _) in rows(&page) {
        assert!(
            seen.insert(asked),
            "docs/conformance.md has two rows for: {asked}"
        );
    }
}

#[test]
fn tests_are_found_by_their_attribute_and_not_by_their_shape() {
    let mut tests = BTreeSet::new();
    rust_tests(&repository().join("integration-tests"), &mut tests);
    assert!(tests.contains("tests_are_found_by_their_attribute_and_not_by_their_shape"));
    assert!(
        !tests.contains("rust_tests"),
        "a function that is no test was found"
    );
}
