//! What the template may not hold: wildcards, what costs by the hour, settings in the environment, data without a bound.

use serde_json::{Value, json};
use tests::machines::repository;
use tests::template::{Template, list, referred, texts};

use crate::{complains, none, template};

/// Actions that IAM documents without a resource: a policy can name nothing but `*`.
const WITHOUT_RESOURCE: [&str; 13] = [
    "dynamodb:ListStreams",
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DescribeLogGroups",
    "logs:DescribeResourcePolicies",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
];
/// Properties that cost while nothing runs, or take from what the account shares.
const COSTLY: [&str; 5] =
    ["ProvisionedConcurrencyConfig", "ReservedConcurrentExecutions", "ScheduleExpression", "SnapStart", "VpcConfig"];
/// Fewer than ten are free in every account.
const MOST_ALARMS: usize = 4;

fn rights(template: &Template) -> Vec<String> {
    let roles = template.of_type("AWS::IAM::Role");
    let policies = template.of_type("AWS::IAM::ManagedPolicy");
    let of_roles = roles.iter().flat_map(|(id, _)| template.statements(id).into_iter().map(move |found| (*id, found)));
    let of_policies = policies.iter().flat_map(|(id, policy)| {
        list(&policy["PolicyDocument"]["Statement"]).into_iter().map(move |found| (*id, found))
    });
    let mut problems = Vec::new();
    for (id, statement) in of_roles.chain(of_policies) {
        let anything = list(&statement["Resource"]).iter().any(|resource| **resource == "*");
        for action in texts(&statement["Action"]) {
            if action.contains('*') {
                problems.push(format!("{id}: {action} is a wildcard"));
            }
            if anything && !WITHOUT_RESOURCE.contains(&action) {
                problems.push(format!("{id}: {action} on everything, and IAM knows a resource for it"));
            }
        }
        if statement["NotAction"] != Value::Null || statement["NotResource"] != Value::Null {
            problems.push(format!("{id}: a right by what is left out"));
        }
    }
    problems
}

fn costs(template: &Template) -> Vec<String> {
    let mut problems: Vec<String> = Vec::new();
    for (id, kind, properties) in template.resources() {
        let text = properties.to_string();
        let costly = COSTLY.iter().filter(|name| text.contains(&format!("\"{name}\":")));
        problems.extend(costly.map(|name| format!("{id}: {name} costs while nothing runs, or recurs")));
        if kind.starts_with("AWS::EC2::") || kind.starts_with("AWS::KMS::") || kind == "AWS::Scheduler::Schedule" {
            problems.push(format!("{id}: {kind} does not belong into a plain deploy"));
        }
    }
    if template.of_type("AWS::CloudWatch::Alarm").len() > MOST_ALARMS {
        problems.push(format!("more than {MOST_ALARMS} alarms"));
    }
    problems
}

/// Where functions are alike: the runtime, the size, an alias; and an environment of nothing but names.
fn functions(template: &Template) -> Vec<String> {
    let shared = &template.0["Globals"]["Function"];
    let wanted = json!({
        "Runtime": "provided.al2023", "Architectures": [{ "Ref": "Architecture" }],
        "MemorySize": memory_of("Functions"), "AutoPublishAlias": "live",
    });
    let mut problems: Vec<String> = Vec::new();
    if template.0["Parameters"]["Memory"]["Default"] != 128 {
        problems.push("the functions' memory is not 128 MB unless somebody asks for more".into());
    }
    problems.extend(of_code_host(template));
    for (name, value) in wanted.as_object().unwrap() {
        if shared[name] != *value {
            problems.push(format!("the functions' {name} is not {value}"));
        }
    }
    let functions = template.of_type("AWS::Serverless::Function");
    let environments = functions.iter().map(|(id, function)| (*id, *function)).chain([("every function", shared)]);
    for (id, function) in environments {
        for (name, value) in function["Environment"]["Variables"].as_object().into_iter().flatten() {
            if !name.starts_with("GATEWRIGHT_") || referred(value).is_none() {
                problems.push(format!("{id}: {name} is a setting, and settings stand in the project's file"));
            }
        }
    }
    for (id, _) in &functions {
        // `sam build` builds functions with one folder and one metadata once.
        let metadata = &template.0["Resources"][id]["Metadata"];
        let program = metadata["BuildProperties"]["Binary"].as_str().unwrap_or_default();
        let built = json!({ "BuildMethod": "rust-cargolambda", "BuildProperties": { "Binary": program } });
        if *metadata != built || !repository().join(format!("crates/programs/src/bin/{program}.rs")).is_file() {
            problems.push(format!("{id} is not built by cargo-lambda as one of the programs"));
        }
    }
    problems
}

