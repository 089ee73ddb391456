//! The check of a value by its schema: the words that are made of our own types, said as the validators of the full language
//! say them. One of those would be a tenth of each role's program.

use serde_json::{Map, Value};

#[cfg(test)]
mod tests;

/// Words that say something about a value and forbid nothing.
const REMARKS: [&str; 4] = ["description", "title", "default", "format"];

/// What is wrong with a value, each with its place; empty if nothing is.
///
/// A schema with a word that is not known here lets nothing pass, since nobody would hold a value to that word.
pub(super) fn problems(schema: &Value, value: &Value) -> Vec<String> {
    let mut check = Check { found: Vec::new(), place: String::new() };
    check.all(schema, value);
    check.found
}

struct Check {
    found: Vec<String>,
    /// As a JSON pointer.
    place: String,
}

impl Check {
    fn all(&mut self, schema: &Value, value: &Value) {
        for (word, said) in schema.as_object().into_iter().flatten() {
            self.one(word, said, schema, value);
        }
    }

    fn one(&mut self, word: &str, said: &Value, schema: &Value, value: &Value) {
        let is_met = |alternative: &&Value| problems(alternative, value).is_empty();
        let met = || said.as_array().into_iter().flatten().filter(is_met).count();
        match word {
            "type" => self.of_type(said, value),
            "const" if said != value => self.note(format!("{said} was expected")),
            "anyOf" if met() == 0 => {
                self.note(format!("{value} is not valid under any of the schemas listed in the 'anyOf' keyword"))
            }
            "oneOf" => match met() {
                1 => {}
                0 => self.note(format!("{value} is not valid under any of the schemas listed in the 'oneOf' keyword")),
                _ => self
                    .note(format!("{value} is valid under more than one of the schemas listed in the 'oneOf' keyword")),
            },
            "minimum" if is_less(value, said) => self.note(format!("{value} is less than the minimum of {said}")),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    self.below(&index.to_string(), said, item);
                }
            }
            "properties" => {
                for (name, said) in said.as_object().into_iter().flatten() {
                    if let Some(value) = value.get(name) {
                        self.below(name, said, value);
                    }
                }
            }
            "required" => {
                let missing = |name: &&Value| name.as_str().is_some_and(|name| value.get(name).is_none());
                for name in said.as_array().into_iter().flatten().filter(missing).filter(|_| value.is_object()) {
                    self.note(format!("{name} is a required property"));
                }
            }
            "additionalProperties" if *said == Value::Bool(false) => self.nothing_else(schema, value),
            "const" | "anyOf" | "minimum" => {}
            word if REMARKS.contains(&word) => {}
            word => self.note(format!("the schema says {word:?}, which is not checked here")),
        }
    }

    fn of_type(&mut self, said: &Value, value: &Value) {
        let mut types: Vec<&str> = match said {
            Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        };
        if types.iter().any(|name| is_of_type(name, value)) {
            return;
        }
        types.sort_by_key(|name| *name != "null");
        let quoted: Vec<String> = types.iter().map(|name| format!("{name:?}")).collect();
        let word = if quoted.len() == 1 { "type" } else { "types" };
        self.note(format!("{value} is not of {word} {}", quoted.join(", ")));
    }

    fn nothing_else(&mut self, schema: &Value, value: &Value) {
        let known = schema.get("properties").and_then(Value::as_object);
        let is_known = |name: &str| known.is_some_and(|known| known.contains_key(name));
        let names = value.as_object().into_iter().flat_map(Map::keys).filter(|name| !is_known(name));
        let unexpected: Vec<String> = names.map(|name| format!("'{name}'")).collect();
        if !unexpected.is_empty() {
            let were = if unexpected.len() == 1 { "was" } else { "were" };
            let names = unexpected.join(", ");
            self.note(format!("Additional properties are not allowed ({names} {were} unexpected)"));
        }
    }

    /// Checks what lies one step further in.
    fn below(&mut self, step: &str, schema: &Value, value: &Value) {
        let here = self.place.len();
        self.place.push('/');
        self.place.push_str(&step.replace('~', "~0").replace('/', "~1"));
        self.all(schema, value);
        self.place.truncate(here);
    }

    fn note(&mut self, problem: String) {
        let place = if self.place.is_empty() { "the input" } else { &self.place };
        self.found.push(format!("{place}: {problem}"));
    }
}

fn is_of_type(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => name == "null",
        Value::Bool(_) => name == "boolean",
        Value::String(_) => name == "string",
        Value::Array(_) => name == "array",
        Value::Object(_) => name == "object",
        // A whole number is an integer, also where a point stands in it.
        Value::Number(number) => {
            name == "number" || name == "integer" && number.as_f64().is_none_or(|number| number.fract() == 0.0)
        }
    }
}

fn is_less(value: &Value, limit: &Value) -> bool {
    value.as_f64().zip(limit.as_f64()).is_some_and(|(value, limit)| value < limit)
}
