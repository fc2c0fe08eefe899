//! The conversation of the runtime and the container's first process.
//!
//! ```text
//!   runtime (parent)                              container (child)
//!   ----------------                              -----------------
//!   clone3 with all new namespaces ───────────▶   dies with its parent from here on
//!   record the pid; write id mappings
//!                        ── mounts (each an fd) ▶   only id-mapped ones, which the child may not make
//!                        ── Go ───────────────▶   join cgroup and namespaces, host name, sysctls
//!   attach networks meanwhile                     mounts and devices, the host's root still visible
//!                        ◀─────────── Mounted ──
//!   prestart and createRuntime hooks
//!                        ── Continue ─────────▶   createContainer hooks, pivot_root, masks
//!                        ◀── Console (with fd) ─   only with a terminal
//!                        ◀───────────── Ready ──   settled: program found, filter at hand
//!   record `created`; pid file
//!            create:     ── Detach ───────────▶   no longer dies with its parent
//!                        ◀────────── Detached ──   waits for a starter on the start socket
//!            run:        ── Start ────────────▶   becomes its user; startContainer hooks
//!                        ◀────────── Listener ──   only with SCMP_ACT_NOTIFY: the filter is loaded
//!   hand it to the agent ── Continue ─────────▶   execve
//!                        ◀─────── end of file ──   execve succeeded: the socket is close-on-exec
//! ```
//!
//! `start` connects to the start socket later and sends `Start`; the answer is the same end of file. At any point the
//! child may send `Failed` with the whole error and exit. An end of file before `Ready` means that the child was killed.
//! `exec` uses the same messages without those of mounts and hooks.

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::read;

use crate::error::{Error, Kind, OsContext, Result};
use crate::sys::socket;

/// What the runtime tells the container's first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToChild {
    /// Id mappings are written; set the container up.
    Go,
    /// Hooks of the runtime have run; enter the root.
    Continue,
    /// The record says created; outlive the runtime and wait for a starter.
    Detach,
    /// Execute the program.
    Start,
}

/// What the container's first process tells the runtime.
#[derive(Debug)]
pub enum ToParent {
    /// Mounts and devices are in place.
    Mounted,
    /// The master of the container's terminal.
    Console(OwnedFd),
    /// Everything but execve is done.
    Ready,
    /// The filter is loaded, and this descriptor of the child answers the calls that wait for a listener.
    Listener(RawFd),
    /// The runtime may exit.
    Detached,
    /// Set-up failed; the child is about to exit.
    Failed(Error),
    /// The socket was closed: execve succeeded, or the child is dead.
    Closed,
}

/// One end of a conversation: a SOCK_SEQPACKET socket, so a message is one packet.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    /// For reports; made with the first one.
    buffer: RefCell<Vec<u8>>,
}

/// An error's texts are cut to fit; longer ones hold paths of at most 4096 bytes or the output of a hook.
const MESSAGE_MAX: usize = 64 * 1024;

