//! An application that does nothing but tick: a progress sensor at a rate, a level, and a hook that sets the level. For
//! demonstrations and tests of what becomes of an application that is stopped or killed, and of one that is repaired.

use backdoors_application_sensors::{Application, Hook, Sensor, SensorSpec, WithoutAgent};
use std::error::Error;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

const USAGE: &str = "usage: backdoors-ticker SOCKET NAME TICKS_PER_SECOND LIMIT_MS LEVEL [TICKS]
Ticks until killed, or TICKS times, and then says goodbye. Its hook `level` sets the level to 0 to 1000; 13 it refuses.";

/// There is no level to be set yet.
const TOO_EARLY: u32 = 1;
/// A level that nobody wants.
const UNLUCKY: u32 = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (socket, name, numbers) = match arguments.as_slice() {
        [socket, name, numbers @ ..] if matches!(numbers.len(), 3 | 4) => (socket, name, numbers),
        _ => return Err(USAGE.into()),
    };
    let numbers =
        numbers.iter().map(|number| number.parse()).collect::<Result<Vec<u64>, _>>().map_err(|_| USAGE)?;
    let (rate, limit, level) = (numbers[0].clamp(1, 1_000_000), numbers[1], numbers[2]);
    let to_be_set = Arc::new(OnceLock::<Sensor>::new());
    let sensor = Arc::clone(&to_be_set);
    let set_level = Hook::new("level", 0..=1000, move |word| match sensor.get() {
        None => Err(TOO_EARLY),
        Some(_) if word == 13 => Err(UNLUCKY),
        Some(sensor) => {
            sensor.set(word);
            Ok(())
        }
    });
    let sensors =
        [SensorSpec::progress("ticks", Duration::from_millis(limit)), SensorSpec::level("level", 1000)];
    let app =
        Application::attach_with_hooks(socket, name, &sensors, vec![set_level], WithoutAgent::default())?;
    let ticks = app.sensor("ticks");
    to_be_set.get_or_init(|| app.sensor("level")).set(level);
    writeln!(io::stdout(), "ticking")?;
    let period = Duration::from_secs(1) / u32::try_from(rate)?;
    let mut due = Instant::now();
    for _ in 0..numbers.get(3).copied().unwrap_or(u64::MAX) {
        ticks.add(1);
        due += period;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    app.detach();
    Ok(())
}
