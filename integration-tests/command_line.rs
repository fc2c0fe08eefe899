//! Holds the manual pages and completions that `make docs` writes to the command line: all commands, all options.

// Helpers are not in `cfg(test)`, where the lint allows this by itself.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[allow(dead_code)] // its `main`
#[path = "../examples/command-line.rs"]
mod generate;

/// What `make docs` writes, in a directory that goes with it.
struct Docs(PathBuf);

impl Docs {
    fn write(name: &str) -> Docs {
        let directory = std::env::temp_dir().join(format!("minirun-docs-{}-{name}", std::process::id()));
        generate::write(&directory).unwrap();
        Docs(directory)
    }

    fn read(&self, path: impl AsRef<Path>) -> String {
        let path = self.0.join(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

impl Drop for Docs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Calls `each` with every visible command below and the words that call it.
fn for_each_command(command: &clap::Command, words: &[&str], each: &mut impl FnMut(&clap::Command, &[&str])) {
    each(command, words);
    for below in command
        .get_subcommands()
        .filter(|below| !below.is_hide_set() && below.get_name() != "help")
    {
        let words: Vec<&str> = words.iter().copied().chain([below.get_name()]).collect();
        for_each_command(below, &words, each);
    }
}

fn built() -> clap::Command {
    let mut command = minirun::cli::command();
    command.build();
    command
}

#[test]
fn every_command_has_a_manual_page_that_names_each_of_its_options() {
    let docs = Docs::write("man");
    let mut options = 0;
    for_each_command(&built(), &["minirun"], &mut |command, words| {
        // roff wants hyphens escaped.
        let page = docs
            .read(format!("man/{}.1", words.join("-")))
            .replace("\\-", "-");
        for name in command
            .get_arguments()
            .filter(|option| !option.is_hide_set())
            .filter_map(|option| option.get_long())
        {
            assert!(
                page.contains(&format!("--{name}")),
                "{}: --{name}",
                words.join(" ")
            );
            options += 1;
        }
    });
    assert!(options > 100, "{options}");
}

#[test]
fn bash_completes_commands_and_their_options() {
    let docs = Docs::write("bash");
    let script = docs.0.join("completions/minirun.bash");
    for (line, wanted) in [
        ("minirun del", "delete"),
        ("minirun run --pid", "--pidfd-socket --pid-file"),
        ("minirun network cr", "create"),
    ] {
        let complete = "source \"$1\"; COMP_WORDS=($2); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            _minirun minirun \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD - 1]}\"; echo \"${COMPREPLY[*]}\"";
        let output = Command::new("bash")
            .args(["-c", complete, "bash"])
            .arg(&script)
            .arg(line)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), wanted, "{line}");
    }
}

#[test]
fn completions_for_every_shell_know_every_command() {
    let docs = Docs::write("shells");
    let scripts =
        ["minirun.bash", "minirun.fish", "_minirun"].map(|name| docs.read(format!("completions/{name}")));
    for_each_command(&built(), &["minirun"], &mut |_, words| {
        for script in &scripts {
            let last = words.last().unwrap();
            assert!(script.contains(last), "{}", words.join(" "));
        }
    });
}
