//! Follows a run: shows what happens, asks at gates, and ends with the run.

use std::time::Duration;

use aws_sdk_sfn::error::ProvideErrorMetadata;
use aws_sdk_sfn::types::ExecutionStatus;
use run_model::gate::{Approver, Gate, GateDecision, GateState};
use run_model::run::{RunRecord, RunStatus};
use run_model::{GateId, RunId};
use store::StoreError;

use crate::arguments::Waiting;
use crate::local::Local;
use crate::machines::{execution_arn, name_of};
use crate::problem::{self, Problem};
use crate::progress::Progress;
use crate::prompt::{Answer, Prompt};
use crate::render::{self, Facts};
use crate::{screen, settings};

/// How often the run's log is looked at.
const TICK: Duration = Duration::from_millis(60);
/// Every so many ticks the execution itself is looked at, in case it ended without a word in the run's record.
const LOOK_AT_EXECUTION: u32 = 10;
/// So many looks at an execution that has ended may go by until the run's record must tell its end.
const LOOKS_AFTER_THE_END: u32 = 10;

struct Following<'a> {
    run_id: &'a RunId,
    execution: String,
    waiting: &'a Waiting,
    progress: Progress,
    seen_events: u64,
    ticks: u32,
    looks_after_the_end: u32,
    told_gate: Option<GateId>,
    prompt: Prompt,
    /// Whether the process that drove went away, and whoever drives now has to be told to go on.
    is_to_take_up: bool,
}

/// Follows `run_id`, whose newest execution bears the name `execution`, to its end, or to its next gate if nobody is to wait
/// there. Returns the exit code.
pub(crate) async fn follow(
    mut local: Local,
    run_id: &RunId,
    execution: String,
    waiting: &Waiting,
) -> Result<u8, Problem> {
    let mut following = Following {
        run_id,
        execution,
        waiting,
        progress: Progress::new(),
        seen_events: 0,
        ticks: 0,
        looks_after_the_end: 0,
        told_gate: None,
        prompt: Prompt::default(),
        is_to_take_up: false,
    };
    loop {
        let seen = tokio::select! {
            code = following.see_through(&local) => code,
            () = local.driver_gone() => Err(Problem { message: String::new(), exit: problem::DRIVER_GONE }),
            reason = local.failed() => {
                let cure = format!("make room or mend the disk, then `gatewright runs resume {run_id}`");
                Err(Problem::missing(format!("the state folder takes no more writes ({reason}): {cure}")))
            }
            _ = tokio::signal::ctrl_c() => {
                let message = format!("interrupted; the run is kept: go on with `gatewright runs resume {run_id}`");
                Err(Problem { message, exit: problem::INTERRUPTED })
            }
        };
        if !seen.as_ref().is_err_and(|problem| problem.exit == problem::DRIVER_GONE) {
            following.progress.done();
            local.close().await;
            return seen;
        }
        following.progress.say("the process that drove this run is gone: going on with it here");
        following.is_to_take_up = true;
        local = local.reopen().await?;
    }
}

