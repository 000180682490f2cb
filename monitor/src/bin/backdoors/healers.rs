//! `backdoors healers`.

use crate::ask::{ask, print, print_json};
use crate::table::{Align, table};
use crate::units::time;
use backdoors_monitor::sampler::built_in;
use backdoors_monitor_api::{AskError, Endpoint, Enlisted, HealersAnswer, Mode, Query};
use std::process::ExitCode;

/// Its arguments.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  backdoors healers
  backdoors healers web1 --json")]
pub struct Arguments {
    /// Name of the target; if absent, the healers that are built in, and those of all targets.
    target: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(daemon: &Endpoint, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let asked = ask(daemon, &Query::Healers { target: arguments.target.clone() });
    let (answers, without): (Vec<HealersAnswer>, _) = match asked {
        Ok(answers) => (answers, None),
        // What is built in is known without a monitor.
        Err(error) if arguments.target.is_none() && is_unreachable(&error) => {
            (vec![HealersAnswer { target: None, healers: built_in() }], Some(error))
        }
        Err(error) => return Err(error),
    };
    if arguments.json {
        print_json(&answers)?;
    } else {
        let texts: Vec<String> = answers.iter().map(show).collect();
        print(&texts.join("\n"))?;
    }
    if let Some(error) = without {
        eprintln!("backdoors: only what is built in is shown: {error:#}");
    }
    Ok(ExitCode::SUCCESS)
}

fn is_unreachable(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<AskError>(), Some(AskError::NoDaemon { .. }))
}

fn show(answer: &HealersAnswer) -> String {
    let mut text = match &answer.target {
        Some(target) => format!("{target}:\n"),
        None => "built in, with default settings:\n".to_owned(),
    };
    if answer.healers.is_empty() {
        text.push_str("no healer\n");
        return text;
    }
    let columns = [
        ("HEALER", Align::Left),
        ("MODE", Align::Left),
        ("CALLED BY", Align::Left),
        ("MAY", Align::Left),
        ("AGAINST", Align::Left),
    ];
    let rows: Vec<Vec<String>> = answer.healers.iter().map(row).collect();
    text.push_str(&table(&columns, &rows));
    for healer in &answer.healers {
        let cooldown = healer.cooldown_ns.map(|cooldown| format!("cooldown = {}", time(cooldown)));
        let grace = format!("grace = {}", time(healer.grace_ns));
        let own = healer.settings.iter().map(|(key, value)| format!("{key} = {value}"));
        let settings: Vec<String> = cooldown.into_iter().chain([grace]).chain(own).collect();
        text.push_str(&format!("{}: {}\n", healer.name, settings.join(", ")));
    }
    text
}

fn row(healer: &Enlisted) -> Vec<String> {
    let mut called_by = healer.watches.clone();
    called_by.extend(healer.applications.as_deref().map(|name| match name {
        "*" => "any application".to_owned(),
        name => format!("application {name}"),
    }));
    called_by.extend(healer.looks_every_ns.map(|every| format!("every {}", time(every))));
    vec![
        healer.name.clone(),
        match healer.mode {
            Some(Mode::Act) => "act",
            Some(Mode::Propose) => "propose",
            Some(Mode::Observe) => "observe",
            None => "-",
        }
        .to_owned(),
        called_by.join(","),
        healer.may.join(","),
        if healer.external { format!("runs {}", healer.about) } else { healer.about.clone() },
    ]
}
