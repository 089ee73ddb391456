//! The bound of what a stage's roles may do: each role bears it, each right lies within it, and it is no wider.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::template::{Template, list, texts};

use crate::{hardened, none};

/// Changes of a role that IAM can tie to the role's boundary. The other changes leave the boundary where it is.
const TIED: [&str; 6] = [
    "iam:CreateRole",
    "iam:PutRolePermissionsBoundary",
    "iam:PutRolePolicy",
    "iam:DeleteRolePolicy",
    "iam:AttachRolePolicy",
    "iam:DetachRolePolicy",
];
/// Takes the boundary away.
const UNBOUND: &str = "iam:DeleteRolePermissionsBoundary";
/// What goes by the name of a workflows' stack: its roles, its boundary, itself.
const OUT_OF_REACH: [&str; 3] =
    ["role/gatewright-actions-*", "policy/gatewright-actions-*", "stack/gatewright-actions-*/*"];

fn bootstrap() -> Template {
    Template::load_from("infra/bootstrap.yaml")
}

/// The template with all that it can hold: every right that a role may have.
fn fullest() -> Template {
    Template::load().under(&|condition| hardened(condition) || condition == "IsBounded")
}

fn bounds(bootstrap: &Template) -> Vec<&Value> {
    list(&bootstrap.properties("Boundary")["PolicyDocument"]["Statement"])
}

/// One thing that a role may do: an action, on what, if what holds.
struct Right<'a> {
    action: &'a str,
    arn: String,
    condition: &'a Value,
}

impl Right<'_> {
    fn is_within(&self, bound: &Value) -> bool {
        let narrower = bound["Condition"].is_null() || bound["Condition"] == *self.condition;
        let named = list(&bound["Resource"]).into_iter().any(|pattern| {
            let pattern = pattern["Fn::Sub"].as_str().or_else(|| pattern.as_str()).unwrap_or_default();
            matches(pattern, &self.arn)
        });
        bound["Effect"] == "Allow" && texts(&bound["Action"]).contains(&self.action) && named && narrower
    }
}

/// Whether a pattern of IAM, whose `*` stands for anything, covers a text. What varies with the account is spelt alike in
/// both.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|left| {
            (0..=left.len()).any(|skipped| left.is_char_boundary(skipped) && matches(rest, &left[skipped..]))
        }),
    }
}

/// What a role may do, by the ARNs that its resources will have.
fn rights<'a>(template: &'a Template, role: &str) -> Vec<Right<'a>> {
    let statements = template.statements(role).into_iter().flat_map(|statement| {
        let resources = list(&statement["Resource"]);
        texts(&statement["Action"]).into_iter().flat_map(move |action| {
            let condition = &statement["Condition"];
            resources.clone().into_iter().map(move |resource| Right { action, arn: arn(template, resource), condition })
        })
    });
    statements.collect()
}

/// The ARN that a value of the template stands for, as the template's own names spell it.
fn arn(template: &Template, value: &Value) -> String {
    if let Some(text) = value.as_str() {
        return text.to_owned();
    }
    if let Some(text) = value["Fn::Sub"].as_str() {
        let group = template.properties("Schedules")["Name"]["Fn::Sub"].as_str().unwrap();
        return text
            .replace("${Bucket.Arn}", &arn_of(template, "Bucket"))
            .replace("${Table.Arn}", &arn_of(template, "Table"))
            .replace("${Schedules}", group);
    }
    let attribute = value["Fn::GetAtt"][1].as_str().unwrap_or_default();
    let id = value["Ref"]
        .as_str()
        .or_else(|| value["Fn::GetAtt"][0].as_str())
        .unwrap_or_else(|| panic!("{value}: which ARN is that?"));
    let tail = if attribute == "StreamArn" { "/stream/*" } else { "" };
    format!("{}{tail}", arn_of(template, id))
}

