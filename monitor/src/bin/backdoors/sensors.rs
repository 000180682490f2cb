//! `backdoors sensors`.

use crate::ask::{ask, print, print_json};
use crate::table::{Align, table};
use crate::units::{time, value};
use backdoors_monitor_api::{Endpoint, HookRow, Query, SensorRow, SensorsAnswer};
use std::process::ExitCode;

/// Its arguments.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  backdoors sensors web1
  backdoors sensors web1 --json")]
pub struct Arguments {
    /// Name of the target.
    target: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(daemon: &Endpoint, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let answer: SensorsAnswer = ask(daemon, &Query::Sensors { target: arguments.target.clone() })?;
    if arguments.json {
        print_json(&answer)?;
    } else {
        print(&show(&answer))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(answer: &SensorsAnswer) -> String {
    let target = &answer.target;
    let mut text = format!("{}: {}", target.name, target.reach.name());
    if let Some(problem) = &target.problem {
        text.push_str(&format!(" ({problem})"));
    }
    text.push('\n');
    let (Some(age), Some(clock_moved)) = (target.age_ns, target.clock_moved_ns) else {
        text.push_str("no sensors were read yet\n");
        return text;
    };
    text.push_str(&format!(
        "read {} ago; its clock moved {} ago; {} CPUs; ticks every {}\n",
        time(age),
        time(clock_moved),
        answer.cpus,
        time(answer.tick_period_ns)
    ));
    text.push_str(&format!(
        "capabilities: {}; generation {}; slot {}\n",
        target.capabilities.join(", "),
        target.generation.unwrap_or(0),
        target.slot.map_or("-".to_owned(), |slot| slot.to_string())
    ));
    text.push_str(&format!(
        "sampled every {} at most: {}; {:.2} % lost, round trip {}; {}\n",
        time(target.period_ns),
        target.period_why,
        target.loss * 100.0,
        time(target.round_trip_ns),
        target.verdict
    ));
    if let Some(running) = &target.running {
        text.push_str(&format!("under way: {running}\n"));
    }
    let of_applications = answer.applications.iter().flat_map(|application| &application.sensors);
    text.push_str(&sensor_table(answer.sensors.iter().chain(of_applications)));
    let hooks: Vec<_> = answer.applications.iter().flat_map(|application| &application.hooks).collect();
    if !hooks.is_empty() {
        text.push('\n');
        text.push_str(&hook_table(&hooks, answer.clock_ns));
    }
    if answer.unknown > 0 {
        text.push_str(&format!("and {} sensors that this version does not know\n", answer.unknown));
    }
    text
}

/// Hooks, a line each.
fn hook_table(hooks: &[&HookRow], clock: u64) -> String {
    let columns =
        [("HOOK", Align::Left), ("TAKES", Align::Left), ("CALLS", Align::Right), ("LAST", Align::Left)];
    let row = |hook: &&HookRow| {
        let takes = format!("{} to {}", hook.least, hook.most);
        let calls = hook.calls.map_or("?".to_owned(), |calls| calls.to_string());
        let last = hook.last.as_ref().map_or("-".to_owned(), |last| {
            let code = last.code.map_or(String::new(), |code| format!(" with code {code}"));
            let took = last.took_ns.map_or(String::new(), |took| format!(" after {}", time(took)));
            let ago = time(clock.saturating_sub(last.called_at_ns));
            format!("{} called {ago} ago: {}{code}{took}", last.word, last.result)
        });
        vec![hook.name.clone(), takes, calls, last]
    };
    table(&columns, &hooks.iter().map(row).collect::<Vec<_>>())
}

/// Sensors, a line each.
pub fn sensor_table<'a>(sensors: impl Iterator<Item = &'a SensorRow>) -> String {
    let columns = [
        ("SENSOR", Align::Left),
        ("CLASS", Align::Left),
        ("VALUE", Align::Right),
        ("", Align::Left),
        ("LIMIT", Align::Left),
    ];
    let rows: Vec<Vec<String>> = sensors.map(row).collect();
    table(&columns, &rows)
}

fn row(sensor: &SensorRow) -> Vec<String> {
    let limit = sensor.limit.map_or("-".to_owned(), |limit| match sensor.class.as_str() {
        "progress" => format!("moves within {}", time(limit)),
        "floor" => format!("≥ {}", value(limit, &sensor.unit)),
        "pressure" => format!("≤ {} new", value(limit, &sensor.unit)),
        _ => format!("≤ {}", value(limit, &sensor.unit)),
    });
    let name = match &sensor.user_name {
        Some(user) => format!("{} {user}", sensor.name),
        None => sensor.name.clone(),
    };
    let mark = if sensor.exceeded { "!" } else { "" };
    vec![name, sensor.class.clone(), value(sensor.value, &sensor.unit), mark.to_owned(), limit]
}

#[cfg(test)]
mod tests {
    use super::*;
    use backdoors_monitor_api::HookCallRow;

    #[test]
    fn hooks_are_listed_with_what_they_take_and_their_last_call() {
        let hook = |name: &str, calls, last| HookRow { name: name.into(), least: 0, most: 100, calls, last };
        let call = |result: &str, code, took_ns| HookCallRow {
            word: 40,
            result: result.into(),
            code,
            called_at_ns: 1_000_000_000,
            took_ns,
        };
        let hooks = [
            hook("web/new", Some(0), None),
            hook("web/torn", None, None),
            hook("web/failed", Some(3), Some(call("failed", Some(7), Some(2_000_000)))),
            hook("web/stuck", Some(1), Some(call("unanswered", None, None))),
        ];
        let text = hook_table(&hooks.iter().collect::<Vec<_>>(), 3_000_000_000);
        let lines: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "HOOK TAKES CALLS LAST",
                "web/new 0 to 100 0 -",
                "web/torn 0 to 100 ? -",
                "web/failed 0 to 100 3 40 called 2.0 s ago: failed with code 7 after 2.0 ms",
                "web/stuck 0 to 100 1 40 called 2.0 s ago: unanswered",
            ]
        );
    }
}
