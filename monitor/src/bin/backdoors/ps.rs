//! `backdoors ps`.

use crate::ask::{ask, print, print_json};
use crate::table::{Align, table};
use crate::units::{bytes, time};
use backdoors_monitor_api::{Endpoint, ProcessRow, ProcessesAnswer, Query};
use std::collections::{BTreeMap, HashSet};
use std::process::ExitCode;

/// Its arguments.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  backdoors ps web1 --tree
  backdoors ps web1 --json")]
pub struct Arguments {
    /// Name of the target.
    target: String,
    /// Show children below their parents.
    #[arg(long)]
    tree: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(daemon: &Endpoint, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let answer: ProcessesAnswer = ask(daemon, &Query::Processes { target: arguments.target.clone() })?;
    if arguments.json {
        print_json(&answer)?;
    } else {
        print(&show(&answer, arguments.tree))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(answer: &ProcessesAnswer, tree: bool) -> String {
    let ordered = if tree { by_tree(&answer.processes) } else { by_pid(&answer.processes) };
    let mut text = list(&ordered, answer.clock_ns);
    let plural = if answer.processes.len() == 1 { "process" } else { "processes" };
    text.push_str(&format!("{} {plural}", answer.processes.len()));
    if answer.torn > 0 {
        text.push_str(&format!("; {} more were just changing", answer.torn));
    }
    if answer.lost > 0 {
        text.push_str(&format!("; {} found no room in the table", answer.lost));
    }
    text.push('\n');
    text
}

/// A table of processes, each with the depth at which its command is shown.
pub fn list(processes: &[(usize, &ProcessRow)], clock_ns: u64) -> String {
    let columns = [
        ("PID", Align::Right),
        ("PARENT", Align::Right),
        ("USER", Align::Left),
        ("DEPTH", Align::Right),
        ("AGE", Align::Right),
        ("CPU", Align::Right),
        ("RSS", Align::Right),
        ("SWAP", Align::Right),
        ("CGROUP", Align::Left),
        ("COMMAND", Align::Left),
    ];
    let rows: Vec<Vec<String>> = processes
        .iter()
        .map(|(indent, process)| {
            let command = match (process.kernel, process.protected) {
                (true, _) => format!("[{}]", process.command),
                (false, true) => format!("{} (protected)", process.command),
                (false, false) => process.command.clone(),
            };
            vec![
                process.pid.to_string(),
                process.parent.to_string(),
                process.user_name.clone().unwrap_or_else(|| process.user.to_string()),
                process.depth.to_string(),
                time(clock_ns.saturating_sub(process.start_ns)),
                time(process.cpu_ns),
                bytes(process.rss_bytes),
                bytes(process.swap_bytes),
                process.cgroup_name.clone(),
                format!("{}{command}", "  ".repeat((*indent).min(40))),
            ]
        })
        .collect();
    table(&columns, &rows)
}

pub fn by_pid(processes: &[ProcessRow]) -> Vec<(usize, &ProcessRow)> {
    let mut ordered: Vec<(usize, &ProcessRow)> = processes.iter().map(|process| (0, process)).collect();
    ordered.sort_by_key(|(_, process)| process.pid);
    ordered
}

/// Children after their parents. Every process comes once, even if the table was read while it changed and
/// parents are missing or form a circle.
fn by_tree(processes: &[ProcessRow]) -> Vec<(usize, &ProcessRow)> {
    let known: HashSet<u32> = processes.iter().map(|process| process.pid).collect();
    let mut children: BTreeMap<u32, Vec<&ProcessRow>> = BTreeMap::new();
    let mut roots = Vec::new();
    for (_, process) in by_pid(processes) {
        if process.parent != process.pid && known.contains(&process.parent) {
            children.entry(process.parent).or_default().push(process);
        } else {
            roots.push(process);
        }
    }
    let mut ordered = Vec::with_capacity(processes.len());
    let mut seen = HashSet::new();
    // What hangs on no root is part of a circle: it starts wherever it is met first.
    for root in roots.into_iter().chain(by_pid(processes).into_iter().map(|(_, process)| process)) {
        let mut to_show = vec![(0, root)];
        while let Some((indent, process)) = to_show.pop() {
            if seen.insert(std::ptr::from_ref(process)) {
                ordered.push((indent, process));
                let below = children.get(&process.pid).into_iter().flatten().rev();
                to_show.extend(below.map(|child| (indent + 1, *child)));
            }
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32) -> ProcessRow {
        ProcessRow {
            pid,
            parent,
            user: 1000,
            user_name: None,
            depth: 0,
            kernel: false,
            protected: false,
            start_ns: 0,
            rss_bytes: 4096,
            swap_bytes: 0,
            cgroup: 0,
            cgroup_name: String::new(),
            cpu_ns: 1_000_000,
            command: format!("p{pid}"),
        }
    }

    #[test]
    fn the_tree_shows_children_below_their_parents() {
        let processes = [process(4, 2), process(1, 0), process(2, 1), process(3, 1), process(9, 7)];
        let order: Vec<(usize, u32)> =
            by_tree(&processes).iter().map(|(indent, process)| (*indent, process.pid)).collect();
        assert_eq!(order, [(0, 1), (1, 2), (2, 4), (1, 3), (0, 9)]);
    }

    #[test]
    fn a_circle_of_parents_is_shown_once() {
        let processes = [process(2, 3), process(3, 2), process(5, 5)];
        let mut pids: Vec<u32> = by_tree(&processes).iter().map(|(_, process)| process.pid).collect();
        pids.sort_unstable();
        assert_eq!(pids, [2, 3, 5]);
    }
}
