//! What a confined command cannot do, tried by a program that does try.
//!
//! A machine without user namespaces cannot run these tests: they fail and say what is missing. One that has them and is
//! too old for the second-best confinement leaves that half out, and says so.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "what a test cannot do fails it, and what it leaves out it says"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use sandbox::{Command, Exit, Layer, Limit, Limits, Mode, Outcome, Sandbox, SandboxError, WORKSPACE};
use tempfile::TempDir;

const HOSTILE: &str = env!("CARGO_BIN_EXE_sandbox-hostile");
const CHILD: &str = env!("CARGO_BIN_EXE_sandbox-child");
const SIGXFSZ: i32 = 25;

/// A workspace in a directory that the command must not see.
struct Place {
    outside: TempDir,
    sandbox: Sandbox,
    mode: Mode,
}

impl Place {
    /// In the best confinement.
    async fn full() -> Self {
        Self::new(Mode::Full).await.unwrap_or_else(|error| panic!("confinement cannot be tested here: {error}"))
    }

    /// In the second-best one, where the kernel knows enough of it.
    async fn degraded() -> Option<Self> {
        let place = Self::new(Mode::Degraded).await;
        place.inspect_err(|error| eprintln!("NOT TESTED on this kernel: confinement without namespaces ({error})")).ok()
    }

    async fn unconfined() -> Self {
        Self::new(Mode::None).await.unwrap()
    }

    /// In every confinement of this machine.
    async fn all() -> Vec<Self> {
        [Self::full().await].into_iter().chain(Self::degraded().await).collect()
    }

    async fn new(mode: Mode) -> Result<Self, SandboxError> {
        let sandbox = Sandbox::with_child(Path::new(CHILD));
        let outside = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        sandbox.workspace_inside(mode, outside.path()).await?;
        let place = Self { outside, sandbox, mode };
        fs::create_dir(place.workspace()).unwrap();
        fs::write(place.outside.path().join("secret"), "outside").unwrap();
        Ok(place)
    }

    fn workspace(&self) -> PathBuf {
        self.outside.path().join("workspace")
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        Command {
            program: program.into(),
            args: args.iter().map(|&argument| argument.to_owned()).collect(),
            cwd: if self.mode == Mode::Full { WORKSPACE.into() } else { self.workspace() },
            env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            workspace: self.workspace(),
            read_only: vec![HOSTILE.into()],
            network: false,
            limits: Limits {
                wall_seconds: 60,
                processes: 64,
                memory_bytes: 512 << 20,
                tmp_bytes: 4 << 20,
                output_bytes: 64 << 10,
                ..Limits::default()
            },
        }
    }

    async fn run(&self, command: &Command) -> Outcome {
        self.sandbox.run(self.mode, command).await.unwrap()
    }

    /// What the hostile program says of an attempt.
    async fn attempt(&self, args: &[&str]) -> String {
        let outcome = self.run(&self.command(HOSTILE, args)).await;
        assert_eq!(outcome.exit, Exit::Code(0), "{}", String::from_utf8_lossy(&outcome.stderr));
        String::from_utf8(outcome.stdout).unwrap()
    }

    async fn refuses(&self, args: &[&str]) {
        let said = self.attempt(args).await;
        assert!(said.starts_with("refused"), "{args:?}: {said}");
    }

    async fn allows(&self, args: &[&str]) {
        assert_eq!(self.attempt(args).await, "allowed\n", "{args:?}");
    }

    async fn still_works(&self) {
        self.allows(&["write", "file"]).await;
    }
}

#[tokio::test]
async fn the_layers_that_were_active_are_named() {
    let place = Place::full().await;
    let layers = place.run(&place.command("true", &[])).await.layers;
    for layer in [Layer::PidNamespace, Layer::MountNamespace, Layer::NetworkNamespace, Layer::Seccomp, Layer::Watch] {
        assert!(layers.contains(&layer), "{layer} is not in {layers:?}");
    }
    let online = place.run(&Command { network: true, ..place.command("true", &[]) }).await.layers;
    assert!(!online.contains(&Layer::NetworkNamespace));
    let unconfined = Place::unconfined().await;
    assert_eq!(unconfined.run(&unconfined.command("true", &[])).await.layers, []);
}

#[tokio::test]
async fn exit_codes_signals_and_a_missing_program_are_told_apart() {
    let place = Place::full().await;
    assert_eq!(place.run(&place.command("sh", &["-c", "exit 7"])).await.exit, Exit::Code(7));
    assert_eq!(place.run(&place.command("sh", &["-c", "kill -TERM $$"])).await.exit, Exit::Signal(15));
    let Exit::NotStarted(why) = place.run(&place.command("no-such-program", &[])).await.exit else {
        panic!("it started")
    };
    assert!(why.contains("no-such-program"), "{why}");
}