impl Following<'_> {
    /// Watches until there is nothing more to wait for, and tells the end.
    async fn see_through(&mut self, local: &Local) -> Result<u8, Problem> {
        if self.is_to_take_up {
            local.take_up(&self.execution).await?;
            self.is_to_take_up = false;
        }
        let ended = self.watch(local).await?;
        self.progress.done();
        self.end(local, ended).await
    }

    /// Until the run has ended, or waits at a gate where nobody is to wait.
    async fn watch(&mut self, local: &Local) -> Result<RunRecord, Problem> {
        loop {
            if let Some(run) = self.look(local).await? {
                return Ok(run);
            }
            tokio::time::sleep(TICK).await;
            self.ticks += 1;
        }
    }

    /// One look; the run's record once there is nothing more to wait for.
    async fn look(&mut self, local: &Local) -> Result<Option<RunRecord>, Problem> {
        let run = match local.store.run(self.run_id).await {
            Ok(run) => run,
            Err(StoreError::NotFound(_)) => {
                self.look_at_execution(local, false).await?;
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        // Somebody may have resumed it meanwhile.
        if self.execution != name_of(&run.execution_arn) {
            name_of(&run.execution_arn).clone_into(&mut self.execution);
            self.looks_after_the_end = 0;
        }
        if run.status != RunStatus::ApprovalPending {
            self.prompt.withdraw();
        }
        if !self.prompt.is_open() {
            self.progress.go_on();
        }
        let events = local.store.events(self.run_id, self.seen_events).await?;
        for event in &events {
            self.seen_events = event.sequence;
            self.progress.event(event);
        }
        if !events.is_empty() || self.progress_is_due() {
            self.progress.state(&run, &local.store.usage(self.run_id).await?);
        }
        if run.status.is_final() {
            return Ok(Some(run));
        }
        if run.status == RunStatus::ApprovalPending && self.at_gate(local, &run).await? {
            return Ok(Some(run));
        }
        if self.ticks.is_multiple_of(LOOK_AT_EXECUTION) {
            self.look_at_execution(local, true).await?;
        }
        Ok(None)
    }

    fn progress_is_due(&self) -> bool {
        self.ticks.is_multiple_of(4)
    }

    /// An execution that ended by itself (a refused admission, a stop) says why, unless the run's record does.
    async fn look_at_execution(&mut self, local: &Local, is_recorded: bool) -> Result<(), Problem> {
        let found =
            local.step_functions().describe_execution().execution_arn(execution_arn(&self.execution)).send().await;
        let execution = match found {
            Ok(execution) => execution,
            Err(error) if embedded_cloud::is_driver_gone(&error) => return Ok(()),
            Err(error) if error.code() == Some("ExecutionDoesNotExist") => {
                return Err(Problem::input(format!("there is no execution {}", self.execution)));
            }
            Err(error) => return Err(Problem::defect(problem::causes(&error))),
        };
        if matches!(execution.status(), ExecutionStatus::Running | ExecutionStatus::Succeeded) {
            return Ok(());
        }
        // Whoever stopped it writes the record a moment later.
        self.looks_after_the_end += u32::from(is_recorded);
        if is_recorded && self.looks_after_the_end <= LOOKS_AFTER_THE_END {
            return Ok(());
        }
        let cause = execution.cause().unwrap_or("without a reason");
        let cause = serde_json::from_str::<serde_json::Value>(cause)
            .ok()
            .and_then(|wrapped| wrapped["errorMessage"].as_str().map(str::to_owned))
            .unwrap_or_else(|| cause.to_owned());
        if is_recorded {
            let message = format!("the run ended ({cause}); `gatewright runs resume {}` goes on", self.run_id);
            return Err(Problem { message, exit: problem::FAILED });
        }
        Err(Problem { message: format!("the run was not taken up: {cause}"), exit: problem::INPUT })
    }

    /// At a gate: decide by flag, ask here, or say who can decide. Whether to stop following.
    async fn at_gate(&mut self, local: &Local, run: &RunRecord) -> Result<bool, Problem> {
        let Some(gate_id) = &run.gate else { return Ok(false) };
        let gate = local.store.gate(gate_id).await?;
        if gate.state != GateState::Pending {
            self.prompt.withdraw();
            return Ok(false);
        }
        let is_new = self.told_gate.replace(gate_id.clone()).as_ref() != Some(gate_id);
        if is_new {
            let facts = Facts::of(&local.store, run.clone()).await?;
            self.progress.say(&format!("\n{}", render::gate(&gate, &facts)));
        }
        match (self.waiting.yes, is_new) {
            (true, true) => self.approve_by_flag(local, &gate).await?,
            (true, false) => {}
            (false, true) => self.invite(&gate),
            (false, false) => self.take_answer(local, &gate).await?,
        }
        Ok(self.waiting.no_wait)
    }

    async fn approve_by_flag(&self, local: &Local, gate: &Gate) -> Result<(), Problem> {
        self.progress.say("--yes: approved, and recorded as \"flag, nobody looked\"");
        self.answer(local, gate, GateDecision::Approved, "flag, nobody looked").await
    }

    /// Says who can decide, and asks whoever is here.
    fn invite(&mut self, gate: &Gate) {
        self.progress.say(&format!("From any terminal:\n{}", render::how_to_decide(&gate.gate_id)));
        if !self.waiting.no_wait {
            self.progress.pause();
            self.prompt.ask(&gate.gate_id);
        }
    }

    async fn take_answer(&mut self, local: &Local, gate: &Gate) -> Result<(), Problem> {
        match self.prompt.answer(&gate.gate_id) {
            None => {}
            Some(Answer::Decided(decision)) => self.answer(local, gate, decision, "self, local").await?,
            Some(Answer::Nobody) => {
                self.progress.say("nobody is at this terminal: the gate waits for `gatewright gates approve`");
            }
        }
        Ok(())
    }

    async fn answer(&self, local: &Local, gate: &Gate, decision: GateDecision, seen_as: &str) -> Result<(), Problem> {
        match decide(local, gate, decision, seen_as).await {
            // Somebody else was faster, or it is too late: the next look shows what came of it.
            Err(problem) if problem.exit == problem::INPUT => self.progress.say(&problem.message),
            other => other?,
        }
        Ok(())
    }

    /// What is said at the end, and the exit code.
    async fn end(&self, local: &Local, run: RunRecord) -> Result<u8, Problem> {
        let code = run.status.exit_code();
        if self.waiting.json {
            screen::print_json(&crate::runs::as_json(&local.store, &run).await?);
            return Ok(code);
        }
        if run.status == RunStatus::ApprovalPending {
            screen::tell("The run is parked at its gate; nothing is lost when this ends.");
            return Ok(code);
        }
        screen::print(render::report(&Facts::of(&local.store, run).await?));
        Ok(code)
    }
}

/// Decides on a gate in this person's name.
pub(crate) async fn decide(local: &Local, gate: &Gate, decision: GateDecision, seen_as: &str) -> Result<(), Problem> {
    let approver = Approver { name: settings::person(), seen_as: seen_as.into() };
    local.store.decide(&gate.gate_id, &gate.binding.hash(), decision, approver, None).await?;
    Ok(())
}
