//! System packages of Debian and Ubuntu.

use std::{
    collections::HashSet,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::command::{find, succeed};

/// How to tell that a package is not needed any more.
enum Sign {
    /// A program is there, wherever it came from.
    Program(&'static str),
    /// The package itself is there: libraries and headers.
    Package,
}
use Sign::{Package, Program};

const WANTED: &[(&str, Sign)] = &[
    // To build: the kernel half (clang), libbpf (a C compiler, libelf, zlib), the verbs bindings (cmake, libclang).
    ("clang", Program("clang")),
    ("llvm", Program("llvm-strip")),
    ("gcc", Program("cc")),
    ("make", Program("make")),
    ("cmake", Program("cmake")),
    ("pkg-config", Program("pkg-config")),
    ("libclang-dev", Package),
    ("libelf-dev", Package),
    ("zlib1g-dev", Package),
    // Hosts in network namespaces.
    ("bash", Program("bash")),
    ("iproute2", Program("ip")),
    ("iputils-arping", Program("arping")),
    ("iputils-ping", Program("ping")),
    ("procps", Program("pkill")),
    ("tcpdump", Program("tcpdump")),
    ("stress-ng", Program("stress-ng")),
    ("util-linux", Program("setpriv")),
    // Clients of services.
    ("curl", Program("curl")),
    ("wget", Program("wget")),
    ("netcat-openbsd", Program("nc")),
    ("iperf3", Program("iperf3")),
    ("wrk", Program("wrk")),
    // What documents show beside our own programs.
    ("jq", Program("jq")),
    // A terminal for what is drawn in one.
    ("tmux", Program("tmux")),
    // What reads metrics.
    ("prometheus", Program("promtool")),
    // Pictures of what is measured.
    ("gnuplot-nox", Program("gnuplot")),
    // Virtual machines with soft-RoCE.
    ("qemu-system-x86", Program("qemu-system-x86_64")),
    ("busybox-static", Program("busybox")),
    ("libc-bin", Program("ldd")),
    ("rdma-core", Package),
    ("ibverbs-providers", Package),
    ("ibverbs-utils", Program("ibv_devinfo")),
    ("perftest", Program("ib_read_lat")),
    // Their kernels.
    ("ca-certificates", Package),
    ("debian-archive-keyring", Package),
    ("kmod", Program("depmod")),
    ("xz-utils", Program("xz")),
];

/// Installs what is missing, or says how when that takes another user.
pub fn install_missing() -> Result<()> {
    if find("apt-get").is_none() || find("dpkg-query").is_none() {
        return judge_other_system();
    }
    let missing = missing()?;
    if missing.is_empty() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        bail!(
            "system packages are missing; run this once, then try again:\n\n    sudo sh -c 'apt-get update && \
             apt-get install --yes --no-install-recommends {}'\n",
            missing.join(" ")
        );
    }
    // The machine's package lists may already be good; most often in a fresh container they are absent.
    if install(&missing).is_err() {
        succeed(apt_get().arg("update")).context("cannot refresh the package lists")?;
        install(&missing).with_context(|| format!("cannot install {}", missing.join(" ")))?;
    }
    let still = self::missing()?;
    if !still.is_empty() {
        bail!("installed, and yet not there: {}", still.join(" "));
    }
    Ok(())
}

/// Without Debian's tools nothing can be installed here, but what matters may be there all the same.
fn judge_other_system() -> Result<()> {
    let missing: Vec<_> = WANTED
        .iter()
        .filter_map(|(package, sign)| match sign {
            Program(program) => find(program).is_none().then_some(*package),
            Package => None,
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "only Debian and Ubuntu are set up by themselves; please install what your system has in place of these \
         packages: {}",
        missing.join(" ")
    )
}

fn missing() -> Result<Vec<&'static str>> {
    let installed = installed()?;
    let lacks = |(package, sign): &&(&'static str, Sign)| match sign {
        Program(program) => find(program).is_none(),
        Package => !installed.contains(*package),
    };
    Ok(WANTED.iter().filter(lacks).map(|(package, _)| *package).collect())
}

fn installed() -> Result<HashSet<String>> {
    let libraries = WANTED.iter().filter(|(_, sign)| matches!(sign, Package)).map(|(package, _)| package);
    // It fails when one of them is unknown, and still prints those it knows.
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\n"])
        .args(libraries)
        .stderr(Stdio::null())
        .output()
        .context("cannot start dpkg-query")?;
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.strip_suffix(" installed"))
        .map(str::to_owned)
        .collect())
}

fn install(packages: &[&str]) -> Result<()> {
    succeed(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(packages))
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .args([
            "-o",
            "Acquire::Retries=3",
            "-o",
            "Acquire::http::Timeout=30",
            "-o",
            "DPkg::Lock::Timeout=300",
        ])
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}
