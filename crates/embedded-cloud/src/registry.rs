//! The functions that Lambda `Invoke`, the stream pump and the engine's Task states can call.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use crate::error::AwsError;
use crate::lambda_endpoint::LambdaEndpoint;

/// A function's handler: event in, result out.
pub type Handler =
    Arc<dyn Fn(Value, InvocationContext) -> BoxFuture<'static, Result<Value, FunctionError>> + Send + Sync>;

/// What a handler learns about its own invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvocationContext {
    /// Milliseconds since the Unix epoch at which the invocation is given up.
    pub deadline_ms: i64,
    /// Unique id of this invocation.
    pub request_id: String,
}

/// How a function failed, in the two fields by which Step Functions matches `Retry` and `Catch`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error_type}: {message}")]
pub struct FunctionError {
    /// Name that `ErrorEquals` matches, such as `ModelThrottled`.
    pub error_type: String,
    /// What went wrong, for a person.
    pub message: String,
}

impl FunctionError {
    /// An error of the given type.
    pub fn new(error_type: impl Into<String>, message: impl Into<String>) -> Self {
        FunctionError { error_type: error_type.into(), message: message.into() }
    }

    /// The payload that Lambda answers for a failed invocation: `errorType` and `errorMessage`.
    pub fn payload(&self) -> Value {
        json!({ "errorType": self.error_type, "errorMessage": self.message })
    }
}

impl From<run_model::FunctionError> for FunctionError {
    fn from(error: run_model::FunctionError) -> Self {
        FunctionError::new(error.name.as_str(), error.message)
    }
}

/// Why an invocation gave no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// No function of that name is registered.
    #[error("function not found: {0}")]
    NotFound(String),
    /// The function ran and failed.
    #[error(transparent)]
    Function(#[from] FunctionError),
    /// Lambda did not run the function: throttled, refused, out of reach.
    #[error(transparent)]
    Refused(AwsError),
}

impl InvokeError {
    /// The failure as a Task state reports it: what Lambda itself says is named `Lambda.` and its exception.
    pub(crate) fn of_task(self) -> FunctionError {
        match self {
            InvokeError::Function(error) => error,
            InvokeError::NotFound(name) => {
                FunctionError::new("Lambda.ResourceNotFoundException", format!("Function not found: {name}"))
            }
            InvokeError::Refused(AwsError { code, message, .. }) => {
                FunctionError::new(format!("Lambda.{code}"), message)
            }
        }
    }
}

/// Where functions are: linked into this program, or behind a Lambda endpoint. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Functions {
    /// Handlers of this program.
    Linked(FunctionRegistry),
    /// Whatever answers Lambda's `Invoke` at an address.
    Endpoint(LambdaEndpoint),
}

impl Functions {
    /// Runs a function, named bare, `name:qualifier`, or by ARN with or without a qualifier.
    ///
    /// The deadline is told, not enforced: the caller owns the clock.
    ///
    /// # Errors
    /// As [`FunctionRegistry::invoke`]; an endpoint may also refuse ([`InvokeError::Refused`]).
    pub async fn invoke(&self, function: &str, event: Value, context: InvocationContext) -> Result<Value, InvokeError> {
        match self {
            Functions::Linked(registry) => registry.invoke(function, event, context).await,
            Functions::Endpoint(endpoint) => endpoint.invoke(function, &event).await,
        }
    }
}

impl From<FunctionRegistry> for Functions {
    fn from(registry: FunctionRegistry) -> Self {
        Functions::Linked(registry)
    }
}

impl From<LambdaEndpoint> for Functions {
    fn from(endpoint: LambdaEndpoint) -> Self {
        Functions::Endpoint(endpoint)
    }
}

/// Functions by name; cheap to clone.
#[derive(Clone, Default)]
pub struct FunctionRegistry {
    functions: Arc<BTreeMap<String, Handler>>,
}

