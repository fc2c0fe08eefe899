//! `minirun compose up` in the foreground: what services write is shown until they have ended, or Ctrl-C stops them.
//!
//! One loop over three sources: signals, the logs, and a thread that asks the supervisor, first to bring the services up and
//! then to say when they have ended.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{pipe2, read, write};

use super::ask::ask;
use super::progress::{self, Display};
use crate::cli::logs::{self, Logs, Style};
use crate::compose::client::{self, News};
use crate::compose::journal::{self, Selection};
use crate::compose::protocol::{Phase, Request, Status, Until};
use crate::container::store::Store;
use crate::error::{Error, Kind, OsContext as _, Result};
use crate::log::{self, Rfc3339};

/// The exit status at the end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then<'a> {
    /// 0.
    Success,
    /// That of the replica whose end was waited for.
    WhatEnded,
    /// That of this service.
    StatusOf(&'a str),
}

pub(super) struct Foreground<'a> {
    pub(super) store: &'a Store,
    pub(super) project: &'a str,
    /// The services whose logs are shown; all when empty.
    pub(super) shown: &'a [String],
    /// Those that are waited for, and stopped; all when empty.
    pub(super) services: Vec<String>,
    pub(super) until: Until,
    pub(super) then: Then<'a>,
    pub(super) quiet: bool,
}

/// What the thread says.
enum Heard {
    News(News),
    /// The services are up.
    Up,
    /// They have ended, or something went wrong.
    End(Result<Vec<Status>>),
}

impl Foreground<'_> {
    /// The exit status.
    pub(super) fn run(&self, up: Request) -> Result<u8> {
        // The terminal tells every process that belongs to it; here signals are read one by one.
        let mut set = SigSet::empty();
        set.add(Signal::SIGINT);
        set.add(Signal::SIGTERM);
        set.thread_block().os("block", "signals")?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .os("create", "a signalfd")?;
        match self.watch(up, &signals)? {
            None => {
                self.stop(&signals)?;
                Ok(0)
            }
            // The stack was taken down.
            Some(ended) if ended.is_empty() => Ok(0),
            Some(ended) => {
                if self.until != Until::AllEnded {
                    self.stop(&signals)?;
                }
                self.status(&ended)
            }
        }
    }

    /// Until the services have ended: what there is of them then; nothing when a signal came before.
    fn watch(&self, up: Request, signals: &SignalFd) -> Result<Option<Vec<Status>>> {
        // What services wrote before is for `logs`.
        let selection = Selection {
            since: Some(Rfc3339(SystemTime::now()).to_string()),
            ..Selection::default()
        };
        let (heard, awake) = self.ask_in_thread(up)?;
        let mut display = Display::new(self.quiet);
        let directory = journal::directory(self.project);
        let wanted = |container: &str| {
            let service = logs::service(self.project, container);
            self.shown.is_empty() || self.shown.iter().any(|shown| shown == service)
        };
        let mut logs: Option<Logs<'_>> = None;
        loop {
            let source = logs.as_ref().and_then(Logs::source);
            let mut fds = vec![
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(awake.as_fd(), PollFlags::POLLIN),
            ];
            fds.extend(source.map(|source| PollFd::new(source, PollFlags::POLLIN)));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).os("wait for", "events"),
            }
            let [told, rings, ..] = fds.as_slice() else {
                continue;
            };
            let (told, rings) = (told.any().unwrap_or(false), rings.any().unwrap_or(false));
            if told && signals.read_signal().os("read", "a signal")?.is_some() {
                return Ok(None);
            }
            if rings {
                let _ = read(&awake, &mut [0; 64]);
            }
            // What a service has written stands before the news of its end.
            if let Some(shown) = &mut logs
                && shown.woken()?.is_break()
            {
                // Nobody reads it, or it is gone with the stack.
                logs = None;
            }
            let (up, end) = hear(&heard, &mut display, logs.is_some());
            if up {
                let style = Style {
                    prefix: Some(self.project.to_owned()),
                    colour: logs::wants_colour(false),
                    ..Style::default()
                };
                let mut opened = Logs::open(&directory, &selection, style, &wanted)?;
                opened.show(false)?;
                logs = Some(opened);
            }
            if let Some(end) = end {
                if let Some(shown) = &mut logs {
                    let _ = shown.woken()?;
                }
                return end.map(Some);
            }
        }
    }

    /// What the thread says, and a pipe to poll for it.
    fn ask_in_thread(&self, up: Request) -> Result<(Receiver<Heard>, OwnedFd)> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).os("make", "a pipe")?;
        let (say, heard) = channel();
        let (store, project) = (self.store.clone(), self.project.to_owned());
        let wait = Request::Await {
            services: self.services.clone(),
            until: self.until,
        };
        let telling = Telling { say, writer };
        std::thread::spawn(move || {
            let news = |news| telling.tell(Heard::News(news));
            let ended = client::ask(&store, &project, &up, news).and_then(|_| {
                telling.tell(Heard::Up);
                wait_for_end(&store, &project, &wait, news)
            });
            telling.tell(Heard::End(ended));
        });
        Ok((heard, reader))
    }

    /// Stops the services, and kills them when a signal comes meanwhile.
    fn stop(&self, signals: &SignalFd) -> Result<()> {
        let stop = |grace| Request::Stop {
            services: self.services.clone(),
            grace,
        };
        std::thread::scope(|scope| {
            let stopping = scope.spawn(|| ask(self.store, self.project, &stop(None), self.quiet));
            while !stopping.is_finished() {
                let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
                if poll(&mut fds, PollTimeout::from(50_u8)).is_ok_and(|ready| ready > 0) {
                    signals.read_signal().os("read", "a signal")?;
                    ask(self.store, self.project, &stop(Some(Duration::ZERO)), true)?;
                }
            }
            stopping
                .join()
                .unwrap_or_else(|_| Err(Error::new(Kind::Os, "stopping has failed")))
        })
    }

    /// `ended` is how the replicas were when it was time to end.
    fn status(&self, ended: &[Status]) -> Result<u8> {
        let of = |replica: &Status| match (&replica.failure, replica.exit_code) {
            (None, code) => code.unwrap_or(0),
            (Some(_), _) => 1,
        };
        let code = match self.then {
            Then::Success => None,
            Then::WhatEnded => ended.iter().map(of).find(|code| *code != 0),
            Then::StatusOf(service) => {
                let stopped = client::replicas(self.store, self.project)?;
                stopped.iter().find(|replica| replica.service == service).map(of)
            }
        };
        Ok(u8::try_from(code.unwrap_or(0)).unwrap_or(u8::MAX))
    }
}

