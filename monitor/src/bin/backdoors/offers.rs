//! `backdoors offers`.

use crate::ask::{ask, print, print_json};
use crate::table::{Align, table};
use backdoors_monitor_api::{Endpoint, OffersAnswer, Query};
use std::process::ExitCode;

/// Its arguments.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  backdoors offers web1
  backdoors offers web1 --json")]
pub struct Arguments {
    /// Name of the target.
    target: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(daemon: &Endpoint, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let answer: OffersAnswer = ask(daemon, &Query::Offers { target: arguments.target.clone() })?;
    if arguments.json {
        print_json(&answer)?;
    } else {
        print(&show(&answer))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(answer: &OffersAnswer) -> String {
    let OffersAnswer { target, variables, hooks } = answer;
    if variables.is_empty() && hooks.is_empty() {
        return format!(
            "{target} offers nothing: its agent's configuration has no [[variable]], and no application has hooks\n"
        );
    }
    let range = |least: u64, most: u64| format!("{least} to {most}");
    let mut rows: Vec<Vec<String>> = Vec::new();
    for variable in variables {
        let value = variable.value.map_or("unknown".to_owned(), |value| value.to_string());
        let order = format!("backdoors heal {target} --set {} VALUE", variable.name);
        rows.push(vec![variable.name.clone(), value, range(variable.least, variable.most), order]);
    }
    for hook in hooks {
        let order = format!("backdoors heal {target} --call {} {} WORD", hook.application, hook.hook);
        let name = format!("{}: {}", hook.application, hook.hook);
        rows.push(vec![name, String::new(), range(hook.least, hook.most), order]);
    }
    let columns =
        [("NAME", Align::Left), ("VALUE", Align::Right), ("TAKES", Align::Left), ("BY", Align::Left)];
    table(&columns, &rows)
}
