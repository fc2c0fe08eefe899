//! The lines of several log files, in the order of their time, and those that are written later.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::record::{Record, Stream};
use crate::error::{OsContext as _, Result};
use crate::tail::Tail;

/// Parts of a line are put together up to this length.
const LONGEST: usize = 256 * 1024;

/// Which lines are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only so many of each container's last ones.
    pub last: Option<usize>,
    /// None before this time; RFC 3339 in UTC with nanoseconds, as in the files.
    pub since: Option<String>,
    /// None from this time on; as `since`.
    pub until: Option<String>,
}

/// A line that a container wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose it is: the container's id.
    pub container: String,
    /// RFC 3339 in UTC with nanoseconds: when the line ended.
    pub time: String,
    /// Where it was written to.
    pub stream: Stream,
    /// Without the end of line; what the program wrote, UTF-8 or not.
    pub text: Vec<u8>,
}

/// Reads the logs of several containers.
pub struct Reader {
    selection: Selection,
    logs: Vec<Log>,
}

struct Log {
    container: String,
    tail: Tail,
    /// Parts of a line of which the last one has not come, of standard output and of standard error.
    parts: [Vec<u8>; 2],
    /// The first entry that has not been given out.
    head: Option<Entry>,
}

impl Reader {
    /// Begins with what is selected of what is there.
    pub fn new(selection: Selection) -> Reader {
        Reader {
            selection,
            logs: Vec::new(),
        }
    }

    /// Reads this container's log too, from now on; fine when there is no such file yet, or when it is read already.
    ///
    /// # Errors
    /// Those of reading files.
    pub fn add(&mut self, container: &str, path: &Path) -> Result<()> {
        if self.logs.iter().any(|log| log.container == container) {
            return Ok(());
        }
        self.logs.push(Log {
            container: container.to_owned(),
            tail: Tail::open(path, self.selection.last)?,
            parts: Default::default(),
            head: None,
        });
        Ok(())
    }

    /// Containers that will come write from their beginning: all of it is wanted.
    pub fn follow(&mut self) {
        self.selection.last = None;
    }

    /// Whether there were logs, and all have been removed.
    pub fn is_gone(&self) -> bool {
        !self.logs.is_empty() && self.logs.iter().all(|log| log.tail.is_gone())
    }

    /// The earliest entry that has not been given out; `None` when there is none yet.
    ///
    /// # Errors
    /// Those of reading files.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut first: Option<(usize, &str)> = None;
        for log in &mut self.logs {
            if log.head.is_none() {
                log.head = log.next(&self.selection)?;
            }
        }
        for (index, log) in self.logs.iter().enumerate() {
            if let Some(entry) = &log.head
                && first.is_none_or(|(_, time)| entry.time.as_str() < time)
            {
                first = Some((index, &entry.time));
            }
        }
        let index = first.map(|(index, _)| index);
        Ok(index
            .and_then(|index| self.logs.get_mut(index))
            .and_then(|log| log.head.take()))
    }
}

impl Log {
    fn next(&mut self, selection: &Selection) -> Result<Option<Entry>> {
        while let Some(line) = self.tail.next_line()? {
            let Some(record) = Record::parse(&line) else {
                continue;
            };
            let parts = match record.stream {
                Stream::Stdout => &mut self.parts[0],
                Stream::Stderr => &mut self.parts[1],
            };
            parts.extend(record.text);
            if record.partial && parts.len() < LONGEST {
                continue;
            }
            let text = std::mem::take(parts);
            let is_early = selection
                .since
                .as_deref()
                .is_some_and(|since| record.time < since);
            let is_late = selection
                .until
                .as_deref()
                .is_some_and(|until| record.time >= until);
            if is_early || is_late {
                continue;
            }
            return Ok(Some(Entry {
                container: self.container.clone(),
                time: record.time.to_owned(),
                stream: record.stream,
                text,
            }));
        }
        Ok(None)
    }
}

