//! One application: its memory, its hooks, and whose they are.

use super::{AWAITED, AttachError, ConnectionId, monotonic};
use crate::memory::{Region, new_generation};
use crate::words::Words;
use backdoors_sensor_box::application::{ApplicationRegion, Attachment, HookCalls, Request};
use backdoors_sensor_box::{ApplicationHook, ApplicationState, ApplicationView};
use rustix::process::{Pid, test_kill_process};
use std::io;
use std::time::Instant;

#[derive(Debug)]
pub(super) struct Entry {
    pub name: String,
    pub generation: u64,
    pub memory: Region,
    pub region: ApplicationRegion<Words>,
    pub hooks: Vec<Hook>,
    pub holder: Holder,
}

/// A hook, as the application announced it; what it writes into its memory since does not change it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hook {
    pub least: u64,
    pub most: u64,
    pub calls: HookCalls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// Attached.
    Connection(ConnectionId),
    /// Attached to an earlier agent; expected back since then.
    Awaited(Instant),
    /// Dead.
    Nobody,
}

impl Entry {
    pub fn new(
        memory: Region,
        request: &Request<'_>,
        pid: u32,
        connection: ConnectionId,
    ) -> io::Result<Entry> {
        let generation = new_generation()?;
        let attachment = Attachment { generation, pid, at: monotonic() };
        let words = memory.words.clone();
        let region = ApplicationRegion::lay_out(words, request, &attachment).map_err(io::Error::other)?;
        let announced = request.hooks.iter();
        let hooks =
            announced.map(|hook| Hook { least: hook.least, most: hook.most, calls: HookCalls::default() });
        Ok(Entry {
            name: request.name.into(),
            generation,
            memory,
            region,
            hooks: hooks.collect(),
            holder: Holder::Connection(connection),
        })
    }

    /// Memory that an application could write all of: everything in it is checked.
    pub fn over(memory: Region, now: Instant) -> Result<Entry, String> {
        let bytes = read(&memory);
        let laid_out = Request::decode(&bytes).map_err(|error| error.to_string())?;
        let words = memory.words.clone();
        let region = ApplicationRegion::over(words, laid_out.sensors.len(), laid_out.hooks.len())
            .map_err(|error| error.to_string())?;
        let holder = match region.state() {
            Some(ApplicationState::Attached) => Holder::Awaited(now),
            Some(ApplicationState::Died) => Holder::Nobody,
            Some(ApplicationState::Left) => return Err(format!("{:?} left", laid_out.name)),
            None => return Err(format!("{:?} is in no state there is", laid_out.name)),
        };
        let (name, generation) = (laid_out.name.into(), laid_out.held);
        let hooks = ApplicationView::decode(&bytes).map_err(|error| error.to_string())?.hooks;
        let hook = |hook: &ApplicationHook| {
            // Calls that an agent died over were written half: they are counted from here on.
            Hook { least: hook.least, most: hook.most, calls: hook.calls.unwrap_or_default() }
        };
        let hooks = hooks.iter().map(hook).collect();
        Ok(Entry { name, generation, memory, region, hooks, holder })
    }

    /// Goes by the hooks of a request that asks for the same as was laid out; when the memory was taken up it may have
    /// said something else.
    pub fn announce(&mut self, request: &Request<'_>) {
        for (hook, announced) in self.hooks.iter_mut().zip(&request.hooks) {
            (hook.least, hook.most) = (announced.least, announced.most);
        }
    }

    pub fn refuse_another(&self, request: &Request<'_>, pid: u32, now: Instant) -> Result<(), AttachError> {
        let name = || String::from(request.name);
        let holder = self.region.pid();
        match self.holder {
            Holder::Connection(_) => Err(AttachError::Taken { name: name(), pid: holder }),
            Holder::Awaited(since)
                if holder != pid && now.duration_since(since) < AWAITED && exists(holder) =>
            {
                Err(AttachError::Awaited { name: name(), pid: holder })
            }
            Holder::Awaited(_) | Holder::Nobody => Ok(()),
        }
    }

    /// Whether the process that asks has this memory already, and it still is what it asks for.
    pub fn is_held_by(&self, request: &Request<'_>, pid: u32) -> bool {
        let bytes = read(&self.memory);
        let Ok(laid_out) = Request::decode(&bytes) else { return false };
        pid == self.region.pid()
            && request.held == self.generation
            && (laid_out.held, laid_out.name) == (request.held, request.name)
            && laid_out.sensors == request.sensors
            && laid_out.hooks == request.hooks
    }

    pub fn die(&mut self) {
        self.holder = Holder::Nobody;
        self.region.die(monotonic());
    }
}

pub(super) fn read(memory: &Region) -> Vec<u8> {
    let mut bytes = vec![0; memory.len()];
    let whole = memory.words.memory().read_bytes(0, &mut bytes);
    debug_assert!(whole.is_ok(), "a region has as many bytes as it says");
    bytes
}

pub(crate) fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}