/// How a function finds its memory. The two columns stand in one map, because checkov cannot read a reference that a look-up takes
/// the place of.
fn memory_of(whose: &str) -> Value {
    json!({ "Fn::FindInMap": ["Memory", { "Ref": "Memory" }, whose] })
}

/// code-host holds two archives where every other function holds one, so it has twice their memory, whatever that is.
fn of_code_host(template: &Template) -> Vec<String> {
    let (sizes, mapped) = (&template.0["Parameters"]["Memory"]["AllowedValues"], &template.0["Mappings"]["Memory"]);
    let sizes: Vec<u64> = list(sizes).into_iter().filter_map(Value::as_u64).collect();
    let is_double = |size: &u64| mapped[size.to_string()] == json!({ "Functions": size, "CodeHost": size * 2 });
    let right = sizes.contains(&128)
        && sizes.iter().all(is_double)
        && template.properties("CodeHost")["MemorySize"] == memory_of("CodeHost");
    if right {
        Vec::new()
    } else {
        vec!["code-host has not twice the memory of the functions that read its archive".into()]
    }
}

/// What is kept is not kept for ever, and a bucket is closed.
fn kept(template: &Template) -> Vec<String> {
    let groups = template.of_type("AWS::Logs::LogGroup").into_iter();
    let endless = groups.filter(|(_, group)| !group["RetentionInDays"].is_u64());
    let mut problems: Vec<String> = endless.map(|(id, _)| format!("{id} is kept for ever")).collect();
    let bucket = template.properties("Bucket");
    if !bucket["LifecycleConfiguration"]["Rules"][0]["ExpirationInDays"].is_u64() {
        problems.push("the bucket's objects are kept for ever".into());
    }
    let block = bucket["PublicAccessBlockConfiguration"].as_object().unwrap();
    if block.len() != 4 || block.values().any(|value| *value != true) {
        problems.push("the bucket can be opened to the public".into());
    }
    let plain_text = &template.properties("BucketPolicy")["PolicyDocument"]["Statement"][0];
    if plain_text["Effect"] != "Deny" || plain_text["Condition"]["Bool"]["aws:SecureTransport"] != "false" {
        problems.push("the bucket answers without TLS".into());
    }
    let unconditional = json!({
        "Sid": "NothingIsWrittenOver", "Effect": "Deny", "Principal": "*", "Action": "s3:PutObject",
        "Resource": { "Fn::Sub": "${Bucket.Arn}/*" }, "Condition": { "Null": { "s3:if-none-match": "true" } },
    });
    if template.properties("BucketPolicy")["PolicyDocument"]["Statement"][1] != unconditional {
        problems.push("an object may be written over".into());
    }
    problems
}

fn problems(template: &Template) -> Vec<String> {
    [rights(template), costs(template), functions(template), kept(template)].concat()
}

#[test]
fn nothing_is_there_that_may_not_be() {
    none(&problems(&template()));
    none(&rights(&Template::load().under(&crate::hardened)));
}

fn add(template: &mut Template, id: &str, kind: &str, properties: Value) {
    template.0["Resources"][id] = json!({ "Type": kind, "Properties": properties });
}

