//! `minirun create`.

use super::args::{CreateArgs, bundle};
use super::plain::{Line, Plain};
use crate::container::create::{self, Starter};
use crate::container::options::Terminal;
use crate::container::store::Store;
use crate::error::Result;
use crate::init::parent;
use crate::init::process::Keep;
use crate::spec::id::Id;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The new container's id
    id: Id,
    #[command(flatten)]
    pub(super) create: CreateArgs,
}

impl Plain for Args {
    const SHORT: &'static [(&'static str, &'static str)] = &[("b", "bundle"), ("p", "publish")];

    fn take(line: &mut Line) -> Option<Self> {
        Some(Args {
            id: line.word()?,
            create: CreateArgs::take(line)?,
        })
    }
}

pub(super) fn run(store: &Store, args: &Args, keep: Keep) -> Result<u8> {
    let bundle = bundle(args.create.bundle.as_deref())?;
    let options = args
        .create
        .options(args.id.clone(), &bundle, false, Terminal::Nobody, keep)?;
    let container = create::create(store, &options, Starter::Start)?;
    parent::detach(&container.channel).map(|()| 0)
}
