//! The stream pump: a table's changes, filtered, to a function, at least once and in order.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use dynoxide::DynoxideError;
use dynoxide::actions::get_records::Record;
use dynoxide::types::AttributeValue;
use serde_json::{Value, json};

use crate::durable::DurableWriter;
use crate::dynamodb::{DynamoDb, StreamPosition};
use crate::lambda::Invoker;
use crate::registry::InvokeError;

/// Records in one invocation, at most.
const BATCH: usize = 100;
/// Milliseconds before the first retry; doubled for each further one.
const FIRST_BACKOFF_MS: i64 = 1_000;
/// Milliseconds between retries, at most.
const LONGEST_BACKOFF_MS: i64 = 60_000;
/// Records passed before they are trimmed from the table's file.
const TRIM_AFTER: usize = 64;

/// Which changes of a table go to which function, as an event source mapping with a filter says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRule {
    /// Name of a table with a stream.
    pub table: String,
    /// Name of the function that gets `{"Records": [...]}`.
    pub function: String,
    /// `INSERT`, `MODIFY`, `REMOVE`: which of them to pass on.
    pub event_names: Vec<String>,
    /// Name of a string attribute of the key, such as `pk`.
    pub key_attribute: String,
    /// How its value must begin, such as `OUTBOX#`.
    pub key_prefix: String,
}

impl StreamRule {
    fn passes(&self, record: &Record) -> bool {
        let key = record.dynamodb.keys.get(&self.key_attribute);
        let fits = matches!(key, Some(AttributeValue::S(value)) if value.starts_with(&self.key_prefix));
        fits && self.event_names.contains(&record.event_name)
    }
}

/// How far each rule of a table has come, so that only what all have passed is trimmed.
pub(crate) struct Progress(Mutex<HashMap<(String, String), Option<String>>>);

impl Progress {
    pub(crate) fn of(rules: &[StreamRule]) -> Self {
        let key = |rule: &StreamRule| ((rule.table.clone(), rule.function.clone()), None);
        Progress(Mutex::new(rules.iter().map(key).collect()))
    }

    /// Notes how far a rule has come; says how far every rule of its table has.
    fn note(&self, rule: &StreamRule, sequence_number: &str) -> Option<String> {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        marks.insert((rule.table.clone(), rule.function.clone()), Some(sequence_number.to_owned()));
        // Numbers have one width, so the order of text is theirs; `None`, nowhere yet, comes first.
        marks.iter().filter(|((table, _), _)| *table == rule.table).map(|(_, mark)| mark.clone()).min().flatten()
    }
}

/// What every pump shares.
#[derive(Clone)]
pub(crate) struct PumpContext {
    pub(crate) dynamodb: DynamoDb,
    pub(crate) invoker: Invoker,
    pub(crate) writer: Arc<DurableWriter>,
    pub(crate) folder: PathBuf,
    pub(crate) progress: Arc<Progress>,
}

/// Carries one rule out.
pub(crate) struct Pump {
    rule: StreamRule,
    context: PumpContext,
    position: Option<StreamPosition>,
    passed: usize,
    deliveries: u64,
}

