use std::fs;
use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

struct Log(PathBuf);

impl Log {
    fn new() -> Log {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("minirun-tail-{}-{count}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Log(dir.join("log"))
    }

    fn write(&self, text: &str) {
        let mut options = File::options();
        let mut file = options.append(true).create(true).open(&self.0).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rotate(&self, kept: u64) {
        for number in (0..kept).rev() {
            let _ = fs::rename(rotated(&self.0, number), rotated(&self.0, number + 1));
        }
    }

    fn last(&self, count: usize) -> Vec<String> {
        rest(&mut Tail::open(&self.0, Some(count)).unwrap())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.parent().unwrap());
    }
}

fn rest(tail: &mut Tail) -> Vec<String> {
    std::iter::from_fn(|| tail.next_line().unwrap())
        .map(|line| String::from_utf8(line).unwrap())
        .collect()
}

#[test]
fn the_last_lines_are_found_across_files() {
    let log = Log::new();
    assert_eq!(log.last(3), [""; 0]);
    log.write("1\n2\n3\n");
    log.rotate(2);
    log.write("4\n");
    log.rotate(2);
    log.write("5\n\nhalf");
    assert_eq!(log.last(0), [""; 0]);
    assert_eq!(log.last(1), [""]);
    assert_eq!(log.last(2), ["5", ""]);
    assert_eq!(log.last(3), ["4", "5", ""]);
    assert_eq!(log.last(4), ["3", "4", "5", ""]);
    assert_eq!(log.last(99), ["1", "2", "3", "4", "5", ""]);
    let mut all = Tail::open(&log.0, None).unwrap();
    assert_eq!(rest(&mut all), ["1", "2", "3", "4", "5", ""]);
    log.write("-done\n");
    assert_eq!(rest(&mut all), ["half-done"]);
}

#[test]
fn lines_are_found_across_the_parts_in_which_a_file_is_read() {
    let log = Log::new();
    let lines: Vec<String> = (0..30_000).map(|number| format!("line {number}")).collect();
    log.write(&(lines.join("\n") + "\n"));
    for count in [1, 2, 7000, 29_999, 30_000] {
        assert_eq!(log.last(count), lines[lines.len() - count..], "{count}");
    }
}

#[test]
fn who_follows_misses_nothing_when_files_are_moved_aside() {
    let log = Log::new();
    let mut tail = Tail::open(&log.0, None).unwrap();
    assert_eq!(rest(&mut tail), [""; 0]);
    log.write("1\n");
    assert_eq!(rest(&mut tail), ["1"]);
    log.write("2\n");
    log.rotate(3);
    log.write("3\n");
    assert_eq!(rest(&mut tail), ["2", "3"]);
    // More than once between two looks, and with no new file yet.
    for number in 4..6 {
        log.rotate(3);
        log.write(&format!("{number}\n"));
    }
    log.rotate(3);
    assert_eq!(rest(&mut tail), ["4", "5"]);
    log.write("6\n");
    assert_eq!(rest(&mut tail), ["6"]);
    // So often that our file is gone: what is left is shown.
    for number in 7..12 {
        log.rotate(3);
        log.write(&format!("{number}\n"));
    }
    assert_eq!(rest(&mut tail), ["8", "9", "10", "11"]);
}

#[test]
fn a_watch_wakes_for_what_is_written_and_ends_with_its_directory() {
    let log = Log::new();
    let watch = Watch::directory(log.0.parent().unwrap()).unwrap();
    let is_ready = || {
        let mut fds = [nix::poll::PollFd::new(
            watch.as_fd(),
            nix::poll::PollFlags::POLLIN,
        )];
        nix::poll::poll(&mut fds, nix::poll::PollTimeout::ZERO).unwrap() > 0
    };
    assert!(!is_ready());
    log.write("1\n");
    assert!(is_ready());
    assert!(watch.drain().unwrap());
    assert!(!is_ready());
    fs::remove_file(&log.0).unwrap();
    fs::remove_dir(log.0.parent().unwrap()).unwrap();
    assert!(is_ready());
    assert!(!watch.drain().unwrap());
}
