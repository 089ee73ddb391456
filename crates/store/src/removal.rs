//! What stands in the way of removing a stage: a bucket that is not empty, a table that is protected.

use futures::{StreamExt, TryStreamExt};
use run_model::RunId;

use crate::bucket::keys;
use crate::{Store, StoreError};

/// How many keys a listing has at most, as S3 has it.
const PAGE: usize = 1_000;
/// How many objects are deleted at once.
const AT_ONCE: usize = 32;

impl Store {
    /// Deletes every object of the bucket, and returns how many there were. There is no way back.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; what was deleted until then is gone.
    pub async fn empty_bucket(&self) -> Result<usize, StoreError> {
        self.delete_under("").await
    }

    /// Deletes every object of a run, and returns how many there were. Its record and its events stay. There is no way back.
    ///
    /// # Errors
    /// As [`Store::empty_bucket`].
    pub async fn delete_objects_of(&self, run: &RunId) -> Result<usize, StoreError> {
        let own = self.delete_under(&format!("runs/{run}/")).await?;
        Ok(own + self.delete_under(&format!("held-out/{run}/")).await?)
    }

    async fn delete_under(&self, prefix: &str) -> Result<usize, StoreError> {
        let mut deleted = 0;
        loop {
            // What was listed is gone by the next time, so every page is the first one.
            let listed = self.bucket().list(prefix, PAGE).await;
            let listed = listed.map_err(|error| StoreError::unavailable("list the bucket", error))?;
            let keys = keys(listed).await.map_err(|error| StoreError::unavailable("list the bucket", error))?;
            if keys.is_empty() {
                return Ok(deleted);
            }
            let deletes = futures::stream::iter(&keys).map(|key| self.bucket().delete(key));
            let deletes = deletes.buffer_unordered(AT_ONCE);
            let all: Result<Vec<_>, _> = deletes.try_collect().await;
            all.map_err(|error| StoreError::unavailable("delete an object", error))?;
            deleted += keys.len();
        }
    }

    /// Whether the table is protected from deletion.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], also if there is no table.
    pub async fn is_table_protected(&self) -> Result<bool, StoreError> {
        let sent = self.dynamodb().describe_table().table_name(&self.0.names.table).send().await;
        let described = sent.map_err(|error| StoreError::unavailable("look at the table", error))?;
        Ok(described.table().and_then(|table| table.deletion_protection_enabled()).unwrap_or(false))
    }
}
