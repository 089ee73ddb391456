//! A store that reaches one run alone: IAM tells functions apart, not the runs that one function works for.

use run_model::RunId;

use crate::about::run_of_key;
use crate::table::Key;
use crate::{Store, StoreError};

impl Store {
    /// The same store for one run: from now on it refuses objects beyond `runs/<run>/` and rows that belong to another run.
    #[must_use]
    pub fn of_run(&self, run: &RunId) -> Self {
        Self(self.0.clone(), Some(run.clone()))
    }

    /// Refuses an object that this store does not reach: for a key that is handed on without being read.
    ///
    /// # Errors
    /// [`StoreError::OutOfReach`].
    pub fn check_object(&self, key: &str) -> Result<(), StoreError> {
        match &self.1 {
            Some(run) if !is_within(&format!("runs/{run}/"), key) => Err(out_of_reach(format!("object {key}"), run)),
            _ => Ok(()),
        }
    }

    /// As [`Store::check_object`], for the run's held-out files, which are handed on and never read here.
    ///
    /// # Errors
    /// [`StoreError::OutOfReach`].
    pub fn check_held_out(&self, key: &str) -> Result<(), StoreError> {
        match &self.1 {
            Some(run) if !is_within(&format!("held-out/{run}/"), key) => {
                Err(out_of_reach(format!("held-out object {key}"), run))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a row of another run, and one of which it is not plain whose it is.
    pub(crate) fn check_row(&self, key: &Key) -> Result<(), StoreError> {
        let Some(run) = &self.1 else { return Ok(()) };
        match run_of_key(&key.pk) {
            Some(owner) if owner == *run => Ok(()),
            None if !key.pk.starts_with("RUN#") => Ok(()),
            _ => Err(out_of_reach(format!("row {key}"), run)),
        }
    }
}

fn is_within(folder: &str, key: &str) -> bool {
    key.starts_with(folder) && key.split('/').all(|part| part != "..")
}

fn out_of_reach(what: String, run: &RunId) -> StoreError {
    StoreError::OutOfReach { what, run: run.clone() }
}
