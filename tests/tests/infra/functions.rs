//! Each function's role against what its code can ask for, in both directions.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use tests::machines::{functions, repository, roles};
use tests::template::{Template, list, logical_id, referred, texts};

use crate::{complains, none, template};

/// What a dependency lets a function ask AWS for. A right is a service, or a secret: three secrets lie in one service.
const ADAPTERS: &[(&str, &[&str])] = &[
    ("store", &["dynamodb", "s3"]),
    ("aws-sdk-dynamodb", &["dynamodb"]),
    ("aws-sdk-s3", &["s3"]),
    ("aws-sdk-sfn", &["states"]),
    ("aws-sdk-lambda", &["lambda"]),
    // Whoever makes a schedule hands it the role under which it will call.
    ("aws-sdk-scheduler", &["scheduler", "iam"]),
    // The providers' keys are for those who speak to providers, the forge's for those who speak to a forge.
    ("models", &["ModelsSecret"]),
    ("forge", &["ForgeSecret"]),
];

/// What the store can do only with one right more: to seal a task token or open it, to look whether a secret is there.
const CALLS: [(&str, &str); 4] = [
    (".open_gate(", "SigningSecret"),
    (".put_job(", "SigningSecret"),
    (".answer_for(", "SigningSecret"),
    (".has_secret(", LOOK_AT_SECRETS),
];
const LOOK_AT_SECRETS: &str = "secretsmanager:DescribeSecret";

/// Not followed: the host takes nothing from the store but what a stage's resources are called.
const NAMES_ALONE: &str = "lambda-host";

/// What a function's dependencies and sources can ask for.
fn needed(function: &str) -> BTreeSet<String> {
    let crates = reachable(&format!("functions/{function}"));
    let adapters = ADAPTERS.iter().filter(|(name, _)| crates.contains(*name));
    let mut rights: BTreeSet<String> =
        adapters.flat_map(|(_, rights)| rights.iter().map(|right| (*right).to_owned())).collect();
    let source = source(function);
    rights.extend(CALLS.iter().filter(|(call, _)| source.contains(call)).map(|(_, right)| (*right).to_owned()));
    rights
}

