#![doc = include_str!("../README.md")]

mod error;
mod registry;
pub mod step_functions;

pub use error::AwsError;
pub use registry::{FunctionError, FunctionRegistry, Handler, InvocationContext, InvokeError};
