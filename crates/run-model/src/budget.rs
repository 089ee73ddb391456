//! Money and tokens: reserve the worst case before a call, settle after it.

use serde::{Deserialize, Serialize};

/// The price of a model in micro-dollars per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Fresh input.
    pub input_microusd_per_mtok: u64,
    /// Output.
    pub output_microusd_per_mtok: u64,
    /// Input read from the provider's cache.
    pub cache_read_microusd_per_mtok: u64,
    /// Input written to the provider's cache.
    pub cache_write_microusd_per_mtok: u64,
}

/// What a call used, as the provider counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUsage {
    /// Fresh input tokens.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Input tokens read from the cache.
    pub cache_read_tokens: u64,
    /// Input tokens written to the cache.
    pub cache_write_tokens: u64,
}

impl TokenUsage {
    /// All tokens together.
    pub fn total(&self) -> u64 {
        self.input_tokens + self.output_tokens + self.cache_read_tokens + self.cache_write_tokens
    }
}

impl Price {
    /// What a usage costs, in micro-dollars, rounded up.
    pub fn cost_microusd(&self, usage: &TokenUsage) -> u64 {
        let parts = [
            (usage.input_tokens, self.input_microusd_per_mtok),
            (usage.output_tokens, self.output_microusd_per_mtok),
            (usage.cache_read_tokens, self.cache_read_microusd_per_mtok),
            (usage.cache_write_tokens, self.cache_write_microusd_per_mtok),
        ];
        let total: u128 = parts.iter().map(|(tokens, price)| u128::from(*tokens) * u128::from(*price)).sum();
        u64::try_from(total.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }

    /// The most a call can cost: every input token written to the cache or fresh, whichever is dearer, and all output used.
    pub fn worst_case_microusd(&self, input_tokens: u64, max_output_tokens: u64) -> u64 {
        let input = self.input_microusd_per_mtok.max(self.cache_write_microusd_per_mtok);
        let dear = Self { input_microusd_per_mtok: input, ..*self };
        dear.cost_microusd(&TokenUsage { input_tokens, output_tokens: max_output_tokens, ..TokenUsage::default() })
    }
}

/// How a ledger entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageState {
    /// The call is in flight; its worst case is reserved.
    Reserved,
    /// The call ended and is charged as the provider counted.
    Settled,
    /// The call failed before the provider charged anything.
    Released,
    /// The process died in mid-call: charged at the reservation, since nobody knows.
    Unknown,
}

/// One call in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageEntry {
    /// `<session>#<turn>#<attempt>`, unique in the run.
    pub call_id: String,
    /// The role that called.
    pub role: String,
    /// The session.
    pub session: String,
    /// The model.
    pub model: String,
    /// Where it stands.
    pub state: UsageState,
    /// What was reserved, in micro-dollars.
    pub reserved_microusd: u64,
    /// What it cost (equal to the reservation while reserved or unknown, 0 when released), in micro-dollars.
    pub cost_microusd: u64,
    /// Tokens, once settled.
    pub usage: TokenUsage,
    /// Whether tokens and cost are estimates from a recording.
    pub estimated: bool,
    /// When it was reserved, in milliseconds since the epoch.
    pub at_ms: i64,
}

/// A run's budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// The ceiling in micro-dollars.
    pub limit_microusd: u64,
    /// The ceiling in tokens.
    pub limit_tokens: u64,
    /// Reserved and spent together, in micro-dollars.
    pub committed_microusd: u64,
    /// Reserved and spent together, in tokens.
    pub committed_tokens: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: Price = Price {
        input_microusd_per_mtok: 3_000_000,
        output_microusd_per_mtok: 15_000_000,
        cache_read_microusd_per_mtok: 300_000,
        cache_write_microusd_per_mtok: 3_750_000,
    };

    #[test]
    fn cost_is_counted_per_kind_of_token_and_rounded_up() {
        let usage = TokenUsage { input_tokens: 400, output_tokens: 340, cache_read_tokens: 800, cache_write_tokens: 0 };
        assert_eq!(PRICE.cost_microusd(&usage), 6_540);
        assert_eq!(PRICE.cost_microusd(&TokenUsage { cache_read_tokens: 1, ..TokenUsage::default() }), 1);
    }

    #[test]
    fn the_worst_case_covers_every_way_the_input_may_be_billed() {
        let usage = TokenUsage { cache_write_tokens: 1_000, output_tokens: 100, ..TokenUsage::default() };
        assert!(PRICE.worst_case_microusd(1_000, 100) >= PRICE.cost_microusd(&usage));
    }
}
