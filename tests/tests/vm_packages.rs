//! The Debian packages in a virtual machine with systemd: installed, started, upgraded in place, and removed.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_packages::{Package, Release};
use backdoors_tests::machine::Machine;
use backdoors_tests::vm::{GuestFile, Vm, VmConfig};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// For what starts, or is started again, on an emulated machine: the kernel checks the kernel half meanwhile.
const UP: Duration = Duration::from_secs(150);
const OLD: &str = "1.0";
const NEW: &str = "1.1";
const UNITS: [&str; 3] = ["backdoors-nic", "backdoors-agent", "backdoors-monitor"];
const IN_GUEST: &str = "/root/packages";
/// Of packages that the programs may depend on: their libraries are this machine's.
const LIBRARIES: &[&str] = &["libc6", "libgcc-s1", "libelf1", "libelf1t64", "zlib1g"];
/// There is no journal. And nobody waits half a minute for a watchdog here.
const SETTINGS: &str =
    "[Service]\nStandardOutput=append:/run/services.log\nStandardError=append:/run/services.log\n";
const WATCHDOG: &str = "[Service]\nWatchdogSec=20\n";

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The folder of the programs that were built along with this test.
fn built() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().into()
}

/// Packages of both versions, of the same programs.
fn packages(into: &Path) -> Vec<GuestFile> {
    let mut files = Vec::new();
    for version in [OLD, NEW] {
        let release = Release { workspace: workspace(), built: &built(), version };
        for package in [Package::Agent, Package::Monitor] {
            let source = package.write(&release, into).unwrap();
            let destination = format!("{IN_GUEST}/{}", source.file_name().unwrap().to_str().unwrap());
            files.push(GuestFile { source, destination });
        }
    }
    files
}

fn boot() -> Vm {
    let folder = tempfile::tempdir().unwrap();
    let programs = [Package::Agent, Package::Monitor].map(Package::programs).concat();
    let vm = Vm::boot(VmConfig {
        name: "packages",
        memory_mib: 1024,
        systemd: true,
        libraries_of: programs.into_iter().map(str::to_owned).collect(),
        files: packages(folder.path()),
        ..VmConfig::default()
    });
    let vm = vm.unwrap();
    vm.write_file("/var/lib/dpkg/status", 0o644, libraries_as_packages()).unwrap();
    vm.write_file("/etc/systemd/system/service.d/log.conf", 0o644, SETTINGS).unwrap();
    vm.shell("systemctl daemon-reload").unwrap();
    vm
}

/// What dpkg knows of the packages that this machine's libraries come from.
fn libraries_as_packages() -> Vec<u8> {
    let fields = "Package: ${Package}\\nStatus: install ok installed\\nArchitecture: ${Architecture}\\n\
                  Version: ${Version}\\nMaintainer: nobody\\nDescription: a library\\n\\n";
    // It fails when it does not know one of them, and still shows the others.
    let mut query = Command::new("dpkg-query");
    query.arg("--show").arg(format!("--showformat={fields}")).args(LIBRARIES);
    query.output().unwrap().stdout
}

/// Installs or upgrades both packages.
fn install(vm: &Vm, version: &str) -> String {
    let script = format!("dpkg --install {IN_GUEST}/*_{version}_amd64.deb 2>&1");
    let output = vm.run_within(UP, script.as_str()).unwrap();
    assert!(output.succeeded(), "{}\n{}", output.stdout, logs(vm));
    output.stdout
}

fn logs(vm: &Vm) -> String {
    vm.shell("tail -n 40 /run/services.log; systemctl --no-pager --full status 'backdoors-*' 2>&1 || true")
        .unwrap_or_else(|error| error.to_string())
}

fn show(vm: &Vm, unit: &str, property: &str) -> String {
    vm.shell(format!("systemctl show --value --property {property} {unit}").as_str()).unwrap()
}

fn main_pid(vm: &Vm, unit: &str) -> u32 {
    show(vm, unit, "MainPID").parse().unwrap()
}

/// Everything of the packages' that is in the file system.
fn traces(vm: &Vm) -> String {
    let places = "/etc /usr /var /run /root /tmp /sys/fs/bpf";
    vm.shell(format!("find {places} -name '*backdoors*' ! -path '{IN_GUEST}*' | sort").as_str()).unwrap()
}

