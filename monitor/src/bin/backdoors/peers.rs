//! `backdoors peers`.

use crate::ask::{ask, print, print_json};
use crate::table::{Align, table};
use crate::units::time;
use backdoors_monitor_api::{Endpoint, PeerSummary, Query};
use std::process::ExitCode;

/// Its arguments.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  backdoors peers
  backdoors peers --json")]
pub struct Arguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(daemon: &Endpoint, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let peers: Vec<PeerSummary> = ask(daemon, &Query::Peers {})?;
    if arguments.json {
        print_json(&peers)?;
    } else {
        print(&show(&peers))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(peers: &[PeerSummary]) -> String {
    if peers.is_empty() {
        return "no peers: a silent target's path cannot be told from its host; list other monitors as [[peer]]\n"
            .to_owned();
    }
    let columns = [
        ("PEER", Align::Left),
        ("ADDRESS", Align::Left),
        ("STATE", Align::Left),
        ("ROUND TRIP", Align::Right),
        ("AGE", Align::Right),
        ("ANSWERS", Align::Right),
        ("ASKS US", Align::Left),
    ];
    let or_dash = |nanoseconds: Option<u64>| nanoseconds.map_or("-".to_owned(), time);
    let row = |peer: &PeerSummary| {
        vec![
            peer.name.clone(),
            peer.address.clone(),
            peer.reach.name().to_owned(),
            or_dash(peer.round_trip_ns),
            or_dash(peer.age_ns),
            peer.answers.to_string(),
            if peer.asks { "yes" } else { "no" }.to_owned(),
        ]
    };
    let mut text = table(&columns, &peers.iter().map(row).collect::<Vec<_>>());
    for peer in peers {
        if let Some(problem) = &peer.problem {
            text.push_str(&format!("{}: {problem}\n", peer.name));
        }
        if !peer.unknown.is_empty() {
            let names = peer.unknown.join(", ");
            text.push_str(&format!("{}: knows no target called {names}; names must match\n", peer.name));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use backdoors_monitor::peers::PeerReach;

    #[test]
    fn peers_are_shown_with_what_is_wrong_with_them() {
        let good = PeerSummary {
            name: "monitor2".into(),
            address: "10.0.0.3:7803".into(),
            reach: PeerReach::Reachable,
            problem: None,
            round_trip_ns: Some(412_000),
            age_ns: Some(300_000_000),
            answers: 12,
            unknown: vec!["web1".into()],
            asks: true,
        };
        let bad = PeerSummary {
            name: "monitor3".into(),
            reach: PeerReach::Unreachable,
            problem: Some("nothing came in time".into()),
            round_trip_ns: None,
            age_ns: None,
            answers: 0,
            unknown: Vec::new(),
            asks: false,
            ..good.clone()
        };
        assert_eq!(
            show(&[good, bad]),
            "PEER      ADDRESS        STATE        ROUND TRIP       AGE  ANSWERS  ASKS US\n\
             monitor2  10.0.0.3:7803  reachable      412.0 µs  300.0 ms       12  yes\n\
             monitor3  10.0.0.3:7803  unreachable           -         -        0  no\n\
             monitor2: knows no target called web1; names must match\n\
             monitor3: nothing came in time\n"
        );
    }

    #[test]
    fn who_has_no_peers_is_told_what_that_means() {
        assert!(show(&[]).contains("[[peer]]"));
    }
}
