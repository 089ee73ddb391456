#![doc = include_str!("../README.md")]

mod circles;
mod context;
pub mod ports;
mod role;
mod schema;
mod session;
mod tools;
mod turn;
mod workspace;

pub use role::{PathKind, Role, ToolKind, Writes};
pub use schema::schema_of;
pub use session::{Assignment, ModelChoice, Ports, SessionEnd, SessionLimits, SessionRequest, run_session};
pub use workspace::MAX_FILE_BYTES;
