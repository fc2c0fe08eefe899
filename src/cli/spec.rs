//! `minirun spec`.

use std::borrow::Cow;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use nix::unistd::{getegid, geteuid};

use crate::error::{Error, Kind, OsContext, Result};
use crate::spec::default;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The bundle's directory
    #[arg(short, long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// For a container without root's privileges
    #[arg(long)]
    rootless: bool,
}

pub(super) fn run(args: &Args) -> Result<u8> {
    let path = super::args::bundle(args.bundle.as_deref())?.join("config.json");
    let mut file = File::create_new(&path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Error::new(
            Kind::Exists,
            format_args!("{} exists. Remove it first", path.display()),
        ),
        _ => Error::new(Kind::Os, format_args!("create {}: {error}", path.display())),
    })?;
    let text = if args.rootless {
        Cow::Owned(default::rootless(geteuid().as_raw(), getegid().as_raw()))
    } else {
        Cow::Borrowed(default::DEFAULT)
    };
    file.write_all(text.as_bytes()).os("write", path.display())?;
    Ok(0)
}
