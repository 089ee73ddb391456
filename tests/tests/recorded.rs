//! Real defects in published packages with dependencies from a registry, fixed by recorded answers of a model; all else is measured
//! here and now.
#![cfg(feature = "world")]
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::{Ended, World, demo};

/// A package, what is wanted of it, tests that nobody of the crew sees, and what a model answered.
struct Recording(&'static str);

impl Recording {
    fn place(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings").join(self.0)
    }

    /// A world whose repository is the package as it was published.
    fn world(&self) -> World {
        World::with_tree(&self.place().join("repository"))
    }

    fn replay(&self, world: &World) -> Ended {
        let place = |name: &str| self.place().join(name).display().to_string();
        let requirement = format!("@{}", place("requirement.md"));
        let provider = format!("replay:{}", place("cassette.jsonl"));
        let acceptance = place("acceptance");
        let arguments =
            ["run", "--requirements", &requirement, "--acceptance", &acceptance, "--provider", &provider, "--yes", "--json"];
        world.gatewright(&arguments)
    }
}
