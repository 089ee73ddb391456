//! The one function that writes to repositories, with GitHub: the only program that holds octocrab.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda_host::serve_handler(&[("code-host", || Box::pin(code_host::serve()))]).await
}
