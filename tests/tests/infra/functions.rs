//! Each function's role against what its code can ask for, in both directions.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::machines::{functions, roles};
use tests::template::{Template, list, logical_id, referred, texts};

use crate::needs::{self, Need, needed};
use crate::{complains, none, template};

/// What a role allows, apart from writing its own log and reading the table's stream.
fn granted(template: &Template, role: &str) -> BTreeSet<Need> {
    let mut rights = BTreeSet::new();
    for statement in template.statements(role) {
        let actions = texts(&statement["Action"]);
        let of_what: Vec<String> =
            list(&statement["Resource"]).into_iter().flat_map(|resource| objects(statement, resource)).collect();
        for action in actions.iter().filter(|action| !action.starts_with("logs:") && !STREAM.contains(action)) {
            rights.extend(of_what.iter().map(|object| ((*action).to_owned(), object.clone())));
        }
    }
    rights
}

/// What a statement is about, as `needs.rs` calls it.
fn objects(statement: &Value, resource: &Value) -> Vec<String> {
    let keys = |operator: &str| texts(&statement["Condition"][operator]["dynamodb:LeadingKeys"]);
    if *resource == json!({ "Fn::GetAtt": ["Table", "Arn"] }) {
        return keys("ForAllValues:StringLike").into_iter().map(str::to_owned).collect();
    }
    match resource["Fn::Sub"].as_str() {
        Some("${Table.Arn}/index/gsi1") => {
            keys("ForAllValues:StringEquals").into_iter().map(|key| format!("gsi1 {key}")).collect()
        }
        Some(arn) if arn.starts_with("${Bucket.Arn}/") => vec![arn["${Bucket.Arn}/".len()..].to_owned()],
        Some(arn) if arn.ends_with(":execution:gatewright-${Stage}-pipeline:*") => vec!["execution:pipeline".into()],
        Some(arn) if arn.ends_with(":schedule/${Schedules}/*") => vec!["Schedules".into()],
        _ => vec![referred(resource).map_or_else(|| resource.to_string(), str::to_owned)],
    }
}

/// What reads the table's stream: see [`the_stream`].
const STREAM: [&str; 4] =
    ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"];

fn told((action, object): &Need) -> String {
    format!("{action} on {object}")
}

