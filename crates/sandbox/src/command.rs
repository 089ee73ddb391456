//! What is asked of the sandbox, and what it answers.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A command to run confined.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Command {
    /// The program: a path, or a name looked up in the `PATH` of [`Command::env`].
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// The directory it starts in, as it sees it: see [`crate::Sandbox::workspace_inside`].
    pub cwd: PathBuf,
    /// Its whole environment: nothing of the caller's comes along. `TMPDIR` is added.
    pub env: BTreeMap<String, String>,
    /// The one directory it may write to, by its path outside.
    pub workspace: PathBuf,
    /// What it may read beside the system's own directories, by real paths; what does not exist is left out.
    pub read_only: Vec<PathBuf>,
    /// Whether it shares the machine's network (the setup phase); otherwise it has its own loopback only.
    pub network: bool,
    /// Its limits.
    pub limits: Limits,
}

/// What a command may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Wall time.
    pub wall_seconds: u64,
    /// CPU time of each process; a signal ends the one that passes it.
    pub cpu_seconds: u64,
    /// Memory of all processes together.
    pub memory_bytes: u64,
    /// Tasks (processes and threads) at once.
    pub processes: u64,
    /// Open files of each process.
    pub open_files: u64,
    /// Size of each file written.
    pub file_bytes: u64,
    /// Growth of the workspace.
    pub disk_bytes: u64,
    /// What is kept of stdout and of stderr, each: the first and the last half.
    pub output_bytes: usize,
    /// Size of the private `/tmp` and of the private `/dev/shm`, each.
    pub tmp_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const GIB: u64 = 1 << 30;
        Self {
            wall_seconds: 600,
            cpu_seconds: 1_200,
            memory_bytes: 4 * GIB,
            processes: 1_024,
            open_files: 4_096,
            file_bytes: 2 * GIB,
            disk_bytes: 8 * GIB,
            output_bytes: 4 << 20,
            tmp_bytes: GIB,
        }
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it (24 `SIGXCPU`: its CPU time was used up; 25 `SIGXFSZ`: a file grew too large).
    Signal(i32),
    /// It passed this limit and was ended with all its processes.
    Limit(Limit),
    /// The program could not be started; why.
    NotStarted(String),
}

/// A limit that ends a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    /// [`Limits::wall_seconds`].
    Wall,
    /// [`Limits::processes`].
    Processes,
    /// [`Limits::memory_bytes`].
    Memory,
    /// [`Limits::disk_bytes`], or the disk is nearly full.
    Disk,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wall => "wall",
            Self::Processes => "processes",
            Self::Memory => "memory",
            Self::Disk => "disk",
        })
    }
}

/// What a command did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub exit: Exit,
    /// Its standard output, at most [`Limits::output_bytes`] and a line that says what was left out.
    pub stdout: Vec<u8>,
    /// Its standard error, likewise.
    pub stderr: Vec<u8>,
    /// Whether output was left out.
    pub truncated: bool,
    /// Wall time in milliseconds, the set-up of the sandbox included.
    pub duration_ms: u64,
    /// What confined it; nothing in mode `none`.
    pub layers: Vec<Layer>,
}

/// One layer of confinement. A layer that is named was active: one that cannot be set up fails the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Layer {
    /// Its own users: privileges end at the sandbox.
    UserNamespace,
    /// Its own processes: all of them end with the command.
    PidNamespace,
    /// Its own view of the file system.
    MountNamespace,
    /// Its own network: loopback only.
    NetworkNamespace,
    /// Its own shared memory and queues.
    IpcNamespace,
    /// Its own host name.
    UtsNamespace,
    /// Landlock's file rules.
    Landlock,
    /// A filter of system calls.
    Seccomp,
    /// Limits of each process (CPU, files, core dumps).
    Rlimits,
    /// No way to gain privileges by executing a program.
    NoNewPrivileges,
    /// A control group bounds the tasks.
    CgroupPids,
    /// A control group bounds the memory.
    CgroupMemory,
    /// Tasks, memory, disk and wall time are counted from outside.
    Watch,
    /// Processes that leave the command are found and ended.
    Subreaper,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UserNamespace => "user_namespace",
            Self::PidNamespace => "pid_namespace",
            Self::MountNamespace => "mount_namespace",
            Self::NetworkNamespace => "network_namespace",
            Self::IpcNamespace => "ipc_namespace",
            Self::UtsNamespace => "uts_namespace",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::Rlimits => "rlimits",
            Self::NoNewPrivileges => "no_new_privileges",
            Self::CgroupPids => "cgroup_pids",
            Self::CgroupMemory => "cgroup_memory",
            Self::Watch => "watch",
            Self::Subreaper => "subreaper",
        })
    }
}

/// Why a command could not be run as asked.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The machine cannot confine: allow namespaces or Landlock, or choose to run unconfined.
    #[error(
        "this machine cannot confine a command as asked ({reason}); see the sandbox's README for what to allow, or run with --sandbox=none and trust the code"
    )]
    Unavailable {
        /// What is missing.
        reason: String,
    },
    /// A path of the command is unusable: correct it.
    #[error("the sandbox cannot use {path}")]
    Path {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A layer could not be set up; nothing was run.
    #[error("the sandbox could not set up {step}: {message}")]
    Setup {
        /// Which step.
        step: String,
        /// The system's answer.
        message: String,
    },
    /// The sandbox's own process could not be started or spoken to.
    #[error("the sandbox's child process failed: {message}")]
    Child {
        /// What happened.
        message: String,
    },
}
