//! Every interleaving of a writer and a reader of one guarded record, as the memory model allows them: a reader
//! gets a whole record, old or new, or is told that it is torn.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_sensor_box::SensorKind;
use backdoors_sensor_box::SharedWords;
use backdoors_sensor_box::layout::{Acknowledgement, NO_LIMIT, ProcessEntry, process_table_bytes};
use backdoors_sensor_box::writer::{Acknowledgements, ProcessTable, SensorBox, Shape};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};

/// Shared memory in which every load and store of the first words is a step of the model.
struct ModelWords {
    modelled: Vec<AtomicU64>,
    /// What more of the same kind there is, which would only multiply the interleavings; no model says what is read there.
    others: Vec<std::sync::atomic::AtomicU64>,
}

impl ModelWords {
    fn zeroed(words: usize) -> ModelWords {
        ModelWords::with_others(words, 0)
    }

    fn with_others(modelled: usize, others: usize) -> ModelWords {
        ModelWords {
            modelled: (0..modelled).map(|_| AtomicU64::new(0)).collect(),
            others: (0..others).map(|_| std::sync::atomic::AtomicU64::new(0)).collect(),
        }
    }
}

impl SharedWords for ModelWords {
    fn len(&self) -> usize {
        self.modelled.len() + self.others.len()
    }
    fn load(&self, index: usize) -> u64 {
        match self.modelled.get(index) {
            Some(word) => word.load(Ordering::Acquire),
            None => self.others[index - self.modelled.len()].load(Ordering::SeqCst),
        }
    }
    fn store(&self, index: usize, value: u64) {
        match self.modelled.get(index) {
            Some(word) => word.store(value, Ordering::Release),
            None => self.others[index - self.modelled.len()].store(value, Ordering::SeqCst),
        }
    }
    fn compare_exchange(&self, index: usize, current: u64, new: u64) -> Result<u64, u64> {
        self.modelled[index].compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire)
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
        swap: mark,
        cgroup: mark,
        cgroup_name: [pid as u8; 48],
    }
}

/// Words of the process table's header.
const TABLE_HEADER: usize = process_table_bytes(0) / 8;

#[test]
fn a_process_entry_is_read_whole_or_torn() {
    explore(|| {
        let words = Arc::new(ModelWords::with_others(TABLE_HEADER + 6, 10));
        ProcessTable::lay_out(&*words, 1).unwrap().put(0, &entry(1));
        let writer = {
            let words = Arc::clone(&words);
            loom::thread::spawn(move || {
                ProcessTable::adopt(&*words).unwrap().put(0, &entry(2));
            })
        };
        if let Ok(Some(read)) = ProcessTable::adopt(&*words).unwrap().get(0) {
            let mark = u64::from(read.pid);
            let modelled =
                (read.parent, read.user, read.depth, read.flags, read.start, read.rss, read.cpu_time);
            let whole = (read.pid, read.pid, read.pid, read.pid, mark, mark, mark);
            assert_eq!(modelled, whole, "a mixture was read");
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