#[tokio::test]
async fn both_streams_are_captured() {
    let place = Place::full().await;
    let outcome = place.run(&place.command("sh", &["-c", "echo out; echo err >&2; pwd"])).await;
    assert_eq!(String::from_utf8_lossy(&outcome.stdout), "out\n/workspace\n");
    assert_eq!(outcome.stderr, b"err\n");
    assert!(!outcome.truncated);
}

#[tokio::test]
async fn nothing_outside_is_reached_over_the_network_but_its_own_loopback_is() {
    let place = Place::full().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    place.refuses(&["connect", &listener.local_addr().unwrap().to_string()]).await;
    place.refuses(&["connect", "192.0.2.1:80"]).await;
    place.allows(&["loopback"]).await;
}

#[tokio::test]
async fn without_namespaces_there_are_no_sockets() {
    let Some(place) = Place::degraded().await else { return };
    place.refuses(&["socket"]).await;
}

#[tokio::test]
async fn only_the_workspace_can_be_written() {
    for place in Place::all().await {
        let beside = place.outside.path().join("beside");
        for path in [&beside, Path::new("/usr/gatewright-test"), Path::new("/etc/passwd"), Path::new(HOSTILE)] {
            place.refuses(&["write", path.to_str().unwrap()]).await;
        }
        place.refuses(&["write", "/proc/sys/kernel/core_pattern"]).await;
        assert!(!beside.exists());
        place.allows(&["write", "inside"]).await;
        assert_eq!(fs::read(place.workspace().join("inside")).unwrap(), b"written");
    }
}

#[tokio::test]
async fn what_lies_around_the_workspace_cannot_be_read() {
    for place in Place::all().await {
        place.refuses(&["read", place.outside.path().join("secret").to_str().unwrap()]).await;
        place.refuses(&["list", "/root"]).await;
        place.refuses(&["list", "/var"]).await;
    }
}

#[tokio::test]
async fn the_temporary_directory_is_private() {
    let place = Place::full().await;
    let left = Path::new("/tmp").join(format!("gatewright-left-{}", std::process::id()));
    place.allows(&["write", left.to_str().unwrap()]).await;
    assert!(!left.exists());
}

#[tokio::test]
async fn other_processes_are_not_seen() {
    let place = Place::full().await;
    place.refuses(&["read", "/proc/1/environ"]).await;
    place.refuses(&["read", "/proc/1/mem"]).await;
    let said = place.attempt(&["processes"]).await;
    assert_eq!(said.matches("process").count(), 2, "the first process and the command itself: {said}");
    let Some(degraded) = Place::degraded().await else { return };
    degraded.refuses(&["read", &format!("/proc/{}/environ", std::process::id())]).await;
}

#[tokio::test]
async fn processes_outside_cannot_be_signalled() {
    let Some(place) = Place::degraded().await else { return };
    let capabilities = place.sandbox.capabilities().await;
    if capabilities.landlock_abi < 6 {
        eprintln!("NOT TESTED on this kernel: signals without namespaces (Landlock ABI 6): {capabilities}");
        return;
    }
    place.refuses(&["kill", &std::process::id().to_string()]).await;
}

#[tokio::test]
async fn the_environment_is_only_what_was_given() {
    let place = Place::full().await;
    let outcome = place.run(&place.command("env", &[])).await;
    let mut lines: Vec<&str> = std::str::from_utf8(&outcome.stdout).unwrap().lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["PATH=/usr/bin:/bin", "TMPDIR=/tmp"]);
}

#[tokio::test]
async fn tracing_mounting_and_new_namespaces_are_refused() {
    for place in Place::all().await {
        for attempt in ["trace", "mount", "namespace", "clone"] {
            place.refuses(&[attempt]).await;
        }
    }
}

#[tokio::test]
async fn a_fork_bomb_is_stopped_and_the_next_command_runs() {
    for place in Place::all().await.into_iter().chain([Place::unconfined().await]) {
        let mode = place.mode;
        let outcome = place.run(&place.command(HOSTILE, &["fork-bomb", HOSTILE])).await;
        assert_eq!(outcome.exit, Exit::Limit(Limit::Processes), "{mode:?}");
        place.still_works().await;
    }
}

