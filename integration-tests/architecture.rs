//! Holds the code to its map: the rooms and arrows of src/lib.rs, and docs/ to the files that they name.

// Helpers are not in `cfg(test)`, where the lint allows this by itself.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Names = BTreeSet<String>;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = repository().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below a directory of the repository that have this extension, relative to the repository.
fn files(directory: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![repository().join(directory)];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path.strip_prefix(repository()).unwrap().to_owned());
            }
        }
    }
    assert!(!found.is_empty(), "no .{extension} files in {directory}");
    found
}

/// The rooms that exist: the directories of src/, and its files but for the crate's two roots.
fn rooms() -> Names {
    fs::read_dir(repository().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name != "lib" && name != "main")
        .collect()
}

/// The room that a source file belongs to; none for the crate's two roots.
fn room(file: &Path) -> Option<String> {
    let first = file.components().nth(1)?.as_os_str().to_str()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (name != "lib" && name != "main").then(|| name.to_owned())
}

/// The lines `room -> other, other` of src/lib.rs, in their order.
fn arrows() -> Vec<(String, Names)> {
    let arrows: Vec<_> = read("src/lib.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//!")?.split_once("->"))
        .map(|(from, to)| {
            let to = to.split(',').map(str::trim).filter(|name| !name.is_empty());
            (from.trim().to_owned(), to.map(str::to_owned).collect())
        })
        .collect();
    assert!(!arrows.is_empty(), "src/lib.rs has no arrows");
    arrows
}

/// A source file without its comments. A `//` in a string cuts that line, which hides no import.
fn code(file: &Path) -> String {
    let text = read(file);
    let code = text.lines().map(|line| line.split("//").next().unwrap_or(""));
    code.collect::<Vec<_>>().join("\n")
}

/// The first names after each `crate::`, also of a group `crate::{a, b::{c, d}}`.
fn crate_names(code: &str) -> Names {
    let mut names = Names::new();
    for (start, prefix) in code.match_indices("crate::") {
        let rest = &code[start + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(group_names(group)),
            None => names.extend(first_name(rest)),
        }
    }
    names
}

fn first_name(text: &str) -> Option<String> {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    let end = text.find(|letter| !is_part(letter)).unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

/// The first name of each path in a group that was opened just before `text`.
fn group_names(text: &str) -> Names {
    let (mut depth, mut names, mut begins) = (0, Names::new(), true);
    for (index, letter) in text.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => return names,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            _ if letter.is_whitespace() => {}
            _ if begins => {
                names.extend(first_name(&text[index..]));
                begins = false;
            }
            _ => {}
        }
    }
    panic!("an import group does not end: {text}");
}

/// Which rooms each room imports, and one file as the witness of each import.
fn imports() -> BTreeMap<(String, String), PathBuf> {
    let rooms = rooms();
    let mut imports = BTreeMap::new();
    for file in files("src", "rs") {
        let Some(from) = room(&file) else { continue };
        if file == Path::new("src/cli/features.rs") {
            continue;
        }
        for to in crate_names(&code(&file)) {
            if to != from && rooms.contains(&to) {
                imports.insert((from.clone(), to), file.clone());
            }
        }
    }
    imports
}

#[test]
fn imports_are_found_in_paths_and_groups() {
    let code = "use crate::error::{Error, Result};\nuse crate::{\n    log,\n    net::{a, b},\n};\nlet x = crate::sys::y();";
    let expected = ["error", "log", "net", "sys"];
    assert_eq!(crate_names(code), expected.map(str::to_owned).into());
}

#[test]
fn the_code_keeps_to_the_arrows_of_lib_rs() {
    let allowed: BTreeMap<String, Names> = arrows().into_iter().collect();
    for ((from, to), file) in imports() {
        assert!(
            allowed.get(&from).is_some_and(|rooms| rooms.contains(&to)),
            "{} imports crate::{to}, and src/lib.rs has no arrow {from} -> {to}",
            file.display()
        );
    }
}

#[test]
fn every_arrow_points_down_the_list_so_there_is_no_circle() {
    let arrows = arrows();
    for (index, (from, to)) in arrows.iter().enumerate() {
        let below: Names = arrows[index + 1..].iter().map(|(room, _)| room.clone()).collect();
        let up: Vec<_> = to.difference(&below).collect();
        assert!(up.is_empty(), "{from} -> {up:?} does not point down");
    }
}

