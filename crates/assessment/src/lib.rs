#![doc = include_str!("../README.md")]

use std::collections::{BTreeMap, BTreeSet};

use config::{PathRules, RunConfig};
use run_model::change_set::Overlay;
use run_model::evidence::{Evidence, Purpose};
use run_model::judge::{self, AcceptanceResult, Judgement};
use run_model::plan::Plan;
use run_model::risk::{ChangeFacts, PathClass, PathFacts, Risk, RiskHint, assess_change, is_included, is_prose};
use run_model::run::{ArtefactRef, RunRecord};
use run_model::scan::{ScanFinding, scan};
use run_model::snapshot::SnapshotRef;
use run_model::verdict::Verdict;
use run_model::{ErrorName, FunctionError, RepoPath};
use store::Store;

/// Everything that was measured of a whole change.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The files that it really changes.
    pub paths: Vec<PathFacts>,
    /// The evidence on the base.
    pub base: Evidence,
    /// The evidence on the change.
    pub now: Evidence,
    /// What the one says against the other.
    pub judgement: Judgement,
    /// What the held-out tests say, if they were asked.
    pub acceptance: Option<AcceptanceResult>,
    /// What the scan found.
    pub findings: Vec<ScanFinding>,
}

/// Measures a change by the run's newest evidence; `acceptance` is the evidence of its held-out tests.
///
/// # Errors
/// `Internal` if the run has no snapshot or lacks evidence; `InvalidInput` if its settings cannot be used, or what they are read
/// with is too large; `NotFound`, `StoreUnavailable` as the store has them.
pub async fn measure(
    store: &Store,
    run: &RunRecord,
    overlay: &Overlay,
    acceptance: Option<&ArtefactRef>,
) -> Result<Measured, FunctionError> {
    let paths: BTreeSet<RepoPath> = overlay.paths().cloned().collect();
    let base: BTreeMap<RepoPath, String> = store.base_contents(taken(run)?, &paths).await?;
    let content = |path: &RepoPath| base.get(path).cloned();
    let config: RunConfig = store.get_json(&run.config).await?;
    let rules = PathRules::new(&config)?;
    let included = included(store, run, overlay).await?;
    let base_evidence = evidence(store, run, Purpose::Baseline).await?;
    let now = evidence(store, run, Purpose::Final).await?;
    Ok(Measured {
        paths: PathFacts::of(overlay, &content, &|path| PathClass {
            included: included.contains(path),
            ..rules.classify(path.as_str())
        }),
        judgement: judge::judge(&base_evidence, &now),
        acceptance: match acceptance {
            Some(acceptance) => {
                let base_with = evidence(store, run, Purpose::AcceptanceBase).await?;
                let with: Evidence = store.get_json(acceptance).await?;
                Some(judge::acceptance(&base_evidence, &base_with, &now, &with))
            }
            None => None,
        },
        findings: scan(overlay, &content),
        base: base_evidence,
        now,
    })
}

impl Measured {
    /// The change's risk by the rules: from all of this, and from what the roles asked for.
    ///
    /// # Errors
    /// As [`measure`]; `Internal` without a plan.
    pub async fn risk(self, store: &Store, run: &RunRecord) -> Result<Risk, FunctionError> {
        let tasks = store.tasks(&run.run_id).await?;
        let plan: Plan = store.get_json(planned(run)?).await?;
        let mut hints: Vec<RiskHint> =
            plan.risk_hint.map(|level| RiskHint { from: "orchestrator".into(), level }).into_iter().collect();
        for verdict in tasks.iter().filter_map(|task| task.verdict.as_ref()) {
            let verdict: Verdict = store.get_json(verdict).await?;
            hints.extend(verdict.risk_hint.map(|level| RiskHint { from: "reviewer".into(), level }));
        }
        // Documentation needs no regression proof; code without a proven new test says so.
        let needs_proof = !self.paths.iter().all(PathFacts::is_documentation);
        Ok(assess_change(&ChangeFacts {
            red_base: !self.base.commands.iter().all(|check| check.exit.is_success()),
            regression_proof: needs_proof.then(|| tasks.iter().all(|task| task.regression_proof == Some(true))),
            nameless_checks: nameless(&self.now),
            judgement: self.judgement,
            paths: self.paths,
            hints,
            findings: self.findings,
        }))
    }

