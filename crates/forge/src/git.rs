//! The git program: started so that nothing of the repository's, the user's or the machine's making runs or decides.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::ForgeError;

/// Who makes the commits: nobody of flesh, so that the same change is the same commit on every machine.
const NAME: &str = "Gatewright";
const EMAIL: &str = "gatewright@localhost";

/// The oldest git whose commands and options are all used here: major and minor version.
pub const OLDEST_GIT: (u32, u32) = (2, 36);

/// What every call switches off or settles.
const SETTINGS: &[(&str, &str)] = &[
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.quotePath", "false"),
    ("core.ignoreCase", "false"),
    // A split index would leave a file in the repository.
    ("core.splitIndex", "false"),
    ("core.sparseCheckout", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("commit.gpgSign", "false"),
    ("i18n.commitEncoding", "UTF-8"),
    ("protocol.allow", "never"),
    // A repository that belongs to another user is read all the same (containers mount them so): nothing of it runs.
    ("safe.directory", "*"),
];

/// One call of git.
pub(crate) struct Call {
    command: Command,
    name: String,
}

impl Call {
    /// `git COMMAND` with a clean environment; add what it works on.
    pub(crate) fn new(command: &str) -> Self {
        Self::with_settings(command, &[])
    }

    /// Like [`Call::new`], with more settings (name and value).
    pub(crate) fn with_settings(command: &str, more: &[(String, &str)]) -> Self {
        let mut call = Command::new("git");
        call.env_clear()
            // Where programs lie is the one thing that only the environment knows.
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()))
            .envs([
                ("LC_ALL", "C"),
                ("HOME", "/dev/null"),
                ("GIT_CONFIG_GLOBAL", "/dev/null"),
                ("GIT_CONFIG_NOSYSTEM", "1"),
            ])
            .envs([("GIT_ATTR_NOSYSTEM", "1"), ("GIT_NO_REPLACE_OBJECTS", "1"), ("GIT_NO_LAZY_FETCH", "1")])
            .envs([("GIT_OPTIONAL_LOCKS", "0"), ("GIT_TERMINAL_PROMPT", "0"), ("GIT_ADVICE", "0")])
            .envs([("GIT_AUTHOR_NAME", NAME), ("GIT_AUTHOR_EMAIL", EMAIL)])
            .envs([("GIT_COMMITTER_NAME", NAME), ("GIT_COMMITTER_EMAIL", EMAIL)])
            .arg("--no-pager")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // By environment, since `-c` cannot spell a name that holds `=`.
        let more = more.iter().map(|(name, value)| (name.as_str(), *value));
        let settings: Vec<(&str, &str)> = SETTINGS.iter().copied().chain(more).collect();
        call.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (number, (name, value)) in settings.iter().enumerate() {
            call.env(format!("GIT_CONFIG_KEY_{number}"), name).env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        Self { command: call, name: command.to_owned() }
    }

    /// The repository it works on; the subcommand follows.
    pub(crate) fn on(mut self, git_dir: &Path) -> Self {
        self.command.current_dir(git_dir).arg("--git-dir").arg(git_dir).arg(&self.name);
        self
    }

    /// The folder it is called in, with git looking for the repository itself.
    pub(crate) fn discovering_in(mut self, folder: &Path) -> Self {
        self.command.arg("-C").arg(folder).arg(&self.name);
        self
    }

    /// The repository and its working tree.
    pub(crate) fn on_work_tree(mut self, git_dir: &Path, work_tree: &Path) -> Self {
        self.command
            .arg("-C")
            .arg(work_tree)
            .arg("--git-dir")
            .arg(git_dir)
            .arg("--work-tree")
            .arg(work_tree)
            .arg(&self.name);
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it and gives its standard output.
    pub(crate) async fn bytes(self, input: &[u8]) -> Result<Vec<u8>, ForgeError> {
        let (name, ended) = self.run(input).await?;
        if ended.status.success() { Ok(ended.stdout) } else { Err(failed(name, &ended.stderr)) }
    }

    /// Runs it and gives its standard output as trimmed text.
    pub(crate) async fn text(self, input: &[u8]) -> Result<String, ForgeError> {
        Ok(String::from_utf8_lossy(&self.bytes(input).await?).trim().to_owned())
    }

    /// Runs it and gives its trimmed output, or `None` if it exits with another code than 0.
    pub(crate) async fn found(self) -> Result<Option<String>, ForgeError> {
        let (_, ended) = self.run(&[]).await?;
        Ok(ended.status.success().then(|| String::from_utf8_lossy(&ended.stdout).trim().to_owned()))
    }

    async fn run(mut self, input: &[u8]) -> Result<(String, std::process::Output), ForgeError> {
        if !input.is_empty() {
            self.command.stdin(Stdio::piped());
        }
        let mut child = self.command.spawn().map_err(ForgeError::NoGit)?;
        let stdin = child.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // Git may end before it has read all; its exit status tells why.
                let _ = stdin.write_all(input).await;
            }
        };
        let (ended, ()) = tokio::join!(child.wait_with_output(), feed);
        let ended = ended.map_err(|source| ForgeError::Io { action: "read git's output", source })?;
        Ok((self.name, ended))
    }
}

fn failed(command: String, stderr: &[u8]) -> ForgeError {
    let said = String::from_utf8_lossy(stderr);
    ForgeError::Git { command, said: said.trim().trim_start_matches("fatal: ").to_owned() }
}
