//! A connection to a systemd manager: its private socket, on which it speaks D-Bus without a bus daemon in between.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::message::{FIXED, Message, Property, Writer, call};
use crate::error::{Error, Kind, OsContext, Result};

const MANAGER: &str = "org.freedesktop.systemd1.Manager";
/// How long an answer, or the end of a job, may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The connection.
pub(super) struct Manager {
    socket: UnixStream,
    serial: u32,
    /// Jobs that have ended: path and result.
    ended: Vec<(String, String)>,
}

/// Why a call was refused.
pub(super) enum Refused {
    /// By the manager: the error's D-Bus name, and its text.
    Error(String, String),
    /// The conversation failed.
    Broken(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Refused::Broken(error)
    }
}

impl Refused {
    pub(super) fn is(&self, last: &str) -> bool {
        matches!(self, Refused::Error(name, _) if name.rsplit('.').next() == Some(last))
    }

    pub(super) fn during(self, what: &str) -> Error {
        match self {
            Refused::Error(name, text) => {
                Error::new(Kind::Os, format_args!("{what}: systemd says: {text} ({name})"))
            }
            Refused::Broken(error) => error.during(what),
        }
    }
}

impl Manager {
    /// # Errors
    /// When nobody listens, or not to this user.
    pub(super) fn connect(path: &Path) -> Result<Manager> {
        let socket = UnixStream::connect(path).os("connect to systemd at", path.display())?;
        for limit in [UnixStream::set_read_timeout, UnixStream::set_write_timeout] {
            limit(&socket, Some(PATIENCE)).os("set up", path.display())?;
        }
        Manager::over(socket)
    }

    pub(super) fn over(socket: UnixStream) -> Result<Manager> {
        let mut manager = Manager {
            socket,
            serial: 0,
            ended: Vec::new(),
        };
        manager.introduce()?;
        Ok(manager)
    }

    /// The kernel tells the manager who calls (D-Bus specification, "Authentication Protocol": EXTERNAL without a name).
    ///
    /// All of it in one piece, before the answers: what comes in one read with BEGIN, sd-bus leaves lying until more
    /// comes. So the first call has to come after BEGIN was read, which the answers prove.
    fn introduce(&mut self) -> Result<()> {
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        let mut answer = self.line()?;
        // DATA is asked for, or answered as well when it was not.
        if answer.starts_with("DATA") {
            answer = self.line()?;
        } else if answer.starts_with("OK") {
            self.line()?;
        }
        if !answer.starts_with("OK") {
            return Err(Error::new(
                Kind::Os,
                format_args!("systemd does not let this user in: {}", answer.trim()),
            ));
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.socket.write_all(bytes).os("write to", "systemd")
    }

    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") && line.len() < 1024 {
            let mut byte = [0];
            self.socket.read_exact(&mut byte).os("read from", "systemd")?;
            line.extend(byte);
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Calls a method of the manager's.
    pub(super) fn call(
        &mut self,
        member: &str,
        signature: &str,
        body: Writer,
    ) -> std::result::Result<Message, Refused> {
        self.call_of(MANAGER, member, signature, body)
    }

    fn call_of(
        &mut self,
        interface: &str,
        member: &str,
        signature: &str,
        body: Writer,
    ) -> std::result::Result<Message, Refused> {
        self.serial += 1;
        self.send(&call(self.serial, interface, member, signature, body))?;
        loop {
            let message = self.receive()?;
            if message.is_answer() && message.answers == self.serial {
                if message.is_error() {
                    let text = message.body().text().unwrap_or_default().to_owned();
                    return Err(Refused::Error(message.error, text));
                }
                return Ok(message);
            }
        }
    }

    /// Waits until the job that a call has made has ended well.
    pub(super) fn wait(&mut self, answer: &Message) -> std::result::Result<(), Refused> {
        let job = answer.body().text().unwrap_or_default().to_owned();
        loop {
            if let Some((_, result)) = self.ended.iter().find(|(ended, _)| *ended == job) {
                return match result.as_str() {
                    "done" | "skipped" => Ok(()),
                    other => Err(Refused::Error(
                        "job".to_owned(),
                        format!("the unit's job has {other}"),
                    )),
                };
            }
            self.receive()?;
        }
    }

    /// The next message; ends of jobs are noted.
    fn receive(&mut self) -> Result<Message> {
        let mut bytes = vec![0; FIXED];
        self.socket.read_exact(&mut bytes).os("read from", "systemd")?;
        let strange = || Error::new(Kind::Os, "systemd sent what is no D-Bus message");
        let fixed: &[u8; FIXED] = bytes.first_chunk().ok_or_else(strange)?;
        let rest = Message::rest(fixed).ok_or_else(strange)?;
        bytes.resize(FIXED + rest, 0);
        let rest = bytes.get_mut(FIXED..).ok_or_else(strange)?;
        self.socket.read_exact(rest).os("read from", "systemd")?;
        let message = Message::parse(&bytes).ok_or_else(strange)?;
        if message.is_signal() && message.member == "JobRemoved" {
            let mut body = message.body();
            if let (Some(_), Some(job), Some(_), Some(result)) =
                (body.u32(), body.text(), body.text(), body.text())
            {
                self.ended.push((job.to_owned(), result.to_owned()));
            }
        }
        Ok(message)
    }

    /// Starts a unit that lives no longer than this boot.
    pub(super) fn start_transient_unit(
        &mut self,
        unit: &str,
        properties: &[Property],
    ) -> std::result::Result<(), Refused> {
        let mut body = Writer::default();
        body.text(unit);
        body.text("replace");
        body.properties(properties);
        body.empty_array(8);
        let answer = self.call("StartTransientUnit", "ssa(sv)a(sa(sv))", body)?;
        self.wait(&answer)
    }

    /// The manager's own control group: empty for that of the system.
    pub(super) fn control_group(&mut self) -> std::result::Result<String, Refused> {
        let mut body = Writer::default();
        body.text(MANAGER);
        body.text("ControlGroup");
        let answer = self.call_of("org.freedesktop.DBus.Properties", "Get", "ss", body)?;
        let mut value = answer.body();
        let _signature = value.signature();
        Ok(value.text().unwrap_or_default().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_never_arrives_together_with_the_end_of_the_introduction() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let server = std::thread::spawn(move || {
            let mut first = [0; 256];
            let length = theirs.read(&mut first).unwrap();
            theirs.write_all(b"DATA\r\nOK 0123456789abcdef\r\n").unwrap();
            let mut rest = Vec::new();
            theirs.read_to_end(&mut rest).unwrap();
            (first[..length].to_vec(), rest)
        });
        drop(Manager::over(ours).unwrap());
        let (first, rest) = server.join().unwrap();
        assert_eq!(first, b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n");
        assert_eq!(rest, b"");
    }

    #[test]
    fn who_is_not_let_in_is_told_so() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"REJECTED\r\n").unwrap();
        let error = Manager::over(ours).err().unwrap().to_string();
        assert!(error.contains("does not let this user in: REJECTED"), "{error}");
    }
}
