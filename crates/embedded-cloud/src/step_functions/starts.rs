//! Starting executions, for the API and for parents.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;
use states_language::{Event, Execution, Identity};
use tokio::sync::oneshot;

use super::EngineError;
use super::arn::{check_name, no_machine};
use super::driver::{Engine, Live};
use super::records::{self, Parent, Recorded};
use crate::AwsError;

/// What a new execution is made of.
pub(super) struct Begin {
    pub(super) machine: String,
    pub(super) name: String,
    pub(super) input: Value,
    pub(super) parent: Option<Parent>,
}

/// An execution that has been started, now or before.
pub(super) struct Begun {
    pub(super) id: i64,
    pub(super) arn: String,
    pub(super) started_ms: i64,
}

impl Engine {
    /// Starts an execution for somebody who may go away meanwhile: what is recorded is also set off.
    pub(super) async fn begin_for(self: &Arc<Self>, begin: Begin) -> Result<Begun, AwsError> {
        let (reply, answer) = oneshot::channel();
        let engine = self.clone();
        self.spawn(async move { drop(reply.send(engine.begin(begin).await)) });
        answer.await.map_err(|_| EngineError::NotRunning)?
    }

    /// Starts an execution, or answers the one that an equal start has made: for the same task of the same parent, or
    /// with the same input while it runs.
    pub(super) async fn begin(self: &Arc<Self>, begin: Begin) -> Result<Begun, AwsError> {
        self.functions()?;
        check_name(&begin.name)?;
        let (mut live, recorded) = self.newborn(&begin)?;
        let Ok((actions, transition)) = self.step(&mut live, Event::Start)? else {
            return Err(AwsError::internal("a new execution does not start"));
        };
        let begun = Begun {
            id: live.id,
            arn: self.place.execution_arn(&begin.machine, &begin.name),
            started_ms: recorded.started_ms,
        };
        // The inbox is there before the row: a stop that sees the row must find this actor, not call a second one.
        let mails = self.reserve(live.id);
        let written = self.log.write(move |connection| records::begin(connection, &recorded, &transition)).await;
        match written {
            Ok(None) => {
                self.publish(&live.execution, None);
                self.perform(&mut live, actions);
                self.spawn(self.clone().attend(live.id, Some(live), mails));
                Ok(begun)
            }
            Ok(Some(old)) => {
                self.release(live.id);
                self.again(begin, old)
            }
            Err(error) => {
                self.release(live.id);
                Err(AwsError::internal(error.to_string()))
            }
        }
    }

    /// An execution that is not recorded yet, and its row.
    fn newborn(&self, begin: &Begin) -> Result<(Live, Recorded), AwsError> {
        let machine_arn = self.place.machine_arn(&begin.machine);
        let (version, machine) = self.newest(&begin.machine)?.ok_or_else(|| no_machine(&machine_arn))?;
        let identity = Identity {
            execution_arn: self.place.execution_arn(&begin.machine, &begin.name),
            execution_name: begin.name.clone(),
            machine_arn,
            machine_name: begin.machine.clone(),
            role_arn: self.place.role_arn(),
        };
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let execution = Execution::new(identity, begin.input.clone());
        let live = Live { id, machine, execution, stopped_ms: None, invocations: 0 };
        let recorded = Recorded {
            id,
            machine: begin.machine.clone(),
            name: begin.name.clone(),
            version,
            status: String::new(),
            started_ms: self.clock.now_ms(),
            stopped_ms: None,
            parent: begin.parent,
            state: Vec::new(),
            origin: self.encode(&live, live.execution.origin())?,
        };
        Ok((live, recorded))
    }

    /// What a start means whose name is taken: the execution of that name goes on, if it is the same.
    fn again(self: &Arc<Self>, begin: Begin, old: Recorded) -> Result<Begun, AwsError> {
        let arn = self.place.execution_arn(&old.machine, &old.name);
        let same_task = begin.parent.is_some() && begin.parent == old.parent;
        if same_task || (old.runs() && *self.state(&old)?.input() == begin.input) {
            self.take_up(old.id)?;
            return Ok(Begun { id: old.id, arn, started_ms: old.started_ms });
        }
        Err(AwsError::client("ExecutionAlreadyExists", format!("Execution Already Exists: '{arn}'")))
    }
}
