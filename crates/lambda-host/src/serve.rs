//! Serving the Lambda Runtime API.

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use run_model::{ErrorName, FunctionError};
use serde_json::Value;
use tracing::Instrument;

use crate::{Environment, HostError, logs};

/// A failure on its way to Lambda. The runtime's own conversion would name every error after the type of its box.
struct Failure(FunctionError);

impl From<Failure> for Diagnostic {
    fn from(Failure(FunctionError { name, message }): Failure) -> Self {
        Self { error_type: name.as_str().to_owned(), error_message: message }
    }
}

/// What the runtime logs of a failure, once.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.name.as_str(), self.0.message)
    }
}

/// Answers invocations, one after the other, until the Runtime API is gone. Begins to log first.
///
/// `handler` is given the event and the invocation's deadline in milliseconds since the epoch. Its error's name becomes the
/// error type that machines match; a panic, where it unwinds, is an [`ErrorName::Internal`].
///
/// # Errors
/// [`HostError::MissingVariable`] outside of Lambda; [`HostError::RuntimeApi`] if the Runtime API fails.
pub async fn serve<H, F>(name: &'static str, handler: H) -> Result<(), HostError>
where
    H: Fn(Value, i64) -> F + 'static,
    F: Future<Output = Result<Value, FunctionError>> + 'static,
{
    run(name, Box::new(move |event, deadline_ms| Box::pin(handler(event, deadline_ms)))).await
}

/// A handler of which no type is known, so that the runtime is compiled once and not for each function of a program.
type Handler = Box<dyn Fn(Value, i64) -> LocalBoxFuture<'static, Result<Value, FunctionError>>>;

fn run(name: &'static str, handler: Handler) -> LocalBoxFuture<'static, Result<(), HostError>> {
    Box::pin(async move {
        let environment = Environment::of_process();
        // The runtime panics without them.
        let needed = ["AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"];
        for variable in needed.into_iter().chain(["AWS_LAMBDA_FUNCTION_VERSION"]) {
            environment.require(variable)?;
        }
        logs::begin(&environment);
        let handler = &handler;
        let service = service_fn(|event: LambdaEvent<Value>| {
            let deadline_ms = i64::try_from(event.context.deadline).unwrap_or(i64::MAX);
            // Called in there, so that a handler that panics before it first waits is caught too.
            let work = async move { handler(event.payload, deadline_ms).await };
            let work = AssertUnwindSafe(work).catch_unwind();
            let named =
                async move { work.await.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))).map_err(Failure) };
            named.instrument(tracing::info_span!("function", name))
        });
        lambda_runtime::run(service).await.map_err(HostError::RuntimeApi)
    })
}

fn panicked(panic: &(dyn Any + Send)) -> FunctionError {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    FunctionError::new(ErrorName::Internal, format!("the function panicked: {}", said.unwrap_or("it did not say why")))
}
