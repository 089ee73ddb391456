//! A run's money: the worst case is reserved before a call is made and settled after.

use agent::ports::{CallEstimate, Ledger, PortError, Reservation};
use async_trait::async_trait;
use run_model::budget::{Budget, TokenUsage, UsageEntry, UsageState};
use run_model::{RunId, SessionId};

use crate::record::{Record, Stored, check_schema, number_of};
use crate::table::{ATTEMPTS, Addition, Attributes, Condition, Guard, Key, Outcome, Range, Write, number};
use crate::{Store, StoreError};

const BUDGET_SCHEMA: u32 = 1;

impl Record for UsageEntry {}

/// The row of a budget. It counts down what is left, since a condition cannot add before it compares.
pub(crate) fn budget_item(run: &RunId, budget: &Budget) -> Attributes {
    let left = |limit: u64, committed: u64| number(i128::from(limit) - i128::from(committed));
    let mut item = Key::budget(run).attributes();
    item.extend([
        ("schema".into(), number(BUDGET_SCHEMA)),
        ("limit_microusd".into(), number(budget.limit_microusd)),
        ("limit_tokens".into(), number(budget.limit_tokens)),
        ("left_microusd".into(), left(budget.limit_microusd, budget.committed_microusd)),
        ("left_tokens".into(), left(budget.limit_tokens, budget.committed_tokens)),
    ]);
    item
}

/// How an entry ends.
struct Ending {
    state: UsageState,
    cost_microusd: u64,
    usage: TokenUsage,
    estimated: bool,
}

impl Store {
    /// The run's budget as it stands.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::NewerSchema`]; [`StoreError::Corrupt`]; [`StoreError::Unavailable`].
    pub async fn budget(&self, run: &RunId) -> Result<Budget, StoreError> {
        let key = Key::budget(run);
        let item = self.get(&key).await?.ok_or_else(|| StoreError::NotFound(format!("budget of run {run}")))?;
        check_schema(&item, BUDGET_SCHEMA)?;
        let read =
            |name| number_of(&item, name).ok_or_else(|| StoreError::corrupt(&key, format!("{name} is no number")));
        let amount = |value: i64| u64::try_from(value).unwrap_or(0);
        let (limit_microusd, limit_tokens) = (read("limit_microusd")?, read("limit_tokens")?);
        Ok(Budget {
            limit_microusd: amount(limit_microusd),
            limit_tokens: amount(limit_tokens),
            committed_microusd: amount(limit_microusd - read("left_microusd")?),
            committed_tokens: amount(limit_tokens - read("left_tokens")?),
        })
    }

    /// Opens the run's budget anew, with other ceilings. Once a call was reserved, the budget stays as it is.
    ///
    /// # Errors
    /// As [`Store::budget`].
    pub async fn open_budget(&self, run: &RunId, budget: &Budget) -> Result<(), StoreError> {
        let before = self.budget(run).await?;
        let untouched = Condition::equal("left_microusd", number(before.limit_microusd));
        // Refused means that a call was reserved: the budget is in use.
        self.put(budget_item(run, budget), untouched).await.map(drop)
    }

    /// Raises the run's ceiling to `limit_microusd`; its ceiling in tokens grows in the same proportion. A ceiling that is
    /// as high already stays. Returns the budget as it stands.
    ///
    /// # Errors
    /// As [`Store::budget`]; [`StoreError::Conflict`] if others raised it again and again.
    pub async fn raise_budget(&self, run: &RunId, limit_microusd: u64) -> Result<Budget, StoreError> {
        let key = Key::budget(run);
        for _ in 0..ATTEMPTS {
            let budget = self.budget(run).await?;
            let more_microusd = limit_microusd.saturating_sub(budget.limit_microusd);
            if more_microusd == 0 {
                return Ok(budget);
            }
            let more_tokens =
                u128::from(budget.limit_tokens) * u128::from(more_microusd) / u128::from(budget.limit_microusd.max(1));
            let (usd, tokens) = (signed(more_microusd), i64::try_from(more_tokens).unwrap_or(i64::MAX));
            let amounts =
                [("limit_microusd", usd), ("left_microusd", usd), ("limit_tokens", tokens), ("left_tokens", tokens)];
            let guard = Guard::Unchanged("limit_microusd", signed(budget.limit_microusd));
            let raise = || vec![Write::Add(Addition { key: Key::budget(run), amounts: amounts.to_vec(), guard })];
            if self.transact(&key, raise).await?.is_written() {
                return self.budget(run).await;
            }
            self.step_aside().await;
        }
        Err(StoreError::Conflict(key.to_string()))
    }

    /// Every call of the run, in the order they were reserved.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`]; [`StoreError::Corrupt`]; [`StoreError::Unavailable`].
    pub async fn usage(&self, run: &RunId) -> Result<Vec<UsageEntry>, StoreError> {
        let mut entries = self.usage_beginning(run, "").await?;
        entries.sort_by(|a, b| (a.at_ms, &a.call_id).cmp(&(b.at_ms, &b.call_id)));
        Ok(entries)
    }

