//! A server of one page over HTTP/1.1, for a handful of readers: one thread, a bounded number of connections, each with a
//! bounded request and a bounded time. Whoever sends anything but a GET of the page is told so and closed.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Error, OsContext as _, Result};
use crate::log;

/// Connections at a time; further ones wait in the kernel.
const MOST: usize = 16;

/// Bytes of a request.
const LONGEST: usize = 8 * 1024;

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers requests for the page, which is made for each, until the process is ended.
///
/// # Errors
/// When the address cannot be listened on.
pub(super) fn serve(address: SocketAddr, page: impl Fn() -> Result<String>) -> Result<()> {
    let listener = TcpListener::bind(address).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => Error::os("--metrics: listen on", address, Errno::EADDRINUSE)
            .hint("another process has this port; port 0 takes a free one"),
        ErrorKind::AddrNotAvailable => Error::os("--metrics: listen on", address, Errno::EADDRNOTAVAIL)
            .hint("this host does not have the address"),
        _ => Error::invalid("--metrics", format_args!("listen on {address}: {error}")),
    })?;
    listener.set_nonblocking(true).os("listen on", address)?;
    let address = listener.local_addr().os("listen on", address)?;
    if super::follow::print(format!("http://{address}/metrics\n").as_bytes())?.is_break() {
        return Ok(());
    }
    let mut connections: Vec<Connection> = Vec::new();
    loop {
        wait(&listener, &connections)?;
        let now = Instant::now();
        while connections.len() < MOST {
            match listener.accept() {
                Ok((stream, _)) if stream.set_nonblocking(true).is_ok() => connections.push(Connection {
                    stream,
                    request: Vec::new(),
                    answer: None,
                    end: now + PATIENCE,
                }),
                // One that was reset meanwhile, or no descriptor for it: it waits.
                Ok(_) => {}
                Err(_) => break,
            }
        }
        connections.retain_mut(|connection| connection.step(&page) && now < connection.end);
    }
}

fn wait(listener: &TcpListener, connections: &[Connection]) -> Result<()> {
    let accept = match connections.len() < MOST {
        true => PollFlags::POLLIN,
        false => PollFlags::empty(),
    };
    let mut fds = vec![PollFd::new(listener.as_fd(), accept)];
    fds.extend(connections.iter().map(|connection| {
        let wanted = match connection.answer {
            None => PollFlags::POLLIN,
            Some(_) => PollFlags::POLLOUT,
        };
        PollFd::new(connection.stream.as_fd(), wanted)
    }));
    let now = Instant::now();
    let first = connections.iter().map(|connection| connection.end).min();
    let timeout = match first {
        // Rounded up, so that it has passed then.
        Some(end) => PollTimeout::try_from(end.saturating_duration_since(now) + Duration::from_millis(1))
            .unwrap_or(PollTimeout::MAX),
        None => PollTimeout::NONE,
    };
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno).os("wait for", "connections"),
    }
}

struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    /// What is still to be sent.
    answer: Option<Vec<u8>>,
    end: Instant,
}

impl Connection {
    /// Goes on as far as it can without waiting; false when it is done.
    fn step(&mut self, page: &impl Fn() -> Result<String>) -> bool {
        if self.answer.is_none() {
            let mut buffer = [0; 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(count) => self.request.extend(buffer.get(..count).unwrap_or_default()),
                Err(error) => return is_later(&error),
            }
            let is_whole = self.request.windows(4).any(|end| end == b"\r\n\r\n");
            if !is_whole && self.request.len() < LONGEST {
                return true;
            }
            self.answer = Some(answer(&self.request, is_whole, page));
        }
        let Some(answer) = &mut self.answer else {
            return true;
        };
        while !answer.is_empty() {
            match self.stream.write(answer) {
                Ok(count) => drop(answer.drain(..count)),
                Err(error) => return is_later(&error),
            }
        }
        false
    }
}

fn is_later(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn answer(request: &[u8], is_whole: bool, page: &impl Fn() -> Result<String>) -> Vec<u8> {
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let path = |target: &[u8]| target.split(|byte| *byte == b'?').next() == Some(b"/metrics");
    let (status, kind, body) = match words[..] {
        _ if !is_whole => (
            "431 Request Header Fields Too Large",
            PLAIN,
            "the request is too long\n".to_owned(),
        ),
        [b"GET", target, version] if version.starts_with(b"HTTP/1.") => match path(target) {
            true => match page() {
                Ok(page) => ("200 OK", METRICS, page),
                Err(error) => {
                    log::warn(&error);
                    ("500 Internal Server Error", PLAIN, format!("{error}\n"))
                }
            },
            false => ("404 Not Found", PLAIN, "there is /metrics only\n".to_owned()),
        },
        [_, _, version] if version.starts_with(b"HTTP/1.") => {
            ("405 Method Not Allowed", PLAIN, "there is GET only\n".to_owned())
        }
        _ => (
            "400 Bad Request",
            PLAIN,
            "this is no request of HTTP/1.1\n".to_owned(),
        ),
    };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";
