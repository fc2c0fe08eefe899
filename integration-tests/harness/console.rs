//! Terminals: the one that a console socket hands over, and one of the caller's own.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::rootfs::busybox;

/// What has not been written by then never will be.
const HANG_MS: u16 = 60_000;

/// A listening console socket.
pub(crate) struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ConsoleSocket {
    pub(crate) fn listen(dir: &Path) -> Self {
        let path = dir.join("console.sock");
        ConsoleSocket {
            listener: UnixListener::bind(&path).unwrap(),
            path,
        }
    }

    pub(crate) fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// The terminal that the runtime has sent. The command that sends it must have ended.
    pub(crate) fn terminal(&self) -> Terminal {
        Terminal {
            master: File::from(self.descriptor()),
        }
    }

    /// As [`ConsoleSocket::terminal`], whatever it is.
    pub(crate) fn descriptor(&self) -> OwnedFd {
        self.listener.set_nonblocking(true).unwrap();
        let (connection, _) = self
            .listener
            .accept()
            .expect("the runtime never connected to the console socket");
        connection.set_nonblocking(true).unwrap();
        receive_descriptor(&connection)
    }
}

fn receive_descriptor(connection: &UnixStream) -> OwnedFd {
    let mut name = [0_u8; 4096];
    let mut buffer = [IoSliceMut::new(&mut name)];
    let mut space = nix::cmsg_space!([i32; 4]);
    let message = recvmsg::<()>(
        connection.as_raw_fd(),
        &mut buffer,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    );
    let message = message.expect("no message on the console socket");
    let mut descriptors = Vec::new();
    for control in message.cmsgs().unwrap() {
        if let ControlMessageOwned::ScmRights(received) = control {
            descriptors.extend(received);
        }
    }
    assert_eq!(descriptors.len(), 1, "a console socket carries one descriptor");
    // SAFETY: the kernel has just made this descriptor for us, and nothing else in the program knows its number.
    unsafe { OwnedFd::from_raw_fd(descriptors[0]) }
}

/// The master side of a terminal.
pub(crate) struct Terminal {
    master: File,
}

impl Terminal {
    /// A terminal like the one that a person sits at, of 24 rows and 80 columns, and the side for the command.
    pub(crate) fn open() -> (Terminal, OwnedFd) {
        let size = nix::pty::Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pair = nix::pty::openpty(&size, None).unwrap();
        // What the test's other commands inherit would keep the terminal in use.
        for side in [&pair.master, &pair.slave] {
            fcntl(side, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        }
        let terminal = Terminal {
            master: File::from(pair.master),
        };
        (terminal, pair.slave)
    }

    /// `stty` on the master side: reads or changes size and modes, and reads nothing of the data.
    #[track_caller]
    pub(crate) fn stty(&self, args: &[&str]) -> String {
        let output = Command::new(busybox())
            .arg("stty")
            .args(args)
            .stdin(self.master.try_clone().unwrap())
            .output()
            .unwrap();
        assert!(output.status.success(), "stty {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Types a line.
    pub(crate) fn type_line(&mut self, line: &str) {
        self.type_keys(&format!("{line}\n"));
    }

    /// Types these keys, control characters too.
    pub(crate) fn type_keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads until the container has closed its side, or until `text` has come.
    pub(crate) fn read_until(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        let mut chunk = [0_u8; 4096];
        while !String::from_utf8_lossy(&seen).contains(text) {
            let mut waiting = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut waiting, PollTimeout::from(HANG_MS)).unwrap();
            assert_ne!(
                ready,
                0,
                "waited for {text:?} in {:?}",
                String::from_utf8_lossy(&seen)
            );
            // EIO means that the last process on the other side has gone.
            match self.master.read(&mut chunk) {
                Ok(count) if count > 0 => seen.extend_from_slice(&chunk[..count]),
                _ => panic!(
                    "the terminal ended before {text:?}: {:?}",
                    String::from_utf8_lossy(&seen)
                ),
            }
        }
        String::from_utf8_lossy(&seen).into_owned()
    }
}
