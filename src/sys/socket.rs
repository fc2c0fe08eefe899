//! Messages with descriptors over AF_UNIX sockets; sockets that only hold a port.

use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, accept4, recvmsg, sendmsg};
use nix::unistd::write;

/// Sends one message, with a descriptor when one is given. A peer that is gone is `EPIPE`, never a signal, as long as
/// SIGPIPE is ignored or a descriptor is sent: a message alone is a plain write(2), which the narrowest seccomp filter
/// allows.
///
/// # Errors
/// Those of sendmsg(2), `EINTR` aside.
pub fn send(socket: BorrowedFd<'_>, data: &[u8], fd: Option<BorrowedFd<'_>>) -> nix::Result<()> {
    loop {
        let sent = match fd {
            None => write(socket, data),
            Some(fd) => {
                let rights = [fd.as_raw_fd()];
                let control = [ControlMessage::ScmRights(&rights)];
                let data = [IoSlice::new(data)];
                sendmsg::<()>(socket.as_raw_fd(), &data, &control, MsgFlags::MSG_NOSIGNAL, None)
            }
        };
        match sent {
            Err(Errno::EINTR) => {}
            result => return result.map(drop),
        }
    }
}

/// The most descriptors that one message carries (`SCM_MAX_FD` of the kernel).
pub const MOST_DESCRIPTORS: usize = 253;

/// Sends one message with up to [`MOST_DESCRIPTORS`] descriptors. A peer that is gone is `EPIPE`, never a signal.
///
/// # Errors
/// Those of sendmsg(2), `EINTR` aside; `EINVAL` for too many descriptors.
pub fn send_many(socket: BorrowedFd<'_>, data: &[u8], fds: &[BorrowedFd<'_>]) -> nix::Result<()> {
    let rights: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&rights)];
    let control = if fds.is_empty() { &[] } else { &rights[..] };
    let data = [IoSlice::new(data)];
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &data, control, MsgFlags::MSG_NOSIGNAL, None) {
            Err(Errno::EINTR) => {}
            result => return result.map(drop),
        }
    }
}

/// Receives one message into `buffer`: its length (0 at end of file) and the descriptor that came along, close-on-exec.
///
/// # Errors
/// Those of recvmsg(2), `EINTR` aside; `EMSGSIZE` when the message did not fit.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> nix::Result<(usize, Option<OwnedFd>)> {
    let (length, mut fds) = receive_into(socket, buffer, cmsg_space!(RawFd))?;
    Ok((length, fds.pop()))
}

