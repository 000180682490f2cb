//! Which live connections the kernel half captures, and the memory it needs for that.

use crate::kernel::settings::{MAX_SERVICE_PORTS, MAX_SERVICES, Settings};
use crate::memory::SessionMemory;
use crate::services::Boxes;
use backdoors_sensor_box::session::layout::ring_stride;
use backdoors_sensor_box::writer::{LayOutError, SessionTable};
use libbpf_rs::OpenObject;
use std::path::{Path, PathBuf};

/// A service whose connections are captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub ports: Vec<u16>,
    /// How many of its connections are captured at once.
    pub sessions: u32,
    /// Bytes of what each received that are held, a power of two.
    pub ring: u32,
    /// What its server keeps of its sessions.
    pub boxes: Boxes,
}

/// What is to be captured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionPlan {
    /// The services; none: nothing is captured.
    pub services: Vec<Service>,
    /// The control group of the unified hierarchy whose sockets are looked at; the whole machine's by default.
    pub cgroup: Option<PathBuf>,
}

/// There is no unified hierarchy of control groups.
#[derive(Debug, thiserror::Error)]
#[error(
    "live sessions need control groups of version 2, and none are mounted: run `mount -t cgroup2 none /sys/fs/cgroup/unified`, \
     or remove the [[service]]s"
)]
pub struct NoCgroup;

/// The root of the unified hierarchy.
///
/// # Errors
/// [`NoCgroup`] if it is not mounted.
pub fn find_cgroup() -> Result<PathBuf, NoCgroup> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let found = lines.find(|fields| fields.get(2) == Some(&"cgroup2"));
    found.and_then(|fields| Some(Path::new(fields.get(1)?).to_owned())).ok_or(NoCgroup)
}

impl SessionPlan {
    /// Whether anything is to be captured.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        !self.services.is_empty()
    }

    /// Records for all services.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.services.iter().map(|service| service.sessions).sum()
    }

    /// Bytes of a ring: all have the longest.
    #[must_use]
    pub fn ring(&self) -> u32 {
        self.services.iter().map(|service| service.ring).max().unwrap_or(0)
    }

    /// The largest receive buffer of a captured connection. What was not read fits into half a ring, then; the other half
    /// is left for what the application read since its last snapshot.
    #[must_use]
    pub fn receive_cap(&self) -> u32 {
        self.ring() / 2
    }

    pub(super) fn place(&self, settings: &mut Settings) {
        settings.ring_bytes = self.ring();
        settings.receive_cap = self.receive_cap();
        let numbered = (0..).zip(self.services.iter().take(MAX_SERVICES));
        let ports = numbered.clone().flat_map(|(number, service)| {
            service.ports.iter().map(move |port| number << 16 | u32::from(*port))
        });
        for (place, port) in settings.service_port.iter_mut().zip(ports.take(MAX_SERVICE_PORTS)) {
            *place = port;
            settings.service_ports += 1;
        }
        for (place, (_, service)) in settings.most_sessions.iter_mut().zip(numbered) {
            *place = service.sessions;
        }
    }

    /// Gives the maps the size they need.
    pub(super) fn size(&self, object: &mut OpenObject, cpus: u32) -> libbpf_rs::Result<()> {
        for mut map in object.maps_mut() {
            match map.name().to_str() {
                Some("sessions") => map.set_max_entries(1 + self.capacity())?,
                Some("free_sessions") => map.set_max_entries(self.capacity().max(1))?,
                Some("received") if self.is_wanted() => {
                    map.set_max_entries(self.capacity())?;
                    map.set_value_size(ring_stride(self.ring()))?;
                }
                Some("earlies") if self.is_wanted() => map.set_max_entries(cpus)?,
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn lay_out(&self, memory: &SessionMemory, generation: u64) -> Result<(), LayOutError> {
        SessionTable::lay_out(memory.table.words.clone(), generation, self.ring(), self.receive_cap())
            .map(drop)
    }

    /// Where the programs of sockets are attached.
    pub(super) fn cgroup(&self) -> Result<PathBuf, NoCgroup> {
        self.cgroup.clone().map_or_else(find_cgroup, Ok)
    }
}

/// The programs that are attached to a control group.
pub(super) const IN_CGROUP: [&str; 3] = ["on_arrival", "on_departure", "on_connection"];
/// The other program that captured connections need.
pub(super) const ON_READ: &str = "on_read";
