//! The roles: whoever asks a model.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda_host::serve_handler(&[
        ("architect", || Box::pin(architect::serve())),
        ("developer", || Box::pin(developer::serve())),
        ("orchestrator", || Box::pin(orchestrator::serve())),
        ("reviewer", || Box::pin(reviewer::serve())),
        ("tester", || Box::pin(tester::serve())),
    ])
    .await
}
