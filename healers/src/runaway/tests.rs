use super::*;
use crate::{Limits, REGISTRY};
use backdoors_sensor_box::layout::ProcessFlags;
use backdoors_sensor_box::{ProcessView, SensorView};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

fn healer(settings: &str) -> Runaway {
    let users = Users::from([("batch".to_owned(), 2000)]);
    Runaway::new(settings.parse().unwrap(), &users).unwrap()
}

fn process(pid: u32, cpu_time: u64) -> Process {
    Process {
        pid,
        parent: 1,
        user: 1001,
        depth: 1,
        flags: 0,
        start: 70,
        rss: 8192,
        cpu_time,
        command: "spin".to_owned(),
        ..Process::default()
    }
}

/// A look at these processes, both clocks being at `second`.
fn look(healer: &mut Runaway, second: u64, processes: Vec<Process>) -> Diagnosis {
    look_by(healer, Duration::from_secs(second), second * SECOND, processes)
}

fn look_by(healer: &mut Runaway, now: Duration, clock: u64, processes: Vec<Process>) -> Diagnosis {
    healer.examine(&Case {
        now,
        target: "sick",
        events: &[],
        sensors: &SensorView { clock, cpus: 2, ..SensorView::default() },
        processes: &ProcessView { processes, ..ProcessView::default() },
        limits: &Limits::default(),
        stuck: &[],
    })
}

fn blamed(diagnosis: &Diagnosis) -> Option<u32> {
    match diagnosis {
        Diagnosis::Culprit { culprit: Culprit::Process { pid }, .. } => Some(*pid),
        _ => None,
    }
}

/// The second at which somebody is blamed, if `process` is looked at every second.
fn found(healer: &mut Runaway, mut process: impl FnMut(u64) -> Process) -> Option<u64> {
    (0..200).find(|second| blamed(&look(healer, *second, vec![process(*second)])).is_some())
}

#[test]
fn a_process_that_spins_is_blamed_when_it_did_so_for_long_enough() {
    let mut healer = healer("");
    assert_eq!(found(&mut healer, |second| process(5, second * SECOND)), Some(30));
    let Diagnosis::Culprit { evidence, repair, victims, .. } =
        look(&mut healer, 200, vec![process(5, 200 * SECOND)])
    else {
        panic!("nobody blamed");
    };
    assert_eq!(evidence[0].name, "cpu-time");
    assert!(evidence[0].text.starts_with("process 5 (spin) of user 1001 held 1.00 CPUs on average over "));
    assert_eq!(
        (repair.commands[0].opcode, repair.commands[0].subject, repair.commands[0].start, victims),
        (Opcode::KillProcess, 5, 70, 1)
    );
}

#[test]
fn one_that_was_idle_for_hours_is_blamed_as_soon_as_one_that_is_new() {
    let busy_since = |second: u64| process(5, second.saturating_sub(100) * SECOND);
    assert_eq!(found(&mut healer(""), busy_since), Some(130));
}

#[test]
fn the_average_counts_and_not_every_moment() {
    // One second in twenty it waits.
    let breathes = |second: u64| process(5, (second - second / 20) * SECOND);
    assert!(found(&mut healer(""), breathes).is_some());
    // One in five is too much.
    let works = |second: u64| process(5, (second - second / 5) * SECOND);
    assert_eq!(found(&mut healer(""), works), None);
    assert!(found(&mut healer("level = 0.7"), works).is_some());
}

#[test]
fn who_stopped_is_blamed_no_more() {
    let mut healer = healer("");
    let stops = |second: u64| process(5, second.min(29) * SECOND);
    assert_eq!(found(&mut healer, stops), None);
}

#[test]
fn the_pillars_of_the_machine_and_the_spared_are_not_blamed() {
    let spin = |change: fn(&mut Process)| {
        move |second: u64| {
            let mut process = process(5, second * SECOND);
            change(&mut process);
            process
        }
    };
    assert_eq!(found(&mut healer(""), spin(|process| process.pid = 1)), None);
    assert_eq!(found(&mut healer("spare_below = 0"), spin(|process| process.user = 0)), None);
    assert_eq!(found(&mut healer(""), spin(|process| process.user = 999)), None);
    assert_eq!(found(&mut healer(""), spin(|process| process.flags = ProcessFlags::KERNEL)), None);
    assert_eq!(found(&mut healer(""), spin(|process| process.flags = ProcessFlags::PROTECTED)), None);
    assert_eq!(found(&mut healer("spare = ['batch']"), spin(|process| process.user = 2000)), None);
    assert_eq!(found(&mut healer("spare_commands = ['spin']"), spin(|_| {})), None);
    assert_eq!(found(&mut healer("spare = [7]\nspare_commands = ['x']"), spin(|_| {})), Some(30));
}

