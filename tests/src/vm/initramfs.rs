//! The first, and only, file system of a guest.
//!
//! It has two parts. The *base* holds the kernel's modules and this machine's tools and is cached, because it changes
//! only with them. What a test adds follows it as an archive of its own.

use std::{
    collections::{BTreeSet, hash_map::DefaultHasher},
    fs::{self, File},
    hash::{Hash, Hasher},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::UNIX_EPOCH,
};

use backdoors_guest_kernels::{CachedKernel, CachedSystemd, Kernel, cache_directory};

use super::{
    VmConfig, VmError,
    archive::Archive,
    programs::{built_program, libraries, system_program},
};

const INIT: &str = include_str!("init.sh");
/// What serves the lab in the guest: a program of this package.
const SERVER: &str = "backdoors-vm-guest";

/// Real programs; everything else is an applet of busybox.
const TOOLS: &[&str] = &[
    "bash",
    "nice",
    "pgrep",
    "pkill",
    "ip",
    "tc",
    "ss",
    "rdma",
    "chrt",
    "setpriv",
    "prlimit",
    "tcpdump",
    "stress-ng",
    "ibv_devinfo",
    "ib_read_lat",
    "ib_write_lat",
    "ib_atomic_lat",
];
/// Libraries that programs open by name when they run, and so do not list.
const OPENED_AT_RUN_TIME: &[&str] = &["libibverbs.so.1", "librdmacm.so.1", "libgcc_s.so.1"];
const USERS: &str = "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000:alice:/tmp:/bin/bash\n\
                     mallory:x:1001:1001:mallory:/tmp:/bin/bash\nshop:x:1002:1002:shop:/tmp:/bin/bash\n\
                     systemd-oom:x:990:990::/:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n";
const GROUPS: &str =
    "root:x:0:\nalice:x:1000:\nmallory:x:1001:\nshop:x:1002:\nsystemd-oom:x:990:\nnogroup:x:65534:\n";

/// What systemd wants to find besides its packages' files.
const SYSTEMD_FILES: &[(&str, &str)] = &[
    ("etc/machine-id", "6261636b646f6f72736261636b646f6f\n"),
    (
        "etc/systemd/system/default.target",
        "[Unit]\nDescription=Up\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n",
    ),
    ("var/lib/dpkg/status", ""),
    ("var/lib/dpkg/available", ""),
    ("var/lib/dpkg/info/format", "1\n"),
    ("var/lib/dpkg/updates/.keep", ""),
    ("var/lib/dpkg/triggers/.keep", ""),
];

/// A file of this machine that a guest gets a copy of.
#[derive(Clone, Debug)]
pub struct GuestFile {
    /// Where it is here.
    pub source: PathBuf,
    /// Where it goes there, absolute.
    pub destination: String,
}

/// Writes the file system of one guest to `to`.
pub(super) fn write(to: &Path, cached: &CachedKernel, config: &VmConfig<'_>) -> Result<(), VmError> {
    let base = base(config.kernel, cached)?;
    fs::copy(&base, to).map_err(VmError::host(format!("copy {}", base.display())))?;
    let file =
        File::options().append(true).open(to).map_err(VmError::host("extend the file system of a guest"))?;
    let mut archive = Archive::new(BufWriter::new(file));
    let mut seen = BTreeSet::new();
    for name in config.programs.iter().map(String::as_str).chain([SERVER]) {
        add_program(&mut archive, &mut seen, &built_program(name)?, &format!("/usr/bin/{name}"))?;
    }
    for name in &config.libraries_of {
        add_libraries(&mut archive, &mut seen, &built_program(name)?)?;
    }
    for file in &config.files {
        add(&mut archive, &file.source, &file.destination)?;
    }
    if config.systemd {
        add_systemd(&mut archive)?;
    }
    archive.finish().map_err(VmError::host("write the file system of a guest"))
}

