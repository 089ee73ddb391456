//! The caller's side: starts the confined child and collects what it did.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Instant;

use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, socketpair};
use tokio::process::{Child, Command as Process};
use tokio::sync::OnceCell;

use crate::capabilities::{Capabilities, Mode};
use crate::capture::{Captured, capture};
use crate::cgroup::Cgroups;
use crate::command::{Command, Layer, Limits, Outcome, SandboxError};
use crate::spec::{self, CHILD_ARGUMENT, Confinement, Program, Report, Spec, Stage};
use crate::view::{View, WORKSPACE, real};

/// Runs commands confined. Cheap to clone; the machine is looked at once, when that is first needed.
#[derive(Clone, Debug)]
pub struct Sandbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    child: PathBuf,
    capabilities: OnceCell<Capabilities>,
}

/// What a child left behind.
struct Ended {
    report: Report,
    stdout: Captured,
    stderr: Captured,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    /// A sandbox whose child is this program started again: its `main` calls [`crate::run_if_child`] first.
    pub fn new() -> Self {
        Self::with_child(Path::new("/proc/self/exe"))
    }

    /// A sandbox with another program as the child, for a process that cannot be its own (a test).
    pub fn with_child(child: &Path) -> Self {
        Self(Arc::new(Inner { child: child.to_owned(), capabilities: OnceCell::new() }))
    }

    /// What this machine can do.
    pub async fn probe() -> Capabilities {
        Self::new().capabilities().await.clone()
    }

    /// What the machine can do: every layer is tried once, in a child that does nothing else.
    pub async fn capabilities(&self) -> &Capabilities {
        self.0.capabilities.get_or_init(|| probe(&self.0.child)).await
    }

    /// The path at which a command sees its workspace: [`WORKSPACE`] where it has a view of its own, the real path elsewhere.
    ///
    /// # Errors
    /// [`SandboxError::Unavailable`] as in [`Sandbox::run`]; [`SandboxError::Path`] for a workspace that does not exist.
    pub async fn workspace_inside(&self, mode: Mode, workspace: &Path) -> Result<PathBuf, SandboxError> {
        match self.capabilities().await.confinement(mode)? {
            Confinement::Full => Ok(WORKSPACE.into()),
            Confinement::Degraded | Confinement::None => real(workspace),
        }
    }

    /// Runs a command to its end, or to a limit, or until the returned future is dropped.
    ///
    /// When it returns, no process of the command is left.
    ///
    /// # Errors
    /// [`SandboxError::Unavailable`] when the machine cannot do what the mode asks, [`SandboxError::Path`] for a workspace
    /// that does not exist, [`SandboxError::Setup`] when a layer cannot be set up; then nothing ran. That the program does
    /// not exist or fails is an [`Outcome`].
    pub async fn run(&self, mode: Mode, command: &Command) -> Result<Outcome, SandboxError> {
        let capabilities = self.capabilities().await;
        let confinement = capabilities.confinement(mode)?;
        let view = View::of(command, confinement)?;
        let mut env = command.env.clone();
        env.insert("TMPDIR".to_owned(), temporary_directory(confinement, &view)?);
        let cgroups = Cgroups::create(&command.limits);
        let (path, args, cwd) = (command.program.clone(), command.args.clone(), command.cwd.clone());
        let spec = Spec {
            confinement,
            program: Some(Program { path, args, cwd, env }),
            view,
            network: command.network,
            landlock: confinement != Confinement::None && capabilities.landlock_usable(),
            limits: command.limits,
            cgroups: cgroups.entrances(),
        };
        let layers = layers(&spec, &cgroups);
        let started = Instant::now();
        let ended = run_child(&self.0.child, &spec, cgroups).await?;
        let exit = match ended.report {
            Report::Ended(exit) => exit,
            Report::Refused { step, message } => return Err(SandboxError::Setup { step, message }),
            Report::Ready { .. } => return Err(child_failed("it ran nothing")),
        };
        Ok(Outcome {
            exit,
            truncated: ended.stdout.truncated || ended.stderr.truncated,
            stdout: ended.stdout.bytes,
            stderr: ended.stderr.bytes,
            duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            layers,
        })
    }
}

/// `/tmp` is private only where there is a mount namespace; elsewhere a folder of the workspace stands in for it.
fn temporary_directory(confinement: Confinement, view: &View) -> Result<String, SandboxError> {
    let (false, Some(workspace)) = (confinement == Confinement::Full, &view.workspace) else {
        return Ok("/tmp".to_owned());
    };
    let directory = workspace.join(".tmp");
    std::fs::create_dir_all(&directory).map_err(|source| SandboxError::Path { path: directory.clone(), source })?;
    Ok(directory.to_string_lossy().into_owned())
}

