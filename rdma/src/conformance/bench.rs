//! What the checks have in common.

use crate::access::{AccessError, Connection, RemoteRange};
use crate::conformance::{Failure, Fixture, MakeMemory};
use crate::directory::{Directory, Region};
use crate::handshake::{Secret, Welcome};
use crate::memory::SharedMemory;
use crate::owner::{MemoryOwner, RegionId, RegionRequest, Rights};
use crate::session::Session;
use std::time::Duration;

/// Longest time for a batch in checks where none should be lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// A fresh owner, and ways to reach it. The owner is lost at the end.
pub struct Bench<'a> {
    fixture: &'a mut dyn Fixture,
    owner: Option<Box<dyn MemoryOwner>>,
}

/// An admitted monitor.
pub(super) struct Monitor {
    pub(super) connections: Vec<Box<dyn Connection>>,
    pub(super) directory: RemoteRange,
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        self.lose_owner();
    }
}

impl<'a> Bench<'a> {
    pub(super) fn start(fixture: &'a mut dyn Fixture) -> Result<Bench<'a>, Failure> {
        let owner = Some(fixture.start()?);
        Ok(Bench { fixture, owner })
    }

    pub(super) fn owner(&mut self) -> Result<&mut dyn MemoryOwner, Failure> {
        match &mut self.owner {
            Some(owner) => Ok(owner.as_mut()),
            None => Err(Failure("the owner was lost".into())),
        }
    }

    /// What makes memory that the provider takes.
    pub(super) fn memory(&self) -> MakeMemory {
        self.fixture.memory()
    }

    pub(super) fn lose_owner(&mut self) {
        if let Some(owner) = self.owner.take() {
            self.fixture.lose(owner);
        }
    }

    /// Registers fresh memory.
    pub(super) fn region(
        &mut self,
        kind: u32,
        generation: u64,
        length: usize,
        rights: Rights,
        slot: Option<u32>,
    ) -> Result<(RegionId, SharedMemory), Failure> {
        let (memory, fd) = self.memory()(length).map_err(failed("no memory"))?;
        let request = RegionRequest { kind, generation, offset: 0, length: length as u64, rights, slot };
        let id = self.owner()?.register(request, fd).map_err(failed("register"))?;
        Ok((id, memory))
    }

    pub(super) fn admit(&mut self, name: &str, slot: u32, connections: usize) -> Result<Monitor, Failure> {
        self.admit_within(name, slot, connections, PATIENCE)
    }

    pub(super) fn admit_within(
        &mut self,
        name: &str,
        slot: u32,
        connections: usize,
        deadline: Duration,
    ) -> Result<Monitor, Failure> {
        let mut dialer = self.fixture.dialer(deadline)?;
        let endpoints = dialer.prepare(connections).map_err(failed("prepare"))?;
        let admission = self.owner()?.admit(name, slot, &endpoints).map_err(failed("admit"))?;
        let connections = dialer.connect(&admission.endpoints).map_err(failed("connect"))?;
        Ok(Monitor { connections, directory: admission.directory })
    }

    pub(super) fn session(&mut self, name: &str, slot: u32, connections: usize) -> Result<Session, Failure> {
        let mut dialer = self.fixture.dialer(PATIENCE)?;
        let owner = self.owner()?;
        Session::open_with(dialer.as_mut(), connections, |endpoints| {
            let admission = owner.admit(name, slot, &endpoints)?;
            Ok(Welcome { target: "target".into(), admission, secret: Secret::from_bytes([0; 16]) })
        })
        .map_err(failed("open"))
    }

    /// One writable region of kind 1 and `connections` connections to it.
    pub(super) fn simple(
        &mut self,
        length: usize,
        rights: Rights,
        connections: usize,
    ) -> Result<(SharedMemory, Monitor, RemoteRange), Failure> {
        let (_, memory) = self.region(1, 1, length, rights, None)?;
        let mut monitor = self.admit("monitor", 0, connections)?;
        let range = monitor.region(1)?.range;
        Ok((memory, monitor, range))
    }
}

impl Monitor {
    pub(super) fn first(&mut self) -> Result<&mut dyn Connection, Failure> {
        self.connection(0)
    }

    pub(super) fn connection(&mut self, index: usize) -> Result<&mut dyn Connection, Failure> {
        match self.connections.get_mut(index) {
            Some(connection) => Ok(connection.as_mut()),
            None => Err(Failure(format!("there is no connection {index}"))),
        }
    }

    pub(super) fn directory(&mut self) -> Result<Directory, Failure> {
        let range = self.directory;
        Directory::fetch(self.first()?, range).map_err(failed("directory"))
    }

    pub(super) fn region(&mut self, kind: u32) -> Result<Region, Failure> {
        self.directory()?
            .region(kind)
            .ok_or_else(|| Failure(format!("the directory has no region of kind {kind}")))
    }
}

/// Puts words before an error.
pub(super) fn failed<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Failure {
    move |error| Failure(format!("{what}: {error}"))
}

pub(super) fn equal<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: T,
    expected: T,
) -> Result<(), Failure> {
    if found == expected {
        return Ok(());
    }
    Err(Failure(format!("{what}: {found:?} instead of {expected:?}")))
}

pub(super) fn holds(what: &str, truth: bool) -> Result<(), Failure> {
    if truth { Ok(()) } else { Err(Failure(format!("not so: {what}"))) }
}

/// Checks the error a result must be.
pub(super) fn fails<T: std::fmt::Debug>(
    what: &str,
    result: Result<T, AccessError>,
    expected: fn(&AccessError) -> bool,
) -> Result<(), Failure> {
    match result {
        Err(error) if expected(&error) => Ok(()),
        Err(error) => Err(Failure(format!("{what}: fails in another way: {error}"))),
        Ok(value) => Err(Failure(format!("{what}: succeeds: {value:?}"))),
    }
}

pub(super) fn denied(what: &str, result: Result<impl std::fmt::Debug, AccessError>) -> Result<(), Failure> {
    fails(what, result, |error| matches!(error, AccessError::Denied))
}

/// The bytes `range` covers, moved: not checked, as a hostile monitor would ask for them.
pub(super) fn moved(range: RemoteRange, by: i64, length: u64) -> RemoteRange {
    RemoteRange { address: range.address.wrapping_add_signed(by), length, key: range.key }
}

/// What a memory holds.
pub(super) fn contents(memory: &SharedMemory) -> Result<Vec<u8>, Failure> {
    let mut bytes = vec![0; memory.len()];
    memory.read_bytes(0, &mut bytes).map_err(failed("local memory"))?;
    Ok(bytes)
}

/// Bytes in which every place looks different from its neighbours.
pub(super) fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}
