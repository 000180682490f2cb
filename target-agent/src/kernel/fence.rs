//! The fence: what it covers, where its program looks at packets, and how it is carried over and lifted by the machine's
//! own operator.

use crate::kernel::interfaces::{interfaces, unwatch, watch};
use crate::kernel::load::{load_fence, overheard};
use crate::kernel::maps::{KernelHalf, Misfit, incomplete};
use crate::kernel::pins::{Pins, PinsError};
use crate::kernel::settings::Settings;
use backdoors_sensor_box::FenceView;
use backdoors_sensor_box::fence::LIFTED;
use backdoors_sensor_box::fence::layout::address_bytes;
use backdoors_sensor_box::layout::{COMMAND_SLOTS, Capabilities};
use backdoors_sensor_box::writer::SensorBox;
use libbpf_rs::Program;
use nix::sched::{CloneFlags, unshare};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

/// The program at each interface.
pub(super) const ON_EGRESS: &str = "on_egress";

/// What can be fenced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FencePlan {
    /// The addresses that nothing is sent from while a fence holds; none: nothing can be fenced.
    pub addresses: Vec<IpAddr>,
    /// Where that is seen to; none: at all interfaces but loopback devices.
    pub interfaces: Vec<String>,
}

impl FencePlan {
    /// Whether anything is to be fenced.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        !self.addresses.is_empty()
    }

    pub(super) fn place(&self, settings: &mut Settings) {
        for (place, address) in settings.fenced.iter_mut().zip(&self.addresses) {
            *place = address_bytes(*address);
            settings.fenced_addresses += 1;
        }
    }
}

/// How far the fence reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Interfaces at which packets are looked at.
    pub covered: u32,
    /// Why they are not at others.
    pub failed: Vec<String>,
}

/// Command slots whose fences hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held(pub Vec<u32>);

impl fmt::Display for Held {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slots: Vec<String> = self.0.iter().map(u32::to_string).collect();
        write!(formatter, "slot {}", slots.join(", "))
    }
}

/// Why the kernel half, or the fence, is not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// A fence holds. Nothing was changed.
    #[error(
        "a monitor's fence holds ({0}): another machine may have this one's addresses by now; see to that, then run          `backdoors-agent unfence`"
    )]
    Fenced(Held),
    /// The kernel half that is pinned cannot be used, so whether a fence holds cannot be told. Nothing was changed.
    #[error("{0}; whether a fence holds cannot be told")]
    Misfit(#[from] Misfit),
    /// The interfaces cannot be listed. The words are lifted, if that was asked for.
    #[error("the interfaces cannot be listed: {0}")]
    Interfaces(#[from] io::Error),
    /// Some pins are left.
    #[error(transparent)]
    Pins(#[from] PinsError),
}

impl KernelHalf {
    /// The word in a slot of the fence; [`LIFTED`] if there is no fence.
    pub(crate) fn fence_word(&self, slot: u32) -> u64 {
        self.memory.laid_out_fence().map_or(LIFTED, |fence| fence.word(slot as usize))
    }

    /// Which fences hold.
    ///
    /// # Errors
    /// [`Misfit::Incomplete`] if that cannot be told.
    pub fn fences_held(&self) -> Result<Held, Misfit> {
        let mut held = Vec::new();
        for slot in 0..COMMAND_SLOTS as u32 {
            let word = self.fence_word(slot);
            // Seats of another version cannot be read, and need not be where no word is.
            if word != LIFTED && self.seat(slot).map_err(incomplete("map seats"))?.is_fenced_by(word) {
                held.push(slot);
            }
        }
        Ok(Held(held))
    }

    /// The fence as monitors see it, if addresses can be fenced.
    #[must_use]
    pub fn fence(&self) -> Option<FenceView> {
        let memory = self.memory.fence.as_ref()?.words.memory();
        let mut bytes = [0; FenceView::BYTES];
        memory.read_bytes(0, &mut bytes).ok()?;
        FenceView::decode(&bytes).ok()
    }

    /// Has no earlier key's word count any more from where it was lifted or replaced.
    pub(crate) fn forget_earlier_fences(&self) -> Result<(), Misfit> {
        for (slot, seat) in (0..).zip(self.seats()?) {
            let kept = seat.kept_fence();
            if kept != LIFTED && self.fence_word(slot) != kept {
                self.set_seat(slot, &seat.keeping_fence(LIFTED)).map_err(incomplete("map seats"))?;
            }
        }
        Ok(())
    }

    /// Takes over what `earlier` was told to be silent by.
    pub(crate) fn carry_fence_over(&self, earlier: &KernelHalf) {
        let (Some(from), Some(to)) = (earlier.memory.laid_out_fence(), self.memory.laid_out_fence()) else {
            return;
        };
        for slot in 0..COMMAND_SLOTS {
            to.set_word(slot, from.word(slot));
        }
    }

    /// Sees that packets are looked at wherever they leave, and tells monitors how far that is so.
    ///
    /// # Errors
    /// What the system says; then it is as it was, and monitors are told no later time.
    pub(crate) fn watch_interfaces(&self, only: &[String]) -> io::Result<Reach> {
        let Some(fence) = self.memory.laid_out_fence() else { return Ok(Reach::default()) };
        let program = Program::fd_from_pinned_path(self.pins.program(ON_EGRESS)).map_err(io::Error::other)?;
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let there = interfaces(only)?;
        let mut reach = Reach::default();
        for (number, name) in &there {
            match overheard(|| watch(program.as_fd(), *number)).0 {
                Ok(()) => reach.covered += 1,
                Err(error) => reach.failed.push(format!("{name}: {error}")),
            }
        }
        fence.set_interfaces(reach.covered, there.len() as u32, nanoseconds(now));
        self.show_fence(reach.failed.is_empty());
        Ok(reach)
    }

    fn show_fence(&self, can: bool) {
        let Ok(sensors) = SensorBox::adopt(self.memory.sensors.words.clone()) else { return };
        let Ok(header) = sensors.header() else { return };
        let bit = if can { Capabilities::FENCES } else { 0 };
        sensors.set_capabilities(header.capabilities & !Capabilities::FENCES | bit);
    }
}

/// Whether this kernel takes the fence's program, and lets it look at what leaves: tried out in a network of its own, of which
/// nothing is left.
///
/// # Errors
/// Why not.
pub fn can_fence() -> Result<(), String> {
    let tried = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("no network to try it in: {error}"))?;
        let object = load_fence().map_err(|error| error.to_string())?;
        let program = object.progs_mut().find(|program| program.name() == ON_EGRESS);
        let program = program.ok_or_else(|| format!("no program {ON_EGRESS}"))?;
        overheard(|| watch(program.as_fd(), LOOPBACK)).0.map_err(|error| error.to_string())
    });
    tried.join().unwrap_or_else(|_| Err("trying it failed".into()))
}

