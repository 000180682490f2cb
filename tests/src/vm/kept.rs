//! Processes of a lab, which end with it.

use std::{
    ffi::OsStr,
    io,
    process::{Child, ChildStdout, Command},
    sync::{
        Mutex, OnceLock, PoisonError,
        mpsc::{self, Sender},
    },
    thread,
};

use super::{VmError, programs::system_program};

/// A process, killed when dropped, and killed by the kernel when this process ends in any other way.
#[derive(Debug)]
pub(super) struct Kept(Child);

type Order = (Command, Sender<io::Result<Child>>);

impl Kept {
    /// The beginning of the command of a program that is to be kept.
    pub fn command(program: impl AsRef<OsStr>) -> Result<Command, VmError> {
        let mut command = Command::new(system_program("setpriv")?);
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        Ok(command)
    }

    /// Starts it, from a thread that lives as long as this process: the kernel's "die with your parent" means the parent *thread*,
    /// and tests run in threads that end.
    pub fn start(command: Command) -> io::Result<Kept> {
        static KEEPER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
        let keeper = KEEPER.get_or_init(|| {
            let (orders, inbox) = mpsc::channel::<Order>();
            thread::spawn(move || {
                for (mut command, answer) in inbox {
                    let _ = answer.send(command.spawn());
                }
            });
            Mutex::new(orders)
        });
        let (answer, result) = mpsc::channel();
        let gone = |_| io::Error::other("the thread that starts guests has ended");
        keeper
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send((command, answer))
            .map_err(|_| gone(mpsc::RecvError))?;
        result.recv().map_err(gone)?.map(Kept)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// What it prints, if that is piped and nobody has taken it yet.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.0.stdout.take()
    }

    /// At once.
    pub fn kill(&mut self) {
        // Neither fails for a child that is still ours; once reaped, both do nothing.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.kill();
    }
}
