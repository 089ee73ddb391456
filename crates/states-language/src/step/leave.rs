//! Leaving a state: onwards with a result, again after a pause, or by a catcher.

use serde_json::{Map, Value, json};

use super::Run;
use super::record::{Events, details, output_details};
use crate::context::View;
use crate::definition::After;
use crate::error::Failure;
use crate::execution::{Activity, BranchId, Purpose, ROOT};
use crate::limits;
use crate::query::Scene;
use crate::retry;
use crate::{HistoryEventType, Outcome, Status};

impl Run<'_> {
    /// The state's work is done; a Task, Map or Parallel has a result.
    pub(super) fn complete(&mut self, id: BranchId, result: Option<Value>) {
        let state = self.state(id);
        if let Err(failure) = self.follow(id, &state.after, result, None) {
            self.fail(id, failure);
        }
    }

    /// Evaluates `Assign` and `Output`, both on the variables as they were, and moves on.
    pub(super) fn follow(
        &mut self,
        id: BranchId,
        after: &After,
        result: Option<Value>,
        error_output: Option<Value>,
    ) -> Result<(), Failure> {
        let templates: Vec<_> = after.assign.iter().chain(&after.output).collect();
        let (mut assigned, mut output) = (None, None);
        if !templates.is_empty() {
            let mut view = View::new(self.machine, self.execution, id);
            view.result = result.as_ref();
            view.error_output = error_output.as_ref();
            let mut scene = Scene::new(&templates, &view, self.env)?;
            assigned = after.assign.as_ref().map(|template| scene.value(template)).transpose()?;
            output = after.output.as_ref().map(|template| scene.value(template)).transpose()?;
        }
        if let Some(variables) = &assigned {
            limits::check("The variables of Assign", variables)?;
        }
        if let Some(output) = &output {
            limits::check("The output of the state", output)?;
        }
        let carried = output.or(result).or(error_output);
        // What a state passes on unchanged was within the limit before.
        let output = carried.unwrap_or_else(|| std::mem::take(&mut self.branch_mut(id).input));
        self.exit(id, assigned, &output);
        match after.next {
            Some(next) => self.go_to(id, next, output),
            None => self.end_branch(id, output),
        }
        Ok(())
    }

    fn exit(&mut self, id: BranchId, assigned: Option<Value>, output: &Value) {
        let state = self.state(id);
        if let Some(exited) = Events::of(state).exited {
            let name = ("name", Value::from(state.name.as_str()));
            let assigned = assigned.as_ref().and_then(Value::as_object).map(assigned_details);
            let members = [name].into_iter().chain(output_details(output));
            self.record(id, exited, details(members.chain(assigned.into_iter().flatten())));
        }
        if let Some(Value::Object(variables)) = assigned {
            self.branch_mut(id).variables.extend(variables);
        }
    }

    fn go_to(&mut self, id: BranchId, next: usize, input: Value) {
        let branch = self.branch_mut(id);
        branch.state = next;
        branch.input = input;
        self.ready.push_back(id);
    }

    fn end_branch(&mut self, id: BranchId, output: Value) {
        if id != ROOT {
            return self.join(id, output);
        }
        if self.overflow {
            return;
        }
        let details = details(output_details(&output));
        let outcome = Outcome { status: Status::Succeeded, output: Some(output), error: None, cause: None };
        self.finish(outcome, HistoryEventType::ExecutionSucceeded, details);
    }

    /// The state failed: tries it again, catches the failure, or lets it end the branch.
    pub(super) fn fail(&mut self, id: BranchId, failure: Failure) {
        let failure = self.located(id, failure);
        let state = self.state(id);
        if let Some((position, retrier)) = retry::retrier(&state.retry, &failure) {
            let attempts = &mut self.branch_mut(id).attempts;
            attempts.resize(attempts.len().max(position + 1), 0);
            let used = attempts[position];
            if used < retrier.max_attempts {
                attempts[position] += 1;
                let pause = retry::delay_ms(retrier, used, || self.env.random());
                let timer = self.set_timer(id, Purpose::Retry, pause);
                self.branch_mut(id).activity = Activity::Backoff { timer };
                return;
            }
        }
        let Some((_, catcher)) = retry::catcher(&state.catch, &failure) else {
            return self.fail_branch(id, failure);
        };
        if let Err(second) = self.follow(id, &catcher.after, None, Some(failure.output())) {
            let second = self.located(id, second);
            self.fail_branch(id, second);
        }
    }

    /// Says where a failure that the language raised comes from, in its cause and in history, as AWS does.
    fn located(&mut self, id: BranchId, mut failure: Failure) -> Failure {
        if !std::mem::take(&mut failure.raised) {
            return failure;
        }
        let name = &self.state(id).name;
        let entered = self.branch(id).entered_event;
        let cause = failure.cause.unwrap_or_default();
        let cause = format!(
            "An error occurred while executing the state '{name}' (entered at the event id #{entered}). {cause}"
        );
        if let Some(field) = failure.field.take() {
            let details = json!({ "error": failure.error, "cause": cause, "location": field, "state": name });
            self.record(id, HistoryEventType::EvaluationFailed, details);
        }
        failure.cause = Some(cause);
        failure
    }

    fn fail_branch(&mut self, id: BranchId, failure: Failure) {
        if id != ROOT {
            return self.fail_join(id, failure);
        }
        self.fail_execution(&failure);
    }
}

/// Variables as history holds them: each as JSON text, with a mark that they are whole.
fn assigned_details(variables: &Map<String, Value>) -> [(&'static str, Value); 2] {
    let shown = variables.iter().map(|(name, value)| (name.clone(), Value::from(value.to_string()))).collect();
    [("assignedVariables", Value::Object(shown)), ("assignedVariablesDetails", json!({ "truncated": false }))]
}
