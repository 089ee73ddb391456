//! What a check's report counts for, and what is put in its place.

use config::TestFormat;
use run_model::evidence::{CommandEvidence, TestOutcome};

use crate::world::{Project, World};

const PASSED: &str =
    "<testsuite tests=\"1\" failures=\"0\"><testcase name=\"a\" file=\"/workspace/tree/a.py\"/></testsuite>";
const FAILED: &str = "<testsuite tests=\"1\" failures=\"1\"><testcase name=\"a\"><failure/></testcase></testsuite>";

async fn check(world: &mut World, line: &str) -> CommandEvidence {
    let mut project = Project::plain(line);
    project.config.checks[0].format = TestFormat::Junit;
    world.measure(&project).await.unwrap().commands.remove(0)
}

/// A line that writes this report.
fn writing(report: &str) -> String {
    format!("printf '%s' '{report}' > $GATEWRIGHT_REPORT")
}

#[tokio::test]
async fn tests_are_named_by_the_report_and_not_by_what_is_printed() {
    let mut world = World::new().await;
    let evidence = check(&mut world, &format!("echo '{FAILED}'; {}", writing(PASSED))).await;
    assert_eq!(evidence.doubt, None);
    let tests: Vec<_> = evidence.tests.iter().map(|test| (test.name.as_str(), test.outcome)).collect();
    assert_eq!(tests, [("a.py::a", TestOutcome::Passed)]);
    let evidence = check(&mut world, &format!("{}; exit 1", writing(FAILED))).await;
    assert_eq!((evidence.doubt, evidence.tests[0].outcome), (None, TestOutcome::Failed));
}

#[tokio::test]
async fn a_success_whose_report_names_failures_is_doubted() {
    let evidence = check(&mut World::new().await, &writing(FAILED)).await;
    assert_eq!(evidence.doubt.as_deref(), Some("it exited with 0, and 1 tests failed"));
}

#[tokio::test]
async fn a_report_that_is_none_is_doubted() {
    let mut world = World::new().await;
    for (line, why) in [
        ("true".to_owned(), "no report was written"),
        // It would be one of the change's own, if a file of the tree could stand there.
        (format!("mkdir -p report && printf '%s' '{PASSED}' > report/xml"), "no report was written"),
        (format!("printf '%s' '{PASSED}' > real && ln -s $PWD/real $GATEWRIGHT_REPORT"), "no plain file"),
        ("ln -s /dev/zero $GATEWRIGHT_REPORT".to_owned(), "no plain file"),
        ("mkdir $GATEWRIGHT_REPORT".to_owned(), "no plain file"),
        ("mkfifo $GATEWRIGHT_REPORT".to_owned(), "no plain file"),
        ("truncate -s 1G $GATEWRIGHT_REPORT".to_owned(), "larger than 16 MiB"),
        ("printf '\\377' > $GATEWRIGHT_REPORT".to_owned(), "no text"),
        (writing("<testsuite>"), "no XML"),
    ] {
        let evidence = check(&mut world, &line).await;
        let doubt = evidence.doubt.unwrap_or_default();
        assert!(doubt.contains(why), "{line}: {doubt} {}", evidence.output_tail);
        assert!(evidence.tests.is_empty(), "{line}");
    }
}

#[tokio::test]
async fn a_report_of_one_check_is_not_anothers() {
    let mut world = World::new().await;
    let mut project = Project::plain(&writing(PASSED));
    project.config.checks.push(project.config.checks[0].clone());
    project.config.checks[1].name = "second".into();
    project.config.checks[1].command = "true".into();
    project.config.checks.iter_mut().for_each(|check| check.format = TestFormat::Junit);
    let evidence = world.measure(&project).await.unwrap();
    assert_eq!(evidence.commands[0].doubt, None);
    assert!(evidence.commands[1].doubt.is_some());
}
