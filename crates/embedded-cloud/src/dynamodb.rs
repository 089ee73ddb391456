//! DynamoDB and its streams by `dynoxide` on one SQLite file.
//!
//! Every commit is synced before it is answered: SQLite's `synchronous` is FULL unless told otherwise, and `dynoxide`
//! tells it otherwise only while bulk loading, which nothing here does. A test holds the build to that.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use dynoxide::DynoxideError;
use dynoxide::actions;
use dynoxide::actions::get_records::{GetRecordsRequest, GetRecordsResponse, Record};
use dynoxide::actions::get_shard_iterator::GetShardIteratorRequest;
use dynoxide::actions::list_streams::ListStreamsRequest;
use dynoxide::types::ConsumedCapacity;
use http::Response;
use rusqlite::{Connection, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;

use crate::REGION;
use crate::commits::Commits;
use crate::durable::damaged;
use crate::error::AwsError;
use crate::http::raw_json_response;

/// Sequence numbers travel with this added to what the file stores.
const SEQUENCE_NUMBER_OFFSET: u128 = 100_000_000_000_000_000_000;

/// The tables of one state folder; cheap to clone.
#[derive(Clone)]
pub(crate) struct DynamoDb {
    path: PathBuf,
    database: dynoxide::Database,
    /// Counts writes, so that whoever follows a stream wakes up.
    writes: watch::Sender<u64>,
    commits: Commits,
}

/// Where a table's stream stands: its name and the number of the last record read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamPosition {
    pub(crate) stream_arn: String,
    pub(crate) sequence_number: Option<String>,
}

impl DynamoDb {
    /// Opens or creates the file.
    pub(crate) fn open(path: &Path, commits: Commits) -> Result<Self, DynoxideError> {
        let database = dynoxide::Database::new(&path.to_string_lossy())?;
        Ok(DynamoDb { path: path.to_owned(), database, writes: watch::Sender::new(0), commits })
    }

    /// Changes whenever something was written.
    pub(crate) fn writes(&self) -> watch::Receiver<u64> {
        self.writes.subscribe()
    }

    /// Answers one operation of the DynamoDB API; blocks on the disk. If it is `counted`, the answer bears its [`Capacity`].
    pub(crate) fn handle(&self, operation: &str, body: &[u8], counted: bool) -> Result<Response<Bytes>, AwsError> {
        let mut units = counted.then_some(0.0);
        let answer = match is_read(operation) {
            true => self.tables(operation, body, &mut units),
            false => self.commits.around(|| kind_of(operation, body), || self.tables(operation, body, &mut units)),
        };
        let units = units.map(|units| answer.as_ref().err().map_or(units, units_of_refusal));
        if let Ok(Some(_)) = &answer
            && !is_read(operation)
        {
            self.writes.send_modify(|count| *count += 1);
        }
        let answer = answer.map_err(|error| self.named_if_damaged(enveloped(operation, error)));
        let mut response = respond("DynamoDB", operation, answer)?;
        if let Some(units) = units {
            let (written, read) = if is_read(operation) { (0.0, units) } else { (units, 0.0) };
            response.extensions_mut().insert(Capacity { written, read });
        }
        Ok(response)
    }

    /// Damage with the file and the cure: what the database says names neither.
    fn named_if_damaged(&self, error: DynoxideError) -> DynoxideError {
        match is_damage(&error) {
            true => DynoxideError::InternalServerError(damaged(&self.path, &error)),
            false => error,
        }
    }

    /// Answers one operation of the DynamoDB Streams API; blocks on the disk.
    pub(crate) fn handle_streams(&self, operation: &str, body: &[u8]) -> Result<Response<Bytes>, AwsError> {
        respond("DynamoDB Streams", operation, self.streams(operation, body))
    }