/// Why a delivery stopped; the records after the position are read again.
#[derive(Debug, thiserror::Error)]
enum PumpError {
    #[error("the stream could not be read")]
    Stream(#[from] DynoxideError),
    #[error("the position could not be written")]
    Position(#[from] io::Error),
    #[error("records passed could not be trimmed")]
    Trim(#[from] rusqlite::Error),
    #[error("the function failed")]
    Function(#[from] InvokeError),
    #[error("the function reported that a record failed")]
    Reported,
    #[error("a blocking step ended early")]
    Ended(#[from] tokio::task::JoinError),
}

impl Pump {
    /// Reads the position where an earlier process left it.
    pub(crate) fn open(rule: StreamRule, context: PumpContext) -> io::Result<Self> {
        let mut pump = Pump { rule, context, position: None, passed: 0, deliveries: 0 };
        pump.position = match std::fs::read(pump.position_path()) {
            Ok(bytes) => Some(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(pump)
    }

    /// Pumps until dropped. Wakes on writes, and on the clock after a failure; otherwise nothing runs.
    pub(crate) async fn run(mut self) {
        let mut writes = self.context.dynamodb.writes();
        let mut failures = 0;
        loop {
            writes.mark_unchanged();
            let before = self.position.clone();
            match self.drain().await {
                Ok(()) => {
                    failures = 0;
                    if writes.changed().await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    failures = if self.position == before { failures + 1 } else { 1 };
                    let wait_ms = backoff_ms(failures);
                    let StreamRule { table, function, .. } = &self.rule;
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(table, function, %error, cause, failures, wait_ms, "stream delivery will be repeated");
                    self.context.invoker.clock.sleep_for(wait_ms).await;
                }
            }
        }
    }

    /// Delivers everything that is in the stream now.
    async fn drain(&mut self) -> Result<(), PumpError> {
        loop {
            let (position, page) = self.next_page().await?;
            let Some(position) = position else { return Ok(()) };
            self.position = Some(position);
            let Some(end) = page.last().map(sequence_number) else { return Ok(()) };
            let matching: Vec<&Record> = page.iter().filter(|record| self.rule.passes(record)).collect();
            for batch in matching.chunks(BATCH) {
                self.deliver(batch).await?;
            }
            // What did not match is passed in memory only: after a crash it is read, and not matched, again.
            self.move_to(&end);
            self.passed += page.len();
            self.trim(&end).await?;
        }
    }

    /// The position in the stream as it exists now, and the records after it.
    async fn next_page(&self) -> Result<(Option<StreamPosition>, Vec<Record>), PumpError> {
        let (dynamodb, table, position) =
            (self.context.dynamodb.clone(), self.rule.table.clone(), self.position.clone());
        let read = tokio::task::spawn_blocking(move || {
            let Some(stream_arn) = dynamodb.stream_arn(&table)? else { return Ok((None, Vec::new())) };
            // A table that was deleted and created again has a new stream, which is read from its beginning.
            let position = position
                .filter(|position| position.stream_arn == stream_arn)
                .unwrap_or(StreamPosition { stream_arn, sequence_number: None });
            let page = dynamodb.records_after(&table, &position)?;
            Ok::<_, DynoxideError>((Some(position), page))
        });
        Ok(read.await??)
    }

    /// Hands one batch over and moves the position durably past what succeeded.
    async fn deliver(&mut self, batch: &[&Record]) -> Result<(), PumpError> {
        let failed = match self.invoke(batch).await {
            Ok(answer) => first_failure(&answer, batch),
            Err(error) => return Err(error),
        };
        let succeeded = &batch[..failed.unwrap_or(batch.len())];
        if let Some(last) = succeeded.last() {
            self.move_to(&sequence_number(last));
            self.save_position().await?;
        }
        match failed {
            Some(_) => Err(PumpError::Reported),
            None => Ok(()),
        }
    }

    async fn invoke(&mut self, batch: &[&Record]) -> Result<Value, PumpError> {
        self.deliveries += 1;
        let StreamRule { table, function, .. } = &self.rule;
        let request_id = format!("stream-{table}-{function}-{}", self.deliveries);
        let stream_arn = self.position.as_ref().map(|position| position.stream_arn.as_str());
        let event = json!({ "Records": batch.iter().map(|record| event_of(record, stream_arn)).collect::<Vec<_>>() });
        Ok(self.context.invoker.invoke(function, event, request_id).await?)
    }

    fn move_to(&mut self, sequence_number: &str) {
        if let Some(position) = &mut self.position {
            position.sequence_number = Some(sequence_number.to_owned());
        }
    }

    async fn save_position(&self) -> Result<(), PumpError> {
        let bytes = serde_json::to_vec(&self.position).map_err(io::Error::from)?;
        let (writer, path) = (Arc::clone(&self.context.writer), self.position_path());
        Ok(tokio::task::spawn_blocking(move || writer.replace(&path, &[&bytes])).await??)
    }

    async fn trim(&mut self, end: &str) -> Result<(), PumpError> {
        let passed_by_all = self.context.progress.note(&self.rule, end);
        let Some(sequence_number) = passed_by_all.filter(|_| self.passed >= TRIM_AFTER) else { return Ok(()) };
        let (dynamodb, table) = (self.context.dynamodb.clone(), self.rule.table.clone());
        tokio::task::spawn_blocking(move || dynamodb.trim_stream(&table, &sequence_number)).await??;
        self.passed = 0;
        Ok(())
    }

    fn position_path(&self) -> PathBuf {
        Self::position_in(&self.context.folder, &self.rule)
    }

    /// The file of a rule's position.
    pub(crate) fn position_in(folder: &Path, rule: &StreamRule) -> PathBuf {
        folder.join(format!("{}.{}.json", rule.table, rule.function))
    }
}

fn sequence_number(record: &Record) -> String {
    record.dynamodb.sequence_number.clone()
}

fn event_of(record: &Record, stream_arn: Option<&str>) -> Value {
    let mut event = json!(record);
    event["eventSourceARN"] = json!(stream_arn);
    event
}

/// Where in the batch the first record stands that the function reports in `batchItemFailures`.
///
/// A report that names no record of the batch fails the whole batch, as in AWS.
fn first_failure(answer: &Value, batch: &[&Record]) -> Option<usize> {
    let failures = answer.get("batchItemFailures")?.as_array()?;
    let place = |failure: &Value| {
        let identifier = failure.get("itemIdentifier").and_then(Value::as_str);
        batch.iter().position(|record| Some(record.dynamodb.sequence_number.as_str()) == identifier).unwrap_or(0)
    };
    failures.iter().map(place).min()
}

fn backoff_ms(failures: u32) -> i64 {
    let doublings = failures.saturating_sub(1).min(6);
    (FIRST_BACKOFF_MS << doublings).min(LONGEST_BACKOFF_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: &str) -> Record {
        let mut record = Record::default();
        record.dynamodb.sequence_number = number.into();
        record
    }

    #[test]
    fn the_first_reported_failure_decides() {
        let (a, b, c) = (record("1"), record("2"), record("3"));
        let batch = [&a, &b, &c];
        let report = |ids: &[&str]| {
            let failures: Vec<_> = ids.iter().map(|id| json!({ "itemIdentifier": id })).collect();
            first_failure(&json!({ "batchItemFailures": failures }), &batch)
        };
        assert_eq!(report(&["3", "2"]), Some(1));
        assert_eq!(report(&["9"]), Some(0));
        assert_eq!(report(&[]), None);
        assert_eq!(first_failure(&Value::Null, &batch), None);
    }

    #[test]
    fn only_what_every_rule_of_the_table_passed_is_trimmed() {
        let rule = |table: &str, function: &str| StreamRule {
            table: table.into(),
            function: function.into(),
            event_names: vec!["INSERT".into()],
            key_attribute: "pk".into(),
            key_prefix: String::new(),
        };
        let (a, b, other) = (rule("t", "a"), rule("t", "b"), rule("u", "a"));
        let progress = Progress::of(&[a.clone(), b.clone(), other]);
        assert_eq!(progress.note(&a, "7"), None);
        assert_eq!(progress.note(&b, "5"), Some("5".into()));
        assert_eq!(progress.note(&b, "9"), Some("7".into()));
    }

    #[test]
    fn backoff_doubles_to_a_minute() {
        assert_eq!([1, 2, 3, 7, 99].map(backoff_ms), [1_000, 2_000, 4_000, 60_000, 60_000]);
    }
}
