//! Servers of services whose sessions outlive them: who is attached, the memory of their boxes, and the connections that are held
//! for them.
//!
//! A server attaches over a unix socket, see [`listen`], and is given the memory of its service's boxes. For every connection it
//! accepts it sends a duplicate of the socket. As long as the agent holds that the kernel closes nothing when the server ends,
//! however it ends: no FIN and no reset leaves, and what the client sends is acknowledged as far as there is room. The next
//! server is handed all of it, with what the last one had read since its newest snapshot.
//!
//! Boxes are kept as applications' memory is ([`Keep`]), and every monitor may read them: what is in them is also what a session
//! needs to go on at another machine.

mod captured;
mod desk;
mod going;
pub mod listen;

pub use captured::{Captured, CapturedSessions, NotTakenIn};
pub use desk::{ConnectionId, Desk, Handing, Held, Now, Told};
pub use going::{Going, go_on};

use crate::keep::{Keep, KeepError};
use crate::kernel::Service;
use crate::memory::{Region, new_generation};
use backdoors_continuation_box::snapshot::{Attachment, BoxMemory, BoxesView, MemoryError, Owner, Shape};
use backdoors_rdma::owner::{RegionRequest, Rights};
use backdoors_sensor_box::layout::RegionKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

/// What a service's server keeps of its sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boxes {
    /// How large its boxes are.
    pub shape: Shape,
    /// How long sessions are kept whose server has ended.
    pub keep: Duration,
}

/// The boxes of a service.
#[derive(Debug)]
pub struct ServiceBoxes {
    /// The service's name.
    pub name: String,
    /// The boxes.
    pub boxes: Arc<BoxMemory>,
    /// How long sessions are kept whose server has ended.
    pub keep: Duration,
    region: Region,
}

/// Why a service has no boxes.
#[derive(Debug, thiserror::Error)]
pub enum BoxesError {
    /// There is no memory.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// It cannot be laid out.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

impl ServiceBoxes {
    /// The boxes of the service with this number: those that an earlier agent kept, if they still are what is configured, else new
    /// ones.
    ///
    /// # Errors
    /// [`BoxesError`].
    pub fn take_up(keep: &Keep, number: u32, service: &Service) -> Result<ServiceBoxes, BoxesError> {
        let kept = format!("boxes_{number}");
        let shape = service.boxes.shape;
        let (boxes, region) =
            match keep.open(&kept).and_then(Result::ok).and_then(|region| fitting(region, service)) {
                Some(found) => {
                    tracing::info!(service = service.name, "took up the boxes of a service's sessions");
                    found
                }
                None => {
                    let region = keep.make(&kept, shape.region_bytes())?;
                    let generation = new_generation().map_err(KeepError::System)?;
                    let owner = Owner { name: &service.name, service: number, generation };
                    (BoxMemory::lay_out(region.descriptor.as_fd(), shape, owner)?, region)
                }
            };
        Ok(ServiceBoxes { name: service.name.clone(), boxes, keep: service.boxes.keep, region })
    }

    /// What the owner is to have registered.
    #[must_use]
    pub fn wanted(&self, number: u32) -> (RegionRequest, &Region) {
        let request = RegionRequest {
            kind: RegionKind::BOXES_FIRST + number,
            generation: self.boxes.generation(),
            offset: 0,
            length: self.boxes.shape().region_bytes() as u64,
            rights: Rights::ReadOnly,
            slot: None,
        };
        (request, &self.region)
    }

    /// The process that was attached when the agent that kept the boxes ended, if any.
    fn attached(&self) -> Option<u32> {
        let mut head = [0; Shape::HEADER_BYTES];
        self.region.words.memory().read_bytes(0, &mut head).ok()?;
        let view = BoxesView::decode(&head).ok().filter(|view| view.attachment == Attachment::Attached)?;
        u32::try_from(view.pid).ok()
    }

    /// A descriptor of the memory.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.region.descriptor.as_fd()
    }
}

/// Memory that a server could write all of: its header is checked, and the length that the system says is what counts.
fn fitting(region: Region, service: &Service) -> Option<(Arc<BoxMemory>, Region)> {
    let mut head = vec![0; Shape::HEADER_BYTES.min(region.len())];
    region.words.memory().read_bytes(0, &mut head).ok()?;
    let view = BoxesView::decode(&head).ok()?;
    let shape = service.boxes.shape;
    if view.name != service.name || view.shape != shape || region.len() < shape.region_bytes() {
        return None;
    }
    let boxes = BoxMemory::over(region.descriptor.as_fd()).ok().filter(|boxes| boxes.shape() == shape)?;
    Some((boxes, region))
}
