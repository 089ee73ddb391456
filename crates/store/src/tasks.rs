//! Tasks of a run.

use aws_sdk_dynamodb::types::AttributeValue;
use run_model::run::TaskRecord;
use run_model::{RunId, TaskId};

use crate::events::NewEvent;
use crate::record::{Record, Stored};
use crate::table::{ATTEMPTS, Condition, Key, Range, Write};
use crate::{Store, StoreError};

impl Record for TaskRecord {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        vec![("wave", crate::table::number(self.wave))]
    }
}

fn what(run: &RunId, task: &TaskId) -> String {
    format!("task {task} of run {run}")
}

impl Store {
    /// Puts a task, over the one of this id if there is one.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if others were first again and again; [`StoreError::Unavailable`].
    pub async fn put_task(&self, run: &RunId, task: &TaskRecord) -> Result<(), StoreError> {
        let key = Key::task(run, &task.task_id);
        for _ in 0..ATTEMPTS {
            let (version, condition) = match self.load::<TaskRecord>(&key).await? {
                Some(Stored { version, .. }) => (version + 1, Condition::version(version)),
                None => (1, Condition::absent()),
            };
            let item = self.encode(run, &key, &mut task.clone(), version).await?;
            if self.put(item, condition).await?.is_written() {
                return Ok(());
            }
            self.step_aside().await;
        }
        Err(StoreError::Conflict(what(run, &task.task_id)))
    }

    /// Makes these the run's only tasks, all at once: what an accepted plan does. At most 100 tasks, old and new together.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if a task was written at the same moment, again and again; [`StoreError::Unavailable`].
    pub async fn replace_tasks(&self, run: &RunId, tasks: &[TaskRecord]) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let mut writes = Vec::new();
            let mut old = self.query(tasks_of(run), usize::MAX).await?;
            for task in tasks {
                let key = Key::task(run, &task.task_id);
                let before = old.iter().position(|item| Key::read(item) == key).map(|at| old.swap_remove(at));
                let version = match &before {
                    Some(item) => Some(self.decode::<TaskRecord>(item).await?.version),
                    None => None,
                };
                let item = self.encode(run, &key, &mut task.clone(), version.unwrap_or(0) + 1).await?;
                writes.push((item, version));
            }
            let all = || {
                let condition = |version: &Option<u64>| version.map_or_else(Condition::absent, Condition::version);
                let puts = writes.iter().map(|(item, version)| Write::Put(item.clone(), condition(version)));
                puts.chain(old.iter().map(|item| Write::Delete(Key::read(item)))).collect()
            };
            if self.transact(&Key::run(run), all).await?.is_written() {
                return Ok(());
            }
            self.step_aside().await;
        }
        Err(StoreError::Conflict(format!("the tasks of run {run}")))
    }

    /// A task.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::NewerSchema`]; [`StoreError::Corrupt`]; [`StoreError::Unavailable`].
    pub async fn task(&self, run: &RunId, task: &TaskId) -> Result<TaskRecord, StoreError> {
        Ok(self.require(&Key::task(run, task), what(run, task)).await?.value)
    }

    /// The run's tasks by wave, then by id.
    ///
    /// # Errors
    /// As [`Store::task`].
    pub async fn tasks(&self, run: &RunId) -> Result<Vec<TaskRecord>, StoreError> {
        let mut tasks: Vec<TaskRecord> = self.decode_all(&self.query(tasks_of(run), usize::MAX).await?).await?;
        tasks.sort_by(|a, b| (a.wave, &a.task_id).cmp(&(b.wave, &b.task_id)));
        Ok(tasks)
    }

    /// Changes a task; see [`Store::update_run`] for what `change` must be like.
    ///
    /// # Errors
    /// As [`Store::task`]; [`StoreError::Conflict`] if others were first again and again.
    pub async fn update_task(
        &self,
        run: &RunId,
        task: &TaskId,
        change: impl FnMut(&mut TaskRecord) + Send,
    ) -> Result<TaskRecord, StoreError> {
        self.modify(run, &Key::task(run, task), &what(run, task), change).await
    }

    /// Changes a task and tells it with the event that `change` gives, both together; a change that leaves the task as it was
    /// is not told. See [`Store::update_run`] for what `change` must be like.
    ///
    /// # Errors
    /// As [`Store::update_task`].
    pub async fn update_task_telling(
        &self,
        run: &RunId,
        task: &TaskId,
        mut change: impl FnMut(&mut TaskRecord) -> NewEvent + Send,
    ) -> Result<TaskRecord, StoreError> {
        let tell = |record: &mut TaskRecord| Some(change(record));
        self.modify_telling(run, &Key::task(run, task), &what(run, task), tell).await
    }
}

fn tasks_of(run: &RunId) -> Range {
    Range::beginning(Key { sk: "TASK#".into(), ..Key::run(run) })
}
