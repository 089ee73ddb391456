//! The risk of an actual change: facts first, then one rule after the other.

use std::sync::LazyLock;

use regex::Regex;

use super::lines;
use super::paths::{configures_checks, is_prose};
use super::prose::adds_examples;
use super::{Risk, RiskLevel, RiskReason};
use crate::RepoPath;
use crate::change_set::{Edit, Overlay};
use crate::diff::{BaseContent, FileChange, FileDiff, diff};
use crate::judge::Judgement;
use crate::scan::ScanFinding;

/// More changed lines than this are more than one sitting can review well.
const LARGE_LINES: usize = 400;
/// More changed files than this are.
const LARGE_FILES: usize = 20;

/// What the project's settings say of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathClass {
    /// Workflows, policy, CODEOWNERS and what else the settings protect.
    pub protected: bool,
    /// Manifest and lock files.
    pub manifest: bool,
    /// Tests.
    pub test: bool,
    /// A command that sets up or checks the project names it.
    pub command: bool,
    /// A program of the project takes it in: see [`super::is_included`].
    pub included: bool,
}

/// One changed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathFacts {
    /// Where it lies.
    pub path: RepoPath,
    /// What the settings say of it.
    pub class: PathClass,
    /// What happens to it.
    pub change: FileChange,
    /// How many lines come.
    pub added_lines: usize,
    /// How many lines go.
    pub removed_lines: usize,
    /// How many of the lines that go declare or assert in tests.
    pub removed_test_lines: usize,
    /// How many of the lines that go declare something public.
    pub removed_public_lines: usize,
    /// How many of the lines that come hold `unsafe` code.
    pub added_unsafe_lines: usize,
    /// How many of the lines that come could tell the checks' results themselves: they end a test's process, or name its report.
    pub added_telling_lines: usize,
    /// Whether prose comes with code that a documentation test may run.
    pub adds_examples: bool,
}

/// A level that somebody asks for; it can raise the risk and never lower it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RiskHint {
    /// Who: a role's name.
    pub from: String,
    /// What.
    pub level: RiskLevel,
}

/// What the rules look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeFacts {
    /// The changed files.
    pub paths: Vec<PathFacts>,
    /// What the evidence on the change said against the base.
    pub judgement: Judgement,
    /// Whether checks fail on the base itself.
    pub red_base: bool,
    /// Whether new tests fail on the base and pass on the change; `None` where nothing was to be proven.
    pub regression_proof: Option<bool>,
    /// What the roles ask for.
    pub hints: Vec<RiskHint>,
    /// What the scan found.
    pub findings: Vec<ScanFinding>,
    /// Checks that name no tests, by name.
    pub nameless_checks: Vec<String>,
}

impl PathFacts {
    /// The facts of every file that the overlay really changes.
    pub fn of(
        overlay: &Overlay,
        base_content: BaseContent<'_>,
        classify: &dyn Fn(&RepoPath) -> PathClass,
    ) -> Vec<Self> {
        let of_file = |file: &FileDiff| {
            let examples = is_prose(file.path.as_str())
                && matches!(overlay.0.get(&file.path), Some(Edit::Write(new))
                    if adds_examples(&base_content(&file.path).unwrap_or_default(), new));
            Self { adds_examples: examples, ..Self::of_lines(file, classify(&file.path)) }
        };
        diff(overlay, base_content).iter().map(of_file).collect()
    }

    fn of_lines(file: &FileDiff, class: PathClass) -> Self {
        let removed = |pattern: &Regex| file.removed.iter().filter(|line| pattern.is_match(&line.text)).count();
        let is_rust = file.path.as_str().ends_with(".rs");
        let language = lines::of(file.path.as_str());
        Self {
            path: file.path.clone(),
            class,
            change: file.change,
            added_lines: file.added.len(),
            removed_lines: file.removed.len(),
            removed_test_lines: removed(&language.test_line),
            removed_public_lines: if class.test { 0 } else { removed(&language.public_line) },
            added_unsafe_lines: file.added.iter().filter(|line| is_rust && UNSAFE_LINE.is_match(&line.text)).count(),
            added_telling_lines: file.added.iter().filter(|line| tells_results(&line.text, class.test)).count(),
            adds_examples: false,
        }
    }