    /// Answers an operation on tables. Where units are counted, adds what it consumed.
    fn tables(&self, operation: &str, body: &[u8], units: &mut Option<f64>) -> Result<Option<String>, DynoxideError> {
        macro_rules! answer {
            (plain $($name:literal => $method:ident,)* items $($item:literal => $action:ident $request:ident,)*) => {
                match operation {
                    $($name => text(&self.database.$method(parse(body)?)?).map(Some),)*
                    $($item => {
                        let mut request: actions::$action::$request = parse(body)?;
                        let asked = request.return_consumed_capacity.clone().filter(|asked| asked != "NONE");
                        if units.is_some() && asked.is_none() {
                            request.return_consumed_capacity = Some("TOTAL".into());
                        }
                        let mut answer = self.database.$action(request)?;
                        if let Some(units) = units {
                            *units += answer.consumed_capacity.as_ref().map_or(0.0, Consumed::units);
                            // Nobody but the meter asked.
                            answer.consumed_capacity = answer.consumed_capacity.filter(|_| asked.is_some());
                        }
                        text(&answer).map(Some)
                    })*
                    _ => Ok(None),
                }
            };
        }
        answer! {
            plain
            "CreateTable" => create_table,
            "DeleteTable" => delete_table,
            "DescribeTable" => describe_table,
            "ListTables" => list_tables,
            "UpdateTable" => update_table,
            "UpdateTimeToLive" => update_time_to_live,
            "DescribeTimeToLive" => describe_time_to_live,
            "ExecuteStatement" => execute_statement,
            "ExecuteTransaction" => execute_transaction,
            "BatchExecuteStatement" => batch_execute_statement,
            "ListTagsOfResource" => list_tags_of_resource,
            items
            "PutItem" => put_item PutItemRequest,
            "GetItem" => get_item GetItemRequest,
            "DeleteItem" => delete_item DeleteItemRequest,
            "UpdateItem" => update_item UpdateItemRequest,
            "Query" => query QueryRequest,
            "Scan" => scan ScanRequest,
            "BatchGetItem" => batch_get_item BatchGetItemRequest,
            "BatchWriteItem" => batch_write_item BatchWriteItemRequest,
            "TransactWriteItems" => transact_write_items TransactWriteItemsRequest,
            "TransactGetItems" => transact_get_items TransactGetItemsRequest,
        }
    }

    fn streams(&self, operation: &str, body: &[u8]) -> Result<Option<String>, DynoxideError> {
        let answer = match operation {
            "ListStreams" => text(&self.database.list_streams(parse(body)?)?),
            "DescribeStream" => text(&self.database.describe_stream(parse(body)?)?),
            "GetShardIterator" => text(&self.database.get_shard_iterator(parse(body)?)?),
            "GetRecords" => text(&self.records(parse(body)?)?),
            _ => return Ok(None),
        };
        answer.map(Some)
    }

    fn records(&self, request: GetRecordsRequest) -> Result<GetRecordsResponse, DynoxideError> {
        let mut page = self.database.get_records(request)?;
        for record in &mut page.records {
            record.aws_region = REGION.into();
        }
        Ok(page)
    }

    /// The name of the table's stream, if it has one now.
    pub(crate) fn stream_arn(&self, table: &str) -> Result<Option<String>, DynoxideError> {
        let request = ListStreamsRequest { table_name: Some(table.to_owned()), ..Default::default() };
        let streams = self.database.list_streams(request)?.streams;
        Ok(streams.into_iter().next().map(|stream| in_region(stream.stream_arn)))
    }

    /// The records of the table's stream after a position, oldest first, at most 1,000.
    pub(crate) fn records_after(&self, table: &str, position: &StreamPosition) -> Result<Vec<Record>, DynoxideError> {
        let request = GetShardIteratorRequest {
            stream_arn: position.stream_arn.clone(),
            shard_id: dynoxide::streams::shard_id(table),
            shard_iterator_type: match position.sequence_number {
                Some(_) => "AFTER_SEQUENCE_NUMBER".into(),
                None => "TRIM_HORIZON".into(),
            },
            sequence_number: position.sequence_number.clone(),
        };
        let iterator = self.database.get_shard_iterator(request)?.shard_iterator.unwrap_or_default();
        let request = GetRecordsRequest { shard_iterator: iterator, ..Default::default() };
        Ok(self.records(request)?.records)
    }

