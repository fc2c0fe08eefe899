//! The program's environment: the configuration's, what the caller's service manager adds, and HOME.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;

use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};

use super::process::Keep;
use crate::error::{Error, Result};
use crate::spec::user;

/// The process' variables: the last of a name wins, order is kept.
pub(super) struct Environment(Vec<(String, String)>);

impl Environment {
    /// `variables` are NAME=VALUE: the configuration is valid. `notify` is where sd_notify(3) finds its socket.
    pub(super) fn new(variables: &[String], keep: Keep, notify: Option<&str>) -> Environment {
        let mut environment = Environment(Vec::with_capacity(variables.len() + 2));
        for (name, value) in variables.iter().filter_map(|variable| variable.split_once('=')) {
            environment.set(name, value);
        }
        if keep.listen > 0 {
            environment.set("LISTEN_FDS", &keep.listen.to_string());
            environment.set("LISTEN_PID", "1");
        }
        if let Some(socket) = notify {
            environment.set("NOTIFY_SOCKET", socket);
        }
        environment
    }

    fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value.to_owned()));
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn into_c_strings(self) -> Result<Vec<CString>> {
        let joined: Vec<String> = self
            .0
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        c_strings("process.env", &joined)
    }
}

/// NUL-terminated copies; `field` names the list in errors.
pub(super) fn c_strings(field: &str, texts: &[String]) -> Result<Vec<CString>> {
    let convert = |(index, text): (usize, &String)| {
        CString::new(text.as_str())
            .map_err(|_| Error::invalid(format_args!("{field}[{index}]"), "must not contain a NUL byte"))
    };
    texts.iter().enumerate().map(convert).collect()
}

/// `HOME=` from the container's /etc/passwd, which is as hostile as the rest of its root file system.
pub(super) fn home_of(uid: u32) -> CString {
    let passwd = read_passwd().unwrap_or_default();
    let home = user::home(&passwd, uid).unwrap_or_else(|| "/".to_owned());
    CString::new(format!("HOME={home}")).unwrap_or_else(|_| c"HOME=/".to_owned())
}

fn read_passwd() -> Option<Vec<u8>> {
    const CAP: u64 = 4 * 1024 * 1024;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = File::from(openat2(AT_FDCWD, c"/etc/passwd", how).ok()?);
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() {
        return None;
    }
    // One byte more, in which the end of the file is found.
    let mut text = Vec::with_capacity(usize::try_from(metadata.len().min(CAP)).unwrap_or(0) + 1);
    file.take(CAP).read_to_end(&mut text).ok()?;
    Some(text)
}
