//! `backdoors sensors`.

use crate::ask::{ask, print, print_json};
use crate::table::{Align, table};
use crate::units::{time, value};
use backdoors_monitor::api::{Query, SensorRow, SensorsAnswer};
use std::path::Path;
use std::process::ExitCode;

/// Its arguments.
#[derive(clap::Args)]
pub struct Arguments {
    /// Name of the target.
    target: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(socket: &Path, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let answer: SensorsAnswer = ask(socket, &Query::Sensors { target: arguments.target.clone() })?;
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
    if answer.unknown > 0 {
        text.push_str(&format!("and {} sensors that this version does not know\n", answer.unknown));
    }
    text
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