    /// Takes what the log beside the file holds into the file, so that one file is all there is.
    pub(crate) fn checkpoint(&self) -> Result<(), rusqlite::Error> {
        let connection = Connection::open(&self.path)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }

    /// Forgets the table's stream records up to a sequence number, but for the last, which the next number follows.
    ///
    /// AWS forgets after a day. `dynoxide` never does, and reads every record of the table to number the next one, so
    /// that a long stream makes each write slower.
    pub(crate) fn trim_stream(&self, table: &str, sequence_number: &str) -> Result<usize, rusqlite::Error> {
        let public: u128 = sequence_number.parse().unwrap_or_default();
        let stored = i64::try_from(public.saturating_sub(SEQUENCE_NUMBER_OFFSET)).unwrap_or_default();
        let connection = Connection::open(&self.path)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        let delete = "DELETE FROM _stream_records WHERE table_name = ?1 AND CAST(sequence_number AS INTEGER) <= ?2
             AND id < (SELECT MAX(id) FROM _stream_records WHERE table_name = ?1)";
        self.commits.around(|| "trim".to_owned(), || connection.execute(delete, params![table, stored]))
    }
}

/// The operation, and what keys of the form `KIND#...` it names.
fn kind_of(operation: &str, body: &[u8]) -> String {
    fn collect(value: &Value, kinds: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => match fields.get("S").and_then(Value::as_str) {
                Some(text) => kinds.extend(text.split_once('#').map(|(kind, _)| kind.to_owned())),
                None => fields.values().for_each(|value| collect(value, kinds)),
            },
            Value::Array(values) => values.iter().for_each(|value| collect(value, kinds)),
            _ => {}
        }
    }
    let mut kinds = BTreeSet::new();
    collect(&serde_json::from_slice(body).unwrap_or_default(), &mut kinds);
    std::iter::once(operation.to_owned()).chain(kinds).collect::<Vec<_>>().join(" ")
}

/// Request units of one operation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Capacity {
    /// Write request units.
    pub(crate) written: f64,
    /// Read request units.
    pub(crate) read: f64,
}

/// What an answer says of the units that were consumed, of one table or of several.
trait Consumed {
    fn units(&self) -> f64;
}

impl Consumed for ConsumedCapacity {
    fn units(&self) -> f64 {
        self.capacity_units
    }
}

impl Consumed for Vec<ConsumedCapacity> {
    fn units(&self) -> f64 {
        self.iter().map(Consumed::units).sum()
    }
}

/// What AWS charges for a write that was refused: by the item that is there, which is not told, so the least.
fn units_of_refusal(error: &DynoxideError) -> f64 {
    match error {
        DynoxideError::ConditionalCheckFailedException(..) => 1.0,
        DynoxideError::TransactionCanceledException(_, reasons) => 2.0 * reasons.len() as f64,
        _ => 0.0,
    }
}

/// Operations that change nothing, so that no stream follower needs to look.
fn is_read(operation: &str) -> bool {
    ["Get", "BatchGet", "TransactGet", "Query", "Scan", "List", "Describe"]
        .iter()
        .any(|verb| operation.starts_with(verb))
}

fn text<T: Serialize>(answer: &T) -> Result<String, DynoxideError> {
    serde_json::to_string(answer).map_err(|error| DynoxideError::InternalServerError(error.to_string()))
}

fn respond(
    service: &str,
    operation: &str,
    answer: Result<Option<String>, DynoxideError>,
) -> Result<Response<Bytes>, AwsError> {
    match answer {
        Ok(Some(body)) => Ok(raw_json_response(200, in_region(body).into())),
        Ok(None) => Err(AwsError::unknown_operation(service, operation)),
        // Not an `AwsError`: a cancelled transaction carries its reasons, a failed condition its item.
        Err(error) => Ok(raw_json_response(error.status_code(), error.to_json().into())),
    }
}

