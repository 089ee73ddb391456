//! `gatewright aws logs`: what every function logged about a run, in order of time.

use lambda_host::Environment;
use lambda_host::logs::Mask;
use run_model::RunId;
use serde_json::{Map, Value, json};

use crate::aws::account::Account;
use crate::aws::arguments::LogsOptions;
use crate::aws::stack;
use crate::problem::Problem;
use crate::registry::FUNCTIONS;
use crate::signed::{CallError, Service};
use crate::stage::Stage;
use crate::{render, screen};

const LOGS: Service = Service { name: "CloudWatch Logs", signing: "logs", host: "logs", version: "", global: false };
const FILTER: &str = "Logs_20140328.FilterLogEvents";
/// What every line says anyway; the rest is fields.
const SAID_ALREADY: [&str; 5] = ["time_ms", "function", "level", "message", "run"];

pub(crate) async fn run(options: LogsOptions) -> Result<u8, Problem> {
    let run = RunId::new(&options.run).map_err(|_| Problem::input(format!("{:?} names no run", options.run)))?;
    let account = Account::of_environment()?;
    stack::require(&account.signed, &options.stage).await?;
    let stage = Stage::of_environment(&options.stage)?;
    let record = stage.store.run(&run).await.map_err(|error| stage.problem(error))?;
    let mut lines = Vec::new();
    for function in FUNCTIONS {
        lines.extend(logged(&account, &options.stage, function, &run, record.created_ms).await?);
    }
    let lines = in_order(lines);
    let mask = Mask::of(&Environment::of_process());
    for line in &lines {
        if options.json {
            screen::print_json(&line.json(&mask));
        } else {
            screen::print(line.words(&mask));
        }
    }
    if lines.is_empty() {
        screen::tell(format!("no function has logged anything about {run} yet; a line takes some seconds to arrive"));
    }
    Ok(0)
}

/// What one function logged about a run. It cannot be older than the run, so nothing before is read; a minute for clocks that
/// differ.
async fn logged(
    account: &Account,
    stage: &str,
    function: &'static str,
    run: &RunId,
    since_ms: i64,
) -> Result<Vec<Line>, Problem> {
    let group = format!("/aws/lambda/gatewright-{stage}-{function}");
    let mut asked = json!({
        "logGroupName": group,
        "filterPattern": format!("\"{run}\""),
        "startTime": since_ms - 60_000,
    });
    let mut lines = Vec::new();
    loop {
        let page = match account.signed.json(&LOGS, FILTER, &asked).await {
            Ok(page) => page,
            Err(CallError::Refused { code, .. }) if code == "ResourceNotFoundException" => {
                screen::tell(format!("note: there is no log group {group}: a deploy makes it anew"));
                return Ok(lines);
            }
            Err(error) => return Err(error.into()),
        };
        let events = page["events"].as_array().map(Vec::as_slice).unwrap_or_default();
        lines.extend(events.iter().map(|event| Line::of(function, event)).filter(|line| line.is_about(run)));
        match page["nextToken"].as_str() {
            Some(token) => asked["nextToken"] = token.into(),
            None => return Ok(lines),
        }
    }
}

/// By time; what happened in one millisecond stays as its function logged it.
fn in_order(mut lines: Vec<Line>) -> Vec<Line> {
    lines.sort_by_key(|line| line.moment_ms);
    lines
}

/// One event of a function's log.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    moment_ms: i64,
    function: &'static str,
    fields: Map<String, Value>,
}

impl Line {
    fn of(function: &'static str, event: &Value) -> Self {
        let text = event["message"].as_str().unwrap_or_default().trim_end();
        // A function that was killed may have left half a line, which is no JSON and still worth a look.
        let bare = || [("message".to_owned(), Value::from(text))].into_iter().collect();
        let fields = serde_json::from_str(text).unwrap_or_else(|_| bare());
        Self { moment_ms: event["timestamp"].as_i64().unwrap_or_default(), function, fields }
    }

