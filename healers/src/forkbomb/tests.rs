use super::*;
use crate::{Exceeded, Limits};
use backdoors_sensor_box::layout::ProcessFlags;
use backdoors_sensor_box::{Class, Process, ProcessView, SensorReading, SensorView, Unit};
use proptest::prelude::*;

fn healer(settings: &str) -> ForkBomb {
    let users = Users::from([("build".to_owned(), 2000)]);
    ForkBomb::new(settings.parse().unwrap(), &users).unwrap()
}

fn process(pid: u32, user: u32, depth: u32, command: &str) -> Process {
    Process {
        pid,
        parent: 1,
        user,
        depth,
        flags: 0,
        start: u64::from(pid),
        rss: 4096,
        cpu_time: 0,
        command: command.to_owned(),
        ..Process::default()
    }
}

fn crowd(user: u32, count: u32) -> Vec<Process> {
    (0..count).map(|index| process(user * 10_000 + index + 2, user, 5, "sh")).collect()
}

fn reading(kind: SensorKind, instance: u32, value: u64, limit: u64) -> SensorReading {
    SensorReading { kind, instance, class: Class::Level, unit: Some(Unit::Count), limit: Some(limit), value }
}

fn examine(healer: &ForkBomb, processes: Vec<Process>, sensors: Vec<SensorReading>) -> Diagnosis {
    examine_view(healer, processes, &SensorView { sensors, ..SensorView::default() })
}

fn examine_view(healer: &ForkBomb, processes: Vec<Process>, sensors: &SensorView) -> Diagnosis {
    let events: Vec<Exceeded> = sensors
        .sensors
        .iter()
        .filter(|sensor| sensor.limit.is_some_and(|limit| sensor.value > limit))
        .map(|sensor| Exceeded {
            kind: sensor.kind,
            instance: sensor.instance,
            class: sensor.class,
            unit: sensor.unit,
            value: sensor.value,
            limit: sensor.limit.unwrap_or(0),
        })
        .collect();
    let case = Case {
        now: Duration::ZERO,
        target: "sick",
        events: &events,
        sensors,
        processes: &ProcessView { processes, ..ProcessView::default() },
        limits: &Limits::default(),
        stuck: &[],
    };
    healer.clone().examine(&case)
}

#[test]
fn forks_are_refused_before_the_blow_only_where_it_is_wanted_and_the_target_can() {
    let case = |capabilities| SensorView {
        sensors: vec![reading(SensorKind::USER_PROCESSES, 60001, 390, 200)],
        capabilities,
        ..SensorView::default()
    };
    let repair = |settings: &str, capabilities| {
        let diagnosis = examine_view(&healer(settings), crowd(60001, 398), &case(capabilities));
        let Diagnosis::Culprit { evidence, repair, .. } = diagnosis else { panic!("nobody blamed") };
        let commands: Vec<_> = repair
            .commands
            .iter()
            .map(|command| (command.opcode, command.subject, command.argument))
            .collect();
        (commands, evidence.iter().any(|evidence| evidence.name == "refuse-forks"))
    };
    let kill = (Opcode::KillUser, 60001, 0);
    let refuse = (Opcode::RefuseForks, 60001, 10_000_000_000);
    assert_eq!(repair("", Capabilities::KERNEL_REFUSES_FORKS), (vec![kill], false));
    let wanted = "refuse_forks = '10s'";
    assert_eq!(repair(wanted, Capabilities::KERNEL_REFUSES_FORKS), (vec![refuse, kill], false));
    assert_eq!(repair(wanted, 0), (vec![kill], true), "that it cannot is told");
}

fn culprit(diagnosis: &Diagnosis) -> Option<u32> {
    match diagnosis {
        Diagnosis::Culprit { culprit: Culprit::User { user }, .. } => Some(*user),
        _ => None,
    }
}

