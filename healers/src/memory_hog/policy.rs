//! The policies: which unit is blamed for the memory that is missing. `largest-process` is what the kernel's own killer does,
//! `largest-user` with and without spared users are the thesis's `POLICY_MAX_RSSUID` and `POLICY_MAX_RSSUID_SAVEUID`.

use super::shortage::{Shortage, part};
use super::strikes::Width;
use super::table::{Name, Table, Tree, size};
use super::{MemoryHog, mebibytes};
use crate::Culprit;
use backdoors_sensor_box::{Command, Opcode, Process};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum Policy {
    /// The largest processes, as few as are enough.
    #[serde(rename = "largest-process")]
    Process,
    /// The process above the most memory, with all its descendants.
    #[serde(rename = "largest-tree")]
    Tree,
    /// The user whose processes hold most.
    #[serde(rename = "largest-user")]
    User,
    /// The control group whose processes hold most.
    #[serde(rename = "largest-cgroup")]
    Cgroup,
}

/// Whom a policy blames.
#[derive(Debug)]
pub(super) struct Blame {
    pub policy: Policy,
    pub width: Width,
    pub culprit: Culprit,
    pub commands: Vec<Command>,
    pub victims: BTreeSet<Name>,
    /// What they hold.
    pub bytes: u64,
    pub text: String,
}

impl fmt::Display for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Policy {
    pub(super) fn name(self) -> &'static str {
        match self {
            Policy::Process => "largest-process",
            Policy::Tree => "largest-tree",
            Policy::User => "largest-user",
            Policy::Cgroup => "largest-cgroup",
        }
    }

    /// Whom it blames, or why nobody.
    pub(super) fn blame(
        self,
        healer: &MemoryHog,
        shortage: &Shortage,
        table: &Table<'_>,
    ) -> Result<Blame, String> {
        let (width, culprit, victims, text, command) = match self {
            Policy::Process => processes(healer, shortage, table)?,
            Policy::Tree => tree(healer, shortage, table)?,
            Policy::User => user(healer, shortage, table)?,
            Policy::Cgroup => cgroup(healer, shortage, table)?,
        };
        let bytes = victims.iter().map(|process| size(process)).sum();
        let commands = match command {
            Some(command) => vec![command],
            None => victims
                .iter()
                .map(|process| Command::of_process(Opcode::KillProcess, process.pid, process.start))
                .collect(),
        };
        let victims = victims.iter().map(|process| (process.pid, process.start)).collect();
        Ok(Blame { policy: self, width, culprit, commands, victims, bytes, text })
    }
}

/// What a policy found: how wide, who, which processes, in words, and the command if it is not one for each process.
type Found<'a> = (Width, Culprit, Vec<&'a Process>, String, Option<Command>);

fn in_words(process: &Process) -> String {
    format!(
        "process {} ({}) of user {} has {} of memory and {} of swap space",
        process.pid,
        process.command,
        process.user,
        mebibytes(process.rss),
        mebibytes(process.swap)
    )
}

fn least(healer: &MemoryHog, shortage: &Shortage) -> u64 {
    part(shortage.total, healer.settings.least_share)
}

fn processes<'a>(healer: &MemoryHog, shortage: &Shortage, table: &Table<'a>) -> Result<Found<'a>, String> {
    let largest = table.largest().next().ok_or("no process may be killed")?;
    let least = least(healer, shortage);
    let mut victims = Vec::new();
    let mut bytes: u64 = 0;
    for process in table.largest().take(healer.settings.most_processes) {
        if bytes >= shortage.need || size(process) < least {
            break;
        }
        if healer.strikes.has_lost_kin(process, Width::Processes, table) {
            return Err(format!("{}, and its kin was struck in vain", in_words(process)));
        }
        bytes = bytes.saturating_add(size(process));
        victims.push(process);
    }
    if bytes < shortage.need || victims.is_empty() {
        return Err(format!(
            "{}, the largest; killing {} of them is not enough",
            in_words(largest),
            victims.len().max(1)
        ));
    }
    let others = match victims.len() - 1 {
        0 => String::new(),
        others => format!(", and {others} more are to go with it"),
    };
    let text = format!("{}, more than any other that may be killed{others}", in_words(largest));
    Ok((Width::Processes, Culprit::Process { pid: largest.pid }, victims, text, None))
}

