//! `minirun compose config`.

use std::io::Write as _;

use super::ProjectArgs;
use crate::compose::normal;
use crate::error::{OsContext, Result};

/// Check the Compose files and print what they mean
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Shape of what is printed
    #[arg(long, default_value = "yaml")]
    format: Format,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
    /// Print the names of the services
    #[arg(long, conflicts_with_all = ["quiet", "format"])]
    services: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Yaml,
    Json,
}

pub(super) fn run(project: &ProjectArgs, args: &Args) -> Result<u8> {
    let project = project.load(&[])?;
    let text = match args.format {
        _ if args.quiet => String::new(),
        _ if args.services => project.services.keys().map(|name| format!("{name}\n")).collect(),
        Format::Yaml => normal::yaml(&project),
        Format::Json => normal::json(&project),
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).os("write", "standard output")?;
    out.flush().os("write", "standard output")?;
    Ok(0)
}
