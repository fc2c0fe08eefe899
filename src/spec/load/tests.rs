use std::path::PathBuf;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::spec::default::DEFAULT;

/// A directory of the test's own, removed when it goes out of scope.
struct Bundle(PathBuf);

impl Bundle {
    fn new(name: &str) -> Bundle {
        let path = std::env::temp_dir().join(format!("minirun-load-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Bundle(path)
    }

    fn config(&self) -> PathBuf {
        self.0.join(CONFIG)
    }

    fn error(&self) -> String {
        let error = load(&self.0).unwrap_err().to_string();
        error.replace(&self.0.display().to_string(), "BUNDLE")
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn config_error(text: &str) -> String {
    parse(Path::new(CONFIG), text.as_bytes().to_vec())
        .unwrap_err()
        .to_string()
}

#[test]
fn a_regular_file_is_loaded_with_its_bytes() {
    let bundle = Bundle::new("regular");
    std::fs::write(bundle.config(), DEFAULT).unwrap();
    let loaded = load(&bundle.0).unwrap();
    assert_eq!(loaded.raw, DEFAULT.as_bytes());
    assert_eq!(loaded.spec.version(), "1.3.0");
    assert!(loaded.warnings.is_empty());
}

#[test]
fn a_missing_file_has_runcs_words_and_not_those_of_a_missing_program() {
    let bundle = Bundle::new("missing");
    assert_eq!(
        bundle.error(),
        "JSON specification file BUNDLE/config.json not found"
    );
    assert_eq!(load(&bundle.0).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_fifo_is_refused_without_waiting_for_a_writer() {
    let bundle = Bundle::new("fifo");
    mkfifo(&bundle.config(), Mode::S_IRWXU).unwrap();
    assert_eq!(bundle.error(), "BUNDLE/config.json: not a regular file");
}

#[test]
fn a_directory_is_refused() {
    let bundle = Bundle::new("directory");
    std::fs::create_dir(bundle.config()).unwrap();
    assert_eq!(bundle.error(), "BUNDLE/config.json: not a regular file");
}

#[test]
fn a_file_over_the_cap_is_refused_without_reading_it_all() {
    let bundle = Bundle::new("large");
    let file = File::create(bundle.config()).unwrap();
    file.set_len(1 << 40).unwrap();
    assert_eq!(bundle.error(), "BUNDLE/config.json: larger than 16 MiB");
}

#[test]
fn unreadable_json_is_refused_with_file_line_and_column() {
    for (text, expected) in [
        ("", "config.json:1:1: the file is empty, expected a JSON object"),
        (
            "{\n\"ociVersion\": \"1.3.0\",\n\"process\": {",
            "config.json:3:12: the file ends inside an object, expected `,` or `}`",
        ),
        (
            "{\"ociVersion\": \"1.3.0\"} x",
            "config.json:1:25: expected the end of the file after the document's last brace",
        ),
        (
            "{\"process\": {\"cwd\": \"/\", \"cwd\": \"/\"}}",
            "config.json:1:30: process.cwd: is given twice",
        ),
        ("[]", "config.json:1:2: expected an object, found a list"),
    ] {
        assert_eq!(config_error(text), expected, "{text}");
    }
    let bad = b"{\"ociVersion\": \"1.\xff\"}".to_vec();
    assert_eq!(
        parse(Path::new(CONFIG), bad).unwrap_err().to_string(),
        "config.json:1:19: byte 0xff is not valid UTF-8"
    );
}

#[test]
fn a_value_of_the_wrong_type_is_refused_with_its_path() {
    for (config, expected) in [
        (
            json!({"process": {"cwd": "/", "user": {"uid": "root"}}}),
            "process.user.uid: expected a number, found the string \"root\"",
        ),
        (
            json!({"process": {"cwd": "/", "user": {"uid": 1u64 << 32}}}),
            "process.user.uid: must be between 0 and 4294967295, found 4294967296",
        ),
        (
            json!({"linux": {"resources": {"memory": {"limit": "64M"}}}}),
            "linux.resources.memory.limit: expected a number, found the string \"64M\"",
        ),
        (
            json!({"process": {"cwd": "/", "args": ["sh", "a\0b"]}}),
            "process.args[1]: must not contain a NUL byte",
        ),
        (
            json!({"process": {"cwd": "/", "env": ["A=\0"]}}),
            "process.env[0]: must not contain a NUL byte",
        ),
        (
            json!({"linux": {"namespaces": [{"type": "pid"}, {"type": "net"}]}}),
            "linux.namespaces[1].type: expected \"pid\", \"network\", \"mount\", \"ipc\", \"uts\", \"user\", \
             \"cgroup\" or \"time\", found \"net\"",
        ),
        (
            json!({"process": {"cwd": "/", "rlimits": [{"type": "RLIMIT_FOO"}]}}),
            "process.rlimits[0].type: expected \"RLIMIT_AS\", ",
        ),
        (json!({"process": {}}), "process.cwd: is required"),
        (json!({"mounts": [{}]}), "mounts[0].destination: is required"),
        (
            json!({"linux": {"seccomp": {"syscalls": []}}}),
            "linux.seccomp.defaultAction: is required",
        ),
        (
            json!({"annotations": {"com.example": 1}}),
            "annotations[\"com.example\"]: expected a string, found the number 1",
        ),
        (
            json!({"linux": {"devices": [{"type": "p"}, {"type": "c", "minor": 3}]}}),
            "linux.devices[1].major: is required",
        ),
        (
            json!({"linux": {"devices": [{"type": "x"}]}}),
            "linux.devices[0].type: expected \"c\", \"b\", \"u\" or \"p\", found \"x\"",
        ),
    ] {
        let error = config_error(&config.to_string());
        let (_, found) = error.split_once(' ').unwrap();
        assert!(found.starts_with(expected), "{error}");
    }
}

#[test]
fn unknown_capabilities_are_a_warning() {
    let text = json!({"process": {"cwd": "/", "capabilities": {
        "bounding": ["CAP_KILL", "CAP_FLY"], "effective": ["CAP_FLY", "CAP_DIG"]}}});
    let loaded = parse(Path::new(CONFIG), text.to_string().into_bytes()).unwrap();
    assert_eq!(
        loaded.warnings,
        ["ignoring unknown or unavailable capabilities: CAP_DIG, CAP_FLY"]
    );
    let capabilities = loaded
        .spec
        .process()
        .as_ref()
        .unwrap()
        .capabilities()
        .clone()
        .unwrap();
    assert_eq!(capabilities.bounding().as_ref().unwrap().len(), 1);
    assert_eq!(capabilities.effective().as_ref().unwrap().len(), 0);
}

#[test]
fn unknown_properties_and_other_platforms_are_ignored() {
    let text = json!({"ociVersion": "1.9.0", "later": 1, "vm": 7, "windows": [], "solaris": "x", "zos": {},
        "linux": {"later": {"x": null}, "resources": {"later": 1}}});
    let loaded = parse(Path::new(CONFIG), text.to_string().into_bytes()).unwrap();
    assert_eq!(loaded.spec.version(), "1.9.0");
    assert!(loaded.spec.linux().as_ref().unwrap().resources().is_some());
}

#[test]
fn a_process_without_user_is_root() {
    let (process, _) = parse_process(Path::new("p"), br#"{"cwd": "/", "args": ["true"]}"#).unwrap();
    assert_eq!((process.user().uid(), process.user().gid()), (0, 0));
}

#[test]
fn errors_in_a_process_document_have_the_paths_of_config_json() {
    let error = parse_process(Path::new("p.json"), br#"{"cwd": 1}"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "p.json:1:9: process.cwd: expected a string, found the number 1"
    );
}

/// A document with every property that the shapes know must come out of oci-spec's types as it went in: no property is
/// lost on the way, and every word of every list of words is one that oci-spec takes.
#[test]
fn every_property_of_the_specification_reaches_the_types() {
    let full = include_str!("full.json");
    let expected: Value = serde_json::from_str(full).unwrap();
    let loaded = parse(Path::new(CONFIG), full.as_bytes().to_vec()).unwrap();
    let found = serde_json::to_value(&loaded.spec).unwrap();
    assert_same(&expected, &found, "");
    fn assert_same(expected: &Value, found: &Value, path: &str) {
        match (expected, found) {
            (Value::Object(expected), Value::Object(found)) => {
                for key in expected.keys().chain(found.keys()) {
                    let (expected, found) = (expected.get(key), found.get(key));
                    let path = format!("{path}.{key}");
                    assert!(
                        expected.is_some() && found.is_some(),
                        "{path}: {expected:?} {found:?}"
                    );
                    assert_same(expected.unwrap(), found.unwrap(), &path);
                }
            }
            (Value::Array(expected), Value::Array(found)) => {
                assert_eq!(expected.len(), found.len(), "{path}");
                for (index, pair) in expected.iter().zip(found).enumerate() {
                    assert_same(pair.0, pair.1, &format!("{path}[{index}]"));
                }
            }
            _ => assert_eq!(expected, found, "{path}"),
        }
    }
}

#[test]
fn every_word_of_the_shapes_is_known_to_the_types() {
    use crate::spec::shape::{Field, Shape};
    /// Minimal documents, one for each word of each list of words below `shape`.
    fn documents(shape: &Shape) -> Vec<Value> {
        match shape {
            Shape::OneOf(words) => words.iter().map(|word| json!(word)).collect(),
            Shape::List(element) => documents(element)
                .into_iter()
                .map(|value| json!([value]))
                .collect(),
            Shape::Map(element) => documents(element)
                .into_iter()
                .map(|value| json!({"k": value}))
                .collect(),
            Shape::Object(fields) => fields.iter().flat_map(|field| with(fields, field)).collect(),
            _ => Vec::new(),
        }
    }
    /// The objects in which `chosen` takes each of its words and the other required fields any value.
    fn with(fields: &[Field], chosen: &Field) -> Vec<Value> {
        let mut rest = serde_json::Map::new();
        for field in fields.iter().filter(|field| field.required) {
            rest.insert(field.name.into(), any(&field.shape));
        }
        let object = |value| {
            let mut object = rest.clone();
            object.insert(chosen.name.into(), value);
            Value::Object(object)
        };
        documents(&chosen.shape).into_iter().map(object).collect()
    }
    fn any(shape: &Shape) -> Value {
        match shape {
            Shape::OneOf(words) => json!(words[0]),
            Shape::List(_) => json!([]),
            Shape::Integer { .. } => json!(0),
            _ => json!("x"),
        }
    }
    let documents = documents(&shape::CONFIG);
    assert!(documents.len() > 80);
    for document in documents {
        let loaded = parse(Path::new(CONFIG), document.to_string().into_bytes());
        assert!(loaded.is_ok(), "{document}: {loaded:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_load_panic(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(Path::new(CONFIG), raw);
    }

    /// One cut, one changed byte and one inserted fragment: most of these stay close enough to JSON to get past the
    /// first bracket.
    #[test]
    fn no_mutation_of_a_configuration_makes_load_or_validate_panic(
        at in 0..DEFAULT.len(),
        byte in any::<u8>(),
        cut in 0..DEFAULT.len(),
        length in 0..100usize,
        fragment in prop_oneof![
            Just("null"), Just("{}"), Just("[]"), Just("-1"), Just("1e400"), Just("\"\\u0000\""), Just("\"\\ud800\""),
            Just("18446744073709551616"), Just("\"a\": 1,"), Just("[[[["), Just(",")
        ],
    ) {
        let mut raw = DEFAULT.as_bytes().to_vec();
        raw[at] = byte;
        let end = (cut + length).min(raw.len());
        raw.splice(cut..end, fragment.bytes());
        if let Ok(loaded) = parse(Path::new(CONFIG), raw) {
            let _ = crate::spec::validate::validate(&loaded.spec);
        }
    }

    /// A value anywhere in the document replaced by one of another type: an error with that value's path, or accepted.
    #[test]
    fn no_replaced_value_makes_load_or_validate_panic(
        index in any::<proptest::sample::Index>(),
        value in prop_oneof![
            Just(json!(null)), Just(json!(-7)), Just(json!(u64::MAX)), Just(json!(i64::MIN)), Just(json!(1.5)),
            Just(json!("")), Just(json!("../..")), Just(json!([])), Just(json!({})), Just(json!([[]])), Just(json!(true))
        ],
    ) {
        let mut config: Value = serde_json::from_str(include_str!("full.json")).unwrap();
        let mut pointers = Vec::new();
        collect(&config, String::new(), &mut pointers);
        let pointer = index.get(&pointers);
        *config.pointer_mut(pointer).unwrap() = value;
        if let Ok(loaded) = parse(Path::new(CONFIG), config.to_string().into_bytes()) {
            let _ = crate::spec::validate::validate(&loaded.spec);
        }
    }
}

fn collect(value: &Value, pointer: String, pointers: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value))
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(index, value)| (index.to_string(), value))
            .collect(),
        _ => Vec::new(),
    };
    for (key, child) in children {
        collect(child, format!("{pointer}/{key}"), pointers);
    }
    pointers.push(pointer);
}
