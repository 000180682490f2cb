//! Debian packages, made of programs that are built already.
//!
//! The folder `packages` has one for each package: `DEBIAN` with the fields and scripts for `dpkg`, and beside it what is
//! installed as it is. Programs, libraries, copyright and changelog join it here.

mod depends;
mod documents;

use anyhow::{Context, Result, bail};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One of the packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Package {
    /// The target's: agent and owner of registered memory.
    Agent,
    /// The monitor and the command line.
    Monitor,
    /// Headers and libraries for applications in C.
    Library,
}

/// What packages are made of.
#[derive(Clone, Debug)]
pub struct Release<'a> {
    /// The root of the workspace.
    pub workspace: &'a Path,
    /// The folder of the built programs and libraries.
    pub built: &'a Path,
    /// The version that the packages say to be.
    pub version: &'a str,
}

/// The headers of the libraries.
const HEADERS: &[&str] =
    &["application-sensors/include/backdoors.h", "continuation-box/c/include/backdoors-sessions.h"];
/// What tells `pkg-config` how to link with them.
const LINKING: &[&str] = &[
    "application-sensors/backdoors-application-sensors.pc.in",
    "continuation-box/c/backdoors-sessions.pc.in",
];
/// Folders that only root looks into.
const PRIVATE: u32 = 0o700;

impl Package {
    /// All of them.
    pub const ALL: [Package; 3] = [Package::Agent, Package::Monitor, Package::Library];

    /// As `dpkg` knows it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Package::Agent => "backdoors-agent",
            Package::Monitor => "backdoors-monitor",
            Package::Library => "libbackdoors-dev",
        }
    }

    /// Its programs.
    #[must_use]
    pub fn programs(self) -> &'static [&'static str] {
        match self {
            Package::Agent => &["backdoors-agent", "backdoors-nic"],
            Package::Monitor => &["backdoors"],
            Package::Library => &[],
        }
    }

    /// Its libraries.
    #[must_use]
    pub fn libraries(self) -> &'static [&'static str] {
        match self {
            Package::Agent | Package::Monitor => &[],
            Package::Library => &["libbackdoors_application_sensors.a", "libbackdoors_sessions.a"],
        }
    }

    /// Writes the package into a folder; returns its file.
    ///
    /// # Errors
    /// If something that it is made of is missing, or a tool that makes it.
    pub fn write(self, release: &Release<'_>, into: &Path) -> Result<PathBuf> {
        let root = tempfile::tempdir().context("no folder to put a package together in")?;
        let root = root.path();
        let source = release.workspace.join("packages").join(self.name());
        copy_tree(&source, root)?;
        for program in self.programs() {
            let place = root.join("usr/bin").join(program);
            strip(&release.built.join(program), &place, "--strip-unneeded", 0o755)?;
            documents::add(program, &place, root)?;
        }
        for library in self.libraries() {
            let place = root.join("usr/lib/x86_64-linux-gnu").join(library);
            strip(&release.built.join(library), &place, "--strip-debug", 0o644)?;
        }
        if self == Package::Library {
            add_interface(release, root)?;
        } else {
            let folder = root.join("etc/backdoors");
            fs::create_dir_all(&folder)?;
            fs::set_permissions(&folder, Permissions::from_mode(PRIVATE))?;
        }
        self.add_legal(release, root)?;
        self.fill_in_control(release, root)?;
        fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
        let package = into.join(format!("{}_{}_amd64.deb", self.name(), release.version));
        // Quick to make and to unpack; packages are not many.
        run(Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Zgzip", "-z6", "--build"])
            .arg(root)
            .arg(&package))?;
        Ok(package)
    }

    fn add_legal(self, release: &Release<'_>, root: &Path) -> Result<()> {
        let folder = root.join("usr/share/doc").join(self.name());
        let read = |name: &str| {
            let path = release.workspace.join(name);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let copyright = format!(
            "Backdoors is licensed under either of two licences, at your choice.\n\n--- MIT ---\n\n{}\n--- Apache-2.0 ---\n\n\
             On Debian systems it is also in /usr/share/common-licenses/Apache-2.0.\n\n{}",
            read("LICENSE-MIT")?,
            read("LICENSE-APACHE")?
        );
        write(&folder.join("copyright"), 0o644, copyright.as_bytes())?;
        let changelog = format!(
            "backdoors ({}) stable; urgency=medium\n\n  * See the project's history.\n\n -- {MAINTAINER}  {CHANGED}\n",
            release.version
        );
        let place = folder.join("changelog");
        write(&place, 0o644, changelog.as_bytes())?;
        compress(&place)
    }

    fn fill_in_control(self, release: &Release<'_>, root: &Path) -> Result<()> {
        let folder = root.join("DEBIAN");
        let path = folder.join("control");
        let programs: Vec<_> = self.programs().iter().map(|name| root.join("usr/bin").join(name)).collect();
        let text = fs::read_to_string(&path)?
            .replace("@version@", release.version)
            .replace("@size@", &kibibytes(root)?.to_string())
            .replace("@depends@", &depends::of(&programs)?);
        write(&path, 0o644, text.as_bytes())?;
        for script in ["preinst", "postinst", "prerm", "postrm"].map(|script| folder.join(script)) {
            if script.exists() {
                fs::set_permissions(script, Permissions::from_mode(0o755))?;
            }
        }
        Ok(())
    }
}

