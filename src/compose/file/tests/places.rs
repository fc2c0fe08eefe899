//! Positions in files that are written in every way that YAML has.

use super::error;

#[test]
fn a_position_counts_characters_and_is_right_behind_comments_and_over_several_lines() {
    for (text, place) in [
        (
            "# ä\n\nservices:\n  web:\n    x-bundle: web\n    # ö\n    'usr': a\n",
            "7:5: services.web.usr",
        ),
        (
            "services:\n  web: {x-bundle: web, \"ü\": 1, usr: a}\n",
            "2:24: services.web.ü",
        ),
        (
            "services:\r\n  web:\r\n    x-bundle: web\r\n    dns: x\r\n",
            "4:10: services.web.dns[0]",
        ),
        (
            "services:\n  web:\n    x-bundle: web\n    command: >\n      a\n      'b\n",
            "5:7: services.web.command",
        ),
        (
            "services:\n  web:\n    x-bundle: web\n    ports:\n      - 80\n      - a\n",
            "6:9: services.web.ports[1]",
        ),
        (
            "x: &a {usr: a}\nservices:\n  web:\n    <<: *a\n    x-bundle: web\n",
            "1:1: x",
        ),
        (
            "x-a: &a { usr: a }\nservices:\n  web:\n    <<: *a\n    x-bundle: web\n",
            "1:11: services.web.usr",
        ),
        (
            "x-a: &a [x]\nservices:\n  web:\n    x-bundle: web\n    dns: *a\n",
            "1:10: services.web.dns[0]",
        ),
        (
            "services: {\"web\": {x-bundle: web,\n\n usr: a}}",
            "3:2: services.web.usr",
        ),
    ] {
        let error = error(text);
        assert!(
            error.starts_with(&format!("compose.yaml:{place}: ")),
            "{text}\n{error}\n{place}"
        );
    }
}
