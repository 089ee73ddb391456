//! `gatewright runs logs`: what a run's checks printed, wherever it was measured.

use std::fmt::Write;

use run_model::TaskId;
use run_model::evidence::{CommandEvidence, Evidence, Purpose, TestOutcome};
use run_model::judge::ended;
use run_model::run::{ArtefactRef, RunEvent, RunStatus};
use run_model::scan::mask;
use store::Store;

use crate::problem::Problem;
use crate::render::{Facts, kept, line};

/// One measurement of a run.
pub(crate) struct Measured {
    /// What was measured, for people.
    pub(crate) title: String,
    pub(crate) task: Option<TaskId>,
    pub(crate) evidence: Evidence,
}

/// What there is of a measurement before its evidence is read.
type Known = (String, Option<TaskId>, ArtefactRef);

/// Every measurement that is kept of a run, in the order of the work: the base, each round of each task, the whole change.
/// What an agent measured within its round is no part of it.
pub(crate) async fn measured(store: &Store, facts: &Facts, events: &[RunEvent]) -> Result<Vec<Measured>, Problem> {
    let mut known =
        of_run(facts, &[(Purpose::Baseline, "base"), (Purpose::AcceptanceBase, "held-out tests on the base")]);
    for task in &facts.tasks {
        let id = &task.task_id;
        let rounds = events.iter().filter(|event| event.kind == "evidence.judged" && event.task.as_ref() == Some(id));
        let rounds: Vec<Known> = rounds
            .zip(1..)
            .filter_map(|(event, round)| {
                Some((format!("task {id}, round {round}"), Some(id.clone()), event.artefact.clone()?))
            })
            .collect();
        // Rounds of an older program are not named by their events: of those the last is kept.
        let last = task.evidence.clone().filter(|evidence| !rounds.iter().any(|(_, _, known)| known == evidence));
        known.extend(rounds);
        known.extend(last.map(|evidence| (format!("task {id}, round {}", task.iteration), Some(id.clone()), evidence)));
        let proof = task.proof_evidence.clone();
        known.extend(proof.map(|proof| (format!("task {id}, its new tests on the base"), Some(id.clone()), proof)));
    }
    let whole = [(Purpose::Final, "whole change"), (Purpose::AcceptanceFinal, "held-out tests on the whole change")];
    known.extend(of_run(facts, &whole));
    let mut measured = Vec::new();
    for (title, task, artefact) in known {
        measured.extend(kept(store.get_json(&artefact).await)?.map(|evidence| Measured { title, task, evidence }));
    }
    Ok(measured)
}

fn of_run(facts: &Facts, purposes: &[(Purpose, &str)]) -> Vec<Known> {
    let find = |purpose: Purpose| facts.run.evidence.iter().find(|(found, _)| *found == purpose);
    let known = |(purpose, title): &(Purpose, &str)| Some(((*title).to_owned(), None, find(*purpose)?.1.clone()));
    purposes.iter().filter_map(known).collect()
}

/// The output of every measurement, of one task's alone if it is named.
pub(crate) async fn told(store: &Store, facts: &Facts, task: Option<&str>) -> Result<String, Problem> {
    let run = &facts.run;
    if let Some(task) = task
        && !facts.tasks.iter().any(|known| known.task_id.as_str() == task)
    {
        let known: Vec<&str> = facts.tasks.iter().map(|task| task.task_id.as_str()).collect();
        return Err(Problem::input(format!("--task {task}: {} has the tasks {}", run.run_id, known.join(", "))));
    }
    let measured = measured(store, facts, &store.events(&run.run_id, 0).await?).await?;
    let asked = measured.iter().filter(|found| task.is_none() || found.task.as_ref().map(TaskId::as_str) == task);
    let mut text: String = asked.map(output).collect();
    // A setup that failed leaves no evidence; what it printed stands in the reason.
    if let Some(outcome) = run.outcome.as_ref().filter(|_| task.is_none() && run.status == RunStatus::Failed) {
        line(&mut text, &format!("== the end: {}\n{}", run.status.as_str(), mask(&outcome.reason)));
    }
    if text.is_empty() {
        return Err(Problem::input(format!("nothing was measured yet: {} is at {}", run.run_id, run.stage.as_str())));
    }
    if !facts.flag.is_empty() {
        line(
            &mut text,
            &format!("What its functions logged: `gatewright aws logs --run {}{}`", run.run_id, facts.flag),
        );
    }
    Ok(text)
}

/// What each command printed, under a line that says how it ended.
fn output(measured: &Measured) -> String {
    let mut text = String::new();
    for command in &measured.evidence.commands {
        line(&mut text, &format!("== {}: {}", measured.title, state(command)));
        let tail = mask(command.output_tail.trim_end());
        if command.truncated {
            line(&mut text, "(the beginning was cut)");
        }
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}\n", if tail.is_empty() { "(it printed nothing)" } else { &tail });
    }
    text
}

/// Name, command, end and counts of a check, in a line.
pub(crate) fn state(command: &CommandEvidence) -> String {
    let count = |outcome| command.tests.iter().filter(|test| test.outcome == outcome).count();
    let tests = match command.tests.len() {
        0 => String::new(),
        _ => format!(", {} passed, {} failed", count(TestOutcome::Passed), count(TestOutcome::Failed)),
    };
    let doubt = command.doubt.as_ref().map(|doubt| format!(", not to be trusted: {doubt}")).unwrap_or_default();
    let seconds = command.duration_ms as f64 / 1e3;
    let (name, line) = (&command.name, command.command.replace('\n', " "));
    format!("{name}: `{line}`: {} after {seconds:.1} s{tests}{doubt}", ended(&command.exit))
}
