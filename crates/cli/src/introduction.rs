//! What a person is told before the first call: who is asked, at what price, and what it may cost.

use std::collections::BTreeMap;
use std::path::Path;

use config::{Provider, RunConfig};
use run_model::budget::TokenUsage;

use crate::render::{line, usd};

/// What each role uses for a small change, of which the developer does two rounds: about forty calls of ten thousand tokens
/// in, most of them cached, and seven hundred out.
const TYPICAL: [(&str, TokenUsage); 5] = [
    ("orchestrator", tokens(8_000, 2_000, 20_000, 4_000)),
    ("architect", tokens(8_000, 2_000, 20_000, 4_000)),
    ("developer", tokens(32_000, 12_000, 140_000, 16_000)),
    ("tester", tokens(20_000, 8_000, 80_000, 10_000)),
    ("reviewer", tokens(12_000, 4_000, 40_000, 6_000)),
];

const fn tokens(input: u64, output: u64, cache_read: u64, cache_write: u64) -> TokenUsage {
    TokenUsage {
        input_tokens: input,
        output_tokens: output,
        cache_read_tokens: cache_read,
        cache_write_tokens: cache_write,
    }
}

/// Repository, provider, models with their prices, an estimate and the budget, a line each.
pub(crate) fn introduction(repository: &Path, config: &RunConfig) -> String {
    let mut text = String::new();
    line(&mut text, &format!("repository   {}", repository.display()));
    line(&mut text, &format!("provider     {}", provider(&config.provider)));
    let models = models(config);
    for (model, roles) in &models {
        let price = config.prices.get(model).map_or_else(
            || "no known price".to_owned(),
            |known| {
                let (input, output) = (known.price.input_microusd_per_mtok, known.price.output_microusd_per_mtok);
                format!("{} in, {} out per million tokens (as of {})", usd(input), usd(output), known.as_of)
            },
        );
        let who = if models.len() > 1 { format!(" for {}", roles.join(", ")) } else { String::new() };
        line(&mut text, &format!("model        {model}{who}: {price}"));
    }
    match config.provider.server() {
        None => line(&mut text, "estimate     nothing is charged: no model is asked; cost is counted as if one were"),
        Some(_) => line(&mut text, &format!("estimate     about {} for a small change", usd(estimate(config)))),
    }
    line(&mut text, &format!("budget       {} at most", usd(config.limits.budget_microusd)));
    text
}

fn provider(provider: &Provider) -> String {
    match provider {
        Provider::Anthropic { base_url, .. } | Provider::OpenAi { base_url, .. } => {
            format!("{} at {base_url}", provider.kind())
        }
        Provider::Replay { cassette } => format!("replay of {}", cassette.display()),
        Provider::Scripted { script } => format!("scripted by {}", script.display()),
        Provider::Record { cassette, upstream } => {
            format!("{}, recorded in {}", self::provider(upstream), cassette.display())
        }
    }
}

/// Every model that a role plays with, and its roles.
fn models(config: &RunConfig) -> BTreeMap<String, Vec<&'static str>> {
    let mut models: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (role, _) in TYPICAL {
        models.entry(config.role(role).model).or_default().push(role);
    }
    models
}

/// What a small change costs at these prices, in micro-dollars.
fn estimate(config: &RunConfig) -> u64 {
    let cost = |(role, usage): &(&str, TokenUsage)| {
        let known = config.prices.get(&config.role(role).model);
        known.map_or(0, |known| known.price.cost_microusd(usage))
    };
    TYPICAL.iter().map(cost).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::{Overrides, ProjectFile};

    /// The introduction to a project with these settings besides a check.
    fn told(settings: &str) -> String {
        let text = format!("{settings}\n[[checks]]\nname = \"test\"\ncommand = \"true\"\n");
        let config = RunConfig::assemble(ProjectFile::parse(&text).unwrap(), Overrides::default()).unwrap();
        introduction(Path::new("/home/ann/adder"), &config)
    }

    #[test]
    fn server_model_price_estimate_and_budget_are_named() {
        insta::assert_snapshot!(told("[provider]\nbase_url = \"https://models.example\"\n[limits]\nbudget_usd = 2.5"));
    }

    #[test]
    fn every_distinct_model_is_named_with_its_roles() {
        let two = "[roles.reviewer]\nmodel = \"claude-opus-4-5\"\n[roles.tester]\nmodel = \"claude-haiku-4-5\"";
        insta::assert_snapshot!(told(two));
    }

    #[test]
    fn a_recording_costs_nothing() {
        insta::assert_snapshot!(told("[provider]\nkind = \"replay\"\ncassette = \"/c.jsonl\""));
        let recording = told("[provider]\nkind = \"record\"\ncassette = \"/c.jsonl\"");
        assert!(recording.contains("anthropic at https://") && recording.contains("about $"), "{recording}");
        let other = told("[provider]\nkind = \"record\"\ncassette = \"/c.jsonl\"\nupstream = \"openai\"");
        assert!(other.contains("openai at https://api.openai.com/v1, recorded in /c.jsonl"), "{other}");
    }
}
