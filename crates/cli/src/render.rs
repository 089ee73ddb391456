//! What people are shown of a gate and of a run: every sentence of it stands here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use run_model::budget::{Budget, UsageEntry, UsageState};
use run_model::change_set::{ChangeSet, Overlay};
use run_model::claim::no_runner_is_alive;
use run_model::diff;
use run_model::evidence::{Evidence, Purpose};
use run_model::gate::{Exchange, Gate, GateDecision, GateKind, GateState};
use run_model::judge;
use run_model::run::{ArtefactRef, RunRecord, RunStatus, TaskRecord};
use run_model::{GateId, RepoPath};
use store::{Store, StoreError};

use crate::bill::Bill;
use crate::place;
use crate::problem::Problem;
use crate::screen::hanging;

/// Everything the texts are made of.
pub(crate) struct Facts {
    /// Why nothing moves, and what to do about it.
    pub(crate) blocked_by: Option<String>,
    pub(crate) run: RunRecord,
    pub(crate) tasks: Vec<TaskRecord>,
    pub(crate) evidence: BTreeMap<Purpose, Evidence>,
    pub(crate) usage: Vec<UsageEntry>,
    pub(crate) budget: Budget,
    pub(crate) files: Vec<diff::FileDiff>,
    /// What other dependencies, asked for or let in, change.
    pub(crate) manifests: Vec<diff::FileDiff>,
    pub(crate) plan: Option<run_model::plan::Plan>,
    /// What commands need besides their names to be about this run: nothing, or ` --stage dev`.
    pub(crate) flag: String,
}

impl Facts {
    /// Reads them from the store.
    pub(crate) async fn of(store: &Store, run: RunRecord) -> Result<Self, Problem> {
        let mut evidence = BTreeMap::new();
        for (purpose, artefact) in &run.evidence {
            evidence.extend(kept(store.get_json(artefact).await)?.map(|found| (*purpose, found)));
        }
        let setup = run.proposed_setup.as_ref().map(|proposed| &proposed.manifests).or(run.setup.as_ref());
        let manifests = match setup {
            Some(setup) => kept(manifests(store, &run, setup).await)?.unwrap_or_default(),
            None => Vec::new(),
        };
        let plan = match &run.plan {
            Some(plan) => kept(store.get_json(plan).await)?,
            None => None,
        };
        let files = kept(files(store, &run).await)?.unwrap_or_default();
        let is_blocked = run.status == RunStatus::Running && store.waits_for_a_runner(&run.run_id).await?;
        Ok(Self {
            blocked_by: is_blocked.then(|| no_runner_is_alive(None)),
            tasks: store.tasks(&run.run_id).await?,
            usage: store.usage(&run.run_id).await?,
            budget: store.budget(&run.run_id).await?,
            run,
            evidence,
            files,
            manifests,
            plan,
            flag: place::flag(store),
        })
    }
}

/// What is still kept: the objects of a run that ended long ago may have been cleaned away.
pub(crate) fn kept<T>(read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Err(StoreError::NotFound(_)) => Ok(None),
        other => other.map(Some),
    }
}

/// The whole change by file.
async fn files(store: &Store, run: &RunRecord) -> Result<Vec<diff::FileDiff>, StoreError> {
    let Some(change_set) = &run.change_set else { return Ok(Vec::new()) };
    differences(store, run, &store.get_json::<ChangeSet>(change_set).await?.overlay).await
}

/// What becomes of the manifests that a setup was made with, or is to be.
async fn manifests(store: &Store, run: &RunRecord, setup: &ArtefactRef) -> Result<Vec<diff::FileDiff>, StoreError> {
    differences(store, run, &store.get_json(setup).await?).await
}

/// What an overlay changes on the run's base.
async fn differences(store: &Store, run: &RunRecord, overlay: &Overlay) -> Result<Vec<diff::FileDiff>, StoreError> {
    let Some(snapshot) = &run.snapshot else { return Ok(Vec::new()) };
    let paths: BTreeSet<RepoPath> = overlay.paths().cloned().collect();
    let base = store.base_contents(snapshot, &paths).await?;
    Ok(diff::diff(overlay, &|path| base.get(path).cloned()))
}

