//! Enters control groups and namespaces.

use std::fs::OpenOptions;
use std::io::{self, Write as _};

use rustix::fd::OwnedFd;
use rustix::process::{
    DumpableBehavior, Signal, WaitOptions, getgid, getuid, set_dumpable_behavior, set_parent_process_death_signal, wait,
};
use rustix::system::sethostname;
use rustix::thread::{
    CapabilitySet, UnshareFlags, capabilities, configure_capability_in_ambient_set, set_capabilities,
};

use super::{Refused, Step, loopback, mounts, start};
use crate::spec::{Spec, Stage};
use crate::system::unshare;

/// What `init` needs to build the view, and `launch` to give everything up.
const INIT_CAPABILITIES: [CapabilitySet; 3] =
    [CapabilitySet::SYS_ADMIN, CapabilitySet::NET_ADMIN, CapabilitySet::SETPCAP];

/// The stage outside: makes the namespaces, starts their first process and waits for it.
pub(super) fn outer(control: &OwnedFd, spec: &Spec) -> Result<(), Refused> {
    enter_cgroups(spec)?;
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    let mut flags = UnshareFlags::NEWUSER
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS;
    flags.set(UnshareFlags::NEWNET, !spec.network);
    unshare(flags).step("namespaces")?;
    map_user(uid, gid).step("user namespace")?;
    keep_capabilities_over_exec().step("capabilities")?;
    start(Stage::Init, control).step("first process")?;
    // `init` reports by itself; when it ends the kernel has ended all that it started.
    wait(WaitOptions::empty()).step("first process")?;
    Ok(())
}

/// The first process of the namespaces, before it starts the command.
pub(super) fn settle(spec: &Spec) -> Result<(), Refused> {
    set_parent_process_death_signal(Some(Signal::KILL)).step("death signal")?;
    if !spec.network {
        loopback::bring_up().step("loopback")?;
    }
    sethostname(b"sandbox").step("host name")?;
    mounts::build(&spec.view, spec.limits.tmp_bytes)?;
    // The command runs as the same user: it must not look into this process by way of /proc.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).step("dumpable")
}

pub(super) fn enter_cgroups(spec: &Spec) -> Result<(), Refused> {
    for entrance in &spec.cgroups {
        write_existing(&entrance.to_string_lossy(), "0").step("control group")?;
    }
    Ok(())
}

/// The user stays the same inside, and is the only one there.
fn map_user(uid: u32, gid: u32) -> io::Result<()> {
    write_existing("/proc/self/setgroups", "deny")?;
    write_existing("/proc/self/uid_map", &format!("{uid} {uid} 1"))?;
    write_existing("/proc/self/gid_map", &format!("{gid} {gid} 1"))
}

fn keep_capabilities_over_exec() -> io::Result<()> {
    let mut sets = capabilities(None)?;
    sets.inheritable = sets.permitted;
    set_capabilities(None, sets)?;
    for capability in INIT_CAPABILITIES {
        configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

fn write_existing(path: &str, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}
