//! What the RDMA devices of this machine count, as their drivers name it.

use super::page::Page;
use std::fmt;
use std::fs;
use std::path::Path;

/// Most series of all devices together. A NIC has some dozens of counters for each port.
const MOST: usize = 1024;

pub(super) fn tell(page: &mut Page<'_>, sys: &Path) -> fmt::Result {
    let mut samples = Vec::new();
    for (device, folder) in entries(&sys.join("class/infiniband")) {
        for (port, folder) in entries(&folder.join("ports")) {
            for (counter, file) in entries(&folder.join("hw_counters")) {
                let value = fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<f64>().ok());
                let labels = |value| {
                    (
                        [("device", device.clone()), ("port", port.clone()), ("counter", counter.clone())],
                        value,
                    )
                };
                samples.extend(value.map(labels));
            }
        }
    }
    samples.truncate(MOST);
    page.counter(
        "backdoors_nic_hw_counter",
        "What an RDMA device of this machine counts, by its driver's names.",
        None,
        samples,
    )
}

fn entries(folder: &Path) -> Vec<(String, std::path::PathBuf)> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> =
        found.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect();
    found.sort();
    // How often the driver brings them up to date.
    found.retain(|(name, _)| name != "lifespan");
    found
}