/// [`receive`] for up to [`MOST_DESCRIPTORS`] descriptors, in the order in which they were sent.
///
/// # Errors
/// As [`receive`]; `ENOBUFS` when this process's limit of descriptors does not take them all.
pub fn receive_many(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> nix::Result<(usize, Vec<OwnedFd>)> {
    receive_into(socket, buffer, cmsg_space!([RawFd; MOST_DESCRIPTORS]))
}

fn receive_into(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    mut control: Vec<u8>,
) -> nix::Result<(usize, Vec<OwnedFd>)> {
    let mut slices = [IoSliceMut::new(buffer)];
    let message = loop {
        match recvmsg::<()>(
            socket.as_raw_fd(),
            &mut slices,
            Some(&mut control),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Err(Errno::EINTR) => {}
            result => break result?,
        }
    };
    let mut received = Vec::new();
    let flags = message.flags;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = part {
            // SAFETY: the kernel installed these descriptors for us in this call; nothing else owns them.
            received.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if flags.contains(MsgFlags::MSG_TRUNC) {
        return Err(Errno::EMSGSIZE);
    }
    Ok((message.bytes, received))
}

/// Accepts a connection, close-on-exec.
///
/// # Errors
/// Those of accept4(2), `EINTR` aside.
pub fn accept(listener: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    loop {
        match accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
            Err(Errno::EINTR) => {}
            // SAFETY: a fresh descriptor, which nothing else owns.
            result => return result.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
        }
    }
}

/// A socket that is bound to `address` and does nothing else: it neither listens nor shares the port (no SO_REUSEADDR).
/// `kind` is SOCK_STREAM or SOCK_DGRAM, `protocol` one of IPPROTO_*. An IPv6 socket takes IPv6 only.
///
/// # Errors
/// Those of socket(2) and bind(2).
pub fn bound(address: SocketAddr, kind: libc::c_int, protocol: libc::c_int) -> nix::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    // SAFETY: takes and returns numbers.
    let socket = Errno::result(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    if family == libc::AF_INET6 {
        let only: libc::c_int = 1;
        // SAFETY: the pointer and the length are those of `only`.
        let set = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_IPV6,
                libc::IPV6_V6ONLY,
                (&raw const only).cast(),
                size_of_val(&only) as libc::socklen_t,
            )
        };
        Errno::result(set)?;
    }
    let result = match address {
        SocketAddr::V4(v4) => {
            // SAFETY: all zeros is a valid sockaddr_in.
            let mut raw: libc::sockaddr_in = unsafe { std::mem::zeroed() };
            raw.sin_family = libc::AF_INET as libc::sa_family_t;
            raw.sin_port = v4.port().to_be();
            raw.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
            // SAFETY: the pointer and the length are those of `raw`.
            unsafe {
                libc::bind(
                    socket.as_raw_fd(),
                    (&raw const raw).cast(),
                    size_of_val(&raw) as libc::socklen_t,
                )
            }
        }
        SocketAddr::V6(v6) => {
            // SAFETY: all zeros is a valid sockaddr_in6.
            let mut raw: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
            raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            raw.sin6_port = v6.port().to_be();
            raw.sin6_addr.s6_addr = v6.ip().octets();
            // SAFETY: the pointer and the length are those of `raw`.
            unsafe {
                libc::bind(
                    socket.as_raw_fd(),
                    (&raw const raw).cast(),
                    size_of_val(&raw) as libc::socklen_t,
                )
            }
        }
    };
    Errno::result(result).map(|_| socket)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use nix::sys::socket::{AddressFamily, SockType, socketpair};
    use nix::unistd::{pipe, read};

    use super::*;

    #[test]
    fn a_descriptor_travels_with_its_message() {
        let (left, right) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .unwrap();
        let (reader, writer) = pipe().unwrap();
        send(left.as_fd(), b"here", Some(writer.as_fd())).unwrap();
        drop(writer);
        let mut buffer = [0; 16];
        let (length, fd) = receive(right.as_fd(), &mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"here");
        std::fs::File::from(fd.unwrap()).write_all(b"x").unwrap();
        assert_eq!(read(&reader, &mut buffer).unwrap(), 1);
    }

    #[test]
    fn many_descriptors_arrive_in_their_order() {
        let (left, right) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .unwrap();
        let pipes: Vec<_> = (0..40).map(|_| pipe().unwrap()).collect();
        let writers: Vec<_> = pipes.iter().map(|(_, writer)| writer.as_fd()).collect();
        send_many(left.as_fd(), b"all", &writers).unwrap();
        let mut buffer = [0; 16];
        let (length, fds) = receive_many(right.as_fd(), &mut buffer).unwrap();
        assert_eq!((&buffer[..length], fds.len()), (&b"all"[..], 40));
        for (number, (fd, (reader, _))) in fds.into_iter().zip(&pipes).enumerate() {
            std::fs::File::from(fd).write_all(&[number as u8]).unwrap();
            assert_eq!(read(reader, &mut buffer).unwrap(), 1);
            assert_eq!(buffer[0], number as u8);
        }
    }

    #[test]
    fn a_message_that_does_not_fit_is_an_error() {
        let (left, right) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .unwrap();
        send(left.as_fd(), b"too long", None).unwrap();
        assert_eq!(receive(right.as_fd(), &mut [0; 4]).unwrap_err(), Errno::EMSGSIZE);
    }
}
