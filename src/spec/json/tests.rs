use super::*;

const SHAPE: Shape = Shape::Object(&[
    Field {
        name: "name",
        shape: Shape::Text,
        required: true,
        unless: None,
    },
    Field {
        name: "size",
        shape: Shape::Integer { min: -1, max: 10 },
        required: false,
        unless: None,
    },
    Field {
        name: "tags",
        shape: Shape::Map(&Shape::FreeText),
        required: false,
        unless: None,
    },
    Field {
        name: "list",
        shape: Shape::List(&Shape::Bool),
        required: false,
        unless: None,
    },
    Field {
        name: "kind",
        shape: Shape::OneOf(&["a", "b"]),
        required: false,
        unless: None,
    },
    Field {
        name: "caps",
        shape: Shape::Capabilities,
        required: false,
        unless: None,
    },
]);

fn parse_ok(text: &str) -> Value {
    parse("f", "", &SHAPE, text.as_bytes()).unwrap().value
}

fn error(raw: &[u8]) -> String {
    parse("f", "", &SHAPE, raw).unwrap_err().to_string()
}

#[test]
fn known_properties_are_kept_and_unknown_ones_skipped() {
    let value =
        parse_ok(r#"{"name": "n", "later": {"x": [1.5, null]}, "size": -1, "tags": {"a/b": "\u0000"}}"#);
    assert_eq!(
        value,
        serde_json::json!({"name": "n", "size": -1, "tags": {"a/b": "\0"}})
    );
}

#[test]
fn null_means_absent_for_a_property_and_is_wrong_in_a_list() {
    assert_eq!(
        parse_ok(r#"{"name": "n", "size": null, "list": null}"#),
        serde_json::json!({"name": "n"})
    );
    assert_eq!(error(br#"{"name": null}"#), "f:1:14: name: is required");
    assert_eq!(
        error(br#"{"name": "n", "list": [true, null]}"#),
        "f:1:33: list[1]: expected true or false, found null"
    );
}

#[test]
fn a_wrong_type_is_told_with_line_column_and_path() {
    for (text, expected) in [
        ("[]", "f:1:2: expected an object, found a list"),
        ("7", "f:1:1: expected an object, found the number 7"),
        (
            "{\n  \"name\": 7\n}",
            "f:2:11: name: expected a string, found the number 7",
        ),
        (
            r#"{"size": "64M"}"#,
            "f:1:14: size: expected a number, found the string \"64M\"",
        ),
        (
            r#"{"size": 1.5}"#,
            "f:1:12: size: expected a whole number, found 1.5",
        ),
        (
            r#"{"size": 11}"#,
            "f:1:11: size: must be between -1 and 10, found 11",
        ),
        (
            r#"{"size": -2}"#,
            "f:1:11: size: must be between -1 and 10, found -2",
        ),
        (r#"{"size": true}"#, "f:1:13: size: expected a number, found true"),
        (
            r#"{"kind": "c"}"#,
            "f:1:12: kind: expected \"a\" or \"b\", found \"c\"",
        ),
        (
            r#"{"kind": {}}"#,
            "f:1:11: kind: expected \"a\" or \"b\", found an object",
        ),
        (
            r#"{"tags": {"a.b": 1}}"#,
            "f:1:18: tags[\"a.b\"]: expected a string, found the number 1",
        ),
        (
            r#"{"name": "a\u0000b"}"#,
            "f:1:19: name: must not contain a NUL byte",
        ),
        (
            r#"{"caps": ["CAP_KILL", 1]}"#,
            "f:1:23: caps[1]: expected a string, found the number 1",
        ),
    ] {
        assert_eq!(error(text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn a_key_given_twice_is_refused_at_any_depth() {
    for (text, expected) in [
        (r#"{"name": "n", "name": "n"}"#, "f:1:20: name: is given twice"),
        (
            r#"{"later": {"x": [{"y": 1, "y": 1}]}}"#,
            "f:1:29: later.x[0].y: is given twice",
        ),
        (r#"{"size": null, "size": 1}"#, "f:1:21: size: is given twice"),
        (r#"{"later": 1, "later": 1}"#, "f:1:20: later: is given twice"),
    ] {
        assert_eq!(error(text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn broken_json_is_told_with_position_and_what_was_expected() {
    for (raw, expected) in [
        (&b""[..], "f:1:1: the file is empty, expected a JSON object"),
        (b" \n\n", "f:1:1: the file is empty, expected a JSON object"),
        (
            b"{\n\"name\"",
            "f:2:6: the file ends inside an object, expected `,` or `}`",
        ),
        (
            b"{\"list\": [true",
            "f:1:14: the file ends inside a list, expected `,` or `]`",
        ),
        (
            b"{\"name\": \"n",
            "f:1:11: the file ends inside a string, expected `\"`",
        ),
        (b"{\"name\":", "f:1:8: the file ends here, expected a value"),
        (b"{\"name\" 1}", "f:1:9: expected `:`"),
        (b"{\"name\": \"n\",}", "f:1:14: trailing comma"),
        (
            b"{\"name\": \"n\"}\n}",
            "f:2:1: expected the end of the file after the document's last brace",
        ),
        (b"{\n\"name\": \"\xff\"}", "f:2:10: byte 0xff is not valid UTF-8"),
    ] {
        assert_eq!(error(raw), expected, "{}", String::from_utf8_lossy(raw));
    }
}

#[test]
fn nesting_without_end_is_refused() {
    let deep = "[".repeat(100_000);
    assert_eq!(
        error(format!("{{\"later\": {deep}").as_bytes()),
        "f:1:137: recursion limit exceeded"
    );
}

#[test]
fn unknown_capabilities_are_left_out_and_named_once() {
    let text = br#"{"name": "n", "caps": ["CAP_KILL", "CAP_FLY", "CAP_FLY", "CAP_CHOWN", "cap_kill"]}"#;
    let document = parse("f", "", &SHAPE, text).unwrap();
    assert_eq!(
        document.value["caps"],
        serde_json::json!(["CAP_KILL", "CAP_CHOWN", "cap_kill"])
    );
    assert_eq!(
        document.unknown_capabilities,
        BTreeSet::from(["CAP_FLY".to_owned()])
    );
}

#[test]
fn a_long_found_string_is_cut() {
    let text = format!(r#"{{"size": "{}"}}"#, "é".repeat(5000));
    assert!(error(text.as_bytes()).len() < 300);
}
