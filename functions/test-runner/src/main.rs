//! The Lambda: settings from the environment, then one event after the other.

use std::process::ExitCode;
use std::sync::Arc;

use lambda_host::{OsRandomness, SystemClock};

fn main() -> ExitCode {
    lambda_host::serve("test-runner", |host| {
        let context = Arc::new(test_runner::Context::new(&host.sdk, host.names(), Arc::new(SystemClock), Arc::new(OsRandomness)));
        move |input, _deadline_ms| {
            let context = context.clone();
            async move { test_runner::handle(&context, input).await }
        }
    })
}
