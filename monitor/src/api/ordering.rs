//! From what somebody asks for, by names, to the command for it.

use super::views::TargetHandle;
use crate::sampler::{NotOffered, Offers};
use backdoors_monitor_api::{Failure, HealDeed, HealSubject};
use backdoors_sensor_box::{Command, Opcode, ProcessView, Signal};
use std::collections::BTreeMap;

/// What somebody asks for.
pub(super) struct Asked<'a> {
    pub subject: &'a HealSubject,
    pub deed: &'a HealDeed,
    pub has_grace: bool,
    pub dry_run: bool,
    pub most_victims: u64,
}

impl TargetHandle {
    /// The command for an order. The process table is read only if a control group is given by its name, and what is
    /// offered only if that is wanted.
    pub(super) fn command(
        &self,
        asked: &Asked<'_>,
        processes: impl FnOnce() -> Result<ProcessView, Failure>,
        offers: impl FnOnce() -> Result<Offers, Failure>,
    ) -> Result<Command, Failure> {
        let not_offered = |error: NotOffered| Failure::bad_request(error.to_string());
        let command = match (asked.subject, asked.deed) {
            (HealSubject::Variable(name), HealDeed::Hand(value)) => {
                offers()?.set(name, *value).map_err(not_offered)?
            }
            (HealSubject::Hook { application, hook }, HealDeed::Hand(word)) => {
                offers()?.call(application, hook, *word).map_err(not_offered)?
            }
            (subject, deed) => {
                let (opcode, argument) = opcode(subject, deed)?;
                Command { argument, ..Command::new(opcode, self.id(subject, processes)?) }
            }
        };
        let opcode = command.opcode;
        if let Err(refusal) = opcode.check_argument(command.argument) {
            return Err(Failure::bad_request(format!(
                "{opcode} has an argument that is {refusal}; nothing was written"
            )));
        }
        if asked.most_victims > 0 && !opcode.sweeps() {
            return Err(Failure::bad_request(format!(
                "{opcode} has no bound on victims: leave `--most` out; nothing was written"
            )));
        }
        if asked.has_grace && (asked.dry_run || !opcode.kills()) {
            return Err(Failure::bad_request(
                "only those who are killed have a time of grace: leave `--grace` out; nothing was written"
                    .to_owned(),
            ));
        }
        Ok(Command { most_victims: asked.most_victims, dry_run: asked.dry_run, ..command })
    }

    /// The number of a process, user or control group.
    fn id(
        &self,
        subject: &HealSubject,
        processes: impl FnOnce() -> Result<ProcessView, Failure>,
    ) -> Result<u64, Failure> {
        match subject {
            HealSubject::Process(pid) | HealSubject::Tree(pid) => Ok(u64::from(*pid)),
            HealSubject::User(user) => {
                let id = user.parse().ok().or_else(|| self.status().users.get(user).copied());
                let unknown = || {
                    Failure::bad_request(format!(
                        "user `{user}` is unknown: users belong to the target; give the number, or add the name to \
                         `users` of target `{}` in the monitor's configuration",
                        self.config.name
                    ))
                };
                id.map(u64::from).ok_or_else(unknown)
            }
            HealSubject::Cgroup(name) => match name.parse() {
                Ok(id) => Ok(id),
                Err(_) => cgroup(name, &processes()?),
            },
            // They are no numbers that somebody could know.
            HealSubject::Variable(_) | HealSubject::Hook { .. } => Err(no_such_deed()),
        }
    }
}