/// Keys, and the samples as far as they fit this one machine.
fn configure(vm: &Vm) {
    let script = "set -e
        for name in web1 watch1; do backdoors keys new --name $name --dir /etc/backdoors; done
        cp /usr/share/backdoors/agent.toml /etc/backdoors/
        sed -e 's/10.0.0.5:/127.0.0.1:/' -e 's/\"verbs\"  /\"emulated\"/' \
            -e 's/^provider.*/&\\ndeadline = \"3s\"\\nlost_after = \"10s\"/' \
            /usr/share/backdoors/monitor.toml > /etc/backdoors/monitor.toml
        sed -i -e '/^BACKDOORS/d' -e 's/^#\\(.*emulated.*\\)10.0.0.5/\\1127.0.0.1/' /etc/default/backdoors-nic
        backdoors config check /etc/backdoors/monitor.toml";
    vm.shell(script).unwrap();
}

/// Waits until a command succeeds in the guest; few looks, since each slows down what is waited for.
fn wait_until(vm: &Vm, command: &str) {
    let waited = vm.run_within(UP, format!("until {command}; do sleep 0.5; done").as_str());
    waited.unwrap_or_else(|error| panic!("{error}\n{}", logs(vm)));
}

/// The monitor samples the machine that it runs on.
fn wait_for_sensors(vm: &Vm) {
    wait_until(vm, "backdoors sensors web1 2>/dev/null | grep -q user.processes");
}

fn assert_active(vm: &Vm) {
    for unit in UNITS {
        assert_eq!(show(vm, unit, "ActiveState"), "active", "{unit}\n{}", logs(vm));
    }
}

/// Manual pages, completions and schemas are where they are looked for, and samples fit these.
fn assert_documented(vm: &Vm) {
    for place in [
        "man/man1/backdoors.1.gz",
        "man/man1/backdoors-agent-run.1.gz",
        "man/man1/backdoors-nic.1.gz",
        "bash-completion/completions/backdoors",
        "zsh/vendor-completions/_backdoors-agent",
        "fish/vendor_completions.d/backdoors-nic.fish",
        "backdoors/agent.schema.json",
        "backdoors/monitor.schema.json",
        "doc/backdoors-agent/copyright",
        "doc/backdoors-monitor/changelog.gz",
    ] {
        assert!(vm.run(format!("test -s /usr/share/{place}").as_str()).unwrap().succeeded(), "{place}");
    }
}

/// As an agent says it while a fence holds; that it does is another test's.
fn refuse_to_upgrade_under_a_fence(vm: &Vm) {
    let agent = "/usr/bin/backdoors-agent";
    let said = vm.shell(format!("{agent} fences --config /etc/backdoors/agent.toml").as_str()).unwrap();
    assert_eq!(said, "no fence holds");
    let fenced = "#!/bin/sh\necho 'a fence holds: slot 0'\nexit 2\n";
    vm.shell(format!("mv {agent} /run/agent").as_str()).unwrap();
    vm.write_file(agent, 0o755, fenced).unwrap();
    for act in
        [format!("--install {IN_GUEST}/backdoors-agent_{NEW}_amd64.deb"), "--remove backdoors-agent".into()]
    {
        let refused = vm.run_within(UP, format!("dpkg {act} 2>&1").as_str()).unwrap();
        assert!(
            !refused.succeeded() && refused.stdout.contains("backdoors-agent unfence"),
            "{}",
            refused.stdout
        );
    }
    vm.shell(format!("mv /run/agent {agent}").as_str()).unwrap();
    let version =
        vm.shell("dpkg-query --show --showformat='${db:Status-Status} ${Version}' backdoors-agent").unwrap();
    assert_eq!(version, format!("installed {OLD}"));
}