    /// The first thing that the scan does not let through.
    pub fn blocking(&self) -> impl Iterator<Item = &ScanFinding> {
        self.findings.iter().filter(|finding| finding.blocking)
    }
}

/// Words in the name of a check that has no tests to name.
const LINTS: [&str; 11] =
    ["audit", "clippy", "eslint", "fmt", "formatting", "lint", "lints", "mypy", "ruff", "typecheck", "vet"];

/// Checks that name no tests: only their exit code says how they ended. What is a lint by its name is none of them, as long as
/// another check names tests.
fn nameless(evidence: &Evidence) -> Vec<String> {
    let any_names_tests = evidence.commands.iter().any(|check| !check.tests.is_empty());
    let is_lint = |name: &str| name.split(|c: char| !c.is_alphanumeric()).any(|word| LINTS.contains(&word));
    let checks = evidence.commands.iter().filter(|check| check.tests.is_empty());
    checks.filter(|check| !(any_names_tests && is_lint(&check.name))).map(|check| check.name.clone()).collect()
}

/// The run's newest evidence of a purpose.
///
/// # Errors
/// `Internal` if there is none; `NotFound`, `StoreUnavailable` as the store has them.
pub async fn evidence(store: &Store, run: &RunRecord, purpose: Purpose) -> Result<Evidence, FunctionError> {
    let found = run.evidence.iter().rev().find(|(recorded, _)| *recorded == purpose).map(|(_, evidence)| evidence);
    Ok(store.get_json(found.ok_or_else(|| lacks(run, &format!("{purpose:?} evidence")))?).await?)
}

/// Where the plan lies.
///
/// # Errors
/// `Internal` if there is none.
pub fn planned(run: &RunRecord) -> Result<&ArtefactRef, FunctionError> {
    run.plan.as_ref().ok_or_else(|| lacks(run, "plan"))
}

/// Where the base lies.
///
/// # Errors
/// `Internal` if there is none.
pub fn taken(run: &RunRecord) -> Result<&SnapshotRef, FunctionError> {
    run.snapshot.as_ref().ok_or_else(|| lacks(run, "snapshot"))
}

fn lacks(run: &RunRecord, what: &str) -> FunctionError {
    FunctionError::new(ErrorName::Internal, format!("{} has no {what}", run.run_id))
}

/// Which of the changed files a Rust source of the base takes in. Asked only of a change that is prose alone: any other
/// waits for a person anyway.
async fn included(store: &Store, run: &RunRecord, overlay: &Overlay) -> Result<BTreeSet<RepoPath>, FunctionError> {
    if !overlay.paths().all(|path| is_prose(path.as_str())) {
        return Ok(BTreeSet::new());
    }
    let is_source = |path: &RepoPath| path.as_str().ends_with(".rs");
    let sources = store.base_texts(taken(run)?, is_source).await?;
    let is_included = |path: &&RepoPath| is_included(path, sources.values().map(String::as_str));
    Ok(overlay.paths().filter(is_included).cloned().collect())
}

#[cfg(test)]
mod tests {
    use run_model::evidence::{CommandEvidence, EVIDENCE_SCHEMA, Exit, TestOutcome, TestResult};

    use super::*;

    /// Checks that ended well, each with whether it names a test.
    fn checked(checks: &[(&str, bool)]) -> Evidence {
        let result = || TestResult { name: "it works".into(), outcome: TestOutcome::Passed };
        let commands = checks.iter().map(|(name, names_tests)| CommandEvidence {
            name: (*name).into(),
            command: format!("run {name}"),
            exit: Exit::Code(0),
            tests: names_tests.then(result).into_iter().collect(),
            doubt: None,
            output_tail: String::new(),
            truncated: false,
            duration_ms: 1,
        });
        Evidence {
            schema: EVIDENCE_SCHEMA,
            purpose: Purpose::Final,
            tree_sha256: run_model::Sha256::of(b""),
            overlay_sha256: None,
            commands: commands.collect(),
            layers: Vec::new(),
            toolchain: String::new(),
        }
    }

    #[test]
    fn a_lint_beside_tests_lacks_no_names() {
        assert_eq!(nameless(&checked(&[("test", true), ("cargo-clippy", false), ("lint", false)])), [""; 0]);
        assert_eq!(nameless(&checked(&[("test", true), ("integration", false), ("lint", false)])), ["integration"]);
        assert_eq!(nameless(&checked(&[("lint", false)])), ["lint"], "nothing else is measured");
    }
}
