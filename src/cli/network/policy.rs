//! `minirun network policy`: who may talk to whom.

use super::Format;
use crate::cli::table;
use crate::error::Result;
use crate::net::{self, Dirs, Party, Ports, Rate, Rule, Stance};

/// Who may open connections to whom: rules in the definitions of networks
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Allow(AllowArgs),
    Deny(DenyArgs),
    Default(DefaultArgs),
    #[command(alias = "list")]
    Ls(LsArgs),
}

/// Allow connections from one container (or *, or outside) to another on some ports
#[derive(Debug, clap::Args)]
struct AllowArgs {
    /// Who opens the connection: a container's id, host name or alias, * for all on the network, or outside
    from: Party,
    /// Who is connected to: the same
    to: Party,
    /// 5432/tcp, 8000-8010/udp, or all
    #[arg(required = true, value_name = "PORT/PROTOCOL")]
    ports: Vec<Ports>,
    /// The network whose policy it is; the one that TO is on when there is one only
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// New connections allowed in a time, for each pair of containers: 100/minute
    #[arg(long, value_name = "N/UNIT")]
    rate: Option<Rate>,
    /// New connections allowed at once on top of the rate
    #[arg(long, value_name = "N", requires = "rate")]
    burst: Option<u32>,
}

/// Take a rule back
#[derive(Debug, clap::Args)]
struct DenyArgs {
    /// As it was allowed
    from: Party,
    /// As it was allowed
    to: Party,
    /// As they were allowed; all of the pair otherwise
    #[arg(value_name = "PORT/PROTOCOL")]
    ports: Vec<Ports>,
    /// The network whose policy it is
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
}

/// What holds where no rule speaks
#[derive(Debug, clap::Args)]
struct DefaultArgs {
    /// The network
    network: String,
    /// within: between its containers; egress: from them to the outside
    scope: Scope,
    /// What holds
    #[arg(value_name = "allow|deny")]
    stance: Stance,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Scope {
    Within,
    Egress,
}

/// List the rules with what has passed by each
#[derive(Debug, clap::Args)]
struct LsArgs {
    /// Of this network only
    network: Option<String>,
    /// Shape of the list
    #[arg(short, long, default_value = "table")]
    format: Format,
}

pub(super) fn run(dirs: &Dirs, args: &Args) -> Result<()> {
    match &args.verb {
        Verb::Allow(args) => {
            let rule = Rule {
                from: args.from.clone(),
                to: args.to.clone(),
                ports: args.ports.clone(),
                rate: args.rate,
                burst: args.burst,
            };
            net::allow(dirs, args.network.as_deref(), rule).map(drop)
        }
        Verb::Deny(args) => {
            net::deny(dirs, args.network.as_deref(), &args.from, &args.to, &args.ports).map(drop)
        }
        Verb::Default(args) => net::amend(dirs, &args.network, |definition| {
            match args.scope {
                Scope::Within => definition.policy.within = args.stance,
                Scope::Egress => definition.policy.egress = args.stance,
            }
            Ok(())
        }),
        Verb::Ls(args) => ls(dirs, args),
    }
}

fn ls(dirs: &Dirs, args: &LsArgs) -> Result<()> {
    let policies = net::policies(dirs, args.network.as_deref())?;
    if args.format == Format::Json {
        println!("{:#}", serde_json::json!(policies));
        return Ok(());
    }
    let rows = policies.iter().flat_map(|policy| {
        let default = |scope: &str, from: &str, to: &str, stance: Stance| {
            let cells = [policy.network.as_str(), scope, from, to];
            let [network, scope, from, to] = cells.map(str::to_owned);
            [
                network,
                scope,
                from,
                to,
                String::new(),
                stance.to_string(),
                String::new(),
            ]
        };
        let defaults = [
            default("within", "*", "*", policy.within),
            default("egress", "*", "outside", policy.egress),
        ];
        let rules = policy.rules.iter().map(|counted| {
            let rule = &counted.rule;
            let ports: Vec<String> = rule.ports.iter().map(ToString::to_string).collect();
            let rate = rule
                .rate
                .map_or_else(String::new, |rate| format!(" at most {rate}"));
            [
                policy.network.clone(),
                "rule".to_owned(),
                rule.from.to_string(),
                rule.to.to_string(),
                ports.join(" "),
                format!("allow{rate}"),
                counted
                    .packets
                    .map_or_else(String::new, |packets| packets.to_string()),
            ]
        });
        defaults.into_iter().chain(rules)
    });
    table::print(
        ["NETWORK", "SCOPE", "FROM", "TO", "PORTS", "VERDICT", "PACKETS"],
        rows,
    );
    Ok(())
}
