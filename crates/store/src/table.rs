//! Rows of the one table: keys, conditions, reads and writes.

use std::collections::{HashMap, HashSet};
use std::fmt;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, Delete, KeysAndAttributes, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use futures::future::BoxFuture;
use run_model::{GateId, JobId, RunId, SessionId, Sha256, TaskId};

use crate::listing::Listing;
use crate::{Store, StoreError};

/// The index of runs by time, pending gates by deadline and jobs by age.
pub(crate) const INDEX: &str = "gsi1";
/// The attribute by which DynamoDB removes what has expired, in seconds since the epoch.
pub(crate) const EXPIRES_AT: &str = "expires_at";
/// How often a write that others were faster than is tried again.
pub(crate) const ATTEMPTS: u32 = 64;
/// How many items DynamoDB reads by one request.
const LARGEST_BATCH: usize = 100;
/// Names one write, so that a retried request recognises its own first try.
const WRITE_ID: &str = "write_id";

/// What a crew writes of its work lies in a partition of its own, which ends like this: an agent's rights end there, so that
/// it cannot write what others decide by.
pub(crate) const WORK: &str = "#work";

/// How the sort key of a runner's row begins.
pub(crate) const RUNNER_PREFIX: &str = "RUNNER#";

/// What is asked of AWS. It is boxed, so that its future is compiled here once, and not again in every function that asks.
pub(crate) type Asked<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// The attributes of an item.
pub(crate) type Attributes = HashMap<String, AttributeValue>;

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn number(value: impl fmt::Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A number as text that sorts like the number.
pub(crate) fn sortable(value: i64) -> String {
    format!("{value:020}")
}

/// Where an item lies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) pk: String,
    pub(crate) sk: String,
}

impl Key {
    fn of_run(run: &RunId, sk: impl Into<String>) -> Self {
        Self { pk: format!("RUN#{run}"), sk: sk.into() }
    }

    pub(crate) fn run(run: &RunId) -> Self {
        Self::of_run(run, "RUN")
    }

    /// A row that agents write too.
    fn of_work(run: &RunId, sk: impl Into<String>) -> Self {
        Self { pk: format!("RUN#{run}{WORK}"), sk: sk.into() }
    }

    pub(crate) fn budget(run: &RunId) -> Self {
        Self::of_work(run, "BUDGET")
    }

    pub(crate) fn task(run: &RunId, task: &TaskId) -> Self {
        Self::of_run(run, format!("TASK#{task}"))
    }

    pub(crate) fn event(run: &RunId, sequence: u64) -> Self {
        Self::of_work(run, format!("EVENT#{sequence:020}"))
    }

    pub(crate) fn session(run: &RunId, session: &SessionId) -> Self {
        Self::of_work(run, format!("SESSION#{session}"))
    }

    pub(crate) fn usage(run: &RunId, call_id: &str) -> Self {
        Self::of_work(run, format!("USAGE#{call_id}"))
    }

    pub(crate) fn gate(gate: &GateId) -> Self {
        Self { pk: format!("GATE#{gate}"), sk: "GATE".into() }
    }

    pub(crate) fn gate_of_run(run: &RunId, gate: &str) -> Self {
        Self { pk: format!("GATES#{run}"), sk: format!("GATE#{gate}") }
    }

    pub(crate) fn job(job: &JobId) -> Self {
        Self { pk: format!("JOB#{job}"), sk: "JOB".into() }
    }

    pub(crate) fn bearer(hash: &Sha256) -> Self {
        Self { pk: format!("BEARER#{hash}"), sk: "GRANT".into() }
    }

    pub(crate) fn principal(identity: &str) -> Self {
        Self { pk: format!("PRINCIPAL#{identity}"), sk: "GRANT".into() }
    }

    pub(crate) fn start(execution: &str) -> Self {
        Self { pk: format!("START#{execution}"), sk: "START".into() }
    }

    pub(crate) fn runner(name: &str) -> Self {
        Self { pk: "RUNNERS".into(), sk: format!("{RUNNER_PREFIX}{name}") }
    }

    pub(crate) fn outbox(id: &str) -> Self {
        Self { pk: format!("OUTBOX#{id}"), sk: "OUTBOX".into() }
    }

    pub(crate) fn attributes(&self) -> Attributes {
        HashMap::from([("pk".into(), text(&self.pk)), ("sk".into(), text(&self.sk))])
    }

    /// The key of an item that was read.
    pub(crate) fn read(attributes: &Attributes) -> Self {
        let part = |name| attributes.get(name).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default();
        Self { pk: part("pk"), sk: part("sk") }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pk, self.sk)
    }
}

