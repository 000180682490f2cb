use super::*;
use crate::{Culprit, Exceeded, Limits};
use backdoors_sensor_box::{Class, ProcessView, SensorReading, SensorView, Unit};
use proptest::prelude::*;

const MIB: u64 = 1 << 20;
const MEMORY: u64 = 1000 * MIB;
const LIMIT: u64 = 50 * MIB;

/// A machine of 1000 MiB.
#[derive(Clone)]
struct Machine {
    now: u64,
    available: u64,
    swap_free: u64,
    swap: u64,
    stalled_ms: u64,
    oom_kills: u64,
    processes: Vec<Process>,
}

impl Machine {
    /// Out of memory, without swap space.
    fn out_of_memory(processes: Vec<Process>) -> Machine {
        Machine {
            now: 100,
            available: 20 * MIB,
            swap_free: 0,
            swap: 0,
            stalled_ms: 0,
            oom_kills: 0,
            processes,
        }
    }

    fn examined_by(&self, healer: &mut MemoryHog) -> Diagnosis {
        let reading = |kind: SensorKind, value, limit| {
            let line = kind.description().unwrap();
            SensorReading { kind, instance: 0, class: line.class, unit: Some(line.unit), value, limit }
        };
        let sensors = vec![
            reading(SensorKind::MEMORY_AVAILABLE, self.available, Some(LIMIT)),
            reading(SensorKind::MEMORY_TOTAL, MEMORY, None),
            reading(SensorKind::SWAP_FREE, self.swap_free, Some(0)),
            reading(SensorKind::SWAP_TOTAL, self.swap, None),
            reading(SensorKind::MEMORY_STALLED, self.stalled_ms * 1_000_000, Some(200_000_000)),
        ];
        let kills = [Exceeded {
            kind: SensorKind::OOM_KILLS,
            instance: 0,
            class: Class::Pressure,
            unit: Some(Unit::Count),
            value: self.oom_kills,
            limit: 0,
        }];
        healer.examine(&Case {
            now: Duration::from_secs(self.now),
            target: "sick",
            events: &kills[..usize::from(self.oom_kills > 0)],
            sensors: &SensorView { sensors, clock: self.now * 1_000_000_000, ..SensorView::default() },
            processes: &ProcessView { processes: self.processes.clone(), ..ProcessView::default() },
            limits: &Limits::default(),
            stuck: &[],
        })
    }
}

fn healer(settings: &str) -> MemoryHog {
    MemoryHog::new(settings.parse().unwrap(), &Users::from([("db".to_owned(), 2000)])).unwrap()
}

/// A process that was there from the beginning.
fn process(pid: u32, parent: u32, user: u32, mebibytes: u64) -> Process {
    Process {
        pid,
        parent,
        user,
        start: 70,
        rss: mebibytes * MIB,
        command: format!("of{parent}"),
        ..Process::default()
    }
}

/// The opcodes and subjects of the repair; none if nobody is blamed.
fn struck(diagnosis: &Diagnosis) -> Vec<(Opcode, u32)> {
    match diagnosis {
        Diagnosis::Culprit { repair, .. } => {
            repair.commands.iter().map(|command| (command.opcode, command.id())).collect()
        }
        _ => Vec::new(),
    }
}

fn reason(diagnosis: &Diagnosis) -> &str {
    match diagnosis {
        Diagnosis::Nothing { reason } => reason,
        other => panic!("{other:?}"),
    }
}

/// A shell of user 1001 with a controller and its children of so much memory each, beside an innocent of user 1002.
fn hog(children: u32, mebibytes: u64, first_pid: u32, start: u64) -> Vec<Process> {
    let mut processes = vec![process(1, 0, 0, 5), process(10, 1, 1001, 3), process(20, 10, 1001, 2)];
    processes.extend(
        (0..children).map(|index| Process { start, ..process(first_pid + index, 20, 1001, mebibytes) }),
    );
    processes.push(process(5000, 1, 1002, 60));
    processes
}

