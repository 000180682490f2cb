//! What a target writes is what a monitor reads.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_sensor_box::layout::{
    Acknowledgement, Capabilities, NO_LIMIT, ProcessEntry, process_table_bytes,
};
use backdoors_sensor_box::writer::{
    Acknowledgements, LayOutError, NewSensorError, ProcessTable, SensorBox, Shape,
};
use backdoors_sensor_box::{
    AcknowledgementView, CATALOGUE, CommandState, LocalWords, ProcessView, SensorFetcher, SensorKind,
    SensorView, fetch_acknowledgement, fetch_processes,
};
use std::convert::Infallible;

const SHAPE: Shape =
    Shape { generation: 7, capabilities: Capabilities::KERNEL_HALF, cpus: 2, tick_period: 1_000_000 };

fn from(bytes: &[u8]) -> impl FnMut(u64, &mut [u8]) -> Result<(), Infallible> {
    move |offset, into| {
        into.copy_from_slice(&bytes[offset as usize..][..into.len()]);
        Ok(())
    }
}

fn entry(pid: u32) -> ProcessEntry {
    ProcessEntry {
        sequence: 0,
        pid,
        parent: 1,
        user: 1000,
        depth: 3,
        flags: 0,
        start: 5,
        rss: 4096,
        cpu_time: 9,
        command: *b"bash\0\0\0\0\0\0\0\0\0\0\0\0",
        ..ProcessEntry::default()
    }
}

#[test]
fn a_sensor_that_was_made_and_set_is_read_with_its_limit() {
    let words = LocalWords::zeroed(4096);
    let sensors = SensorBox::lay_out(&words, &SHAPE).unwrap();
    let processes = sensors.new_sensor(SensorKind::PROCESSES, 0, 500).unwrap();
    let rate = sensors.new_sensor(SensorKind::USER_FORK_RATE, 1000, NO_LIMIT).unwrap();
    sensors.set(processes, 42);
    sensors.set(rate, u64::MAX);
    let view = SensorView::decode(&words.bytes()).unwrap();
    assert_eq!((view.generation, view.cpus, view.sensors.len()), (7, 2, 2));
    let reading = view.sensor(SensorKind::PROCESSES, 0).unwrap();
    assert_eq!((reading.value, reading.limit), (42, Some(500)));
    let reading = view.sensor(SensorKind::USER_FORK_RATE, 1000).unwrap();
    assert_eq!(
        (reading.value, reading.limit, reading.name().as_str()),
        (u64::MAX, None, "user.fork_rate[1000]")
    );
}

#[test]
fn a_full_box_refuses_one_more_sensor_and_keeps_the_others() {
    let words = LocalWords::zeroed(128 + 32);
    let sensors = SensorBox::lay_out(&words, &SHAPE).unwrap();
    sensors.new_sensor(SensorKind::FORKS, 0, 1).unwrap();
    assert_eq!(sensors.new_sensor(SensorKind::OOM_KILLS, 0, 1), Err(NewSensorError::Full));
    assert_eq!(sensors.new_sensor_at(0, SensorKind::OOM_KILLS, 0, 1), Err(NewSensorError::Occupied(0)));
    assert_eq!(sensors.new_sensor(SensorKind(999), 0, 1), Err(NewSensorError::UnknownKind(999)));
    assert_eq!(SensorView::decode(&words.bytes()).unwrap().sensors.len(), 1);
}

#[test]
fn memory_too_small_for_a_region_is_refused() {
    assert_eq!(SensorBox::lay_out(LocalWords::zeroed(128), &SHAPE).unwrap_err(), LayOutError::TooSmall);
    assert_eq!(ProcessTable::lay_out(LocalWords::zeroed(64), 1).unwrap_err(), LayOutError::TooSmall);
    assert_eq!(Acknowledgements::new(LocalWords::zeroed(64)).unwrap_err(), LayOutError::TooSmall);
}

#[test]
fn a_box_is_adopted_with_its_sensors_and_anything_else_is_not() {
    let words = LocalWords::zeroed(4096);
    assert_eq!(SensorBox::adopt(&words).unwrap_err(), LayOutError::OtherLayout);
    let made = SensorBox::lay_out(&words, &SHAPE).unwrap();
    let heartbeat = made.new_sensor_at(5, SensorKind::AGENT_HEARTBEAT, 0, 1).unwrap();
    let adopted = SensorBox::adopt(&words).unwrap();
    assert_eq!(adopted.find(SensorKind::AGENT_HEARTBEAT, 0), Some(heartbeat));
    assert_eq!(adopted.count(), 6);
}

