//! What the state machines promise in their text, whoever runs them.
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use run_model::{ErrorName, RunId, TaskId};
use serde_json::Value;
use states_language::Machine;
use tests::machines::{MACHINES, definitions, functions, machine_arn, roles, states, text};

/// Lambda's own failures, which are worth another try.
const OF_LAMBDA: [&str; 4] = [
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
];
/// How Lambda tells of an invocation that died: a role goes on from its last turn.
const CRASHES: [&str; 3] = ["Sandbox.Timedout", "Runtime.ExitError", "Lambda.Unknown"];
/// The names of the language that our machines look for.
const OF_LANGUAGE: [&str; 2] = ["States.ALL", "States.Timeout"];
/// The longest name of an execution that Step Functions takes, in characters.
const LONGEST_NAME: usize = 80;

fn tasks() -> Vec<(String, Value)> {
    let tasks: Vec<_> = states().into_iter().filter(|(_, state)| state["Type"] == "Task").collect();
    assert!(tasks.len() > 20, "{} tasks were found", tasks.len());
    tasks
}

/// The names that a state's `Retry` or `Catch` looks for.
fn errors<'a>(state: &'a Value, field: &str) -> Vec<&'a str> {
    let rules = state[field].as_array().into_iter().flatten();
    rules.flat_map(|rule| rule["ErrorEquals"].as_array().unwrap()).map(|name| name.as_str().unwrap()).collect()
}

/// The function that a task calls, by its one name.
fn function(state: &Value) -> Option<String> {
    let name = state["Arguments"]["FunctionName"].as_str()?;
    Some(name.trim_start_matches("${").trim_end_matches('}').replace('_', "-"))
}

#[test]
fn every_machine_of_the_folder_is_looked_at() {
    let machine = |path: PathBuf| Some(path.file_name()?.to_str()?.strip_suffix(".asl.json")?.to_owned());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../state-machines");
    let found = fs::read_dir(folder).unwrap().filter_map(|entry| machine(entry.unwrap().path()));
    assert_eq!(found.collect::<BTreeSet<_>>(), MACHINES.map(str::to_owned).into());
}

#[test]
fn every_machine_runs_on_this_engine_and_names_only_what_exists() {
    let arns = functions().into_iter().map(|name| format!("arn:aws:lambda:us-east-1:000000000000:function:{name}"));
    let known: BTreeSet<String> = arns.chain(MACHINES.map(machine_arn)).collect();
    for (name, definition) in definitions() {
        let machine = Machine::parse(&definition).unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
        assert!(!machine.callees().is_empty());
        for callee in machine.callees() {
            assert!(known.contains(callee), "{name} calls {callee}, which is not there");
        }
    }
}

#[test]
fn an_execution_lasts_as_long_as_its_one_shot_believes() {
    let (_, pipeline) = definitions().into_iter().find(|(name, _)| name == "pipeline").unwrap();
    let pipeline: Value = serde_json::from_str(&pipeline).unwrap();
    assert_eq!(pipeline["TimeoutSeconds"], run_model::run::EXECUTION_BOUND_SECONDS);
}

#[test]
fn every_error_that_is_looked_for_is_one_that_somebody_gives() {
    let ours = ErrorName::ALL.map(ErrorName::as_str);
    for (title, state) in states() {
        for name in errors(&state, "Retry").into_iter().chain(errors(&state, "Catch")) {
            let known = [&ours[..], &OF_LAMBDA, &CRASHES, &OF_LANGUAGE].iter().any(|names| names.contains(&name));
            assert!(known, "{title} looks for {name}, which nobody gives");
        }
    }
}

/// Whether a console's reader can take it in: one sentence or a few, as people write them.
fn is_a_sentence(text: &str) -> bool {
    text.len() <= 160 && text.ends_with('.') && text.starts_with(|first: char| first.is_uppercase())
}

/// Words in lower case but for the first letter, without abbreviations and codes.
fn is_a_title(name: &str) -> bool {
    let (first, rest) = name.split_at(1);
    let plain = |c: char| c.is_ascii_lowercase() || [' ', '-', '\''].contains(&c);
    let rest = rest.strip_suffix('?').unwrap_or(rest);
    first.chars().all(|c| c.is_ascii_uppercase()) && rest.chars().all(plain) && name.len() <= 50
}

#[test]
fn names_and_comments_read_well_in_a_console() {
    for name in MACHINES {
        let machine: Value = serde_json::from_str(&text(name)).unwrap();
        assert!(machine["Comment"].as_str().is_some_and(is_a_sentence), "{name} does not say what it is for");
    }
    for (title, state) in states() {
        assert!(state["Comment"].as_str().is_some_and(is_a_sentence), "{title} does not say what it is for");
        let name = title.rsplit(": ").next().unwrap();
        assert!(is_a_title(name), "{title} is no title");
    }
    assert!(!is_a_title("CheckBase") && !is_a_title("check the base") && !is_a_title("Check_base2"));
    assert!(!is_a_sentence("the base") && !is_a_sentence("The base"));
}

#[test]
fn whoever_looks_at_a_failed_execution_is_told_why_what_to_do_and_that_redrive_is_not_it() {
    let fails: Vec<_> = states().into_iter().filter(|(_, state)| state["Type"] == "Fail").collect();
    assert_eq!(fails.len(), 1);
    let cause = fails[0].1["Cause"].as_str().unwrap();
    for told in ["$report.reason", "$report.next_step", "Redrive only ends here again"] {
        assert!(cause.contains(told), "{cause}");
    }
}

