//! Applications in frames: whole, or as differences of their sensors' values.

use super::varint::{Cursor, put, put_differences, put_text, take_differences};
use backdoors_sensor_box::application::{
    APPLICATION_MAGIC, APPLICATION_VERSION, HookCalls, MAX_APPLICATION_HOOKS, MAX_APPLICATION_SENSORS,
    NAME_BYTES, region_bytes,
};
use backdoors_sensor_box::layout::{COMMAND_SLOTS, NO_LIMIT};
use backdoors_sensor_box::{ApplicationSensor, ApplicationView};

/// Most applications of a target.
const MOST_APPLICATIONS: usize = 4 * COMMAND_SLOTS;

/// Words of a hook's record that tell of its calls.
const CALL_WORDS: usize = 6;

/// Whether `views` can be told as differences to `last`.
pub(super) fn same_shape(last: &[ApplicationView], views: &[ApplicationView]) -> bool {
    let same_sensor = |last: &ApplicationSensor, sensor: &ApplicationSensor| {
        (&last.name, last.class, last.unit, last.limit)
            == (&sensor.name, sensor.class, sensor.unit, sensor.limit)
    };
    let same = |last: &ApplicationView, view: &ApplicationView| {
        (&last.name, last.pid, last.generation, last.state, last.attached_at, last.died_at)
            == (&view.name, view.pid, view.generation, view.state, view.attached_at, view.died_at)
            && last.hooks == view.hooks
            && last.sensors.len() == view.sensors.len()
            && last.sensors.iter().zip(&view.sensors).all(|(last, sensor)| same_sensor(last, sensor))
    };
    last.len() == views.len() && last.iter().zip(views).all(|(last, view)| same(last, view))
}

/// Values alone, in order.
pub(super) fn put_values(payload: &mut Vec<u8>, last: &[ApplicationView], views: &[ApplicationView]) {
    put_differences(payload, values(last).zip(values(views)));
}

fn values(views: &[ApplicationView]) -> impl Iterator<Item = u64> {
    views.iter().flat_map(|view| &view.sensors).map(|sensor| sensor.value)
}

/// Makes `last` what `views` is, which has the same shape.
pub(super) fn copy_values(last: &mut [ApplicationView], views: &[ApplicationView]) {
    for (last, view) in last.iter_mut().zip(views) {
        for (last, sensor) in last.sensors.iter_mut().zip(&view.sensors) {
            last.value = sensor.value;
        }
    }
}

pub(super) fn take_values(views: &mut [ApplicationView], cursor: &mut Cursor<'_>) -> Option<()> {
    let sensors = views.iter_mut().flat_map(|view| &mut view.sensors);
    take_differences(cursor, sensors.map(|sensor| &mut sensor.value))
}

pub(super) fn put_whole(payload: &mut Vec<u8>, views: &[ApplicationView]) {
    put(payload, views.len() as u64);
    for view in views {
        put_text(payload, &view.name);
        for number in [
            u64::from(view.pid),
            view.generation,
            view.state as u64,
            view.attached_at,
            view.died_at.unwrap_or(0),
            view.sensors.len() as u64,
        ] {
            put(payload, number);
        }
        for sensor in &view.sensors {
            put_text(payload, &sensor.name);
            payload.push(sensor.class as u8 | sensor.unit.map_or(0, |unit| unit as u8) << 4);
            // No limit is the largest number, which wraps to 0.
            put(payload, sensor.limit.map_or(0, |limit| limit.wrapping_add(1)));
            put(payload, sensor.value);
        }
        put(payload, view.hooks.len() as u64);
        for hook in &view.hooks {
            put_text(payload, &hook.name);
            // Words that are all zero say that nothing is known of calls.
            let calls = hook.calls.as_ref().map_or([0; CALL_WORDS], HookCalls::words);
            for number in [hook.least, hook.most].into_iter().chain(calls) {
                put(payload, number);
            }
        }
    }
}

/// The opposite of [`put_whole`]. It goes by way of a region's bytes, so that what is no application in a target's
/// memory is none in a recording.
pub(super) fn take_whole(cursor: &mut Cursor<'_>) -> Option<Vec<ApplicationView>> {
    let count = cursor.small()? as usize;
    if count > MOST_APPLICATIONS {
        return None;
    }
    let mut views = Vec::new();
    for _ in 0..count {
        views.push(ApplicationView::decode(&take_region(cursor)?).ok()?);
    }
    cursor.is_empty().then_some(views)
}

fn take_region(cursor: &mut Cursor<'_>) -> Option<Vec<u8>> {
    let name = cursor.text()?;
    let (pid, generation, state) = (cursor.small()?, cursor.number()?, cursor.small()?);
    let (attached_at, died_at, count) = (cursor.number()?, cursor.number()?, cursor.small()?);
    if count as usize > MAX_APPLICATION_SENSORS {
        return None;
    }
    let mut region = Vec::with_capacity(region_bytes(count as usize, 0));
    region.extend_from_slice(&APPLICATION_MAGIC.to_le_bytes());
    region.extend_from_slice(&APPLICATION_VERSION.to_le_bytes());
    region.extend_from_slice(&(region_bytes(0, 0) as u32).to_le_bytes());
    region.extend_from_slice(&generation.to_le_bytes());
    put_field(&mut region, name)?;
    region.extend_from_slice(&pid.to_le_bytes());
    region.extend_from_slice(&state.to_le_bytes());
    region.extend_from_slice(&attached_at.to_le_bytes());
    region.extend_from_slice(&died_at.to_le_bytes());
    region.extend_from_slice(&count.to_le_bytes());
    region.extend_from_slice(&((region_bytes(1, 0) - region_bytes(0, 0)) as u32).to_le_bytes());
    let hooks_at = region.len();
    region.extend_from_slice(&0_u32.to_le_bytes());
    region.extend_from_slice(&((region_bytes(0, 1) - region_bytes(0, 0)) as u32).to_le_bytes());
    region.resize(region_bytes(0, 0), 0);
    for _ in 0..count {
        let (name, class_and_unit) = (cursor.text()?, cursor.byte()?);
        let (limit, value) = (cursor.number()?.checked_sub(1).unwrap_or(NO_LIMIT), cursor.number()?);
        put_field(&mut region, name)?;
        region.extend_from_slice(&[class_and_unit & 0xf, class_and_unit >> 4, 0, 0, 0, 0, 0, 0]);
        region.extend_from_slice(&limit.to_le_bytes());
        region.extend_from_slice(&value.to_le_bytes());
        region.extend_from_slice(&[0; 8]);
    }
    let hooks = cursor.small()?;
    if hooks as usize > MAX_APPLICATION_HOOKS {
        return None;
    }
    region.get_mut(hooks_at..hooks_at + 4)?.copy_from_slice(&hooks.to_le_bytes());
    for hook in 1..=hooks as usize {
        put_field(&mut region, cursor.text()?)?;
        for _ in 0..2 + CALL_WORDS {
            region.extend_from_slice(&cursor.number()?.to_le_bytes());
        }
        region.resize(region_bytes(count as usize, hook), 0);
    }
    Some(region)
}

fn put_field(region: &mut Vec<u8>, name: &str) -> Option<()> {
    let padding = NAME_BYTES.checked_sub(name.len())?;
    region.extend_from_slice(name.as_bytes());
    region.resize(region.len() + padding, 0);
    Some(())
}