impl Channel {
    /// Two connected ends, close-on-exec.
    ///
    /// # Errors
    /// Those of socketpair(2).
    pub fn pair() -> Result<(Channel, Channel)> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .os("create", "init socket pair")?;
        Ok((Channel::from(ours), Channel::from(theirs)))
    }

    /// Tells the child.
    ///
    /// # Errors
    /// `EPIPE` when the child is gone.
    pub fn tell(&self, message: ToChild) -> Result<()> {
        let tag = match message {
            ToChild::Go => b'g',
            ToChild::Continue => b'c',
            ToChild::Detach => b'd',
            ToChild::Start => b's',
        };
        socket::send(self.socket.as_fd(), &[tag], None).os("send to", "the container's init process")
    }

    /// The child waits for the next message; `None` when the runtime is gone.
    ///
    /// # Errors
    /// When the message is not one of ours.
    pub fn hear(&self) -> Result<Option<ToChild>> {
        let mut buffer = [0; 16];
        let (length, _) =
            socket::receive(self.socket.as_fd(), &mut buffer).os("receive from", "the runtime")?;
        match &buffer[..length] {
            b"" => Ok(None),
            b"g" => Ok(Some(ToChild::Go)),
            b"c" => Ok(Some(ToChild::Continue)),
            b"d" => Ok(Some(ToChild::Detach)),
            b"s" => Ok(Some(ToChild::Start)),
            other => Err(unknown(other)),
        }
    }

    /// Sends the child a descriptor that it knows to wait for.
    ///
    /// # Errors
    /// `EPIPE` when the child is gone.
    pub fn lend(&self, fd: BorrowedFd<'_>) -> Result<()> {
        socket::send(self.socket.as_fd(), b"l", Some(fd)).os("send to", "the container's init process")
    }

    /// The child's side of [`Channel::lend`].
    ///
    /// # Errors
    /// When something else comes, or nothing more.
    pub fn borrowed(&self) -> Result<OwnedFd> {
        let mut buffer = [0; 16];
        let (length, fd) =
            socket::receive(self.socket.as_fd(), &mut buffer).os("receive from", "the runtime")?;
        match (&buffer[..length], fd) {
            (b"l", Some(fd)) => Ok(fd),
            (other, _) => Err(unknown(other)),
        }
    }

    /// The child reports; `Console` lends its descriptor to the message.
    ///
    /// # Errors
    /// `EPIPE` when the runtime is gone.
    pub fn report(&self, message: &ToParent) -> Result<()> {
        let mut data = Vec::new();
        let mut fd = None;
        match message {
            ToParent::Mounted => data.push(b'm'),
            ToParent::Ready => data.push(b'r'),
            ToParent::Detached => data.push(b'd'),
            ToParent::Closed => return Ok(()),
            ToParent::Listener(number) => data.extend(listener_message(*number)),
            ToParent::Console(master) => {
                data.push(b't');
                fd = Some(master.as_fd());
            }
            ToParent::Failed(error) => {
                data.push(b'f');
                data.extend(serde_json::to_vec(error).unwrap_or_default());
            }
        }
        socket::send(self.socket.as_fd(), &data, fd).os("send to", "the runtime")
    }

    /// The child names the descriptor of its filter's listener, and waits until the runtime has seen to it. Under the
    /// filter: it makes no call but write(2) and read(2), and allocates only on failure.
    ///
    /// # Errors
    /// When the runtime is gone or could not hand it on.
    pub fn hand_over(&self, listener: RawFd) -> Result<()> {
        let mut answer = [0; 1];
        let heard = socket::send(self.socket.as_fd(), &listener_message(listener), None)
            .and_then(|()| read(&self.socket, &mut answer));
        match heard.os("hand over", "the seccomp listener")? {
            1 if answer == *b"c" => Ok(()),
            _ => Err(Error::new(Kind::Os, "the seccomp listener was not taken")),
        }
    }

    /// The runtime waits for the next report.
    ///
    /// # Errors
    /// When the message is not one of ours.
    pub fn next(&self) -> Result<ToParent> {
        let mut buffer = self.buffer.take();
        if buffer.is_empty() {
            buffer = vec![0; MESSAGE_MAX];
        }
        let received = socket::receive(self.socket.as_fd(), &mut buffer);
        let report = Self::report_of(received, &buffer);
        self.buffer.replace(buffer);
        report
    }

    fn report_of(received: nix::Result<(usize, Option<OwnedFd>)>, buffer: &[u8]) -> Result<ToParent> {
        // A child that died with unread messages resets the connection.
        if matches!(received, Err(nix::errno::Errno::ECONNRESET)) {
            return Ok(ToParent::Closed);
        }
        let (length, fd) = received.os("receive from", "the container's init process")?;
        match (buffer[..length].split_first(), fd) {
            (None, _) => Ok(ToParent::Closed),
            (Some((b'm', [])), None) => Ok(ToParent::Mounted),
            (Some((b'r', [])), None) => Ok(ToParent::Ready),
            (Some((b'd', [])), None) => Ok(ToParent::Detached),
            (Some((b'l', number)), None) => Ok(ToParent::Listener(RawFd::from_ne_bytes(
                number.try_into().map_err(|_| unknown(number))?,
            ))),
            (Some((b't', [])), Some(master)) => Ok(ToParent::Console(master)),
            (Some((b'f', error)), None) => Ok(ToParent::Failed(
                serde_json::from_slice(error).map_err(|_| unknown(error))?,
            )),
            _ => Err(unknown(&buffer[..length.min(16)])),
        }
    }
}

