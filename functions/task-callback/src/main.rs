//! The Lambda: settings from the environment, then one event after the other.

use std::process::ExitCode;
use std::sync::Arc;

use lambda_host::{OsRandomness, SystemClock};

fn main() -> ExitCode {
    lambda_host::serve("task-callback", |host| {
        let context = Arc::new(task_callback::Context::new(&host.sdk, host.names(), Arc::new(SystemClock), Arc::new(OsRandomness)));
        move |input, _deadline_ms| {
            let context = context.clone();
            async move { task_callback::handle(&context, input).await }
        }
    })
}
