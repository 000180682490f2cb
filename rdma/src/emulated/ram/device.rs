//! The NIC's side of the port, without I/O: lines come in, lines go out.

use crate::emulated::Nic;
use crate::emulated::ram::guest_memory::{GuestMemory, pages_of};
use crate::emulated::ram::message::{
    Answer, Call, MAX_BOOT, MAX_PAGES, MAX_RUNS, PageRun, Reply, Request, VERSION, line,
};
use crate::owner::{MemoryOwner, OwnerError, RegionId, RegionRequest};
use std::collections::HashMap;

/// A NIC that serves pages of a guest's RAM. What comes from the guest is hostile: it can say what it likes, and opens
/// nothing but its own memory.
#[derive(Debug)]
pub struct Device {
    nic: Nic,
    /// `None` while there is no virtual machine.
    memory: Option<GuestMemory>,
    /// Of the guest that said hello last.
    boot: Option<String>,
    session: Option<u64>,
    /// How many runs of pages each region is.
    runs: HashMap<RegionId, usize>,
}

impl Device {
    /// A NIC without a machine.
    #[must_use]
    pub fn new(nic: Nic) -> Device {
        Device { nic, memory: None, boot: None, session: None, runs: HashMap::new() }
    }

    /// A machine was switched on.
    pub fn switch_on(&mut self, memory: GuestMemory) {
        self.switch_off();
        self.memory = Some(memory);
    }

    /// The machine is no more, or not the one it was: nothing that was registered or admitted is good any longer.
    pub fn switch_off(&mut self) {
        self.reset();
        self.memory = None;
    }

    /// The machine was reset: its memory is about to hold other things.
    pub fn reset(&mut self) {
        self.nic.reset();
        self.runs.clear();
        self.boot = None;
        self.session = None;
    }

    /// Does what a line asks for, and returns the line to answer with. A line that is no call is not answered: it may
    /// be one of which a process that is gone wrote only a part.
    pub fn line(&mut self, asked: &[u8]) -> Option<Vec<u8>> {
        let Ok(Call { session, number, request }) = serde_json::from_slice(asked) else {
            tracing::debug!(bytes = asked.len(), "passed over a line that makes no sense");
            return None;
        };
        let reply = self.call(session, request);
        if let Reply::Failed(error) = &reply {
            tracing::debug!(%error, "refused the guest's request");
        }
        let answer = |reply| line(&Answer { session, number, reply });
        // No answer of this NIC is too long; if one were, the guest should know.
        answer(reply).or_else(|error| answer(Reply::Failed(OwnerError::Device(error.to_string())))).ok()
    }

    fn call(&mut self, session: u64, request: Request) -> Reply {
        if let Request::Hello { version, boot } = request {
            return self.hello(session, version, boot).map_or_else(Reply::Failed, |()| Reply::Welcome);
        }
        if self.session != Some(session) {
            return Reply::Stranger;
        }
        // Only what was done is told: the guest must not fill this machine's log with what it makes up.
        let result = match request {
            Request::Hello { .. } => Ok(Reply::Welcome),
            Request::Register { region, pages } => self.register(region, &pages).map(|id| {
                tracing::info!(?region, "registered");
                Reply::Registered(id)
            }),
            Request::Retire(region) => self.nic.retire(region).map(|()| {
                self.runs.remove(&region);
                tracing::info!(?region, "retired");
                Reply::Done
            }),
            Request::Admit { monitor, slot, endpoints } => {
                self.nic.admit(&monitor, slot, &endpoints).map(|admission| {
                    tracing::info!(monitor, slot, connections = endpoints.len(), "admitted");
                    Reply::Admitted(admission)
                })
            }
            Request::Dismiss { monitor } => self.nic.dismiss(&monitor).map(|()| {
                tracing::info!(monitor, "dismissed");
                Reply::Done
            }),
            Request::Regions => self.nic.regions().map(Reply::Regions),
            Request::Monitors => self.nic.monitors().map(Reply::Monitors),
        };
        result.unwrap_or_else(Reply::Failed)
    }

    fn hello(&mut self, session: u64, version: u32, boot: String) -> Result<(), OwnerError> {
        if version != VERSION {
            let why = format!("the guest speaks version {version}, this NIC {VERSION}: update the older one");
            return Err(OwnerError::Invalid(why));
        }
        if boot.is_empty() || boot.len() > MAX_BOOT {
            return Err(OwnerError::Invalid(format!("a boot's name has 1 to {MAX_BOOT} bytes")));
        }
        if self.boot.as_ref() != Some(&boot) {
            // Its pages hold other things now.
            tracing::info!(boot, "the guest has booted: nothing registered before is served any more");
            self.reset();
            self.boot = Some(boot);
        }
        self.session = Some(session);
        Ok(())
    }

    fn register(&mut self, region: RegionRequest, pages: &[PageRun]) -> Result<RegionId, OwnerError> {
        let memory = self.memory.as_ref().ok_or_else(|| OwnerError::Device("there is no machine".into()))?;
        let mut in_use = pages_of(&region)?;
        for (_, other) in self.nic.regions()? {
            in_use = in_use.saturating_add(pages_of(&other)?);
        }
        if in_use > MAX_PAGES {
            return Err(OwnerError::Full(format!("pages: there are {MAX_PAGES}")));
        }
        if self.runs.values().sum::<usize>() + pages.len() > MAX_RUNS {
            return Err(OwnerError::Full(format!("runs of adjacent pages: there are {MAX_RUNS}")));
        }
        self.nic.check_room(&region)?;
        let id = self.nic.register_mapped(region, memory.map(&region, pages)?)?;
        self.runs.insert(id, pages.len());
        Ok(id)
    }
}

#[cfg(test)]
mod tests;
