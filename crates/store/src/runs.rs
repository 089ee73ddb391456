//! Runs: admitted once, changed under their version, listed by time.

use aws_sdk_dynamodb::types::AttributeValue;
use run_model::RunId;
use run_model::budget::Budget;
use run_model::run::{Ending, Outcome, RUN_SCHEMA, RunRecord, RunStatus, Stage};

use crate::events::NewEvent;
use crate::listing::Listing;
use crate::record::Record;
use crate::table::{Condition, Key, Range, Write, sortable, text};
use crate::{Store, StoreError};

/// What became of an admission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The run is new.
    New(RunRecord),
    /// A run of this id was admitted before; this is how it stands.
    Existing(RunRecord),
}

impl Record for RunRecord {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        vec![
            ("state", text(self.status.as_str())),
            ("gsi1pk", text(Listing::RUNS.partition)),
            ("gsi1sk", text(place(self.created_ms, &self.run_id))),
        ]
    }

    fn stamp(&mut self, version: u64, now_ms: i64) {
        self.schema = RUN_SCHEMA;
        self.version = version;
        self.updated_ms = now_ms;
    }
}

/// Where a run stands among all.
fn place(created_ms: i64, run: &RunId) -> String {
    format!("{}#{run}", sortable(created_ms))
}

fn what(run: &RunId) -> String {
    format!("run {run}")
}

impl Store {
    /// Admits a run, once: its record, its budget and its first event (`run.admitted`) are written together.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn admit(&self, mut run: RunRecord, budget: Budget) -> Result<Admission, StoreError> {
        let id = run.run_id.clone();
        let key = Key::run(&id);
        let run_item = self.encode(&id, &key, &mut run, 1).await?;
        let budget_item = crate::ledger::budget_item(&id, &budget);
        let event = NewEvent::new("run.admitted", format!("admitted for {}", run.requester.name));
        let event_item = self.event_item(&id, 1, event).await?;
        let writes = || {
            let items = [&run_item, &budget_item, &event_item];
            items.into_iter().map(|item| Write::Put(item.clone(), Condition::absent())).collect()
        };
        if self.transact(&key, writes).await?.is_written() {
            return Ok(Admission::New(run));
        }
        Ok(Admission::Existing(self.run(&id).await?))
    }

    /// A run's record.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::NewerSchema`]; [`StoreError::Corrupt`]; [`StoreError::Unavailable`].
    pub async fn run(&self, run: &RunId) -> Result<RunRecord, StoreError> {
        Ok(self.require(&Key::run(run), what(run)).await?.value)
    }

    /// Changes a run's record. `change` runs again on the newer record if another writer was first, so it must depend on
    /// nothing but the record it is given. If it leaves the record as it was, nothing is written.
    ///
    /// # Errors
    /// As [`Store::run`]; [`StoreError::Conflict`] if others were first again and again.
    pub async fn update_run(
        &self,
        run: &RunId,
        change: impl FnMut(&mut RunRecord) + Send,
    ) -> Result<RunRecord, StoreError> {
        self.modify(run, &Key::run(run), &what(run), change).await
    }

    /// Changes a run's record and tells it with the event that `change` gives, both together; a change that leaves the record
    /// as it was is not told. See [`Store::update_run`] for what `change` must be like.
    ///
    /// # Errors
    /// As [`Store::update_run`].
    pub async fn update_run_telling(
        &self,
        run: &RunId,
        mut change: impl FnMut(&mut RunRecord) -> NewEvent + Send,
    ) -> Result<RunRecord, StoreError> {
        self.modify_telling(run, &Key::run(run), &what(run), |record| Some(change(record))).await
    }

    /// Enters a stage and says so with one event (`stage.entered`), both together; nothing if the run is there already.
    ///
    /// # Errors
    /// As [`Store::update_run`].
    pub async fn enter_stage(&self, run: &RunId, stage: Stage) -> Result<RunRecord, StoreError> {
        let enter = |run: &mut RunRecord| {
            run.stage = stage;
            NewEvent::new("stage.entered", stage.as_str())
        };
        self.update_run_telling(run, enter).await
    }

    /// Ends a run from outside, with one event, makes its open gates void and closes its open jobs. A run that has ended, or has landed, stays as
    /// it is. Returns the record as it stands.
    ///
    /// # Errors
    /// As [`Store::update_run`].
    pub async fn end_run(
        &self,
        run: &RunId,
        status: RunStatus,
        outcome: Outcome,
        event: NewEvent,
    ) -> Result<RunRecord, StoreError> {
        let end = |record: &mut RunRecord| {
            if record.status.is_final() || record.branch.is_some() {
                return None;
            }
            record.status = status;
            record.outcome = Some(outcome.clone());
            Some(event.clone())
        };
        let record = self.modify_telling(run, &Key::run(run), &what(run), end).await?;
        if record.status.is_final() {
            self.void_gates(run).await?;
            self.close_jobs(run).await?;
        }
        Ok(record)
    }

    /// Up to `limit` runs that were admitted before this one, the newest first.
    ///
    /// # Errors
    /// As [`Store::run`].
    pub async fn list_runs_before(&self, run: &RunId, limit: usize) -> Result<Vec<RunRecord>, StoreError> {
        let RunRecord { created_ms, run_id, .. } = self.run(run).await?;
        let high = place(created_ms, &run_id);
        let range = Range { high: high.clone(), ..Range::of_index(&Listing::RUNS).newest_first() };
        let items = self.query(range, limit.saturating_add(1)).await?;
        let listed = self.decode_listed::<RunRecord>(&items).await?;
        let mut runs: Vec<RunRecord> = listed.into_iter().map(|found| found.value).collect();
        runs.retain(|run| place(run.created_ms, &run.run_id) != high);
        runs.truncate(limit);
        Ok(runs)
    }

    /// Ends a run whose execution has ended without telling it, with one event (`run.ended`), makes its open gates void and
    /// closes its open jobs. A run that has ended, or that another execution carries by now, stays as it is; one whose change
    /// has landed has succeeded, whatever became of its execution; one that was redriven, and whose execution only says
    /// again what it had said, has the end that it had. Returns the record as it stands.
    ///
    /// # Errors
    /// As [`Store::update_run`].
    pub async fn end_with_execution(
        &self,
        run: &RunId,
        execution_arn: &str,
        ending: &Ending,
    ) -> Result<RunRecord, StoreError> {
        let end = |record: &mut RunRecord| {
            if record.status.is_final() || record.execution_arn != execution_arn {
                return None;
            }
            let ending = record.landed().unwrap_or_else(|| record.said_before(ending));
            let told = format!("{}: {}", ending.status.as_str(), ending.outcome.reason);
            record.status = ending.status;
            record.outcome = Some(ending.outcome);
            record.ending = None;
            Some(NewEvent::new("run.ended", told))
        };
        let record = self.modify_telling(run, &Key::run(run), &what(run), end).await?;
        if record.status.is_final() && record.execution_arn == execution_arn {
            self.void_gates(run).await?;
            self.close_jobs(run).await?;
        }
        Ok(record)
    }

    /// Up to `limit` runs, the newest first. A run admitted a moment ago may still be missing on AWS.
    ///
    /// # Errors
    /// As [`Store::run`].
    pub async fn list_runs(&self, limit: usize) -> Result<Vec<RunRecord>, StoreError> {
        let items = self.query(Range::of_index(&Listing::RUNS).newest_first(), limit).await?;
        Ok(self.decode_listed::<RunRecord>(&items).await?.into_iter().map(|found| found.value).collect())
    }
}
