//! `backdoors proposals`, `approve` and `reject`.

use crate::ask::{ask, print, print_json};
use crate::heal::{self, exit_code};
use crate::units::time;
use backdoors_monitor::proposals::State;
use backdoors_monitor_api::{Endpoint, HealAnswer, ProposalRow, Query};
use std::process::ExitCode;

/// Arguments of `proposals`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  backdoors proposals
  backdoors proposals web1 --all --json")]
pub struct Arguments {
    /// Only proposals for this target.
    target: Option<String>,
    /// Also those that are over.
    #[arg(long)]
    all: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of `approve`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  backdoors approve web1 743278 --dry-run
  backdoors approve web1 743278")]
pub struct Approval {
    /// Name of the target.
    target: String,
    /// Number of the proposal.
    id: u64,
    /// Let the target check and count, and do nothing; the proposal stays open.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of `reject`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  backdoors reject web1 743278")]
pub struct Rejection {
    /// Name of the target.
    target: String,
    /// Number of the proposal.
    id: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(daemon: &Endpoint, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut rows: Vec<ProposalRow> = ask(daemon, &Query::Proposals { target: arguments.target })?;
    rows.retain(|row| arguments.all || row.state == State::Open);
    if arguments.json {
        print_json(&rows)?;
    } else {
        print(&show(&rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub fn approve(daemon: &Endpoint, arguments: Approval) -> anyhow::Result<ExitCode> {
    let Approval { target, id, dry_run, json } = arguments;
    let answer: HealAnswer = ask(daemon, &Query::Approve { target, id, dry_run })?;
    if json {
        print_json(&answer)?;
    } else {
        print(&heal::show(&answer))?;
    }
    Ok(exit_code(&answer))
}

pub fn reject(daemon: &Endpoint, arguments: Rejection) -> anyhow::Result<ExitCode> {
    let Rejection { target, id, json } = arguments;
    let () = ask(daemon, &Query::Reject { target: target.clone(), id })?;
    if json {
        print_json(&serde_json::json!({ "target": target, "id": id, "state": State::Rejected }))?;
    } else {
        print(&format!("{target}: proposal {id} is rejected, and not made again for a while\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(rows: &[ProposalRow]) -> String {
    if rows.is_empty() {
        return "no proposals\n".to_owned();
    }
    rows.iter().map(show_one).collect()
}

fn show_one(row: &ProposalRow) -> String {
    let name = row.user_name.as_ref().map_or(String::new(), |name| format!(" ({name})"));
    let mut text = format!(
        "{} {}: {}; {} blames {}{name}; {} to strike\n",
        row.target, row.id, row.state, row.healer, row.culprit, row.victims
    );
    let expires = row.expires_in_ns.map_or(String::new(), |left| format!(", expires in {}", time(left)));
    text.push_str(&format!(
        "  made {} ago, confirmed {} ago{expires}\n",
        time(row.made_ns),
        time(row.confirmed_ns)
    ));
    for evidence in &row.evidence {
        text.push_str(&format!("  {evidence}\n"));
    }
    for order in &row.orders {
        text.push_str(&format!("  {order}\n"));
    }
    if let Some(withheld) = &row.withheld {
        text.push_str(&format!("  withheld: {withheld}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_is_shown_with_its_evidence_and_what_it_would_do() {
        let row = ProposalRow {
            target: "web1".into(),
            id: 7,
            state: State::Open,
            healer: "forkbomb".into(),
            culprit: "user 60001".into(),
            user_name: Some("mallory".into()),
            evidence: vec!["user 60001 has 30 of 34 processes (limit 20)".into()],
            orders: vec!["backdoors heal web1 --uid 60001".into()],
            victims: 30,
            withheld: Some("too much".into()),
            made_ns: 5_000_000_000,
            confirmed_ns: 1_000_000_000,
            expires_in_ns: Some(599_000_000_000),
        };
        assert_eq!(
            show(&[row]),
            "web1 7: open; forkbomb blames user 60001 (mallory); 30 to strike\n  made 5.0 s ago, confirmed 1.0 s \
             ago, expires in 10 min\n  user 60001 has 30 of 34 processes (limit 20)\n  backdoors heal web1 --uid \
             60001\n  withheld: too much\n"
        );
        assert_eq!(show(&[]), "no proposals\n");
    }
}
