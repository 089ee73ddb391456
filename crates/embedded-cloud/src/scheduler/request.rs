//! What a request asks for, and what of it is refused by name.

use std::collections::BTreeMap;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use bytes::Bytes;
use http::{Method, Request};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::book::DEFAULT_GROUP;
use crate::error::AwsError;

/// Schedules on a page, at most and by default.
const LONGEST_PAGE: usize = 100;
/// The longest input of a target, in bytes.
const LONGEST_INPUT: usize = 256 * 1024;

/// The operations that are answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Call {
    CreateSchedule(String),
    GetSchedule { group: String, name: String },
    DeleteSchedule { group: String, name: String },
    ListSchedules(ListPage),
    CreateGroup(String),
    GetGroup(String),
}

/// One page of a listing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListPage {
    pub(super) group: Option<String>,
    pub(super) limit: usize,
    prefix: String,
    /// `group/name` of the last one of the page before.
    after: String,
}

impl ListPage {
    fn of(query: &BTreeMap<String, String>) -> Result<Self, AwsError> {
        let text = |name: &str| query.get(name).cloned();
        if text("State").is_some_and(|state| state != "ENABLED") {
            return Err(AwsError::unknown_operation("scheduler", "ListSchedules of a State other than ENABLED"));
        }
        let limit = match text("MaxResults").map(|max| max.parse()) {
            None => LONGEST_PAGE,
            Some(Ok(max @ 1..=LONGEST_PAGE)) => max,
            Some(_) => return Err(AwsError::validation(format!("MaxResults is between 1 and {LONGEST_PAGE}"))),
        };
        let (group, prefix, after) = (text("ScheduleGroup"), text("NamePrefix"), text("NextToken"));
        Ok(ListPage { group, limit, prefix: prefix.unwrap_or_default(), after: after.unwrap_or_default() })
    }

    pub(super) fn shows(&self, wanted: &Wanted) -> bool {
        let in_group = self.group.as_ref().is_none_or(|group| *group == wanted.group);
        in_group && wanted.name.starts_with(&self.prefix) && wanted.place() > self.after
    }
}

impl Call {
    pub(super) fn of(request: &Request<Bytes>) -> Result<Self, AwsError> {
        let decode = |text: &str| {
            let decoded = percent_decode_str(text).decode_utf8().map(String::from);
            decoded.map_err(|_| AwsError::validation("the address is not UTF-8"))
        };
        let mut query = BTreeMap::new();
        for pair in request.uri().query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            query.insert(decode(name)?, decode(value)?);
        }
        let group = query.get("groupName").cloned().unwrap_or_else(|| DEFAULT_GROUP.into());
        let path = request.uri().path();
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (request.method(), segments.as_slice()) {
            (&Method::POST, ["schedules", name]) => Ok(Call::CreateSchedule(checked("Name", decode(name)?)?)),
            (&Method::GET, ["schedules", name]) => Ok(Call::GetSchedule { group, name: decode(name)? }),
            (&Method::DELETE, ["schedules", name]) => Ok(Call::DeleteSchedule { group, name: decode(name)? }),
            (&Method::GET, ["schedules"]) => Ok(Call::ListSchedules(ListPage::of(&query)?)),
            (&Method::POST, ["schedule-groups", name]) => Ok(Call::CreateGroup(checked("Name", decode(name)?)?)),
            (&Method::GET, ["schedule-groups", name]) => Ok(Call::GetGroup(decode(name)?)),
            (method, _) => Err(AwsError::unknown_operation("scheduler", &format!("{method} {path}"))),
        }
    }
}

/// What happens to a schedule that has fired.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum AfterCompletion {
    #[default]
    None,
    Delete,
}

impl AfterCompletion {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            AfterCompletion::None => "NONE",
            AfterCompletion::Delete => "DELETE",
        }
    }
}

