//! Each state machine's role is derived from its text: no emulator enforces it, so nothing else would notice.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::machines::{MACHINES, states_of};
use tests::template::{Template, list, logical_id, texts};

use crate::{complains, none, template};

/// One thing that a role allows: an action, and on what.
type Right = (String, String);

/// Delivery of logs goes by an API that knows no resources.
const LOGGING: [&str; 8] = [
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
];
/// So does X-Ray.
const TRACING: [&str; 4] =
    ["xray:PutTraceSegments", "xray:PutTelemetryRecords", "xray:GetSamplingRules", "xray:GetSamplingTargets"];

fn right(action: &str, resource: &Value) -> Right {
    (action.to_owned(), resource.to_string())
}

/// The name in `${name}`.
fn substitution(value: &Value) -> &str {
    let name = value.as_str().and_then(|text| text.strip_prefix("${")?.strip_suffix('}'));
    name.unwrap_or_else(|| panic!("{value} is not one substitution"))
}

/// What a machine's text, its logging and its tracing need.
fn derived(template: &Template, machine: &str) -> BTreeSet<Right> {
    let properties = template.properties(&logical_id(machine));
    let mut rights = BTreeSet::new();
    for (title, state) in states_of(machine).iter().filter(|(_, state)| state["Type"] == "Task") {
        let resource = state["Resource"].as_str().unwrap_or_default();
        match resource.strip_prefix("arn:aws:states:::").unwrap_or_default() {
            "lambda:invoke" | "lambda:invoke.waitForTaskToken" => {
                // By an alias, so the right is to the alias and not to the function.
                let name = substitution(&state["Arguments"]["FunctionName"]);
                rights.insert(right("lambda:InvokeFunction", &properties["DefinitionSubstitutions"][name]));
            }
            "states:startExecution.sync:2" => {
                rights.extend(nested(&substitution(&state["Arguments"]["StateMachineArn"]).replace('_', "-")));
            }
            _ => panic!("{title}: say here what {resource:?} needs"),
        }
    }
    if properties["Logging"].is_object() {
        rights.extend(LOGGING.map(|action| right(action, &json!("*"))));
    }
    if properties["Tracing"]["Enabled"] == true {
        rights.extend(TRACING.map(|action| right(action, &json!("*"))));
    }
    rights
}

/// An execution that is waited for is started, looked at, stopped with its parent, and told of by a rule that Step
/// Functions manages. The right to start by an alias is asked of the machine without it.
fn nested(machine: &str) -> Vec<Right> {
    let arn = |service: &str, rest: String| json!({ "Fn::Sub": format!("arn:${{AWS::Partition}}:{service}:${{AWS::Region}}:${{AWS::AccountId}}:{rest}") });
    let executions = arn("states", format!("execution:gatewright-${{Stage}}-{machine}:*"));
    let rule = arn("events", "rule/StepFunctionsGetEventsForStepFunctionsExecutionRule".into());
    vec![
        right("states:StartExecution", &json!({ "Ref": logical_id(machine) })),
        right("states:DescribeExecution", &executions),
        right("states:StopExecution", &executions),
        right("events:PutTargets", &rule),
        right("events:PutRule", &rule),
        right("events:DescribeRule", &rule),
    ]
}

fn granted(template: &Template, machine: &str) -> BTreeSet<Right> {
    let statements = template.statements(&format!("{}Role", logical_id(machine)));
    let rights = statements.iter().flat_map(|statement| {
        let resources = list(&statement["Resource"]);
        texts(&statement["Action"])
            .into_iter()
            .flat_map(move |action| resources.clone().into_iter().map(move |resource| right(action, resource)))
    });
    rights.collect()
}

