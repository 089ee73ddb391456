//! What AWS would charge for a run: what it used, item by item, at the prices of `infra/prices.toml`.
//!
//! Transitions are read from the histories of the run's executions, here and on a stage. The rest was counted while it ran on
//! this machine's cloud ([`embedded_cloud::meter`]); of a deployed stage only AWS itself knows it.

mod logs;
mod prices;
mod transitions;

use std::collections::BTreeMap;
use std::path::Path;

use embedded_cloud::meter::{self, Used, item};
use run_model::budget::UsageEntry;
use run_model::run::RunRecord;
use serde::Serialize;

use crate::problem::Problem;
use crate::registry::FUNCTIONS;
pub(crate) use logs::LogMeter;
use prices::Prices;

const TRANSITION: &str = "states.transition";
const TRACE: &str = "xray.trace";
const GB_SECOND: &str = "lambda.gb_second";
const SCHEDULE: &str = "scheduler.invocation";

/// A run's bill.
#[derive(Debug, Serialize)]
pub(crate) struct Bill {
    /// The day of the prices.
    pub(crate) as_of: String,
    pub(crate) region: String,
    pub(crate) microusd: f64,
    pub(crate) items: BTreeMap<String, Line>,
    /// By machine, function and whatever else worked for the run.
    pub(crate) parts: BTreeMap<String, Part>,
    /// How long functions would have waited for a model, where a recording answered.
    pub(crate) assumed_model_seconds: f64,
    /// The stack whose own bill has the rest, if this is not all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rest_of_stack: Option<String>,
}

/// One item: so many of it, at this price.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Line {
    pub(crate) amount: f64,
    pub(crate) microusd: f64,
}

/// What one part of the whole used.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Part {
    pub(crate) microusd: f64,
    pub(crate) used: Used,
}

/// What is known of a run that was carried by this machine's cloud.
pub(crate) struct Known<'a> {
    pub(crate) run: &'a RunRecord,
    pub(crate) usage: &'a [UsageEntry],
    pub(crate) gates: usize,
}

/// The bill of a run on this machine's cloud.
pub(crate) async fn of_local_run(
    state: &Path,
    client: &aws_sdk_sfn::Client,
    known: &Known<'_>,
) -> Result<Bill, Problem> {
    let prices = Prices::load()?;
    let mut parts = meter::used_for(state, known.run.run_id.as_str())?;
    let assumed_model_seconds = assume(&mut parts, known, &prices);
    walk(&mut parts, client, known.run).await?;
    Ok(Bill { assumed_model_seconds, ..Bill::of(parts, &prices)? })
}

/// What Step Functions remembers of a run on a stage, which is its transitions and traces. Nothing there counts by run what
/// functions, table, objects and logs cost.
pub(crate) async fn of_run_on_a_stage(
    client: &aws_sdk_sfn::Client,
    run: &RunRecord,
    stage: &str,
) -> Result<Bill, Problem> {
    let mut parts = BTreeMap::new();
    walk(&mut parts, client, run).await?;
    Ok(Bill { rest_of_stack: Some(format!("gatewright-{stage}")), ..Bill::of(parts, &Prices::load()?)? })
}

/// Adds what the run's executions walked.
async fn walk(
    parts: &mut BTreeMap<String, Used>,
    client: &aws_sdk_sfn::Client,
    run: &RunRecord,
) -> Result<(), Problem> {
    for (machine, walked) in transitions::of_run(client, run).await? {
        let used = [(TRANSITION, walked.transitions as f64), (TRACE, walked.executions as f64)];
        parts.entry(machine).or_default().extend(used.map(|(item, amount)| (item.to_owned(), amount)));
    }
    Ok(())
}

impl Bill {
    fn of(used: BTreeMap<String, Used>, prices: &Prices) -> Result<Self, Problem> {
        let mut bill = Bill {
            as_of: prices.as_of.clone(),
            region: prices.region.clone(),
            microusd: 0.0,
            items: BTreeMap::new(),
            parts: BTreeMap::new(),
            assumed_model_seconds: 0.0,
            rest_of_stack: None,
        };
        for (name, used) in used {
            let mut part = Part { microusd: 0.0, used };
            for (item, amount) in &part.used {
                let microusd = amount * prices.of(item)?;
                let line = bill.items.entry(item.clone()).or_default();
                line.amount += amount;
                line.microusd += microusd;
                part.microusd += microusd;
            }
            bill.microusd += part.microusd;
            bill.parts.insert(name, part);
        }
        Ok(bill)
    }
}

/// Makes gigabyte-seconds of milliseconds, and adds what one machine does not do or cannot measure. Answers how many
/// seconds of waiting for a model were added.
fn assume(parts: &mut BTreeMap<String, Used>, known: &Known<'_>, prices: &Prices) -> f64 {
    let assumed = &prices.assumed;
    let jobs = called(parts, "test-runner");
    let calls = f64::from(assumed.http_calls_per_run)
        + known.gates as f64 * f64::from(assumed.http_calls_per_gate)
        + jobs * f64::from(assumed.http_calls_per_job);
    let http = parts.entry("api".into()).or_default();
    add(http, item::HTTP_CALL, calls);
    add(http, item::LAMBDA_REQUEST, calls);
    add(http, item::LAMBDA_MS, calls * f64::from(assumed.http_call_ms));
    // Who asks is looked up for each.
    add(http, item::DYNAMODB_READ, calls);
    let mut waited_ms = 0.0;
    for entry in known.usage.iter().filter(|entry| entry.estimated) {
        let tokens_ms = entry.usage.output_tokens as f64 * 1e3 / f64::from(assumed.model_tokens_per_second);
        let ms = f64::from(assumed.model_first_token_ms) + tokens_ms;
        add(parts.entry(entry.role.clone()).or_default(), item::LAMBDA_MS, ms);
        waited_ms += ms;
    }
    let fired = called(parts, "janitor");
    add(parts.entry("janitor".into()).or_default(), SCHEDULE, fired);
    for function in FUNCTIONS {
        let Some(used) = parts.get_mut(function) else { continue };
        let requests = used.get(item::LAMBDA_REQUEST).copied().unwrap_or_default();
        let cold_ms = if requests > 0.0 { f64::from(assumed.cold_start_ms) } else { 0.0 };
        let ms = used.remove(item::LAMBDA_MS).unwrap_or_default() + cold_ms;
        add(used, GB_SECOND, ms / 1e3 * f64::from(prices.declared.memory_mb(function)) / 1024.0);
        add(used, item::LOG_BYTE, requests * f64::from(assumed.log_bytes_per_invocation));
    }
    parts.retain(|_, used| !used.is_empty());
    waited_ms / 1e3
}

fn called(parts: &BTreeMap<String, Used>, function: &str) -> f64 {
    parts.get(function).and_then(|used| used.get(item::LAMBDA_REQUEST)).copied().unwrap_or_default()
}

fn add(used: &mut Used, item: &str, amount: f64) {
    if amount > 0.0 {
        *used.entry(item.to_owned()).or_default() += amount;
    }
}