    /// Whether it is documentation and nothing else: prose that the settings say nothing of and that nothing runs.
    pub fn is_documentation(&self) -> bool {
        is_prose(self.path.as_str()) && self.class == PathClass::default() && !self.adds_examples
    }

    /// Whether it is prose that is more: a program takes it in, or code in it may run.
    fn is_live_prose(&self) -> bool {
        is_prose(self.path.as_str()) && (self.class.included || self.adds_examples)
    }

    /// Whether an existing test loses something: adding to the end of a test file takes nothing away.
    fn weakens_tests(&self) -> bool {
        self.change != FileChange::Added
            && (self.removed_test_lines > 0
                || (self.class.test && (self.removed_lines > 0 || self.change == FileChange::Deleted)))
    }
}

static UNSAFE_LINE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^\s*(?:[^/]|/[^/])*\bunsafe\b(?:\s*\{|\s+(?:fn|impl|trait|extern)\b|\()").expect("a literal pattern")
});

/// Whatever ends the process in which it is measured without a word, or knows where its results are written, could tell any result.
static TELLING_LINE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\bos\._exit\b|\breallyExit\b|\bGATEWRIGHT_REPORT\b").expect("a literal pattern"));

/// What a program may do, and a test has no reason to: it ends the process of all tests.
static ENDING_LINE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\bos\.kill|\bprocess(?:\.|::)(?:exit|abort|kill)\b|\b(?:os|syscall)\.(?:Exit|Kill)\b|\batexit\b")
        .expect("a literal pattern")
});

fn tells_results(line: &str, is_test: bool) -> bool {
    TELLING_LINE.is_match(line) || is_test && ENDING_LINE.is_match(line)
}

/// The risk of a change. Documentation alone is low, everything else at least medium; every rule that speaks is a reason.
pub fn assess_change(facts: &ChangeFacts) -> Risk {
    let mut reasons = vec![kind(facts)];
    reasons.extend(path_rules(&facts.paths));
    reasons.extend(test_rules(facts));
    reasons.extend(circumstances(facts));
    reasons.extend(facts.findings.iter().map(finding));
    Risk::of(reasons)
}

fn finding(found: &ScanFinding) -> RiskReason {
    let ScanFinding { path, line, message, .. } = found;
    RiskReason::new(RiskLevel::High, &found.rule, format!("{path}:{line} {message}"))
}

fn kind(facts: &ChangeFacts) -> RiskReason {
    let (files, lines) = size(facts);
    let detail = format!("{files} files, {lines} lines");
    if is_documentation_alone(facts) {
        RiskReason::new(RiskLevel::Low, "documentation", format!("documentation alone: {detail}"))
    } else {
        RiskReason::new(RiskLevel::Medium, "code", detail)
    }
}

fn is_documentation_alone(facts: &ChangeFacts) -> bool {
    facts.paths.iter().all(PathFacts::is_documentation)
}

fn size(facts: &ChangeFacts) -> (usize, usize) {
    (facts.paths.len(), facts.paths.iter().map(|path| path.added_lines + path.removed_lines).sum())
}

fn path_rules(paths: &[PathFacts]) -> impl Iterator<Item = RiskReason> {
    let rule = |level, name, speaks: &dyn Fn(&PathFacts) -> bool| {
        let seen: Vec<&str> = paths.iter().filter(|path| speaks(path)).map(|path| path.path.as_str()).collect();
        (!seen.is_empty()).then(|| RiskReason::new(level, name, seen.join(", ")))
    };
    [
        rule(RiskLevel::Critical, "protected path", &|path| path.class.protected),
        rule(RiskLevel::Critical, "dependencies", &|path| path.class.manifest),
        rule(RiskLevel::High, "check configuration", &|path| {
            path.class.command || configures_checks(path.path.as_str())
        }),
        rule(RiskLevel::High, "existing test changed", &PathFacts::weakens_tests),
        rule(RiskLevel::High, "may tell its own results", &|path| path.added_telling_lines > 0),
        rule(RiskLevel::High, "public interface changed", &|path| path.removed_public_lines > 0),
        rule(RiskLevel::High, "unsafe code", &|path| path.added_unsafe_lines > 0),
        rule(RiskLevel::Medium, "documentation that runs", &PathFacts::is_live_prose),
        rule(RiskLevel::High, "file deleted", &|path| path.change == FileChange::Deleted && !path.is_documentation()),
    ]
    .into_iter()
    .flatten()
}