#[test]
fn one_large_process_is_blamed_with_the_numbers() {
    let machine = Machine::out_of_memory(vec![process(5, 1, 1001, 700), process(6, 1, 1002, 100)]);
    let diagnosis = machine.examined_by(&mut healer(""));
    assert_eq!(struck(&diagnosis), [(Opcode::KillProcess, 5)]);
    let Diagnosis::Culprit { evidence, victims, culprit, .. } = diagnosis else { panic!("nobody blamed") };
    assert_eq!((victims, culprit), (1, Culprit::Process { pid: 5 }));
    let texts: Vec<&str> = evidence.iter().map(|evidence| evidence.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "process 5 (of1) of user 1001 has 700.0 MiB of memory and 0.0 MiB of swap space, more than any other that may be killed",
            "20.0 MiB of 1000.0 MiB of memory are available (limit 50.0 MiB), 0.0 MiB of 0.0 MiB of swap space are free",
            "700.0 MiB would be freed, 80.0 MiB are needed",
        ]
    );
}

#[test]
fn no_more_processes_are_struck_than_are_enough() {
    let sizes = |sizes: [u64; 3]| {
        let processes =
            sizes.iter().zip(5..).map(|(size, pid)| process(pid, pid + 100, 1001, *size)).collect();
        struck(&Machine::out_of_memory(processes).examined_by(&mut healer("")))
    };
    assert_eq!(sizes([90, 300, 90]), [(Opcode::KillProcess, 6)]);
    assert_eq!(sizes([70, 70, 70]), [(Opcode::KillProcess, 5), (Opcode::KillProcess, 6)]);
}

#[test]
fn many_small_children_are_laid_at_the_process_above_them_although_an_innocent_is_larger_than_each() {
    let machine = Machine::out_of_memory(hog(40, 20, 100, 70));
    assert_eq!(struck(&machine.examined_by(&mut healer(""))), [(Opcode::KillTree, 20)]);
}

#[test]
fn an_innocent_who_alone_would_be_enough_is_not_struck_for_a_user_with_more() {
    let mut processes = hog(10, 50, 100, 70);
    processes.last_mut().unwrap().rss = 300 * MIB;
    let machine = Machine::out_of_memory(processes);
    let children = [(Opcode::KillProcess, 100), (Opcode::KillProcess, 101)];
    assert_eq!(struck(&machine.examined_by(&mut healer(""))), children);
    let any = "combine = 'any'";
    assert_eq!(struck(&machine.examined_by(&mut healer(any))), [(Opcode::KillProcess, 5000)]);
    // Where that user has nothing that may be struck and is enough, whoever has it is.
    let alone = "policies = ['largest-process']\nmost_processes = 1";
    assert_eq!(struck(&machine.examined_by(&mut healer(alone))), [(Opcode::KillProcess, 5000)]);
}

#[test]
fn children_who_were_struck_in_vain_are_laid_at_their_parent_and_a_parent_that_comes_again_at_the_user() {
    let mut healer = healer("");
    let mut machine = Machine::out_of_memory(hog(3, 280, 100, 70));
    assert_eq!(struck(&machine.examined_by(&mut healer)), [(Opcode::KillProcess, 100)]);
    // It was only proposed.
    machine.now += 2;
    machine.processes[4].rss += MIB;
    assert_eq!(struck(&machine.examined_by(&mut healer)), [(Opcode::KillProcess, 101)]);
    // It was done, and memory is short again.
    machine.now += 2;
    machine.processes.retain(|process| process.pid != 101);
    assert_eq!(struck(&machine.examined_by(&mut healer)), [(Opcode::KillTree, 20)]);
    // The controller was started anew by somebody.
    machine.now += 2;
    machine.processes = hog(3, 280, 300, 105_000_000_000);
    machine.processes[2].start = 104_000_000_000;
    assert_eq!(struck(&machine.examined_by(&mut healer)), [(Opcode::KillUser, 1001)]);
}

#[test]
fn a_stranger_who_is_large_after_a_blow_is_no_kin() {
    let mut healer = healer("");
    let mut machine = Machine::out_of_memory(hog(1, 700, 100, 70));
    assert_eq!(struck(&machine.examined_by(&mut healer)), [(Opcode::KillProcess, 100)]);
    machine.now += 2;
    machine.processes = vec![process(6000, 1, 1003, 800)];
    assert_eq!(struck(&machine.examined_by(&mut healer)), [(Opcode::KillProcess, 6000)]);
}

#[test]
fn what_came_again_long_after_is_no_relapse() {
    let mut healer = healer("relapse = '10s'");
    let mut machine = Machine::out_of_memory(hog(3, 280, 100, 70));
    machine.examined_by(&mut healer);
    machine.now += 11;
    machine.processes = hog(3, 280, 200, 110_000_000_000);
    assert_eq!(struck(&machine.examined_by(&mut healer)), [(Opcode::KillProcess, 200)]);
}

