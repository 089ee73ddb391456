//! Held against a validator of the whole language.

use proptest::prelude::*;
use proptest::sample::Index;
use run_model::design::Design;
use run_model::plan::Plan;
use run_model::verdict::{DeveloperReport, TesterReport, Verdict};
use serde_json::json;

use super::*;
use crate::schema_of;

/// What each role hands in, with an example of it.
fn outputs() -> Vec<(Value, Value)> {
    let task = json!({
        "id": "a", "title": "t", "description": "d", "role": "developer", "depends_on": ["b"], "priority": "high",
        "paths": ["src/**"],
    });
    let item = json!({ "id": "i", "title": "t", "detail": "d", "tasks": ["a"] });
    let finding = json!({ "path": "src/a.rs", "line": 3, "kind": "style", "severity": "low", "message": "m" });
    let plan = json!({ "summary": "s", "tasks": [task], "acceptance_criteria": ["c"], "risk_hint": "low" });
    let verdict = json!({ "decision": "approve", "summary": "s", "findings": [finding], "risk_hint": null });
    vec![
        (schema_of::<Plan>(), plan),
        (schema_of::<Design>(), json!({ "summary": "s", "items": [item], "test_strategy": "t" })),
        (schema_of::<DeveloperReport>(), json!({ "summary": "s", "serves": ["i"] })),
        (schema_of::<TesterReport>(), json!({ "summary": "s", "defects": ["d"] })),
        (schema_of::<Verdict>(), verdict),
    ]
}

fn by_the_whole_language(schema: &Value, value: &Value) -> Vec<String> {
    let validator = jsonschema::validator_for(schema).unwrap();
    let line = |error: jsonschema::ValidationError<'_>| {
        let place = error.instance_path().to_string();
        format!("{}: {error}", if place.is_empty() { "the input" } else { &place })
    };
    let mut lines: Vec<String> = validator.iter_errors(value).map(line).collect();
    lines.sort_unstable();
    lines
}

/// Every place in a value, the value itself first.
fn places(value: &Value, here: &str, found: &mut Vec<String>) {
    found.push(here.to_owned());
    let mut below = |step: &dyn std::fmt::Display, value| places(value, &format!("{here}/{step}"), found);
    match value {
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| below(&index, item)),
        Value::Object(fields) => fields.iter().for_each(|(name, field)| below(name, field)),
        _ => {}
    }
}

#[derive(Clone, Debug)]
enum Change {
    Replace(Value),
    Add(String, Value),
    Remove,
}

fn change_at(value: &mut Value, place: &str, change: Change) {
    match change {
        Change::Replace(other) => *value.pointer_mut(place).unwrap() = other,
        Change::Add(name, other) => match value.pointer_mut(place).unwrap() {
            Value::Object(fields) => drop(fields.insert(name, other)),
            Value::Array(items) => items.push(other),
            _ => {}
        },
        Change::Remove => {
            let Some((parent, name)) = place.rsplit_once('/') else { return };
            match value.pointer_mut(parent).unwrap() {
                Value::Object(fields) => drop(fields.shift_remove(name)),
                Value::Array(items) => drop(items.remove(name.parse().unwrap())),
                _ => {}
            }
        }
    }
}

fn strange() -> impl Strategy<Value = Value> {
    let words = ["low", "approve", "developer", "style", "", "x/y~z", "it's"];
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..5).prop_map(Value::from),
        prop::sample::select(vec![-1.5, -0.0, 0.5, 2.0, 1e300]).prop_map(Value::from),
        prop::sample::select(words.to_vec()).prop_map(Value::from),
        Just(json!([])),
        Just(json!([1, "a"])),
        Just(json!({})),
        Just(json!({ "summary": 1, "a/b": null })),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let name = prop::sample::select(vec!["mood", "summary", "a/b", "c~d", "line", "priority"]);
    prop_oneof![
        strange().prop_map(Change::Replace),
        (name, strange()).prop_map(|(name, value)| Change::Add(name.to_owned(), value)),
        Just(Change::Remove),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn what_is_found_is_what_the_whole_language_finds_in_the_same_words(
        which in any::<Index>(),
        changes in prop::collection::vec((any::<Index>(), change()), 0..5),
    ) {
        let (schema, mut value) = which.get(&outputs()).clone();
        for (at, change) in changes {
            let mut all = Vec::new();
            places(&value, "", &mut all);
            // A name with a slash in it cannot be asked for by such a place.
            let all: Vec<String> = all.into_iter().filter(|place| value.pointer(place).is_some()).collect();
            let place = at.get(&all);
            change_at(&mut value, place, change);
        }
        let mut found = problems(&schema, &value);
        found.sort_unstable();
        prop_assert_eq!(found, by_the_whole_language(&schema, &value));
    }
}

#[test]
fn the_examples_are_good_and_no_schema_of_ours_has_a_word_that_is_not_checked() {
    for (schema, value) in outputs() {
        assert_eq!(problems(&schema, &value), Vec::<String>::new(), "{schema}");
        assert_eq!(unchecked(&schema), Vec::<String>::new(), "{schema}");
    }
}

#[test]
fn a_word_that_is_not_checked_lets_nothing_pass() {
    let found = problems(&json!({ "type": "string", "pattern": "^a" }), &json!("a"));
    assert_eq!(found, [r#"the input: the schema says "pattern", which is not checked here"#]);
    assert_eq!(unchecked(&json!({ "properties": { "a": { "anyOf": [{ "pattern": "^a" }] } } })).len(), 1);
}

/// What a schema says that is not checked, however deep and whatever the value.
fn unchecked(schema: &Value) -> Vec<String> {
    let of = |(word, said): (&String, &Value)| match word.as_str() {
        "properties" => said.as_object().unwrap().values().flat_map(unchecked).collect(),
        "anyOf" | "oneOf" => said.as_array().unwrap().iter().flat_map(unchecked).collect(),
        "items" => unchecked(said),
        _ => {
            let mut found = problems(&json!({ word: said }), &Value::Null);
            found.retain(|line| line.contains("not checked"));
            found
        }
    };
    schema.as_object().unwrap().iter().flat_map(of).collect()
}
