//! What a confined command sees: toolchain, home, limits; nothing of the caller's environment comes along.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use config::{Project, RunConfig, SandboxMode};
use sandbox::toolchain::{self, TOOLS, Toolchain, ToolchainError};
use sandbox::{Command, Limits, Mode, Outcome, Sandbox};

use crate::error::{At, RunnerError};
use crate::languages::{self, Place};
use crate::registries::Registries;
use crate::workspace::Workspace;

const SHELL: &str = "/bin/sh";
/// Where a check may write what its tests did.
const REPORT: &str = "GATEWRIGHT_REPORT";
/// How the machine reaches the network, which only setup is told.
const NETWORK_VARIABLES: [&str; 8] =
    ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"];
/// Nobody is there whom setup could ask, however it asks.
const UNASKED: [(&str, &str); 4] =
    [("CI", "true"), ("GIT_TERMINAL_PROMPT", "0"), ("DEBIAN_FRONTEND", "noninteractive"), ("npm_config_yes", "true")];
/// The pnpm that is here, whichever a manifest pins: another one would be fetched, and checks have no network. npm warns of this
/// variable, so only projects of pnpm are given it.
const INSTALLED_PNPM: (&str, &str) = ("npm_config_manage_package_manager_versions", "false");
/// The parts of the user's cargo settings that say where packages come from; any other part may hold a credential.
const CARGO_SETTINGS: [&str; 3] = ["source", "net", "http"];

/// Which phase a command belongs to.
#[derive(Clone, Copy)]
pub(crate) enum Phase<'a> {
    /// Fetches dependencies into the workspace, with the network.
    Setup {
        /// Where packages come from.
        registries: &'a Registries,
    },
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

/// The programs that a project's language and commands need, as they lie on this machine; `repository` is its folder.
///
/// # Errors
/// [`ToolchainError`] names what is missing, and the cure.
pub async fn find_toolchain(config: &RunConfig, repository: &Path) -> Result<Toolchain, ToolchainError> {
    toolchain::find(&config.project.language, &tools(config), &caller(), repository).await
}

/// The environment of this process, as far as it is text.
fn caller() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// How this machine runs the commands of one run.
pub(crate) struct Environment {
    sandbox: Sandbox,
    mode: Mode,
    config: RunConfig,
    toolchain: Toolchain,
    caller: BTreeMap<String, String>,
}

impl Environment {
    /// Finds the toolchain that the project's language and files ask for.
    pub(crate) async fn find(sandbox: &Sandbox, config: &RunConfig, base: &Workspace) -> Result<Self, RunnerError> {
        let toolchain = find_toolchain(config, &base.tree().join(&config.project.root)).await?;
        let mode = match config.sandbox {
            SandboxMode::Auto => Mode::Auto,
            SandboxMode::None => Mode::None,
        };
        Ok(Self { sandbox: sandbox.clone(), mode, config: config.clone(), toolchain, caller: caller() })
    }

    /// Where packages come from, for setup.
    pub(crate) async fn registries(&self) -> Registries {
        Registries::find(&self.config.project.language, &self.toolchain, &self.caller).await
    }

    /// What makes one toolchain's builds unusable for another.
    pub(crate) fn identity(&self) -> &str {
        &self.toolchain.identity
    }