/// Items of one partition whose sort keys lie between two texts, both included.
pub(crate) struct Range {
    /// The partition of the index that it is, if it is one.
    pub(crate) listing: Option<&'static Listing>,
    pub(crate) pk: String,
    pub(crate) low: String,
    pub(crate) high: String,
    pub(crate) newest_first: bool,
}

impl Range {
    /// Items whose sort key begins as this key's does.
    pub(crate) fn beginning(key: Key) -> Self {
        let high = format!("{}\u{10FFFF}", key.sk);
        Self { listing: None, pk: key.pk, low: key.sk, high, newest_first: false }
    }

    /// All items under this partition of the index.
    pub(crate) fn of_index(listing: &'static Listing) -> Self {
        let (low, high) = ("\0".into(), "\u{10FFFF}".into());
        Self { listing: Some(listing), pk: listing.partition.into(), low, high, newest_first: false }
    }

    /// The same, last sort key first.
    pub(crate) fn newest_first(self) -> Self {
        Self { newest_first: true, ..self }
    }
}

/// What has to be true for a write to happen.
pub(crate) struct Condition {
    expression: String,
    names: HashMap<String, String>,
    values: Attributes,
}

impl Condition {
    /// There is no such item yet.
    pub(crate) fn absent() -> Self {
        let names = HashMap::from([("#c".into(), "pk".into())]);
        Self { expression: "attribute_not_exists(#c)".into(), names, values: HashMap::new() }
    }

    /// The item still is as it was read.
    pub(crate) fn version(version: u64) -> Self {
        Self::equal("version", number(version))
    }

    /// The attribute has this value.
    pub(crate) fn equal(name: &str, value: AttributeValue) -> Self {
        Self {
            expression: "#c = :c".into(),
            names: HashMap::from([("#c".into(), name.into())]),
            values: HashMap::from([(":c".into(), value)]),
        }
    }
}

/// Amounts to add to numbers of an item.
pub(crate) struct Addition {
    pub(crate) key: Key,
    pub(crate) amounts: Vec<(&'static str, i64)>,
    pub(crate) guard: Guard,
}

/// What an addition depends on, besides that its row is there.
#[derive(Clone, Copy)]
pub(crate) enum Guard {
    Nothing,
    /// Each number stays at or above zero.
    StayPositive,
    /// The number of this name is still what was read.
    Unchanged(&'static str, i64),
}

impl Addition {
    fn build(self, table: &str) -> Result<Update, aws_sdk_dynamodb::error::BuildError> {
        let mut update = Update::builder().table_name(table).set_key(Some(self.key.attributes()));
        let (mut adds, mut conditions) = (Vec::new(), vec!["attribute_exists(pk)".to_owned()]);
        for (index, (name, amount)) in self.amounts.into_iter().enumerate() {
            update = update.expression_attribute_names(format!("#a{index}"), name);
            update = update.expression_attribute_values(format!(":a{index}"), number(amount));
            adds.push(format!("#a{index} :a{index}"));
            if matches!(self.guard, Guard::StayPositive) {
                update = update.expression_attribute_values(format!(":m{index}"), number(-amount));
                conditions.push(format!("#a{index} >= :m{index}"));
            }
        }
        if let Guard::Unchanged(name, value) = self.guard {
            update = update.expression_attribute_names("#was", name);
            update = update.expression_attribute_values(":was", number(value));
            conditions.push("#was = :was".to_owned());
        }
        let expression = format!("ADD {}", adds.join(", "));
        update.update_expression(expression).condition_expression(conditions.join(" AND ")).build()
    }
}

/// One write of a transaction.
pub(crate) enum Write {
    Put(Attributes, Condition),
    Add(Addition),
    Delete(Key),
}

impl Write {
    fn key(&self) -> Key {
        match self {
            Self::Put(attributes, _) => Key::read(attributes),
            Self::Add(addition) => addition.key.clone(),
            Self::Delete(key) => key.clone(),
        }
    }

    fn build(self, table: &str) -> Result<TransactWriteItem, aws_sdk_dynamodb::error::BuildError> {
        let item = TransactWriteItem::builder();
        Ok(match self {
            Self::Put(attributes, condition) => {
                let put = Put::builder().table_name(table).set_item(Some(attributes));
                let put = put
                    .condition_expression(condition.expression)
                    .set_expression_attribute_names(Some(condition.names))
                    .set_expression_attribute_values(Some(condition.values).filter(|values| !values.is_empty()));
                item.put(put.build()?).build()
            }
            Self::Add(addition) => item.update(addition.build(table)?).build(),
            Self::Delete(key) => {
                item.delete(Delete::builder().table_name(table).set_key(Some(key.attributes())).build()?).build()
            }
        })
    }
}

/// Whether a conditional write happened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It did, all of it.
    Written,
    /// It did not: the conditions of the writes with these numbers did not hold.
    Refused(Vec<usize>),
}

impl Outcome {
    pub(crate) fn is_written(&self) -> bool {
        *self == Self::Written
    }

