//! `gatewright.toml`: what a project says about itself.

use std::collections::BTreeMap;

use run_model::budget::Price;
use run_model::risk::RiskLevel;
use toml::Table;

use crate::credentials::find_credential;
use crate::section::Section;
use crate::{
    CheckSpec, CommandSpec, ConfigError, Detected, Dialect, Limits, ModelPrice, Provider, RoleModel, RunConfig,
    SandboxMode, TestFormat,
};

/// The settings of a project: the defaults with what `gatewright.toml` (or detection) says laid over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectFile(pub(crate) RunConfig);

impl ProjectFile {
    /// The name of the file, in the repository's root.
    pub const NAME: &'static str = "gatewright.toml";

    /// Reads the text of a `gatewright.toml`.
    ///
    /// # Errors
    /// [`ConfigError`] for what is no TOML, for a key that nobody reads, for a value that does not fit, and for anything
    /// that looks like a credential, in comments too.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        if let Some((line, looks_like)) = find_credential(text) {
            return Err(ConfigError::KeyInFile { line, looks_like });
        }
        let table: Table = text.parse().map_err(|error: toml::de::Error| syntax_error(text, &error))?;
        let file = Section::new("", &table);
        let mut config = RunConfig::default();
        read_project(&file, &mut config)?;
        read_sandbox(&file, &mut config)?;
        if let Some(section) = file.section("provider")? {
            config.provider = read_provider(section)?;
        }
        read_roles(&file, &mut config.roles)?;
        read_prices(&file, &mut config.prices)?;
        if let Some(section) = file.section("limits")? {
            config.limits = read_limits(section)?;
        }
        read_policy(&file, &mut config)?;
        file.finish()?;
        Ok(Self(config))
    }

    /// The settings of a project without a `gatewright.toml`.
    pub fn from_detected(detected: Detected) -> Self {
        let Detected { project, setup, setup_files, warm_up, checks, test_paths, manifests, notes: _ } = detected;
        let mut config = RunConfig { project, setup, setup_files, warm_up, checks, ..RunConfig::default() };
        config.test_paths.extend(test_paths);
        config.manifests.extend(manifests);
        Self(config)
    }
}

fn syntax_error(text: &str, error: &toml::de::Error) -> ConfigError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    ConfigError::Syntax { line: before.matches('\n').count() + 1, message: error.message().trim().replace('\n', ", ") }
}

/// Lays a value over a default, if the file has one.
fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn read_project(file: &Section<'_>, config: &mut RunConfig) -> Result<(), ConfigError> {
    if let Some(section) = file.section("project")? {
        set(&mut config.project.language, section.text("language")?);
        set(&mut config.project.root, section.text("root")?);
        set(&mut config.setup_files, section.texts("setup_files")?);
        set(&mut config.base_may_fail, section.flag("base_may_fail")?);
        section.finish()?;
    }
    set(&mut config.setup, read_commands(file, "setup")?);
    set(&mut config.warm_up, read_commands(file, "warm_up")?);
    if let Some(list) = file.list("checks")? {
        config.checks = list.into_iter().map(read_check).collect::<Result<_, _>>()?;
    }
    Ok(())
}

fn read_command(section: &Section<'_>, cure: &str) -> Result<CommandSpec, ConfigError> {
    Ok(CommandSpec {
        name: section.required_text("name", "give it a short name")?,
        command: section.required_text("command", cure)?,
    })
}

fn read_commands(file: &Section<'_>, key: &str) -> Result<Option<Vec<CommandSpec>>, ConfigError> {
    let read = |section: Section<'_>| {
        let command = read_command(&section, "write the command line")?;
        section.finish()?;
        Ok(command)
    };
    file.list(key)?.map(|list| list.into_iter().map(read).collect()).transpose()
}

fn read_check(section: Section<'_>) -> Result<CheckSpec, ConfigError> {
    let CommandSpec { name, command } =
        read_command(&section, "write the command that tests the project, such as \"make test\"")?;
    let format = section.choice("format", &TestFormat::NAMES)?.unwrap_or_default();
    section.finish()?;
    Ok(CheckSpec { name, command, format })
}

fn read_sandbox(file: &Section<'_>, config: &mut RunConfig) -> Result<(), ConfigError> {
    let Some(section) = file.section("sandbox")? else { return Ok(()) };
    set(&mut config.sandbox, section.choice("mode", &SandboxMode::NAMES)?);
    set(&mut config.read_only, section.texts("read_only")?.map(|list| list.into_iter().map(Into::into).collect()));
    section.finish()
}

