//! A program that holds several functions.

use std::error::Error;
use std::process::ExitCode;

use futures::future::LocalBoxFuture;

use crate::{Environment, HostError, logs};

/// Serves one function, as its library puts it together.
pub type Serve = fn() -> LocalBoxFuture<'static, Result<(), HostError>>;

/// Where Lambda puts the function's property `Handler`.
const HANDLER: &str = "_HANDLER";

/// What a program's `main` returns: serves that one of its functions which Lambda names in `_HANDLER`, until it ends. Why it
/// could not be served is logged.
pub async fn serve_handler(functions: &[(&str, Serve)]) -> ExitCode {
    let environment = Environment::of_process();
    logs::begin(&environment);
    let ended = match chosen(&environment, functions) {
        Ok(serve) => serve().await,
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        let cause = error.source().map(ToString::to_string);
        tracing::error!(%error, cause, "the function cannot be served");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn chosen(environment: &Environment, functions: &[(&str, Serve)]) -> Result<Serve, HostError> {
    let handler = environment.get(HANDLER).unwrap_or_default();
    let found = functions.iter().find(|(name, _)| *name == handler);
    found.map(|(_, serve)| *serve).ok_or_else(|| {
        let known: Vec<&str> = functions.iter().map(|(name, _)| *name).collect();
        HostError::UnknownHandler { handler: handler.to_owned(), known: known.join(", ") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_handler_chooses_and_one_that_is_not_there_is_named_with_those_that_are() {
        let functions: [(&str, Serve); 2] = [
            ("one", || Box::pin(async { Err(HostError::MissingVariable("ONE")) })),
            ("two", || Box::pin(async { Err(HostError::MissingVariable("TWO")) })),
        ];
        let two = chosen(&Environment::of([(HANDLER, "two")]), &functions).unwrap();
        assert!(matches!(two().await, Err(HostError::MissingVariable("TWO"))));
        for (variables, named) in [(Environment::of([(HANDLER, "bootstrap")]), "bootstrap"), (Environment::of([]), "")]
        {
            let error = chosen(&variables, &functions).unwrap_err().to_string();
            let wanted =
                format!("the function's Handler is {named:?}, which this program has not: set it to one of one, two");
            assert_eq!(error, wanted);
        }
    }
}
