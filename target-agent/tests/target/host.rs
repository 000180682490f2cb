//! A machine to be tested: a pid namespace with an owner of memory, an agent and whoever the test starts.

use crate::bound::Bound;
use backdoors_rdma::emulated::Nic;
use backdoors_rdma::handshake::Identity;
use backdoors_rdma::owner::{Client, Listener, serve};
use backdoors_sensor_box::layout::{Acknowledgement, CommandSlot};
use backdoors_sensor_box::{
    AcknowledgementView, Command as Order, CommandKey, CommandState, EncodedCommand, LeaseWord, Opcode,
    Opcodes, Process, ProcessView, Refusal, Seal, SensorKind, SensorView, SharedWords, Token,
};
use backdoors_target_agent::kernel::{KernelHalf, Pins};
use backdoors_target_agent::seat::Seat;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::mem::offset_of;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

const INSIDE: &str = "BACKDOORS_TEST_INSIDE";
/// Longer than anything takes on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `test` again, inside new pid and mount namespaces, where `body` is run instead.
pub fn inside(test: &str, body: impl FnOnce()) {
    enclosed(test, &["--mount"], "true", body);
}

/// The same with a network of its own, which is a loopback device.
pub fn inside_network(test: &str, body: impl FnOnce()) {
    enclosed(test, &["--mount", "--net"], "ip link set lo up", body);
}