/// `dynoxide` names its region in ARNs; callers know one region only.
fn in_region(text: String) -> String {
    let foreign = format!("arn:aws:dynamodb:{}:", dynoxide::streams::LOCAL_REGION);
    match text.contains(&foreign) {
        true => text.replace(&foreign, &format!("arn:aws:dynamodb:{REGION}:")),
        false => text,
    }
}

/// Reads a request, telling AWS's two kinds of malformed apart by the prefixes that `dynoxide` marks them with.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, DynoxideError> {
    serde_json::from_slice(body).map_err(|error| {
        let message = error.to_string();
        let plain = without_position(&message);
        if let Some((prefix, rest)) = plain.split_once(':') {
            match prefix {
                "VALIDATION" | "VALIDATION_AS_READ" => return DynoxideError::ValidationException(rest.to_owned()),
                "VALIDATION_REQUEST" => return DynoxideError::EnvelopedValidation(rest.to_owned()),
                "SERIALIZATION" | "SERIALIZATION_AS_READ" => {
                    return DynoxideError::SerializationException(rest.to_owned());
                }
                _ => {}
            }
        }
        let semantic = ["missing field", "unknown variant", "invalid type: null", "AttributeValue"];
        match semantic.iter().any(|part| plain.contains(part)) {
            true => DynoxideError::ValidationException(plain.to_owned()),
            false => DynoxideError::SerializationException(plain.to_owned()),
        }
    })
}

/// The message without ` at line N column N`, which means nothing to whoever built the request by an SDK.
fn without_position(message: &str) -> &str {
    match message.rsplit_once(" at line ") {
        Some((start, place)) if place.contains(" column ") => start,
        _ => message,
    }
}

/// Whether the file holds what nobody wrote there. The database passes SQLite's words on and no code.
pub(crate) fn is_damage(error: &DynoxideError) -> bool {
    let said = error.to_string();
    let known = [
        "file is not a database",
        "not a valid SQLite database",
        "database disk image is malformed",
        // A row in whose place something else stands.
        "Conversion error from type",
        "Invalid column type",
    ];
    known.iter().any(|known| said.contains(known))
}

/// DynamoDB counts the validation errors of single-item writes in front of their text.
fn enveloped(operation: &str, error: DynoxideError) -> DynoxideError {
    match error {
        DynoxideError::EnvelopedValidation(message) => {
            let counted = matches!(operation, "PutItem" | "UpdateItem" | "DeleteItem");
            let prefix = if counted { "1 validation error detected: " } else { "" };
            DynoxideError::ValidationException(format!("{prefix}{message}"))
        }
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_syncs_every_commit_unless_told_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tables.sqlite");
        let _database = DynamoDb::open(&path, Commits::default()).unwrap();
        // The pragma belongs to a connection and has the build's default: what dynoxide's connection runs with.
        let connection = Connection::open(&path).unwrap();
        let full = 2;
        assert_eq!(connection.query_row("PRAGMA synchronous", [], |row| row.get::<_, i64>(0)).unwrap(), full);
        assert_eq!(connection.query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0)).unwrap(), "wal");
    }

    #[test]
    fn a_checkpoint_leaves_nothing_in_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tables.sqlite");
        let database = DynamoDb::open(&path, Commits::default()).unwrap();
        let log = || std::fs::metadata(folder.path().join("tables.sqlite-wal")).unwrap().len();
        let table = br#"{"TableName": "t", "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}]}"#;
        database.handle("CreateTable", table, false).unwrap();
        assert!(log() > 0);
        database.checkpoint().unwrap();
        assert_eq!(log(), 0);
    }

    #[test]
    fn malformed_requests_are_told_apart_without_marks() {
        let error = |text: &str| parse::<dynoxide::actions::put_item::PutItemRequest>(text.as_bytes()).err().unwrap();
        assert!(matches!(error("{"), DynoxideError::SerializationException(_)));
        let empty = error(r#"{"TableName": "t", "Item": {"pk": {}}}"#);
        assert!(empty.error_type().ends_with("ValidationException"), "{empty:?}");
        let shown = empty.to_string();
        assert!(!shown.contains("VALIDATION") && !shown.contains("column"), "{shown}");
    }
}
