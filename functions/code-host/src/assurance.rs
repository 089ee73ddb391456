//! Nothing is written to a repository on anybody's word: what was recorded is judged again, by the same rules.

use std::collections::BTreeSet;

use run_model::change_set::ChangeSet;
use run_model::evidence::{Evidence, Purpose};
use run_model::judge::{acceptance, judge};
use run_model::run::RunRecord;
use run_model::scan::scan;
use run_model::snapshot::{Manifest, SnapshotRef};
use run_model::{ErrorName, FunctionError, RepoPath, Sha256};

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

/// Refuses a change that is not green, not accepted, not the tree that was measured, or blocked by the scan.
pub(crate) async fn assure(context: &Context, run: &RunRecord, change: &ChangeSet) -> Result<(), FunctionError> {
    if run.risk.is_none() || run.ending.is_some() {
        return Err(refused("the change was not assessed as good"));
    }
    let base = evidence(context, run, Purpose::Baseline).await?;
    let measured = evidence(context, run, Purpose::Final).await?;
    is_measured_tree(context, run, change, &measured).await?;
    let judgement = judge(&base, &measured);
    if !judgement.green {
        return Err(refused(judgement.to_string()));
    }
    if run.acceptance.is_some() {
        let base_with = evidence(context, run, Purpose::AcceptanceBase).await?;
        let with = evidence(context, run, Purpose::AcceptanceFinal).await?;
        if with.overlay_sha256 != Some(Sha256::of_json(&change.overlay)) {
            return Err(refused("the held-out tests were run on another change"));
        }
        let accepted = acceptance(&base, &base_with, &measured, &with);
        if !accepted.ok {
            return Err(refused(accepted.to_string()));
        }
    }
    is_clean(context, run, change).await
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

async fn is_clean(context: &Context, run: &RunRecord, change: &ChangeSet) -> Result<(), FunctionError> {
    let paths: BTreeSet<RepoPath> = change.overlay.paths().cloned().collect();
    let base = context.store.base_contents(taken(run)?, &paths).await?;
    let findings = scan(&change.overlay, &|path| base.get(path).cloned());
    let blocking = findings.iter().find(|finding| finding.blocking);
    blocking.map_or(Ok(()), |found| {
        Err(refused(format!("{}:{} {} ({})", found.path, found.line, found.message, found.rule)))
    })
}

async fn evidence(context: &Context, run: &RunRecord, purpose: Purpose) -> Result<Evidence, FunctionError> {
    let found = run.evidence.iter().rev().find(|(recorded, _)| *recorded == purpose);
    let (_, artefact) = found.ok_or_else(|| refused(format!("{} has no {purpose:?} evidence", run.run_id)))?;
    Ok(context.store.get_json(artefact).await?)
}

fn taken(run: &RunRecord) -> Result<&SnapshotRef, FunctionError> {
    run.snapshot.as_ref().ok_or_else(|| missing(&run.run_id, "snapshot"))
}
