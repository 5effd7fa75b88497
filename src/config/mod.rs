//! Pipeline files: from text to a checked specification.

pub(crate) mod cursor;
pub mod diagnostic;
pub mod expand;
pub(crate) mod fields;
pub(crate) mod hash_order;
pub mod missing_plugins;
pub mod options;
pub mod spec;
pub mod toml;
pub mod units;
pub mod value;

pub use diagnostic::{Diagnostic, Files, Severity, Span};
pub use expand::{Dialect, Expander};
pub use options::{Args, ComponentDef, Fallback, Kind, OptionDef, option};
pub use spec::{ComponentSpec, ConditionSpec, PipelineSpec, Statement};
pub use value::{Data, Key, Node};
