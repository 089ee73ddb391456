//! A record is a row with a body: JSON, versioned, by reference when it is large.

use std::borrow::Cow;
use std::io::{self, Read, Write as _};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use run_model::RunId;
use run_model::run::ArtefactRef;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::events::NewEvent;
use crate::table::{ATTEMPTS, Asked, Attributes, Condition, Key, Write, number, text};
use crate::{Store, StoreError};

/// Bodies longer than this are kept compressed: DynamoDB charges by the KB that is written, twice in a transaction.
const LARGEST_PLAIN_BODY: usize = 700;
/// Bodies that are longer even so lie in the object store: DynamoDB refuses items over 400 KB.
const LARGEST_BODY: usize = 300 * 1024;
/// What is kept compressed is no longer than this when it is unpacked, in bytes: a function has 128 MB.
const LARGEST_UNPACKED: usize = 16 << 20;
/// The schema of every item with a body. The second came with compressed bodies: a program of the first would take such an
/// item for one without a body.
pub(crate) const BODY_SCHEMA: u32 = 2;
/// The attributes that hold a body, of which an item has one: as text, compressed, and where it lies.
const BODY: &str = "body";
const BODY_COMPRESSED: &str = "body_gz";
const BODY_ELSEWHERE: &str = "body_ref";

/// Something the table keeps under one key.
pub(crate) trait Record: Serialize + DeserializeOwned + Send + Sync {
    /// The schema that this code writes. It reads this one and all older ones.
    const SCHEMA: u32 = BODY_SCHEMA;

    /// Attributes beside the body, for the index and for conditions.
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        Vec::new()
    }

    /// Told before it is written under this version.
    fn stamp(&mut self, _version: u64, _now_ms: i64) {}
}

/// A record as it was read.
pub(crate) struct Stored<T> {
    pub(crate) value: T,
    pub(crate) version: u64,
}

/// A number of an item, if it has it.
pub(crate) fn number_of(item: &Attributes, name: &str) -> Option<i64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// A text of an item, if it has it.
pub(crate) fn text_of<'a>(item: &'a Attributes, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// Whether an item has a body.
pub(crate) fn has_body(item: &Attributes) -> bool {
    [BODY, BODY_COMPRESSED, BODY_ELSEWHERE].iter().any(|name| item.contains_key(*name))
}

fn compressed(text: &str) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes())?;
    encoder.finish()
}

/// Refuses an item that a newer program wrote. An item without a schema is from before there was one.
pub(crate) fn check_schema(item: &Attributes, newest: u32) -> Result<(), StoreError> {
    let schema = number_of(item, "schema").map_or(0, |schema| u32::try_from(schema).unwrap_or(u32::MAX));
    if schema <= newest { Ok(()) } else { Err(StoreError::NewerSchema { item: Key::read(item).to_string(), schema }) }
}

impl Store {
    /// The row of a record of this run, its body in the object store if it is large.
    pub(crate) async fn encode<T: Record>(
        &self,
        run: &RunId,
        key: &Key,
        record: &mut T,
        version: u64,
    ) -> Result<Attributes, StoreError> {
        record.stamp(version, self.now_ms());
        let mut item = key.attributes();
        item.insert("schema".into(), number(T::SCHEMA));
        item.insert("version".into(), number(version));
        item.extend(record.attributes().into_iter().map(|(name, value)| (name.to_owned(), value)));
        let body = self.encode_body(run, key, record).await?;
        item.extend(body);
        Ok(item)
    }

    /// The attribute that holds the body, or refers to it.
    pub(crate) async fn encode_body(
        &self,
        run: &RunId,
        key: &Key,
        body: &(impl Serialize + Sync),
    ) -> Result<Option<(String, AttributeValue)>, StoreError> {
        let body = serde_json::to_string(body).map_err(|error| StoreError::corrupt(key, error))?;
        self.place_body(run, key, body).await.map(Some)
    }

