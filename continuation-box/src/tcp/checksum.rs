//! The checksum of IP, TCP and ICMPv6.

use std::net::IpAddr;

/// Of a packet's payload with its pseudo header; the field of the checksum itself must be 0 in `payload`.
pub(super) fn with_pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> u16 {
    let mut bytes = octets(source);
    bytes.extend(octets(destination));
    bytes.extend((payload.len() as u32).to_be_bytes());
    bytes.extend(u32::from(protocol).to_be_bytes());
    bytes.extend(payload);
    of(&bytes)
}

/// Of bytes.
pub(super) fn of(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The bytes of an address as packets carry them.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_1071() {
        assert_eq!(of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(of(&[0x00, 0x01, 0xf2]), !0xf201);
    }

    #[test]
    fn bytes_that_carry_their_checksum_sum_up_to_nothing() {
        let (source, destination) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let mut payload = vec![1, 2, 3, 4, 0, 0, 5, 6];
        let sum = with_pseudo_header(source, destination, 6, &payload);
        payload[4..6].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(with_pseudo_header(source, destination, 6, &payload), 0);
    }
}