/// What is done to processes, and with which argument.
fn opcode(subject: &HealSubject, deed: &HealDeed) -> Result<(Opcode, u64), Failure> {
    use HealSubject::{Cgroup, Process, Tree, User};
    Ok(match (deed, subject) {
        (HealDeed::Kill, Process(_)) => (Opcode::KillProcess, 0),
        (HealDeed::Kill, User(_)) => (Opcode::KillUser, 0),
        (HealDeed::Kill, Tree(_)) => (Opcode::KillTree, 0),
        (HealDeed::Kill, Cgroup(_)) => (Opcode::KillCgroup, 0),
        (HealDeed::Signal(name), Process(_)) => (Opcode::SignalProcess, signal(name)?),
        (HealDeed::Signal(name), User(_)) => (Opcode::SignalUser, signal(name)?),
        (HealDeed::Signal(name), Tree(_)) => (Opcode::SignalTree, signal(name)?),
        (HealDeed::Signal(name), Cgroup(_)) => (Opcode::SignalCgroup, signal(name)?),
        (HealDeed::Freeze, Cgroup(_)) => (Opcode::FreezeCgroup, 0),
        (HealDeed::Thaw, Cgroup(_)) => (Opcode::ThawCgroup, 0),
        (HealDeed::Nice(nice), Process(_)) => (Opcode::SetPriority, *nice),
        (HealDeed::RefuseForks(time), User(_)) => (Opcode::RefuseForks, *time),
        _ => return Err(no_such_deed()),
    })
}

fn signal(name: &str) -> Result<u64, Failure> {
    let upper = name.to_ascii_uppercase();
    let plain = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = Signal::ALL.iter().find(|(_, known)| *known == plain);
    known.map(|(signal, _)| *signal as u64).ok_or_else(|| {
        let names: Vec<&str> = Signal::ALL.iter().map(|(_, name)| *name).collect();
        Failure::bad_request(format!(
            "no signal `{name}` can be sent; there are: {}; to kill leave `--signal` out; nothing was written",
            names.join(", ")
        ))
    })
}

/// The control group that has this name in the process table.
fn cgroup(name: &str, processes: &ProcessView) -> Result<u64, Failure> {
    let mut found = BTreeMap::new();
    for process in &processes.processes {
        // The root group has no name.
        if process.cgroup_name == name && process.cgroup > 1 {
            *found.entry(process.cgroup).or_insert(0) += 1;
        }
    }
    let mut ids = found.keys().copied();
    match (ids.next(), ids.next()) {
        (Some(id), None) => Ok(id),
        (Some(_), Some(_)) => {
            let each = |(id, count): (&u64, &i32)| format!("{id} with {count} processes");
            let groups: Vec<String> = found.iter().map(each).collect();
            Err(Failure::bad_request(format!(
                "several control groups are called `{name}`: {}; give the id; nothing was written",
                groups.join(", ")
            )))
        }
        (None, _) => Err(Failure::bad_request(format!(
            "no process of the target is in a control group `{name}`; `backdoors ps` shows the names, and an empty \
             group can be given by its id; nothing was written"
        ))),
    }
}

fn no_such_deed() -> Failure {
    Failure::bad_request("a control group can be frozen and thawed, a process made nice, a user's forks refused; processes, trees, users \
         and control groups can be killed and sent signals; nothing was written"
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use backdoors_sensor_box::Process;

    fn table(groups: &[(u64, &str)]) -> ProcessView {
        let process = |&(cgroup, name): &(u64, &str)| Process {
            cgroup,
            cgroup_name: name.to_owned(),
            ..Process::default()
        };
        ProcessView { processes: groups.iter().map(process).collect(), ..ProcessView::default() }
    }

    #[test]
    fn a_control_group_is_found_by_a_name_that_only_one_has() {
        let table = table(&[(7, "shop"), (7, "shop"), (8, "batch"), (9, "batch"), (9, "batch"), (1, "")]);
        assert_eq!(cgroup("shop", &table), Ok(7));
        let several = cgroup("batch", &table).unwrap_err();
        assert!(
            several.message.contains("`batch`: 8 with 1 processes, 9 with 2 processes; give the id"),
            "{several}"
        );
        assert!(cgroup("", &table).is_err(), "the root group has no name");
    }

    #[test]
    fn a_signal_is_known_with_and_without_its_first_letters_and_kill_is_none() {
        assert_eq!((signal("TERM"), signal("sigstop")), (Ok(15), Ok(19)));
        assert!(signal("KILL").unwrap_err().message.contains("to kill leave `--signal` out"));
    }
}
