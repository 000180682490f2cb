//! The process table, as policies look at it.

use backdoors_sensor_box::Process;
use std::collections::{BTreeMap, BTreeSet};

/// A process, named for good: its id and its start.
pub(super) type Name = (u32, u64);

/// Whoever is younger is taken to be so old, nanoseconds: the clock is that of the target's last tick.
const LEAST_AGE: u64 = 50_000_000;

/// Processes by id, by parent, and those that may be struck by size.
pub(super) struct Table<'a> {
    by_pid: BTreeMap<u32, &'a Process>,
    children: BTreeMap<u32, Vec<u32>>,
    spared: BTreeSet<u32>,
    /// Only units that are wholly this user's are looked at.
    only: Option<u32>,
    /// The target's monotonic clock, nanoseconds.
    clock: u64,
    /// Those that are not spared, largest first.
    largest: Vec<&'a Process>,
}

/// What a process holds: its memory, and what of it was moved to swap space.
pub(super) fn size(process: &Process) -> u64 {
    process.rss.saturating_add(process.swap)
}

/// A process and all its descendants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree<'a> {
    pub root: &'a Process,
    /// What they hold.
    pub bytes: u64,
    /// Nobody of them is spared, and all are of one user.
    pub is_whole: bool,
    has_descendants: bool,
}

impl<'a> Table<'a> {
    pub(super) fn new(processes: &'a [Process], clock: u64, spares: impl Fn(&Process) -> bool) -> Table<'a> {
        let by_pid: BTreeMap<u32, &Process> =
            processes.iter().map(|process| (process.pid, process)).collect();
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for process in by_pid.values() {
            // A parent younger than its child has the number of the real one.
            if by_pid.get(&process.parent).is_some_and(|parent| parent.start <= process.start) {
                children.entry(process.parent).or_default().push(process.pid);
            }
        }
        let (spared, others): (Vec<&Process>, Vec<&Process>) =
            by_pid.values().partition(|process| spares(process));
        let mut largest = others;
        largest.sort_by_key(|process| std::cmp::Reverse(size(process)));
        let spared = spared.iter().map(|process| process.pid).collect();
        Table { by_pid, children, spared, only: None, clock, largest }
    }

    /// From now on only units that are wholly this user's may be struck, or any unit.
    pub(super) fn look_only_at(&mut self, user: Option<u32>) {
        self.only = user;
    }

    /// Those that may be struck, largest first.
    pub(super) fn largest(&self) -> impl Iterator<Item = &'a Process> + '_ {
        self.largest.iter().copied().filter(|process| self.has_only(&[process]))
    }

    /// The user who holds most of what may be struck.
    pub(super) fn largest_user(&self) -> Option<u32> {
        let mut users: BTreeMap<u32, u64> = BTreeMap::new();
        for process in self.largest() {
            let held = users.entry(process.user).or_default();
            *held = held.saturating_add(size(process));
        }
        users.into_iter().max_by_key(|(_, bytes)| *bytes).map(|(user, _)| user)
    }

    /// Whether nobody else's process would be struck with these.
    pub(super) fn has_only(&self, processes: &[&Process]) -> bool {
        self.only.is_none_or(|user| processes.iter().all(|process| process.user == user))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &'a Process> + '_ {
        self.by_pid.values().copied()
    }

    /// What these processes took a second since they began, bytes, on average.
    pub(super) fn growth(&self, processes: &BTreeSet<Name>) -> f64 {
        let rate = |process: &Process| {
            let age = self.clock.saturating_sub(process.start).max(LEAST_AGE);
            size(process) as f64 / (age as f64 / 1e9)
        };
        processes.iter().filter_map(|name| self.process(*name)).map(rate).sum()
    }

    pub(super) fn process(&self, (pid, start): Name) -> Option<&'a Process> {
        self.by_pid.get(&pid).copied().filter(|process| process.start == start)
    }

    pub(super) fn is_spared(&self, process: &Process) -> bool {
        self.spared.contains(&process.pid)
    }

    /// The process above the most memory that may be struck together: with at least one descendant, and with nobody in its tree
    /// who is spared or another user's. Below it nobody has a tree with half of that, so more would be struck without it.
    pub(super) fn largest_tree(&self) -> Option<Tree<'a>> {
        let trees = self.trees();
        let is_whole = |pid: &u32| {
            let tree = trees.get(pid);
            tree.is_some_and(|tree| tree.is_whole && tree.has_descendants && self.has_only(&[tree.root]))
        };
        let tops = trees.values().filter(|tree| {
            is_whole(&tree.root.pid) && !(is_whole(&tree.root.parent) && self.is_child(tree.root))
        });
        let mut largest = tops.max_by_key(|tree| tree.bytes)?;
        loop {
            let children = self.children.get(&largest.root.pid).into_iter().flatten();
            let below = children.filter(|pid| is_whole(pid)).filter_map(|pid| trees.get(pid));
            match below.max_by_key(|tree| tree.bytes) {
                Some(tree) if tree.bytes >= largest.bytes.div_ceil(2) => largest = tree,
                _ => return Some(*largest),
            }
        }
    }

    /// The root of a tree, and all its descendants.
    pub(super) fn processes_of(&self, tree: &Tree<'a>) -> Vec<&'a Process> {
        self.downwards(vec![tree.root])
    }

    /// These processes, which no other of them has above it and which are in no circle, and their descendants: parents first.
    fn downwards(&self, mut order: Vec<&'a Process>) -> Vec<&'a Process> {
        let mut next = 0;
        while let Some(process) = order.get(next) {
            next += 1;
            let children = self.children.get(&process.pid).into_iter().flatten();
            order.extend(children.filter_map(|child| self.by_pid.get(child)));
        }
        order
    }

    fn is_child(&self, process: &Process) -> bool {
        self.children.get(&process.parent).is_some_and(|children| children.contains(&process.pid))
    }

    /// The trees of all processes, by root. Parents that go in a circle, as a hostile table may have them, have none.
    fn trees(&self) -> BTreeMap<u32, Tree<'a>> {
        let tops = self.by_pid.values().copied().filter(|process| !self.is_child(process));
        let order = self.downwards(tops.collect());
        let mut trees: BTreeMap<u32, Tree<'a>> = BTreeMap::new();
        for root in order.into_iter().rev() {
            let children = self.children.get(&root.pid);
            let has_descendants = children.is_some();
            let mut tree = Tree { root, bytes: size(root), is_whole: !self.is_spared(root), has_descendants };
            for below in children.into_iter().flatten().filter_map(|child| trees.get(child)) {
                tree.bytes = tree.bytes.saturating_add(below.bytes);
                tree.is_whole &= below.is_whole && below.root.user == root.user;
            }
            trees.insert(root.pid, tree);
        }
        trees
    }
}
