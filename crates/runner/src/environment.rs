//! What a confined command sees: toolchain, home, limits; nothing of the caller's environment comes along.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use config::RunConfig;
use sandbox::toolchain::{self, Toolchain};
use sandbox::{Command, Limits};

use crate::workspace::Workspace;
use crate::{RunnerError, at};

const SHELL: &str = "/bin/sh";

/// Which phase a command belongs to.
#[derive(Clone, Copy)]
pub(crate) enum Phase<'a> {
    /// Fetches dependencies into this folder, with the network.
    Setup {
        /// Inside the workspace.
        dependencies: &'a Path,
    },
    /// Measures, without network; what was fetched is read-only.
    Check {
        /// Outside the workspace.
        dependencies: &'a Path,
    },
}

/// The toolchain of this machine, as found for one base.
pub(crate) struct Environment {
    toolchain: Option<Toolchain>,
}

impl Environment {
    /// Finds the toolchain that the project's language needs.
    pub(crate) async fn of_this_machine(config: &RunConfig, tree: &Path) -> Result<Self, RunnerError> {
        if config.project.language != "rust" {
            return Ok(Self { toolchain: None });
        }
        let caller: BTreeMap<String, String> = std::env::vars().collect();
        Ok(Self { toolchain: Some(toolchain::rust(&caller, &tree.join(&config.project.root)).await?) })
    }

    /// What makes builds of one machine unusable on another.
    pub(crate) fn identity(&self) -> &str {
        self.toolchain.as_ref().map_or("", |toolchain| &toolchain.identity)
    }

    /// Puts the user's registry settings where setup looks for them; credentials stay where they are.
    pub(crate) fn seed(&self, dependencies: &Path) -> Result<(), RunnerError> {
        let Some(home) = self.toolchain.as_ref().and_then(|toolchain| toolchain.cargo_home.as_ref()) else { return Ok(()) };
        for name in ["config.toml", "config"] {
            let (from, to) = (home.join(name), dependencies.join(name));
            if from.is_file() {
                at(&to, fs::copy(&from, &to))?;
            }
        }
        Ok(())
    }

    /// A line for `/bin/sh -c` in the project's root.
    pub(crate) fn command(&self, config: &RunConfig, workspace: &Workspace, line: &str, phase: Phase<'_>) -> Command {
        let (dependencies, network) = match phase {
            Phase::Setup { dependencies } => (dependencies, true),
            Phase::Check { dependencies } => (dependencies, false),
        };
        let mut read_only = config.read_only.clone();
        if !network {
            read_only.push(dependencies.to_owned());
        }
        read_only.extend(self.toolchain.iter().flat_map(|toolchain| toolchain.read_only.clone()));
        Command {
            program: PathBuf::from(SHELL),
            args: vec!["-c".into(), line.to_owned()],
            cwd: workspace.tree().join(&config.project.root),
            env: self.variables(workspace, dependencies, network),
            workspace: workspace.root().to_owned(),
            read_only,
            network,
            limits: limits(config, network),
        }
    }

    fn variables(&self, workspace: &Workspace, dependencies: &Path, network: bool) -> BTreeMap<String, String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let path = self.toolchain.as_ref().map_or_else(|| "/usr/bin:/bin".to_owned(), |toolchain| toolchain.path.clone());
        let mut variables = BTreeMap::from([
            ("PATH".into(), path),
            ("HOME".into(), text(&workspace.home())),
            ("LANG".into(), "C.UTF-8".into()),
            ("TERM".into(), "dumb".into()),
            ("NO_COLOR".into(), "1".into()),
        ]);
        if self.toolchain.is_some() {
            variables.extend([
                ("CARGO_HOME".into(), text(dependencies)),
                ("CARGO_TARGET_DIR".into(), text(&workspace.target())),
                ("CARGO_INCREMENTAL".into(), "0".into()),
                ("CARGO_TERM_COLOR".into(), "never".into()),
                ("CARGO_NET_OFFLINE".into(), (!network).to_string()),
            ]);
        }
        variables
    }

    /// Paths of this machine and what stands in their place in evidence.
    pub(crate) fn replacements(&self, workspace: &Workspace, dependencies: &Path) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut replacements = vec![
            (format!("{}/", text(&workspace.tree())), String::new()),
            (text(&workspace.tree()), ".".into()),
            (text(&workspace.target()), "target".into()),
            (text(workspace.root()), "<workspace>".into()),
            (text(dependencies), "<dependencies>".into()),
        ];
        let roots = self.toolchain.iter().flat_map(|toolchain| &toolchain.read_only);
        replacements.extend(roots.map(|root| (text(root), "<toolchain>".into())));
        replacements
    }
}

fn limits(config: &RunConfig, setup: bool) -> Limits {
    let bounds = &config.limits;
    let wall_seconds = if setup { bounds.setup_wall_seconds } else { bounds.check_wall_seconds };
    Limits {
        wall_seconds,
        cpu_seconds: wall_seconds.saturating_mul(2),
        memory_bytes: bounds.check_memory_bytes,
        processes: bounds.check_processes,
        disk_bytes: bounds.check_disk_bytes,
        output_bytes: usize::try_from(bounds.check_output_bytes).unwrap_or(usize::MAX),
        ..Limits::default()
    }
}