#[tokio::test]
async fn taking_memory_is_stopped() {
    let place = Place::full().await;
    let mut command = place.command(HOSTILE, &["grow"]);
    command.limits.memory_bytes = 64 << 20;
    let exit = place.run(&command).await.exit;
    // The watch sees it first, or the control group does.
    assert!(matches!(exit, Exit::Limit(Limit::Memory) | Exit::Signal(9)), "{exit:?}");
}

#[tokio::test]
async fn filling_the_disk_is_stopped() {
    let place = Place::full().await;
    let mut command = place.command(HOSTILE, &["fill", "."]);
    command.limits.disk_bytes = 32 << 20;
    assert_eq!(place.run(&command).await.exit, Exit::Limit(Limit::Disk));
    let tmp = place.run(&place.command(HOSTILE, &["fill", "/tmp"])).await;
    assert_eq!(tmp.exit, Exit::Code(1));
    assert!(String::from_utf8_lossy(&tmp.stderr).contains("StorageFull"), "{}", String::from_utf8_lossy(&tmp.stderr));
}

#[tokio::test]
async fn one_large_file_is_stopped() {
    let place = Place::full().await;
    let mut command = place.command("dd", &["if=/dev/zero", "of=large", "bs=1M", "count=8"]);
    command.limits.file_bytes = 4 << 20;
    assert_eq!(place.run(&command).await.exit, Exit::Signal(SIGXFSZ));
}

#[tokio::test]
async fn a_hang_ends_at_the_wall_limit() {
    for place in Place::all().await.into_iter().chain([Place::unconfined().await]) {
        let mut command = place.command(HOSTILE, &["hang"]);
        command.limits.wall_seconds = 1;
        let outcome = place.run(&command).await;
        assert_eq!(outcome.exit, Exit::Limit(Limit::Wall));
        assert!(outcome.duration_ms >= 1_000, "{}", outcome.duration_ms);
    }
}

#[tokio::test]
async fn a_process_that_leaves_the_session_ends_with_the_command() {
    for place in Place::all().await.into_iter().chain([Place::unconfined().await]) {
        let mode = place.mode;
        let marker = format!("gatewright-stray-{}-{mode:?}", std::process::id());
        let outcome = place.run(&place.command(HOSTILE, &["stray", &marker])).await;
        assert_eq!(outcome.exit, Exit::Code(0), "{}", String::from_utf8_lossy(&outcome.stderr));
        assert_eq!(processes_with(&marker), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_command_that_nobody_waits_for_any_more_ends() {
    for place in Place::all().await {
        let pipe = place.workspace().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let command = place.command(HOSTILE, &["stray", "", "pipe"]);
        let (sandbox, mode) = (place.sandbox.clone(), place.mode);
        let running = tokio::spawn(async move { sandbox.run(mode, &command).await });
        let mut reader = tokio::task::spawn_blocking(move || {
            let mut pipe = fs::File::open(pipe).unwrap();
            pipe.read_exact(&mut [0]).unwrap();
            pipe
        })
        .await
        .unwrap();
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        // The end of the pipe comes when the last process that could write to it is gone.
        let rest = tokio::task::spawn_blocking(move || reader.read_to_end(&mut Vec::new()).unwrap()).await.unwrap();
        assert_eq!(rest, 0);
    }
}

#[tokio::test]
async fn a_flood_of_output_is_cut_in_the_middle() {
    let place = Place::full().await;
    let outcome = place.run(&place.command(HOSTILE, &["flood"])).await;
    assert_eq!(outcome.exit, Exit::Code(0));
    assert!(outcome.truncated);
    let text = String::from_utf8(outcome.stdout).unwrap();
    assert!(text.len() < 65 << 10, "{}", text.len());
    assert!(text.contains("bytes of output left out") && text.ends_with("end"));
}

#[tokio::test]
async fn a_workspace_that_is_not_there_is_refused_by_name() {
    let place = Place::full().await;
    let mut command = place.command("true", &[]);
    command.workspace = place.outside.path().join("nowhere");
    let error = place.sandbox.run(place.mode, &command).await.unwrap_err().to_string();
    assert!(error.contains("nowhere"), "{error}");
}

#[tokio::test]
async fn a_program_that_is_no_child_is_an_error_and_runs_nothing() {
    let sandbox = Sandbox::with_child(Path::new("/bin/true"));
    assert!(!sandbox.capabilities().await.can_confine());
    let error = sandbox.workspace_inside(Mode::Auto, Path::new("/")).await.unwrap_err().to_string();
    assert!(error.contains("run_if_child"), "{error}");
}

/// The command lines on this machine that hold a text.
fn processes_with(marker: &str) -> Vec<String> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("cmdline")).ok())
        .filter(|line| line.contains(marker))
        .collect()
}
