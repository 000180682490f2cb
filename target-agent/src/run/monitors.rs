//! The monitors that the agent knows, and what it takes from those that it knows no longer.

use super::{Agent, RunError, lock};
use crate::config::{Config, ConfigError, May, MonitorConfig};
use crate::source::Source;
use backdoors_rdma::handshake::{AcceptError, Acceptor, Certificate, Identity, IdentityError};
use backdoors_rdma::owner::{MemoryOwner, OwnerError};
use backdoors_rdma::supervisor;
use backdoors_sensor_box::layout::COMMAND_SLOTS;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

/// Those of a configuration, with their certificates.
#[derive(Debug)]
pub(super) struct Known(Vec<(MonitorConfig, Vec<Certificate>)>);

/// Why the monitors of a configuration cannot be known. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum KnownError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A certificate cannot be read.
    #[error(
        "monitor {monitor:?}: {source}; correct `certificate`, or remove the monitor if it is to be cut off"
    )]
    Certificate {
        /// The monitor.
        monitor: String,
        /// What is wrong.
        source: IdentityError,
    },
    /// Two monitors are one.
    #[error("monitors {0:?} and {1:?} have the same certificate: one holder of a key would count as two")]
    Shared(String, String),
    /// The target's own identity cannot be used.
    #[error(transparent)]
    Own(#[from] IdentityError),
    /// Handshakes cannot be served.
    #[error(transparent)]
    Accept(#[from] AcceptError),
}

impl Known {
    pub(super) fn load(config: &Config) -> Result<Known, KnownError> {
        let mut known: Vec<(MonitorConfig, Vec<Certificate>)> = Vec::new();
        for monitor in &config.monitors {
            let load = |path: &PathBuf| {
                let failed = |source| KnownError::Certificate { monitor: monitor.name.clone(), source };
                Certificate::load(path).map_err(failed)
            };
            let (revoked, good): (Vec<_>, Vec<_>) = monitor
                .certificates
                .iter()
                .partition(|path| !path.exists() && Certificate::revoked(path).exists());
            for path in revoked {
                tracing::warn!(monitor = monitor.name, path = %path.display(), "a certificate is revoked");
            }
            let certificates = good.into_iter().map(load).collect::<Result<Vec<_>, _>>()?;
            let same = |(_, others): &&(MonitorConfig, Vec<Certificate>)| {
                others.iter().any(|other| certificates.contains(other))
            };
            if let Some((other, _)) = known.iter().find(same) {
                return Err(KnownError::Shared(other.name.clone(), monitor.name.clone()));
            }
            known.push((monitor.clone(), certificates));
        }
        Ok(Known(known))
    }

    /// Every certificate with the name of its holder.
    pub(super) fn by_certificate(&self) -> Vec<(String, Certificate)> {
        let named = |(monitor, certificates): &(MonitorConfig, Vec<Certificate>)| {
            let name = monitor.name.clone();
            certificates.clone().into_iter().map(move |certificate| (name.clone(), certificate))
        };
        self.0.iter().flat_map(named).collect()
    }

    /// The monitor of this name, if that is one of its certificates.
    pub(super) fn holder(&self, name: &str, certificate: &Certificate) -> Option<&MonitorConfig> {
        let known = |(monitor, certificates): &&(MonitorConfig, Vec<Certificate>)| {
            monitor.name == name && certificates.contains(certificate)
        };
        self.0.iter().find(known).map(|(monitor, _)| monitor)
    }

    pub(super) fn slots(&self) -> Vec<u32> {
        self.0.iter().map(|(monitor, _)| monitor.slot).collect()
    }

    /// Leaves the command slots to these monitors, as far as they have shaken hands, and takes them from all others.
    /// Returns the names of those who have one.
    pub(super) fn seat(&self, source: &mut Source) -> io::Result<Vec<String>> {
        let mut seated = Vec::new();
        for slot in 0..COMMAND_SLOTS as u32 {
            let monitor = self.0.iter().find(|(monitor, _)| monitor.slot == slot);
            let (mut numbers, mut may) = (Vec::new(), May::default());
            if let Some((monitor, certificates)) = monitor {
                numbers.extend(certificates.iter().map(|certificate| certificate.fingerprint().number()));
                may = monitor.may;
            }
            source.change_seat(slot, |seat| {
                let after = seat.under(&numbers, may);
                seated.extend(
                    monitor.filter(|_| after.key().is_some()).map(|(monitor, _)| monitor.name.clone()),
                );
                after
            })?;
        }
        Ok(seated)
    }
}

/// Ends the admission of everybody who has no command slot: their connections, and the keys of their regions.
pub(super) fn cut_off(owner: &mut dyn MemoryOwner, seated: &[String]) -> Result<(), OwnerError> {
    for monitor in owner.monitors()? {
        if !seated.contains(&monitor) {
            tracing::warn!(monitor, "cut off: it is not known, or must shake hands anew");
            owner.dismiss(&monitor)?;
        }
    }
    Ok(())
}

/// Takes the monitors of the configuration file over whenever this process is told to (SIGHUP), at once and for good; what else
/// changed in it takes effect at the next start. A file that cannot be used changes nothing.
pub(super) fn reload_when_told(
    path: PathBuf,
    acceptor: Arc<Acceptor>,
    agent: Arc<Mutex<Agent>>,
) -> Result<(), RunError> {
    let (mut told, sender) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGHUP, sender)?;
    thread::Builder::new().name("reload".into()).spawn(move || {
        while told.read_exact(&mut [0]).is_ok() {
            supervisor::reloading();
            let loaded = Config::load(&path).map_err(KnownError::from).and_then(|config| {
                let known = Known::load(&config)?;
                let identity = Identity::load(&config.identity, &config.name)?;
                acceptor.know(&identity, known.by_certificate())?;
                Ok((config, known))
            });
            match loaded {
                Ok((config, known)) => lock(&agent).know(config, known),
                Err(error) => tracing::error!(%error, "the monitors stay who they were"),
            }
            supervisor::reloaded();
        }
    })?;
    Ok(())
}

impl Agent {
    fn know(&mut self, config: Config, known: Known) {
        let before = std::mem::replace(&mut self.config.monitors, config.monitors.clone());
        if self.config != config {
            tracing::warn!("of a configuration only [[monitor]]s are taken over; the rest at the next start");
        }
        self.known = known;
        let gone = |name: &String| !config.monitors.iter().any(|monitor| monitor.name == *name);
        let gone: Vec<String> = before.into_iter().map(|monitor| monitor.name).filter(gone).collect();
        tracing::info!(monitors = config.monitors.len(), ?gone, "the configuration's monitors are known");
        if !self.stopped
            && let Err(error) = self.hand_over()
        {
            // Their keys are worth nothing already; the memory is tried again every second.
            tracing::error!(%error, "monitors that are not known may still read");
            self.owner = None;
        }
    }
}