impl From<OwnedFd> for Channel {
    fn from(socket: OwnedFd) -> Self {
        Channel {
            socket,
            buffer: RefCell::default(),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The number is enough: the runtime takes the descriptor itself (pidfd_getfd(2)), for a filter may stop sendmsg(2).
fn listener_message(number: RawFd) -> [u8; 5] {
    let [a, b, c, d] = number.to_ne_bytes();
    [b'l', a, b, c, d]
}

fn unknown(message: &[u8]) -> Error {
    Error::new(
        Kind::Os,
        format_args!(
            "unknown message on the init socket: {:?}",
            message.escape_ascii().to_string()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_to_the_child_arrives_as_sent() {
        let (parent, child) = Channel::pair().unwrap();
        for message in [ToChild::Go, ToChild::Continue, ToChild::Detach, ToChild::Start] {
            parent.tell(message).unwrap();
            assert_eq!(child.hear().unwrap(), Some(message));
        }
        drop(parent);
        assert_eq!(child.hear().unwrap(), None);
    }

    #[test]
    fn an_error_arrives_whole_and_the_end_of_file_follows() {
        let (parent, child) = Channel::pair().unwrap();
        let error = Error::invalid("process.cwd", "is no directory").hint("create it");
        child.report(&ToParent::Failed(error.clone())).unwrap();
        drop(child);
        assert!(matches!(parent.next().unwrap(), ToParent::Failed(received) if received == error));
        assert!(matches!(parent.next().unwrap(), ToParent::Closed));
    }

    #[test]
    fn a_terminal_comes_with_its_descriptor() {
        let (parent, child) = Channel::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        child.report(&ToParent::Console(file.into())).unwrap();
        assert!(matches!(parent.next().unwrap(), ToParent::Console(_)));
    }

    #[test]
    fn a_lent_descriptor_arrives_before_the_next_word() {
        let (parent, child) = Channel::pair().unwrap();
        parent
            .lend(std::fs::File::open("/dev/null").unwrap().as_fd())
            .unwrap();
        parent.tell(ToChild::Go).unwrap();
        assert!(child.borrowed().is_ok());
        assert_eq!(child.hear().unwrap(), Some(ToChild::Go));
        parent.tell(ToChild::Go).unwrap();
        assert!(child.borrowed().is_err());
    }

    #[test]
    fn a_listener_is_handed_over_by_its_number_and_its_answer_is_waited_for() {
        let (parent, child) = Channel::pair().unwrap();
        parent.tell(ToChild::Continue).unwrap();
        child.hand_over(0x0102_0304).unwrap();
        assert!(matches!(parent.next().unwrap(), ToParent::Listener(0x0102_0304)));
        drop(parent);
        assert!(child.hand_over(5).is_err());
    }

    #[test]
    fn garbage_is_an_error_and_no_panic() {
        let (parent, child) = Channel::pair().unwrap();
        socket::send(child.as_fd(), b"f{", None).unwrap();
        assert!(parent.next().is_err());
        socket::send(parent.as_fd(), b"zz", None).unwrap();
        assert!(child.hear().is_err());
    }
}
