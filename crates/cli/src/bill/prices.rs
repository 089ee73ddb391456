//! `infra/prices.toml`: what AWS charges, on which day and where.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::problem::{Problem, causes};

const TEXT: &str = include_str!("../../../../infra/prices.toml");
/// The template's resource type of the bucket.
const BUCKET: &str = "AWS::S3::Bucket";

/// Prices with their day and place. What a stack costs idle stands in the same file, and is not read here.
#[derive(Debug, Deserialize)]
pub(crate) struct Prices {
    pub(crate) as_of: String,
    pub(crate) region: String,
    used_microusd_per_million: BTreeMap<String, u64>,
    stored_microusd_per_gb: BTreeMap<String, u64>,
    pub(crate) declared: Declared,
    pub(crate) assumed: Assumed,
}

/// What the template says of every function and of the bucket.
#[derive(Debug, Deserialize)]
pub(crate) struct Declared {
    lambda_memory_mb: u32,
    code_host_memory_mb: u32,
    bucket_days: u32,
}

impl Declared {
    /// The memory of a function, in megabytes.
    pub(crate) fn memory_mb(&self, function: &str) -> u32 {
        if function == "code-host" { self.code_host_memory_mb } else { self.lambda_memory_mb }
    }
}

/// What one machine cannot measure.
#[derive(Debug, Deserialize)]
pub(crate) struct Assumed {
    pub(crate) cold_start_ms: u32,
    pub(crate) log_bytes_per_invocation: u32,
    pub(crate) model_first_token_ms: u32,
    pub(crate) model_tokens_per_second: u32,
    pub(crate) http_calls_per_run: u32,
    pub(crate) http_calls_per_gate: u32,
    pub(crate) http_calls_per_job: u32,
    pub(crate) http_call_ms: u32,
}

impl Prices {
    /// The prices that this program was built with.
    pub(crate) fn load() -> Result<Self, Problem> {
        toml::from_str(TEXT).map_err(|error| Problem::defect(causes(&error)))
    }

    /// What one of an item costs, in millionths of a US dollar.
    pub(crate) fn of(&self, item: &str) -> Result<f64, Problem> {
        if item == embedded_cloud::meter::item::S3_STORED_BYTE {
            let month = self.stored_microusd_per_gb.get(BUCKET).copied().unwrap_or_default() as f64 / 1e9;
            return Ok(month * f64::from(self.declared.bucket_days) / 30.0);
        }
        let million = self.used_microusd_per_million.get(item);
        million.map(|microusd| *microusd as f64 / 1e6).ok_or_else(|| Problem::defect(format!("{item} has no price")))
    }
}
