//! A run goes the same way whatever language its model's server speaks.
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use config::Dialect;
use serde_json::{Value, json};
use tests::{Ended, Provider, Script, World};

const RIGHT: &str = "echo $(($1 + $2))\n";
const NEW_TEST: (&str, &str) = ("tests/two.sh", "test \"$(sh sum.sh 1 2)\" = 3\n");

fn crew(script: Script) -> Script {
    script.planned().develops(1, "sum.sh", RIGHT).tests(1, NEW_TEST.0, NEW_TEST.1).approves(1)
}

/// Has the crew work on the quick project in this dialect: the run as it ended, and what the model was asked.
fn worked(dialect: Dialect, script: &Script) -> (Value, Vec<Value>) {
    let provider = Provider::speaking(dialect, script);
    let world = World::quick_with(&provider.settings());
    let mut command = world.command(&["run", "--requirements", "make it right", "--yes", "--json"]);
    if dialect == Dialect::Anthropic {
        // A server of one's own that speaks the other dialect is asked without a key.
        command.env("ANTHROPIC_API_KEY", "a-key-of-no-known-shape");
    }
    let run = Ended::of(&command.output().unwrap()).expect(0).json();
    assert_eq!(world.on_branch(run["branch"].as_str().unwrap(), "sum.sh").as_deref(), Some(RIGHT));
    let asked = provider.requests().iter().map(|body| serde_json::from_str(body).unwrap()).collect();
    (run, asked)
}

#[test]
fn the_same_script_comes_to_the_same_end_in_every_dialect() {
    let runs = Dialect::ALL.map(|dialect| worked(dialect, &crew(Script::default())));
    for (run, asked) in &runs {
        assert_eq!(
            (&run["status"], run["cost_estimated"].as_bool(), asked.len()),
            (&json!("succeeded"), Some(false), 7)
        );
    }
    let [(one, _), (other, _)] = &runs;
    for same in ["risk", "cost_microusd", "notices"] {
        assert_eq!(one[same], other[same], "{same}");
    }
}

#[test]
fn a_call_that_is_no_json_is_given_back_to_the_model() {
    let broken = Script::default().calls("orchestrator", 1, &[("submit", json!("{\"summary\": \"cut"))]);
    let (_, asked) = worked(Dialect::OpenAi, &crew(broken));
    let said = asked[1]["messages"].as_array().unwrap();
    let [.., call, result] = &said[..] else { panic!("{said:?}") };
    assert!(call["tool_calls"][0]["function"]["arguments"].as_str().unwrap().contains("{\\\"summary"), "{call}");
    assert_eq!(result["role"], "tool");
    let content = result["content"].as_str().unwrap();
    assert!(content.starts_with("Error: ") && content.contains("no JSON object"), "{content}");
}
