//! Nothing is written to a repository on anybody's word: what was recorded is judged again, by the same rules.

use assessment::taken;
use run_model::change_set::ChangeSet;
use run_model::evidence::{Evidence, Purpose};
use run_model::risk::Risk;
use run_model::run::{ArtefactRef, RunRecord};
use run_model::snapshot::Manifest;
use run_model::{ErrorName, FunctionError, Sha256};

use crate::{Context, missing, refused};

/// The run's change set, if it is based on the run's own snapshot.
pub(crate) async fn change_set(context: &Context, run: &RunRecord) -> Result<ChangeSet, FunctionError> {
    let recorded = run.change_set.as_ref().ok_or_else(|| missing(&run.run_id, "change set"))?;
    let change: ChangeSet = context.store.get_json(recorded).await?;
    let base = &taken(run)?.commit;
    if change.base_commit == *base {
        return Ok(change);
    }
    Err(refused(format!("the change was made for {}, the run is based on {base}", change.base_commit)))
}

/// Refuses a change that is not green, not accepted, not the tree that was measured, blocked by the scan, or more of a risk than
/// its record says: a row says what somebody wrote.
pub(crate) async fn assure(context: &Context, run: &RunRecord, change: &ChangeSet) -> Result<(), FunctionError> {
    let recorded = run.risk.as_ref().filter(|_| run.ending.is_none());
    let recorded = recorded.ok_or_else(|| refused("the change was not assessed as good"))?;
    let acceptance = held_out(context, run, change).await?;
    let measured = assessment::measure(&context.store, run, &change.overlay, acceptance).await?;
    is_measured_tree(context, run, change, &measured.now).await?;
    if !measured.judgement.green {
        return Err(refused(measured.judgement.to_string()));
    }
    if let Some(accepted) = measured.acceptance.as_ref().filter(|accepted| !accepted.ok) {
        return Err(refused(accepted.to_string()));
    }
    if let Some(found) = measured.blocking().next() {
        return Err(refused(format!("{}:{} {} ({})", found.path, found.line, found.message, found.rule)));
    }
    is_no_riskier(run, recorded, &measured.risk(&context.store, run).await?)
}

/// A record may ask for more than the rules do, never for less.
fn is_no_riskier(run: &RunRecord, recorded: &Risk, measured: &Risk) -> Result<(), FunctionError> {
    if measured.level <= recorded.level {
        return Ok(());
    }
    let gravest =
        measured.reasons.first().map_or_else(String::new, |reason| format!("{}: {}", reason.rule, reason.detail));
    Err(refused(format!(
        "the record calls the change {}, the rules call it {} ({gravest}); `gatewright runs resume {} --from verify` measures \
         it again",
        recorded.level.as_str(),
        measured.level.as_str(),
        run.run_id
    )))
}

/// The tree that the final evidence names is the base with exactly this overlay.
async fn is_measured_tree(
    context: &Context,
    run: &RunRecord,
    change: &ChangeSet,
    measured: &Evidence,
) -> Result<(), FunctionError> {
    let bytes = context.store.get_object(&taken(run)?.manifest_key).await?;
    let damaged = |problem| {
        FunctionError::new(ErrorName::Internal, format!("the manifest of {} is damaged: {problem}", run.run_id))
    };
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(damaged)?;
    let tree = manifest.with_overlay(&change.overlay).tree_hash();
    if tree == measured.tree_sha256 {
        return Ok(());
    }
    Err(refused(format!(
        "the evidence is about tree {}, the change makes tree {}",
        measured.tree_sha256.short(),
        tree.short()
    )))
}

/// Where the evidence of the held-out tests on this change lies, if the run has any.
async fn held_out<'a>(
    context: &Context,
    run: &'a RunRecord,
    change: &ChangeSet,
) -> Result<Option<&'a ArtefactRef>, FunctionError> {
    if run.acceptance.is_none() {
        return Ok(None);
    }
    let found = run.evidence.iter().rev().find(|(purpose, _)| *purpose == Purpose::AcceptanceFinal);
    let (_, artefact) = found.ok_or_else(|| refused(format!("{} has no AcceptanceFinal evidence", run.run_id)))?;
    let with: Evidence = context.store.get_json(artefact).await?;
    if with.overlay_sha256 != Some(Sha256::of_json(&change.overlay)) {
        return Err(refused("the held-out tests were run on another change"));
    }
    Ok(Some(artefact))
}
