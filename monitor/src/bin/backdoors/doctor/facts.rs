//! What there is on this machine. Nothing of it is judged here.

mod agent;
mod clock;
mod kernel;
mod network;
mod rdma;

pub use agent::{Ability, Checked};
pub use clock::Clock;
pub use kernel::{Kernel, Options};
pub use network::Network;
pub use rdma::{Rdma, RdmaDevice, Soft};

use crate::programs::installed;
use rustix::process::{Resource, geteuid, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};
use std::fs;
use std::path::PathBuf;

/// What was found.
#[derive(Debug)]
pub struct Facts {
    /// Who asks.
    pub user: u32,
    /// What whoever asks may do.
    pub may: CapabilitySet,
    pub kernel: Kernel,
    pub rdma: Rdma,
    pub limits: Limits,
    pub clock: Clock,
    /// How many are at work; 0: not known.
    pub processors: usize,
    /// What kind of virtual machine it is, if it is one.
    pub guest: Option<String>,
    pub network: Network,
    /// `backdoors-nic`, if it is installed.
    pub nic: Option<PathBuf>,
    /// `backdoors-agent`, if it is installed, and what it says.
    pub agent: Option<(PathBuf, Checked)>,
}

/// What processes may have.
#[derive(Debug)]
pub struct Limits {
    /// Bytes that may be locked in memory; `None`: all.
    pub locked: Option<u64>,
    /// Files that may be open; `None`: any number.
    pub files: Option<u64>,
    /// The highest real-time priority; `None`: any.
    pub priority: Option<u64>,
    /// Of each second, how many microseconds real-time processes may run; -1: all of it.
    pub runtime_us: Option<i64>,
}

impl Facts {
    /// Looks around. Takes about as long as `backdoors-agent check`, a second or two; nothing is changed.
    pub fn gather() -> Facts {
        Facts {
            user: geteuid().as_raw(),
            may: capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective),
            kernel: Kernel::gather(),
            rdma: Rdma::gather(),
            limits: Limits {
                locked: getrlimit(Resource::Memlock).maximum,
                files: getrlimit(Resource::Nofile).maximum,
                priority: getrlimit(Resource::Rtprio).maximum,
                runtime_us: text("/proc/sys/kernel/sched_rt_runtime_us").and_then(|text| text.parse().ok()),
            },
            clock: Clock::gather(),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            guest: guest(),
            network: Network::gather(),
            nic: installed("backdoors-nic"),
            agent: installed("backdoors-agent").map(|path| {
                let checked = agent::check(&path);
                (path, checked)
            }),
        }
    }
}

/// The text of a file of the system's, without blanks around it.
fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn guest() -> Option<String> {
    let is_guest = text("/proc/cpuinfo")?
        .lines()
        .any(|line| line.starts_with("flags") && line.split_whitespace().any(|flag| flag == "hypervisor"));
    let name = || {
        let names =
            ["/sys/class/dmi/id/sys_vendor", "/sys/class/dmi/id/product_name", "/sys/hypervisor/type"];
        let names: Vec<String> = names.into_iter().filter_map(text).filter(|name| !name.is_empty()).collect();
        if names.is_empty() { "of an unnamed kind".to_owned() } else { names.join(" ") }
    };
    is_guest.then(name)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A machine of which nothing is known and which has nothing.
    impl Default for Facts {
        fn default() -> Facts {
            Facts {
                user: 1000,
                may: CapabilitySet::empty(),
                kernel: Kernel::default(),
                rdma: Rdma::default(),
                limits: Limits {
                    locked: Some(65536),
                    files: Some(1024),
                    priority: Some(0),
                    runtime_us: Some(0),
                },
                clock: Clock::default(),
                processors: 1,
                guest: None,
                network: Network::default(),
                nic: None,
                agent: None,
            }
        }
    }

    /// A machine that has everything.
    pub fn good_machine() -> Facts {
        let options = super::super::kernel::OPTIONS.iter().map(|option| format!("{}=y\n", option.name));
        Facts {
            user: 0,
            may: CapabilitySet::all(),
            kernel: Kernel {
                release: "6.13.0-1-amd64".to_owned(),
                types: true,
                options: Some(Options::parse(&options.collect::<String>())),
                lockdown: None,
                control_groups: Some("/sys/fs/cgroup".to_owned()),
                stalls: true,
            },
            rdma: Rdma {
                devices: vec![RdmaDevice {
                    name: "mlx5_0".to_owned(),
                    soft: false,
                    ports: vec!["port 1 ACTIVE, Ethernet".to_owned()],
                    usable: Ok(()),
                }],
                problem: None,
                soft: Soft::Loadable,
            },
            limits: Limits { locked: None, files: Some(65536), priority: None, runtime_us: Some(950_000) },
            clock: Clock { source: Some("tsc".to_owned()), synchronised: Some(true) },
            processors: 8,
            guest: None,
            network: Network { repair: Ok(()), counts: Ok(()), settings_writable: true, loose: Some(true) },
            nic: Some("/usr/bin/backdoors-nic".into()),
            agent: Some(("/usr/bin/backdoors-agent".into(), Ok(Vec::new()))),
        }
    }

    #[test]
    fn this_machine_is_looked_at() {
        let facts = Facts::gather();
        assert!(facts.processors > 0);
        assert!(facts.kernel.release.contains('.'), "{facts:?}");
        assert_eq!(facts.user, geteuid().as_raw());
    }
}
