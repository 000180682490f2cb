//! Fetching the applications of one target again and again, without making anything anew that stayed as it was.

use super::decode::{ApplicationView, Records, are_the_same};
use super::hooks::HookCalls;
use crate::decode::DecodeError;

/// The applications of one target. For each round of readings: [`ApplicationsFetcher::begin`], then
/// [`ApplicationsFetcher::take`] for each region that the directory lists as an application's and that was read,
/// then [`ApplicationsFetcher::finish`].
#[derive(Debug, Default)]
pub struct ApplicationsFetcher {
    views: Vec<ApplicationView>,
    /// Where each of the views is from, in their order.
    origins: Vec<Origin>,
}

#[derive(Debug)]
struct Origin {
    kind: u32,
    /// The region when its view was made, to see whether more than values and calls changed.
    bytes: Vec<u8>,
    /// Taken in this round.
    taken: bool,
}

impl ApplicationsFetcher {
    /// Begins a round.
    pub fn begin(&mut self) {
        for origin in &mut self.origins {
            origin.taken = false;
        }
    }

    /// Takes in all bytes of the region of this kind; the directory lists it with this generation.
    ///
    /// # Errors
    /// If they are no application's region, that of another generation, or that of an application whose name another
    /// one of this round has. The application is in none of the views then: nothing was read of it.
    pub fn take(&mut self, kind: u32, generation: u64, bytes: &[u8]) -> Result<(), DecodeError> {
        let index = self.origins.iter().position(|origin| origin.kind == kind);
        if let Some(index) = index
            && self.update(index, generation, bytes)
        {
            return Ok(());
        }
        if let Some(index) = index {
            self.views.swap_remove(index);
            self.origins.swap_remove(index);
        }
        let layout = |why| DecodeError::Layout { what: "application's region", why };
        let view = ApplicationView::decode(bytes)?;
        if view.generation != generation {
            return Err(layout("it has another generation than the directory says"));
        }
        if self.is_taken(&view.name) {
            return Err(layout("another application has its name"));
        }
        self.views.push(view);
        self.origins.push(Origin { kind, bytes: bytes.into(), taken: true });
        Ok(())
    }

    /// Whether an application of this name was taken in this round.
    fn is_taken(&self, name: &str) -> bool {
        self.views.iter().zip(&self.origins).any(|(view, origin)| origin.taken && view.name == name)
    }

    /// Takes in what changed, if nothing did that must not.
    fn update(&mut self, index: usize, generation: u64, bytes: &[u8]) -> bool {
        if self.views.get(index).is_none_or(|view| self.is_taken(&view.name)) {
            return false;
        }
        let (Some(view), Some(origin)) = (self.views.get_mut(index), self.origins.get_mut(index)) else {
            return false;
        };
        let (Ok(before), Ok(now)) = (Records::of(&origin.bytes), Records::of(bytes)) else { return false };
        if now.header.generation != generation
            || !are_the_same(&before, &now)
            || view.take_header(&now.header).is_err()
        {
            return false;
        }
        let mut sensors = view.sensors.iter_mut().peekable();
        for (index, record) in now.iter().enumerate() {
            if let Some(sensor) = sensors.next_if(|sensor| sensor.record == index) {
                sensor.value = record.value;
            }
        }
        for (hook, (record, _)) in view.hooks.iter_mut().zip(now.hooks()) {
            hook.calls = HookCalls::of(&record);
        }
        origin.taken = true;
        true
    }

    /// Ends a round: forgets applications that nothing was taken of, and returns the others.
    pub fn finish(&mut self) -> &[ApplicationView] {
        let mut taken = self.origins.iter().map(|origin| origin.taken);
        self.views.retain(|_| taken.next().unwrap_or(false));
        self.origins.retain(|origin| origin.taken);
        &self.views
    }

    /// The applications of the last round, each with the kind of its region.
    pub fn of_kinds(&self) -> impl Iterator<Item = (u32, &ApplicationView)> {
        self.origins.iter().map(|origin| origin.kind).zip(&self.views)
    }

    /// The applications of the last round.
    #[must_use]
    pub fn views(&self) -> &[ApplicationView] {
        &self.views
    }
}