/// A gate for the person who decides: risk and reasons, the whole diff, the evidence.
pub(crate) fn gate(gate: &Gate, facts: &Facts) -> String {
    let mut text = String::new();
    let what = match gate.binding.kind {
        GateKind::Plan => "before the work on this plan begins",
        GateKind::Setup => "before other dependencies are set up",
        GateKind::Change => "before this change lands",
    };
    line(&mut text, &format!("Gate {} stands {what}.", gate.gate_id));
    line(&mut text, &format!("\n  {}", hanging(&gate.summary, "  ")));
    for exchange in &gate.exchanges {
        line(&mut text, &told(exchange));
    }
    line(&mut text, &format!("\n{}", standing(gate)));
    line(&mut text, &format!("Risk: {}", gate.risk.level.as_str()));
    for reason in &gate.risk.reasons {
        let (level, rule) = (reason.level.as_str(), &reason.rule);
        line(&mut text, &format!("  {level:<8} {rule}: {}", hanging(&reason.detail, "           ")));
    }
    match gate.binding.kind {
        GateKind::Plan => text.push_str(&plan(facts)),
        GateKind::Setup => {
            line(&mut text, "\nManifest and lock files:\n");
            text.push_str(&diff::unified(&facts.manifests));
        }
        GateKind::Change => {
            line(&mut text, "\nChange:\n");
            text.push_str(&diff::unified(&facts.files));
            text.push_str(&evidence(facts));
        }
    }
    line(
        &mut text,
        &format!("\nBound to hash {}, base {}.", gate.binding.hash().short(), short(&gate.binding.base_commit)),
    );
    text
}

/// A question and its answer.
fn told(exchange: &Exchange) -> String {
    let (asker, answer) = (&exchange.asker, &exchange.answer);
    let question = hanging(exchange.question.as_str(), "    ");
    let mut text = format!("\n  {} asked ({}): {question}\n", asker.name, asker.seen_as);
    let _ = write!(text, "  The crew answers: {}", hanging(answer.text.trim(), "    "));
    if !answer.places.is_empty() {
        let _ = write!(text, "\n    See {}.", hanging(&answer.places.join(", "), "    "));
    }
    text
}

/// How a gate stands, in one line.
fn standing(gate: &Gate) -> String {
    match &gate.state {
        GateState::Pending => format!("It waits until {} UTC; silence means no.", moment(gate.deadline_ms)),
        GateState::Decided { decision, approver, comment, decided_ms } => {
            let word = if *decision == GateDecision::Approved { "approved" } else { "denied" };
            let said = comment.as_ref().map(|comment| format!(": {}", hanging(comment, "  "))).unwrap_or_default();
            format!("It was {word} by {} ({}) at {} UTC{said}", approver.name, approver.seen_as, moment(*decided_ms))
        }
        GateState::Asked { question, asker, asked_ms } => {
            let (name, seen_as) = (&asker.name, &asker.seen_as);
            let said = hanging(question.as_str(), "  ");
            format!(
                "{name} ({seen_as}) asked at {} UTC: {said}\nA fresh gate opens with the answer.",
                moment(*asked_ms)
            )
        }
        GateState::Expired => "Nobody decided in time; silence means no.".into(),
        GateState::Void => "It is void: its run ended by another way.".into(),
    }
}

fn plan(facts: &Facts) -> String {
    let mut text = String::from("\nPlan:\n");
    for task in facts.plan.iter().flat_map(|plan| &plan.tasks) {
        line(&mut text, &format!("  {}: {}", task.id, hanging(&task.title, "    ")));
    }
    text
}

/// What was measured before and after.
pub(crate) fn evidence(facts: &Facts) -> String {
    let mut text = String::from("\nEvidence:\n");
    let rows = [
        (Purpose::Baseline, "checks on the base"),
        (Purpose::Final, "checks on the change"),
        (Purpose::AcceptanceBase, "held-out tests on the base"),
        (Purpose::AcceptanceFinal, "held-out tests on the change"),
    ];
    for (purpose, title) in rows {
        if let Some(found) = facts.evidence.get(&purpose) {
            line(&mut text, &format!("  {title}: {}", judge::describe_evidence(found)));
        }
    }
    for task in &facts.tasks {
        let proof = match task.regression_proof {
            Some(true) => "its new tests fail on the base and pass on the change",
            Some(false) => "no regression proof: its new tests do not fail on the base",
            None => "no regression proof: there are no new tests",
        };
        line(&mut text, &format!("  task {}, round {}: {proof}", task.task_id, task.iteration));
    }
    if let Some(layers) = facts.evidence.values().next().map(|evidence| &evidence.layers) {
        line(&mut text, &format!("  confined: {}", confinement(layers)));
    }
    text
}

