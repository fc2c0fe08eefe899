//! What commands share that print until they are stopped: waiting, and output whose reader may go away.

use std::io::{ErrorKind, Write as _};
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{OsContext as _, Result};

/// Prints. `Break` says that nobody reads any more, which is a good end: `minirun logs -f | head -1`.
pub(super) fn print(text: &[u8]) -> Result<ControlFlow<()>> {
    let mut output = std::io::stdout().lock();
    match output.write_all(text).and_then(|()| output.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(error).os("write", "standard output"),
    }
}

/// Waits until one of these can be read, `timeout` has passed, or nobody reads the output any more, which is `Break`.
pub(super) fn wait(
    sources: &[std::os::fd::BorrowedFd<'_>],
    timeout: Option<Duration>,
) -> Result<ControlFlow<()>> {
    let output = std::io::stdout();
    let mut fds: Vec<PollFd<'_>> = sources
        .iter()
        .map(|source| PollFd::new(*source, PollFlags::POLLIN))
        .collect();
    // Only errors, which are always reported: a pipe without a reader.
    fds.push(PollFd::new(output.as_fd(), PollFlags::empty()));
    // Rounded up: waking a moment early would mean waking again and again.
    let timeout = match timeout {
        Some(timeout) => {
            PollTimeout::try_from(timeout + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        }
        None => PollTimeout::NONE,
    };
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno).os("wait for", "events"),
    }
    let unread = fds
        .last()
        .and_then(PollFd::revents)
        .is_some_and(|events| events.contains(PollFlags::POLLERR));
    Ok(match unread {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    })
}
