#![doc = include_str!("../README.md")]

use std::error::Error;
use std::sync::{Arc, OnceLock};

use aws_sdk_scheduler::Client;
use aws_sdk_scheduler::error::ProvideErrorMetadata;
use aws_sdk_scheduler::types::{ActionAfterCompletion, FlexibleTimeWindow, FlexibleTimeWindowMode, Target};
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use aws_types::SdkConfig;
use run_model::{ErrorName, FunctionError};
use serde_json::Value;

/// The longest name of a schedule.
const LONGEST_NAME: usize = 64;

/// Where one-shots are made, and whom they call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The schedule group.
    pub group: String,
    /// The ARN of the function that is called.
    pub function_arn: String,
    /// The ARN of the role that the scheduler calls it under.
    pub role_arn: String,
}

/// Why a one-shot could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The moment lies outside of what a schedule can say: years 0 to 9999.
    #[error("{0} ms after the epoch is no moment for a schedule")]
    Moment(i64),
    /// The scheduler did not take it: try again.
    #[error("the scheduler could not {what}: {}", causes(&**source))]
    Unavailable {
        /// What was asked.
        what: &'static str,
        /// What it said.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl From<ScheduleError> for FunctionError {
    /// What is tried again has the name of what is tried again.
    fn from(error: ScheduleError) -> Self {
        let name = match error {
            ScheduleError::Moment(_) => ErrorName::Internal,
            ScheduleError::Unavailable { .. } => ErrorName::StoreUnavailable,
        };
        FunctionError::new(name, error.to_string())
    }
}

/// Makes one-shots. Cheap to clone; the client is built when it is first used.
#[derive(Clone)]
pub struct OneShots(Arc<Inner>);

struct Inner {
    sdk: SdkConfig,
    place: Place,
    client: OnceLock<Client>,
}

impl OneShots {
    /// One-shots of this place.
    pub fn new(sdk: &SdkConfig, place: Place) -> Self {
        Self(Arc::new(Inner { sdk: sdk.clone(), place, client: OnceLock::new() }))
    }

    fn client(&self) -> &Client {
        self.0.client.get_or_init(|| Client::new(&self.0.sdk))
    }

    /// Makes the group, where it is missing. On AWS the template does.
    ///
    /// # Errors
    /// [`ScheduleError::Unavailable`].
    pub async fn create_group(&self) -> Result<(), ScheduleError> {
        match self.client().create_schedule_group().name(&self.0.place.group).send().await {
            Err(error) if !is_conflict(&error) => Err(unavailable("make the group", error)),
            _ => Ok(()),
        }
    }

    /// Calls the function with `input` once, at the first full second from `moment_ms` on (milliseconds since the epoch).
    /// The scheduler may be a minute late. A one-shot of this name that waits stays as it is.
    ///
    /// `name` is of letters, digits, `-`, `_` and `.`; of a longer one than 64 the end counts.
    ///
    /// # Errors
    /// [`ScheduleError::Moment`]; [`ScheduleError::Unavailable`].
    pub async fn at(&self, name: &str, moment_ms: i64, input: &Value) -> Result<(), ScheduleError> {
        let Place { group, function_arn, role_arn } = &self.0.place;
        let what = "make a schedule";
        let target = Target::builder().arn(function_arn).role_arn(role_arn).input(input.to_string());
        let window = FlexibleTimeWindow::builder().mode(FlexibleTimeWindowMode::Off);
        let sent = self
            .client()
            .create_schedule()
            .name(name.get(name.len().saturating_sub(LONGEST_NAME)..).unwrap_or(name))
            .group_name(group)
            .schedule_expression(expression(moment_ms)?)
            .schedule_expression_timezone("UTC")
            .flexible_time_window(window.build().map_err(|error| unavailable(what, error))?)
            .action_after_completion(ActionAfterCompletion::Delete)
            .target(target.build().map_err(|error| unavailable(what, error))?)
            .send()
            .await;
        match sent {
            Err(error) if !is_conflict(&error) => Err(unavailable(what, error)),
            _ => Ok(()),
        }
    }
}

/// `at(2026-11-25T20:25:00)`, never before the moment.
fn expression(moment_ms: i64) -> Result<String, ScheduleError> {
    let seconds = moment_ms.div_euclid(1_000) + i64::from(moment_ms.rem_euclid(1_000) > 0);
    let moment = DateTime::from_secs(seconds).fmt(Format::DateTime).map_err(|_| ScheduleError::Moment(moment_ms))?;
    Ok(format!("at({})", moment.trim_end_matches('Z')))
}

fn is_conflict(error: &impl ProvideErrorMetadata) -> bool {
    error.code() == Some("ConflictException")
}

/// What an error and its causes say, on one line: the SDK's own way of saying it shows whole requests.
fn causes(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| (*error).source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn unavailable(what: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> ScheduleError {
    ScheduleError::Unavailable { what, source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_never_early() {
        assert_eq!(expression(951_782_400_000).unwrap(), "at(2000-02-29T00:00:00)");
        assert_eq!(expression(951_782_400_001).unwrap(), "at(2000-02-29T00:00:01)");
        assert!(matches!(expression(i64::MAX), Err(ScheduleError::Moment(_))));
    }
}
