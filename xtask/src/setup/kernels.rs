//! Fetches the kernels of the virtual machines, and keeps of each what a guest needs.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use backdoors_guest_kernels::{Kernel, RECIPE, Stamp, cache_directory};
use rustix::fs::{FlockOperation, flock};

use super::apt::Suite;
use crate::command::{find, output};

/// The package that always depends on the newest kernel of its suite.
const META_PACKAGE: &str = "linux-image-amd64";
/// Where newer Debian releases put the pieces that used to be in one package.
const PIECES: &[&str] = &["linux-image-", "linux-base-", "linux-binary-", "linux-modules-"];

/// Modules (or built-in code) no guest works without.
const REQUIRED: &[&str] = &["virtio_pci", "virtio_net", "virtio_console", "ib_uverbs", "rdma_rxe"];
/// Modules kept when the kernel has them; which ones are built in differs between versions.
const WELCOME: &[&str] = &[
    "crc32_generic",
    "crc32c_generic", // soft-RoCE asks for them by algorithm, not as a dependency
    "rdma_ucm",
    "virtio_blk", // swap space
    "veth",
    "bridge",
    "dummy",
    "tun",
    "sch_ingress",
    "cls_bpf",
    "act_bpf",
    "sch_netem",
    "tcp_diag",
];

/// Fetches kernels that are not in the cache, or with `refresh` all of them.
pub fn fetch_missing(refresh: bool) -> Result<()> {
    if !refresh && all_cached()? {
        return Ok(());
    }
    if std::env::consts::ARCH != "x86_64" {
        bail!("the virtual machines of the tests run programs built here, so they need an x86_64 machine");
    }
    let cache = cache_directory()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let lock = File::create(cache.join("lock"))?;
    flock(&lock, FlockOperation::LockExclusive).context("cannot lock the cache")?;
    for kernel in Kernel::ALL {
        // Another process may have fetched it while we waited for the lock.
        if refresh || kernel.cached()?.is_none() {
            fetch(kernel).with_context(|| format!("cannot fetch the guest kernel '{}'", kernel.name()))?;
        }
    }
    Ok(())
}

