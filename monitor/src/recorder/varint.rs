//! Numbers of one to ten bytes, small ones short (LEB128), and a cursor over bytes that cannot be trusted.

/// Appends `number`.
pub fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number as u8) | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Appends a string, its length first.
pub fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

/// Makes differences of either sign small numbers: 0, -1, 1, -2, … become 0, 1, 2, 3, …
pub fn zigzag(difference: i64) -> u64 {
    ((difference << 1) ^ (difference >> 63)) as u64
}

/// The opposite of [`zigzag`].
pub fn unzigzag(number: u64) -> i64 {
    ((number >> 1) as i64) ^ -((number & 1) as i64)
}

/// Appends what turns each first value into the second; of values that stand still the number of those behind them
/// that do too.
pub fn put_differences(bytes: &mut Vec<u8>, values: impl Iterator<Item = (u64, u64)>) {
    let mut still: u64 = 0;
    for (last, now) in values {
        if last == now {
            still += 1;
            continue;
        }
        put_still(bytes, &mut still);
        put(bytes, difference(last, now));
    }
    put_still(bytes, &mut still);
}

fn put_still(bytes: &mut Vec<u8>, still: &mut u64) {
    if let Some(behind) = still.checked_sub(1) {
        put(bytes, 0);
        put(bytes, behind);
    }
    *still = 0;
}

/// What turns `last` into `now`: small if they are near each other.
pub fn difference(last: u64, now: u64) -> u64 {
    zigzag(now.wrapping_sub(last).cast_signed())
}

/// Adds the differences that [`put_differences`] made of as many values. `None` if there are not exactly so many.
pub fn take_differences<'a>(
    cursor: &mut Cursor<'_>,
    values: impl Iterator<Item = &'a mut u64>,
) -> Option<()> {
    let mut still = 0;
    for value in values {
        if still > 0 {
            still -= 1;
            continue;
        }
        let difference = cursor.number()?;
        if difference == 0 {
            still = cursor.number()?;
        }
        *value = value.wrapping_add_signed(unzigzag(difference));
    }
    (still == 0 && cursor.is_empty()).then_some(())
}

/// Takes values off the front of bytes. Everything is `None` once the bytes are used up or make no sense.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    /// The next byte.
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// The next number.
    pub fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// The next number, if it fits.
    pub fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    /// The next string.
    pub fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_and_differences_come_back(number: u64, difference: i64) {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            put(&mut bytes, zigzag(difference));
            let mut cursor = Cursor(&bytes);
            prop_assert_eq!(cursor.number(), Some(number));
            prop_assert_eq!(cursor.number().map(unzigzag), Some(difference));
            prop_assert!(cursor.is_empty());
        }

        #[test]
        fn any_bytes_are_numbers_or_nothing(bytes: Vec<u8>) {
            let mut cursor = Cursor(&bytes);
            while cursor.number().is_some() {}
            let mut cursor = Cursor(&bytes);
            while cursor.text().is_some() {}
        }
    }
}
