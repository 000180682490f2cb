//! A guest's NIC outside of it: what it serves of a guest that is well, and of one whose kernel is broken.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_rdma::handshake::Identity;
use backdoors_rdma::{Operation, Provider, RemoteRange, Session, SessionConfig};
use backdoors_sensor_box::decode::{AcknowledgementView, ProcessView, SensorView};
use backdoors_sensor_box::fetch::{SensorFetcher, fetch_processes};
use backdoors_sensor_box::layout::{Acknowledgement, CommandSlot, RegionKind};
use backdoors_sensor_box::lease::{LeaseWord, Token};
use backdoors_sensor_box::{Command, EncodedCommand, Opcode};
use backdoors_sensor_box::{CommandKey, Seal, SensorKind, fetch::FetchError};
use backdoors_tests::machine::Machine;
use backdoors_tests::vm::{Kernel, NIC_PORT, SeenFrom, Vm, VmConfig, break_kernel};
use std::thread;
use std::time::{Duration, Instant};

const FOLDER: &str = "/run/backdoors";
/// The monitor's.
const SLOT: u32 = 3;
/// Many times the period of everything that ticks in a guest.
const WHILE: Duration = Duration::from_millis(400);
/// For programs in a guest to come up, and for whatever a guest that is well has to do.
const PATIENCE: Duration = Duration::from_secs(30);

fn boot(kernel: Kernel, seen_from: SeenFrom, programs: &[&str]) -> Vm {
    Vm::boot(VmConfig {
        kernel,
        cpus: 2,
        host_link: true,
        outside_nic: Some(seen_from),
        reboots: true,
        programs: programs.iter().map(|program| (*program).to_owned()).collect(),
        ..VmConfig::default()
    })
    .unwrap()
}

/// Owner and agent in a guest.
struct Target {
    vm: Vm,
    owner: u32,
    agent: u32,
    config: SessionConfig,
}

impl Target {
    fn install(kernel: Kernel) -> Target {
        let vm = boot(kernel, SeenFrom::Host, &["backdoors-nic", "backdoors-agent"]);
        let keys = tempfile::tempdir().unwrap();
        let [identity, monitor] = ["target", "monitor"].map(|name| Identity::generate(name).unwrap());
        identity.save(keys.path()).unwrap();
        for file in ["target.crt", "target.key"] {
            vm.write_file(&format!("{FOLDER}/{file}"), 0o600, std::fs::read(keys.path().join(file)).unwrap())
                .unwrap();
        }
        vm.write_file(&format!("{FOLDER}/monitor.crt"), 0o600, monitor.certificate_pem()).unwrap();
        let agent = format!(
            "name = \"target\"\nlisten = \"0.0.0.0:7801\"\nidentity = \"{FOLDER}\"\nowner = \"{FOLDER}/nic.sock\"\n\
             pins = \"/sys/fs/bpf/backdoors\"\nmode = \"kernel\"\n\
             [[monitor]]\nname = \"monitor\"\ncertificate = \"{FOLDER}/monitor.crt\"\nslot = {SLOT}\n"
        );
        vm.write_file(&format!("{FOLDER}/agent.toml"), 0o600, agent).unwrap();
        let config = SessionConfig {
            address: vm.handshakes().unwrap(),
            target_certificate: identity.certificate().clone(),
            identity: monitor,
            provider: Provider::Emulated,
            connections: 3,
            deadline: Duration::from_secs(2),
        };
        let mut target = Target { vm, owner: 0, agent: 0, config };
        target.start_owner();
        target.start_agent();
        target
    }

    fn start(&self, name: &str, command: &str) -> u32 {
        let log = format!("{FOLDER}/{name}.log");
        let pid = self.vm.start(command, &log).unwrap();
        self.vm
            .wait_until(
                PATIENCE,
                &format!("grep -q ready {log} || {{ test ! -d /proc/{pid} && cat {log}; }}"),
            )
            .unwrap();
        let said = self.vm.shell(format!("cat {log}")).unwrap();
        assert!(said.contains("ready"), "{command}: {said}");
        pid
    }

    fn start_owner(&mut self) {
        let command =
            format!("backdoors-nic --provider attached --port {NIC_PORT} --socket {FOLDER}/nic.sock");
        self.owner = self.start("nic", &command);
    }

    fn start_agent(&mut self) {
        self.agent = self.start("agent", &format!("backdoors-agent run --config {FOLDER}/agent.toml"));
    }

    fn monitor(&self) -> Monitor {
        let begun = Instant::now();
        loop {
            match Session::open(&self.config) {
                Ok(session) if session.regions().count() == REGIONS => return Monitor(session),
                // The agent is about to hand its memory over.
                Ok(_) => assert!(begun.elapsed() < PATIENCE, "there is nothing to be read"),
                // A handshake takes an emulated processor long, and one here may be busy with other things.
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
            }
        }
    }
}

/// Those that every target shows, and the monitor's own slot.
const REGIONS: usize = 7;

/// What the test process sees of the guest.
struct Monitor(Session);

impl Monitor {
    fn range(&self, kind: u32) -> RemoteRange {
        self.0.region(kind).unwrap_or_else(|| panic!("no region of kind {kind}")).range
    }

