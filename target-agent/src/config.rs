//! The agent's configuration file.

mod agreement;
mod certificates;
mod fence;
mod may;
mod schema;
mod services;

pub use may::May;
pub use schema::schema;

use crate::errand::{VariableConfig, VariableError};
use crate::executor::Agreement;
use crate::kernel::{Scope, Service};
use crate::limits::{Limits, UnknownSensor};
use agreement::LONGEST_WINDOW;
use backdoors_sensor_box::layout::{COMMAND_SLOTS, MAX_PROCESSES};
use backdoors_sensor_box::variables::Variable;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Who fills the sensor box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The kernel half if the kernel takes it, else the user half.
    #[default]
    Auto,
    /// The kernel half; without it the agent does not start.
    Kernel,
    /// The user half. Then a frozen agent means a frozen box.
    Procfs,
}

/// Who kills where there is a kernel half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kills {
    /// The kernel half where the kernel lets it, else the helper.
    #[default]
    Auto,
    /// The helper, also where the kernel half could.
    Helper,
}

/// A monitor that may be admitted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MonitorConfig {
    /// Its name here.
    pub name: String,
    /// PEM file of its certificate; several while its key is rolled over.
    #[serde(rename = "certificate", deserialize_with = "certificates::deserialize")]
    #[schemars(with = "certificates::OneOrMore")]
    pub certificates: Vec<PathBuf>,
    /// Its command slot, 0 to 15; nobody else's.
    pub slot: u32,
    /// The commands that are obeyed if they come from it; all by default.
    #[serde(default)]
    #[schemars(schema_with = "schema::may")]
    pub may: May,
}

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The target's name, and the name of its key.
    pub name: String,
    /// Where handshakes are served.
    pub listen: SocketAddr,
    /// Folder with `NAME.crt` and `NAME.key`.
    pub identity: PathBuf,
    /// Socket of the owner of registered memory, `backdoors-nic`.
    pub owner: PathBuf,
    /// Socket to be made for applications that have sensors of their own; none by default. Who may use it is told in
    /// [`crate::applications::listen`].
    #[serde(default)]
    pub applications: Option<PathBuf>,
    /// Socket to be made for servers of services, whose sessions are to outlive them; none by default. Who may use it is told in
    /// [`crate::services::listen`].
    #[serde(default)]
    pub service_socket: Option<PathBuf>,
    /// Folder of a bpf file system where the kernel half is kept; no other agent's.
    #[serde(default = "default_pins")]
    pub pins: PathBuf,
    /// Which processes are seen and reached.
    #[serde(default)]
    pub scope: Scope,
    /// Who fills the sensor box.
    #[serde(default)]
    pub mode: Mode,
    /// Who kills.
    #[serde(default)]
    pub kills: Kills,
    /// Entries of the process table. More cost 128 bytes each, here and on the wire of whoever reads the table.
    #[serde(default = "default_process_table")]
    pub process_table: u32,
    /// Users whose processes no command reaches. Root always is one.
    #[serde(default)]
    pub spared_users: Vec<u32>,
    /// Limits by sensor name, each in its sensor's unit.
    #[serde(default)]
    limits: BTreeMap<String, u64>,
    /// Which commands are obeyed only if several monitors want them; none by default.
    #[serde(default, deserialize_with = "agreement::deserialize")]
    #[schemars(with = "agreement::Section")]
    pub agreement: Agreement,
    /// The services whose live connections are captured; none by default.
    #[serde(default, rename = "service", deserialize_with = "services::deserialize")]
    #[schemars(with = "Vec<services::Section>")]
    pub services: Vec<Service>,
    /// The control group (version 2) whose processes' services these are; the whole machine's by default.
    #[serde(default)]
    pub service_cgroup: Option<PathBuf>,
    /// The addresses that a monitor may make this machine silent on; none by default.
    #[serde(default, deserialize_with = "fence::addresses")]
    pub service_addresses: Vec<IpAddr>,
    /// The interfaces at which that is seen to; all but loopback devices by default.
    #[serde(default, deserialize_with = "fence::interfaces")]
    pub service_interfaces: Vec<String>,
    /// The variables that monitors may set, if they may give that command.
    #[serde(default, rename = "variable")]
    variables: Vec<VariableConfig>,
    /// The monitors that may be admitted.
    #[serde(default, rename = "monitor")]
    pub monitors: Vec<MonitorConfig>,
}

