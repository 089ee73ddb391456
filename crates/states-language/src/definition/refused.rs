//! What Step Functions knows and this crate does not run, each with the way out.

/// Fields that only JSONPath has, and what JSONata has in their place.
const JSONPATH: [(&str, &str); 16] = [
    ("InputPath", "read `$states.input` where you need it"),
    ("OutputPath", "write Output"),
    ("ResultPath", "write Output or Assign"),
    ("ResultSelector", "write Output"),
    ("Parameters", "write Arguments (in a Map, ItemSelector)"),
    ("Result", "write Output"),
    ("ItemsPath", "write Items"),
    ("MaxConcurrencyPath", "give MaxConcurrency an expression"),
    ("SecondsPath", "give Seconds an expression"),
    ("TimestampPath", "give Timestamp an expression"),
    ("TimeoutSecondsPath", "give TimeoutSeconds an expression"),
    ("HeartbeatSecondsPath", "give HeartbeatSeconds an expression"),
    ("ErrorPath", "give Error an expression"),
    ("CausePath", "give Cause an expression"),
    ("Iterator", "write ItemProcessor"),
    ("Variable", "write Condition"),
];

/// Fields that only a Distributed Map has.
const DISTRIBUTED: [&str; 9] = [
    "ItemReader",
    "ItemBatcher",
    "ResultWriter",
    "Label",
    "ToleratedFailureCount",
    "ToleratedFailureCountPath",
    "ToleratedFailurePercentage",
    "ToleratedFailurePercentagePath",
    "ExecutionType",
];

/// Why a field cannot stand in `what`, which takes the fields `known`.
pub(super) fn field(name: &str, what: &str, known: &[&str]) -> String {
    if let Some((_, cure)) = JSONPATH.iter().find(|(field, _)| *field == name) {
        return format!("`{name}` belongs to JSONPath, which is not run here: {cure}");
    }
    if DISTRIBUTED.contains(&name) {
        return format!("`{name}` belongs to the Distributed Map, which is not run here: remove it, the Map is inline");
    }
    if name == "Credentials" {
        return "`Credentials` (another account's role) is not run here: remove it".to_owned();
    }
    format!("`{name}` is no field of {what}, which takes {}", known.join(", "))
}

/// Why a query language cannot be used.
pub(super) fn query_language(language: Option<&str>) -> String {
    match language {
        None => {
            "`QueryLanguage` is absent, which means JSONPath, and that is not run here: write \"JSONata\"".to_owned()
        }
        Some(other) => format!("`QueryLanguage` {other:?} is not run here: write \"JSONata\""),
    }
}
