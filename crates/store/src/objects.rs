//! Objects: what is too large for the table. Content-addressed wherever a reference travels.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use run_model::run::ArtefactRef;
use run_model::{RunId, Sha256};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Cause;
use crate::{Store, StoreError};

impl Store {
    /// Puts an object under a key of the caller's choice, over whatever is there.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn put_object(&self, key: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.check_object(key)?;
        let request = self.s3().put_object().bucket(&self.0.names.bucket).key(key).body(ByteStream::from(bytes));
        request.send().await.map(drop).map_err(|error| StoreError::unavailable("write an object", error))
    }

    /// An object's bytes.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none; [`StoreError::Unavailable`].
    pub async fn get_object(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        self.check_object(key)?;
        let sent = self.s3().get_object().bucket(&self.0.names.bucket).key(key).send().await;
        let output = sent.map_err(|error| match error.as_service_error() {
            Some(service_error) if service_error.is_no_such_key() => StoreError::NotFound(format!("object {key}")),
            _ => StoreError::unavailable("read an object", error),
        })?;
        let body = output.body.collect().await.map_err(|error| StoreError::unavailable("read an object", error))?;
        Ok(body.to_vec())
    }

    /// An address where an object can be read without credentials for so many seconds (at most a week, and never longer than
    /// the credentials that sign it).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be signed.
    pub async fn presigned_url(&self, key: &str, seconds: u32) -> Result<String, StoreError> {
        self.check_object(key)?;
        let failed = |error: Cause| StoreError::unavailable("sign an address", error);
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(self.now_ms().unsigned_abs());
        let lifetime = Duration::from_secs(seconds.into());
        let config = PresigningConfig::builder().start_time(now).expires_in(lifetime).build();
        let request = self.s3().get_object().bucket(&self.0.names.bucket).key(key);
        let signed = request.presigned(config.map_err(|error| failed(error.into()))?).await;
        Ok(signed.map_err(|error| failed(error.into()))?.uri().to_owned())
    }

    /// Keeps bytes of a run under their hash. The same bytes are the same artefact, however often they are put.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn put_artefact(&self, run: &RunId, bytes: Vec<u8>) -> Result<ArtefactRef, StoreError> {
        self.put_hashed(&format!("runs/{run}/artefacts"), bytes).await
    }

    /// Keeps the run's held-out files under `held-out/`, a prefix that no role may read.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn put_held_out(&self, run: &RunId, bytes: Vec<u8>) -> Result<ArtefactRef, StoreError> {
        self.put_hashed(&format!("held-out/{run}"), bytes).await
    }

    /// An artefact's bytes, checked against its hash.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Corrupt`] if the bytes are not those that were put; [`StoreError::Unavailable`].
    pub async fn get_artefact(&self, artefact: &ArtefactRef) -> Result<Vec<u8>, StoreError> {
        let bytes = self.get_object(&artefact.key).await?;
        let sha256 = Sha256::of(&bytes);
        if sha256 == artefact.sha256 {
            return Ok(bytes);
        }
        let problem = format!("its SHA-256 is {} and should be {}", sha256.short(), artefact.sha256.short());
        Err(StoreError::corrupt(format!("object {}", artefact.key), problem))
    }

    /// Keeps a value of a run as JSON under its hash.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it has no JSON; [`StoreError::Unavailable`].
    pub async fn put_json(&self, run: &RunId, value: &(impl Serialize + Sync)) -> Result<ArtefactRef, StoreError> {
        let bytes = serde_json::to_vec(value).map_err(|error| StoreError::corrupt("a value to be kept", error))?;
        self.put_artefact(run, bytes).await
    }

    /// The value of a JSON artefact.
    ///
    /// # Errors
    /// As [`Store::get_artefact`]; [`StoreError::Corrupt`] if it is not JSON of this type.
    pub async fn get_json<T: DeserializeOwned>(&self, artefact: &ArtefactRef) -> Result<T, StoreError> {
        let bytes = self.get_artefact(artefact).await?;
        serde_json::from_slice(&bytes).map_err(|error| StoreError::corrupt(format!("object {}", artefact.key), error))
    }

    /// Keeps bytes as `<folder>/<sha256>.json`.
    pub(crate) async fn put_hashed(&self, folder: &str, bytes: Vec<u8>) -> Result<ArtefactRef, StoreError> {
        let sha256 = Sha256::of(&bytes);
        let artefact = ArtefactRef { key: format!("{folder}/{sha256}.json"), sha256, bytes: bytes.len() as u64 };
        self.put_object(&artefact.key, bytes).await?;
        Ok(artefact)
    }
}
