//! The foreground: signals go to the container's process, its terminal to ours, its exit status to our caller.

use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{read, write};

use crate::error::{Error, Kind, OsContext, Result};
use crate::sys::clone::Child;
use crate::sys::{pidfd, tty};

/// All signals, held back from the moment that this exists: none is lost between clone and wait.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks every signal of this process and makes them readable.
    ///
    /// # Errors
    /// Those of sigprocmask(2) and signalfd(2).
    pub fn block() -> Result<Signals> {
        let all = SigSet::all();
        all.thread_block().os("block", "signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&all, flags)
            .map(Signals)
            .os("create", "signal descriptor")
    }
}

/// Forwards signals and the terminal until the process ends; its exit status, 128 plus the signal that killed it.
///
/// # Errors
/// Those of poll(2) and of our own terminal.
pub fn wait(child: &Child, signals: &mut Signals, console: Option<OwnedFd>) -> Result<u8> {
    let mut terminal = console.map(Relay::start).transpose()?;
    loop {
        let events = Events::wait(child, signals, terminal.as_ref())?;
        if events.signal {
            forward(child, signals, terminal.as_ref())?;
        }
        if let Some(relay) = &mut terminal {
            relay.step(&events)?;
        }
        if events.exited {
            if let Some(relay) = &mut terminal {
                relay.drain();
            }
            return exit_status(child);
        }
    }
}

fn exit_status(child: &Child) -> Result<u8> {
    let low_byte = |code: i32| u8::try_from(code & 0xff).unwrap_or(u8::MAX);
    match waitpid(child.pid, None).os("wait for", "the container's process")? {
        WaitStatus::Exited(_, code) => Ok(low_byte(code)),
        WaitStatus::Signaled(_, signal, _) => Ok(low_byte(128 + signal as i32)),
        other => Err(Error::new(
            Kind::Os,
            format_args!("the container's process ended as {other:?}"),
        )),
    }
}

fn forward(child: &Child, signals: &mut Signals, terminal: Option<&Relay>) -> Result<()> {
    while let Some(info) = signals.0.read_signal().os("read", "signals")? {
        let number = info.ssi_signo.cast_signed();
        match Signal::try_from(number) {
            // Ours: children that end, and a terminal that only we can see.
            Ok(Signal::SIGCHLD | Signal::SIGPIPE | Signal::SIGTTIN | Signal::SIGTTOU) => {}
            Ok(Signal::SIGWINCH) if terminal.is_some() => terminal.map_or(Ok(()), Relay::copy_size)?,
            _ => match pidfd::send_signal(child.pidfd.as_fd(), number) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(Error::os("forward signal", number, errno)),
            },
        }
    }
    Ok(())
}

/// What poll(2) found.
#[derive(Default)]
struct Events {
    exited: bool,
    signal: bool,
    input: bool,
    output: bool,
    writable: bool,
}

