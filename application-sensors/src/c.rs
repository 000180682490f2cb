//! The same for C: what `include/backdoors.h` declares.
//!
//! Every pointer that comes in is C's word. Those to handles are good as long as the header says; NULL is an error or
//! does nothing, never more.
#![allow(unsafe_code, reason = "C passes raw pointers, and names of functions must not be mangled for it")]

use crate::{Application, Class, Hook, Sensor, SensorSpec, SpecError, Unit, WithoutAgent};
use backdoors_sensor_box::application::{MAX_APPLICATION_HOOKS, MAX_APPLICATION_SENSORS};
use std::cell::RefCell;
use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::ptr::{null, null_mut};

/// `struct backdoors_sensor_spec`.
#[repr(C)]
#[derive(Clone, Copy)]
struct CSensorSpec {
    name: *const c_char,
    sensor_class: u32,
    unit: u32,
    limit: u64,
}

/// `struct backdoors_hook_spec`.
#[repr(C)]
#[derive(Clone, Copy)]
struct CHookSpec {
    name: *const c_char,
    least: u64,
    most: u64,
    callback: Option<unsafe extern "C" fn(*mut c_void, u64) -> u32>,
    data: *mut c_void,
}

/// What a hook's callback is given, as C left it.
struct Data(*mut c_void);

// SAFETY: it is never looked into here, only given to the callback, on one thread; the header asks for data that such
// a thread may use.
unsafe impl Send for Data {}

/// `struct backdoors_application`.
struct Handle {
    application: Application,
    /// By name; they do not move as long as the handle lives.
    sensors: Box<[(String, Sensor)]>,
}

thread_local! {
    static ERROR: RefCell<CString> = RefCell::default();
}

fn fail<T>(with: T, error: impl ToString) -> T {
    // Names in it may hold anything but zeros, as they came as C strings.
    let text = CString::new(error.to_string().replace('\0', " ")).unwrap_or_default();
    ERROR.with(|last| *last.borrow_mut() = text);
    with
}

/// The bytes of a C string.
///
/// # Safety
/// `string` is NULL or points to a C string that stays as it is for `'a`.
unsafe fn bytes<'a>(string: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: not NULL, hence a C string, as the caller promises.
    (!string.is_null()).then(|| unsafe { CStr::from_ptr(string) }.to_bytes())
}

