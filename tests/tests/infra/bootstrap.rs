//! The roles of workflows: who may take them on, and what they must never be able to do.

use serde_json::{Value, json};
use tests::template::{Template, texts};

use crate::none;

const ISSUER: &str = "token.actions.githubusercontent.com";
/// What IAM documents without a resource, or what names none.
const WITHOUT_RESOURCE: [&str; 12] = [
    "cloudformation:GetTemplateSummary",
    "lambda:GetAccountSettings",
    "logs:DescribeLogGroups",
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "secretsmanager:GetRandomPassword",
    "states:ValidateStateMachineDefinition",
];

fn bootstrap() -> Template {
    Template::load_from("infra/bootstrap.yaml")
}

fn problems(template: &Template) -> Vec<String> {
    let mut problems = Vec::new();
    let subject = |end: &str| json!({ "Fn::Sub": format!("repo:${{Repository}}:{end}") });
    let wanted = [
        ("PlanRole", json!([subject("ref:refs/heads/${Branch}"), subject("pull_request")])),
        ("DeployRole", subject("environment:gatewright")),
    ];
    for (role, subjects) in wanted {
        let trust = &template.properties(role)["AssumeRolePolicyDocument"]["Statement"];
        let condition = json!({ "StringEquals": {
            format!("{ISSUER}:aud"): "sts.amazonaws.com",
            format!("{ISSUER}:sub"): subjects,
        } });
        let statements = trust.as_array().map(Vec::as_slice).unwrap_or_default();
        if statements.len() != 1 || statements[0]["Condition"] != condition {
            problems.push(format!("{role} trusts others than its repository"));
        }
        for statement in template.statements(role) {
            problems.extend(rights(role, statement));
        }
    }
    let plan: Vec<&str> =
        template.statements("PlanRole").into_iter().flat_map(|statement| texts(&statement["Action"])).collect();
    if plan != ["cloudformation:DescribeStacks", "execute-api:Invoke"] {
        problems.push(format!("PlanRole may do more than ask and look: {plan:?}"));
    }
    if template.0.to_string().contains("gates") {
        problems.push("a workflow may decide at a gate".into());
    }
    problems
}

/// No star where something could be named, and nothing outside what is Gatewright's.
fn rights(role: &str, statement: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    if statement["Effect"] == "Deny" {
        return problems;
    }
    let actions = texts(&statement["Action"]);
    problems.extend(actions.iter().filter(|action| action.contains('*')).map(|action| format!("{role} may {action}")));
    if statement["Resource"] == "*" {
        let odd = actions.iter().filter(|action| !WITHOUT_RESOURCE.contains(action));
        problems.extend(odd.map(|action| format!("{role} may {action} on everything")));
    }
    let reads = ["cloudformation:DeleteStack", "secretsmanager:GetSecretValue", "dynamodb:GetItem", "s3:DeleteObject"];
    problems
        .extend(actions.iter().filter(|action| reads.contains(action)).map(|action| format!("{role} may {action}")));
    problems
}

#[test]
fn workflows_have_the_least_that_they_need() {
    none(&problems(&bootstrap()));
}

#[test]
fn a_role_that_is_open_is_seen() {
    let with = |change: fn(&mut Template)| {
        let mut template = bootstrap();
        change(&mut template);
        problems(&template)
    };
    let wide = with(|template| {
        let role = template.properties_mut("DeployRole");
        role["AssumeRolePolicyDocument"]["Statement"][0]["Condition"] = json!({ "StringLike": {} });
    });
    assert_eq!(wide, ["DeployRole trusts others than its repository"]);
    let more = with(|template| {
        let role = template.properties_mut("PlanRole");
        role["Policies"][0]["PolicyDocument"]["Statement"][0]["Action"] = json!("cloudformation:*");
    });
    assert!(more.iter().any(|problem| problem == "PlanRole may cloudformation:*"), "{more:?}");
}