#[test]
fn one_that_has_anothers_number_is_another() {
    // It begins with the CPU time that the one before had, and never gets old enough.
    let reused = |second: u64| Process { start: second / 20, ..process(5, second * SECOND) };
    assert_eq!(found(&mut healer(""), reused), None);
}

#[test]
fn a_stalled_target_and_a_monitor_that_slept_make_nobody_look_busier() {
    // One of the clocks goes at two fifths of the other, so that half a processor looks like more than one.
    let half = |second: u64| vec![process(5, second * SECOND / 2)];
    let (mut stalled, mut slept) = (healer(""), healer(""));
    for second in 0..200 {
        let (whole, part) = (Duration::from_secs(second), Duration::from_millis(second * 400));
        let nanoseconds = |time: Duration| time.as_nanos() as u64;
        assert_eq!(blamed(&look_by(&mut stalled, whole, nanoseconds(part), half(second))), None);
        assert_eq!(blamed(&look_by(&mut slept, part, nanoseconds(whole), half(second))), None);
    }
}

#[test]
fn what_is_averaged_is_no_longer_than_twice_what_it_must_be() {
    let mut healer = healer("level = 0.5\nfor = '10s'");
    let mut windows = Vec::new();
    for second in 0..100 {
        if let Diagnosis::Culprit { evidence, .. } =
            look(&mut healer, second, vec![process(5, second * SECOND)])
        {
            windows.push(evidence[0].value / SECOND);
        }
    }
    assert_eq!((windows.iter().min(), windows.iter().max(), windows.len()), (Some(&10), Some(&19), 90));
}

#[test]
fn a_table_that_jumps_accuses_nobody() {
    // Each second there is an hour more, or an hour less.
    let jumps = |second: u64| process(5, (second % 2) * 3600 * SECOND);
    assert_eq!(found(&mut healer(""), jumps), None);
    let races = |second: u64| process(5, second * 3600 * SECOND);
    assert_eq!(found(&mut healer(""), races), None);
    // As much as there is, once in a while: the average is high, but most of the time nothing is used.
    let leaps = |second: u64| process(5, second / 3 * 2 * SECOND);
    assert_eq!(found(&mut healer("level = 0.5"), leaps), None);
}

#[test]
fn senseless_settings_are_refused() {
    for (settings, complaint) in [
        ("level = 0.0", "`level` is 0"),
        ("level = nan", "`level` is NaN"),
        ("for = '1s'", "`for` must be"),
        ("every = '10ms'", "`every` must be"),
        ("every = '20s'", "`every` must be"),
        ("for = '30'", "is no duration"),
        ("spare = ['nobody']", "`spare` names user `nobody`"),
        ("spare_commands = ['a command of eighteen']", "bytes at most"),
        ("levle = 1.0", "unknown field `levle`"),
    ] {
        let error = Runaway::new(settings.parse().unwrap(), &Users::new()).unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
    }
    assert_eq!(REGISTRY.iter().filter(|line| line.name == Runaway::NAME).count(), 1);
}

proptest! {
    /// Whatever is read, memory is bounded by the table, and who is blamed has used the processors it is blamed for.
    #[test]
    fn nonsense_is_forgotten_and_nobody_is_blamed_for_it(
        looks in prop::collection::vec(
            (0..3u64 * SECOND, 0..3u64 * SECOND, prop::collection::vec((0..4u32, 0..2u64, any::<u64>()), 0..8)),
            1..60,
        ),
    ) {
        let mut healer = healer("for = '2s'\nlevel = 0.05");
        let (mut now, mut clock) = (Duration::ZERO, 0u64);
        for (step, target_step, table) in looks {
            now += Duration::from_nanos(step);
            clock = clock.wrapping_add(target_step);
            let processes: Vec<Process> = table
                .iter()
                .map(|(pid, start, cpu_time)| Process { start: *start, ..process(*pid, *cpu_time) })
                .collect();
            let count = processes.len();
            let diagnosis = look_by(&mut healer, now, clock, processes);
            prop_assert!(healer.tracks.len() <= count);
            // Random CPU times go back or are more than there is in every other look at least.
            if let Diagnosis::Culprit { culprit: Culprit::Process { pid }, .. } = diagnosis {
                prop_assert!(pid > 1);
            }
        }
    }
}