/// A name, for the rules to judge: what is no UTF-8 becomes something they refuse.
///
/// # Safety
/// As [`bytes`].
unsafe fn name(string: *const c_char) -> Option<String> {
    // SAFETY: the caller promises the same.
    unsafe { bytes(string) }.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_attach(
    socket: *const c_char,
    application: *const c_char,
    sensors: *const CSensorSpec,
    count: usize,
    without_agent: u32,
) -> *mut Handle {
    // SAFETY: the header asks for the same of both, and there are no hooks.
    unsafe { backdoors_attach_with_hooks(socket, application, sensors, count, null(), 0, without_agent) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_attach_with_hooks(
    socket: *const c_char,
    application: *const c_char,
    sensors: *const CSensorSpec,
    count: usize,
    hooks: *const CHookSpec,
    hook_count: usize,
    without_agent: u32,
) -> *mut Handle {
    // SAFETY: the header asks for C strings, which the caller leaves alone while this runs.
    let (Some(socket), Some(application)) = (unsafe { bytes(socket) }, unsafe { name(application) }) else {
        return fail(null_mut(), "neither socket nor name may be NULL");
    };
    if count > MAX_APPLICATION_SENSORS {
        return fail(null_mut(), SpecError::TooManySensors(count));
    }
    if sensors.is_null() && count > 0 {
        return fail(null_mut(), "sensors may not be NULL");
    }
    if hook_count > MAX_APPLICATION_HOOKS {
        return fail(null_mut(), SpecError::TooManyHooks { sensors: count, hooks: hook_count });
    }
    if hooks.is_null() && hook_count > 0 {
        return fail(null_mut(), "hooks may not be NULL");
    }
    let all = [WithoutAgent::Warn, WithoutAgent::Ignore, WithoutAgent::Refuse];
    let Some(without_agent) = all.into_iter().find(|known| *known as u32 == without_agent) else {
        return fail(
            null_mut(),
            "without_agent is none of BACKDOORS_WARN, BACKDOORS_IGNORE, BACKDOORS_REFUSE",
        );
    };
    let mut named = Vec::with_capacity(count);
    for index in 0..count {
        // SAFETY: index < count, and the header asks for an array of that many.
        let spec = unsafe { sensors.add(index) };
        // SAFETY: an element of that array; the type has no value that is not allowed.
        let spec = unsafe { spec.read() };
        // SAFETY: as for the name of the application.
        let Some(name) = (unsafe { name(spec.name) }) else {
            return fail(null_mut(), "no name of a sensor may be NULL");
        };
        named.push((name, spec));
    }
    let mut callable = Vec::with_capacity(hook_count);
    for index in 0..hook_count {
        // SAFETY: index < hook_count, and the header asks for an array of that many.
        let spec = unsafe { hooks.add(index) };
        // SAFETY: an element of that array; the type has no value that is not allowed.
        let spec = unsafe { spec.read() };
        // SAFETY: as for the name of the application.
        let (Some(name), Some(callback)) = (unsafe { name(spec.name) }, spec.callback) else {
            return fail(null_mut(), "neither name nor callback of a hook may be NULL");
        };
        let data = Data(spec.data);
        callable.push(Hook::ranging(&name, spec.least, spec.most, move |word| {
            let Data(data) = &data;
            // SAFETY: the header asks for a function of this type that is good until the application is detached, for
            // data that it may be called with on this thread, and that nothing be thrown out of it.
            match unsafe { callback(*data, word) } {
                0 => Ok(()),
                code => Err(code),
            }
        }));
    }
    let specs: Result<Vec<SensorSpec<'_>>, String> =
        named.iter().map(|(name, spec)| known(name, spec)).collect();
    let attached = specs.and_then(|specs| {
        let socket = OsStr::from_bytes(socket);
        Application::attach_with_hooks(socket, &application, &specs, callable, without_agent)
            .map_err(|error| error.to_string())
    });
    match attached {
        Err(error) => fail(null_mut(), error),
        Ok(application) => {
            let sensors = named.into_iter().filter_map(|(name, _)| {
                let sensor = application.get(&name)?;
                Some((name, sensor))
            });
            Box::into_raw(Box::new(Handle { sensors: sensors.collect(), application }))
        }
    }
}

fn known<'a>(name: &'a str, spec: &CSensorSpec) -> Result<SensorSpec<'a>, String> {
    let class = [Class::Progress, Class::Level, Class::Floor, Class::Pressure];
    let class = class.into_iter().find(|class| *class as u32 == spec.sensor_class);
    let units = [Unit::Count, Unit::PerSecond, Unit::Bytes, Unit::Nanoseconds];
    let unit = units.into_iter().find(|unit| *unit as u32 == spec.unit.max(Unit::Count as u32));
    let class =
        class.ok_or_else(|| format!("sensor {name:?} has the unknown class {}", spec.sensor_class))?;
    let unit = unit.ok_or_else(|| format!("sensor {name:?} has the unknown unit {}", spec.unit))?;
    Ok(SensorSpec { name, class, unit, limit: spec.limit })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_sensor(application: *mut Handle, sensor: *const c_char) -> *const Sensor {
    // SAFETY: NULL, or what `backdoors_attach` gave and nobody detached yet; it is only read.
    let Some(handle) = (unsafe { application.as_ref() }) else { return null() };
    // SAFETY: the header asks for a C string, which the caller leaves alone while this runs.
    let Some(sensor) = (unsafe { name(sensor) }) else {
        return fail(null(), "no name of a sensor may be NULL");
    };
    match handle.sensors.iter().find(|(name, _)| *name == sensor) {
        Some((_, sensor)) => sensor,
        None => fail(null(), format!("the application has no sensor {sensor:?}")),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_add(sensor: *const Sensor, value: u64) {
    // SAFETY: NULL, or what `backdoors_sensor` gave, whose application nobody detached yet; it is only read.
    if let Some(sensor) = unsafe { sensor.as_ref() } {
        sensor.add(value);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_set(sensor: *const Sensor, value: u64) {
    // SAFETY: as for `backdoors_add`.
    if let Some(sensor) = unsafe { sensor.as_ref() } {
        sensor.set(value);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_detach(application: *mut Handle) -> c_int {
    if application.is_null() {
        return 0;
    }
    // SAFETY: what `backdoors_attach` made of a box; the header forbids to use it or its sensors after this.
    let handle = unsafe { Box::from_raw(application) };
    let Handle { application, sensors: _ } = *handle;
    if application.detach() { 0 } else { fail(-1, "no agent took note; the next one will") }
}

#[unsafe(no_mangle)]
extern "C" fn backdoors_error() -> *const c_char {
    ERROR.with(|last| last.borrow().as_ptr())
}