#[test]
fn enough_memory_blames_nobody_and_the_reason_has_the_numbers() {
    let mut machine = Machine::out_of_memory(hog(3, 280, 100, 70));
    machine.available = 51 * MIB;
    let diagnosis = machine.examined_by(&mut healer(""));
    assert!(
        reason(&diagnosis).starts_with("51.0 MiB of 1000.0 MiB of memory are available"),
        "{diagnosis:?}"
    );
}

#[test]
fn swap_space_that_is_free_makes_up_for_memory_until_work_stands_still() {
    let mut machine = Machine::out_of_memory(hog(3, 280, 100, 70));
    (machine.swap, machine.swap_free) = (1000 * MIB, 500 * MIB);
    assert!(struck(&machine.examined_by(&mut healer(""))).is_empty());
    machine.stalled_ms = 250;
    assert_eq!(struck(&machine.examined_by(&mut healer(""))).len(), 1);
    (machine.stalled_ms, machine.swap_free) = (0, 90 * MIB);
    assert_eq!(struck(&machine.examined_by(&mut healer(""))).len(), 1);
}

#[test]
fn stalls_without_a_lack_of_memory_blame_nobody() {
    let mut machine = Machine::out_of_memory(hog(3, 280, 100, 70));
    (machine.available, machine.stalled_ms) = (400 * MIB, 900);
    assert!(struck(&machine.examined_by(&mut healer(""))).is_empty());
}

#[test]
fn after_the_kernels_killer_made_room_nobody_else_is_killed() {
    let mut machine = Machine::out_of_memory(hog(3, 280, 100, 70));
    (machine.available, machine.oom_kills) = (300 * MIB, 1);
    assert!(struck(&machine.examined_by(&mut healer(""))).is_empty());
    machine.available = 80 * MIB;
    assert_eq!(struck(&machine.examined_by(&mut healer(""))).len(), 1);
}

#[test]
fn what_was_swapped_out_counts() {
    let mut machine = Machine::out_of_memory(vec![process(5, 1, 1001, 100), process(6, 1, 1002, 300)]);
    machine.processes[0].swap = 600 * MIB;
    (machine.swap, machine.swap_free) = (700 * MIB, 10 * MIB);
    assert_eq!(struck(&machine.examined_by(&mut healer(""))), [(Opcode::KillProcess, 5)]);
}

#[test]
fn root_system_users_and_whoever_is_on_the_list_are_spared_with_all_around_them() {
    let mut processes = vec![process(5, 1, 0, 200), process(6, 1, 500, 200), process(7, 1, 2000, 200)];
    processes.push(Process { command: "postgres".to_owned(), ..process(8, 1, 1001, 200) });
    processes.push(Process { cgroup: 9, cgroup_name: "shop.service".to_owned(), ..process(9, 1, 1002, 190) });
    processes.push(process(10, 1, 1002, 10));
    let spare = "spare = ['db']\nspare_commands = ['postgres']\nspare_cgroups = ['shop.service']";
    let diagnosis = Machine::out_of_memory(processes.clone()).examined_by(&mut healer(spare));
    assert!(
        reason(&diagnosis)
            .contains("largest-user: user 0 has 200.0 MiB in 1 processes, but process 5 (of1) is spared"),
        "{diagnosis:?}"
    );
    processes[4].cgroup_name = "other.service".to_owned();
    let machine = Machine::out_of_memory(processes);
    assert_eq!(struck(&machine.examined_by(&mut healer(spare))), [(Opcode::KillProcess, 9)]);
}

#[test]
fn the_largest_user_is_blamed_where_only_that_is_asked_for() {
    let machine = Machine::out_of_memory(hog(40, 20, 100, 70));
    let policy = "policies = ['largest-user']";
    assert_eq!(struck(&machine.examined_by(&mut healer(policy))), [(Opcode::KillUser, 1001)]);
    let spared = format!("{policy}\nspare = [1001]");
    assert!(struck(&machine.examined_by(&mut healer(&spared))).is_empty());
}

