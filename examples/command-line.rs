//! Writes what packages of minirun bring along: a manual page for every command, and completions for every shell.
//!
//! ```sh
//! make docs    # target/docs/man/minirun-run.1, target/docs/completions/minirun.bash, ...
//! ```
//!
//! Both are made from the description of the command line that `minirun` itself parses with. They are made here and not by
//! the runtime, so that its start and its size do not pay for them.

use std::env;
use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Fish, Shell::Zsh];

fn main() -> io::Result<()> {
    let directory = env::args_os()
        .nth(1)
        .ok_or_else(|| io::Error::other("usage: command-line DIRECTORY"))?;
    write(Path::new(&directory))
}

/// Writes `man/` and `completions/` into the directory.
pub(crate) fn write(directory: &Path) -> io::Result<()> {
    let mut minirun = minirun::cli::command();
    // Options of the commands are described to clap when they are asked for.
    minirun.build();

    let completions = directory.join("completions");
    fs::create_dir_all(&completions)?;
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut minirun, "minirun", &completions)?;
    }

    let man = directory.join("man");
    fs::create_dir_all(&man)?;
    pages(&man, &minirun, "minirun")
}

/// The page of a command, and those of the commands below it: `minirun-network-create.1`.
fn pages(directory: &Path, command: &Command, name: &str) -> io::Result<()> {
    let mut page = Vec::new();
    Man::new(command.clone().display_name(name))
        .title(name.to_uppercase())
        .render(&mut page)?;
    fs::write(directory.join(format!("{name}.1")), page)?;
    command
        .get_subcommands()
        .filter(|below| !below.is_hide_set() && below.get_name() != "help")
        .try_for_each(|below| pages(directory, below, &format!("{name}-{}", below.get_name())))
}
