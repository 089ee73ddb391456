#![doc = include_str!("../README.md")]

mod cloud;
mod commits;
mod connector;
mod durable;
mod dynamodb;
mod error;
mod event_pattern;
mod http;
mod lambda;
mod lambda_endpoint;
mod loopback;
pub mod meter;
mod objects;
mod registry;
mod scheduler;
mod secrets;
mod socket;
mod status_events;
pub mod step_functions;
mod streams;

pub use aws_credential_types::Credentials;
pub use cloud::{Attachment, Cloud, CloudClient, CloudOptions, OpenError};
pub use commits::{CommitObserver, abort_at, full_from, noted_in};
pub use connector::{DriverGone, is_driver_gone};
pub use error::AwsError;
pub use event_pattern::{EventPattern, PatternError};
pub use lambda_endpoint::{EndpointError, LambdaEndpoint};
pub use loopback::StandingClock;
pub use registry::{FunctionError, FunctionRegistry, Functions, Handler, InvocationContext, InvokeError};
pub use status_events::StatusRule;
pub use streams::StreamRule;

/// The region that every ARN and configuration names.
pub const REGION: &str = "us-east-1";
/// The account that every ARN names.
pub const ACCOUNT: &str = "000000000000";