/// The crates that are shipped with a crate, by way of those of this repository.
fn reachable(folder: &str) -> BTreeSet<String> {
    let manifest = fs::read_to_string(repository().join(folder).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let mut found = BTreeSet::new();
    for name in manifest["dependencies"].as_table().unwrap().keys().filter(|name| *name != NAMES_ALONE) {
        let library = format!("crates/{name}");
        if repository().join(&library).is_dir() {
            found.append(&mut reachable(&library));
        }
        found.insert(name.clone());
    }
    found
}

fn source(function: &str) -> String {
    let files = fs::read_dir(repository().join(format!("functions/{function}/src"))).unwrap();
    files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect()
}

/// What a role allows, apart from writing its own log.
fn granted(template: &Template, role: &str) -> BTreeSet<String> {
    let mut rights = BTreeSet::new();
    for statement in template.statements(role) {
        for action in texts(&statement["Action"]) {
            let service = action.split(':').next().unwrap();
            match service {
                "logs" => {}
                _ if action == LOOK_AT_SECRETS => drop(rights.insert(action.to_owned())),
                "secretsmanager" => {
                    rights.extend(list(&statement["Resource"]).into_iter().filter_map(referred).map(str::to_owned));
                }
                _ => drop(rights.insert(service.to_owned())),
            }
        }
    }
    rights
}

fn problems(template: &Template) -> Vec<String> {
    let mut problems = Vec::new();
    for name in functions() {
        let role = format!("{}Role", logical_id(&name));
        let (needed, granted) = (needed(&name), granted(template, &role));
        problems.extend(needed.difference(&granted).map(|right| format!("{name} needs {right} and {role} has it not")));
        problems.extend(granted.difference(&needed).map(|right| format!("{role} has {right} and {name} needs it not")));
        problems.extend(own_log(template, &name));
        problems.extend(the_stream(template, &name));
        problems.extend(rows(template, &role));
        problems.extend(listed(template, &role));
    }
    for (role, _) in template.of_type("AWS::IAM::Role") {
        let answers = template.statements(role).into_iter().flat_map(|statement| texts(&statement["Action"]));
        if role != "TaskCallbackRole" && answers.clone().any(|action| action.starts_with("states:SendTask")) {
            problems.push(format!("{role} may answer a task: that is for task-callback alone"));
        }
    }
    problems.extend(roles().iter().flat_map(|name| agent(template, name)));
    problems
}

/// A function writes its own log group, which is there before it runs, and no other.
fn own_log(template: &Template, name: &str) -> Vec<String> {
    let id = logical_id(name);
    let wanted = json!({
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": { "Fn::GetAtt": [format!("{id}Logs"), "Arn"] },
    });
    let statements = template.statements(&format!("{id}Role"));
    let of_logs = |statement: &&&Value| texts(&statement["Action"]).iter().any(|action| action.starts_with("logs:"));
    let found: Vec<_> = statements.iter().filter(of_logs).collect();
    let right = found.len() == 1 && **found[0] == wanted;
    if right { Vec::new() } else { vec![format!("{id}Role does not have the right to its own log and no other")] }
}

/// Whom the table's stream is handed to may read it, and nobody else.
fn the_stream(template: &Template, name: &str) -> Option<String> {
    let id = logical_id(name);
    let mappings = template.of_type("AWS::Lambda::EventSourceMapping");
    let fed = mappings.iter().any(|(_, mapping)| referred(&mapping["FunctionName"]) == Some(&id));
    let statements = template.statements(&format!("{id}Role"));
    let actions: BTreeSet<&str> = statements.iter().flat_map(|statement| texts(&statement["Action"])).collect();
    let reading =
        ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"];
    let count = reading.iter().filter(|action| actions.contains(*action)).count();
    let right = count == if fed { reading.len() } else { 0 };
    (!right).then(|| format!("{id}Role and the mapping of the table's stream do not agree"))
}

/// Every right to rows says which, and nobody who runs here gives rights to people: grants are read alone.
fn rows(template: &Template, role: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for statement in template.statements(role) {
        let actions = texts(&statement["Action"]);
        if statement["Resource"] != json!({ "Fn::GetAtt": ["Table", "Arn"] }) {
            continue;
        }
        let keys = texts(&statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]);
        if keys.is_empty() {
            problems.push(format!("{role} may touch any row"));
        }
        let of_grants = keys.iter().any(|key| ["BEARER#*", "PRINCIPAL#*"].contains(key) || key.starts_with('*'));
        if of_grants && actions.iter().any(|action| *action != "dynamodb:GetItem") {
            problems.push(format!("{role} may change who decides"));
        }
    }
    problems
}

/// What an index lists is read many rows at once, and nothing else is.
fn listed(template: &Template, role: &str) -> Option<String> {
    let statements = template.statements(role);
    let lists = statements.iter().any(|statement| statement["Resource"].to_string().contains("/index/"));
    let reads = statements.iter().any(|statement| texts(&statement["Action"]).contains(&"dynamodb:BatchGetItem"));
    (lists != reads).then(|| format!("{role}: the right to the index and the right to read many rows do not agree"))
}

/// An agent gets the models' secret, the objects and the rows of runs, and nothing else.
fn agent(template: &Template, name: &str) -> Vec<String> {
    let role = format!("{}Role", logical_id(name));
    let mut problems = Vec::new();
    for statement in template.statements(&role) {
        let actions = texts(&statement["Action"]);
        let within = match actions[0].split(':').next().unwrap() {
            "logs" => true,
            "secretsmanager" => statement["Resource"] == json!({ "Fn::GetAtt": ["ModelsSecret", "Id"] }),
            "s3" => statement["Resource"] == json!({ "Fn::Sub": "${Bucket.Arn}/runs/*" }),
            "dynamodb" => {
                statement["Resource"] == json!({ "Fn::GetAtt": ["Table", "Arn"] })
                    && statement["Condition"] == json!({ "ForAllValues:StringLike": { "dynamodb:LeadingKeys": ["RUN#*"] } })
                    // Without a key in the request the condition would hold of nothing, which is to say always.
                    && actions.iter().all(|action| *action != "dynamodb:Scan")
            }
            _ => false,
        };
        if !within {
            problems.push(format!("{role} reaches beyond what an agent gets: {statement}"));
        }
    }
    problems
}

#[test]
fn each_function_has_the_rights_that_its_code_needs_and_no_others() {
    none(&problems(&template()));
}

