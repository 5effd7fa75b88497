//! The sink that counts and discards: for measuring and for trying a pipeline out.

use std::time::Duration;

use tokio::sync::mpsc;

use super::{Sink, SinkContext, SinkFuture};
use crate::config::ComponentDef;
use crate::delivery::{DocumentBatch, Limits};

/// The options of `null`.
pub const DEF: ComponentDef = ComponentDef {
    name: "null",
    summary: "Counts documents and discards them.",
    options: &[],
    example: "[[sink]]\ntype = \"null\"\n",
};

/// The sink that counts and discards.
#[derive(Clone, Copy, Debug)]
pub struct NullSink;

impl Sink for NullSink {
    fn name(&self) -> &str {
        "null"
    }

    fn limits(&self) -> Limits {
        Limits { max_bytes: 1 << 20, max_items: 16_384, linger: Duration::from_millis(50) }
    }

    fn run(self: Box<Self>, mut input: mpsc::Receiver<DocumentBatch>, context: SinkContext) -> SinkFuture {
        Box::pin(async move {
            context.set_ready(true);
            while let Some(batch) = input.recv().await {
                context.finish(batch);
            }
            Ok(())
        })
    }
}