#[test]
fn packages_are_installed_started_upgraded_in_place_and_removed_without_a_trace() {
    let vm = boot();
    let before = traces(&vm);

    install(&vm, OLD);
    for unit in UNITS {
        assert_eq!(show(&vm, unit, "UnitFileState"), "enabled", "{unit}");
        assert_eq!(show(&vm, unit, "ActiveState"), "inactive", "{unit} without a configuration");
    }
    assert_eq!(vm.shell("stat -c %a /etc/backdoors").unwrap(), "700");

    assert_documented(&vm);

    configure(&vm);
    vm.write_file("/etc/systemd/system/backdoors-monitor.service.d/short.conf", 0o644, WATCHDOG).unwrap();
    vm.shell("systemctl daemon-reload").unwrap();
    let start = "systemctl start backdoors-agent backdoors-monitor";
    let started = vm.run_within(UP, start).unwrap();
    assert!(started.succeeded(), "{}\n{}", started.stderr, logs(&vm));
    // Each has said that it is ready; and what starts the agent starts the owner of its memory.
    assert_active(&vm);
    wait_for_sensors(&vm);
    for (unit, spared) in UNITS.into_iter().zip(["-1000", "-1000", "-900"]) {
        let pid = main_pid(&vm, unit);
        assert_eq!(vm.shell(format!("cat /proc/{pid}/oom_score_adj").as_str()).unwrap(), spared, "{unit}");
        let locked = vm.shell(format!("awk '/^VmLck:/ {{ print $2 }}' /proc/{pid}/status").as_str()).unwrap();
        assert!(locked.parse::<u32>().unwrap() > 1000, "{unit} has {locked} kB locked");
    }

    let pids = UNITS.map(|unit| main_pid(&vm, unit));
    vm.shell("systemctl reload backdoors-agent backdoors-monitor").unwrap();
    assert!(
        vm.shell("echo nonsense >> /etc/backdoors/monitor.toml; systemctl reload backdoors-monitor").is_err()
    );
    vm.shell("sed -i /nonsense/d /etc/backdoors/monitor.toml").unwrap();
    assert_active(&vm);
    assert_eq!(UNITS.map(|unit| main_pid(&vm, unit)), pids, "reloading starts nothing anew");

    refuse_to_upgrade_under_a_fence(&vm);
    assert_eq!(UNITS.map(|unit| main_pid(&vm, unit)), pids, "what was refused did nothing");
    let said = install(&vm, NEW);
    assert!(said.contains("backdoors-nic goes on as it was"), "{said}");
    assert_active(&vm);
    let upgraded = UNITS.map(|unit| main_pid(&vm, unit));
    assert_eq!(upgraded[0], pids[0], "the owner of the memory was restarted\n{}", logs(&vm));
    assert!(upgraded[1] != pids[1] && upgraded[2] != pids[2], "{pids:?} {upgraded:?}");
    wait_for_sensors(&vm);
    vm.shell("systemctl restart backdoors-nic").unwrap();
    // What was sampled before is still known; processes are read when they are asked for.
    wait_until(&vm, "backdoors ps web1 2>/dev/null | grep -q backdoors-agent");

    // A process that stands still says nothing any more, and is replaced.
    let restarts = show(&vm, "backdoors-monitor", "NRestarts");
    vm.signal("STOP", main_pid(&vm, "backdoors-monitor")).unwrap();
    let replaced = "systemctl show --value --property NRestarts backdoors-monitor";
    wait_until(&vm, &format!("test $({replaced}) -gt {restarts}"));
    wait_for_sensors(&vm);
    assert_eq!(show(&vm, "backdoors-agent", "NRestarts"), "0");

    vm.shell("rm -r /etc/systemd/system/backdoors-monitor.service.d").unwrap();
    let remove = vm.run_within(UP, "dpkg --remove backdoors-agent backdoors-monitor 2>&1").unwrap();
    assert!(remove.succeeded(), "{}\n{}", remove.stdout, logs(&vm));
    assert_eq!(vm.shell("pgrep -l '^backdoors' | grep -v backdoors-vm || true").unwrap(), "");
    assert_eq!(vm.shell("ls /etc/backdoors | wc -l").unwrap(), "6", "configurations and keys stay");
    assert!(vm.shell("ls /var/lib/backdoors/journal.jsonl").is_ok(), "and what was noted");
    // Whoever installs it again finds everything as it was.
    install(&vm, NEW);
    assert_active(&vm);
    let purge = vm.run_within(UP, "dpkg --purge backdoors-agent backdoors-monitor 2>&1").unwrap();
    assert!(purge.succeeded(), "{}\n{}", purge.stdout, logs(&vm));
    assert_eq!(traces(&vm), before);
}
