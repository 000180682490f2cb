//! One run of a program: told a case, given so much time, and read so far.

use super::children::Children;
use backdoors_healers::external::clean;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How much of the end of its complaints is kept, bytes.
const COMPLAINT: usize = 400;
/// How much of them is read before the clock is looked at again, bytes.
const COMPLAINTS_AT_ONCE: usize = 64 << 10;

/// What to run.
#[derive(Debug)]
pub(super) struct Job {
    /// The program and its arguments.
    pub command: Vec<String>,
    pub input: Vec<u8>,
    pub timeout: Duration,
    pub most_output: usize,
}

/// Why a program gave no answer. It does not run any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    #[error("it cannot be started: {0}")]
    NotStarted(#[source] io::Error),
    #[error("it did not answer within {0:?}, and was killed{1}")]
    TimedOut(Duration, Complaint),
    #[error("it answered more than {0} bytes, and was killed")]
    Floods(usize),
    #[error("it failed: {0}{1}")]
    Failed(ExitStatus, Complaint),
    #[error("it was lost: {0}")]
    Lost(#[from] io::Error),
}

/// The end of what it wrote to its standard error.
#[derive(Debug, Default)]
pub(super) struct Complaint(Vec<u8>);

impl Complaint {
    fn add(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let too_much = self.0.len().saturating_sub(COMPLAINT);
        self.0.drain(..too_much);
    }
}

impl std::fmt::Display for Complaint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = String::from_utf8_lossy(&self.0);
        match text.trim() {
            "" => Ok(()),
            text => write!(formatter, "; it said: {}", clean(text)),
        }
    }
}

/// Runs a program to its end and returns what it wrote. At its end, or when its time is over or it wrote too much, all
/// that is left of its process group is killed.
pub(super) fn run(job: &Job, children: &Children) -> Result<Vec<u8>, RunError> {
    let mut words = job.command.iter();
    let program = words.next().ok_or_else(|| RunError::NotStarted(io::ErrorKind::InvalidInput.into()))?;
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let begun = Instant::now();
    let mut child = children.start(&mut command).map_err(RunError::NotStarted)?;
    let conversation = converse(job, &mut child, begun);
    let status = children.end(&mut child);
    let (output, complaint) = conversation?;
    match status? {
        status if status.success() => Ok(output),
        status => Err(RunError::Failed(status, complaint)),
    }
}

/// Tells it the case and listens until it exits.
fn converse(job: &Job, child: &mut Child, begun: Instant) -> Result<(Vec<u8>, Complaint), RunError> {
    let id = Pid::from_raw(child.id().cast_signed()).ok_or(io::Error::from(io::ErrorKind::NotFound))?;
    let exit = pidfd_open(id, PidfdFlags::empty()).map_err(io::Error::from)?;
    let mut stdin = child.stdin.take();
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    unblock(stdin.as_ref())?;
    unblock(stdout.as_ref())?;
    unblock(stderr.as_ref())?;
    let mut untold = job.input.as_slice();
    let (mut output, mut complaint) = (Vec::new(), Complaint::default());
    loop {
        let left = job.timeout.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(RunError::TimedOut(job.timeout, complaint));
        }
        // Looked at before the pipes are: what it wrote before its end is in them then.
        let exited = wait(&exit, stdin.as_ref(), stdout.as_ref(), stderr.as_ref(), left)?;
        if stdin.as_mut().is_some_and(|pipe| tell(pipe, &mut untold)) {
            stdin = None;
        }
        let room = (job.most_output + 1).saturating_sub(output.len());
        listen(&mut stdout, room, |bytes| output.extend_from_slice(bytes))?;
        if output.len() > job.most_output {
            return Err(RunError::Floods(job.most_output));
        }
        listen(&mut stderr, COMPLAINTS_AT_ONCE, |bytes| complaint.add(bytes))?;
        if exited {
            return Ok((output, complaint));
        }
    }
}

fn unblock(pipe: Option<&impl AsFd>) -> io::Result<()> {
    let Some(pipe) = pipe else { return Ok(()) };
    Ok(fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?)
}

/// Waits until there is something to do, or `pause` is over; returns whether the program has exited.
fn wait(
    exit: &OwnedFd,
    stdin: Option<&ChildStdin>,
    stdout: Option<&ChildStdout>,
    stderr: Option<&ChildStderr>,
    pause: Duration,
) -> io::Result<bool> {
    let mut events = vec![PollFd::new(exit, PollFlags::IN)];
    events.extend(stdin.map(|pipe| PollFd::new(pipe, PollFlags::OUT)));
    events.extend(stdout.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    events.extend(stderr.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    let pause = Timespec { tv_sec: pause.as_secs().cast_signed(), tv_nsec: pause.subsec_nanos().into() };
    match poll(&mut events, Some(&pause)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(events.first().is_some_and(|exit| !exit.revents().is_empty()))
}

/// Writes what the pipe has room for; returns whether there is nothing more to tell.
fn tell(pipe: &mut ChildStdin, untold: &mut &[u8]) -> bool {
    while !untold.is_empty() {
        match pipe.write(untold) {
            Ok(written) => *untold = untold.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            // It does not want to hear more, and may answer all the same.
            Err(_) => return true,
        }
    }
    true
}

/// Reads what is in the pipe, `most` bytes at most.
fn listen<R: Read>(pipe: &mut Option<R>, most: usize, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let mut left = most;
    while left > 0 {
        let Some(open) = pipe else { return Ok(()) };
        let room = buffer.len().min(left);
        match open.read(&mut buffer[..room]) {
            Ok(0) => *pipe = None,
            Ok(length) => {
                take(&buffer[..length]);
                left -= length;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