    /// Whether the condition of the write with this number did not hold.
    pub(crate) fn refused(&self, index: usize) -> bool {
        matches!(self, Self::Refused(indices) if indices.contains(&index))
    }
}

impl Store {
    /// Reads one item as it is now.
    pub(crate) fn get<'a>(&'a self, key: &'a Key) -> Asked<'a, Option<Attributes>> {
        Box::pin(async move {
            self.check_row(key)?;
            let request = self.dynamodb().get_item().table_name(&self.0.names.table).set_key(Some(key.attributes()));
            let output = request.consistent_read(true).send().await;
            Ok(output.map_err(|error| StoreError::unavailable("read the table", error))?.item)
        })
    }

    /// Reads up to `limit` items. The index may lag behind the table by a moment, and holds keys alone, so that a change of
    /// a body is not written twice: each item is read as it is now, and one that has left the partition is left out.
    pub(crate) fn query(&self, range: Range, limit: usize) -> Asked<'_, Vec<Attributes>> {
        Box::pin(async move {
            let partition = range.listing.map(|listing| text(listing.partition));
            let found = self.query_once(range, limit).await?;
            let Some(partition) = partition else { return Ok(found) };
            let mut whole = self.get_all(found.iter().map(Key::read).collect()).await?;
            whole.retain(|item| item.get("gsi1pk") == Some(&partition));
            Ok(whole)
        })
    }

    /// Reads these items as they are now, in this order, many by one request. What is gone is left out, and so is a key that
    /// comes again: a row that moved while the index was read is listed twice.
    async fn get_all(&self, keys: Vec<Key>) -> Result<Vec<Attributes>, StoreError> {
        let mut seen = HashSet::new();
        let keys: Vec<Key> = keys.into_iter().filter(|key| seen.insert(key.clone())).collect();
        let mut found = HashMap::with_capacity(keys.len());
        for batch in keys.chunks(LARGEST_BATCH) {
            for item in self.get_batch(batch).await? {
                found.insert(Key::read(&item), item);
            }
        }
        Ok(keys.iter().filter_map(|key| found.remove(key)).collect())
    }

    /// Reads up to [`LARGEST_BATCH`] items, in no order. What DynamoDB leaves over, because the answer would be too large or
    /// comes too fast, is asked for again.
    async fn get_batch(&self, keys: &[Key]) -> Result<Vec<Attributes>, StoreError> {
        keys.iter().try_for_each(|key| self.check_row(key))?;
        let table = &self.0.names.table;
        let wanted = KeysAndAttributes::builder().set_keys(Some(keys.iter().map(Key::attributes).collect()));
        let wanted = wanted.consistent_read(true).build();
        let wanted = wanted.map_err(|error| StoreError::unavailable("describe what to read", error))?;
        let (mut left, mut found) = (HashMap::from([(table.clone(), wanted)]), Vec::with_capacity(keys.len()));
        for attempt in 1..=ATTEMPTS {
            let sent = self.dynamodb().batch_get_item().set_request_items(Some(left)).send().await;
            let page = sent.map_err(|error| StoreError::unavailable("read the table", error))?;
            let came = page.responses.and_then(|mut tables| tables.remove(table)).unwrap_or_default();
            left = page.unprocessed_keys.unwrap_or_default();
            if left.is_empty() {
                found.extend(came);
                return Ok(found);
            }
            if came.is_empty() {
                self.wait_a_moment(attempt).await;
            }
            found.extend(came);
        }
        Err(StoreError::unavailable("read the table", "DynamoDB leaves keys unread again and again"))
    }

    async fn query_once(&self, range: Range, limit: usize) -> Result<Vec<Attributes>, StoreError> {
        let in_index = range.listing.is_some();
        self.check_row(&Key { pk: range.pk.clone(), sk: range.low.clone() })?;
        let (pk, sk) = if in_index { ("gsi1pk", "gsi1sk") } else { ("pk", "sk") };
        let request = self.dynamodb().query().table_name(&self.0.names.table);
        let mut items = request
            .set_index_name(in_index.then(|| INDEX.into()))
            .consistent_read(!in_index)
            .key_condition_expression("#pk = :pk AND #sk BETWEEN :low AND :high")
            .expression_attribute_names("#pk", pk)
            .expression_attribute_names("#sk", sk)
            .expression_attribute_values(":pk", text(range.pk))
            .expression_attribute_values(":low", text(range.low))
            .expression_attribute_values(":high", text(range.high))
            .scan_index_forward(!range.newest_first)
            .set_limit(i32::try_from(limit).ok())
            .into_paginator()
            .items()
            .send();
        let mut found = Vec::new();
        while found.len() < limit {
            let Some(item) = items.next().await else { break };
            let item = item.map_err(|error| StoreError::unavailable("query the table", error))?;
            if range.listing.is_none_or(|listing| listing.holds(&item)) {
                found.push(item);
            }
        }
        Ok(found)
    }

