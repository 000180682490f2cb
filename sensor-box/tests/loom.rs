//! Every interleaving of a writer and a reader of one guarded record, as the memory model allows them: a reader
//! gets a whole record, old or new, or is told that it is torn.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_sensor_box::SensorKind;
use backdoors_sensor_box::SharedWords;
use backdoors_sensor_box::layout::{Acknowledgement, NO_LIMIT, ProcessEntry};
use backdoors_sensor_box::writer::{Acknowledgements, ProcessTable, SensorBox, Shape};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};

/// Shared memory in which every load and store is a step of the model.
struct ModelWords(Vec<AtomicU64>);

impl ModelWords {
    fn zeroed(words: usize) -> ModelWords {
        ModelWords((0..words).map(|_| AtomicU64::new(0)).collect())
    }
}

impl SharedWords for ModelWords {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn load(&self, index: usize) -> u64 {
        self.0[index].load(Ordering::Acquire)
    }
    fn store(&self, index: usize, value: u64) {
        self.0[index].store(value, Ordering::Release);
    }
    fn compare_exchange(&self, index: usize, current: u64, new: u64) -> Result<u64, u64> {
        self.0[index].compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire)
    }
}

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    // Two forced switches expose every two-party ordering bug of a sequence lock and keep this in seconds.
    builder.preemption_bound = Some(2);
    builder.check(model);
}

fn entry(pid: u32) -> ProcessEntry {
    let mark = u64::from(pid);
    ProcessEntry {
        sequence: 0,
        pid,
        parent: pid,
        user: pid,
        depth: pid,
        flags: pid,
        start: mark,
        rss: mark,
        cpu_time: mark,
        command: [pid as u8; 16],
    }
}

#[test]
fn a_process_entry_is_read_whole_or_torn() {
    explore(|| {
        let words = Arc::new(ModelWords::zeroed(8 + 8));
        ProcessTable::lay_out(&*words, 1).unwrap().put(0, &entry(1));
        let writer = {
            let words = Arc::clone(&words);
            loom::thread::spawn(move || {
                ProcessTable::adopt(&*words).unwrap().put(0, &entry(2));
            })
        };
        if let Ok(Some(read)) = ProcessTable::adopt(&*words).unwrap().get(0) {
            let whole = ProcessEntry { sequence: read.sequence, ..entry(read.pid) };
            assert_eq!(read, whole, "a mixture was read");
        }
        writer.join().unwrap();
    });
}

#[test]
fn an_acknowledgement_is_read_whole_or_torn() {
    explore(|| {
        let words = Arc::new(ModelWords::zeroed(16 * 16));
        let writer = {
            let words = Arc::clone(&words);
            loom::thread::spawn(move || {
                let acknowledgements = Acknowledgements::new(&*words).unwrap();
                let mut written = acknowledgements.get(0).unwrap().unwrap();
                written = Acknowledgement { command: 1, accepted: 1, finished_at: 1, ..written };
                acknowledgements.publish(0, &written);
            })
        };
        if let Ok(Some(read)) = Acknowledgements::new(&*words).unwrap().get(0) {
            assert!(read.command == read.accepted && read.accepted == read.finished_at, "a mixture was read");
        }
        writer.join().unwrap();
    });
}

#[test]
fn a_sensor_that_can_be_found_has_its_limit() {
    explore(|| {
        let words = Arc::new(ModelWords::zeroed(16 + 4));
        let shape = Shape { generation: 1, capabilities: 0, cpus: 1, tick_period: 1 };
        SensorBox::lay_out(&*words, &shape).unwrap();
        let writer = {
            let words = Arc::clone(&words);
            loom::thread::spawn(move || {
                let sensors = SensorBox::adopt(&*words).unwrap();
                sensors.new_sensor(SensorKind::OOM_KILLS, 0, NO_LIMIT).unwrap();
            })
        };
        let sensors = SensorBox::adopt(&*words).unwrap();
        if sensors.find(SensorKind::OOM_KILLS, 0).is_some() {
            assert_eq!(words.load(16 + 2), NO_LIMIT, "the sensor was visible before its limit");
        }
        writer.join().unwrap();
    });
}
