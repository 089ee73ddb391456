//! The settings of one run, pinned when it is admitted and kept as JSON.

use std::collections::BTreeMap;
use std::path::PathBuf;

use run_model::budget::Price;
use run_model::risk::RiskLevel;
use run_model::{ErrorName, FunctionError, gate};
use serde::{Deserialize, Serialize};

use crate::{Provider, defaults};

/// The version of [`RunConfig`] that this code writes.
pub const RUN_CONFIG_SCHEMA: u32 = 1;

/// Everything a run is told. A field that JSON leaves out has its default, so that a person in the Step Functions console
/// may give `{}`; an unknown field is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// [`RUN_CONFIG_SCHEMA`] when written.
    pub schema: u32,
    /// What kind of project it is and where in the repository it lies.
    pub project: Project,
    /// Commands that fetch dependencies: network on, on the base commit only, in order; the first failure ends the run.
    pub setup: Vec<CommandSpec>,
    /// What setup may make in its copy of the base and checks need. A file (`Cargo.lock` of a project that does not keep one)
    /// is given to a tree that has none; of a folder (`.venv`, `node_modules`) every tree gets its own copy, and no change may
    /// write there. Paths relative to the project's root. They are no part of a tree's hash, of a snapshot or of a change set.
    pub setup_files: Vec<String>,
    /// Commands that build the base's tests once, after setup and without network, so that each check begins with a copy
    /// of that build. A failure costs only time: the baseline check shows it.
    pub warm_up: Vec<CommandSpec>,
    /// Commands that measure a tree, confined, in order; all of them run.
    pub checks: Vec<CheckSpec>,
    /// Whether a run may begin on a base where a check that names tests fails before any ran: to mend that is then what the run
    /// is for. Left out where it is not, so that an older runner reads the settings too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub base_may_fail: bool,
    /// Folders outside the workspace that a confined command may read besides the toolchain's.
    pub read_only: Vec<PathBuf>,
    /// How much confinement is asked for.
    pub sandbox: SandboxMode,
    /// Who answers the agents.
    pub provider: Provider,
    /// Model and its bounds per role; the key `default` serves the roles that are not named.
    pub roles: BTreeMap<String, RoleModel>,
    /// Prices by model. A model without one is not called.
    pub prices: BTreeMap<String, ModelPrice>,
    /// Bounds of the run.
    pub limits: Limits,
    /// Globs of paths that raise a change's risk to critical.
    pub protected: Vec<String>,
    /// Globs of paths that hold tests: all that the tester may write.
    pub test_paths: Vec<String>,
    /// Globs of manifest and lock files: a change to one needs a new setup, and they key the cache of what setup fetched.
    pub manifests: Vec<String>,
    /// Whether gates open without a person (`--yes`); recorded as `flag, nobody looked`.
    pub auto_approve: bool,
}

/// What kind of project it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Project {
    /// `rust`, `python`, `node` or `go`, whose programs commands then see; or another word for people and prompts.
    pub language: String,
    /// The folder in the repository where setup and checks run; `.` is the repository's root.
    pub root: String,
}

impl Default for Project {
    fn default() -> Self {
        Self { language: "unknown".into(), root: ".".into() }
    }
}

/// A command by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandSpec {
    /// Short name, unique in its list.
    pub name: String,
    /// The line that `/bin/sh -c` runs in the project's root.
    pub command: String,
}

/// A command that measures a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckSpec {
    /// Short name, unique among the checks.
    pub name: String,
    /// The line that `/bin/sh -c` runs in the project's root.
    pub command: String,
    /// How it names tests.
    #[serde(default)]
    pub format: TestFormat,
}

/// How a command names tests: in what it prints, or in a report that it writes to the file `$GATEWRIGHT_REPORT`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestFormat {
    /// `cargo test`: test names are read from it.
    CargoTest,
    /// A report in JUnit's form: pytest, node's runner, vitest, mocha and most others can write it.
    Junit,
    /// jest's report (`--json --outputFile`).
    JestJson,
    /// What `go test -json` prints.
    GoJson,
    /// What `python -m unittest --verbose` prints.
    Unittest,
    /// Only the exit code counts.
    #[default]
    Plain,
}

