//! The first message: what a role is told before it begins, section by section. Nothing in it varies between machines,
//! users or days, and what others wrote is marked as data.

mod listing;

use std::fmt::Write;

use agent::ports::Tree as _;
use run_model::RepoPath;
use run_model::change_set::Edit;
use run_model::design::Design;
use run_model::diff::{FileDiff, diff};
use run_model::gate::Inquiry;
use run_model::judge;
use run_model::plan::{Plan, PlannedTask};

use crate::{Material, evidence_text};

/// A part of a first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What is wanted, as the person wrote it: untrusted.
    Requirement,
    /// Language, checks, and which paths are tests, manifests or protected.
    Project,
    /// The paths of the tree.
    Files,
    /// What the checks say about the base.
    BaseEvidence,
    /// The whole plan.
    Plan,
    /// The task at hand, with the plan's summary and criteria.
    Task,
    /// The design: all of it, or what serves the task at hand.
    Design,
    /// What the task has changed so far, with the line numbers of the changed files.
    Diff,
    /// What earlier rounds left to deal with.
    Feedback,
    /// What the checks say about the task's tree, and whether its new tests prove the change.
    Evidence,
    /// What developer and tester say of their work: claims.
    Reports,
    /// What a person asks at a gate, and what was answered before: untrusted.
    Question,
}

/// The sections that have something to say, one text each.
pub(crate) fn render(sections: &[Section], material: &Material) -> Vec<String> {
    sections.iter().filter_map(|section| section.render(material)).collect()
}

impl Section {
    fn render(self, material: &Material) -> Option<String> {
        let task = material.task.as_ref();
        let (tag, body) = match self {
            Self::Requirement => ("requirement", material.requirement.clone()),
            Self::Project => ("project", project(material)),
            Self::Files => ("files", listing::files(&material.tree)),
            Self::BaseEvidence => ("base_evidence", evidence_text::checks(material.base_evidence.as_ref()?)),
            Self::Plan => ("plan", plan(material.plan.as_ref()?)),
            Self::Task => ("task", the_task(material.plan.as_ref()?, task?)),
            Self::Design => ("design", design(material.design.as_ref()?, task)),
            Self::Diff => ("change_so_far", changes(material)?),
            Self::Feedback => ("feedback", feedback(material)?),
            Self::Evidence => ("evidence", evidence(material)?),
            Self::Reports => ("reports", reports(material)?),
            Self::Question => ("question", question(material.inquiry.as_ref()?)),
        };
        let attributes = match (self, &material.inquiry) {
            (Self::Requirement, _) => format!(" from={:?}", material.seen_as),
            (Self::Question, Some(asked)) => format!(" from={:?} gate={:?}", asked.seen_as, asked.kind.as_str()),
            _ => String::new(),
        };
        Some(fenced(tag, &attributes, &body))
    }
}

/// The names of all sections.
const TAGS: [&str; 12] = [
    "requirement",
    "project",
    "files",
    "base_evidence",
    "plan",
    "task",
    "design",
    "change_so_far",
    "feedback",
    "evidence",
    "reports",
    "question",
];

/// A section between its tags. A text that holds the closing tag cannot end it, and a line that looks like the border of any section
/// is not taken for one.
fn fenced(tag: &str, attributes: &str, body: &str) -> String {
    let body = body.replace(&format!("</{tag}"), &format!("<\\/{tag}"));
    format!("<{tag}{attributes}>\n{}\n</{tag}>", without_borders(body.trim_end()))
}

/// The text, in which a line that begins as a section does has a backslash.
pub(crate) fn without_borders(text: &str) -> String {
    let lines: Vec<String> =
        text.lines().map(|line| line.split_inclusive(breaks_lines).map(harmless).collect()).collect();
    lines.join("\n")
}

/// What else than a line feed may look like the end of a line.
fn breaks_lines(character: char) -> bool {
    matches!(character, '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn harmless(line: &str) -> String {
    let start = line.trim_start_matches(is_unseen);
    let name = start.strip_prefix('<').map(|rest| rest.trim_start_matches(is_unseen).trim_start_matches('/'));
    let begins = |name: &str, tag: &str| name.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag));
    let is_border = name.is_some_and(|name| TAGS.iter().any(|tag| begins(name.trim_start_matches(is_unseen), tag)));
    if is_border { line.replacen('<', "<\\", 1) } else { line.to_owned() }
}

/// Blanks, and what takes no room at all.
fn is_unseen(character: char) -> bool {
    let has_no_width = matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}');
    character.is_whitespace() || character.is_control() || has_no_width
}

fn project(material: &Material) -> String {
    let config = &material.config;
    let mut text = format!("language: {}\n", config.project.language);
    if config.project.root != "." {
        let _ = writeln!(text, "checks run in: {}", config.project.root);
    }
    for check in &config.checks {
        let _ = writeln!(text, "check `{}`: {}", check.name, check.command);
    }
    let _ = writeln!(text, "test paths: {}", config.test_paths.join(" "));
    let paths = material.tree.paths();
    for (kind, globs) in [("manifest and lock files", &config.manifests), ("protected paths", &config.protected)] {
        // Most of these lists is about other languages; what a tree does not hold is refused when somebody tries to write it.
        let here = config::globs_that_match(globs, paths.iter().map(RepoPath::as_str));
        if !here.is_empty() {
            let _ = writeln!(text, "{kind}: {}", here.join(" "));
        }
    }
    text
}