/// As the fields of the packages name them.
const MAINTAINER: &str = "The developers of Backdoors <backdoors@localhost>";
/// The same for every build, so that the same programs make the same package.
const CHANGED: &str = "Thu, 01 Jan 1970 00:00:00 +0000";

/// Headers, and how to link. The libraries are linked statically, so with all that they need.
fn add_interface(release: &Release<'_>, root: &Path) -> Result<()> {
    for header in HEADERS.iter().map(|header| release.workspace.join(header)) {
        let name = header.file_name().context("a header without a name")?;
        let text = fs::read(&header).with_context(|| format!("cannot read {}", header.display()))?;
        write(&root.join("usr/include").join(name), 0o644, &text)?;
    }
    for template in LINKING.iter().map(|template| release.workspace.join(template)) {
        let text = fs::read_to_string(&template)
            .with_context(|| format!("cannot read {}", template.display()))?
            .replace("@prefix@", "/usr")
            .replace("@version@", release.version)
            .replace("libdir=${prefix}/lib\n", "libdir=${prefix}/lib/x86_64-linux-gnu\n")
            .replace("\nLibs.private:", "");
        // `NAME.pc.in` without its last part.
        let name = template.file_stem().context("a template without a name")?;
        write(&root.join("usr/lib/x86_64-linux-gnu/pkgconfig").join(name), 0o644, text.as_bytes())?;
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            make_folder(&place)?;
            copy_tree(&entry.path(), &place)?;
        } else {
            write(&place, 0o644, &fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

/// A folder that everybody may look into, whatever the mask for new files is.
fn make_folder(place: &Path) -> Result<()> {
    if place.is_dir() {
        return Ok(());
    }
    make_folder(place.parent().context("a folder without one above it")?)?;
    fs::create_dir(place).with_context(|| format!("cannot make {}", place.display()))?;
    Ok(fs::set_permissions(place, Permissions::from_mode(0o755))?)
}

fn write(place: &Path, mode: u32, content: &[u8]) -> Result<()> {
    make_folder(place.parent().context("a file without a folder")?)?;
    fs::write(place, content).with_context(|| format!("cannot write {}", place.display()))?;
    Ok(fs::set_permissions(place, Permissions::from_mode(mode))?)
}

/// As Debian wants it: with the best compression, and without the time.
fn compress(place: &Path) -> Result<()> {
    run(Command::new("gzip").args(["--best", "--no-name", "--force"]).arg(place)).map(drop)
}

/// Copies a program or library without what only debuggers read.
fn strip(from: &Path, to: &Path, how: &str, mode: u32) -> Result<()> {
    if !from.is_file() {
        bail!("{} is not there: build it first", from.display());
    }
    make_folder(to.parent().context("a program without a folder")?)?;
    run(Command::new("strip").arg(how).arg("-o").arg(to).arg(from))?;
    Ok(fs::set_permissions(to, Permissions::from_mode(mode))?)
}

fn kibibytes(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() { kibibytes(&entry.path())? } else { metadata.len().div_ceil(1024) };
    }
    Ok(sum)
}

/// Runs a command to its end and returns what it printed.
fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!("{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{program} printed no text"))
}
