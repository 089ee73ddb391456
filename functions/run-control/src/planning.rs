//! From the baseline to the waves: what fails already, what is planned, what may start.

use config::TestFormat;
use run_model::change_set::Overlay;
use run_model::design::Design;
use run_model::evidence::{Evidence, Purpose};
use run_model::gate::GateKind;
use run_model::judge::{self, HeldOutOnBase};
use run_model::plan::{AcceptedPlan, Plan, Refusal};
use run_model::risk::assess_plan;
use run_model::run::{ArtefactRef, RunRecord, Stage, TaskRecord, TaskStatus};
use run_model::{ErrorName, FunctionError, RunId};
use serde_json::{Value, json};
use store::NewEvent;

use crate::{Context, change, gates};

/// Records what the base shows before the first model call.
///
/// # Errors
/// `NotMeasurable` if a check cannot run there; `InvalidInput` if no check runs the held-out tests.
pub(crate) async fn baseline(
    context: &Context,
    run_id: RunId,
    evidence: ArtefactRef,
    acceptance: Option<ArtefactRef>,
) -> Result<Value, FunctionError> {
    let base: Evidence = context.store.get_json(&evidence).await?;
    let config = context.config(&context.store.run(&run_id).await?).await?;
    let names_tests =
        |name: &str| config.checks.iter().any(|check| check.name == name && check.format != TestFormat::Plain);
    if let Some(why) = judge::cannot_run(&base, &names_tests, config.base_may_fail) {
        return Err(FunctionError::new(ErrorName::NotMeasurable, why));
    }
    let held_out = match &acceptance {
        Some(acceptance) => held_out_notice(&base, &context.store.get_json(acceptance).await?)?,
        None => None,
    };
    let notices: Vec<String> = judge::describe_red_base(&base).into_iter().chain(held_out).collect();
    let record = |run: &mut RunRecord| {
        run.evidence = vec![(Purpose::Baseline, evidence.clone())];
        run.evidence.extend(acceptance.clone().map(|evidence| (Purpose::AcceptanceBase, evidence)));
        for notice in &notices {
            if !run.notices.contains(notice) {
                run.notices.push(notice.clone());
            }
        }
        NewEvent::new("baseline.recorded", judge::describe_evidence(&base))
    };
    context.store.update_run_telling(&run_id, record).await?;
    context.store.enter_stage(&run_id, Stage::Plan).await?;
    Ok(json!({}))
}

/// What has to be said of held-out tests that do not fail on the base.
///
/// # Errors
/// [`ErrorName::InvalidInput`] if the checks do not run them at all: the change could never meet them.
fn held_out_notice(base: &Evidence, with: &Evidence) -> Result<Option<String>, FunctionError> {
    match judge::held_out_on_base(base, with) {
        HeldOutOnBase::Fails => Ok(None),
        HeldOutOnBase::Passes => Ok(Some(
            "The held-out tests pass on the base already: that they pass on the change will prove nothing.".into(),
        )),
        HeldOutOnBase::Unmeasured => Err(FunctionError::invalid(
            "acceptance",
            "no check of this project runs the held-out tests: lay them where the checks look for tests",
        )),
    }
}

/// Checks the plan by rules and writes its tasks down.
///
/// # Errors
/// `PolicyRefused` names the rule; `RequirementRefused` says why the crew does not want to, and what it would do.
pub(crate) async fn accept_plan(context: &Context, run_id: RunId, output: ArtefactRef) -> Result<Value, FunctionError> {
    let run = context.store.run(&run_id).await?;
    let config = context.config(&run).await?;
    let plan: Plan = context.store.get_json(&output).await?;
    let accepted = accept(&plan, config.limits.tasks)?;
    if let Some(Refusal { reason, instead }) = &plan.refusal {
        let told = format!("refused by the crew: {reason} Instead: {instead}");
        return Err(FunctionError::new(ErrorName::RequirementRefused, told));
    }
    let rounds = config.limits.iterations;
    let tasks: Vec<TaskRecord> = accepted
        .waves
        .iter()
        .zip(0..)
        .flat_map(|(wave, number)| wave.iter().map(move |task| waiting(task.clone(), number, rounds)))
        .collect();
    if run.plan.as_ref() != Some(&output) {
        context.store.replace_tasks(&run_id, &tasks).await?;
        let titles: Vec<&str> = plan.tasks.iter().map(|task| task.title.as_str()).collect();
        let adopt = |run: &mut RunRecord| {
            run.plan = Some(output.clone());
            // What was made by an earlier plan is no part of this one.
            run.design = None;
            run.plan_risk = None;
            (run.proposed_setup, run.setup) = (None, None);
            change::forget(run);
            NewEvent::new("plan.accepted", titles.join("; "))
        };
        context.store.update_run_telling(&run_id, adopt).await?;
    }
    context.store.enter_stage(&run_id, Stage::Design).await?;
    Ok(json!({}))
}

