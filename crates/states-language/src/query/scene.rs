//! Runs expressions: binds what they name, and turns what comes out into JSON or an error of the language.

use std::cell::RefCell;
use std::rc::Rc;

use jsonata_core::evaluator::{Context, Evaluator, EvaluatorOptions};
use jsonata_core::value::{JValue, with_stack};
use serde::Deserialize;
use serde_json::{Map, Number, Value};

use super::functions::{self, Draws};
use super::{AllNames, Query, Template};
use crate::Env;
use crate::error::Failure;

/// A runaway expression is stopped after so long. A guard, not a part of the language: nothing sane comes near it.
const TIMEOUT_MS: u64 = 1_000;
const MAX_DEPTH: usize = 500;
const MAX_SEQUENCE: usize = 100_000;

/// Where the names of an expression get their values.
pub(crate) trait Sources {
    /// The value of an assigned variable.
    fn variable(&self, name: &str) -> Option<&Value>;
    /// The members of `$states` that exist where the expressions stand; only those they read are needed.
    fn states(&self, names: &AllNames<'_>) -> Vec<(&'static str, JValue)>;
}

/// Expressions of one moment of one state: they see the same variables, input and clock.
pub(crate) struct Scene<'a> {
    evaluator: Evaluator,
    draws: Rc<RefCell<Draws>>,
    env: &'a mut dyn Env,
}

impl<'a> Scene<'a> {
    /// Binds what the templates name.
    pub(crate) fn new(templates: &[&Template], sources: &impl Sources, env: &'a mut dyn Env) -> Result<Self, Failure> {
        let mut names = AllNames::default();
        templates.iter().for_each(|template| names.add(template));
        let mut context = Context::new();
        for name in names.free() {
            if let Some(value) = sources.variable(name) {
                context.bind(name.to_owned(), to_query(value));
            }
        }
        if names.reads("") {
            let states = sources.states(&names).into_iter().map(|(member, value)| (member.to_owned(), value));
            context.bind("states".to_owned(), JValue::object(states.collect()));
        }
        let options = EvaluatorOptions {
            timeout_ms: Some(TIMEOUT_MS),
            max_stack_depth: Some(MAX_DEPTH),
            max_sequence_length: Some(MAX_SEQUENCE),
            cancel: None,
        };
        let mut evaluator = Evaluator::with_options(context, options);
        let draws = Rc::default();
        functions::register(&mut evaluator, &names, env.now_ms(), &draws).map_err(|e| Failure::query(e.to_string()))?;
        Ok(Self { evaluator, draws, env })
    }

    /// The value of a template. An expression that yields nothing is an error, as on AWS.
    pub(crate) fn value(&mut self, template: &Template) -> Result<Value, Failure> {
        match template {
            Template::Literal(value) => Ok(value.clone()),
            Template::Query(query) => self.query(query),
            Template::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Template::Object(members) => {
                let mut object = Map::with_capacity(members.len());
                for (name, member) in members {
                    object.insert(name.clone(), self.value(member)?);
                }
                Ok(Value::Object(object))
            }
        }
    }

    fn query(&mut self, query: &Query) -> Result<Value, Failure> {
        self.draws.borrow_mut().clear();
        let result = loop {
            let result = self.evaluator.evaluate(&query.ast, &JValue::Undefined);
            if !self.draws.borrow_mut().refill(self.env) {
                break result;
            }
        };
        let failed = |what: &str| {
            Failure::query_at(
                &query.field,
                format!("The JSONata expression '{}' specified for the field '{}' {what}", query.text, query.field),
            )
        };
        match result {
            Err(e) => Err(failed(&format!("threw an error during evaluation. {}", e.message()))),
            Ok(JValue::Undefined) => Err(failed("returned nothing (undefined).")),
            Ok(value) => from_query(&value).map_err(|what| failed(&format!("returned {what}, which is not JSON."))),
        }
    }
}

/// JSON as JSONata sees it.
pub(crate) fn to_query(value: &Value) -> JValue {
    // A `Value` holds nothing that `JValue` refuses.
    JValue::deserialize(value).unwrap_or(JValue::Undefined)
}

fn from_query(value: &JValue) -> Result<Value, &'static str> {
    with_stack(|| {
        Ok(match value {
            JValue::Null => Value::Null,
            JValue::Bool(flag) => Value::Bool(*flag),
            JValue::Number(number) => Value::Number(from_number(*number).ok_or("a number without bounds")?),
            JValue::String(text) => Value::String(text.to_string()),
            JValue::Array(items) => Value::Array(items.iter().map(from_query).collect::<Result<_, _>>()?),
            JValue::Object(members) => {
                let mut object = Map::with_capacity(members.len());
                for (name, member) in members.iter().filter(|(_, member)| !member.is_undefined()) {
                    object.insert(name.clone(), from_query(member)?);
                }
                Value::Object(object)
            }
            JValue::Undefined => return Err("nothing within an array"),
            JValue::Regex { .. } => return Err("a regular expression"),
            JValue::Lambda(_) | JValue::Builtin { .. } => return Err("a function"),
        })
    })
}

/// A whole number is written without a fraction, as JavaScript writes it.
fn from_number(number: f64) -> Option<Number> {
    if number.fract() == 0.0 && number.abs() < i64::MAX as f64 {
        return Some(Number::from(number as i64));
    }
    Number::from_f64(number)
}