/// The base, made when it is not cached.
fn base(kernel: Kernel, cached: &CachedKernel) -> Result<PathBuf, VmError> {
    let contents = Contents::of_this_machine()?;
    let mut hasher = DefaultHasher::new();
    (INIT, TOOLS, cached.release(), cached.version()).hash(&mut hasher);
    // The loader's cache changes whenever a library is installed or upgraded.
    let loader_cache = Path::new("/etc/ld.so.cache").to_owned();
    for path in contents.programs.iter().chain(&contents.libraries).chain([&loader_cache]) {
        let metadata = fs::metadata(path).map_err(VmError::host(format!("look at {}", path.display())))?;
        let age = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        (path, metadata.len(), age).hash(&mut hasher);
    }
    let directory =
        cache_directory().map_err(|error| VmError::NotSetUp(error.to_string()))?.join("initramfs");
    let prefix = format!("{}-", kernel.name());
    let path = directory.join(format!("{prefix}{:016x}.cpio", hasher.finish()));
    if path.is_file() {
        return Ok(path);
    }

    let failed = || VmError::host("make the base file system of guests");
    fs::create_dir_all(&directory).map_err(failed())?;
    let mut new = tempfile::NamedTempFile::new_in(&directory).map_err(failed())?;
    contents.write(BufWriter::new(new.as_file_mut()), &cached.modules())?;
    // Others that start guests at this moment may hold an older one open; its name is all that goes.
    for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
        if entry.path() != path && entry.file_name().to_string_lossy().starts_with(&prefix) {
            let _ = fs::remove_file(entry.path());
        }
    }
    new.persist(&path).map_err(|error| error.error).map_err(failed())?;
    Ok(path)
}

/// The files of this machine that every guest has.
struct Contents {
    programs: Vec<PathBuf>,
    /// Opened at run time: the verbs library and soft-RoCE's half of it.
    libraries: Vec<PathBuf>,
}

impl Contents {
    fn of_this_machine() -> Result<Contents, VmError> {
        let names = ["busybox"].iter().chain(TOOLS);
        let programs = names.map(|name| system_program(name)).collect::<Result<_, _>>()?;
        let mut found = Vec::new();
        for name in OPENED_AT_RUN_TIME {
            let candidates = library_directories().map(|directory| directory.join(name));
            let library = candidates.into_iter().find(|candidate| candidate.is_file());
            found.push(library.ok_or_else(|| VmError::NotSetUp(format!("there is no library {name}")))?);
        }
        found.push(soft_roce_provider()?);
        Ok(Contents { programs, libraries: found })
    }

    fn write(&self, to: impl Write, modules: &Path) -> Result<(), VmError> {
        let failed = || VmError::host("write the base file system of guests");
        let mut archive = Archive::new(to);
        for link in ["bin", "sbin", "lib", "lib64"] {
            archive.symlink(link, &format!("usr/{link}")).map_err(failed())?;
        }
        archive.symlink("usr/sbin", "bin").map_err(failed())?;
        for directory in ["proc", "sys", "dev", "run", "tmp", "root", "var", "usr/lib", "usr/lib64"] {
            archive.directory(directory).map_err(failed())?;
        }
        archive.symlink("var/run", "/run").map_err(failed())?;
        archive.file("init", 0o755, INIT.as_bytes()).map_err(failed())?;
        archive.file("etc/passwd", 0o644, USERS.as_bytes()).map_err(failed())?;
        archive.file("etc/group", 0o644, GROUPS.as_bytes()).map_err(failed())?;
        archive.file("etc/libibverbs.d/rxe.driver", 0o644, b"driver rxe\n").map_err(failed())?;

        let mut seen = BTreeSet::new();
        for program in &self.programs {
            let name = program.file_name().unwrap_or_default().to_string_lossy();
            add_program(&mut archive, &mut seen, program, &format!("/usr/bin/{name}"))?;
        }
        for library in &self.libraries {
            add_program(&mut archive, &mut seen, library, &library.to_string_lossy())?;
        }
        // Busybox's own shell prefers its applets to the real programs, so the shell is bash.
        archive.symlink("usr/bin/sh", "bash").map_err(failed())?;
        for applet in applets(&self.programs[0])? {
            if applet != "sh" && !TOOLS.contains(&applet.as_str()) && applet != "busybox" {
                archive.symlink(&format!("usr/bin/{applet}"), "busybox").map_err(failed())?;
            }
        }
        let release = modules.file_name().unwrap_or_default().to_string_lossy();
        add_tree(&mut archive, modules, &format!("/usr/lib/modules/{release}"))?;
        archive.finish().map_err(failed())
    }
}