fn accept(plan: &Plan, most_tasks: u32) -> Result<AcceptedPlan, FunctionError> {
    plan.accept(most_tasks as usize)
        .map_err(|problem| FunctionError::new(ErrorName::PolicyRefused, format!("the plan: {problem}")))
}

fn waiting(task_id: run_model::TaskId, wave: u32, rounds: u32) -> TaskRecord {
    TaskRecord {
        task_id,
        wave,
        status: TaskStatus::Waiting,
        iteration: 1,
        iteration_bound: rounds,
        base_overlay: None,
        overlay: None,
        test_overlay: None,
        evidence: None,
        regression_proof: None,
        proof_evidence: None,
        developed: None,
        tested: None,
        verdict: None,
        feedback: Vec::new(),
        failure_fingerprints: Vec::new(),
    }
}

/// Checks that every task serves an item of the design, measures the risk of the plan, and says whether it needs a gate.
pub(crate) async fn accept_design(
    context: &Context,
    run_id: RunId,
    output: ArtefactRef,
) -> Result<Value, FunctionError> {
    let run = context.store.run(&run_id).await?;
    let rules = config::PathRules::new(&context.config(&run).await?)?;
    let plan: Plan = context.store.get_json(assessment::planned(&run)?).await?;
    let design: Design = context.store.get_json(&output).await?;
    design
        .accept(&plan)
        .map_err(|problem| FunctionError::new(ErrorName::PolicyRefused, format!("the design: {problem}")))?;
    let risk = assess_plan(&plan, &|path| rules.classify(path));
    let adopt = |run: &mut RunRecord| {
        run.design = Some(output.clone());
        run.plan_risk = Some(risk.clone());
        NewEvent::new("design.accepted", design.summary.as_str())
    };
    let run = context.store.update_run_telling(&run_id, adopt).await?;
    Ok(json!({ "gate": gates::needed(context, &run, GateKind::Plan).await? }))
}

/// The tasks that may start now: the first unfinished wave, if everything before it is done; and whether more wait behind it.
pub(crate) async fn next_wave(context: &Context, run_id: RunId) -> Result<Value, FunctionError> {
    let run = context.store.enter_stage(&run_id, Stage::Build).await?;
    // At most 40, the platform's bound.
    let parallel = context.config(&run).await?.limits.parallel_tasks.clamp(1, 40);
    let tasks = context.store.tasks(&run_id).await?;
    let open = |task: &&TaskRecord| matches!(task.status, TaskStatus::Waiting | TaskStatus::Running);
    let nothing = || Ok(json!({ "tasks": [], "parallel": parallel, "more": false }));
    let Some(wave) = tasks.iter().find(open).map(|task| task.wave) else { return nothing() };
    let earlier: Vec<&TaskRecord> = tasks.iter().filter(|task| task.wave < wave).collect();
    if earlier.iter().any(|task| task.status != TaskStatus::Done) {
        return nothing();
    }
    let merged = change::merged_overlay(context, &earlier).await?;
    let base = if merged == Overlay::default() { None } else { Some(context.store.put_json(&run_id, &merged).await?) };
    let starting: Vec<&TaskRecord> = tasks.iter().filter(|task| task.wave == wave).filter(open).collect();
    for task in &starting {
        context.store.update_task(&run_id, &task.task_id, |task| task.base_overlay.clone_from(&base)).await?;
    }
    let names: Vec<Value> = starting.iter().map(|task| json!({ "task_id": task.task_id })).collect();
    let more = tasks.iter().filter(open).any(|task| task.wave > wave);
    Ok(json!({ "tasks": names, "parallel": parallel, "more": more }))
}