/// The layers of a command that ran: each of them fails the command when it cannot be set up. Limits alone confine
/// nothing.
fn layers(spec: &Spec, cgroups: &Cgroups) -> Vec<Layer> {
    if spec.confinement == Confinement::None {
        return Vec::new();
    }
    let full = spec.confinement == Confinement::Full;
    [
        (full, Layer::UserNamespace),
        (full, Layer::PidNamespace),
        (full, Layer::MountNamespace),
        (full && !spec.network, Layer::NetworkNamespace),
        (full, Layer::IpcNamespace),
        (full, Layer::UtsNamespace),
        (spec.landlock, Layer::Landlock),
        (true, Layer::Seccomp),
        (true, Layer::Rlimits),
        (true, Layer::NoNewPrivileges),
        (cgroups.pids, Layer::CgroupPids),
        (cgroups.memory, Layer::CgroupMemory),
        (true, Layer::Watch),
        (!full, Layer::Subreaper),
    ]
    .into_iter()
    .filter_map(|(active, layer)| active.then_some(layer))
    .collect()
}

async fn probe(child: &Path) -> Capabilities {
    let limits = Limits { wall_seconds: 10, ..Limits::default() };
    let spec = |confinement, landlock| Spec {
        confinement,
        program: None,
        view: View::of_system(false),
        network: false,
        landlock,
        limits,
        cgroups: Vec::new(),
    };
    let attempt = async |spec: &Spec| match run_child(child, spec, Cgroups::default()).await {
        Ok(Ended { report: Report::Ready { landlock_abi }, .. }) => Ok(landlock_abi),
        Ok(Ended { report: Report::Refused { step, message }, .. }) => Err(format!("{step}: {message}")),
        Ok(Ended { report: Report::Ended(exit), .. }) => Err(format!("the attempt ended with {exit:?}")),
        Err(error) => Err(error.to_string()),
    };
    let degraded = attempt(&spec(Confinement::Degraded, true)).await;
    let full = attempt(&spec(Confinement::Full, false)).await;
    let cgroups = Cgroups::create(&limits);
    Capabilities {
        namespaces: full.map(drop),
        landlock_abi: degraded.as_ref().copied().unwrap_or(0),
        seccomp: degraded.map(drop),
        cgroup_pids: cgroups.pids,
        cgroup_memory: cgroups.memory,
    }
}

/// Starts a child and waits for its end. When nobody waits any more, our end of the socket closes; the child ends for
/// that, and what it leaves is cleared away all the same.
async fn run_child(child: &Path, spec: &Spec, cgroups: Cgroups) -> Result<Ended, SandboxError> {
    let failed = |error: io::Error| child_failed(&error.to_string());
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|error| failed(error.into()))?;
    // Told before it lives: a program that is no child may be gone before it could be told.
    spec::tell(&ours, spec).map_err(failed)?;
    let process = spawn(child, theirs).map_err(failed)?;
    let collected = tokio::spawn(collect(process, spec.limits.output_bytes, cgroups)).await;
    let (stdout, stderr, status) = collected.map_err(io::Error::other).flatten().map_err(failed)?;
    let report = spec::hear(&ours, RecvFlags::DONTWAIT).map_err(|_| {
        child_failed(&format!("it ended without a report ({status}); does `main` call `sandbox::run_if_child`?"))
    })?;
    Ok(Ended { report, stdout, stderr })
}

/// Holds the control groups until the child has ended.
async fn collect(mut process: Child, limit: usize, _cgroups: Cgroups) -> io::Result<(Captured, Captured, ExitStatus)> {
    let (Some(stdout), Some(stderr)) = (process.stdout.take(), process.stderr.take()) else {
        return Err(io::Error::other("its output is not connected"));
    };
    tokio::try_join!(capture(stdout, limit), capture(stderr, limit), process.wait())
}

/// Never killed: it sees our end of the socket close, and ends everything that it started before it ends.
fn spawn(child: &Path, socket: OwnedFd) -> io::Result<Child> {
    Process::new(child)
        .args([CHILD_ARGUMENT, Stage::Outer.name()])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(socket))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A Ctrl-C at the terminal is the caller's to handle, not the command's.
        .process_group(0)
        .spawn()
}

fn child_failed(message: &str) -> SandboxError {
    SandboxError::Child { message: message.to_owned() }
}
