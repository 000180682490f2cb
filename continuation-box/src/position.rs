//! Positions in the two byte streams of a connection. A position counts bytes from the stream's first one and never wraps;
//! TCP's sequence numbers (RFC 9293, section 3.4) are its low 32 bits, shifted by a number of the connection's own.

/// A stream of bytes, as TCP numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbering {
    /// Sequence number of the first byte: that of the SYN, plus one.
    pub first: u32,
}

impl Numbering {
    /// The sequence number of the byte at this position.
    #[must_use]
    pub fn sequence(self, position: u64) -> u32 {
        self.first.wrapping_add(position as u32)
    }

    /// The position of the byte with this sequence number that lies nearest to `near`; `None` if that is before the
    /// stream's first byte.
    #[must_use]
    pub fn position(self, sequence: u32, near: u64) -> Option<u64> {
        let distance = sequence.wrapping_sub(self.sequence(near)).cast_signed();
        near.checked_add_signed(i64::from(distance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_lies_before_the_first_byte_has_no_position() {
        let stream = Numbering { first: 1000 };
        assert_eq!(stream.position(999, 0), None);
        assert_eq!(stream.position(1000, 5), Some(0));
        // A whole turn later it has.
        assert_eq!(stream.position(999, 1 << 32), Some(u64::from(u32::MAX)));
    }

    proptest! {
        #[test]
        fn a_position_is_found_again_from_anywhere_within_two_gibibytes(
            first: u32,
            position in 0_u64..1 << 40,
            away in -(1_i64 << 31) + 1..1 << 31,
        ) {
            let stream = Numbering { first };
            let Some(near) = position.checked_add_signed(away) else { return Ok(()) };
            prop_assert_eq!(stream.position(stream.sequence(position), near), Some(position));
        }
    }
}
