//! Puts the settings of a run together: defaults, then the project's file, then what the command line says.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;

use run_model::RepoPath;

use crate::section::scale_to_whole;
use crate::server::check_server;
use crate::{ConfigError, Dialect, PathRules, ProjectFile, Provider, RunConfig, SandboxMode};

/// The most items of an inline Map that Step Functions runs at once.
const PARALLEL_TASKS_MAX: u32 = 40;
const ONLY_LIVE: &str = "only a live provider can be recorded: anthropic or openai";
/// How long a state waits for setup and checks.
const CHECKS_SECONDS_MAX: u64 = 7_200;
/// How long one answer may take: a role's function has 900 seconds, and keeps some of them for what follows.
const ANSWER_SECONDS_MAX: u64 = 870;
/// Longer waits are not meant.
const GATE_SECONDS_MAX: u32 = 366 * 24 * 3_600;

/// What the command line says; what is `None` stays as the project has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// `anthropic`, `openai`, `replay:FILE`, `record:FILE` or `scripted:FILE`.
    pub provider: Option<String>,
    /// The budget in US dollars.
    pub budget_usd: Option<f64>,
    /// How much confinement. What the project's file says of it takes no effect: see [`ProjectFile::ungranted`].
    pub sandbox: Option<SandboxMode>,
    /// Folders outside the workspace that a confined command may read besides the toolchain's; those of the project's file
    /// take no effect either.
    pub read_only: Vec<PathBuf>,
    /// Whether gates open without a person.
    pub auto_approve: bool,
}

impl SandboxMode {
    pub(crate) const NAMES: [(&'static str, Self); 2] = [("auto", Self::Auto), ("none", Self::None)];
}

impl FromStr for SandboxMode {
    type Err = ConfigError;

    fn from_str(name: &str) -> Result<Self, ConfigError> {
        let found = Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, mode)| *mode);
        found.ok_or_else(|| bad("--sandbox", name, "write auto or none"))
    }
}

impl ProjectFile {
    /// What the file asks of a machine and only its owner can grant, and did not: a sentence each, with the flag that does.
    /// Whoever may write to a repository may not decide what its commands see of the machine.
    pub fn ungranted(&self, overrides: &Overrides) -> Vec<String> {
        let mut asked = Vec::new();
        if self.0.sandbox == SandboxMode::None && overrides.sandbox.is_none() {
            asked.push(
                "sandbox.mode = \"none\" takes effect only with --sandbox none: commands are confined".to_owned(),
            );
        }
        let unnamed = self.0.read_only.iter().filter(|folder| !overrides.read_only.contains(folder));
        asked.extend(unnamed.map(|folder| {
            let folder = folder.display();
            format!("sandbox.read_only = {folder} takes effect only with --read-only {folder}: commands do not see it")
        }));
        asked
    }
}

impl RunConfig {
    /// The settings of a run.
    ///
    /// # Errors
    /// As [`RunConfig::validate`], and for an override that cannot be read.
    pub fn assemble(project: ProjectFile, overrides: Overrides) -> Result<Self, ConfigError> {
        let mut config = project.0;
        if let Some(name) = &overrides.provider {
            config.provider = choose_provider(name, config.provider)?;
        }
        if let Some(usd) = overrides.budget_usd {
            let microusd = scale_to_whole(usd, 1e6).filter(|microusd| *microusd > 0);
            config.limits.budget_microusd =
                microusd.ok_or_else(|| bad("--budget", shown_usd(usd), "write US dollars: 5.0"))?;
        }
        config.sandbox = overrides.sandbox.unwrap_or_default();
        config.read_only = overrides.read_only;
        config.auto_approve = overrides.auto_approve;
        config.validate()?;
        Ok(config)
    }

