//! The Lambda: settings from the environment, then one event after the other.

use std::process::ExitCode;
use std::sync::Arc;

use lambda_host::{OsRandomness, SystemClock};

fn main() -> ExitCode {
    lambda_host::serve("gate-open", |host| {
        let context = Arc::new(gate_open::Context::new(&host.sdk, host.names(), Arc::new(SystemClock), Arc::new(OsRandomness)));
        move |input, _deadline_ms| {
            let context = context.clone();
            async move { gate_open::handle(&context, input).await }
        }
    })
}