fn library_directories() -> impl Iterator<Item = PathBuf> {
    ["/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64", "/lib64", "/usr/lib"]
        .into_iter()
        .map(PathBuf::from)
}

/// Its name carries the version of an interface private to libibverbs.
fn soft_roce_provider() -> Result<PathBuf, VmError> {
    for directory in library_directories() {
        for entry in fs::read_dir(directory.join("libibverbs")).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("librxe-rdmav") {
                return Ok(entry.path());
            }
        }
    }
    Err(VmError::NotSetUp("libibverbs has no provider for soft-RoCE".into()))
}

fn applets(busybox: &Path) -> Result<Vec<String>, VmError> {
    let output =
        Command::new(busybox).arg("--list").output().map_err(VmError::host("list the applets of busybox"))?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// Adds a program or library, and what it needs that `seen` does not have yet.
fn add_program<W: Write>(
    archive: &mut Archive<W>,
    seen: &mut BTreeSet<PathBuf>,
    source: &Path,
    destination: &str,
) -> Result<(), VmError> {
    add(archive, source, destination)?;
    add_libraries(archive, seen, source)
}

fn add_libraries<W: Write>(
    archive: &mut Archive<W>,
    seen: &mut BTreeSet<PathBuf>,
    source: &Path,
) -> Result<(), VmError> {
    for library in libraries(source)? {
        if seen.insert(library.clone()) {
            add(archive, &library, &library.to_string_lossy())?;
        }
    }
    Ok(())
}

/// Adds systemd and its daemons. Its boot has one goal, which is up as soon as what everything waits for is.
fn add_systemd<W: Write>(archive: &mut Archive<W>) -> Result<(), VmError> {
    let cached = CachedSystemd::find().map_err(|error| VmError::NotSetUp(format!("{error:#}")))?;
    let cached = cached.ok_or_else(|| VmError::NotSetUp("systemd for guests is not cached".into()))?;
    add_tree(archive, &cached.root(), "")?;
    for (path, content) in SYSTEMD_FILES {
        archive.file(path, 0o644, content.as_bytes()).map_err(VmError::host("add systemd's settings"))?;
    }
    Ok(())
}

fn add_tree<W: Write>(archive: &mut Archive<W>, source: &Path, destination: &str) -> Result<(), VmError> {
    let failed = || VmError::host(format!("read {}", source.display()));
    for entry in fs::read_dir(source).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let destination = format!("{destination}/{}", entry.file_name().to_string_lossy());
        if entry.file_type().map_err(failed())?.is_dir() {
            add_tree(archive, &entry.path(), &destination)?;
        } else {
            add(archive, &entry.path(), &destination)?;
        }
    }
    Ok(())
}

fn add<W: Write>(archive: &mut Archive<W>, source: &Path, destination: &str) -> Result<(), VmError> {
    let mut copy = || -> io::Result<()> {
        let content = fs::read(source)?;
        let permissions = fs::metadata(source)?.permissions().mode() & 0o777;
        archive.file(&below_usr(destination), permissions, &content)
    };
    copy().map_err(VmError::host(format!("add {}", source.display())))
}

/// `/bin`, `/lib` and the like are links to directories below `/usr`; an archive must not go through links.
fn below_usr(path: &str) -> String {
    match path.trim_start_matches('/').split_once('/') {
        Some(("bin" | "sbin", rest)) => format!("/usr/bin/{rest}"),
        Some((directory @ ("lib" | "lib64"), rest)) => format!("/usr/{directory}/{rest}"),
        Some(("usr", rest)) if rest.starts_with("sbin/") => format!("/usr/bin/{}", &rest[5..]),
        _ => path.to_owned(),
    }
}
