//! Going round in circles: the same error, or the same call with the same answer, again and again.

use std::collections::BTreeMap;

use run_model::Sha256;
use serde_json::Value;

/// From this repetition on the model is told.
const HINT_AT: u32 = 3;
/// At this repetition the session is given up.
pub(crate) const STUCK_AT: u32 = 5;

/// Counts a result. An error is recognised by what it says, an answer by the call as well. Returns the words to add to the
/// result once it has come too often.
pub(crate) fn count(
    seen: &mut BTreeMap<String, u32>,
    (tool, input): (&str, &Value),
    content: &str,
    is_error: bool,
) -> Option<String> {
    let fingerprint = match is_error {
        true => Sha256::of_json(&(tool, content)),
        false => Sha256::of_json(&(tool, input, content)),
    };
    let times = seen.entry(fingerprint.short().to_owned()).or_default();
    *times += 1;
    (*times >= HINT_AT).then(|| {
        format!(
            "\n(This is the same answer for time number {times}. Going on like this leads nowhere: do something else.)"
        )
    })
}

/// How often the most frequent result came.
pub(crate) fn worst(seen: &BTreeMap<String, u32>) -> u32 {
    seen.values().copied().max().unwrap_or(0)
}
