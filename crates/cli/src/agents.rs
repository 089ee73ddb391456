//! `gatewright agents list`: who the agents are, by the definitions that run and the settings of the project here.

use config::RunConfig;
use role_host::Definition;
use run_model::scan::mask;
use serde_json::{Value, json};

use crate::arguments::AgentsCommand;
use crate::columns::{READABLE, of_terminal, wrapped};
use crate::problem::Problem;
use crate::render::{line, usd};
use crate::{screen, settings};

/// Every agent, in the order in which they work.
pub(crate) const AGENTS: [&Definition; 5] = [
    &orchestrator::DEFINITION,
    &architect::DEFINITION,
    &developer::DEFINITION,
    &tester::DEFINITION,
    &reviewer::DEFINITION,
];

pub(crate) fn run(command: &AgentsCommand) -> Result<u8, Problem> {
    let AgentsCommand::List { json } = command;
    let config = settings::config_here()?;
    if *json {
        screen::print_json(&AGENTS.map(|agent| as_json(agent, &config)).into_iter().collect());
    } else {
        screen::print(list(&config, of_terminal().unwrap_or(READABLE)).trim_end());
    }
    Ok(0)
}

fn list(config: &RunConfig, width: usize) -> String {
    let mut text = String::new();
    for agent in AGENTS {
        line(&mut text, agent.role.name);
        for (what, said) in [
            ("writes", writes(agent)),
            ("tools", tools(agent).join(", ")),
            ("is shown", sections(agent).join(", ")),
            ("hands in", fields(agent).join(", ")),
            ("model", format!("{} ({})", config.role(agent.role.name).model, price(agent, config))),
        ] {
            line(&mut text, &wrapped(&format!("  {what:<9} {}", mask(&said)), width, &" ".repeat(12)));
        }
    }
    text
}

fn as_json(agent: &Definition, config: &RunConfig) -> Value {
    let role = config.role(agent.role.name);
    json!({
        "name": agent.role.name,
        "writes": writes(agent),
        "tools": tools(agent),
        "sections": sections(agent),
        "hands_in": fields(agent),
        "model": role.model,
        "max_output_tokens": role.max_output_tokens,
        "price": config.prices.get(&role.model),
    })
}

fn writes(agent: &Definition) -> String {
    match agent.role.writes {
        agent::Writes::Nothing => "nothing",
        agent::Writes::Tests => "tests",
        agent::Writes::Source => "everything but protected paths",
    }
    .to_owned()
}

fn tools(agent: &Definition) -> Vec<String> {
    agent.role.tool_specs().into_iter().map(|tool| tool.name).collect()
}

/// The sections of its first message, named as in the glossary of the code.
fn sections(agent: &Definition) -> Vec<String> {
    let named = |section: &role_host::Section| {
        let name = format!("{section:?}");
        let spaced = name.chars().enumerate().flat_map(|(at, c)| {
            let space = (at > 0 && c.is_uppercase()).then_some(' ');
            space.into_iter().chain(c.to_lowercase())
        });
        spaced.collect()
    };
    agent.sections.iter().map(named).collect()
}

/// The fields of what it hands in.
fn fields(agent: &Definition) -> Vec<String> {
    let schema = (agent.role.output_schema)();
    schema["properties"].as_object().into_iter().flat_map(|fields| fields.keys().cloned()).collect()
}

fn price(agent: &Definition, config: &RunConfig) -> String {
    config.prices.get(&config.role(agent.role.name).model).map_or_else(
        || "no known price: it is not called".to_owned(),
        |known| {
            let (input, output) = (known.price.input_microusd_per_mtok, known.price.output_microusd_per_mtok);
            format!("{} in, {} out per million tokens, as of {}", usd(input), usd(output), known.as_of)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::{Overrides, ProjectFile};

    #[test]
    fn agents_are_told_with_what_they_may_do_and_who_plays_them() {
        let text = "[roles.reviewer]\nmodel = \"house-model\"\n[[checks]]\nname = \"test\"\ncommand = \"true\"\n";
        let config = RunConfig::assemble(ProjectFile::parse(text).unwrap(), Overrides::default()).unwrap();
        let told = list(&config, READABLE);
        assert!(told.lines().all(|line| line.chars().count() <= READABLE), "{told}");
        insta::assert_snapshot!(told);
        let reviewer = as_json(AGENTS[4], &config);
        assert_eq!((&reviewer["model"], &reviewer["price"]), (&json!("house-model"), &Value::Null));
        assert_eq!(as_json(AGENTS[3], &config)["writes"], "tests");
    }

    #[test]
    fn every_folder_with_a_prompt_is_an_agent() {
        let home = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../functions");
        let folders = std::fs::read_dir(home).unwrap().map(|entry| entry.unwrap().path());
        let mut prompts: Vec<String> = folders
            .filter(|folder| folder.join("role.md").is_file())
            .map(|folder| folder.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        prompts.sort();
        let mut names = AGENTS.map(|agent| agent.role.name);
        names.sort_unstable();
        assert_eq!(prompts, names);
    }
}
