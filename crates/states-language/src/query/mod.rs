//! JSONata as Step Functions uses it: `{% ... %}` anywhere in a JSON value, evaluated without a context item.

mod functions;
mod names;
mod scene;

use jsonata_core::ast::AstNode;
use jsonata_core::parser;
use serde_json::Value;

pub(crate) use names::{AllNames, Names};
pub(crate) use scene::{Scene, Sources, to_query};

/// A JSON value with expressions in it, parsed once.
#[derive(Debug)]
pub(crate) enum Template {
    /// Holds no expression.
    Literal(Value),
    Query(Box<Query>),
    Array(Vec<Template>),
    Object(Vec<(String, Template)>),
}

/// One parsed expression.
#[derive(Debug)]
pub(crate) struct Query {
    /// What stands between `{%` and `%}`.
    text: String,
    /// Where it stands within its state, such as `Arguments/Payload/run_id`.
    field: String,
    ast: AstNode,
    names: Names,
}

/// What an expression may read of `$states` besides `input` and `context`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Before anything was done, or where nothing is ever done.
    Entry,
    /// After a Task, Map or Parallel succeeded: `$states.result`.
    Result,
    /// In a catcher: `$states.errorOutput`.
    Catch,
}

impl Template {
    /// Parses every expression in `value`; says what is wrong with each that cannot run, with its field.
    pub(crate) fn parse(value: &Value, field: &str, place: Place, wrong: &mut Vec<(String, String)>) -> Self {
        match value {
            Value::String(text) => Self::parse_text(text, field, place, wrong),
            Value::Array(items) => {
                let parse = |(i, item)| Self::parse(item, &format!("{field}[{i}]"), place, wrong);
                Self::folded_array(items.iter().enumerate().map(parse).collect())
            }
            Value::Object(members) => {
                let parse = |(name, member): (&String, &Value)| {
                    (name.clone(), Self::parse(member, &format!("{field}/{name}"), place, wrong))
                };
                Self::folded_object(members.iter().map(parse).collect())
            }
            plain => Self::Literal(plain.clone()),
        }
    }

    fn parse_text(text: &str, field: &str, place: Place, wrong: &mut Vec<(String, String)>) -> Self {
        let literal = Self::Literal(Value::String(text.to_owned()));
        let expression = match (text.strip_prefix("{%"), text.strip_suffix("%}")) {
            (None, None) => return literal,
            (Some(_), Some(_)) if text.len() >= 4 => &text[2..text.len() - 2],
            _ => {
                let message = format!("{text:?} is half an expression: begin it with `{{%` and end it with `%}}`");
                wrong.push((field.to_owned(), message));
                return literal;
            }
        };
        match Query::parse(expression.trim(), field, place) {
            Ok(query) => Self::Query(Box::new(query)),
            Err(messages) => {
                wrong.extend(messages.into_iter().map(|message| (field.to_owned(), message)));
                literal
            }
        }
    }

    /// An array without expressions is a literal, copied whole when evaluated.
    fn folded_array(items: Vec<Self>) -> Self {
        if items.iter().all(|item| matches!(item, Self::Literal(_))) {
            return Self::Literal(items.into_iter().filter_map(Self::into_literal).collect());
        }
        Self::Array(items)
    }

    fn folded_object(members: Vec<(String, Self)>) -> Self {
        if members.iter().all(|(_, member)| matches!(member, Self::Literal(_))) {
            let literal = members.into_iter().filter_map(|(name, member)| Some((name, member.into_literal()?)));
            return Self::Literal(Value::Object(literal.collect()));
        }
        Self::Object(members)
    }

    fn into_literal(self) -> Option<Value> {
        match self {
            Self::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// The names that its expressions use.
    pub(crate) fn names(&self) -> AllNames<'_> {
        let mut all = AllNames::default();
        all.add(self);
        all
    }

    pub(crate) fn each_query<'a>(&'a self, visit: &mut impl FnMut(&'a Query)) {
        match self {
            Self::Literal(_) => {}
            Self::Query(query) => visit(query),
            Self::Array(items) => items.iter().for_each(|item| item.each_query(visit)),
            Self::Object(members) => members.iter().for_each(|(_, member)| member.each_query(visit)),
        }
    }

    /// The member names, where the value is certain to be an object.
    pub(crate) fn members(&self) -> Option<Vec<&str>> {
        match self {
            Self::Literal(Value::Object(members)) => Some(members.keys().map(String::as_str).collect()),
            Self::Object(members) => Some(members.iter().map(|(name, _)| name.as_str()).collect()),
            _ => None,
        }
    }
}

impl Query {
    fn parse(text: &str, field: &str, place: Place) -> Result<Self, Vec<String>> {
        let ast = parser::parse(text).map_err(|e| vec![format!("`{text}` is not JSONata: {e}")])?;
        let names = Names::of(&ast);
        let wrong = names.refused(place);
        if !wrong.is_empty() {
            return Err(wrong.into_iter().map(|message| format!("`{text}`: {message}")).collect());
        }
        Ok(Self { text: text.to_owned(), field: field.to_owned(), ast, names })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn field(&self) -> &str {
        &self.field
    }

    pub(crate) fn names(&self) -> &Names {
        &self.names
    }
}
