//! What decides and waits, with no model and no forge.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda_host::serve_handler(&[
        ("api", || Box::pin(api::serve())),
        ("events", || Box::pin(events::serve())),
        ("gate-callback", || Box::pin(gate_callback::serve())),
        ("gate-open", || Box::pin(gate_open::serve())),
        ("janitor", || Box::pin(janitor::serve())),
        ("run-control", || Box::pin(run_control::serve())),
        ("task-callback", || Box::pin(task_callback::serve())),
        ("test-runner", || Box::pin(test_runner::serve())),
    ])
    .await
}
