//! `minirun spec`.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

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
    if args.rootless {
        return Err(Error::unsupported(
            "--rootless",
            "this version needs root's privileges",
        ));
    }
    let path = super::args::bundle(args.bundle.as_deref())?.join("config.json");
    let mut file = File::create_new(&path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Error::new(
            Kind::Exists,
            format_args!("{} exists. Remove it first", path.display()),
        ),
        _ => Error::new(Kind::Os, format_args!("create {}: {error}", path.display())),
    })?;
    file.write_all(default::DEFAULT.as_bytes())
        .os("write", path.display())?;
    Ok(0)
}
