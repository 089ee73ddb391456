//! Entering a state and beginning its work, once for each attempt.

use serde_json::Value;

use super::Run;
use super::record::Events;
use crate::definition::{Choice, Kind};
use crate::error::{self, Failure};
use crate::execution::{Activity, BranchId, Purpose};
use crate::history::Details;
use crate::query::{Scene, Template};
use crate::time;

impl Run<'_> {
    pub(super) fn enter(&mut self, id: BranchId) {
        let state = self.state(id);
        let input = Some(self.branch(id).input.text());
        let details = Details { name: Some(state.name.clone()), input, ..Details::default() };
        let event = self.record(id, Events::of(state).entered, details);
        let now = self.now;
        let branch = self.branch_mut(id);
        branch.entered_event = event;
        branch.entered_ms = now;
        branch.attempts.clear();
        self.begin(id);
    }

    /// One attempt at the branch's state.
    pub(super) fn begin(&mut self, id: BranchId) {
        if self.overflow {
            return;
        }
        self.branch_mut(id).activity = Activity::Ready;
        let begun = match &self.state(id).kind {
            Kind::Task(task) => self.begin_task(id, task),
            Kind::Choice(choice) => self.choose(id, choice),
            Kind::Map(map) => self.begin_map(id, map),
            Kind::Parallel { arguments, starts } => self.begin_parallel(id, arguments.as_ref(), starts),
            Kind::WaitSeconds(template) => self.wait_seconds(id, template),
            Kind::WaitUntil(template) => self.wait_until(id, template),
            Kind::Pass | Kind::Succeed => {
                self.complete(id, None);
                Ok(())
            }
            Kind::Fail { error, cause } => self.fail_on_purpose(id, error.as_ref(), cause.as_ref()),
        };
        if let Err(failure) = begun {
            self.fail(id, failure);
        }
    }

    fn choose(&mut self, id: BranchId, choice: &Choice) -> Result<(), Failure> {
        for (condition, after) in &choice.rules {
            match self.value(id, condition)? {
                Value::Bool(true) => {
                    self.follow(id, after, None, None).unwrap_or_else(|failure| self.fail(id, failure));
                    return Ok(());
                }
                Value::Bool(false) => {}
                other => return Err(unfit(condition, &other, "true or false")),
            }
        }
        if choice.default {
            self.complete(id, None);
            return Ok(());
        }
        let cause = "Failed to transition out of the state. The state does not point to a next state.";
        Err(Failure::raised(error::RUNTIME, cause))
    }

    fn wait_seconds(&mut self, id: BranchId, template: &Template) -> Result<(), Failure> {
        let seconds = self.seconds(id, template, 0)?;
        self.wait(id, seconds.saturating_mul(1_000));
        Ok(())
    }

    fn wait_until(&mut self, id: BranchId, template: &Template) -> Result<(), Failure> {
        let value = self.value(id, template)?;
        let due = value.as_str().and_then(time::parse);
        let due = due.ok_or_else(|| unfit(template, &value, "an RFC 3339 instant such as \"2026-01-31T12:00:00Z\""))?;
        self.wait(id, due.saturating_sub(self.now));
        Ok(())
    }

    /// A wait that is over already sets no timer.
    fn wait(&mut self, id: BranchId, ms: i64) {
        if ms <= 0 {
            return self.complete(id, None);
        }
        let timer = self.set_timer(id, Purpose::Wait, ms);
        self.branch_mut(id).activity = Activity::Wait { timer };
    }

    fn fail_on_purpose(
        &mut self,
        id: BranchId,
        error: Option<&Template>,
        cause: Option<&Template>,
    ) -> Result<(), Failure> {
        let error = self.text(id, error)?.unwrap_or_default();
        let cause = self.text(id, cause)?;
        Err(Failure::told(error, cause))
    }

    fn text(&mut self, id: BranchId, template: Option<&Template>) -> Result<Option<String>, Failure> {
        let Some(template) = template else { return Ok(None) };
        match self.value(id, template)? {
            Value::String(text) => Ok(Some(text)),
            other => Err(unfit(template, &other, "a string")),
        }
    }

    /// A whole number of seconds, at least `least`.
    pub(super) fn seconds(&mut self, id: BranchId, template: &Template, least: i64) -> Result<i64, Failure> {
        let value = self.value(id, template)?;
        let seconds = value.as_i64().filter(|seconds| (least..=99_999_999).contains(seconds));
        seconds.ok_or_else(|| unfit(template, &value, &format!("a whole number from {least} to 99999999")))
    }

    /// What a template is worth on entry to the state.
    pub(super) fn value(&mut self, id: BranchId, template: &Template) -> Result<Value, Failure> {
        if let Template::Literal(value) = template {
            return Ok(value.clone());
        }
        let view = crate::context::View::new(self.machine, self.execution, id);
        Scene::new(&[template], &view, self.env)?.value(template)
    }
}

/// The failure of an expression that evaluates, but to the wrong thing.
pub(super) fn unfit(template: &Template, value: &Value, wanted: &str) -> Failure {
    let shown: String = value.to_string().chars().take(100).collect();
    match template {
        Template::Query(query) => Failure::query_at(
            query.field(),
            format!(
                "The JSONata expression '{}' specified for the field '{}' returned {shown} where {wanted} was expected.",
                query.text(),
                query.field()
            ),
        ),
        _ => Failure::query(format!("{shown} stands where {wanted} was expected.")),
    }
}
