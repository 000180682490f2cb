//! RDMA devices.

use super::text;
use crate::programs::output;
use backdoors_rdma::verbs::{Device, devices};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// What there is for RDMA.
#[derive(Debug, Default)]
pub struct Rdma {
    pub devices: Vec<RdmaDevice>,
    /// Why there are none.
    pub problem: Option<String>,
    pub soft: Soft,
}

/// A device.
#[derive(Debug)]
pub struct RdmaDevice {
    pub name: String,
    /// Whether it is made of software.
    pub soft: bool,
    /// Its ports, with their states.
    pub ports: Vec<String>,
    /// Whether it could be opened and has a port that can be used, or why not.
    pub usable: Result<(), String>,
}

/// What there is of soft-RoCE, the module `rdma_rxe`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Soft {
    /// It is loaded.
    Loaded,
    /// It could be loaded.
    Loadable,
    /// There is no such module.
    #[default]
    Absent,
}

impl Rdma {
    pub fn gather() -> Rdma {
        let soft = soft();
        match devices() {
            Ok(names) => {
                let devices = names.into_iter().map(RdmaDevice::gather).collect();
                Rdma { devices, problem: None, soft }
            }
            Err(error) => Rdma { devices: Vec::new(), problem: Some(error.to_string()), soft },
        }
    }
}

impl RdmaDevice {
    fn gather(name: String) -> RdmaDevice {
        let folder = format!("/sys/class/infiniband/{name}");
        let is_virtual = |path: &Path| path.components().any(|part| part.as_os_str() == "virtual");
        RdmaDevice {
            soft: fs::canonicalize(&folder).is_ok_and(|path| is_virtual(&path)),
            ports: ports(&folder),
            usable: Device::open(Some(&name)).map(drop).map_err(|error| error.to_string()),
            name,
        }
    }
}

fn ports(folder: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("{folder}/ports")) else { return Vec::new() };
    let mut ports: Vec<String> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let of_port = |what: &str| text(&format!("{}/{what}", path.display())).unwrap_or_default();
            let (state, kind) = (of_port("state"), of_port("link_layer"));
            // As in `4: ACTIVE`.
            let state = state.split_once(": ").map_or(&*state, |(_, state)| state);
            Some(format!("port {} {state}, {kind}", path.file_name()?.to_string_lossy()))
        })
        .collect();
    ports.sort_unstable();
    ports
}

fn soft() -> Soft {
    if Path::new("/sys/module/rdma_rxe").exists() {
        return Soft::Loaded;
    }
    match output("modinfo".as_ref(), &["rdma_rxe"], Duration::from_secs(5)) {
        Ok(_) => Soft::Loadable,
        Err(_) => Soft::Absent,
    }
}
