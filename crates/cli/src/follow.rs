//! Follows a run: shows what happens, asks at gates, and ends with the run.

use aws_sdk_sfn::error::ProvideErrorMetadata;
use aws_sdk_sfn::types::ExecutionStatus;
use run_model::gate::{Gate, GateDecision, GateKind, GateState, Question};
use run_model::run::{RunRecord, RunStatus};
use run_model::{GateId, RunId};
use store::StoreError;

use crate::arguments::Waiting;
use crate::machines::name_of;
use crate::place::Place;
use crate::problem::{self, Problem};
use crate::progress::Progress;
use crate::prompt::{Answer, Prompt};
use crate::render::{self, Facts};
use crate::screen;

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
    /// Whether the run waited for a person at the last look.
    is_at_gate: bool,
    prompt: Prompt,
    /// Whether the process that drove went away, and whoever drives now has to be told to go on.
    is_to_take_up: bool,
}

/// Follows `run_id`, whose newest execution bears the name `execution`, to its end, or to its next gate if nobody is to wait
/// there. Returns the exit code.
pub(crate) async fn follow(
    mut place: Place,
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
        is_at_gate: false,
        prompt: Prompt::default(),
        is_to_take_up: false,
    };
    loop {
        let seen = tokio::select! {
            code = following.see_through(&place) => code,
            () = place.driver_gone() => Err(Problem { message: String::new(), exit: problem::DRIVER_GONE }),
            said = place.failed() => {
                Err(Problem::missing(format!("{said}, then `gatewright runs resume {run_id}`")))
            }
            _ = tokio::signal::ctrl_c() => Err(interrupted(&place, run_id)),
        };
        if !seen.as_ref().is_err_and(|problem| problem.exit == problem::DRIVER_GONE) {
            following.progress.done();
            place.close().await;
            return seen;
        }
        following.progress.say("the process that drove this run is gone: going on with it here");
        following.is_to_take_up = true;
        // Whoever decided may not have been heard: a gate that still waits is told again.
        if !following.prompt.is_open() {
            following.told_gate = None;
        }
        place = place.reopen().await?;
    }
}

