//! Objects: what is too large for the table. Content-addressed wherever a reference travels.

use std::time::Duration;

use run_model::run::ArtefactRef;
use run_model::snapshot::SnapshotRef;
use run_model::{RunId, Sha256};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bucket::is_refused;
use crate::table::Asked;
use crate::{Names, Store, StoreError};

impl Store {
    /// Puts an object under a key of the caller's choice, over whatever is there. No function of ours does: what they keep is
    /// named by its hash.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn put_object(&self, key: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.check_object(key)?;
        self.bucket().put(key, bytes).await.map_err(|error| StoreError::unavailable("write an object", error))
    }

    /// An object's bytes. Those of one that is named by its hash are checked against its name.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none; [`StoreError::TooLarge`] for the memory that this process has;
    /// [`StoreError::Corrupt`] if its name is another content's; [`StoreError::Unavailable`].
    pub fn get_object<'a>(&'a self, key: &'a str) -> Asked<'a, Vec<u8>> {
        Box::pin(async move {
            self.check_object(key)?;
            let mut body = self.bucket().get(key).await.map_err(|error| match is_refused(&error, "NoSuchKey") {
                true => StoreError::NotFound(format!("object {key}")),
                false => StoreError::unavailable("read an object", error),
            })?;
            let (announced, _) = body.size_hint();
            self.check_room(key, announced, 1)?;
            let mut bytes = Vec::with_capacity(usize::try_from(announced).unwrap_or_default());
            while let Some(piece) = body.next().await {
                let piece = piece.map_err(|error| StoreError::unavailable("read an object", error))?;
                self.check_room(key, (bytes.len() + piece.len()) as u64, 1)?;
                bytes.extend_from_slice(&piece);
            }
            match Sha256::named_by(key) {
                Some(named) => check(key, &bytes, &named).map(|()| bytes),
                None => Ok(bytes),
            }
        })
    }

    /// Refuses what takes so many bytes if the memory of this process has not the room: an object has half of what is left
    /// beside the program, what is made of it a part of that.
    pub(crate) fn check_room(&self, key: &str, bytes: u64, part: u64) -> Result<(), StoreError> {
        match self.0.names.memory_mb.map(|memory_mb| (memory_mb, Names::largest_object(memory_mb) / part)) {
            Some((memory_mb, limit)) if bytes > limit => {
                Err(StoreError::TooLarge { object: key.to_owned(), bytes, limit, memory_mb })
            }
            _ => Ok(()),
        }
    }

    /// An address where an object can be read without credentials for so many seconds (at most a week, and never longer than
    /// the credentials that sign it).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be signed.
    pub async fn presigned_url(&self, key: &str, seconds: u32) -> Result<String, StoreError> {
        self.check_object(key)?;
        let signed = self.bucket().presigned(key, Duration::from_secs(seconds.into())).await;
        signed.map_err(|error| StoreError::unavailable("sign an address", error))
    }

    /// Keeps bytes of a run under their hash. The same bytes are the same artefact, however often they are put.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn put_artefact(&self, run: &RunId, bytes: Vec<u8>) -> Result<ArtefactRef, StoreError> {
        self.put_hashed(&format!("runs/{run}/artefacts"), "json", bytes).await
    }

    /// Keeps the archive of the run's base (tar, gzip) under its hash.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn put_archive(&self, run: &RunId, bytes: Vec<u8>) -> Result<ArtefactRef, StoreError> {
        self.put_hashed(&format!("runs/{run}/snapshots"), "tar.gz", bytes).await
    }

    /// Keeps the run's held-out files under `held-out/`, a prefix that no role may read.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn put_held_out(&self, run: &RunId, bytes: Vec<u8>) -> Result<ArtefactRef, StoreError> {
        self.put_hashed(&format!("held-out/{run}"), "json", bytes).await
    }

    /// An artefact's bytes, checked against its hash.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Corrupt`] if the bytes are not those that were put; [`StoreError::Unavailable`].
    pub async fn get_artefact(&self, artefact: &ArtefactRef) -> Result<Vec<u8>, StoreError> {
        self.get_hashed(&artefact.key, &artefact.sha256).await
    }

    /// A snapshot's archive (tar, gzip), checked against its hash.
    ///
    /// # Errors
    /// As [`Store::get_artefact`].
    pub async fn get_archive(&self, snapshot: &SnapshotRef) -> Result<Vec<u8>, StoreError> {
        self.get_hashed(&snapshot.archive_key, &snapshot.archive_sha256).await
    }

    /// An object of this hash. What is named by it was compared with its name when it was read.
    async fn get_hashed(&self, key: &str, sha256: &Sha256) -> Result<Vec<u8>, StoreError> {
        let bytes = self.get_object(key).await?;
        if Sha256::named_by(key).as_ref() != Some(sha256) {
            check(key, &bytes, sha256)?;
        }
        Ok(bytes)
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

    /// Keeps bytes as `<folder>/<sha256>.<ending>`. What has that name already stays as it is: nothing is written over, and
    /// whoever reads it checks it.
    pub(crate) async fn put_hashed(
        &self,
        folder: &str,
        ending: &str,
        bytes: Vec<u8>,
    ) -> Result<ArtefactRef, StoreError> {
        let sha256 = Sha256::of(&bytes);
        let artefact = ArtefactRef { key: format!("{folder}/{sha256}.{ending}"), sha256, bytes: bytes.len() as u64 };
        self.check_object(&artefact.key)?;
        let sent = self.bucket().put_if_missing(&artefact.key, bytes).await;
        sent.map(|()| artefact).map_err(|error| StoreError::unavailable("write an object", error))
    }
}

/// Refuses bytes that are not those of this hash.
fn check(key: &str, bytes: &[u8], sha256: &Sha256) -> Result<(), StoreError> {
    let found = Sha256::of(bytes);
    if found == *sha256 {
        return Ok(());
    }
    let problem = format!("its SHA-256 is {} and should be {}", found.short(), sha256.short());
    Err(StoreError::corrupt(format!("object {key}"), problem))
}
