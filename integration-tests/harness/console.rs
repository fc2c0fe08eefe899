//! The caller's end of a console socket: receives the terminal of a detached container.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

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
        self.listener.set_nonblocking(true).unwrap();
        let (connection, _) = self
            .listener
            .accept()
            .expect("the runtime never connected to the console socket");
        connection.set_nonblocking(true).unwrap();
        Terminal {
            master: File::from(receive_descriptor(&connection)),
        }
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

/// The master side of a container's terminal.
pub(crate) struct Terminal {
    master: File,
}

impl Terminal {
    /// Types a line.
    pub(crate) fn type_line(&mut self, line: &str) {
        writeln!(self.master, "{line}").unwrap();
    }

    /// Reads until the container has closed its side, or until `text` has come.
    pub(crate) fn read_until(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        let mut chunk = [0_u8; 4096];
        while !String::from_utf8_lossy(&seen).contains(text) {
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
