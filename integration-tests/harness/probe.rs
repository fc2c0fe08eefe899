//! What a process inside a container sees, as sections of lines, for questions and for parity with a peer.

use std::collections::BTreeMap;

use super::container::Container;

/// The shell probe; it fits any container that has busybox.
pub(crate) const PROBE: &str = include_str!("probe.sh");

/// The probe's answer, by section.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(crate) struct Report(pub(crate) BTreeMap<String, Vec<String>>);

impl Report {
    pub(crate) fn parse(text: &str) -> Report {
        let mut sections: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut current = String::new();
        for line in text.lines() {
            match line.strip_prefix("== ") {
                Some(name) => current = name.to_owned(),
                None => sections.entry(current.clone()).or_default().push(line.to_owned()),
            }
        }
        Report(sections)
    }

    /// The lines of a section; none when it said nothing.
    pub(crate) fn section(&self, name: &str) -> &[String] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// The value of `NAME: value` in /proc/PID/status, blanks joined.
    #[track_caller]
    pub(crate) fn status(&self, name: &str) -> String {
        let prefix = format!("{name}:");
        let line = self
            .section("status")
            .iter()
            .find_map(|line| line.strip_prefix(&prefix));
        let line = line.unwrap_or_else(|| panic!("no {name} in {:?}", self.section("status")));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Container<'_> {
    /// Makes the process the probe.
    pub(crate) fn probing(self) -> Self {
        self.sh(PROBE)
    }

    /// Runs the probe as the container's init.
    #[track_caller]
    pub(crate) fn probe(self) -> Report {
        Report::parse(&self.probing().run().succeeds().stdout)
    }

    /// Runs the probe by exec.
    #[track_caller]
    pub(crate) fn probe_by_exec(&self) -> Report {
        self.probe_by_exec_with(&[])
    }

    /// Runs the probe by exec with options.
    #[track_caller]
    pub(crate) fn probe_by_exec_with(&self, options: &[&str]) -> Report {
        let output = self.exec_with(options, ["sh", "-c", PROBE]);
        Report::parse(&output.succeeds().stdout)
    }
}
