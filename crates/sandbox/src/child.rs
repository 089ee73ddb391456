//! The child's side: three processes, each the same program started again, each with a single thread.
//!
//! `outer` enters control groups and unshares; `init` is the first process of the namespaces, builds the view and
//! watches; `launch` gives up every privilege and becomes the command. Without namespaces `outer` watches itself.
//! Starting again instead of forking is what makes this safe in a caller with many threads.

mod launch;
mod loopback;
mod mounts;
mod namespaces;
mod rules;
mod supervise;
mod syscalls;
mod watch;

use std::fmt::Display;
use std::io;
use std::process::{Child, Command as Process, Stdio};

use rustix::fd::OwnedFd;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::RecvFlags;

use crate::spec::{self, CHILD_ARGUMENT, Confinement, Report, Spec, Stage};

/// A step that failed: the command must not run.
struct Refused {
    step: String,
    message: String,
}

/// Names the step that an error belongs to.
trait Step<T> {
    fn step(self, name: &str) -> Result<T, Refused>;
}

impl<T, E: Display> Step<T> for Result<T, E> {
    fn step(self, name: &str) -> Result<T, Refused> {
        self.map_err(|error| Refused { step: name.to_owned(), message: error.to_string() })
    }
}

/// Becomes the sandbox's child if this process was started as one; otherwise returns at once.
///
/// Call it first in `main`, before any thread is started: a child never returns from it.
pub fn run_if_child() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != CHILD_ARGUMENT) {
        return;
    }
    let stages = [Stage::Outer, Stage::Init, Stage::Launch];
    let stage = arguments.next().and_then(|name| stages.into_iter().find(|stage| name == stage.name()));
    let (Some(stage), Ok(control)) = (stage, fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)) else {
        std::process::exit(2);
    };
    let report = match run_stage(stage, &control) {
        Ok(report) => report,
        Err(Refused { step, message }) => Some(Report::Refused { step, message }),
    };
    // Whether it can be told or not: the caller that hears nothing refuses too.
    let told = report.map_or(Ok(()), |report| spec::tell(&control, &report));
    std::process::exit(i32::from(told.is_err()));
}

/// Runs one stage; the last one returns only when it did not become the command.
fn run_stage(stage: Stage, control: &OwnedFd) -> Result<Option<Report>, Refused> {
    let flags = if stage == Stage::Launch { RecvFlags::empty() } else { RecvFlags::PEEK };
    let spec: Spec = spec::hear(control, flags).step("read the command")?;
    match (stage, spec.confinement) {
        (Stage::Outer, Confinement::Full) => namespaces::outer(control, &spec).map(|()| None),
        (Stage::Outer, _) => {
            namespaces::enter_cgroups(&spec)?;
            supervise::supervise(control, &spec, supervise::Scope::Descendants).map(Some)
        }
        (Stage::Init, _) => {
            namespaces::settle(&spec)?;
            supervise::supervise(control, &spec, supervise::Scope::Namespace).map(Some)
        }
        (Stage::Launch, _) => launch::launch(&spec).map(Some),
    }
}

/// Starts the next stage; the program is found by the kernel, wherever the view has hidden it.
fn start(stage: Stage, control: &OwnedFd) -> io::Result<Child> {
    Process::new("/proc/self/exe").args([CHILD_ARGUMENT, stage.name()]).stdin(Stdio::from(control.try_clone()?)).spawn()
}