impl Following<'_> {
    /// Watches until there is nothing more to wait for, and tells the end.
    async fn see_through(&mut self, place: &Place) -> Result<u8, Problem> {
        if self.is_to_take_up {
            place.take_up(&self.execution).await?;
            self.is_to_take_up = false;
        }
        let ended = self.watch(place).await?;
        self.progress.done();
        self.end(place, ended).await
    }

    /// Until the run has ended, or waits at a gate where nobody is to wait.
    async fn watch(&mut self, place: &Place) -> Result<RunRecord, Problem> {
        let pace = place.pace();
        let mut pause = pace.shortest;
        loop {
            let seen = self.seen_events;
            if let Some(run) = self.look(place).await? {
                return Ok(run);
            }
            let longest = if self.is_at_gate { pace.longest_at_gate } else { pace.longest };
            pause = if seen == self.seen_events { (pause * 3 / 2).min(longest) } else { pace.shortest };
            tokio::time::sleep(pause).await;
            self.ticks += 1;
        }
    }

    /// One look; the run's record once there is nothing more to wait for.
    async fn look(&mut self, place: &Place) -> Result<Option<RunRecord>, Problem> {
        let run = match place.store().run(self.run_id).await {
            Ok(run) => run,
            Err(StoreError::NotFound(_)) => {
                self.look_at_execution(place, false).await?;
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        // Somebody may have resumed it meanwhile.
        if self.execution != name_of(&run.execution_arn) {
            name_of(&run.execution_arn).clone_into(&mut self.execution);
            self.looks_after_the_end = 0;
        }
        self.is_at_gate = run.status == RunStatus::ApprovalPending;
        if !self.is_at_gate {
            self.prompt.withdraw();
        }
        if !self.prompt.is_open() {
            self.progress.go_on();
        }
        let events = place.store().events(self.run_id, self.seen_events).await?;
        for event in &events {
            self.seen_events = event.sequence;
            self.progress.event(event);
        }
        if !events.is_empty() || self.progress_is_due() {
            self.progress.state(&run, &place.store().usage(self.run_id).await?);
        }
        if run.status.is_final() {
            return Ok(Some(run));
        }
        if run.status == RunStatus::ApprovalPending && self.at_gate(place, &run).await? {
            return Ok(Some(run));
        }
        if self.ticks.is_multiple_of(place.pace().looks_an_execution) {
            self.look_at_execution(place, true).await?;
        }
        Ok(None)
    }

    fn progress_is_due(&self) -> bool {
        self.ticks.is_multiple_of(4)
    }

    /// An execution that ended by itself (a refused admission, a stop) says why, unless the run's record does.
    async fn look_at_execution(&mut self, place: &Place, is_recorded: bool) -> Result<(), Problem> {
        let arn = place.execution_arn(&self.execution);
        let found = place.step_functions().describe_execution().execution_arn(arn).send().await;
        let execution = match found {
            Ok(execution) => execution,
            Err(error) if embedded_cloud::is_driver_gone(&error) => return Ok(()),
            Err(error) if error.code() == Some("ExecutionDoesNotExist") => {
                if self.ticks < place.pace().looks_before_it_is_there {
                    return Ok(());
                }
                return Err(Problem::input(format!("there is no execution {}", self.execution)));
            }
            Err(error) => return Err(Problem::of_service(error)),
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
            let resume = format!("`gatewright runs resume {}{}`", self.run_id, place.flag());
            let message = format!("the run ended ({cause}); {resume} goes on");
            return Err(Problem { message, exit: problem::FAILED });
        }
        Err(Problem { message: format!("the run was not taken up: {cause}"), exit: problem::INPUT })
    }

    /// At a gate: decide by flag, ask here, or say who can decide. Whether to stop following.
    async fn at_gate(&mut self, place: &Place, run: &RunRecord) -> Result<bool, Problem> {
        let Some(gate_id) = &run.gate else { return Ok(false) };
        let gate = place.store().gate(gate_id).await?;
        if gate.state != GateState::Pending {
            self.prompt.withdraw();
            return Ok(false);
        }
        let is_new = self.told_gate.replace(gate_id.clone()).as_ref() != Some(gate_id);
        if is_new {
            let facts = Facts::of(place.store(), run.clone()).await?;
            self.progress.say(&format!("\n{}", render::gate(&gate, &facts)));
        }
        match (self.waiting.yes, is_new) {
            (true, true) => self.approve_by_flag(place, &gate).await?,
            (true, false) => {}
            (false, true) => self.invite(&gate, &place.flag()),
            (false, false) => self.take_answer(place, &gate).await?,
        }
        Ok(self.waiting.no_wait)
    }

    async fn approve_by_flag(&self, place: &Place, gate: &Gate) -> Result<(), Problem> {
        if gate.binding.kind == GateKind::Setup {
            self.progress
                .say("--yes: DEPENDENCIES THAT A MODEL CHOSE ARE SET UP WITH THE NETWORK ON, AND NOBODY LOOKED");
        }
        self.progress.say("--yes: approved, and recorded as \"flag, nobody looked\"");
        self.answer(place, gate, GateDecision::Approved, "flag, nobody looked").await
    }

    /// Says who can decide, and asks whoever is here.
    fn invite(&mut self, gate: &Gate, flag: &str) {
        self.progress.say(&format!("From any terminal:\n{}", render::how_to_decide(&gate.gate_id, flag)));
        if !self.waiting.no_wait {
            self.progress.pause();
            self.prompt.ask(&gate.gate_id);
        }
    }

    async fn take_answer(&mut self, place: &Place, gate: &Gate) -> Result<(), Problem> {
        match self.prompt.answer(&gate.gate_id) {
            None => {}
            Some(Answer::Decided(decision)) => self.answer(place, gate, decision, "self, local").await?,
            Some(Answer::Asks(question)) => self.ask(place, gate, &question).await?,
            Some(Answer::Nobody) => {
                self.progress.say("nobody is at this terminal: the gate waits for `gatewright gates approve`");
            }
        }
        Ok(())
    }

    async fn answer(&self, place: &Place, gate: &Gate, decision: GateDecision, seen_as: &str) -> Result<(), Problem> {
        match place.decide(gate, decision, seen_as, None).await {
            // Somebody else was faster, or it is too late: the next look shows what came of it.
            Err(problem) if problem.exit == problem::INPUT => self.progress.say(&problem.message),
            Ok(gate) if gate.state == GateState::Pending => self.progress.say(&render::decided(&gate, decision)),
            other => drop(other?),
        }
        Ok(())
    }

    /// What comes of it, the next looks show. A question that is refused decides nothing, so the person is asked again.
    async fn ask(&mut self, place: &Place, gate: &Gate, question: &Question) -> Result<(), Problem> {
        match place.ask(gate, "self, local", question).await {
            Err(problem) if problem.exit == problem::INPUT => {
                self.progress.say(&problem.message);
                self.prompt.ask(&gate.gate_id);
            }
            other => drop(other?),
        }
        Ok(())
    }

    /// What is said at the end, and the exit code.
    async fn end(&self, place: &Place, run: RunRecord) -> Result<u8, Problem> {
        let code = run.status.exit_code();
        if self.waiting.json {
            screen::print_json(&crate::runs::as_json(place, &run).await?);
            return Ok(code);
        }
        if run.status == RunStatus::ApprovalPending {
            screen::tell("The run is parked at its gate; nothing is lost when this ends.");
            return Ok(code);
        }
        screen::print(render::report(&Facts::of(place.store(), run).await?));
        Ok(code)
    }
}

fn interrupted(place: &Place, run_id: &RunId) -> Problem {
    let message = match place {
        Place::Here(_) => format!("interrupted; the run is kept: go on with `gatewright runs resume {run_id}`"),
        Place::Stage(_) => {
            let flag = place.flag();
            format!(
                "the run goes on without this terminal: `gatewright runs resume {run_id}{flag}` follows it again, \
                 `gatewright runs stop {run_id}{flag}` stops it"
            )
        }
    };
    Problem { message, exit: problem::INTERRUPTED }
}
