//! Task states: an attempt goes out, and what comes back.

use serde_json::{Value, json};

use super::Run;
use crate::context::View;
use crate::data::{Data, Text};
use crate::definition::{Kind, Resource, Task};
use crate::error::{self, Failure};
use crate::execution::{Activity, Attempt, BranchId, Call, Heartbeat, Purpose};
use crate::history::Details;
use crate::query::Scene;
use crate::{Action, HistoryEventType, Ignored, TaskId};

impl Run<'_> {
    pub(super) fn begin_task(&mut self, id: BranchId, task: &Task) -> Result<(), Failure> {
        let token = (task.resource == Resource::FunctionCallback).then(|| self.env.token());
        let mut view = View::new(self.machine, self.execution, id);
        view.token = token.as_deref();
        let arguments = Scene::new(&[&task.arguments], &view, self.env)?.value(&task.arguments)?;
        let timeout = task.timeout_seconds.as_ref().map(|template| self.seconds(id, template, 1)).transpose()?;
        let heartbeat = task.heartbeat_seconds.as_ref().map(|template| self.seconds(id, template, 1)).transpose()?;
        let arguments = Data::within_limit("The arguments of the task", arguments)?;
        let scheduled = self.scheduled(task.resource, arguments.text(), timeout, heartbeat);
        let call = self.call(task.resource, arguments.into_value(), token)?;
        self.record(id, HistoryEventType::TaskScheduled, scheduled);
        self.record(id, HistoryEventType::TaskStarted, Details::of_task(task.resource));
        let ms = |seconds: i64| seconds.saturating_mul(1_000);
        let attempt = Attempt {
            task: TaskId(self.execution.next_id()),
            call,
            timeout: timeout.map(|seconds| self.set_timer(id, Purpose::Timeout, ms(seconds))),
            heartbeat: heartbeat.map(|seconds| Heartbeat {
                timer: self.set_timer(id, Purpose::Heartbeat, ms(seconds)),
                interval_ms: ms(seconds),
            }),
        };
        self.out.actions.extend(attempt.action());
        self.branch_mut(id).activity = Activity::Task(attempt);
        Ok(())
    }

    fn scheduled(&self, resource: Resource, parameters: Text, timeout: Option<i64>, heartbeat: Option<i64>) -> Details {
        // arn:aws:states:REGION:ACCOUNT:stateMachine:NAME
        let region = self.execution.origin.identity.machine_arn.split(':').nth(3).unwrap_or_default();
        Details {
            region: Some(region.to_owned()),
            parameters: Some(parameters),
            timeout_in_seconds: timeout,
            heartbeat_in_seconds: heartbeat,
            ..Details::of_task(resource)
        }
    }

    fn call(&mut self, resource: Resource, arguments: Value, token: Option<String>) -> Result<Call, Failure> {
        let Value::Object(mut members) = arguments else {
            return Err(Failure::query_at("Arguments", "The arguments of a task must be an object."));
        };
        let (_, known) = resource.arguments();
        if let Some(name) = members.keys().find(|name| !known.contains(&name.as_str())) {
            let known = known.join(", ");
            return Err(Failure::raised(
                error::RUNTIME,
                format!("The argument '{name}' is not run here: there are {known}."),
            ));
        }
        let mut text = |name: &str| match members.remove(name) {
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
            None => Ok(None),
            Some(other) => {
                Err(Failure::raised(error::RUNTIME, format!("The argument '{name}' is {other}: it must be a string.")))
            }
        };
        let required = |name: &str, value: Option<String>| {
            value.ok_or_else(|| Failure::raised(error::RUNTIME, format!("The argument '{name}' is missing.")))
        };
        if resource == Resource::Execution {
            let machine = required("StateMachineArn", text("StateMachineArn")?)?;
            let name = text("Name")?;
            let input = members.remove("Input").unwrap_or_else(|| json!({}));
            return Ok(Call::Execution { machine, name: name.unwrap_or_else(|| self.env.uuid()), input, child: None });
        }
        let function = required("FunctionName", text("FunctionName")?)?;
        let qualifier = text("Qualifier")?;
        let payload = members.remove("Payload").unwrap_or_else(|| json!({}));
        Ok(Call::Function { function, qualifier, payload, token, handed_over: false })
    }

    fn resource(&self, id: BranchId) -> Resource {
        match &self.state(id).kind {
            Kind::Task(task) => task.resource,
            _ => Resource::Function,
        }
    }

    fn attempt_mut(&mut self, id: BranchId) -> Option<&mut Attempt> {
        match &mut self.branch_mut(id).activity {
            Activity::Task(attempt) => Some(attempt),
            _ => None,
        }
    }

    /// Whether the function of a callback task has returned: it has no more say.
    pub(super) fn handed_over(&self, id: BranchId) -> bool {
        matches!(
            &self.branch(id).activity,
            Activity::Task(Attempt { call: Call::Function { handed_over: true, .. }, .. })
        )
    }

    pub(super) fn submitted(&mut self, id: BranchId, output: Value) -> Result<(), Ignored> {
        let Some(Attempt { call: Call::Execution { child: child @ None, .. }, .. }) = self.attempt_mut(id) else {
            return Err(Ignored::AlreadySubmitted);
        };
        *child = output["ExecutionArn"].as_str().map(str::to_owned);
        self.record_submitted(id, output);
        Ok(())
    }

    fn record_submitted(&mut self, id: BranchId, output: Value) {
        let output = Some(Data::new(output).text());
        let details = Details { output, ..Details::of_task(self.resource(id)) };
        self.record(id, HistoryEventType::TaskSubmitted, details);
    }

    /// A function returned or a child succeeded.
    pub(super) fn returned(&mut self, id: BranchId, output: Value) -> Result<(), Ignored> {
        match self.attempt_mut(id).map(|attempt| &mut attempt.call) {
            Some(Call::Function { token: Some(_), handed_over, .. }) => {
                if std::mem::replace(handed_over, true) {
                    return Err(Ignored::AlreadySubmitted);
                }
                self.record_submitted(id, invoked(output));
            }
            Some(Call::Function { .. }) => self.task_succeeded(id, invoked(output)),
            _ => self.task_succeeded(id, output),
        }
        Ok(())
    }

    pub(super) fn task_succeeded(&mut self, id: BranchId, result: Value) {
        self.release(id);
        let resource = self.resource(id);
        let (kind, name) = resource.names();
        let what = format!("The state/task 'arn:aws:states:::{kind}:{name}' returned a result whose size");
        let result = match Data::within_limit(&what, result) {
            Ok(result) => result,
            Err(failure) => return self.fail(id, failure),
        };
        let details = Details { output: Some(result.text()), ..Details::of_task(resource) };
        self.record(id, HistoryEventType::TaskSucceeded, details);
        self.complete(id, Some(result));
    }

    pub(super) fn task_failed(&mut self, id: BranchId, failure: Failure) {
        self.release(id);
        self.record_failure(id, HistoryEventType::TaskFailed, &failure);
        self.fail(id, failure);
    }

    pub(super) fn task_timed_out(&mut self, id: BranchId, heartbeat: bool) {
        self.settle(id);
        let failure = Failure::timeout(heartbeat);
        self.record_failure(id, HistoryEventType::TaskTimedOut, &failure);
        self.fail(id, failure);
    }

    fn record_failure(&mut self, id: BranchId, kind: HistoryEventType, failure: &Failure) {
        self.record(id, kind, Details::of_task(self.resource(id)).failed(failure));
    }

    pub(super) fn heartbeat(&mut self, id: BranchId) {
        let due = |now: i64, beat: &Heartbeat| (beat.timer, now.saturating_add(beat.interval_ms));
        let now = self.now;
        let Some((timer, due_ms)) =
            self.attempt_mut(id).and_then(|attempt| attempt.heartbeat.as_ref()).map(|beat| due(now, beat))
        else {
            return;
        };
        if let Some(set) = self.execution.timers.get_mut(&timer) {
            set.due_ms = due_ms;
            self.out.actions.push(Action::SetTimer { timer, due_ms });
        }
    }
}

/// What `lambda:invoke` answers.
fn invoked(payload: Value) -> Value {
    json!({ "ExecutedVersion": "$LATEST", "Payload": payload, "StatusCode": 200 })
}
