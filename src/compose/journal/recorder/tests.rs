use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::UNIX_EPOCH;

use super::*;

/// A container's pipes and log in a directory of their own.
struct Container {
    dir: PathBuf,
    recorder: Recorder,
    stdout: File,
    stderr: File,
}

impl Container {
    fn new(logging: &Logging) -> Container {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("minirun-recorder-{}-{count}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let recorder = open(&dir, logging);
        let pipe = |name: &str| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .open(dir.join(name))
                .unwrap()
        };
        let (stdout, stderr) = (pipe("stdout.fifo"), pipe("stderr.fifo"));
        Container {
            dir,
            recorder,
            stdout,
            stderr,
        }
    }

    fn readable(&mut self, stream: Stream) {
        self.recorder.readable(stream, UNIX_EPOCH).unwrap();
    }

    /// Stream, tag and text of each record, of this file and those that it took the place of.
    fn records(&self, file: &str) -> Vec<(Stream, bool, String)> {
        let content = fs::read(self.dir.join("logs").join(file)).unwrap();
        assert!(content.is_empty() || content.ends_with(b"\n"));
        let lines = content
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        lines
            .map(|line| {
                let record = Record::parse(line).unwrap();
                let text = String::from_utf8_lossy(record.text).into_owned();
                (record.stream, record.partial, text)
            })
            .collect()
    }

    fn texts(&self, file: &str) -> Vec<String> {
        self.records(file).into_iter().map(|(.., text)| text).collect()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn open(dir: &Path, logging: &Logging) -> Recorder {
    let pipe = |name: &str| dir.join(name);
    Recorder::open(
        &dir.join("logs/web.log"),
        logging,
        &pipe("stdout.fifo"),
        &pipe("stderr.fifo"),
    )
    .unwrap()
}

#[test]
fn a_line_is_one_record_however_many_writes_it_took() {
    let mut container = Container::new(&Logging::default());
    container.stdout.write_all(b"one\ntw").unwrap();
    container.readable(Stream::Stdout);
    container.stderr.write_all(b"oops\n").unwrap();
    container.readable(Stream::Stderr);
    container.stdout.write_all(b"o\n\nthree").unwrap();
    container.readable(Stream::Stdout);
    // Nothing is there: it does not wait.
    container.readable(Stream::Stdout);
    assert_eq!(container.texts("web.log"), ["one", "oops", "two", ""]);
    container.recorder.finish(UNIX_EPOCH).unwrap();
    let records = container.records("web.log");
    assert_eq!(records[1], (Stream::Stderr, false, "oops".to_owned()));
    assert_eq!(records[4], (Stream::Stdout, false, "three".to_owned()));
}

#[test]
fn a_line_without_end_becomes_parts_and_is_never_kept_in_memory() {
    let mut container = Container::new(&Logging::default());
    let long = "x".repeat(2 * LONGEST + 5);
    container.stdout.write_all(long.as_bytes()).unwrap();
    container.stdout.write_all(b"\nnext\n").unwrap();
    container.recorder.finish(UNIX_EPOCH).unwrap();
    let records = container.records("web.log");
    let shape: Vec<_> = records
        .iter()
        .map(|(_, partial, text)| (*partial, text.len()))
        .collect();
    assert_eq!(shape, [(true, LONGEST), (true, LONGEST), (false, 5), (false, 4)]);

    // One that fits exactly is whole.
    container.stdout.write_all(&[b'y'; LONGEST]).unwrap();
    container.stdout.write_all(b"\n").unwrap();
    container.recorder.finish(UNIX_EPOCH).unwrap();
    let last = container.records("web.log").pop().unwrap();
    assert_eq!((last.1, last.2.len()), (false, LONGEST));
}

#[test]
fn a_full_log_is_moved_aside_between_lines_and_the_oldest_goes() {
    let record = "1970-01-01T00:00:00.000000000Z stdout F 00\n".len() as u64;
    let mut container = Container::new(&Logging {
        max_size: 2 * record + 1,
        max_files: 3,
    });
    for number in 0..9 {
        writeln!(container.stdout, "{number:02}").unwrap();
    }
    container.readable(Stream::Stdout);
    assert_eq!(container.texts("web.log"), ["08"]);
    assert_eq!(container.texts("web.log.1"), ["06", "07"]);
    assert_eq!(container.texts("web.log.2"), ["04", "05"]);
    assert!(!container.dir.join("logs/web.log.3").exists());
}

#[test]
fn one_file_of_one_line_is_the_least_that_is_kept() {
    let mut container = Container::new(&Logging {
        max_size: 1,
        max_files: 1,
    });
    container.stdout.write_all(b"one\ntwo\n").unwrap();
    container.readable(Stream::Stdout);
    assert_eq!(container.texts("web.log"), ["two"]);
    assert!(!container.dir.join("logs/web.log.1").exists());
}

#[test]
fn the_next_recorder_takes_what_waited_and_mends_half_a_line() {
    let mut container = Container::new(&Logging::default());
    container.stdout.write_all(b"before\n").unwrap();
    container.readable(Stream::Stdout);
    let log = container.dir.join("logs/web.log");
    let mut half = OpenOptions::new().append(true).open(&log).unwrap();
    half.write_all(b"1970-01-01T00:00:00.0000").unwrap();
    // Written while nobody reads; the container holds the pipe open.
    container.stdout.write_all(b"meanwhile\n").unwrap();
    container.recorder = open(&container.dir, &Logging::default());
    container.readable(Stream::Stdout);
    assert_eq!(container.texts("web.log"), ["before", "meanwhile"]);
}
