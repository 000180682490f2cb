//! What of the documents is not run here, and which test runs it instead.

/// A document, how the command begins, and the file of the test, with the reason why it is not run here.
pub type NotRun = (&'static str, &'static str, &'static str);

pub const NOT_RUN: &[NotRun] = &[
    (
        "README.md",
        "cargo xtask demo",
        "tests/tests/dashboard.rs: takes long; its second part is in tests/tests/live_sessions.rs",
    ),
    ("README.md", "cargo xtask test", "xtask/src/ci.rs: this is a part of it"),
    ("README.md", "backdoors top", "monitor/tests/top/main.rs: needs a terminal"),
    ("docs/first-cluster.md", "cargo build", "xtask/src/test.rs: builds the programs that are run here"),
    (
        "docs/first-cluster.md",
        "backdoors-nic --provider verbs",
        "tests/tests/vm_healing.rs: needs RDMA, which guests have",
    ),
    (
        "docs/first-cluster.md",
        "modprobe rdma_rxe",
        "tests/tests/vm_healing.rs: needs a kernel of its own, with modules",
    ),
    ("docs/configuration.md", "backdoors top", "monitor/tests/top/main.rs: needs a terminal"),
    (
        "docs/installation.md",
        "dpkg",
        "tests/tests/vm_packages.rs: needs packages and systemd, which a guest has",
    ),
    (
        "docs/installation.md",
        "backdoors keys new",
        "tests/tests/vm_packages.rs: needs packages and systemd, which a guest has",
    ),
    (
        "docs/installation.md",
        "cp /usr/share",
        "tests/tests/vm_packages.rs: needs packages and systemd, which a guest has",
    ),
    (
        "docs/installation.md",
        "systemctl",
        "tests/tests/vm_packages.rs: needs packages and systemd, which a guest has",
    ),
    (
        "docs/installation.md",
        "backdoors config check",
        "tests/tests/vm_packages.rs: needs packages and systemd, which a guest has",
    ),
    ("docs/virtual-machines.md", "qemu-system-x86_64", "tests/tests/vm_ram_nic.rs: needs a guest"),
    ("docs/virtual-machines.md", "backdoors-nic", "tests/tests/vm_ram_nic.rs: needs a guest"),
    (
        "docs/recoverable-applications.md",
        "cargo build",
        "continuation-box/c/tests/c.rs: takes minutes, and is what built its libraries",
    ),
    (
        "docs/recoverable-applications.md",
        "prefix=",
        "continuation-box/c/tests/c.rs: with a folder of its own for a prefix",
    ),
];
