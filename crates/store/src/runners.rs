//! Runners on other machines: each leaves word when it asks for a job or says that it is at work, so that a run can say
//! that nobody would run its checks.

use run_model::RunId;

use crate::record::number_of;
use crate::table::{Condition, EXPIRES_AT, Key, RUNNER_PREFIX, Range, number};
use crate::{Store, StoreError};

const RUNNER_SCHEMA: u32 = 1;
/// A word that is younger than this is not written anew: a write costs, and runners ask often.
const NOTED_MS: i64 = 60_000;
/// Who was heard of within this time is alive: an idle runner asks twice a minute, and one at work says so every 40 seconds.
const ALIVE_MS: i64 = 3 * 60_000;
const KEPT_SECONDS: i64 = 24 * 3600;
const SEEN: &str = "seen_ms";

/// A runner that was heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerSeen {
    /// The name of its grant.
    pub name: String,
    /// When, to a minute, in milliseconds since the epoch.
    pub seen_ms: i64,
}

impl Store {
    /// Notes that the runner of this name is alive, at most once a minute.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn note_runner(&self, name: &str) -> Result<(), StoreError> {
        let (key, now_ms) = (Key::runner(name), self.now_ms());
        let seen_ms = self.get(&key).await?.and_then(|item| number_of(&item, SEEN));
        if seen_ms.is_some_and(|seen_ms| now_ms - seen_ms < NOTED_MS) {
            return Ok(());
        }
        let mut item = key.attributes();
        item.extend([
            ("schema".into(), number(RUNNER_SCHEMA)),
            (SEEN.into(), number(now_ms)),
            (EXPIRES_AT.into(), number(now_ms / 1000 + KEPT_SECONDS)),
        ]);
        let unchanged = seen_ms.map_or_else(Condition::absent, |seen_ms| Condition::equal(SEEN, number(seen_ms)));
        // Refused means that another process of the runner was faster.
        self.put(item, unchanged).await.map(drop)
    }

    /// The runners that were heard of in the last three minutes, by name.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn runners_alive(&self) -> Result<Vec<RunnerSeen>, StoreError> {
        let since_ms = self.now_ms() - ALIVE_MS;
        let rows = self.query(Range::beginning(Key::runner("")), usize::MAX).await?;
        let seen = rows.iter().filter_map(|row| {
            let name = Key::read(row).sk.strip_prefix(RUNNER_PREFIX)?.to_owned();
            Some(RunnerSeen { name, seen_ms: number_of(row, SEEN)? })
        });
        Ok(seen.filter(|runner| runner.seen_ms >= since_ms).collect())
    }

    /// Whether a check of this run waits and no runner is alive that could take it. Never on one machine, where the
    /// driver runs the checks.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`]; [`StoreError::Corrupt`]; [`StoreError::Unavailable`].
    pub async fn waits_for_a_runner(&self, run: &RunId) -> Result<bool, StoreError> {
        Ok(!self.names().is_local() && self.runners_alive().await?.is_empty() && self.has_waiting_job(run).await?)
    }
}
