//! A sink that counts and discards documents, for benchmarks and for trying a pipeline. It is not a task: workers
//! complete its documents themselves.

use std::time::Duration;

use crate::config::ComponentDef;
use crate::delivery::Limits;

/// The options of `null`.
pub const DEF: ComponentDef = ComponentDef {
    name: "null",
    summary: "Counts documents and discards them.",
    options: &[],
    example: "[[sink]]\ntype = \"null\"\n",
};

/// Limits at which a batch is discarded.
pub(crate) const LIMITS: Limits = Limits { max_bytes: 1 << 20, max_items: 16_384, linger: Duration::from_millis(50) };