/// How much confinement these layers are; their names are in the JSON.
fn confinement(layers: &[String]) -> String {
    let strength = match layers.iter().any(|layer| layer.ends_with("_namespace")) {
        _ if layers.is_empty() => return "not at all (--sandbox none)".to_owned(),
        true => "full",
        false => "without namespaces",
    };
    format!("{strength} ({} layers)", layers.len())
}

/// Cost per role, with calls whose fate is unknown.
pub(crate) fn cost(facts: &Facts) -> String {
    let mut roles: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
    for entry in &facts.usage {
        let row = roles.entry(&entry.role).or_default();
        row.0 += 1;
        row.1 += entry.usage.total();
        row.2 += entry.cost_microusd;
    }
    let mut text = String::from("\nCost:\n");
    for (role, (calls, tokens, microusd)) in &roles {
        line(&mut text, &format!("  {role:<13} {calls:>3} calls {tokens:>9} tokens  {}", usd(*microusd)));
    }
    let total: u64 = facts.usage.iter().map(|entry| entry.cost_microusd).sum();
    let estimated = if facts.usage.iter().any(|entry| entry.estimated) { " (estimated, replayed)" } else { "" };
    line(&mut text, &format!("  total {} of {}{estimated}", usd(total), usd(facts.budget.limit_microusd)));
    let unknown = facts.usage.iter().filter(|entry| entry.state == UsageState::Unknown).count();
    if unknown > 0 {
        line(
            &mut text,
            &format!("  {unknown} calls were in flight when their process died: charged in full, marked unknown"),
        );
    }
    text
}

/// What AWS would charge, by item and by part; what was assumed is said.
pub(crate) fn bill(bill: &Bill) -> String {
    let mut text = String::from("\n");
    let prices = format!("list prices of {} on {}, no free tier", bill.region, bill.as_of);
    let what = if bill.rest_of_stack.is_some() { "What AWS charges, at least" } else { "What AWS would charge" };
    line(&mut text, &format!("{what}: {} ({prices})", small_usd(bill.microusd)));
    for (item, used) in &bill.items {
        line(&mut text, &format!("  {item:<22} {:>12} {:>11}", amount(used.amount), small_usd(used.microusd)));
    }
    line(&mut text, "\nOf it:");
    for (name, part) in &bill.parts {
        line(&mut text, &format!("  {name:<22} {:>24}", small_usd(part.microusd)));
    }
    if let Some(stack) = &bill.rest_of_stack {
        line(
            &mut text,
            "  Functions, table, objects and logs are not counted by run: they cost less than transitions in the demo's run.",
        );
        line(
            &mut text,
            &format!(
                "  AWS says what the whole stage costs: Cost Explorer, tag aws:cloudformation:stack-name = {stack}"
            ),
        );
        line(&mut text, "  (an administrator activates the tag once, under Billing, Cost allocation tags).");
        return text;
    }
    if bill.assumed_model_seconds > 0.0 {
        let seconds = bill.assumed_model_seconds;
        line(
            &mut text,
            &format!("  {seconds:.0} s of waiting for a model are assumed: the answers came from a recording"),
        );
    }
    line(&mut text, "  Durations are this machine's; a function of 128 MB has a fourteenth of a processor.");
    line(&mut text, "  The requester, whoever decided and the runner are counted as if they came over the HTTP API.");
    text
}

fn amount(amount: f64) -> String {
    if amount.fract() == 0.0 { format!("{amount}") } else { format!("{amount:.3}") }
}

/// Micro-dollars for people, where a cent is much.
fn small_usd(microusd: f64) -> String {
    format!("${:.6}", microusd / 1e6)
}