fn default_pins() -> PathBuf {
    "/sys/fs/bpf/backdoors".into()
}

fn default_process_table() -> u32 {
    8192
}

/// Why a configuration cannot be used. Nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is not TOML, or a key is missing, unknown or of the wrong type.
    #[error("{path}: {source}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        source: Box<toml::de::Error>,
    },
    /// Two monitors share a slot or a name.
    #[error("two monitors have {0}: give each its own")]
    Shared(String),
    /// A slot that does not exist.
    #[error("monitor {name:?} has slot {slot}, but slots are 0 to {}", COMMAND_SLOTS - 1)]
    Slot {
        /// The monitor.
        name: String,
        /// The slot.
        slot: u32,
    },
    /// A process table too small or too large.
    #[error("process_table is {0}, but must be 16 to {MAX_PROCESSES}")]
    ProcessTable(u32),
    /// More spared users than there is room for.
    #[error("{0} spared users, but at most {most} can be", most = crate::kernel::settings::MAX_SPARED)]
    SparedUsers(usize),
    /// More monitors must agree than there are, or nobody.
    #[error(
        "[agreement] needed is {needed}, but must be 1 to the number of [[monitor]]s, which is {monitors}"
    )]
    Needed {
        /// How many must agree.
        needed: u32,
        /// How many there are.
        monitors: usize,
    },
    /// A window in which nobody could agree, or in which what is agreed on is old.
    #[error("[agreement] window is {0:?}, but must be 1ms to {LONGEST_WINDOW:?}")]
    Window(Duration),
    /// More memory for boxes than a machine should give.
    #[error(
        "the boxes of all services' sessions take {mebibytes} MiB, but at most {} MiB can be: take fewer sessions, smaller snapshots or \
         smaller output_rings",
        services::MOST_MEMORY >> 20
    )]
    Boxes {
        /// What they take.
        mebibytes: u64,
    },
    /// Interfaces at which nothing is to be fenced.
    #[error("service_interfaces without service_addresses: name these, too, or neither")]
    NothingToFence,
    /// A limit for a sensor that does not exist.
    #[error(transparent)]
    Limit(#[from] UnknownSensor),
    /// A variable that cannot be offered.
    #[error(transparent)]
    Variable(#[from] VariableError),
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.into(), source })?;
        let config: Config = toml::from_str(&text)
            .map_err(|source| ConfigError::Syntax { path: path.into(), source: Box::new(source) })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let (mut names, mut slots) = (BTreeSet::new(), BTreeSet::new());
        for monitor in &self.monitors {
            if monitor.slot as usize >= COMMAND_SLOTS {
                return Err(ConfigError::Slot { name: monitor.name.clone(), slot: monitor.slot });
            }
            if !names.insert(&monitor.name) {
                return Err(ConfigError::Shared(format!("the name {:?}", monitor.name)));
            }
            if !slots.insert(monitor.slot) {
                return Err(ConfigError::Shared(format!("slot {}", monitor.slot)));
            }
        }
        if !(16..=MAX_PROCESSES as u32).contains(&self.process_table) {
            return Err(ConfigError::ProcessTable(self.process_table));
        }
        if self.spared_users.len() > crate::kernel::settings::MAX_SPARED {
            return Err(ConfigError::SparedUsers(self.spared_users.len()));
        }
        let Agreement { needed, window, .. } = self.agreement;
        if needed != 1 && !(1..=self.monitors.len()).contains(&(needed as usize)) {
            return Err(ConfigError::Needed { needed, monitors: self.monitors.len() });
        }
        if window < Duration::from_millis(1) || window > LONGEST_WINDOW {
            return Err(ConfigError::Window(window));
        }
        let bytes = self.services.iter().map(|service| service.boxes.shape.region_bytes() as u64);
        let boxes: u64 = bytes.sum();
        if self.service_socket.is_some() && boxes > services::MOST_MEMORY {
            return Err(ConfigError::Boxes { mebibytes: boxes >> 20 });
        }
        if self.service_addresses.is_empty() && !self.service_interfaces.is_empty() {
            return Err(ConfigError::NothingToFence);
        }
        self.limits().map(drop)?;
        self.variables().map(drop)?;
        Ok(())
    }

    /// The variables that are offered, without their values.
    ///
    /// # Errors
    /// [`VariableError`], which [`Config::load`] has ruled out.
    pub fn variables(&self) -> Result<Vec<Variable>, VariableError> {
        VariableConfig::check(&self.variables)
    }

    /// The limits of sensors.
    ///
    /// # Errors
    /// [`UnknownSensor`], which [`Config::load`] has ruled out.
    pub fn limits(&self) -> Result<Limits, UnknownSensor> {
        Limits::new(&self.limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::Boxes;
    use backdoors_continuation_box::snapshot::Shape;
    use backdoors_sensor_box::{Opcode, Opcodes};

    const LEAST: &str = "name = 'a'\nlisten = '127.0.0.1:1'\nidentity = '/i'\nowner = '/o'\n";

    fn checked(more: &str) -> Result<Config, String> {
        let config: Config = toml::from_str(&format!("{LEAST}{more}")).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn the_least_configuration_watches_the_machine_and_chooses_by_itself() {
        let config = checked("").unwrap();
        assert_eq!((config.scope, config.mode, config.kills), (Scope::Machine, Mode::Auto, Kills::Auto));
    }

    #[test]
    fn monitors_share_neither_slot_nor_name() {
        let two = |first: &str, second: &str| {
            checked(&format!(
                "[[monitor]]\ncertificate = '/c'\n{first}\n[[monitor]]\ncertificate = '/c'\n{second}\n"
            ))
        };
        assert!(two("name = 'x'\nslot = 0", "name = 'y'\nslot = 1").is_ok());
        assert!(two("name = 'x'\nslot = 0", "name = 'y'\nslot = 0").unwrap_err().contains("slot 0"));
        assert!(two("name = 'x'\nslot = 0", "name = 'x'\nslot = 1").unwrap_err().contains("name"));
        assert!(two("name = 'x'\nslot = 0", "name = 'y'\nslot = 16").unwrap_err().contains("0 to 15"));
    }

    #[test]
    fn a_monitor_may_do_everything_unless_it_is_told_what() {
        let may = |line: &str| {
            let text = format!("[[monitor]]\ncertificate = '/c'\nname = 'x'\nslot = 0\n{line}\n");
            checked(&text).map(|config| config.monitors[0].may.commands)
        };
        let may_fence = |line: &str| {
            let text = format!("[[monitor]]\ncertificate = '/c'\nname = 'x'\nslot = 0\n{line}\n");
            checked(&text).map(|config| config.monitors[0].may.fence)
        };
        let of = |opcodes: &[Opcode]| Ok(opcodes.iter().copied().collect::<Opcodes>());
        let all: Vec<Opcode> = Opcode::ALL.iter().map(|(opcode, _)| *opcode).skip(1).collect();
        assert_eq!(may(""), of(&all));
        assert_eq!(may("may = []"), of(&[]));
        assert_eq!(may("may = ['kill-user']"), of(&[Opcode::KillUser]));
        let wrong = may("may = ['kill-usr']").unwrap_err();
        assert!(wrong.contains("line 9") && wrong.contains("kill-process, kill-user, kill-tree"), "{wrong}");
        assert!(may("may = ['nothing']").is_err());
        assert_eq!(may("may = ['fence', 'kill-user']"), of(&[Opcode::KillUser]));
        assert_eq!((may_fence(""), may_fence("may = ['fence']")), (Ok(true), Ok(true)));
        assert_eq!((may_fence("may = []"), may_fence("may = ['kill-user']")), (Ok(false), Ok(false)));
    }

    #[test]
    fn no_more_monitors_must_agree_than_there_are() {
        let two = "[[monitor]]\ncertificate = '/c'\nname = 'x'\nslot = 0\n\
                   [[monitor]]\ncertificate = '/d'\nname = 'y'\nslot = 1\n";
        let with =
            |lines: &str| checked(&format!("[agreement]\n{lines}\n{two}")).map(|config| config.agreement);
        let agreement = with("needed = 2\nwindow = '500ms'\ncommands = ['kill-user']").unwrap();
        let commands = Opcodes::from_iter([Opcode::KillUser]);
        assert_eq!(agreement, Agreement { needed: 2, window: Duration::from_millis(500), commands });
        assert!(agreement.is_needed() && with("needed = 2").unwrap().is_needed());
        assert!(!checked(two).unwrap().agreement.is_needed() && !with("needed = 1").unwrap().is_needed());
        for wrong in ["needed = 3", "needed = 0"] {
            assert!(with(wrong).unwrap_err().contains("which is 2"), "{wrong}");
        }
        for wrong in ["0s", "61s", "2", "soon"] {
            assert!(with(&format!("needed = 2\nwindow = '{wrong}'")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_monitor_has_one_certificate_or_more() {
        let with = |certificate: &str| {
            checked(&format!("[[monitor]]\nname = 'x'\nslot = 0\ncertificate = {certificate}\n"))
                .map(|config| config.monitors[0].certificates.clone())
        };
        assert_eq!(with("'/a'").unwrap(), [PathBuf::from("/a")]);
        assert_eq!(with("['/a', '/b']").unwrap(), [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert!(with("[]").is_err());
    }

    #[test]
    fn a_service_has_ports_of_its_own_and_rings_that_can_be() {
        let with = |lines: &str| checked(lines).map(|config| config.services);
        let least = with("[[service]]\nname = 'web'\nports = [80, 443]\n").unwrap();
        let shape = Shape { capacity: 256, snapshot_bytes: 4096, ring_bytes: 256 << 10 };
        let boxes = Boxes { shape, keep: Duration::from_secs(60) };
        assert_eq!(
            least,
            [Service { name: "web".into(), ports: vec![80, 443], sessions: 256, ring: 256 << 10, boxes }]
        );
        let more = with("[[service]]\nname = 'web'\nports = [80]\nsessions = 7\nring = '1MiB'\n").unwrap();
        assert_eq!((more[0].sessions, more[0].ring), (7, 1 << 20));
        let boxes = |lines: &str| {
            with(&format!("[[service]]\nname = 'web'\nports = [80]\n{lines}\n")).unwrap()[0].boxes.clone()
        };
        let held = boxes("snapshot = '8KiB'\noutput_ring = '1MiB'\nkeep = '5s'");
        assert_eq!((held.shape.snapshot_bytes, held.shape.ring_bytes), (8 << 10, 1 << 20));
        assert_eq!((held.shape.capacity, held.keep), (256, Duration::from_secs(5)));
        assert_eq!(boxes("output = 'mirrored'").shape, shape);
        assert_eq!(boxes("output = 'regenerated'").shape.ring_bytes, 0);
        for (wrong, remedy) in [
            ("ports = [0]", "1 to 65535"),
            ("ports = []", "name at least one"),
            ("ports = [80, 80]", "port 80 twice"),
            ("ports = [80]\nsessions = 0", "1 to 65536"),
            ("ports = [80]\nring = '100KiB'", "power of two"),
            ("ports = [80]\nring = '64KiB'", "128KiB to 2MiB"),
            ("ports = [80]\nring = '4MiB'", "128KiB to 2MiB"),
            ("ports = [80]\nring = '1MB'", "KiB or MiB"),
            ("ports = [80]\nsessions = 65536\nring = '2MiB'", "fewer sessions"),
            ("ports = [80]\nsnapshot = '0KiB'", "1KiB to 1024KiB"),
            ("ports = [80]\nsnapshot = '2MiB'", "1KiB to 1024KiB"),
            ("ports = [80]\noutput_ring = '128KiB'", "256KiB to 16MiB"),
            ("ports = [80]\noutput_ring = '300KiB'", "power of two"),
            ("ports = [80]\noutput = 'regenerated'\noutput_ring = '256KiB'", "leave one of the two out"),
            ("ports = [80]\noutput = 'held'", "mirrored"),
            ("ports = [80]\nkeep = '86401s'", "24 hours"),
            ("ports = [80]\n[[service]]\nname = ''\nports = [81]", "1 to 48 bytes"),
            ("ports = [80]\n[[service]]\nname = 'web'\nports = [81]", "two services"),
            ("ports = [80]\n[[service]]\nname = 'other'\nports = [80]", "port 80 twice"),
        ] {
            let error = with(&format!("[[service]]\nname = 'web'\n{wrong}\n")).unwrap_err();
            assert!(error.contains(remedy) && error.contains("line "), "{wrong}: {error}");
        }
    }

    #[test]
    fn boxes_take_memory_only_where_servers_can_attach() {
        let service = "[[service]]\nname = 'web'\nports = [80]\nsessions = 1000\noutput_ring = '16MiB'\n";
        assert!(checked(service).is_ok());
        let error = checked(&format!("service_socket = '/s'\n{service}")).unwrap_err();
        assert!(error.contains("fewer sessions"), "{error}");
    }

    #[test]
    fn service_addresses_are_those_that_a_network_can_see() {
        let with = |lines: &str| checked(lines).map(|config| config.service_addresses);
        let good = with("service_addresses = ['10.0.0.5', 'fd00::5', '::ffff:10.0.0.6']").unwrap();
        assert_eq!(good, ["10.0.0.5", "fd00::5", "10.0.0.6"].map(|text| text.parse::<IpAddr>().unwrap()));
        let many: Vec<String> = (1..18).map(|last| format!("'10.0.0.{last}'")).collect();
        for (wrong, remedy) in [
            ("'10.0.0.5/24'", "without a prefix"),
            ("'shop'", "without a prefix"),
            ("'127.0.0.1'", "no network sees"),
            ("'::'", "no network sees"),
            ("'224.0.0.1'", "no network sees"),
            ("'10.0.0.5', '::ffff:10.0.0.5'", "10.0.0.5 twice"),
            (&many.join(", "), "at most 16"),
        ] {
            let error = with(&format!("service_addresses = [{wrong}]")).unwrap_err();
            assert!(error.contains(remedy) && error.contains("line "), "{wrong}: {error}");
        }
        let alone = checked("service_interfaces = ['eth0']").unwrap_err();
        assert!(alone.contains("without service_addresses"), "{alone}");
        let named = checked("service_addresses = ['10.0.0.5']\nservice_interfaces = ['eth0']").unwrap();
        assert_eq!(named.service_interfaces, ["eth0"]);
        assert!(checked("service_addresses = ['10.0.0.5']\nservice_interfaces = []").is_err());
    }

    #[test]
    fn a_misspelt_key_is_an_error() {
        assert!(checked("spare_users = [1]\n").is_err());
        assert!(checked("[limits]\n'user.procs' = 1\n").is_err());
    }
}