/// The containers that have logs in this directory, by id, with the paths of the current files; none when it does not exist.
///
/// # Errors
/// When the directory cannot be read.
pub fn logs_in(directory: &Path) -> Result<Vec<(String, PathBuf)>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.os("read", directory.display())?,
    };
    let mut found: Vec<(String, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some((name.strip_suffix(".log")?.to_owned(), entry.path()))
        })
        .collect();
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct Logs(PathBuf);

    impl Logs {
        fn new() -> Logs {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let dir = std::env::temp_dir().join(format!("minirun-reader-{}-{count}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            Logs(dir)
        }

        /// Appends lines like `5 stdout F text`, where 5 is the second.
        fn write(&self, container: &str, lines: &[&str]) {
            use std::io::Write as _;
            let path = self.0.join(format!("{container}.log"));
            let mut file = fs::File::options().append(true).create(true).open(path).unwrap();
            for line in lines {
                let (second, rest) = line.split_once(' ').unwrap();
                writeln!(file, "{} {rest}", at(second)).unwrap();
            }
        }

        fn reader(&self, selection: Selection) -> Reader {
            let mut reader = Reader::new(selection);
            for (container, path) in logs_in(&self.0).unwrap() {
                reader.add(&container, &path).unwrap();
            }
            reader
        }
    }

    impl Drop for Logs {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn at(second: &str) -> String {
        format!("2026-01-02T03:04:0{second}.000000000Z")
    }

    fn texts(reader: &mut Reader) -> Vec<String> {
        std::iter::from_fn(|| reader.next_entry().unwrap())
            .map(|entry| format!("{}:{}", entry.container, String::from_utf8_lossy(&entry.text)))
            .collect()
    }

    #[test]
    fn lines_of_all_containers_come_in_the_order_of_their_time() {
        let logs = Logs::new();
        logs.write("a", &["1 stdout F one", "4 stderr F four"]);
        logs.write("b", &["2 stdout F two", "3 stdout F three", "5 stdout F five"]);
        let mut reader = logs.reader(Selection::default());
        assert_eq!(
            texts(&mut reader),
            ["a:one", "b:two", "b:three", "a:four", "b:five"]
        );
        logs.write("a", &["6 stdout F six"]);
        assert_eq!(texts(&mut reader), ["a:six"]);
    }

    #[test]
    fn the_last_lines_are_those_of_each_container() {
        let logs = Logs::new();
        logs.write("a", &["1 stdout F one", "4 stderr F four"]);
        logs.write("b", &["2 stdout F two"]);
        let mut reader = logs.reader(Selection {
            last: Some(1),
            ..Selection::default()
        });
        assert_eq!(texts(&mut reader), ["b:two", "a:four"]);
        // One that comes while we follow is read from its beginning.
        reader.follow();
        logs.write("c", &["5 stdout F five", "6 stdout F six"]);
        reader.add("c", &logs.0.join("c.log")).unwrap();
        reader.add("a", &logs.0.join("a.log")).unwrap();
        assert_eq!(texts(&mut reader), ["c:five", "c:six"]);
    }

    #[test]
    fn logs_are_gone_when_all_files_are() {
        let logs = Logs::new();
        assert!(!logs.reader(Selection::default()).is_gone());
        logs.write("a", &["1 stdout F one"]);
        logs.write("b", &["1 stdout F one"]);
        let reader = logs.reader(Selection::default());
        fs::remove_file(logs.0.join("a.log")).unwrap();
        fs::rename(logs.0.join("b.log"), logs.0.join("b.log.1")).unwrap();
        assert!(!reader.is_gone());
        fs::remove_file(logs.0.join("b.log.1")).unwrap();
        assert!(reader.is_gone());
    }

    #[test]
    fn times_cut_the_lines_on_both_sides() {
        let logs = Logs::new();
        logs.write("a", &["1 stdout F one", "2 stdout F two", "3 stdout F three"]);
        let mut reader = logs.reader(Selection {
            since: Some(at("2")),
            until: Some(at("3")),
            ..Selection::default()
        });
        assert_eq!(texts(&mut reader), ["a:two"]);
    }

    #[test]
    fn parts_of_a_line_are_put_together_by_stream() {
        let logs = Logs::new();
        logs.write(
            "a",
            &[
                "1 stdout P one-",
                "2 stderr F error",
                "3 stdout P two-",
                "4 stdout F three",
                "not a record",
            ],
        );
        assert_eq!(
            texts(&mut logs.reader(Selection::default())),
            ["a:error", "a:one-two-three"]
        );
    }
}
