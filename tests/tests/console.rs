//! The Step Functions console as a way to use Gatewright: nothing but the calls that it makes, against a served cloud.
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use aws_sdk_sfn::Client;
use aws_sdk_sfn::operation::describe_execution::DescribeExecutionOutput;
use aws_sdk_sfn::types::ExecutionStatus;
use serde_json::{Value, json};
use tests::machines::{MACHINES, machine_arn};
use tests::served::Served;
use tests::{Script, World};

const RIGHT: &str = "echo $(($1 + $2))\n";
/// As the console names an execution for whoever gives it no name.
const NAME: &str = "6f0d5c1e-8b1f-4f7e-9a53-2c8d1b0e7a44";

/// A served cloud, and a project whose settings name a crew that does it right at once.
struct Console {
    world: World,
    client: Client,
    _served: Served,
}

impl Console {
    fn over(world: World, script: &Script) -> Self {
        let file = world.path("script.jsonl");
        script.write(&file);
        let project = std::fs::read_to_string(world.repository().join("gatewright.toml")).unwrap();
        let provider = format!("[provider]\nkind = \"scripted\"\nscript = {:?}\n", file.display().to_string());
        world.commit(&[("gatewright.toml", &format!("{project}{provider}"))]);
        let served = Served::start(&world, &[]);
        Self { client: Client::new(&served.sdk_config()), world, _served: served }
    }

    /// "Start execution", with what a person has to type.
    async fn start(&self) -> String {
        let input = json!({ "repository": self.world.repository(), "requirements": "make it right" });
        let start = self.client.start_execution().state_machine_arn(machine_arn("pipeline")).name(NAME);
        start.input(input.to_string()).send().await.unwrap().execution_arn
    }

    async fn shows(&self, execution: &str) -> DescribeExecutionOutput {
        self.client.describe_execution().execution_arn(execution).send().await.unwrap()
    }

    /// The execution once it has ended.
    async fn ended(&self, execution: &str) -> DescribeExecutionOutput {
        loop {
            let found = self.shows(execution).await;
            if found.status != ExecutionStatus::Running {
                return found;
            }
        }
    }

    /// The gate that the run waits at. A run that has ended without one is told with its cause.
    async fn gate(&self, execution: &str) -> String {
        loop {
            if let Some(gate) = self.world.pending_gates().pop() {
                return gate["gate_id"].as_str().unwrap().to_owned();
            }
            let found = self.shows(execution).await;
            assert_eq!(found.status, ExecutionStatus::Running, "{:?}", found.cause);
        }
    }
}

fn good() -> Script {
    Script::default()
        .planned()
        .develops(1, "sum.sh", RIGHT)
        .tests(1, "tests/two.sh", "test \"$(sh sum.sh 1 2)\" = 3\n")
        .approves(1)
}