#[test]
fn the_second_fetch_of_an_unchanged_box_is_one_read() {
    let words = LocalWords::zeroed(8192);
    let sensors = SensorBox::lay_out(&words, &SHAPE).unwrap();
    for cpu in 0..100 {
        sensors.new_sensor(SensorKind::CPU_TICKS, cpu, 1).unwrap();
    }
    let bytes = words.bytes();
    let mut fetcher = SensorFetcher::default();
    let mut reads = 0;
    let mut read = |offset: u64, into: &mut [u8]| {
        reads += 1;
        from(&bytes)(offset, into)
    };
    assert_eq!(fetcher.fetch(8192, &mut read).unwrap().sensors.len(), 100);
    assert_eq!(fetcher.fetch(8192, &mut read).unwrap().sensors.len(), 100);
    assert_eq!(reads, 3);
}

#[test]
fn processes_that_were_put_are_read_and_those_cleared_are_not() {
    let words = LocalWords::zeroed(process_table_bytes(8));
    let table = ProcessTable::lay_out(&words, 3).unwrap();
    assert!(table.put(0, &entry(10)));
    assert!(table.put(4, &entry(11)));
    assert!(!table.put(8, &entry(12)));
    table.clear(0);
    let bytes = words.bytes();
    let view = fetch_processes(bytes.len() as u64, from(&bytes)).unwrap();
    assert_eq!(view, ProcessView::decode(&bytes).unwrap());
    assert_eq!(view.processes.iter().map(|process| process.pid).collect::<Vec<_>>(), [11]);
    assert_eq!(view.processes[0].command, "bash");
}

#[test]
fn an_entry_whose_writer_died_is_reported_torn_and_hides_no_other() {
    let words = LocalWords::zeroed(process_table_bytes(8));
    let table = ProcessTable::lay_out(&words, 3).unwrap();
    table.put(0, &entry(10));
    table.put(1, &entry(11));
    use backdoors_sensor_box::SharedWords;
    words.store(16, words.load(16) | 1);
    let bytes = words.bytes();
    let view = fetch_processes(bytes.len() as u64, from(&bytes)).unwrap();
    assert_eq!((view.torn.as_slice(), view.processes.len()), ([0].as_slice(), 1));
}

#[test]
fn a_command_name_cannot_carry_escape_sequences() {
    let words = LocalWords::zeroed(process_table_bytes(1));
    let table = ProcessTable::lay_out(&words, 3).unwrap();
    table.put(0, &ProcessEntry { command: *b"\x1b[2J\xff\xfe-evil\0\0\0\0\0", ..entry(10) });
    let view = ProcessView::decode(&words.bytes()).unwrap();
    assert!(view.processes[0].command.chars().all(|letter| !letter.is_control()));
    assert!(view.processes[0].command.ends_with("-evil"));
}

#[test]
fn an_acknowledgement_is_read_from_its_own_slot() {
    let words = LocalWords::zeroed(128 * 16);
    let acknowledgements = Acknowledgements::new(&words).unwrap();
    let mut written = acknowledgements.get(3).unwrap().unwrap();
    written =
        Acknowledgement { command: 9, accepted: 9, state: CommandState::Done as u32, matched: 4, ..written };
    assert!(acknowledgements.publish(3, &written));
    let bytes = words.bytes();
    let view: AcknowledgementView = fetch_acknowledgement(3, from(&bytes)).unwrap();
    assert_eq!((view.command, view.state, view.matched), (9, CommandState::Done, 4));
    assert_eq!(fetch_acknowledgement(2, from(&bytes)).unwrap().state, CommandState::Idle);
}

#[test]
fn every_sensor_has_a_name_and_a_number_of_its_own() {
    for (index, line) in CATALOGUE.iter().enumerate() {
        for other in &CATALOGUE[index + 1..] {
            assert!(line.kind != other.kind && line.name != other.name);
        }
        assert_eq!(SensorKind::named(line.name), Some(line.kind));
    }
}
