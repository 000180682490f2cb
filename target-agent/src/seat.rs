//! Who may command through a slot, and what; `bpf/settings.h` says the same of the kernel half's map.

use backdoors_sensor_box::layout::COMMAND_SLOTS;
use backdoors_sensor_box::{CommandKey, Opcodes};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// One for each command slot. Nobody may command through one that is all zero.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Seat {
    key: [u8; 16],
    whose: u64,
    may: u64,
    admitted: u64,
}

const _: () = assert!(size_of::<Seat>() == 40);

/// The seats of all slots.
pub type Seats = [Seat; COMMAND_SLOTS];

impl Seat {
    /// A seat for whoever was given this `key`, who is who holds the key of the certificate that `whose` names.
    #[must_use]
    pub fn new(key: [u8; 16], whose: u64, may: Opcodes) -> Seat {
        Seat { key, whose, may: may.bits(), admitted: 1 }
    }

    /// Nobody's.
    #[must_use]
    pub fn empty() -> Seat {
        Seat::new_zeroed()
    }

    /// The key of the monitor that has it, if there is one.
    #[must_use]
    pub fn key(&self) -> Option<CommandKey> {
        (self.admitted != 0).then_some(CommandKey::from_bytes(self.key))
    }

    /// Names the certificate of the monitor that has it.
    #[must_use]
    pub fn whose(&self) -> u64 {
        self.whose
    }

    /// What the monitor may do.
    #[must_use]
    pub fn may(&self) -> Opcodes {
        Opcodes::from_bits(self.may)
    }

    /// What a configuration makes of it that admits the holders of these certificates to the slot, and lets them do what
    /// `may` says: the same monitor's, or nobody's.
    #[must_use]
    pub fn under(&self, certificates: &[u64], may: Opcodes) -> Seat {
        if self.admitted != 0 && certificates.contains(&self.whose) {
            Seat { may: may.bits(), ..*self }
        } else {
            Seat::empty()
        }
    }
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Seat { whose, admitted, .. } = self;
        formatter
            .debug_struct("Seat")
            .field("whose", whose)
            .field("may", &self.may())
            .field("admitted", admitted)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backdoors_sensor_box::Opcode;

    #[test]
    fn a_seat_is_kept_by_whom_the_configuration_still_knows_and_emptied_of_all_others() {
        let (all, none) = (Opcodes::from_iter([Opcode::KillUser]), Opcodes::from_bits(0));
        let seat = Seat::new([7; 16], 5, all);
        assert_eq!(seat.under(&[4, 5], none), Seat::new([7; 16], 5, none));
        assert_eq!(seat.under(&[4], all), Seat::empty());
        assert_eq!(Seat::empty().under(&[0], all).key(), None);
        assert!(!format!("{seat:?}").contains('7'), "{seat:?}");
    }
}
