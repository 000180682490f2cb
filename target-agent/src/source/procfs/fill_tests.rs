use super::*;
use backdoors_sensor_box::layout::process_table_bytes;
use backdoors_sensor_box::writer::Shape;
use backdoors_sensor_box::{LocalWords, ProcessView, SensorView};
use std::sync::Arc;

struct Target {
    box_words: Arc<LocalWords>,
    table_words: Arc<LocalWords>,
    filler: Filler<Arc<LocalWords>>,
}

fn target(entries: usize, users: usize) -> Target {
    let box_words = Arc::new(LocalWords::zeroed(128 + 32 * (MACHINE.len() + 2 * users)));
    let table_words = Arc::new(LocalWords::zeroed(process_table_bytes(entries)));
    let shape = Shape { generation: 1, capabilities: 0, cpus: 1, tick_period: 1 };
    let sensors = SensorBox::lay_out(Arc::clone(&box_words), &shape).unwrap();
    let table = ProcessTable::lay_out(Arc::clone(&table_words), 1).unwrap();
    let filler = Filler::new(sensors, table, Limits::default()).unwrap();
    Target { box_words, table_words, filler }
}

fn process(pid: u32, parent: u32, user: u32, start: u64) -> Seen {
    Seen {
        pid,
        parent,
        user,
        start,
        rss: 1,
        swap: 0,
        cpu_time: 1,
        command: *b"x\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        kernel: false,
    }
}

impl Target {
    fn fill(&mut self, now: u64, processes: &[Seen]) {
        let readings = Readings { processes: processes.to_vec(), forks: 0, oom_kills: 7 };
        self.filler.fill(now, &readings, |_| false);
    }
    fn sensor(&self, kind: SensorKind, instance: u32) -> Option<u64> {
        SensorView::decode(&self.box_words.bytes())
            .unwrap()
            .sensor(kind, instance)
            .map(|reading| reading.value)
    }
    fn table(&self) -> ProcessView {
        ProcessView::decode(&self.table_words.bytes()).unwrap()
    }
}

#[test]
fn processes_are_counted_in_all_and_per_user_and_kernel_threads_are_not() {
    let mut target = target(8, 4);
    let kernel = Seen { kernel: true, ..process(2, 0, 0, 1) };
    target.fill(1, &[process(1, 0, 0, 1), process(10, 1, 1000, 5), process(11, 10, 1000, 6), kernel]);
    assert_eq!(target.sensor(SensorKind::PROCESSES, 0), Some(3));
    assert_eq!(target.sensor(SensorKind::USER_PROCESSES, 1000), Some(2));
    assert_eq!(target.sensor(SensorKind::OOM_KILLS, 0), Some(0));
    assert_eq!(target.table().processes.len(), 3);
}

#[test]
fn a_child_keeps_its_depth_when_its_parent_dies() {
    let mut target = target(8, 4);
    target.fill(1, &[process(1, 0, 0, 1), process(10, 1, 1000, 5), process(11, 10, 1000, 6)]);
    target.fill(2, &[process(1, 0, 0, 1), process(11, 1, 1000, 6)]);
    let table = target.table();
    let child = table.processes.iter().find(|process| process.pid == 11).unwrap();
    assert_eq!((child.depth, child.parent), (2, 1));
}

#[test]
fn a_number_that_another_process_has_now_is_another_process() {
    let mut target = target(8, 4);
    target.fill(1, &[process(10, 0, 1000, 5)]);
    target.fill(2, &[process(10, 0, 1001, 9)]);
    assert_eq!(target.table().processes.iter().map(|process| process.start).collect::<Vec<_>>(), [9]);
    assert_eq!(target.sensor(SensorKind::USER_PROCESSES, 1000), Some(0));
    assert_eq!(target.sensor(SensorKind::USER_PROCESSES, 1001), Some(1));
}

#[test]
fn a_change_of_user_moves_the_count() {
    let mut target = target(8, 4);
    target.fill(1, &[process(10, 0, 0, 5)]);
    target.fill(2, &[process(10, 0, 1000, 5)]);
    assert_eq!(target.sensor(SensorKind::USER_PROCESSES, 0), Some(0));
    assert_eq!(target.sensor(SensorKind::USER_PROCESSES, 1000), Some(1));
}

#[test]
fn who_finds_no_room_in_the_table_is_counted_as_lost_while_alive() {
    let mut target = target(1, 4);
    target.fill(1, &[process(10, 0, 1, 5), process(11, 0, 1, 5)]);
    assert_eq!(target.sensor(SensorKind::PROCESSES_LOST, 0), Some(1));
    target.fill(2, &[]);
    assert_eq!(target.sensor(SensorKind::PROCESSES_LOST, 0), Some(0));
    assert_eq!(target.table().lost, 1);
}

#[test]
fn a_users_record_serves_another_only_a_second_after_it_was_retired() {
    let mut target = target(8, 1);
    target.fill(SECOND, &[process(10, 0, 1000, 5)]);
    target.fill(2 * SECOND, &[]);
    target.fill(3 * SECOND, &[]);
    assert_eq!(target.sensor(SensorKind::USER_PROCESSES, 1000), None);
    target.fill(3 * SECOND + 1, &[process(11, 0, 1001, 6)]);
    assert_eq!(target.sensor(SensorKind::USER_PROCESSES, 1001), None);
    assert_eq!(target.sensor(SensorKind::USERS_LOST, 0), Some(1));
    target.fill(4 * SECOND, &[process(11, 0, 1001, 6)]);
    assert_eq!(target.sensor(SensorKind::USER_PROCESSES, 1001), Some(1));
}

#[test]
fn a_fork_rate_counts_new_processes_of_a_window() {
    let mut target = target(64, 4);
    target.fill(SECOND, &[process(1, 0, 1000, 1)]);
    let many: Vec<Seen> = (1..=21).map(|pid| process(pid, 0, 1000, 1)).collect();
    target.fill(2 * SECOND, &many);
    assert_eq!(target.sensor(SensorKind::USER_FORK_RATE, 1000), Some(20));
    target.fill(3 * SECOND, &many);
    assert_eq!(target.sensor(SensorKind::USER_FORK_RATE, 1000), Some(0));
}
