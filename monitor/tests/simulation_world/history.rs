//! What really happened, to hold verdicts against.

use super::target::Trouble;
use backdoors_monitor::judge::AGENT;
use backdoors_monitor::verdict::Layer;

/// Something that began and, perhaps, ended.
#[derive(Clone, Copy, Debug)]
pub struct Span<T> {
    pub what: T,
    pub begun: u64,
    pub ended: Option<u64>,
}

/// Spans of one kind, in order.
#[derive(Clone, Debug)]
pub struct Spans<T>(pub Vec<Span<T>>);

impl<T> Default for Spans<T> {
    fn default() -> Spans<T> {
        Spans(Vec::new())
    }
}

impl<T: Copy> Spans<T> {
    pub fn begin(&mut self, now: u64, what: T) {
        self.0.push(Span { what, begun: now, ended: None });
    }

    pub fn end(&mut self, now: u64) {
        if let Some(span) = self.0.last_mut() {
            span.ended.get_or_insert(now);
        }
    }

    /// What was at any time between the two.
    pub fn between(&self, from: u64, to: u64) -> impl Iterator<Item = T> {
        let overlaps =
            move |span: &&Span<T>| span.begun <= to && span.ended.is_none_or(|ended| ended >= from);
        self.0.iter().rev().take(8).filter(overlaps).map(|span| span.what)
    }

    pub fn any(&self, from: u64, to: u64) -> bool {
        self.between(from, to).next().is_some()
    }
}

impl Trouble {
    /// The layer that a right verdict names, and the subject.
    pub fn layer(self) -> (Layer, Option<&'static str>) {
        match self {
            Trouble::HostDead => (Layer::Host, None),
            Trouble::KernelHung | Trouble::CpuStuck => (Layer::Kernel, None),
            Trouble::Starved => (Layer::UserSpace, None),
            Trouble::AgentKilled => (Layer::Application, Some(AGENT)),
        }
    }
}
