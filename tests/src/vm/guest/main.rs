//! Serves the virtual-machine lab from inside a guest.
//!
//! Started by the guest's first process under a real-time policy, out of reach of the out-of-memory killer, so that it
//! answers while other users of the guest do their worst. What it starts gets the policy that the lab asks for.
//!
//! With the arguments `hang 0 1` it does something else: it keeps processors 0 and 1 spinning with interrupts off.

mod hang;

use std::{
    collections::HashMap,
    env,
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::{
        fs::{FileExt, PermissionsExt},
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use backdoors_tests::vm::protocol::{Action, Event, PORT, Reply, Request, receive, send};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// More than this of what a command prints is not reported.
const LONGEST_OUTPUT: usize = 8 << 20;
/// Longest time that the kernel may take to make the port, which it does in the background.
const PORT_DEADLINE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let done = match arguments.split_first() {
        None => serve(),
        Some((what, processors)) if what == "hang" => {
            let parsed: Result<Vec<usize>, _> = processors.iter().map(|number| number.parse()).collect();
            parsed.map_err(io::Error::other).and_then(|processors| hang::hang(&processors))
        }
        Some((what, _)) => Err(io::Error::other(format!("`{what}` is nothing it can do"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the lab's server in the guest failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    let port = OpenOptions::new().read(true).write(true).open(find_port()?)?;
    let mut requests = port.try_clone()?;
    let guest = Arc::new(Guest { replies: Mutex::new(port), tasks: Mutex::default() });
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned();
    guest.reply(0, Event::Ready { release }, b"");
    loop {
        let (Request { id, action }, payload) = receive(&mut requests)?;
        let answer = match action {
            Action::Start { arguments, user } => {
                Arc::clone(&guest).start(id, &arguments, user).map(|()| None)
            }
            Action::Signal { task, signal } => {
                guest.signal(task, signal).map(|()| Some((Event::Done, Vec::new())))
            }
            Action::ReadOutput { task } => guest.output(task).map(Some),
            Action::WriteFile { path, permissions } => {
                write_file(Path::new(&path), permissions, &payload).map(|()| Some((Event::Done, Vec::new())))
            }
        };
        match answer {
            Ok(None) => {}
            Ok(Some((event, payload))) => guest.reply(id, event, &payload),
            Err(error) => guest.reply(id, Event::Refused { reason: error.to_string() }, b""),
        }
    }
}

/// The device of the port named [`PORT`].
fn find_port() -> io::Result<PathBuf> {
    let deadline = Instant::now() + PORT_DEADLINE;
    while Instant::now() < deadline {
        for entry in fs::read_dir("/sys/class/virtio-ports").into_iter().flatten().flatten() {
            let device = Path::new("/dev").join(entry.file_name());
            let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            if name.trim() == PORT && device.exists() {
                return Ok(device);
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "there is no control port"))
}

struct Guest {
    replies: Mutex<File>,
    tasks: Mutex<HashMap<u64, Task>>,
}

/// A process group whose first process has not been reaped.
struct Task {
    group: Pid,
    stdout: File,
    stderr: File,
}

impl Guest {
    fn reply(&self, id: u64, event: Event, payload: &[u8]) {
        // With the port gone the lab is gone, and the loop that reads requests ends by itself.
        if let Err(error) = send(&mut *lock(&self.replies), &Reply { id, event }, payload) {
            eprintln!("cannot answer the lab: {error}");
        }
    }

    fn start(self: Arc<Self>, id: u64, arguments: &[String], user: u32) -> io::Result<()> {
        let Some((program, arguments)) = arguments.split_first() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "nothing to start"));
        };
        // Files rather than pipes: a pipe stays open as long as any grandchild lives.
        let (stdout, stderr) = (output_file(id, "out")?, output_file(id, "err")?);
        let child = Command::new(program)
            .args(arguments)
            .uid(user)
            .gid(user)
            .process_group(0)
            .current_dir("/tmp")
            .stdin(Stdio::null())
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?)
            .spawn()?;
        let group = Pid::from_child(&child);
        lock(&self.tasks).insert(id, Task { group, stdout, stderr });
        self.reply(id, Event::Started { pid: group.as_raw_nonzero().get() }, b"");
        let guest = Arc::clone(&self);
        let waiter = thread::Builder::new().stack_size(256 << 10).spawn(move || guest.finish(id, child));
        if let Err(error) = waiter {
            self.signal(id, Signal::KILL.as_raw())?;
            return Err(error);
        }
        Ok(())
    }

    fn finish(&self, id: u64, mut child: Child) {
        // Reaped only under the lock, so that no signal can reach a stranger with the same number.
        while let Err(error) =
            waitid(WaitId::Pid(Pid::from_child(&child)), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
        {
            if error != rustix::io::Errno::INTR {
                eprintln!("cannot wait for a command: {error}");
                break;
            }
        }
        let mut tasks = lock(&self.tasks);
        let status = child.wait();
        let task = tasks.remove(&id);
        drop(tasks);
        let (Some(task), Ok(status)) = (task, status) else {
            return self.reply(id, Event::Refused { reason: "its exit status is lost".into() }, b"");
        };
        let status = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        match task.output() {
            Ok((stdout, payload)) => self.reply(id, Event::Exited { status, stdout }, &payload),
            Err(error) => {
                self.reply(id, Event::Refused { reason: format!("its output is lost: {error}") }, b"")
            }
        }
    }

    fn signal(&self, task: u64, signal: i32) -> io::Result<()> {
        let signal = Signal::from_named_raw(signal).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("there is no signal {signal}"))
        })?;
        match lock(&self.tasks).get(&task) {
            Some(task) => Ok(kill_process_group(task.group, signal)?),
            None => Err(ended()),
        }
    }

    fn output(&self, task: u64) -> io::Result<(Event, Vec<u8>)> {
        let (stdout, payload) = lock(&self.tasks).get(&task).ok_or_else(ended)?.output()?;
        Ok((Event::Output { stdout }, payload))
    }
}

impl Task {
    fn output(&self) -> io::Result<(usize, Vec<u8>)> {
        let mut output = read_from_start(&self.stdout)?;
        let stdout = output.len();
        output.extend(read_from_start(&self.stderr)?);
        Ok((stdout, output))
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "it has ended")
}

/// Reads without moving the offset that the file's writers share.
fn read_from_start(file: &File) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(LONGEST_OUTPUT).min(LONGEST_OUTPUT);
    let mut bytes = vec![0; length];
    let mut read = 0;
    while read < length {
        match file.read_at(&mut bytes[read..], read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    bytes.truncate(read);
    Ok(bytes)
}

/// A file without a name: it goes when its last user goes.
fn output_file(id: u64, kind: &str) -> io::Result<File> {
    let path = format!("/run/lab-{id}.{kind}");
    let file = OpenOptions::new().read(true).append(true).create_new(true).open(&path)?;
    fs::remove_file(path)?;
    Ok(file)
}

fn write_file(path: &Path, permissions: u32, content: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, content)?;
    fs::set_permissions(path, Permissions::from_mode(permissions))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