/// Says what it hears, and rings.
struct Telling {
    say: Sender<Heard>,
    writer: OwnedFd,
}

impl Telling {
    fn tell(&self, heard: Heard) {
        // Whoever listened may be about to end; a full pipe rings already.
        let _ = self.say.send(heard);
        let _ = write(&self.writer, b"!");
    }
}

/// A supervisor that is killed meanwhile is replaced by being asked again: the services go on.
fn wait_for_end(
    store: &Store,
    project: &str,
    wait: &Request,
    news: impl Fn(News) + Copy,
) -> Result<Vec<Status>> {
    /// So often in a row it may be killed at once.
    const ATTEMPTS: u32 = 5;
    const WHILE: Duration = Duration::from_secs(1);
    let mut attempts = 0;
    loop {
        let began = Instant::now();
        match client::ask(store, project, wait, news) {
            Err(error) if error.kind() == Kind::Os && attempts < ATTEMPTS => {
                attempts = if began.elapsed() < WHILE { attempts + 1 } else { 0 };
            }
            ended => return ended,
        }
    }
}

/// Shows the news. Whether the services are up from now on, and how they have ended.
fn hear(heard: &Receiver<Heard>, display: &mut Display, are_up: bool) -> (bool, Option<Result<Vec<Status>>>) {
    let mut up = false;
    while let Ok(heard) = heard.try_recv() {
        match heard {
            Heard::Up => up = true,
            Heard::End(end) => return (up, Some(end)),
            Heard::News(news) if !(are_up || up) => display.show(news),
            Heard::News(News::Warning(text)) => log::warn(text),
            Heard::News(News::Progress(progress))
                if matches!(progress.phase, Phase::Exited | Phase::Failed | Phase::Unhealthy) =>
            {
                eprintln!("{}", progress::plain(&progress));
            }
            Heard::News(News::Progress(_)) => {}
        }
    }
    (up, None)
}