    /// Checks what types cannot say. Settings that come in as JSON have to pass here before they are pinned.
    ///
    /// # Errors
    /// [`ConfigError::NoChecks`] if nothing measures a change; [`ConfigError::BadValue`] for a bound out of range, a root
    /// outside the repository, a name given twice, a glob that cannot be read, or a server without `https`.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.checks.is_empty() {
            return Err(ConfigError::NoChecks);
        }
        if self.schema != crate::RUN_CONFIG_SCHEMA {
            return Err(bad(
                "schema",
                self.schema,
                "these settings were written by a newer Gatewright: update this one",
            ));
        }
        if self.project.root != "." {
            RepoPath::new(self.project.root.as_str())
                .map_err(|error| bad("project.root", &self.project.root, error))?;
        }
        for file in &self.setup_files {
            RepoPath::new(file.as_str()).map_err(|error| bad("project.setup_files", file, error))?;
        }
        if let Some(folder) = self.read_only.iter().find(|folder| !folder.is_absolute()) {
            return Err(bad("sandbox.read_only", folder.display(), "write an absolute path"));
        }
        names_differ("checks", self.checks.iter().map(|check| check.name.as_str()))?;
        names_differ("setup", self.setup.iter().map(|command| command.name.as_str()))?;
        names_differ("warm_up", self.warm_up.iter().map(|command| command.name.as_str()))?;
        check_provider(&self.provider)?;
        self.validate_roles()?;
        self.validate_limits()?;
        PathRules::new(self).map(|_| ())
    }

    fn validate_roles(&self) -> Result<(), ConfigError> {
        for (name, role) in &self.roles {
            let key = |field: &str| format!("roles.{name}.{field}");
            if role.max_output_tokens == 0 || role.max_output_tokens >= role.context_tokens {
                let cure = format!("write more than 0 and less than context_tokens ({})", role.context_tokens);
                return Err(bad(&key("max_output_tokens"), role.max_output_tokens, cure));
            }
            if let Some(thousandths) = role.temperature_milli.filter(|thousandths| *thousandths > 1_000) {
                return Err(bad(
                    &key("temperature"),
                    f64::from(thousandths) / 1_000.0,
                    "write a number from 0.0 to 1.0",
                ));
            }
        }
        Ok(())
    }

    fn validate_limits(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        let positive = [
            ("budget_usd", limits.budget_microusd),
            ("budget_tokens", limits.budget_tokens),
            ("iterations", limits.iterations.into()),
            ("turns", limits.turns.into()),
            ("tasks", limits.tasks.into()),
            ("parallel_tasks", limits.parallel_tasks.into()),
            ("setup_wall_seconds", limits.setup_wall_seconds),
            ("check_wall_seconds", limits.check_wall_seconds),
            ("check_memory_mib", limits.check_memory_bytes),
            ("check_processes", limits.check_processes),
            ("check_disk_mib", limits.check_disk_bytes),
            ("check_output_mib", limits.check_output_bytes),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(bad(&format!("limits.{name}"), 0, "write more than 0"));
        }
        let walls =
            [("setup_wall_seconds", limits.setup_wall_seconds), ("check_wall_seconds", limits.check_wall_seconds)];
        if let Some((name, seconds)) = walls.iter().find(|(_, seconds)| *seconds > CHECKS_SECONDS_MAX) {
            let cure = format!("write at most {CHECKS_SECONDS_MAX}: nobody waits longer for setup and checks together");
            return Err(bad(&format!("limits.{name}"), seconds, cure));
        }
        if limits.parallel_tasks > PARALLEL_TASKS_MAX {
            return Err(bad("limits.parallel_tasks", limits.parallel_tasks, "write at most 40, the platform's bound"));
        }
        for (level, seconds) in &limits.gate_seconds {
            if !(1..=GATE_SECONDS_MAX).contains(seconds) {
                let key = format!("limits.gate_seconds.{}", level.as_str());
                return Err(bad(&key, seconds, format!("write seconds, from 1 to {GATE_SECONDS_MAX} (a year)")));
            }
        }
        Ok(())
    }
}

/// A number of dollars, however large it is, in a few digits.
fn shown_usd(usd: f64) -> String {
    if usd.abs() < 1e15 { usd.to_string() } else { format!("{usd:e}") }
}

fn bad(key: &str, value: impl std::fmt::Display, cure: impl std::fmt::Display) -> ConfigError {
    ConfigError::BadValue { key: key.into(), value: value.to_string(), cure: cure.to_string() }
}