#[test]
fn a_control_group_is_killed_whole_however_many_it_has() {
    let of_group = |pid: u32, mebibytes| Process {
        cgroup: 77,
        cgroup_name: "batch.service".to_owned(),
        ..process(pid, 1, 1001 + pid % 2, mebibytes)
    };
    let machine = Machine::out_of_memory((0..40).map(|index| of_group(100 + index, 20)).collect());
    let diagnosis = machine.examined_by(&mut healer("policies = ['largest-cgroup']"));
    assert_eq!(struck(&diagnosis), [(Opcode::KillCgroup, 77)]);
    assert!(matches!(diagnosis, Diagnosis::Culprit { culprit: Culprit::Cgroup { id: 77 }, victims: 40, .. }));
}

/// How long the repair can wait.
fn time(diagnosis: &Diagnosis) -> Duration {
    match diagnosis {
        Diagnosis::Culprit { repair, .. } => repair.time,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_repair_can_wait_for_as_long_as_memory_lasts_at_the_rate_at_which_it_shrinks() {
    let mut machine = Machine::out_of_memory(hog(1, 800, 100, 70));
    let mut slow = healer("");
    machine.available = 22 * MIB;
    assert_eq!(time(&machine.examined_by(&mut slow)), Duration::ZERO, "nobody knows the rate");
    (machine.now, machine.available) = (101, 20 * MIB);
    assert_eq!(time(&machine.examined_by(&mut slow)), Duration::from_secs(10));
    (machine.now, machine.available) = (102, 20 * MIB);
    assert!(time(&machine.examined_by(&mut slow)) >= Duration::from_secs(10), "it does not shrink any more");
    (machine.now, machine.available) = (130, 19 * MIB);
    assert_eq!(time(&machine.examined_by(&mut slow)), Duration::ZERO, "that was too long ago");
}

#[test]
fn nobody_waits_while_work_stands_still_or_the_kernel_kills_or_after_a_blow_in_vain() {
    let seen = |machine: &mut Machine, healer: &mut MemoryHog| {
        machine.examined_by(healer);
        machine.now += 1;
        time(&machine.examined_by(healer))
    };
    let calm = Machine::out_of_memory(hog(1, 800, 100, 70));
    assert_eq!(seen(&mut calm.clone(), &mut healer("")), Duration::MAX);
    assert_eq!(seen(&mut Machine { stalled_ms: 900, ..calm.clone() }, &mut healer("")), Duration::ZERO);
    assert_eq!(seen(&mut Machine { oom_kills: 1, ..calm.clone() }, &mut healer("")), Duration::ZERO);
    let mut again = healer("");
    let mut machine = calm;
    seen(&mut machine, &mut again);
    machine.processes = hog(1, 800, 200, 90);
    machine.now += 1;
    assert_eq!(
        time(&machine.examined_by(&mut again)),
        Duration::ZERO,
        "a child of the same controller is there"
    );
}

/// Memory that was there a second ago, and is gone by now.
fn in_a_rush(processes: Vec<Process>, settings: &str) -> Diagnosis {
    let mut healer = healer(settings);
    let mut machine = Machine::out_of_memory(processes);
    machine.available = 500 * MIB;
    assert!(struck(&machine.examined_by(&mut healer)).is_empty());
    (machine.now, machine.available) = (101, 20 * MIB);
    machine.examined_by(&mut healer)
}

#[test]
fn while_memory_is_gone_in_no_time_only_who_accounts_for_it_is_blamed() {
    const YOUNG: u64 = 99_500_000_000;
    // Ten children that began a second ago or two: two of them would be enough, but all go on.
    let many = hog(10, 55, 100, YOUNG);
    assert_eq!(struck(&in_a_rush(many.clone(), "")), [(Opcode::KillTree, 20)]);
    let slow = Machine::out_of_memory(many).examined_by(&mut healer(""));
    assert_eq!(struck(&slow), [(Opcode::KillProcess, 100), (Opcode::KillProcess, 101)]);
    // So it is where there is time, whoever accounts for it.
    let mut calm = Machine::out_of_memory(hog(10, 55, 100, 70));
    let mut patient = healer("");
    calm.available = 120 * MIB;
    calm.examined_by(&mut patient);
    (calm.now, calm.available) = (109, 45 * MIB);
    assert_eq!(struck(&calm.examined_by(&mut patient)), [(Opcode::KillProcess, 100)]);
    // One that took it all is enough.
    let mut one = hog(1, 550, 100, YOUNG);
    assert_eq!(struck(&in_a_rush(one.clone(), "")), [(Opcode::KillProcess, 100)]);
    // One that has been there for long may have taken it, too, if nobody else did.
    one[3].start = 70;
    assert_eq!(struck(&in_a_rush(one, "policies = ['largest-process']")), [(Opcode::KillProcess, 100)]);
}

#[test]
fn memory_that_is_nearly_gone_and_will_be_at_once_is_short() {
    let nearly = |before: u64| {
        let mut healer = healer("");
        let mut machine = Machine::out_of_memory(hog(1, 600, 100, 70));
        machine.available = before * MIB;
        assert!(struck(&machine.examined_by(&mut healer)).is_empty());
        // Twice the limit would be enough.
        (machine.now, machine.available) = (101, 70 * MIB);
        struck(&machine.examined_by(&mut healer))
    };
    assert_eq!(nearly(400), [(Opcode::KillProcess, 100)]);
    assert_eq!(nearly(120), []);
}

#[test]
fn combined_policies_must_agree() {
    let both = "policies = ['largest-process', 'largest-user']\ncombine = 'all'";
    let agreed = Machine::out_of_memory(hog(2, 400, 100, 70));
    assert_eq!(struck(&agreed.examined_by(&mut healer(both))), [(Opcode::KillProcess, 100)]);
    let mut processes = hog(10, 50, 100, 70);
    processes.push(process(6000, 1, 1003, 300));
    let divided = Machine::out_of_memory(processes).examined_by(&mut healer(both));
    assert!(reason(&divided).contains("the policies do not agree"), "{divided:?}");
}

#[test]
fn settings_that_make_no_sense_are_errors() {
    for (settings, complaint) in [
        ("policies = []", "`policies` is empty"),
        ("relief = 0.5", "`relief` is 0.5"),
        ("swap_share = 2.0", "`swap_share` is 2"),
        ("most_processes = 0", "`most_processes` is 0"),
        ("relapse = '48h'", "`relapse` must be at most 24h"),
        ("spare = ['eve']", "names user `eve`"),
        ("spare_commands = ['postgres-exporter']", "shows 15 bytes at most"),
        ("hogs = 1", "unknown field `hogs`"),
    ] {
        let error = MemoryHog::new(settings.parse().unwrap(), &Users::new()).unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
    }
}

fn any_process() -> impl Strategy<Value = Process> {
    let ids = (0..40u32, 0..40u32, prop_oneof![Just(0), Just(500), 1000..1004u32], 0..3u64);
    (ids, any::<[u16; 2]>(), 0..4u32, 0..3u64).prop_map(
        |((pid, parent, user, start), [rss, swap], flags, cgroup)| Process {
            start,
            flags,
            swap: u64::from(swap) * (MIB / 64),
            rss: u64::from(rss) * (MIB / 64),
            cgroup,
            cgroup_name: if cgroup == 0 { String::new() } else { format!("g{cgroup}") },
            ..process(pid, parent, user, 0)
        },
    )
}

proptest! {
    /// Whatever the table says, circles of parents among it.
    #[test]
    fn who_is_spared_is_never_struck_nor_killed_along_and_what_is_struck_is_enough(
        processes in prop::collection::vec(any_process(), 0..40),
        policies in prop::sample::subsequence(
            vec!["largest-process", "largest-tree", "largest-user", "largest-cgroup"], 1..=4),
        swap in any::<bool>(),
    ) {
        let mut healer = healer(&format!("policies = {policies:?}\nspare_cgroups = ['g2']"));
        let mut machine = Machine::out_of_memory(processes);
        machine.swap = if swap { 500 * MIB } else { 0 };
        // The last of one number is the one that counts.
        let by_pid: std::collections::BTreeMap<u32, &Process> =
            machine.processes.iter().map(|process| (process.pid, process)).collect();
        if let Diagnosis::Culprit { repair, evidence, .. } = machine.examined_by(&mut healer) {
            prop_assert!((1..=Repair::MOST).contains(&repair.commands.len()));
            let relief = evidence.last().unwrap();
            prop_assert!(relief.value >= relief.limit.unwrap());
            for command in repair.commands {
                let mut struck = by_pid.values().filter(|process| match command.opcode {
                    Opcode::KillUser => process.user == command.id(),
                    Opcode::KillCgroup => process.cgroup == command.subject,
                    _ => process.pid == command.id(),
                });
                prop_assert!(struck.clone().next().is_some());
                prop_assert!(struck.all(|process| !healer.spares(process)), "{command:?}");
            }
        }
    }
}