fn plan(plan: &Plan) -> String {
    let mut text = format!("{}\n", plan.summary);
    for task in &plan.tasks {
        let _ = writeln!(text, "\ntask {}: {}", task.id, task.title);
        describe_task(&mut text, task);
    }
    criteria(&mut text, plan);
    text
}

fn the_task(plan: &Plan, task: &PlannedTask) -> String {
    let mut text = format!("task {} (one of {}): {}\n", task.id, plan.tasks.len(), task.title);
    describe_task(&mut text, task);
    if plan.tasks.len() > 1 {
        let _ = writeln!(text, "\nThe plan it belongs to: {}", plan.summary);
    }
    for other in plan.tasks.iter().filter(|other| other.id != task.id) {
        let _ = writeln!(text, "(another task does {}: {})", other.id, other.title);
    }
    criteria(&mut text, plan);
    text
}

fn describe_task(text: &mut String, task: &PlannedTask) {
    let _ = writeln!(text, "{}", task.description);
    if !task.paths.is_empty() {
        let _ = writeln!(text, "expected paths: {}", task.paths.join(" "));
    }
    if !task.depends_on.is_empty() {
        let ids: Vec<&str> = task.depends_on.iter().map(run_model::TaskId::as_str).collect();
        let _ = writeln!(text, "builds on: {}", ids.join(" "));
    }
}

fn criteria(text: &mut String, plan: &Plan) {
    if !plan.acceptance_criteria.is_empty() {
        text.push_str("\nThe requirement is met when:\n");
    }
    for criterion in &plan.acceptance_criteria {
        let _ = writeln!(text, "- {criterion}");
    }
}

fn design(design: &Design, task: Option<&PlannedTask>) -> String {
    let mut text = format!("{}\n", design.summary);
    let serves = |tasks: &[_]| task.is_none_or(|task| tasks.contains(&task.id));
    for item in design.items.iter().filter(|item| serves(&item.tasks)) {
        let _ = writeln!(text, "\n{}: {}\n{}", item.id, item.title, item.detail);
    }
    let _ = writeln!(text, "\nhow to test: {}", design.test_strategy);
    for correction in &design.corrections {
        let _ = writeln!(text, "\ncorrects the plan: {correction}");
    }
    text
}

/// The task's change against what it builds on.
fn changes(material: &Material) -> Option<String> {
    let before = |path: &_| material.before(path);
    let mut given = material.tree.given.clone();
    given.0.retain(|path, edit| *edit != Edit::Delete || before(path).is_some());
    let parts: Vec<String> = diff(&given, &before).iter().map(numbered).collect();
    (!parts.is_empty()).then(|| parts.join("\n"))
}

/// A file's diff with the number that each line has in the changed file.
fn numbered(file: &FileDiff) -> String {
    let mut next = 0;
    let mut text = String::new();
    for line in file.text.lines() {
        if let Some(start) = hunk_start(line) {
            next = start;
        }
        let number = match line.as_bytes().first() {
            Some(b' ' | b'+') if next > 0 => {
                next += 1;
                format!("{:>5} ", next - 1)
            }
            Some(b'-') if next > 0 => "      ".to_owned(),
            _ => String::new(),
        };
        let _ = writeln!(text, "{number}{line}");
    }
    text
}

/// Where a hunk begins in the changed file: `@@ -1,3 +2,4 @@` begins at line 2.
fn hunk_start(line: &str) -> Option<u32> {
    let new = line.strip_prefix("@@ -")?.split_once('+')?.1;
    new.split([',', ' ']).next()?.parse().ok()
}

fn feedback(material: &Material) -> Option<String> {
    let record = material.record.as_ref()?;
    let items: Vec<String> = record.feedback.iter().map(|item| format!("- {}", item.trim())).collect();
    (!items.is_empty()).then(|| {
        format!("This is round {}. Deal with what earlier rounds found:\n{}", record.iteration, items.join("\n"))
    })
}

fn evidence(material: &Material) -> Option<String> {
    let measured = evidence_text::measured(material.task_evidence.as_ref()?, material.base_evidence.as_ref());
    let proof = match (&material.base_evidence, &material.proof_evidence, &material.task_evidence) {
        (Some(base), Some(tests), Some(now)) => format!("\n\n{}", judge::regression_proof(base, tests, now)),
        _ => String::new(),
    };
    Some(format!("{measured}{proof}"))
}

/// What was said, apart from what was measured.
fn reports(material: &Material) -> Option<String> {
    let mut text = String::new();
    if let Some(report) = &material.developed {
        let _ = writeln!(text, "the developer: {}", report.summary.trim());
    }
    if let Some(report) = &material.tested {
        let _ = writeln!(text, "the tester: {}", report.summary.trim());
        for defect in &report.defects {
            let _ = writeln!(text, "the tester reports a defect: {}", defect.trim());
        }
    }
    (!text.is_empty()).then_some(text)
}

/// What is asked, after what was asked and answered before.
fn question(inquiry: &Inquiry) -> String {
    let mut text = String::new();
    for exchange in &inquiry.earlier {
        let (asked, answered) = (exchange.question.as_str(), exchange.answer.text.trim());
        let _ = writeln!(text, "asked before: {asked}\nanswered: {answered}\n");
    }
    text.push_str(inquiry.question.as_str());
    text
}

#[cfg(test)]
pub(crate) mod tests;