/// The ARN of a resource; for an alias (`Janitor.Alias`) that of its function with a name behind.
fn arn_of(template: &Template, id: &str) -> String {
    let (id, is_alias) = id.strip_suffix(".Alias").map_or((id, false), |id| (id, true));
    let kind = template.0["Resources"][id]["Type"].as_str().unwrap_or_else(|| panic!("{id} is no resource"));
    let properties = template.properties(id);
    let name =
        |property: &str| properties[property]["Fn::Sub"].as_str().unwrap_or_else(|| panic!("{id} has no {property}"));
    let here = |service: &str, rest: String| {
        format!("arn:${{AWS::Partition}}:{service}:${{AWS::Region}}:${{AWS::AccountId}}:{rest}")
    };
    match kind {
        "AWS::Serverless::Function" => {
            here("lambda", format!("function:{}{}", name("FunctionName"), if is_alias { ":live" } else { "" }))
        }
        "AWS::Serverless::StateMachine" => here("states", format!("stateMachine:{}", name("Name"))),
        "AWS::DynamoDB::Table" => here("dynamodb", format!("table/{}", name("TableName"))),
        "AWS::Logs::LogGroup" => here("logs", format!("log-group:{}:*", name("LogGroupName"))),
        // Secrets Manager puts six characters behind.
        "AWS::SecretsManager::Secret" => here("secretsmanager", format!("secret:{}-??????", name("Name"))),
        "AWS::KMS::Key" => here("kms", "key/*".into()),
        "AWS::S3::Bucket" => format!("arn:${{AWS::Partition}}:s3:::{}", name("BucketName")),
        // CloudFormation names it by the stack.
        "AWS::IAM::Role" => {
            format!("arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:role/gatewright-${{Stage}}-{id}-*")
        }
        _ => panic!("{id}: what is the ARN of {kind}?"),
    }
}

/// What is wrong between a stage's roles and their bound.
fn of_roles(template: &Template) -> Vec<String> {
    let bootstrap = bootstrap();
    let bounds = bounds(&bootstrap);
    let (mut problems, mut used) = (Vec::new(), BTreeSet::new());
    for (role, properties) in template.of_type("AWS::IAM::Role") {
        if properties["PermissionsBoundary"] != json!({ "Ref": "Boundary" }) {
            problems.push(format!("{role} does not bear the boundary"));
        }
        for right in rights(template, role) {
            if !bounds.iter().any(|bound| right.is_within(bound)) {
                problems
                    .push(format!("{role} needs {} on {}, which lies outside the boundary", right.action, right.arn));
            }
            used.insert(right.action.to_owned());
        }
    }
    let wider = bounds.iter().flat_map(|bound| texts(&bound["Action"])).filter(|action| !used.contains(*action));
    problems.extend(wider.map(|action| format!("the boundary allows {action}, which no role needs")));
    // Without a role of its own the SAM CLI would make one, which bears nothing.
    for kind in ["AWS::Serverless::Function", "AWS::Serverless::StateMachine"] {
        let without =
            template.of_type(kind).into_iter().filter(|(_, properties)| properties["Role"]["Fn::GetAtt"][1] != "Arn");
        problems.extend(without.map(|(id, _)| format!("{id} has no role of this template")));
    }
    problems
}

/// How the role that deploys could get beyond the bound.
fn of_deploy_role(bootstrap: &Template) -> Vec<String> {
    let within = json!({ "StringEquals": { "iam:PermissionsBoundary": { "Ref": "Boundary" } } });
    let (mut problems, mut denied) = (Vec::new(), Vec::new());
    for statement in bootstrap.statements("DeployRole") {
        let actions = texts(&statement["Action"]);
        if statement["Effect"] == "Deny" {
            if actions.contains(&"iam:*") && actions.contains(&"cloudformation:*") && statement["Condition"].is_null() {
                denied.extend(
                    list(&statement["Resource"]).into_iter().filter_map(|resource| resource["Fn::Sub"].as_str()),
                );
            }
            continue;
        }
        for action in actions {
            let loose = TIED.contains(&action) && statement["Condition"] != within;
            if loose || action == UNBOUND {
                problems.push(format!("DeployRole may {action} without the boundary"));
            }
            if action == "iam:PassRole"
                && statement["Condition"] != json!({ "StringEquals": { "iam:PassedToService": takers() } })
            {
                problems.push("DeployRole may hand roles to services that need none".into());
            }
        }
    }
    let open = OUT_OF_REACH.iter().filter(|end| !denied.iter().any(|resource| resource.ends_with(*end)));
    problems.extend(open.map(|end| format!("DeployRole may change {end}")));
    problems
}