fn reason(diagnosis: Diagnosis) -> String {
    match diagnosis {
        Diagnosis::Nothing { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_user_over_its_limit_is_blamed_with_the_numbers() {
    let mut processes = crowd(60001, 398);
    processes.extend(crowd(1000, 33));
    let sensors = vec![reading(SensorKind::USER_PROCESSES, 60001, 390, 200)];
    let Diagnosis::Culprit { culprit, evidence, repair, victims } = examine(&healer(""), processes, sensors)
    else {
        panic!("nobody blamed");
    };
    assert_eq!(culprit, Culprit::User { user: 60001 });
    assert_eq!(victims, 398);
    let texts: Vec<&str> = evidence.iter().map(|evidence| evidence.text.as_str()).collect();
    assert_eq!(
        texts,
        ["user 60001 has 398 of 431 processes (limit 200)", "most common command: sh (398 of 398)"]
    );
    let expected = Command::new(Opcode::KillUser, 60001);
    assert_eq!(repair, Repair::one(expected).within(Duration::ZERO));
}

#[test]
fn the_sensor_counts_where_the_table_is_full() {
    let sensors = vec![
        reading(SensorKind::PROCESSES, 0, 9000, 4096),
        reading(SensorKind::USER_PROCESSES, 60001, 8900, 1024),
    ];
    let diagnosis = examine(&healer(""), crowd(60001, 10), sensors);
    let Diagnosis::Culprit { evidence, .. } = diagnosis else { panic!("nobody blamed") };
    assert_eq!(evidence[0].text, "user 60001 has 8900 of 9000 processes (limit 1024)");
}

#[test]
fn only_a_user_that_stands_out_is_blamed_for_the_machines_limit() {
    let sensors = || vec![reading(SensorKind::PROCESSES, 0, 100, 90)];
    let mut even = crowd(1001, 50);
    even.extend(crowd(1002, 26));
    even.extend(crowd(1003, 24));
    assert_eq!(culprit(&examine(&healer(""), even.clone(), sensors())), Some(1001));
    let why = reason(examine(&healer("least_share = 0.6"), even, sensors()));
    assert!(
        why.starts_with(
            "too-many-processes: user 1001 has 50 of 100 processes (limit 90 for the machine), too small a share"
        ),
        "{why}"
    );
}

#[test]
fn a_user_who_forks_too_fast_is_blamed_however_few_processes_are_alive() {
    let mut processes = crowd(1000, 100);
    processes.push(process(7, 60001, 3, "sh"));
    let sensors = vec![
        reading(SensorKind::USER_FORK_RATE, 1000, 20, 1000),
        reading(SensorKind::USER_FORK_RATE, 60001, 3000, 1000),
    ];
    let diagnosis = examine(&healer(""), processes, sensors);
    assert_eq!(culprit(&diagnosis), Some(60001));
    let Diagnosis::Culprit { evidence, .. } = diagnosis else { unreachable!() };
    assert_eq!(evidence[0].text, "user 60001 starts 3000 processes/s (limit 1000)");
}

#[test]
fn the_user_with_the_deepest_tree_is_blamed() {
    let processes =
        vec![process(7, 1001, 40, "deep"), process(8, 1002, 41, "deeper"), process(9, 1003, 2, "sh")];
    let diagnosis = examine(&healer("policies = ['tree-too-deep']\ntree_depth = 30"), processes, vec![]);
    assert_eq!(culprit(&diagnosis), Some(1002));
    let Diagnosis::Culprit { evidence, .. } = diagnosis else { unreachable!() };
    assert_eq!(evidence[0].text, "user 1002 has a process tree 41 deep, at process 8 deeper (limit 30)");
}

#[test]
fn with_all_only_a_user_found_by_every_policy_is_blamed() {
    let settings = "policies = ['too-many-processes', 'rate-too-high']\ncombine = 'all'";
    let mut processes = crowd(1001, 300);
    processes.extend(crowd(1002, 250));
    let crowded = [
        reading(SensorKind::USER_PROCESSES, 1001, 300, 200),
        reading(SensorKind::USER_PROCESSES, 1002, 250, 200),
    ];
    let why = reason(examine(&healer(settings), processes.clone(), crowded.to_vec()));
    assert_eq!(
        why,
        "too-many-processes: user 1001 has 300 of 550 processes (limit 200), but not every policy says so; \
         rate-too-high: user 1001 starts 0 processes/s (no limit)"
    );
    let mut busy = crowded.to_vec();
    busy.push(reading(SensorKind::USER_FORK_RATE, 1002, 500, 100));
    let diagnosis = examine(&healer(settings), processes, busy);
    assert_eq!(culprit(&diagnosis), Some(1002));
    let Diagnosis::Culprit { evidence, .. } = diagnosis else { unreachable!() };
    let names: Vec<&str> = evidence.iter().map(|evidence| evidence.name.as_ref()).collect();
    assert_eq!(names, ["too-many-processes", "rate-too-high", "most-common-command"]);
}

#[test]
fn spared_users_are_passed_over_and_said_to_be() {
    for (settings, user) in
        [("", 0), ("", 999), ("spare = [60001]", 60001), ("spare = ['build']", 2000), ("spare_below = 0", 0)]
    {
        let sensors = vec![reading(SensorKind::USER_PROCESSES, user, 400, 200)];
        let why = reason(examine(&healer(settings), crowd(user, 400), sensors.clone()));
        assert!(
            why.contains(&format!("user {user} has 400 of 400 processes (limit 200), but is spared")),
            "{why}"
        );
        let mut both = crowd(user, 400);
        both.extend(crowd(3000, 300));
        let mut sensors = sensors;
        sensors.push(reading(SensorKind::USER_PROCESSES, 3000, 300, 200));
        assert_eq!(culprit(&examine(&healer(settings), both, sensors)), Some(3000));
    }
}

#[test]
fn protected_processes_are_nobodys_fault() {
    let mut processes = crowd(5000, 300);
    for process in &mut processes {
        process.flags = ProcessFlags::PROTECTED;
    }
    let why =
        reason(examine(&healer(""), processes, vec![reading(SensorKind::USER_PROCESSES, 5000, 300, 200)]));
    assert!(why.contains("but has no process in the table that may be killed"), "{why}");
}

#[test]
fn kernel_threads_are_not_counted() {
    let mut processes = crowd(5000, 3);
    for index in 0..50 {
        processes.push(Process { flags: ProcessFlags::KERNEL, ..process(100 + index, 5000, 99, "kworker") });
    }
    let why = reason(examine(&healer(""), processes, vec![]));
    assert_eq!(
        why,
        "too-many-processes: user 5000 has 3 of 3 processes (no limit, no limit for the machine); \
         rate-too-high: user 5000 starts 0 processes/s (no limit); \
         tree-too-deep: user 5000 has a process tree 5 deep, at process 50000002 sh (limit 32)"
    );
}

#[test]
fn an_empty_table_gives_a_reason_too() {
    let why = reason(examine(&healer(""), vec![], vec![]));
    assert_eq!(
        why,
        "too-many-processes: no user is known; rate-too-high: no user is known; tree-too-deep: no user is known"
    );
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for (settings, complaint) in [
        ("refuse_forks = '1h'", "`refuse_forks` must be at most 600s"),
        ("policies = []", "`policies` is empty"),
        ("least_share = 1.5", "say 0 to 1"),
        ("spare = ['nobody-knows']", "add it to the target's `users`"),
        ("policies = ['too-purple']", "unknown variant `too-purple`"),
        ("tree_dept = 3", "unknown field `tree_dept`"),
    ] {
        let error = ForkBomb::new(settings.parse().unwrap(), &Users::new()).unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
    }
}

fn any_process() -> impl Strategy<Value = Process> {
    let user = prop_oneof![Just(0), Just(999), 1000..1004u32, any::<u32>()];
    (1..5000u32, user, prop_oneof![0..60u32, any::<u32>()], 0..4u32, "[a-c]{0,2}").prop_map(
        |(pid, user, depth, flags, command)| Process { flags, ..process(pid, user, depth, &command) },
    )
}

fn any_reading() -> impl Strategy<Value = SensorReading> {
    let kind = prop_oneof![
        Just(SensorKind::PROCESSES),
        Just(SensorKind::USER_PROCESSES),
        Just(SensorKind::USER_FORK_RATE),
        any::<u32>().prop_map(SensorKind)
    ];
    let instance = prop_oneof![Just(0), Just(999), 1000..1004u32, any::<u32>()];
    let number = || prop_oneof![0..50u64, any::<u64>()];
    (kind, instance, number(), number())
        .prop_map(|(kind, instance, value, limit)| reading(kind, instance, value, limit))
}

proptest! {
    #[test]
    fn whatever_the_case_a_culprit_is_not_spared_and_has_killable_processes(
        processes in prop::collection::vec(any_process(), 0..80),
        sensors in prop::collection::vec(any_reading(), 0..20),
        all in any::<bool>(),
    ) {
        let healer = healer(if all { "combine = 'all'\nspare = [1002]" } else { "spare = [1002]" });
        match examine(&healer, processes.clone(), sensors) {
            Diagnosis::Nothing { reason } => prop_assert!(!reason.is_empty()),
            Diagnosis::Culprit { culprit, evidence, repair, victims } => {
                let Culprit::User { user } = culprit else { panic!("a fork bomb is a user's") };
                prop_assert!(user >= 1000 && user != 1002);
                prop_assert_eq!(repair.commands[0].opcode, Opcode::KillUser);
                prop_assert_eq!(repair.commands[0].subject, u64::from(user));
                let killable = processes.iter().filter(|process| {
                    process.user == user && process.pid != 1 && process.flags == 0
                });
                prop_assert_eq!(victims, killable.count() as u64);
                prop_assert!(victims > 0);
                prop_assert!(evidence.iter().any(|evidence| evidence.limit.is_some_and(|limit| evidence.value > limit)
                    || evidence.text.contains("for the machine")));
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn the_blamed_user_has_the_most_processes_of_all_that_may_be_blamed(counts in prop::collection::vec(0..60u32, 5)) {
        let mut processes = Vec::new();
        let mut sensors = Vec::new();
        for (user, &count) in (1000..).zip(&counts) {
            processes.extend(crowd(user, count));
            sensors.push(reading(SensorKind::USER_PROCESSES, user, u64::from(count), 30));
        }
        let most = counts.iter().copied().max().unwrap_or(0);
        match culprit(&examine(&healer(""), processes, sensors)) {
            Some(user) => {
                prop_assert_eq!(counts[user as usize - 1000], most);
                prop_assert!(most > 30);
            }
            None => prop_assert!(most <= 30),
        }
    }
}
