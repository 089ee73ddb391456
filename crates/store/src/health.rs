//! Whether what a stage is made of is there.

use aws_sdk_dynamodb::error::ProvideErrorMetadata;

use crate::bucket::is_refused;
use crate::table::Key;
use crate::{Store, StoreError};

impl Store {
    /// Whether the table answers; `false` if there is none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn has_table(&self) -> Result<bool, StoreError> {
        let key = Key::start("health").attributes();
        let sent = self.dynamodb().get_item().table_name(&self.0.names.table).set_key(Some(key)).send().await;
        match sent {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("ResourceNotFoundException") => Ok(false),
            Err(error) => Err(StoreError::unavailable("read the table", error)),
        }
    }

    /// Whether the bucket answers; `false` if there is none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn has_bucket(&self) -> Result<bool, StoreError> {
        let sent = self.bucket().list("runs/", 1).await;
        match sent {
            Ok(_) => Ok(true),
            Err(error) if is_refused(&error, "NoSuchBucket") => Ok(false),
            Err(error) => Err(StoreError::unavailable("list the bucket", error)),
        }
    }

    /// Whether a secret is there and has a value; `None` if it is not there. The value is not read.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn has_secret(&self, name: &str) -> Result<Option<bool>, StoreError> {
        match self.secrets_manager().describe_secret().secret_id(name).send().await {
            Ok(secret) => {
                let stages =
                    secret.version_ids_to_stages().into_iter().flat_map(|versions| versions.values().flatten());
                Ok(Some(stages.into_iter().any(|stage| stage == "AWSCURRENT")))
            }
            Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) => Ok(None),
            Err(error) => Err(StoreError::unavailable("look at a secret", error)),
        }
    }
}
