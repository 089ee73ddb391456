//! Counts what the command uses, from outside of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;
use rustix::process::{Pid, getpid};

use super::supervise::Scope;
use crate::command::{Limit, Limits};
use crate::spec::Spec;

/// Free space that is left to the machine, however little the command wrote.
const DISK_RESERVE_BYTES: u64 = 256 << 20;
/// Files after which a workspace counts as too large.
const WALK_ENTRIES: usize = 1_000_000;

/// The limits that no system call enforces for all processes together.
pub(super) struct Watch {
    limits: Limits,
    scope: Scope,
    page_bytes: u64,
    disk: Option<Disk>,
}

struct Disk {
    workspace: PathBuf,
    /// Free space when the command was last known to have written little.
    free_bytes: u64,
    reserve_bytes: u64,
}

/// A process, as `/proc/PID/stat` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: Pid,
    parent: i32,
    threads: u64,
    pages: u64,
}

impl Watch {
    pub(super) fn new(spec: &Spec, scope: Scope) -> Self {
        let disk = spec.view.workspace.clone().and_then(|workspace| {
            let free_bytes = free(&workspace)?;
            Some(Disk { workspace, free_bytes, reserve_bytes: DISK_RESERVE_BYTES.min(free_bytes / 2) })
        });
        Self { limits: spec.limits, scope, page_bytes: rustix::param::page_size() as u64, disk }
    }

    /// The limit that is passed, if one is.
    pub(super) fn passed(&mut self) -> Option<Limit> {
        let processes = processes(self.scope);
        let tasks: u64 = processes.iter().map(|process| process.threads).sum();
        let pages: u64 = processes.iter().map(|process| process.pages).sum();
        if tasks > self.limits.processes {
            return Some(Limit::Processes);
        }
        if pages * self.page_bytes > self.limits.memory_bytes {
            return Some(Limit::Memory);
        }
        let disk_bytes = self.limits.disk_bytes;
        self.disk.as_mut().is_some_and(|disk| disk.passed(disk_bytes)).then_some(Limit::Disk)
    }
}

impl Disk {
    /// Asks for the free space, which is cheap, and walks the workspace only when much of it went away: it may have
    /// been somebody else.
    fn passed(&mut self, limit_bytes: u64) -> bool {
        let Some(free_bytes) = free(&self.workspace) else { return false };
        if free_bytes < self.reserve_bytes {
            return true;
        }
        if self.free_bytes.saturating_sub(free_bytes) <= limit_bytes {
            return false;
        }
        self.free_bytes = free_bytes;
        size(&self.workspace) > limit_bytes
    }
}

fn free(path: &Path) -> Option<u64> {
    statvfs(path).ok().map(|system| system.f_bavail * system.f_frsize)
}

/// Bytes on disk of a directory and all below it.
fn size(directory: &Path) -> u64 {
    let (mut bytes, mut entries, mut open) = (0_u64, 0, vec![directory.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            bytes += metadata.blocks() * 512;
            entries += 1;
            if metadata.is_dir() {
                open.push(entry.path());
            }
        }
        if entries > WALK_ENTRIES {
            return u64::MAX;
        }
    }
    bytes
}

/// The living processes in a scope, this one left out.
pub(super) fn processes(scope: Scope) -> Vec<Process> {
    let own = getpid();
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let all: Vec<Process> = all
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        .filter_map(|stat| parse(&stat))
        .filter(|process| process.pid != own)
        .collect();
    match scope {
        Scope::Namespace => all,
        Scope::Descendants => descendants(own, all),
    }
}

fn descendants(ancestor: Pid, all: Vec<Process>) -> Vec<Process> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for process in &all {
        children.entry(process.parent).or_default().push(process.pid.as_raw_nonzero().get());
    }
    let (mut found, mut open) = (BTreeSet::new(), vec![ancestor.as_raw_nonzero().get()]);
    while let Some(parent) = open.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            found.insert(child);
            open.push(child);
        }
    }
    all.into_iter().filter(|process| found.contains(&process.pid.as_raw_nonzero().get())).collect()
}

/// Parses `PID (NAME) STATE PARENT ...`, where the name may hold anything; a zombie is no living process.
fn parse(stat: &str) -> Option<Process> {
    let (pid, rest) = stat.split_once(" (")?;
    let (_, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    if matches!(fields.first(), Some(&"Z" | &"X")) {
        return None;
    }
    Some(Process {
        pid: Pid::from_raw(pid.parse().ok()?)?,
        parent: fields.get(1)?.parse().ok()?,
        threads: number(17)?,
        pages: number(21)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "7 (a) b) S 3 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 5 0 100 8192 42 18446744073709551615 1 1";

    fn process(pid: i32, parent: i32) -> Process {
        Process { pid: Pid::from_raw(pid).unwrap(), parent, threads: 1, pages: 1 }
    }

    #[test]
    fn a_name_with_brackets_does_not_confuse_the_count() {
        let expected = Process { pid: Pid::from_raw(7).unwrap(), parent: 3, threads: 5, pages: 42 };
        assert_eq!(parse(STAT), Some(expected));
    }

    #[test]
    fn a_zombie_does_not_live() {
        assert_eq!(parse(&STAT.replace(" S ", " Z ")), None);
    }

    #[test]
    fn descendants_are_found_over_generations_and_nobody_else() {
        let all = vec![process(2, 1), process(3, 2), process(4, 3), process(5, 1), process(6, 5)];
        let found: Vec<Process> = descendants(Pid::from_raw(2).unwrap(), all);
        assert_eq!(found, [process(3, 2), process(4, 3)]);
    }
}
