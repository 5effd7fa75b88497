//! Refuses to run a pipeline with less memory than it needs.

use crate::config::{Diagnostic, Severity, Span};
use crate::delivery::bounds::Demand;

/// The memory that a pipeline needs, and what there is.
#[derive(Clone, Debug)]
pub struct Memory {
    /// The least `memory_limit` with which the process stays below it.
    pub least: usize,
    /// What `least` consists of.
    parts: String,
    /// What the container's limit leaves.
    granted: usize,
    /// Whether less than `least` is an error.
    is_enforced: bool,
}

impl Memory {
    pub(super) fn new(demand: &Demand, granted: usize, is_enforced: bool) -> Memory {
        Memory { least: demand.least(), parts: demand.describe(), granted, is_enforced }
    }

    /// Returns what is wrong with a `memory_limit`, if it is less than the pipeline needs.
    pub(super) fn refuse(&self, limit: usize, span: Span) -> Option<Diagnostic> {
        let message = || {
            let (limit, least) = (in_mib(limit), in_mib(self.least));
            format!("`memory_limit` = {limit} is below what this pipeline needs: {least} ({})", self.parts)
        };
        let severity = if self.is_enforced { Severity::Error } else { Severity::Warning };
        (limit < self.least).then(|| Diagnostic { severity, ..Diagnostic::error(span, message()) })
    }

    /// Returns what is wrong with the container that the process runs in, and whether that is an error, if its limit is less than the
    /// pipeline needs.
    pub fn shortage(&self) -> Option<(String, bool)> {
        (self.granted < self.least).then(|| {
            let (granted, least, container) = (in_mib(self.granted), in_mib(self.least), in_mib(self.least / 9 * 10 + 10));
            let message = format!(
                "the memory limit of this container leaves {granted} for `memory_limit`, which is below what this pipeline needs: {least} ({}); \
                 give the container at least {container}",
                self.parts
            );
            (message, self.is_enforced)
        })
    }
}

fn in_mib(bytes: usize) -> String {
    format!("{}MiB", bytes.div_ceil(1 << 20))
}
