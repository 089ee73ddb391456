//! Other dependencies than the base's, as a crew asks for them.

use serde::{Deserialize, Serialize};

use super::ArtefactRef;
use crate::risk::Risk;

/// Edits to manifest and lock files that are set up once a person has let them in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposedSetup {
    /// The edits, and nothing else of the change (JSON of [`crate::change_set::Overlay`]); its hash is what an approval approves.
    pub manifests: ArtefactRef,
    /// How much can go wrong: critical, or low if the edits change nothing.
    pub risk: Risk,
    /// One paragraph for the person who decides.
    pub summary: String,
}