/// A one-shot as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wanted {
    pub(super) group: String,
    pub(super) name: String,
    pub(super) due_ms: i64,
    pub(super) expression: String,
    pub(super) after: AfterCompletion,
    pub(super) target_arn: String,
    pub(super) role_arn: String,
    pub(super) input: String,
    pub(super) description: Option<String>,
    pub(super) client_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Create {
    action_after_completion: Option<AfterCompletion>,
    client_token: Option<String>,
    description: Option<String>,
    flexible_time_window: Window,
    group_name: Option<String>,
    schedule_expression: String,
    schedule_expression_timezone: Option<String>,
    state: Option<String>,
    target: Target,
    /// Members of a request that mean more than is done here.
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Window {
    mode: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Target {
    arn: String,
    role_arn: String,
    input: Option<String>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl Wanted {
    pub(super) fn of(name: String, body: &[u8]) -> Result<Self, AwsError> {
        let create: Create = serde_json::from_slice(body).map_err(|error| AwsError::validation(error.to_string()))?;
        create.check()?;
        let due_ms = moment_of(&create.schedule_expression)?;
        let input = create.target.input.ok_or_else(|| refused("a Target without Input"))?;
        if input.len() > LONGEST_INPUT {
            return Err(AwsError::validation(format!("Input: longer than {LONGEST_INPUT} bytes")));
        }
        Ok(Wanted {
            group: checked("GroupName", create.group_name.unwrap_or_else(|| DEFAULT_GROUP.into()))?,
            name,
            due_ms,
            expression: create.schedule_expression,
            after: create.action_after_completion.unwrap_or_default(),
            target_arn: create.target.arn,
            role_arn: create.target.role_arn,
            input,
            description: create.description,
            client_token: create.client_token,
        })
    }

    pub(super) fn target(&self) -> Value {
        json!({ "Arn": self.target_arn, "RoleArn": self.role_arn, "Input": self.input })
    }

    /// Where it stands among all, and what a page ends with.
    pub(super) fn place(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }
}

impl Create {
    /// Refuses by name what would not be done.
    fn check(&self) -> Result<(), AwsError> {
        if self.flexible_time_window.mode != "OFF" {
            return Err(refused("a FlexibleTimeWindow other than OFF"));
        }
        if self.schedule_expression_timezone.as_deref().is_some_and(|zone| zone != "UTC") {
            return Err(refused("a ScheduleExpressionTimezone other than UTC"));
        }
        if self.state.as_deref().is_some_and(|state| state != "ENABLED") {
            return Err(refused("a State other than ENABLED"));
        }
        if let Some(member) = self.others.keys().next() {
            return Err(refused(member));
        }
        // Lambda takes an event once it is handed over, so its retries are not the schedule's.
        if let Some(member) = self.target.others.keys().find(|member| *member != "RetryPolicy") {
            return Err(refused(&format!("a Target with {member}")));
        }
        let function = self.target.arn.strip_prefix("arn:").is_some_and(|rest| rest.contains(":lambda:"));
        if !function || !self.target.arn.contains(":function:") {
            return Err(refused("a Target that is not the ARN of a Lambda function"));
        }
        if !self.target.role_arn.starts_with("arn:") || !self.target.role_arn.contains(":role/") {
            return Err(AwsError::validation(format!("RoleArn: {:?} is not the ARN of a role", self.target.role_arn)));
        }
        Ok(())
    }
}

fn refused(what: &str) -> AwsError {
    AwsError::unknown_operation("scheduler", &format!("CreateSchedule with {what}"))
}

/// `at(2026-11-25T20:25:00)`, in UTC.
fn moment_of(expression: &str) -> Result<i64, AwsError> {
    if expression.starts_with("rate(") || expression.starts_with("cron(") {
        return Err(refused("a ScheduleExpression that recurs"));
    }
    let moment = expression.strip_prefix("at(").and_then(|rest| rest.strip_suffix(')'));
    let moment = moment.filter(|moment| moment.len() == "2026-11-25T20:25:00".len());
    let moment = moment.and_then(|moment| DateTime::from_str(&format!("{moment}Z"), Format::DateTime).ok());
    let milliseconds = moment.and_then(|moment| moment.to_millis().ok());
    milliseconds.ok_or_else(|| AwsError::validation(format!("Invalid Schedule Expression {expression}.")))
}

/// Names of schedules and groups: 1 to 64 letters, digits, `-`, `_` and `.`.
fn checked(member: &str, name: String) -> Result<String, AwsError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match (1..=64).contains(&name.len()) && name.chars().all(allowed) {
        true => Ok(name),
        false => Err(AwsError::validation(format!("{member}: {name:?} is not 1 to 64 of 0-9 a-z A-Z - _ ."))),
    }
}