fn read_provider(section: Section<'_>) -> Result<Provider, ConfigError> {
    let kinds = ["anthropic", "openai", "replay", "record", "scripted"].map(|kind| (kind, kind));
    let kind = section.choice("kind", &kinds)?.unwrap_or("anthropic");
    let live = |dialect: Dialect| -> Result<Provider, ConfigError> {
        Ok(dialect.provider(section.text("base_url")?, section.number("timeout_seconds")?))
    };
    let file = |key: &str| section.required_text(key, "name the file that holds the answers").map(Into::into);
    let provider = match kind {
        "replay" => Provider::Replay { cassette: file("cassette")? },
        "record" => {
            let dialects = Dialect::ALL.map(|dialect| (dialect.as_str(), dialect));
            let upstream = section.choice("upstream", &dialects)?.unwrap_or(Dialect::Anthropic);
            Provider::Record { cassette: file("cassette")?, upstream: Box::new(live(upstream)?) }
        }
        "scripted" => Provider::Scripted { script: file("script")? },
        "openai" => live(Dialect::OpenAi)?,
        _ => live(Dialect::Anthropic)?,
    };
    section.finish()?;
    Ok(provider)
}

fn read_roles(file: &Section<'_>, roles: &mut BTreeMap<String, RoleModel>) -> Result<(), ConfigError> {
    let Some(all) = file.section("roles")? else { return Ok(()) };
    let mut named = all.named()?;
    // The other roles take from `default` what they do not say.
    named.sort_by_key(|(name, _)| *name != "default");
    for (name, section) in named {
        let mut role = roles.get("default").cloned().unwrap_or_default();
        set(&mut role.model, section.text("model")?);
        set(&mut role.max_output_tokens, section.number("max_output_tokens")?);
        set(&mut role.context_tokens, section.number("context_tokens")?);
        let thousandths = section.scaled("temperature", 1_000.0, "write a number from 0.0 to 1.0")?;
        if let Some(thousandths) = thousandths {
            role.temperature_milli = u32::try_from(thousandths).ok();
        }
        section.finish()?;
        roles.insert(name.to_owned(), role);
    }
    all.finish()
}

fn read_prices(file: &Section<'_>, prices: &mut BTreeMap<String, ModelPrice>) -> Result<(), ConfigError> {
    let Some(all) = file.section("prices")? else { return Ok(()) };
    for (model, section) in all.named()? {
        let usd = |key: &str| section.scaled(key, 1e6, "write US dollars per million tokens: 3.0");
        let needed = |key: &str| {
            usd(key)?.ok_or_else(|| ConfigError::Missing {
                key: section.key(key),
                cure: "write US dollars per million tokens: 3.0".into(),
            })
        };
        let input = needed("input_usd_per_mtok")?;
        let price = Price {
            input_microusd_per_mtok: input,
            output_microusd_per_mtok: needed("output_usd_per_mtok")?,
            cache_read_microusd_per_mtok: usd("cache_read_usd_per_mtok")?.unwrap_or(input),
            cache_write_microusd_per_mtok: usd("cache_write_usd_per_mtok")?.unwrap_or(input),
        };
        let as_of = section.required_text("as_of", "write the day you looked the price up: \"2026-11-25\"")?;
        let free = section.flag("free")?.unwrap_or(false);
        section.finish()?;
        prices.insert(model.to_owned(), ModelPrice { price, as_of, free });
    }
    all.finish()
}

fn read_limits(section: Section<'_>) -> Result<Limits, ConfigError> {
    let mut limits = Limits::default();
    let mib = |key: &str| Ok(section.number::<u32>(key)?.map(|mebibytes| u64::from(mebibytes) << 20));
    set(&mut limits.budget_microusd, section.scaled("budget_usd", 1e6, "write US dollars: 5.0")?);
    set(&mut limits.budget_tokens, section.number("budget_tokens")?);
    set(&mut limits.iterations, section.number("iterations")?);
    set(&mut limits.turns, section.number("turns")?);
    set(&mut limits.repairs, section.number("repairs")?);
    set(&mut limits.tasks, section.number("tasks")?);
    set(&mut limits.parallel_tasks, section.number("parallel_tasks")?);
    set(&mut limits.setup_wall_seconds, section.number("setup_wall_seconds")?);
    set(&mut limits.check_wall_seconds, section.number("check_wall_seconds")?);
    set(&mut limits.check_memory_bytes, mib("check_memory_mib")?);
    set(&mut limits.check_processes, section.number("check_processes")?);
    set(&mut limits.check_disk_bytes, mib("check_disk_mib")?);
    set(&mut limits.check_output_bytes, mib("check_output_mib")?);
    if let Some(seconds) = section.section("gate_seconds")? {
        for level in [RiskLevel::Medium, RiskLevel::High, RiskLevel::Critical] {
            if let Some(wait) = seconds.number(level.as_str())? {
                limits.gate_seconds.insert(level, wait);
            }
        }
        seconds.finish()?;
    }
    section.finish()?;
    Ok(limits)
}

