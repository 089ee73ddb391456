//! The embedded cloud as its callers see it: through the AWS SDK's own clients.

mod dynamodb;
mod functions;
mod objects;
mod secrets;
mod sharing;
mod streams;
mod world;