fn problems(template: &Template) -> Vec<String> {
    let mut problems = Vec::new();
    for name in functions() {
        let role = format!("{}Role", logical_id(&name));
        let (needed, granted) = (needed(&name), granted(template, &role));
        problems.extend(
            needed.difference(&granted).map(|need| format!("{name} needs {} and {role} has it not", told(need))),
        );
        problems.extend(
            granted.difference(&needed).map(|need| format!("{role} has {} and {name} needs it not", told(need))),
        );
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
    let count = STREAM.iter().filter(|action| actions.contains(*action)).count();
    let right = count == if fed { STREAM.len() } else { 0 };
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
                    && match texts(&statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"])[..] {
                        // What others decide by, it may read.
                        ["RUN#*"] => actions == ["dynamodb:GetItem"],
                        // Without a key in the request the condition would hold of nothing, which is to say always.
                        ["RUN#*#work"] => actions.iter().all(|action| *action != "dynamodb:Scan"),
                        _ => false,
                    }
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
fn the_table_of_needs_knows_every_call() {
    none(&needs::gaps());
    none(&functions().iter().flat_map(|name| needs::unread_clients(name)).collect::<Vec<_>>());
}

#[test]
fn the_table_tells_functions_apart() {
    let of = |function: &str| needed(function).iter().map(told).collect::<Vec<_>>();
    let role = [
        "dynamodb:GetItem on RUN#*",
        "dynamodb:PutItem on RUN#*#work",
        "dynamodb:Query on RUN#*#work",
        "dynamodb:UpdateItem on RUN#*#work",
        "s3:GetObject on runs/*",
        "s3:PutObject on runs/*",
        "secretsmanager:GetSecretValue on ModelsSecret",
    ];
    assert_eq!(of("tester"), role);
    let of_gates = of("code-host").into_iter().filter(|need| need.contains("GATE")).collect::<Vec<_>>();
    assert_eq!(of_gates, ["dynamodb:GetItem on GATE#*"], "what it checks, it cannot write");
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
    complains(
        problems,
        too_many,
        "RunControlRole has secretsmanager:GetSecretValue on ForgeSecret and run-control needs it not",
    );
    let too_few = |template: &mut Template| {
        statements(template, "CodeHostRole").retain(|statement| !statement.to_string().contains("ForgeSecret"));
    };
    complains(problems, too_few, "code-host needs secretsmanager:GetSecretValue on ForgeSecret");
    let of_all_agents = |template: &mut Template| {
        let document = &mut template.properties_mut("AgentRights")["PolicyDocument"]["Statement"];
        document.as_array_mut().unwrap().retain(|statement| !statement.to_string().contains("ModelsSecret"));
    };
    complains(problems, of_all_agents, "developer needs secretsmanager:GetSecretValue on ModelsSecret");
    let unheard = |template: &mut Template| {
        statements(template, "TaskCallbackRole").retain(|statement| !statement.to_string().contains("GetRecords"));
    };
    complains(problems, unheard, "TaskCallbackRole and the mapping");
    let unread = |template: &mut Template| {
        statements(template, "ApiRole").retain(|statement| !statement.to_string().contains("BatchGetItem"));
    };
    complains(problems, unread, "ApiRole: the right to the index");
    let at_once = |template: &mut Template| {
        statements(template, "GateOpenRole")[1]["Action"].as_array_mut().unwrap().push("dynamodb:BatchGetItem".into());
    };
    complains(problems, at_once, "GateOpenRole: the right to the index");
    let anothers_log = |template: &mut Template| {
        statements(template, "TesterRole")[0]["Resource"] = json!({ "Fn::GetAtt": ["ApiLogs", "Arn"] });
    };
    complains(problems, anothers_log, "TesterRole does not have the right to its own log");
}

/// Takes an action out of all of a role's own statements.
fn without(action: &'static str, role: &'static str) -> impl FnOnce(&mut Template) {
    move |template: &mut Template| {
        for statement in statements(template, role) {
            let left: Vec<Value> =
                texts(&statement["Action"]).into_iter().filter(|found| *found != action).map(Value::from).collect();
            statement["Action"] = left.into();
        }
    }
}

/// Gives a role one statement more.
fn with(statement: Value, role: &'static str) -> impl FnOnce(&mut Template) {
    move |template: &mut Template| statements(template, role).push(statement)
}

#[test]
fn an_action_too_many_or_too_few_is_seen() {
    let unwritten = without("dynamodb:PutItem", "GateOpenRole");
    complains(problems, unwritten, "gate-open needs dynamodb:PutItem on GATE#*");
    let unlisted = without("dynamodb:Query", "TestRunnerRole");
    complains(problems, unlisted, "test-runner needs dynamodb:Query on RUNNERS");
    let deleting = json!({
        "Effect": "Allow", "Action": "s3:DeleteObject", "Resource": { "Fn::Sub": "${Bucket.Arn}/runs/*" },
    });
    complains(
        problems,
        with(deleting, "EventsRole"),
        "EventsRole has s3:DeleteObject on runs/* and events needs it not",
    );
    let stopping = json!({
        "Effect": "Allow", "Action": "states:StopExecution",
        "Resource": { "Fn::Sub": "arn:aws:states:::execution:gatewright-${Stage}-pipeline:*" },
    });
    complains(problems, with(stopping, "ApiRole"), "ApiRole has states:StopExecution on execution:pipeline");
}

#[test]
fn a_key_too_many_or_too_few_is_seen() {
    let approving = json!({
        "Effect": "Allow", "Action": ["dynamodb:PutItem"], "Resource": { "Fn::GetAtt": ["Table", "Arn"] },
        "Condition": { "ForAllValues:StringLike": { "dynamodb:LeadingKeys": ["GATE#*"] } },
    });
    complains(problems, with(approving, "CodeHostRole"), "CodeHostRole has dynamodb:PutItem on GATE#*");
    let blind = |template: &mut Template| {
        statements(template, "GateCallbackRole").retain(|statement| !statement.to_string().contains("PRINCIPAL#*"));
    };
    complains(problems, blind, "gate-callback needs dynamodb:GetItem on PRINCIPAL#*");
    let every_object = json!({
        "Effect": "Allow", "Action": "s3:GetObject", "Resource": { "Fn::Sub": "${Bucket.Arn}/held-out/*" },
    });
    complains(problems, with(every_object, "CodeHostRole"), "CodeHostRole has s3:GetObject on held-out/*");
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
        template.properties_mut("AgentRights")["PolicyDocument"]["Statement"][2]["Resource"] =
            json!({ "Fn::Sub": "${Bucket.Arn}/*" });
    };
    complains(problems, objects, "reaches beyond what an agent gets");
    // A forged risk, evidence or approval would lie there.
    let deciding = |template: &mut Template| {
        template.properties_mut("AgentRights")["PolicyDocument"]["Statement"][0]["Action"] =
            json!(["dynamodb:GetItem", "dynamodb:PutItem"]);
    };
    complains(problems, deciding, "reaches beyond what an agent gets");
    let index = |template: &mut Template| {
        statements(template, "ReviewerRole").push(json!({
            "Effect": "Allow", "Action": "dynamodb:Query", "Resource": { "Fn::Sub": "${Table.Arn}/index/gsi1" },
        }));
    };
    complains(problems, index, "ReviewerRole reaches beyond");
}
