//! The change becomes a commit under a ref of its own, and on a forge a pull request.

use forge::Publication;
use run_model::plan::Plan;
use run_model::run::{RunRecord, Stage};
use run_model::{FunctionError, RunId};
use serde_json::{Value, json};
use store::NewEvent;

use crate::message::commit_message;
use crate::pull_request::{self, Facts};
use crate::repository::{self, Purpose};
use crate::{Context, assurance, missing};

/// Publishes the change that was measured. A repeated call finds what is there and says the same.
pub(crate) async fn publish(context: &Context, run_id: &RunId) -> Result<Value, FunctionError> {
    let run = context.store.enter_stage(run_id, Stage::Publish).await?;
    let change = assurance::change_set(context, &run).await?;
    assurance::assure(context, &run, &change).await?;
    let message = commit_message(run_id, &change, &summary(context, &run).await?);
    let body = pull_request::body(&Facts::of(context, &run, &change).await?);
    let repository = repository::open(context, &run, Purpose::writing(change.overlay.paths())).await?;
    let publication = Publication {
        run: run_id,
        base_ref: &run.base_ref,
        base_commit: &change.base_commit,
        overlay: &change.overlay,
        message: &message,
        when_ms: run.created_ms,
        title: message.lines().next().unwrap_or_default(),
        body: &body,
    };
    let published = repository.publish(&publication).await?;
    let record = |run: &mut RunRecord| {
        run.commit = Some(published.commit.clone());
        run.pull_request = published.pull_request.clone();
        let shown =
            published.pull_request.as_ref().map_or_else(String::new, |shown| format!(", shown by {}", shown.url));
        NewEvent::new("change.published", format!("{} is {}{shown}", published.at, published.commit))
    };
    context.store.update_run_telling(run_id, record).await?;
    context.note(&run, &published.notices).await?;
    Ok(json!({ "commit": published.commit, "ref": published.at }))
}

/// The plan's summary, which says what the change is for.
pub(crate) async fn summary(context: &Context, run: &RunRecord) -> Result<String, FunctionError> {
    let plan = run.plan.as_ref().ok_or_else(|| missing(&run.run_id, "plan"))?;
    Ok(context.store.get_json::<Plan>(plan).await?.summary)
}
