//! Control groups: the hard bound under the watch's verdict, where the machine lets us make one.
//!
//! The watch ends a command that passes a limit; between two looks a control group keeps a fork bomb from taking
//! the machine. So its bounds lie a little above the limits.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::command::Limits;

const ROOT: &str = "/sys/fs/cgroup";
/// Of the names of groups; the id of the process that made one follows.
const PREFIX: &str = "gatewright-";
/// Tasks above the limit, for the watch to see that the limit was passed.
pub(crate) const SPARE_TASKS: u64 = 64;

/// The groups of one command; they are removed when this goes away.
#[derive(Debug, Default)]
pub(crate) struct Cgroups {
    directories: Vec<PathBuf>,
    pub(crate) pids: bool,
    pub(crate) memory: bool,
}

impl Cgroups {
    /// Makes what can be made.
    pub(crate) fn create(limits: &Limits) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let tasks = (limits.processes + SPARE_TASKS).to_string();
        let memory = (limits.memory_bytes + limits.memory_bytes / 8).to_string();
        let mut groups = Self::default();
        for parent in homes(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default()) {
            sweep(&parent);
            let directory = parent.join(&name);
            if fs::create_dir(&directory).is_err() {
                continue;
            }
            let bound = |file: &str, value: &str| write_existing(&directory.join(file), value).is_ok();
            let pids = !groups.pids && bound("pids.max", &tasks);
            let memory = !groups.memory && (bound("memory.max", &memory) || bound("memory.limit_in_bytes", &memory));
            if pids || memory {
                groups.pids |= pids;
                groups.memory |= memory;
                groups.directories.push(directory);
            } else {
                // Another parent may offer the controller.
                let _ = fs::remove_dir(&directory);
            }
        }
        groups
    }

    /// The files that a process writes `0` to in order to enter.
    pub(crate) fn entrances(&self) -> Vec<PathBuf> {
        self.directories.iter().map(|directory| directory.join("cgroup.procs")).collect()
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for directory in &self.directories {
            // Fails while a process is left, which ends with its namespace; an empty group costs nothing.
            let _ = fs::remove_dir(directory);
        }
    }
}

/// Removes the groups that a caller left behind when it was killed.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            // One with processes stays.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Writes to a file that must be there: outside a control group's file system it must not be made.
fn write_existing(path: &Path, value: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

/// Where groups may be made, by `/proc/self/cgroup`: version 1 below our own group of the controller; version 2
/// below our own group or, since a group with processes passes no controllers on, beside it.
fn homes(own: &str) -> Vec<PathBuf> {
    let mut homes = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let path = path.trim_start_matches('/');
        if controllers.is_empty() {
            let group = Path::new(ROOT).join(path);
            homes.extend(
                [Some(group.as_path()), group.parent().filter(|parent| parent.starts_with(ROOT))]
                    .into_iter()
                    .flatten()
                    .map(Path::to_owned),
            );
        } else if controllers.split(',').any(|controller| controller == "pids" || controller == "memory") {
            homes.push(Path::new(ROOT).join(controllers).join(path));
        }
    }
    homes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_has_a_home_for_each_controller() {
        let homes = homes("9:name=systemd:/\n8:pids:/\n4:memory:/user/x\n1:cpu:/\n");
        assert_eq!(homes, [Path::new("/sys/fs/cgroup/pids"), Path::new("/sys/fs/cgroup/memory/user/x")]);
    }

    #[test]
    fn version_2_may_make_groups_below_or_beside_our_own() {
        assert_eq!(
            homes("0::/user.slice/app"),
            [Path::new("/sys/fs/cgroup/user.slice/app"), Path::new("/sys/fs/cgroup/user.slice")]
        );
        assert_eq!(homes("0::/"), [Path::new("/sys/fs/cgroup")]);
    }
}