fn choose_provider(name: &str, of_project: Provider) -> Result<Provider, ConfigError> {
    let live = match of_project.clone() {
        Provider::Record { upstream, .. } => *upstream,
        live @ (Provider::Anthropic { .. } | Provider::OpenAi { .. }) => live,
        Provider::Replay { .. } | Provider::Scripted { .. } => Provider::default(),
    };
    let named = Dialect::ALL.into_iter().find(|dialect| dialect.as_str() == name);
    match (name.split_once(':'), named) {
        (None, _) if name == of_project.kind() => Ok(of_project),
        (None, _) if name == live.kind() => Ok(live),
        (None, Some(dialect)) => Ok(dialect.provider(None, None)),
        (Some(("replay", file)), _) if !file.is_empty() => Ok(Provider::Replay { cassette: file.into() }),
        (Some(("scripted", file)), _) if !file.is_empty() => Ok(Provider::Scripted { script: file.into() }),
        (Some(("record", file)), _) if !file.is_empty() => {
            Ok(Provider::Record { cassette: file.into(), upstream: Box::new(live) })
        }
        _ => Err(bad("--provider", name, "write anthropic, openai, replay:FILE, record:FILE or scripted:FILE")),
    }
}

fn check_provider(provider: &Provider) -> Result<(), ConfigError> {
    match (provider, provider.server()) {
        (_, Some(server)) if server.timeout_seconds == 0 => {
            Err(bad("provider.timeout_seconds", 0, "write more than 0"))
        }
        (_, Some(server)) if server.timeout_seconds > ANSWER_SECONDS_MAX => {
            let cure = format!("write at most {ANSWER_SECONDS_MAX}: a role's function lives no longer");
            Err(bad("provider.timeout_seconds", server.timeout_seconds, cure))
        }
        (Provider::Record { upstream, .. }, _) if matches!(**upstream, Provider::Record { .. }) => {
            Err(bad("provider.upstream", upstream.kind(), ONLY_LIVE))
        }
        (Provider::Record { upstream, .. }, None) => Err(bad("provider.upstream", upstream.kind(), ONLY_LIVE)),
        (_, Some(server)) => check_server(server.base_url),
        (_, None) => Ok(()),
    }
}

