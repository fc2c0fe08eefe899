//! Asking a supervisor.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::protocol::{Answer, Progress, Request, Status};
use super::supervisor::process;
use crate::container::store::Store;
use crate::error::{Error, Kind, OsContext as _, Result};

/// A question that is under way.
struct Conversation {
    project: String,
    answers: BufReader<UnixStream>,
}

/// What is heard before the end.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// Something has happened.
    Progress(Progress),
    /// Something is odd.
    Warning(String),
}

impl Conversation {
    /// Asks the project's supervisor, which is started if there is none.
    ///
    /// # Errors
    /// When it cannot be started or does not listen.
    fn begin(store: &Store, project: &str, request: &Request) -> Result<Self> {
        let mut stream = process::connect(store, project)?;
        let mut line = serde_json::to_vec(request)
            .map_err(|error| Error::new(Kind::Os, format_args!("encode a request: {error}")))?;
        line.push(b'\n');
        stream.write_all(&line).os("ask", "the supervisor")?;
        Ok(Self {
            project: project.to_owned(),
            answers: BufReader::new(stream),
        })
    }

    /// Listens to the end: the replicas, for a question for these.
    ///
    /// # Errors
    /// The supervisor's, or that it has ended.
    fn finish(mut self, first: Answer, mut news: impl FnMut(News)) -> Result<Vec<Status>> {
        let mut answer = first;
        loop {
            match answer {
                Answer::Progress(progress) => news(News::Progress(progress)),
                Answer::Warning(warning) => news(News::Warning(warning)),
                Answer::Replicas(replicas) => return Ok(replicas),
                Answer::Done => return Ok(Vec::new()),
                Answer::Error(error) => return Err(error),
            }
            answer = self.next()?;
        }
    }

    fn next(&mut self) -> Result<Answer> {
        let mut line = Vec::new();
        self.answers
            .read_until(b'\n', &mut line)
            .os("listen to", "the supervisor")?;
        if line.is_empty() {
            return Err(Error::new(
                Kind::Os,
                format_args!(
                    "the supervisor of project {} has ended in the middle",
                    self.project
                ),
            )
            .hint("the same command again goes on where it was"));
        }
        serde_json::from_slice(&line)
            .map_err(|error| Error::new(Kind::Os, format_args!("the supervisor says nonsense: {error}")))
    }
}

/// Asks the project's supervisor, which is started if there is none, and listens to the end: the replicas, for a question
/// for these.
///
/// # Errors
/// When it cannot be started; its own errors; that it has ended in the middle.
pub fn ask(store: &Store, project: &str, request: &Request, news: impl FnMut(News)) -> Result<Vec<Status>> {
    const ATTEMPTS: u32 = 5;
    /// What the kernel may need to take a process apart.
    const DYING: Duration = Duration::from_millis(10);
    let mut attempt = 1;
    loop {
        let asked = Conversation::begin(store, project, request).and_then(|mut conversation| {
            let first = conversation.next()?;
            Ok((conversation, first))
        });
        match asked {
            Ok((conversation, first)) => return conversation.finish(first, news),
            // It was being killed when we came. Whatever it has begun, asking again wishes for the same.
            Err(error) if attempt < ATTEMPTS && error.kind() == Kind::Os => {
                std::thread::sleep(DYING * attempt);
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// What there is of a project; nothing, and no supervisor is started, when it is not up.
///
/// # Errors
/// As [`ask`].
pub fn replicas(store: &Store, project: &str) -> Result<Vec<Status>> {
    if !super::supervisor::place::Place::of(store, project)?.exists() {
        return Ok(Vec::new());
    }
    ask(store, project, &Request::Ps, |_| {})
}
