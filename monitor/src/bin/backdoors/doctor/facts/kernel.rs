//! The kernel.

use super::text;
use flate2::read::GzDecoder;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

/// What the kernel is like.
#[derive(Debug, Default)]
pub struct Kernel {
    /// As `uname -r` tells it.
    pub release: String,
    /// Whether it carries type information (BTF).
    pub types: bool,
    /// What it was built with, if that can be read.
    pub options: Option<Options>,
    /// How it is locked down, if it is.
    pub lockdown: Option<String>,
    /// Where the unified hierarchy of control groups is.
    pub control_groups: Option<String>,
    /// Whether it tells how much work stands still for want of memory.
    pub stalls: bool,
}

/// Options a kernel was built with: `y`, `m`, or another value.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<String, String>);

impl Options {
    /// Reads what is in `/boot/config-…`.
    pub fn parse(text: &str) -> Options {
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix("CONFIG_")?.split_once('='));
        Options(lines.map(|(name, value)| (format!("CONFIG_{name}"), value.to_owned())).collect())
    }

    /// Whether the kernel has it, or a module.
    pub fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| value == "y" || value == "m")
    }
}

impl Kernel {
    pub fn gather() -> Kernel {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        Kernel {
            types: Path::new("/sys/kernel/btf/vmlinux").exists(),
            options: options(&release).map(|text| Options::parse(&text)),
            lockdown: text("/sys/kernel/security/lockdown").as_deref().and_then(chosen),
            control_groups: text("/proc/self/mounts").as_deref().and_then(unified),
            stalls: Path::new("/proc/pressure/memory").exists(),
            release,
        }
    }
}

fn options(release: &str) -> Option<String> {
    if let Ok(packed) = fs::File::open("/proc/config.gz") {
        let mut text = String::new();
        GzDecoder::new(packed).read_to_string(&mut text).ok()?;
        return Some(text);
    }
    [format!("/boot/config-{release}"), format!("/lib/modules/{release}/config")]
        .iter()
        .find_map(|path| text(path))
}

/// The word in brackets, as in `none [integrity] confidentiality`, unless it is `none`.
fn chosen(text: &str) -> Option<String> {
    let (_, word) = text.split_once('[')?;
    let (word, _) = word.split_once(']')?;
    (word != "none").then(|| word.to_owned())
}

fn unified(mounts: &str) -> Option<String> {
    let mut lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let found = lines.find(|fields| fields.get(2) == Some(&"cgroup2"))?;
    found.get(1).map(|path| (*path).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_there_if_it_is_built_in_or_a_module() {
        let options =
            Options::parse("# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C=m\nCONFIG_D=\"\"\nCONFIG_E=n\n");
        let has = ["CONFIG_A", "CONFIG_B", "CONFIG_C", "CONFIG_D", "CONFIG_E"].map(|name| options.has(name));
        assert_eq!(has, [false, true, true, false, false]);
    }

    #[test]
    fn a_kernel_is_locked_down_as_the_word_in_brackets_says() {
        assert_eq!(chosen("[none] integrity confidentiality"), None);
        assert_eq!(chosen("none [integrity] confidentiality").as_deref(), Some("integrity"));
        assert_eq!(chosen(""), None);
    }

    #[test]
    fn the_unified_hierarchy_is_found_wherever_it_is_mounted() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(unified(mounts).as_deref(), Some("/sys/fs/cgroup/unified"));
        assert_eq!(unified("cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n"), None);
    }
}
