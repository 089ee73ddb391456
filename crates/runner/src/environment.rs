//! What a confined command sees: toolchain, home, limits; nothing of the caller's environment comes along.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use config::{RunConfig, SandboxMode};
use sandbox::toolchain::{self, Toolchain};
use sandbox::{Command, Limits, Mode, Outcome, Sandbox};

use crate::error::{At, RunnerError};
use crate::workspace::Workspace;

const SHELL: &str = "/bin/sh";
const SYSTEM_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// How the machine reaches the network, which only setup is told.
const NETWORK_VARIABLES: [&str; 8] =
    ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"];
/// The parts of the user's cargo settings that say where packages come from; any other part may hold a credential.
const CARGO_SETTINGS: [&str; 3] = ["source", "net", "http"];

/// Which phase a command belongs to.
#[derive(Clone, Copy)]
pub(crate) enum Phase<'a> {
    /// Fetches dependencies into the workspace, with the network.
    Setup,
    /// Builds the base, without network.
    WarmUp {
        /// What was fetched, read-only.
        dependencies: &'a Path,
    },
    /// Measures a tree, without network.
    Check {
        /// What was fetched, read-only.
        dependencies: &'a Path,
    },
}

/// How this machine runs the commands of one run.
pub(crate) struct Environment {
    sandbox: Sandbox,
    mode: Mode,
    config: RunConfig,
    toolchain: Option<Toolchain>,
    network_variables: BTreeMap<String, String>,
}

impl Environment {
    /// Finds the toolchain that the project's language and files ask for.
    pub(crate) async fn find(sandbox: &Sandbox, config: &RunConfig, base: &Workspace) -> Result<Self, RunnerError> {
        let caller: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let toolchain = match config.project.language.as_str() {
            "rust" => Some(toolchain::rust(&caller, &base.tree().join(&config.project.root)).await?),
            _ => None,
        };
        let mode = match config.sandbox {
            SandboxMode::Auto => Mode::Auto,
            SandboxMode::None => Mode::None,
        };
        let of_network = |name: &&str| caller.get(*name).map(|value| ((*name).to_owned(), value.clone()));
        let network_variables = NETWORK_VARIABLES.iter().filter_map(of_network).collect();
        Ok(Self { sandbox: sandbox.clone(), mode, config: config.clone(), toolchain, network_variables })
    }

    /// What makes one toolchain's builds unusable for another.
    pub(crate) fn identity(&self) -> &str {
        self.toolchain.as_ref().map_or("", |toolchain| &toolchain.identity)
    }

    /// Puts the user's registry settings where cargo looks for them; credentials stay where they are. Only setup is told of
    /// a proxy, since its address may hold a password.
    pub(crate) fn seed(&self, dependencies: &Path, phase: Phase<'_>) -> Result<(), RunnerError> {
        let Some(home) = self.toolchain.as_ref().and_then(|toolchain| toolchain.cargo_home.as_ref()) else {
            return Ok(());
        };
        let Ok(settings) = fs::read_to_string(home.join("config.toml")) else { return Ok(()) };
        let path = dependencies.join("config.toml");
        let settings: toml::Table =
            settings.parse().map_err(|problem| RunnerError::unreadable("config.toml of cargo", &problem))?;
        let mut shared: toml::Table =
            settings.into_iter().filter(|(key, _)| CARGO_SETTINGS.contains(&key.as_str())).collect();
        if !matches!(phase, Phase::Setup)
            && let Some(http) = shared.get_mut("http").and_then(toml::Value::as_table_mut)
        {
            http.remove("proxy");
        }
        fs::write(&path, shared.to_string()).at(&path)
    }

    /// Runs a line by `/bin/sh -c` in the project's root.
    pub(crate) async fn run(
        &self,
        workspace: &Workspace,
        line: &str,
        phase: Phase<'_>,
    ) -> Result<Outcome, RunnerError> {
        let inside = self.inside(workspace).await?;
        let mut read_only = self.config.read_only.clone();
        read_only.extend(self.toolchain.iter().flat_map(|toolchain| toolchain.read_only.clone()));
        let home = match phase {
            Phase::Setup => inside.dependencies(),
            Phase::WarmUp { dependencies } | Phase::Check { dependencies } => {
                read_only.push(dependencies.to_owned());
                dependencies.to_owned()
            }
        };
        let network = matches!(phase, Phase::Setup);
        let command = Command {
            program: SHELL.into(),
            args: vec!["-c".into(), line.to_owned()],
            cwd: inside.tree().join(&self.config.project.root),
            env: self.variables(&inside, &home, network),
            workspace: workspace.root().to_owned(),
            read_only,
            network,
            limits: self.limits(phase),
        };
        let outcome = self.sandbox.run(self.mode, &command).await?;
        // `cargo xtask bench` adds these up.
        tracing::debug!(command = line, duration_ms = outcome.duration_ms, "a command of the project ended");
        Ok(outcome)
    }

