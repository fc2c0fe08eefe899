//! The reader against files in a directory of their own.

use super::keys::{SECTIONS, Support};

#[test]
fn the_documentation_has_every_key_and_what_becomes_of_it() {
    let page = include_str!("../../../docs/compose.md");
    let mut sections = page.split("\n## ").skip(1);
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
            assert!(
                row.starts_with(&format!("| `{}` | {word} | {why}", key.name)),
                "{title}: {row}"
            );
        }
    }
    assert_eq!(sections.next(), None);
}