    /// Writes one whole item if the condition holds.
    pub(crate) fn put(&self, mut item: Attributes, condition: Condition) -> Asked<'_, Outcome> {
        Box::pin(async move {
            self.check_row(&Key::read(&item))?;
            let write_id = text(self.0.randomness.hex_id(8));
            item.insert(WRITE_ID.into(), write_id.clone());
            let request = self.dynamodb().put_item().table_name(&self.0.names.table).set_item(Some(item));
            let sent = request
                .condition_expression(condition.expression)
                .set_expression_attribute_names(Some(condition.names))
                .set_expression_attribute_values(Some(condition.values).filter(|values| !values.is_empty()))
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .send()
                .await;
            let error = match sent {
                Ok(_) => return Ok(Outcome::Written),
                Err(error) => error,
            };
            match error.as_service_error() {
                // The SDK tried twice because the first answer was lost; the first try is what stands in the way.
                Some(PutItemError::ConditionalCheckFailedException(failure))
                    if failure.item().and_then(|item| item.get(WRITE_ID)) == Some(&write_id) =>
                {
                    Ok(Outcome::Written)
                }
                Some(PutItemError::ConditionalCheckFailedException(_)) => Ok(Outcome::Refused(vec![0])),
                _ => Err(StoreError::unavailable("write to the table", error)),
            }
        })
    }

    /// Does all the writes, or none if one condition does not hold. A collision with another transaction is tried again.
    pub(crate) async fn transact(
        &self,
        about: &Key,
        mut writes: impl FnMut() -> Vec<Write> + Send,
    ) -> Result<Outcome, StoreError> {
        for attempt in 1..=ATTEMPTS {
            let writes = writes();
            writes.iter().try_for_each(|write| self.check_row(&write.key()))?;
            let built: Result<Vec<_>, _> = writes.into_iter().map(|write| write.build(&self.0.names.table)).collect();
            let built = built.map_err(|error| StoreError::unavailable("describe a transaction", error))?;
            match self.transact_once(built).await? {
                Some(outcome) => return Ok(outcome),
                None => self.wait_a_moment(attempt).await,
            }
        }
        Err(StoreError::Conflict(about.to_string()))
    }

    /// `None` if another transaction was in the way.
    fn transact_once(&self, writes: Vec<TransactWriteItem>) -> Asked<'_, Option<Outcome>> {
        Box::pin(async move {
            let sent = self.dynamodb().transact_write_items().set_transact_items(Some(writes)).send().await;
            let Err(error) = sent else { return Ok(Some(Outcome::Written)) };
            match Collision::of(&error) {
                Some(Collision::Refused(indices)) => Ok(Some(Outcome::Refused(indices))),
                Some(Collision::Busy) => Ok(None),
                None => Err(StoreError::unavailable("write to the table", error)),
            }
        })
    }

    /// Waits a few milliseconds, longer the more attempts were in vain, so that colliding transactions drift apart.
    async fn wait_a_moment(&self, attempt: u32) {
        let longest_ms = f64::from(attempt.min(10));
        let wait_ms = (self.0.randomness.unit() * longest_ms).ceil() as i64;
        self.0.clock.sleep_for(wait_ms).await;
    }

    /// Lets others go first, by chance for longer, before a write that came second is tried again.
    pub(crate) async fn step_aside(&self) {
        for _ in 0..(self.0.randomness.unit() * 4.0) as u32 {
            tokio::task::yield_now().await;
        }
    }
}

enum Collision {
    /// These conditions did not hold.
    Refused(Vec<usize>),
    /// Another transaction touched the same items at the same moment.
    Busy,
}

impl Collision {
    fn of(error: &SdkError<TransactWriteItemsError>) -> Option<Self> {
        let service_error = error.as_service_error()?;
        if service_error.code() == Some("TransactionInProgressException") {
            return Some(Self::Busy);
        }
        let TransactWriteItemsError::TransactionCanceledException(cancelled) = service_error else { return None };
        let reasons = cancelled.cancellation_reasons();
        let with = |code| (0..).zip(reasons).filter(move |(_, reason)| reason.code() == Some(code)).map(|(at, _)| at);
        let refused: Vec<usize> = with("ConditionalCheckFailed").collect();
        if !refused.is_empty() {
            return Some(Self::Refused(refused));
        }
        with("TransactionConflict").next().map(|_| Self::Busy)
    }
}
