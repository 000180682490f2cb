use super::*;
use backdoors_sensor_box::{Opcode, Process};

fn process(pid: u32, parent: u32, user: u32, flags: u32, command: &str) -> Process {
    Process {
        pid,
        parent,
        user,
        depth: 1,
        flags,
        start: 70,
        rss: 0,
        cpu_time: 0,
        command: command.to_owned(),
        ..Process::default()
    }
}

fn table() -> ProcessView {
    let processes = vec![
        process(1, 0, 0, 0, "init"),
        process(5, 1, 1000, 0, "x"),
        process(6, 2, 1000, ProcessFlags::KERNEL, "x"),
        process(7, 1, 1000, ProcessFlags::PROTECTED, "x"),
        process(10, 1, 1001, 0, "sh"),
        process(11, 10, 1002, 0, "sh"),
        process(12, 11, 1003, 0, "postgres"),
    ];
    ProcessView { processes, ..ProcessView::default() }
}

fn command(opcode: Opcode, subject: u32, start: u64) -> Command {
    Command::of_process(opcode, subject, start)
}

fn kill(opcode: Opcode, subject: u32, start: u64) -> Result<(), Unsafe> {
    check(&[command(opcode, subject, start)], &table(), &Spare::default())
}

fn kill_sparing(spare: &Spare, opcode: Opcode, subject: u32) -> Result<(), Unsafe> {
    check(&[command(opcode, subject, 70)], &table(), spare)
}

#[test]
fn a_known_process_or_a_user_may_be_killed() {
    assert_eq!(kill(Opcode::KillProcess, 5, 70), Ok(()));
    assert_eq!(kill(Opcode::KillTree, 5, 70), Ok(()));
    assert_eq!(kill(Opcode::KillUser, 1000, 0), Ok(()));
}

#[test]
fn the_pillars_of_the_machine_are_never_killed() {
    assert_eq!(kill(Opcode::KillUser, 0, 0), Err(Unsafe::Root));
    for opcode in [Opcode::KillProcess, Opcode::KillTree] {
        assert_eq!(kill(opcode, 0, 0), Err(Unsafe::Init));
        assert_eq!(kill(opcode, 1, 70), Err(Unsafe::Init));
        assert_eq!(kill(opcode, 6, 70), Err(Unsafe::Untouchable(6)));
        assert_eq!(kill(opcode, 7, 70), Err(Unsafe::Untouchable(7)));
    }
}

#[test]
fn a_process_is_killed_only_with_its_start_time() {
    assert_eq!(kill(Opcode::KillProcess, 5, 0), Err(Unsafe::Unknown(5)));
    assert_eq!(kill(Opcode::KillProcess, 5, 71), Err(Unsafe::Unknown(5)));
    assert_eq!(kill(Opcode::KillTree, 8, 70), Err(Unsafe::Unknown(8)));
}

#[test]
fn a_user_without_processes_is_not_struck() {
    assert_eq!(kill(Opcode::KillUser, 4711, 0), Err(Unsafe::NoProcess(Victim::User(4711))));
}

#[test]
fn a_repair_has_a_bounded_number_of_commands_and_every_one_is_checked() {
    let all = |commands: &[Command]| check(commands, &table(), &Spare::default());
    assert_eq!(all(&[]), Err(Unsafe::Length(0)));
    let good = command(Opcode::KillProcess, 5, 70);
    assert_eq!(all(&[good; Repair::MOST + 1]), Err(Unsafe::Length(33)));
    assert_eq!(all(&[good, good]), Err(Unsafe::Twice(Victim::Process { pid: 5, start: 70 })));
    assert_eq!(all(&[good, command(Opcode::KillUser, 0, 0)]), Err(Unsafe::Root));
    let most = [command(Opcode::Nothing, 0, 0); Repair::MOST];
    assert_eq!(all(&most), Ok(()));
}

