//! How calls come in: routes, the outbox's stream, the status of executions.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::template::{Template, referred};

use crate::{complains, none, template};

/// The routes of a group, with the integration that answers.
fn group<'a>(template: &'a Template, prefix: &str, authorization: &str) -> (BTreeMap<String, &'a Value>, Vec<String>) {
    let mut problems = Vec::new();
    let mut routes = BTreeMap::new();
    for (id, route) in template.of_type("AWS::ApiGatewayV2::Route") {
        let (method, path) = route["RouteKey"].as_str().unwrap().split_once(' ').unwrap();
        let Some(rest) = path.strip_prefix(prefix) else { continue };
        if route["AuthorizationType"] != authorization {
            problems.push(format!("{id}: {path} is not for {authorization}"));
        }
        routes.insert(format!("{method} {rest}"), &route["Target"]);
    }
    (routes, problems)
}

fn routes(template: &Template) -> Vec<String> {
    let (by_bearer, mut problems) = group(template, "/api/v1", "NONE");
    let (by_signature, of_signed) = group(template, "/iam/v1", "AWS_IAM");
    problems.extend(of_signed);
    let gates = json!({ "Fn::Sub": "integrations/${GateCallbackIntegration}" });
    let api = json!({ "Fn::Sub": "integrations/${ApiIntegration}" });
    let wanted = [("ANY /{proxy+}", &api), ("GET /gates/{gate}", &gates), ("POST /gates/{gate}", &gates)];
    let wanted: BTreeMap<String, &Value> = wanted.map(|(route, target)| (route.to_owned(), target)).into();
    if by_bearer != wanted || by_signature != wanted {
        problems.push("the two groups of routes do not lead to the same functions".into());
    }
    if template.of_type("AWS::ApiGatewayV2::Route").len() != by_bearer.len() + by_signature.len() {
        problems.push("a route stands outside the two groups".into());
    }
    problems
}

/// Whoever calls a function by itself may: a permission on the alias that is called.
fn permissions(template: &Template) -> Vec<String> {
    let permitted: Vec<(&Value, &Value)> = template
        .of_type("AWS::Lambda::Permission")
        .into_iter()
        .map(|(_, permission)| (&permission["FunctionName"], &permission["Principal"]))
        .collect();
    let integrations = template.of_type("AWS::ApiGatewayV2::Integration").into_iter();
    let of_api = integrations.map(|(id, found)| (id, &found["IntegrationUri"], "apigateway.amazonaws.com"));
    let rules = template.of_type("AWS::Events::Rule").into_iter();
    let of_rules = rules.map(|(id, found)| (id, &found["Targets"][0]["Arn"], "events.amazonaws.com"));
    of_api
        .chain(of_rules)
        .filter(|(_, function, principal)| {
            !permitted.iter().any(|(permitted, by)| permitted == function && **by == *principal)
        })
        .map(|(id, function, _)| format!("{id} may not call {function}"))
        .collect()
}

/// Of the whole stream `task-callback` hears what was put into the outbox, and names what it could not deliver.
fn outbox(template: &Template) -> Vec<String> {
    let mapping = template.properties("Outbox");
    let pattern: Value = mapping["FilterCriteria"]["Filters"][0]["Pattern"].as_str().unwrap().parse().unwrap();
    let wanted = json!({
        "eventName": ["INSERT"],
        "dynamodb": { "Keys": { "pk": { "S": [{ "prefix": "OUTBOX#" }] } } },
    });
    let heard = pattern == wanted
        && mapping["FunctionName"] == json!({ "Ref": "TaskCallback.Alias" })
        && mapping["EventSourceArn"] == json!({ "Fn::GetAtt": ["Table", "StreamArn"] });
    let bounded = mapping["FunctionResponseTypes"] == json!(["ReportBatchItemFailures"])
        && mapping["MaximumRecordAgeInSeconds"].as_u64().is_some_and(|age| age <= 900);
    let mut problems = Vec::new();
    if !heard {
        problems.push("task-callback does not hear what is put into the outbox, and that alone".into());
    }
    if !bounded {
        problems.push("one answer that cannot be delivered may block the stream".into());
    }
    problems
}

/// Every end of a run's execution, and that it runs again, reaches `events`.
fn status(template: &Template) -> Vec<String> {
    let rule = template.properties("ExecutionStatus");
    let detail = &rule["EventPattern"]["detail"];
    let told = ["RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"];
    let statuses = tests::template::texts(&detail["status"]);
    let right = detail["stateMachineArn"] == json!([{ "Ref": "Pipeline" }])
        && told.iter().all(|status| statuses.contains(status))
        && referred(&rule["Targets"][0]["Arn"]) == Some("Events");
    if right { Vec::new() } else { vec!["how an execution stands does not reach events".into()] }
}

fn problems(template: &Template) -> Vec<String> {
    [routes(template), permissions(template), outbox(template), status(template)].concat()
}

#[test]
fn every_call_comes_in_where_it_should() {
    none(&problems(&template()));
}

#[test]
fn another_way_in_is_seen() {
    let open = |template: &mut Template| template.properties_mut("IamApiRoute")["AuthorizationType"] = "NONE".into();
    complains(problems, open, "IamApiRoute: /iam/v1/{proxy+} is not for AWS_IAM");
    let missing = |template: &mut Template| {
        drop(template.0["Resources"].as_object_mut().unwrap().remove("IamShowGateRoute"));
    };
    complains(problems, missing, "do not lead to the same functions");
    let forbidden = |template: &mut Template| {
        drop(template.0["Resources"].as_object_mut().unwrap().remove("ExecutionStatusMayInvoke"));
    };
    complains(problems, forbidden, "ExecutionStatus may not call");
    let everything = |template: &mut Template| {
        template.properties_mut("Outbox")["FilterCriteria"]["Filters"][0]["Pattern"] = "{}".into();
    };
    complains(problems, everything, "task-callback does not hear");
    let blocking = |template: &mut Template| {
        template.properties_mut("Outbox").as_object_mut().unwrap().remove("MaximumRecordAgeInSeconds");
    };
    complains(problems, blocking, "may block the stream");
    let deaf = |template: &mut Template| {
        template.properties_mut("ExecutionStatus")["EventPattern"]["detail"]["status"] = json!(["FAILED"]);
    };
    complains(problems, deaf, "does not reach events");
}