impl FunctionRegistry {
    /// A registry without functions.
    pub fn new() -> Self {
        FunctionRegistry::default()
    }

    /// Adds a function, replacing one of the same name.
    #[must_use]
    pub fn with<F, Fut>(mut self, name: &str, handler: F) -> Self
    where
        F: Fn(Value, InvocationContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, FunctionError>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |event, context| handler(event, context).boxed());
        Arc::make_mut(&mut self.functions).insert(name.to_owned(), handler);
        self
    }

    /// The same functions, each behind what `wrap` makes of it.
    pub(crate) fn wrapped(&self, wrap: impl Fn(&str, Handler) -> Handler) -> Self {
        let wrapped = self.functions.iter().map(|(name, handler)| (name.clone(), wrap(name, Arc::clone(handler))));
        FunctionRegistry { functions: Arc::new(wrapped.collect()) }
    }

    /// The registered names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.functions.keys().map(String::as_str)
    }

    /// Whether a bare name or function ARN is registered.
    pub fn contains(&self, function: &str) -> bool {
        self.functions.contains_key(bare_name(function))
    }

    /// Runs a function, named bare (`architect`, `architect:live`) or by ARN (`arn:aws:lambda:...:function:architect`).
    ///
    /// A panic in the handler becomes a [`FunctionError`] of type `Internal`, as our host of Lambdas names
    /// it too. The deadline is told, not enforced: the caller owns the clock.
    ///
    /// # Errors
    /// [`InvokeError::NotFound`] for an unregistered name, [`InvokeError::Function`] when the function failed.
    pub async fn invoke(&self, function: &str, event: Value, context: InvocationContext) -> Result<Value, InvokeError> {
        let name = bare_name(function);
        let handler = self.functions.get(name).ok_or_else(|| InvokeError::NotFound(function.to_owned()))?;
        // The handler runs user code before it returns its future, so the call itself is inside too.
        let run = async { handler(event, context).await };
        match AssertUnwindSafe(run).catch_unwind().await {
            Ok(result) => result.map_err(InvokeError::Function),
            Err(panic) => {
                let message = format!("function {name} panicked: {}", panic_text(&*panic));
                Err(FunctionError::new("Internal", message).into())
            }
        }
    }
}

impl std::fmt::Debug for FunctionRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// The function's name in a name, `name:qualifier`, ARN or qualified ARN.
fn bare_name(function: &str) -> &str {
    let name = match function.split_once(":function:") {
        Some((_, name)) => name,
        None => function,
    };
    name.split(':').next().unwrap_or(name)
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> InvocationContext {
        InvocationContext { deadline_ms: 0, request_id: "r".into() }
    }

    #[tokio::test]
    async fn every_way_to_name_a_function_finds_it() {
        let registry = FunctionRegistry::new().with("architect", |event, _| async move { Ok(event) });
        for name in [
            "architect",
            "architect:live",
            "arn:aws:lambda:us-east-1:000000000000:function:architect",
            "arn:aws:lambda:us-east-1:000000000000:function:architect:7",
        ] {
            assert_eq!(registry.invoke(name, json!(1), context()).await, Ok(json!(1)), "{name}");
        }
        assert!(matches!(registry.invoke("archi", json!(1), context()).await, Err(InvokeError::NotFound(_))));
    }

    #[tokio::test]
    async fn a_panic_is_an_error_whether_before_or_inside_the_future() {
        let registry =
            FunctionRegistry::new().with("late", |_, _| async { panic!("late") }).with("early", |event: Value, _| {
                assert!(event.is_null(), "early");
                async { Ok(Value::Null) }
            });
        for name in ["late", "early"] {
            let error = registry.invoke(name, json!(1), context()).await.unwrap_err();
            let InvokeError::Function(error) = error else { panic!("{error}") };
            assert_eq!(error.error_type, "Internal");
            assert!(error.message.contains(name), "{error}");
        }
    }
}