fn names_differ<'a>(key: &str, names: impl Iterator<Item = &'a str>) -> Result<(), ConfigError> {
    let mut seen = BTreeSet::new();
    let twice = names.into_iter().find(|name| !seen.insert(*name));
    twice.map_or(Ok(()), |name| Err(bad(&format!("{key}.name"), name, "the name is given twice: change one")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RoleModel, detect};

    fn project() -> ProjectFile {
        ProjectFile::from_detected(detect(&["Cargo.toml"], &|_| Some("[package]".into())).unwrap())
    }

    fn with(change: impl FnOnce(&mut RunConfig)) -> String {
        let mut config = project().0;
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    fn provider(name: &str) -> Result<Provider, ConfigError> {
        let overrides = Overrides { provider: Some(name.into()), ..Overrides::default() };
        RunConfig::assemble(project(), overrides).map(|config| config.provider)
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let overrides = Overrides {
            budget_usd: Some(0.5),
            sandbox: Some("none".parse().unwrap()),
            auto_approve: true,
            ..Overrides::default()
        };
        let config = RunConfig::assemble(project(), overrides).unwrap();
        assert_eq!(
            (config.limits.budget_microusd, config.sandbox, config.auto_approve),
            (500_000, SandboxMode::None, true)
        );
        let config = RunConfig::assemble(project(), Overrides::default()).unwrap();
        assert_eq!(
            (config.limits.budget_microusd, config.sandbox, config.auto_approve),
            (5_000_000, SandboxMode::Auto, false)
        );
    }

    #[test]
    fn what_a_file_asks_of_the_machine_is_for_its_owner_to_grant() {
        let text = "[sandbox]\nmode = \"none\"\nread_only = [\"/root\", \"/opt/sdk\"]\n[[checks]]\nname = \"t\"\ncommand = \"t\"";
        let file = ProjectFile::parse(text).unwrap();
        let granted = Overrides { read_only: vec!["/opt/sdk".into()], ..Overrides::default() };
        let [mode, folder] = &file.ungranted(&granted)[..] else { panic!("{:?}", file.ungranted(&granted)) };
        assert!(mode.contains("--sandbox none") && folder.contains("--read-only /root"), "{mode} {folder}");
        let config = RunConfig::assemble(file.clone(), granted).unwrap();
        assert_eq!((config.sandbox, config.read_only), (SandboxMode::Auto, vec![PathBuf::from("/opt/sdk")]));
        let none = Overrides { sandbox: Some(SandboxMode::None), ..Overrides::default() };
        assert!(!file.ungranted(&none).iter().any(|asked| asked.contains("--sandbox")));
        assert_eq!(RunConfig::assemble(file, none).unwrap().sandbox, SandboxMode::None);
    }

    #[test]
    fn a_budget_without_end_is_told_in_a_few_digits() {
        let overrides = Overrides { budget_usd: Some(1e300), ..Overrides::default() };
        let error = RunConfig::assemble(project(), overrides).unwrap_err().to_string();
        assert_eq!(error, "--budget = 1e300: write US dollars: 5.0");
    }

    #[test]
    fn a_provider_is_chosen_by_name_and_file() {
        assert_eq!(provider("replay:a:b.jsonl").unwrap(), Provider::Replay { cassette: PathBuf::from("a:b.jsonl") });
        let upstream = Box::new(Provider::default());
        assert_eq!(provider("record:c").unwrap(), Provider::Record { cassette: "c".into(), upstream });
        assert_eq!(provider("anthropic").unwrap(), Provider::default());
        let openai = provider("openai").unwrap();
        assert_eq!(openai.server().map(|server| server.base_url), Some("https://api.openai.com/v1"));
        for wrong in ["another", "replay", "replay:", ""] {
            let error = provider(wrong).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--provider = {wrong}: write anthropic")), "{error}");
        }
    }

    #[test]
    fn what_types_cannot_say_is_refused_by_key_and_cure() {
        assert!(with(|c| c.checks.clear()).contains("gatewright init"));
        assert!(with(|c| c.schema = 2).starts_with("schema = 2: "));
        assert!(with(|c| c.project.root = "../x".into()).starts_with("project.root = ../x: "));
        assert!(
            with(|c| c.setup_files = vec!["/etc/passwd".into()]).starts_with("project.setup_files = /etc/passwd: ")
        );
        assert!(with(|c| c.read_only = vec!["opt".into()]).starts_with("sandbox.read_only = opt: "));
        assert!(with(|c| c.checks.push(c.checks[0].clone())).starts_with("checks.name = test: "));
        assert!(with(|c| c.limits.turns = 0).starts_with("limits.turns = 0: "));
        assert!(
            with(|c| c.limits.check_wall_seconds = 7_201)
                .starts_with("limits.check_wall_seconds = 7201: write at most")
        );
        assert!(with(|c| c.limits.setup_wall_seconds = 86_400).starts_with("limits.setup_wall_seconds = 86400: "));
        let slow = |c: &mut RunConfig| c.provider = Dialect::Anthropic.provider(None, Some(871));
        assert!(with(slow).starts_with("provider.timeout_seconds = 871: write at most 870"));
        assert!(with(|c| c.limits.parallel_tasks = 41).starts_with("limits.parallel_tasks = 41: "));
        assert!(
            with(|c| c.limits.gate_seconds = [(run_model::risk::RiskLevel::High, 0)].into()).contains(".high = 0: ")
        );
        assert!(with(|c| c.manifests = vec!["{".into()]).starts_with("policy.manifests = \"{\": "));
        let hot = RoleModel { temperature_milli: Some(1_500), ..RoleModel::default() };
        assert!(with(|c| c.roles = [("default".into(), hot)].into()).starts_with("roles.default.temperature = 1.5: "));
        let nested =
            Provider::Record { cassette: "c".into(), upstream: Box::new(Provider::Replay { cassette: "d".into() }) };
        assert!(with(|c| c.provider = nested).starts_with("provider.upstream = replay: "));
    }
}
