//! What a pull request says: every sentence of it stands here.

use std::fmt::Write;

use run_model::FunctionError;
use run_model::budget::UsageEntry;
use run_model::change_set::ChangeSet;
use run_model::evidence::{Evidence, Purpose};
use run_model::judge::describe_evidence;
use run_model::risk::Risk;
use run_model::run::{RunRecord, TaskRecord};
use run_model::scan::mask;

use crate::publish::summary;
use crate::{Context, missing};

/// The longest text from outside that is shown in one block, in characters: GitHub takes 65,536 in all.
const LONGEST: usize = 8_000;
const EVIDENCE: [(Purpose, &str); 4] = [
    (Purpose::Baseline, "checks on the base"),
    (Purpose::Final, "checks on the change"),
    (Purpose::AcceptanceBase, "held-out tests on the base"),
    (Purpose::AcceptanceFinal, "held-out tests on the change"),
];

/// Everything the text is made of.
pub(crate) struct Facts {
    run: RunRecord,
    risk: Risk,
    change_set: String,
    summary: String,
    evidence: Vec<(&'static str, Evidence)>,
    tasks: Vec<TaskRecord>,
    usage: Vec<UsageEntry>,
}

impl Facts {
    /// Reads them from the store.
    pub(crate) async fn of(context: &Context, run: &RunRecord, change: &ChangeSet) -> Result<Self, FunctionError> {
        let mut evidence = Vec::new();
        for (purpose, title) in EVIDENCE {
            if let Some((_, artefact)) = run.evidence.iter().rev().find(|(recorded, _)| *recorded == purpose) {
                evidence.push((title, context.store.get_json(artefact).await?));
            }
        }
        Ok(Self {
            risk: run.risk.clone().ok_or_else(|| missing(&run.run_id, "measured risk"))?,
            change_set: change.hash().to_string(),
            summary: summary(context, run).await?,
            evidence,
            tasks: context.store.tasks(&run.run_id).await?,
            usage: context.store.usage(&run.run_id).await?,
            run: run.clone(),
        })
    }
}

/// The text, in Markdown. What came from outside stands in code, where it links, mentions and embeds nothing.
pub(crate) fn body(facts: &Facts) -> String {
    let run = &facts.run;
    let base = run.snapshot.as_ref().map_or("", |taken| taken.commit.as_str());
    let requester = format!("{} ({})", run.requester.name, run.requester.seen_as);
    let level = facts.risk.level.as_str();
    let reasons = facts.risk.reasons.iter().map(|reason| format!("{}: {}\n", reason.rule, reason.detail));
    let reasons = Some(reasons.collect::<String>()).filter(|reasons| !reasons.is_empty());
    let reasons = block(&reasons.unwrap_or_else(|| "no rule spoke against it".to_owned()));
    let (evidence, cost) = (block(&evidence(facts)), cost(&facts.usage));
    format!(
        "<!-- gatewright:run {id} -->\n\
         Made by Gatewright. **Risk: {level}.** It is a draft until it was approved in \
         Gatewright, which then merges it. An approval counts for exactly this commit on exactly this base: another commit here, \
         or on the base, makes it void.\n\n\
         | | |\n|---|---|\n\
         | Run | `{id}`, asked for by {requester} |\n\
         | Base | `{base}` |\n\
         | Change set | `sha256:{change_set}` |\n\
         | Cost | {cost} |\n\n\
         ### Evidence\n\n{evidence}\n\
         ### Why this risk\n\n{reasons}\n\
         <details><summary>What the agents say (not verified)</summary>\n\n{agents}\n</details>\n",
        id = run.run_id,
        requester = code(&requester),
        change_set = facts.change_set,
        agents = block(&mask(&facts.summary)),
    )
}

fn evidence(facts: &Facts) -> String {
    let mut text = String::new();
    for (title, found) in &facts.evidence {
        line(&mut text, &format!("{title}: {}", describe_evidence(found)));
    }
    for task in &facts.tasks {
        let proof = match task.regression_proof {
            Some(true) => "its new tests fail on the base and pass on the change",
            Some(false) => "no regression proof: its new tests do not fail on the base",
            None => "no regression proof: there are no new tests",
        };
        line(&mut text, &format!("task {}, round {}: {proof}", task.task_id, task.iteration));
    }
    text
}

fn cost(usage: &[UsageEntry]) -> String {
    let microusd: u64 = usage.iter().map(|entry| entry.cost_microusd).sum();
    let estimated = if usage.iter().any(|entry| entry.estimated) { ", estimated from a recording" } else { "" };
    format!("${:.4} for {} calls of models{estimated}", microusd as f64 / 1e6, usage.len())
}

/// A block of code, with a fence that nothing in it closes.
fn block(text: &str) -> String {
    let shown: String = text.chars().filter(|c| *c == '\n' || !c.is_control()).take(LONGEST).collect();
    let longest = shown.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{}\n{fence}\n", shown.trim_end())
}

/// Code within a line of a table.
fn code(text: &str) -> String {
    let shown: String = text.chars().filter(|c| !c.is_control() && !matches!(c, '`' | '|')).collect();
    format!("`{shown}`")
}

fn line(text: &mut String, added: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{added}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_leaves_its_block() {
        let hostile = "ok\n```\n@everyone [x](http://evil)\n````\n<!-- -->";
        let shown = block(hostile);
        assert!(shown.starts_with("`````text\n") && shown.ends_with("\n`````\n"), "{shown}");
        assert_eq!(code("ann`|\n@all"), "`ann@all`");
    }
}
