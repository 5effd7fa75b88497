//! Pipeline files: from text to a checked specification.

pub(crate) mod cursor;
pub mod diagnostic;
pub mod expand;
mod hash_order;
pub mod logstash;
pub mod options;
pub mod spec;
pub mod toml;

pub use diagnostic::{Diagnostic, Files, Severity, Span};
pub use expand::{Dialect, Expander};
pub use options::{Args, ComponentDef, Data, Fallback, Key, Kind, Node, OptionDef, option};
pub use spec::{ComponentSpec, ConditionSpec, PipelineSpec, Statement};
