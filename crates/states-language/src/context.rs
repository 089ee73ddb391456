//! What expressions see: the variables in scope, `$states` and its context object.

use jsonata_core::value::JValue;
use serde_json::Value;

use crate::Execution;
use crate::data::Data;
use crate::definition::Machine;
use crate::execution::{Branch, BranchId};
use crate::query::{AllNames, Sources, to_query};
use crate::time;

/// The view from a state of one branch.
pub(crate) struct View<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) execution: &'a Execution,
    pub(crate) branch: &'a Branch,
    pub(crate) result: Option<&'a Value>,
    pub(crate) error_output: Option<&'a Value>,
    pub(crate) token: Option<&'a str>,
    /// The item a Map is about to begin with; within an iteration it is the branch's own.
    pub(crate) item: Option<(usize, &'a Value)>,
}

impl<'a> View<'a> {
    /// On entry to the branch's state.
    pub(crate) fn new(machine: &'a Machine, execution: &'a Execution, id: BranchId) -> Self {
        let branch = &execution.branches[&id];
        Self { machine, execution, branch, result: None, error_output: None, token: None, item: None }
    }

    /// The branch and those around it, from the inside out.
    fn enclosing(&self) -> impl Iterator<Item = &'a Branch> {
        let outer =
            |branch: &&'a Branch| branch.parent.as_ref().and_then(|parent| self.execution.branches.get(&parent.branch));
        std::iter::successors(Some(self.branch), outer)
    }

    fn context(&self, names: &AllNames<'_>) -> JValue {
        let mut context = Vec::with_capacity(5);
        for (part, value) in [
            ("context.Execution", self.execution_context(names)),
            ("context.State", self.state_context()),
            ("context.StateMachine", self.machine_context()),
        ] {
            if names.reads(part) {
                context.push((part.trim_start_matches("context."), value));
            }
        }
        if let Some(token) = self.token {
            context.push(("Task", object([("Token", JValue::from(token))])));
        }
        if names.reads("context.Map")
            && let Some(item) = self.item_context()
        {
            context.push(("Map", object([("Item", item)])));
        }
        object(context)
    }

    fn execution_context(&self, names: &AllNames<'_>) -> JValue {
        let identity = &self.execution.origin.identity;
        let mut members = vec![
            ("Id", JValue::from(identity.execution_arn.as_str())),
            ("Name", JValue::from(identity.execution_name.as_str())),
            ("RoleArn", JValue::from(identity.role_arn.as_str())),
            ("StartTime", JValue::from(time::format(self.execution.started_ms.unwrap_or_default()))),
            ("RedriveCount", JValue::from(0_i64)),
        ];
        // By far the largest member, and the least read.
        if names.reads("context.Execution.Input") {
            members.push(("Input", to_query(&self.execution.origin.input)));
        }
        object(members)
    }

    fn state_context(&self) -> JValue {
        object([
            ("Name", JValue::from(self.machine.states[self.branch.state].name.as_str())),
            ("EnteredTime", JValue::from(time::format(self.branch.entered_ms))),
            ("RetryCount", JValue::from(i64::from(self.branch.retry_count()))),
        ])
    }

    fn machine_context(&self) -> JValue {
        let identity = &self.execution.origin.identity;
        object([
            ("Id", JValue::from(identity.machine_arn.as_str())),
            ("Name", JValue::from(identity.machine_name.as_str())),
        ])
    }

    fn item_context(&self) -> Option<JValue> {
        if let Some((index, value)) = self.item {
            return Some(item(index, Some(value)));
        }
        let iteration = self.enclosing().find_map(|branch| branch.parent.as_ref().filter(|parent| parent.iteration))?;
        Some(item(iteration.index, iteration.item.as_ref()))
    }
}

impl Sources for View<'_> {
    fn variable(&self, name: &str) -> Option<&Value> {
        self.enclosing().find_map(|branch| branch.variables.get(name).map(Data::value))
    }

    fn states(&self, names: &AllNames<'_>) -> Vec<(&'static str, JValue)> {
        let mut states = Vec::with_capacity(4);
        let values =
            [("input", Some(self.branch.input.value())), ("result", self.result), ("errorOutput", self.error_output)];
        for (name, value) in values {
            if let Some(value) = value.filter(|_| names.reads(name)) {
                states.push((name, to_query(value)));
            }
        }
        if names.reads("context") {
            states.push(("context", self.context(names)));
        }
        states
    }
}

fn item(index: usize, value: Option<&Value>) -> JValue {
    let index = ("Index", JValue::from(index));
    object(std::iter::once(index).chain(value.map(|value| ("Value", to_query(value)))))
}

fn object<'n>(members: impl IntoIterator<Item = (&'n str, JValue)>) -> JValue {
    JValue::object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