    /// Paths of this machine and what stands in their place in evidence.
    pub(crate) async fn replacements(
        &self,
        workspace: &Workspace,
        dependencies: &Path,
    ) -> Result<Vec<(String, String)>, RunnerError> {
        let inside = self.inside(workspace).await?;
        let mut replacements = vec![
            (format!("{}/", text(&inside.tree())), String::new()),
            (text(&inside.tree()), ".".into()),
            (text(&inside.target()), "target".into()),
            (text(&inside.dependencies()), "<dependencies>".into()),
            (text(&inside.root().join(".tmp")), "/tmp".into()),
            (text(inside.root()), "<workspace>".into()),
            (text(dependencies), "<dependencies>".into()),
        ];
        let roots = self.toolchain.iter().flat_map(|toolchain| &toolchain.read_only);
        replacements.extend(roots.map(|root| (text(root), "<toolchain>".into())));
        Ok(replacements)
    }

    /// The workspace by its paths inside.
    async fn inside(&self, workspace: &Workspace) -> Result<Workspace, RunnerError> {
        Ok(Workspace::at(self.sandbox.workspace_inside(self.mode, workspace.root()).await?))
    }

    fn variables(&self, inside: &Workspace, dependencies: &Path, network: bool) -> BTreeMap<String, String> {
        let path = self.toolchain.as_ref().map_or(SYSTEM_PATH, |toolchain| &toolchain.path);
        let mut variables = BTreeMap::from([
            ("PATH".into(), path.to_owned()),
            ("HOME".into(), text(&inside.home())),
            ("LANG".into(), "C.UTF-8".into()),
            ("TERM".into(), "dumb".into()),
            ("NO_COLOR".into(), "1".into()),
        ]);
        if network {
            variables.extend(self.network_variables.clone());
        }
        if self.toolchain.is_some() {
            variables.extend([
                ("CARGO_HOME".into(), text(dependencies)),
                ("CARGO_TARGET_DIR".into(), text(&inside.target())),
                ("CARGO_INCREMENTAL".into(), "0".into()),
                ("CARGO_TERM_COLOR".into(), "never".into()),
                ("CARGO_NET_OFFLINE".into(), (!network).to_string()),
            ]);
        }
        variables
    }

    fn limits(&self, phase: Phase<'_>) -> Limits {
        let bounds = &self.config.limits;
        let wall_seconds = match phase {
            Phase::Setup | Phase::WarmUp { .. } => bounds.setup_wall_seconds,
            Phase::Check { .. } => bounds.check_wall_seconds,
        };
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        Limits {
            wall_seconds,
            // Of one process, which may use every core; the wall limit is what ends a hang.
            cpu_seconds: wall_seconds.saturating_mul(cores),
            memory_bytes: bounds.check_memory_bytes,
            processes: bounds.check_processes,
            disk_bytes: bounds.check_disk_bytes,
            file_bytes: bounds.check_disk_bytes,
            output_bytes: usize::try_from(bounds.check_output_bytes).unwrap_or(usize::MAX),
            ..Limits::default()
        }
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxys_address_is_for_setup_alone() {
        let folder = tempfile::tempdir().unwrap();
        let settings = "[http]\nproxy = \"http://user:word@proxy\"\ntimeout = 7\n[registry]\ntoken = \"t\"\n";
        fs::write(folder.path().join("config.toml"), settings).unwrap();
        let home = Some(folder.path().to_owned());
        let toolchain =
            Toolchain { identity: String::new(), path: String::new(), read_only: Vec::new(), cargo_home: home };
        let environment = Environment {
            sandbox: Sandbox::new(),
            mode: Mode::None,
            config: RunConfig::default(),
            toolchain: Some(toolchain),
            network_variables: BTreeMap::new(),
        };
        let dependencies = tempfile::tempdir().unwrap();
        let seeded = |phase| {
            environment.seed(dependencies.path(), phase).unwrap();
            fs::read_to_string(dependencies.path().join("config.toml")).unwrap()
        };
        let (setup, check) = (seeded(Phase::Setup), seeded(Phase::Check { dependencies: dependencies.path() }));
        assert!(setup.contains("user:word") && !setup.contains("token"), "{setup}");
        assert!(!check.contains("user:word") && check.contains("timeout = 7"), "{check}");
    }
}
