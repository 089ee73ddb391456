//! The base commit becomes an archive and a manifest.

use run_model::run::Stage;
use run_model::snapshot::SnapshotRef;
use run_model::{ErrorName, FunctionError, RunId, Sha256};
use serde_json::{Value, json};

use crate::{Context, repository};

/// How many changed paths a notice names.
const SHOWN: usize = 5;

/// Takes the snapshot, unless the run has one: the base of a run never moves.
pub(crate) async fn snapshot(context: &Context, run_id: &RunId) -> Result<Value, FunctionError> {
    let run = context.store.enter_stage(run_id, Stage::Snapshot).await?;
    if let Some(taken) = run.snapshot {
        return Ok(json!({ "commit": taken.commit }));
    }
    let git = repository(&run).await?;
    let commit = git.resolve(&run.base_ref).await?;
    let snapshot = git.snapshot(&commit).await?;
    let manifest = serde_json::to_vec(&snapshot.manifest);
    let manifest = manifest.map_err(|problem| FunctionError::new(ErrorName::Internal, problem.to_string()))?;
    let taken = SnapshotRef {
        commit: commit.clone(),
        archive_key: format!("runs/{run_id}/snapshot.tar.gz"),
        archive_sha256: Sha256::of(&snapshot.archive),
        manifest_key: format!("runs/{run_id}/manifest.json"),
    };
    context.store.put_object(&taken.archive_key, snapshot.archive).await?;
    context.store.put_object(&taken.manifest_key, manifest).await?;
    let mut notices = snapshot.notices;
    notices.extend(dirty_notice(&git.dirty().await?));
    let said = format!("{} files at {}", snapshot.manifest.entries.len(), commit.get(..12).unwrap_or(&commit));
    context
        .store
        .update_run(run_id, |run| {
            run.snapshot = Some(taken.clone());
            let new: Vec<String> = notices.iter().filter(|notice| !run.notices.contains(notice)).cloned().collect();
            run.notices.extend(new);
        })
        .await?;
    context.tell(run_id, "snapshot.taken", said).await?;
    for notice in notices {
        context.tell(run_id, "notice", notice).await?;
    }
    Ok(json!({ "commit": commit }))
}

fn dirty_notice(dirty: &[String]) -> Option<String> {
    let more = dirty.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let shown = dirty.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    (!dirty.is_empty()).then(|| format!("uncommitted changes are not part of this run: {shown}{more}"))
}