#[test]
fn a_wildcard_is_seen() {
    let policy = |statement: Value| json!({ "PolicyDocument": { "Statement": [statement] } });
    let everything = json!({ "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "*" });
    let change = |template: &mut Template| add(template, "Wide", "AWS::IAM::ManagedPolicy", policy(everything));
    complains(problems, change, "Wide: s3:GetObject on everything");
    let any_action = json!({ "Effect": "Allow", "Action": "s3:*", "Resource": { "Ref": "Bucket" } });
    let change = |template: &mut Template| add(template, "Wide", "AWS::IAM::ManagedPolicy", policy(any_action));
    complains(problems, change, "Wide: s3:* is a wildcard");
    let all_but = json!({ "Effect": "Allow", "NotAction": "iam:PassRole", "Resource": { "Ref": "Bucket" } });
    let change = |template: &mut Template| add(template, "Wide", "AWS::IAM::ManagedPolicy", policy(all_but));
    complains(problems, change, "Wide: a right by what is left out");
}

#[test]
fn what_costs_while_nothing_runs_is_seen() {
    let gateway = |template: &mut Template| add(template, "Nat", "AWS::EC2::NatGateway", json!({}));
    complains(problems, gateway, "Nat: AWS::EC2::NatGateway");
    let warm = |template: &mut Template| {
        template.properties_mut("Api")["ProvisionedConcurrencyConfig"] =
            json!({ "ProvisionedConcurrentExecutions": 1 });
    };
    complains(problems, warm, "Api: ProvisionedConcurrencyConfig");
    let recurring = |template: &mut Template| {
        template.properties_mut("ExecutionStatus")["ScheduleExpression"] = "rate(1 minute)".into();
    };
    complains(problems, recurring, "ExecutionStatus: ScheduleExpression");
}

#[test]
fn a_setting_in_the_environment_is_seen() {
    let literal = |template: &mut Template| {
        template.properties_mut("Api")["Environment"]["Variables"]["GATEWRIGHT_RETRIES"] = "3".into();
    };
    complains(problems, literal, "Api: GATEWRIGHT_RETRIES is a setting");
    let fixed = |template: &mut Template| template.0["Globals"]["Function"]["MemorySize"] = 1024.into();
    complains(problems, fixed, "MemorySize is not");
    let larger = |template: &mut Template| template.0["Parameters"]["Memory"]["Default"] = 256.into();
    complains(problems, larger, "memory is not 128 MB unless");
    let narrow = |template: &mut Template| template.0["Mappings"]["Memory"]["512"]["CodeHost"] = 512.into();
    complains(problems, narrow, "code-host has not twice the memory");
}

#[test]
fn a_function_that_is_built_otherwise_is_seen() {
    for (field, value) in [("BuildMethod", json!("makefile")), ("BuildProperties", json!({ "Binary": "everything" }))] {
        let otherwise = |template: &mut Template| template.0["Resources"]["Api"]["Metadata"][field] = value;
        complains(problems, otherwise, "Api is not built by cargo-lambda as one of the programs");
    }
}

#[test]
fn what_is_kept_for_ever_is_seen() {
    let endless = |template: &mut Template| {
        template.properties_mut("TesterLogs").as_object_mut().unwrap().remove("RetentionInDays");
    };
    complains(problems, endless, "TesterLogs is kept for ever");
    let open = |template: &mut Template| {
        template.properties_mut("Bucket")["PublicAccessBlockConfiguration"]["BlockPublicAcls"] = false.into();
    };
    complains(problems, open, "opened to the public");
    let unsealed = |template: &mut Template| {
        template.properties_mut("BucketPolicy")["PolicyDocument"]["Statement"][0]["Effect"] = "Allow".into();
    };
    complains(problems, unsealed, "without TLS");
    let over = |template: &mut Template| {
        drop(template.properties_mut("BucketPolicy")["PolicyDocument"]["Statement"].as_array_mut().unwrap().pop());
    };
    complains(problems, over, "may be written over");
}