    fn read<const N: usize>(&mut self, kind: u32, offset: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.read(self.range(kind).slice(offset, N as u64).unwrap(), &mut bytes).unwrap();
        bytes
    }

    fn sensors(&mut self) -> SensorView {
        let range = self.range(RegionKind::SENSORS);
        let mut fetcher = SensorFetcher::default();
        let read =
            |offset, into: &mut [u8]| self.0.read(range.slice(offset, into.len() as u64).unwrap(), into);
        fetcher.fetch(range.length, read).unwrap_or_else(|error| panic!("{error}")).clone()
    }

    fn processes(&mut self) -> ProcessView {
        let range = self.range(RegionKind::PROCESSES);
        let read =
            |offset, into: &mut [u8]| self.0.read(range.slice(offset, into.len() as u64).unwrap(), into);
        fetch_processes(range.length, read).unwrap_or_else(|error: FetchError<_>| panic!("{error}"))
    }

    /// How much each sensor of this kind advances in a while, by instance.
    fn advances(&mut self, kind: SensorKind) -> Vec<u64> {
        let before = self.sensors();
        thread::sleep(WHILE);
        let after = self.sensors();
        let values = |view: &SensorView| view.of_kind(kind).map(|sensor| sensor.value).collect::<Vec<_>>();
        std::iter::zip(values(&after), values(&before))
            .map(|(after, before)| after.wrapping_sub(before))
            .collect()
    }

    fn timer_advances(&mut self) -> bool {
        self.advances(SensorKind::KERNEL_TIMER).iter().any(|advance| *advance > 0)
    }

    fn accepted(&mut self) -> u64 {
        const BYTES: usize = size_of::<Acknowledgement>();
        let bytes: [u8; BYTES] = self.read(RegionKind::ACKNOWLEDGEMENTS, u64::from(SLOT) * BYTES as u64);
        AcknowledgementView::decode(&bytes).unwrap().accepted
    }

    /// Takes the lease, whoever has it.
    fn take_lease(&mut self) -> Token {
        let found = LeaseWord::from_word(u64::from_le_bytes(self.read(RegionKind::LEASE, 0)));
        let taken = found.taken_by(SLOT);
        let mut word = 0;
        let at = self.range(RegionKind::LEASE).slice(0, 8).unwrap();
        let swap =
            Operation::CompareAndSwap { at, expected: found.word(), new: taken.word(), found: &mut word };
        self.0.submit(&mut [swap]).unwrap();
        assert_eq!(word, found.word(), "somebody else took it");
        assert_eq!(self.read(RegionKind::LEASE, 0), taken.word().to_le_bytes());
        taken.token().unwrap()
    }

    /// Writes a command that does nothing, and sees that it is there. Returns its number.
    fn command(&mut self, token: Token) -> u64 {
        let number = self.accepted() + 1;
        let command = Command::new(Opcode::Nothing, 0);
        let seal = Seal {
            key: CommandKey::from_bytes(self.0.secret().bytes()),
            slot: SLOT,
            generation: self.0.region(RegionKind::COMMAND).unwrap().generation,
        };
        let EncodedCommand { body, sequence } = command.encode(number, token, &seal, "");
        let slot = self.range(RegionKind::COMMAND);
        let to = |offset, length| slot.slice(offset, length).unwrap();
        self.0
            .submit(&mut [
                Operation::Write { to: to(0, body.len() as u64), from: &body },
                Operation::Write { to: to(EncodedCommand::SEQUENCE_OFFSET, 8), from: &sequence },
            ])
            .unwrap();
        let written: [u8; size_of::<CommandSlot>()] = self.read(RegionKind::COMMAND, 0);
        assert_eq!(written, [&body[..], &sequence].concat()[..]);
        number
    }