impl TestFormat {
    /// The words of the settings file.
    pub(crate) const NAMES: [(&'static str, Self); 6] = [
        ("cargo_test", Self::CargoTest),
        ("junit", Self::Junit),
        ("jest_json", Self::JestJson),
        ("go_json", Self::GoJson),
        ("unittest", Self::Unittest),
        ("plain", Self::Plain),
    ];

    /// Whether the command writes a report to the file `$GATEWRIGHT_REPORT`.
    pub fn is_by_report(self) -> bool {
        matches!(self, Self::Junit | Self::JestJson)
    }
}

/// How much confinement is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxMode {
    /// Every layer the machine offers; refuse if it cannot confine.
    #[default]
    Auto,
    /// None at all: generated code runs with the user's own rights.
    None,
}

/// The model that plays a role, and its bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoleModel {
    /// The model's id, as the provider spells it.
    pub model: String,
    /// The most output tokens one answer may use.
    pub max_output_tokens: u64,
    /// Sampling temperature in thousandths, 0 to 1000; the provider's own if not set.
    pub temperature_milli: Option<u32>,
    /// The tokens that prompt and answer together may fill.
    pub context_tokens: u64,
}

impl Default for RoleModel {
    fn default() -> Self {
        Self {
            model: defaults::DEFAULT_MODEL.into(),
            max_output_tokens: 16_000,
            temperature_milli: None,
            context_tokens: 200_000,
        }
    }
}

/// What a model costs, and since when that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelPrice {
    /// The price.
    pub price: Price,
    /// The day the price was looked up, `YYYY-MM-DD`.
    pub as_of: String,
    /// Whether a price of zero is meant.
    #[serde(default)]
    pub free: bool,
}

/// The bounds of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The most the run may spend on models, in micro-dollars.
    pub budget_microusd: u64,
    /// The most tokens the run may use, of all kinds together.
    pub budget_tokens: u64,
    /// Rounds of developer, tester and reviewer per task.
    pub iterations: u32,
    /// Turns per session.
    pub turns: u32,
    /// How often a session is asked to mend an answer of the wrong shape.
    pub repairs: u32,
    /// Tasks in a plan.
    pub tasks: u32,
    /// Tasks at work at the same time, at most 40.
    pub parallel_tasks: u32,
    /// How long setup and warm-up may take together, in seconds.
    pub setup_wall_seconds: u64,
    /// How long one check may take, in seconds.
    pub check_wall_seconds: u64,
    /// Memory of one check, in bytes.
    pub check_memory_bytes: u64,
    /// Processes and threads of one check.
    pub check_processes: u64,
    /// What one check may write to its workspace, in bytes.
    pub check_disk_bytes: u64,
    /// What one check may print, in bytes.
    pub check_output_bytes: u64,
    /// How long a gate waits, in seconds, where it differs from the rules' own 30, 60 and 120 minutes.
    pub gate_seconds: BTreeMap<RiskLevel, u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            budget_microusd: 5_000_000,
            budget_tokens: 1_000_000,
            iterations: 20,
            turns: 40,
            repairs: 3,
            tasks: 12,
            parallel_tasks: 20,
            setup_wall_seconds: 1_800,
            check_wall_seconds: 900,
            check_memory_bytes: 4 << 30,
            check_processes: 512,
            check_disk_bytes: 8 << 30,
            check_output_bytes: 8 << 20,
            gate_seconds: BTreeMap::new(),
        }
    }
}

