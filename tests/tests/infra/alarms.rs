//! Alarms: each on a metric that is there, of something that is deployed, with a page that says what to do.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use tests::machines::{functions, repository, states_of};
use tests::template::{Template, referred};

use crate::{complains, none, template};

const ALARM: &str = "AWS::CloudWatch::Alarm";

/// A metric that AWS keeps by itself, with the dimension that it has for one resource, the type of that, and what has to be
/// true for it ever to rise.
struct Metric {
    namespace: &'static str,
    name: &'static str,
    /// None is the sum over the account and region, which Lambda keeps too.
    of: Option<(&'static str, &'static str)>,
    rises: fn(&Template, Option<&str>) -> bool,
}

/// From AWS's pages: "Types of metrics for Lambda functions", "Monitoring HTTP API metrics" (the name is lower case), "Step
/// Functions metrics".
const METRICS: [Metric; 4] = [
    Metric {
        namespace: "AWS/Lambda",
        name: "IteratorAge",
        of: Some(("FunctionName", "AWS::Serverless::Function")),
        rises: reads_a_stream,
    },
    Metric {
        namespace: "AWS/ApiGateway",
        name: "5xx",
        of: Some(("ApiId", "AWS::ApiGatewayV2::Api")),
        rises: |template, api| {
            let routes = template.of_type("AWS::ApiGatewayV2::Route");
            routes.iter().any(|(_, route)| referred(&route["ApiId"]) == api)
        },
    },
    Metric { namespace: "AWS/Lambda", name: "Errors", of: None, rises: |_, _| a_failure_is_an_error_to_lambda() },
    Metric {
        namespace: "AWS/States",
        name: "ExecutionsFailed",
        of: Some(("StateMachineArn", "AWS::Serverless::StateMachine")),
        rises: |_, machine| {
            machine == Some("Pipeline") && states_of("pipeline").iter().any(|(_, state)| state["Type"] == "Fail")
        },
    },
];

/// The age of a record is known of functions that are fed by a stream.
fn reads_a_stream(template: &Template, function: Option<&str>) -> bool {
    let mappings = template.of_type("AWS::Lambda::EventSourceMapping");
    mappings.iter().any(|(_, mapping)| {
        referred(&mapping["FunctionName"]) == function
            && mapping["EventSourceArn"] == json!({ "Fn::GetAtt": ["Table", "StreamArn"] })
    })
}

/// Every function hands its failures to the runtime as what they are: an answer that only says so would be no error to Lambda.
fn a_failure_is_an_error_to_lambda() -> bool {
    let host = fs::read_to_string(repository().join("crates/lambda-host/src/serve.rs")).unwrap();
    let serves = |name: &String| {
        let wiring = fs::read_to_string(repository().join(format!("functions/{name}/src/serve.rs"))).unwrap();
        wiring.contains("lambda_host::serve(") || wiring.contains("role_host::serve(")
    };
    host.contains("Diagnostic") && functions().iter().all(serves)
}

fn name_of(alarm: &Value) -> String {
    alarm["AlarmName"]["Fn::Sub"].as_str().unwrap_or_default().replace("gatewright-${Stage}-", "")
}

/// Whether the metric exists with these dimensions and can rise.
fn metric(template: &Template, id: &str, alarm: &Value) -> Option<String> {
    let known = METRICS.iter().find(|known| alarm["Namespace"] == known.namespace && alarm["MetricName"] == known.name);
    let Some(known) = known else {
        return Some(format!("{id}: nobody keeps {} of {}", alarm["MetricName"], alarm["Namespace"]));
    };
    let dimensions = alarm["Dimensions"].as_array().map_or(&[][..], Vec::as_slice);
    let of = match (known.of, dimensions) {
        (None, []) => None,
        (Some((name, kind)), [one]) if one["Name"] == name => {
            let resource = referred(&one["Value"]);
            if !template.of_type(kind).iter().any(|(id, _)| Some(*id) == resource) {
                return Some(format!("{id}: {} is no {kind}", one["Value"]));
            }
            resource
        }
        _ => return Some(format!("{id}: {} is not kept by {}", known.name, alarm["Dimensions"])),
    };
    (!(known.rises)(template, of)).then(|| format!("{id}: nothing lets {} rise", known.name))
}

fn problems(template: &Template) -> Vec<String> {
    let mut problems = Vec::new();
    for (id, alarm) in template.of_type(ALARM) {
        problems.extend(metric(template, id, alarm));
        let runbook = format!("docs/runbooks/{}.md", name_of(alarm));
        let named = alarm["AlarmDescription"].as_str().unwrap_or_default().contains(&runbook);
        if !named || !repository().join(&runbook).is_file() {
            problems.push(format!("{id} has no runbook {runbook}"));
        }
        if alarm["TreatMissingData"] != "notBreaching" {
            problems.push(format!("{id} rings while nothing happens"));
        }
    }
    problems
}

#[test]
fn every_alarm_is_on_a_metric_that_rises_and_says_what_to_do() {
    none(&problems(&template()));
}

#[test]
fn what_matters_has_an_alarm_and_every_page_is_of_one() {
    let template = template();
    let alarms: BTreeSet<String> = template.of_type(ALARM).iter().map(|(_, alarm)| name_of(alarm)).collect();
    let wanted = ["answers-late", "api-fails", "functions-fail", "runs-fail"];
    assert_eq!(alarms.iter().map(String::as_str).collect::<Vec<_>>(), wanted);
    let pages = fs::read_dir(repository().join("docs/runbooks")).unwrap();
    let pages = pages.map(|page| page.unwrap().file_name().into_string().unwrap().replace(".md", ""));
    assert_eq!(pages.filter(|page| page != "README").collect::<BTreeSet<_>>(), alarms);
    let heard = |alarm: &Value| alarm["AlarmActions"] == json!([{ "Ref": "AlarmTopic" }]);
    let told = Template::load().under(&|condition| condition == "HasAlarmTopic");
    assert!(told.of_type(ALARM).iter().all(|(_, alarm)| heard(alarm)), "an alarm that nobody hears");
}

#[test]
fn an_alarm_that_never_rings_is_seen() {
    let set = |id: &'static str, field: &'static str, value: Value| {
        move |template: &mut Template| template.properties_mut(id)[field] = value
    };
    complains(problems, set("ApiFailsAlarm", "MetricName", json!("5XXError")), "nobody keeps \"5XXError\"");
    complains(problems, set("RunsFailAlarm", "Namespace", json!("AWS/StepFunctions")), "nobody keeps");
    complains(problems, set("ApiFailsAlarm", "Dimensions", json!([])), "5xx is not kept by");
    let gone = json!([{ "Name": "StateMachineArn", "Value": { "Ref": "Gone" } }]);
    complains(problems, set("RunsFailAlarm", "Dimensions", gone), "is no AWS::Serverless::StateMachine");
    let of_no_stream = json!([{ "Name": "FunctionName", "Value": { "Ref": "Api" } }]);
    complains(problems, set("AnswersLateAlarm", "Dimensions", of_no_stream), "nothing lets IteratorAge rise");
    let inner = json!([{ "Name": "StateMachineArn", "Value": { "Ref": "TaskGraph" } }]);
    complains(problems, set("RunsFailAlarm", "Dimensions", inner), "nothing lets ExecutionsFailed rise");
    complains(problems, set("ApiFailsAlarm", "AlarmDescription", json!("It fails.")), "ApiFailsAlarm has no runbook");
    complains(problems, set("ApiFailsAlarm", "TreatMissingData", json!("breaching")), "rings while nothing happens");
}
