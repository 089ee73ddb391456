//! The base commit becomes an archive and a manifest.

use run_model::run::{RunRecord, Stage};
use run_model::snapshot::SnapshotRef;
use run_model::{ErrorName, FunctionError, RunId};
use serde_json::{Value, json};
use store::NewEvent;

use crate::repository::{self, Purpose};
use crate::{Context, add_notices};

/// Takes the snapshot, unless the run has one: the base of a run never moves.
pub(crate) async fn snapshot(context: &Context, run_id: &RunId) -> Result<Value, FunctionError> {
    let run = context.store.enter_stage(run_id, Stage::Snapshot).await?;
    if let Some(taken) = &run.snapshot {
        return Ok(json!({ "commit": taken.commit }));
    }
    let repository = repository::open(context, &run, Purpose::Read).await?;
    let commit = repository.resolve(&run.base_ref).await?;
    let snapshot = repository.snapshot(&commit).await?;
    let manifest = serde_json::to_vec(&snapshot.manifest);
    let manifest = manifest.map_err(|problem| FunctionError::new(ErrorName::Internal, problem.to_string()))?;
    let archive = context.store.put_archive(run_id, snapshot.archive).await?;
    let manifest = context.store.put_artefact(run_id, manifest).await?;
    let taken = SnapshotRef {
        commit: commit.clone(),
        archive_key: archive.key,
        archive_sha256: archive.sha256,
        manifest_key: manifest.key,
    };
    let said = format!("{} files at {}", snapshot.manifest.entries.len(), commit.get(..12).unwrap_or(&commit));
    let record = |run: &mut RunRecord| {
        run.snapshot = Some(taken.clone());
        add_notices(run, &snapshot.notices);
        NewEvent::new("snapshot.taken", said.clone())
    };
    context.store.update_run_telling(run_id, record).await?;
    context.tell_new(&run, &snapshot.notices).await?;
    Ok(json!({ "commit": commit }))
}
