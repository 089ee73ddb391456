//! C2: the bill of a stack that nobody uses, from the template and a list of prices.

use std::collections::BTreeMap;
use std::fs;

use serde::Deserialize;
use serde_json::json;
use tests::machines::repository;
use tests::template::Template;

use crate::{hardened, template};

/// `infra/prices.toml`, all of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prices {
    as_of: String,
    region: String,
    free_alarms: u64,
    monthly_microusd: BTreeMap<String, u64>,
    stored_microusd_per_gb: BTreeMap<String, u64>,
    free: Free,
    used_microusd_per_million: BTreeMap<String, u64>,
    declared: Declared,
    assumed: BTreeMap<String, u64>,
}

/// What a run's bill takes from the template.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Declared {
    lambda_memory_mb: u64,
    code_host_memory_mb: u64,
    bucket_days: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Free {
    types: Vec<String>,
}

/// What a month costs in which nothing runs, without the bytes that are kept.
#[derive(Debug, PartialEq, Eq)]
struct Idle {
    /// If the account's free alarms are still there, in millionths of a US dollar.
    microusd: u64,
    /// If other alarms of the account have used them up.
    microusd_without_free_alarms: u64,
}

const ALARM: &str = "AWS::CloudWatch::Alarm";

impl Prices {
    fn load() -> Self {
        let text = fs::read_to_string(repository().join("infra/prices.toml")).unwrap();
        toml::from_str(&text).unwrap()
    }

    /// The idle bill, or the types whose price is not known.
    fn bill(&self, template: &Template) -> Result<Idle, Vec<String>> {
        let (mut microusd, mut unknown) = (0, Vec::new());
        for (id, kind, _) in template.resources() {
            match self.monthly_microusd.get(kind) {
                Some(monthly) => microusd += monthly,
                None if self.stored_microusd_per_gb.contains_key(kind) || self.free.types.iter().any(|f| f == kind) => {
                }
                None => unknown.push(format!("{id}: what does {kind} cost while nothing runs?")),
            }
        }
        let alarms = template.of_type(ALARM).len() as u64;
        let free = alarms.min(self.free_alarms) * self.monthly_microusd[ALARM];
        let bill = Idle { microusd: microusd - free, microusd_without_free_alarms: microusd };
        if unknown.is_empty() { Ok(bill) } else { Err(unknown) }
    }
}

#[test]
fn an_idle_stack_costs_its_three_secrets() {
    let idle = Prices::load().bill(&template()).unwrap();
    assert_eq!(idle, Idle { microusd: 1_200_000, microusd_without_free_alarms: 1_600_000 });
    assert_eq!(template().of_type("AWS::SecretsManager::Secret").len(), 3);
}

#[test]
fn a_hardened_stack_costs_its_key_and_says_so() {
    let template = Template::load().under(&hardened);
    let idle = Prices::load().bill(&template).unwrap();
    assert_eq!(idle.microusd, 2_200_000);
    let said = template.0["Outputs"]["HardenedCost"]["Value"].as_str().unwrap();
    assert!(said.contains("$1.00 a month"), "{said}");
}

#[test]
fn prices_have_a_day_and_a_place() {
    let prices = Prices::load();
    assert_eq!((prices.as_of.len(), prices.region.as_str()), ("2026-11-25".len(), "us-east-1"));
    let said = fs::read_to_string(repository().join("infra/README.md")).unwrap();
    assert!(said.contains("$1.20") && said.contains(&prices.as_of), "infra/README.md says something else");
}

#[test]
fn what_costs_more_or_an_unknown_amount_is_seen() {
    let mut with_gateway = template();
    with_gateway.0["Resources"]["Nat"] = json!({ "Type": "AWS::EC2::NatGateway" });
    assert_eq!(
        Prices::load().bill(&with_gateway).unwrap_err(),
        ["Nat: what does AWS::EC2::NatGateway cost while nothing runs?"]
    );
    let mut with_secret = template();
    with_secret.0["Resources"]["Fourth"] = json!({ "Type": "AWS::SecretsManager::Secret" });
    assert_eq!(Prices::load().bill(&with_secret).unwrap().microusd, 1_600_000);
    let mut with_alarms = template();
    for number in 0..7 {
        with_alarms.0["Resources"][format!("Alarm{number}")] = json!({ "Type": ALARM });
    }
    // Eleven: one beyond what is free.
    assert_eq!(Prices::load().bill(&with_alarms).unwrap().microusd, 1_300_000);
}

#[test]
fn the_page_counts_what_the_template_holds() {
    let (template, page) = (template(), fs::read_to_string(repository().join("infra/README.md")).unwrap());
    let counted = [
        ("functions", "AWS::Serverless::Function"),
        ("state machines", "AWS::Serverless::StateMachine"),
        ("secrets", "AWS::SecretsManager::Secret"),
        ("log groups", "AWS::Logs::LogGroup"),
        ("alarms", ALARM),
        ("roles", "AWS::IAM::Role"),
    ];
    for (word, kind) in counted {
        let row = format!("| {} {word}", template.of_type(kind).len());
        assert!(page.contains(&row), "infra/README.md does not say {row:?}");
    }
}

#[test]
fn a_runs_bill_goes_by_what_the_template_declares() {
    let (template, prices) = (template(), Prices::load());
    assert_eq!(template.0["Parameters"]["Memory"]["Default"], prices.declared.lambda_memory_mb);
    let of_code_host = &template.0["Mappings"]["Memory"][prices.declared.lambda_memory_mb.to_string()]["CodeHost"];
    assert_eq!(*of_code_host, prices.declared.code_host_memory_mb);
    for (id, function) in template.of_type("AWS::Serverless::Function").into_iter().filter(|(id, _)| *id != "CodeHost")
    {
        assert!(function["MemorySize"].is_null(), "{id} has a memory of its own, which no bill knows");
    }
    let rules = &template.of_type("AWS::S3::Bucket")[0].1["LifecycleConfiguration"]["Rules"];
    assert_eq!(rules[0]["ExpirationInDays"], prices.declared.bucket_days);
    assert!(prices.used_microusd_per_million.values().chain(prices.assumed.values()).all(|number| *number > 0));
}
