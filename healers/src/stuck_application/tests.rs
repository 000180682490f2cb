use super::*;
use crate::{FrozenSensor, Limits};
use backdoors_sensor_box::{ProcessView, SensorView};

fn healer(settings: &str) -> StuckApplications {
    let users = Users::from([("shop".to_owned(), 1001)]);
    StuckApplications::new(settings.parse().unwrap(), &users).unwrap()
}

fn shop() -> StuckApplication {
    let orders = FrozenSensor {
        name: "orders".into(),
        still: Duration::from_millis(3200),
        limit: Duration::from_millis(500),
    };
    StuckApplication { name: "shop".into(), pid: 5, attached_at: 900, died: false, frozen: vec![orders] }
}

fn process(pid: u32, parent: u32, cpu_time: u64) -> Process {
    Process {
        pid,
        parent,
        user: 1001,
        depth: 1,
        flags: 0,
        start: 70,
        rss: 8192,
        cpu_time,
        command: "shopd".to_owned(),
        ..Process::default()
    }
}

fn look(
    healer: &mut StuckApplications,
    ms: u64,
    stuck: &[StuckApplication],
    processes: Vec<Process>,
) -> Diagnosis {
    healer.examine(&Case {
        now: Duration::from_millis(ms),
        target: "sick",
        events: &[],
        sensors: &SensorView::default(),
        processes: &ProcessView { processes, ..ProcessView::default() },
        limits: &Limits::default(),
        stuck,
    })
}

fn reason(diagnosis: Diagnosis) -> String {
    match diagnosis {
        Diagnosis::Nothing { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_watches_the_process_and_then_tells_what_it_saw() {
    let mut healer = healer("repair = 'kill-tree'\nuser = 'shop'");
    let tree =
        |cpu| vec![process(5, 1, cpu), process(6, 5, 7), process(7, 6, 7 + cpu / 10), process(8, 1, 0)];
    let first = reason(look(&mut healer, 0, &[shop()], tree(1_000_000)));
    assert_eq!(first, "shop stands still; its process 5 is being watched for 1s");
    assert!(reason(look(&mut healer, 999, &[shop()], tree(1_000_000))).contains("being watched"));
    let Diagnosis::Culprit { culprit, evidence, repair, victims } =
        look(&mut healer, 2000, &[shop()], tree(2_001_000_000))
    else {
        panic!("nobody blamed");
    };
    assert_eq!((culprit, victims), (Culprit::Tree { pid: 5 }, 3));
    assert_eq!(
        (repair.commands[0].opcode, repair.commands[0].subject, repair.commands[0].start),
        (Opcode::KillTree, 5, 70)
    );
    let texts: Vec<&str> = evidence.iter().map(|evidence| evidence.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "shop.orders stood still for 3.2 s (limit 500ms)",
            "its process 5 (shopd) of user 1001 spins: it used 2000.0 ms of CPU time in 2.0 s",
            "it has 8 KiB of memory, 8 KiB when it was first looked at",
            "2 processes descend from it; they used 200.0 ms of CPU time meanwhile",
        ]
    );
}

#[test]
fn without_a_repair_there_is_evidence_and_no_command() {
    let mut healer = healer("watch = '0s'");
    let diagnosis = look(&mut healer, 0, &[shop()], vec![process(5, 1, 0)]);
    let Diagnosis::Culprit { evidence, repair, victims, .. } = diagnosis else { panic!("nobody blamed") };
    assert_eq!((repair.commands[0].opcode, repair.commands[0].subject, victims), (Opcode::Nothing, 0, 0));
    assert!(evidence[1].text.contains("waits"), "{evidence:?}");
}

#[test]
fn an_application_that_lies_about_its_process_has_nobody_elses_killed() {
    let mut healer = healer("repair = 'kill-process'\nuser = 'shop'\nwatch = '0s'");
    let foreign = Process { user: 1002, ..process(5, 1, 0) };
    assert!(reason(look(&mut healer, 0, &[shop()], vec![foreign])).contains("belongs to user 1002"));
    // One that is younger than the attachment has the number of a process that is gone.
    let younger = Process { start: 901, ..process(5, 1, 0) };
    assert!(reason(look(&mut healer, 0, &[shop()], vec![younger])).contains("not in the process table"));
    let own = look(&mut healer, 0, &[shop()], vec![process(5, 1, 0)]);
    assert!(matches!(own, Diagnosis::Culprit { victims: 1, .. }), "{own:?}");
}

#[test]
fn what_cannot_be_killed_is_told() {
    let mut healer = healer("watch = '0s'");
    let died = StuckApplication { died: true, ..shop() };
    assert_eq!(reason(look(&mut healer, 0, &[died], vec![])), "shop died; there is nothing to kill");
    let outside = StuckApplication { pid: 0, ..shop() };
    assert!(reason(look(&mut healer, 0, &[outside], vec![])).contains("outside"));
    assert_eq!(reason(look(&mut healer, 0, &[], vec![])), "no application stands still");
}

#[test]
fn other_applications_are_left_alone() {
    let mut healer = healer("application = 'mail'\nwatch = '0s'");
    assert_eq!(reason(look(&mut healer, 0, &[shop()], vec![process(5, 1, 0)])), "mail does not stand still");
    assert!(healer.applications().include("mail") && !healer.applications().include("shop"));
}

#[test]
fn one_that_went_on_meanwhile_is_watched_anew() {
    let mut healer = healer("");
    reason(look(&mut healer, 0, &[shop()], vec![process(5, 1, 0)]));
    reason(look(&mut healer, 500, &[], vec![process(5, 1, 0)]));
    assert!(reason(look(&mut healer, 1100, &[shop()], vec![process(5, 1, 0)])).contains("being watched"));
    assert!(matches!(look(&mut healer, 2100, &[shop()], vec![process(5, 1, 0)]), Diagnosis::Culprit { .. }));
}

#[test]
fn a_repair_without_its_user_is_refused() {
    for settings in ["repair = 'kill-process'", "repair = 'kill-tree'\nuser = 0", "user = 'nobody'"] {
        let error = StuckApplications::new(settings.parse().unwrap(), &Users::new()).unwrap_err();
        assert!(error.to_string().contains("`user`"), "{error}");
    }
}