#[test]
fn the_mapping_tells_functions_apart() {
    assert_eq!(needed("tester"), ["ModelsSecret", "dynamodb", "s3"].map(str::to_owned).into());
    assert_eq!(needed("task-callback"), ["SigningSecret", "dynamodb", "s3", "states"].map(str::to_owned).into());
    assert_eq!(needed("run-control"), ["dynamodb", "iam", "s3", "scheduler"].map(str::to_owned).into());
}

fn statements<'a>(template: &'a mut Template, role: &str) -> &'a mut Vec<Value> {
    template.properties_mut(role)["Policies"][0]["PolicyDocument"]["Statement"].as_array_mut().unwrap()
}

#[test]
fn a_right_too_many_or_too_few_is_seen() {
    let too_many = |template: &mut Template| {
        statements(template, "RunControlRole").push(json!({
            "Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": { "Fn::GetAtt": ["ForgeSecret", "Id"] },
        }));
    };
    complains(problems, too_many, "RunControlRole has ForgeSecret and run-control needs it not");
    let too_few = |template: &mut Template| {
        statements(template, "CodeHostRole").retain(|statement| !statement.to_string().contains("ForgeSecret"));
    };
    complains(problems, too_few, "code-host needs ForgeSecret");
    let of_all_agents = |template: &mut Template| {
        let document = &mut template.properties_mut("AgentRights")["PolicyDocument"]["Statement"];
        document.as_array_mut().unwrap().retain(|statement| !statement.to_string().contains("ModelsSecret"));
    };
    complains(problems, of_all_agents, "developer needs ModelsSecret");
    let unheard = |template: &mut Template| {
        statements(template, "TaskCallbackRole").retain(|statement| !statement.to_string().contains("GetRecords"));
    };
    complains(problems, unheard, "TaskCallbackRole and the mapping");
    let unread = |template: &mut Template| {
        statements(template, "ApiRole").retain(|statement| !statement.to_string().contains("BatchGetItem"));
    };
    complains(problems, unread, "ApiRole: the right to the index");
    let at_once = |template: &mut Template| {
        statements(template, "EventsRole")[1]["Action"].as_array_mut().unwrap().push("dynamodb:BatchGetItem".into());
    };
    complains(problems, at_once, "EventsRole: the right to the index");
    let anothers_log = |template: &mut Template| {
        statements(template, "TesterRole")[0]["Resource"] = json!({ "Fn::GetAtt": ["ApiLogs", "Arn"] });
    };
    complains(problems, anothers_log, "TesterRole does not have the right to its own log");
}

#[test]
fn nobody_else_answers_a_task() {
    let answering = |template: &mut Template| {
        statements(template, "PipelineRole")
            .push(json!({ "Effect": "Allow", "Action": ["states:SendTaskFailure"], "Resource": { "Ref": "Task" } }));
    };
    complains(problems, answering, "PipelineRole may answer a task");
}

#[test]
fn a_function_that_gives_itself_rights_is_seen() {
    let granting = |template: &mut Template| {
        statements(template, "ApiRole").push(json!({
            "Effect": "Allow", "Action": "dynamodb:PutItem", "Resource": { "Fn::GetAtt": ["Table", "Arn"] },
            "Condition": { "ForAllValues:StringLike": { "dynamodb:LeadingKeys": ["BEARER#*"] } },
        }));
    };
    complains(problems, granting, "ApiRole may change who decides");
    let anything = |template: &mut Template| {
        statements(template, "CodeHostRole")[1].as_object_mut().unwrap().remove("Condition");
    };
    complains(problems, anything, "CodeHostRole may touch any row");
}

#[test]
fn an_agent_that_reaches_further_is_seen() {
    let rows = |template: &mut Template| {
        template.properties_mut("AgentRights")["PolicyDocument"]["Statement"][0]["Condition"]["ForAllValues:StringLike"]
            ["dynamodb:LeadingKeys"] = json!(["RUN#*", "GATE#*"]);
    };
    complains(problems, rows, "reaches beyond what an agent gets");
    let objects = |template: &mut Template| {
        template.properties_mut("AgentRights")["PolicyDocument"]["Statement"][1]["Resource"] =
            json!({ "Fn::Sub": "${Bucket.Arn}/*" });
    };
    complains(problems, objects, "reaches beyond what an agent gets");
    let index = |template: &mut Template| {
        statements(template, "ReviewerRole").push(json!({
            "Effect": "Allow", "Action": "dynamodb:Query", "Resource": { "Fn::Sub": "${Table.Arn}/index/gsi1" },
        }));
    };
    complains(problems, index, "ReviewerRole reaches beyond");
}