fn test_rules(facts: &ChangeFacts) -> impl Iterator<Item = RiskReason> {
    let rule = |level, name, tests: &[String]| (!tests.is_empty()).then(|| RiskReason::new(level, name, shown(tests)));
    let judgement = &facts.judgement;
    [
        rule(RiskLevel::High, "fewer tests", &judgement.lost_tests),
        rule(RiskLevel::High, "tests no longer run", &judgement.ignored_tests),
        rule(RiskLevel::Medium, "known failures", &judgement.known_failures),
    ]
    .into_iter()
    .flatten()
}

fn circumstances(facts: &ChangeFacts) -> Vec<RiskReason> {
    let mut reasons = Vec::new();
    let (files, lines) = size(facts);
    if files > LARGE_FILES || lines > LARGE_LINES {
        reasons.push(RiskReason::new(RiskLevel::High, "large change", format!("{files} files, {lines} lines")));
    }
    if !facts.nameless_checks.is_empty() && !is_documentation_alone(facts) {
        let (named, s) = (facts.nameless_checks.join("`, `"), if facts.nameless_checks.len() == 1 { "s" } else { "" });
        let detail = format!("`{named}` name{s} no tests: an early exit would look like success");
        reasons.push(RiskReason::new(RiskLevel::Medium, "tests without names", detail));
    }
    if facts.red_base {
        reasons.push(RiskReason::new(RiskLevel::Medium, "red base", "checks fail on the base already"));
    }
    // No test can prove prose.
    if facts.regression_proof == Some(false) && !is_documentation_alone(facts) {
        let detail = "no test fails on the base and passes on the change";
        reasons.push(RiskReason::new(RiskLevel::Medium, "no regression proof", detail));
    }
    let hint = |hint: &RiskHint| {
        RiskReason::new(hint.level, "hint", format!("the {} sees {} risk", hint.from, hint.level.as_str()))
    };
    reasons.extend(facts.hints.iter().map(hint));
    reasons
}

