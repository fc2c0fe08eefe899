//! `minirun run`.

use std::path::{Path, PathBuf};

use super::args::{self, CreateArgs};
use super::plain::{Line, Plain};
use crate::container::options::Terminal;
use crate::container::run::{self, Mode};
use crate::container::store::Store;
use crate::error::{Error, Kind, OsContext, Result};
use crate::init::process::Keep;
use crate::spec::id::Id;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A bundle's directory (with a slash), or the new container's id
    #[arg(value_name = "BUNDLE/ | ID")]
    target: String,
    /// The container's id when a bundle is given; its directory's name otherwise
    #[arg(long, value_name = "ID")]
    name: Option<Id>,
    /// Return as soon as the container runs
    #[arg(short, long)]
    detach: bool,
    /// Keep the container when it has ended
    #[arg(long)]
    keep: bool,
    /// Accepted: no process but the container's own is waited for
    #[arg(long, hide = true)]
    no_subreaper: bool,
    #[command(flatten)]
    pub(super) create: CreateArgs,
}

impl Plain for Args {
    const SHORT: &'static [(&'static str, &'static str)] =
        &[("b", "bundle"), ("d", "detach"), ("p", "publish")];

    fn take(line: &mut Line) -> Option<Self> {
        Some(Args {
            target: line.word()?,
            name: line.value("name")?,
            detach: line.flag("detach"),
            keep: line.flag("keep"),
            no_subreaper: line.flag("no-subreaper"),
            create: CreateArgs::take(line)?,
        })
    }
}

/// What to run, under which id, and whether a person asked.
struct Target {
    id: Id,
    bundle: PathBuf,
    native: bool,
}

pub(super) fn run(store: &Store, args: &Args, keep: Keep) -> Result<u8> {
    let target = target(args)?;
    let shown = if args.detach {
        Terminal::Nobody
    } else {
        Terminal::Relay
    };
    let options = args
        .create
        .options(target.id, &target.bundle, target.native, shown, keep)?;
    let mode = Mode {
        detach: args.detach,
        keep: args.keep,
    };
    run::run(store, &options, mode).map_err(|error| suggest_slash(error, args))
}

fn target(args: &Args) -> Result<Target> {
    if !args.target.contains('/') {
        if let Some(name) = &args.name {
            return Err(
                Error::invalid("--name", format_args!("{name} and {} are both ids", args.target))
                    .hint(format_args!("for a bundle write ./{}", args.target)),
            );
        }
        let bundle = args::bundle(args.create.bundle.as_deref())?;
        return Ok(Target {
            id: args.target.parse()?,
            bundle,
            native: false,
        });
    }
    if args.create.bundle.is_some() {
        return Err(Error::invalid(
            "--bundle",
            format_args!("{} names a bundle already", args.target),
        ));
    }
    let bundle = std::fs::canonicalize(&args.target).os("open bundle", &args.target)?;
    let id = match &args.name {
        Some(name) => name.clone(),
        None => id_of(&bundle)?,
    };
    Ok(Target {
        id,
        bundle,
        native: true,
    })
}

/// The directory's name is the id.
fn id_of(bundle: &Path) -> Result<Id> {
    let name = bundle.file_name().unwrap_or_default().to_string_lossy();
    name.parse()
        .map_err(|error: Error| error.hint("choose an id with --name"))
}

/// `minirun run hello` looks for config.json here, but the bundle may be what was meant.
fn suggest_slash(error: Error, args: &Args) -> Error {
    let name = &args.target;
    let meant_bundle = args.create.bundle.is_none()
        && !name.contains('/')
        && !Path::new("config.json").exists()
        && Path::new(name).join("config.json").exists();
    if meant_bundle && matches!(error.kind(), Kind::Os | Kind::NotFound | Kind::InvalidConfig) {
        return error.hint(format_args!(
            "to run the bundle in ./{name} write: minirun run ./{name}"
        ));
    }
    error
}
