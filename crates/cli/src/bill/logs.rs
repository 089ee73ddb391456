//! How much functions log, as the lines that their Lambdas write.

use std::fmt;

use embedded_cloud::meter;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Timestamp, level, spans and braces of a line of JSON, and the 26 bytes that CloudWatch adds to each.
const FRAME: usize = 190;

/// Counts what is logged in an invocation.
pub(crate) struct LogMeter;

struct Length(usize);

impl Visit for Length {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += field.name().len() + format!("{value:?}").len() + r#""":"","#.len();
    }
}

impl<S: Subscriber> Layer<S> for LogMeter {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if meter::is_counted() {
            let mut length = Length(FRAME + event.metadata().target().len());
            event.record(&mut length);
            meter::logged(length.0);
        }
    }
}
