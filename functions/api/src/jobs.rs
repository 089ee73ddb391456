//! Runners on other machines: they claim jobs, read inputs at signed addresses, and report.

use http_host::{Answer, Request};
use run_model::JobId;
use run_model::claim::{Claim, Claimant, InputUrls, Measured, Unmeasured};
use run_model::evidence::{CheckJob, EVIDENCE_SCHEMA};
use serde_json::json;

use crate::Context;

/// How long a claim counts without a heartbeat.
const LEASE_SECONDS: u32 = 120;
/// How long the addresses of inputs hold.
const URL_SECONDS: u32 = 3_600;
const LONGEST_MESSAGE: usize = 16 * 1024;

/// Gives the runner the oldest job of the highest priority, with all that it needs.
pub(crate) async fn claim(context: &Context, request: &Request<'_>) -> Result<Answer, Answer> {
    let runner = http_host::runner(&context.store, request).await?;
    let Claimant { instance } = request.json()?;
    context.store.note_runner(&runner).await?;
    let lease_until_ms = lease_end(context);
    let Some(job) = context.store.lease_job(&holder(&runner, &instance)?, lease_until_ms).await? else {
        return Ok(Answer::nothing());
    };
    tracing::info!(run = %job.run_id, job = %job.job_id, runner, "a job was claimed");
    let inputs = inputs(context, &job).await?;
    Ok(Answer::json(200, json!(Claim { job, inputs, lease_until_ms, lease_seconds: LEASE_SECONDS })))
}

/// Prolongs a claim.
pub(crate) async fn heartbeat(context: &Context, request: &Request<'_>, job: &str) -> Result<Answer, Answer> {
    let runner = http_host::runner(&context.store, request).await?;
    let Claimant { instance } = request.json()?;
    context.store.note_runner(&runner).await?;
    let lease_until_ms = lease_end(context);
    context.store.prolong_job(&job_id(job)?, &holder(&runner, &instance)?, lease_until_ms).await?;
    Ok(Answer::json(200, json!({ "lease_until_ms": lease_until_ms, "lease_seconds": LEASE_SECONDS })))
}

/// Ends a job with what was measured.
pub(crate) async fn evidence(context: &Context, request: &Request<'_>, job: &str) -> Result<Answer, Answer> {
    let runner = http_host::runner(&context.store, request).await?;
    let Measured { instance, evidence } = request.json()?;
    let (job_id, holder) = (job_id(job)?, holder(&runner, &instance)?);
    let job = context.store.held_job(&job_id, &holder).await?;
    if evidence.schema != EVIDENCE_SCHEMA || evidence.purpose != job.purpose {
        let message =
            format!("evidence: is not of schema {EVIDENCE_SCHEMA} and for the job's purpose {:?}", job.purpose);
        return Err(Answer::invalid(message, "use a runner of the same version as the stage"));
    }
    let artefact = context.store.put_json(&job.run_id, &evidence).await?;
    context.store.complete_job(&job_id, &holder, json!({ "evidence": artefact })).await?;
    tracing::info!(run = %job.run_id, job = %job_id, runner, "a job has its evidence");
    Ok(Answer::nothing())
}

/// Ends a job that could not be measured.
pub(crate) async fn failure(context: &Context, request: &Request<'_>, job: &str) -> Result<Answer, Answer> {
    let runner = http_host::runner(&context.store, request).await?;
    let Unmeasured { instance, name, mut message } = request.json()?;
    message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
    let job_id = job_id(job)?;
    context.store.fail_job(&job_id, &holder(&runner, &instance)?, name.as_str(), &message).await?;
    tracing::info!(job = %job_id, runner, error = name.as_str(), "a job could not be measured");
    Ok(Answer::nothing())
}

/// Takes back a job from a runner that will not end it.
pub(crate) async fn give_back(context: &Context, request: &Request<'_>, job: &str) -> Result<Answer, Answer> {
    let runner = http_host::runner(&context.store, request).await?;
    let Claimant { instance } = request.json()?;
    let job_id = job_id(job)?;
    context.store.give_back_job(&job_id, &holder(&runner, &instance)?).await?;
    tracing::info!(job = %job_id, runner, "a job was given back");
    Ok(Answer::nothing())
}

fn lease_end(context: &Context) -> i64 {
    context.clock.now_ms() + i64::from(LEASE_SECONDS) * 1000
}

fn job_id(text: &str) -> Result<JobId, Answer> {
    JobId::new(text).map_err(|_| Answer::not_found(format!("there is no job {text:?}")))
}

/// Who holds a claim: the bearer says which runner, the runner says which of its processes.
fn holder(runner: &str, instance: &str) -> Result<String, Answer> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    if (1..=64).contains(&instance.len()) && instance.bytes().all(plain) {
        return Ok(format!("{runner}/{instance}"));
    }
    let cure = "use 1 to 64 letters, digits, dashes and dots, new for every process";
    Err(Answer::invalid(format!("instance: {instance:?} names no process"), cure))
}

async fn inputs(context: &Context, job: &CheckJob) -> Result<InputUrls, Answer> {
    let url = async |key: &str| context.store.presigned_url(key, URL_SECONDS).await;
    let optional = async |key: &Option<String>| match key {
        Some(key) => url(key).await.map(Some),
        None => Ok(None),
    };
    Ok(InputUrls {
        archive: url(&job.snapshot.archive_key).await?,
        manifest: url(&job.snapshot.manifest_key).await?,
        config: url(&job.config_key).await?,
        overlay: optional(&job.overlay_key).await?,
        setup: optional(&job.setup_key).await?,
        held_out: optional(&job.held_out_key).await?,
    })
}
