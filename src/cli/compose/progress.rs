//! What a supervisor does while a verb waits: a line for each thing, in one block that is written over on a terminal, one
//! below the other elsewhere.

use std::io::{IsTerminal as _, Write as _};

use crate::compose::client::News;
use crate::compose::protocol::{Phase, Progress};

/// Shows news on standard error, so that standard output stays for scripts.
pub(super) struct Display {
    terminal: bool,
    quiet: bool,
    /// In the order in which they were first heard of.
    lines: Vec<Progress>,
    /// How many lines of the block stand on the terminal.
    drawn: usize,
}

impl Display {
    pub(super) fn new(quiet: bool) -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            quiet,
            lines: Vec::new(),
            drawn: 0,
        }
    }

    pub(super) fn show(&mut self, news: News) {
        match news {
            News::Warning(text) => {
                // Above the block, which is drawn again below it.
                self.clear();
                crate::log::warn(text);
                self.draw();
            }
            News::Progress(_) if self.quiet => {}
            News::Progress(progress) => {
                let known = self
                    .lines
                    .iter_mut()
                    .find(|line| line.kind == progress.kind && line.name == progress.name);
                match known {
                    Some(line) => *line = progress.clone(),
                    None => self.lines.push(progress.clone()),
                }
                if self.terminal {
                    self.clear();
                    self.draw();
                } else {
                    eprintln!("{}", plain(&progress));
                }
            }
        }
    }

    fn clear(&mut self) {
        if self.drawn > 0 {
            eprint!("\x1b[{}A\x1b[J", self.drawn);
            self.drawn = 0;
        }
    }

    fn draw(&mut self) {
        if !self.terminal || self.quiet {
            return;
        }
        let width = self
            .lines
            .iter()
            .map(|line| label(line).chars().count())
            .max()
            .unwrap_or(0);
        let mut block = String::new();
        for line in &self.lines {
            let (mark, colour) = match line.phase {
                Phase::Failed | Phase::Unhealthy => ('x', 31),
                phase if phase.is_under_way() => ('.', 33),
                _ => ('+', 32),
            };
            let detail = line.detail.lines().next().unwrap_or_default();
            let label = label(line);
            block += &format!(
                " \x1b[{colour}m{mark}\x1b[0m {label:width$}  {} {detail}\n",
                line.phase.word()
            );
        }
        self.drawn = self.lines.len();
        // A terminal that has gone away is no reason to stop.
        let _ = std::io::stderr().write_all(block.as_bytes());
    }
}

fn label(line: &Progress) -> String {
    format!("{} {}", line.kind, line.name)
}

/// One line, for those who rewrite none.
pub(super) fn plain(line: &Progress) -> String {
    let text = format!(" {} {} {}", line.kind, line.name, line.phase.word());
    match line.detail.as_str() {
        "" => text,
        detail => format!("{text}: {detail}"),
    }
}
