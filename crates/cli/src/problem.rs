//! What the command line says when something is wrong, and with which code it ends.

use std::fmt::Display;

/// What was asked for failed.
pub(crate) const FAILED: u8 = 1;
/// The command line was wrong.
pub(crate) const USAGE: u8 = 64;
/// The input was wrong.
pub(crate) const INPUT: u8 = 65;
/// Something needed is missing.
pub(crate) const MISSING: u8 = 69;
/// The process that drives the state folder went away: trying again helps.
pub(crate) const DRIVER_GONE: u8 = 75;
/// No job waits: asking again later may help.
pub(crate) const NOTHING_WAITS: u8 = 75;
/// A defect in Gatewright.
pub(crate) const DEFECT: u8 = 70;
/// Interrupted.
pub(crate) const INTERRUPTED: u8 = 130;

/// A message for people (what happened and the cure) and an exit code for scripts.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Problem {
    pub(crate) message: String,
    pub(crate) exit: u8,
}

impl Problem {
    pub(crate) fn input(message: impl Display) -> Self {
        Self { message: message.to_string(), exit: INPUT }
    }

    pub(crate) fn missing(message: impl Display) -> Self {
        Self { message: message.to_string(), exit: MISSING }
    }

    /// A service of this machine's cloud failed, or who answers for it is gone.
    pub(crate) fn of_service(error: impl std::error::Error + 'static) -> Self {
        if embedded_cloud::is_driver_gone(&error) { Self::driver_gone() } else { Self::missing(causes(&error)) }
    }

    fn driver_gone() -> Self {
        let message = "the process that drove the state folder went away in the middle: try again".into();
        Self { message, exit: DRIVER_GONE }
    }

    pub(crate) fn defect(message: impl Display) -> Self {
        Self { message: message.to_string(), exit: DEFECT }
    }
}

impl From<store::StoreError> for Problem {
    fn from(error: store::StoreError) -> Self {
        use store::StoreError as E;
        if embedded_cloud::is_driver_gone(&error) {
            return Self::driver_gone();
        }
        let asked = matches!(
            error,
            E::NotFound(_)
                | E::AlreadyDecided { .. }
                | E::DeadlinePassed { .. }
                | E::BindingChanged { .. }
                | E::EnoughQuestions(_)
        );
        match error {
            error if asked => Self::input(error.with_causes()),
            E::Corrupt { .. } => Self::missing(format!(
                "{}: put a copy of the state folder (a stage's table and bucket) back, or go without what needs it",
                error.with_causes()
            )),
            error => Self::missing(error.with_causes()),
        }
    }
}

impl From<embedded_cloud::OpenError> for Problem {
    fn from(error: embedded_cloud::OpenError) -> Self {
        Self::missing(causes(&error))
    }
}

impl From<schedules::ScheduleError> for Problem {
    fn from(error: schedules::ScheduleError) -> Self {
        Self::missing(error)
    }
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        Self::missing(causes(&error))
    }
}

/// An error with its causes, on one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let mut lines: Vec<String> = chain.map(ToString::to_string).collect();
    lines.dedup();
    lines.join(": ")
}

/// What is asked, and asked once more if whoever drove the state folder went away in the middle: then it is another process's, or
/// this one's.
pub(crate) async fn once_more<T>(ask: impl AsyncFn() -> Result<T, Problem>) -> Result<T, Problem> {
    match ask().await {
        Err(problem) if problem.exit == DRIVER_GONE => ask().await,
        answered => answered,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn who_drives_may_change_once_while_somebody_looks() {
        let asked = async |answers: &[fn() -> Result<u8, Problem>]| {
            let left = RefCell::new(answers.to_vec());
            let answer = once_more(async || left.borrow_mut().remove(0)()).await.map_err(|problem| problem.exit);
            (answer, left.into_inner().len())
        };
        let gone: fn() -> Result<u8, Problem> = || Err(Problem::driver_gone());
        assert_eq!(asked(&[gone, || Ok(7), || Ok(8)]).await, (Ok(7), 1));
        assert_eq!(asked(&[gone, gone, || Ok(8)]).await, (Err(DRIVER_GONE), 1));
        assert_eq!(asked(&[|| Err(Problem::input("no")), || Ok(8)]).await, (Err(INPUT), 1));
        assert_eq!(asked(&[|| Ok(9), || Ok(8)]).await, (Ok(9), 1));
    }
}