#[test]
fn nothing_waits_without_a_bound() {
    for (title, state) in tasks() {
        assert!(!state["TimeoutSeconds"].is_null(), "{title} may wait for ever");
        let waits = state["Resource"].as_str().unwrap().ends_with(".waitForTaskToken");
        let hands_over = state["Arguments"]["Payload"]["token"] == "{% $states.context.Task.Token %}";
        assert_eq!(waits, hands_over, "{title}: who waits for a token hands it over");
    }
}

#[test]
fn what_passes_is_tried_again_and_a_crashed_role_goes_on() {
    let (roles, mut asked) = (roles(), BTreeSet::new());
    for (title, state) in tasks() {
        let Some(function) = function(&state) else { continue };
        let retried = errors(&state, "Retry");
        for name in OF_LAMBDA.into_iter().chain(["StoreUnavailable", "Conflict"]) {
            assert!(retried.contains(&name), "{title} gives up at {name}");
        }
        if roles.contains(&function) {
            for name in CRASHES.into_iter().chain(["ModelThrottled", "States.Timeout"]) {
                assert!(retried.contains(&name), "{title} gives up at {name}");
            }
            asked.insert(function);
        }
    }
    assert_eq!(asked.into_iter().collect::<Vec<_>>(), roles, "every role has its place in a machine");
}

#[test]
fn a_forge_that_asks_for_patience_gets_it_from_the_machine() {
    let code_host = tasks().into_iter().filter(|(_, state)| function(state).as_deref() == Some("code-host"));
    let mut found = 0;
    for (title, state) in code_host {
        let rule = |name: &str| {
            let rules = state["Retry"].as_array().unwrap().iter();
            let mut rules = rules.filter(|rule| rule["ErrorEquals"].as_array().unwrap().contains(&name.into()));
            rules.next().unwrap_or_else(|| panic!("{title} gives up at {name}")).clone()
        };
        let (mut interval, mut waited) = (rule("ForgeThrottled")["IntervalSeconds"].as_u64().unwrap(), 0);
        for _ in 0..rule("ForgeThrottled")["MaxAttempts"].as_u64().unwrap() {
            // Full jitter waits half as long on average.
            waited += interval / 2;
            interval = (interval * 2).min(rule("ForgeThrottled")["MaxDelaySeconds"].as_u64().unwrap());
        }
        assert!(waited > 3600, "{title} waits {waited} s, and GitHub's limit begins anew after an hour");
        rule("ForgeUnavailable");
        found += 1;
    }
    assert_eq!(found, 3, "snapshot, publish and land");
}

#[test]
fn a_role_that_is_short_of_time_is_called_again() {
    let (states, roles): (BTreeMap<String, Value>, _) = (states().into_iter().collect(), roles());
    for (title, state) in &states {
        if !function(state).is_some_and(|function| roles.contains(&function)) {
            continue;
        }
        let (place, name) = title.split_once(": ").unwrap();
        let choice = &states[&format!("{place}: {}", state["Next"].as_str().unwrap())];
        let rules = choice["Choices"].as_array().unwrap_or_else(|| panic!("{title} is followed by no Choice"));
        let goes_on = |rule: &Value| rule["Condition"] == "{% $step.status = 'continue' %}" && rule["Next"] == name;
        assert!(rules.iter().any(goes_on), "{title} is not called again");
    }
}

#[test]
fn a_failure_after_admission_reaches_the_end_that_is_told() {
    for (title, state) in tasks().into_iter().filter(|(title, _)| title.starts_with("pipeline")) {
        let exempt =
            ["Admit the request", "Resume the run", "Tell how it ended"].iter().any(|name| title.ends_with(name));
        assert_eq!(errors(&state, "Catch").contains(&"States.ALL"), !exempt, "{title}");
    }
}

/// The longest text that an expression which joins texts can become, the context being as given.
fn longest(expression: &str, execution: &str, task: &str) -> String {
    let inner = expression.trim_start_matches("{%").trim_end_matches("%}").trim();
    let part = |part: &str| match part {
        "$states.context.Execution.Name" => execution.to_owned(),
        "$states.input.task_id" => task.to_owned(),
        // Nobody redrives a run, and nothing retries these states; a digit is kept for the day when somebody does.
        "$string($states.context.Execution.RedriveCount)"
        | "$string($states.context.State.RetryCount)"
        | "$string($setups)" => "9".into(),
        literal => literal.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).expect(literal).to_owned(),
    };
    inner.split(" & ").map(part).collect()
}

#[test]
fn the_longest_name_of_an_execution_is_short_enough() {
    let most = |fits: &dyn Fn(String) -> bool| "a".repeat((1..100).take_while(|n| fits("a".repeat(*n))).count());
    let (run, task) = (most(&|id| RunId::new(id).is_ok()), most(&|id| TaskId::new(id).is_ok()));
    // `pipeline` bears the run's name, and a number when it was resumed.
    let mut execution = format!("{run}-999");
    let mut starts = 0;
    for (title, state) in tasks() {
        if let Some(name) = state["Arguments"]["Name"].as_str() {
            execution = longest(name, &execution, &task);
            assert!(execution.len() <= LONGEST_NAME, "{title}: {execution} has {} characters", execution.len());
            starts += 1;
        }
    }
    assert_eq!(starts, 2, "pipeline starts task-graph, which starts task");
}