/// The services that take on a role of a stage, by name.
fn takers() -> Vec<String> {
    let template = fullest();
    let mut takers = BTreeSet::new();
    for (_, role) in template.of_type("AWS::IAM::Role") {
        takers.extend(
            texts(&role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"]["Service"])
                .into_iter()
                .map(str::to_owned),
        );
    }
    takers.into_iter().collect()
}

#[test]
fn each_role_bears_the_boundary_and_lies_within_it() {
    none(&of_roles(&fullest()));
}

#[test]
fn a_stage_that_no_workflow_deploys_has_no_boundary() {
    let without = Template::load().under(&hardened);
    let roles = without.of_type("AWS::IAM::Role");
    assert!(!roles.is_empty() && roles.iter().all(|(_, role)| role["PermissionsBoundary"].is_null()));
}

#[test]
fn whoever_deploys_stays_within_the_boundary() {
    none(&of_deploy_role(&bootstrap()));
}

fn statements<'a>(template: &'a mut Template, id: &str, policy: usize) -> &'a mut Vec<Value> {
    template.properties_mut(id)["Policies"][policy]["PolicyDocument"]["Statement"].as_array_mut().unwrap()
}

#[test]
fn a_role_beyond_the_boundary_is_seen() {
    let with = |change: fn(&mut Template)| {
        let mut template = fullest();
        change(&mut template);
        of_roles(&template)
    };
    let unbound = with(|template| {
        drop(template.properties_mut("ApiRole").as_object_mut().unwrap().remove("PermissionsBoundary"))
    });
    assert_eq!(unbound, ["ApiRole does not bear the boundary"]);
    let more = with(|template| {
        statements(template, "ApiRole", 0).push(json!({
            "Effect": "Allow", "Action": "dynamodb:DeleteTable", "Resource": { "Fn::GetAtt": ["Table", "Arn"] },
        }));
    });
    assert!(more.len() == 1 && more[0].contains("ApiRole needs dynamodb:DeleteTable on arn:"), "{more:?}");
    let elsewhere = with(|template| {
        let anywhere = json!({ "Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:role/admin" });
        let statement =
            statements(template, "GateOpenRole", 0).iter_mut().find(|right| right["Action"] == "iam:PassRole");
        statement.unwrap()["Resource"] = anywhere;
    });
    assert!(elsewhere.len() == 1 && elsewhere[0].contains("role/admin, which lies outside"), "{elsewhere:?}");
    let unneeded = with(|template| {
        for role in ["RunControlRole", "GateOpenRole"] {
            statements(template, role, 0).retain(|right| right["Action"] != "scheduler:CreateSchedule");
        }
    });
    assert_eq!(unneeded, ["the boundary allows scheduler:CreateSchedule, which no role needs"]);
    let made_by_sam = with(|template| drop(template.properties_mut("Api").as_object_mut().unwrap().remove("Role")));
    assert_eq!(made_by_sam, ["Api has no role of this template"]);
}

#[test]
fn a_way_out_of_the_boundary_is_seen() {
    let with = |change: fn(&mut Vec<Value>)| {
        let mut template = bootstrap();
        change(statements(&mut template, "DeployRole", 0));
        of_deploy_role(&template)
    };
    let loose =
        with(|rights| drop(by_name(rights, "RolesWithinTheBoundary").as_object_mut().unwrap().remove("Condition")));
    assert_eq!(loose, TIED.map(|action| format!("DeployRole may {action} without the boundary")));
    let unbinding = with(|rights| by_name(rights, "Roles")["Action"] = json!([UNBOUND]));
    assert_eq!(unbinding, [format!("DeployRole may {UNBOUND} without the boundary")]);
    let rewriting = with(|rights| drop(by_name(rights, "NotItself")["Resource"].as_array_mut().unwrap().remove(1)));
    assert_eq!(rewriting, ["DeployRole may change policy/gatewright-actions-*"]);
    let to_anybody = with(|rights| by_name(rights, "HandRolesOn")["Condition"] = Value::Null);
    assert_eq!(to_anybody, ["DeployRole may hand roles to services that need none"]);
}

fn by_name<'a>(statements: &'a mut [Value], sid: &str) -> &'a mut Value {
    statements.iter_mut().find(|statement| statement["Sid"] == sid).unwrap()
}

#[test]
fn a_star_stands_for_anything() {
    assert!(matches("a:*", "a:b*") && matches("*", "") && matches("a*c*", "abcd") && matches("a", "a"));
    assert!(!matches("a", "ab") && !matches("a*d", "abc") && !matches("role/x-*", "role/admin"));
}