fn shown(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let list = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{list} and {} more", names.len() - SHOWN) } else { list }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::tests::overlay;

    fn base(path: &RepoPath) -> Option<String> {
        let content = match path.as_str() {
            "README.md" => "# Title\n",
            "src/lib.rs" => {
                "pub fn add() {}\nfn hidden() {} // x.expect(1)\n#[test]\nfn adds() {\n    assert!(true);\n}\n"
            }
            "tests/it.rs" => "#[test]\nfn it() {}\n",
            "Cargo.toml" => "[package]\n",
            _ => return None,
        };
        Some(content.to_owned())
    }

    fn classify(path: &RepoPath) -> PathClass {
        PathClass {
            protected: path.as_str().starts_with(".github/"),
            manifest: path.as_str() == "Cargo.toml",
            test: path.as_str().starts_with("tests/"),
            command: path.as_str() == "ci/check.sh",
            included: path.as_str() == "src/lib.md",
        }
    }

    fn facts(edits: &[(&str, Option<&str>)]) -> ChangeFacts {
        ChangeFacts { paths: PathFacts::of(&overlay(edits), &base, &classify), ..ChangeFacts::default() }
    }

    fn rules(facts: &ChangeFacts) -> (RiskLevel, Vec<String>) {
        let risk = assess_change(facts);
        (risk.level, risk.reasons.into_iter().map(|reason| reason.rule).collect())
    }

    fn touching(edits: &[(&str, Option<&str>)]) -> (RiskLevel, Vec<String>) {
        rules(&facts(edits))
    }

    #[test]
    fn what_the_scan_found_is_shown_with_its_place() {
        let finding = ScanFinding {
            path: RepoPath::new("src/new.py").unwrap(),
            line: 3,
            rule: "text run as code".into(),
            message: "runs text as code: parse it instead".into(),
            blocking: false,
        };
        let changed = facts(&[("src/new.py", Some("x\n"))]);
        let risk = assess_change(&ChangeFacts { findings: vec![finding], ..changed });
        let shown =
            RiskReason::new(RiskLevel::High, "text run as code", "src/new.py:3 runs text as code: parse it instead");
        assert_eq!((risk.level, &risk.reasons[0]), (RiskLevel::High, &shown));
    }

    #[test]
    fn documentation_alone_is_low_and_anything_else_at_least_medium() {
        assert_eq!(touching(&[("README.md", Some("# New\n"))]), (RiskLevel::Low, vec!["documentation".into()]));
        assert_eq!(touching(&[("src/new.rs", Some("fn x() {}\n"))]), (RiskLevel::Medium, vec!["code".into()]));
        let both = touching(&[("README.md", Some("# New\n")), ("src/new.rs", Some("fn x() {}\n"))]);
        assert_eq!(both.0, RiskLevel::Medium);
        assert_eq!(touching(&[("data.txt", Some("x"))]).0, RiskLevel::Medium);
        assert_eq!(touching(&[("requirements.md", None)]).0, RiskLevel::Low);
    }

    #[test]
    fn documentation_that_runs_is_no_documentation() {
        let live = (RiskLevel::Medium, vec!["code".to_owned(), "documentation that runs".to_owned()]);
        assert_eq!(touching(&[("src/lib.md", Some("prose\n"))]), live);
        assert_eq!(touching(&[("README.md", Some("# Title\n```\npanic!()\n```\n"))]), live);
        assert_eq!(touching(&[("README.md", Some("# Title\n```sh\nls\n```\n"))]).0, RiskLevel::Low);
    }

    #[test]
    fn a_check_that_names_no_tests_is_told_at_every_gate_but_that_of_prose() {
        let nameless = |edits| ChangeFacts { nameless_checks: vec!["test".into(), "lint".into()], ..facts(edits) };
        let risk = assess_change(&nameless(&[("src/new.rs", Some("fn x() {}\n"))]));
        let told = RiskReason::new(
            RiskLevel::Medium,
            "tests without names",
            "`test`, `lint` name no tests: an early exit would look like success".to_owned(),
        );
        assert!(risk.level == RiskLevel::Medium && risk.reasons.contains(&told), "{risk:?}");
        assert_eq!(rules(&nameless(&[("README.md", Some("# New\n"))])).0, RiskLevel::Low);
    }

    #[test]
    fn what_could_tell_its_own_results_is_high() {
        for (path, line, tells) in [
            ("tests/test_a.py", "os._exit(0)", true),
            ("src/a.py", "    os._exit(0)", true),
            ("src/a.js", "write(process.env.GATEWRIGHT_REPORT)", true),
            ("tests/a.test.js", "process.exit(0)", true),
            ("tests/a.rs", "std::process::exit(0);", true),
            ("tests/a_test.go", "os.Exit(0)", true),
            // A program may end itself.
            ("src/main.rs", "std::process::exit(1);", false),
            ("tests/a.test.js", "assert.equal(child.exitCode, 0)", false),
        ] {
            let (level, rules) = touching(&[(path, Some(line))]);
            assert_eq!(rules.contains(&"may tell its own results".to_owned()), tells, "{path}: {line}");
            assert_eq!(level == RiskLevel::High, tells, "{path}: {line}");
        }
    }

    #[test]
    fn what_a_command_names_is_check_configuration() {
        let script = touching(&[("ci/check.sh", Some("true\n"))]);
        assert_eq!(script, (RiskLevel::High, vec!["check configuration".into(), "code".into()]));
    }

    #[test]
    fn protected_paths_and_dependencies_are_critical() {
        let workflow = touching(&[(".github/workflows/README.md", Some("x"))]);
        assert_eq!(workflow, (RiskLevel::Critical, vec!["protected path".into(), "code".into()]));
        assert_eq!(touching(&[("Cargo.toml", Some("[package]\nx = 1\n"))]).0, RiskLevel::Critical);
    }

    #[test]
    fn an_existing_test_may_grow_and_not_shrink() {
        assert_eq!(
            touching(&[("tests/it.rs", Some("#[test]\nfn it() {}\n#[test]\nfn more() {}\n"))]).0,
            RiskLevel::Medium
        );
        assert_eq!(touching(&[("tests/new.rs", Some("#[test]\nfn new() {}\n"))]).0, RiskLevel::Medium);
        let calm = "pub fn add() {}\n#[test]\nfn adds() {\n    assert!(true);\n}\n";
        assert_eq!(touching(&[("src/lib.rs", Some(calm))]).0, RiskLevel::Medium);
        for changed in [
            touching(&[("tests/it.rs", Some("#[test]\nfn other() {}\n"))]),
            touching(&[("tests/it.rs", None)]),
            touching(&[("src/lib.rs", Some("pub fn add() {}\nfn hidden() {}\n#[test]\nfn adds() {\n}\n"))]),
        ] {
            assert_eq!(changed.0, RiskLevel::High);
            assert!(changed.1.contains(&"existing test changed".to_owned()), "{changed:?}");
        }
    }

    #[test]
    fn what_the_evidence_lost_is_high() {
        let code = facts(&[("src/new.rs", Some("x"))]);
        let lost = Judgement { lost_tests: vec!["a".into()], ..Judgement::default() };
        assert_eq!(rules(&ChangeFacts { judgement: lost, ..code.clone() }).0, RiskLevel::High);
        let ignored = Judgement { ignored_tests: vec!["a".into()], ..Judgement::default() };
        assert_eq!(rules(&ChangeFacts { judgement: ignored, ..code }).0, RiskLevel::High);
    }

    #[test]
    fn the_content_of_the_change_can_raise_it() {
        let rest = "#[test]\nfn adds() {\n    assert!(true);\n}\n";
        let private = touching(&[("src/lib.rs", Some(&format!("pub fn add() {{}}\nfn renamed() {{}}\n{rest}")))]);
        assert_eq!(private, (RiskLevel::Medium, vec!["code".into()]));
        let public = touching(&[("src/lib.rs", Some(&format!("pub fn sum() {{}}\nfn hidden() {{}}\n{rest}")))]);
        assert_eq!(public, (RiskLevel::High, vec!["public interface changed".into(), "code".into()]));
        let hazard = touching(&[("src/new.rs", Some("fn x() { unsafe { y() } }\n"))]);
        assert_eq!(hazard, (RiskLevel::High, vec!["unsafe code".into(), "code".into()]));
        assert_eq!(touching(&[("src/new.rs", Some("// nothing unsafe {\n"))]).0, RiskLevel::Medium);
        assert_eq!(touching(&[("clippy.toml", Some("x"))]).0, RiskLevel::High);
        assert_eq!(touching(&[("src/lib.rs", None)]).0, RiskLevel::High);
        assert_eq!(touching(&[("src/new.rs", Some(&"x\n".repeat(401)))]).0, RiskLevel::High);
    }

    #[test]
    fn a_hint_raises_and_never_lowers() {
        let hint = |level| vec![RiskHint { from: "reviewer".into(), level }];
        let code = facts(&[("src/new.rs", Some("x"))]);
        assert_eq!(rules(&ChangeFacts { hints: hint(RiskLevel::Low), ..code.clone() }).0, RiskLevel::Medium);
        let raised = rules(&ChangeFacts { hints: hint(RiskLevel::Critical), ..code });
        assert_eq!(raised, (RiskLevel::Critical, vec!["hint".into(), "code".into()]));
    }

    #[test]
    fn prose_needs_no_proof() {
        let prose = ChangeFacts { regression_proof: Some(false), ..facts(&[("README.md", Some("# New\n"))]) };
        assert_eq!(rules(&prose), (RiskLevel::Low, vec!["documentation".into()]));
    }

    #[test]
    fn circumstances_are_said() {
        let code = facts(&[("src/new.rs", Some("x"))]);
        let facts = ChangeFacts { red_base: true, regression_proof: Some(false), ..code };
        assert_eq!(
            rules(&facts),
            (RiskLevel::Medium, vec!["code".into(), "red base".into(), "no regression proof".into()])
        );
    }
}
