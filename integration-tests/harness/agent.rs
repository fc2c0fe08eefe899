//! A seccomp agent: it takes the listeners of filters, and answers the calls that they stop.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::{JoinHandle, spawn};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::Value;

/// Who has not connected by then never will.
const HANG_MS: u16 = 60_000;

/// An agent that expects a number of processes.
pub(crate) struct Agent {
    path: PathBuf,
    thread: JoinHandle<Vec<Value>>,
}

/// What becomes of a call that is not a mkdir, or of all calls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// mkdir fails with EPROTO, which no kernel answers to it; all others go on.
    Answers,
    /// The listener is dropped as soon as it is here.
    GoesAway,
}

impl Agent {
    /// Listens for `processes` connections.
    pub(crate) fn listen(dir: &Path, processes: usize, manner: Manner) -> Self {
        let path = dir.join(format!("agent{processes}.sock"));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let serve = move || {
            let mut answering = Vec::new();
            let mut messages = Vec::new();
            for _ in 0..processes {
                assert!(
                    is_readable(listener.as_fd()),
                    "the runtime never connected to the agent"
                );
                let (connection, _) = listener.accept().unwrap();
                let (message, notifications) = receive(&connection);
                messages.push(message);
                if manner == Manner::Answers {
                    answering.push(spawn(move || answer(&notifications)));
                }
            }
            for thread in answering {
                thread.join().unwrap();
            }
            messages
        };
        Agent {
            path,
            thread: spawn(serve),
        }
    }

    pub(crate) fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// The messages of all processes, once the last of them has ended.
    pub(crate) fn messages(self) -> Vec<Value> {
        self.thread.join().unwrap()
    }
}

/// False when nothing came in time.
fn is_readable(fd: std::os::fd::BorrowedFd<'_>) -> bool {
    poll(
        &mut [PollFd::new(fd, PollFlags::POLLIN)],
        PollTimeout::from(HANG_MS),
    )
    .unwrap()
        > 0
}

/// The whole message with its one descriptor, which comes with its first part.
fn receive(connection: &UnixStream) -> (Value, File) {
    let mut text = vec![0_u8; 65536];
    let (mut length, mut descriptors) = (0, Vec::new());
    loop {
        let mut slices = [IoSliceMut::new(&mut text[length..])];
        let mut space = nix::cmsg_space!([i32; 4]);
        let message = recvmsg::<()>(
            connection.as_raw_fd(),
            &mut slices,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )
        .unwrap();
        for control in message.cmsgs().unwrap() {
            if let ControlMessageOwned::ScmRights(received) = control {
                assert_eq!(length, 0, "descriptors come with the first message only");
                descriptors.extend(received);
            }
        }
        if message.bytes == 0 {
            break;
        }
        length += message.bytes;
    }
    assert_eq!(descriptors.len(), 1, "one process has one listener");
    // SAFETY: the kernel has just made this descriptor for us, and nothing else in the program knows its number.
    let notifications = unsafe { OwnedFd::from_raw_fd(descriptors[0]) };
    (
        serde_json::from_slice(&text[..length]).unwrap(),
        notifications.into(),
    )
}

/// Answers until the last process under the filter has ended (seccomp_unotify(2)).
fn answer(notifications: &File) {
    const RECEIVE: libc::Ioctl = 0xc050_2100_u32 as libc::Ioctl;
    const SEND: libc::Ioctl = 0xc018_2101_u32 as libc::Ioctl;
    loop {
        let mut polled = [PollFd::new(notifications.as_fd(), PollFlags::POLLIN)];
        assert!(
            poll(&mut polled, PollTimeout::from(HANG_MS)).unwrap() > 0,
            "the container hangs"
        );
        if !polled[0].revents().unwrap().contains(PollFlags::POLLIN) {
            return;
        }
        // SAFETY: all zeros is a valid value, and the kernel insists on it.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the request writes a struct of this type.
        let received = unsafe { libc::ioctl(notifications.as_raw_fd(), RECEIVE, &raw mut call) };
        if received != 0 {
            // The process was killed meanwhile.
            assert_eq!(Errno::last(), Errno::ENOENT);
            continue;
        }
        let refused = [libc::SYS_mkdir, libc::SYS_mkdirat].contains(&libc::c_long::from(call.data.nr));
        let response = libc::seccomp_notif_resp {
            id: call.id,
            val: 0,
            error: if refused { -libc::EPROTO } else { 0 },
            flags: if refused {
                0
            } else {
                libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32
            },
        };
        // SAFETY: the request reads a struct of this type.
        let sent = unsafe { libc::ioctl(notifications.as_raw_fd(), SEND, &raw const response) };
        assert!(sent == 0 || Errno::last() == Errno::ENOENT, "{}", Errno::last());
    }
}
