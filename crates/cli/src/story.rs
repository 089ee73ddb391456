//! A run told as a story that is read in a minute: what was asked, what happened round by round, who decided, how it ended.

use std::collections::BTreeMap;
use std::fmt::Write;

use run_model::gate::{Gate, GateDecision, GateState};
use run_model::run::{RunEvent, RunRecord, RunStatus};
use run_model::verdict::{Finding, Verdict};
use store::Store;

use crate::columns::{READABLE, beginning_of, wrapped};
use crate::problem::Problem;
use crate::render::{Facts, kept, line, moment, short, usd, words};

/// The column in which what happened begins.
const MARGIN: usize = 22;
/// How many characters of a line are told.
const LONGEST: usize = 4 * (READABLE - MARGIN);
/// How many findings of a review are told.
const FINDINGS: usize = 3;
/// How many lines say why a round was red.
const REASONS: usize = 2;

/// What the story is made of besides the facts.
pub(crate) struct Past {
    pub(crate) requirement: String,
    pub(crate) events: Vec<RunEvent>,
    pub(crate) gates: Vec<Gate>,
    /// The reviewers' verdicts by the number of the event that tells them.
    pub(crate) verdicts: BTreeMap<u64, Verdict>,
    /// Whether it should move and nobody moves it.
    pub(crate) is_orphaned: bool,
}

impl Past {
    /// Reads it from the store.
    pub(crate) async fn of(store: &Store, run: &RunRecord, is_orphaned: bool) -> Result<Self, Problem> {
        let requirement = kept(store.get_artefact(&run.requirement).await)?;
        let requirement = requirement
            .map_or_else(|| "(it was cleaned away)".to_owned(), |bytes| String::from_utf8_lossy(&bytes).into_owned());
        let events = store.events(&run.run_id, 0).await?;
        let mut verdicts = BTreeMap::new();
        for event in events.iter().filter(|event| event.kind == "review.concluded") {
            let Some(artefact) = &event.artefact else { continue };
            verdicts.extend(kept(store.get_json(artefact).await)?.map(|verdict| (event.sequence, verdict)));
        }
        let gates = store.run_gates(&run.run_id).await?;
        Ok(Self { requirement, events, gates, verdicts, is_orphaned })
    }
}

/// One thing that happened: when, what it is called, and what is told of it.
struct Chapter {
    at_ms: i64,
    title: String,
    lines: Vec<String>,
}

/// The story, at most [`READABLE`] columns wide.
pub(crate) fn story(past: &Past, facts: &Facts) -> String {
    let run = &facts.run;
    let mut text = String::new();
    let asked = format!(
        "{} for {} ({}), {} UTC, in {}",
        run.run_id,
        run.requester.name,
        run.requester.seen_as,
        moment(run.created_ms),
        run.repository
    );
    line(&mut text, &wrapped(&beginning_of(&asked, LONGEST), READABLE, "  "));
    text.push('\n');
    tell(&mut text, "Asked", "", &[requirement(&past.requirement)]);
    let day = moment(run.created_ms)[..10].to_owned();
    for chapter in chapters(past, facts) {
        let at = moment(chapter.at_ms);
        let (date, time) = at.split_at(10);
        let when = if date == day { time.trim().to_owned() } else { format!("{} {}", &date[5..], time.trim()) };
        tell(&mut text, &chapter.title, &when, &chapter.lines);
    }
    tell(&mut text, "Took", "", &[took(facts, &past.events)]);
    text.push_str(&standing(past, facts));
    text
}

/// Title, time and lines; every line but the first begins at the margin.
fn tell(text: &mut String, title: &str, when: &str, lines: &[String]) {
    let mut begin = format!("{title:<10}{when:<12}");
    for part in lines.iter().flat_map(|told| told.lines()) {
        let inset = part.len() - part.trim_start_matches(' ').len();
        let margin = " ".repeat(MARGIN + inset);
        let told = beginning_of(part, LONGEST);
        line(text, &wrapped(&format!("{begin}{told}"), READABLE, &margin));
        begin = " ".repeat(MARGIN);
    }
}

