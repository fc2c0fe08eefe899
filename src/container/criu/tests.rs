//! The conversation, with a peer that speaks CRIU's side of it.

use std::thread;

use super::message::{Value, Writer, fields};
use super::*;

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .unwrap()
}

fn response(kind: i64, success: bool) -> Writer {
    let mut response = Writer::default();
    response.number(1, kind);
    response.number(2, success.into());
    response
}

fn notification(script: &str, pid: i64) -> Writer {
    let mut inner = Writer::default();
    inner.text(1, script);
    inner.number(2, pid);
    let mut message = response(NOTIFY.into(), true);
    message.message(5, &inner);
    message
}

fn receive(socket: &OwnedFd) -> Vec<u8> {
    let mut buffer = vec![0; LONGEST_MESSAGE];
    let (length, _) = socket::receive(socket.as_fd(), &mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

fn number_in(message: &[u8], wanted: u64) -> Option<i32> {
    let fields = fields(message).unwrap();
    fields
        .iter()
        .find(|(field, _)| *field == wanted)
        .map(|(_, value)| value.number())
}

#[test]
fn criu_is_answered_until_it_says_how_it_went() {
    let (ours, theirs) = pair();
    let peer = thread::spawn(move || {
        assert_eq!(number_in(&receive(&theirs), 1), Some(2));
        for (script, pid) in [("setup-namespaces", 77), ("post-restore", 77)] {
            socket::send(theirs.as_fd(), notification(script, pid).bytes(), None).unwrap();
            let answer = receive(&theirs);
            assert_eq!(
                (number_in(&answer, 1), number_in(&answer, 3)),
                (Some(NOTIFY), Some(1))
            );
        }
        let mut pid = Writer::default();
        pid.number(1, 77);
        let mut done = response(2, true);
        done.message(4, &pid);
        socket::send(theirs.as_fd(), done.bytes(), None).unwrap();
    });
    let mut heard = Vec::new();
    let request = Request::default().encode(Work::Restore, 3, 4);
    let response = converse(ours.as_fd(), request.bytes(), |notification| {
        heard.push((notification.script, notification.pid));
        Ok(())
    });
    peer.join().unwrap();
    let Ok(response) = response else {
        panic!("no response")
    };
    assert!(response.success);
    assert_eq!(response.pid, 77);
    assert_eq!(
        heard,
        [
            ("setup-namespaces".to_owned(), 77),
            ("post-restore".to_owned(), 77)
        ]
    );
}

#[test]
fn criu_is_told_to_give_up_when_a_hook_fails() {
    let (ours, theirs) = pair();
    let peer = thread::spawn(move || {
        receive(&theirs);
        socket::send(theirs.as_fd(), notification("setup-namespaces", 5).bytes(), None).unwrap();
        assert_eq!(number_in(&receive(&theirs), 3), Some(0));
        socket::send(theirs.as_fd(), response(2, false).bytes(), None).unwrap();
    });
    let result = converse(ours.as_fd(), b"\x08\x02", |_| {
        Err(Error::new(Kind::Program, "the hook failed"))
    });
    peer.join().unwrap();
    let Err(Failure::Ours(error)) = result else {
        panic!("not our failure")
    };
    assert_eq!(error.to_string(), "the hook failed");
}

#[test]
fn criu_that_ends_without_a_word_is_an_error() {
    let (ours, theirs) = pair();
    let peer = thread::spawn(move || drop(receive(&theirs)));
    let result = converse(ours.as_fd(), b"\x08\x01", |_| Ok(()));
    peer.join().unwrap();
    assert!(matches!(result, Err(Failure::Lost(_))));
}

#[test]
fn a_failure_carries_the_last_errors_of_the_log() {
    let log = std::env::temp_dir().join(format!("minirun-criu-log-{}", std::process::id()));
    let lines: String = (1..=9)
        .map(|n| format!("(00.0{n}) Error (criu/x.c:{n}): no {n}\n(00.0{n}) Dumping\n"))
        .collect();
    fs::write(&log, lines).unwrap();
    let failed = Response {
        errno: 52,
        message: "nothing left".to_owned(),
        ..Response::default()
    };
    let text = explain(Work::Dump, &failed, &log).to_string();
    fs::remove_file(&log).unwrap();
    assert!(
        text.starts_with("criu failed: type dump errno 52: nothing left; (00.05) Error"),
        "{text}"
    );
    assert!(text.contains("no 9") && !text.contains("Dumping"), "{text}");
    assert!(text.contains(&format!("log file: {}", log.display())), "{text}");
}

#[test]
fn every_option_reaches_its_field() {
    let request = Request {
        common: Common {
            tcp_established: true,
            ext_unix_sk: true,
            shell_job: true,
            file_locks: true,
            auto_dedup: true,
            lazy_pages: true,
            empty_network: true,
            cgroups: CgroupMode::Strict,
        },
        pid: Some(9),
        root: "/r".into(),
        parent: Some("../parent".into()),
        leave_running: true,
        track_memory: true,
        tcp_skip_in_flight: true,
        link_remap: true,
        status_fd: Some(7),
        page_server: Some(("10.0.0.1".into(), 99)),
        freezer: Some("/f".into()),
        external: vec!["mnt[/a]:/a".into()],
        inherited: vec![("pipe:[3]".into(), 1)],
        cgroup_roots: vec![("cpu".into(), "/web".into())],
        lsm_profile: Some("apparmor:x".into()),
        lsm_mount_context: Some("context".into()),
    };
    let encoded = request.encode(Work::Dump, 3, 4);
    let outer = fields(encoded.bytes()).unwrap();
    assert_eq!(outer[0], (1, Value::Number(1)));
    let Value::Bytes(options) = outer[1].1 else {
        panic!()
    };
    let options = fields(options).unwrap();
    let texts = [
        (10, "dump.log"),
        (13, "/r"),
        (14, "../parent"),
        (37, "mnt[/a]:/a"),
        (44, "/f"),
        (53, "apparmor:x"),
        (63, "context"),
    ];
    for (field, text) in texts {
        let (_, value) = options.iter().find(|(number, _)| *number == field).unwrap();
        assert_eq!(value.text(), text, "field {field}");
    }
    let numbers = [
        (1, 3),
        (2, 9),
        (17, 4),
        (34, 5),
        (38, libc::CLONE_NEWNET),
        (49, 7),
    ];
    let flags = [3, 4, 5, 6, 7, 8, 12, 15, 16, 18, 46, 48, 50].map(|field| (field, 1));
    for (field, number) in numbers.into_iter().chain(flags) {
        let (_, value) = options.iter().find(|(number, _)| *number == field).unwrap();
        assert_eq!(value.number(), number, "field {field}");
    }
    let nested = [(11, "10.0.0.1"), (25, "cpu"), (27, "pipe:[3]")];
    for (field, first) in nested {
        let (_, value) = options.iter().find(|(number, _)| *number == field).unwrap();
        let Value::Bytes(inner) = value else { panic!() };
        assert_eq!(fields(inner).unwrap()[0].1.text(), first, "field {field}");
    }
}