#[tokio::test]
async fn a_run_is_started_looked_at_and_its_output_says_what_came_of_it() {
    let console = Console::over(World::quick(), &good());
    let client = &console.client;
    // The list of machines, and one of them.
    let listed = client.list_state_machines().send().await.unwrap().state_machines;
    let mut names: Vec<_> = listed.iter().map(|machine| machine.name()).collect();
    names.sort_unstable();
    let mut machines = MACHINES;
    machines.sort_unstable();
    assert_eq!(names, machines);
    let shown = client.describe_state_machine().state_machine_arn(machine_arn("pipeline")).send().await.unwrap();
    assert!(shown.definition().contains("Admit the request"));

    let execution = console.start().await;
    let gate = console.gate(&execution).await;
    // The execution among the machine's, and its graph: the definition it runs with, and what was entered.
    let running = client.list_executions().state_machine_arn(machine_arn("pipeline"));
    let running = running.status_filter(ExecutionStatus::Running).send().await.unwrap().executions;
    assert_eq!(running.iter().map(|found| found.name()).collect::<Vec<_>>(), [NAME]);
    let graph = client.describe_state_machine_for_execution().execution_arn(&execution).send().await.unwrap();
    let definition: Value = serde_json::from_str(graph.definition()).unwrap();
    let history = client.get_execution_history().execution_arn(&execution).reverse_order(true).send().await.unwrap();
    let entered = history.events.iter().find_map(|event| event.state_entered_event_details()).unwrap();
    assert_eq!(entered.name(), "Look at the change");
    assert!(definition["States"][entered.name()]["Comment"].as_str().unwrap().contains("A person decides"));

    let run = console.world.shown(NAME);
    assert_eq!(run["gates"][0]["gate_id"], gate);
    console.world.gatewright(&["gates", "approve", &gate]).expect(0);
    let found = console.ended(&execution).await;
    assert_eq!(found.status, ExecutionStatus::Succeeded, "{:?}", found.cause);
    let output: Value = serde_json::from_str(found.output().unwrap()).unwrap();
    assert_eq!((&output["branch"], &output["status"]), (&json!(format!("gatewright/{NAME}")), &json!("succeeded")));
    assert!(output["cost_usd"].as_f64().is_some_and(|usd| usd > 0.0), "{output}");
    let evidence: Vec<_> = output["evidence"].as_array().unwrap().iter().map(|it| it["purpose"].clone()).collect();
    assert!(evidence.contains(&json!("final")), "{output}");
    assert!(output["next_step"].as_str().unwrap().contains("git merge"), "{output}");
    assert_eq!(console.world.on_branch(&format!("gatewright/{NAME}"), "sum.sh").as_deref(), Some(RIGHT));
}

#[tokio::test]
async fn a_failed_execution_says_why_and_what_to_do_and_here_nothing_is_redriven() {
    let silent = (0..9).fold(Script::default(), |script, _| script.is_silent("orchestrator", 1));
    let console = Console::over(World::quick(), &silent);
    let execution = console.start().await;
    let found = console.ended(&execution).await;
    assert_eq!((found.status, found.error.as_deref()), (ExecutionStatus::Failed, Some("failed")));
    let cause = found.cause.unwrap();
    assert!(cause.contains("Redrive only ends here again"), "{cause}");
    let before = console.world.shown(NAME);
    for told in ["reason", "next_step"] {
        assert!(cause.contains(before["outcome"][told].as_str().unwrap()), "{cause}");
    }
    assert!(cause.contains(&format!("`gatewright runs resume {NAME}`")), "{cause}");

    // On AWS it could be, and would end in the same state again: the tests of events have that.
    assert_eq!(found.redrive_status.unwrap().as_str(), "NOT_REDRIVABLE");
    let refused = console.client.redrive_execution().execution_arn(&execution).send().await.unwrap_err();
    let refused = refused.into_service_error();
    assert!(refused.is_execution_not_redrivable(), "{refused:?}");
    assert_eq!(console.world.shown(NAME), before);
}

#[tokio::test]
async fn stop_pressed_there_leaves_the_record_true() {
    let console = Console::over(World::quick(), &good());
    let execution = console.start().await;
    let gate = console.gate(&execution).await;
    let stop = console.client.stop_execution().execution_arn(&execution);
    stop.error("Changed my mind").cause("not today").send().await.unwrap();
    let found = console.ended(&execution).await;
    assert_eq!((found.status, found.cause.as_deref()), (ExecutionStatus::Aborted, Some("not today")));
    // `events` is told after the execution has ended: that it comes is what is held here.
    let run = loop {
        let run = console.world.shown(NAME);
        if run["status"] != "approval_pending" {
            break run;
        }
    };
    assert_eq!(run["status"], "stopped");
    assert!(run["outcome"]["reason"].as_str().unwrap().contains("not today"), "{run}");
    assert!(run["outcome"]["next_step"].as_str().unwrap().contains("gatewright runs resume"), "{run}");
    assert_eq!(console.world.pending_gates(), Vec::<Value>::new());
    console.world.gatewright(&["gates", "approve", &gate]).expect(65);
    assert_eq!(console.world.branches(), Vec::<String>::new());
}
