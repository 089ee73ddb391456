//! Starts the command, watches it, and leaves no process behind.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, getpid, kill_process, pidfd_open, set_child_subreaper, wait,
};

use super::watch::{Watch, processes};
use super::{Refused, Step, start};
use crate::command::{Exit, Limit};
use crate::spec::{Report, Spec, Stage};

/// How often limits are looked at: a fork bomb grows to some hundred processes in between.
const TICK: Duration = Duration::from_millis(20);

/// Which processes are the command's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All but this one, the first of its namespace: they end when it does.
    Namespace,
    /// Those that descend from this one, adopted when their parent ends.
    Descendants,
}

/// Runs the command to its end or to a limit.
pub(super) fn supervise(control: &OwnedFd, spec: &Spec, scope: Scope) -> Result<Report, Refused> {
    if scope == Scope::Descendants {
        set_child_subreaper(Some(getpid())).step("subreaper")?;
    }
    let mut watch = Watch::new(spec, scope);
    let deadline = Instant::now() + Duration::from_secs(spec.limits.wall_seconds);
    let launched = start(Stage::Launch, control).step("command")?;
    let pid = Pid::from_child(&launched);
    let ended = pidfd_open(pid, PidfdFlags::empty()).step("command")?;
    let exit = loop {
        if let Some(exit) = reap(pid) {
            break exit;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break Exit::Limit(Limit::Wall);
        }
        if let Some(limit) = watch.passed() {
            break Exit::Limit(limit);
        }
        if caller_is_gone(control, &ended, left.min(TICK)).step("wait")? {
            break Exit::Signal(Signal::KILL.as_raw());
        }
    };
    if scope == Scope::Descendants {
        end_descendants();
    }
    Ok(Report::Ended(exit))
}

/// Waits until the command ended, the caller went away (then true) or the time is over.
fn caller_is_gone(control: &OwnedFd, ended: &OwnedFd, time: Duration) -> rustix::io::Result<bool> {
    let mut descriptors = [PollFd::new(control, PollFlags::empty()), PollFd::new(ended, PollFlags::IN)];
    let time = Timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()) };
    match poll(&mut descriptors, Some(&time)) {
        Ok(_) => Ok(descriptors[0].revents().contains(PollFlags::HUP)),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes in every process that ended; how the command did, if it is among them.
fn reap(command: Pid) -> Option<Exit> {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == command {
            return Some(exit(status));
        }
    }
    None
}

fn exit(status: WaitStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Signal(0),
    }
}

/// Ends whatever descends from this process, until nothing does.
fn end_descendants() {
    loop {
        let left = processes(Scope::Descendants);
        if left.is_empty() {
            return;
        }
        for process in left {
            // One that is gone by now is what we want.
            let _ = kill_process(process.pid, Signal::KILL);
        }
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    }
}
