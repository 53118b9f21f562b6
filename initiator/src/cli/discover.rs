//! `discover`: the targets of a portal.

use clap::Args;
use lunkeep_common::text::{DiscoveredTarget, TargetAddress};
use serde::Serialize;

use super::connection::ConnectionArguments;
use super::failure::Failure;
use super::{output, url};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// host[:port], an IPv6 address in brackets.
    #[arg(value_parser = url::portal)]
    portal: TargetAddress,
    #[command(flatten)]
    connection: ConnectionArguments,
}

#[derive(Debug, Serialize)]
struct Target<'a> {
    name: &'a str,
    portals: Vec<Portal<'a>>,
}

#[derive(Debug, Serialize)]
struct Portal<'a> {
    address: String,
    host: &'a str,
    port: u16,
    portal_group: Option<u16>,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let node = arguments.connection.node(None, None)?;
    let mut found = node.initiator.discover(&arguments.portal).await?;
    for target in &mut found {
        // RFC 7143 Appendix C: no address means the portal that was asked.
        if target.addresses.is_empty() {
            target.addresses.push(arguments.portal.clone());
        }
    }
    if arguments.connection.json {
        output::json(&found.iter().map(document).collect::<Vec<_>>());
        return Ok(());
    }
    if found.is_empty() {
        output::note(format_args!("{} offers no target to {}", arguments.portal, node.name));
    }
    for target in &found {
        for portal in document(target).portals {
            let group = portal.portal_group.map_or_else(String::new, |group| format!(",{group}"));
            output::line(format_args!("{}{group} {}", portal.address, target.name));
        }
    }
    Ok(())
}

fn document(target: &DiscoveredTarget) -> Target<'_> {
    let portal =
        |address: &'_ TargetAddress| TargetAddress { portal_group: None, ..address.clone() }.to_string();
    Target {
        name: target.name.as_str(),
        portals: target
            .addresses
            .iter()
            .map(|address| Portal {
                address: portal(address),
                host: &address.host,
                port: address.port,
                portal_group: address.portal_group.map(|group| group.0),
            })
            .collect(),
    }
}