fn read_policy(file: &Section<'_>, config: &mut RunConfig) -> Result<(), ConfigError> {
    let Some(section) = file.section("policy")? else { return Ok(()) };
    set(&mut config.protected, section.texts("protected")?);
    set(&mut config.test_paths, section.texts("test_paths")?);
    set(&mut config.manifests, section.texts("manifests")?);
    section.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        ProjectFile::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(ProjectFile::parse("").unwrap().0, RunConfig::default());
    }

    #[test]
    fn a_slip_is_told_with_key_value_and_cure() {
        assert_eq!(refused("[limits]\nturn = 3"), "limits.turn: unknown key; did you mean turns?");
        assert_eq!(refused("[limit]\nturns = 3"), "limit: unknown key; did you mean limits?");
        assert_eq!(refused("[limits]\nturns = \"many\""), "limits.turns = \"many\": write a whole number, 0 or more");
        assert_eq!(refused("[limits]\nturns = -1"), "limits.turns = -1: write a whole number, 0 or more");
        assert_eq!(refused("[limits]\nbudget_usd = -2.5"), "limits.budget_usd = -2.5: write US dollars: 5.0");
        assert_eq!(refused("[sandbox]\nmode = \"off\""), "sandbox.mode = \"off\": write one of \"auto\", \"none\"");
        let cure = "write the command that tests the project, such as \"make test\"";
        assert_eq!(refused("[[checks]]\nname = \"t\""), format!("checks[0].command is missing: {cure}"));
        let empty = "[[checks]]\nname = \"t\"\ncommand = \" \"";
        assert_eq!(refused(empty), format!("checks[0].command = \" \": {cure}"));
        assert_eq!(
            refused("[provider]\nkind = \"replay\""),
            "provider.cassette is missing: name the file that holds the answers"
        );
        assert_eq!(refused("checks = 3"), "checks = 3: write each as a table of its own: [[checks]]");
        assert_eq!(
            refused("[limits.gate_seconds]\nlow = 3"),
            "limits.gate_seconds.low: unknown key; known here: medium, high, critical"
        );
        assert!(refused("a = 1\nb = ").starts_with("line 2: "), "{}", refused("a = 1\nb = "));
    }

    #[test]
    fn a_setting_that_another_provider_would_read_is_unknown() {
        let text = "[provider]\nkind = \"replay\"\ncassette = \"c\"\ntimeout_seconds = 3";
        assert!(refused(text).starts_with("provider.timeout_seconds: unknown key"), "{}", refused(text));
    }

    #[test]
    fn a_credential_is_refused_and_not_repeated() {
        let key = format!("sk-ant-api03-{}", "x".repeat(40));
        for text in [format!("[provider]\nbase_url = \"{key}\""), format!("\n# {key}")] {
            let error = refused(&text);
            assert!(error.starts_with("line 2 holds what looks like a key (sk-...)"), "{error}");
            assert!(error.contains("environment or the secret store") && !error.contains("api03"), "{error}");
        }
    }

    #[test]
    fn roles_build_on_the_default_role_and_prices_on_the_list() {
        let text = "[roles.reviewer]\ntemperature = 0.25\n[roles.default]\nmodel = \"m\"\n\
                    [prices.m]\ninput_usd_per_mtok = 2\noutput_usd_per_mtok = 10.5\nas_of = \"2026-01-01\"";
        let config = ProjectFile::parse(text).unwrap().0;
        assert_eq!(
            (config.role("reviewer").model.as_str(), config.role("reviewer").temperature_milli),
            ("m", Some(250))
        );
        assert_eq!(config.role("developer").temperature_milli, None);
        assert_eq!(config.price("m").unwrap().output_microusd_per_mtok, 10_500_000);
        assert_eq!(config.price("m").unwrap().cache_write_microusd_per_mtok, 2_000_000);
        assert!(config.price("claude-sonnet-4-5").is_ok());
    }
}
