//! What the index lists, and which rows may stand there.
//!
//! Any row can name any partition of the index, and the rows of a crew's work are written by functions that read untrusted
//! text: a row is listed only if its own key is of the kind that the partition holds.

use crate::table::{Attributes, Key, WORK};

/// A partition of the index.
pub(crate) struct Listing {
    pub(crate) partition: &'static str,
    /// How the keys of its rows begin, and the sort key that all of them have.
    rows: (&'static [&'static str], &'static str),
}

impl Listing {
    pub(crate) const RUNS: Self = Self { partition: "RUNS", rows: (&["RUN#"], "RUN") };
    pub(crate) const PENDING_GATES: Self = Self { partition: "GATES#pending", rows: (&["GATE#"], "GATE") };
    pub(crate) const QUEUED_JOBS: Self = Self { partition: "JOBS#queued", rows: (&["JOB#"], "JOB") };
    pub(crate) const CLAIMED_JOBS: Self = Self { partition: "JOBS#claimed", rows: (&["JOB#"], "JOB") };
    pub(crate) const GRANTS: Self = Self { partition: "GRANTS", rows: (&["BEARER#", "PRINCIPAL#"], "GRANT") };

    /// Whether a row that says it stands here may; one that may not is told to the log.
    pub(crate) fn holds(&self, row: &Attributes) -> bool {
        let (key, (beginnings, sk)) = (Key::read(row), self.rows);
        let of_kind = beginnings.iter().any(|beginning| key.pk.starts_with(beginning));
        let holds = of_kind && key.sk == sk && !key.pk.ends_with(WORK);
        if !holds {
            tracing::warn!(row = %key, partition = self.partition, "a row of another kind stands in the index; it is not listed");
        }
        holds
    }
}
