//! Status changes of executions, as the EventBridge rule of the same name sees them.

use serde_json::{Value, json};
use states_language::{Execution, Status};

use super::Place;

/// `Step Functions Execution Status Change`: an execution began or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusChange {
    /// The execution.
    pub execution_arn: String,
    /// Its machine.
    pub state_machine_arn: String,
    /// The execution's name.
    pub name: String,
    /// `RUNNING`, `SUCCEEDED`, `FAILED`, `TIMED_OUT` or `ABORTED`.
    pub status: String,
    /// When it started, in milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// When it ended, in milliseconds since the Unix epoch.
    pub stop_ms: Option<i64>,
    /// Its input, as JSON text.
    pub input: String,
    /// Its output, as JSON text, when it succeeded.
    pub output: Option<String>,
    /// The error's name, when it failed.
    pub error: Option<String>,
    /// The error's cause, when it failed.
    pub cause: Option<String>,
}

impl StatusChange {
    /// The change that an execution made when it began or, at `stop_ms`, ended.
    pub(super) fn of(execution: &Execution, stop_ms: Option<i64>) -> Self {
        let identity = execution.identity();
        let outcome = execution.outcome().filter(|_| stop_ms.is_some());
        StatusChange {
            execution_arn: identity.execution_arn.clone(),
            state_machine_arn: identity.machine_arn.clone(),
            name: identity.execution_name.clone(),
            status: outcome.map_or(Status::Running, |outcome| outcome.status).as_str().to_owned(),
            start_ms: execution.started_ms().unwrap_or_default(),
            stop_ms,
            input: execution.input().to_string(),
            output: outcome.and_then(|outcome| outcome.output.as_ref()).map(ToString::to_string),
            error: outcome.and_then(|outcome| outcome.error.clone()),
            cause: outcome.and_then(|outcome| outcome.cause.clone()),
        }
    }

    /// The EventBridge event; `id` is the event's own, unique id.
    pub fn event(&self, place: &Place, id: &str) -> Value {
        json!({
            "version": "0",
            "id": id,
            "detail-type": "Step Functions Execution Status Change",
            "source": "aws.states",
            "account": place.account,
            "time": rfc3339_seconds(self.stop_ms.unwrap_or(self.start_ms)),
            "region": place.region,
            "resources": [self.execution_arn],
            "detail": self.detail(),
        })
    }

    /// The event's `detail`, in AWS's shape.
    pub fn detail(&self) -> Value {
        json!({
            "executionArn": self.execution_arn,
            "stateMachineArn": self.state_machine_arn,
            "name": self.name,
            "status": self.status,
            "startDate": self.start_ms,
            "stopDate": self.stop_ms,
            "input": self.input,
            "output": self.output,
            "inputDetails": { "included": true },
            "outputDetails": self.output.as_ref().map(|_| json!({ "included": true })),
            "error": self.error,
            "cause": self.cause,
            "stateMachineVersionArn": null,
            "stateMachineAliasArn": null,
            "redriveCount": 0,
            "redriveDate": null,
            "redriveStatus": "NOT_REDRIVABLE",
        })
    }
}

/// `2026-11-25T15:42:00Z`, from the algorithm of <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>.
fn rfc3339_seconds(moment_ms: i64) -> String {
    let seconds = moment_ms.div_euclid(1_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_has_the_shape_that_rules_match() {
        let change = StatusChange {
            execution_arn: "arn:aws:states:us-east-1:000000000000:execution:m:e".into(),
            state_machine_arn: "arn:aws:states:us-east-1:000000000000:stateMachine:m".into(),
            name: "e".into(),
            status: "FAILED".into(),
            start_ms: 951_782_399_999,
            stop_ms: Some(951_782_400_000),
            input: "{}".into(),
            output: None,
            error: Some("ModelRefused".into()),
            cause: Some("no".into()),
        };
        let event = change.event(&Place::default(), "id");
        assert_eq!(event["time"], "2000-02-29T00:00:00Z");
        assert_eq!(event["source"], "aws.states");
        assert_eq!(event["resources"][0], event["detail"]["executionArn"]);
        assert_eq!(event["detail"]["stopDate"], 951_782_400_000_i64);
        assert_eq!(event["detail"]["error"], "ModelRefused");
        assert_eq!(event["detail"]["output"], Value::Null);
    }
}
