//! `minirun network topology`.

use crate::error::Result;
use crate::net::{Dirs, observe};

/// Draw networks, containers, addresses, ports and allowed flows
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Shape of the drawing: a tree, Graphviz' language, a picture for browsers, or data
    #[arg(short, long, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Dot,
    Svg,
    Json,
}

pub(super) fn run(dirs: &Dirs, args: &Args) -> Result<()> {
    let topology = observe::topology(dirs)?;
    match args.format {
        Format::Text => print!("{}", topology.text()),
        Format::Dot => print!("{}", topology.dot()),
        Format::Svg => print!("{}", topology.svg()),
        Format::Json => println!("{:#}", serde_json::json!(topology)),
    }
    Ok(())
}
