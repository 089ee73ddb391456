//! One name everywhere: folder, function, role, log group, substitution.

use std::collections::BTreeSet;

use serde_json::json;
use tests::machines::{MACHINES, functions, states_of};
use tests::template::{Template, logical_id};

use crate::{complains, none, template};

/// What a function must be called and where its parts must be.
fn problems(template: &Template) -> Vec<String> {
    let mut problems = Vec::new();
    let named = template.of_type("AWS::Serverless::Function");
    let deployed: BTreeSet<String> = named.iter().map(|(id, _)| (*id).to_owned()).collect();
    let folders: BTreeSet<String> = functions().iter().map(|name| logical_id(name)).collect();
    problems.extend(folders.difference(&deployed).map(|id| format!("{id} has a folder and is not deployed")));
    problems.extend(deployed.difference(&folders).map(|id| format!("{id} is deployed and has no folder")));
    for name in functions() {
        let id = logical_id(&name);
        let function = template.properties(&id);
        let wanted = [
            ("FunctionName", json!({ "Fn::Sub": format!("gatewright-${{Stage}}-{name}") })),
            ("CodeUri", json!("../crates/programs")),
            ("Handler", json!(name)),
            ("Role", json!({ "Fn::GetAtt": [format!("{id}Role"), "Arn"] })),
            ("LoggingConfig", json!({ "LogFormat": "JSON", "LogGroup": { "Ref": format!("{id}Logs") } })),
        ];
        let wrong = wanted.iter().filter(|(field, value)| function[*field] != *value);
        problems.extend(wrong.map(|(field, value)| format!("{id}: {field} is not {value}")));
        let group = json!({ "Fn::Sub": format!("/aws/lambda/gatewright-${{Stage}}-{name}") });
        if template.properties(&format!("{id}Logs"))["LogGroupName"] != group {
            problems.push(format!("{id}Logs is not the log group of {name}"));
        }
    }
    problems.extend(MACHINES.iter().flat_map(|machine| substitutions(template, machine)));
    problems
}

/// A machine's substitutions are those of its text, each with the thing of that name.
fn substitutions(template: &Template, machine: &str) -> Vec<String> {
    let id = logical_id(machine);
    let properties = template.properties(&id);
    let given = properties["DefinitionSubstitutions"].as_object().cloned().unwrap_or_default();
    let text: String = states_of(machine).iter().map(|(_, state)| state.to_string()).collect();
    let asked: BTreeSet<&str> =
        text.split("${").skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name).collect();
    let mut problems = Vec::new();
    if given.keys().map(String::as_str).collect::<BTreeSet<_>>() != asked {
        problems.push(format!("{id} substitutes {:?}, its text asks for {asked:?}", given.keys().collect::<Vec<_>>()));
    }
    for (name, value) in &given {
        let named = logical_id(&name.replace('_', "-"));
        let wanted = if MACHINES.contains(&name.replace('_', "-").as_str()) {
            json!({ "Ref": format!("{named}Alias") })
        } else {
            json!({ "Ref": format!("{named}.Alias") })
        };
        if *value != wanted {
            problems.push(format!("{id}: ${{{name}}} is {value} and not {wanted}"));
        }
    }
    if properties["DefinitionUri"] != format!("../state-machines/{machine}.asl.json")
        || properties["Name"] != json!({ "Fn::Sub": format!("gatewright-${{Stage}}-{machine}") })
    {
        problems.push(format!("{id} is not the machine {machine}"));
    }
    problems
}

#[test]
fn one_name_everywhere() {
    none(&problems(&template()));
}

#[test]
fn another_name_is_seen() {
    let elsewhere =
        |template: &mut Template| template.properties_mut("Tester")["CodeUri"] = "../functions/tester".into();
    complains(problems, elsewhere, "Tester: CodeUri");
    let another_function = |template: &mut Template| template.properties_mut("Tester")["Handler"] = "reviewer".into();
    complains(problems, another_function, "Tester: Handler");
    let another_role = |template: &mut Template| {
        template.properties_mut("Tester")["Role"] = json!({ "Fn::GetAtt": ["ReviewerRole", "Arn"] })
    };
    complains(problems, another_role, "Tester: Role");
    let crossed = |template: &mut Template| {
        template.properties_mut("Task")["DefinitionSubstitutions"]["tester"] = json!({ "Ref": "Developer.Alias" });
    };
    complains(problems, crossed, "${tester} is");
    let gone = |template: &mut Template| drop(template.0["Resources"].as_object_mut().unwrap().remove("Tester"));
    complains(problems, gone, "Tester has a folder and is not deployed");
}
