//! The keys `service_addresses` and `service_interfaces`.

use backdoors_sensor_box::fence::layout::MAX_FENCED;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::net::IpAddr;

pub(super) fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpAddr>, D::Error> {
    let mut addresses = Vec::new();
    for text in Vec::<String>::deserialize(deserializer)? {
        let address = address(&text).map_err(D::Error::custom)?;
        if addresses.contains(&address) {
            return Err(D::Error::custom(format!("address {address} twice: name it once")));
        }
        addresses.push(address);
    }
    if addresses.len() > MAX_FENCED {
        let count = addresses.len();
        return Err(D::Error::custom(format!("{count} addresses, but at most {MAX_FENCED} can be fenced")));
    }
    Ok(addresses)
}

fn address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| {
        format!("{text:?} is no address: write one as in 10.0.0.5 or fd00::5, without a prefix")
    })?;
    let address = address.to_canonical();
    if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
        return Err(format!("{address} is an address that no network sees: there is nothing to fence"));
    }
    Ok(address)
}

pub(super) fn interfaces<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let interfaces = Vec::<String>::deserialize(deserializer)?;
    if interfaces.is_empty() {
        return Err(D::Error::custom("no interface at all: name one, or leave the key out for all of them"));
    }
    Ok(interfaces)
}
