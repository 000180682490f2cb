//! Who may command through a slot, and what; `bpf/settings.h` says the same of the kernel half's map.

use crate::config::May;
use backdoors_sensor_box::fence::LIFTED;
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
    fence: u64,
    fence_before: u64,
}

const _: () = assert!(size_of::<Seat>() == 56);

/// The seats of all slots.
pub type Seats = [Seat; COMMAND_SLOTS];

impl Seat {
    /// A seat for whoever was given this `key`, who is who holds the key of the certificate that `whose` names. It does
    /// not let them fence.
    #[must_use]
    pub fn new(key: [u8; 16], whose: u64, may: Opcodes) -> Seat {
        Seat { key, whose, may: may.bits(), admitted: 1, fence: 0, fence_before: 0 }
    }

    /// The same, and whoever has it may fence or not.
    #[must_use]
    pub fn that_may_fence(self, may: bool) -> Seat {
        let fence = self.key().filter(|_| may).map_or(0, |key| key.fence_word());
        Seat { fence, ..self }
    }

    /// The key whose fence word counts, if there is one.
    #[must_use]
    pub fn fence_key(&self) -> Option<CommandKey> {
        self.key().filter(|_| self.fence != 0)
    }

    /// Whether this word in the seat's slot fences. The kernel half does the same (`bpf/fence.h`).
    #[must_use]
    pub fn is_fenced_by(&self, word: u64) -> bool {
        word != LIFTED && (word == self.fence || word == self.fence_before)
    }

    /// The word that fences from this slot now.
    #[must_use]
    pub fn fence_word(&self) -> u64 {
        self.fence
    }

    /// The word of an earlier key that fences, too; [`LIFTED`] if there is none.
    #[must_use]
    pub fn kept_fence(&self) -> u64 {
        self.fence_before
    }

    /// The same, where this word fences, too, though an earlier key made it. With [`LIFTED`] none but the own does.
    #[must_use]
    pub fn keeping_fence(self, word: u64) -> Seat {
        Seat { fence_before: word, ..self }
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
    pub fn under(&self, certificates: &[u64], may: May) -> Seat {
        if self.admitted != 0 && certificates.contains(&self.whose) {
            Seat { may: may.commands.bits(), ..*self }.that_may_fence(may.fence)
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
        let all = May { commands: Opcodes::from_iter([Opcode::KillUser]), fence: true };
        let none = May { commands: Opcodes::from_bits(0), fence: false };
        let seat = Seat::new([7; 16], 5, all.commands).that_may_fence(true);
        assert_eq!(seat.under(&[4, 5], none), Seat::new([7; 16], 5, none.commands));
        assert_eq!(seat.under(&[4, 5], all), seat);
        assert_eq!(seat.under(&[4], all), Seat::empty());
        assert_eq!(Seat::empty().under(&[0], all).key(), None);
        assert!(!format!("{seat:?}").contains('7'), "{seat:?}");
    }

    #[test]
    fn a_seat_is_fenced_by_its_keys_word_and_by_one_that_is_kept_and_nobodys_by_none() {
        let (old, new) = (CommandKey::from_bytes([7; 16]), CommandKey::from_bytes([8; 16]));
        let seat = Seat::new([8; 16], 5, Opcodes::from_bits(0)).that_may_fence(true);
        assert!(seat.is_fenced_by(new.fence_word()) && !seat.is_fenced_by(old.fence_word()));
        let seat = seat.keeping_fence(old.fence_word());
        assert!(seat.is_fenced_by(new.fence_word()) && seat.is_fenced_by(old.fence_word()));
        let seat = seat.that_may_fence(false);
        assert!(!seat.is_fenced_by(new.fence_word()) && seat.is_fenced_by(old.fence_word()));
        assert!(!seat.is_fenced_by(LIFTED) && !Seat::empty().that_may_fence(true).is_fenced_by(LIFTED));
        assert_eq!((seat.fence_key(), Seat::empty().that_may_fence(true).fence_key()), (None, None));
    }
}