#[test]
fn a_spared_command_saves_its_process_its_tree_and_its_user() {
    let spare = Spare::new([], ["postgres".to_owned()], []).unwrap();
    for (opcode, subject) in
        [(Opcode::KillProcess, 12), (Opcode::KillTree, 10), (Opcode::KillTree, 12), (Opcode::KillUser, 1003)]
    {
        let told = kill_sparing(&spare, opcode, subject);
        let Err(Unsafe::SparedProcess { pid: 12, command, .. }) = &told else { panic!("{told:?}") };
        assert_eq!(command, "postgres");
    }
    assert_eq!(
        kill_sparing(&spare, Opcode::KillTree, 10).unwrap_err().to_string(),
        "the tree of process 10 includes process 12 postgres, which is on the spare list; nothing was written"
    );
    assert_eq!(kill_sparing(&spare, Opcode::KillProcess, 10), Ok(()));
    assert_eq!(kill_sparing(&spare, Opcode::KillUser, 1002), Ok(()));
}

#[test]
fn a_spared_user_saves_its_processes_and_the_trees_they_are_in() {
    let spare = Spare::new([1002], [], []).unwrap();
    assert_eq!(kill_sparing(&spare, Opcode::KillUser, 1002), Err(Unsafe::SparedUser(1002)));
    for (opcode, subject) in [(Opcode::KillProcess, 11), (Opcode::KillTree, 10)] {
        let told = kill_sparing(&spare, opcode, subject);
        assert!(matches!(told, Err(Unsafe::SparedProcess { pid: 11, .. })), "{told:?}");
    }
    assert_eq!(kill_sparing(&spare, Opcode::KillTree, 12), Ok(()));
}

#[test]
fn a_spared_control_group_saves_all_in_it() {
    let spare = Spare::new([], [], ["shop.service".to_owned()]).unwrap();
    let of = |cgroup: &str| Process { user: 1002, cgroup_name: cgroup.to_owned(), ..Process::default() };
    assert!(spare.process(&of("shop.service")));
    assert!(!spare.process(&of("shop")) && !spare.process(&of("")));
}

#[test]
fn a_name_that_would_spare_nobody_is_refused_with_the_right_one() {
    let error = Spare::new([], ["postgres-exporter".to_owned()], []).unwrap_err().to_string();
    assert!(error.contains("write `postgres-export`"), "{error}");
    assert!(Spare::new([], [String::new()], []).is_err());
    assert!(Spare::new([], ["äääääääü".to_owned()], []).is_err(), "16 bytes");
}

#[test]
fn a_victim_may_be_struck_twice_if_it_is_by_different_commands() {
    let (refuse, kill) = (Command::new(Opcode::RefuseForks, 1000), Command::new(Opcode::KillUser, 1000));
    assert_eq!(check(&[refuse, kill], &table(), &Spare::default()), Ok(()));
    let twice = check(&[refuse, kill, kill], &table(), &Spare::default());
    assert_eq!(twice, Err(Unsafe::Twice(Victim::User(1000))));
}

#[test]
fn what_a_built_in_healer_does_not_list_it_may_not_order() {
    let freeze = Command::new(Opcode::FreezeCgroup, 9);
    assert_eq!(check_may("forkbomb", &[Command::new(Opcode::KillUser, 1000)]), Ok(()));
    assert_eq!(check_may("forkbomb", &[freeze]), Err(Unsafe::MayNot(Opcode::FreezeCgroup)));
    assert_eq!(check_may("a-program", &[freeze]), Ok(()));
}

#[test]
fn an_argument_that_the_target_would_refuse_is_withheld() {
    let with = |opcode, argument| {
        let command = Command { argument, ..command(opcode, 5, 70) };
        check(&[command], &table(), &Spare::default())
    };
    assert_eq!(with(Opcode::SignalProcess, 15), Ok(()));
    let (signal, nice) = (Opcode::SignalProcess, Opcode::SetPriority);
    assert_eq!(with(signal, 9), Err(Unsafe::Argument(signal, Refusal::NotASignal)));
    assert_eq!(with(nice, 20), Err(Unsafe::Argument(nice, Refusal::OutOfRange)));
}
