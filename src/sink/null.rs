//! The sink that counts and discards: for measuring and for trying a pipeline out. It is no task: workers end its documents themselves.

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

/// When a batch is discarded.
pub(crate) const LIMITS: Limits = Limits { max_bytes: 1 << 20, max_items: 16_384, linger: Duration::from_millis(50) };