    /// Puts the user's registry settings where cargo looks for them; credentials stay where they are. Only setup is told of
    /// a proxy, since its address may hold a password.
    pub(crate) fn seed(&self, dependencies: &Path, phase: Phase<'_>) -> Result<(), RunnerError> {
        let Some(home) = &self.toolchain.cargo_home else { return Ok(()) };
        let Ok(settings) = fs::read_to_string(home.join("config.toml")) else { return Ok(()) };
        let path = dependencies.join("config.toml");
        let settings: toml::Table =
            settings.parse().map_err(|problem| RunnerError::unreadable("config.toml of cargo", &problem))?;
        let mut shared: toml::Table =
            settings.into_iter().filter(|(key, _)| CARGO_SETTINGS.contains(&key.as_str())).collect();
        if !matches!(phase, Phase::Setup { .. })
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
        read_only.extend(self.toolchain.read_only.clone());
        let home = match phase {
            Phase::Setup { registries } => {
                read_only.extend(registries.files());
                inside.dependencies()
            }
            Phase::WarmUp { dependencies } | Phase::Check { dependencies } => {
                read_only.push(dependencies.to_owned());
                dependencies.to_owned()
            }
        };
        let command = Command {
            program: SHELL.into(),
            args: vec!["-c".into(), line.to_owned()],
            cwd: inside.tree().join(&self.config.project.root),
            env: self.variables(&inside, &home, phase),
            workspace: workspace.root().to_owned(),
            read_only,
            network: matches!(phase, Phase::Setup { .. }),
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
        let roots = self.toolchain.read_only.iter();
        replacements.extend(roots.map(|root| (text(root), "<toolchain>".into())));
        Ok(replacements)
    }

    /// The folder in which commands run, as they see it.
    pub(crate) async fn folder(&self, workspace: &Workspace) -> Result<String, RunnerError> {
        let root = self.inside(workspace).await?.tree().join(&self.config.project.root);
        Ok(text(&root.components().collect::<PathBuf>()))
    }

    /// The workspace by its paths inside.
    async fn inside(&self, workspace: &Workspace) -> Result<Workspace, RunnerError> {
        Ok(Workspace::at(self.sandbox.workspace_inside(self.mode, workspace.root()).await?))
    }

    fn variables(&self, inside: &Workspace, dependencies: &Path, phase: Phase<'_>) -> BTreeMap<String, String> {
        let Project { language, root } = &self.config.project;
        let place = Place { inside, root, dependencies, network: matches!(phase, Phase::Setup { .. }) };
        let first = languages::program_folders(language, &place);
        let mut variables = languages::variables(language, &place);
        if tools(&self.config).contains(&"pnpm") {
            variables.insert(INSTALLED_PNPM.0.into(), INSTALLED_PNPM.1.into());
        }
        variables.extend([
            ("PATH".into(), self.toolchain.path(&first)),
            ("HOME".into(), text(&inside.home())),
            ("LANG".into(), "C.UTF-8".into()),
            ("TERM".into(), "dumb".into()),
            ("NO_COLOR".into(), "1".into()),
        ]);
        match phase {
            Phase::Setup { registries } => {
                let of_network = NETWORK_VARIABLES.iter().filter_map(|name| self.caller.get_key_value(*name));
                variables.extend(of_network.map(|(name, value)| (name.clone(), value.clone())));
                variables.extend(registries.variables.clone());
                variables.extend(UNASKED.map(|(name, value)| (name.into(), value.into())));
            }
            Phase::Check { .. } => drop(variables.insert(REPORT.into(), text(&inside.report()))),
            Phase::WarmUp { .. } => {}
        }
        variables
    }

    fn limits(&self, phase: Phase<'_>) -> Limits {
        let bounds = &self.config.limits;
        let wall_seconds = match phase {
            Phase::Setup { .. } | Phase::WarmUp { .. } => bounds.setup_wall_seconds,
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

/// The programs beside the language's own that the commands name.
fn tools(config: &RunConfig) -> Vec<&'static str> {
    let checks = config.checks.iter().map(|check| &check.command);
    let lines: Vec<&String> =
        config.setup.iter().chain(&config.warm_up).map(|command| &command.command).chain(checks).collect();
    let named = |tool: &&str| lines.iter().any(|line| line.split_whitespace().any(|word| word == *tool));
    TOOLS.into_iter().filter(named).collect()
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
        let toolchain = Toolchain { cargo_home: home, ..Toolchain::default() };
        let environment = Environment {
            sandbox: Sandbox::new(),
            mode: Mode::None,
            config: RunConfig::default(),
            toolchain,
            caller: BTreeMap::new(),
        };
        let dependencies = tempfile::tempdir().unwrap();
        let seeded = |phase| {
            environment.seed(dependencies.path(), phase).unwrap();
            fs::read_to_string(dependencies.path().join("config.toml")).unwrap()
        };
        let (setup, check) = (
            seeded(Phase::Setup { registries: &Registries::default() }),
            seeded(Phase::Check { dependencies: dependencies.path() }),
        );
        assert!(setup.contains("user:word") && !setup.contains("token"), "{setup}");
        assert!(!check.contains("user:word") && check.contains("timeout = 7"), "{check}");
    }
}
