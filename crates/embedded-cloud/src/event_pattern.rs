//! The patterns of EventBridge rules: which events are for a rule's target.

use std::str::FromStr;

use serde_json::{Map, Value};

/// A pattern that lists, field by field, the values that an event may have there. Operators such as `prefix` are refused, so that
/// no event is left out or let through by mistake.
#[derive(Clone, Debug, PartialEq)]
pub struct EventPattern(Map<String, Value>);

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is not written as patterns are: a JSON object.
    #[error("an event pattern is a JSON object that is not empty, such as {{\"source\": [\"aws.states\"]}}")]
    NotAnObject,
    /// A field has something else than what is known here.
    #[error("{field}: write a list of texts, numbers, true, false or null; operators are not known here")]
    Unknown {
        /// The field, by its way through the event.
        field: String,
    },
}

impl FromStr for EventPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let Ok(Value::Object(fields)) = serde_json::from_str(text) else { return Err(PatternError::NotAnObject) };
        check(&fields, "")?;
        Ok(Self(fields))
    }
}

fn check(fields: &Map<String, Value>, above: &str) -> Result<(), PatternError> {
    if fields.is_empty() {
        return Err(PatternError::NotAnObject);
    }
    fields.iter().try_for_each(|(name, wanted)| {
        let field = format!("{above}{name}");
        match wanted {
            Value::Object(inner) => check(inner, &format!("{field}.")),
            Value::Array(values) if !values.is_empty() && values.iter().all(is_plain) && name != "$or" => Ok(()),
            _ => Err(PatternError::Unknown { field }),
        }
    })
}

fn is_plain(value: &Value) -> bool {
    !value.is_array() && !value.is_object()
}

impl EventPattern {
    /// Whether the event has one of the listed values in every field that the pattern names; of a field that is a list, one of
    /// its elements suffices.
    pub fn matches(&self, event: &Value) -> bool {
        fits(&self.0, event)
    }
}

fn fits(fields: &Map<String, Value>, event: &Value) -> bool {
    fields.iter().all(|(name, wanted)| match (wanted, event.get(name)) {
        (Value::Object(inner), Some(found)) => fits(inner, found),
        (Value::Array(values), Some(Value::Array(found))) => found.iter().any(|found| values.contains(found)),
        (Value::Array(values), Some(found)) => values.contains(found),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pattern(pattern: Value) -> Result<EventPattern, PatternError> {
        pattern.to_string().parse()
    }

    #[test]
    fn every_named_field_has_one_of_its_values() {
        let event = json!({
            "source": "aws.states", "resources": ["a", "b"], "detail": { "status": "FAILED", "count": 1, "output": null }
        });
        for (fields, fits) in [
            (json!({ "source": ["aws.states"] }), true),
            (json!({ "source": ["aws.s3", "aws.states"], "resources": ["b"] }), true),
            (json!({ "source": ["aws.states"], "resources": ["c"] }), false),
            (json!({ "detail": { "status": ["SUCCEEDED", "FAILED"], "count": [1], "output": [null] } }), true),
            (json!({ "detail": { "status": ["SUCCEEDED"] } }), false),
            (json!({ "detail": { "count": ["1"] } }), false),
            (json!({ "detail": { "cause": [null] } }), false),
            (json!({ "source": { "deeper": ["aws.states"] } }), false),
        ] {
            assert_eq!(pattern(fields.clone()).unwrap().matches(&event), fits, "{fields}");
        }
    }

    #[test]
    fn what_is_no_list_of_values_is_refused_by_its_field() {
        let unknown = |field: &str| PatternError::Unknown { field: field.into() };
        for (fields, error) in [
            (json!({ "source": [{ "prefix": "aws." }] }), unknown("source")),
            (json!({ "detail": { "status": [] } }), unknown("detail.status")),
            (json!({ "detail": { "status": "FAILED" } }), unknown("detail.status")),
            (json!({ "$or": [{ "source": ["a"] }] }), unknown("$or")),
            (json!({ "detail": {} }), PatternError::NotAnObject),
            (json!({}), PatternError::NotAnObject),
            (json!(["aws.states"]), PatternError::NotAnObject),
        ] {
            assert_eq!(pattern(fields.clone()), Err(error), "{fields}");
        }
    }
}
