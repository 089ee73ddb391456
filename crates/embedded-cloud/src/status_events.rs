//! `Step Functions Execution Status Change` events, handed to a function as an EventBridge rule hands them to its target.

use std::sync::Arc;

use run_model::Randomness;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::task::JoinSet;

use crate::event_pattern::EventPattern;
use crate::lambda::Invoker;
use crate::step_functions::{Place, StatusChange, StepFunctions, uuid};

/// Which changes go to which function.
#[derive(Clone, Debug)]
pub struct StatusRule {
    /// The function that is told.
    pub function: String,
    /// What it is told; everything without one.
    pub pattern: Option<EventPattern>,
}

impl StatusRule {
    /// Tells this function everything.
    pub fn to(function: impl Into<String>) -> Self {
        Self { function: function.into(), pattern: None }
    }
}

/// Carries the rule out: best effort, as on AWS. What was under way when the process died is not told again.
pub(crate) struct StatusEvents {
    changes: broadcast::Receiver<Arc<StatusChange>>,
    place: Place,
    randomness: Arc<dyn Randomness>,
    invoker: Invoker,
    rule: StatusRule,
}

impl StatusEvents {
    /// Listens from now on.
    pub(crate) fn of(
        engine: &StepFunctions,
        randomness: Arc<dyn Randomness>,
        invoker: Invoker,
        rule: StatusRule,
    ) -> Self {
        StatusEvents { changes: engine.subscribe(), place: engine.place().clone(), randomness, invoker, rule }
    }

    /// Tells until dropped.
    pub(crate) async fn run(mut self) {
        let mut told = JoinSet::new();
        loop {
            tokio::select! {
                change = self.changes.recv() => match change {
                    Ok(change) => {
                        let id = uuid(&*self.randomness);
                        let event = change.event(&self.place, &id);
                        if self.rule.pattern.as_ref().is_some_and(|pattern| !pattern.matches(&event)) {
                            continue;
                        }
                        let (invoker, function) = (self.invoker.clone(), self.rule.function.clone());
                        told.spawn(async move { invoker.hand_over(&function, &event, &id).await });
                    }
                    Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "status changes were not told"),
                    Err(RecvError::Closed) => return,
                },
                Some(_) = told.join_next() => {}
            }
        }
    }
}