impl Events {
    fn wait(child: &Child, signals: &Signals, terminal: Option<&Relay>) -> Result<Events> {
        let stdin = std::io::stdin();
        let mut fds = vec![
            PollFd::new(child.pidfd.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.0.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(relay) = terminal {
            let wanted = if relay.pending.is_empty() {
                PollFlags::POLLIN
            } else {
                PollFlags::POLLIN | PollFlags::POLLOUT
            };
            fds.push(PollFd::new(
                relay.master.as_fd(),
                if relay.hung_up { PollFlags::empty() } else { wanted },
            ));
            let wants_input = relay.input_open && relay.pending.is_empty();
            fds.push(PollFd::new(
                stdin.as_fd(),
                if wants_input {
                    PollFlags::POLLIN
                } else {
                    PollFlags::empty()
                },
            ));
        }
        // A terminal whose last user closed it reports a hang-up for ever: then only the exit is worth waking up for.
        if terminal.is_some_and(|relay| relay.hung_up) {
            fds.truncate(2);
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Events::default()),
            Err(errno) => return Err(Error::os("wait for", "the container", errno)),
        }
        let found = |index: usize, flags: PollFlags| {
            fds.get(index)
                .and_then(PollFd::revents)
                .is_some_and(|events| events.intersects(flags))
        };
        let readable = PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR;
        Ok(Events {
            exited: found(0, readable),
            signal: found(1, PollFlags::POLLIN),
            output: found(2, readable),
            writable: found(2, PollFlags::POLLOUT),
            input: found(3, readable),
        })
    }
}

/// Gives the container's terminal the size of ours; before its process starts, for it may ask only once.
///
/// # Errors
/// Those of setting the size (ioctl_tty(2)).
pub fn copy_size(master: &OwnedFd) -> Result<()> {
    match tty::size(std::io::stdin().as_fd()) {
        Ok(size) => tty::set_size(master.as_fd(), &size).os("set size of", "the container's terminal"),
        // Standard input is no terminal: the size of config.json stays.
        Err(_) => Ok(()),
    }
}

/// Our terminal and the container's.
struct Relay {
    master: OwnedFd,
    /// Our terminal as it was, when standard input is one.
    restore: Option<Termios>,
    /// Read from standard input, not yet taken by the container.
    pending: Vec<u8>,
    input_open: bool,
    hung_up: bool,
}

impl Relay {
    fn start(master: OwnedFd) -> Result<Relay> {
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))
            .os("set flags of", "the terminal")?;
        let restore = tcgetattr(std::io::stdin()).ok();
        if let Some(attributes) = &restore {
            let mut raw = attributes.clone();
            cfmakeraw(&mut raw);
            tcsetattr(std::io::stdin(), SetArg::TCSANOW, &raw).os("set", "terminal to raw mode")?;
        }
        let relay = Relay {
            master,
            restore,
            pending: Vec::new(),
            input_open: true,
            hung_up: false,
        };
        relay.copy_size()?;
        Ok(relay)
    }

    fn copy_size(&self) -> Result<()> {
        copy_size(&self.master)
    }

    fn step(&mut self, events: &Events) -> Result<()> {
        if events.input {
            self.read_input()?;
        }
        if !self.pending.is_empty() && (events.writable || events.input) {
            match write(&self.master, &self.pending) {
                Ok(written) => drop(self.pending.drain(..written)),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(_) => self.hung_up = true,
            }
        }
        if events.output && !self.copy_output() {
            self.hung_up = true;
        }
        Ok(())
    }

    fn read_input(&mut self) -> Result<()> {
        /// What a terminal takes for the end of its input (control-D).
        const END_OF_TRANSMISSION: u8 = 4;
        let mut buffer = [0; 4096];
        match read(std::io::stdin(), &mut buffer) {
            Ok(0) => {
                self.input_open = false;
                self.pending.push(END_OF_TRANSMISSION);
            }
            Ok(length) => self.pending.extend(&buffer[..length]),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(Errno::EIO) => self.input_open = false,
            Err(errno) => return Err(Error::os("read", "standard input", errno)),
        }
        Ok(())
    }

    /// False when nobody in the container has the terminal open any more.
    fn copy_output(&mut self) -> bool {
        use std::io::Write;
        let mut buffer = [0; 16 * 1024];
        match read(&self.master, &mut buffer) {
            Ok(0) => false,
            Ok(length) => match std::io::stdout()
                .write_all(&buffer[..length])
                .and_then(|()| std::io::stdout().flush())
            {
                Err(error) => error.kind() != ErrorKind::BrokenPipe,
                Ok(()) => true,
            },
            Err(Errno::EAGAIN | Errno::EINTR) => true,
            Err(_) => false,
        }
    }

    /// What the process printed last is still in the terminal.
    fn drain(&mut self) {
        let readable = |relay: &Relay| {
            let mut fds = [PollFd::new(relay.master.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::ZERO).is_ok()
                && fds[0]
                    .revents()
                    .is_some_and(|events| events.contains(PollFlags::POLLIN))
        };
        while readable(self) && self.copy_output() {}
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(attributes) = &self.restore {
            // The caller's shell needs its terminal back whatever happened.
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, attributes);
        }
    }
}
