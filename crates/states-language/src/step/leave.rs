//! Leaving a state: onwards with a result, again after a pause, or by a catcher.

use serde_json::Value;

use super::Run;
use super::record::Events;
use crate::context::View;
use crate::data::{self, Data};
use crate::definition::After;
use crate::error::Failure;
use crate::execution::{Activity, BranchId, Purpose, ROOT, Variables};
use crate::history::Details;
use crate::query::Scene;
use crate::retry;
use crate::{HistoryEventType, Outcome, Status};

impl Run<'_> {
    /// The state's work is done; a Task, Map or Parallel has a result.
    pub(super) fn complete(&mut self, id: BranchId, result: Option<Data>) {
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
        result: Option<Data>,
        error_output: Option<Value>,
    ) -> Result<(), Failure> {
        let templates: Vec<_> = after.assign.iter().chain(&after.output).collect();
        let (mut assigned, mut output) = (None, None);
        if !templates.is_empty() {
            let mut view = View::new(self.machine, self.execution, id);
            view.result = result.as_ref().map(Data::value);
            view.error_output = error_output.as_ref();
            let mut scene = Scene::new(&templates, &view, self.env)?;
            assigned = after.assign.as_ref().map(|template| scene.value(template)).transpose()?;
            output = after.output.as_ref().map(|template| scene.value(template)).transpose()?;
        }
        let assigned = assigned.map(variables).transpose()?;
        let output = output.map(|output| Data::within_limit("The output of the state", output)).transpose()?;
        let carried = output.or(result).or_else(|| error_output.map(Data::new));
        // What a state passes on unchanged was within the limit before.
        let output = carried.unwrap_or_else(|| std::mem::take(&mut self.branch_mut(id).input));
        self.exit(id, assigned, &output);
        match after.next {
            Some(next) => self.go_to(id, next, output),
            None => self.end_branch(id, output),
        }
        Ok(())
    }

    fn exit(&mut self, id: BranchId, assigned: Option<Variables>, output: &Data) {
        let state = self.state(id);
        if let Some(exited) = Events::of(state).exited {
            let texts = |(name, data): (&String, &Data)| (name.clone(), data.text());
            let details = Details {
                name: Some(state.name.clone()),
                output: Some(output.text()),
                assigned_variables: assigned.as_ref().map(|assigned| assigned.iter().map(texts).collect()),
                ..Details::default()
            };
            self.record(id, exited, details);
        }
        self.branch_mut(id).variables.extend(assigned.unwrap_or_default());
    }

    fn go_to(&mut self, id: BranchId, next: usize, input: Data) {
        let branch = self.branch_mut(id);
        branch.state = next;
        branch.input = input;
        self.ready.push_back(id);
    }

    fn end_branch(&mut self, id: BranchId, output: Data) {
        if id != ROOT {
            return self.join(id, output.into_value());
        }
        if self.overflow {
            return;
        }
        let details = Details { output: Some(output.text()), ..Details::default() };
        let outcome =
            Outcome { status: Status::Succeeded, output: Some(output.into_value()), error: None, cause: None };
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
            let (location, state) = (Some(field), Some(name.clone()));
            let (error, cause) = (Some(failure.error.clone()), Some(cause.clone()));
            let details = Details { error, cause, location, state, ..Details::default() };
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

/// What `Assign` came to, each variable by itself.
fn variables(assigned: Value) -> Result<Variables, Failure> {
    let Value::Object(assigned) = assigned else { return Ok(Variables::new()) };
    let assigned = assigned.into_iter().map(|(name, value)| (name, Data::new(value))).collect();
    data::check("The variables of Assign", &assigned)?;
    Ok(assigned)
}