fn problems(template: &Template) -> Vec<String> {
    let mut problems = Vec::new();
    for machine in MACHINES {
        let id = logical_id(machine);
        let (derived, granted) = (derived(template, machine), granted(template, machine));
        problems.extend(derived.difference(&granted).map(|right| format!("{machine} needs {right:?}")));
        problems.extend(granted.difference(&derived).map(|right| format!("{machine} does not need {right:?}")));
        let properties = template.properties(&id);
        let wanted = [
            ("/Role", json!({ "Fn::GetAtt": [format!("{id}Role"), "Arn"] })),
            ("/Type", json!("STANDARD")),
            // Task tokens and everything else that travels stays out of the logs.
            ("/Logging/IncludeExecutionData", json!(false)),
            ("/Tracing/Enabled", json!(true)),
        ];
        let wrong = wanted.iter().filter(|(path, value)| properties.pointer(path) != Some(value));
        problems.extend(wrong.map(|(path, value)| format!("{id}: {path} is not {value}")));
        problems.extend(versioned(template, &id));
    }
    problems
}

/// The alias is the newest version; earlier ones stay for the way back.
fn versioned(template: &Template, id: &str) -> Vec<String> {
    let (version, alias) =
        (&template.0["Resources"][format!("{id}Version")], &template.0["Resources"][format!("{id}Alias")]);
    let revision = json!({ "Fn::GetAtt": [id, "StateMachineRevisionId"] });
    let published =
        version["Properties"]["StateMachineRevisionId"] == revision && version["UpdateReplacePolicy"] == "Retain";
    let points = alias["Properties"]["DeploymentPreference"]["StateMachineVersionArn"]
        == json!({ "Ref": format!("{id}Version") });
    let optional = [version, alias].iter().all(|resource| resource["Condition"] == "IsOnAws");
    let right = published && points && optional;
    if right { Vec::new() } else { vec![format!("{id}: version and alias do not follow the machine")] }
}

#[test]
fn each_machine_has_the_rights_that_its_text_needs_and_no_others() {
    none(&problems(&template()));
}

#[test]
fn without_versions_a_machine_is_named_itself() {
    let unversioned = tests::template::Template::load().under(&|_| false);
    assert!(unversioned.of_type("AWS::StepFunctions::StateMachineVersion").is_empty());
    assert!(unversioned.of_type("AWS::StepFunctions::StateMachineAlias").is_empty());
    let child = &unversioned.properties("Pipeline")["DefinitionSubstitutions"]["task_graph"];
    assert_eq!(*child, json!({ "Ref": "TaskGraph" }));
}

fn statements(template: &mut Template) -> &mut Vec<Value> {
    template.properties_mut("PipelineRole")["Policies"][0]["PolicyDocument"]["Statement"].as_array_mut().unwrap()
}

#[test]
fn a_right_too_many_or_too_few_is_seen() {
    let too_few = |template: &mut Template| {
        statements(template).retain(|statement| !statement.to_string().contains("states:StopExecution"));
    };
    complains(problems, too_few, "pipeline needs (\"states:StopExecution\"");
    let unqualified = |template: &mut Template| {
        let text = template.0["Resources"]["TaskRole"].to_string().replace("Tester.Alias", "Tester");
        template.0["Resources"]["TaskRole"] = text.parse().unwrap();
    };
    complains(problems, unqualified, "task needs (\"lambda:InvokeFunction\", \"{\\\"Ref\\\":\\\"Tester.Alias\\\"}\")");
    let too_many = |template: &mut Template| {
        statements(template).push(json!({ "Effect": "Allow", "Action": "dynamodb:GetItem", "Resource": "*" }));
    };
    complains(problems, too_many, "pipeline does not need (\"dynamodb:GetItem\"");
    let chatty =
        |template: &mut Template| template.properties_mut("Task")["Logging"]["IncludeExecutionData"] = true.into();
    complains(problems, chatty, "Task: /Logging/IncludeExecutionData");
    let untraced = |template: &mut Template| template.properties_mut("Task")["Tracing"]["Enabled"] = false.into();
    complains(problems, untraced, "task does not need (\"xray:");
}
