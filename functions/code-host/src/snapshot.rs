//! A commit as an archive and a manifest.

use run_model::run::Stage;
use run_model::snapshot::SnapshotRef;
use run_model::{FunctionError, RunId, Sha256};
use serde_json::{Value, json};
use store::NewEvent;

use crate::{Context, failed, repository};

/// Resolves the base, keeps its files in the object store and says what the person should know of the repository.
pub(crate) async fn take(context: &Context, run_id: RunId) -> Result<Value, FunctionError> {
    let run = context.store.enter_stage(&run_id, Stage::Snapshot).await?;
    if let Some(taken) = run.snapshot {
        return Ok(json!({ "commit": taken.commit }));
    }
    let git = repository(&run).await?;
    let commit = git.resolve(&run.base_ref).await.map_err(failed)?;
    let taken = git.snapshot(&commit).await.map_err(failed)?;
    let mut notices = taken.notices;
    let dirty = git.dirty().await.map_err(failed)?;
    if !dirty.is_empty() {
        let shown: Vec<&str> = dirty.iter().take(5).map(String::as_str).collect();
        let more = dirty.len().saturating_sub(shown.len());
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        notices.push(format!("uncommitted changes are not part of this run: {}{more}", shown.join(", ")));
    }
    let (archive_key, manifest_key) = (format!("runs/{run_id}/snapshot.tar.gz"), format!("runs/{run_id}/manifest.json"));
    let snapshot = SnapshotRef {
        commit: commit.clone(),
        archive_sha256: Sha256::of(&taken.archive),
        archive_key: archive_key.clone(),
        manifest_key: manifest_key.clone(),
    };
    let manifest = serde_json::to_vec(&taken.manifest)
        .map_err(|problem| FunctionError::new(run_model::ErrorName::Internal, problem.to_string()))?;
    context.store.put_object(&archive_key, taken.archive).await?;
    context.store.put_object(&manifest_key, manifest).await?;
    context
        .store
        .update_run(&run_id, |run| {
            run.snapshot = Some(snapshot.clone());
            run.notices.extend(notices.iter().filter(|notice| !run.notices.contains(notice)).cloned().collect::<Vec<_>>());
        })
        .await?;
    let message = format!("{} files at {}", taken.manifest.entries.len(), commit.get(..12).unwrap_or(&commit));
    context.store.append_event(&run_id, NewEvent::new("snapshot.taken", message)).await?;
    for notice in notices {
        context.store.append_event(&run_id, NewEvent::new("notice", notice)).await?;
    }
    Ok(json!({ "commit": commit }))
}