    /// CloudWatch looks for a text, so a run whose id begins like this one's is found too.
    fn is_about(&self, run: &RunId) -> bool {
        self.fields.get("run").is_none_or(|said| said == run.as_str())
    }

    fn json(&self, mask: &Mask) -> Value {
        let mut line = json!({ "time_ms": self.moment_ms, "function": self.function });
        for (name, value) in self.fields.iter().filter(|(name, _)| !matches!(name.as_str(), "timestamp" | "target")) {
            line[name] = value.clone();
        }
        // Masked as text, so that what stands deep inside is masked too; a mask leaves JSON what it is.
        serde_json::from_str(&mask.apply(&line.to_string())).unwrap_or(Value::Null)
    }

    fn words(&self, mask: &Mask) -> String {
        let line = self.json(mask);
        let text = |name: &str| line[name].as_str().unwrap_or_default();
        let mut words =
            format!("{} {:<13} {:<5} {}", clock(self.moment_ms), self.function, text("level"), text("message"));
        let fields = line.as_object().into_iter().flatten();
        for (name, value) in fields.filter(|(name, _)| !SAID_ALREADY.contains(&name.as_str())) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            words.push_str(&format!(" {name}={value}"));
        }
        words.replace('\n', "\\n")
    }
}

/// `2026-11-25 23:10:02.123`.
fn clock(ms: i64) -> String {
    let (seconds, millis) = (ms.div_euclid(1000) % 60, ms.rem_euclid(1000));
    format!("{}:{seconds:02}.{millis:03}", render::moment(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(function: &'static str, moment_ms: i64, message: &str) -> Line {
        Line::of(function, &json!({ "timestamp": moment_ms, "message": message }))
    }

    #[test]
    fn functions_are_interleaved_by_time_and_keep_their_own_order() {
        let lines = vec![line("api", 2, "a2"), line("api", 2, "a2b"), line("tester", 1, "t1"), line("tester", 2, "t2")];
        let order: Vec<String> =
            in_order(lines).iter().map(|line| line.fields["message"].as_str().unwrap().to_owned()).collect();
        assert_eq!(order, ["t1", "a2", "a2b", "t2"]);
    }

    #[test]
    fn a_line_shows_its_fields_and_no_secret() {
        let logged = r#"{"timestamp":"2026-11-25T23:10:02.123Z","level":"INFO","run":"r-1","task":"t-1","kind":"turn","tokens":12,"message":"asked\nand got","key":"sk-ant-api03-abcdefghijkl","target":"role_host"}"#;
        let line = line("developer", 1_764_112_202_123, logged);
        let words = line.words(&Mask::default());
        assert_eq!(
            words,
            "2025-11-25 23:10:02.123 developer     INFO  asked\\nand got task=t-1 kind=turn tokens=12 key=***"
        );
        let json = line.json(&Mask::default());
        assert_eq!(json["time_ms"], 1_764_112_202_123_i64);
        assert_eq!(
            (&json["task"], &json["key"], &json["function"]),
            (&json!("t-1"), &json!("***"), &json!("developer"))
        );
    }

    #[test]
    fn what_is_no_json_is_shown_as_it_is() {
        let line = line("api", 0, "RequestId: 1 Error: Runtime exited with error: signal: killed\n");
        let words = line.words(&Mask::default());
        assert!(words.ends_with("Error: Runtime exited with error: signal: killed"), "{words}");
        assert_eq!(line.json(&Mask::default())["function"], "api");
    }

    #[test]
    fn a_run_whose_id_begins_alike_is_another_one() {
        let run = RunId::new("r-12").unwrap();
        assert!(line("api", 0, r#"{"run":"r-12","message":"a"}"#).is_about(&run));
        assert!(!line("api", 0, r#"{"run":"r-123","message":"a"}"#).is_about(&run));
        assert!(line("events", 0, r#"{"execution":"r-12-2","message":"a"}"#).is_about(&run));
    }
}