/// The first interface of every network.
const LOOPBACK: i32 = 1;

fn nanoseconds(time: rustix::time::Timespec) -> u64 {
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// The kernel half that is pinned, if any is.
fn pinned(pins: &Pins) -> Result<Option<KernelHalf>, Misfit> {
    match KernelHalf::attach(pins) {
        Ok(half) => Ok(Some(half)),
        Err(Misfit::Nothing) => Ok(None),
        Err(misfit) => Err(misfit),
    }
}

/// Removes the kernel half and what it has at interfaces, if no fence holds. It is no error if there is none.
///
/// # Errors
/// See [`RemoveError`].
pub fn remove(pins: &Pins) -> Result<(), RemoveError> {
    // One that cannot be used was left half made, and has no fence.
    if let Ok(Some(half)) = pinned(pins) {
        let held = half.fences_held()?;
        if !held.0.is_empty() {
            return Err(RemoveError::Fenced(held));
        }
    }
    unwatch_all(None)?;
    Ok(pins.remove()?)
}

/// Which fences hold.
///
/// # Errors
/// [`Misfit`] if that cannot be told.
pub fn held(pins: &Pins) -> Result<Held, Misfit> {
    pinned(pins)?.map_or(Ok(Held::default()), |half| half.fences_held())
}

/// Lifts all fences, also those of a kernel half that is not pinned any more. Tells which held.
///
/// # Errors
/// See [`RemoveError`].
pub fn unfence(pins: &Pins) -> Result<Held, RemoveError> {
    let half = pinned(pins)?;
    // Also what cannot be told apart is lifted.
    let held = half.as_ref().and_then(|half| half.fences_held().ok()).unwrap_or_default();
    if let Some(fence) = half.and_then(|half| half.memory.laid_out_fence()) {
        (0..COMMAND_SLOTS).for_each(|slot| fence.set_word(slot, LIFTED));
    }
    let program = Program::fd_from_pinned_path(pins.program(ON_EGRESS)).ok();
    unwatch_all(program.and_then(|program| Program::id_from_fd(program.as_fd()).ok()))?;
    Ok(held)
}

fn unwatch_all(keep: Option<u32>) -> io::Result<()> {
    for (number, name) in interfaces(&[])? {
        if let Err(error) = overheard(|| unwatch(number, keep)).0 {
            tracing::warn!(interface = name, %error, "a program of the fence is left there");
        }
    }
    Ok(())
}
