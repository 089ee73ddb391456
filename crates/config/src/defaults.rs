//! What holds where nobody says otherwise: models, their prices with a date, and the globs of the rules.

use std::collections::BTreeMap;

use run_model::budget::Price;

use crate::ModelPrice;

/// The model of every role that is not given another.
pub(crate) const DEFAULT_MODEL: &str = "claude-sonnet-4-5";
/// A cheaper model, for settings to name.
pub(crate) const SMALL_MODEL: &str = "claude-haiku-4-5";
/// A stronger model, for settings to name.
pub(crate) const STRONG_MODEL: &str = "claude-opus-4-5";

/// The day the list prices below were written down. They are list prices, to be checked against the provider's page.
pub(crate) const PRICES_AS_OF: &str = "2026-11-25";

/// Paths whose change is critical: they decide what runs with rights, or what the rules themselves say.
pub(crate) const PROTECTED: &[&str] = &[
    ".github/**",
    ".git*",
    "**/.gitattributes",
    "**/.gitmodules",
    ".gitlab-ci.yml",
    ".circleci/**",
    ".ci/**",
    "gatewright.toml",
    "CODEOWNERS",
    "**/CODEOWNERS",
    ".cargo/**",
    "**/.cargo/**",
    "**/build.rs",
    "**/.config/nextest.toml",
    // What Python and npm load before anything they are told to run.
    "**/sitecustomize.py",
    "**/usercustomize.py",
    "**/*.pth",
    "**/.npmrc",
];

/// Paths that hold tests.
pub(crate) const TEST_PATHS: &[&str] = &[
    "tests/**",
    "**/tests/**",
    "**/tests.rs",
    "test/**",
    "**/test/**",
    "**/*_test.*",
    "**/*_tests.*",
    "**/test_*.py",
    "**/*.test.*",
    "**/*.spec.*",
    "benches/**",
    "**/benches/**",
];

/// Manifest and lock files.
pub(crate) const MANIFESTS: &[&str] = &[
    "**/Cargo.toml",
    "**/Cargo.lock",
    "**/rust-toolchain",
    "**/rust-toolchain.toml",
    "**/package.json",
    "**/package-lock.json",
    "**/npm-shrinkwrap.json",
    "**/yarn.lock",
    "**/pnpm-lock.yaml",
    "**/pyproject.toml",
    "**/setup.py",
    "**/setup.cfg",
    "**/requirements*.txt",
    "**/poetry.lock",
    "**/uv.lock",
    "**/go.mod",
    "**/go.sum",
];

pub(crate) fn globs(list: &[&str]) -> Vec<String> {
    list.iter().map(|glob| (*glob).to_owned()).collect()
}

pub(crate) fn anthropic_base_url() -> String {
    "https://api.anthropic.com".into()
}

pub(crate) fn openai_base_url() -> String {
    "https://api.openai.com/v1".into()
}

/// Answers are not streamed: a long one takes minutes.
pub(crate) fn answer_timeout_seconds() -> u64 {
    600
}

pub(crate) fn prices() -> BTreeMap<String, ModelPrice> {
    [
        (DEFAULT_MODEL, [3_000_000, 15_000_000, 300_000, 3_750_000]),
        (SMALL_MODEL, [1_000_000, 5_000_000, 100_000, 1_250_000]),
        (STRONG_MODEL, [5_000_000, 25_000_000, 500_000, 6_250_000]),
    ]
    .into_iter()
    .map(|(model, [input, output, cache_read, cache_write])| {
        let price = Price {
            input_microusd_per_mtok: input,
            output_microusd_per_mtok: output,
            cache_read_microusd_per_mtok: cache_read,
            cache_write_microusd_per_mtok: cache_write,
        };
        (model.to_owned(), ModelPrice { price, as_of: PRICES_AS_OF.into(), free: false })
    })
    .collect()
}
