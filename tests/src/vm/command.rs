//! Commands that run in a guest.

use std::{fmt, time::Duration};

use super::{
    VmError,
    channel::{Answers, Channel},
    protocol::{Action, Event},
};

/// How long the server in the guest, which nothing there can hold up for long, may take to answer.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// The same for a command that is late: the guest may well be dead, and the caller has waited long enough.
const PARTING_DEADLINE: Duration = Duration::from_secs(5);

/// A line for the guest's shell (bash). A plain string makes one that root runs.
#[derive(Clone, Debug)]
pub struct GuestCommand {
    script: String,
    user: u32,
    priority: Option<Priority>,
}

/// Against what else runs in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// As any program.
    Normal,
    /// Nice −20 and spared by the out-of-memory killer: slow, but never stopped by another user's fork bomb.
    Favoured,
    /// Before everything else, `SCHED_FIFO`. Not for programs that spin: they keep the kernel's own threads waiting.
    RealTime,
}

impl GuestCommand {
    /// Runs `script` as root.
    pub fn new(script: impl Into<String>) -> Self {
        GuestCommand { script: script.into(), user: 0, priority: None }
    }

    /// As this user; 1000 is `alice` and 1001 is `mallory`.
    pub fn user(self, user: u32) -> Self {
        GuestCommand { user, ..self }
    }

    /// Other than the usual: [`Priority::Favoured`] for root's commands that are waited for, else
    /// [`Priority::Normal`].
    pub fn priority(self, priority: Priority) -> Self {
        GuestCommand { priority: Some(priority), ..self }
    }

    pub(super) fn script(&self) -> &str {
        &self.script
    }

    pub(super) fn start(&self, usual: Priority) -> Action {
        let usual = if self.user == 0 { usual } else { Priority::Normal };
        let (prefix, spared): (&[&str], i32) = match self.priority.unwrap_or(usual) {
            Priority::Normal => (&["chrt", "--other", "0"], 0),
            Priority::Favoured => (&["chrt", "--other", "0", "nice", "-n", "-20"], -900),
            Priority::RealTime => (&["chrt", "--fifo", "40"], -900),
        };
        let script = format!("echo {spared} >/proc/self/oom_score_adj\n{}", self.script);
        let words = prefix.iter().copied().chain(["bash", "-c", &script]);
        Action::Start { arguments: words.map(str::to_owned).collect(), user: self.user }
    }
}

impl<S: Into<String>> From<S> for GuestCommand {
    fn from(script: S) -> Self {
        GuestCommand::new(script)
    }
}

/// What a command left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Its exit status, or 128 plus the signal that killed it.
    pub status: i32,
    /// At most the first 8 MiB.
    pub stdout: String,
    /// At most the first 8 MiB.
    pub stderr: String,
}

impl Output {
    fn new(status: i32, stdout: usize, payload: &[u8]) -> Output {
        let (stdout, stderr) = payload.split_at(stdout.min(payload.len()));
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Output { status, stdout: text(stdout), stderr: text(stderr) }
    }

    /// Whether it ended with status 0.
    pub fn succeeded(&self) -> bool {
        self.status == 0
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.stdout, self.stderr)
    }
}

/// A command under way in a guest. Dropping it leaves it running.
#[derive(Debug)]
pub struct Running<'vm> {
    channel: &'vm Channel,
    answers: Answers,
    command: String,
    pid: i32,
    ended: Option<Output>,
}

impl<'vm> Running<'vm> {
    pub(super) fn start(
        channel: &'vm Channel,
        command: &GuestCommand,
        usual: Priority,
    ) -> Result<Self, VmError> {
        let answers = channel.request(command.start(usual), b"")?;
        match answers.next(ANSWER_DEADLINE)? {
            Some((Event::Started { pid }, _)) => {
                Ok(Running { channel, answers, command: command.script().to_owned(), pid, ended: None })
            }
            Some((event, _)) => Err(VmError::Refused(format!("an answer out of turn: {event:?}"))),
            None => Err(VmError::Silent(ANSWER_DEADLINE)),
        }
    }

    /// Of its shell, in the guest; also the number of its process group.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits until the shell has ended; processes that it left in the background do not count.
    ///
    /// # Errors
    /// [`VmError::Late`] after trying to kill its process group, or when the guest is gone.
    pub fn wait(mut self, deadline: Duration) -> Result<Output, VmError> {
        if !self.look(deadline)? {
            let output = self.output_within(PARTING_DEADLINE).unwrap_or_default();
            // Either it is killed, or it has ended just now, or nobody is there to do it.
            let action = Action::Signal { task: self.answers.id, signal: 9 };
            let _ = self.channel.ask(action, b"", PARTING_DEADLINE);
            return Err(VmError::Late { command: self.command.clone(), deadline, output });
        }
        self.ended.take().ok_or(VmError::Gone)
    }

    /// Sends a signal, by number, to its process group.
    ///
    /// # Errors
    /// When it has ended, or the guest does not answer.
    pub fn signal(&self, signal: i32) -> Result<(), VmError> {
        let action = Action::Signal { task: self.answers.id, signal };
        self.channel.ask(action, b"", ANSWER_DEADLINE).map(drop)
    }

    /// What it has printed so far. `status` has no meaning while it runs.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub fn output(&mut self) -> Result<Output, VmError> {
        self.output_within(ANSWER_DEADLINE)
    }

    fn output_within(&mut self, deadline: Duration) -> Result<Output, VmError> {
        if self.is_running()? {
            match self.channel.ask(Action::ReadOutput { task: self.answers.id }, b"", deadline) {
                Ok((Event::Output { stdout }, payload)) => return Ok(Output::new(0, stdout, &payload)),
                // It ended in between: its last answer is on the way.
                Ok(_) | Err(VmError::Refused(_)) => drop(self.look(deadline)?),
                Err(error) => return Err(error),
            }
        }
        self.ended.clone().ok_or(VmError::Silent(deadline))
    }

    /// Whether its shell still runs.
    ///
    /// # Errors
    /// When the guest is gone.
    pub fn is_running(&mut self) -> Result<bool, VmError> {
        Ok(!self.look(Duration::ZERO)?)
    }

    /// Whether it has ended, at the latest after `patience`.
    fn look(&mut self, patience: Duration) -> Result<bool, VmError> {
        if self.ended.is_none()
            && let Some((Event::Exited { status, stdout }, payload)) = self.answers.next(patience)?
        {
            self.ended = Some(Output::new(status, stdout, &payload));
        }
        Ok(self.ended.is_some())
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.channel.forget(&self.answers);
    }
}
