//! The embedded cloud as its callers see it: through the AWS SDK's own clients.
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

mod callbacks;
mod commits;
mod dynamodb;
mod elsewhere;
mod functions;
mod loopback;
mod meter;
mod objects;
mod schedules;
mod secrets;
mod sharing;
mod streams;
mod world;