/// The first line that says something, and how many more there are.
fn requirement(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = beginning_of(lines.next().unwrap_or("(nothing)"), 2 * (READABLE - MARGIN));
    match lines.count() {
        0 => first,
        more => format!("{first}\n({more} more lines)"),
    }
}

/// What happened, in order.
fn chapters(past: &Past, facts: &Facts) -> Vec<Chapter> {
    let mut rounds: BTreeMap<String, usize> = BTreeMap::new();
    let one = |event: &RunEvent| {
        let task = event.task.as_ref().map(ToString::to_string).unwrap_or_default();
        let round = rounds.entry(task.clone()).or_insert(0);
        let (title, lines) = match event.kind.as_str() {
            "run.resumed" | "run.redriven" => ("Resumed".to_owned(), vec![event.message.clone()]),
            "baseline.recorded" => ("Base".to_owned(), vec![base(&facts.run), event.message.clone()]),
            "plan.accepted" => ("Plan".to_owned(), plan(facts, event)),
            "setup.proposed" => ("Setup".to_owned(), vec![event.message.clone()]),
            "design.accepted" => ("Design".to_owned(), vec![event.message.clone()]),
            "evidence.judged" => {
                *round += 1;
                (format!("Round {round}"), judged(&task, &event.message))
            }
            "review.concluded" => ("Review".to_owned(), reviewed(event, past.verdicts.get(&event.sequence))),
            "task.failed" => ("Failed".to_owned(), vec![format!("{task}: {}", event.message)]),
            "run.cleaned" => ("Cleaned".to_owned(), vec![event.message.clone()]),
            "session.stuck" => ("Stuck".to_owned(), vec![event.message.clone()]),
            "change.assessed" => ("Whole".to_owned(), assessed(facts, event)),
            "gate.opened" => ("Gate".to_owned(), gate(past, event)),
            "gate.answered" => ("Answer".to_owned(), answered(event)),
            "change.landed" => ("Landed".to_owned(), vec![event.message.clone()]),
            "run.ended" => ("Ended".to_owned(), event.message.lines().take(1).map(str::to_owned).collect()),
            _ => return None,
        };
        Some(Chapter { at_ms: event.at_ms, title, lines })
    };
    past.events.iter().filter_map(one).collect()
}

fn base(run: &RunRecord) -> String {
    match &run.snapshot {
        Some(snapshot) => format!("{} at {}", run.base_ref, short(&snapshot.commit)),
        None => run.base_ref.clone(),
    }
}

/// The plan's summary and tasks; of one that was replaced, what its event tells.
fn plan(facts: &Facts, event: &RunEvent) -> Vec<String> {
    let Some(plan) = &facts.plan else { return vec![event.message.clone()] };
    let titles: Vec<&str> = plan.tasks.iter().map(|task| task.title.as_str()).collect();
    if titles.join("; ") != event.message {
        return vec![event.message.clone()];
    }
    let tasks = plan.tasks.iter().map(|task| format!("  {}: {}", task.id, task.title.replace('\n', " ")));
    std::iter::once(plan.summary.clone()).chain(tasks).collect()
}

/// Green or red, and of a red round what says why.
fn judged(task: &str, message: &str) -> Vec<String> {
    let mut lines = message.lines();
    let first = format!("{task}: {}", lines.next().unwrap_or_default());
    let says_why = |line: &&str| ["fails now", "unexplained"].iter().any(|word| line.trim_start().starts_with(word));
    let reasons: Vec<&str> = lines.filter(says_why).collect();
    let more = reasons.len().saturating_sub(REASONS);
    let told = reasons.iter().take(REASONS).map(|reason| (*reason).to_owned());
    let rest = (more > 0).then(|| format!("  and {more} more"));
    std::iter::once(first).chain(told).chain(rest).collect()
}

/// What the reviewer said, and the gravest findings.
fn reviewed(event: &RunEvent, verdict: Option<&Verdict>) -> Vec<String> {
    let mut findings: Vec<&Finding> = verdict.iter().flat_map(|verdict| &verdict.findings).collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let more = findings.len().saturating_sub(FINDINGS);
    let told = findings.iter().take(FINDINGS).map(|finding| {
        let at = finding.line.map(|line| format!(":{line}")).unwrap_or_default();
        format!("  {}{at} ({}): {}", finding.path, finding.severity.as_str(), finding.message.replace('\n', " "))
    });
    let rest = (more > 0).then(|| format!("  and {more} more findings"));
    std::iter::once(event.message.clone()).chain(told).chain(rest).collect()
}

