//! The outbox: answers that were decided in a transaction and are on their way to Step Functions.

use run_model::{GateId, JobId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::record::{check_schema, text_of};
use crate::table::{Attributes, Condition, EXPIRES_AT, Key, Write, number, text};
use crate::{Store, StoreError};

const OUTBOX_SCHEMA: u32 = 1;
/// How long an item is kept, for people who look into a delivery.
const KEPT_SECONDS: i64 = 7 * 24 * 3600;

/// What an answer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboxKind {
    /// A gate.
    Gate,
    /// A check job.
    Job,
}

impl OutboxKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Job => "job",
        }
    }
}

/// Where an answer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboxState {
    /// It has not arrived yet.
    Waiting,
    /// It arrived, now or earlier.
    Delivered,
    /// Nobody waits for it any more.
    Orphaned,
}

impl OutboxState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Orphaned => "orphaned",
        }
    }
}

/// An answer on its way. It holds neither token nor answer: both are read when it is delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxItem {
    /// Its id.
    pub id: String,
    /// What it is about.
    pub kind: OutboxKind,
    /// The gate's or job's id.
    pub about: String,
    /// Where it stands.
    pub state: OutboxState,
}

/// What is to be sent, and to whom.
pub struct Answer {
    /// The task token of the state that waits.
    pub token: String,
    /// What the state is answered: its output, or an error's name and message.
    pub result: Result<Value, (String, String)>,
}

impl OutboxItem {
    /// Reads an item's image as a table stream spells it (`{"pk": {"S": "..."}, ...}`); `None` if it is no outbox item.
    pub fn from_image(image: &Value) -> Option<Self> {
        let field = |name: &str| image.get(name)?.get("S")?.as_str();
        let word = |name| Some(Value::from(field(name)?));
        Some(Self {
            id: field("pk")?.strip_prefix("OUTBOX#")?.to_owned(),
            kind: serde_json::from_value(word("kind")?).ok()?,
            about: field("about")?.to_owned(),
            state: serde_json::from_value(word("state")?).ok()?,
        })
    }

    fn read(id: &str, item: &Attributes) -> Result<Self, StoreError> {
        check_schema(item, OUTBOX_SCHEMA)?;
        let word = |name| Value::from(text_of(item, name).unwrap_or_default());
        let damaged = |error| StoreError::corrupt(Key::outbox(id), error);
        Ok(Self {
            id: id.to_owned(),
            kind: serde_json::from_value(word("kind")).map_err(damaged)?,
            about: text_of(item, "about").unwrap_or_default().to_owned(),
            state: serde_json::from_value(word("state")).map_err(damaged)?,
        })
    }

    /// A fresh item. The version of what it is about makes its id: a second answer to a second token is another item.
    /// It expires even if nobody ever delivers it: by then no state waits any more.
    pub(crate) fn row(kind: OutboxKind, about: &str, version: u64, now_ms: i64) -> Attributes {
        let mut item = Key::outbox(&format!("{}-{about}-{version}", kind.as_str())).attributes();
        item.extend([
            ("schema".into(), number(OUTBOX_SCHEMA)),
            ("kind".into(), text(kind.as_str())),
            ("about".into(), text(about)),
            ("state".into(), text(OutboxState::Waiting.as_str())),
            (EXPIRES_AT.into(), number(now_ms / 1000 + KEPT_SECONDS)),
        ]);
        item
    }
}

impl Store {
    /// What to tell the state that waits for a gate or a job. Opens the token, so only `task-callback` can do it.
    ///
    /// A gate's answer is `{"gate_id", "decision"}`, `decision` being `approved`, `denied`, `asked`, `expired` or `void`; a job's is
    /// what the runner reported.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Conflict`] if nothing is decided yet; [`StoreError::Corrupt`] if the token was
    /// sealed with another key; [`StoreError::Unavailable`].
    pub async fn answer_for(&self, kind: OutboxKind, about: &str) -> Result<Answer, StoreError> {
        let unknown = || StoreError::NotFound(format!("{} {about}", kind.as_str()));
        match kind {
            OutboxKind::Gate => self.gate_answer(&GateId::new(about).map_err(|_| unknown())?).await,
            OutboxKind::Job => self.job_answer(&JobId::new(about).map_err(|_| unknown())?).await,
        }
    }

    /// An outbox item.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::NewerSchema`]; [`StoreError::Corrupt`]; [`StoreError::Unavailable`].
    pub async fn outbox(&self, id: &str) -> Result<OutboxItem, StoreError> {
        OutboxItem::read(id, &self.outbox_row(id).await?)
    }

    /// Says how a delivery ended. The first to say so is right; saying it again changes nothing. The item expires a week later.
    ///
    /// # Errors
    /// As [`Store::outbox`].
    pub async fn mark_outbox(&self, id: &str, state: OutboxState) -> Result<(), StoreError> {
        let mut item = self.outbox_row(id).await?;
        if OutboxItem::read(id, &item)?.state != OutboxState::Waiting {
            return Ok(());
        }
        item.insert("state".into(), text(state.as_str()));
        item.insert(EXPIRES_AT.into(), number(self.now_ms() / 1000 + KEPT_SECONDS));
        // Refused means that another delivery said so at the same moment.
        self.put(item, Condition::equal("state", text(OutboxState::Waiting.as_str()))).await.map(drop)
    }

    /// Writes the row of a gate or job if it still is as it was read, together with the outbox item, if there is one.
    /// `false` if another writer was first.
    pub(crate) async fn put_and_answer(
        &self,
        key: &Key,
        row: Attributes,
        version: u64,
        outbox: Option<Attributes>,
    ) -> Result<bool, StoreError> {
        let Some(outbox) = outbox else {
            return Ok(self.put(row, Condition::version(version)).await?.is_written());
        };
        let writes = || {
            vec![Write::Put(row.clone(), Condition::version(version)), Write::Put(outbox.clone(), Condition::absent())]
        };
        Ok(self.transact(key, writes).await?.is_written())
    }

    async fn outbox_row(&self, id: &str) -> Result<Attributes, StoreError> {
        self.get(&Key::outbox(id)).await?.ok_or_else(|| StoreError::NotFound(format!("outbox item {id}")))
    }
}