/// The end of a run: what changed, evidence, cost, branch and what to do next.
pub(crate) fn report(facts: &Facts) -> String {
    let run = &facts.run;
    let mut text = String::new();
    line(&mut text, &format!("\nRun {}: {}", run.run_id, words(run.status)));
    if let Some(outcome) = &run.outcome {
        line(&mut text, &format!("  {}", hanging(&outcome.reason, "  ")));
    }
    if let Some(reason) = &facts.blocked_by {
        line(&mut text, &format!("  Nothing moves: {reason}"));
    }
    for notice in &run.notices {
        line(&mut text, &format!("  note: {}", hanging(notice, "    ")));
    }
    if !facts.files.is_empty() {
        line(&mut text, "\nChanged:");
        for file in &facts.files {
            line(&mut text, &format!("  {}", changed(file)));
        }
    }
    if !facts.evidence.is_empty() {
        text.push_str(&evidence(facts));
    }
    if !facts.usage.is_empty() {
        text.push_str(&cost(facts));
    }
    if let Some(branch) = &run.branch {
        line(&mut text, &format!("\nBranch: {branch}"));
    }
    if let Some(pull_request) = &run.pull_request {
        line(&mut text, &format!("Pull request: {}", pull_request.url));
    }
    if let Some(outcome) = &run.outcome {
        line(&mut text, &format!("Next: {}", outcome.next_step));
        if !facts.flag.is_empty() && outcome.next_step.contains("`gatewright") {
            line(&mut text, &format!("      There, commands take{}.", facts.flag));
        }
    }
    if let Some(gate) = run.gate.as_ref().filter(|_| run.status == RunStatus::ApprovalPending) {
        let (flag, commands) = (&facts.flag, how_to_decide(gate, &facts.flag));
        line(&mut text, &format!("\nIt waits at {gate}:\n  gatewright gates show {gate}{flag}\n{commands}"));
    }
    text
}

/// A file with the number of lines that came and went.
pub(crate) fn changed(file: &diff::FileDiff) -> String {
    format!("{} (+{} -{})", file.path, file.added.len(), file.removed.len())
}

/// What a person's word has done to a gate.
pub(crate) fn decided(gate: &Gate, decision: GateDecision) -> String {
    let word = if decision == GateDecision::Approved { "approved" } else { "denied" };
    let still = if gate.state == GateState::Pending { "; one more person has to approve it" } else { "" };
    format!("{} {word}{still}", gate.gate_id)
}

/// What a person's question has done to a gate.
pub(crate) fn asked(gate: &Gate, flag: &str) -> String {
    let gate = &gate.gate_id;
    format!("{gate} asked: the crew answers, then a fresh gate opens (`gatewright gates list{flag}`)")
}

/// The commands that decide, and the one that asks, a line each.
pub(crate) fn how_to_decide(gate: &GateId, flag: &str) -> String {
    let line = |word: &str, more: &str| format!("  gatewright gates {word} {gate}{more}{flag}");
    [line("approve", ""), line("deny", ""), line("more-info", " \"...\"")].join("\n")
}

/// A status in words.
pub(crate) fn words(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Running => "at work",
        RunStatus::ApprovalPending => "waiting at a gate",
        RunStatus::Succeeded => "done, the change has landed",
        RunStatus::Failed => "failed",
        RunStatus::Denied => "denied",
        RunStatus::TimedOut => "timed out at its gate",
        RunStatus::LimitReached => "stopped at its bound before the evidence was green",
        RunStatus::NeedsSetup => "needs yet another setup: the change touches dependencies",
        RunStatus::Stopped => "stopped",
    }
}

/// Micro-dollars for people.
pub(crate) fn usd(microusd: u64) -> String {
    format!("${:.4}", microusd as f64 / 1e6)
}

/// The first digits of a commit.
pub(crate) fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

/// A moment as `YYYY-MM-DD HH:MM` UTC (civil date from days, after Howard Hinnant's algorithm).
pub(crate) fn moment(ms: i64) -> String {
    let (days, seconds) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000) / 1000);
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", seconds / 3600, seconds / 60 % 60)
}

/// Adds a line.
pub(crate) fn line(text: &mut String, added: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{added}");
}

#[cfg(test)]
pub(crate) mod tests;