/// What came of the whole change, and where its risk comes from.
fn assessed(facts: &Facts, event: &RunEvent) -> Vec<String> {
    let first = event.message.lines().next().unwrap_or_default().to_owned();
    let risk = facts.run.risk.iter().flat_map(|risk| &risk.reasons);
    let reasons =
        risk.take(FINDINGS).map(|reason| format!("  {} ({}): {}", reason.rule, reason.level.as_str(), reason.detail));
    let last = event.message.rsplit("; ").next().unwrap_or_default();
    let level = (!first.contains(last)).then(|| last.to_owned());
    std::iter::once(first).chain(level).chain(reasons).collect()
}

/// Who decided, when, after how long, and what was said.
fn gate(past: &Past, event: &RunEvent) -> Vec<String> {
    let Some(gate) = past.gates.iter().find(|gate| event.message.ends_with(gate.gate_id.as_str())) else {
        return vec![event.message.clone()];
    };
    let opened = format!("{} ({} risk)", gate.gate_id, gate.risk.level.as_str());
    let came = match &gate.state {
        GateState::Decided { decision, approver, comment, decided_ms } => {
            let word = if *decision == GateDecision::Approved { "approved" } else { "denied" };
            let name = gate.decided_by().unwrap_or_else(|| approver.name.clone());
            let after = lasted(decided_ms - gate.opened_ms);
            let said = comment.as_ref().map(|comment| format!(": {comment}")).unwrap_or_default();
            format!("{word} by {name} ({}) after {after}{said}", approver.seen_as)
        }
        GateState::Asked { question, asker, asked_ms } => {
            let after = lasted(asked_ms - gate.opened_ms);
            format!("asked by {} ({}) after {after}: {}", asker.name, asker.seen_as, question.as_str())
        }
        GateState::Pending => format!("waits until {} UTC", moment(gate.deadline_ms)),
        GateState::Expired => "nobody decided in time".to_owned(),
        GateState::Void => "void: the run ended by another way".to_owned(),
    };
    vec![opened, came]
}

/// What the crew answered to the question before.
fn answered(event: &RunEvent) -> Vec<String> {
    let role = event.role.as_deref().unwrap_or("the crew");
    vec![format!("{role} {}", event.message)]
}

/// How long it took so far and what it cost.
fn took(facts: &Facts, events: &[RunEvent]) -> String {
    let last_ms = events.last().map_or(facts.run.updated_ms, |event| event.at_ms);
    let cost: u64 = facts.usage.iter().map(|entry| entry.cost_microusd).sum();
    let mut text = lasted(last_ms - facts.run.created_ms);
    // Writing to a string cannot fail.
    let _ = write!(text, ", {} calls, {} of {}", facts.usage.len(), usd(cost), usd(facts.budget.limit_microusd));
    text
}

/// A span of time as people say it.
pub(crate) fn lasted(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Of a run that has not ended: where it stands, since when, and whether anybody moves it.
fn standing(past: &Past, facts: &Facts) -> String {
    let (run, mut text) = (&facts.run, String::new());
    if run.status.is_final() {
        return text;
    }
    let mut lines = vec![format!("{}, at {}", words(run.status), run.stage.as_str())];
    if let Some(newest) = past.events.last() {
        let who = newest.role.as_ref().map(|role| format!("{role}, ")).unwrap_or_default();
        let what = beginning_of(newest.message.lines().next().unwrap_or_default(), 60);
        lines.push(format!("last heard of at {} UTC: {who}{what}", moment(newest.at_ms)));
    }
    if past.is_orphaned && run.status == RunStatus::Running {
        lines.push(nobody_is_at_work(run));
    }
    tell(&mut text, "Now", "", &lines);
    text
}

/// What to do about a run that should move and does not.
pub(crate) fn nobody_is_at_work(run: &RunRecord) -> String {
    format!("nobody is at work on it: `gatewright runs resume {}`", run.run_id)
}

#[cfg(test)]
mod tests;