fn tree<'a>(healer: &MemoryHog, shortage: &Shortage, table: &Table<'a>) -> Result<Found<'a>, String> {
    let tree = table.largest_tree().ok_or("no tree may be killed as a whole")?;
    let Tree { root, bytes, .. } = tree;
    let processes = table.processes_of(&tree);
    let text = format!(
        "process {} ({}) of user {} and its {} descendants have {}",
        root.pid,
        root.command,
        root.user,
        processes.len() - 1,
        mebibytes(bytes)
    );
    if bytes < shortage.need.max(least(healer, shortage)) {
        return Err(format!("{text}, which is not enough"));
    }
    if processes.iter().any(|process| healer.strikes.has_lost_kin(process, Width::Tree, table)) {
        return Err(format!("{text}, and a tree of their kin was struck in vain"));
    }
    let command = Command::of_process(Opcode::KillTree, root.pid, root.start);
    Ok((Width::Tree, Culprit::Tree { pid: root.pid }, processes, text, Some(command)))
}

/// The largest group that has no spared process in it, if it is enough.
fn largest_group<'a, K: Ord + Copy>(
    healer: &MemoryHog,
    shortage: &Shortage,
    table: &Table<'a>,
    key: impl Fn(&Process) -> Option<K>,
    what: impl Fn(K, &Process) -> String,
) -> Result<(K, Vec<&'a Process>, String), String> {
    let mut groups: BTreeMap<K, Vec<&Process>> = BTreeMap::new();
    for process in table.all() {
        if let Some(key) = key(process) {
            groups.entry(key).or_default().push(process);
        }
    }
    let total = |group: &[&Process]| group.iter().map(|process| size(process)).sum::<u64>();
    let within = groups.into_iter().filter(|(_, group)| table.has_only(group));
    let mut groups: Vec<_> = within.map(|(key, group)| (total(&group), key, group)).collect();
    groups.sort_by_key(|(bytes, ..)| std::cmp::Reverse(*bytes));
    let mut largest = None;
    for (bytes, key, group) in groups {
        let Some(first) = group.first() else { continue };
        let text = format!("{} has {} in {} processes", what(key, first), mebibytes(bytes), group.len());
        if bytes < shortage.need.max(least(healer, shortage)) {
            return Err(largest.unwrap_or_else(|| format!("{text}, which is not enough")));
        }
        match group.iter().find(|process| table.is_spared(process)) {
            Some(spared) => {
                let is_spared =
                    || format!("{text}, but process {} ({}) is spared", spared.pid, spared.command);
                largest.get_or_insert_with(is_spared);
            }
            None => return Ok((key, group, format!("{text}, more than any other that may be killed"))),
        }
    }
    Err(largest.unwrap_or_else(|| "there is none".to_owned()))
}

fn user<'a>(healer: &MemoryHog, shortage: &Shortage, table: &Table<'a>) -> Result<Found<'a>, String> {
    let (user, victims, text) = largest_group(
        healer,
        shortage,
        table,
        |process| Some(process.user),
        |user, _| format!("user {user}"),
    )?;
    let command = Command::new(Opcode::KillUser, u64::from(user));
    Ok((Width::Whole, Culprit::User { user }, victims, text, Some(command)))
}

fn cgroup<'a>(healer: &MemoryHog, shortage: &Shortage, table: &Table<'a>) -> Result<Found<'a>, String> {
    let (id, victims, text) = largest_group(
        healer,
        shortage,
        table,
        // The root group has no name, and is no unit.
        |process| (process.cgroup != 0 && !process.cgroup_name.is_empty()).then_some(process.cgroup),
        |_, process| format!("control group {}", process.cgroup_name),
    )?;
    let command = Command::new(Opcode::KillCgroup, id);
    Ok((Width::Whole, Culprit::Cgroup { id }, victims, text, Some(command)))
}