    async fn usage_beginning(&self, run: &RunId, call_ids: &str) -> Result<Vec<UsageEntry>, StoreError> {
        let items = self.query(Range::beginning(Key::usage(run, call_ids)), usize::MAX).await?;
        self.decode_all(&items).await
    }

    async fn reserve_call(&self, run: &RunId, estimate: CallEstimate) -> Result<Reservation, StoreError> {
        let CallEstimate { call_id, role, session, model, cost_microusd, tokens } = estimate;
        let mut entry = UsageEntry {
            call_id: call_id.clone(),
            role,
            session: session.to_string(),
            model,
            state: UsageState::Reserved,
            reserved_microusd: cost_microusd,
            cost_microusd,
            usage: TokenUsage::default(),
            estimated: false,
            at_ms: self.now_ms(),
        };
        let key = Key::usage(run, &call_id);
        let item = self.encode(run, &key, &mut entry, 1).await?;
        let reservation = Reservation { call_id, cost_microusd, tokens };
        let writes = || {
            let taken = Addition {
                key: Key::budget(run),
                amounts: vec![("left_microusd", -signed(cost_microusd)), ("left_tokens", -signed(tokens))],
                guard: Guard::StayPositive,
            };
            vec![Write::Put(item.clone(), Condition::absent()), Write::Add(taken)]
        };
        let outcome = self.transact(&key, writes).await?;
        if outcome == Outcome::Written {
            return Ok(reservation);
        }
        if outcome.refused(0) {
            return Err(StoreError::Conflict(format!("call {}, which was already made", reservation.call_id)));
        }
        let budget = self.budget(run).await?;
        Err(StoreError::BudgetExceeded(shortfall(&budget, &reservation)))
    }

    async fn end_call(&self, run: &RunId, reservation: &Reservation, ending: Ending) -> Result<(), StoreError> {
        let key = Key::usage(run, &reservation.call_id);
        for _ in 0..ATTEMPTS {
            let what = format!("reservation {}", reservation.call_id);
            let Stored { mut value, version } = self.require::<UsageEntry>(&key, what).await?;
            // An entry that a newer epoch gave up as unknown may still learn what it really cost.
            if matches!(value.state, UsageState::Settled | UsageState::Released) {
                return Ok(());
            }
            value.state = ending.state;
            value.cost_microusd = ending.cost_microusd;
            value.usage = ending.usage;
            value.estimated = ending.estimated;
            let given_back = [
                ("left_microusd", signed(reservation.cost_microusd) - signed(ending.cost_microusd)),
                ("left_tokens", signed(reservation.tokens) - signed(ending.usage.total())),
            ];
            let item = self.encode(run, &key, &mut value, version + 1).await?;
            let writes = || {
                let back = Addition { key: Key::budget(run), amounts: given_back.to_vec(), guard: Guard::Nothing };
                vec![Write::Put(item.clone(), Condition::version(version)), Write::Add(back)]
            };
            if self.transact(&key, writes).await?.is_written() {
                return Ok(());
            }
            self.step_aside().await;
        }
        Err(StoreError::Conflict(format!("reservation {}", reservation.call_id)))
    }
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

fn shortfall(budget: &Budget, asked: &Reservation) -> String {
    let usd = |microusd: u64| microusd as f64 / 1_000_000.0;
    let Budget { limit_microusd, limit_tokens, committed_microusd, committed_tokens } = *budget;
    format!(
        "it may cost {:.4} USD and {} tokens, and of {:.4} USD and {limit_tokens} tokens only {:.4} USD and {} tokens are left",
        usd(asked.cost_microusd),
        asked.tokens,
        usd(limit_microusd),
        usd(limit_microusd.saturating_sub(committed_microusd)),
        limit_tokens.saturating_sub(committed_tokens),
    )
}

#[async_trait]
impl Ledger for Store {
    async fn reserve(&self, run: &RunId, estimate: CallEstimate) -> Result<Reservation, PortError> {
        Ok(self.reserve_call(run, estimate).await?)
    }

    async fn settle(
        &self,
        run: &RunId,
        reservation: &Reservation,
        usage: TokenUsage,
        cost_microusd: u64,
        estimated: bool,
    ) -> Result<(), PortError> {
        let ending = Ending { state: UsageState::Settled, cost_microusd, usage, estimated };
        Ok(self.end_call(run, reservation, ending).await?)
    }

    async fn release(&self, run: &RunId, reservation: &Reservation) -> Result<(), PortError> {
        let usage = TokenUsage::default();
        let ending = Ending { state: UsageState::Released, cost_microusd: 0, usage, estimated: false };
        Ok(self.end_call(run, reservation, ending).await?)
    }

    async fn abandon(&self, run: &RunId, session: &SessionId) -> Result<(), PortError> {
        for entry in self.usage_beginning(run, &format!("{session}#")).await? {
            if entry.state != UsageState::Reserved {
                continue;
            }
            let key = Key::usage(run, &entry.call_id);
            let give_up = |entry: &mut UsageEntry| {
                // It may have been settled since it was read.
                if entry.state == UsageState::Reserved {
                    entry.state = UsageState::Unknown;
                }
            };
            self.modify(run, &key, &format!("reservation {}", entry.call_id), give_up).await?;
        }
        Ok(())
    }
}
