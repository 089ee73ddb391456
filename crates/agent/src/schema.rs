//! JSON Schemas of what a model may say: made from types, checked on the way in.

mod check;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// The schema of a type as a model gets it: one object without references, named nowhere.
pub fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    if let Some(object) = schema.as_object_mut() {
        // Both say what the type is to us.
        object.shift_remove("title");
        object.shift_remove("description");
    }
    without_widths(&mut schema);
    schema
}

/// Takes out how many bits a number has here.
fn without_widths(schema: &mut Value) {
    if let Some(object) = schema.as_object_mut() {
        if object.get("format").is_some_and(Value::is_string) && object.contains_key("type") {
            object.shift_remove("format");
        }
        object.values_mut().for_each(without_widths);
    } else if let Some(list) = schema.as_array_mut() {
        list.iter_mut().for_each(without_widths);
    }
}

/// What is wrong with a value by its schema, at most five lines, each with the place; empty if nothing is.
pub(crate) fn problems(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = check::problems(schema, value);
    found.truncate(5);
    found
}

#[cfg(test)]
mod tests {
    use run_model::verdict::Verdict;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_schema_stands_alone_and_says_what_the_type_says() {
        let schema = schema_of::<Verdict>();
        assert_eq!(schema["type"], "object");
        assert!(schema.get("$schema").is_none() && schema.get("title").is_none());
        assert!(!schema.to_string().contains("$ref"), "{schema}");
        assert!(schema["properties"]["decision"].to_string().contains("request_changes"));
    }

    #[test]
    fn a_problem_names_its_place() {
        let schema = schema_of::<Verdict>();
        let good = json!({"decision": "approve", "summary": "fine"});
        assert!(problems(&schema, &good).is_empty());
        let bad = json!({"decision": "perhaps", "summary": 3, "mood": "good"});
        let found = problems(&schema, &bad).join("\n");
        assert!(found.contains("/summary") && found.contains("/decision") && found.contains("mood"), "{found}");
    }
}
