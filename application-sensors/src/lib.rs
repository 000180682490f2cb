//! Sensors of an application's own, which monitors read over the network even when the application, or all of its
//! machine's user space, stands still, and hooks, by which they have it do something.
//!
//! An application names its sensors once, when it attaches to the agent of its machine, and from then on stores
//! values: one atomic store each, into memory that it shares with the machine's NIC.
//!
//! ```no_run
//! use backdoors_application_sensors::{Application, SensorSpec};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), backdoors_application_sensors::AttachError> {
//! let app = Application::attach("/run/backdoors/applications.sock", "web", &[
//!     // Must change at least every 500 ms, or the application is taken to be stuck.
//!     SensorSpec::progress("requests", Duration::from_millis(500)),
//!     // Must not exceed 1000.
//!     SensorSpec::level("queue", 1000),
//! ])?;
//! let (requests, queue) = (app.sensor("requests"), app.sensor("queue"));
//! requests.add(1);
//! queue.set(17);
//! // Without this an end is taken for a failure.
//! app.detach();
//! # Ok(())
//! # }
//! ```
//!
//! A progress sensor says that the application gets on, so it must be changed where the work is done, also when there
//! is no work: by the loop that waits for it, never by a thread that does nothing else.
//!
//! A hook is a name, the words it takes, and what is done with a word:
//!
//! ```no_run
//! use backdoors_application_sensors::{Application, Hook, SensorSpec, WithoutAgent};
//!
//! # fn main() -> Result<(), backdoors_application_sensors::AttachError> {
//! // Called with the part of the requests to turn away, in percent; an error is a code of the application's own.
//! let shed_load = Hook::new("shed-load", 0..=100, |percent| if percent < 100 { Ok(()) } else { Err(1) });
//! let sensors = [SensorSpec::level("queue", 1000)];
//! let socket = "/run/backdoors/applications.sock";
//! let app = Application::attach_with_hooks(socket, "web", &sensors, vec![shed_load], WithoutAgent::Warn)?;
//! # app.detach();
//! # Ok(())
//! # }
//! ```
//!
//! Hooks run one after the other, on a thread that the library has for them. One that does not return holds up the
//! others, and nothing else. One that is still waiting when its caller has given up is not begun.
//!
//! What happens when
//! - there is no agent: the sensors work, and nobody sees them until one comes; [`WithoutAgent`] says what is said;
//! - the agent is restarted: the library attaches anew by itself, from a thread of its own. A hook that runs meanwhile
//!   goes on, and nobody hears of its end;
//! - the application ends without [`Application::detach`], however it ends: its sensors are shown as it left them,
//!   frozen, until an application of its name attaches;
//! - it forks: parent and child set the same sensors, and it lives as long as one of them. Only the process that
//!   attached can attach anew or detach, so attach after daemonizing.
//!
//! Programs in C and what can call it use `include/backdoors.h`.

mod agent;
mod application;
mod c;
mod c_header;
mod hooks;
mod shared;
mod upkeep;

pub use application::{Application, AttachError, Sensor, WithoutAgent};
pub use backdoors_sensor_box::application::{SensorSpec, SpecError};
pub use backdoors_sensor_box::{Class, Unit};
pub use c_header::c_header;
pub use hooks::Hook;
