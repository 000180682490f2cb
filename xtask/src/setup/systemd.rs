//! Fetches Debian's systemd, `systemd-oomd`, `earlyoom` and `dpkg` for virtual machines. None of them is installed here: they would
//! start.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use backdoors_guest_kernels::{CachedSystemd, cache_directory};
use rustix::fs::{FlockOperation, flock};

use super::apt::Suite;
use crate::command::output;

/// Those whose versions matter.
const PACKAGES: &[&str] = &["systemd", "systemd-oomd", "earlyoom", "dpkg", "tar", "libc-bin"];
/// Those with the libraries that they want, but for the C library, which guests have anyway.
const LIBRARIES: &[&str] = &[
    "libsystemd-shared",
    "libacl1",
    "libapparmor1",
    "libaudit1",
    "libblkid1",
    "libbz2-1.0",
    "libcap-ng0",
    "libcap2",
    "libcrypt1",
    "libgcrypt20",
    "libgpg-error0",
    "libip4tc2",
    "libkmod2",
    "liblz4-1",
    "liblzma5",
    "libmd0",
    "libmount1",
    "libpam0g",
    "libpcre2-8-0",
    "libseccomp2",
    "libselinux1",
    "libssl3",
    "libzstd1",
];
/// Where the packages have it, and where it goes.
const PROGRAMS: &[(&str, &str)] = &[
    ("lib/systemd/systemd", "usr/lib/systemd/systemd"),
    ("lib/systemd/systemd-oomd", "usr/lib/systemd/systemd-oomd"),
    ("bin/systemctl", "usr/bin/systemctl"),
    ("usr/bin/systemd-run", "usr/bin/systemd-run"),
    ("usr/bin/oomctl", "usr/bin/oomctl"),
    ("usr/bin/earlyoom", "usr/bin/earlyoom"),
    ("usr/bin/dpkg", "usr/bin/dpkg"),
    ("usr/bin/dpkg-deb", "usr/bin/dpkg-deb"),
    ("usr/bin/dpkg-query", "usr/bin/dpkg-query"),
    ("usr/bin/dpkg-split", "usr/bin/dpkg-split"),
    ("sbin/start-stop-daemon", "usr/bin/start-stop-daemon"),
    ("bin/tar", "usr/bin/tar"),
];
/// Settings, and a program without libraries that dpkg does not go without.
const AS_THEY_ARE: &[&str] = &[
    "etc/systemd/oomd.conf",
    "etc/default/earlyoom",
    "usr/lib/systemd/oomd.conf.d/10-oomd-defaults.conf",
    "sbin/ldconfig",
];
/// Both kinds of places that the packages have for units and for libraries.
const UNITS: &[&str] = &["lib/systemd/system", "usr/lib/systemd/system"];
const LIBRARY_PLACES: &[&str] =
    &["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/systemd"];
/// Units of systemd itself that are kept: without what they would pull in, which a guest does not have.
const KEPT: &[&str] = &["target", "slice"];
/// Units of the daemons, and what Debian adds to others for them.
const OF_DAEMONS: &[&str] = &[
    "earlyoom.service",
    "systemd-oomd.service",
    "systemd-oomd.socket",
    "-.slice.d/10-oomd-root-slice-defaults.conf",
];

/// Fetches them when they are not in the cache, or with `refresh` anew.
pub fn fetch_missing(refresh: bool) -> Result<()> {
    if !refresh && CachedSystemd::find()?.is_some() {
        return Ok(());
    }
    let cache = cache_directory()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let lock = File::create(cache.join("lock"))?;
    flock(&lock, FlockOperation::LockExclusive).context("cannot lock the cache")?;
    // Another process may have fetched it while we waited for the lock.
    if refresh || CachedSystemd::find()?.is_none() {
        fetch(&cache).context("cannot fetch systemd for guests")?;
    }
    Ok(())
}

fn fetch(cache: &Path) -> Result<()> {
    let suite = Suite::open(CachedSystemd::SUITE)?;
    let unpacked = tempfile::Builder::new().prefix(".unpacked-").tempdir_in(cache)?;
    let packages: BTreeSet<String> =
        PACKAGES.iter().chain(LIBRARIES).map(|name| (*name).to_owned()).collect();
    suite.unpack(&packages, unpacked.path())?;

    let kept = tempfile::Builder::new().prefix(".kept-").tempdir_in(cache)?;
    keep(unpacked.path(), &kept.path().join("root"))?;
    let version = |name: &&str| Ok(((*name).to_owned(), suite.version(name)?));
    CachedSystemd::complete(kept.path(), PACKAGES.iter().map(version).collect::<Result<_>>()?)?;

    let destination = CachedSystemd::directory()?;
    if destination.exists() {
        fs::remove_dir_all(&destination)?;
    }
    fs::rename(kept.keep(), &destination)?;
    Ok(())
}

fn keep(unpacked: &Path, root: &Path) -> Result<()> {
    for (from, to) in PROGRAMS {
        let program = unpacked.join(from);
        copy(&program, &root.join(to))?;
        for library in libraries(&program, unpacked)? {
            let name = library.file_name().context("a library without a name")?;
            // Those of systemd are looked for in a folder of their own.
            let own = library.parent().is_some_and(|folder| folder.ends_with("systemd"));
            let place = if own { "usr/lib/x86_64-linux-gnu/systemd" } else { "usr/lib" };
            copy(&library, &root.join(place).join(name))?;
        }
    }
    for file in AS_THEY_ARE {
        copy(&unpacked.join(file), &root.join(file))?;
    }
    for folder in UNITS.iter().map(|folder| unpacked.join(folder)).filter(|folder| folder.is_dir()) {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?.path();
            let kind = entry.extension().and_then(|kind| kind.to_str());
            if entry.is_file() && !entry.is_symlink() && kind.is_some_and(|kind| KEPT.contains(&kind)) {
                let name = entry.file_name().context("a unit without a name")?;
                copy(&entry, &root.join("usr/lib/systemd/system").join(name))?;
            }
        }
    }
    for unit in OF_DAEMONS {
        let place = UNITS.iter().map(|folder| unpacked.join(folder).join(unit)).find(|path| path.is_file());
        let place = place.with_context(|| format!("the packages have no {unit}"))?;
        copy(&place, &root.join("usr/lib/systemd/system").join(unit))?;
    }
    Ok(())
}

/// The libraries among what was unpacked that a program of it needs.
fn libraries(program: &Path, unpacked: &Path) -> Result<Vec<PathBuf>> {
    let places: Vec<_> = LIBRARY_PLACES.iter().map(|place| unpacked.join(place)).collect();
    let mut ldd = Command::new("ldd");
    ldd.env("LD_LIBRARY_PATH", std::env::join_paths(&places)?).arg(program);
    let text = output(&mut ldd)?;
    let paths = text.split_whitespace().map(PathBuf::from);
    Ok(paths.filter(|path| path.starts_with(unpacked) && path.is_file()).collect())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("a file without a folder")?)?;
    fs::copy(from, to).with_context(|| format!("cannot keep {}", from.display()))?;
    Ok(())
}