    /// Whether a command is obeyed.
    fn is_obeyed(&mut self, number: u64, patience: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < patience {
            if self.accepted() == number {
                return true;
            }
            thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// Reads and writes everything of a guest, well or not. Returns the number of the command it wrote.
    fn reaches_everything(&mut self) -> u64 {
        assert_eq!(self.sensors().cpus, 2);
        let processes = self.processes();
        assert!(
            processes.processes.iter().any(|process| process.command == "backdoors-agent"),
            "{processes:?}"
        );
        let token = self.take_lease();
        self.command(token)
    }
}

fn is_served_while_every_processor_spins(kernel: Kernel) {
    let target = Target::install(kernel);
    let mut monitor = target.monitor();
    let number = monitor.reaches_everything();
    assert!(monitor.is_obeyed(number, PATIENCE) && monitor.timer_advances());

    break_kernel::hang_all(&target.vm).unwrap();
    let number = monitor.reaches_everything();
    let frozen = monitor.sensors();
    assert!(!monitor.is_obeyed(number, WHILE), "a kernel that hangs obeyed");
    assert_eq!(monitor.sensors(), frozen);
    // For whoever judges: these processors are busy.
    assert!(frozen.of_kind(SensorKind::CPU_BUSY).all(|sensor| sensor.value == 1), "{frozen:?}");
}

#[test]
fn a_guest_whose_every_processor_spins_with_interrupts_off_is_read_and_written() {
    is_served_while_every_processor_spins(Kernel::Newest);
}

#[test]
fn a_guest_whose_every_processor_spins_with_interrupts_off_is_read_and_written_on_kernel_6_1() {
    is_served_while_every_processor_spins(Kernel::Stable61);
}

#[test]
fn one_processor_that_spins_is_told_from_one_that_goes_on() {
    let target = Target::install(Kernel::Newest);
    let mut monitor = target.monitor();
    // One that idles has no ticks.
    target.vm.spawn("exec taskset 1 sh -c 'while :; do :; done'").unwrap();
    let ticks = monitor.advances(SensorKind::CPU_TICKS);
    assert!(ticks[0] > 0, "{ticks:?}");
    break_kernel::hang_one(&target.vm, 1).unwrap();
    let ticks = monitor.advances(SensorKind::CPU_TICKS);
    assert!(ticks[0] > 0 && ticks[1] == 0, "{ticks:?}");
    let sensors = monitor.sensors();
    assert_eq!(sensors.sensor(SensorKind::CPU_BUSY, 1).unwrap().value, 1);
    monitor.reaches_everything();
}

#[test]
fn a_guest_that_panicked_is_read_and_written() {
    let target = Target::install(Kernel::Newest);
    let mut monitor = target.monitor();
    monitor.reaches_everything();
    break_kernel::panic(&target.vm).unwrap();
    monitor.reaches_everything();
    // No process runs any more, whatever else does.
    assert_eq!(monitor.advances(SensorKind::AGENT_HEARTBEAT), [0]);
    println!(
        "ticks: {:?}, timer: {:?}",
        monitor.advances(SensorKind::CPU_TICKS),
        monitor.advances(SensorKind::KERNEL_TIMER)
    );
}

#[test]
fn what_is_written_while_the_processors_are_stopped_is_obeyed_when_they_go_on() {
    let target = Target::install(Kernel::Newest);
    let mut monitor = target.monitor();
    break_kernel::stop_cpus(&target.vm).unwrap();
    let number = monitor.reaches_everything();
    assert!(!monitor.is_obeyed(number, WHILE) && !monitor.timer_advances());
    break_kernel::resume(&target.vm).unwrap();
    assert!(monitor.is_obeyed(number, PATIENCE));
}

#[test]
fn what_was_registered_outlives_owner_and_agent_and_is_taken_up_by_the_next_ones() {
    let mut target = Target::install(Kernel::Newest);
    let mut monitor = target.monitor();
    for process in [target.owner, target.agent] {
        target.vm.signal("KILL", process).unwrap();
        target.vm.wait_until(PATIENCE, &format!("test ! -d /proc/{process}")).unwrap();
    }
    let number = monitor.reaches_everything();
    assert!(monitor.is_obeyed(number, PATIENCE) && monitor.timer_advances());
    target.start_owner();
    target.start_agent();
    // Nothing was registered anew: the keys of before open it.
    assert!(monitor.advances(SensorKind::AGENT_HEARTBEAT)[0] > 0);
    assert_eq!(
        target.monitor().sensors().generation,
        monitor.0.region(RegionKind::SENSORS).unwrap().generation
    );
}

#[test]
fn a_nic_that_was_restarted_is_programmed_anew() {
    let target = Target::install(Kernel::Newest);
    target.monitor().reaches_everything();
    target.vm.restart_outside_nic().unwrap();
    let mut monitor = target.monitor();
    let number = monitor.reaches_everything();
    assert!(monitor.is_obeyed(number, PATIENCE));
}

#[test]
fn a_guest_that_is_reset_is_served_no_more_from_that_moment() {
    let target = Target::install(Kernel::Newest);
    let mut monitor = target.monitor();
    monitor.reaches_everything();
    target.vm.reset().unwrap();
    let begun = Instant::now();
    let lease = monitor.range(RegionKind::LEASE);
    while monitor.0.read(lease, &mut [0; 192]).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it is served all the same");
    }
    // Not because it booted: that takes longer, and is what the NIC was told of once, before.
    let said = target.vm.outside_nic_log();
    assert!(said.contains("the machine was reset"), "{said}");
    assert_eq!(said.matches("the guest has booted").count(), 1, "{said}");
}

fn conforms(kernel: Kernel) {
    let vm = boot(kernel, SeenFrom::Guests, &["backdoors-nic", "backdoors-conformance"]);
    let command =
        format!("backdoors-conformance --provider attached --nic /usr/bin/backdoors-nic --port {NIC_PORT}");
    let output = vm.run_within(Duration::from_secs(240), command).unwrap();
    assert!(output.succeeded(), "{}: {}\n{}", vm.release(), output.stdout, output.stderr);
    assert!(output.stdout.contains("\nok "), "{}", output.stdout);
}

#[test]
fn the_nic_outside_conforms_on_the_newest_kernel() {
    conforms(Kernel::Newest);
}

#[test]
fn the_nic_outside_conforms_on_kernel_6_1() {
    conforms(Kernel::Stable61);
}