fn all_cached() -> Result<bool> {
    for kernel in Kernel::ALL {
        if kernel.cached()?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn fetch(kernel: Kernel) -> Result<()> {
    let suite = Suite::open(kernel.suite())?;
    let version = suite.version(META_PACKAGE)?;
    eprintln!("guest kernel '{}': {META_PACKAGE} {version} from {}", kernel.name(), kernel.suite());
    let packages = suite.closure(META_PACKAGE, PIECES)?;

    let destination = kernel.directory()?;
    let parent = destination.parent().context("the cache has no parent directory")?;
    fs::create_dir_all(parent)?;
    let unpacked = tempfile::Builder::new().prefix(".unpacked-").tempdir_in(parent)?;
    suite.unpack(&packages, unpacked.path())?;

    let tree = module_tree(unpacked.path())?;
    let release = tree.file_name().and_then(|name| name.to_str()).context("odd name of a kernel")?.to_owned();
    let image = [tree.join("vmlinuz"), unpacked.path().join(format!("boot/vmlinuz-{release}"))];
    let image = image.iter().find(|path| path.is_file()).context("the packages hold no kernel image")?;

    let kept = tempfile::Builder::new().prefix(".kept-").tempdir_in(parent)?;
    fs::copy(image, kept.path().join("vmlinuz"))?;
    // depmod wants modules at lib/modules; newer packages have them at usr/lib/modules.
    let base = tree.ancestors().nth(3).context("modules at an odd place")?;
    depmod(base, &release)?;
    keep_modules(&tree, &kept.path().join("lib/modules").join(&release))?;
    depmod(kept.path(), &release)?;
    Stamp { recipe: RECIPE, release, version }.write(kept.path())?;

    if destination.exists() {
        fs::remove_dir_all(&destination)?;
    }
    fs::rename(kept.keep(), &destination)?;
    Ok(())
}

/// The one directory `…lib/modules/RELEASE` among what was unpacked.
fn module_tree(unpacked: &Path) -> Result<PathBuf> {
    let mut trees = Vec::new();
    for parent in ["lib/modules", "usr/lib/modules"] {
        for entry in fs::read_dir(unpacked.join(parent)).into_iter().flatten() {
            trees.push(entry?.path());
        }
    }
    match trees.as_slice() {
        [tree] => Ok(tree.clone()),
        _ => bail!("expected the modules of one kernel, found {}", trees.len()),
    }
}

fn depmod(base: &Path, release: &str) -> Result<()> {
    let depmod = find("depmod").context("depmod is missing: install kmod")?;
    output(Command::new(depmod).arg("--basedir").arg(base).arg(release)).map(drop)
}

/// Copies the modules that guests want and everything those depend on, decompressed.
fn keep_modules(tree: &Path, kept: &Path) -> Result<()> {
    let index = fs::read_to_string(tree.join("modules.dep")).context("depmod made no modules.dep")?;
    let built_in = fs::read_to_string(tree.join("modules.builtin")).context("no list of built-in modules")?;
    for path in closure(&index, &built_in)? {
        copy_decompressed(&tree.join(path), &kept.join(path))?;
    }
    for list in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
        fs::copy(tree.join(list), kept.join(list)).with_context(|| format!("cannot copy {list}"))?;
    }
    Ok(())
}

/// Paths of the wanted modules and of all that they depend on.
fn closure<'a>(index: &'a str, built_in: &str) -> Result<BTreeSet<&'a str>> {
    let entries: HashMap<&str, &str> = index.lines().filter_map(|line| line.split_once(':')).collect();
    let by_name: HashMap<String, &str> = entries.keys().map(|path| (module_name(path), *path)).collect();
    let built_in: BTreeSet<String> = built_in.lines().map(module_name).collect();
    let mut paths = BTreeSet::new();
    for (names, required) in [(REQUIRED, true), (WELCOME, false)] {
        for name in names {
            match by_name.get(*name) {
                // A line of modules.dep lists everything needed, not only the next of kin.
                Some(path) => paths.extend([*path].into_iter().chain(entries[path].split_whitespace())),
                None if required && !built_in.contains(*name) => bail!("this kernel has no module {name}"),
                None => {}
            }
        }
    }
    Ok(paths)
}

/// The name that the kernel gives the module in a file such as `kernel/net/virtio-rng.ko.xz`.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

fn copy_decompressed(from: &Path, to: &Path) -> Result<()> {
    let parent = to.parent().context("a module without a directory")?;
    fs::create_dir_all(parent)?;
    let unpacker = match from.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => {
            fs::copy(from, to)?;
            return Ok(());
        }
    };
    let plain = File::create(to.with_extension(""))?;
    let status = Command::new(unpacker)
        .args(["--decompress", "--stdout"])
        .arg(from)
        .stdout(plain)
        .status()
        .with_context(|| format!("cannot start {unpacker}: install it"))?;
    if !status.success() {
        bail!("{unpacker} cannot decompress {}", from.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILT_IN: &str = "kernel/drivers/char/virtio_console.ko\nkernel/drivers/net/virtio_net.ko\n";

    #[test]
    fn modules_come_with_all_they_depend_on_and_nothing_else() {
        let index = "kernel/virtio-pci.ko.xz: kernel/virtio.ko.xz kernel/ring.ko.xz\nkernel/virtio.ko.xz:\n\
                     kernel/ib_uverbs.ko.xz:\nkernel/rdma_rxe.ko.xz: kernel/ib_uverbs.ko.xz\nkernel/other.ko.xz:\n";
        let paths: Vec<_> = closure(index, BUILT_IN).unwrap().into_iter().collect();
        let wanted = ["ib_uverbs", "rdma_rxe", "ring", "virtio-pci", "virtio"];
        assert_eq!(paths, wanted.map(|name| format!("kernel/{name}.ko.xz")));
    }

    #[test]
    fn a_kernel_without_soft_roce_is_refused() {
        let error = closure("kernel/virtio-pci.ko:\nkernel/ib_uverbs.ko:\n", BUILT_IN).unwrap_err();
        assert!(error.to_string().contains("rdma_rxe"), "{error}");
    }
}
