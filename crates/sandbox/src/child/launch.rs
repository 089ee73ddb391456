//! The last stage: gives up every privilege and becomes the command.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::process::Command as Process;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, nice, set_parent_process_death_signal, setrlimit, setsid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};

use super::{Refused, Step, rules, syscalls};
use crate::capabilities::LANDLOCK_MINIMUM;
use crate::cgroup::SPARE_TASKS;
use crate::command::{Exit, Limits};
use crate::spec::{Confinement, Program, Report, Spec};
use crate::system::close_descriptors_on_exec;

/// How much the command yields to the process that watches it.
const NICE: i32 = 5;
/// The kernel's last capability is found by the first that it refuses.
const LAST_CAPABILITY: u32 = 63;

/// Becomes the command; returns only if there is none, or if it cannot be started.
pub(super) fn launch(spec: &Spec) -> Result<Report, Refused> {
    let null = File::open("/dev/null").step("/dev/null")?;
    rustix::stdio::dup2_stdin(null).step("standard input")?;
    // Whoever watches us must not end before us.
    set_parent_process_death_signal(Some(Signal::KILL)).step("death signal")?;
    // A session of its own: no terminal to read from or to type into.
    setsid().step("session")?;
    nice(NICE).step("priority")?;
    set_limits(&spec.limits, spec.confinement).step("limits")?;
    if spec.confinement == Confinement::Full {
        drop_capabilities().step("capabilities")?;
    }
    let mut landlock_abi = 0;
    if spec.confinement != Confinement::None {
        set_no_new_privs(true).step("no new privileges")?;
        if spec.landlock {
            landlock_abi = rules::restrict(spec).step("landlock")?;
        }
    }
    close_descriptors_on_exec().step("descriptors")?;
    let Some(program) = &spec.program else {
        restrict_calls(spec)?;
        return Ok(Report::Ready { landlock_abi });
    };
    if spec.landlock && landlock_abi < LANDLOCK_MINIMUM {
        return Err(Refused { step: "landlock".to_owned(), message: format!("ABI {landlock_abi} is too old") });
    }
    restrict_calls(spec)?;
    Ok(become_program(program))
}

fn restrict_calls(spec: &Spec) -> Result<(), Refused> {
    if spec.confinement == Confinement::None { Ok(()) } else { syscalls::restrict(spec).step("seccomp") }
}

fn become_program(program: &Program) -> Report {
    let error =
        Process::new(&program.path).args(&program.args).env_clear().envs(&program.env).current_dir(&program.cwd).exec();
    Report::Ended(Exit::NotStarted(format!("{}: {error}", program.path.display())))
}

fn set_limits(limits: &Limits, confinement: Confinement) -> rustix::io::Result<()> {
    set_limit(Resource::Core, 0)?;
    set_limit(Resource::Cpu, limits.cpu_seconds)?;
    set_limit(Resource::Fsize, limits.file_bytes)?;
    set_limit(Resource::Nofile, limits.open_files)?;
    if confinement == Confinement::Full {
        // Counted per user and user namespace, so only here for this command alone.
        set_limit(Resource::Nproc, limits.processes + SPARE_TASKS)?;
    }
    Ok(())
}

fn set_limit(resource: Resource, value: u64) -> rustix::io::Result<()> {
    let ceiling = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let value = Some(value.min(ceiling));
    setrlimit(resource, Rlimit { current: value, maximum: value })
}

/// Nothing is left, and nothing can be got back by executing a program.
fn drop_capabilities() -> rustix::io::Result<()> {
    clear_ambient_capability_set()?;
    for bit in 0..=LAST_CAPABILITY {
        if remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)).is_err() {
            break;
        }
    }
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}
