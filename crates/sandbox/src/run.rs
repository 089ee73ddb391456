//! The caller's side: starts the confined child and collects what it did.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, socketpair};
use tokio::process::{Child, Command as Process};

use crate::capabilities::{Capabilities, Mode};
use crate::capture::{Captured, capture};
use crate::cgroup::Cgroups;
use crate::command::{Command, Layer, Limits, Outcome, SandboxError};
use crate::spec::{self, CHILD_ARGUMENT, Confinement, Program, Report, Spec, Stage};
use crate::view::{View, real};

/// Runs commands confined, in the way that was settled when it was made.
#[derive(Clone, Debug)]
pub struct Sandbox {
    child: PathBuf,
    capabilities: Capabilities,
    confinement: Confinement,
}

/// What a child left behind.
struct Ended {
    report: Report,
    stdout: Captured,
    stderr: Captured,
}

impl Sandbox {
    /// Looks at the machine and settles on the confinement that `mode` means here.
    ///
    /// The running program is its own child: its `main` calls [`crate::run_if_child`] first.
    ///
    /// # Errors
    /// [`SandboxError::Unavailable`] when the machine cannot do what is asked; [`SandboxError::Child`] when this
    /// program cannot be its own child.
    pub async fn new(mode: Mode) -> Result<Self, SandboxError> {
        Self::with_child(mode, Path::new("/proc/self/exe")).await
    }

    /// Like [`Sandbox::new`], with another program as the child, for a process that is not its own (a test).
    ///
    /// # Errors
    /// As [`Sandbox::new`].
    pub async fn with_child(mode: Mode, child: &Path) -> Result<Self, SandboxError> {
        let capabilities = probe(child).await?;
        let confinement = capabilities.confinement(mode)?;
        Ok(Self { child: child.to_owned(), capabilities, confinement })
    }

    /// Tries every layer, each in a child that does nothing else.
    ///
    /// # Errors
    /// [`SandboxError::Child`] when this program cannot be its own child.
    pub async fn probe() -> Result<Capabilities, SandboxError> {
        probe(Path::new("/proc/self/exe")).await
    }

    /// What the machine can do, as it was when this was made.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Runs a command to its end, or to a limit, or until the returned future is dropped.
    ///
    /// When it returns, no process of the command is left.
    ///
    /// # Errors
    /// [`SandboxError::Path`] for a workspace or start directory that does not exist, [`SandboxError::Setup`] when a
    /// layer cannot be set up (then nothing ran). That the program does not exist or fails is an [`Outcome`].
    pub async fn run(&self, command: &Command) -> Result<Outcome, SandboxError> {
        let cgroups = Cgroups::create(&command.limits);
        let mut spec = self.spec(command)?;
        spec.cgroups = cgroups.entrances();
        let started = Instant::now();
        let ended = run_child(&self.child, &spec).await?;
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
            layers: layers(&spec, &cgroups),
        })
    }

    fn spec(&self, command: &Command) -> Result<Spec, SandboxError> {
        let view = View::of(command)?;
        let mut env = command.env.clone();
        env.insert("TMPDIR".to_owned(), temporary_directory(self.confinement, &view)?);
        let cwd = real(&command.cwd)?;
        Ok(Spec {
            confinement: self.confinement,
            program: Some(Program { path: command.program.clone(), args: command.args.clone(), cwd, env }),
            view,
            network: command.network,
            landlock: self.confinement != Confinement::None && self.capabilities.landlock_usable(),
            limits: command.limits,
            cgroups: Vec::new(),
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

/// The layers of a command that ran: each of them fails the command when it cannot be set up.
fn layers(spec: &Spec, cgroups: &Cgroups) -> Vec<Layer> {
    let full = spec.confinement == Confinement::Full;
    let confined = spec.confinement != Confinement::None;
    [
        (full, Layer::UserNamespace),
        (full, Layer::PidNamespace),
        (full, Layer::MountNamespace),
        (full && !spec.network, Layer::NetworkNamespace),
        (full, Layer::IpcNamespace),
        (full, Layer::UtsNamespace),
        (spec.landlock, Layer::Landlock),
        (confined, Layer::Seccomp),
        (true, Layer::Rlimits),
        (confined, Layer::NoNewPrivileges),
        (cgroups.pids, Layer::CgroupPids),
        (cgroups.memory, Layer::CgroupMemory),
        (true, Layer::Watch),
        (!full, Layer::Subreaper),
    ]
    .into_iter()
    .filter_map(|(active, layer)| active.then_some(layer))
    .collect()
}

async fn probe(child: &Path) -> Result<Capabilities, SandboxError> {
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
    let refused = |step: String, message: String| format!("{step}: {message}");
    let (seccomp, landlock_abi) = match run_child(child, &spec(Confinement::Degraded, true)).await?.report {
        Report::Ready { landlock_abi } => (Ok(()), landlock_abi),
        Report::Refused { step, message } => (Err(refused(step, message)), 0),
        Report::Ended(exit) => return Err(child_failed(&format!("{exit:?}"))),
    };
    let namespaces = match run_child(child, &spec(Confinement::Full, false)).await?.report {
        Report::Ready { .. } => Ok(()),
        Report::Refused { step, message } => Err(refused(step, message)),
        Report::Ended(exit) => Err(format!("namespaces: {exit:?}")),
    };
    let cgroups = Cgroups::create(&limits);
    Ok(Capabilities { namespaces, seccomp, landlock_abi, cgroup_pids: cgroups.pids, cgroup_memory: cgroups.memory })
}

async fn run_child(child: &Path, spec: &Spec) -> Result<Ended, SandboxError> {
    let failed = |error: io::Error| child_failed(&error.to_string());
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|error| failed(error.into()))?;
    let mut process = spawn(child, theirs).map_err(failed)?;
    spec::tell(&ours, spec).map_err(failed)?;
    let (Some(stdout), Some(stderr)) = (process.stdout.take(), process.stderr.take()) else {
        return Err(child_failed("its output is not connected"));
    };
    let limit = spec.limits.output_bytes;
    let (stdout, stderr, status) =
        tokio::try_join!(capture(stdout, limit), capture(stderr, limit), process.wait()).map_err(failed)?;
    let report = spec::hear(&ours, RecvFlags::DONTWAIT).map_err(|_| {
        child_failed(&format!("it ended without a report ({status}); does `main` call `run_if_child`?"))
    })?;
    Ok(Ended { report, stdout, stderr })
}

/// Not killed when it is dropped: it sees our end of the socket close and ends everything that it started first.
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
