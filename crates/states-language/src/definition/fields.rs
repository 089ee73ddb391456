//! Reads the members of one JSON object and notes what is wrong with them.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::refused;
use super::{After, Problem};
use crate::query::{Place, Template};

/// The problems found so far.
#[derive(Debug, Default)]
pub(super) struct Report(pub(super) Vec<Problem>);

impl Report {
    pub(super) fn add(&mut self, path: &str, message: impl Into<String>) {
        self.0.push(Problem { path: path.to_owned(), message: message.into() });
    }
}

/// One object of the definition. Each member is asked for by name; [`Fields::finish`] refuses those nobody asked for.
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    /// Where it stands in the definition.
    pub(super) path: String,
    /// Where its fields stand within their state, as AWS names them: empty, or such as `Catch[0]/`.
    prefix: String,
    asked: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(value: &'a Value, path: impl Into<String>, report: &mut Report) -> Option<Self> {
        let path = path.into();
        match value {
            Value::Object(map) => Some(Self { map, path, prefix: String::new(), asked: Vec::new() }),
            other => {
                report.add(&path, format!("{} stands where an object must", shown(other)));
                None
            }
        }
    }

    /// For an object within a state, such as a catcher.
    pub(super) fn within(mut self, prefix: String) -> Self {
        self.prefix = prefix;
        self
    }

    pub(super) fn take(&mut self, name: &'static str) -> Option<&'a Value> {
        if !self.asked.contains(&name) {
            self.asked.push(name);
        }
        self.map.get(name)
    }

    /// The path of one of its members.
    pub(super) fn at(&self, name: &str) -> String {
        if self.path == "definition" { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    pub(super) fn missing(&self, name: &str, why: &str, report: &mut Report) {
        report.add(&self.path, format!("`{name}` is missing: {why}"));
    }

    fn wrong(&self, name: &str, value: &Value, wanted: &str, report: &mut Report) {
        report.add(&self.path, format!("`{name}` is {}: it must be {wanted}", shown(value)));
    }

    pub(super) fn text(&mut self, name: &'static str, report: &mut Report) -> Option<&'a str> {
        let value = self.take(name)?;
        if value.as_str().is_none() {
            self.wrong(name, value, "a string", report);
        }
        value.as_str()
    }

    pub(super) fn flag(&mut self, name: &'static str, report: &mut Report) -> Option<bool> {
        let value = self.take(name)?;
        if value.as_bool().is_none() {
            self.wrong(name, value, "true or false", report);
        }
        value.as_bool()
    }

    pub(super) fn list(&mut self, name: &'static str, report: &mut Report) -> &'a [Value] {
        match self.take(name) {
            None => &[],
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.wrong(name, other, "an array", report);
                &[]
            }
        }
    }

    pub(super) fn whole(&mut self, name: &'static str, range: RangeInclusive<i64>, report: &mut Report) -> Option<i64> {
        let value = self.take(name)?;
        let number = value.as_i64().filter(|number| range.contains(number));
        if number.is_none() {
            self.wrong(name, value, &format!("a whole number from {} to {}", range.start(), range.end()), report);
        }
        number
    }

    pub(super) fn number(&mut self, name: &'static str, least: f64, report: &mut Report) -> Option<f64> {
        let value = self.take(name)?;
        let number = value.as_f64().filter(|number| *number >= least);
        if number.is_none() {
            self.wrong(name, value, &format!("a number, {least} or more"), report);
        }
        number
    }

    /// Any JSON value with expressions in it.
    pub(super) fn template(&mut self, name: &'static str, place: Place, report: &mut Report) -> Option<Template> {
        let value = self.take(name)?;
        let mut wrong = Vec::new();
        let template = Template::parse(value, &format!("{}{name}", self.prefix), place, &mut wrong);
        for (field, message) in wrong {
            report.add(&self.path, format!("`{field}`: {message}"));
        }
        Some(template)
    }

    /// One expression, or a literal that `fits`.
    pub(super) fn expression(
        &mut self,
        name: &'static str,
        fits: impl Fn(&Value) -> bool,
        wanted: &str,
        report: &mut Report,
    ) -> Option<Template> {
        let template = self.template(name, Place::Entry, report)?;
        let value = &self.map[name];
        if !matches!(template, Template::Query(_)) && !fits(value) {
            self.wrong(name, value, &format!("{wanted} or one JSONata expression `{{% ... %}}`"), report);
        }
        Some(template)
    }

    /// Seconds: a whole number or an expression.
    pub(super) fn seconds(
        &mut self,
        name: &'static str,
        range: RangeInclusive<i64>,
        report: &mut Report,
    ) -> Option<Template> {
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        self.expression(name, |value| value.as_i64().is_some_and(|n| range.contains(&n)), &wanted, report)
    }

    /// `Assign` and `Output`; the transition is the caller's.
    pub(super) fn after(&mut self, place: Place, report: &mut Report) -> After {
        let output = self.template("Output", place, report);
        let assign = self.template("Assign", place, report);
        match assign.as_ref().map(Template::members) {
            None => {}
            Some(None) => self.wrong("Assign", &self.map["Assign"], "an object of variables", report),
            Some(Some(names)) => {
                for name in names.into_iter().filter(|name| !is_variable_name(name)) {
                    let cure = "a letter or `_`, then letters, digits or `_`, at most 80, and not `states`";
                    report.add(&self.path, format!("`Assign` names the variable `{name}`: a name is {cure}"));
                }
            }
        }
        After { assign, output, next: None }
    }

    /// Refuses every member that nobody asked for.
    pub(super) fn finish(self, what: &str, report: &mut Report) {
        for name in self.map.keys().filter(|name| !self.asked.contains(&name.as_str())) {
            report.add(&self.path, refused::field(name, what, &self.asked));
        }
    }
}

fn is_variable_name(name: &str) -> bool {
    let mut chars = name.chars();
    let first = chars.next().is_some_and(|c| c.is_alphabetic() || c == '_');
    first && chars.all(|c| c.is_alphanumeric() || c == '_') && name.chars().count() <= 80 && name != "states"
}

/// A value as a message shows it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        plain => plain.to_string(),
    }
}