impl Limits {
    /// How long a gate of this level waits, in seconds; `None` if the level opens no gate.
    pub fn gate_wait_seconds(&self, level: RiskLevel) -> Option<u32> {
        let by_rule = gate::wait_seconds(level)?;
        Some(self.gate_seconds.get(&level).copied().unwrap_or(by_rule))
    }
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            schema: RUN_CONFIG_SCHEMA,
            project: Project::default(),
            setup: Vec::new(),
            setup_files: Vec::new(),
            warm_up: Vec::new(),
            checks: Vec::new(),
            base_may_fail: false,
            read_only: Vec::new(),
            sandbox: SandboxMode::default(),
            provider: Provider::default(),
            roles: BTreeMap::from([("default".into(), RoleModel::default())]),
            prices: defaults::prices(),
            limits: Limits::default(),
            protected: defaults::globs(defaults::PROTECTED),
            test_paths: defaults::globs(defaults::TEST_PATHS),
            manifests: defaults::globs(defaults::MANIFESTS),
            auto_approve: false,
        }
    }
}

impl RunConfig {
    /// The model that plays this role.
    pub fn role(&self, role: &str) -> RoleModel {
        self.roles.get(role).or_else(|| self.roles.get("default")).cloned().unwrap_or_default()
    }

    /// What this model costs.
    ///
    /// # Errors
    /// [`ErrorName::UnknownPrice`] if no price is set, or a price of zero without `free`: such a call would escape the
    /// budget.
    pub fn price(&self, model: &str) -> Result<Price, FunctionError> {
        let unknown = |problem: &str| {
            let cure = format!("add [prices.{model:?}] to gatewright.toml, with free = true if it costs nothing");
            FunctionError::new(
                ErrorName::UnknownPrice,
                format!("the model {model:?} {problem}, so it is not called: {cure}"),
            )
        };
        let known = self.prices.get(model).ok_or_else(|| unknown("has no known price"))?;
        let costs = known.price.input_microusd_per_mtok > 0 && known.price.output_microusd_per_mtok > 0;
        if costs || known.free { Ok(known.price) } else { Err(unknown("has a price of zero that is not marked free")) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_json_leaves_out_has_its_default_and_unknown_fields_are_refused() {
        assert_eq!(serde_json::from_value::<RunConfig>(json!({})).unwrap(), RunConfig::default());
        let error = serde_json::from_value::<RunConfig>(json!({"limits": {"turn": 3}})).unwrap_err();
        assert!(error.to_string().contains("unknown field `turn`"), "{error}");
    }

    #[test]
    fn settings_survive_their_own_json() {
        let mut config = RunConfig::default();
        config.limits.gate_seconds.insert(RiskLevel::High, 60);
        let upstream = Box::new(Provider::default());
        config.provider = Provider::Record { cassette: "c.jsonl".into(), upstream };
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<RunConfig>(&json).unwrap(), config);
        assert_eq!(config.limits.gate_wait_seconds(RiskLevel::High), Some(60));
        assert_eq!(config.limits.gate_wait_seconds(RiskLevel::Medium), Some(1_800));
        assert_eq!(config.limits.gate_wait_seconds(RiskLevel::Low), None);
    }

    #[test]
    fn every_default_model_has_a_price_and_an_unpriced_one_is_refused() {
        let mut config = RunConfig::default();
        for model in [defaults::DEFAULT_MODEL, defaults::SMALL_MODEL, defaults::STRONG_MODEL] {
            assert!(config.price(model).unwrap().output_microusd_per_mtok > 0, "{model}");
        }
        assert_eq!(config.price("other").unwrap_err().name, ErrorName::UnknownPrice);
        let mut zero = config.prices[defaults::DEFAULT_MODEL].clone();
        zero.price.output_microusd_per_mtok = 0;
        config.prices.insert("zero".into(), zero.clone());
        assert!(config.price("zero").unwrap_err().message.contains("not marked free"));
        config.prices.insert("zero".into(), ModelPrice { free: true, ..zero });
        assert!(config.price("zero").is_ok());
    }

    #[test]
    fn a_role_without_a_model_of_its_own_gets_the_default() {
        let mut config = RunConfig::default();
        let strong = RoleModel { model: defaults::STRONG_MODEL.into(), ..RoleModel::default() };
        config.roles.insert("reviewer".into(), strong.clone());
        assert_eq!(config.role("reviewer"), strong);
        assert_eq!(config.role("developer"), RoleModel::default());
    }
}
