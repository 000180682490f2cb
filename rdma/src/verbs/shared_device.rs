//! One open device for all sessions of a process: a NIC has room for few contexts, and a monitor has many targets.

use crate::verbs::device::{Device, DeviceError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Devices that are open, by the names they were asked for; `None` is the first one.
static OPEN: Mutex<BTreeMap<Option<String>, Weak<Device>>> = Mutex::new(BTreeMap::new());

/// The device of this name, or the first one: the one that is open already, unless its port has changed since. It is
/// closed with the last that uses it.
///
/// # Errors
/// See [`DeviceError`].
pub(super) fn open(name: Option<&str>) -> Result<Arc<Device>, DeviceError> {
    let name = name.map(str::to_owned);
    // The map is whole between any two of its statements.
    let mut devices = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = devices.get(&name).and_then(Weak::upgrade)
        && device.is_current()
    {
        return Ok(device);
    }
    let device = Arc::new(Device::open(name.as_deref())?);
    devices.insert(name, Arc::downgrade(&device));
    Ok(device)
}
