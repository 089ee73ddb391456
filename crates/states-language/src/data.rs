//! Execution data: a JSON value beside its text, which limits, history and the durable state all need.

use std::io::{self, Write};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::error::{DATA_LIMIT, Failure};

/// The most bytes of JSON that any input, output, argument or assignment may have (256 KiB).
pub const MAX_PAYLOAD_BYTES: usize = 262_144;

/// A value and its text, written once however often it is needed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Data {
    value: Value,
    text: Text,
}

impl Data {
    pub(crate) fn new(value: Value) -> Self {
        let text = Text::of(&value);
        Self { value, text }
    }

    /// # Errors
    /// `States.DataLimitExceeded`, naming `what`.
    pub(crate) fn within_limit(what: &str, value: Value) -> Result<Self, Failure> {
        let data = Self::new(value);
        if data.text.as_str().len() > MAX_PAYLOAD_BYTES {
            return Err(too_large(what));
        }
        Ok(data)
    }

    pub(crate) fn value(&self) -> &Value {
        &self.value
    }

    pub(crate) fn into_value(self) -> Value {
        self.value
    }

    pub(crate) fn text(&self) -> Text {
        self.text.clone()
    }
}

impl Default for Data {
    fn default() -> Self {
        Self::new(Value::Null)
    }
}

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::new)
    }
}

/// The text of a JSON value, shared by those who hold it.
#[derive(Debug, Clone)]
pub(crate) struct Text(Arc<RawValue>);

impl Text {
    fn of(value: &Value) -> Self {
        // No `Value` is refused; were one, a null would stand for it.
        Self(to_raw_value(value).unwrap_or_default().into())
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|text| Self(text.into()))
    }
}

/// Whether what `value` is written as keeps within the limit.
///
/// # Errors
/// `States.DataLimitExceeded`, naming `what`.
pub(crate) fn check(what: &str, value: &impl Serialize) -> Result<(), Failure> {
    let mut room = Room(MAX_PAYLOAD_BYTES);
    // Writing fails as soon as the room is used up, and for no other reason.
    serde_json::to_writer(&mut room, value).map_err(|_| too_large(what))
}

fn too_large(what: &str) -> Failure {
    let cause = format!("{what} exceeds the maximum number of bytes service limit ({MAX_PAYLOAD_BYTES}).");
    Failure::raised(DATA_LIMIT, cause)
}

/// Counts what is written to it.
struct Room(usize);

impl Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