    /// Apart from the above, which is compiled for each kind of record.
    fn place_body<'a>(&'a self, run: &'a RunId, key: &'a Key, body: String) -> Asked<'a, (String, AttributeValue)> {
        Box::pin(async move {
            if body.len() <= LARGEST_PLAIN_BODY {
                return Ok((BODY.into(), text(body)));
            }
            let small = compressed(&body).map_err(|error| StoreError::corrupt(key, error))?;
            if small.len() <= LARGEST_BODY && body.len() <= LARGEST_UNPACKED {
                return Ok((BODY_COMPRESSED.into(), AttributeValue::B(Blob::new(small))));
            }
            let reference = self.put_hashed(&format!("runs/{run}/records"), "json", body.into_bytes()).await?;
            let reference = serde_json::to_string(&reference).map_err(|error| StoreError::corrupt(key, error))?;
            Ok((BODY_ELSEWHERE.into(), text(reference)))
        })
    }

    /// The body of an item, wherever it lies.
    pub(crate) async fn decode_body<T: DeserializeOwned>(&self, item: &Attributes) -> Result<T, StoreError> {
        let body = self.find_body(item).await?;
        serde_json::from_str(&body).map_err(|error| StoreError::corrupt(Key::read(item), error))
    }

    /// Apart from the above, which is compiled for each kind of record.
    fn find_body<'a>(&'a self, item: &'a Attributes) -> Asked<'a, Cow<'a, str>> {
        Box::pin(async move {
            let damaged = |problem: &dyn std::fmt::Display| StoreError::corrupt(Key::read(item), problem);
            if let Some(body) = text_of(item, BODY) {
                return Ok(body.into());
            }
            if let Some(AttributeValue::B(body)) = item.get(BODY_COMPRESSED) {
                let mut text = String::new();
                let mut unpacked = GzDecoder::new(body.as_ref()).take(LARGEST_UNPACKED as u64 + 1);
                unpacked.read_to_string(&mut text).map_err(|error| damaged(&error))?;
                if text.len() > LARGEST_UNPACKED {
                    return Err(damaged(&"it unpacks to more than anybody writes"));
                }
                return Ok(text.into());
            }
            let reference = text_of(item, BODY_ELSEWHERE).ok_or_else(|| damaged(&"it has no body"))?;
            let reference: ArtefactRef = serde_json::from_str(reference).map_err(|error| damaged(&error))?;
            let body = String::from_utf8(self.get_artefact(&reference).await?).map_err(|error| damaged(&error))?;
            Ok(body.into())
        })
    }

    /// The record of an item.
    pub(crate) async fn decode<T: Record>(&self, item: &Attributes) -> Result<Stored<T>, StoreError> {
        check_schema(item, T::SCHEMA)?;
        let version = number_of(item, "version").and_then(|version| u64::try_from(version).ok()).unwrap_or_default();
        Ok(Stored { value: self.decode_body(item).await?, version })
    }

    /// The records of these items, in their order.
    pub(crate) async fn decode_all<T: Record>(&self, items: &[Attributes]) -> Result<Vec<T>, StoreError> {
        let mut records = Vec::with_capacity(items.len());
        for item in items {
            records.push(self.decode(item).await?.value);
        }
        Ok(records)
    }

    /// As [`Store::decode_all`], for what the index lists: one row that is damaged must not hide the others.
    pub(crate) async fn decode_listed<T: Record>(&self, items: &[Attributes]) -> Result<Vec<Stored<T>>, StoreError> {
        let mut records = Vec::with_capacity(items.len());
        for item in items {
            match self.decode(item).await {
                Ok(record) => records.push(record),
                Err(error @ (StoreError::Corrupt { .. } | StoreError::NotFound(_))) => {
                    tracing::warn!(row = %Key::read(item), %error, "a row of the index cannot be read; it is not listed");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }

    /// The record under this key, if there is one.
    pub(crate) async fn load<T: Record>(&self, key: &Key) -> Result<Option<Stored<T>>, StoreError> {
        match self.get(key).await? {
            Some(item) => self.decode(&item).await.map(Some),
            None => Ok(None),
        }
    }

    /// The record under this key; `what` names it to people if it is missing.
    pub(crate) async fn require<T: Record>(&self, key: &Key, what: impl Into<String>) -> Result<Stored<T>, StoreError> {
        self.load(key).await?.ok_or_else(|| StoreError::NotFound(what.into()))
    }

    /// Reads, changes and writes a record, again if another writer was first. A change that leaves the record as it was
    /// writes nothing.
    pub(crate) async fn modify<T: Record>(
        &self,
        run: &RunId,
        key: &Key,
        what: &str,
        mut change: impl FnMut(&mut T) + Send,
    ) -> Result<T, StoreError> {
        let silent = |value: &mut T| {
            change(value);
            None
        };
        self.modify_telling(run, key, what, silent).await
    }

    /// As [`Store::modify`], with an event of the run, if `change` gives one, in the same transaction: however often the
    /// change is repeated, it is told once.
    pub(crate) async fn modify_telling<T: Record>(
        &self,
        run: &RunId,
        key: &Key,
        what: &str,
        mut change: impl FnMut(&mut T) -> Option<NewEvent> + Send,
    ) -> Result<T, StoreError> {
        let body = |value: &T| serde_json::to_string(value).map_err(|error| StoreError::corrupt(key, error));
        for _ in 0..ATTEMPTS {
            let Stored { mut value, version } = self.require::<T>(key, what).await?;
            let before = body(&value)?;
            let event = change(&mut value);
            if body(&value)? == before {
                return Ok(value);
            }
            let item = self.encode(run, key, &mut value, version + 1).await?;
            if self.put_and_tell(run, key, item, version, event).await? {
                return Ok(value);
            }
            self.step_aside().await;
        }
        Err(StoreError::Conflict(what.to_owned()))
    }

    /// Writes a changed row if it still has the version that was read, with an event of the run, if there is one. `false` if
    /// another writer was first.
    async fn put_and_tell(
        &self,
        run: &RunId,
        key: &Key,
        item: Attributes,
        version: u64,
        event: Option<NewEvent>,
    ) -> Result<bool, StoreError> {
        let Some(event) = event else {
            return Ok(self.put(item, Condition::version(version)).await?.is_written());
        };
        let told = self.next_event_item(run, event).await?;
        let writes = || {
            vec![Write::Put(item.clone(), Condition::version(version)), Write::Put(told.clone(), Condition::absent())]
        };
        Ok(self.transact(key, writes).await?.is_written())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_the_first_schema_refuses_an_item_of_the_second_by_name() {
        let item: Attributes = [("pk", text("RUN#r-1")), ("sk", text("SESSION#s")), ("schema", number(BODY_SCHEMA))]
            .map(|(name, value)| (name.to_owned(), value))
            .into();
        let said = check_schema(&item, 1).unwrap_err().to_string();
        assert!(said.starts_with("RUN#r-1/SESSION#s has schema 2, which a newer version"), "{said}");
        assert!(check_schema(&item, BODY_SCHEMA).is_ok());
    }
}
