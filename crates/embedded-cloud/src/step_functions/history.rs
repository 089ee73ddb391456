//! `GetExecutionHistory`.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use states_language::HistoryEvent;

use super::EngineError;
use super::api::{bad_page, page_limit, request, seconds};
use super::driver::Engine;
use super::records;
use crate::AwsError;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GetHistory {
    execution_arn: String,
    max_results: Option<i64>,
    #[serde(default)]
    reverse_order: bool,
    next_token: Option<String>,
    #[serde(default = "yes")]
    include_execution_data: bool,
}

fn yes() -> bool {
    true
}

impl Engine {
    pub(super) fn execution_history(&self, body: Value) -> Result<Value, AwsError> {
        let asked: GetHistory = request(body)?;
        let id = self.find(&asked.execution_arn)?.id;
        let limit = page_limit(asked.max_results)?;
        let from = match &asked.next_token {
            Some(token) => token.parse().map_err(|_| bad_page())?,
            None if asked.reverse_order => u64::MAX,
            None => 1,
        };
        let mut events = self.events(id, from, asked.reverse_order, limit + 1)?;
        let next = events.get(limit).map(|event| event.id.to_string());
        events.truncate(limit);
        let include = asked.include_execution_data;
        let mut answer = json!({ "events": events.iter().map(|event| wire(event, include)).collect::<Vec<_>>() });
        if let Some(next) = next {
            answer["nextToken"] = json!(next);
        }
        Ok(answer)
    }

    /// At most `limit` events from the one with id `from` on, in the asked order.
    fn events(&self, id: i64, from: u64, reverse: bool, limit: usize) -> Result<Vec<HistoryEvent>, AwsError> {
        let mut events = Vec::new();
        let mut unreadable = None;
        let wanted = |event: &HistoryEvent| if reverse { event.id <= from } else { event.id >= from };
        let read = self.log.read(|connection| {
            records::history(connection, id, from, reverse, |row| {
                match serde_json::from_slice::<Vec<HistoryEvent>>(row) {
                    Ok(mut row) => {
                        if reverse {
                            row.reverse();
                        }
                        events.extend(row.into_iter().filter(wanted));
                    }
                    Err(error) => unreadable = Some(error),
                }
                unreadable.is_some() || events.len() >= limit
            })
        });
        read.map_err(EngineError::from)?;
        if let Some(error) = unreadable {
            return Err(AwsError::internal(format!("the history of execution {id} cannot be read: {error}")));
        }
        events.truncate(limit);
        Ok(events)
    }
}

/// An event in AWS's shape.
fn wire(event: &HistoryEvent, include_data: bool) -> Value {
    let mut wire = Map::new();
    wire.insert("timestamp".into(), seconds(event.timestamp_ms));
    wire.insert("type".into(), json!(event.kind.as_str()));
    wire.insert("id".into(), json!(event.id));
    wire.insert("previousEventId".into(), json!(event.previous_event_id));
    if let Some(key) = event.kind.details_key() {
        wire.insert(key.into(), event.details(include_data).into());
    }
    Value::Object(wire)
}