#[test]
fn lib_rs_names_every_room_and_no_other() {
    let table: Names = read("src/lib.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! | [`"))
        .flat_map(|row| {
            let cell = row.split('|').next().unwrap_or("");
            let names = cell
                .split(',')
                .map(|name| name.trim_matches([' ', '[', ']', '`']));
            names.map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(table, rooms(), "the table of src/lib.rs and src/ disagree");
    let listed: Names = arrows().into_iter().map(|(room, _)| room).collect();
    assert_eq!(listed, rooms(), "the arrows of src/lib.rs and src/ disagree");
}

/// `deny(unsafe_code)` holds for the crate; this finds the attribute that would lift it elsewhere.
#[test]
fn unsafe_code_is_allowed_in_sys_alone() {
    let allowing: Vec<_> = files("src", "rs")
        .into_iter()
        .filter(|file| code(file).contains("unsafe_code"))
        .collect();
    assert_eq!(allowing, [Path::new("src/sys/mod.rs")]);
}

#[test]
fn the_specification_stays_free_of_side_effects() {
    for file in files("src/spec", "rs") {
        if file.ends_with("tests.rs") {
            continue;
        }
        let code = code(&file);
        for forbidden in [
            "std::process",
            "std::net",
            "nix::unistd",
            "fs::write",
            "create_dir",
            "remove_",
        ] {
            assert!(!code.contains(forbidden), "{} has {forbidden}", file.display());
        }
    }
}

#[test]
fn the_network_knows_nothing_of_oci() {
    for file in files("src/net", "rs") {
        assert!(!code(&file).contains("oci_spec"), "{}", file.display());
    }
}

/// Words in backquotes that look like a path of this repository.
fn paths_in(text: &str) -> Vec<&str> {
    let beginnings = [
        "src/",
        "docs/",
        "integration-tests/",
        "bundles/",
        "rootfs-examples/",
        ".ci/",
    ];
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(|word| word.trim_end_matches('/'))
        .filter(|word| beginnings.iter().any(|start| word.starts_with(start)))
        .filter(|word| !word.contains(['*', '<', ' ', '{']))
        .collect()
}

/// Targets of `[text](path)`, without those elsewhere and without anchors.
fn links_in(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter_map(|target| target.split('#').next())
        .filter(|target| !target.is_empty() && !target.contains("://"))
}

fn pages() -> Vec<PathBuf> {
    let mut pages = files("docs", "md");
    pages.extend(["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(PathBuf::from));
    pages
}

#[test]
fn every_file_that_the_documentation_names_exists() {
    for page in pages() {
        let text = read(&page);
        for path in paths_in(&text) {
            assert!(
                repository().join(path).exists(),
                "{}: {path} does not exist",
                page.display()
            );
        }
        let directory = repository().join(page.parent().unwrap());
        for target in links_in(&text) {
            assert!(
                directory.join(target).exists(),
                "{}: link to {target}",
                page.display()
            );
        }
    }
}

#[test]
fn the_architecture_page_names_every_room() {
    let page = read("docs/architecture.md");
    for room in rooms() {
        let named = [format!("`src/{room}/`"), format!("`src/{room}.rs`")];
        assert!(
            named.iter().any(|name| page.contains(name)),
            "docs/architecture.md does not name {}",
            named[0]
        );
    }
}

/// Claims name their tests in backquotes: `three_or_more_underscores_in_lower_case`.
fn tests_in(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(move |word| word.matches('_').count() >= 3 && word.chars().all(is_part))
}

#[test]
fn every_test_that_the_documentation_names_exists() {
    let directories = ["src", "integration-tests"];
    let sources: String = directories
        .into_iter()
        .flat_map(|directory| files(directory, "rs"))
        .map(read)
        .collect();
    let mut pages = files("docs", "md");
    pages.extend(["README.md", "SECURITY.md"].map(PathBuf::from));
    for page in pages {
        for name in tests_in(&read(&page)) {
            let definition = format!("fn {name}(");
            assert!(
                sources.contains(&definition),
                "{}: no test {name}",
                page.display()
            );
        }
    }
    assert!(
        tests_in(&read("SECURITY.md")).count() > 0,
        "SECURITY.md names no test"
    );
}