fn enclosed(test: &str, namespaces: &[&str], first: &str, body: impl FnOnce()) {
    assert!(rustix::process::geteuid().is_root(), "this test loads eBPF programs: run it as root");
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let bound = Bound::new();
    // A shell is the first process: it waits for orphans, as init does.
    let script = format!("{{ {} && {first}; }} || exit 99; \"$@\"; exit $?", bound.enter());
    let end = Command::new("unshare")
        .args(namespaces)
        .args(["--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", &script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(end.success(), "{test} failed inside its namespace: {end}");
}

/// The machine.
pub struct Host {
    folder: tempfile::TempDir,
    agent: Option<Child>,
    half: Option<KernelHalf>,
    sequences: [u64; 16],
}

impl Host {
    /// Starts owner and agent; `more` is added to the agent's configuration.
    pub fn start(more: &str) -> Host {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bpf")).unwrap();
        for name in ["target", "monitor"] {
            Identity::generate(name).unwrap().save(folder.path()).unwrap();
        }
        let mut host = Host { folder, agent: None, half: None, sequences: [0; 16] };
        let listener = Listener::bind(&host.path("nic.sock")).unwrap();
        thread::spawn(move || {
            let (stop, _never) = UnixStream::pair().unwrap();
            let mut nic = Nic::new("127.0.0.1:0".parse().unwrap(), None).unwrap();
            serve(&listener, &mut nic, std::os::fd::AsFd::as_fd(&stop)).unwrap();
        });
        let folder = host.folder.path().display().to_string();
        let config = format!(
            "name = 'target'\nlisten = '127.0.0.1:0'\nidentity = '{folder}'\nowner = '{folder}/nic.sock'\n\
             pins = '{folder}/bpf/agent'\nscope = 'pid-namespace'\n{more}\n\
             [[monitor]]\nname = 'monitor'\ncertificate = '{folder}/monitor.crt'\nslot = 3\n"
        );
        std::fs::write(host.path("agent.toml"), config).unwrap();
        host.start_agent();
        host
    }

    /// Starts the agent (again) and waits until it is ready.
    pub fn start_agent(&mut self) {
        let mut agent = Command::new(env!("CARGO_BIN_EXE_backdoors-agent"))
            .arg("run")
            .arg("--config")
            .arg(self.path("agent.toml"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(agent.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("ready"), "the agent did not come up: {line:?}");
        self.agent = Some(agent);
        self.half = Some(KernelHalf::attach(&self.pins()).unwrap());
        // Each slot's monitor has shaken hands.
        for slot in 0..16 {
            let seat = Seat::new(key(slot), 1, may_all()).that_may_fence(true);
            self.half().change_seat(slot, |_| seat).unwrap();
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn pins(&self) -> Pins {
        Pins::new(&self.path("bpf/agent"))
    }

    pub fn half(&self) -> &KernelHalf {
        self.half.as_ref().unwrap()
    }

    pub fn owner(&self) -> Client {
        Client::connect(&self.path("nic.sock")).unwrap()
    }

    pub fn agent_pid(&self) -> u32 {
        self.agent.as_ref().unwrap().id()
    }

    pub fn signal(&self, pid: u32, signal: Signal) {
        kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
    }

    /// Stops the agent, so that the kernel half has nobody to put right what it missed.
    pub fn freeze_agent(&self) {
        self.signal(self.agent_pid(), Signal::STOP);
        eventually("a frozen agent", || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.agent_pid())).unwrap();
            stat.contains(") T ").then_some(())
        });
    }

    /// Stops the agent with this signal and waits for its end.
    pub fn end_agent(&mut self, signal: Signal) {
        self.signal(self.agent_pid(), signal);
        self.agent.take().unwrap().wait().unwrap();
    }

    pub fn sensors(&self) -> SensorView {
        let memory = self.half().memory.sensors.words.memory();
        let mut bytes = vec![0; memory.len()];
        memory.read_bytes(0, &mut bytes).unwrap();
        SensorView::decode(&bytes).unwrap()
    }

    pub fn sensor(&self, kind: SensorKind, instance: u32) -> u64 {
        self.sensors().sensor(kind, instance).map_or(0, |sensor| sensor.value)
    }

    /// What the table shows, read until no entry is torn.
    pub fn table(&self) -> ProcessView {
        let memory = self.half().memory.processes.words.memory();
        let mut bytes = vec![0; memory.len()];
        eventually("a process table without torn entries", || {
            memory.read_bytes(0, &mut bytes).unwrap();
            let view = ProcessView::decode(&bytes).unwrap();
            view.torn.is_empty().then_some(view)
        })
    }

    pub fn of_user(&self, user: u32) -> Vec<Process> {
        self.table().processes.into_iter().filter(|process| process.user == user).collect()
    }

    /// Takes the lease for a slot, from whoever holds it, as a monitor's NIC would.
    pub fn take_lease(&self, slot: usize) -> Token {
        let words = &self.half().memory.lease.words;
        let lease = LeaseWord::from_word(words.load(0));
        let taken = lease.taken_by(slot as u32);
        words.compare_exchange(0, lease.word(), taken.word()).unwrap();
        taken.token().unwrap()
    }

    /// The token of the lease, taken if another slot has it.
    pub fn lease(&self, slot: usize) -> Token {
        let lease = LeaseWord::from_word(self.half().memory.lease.words.load(0));
        let held = lease.token().filter(|_| lease.holder() == Some(slot as u32));
        held.unwrap_or_else(|| self.take_lease(slot))
    }

    /// Writes a command into a slot as a monitor's NIC would, by right of the lease.
    pub fn write(&mut self, slot: usize, sequence: u64, order: &Order) {
        let token = self.lease(slot);
        self.write_as(slot, sequence, order, token);
    }

    /// What the commands of a slot's monitor carry.
    pub fn seal(&self, slot: usize) -> Seal {
        let key = CommandKey::from_bytes(key(slot as u32));
        Seal { key, slot: slot as u32, generation: self.half().memory.generation }
    }

    /// Writes a command into a slot with any token.
    pub fn write_as(&mut self, slot: usize, sequence: u64, order: &Order, token: Token) {
        let encoded = order.encode(sequence, token, &self.seal(slot), "");
        let memory = self.half().memory.commands.words.memory();
        let base = slot * size_of::<CommandSlot>();
        memory.write_bytes(base, &encoded.body).unwrap();
        memory.write_bytes(base + EncodedCommand::SEQUENCE_OFFSET as usize, &encoded.sequence).unwrap();
    }

    /// Writes these very bytes into a slot.
    pub fn write_slot(&self, slot: usize, given: &CommandSlot) {
        let memory = self.half().memory.commands.words.memory();
        let (base, body) = (slot * size_of::<CommandSlot>(), EncodedCommand::SEQUENCE_OFFSET as usize);
        memory.write_bytes(base, &given.as_bytes()[..body]).unwrap();
        memory.write_bytes(base + body, &given.sequence.to_le_bytes()).unwrap();
    }

    /// Writes a command over another so that nothing that lies there meanwhile has a code that fits: of two that each differ from
    /// the right one, half of the one and half of the other may be the right one.
    pub fn write_slot_code_last(&self, slot: usize, given: &CommandSlot) {
        let memory = self.half().memory.commands.words.memory();
        let code = slot * size_of::<CommandSlot>() + offset_of!(CommandSlot, mac);
        memory.write_bytes(code, &[0; 16]).unwrap();
        self.write_slot(slot, &CommandSlot { mac: [0; 2], ..*given });
        memory.write_bytes(code, given.mac.as_bytes()).unwrap();
    }

    pub fn acknowledgement(&self, slot: usize) -> Option<AcknowledgementView> {
        let mut bytes = [0; size_of::<Acknowledgement>()];
        let memory = self.half().memory.acknowledgements.words.memory();
        memory.read_bytes(slot * bytes.len(), &mut bytes).unwrap();
        AcknowledgementView::decode(&bytes).ok()
    }

    /// Gives the next command of a slot and waits until it is over.
    pub fn order(&mut self, slot: usize, order: Order) -> AcknowledgementView {
        self.sequences[slot] += 1;
        let sequence = self.sequences[slot];
        self.write(slot, sequence, &order);
        self.answer(slot, sequence)
    }

    /// The final answer to the command with this sequence.
    pub fn answer(&self, slot: usize, sequence: u64) -> AcknowledgementView {
        eventually("an acknowledgement", || {
            let view = self.acknowledgement(slot)?;
            (view.command == sequence && view.state != CommandState::Running).then_some(view)
        })
    }

    /// What came of a command that was obeyed, whatever was said of its number before.
    pub fn end_of(&self, slot: usize, sequence: u64) -> AcknowledgementView {
        eventually("the end of a command", || {
            let view = self.acknowledgement(slot)?;
            let over = matches!(view.state, CommandState::Done | CommandState::GaveUp);
            (view.command == sequence && over).then_some(view)
        })
    }

    pub fn refused(&mut self, opcode: Opcode, subject: u32) -> Refusal {
        let answer = self.order(0, order(opcode, subject));
        assert_eq!(answer.state, CommandState::Refused);
        assert_eq!((answer.matched, answer.signalled), (0, 0));
        answer.reason
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        let _ = self.pins().remove();
        // What the agent mounted there cannot be removed with the folder.
        let _ = rustix::mount::unmount(self.path("bpf"), rustix::mount::UnmountFlags::DETACH);
    }
}

pub fn key(slot: u32) -> [u8; 16] {
    [slot as u8 + 1; 16]
}

pub fn may_all() -> Opcodes {
    Opcode::ALL.iter().map(|(opcode, _)| *opcode).collect()
}

pub fn order(opcode: Opcode, subject: u32) -> Order {
    Order::new(opcode, u64::from(subject))
}

/// Waits until `look` finds something.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Runs a shell script as a user, with room for `most` processes of that user; not at all without that bound.
pub fn victim(user: u32, most: u32, script: &str) -> Child {
    assert!(user >= 60000);
    let victim = Command::new("prlimit")
        .args([&format!("--nproc={most}:{most}"), "sh", "-c", script])
        .uid(user)
        .gid(user)
        .spawn()
        .unwrap();
    eventually("the bound on a victim's processes", || {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", victim.id())).ok()?;
        let line = limits.lines().find(|line| line.starts_with("Max processes"))?;
        (line.split_whitespace().nth(2)? == most.to_string()).then_some(())
    });
    victim
}
