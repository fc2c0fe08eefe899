//! Asking a supervisor.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;

use super::protocol::{Answer, Progress, Request, Status};
use super::supervisor::process;
use crate::container::store::Store;
use crate::error::{Error, Kind, OsContext as _, Result};

/// A question that is under way.
#[derive(Debug)]
pub struct Conversation {
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
    pub fn begin(store: &Store, project: &str, request: &Request) -> Result<Self> {
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
    pub fn finish(mut self, mut news: impl FnMut(News)) -> Result<Vec<Status>> {
        loop {
            match self.next()? {
                Answer::Progress(progress) => news(News::Progress(progress)),
                Answer::Warning(warning) => news(News::Warning(warning)),
                Answer::Replicas(replicas) => return Ok(replicas),
                Answer::Done => return Ok(Vec::new()),
                Answer::Error(error) => return Err(error),
            }
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

/// What there is of a project; nothing, and no supervisor is started, when it is not up.
///
/// # Errors
/// As [`Conversation::begin`] and [`Conversation::finish`].
pub fn replicas(store: &Store, project: &str) -> Result<Vec<Status>> {
    if !super::supervisor::place::Place::of(store, project)?.exists() {
        return Ok(Vec::new());
    }
    Conversation::begin(store, project, &Request::Ps)?.finish(|_| {})
}
