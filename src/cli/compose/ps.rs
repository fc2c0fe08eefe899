//! `minirun compose ps`.

use std::time::Duration;

use crate::cli::table;
use crate::compose::client;
use crate::compose::protocol::Status;
use crate::compose::supervisor::health;
use crate::container::store::Store;
use crate::error::{Error, Kind, Result};

/// List the replicas of a stack
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Those that have ended or were stopped, too
    #[arg(short, long)]
    all: bool,
    /// Print the ids only
    #[arg(short, long)]
    quiet: bool,
    /// Shape of the list
    #[arg(long, default_value = "table")]
    format: Format,
    /// Services; all otherwise
    services: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

pub(super) fn run(store: &Store, project: &str, args: &Args) -> Result<u8> {
    let mut replicas = client::replicas(store, project)?;
    replicas.retain(|replica| args.services.is_empty() || args.services.contains(&replica.service));
    // What has failed is shown to everybody; what ended as it should is asked for.
    replicas.retain(|replica| args.all || replica.state != "exited" || replica.failure.is_some());
    if args.quiet {
        replicas.iter().for_each(|replica| println!("{}", replica.id));
        return Ok(0);
    }
    match args.format {
        Format::Json => {
            let text = serde_json::to_string_pretty(&replicas)
                .map_err(|error| Error::new(Kind::Os, format_args!("encode the list: {error}")))?;
            println!("{text}");
        }
        Format::Table => table::print(
            ["NAME", "SERVICE", "STATUS", "PORTS"],
            replicas.into_iter().map(|replica| {
                [
                    replica.id.clone(),
                    replica.service.clone(),
                    status(&replica),
                    replica.ports.join(", "),
                ]
            }),
        ),
    }
    Ok(0)
}

fn status(replica: &Status) -> String {
    let mut text = match (replica.running_for, replica.exit_code) {
        (Some(time), _) if replica.state == "running" => format!("Up {}", about(time)),
        (None, Some(code)) => format!("{} ({code})", capital(&replica.state)),
        _ => capital(&replica.state),
    };
    match replica.health {
        Some(health::Status::Healthy) => text += " (healthy)",
        Some(health::Status::Unhealthy) => text += " (unhealthy)",
        Some(health::Status::Starting) => text += " (health: starting)",
        None => {}
    }
    if let Some(failure) = &replica.failure {
        text += &format!(": {}", failure.lines().next().unwrap_or_default());
    }
    text
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

/// A time as people say it.
fn about(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_largest_unit_that_says_enough() {
        let told = |seconds| about(Duration::from_secs(seconds));
        assert_eq!(
            [told(5), told(150), told(7200)],
            ["5 seconds", "2 minutes", "2 hours"]
        );
        assert_eq!(told(3 * 86_400), "3 days");
    }
}
